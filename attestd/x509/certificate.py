"""One X.509 certificate, parsed by its DER (RFC 5280, 4.1).

Parsed here and not by a library: AMD's leaves have the serial number 0, which libraries refuse or are about to. Keys
are loaded by `cryptography`; names, key usage and all the rest that makes a path are OpenSSL's to judge.
"""

import hashlib
from functools import cached_property
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import load_der_public_key
from OpenSSL import crypto

from attestd.codec import DerElement, dump_oid, load_der_sequence, load_der_time, load_der_unsigned, require_der
from attestd.codec.der import BIT_STRING, BOOLEAN, INTEGER, OBJECT_IDENTIFIER, OCTET_STRING, SEQUENCE
from attestd.errors import Malformed, Reason
from attestd.signature import P384PublicKey, PublicKey, p384_public_key
from attestd.validity import Validity

# Genuine PCK certificates have about 1,270 bytes, AMD's about 1,700.
MAX_CERTIFICATE_SIZE: Final = 8 * 1024

_MAX_SERIAL_NUMBER: Final = 2**160 - 1  # 20 octets (RFC 5280, 4.1.2.2)
_VERSION_3: Final = b"\x02\x01\x02"
_TRUE: Final = b"\xff"  # what a BOOLEAN holds that is true; one that is false is left out, by default

# Structures by the tags of their elements. Unique identifiers, which RFC 5280, 4.1.2.8 forbids, have no place.
_CERTIFICATE: Final = bytes((SEQUENCE, SEQUENCE, BIT_STRING))
_TBS_CERTIFICATE: Final = bytes((0xA0, INTEGER, SEQUENCE, SEQUENCE, SEQUENCE, SEQUENCE, SEQUENCE))
_EXTENSIONS: Final = b"\xa3"
_EXTENSION: Final = bytes((OBJECT_IDENTIFIER, OCTET_STRING))
_CRITICAL_EXTENSION: Final = bytes((OBJECT_IDENTIFIER, BOOLEAN, OCTET_STRING))

_RSA_4096: Final = 4096
# SubjectPublicKeyInfo of P-384 (RFC 5480, 2) up to the point, which is not compressed.
_P384: Final = bytes.fromhex("301006072a8648ce3d020106052b8104002203620004")

_STANDARD: Final = dump_oid("2.5.29")  # the arc of the extensions of RFC 5280
_SUBJECT_KEY_IDENTIFIER: Final = "2.5.29.14"
_KEY_USAGE: Final = "2.5.29.15"
_BASIC_CONSTRAINTS: Final = "2.5.29.19"
_COMMON_NAME: Final = dump_oid("2.5.4.3")
_KEY_CERT_SIGN, _CRL_SIGN = 0x04, 0x02  # bits 5 and 6 of the key usage, counted from the highest

# What the libraries raise where bytes are not what they should be; not all of it is a ValueError.
_BAD_BYTES: Final = (ValueError, TypeError, Warning, UnsupportedAlgorithm, crypto.Error)


