"""Event logs of a TD: parsed, replayed to RTMR0-3, and compared with the quoted registers.

Two forms are read (tdx.md, section 4). A CCEL is the log area that the ACPI table of that name points to, in the
format of TCG PC Client Platform Firmware Profile, 10.4.5 and 10.2.2, little-endian throughout:

    header   index u32, type u32 = EV_NO_ACTION, 20 zero bytes, size u32, then "Spec ID Event03": signature 16,
             platform class u32, minor, major, errata, uintn size, count u32, {algorithm u16, digest size u16},
             vendor size u8, vendor data
    event    index u32, type u32, count u32, {algorithm u16, digest}, size u32, data

Index 0 is MRTD and 1 to 4 are RTMR0 to RTMR3. dstack's log is a JSON array of `{"imr": 0..3, "event_type": u32,
"digest": hex, "event": text, "event_payload": hex}`. RTMR = SHA-384(RTMR || digest), from 48 zero bytes on;
EV_NO_ACTION extends nothing.

What a log says beside its digests is not tied to the registers. It becomes a claim only where its hash is the digest.
RTMR3 is reported and not enforced: a kernel that extends it writes no entry into the CCEL.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha384
from typing import Final, TypeAlias

from attestd.codec import Fields, Json, Reader, load_hex, load_json
from attestd.errors import Malformed, NotAuthentic, Reason
from attestd.evidence import MAX_EVENT_LOG_SIZE

# Genuine logs have 18 to 43 events; what runs in the guest may add some to RTMR3.
MAX_EVENTS: Final = 4096
# The TCG's registry knows eight hash algorithms that are in use; genuine logs have SHA-384 alone.
MAX_ALGORITHMS: Final = 8

EV_NO_ACTION: Final = 0x3
DSTACK_RUNTIME_EVENT: Final = 0x08000001

_SHA384: Final = 0x000C
_SHA384_SIZE: Final = 48
_END: Final = b"\xff" * 4
_EVENT_HEAD_SIZE: Final = 12
_SPEC_ID: Final = b"Spec ID Event03\0"
_REGISTERS: Final = 4
_ENFORCED: Final = 3

Registers: TypeAlias = tuple[bytes, bytes, bytes, bytes]


class LogFormat(StrEnum):
    """The two forms of logs."""

    CCEL = "ccel"
    DSTACK = "dstack"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One entry of a log, as it stands there."""

    register: int | None  # 0 to 3 for RTMR0 to RTMR3; None for MRTD
    type: int
    digest: bytes  # SHA-384
    data: bytes
    name: str = ""  # dstack alone

    @property
    def extends(self) -> bool:
        """Whether a runtime register was extended with the digest."""
        return self.register is not None and self.type != EV_NO_ACTION


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """What a log amounts to; nothing of it is verified."""

    format: LogFormat
    registers: Registers
    events: tuple[Event, ...]
    bytes_used: int  # of the area; what follows is padding

    @property
    def events_per_register(self) -> tuple[int, int, int, int]:
        """How many events extended each of RTMR0 to RTMR3."""
        extended = [event.register for event in self.events if event.extends]
        return extended.count(0), extended.count(1), extended.count(2), extended.count(3)


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeEvent:
    """An event of dstack's whose name and payload are in RTMR3, as app-id, compose-hash and instance-id are."""

    name: str
    payload: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class EventLogClaims:
    """What has been verified of an event log against the registers of an authenticated quote.

    Whatever runs in the guest can append runtime events of any name. So their order is kept: those in front of the
    first `system-ready` are the boot's, and of two with one name the first one is.
    """

    format: LogFormat
    events_per_register: tuple[int, int, int, int]
    rtmr3_matches: bool
    runtime_events: tuple[RuntimeEvent, ...]  # none where RTMR3 does not match


def verify_event_log(raw: bytes, rtmrs: Registers) -> EventLogClaims:
    """Verify that a log replays to RTMR0, RTMR1 and RTMR2 of an authenticated quote.

    Raises `Malformed` (`event_log.malformed`, `evidence.size`), and `NotAuthentic` (`event_log.mismatch`), which names
    the register, or the event whose text is not what its digest is of.
    """
    replayed = replay(raw)
    for number in range(_ENFORCED):
        if replayed.registers[number] != rtmrs[number]:
            raise NotAuthentic(
                Reason.EVENT_LOG_MISMATCH,
                found=f"RTMR{number} {replayed.registers[number].hex()} in the log",
                wanted=f"{rtmrs[number].hex()} as in the quote",
            )
    runtime_events = tuple(_runtime_events(replayed))
    rtmr3_matches = replayed.registers[3] == rtmrs[3]
    return EventLogClaims(
        format=replayed.format,
        events_per_register=replayed.events_per_register,
        rtmr3_matches=rtmr3_matches,
        runtime_events=runtime_events if rtmr3_matches else (),
    )


def export_event_log(claims: EventLogClaims) -> dict[str, Json]:
    """Return the claims for JSON; payloads in lower-case hex, names as the guest wrote them."""
    return {
        "format": claims.format.value,
        "events_per_register": list(claims.events_per_register),
        "rtmr3_matches": claims.rtmr3_matches,
        "runtime_events": [
            {"event": event.name, "event_payload": event.payload.hex()} for event in claims.runtime_events
        ],
    }


