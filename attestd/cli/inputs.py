"""What the commands read: the time, files of evidence, trust anchors, collateral and policies.

The clock is read here, when no time was given.
"""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

from attestd.codec import dump_time
from attestd.endorsements import Bundle, bundles_in, read_archive, read_file, read_folder
from attestd.endorsements.bundle import document_name, refused_file
from attestd.errors import ConfigurationRefused, EndorsementRejected, Malformed, Reason, Unavailable
from attestd.evidence import MAX_POLICY_SIZE
from attestd.policy import AppraisalPolicy
from attestd.settings import BUILT, load_anchors, now, shipped
from attestd.tdx.collateral import Collateral, authenticate_collateral
from attestd.verifier import Requirement
from attestd.x509 import TrustAnchors

_ARCHIVES: Final = (".zip", ".tar", ".tar.gz", ".tgz")


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


def trust_anchors(path: Path | None) -> TrustAnchors:
    """Load Intel's pinned root, or the roots in the file or folder that was named instead."""
    if path is None:
        return TrustAnchors.intel((shipped("certs") / "intel" / "sgx_root_ca.der").read_bytes())
    return load_anchors(path)


def evidence(path: Path, most: int) -> bytes:
    """Read a file of evidence. Raises `Malformed` (`evidence.size`) beyond `most` bytes."""
    with path.open("rb") as file:
        raw = file.read(most + 1)
    if len(raw) > most:
        raise Malformed(Reason.EVIDENCE_SIZE, found=f"more than {most} bytes", wanted=f"at most {most} bytes")
    return raw


def bundles(paths: Sequence[Path]) -> tuple[Bundle, ...]:
    """Read collateral from folders, archives and single files; a file that is named for itself goes before all others.

    Raises `Malformed` for what is unsafe or has another name, `OSError` for what cannot be read.
    """
    found: list[Bundle] = []
    single: dict[str, bytes] = {}
    for path in paths:
        if path.is_dir():
            reading = read_folder(path)
            for problem in reading.problems:
                raise problem.error
            found += bundles_in(reading.files)
        elif path.name.endswith(_ARCHIVES):
            found += bundles_in(read_archive(path))
        else:
            single[_document(path)] = read_file(path)
    if not single:
        return tuple(found)
    return tuple(Bundle(bundle.folder, {**bundle.documents, **single}) for bundle in found or [Bundle(".", {})])


def _document(path: Path) -> str:
    name = document_name(path.name)
    if name is None:
        raise refused_file("a file of another name", "tcb_info.json, pck_crl.der, … or a folder or archive of them")
    return name


def collateral(
    candidates: Sequence[Bundle], requirement: Requirement, anchors: TrustAnchors, at: datetime
) -> Collateral:
    """Authenticate the collateral for one platform at the time `at`.

    A single bundle is taken at its word, so that what does not fit is refused by name. Of several the first that fits.
    Raises `Unavailable` where there is none, `EndorsementRejected` where none is authentic.
    """
    if len(candidates) == 1:
        return authenticate_collateral(candidates[0].raw(), anchors, at)
    refusal: EndorsementRejected | Unavailable = Unavailable(
        Reason.TDX_ENDORSEMENTS_MISSING,
        found=f"{len(candidates)} bundles of collateral, of which none is for this platform",
        wanted=f"--endorsements with TCB Info, QE Identity and CRLs for {requirement.tee.upper()}, "
        f"FMSPC {requirement.fmspc.hex()}, PCK {requirement.pck_ca} CA",
    )
    for bundle in candidates:
        try:
            found = authenticate_collateral(bundle.raw(), anchors, at)
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
