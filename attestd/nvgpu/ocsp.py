"""Revocation of NVIDIA's certificates: OCSP requests, and answers authenticated (RFC 6960, RFC 8954; nvidia.md, 4.5).

The responders that are known answer for one CA each: with a certificate that this very CA has issued for OCSP signing,
which comes with the answer, ECDSA P-384 with SHA-384, and for a day.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property, reduce
from hashlib import new
from itertools import pairwise
from typing import Final, Self

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.ocsp import OCSPCertStatus, OCSPRequestBuilder
from cryptography.x509.oid import ExtendedKeyUsageOID

from attestd.claims import RevocationState
from attestd.codec import DerElement, load_der_sequence
from attestd.errors import EndorsementRejected, Malformed, NotAuthentic, Reason
from attestd.nvgpu.ocsp_answer import BY_NAME, OcspAnswer, parse_answer
from attestd.validity import Validity
from attestd.x509 import BAD_BYTES, NVIDIA, Certificate, require_window

NONCE_SIZE: Final = 32  # as many octets as RFC 8954, 2.1 allows

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
# What a responder's certificate may have of critical extensions: those that are looked at.
_UNDERSTOOD: Final = frozenset({x509.BasicConstraints.oid, x509.KeyUsage.oid, x509.ExtendedKeyUsage.oid})
# What no policy can allow.
_FINAL: Final = frozenset({RevocationState.REVOKED, RevocationState.UNKNOWN})
# What an answer that has expired leaves. A policy that lets it pass relies on that it was good; revoked stays revoked.
_EXPIRED: Final = {
    RevocationState.GOOD: RevocationState.STALE,
    RevocationState.HOLD: RevocationState.UNKNOWN,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class OcspStatus:
    """What an authentic answer says of one certificate, or that there is none."""

    certificate: bytes  # SHA-256 of it
    state: RevocationState
    validity: Validity | None = None  # of the answer and its responder; None without one in force
    revoked_at: datetime | None = None
    reason: str | None = None  # CRLReason as RFC 5280, 5.3.1 writes it
    digest: bytes | None = None  # SHA-256 of the answer as it came

    @classmethod
    def unanswered(cls, certificate: Certificate) -> Self:
        """Return the status of a certificate for which there is no answer."""
        return cls(certificate=certificate.fingerprint, state=RevocationState.UNAVAILABLE)


@dataclass(frozen=True)
class Revocation:
    """What is known of a whole chain: the status of each certificate that was asked about.

    It is asked at every verdict, and says the same each time but for whether it holds: the rest is made up once.
    """

    statuses: tuple[OcspStatus, ...]

    @cached_property
    def certificates(self) -> tuple[bytes, ...]:
        """SHA-256 of each certificate that was asked about, in the order of the chain."""
        return tuple(status.certificate for status in self.statuses)

    @cached_property
    def states(self) -> tuple[RevocationState, ...]:
        """All that occur, best first, each of which a policy must allow; where nothing was asked, `UNAVAILABLE`."""
        found = {status.state for status in self.statuses} or {RevocationState.UNAVAILABLE}
        return tuple([state for state in RevocationState if state in found])

    @property
    def state(self) -> RevocationState:
        """The worst of them."""
        return self.states[-1]

    @cached_property
    def validity(self) -> Validity | None:
        """The window of all answers that are in force: up to the first `nextUpdate`. None where there are none."""
        windows = [status.validity for status in self.statuses if status.validity is not None]
        return reduce(Validity.narrowed, windows) if windows else None

    @cached_property
    def digests(self) -> tuple[bytes, ...]:
        """SHA-256 of all answers."""
        return tuple(status.digest for status in self.statuses if status.digest is not None)

    def holds_at(self, at: datetime) -> bool:
        """Tell whether the same answers say the same at `at`, no earlier than when they were authenticated."""
        window = self.validity
        return window is None or window.not_before <= at <= window.not_after

    def require_unrevoked(self) -> None:
        """Raise `NotAuthentic` (`gpu.revoked`, `gpu.revocation_unknown`) for what no policy can allow.

        A hold, and answers that are stale or missing, are for the policy.
        """
        if self.state not in _FINAL:
            return
        worst = next(status for status in self.statuses if status.state is self.state)
        certificate = f"certificate {worst.certificate[:8].hex()}…"
        if worst.state is RevocationState.REVOKED:
            raise NotAuthentic(
                Reason.GPU_REVOKED,
                found=f"{certificate} revoked at {worst.revoked_at:%Y-%m-%dT%H:%M:%SZ}, {worst.reason or 'no reason'}",
                wanted="not revoked",
            )
        raise NotAuthentic(
            Reason.GPU_REVOCATION_UNKNOWN, found=f"{certificate} not known to be good", wanted="a good one"
        )


UNASKED: Final = Revocation(())  # what is known of a chain that nobody was asked about


def build_request(certificate: Certificate, issuer: Certificate, nonce: bytes | None) -> bytes:
    """Return an OCSPRequest in DER for one certificate, its CertID with SHA-384 as NVIDIA's own verifier has it.

    `nonce` is 32 random octets, or None where an answer may be an older one. Raises `ValueError` for another size.
    """
    name, key = _issuer_hashes("sha384", certificate, issuer)
    builder = OCSPRequestBuilder().add_certificate_by_hash(name, key, certificate.serial_number, SHA384())
    if nonce is not None:
        if len(nonce) != NONCE_SIZE:
            raise ValueError(f"a nonce of {len(nonce)} octets")
        builder = builder.add_extension(x509.OCSPNonce(nonce), critical=False)
    return builder.build().public_bytes(Encoding.DER)


def verify_answer(
    raw: bytes, certificate: Certificate, issuer: Certificate, at: datetime, nonce: bytes | None = None
) -> OcspStatus:
    """Verify an OCSPResponse in DER about `certificate`, whose authenticated issuer is `issuer`, at the time `at`.

    It holds one statement, which is about this certificate; `issuer` signed it, or whom `issuer` has certified to; it
    repeats `nonce`, where it was asked with one; and `at` lies in its window, both ends included.

    Raises `EndorsementRejected` (`gpu.ocsp_…`), and `Unavailable` (`gpu.ocsp_unavailable`) where the responder says
    that it has no answer, which nobody signs.
    """
    answer = parse_answer(raw)
    if not _is_about(answer, certificate, issuer):
        raise EndorsementRejected(
            Reason.GPU_OCSP_CERTIFICATE,
            found=f"an answer about serial number {answer.serial_number:x}, or of another issuer",
            wanted=f"one about {certificate.serial_number:x} of {issuer.common_name!r}",
        )
    validity = _authenticate(answer, certificate, issuer, at)
    if nonce is not None and answer.nonce != nonce:
        raise EndorsementRejected(
            Reason.GPU_OCSP_NONCE,
            found="no nonce" if answer.nonce is None else "another nonce",
            wanted="the nonce of the request",
        )
    require_window(answer.validity, at, Reason.GPU_OCSP_EXPIRED, Reason.GPU_OCSP_NOT_YET_VALID)
    return _status(answer, certificate, _state(answer), validity)


def authenticate_revocation(path: Sequence[Certificate], answers: Iterable[bytes], at: datetime) -> Revocation:
    """Find and verify what stored answers say of each certificate of an authenticated path but its root.

    `path` is what is to be looked up, each issued by the next, and the root: of a device all but its leaf, of a RIM all
    (nvidia.md, 4.5). Of several answers about one certificate the latest counts that is authentic: anybody can make
    another one. Those about others are passed over.

    Raises as `verify_answer`, where none is authentic; but not where an answer has expired: that is a state.
    """
    loaded = [parse_answer(raw) for raw in answers]
    return Revocation(tuple([_latest(loaded, certificate, issuer, at) for certificate, issuer in pairwise(path)]))


def _latest(answers: Iterable[OcspAnswer], certificate: Certificate, issuer: Certificate, at: datetime) -> OcspStatus:
    about = [answer for answer in answers if _is_about(answer, certificate, issuer)]
    refusal: EndorsementRejected | None = None
    # Of two from one second, the one that says the worse.
    for answer in sorted(about, key=lambda answer: (answer.validity.not_before, _is_bad(answer)), reverse=True):
        try:
            return _authentic_status(answer, certificate, issuer, at)
        except EndorsementRejected as error:
            refusal = refusal or error
    if refusal is not None:
        raise refusal
    return OcspStatus.unanswered(certificate)


def _authentic_status(answer: OcspAnswer, certificate: Certificate, issuer: Certificate, at: datetime) -> OcspStatus:
    # Whoever made an answer that has expired may have expired since.
    validity = _authenticate(answer, certificate, issuer, min(at, answer.validity.not_after))
    state = _state(answer)
    if at > answer.validity.not_after:
        return _status(answer, certificate, _EXPIRED.get(state, state), None)
    require_window(answer.validity, at, Reason.GPU_OCSP_EXPIRED, Reason.GPU_OCSP_NOT_YET_VALID)
    return _status(answer, certificate, state, validity)


def _status(
    answer: OcspAnswer, certificate: Certificate, state: RevocationState, validity: Validity | None
) -> OcspStatus:
    return OcspStatus(
        certificate=certificate.fingerprint,
        state=state,
        validity=validity,
        revoked_at=answer.revoked_at,
        reason=None if answer.reason is None else answer.reason.value,
        digest=answer.digest,
    )


def _state(answer: OcspAnswer) -> RevocationState:
    if answer.status is OCSPCertStatus.GOOD:
        return RevocationState.GOOD
    if answer.status is OCSPCertStatus.UNKNOWN:
        return RevocationState.UNKNOWN
    # On hold since 1970 is what responders say of certificates that were never issued (RFC 6960, 2.2).
    if answer.reason is x509.ReasonFlags.certificate_hold and answer.revoked_at != _EPOCH:
        return RevocationState.HOLD
    return RevocationState.REVOKED


def _is_bad(answer: OcspAnswer) -> bool:
    return answer.status is not OCSPCertStatus.GOOD


def _is_about(answer: OcspAnswer, certificate: Certificate, issuer: Certificate) -> bool:
    """Whether its CertID (RFC 6960, 4.1.1) names this certificate of this issuer's name and key."""
    return (
        answer.serial_number == certificate.serial_number
        and _issuer_hashes(answer.hash_name, certificate, issuer) == answer.issuer_hashes
    )


