"""What every source of endorsements promises, and the marks by which older ones are told from newer ones."""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from attestd.endorsements.bundle import Problem
from attestd.nvgpu.collateral import GpuEndorsements
from attestd.nvgpu.rim import Rim
from attestd.snp.collateral import SnpEndorsements
from attestd.tdx.collateral import Collateral
from attestd.verifier import Requirement
from attestd.x509 import Certificate, RevocationList


class Endorsements(Protocol):
    """A source of authenticated collateral for a running service.

    One refreshes while many look up: both may be called from any thread. Whatever `collateral` returns is one immutable
    value that was authenticated as a whole; a refresh never changes it. A source forgets nothing that is in force: if
    the vendor, or the disk, serves something worse, the last good value is used until its own nextUpdate, and an older
    value never replaces a newer one.
    """

    def collateral(self, requirement: Requirement, at: datetime) -> Collateral:
        """Return the newest collateral for this platform that is in force at the time `at`; from memory, without I/O.

        Raises `Unavailable` (`tdx.endorsements_missing`), which names the platform and each document that is missing
        or has expired.
        """
        ...

    def snp(self) -> SnpEndorsements:
        """Return all that is held of AMD's, in force or not; from memory, without I/O.

        One immutable value, as `collateral` returns.
        """
        ...

    def gpu(self) -> GpuEndorsements:
        """Return all that is held of NVIDIA's, in force or not; from memory, without I/O."""
        ...

    def refresh(self, at: datetime) -> tuple[Problem, ...]:
        """Look for newer documents and authenticate them at the time `at`; return everything that is refused now.

        Idempotent, and cheap where nothing has changed. Never raises for what it finds: that is what problems are for.
        """
        ...

    def held(self) -> tuple[Collateral, ...]:
        """Return all that is in use, for monitoring: what there is, and until when."""
        ...


@dataclass(frozen=True, slots=True, order=True)
class HighWater:
    """How new one signed document is. The registry keeps the highest per kind and name, over restarts too.

    `kind` is `tcb_info` (named by TEE and FMSPC, as `tdx:90c06f000000`), `qe_identity` (named by TEE), `pck_crl` (named
    by CA), `root_crl` (named `root`), `ark_crl` (named by AMD's root, as `ARK-Genoa`) or `gpu_rim` (named by what it is
    for, as `vbios_GH100_96.00.5E.00.01`). `number` is the evaluation data number of the first two, the CRL number of
    CRLs, and 0 of RIMs; `issued` is issueDate, thisUpdate or when the signer's certificate begins. Newer is greater:
    within a kind and name compare number, then time.
    """

    kind: str
    name: str
    number: int
    issued: datetime


def crl_newness(root: Certificate, crl: RevocationList) -> HighWater:
    """Return the mark of the CRL of one of AMD's product lines."""
    return HighWater("ark_crl", root.common_name, crl.number, crl.validity.not_before)


def rim_newness(rim: Rim) -> HighWater:
    """Return the mark of a RIM, which has no number: the signer's date tells."""
    return HighWater("gpu_rim", str(rim.name), 0, rim.signed_from)


def high_water(collateral: Collateral) -> tuple[HighWater, ...]:
    """Return the marks of the four documents that can be rolled back."""
    tcb_info, qe_identity = collateral.tcb_info, collateral.qe_identity
    root_crl, pck_crl = collateral.root_crl, collateral.pck_crl
    return (
        HighWater(
            "tcb_info",
            f"{tcb_info.tee}:{tcb_info.fmspc.hex()}",
            tcb_info.evaluation_data_number,
            tcb_info.validity.not_before,
        ),
        HighWater("qe_identity", qe_identity.tee, qe_identity.evaluation_data_number, qe_identity.validity.not_before),
        HighWater("root_crl", "root", root_crl.number, root_crl.validity.not_before),
        HighWater("pck_crl", collateral.pck_ca.value, pck_crl.number, pck_crl.validity.not_before),
    )
