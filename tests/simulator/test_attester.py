"""Evidence: what an attester sends is bound to its key, and comes back from the wire as it was."""

from hashlib import sha512
from itertools import pairwise
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, PSS
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256, SHA384
from cryptography.hazmat.primitives.serialization import load_der_public_key

from attestd.binding.verify import verify_binding
from attestd.evidence import QuoteEvidence, RaTlsEvidence, Scheme, dump_evidence_json, load_evidence_json
from attestd.simulator import (
    AT,
    Attester,
    KeyPair,
    Registry,
    SgxReport,
    Signing,
    TdReport,
    Vendor,
    ccel,
    flip,
)
from attestd.simulator.keys import PrivateKey, secret

ATTESTER = Attester.of(Vendor.of())
REGISTRY = Registry()
KEYS = {
    "Ed25519": KeyPair.ed25519(),
    "P-256": KeyPair.p256(),
    "P-384": KeyPair.p384(),
    "X25519": KeyPair.x25519(),
    "RSA": KeyPair.rsa(),
}
MODELS = (b"\2" * 32, b"\1" * 32)


def verify(key: KeyPair, signature: bytes | None, message: bytes) -> None:
    public: Any = load_der_public_key(key.spki)
    match public:
        case Ed25519PublicKey():
            public.verify(signature or b"", message)
        case EllipticCurvePublicKey():
            digest = SHA256() if public.curve.name == "secp256r1" else SHA384()
            public.verify(signature or b"", message, ECDSA(digest))
        case RSAPublicKey():
            public.verify(signature or b"", message, PSS(MGF1(SHA256()), 32), SHA256())
        case _:
            assert signature is None


@pytest.mark.parametrize("name", KEYS)
def test_proofs_of_possession(name: str) -> None:
    key = KEYS[name]
    verify(key, key.sign(b"context"), b"context")


def test_keys_are_those_of_their_names() -> None:
    makers: list[Any] = [KeyPair.ed25519, KeyPair.p256, KeyPair.p384, KeyPair.x25519]
    for make in makers:
        assert make("a").spki == make("a").spki
        assert make("a").spki != make("b").spki
    assert KeyPair.rsa().spki != KeyPair.rsa().spki
    assert KeyPair.ed25519().raw == KeyPair.ed25519().spki[-32:]


def test_secrets_do_not_collide() -> None:
    names = [("a", "bc"), ("ab", "c"), ("", "abc"), ("abc", "")]
    for one, other in pairwise(sorted(secret(seed, name, 32) for seed, name in names)):
        assert one != other


# The other schemes need a proof, which a key-agreement key cannot give.
BINDINGS = [(name, Scheme.ATTESTD_V1) for name in KEYS] + [
    (name, scheme) for name in KEYS if name != "X25519" for scheme in (Scheme.SPKI_SHA256, Scheme.NONCE_AND_KEY)
]


@pytest.mark.parametrize(("name", "scheme"), BINDINGS)
def test_evidence_binds_its_key(name: str, scheme: Scheme) -> None:
    evidence = ATTESTER.evidence(KEYS[name], REGISTRY, MODELS, scheme=scheme)
    cpu = evidence.cpu
    assert isinstance(cpu, QuoteEvidence)
    bound = verify_binding(
        evidence, registry_id=REGISTRY.registry_id, report_data=cpu.quote[568:632], gpu_nonces=(), at=AT
    )
    assert bound.scheme is scheme
    assert load_evidence_json(dump_evidence_json(evidence)) == evidence


def test_evidence_of_cocoon() -> None:
    key = KeyPair.ed25519("worker")
    evidence = ATTESTER.cocoon_evidence(key, REGISTRY, "proxy", MODELS, event_log=ccel())
    cpu = evidence.cpu
    assert isinstance(cpu, RaTlsEvidence)
    assert cpu.event_log == ccel()
    assert cpu.certificate == ATTESTER.cocoon_certificate(key)
    bound = verify_binding(
        evidence, registry_id=REGISTRY.registry_id, report_data=sha512(key.raw).digest(), gpu_nonces=(), at=AT
    )
    assert bound.role == "proxy"
    assert load_evidence_json(dump_evidence_json(evidence)) == evidence


def test_report_data_of_cocoon_outside_of_a_certificate() -> None:
    key = KeyPair.ed25519()
    cpu = ATTESTER.evidence(key, REGISTRY, scheme=Scheme.COCOON).cpu
    assert isinstance(cpu, QuoteEvidence)
    assert cpu.quote[568:632] == sha512(key.raw).digest()


def test_evidence_of_an_enclave() -> None:
    evidence = ATTESTER.evidence(KEYS["P-256"], REGISTRY, body=SgxReport(), event_log=b"log")
    assert isinstance(evidence.cpu, QuoteEvidence)
    assert (evidence.cpu.tee, evidence.cpu.event_log) == ("sgx", b"log")
    assert evidence.cpu.quote[368:432] == REGISTRY.report_data(KEYS["P-256"])


def test_certificate_of_cocoon() -> None:
    key = KeyPair.ed25519("worker")
    certificate = x509.load_der_x509_certificate(ATTESTER.cocoon_certificate(key))
    extensions = {e.oid.dotted_string: e for e in certificate.extensions}
    body = TdReport(report_data=sha512(key.raw).digest())
    quote, claims = extensions["1.3.6.1.4.1.12345.1"], extensions["1.3.6.1.4.1.12345.2"]
    assert (quote.value.public_bytes(), quote.critical) == (ATTESTER.quote(body), True)
    assert (claims.value.public_bytes(), claims.critical) == (key.raw, True)
    assert certificate.subject.rfc4514_string() == "C=AE,O=TDLib Development"
    assert (certificate.not_valid_after_utc - certificate.not_valid_before_utc).days == 1
    assert certificate.not_valid_before_utc < AT < certificate.not_valid_after_utc
    certificate.verify_directly_issued_by(certificate)


def test_certificate_of_cocoon_may_be_wrong() -> None:
    key = KeyPair.ed25519("worker")
    plain = ATTESTER.cocoon_certificate(key)
    flipped = ATTESTER.cocoon_certificate(key, signing=Signing(after=flip(-1)))
    assert flipped == flip(-1)(plain)
    bare = x509.load_der_x509_certificate(
        ATTESTER.cocoon_certificate(key, edit=lambda form: form.without("1.3.6.1.4.1.12345.2"))
    )
    assert len(bare.extensions) == 4
    with pytest.raises(TypeError, match="Ed25519"):
        ATTESTER.cocoon_certificate(KeyPair.p256())


def test_registries_differ() -> None:
    key: KeyPair = KeyPair.ed25519()
    one, other = Registry(), Registry("another")
    assert one.report_data(key) != other.report_data(key)
    assert one.report_data(key, MODELS) == one.report_data(key, MODELS[::-1]) != one.report_data(key)


def test_private_keys_are_of_the_kinds_that_enclaves_have() -> None:
    private: list[PrivateKey] = [key.private for key in KEYS.values()]
    assert len({type(key) for key in private}) == 4
