"""Certificates and CRLs as forms whose every field may be filled in otherwise, and the authorities that sign them."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, Generic, Self, TypeAlias, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.x509.oid import AuthorityInformationAccessOID, CRLEntryExtensionOID, ExtensionOID, NameOID

from attestd.simulator import der
from attestd.simulator.keys import PrivateKey, SigningKey, spki
from attestd.simulator.tampering import Signing

Key = TypeVar("Key", bound=SigningKey)

CRL_NUMBER: Final = ExtensionOID.CRL_NUMBER.dotted_string

ECDSA_WITH_SHA256: Final = "1.2.840.10045.4.3.2"
ECDSA_WITH_SHA384: Final = "1.2.840.10045.4.3.3"
ED25519: Final = "1.3.101.112"

_P256_BITS: Final = 256
_KEY_COMPROMISE: Final = 1


@dataclass(frozen=True)
class Extension:
    """An extension of a certificate, a CRL or a CRL entry; `value` is the DER that its OCTET STRING holds."""

    oid: str
    value: bytes
    critical: bool = False

    @classmethod
    def of(cls, value: x509.ExtensionType, *, critical: bool = False) -> Self:
        """Encode a standard extension."""
        return cls(value.oid.dotted_string, value.public_bytes(), critical)

    def encode(self) -> bytes:
        """Return Extension (RFC 5280, 4.1)."""
        # DER leaves out what is the default: a flag that is false.
        return der.sequence(
            der.oid(self.oid), der.boolean(value=True) if self.critical else b"", der.octets(self.value)
        )


def key_usage(*uses: str) -> Extension:
    """Return the key usage with these bits, by their names in RFC 5280, 4.2.1.3, in snake case; critical."""
    every = (
        "digital_signature",
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "key_cert_sign",
        "crl_sign",
        "encipher_only",
        "decipher_only",
    )
    return Extension.of(x509.KeyUsage(**{use: use in uses for use in every}), critical=True)


SIGNER_USES: Final = ("digital_signature", "content_commitment")
CA_USES: Final = ("key_cert_sign", "crl_sign")


def basic_constraints(*, ca: bool, path_length: int | None = None) -> Extension:
    """Return the basic constraints, critical as Intel marks them."""
    return Extension.of(x509.BasicConstraints(ca=ca, path_length=path_length), critical=True)


def crl_distribution_point(url: str) -> Extension:
    """Say where the issuer's CRL is to be had."""
    point = x509.DistributionPoint([x509.UniformResourceIdentifier(url)], None, None, None)
    return Extension.of(x509.CRLDistributionPoints([point]))


def ocsp_location(url: str) -> Extension:
    """Say where to ask whether the certificate is revoked."""
    location = x509.UniformResourceIdentifier(url)
    return Extension.of(
        x509.AuthorityInformationAccess([x509.AccessDescription(AuthorityInformationAccessOID.OCSP, location)])
    )


def distinguished_name(**attributes: str) -> bytes:
    """Return a Name in DER: one RDN per attribute, in the order given, named as in `NameOID` in lower case."""
    return x509.Name(
        [x509.NameAttribute(getattr(NameOID, name.upper()), value) for name, value in attributes.items()]
    ).public_bytes()


def crl_number(number: int) -> Extension:
    """Return a CRL number; Intel's is always 1."""
    return Extension.of(x509.CRLNumber(number))


def key_identifier(key: PrivateKey) -> bytes:
    """Return the SHA-1 of the public key's bits (RFC 5280, 4.2.1.2, method 1)."""
    return x509.SubjectKeyIdentifier.from_public_key(key.public_key()).digest


def authority_key_identifier(key: PrivateKey) -> Extension:
    """Name the issuer's key."""
    return Extension.of(x509.AuthorityKeyIdentifier(key_identifier(key), None, None))


def subject_key_identifier(key: PrivateKey) -> Extension:
    """Name the subject's key."""
    return Extension.of(x509.SubjectKeyIdentifier(key_identifier(key)))


def algorithm_identifier(algorithm: str | bytes) -> bytes:
    """Return AlgorithmIdentifier: without parameters of an OID; bytes are one as they stand."""
    return der.sequence(der.oid(algorithm)) if isinstance(algorithm, str) else algorithm


def signature_algorithm(key: EllipticCurvePrivateKey) -> str:
    """Return the OID of the algorithm that a key of this curve signs certificates with."""
    return ECDSA_WITH_SHA256 if key.key_size == _P256_BITS else ECDSA_WITH_SHA384


