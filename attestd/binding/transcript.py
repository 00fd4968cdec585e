"""The transcripts that report data commits to: the reference for attesters in any language.

All inputs are byte strings. `LP(x)` is the length of x as 8 bytes, big-endian, then x; `||` is concatenation.

    context     = LP("attestd/v1") || LP(registry_id) || LP(challenge) || LP(key_spki_der) || LP(models)
    gpu_nonce   = SHA-256( LP("gpu-nonce") || context )
    gpu_bundle  = SHA-256( LP("gpu-bundle") || for each GPU in order: LP(report) || LP(certificate chain) )
    report_data = SHA-512( LP("report-data") || context || LP(gpu_bundle) )

- `registry_id` is the UTF-8 of the string that `POST /v1/challenges` answers beside the challenge.
- `challenge` is the 32 bytes behind the base64url of that answer.
- `key_spki_der` is the enclave's public key as DER SubjectPublicKeyInfo (RFC 5280, 4.1; keys.py has the exact forms).
- `models` is the SHA-256 digests of the models, 32 bytes each, sorted as byte strings, concatenated; empty for none.
- A certificate chain is its DER certificates, leaf first, concatenated. Without GPUs nothing follows LP("gpu-bundle").
- GPU evidence is collected first, with `gpu_nonce`; the CPU quote last, with the 64 bytes of `report_data`.
- A key that can sign signs `context` itself, with whatever scheme; the signature goes into `key.proof`.

The other schemes have report data of their own, and the same `context` to sign:

    cocoon         SHA-512( the 32 raw bytes of the Ed25519 key )
    spki-sha256    SHA-256( key_spki_der ) || challenge, or 32 zero bytes
    nonce-and-key  SHA-256( key_spki_der ) || challenge

On Azure the paravisor fills REPORT_DATA itself, and a quote of the vTPM speaks for the machine instead
(attestd/snp/vtpm.py). Its extraData (the qualifying data of TPM2_Quote) then is, in every scheme,

    SHA-256( the 64 bytes of report data )

which commits to all of them, challenge included, and fits into any TPM: the field takes 2 bytes more than the largest
digest that the TPM has, so not every TPM takes 64. The 64 bytes themselves, or half of them, are not accepted.

fixtures/binding-vectors.json has inputs and outputs of each, in hex.
"""

from collections.abc import Iterable
from hashlib import sha256, sha512


def context(*, registry_id: str, challenge: bytes, spki: bytes, models: Iterable[bytes] = ()) -> bytes:
    """Return what the key signs, and what report data and GPU nonces commit to; `models` come in any order."""
    parts = (b"attestd/v1", registry_id.encode(), challenge, spki, b"".join(sorted(models)))
    return b"".join(map(_prefixed, parts))


def gpu_nonce(transcript: bytes) -> bytes:
    """Return the 32 bytes that GPU evidence must answer, from the context."""
    return sha256(_prefixed(b"gpu-nonce") + transcript).digest()


def gpu_bundle(gpus: Iterable[tuple[bytes, bytes]] = ()) -> bytes:
    """Return the digest over the GPU evidence: for each GPU its report and its certificate chain in DER, leaf first."""
    parts = (_prefixed(report) + _prefixed(chain) for report, chain in gpus)
    return sha256(_prefixed(b"gpu-bundle") + b"".join(parts)).digest()


def report_data(transcript: bytes, bundle: bytes) -> bytes:
    """Return the 64 bytes of report data of the scheme attestd/v1, from the context and the GPU bundle."""
    return sha512(_prefixed(b"report-data") + transcript + _prefixed(bundle)).digest()


def cocoon_report_data(raw_key: bytes) -> bytes:
    """Return the 64 bytes of report data of the scheme cocoon, from the 32 bytes of the Ed25519 key (tdx.md, 5)."""
    return sha512(raw_key).digest()


def spki_report_data(spki: bytes, second_half: bytes) -> bytes:
    """Return the 64 bytes of report data of the schemes spki-sha256 and nonce-and-key; the second half has 32 bytes."""
    return sha256(spki).digest() + second_half


def vtpm_extra_data(expected_report_data: bytes) -> bytes:
    """Return the 32 bytes that a quote of Azure's vTPM carries in the place of these 64 bytes of report data."""
    return sha256(expected_report_data).digest()


def _prefixed(part: bytes) -> bytes:
    """LP: without the length, bytes could move from one part into the next unseen."""
    return len(part).to_bytes(8, "big") + part
