"""The verifier of TDX in this process, beside the two signatures that it cannot do without."""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from attestd.evidence import Evidence
from attestd.policy import AppraisalPolicy
from attestd.registrar.authentic import Authenticator
from attestd.result import Tier
from attestd.settings import shipped
from attestd.simulator import Attester, KeyPair, Registry, TdReport, Vendor, collateral_files
from attestd.tdx.collateral import RawCollateral, authenticate_collateral
from attestd.tdx.pck import authenticate_pck_chain
from attestd.tdx.qe import authenticate_attestation_key
from attestd.tdx.quote import parse_quote
from attestd.verifier import AttestationResult, IntelSubject, appraise
from attestd.x509 import TrustAnchors
from tests.bench.measure import Scale, Subjects, timed

ROOT: Final = Path(__file__).parents[2]
EVIDENCE: Final = Path(os.environ.get("ATTESTD_EVIDENCE", ROOT.parent / "shared" / "evidence"))
GENUINE: Final = "tdx/real/tdx-v4-90c06f-cocoon"
POLICY: Final = "strict-tdx"

_ECDSA_SHA256: Final = ECDSA(SHA256())


@dataclass(frozen=True, slots=True)
class Case:
    """A quote with the collateral of its time."""

    name: str
    quote: bytes
    collateral: dict[str, bytes]  # by the names of RawCollateral's fields
    root: bytes  # DER
    at: datetime


def genuine_or_simulated() -> Case:
    """Return a genuine quote where the evidence is, else one of the simulator's; their layouts are the same."""
    folder = EVIDENCE / GENUINE
    if folder.is_dir():
        return Case(
            f"the genuine quote {folder.name}",
            (folder / "quote.bin").read_bytes(),
            {file.stem: file.read_bytes() for file in (folder / "collateral").iterdir()},
            (shipped("certs") / "intel" / "sgx_root_ca.der").read_bytes(),
            datetime.fromtimestamp(json.loads((folder / "expected.json").read_bytes())["verification_time"], UTC),
        )
    vendor = Vendor.of()
    return _simulated(vendor, Attester.of(vendor).quote())


def _simulated(vendor: Vendor, quote: bytes) -> Case:
    files = collateral_files(vendor.collateral())
    collateral = {Path(name).stem: raw for name, raw in files.items()}
    return Case("a simulated quote", quote, collateral, vendor.root.der, vendor.at)


class Verification:
    """One quote, verified and appraised with more or less of it known before."""

    def __init__(self, case: Case, evidence: Evidence | None = None, registry_id: str = "bench") -> None:
        self._case = case
        self._evidence = evidence
        self._registry_id = registry_id
        self._anchors = TrustAnchors.load([case.root])
        self._raw = RawCollateral(**case.collateral)
        self._policy = AppraisalPolicy.load((shipped("policies") / f"{POLICY}.toml").read_bytes())
        self._collateral = authenticate_collateral(self._raw, self._anchors, case.at)
        quote = parse_quote(case.quote)
        self._chains = {quote.pck_chain: authenticate_pck_chain(quote.pck_chain, self._anchors, case.at)}
        self._authenticator = Authenticator(self._anchors)

    def warm(self) -> AttestationResult:
        """Know the PCK chain and the collateral; verify the QE report's signature and the quote's."""
        quote = parse_quote(self._case.quote)
        key = authenticate_attestation_key(quote, self._chains[quote.pck_chain])
        return self._appraise(IntelSubject(quote, None, key, self._collateral))

    def repeated(self) -> AttestationResult:
        """Know the attestation key as well, as the service does of every platform that it has seen."""
        quote = parse_quote(self._case.quote)
        key = self._authenticator.attestation_key(quote, self._case.at)
        subject = IntelSubject(quote, None, key, self._collateral)
        return self._appraise(subject)

    def cold(self) -> AttestationResult:
        """Know nothing."""
        quote = parse_quote(self._case.quote)
        chain = authenticate_pck_chain(quote.pck_chain, self._anchors, self._case.at)
        collateral = authenticate_collateral(self._raw, self._anchors, self._case.at, chain)
        key = authenticate_attestation_key(quote, chain)
        return self._appraise(IntelSubject(quote, None, key, collateral))

    def _appraise(self, subject: IntelSubject) -> AttestationResult:
        return appraise(
            subject,
            gpus=(),
            evidence=self._evidence,
            policy=self._policy,
            registry_id=self._registry_id,
            approved_models=frozenset(),
            approved_images={},
            at=self._case.at,
        )

    def bare_quote_signature(self) -> Callable[[], None]:
        """Return the verification of the quote's signature, and nothing else: the key is loaded, the DER written."""
        quote = parse_quote(self._case.quote)
        key = authenticate_attestation_key(quote, self._chains[quote.pck_chain]).public_key
        return _bare(key, quote.signature, quote.signed)

    def bare_qe_report_signature(self) -> Callable[[], None]:
        """Return the same of the QE report's."""
        quote = parse_quote(self._case.quote)
        return _bare(self._chains[quote.pck_chain].public_key, quote.qe.signature, quote.qe.report)


def _with_key() -> Verification:
    """Return the verification of what an attester sends to the service: a quote bound to a key, and a proof of it."""
    vendor, registry = Vendor.of(), Registry()
    key, attester = KeyPair.ed25519("bench"), Attester.of(vendor)
    quote = attester.quote(TdReport(report_data=registry.report_data(key)))
    return Verification(_simulated(vendor, quote), attester.evidence(key, registry), registry.registry_id)


def _bare(key: EllipticCurvePublicKey, signature: bytes, signed: bytes) -> Callable[[], None]:
    verify = key.verify
    der = encode_dss_signature(int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big"))
    return lambda: verify(der, signed, _ECDSA_SHA256)


def subjects(case: Case, scale: Scale) -> Subjects:
    """Return what is measured in this process."""
    verification = Verification(case)
    for way in (verification.warm, verification.repeated, verification.cold):
        tier = way().tier
        if tier is not Tier.AFFIRMING:
            message = f"{case.name} is {tier} under {POLICY}: not the way that is to be measured"
            raise ValueError(message)
    with_key = _with_key()
    quote, qe_report = verification.bare_quote_signature(), verification.bare_qe_report_signature()

    def both() -> None:
        qe_report()
        quote()

    return {
        "one_bare": timed(quote, scale),
        "two_bare": timed(both, scale),
        "warm": timed(verification.warm, scale),
        "repeated": timed(verification.repeated, scale),
        "with_key": timed(with_key.repeated, scale),
        "cold": timed(verification.cold, scale),
    }
