"""A TON network on loopback, for development, tests and the demonstration; nothing of it runs in production.

    emulator.py, emulator.mjs   the TVM: @ton/sandbox in a process of Node
    accounts.py                 what is read of accounts, messages and transactions
    blocks.py                   blocks and states as cells
    chain.py                    rounds of blocks, messages between accounts, forks
    proofs.py                   what a liteserver proves
    wire.py, adnl.py            TL and ADNL, the server's side
    answers.py, liteserver.py   the liteservers, and how they lie
    faults.py                   what goes wrong on purpose
    devnet.py                   all of it, started and stopped

It speaks to any TON client that reads a global config and keeps to trust levels 1 and 2 of pytoniq. It is a simulator:
one process makes all blocks, no validator signs them, and whoever runs it can write any account.
"""

from attestd.chain.devnet.chain import GIVER, NotAccepted
from attestd.chain.devnet.devnet import DEVNET_GLOBAL_ID, NETWORK_FILE, Devnet
from attestd.chain.devnet.faults import Fault, Plan
from attestd.chain.devnet.liteserver import Liteserver

__all__ = ["DEVNET_GLOBAL_ID", "GIVER", "NETWORK_FILE", "Devnet", "Fault", "Liteserver", "NotAccepted", "Plan"]
