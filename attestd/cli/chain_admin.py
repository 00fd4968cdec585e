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
    ExitCode,
    cancel_body,
    execute_body,
    pause_body,
    propose_body,
)
from attestd.chain.network import Network
from attestd.chain.reading import Reading, read_registry, registry_address
from attestd.chain.sending import VALIDITY, deliver
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
from attestd.cli.chain import SETS, export_change
from attestd.cli.inputs import effective_time
from attestd.cli.proved import Document, posix
from attestd.cli.screen import NOT_AFFIRMING, VERIFIED, coloured, complain, pairs, show, spread
from attestd.codec import dump_base64, dump_base64url
from attestd.errors import ConfigurationRefused, Reason, Unavailable
from attestd.tvm.address import Address
from attestd.tvm.boc import dump_boc, load_boc
from attestd.tvm.cell import Builder, Cell

_MAX_CODE_SIZE: Final = 64 * 1024
# Of one registry (governance.tolk).
_MAX_VERIFIERS: Final = 16
# For people; a link has the cells, too.
_LISTED: Final = ("reason", "registry", "amount", "fees", "transaction", "proposal")


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
    if wallet is not None:
        document |= asyncio.run(_send(arguments, Liteservers(network, _clock), wallet, transfer))
    show(arguments, document, lambda: _lines(document))
    return NOT_AFFIRMING if document["outcome"] == "refused" else VERIFIED


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
        raise _refused("no admin", "--admin, or a wallet that is the admin: --wallet-key")
    return Governance(
        admin=admin,
        threshold=arguments.threshold,
        timelock=arguments.timelock,
        max_validity=arguments.max_validity,
        verifiers=_verifiers(arguments.verifier, arguments.threshold),
    )


def _verifiers(keys: Sequence[bytes], threshold: int) -> tuple[tuple[int, bytes], ...]:
    """Number the keys in their order. The contract refuses what is refused here, but only when it first publishes."""
    if len(set(keys)) != len(keys) or bytes(32) in keys or not 1 <= threshold <= len(keys) <= _MAX_VERIFIERS:
        raise _refused(
            f"{len(set(keys) - {bytes(32)})} distinct keys of verifiers with the threshold {threshold}",
            f"at most {_MAX_VERIFIERS}, pairwise distinct, none zero, and a threshold that they can reach",
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
            return Approve(SETS.index(arguments.set), frozenset(arguments.digest))
        case _:
            return Withdraw(SETS.index(arguments.set), frozenset(arguments.digest))


def _document(transfer: Transfer) -> Document:
    body = dump_boc(transfer.body)
    to = transfer.to.friendly(bounceable=transfer.bounce)
    link = f"ton://transfer/{to}?amount={transfer.value}&bin={dump_base64url(body)}"
    document: Document = {"outcome": "written", "reason": None, "registry": str(transfer.to), "amount": transfer.value}
    document["body"] = dump_base64(body)
    if transfer.state_init is not None:
        init = dump_boc(transfer.state_init)
        document["init"] = dump_base64(init)
        link += f"&init={dump_base64url(init)}"
    return document | {"link": link}


async def _send(arguments: Namespace, servers: Liteservers, wallet: Wallet, transfer: Transfer) -> Document:
    """Send the message and follow it; return what came of it."""
    if transfer.state_init is None:
        _require_takes(arguments, await read_registry(servers, transfer.to), wallet)
    elif (there := (await servers.account(transfer.to)).account.account) is not None and there.code is not None:
        raise _refused(f"a contract at {transfer.to}", "none yet: another admin, timelock or set of verifiers")
    try:
        delivery = await deliver(servers, wallet, transfer, _clock)
    except asyncio.CancelledError:
        complain(f"what was sent may still be carried out, for {VALIDITY} s: see `attestd chain status`")
        raise
    transactions = (delivery.sent, delivery.received)
    failed = next((one for one in transactions if not one.succeeded), None)
    found: Document = {
        "outcome": "done" if failed is None else "refused",
        "reason": None if failed is None else _reason(failed),
        "fees": sum(one.fees for one in transactions),
        "transaction": delivery.received.hash.hex(),
        "transactions": [_transaction(one) for one in transactions],
    }
    if failed is None and arguments.action == "propose":
        found["proposal"] = await _proposal(servers, transfer.to, _change(arguments))
    return found


def _require_takes(arguments: Namespace, reading: Reading, wallet: Wallet) -> None:
    """Refuse what the contract would refuse: it takes fees, and says less."""
    governance, at = reading.state.governance, reading.agreed.account.gen_utime
    if governance.admin != wallet.address:
        raise _refused(f"the wallet {wallet.address}", f"the admin {governance.admin}")
    if arguments.action in ("execute", "cancel"):
        proposal = dict(governance.proposals).get(arguments.proposal)
        if proposal is None:
            known = ", ".join(str(number) for number, _ in governance.proposals)
            raise _refused(f"no proposal {arguments.proposal}", f"one that waits: {known or 'there is none'}")
        if arguments.action == "execute" and not proposal.eta <= at <= proposal.expires:
            waits = f"proposal {arguments.proposal} from {posix(proposal.eta)} to {posix(proposal.expires)}"
            raise _refused(f"{posix(at)} on chain", waits)


async def _proposal(servers: Liteservers, registry: Address, change: Change) -> Document | None:
    """Return the number under which a change waits, and from when to when it can be executed, if that can be read."""
    try:
        reading = await read_registry(servers, registry)
    except Unavailable:
        return None  # it has been proposed all the same
    same = [(number, one) for number, one in reading.state.governance.proposals if one.change == change]
    if not same:
        return None
    number, proposal = max(same)
    return {"number": number, **export_change(change), "from": posix(proposal.eta), "to": posix(proposal.expires)}


def _transaction(transaction: Transaction) -> Document:
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


def _reason(failed: Transaction) -> str:
    """Say why the contract refused, as far as its exit code says that."""
    compute = failed.compute
    if compute is None or compute.exit_code is None:
        return "nothing was executed: too little TON came with it"
    known = next((f", {code.name.lower().replace('_', ' ')}" for code in ExitCode if code == compute.exit_code), "")
    return f"exit code {compute.exit_code}{known}"


def _lines(document: Document) -> Iterator[str]:
    yield coloured(str(document["outcome"]))
    yield ""
    yield from pairs(spread({name: document[name] for name in _LISTED if document.get(name) is not None}))
    if document["outcome"] == "written":
        yield ""
        yield "Nothing was sent: this is for the admin to send. What is left of the amount comes back."
        yield ""
        # Not laid out, so that it can be copied as a whole.
        yield str(document["link"])


def _clock() -> float:
    return effective_time(None).timestamp()


def _refused(found: str, wanted: str) -> ConfigurationRefused:
    return ConfigurationRefused(Reason.CHAIN_ORDER, found=found, wanted=wanted)
