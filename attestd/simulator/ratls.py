"""RA-TLS certificates as Cocoon's workers and proxies make them: a self-signed Ed25519 key with a quote over it.

Source: tdx.md, section 5. The two extensions are raw bytes, not OCTET STRINGs inside of OCTET STRINGs.
"""

from datetime import datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.x509.oid import ExtendedKeyUsageOID

from attestd.simulator.certificates import (
    ED25519,
    CertificateEdit,
    CertificateForm,
    Extension,
    basic_constraints,
    distinguished_name,
    key_identifier,
    key_usage,
    same_certificate,
    seal,
)
from attestd.simulator.keys import KeyPair
from attestd.simulator.tampering import GENUINE, Signing

TDX_QUOTE: Final = "1.3.6.1.4.1.12345.1"
USER_CLAIMS: Final = "1.3.6.1.4.1.12345.2"

_NAME: Final = distinguished_name(organization_name="TDLib Development", country_name="AE")
_LIFETIME: Final = timedelta(days=1)
_AGE: Final = timedelta(hours=1)


def ra_tls_certificate(
    key: KeyPair,
    quote: bytes,
    at: datetime,
    edit: CertificateEdit = same_certificate,
    *,
    signing: Signing = GENUINE,
) -> bytes:
    """Return a certificate in DER, an hour old, for one day, with `quote` and the key as user claims inside."""
    if not isinstance(key.private, Ed25519PrivateKey):
        raise TypeError("Cocoon's keys are Ed25519")
    form = CertificateForm(
        subject=_NAME,
        issuer=_NAME,
        serial_number=int.from_bytes(key_identifier(key.private)) >> 1,
        not_before=at - _AGE,
        not_after=at - _AGE + _LIFETIME,
        spki=key.spki,
        extensions=(
            basic_constraints(ca=False),
            key_usage("digital_signature"),
            Extension.of(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])),
            Extension(TDX_QUOTE, quote, critical=True),
            Extension(USER_CLAIMS, key.raw, critical=True),
        ),
        signature_algorithm=ED25519,
    )
    return seal(edit(form), key.private, signing)
