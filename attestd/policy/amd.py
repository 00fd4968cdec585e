"""The checks of SEV-SNP evidence: key, chip, firmware, platform and guest (snp.md, 2.3, steps 7, 9 and 10)."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from hashlib import sha256
from operator import attrgetter
from typing import Final

from attestd.claims import SnpClaims, TcbVersion
from attestd.policy.amd_rules import (
    GUEST_POLICY_BITS,
    PLATFORM_INFO_BITS,
    SNP_REGISTERS,
    TCB_COMPONENTS,
    Bits,
    Floor,
    Processor,
    SnpRules,
    TcbFloors,
    VtpmPcrs,
)
from attestd.policy.checks import (
    Check,
    ClaimsCheck,
    Facts,
    Outcome,
    allow,
    at_least,
    bits,
    bits_wanted,
    denied_measurements,
    deny,
    failed,
    flags,
    listed,
    passed,
)
from attestd.policy.images import image_checks
from attestd.result import Finding, Shown, Tier

_FIELD_BITS: Final = range(64)
_ALIAS_CHECK: Final = "alias_check_complete"
# Reports of version 2 have no such bit (AMD-SB-3015): where it is set there, it means nothing.
_ALIAS_CHECK_SINCE: Final = 3
_MASKED: Final = bytes(64)


def snp_checks(rules: SnpRules) -> Iterator[ClaimsCheck[SnpClaims]]:
    """Compile the section `[snp]`."""
    yield from _key_checks(rules)
    yield from _chip_checks(rules)
    yield from _firmware_checks(rules)
    yield from _platform_info(rules.platform_info, unknown=rules.unknown_platform_info)
    yield from flags(rules.flags)
    yield from _guest_checks(rules)
    yield from _vtpm_checks(rules.vtpm_pcrs)
    names = ("image_digest", "measurement", "host_data", "id_key_digest", "author_key_digest")
    yield from denied_measurements(names, rules.denied_measurements)
    yield from image_checks(rules.images, tuple(SNP_REGISTERS))


def _key_checks(rules: SnpRules) -> Iterator[ClaimsCheck[SnpClaims]]:
    """Compile what is examined of the report's form and of the key that signed it."""
    yield from allow(Check.REPORT_VERSION, attrgetter("version"), rules.versions)
    yield from allow(Check.PRODUCT_LINE, attrgetter("vek.product_line"), rules.product_lines)
    yield from allow(Check.SIGNING_KEY, attrgetter("signing_key"), rules.signing_keys)
    yield from allow(Check.CSP_ID, attrgetter("vek.csp_id"), rules.csp_ids)
    if rules.crl_required:
        yield _crl


def _crl(claims: SnpClaims, _facts: Facts, _at: datetime) -> Outcome:
    outcome = Tier.AFFIRMING if claims.crl_checked else Tier.CONTRAINDICATED
    got = "looked up" if claims.crl_checked else "absent"
    return Finding(Check.CRL, outcome, got, "a CRL of the product line's ARK"), None


def _chip_checks(rules: SnpRules) -> Iterator[ClaimsCheck[SnpClaims]]:
    """Compile which chips are accepted. A chip that is not known is on no list and may be any that is denied."""
    # These lists name other people's chips: findings show the one at hand, never the list.
    yield from allow(Check.CHIP_ID, _chip_digest, rules.chip_ids, "one that the policy lists")
    if rules.denied_chip_ids:
        want = "one that is known and that the policy does not deny"
        yield from deny(Check.DENIED_CHIP_ID, _chip_digest, rules.denied_chip_ids | {None}, want)


def _chip_digest(claims: SnpClaims) -> bytes | None:
    """Return SHA-256 of the CHIP_ID as it would stand in the report.

    A VCEK is of one chip, so a host that masks CHIP_ID does not hide which one signed.
    """
    hwid = claims.vek.hwid
    chip_id = claims.chip_id if hwid is None else hwid.ljust(len(_MASKED), b"\0")
    return None if chip_id == _MASKED else sha256(chip_id).digest()


