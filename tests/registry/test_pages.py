import pytest
from hypothesis import given
from hypothesis import strategies as st

from attestd.errors import Reason, RequestRefused
from attestd.registry import Registry, access
from attestd.registry.pages import MAX_LIMIT, load_cursor, make_cursor
from tests.registry.samples import prepare

KEY = bytes(32)


@pytest.mark.parametrize("limit", [-(2**63), -1, 0, MAX_LIMIT + 1, 2**63])
def test_limits_are_bounded(registry: Registry, limit: int) -> None:
    """Attacks A14."""
    with pytest.raises(RequestRefused) as caught:
        registry.read(access.list_providers, limit=limit)
    assert caught.value.reason is Reason.REQUEST_MALFORMED


@pytest.mark.parametrize("limit", [1, MAX_LIMIT])
def test_both_ends_are_allowed(registry: Registry, limit: int) -> None:
    assert [provider.id for provider in registry.read(access.list_providers, limit=limit).items] == ["alice"]


def test_a_full_last_page_has_no_next(registry: Registry) -> None:
    prepare(registry, "bob")
    assert registry.read(access.list_providers, limit=2).next is None
    assert registry.read(access.list_providers, limit=1).next is not None


def refused(cursor: str, *scope: str) -> None:
    with pytest.raises(RequestRefused) as caught:
        load_cursor(KEY, cursor, scope)
    assert caught.value.reason is Reason.REQUEST_MALFORMED
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    "cursor", ["", "A", "=", "ü", "\0", "'; DROP TABLE keys; --", "../..", "A" * 22, "A" * 513, "A" * 10_000_000]
)
def test_what_is_no_cursor_is_refused(cursor: str) -> None:
    refused(cursor, "keys")


@given(st.binary(max_size=64))
def test_a_cursor_leads_back_to_where_it_was_made(last: bytes) -> None:
    assert load_cursor(KEY, make_cursor(KEY, last, ("keys", None, 1)), ("keys", None, 1)) == last


@given(st.binary(min_size=1, max_size=40), st.data())
def test_no_character_of_a_cursor_can_be_changed(last: bytes, data: st.DataObject) -> None:
    cursor = make_cursor(KEY, last, ("keys",))
    position = data.draw(st.integers(0, len(cursor) - 1))
    other = data.draw(st.sampled_from("ABab09-_").filter(lambda character: character != cursor[position]))
    refused(cursor[:position] + other + cursor[position + 1 :], "keys")
    refused(cursor[:-1], "keys")
    refused(cursor + "A", "keys")


def test_a_cursor_is_bound_to_its_key_and_scope() -> None:
    cursor = make_cursor(KEY, b"x", ("keys", "tdx"))
    for scope in (("keys",), ("keystdx",), ("keys", "tdx", "x"), ("keys", "sgx")):
        refused(cursor, *scope)
    with pytest.raises(RequestRefused):
        load_cursor(b"\1" * 32, cursor, ("keys", "tdx"))
