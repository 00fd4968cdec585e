"""The checks of Intel evidence: TCB, platform, measurements (tdx.md, steps 12-14 and section 5)."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from operator import attrgetter
from typing import Final, TypeAlias

from attestd.claims import CpuClaims, Flag, SgxClaims, TcbStatus, TdxClaims
from attestd.policy.checks import (
    Check,
    ClaimsCheck,
    Facts,
    Outcome,
    allow,
    deny,
    failed,
    listed,
    passed,
    saturated,
    until,
)
from attestd.policy.rules import SGX_REGISTERS, TDX_REGISTERS, Image, PlatformRules, SgxRules, TcbRules, TdxRules
from attestd.result import Finding, Shown, Tier

# An image, and what is said of evidence that it accepts.
_Entry: TypeAlias = tuple[Image, Outcome]

_FOREVER: Final = datetime.max.replace(tzinfo=UTC)


def tdx_checks(rules: TdxRules) -> Iterator[ClaimsCheck[TdxClaims]]:
    """Compile the section `[tdx]`."""
    yield from _tcb_checks(rules.tcb)
    yield from _platform_checks(rules.platform)
    yield from _quote_checks(rules.flags, rules.trailing_bytes)
    yield from _module(Check.MRSEAM, lambda claims: claims.mrseam, rules.mrseam)
    yield from _module(Check.MRSIGNERSEAM, lambda claims: claims.mrsignerseam, rules.mrsignerseam)
    yield from _module(Check.MRSERVICETD, lambda claims: claims.mrservicetd, rules.mrservicetd)
    if rules.xfam_required or rules.xfam_forbidden:
        yield _xfam(rules.xfam_required, rules.xfam_forbidden)
    if rules.event_log_required:
        yield _event_log
    if rules.denied_measurements:
        names = ("image_digest", *TDX_REGISTERS, "mrseam", "mrsignerseam", "mrservicetd")
        yield _denied_measurements(names, rules.denied_measurements)
    if rules.images is not None:
        yield _image(rules.images, tuple(TDX_REGISTERS))


def sgx_checks(rules: SgxRules) -> Iterator[ClaimsCheck[SgxClaims]]:
    """Compile the section `[sgx]`."""
    yield from _tcb_checks(rules.tcb)
    yield from _platform_checks(rules.platform)
    # Of enclaves no flag but debug is known, which has its own check: another one would not be accepted unseen.
    yield from _quote_checks(frozenset(), rules.trailing_bytes)
    if rules.denied_measurements:
        yield _denied_measurements(("image_digest", "mrenclave", "mrsigner"), rules.denied_measurements)
    if rules.images is not None:
        yield _image(rules.images, tuple(SGX_REGISTERS))


def _tcb_checks(rules: TcbRules) -> Iterator[ClaimsCheck[CpuClaims]]:
    yield from allow(Check.TCB_STATUS, lambda claims: claims.tcb.status, rules.statuses)
    graces = {status: rule.grace for status, rule in rules.statuses.items() if rule.grace is not None}
    if graces:
        yield _grace(graces)
    advisories = {status: rule.advisories for status, rule in rules.statuses.items() if rule.advisories is not None}
    if advisories:
        yield _advisories(advisories)
    if rules.denied_advisories:
        yield _denied_advisories(rules.denied_advisories)
    if rules.min_evaluation_data_number is not None:
        yield _evaluation_data_number(rules.min_evaluation_data_number)


def _grace(graces: Mapping[TcbStatus, timedelta]) -> ClaimsCheck[CpuClaims]:
    """Accept a status for some time from the TCB date of the matched level on."""

    def examine(claims: CpuClaims, _facts: Facts, at: datetime) -> Outcome:
        tcb = claims.tcb
        grace = graces.get(tcb.status)
        if grace is None:
            return passed(Check.TCB_GRACE, tcb.status, "no time limit for this status"), None
        return until(Check.TCB_GRACE, at, saturated(tcb.tcb_date, grace), (tcb.status, tcb.tcb_date))

    return examine


def _advisories(accepted: Mapping[TcbStatus, frozenset[str]]) -> ClaimsCheck[CpuClaims]:
    """Accept a status with the advisories that the policy's author has weighed, and with no other."""
    want = {status: listed(advisories) for status, advisories in accepted.items()}

    def examine(claims: CpuClaims, _facts: Facts, _at: datetime) -> Outcome:
        tcb = claims.tcb
        if tcb.status not in accepted:
            return passed(Check.TCB_ADVISORIES, tcb.advisory_ids, "any with this status"), None
        unweighed = tuple(name for name in tcb.advisory_ids if name not in accepted[tcb.status])
        if unweighed:
            return failed(Check.TCB_ADVISORIES, unweighed, want[tcb.status]), None
        return passed(Check.TCB_ADVISORIES, tcb.advisory_ids, want[tcb.status]), None

    return examine


