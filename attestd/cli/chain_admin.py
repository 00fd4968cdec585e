"""`attestd chain deploy`, `propose`, `execute`, `cancel` and `pause`: a registry's beginning, and its government.

With the key of a wallet the message is sent and followed. Without one it is written for whoever has the admin's keys,
a multisig as a rule: as a bag of cells, and as a link that wallets open.
"""

import asyncio
from argparse import Namespace
from collections.abc import Iterator, Sequence
from typing import Final

from attestd.chain.liteservers import Liteservers
from attestd.chain.messages import (
    ADMIN_VALUE,
    DEPLOY_VALUE,
    cancel_body,
    execute_body,
    pause_body,
    propose_body,
)
from attestd.chain.network import Network
from attestd.chain.reading import read_registry, registry_address
from attestd.chain.sending import deliver
from attestd.chain.state import (
    Approve,
    Change,
    Governance,
    SetAdmin,
    SetMaxValidity,
    SetTimelock,
    SetVerifiers,
    Unpause,
    Upgrade,
    Withdraw,
    state_init,
)
from attestd.chain.transactions import Transaction
from attestd.chain.wallet import Transfer, Wallet, WalletVersion
from attestd.cli.inputs import effective_time
from attestd.cli.screen import NOT_AFFIRMING, VERIFIED, pairs, show
from attestd.codec import Json, dump_base64, dump_base64url
from attestd.errors import ConfigurationRefused, Reason, Unavailable
from attestd.tvm.address import Address
from attestd.tvm.boc import dump_boc, load_boc
from attestd.tvm.cell import Builder, Cell

_SETS: Final = ("image", "model", "policy")
_MAX_CODE_SIZE: Final = 64 * 1024


def run(arguments: Namespace) -> int:
    """Write the message, and send it where a wallet is given."""
    network = Network.load(arguments.network)
    wallet = (
        None
        if arguments.wallet_key is None
        else Wallet.load(arguments.wallet_key, WalletVersion(arguments.wallet_version), network.global_id)
    )
    transfer = _transfer(arguments, network, wallet)
    document = _document(transfer)
    status = VERIFIED
    if wallet is not None:
        found = asyncio.run(_send(network, wallet, transfer))
        document["transactions"] = [_transaction(transaction) for transaction in found]
        status = VERIFIED if all(transaction.succeeded for transaction in found) else NOT_AFFIRMING
    show(arguments, document, lambda: _lines(document))
    return status


def _transfer(arguments: Namespace, network: Network, wallet: Wallet | None) -> Transfer:
    if arguments.action == "deploy":
        init = state_init(_governance(arguments, wallet))
        # Not bounceable: there is nobody to bounce before it is there.
        return Transfer(
            to=Address(0, init.hash), value=DEPLOY_VALUE, body=Builder().end(), state_init=init, bounce=False
        )
    return Transfer(to=registry_address(network, arguments.registry), value=ADMIN_VALUE, body=_body(arguments))


def _governance(arguments: Namespace, wallet: Wallet | None) -> Governance:
    admin = arguments.admin or (None if wallet is None else wallet.address)
    if admin is None:
        raise ConfigurationRefused(
            Reason.CHAIN_WALLET, found="no admin", wanted="--admin, or a wallet that is the admin"
        )
    return Governance(
        admin=admin,
        threshold=arguments.threshold,
        timelock=arguments.timelock,
        max_validity=arguments.max_validity,
        verifiers=_verifiers(arguments.verifier, arguments.threshold),
    )


def _verifiers(keys: Sequence[bytes], threshold: int) -> tuple[tuple[int, bytes], ...]:
    """Number the keys in their order. The contract refuses what is refused here, but only when it first publishes."""
    if len(set(keys)) != len(keys) or bytes(32) in keys or not 1 <= threshold <= len(keys):
        raise ConfigurationRefused(
            Reason.CHAIN_OWNER,
            found=f"{len(set(keys) - {bytes(32)})} distinct keys with the threshold {threshold}",
            wanted="pairwise distinct keys, none zero, and a threshold that they can reach",
        )
    return tuple(enumerate(keys))


def _body(arguments: Namespace) -> Cell:
    match arguments.action:
        case "propose":
            return propose_body(_change(arguments), arguments.query_id)
        case "execute":
            return execute_body(arguments.proposal, arguments.query_id)
        case "cancel":
            return cancel_body(arguments.proposal, arguments.query_id)
        case _:
            return pause_body(arguments.query_id)


def _change(arguments: Namespace) -> Change:
    match arguments.change:
        case "verifiers":
            return SetVerifiers(arguments.threshold, _verifiers(arguments.verifier, arguments.threshold))
        case "admin":
            return SetAdmin(arguments.address)
        case "timelock":
            return SetTimelock(arguments.seconds)
        case "max-validity":
            return SetMaxValidity(arguments.seconds)
        case "unpause":
            return Unpause()
        case "upgrade":
            with arguments.code.open("rb") as file:
                (code,) = load_boc(file.read(_MAX_CODE_SIZE + 1))
            return Upgrade(code)
        case "approve":
            return Approve(_SETS.index(arguments.set), frozenset(arguments.digest))
        case _:
            return Withdraw(_SETS.index(arguments.set), frozenset(arguments.digest))


def _document(transfer: Transfer) -> dict[str, Json]:
    body = dump_boc(transfer.body)
    to = transfer.to.friendly(bounceable=transfer.bounce)
    link = f"ton://transfer/{to}?amount={transfer.value}&bin={dump_base64url(body)}"
    document: dict[str, Json] = {"to": str(transfer.to), "amount": transfer.value, "body": dump_base64(body)}
    if transfer.state_init is not None:
        init = dump_boc(transfer.state_init)
        document["init"] = dump_base64(init)
        link += f"&init={dump_base64url(init)}"
    return document | {"link": link, "transactions": None}


async def _send(network: Network, wallet: Wallet, transfer: Transfer) -> tuple[Transaction, Transaction]:
    def clock() -> float:
        return effective_time(None).timestamp()

    servers = Liteservers(network, clock)
    if transfer.state_init is None:
        admin = (await read_registry(servers, transfer.to)).state.governance.admin
        if admin != wallet.address:
            raise Unavailable(Reason.CHAIN_OWNER, found=f"the wallet {wallet.address}", wanted=f"the admin {admin}")
    delivery = await deliver(servers, wallet, transfer, clock)
    return delivery.sent, delivery.received


def _transaction(transaction: Transaction) -> dict[str, Json]:
    compute, action = transaction.compute, transaction.action
    return {
        "account": transaction.account.hex(),
        "lt": transaction.lt,
        "hash": transaction.hash.hex(),
        "exit_code": None if compute is None else compute.exit_code,
        "action_result": None if action is None else action.result_code,
        "gas": None if compute is None else compute.gas_used,
        "fees": transaction.fees,
        "succeeded": transaction.succeeded,
    }


def _lines(document: dict[str, Json]) -> Iterator[str]:
    found = document["transactions"]
    yield from pairs({name: value for name, value in document.items() if name != "transactions"})
    yield ""
    if isinstance(found, list):
        for transaction in found:
            if isinstance(transaction, dict):
                yield from pairs(transaction)
                yield ""
    else:
        yield "Nothing was sent: this is for the admin to send, with so much TON, of which the rest comes back."
