"""Raw ECDSA as hardware writes it: points, and r and s of any length within 32 bytes. Ed25519 as verifiers sign."""

import sys
from dataclasses import replace
from hashlib import sha384
from runpy import run_path
from typing import Any, TypeAlias, cast

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP384R1, derive_private_key
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from hypothesis import example, given
from hypothesis import strategies as st

from attestd import signature
from attestd.errors import EndorsementRejected, NotAuthentic, Reason
from attestd.signature import (
    P384_LIBRARY,
    P384Library,
    ed25519_public_key,
    ed25519_signing_key,
    ed25519_verifies,
    p256_public_key,
    p384_public_key,
    sign_ed25519,
    verify_p256,
    verify_p384,
)
from attestd.simulator import p256_key, p384_key, sign_p256
from attestd.simulator.keys import P256_ORDER, P384_ORDER, point, sign
from tests.refusals import malformed, refused

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
    assert signature._der(r.to_bytes(32) + s.to_bytes(32), 32) == encode_dss_signature(r, s)
    assert signature._der(r.to_bytes(48) + s.to_bytes(48), 48) == encode_dss_signature(r, s)


@pytest.mark.parametrize("name", ["r", "s"])
def test_numbers_with_leading_zeros(name: str) -> None:
    """About one signature in 256 has such a number; DER leaves the zeros out."""
    start = 0 if name == "r" else 32
    messages = (number.to_bytes(4) for number in range(20_000))
    message, short = next((message, raw) for message in messages if (raw := sign_p256(KEY, message))[start] == 0)
    verify_p256(PUBLIC, short, message, REASON)


# ---------------------------------------------------------------------------------------------------------------------
# P-384, by each library

KEY_384 = p384_key("tests", "signer")
POINT_384 = point(KEY_384.public_key())
N = P384_ORDER
P384 = 2**384 - 2**128 - 2**96 + 2**32 - 1
R, S = decode_dss_signature(sign(KEY_384, SIGNED))
SIGNATURE_384 = R.to_bytes(48) + S.to_bytes(48)
ABSENT = pytest.mark.skipif(
    P384_LIBRARY is P384Library.OPENSSL, reason="the extra aws-lc is not installed: one library not seen"
)
EACH_LIBRARY = pytest.mark.parametrize(
    "library", [P384Library.OPENSSL, pytest.param(P384Library.AWS_LC, marks=ABSENT)], ids=str
)


def accepted(library: P384Library, raw: bytes, key: bytes = POINT_384, signed: bytes = SIGNED) -> bool:
    try:
        verify_p384(p384_public_key(key, library), raw, signed, REASON)
    except NotAuthentic as error:
        if error.reason is not REASON:
            raise
        return False
    return True


def numbers(r: int, s: int) -> bytes:
    return r.to_bytes(48) + s.to_bytes(48)


@EACH_LIBRARY
def test_both_signatures_of_a_message_on_p384(library: P384Library) -> None:
    assert accepted(library, SIGNATURE_384)
    assert accepted(library, numbers(R, N - S))


@EACH_LIBRARY
@pytest.mark.parametrize(
    "raw",
    [
        b"",
        bytes(96),
        POINT_384[:95],
        POINT_384 + b"\0",
        POINT_384[48:] + POINT_384[:48],
        POINT_384[:48] + bytes(48),
        POINT_384[:48] + (P384 - int.from_bytes(POINT_384[48:]) + 1).to_bytes(48),
        P384.to_bytes(48) * 2,
        b"\xff" * 96,
        POINT,
        POINT_384[:48],
        b"\x04" + POINT_384,
    ],
)
def test_no_point_of_p384(raw: bytes, library: P384Library) -> None:
    with malformed(Reason.DER_MALFORMED):
        p384_public_key(raw, library)


@EACH_LIBRARY
def test_coordinate_of_p384_is_not_reduced(library: P384Library) -> None:
    x, y = point_from(0)
    p384_public_key(numbers(x, y), library)
    with malformed(Reason.DER_MALFORMED):
        p384_public_key(numbers(x + P384, y), library)