def _denied_advisories(denied: frozenset[str]) -> ClaimsCheck[CpuClaims]:
    want = ("none of", *listed(denied))

    def examine(claims: CpuClaims, _facts: Facts, _at: datetime) -> Outcome:
        found = tuple(name for name in claims.tcb.advisory_ids if name in denied)
        check = Check.DENIED_ADVISORIES
        return failed(check, found, want) if found else passed(check, claims.tcb.advisory_ids, want), None

    return examine


def _evaluation_data_number(least: int) -> ClaimsCheck[CpuClaims]:
    """Refuse collateral that was made by older rules, though its dates still hold."""
    want = ("at least", least)

    def examine(claims: CpuClaims, _facts: Facts, _at: datetime) -> Outcome:
        got = claims.tcb.tcb_evaluation_data_number
        outcome = Tier.AFFIRMING if got >= least else Tier.CONTRAINDICATED
        return Finding(Check.TCB_EVALUATION_DATA_NUMBER, outcome, got, want), None

    return examine


def _platform_checks(rules: PlatformRules) -> Iterator[ClaimsCheck[CpuClaims]]:
    yield from allow(Check.PCK_CA, lambda claims: claims.pck.pck_ca, rules.pck_cas)
    yield from allow(Check.SGX_TYPE, lambda claims: claims.pck.sgx_type, rules.sgx_types)
    yield from allow(Check.DYNAMIC_PLATFORM, lambda claims: claims.pck.dynamic_platform, rules.dynamic_platform)
    yield from allow(Check.CACHED_KEYS, lambda claims: claims.pck.cached_keys, rules.cached_keys)
    yield from allow(Check.SMT_ENABLED, lambda claims: claims.pck.smt_enabled, rules.smt_enabled)
    want = "one that the policy does not deny"
    yield from deny(Check.DENIED_FMSPC, lambda claims: claims.pck.fmspc, rules.denied_fmspcs, want)
    # These lists name other people's platforms: findings show the one at hand, never the list.
    yield from allow(Check.PPID, _ppid_digest, rules.ppids, "one that the policy lists")
    yield from deny(Check.DENIED_PPID, _ppid_digest, rules.denied_ppids, want)


def _ppid_digest(claims: CpuClaims) -> bytes:
    return sha256(claims.pck.ppid).digest()


def _quote_checks(
    flags: frozenset[Flag] | None, trailing_bytes: frozenset[int] | None
) -> Iterator[ClaimsCheck[CpuClaims]]:
    if flags is not None:
        yield _flags(flags)
    yield from allow(Check.TRAILING_BYTES, lambda claims: claims.trailing_bytes, trailing_bytes)


def _flags(accepted: frozenset[Flag]) -> ClaimsCheck[CpuClaims]:
    want = listed(accepted)
    no_flags: Outcome = passed(Check.FLAGS, (), want), None

    def examine(claims: CpuClaims, _facts: Facts, _at: datetime) -> Outcome:
        if not claims.flags:
            return no_flags
        unwanted = tuple(flag for flag in claims.flags if flag not in accepted and flag is not Flag.DEBUG)
        return failed(Check.FLAGS, unwanted, want) if unwanted else passed(Check.FLAGS, claims.flags, want), None

    return examine


def _module(
    check: Check, value: Callable[[TdxClaims], bytes | None], accepted: frozenset[bytes | None] | None
) -> Iterator[ClaimsCheck[TdxClaims]]:
    """Compile an allow-list of what the quote says of the TDX module and of service TDs."""
    return allow(check, value, accepted)


def _xfam(required: frozenset[int], forbidden: frozenset[int]) -> ClaimsCheck[TdxClaims]:
    wanted_bits = sum(1 << bit for bit in required)
    examined_bits = wanted_bits | sum(1 << bit for bit in forbidden)
    want: Shown = (("bits that are set", *sorted(required)), ("bits that are not", *sorted(forbidden)))

    def examine(claims: TdxClaims, _facts: Facts, _at: datetime) -> Outcome:
        fits = int.from_bytes(claims.xfam, "little") & examined_bits == wanted_bits
        return Finding(Check.XFAM, Tier.AFFIRMING if fits else Tier.CONTRAINDICATED, claims.xfam, want), None

    return examine


