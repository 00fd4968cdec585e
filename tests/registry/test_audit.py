from hashlib import sha256

import pytest
from sqlalchemy import text

from attestd.codec import Json
from attestd.errors import Reason, Unavailable
from attestd.registry import Registry, audit
from attestd.registry.tables import AuditRow
from attestd.registry.values import AuditEntry, AuditHead
from tests.registry.alter import alter, outside
from tests.registry.conftest import Opener
from tests.registry.samples import NOW


def append(registry: Registry, subject: str) -> AuditEntry:
    detail: dict[str, Json] = {"b": 1, "a": [None, "ü"]}
    return registry.write(audit.append, actor="admin", action="test", subject=subject, detail=detail, at=NOW).result()


def broken(registry: Registry) -> str:
    with pytest.raises(Unavailable) as caught:
        registry.read(audit.verify)
    assert caught.value.reason is Reason.REGISTRY_INTEGRITY
    return caught.value.found


def test_entries_are_chained_as_the_documentation_says(registry: Registry) -> None:
    first = registry.read(audit.page).items[0]
    second = append(registry, "x")
    assert (first.seq, first.previous, first.action) == (1, bytes(32), "provider.register")
    assert (second.seq, second.previous, second.detail) == (2, first.hash, '{"a":[null,"ü"],"b":1}')
    fields = [
        b"s16:attestd/audit/v1",
        b"i1:2",
        b"i16:1796126400000000",
        b"s5:admin",
        b"s4:test",
        b"s1:x",
        b's23:{"a":[null,"\xc3\xbc"],"b":1}',
        b"b32:" + first.hash,
    ]
    assert second.hash == sha256(b"".join(fields)).digest()
    assert registry.read(audit.verify) == AuditHead(2, second.hash)
    assert registry.read(audit.page).items == (first, second)


def test_an_empty_trail_has_a_head(url: str, opener: Opener) -> None:
    assert opener(url).read(audit.verify) == AuditHead(0, bytes(32))


def test_a_long_trail_is_followed_and_listed_in_pages(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "MAX_LIMIT", 2)
    last = [append(registry, str(number)) for number in range(4)][-1]
    assert registry.read(audit.verify) == AuditHead(5, last.hash)
    seen, cursor = [], None
    for _ in range(3):
        page = registry.read(audit.page, limit=2, cursor=cursor)
        seen += [entry.seq for entry in page.items]
        cursor = page.next
    assert (seen, cursor) == ([1, 2, 3, 4, 5], None)


@pytest.mark.parametrize("column", list(AuditRow.model_fields))
def test_a_changed_entry_breaks_the_chain(registry: Registry, url: str, column: str) -> None:
    for subject in "xbz":
        append(registry, subject)
    with alter(url, "audit", column, "subject = 'b'"):
        # A number that was changed shows where the entry is missing.
        assert "audit entry 3" in broken(registry) or column == "seq"
    assert registry.read(audit.verify).seq == 4


@pytest.mark.parametrize("seq", [1, 2])
def test_a_removed_entry_breaks_the_chain(registry: Registry, url: str, seq: int) -> None:
    append(registry, "a")
    append(registry, "b")
    with outside(url).begin() as connection:
        connection.execute(text(f"DELETE FROM audit WHERE seq = {seq}"))
    assert f"audit entry {seq}" in broken(registry)


def test_entries_removed_at_the_end_show_in_the_head(registry: Registry, url: str) -> None:
    kept = append(registry, "a")
    with outside(url).begin() as connection:
        connection.execute(text("DELETE FROM audit WHERE seq = 2"))
    head = registry.read(audit.verify)
    assert head.seq < kept.seq
