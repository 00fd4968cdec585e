"""What loads, and is still worth a second look before a policy is put in force."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Final

from attestd.binding.verify import BindingGrade
from attestd.claims import Flag, GpuArch, GpuMode, ProductLine, RevocationState, TcbStatus
from attestd.evidence import Scheme
from attestd.policy.amd_rules import NO_ID_BLOCK, NO_MIGRATION_AGENT, SnpRules, TcbFloors
from attestd.policy.appraisal import AppraisalPolicy
from attestd.policy.intel_rules import TDX_REGISTERS, SgxRules, TcbRules, TdxRules
from attestd.policy.nvidia_rules import GPU_ARCHITECTURES, GpuRules
from attestd.policy.rules import SNP_FLAGS, Image, Images

# About as long as Intel leaves platforms between publishing a TCB recovery and enforcing it, and some days.
LONG_GRACE: Final = timedelta(days=90)
# Flags that leave a TD as well protected as one that has none of them (tdx.md, section 3, TDATTRIBUTES).
HARMLESS_FLAGS: Final = frozenset({Flag.PKS, Flag.KEY_LOCKER, Flag.PERFMON, Flag.LASS, Flag.ICSSD, Flag.TPA})
# Debug and application support: reset from any locality (TCG PC Client Platform TPM Profile 1.05, table 10).
_RESETTABLE_PCRS: Final = frozenset({16, 23})
# What flags of SEV-SNP take away.
_WEAKENING: Final = {
    Flag.MIGRATE_MA: "a migration agent may move the guest to another machine",
    Flag.PROVISIONAL_FIRMWARE: "the host may go back to the older firmware that it has committed",
}
# What the grades below `mutual` leave open (binding.md, Grades).
_UNBOUND: Final = {
    BindingGrade.NONE: "nothing need tie the GPUs to the CPU or to the key",
    BindingGrade.SAME_CHALLENGE: "GPUs of another machine may have answered the challenge, for another key",
    BindingGrade.KEY_BOUND: "the report of the CPU need not commit to the GPUs, which may be swapped afterwards",
}
# What an answer of OCSP that is not good leaves open.
_NOT_GOOD: Final = {
    RevocationState.HOLD: "NVIDIA has taken back what is accepted, for now",
    RevocationState.STALE: "what was revoked since the answer expired is not noticed",
    RevocationState.UNAVAILABLE: "what is revoked is not noticed without an answer",
}


def lint(policy: AppraisalPolicy) -> tuple[str, ...]:
    """Return one line, "member: remark", for each rule that is laxer than a strict one or defeats another one."""
    return (*_common(policy), *_tdx(policy.tdx), *_sgx(policy.sgx), *_snp(policy.snp), *_gpu(policy))


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
    if policy.snp is not None and not policy.snp.crl_required and policy.max_collateral_age is not None:
        yield "max_collateral_age_seconds: only a CRL has an age for SEV-SNP, so it is required whatever snp.crl says"


def _tdx(rules: TdxRules | None) -> Iterator[str]:
    if rules is None:
        return
    yield from _intel("tdx", rules)
    yield from _service_td(rules)
    if rules.flags is None:
        yield "tdx.flags: any flag is accepted but debug"
    for flag in sorted((rules.flags or frozenset()) - HARMLESS_FLAGS):
        yield f"tdx.flags: {flag} weakens what a TD is protected from"
    for image in _listed(rules.images):
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
    for image in _listed(rules.images):
        pins = dict(image.pins)
        if "mrenclave" not in pins and "image_digest" not in pins:
            missing = [name for name in ("mrsigner", "isvprodid") if name not in pins]
            every = f"any {' and '.join(missing)}" if missing else "every enclave of this product"
            yield f"sgx.images: {image.name} accepts {every}"


def _intel(section: str, rules: TdxRules | SgxRules) -> Iterator[str]:
    yield from _tcb(f"{section}.tcb", rules.tcb)
    yield from _both(f"{section}.platform", "ppids", rules.platform.ppids, rules.platform.denied_ppids)
    yield from _images(section, rules)


def _images(section: str, rules: TdxRules | SgxRules | SnpRules) -> Iterator[str]:
    if rules.images is None:
        yield f"{section}.images: any image is accepted: the verdict says where code runs, not which"
    if rules.images == "registered":
        yield f"{section}.images: what the registry approves has no not_after: it is accepted until it is revoked"
    for image in _listed(rules.images):
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


def _snp(rules: SnpRules | None) -> Iterator[str]:
    if rules is None:
        return
    yield from _snp_key(rules)
    yield from _both("snp", "chip_ids", rules.chip_ids, rules.denied_chip_ids)
    yield from _floors(rules.tcb)
    if "alias_check_complete" not in rules.platform_info.required:
        yield "snp.platform_info: memory modules that lie about their size (AMD-SB-3015) are not excluded"
    yield from _snp_guest(rules)
    yield from _vtpm(rules)
    yield from _images("snp", rules)
    for image in _listed(rules.images):
        if not _is_measured(image):
            yield f"snp.images: {image.name} accepts any measurement; whoever launches a guest chooses the rest"


def _snp_key(rules: SnpRules) -> Iterator[str]:
    if rules.product_lines is None or ProductLine.MILAN in rules.product_lines:
        yield "snp.product_lines: Milan's root seed was extracted: reports of any TCB can be forged (arXiv 2605.12990)"
    if not rules.crl_required:
        yield "snp.crl: a revoked ASK or ASVK is not noticed without a CRL"
    if rules.csp_ids is None and (rules.signing_keys is None or "vlek" in rules.signing_keys):
        yield "snp.csp_ids: a VLEK of any cloud provider is accepted"


def _floors(tcb: TcbFloors | None) -> Iterator[str]:
    if tcb is None:
        yield "snp.tcb: any firmware is accepted, also with advisories that are open"
        return
    # The current TCB is never below the reported one.
    if unheld := sorted({"reported", "committed", "launch"} - tcb.versions):
        yield f"snp.tcb.versions: {', '.join(unheld)} may be below the floors"


def _snp_guest(rules: SnpRules) -> Iterator[str]:
    accepted = frozenset(SNP_FLAGS) if rules.flags is None else rules.flags
    for flag in sorted(accepted & _WEAKENING.keys()):
        yield f"snp.flags: {flag}: {_WEAKENING[flag]}"
    if rules.vmpl is None:
        yield "snp.vmpl: a report that less privileged software asked for is accepted"
    agents = rules.report_id_ma
    if agents is not None and NO_MIGRATION_AGENT not in agents and Flag.MIGRATE_MA not in accepted:
        yield "snp.report_id_ma: lists migration agents, but flags does not accept migrate_ma: nothing is accepted"
    if Flag.CHIP_ID_MASKED in accepted and rules.denied_chip_ids:
        yield "snp.denied_chip_ids: refuses a VLEK with a masked chip id, for that may be a denied one"


def _vtpm(rules: SnpRules) -> Iterator[str]:
    if rules.vtpm_pcrs is None:
        yield "snp.vtpm_pcrs: any PCRs are accepted: of a VM with a vTPM the verdict does not say what it runs"
        if rules.images == "registered":
            yield "snp.images: a paravisor that the registry approves stands for whatever runs below it, with any PCRs"
    elif rules.vtpm_pcrs:
        if not _pins_paravisor(rules):
            yield "snp.vtpm_pcrs: any guest can make up a vTPM: pin the paravisor, by its measurement or id_key_digests"
        if rules.vtpm_pcrs.keys() <= _RESETTABLE_PCRS:
            yield "snp.vtpm_pcrs: the guest can reset PCR 16 and 23, and extend them to any value: pin others, too"


def _pins_paravisor(rules: SnpRules) -> bool:
    if rules.id_key_digests is not None and NO_ID_BLOCK not in rules.id_key_digests:
        return True
    return rules.images is not None and all(map(_is_measured, _listed(rules.images)))


def _is_measured(image: Image) -> bool:
    return not {"measurement", "image_digest"}.isdisjoint(dict(image.pins))


def _gpu(policy: AppraisalPolicy) -> Iterator[str]:
    rules = policy.gpu
    if rules is None:
        return
    yield from _gpu_machine(rules)
    yield from _gpu_firmware(rules)
    yield from _both("gpu", "device_ids", rules.device_ids, rules.denied_device_ids)
    for name, states in (("device", rules.device_revocation), ("rims", rules.rim_revocation)):
        yield from (f"gpu.revocation.{name}: {state}: {open_}" for state, open_ in _NOT_GOOD.items() if state in states)
    yield from _grade(policy, rules)


def _gpu_machine(rules: GpuRules) -> Iterator[str]:
    if rules.min_count is None:
        nobody = rules.min_grade is BindingGrade.NONE
        yield f"gpu.min_count: evidence without any GPU is {'accepted' if nobody else 'refused by min_grade alone'}"
    if not rules.topology_required:
        yield "gpu.topology: what lies between the GPUs may be unknown, and whether all of them are there"
    if rules.architectures is None:
        yield "gpu.architectures: any is accepted, also ones that a later version adds"
    if rules.modes is None:
        yield "gpu.modes: any is accepted, also what reports do not say"
    elif GpuMode.PPCIE not in rules.modes and rules.switches is not None and 0 not in rules.switches:
        yield "gpu.switches: wants switches, which go with the mode PPCIE alone: nothing is accepted"
    elif rules.modes == {GpuMode.PPCIE} and rules.switches == frozenset({0}) and rules.topology_required:
        yield "gpu.switches: wants none, but topology those that GPUs in mode PPCIE name: nothing is accepted"


def _gpu_firmware(rules: GpuRules) -> Iterator[str]:
    gpus = rules.architectures or frozenset(GPU_ARCHITECTURES)
    devices = gpus if rules.switches == frozenset({0}) else gpus | {GpuArch.LS10}
    for name, floors, held in (
        ("driver", rules.min_driver_version, gpus),
        ("vbios", rules.min_vbios_version, devices),
    ):
        path = f"gpu.min_{name}_version"
        if floors is None:
            yield f"{path}: any is accepted whose reference values NVIDIA has published"
        elif unheld := sorted(held - floors.keys()):
            yield f"{path}: has no floor for {', '.join(unheld)}, which is refused"
    if not rules.fwid_required:
        yield "gpu.fwid: firmware that is too old to name itself in its report is accepted"
    if rules.max_rim_age is None:
        yield "gpu.max_rim_age_seconds: outdated reference values are accepted while their signer's certificate holds"


def _grade(policy: AppraisalPolicy, rules: GpuRules) -> Iterator[str]:
    if (open_ := _UNBOUND.get(rules.min_grade)) is not None:
        yield f"gpu.min_grade: {open_}"
    elif policy.bindings is not None and Scheme.ATTESTD_V1 not in policy.bindings:
        yield f"gpu.min_grade: only {Scheme.ATTESTD_V1}, which bindings does not list, is mutual: nothing is accepted"
    if rules.boot_gate:
        yield "gpu.boot_gate: states what nobody verifies: that each accepted image refuses to start without a good GPU"


def _both(path: str, name: str, listed: frozenset[bytes | None] | None, denied: frozenset[bytes]) -> Iterator[str]:
    if both := len((listed or frozenset()) & denied):
        yield f"{path}.denied_{name}: denies {both} of the platforms in {name}"


def _listed(images: Images) -> tuple[Image, ...]:
    return images if isinstance(images, tuple) else ()


def _image(section: str, image: Image, denied: frozenset[bytes]) -> Iterator[str]:
    if image.not_after is None:
        yield f"{section}.images: {image.name} has no not_after: it is accepted until somebody takes it out"
    if any(pin in denied for _, pin in image.pins):
        yield f"{section}.denied_measurements: denies {image.name}, which images accepts"