class Certificate:
    """One X.509 certificate of version 3, strictly parsed; nothing about it is trusted yet.

    Names are the contents of their DER and are compared as they stand.
    """

    issuer: bytes
    subject: bytes
    serial_number: int  # 0 and more: revocation compares numbers, not encodings
    validity: Validity  # of the certificate alone
    spki: bytes  # the content of the SubjectPublicKeyInfo
    signature_algorithm: bytes  # the AlgorithmIdentifier in DER; the same inside and outside of what is signed
    signed: bytes  # the TBSCertificate in DER
    signature: bytes

    def __init__(self, der: bytes) -> None:
        """Parse DER. Raises `Malformed` (`der.malformed`)."""
        if len(der) > MAX_CERTIFICATE_SIZE:
            raise _not_der(f"{len(der)} bytes", f"at most {MAX_CERTIFICATE_SIZE} bytes")
        self.der = der
        signed, algorithm, signature = _fields(_only(der, SEQUENCE), _CERTIFICATE)
        # A BIT STRING begins with how many bits are unused: none of a signature.
        if signature.content[:1] != b"\0":
            raise _not_der("a signature with unused bits")
        self.signed, self.signature_algorithm, self.signature = signed.encoded, algorithm.encoded, signature.content[1:]
        self._parse(signed.content)

    def _parse(self, signed: bytes) -> None:
        fields = _fields(signed, _TBS_CERTIFICATE, _TBS_CERTIFICATE + _EXTENSIONS)
        version, serial_number, algorithm, issuer, validity, subject, spki = fields[:7]
        if version.content != _VERSION_3:
            raise _not_der("another version")
        if algorithm.encoded != self.signature_algorithm:
            raise _not_der("another signature algorithm outside than inside")
        # DER down to the last byte: these are not taken apart here, the others are.
        whole = algorithm.encoded + issuer.encoded + subject.encoded + spki.encoded
        require_der(whole, Reason.DER_MALFORMED, above=2)
        self.serial_number = load_der_unsigned(serial_number.content, Reason.DER_MALFORMED, most=_MAX_SERIAL_NUMBER)
        self.issuer, self.subject, self.spki, self._spki = issuer.content, subject.content, spki.content, spki.encoded
        self.validity = _parse_validity(validity.content)
        self._extensions = _parse_extensions(fields[7].content) if len(fields) > len(_TBS_CERTIFICATE) else {}

    def __eq__(self, other: object) -> bool:
        """Two certificates are the same when their bytes are."""
        return isinstance(other, Certificate) and self.der == other.der

    def __hash__(self) -> int:
        """Hash the bytes."""
        return hash(self.der)

    @cached_property
    def fingerprint(self) -> bytes:
        """SHA-256 of the DER."""
        return hashlib.sha256(self.der).digest()

    @cached_property
    def common_name(self) -> str:
        """The one common name of the subject, or an empty string. Raises `Malformed` (`der.malformed`)."""
        return _common_name(self.subject)

    @property
    def issuer_common_name(self) -> str:
        """The same of the issuer."""
        return _common_name(self.issuer)

    def extension_bytes(self, oid: str) -> bytes | None:
        """Return what the OCTET STRING of the extension `oid` holds, or None where it is absent."""
        return self._extensions.get(dump_oid(oid))

    @cached_property
    def _basic_constraints(self) -> tuple[bool, int | None]:
        raw = self.extension_bytes(_BASIC_CONSTRAINTS)
        if raw is None:
            return False, None
        fields = _fields(_only(raw, SEQUENCE), b"", bytes((BOOLEAN,)), bytes((BOOLEAN, INTEGER)))
        if fields and fields[0].content != _TRUE:
            raise _not_der("a BOOLEAN that is neither true nor left out")
        length = load_der_unsigned(fields[1].content, Reason.DER_MALFORMED, most=0xFF) if len(fields) > 1 else None
        return bool(fields), length

    @property
    def is_ca(self) -> bool:
        """Whether the basic constraints say that it may issue certificates. Raises `Malformed` (`der.malformed`)."""
        return self._basic_constraints[0]

    @property
    def path_length(self) -> int | None:
        """How many CAs may stand below it, where the basic constraints say so. Raises `Malformed` (`der.malformed`)."""
        return self._basic_constraints[1]

    @cached_property
    def _key_usage(self) -> int:
        """The first octet of the key usage, or 0 where it is absent: then the key is for nothing in particular."""
        raw = self.extension_bytes(_KEY_USAGE)
        content = b"\0\0" if raw is None else _only(raw, BIT_STRING)
        return content[1] if len(content) > 1 else 0

    @property
    def may_sign_certificates(self) -> bool:
        """Whether the key usage says so. Raises `Malformed` (`der.malformed`)."""
        return bool(self._key_usage & _KEY_CERT_SIGN)

    @property
    def may_sign_crls(self) -> bool:
        """Whether the key usage says so. Raises `Malformed` (`der.malformed`)."""
        return bool(self._key_usage & _CRL_SIGN)

    @property
    def subject_key_identifier(self) -> bytes | None:
        """The key identifier that the issuer gave to the subject's key. Raises `Malformed` (`der.malformed`)."""
        raw = self.extension_bytes(_SUBJECT_KEY_IDENTIFIER)
        return None if raw is None else _only(raw, OCTET_STRING)

    @cached_property
    def public_key(self) -> PublicKeyTypes:
        """The subject's key, of whatever kind. Raises `Malformed` (`der.malformed`)."""
        try:
            return load_der_public_key(self._spki)
        except _BAD_BYTES:
            raise _not_der("a public key that does not load") from None

    @property
    def p256_public_key(self) -> PublicKey:
        """The subject's key. Raises `Malformed` (`der.malformed`) where it is not on P-256."""
        key = self.public_key
        if isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1):
            return key
        raise _not_der("a key of another kind", "a key on P-256")

    @property
    def p384_public_key(self) -> P384PublicKey:
        """The subject's key. Raises `Malformed` (`der.malformed`) where it is not on P-384."""
        if self.spki.startswith(_P384):
            return p384_public_key(self.spki[len(_P384) :])
        raise _not_der("a key of another kind", "a key on P-384")

    @property
    def rsa4096_public_key(self) -> RSAPublicKey:
        """The subject's key. Raises `Malformed` (`der.malformed`) where it is not an RSA key of 4096 bits."""
        key = self.public_key
        if isinstance(key, RSAPublicKey) and key.key_size == _RSA_4096:
            return key
        raise _not_der("a key of another kind", "an RSA key of 4096 bits")

    @cached_property
    def openssl(self) -> crypto.X509:
        """The same certificate for OpenSSL. Raises `Malformed` (`der.malformed`): it parses names and keys as well."""
        try:
            return crypto.load_certificate(crypto.FILETYPE_ASN1, self.der)
        except _BAD_BYTES:
            raise _not_der("a certificate that OpenSSL does not parse") from None


