"""Event logs: every genuine one, and for each rule a log in which only that is wrong."""

import json
import os
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from hashlib import sha384
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attestd.errors import AttestdError, Malformed, NotAuthentic, Reason
from attestd.evidence import MAX_EVENT_LOG_SIZE
from attestd.tdx.eventlog import (
    DSTACK_RUNTIME_EVENT,
    EV_NO_ACTION,
    MAX_EVENTS,
    EventLogClaims,
    LogFormat,
    Registers,
    RuntimeEvent,
    export_event_log,
    replay,
    verify_event_log,
)

ROOT = Path(__file__).parent.parent.parent
EVIDENCE = Path(os.environ.get("ATTESTD_EVIDENCE", ROOT.parent / "shared" / "evidence")) / "tdx"
needs_evidence = pytest.mark.skipif(not EVIDENCE.is_dir(), reason="no evidence folder: set ATTESTD_EVIDENCE")

SEPARATOR = 0x4
SHA384 = {0xC: 48}


def refused(call: Callable[[], object], reason: Reason, kind: type[AttestdError] = Malformed) -> str:
    with pytest.raises(AttestdError) as caught:
        call()
    assert (type(caught.value), caught.value.reason) == (kind, reason)
    return str(caught.value)


def registers_in(values: dict[str, str]) -> Registers:
    rtmr0, rtmr1, rtmr2, rtmr3 = (bytes.fromhex(values[f"rtmr{number}"]) for number in range(4))
    return rtmr0, rtmr1, rtmr2, rtmr3


# ---------------------------------------------------------------------------------------------------------------------
# Genuine logs


@needs_evidence
@pytest.mark.parametrize("case", ["dstack-ccel", "trustee-grub", "trustee-grub-gke", "trustee-ovmf"])
def test_genuine_ccel_without_a_quote(case: str) -> None:
    expected = json.loads((EVIDENCE / "ccel" / case / "expected.json").read_text())
    replayed = replay((EVIDENCE / "ccel" / case / "ccel.bin").read_bytes())
    assert replayed.format is LogFormat.CCEL
    assert replayed.registers == registers_in(expected["replayed"])
    assert replayed.bytes_used == expected["bytes_used"]
    assert len(replayed.events) == expected["events"]
    assert sum(event.type == EV_NO_ACTION for event in replayed.events) == expected["no_action_events"]
    assert {str(number): count for number, count in enumerate(replayed.events_per_register) if count} == expected[
        "events_per_register"
    ]


def genuine(case: str, name: str) -> tuple[bytes, Registers]:
    folder = EVIDENCE / "real" / case
    body = json.loads((folder / "expected.json").read_text())["body"]
    return (folder / name).read_bytes(), registers_in(body)


@needs_evidence
def test_genuine_ccel_of_a_quote() -> None:
    raw, rtmrs = genuine("tdx-v4-00806f-gcp-ccel", "ccel.bin")
    claims = verify_event_log(raw, rtmrs)
    assert claims == EventLogClaims(
        format=LogFormat.CCEL, events_per_register=(16, 7, 20, 0), rtmr3_matches=True, runtime_events=()
    )


@needs_evidence
def test_genuine_dstack_log_of_a_quote() -> None:
    raw, rtmrs = genuine("tdx-v4-b0c06f-dstack-event-log", "dstack_event_log.json")
    claims = verify_event_log(raw, rtmrs)
    assert (claims.format, claims.events_per_register, claims.rtmr3_matches) == (LogFormat.DSTACK, (13, 5, 2, 9), True)
    app_id = bytes.fromhex("2911e1f733466216dedb862d6d669e11256ee7a3")
    assert claims.runtime_events[1] == RuntimeEvent(name="app-id", payload=app_id)
    assert [event.name for event in claims.runtime_events] == [
        "system-preparing",
        "app-id",
        "compose-hash",
        "instance-id",
        "boot-mr-done",
        "key-provider",
        "storage-fs",
        "system-ready",
        "mpc-image-digest",
    ]


