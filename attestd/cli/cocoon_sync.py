"""`attestd cocoon sync`: bring what Cocoon's owner has approved to a registry, where policies say `"registered"`.

It compares first, and approves only where it was told to. It never revokes: that is for good, and what is no longer on
chain may be approved here for other reasons. What was revoked here is not approved again.
"""

from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from http import HTTPStatus
from http.client import HTTPException
from pathlib import Path
from typing import Final, Literal, TypeAlias
from urllib.parse import quote

from attestd.cli.client import Answer, Client
from attestd.cli.cocoon import Source, read
from attestd.cli.screen import VERIFIED, pairs, show, table
from attestd.codec import Fields, Json, dump_digest, load_digest, load_json
from attestd.errors import ConfigurationRefused, Malformed, Reason, Unavailable
from attestd.settings import read_secret

_PAGE: Final = 1000

Roles: TypeAlias = frozenset[str]
Shelf: TypeAlias = Literal["images", "models"]
_Outcome: TypeAlias = Literal["same", "missing", "approved", "revoked", "not on chain"]

_NO_ROLES: Final[Roles] = frozenset()


@dataclass(frozen=True, slots=True)
class _Entry:
    """What a registry says of an image or a model."""

    name: str
    roles: Roles  # of images
    version: int
    revoked: bool


@dataclass(frozen=True, slots=True)
class _Row:
    """What chain and registry together say of a digest."""

    shelf: Shelf
    digest: bytes
    roles: Roles
    outcome: _Outcome
    body: dict[str, Json] | None = None  # what approves it, where it is missing


def run(arguments: Namespace) -> int:
    """Compare the sets on chain with what a registry has approved; with `--approve` add there what is missing."""
    source = read(arguments)
    _require_understood(source)
    images = {digest: frozenset(roles) for digest, roles in source.images.items()}
    models = dict.fromkeys(sorted(source.state.model_hashes), _NO_ROLES)
    name = f"Cocoon, root version {source.state.version}"
    public = Client(arguments.registry)
    rows = [*_compare(public, "images", images, name), *_compare(public, "models", models, name)]
    if arguments.approve is not None:
        operator = Client(arguments.approve, _token(arguments.token_file))
        rows = [_approved(operator, row) if row.outcome == "missing" else row for row in rows]
    head: dict[str, Json] = {**source.origin, "state_hash": source.cell.hash.hex(), "version": source.state.version}
    cells: list[list[Json]] = [[row.shelf, dump_digest(row.digest), [*sorted(row.roles)], row.outcome] for row in rows]
    columns = ("of", "digest", "roles", "registry")
    document: dict[str, Json] = {**head, "rows": [dict(zip(columns, cell, strict=True)) for cell in cells]}
    show(arguments, document, lambda: [*pairs(head), "", *table(columns, cells)])
    return VERIFIED


def _require_understood(source: Source) -> None:
    """Refuse a state with more in it than is known: what stands in the sets may not mean approval any more."""
    if source.state.unknown:
        raise Malformed(
            Reason.COCOON_UNKNOWN,
            found=f"more in {', '.join(source.state.unknown)}",
            wanted="the fields that are known",
        )


def _compare(public: Client, shelf: Shelf, on_chain: Mapping[bytes, Roles], name: str) -> Iterator[_Row]:
    """Yield a row for each digest on chain, then for each that the registry alone has approved."""
    registered = dict(_registered(public, shelf))
    for digest, roles in on_chain.items():
        yield _row(shelf, digest, roles, registered.pop(digest, None), name)
    for digest, entry in registered.items():
        if not entry.revoked:
            yield _Row(shelf, digest, entry.roles, "not on chain")


def _row(shelf: Shelf, digest: bytes, roles: Roles, entry: _Entry | None, name: str) -> _Row:
    if entry is not None and entry.revoked:
        return _Row(shelf, digest, roles, "revoked")
    if entry is not None and roles <= entry.roles:
        return _Row(shelf, digest, entry.roles, "same")
    # What the operator has said of it stays; whoever changes it at the same time is not overruled.
    known = entry or _Entry(name, _NO_ROLES, version=0, revoked=False)
    body: dict[str, Json] = {"name": known.name, "expected_version": known.version}
    if shelf == "images":
        body["roles"] = [*sorted(roles | known.roles)]
    return _Row(shelf, digest, roles | known.roles, "missing", body)


def _registered(public: Client, shelf: Shelf) -> Iterator[tuple[bytes, _Entry]]:
    """Yield all that a registry has ever approved of one kind."""
    path: str | None = f"/v1/{shelf}?limit={_PAGE}"
    while path is not None:
        page = _expect(partial(public.get, path), path)
        for item in page.array("items", most=_PAGE, least=0):
            roles = frozenset(item.texts("roles")) if shelf == "images" else _NO_ROLES
            entry = _Entry(item.text("name"), roles, item.integer("version", 2**31), item.boolean("revoked"))
            yield load_digest(item.text("digest")), entry
        path = f"/v1/{shelf}?limit={_PAGE}&cursor={quote(page.text('next', most=512))}" if page.given("next") else None


def _approved(operator: Client, row: _Row) -> _Row:
    path = f"/v1/{row.shelf}/{dump_digest(row.digest)}"
    _expect(partial(operator.put, path, row.body), path)
    return replace(row, outcome="approved", body=None)


def _expect(ask: Callable[[], Answer], path: str) -> Fields:
    """Return the document of an answer that is one. Raises `Unavailable` (`cocoon.registry`)."""
    try:
        answer = ask()
    except (OSError, HTTPException) as error:
        raise _unanswered(type(error).__name__, path) from None
    if answer.status != HTTPStatus.OK:
        raise _unanswered(f"status {answer.status}", path)
    try:
        return Fields(load_json(answer.body))
    except Malformed:
        raise _unanswered("no JSON object", path) from None


def _unanswered(found: str, path: str) -> Unavailable:
    return Unavailable(
        Reason.COCOON_REGISTRY, found=f"{found} for {path.partition('?')[0]}", wanted="the document of it"
    )


def _token(file: Path | None) -> str:
    """Read the API key of an administrator: never an argument, which every user of the machine can see."""
    if file is None:
        raise ConfigurationRefused(Reason.COCOON_REGISTRY, found="--approve without --token-file", wanted="both")
    return read_secret("--token-file", file)
