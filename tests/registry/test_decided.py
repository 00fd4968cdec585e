"""What a record that has a key trusted must rest on, each part of it missing once (attacks.md, R01 and R02)."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from attestd.errors import Reason, Unavailable
from attestd.registry import Registry, decided, keys, log, results, revocations
from attestd.registry.values import RevocationKind
from attestd.result import Tier
from attestd.transparency.record import Approve, Expire, Record, Refuse
from tests.refusals import refused
from tests.registry.conftest import Opener
from tests.registry.samples import NOW, digest, prepare, register

KEY = digest("key", 1)


@pytest.fixture
def registry(opener: Opener, sqlite_url: str) -> Registry:
    """Return a registry that has approved one key."""
    registry = opener(sqlite_url)
    prepare(registry)
    register(registry, 1)
    return registry


def approved(registry: Registry) -> Approve:
    (leaf,) = registry.read(log.leaves, 0, 1)
    said = leaf.said()
    assert isinstance(said, Approve)
    return said


def require(registry: Registry, first: int, end: int) -> None:
    registry.read(decided.require_decided, first, end, NOW)


def test_what_was_decided(registry: Registry) -> None:
    require(registry, 0, 1)
    registry.write(log.append, approved(registry), version=1).result()
    require(registry, 0, 2)


FORGED: dict[str, Callable[[Approve], tuple[Record, int | None]]] = {
    "another key": lambda said: (replace(said, key=digest("key", 2)), 1),
    "no version": lambda said: (said, None),
    "a version that there is not": lambda said: (said, 2),
    "another result": lambda said: (replace(said, result=digest("result")), 1),
    "for longer": lambda said: (replace(said, entry=replace(said.entry, not_after=said.entry.not_after + 1)), 1),
    "another image": lambda said: (replace(said, entry=replace(said.entry, image=digest("image"))), 1),
    "another model": lambda said: (replace(said, entry=replace(said.entry, models=(digest("model"),))), 1),
}


@pytest.mark.parametrize("name", FORGED)
def test_a_record_that_says_something_else(registry: Registry, name: str) -> None:
    record, version = FORGED[name](approved(registry))
    registry.write(log.append, record, version=version).result()
    require(registry, 0, 1)
    with refused(Unavailable, Reason.REGISTRY_INTEGRITY):
        require(registry, 1, 2)


OTHER_RESULTS: dict[str, dict[str, Any] | None] = {
    "none": None,
    "not affirming": {"tier": Tier.WARNING},
    "of another key": {"key_id": digest("key", 2)},
    "of another document": {"digest": digest("document")},
    "of another provider": {"provider": "bob"},
}


@pytest.mark.parametrize("name", OTHER_RESULTS)
def test_a_key_that_rests_on_another_result(registry: Registry, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Whoever can write to the database can seal it, too."""
    find, changed = results.find, OTHER_RESULTS[name]

    def other(transaction: Any, result_id: str) -> Any:
        found = find(transaction, result_id)
        return None if found is None or changed is None else replace(found, **changed)

    require(registry, 0, 1)
    monkeypatch.setattr(results, "find", other)
    with refused(Unavailable, Reason.REGISTRY_INTEGRITY):
        require(registry, 0, 1)


def test_more_than_is_looked_at_at_once(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decided, "_AT_ONCE", 2)
    said = approved(registry)
    for _ in range(4):
        registry.write(log.append, said, version=1).result()
    registry.write(log.append, said, version=2).result()
    require(registry, 0, 5)
    with refused(Unavailable, Reason.REGISTRY_INTEGRITY):
        require(registry, 0, 6)


def test_what_records_do_to_the_trust_in_keys(registry: Registry) -> None:
    registry.write(log.append, Refuse(at=NOW, result=digest("result"))).result()
    registry.write(keys.suspend, KEY, reason="doubt", by="admin", at=NOW).result()
    registry.write(keys.resume, KEY, reason="clear", by="admin", at=NOW).result()
    registry.write(revocations.revoke, RevocationKind.KEY, KEY.hex(), reason="lost", by="admin", at=NOW).result()
    registry.write(log.append, Expire(at=NOW, key=KEY)).result()
    size = registry.read(log.size)
    trusted = [registry.read(decided.keys_trusted, at, at + 1) for at in range(size)]
    distrusted = [registry.read(decided.keys_distrusted, at, at + 1) for at in range(size)]
    known, none = frozenset({KEY}), frozenset[bytes]()
    assert trusted == [known, none, none, known, none, none]
    assert distrusted == [none, none, known, none, known, none]