def _issuer_hashes(hash_name: str, certificate: Certificate, issuer: Certificate) -> tuple[bytes, bytes]:
    """Return the hashes of the issuer's name, in DER, and of its key: the bits without tag, length and unused bits."""
    name = _elements(certificate.signed)[0].content
    return (
        new(hash_name, _elements(name)[3].encoded, usedforsecurity=False).digest(),
        new(hash_name, _key_bits(issuer), usedforsecurity=False).digest(),
    )


def _key_bits(certificate: Certificate) -> bytes:
    return _elements(certificate.spki)[1].content[1:]


def _authenticate(answer: OcspAnswer, certificate: Certificate, issuer: Certificate, at: datetime) -> Validity:
    """Verify who made the answer; return the window in which it counts.

    Nobody but the issuer, and whom the issuer itself has certified, speaks for it (RFC 6960, 4.2.2.2).
    """
    responder = issuer
    if not _is_named(issuer, answer.responder):
        responder = _delegated(answer, certificate, issuer, at)
    if answer.algorithm not in NVIDIA.algorithms or not _has_signed(responder, answer.signature, answer.signed):
        raise EndorsementRejected(
            Reason.GPU_OCSP_SIGNATURE,
            found="a signature that does not verify, or of another algorithm",
            wanted=f"ECDSA P-384 with SHA-384 by {responder.common_name!r}",
        )
    return answer.validity.narrowed(responder.validity)


