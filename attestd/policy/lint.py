"""What loads, and is still worth a second look before a policy is put in force."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Final

from attestd.claims import Flag, TcbStatus
from attestd.policy.appraisal import AppraisalPolicy
from attestd.policy.rules import TDX_REGISTERS, Image, PlatformRules, SgxRules, TcbRules, TdxRules

# About as long as Intel leaves platforms between publishing a TCB recovery and enforcing it, and some days.
LONG_GRACE: Final = timedelta(days=90)
# Flags that leave a TD as well protected as one that has none of them (tdx.md, section 3, TDATTRIBUTES).
HARMLESS_FLAGS: Final = frozenset({Flag.PKS, Flag.KEY_LOCKER, Flag.PERFMON, Flag.LASS, Flag.ICSSD, Flag.TPA})


def lint(policy: AppraisalPolicy) -> tuple[str, ...]:
    """Return one line, "member: remark", for each rule that is laxer than a strict one or defeats another one."""
    return (*_common(policy), *_tdx(policy.tdx), *_sgx(policy.sgx))


def _common(policy: AppraisalPolicy) -> Iterator[str]:
    if policy.allow_debug:
        yield "allow_debug: debug evidence is let through as a warning; its memory can be read from outside"
    if policy.bindings is None:
        yield "bindings: any scheme is accepted, also ones that a later version adds"
    if policy.key_algorithms is None:
        yield "key_algorithms: any kind of key is accepted, also ones that a later version adds"
    if policy.models is None:
        yield "models: any model is accepted, also ones that the registry has not approved"
    if policy.max_age is None:
        yield "max_age_seconds: a verdict holds as long as the collateral that it rests on"


def _tdx(rules: TdxRules | None) -> Iterator[str]:
    if rules is None:
        return
    yield from _intel("tdx", rules)
    yield from _service_td(rules)
    if rules.flags is None:
        yield "tdx.flags: any flag is accepted but debug"
    for flag in sorted((rules.flags or frozenset()) - HARMLESS_FLAGS):
        yield f"tdx.flags: {flag} weakens what a TD is protected from"
    for image in rules.images or ():
        loose = [name for name in TDX_REGISTERS if name not in dict(image.pins)]
        if loose and "image_digest" not in dict(image.pins):
            yield f"tdx.images: {image.name} leaves {', '.join(loose)} open"


def _service_td(rules: TdxRules) -> Iterator[str]:
    if rules.mrservicetd is None:
        yield "tdx.mrservicetd: any service TD may be bound, and may migrate or inspect the TD"
    elif rules.flags is None:
        return
    elif None in rules.mrservicetd and Flag.SERVICE_TD_BOUND in rules.flags:
        yield "tdx.flags: service_td_bound is accepted, but mrservicetd wants none bound"
    elif None not in rules.mrservicetd and Flag.SERVICE_TD_BOUND not in rules.flags:
        yield "tdx.mrservicetd: lists service TDs, but flags does not accept service_td_bound: nothing is accepted"


def _sgx(rules: SgxRules | None) -> Iterator[str]:
    if rules is None:
        return
    yield from _intel("sgx", rules)
    for image in rules.images or ():
        pins = dict(image.pins)
        if "mrenclave" not in pins and "image_digest" not in pins:
            missing = [name for name in ("mrsigner", "isvprodid") if name not in pins]
            every = f"any {' and '.join(missing)}" if missing else "every enclave of this product"
            yield f"sgx.images: {image.name} accepts {every}"


def _intel(section: str, rules: TdxRules | SgxRules) -> Iterator[str]:
    yield from _tcb(f"{section}.tcb", rules.tcb)
    yield from _platform(f"{section}.platform", rules.platform)
    if rules.images is None:
        yield f"{section}.images: any image is accepted: the verdict says where code runs, not which"
    for image in rules.images or ():
        yield from _image(section, image, rules.denied_measurements)


def _tcb(path: str, rules: TcbRules) -> Iterator[str]:
    if rules.min_evaluation_data_number is None:
        yield f"{path}.min_evaluation_data_number: older collateral is accepted as long as its dates hold"
    if TcbStatus.UP_TO_DATE not in rules.statuses:
        yield f"{path}.statuses: UpToDate itself is not accepted"
    for status, rule in rules.statuses.items():
        if status is TcbStatus.UP_TO_DATE:
            if rule.grace is not None:
                yield f"{path}.statuses.{status}: is refused when its TCB date is older than {rule.grace.days} days"
            continue
        if rule.grace is None:
            yield f"{path}.statuses.{status}: is accepted for good"
        elif rule.grace > LONG_GRACE:
            yield f"{path}.statuses.{status}: is accepted for {rule.grace.days} days, more than {LONG_GRACE.days}"
        if rule.advisories is None:
            yield f"{path}.statuses.{status}: is accepted with any advisory"


def _platform(path: str, rules: PlatformRules) -> Iterator[str]:
    if both := len((rules.ppids or frozenset()) & rules.denied_ppids):
        yield f"{path}.denied_ppids: denies {both} of the platforms in ppids"


def _image(section: str, image: Image, denied: frozenset[bytes]) -> Iterator[str]:
    if image.not_after is None:
        yield f"{section}.images: {image.name} has no not_after: it is accepted until somebody takes it out"
    if any(pin in denied for _, pin in image.pins):
        yield f"{section}.denied_measurements: denies {image.name}, which images accepts"
