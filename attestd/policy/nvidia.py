"""The checks of NVIDIA's GPUs and NVSwitches beside a CPU: how many, which, with what firmware, and how they are bound.

A finding names a device by its kind and its place in the evidence, from 0: `gpu 0`, `switch 8`. What there is none of
meets every check but those of numbers and of the grade. (nvidia.md, 4.2 to 4.9; binding.md, Grades.)
"""

from collections.abc import Callable, Container, Iterator, Mapping
from datetime import datetime, timedelta
from itertools import combinations
from operator import attrgetter
from typing import Any, Final, TypeAlias, TypeVar

from attestd.claims import GpuArch, GpuClaims, GpuMode, RevocationState
from attestd.evidence import MAX_GPUS
from attestd.policy.checks import Check, ClaimsCheck, Facts, Outcome, failed, listed, passed, saturated
from attestd.policy.nvidia_rules import GRADES, GpuRules, driver_version, vbios_version
from attestd.result import Finding, Shown, Tier

# Nothing of the CPU decides over a GPU.
GpuCheck: TypeAlias = ClaimsCheck[object]

_V = TypeVar("_V", bound=Shown)


def gpu_checks(rules: GpuRules | None) -> Iterator[GpuCheck]:
    """Compile the section `[gpu]`, or its absence: then no evidence of GPUs is accepted."""
    if rules is None:
        yield _no_gpus
        return
    yield from _machine_checks(rules)
    yield from _device_checks(rules)
    yield from _firmware_checks(rules)
    yield from _rim_checks(rules)
    yield _grade(rules)


_WITHOUT_GPUS: Final[Outcome] = passed(Check.GPU, 0, 0), None


def _no_gpus(_claims: object, facts: Facts, _at: datetime) -> Outcome:
    """Refuse GPUs of which the policy does not say what they must be like (attacks.md, X04)."""
    if not facts.gpus:
        return _WITHOUT_GPUS
    return failed(Check.GPU, len(facts.gpus), (0, "or a section [gpu] in the policy")), None


def _each(check: Check, value: Callable[[GpuClaims], _V], accepts: Callable[[_V], bool], want: Shown) -> GpuCheck:
    """Compile what every device must meet. Those of one machine are mostly alike, so each value is judged once."""

    def examine(_claims: object, facts: Facts, _at: datetime) -> Outcome:
        values = list(map(value, facts.gpus))
        distinct = tuple(dict.fromkeys(values))
        if all(map(accepts, distinct)):
            return passed(check, distinct, want), None
        placed = zip(_places(facts.gpus), values, strict=True)
        return failed(check, tuple([(place, one) for place, one in placed if not accepts(one)]), want), None

    return examine


def _places(gpus: tuple[GpuClaims, ...]) -> list[str]:
    return [f"{'switch' if gpu.arch.is_switch else 'gpu'} {number}" for number, gpu in enumerate(gpus)]


def _machine_checks(rules: GpuRules) -> Iterator[GpuCheck]:
    """Compile how many devices there must be, and how they must belong together."""
    least, most = rules.min_count, rules.max_count
    if least is not None or most is not None:
        accepted = range(least or 0, (most or MAX_GPUS) + 1)
        yield _count(Check.GPU_COUNT, accepted, (accepted[0], "to", accepted[-1]), switches=False)
    if rules.switches is not None:
        yield _count(Check.GPU_SWITCHES, rules.switches, tuple(sorted(rules.switches)), switches=True)
    if rules.topology_required:
        yield _topology
    if rules.modes is not None:
        yield _mode(rules.modes)


def _count(check: Check, accepted: Container[int], want: Shown, *, switches: bool) -> GpuCheck:
    counted = frozenset(arch for arch in GpuArch if arch.is_switch is switches)

    def examine(_claims: object, facts: Facts, _at: datetime) -> Outcome:
        found = sum([gpu.arch in counted for gpu in facts.gpus])
        return Finding(check, Tier.AFFIRMING if found in accepted else Tier.CONTRAINDICATED, found, want), None

    return examine


_ALL_HERE: Final = "GPUs, and every switch that they name"
_TOGETHER: Final[Outcome] = passed(Check.GPU_TOPOLOGY, "all of them", _ALL_HERE), None


def _topology(_claims: object, facts: Facts, _at: datetime) -> Outcome:
    """Demand all switches: of what lies between the GPUs nothing is known without (nvidia.md, 4.9)."""
    if not facts.gpus:
        return _TOGETHER
    if facts.topology is None:
        return failed(Check.GPU_TOPOLOGY, None, _ALL_HERE), None
    absent = facts.topology.absent_switches
    return (failed(Check.GPU_TOPOLOGY, ("absent", *absent), _ALL_HERE), None) if absent else _TOGETHER


def _mode(accepted: frozenset[GpuMode | None]) -> GpuCheck:
    """Compile the modes that are accepted; the GPUs of one machine are all in one."""
    want = tuple(sorted(map(_mode_name, accepted)))
    without: Outcome = passed(Check.GPU_MODE, (), want), None
    unknown: Outcome = failed(Check.GPU_MODE, None, want), None

    def examine(_claims: object, facts: Facts, _at: datetime) -> Outcome:
        if not facts.gpus:
            return without
        if facts.topology is None:
            return unknown
        mode = facts.topology.mode
        outcome = Tier.AFFIRMING if mode in accepted else Tier.CONTRAINDICATED
        return Finding(Check.GPU_MODE, outcome, _mode_name(mode), want), None

    return examine


def _mode_name(mode: GpuMode | None) -> str:
    return "unstated" if mode is None else mode


