"""OCSP answers as forms whose every field may be filled in otherwise.

Source: RFC 6960, 4.2.1; RFC 9654 for the nonce.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from hashlib import new
from typing import Final, Literal, TypeAlias

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

from attestd.simulator import der
from attestd.simulator.certificates import (
    ECDSA_WITH_SHA384,
    EcAuthority,
    Extension,
    algorithm_identifier,
    key_identifier,
)
from attestd.simulator.tampering import GENUINE, Signing

Digest: TypeAlias = Literal["sha1", "sha256", "sha384"]
State: TypeAlias = Literal["good", "hold", "revoked", "unknown"]

BASIC: Final = "1.3.6.1.5.5.7.48.1.1"
NONCE: Final = "1.3.6.1.5.5.7.48.1.2"

_DIGESTS: Final[dict[Digest, str]] = {
    "sha1": "1.3.14.3.2.26",
    "sha256": "2.16.840.1.101.3.4.2.1",
    "sha384": "2.16.840.1.101.3.4.2.2",
}
_CERTIFICATE_HOLD: Final = 6
_KEY_COMPROMISE: Final = 1
_AGE: Final = timedelta(hours=1)
_LIFETIME: Final = timedelta(hours=24)


def cert_id(certificate: EcAuthority, issuer: EcAuthority, digest: Digest = "sha384") -> bytes:
    """Return CertID: which certificate is asked about."""
    # The key is the content of the BIT STRING, without the octet that counts unused bits: for P-384, 97 octets.
    key = issuer.form.spki[-97:]
    return der.sequence(
        der.sequence(der.oid(_DIGESTS[digest]), der.null()),
        der.octets(new(digest, issuer.form.subject).digest()),
        der.octets(new(digest, key).digest()),
        der.integer(certificate.serial_number),
    )


def by_key(key: EllipticCurvePrivateKey) -> bytes:
    """Return ResponderID by the key's identifier."""
    return der.explicit(2, der.octets(key_identifier(key)))


def by_name(name: bytes) -> bytes:
    """Return ResponderID by the responder's name."""
    return der.explicit(1, name)


@dataclass(frozen=True, kw_only=True)
class SingleAnswer:
    """What is said of one certificate (SingleResponse)."""

    cert_id: bytes
    state: State
    this_update: datetime
    next_update: datetime | None
    revoked_at: datetime
    reason: int | None = None  # CRLReason; None: what belongs to the state
    extensions: tuple[Extension, ...] = ()

    def encode(self) -> bytes:
        """Return SingleResponse."""
        next_update = b"" if self.next_update is None else der.explicit(0, der.generalized_time(self.next_update))
        return der.sequence(
            self.cert_id, self._status(), der.generalized_time(self.this_update), next_update, *_list(self.extensions)
        )

    def _status(self) -> bytes:
        if self.state in {"good", "unknown"}:
            return der.implicit(0 if self.state == "good" else 2, b"")
        reason = _CERTIFICATE_HOLD if self.state == "hold" else _KEY_COMPROMISE
        reason = reason if self.reason is None else self.reason
        return der.explicit(1, der.generalized_time(self.revoked_at) + der.explicit(0, der.enumerated(reason)))


@dataclass(frozen=True, kw_only=True)
class OcspForm:
    """An answer (OCSPResponse with BasicOCSPResponse)."""

    responder_id: bytes
    produced_at: datetime
    answers: tuple[SingleAnswer, ...]
    certificates: tuple[bytes, ...]
    extensions: tuple[Extension, ...] = ()
    response_status: int = 0  # successful; any other has nothing with it
    response_type: str = BASIC
    signature_algorithm: str | bytes = ECDSA_WITH_SHA384

    def single(self, edit: Callable[[SingleAnswer], SingleAnswer]) -> "OcspForm":
        """Return the form with another word on the first certificate."""
        return replace(self, answers=(edit(self.answers[0]), *self.answers[1:]))

    def encode(self) -> bytes:
        """Return ResponseData."""
        return der.sequence(
            self.responder_id,
            der.generalized_time(self.produced_at),
            der.sequence(*(answer.encode() for answer in self.answers)),
            *_list(self.extensions),
        )


OcspEdit: TypeAlias = Callable[[OcspForm], OcspForm]


def _list(extensions: tuple[Extension, ...]) -> tuple[bytes, ...]:
    return (der.explicit(1, der.sequence(*(one.encode() for one in extensions))),) if extensions else ()


def nonce_extension(nonce: bytes) -> Extension:
    """Return the nonce of the request, as the answer repeats it."""
    return Extension(NONCE, der.octets(nonce))


def same_answer(form: OcspForm) -> OcspForm:
    """Leave the form as it is."""
    return form


def seal_ocsp(form: OcspForm, key: EllipticCurvePrivateKey, signing: Signing) -> bytes:
    """Return the signed answer in DER."""
    status = der.enumerated(form.response_status)
    if form.response_status:
        return signing.after(der.sequence(status))
    signed = signing.before(form.encode())
    certificates = der.explicit(0, der.sequence(*form.certificates)) if form.certificates else b""
    basic = der.sequence(
        signed,
        algorithm_identifier(form.signature_algorithm),
        der.bits(signing.der(key, signed)),
        certificates,
    )
    answer = der.sequence(der.oid(form.response_type), der.octets(basic))
    return signing.after(der.sequence(status, der.explicit(0, answer)))


@dataclass(frozen=True, kw_only=True)
class OcspResponder:
    """Answers for a CA: with a certificate that the CA has issued to it, or as the CA itself."""

    issuer: EcAuthority
    responder: EcAuthority
    at: datetime

    def answer(
        self,
        certificate: EcAuthority,
        state: State = "good",
        *,
        nonce: bytes | None = None,
        digest: Digest = "sha384",
        edit: OcspEdit = same_answer,
        signing: Signing = GENUINE,
    ) -> bytes:
        """Return the answer on a certificate of the CA's, an hour old and good for a day."""
        is_delegated = self.responder.der != self.issuer.der
        this_update = self.at - _AGE
        single = SingleAnswer(
            cert_id=cert_id(certificate, self.issuer, digest),
            state=state,
            this_update=this_update,
            next_update=this_update + _LIFETIME,
            revoked_at=this_update - _LIFETIME,
        )
        form = OcspForm(
            responder_id=by_key(self.responder.key),
            produced_at=this_update,
            answers=(single,),
            certificates=(self.responder.der,) if is_delegated else (),
            extensions=() if nonce is None else (nonce_extension(nonce),),
        )
        return seal_ocsp(edit(form), self.responder.key, signing)
