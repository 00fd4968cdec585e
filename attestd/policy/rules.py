"""The sections of a policy, one for each TEE: what it may accept, as frozen values.

`None` is what a document writes as "any": the matter is not examined. An empty set is what it writes as "none".
policies/README.md explains each member; the reasons for the Intel ones are in the steps of Intel's quote verification
library and what it leaves to its callers (tdx.md, steps 12-14 and sections 5, 6).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, TypeAlias

from attestd.claims import Flag, PckCa, TcbStatus
from attestd.evidence import Role
from attestd.policy import document
from attestd.policy.document import (
    ANY,
    ANY_OR_NONE,
    BOOLEAN,
    NO_WORD,
    NONE,
    TIME,
    Kind,
    Table,
    hexadecimal,
    integer,
    refusal,
)

# Longer than any vendor leaves between two TCB recoveries, and short of what overflows a date.
MAX_SECONDS: Final = 10 * 365 * 24 * 60 * 60

_REGISTER: Final = hexadecimal(48)
_SHA256: Final = hexadecimal(32)
_U16: Final = integer(0, 2**16 - 1)
# Of TD 1.0 reports, MRSERVICETD is not a member: nothing is bound that the report could show.
_ZERO_OR_ANY: Final[Mapping[str, frozenset[bytes | None] | None]] = {
    "zero": frozenset({bytes(48), None}),
    "any": None,
}
_SGX_TYPES: Final = ("Standard", "Scalable", "ScalableWithIntegrity")
_ROLES: Final[Mapping[str, Role]] = {"worker": "worker", "proxy": "proxy"}
_NO_BYTES: Final = document.one_of({"none": frozenset({0})})
_ADVISORY: Final = document.pattern("an advisory such as INTEL-SA-00960", r"INTEL-(?:SA|DOC)-\d{5}")

Pin: TypeAlias = bytes | int

# What an image may pin, under the names of the claims.
TDX_REGISTERS: Final[Mapping[str, Kind[Pin]]] = dict.fromkeys(
    ("mrtd", "rtmr0", "rtmr1", "rtmr2", "rtmr3", "mrconfigid", "mrowner", "mrownerconfig"), _REGISTER
)
SGX_REGISTERS: Final[Mapping[str, Kind[Pin]]] = {"mrenclave": _SHA256, "mrsigner": _SHA256, "isvprodid": _U16}


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """One accepted image: a tuple of measurements that were taken together (never a column of alternatives each)."""

    name: str
    role: Role | None
    not_after: datetime | None
    pins: tuple[tuple[str, Pin], ...]  # by the names of the claims; `image_digest` alone, or registers
    min_isvsvn: int = 0  # SGX only

    def differences(self, measured: Mapping[str, Pin]) -> tuple[tuple[str, Pin | None, Pin], ...]:
        """Return name, value found and value wanted of each pinned measurement that is another one, or missing."""
        return tuple((name, measured.get(name), want) for name, want in self.pins if measured.get(name) != want)


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusRule:
    """What goes with one accepted TCB status."""

    grace: timedelta | None  # from the TCB date of the matched level
    advisories: frozenset[str] | None  # the only ones that may be open


@dataclass(frozen=True, slots=True, kw_only=True)
class TcbRules:
    """Which states of Intel's trusted computing base are accepted."""

    statuses: Mapping[TcbStatus, StatusRule]
    denied_advisories: frozenset[str]
    min_evaluation_data_number: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformRules:
    """Which Intel platforms are accepted, by what their PCK certificates say."""

    pck_cas: frozenset[PckCa] | None
    sgx_types: frozenset[str] | None
    dynamic_platform: frozenset[bool | None] | None  # None as a value: the Processor CA does not say
    cached_keys: frozenset[bool | None] | None
    smt_enabled: frozenset[bool | None] | None
    denied_fmspcs: frozenset[bytes]
    ppids: frozenset[bytes] | None  # SHA-256 of each: a policy is public, a PPID identifies one processor for good
    denied_ppids: frozenset[bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class SgxRules:
    """The section `[sgx]`: enclaves."""

    tcb: TcbRules
    platform: PlatformRules
    trailing_bytes: frozenset[int] | None  # how many may follow the quote
    images: tuple[Image, ...] | None
    denied_measurements: frozenset[bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class TdxRules:
    """The section `[tdx]`: trust domains."""

    tcb: TcbRules
    platform: PlatformRules
    trailing_bytes: frozenset[int] | None  # how many may follow the quote
    images: tuple[Image, ...] | None
    denied_measurements: frozenset[bytes]
    flags: frozenset[Flag] | None
    mrseam: frozenset[bytes] | None
    mrsignerseam: frozenset[bytes | None] | None
    mrservicetd: frozenset[bytes | None] | None
    xfam_required: frozenset[int]
    xfam_forbidden: frozenset[int]
    event_log_required: bool


_INTEL: Final = ("tcb", "platform", "trailing_bytes", "images", "denied_measurements")
_TDX: Final = ("flags", "mrseam", "mrsignerseam", "mrservicetd", "xfam_required", "xfam_forbidden", "event_log")


def load_sgx(policy: Table) -> SgxRules:
    """Read the section `[sgx]`. Raises `ConfigurationRefused` (`policy.malformed`)."""
    table = policy.table("sgx", _INTEL)
    return SgxRules(
        tcb=_tcb(table),
        platform=_platform(table),
        trailing_bytes=table.one("trailing_bytes", _NO_BYTES, ANY),
        images=_images(table, SGX_REGISTERS, ("min_isvsvn",)),
        denied_measurements=table.many("denied_measurements", _SHA256, NONE),
    )


def load_tdx(policy: Table) -> TdxRules:
    """Read the section `[tdx]`. Raises `ConfigurationRefused` (`policy.malformed`)."""
    table = policy.table("tdx", (*_INTEL, *_TDX))
    xfam_bit = integer(0, 63)
    rules = TdxRules(
        tcb=_tcb(table),
        platform=_platform(table),
        trailing_bytes=table.one("trailing_bytes", _NO_BYTES, ANY),
        images=_images(table, TDX_REGISTERS),
        denied_measurements=table.many("denied_measurements", hexadecimal(32, 48), NONE),
        # Debug has a switch of its own, which is named after what it does.
        flags=table.many("flags", document.members(Flag, without=(Flag.DEBUG,)), ANY_OR_NONE),
        mrseam=table.many("mrseam", _REGISTER, ANY),
        mrsignerseam=table.many("mrsignerseam", _REGISTER, _ZERO_OR_ANY),
        mrservicetd=table.many("mrservicetd", _REGISTER, _ZERO_OR_ANY),
        xfam_required=table.many("xfam_required", xfam_bit, NONE),
        xfam_forbidden=table.many("xfam_forbidden", xfam_bit, NONE),
        event_log_required=table.one("event_log", document.one_of({"required": True}), {"any": False}),
    )
    if both := rules.xfam_required & rules.xfam_forbidden:
        raise refusal("tdx.xfam_forbidden", f"bit {min(both)}, which is required too", "bits that are not required")
    return rules


def _tcb(section: Table) -> TcbRules:
    table = section.table("tcb", ("statuses", "denied_advisories", "min_evaluation_data_number"))
    # A revoked TCB is refused before any policy is asked; one that lists it does not mean what it says.
    statuses = table.entries("statuses", document.members(TcbStatus, without=(TcbStatus.REVOKED,)))
    return TcbRules(
        statuses={status: _status_rule(value, path) for status, value, path in statuses},
        denied_advisories=table.many("denied_advisories", _ADVISORY, NONE),
        min_evaluation_data_number=table.one("min_evaluation_data_number", integer(1, 2**31 - 1), ANY),
    )


def _status_rule(value: object, path: str) -> StatusRule:
    table = Table(value, path, ("grace_seconds", "advisories"))
    return StatusRule(
        grace=seconds(table, "grace_seconds"), advisories=table.many("advisories", _ADVISORY, ANY_OR_NONE)
    )


def seconds(table: Table, name: str) -> timedelta | None:
    """Read a number of seconds, or "any"."""
    number = table.one(name, integer(1, MAX_SECONDS), ANY)
    return None if number is None else timedelta(seconds=number)


def _platform(section: Table) -> PlatformRules:
    flags = ("dynamic_platform", "cached_keys", "smt_enabled")
    table = section.table("platform", ("pck_ca", "sgx_types", *flags, "denied_fmspcs", "ppids", "denied_ppids"))
    return PlatformRules(
        pck_cas=table.many("pck_ca", document.members(PckCa), ANY),
        sgx_types=table.many("sgx_types", document.one_of({name: name for name in _SGX_TYPES}), ANY),
        dynamic_platform=_demand(table, "dynamic_platform"),
        cached_keys=_demand(table, "cached_keys"),
        smt_enabled=_demand(table, "smt_enabled"),
        denied_fmspcs=table.many("denied_fmspcs", hexadecimal(6), NONE),
        ppids=table.many("ppids", _SHA256, ANY),
        denied_ppids=table.many("denied_ppids", _SHA256, NONE),
    )


def _demand(table: Table, name: str) -> frozenset[bool | None] | None:
    wanted = table.one(name, BOOLEAN, ANY)
    return None if wanted is None else frozenset({wanted})


def _images(section: Table, registers: Mapping[str, Kind[Pin]], more: tuple[str, ...] = ()) -> tuple[Image, ...] | None:
    tables = section.tables("images", ANY)
    if tables is None:
        return None
    images = tuple(_image(value, path, registers, more) for value, path in tables)
    if len({image.name for image in images}) != len(images):
        raise refusal(f"{section.path}.images", "a name that is given twice", "a name of its own for each image")
    return images


def _image(value: dict[str, object], path: str, registers: Mapping[str, Kind[Pin]], more: tuple[str, ...]) -> Image:
    digest = "image_digest" in value
    names = ("image_digest",) if digest else tuple(registers)
    table = Table(value, path, ("name", "role", "not_after", *more, *names))
    pins: list[tuple[str, Pin]] = []
    if digest:
        pins.append(("image_digest", table.one("image_digest", _SHA256, NO_WORD)))
    else:
        found = ((name, table.one(name, kind, ANY)) for name, kind in registers.items())
        pins += ((name, pin) for name, pin in found if pin is not None)
    if not pins:
        raise refusal(path, "an image that pins nothing", 'a measurement, or images = "any"')
    return Image(
        name=table.one("name", document.line(80), NO_WORD),
        role=table.one("role", document.one_of(_ROLES), ANY),
        not_after=table.one("not_after", TIME, ANY),
        pins=tuple(pins),
        min_isvsvn=table.one("min_isvsvn", _U16, NO_WORD) if "min_isvsvn" in more else 0,
    )
