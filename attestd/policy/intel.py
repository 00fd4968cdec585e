"""The checks of Intel evidence: TCB, platform, measurements (tdx.md, steps 12-14 and section 5)."""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from hashlib import sha256
from operator import attrgetter

from attestd.claims import IntelClaims, SgxClaims, TcbStatus, TdxClaims
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
    saturated,
    until,
)
from attestd.policy.images import image_checks
from attestd.policy.intel_rules import SGX_REGISTERS, TDX_REGISTERS, PlatformRules, SgxRules, TcbRules, TdxRules
from attestd.result import Finding, Tier


def tdx_checks(rules: TdxRules) -> Iterator[ClaimsCheck[TdxClaims]]:
    """Compile the section `[tdx]`."""
    yield from _tcb_checks(rules.tcb)
    yield from _platform_checks(rules.platform)
    yield from flags(rules.flags)
    yield from allow(Check.TRAILING_BYTES, attrgetter("trailing_bytes"), rules.trailing_bytes)
    yield from allow(Check.MRSEAM, attrgetter("mrseam"), rules.mrseam)
    yield from allow(Check.MRSIGNERSEAM, attrgetter("mrsignerseam"), rules.mrsignerseam)
    yield from allow(Check.MRSERVICETD, attrgetter("mrservicetd"), rules.mrservicetd)
    yield from bits(
        Check.XFAM,
        _xfam,
        rules.xfam_required,
        rules.xfam_forbidden,
        bits_wanted(rules.xfam_required, rules.xfam_forbidden),
    )
    if rules.event_log_required:
        yield _event_log
    names = ("image_digest", *TDX_REGISTERS, "mrseam", "mrsignerseam", "mrservicetd")
    yield from denied_measurements(names, rules.denied_measurements)
    yield from image_checks(rules.images, tuple(TDX_REGISTERS))


def sgx_checks(rules: SgxRules) -> Iterator[ClaimsCheck[SgxClaims]]:
    """Compile the section `[sgx]`."""
    yield from _tcb_checks(rules.tcb)
    yield from _platform_checks(rules.platform)
    # Of enclaves no flag but debug is known, which has its own check: another one would not be accepted unseen.
    yield from flags(frozenset())
    yield from allow(Check.TRAILING_BYTES, attrgetter("trailing_bytes"), rules.trailing_bytes)
    yield from denied_measurements(("image_digest", "mrenclave", "mrsigner"), rules.denied_measurements)
    yield from image_checks(rules.images, tuple(SGX_REGISTERS))


def _tcb_checks(rules: TcbRules) -> Iterator[ClaimsCheck[IntelClaims]]:
    yield from allow(Check.TCB_STATUS, attrgetter("tcb.status"), rules.statuses)
    graces = {status: rule.grace for status, rule in rules.statuses.items() if rule.grace is not None}
    if graces:
        yield _grace(graces)
    advisories = {status: rule.advisories for status, rule in rules.statuses.items() if rule.advisories is not None}
    if advisories:
        yield _advisories(advisories)
    if rules.denied_advisories:
        yield _denied_advisories(rules.denied_advisories)
    # Collateral that was made by older rules may have dates that still hold.
    yield from at_least(
        Check.TCB_EVALUATION_DATA_NUMBER,
        attrgetter("tcb.tcb_evaluation_data_number"),
        rules.min_evaluation_data_number,
    )


def _grace(graces: Mapping[TcbStatus, timedelta]) -> ClaimsCheck[IntelClaims]:
    """Accept a status for some time from the TCB date of the matched level on."""

    def examine(claims: IntelClaims, _facts: Facts, at: datetime) -> Outcome:
        tcb = claims.tcb
        grace = graces.get(tcb.status)
        if grace is None:
            return passed(Check.TCB_GRACE, tcb.status, "no time limit for this status"), None
        return until(Check.TCB_GRACE, at, saturated(tcb.tcb_date, grace), (tcb.status, tcb.tcb_date))

    return examine


def _advisories(accepted: Mapping[TcbStatus, frozenset[str]]) -> ClaimsCheck[IntelClaims]:
    """Accept a status with the advisories that the policy's author has weighed, and with no other."""
    want = {status: listed(advisories) for status, advisories in accepted.items()}

    def examine(claims: IntelClaims, _facts: Facts, _at: datetime) -> Outcome:
        tcb = claims.tcb
        if tcb.status not in accepted:
            return passed(Check.TCB_ADVISORIES, tcb.advisory_ids, "any with this status"), None
        unweighed = tuple(name for name in tcb.advisory_ids if name not in accepted[tcb.status])
        if unweighed:
            return failed(Check.TCB_ADVISORIES, unweighed, want[tcb.status]), None
        return passed(Check.TCB_ADVISORIES, tcb.advisory_ids, want[tcb.status]), None

    return examine


def _denied_advisories(denied: frozenset[str]) -> ClaimsCheck[IntelClaims]:
    want = ("none of", *listed(denied))

    def examine(claims: IntelClaims, _facts: Facts, _at: datetime) -> Outcome:
        found = tuple(name for name in claims.tcb.advisory_ids if name in denied)
        check = Check.DENIED_ADVISORIES
        return failed(check, found, want) if found else passed(check, claims.tcb.advisory_ids, want), None

    return examine


def _platform_checks(rules: PlatformRules) -> Iterator[ClaimsCheck[IntelClaims]]:
    yield from allow(Check.PCK_CA, attrgetter("pck.pck_ca"), rules.pck_cas)
    yield from allow(Check.SGX_TYPE, attrgetter("pck.sgx_type"), rules.sgx_types)
    yield from allow(Check.DYNAMIC_PLATFORM, attrgetter("pck.dynamic_platform"), rules.dynamic_platform)
    yield from allow(Check.CACHED_KEYS, attrgetter("pck.cached_keys"), rules.cached_keys)
    yield from allow(Check.SMT_ENABLED, attrgetter("pck.smt_enabled"), rules.smt_enabled)
    want = "one that the policy does not deny"
    yield from deny(Check.DENIED_FMSPC, attrgetter("pck.fmspc"), rules.denied_fmspcs, want)
    # These lists name other people's platforms: findings show the one at hand, never the list.
    yield from allow(Check.PPID, _ppid_digest, rules.ppids, "one that the policy lists")
    yield from deny(Check.DENIED_PPID, _ppid_digest, rules.denied_ppids, want)


def _ppid_digest(claims: IntelClaims) -> bytes:
    return sha256(claims.pck.ppid).digest()


def _xfam(claims: TdxClaims) -> int:
    return int.from_bytes(claims.xfam, "little")


def _event_log(_claims: TdxClaims, facts: Facts, _at: datetime) -> Outcome:
    outcome = Tier.AFFIRMING if facts.event_log_replayed else Tier.CONTRAINDICATED
    got = "replayed" if facts.event_log_replayed else "absent"
    return Finding(Check.EVENT_LOG, outcome, got, "a log that replays to RTMR0, RTMR1 and RTMR2"), None
