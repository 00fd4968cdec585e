"""Addresses in both forms, beside pytoniq-core's."""

from base64 import b64encode
from binascii import crc_hqx
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attestd.errors import Malformed, Reason
from attestd.tvm.address import Address
from tests.refusals import malformed
from tests.tvm.cells import pytoniq_core

ADDRESS = Address(0, bytes(range(32)))
FRIENDLY = ADDRESS.friendly()
ADDRESSES = st.builds(Address, st.integers(-128, 127), st.binary(min_size=32, max_size=32))


@given(ADDRESSES, st.booleans(), st.booleans())
def test_forms(address: Address, bounceable: bool, testnet: bool) -> None:
    other = pytoniq_core.Address((address.workchain, address.hash))
    assert str(address) == other.to_str(is_user_friendly=False)
    friendly = address.friendly(bounceable=bounceable, testnet=testnet)
    assert friendly == other.to_str(is_bounceable=bounceable, is_test_only=testnet)
    assert Address.parse(friendly.replace("-", "+").replace("_", "/")) == address
    assert Address.parse(friendly) == Address.parse(str(address)) == Address.parse(str(address).upper()) == address


@pytest.mark.parametrize("workchain", [-129, 128])
def test_workchain(workchain: int) -> None:
    with malformed(Reason.ADDRESS_MALFORMED):
        Address(workchain, bytes(32))
    with malformed(Reason.ADDRESS_MALFORMED):
        Address.parse(f"{workchain}:{'00' * 32}")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0:",
        "0:" + "0" * 63,
        "0:" + "0" * 65,
        "0:" + "g" * 64,
        "00:" + "0" * 64,
        "-0:" + "0" * 64,
        "+0:" + "0" * 64,
        " 0:" + "0" * 64,
        "0:" + "0" * 64 + "\n",
        "\u0660:" + "0" * 64,
        FRIENDLY[:-1],
        FRIENDLY + "A",
        FRIENDLY + "AAAA",
        "=" * 48,
        "\u00e9" * 48,
        FRIENDLY[:-1] + " ",
        FRIENDLY[:-1] + ("A" if FRIENDLY[-1] != "A" else "B"),
        "B" + FRIENDLY[1:],
        FRIENDLY[:20] + ("A" if FRIENDLY[20] != "A" else "B") + FRIENDLY[21:],
    ],
)
def test_no_address(text: str) -> None:
    with malformed(Reason.ADDRESS_MALFORMED):
        Address.parse(text)


@pytest.mark.parametrize("flags", [0x00, 0x10, 0x12, 0x50, 0x52, 0x80, 0xFF])
def test_flags_that_there_are_none(flags: int) -> None:
    body = bytes((flags, 0)) + bytes(32)
    with malformed(Reason.ADDRESS_MALFORMED):
        Address.parse(b64encode(body + crc_hqx(body, 0).to_bytes(2)).decode())


@pytest.mark.parametrize("size", [31, 33])
def test_hash_size(size: int) -> None:
    with malformed(Reason.ADDRESS_MALFORMED):
        Address(0, bytes(size))


@given(st.one_of(st.text(max_size=80), st.text(min_size=48, max_size=48)))
def test_whatever_the_text_is(text: str) -> None:
    with suppress(Malformed):
        assert str(Address.parse(text))