@needs_evidence
def test_a_log_of_another_machine_is_refused() -> None:
    raw, _ = genuine("tdx-v4-00806f-gcp-ccel", "ccel.bin")
    _, rtmrs = genuine("tdx-v4-b0c06f-dstack-event-log", "dstack_event_log.json")
    assert "RTMR0" in refused(lambda: verify_event_log(raw, rtmrs), Reason.EVENT_LOG_MISMATCH, NotAuthentic)


@needs_evidence
def test_every_changed_byte_of_a_genuine_ccel_keeps_or_refuses() -> None:
    raw, rtmrs = genuine("tdx-v4-00806f-gcp-ccel", "ccel.bin")
    claims = verify_event_log(raw, rtmrs)
    outcomes = {Reason.EVENT_LOG_MISMATCH: 0, Reason.EVENT_LOG_MALFORMED: 0}
    accepted = 0
    for position in range(0, replay(raw).bytes_used, 7):
        changed = raw[:position] + bytes([raw[position] ^ 0xFF]) + raw[position + 1 :]
        try:
            assert verify_event_log(changed, rtmrs) == claims  # the event data is not tied to the digests
            accepted += 1
        except (Malformed, NotAuthentic) as error:
            outcomes[error.reason] += 1
    assert accepted
    assert all(outcomes.values())


# ---------------------------------------------------------------------------------------------------------------------
# A CCEL in which everything can be set


def make_event(
    index: int, kind: int, digests: dict[int, bytes], data: bytes = b"", *, count: int | None = None
) -> bytes:
    head = struct.pack("<III", index, kind, len(digests) if count is None else count)
    body = b"".join(struct.pack("<H", algorithm) + digest for algorithm, digest in digests.items())
    return head + body + struct.pack("<I", len(data)) + data


def measured(index: int, text: bytes, kind: int = SEPARATOR) -> bytes:
    return make_event(index, kind, {0xC: sha384(text).digest()}, text)