def _firmware_checks(rules: SnpRules) -> Iterator[ClaimsCheck[SnpClaims]]:
    if rules.tcb is not None:
        yield _tcb_floor(rules.tcb)
    yield from at_least(Check.CURRENT_VERSION, attrgetter("current_version"), rules.min_current_version)
    yield from at_least(Check.COMMITTED_VERSION, attrgetter("committed_version"), rules.min_committed_version)
    launch, current = rules.launch_mit_vector, rules.current_mit_vector
    yield from bits(Check.LAUNCH_MIT_VECTOR, attrgetter("launch_mit_vector"), launch, (), bits_wanted(launch, ()))
    yield from bits(Check.CURRENT_MIT_VECTOR, attrgetter("current_mit_vector"), current, (), bits_wanted(current, ()))


def _tcb_floor(rules: TcbFloors) -> ClaimsCheck[SnpClaims]:
    """Compile the floors of each processor: whether the TCB is up to date, or which advisories are open.

    Each component is held against its own floor (attacks.md, S22). A processor without a floor is refused: nothing is
    known of what its levels mean.
    """
    floors: dict[Processor, list[Floor]] = {}
    for floor in rules.floors:
        for processor in floor.processors:
            floors.setdefault(processor, []).append(floor)
    wanted = {processor: _wanted(rules.table, of_it) for processor, of_it in floors.items()}
    reached: dict[Processor, tuple[TcbVersion, Outcome]] = {
        processor: (_least(of_it), (passed(Check.TCB_FLOOR, "up_to_date", wanted[processor]), None))
        for processor, of_it in floors.items()
    }
    versions = [(name, attrgetter(f"{name}_tcb")) for name in sorted(rules.versions)]

    def examine(claims: SnpClaims, _facts: Facts, _at: datetime) -> Outcome:
        processor = _processor(claims)
        if processor not in reached:
            return failed(Check.TCB_FLOOR, ("unknown", processor), (rules.table, "a floor for this processor")), None
        least, outcome = reached[processor]
        below = [(name, tcb(claims)) for name, tcb in versions if not tcb(claims).covers(least)]
        if not below:
            return outcome
        return failed(Check.TCB_FLOOR, _shortfall(floors[processor], below), wanted[processor]), None

    return examine


def _processor(claims: SnpClaims) -> Processor:
    if claims.cpuid_fam_id is None or claims.cpuid_mod_id is None:
        return claims.vek.product_line
    return claims.cpuid_fam_id, claims.cpuid_mod_id


def _least(floors: Sequence[Floor]) -> TcbVersion:
    """Return the highest of the floors for each component, 0 where there is none."""
    return TcbVersion(*(max(dict(floor.levels).get(name, 0) for floor in floors) for name in TCB_COMPONENTS))


def _wanted(table: str, floors: Sequence[Floor]) -> Shown:
    least = _least(floors)
    return (table, *(("at least", name, level) for name, level in least._asdict().items() if level))


def _shortfall(floors: Sequence[Floor], below: Sequence[tuple[str, TcbVersion]]) -> Shown:
    """Show each component that is too low in one of the report's TCB versions, and what is open because of it."""
    missed = [
        (floor, (version, component, found))
        for version, tcb in below
        for floor in floors
        for component, level in floor.levels
        if ((found := getattr(tcb, component)) or 0) < level
    ]
    levels = dict.fromkeys(level for _, level in missed)
    advisories = dict.fromkeys(advisory for floor, _ in missed for advisory in floor.advisories)
    return ("out_of_date", *levels, ("open", *advisories))