@EACH_LIBRARY
@pytest.mark.parametrize(
    ("r", "s"),
    [
        (0, 0),
        (0, 1),
        (1, 0),
        (1, 1),
        (R, 0),
        (0, S),
        (N, S),
        (R, N),
        (N, N),
        (N - 1, N - 1),
        (N + 1, 1),
        (P384, S),
        (R, P384),
        (N - R, S),
        (N - R, N - S),
        (P384 - R, S),
        (R, P384 - S),
        (2**384 - R, S),
        (R, 2**384 - S),
        (2**384 - 1, 2**384 - 1),
        (S, R),
        (R + 1, S),
        (R, S + 1),
        (R, pow(S, -1, N)),
    ],
)
def test_other_numbers_on_p384(r: int, s: int, library: P384Library) -> None:
    assert not accepted(library, numbers(r, s))


@EACH_LIBRARY
@pytest.mark.parametrize(
    "raw",
    [b"", b"\1", SIGNATURE_384[:95], SIGNATURE_384 + b"\0", b"\0" + SIGNATURE_384, SIGNATURE_384 * 2, SIGNATURE],
)
def test_signature_of_another_length_on_p384(raw: bytes, library: P384Library) -> None:
    assert not accepted(library, raw)


@EACH_LIBRARY
def test_p384_signs_these_bytes_with_this_key_over_sha384(library: P384Library) -> None:
    another = point(p384_key("tests", "another").public_key())
    x, y = POINT_384[:48], int.from_bytes(POINT_384[48:])
    assert not accepted(library, SIGNATURE_384, key=another)
    assert not accepted(library, SIGNATURE_384, key=x + (P384 - y).to_bytes(48))
    for signed in (SIGNED + b"!", SIGNED[:-1], b"", sha384(SIGNED).digest()):
        assert not accepted(library, SIGNATURE_384, signed=signed)
    assert not accepted(library, numbers(*decode_dss_signature(KEY_384.sign(SIGNED, ECDSA(SHA256())))))


# Signatures with numbers of our choice: the key is made for them.

Affine: TypeAlias = tuple[int, int]
G = divmod(int.from_bytes(point(derive_private_key(1, SECP384R1()).public_key())), 2**384)
B = (G[1] ** 2 - G[0] ** 3 + 3 * G[0]) % P384
E = int.from_bytes(sha384(SIGNED).digest())


