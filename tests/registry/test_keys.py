from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import product
from typing import Any

import pytest

from attestd.errors import Reason, RequestRefused, Unavailable
from attestd.registry import Registry, audit, keys, revocations
from attestd.registry.tables import KeyHistoryRow
from attestd.registry.values import Key, KeyFilters, KeyState, RevocationKind
from tests.registry.alter import alter
from tests.registry.samples import LATER, NOW, challenge, digest, known, new_key, new_result, prepare, record, register

MICROSECOND = timedelta(microseconds=1)
HOUR = timedelta(hours=1)


def names(registry: Registry, at: datetime = NOW, *, past: bool = False, **filters: Any) -> set[bytes]:
    page = registry.read(keys.page, KeyFilters(**filters), at, past=past)
    assert page.next is None
    assert page.damaged == 0
    return {key.id for key in page.items}


def ids(*numbers: int) -> set[bytes]:
    return {digest("key", number) for number in numbers}


def revoke(registry: Registry, number: int, at: datetime = NOW) -> None:
    value = digest("key", number).hex()
    registry.write(revocations.revoke, RevocationKind.KEY, value, reason="lost", by="admin", at=at).result()


def suspend(registry: Registry, number: int, at: datetime = NOW) -> None:
    registry.write(keys.suspend, digest("key", number), reason="doubt", by="admin", at=at).result()


def resume(registry: Registry, number: int, at: datetime = NOW) -> None:
    registry.write(keys.resume, digest("key", number), reason="clear", by="admin", at=at).result()


def test_the_window_of_a_key_includes_both_ends(registry: Registry) -> None:
    register(registry, 1, key=new_key(1, valid_from=NOW + HOUR))
    states = [
        (NOW, KeyState.PENDING),
        (NOW + HOUR - MICROSECOND, KeyState.PENDING),
        (NOW + HOUR, KeyState.ACTIVE),
        (LATER, KeyState.ACTIVE),
        (LATER + MICROSECOND, KeyState.EXPIRED),
    ]
    for at, state in states:
        assert known(registry.read(keys.find, digest("key", 1), at)).state is state
        assert registry.read(keys.page, KeyFilters(), at).items[0].state is state
        for other in KeyState:
            assert names(registry, at, state=other) == (ids(1) if other is state else set())
        assert registry.read(keys.count, at) == {other: int(other is state) for other in KeyState}


def test_the_worst_state_is_shown(registry: Registry) -> None:
    for number, valid_from in ((1, NOW - HOUR), (2, NOW + HOUR)):
        for offset in (0, 10, 20):
            register(registry, number + offset, key=new_key(number + offset, valid_from=valid_from))
        suspend(registry, number + 10)
        suspend(registry, number + 20)
        revoke(registry, number + 20)
    expected = {
        KeyState.ACTIVE: ids(1),
        KeyState.PENDING: ids(2),
        KeyState.SUSPENDED: ids(11, 12),
        KeyState.REVOKED: ids(21, 22),
        KeyState.EXPIRED: set(),
    }
    assert {state: names(registry, state=state) for state in KeyState} == expected
    assert registry.read(keys.count, NOW) == {state: len(found) for state, found in expected.items()}
    after = {state: names(registry, LATER + HOUR, state=state) for state in KeyState}
    assert after[KeyState.EXPIRED] == ids(1, 2, 11, 12)
    assert after[KeyState.REVOKED] == ids(21, 22)


def test_suspending_and_resuming(registry: Registry) -> None:
    register(registry, 1)
    for _ in range(2):
        suspend(registry, 1, NOW + HOUR)
    key = known(registry.read(keys.find, digest("key", 1), NOW + HOUR))
    assert (key.state, key.version, key.changed_at) == (KeyState.SUSPENDED, 2, NOW + HOUR)
    for _ in range(2):
        resume(registry, 1, NOW + 2 * HOUR)
    key = known(registry.read(keys.find, digest("key", 1), NOW + 2 * HOUR))
    assert (key.state, key.version) == (KeyState.ACTIVE, 3)
    trail = [(entry.action, entry.subject) for entry in registry.read(audit.page).items]
    assert trail[1:] == [("key.suspend", digest("key", 1).hex()), ("key.resume", digest("key", 1).hex())]


def test_only_a_known_key_that_is_not_revoked_is_suspended_or_resumed(registry: Registry) -> None:
    register(registry, 1)
    revoke(registry, 1)
    for function, (key_id, reason) in product(
        (keys.suspend, keys.resume),
        ((digest("key", 1), Reason.KEY_REVOKED), (digest("key", 2), Reason.REQUEST_PATH)),
    ):
        with pytest.raises(RequestRefused) as caught:
            registry.write(function, key_id, reason="", by="admin", at=NOW).result()
        assert caught.value.reason is reason