def _device_checks(rules: GpuRules) -> Iterator[GpuCheck]:
    """Compile which devices are accepted. Lists of devices and models are about NVSwitches as well."""
    if rules.architectures is not None:
        # How many NVSwitches there may be is for `switches`.
        accepted = rules.architectures | {GpuArch.LS10}
        yield _each(Check.GPU_ARCHITECTURE, attrgetter("arch"), accepted.__contains__, listed(rules.architectures))
    # These lists name other people's devices: findings show those at hand, never the list.
    if rules.device_ids is not None:
        want = "devices that the policy lists"
        yield _each(Check.GPU_DEVICE_ID, attrgetter("device_id"), rules.device_ids.__contains__, want)
    if denied := rules.denied_device_ids:
        yield _each(Check.GPU_DENIED_DEVICE_ID, attrgetter("device_id"), _not_in(denied), "none that the policy denies")
    if models := rules.denied_hwmodels:
        yield _each(Check.GPU_DENIED_HWMODEL, attrgetter("hwmodel"), _not_in(models), ("none of", *listed(models)))
    states = _combinations(rules.device_revocation)
    yield _each(
        Check.GPU_REVOCATION, attrgetter("chain.revocation"), states.__contains__, listed(rules.device_revocation)
    )


def _not_in(denied: frozenset[_V]) -> Callable[[_V], bool]:
    return lambda value: value not in denied


def _combinations(accepted: frozenset[RevocationState]) -> frozenset[tuple[RevocationState, ...]]:
    """Return what claims may say of a chain, best first; nothing is not among it."""
    ordered = [state for state in RevocationState if state in accepted]
    return frozenset(found for size in range(len(ordered)) for found in combinations(ordered, size + 1))


def _firmware_checks(rules: GpuRules) -> Iterator[GpuCheck]:
    if rules.min_driver_version is not None:
        yield _at_least(Check.GPU_DRIVER_VERSION, "driver_version", rules.min_driver_version, driver_version)
    if rules.min_vbios_version is not None:
        yield _at_least(Check.GPU_VBIOS_VERSION, "vbios_version", rules.min_vbios_version, vbios_version)
    if rules.fwid_required:
        # Reports of NVSwitches have no such field.
        yield _each(Check.GPU_FWID, attrgetter("arch", "fwid"), lambda of: of[1] == "match" or of[0].is_switch, "match")
    if rules.nvdec0_required:
        yield _each(Check.GPU_NVDEC0, attrgetter("skipped"), lambda skipped: not skipped, "no value that is skipped")


def _at_least(
    check: Check, name: str, floors: Mapping[GpuArch, str], parse: Callable[[str], tuple[int, ...] | None]
) -> GpuCheck:
    """Compile the floor of each architecture. One without a floor is refused, and a version that cannot be compared."""
    least = {arch: parse(text) for arch, text in floors.items()}

    def accepts(found: tuple[GpuArch, str | None]) -> bool:
        arch, text = found
        if text is None:
            return arch.is_switch  # which has no driver
        floor, version = least.get(arch), parse(text)
        return floor is not None and version is not None and version >= floor

    return _each(check, attrgetter("arch", f"opaque.{name}"), accepts, ("at least", *floors.items()))


def _rim_checks(rules: GpuRules) -> Iterator[GpuCheck]:
    """Compile which reference values are accepted: NVIDIA publishes other contents under an id that stays."""
    if rules.max_rim_age is not None:
        yield _rim_age(rules.max_rim_age)
    if rules.denied_rims:
        yield _each(
            Check.GPU_DENIED_RIM,
            _of_rims("sha256"),
            rules.denied_rims.isdisjoint,
            ("none of", *listed(rules.denied_rims)),
        )
    states = _combinations(rules.rim_revocation)
    yield _each(
        Check.GPU_RIM_REVOCATION,
        _of_rims("chain.revocation"),
        states.issuperset,
        listed(rules.rim_revocation),
    )


def _of_rims(name: str) -> Callable[[GpuClaims], tuple[Any, ...]]:
    """Read a claim about each RIM of a device: of the driver, which an NVSwitch has none of, and of the VBIOS."""
    driver, vbios = attrgetter(f"driver_rim.{name}"), attrgetter(f"vbios_rim.{name}")
    return lambda gpu: (vbios(gpu),) if gpu.driver_rim is None else (driver(gpu), vbios(gpu))


def _rim_age(most: timedelta) -> GpuCheck:
    """Compile how long ago the certificate of a RIM's signer may have begun; the RIM itself says nothing of its age."""
    begun = _of_rims("signed_from")
    without: Outcome = passed(Check.GPU_RIM_AGE, (), "no RIM that is older"), None

    def examine(_claims: object, facts: Facts, at: datetime) -> Outcome:
        signed = [min(begun(gpu)) for gpu in facts.gpus]
        if not signed:
            return without
        oldest = min(signed)
        end = saturated(oldest, most)
        want = ("accepted until", end)
        if at <= end:
            return passed(Check.GPU_RIM_AGE, oldest, want), end
        placed = zip(_places(facts.gpus), signed, strict=True)
        late = tuple([(place, begin) for place, begin in placed if saturated(begin, most) < at])
        return failed(Check.GPU_RIM_AGE, late, want), end

    return examine


def _grade(rules: GpuRules) -> GpuCheck:
    """Compile how strongly the GPUs must belong to the key, where there is one that they could belong to."""
    accepted = GRADES[GRADES.index(rules.min_grade) :]
    want = ("at least", rules.min_grade)
    no_key: Outcome = passed(Check.GPU_GRADE, "no key", want), None

    def examine(_claims: object, facts: Facts, _at: datetime) -> Outcome:
        if facts.key is None:
            return no_key
        grade = rules.grade(facts.grade)
        return Finding(
            Check.GPU_GRADE, Tier.AFFIRMING if grade in accepted else Tier.CONTRAINDICATED, grade, want
        ), None

    return examine
