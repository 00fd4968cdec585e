"""What the commands read: the time, files of evidence, trust anchors, collateral and policies.

The clock is read here, when no time was given.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

from attestd.codec import dump_pem, dump_time, load_pem
from attestd.endorsements import (
    Bundle,
    Files,
    amd_documents,
    bundles_in,
    nvidia_documents,
    read_archive,
    read_file,
    read_folder,
)
from attestd.endorsements.bundle import AMD, NVIDIA, document_name, refused_file
from attestd.errors import AttestdError, ConfigurationRefused, EndorsementRejected, Malformed, Reason, Unavailable
from attestd.evidence import MAX_CERTIFICATES_SIZE, MAX_POLICY_SIZE
from attestd.nvgpu.collateral import Collected as GpuCollected
from attestd.nvgpu.collateral import collect as collect_gpu
from attestd.policy import AppraisalPolicy
from attestd.settings import BUILT, now
from attestd.snp.collateral import SnpEndorsements
from attestd.snp.collateral import collect as collect_snp
from attestd.tdx.collateral import Collateral, authenticate_collateral
from attestd.tdx.pck import PckChain
from attestd.verifier import Requirement
from attestd.x509 import TrustAnchors

_PEM: Final = b"-----BEGIN"
_ARCHIVES: Final = (".zip", ".tar", ".tar.gz", ".tgz")
# What comes of documents that are not in force. A VCEK without its ASK is missing something, too.
_OF_OTHER_TIMES: Final = (
    Reason.SNP_VEK_EXPIRED,
    Reason.SNP_VEK_NOT_YET_VALID,
    Reason.SNP_ENDORSEMENTS_MISSING,
    Reason.GPU_RIM_EXPIRED,
    Reason.GPU_RIM_NOT_YET_VALID,
    Reason.GPU_OCSP_NOT_YET_VALID,
)


def effective_time(given: datetime | None) -> datetime:
    """Return the time to verify at: the one that was given, or now, to the second.

    Raises `ConfigurationRefused` (`clock.before_build`) where the clock is certainly wrong.
    """
    if given is not None:
        return given
    at = now().replace(microsecond=0)
    if at < BUILT:
        raise ConfigurationRefused(
            Reason.CLOCK, found=dump_time(at), wanted=f"{dump_time(BUILT)} or later, or the time to verify at as --at"
        )
    return at


def evidence(path: Path, most: int) -> bytes:
    """Read a file of evidence. Raises `Malformed` (`evidence.size`) beyond `most` bytes."""
    with path.open("rb") as file:
        raw = file.read(most + 1)
    if len(raw) > most:
        raise Malformed(Reason.EVIDENCE_SIZE, found=f"more than {most} bytes", wanted=f"at most {most} bytes")
    return raw


def bundles(paths: Sequence[Path]) -> tuple[Bundle, ...]:
    """Read Intel's collateral from folders, archives and single files; a file that is named for itself goes before all.

    NVIDIA's are passed over: there may be GPUs beside the quote. Raises `Malformed` for what is unsafe or has another
    name, `OSError` for what cannot be read.
    """
    found: list[Bundle] = []
    single: dict[str, bytes] = {}
    for path in paths:
        bundled = bundles_in(files(path))
        if not _is_file(path):
            found += bundled
        elif bundled:
            single |= bundled[0].documents
        elif document_name(path.name) == AMD:
            raise refused_file("a file of AMD's", "collateral of Intel's, for a quote")
    if not single:
        return tuple(found)
    return tuple(Bundle(bundle.folder, {**bundle.documents, **single}) for bundle in found or [Bundle(".", {})])


def snp_endorsements(paths: Sequence[Path], anchors: TrustAnchors, at: datetime) -> SnpEndorsements:
    """Read AMD's certificates and CRLs from folders, archives and single files, and authenticate them at the time `at`.

    One that is refused refuses all: whoever names it wants it used. Of folders and archives certificates of other times
    are passed over, for those hold what many reports need, and NVIDIA's as by `bundles`. Raises as that does, and
    `NotAuthentic`.
    """
    documents: dict[str, bytes] = {}
    for path in paths:
        found = amd_documents(files(path))
        if not found and _is_file(path) and document_name(path.name) != NVIDIA:
            raise refused_file("a file of Intel's", "certificates and CRLs of AMD's, for a report")
        documents |= _located(found, path)
    collected = collect_snp(documents, anchors, at)
    _require_none(collected.refusals, paths)
    return collected.endorsements


def gpu_endorsements(paths: Sequence[Path], anchors: TrustAnchors, at: datetime) -> GpuCollected:
    """Read NVIDIA's RIMs and OCSP answers likewise; files of the other vendors are passed over.

    Raises `Malformed`, `EndorsementRejected`, and `OSError` for what cannot be read.
    """
    documents: dict[str, bytes] = {}
    for path in paths:
        documents |= _located(nvidia_documents(files(path)), path)
    collected = collect_gpu(documents, anchors, at)
    _require_none(collected.refusals, paths)
    return collected


def _located(found: Files, path: Path) -> dict[str, bytes]:
    return {str(path.parent / name if _is_file(path) else path / name): raw for name, raw in found.items()}


def _require_none(refusals: Iterable[tuple[str, AttestdError]], paths: Sequence[Path]) -> None:
    for name, error in refusals:
        if Path(name) in paths or error.reason not in _OF_OTHER_TIMES:
            raise error


def certificates(paths: Sequence[Path]) -> bytes | None:
    """Read what came beside a report: a certificate table, or certificates in DER or PEM, the one that signs first."""
    came = [evidence(path, MAX_CERTIFICATES_SIZE) for path in paths]
    if len(came) > 1:
        return dump_pem(*(der for raw in came for der in (load_pem(raw) if raw.startswith(_PEM) else (raw,))))
    return came[0] if came else None


def files(path: Path) -> Files:
    """Read the documents in a folder, an archive or a single file, which must have the name of one.

    Raises as `bundles` does.
    """
    if path.is_dir():
        reading = read_folder(path)
        for problem in reading.problems:
            raise problem.error
        return reading.files
    if not _is_file(path):
        return read_archive(path)
    if document_name(path.name) is None:
        raise refused_file(
            "a file of another name",
            "tcb_info.json, pck_crl.der, vcek.der, crl.der, driver.swidtag, … or a folder or archive of them",
        )
    return {path.name: read_file(path)}


def _is_file(path: Path) -> bool:
    return not path.is_dir() and not path.name.endswith(_ARCHIVES)


def collateral(
    candidates: Sequence[Bundle], requirement: Requirement, pck: PckChain, anchors: TrustAnchors, at: datetime
) -> Collateral:
    """Authenticate the collateral for the platform of `pck` at the time `at`.

    A single bundle is taken at its word, so that what does not fit is refused by name. Of several the first that fits.
    Raises `Unavailable` where there is none, `EndorsementRejected` where none is authentic.
    """
    if len(candidates) == 1:
        return authenticate_collateral(candidates[0].raw(), anchors, at, pck)
    refusal: EndorsementRejected | Unavailable = Unavailable(
        Reason.TDX_ENDORSEMENTS_MISSING,
        found=f"{len(candidates)} bundles of collateral, of which none is for this platform",
        wanted=f"--endorsements with TCB Info, QE Identity and CRLs for {requirement.tee.upper()}, "
        f"FMSPC {requirement.fmspc.hex()}, PCK {requirement.pck_ca} CA",
    )
    for bundle in candidates:
        try:
            found = authenticate_collateral(bundle.raw(), anchors, at, pck)
        except (EndorsementRejected, Unavailable) as error:
            refusal = error
            continue
        if (found.tee, found.fmspc, found.pck_ca) == (requirement.tee, requirement.fmspc, requirement.pck_ca):
            return found
    raise refusal


def policy(path: Path) -> AppraisalPolicy:
    """Load a policy. Raises `ConfigurationRefused` (`policy.malformed`)."""
    with path.open("rb") as file:
        return AppraisalPolicy.load(file.read(MAX_POLICY_SIZE + 1))
