"""`attestd verify`: the journey of evidence without a service (house.md, steps 4, 6, 7 and 8), from files."""

from argparse import Namespace
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Final, assert_never

from attestd.cli import gpus
from attestd.cli.inputs import bundles, certificates, collateral, effective_time, evidence, policy, snp_endorsements
from attestd.cli.screen import NOT_AFFIRMING, VERIFIED, coloured, exit_status, pairs, show, table
from attestd.codec import Json, dump_digest, dump_time
from attestd.errors import Malformed, NotAuthentic, Reason, Unavailable
from attestd.evidence import (
    MAX_EVENT_LOG_SIZE,
    MAX_HCL_REPORT_SIZE,
    MAX_QUOTE_SIZE,
    MAX_SNP_REPORT_SIZE,
    MAX_TPM_QUOTE_SIZE,
    PCRS_SIZE,
    CpuEvidence,
    HclEvidence,
    QuoteEvidence,
    SnpEvidence,
    TpmQuoteEvidence,
)
from attestd.policy import AppraisalPolicy
from attestd.result import Tier, export_appraisal
from attestd.settings import load_anchors
from attestd.snp.attestation import SnpAttestation
from attestd.snp.hcl import HCL_MAGIC
from attestd.snp.vek import authenticate_vek
from attestd.snp.vtpm import require_nonce
from attestd.tdx.pck import authenticate_pck_chain
from attestd.tdx.qe import authenticate_attestation_key
from attestd.tdx.quote import Quote
from attestd.verifier import (
    AmdSubject,
    Attestation,
    IntelSubject,
    Subject,
    Verified,
    appraise,
    export_verified,
    parse_evidence,
    requirement,
    verify_subject,
)
from attestd.x509 import TrustAnchors

_Document = dict[str, Json]

_REGISTERS: Final = (
    "mrtd",
    "rtmr0",
    "rtmr1",
    "rtmr2",
    "rtmr3",
    "mrseam",
    "mrenclave",
    "mrsigner",
    "measurement",
    "host_data",
    "image_digest",
)
_AMD_TCBS: Final = ("reported_tcb", "committed_tcb", "current_tcb", "launch_tcb", "current_version")
# Which options go with which evidence, beside those that go with all.
_OF_CPUS: Final = frozenset({"report_data", "policy", "approved_image"})
_OF_INTEL: Final = _OF_CPUS | {"event_log"}
_OF_SNP: Final = _OF_CPUS | {"certificates"}
_FITTING: Final = {
    "tdx": _OF_INTEL,
    "sgx": _OF_INTEL,
    "snp": _OF_SNP,
    "snp on Azure": _OF_SNP | {"tpm_quote", "tpm_signature", "tpm_pcrs", "nonce"},
    "nvidia": frozenset({"certificates", "nonce", "policy"}),
}
_VTPM: Final = ("extra_data", "user_data", "ak_thumbprint", "reset_count", "safe", "vm_configuration", "pcr_digest")
# A report by itself claims none.
_ANY_ROLE: Final = frozenset({"worker", "proxy"})


def run(arguments: Namespace) -> int:
    """Verify one piece of evidence; print what is true of it, or the first reason why nothing is."""
    at = effective_time(arguments.at)
    under = None if arguments.policy is None else policy(arguments.policy)
    anchors = load_anchors(arguments.trust_anchors)
    document: _Document = {
        "outcome": "verified",
        "reason": None,
        "detail": "",
        "tee": arguments.tee,
        "evidence_id": None,
        "at": dump_time(at),
        "tcb": None,
        "claims": None,
        "flags": [],
        "gpus": [],
        "topology": None,
        "appraisal": None,
    }
    if arguments.trust_anchors is not None:
        document["trust_anchors"] = [dump_digest(root.fingerprint) for root in anchors.roots]
    try:
        _refuse_other_options(arguments)
        # Everything has been verified before anything of it is shown.
        if arguments.tee == "nvidia":
            found, tier = gpus.verify(arguments, under, anchors, at, document)
        else:
            found, tier = _verify_cpu(arguments, under, anchors, at, document)
        document.update(found)
        status = VERIFIED if tier is Tier.AFFIRMING else NOT_AFFIRMING
    except (Malformed, NotAuthentic, Unavailable) as error:
        document.update(outcome=_outcome(error), reason=error.reason.value, detail=str(error))
        status = exit_status(error)
    show(arguments, document, lambda: _lines(document, given=arguments.at is not None))
    return status