def _event_log(_claims: TdxClaims, facts: Facts, _at: datetime) -> Outcome:
    outcome = Tier.AFFIRMING if facts.event_log_replayed else Tier.CONTRAINDICATED
    got = "replayed" if facts.event_log_replayed else "absent"
    return Finding(Check.EVENT_LOG, outcome, got, "a log that replays to RTMR0, RTMR1 and RTMR2"), None


def _denied_measurements(names: tuple[str, ...], denied: frozenset[bytes]) -> ClaimsCheck[CpuClaims]:
    measurements = attrgetter(*names)
    want = ("none of", *listed(denied))
    nothing: Outcome = passed(Check.DENIED_MEASUREMENT, (), want), None

    def examine(claims: CpuClaims, _facts: Facts, _at: datetime) -> Outcome:
        found = denied.intersection(measurements(claims))
        return (failed(Check.DENIED_MEASUREMENT, listed(found), want), None) if found else nothing

    return examine


def _image(images: tuple[Image, ...], registers: tuple[str, ...]) -> ClaimsCheck[CpuClaims]:
    """Accept the images of the list: by their measurements as a whole, then by what else is said of each."""
    want = listed(image.name for image in images)
    # Of two entries with the same measurements the one that ends later is tried first.
    latest_first = sorted(images, key=lambda image: image.not_after or _FOREVER, reverse=True)
    index = _index((image, _accepted(image, want)) for image in latest_first)

    def examine(claims: CpuClaims, facts: Facts, at: datetime) -> Outcome:
        shortcomings: list[Outcome] = []
        for measured, table in index:
            for image, accepted in table.get(measured(claims), ()):
                shortcoming = _shortcoming(image, claims, facts, at)
                if shortcoming is None:
                    return accepted
                shortcomings.append(shortcoming)
        return shortcomings[0] if shortcomings else (_unlike(images, registers, claims), None)

    return examine


def _index(entries: Iterable[_Entry]) -> list[tuple[Callable[[CpuClaims], object], dict[object, list[_Entry]]]]:
    """Group images by which measurements they pin, so that each group takes one look-up however many images it has."""
    tables: dict[tuple[str, ...], dict[object, list[_Entry]]] = {}
    for entry in entries:
        names, pins = zip(*entry[0].pins, strict=True)
        # Of a single name, attrgetter gives the value alone.
        key = pins if len(pins) > 1 else pins[0]
        tables.setdefault(names, {}).setdefault(key, []).append(entry)
    return [(attrgetter(*names), table) for names, table in tables.items()]


def _accepted(image: Image, want: Shown) -> Outcome:
    if image.not_after is None:
        return passed(Check.IMAGE, image.name, want), None
    return passed(Check.IMAGE, (image.name, "accepted until", image.not_after), want), image.not_after


def _shortcoming(image: Image, claims: CpuClaims, facts: Facts, at: datetime) -> Outcome | None:
    """Tell what keeps an image from being accepted whose measurements fit."""
    if isinstance(claims, SgxClaims) and claims.isvsvn < image.min_isvsvn:
        return failed(Check.ISVSVN, claims.isvsvn, (image.name, "at least", image.min_isvsvn)), None
    claimed = facts.key.role if facts.key else None
    # The role of a key comes from its image. Not every binding has the attester claim one; a claim must be true.
    if claimed and image.role not in (None, claimed):
        return failed(Check.IMAGE_ROLE, claimed, (image.name, image.role)), None
    if image.not_after is not None and at > image.not_after:
        return failed(Check.IMAGE_NOT_AFTER, at, (image.name, "accepted until", image.not_after)), image.not_after
    return None


def _unlike(images: tuple[Image, ...], registers: tuple[str, ...], claims: CpuClaims) -> Finding:
    """Show how the evidence differs from the image that it is most like."""
    measured = {name: getattr(claims, name) for name in ("image_digest", *registers)}
    image = min(images, key=lambda image: len(image.differences(measured)) / len(image.pins))
    differences = image.differences(measured)
    got = tuple((name, found) for name, found, _ in differences)
    return failed(Check.IMAGE, got, (image.name, *((name, wanted) for name, _, wanted in differences)))
