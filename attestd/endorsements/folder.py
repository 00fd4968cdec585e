"""Endorsements from a folder which others may rewrite at any time: bundles of Intel's, AMD's and NVIDIA's documents.

Bundles are authenticated one by one, whole. Of what is authentic, the newest of each document is kept: CRLs and QE
Identities are common to many platforms, and the ones that came with yesterday's bundle must not speak for a platform
once today's, of another platform, are known. The others' documents are authenticated and kept each by itself.
"""

import os
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final, TypeAlias

from attestd.claims import PckCa
from attestd.codec import dump_time
from attestd.endorsements.bundle import Bundle, Problem, amd_documents, bundles_in, nvidia_documents, refused_file
from attestd.endorsements.disk import fingerprint, read_folder
from attestd.endorsements.source import HighWater, high_water
from attestd.errors import AttestdError, ConfigurationRefused, EndorsementRejected, Malformed, Reason, Unavailable
from attestd.nvgpu.collateral import GpuEndorsements
from attestd.nvgpu.collateral import collect as collect_gpu
from attestd.snp.collateral import SnpEndorsements
from attestd.snp.collateral import collect as collect_snp
from attestd.tdx.collateral import Collateral, RawCollateral, authenticate_collateral
from attestd.validity import Validity
from attestd.verifier import Requirement
from attestd.x509 import TrustAnchors

_Platform: TypeAlias = tuple[str, bytes, PckCa]  # TEE, FMSPC and the CA of its PCK certificates


@dataclass(frozen=True, slots=True)
class _Document:
    """One document that was authentic in its bundle: how new it is, until when it speaks, its bytes and their chain."""

    mark: HighWater
    validity: Validity
    raw: Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class _Snapshot:
    """All that is known at one moment. Replaced as a whole, so that a lookup sees one state (attacks.md, C45)."""

    documents: Mapping[tuple[str, str], _Document]
    collateral: Mapping[_Platform, Collateral]
    snp: SnpEndorsements
    gpu: GpuEndorsements


class FolderEndorsements:
    """Endorsements from a folder; a source as `attestd.endorsements.source` describes it.

    The folder and all that is used of it must belong to the user of this process or to root, and be writable to no one
    else's users; links are refused (attacks.md, C46).
    """

    def __init__(self, folder: Path, anchors: TrustAnchors, at: datetime) -> None:
        """Load the folder. Raises `ConfigurationRefused` (`settings.refused`) where it cannot be read."""
        self._folder = folder.absolute()
        self._anchors = anchors
        self._owners: Final = frozenset({os.geteuid(), 0})
        self._lock: Final = threading.Lock()
        self._snapshot = _Snapshot({}, {}, SnpEndorsements(), GpuEndorsements())
        self._seen: frozenset[object] | None = None
        self._problems: tuple[Problem, ...] = ()
        try:
            self._load(at)
        except OSError as error:
            raise ConfigurationRefused(
                Reason.SETTINGS,
                found=f"an endorsements folder that cannot be read ({os.strerror(error.errno or 0).lower()})",
                wanted="a folder that exists and may be read",
            ) from None

    def collateral(self, requirement: Requirement, at: datetime) -> Collateral:
        """Return the newest collateral for this platform that is in force at the time `at`."""
        snapshot = self._snapshot
        collateral = snapshot.collateral.get((requirement.tee, requirement.fmspc, requirement.pck_ca))
        if collateral is None:
            raise self._missing(requirement, snapshot)
        try:
            collateral.require_current(at)
        except EndorsementRejected as error:
            raise Unavailable(
                Reason.TDX_ENDORSEMENTS_MISSING,
                found=f"collateral for {_platform(requirement)} with {error.found} ({error.reason})",
                wanted=f"all of it in force at {dump_time(at.replace(microsecond=0))}",
            ) from None
        return collateral

    def snp(self) -> SnpEndorsements:
        """Return all that is held of AMD's."""
        return self._snapshot.snp

    def gpu(self) -> GpuEndorsements:
        """Return all that is held of NVIDIA's."""
        return self._snapshot.gpu

    def refresh(self, at: datetime) -> tuple[Problem, ...]:
        """Load the folder again if a file of it has changed, or while anything is refused."""
        try:
            self._load(at)
        except OSError as error:
            refusal = refused_file(f"{os.strerror(error.errno or 0).lower()}", "a folder that can be read")
            return (Problem(".", refusal), *self._problems)
        return self._problems

    def held(self) -> tuple[Collateral, ...]:
        """Return all of Intel's that is in use."""
        return tuple(self._snapshot.collateral.values())

    def _load(self, at: datetime) -> None:
        with self._lock:
            seen: frozenset[object] = fingerprint(self._folder)
            if seen == self._seen and not self._problems:
                return
            files, problems = read_folder(self._folder, self._owners)
            authentic, refused = _authenticate(files, self._anchors, at)
            documents = _newest(self._snapshot.documents, authentic, at)
            collateral, disjoint = _compose(documents, self._anchors, at)
            snp = collect_snp(amd_documents(files), self._anchors, at, self._snapshot.snp)
            gpu = collect_gpu(nvidia_documents(files), self._anchors, at, self._snapshot.gpu)
            self._snapshot = _Snapshot(documents, collateral, snp.endorsements, gpu.endorsements)
            others = (Problem(*refusal) for refusal in (*snp.refusals, *gpu.refusals))
            self._problems = (*problems, *refused, *disjoint, *others)
            self._seen = seen

    def _missing(self, requirement: Requirement, snapshot: _Snapshot) -> Unavailable:
        wanted = {
            ("tcb_info", f"{requirement.tee}:{requirement.fmspc.hex()}"): f"the TCB Info of {_platform(requirement)}",
            ("qe_identity", requirement.tee): f"the QE Identity for {requirement.tee.upper()}",
            ("pck_crl", requirement.pck_ca.value): f"the CRL of the PCK {requirement.pck_ca.value} CA",
            ("root_crl", "root"): "the CRL of the root CA",
        }
        absent = [prose for name, prose in wanted.items() if name not in snapshot.documents]
        return Unavailable(
            Reason.TDX_ENDORSEMENTS_MISSING,
            found=f"collateral in force for {len(snapshot.collateral)} platforms, and {len(self._problems)} refusals",
            wanted=", ".join(absent or wanted.values()),
        )