def make_header(
    algorithms: dict[int, int] = SHA384,
    *,
    kind: int = EV_NO_ACTION,
    digest: bytes = bytes(20),
    signature: bytes = b"Spec ID Event03\0",
    count: int | None = None,
    table: bytes | None = None,
    vendor: bytes = b"\0",
    size: int | None = None,
) -> bytes:
    if table is None:
        table = b"".join(struct.pack("<HH", *algorithm) for algorithm in algorithms.items())
    event = signature + struct.pack("<IBBBBI", 0, 0, 2, 0, 2, len(table) // 4 if count is None else count)
    event += table + vendor
    return struct.pack("<II", 1, kind) + digest + struct.pack("<I", len(event) if size is None else size) + event


EVENTS = [measured(1, b"a"), measured(2, b"b"), measured(1, b"c"), measured(3, b"d"), measured(4, b"e")]
END = b"\xff" * 64


def extend(*digests: bytes) -> bytes:
    register = bytes(48)
    for digest in digests:
        register = sha384(register + digest).digest()
    return register


def h(text: bytes) -> bytes:
    return sha384(text).digest()


RTMRS: Registers = (extend(h(b"a"), h(b"c")), extend(h(b"b")), extend(h(b"d")), extend(h(b"e")))


def make_ccel(events: list[bytes] = EVENTS, header: bytes | None = None, end: bytes = END) -> bytes:
    return (make_header() if header is None else header) + b"".join(events) + end


def test_a_right_ccel_is_verified() -> None:
    claims = verify_event_log(make_ccel(), RTMRS)
    assert claims.events_per_register == (2, 1, 1, 1)
    assert claims.rtmr3_matches


@pytest.mark.parametrize("end", [b"", b"\xff" * 4, END, b"\0", bytes(11), bytes(12), bytes(100), b"\xff" * 4 + b"old"])
def test_a_ccel_ends_with_its_marker_zeros_or_the_area(end: bytes) -> None:
    replayed = replay(make_ccel(end=end))
    assert replayed.registers == RTMRS
    assert replayed.bytes_used == len(make_ccel(end=b""))


def test_other_algorithms_may_stand_beside_sha384() -> None:
    event = make_event(1, SEPARATOR, {0xB: bytes(32), 0xC: h(b"a"), 0x4: bytes(20)})
    header = make_header({0x4: 20, 0xB: 32, 0xC: 48}, vendor=b"\3abc")
    assert replay(make_ccel([event], header)).registers[0] == extend(h(b"a"))


def test_index_0_is_mrtd_and_extends_nothing() -> None:
    replayed = replay(make_ccel([*EVENTS, measured(0, b"f")]))
    assert replayed.registers == RTMRS
    assert replayed.events[-1].register is None


def test_ev_no_action_extends_nothing() -> None:
    log = make_ccel([*EVENTS, measured(1, b"f", EV_NO_ACTION), measured(0, b"g", EV_NO_ACTION)])
    assert verify_event_log(log, RTMRS).events_per_register == (2, 1, 1, 1)


# T52: a log that lies about what was measured.
LYING = {
    "a measured event as EV_NO_ACTION": ([measured(1, b"a", EV_NO_ACTION), *EVENTS[1:]], "RTMR0"),
    "an event dropped": ([EVENTS[0], *EVENTS[2:]], "RTMR1"),
    "events reordered": ([EVENTS[2], EVENTS[1], EVENTS[0], *EVENTS[3:]], "RTMR0"),
    "an event twice": ([*EVENTS, EVENTS[3]], "RTMR2"),
    "an event in another register": ([*EVENTS[:3], measured(2, b"d"), EVENTS[4]], "RTMR1"),
    "an event in MRTD's place": ([*EVENTS[:3], measured(0, b"d"), EVENTS[4]], "RTMR2"),
    "another digest": ([*EVENTS[:3], measured(3, b"D"), EVENTS[4]], "RTMR2"),
    "cut short by an end marker": ([*EVENTS[:3], b"\xff" * 4, *EVENTS[3:]], "RTMR2"),
    "no events": ([], "RTMR0"),
}


@pytest.mark.parametrize(("events", "register"), LYING.values(), ids=LYING)
def test_a_log_that_does_not_replay_is_refused(events: list[bytes], register: str) -> None:
    log = make_ccel(events)
    message = refused(lambda: verify_event_log(log, RTMRS), Reason.EVENT_LOG_MISMATCH, NotAuthentic)
    assert f"found {register} " in message


@pytest.mark.parametrize("number", range(4))
def test_rtmr0_to_2_are_enforced_and_rtmr3_is_reported(number: int) -> None:
    quoted = [*RTMRS]
    quoted[number] = extend(b"later")
    rtmrs: Registers = (quoted[0], quoted[1], quoted[2], quoted[3])
    if number == 3:
        assert verify_event_log(make_ccel(), rtmrs).rtmr3_matches is False
    else:
        message = refused(lambda: verify_event_log(make_ccel(), rtmrs), Reason.EVENT_LOG_MISMATCH, NotAuthentic)
        assert f"found RTMR{number} " in message


TWO = {0xB: 32, 0xC: 48}
MALFORMED_CCELS = {
    "empty": b"",
    "header alone, cut": make_header()[:-1],
    "header of another type": make_ccel(header=make_header(kind=SEPARATOR)),
    "header with a digest": make_ccel(header=make_header(digest=b"\1" * 20)),
    "header of another version": make_ccel(header=make_header(signature=b"Spec ID Event02\0")),
    "header without algorithms": make_ccel(header=make_header({})),
    "header with nine algorithms": make_ccel(header=make_header({0xC: 48} | dict.fromkeys(range(100, 108), 1))),
    "header with 2**32 - 1 algorithms": make_ccel(header=make_header(count=2**32 - 1)),
    "header with more algorithms than it has": make_ccel(header=make_header(count=2)),
    "header with fewer algorithms than it has": make_ccel(header=make_header(TWO, count=1)),
    "header without SHA-384": make_ccel(header=make_header({0xB: 32})),
    "header with another size of SHA-384": make_ccel(header=make_header({0xC: 32})),
    "header with SHA-384 twice": make_ccel(header=make_header(table=struct.pack("<HHHH", 0xC, 48, 0xC, 48))),
    "header with vendor data too long": make_ccel(header=make_header(vendor=b"\2a")),
    "header with bytes left": make_ccel(header=make_header(vendor=b"\0a")),
    "header larger than the log": make_ccel(header=make_header(size=2**32 - 1)),
    "event of RTMR4": make_ccel([measured(5, b"a")]),
    "event of 2**32 - 2": make_ccel([measured(2**32 - 2, b"a")]),
    "event without digests": make_ccel([make_event(1, SEPARATOR, {})]),
    "event with two digests for one algorithm": make_ccel([make_event(1, SEPARATOR, {0xB: bytes(32), 0xC: h(b"a")})]),
    "event with fewer digests than algorithms": make_ccel([EVENTS[0]], header=make_header(TWO)),
    "event with 2**32 - 1 digests": make_ccel([make_event(1, SEPARATOR, {0xC: h(b"a")}, count=2**32 - 1)]),
    "event of another algorithm": make_ccel([make_event(1, SEPARATOR, {0xB: bytes(48)})]),
    "event with an algorithm twice": make_ccel(
        [struct.pack("<III", 1, SEPARATOR, 2) + (b"\x0c\0" + h(b"a")) * 2 + bytes(4)], header=make_header(TWO)
    ),
    "event cut in its head": make_ccel(end=b"\1\0\0\0\4"),
    "event cut in its digest": make_ccel(end=EVENTS[0][:40]),
    "event cut in its data": make_ccel(end=EVENTS[0][:-1]),
    "event larger than the log": make_ccel([EVENTS[0][:-5] + struct.pack("<I", 2**32 - 1)]),
    "zeros and something after them": make_ccel(end=bytes(100) + b"\1"),
    "zeros between events": make_ccel([EVENTS[0], bytes(12), *EVENTS[1:]]),
    "one event too many": make_ccel([EVENTS[0]] * (MAX_EVENTS + 1)),
    "quote instead": b"\4\0\2\0" + bytes(5000),
}


@pytest.mark.parametrize("log", MALFORMED_CCELS.values(), ids=MALFORMED_CCELS)
def test_malformed_ccels_are_refused(log: bytes) -> None:
    refused(lambda: replay(log), Reason.EVENT_LOG_MALFORMED)


def test_as_many_events_as_are_allowed() -> None:
    assert len(replay(make_ccel([EVENTS[0]] * MAX_EVENTS)).events) == MAX_EVENTS


def test_size_is_capped() -> None:
    assert replay(make_ccel(end=b"").ljust(MAX_EVENT_LOG_SIZE, b"\0")).registers == RTMRS
    refused(lambda: replay(make_ccel(end=b"").ljust(MAX_EVENT_LOG_SIZE + 1, b"\0")), Reason.EVIDENCE_SIZE)


def test_every_truncation_is_refused_or_seen() -> None:
    log = make_ccel(end=b"")
    without_rtmr3 = len(make_ccel(EVENTS[:-1], end=b""))
    for size in range(len(log)):
        if size == without_rtmr3:
            assert not verify_event_log(log[:size], RTMRS).rtmr3_matches
            continue
        with pytest.raises(AttestdError) as caught:
            verify_event_log(log[:size], RTMRS)
        assert caught.value.reason in {Reason.EVENT_LOG_MALFORMED, Reason.EVENT_LOG_MISMATCH}


@given(st.binary(max_size=300))
def test_no_bytes_leak_another_error(tail: bytes) -> None:
    for log in (tail, make_ccel(end=tail), b"[" + tail):
        with suppress(AttestdError):
            verify_event_log(log, RTMRS)


# ---------------------------------------------------------------------------------------------------------------------
# dstack's log


def boot_event(imr: int, text: bytes, kind: int = SEPARATOR) -> dict[str, Any]:
    return {"imr": imr, "event_type": kind, "digest": h(text).hex(), "event": "", "event_payload": text.hex()}


def runtime_event(name: str, payload: bytes, imr: int = 3) -> dict[str, Any]:
    digest = sha384(struct.pack("<I", DSTACK_RUNTIME_EVENT) + b":" + name.encode() + b":" + payload).hexdigest()
    kind = DSTACK_RUNTIME_EVENT
    return {"imr": imr, "event_type": kind, "digest": digest, "event": name, "event_payload": payload.hex()}


BOOT = [boot_event(0, b"a"), boot_event(1, b"b"), boot_event(0, b"c"), boot_event(2, b"d")]
RUNTIME = [runtime_event("app-id", b"\1\2"), runtime_event("system-ready", b"")]
DSTACK_RTMRS: Registers = (*RTMRS[:3], extend(*(bytes.fromhex(event["digest"]) for event in RUNTIME)))


def make_dstack(entries: list[Any]) -> bytes:
    return json.dumps(entries).encode()


def test_a_right_dstack_log_is_verified() -> None:
    claims = verify_event_log(make_dstack(BOOT + RUNTIME), DSTACK_RTMRS)
    assert export_event_log(claims) == {
        "format": "dstack",
        "events_per_register": [2, 1, 1, 2],
        "rtmr3_matches": True,
        "runtime_events": [
            {"event": "app-id", "event_payload": "0102"},
            {"event": "system-ready", "event_payload": ""},
        ],
    }


# T51: the digests are right, what people read was changed.
@pytest.mark.parametrize("changed", [{"event": "app-Id"}, {"event_payload": "0103"}, {"event_payload": ""}])
def test_text_beside_a_runtime_digest_must_be_what_was_hashed(changed: dict[str, str]) -> None:
    log = make_dstack([*BOOT, RUNTIME[0] | changed, RUNTIME[1]])
    message = refused(lambda: verify_event_log(log, DSTACK_RTMRS), Reason.EVENT_LOG_MISMATCH, NotAuthentic)
    assert "text of event 4" in message


@pytest.mark.parametrize("changed", [{"event": "app-id"}, {"event_payload": "ff"}])
def test_text_beside_a_boot_digest_gives_no_claim(changed: dict[str, str]) -> None:
    log = make_dstack([BOOT[0] | changed, *BOOT[1:], *RUNTIME])
    assert verify_event_log(log, DSTACK_RTMRS) == verify_event_log(make_dstack(BOOT + RUNTIME), DSTACK_RTMRS)


def test_runtime_events_of_a_register_that_does_not_match_give_no_claim() -> None:
    forged = runtime_event("app-id", b"forged")
    claims = verify_event_log(make_dstack([*BOOT, forged, RUNTIME[1]]), DSTACK_RTMRS)
    assert (claims.rtmr3_matches, claims.runtime_events) == (False, ())


def test_runtime_events_count_in_rtmr3_alone() -> None:
    misplaced = runtime_event("app-id", b"forged", imr=2)
    other_type = boot_event(3, b"other")
    rtmrs: Registers = (
        *DSTACK_RTMRS[:2],
        extend(h(b"d"), bytes.fromhex(misplaced["digest"])),
        extend(*(bytes.fromhex(event["digest"]) for event in (*RUNTIME, other_type))),
    )
    claims = verify_event_log(make_dstack([*BOOT, misplaced, *RUNTIME, other_type]), rtmrs)
    assert claims.rtmr3_matches
    assert [event.name for event in claims.runtime_events] == ["app-id", "system-ready"]


def test_events_of_one_name_keep_their_order() -> None:
    again = runtime_event("app-id", b"later")
    events = [*RUNTIME, again]
    rtmrs: Registers = (*RTMRS[:3], extend(*(bytes.fromhex(event["digest"]) for event in events)))
    claims = verify_event_log(make_dstack(BOOT + events), rtmrs)
    assert [event.payload for event in claims.runtime_events] == [b"\1\2", b"", b"later"]


DSTACK_LYING = {
    "a measured event as EV_NO_ACTION": ([boot_event(0, b"a", EV_NO_ACTION), *BOOT[1:]], "RTMR0"),
    "an event dropped": ([BOOT[0], *BOOT[2:]], "RTMR1"),
    "events reordered": ([BOOT[2], BOOT[1], BOOT[0], BOOT[3]], "RTMR0"),
    "an event twice": ([*BOOT, BOOT[3]], "RTMR2"),
    "another digest": ([*BOOT[:3], boot_event(2, b"D")], "RTMR2"),
    "no events": ([], "RTMR0"),
}


@pytest.mark.parametrize(("entries", "register"), DSTACK_LYING.values(), ids=DSTACK_LYING)
def test_a_dstack_log_that_does_not_replay_is_refused(entries: list[Any], register: str) -> None:
    log = make_dstack(entries + RUNTIME)
    message = refused(lambda: verify_event_log(log, DSTACK_RTMRS), Reason.EVENT_LOG_MISMATCH, NotAuthentic)
    assert f"found {register} " in message


MALFORMED_ENTRIES: dict[str, Any] = {
    "no object": 1,
    "a list": [],
    "unknown member": BOOT[0] | {"comment": ""},
    "no digest": {name: value for name, value in BOOT[0].items() if name != "digest"},
    "imr 4": BOOT[0] | {"imr": 4},
    "imr -1": BOOT[0] | {"imr": -1},
    "imr true": BOOT[0] | {"imr": True},
    "imr as text": BOOT[0] | {"imr": "0"},
    "event type of 33 bits": BOOT[0] | {"event_type": 2**32},
    "digest of SHA-256": BOOT[0] | {"digest": "00" * 32},
    "digest of SHA-512": BOOT[0] | {"digest": "00" * 64},
    "digest that is no hex": BOOT[0] | {"digest": "0x" + "00" * 47},
    "event null": BOOT[0] | {"event": None},
    "event too long": BOOT[0] | {"event": "a" * 257},
    "payload null": BOOT[0] | {"event_payload": None},
    "payload of an odd digit": BOOT[0] | {"event_payload": "0"},
    "payload that is no hex": BOOT[0] | {"event_payload": "zz"},
}


@pytest.mark.parametrize("entry", MALFORMED_ENTRIES.values(), ids=MALFORMED_ENTRIES)
def test_malformed_entries_are_refused(entry: Any) -> None:
    message = refused(lambda: replay(make_dstack([*BOOT, entry])), Reason.EVENT_LOG_MALFORMED)
    assert "event 4" in message


@pytest.mark.parametrize(
    "log",
    [
        b"[",
        b"[]]",
        b"[" * 100_000,
        b'[{"imr": 0, "imr": 0}]',
        b"[NaN]",
        b"[1e999]",
        b'["\xff"]',
        b' [{"imr": 0}]',
        b'{"events": []}',
        make_dstack([BOOT[0]] * (MAX_EVENTS + 1)),
    ],
    ids=["cut", "two", "deep", "duplicate", "NaN", "1e999", "no UTF-8", "leading space", "object", "too many"],
)
def test_malformed_dstack_logs_are_refused(log: bytes) -> None:
    refused(lambda: replay(log), Reason.EVENT_LOG_MALFORMED)


def test_registers_are_replayed_even_where_nothing_was_measured() -> None:
    assert replay(b"[]").registers == (bytes(48),) * 4


def test_claims_are_values() -> None:
    claims = verify_event_log(make_ccel(), RTMRS)
    with pytest.raises(AttributeError):
        claims.rtmr3_matches = True  # type: ignore[misc]
    assert replace(claims) == claims
