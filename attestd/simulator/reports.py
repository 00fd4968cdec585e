"""Report bodies of SGX enclaves and TDs, field by field in the order of their layouts; every field may be replaced.

Source: Intel SDM vol. 3D, REPORT; Intel TDX Module ABI specification, TDINFO; Intel TDX DCAP Quoting Library API,
appendix A. Integers are little-endian.
"""

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from hashlib import sha384
from typing import ClassVar, Final, Self, TypeAlias

from attestd.simulator.eventlogs import BOOT, Event, replay
from attestd.simulator.keys import secret


def bits(*numbers: int) -> bytes:
    """Return a little-endian field of 64 bits in which these are set."""
    return sum(1 << number for number in set(numbers)).to_bytes(8, "little")


def measurement(what: str) -> bytes:
    """Return the SHA-384 that stands for something measured."""
    return sha384(f"attestd simulator {what}".encode()).digest()


DEBUG: Final = 0
SEPT_VE_DISABLE: Final = 28
MIGRATABLE: Final = 29

_BOOTED: Final = replay(BOOT)


@dataclass(frozen=True, kw_only=True)
class _Report:
    """Fields one after the other, as they are declared."""

    def encode(self) -> bytes:
        """Return the layout. Raises `ValueError` where a field has another size than its default."""
        return b"".join(self._encode(field.name, getattr(type(self), field.name)) for field in fields(self))

    def _encode(self, name: str, default: bytes | int) -> bytes:
        value = getattr(self, name)
        if isinstance(default, int):
            return int(value).to_bytes(2, "little")
        if len(value) != len(default):
            raise ValueError(f"{name} has {len(default)} bytes, not {len(value)}")
        return bytes(value)


@dataclass(frozen=True, kw_only=True)
class SgxReport(_Report):
    """An SGX report body, 384 bytes: an application's enclave, unless told otherwise."""

    tee_type: ClassVar[int] = 0
    body_type: ClassVar[int] = 1

    cpusvn: bytes = bytes((3, 3, 2, 2, 4, 1, 0, 5)) + bytes(8)
    miscselect: bytes = bytes(4)
    reserved1: bytes = bytes(28)
    attributes: bytes = bits(0, 2) + bits(0, 1, 2, 5, 6, 7)  # INIT, MODE64BIT; x87, SSE, AVX, AVX-512
    mrenclave: bytes = secret("attestd", "enclave", 32)
    reserved2: bytes = bytes(32)
    mrsigner: bytes = secret("attestd", "enclave signer", 32)
    reserved3: bytes = bytes(96)
    isvprodid: int = 7
    isvsvn: int = 3
    reserved4: bytes = bytes(60)
    report_data: bytes = secret("attestd", "report data", 64)


@dataclass(frozen=True, kw_only=True)
class TdReport(_Report):
    """A TD 1.0 report body, 584 bytes: a production TD on an up-to-date platform after the boot in `eventlogs.BOOT`."""

    tee_type: ClassVar[int] = 0x81
    body_type: ClassVar[int] = 2

    tee_tcb_svn: bytes = bytes((6, 1, 3)) + bytes(13)
    mrseam: bytes = measurement("TDX module")
    mrsignerseam: bytes = bytes(48)
    seamattributes: bytes = bytes(8)
    td_attributes: bytes = bits(SEPT_VE_DISABLE)
    xfam: bytes = bits(0, 1, 2, 5, 6, 7, 9, 17, 18)  # x87, SSE, AVX, AVX-512, PKU, AMX
    mrtd: bytes = measurement("TD firmware")
    mrconfigid: bytes = bytes(48)
    mrowner: bytes = bytes(48)
    mrownerconfig: bytes = bytes(48)
    rtmr0: bytes = _BOOTED[0]
    rtmr1: bytes = _BOOTED[1]
    rtmr2: bytes = _BOOTED[2]
    rtmr3: bytes = _BOOTED[3]
    report_data: bytes = secret("attestd", "report data", 64)

    def booted(self, events: Iterable[Event]) -> Self:
        """Return the report with RTMR0 to RTMR3 as these events leave them."""
        rtmr0, rtmr1, rtmr2, rtmr3 = replay(events)
        return replace(self, rtmr0=rtmr0, rtmr1=rtmr1, rtmr2=rtmr2, rtmr3=rtmr3)


@dataclass(frozen=True, kw_only=True)
class TdReport15(TdReport):
    """A TD 1.5 report body, 648 bytes; no service TD is bound."""

    body_type: ClassVar[int] = 3

    tee_tcb_svn2: bytes = bytes((6, 1, 3)) + bytes(13)
    mrservicetd: bytes = bytes(48)


@dataclass(frozen=True, kw_only=True)
class TdReport15Ex(TdReport15):
    """A TD 1.5 Ex report body, 885 bytes."""

    body_type: ClassVar[int] = 4

    vmid: bytes = bytes(1)
    td_id: bytes = secret("attestd", "TD", 32)
    devinfo: bytes = bytes(48)
    init_servtd_hash: bytes = bytes(48)
    init_servtd_attr: bytes = bytes(8)
    init_cpu_svn: bytes = bytes((3, 3, 2, 2, 4, 1, 0, 5)) + bytes(8)
    init_tee_tcb_svn: bytes = bytes((6, 1, 3)) + bytes(13)
    init_tee_fmspc: bytes = bytes(12)
    curr_servtd_hash: bytes = bytes(48)
    curr_servtd_attr: bytes = bytes(8)


Body: TypeAlias = SgxReport | TdReport

TD: Final = TdReport()

# The quoting enclaves: provisioning-key access and an XFRM of their own, as genuine ones have.
_QE: Final = SgxReport(attributes=bits(0, 2, 4) + bits(0, 1, 2, 5, 6, 7), report_data=bytes(64))
TD_QE: Final = replace(
    _QE,
    mrenclave=secret("attestd", "TD quoting enclave", 32),
    mrsigner=secret("attestd", "TD quoting enclave signer", 32),
    isvprodid=2,
    isvsvn=6,
)
SGX_QE: Final = replace(
    _QE,
    mrenclave=secret("attestd", "quoting enclave", 32),
    mrsigner=secret("attestd", "quoting enclave signer", 32),
    isvprodid=1,
    isvsvn=10,
)
