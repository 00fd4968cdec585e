"""Event logs whose replay gives the RTMRs: a CCEL as firmware leaves it, and dstack's JSON.

Source: TCG PC Client Platform Firmware Profile, 1.05, sections 9 and 10; UEFI 2.10, section 38.4 (measurement register
i is RTMR i - 1, 0 is MRTD); tdx.md, section 4.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha384
from typing import Final

EV_NO_ACTION: Final = 3
EV_SEPARATOR: Final = 4
EV_EVENT_TAG: Final = 6
EV_IPL: Final = 13
EV_EFI_VARIABLE_DRIVER_CONFIG: Final = 0x80000001
EV_EFI_BOOT_SERVICES_APPLICATION: Final = 0x80000003
EV_EFI_ACTION: Final = 0x80000007
EV_EFI_PLATFORM_FIRMWARE_BLOB2: Final = 0x8000000A
# What dstack extends RTMR3 with while it runs.
DSTACK_EVENT: Final = 0x08000001

_SHA384: Final = 0x000C
_SIZE: Final = 48
_REGISTERS: Final = range(4)


@dataclass(frozen=True)
class Event:
    """One measurement into an RTMR."""

    register: int  # 0 to 3; what is outside of that is written as it is and extends nothing, as -1 for MRTD
    event_type: int
    payload: bytes
    name: str = ""  # dstack's events only
    digest: bytes | None = None  # None: what genuine logs have, the digest of the payload

    @property
    def measured(self) -> bytes:
        """The digest that the register was extended with."""
        if self.digest is not None:
            return self.digest
        if self.event_type == DSTACK_EVENT:
            return sha384(_u32(self.event_type) + b":" + self.name.encode() + b":" + self.payload).digest()
        return sha384(self.payload).digest()


def variable(guid: str, name: str, value: bytes) -> bytes:
    """Return UEFI_VARIABLE_DATA; `guid` is in the byte order of memory."""
    return (
        bytes.fromhex(guid)
        + len(name).to_bytes(8, "little")
        + len(value).to_bytes(8, "little")
        + name.encode("utf-16-le")
        + value
    )


_EFI_GLOBAL: Final = "61dfe48bca93d211aa0d00e098032b8c"
_EFI_SECURITY_DATABASE: Final = "cbb219d73a3d9645a3bcdad00e67656f"


def _application(path: str) -> Event:
    """A UEFI image is measured by its Authenticode digest, which its event does not contain."""
    return Event(
        1, EV_EFI_BOOT_SERVICES_APPLICATION, path.encode("utf-16-le") + bytes(2), digest=sha384(path.encode()).digest()
    )


def _variable(guid: str, name: str, value: bytes = b"") -> Event:
    return Event(0, EV_EFI_VARIABLE_DRIVER_CONFIG, variable(guid, name, value))


# From power-on to the kernel, as OVMF and a unified kernel image leave it; nothing is measured into RTMR3.
BOOT: Final = (
    Event(0, EV_EFI_PLATFORM_FIRMWARE_BLOB2, b"\x0fSimulated OVMF\0" + bytes(16)),
    _variable(_EFI_GLOBAL, "SecureBoot", b"\x01"),
    _variable(_EFI_GLOBAL, "PK"),
    _variable(_EFI_GLOBAL, "KEK"),
    _variable(_EFI_SECURITY_DATABASE, "db"),
    _variable(_EFI_SECURITY_DATABASE, "dbx"),
    Event(0, EV_SEPARATOR, bytes(4)),
    _application(r"\EFI\BOOT\BOOTX64.EFI"),
    Event(1, EV_EFI_ACTION, b"Calling EFI Application from Boot Option"),
    Event(1, EV_SEPARATOR, bytes(4)),
    Event(2, EV_IPL, b"console=hvc0 ro simulated=1\0"),
    Event(2, EV_EVENT_TAG, bytes.fromhex("ec223b8f0d000000") + b"Linux initrd\0"),
    Event(1, EV_EFI_ACTION, b"Exit Boot Services Invocation"),
    Event(1, EV_EFI_ACTION, b"Exit Boot Services Returned with Success"),
)

# The same boot, and what dstack measures afterwards.
DSTACK_BOOT: Final = (
    *BOOT,
    Event(3, DSTACK_EVENT, b"", "system-preparing"),
    Event(3, DSTACK_EVENT, bytes.fromhex("a77e57d0" * 5), "app-id"),
    Event(3, DSTACK_EVENT, sha384(b"simulated compose file").digest()[:32], "compose-hash"),
    Event(3, DSTACK_EVENT, b"", "instance-id"),
    Event(3, DSTACK_EVENT, b"", "boot-mr-done"),
    Event(3, DSTACK_EVENT, b'{"name":"none","id":""}', "key-provider"),
    Event(3, DSTACK_EVENT, b"", "system-ready"),
)


def replay(events: Iterable[Event]) -> tuple[bytes, ...]:
    """Return RTMR0 to RTMR3 as these events leave them: SHA-384(old value ‖ digest) for each event that is measured."""
    registers = [bytes(_SIZE) for _ in _REGISTERS]
    for event in events:
        if event.event_type != EV_NO_ACTION and event.register in _REGISTERS:
            registers[event.register] = sha384(registers[event.register] + event.measured).digest()
    return tuple(registers)


def ccel(events: Iterable[Event] = BOOT, *, padding: bytes = b"\xff" * 64, algorithm: int = _SHA384) -> bytes:
    """Return a log area: the TCG header, one record per event, and what firmware fills the rest of the area with."""
    return b"".join((_spec_id_event(algorithm), *(_record(event, algorithm) for event in events), padding))


def _spec_id_event(algorithm: int) -> bytes:
    """Return TCG_PCR_EVENT with TCG_EfiSpecIDEvent, version 2.0 with a pointer size of 8, one algorithm."""
    specification = b"Spec ID Event03\0" + bytes(4) + bytes((0, 2, 0, 2))
    data = specification + _u32(1) + _u16(algorithm) + _u16(_SIZE) + bytes(1)
    return _u32(1) + _u32(EV_NO_ACTION) + bytes(20) + _u32(len(data)) + data


def _record(event: Event, algorithm: int) -> bytes:
    """Return TCG_PCR_EVENT2 with one digest."""
    return b"".join(
        (
            _u32(event.register + 1),
            _u32(event.event_type),
            _u32(1) + _u16(algorithm) + event.measured,
            _u32(len(event.payload)),
            event.payload,
        )
    )


def dstack_log(events: Iterable[Event] = DSTACK_BOOT) -> bytes:
    """Return dstack's JSON: an array with one object per event."""
    return json.dumps(
        [
            {
                "imr": event.register,
                "event_type": event.event_type,
                "digest": event.measured.hex(),
                "event": event.name,
                "event_payload": event.payload.hex(),
            }
            for event in events
        ]
    ).encode()


def _u16(number: int) -> bytes:
    return number.to_bytes(2, "little")


def _u32(number: int) -> bytes:
    return number.to_bytes(4, "little")
