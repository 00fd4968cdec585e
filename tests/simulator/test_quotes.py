"""Each field of a quote reaches its place in the bytes, and whatever signs is signed again."""

from dataclasses import fields, replace
from hashlib import sha256
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from attestd.simulator import (
    SGX_QE,
    TD_QE,
    Attester,
    Framing,
    KeyPair,
    SgxReport,
    Signing,
    TdReport,
    TdReport15,
    TdReport15Ex,
    Vendor,
    append,
    bits,
    cut,
    flip,
    negate_s,
    p256_key,
    pem,
    put,
    svns,
    swap,
)
from attestd.simulator.reports import Body

ATTESTER = Attester.of(Vendor.of())
MALLORY = p256_key("mallory", "attestation")

# Where the parts are in a quote of version 4 with a TD 1.0 body (tdx.md, section 3, Layouts).
SIGNED, SIGNATURE, KEY, QE, QE_SIGNATURE, AUTH, CERT = 632, 636, 700, 770, 1154, 1218, 1252


def verifies(key: bytes, signature: bytes, message: bytes) -> bool:
    public = EllipticCurvePublicKey.from_encoded_point(SECP256R1(), b"\x04" + key)
    r, s = int.from_bytes(signature[:32]), int.from_bytes(signature[32:])
    try:
        public.verify(encode_dss_signature(r, s), message, ECDSA(SHA256()))
    except InvalidSignature:
        return False
    return True


def u16(quote: bytes, offset: int) -> int:
    return int.from_bytes(quote[offset : offset + 2], "little")


def u32(quote: bytes, offset: int) -> int:
    return int.from_bytes(quote[offset : offset + 4], "little")


def pck_key() -> bytes:
    numbers = ATTESTER.pck.key.public_key().public_numbers()
    return numbers.x.to_bytes(32) + numbers.y.to_bytes(32)


def authentic(quote: bytes) -> bool:
    """Whether everything that is signed in a v4 quote is signed, and bound to what is above it."""
    auth = quote[AUTH + 2 : AUTH + 2 + u16(quote, AUTH)]
    return (
        verifies(quote[KEY : KEY + 64], quote[SIGNATURE:KEY], quote[:SIGNED])
        and verifies(pck_key(), quote[QE_SIGNATURE:AUTH], quote[QE:QE_SIGNATURE])
        and quote[QE + 320 : QE_SIGNATURE] == sha256(quote[KEY : KEY + 64] + auth).digest() + bytes(32)
    )


def test_baseline_v4() -> None:
    quote = ATTESTER.quote()
    assert authentic(quote)
    assert quote[:48].hex().startswith("040002008100000000000000939a7233f79c4ca9940a0db3957f0607")
    assert u32(quote, SIGNED) == len(quote) - SIGNATURE - 70
    assert (u16(quote, 764), u32(quote, 766)) == (6, len(quote) - QE - 70)
    assert (u16(quote, CERT), u32(quote, CERT + 2)) == (5, len(quote) - 1258 - 70)
    assert quote[1258:] == pem(*ATTESTER.pck_chain) + b"\0" + bytes(70)


def test_baseline_v5_signs_the_descriptor() -> None:
    for body, kind, size in (
        (TdReport(), 2, 584),
        (TdReport15(), 3, 648),
        (TdReport15Ex(), 4, 885),
        (SgxReport(), 1, 384),
    ):
        quote = ATTESTER.quote(body, Framing(version=5))
        assert (u16(quote, 48), u32(quote, 50)) == (kind, size)
        signed = 54 + size
        assert verifies(quote[signed + 68 : signed + 132], quote[signed + 4 : signed + 68], quote[:signed])
        assert u32(quote, signed) == len(quote) - signed - 4


def test_baseline_v3() -> None:
    quote = ATTESTER.quote(SgxReport())
    assert quote[:12].hex() == "03000200" + "00000000" + "0a000f00"
    assert verifies(quote[500:564], quote[436:500], quote[:432])
    assert verifies(pck_key(), quote[948:1012], quote[564:948])
    assert u32(quote, 432) == len(quote) - 436
    assert (u16(quote, 1012), u16(quote, 1046), u32(quote, 1048)) == (32, 5, len(quote) - 1052)


