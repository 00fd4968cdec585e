"""`attestd cocoon show`: what the owner of Cocoon's root contract has approved, as chain or file have it."""

import asyncio
from argparse import Namespace
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from attestd.chain.cocoon import ROOT_ADDRESS, Params, RootState, load_state
from attestd.chain.liteservers import Liteservers
from attestd.chain.network import Network
from attestd.cli.inputs import effective_time
from attestd.cli.screen import VERIFIED, pairs, show, spread, table
from attestd.codec import Json, dump_digest, dump_time
from attestd.errors import Malformed, Reason, Unavailable
from attestd.evidence import Role
from attestd.tvm.address import Address
from attestd.tvm.boc import load_boc
from attestd.tvm.cell import Cell

# A state of some thousand hashes, and the code of three contracts.
_MAX_STATE_SIZE: Final = 4 * 1024 * 1024
_TABLES: Final = ("images", "models", "proxies", "params")


@dataclass(frozen=True, slots=True)
class Source:
    """A state, and where it comes from."""

    cell: Cell
    state: RootState
    origin: Mapping[str, Json]  # as `show` prints it

    @property
    def images(self) -> dict[bytes, tuple[Role, ...]]:
        """The approved images by their digest, and what each is approved for."""
        approved: dict[Role, frozenset[bytes]] = {"worker": self.state.worker_hashes, "proxy": self.state.proxy_hashes}
        return {
            digest: tuple(role for role, hashes in approved.items() if digest in hashes)
            for digest in sorted(frozenset().union(*approved.values()))
        }


def run(arguments: Namespace) -> int:
    """Print the state."""
    source = read(arguments)
    document = _document(source)
    show(arguments, document, lambda: _lines(source, document))
    return VERIFIED


def read(arguments: Namespace) -> Source:
    """Read the state of the contract from the network, with proof, or from a file.

    Raises what `load_state` does, and what reading an account does.
    """
    if arguments.state is not None:
        return _from_file(arguments.state)
    return asyncio.run(_from_network(arguments.network, arguments.address or ROOT_ADDRESS))


def _from_file(path: Path) -> Source:
    with path.open("rb") as file:
        raw = file.read(_MAX_STATE_SIZE + 1)
    if len(raw) > _MAX_STATE_SIZE:
        raise Malformed(Reason.COCOON_STATE, found="a larger file", wanted=f"at most {_MAX_STATE_SIZE} bytes")
    (cell,) = load_boc(raw)
    return Source(cell, load_state(cell), {"proved": False})


async def _from_network(file: Path, address: Address) -> Source:
    """Read the account from several liteservers that must agree, each with its proof (`chain/liteservers.py`)."""
    servers = Liteservers(Network.load(file), lambda: effective_time(None).timestamp())
    agreed = await servers.account(address)
    account, block = agreed.account.account, agreed.account.block
    if account is None or account.data is None or account.code is None:
        found = "no account" if account is None else f"an account that is {account.status}"
        raise Unavailable(Reason.CHAIN_ACCOUNT, found=f"{found} at {address}", wanted="Cocoon's root contract, active")
    origin: dict[str, Json] = {
        "proved": True,
        "address": str(address),
        "block": {"seqno": block.seqno, "root_hash": block.root_hash.hex(), "file_hash": block.file_hash.hex()},
        "gen_utime": dump_time(datetime.fromtimestamp(agreed.account.gen_utime, UTC)),
        "servers": [str(server) for server in agreed.servers],
        "code_hash": account.code.hash.hex(),
    }
    return Source(account.data, load_state(account.data), origin)


def _document(source: Source) -> dict[str, Json]:
    state = source.state
    return {
        **source.origin,
        "state_hash": source.cell.hash.hex(),
        "owner": None if state.owner is None else str(state.owner),
        "version": state.version,
        "images": [{"digest": dump_digest(digest), "roles": [*roles]} for digest, roles in source.images.items()],
        "models": [dump_digest(digest) for digest in sorted(state.model_hashes)],
        "proxies": {str(seqno): _text(endpoint) for seqno, endpoint in sorted(state.proxies.items())},
        "last_proxy_seqno": state.last_proxy_seqno,
        "params": _params(state.params),
        "key_manager": None if state.key_manager is None else state.key_manager.hash.hex(),
        "unknown": [*state.unknown],
    }


def _params(params: Params) -> dict[str, Json]:
    """Return the parameters; of code its hash."""
    found = {member.name: getattr(params, member.name) for member in fields(params) if member.name != "rest"}
    return {name: value.hash.hex() if isinstance(value, Cell) else value for name, value in found.items()}


def _text(endpoint: bytes) -> str:
    return endpoint.decode("ascii", "backslashreplace")


def _lines(source: Source, document: Mapping[str, Json]) -> Iterator[str]:
    yield from pairs(spread({name: value for name, value in document.items() if name not in _TABLES}))
    yield ""
    yield from table(("image", "for"), ((dump_digest(digest), [*roles]) for digest, roles in source.images.items()))
    yield ""
    yield from table(("model",), ([dump_digest(digest)] for digest in sorted(source.state.model_hashes)))
    yield ""
    proxies = sorted(source.state.proxies.items())
    yield from table(("proxy", "endpoints"), ((seqno, _text(endpoint)) for seqno, endpoint in proxies))
    yield ""
    yield from pairs(_params(source.state.params))
