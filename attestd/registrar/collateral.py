"""Which endorsements may be used: what the source holds, unless something newer was seen before.

A vendor's signature does not say that a document is the newest. So the registry remembers, over restarts and for all
processes, how new the newest was, and older collateral is refused (attacks.md, C19, C34, C40), as are AMD's CRLs and
NVIDIA's RIMs.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, assert_never

from attestd.claims import PckCa
from attestd.endorsements import Endorsements, HighWater, crl_newness, rim_newness
from attestd.endorsements import high_water as newness
from attestd.errors import AttestdError, EndorsementRejected, Reason, Unavailable
from attestd.metrics import Metrics, TeeLabel
from attestd.nvgpu.collateral import GpuEndorsements
from attestd.registry import Registry, high_water
from attestd.registry.values import Mark
from attestd.snp.collateral import SnpEndorsements
from attestd.tdx.collateral import Collateral
from attestd.verifier import AmdSubject, GpuSubject, IntelSubject, Requirement, Subject
from attestd.x509 import RevocationList

_log: Final = logging.getLogger(__name__)

# What is refused for its age, and whose it is.
_EXPIRED: Final = {
    Reason.TDX_ROOT_CRL_EXPIRED: "Intel",
    Reason.TDX_PCK_CRL_EXPIRED: "Intel",
    Reason.TDX_TCB_INFO_EXPIRED: "Intel",
    Reason.TDX_QE_IDENTITY_EXPIRED: "Intel",
    Reason.SNP_CRL_EXPIRED: "AMD",
    Reason.GPU_RIM_EXPIRED: "NVIDIA",
}
# A mark is one number: that of the document first, then its date. Dates fit into 40 bits until the year 36812.
_DATE_BITS: Final = 40
_MAX_NUMBER: Final = 2 ** (160 - _DATE_BITS) - 1
# As many as a database looks up at once.
_MARKS_AT_ONCE: Final = 100


@dataclass(frozen=True, slots=True)
class _Judged:
    """What came of the last comparison with the marks. Replaced as a whole, so that a lookup sees one state."""

    in_use: Mapping[tuple[str, bytes, PckCa], Collateral]  # by TEE, FMSPC and the CA of its PCK certificates
    admitted: frozenset[tuple[bytes, ...]]
    refused: frozenset[tuple[bytes, ...]]
    snp: SnpEndorsements | None  # None: none were compared yet
    gpu: GpuEndorsements | None  # likewise


class CollateralStore:
    """The endorsements of a running service: a source of them, held against the registry's marks."""

    def __init__(self, source: Endorsements, registry: Registry, metrics: Metrics) -> None:
        """Admit nothing before the first refresh."""
        self._source = source
        self._registry = registry
        self._metrics = metrics
        self._judged = _Judged({}, frozenset(), frozenset(), None, None)
        self._reported: frozenset[str] = frozenset()
        self._refused_as_expired: frozenset[str] = frozenset()

    def collateral(self, requirement: Requirement, at: datetime) -> Collateral:
        """Return what is needed, from memory.

        Raises `Unavailable` (`tdx.endorsements_missing`), or `EndorsementRejected` (`tdx.collateral_rollback`) where
        newer collateral was seen before.
        """
        collateral, judged = self._source.collateral(requirement, at), self._judged
        if collateral.digests in judged.admitted:
            return collateral
        if collateral.digests in judged.refused:
            raise EndorsementRejected(
                Reason.TDX_ROLLBACK, found="collateral that is older than some that was seen", wanted="the newest"
            )
        # The source has something new, which is being compared: until then what it replaces is in use.
        replaced = judged.in_use.get((requirement.tee, requirement.fmspc, requirement.pck_ca))
        if replaced is None:
            raise Unavailable(
                Reason.TDX_ENDORSEMENTS_MISSING, found="collateral that was not taken yet", wanted="it in a moment"
            )
        replaced.require_current(at)
        return replaced

    def snp(self) -> SnpEndorsements:
        """Return what is held of AMD's, from memory. Raises `Unavailable` before the first refresh."""
        snp = self._judged.snp
        if snp is None:  # nothing would not do: a policy may take reports without a CRL where there is none
            raise Unavailable(
                Reason.SNP_ENDORSEMENTS_MISSING, found="endorsements that were not taken yet", wanted="them in a moment"
            )
        return snp

    def gpu(self) -> GpuEndorsements:
        """Return what is held of NVIDIA's, from memory. Raises `Unavailable` before the first refresh."""
        gpu = self._judged.gpu
        if gpu is None:  # nothing would not do: a policy may take devices of which no answer says that they are revoked
            raise Unavailable(
                Reason.GPU_RIM_MISSING, found="endorsements that were not taken yet", wanted="them in a moment"
            )
        return gpu

    def admitted(self) -> frozenset[tuple[bytes, ...]]:
        """Return what is in use, as the digests of its documents: differs whenever verdicts may.

        Another VCEK or VLEK changes none: a key whose evidence lacked one is tried again in any case.
        """
        snp = self._judged.snp or SnpEndorsements()
        issuers = ((issuer.fingerprint,) for of_name in snp.issuers.values() for issuer in of_name)
        crls = ((_said(crl),) for root, crl in snp.crls.items() if root not in snp.rolled_back)
        gpu = self._judged.gpu or GpuEndorsements()
        rims = ((rim.sha256,) for name, rim in gpu.manifests.items() if name not in gpu.rolled_back)
        answers = ((held.answer.digest,) for about in gpu.answers.values() for held in about)
        return self._judged.admitted.union(issuers, crls, rims, answers)

    def lapsed(self, at: datetime) -> list[str]:
        """Return the vendors of whom there is nothing but what has expired. One of whom there is nothing is not meant.

        Each vendor counts by itself, since the documents of one do not help with the evidence of another.
        """
        return [
            vendor
            for vendor, of_vendor in self._ends().items()
            if (of_vendor or vendor in self._refused_as_expired) and not any(end >= at for end in of_vendor)
        ]

    def in_force(self, at: datetime) -> bool:
        """Tell whether evidence of any vendor can be verified."""
        return any(end >= at for of_vendor in self._ends().values() for end in of_vendor)

    def _ends(self) -> dict[str, list[datetime]]:
        return {
            "Intel": [collateral.validity.not_after for collateral in self._source.held()],
            "AMD": [crl.validity.not_after for crl in self._source.snp().crls.values()],
            "NVIDIA": [rim.validity.not_after for rim in self._source.gpu().manifests.values()],
        }

    def refresh(self, at: datetime) -> None:
        """Look for newer documents, and admit what is no older than what was seen. Blocks; never raises."""
        problems = self._source.refresh(at)
        # A source need not hold what has expired, nor does it after a restart.
        expired = (_EXPIRED.get(problem.reason) for problem in problems)
        self._refused_as_expired = frozenset(vendor for vendor in expired if vendor)
        self._metrics.collateral_refused.set(len(problems))
        self._report(map(str, problems))
        held = self._source.held()
        self._judged = self._judge(held, at)
        self._measure(held)

    def _judge(self, held: tuple[Collateral, ...], at: datetime) -> _Judged:
        verdicts = [(collateral, self._admit(collateral, at)) for collateral in held]
        admitted = [collateral for collateral, verdict in verdicts if verdict]
        return _Judged(
            {(collateral.tee, collateral.fmspc, collateral.pck_ca): collateral for collateral in admitted},
            frozenset(collateral.digests for collateral in admitted),
            frozenset(collateral.digests for collateral, verdict in verdicts if verdict is False),
            self._judge_snp(self._source.snp(), at),
            self._judge_gpu(self._source.gpu(), at),
        )

    def _judge_snp(self, held: SnpEndorsements, at: datetime) -> SnpEndorsements | None:
        """Mark the CRLs that are older than one that was seen; where that cannot be found out, all stays as it was."""
        older = self._older([crl_newness(root, crl) for root, crl in held.crls.items()], at)
        if older is None:
            return self._judged.snp
        return replace(held, rolled_back=frozenset(root for root in held.crls if root.common_name in older))

    def _judge_gpu(self, held: GpuEndorsements, at: datetime) -> GpuEndorsements | None:
        """Mark the RIMs that are older than one that was seen; where that cannot be found out, all stays as it was."""
        older = self._older([rim_newness(rim) for rim in held.manifests.values()], at)
        if older is None:
            return self._judged.gpu
        return replace(held, rolled_back=frozenset(name for name in held.manifests if str(name) in older))

    def _older(self, marks: Sequence[HighWater], at: datetime) -> frozenset[str] | None:
        """Return the names of those that are older than was seen; null where that cannot be found out now."""
        older: set[str] = set()
        try:
            for start in range(0, len(marks), _MARKS_AT_ONCE):
                some = [_mark(mark) for mark in marks[start : start + _MARKS_AT_ONCE]]
                older |= self._registry.write(high_water.observe_each, some, at).result()
        except AttestdError as error:
            _log.warning("collateral cannot be compared with what was seen: %s", error)
            return None
        self._report(f"{name}: older than one that was seen" for name in older)
        return frozenset(older)

    def _admit(self, collateral: Collateral, at: datetime) -> bool | None:
        """Tell whether no part is older than one that was seen; null where that cannot be found out now."""
        try:
            self._registry.write(high_water.observe, [_mark(mark) for mark in newness(collateral)], at).result()
        except EndorsementRejected as error:
            self._report([f"{collateral.tee} {collateral.fmspc.hex()}: {error}"])
            return False
        except AttestdError as error:
            _log.warning("collateral cannot be compared with what was seen: %s", error)
            # What was admitted before stays, and nothing new is.
            return True if collateral.digests in self._judged.admitted else None
        return True

    def _report(self, problems: Iterable[str]) -> None:
        """Say what is wrong once, not at every refresh."""
        new = frozenset(problems) - self._reported
        for problem in new:
            _log.warning("collateral is refused: %s", problem)
        self._reported |= new

    def _measure(self, held: tuple[Collateral, ...]) -> None:
        snp, gpu = self._judged.snp or SnpEndorsements(), self._judged.gpu or GpuEndorsements()
        for label, others in ((TeeLabel.SNP, snp.crls.values()), (TeeLabel.NVIDIA, gpu.manifests.values())):
            ends = [other.validity.not_after.timestamp() for other in others]
            self._metrics.collateral_expiry.labels(label).set(min(ends, default=0))
        for tee in (TeeLabel.TDX, TeeLabel.SGX):
            of_tee = [collateral for collateral in held if collateral.tee == tee]
            expiry = min((one.validity.not_after.timestamp() for one in of_tee), default=0)
            number = min((one.tcb_evaluation_data_number for one in of_tee), default=0)
            self._metrics.collateral_expiry.labels(tee).set(expiry)
            self._metrics.evaluation_data_number.labels(tee).set(number)


def marks_of(subject: Subject, gpus: Sequence[GpuSubject]) -> list[Mark]:
    """Return how new the documents are that evidence was verified with, as the registry keeps it."""
    rims = {rim_newness(rim) for gpu in gpus for rim in gpu.rims if rim is not None}
    match subject:
        case IntelSubject():
            found: Iterable[HighWater] = newness(subject.collateral)
        case AmdSubject():
            found = () if subject.crl is None else (crl_newness(subject.vek.root, subject.crl),)
        case _:
            assert_never(subject)
    return [_mark(mark) for mark in (*found, *rims)]


def _said(crl: RevocationList) -> bytes:
    """Return what tells a CRL from another: its digest, and what it revokes, to which an older list may have added."""
    return b"".join((crl.digest, *(b"%x," % number for number in sorted(crl.revoked))))


def _mark(mark: HighWater) -> Mark:
    number = min(mark.number, _MAX_NUMBER)
    return Mark(mark.kind, mark.name, (number << _DATE_BITS) + int(mark.issued.timestamp()))
