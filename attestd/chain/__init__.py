"""The registry on TON: its contract, what is read of it with proofs, what is sent to it.

network.py        whom to ask, and what is pinned
liteservers.py    several are asked, and must agree, with
                  tl.py             what is said to them
                  proof.py          what an answer proves
                  account.py        accounts
                  transactions.py   what became of a message
state.py          the contract's storage
messages.py       the messages that it takes
reading.py        a registry and a key, step by step; client.py is that for relying parties
wallet.py         who pays
sending.py        one message, by hand
onchain.py        the chain as the publisher needs it, which ledger.py says

contract/ is the contract, cocoon/ reads and addresses another one, devnet/ is a network on loopback, and node/ the
JavaScript that the first and the last need.
"""
