"""Which endorsements may be used: what the source holds, unless something newer was seen before.

A vendor's signature does not say that a document is the newest. So the registry remembers, over restarts and for all
processes, how new the newest was, and older collateral is refused (attacks.md, C19, C34, C40), as are AMD's CRLs.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, assert_never

from attestd.claims import PckCa
from attestd.endorsements import Endorsements, HighWater, crl_newness
from attestd.endorsements import high_water as newness
from attestd.errors import AttestdError, EndorsementRejected, Reason, Unavailable
from attestd.metrics import Metrics, TeeLabel
from attestd.registry import Registry, high_water
from attestd.registry.values import Mark
from attestd.snp.collateral import SnpEndorsements
from attestd.tdx.collateral import Collateral
from attestd.verifier import AmdSubject, IntelSubject, Requirement, Subject

_log: Final = logging.getLogger(__name__)

# A mark is one number: that of the document first, then its date. Dates fit into 40 bits until the year 36812.
_DATE_BITS: Final = 40
_MAX_NUMBER: Final = 2 ** (160 - _DATE_BITS) - 1


@dataclass(frozen=True, slots=True)
class _Judged:
    """What came of the last comparison with the marks. Replaced as a whole, so that a lookup sees one state."""

    in_use: Mapping[tuple[str, bytes, PckCa], Collateral]  # by TEE, FMSPC and the CA of its PCK certificates
    admitted: frozenset[tuple[bytes, ...]]
    refused: frozenset[tuple[bytes, ...]]
    snp: SnpEndorsements | None  # None: none were compared yet


class CollateralStore:
    """The endorsements of a running service: a source of them, held against the registry's marks."""

    def __init__(self, source: Endorsements, registry: Registry, metrics: Metrics) -> None:
        """Admit nothing before the first refresh."""
        self._source = source
        self._registry = registry
        self._metrics = metrics
        self._judged = _Judged({}, frozenset(), frozenset(), None)
        self._reported: frozenset[str] = frozenset()

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

    def admitted(self) -> frozenset[tuple[bytes, ...]]:
        """Return what is in use, as the digests of its documents: differs whenever verdicts may.

        Another VCEK or VLEK changes none: a key whose evidence lacked one is tried again in any case.
        """
        snp = self._judged.snp or SnpEndorsements()
        issuers = ((issuer.fingerprint,) for of_name in snp.issuers.values() for issuer in of_name)
        crls = ((crl.digest,) for root, crl in snp.crls.items() if root not in snp.rolled_back)
        return self._judged.admitted.union(issuers, crls)

    def in_force(self, at: datetime) -> bool:
        """Tell whether there is anything to verify with; nothing at all is not worse than that."""
        ends = [collateral.validity.not_after for collateral in self._source.held()]
        ends += [crl.validity.not_after for crl in self._source.snp().crls.values()]
        return not ends or max(ends) >= at

    def refresh(self, at: datetime) -> None:
        """Look for newer documents, and admit what is no older than what was seen. Blocks; never raises."""
        problems = [str(problem) for problem in self._source.refresh(at)]
        self._metrics.collateral_refused.set(len(problems))
        self._report(problems)
        held = self._source.held()
        self._judged = self._judge(held, at)
        self._measure(held, self._judged.snp or SnpEndorsements())

    def _judge(self, held: tuple[Collateral, ...], at: datetime) -> _Judged:
        verdicts = [(collateral, self._admit_collateral(collateral, at)) for collateral in held]
        admitted = [collateral for collateral, verdict in verdicts if verdict]
        return _Judged(
            {(collateral.tee, collateral.fmspc, collateral.pck_ca): collateral for collateral in admitted},
            frozenset(collateral.digests for collateral in admitted),
            frozenset(collateral.digests for collateral, verdict in verdicts if verdict is False),
            self._judge_snp(self._source.snp(), at),
        )

    def _judge_snp(self, held: SnpEndorsements, at: datetime) -> SnpEndorsements | None:
        """Mark the CRLs that are older than one that was seen; where that cannot be found out, all stays as it was."""
        verdicts = {
            root: self._admit(root.common_name, [crl_newness(root, crl)], at) for root, crl in held.crls.items()
        }
        if None in verdicts.values():
            return self._judged.snp
        return replace(held, rolled_back=frozenset(root for root, verdict in verdicts.items() if not verdict))

    def _admit_collateral(self, collateral: Collateral, at: datetime) -> bool | None:
        verdict = self._admit(f"{collateral.tee} {collateral.fmspc.hex()}", newness(collateral), at)
        # The database is away: what was admitted before stays, and nothing new is.
        return True if verdict is None and collateral.digests in self._judged.admitted else verdict

    def _admit(self, name: str, marks: Sequence[HighWater], at: datetime) -> bool | None:
        """Tell whether no part is older than one that was seen; null where that cannot be found out now."""
        try:
            self._registry.write(high_water.observe, [_mark(mark) for mark in marks], at).result()
        except EndorsementRejected as error:
            self._report([f"{name}: {error}"])
            return False
        except AttestdError as error:
            _log.warning("collateral cannot be compared with what was seen: %s", error)
            return None
        return True

    def _report(self, problems: Iterable[str]) -> None:
        """Say what is wrong once, not at every refresh."""
        for problem in frozenset(problems) - self._reported:
            _log.warning("collateral is refused: %s", problem)
        self._reported |= frozenset(problems)

    def _measure(self, held: tuple[Collateral, ...], snp: SnpEndorsements) -> None:
        ends = [crl.validity.not_after.timestamp() for crl in snp.crls.values()]
        self._metrics.collateral_expiry.labels(TeeLabel.SNP).set(min(ends, default=0))
        for tee in (TeeLabel.TDX, TeeLabel.SGX):
            of_tee = [collateral for collateral in held if collateral.tee == tee]
            expiry = min((one.validity.not_after.timestamp() for one in of_tee), default=0)
            number = min((one.tcb_evaluation_data_number for one in of_tee), default=0)
            self._metrics.collateral_expiry.labels(tee).set(expiry)
            self._metrics.evaluation_data_number.labels(tee).set(number)


def marks_of(subject: Subject) -> list[Mark]:
    """Return how new the documents are that evidence was verified with, as the registry keeps it."""
    match subject:
        case IntelSubject():
            return [_mark(mark) for mark in newness(subject.collateral)]
        case AmdSubject():
            return [] if subject.crl is None else [_mark(crl_newness(subject.vek.root, subject.crl))]
        case _:
            assert_never(subject)


def _mark(mark: HighWater) -> Mark:
    number = min(mark.number, _MAX_NUMBER)
    return Mark(mark.kind, mark.name, (number << _DATE_BITS) + int(mark.issued.timestamp()))