def test_versions_follow_the_body() -> None:
    bodies: list[Body] = [SgxReport(), TdReport(), TdReport15(), TdReport15Ex()]
    assert [u16(ATTESTER.quote(body), 0) for body in bodies] == [3, 4, 5, 5]
    assert u16(ATTESTER.quote(SgxReport(), Framing(version=4)), 0) == 4


@pytest.mark.parametrize("body", [SgxReport(), TdReport15Ex()], ids=["sgx", "td"])
def test_every_field_of_a_body_reaches_its_bytes_and_no_other(body: Body) -> None:
    offset = 0
    for field in fields(body):
        value = getattr(body, field.name)
        other: Any = value ^ 0x0101 if isinstance(value, int) else bytes(byte ^ 0xFF for byte in value)
        size = 2 if isinstance(value, int) else len(value)
        plain, changed = body.encode(), replace(body, **{field.name: other}).encode()
        assert [i for i in range(len(plain)) if plain[i] != changed[i]] == list(range(offset, offset + size)), (
            field.name
        )
        offset += size
    assert offset == len(body.encode())


def test_a_field_of_another_size_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="mrtd has 48 bytes, not 47"):
        TdReport(mrtd=bytes(47)).encode()


def test_a_changed_body_is_signed_again() -> None:
    quote = ATTESTER.quote(TdReport(td_attributes=bits(0, 28), report_data=b"\x07" * 64))
    assert quote[168:176].hex() == "0100001000000000"
    assert quote[568:632] == b"\x07" * 64
    assert authentic(quote)


HEADER = [
    (Framing(attestation_key_type=3), 2, b"\x03\x00"),
    (Framing(tee_type=0), 4, bytes(4)),
    (Framing(header_reserved=b"\x01\x02\x03\x04"), 8, b"\x01\x02\x03\x04"),
    (Framing(qe_vendor_id=bytes(16)), 12, bytes(16)),
    (Framing(user_data=b"\x09" * 20), 28, b"\x09" * 20),
    (Framing(signing=Signing(before=put(0, b"\xff\xff"))), 0, b"\xff\xff"),
    (Framing(auth_data=b""), AUTH, bytes(2)),
    (Framing(auth_data=b"x"), AUTH, b"\x01\x00x"),
    (Framing(outer_type=5), 764, b"\x05\x00"),
    (Framing(outer_size=1), 766, b"\x01\x00\x00\x00"),
    (Framing(cert_type=3), CERT, b"\x03\x00"),
    (Framing(cert_size=0xFFFFFFFF), CERT + 2, b"\xff\xff\xff\xff"),
    (Framing(cert_data=b"no chain"), CERT + 2, b"\x08\x00\x00\x00no chain"),
    (Framing(signature_data_size=0), SIGNED, bytes(4)),
    (Framing(attestation_key=MALLORY), 0, b"\x04"),
    (Framing(qe=replace(TD_QE, isvsvn=1)), QE + 258, b"\x01\x00"),
    (Framing(qe=SGX_QE), QE + 256, b"\x01\x00\x0a\x00"),
]


@pytest.mark.parametrize(("framing", "offset", "wanted"), HEADER)
def test_framing_reaches_the_bytes_and_all_stays_signed(framing: Framing, offset: int, wanted: bytes) -> None:
    quote = ATTESTER.quote(framing=framing)
    assert quote[offset : offset + len(wanted)] == wanted
    assert quote != ATTESTER.quote()
    assert authentic(quote)


def test_body_descriptor_of_v5() -> None:
    quote = ATTESTER.quote(TdReport15(), Framing(body_type=2, body_size=649))
    assert (u16(quote, 48), u32(quote, 50)) == (2, 649)


def test_a_length_of_auth_data_may_lie() -> None:
    quote = ATTESTER.quote(framing=Framing(auth_data_size=65535))
    assert u16(quote, AUTH) == 65535
    assert len(quote) == len(ATTESTER.quote())


