"""The trust anchors are the vendors' certificates: each file against its README, and both against the evidence."""

import hashlib
import os
import re
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from attestd.codec import dump_time
from attestd.x509 import (
    AMD_ARK_GENOA,
    AMD_ARK_MILAN,
    AMD_ARK_TURIN,
    GENUINE_ROOTS,
    INTEL_SGX_ROOT_CA,
    NVIDIA_CORIM_SIGNING_ROOT_CA,
    NVIDIA_DEVICE_IDENTITY_CA,
    TrustAnchors,
)

ROOT = Path(__file__).parent.parent
CERTS = ROOT / "certs"
FILES = sorted(path.relative_to(CERTS).as_posix() for path in CERTS.rglob("*.der"))
EVIDENCE = Path(os.environ.get("ATTESTD_EVIDENCE", ROOT.parent / "shared" / "evidence"))

README = (CERTS / "README.md").read_text()
# file -> subject, serial number, key, not before, not after, SHA-256
ROWS = {
    cells[0].strip("`"): cells[1:]
    for cells in (
        [cell.strip() for cell in line.strip("|").split("|")] for line in README.splitlines() if line.startswith("| `")
    )
    if len(cells) == 7
}


def load(name: str) -> x509.Certificate:
    return x509.load_der_x509_certificate((CERTS / name).read_bytes())


def key_of(certificate: x509.Certificate) -> str:
    match certificate.public_key():
        case ec.EllipticCurvePublicKey(curve=curve):
            return {"secp256r1": "EC P-256", "secp384r1": "EC P-384"}[curve.name]
        case rsa.RSAPublicKey(key_size=size):
            return f"RSA {size}"
        case other:
            raise AssertionError(other)


def test_each_file_has_a_row_and_each_row_a_file() -> None:
    assert sorted(ROWS) == FILES
    assert len(FILES) == 6


@pytest.mark.parametrize("name", FILES)
def test_file_is_what_the_readme_says(name: str) -> None:
    certificate = load(name)
    assert ROWS[name] == [
        ", ".join(f"{part.rfc4514_attribute_name}={part.value!s}" for part in certificate.subject),
        hex(certificate.serial_number),
        key_of(certificate),
        dump_time(certificate.not_valid_before_utc),
        dump_time(certificate.not_valid_after_utc),
        hashlib.sha256((CERTS / name).read_bytes()).hexdigest(),
    ]


@pytest.mark.parametrize("name", FILES)
def test_file_is_a_self_signed_ca(name: str) -> None:
    certificate = load(name)
    assert certificate.subject == certificate.issuer
    certificate.verify_directly_issued_by(certificate)
    assert certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert certificate.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign


@pytest.mark.parametrize("name", FILES)
def test_readme_names_a_source(name: str) -> None:
    assert re.search(rf"^\| `{re.escape(name)}` \| PyPI \S+ [\d.]+ \| `\S+` \|$", README, re.MULTILINE)


PINNED = {
    "intel/sgx_root_ca.der": INTEL_SGX_ROOT_CA,
    "amd/ark_milan.der": AMD_ARK_MILAN,
    "amd/ark_genoa.der": AMD_ARK_GENOA,
    "amd/ark_turin.der": AMD_ARK_TURIN,
    "nvidia/device_identity_ca.der": NVIDIA_DEVICE_IDENTITY_CA,
    "nvidia/corim_signing_root_ca.der": NVIDIA_CORIM_SIGNING_ROOT_CA,
}


@pytest.mark.parametrize("name", PINNED)
def test_root_is_the_pinned_one(name: str) -> None:
    der = (CERTS / name).read_bytes()
    assert hashlib.sha256(der).digest() == PINNED[name]
    assert TrustAnchors.load_genuine([der]).genuine


def test_nothing_else_is_pinned() -> None:
    assert set(PINNED.values()) == GENUINE_ROOTS.keys()


SAME = {
    "intel/sgx_root_ca.der": "tdx/roots/intel_sgx_root_ca.der",
    "amd/ark_milan.der": "snp/roots/milan_ark.pem",
    "amd/ark_genoa.der": "snp/roots/genoa_ark.pem",
    "amd/ark_turin.der": "snp/roots/turin_ark.pem",
    "nvidia/device_identity_ca.der": "nvidia/roots/nvidia_device_identity_ca.pem",
    "nvidia/corim_signing_root_ca.der": "nvidia/roots/nvidia_corim_signing_root_ca.pem",
}


@pytest.mark.parametrize("name", FILES)
def test_file_equals_the_root_in_the_evidence(name: str) -> None:
    path = EVIDENCE / SAME[name]
    if not path.is_file():
        pytest.skip(f"no evidence at {EVIDENCE}")
    raw = path.read_bytes()
    same = x509.load_pem_x509_certificate(raw) if raw.startswith(b"-----") else x509.load_der_x509_certificate(raw)
    assert load(name) == same
