"""The published vectors of the bindings, made by a second implementation that shares no line with attestd.

python -m tests.binding_vectors writes them to fixtures/binding-vectors.json; tests/test_binding.py holds the file to
this module and attestd to the file. All keys here are public test keys.
"""

import json
from functools import cache
from hashlib import sha256, sha512
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa, x25519
from cryptography.hazmat.primitives.hashes import SHA256, SHA384
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

PATH = Path(__file__).parent.parent / "fixtures" / "binding-vectors.json"

RSA_P = int(
    "df7af7fd7ac8c169476188b641bfc3a3dbc22021e3e2587b6c68dd2362bb9a0cb731c4907f4abf6c9eebec8958f3836a"
    "14b49bae2a330a9cf3faa70623bd44037350c484b8da3b2a86da6650e814fd1a002982350ab4516983f25c4106b600bf"
    "51eff5d902bad7c8cea2cbb1dc4944943b487c676b868bdbe0c0a4b56202f49a1bf373126b36c747a124fcd0d6cc8b07"
    "8f2427d161c9899fedb930bb46d54409ff3a54d9881d40655a5ee4af31494a3f219251c0b1a73e3452395667505faccf",
    16,
)
RSA_Q = int(
    "d3fbe0458450e07c00a8b3497ebd992cf6ec8106914757259d3b19aedeb460dbd4ec11cb6cb2140f61ee01419745982655"
    "b8999c0eb67b0325ce0a4fc01a6c75e07777c302483444d9a0605ea4744862e399c2b0cf0011548dbd0c1de79b7ecd38ae"
    "aa00618b456213c86ac9faf0bfe46f5fe3dedf5e1daef72027220cbc2b70b1d1c575932fe363265f7d52c9bc6284a8692a"
    "bc9313df7e109d26c06f7dfd0c2a1cd74a87fed4c9511d823e064725edbaa9dfaa73deda652dce3f1f421246c1",
    16,
)


def lp(x: bytes) -> bytes:
    return len(x).to_bytes(8, "big") + x


def seed(name: str) -> bytes:
    return sha256(f"attestd binding vector {name}".encode()).digest()


def rsa_key() -> rsa.RSAPrivateKey:
    d = pow(65537, -1, (RSA_P - 1) * (RSA_Q - 1))
    public = rsa.RSAPublicNumbers(65537, RSA_P * RSA_Q)
    exponents = d % (RSA_P - 1), d % (RSA_Q - 1), pow(RSA_Q, -1, RSA_P)
    return rsa.RSAPrivateNumbers(RSA_P, RSA_Q, d, *exponents, public).private_key()


def pss_with_fixed_salt(message: bytes, salt: bytes) -> bytes:
    """Sign as RFC 8017, 8.1.1 and 9.1.1 have it, but with a salt that is the same each time."""
    n = RSA_P * RSA_Q
    size = (n.bit_length() + 7) // 8
    digest = sha256(bytes(8) + sha256(message).digest() + salt).digest()
    block = bytes(size - 32 - 32 - 2) + b"\x01" + salt
    mask = b"".join(sha256(digest + i.to_bytes(4, "big")).digest() for i in range(len(block) // 32 + 1))
    masked = bytearray(a ^ b for a, b in zip(block, mask, strict=False))
    masked[0] &= 0x7F
    encoded = int.from_bytes(bytes(masked) + digest + b"\xbc", "big")
    return pow(encoded, pow(65537, -1, (RSA_P - 1) * (RSA_Q - 1)), n).to_bytes(size, "big")


@cache
def keys() -> dict[str, Any]:
    return {
        "Ed25519": ed25519.Ed25519PrivateKey.from_private_bytes(seed("Ed25519")),
        "X25519": x25519.X25519PrivateKey.from_private_bytes(seed("X25519")),
        "P-256": ec.derive_private_key(int.from_bytes(seed("P-256")[1:], "big"), ec.SECP256R1()),
        "P-384": ec.derive_private_key(int.from_bytes(seed("P-384"), "big"), ec.SECP384R1()),
        "RSA": rsa_key(),
    }


def spki_of(private: Any) -> bytes:
    spki: bytes = private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return spki


def sign(private: Any, message: bytes) -> bytes | None:
    match private:
        case ed25519.Ed25519PrivateKey():
            return private.sign(message)
        case ec.EllipticCurvePrivateKey():
            hashed = SHA256() if private.key_size == 256 else SHA384()
            return private.sign(message, ec.ECDSA(hashed, deterministic_signing=True))
        case rsa.RSAPrivateKey():
            return pss_with_fixed_salt(message, seed("salt"))
        case _:
            return None


def vector(
    binding: str,
    algorithm: str,
    *,
    registry_id: str = "attestd.example",
    models: tuple[str, ...] = (),
    gpus: int = 0,
    dated: bool = True,
) -> dict[str, Any]:
    private = keys()[algorithm]
    spki, challenge = spki_of(private), seed("challenge")
    digests = [seed(model) for model in models]
    evidence = [(seed(f"report {i}") * 3, seed(f"chain {i}") * 5) for i in range(gpus)]
    context = lp(b"attestd/v1") + lp(registry_id.encode()) + lp(challenge) + lp(spki) + lp(b"".join(sorted(digests)))
    bundle = sha256(lp(b"gpu-bundle") + b"".join(lp(report) + lp(chain) for report, chain in evidence)).digest()
    spki_half = sha256(spki).digest()
    report_data = {
        "attestd/v1": sha512(lp(b"report-data") + context + lp(bundle)).digest(),
        "cocoon": sha512(spki[-32:]).digest(),
        "spki-sha256": spki_half + (challenge if dated else bytes(32)),
        "nonce-and-key": spki_half + challenge,
    }[binding]
    proof = sign(private, context)
    return {
        "binding": binding,
        "algorithm": algorithm,
        "registry_id": registry_id,
        "challenge": challenge.hex(),
        "key_spki_der": spki.hex(),
        "models": [digest.hex() for digest in digests],
        "gpus": [{"report": report.hex(), "certificate_chain": chain.hex()} for report, chain in evidence],
        "context": context.hex(),
        "gpu_nonce": sha256(lp(b"gpu-nonce") + context).hexdigest(),
        "gpu_bundle": bundle.hex(),
        "report_data": report_data.hex(),
        "proof": None if proof is None else proof.hex(),
    }


def vectors() -> list[dict[str, Any]]:
    """Every scheme and every kind of key, with no, one and several models and GPUs."""
    return [
        vector("attestd/v1", "Ed25519"),
        vector("attestd/v1", "P-256", models=("model b", "model a", "model c"), registry_id="attestd.example/тест"),
        vector("attestd/v1", "P-384", models=("model a",), gpus=1),
        vector("attestd/v1", "X25519", models=("model a",), gpus=8),
        vector("attestd/v1", "RSA"),
        vector("cocoon", "Ed25519", models=("model a",)),
        vector("spki-sha256", "P-256", dated=False),
        vector("spki-sha256", "X25519"),
        vector("nonce-and-key", "Ed25519", models=("model b", "model a")),
    ]


def document() -> str:
    about = "Inputs and outputs of the bindings, in hex; attestd/binding/transcript.py says what they are."
    return json.dumps({"about": about, "vectors": vectors()}, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    PATH.write_text(document())