def _refuse_other_options(arguments: Namespace) -> None:
    """Refuse options that do not go with the evidence, for they would change nothing."""
    kind = "snp on Azure" if _is_azure(arguments) else arguments.tee
    for option in frozenset().union(*_FITTING.values()) - _FITTING[kind]:
        if getattr(arguments, option):
            raise Malformed(
                Reason.EVIDENCE_KIND,
                found=f"--{option.replace('_', '-')} with evidence of {kind}",
                wanted="only options that go with the evidence (attestd verify --help)",
            )


def _is_azure(arguments: Namespace) -> bool:
    if arguments.tee != "snp":
        return False
    with arguments.evidence.open("rb") as file:
        return bool(file.read(len(HCL_MAGIC)) == HCL_MAGIC)


def _verify_cpu(
    arguments: Namespace, under: AppraisalPolicy | None, anchors: TrustAnchors, at: datetime, document: _Document
) -> tuple[_Document, Tier]:
    cpu = _cpu(arguments)
    attestation = parse_evidence(cpu)
    document["evidence_id"] = dump_digest(attestation.evidence_id)  # also of what is refused
    return _verify(arguments, under, _subject(arguments, cpu, attestation, under, anchors, at), at)


def _cpu(arguments: Namespace) -> CpuEvidence:
    """Make evidence of files."""
    tee, path = arguments.tee, arguments.evidence
    if tee != "snp":
        log = arguments.event_log
        event_log = None if log is None else evidence(log, MAX_EVENT_LOG_SIZE)
        return QuoteEvidence(tee=tee, quote=evidence(path, MAX_QUOTE_SIZE), event_log=event_log)
    beside = certificates(arguments.certificates)
    if not _is_azure(arguments):
        return SnpEvidence(report=evidence(path, MAX_SNP_REPORT_SIZE), certificates=beside)
    quote, signature, pcrs = arguments.tpm_quote, arguments.tpm_signature, arguments.tpm_pcrs
    if quote is None or signature is None:
        raise Malformed(
            Reason.EVIDENCE_KIND, found="an HCL report by itself", wanted="--tpm-quote and --tpm-signature with it"
        )
    return HclEvidence(
        hcl_report=evidence(path, MAX_HCL_REPORT_SIZE),
        tpm_quote=TpmQuoteEvidence(
            message=evidence(quote, MAX_TPM_QUOTE_SIZE),
            signature=evidence(signature, MAX_TPM_QUOTE_SIZE),
            pcrs=None if pcrs is None else evidence(pcrs, PCRS_SIZE),
        ),
        certificates=beside,
    )


def _subject(
    arguments: Namespace,
    cpu: CpuEvidence,
    attestation: Attestation,
    under: AppraisalPolicy | None,
    anchors: TrustAnchors,
    at: datetime,
) -> Subject:
    """Join evidence with what the files endorse."""
    match attestation:
        case Quote():
            pck = authenticate_pck_chain(attestation.pck_chain, anchors, at)
            key = authenticate_attestation_key(attestation, pck)
            needed = requirement(attestation, pck)
            endorsed = collateral(bundles(arguments.endorsements), needed, pck, anchors, at)
            return IntelSubject(attestation, cpu.event_log, key, endorsed)
        case SnpAttestation():
            held = snp_endorsements(arguments.endorsements, anchors, at)
            vek = authenticate_vek(*held.chain(attestation, anchors), anchors, at)
            required = under is not None and under.requires_crl
            return AmdSubject(attestation, vek, held.crl(attestation, vek, at, required=required))
        case _:
            assert_never(attestation)


