"""OCSP answers of a CA of our own: each rule with an answer in which only that is wrong, and signed as it stands."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.hashes import SHA1, SHA256, SHA384
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID

import attestd.nvgpu.ocsp_answer
from attestd.claims import RevocationState
from attestd.codec import load_der_sequence
from attestd.errors import EndorsementRejected, Reason, Unavailable
from attestd.nvgpu.ocsp import (
    NONCE_SIZE,
    OcspStatus,
    Revocation,
    authenticate_revocation,
    build_request,
    verify_answer,
)
from attestd.simulator import (
    CertificateForm,
    Extension,
    basic_constraints,
    flip,
    key_usage,
    p256_key,
    p384_key,
)
from attestd.simulator.certificates import (
    algorithm_identifier,
    authority_key_identifier,
    distinguished_name,
    key_identifier,
    subject_key_identifier,
)
from attestd.simulator.der import bits, enumerated, explicit, integer, octets, oid, sequence
from attestd.simulator.keys import sign, spki
from attestd.validity import Validity
from attestd.x509 import Certificate
from tests.refusals import not_authentic, refused, rejected

AT: Final = datetime(2026, 6, 1, 12, tzinfo=UTC)
SECOND, DAY = timedelta(seconds=1), timedelta(days=1)
ISSUED, ENDS = AT - DAY / 2, AT + DAY / 2
REVOKED_AT: Final = datetime(2026, 5, 1, tzinfo=UTC)
NONCE: Final = bytes(range(32))
ECDSA_SHA384, ECDSA_SHA256 = "1.2.840.10045.4.3.3", "1.2.840.10045.4.3.2"
HASHES: Final = {
    "sha1": "1.3.14.3.2.26",
    "sha256": "2.16.840.1.101.3.4.2.1",
    "sha384": "2.16.840.1.101.3.4.2.2",
    "sha512": "2.16.840.1.101.3.4.2.3",
}
OCSP_SIGNING: Final = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.OCSP_SIGNING])
NOTHING: Final = b"\x05\x00"

CertificateEdit = Callable[[CertificateForm], CertificateForm]


def name(common_name: str) -> bytes:
    return distinguished_name(country_name="US", organization_name="Simulated", common_name=common_name)


def key_of(common_name: str) -> EllipticCurvePrivateKey:
    return p384_key("ocsp", common_name)


def form(
    subject: str, issuer: str, *extensions: Extension, key: EllipticCurvePrivateKey | None = None
) -> CertificateForm:
    own = key or key_of(subject)
    return CertificateForm(
        subject=name(subject),
        issuer=name(issuer),
        serial_number=int.from_bytes(key_identifier(own)[:9]),
        not_before=AT - 30 * DAY,
        not_after=AT + 30 * DAY,
        spki=spki(own),
        extensions=(*extensions, subject_key_identifier(own), authority_key_identifier(key_of(issuer))),
        signature_algorithm=ECDSA_SHA384,
    )


def sealed(
    certificate: CertificateForm, key: EllipticCurvePrivateKey, digest: SHA256 | SHA384 | None = None
) -> Certificate:
    signed = certificate.encode()
    signature = sign(key, signed) if digest is None else key.sign(signed, ECDSA(digest))
    return Certificate(sequence(signed, algorithm_identifier(certificate.signature_algorithm), bits(signature)))


def ca(subject: str, issuer: str) -> Certificate:
    extensions = (basic_constraints(ca=True), key_usage("key_cert_sign", "crl_sign"))
    return sealed(form(subject, issuer, *extensions), key_of(issuer))


ROOT, IDENTITY, PROVISIONER, BROM = ca("Root", "Root"), ca("Identity", "Root"), ca("ICA", "Identity"), ca("BROM", "ICA")
PATH: Final = (BROM, PROVISIONER, IDENTITY, ROOT)
RESPONDER_EXTENSIONS: Final = (
    key_usage("digital_signature"),
    Extension.of(OCSP_SIGNING, critical=True),
    Extension.of(x509.OCSPNoCheck()),
)


def responder(edit: CertificateEdit = lambda form: form, issuer: str = "ICA") -> Certificate:
    """The responder of one CA, which is named after it."""
    return sealed(edit(form(f"Responder {issuer}", issuer, *RESPONDER_EXTENSIONS)), key_of(issuer))


def generalized(at: datetime) -> bytes:
    text = f"{at:%Y%m%d%H%M%SZ}".encode()
    return bytes((0x18, len(text))) + text


GOOD, UNKNOWN = b"\x80\x00", b"\x82\x00"


def revoked(reason: int | None = None, at: datetime = REVOKED_AT) -> bytes:
    content = generalized(at) + (b"" if reason is None else explicit(0, enumerated(reason)))
    return bytes((0xA1, len(content))) + content


HOLD: Final = revoked(6)


def by_name(certificate: Certificate) -> bytes:
    return explicit(1, sequence(certificate.subject))


def key_bits(certificate: Certificate) -> bytes:
    return load_der_sequence(certificate.spki, Reason.DER_MALFORMED)[1].content[1:]


def by_key(certificate: Certificate) -> bytes:
    return explicit(2, octets(hashlib.sha1(key_bits(certificate)).digest()))


RESPONDER: Final = responder()


def nonce(value: bytes = NONCE, *, critical: bool = False) -> Extension:
    return Extension("1.3.6.1.5.5.7.48.1.2", octets(value), critical)


def extensions(tag: int, listed: tuple[Extension, ...]) -> bytes:
    return explicit(tag, sequence(*(extension.encode() for extension in listed))) if listed else b""


@dataclass(frozen=True, kw_only=True)
class SingleForm:
    """What stands in a SingleResponse (RFC 6960, 4.2.1)."""

    certificate: Certificate = BROM
    issuer: Certificate = PROVISIONER
    hash_name: str = "sha384"
    serial_number: int | None = None
    issuer_name: bytes | None = None
    issuer_key: bytes | None = None
    status: bytes = GOOD
    this_update: datetime = ISSUED
    next_update: datetime | None = ENDS
    extensions: tuple[Extension, ...] = ()

    def encode(self) -> bytes:
        cert_id = sequence(
            sequence(oid(HASHES[self.hash_name]), NOTHING),
            octets(hashlib.new(self.hash_name, self.issuer_name or sequence(self.issuer.subject)).digest()),
            octets(hashlib.new(self.hash_name, self.issuer_key or key_bits(self.issuer)).digest()),
            integer(self.certificate.serial_number if self.serial_number is None else self.serial_number),
        )
        until = b"" if self.next_update is None else explicit(0, generalized(self.next_update))
        return sequence(cert_id, self.status, generalized(self.this_update), until, extensions(1, self.extensions))


@dataclass(frozen=True, kw_only=True)
class AnswerForm:
    """What stands in an OCSPResponse, and who signs it."""

    singles: tuple[SingleForm, ...] = (SingleForm(),)
    responder: bytes = by_name(RESPONDER)
    certificates: tuple[bytes, ...] = (RESPONDER.der,)
    extensions: tuple[Extension, ...] = (nonce(),)
    version: bytes = b""
    algorithm: str | bytes = ECDSA_SHA384
    key: EllipticCurvePrivateKey = field(default_factory=lambda: key_of("Responder ICA"))
    digest: SHA256 | SHA384 = field(default_factory=SHA384)
    tampered: Callable[[bytes], bytes] = bytes
    status: int = 0
    kind: str = "1.3.6.1.5.5.7.48.1.1"

    def encode(self) -> bytes:
        signed = sequence(
            self.version,
            self.responder,
            generalized(ISSUED),
            sequence(*(single.encode() for single in self.singles)),
            extensions(1, self.extensions),
        )
        signature = self.key.sign(signed, ECDSA(self.digest))
        certificates = explicit(0, sequence(*self.certificates)) if self.certificates else b""
        basic = sequence(self.tampered(signed), algorithm_identifier(self.algorithm), bits(signature), certificates)
        return sequence(enumerated(self.status), explicit(0, sequence(oid(self.kind), octets(basic))))


def stating(**changes: Any) -> AnswerForm:
    return AnswerForm(singles=(SingleForm(**changes),))


def delegated(certificate: Certificate, key: EllipticCurvePrivateKey | None = None) -> AnswerForm:
    """The answer of another responder."""
    changed = AnswerForm(responder=by_name(certificate), certificates=(certificate.der,))
    return changed if key is None else replace(changed, key=key)


def verified(answer: AnswerForm | bytes, at: datetime = AT, asked: bytes | None = NONCE) -> OcspStatus:
    raw = answer if isinstance(answer, bytes) else answer.encode()
    return verify_answer(raw, BROM, PROVISIONER, at, asked)


# Requests


def test_request() -> None:
    request = ocsp.load_der_ocsp_request(build_request(BROM, PROVISIONER, NONCE))
    expected = (
        ocsp.OCSPRequestBuilder()
        .add_certificate(
            x509.load_der_x509_certificate(BROM.der), x509.load_der_x509_certificate(PROVISIONER.der), SHA384()
        )
        .add_extension(x509.OCSPNonce(NONCE), critical=False)
        .build()
    )
    assert request.public_bytes(Encoding.DER) == expected.public_bytes(Encoding.DER)


def test_request_without_a_nonce() -> None:
    assert not ocsp.load_der_ocsp_request(build_request(BROM, PROVISIONER, None)).extensions


@pytest.mark.parametrize("size", [0, NONCE_SIZE - 1, NONCE_SIZE + 1])
def test_nonce_of_another_size(size: int) -> None:
    with pytest.raises(ValueError, match=f"{size} octets"):
        build_request(BROM, PROVISIONER, bytes(size))


# What is stated


def test_good() -> None:
    raw = AnswerForm().encode()
    assert verified(raw) == OcspStatus(
        certificate=BROM.fingerprint,
        state=RevocationState.GOOD,
        validity=Validity(ISSUED, ENDS),
        digest=hashlib.sha256(raw).digest(),
    )


@pytest.mark.parametrize(
    ("status", "state", "revoked_at", "reason"),
    [
        (UNKNOWN, RevocationState.UNKNOWN, None, None),
        (revoked(), RevocationState.REVOKED, REVOKED_AT, None),
        (revoked(1), RevocationState.REVOKED, REVOKED_AT, "keyCompromise"),
        (revoked(8), RevocationState.REVOKED, REVOKED_AT, "removeFromCRL"),
        (HOLD, RevocationState.HOLD, REVOKED_AT, "certificateHold"),
        (
            revoked(6, datetime(1970, 1, 1, tzinfo=UTC)),
            RevocationState.REVOKED,
            datetime(1970, 1, 1, tzinfo=UTC),
            "certificateHold",
        ),
    ],
    ids=["unknown", "revoked", "key compromise", "removed from a CRL", "hold", "never issued"],
)
def test_not_good(status: bytes, state: RevocationState, revoked_at: datetime | None, reason: str | None) -> None:
    found = verified(stating(status=status))
    stated = replace(AnswerForm(), singles=(SingleForm(status=status),))
    assert (found.state, found.revoked_at, found.reason) == (state, revoked_at, reason)
    assert verified(stated).state is state


@pytest.mark.parametrize("hash_name", ["sha1", "sha256", "sha384"])
def test_cert_id_hashes(hash_name: str) -> None:
    assert verified(stating(hash_name=hash_name)).state is RevocationState.GOOD


def test_answer_of_another_implementation() -> None:
    """The library's own builder makes an answer that is verified, with the certificate's hashes as it counts them."""
    signer = x509.load_der_x509_certificate(RESPONDER.der)
    answer = (
        ocsp.OCSPResponseBuilder()
        .add_response(
            x509.load_der_x509_certificate(BROM.der),
            x509.load_der_x509_certificate(PROVISIONER.der),
            SHA1(),
            ocsp.OCSPCertStatus.GOOD,
            ISSUED,
            ENDS,
            None,
            None,
        )
        .responder_id(ocsp.OCSPResponderEncoding.HASH, signer)
        .certificates([signer])
        .add_extension(x509.OCSPNonce(NONCE), critical=False)
        .sign(key_of("Responder ICA"), SHA384())
    )
    assert verified(answer.public_bytes(Encoding.DER)).state is RevocationState.GOOD


# Whom it is about


@pytest.mark.parametrize(
    "change",
    [
        {"serial_number": BROM.serial_number + 1},
        {"issuer_name": sequence(IDENTITY.subject)},
        {"issuer_key": key_bits(IDENTITY)},
        {"certificate": PROVISIONER, "issuer": IDENTITY},
    ],
    ids=["serial number", "issuer's name", "issuer's key", "another certificate"],
)
def test_about_another_certificate(change: dict[str, Any]) -> None:
    with rejected(Reason.GPU_OCSP_CERTIFICATE):
        verified(stating(**change))


def test_two_statements() -> None:
    with rejected(Reason.GPU_OCSP_MALFORMED):
        verified(AnswerForm(singles=(SingleForm(), SingleForm(status=HOLD))))


def test_no_statement() -> None:
    with rejected(Reason.GPU_OCSP_MALFORMED):
        verified(AnswerForm(singles=()))


# Who says so


@pytest.mark.parametrize("named", [by_name, by_key])
def test_issuer_itself(named: Callable[[Certificate], bytes]) -> None:
    answer = AnswerForm(responder=named(PROVISIONER), certificates=(), key=key_of("ICA"))
    assert verified(answer).state is RevocationState.GOOD


@pytest.mark.parametrize("named", [by_name, by_key])
def test_delegated_responder(named: Callable[[Certificate], bytes]) -> None:
    answer = AnswerForm(responder=named(RESPONDER), certificates=(PROVISIONER.der, RESPONDER.der))
    assert verified(answer).state is RevocationState.GOOD


@pytest.mark.parametrize(
    "answer",
    [
        AnswerForm(certificates=()),
        AnswerForm(responder=by_name(BROM)),
        AnswerForm(responder=by_key(BROM)),
    ],
    ids=["no certificate", "another name", "another key"],
)
def test_responder_that_is_not_here(answer: AnswerForm) -> None:
    with rejected(Reason.GPU_OCSP_RESPONDER):
        verified(answer)


def test_responder_of_the_next_ca_up() -> None:
    """An ancestor certifies responders for its own certificates, not for those of the CAs below it."""
    with rejected(Reason.GPU_OCSP_RESPONDER):
        verified(delegated(responder(issuer="Identity"), key_of("Responder Identity")))


def test_ancestor_itself() -> None:
    with rejected(Reason.GPU_OCSP_RESPONDER):
        verified(delegated(IDENTITY, key_of("Identity")))


def test_forged_responder() -> None:
    forged = sealed(form("Responder ICA", "ICA", *RESPONDER_EXTENSIONS), key_of("mallory"))
    with rejected(Reason.GPU_OCSP_RESPONDER):
        verified(delegated(forged))


def test_responder_with_the_name_of_another_issuer() -> None:
    with rejected(Reason.GPU_OCSP_RESPONDER):
        verified(delegated(responder(lambda form: replace(form, issuer=name("Identity")))))


@pytest.mark.parametrize("digest", [SHA256(), SHA384()], ids=["another", "named so alone"])
def test_responder_certified_with_another_algorithm(digest: SHA256 | SHA384) -> None:
    changed = replace(form("Responder ICA", "ICA", *RESPONDER_EXTENSIONS), signature_algorithm=ECDSA_SHA256)
    with rejected(Reason.GPU_OCSP_RESPONDER):
        verified(delegated(sealed(changed, key_of("ICA"), digest)))


def test_certificate_that_vouches_for_itself() -> None:
    """Neither a CA of the chain that is looked up, nor what a careless CA let sign answers as well."""
    with rejected(Reason.GPU_OCSP_RESPONDER):
        verified(delegated(BROM, key_of("BROM")))
    own = sealed(form("BROM", "ICA", *RESPONDER_EXTENSIONS), key_of("ICA"))
    raw = replace(delegated(own, key_of("BROM")), singles=(SingleForm(certificate=own),)).encode()
    with rejected(Reason.GPU_OCSP_RESPONDER):
        verify_answer(raw, own, PROVISIONER, AT, NONCE)
    other = sealed(form("Other", "ICA"), key_of("ICA"))
    raw = replace(delegated(own, key_of("BROM")), singles=(SingleForm(certificate=other),)).encode()
    assert verify_answer(raw, other, PROVISIONER, AT, NONCE).state is RevocationState.GOOD


@pytest.mark.parametrize(
    "edit",
    [
        lambda form: form.without("2.5.29.37"),
        lambda form: form.having(Extension.of(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]))),
        lambda form: form.having(Extension.of(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE]))),
        lambda form: form.having(Extension("2.5.29.37", b"\x05\x00")),
        lambda form: form.having(key_usage("key_cert_sign")),
        lambda form: form.having(basic_constraints(ca=True)),
        lambda form: form.having(Extension("1.2.3.4", b"\x05\x00", critical=True)),
    ],
    ids=["none", "another", "any", "broken", "key usage", "a CA", "unknown critical extension"],
)
def test_responder_for_another_purpose(edit: CertificateEdit) -> None:
    with rejected(Reason.GPU_OCSP_RESPONDER):
        verified(delegated(responder(edit)))


@pytest.mark.parametrize(
    "edit",
    [
        lambda form: form.without("2.5.29.15"),
        lambda form: form.having(basic_constraints(ca=False)),
        lambda form: form.having(Extension("1.2.3.4", b"\x05\x00")),
    ],
    ids=["no key usage", "basic constraints", "unknown extension"],
)
def test_responder_that_says_more_or_less(edit: CertificateEdit) -> None:
    assert verified(delegated(responder(edit))).state is RevocationState.GOOD


def test_window_of_the_responder() -> None:
    def until(start: datetime, end: datetime) -> AnswerForm:
        return delegated(responder(lambda form: replace(form, not_before=start, not_after=end)))

    assert verified(until(AT, AT + SECOND)).validity == Validity(AT, AT + SECOND)
    assert verified(until(AT - SECOND, AT)).validity == Validity(AT - SECOND, AT)
    for start, end in ((AT + SECOND, AT + DAY), (AT - DAY, AT - SECOND)):
        with rejected(Reason.GPU_OCSP_RESPONDER):
            verified(until(start, end))


# The signature


@pytest.mark.parametrize(
    "answer",
    [
        AnswerForm(tampered=lambda signed: signed.replace(GOOD + b"\x18", UNKNOWN + b"\x18")),
        AnswerForm(key=key_of("mallory")),
        AnswerForm(digest=SHA256()),
        AnswerForm(digest=SHA256(), algorithm=ECDSA_SHA256),
        AnswerForm(algorithm=ECDSA_SHA256),
        AnswerForm(responder=by_name(PROVISIONER), key=key_of("mallory")),
    ],
    ids=["changed", "another key", "another digest", "another algorithm", "name alone", "issuer's"],
)
def test_signature(answer: AnswerForm) -> None:
    with rejected(Reason.GPU_OCSP_SIGNATURE):
        verified(answer)


def test_responder_with_a_key_of_another_kind() -> None:
    key = p256_key("ocsp", "responder")
    short = sealed(form("Responder ICA", "ICA", *RESPONDER_EXTENSIONS, key=key), key_of("ICA"))
    with rejected(Reason.GPU_OCSP_SIGNATURE):
        verified(delegated(short, key))


def test_every_bit_of_an_answer() -> None:
    raw = AnswerForm().encode()
    for bit in range(8 * len(raw)):
        with pytest.raises((EndorsementRejected, Unavailable)):
            verified(flip(bit // 8, bit % 8)(raw))


# When


def test_window() -> None:
    assert verified(AnswerForm(), ISSUED).state is RevocationState.GOOD
    assert verified(AnswerForm(), ENDS).state is RevocationState.GOOD
    with rejected(Reason.GPU_OCSP_NOT_YET_VALID):
        verified(AnswerForm(), ISSUED - SECOND)
    with rejected(Reason.GPU_OCSP_EXPIRED):
        verified(AnswerForm(), ENDS + SECOND)


def test_no_end() -> None:
    with rejected(Reason.GPU_OCSP_MALFORMED):
        verified(stating(next_update=None))


# Nonces


@pytest.mark.parametrize("critical", [True, False])
def test_nonce(critical: bool) -> None:
    assert verified(AnswerForm(extensions=(nonce(critical=critical),))).state is RevocationState.GOOD


@pytest.mark.parametrize(
    "listed",
    [
        (),
        (nonce(bytes(32)),),
        (nonce(NONCE[:31]),),
        (nonce(NONCE + b"\0"),),
        (Extension("1.3.6.1.5.5.7.48.1.2", NOTHING),),
    ],
    ids=["none", "zero", "short", "long", "no octets"],
)
def test_nonce_missing_or_wrong(listed: tuple[Extension, ...]) -> None:
    with rejected(Reason.GPU_OCSP_NONCE):
        verified(AnswerForm(extensions=listed))
    assert verified(AnswerForm(extensions=listed), asked=None).state is RevocationState.GOOD


def test_nonce_of_the_statement_is_none_of_the_answer() -> None:
    with rejected(Reason.GPU_OCSP_NONCE, Reason.GPU_OCSP_MALFORMED):
        verified(AnswerForm(singles=(SingleForm(extensions=(nonce(),)),), extensions=()))


# The form


def test_unknown_extensions() -> None:
    unknown = Extension("1.2.3.4", b"\x05\x00")
    accepted = AnswerForm(extensions=(nonce(), unknown), singles=(SingleForm(extensions=(unknown,)),))
    assert verified(accepted).state is RevocationState.GOOD
    critical = replace(unknown, critical=True)
    for answer in (AnswerForm(extensions=(nonce(), critical)), stating(extensions=(critical,))):
        with rejected(Reason.GPU_OCSP_MALFORMED):
            verified(answer)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\x30\x00",
        b"not an answer",
        AnswerForm().encode()[:-1],
        AnswerForm().encode() + b"\0",
        AnswerForm(kind="1.3.6.1.5.5.7.48.1.2"),
        AnswerForm(version=explicit(0, integer(1))),
        AnswerForm(extensions=(nonce(), nonce())),
        AnswerForm(algorithm=sequence(oid(ECDSA_SHA384), NOTHING)),
        AnswerForm(certificates=(b"\x30\x00",)),
        AnswerForm(certificates=(RESPONDER.der, sequence(integer(1)))),
        stating(hash_name="sha512"),
        stating(status=revoked(7)),
        stating(status=b"\x83\x00"),
    ],
    ids=[
        "nothing",
        "an empty sequence",
        "text",
        "cut short",
        "trailing byte",
        "another type of response",
        "another version",
        "two nonces",
        "an algorithm with parameters",
        "no certificate",
        "no certificate beside one",
        "another hash",
        "no reason",
        "no status",
    ],
)
def test_malformed(answer: AnswerForm | bytes) -> None:
    with rejected(Reason.GPU_OCSP_MALFORMED):
        verified(answer)


def test_signature_with_unused_bits() -> None:
    """A last bit that is zero may be left out of a BIT STRING, and would be another way to write the same signature."""
    raw = AnswerForm().encode()
    while (signature := attestd.nvgpu.ocsp_answer.parse_answer(raw).signature)[-1] & 1:
        raw = AnswerForm().encode()  # every second one has it
    assert verified(raw).state is RevocationState.GOOD
    assert raw.count(b"\0" + signature) == 1
    with rejected(Reason.GPU_OCSP_MALFORMED):
        verified(raw.replace(b"\0" + signature, b"\1" + signature))


def test_size(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = AnswerForm().encode()
    assert len(raw) < attestd.nvgpu.ocsp_answer.MAX_OCSP_ANSWER_SIZE / 4
    monkeypatch.setattr(attestd.nvgpu.ocsp_answer, "MAX_OCSP_ANSWER_SIZE", len(raw))
    assert verified(raw).state is RevocationState.GOOD
    monkeypatch.setattr(attestd.nvgpu.ocsp_answer, "MAX_OCSP_ANSWER_SIZE", len(raw) - 1)
    with rejected(Reason.GPU_OCSP_MALFORMED):
        verified(raw)


@pytest.mark.parametrize("status", [1, 2, 3, 5, 6])
def test_responder_without_an_answer(status: int) -> None:
    with refused(Unavailable, Reason.GPU_OCSP_UNAVAILABLE):
        verified(sequence(enumerated(status)))
    # What is not successful has no answer, whatever stands beside it.
    with refused(Unavailable, Reason.GPU_OCSP_UNAVAILABLE):
        verified(AnswerForm(status=status))


# Whole chains


def answers_for(
    *changes: dict[str, Any], path: tuple[Certificate, ...] = PATH, names: tuple[str, ...] = ("ICA", "Identity", "Root")
) -> list[bytes]:
    """One answer per certificate of the path, from the responder of its issuer."""
    listed = []
    for place, issuer_name in enumerate(names):
        change = changes[place] if place < len(changes) else {}
        signer = responder(issuer=issuer_name)
        listed.append(
            AnswerForm(
                singles=(SingleForm(**{"certificate": path[place], "issuer": path[place + 1], **change}),),
                responder=by_key(signer),
                certificates=(signer.der,),
                key=key_of(f"Responder {issuer_name}"),
                extensions=(),
            ).encode()
        )
    return listed


def test_chain() -> None:
    answers = answers_for({}, {"next_update": AT + SECOND}, {"this_update": AT - SECOND})
    revocation = authenticate_revocation(PATH, reversed(answers), AT)
    assert [status.certificate for status in revocation.statuses] == [one.fingerprint for one in PATH[:-1]]
    assert revocation.state is RevocationState.GOOD
    assert revocation.states == (RevocationState.GOOD,)
    assert revocation.validity == Validity(AT - SECOND, AT + SECOND)
    assert revocation.digests == tuple(hashlib.sha256(answer).digest() for answer in answers)
    revocation.require_unrevoked()


def test_unavailable() -> None:
    revocation = authenticate_revocation(PATH, answers_for()[1:], AT)
    assert revocation.statuses[0] == OcspStatus.unanswered(BROM)
    assert revocation.states == (RevocationState.GOOD, RevocationState.UNAVAILABLE)
    assert revocation.state is RevocationState.UNAVAILABLE
    assert len(revocation.digests) == 2
    revocation.require_unrevoked()


@pytest.mark.parametrize("path", [(), PATH[:1], PATH[-1:]])
def test_nothing_asked_is_not_good(path: tuple[Certificate, ...]) -> None:
    revocation = authenticate_revocation(path, answers_for(), AT)
    assert revocation == Revocation(())
    assert revocation.state is RevocationState.UNAVAILABLE
    assert revocation.states == (RevocationState.UNAVAILABLE,)
    assert revocation.validity is None
    assert revocation.digests == ()
    revocation.require_unrevoked()


@pytest.mark.parametrize(
    ("status", "state"),
    [
        (GOOD, RevocationState.STALE),
        (HOLD, RevocationState.UNKNOWN),
        (UNKNOWN, RevocationState.UNKNOWN),
        (revoked(1), RevocationState.REVOKED),
    ],
    ids=["good", "hold", "unknown", "revoked"],
)
def test_expired_answers(status: bytes, state: RevocationState) -> None:
    answers = answers_for({"status": status})
    assert authenticate_revocation(PATH, answers, ENDS + SECOND).statuses[0].state is state
    assert authenticate_revocation(PATH, answers_for({"next_update": AT}), AT).state is RevocationState.GOOD
    stale = authenticate_revocation(PATH, answers_for({"next_update": AT - SECOND}), AT)
    assert stale.states == (RevocationState.GOOD, RevocationState.STALE)
    assert stale.validity == Validity(ISSUED, ENDS)
    assert stale.statuses[0].validity is None


def test_what_answers_say_holds_while_all_are_in_force() -> None:
    revocation = authenticate_revocation(PATH, answers_for({"next_update": AT + SECOND}), AT)
    assert [revocation.holds_at(at) for at in (ISSUED - SECOND, ISSUED, AT + SECOND, AT + 2 * SECOND)] == [
        False,
        True,
        True,
        False,
    ]
    assert Revocation(()).holds_at(AT)


def test_answer_of_the_future() -> None:
    with rejected(Reason.GPU_OCSP_NOT_YET_VALID):
        authenticate_revocation(PATH, answers_for({"this_update": AT + SECOND}), AT)


def test_forged_answer_of_a_chain() -> None:
    forged = replace(stating(), key=key_of("mallory")).encode()
    with rejected(Reason.GPU_OCSP_SIGNATURE):
        authenticate_revocation(PATH, [forged, *answers_for()[1:]], AT)


def test_forged_answer_beside_an_authentic_one() -> None:
    forged = replace(stating(this_update=ISSUED + SECOND, status=GOOD), key=key_of("mallory")).encode()
    held = answers_for({"status": HOLD})
    for answers in ([forged, *held], [*held, forged]):
        assert authenticate_revocation(PATH, answers, AT).statuses[0].state is RevocationState.HOLD
    with rejected(Reason.GPU_OCSP_SIGNATURE):
        authenticate_revocation(PATH, [replace(stating(), key=key_of("mallory")).encode(), forged], AT)


def test_responder_of_an_expired_answer_may_have_expired() -> None:
    ends = AT - SECOND
    short = delegated(responder(lambda form: replace(form, not_after=ends)))
    stale = replace(short, singles=(SingleForm(next_update=ends),)).encode()
    assert authenticate_revocation(PATH[:2], [stale], AT).state is RevocationState.STALE
    with rejected(Reason.GPU_OCSP_RESPONDER):
        authenticate_revocation(PATH[:2], [replace(short, singles=(SingleForm(next_update=AT),)).encode()], AT)


@pytest.mark.parametrize("after", range(1, 9))
def test_the_latest_answer_counts(after: int) -> None:
    later: dict[str, Any] = {"this_update": ISSUED + after * SECOND}
    revoked_later = answers_for(later | {"status": revoked(1), "next_update": AT - SECOND})
    for answers in ([*answers_for(), *revoked_later], [*revoked_later, *answers_for()]):
        assert authenticate_revocation(PATH, answers, AT).state is RevocationState.REVOKED
    lifted = [*answers_for({"status": HOLD}), *answers_for(later)]
    assert authenticate_revocation(PATH, lifted, AT).state is RevocationState.GOOD


def test_of_answers_from_one_second_the_worse_counts() -> None:
    good, bad = answers_for(), answers_for({"status": revoked(1)})
    for answers in ([*good, *bad], [*bad, *good]):
        assert authenticate_revocation(PATH, answers, AT).state is RevocationState.REVOKED


STATES: Final[dict[RevocationState, dict[str, Any]]] = {
    RevocationState.GOOD: {},
    RevocationState.HOLD: {"status": HOLD},
    RevocationState.STALE: {"next_update": AT - SECOND},
    RevocationState.UNKNOWN: {"status": UNKNOWN},
    RevocationState.REVOKED: {"status": revoked(1)},
}


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        (RevocationState.GOOD, RevocationState.HOLD),
        (RevocationState.HOLD, RevocationState.STALE),
        (RevocationState.STALE, RevocationState.UNAVAILABLE),
        (RevocationState.UNAVAILABLE, RevocationState.UNKNOWN),
        (RevocationState.UNKNOWN, RevocationState.REVOKED),
    ],
)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_worst_state_wins(better: RevocationState, worse: RevocationState, place: int) -> None:
    changes = [STATES.get(better, {})] * 3
    changes[place] = STATES.get(worse, {})
    answers: list[bytes | None] = [*answers_for(*changes)]
    for index, state in enumerate([worse if index == place else better for index in range(3)]):
        if state is RevocationState.UNAVAILABLE:
            answers[index] = None
    revocation = authenticate_revocation(PATH, [answer for answer in answers if answer is not None], AT)
    assert revocation.state is worse
    assert revocation.states == (better, worse)


@pytest.mark.parametrize(
    ("state", "reason"),
    [(RevocationState.UNKNOWN, Reason.GPU_REVOCATION_UNKNOWN), (RevocationState.REVOKED, Reason.GPU_REVOKED)],
)
def test_no_policy_allows(state: RevocationState, reason: Reason) -> None:
    revocation = authenticate_revocation(PATH, answers_for({}, STATES[state]), AT)
    with not_authentic(reason):
        revocation.require_unrevoked()


def test_revoked_without_a_reason() -> None:
    with not_authentic(Reason.GPU_REVOKED):
        authenticate_revocation(PATH, answers_for({"status": revoked()}, {"status": UNKNOWN}), AT).require_unrevoked()


def test_a_hold_is_for_the_policy() -> None:
    revocation = authenticate_revocation(PATH, answers_for({"status": HOLD}), AT)
    revocation.require_unrevoked()
    assert revocation.states == (RevocationState.GOOD, RevocationState.HOLD)
