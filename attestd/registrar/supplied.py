"""Endorsements that come with a dry run: judged as strictly as the service's own, and for that one answer.

What is wrong with them is the caller's, so they are refused as evidence is, with `NotAuthentic`: no retry of the same
request will mend it, and it is not the service's world that is bad.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from attestd.endorsements import Bundle
from attestd.errors import AttestdError, EndorsementRejected, Malformed, NotAuthentic, Reason, Unavailable
from attestd.evidence import INTEL_ENDORSEMENT_NAMES, AppraisalRequest
from attestd.nvgpu.collateral import GpuEndorsements, collect, is_rim
from attestd.tdx.collateral import RawCollateral
from attestd.x509 import TrustAnchors


def intel_collateral(documents: Mapping[str, bytes]) -> RawCollateral:
    """Return all seven documents of Intel's. Raises `Malformed` (`evidence.kind`) and `NotAuthentic`."""
    if not documents.keys() <= set(INTEL_ENDORSEMENT_NAMES):
        raise Malformed(
            Reason.EVIDENCE_KIND,
            found="other endorsements",
            wanted=f"those of Intel: {', '.join(INTEL_ENDORSEMENT_NAMES)}",
        )
    try:
        return Bundle("request", documents).raw()
    except Unavailable as error:
        raise _theirs(error) from None


def gpu_endorsements(
    request: AppraisalRequest, held: GpuEndorsements, anchors: TrustAnchors, at: datetime
) -> GpuEndorsements:
    """Return `held` with what came along in the place of all that is of its kind.

    Raises `Malformed` (`evidence.kind`), and `NotAuthentic` as `collect` refuses.
    """
    if not request.gpus and (request.rims is not None or request.ocsp is not None):
        raise Malformed(Reason.EVIDENCE_KIND, found="RIMs or OCSP answers without a GPU", wanted="GPUs with them")
    if request.rims is not None:
        came = _collected("rims", request.rims, anchors, at)
        held = replace(held, manifests=came.manifests, rolled_back=frozenset())
    if request.ocsp is not None:
        held = replace(held, answers=_collected("ocsp", request.ocsp, anchors, at).answers)
    return held


def _collected(name: str, documents: Sequence[bytes], anchors: TrustAnchors, at: datetime) -> GpuEndorsements:
    if any(is_rim(raw) is not (name == "rims") for raw in documents):
        raise Malformed(
            Reason.EVIDENCE_KIND, found=f"another document among {name}", wanted="RIMs in rims, OCSP answers in ocsp"
        )
    collected = collect({f"{name}[{index}]": raw for index, raw in enumerate(documents)}, anchors, at)
    for refusal in collected.refusals:
        raise _theirs(refusal.error)
    return collected.endorsements


def blamed(error: EndorsementRejected | Unavailable, request: AppraisalRequest) -> AttestdError:
    """Return the refusal of endorsements as it is to be answered: by whose they were.

    Intel's come all together; those of AMD's are told from the service's where they are used.
    """
    if error.reason.value.startswith("gpu.rim_"):
        came = request.rims is not None
    elif error.reason.value.startswith("gpu.ocsp_"):
        came = request.ocsp is not None
    else:
        came = isinstance(error, EndorsementRejected) and bool(request.endorsements) and request.cpu.tee != "snp"
    return _theirs(error) if came else error


def _theirs(error: AttestdError) -> NotAuthentic:
    return NotAuthentic(error.reason, found=error.found, wanted=error.wanted)