def replay(raw: bytes) -> Replayed:
    """Parse a log of either form and extend the registers with it.

    Raises `Malformed` (`event_log.malformed`, `evidence.size`).
    """
    if len(raw) > MAX_EVENT_LOG_SIZE:
        raise Malformed(Reason.EVIDENCE_SIZE, found=f"{len(raw)} bytes", wanted=f"at most {MAX_EVENT_LOG_SIZE} bytes")
    # A CCEL begins with the index of a register; a JSON array does not.
    log_format = LogFormat.DSTACK if raw[:1] == b"[" else LogFormat.CCEL
    events, bytes_used = _parse_dstack(raw) if log_format is LogFormat.DSTACK else _parse_ccel(raw)
    registers = [bytes(_SHA384_SIZE)] * _REGISTERS
    for event in events:
        if event.register is not None and event.extends:
            registers[event.register] = sha384(registers[event.register] + event.digest).digest()
    rtmr0, rtmr1, rtmr2, rtmr3 = registers
    return Replayed(
        format=log_format, registers=(rtmr0, rtmr1, rtmr2, rtmr3), events=tuple(events), bytes_used=bytes_used
    )


def _runtime_events(replayed: Replayed) -> Iterator[RuntimeEvent]:
    """Yield dstack's events of RTMR3. One whose text was changed beside its digest is refused, not passed over."""
    if replayed.format is not LogFormat.DSTACK:
        return
    for number, event in enumerate(replayed.events):
        if event.register == _ENFORCED and event.type == DSTACK_RUNTIME_EVENT:
            hashed = b":".join((event.type.to_bytes(4, "little"), event.name.encode(), event.data))
            if sha384(hashed).digest() != event.digest:
                raise NotAuthentic(
                    Reason.EVENT_LOG_MISMATCH,
                    found=f"another digest than of the text of event {number}",
                    wanted="SHA-384(event_type || ':' || event || ':' || event_payload)",
                )
            yield RuntimeEvent(name=event.name, payload=event.data)


def _parse_ccel(raw: bytes) -> tuple[list[Event], int]:
    reader = Reader(raw, Reason.EVENT_LOG_MALFORMED)
    algorithms = _parse_header(reader)
    events: list[Event] = []
    while not _at_end(raw, reader.offset):
        if len(events) == MAX_EVENTS:
            raise _too_many_events()
        events.append(_parse_event(reader, algorithms))
    return events, reader.offset


def _parse_header(reader: Reader) -> dict[int, int]:
    """Return the sizes of digests by algorithm."""
    reader.u32()
    kind, digest = reader.u32(), reader.take(20)
    header = reader.nested(reader.u32())
    if kind != EV_NO_ACTION or any(digest) or header.take(len(_SPEC_ID)) != _SPEC_ID:
        raise _malformed("another first event", "a Spec ID Event03 header")
    header.take(8)  # platform class and versions say nothing about the layout that follows
    count = header.u32()
    if not 0 < count <= MAX_ALGORITHMS:
        raise _malformed(f"{count} hash algorithms", f"1 to {MAX_ALGORITHMS}")
    algorithms = {header.u16(): header.u16() for _ in range(count)}
    if len(algorithms) != count or algorithms.get(_SHA384) != _SHA384_SIZE:
        raise _malformed("a hash algorithm twice, or no SHA-384 of 48 bytes", "SHA-384, and each algorithm once")
    header.take(header.u8())
    header.finish()
    return algorithms


def _at_end(raw: bytes, offset: int) -> bool:
    """Tell whether the log ends here: with its marker, with zeros or with the area."""
    if raw.startswith(_END, offset):
        return True
    if raw[offset : offset + _EVENT_HEAD_SIZE].strip(b"\0"):
        return False
    # There is no event of index, type and count 0, so these zeros must be padding, to the very end.
    if raw[offset:].strip(b"\0"):
        raise _malformed(f"zeros at offset {offset} and something after them", "padding to the end")
    return True


def _parse_event(reader: Reader, algorithms: dict[int, int]) -> Event:
    index, kind, count = reader.u32(), reader.u32(), reader.u32()
    if index > _REGISTERS:
        raise _malformed(f"register index {index}", "0 (MRTD) to 4 (RTMR3)")
    if count != len(algorithms):
        raise _malformed(f"{count} digests in an event", f"{len(algorithms)}, one for each algorithm")
    digests: dict[int, bytes] = {}
    for _ in range(count):
        algorithm = reader.u16()
        if algorithm not in algorithms or algorithm in digests:
            raise _malformed(f"algorithm {algorithm:#06x} in an event", "each algorithm of the header once")
        digests[algorithm] = reader.take(algorithms[algorithm])
    register = index - 1 if index else None
    return Event(register=register, type=kind, digest=digests[_SHA384], data=reader.take(reader.u32()))


def _parse_dstack(raw: bytes) -> tuple[list[Event], int]:
    try:
        document = load_json(raw)
    except Malformed as error:
        raise _malformed(error.found, error.wanted) from None
    if not isinstance(document, list) or len(document) > MAX_EVENTS:
        raise _too_many_events()
    entries = (Fields(entry, Reason.EVENT_LOG_MALFORMED, f"event {number}") for number, entry in enumerate(document))
    return [_parse_dstack_event(fields) for fields in entries], len(raw)


def _parse_dstack_event(fields: Fields) -> Event:
    fields.only("imr", "event_type", "digest", "event", "event_payload")
    return Event(
        register=fields.integer("imr", _REGISTERS - 1),
        type=fields.integer("event_type", 0xFFFFFFFF),
        digest=fields.hexadecimal("digest", _SHA384_SIZE),
        data=_payload(fields),
        name=fields.text("event", least=0),
    )


def _payload(fields: Fields) -> bytes:
    try:
        return load_hex(fields.text("event_payload", least=0, most=2 * MAX_EVENT_LOG_SIZE))
    except Malformed:
        raise fields.refuse("event_payload", "hex") from None


def _too_many_events() -> Malformed:
    return _malformed("no list, or too long a one", f"at most {MAX_EVENTS} events")


def _malformed(found: str, wanted: str) -> Malformed:
    return Malformed(Reason.EVENT_LOG_MALFORMED, found=found, wanted=wanted)