@dataclass(frozen=True, kw_only=True)
class CertificateForm:
    """What stands in a certificate (RFC 5280, 4.1)."""

    subject: bytes  # Name in DER
    issuer: bytes  # Name in DER
    serial_number: int | bytes  # bytes: the contents of the INTEGER as they stand
    not_before: datetime
    not_after: datetime
    spki: bytes
    extensions: tuple[Extension, ...]
    version: int = 3
    signature_algorithm: str | bytes = ECDSA_WITH_SHA256  # OID, or AlgorithmIdentifier; the key says how it is signed
    time: Callable[[datetime], bytes] = der.time  # how the validity is written

    def without(self, oid: str) -> Self:
        """Return the form without the extension of that OID."""
        return replace(self, extensions=tuple(extension for extension in self.extensions if extension.oid != oid))

    def having(self, extension: Extension) -> Self:
        """Return the form with `extension` in the place of the one with its OID, or at the end."""
        others = self.without(extension.oid).extensions
        place = next((i for i, other in enumerate(self.extensions) if other.oid == extension.oid), len(others))
        return replace(self, extensions=(*others[:place], extension, *others[place:]))

    def keyed(self, key: EllipticCurvePrivateKey) -> Self:
        """Return the form for another key of the subject's."""
        keyed = replace(self, spki=spki(key), serial_number=int.from_bytes(key_identifier(key)))
        return keyed.having(subject_key_identifier(key))

    def encode(self) -> bytes:
        """Return TBSCertificate."""
        return der.sequence(
            der.explicit(0, der.integer(self.version - 1)) if self.version > 1 else b"",
            der.integer(self.serial_number),
            algorithm_identifier(self.signature_algorithm),
            self.issuer,
            der.sequence(self.time(self.not_before), self.time(self.not_after)),
            self.subject,
            self.spki,
            _extensions(3, self.extensions),
        )


CertificateEdit: TypeAlias = Callable[[CertificateForm], CertificateForm]


def same_certificate(form: CertificateForm) -> CertificateForm:
    """Leave the form as it is."""
    return form


@dataclass(frozen=True)
class Revoked:
    """One entry of a CRL (RFC 5280, 5.1.2.6)."""

    serial_number: int | bytes  # bytes: the contents of the INTEGER as they stand
    at: datetime | None = None  # None: when the CRL was issued
    reason: int | None = _KEY_COMPROMISE  # CRLReason; what Intel writes
    extensions: tuple[Extension, ...] = ()

    def encode(self, issued: datetime) -> bytes:
        """Return the entry."""
        reason = (
            ()
            if self.reason is None
            else (Extension(CRLEntryExtensionOID.CRL_REASON.dotted_string, der.enumerated(self.reason)),)
        )
        extensions = [extension.encode() for extension in (*reason, *self.extensions)]
        return der.sequence(
            der.integer(self.serial_number),
            der.time(self.at or issued),
            der.sequence(*extensions) if extensions else b"",
        )


@dataclass(frozen=True, kw_only=True)
class CrlForm:
    """What stands in a CRL (RFC 5280, 5.1)."""

    issuer: bytes  # Name in DER
    this_update: datetime
    next_update: datetime | None
    revoked: tuple[Revoked, ...]
    extensions: tuple[Extension, ...]
    signature_algorithm: str | bytes = ECDSA_WITH_SHA256

    def without(self, oid: str) -> Self:
        """Return the form without the extension of that OID."""
        return replace(self, extensions=tuple(extension for extension in self.extensions if extension.oid != oid))

    def numbered(self, number: int) -> Self:
        """Return the form with another CRL number."""
        return replace(self, extensions=(crl_number(number), *self.without(CRL_NUMBER).extensions))

    def encode(self) -> bytes:
        """Return TBSCertList."""
        return der.sequence(
            der.integer(1),
            algorithm_identifier(self.signature_algorithm),
            self.issuer,
            der.time(self.this_update),
            b"" if self.next_update is None else der.time(self.next_update),
            der.sequence(*(entry.encode(self.this_update) for entry in self.revoked)) if self.revoked else b"",
            _extensions(0, self.extensions),
        )


CrlEdit: TypeAlias = Callable[[CrlForm], CrlForm]


def same_crl(form: CrlForm) -> CrlForm:
    """Leave the form as it is."""
    return form


def _extensions(tag: int, extensions: tuple[Extension, ...]) -> bytes:
    return der.explicit(tag, der.sequence(*(extension.encode() for extension in extensions))) if extensions else b""


def seal(form: CertificateForm | CrlForm, key: SigningKey, signing: Signing) -> bytes:
    """Return the signed certificate or CRL in DER."""
    signed = signing.before(form.encode())
    return signing.after(
        der.sequence(signed, algorithm_identifier(form.signature_algorithm), der.bits(signing.der(key, signed)))
    )


@dataclass(frozen=True, kw_only=True)
class Authority(Generic[Key]):
    """A certificate together with its private key; also of an end entity, which anything may be signed with."""

    form: CertificateForm
    key: Key
    der: bytes

    @property
    def serial_number(self) -> int:
        """The serial number, by which a CRL names the certificate."""
        serial_number = self.form.serial_number
        return int.from_bytes(serial_number, signed=True) if isinstance(serial_number, bytes) else serial_number


EcAuthority: TypeAlias = Authority[EllipticCurvePrivateKey]
RsaAuthority: TypeAlias = Authority[RSAPrivateKey]