def _platform_info(rules: Bits, *, unknown: bool) -> Iterator[ClaimsCheck[SnpClaims]]:
    known = PLATFORM_INFO_BITS.values()
    refused = () if unknown else tuple(bit for bit in _FIELD_BITS if bit not in known)
    since = _ALIAS_CHECK_SINCE if _ALIAS_CHECK in rules.required else 0
    want = bits_wanted(rules.required, rules.forbidden)

    def platform_info(claims: SnpClaims) -> int | None:
        return claims.platform_info if claims.version >= since else None

    yield from bits(
        Check.PLATFORM_INFO,
        platform_info,
        _positions(rules.required, PLATFORM_INFO_BITS),
        (*_positions(rules.forbidden, PLATFORM_INFO_BITS), *refused),
        want if unknown else (*want, "no bit without a name"),
    )


def _positions(names: frozenset[str], positions: Mapping[str, int]) -> tuple[int, ...]:
    return tuple(positions[name] for name in names)


def _guest_checks(rules: SnpRules) -> Iterator[ClaimsCheck[SnpClaims]]:
    """Compile what is examined of the guest, and of whoever launched it."""
    wanted = rules.guest_policy
    yield from bits(
        Check.GUEST_POLICY,
        attrgetter("policy"),
        _positions(wanted.required, GUEST_POLICY_BITS),
        _positions(wanted.forbidden, GUEST_POLICY_BITS),
        bits_wanted(wanted.required, wanted.forbidden),
    )
    yield from at_least(Check.GUEST_ABI, _guest_abi, rules.min_guest_abi)
    yield from allow(Check.VMPL, attrgetter("vmpl"), rules.vmpl)
    yield from allow(Check.REPORT_ID_MA, attrgetter("report_id_ma"), rules.report_id_ma)
    yield from allow(Check.ID_KEY_DIGEST, attrgetter("id_key_digest"), rules.id_key_digests)
    yield from allow(Check.AUTHOR_KEY_DIGEST, _author_key_digest, rules.author_key_digests)


def _guest_abi(claims: SnpClaims) -> tuple[int, ...]:
    """Return the lowest version of the firmware ABI that the guest's owner accepts, major and minor."""
    return claims.policy >> 8 & 0xFF, claims.policy & 0xFF


def _author_key_digest(claims: SnpClaims) -> bytes | None:
    return claims.author_key_digest if claims.author_key_en else None


def _vtpm_checks(accepted: VtpmPcrs) -> Iterator[ClaimsCheck[SnpClaims]]:
    """Compile whether evidence may or must come through a vTPM: its PCRs alone tell what runs below the paravisor."""
    if accepted is not None:
        yield _pcrs(accepted) if accepted else _without_vtpm


def _without_vtpm(_claims: SnpClaims, facts: Facts, _at: datetime) -> Outcome:
    if facts.vtpm is None:
        return passed(Check.VTPM_PCRS, "no vTPM", "no vTPM"), None
    return failed(Check.VTPM_PCRS, "a vTPM", "no vTPM"), None


def _pcrs(accepted: Mapping[int, frozenset[bytes]]) -> ClaimsCheck[SnpClaims]:
    """Compile PCRs that must all have one of their values. What is not there has none."""
    pinned = [(number, f"PCR {number}", values) for number, values in accepted.items()]
    want = tuple((name, *listed(values)) for _, name, values in pinned)
    no_vtpm: Outcome = failed(Check.VTPM_PCRS, "no vTPM", want), None
    no_values: Outcome = failed(Check.VTPM_PCRS, "a vTPM, without the values of its PCRs", want), None

    def examine(_claims: SnpClaims, facts: Facts, _at: datetime) -> Outcome:
        if facts.vtpm is None:
            return no_vtpm
        pcrs = facts.vtpm.pcrs
        if pcrs is None:
            return no_values
        other = tuple((name, pcrs[number]) for number, name, values in pinned if pcrs[number] not in values)
        if other:
            return failed(Check.VTPM_PCRS, other, want), None
        return passed(Check.VTPM_PCRS, tuple((name, pcrs[number]) for number, name, _ in pinned), want), None

    return examine
