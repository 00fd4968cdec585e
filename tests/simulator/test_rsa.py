"""RSA keys from a seed, and signatures with a salt from the message: both are as RFC 8017 has them."""

from hashlib import sha256, sha384
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, PSS
from cryptography.hazmat.primitives.hashes import SHA256, SHA384

from attestd.simulator import KeyPair, Signing, rsa_key, sign_pss
from attestd.simulator import rsa as module
from attestd.simulator.keys import p384_key, sign
from attestd.simulator.rsa import _STEPS


@pytest.mark.parametrize(("seed", "name", "bits"), _STEPS)
def test_listed_keys_are_sound(seed: str, name: str, bits: int) -> None:
    key = rsa_key(seed, name, bits)
    assert key.key_size == bits
    # OpenSSL tests both primes and that all numbers belong together.
    checked = key.private_numbers().private_key()
    message = b"message"
    checked.public_key().verify(sign_pss(key, message), message, PSS(MGF1(SHA384()), 48), SHA384())


def test_keys_differ() -> None:
    moduli = {rsa_key(*listed).public_key().public_numbers().n for listed in _STEPS}
    assert len(moduli) == len(_STEPS)


@pytest.mark.parametrize(("name", "bits"), [("vtpm ak", 2048), ("vtpm ak", 1024), ("anything", 1024)])
def test_what_is_listed_is_what_is_found(monkeypatch: pytest.MonkeyPatch, name: str, bits: int) -> None:
    """A key of any name can be made; listing it only saves the time to look for its primes."""
    listed = rsa_key("attestd", name, bits)
    monkeypatch.setattr(module, "_STEPS", {})
    found = rsa_key.__wrapped__("attestd", name, bits)
    assert found.private_numbers() == listed.private_numbers()
    found.private_numbers().private_key()


@pytest.mark.parametrize("salt_size", [0, 20, 48])
@pytest.mark.parametrize(("digest", "algorithm"), [("sha256", SHA256()), ("sha384", SHA384())])
def test_pss(digest: Any, algorithm: Any, salt_size: int) -> None:
    key = rsa_key("attestd", "vtpm ak", 2048)
    signature = sign_pss(key, b"message", digest, salt_size)
    key.public_key().verify(signature, b"message", PSS(MGF1(algorithm), salt_size), algorithm)
    assert sign_pss(key, b"message", digest, salt_size) == signature
    for wrong, size in ((b"massage", salt_size), (b"message", salt_size + 1)):
        with pytest.raises(InvalidSignature):
            key.public_key().verify(signature, wrong, PSS(MGF1(algorithm), size), algorithm)


def test_signing_of_certificates() -> None:
    key = rsa_key("attestd", "ark Genoa")
    assert sign(key, b"message") == Signing().der(key, b"message") == sign_pss(key, b"message")
    assert Signing(make=lambda signed: sha256(signed).digest()).der(key, b"message") == sha256(b"message").digest()


def test_reports_and_tpm_quotes_are_signed_with_keys_of_their_kinds() -> None:
    ed25519: Any = KeyPair.ed25519().private
    with pytest.raises(TypeError, match="ECDSA"):
        Signing(key=ed25519).p384(p384_key("tests", "vek"), b"")
    with pytest.raises(TypeError, match="RSA"):
        Signing(key=ed25519).pkcs1(rsa_key("attestd", "vtpm ak", 2048), b"")
    signature = sha384(b"").digest() * 2
    assert Signing(signature=signature).p384(p384_key("tests", "vek"), b"") == signature
