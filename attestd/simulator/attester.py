"""An attester: a platform with a PCK certificate, its quotes, and the evidence that it sends to a registry."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Self, assert_never

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

from attestd.binding import transcript
from attestd.evidence import CpuEvidence, Evidence, IntelTee, KeyEvidence, QuoteEvidence, RaTlsEvidence, Role, Scheme
from attestd.simulator.certificates import CertificateEdit, EcAuthority, same_certificate
from attestd.simulator.gpu_attester import GpuAnswer
from attestd.simulator.keys import KeyPair, p256_key, point
from attestd.simulator.pck import PLATFORM, Platform
from attestd.simulator.quotes import USUAL, Framing, QuoteKeys, encode_quote, qe_report_data
from attestd.simulator.ratls import ra_tls_certificate
from attestd.simulator.reports import TD, Body, SgxReport, TdReport
from attestd.simulator.tampering import GENUINE, Signing
from attestd.simulator.vendor import Vendor, pem


@dataclass(frozen=True)
class Registry:
    """What an attester knows of the registry that it wants its key in: the answer of `POST /v1/challenges`."""

    registry_id: str = "attestd-simulated"
    challenge: bytes = sha256(b"attestd simulator challenge").digest()

    def context(self, key: KeyPair, models: Iterable[bytes] = ()) -> bytes:
        """Return the transcript that the key signs."""
        return transcript.context(registry_id=self.registry_id, challenge=self.challenge, spki=key.spki, models=models)

    def gpu_nonce(self, key: KeyPair, models: Iterable[bytes] = ()) -> bytes:
        """Return the nonce that GPUs are asked with, before the report data is made."""
        return transcript.gpu_nonce(self.context(key, models))

    def report_data(
        self,
        key: KeyPair,
        models: Iterable[bytes] = (),
        scheme: Scheme = Scheme.ATTESTD_V1,
        gpus: Iterable[GpuAnswer] = (),
    ) -> bytes:
        """Return the report data of a scheme; only that of attestd/v1 commits to the GPUs."""
        match scheme:
            case Scheme.ATTESTD_V1:
                bundle = transcript.gpu_bundle(gpu.bundled for gpu in gpus)
                return transcript.report_data(self.context(key, models), bundle)
            case Scheme.COCOON:
                return transcript.cocoon_report_data(key.raw)
            case Scheme.SPKI_SHA256:
                return transcript.spki_report_data(key.spki, bytes(32))
            case Scheme.NONCE_AND_KEY:
                return transcript.spki_report_data(key.spki, self.challenge)
            case _:
                assert_never(scheme)

    def evidence(
        self,
        key: KeyPair,
        models: tuple[bytes, ...],
        scheme: Scheme,
        cpu: CpuEvidence,
        gpus: Iterable[GpuAnswer] = (),
        role: Role | None = None,
    ) -> Evidence:
        """Return what is sent: what CPU and GPUs say, and the context signed by the key. `models` are sorted."""
        return Evidence(
            challenge=self.challenge,
            binding=scheme,
            key=KeyEvidence(spki=key.spki, proof=key.sign(self.context(key, models)), role=role),
            models=models,
            cpu=cpu,
            gpus=tuple(gpu.evidence for gpu in gpus),
        )


@dataclass(frozen=True, kw_only=True)
class Attester:
    """A platform of a vendor's, with the keys that its quoting enclave and its certification enclave hold."""

    vendor: Vendor
    platform: Platform
    pck: EcAuthority
    attestation_key: EllipticCurvePrivateKey

    @classmethod
    def of(
        cls,
        vendor: Vendor,
        platform: Platform = PLATFORM,
        edit: CertificateEdit = same_certificate,
        *,
        signing: Signing = GENUINE,
    ) -> Self:
        """Make the platform; `edit` and `signing` are for its PCK certificate."""
        return cls(
            vendor=vendor,
            platform=platform,
            pck=vendor.issue_pck(platform, edit, signing=signing),
            attestation_key=p256_key(vendor.seed, f"attestation {platform.ppid.hex()}"),
        )

    @property
    def pck_chain(self) -> tuple[bytes, bytes, bytes]:
        """Leaf, CA and root in DER."""
        return self.pck.der, self.vendor.pck_ca(self.platform.ca).der, self.vendor.root.der

    def qe_report_data(self, auth_data: bytes = Framing.auth_data) -> bytes:
        """Return the report data with which the quoting enclave vouches for this platform's own attestation key."""
        return qe_report_data(point(self.attestation_key.public_key()), auth_data)

    def quote(self, body: Body = TD, framing: Framing = USUAL) -> bytes:
        """Return a quote over `body`, of the version that belongs to it unless `framing` says otherwise."""
        keys = QuoteKeys(attestation_key=self.attestation_key, pck_key=self.pck.key, pck_chain=pem(*self.pck_chain))
        return encode_quote(body, framing, keys)

    def evidence(
        self,
        key: KeyPair,
        registry: Registry,
        models: Iterable[bytes] = (),
        *,
        scheme: Scheme = Scheme.ATTESTD_V1,
        body: Body = TD,
        event_log: bytes | None = None,
        gpus: Iterable[GpuAnswer] = (),
    ) -> Evidence:
        """Return evidence with a quote whose report data commits to the key, and to what else the scheme has in it.

        `models` are SHA-256 digests. The report data in `body` is replaced. `gpus` have answered `registry.gpu_nonce`.
        """
        models, gpus = tuple(sorted(models)), tuple(gpus)
        bound = replace(body, report_data=registry.report_data(key, models, scheme, gpus))
        tee: IntelTee = "sgx" if isinstance(body, SgxReport) else "tdx"
        cpu = QuoteEvidence(tee=tee, quote=self.quote(bound), event_log=event_log)
        return registry.evidence(key, models, scheme, cpu, gpus)

    def cocoon_evidence(
        self,
        key: KeyPair,
        registry: Registry,
        role: Role = "worker",
        models: Iterable[bytes] = (),
        *,
        body: TdReport = TD,
        event_log: bytes | None = None,
    ) -> Evidence:
        """Return evidence with the binding cocoon: an RA-TLS certificate, and the challenge signed by its key."""
        cpu = RaTlsEvidence(certificate=self.cocoon_certificate(key, body), event_log=event_log)
        return registry.evidence(key, tuple(sorted(models)), Scheme.COCOON, cpu, role=role)

    def cocoon_certificate(
        self,
        key: KeyPair,
        body: TdReport = TD,
        edit: CertificateEdit = same_certificate,
        *,
        signing: Signing = GENUINE,
    ) -> bytes:
        """Return an RA-TLS certificate in DER whose quote commits to its key; the report data in `body` is replaced."""
        quote = self.quote(replace(body, report_data=transcript.cocoon_report_data(key.raw)))
        return ra_tls_certificate(key, quote, self.vendor.at, edit, signing=signing)
