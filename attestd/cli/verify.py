"""`attestd verify`: the journey of evidence without a service (house.md, steps 4, 6, 7 and 8), from files."""

from argparse import Namespace
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Final

from attestd.claims import CpuClaims, export, export_tcb
from attestd.cli.inputs import bundles, collateral, effective_time, evidence, policy, trust_anchors
from attestd.cli.screen import NOT_AFFIRMING, VERIFIED, coloured, exit_status, pairs, show, table
from attestd.codec import Json, dump_digest, dump_time
from attestd.errors import Malformed, NotAuthentic, Reason, Unavailable
from attestd.evidence import MAX_EVENT_LOG_SIZE, MAX_QUOTE_SIZE, QuoteEvidence
from attestd.policy import AppraisalPolicy
from attestd.result import Tier, export_appraisal
from attestd.tdx.eventlog import export_event_log
from attestd.tdx.pck import authenticate_pck_chain
from attestd.tdx.qe import authenticate_attestation_key
from attestd.tdx.quote import Quote
from attestd.tdx.verify import verify
from attestd.verifier import appraise, parse_evidence, replay_event_log, requirement
from attestd.x509 import TrustAnchors

_Document = dict[str, Json]

_REGISTERS: Final = ("mrtd", "rtmr0", "rtmr1", "rtmr2", "rtmr3", "mrseam", "mrenclave", "mrsigner", "image_digest")


def run(arguments: Namespace) -> int:
    """Verify one piece of evidence; print what is true of it, or the first reason why nothing is."""
    at = effective_time(arguments.at)
    under = None if arguments.policy is None else policy(arguments.policy)
    anchors = trust_anchors(arguments.trust_anchors)
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
        "appraisal": None,
    }
    if arguments.trust_anchors is not None:
        document["trust_anchors"] = [dump_digest(root.fingerprint) for root in anchors.roots]
    try:
        quote = parse_evidence(QuoteEvidence(tee=arguments.tee, quote=evidence(arguments.evidence, MAX_QUOTE_SIZE)))
        document["evidence_id"] = dump_digest(quote.evidence_id)
        # Everything has been verified before anything of it is shown.
        found, tier = _verify(arguments, quote, under, anchors, at)
        document.update(found)
        status = VERIFIED if tier is Tier.AFFIRMING else NOT_AFFIRMING
    except (Malformed, NotAuthentic, Unavailable) as error:
        document.update(outcome=_outcome(error), reason=error.reason.value, detail=str(error))
        status = exit_status(error)
    show(arguments, document, lambda: _lines(document, given=arguments.at is not None))
    return status


def _verify(
    arguments: Namespace, quote: Quote, under: AppraisalPolicy | None, anchors: TrustAnchors, at: datetime
) -> tuple[_Document, Tier]:
    pck = authenticate_pck_chain(quote.pck_chain, anchors, at)
    key = authenticate_attestation_key(quote, pck)
    endorsed = collateral(bundles(arguments.endorsements), requirement(quote, pck), anchors, at)
    log = None if arguments.event_log is None else evidence(arguments.event_log, MAX_EVENT_LOG_SIZE)
    if under is None:
        claims = verify(quote, key, endorsed, at)
        replayed = replay_event_log(claims, log)
        appraisal = None
    else:
        result = appraise(
            quote,
            evidence=None,
            event_log=log,
            attestation_key=key,
            collateral=endorsed,
            policy=under,
            registry_id="",
            approved_models=frozenset(),
            at=at,
        )
        claims, replayed, appraisal = result.claims, result.event_log, result.appraisal
    _require_report_data(claims, arguments.report_data)
    found = _exported(claims)
    if replayed is not None:
        found["event_log"] = export_event_log(replayed)
    if appraisal is None:
        return found, Tier.AFFIRMING
    return found | {"appraisal": export_appraisal(appraisal)}, appraisal.tier


def _require_report_data(claims: CpuClaims, wanted: bytes | None) -> None:
    if wanted is not None and claims.report_data != wanted:
        raise NotAuthentic(Reason.BINDING_REPORT_DATA, found=claims.report_data.hex(), wanted=wanted.hex())


def _exported(claims: CpuClaims) -> _Document:
    return {
        "tcb": export_tcb(claims.tcb),
        "claims": export(claims),
        "flags": list(claims.flags),
    }


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
    head["trust anchors"] = document.get("trust_anchors", "Intel SGX Root CA, as pinned")
    match document:
        case {"tcb": dict(tcb), "claims": dict(claims), "flags": flags, "appraisal": appraisal}:
            yield from pairs(head | {"flags": flags, "report data": claims["report_data"]})
            yield from ("", "tcb:", *pairs(tcb))
            yield from ("", "measurements:", *pairs({name: claims[name] for name in _REGISTERS if name in claims}))
            yield from ("", *_verdict(appraisal))
        case _:
            yield from pairs(head)


def _verdict(appraisal: Json) -> Iterator[str]:
    match appraisal:
        case {"policy": policy_digest, "tier": str(tier), "findings": list(findings)}:
            yield f"{coloured(tier)} under policy {policy_digest}"
            yield ""
            columns = ("check", "outcome", "got", "want")
            yield from table(columns, ([row[name] for name in columns] for row in findings if isinstance(row, dict)))
        case _:
            yield "No policy was named: this says that the evidence is authentic, not that it is acceptable."