def _verify(
    arguments: Namespace, under: AppraisalPolicy | None, subject: Subject, at: datetime
) -> tuple[_Document, Tier]:
    if under is None:
        return _found(verify_subject(subject, (), at), arguments), Tier.AFFIRMING
    result = appraise(
        subject,
        gpus=(),
        evidence=None,
        policy=under,
        registry_id="",
        approved_models=frozenset(),
        approved_images=dict.fromkeys(arguments.approved_image, _ANY_ROLE),
        at=at,
    )
    return _found(result.verified, arguments) | {"appraisal": export_appraisal(result.appraisal)}, result.tier


def _found(verified: Verified, arguments: Namespace) -> _Document:
    """Return what to show of verified evidence, if it answers what it was made for."""
    if verified.vtpm is not None and arguments.nonce is not None:
        require_nonce(verified.vtpm, arguments.nonce)
    wanted, found = arguments.report_data, verified.claims.report_data
    if wanted is not None and found != wanted:
        raise NotAuthentic(Reason.BINDING_REPORT_DATA, found=found.hex(), wanted=wanted.hex())
    return export_verified(verified)


def _outcome(error: Malformed | NotAuthentic | Unavailable) -> str:
    match error:
        case Malformed():
            return "malformed"
        case NotAuthentic():
            return "rejected"
        case Unavailable():
            return "unavailable"


def _lines(document: Mapping[str, Json], *, given: bool) -> Iterator[str]:
    yield coloured(str(document["outcome"]))
    yield ""
    head = {name: document[name] for name in ("reason", "detail", "tee", "evidence_id") if document[name]}
    head["at"] = f"{document['at']}{'' if given else ' (now)'}"
    head["trust anchors"] = document.get("trust_anchors", "the vendors' own, as pinned")
    match document:
        case {"tcb": tcb, "claims": dict(claims), "flags": flags, "appraisal": appraisal}:
            yield from pairs(head | _key(claims) | {"flags": flags, "report data": claims["report_data"]})
            yield from ("", "tcb:", *pairs(_tcb(tcb, claims)))
            yield from ("", "measurements:", *pairs({name: claims[name] for name in _REGISTERS if name in claims}))
            yield from _vtpm(document.get("vtpm"))
            yield from ("", *_verdict(appraisal))
        case {"gpus": [_, *_] as devices, "topology": topology, "flags": flags}:
            yield from pairs(head | {"flags": flags})
            yield from gpus.lines(devices, topology)
            yield from ("", *_verdict(document["appraisal"]))
        case _:
            yield from pairs(head)


def _key(claims: Mapping[str, Json]) -> _Document:
    """Return what has signed a report of AMD's, and whether anybody looked if its issuer is revoked."""
    match claims:
        case {"vek": {"kind": kind, "product_line": line}, "crl_checked": checked}:
            return {"product line": line, "signing key": kind, "crl": "looked up" if checked else "none was there"}
        case _:
            return {}


def _vtpm(vtpm: Json) -> Iterator[str]:
    """Show what the guest below Azure's paravisor has booted, and what its vTPM's quote answers."""
    match vtpm:
        case dict(claims):
            pcrs = claims["pcrs"] if isinstance(claims["pcrs"], list) else []
            rows = {name: claims[name] for name in _VTPM} | {f"pcr {index}": pcr for index, pcr in enumerate(pcrs)}
            yield from ("", "vtpm:", *pairs(rows))
        case _:
            pass


def _tcb(tcb: Json, claims: Mapping[str, Json]) -> Mapping[str, Json]:
    """Return Intel's verdict on its TCB, or the versions that AMD's reports name and a policy judges."""
    return tcb if isinstance(tcb, dict) else {name: claims[name] for name in _AMD_TCBS}


def _verdict(appraisal: Json) -> Iterator[str]:
    match appraisal:
        case {"policy": policy_digest, "tier": str(tier), "findings": list(findings)}:
            yield f"{coloured(tier)} under policy {policy_digest}"
            yield ""
            columns = ("check", "outcome", "got", "want")
            yield from table(columns, ([row[name] for name in columns] for row in findings if isinstance(row, dict)))
        case _:
            yield "No policy was named: this says that the evidence is authentic, not that it is acceptable."