def test_a_key_is_ended_early_where_it_still_rests_on_that_result(registry: Registry) -> None:
    register(registry, 1)
    early = NOW + HOUR

    def shorten(number: int, result_id: str, valid_until: datetime) -> None:
        registry.write(
            keys.shorten, digest("key", number), result_id=result_id, valid_until=valid_until, by="service", at=NOW
        ).result()

    shorten(1, "result-000009", early)
    shorten(1, "result-000001", LATER)
    shorten(1, "result-000001", LATER + HOUR)
    shorten(9, "result-000001", early)
    assert known(registry.read(keys.find, digest("key", 1), NOW)).version == 1

    shorten(1, "result-000001", early)
    key = known(registry.read(keys.find, digest("key", 1), early))
    assert (key.version, key.valid_until, key.state) == (2, early, KeyState.ACTIVE)
    assert known(registry.read(keys.find, digest("key", 1), early + MICROSECOND)).state is KeyState.EXPIRED
    assert [entry.action for entry in registry.read(audit.page).items][1:] == ["key.shorten"]


def test_a_key_that_was_revoked_or_suspended_stays_so_when_it_is_ended_early(registry: Registry) -> None:
    register(registry, 1)
    register(registry, 2)
    revoke(registry, 1)
    suspend(registry, 2)
    for number, state in ((1, KeyState.REVOKED), (2, KeyState.SUSPENDED)):
        result_id = f"result-{number:06}"
        registry.write(
            keys.shorten, digest("key", number), result_id=result_id, valid_until=NOW + HOUR, by="service", at=NOW
        ).result()
        assert known(registry.read(keys.find, digest("key", number), NOW)).state is state


def test_filters(registry: Registry) -> None:
    prepare(registry, "bob")
    register(registry, 1)
    register(registry, 2, tee="sgx", binding="cocoon")
    register(registry, 3, provider="bob")
    assert names(registry) == ids(1, 2, 3)
    assert names(registry, tee="tdx") == ids(1, 3)
    assert names(registry, binding="cocoon") == ids(2)
    assert names(registry, provider="bob") == ids(3)
    assert names(registry, image=digest("image", 1)) == ids(1)
    assert names(registry, model=digest("model", 1)) == ids(1, 3)
    assert names(registry, model=digest("model", 9)) == set()
    assert names(registry, tee="tdx", model=digest("model", 1), provider="alice", state=KeyState.ACTIVE) == ids(1)


def test_a_model_that_a_renewal_dropped_finds_the_key_no_more(registry: Registry) -> None:
    register(registry, 1, key=new_key(1, models=(digest("old"), digest("kept"))))
    challenge(registry, 2)
    fresh = new_key(1, models=(digest("kept"), digest("new")))
    record(registry, new_result(2, key_id=digest("key", 1), key=fresh), NOW + HOUR)
    assert names(registry, NOW + HOUR, model=digest("old")) == set()
    assert names(registry, NOW + HOUR, model=digest("kept")) == ids(1)
    assert names(registry, NOW + HOUR, model=digest("new")) == ids(1)
    assert names(registry, NOW, past=True, model=digest("old")) == ids(1)
    assert names(registry, NOW, past=True, model=digest("new")) == set()


def test_the_past_stays_as_it_was(registry: Registry) -> None:
    register(registry, 1)
    register(registry, 2, at=NOW + 2 * HOUR)
    suspend(registry, 1, NOW + HOUR)
    revoke(registry, 1, NOW + 3 * HOUR)
    history = {
        NOW - MICROSECOND: {},
        NOW: {1: KeyState.ACTIVE},
        NOW + HOUR - MICROSECOND: {1: KeyState.ACTIVE},
        NOW + HOUR: {1: KeyState.SUSPENDED},
        NOW + 2 * HOUR: {1: KeyState.SUSPENDED, 2: KeyState.ACTIVE},
        NOW + 3 * HOUR: {1: KeyState.REVOKED, 2: KeyState.ACTIVE},
        LATER + HOUR: {1: KeyState.REVOKED, 2: KeyState.EXPIRED},
    }
    for at, expected in history.items():
        states = {digest("key", number): state for number, state in expected.items()}
        page = registry.read(keys.page, KeyFilters(), at, past=True)
        assert {key.id: key.state for key in page.items} == states
        for number in (1, 2):
            found = registry.read(keys.find_past, digest("key", number), at)
            assert (found and found.state) == states.get(digest("key", number))
        for state in KeyState:
            assert names(registry, at, past=True, state=state) == {key for key in states if states[key] is state}