def _is_named(candidate: Certificate, responder: DerElement) -> bool:
    """Whether a ResponderID is this certificate's name or the SHA-1 of its key."""
    (named,) = _elements(responder.content)
    if responder.tag == BY_NAME:
        return named.content == candidate.subject
    return named.content == new("sha1", _key_bits(candidate), usedforsecurity=False).digest()


def _delegated(answer: OcspAnswer, certificate: Certificate, issuer: Certificate, at: datetime) -> Certificate:
    responder = next((one for one in answer.certificates if _is_named(one, answer.responder)), None)
    if responder is None:
        raise _not_responder("an answer without its responder's certificate", issuer)
    if responder.spki == certificate.spki:
        raise _not_responder("the very certificate that it is about", issuer)
    if (
        responder.issuer != issuer.subject
        or not NVIDIA.has_issued(responder)
        or not _has_signed(issuer, responder.signature, responder.signed)
    ):
        raise _not_responder("a responder that another CA has certified", issuer)
    start, end = responder.validity
    if not start <= at <= end:
        raise _not_responder(f"a responder valid from {start:%Y-%m-%d} to {end:%Y-%m-%d}", issuer)
    if not _may_answer(responder):
        raise _not_responder("a certificate that is not for OCSP signing alone", issuer)
    return responder


def _may_answer(responder: Certificate) -> bool:
    """Whether a certificate is an end entity's, for OCSP signing, and says nothing critical beyond that."""
    try:
        extensions = x509.load_der_x509_certificate(responder.der).extensions
        values = {extension.oid: extension.value for extension in extensions}
        constraints = values.get(x509.BasicConstraints.oid)
        usage, purposes = values.get(x509.KeyUsage.oid), values.get(x509.ExtendedKeyUsage.oid)
    except BAD_BYTES:
        return False
    return (
        (constraints is None or (isinstance(constraints, x509.BasicConstraints) and not constraints.ca))
        and (usage is None or (isinstance(usage, x509.KeyUsage) and usage.digital_signature))
        and isinstance(purposes, x509.ExtendedKeyUsage)
        and ExtendedKeyUsageOID.OCSP_SIGNING in purposes
        and all(extension.oid in _UNDERSTOOD for extension in extensions if extension.critical)
    )


def _has_signed(signer: Certificate, signature: bytes, signed: bytes) -> bool:
    try:
        return NVIDIA.has_signed(signer, signature, signed)
    except Malformed:  # a key of another kind
        return False


def _not_responder(found: str, issuer: Certificate) -> EndorsementRejected:
    return EndorsementRejected(
        Reason.GPU_OCSP_RESPONDER,
        found=found,
        wanted=f"{issuer.common_name!r}, or a certificate in force that it has issued for OCSP signing",
    )


def _elements(content: bytes) -> list[DerElement]:
    return load_der_sequence(content, Reason.GPU_OCSP_MALFORMED)
