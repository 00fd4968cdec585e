"""Somebody else's word in the place of evidence: tokens of a remote verifier (N23, N24)."""

import json
from base64 import urlsafe_b64encode
from hashlib import sha256
from typing import Any, Final

import pytest

from attestd.errors import Reason
from attestd.evidence import dump_evidence_json, load_evidence_json
from attestd.nvgpu.spdm import parse_report
from attestd.simulator import Attester, KeyPair, Registry, Vendor, answers, gpu_set
from tests.evidence import EVIDENCE
from tests.refusals import malformed

NRAS: Final = EVIDENCE / "nvidia" / "nras"


def token(header: dict[str, Any], claims: dict[str, Any], signature: bytes = b"") -> str:
    """Make a JSON Web Token, whoever signed it."""
    parts = (*(json.dumps(part).encode() for part in (header, claims)), signature)
    return ".".join(urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


CLAIMS: Final = {
    "iss": "https://nras.attestation.nvidia.com",
    "x-nvidia-overall-att-result": True,
    "submods": {"GPU-0": ["DIGEST", ["SHA-256", sha256(b"GPU-0").hexdigest()]]},
}
TOKENS: Final = {
    "alg none": token({"alg": "none"}, CLAIMS),
    "HS256": token({"alg": "HS256"}, CLAIMS, b"s" * 32),
    "jwk in the header": token({"alg": "ES384", "jwk": {"kty": "EC"}}, CLAIMS, b"s" * 96),
    "detached": json.dumps([["JWT", token({"alg": "ES384"}, CLAIMS, b"s" * 96)], {"GPU-0": "x", "GPU-1": "y"}]),
}


@pytest.mark.parametrize("said", TOKENS.values(), ids=TOKENS.keys())
def test_a_token_is_no_report(said: str) -> None:
    """N23, N24: attestd verifies evidence itself and takes no verifier's word, whatever it is signed with."""
    for raw in (said.encode(), said.encode().ljust(4500, b" ")):
        with malformed(Reason.GPU_REPORT_SIZE, Reason.GPU_SPDM_VERSION, Reason.GPU_SPDM_MESSAGE):
            parse_report(raw)


@pytest.mark.parametrize("member", ["token", "jwt", "claims", "nras"])
def test_evidence_has_no_place_for_a_token(member: str) -> None:
    key, registry = KeyPair.ed25519(), Registry()
    said = answers(gpu_set(1), registry.gpu_nonce(key))
    body = json.loads(dump_evidence_json(Attester.of(Vendor.of()).evidence(key, registry, gpus=said)))
    assert load_evidence_json(json.dumps(body).encode()).gpus
    body["gpus"][0][member] = TOKENS["alg none"]
    with malformed(Reason.JSON_SCHEMA):
        load_evidence_json(json.dumps(body).encode())


@pytest.mark.skipif(not NRAS.is_dir(), reason=f"no evidence at {NRAS}: 2 tokens not seen")
@pytest.mark.parametrize("name", ["hopper-550.90.07-detached-eat", "ls10-detached-eat-staging-issuer"])
def test_genuine_tokens_are_no_reports(name: str) -> None:
    with malformed(Reason.GPU_REPORT_SIZE, Reason.GPU_SPDM_VERSION, Reason.GPU_SPDM_MESSAGE):
        parse_report((NRAS / f"{name}.json").read_bytes())