def test_the_next_expiry_is_that_of_an_active_key(registry: Registry) -> None:
    assert registry.read(keys.next_expiry, NOW) is None
    for number in (1, 2, 3):
        register(registry, number, key=new_key(number, valid_until=NOW + number * HOUR))
    suspend(registry, 1)
    assert registry.read(keys.next_expiry, NOW) == NOW + 2 * HOUR
    assert registry.read(keys.next_expiry, NOW + 2 * HOUR + MICROSECOND) == NOW + 3 * HOUR
    assert registry.read(keys.next_expiry, NOW + 4 * HOUR) is None


def test_keys_are_listed_in_pages(registry: Registry) -> None:
    for number in range(5):
        register(registry, number)
    seen, cursor = [], None
    for _ in range(3):
        page = registry.read(keys.page, KeyFilters(tee="tdx"), NOW, limit=2, cursor=cursor)
        seen += [key.id for key in page.items]
        cursor = page.next
    assert cursor is None
    assert seen == sorted(ids(*range(5)))


@pytest.mark.parametrize("state", [KeyState.ACTIVE, KeyState.EXPIRED])
def test_keys_of_a_state_are_listed_in_pages(registry: Registry, state: KeyState) -> None:
    for number in range(8):
        register(registry, number, key=new_key(number, valid_until=LATER if number % 2 else NOW))
    seen, cursor = [], None
    for _ in range(2):
        filters = KeyFilters(state=state, provider="alice")
        page = registry.read(keys.page, filters, NOW + MICROSECOND, limit=3, cursor=cursor)
        seen += [key.id for key in page.items]
        cursor = page.next
    assert cursor is None
    assert seen == sorted(ids(1, 3, 5, 7) if state is KeyState.ACTIVE else ids(0, 2, 4, 6))


def test_a_cursor_is_good_for_its_own_list_alone(registry: Registry) -> None:
    for number in range(3):
        register(registry, number)

    def read(filters: KeyFilters, at: datetime = NOW, *, past: bool = False, cursor: str | None = None) -> str | None:
        return registry.read(keys.page, filters, at, past=past, limit=1, cursor=cursor).next

    mine = read(KeyFilters(tee="tdx"))
    assert mine is not None
    assert read(KeyFilters(tee="tdx"), NOW + HOUR, cursor=mine)  # time goes on while a list is read
    then = read(KeyFilters(tee="tdx"), past=True)
    assert read(KeyFilters(tee="tdx"), past=True, cursor=then)
    for filters, at, past, cursor in (
        (KeyFilters(), NOW, False, mine),
        (KeyFilters(binding="tdx"), NOW, False, mine),
        (KeyFilters(tee="tdx"), NOW, True, mine),
        (KeyFilters(tee="tdx"), NOW + HOUR, True, then),
    ):
        with pytest.raises(RequestRefused) as caught:
            read(filters, at, past=past, cursor=cursor)
        assert caught.value.reason is Reason.REQUEST_MALFORMED


@pytest.mark.parametrize(
    ("table", "function", "past"), [("keys", keys.find, False), ("key_history", keys.find_past, True)]
)
def test_an_altered_key_is_never_served(
    registry: Registry, url: str, table: str, function: Callable[..., Key | None], past: bool
) -> None:
    """Attacks R02: a row of an approved key is altered."""
    key_id = digest("key", 1)
    register(registry, 1)
    for column in KeyHistoryRow.model_fields:
        with alter(url, table, column):
            asked = bytes([key_id[0] ^ 1]) + key_id[1:] if column == "id" else key_id
            with pytest.raises(Unavailable) as caught:
                registry.read(function, asked, LATER)
            assert caught.value.reason is Reason.REGISTRY_INTEGRITY
            page = registry.read(keys.page, KeyFilters(), LATER, past=past)
            assert (page.items, page.damaged) == ((), 1)
        assert known(registry.read(function, key_id, NOW)).state is KeyState.ACTIVE


@pytest.mark.parametrize("column", ["document", "digest"])
def test_a_key_whose_result_was_altered_is_not_served(registry: Registry, url: str, column: str) -> None:
    register(registry, 1)
    with alter(url, "results", column):
        for function in (keys.find, keys.find_past):
            with pytest.raises(Unavailable) as caught:
                registry.read(function, digest("key", 1), NOW)
            assert caught.value.reason is Reason.REGISTRY_INTEGRITY


def test_an_altered_key_is_not_changed_either(registry: Registry, url: str) -> None:
    register(registry, 1)
    with alter(url, "keys", "valid_until"), pytest.raises(Unavailable) as caught:
        suspend(registry, 1)
    assert caught.value.reason is Reason.REGISTRY_INTEGRITY
