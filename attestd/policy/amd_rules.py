"""The section `[snp]` of a policy as frozen values.

policies/README.md explains each member; the reasons for them are in snp.md, 2.3, steps 7, 9 and 10, and 5.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, Literal, TypeAlias, TypeVar

from attestd.claims import FirmwareVersion, Flag, ProductLine
from attestd.policy import document
from attestd.policy.document import (
    ANY,
    ANY_OR_NONE,
    NO_WORD,
    NONE,
    Kind,
    Table,
    hexadecimal,
    integer,
    refusal,
)
from attestd.policy.rules import (
    DENIED_MEASUREMENT,
    SHA256,
    SHA384,
    SNP_FLAGS,
    Images,
    Pin,
    load_images,
    require_disjoint,
)
from attestd.snp.tpm import PCRS

# The bits of POLICY that a guest's owner may care about (SEV-SNP firmware ABI, 4.3). DEBUG and MIGRATE_MA are flags.
GUEST_POLICY_BITS: Final[Mapping[str, int]] = {
    "smt": 16,
    "single_socket": 20,
    "cxl_allow": 21,
    "mem_aes_256_xts": 22,
    "rapl_dis": 23,
    "ciphertext_hiding_dram": 24,
    "page_swap_disable": 25,
}
# The bits of PLATFORM_INFO whose meaning is published (7.3). All genuine reports of Turin have bit 6 set as well.
PLATFORM_INFO_BITS: Final[Mapping[str, int]] = {
    "smt": 0,
    "tsme": 1,
    "ecc": 2,
    "rapl_dis": 3,
    "ciphertext_hiding_dram": 4,
    "alias_check_complete": 5,
    "tio": 7,
}
TCB_VERSIONS: Final = ("reported", "committed", "current", "launch")
TCB_COMPONENTS: Final = ("fmc", "bootloader", "tee", "snp", "microcode")
NO_MIGRATION_AGENT: Final = b"\xff" * 32
NO_ID_BLOCK: Final = bytes(48)

# What an image may pin, under the names of the claims.
SNP_REGISTERS: Final[Mapping[str, Kind[Pin]]] = {
    "measurement": SHA384,
    "host_data": SHA256,
    "family_id": hexadecimal(16),
    "image_id": hexadecimal(16),
}

_T = TypeVar("_T")

_OCTET: Final = r"(0|[1-9][0-9]?|1[0-9]{2}|2[0-4][0-9]|25[0-5])"


def _dotted(wanted: str, make: Callable[..., _T], count: int) -> Kind[_T]:
    """Take numbers of one byte, written in decimal with dots between them."""
    expression = re.compile(r"\.".join([_OCTET] * count))

    def decode(value: object) -> _T | None:
        written = expression.fullmatch(value) if isinstance(value, str) else None
        return make(*map(int, written.groups())) if written else None

    return Kind(wanted, decode)


def _decode_chip(value: object) -> bytes | None:
    """Refuse the digest that all reports with a masked CHIP_ID have: it is that of no chip."""
    digest = SHA256.decode(value)
    return None if digest == _MASKED_CHIP else digest


_BYTE: Final = integer(0, 255)
_U32: Final = integer(0, 2**32 - 1)
_LEVEL: Final = integer(1, 255)
_BIT: Final = integer(0, 63)
_MASKED_CHIP: Final = sha256(bytes(64)).digest()
_CHIP: Final = Kind("32 bytes in hex, SHA-256 of the CHIP_ID of a chip", _decode_chip)
_FIRMWARE: Final = _dotted("a version such as 1.55.40, quoted", FirmwareVersion, 3)
_ABI: Final = _dotted("a version such as 1.55, quoted", lambda major, minor: (major, minor), 2)
_SIGNING_KEYS: Final[Mapping[str, Literal["vcek", "vlek"]]] = {"vcek": "vcek", "vlek": "vlek"}
# Neither a wildcard nor a word that means one elsewhere: the text is compared as it stands.
_CSP_ID: Final = document.pattern("a CSP ID as the VLEK has it", r"(?!any$|none$)[ -)+-~]{1,128}")
_BULLETIN: Final = document.pattern("a bulletin such as AMD-SB-3019", r"AMD-S[BN]-\d{4}")
_NO_AGENT_OR_ANY: Final[Mapping[str, frozenset[bytes] | None]] = {
    "none": frozenset({NO_MIGRATION_AGENT}),
    "any": None,
}

# Family and model as CPUID has them; reports of version 2 do not tell these, so there the product line alone is known.
Processor: TypeAlias = tuple[int, int] | ProductLine

# Accepted values by the number of the PCR. Empty: evidence through a vTPM is refused.
VtpmPcrs: TypeAlias = Mapping[int, frozenset[bytes]] | None

_PCRS: Final = tuple(map(str, range(PCRS)))
_NO_VTPM_OR_ANY: Final[Mapping[str, VtpmPcrs]] = {"none": {}, "any": None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Bits:
    """Which bits of a field must be set and which may not be, by name."""

    required: frozenset[str]
    forbidden: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Floor:
    """What closes some advisories: the lowest levels of components, on some processors."""

    processors: tuple[Processor, ...]
    levels: tuple[tuple[str, int], ...]  # by the names of `TcbVersion`
    advisories: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TcbFloors:
    """The lowest TCB that is accepted. A processor that no floor is about is not."""

    table: str  # which table the floors were copied from, for people
    versions: frozenset[str]  # of TCB_VERSIONS: which of a report's versions must reach the floors
    floors: tuple[Floor, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SnpRules:
    """The section `[snp]`: SEV-SNP guests."""

    versions: frozenset[int] | None  # of the report
    product_lines: frozenset[ProductLine] | None
    signing_keys: frozenset[Literal["vcek", "vlek"]] | None
    csp_ids: frozenset[str | None] | None  # None as a value: a VCEK is of no cloud provider
    crl_required: bool
    flags: frozenset[Flag] | None
    # SHA-256 of each: a policy is public, a CHIP_ID identifies one processor for good.
    chip_ids: frozenset[bytes | None] | None
    denied_chip_ids: frozenset[bytes]
    tcb: TcbFloors | None
    min_current_version: FirmwareVersion | None
    min_committed_version: FirmwareVersion | None
    launch_mit_vector: frozenset[int]  # bits that must be set
    current_mit_vector: frozenset[int]
    platform_info: Bits
    unknown_platform_info: bool  # whether bits without a name may be set
    guest_policy: Bits
    min_guest_abi: tuple[int, int] | None  # major, minor
    vmpl: frozenset[int] | None
    report_id_ma: frozenset[bytes] | None
    id_key_digests: frozenset[bytes] | None
    author_key_digests: frozenset[bytes | None] | None
    vtpm_pcrs: VtpmPcrs
    images: Images
    denied_measurements: frozenset[bytes]


_SECTION: Final = (
    "versions",
    "product_lines",
    "signing_keys",
    "csp_ids",
    "crl",
    "flags",
    "chip_ids",
    "denied_chip_ids",
    "tcb",
    "min_current_version",
    "min_committed_version",
    "launch_mit_vector",
    "current_mit_vector",
    "platform_info",
    "guest_policy",
    "vmpl",
    "report_id_ma",
    "id_key_digests",
    "author_key_digests",
    "vtpm_pcrs",
    "images",
    "denied_measurements",
)


def load_snp(policy: Table) -> SnpRules:
    """Read the section `[snp]`. Raises `ConfigurationRefused` (`policy.malformed`)."""
    table = policy.table("snp", _SECTION)
    platform_info = table.table("platform_info", ("required", "forbidden", "unknown"))
    guest_policy = table.table("guest_policy", ("required", "forbidden", "min_abi"))
    return SnpRules(
        versions=table.many("versions", integer(2, 5), ANY),
        product_lines=table.many("product_lines", document.members(ProductLine), ANY),
        signing_keys=table.many("signing_keys", document.one_of(_SIGNING_KEYS), ANY),
        csp_ids=_csp_ids(table),
        crl_required=table.one("crl", document.one_of({"require": True}), {"if-available": False}),
        flags=table.many("flags", document.one_of({flag.value: flag for flag in SNP_FLAGS}), ANY_OR_NONE),
        chip_ids=table.many("chip_ids", _CHIP, ANY),
        denied_chip_ids=table.many("denied_chip_ids", _CHIP, NONE),
        tcb=_tcb(table),
        min_current_version=table.one("min_current_version", _FIRMWARE, ANY),
        min_committed_version=table.one("min_committed_version", _FIRMWARE, ANY),
        launch_mit_vector=table.many("launch_mit_vector", _BIT, NONE),
        current_mit_vector=table.many("current_mit_vector", _BIT, NONE),
        platform_info=_bits(platform_info, PLATFORM_INFO_BITS),
        unknown_platform_info=platform_info.one("unknown", document.one_of({"any": True}), {"none": False}),
        guest_policy=_bits(guest_policy, GUEST_POLICY_BITS),
        min_guest_abi=guest_policy.one("min_abi", _ABI, ANY),
        vmpl=table.many("vmpl", integer(0, 3), ANY),
        report_id_ma=table.many("report_id_ma", SHA256, _NO_AGENT_OR_ANY),
        id_key_digests=table.many("id_key_digests", SHA384, ANY),
        author_key_digests=table.many("author_key_digests", SHA384, ANY),
        vtpm_pcrs=_vtpm_pcrs(table),
        images=load_images(table, SNP_REGISTERS, ("guest_svn", _U32)),
        denied_measurements=table.many("denied_measurements", DENIED_MEASUREMENT, NONE),
    )


def _csp_ids(table: Table) -> frozenset[str | None] | None:
    listed = table.many("csp_ids", _CSP_ID, ANY)
    return None if listed is None else listed | {None}


def _vtpm_pcrs(section: Table) -> VtpmPcrs:
    table = section.table_or("vtpm_pcrs", (), _NO_VTPM_OR_ANY, optional=_PCRS)
    if not isinstance(table, Table):
        return table
    pcrs = {int(name): table.many(name, SHA256, NO_WORD) for name in _PCRS if name in table}
    if not pcrs:
        raise refusal(table.path, "an empty table", "accepted values of at least one PCR")
    return pcrs


def _bits(table: Table, positions: Mapping[str, int]) -> Bits:
    name = document.one_of({name: name for name in positions})
    bits = Bits(required=table.many("required", name, NONE), forbidden=table.many("forbidden", name, NONE))
    require_disjoint(f"{table.path}.forbidden", bits.required, bits.forbidden)
    return bits


def _tcb(section: Table) -> TcbFloors | None:
    table = section.table_or("tcb", ("table", "versions", "floors"), ANY)
    if table is None:
        return None
    return TcbFloors(
        table=table.one("table", document.line(80), NO_WORD),
        versions=table.many("versions", document.one_of({name: name for name in TCB_VERSIONS}), NO_WORD),
        floors=tuple(_floor(value, path) for value, path in table.tables("floors", NO_WORD)),
    )


def _floor(value: dict[str, object], path: str) -> Floor:
    """Read a floor of some models of a family, or of a product line where the report does not tell the model."""
    of_line = "product_line" in value
    where = ("product_line",) if of_line else ("family", "first_model", "last_model")
    table = Table(value, path, (*where, *TCB_COMPONENTS, "advisories"))
    processors = (table.one("product_line", document.members(ProductLine), NO_WORD),) if of_line else _models(table)
    levels = ((name, table.one(name, _LEVEL, ANY)) for name in TCB_COMPONENTS)
    demanded = tuple((name, level) for name, level in levels if level is not None)
    if not demanded:
        raise refusal(path, "a floor that demands nothing", "the lowest level of a component")
    advisories = table.many("advisories", _BULLETIN, NONE)
    return Floor(processors=processors, levels=demanded, advisories=tuple(sorted(advisories)))


def _models(table: Table) -> tuple[Processor, ...]:
    family = table.one("family", _BYTE, NO_WORD)
    first, last = (table.one(name, _BYTE, NO_WORD) for name in ("first_model", "last_model"))
    if last < first:
        raise refusal(f"{table.path}.last_model", f"{last}, which is below the first", "at least the first model")
    return tuple((family, model) for model in range(first, last + 1))
