"""Addresses of accounts on TON: the raw form, and the user-friendly one (TEP-2)."""

import re
from binascii import crc_hqx
from dataclasses import dataclass
from struct import Struct
from typing import Final, Self

from attestd.codec import dump_base64url, load_base64url
from attestd.errors import Malformed, Reason

_RAW: Final = re.compile(r"(0|-?[1-9][0-9]{0,2}):([0-9a-fA-F]{64})", re.ASCII)
_FRIENDLY: Final = Struct(">Bb32sH")  # flags, workchain, hash, CRC-16/XMODEM over all before it
_FRIENDLY_CHARACTERS: Final = 48
_HASH_SIZE: Final = 32
_BOUNCEABLE: Final = 0x11
_NON_BOUNCEABLE: Final = 0x51
_TESTNET: Final = 0x80


@dataclass(frozen=True, slots=True)
class Address:
    """An account: its workchain, which is an int8 in addr_std (block.tlb), and the hash of its initial state."""

    workchain: int
    hash: bytes  # 32 bytes

    def __post_init__(self) -> None:
        """Refuse what addr_std cannot hold."""
        if not -128 <= self.workchain <= 127:  # noqa: PLR2004 - the range of int8
            raise _refused(f"workchain {self.workchain}", "a workchain from -128 to 127")
        if len(self.hash) != _HASH_SIZE:
            raise _refused(f"{len(self.hash)} bytes", "a hash of 32 bytes")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read either form; what the flags of the user-friendly form say is left aside.

        Raises `Malformed` (`address.malformed`).
        """
        if raw := _RAW.fullmatch(text):
            return cls(int(raw[1]), bytes.fromhex(raw[2]))
        return cls(*_unpack(text))

    def __str__(self) -> str:
        """Return the raw form: the workchain, a colon, 64 lower-case hex digits."""
        return f"{self.workchain}:{self.hash.hex()}"

    def friendly(self, *, bounceable: bool = True, testnet: bool = False) -> str:
        """Return the user-friendly form in base64url (TEP-2): 48 characters."""
        flags = (_BOUNCEABLE if bounceable else _NON_BOUNCEABLE) | (_TESTNET if testnet else 0)
        checked = _FRIENDLY.pack(flags, self.workchain, self.hash, 0)[:-2]
        return dump_base64url(checked + crc_hqx(checked, 0).to_bytes(2))


def _unpack(text: str) -> tuple[int, bytes]:
    """Read the user-friendly form in base64 or base64url (TEP-2)."""
    if len(text) != _FRIENDLY_CHARACTERS:
        raise _refused(f"{len(text)} other characters", "0:<64 hex digits>, or 48 characters of base64")
    try:
        raw = load_base64url(text.replace("+", "-").replace("/", "_"))
    except Malformed:
        raise _refused("no base64", "48 characters of base64 or base64url") from None
    flags, workchain, account, checksum = _FRIENDLY.unpack(raw)
    if flags & ~_TESTNET not in (_BOUNCEABLE, _NON_BOUNCEABLE):
        raise _refused(f"flags {flags:#04x}", "0x11 or 0x51, with 0x80 for a test network")
    if crc_hqx(raw[:-2], 0) != checksum:
        raise _refused("another checksum", "CRC-16 over what is before it")
    return workchain, account


def _refused(found: str, wanted: str) -> Malformed:
    return Malformed(Reason.ADDRESS_MALFORMED, found=found, wanted=wanted)
