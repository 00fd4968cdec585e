"""Records: one writing of each, and the map that they make."""

import json
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attestd.errors import Malformed, Reason
from attestd.transparency.entry import models_digest
from attestd.transparency.record import (
    MAX_RECORD_SIZE,
    Approve,
    Expire,
    Policy,
    Record,
    RecordedEntry,
    Revoke,
    changes,
    dump_record,
    load_record,
)
from tests.refusals import malformed
from tests.transparency.samples import AT, DIGESTS, KEY, RECORDED, RECORDS, RESULT, SECONDS, digest

APPROVE = Approve(at=AT, key=KEY, result=RESULT, entry=RECORDED)
POLICY = Policy(at=AT, name="strict-tdx", policy_version=7, digest=digest(6))
RAW = dump_record(APPROVE)


def test_by_hand() -> None:
    assert dump_record(RECORDS[2]) == (
        b'{"at":"2026-01-31T12:00:00.000000Z","decision":"suspend","key":"%b","v":1}' % KEY.hex().encode()
    )
    assert json.loads(RAW) == {
        "v": 1,
        "at": "2026-01-31T12:00:00.000000Z",
        "decision": "approve",
        "key": KEY.hex(),
        "result": RESULT.hex(),
        "entry": {
            "tee": "snp",
            "image": RECORDED.image.hex(),
            "models": [model.hex() for model in RECORDED.models],
            "not_before": 1_700_000_000,
            "not_after": 1_700_003_600,
        },
    }


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.decision)
def test_round_trip(record: Record) -> None:
    raw = dump_record(record)
    assert load_record(raw) == record
    members = json.loads(raw)
    assert raw == json.dumps(members, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()
    assert members["decision"] == type(record).__name__.lower()


def test_time_is_utc_to_the_microsecond() -> None:
    at = datetime(2026, 1, 31, 14, 0, 0, 5, tzinfo=timezone(timedelta(hours=2)))
    raw = dump_record(Expire(at=at, key=KEY))
    assert b'"at":"2026-01-31T12:00:00.000005Z"' in raw
    assert load_record(raw) == Expire(at=at.astimezone(UTC), key=KEY)
    with malformed(Reason.LOG_RECORD):
        dump_record(Expire(at=AT.replace(tzinfo=None), key=KEY))


def test_names_are_ascii() -> None:
    record = replace(POLICY, name="r\u00e8gle")
    raw = dump_record(record)
    assert raw.isascii()
    assert load_record(raw) == record
    with malformed(Reason.LOG_RECORD):
        load_record(raw.replace(b"\\u00e8", "\u00e8".encode()))


def changed(base: bytes = RAW, entry: dict[str, Any] | None = None, **members: Any) -> bytes:
    document = json.loads(base)
    document |= members
    if entry is not None:
        document["entry"] |= entry
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


ONE, TWO = (model.hex() for model in RECORDED.models)
NO_RECORDS: dict[str, bytes] = {
    "nothing": b"",
    "no JSON": b"{",
    "no object": b"[]",
    "spaces": RAW.replace(b",", b", "),
    "a line break behind it": RAW + b"\n",
    "another order": b'{"v":1,' + RAW[1:].replace(b',"v":1}', b"}"),
    "a member twice": RAW.replace(b'"v":1', b'"v":1,"v":1'),
    "a member more": changed(why="so"),
    "a member more in the entry": changed(entry={"why": "so"}),
    "an unknown decision": changed(decision="forgive"),
    "no decision": changed(decision=None),
    "another version": changed(v=0),
    "a later version": changed(v=2),
    "a boolean for a version": changed(v=True),
    "a time to the second": changed(at="2026-01-31T12:00:00Z"),
    "a time in another zone": changed(at="2026-01-31T14:00:00.000000+02:00"),
    "no time": changed(at="yesterday"),
    "upper-case hex": changed(key=KEY.hex().upper()),
    "a short key id": changed(key=KEY.hex()[2:]),
    "no key id": changed(key=None),
    "no result": changed(result=None),
    "no entry": RAW.replace(b'"entry"', b'"entri"'),
    "another TEE": changed(entry={"tee": "sev"}),
    "a short image": changed(entry={"image": "00"}),
    "no image": changed(entry={"image": None}),
    "models in another order": changed(entry={"models": [TWO, ONE]}),
    "a model twice": changed(entry={"models": [ONE, ONE]}),
    "a model in upper case": changed(entry={"models": [ONE.upper()]}),
    "a short model": changed(entry={"models": [ONE[2:]]}),
    "no list of models": changed(entry={"models": ONE}),
    "a negative time": changed(entry={"not_before": -1}),
    "a time beyond 32 bits": changed(entry={"not_after": 2**32}),
    "a time that is no integer": changed(entry={"not_after": "0"}),
    "members of another decision": changed(decision="revoke"),
    "no state": changed(dump_record(RECORDS[7]), state=None),
    "another state": changed(dump_record(RECORDS[7]), state="pending"),
    "no name": changed(dump_record(POLICY), name=""),
    "a name too long": changed(dump_record(POLICY), name="n" * 257),
    "a policy version beyond 63 bits": changed(dump_record(POLICY), policy_version=2**63),
    "too long": RAW[:-1] + b" " * MAX_RECORD_SIZE + b"}",
}


@pytest.mark.parametrize("name", NO_RECORDS)
def test_no_record(name: str) -> None:
    with malformed(Reason.LOG_RECORD):
        load_record(NO_RECORDS[name])


def test_size() -> None:
    def approve(count: int) -> Approve:
        models = tuple(sorted(digest(number) for number in range(count)))
        return Approve(at=AT, key=KEY, result=RESULT, entry=replace(RECORDED, models=models))

    # As many models as evidence may name, and as many as fit.
    assert load_record(dump_record(approve(64))) == approve(64)
    most = next(count for count in range(64, 200) if len(dump_record(approve(count))) > MAX_RECORD_SIZE - 67)
    assert load_record(dump_record(approve(most))) == approve(most)
    with malformed(Reason.LOG_RECORD):
        dump_record(approve(most + 1))


def test_models_are_sorted() -> None:
    other = replace(RECORDED, models=RECORDED.models[::-1] * 2)
    assert dump_record(Approve(at=AT, key=KEY, result=RESULT, entry=other)) == RAW


RECORDED_ENTRIES = st.builds(
    RecordedEntry,
    tee=st.sampled_from(["tdx", "sgx", "snp"]),
    image=DIGESTS,
    models=st.sets(DIGESTS, max_size=4).map(lambda models: tuple(sorted(models))),
    not_before=SECONDS,
    not_after=SECONDS,
)


@given(st.datetimes(timezones=st.just(UTC)), DIGESTS, DIGESTS, RECORDED_ENTRIES, st.sampled_from(RECORDS[:4:3]))
def test_any_entry(at: datetime, key: bytes, result: bytes, entry: RecordedEntry, like: Approve) -> None:
    record = type(like)(at=at, key=key, result=result, entry=entry)
    assert load_record(dump_record(record)) == record


@given(st.integers(0, len(RAW)), st.binary(max_size=3), st.integers(0, 3), st.sampled_from(RECORDS))
def test_whatever_the_bytes_are(at: int, inserted: bytes, dropped: int, record: Record) -> None:
    raw = dump_record(record)
    other = raw[:at] + inserted + raw[at + dropped :]
    with suppress(Malformed):
        assert dump_record(load_record(other)) == other
    with suppress(Malformed):
        load_record(inserted)


def test_every_byte() -> None:
    for record in RECORDS:
        raw = dump_record(record)
        for bit in range(8 * len(raw)):
            wrong = bytearray(raw)
            wrong[bit // 8] ^= 1 << bit % 8
            with suppress(Malformed):
                assert dump_record(load_record(bytes(wrong))) == wrong


def test_changes() -> None:
    another = digest(40)
    listed = APPROVE.listed()
    assert (listed.tee, listed.result, listed.models) == ("snp", RESULT, models_digest(RECORDED.models))
    assert (listed.image, listed.not_before) == (RECORDED.image, RECORDED.not_before)
    assert listed.not_after == RECORDED.not_after
    steps = [listed, listed, None, listed, None, None, None, None, None, None]
    for count, expected in enumerate(steps, 1):
        assert changes(RECORDS[:count]) == {KEY: expected}
    records = [Revoke(at=AT, key=another), *RECORDS[:2], *RECORDS[6:]]
    assert changes(records) == {another: None, KEY: listed}
    assert changes([]) == {}
