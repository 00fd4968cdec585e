"""Trust anchors, certificate paths and revocation lists of all vendors, with explicit time; the home of OpenSSL.

    certificate   one certificate, strictly parsed
    profile       what the certificates of one vendor have in common: algorithm, kind of key, strictness
    anchors       the pinned roots
    path          from a certificate to one of them
    crl           revocation lists

OpenSSL builds and checks paths. What it leaves open is closed here: which root is pinned (the DER, not a name), with
which algorithm and keys a vendor signs, that an end-entity certificate is no CA and an issuer is one, that a time
without a zone is none, and that a CRL comes from the issuer of the certificate that is looked up in it.
"""

from attestd.x509.anchors import (
    AMD_ARK_GENOA,
    AMD_ARK_MILAN,
    AMD_ARK_TURIN,
    GENUINE_ROOTS,
    INTEL_SGX_ROOT_CA,
    NVIDIA_CORIM_SIGNING_ROOT_CA,
    NVIDIA_DEVICE_IDENTITY_CA,
    TrustAnchors,
)
from attestd.x509.certificate import MAX_CERTIFICATE_SIZE, Certificate
from attestd.x509.crl import (
    BAD_BYTES,
    MAX_CRL_SIZE,
    CrlReasons,
    RevocationList,
    authenticate_crl,
    authenticate_crl_of_any_time,
    require_window,
)
from attestd.x509.path import PathReasons, aware, verify_path
from attestd.x509.profile import AMD, INTEL, NVIDIA, Profile

__all__ = [
    "AMD",
    "AMD_ARK_GENOA",
    "AMD_ARK_MILAN",
    "AMD_ARK_TURIN",
    "BAD_BYTES",
    "GENUINE_ROOTS",
    "INTEL",
    "INTEL_SGX_ROOT_CA",
    "MAX_CERTIFICATE_SIZE",
    "MAX_CRL_SIZE",
    "NVIDIA",
    "NVIDIA_CORIM_SIGNING_ROOT_CA",
    "NVIDIA_DEVICE_IDENTITY_CA",
    "Certificate",
    "CrlReasons",
    "PathReasons",
    "Profile",
    "RevocationList",
    "TrustAnchors",
    "authenticate_crl",
    "authenticate_crl_of_any_time",
    "aware",
    "require_window",
    "verify_path",
]