def test_tail() -> None:
    assert ATTESTER.quote(framing=Framing(trailing=b"")) + bytes(70) == ATTESTER.quote()
    assert ATTESTER.quote(framing=Framing(trailing=b"text")).endswith(b"\0text")


def test_report_data_of_the_quoting_enclave() -> None:
    odd = ATTESTER.qe_report_data()[:32] + b"\x01" * 32
    quote = ATTESTER.quote(framing=Framing(qe_report_data=odd))
    assert quote[QE + 320 : QE_SIGNATURE] == odd
    assert verifies(pck_key(), quote[QE_SIGNATURE:AUTH], quote[QE:QE_SIGNATURE])
    assert ATTESTER.qe_report_data() == ATTESTER.quote()[QE + 320 : QE_SIGNATURE]


def test_attestation_key_that_is_no_point() -> None:
    quote = ATTESTER.quote(framing=Framing(attestation_public_key=b"\xff" * 64))
    assert quote[KEY : KEY + 64] == b"\xff" * 64
    assert quote[QE + 320 : QE + 352] == sha256(b"\xff" * 64 + bytes(range(32))).digest()


def test_attestation_key_that_the_quoting_enclave_does_not_know() -> None:
    framing = Framing(attestation_key=MALLORY, qe_report_data=ATTESTER.qe_report_data())
    quote = ATTESTER.quote(framing=framing)
    assert verifies(quote[KEY : KEY + 64], quote[SIGNATURE:KEY], quote[:SIGNED])
    assert quote[QE:AUTH] == ATTESTER.quote()[QE:AUTH]


def test_signed_by_another_key() -> None:
    quote = ATTESTER.quote(framing=Framing(signing=Signing(key=MALLORY)))
    assert quote[KEY:] == ATTESTER.quote()[KEY:]
    assert not verifies(quote[KEY : KEY + 64], quote[SIGNATURE:KEY], quote[:SIGNED])
    quote = ATTESTER.quote(framing=Framing(qe_signing=Signing(key=MALLORY)))
    assert not verifies(pck_key(), quote[QE_SIGNATURE:AUTH], quote[QE:QE_SIGNATURE])


def test_signature_put_in_place() -> None:
    quote = ATTESTER.quote(
        framing=Framing(signing=Signing(signature=bytes(64)), qe_signing=Signing(signature=b"\xff" * 64))
    )
    assert quote[SIGNATURE:KEY] == bytes(64)
    assert quote[QE_SIGNATURE:AUTH] == b"\xff" * 64


def test_edits_after_signing_change_nothing_else() -> None:
    plain = ATTESTER.quote()
    flipped = ATTESTER.quote(framing=Framing(signing=Signing(after=flip(600, 7))))
    assert [i for i in range(len(plain)) if plain[i] != flipped[i]] == [600]
    assert flipped[600] == plain[600] ^ 0x80
    assert not authentic(flipped)
    assert ATTESTER.quote(framing=Framing(signing=Signing(after=cut(632)))) == plain[:632]
    report = ATTESTER.quote(framing=Framing(qe_signing=Signing(after=flip(-1))))
    assert [i for i in range(len(plain)) if plain[i] != report[i]] == [AUTH - 1]


@pytest.mark.parametrize("offset", [SIGNATURE, QE_SIGNATURE])
def test_the_other_signature_of_the_same_message(offset: int) -> None:
    quote = ATTESTER.quote(framing=Framing(signing=Signing(after=negate_s(offset))))
    assert quote != ATTESTER.quote()
    assert authentic(quote)


@pytest.mark.parametrize("edit", [put(0, b"\x04"), swap(b"absent", b""), cut(10_000), append(b""), put(-1, b"ab")])
def test_an_edit_without_effect_is_a_mistake(edit: Any) -> None:
    with pytest.raises(ValueError, match="does not change"):
        edit(ATTESTER.quote(framing=Framing(trailing=b"")))


def test_only_p256_signs_quotes() -> None:
    key: Any = KeyPair.ed25519().private
    with pytest.raises(TypeError, match="ECDSA"):
        ATTESTER.quote(framing=Framing(signing=Signing(key=key)))


def test_svns() -> None:
    assert bytes(svns(4, 1, 2)).hex() == "040102" + "00" * 13
