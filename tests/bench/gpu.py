"""The verifier of NVIDIA's GPUs in this process, beside the one signature that it cannot do without; and a machine."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from attestd.claims import GpuClaims
from attestd.evidence import GpuEvidence
from attestd.nvgpu.attestation import parse_gpu
from attestd.nvgpu.collateral import GpuEndorsements, collect
from attestd.nvgpu.device import authenticate_device
from attestd.nvgpu.golden import Rims
from attestd.nvgpu.rim import authenticate_rim
from attestd.nvgpu.verify import Revocations
from attestd.policy import AppraisalPolicy
from attestd.registrar.authentic import Authenticator
from attestd.result import Tier
from attestd.settings import shipped
from attestd.signature import P384_LIBRARY, P384Library
from attestd.simulator import Attester, GpuAttester, KeyPair, NvidiaVendor, Registry, SpdmReport, Vendor
from attestd.simulator.gpu_attester import answers, gpu_endorsements, gpu_set
from attestd.tdx.collateral import authenticate_collateral
from attestd.tdx.quote import Quote
from attestd.verifier import AttestationResult, GpuSubject, IntelSubject, appraise, parse_evidence, verify_gpu
from attestd.x509 import Certificate, TrustAnchors
from tests.bench.measure import Scale, Subject, Subjects, timed
from tests.bench.snp import ABSENT, by_library, using
from tests.bench.verification import EVIDENCE

GENUINE: Final = "h100-545.00-complete"
GPUS: Final = 8
POLICY: Final = "strict-tdx"
# Whose section [gpu] is put behind it: what is listed there of images is not the simulator's.
GPU_POLICY: Final = "cocoon-tdx-h100"


@dataclass(frozen=True, slots=True)
class Case:
    """A report with its chain and both RIMs."""

    name: str
    evidence: GpuEvidence
    nonce: bytes
    driver_rim: bytes
    vbios_rim: bytes
    driver_version: str
    vbios_version: str
    roots: tuple[bytes, ...]  # DER
    answers: Mapping[str, bytes]  # of OCSP
    at: datetime
    genuine: bool


def simulated() -> Case:
    """Return a GPU of the simulator's, with OCSP answers about all of its certificates."""
    vendor = NvidiaVendor.of()
    device = GpuAttester.of(vendor)
    files = gpu_endorsements([device])
    return Case(
        "a simulated H100",
        device.answer(SpdmReport().nonce).evidence,
        SpdmReport().nonce,
        device.rim("driver"),
        device.rim("vbios"),
        str(device.gpu.driver_version),
        str(device.gpu.vbios_version),
        (vendor.root.der, vendor.rim_root.der),
        {name: raw for name, raw in files.items() if name.endswith(".ocsp")},
        vendor.at,
        genuine=False,
    )


def genuine_or_simulated() -> Case:
    """Return the one genuine GPU of which all RIMs are public, where the evidence is; no OCSP answer is."""
    folder = EVIDENCE / "nvidia" / GENUINE
    if not folder.is_dir():
        return simulated()
    expected = json.loads((folder / "expected.json").read_bytes())
    return Case(
        f"the genuine H100 {folder.name}",
        GpuEvidence(
            arch="HOPPER",
            report=(folder / "report.bin").read_bytes(),
            certificates=(folder / "certs.pem").read_bytes(),
        ),
        bytes.fromhex(expected["nonce"]),
        (folder / "driver_rim.swidtag").read_bytes(),
        (folder / "vbios_rim.swidtag").read_bytes(),
        expected["report"]["driver_version"],
        expected["report"]["vbios_version"],
        tuple(path.read_bytes() for path in sorted((shipped("certs") / "nvidia").glob("*.der"))),
        {},
        datetime.fromisoformat(expected["verify_at"]),
        genuine=True,
    )


