"""The verifier of SEV-SNP in this process, beside the one signature that it cannot do without; each library's turn."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Final
from unittest.mock import patch

from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from attestd.codec import load_pem
from attestd.evidence import SnpEvidence
from attestd.policy import AppraisalPolicy
from attestd.registrar.authentic import Authenticator
from attestd.result import Tier
from attestd.settings import shipped
from attestd.signature import P384_LIBRARY, P384Library, p384_public_key
from attestd.simulator import AmdVendor, SnpAttester
from attestd.snp.attestation import parse_attestation
from attestd.snp.collateral import SnpEndorsements, collect
from attestd.snp.report import parse_report
from attestd.snp.vek import authenticate_vek
from attestd.verifier import AmdSubject, AttestationResult, appraise
from attestd.x509 import Certificate, TrustAnchors
from tests.bench.measure import Absent, Sample, Scale, Subject, Subjects, timed
from tests.bench.verification import EVIDENCE

GENUINE: Final = "real/genoa-v3-aci"
POLICY: Final = "strict-snp"
ABSENT: Final = Absent("the extra aws-lc is not installed")


@dataclass(frozen=True, slots=True)
class Case:
    """A report with the certificates of its key."""

    name: str
    report: bytes
    vcek: bytes
    ask: bytes
    ark: bytes
    crl: bytes | None
    at: datetime
    genuine: bool


def simulated() -> Case:
    """Return a report of the simulator's, on which the policy's verdict is affirming."""
    vendor = AmdVendor.of()
    attester = SnpAttester.of(vendor)
    return Case("a simulated report", attester.report(), *attester.chain, vendor.crl(), vendor.at, genuine=False)


def genuine_or_simulated() -> Case:
    """Return a genuine report where the evidence is. No CRL of its time is there, so no policy affirms it."""
    folder, roots = EVIDENCE / "snp" / GENUINE, EVIDENCE / "snp" / "roots"
    if not folder.is_dir():
        return simulated()
    ask, ark = (load_pem((roots / f"genoa_{role}.pem").read_bytes())[0] for role in ("ask", "ark"))
    expected = json.loads((folder / "expected.json").read_bytes())
    return Case(
        f"the genuine report {folder.name}",
        (folder / "report.bin").read_bytes(),
        (folder / "vcek.der").read_bytes(),
        ask,
        ark,
        None,
        datetime.fromisoformat(expected["verification_time"]),
        genuine=True,
    )


class Verification:
    """One report, verified and appraised with its VCEK known before or not."""

    def __init__(self, case: Case) -> None:
        self._case = case
        self._evidence = SnpEvidence(report=case.report)
        self._anchors = TrustAnchors.load([case.ark])
        self._policy = AppraisalPolicy.load((shipped("policies") / f"{POLICY}.toml").read_bytes())
        documents = {"vcek": case.vcek, "ask": case.ask} | ({} if case.crl is None else {"crl": case.crl})
        self._held: SnpEndorsements = collect(documents, self._anchors, case.at).endorsements
        self._authenticator = Authenticator(self._anchors)

    def warm(self) -> AttestationResult:
        """Know the VCEK and the CRL, as the service does; verify the report's signature."""
        attestation = parse_attestation(self._evidence)
        return self._appraise(
            self._authenticator.amd(attestation, self._held, self._case.at, crl_required=self._policy.requires_crl)
        )

    def cold(self) -> AttestationResult:
        """Know the ARK alone."""
        attestation = parse_attestation(self._evidence)
        vek = authenticate_vek(self._case.vcek, self._case.ask, self._anchors, self._case.at)
        return self._appraise(AmdSubject(attestation, vek, None))

    def _appraise(self, subject: AmdSubject) -> AttestationResult:
        return appraise(
            subject,
            gpus=(),
            evidence=None,
            policy=self._policy,
            registry_id="bench",
            approved_models=frozenset(),
            approved_images={},
            at=self._case.at,
        )


def _bare(case: Case) -> Callable[[], bool]:
    """Return the verification of the report's signature, and nothing else: the key is loaded, the DER written."""
    report = parse_report(case.report)
    raw = report.signature
    der = encode_dss_signature(int.from_bytes(raw[:48], "big"), int.from_bytes(raw[48:], "big"))
    verifies, signed = Certificate(case.vcek).p384_public_key.verifies, report.signed
    if not verifies(der, signed):
        message = f"the signature of {case.name} does not verify"
        raise ValueError(message)
    return lambda: verifies(der, signed)


@contextmanager
def using(library: P384Library) -> Iterator[None]:
    """Have keys in certificates loaded by one library, whatever is installed."""
    with patch("attestd.x509.certificate.p384_public_key", partial(p384_public_key, library=library)):
        yield


def by_library(library: P384Library, make: Callable[[], Subject]) -> Subject:
    """Measure what uses keys of one library."""
    with using(library):
        subject = make()

    def sample() -> Sample:
        with using(library):
            return subject()

    return sample


def subjects(case: Case, scale: Scale) -> Subjects:
    """Return what is measured in this process: `case` is verified cold, a simulated report warm."""
    measured: Subjects = {}
    for library, suffix in ((P384Library.OPENSSL, ""), (P384Library.AWS_LC, "_aws_lc")):
        names = [f"snp_{name}{suffix}" for name in ("bare", "warm", "cold")]
        if library is P384Library.AWS_LC is not P384_LIBRARY:
            measured |= dict.fromkeys(names, ABSENT)
        else:
            measured |= zip(names, _subjects(library, case, scale), strict=True)
    return measured


def _subjects(library: P384Library, case: Case, scale: Scale) -> tuple[Subject, Subject, Subject]:
    affirmed = simulated()
    warm, cold = Verification(affirmed).warm, Verification(case).cold
    with using(library):
        if (tier := warm().tier) is not Tier.AFFIRMING:
            message = f"{affirmed.name} is {tier} under {POLICY}: not the way that is to be measured"
            raise ValueError(message)
    return (
        by_library(library, lambda: timed(_bare(affirmed), scale)),
        by_library(library, lambda: timed(warm, scale)),
        by_library(library, lambda: timed(cold, scale)),
    )
