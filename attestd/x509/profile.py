"""What the certificates and CRLs of one vendor have in common."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, PSS
from cryptography.hazmat.primitives.hashes import SHA256, SHA384

from attestd.errors import Malformed, Reason
from attestd.x509.certificate import Certificate

# AlgorithmIdentifier ecdsa-with-SHA256, without parameters (RFC 5758, 3.2).
_ECDSA_WITH_SHA256: Final = bytes.fromhex("300a06082a8648ce3d040302")
# AlgorithmIdentifier ecdsa-with-SHA384, likewise.
_ECDSA_WITH_SHA384: Final = bytes.fromhex("300a06082a8648ce3d040303")
# SubjectPublicKeyInfo of P-256 and of P-384 (RFC 5480, 2), up to the point, which is not compressed.
_P256: Final = bytes.fromhex("301306072a8648ce3d020106082a8648ce3d03010703420004")
_P384: Final = bytes.fromhex("301006072a8648ce3d020106052b8104002203620004")

# RSASSA-PSS with SHA-384, MGF1 with SHA-384 and a salt of 48 octets (RFC 4055, 3.1).
_PSS_SHA384: Final = bytes.fromhex(
    "a00f300d06096086480165030402020500a11c301a06092a864886f70d010108300d06096086480165030402020500a203020130"
)
_PSS_HEAD: Final = bytes.fromhex("06092a864886f70d01010a")
# The trailer field is 1 by default, which DER leaves out; AMD's certificates for Milan have it nevertheless.
_RSASSA_PSS: Final = frozenset(
    {
        bytes.fromhex("3041") + _PSS_HEAD + bytes.fromhex("3034") + _PSS_SHA384,
        bytes.fromhex("3046") + _PSS_HEAD + bytes.fromhex("3039") + _PSS_SHA384 + bytes.fromhex("a303020101"),
    }
)
# SubjectPublicKeyInfo of RSA (RFC 3279, 2.3.1) with a modulus of 4096 bits and a public exponent of three octets.
_RSA_4096: Final = bytes.fromhex("300d06092a864886f70d01010105000382020f003082020a0282020100")


def _verify_ecdsa_sha256(issuer: Certificate, signature: bytes, signed: bytes) -> None:
    issuer.p256_public_key.verify(signature, signed, ECDSA(SHA256()))


def _verify_ecdsa_sha384(issuer: Certificate, signature: bytes, signed: bytes) -> None:
    if not issuer.p384_public_key.verifies(signature, signed):
        raise InvalidSignature


def _verify_pss_sha384(issuer: Certificate, signature: bytes, signed: bytes) -> None:
    issuer.rsa4096_public_key.verify(signature, signed, PSS(MGF1(SHA384()), 48), SHA384())


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """How one vendor signs its certificates and CRLs."""

    algorithms: frozenset[bytes]  # AlgorithmIdentifiers in DER
    ca_key: bytes  # how the content of a CA's SubjectPublicKeyInfo begins: its algorithm and size
    strict: bool  # whether its certificates and CRLs are as RFC 5280 has them, down to serial and key identifiers
    verify: Callable[[Certificate, bytes, bytes], None]  # issuer, signature, signed; raises InvalidSignature

    def has_issued(self, certificate: Certificate) -> bool:
        """Whether the algorithm that it is signed with is the vendor's."""
        return certificate.signature_algorithm in self.algorithms

    def has_authorized(self, ca: Certificate) -> bool:
        """Whether it may issue certificates, and its key is of the vendor's kind. Raises `Malformed`."""
        return ca.is_ca and ca.may_sign_certificates and ca.spki.startswith(self.ca_key)

    def has_signed(self, issuer: Certificate, signature: bytes, signed: bytes) -> bool:
        """Whether `signature` is the issuer's. Raises `Malformed` where the issuer's key is of another kind."""
        try:
            self.verify(issuer, signature, signed)
        except InvalidSignature:
            return False
        return True

    def require_serial_number(self, certificate: Certificate) -> None:
        """Raise `Malformed` (`der.malformed`) for the serial number 0 where RFC 5280, 4.1.2.2 holds."""
        if self.strict and certificate.serial_number == 0:
            raise Malformed(Reason.DER_MALFORMED, found="the serial number 0", wanted="a positive serial number")


# Intel SGX PCK Certificate and CRL Profile Specification.
INTEL: Final = Profile(
    algorithms=frozenset({_ECDSA_WITH_SHA256}), ca_key=_P256, strict=True, verify=_verify_ecdsa_sha256
)
# AMD, Versioned Chip Endorsement Key (VCEK) Certificate and KDS Interface Specification (57230), chapter 3: a VCEK has
# the serial number 0 and none of the extensions of RFC 5280.
AMD: Final = Profile(algorithms=_RSASSA_PSS, ca_key=_RSA_4096, strict=False, verify=_verify_pss_sha384)
# NVIDIA's chains of devices, RIMs and OCSP answers have it all alike (nvidia.md, 4.3 and 4.6).
NVIDIA: Final = Profile(
    algorithms=frozenset({_ECDSA_WITH_SHA384}), ca_key=_P384, strict=True, verify=_verify_ecdsa_sha384
)

PROFILES: Final = (INTEL, AMD, NVIDIA)
