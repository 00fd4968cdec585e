from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text

from attestd.errors import Reason, Unavailable
from attestd.registry import Registry, access, audit, catalogue, challenges, revocations
from attestd.registry.integrity import Field, seal
from attestd.registry.values import RevocationKind, Role
from tests.registry.alter import outside
from tests.registry.samples import LATER, NOW, challenge, digest

FIELDS = st.lists(st.none() | st.integers() | st.binary(max_size=8) | st.text(max_size=8), max_size=6)


@given(FIELDS, FIELDS)
def test_different_rows_have_different_seals(one: list[Field], other: list[Field]) -> None:
    same = [(type(field), field) for field in one] == [(type(field), field) for field in other]
    assert (seal("d", one) == seal("d", other)) == same


def test_type_length_and_domain_count() -> None:
    rows: list[list[Field]] = [["1"], [b"1"], [1], [None], [""], [], ["1", ""], ["", "1"], ["1:"], ["a", "b"], ["ab"]]
    seals = [seal("d", row) for row in rows]
    assert len(set(seals)) == len(rows)
    assert seal("e", ["1"]) not in seals


Read = Callable[[Registry], object]
DAMAGE: list[tuple[str, Read]] = [
    ("providers SET registered_at", lambda registry: registry.read(access.find_provider, "alice")),
    ("api_keys SET issued_at", lambda registry: registry.read(access.list_api_keys, None)),
    (
        "challenges SET issued_at",
        lambda registry: registry.read(challenges.require, digest("challenge", 1), "alice", NOW),
    ),
    ("models SET approved_at", lambda registry: registry.read(catalogue.find_model, digest("m"))),
    ("images SET approved_at", lambda registry: registry.read(catalogue.list_images)),
    ("policies SET approved_at", lambda registry: registry.read(catalogue.find_policy, "p")),
    ("revocations SET revoked_at", lambda registry: registry.read(revocations.list_all)),
    ("audit SET at", lambda registry: registry.read(audit.page)),
]


@pytest.mark.parametrize(("column", "read"), DAMAGE)
def test_a_value_that_cannot_be_is_found_out(registry: Registry, url: str, column: str, read: Read) -> None:
    challenge(registry, 1)
    for future in (
        registry.write(access.issue, Role.ADMIN, None, label="", expires_at=LATER, by="admin", at=NOW),
        registry.write(catalogue.approve_model, digest("m"), name="m", by="admin", at=NOW),
        registry.write(catalogue.approve_image, digest("i"), name="i", roles=("proxy",), by="admin", at=NOW),
        registry.write(catalogue.approve_policy, "p", 1, b"p", by="admin", at=NOW),
        registry.write(revocations.revoke, RevocationKind.PROVIDER, "bob", reason="", by="admin", at=NOW),
    ):
        future.result()
    read(registry)
    with outside(url).begin() as connection:
        connection.execute(text(f"UPDATE {column} = {2**62}"))
    with pytest.raises(Unavailable) as caught:
        read(registry)
    assert caught.value.reason is Reason.REGISTRY_INTEGRITY
