"""Raw ECDSA as hardware writes it: points, and r and s of any length within 32 bytes."""

import pytest
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from hypothesis import example, given
from hypothesis import strategies as st

from attestd import signature
from attestd.errors import EndorsementRejected, NotAuthentic, Reason
from attestd.signature import p256_public_key, verify_p256
from attestd.simulator import p256_key, sign_p256
from attestd.simulator.keys import P256_ORDER, point
from tests.refusals import refused

KEY = p256_key("tests", "signer")
POINT = point(KEY.public_key())
PUBLIC = p256_public_key(POINT)
SIGNED = b"what is signed"
SIGNATURE = sign_p256(KEY, SIGNED)
REASON = Reason.TDX_QUOTE_SIGNATURE

P = 0xFFFFFFFF00000001000000000000000000000000FFFFFFFFFFFFFFFFFFFFFFFF


def test_point() -> None:
    assert PUBLIC.public_numbers() == KEY.public_key().public_numbers()


@pytest.mark.parametrize(
    "raw",
    [
        bytes(64),
        b"",
        POINT[:63],
        POINT + b"\0",
        POINT[:32],
        POINT[32:] + POINT[:32],
        P.to_bytes(32) + POINT[32:],
        POINT[:32] + P.to_bytes(32),
        b"\xff" * 64,
    ],
)
def test_no_point(raw: bytes) -> None:
    with refused(NotAuthentic, Reason.TDX_ATTESTATION_KEY):
        p256_public_key(raw)


def test_coordinate_is_not_reduced() -> None:
    # y of x = 0 exists, so x = p would be that point again if it were taken modulo p.
    y = pow(0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B, (P + 1) // 4, P).to_bytes(32)
    p256_public_key(bytes(32) + y)
    with refused(NotAuthentic, Reason.TDX_ATTESTATION_KEY):
        p256_public_key(P.to_bytes(32) + y)


def test_both_signatures_of_a_message() -> None:
    verify_p256(PUBLIC, SIGNATURE, SIGNED, REASON)
    s = int.from_bytes(SIGNATURE[32:])
    verify_p256(PUBLIC, SIGNATURE[:32] + (P256_ORDER - s).to_bytes(32), SIGNED, REASON)


@pytest.mark.parametrize("kind", [NotAuthentic, EndorsementRejected])
def test_refusal_is_of_the_kind_that_is_asked_for(kind: type[NotAuthentic]) -> None:
    for wrong, signed in ((SIGNATURE, SIGNED + b"!"), (SIGNATURE[32:] + SIGNATURE[:32], SIGNED), (bytes(64), SIGNED)):
        with refused(kind, REASON):
            verify_p256(PUBLIC, wrong, signed, REASON, kind)


@pytest.mark.parametrize("raw", [b"", b"\1", bytes(32), SIGNATURE[:63], SIGNATURE + b"\0", SIGNATURE * 2])
def test_signature_of_another_length(raw: bytes) -> None:
    with refused(NotAuthentic, REASON):
        verify_p256(PUBLIC, raw, SIGNED, REASON)


@given(st.integers(0, 2**256 - 1), st.integers(0, 2**256 - 1))
@example(0, 0)
@example(0x7F, 0x80)
@example(0xFF, 2**255)
@example(2**248 - 1, 2**248)
def test_der_is_the_library_s(r: int, s: int) -> None:
    assert signature._der(r.to_bytes(32) + s.to_bytes(32)) == encode_dss_signature(r, s)


@pytest.mark.parametrize("name", ["r", "s"])
def test_numbers_with_leading_zeros(name: str) -> None:
    """About one signature in 256 has such a number; DER leaves the zeros out."""
    start = 0 if name == "r" else 32
    messages = (number.to_bytes(4) for number in range(20_000))
    message, short = next((message, raw) for message in messages if (raw := sign_p256(KEY, message))[start] == 0)
    verify_p256(PUBLIC, short, message, REASON)