class Verification:
    """One report, verified with more or less of it known before."""

    def __init__(self, case: Case) -> None:
        self._case = case
        self._anchors = TrustAnchors.load(case.roots)
        documents = {"driver.swidtag": case.driver_rim, "vbios.swidtag": case.vbios_rim, **case.answers}
        self._held: GpuEndorsements = collect(documents, self._anchors, case.at).endorsements
        self._authenticator = Authenticator(self._anchors)

    def warm(self) -> GpuClaims:
        """Know the device, its RIMs and the OCSP answers, as the service does; verify the report's signature."""
        attestation = parse_gpu(self._case.evidence)
        return verify_gpu(self._authenticator.gpu(attestation, self._held, self._case.at), self._case.at)

    def cold(self) -> GpuClaims:
        """Know the roots alone."""
        case, anchors = self._case, self._anchors
        attestation = parse_gpu(case.evidence)
        device = authenticate_device(attestation.chain, anchors, case.at)
        driver = authenticate_rim(case.driver_rim, anchors, case.at)
        rims = Rims(driver, authenticate_rim(case.vbios_rim, anchors, case.at, driver))
        return verify_gpu(GpuSubject(attestation, device, rims, Revocations()), case.at)


class Machine:
    """TDX and eight GPUs that one key is bound to, verified and appraised with all known that a service knows."""

    def __init__(self) -> None:
        intel, key, self._registry = Vendor.of(), KeyPair.ed25519("bench"), Registry()
        gpus = gpu_set(GPUS)
        nvidia = gpus[0].vendor
        asked = answers(gpus, self._registry.gpu_nonce(key))
        self._evidence = Attester.of(intel).evidence(key, self._registry, gpus=asked)
        self._at = intel.at
        self._anchors = TrustAnchors.load([intel.root.der, nvidia.root.der, nvidia.rim_root.der])
        self._collateral = authenticate_collateral(intel.collateral(), self._anchors, self._at)
        self._held = collect(gpu_endorsements(gpus), self._anchors, self._at).endorsements
        self._authenticator = Authenticator(self._anchors)
        policies = shipped("policies")
        section = (policies / f"{GPU_POLICY}.toml").read_text().partition("\n[gpu]\n")
        self._policy = AppraisalPolicy.load((policies / f"{POLICY}.toml").read_bytes() + "".join(section[1:]).encode())

    def warm(self) -> AttestationResult:
        evidence, at = self._evidence, self._at
        quote = parse_evidence(evidence.cpu)
        assert isinstance(quote, Quote)
        gpus = [self._authenticator.gpu(parse_gpu(gpu), self._held, at) for gpu in evidence.gpus]
        subject = IntelSubject(quote, None, self._authenticator.attestation_key(quote, at), self._collateral)
        return appraise(
            subject,
            gpus=gpus,
            evidence=evidence,
            policy=self._policy,
            registry_id=self._registry.registry_id,
            approved_models=frozenset(),
            approved_images={},
            at=at,
        )


def _bare(case: Case) -> Callable[[], bool]:
    """Return the verification of the report's signature, and nothing else: the key is loaded, the DER written."""
    attestation = parse_gpu(case.evidence)
    report, raw = attestation.report, attestation.report.signature
    der = encode_dss_signature(int.from_bytes(raw[:48], "big"), int.from_bytes(raw[48:], "big"))
    verifies, signed = Certificate(attestation.chain[0]).p384_public_key.verifies, report.signed
    if not verifies(der, signed):
        message = f"the signature of {case.name} does not verify"
        raise ValueError(message)
    return lambda: verifies(der, signed)


def subjects(case: Case, scale: Scale) -> Subjects:
    """Return what is measured in this process: `case` cold, a simulated GPU and a simulated machine warm."""
    measured: Subjects = {}
    for library, suffix in ((P384Library.OPENSSL, ""), (P384Library.AWS_LC, "_aws_lc")):
        names = [f"gpu_{name}{suffix}" for name in ("bare", "warm", "cold", "machine")]
        if library is P384Library.AWS_LC is not P384_LIBRARY:
            measured |= dict.fromkeys(names, ABSENT)
        else:
            measured |= zip(names, _subjects(library, case, scale), strict=True)
    return measured


def _subjects(library: P384Library, case: Case, scale: Scale) -> list[Subject]:
    known, machine = simulated(), Machine()
    with using(library):
        if (tier := machine.warm().tier) is not Tier.AFFIRMING:
            message = f"a machine is {tier} under {POLICY} with {GPU_POLICY}: not the way that is to be measured"
            raise ValueError(message)
    return [
        by_library(library, lambda: timed(_bare(known), scale)),
        by_library(library, lambda: timed(Verification(known).warm, scale)),
        by_library(library, lambda: timed(Verification(case).cold, scale)),
        by_library(library, lambda: timed(machine.warm, scale)),
    ]