def _common_name(name: bytes) -> str:
    names = []
    for relative in _elements(name):
        for attribute in _elements(relative.content):
            oid, value = _pair(attribute.content)
            if oid == _COMMON_NAME:
                names.append(value.decode("utf-8", "replace"))
    return names[0] if len(names) == 1 else ""


def _parse_validity(content: bytes) -> Validity:
    match _elements(content):
        case [not_before, not_after]:
            return Validity(
                load_der_time(not_before, Reason.DER_MALFORMED), load_der_time(not_after, Reason.DER_MALFORMED)
            )
        case _:
            raise _not_der("a validity that is not two times")


def _parse_extensions(content: bytes) -> dict[bytes, bytes]:
    """Return the values of the extensions by their identifiers, each at most once (RFC 5280, 4.2).

    Whether a critical one is known is for OpenSSL, which refuses the path where it is not.
    """
    extensions: dict[bytes, bytes] = {}
    for extension in _elements(_only(content, SEQUENCE)):
        fields = _fields(extension.content, _EXTENSION, _CRITICAL_EXTENSION)
        oid, value = fields[0].content, fields[-1].content
        if (
            extension.tag != SEQUENCE
            or oid in extensions
            or (len(fields) > len(_EXTENSION) and fields[1].content != _TRUE)
        ):
            raise _not_der("an extension of another form, or doubled")
        # Vendors' own extensions may hold any bytes.
        if oid.startswith(_STANDARD):
            require_der(value, Reason.DER_MALFORMED)
        extensions[oid] = value
    return extensions


def _pair(content: bytes) -> tuple[bytes, bytes]:
    match _elements(content):
        case [name, value]:
            return name.content, value.content
        case _:
            raise _not_der("a name of another form")


def _fields(content: bytes, *forms: bytes) -> list[DerElement]:
    """Return the elements of a structure, whose tags are one of `forms`."""
    elements = _elements(content)
    if bytes([element.tag for element in elements]) not in forms:
        raise _not_der(f"another structure of {len(elements)} elements")
    return elements


def _elements(content: bytes) -> list[DerElement]:
    return load_der_sequence(content, Reason.DER_MALFORMED)


def _only(raw: bytes, tag: int) -> bytes:
    """Return the content of the one element that `raw` is."""
    (element,) = _fields(raw, bytes((tag,)))
    return element.content


def _not_der(found: str, wanted: str = "one X.509 v3 certificate in DER") -> Malformed:
    return Malformed(Reason.DER_MALFORMED, found=found, wanted=wanted)