def point_from(x: int) -> Affine:
    """Return the first point whose x is not below the one given."""
    while True:
        square = (x**3 - 3 * x + B) % P384
        y = pow(square, (P384 + 1) // 4, P384)
        if y * y % P384 == square:
            return x, y
        x += 1


def add(a: Affine, b: Affine) -> Affine:
    """Add two points, of which neither is the other's inverse."""
    rise, run = (3 * a[0] ** 2 - 3, 2 * a[1]) if a == b else (b[1] - a[1], b[0] - a[0])
    slope = rise * pow(run, -1, P384)
    x = (slope**2 - a[0] - b[0]) % P384
    return x, (slope * (a[0] - x) - a[1]) % P384


def times(factor: int, a: Affine) -> Affine:
    product = a
    for bit in f"{factor:b}"[1:]:
        product = add(product, product)
        if bit == "1":
            product = add(product, a)
    return product


def key_that_signs(nonce: Affine, s: int) -> bytes:
    """Return the key under which (x of the nonce's point, s) is a signature of SIGNED (SEC 1, 4.1.6)."""
    inverse = pow(nonce[0], -1, N)
    return numbers(*add(times(s * inverse % N, nonce), times(-E * inverse % N, G)))


@EACH_LIBRARY
@pytest.mark.parametrize("s", [1, 2, 0x7F, 0x80, 2**376 - 1, 2**376, 2**383 - 1, 2**383, N // 2, N - 1])
def test_any_s_in_range(s: int, library: P384Library) -> None:
    nonce = times(5, G)
    key = key_that_signs(nonce, s)
    assert accepted(library, numbers(nonce[0], s), key)
    assert not accepted(library, numbers(nonce[0], s ^ 1), key)


@EACH_LIBRARY
def test_s_is_not_reduced(library: P384Library) -> None:
    nonce = times(5, G)
    key = key_that_signs(nonce, 7)
    assert accepted(library, numbers(nonce[0], 7), key)
    assert not accepted(library, numbers(nonce[0], N + 7), key)


@EACH_LIBRARY
def test_x_above_the_order_is_reduced_and_r_is_not(library: P384Library) -> None:
    """A nonce's x from n to p - 1 is r + n: as good as any, which a random one never shows."""
    nonce = point_from(N + 1)
    assert N < nonce[0] < P384
    key = key_that_signs(nonce, S)
    assert accepted(library, numbers(nonce[0] - N, S), key)
    assert not accepted(library, numbers(nonce[0], S), key)


@EACH_LIBRARY
def test_small_x(library: P384Library) -> None:
    nonce = point_from(1)
    key = key_that_signs(nonce, S)
    assert accepted(library, numbers(nonce[0], S), key)
    assert not accepted(library, numbers(nonce[0] + N, S), key)
    assert not accepted(library, numbers(P384 - nonce[0], S), key)


@EACH_LIBRARY
def test_sum_at_infinity(library: P384Library) -> None:
    """With r = -e / d the two products cancel out whatever s is, and there is no x to compare."""
    d = KEY_384.private_numbers().private_value
    r = -E * pow(d, -1, N) % N
    for s in (1, S, r):
        assert not accepted(library, numbers(r, s))


# What stands between r and s and the library: DER in one form only.

DER_384 = sign(KEY_384, SIGNED)


def integer(content: bytes) -> bytes:
    return b"\x02%c%b" % (len(content), content)


def pair(r: bytes, s: bytes, more: bytes = b"") -> bytes:
    return b"\x30%c%b%b%b" % (len(r) + len(s) + len(more), r, s, more)


SMALL = key_that_signs(times(5, G), 7)
SMALL_R = integer(b"\0" * (times(5, G)[0] >> 383) + times(5, G)[0].to_bytes(48))
SEVEN = integer(b"\x07")
NOT_DER = {
    "nothing": b"",
    "a byte": b"\x30",
    "cut": pair(SMALL_R, SEVEN)[:-1],
    "followed": pair(SMALL_R, SEVEN) + b"\0",
    "followed inside": pair(SMALL_R, SEVEN, b"\x05\0"),
    "third number": pair(SMALL_R, SEVEN, SEVEN),
    "one number": pair(SMALL_R, b""),
    "empty number": pair(SMALL_R, integer(b"")),
    "leading zero": pair(SMALL_R, integer(b"\0\x07")),
    "negative": pair(SMALL_R, integer((7 - N).to_bytes(49, signed=True))),
    "n added": pair(SMALL_R, integer((7 + N).to_bytes(49))),
    "long length": b"\x30\x81" + pair(SMALL_R, SEVEN)[1:],
    "indefinite length": b"\x30\x80" + SMALL_R + SEVEN + b"\0\0",
    "set": b"\x31" + pair(SMALL_R, SEVEN)[1:],
    "bit string": pair(SMALL_R, b"\x03" + SEVEN[1:]),
    "raw": numbers(times(5, G)[0], 7),
}


@EACH_LIBRARY
def test_der_and_nothing_else(library: P384Library) -> None:
    verifies = p384_public_key(SMALL, library).verifies
    assert verifies(pair(SMALL_R, SEVEN), SIGNED)
    assert not {name for name, der in NOT_DER.items() if verifies(der, SIGNED)}


# Both libraries

MUTATIONS = st.one_of(
    st.tuples(st.integers(0, 2**384 - 1), st.integers(0, 2**384 - 1)),
    st.sampled_from([(R, S), (R, N - S)]),
    st.integers(0, 767).map(
        lambda bit: divmod(R << 384 | S ^ 1 << bit, 2**384) if bit < 384 else (R ^ 1 << bit - 384, S)
    ),
    st.tuples(st.sampled_from([0, 1, R, N - R, N, P384]), st.sampled_from([0, 1, S, N - S, N, P384])),
)


@ABSENT
@given(MUTATIONS, st.sampled_from([SIGNED, SIGNED + b"!"]))
@example((R, S), SIGNED)
@example((R, N - S), SIGNED)
def test_libraries_agree(altered: tuple[int, int], signed: bytes) -> None:
    openssl, aws_lc = (accepted(library, numbers(*altered), signed=signed) for library in P384Library)
    assert openssl is aws_lc is (altered in ((R, S), (R, N - S)) and signed == SIGNED)


@EACH_LIBRARY
def test_what_is_no_verdict_is_an_error(library: P384Library) -> None:
    key = p384_public_key(POINT_384, library)
    with pytest.raises(TypeError):
        key.verifies(DER_384, cast("bytes", "text"))

    def fails(der: bytes, signed: bytes) -> bool:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        verify_p384(replace(key, verifies=fails), SIGNATURE_384, SIGNED, REASON)


def imported() -> dict[str, Any]:
    """Run the module afresh, beside the one that is loaded."""
    return run_path(signature.__file__)


@ABSENT
def test_aws_lc_where_it_is_installed() -> None:
    assert (P384_LIBRARY, imported()["P384_LIBRARY"]) == (P384Library.AWS_LC, "AWS-LC")


def test_openssl_where_the_extra_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("awscrt", "awscrt.crypto"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr(sys, "path", [])
    module = imported()
    assert module["P384_LIBRARY"] == "OpenSSL"
    module["verify_p384"](module["p384_public_key"](POINT_384), SIGNATURE_384, SIGNED, REASON)


@ABSENT
def test_an_extra_that_does_not_load_is_no_reason_for_openssl(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "awscrt.crypto")
    monkeypatch.setitem(sys.modules, "_awscrt", None)
    with pytest.raises(ModuleNotFoundError, match="_awscrt"):
        imported()


# RFC 8032, 7.1, test 2.
ED25519_SEED = "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb"
ED25519_PUBLIC = "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"
ED25519_SIGNATURE = (
    "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb0"
    "0d291612bb0c00"
)


def test_ed25519() -> None:
    key = ed25519_signing_key(bytes.fromhex(ED25519_SEED))
    public, signed = ed25519_public_key(key), sign_ed25519(key, b"\x72")
    assert (public.hex(), signed.hex()) == (ED25519_PUBLIC, ED25519_SIGNATURE)
    assert ed25519_verifies(public, signed, b"\x72")
    assert not ed25519_verifies(public, signed, b"\x73")
    for bit in range(512):
        wrong = bytearray(signed)
        wrong[bit // 8] ^= 1 << bit % 8
        assert not ed25519_verifies(public, bytes(wrong), b"\x72")


@pytest.mark.parametrize("size", [0, 31, 33])
def test_ed25519_sizes(size: int) -> None:
    public = bytes.fromhex(ED25519_PUBLIC)
    assert not ed25519_verifies((public * 2)[:size], bytes.fromhex(ED25519_SIGNATURE), b"\x72")
    assert not ed25519_verifies(public, bytes(size * 2), b"\x72")
    with pytest.raises(ValueError, match="32 bytes"):
        ed25519_signing_key(bytes(size))


Q = 2**255 - 19
EDWARDS_D = -121665 * pow(121666, -1, Q) % Q


def edwards_order_divides_8(y: int) -> bool:
    """Whether a point with this y is the neutral element after three doublings (RFC 8032, 5.1.4)."""
    x_squared = (y * y - 1) * pow(EDWARDS_D * y * y + 1, -1, Q) % Q
    for _ in range(3):
        # Of 2P: y is (y^2 + x^2) / (1 - d x^2 y^2), x^2 is (2 x y / (1 + d x^2 y^2))^2.
        product = EDWARDS_D * x_squared * y * y % Q
        doubled = (y * y + x_squared) * pow(1 - product, -1, Q) % Q
        x_squared = 4 * x_squared * y * y * pow(1 + product, -2, Q) % Q
        y = doubled
    return (x_squared, y) == (0, 1)


def test_no_signature_by_a_key_of_small_order() -> None:
    """OpenSSL takes some of these keys, under which R and S can be made up without a private key."""
    small = [int.from_bytes(y, "little") for y in signature._SMALL_ORDER]
    assert all(edwards_order_divides_8(y % Q) for y in small)
    assert len({y % Q for y in small}) == 5  # of one, two, four (both signs) and eight (both signs, twice)
    assert not edwards_order_divides_8(4 * pow(5, -1, Q) % Q)
    for y in small:
        for sign_bit in (0, 1 << 255):
            key = (y | sign_bit).to_bytes(32, "little")
            for made_up in (b"\1" + bytes(63), key + bytes(32), bytes(64)):
                assert not any(ed25519_verifies(key, made_up, bytes((message,))) for message in range(16))