def _platform(requirement: Requirement) -> str:
    return f"{requirement.tee.upper()} FMSPC {requirement.fmspc.hex()}"


def _authenticate(
    files: Mapping[str, bytes], anchors: TrustAnchors, at: datetime
) -> tuple[list[_Document], list[Problem]]:
    documents: list[_Document] = []
    problems: list[Problem] = []
    try:
        bundles: tuple[Bundle, ...] = bundles_in(files)
    except Malformed as error:
        return documents, [Problem(".", error)]
    for bundle in bundles:
        try:
            raw = bundle.raw()
            documents += _documents(raw, authenticate_collateral(raw, anchors, at))
        except AttestdError as error:
            problems.append(Problem(bundle.folder, error))
    return documents, problems


def _documents(raw: RawCollateral, collateral: Collateral) -> list[_Document]:
    """Take an authentic bundle apart; the marks come in the order of these members."""
    parts = (
        (collateral.tcb_info.validity, ("tcb_info", "tcb_info_issuer_chain")),
        (collateral.qe_identity.validity, ("qe_identity", "qe_identity_issuer_chain")),
        (collateral.root_crl.validity, ("root_ca_crl",)),
        (collateral.pck_crl.validity, ("pck_crl", "pck_crl_issuer_chain")),
    )
    return [
        _Document(mark, validity, {name: getattr(raw, name) for name in names})
        for mark, (validity, names) in zip(high_water(collateral), parts, strict=True)
    ]


def _newest(
    known: Mapping[tuple[str, str], _Document], found: list[_Document], at: datetime
) -> dict[tuple[str, str], _Document]:
    """Keep of each document the newest that still speaks; of two that are as new, the one found last."""
    newest: dict[tuple[str, str], _Document] = {}
    for document in (*known.values(), *found):
        name = (document.mark.kind, document.mark.name)
        other = newest.get(name)
        if document.validity.not_after >= at and (other is None or document.mark >= other.mark):
            newest[name] = document
    return newest


def _compose(
    documents: Mapping[tuple[str, str], _Document], anchors: TrustAnchors, at: datetime
) -> tuple[dict[_Platform, Collateral], list[Problem]]:
    """Join, for every platform and each PCK CA, the newest documents, and authenticate them as one.

    Where a newer root CRL revokes who signed an older document, nothing is left for that platform.
    """
    composed: dict[_Platform, Collateral] = {}
    problems: list[Problem] = []
    for raw in _combinations(documents):
        try:
            collateral = authenticate_collateral(raw, anchors, at)
        except EndorsementRejected as error:
            problems.append(Problem("the newest documents together", error))
        else:
            composed[collateral.tee, collateral.fmspc, collateral.pck_ca] = collateral
    return composed, problems


def _combinations(documents: Mapping[tuple[str, str], _Document]) -> Iterator[RawCollateral]:
    for (kind, name), tcb_info in documents.items():
        for pck_ca in PckCa if kind == "tcb_info" else ():
            others = (("qe_identity", name.partition(":")[0]), ("pck_crl", pck_ca.value), ("root_crl", "root"))
            parts = [tcb_info, *(documents[other] for other in others if other in documents)]
            if len(parts) == 1 + len(others):
                yield RawCollateral(**{field: raw for part in parts for field, raw in part.raw.items()})
