"""The wallet that pays: v5r1 and v4r2, whose messages are built and signed here, and sent by nobody here.

A message names its sequence number and until when it may be taken, so that it takes effect once or never: what was
signed can be stored before it is sent, and sent again as often as one likes.

Sources: wallet-contract-v5 (README, types.tlb) and wallet-contract v4r2; message layout: block.tlb, MessageRelaxed.
"""

import os
import secrets
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Final, NamedTuple, Self, assert_never

from attestd.chain.account import Account, dump_state_init
from attestd.chain.ledger import AccountStatus
from attestd.chain.transactions import load_message
from attestd.codec import load_base64, load_hex
from attestd.errors import ConfigurationRefused, Malformed, Reason, Unavailable
from attestd.signature import SigningKey, ed25519_public_key, ed25519_signing_key, sign_ed25519
from attestd.tvm.address import Address
from attestd.tvm.boc import load_boc
from attestd.tvm.cell import Builder, Cell

SEED_SIZE: Final = 32

_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
_KEY_FILE_SIZE: Final = 2 * SEED_SIZE + 1
_FLAGS: Final = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

# The published code of either version; the tests hold the hashes.
_CODES: Final = {
    "v4r2": (
        "te6ccgECFAEAAtQAART/APSkE/S88sgLAQIBIAIPAgFIAwYC5tAB0NMDIXGwkl8E4CLXScEgkl8E4ALTHyGCEHBsdWe9IoIQZHN0cr2wkl8F"
        "4AP6QDAg+kQByMoHy//J0O1E0IEBQNch9AQwXIEBCPQKb6Exs5JfB+AF0z/IJYIQcGx1Z7qSODDjDQOCEGRzdHK6kl8G4w0EBQB4AfoA9AQw"
        "+CdvIjBQCqEhvvLgUIIQcGx1Z4MesXCAGFAEywUmzxZY+gIZ9ADLaRfLH1Jgyz8gyYBA+wAGAIpQBIEBCPRZMO1E0IEBQNcgyAHPFvQAye1U"
        "AXKwjiOCEGRzdHKDHrFwgBhQBcsFUAPPFiP6AhPLassfyz/JgED7AJJfA+ICASAHDgIBIAgNAgFYCQoAPbKd+1E0IEBQNch9AQwAsjKB8v/y"
        "dABgQEI9ApvoTGACASALDAAZrc52omhAIGuQ64X/wAAZrx32omhAEGuQ64WPwAARuMl+1E0NcLH4AFm9JCtvaiaECAoGuQ+gIYRw1AgIR6ST"
        "fSmRDOaQPp/5g3gSgBt4EBSJhxWfMYQE+PKDCNcYINMf0x/THwL4I7vyZO1E0NMf0x/T//QE0VFDuvKhUVG68qIF+QFUEGT5EPKj+AAkpMjL"
        "H1JAyx9SMMv/UhD0AMntVPgPAdMHIcAAn2xRkyDXSpbTB9QC+wDoMOAhwAHjACHAAuMAAcADkTDjDQOkyMsfEssfy/8QERITAG7SB/oA1NQi"
        "+QAFyMoHFcv/ydB3dIAYyMsFywIizxZQBfoCFMtrEszMyXP7AMhAFIEBCPRR8qcCAHCBAQjXGPoA0z/IVCBHgQEI9FHyp4IQbm90ZXB0gBjI"
        "ywXLAlAGzxZQBPoCFMtqEssfyz/Jc/sAAgBsgQEI1xj6ANM/MFIkgQEI9Fnyp4IQZHN0cnB0gBjIywXLAlAFzxZQA/oCE8tqyx8Syz/Jc/sA"
        "AAr0AMntVA=="
    ),
    "v5r1": (
        "te6ccgECFAEAAoEAART/APSkE/S88sgLAQIBIAINAgFIAwQC3NAg10nBIJFbj2Mg1wsfIIIQZXh0br0hghBzaW50vbCSXwPgghBleHRuuo60"
        "gCDXIQHQdNch+kAw+kT4KPpEMFi9kVvg7UTQgQFB1yH0BYMH9A5voTGRMOGAQNchcH/bPOAxINdJgQKAuZEw4HDiEA8CASAFDAIBIAYJAgFu"
        "BwgAGa3OdqJoQCDrkOuF/8AAGa8d9qJoQBDrkOuFj8ACAUgKCwAXsyX7UTQcdch1wsfgABGyYvtRNDXCgCAAGb5fD2omhAgKDrkPoCwBAvIO"
        "AR4g1wsfghBzaWduuvLgin8PAeaO8O2i7fshgwjXIgKDCNcjIIAg1yHTH9Mf0x/tRNDSANMfINMf0//XCgAK+QFAzPkQmiiUXwrbMeHywIff"
        "ArNQB7Dy0IRRJbry4IVQNrry4Ib4I7vy0IgikvgA3gGkf8jKAMsfAc8Wye1UIJL4D95w2zzYEAP27aLt+wL0BCFukmwhjkwCIdc5MHCUIccA"
        "s44tAdcoIHYeQ2wg10nACPLgkyDXSsAC8uCTINcdBscSwgBSMLDy0InXTNc5MAGk6GwShAe78uCT10rAAPLgk+1V4tIAAcAAkVvg69csCBQg"
        "kXCWAdcsCBwS4lIQseMPINdKERITAJYB+kAB+kT4KPpEMFi68uCR7UTQgQFB1xj0BQSdf8jKAEAEgwf0U/Lgi44UA4MH9Fvy4Iwi1woAIW4B"
        "s7Dy0JDiyFADzxYS9ADJ7VQAcjDXLAgkji0h8uCS0gDtRNDSAFETuvLQj1RQMJExnAGBAUDXIdcKAPLgjuLIygBYzxbJ7VST8sCN4gAQk1vb"
        "MeHXTNA="
    ),
}
# The id of a v4 wallet in the basechain, and what the workchain adds to it.
_V4_WALLET_ID: Final = 698983191
_V4_MOST: Final = 4
_V5_MOST: Final = 255
# A v5 wallet's id: client context, workchain, version 0, number 0, and the network over all of it.
_V5_CLIENT: Final = 1 << 31
_V5_SIGNED_EXTERNAL: Final = 0x7369676E
_ACTION_SEND_MSG: Final = 0x0EC3C86D
# Fees apart from the value (1), and a message that cannot be sent does not take the others with it, nor the sequence
# number (2); v5 wants the latter of every external message.
_MODE: Final = 3


class WalletVersion(StrEnum):
    """Which code the wallet has."""

    V4R2 = "v4r2"
    V5R1 = "v5r1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """One message that the wallet sends; `value` in nanoton, the fees come on top."""

    to: Address
    value: int
    body: Cell
    state_init: Cell | None = None
    bounce: bool = True


class WalletState(NamedTuple):
    """What a wallet's proved data cell says."""

    seqno: int
    wallet_id: int
    public_key: bytes


@dataclass(frozen=True, kw_only=True)
class Wallet:
    """A wallet and the key that signs for it. `global_id` is the network's: a v5 wallet is another one on each."""

    key: SigningKey = field(repr=False, compare=False)
    version: WalletVersion
    global_id: int
    workchain: int = 0

    @classmethod
    def load(cls, file: Path, version: WalletVersion, global_id: int) -> Self:
        """Read the key from a file of the process's own user with mode 0600: 32 bytes in hex, and perhaps a newline.

        Raises `ConfigurationRefused` (`chain.wallet_key`).
        """
        return cls(key=load_key(file), version=version, global_id=global_id)

    @cached_property
    def public_key(self) -> bytes:
        """The Ed25519 public key, 32 bytes."""
        return ed25519_public_key(self.key)

    @property
    def wallet_id(self) -> int:
        """What keeps wallets of one key apart."""
        match self.version:
            case WalletVersion.V4R2:
                return _V4_WALLET_ID + self.workchain
            case WalletVersion.V5R1:
                return (_V5_CLIENT | (self.workchain & 0xFF) << 23) ^ (self.global_id & 0xFFFFFFFF)
            case _:
                assert_never(self.version)

    @cached_property
    def state_init(self) -> Cell:
        """What deploys the wallet."""
        (code,) = load_boc(load_base64(_CODES[self.version]))
        data = Builder()
        if self.version is WalletVersion.V5R1:
            data.bit(value=True)  # signatures are allowed
        data.uint(0, 32).uint(self.wallet_id, 32).bytes(self.public_key).maybe_ref(None)
        return dump_state_init(code, data.end())

    @cached_property
    def address(self) -> Address:
        """Where the wallet lives."""
        return Address(self.workchain, self.state_init.hash)

    def message(self, *, seqno: int, valid_until: int, to: Address, value: int, body: Cell) -> Cell:
        """Return the signed external message that sends one bounceable message (`ledger.Sender`)."""
        return self.sign((Transfer(to=to, value=value, body=body),), seqno=seqno, valid_until=valid_until)

    def hash_of(self, message: Cell) -> bytes:
        """Return the normalized hash of a message of this wallet's (`ledger.Sender`)."""
        return load_message(message).normalized_hash

    def sign(self, transfers: Sequence[Transfer], *, seqno: int, valid_until: int) -> Cell:
        """Return the external message that has the wallet send these; with its state where seqno is 0.

        Raises `Malformed` (`cell.malformed`) where it does not fit, `ConfigurationRefused` (`chain.wallet`) where they
        are too many.
        """
        most = _V4_MOST if self.version is WalletVersion.V4R2 else _V5_MOST
        if len(transfers) > most:
            raise ConfigurationRefused(
                Reason.CHAIN_WALLET, found=f"{len(transfers)} messages at once", wanted=f"at most {most}"
            )
        return self._external(self._signed(transfers, seqno, valid_until), deploy=seqno == 0)

    def _signed(self, transfers: Sequence[Transfer], seqno: int, valid_until: int) -> Cell:
        match self.version:
            case WalletVersion.V4R2:
                request = Builder().uint(self.wallet_id, 32).uint(valid_until, 32).uint(seqno, 32).uint(0, 8)
                for transfer in transfers:
                    request.uint(_MODE, 8).ref(_internal(transfer))
                return Builder().bytes(self._signature(request)).slice(request.end()).end()
            case WalletVersion.V5R1:
                request = Builder().uint(_V5_SIGNED_EXTERNAL, 32).uint(self.wallet_id, 32)
                request.uint(valid_until, 32).uint(seqno, 32).maybe_ref(_actions(transfers)).bit(value=False)
                return Builder().slice(request.end()).bytes(self._signature(request)).end()
            case _:
                assert_never(self.version)

    def _signature(self, request: Builder) -> bytes:
        return sign_ed25519(self.key, request.end().hash)

    def _external(self, body: Cell, *, deploy: bool) -> Cell:
        """Wrap the body as ext_in_msg_info$10 from addr_none, no import fee."""
        message = Builder().uint(0b10, 2).address(None).address(self.address).coins(0)
        if deploy:
            message.uint(0b11, 2).ref(self.state_init)
        else:
            message.bit(value=False)
        return message.bit(value=True).ref(body).end()

    def seqno(self, account: Account | None) -> int:
        """Return the sequence number that the next message must carry; 0 before the wallet, as proved, is deployed.

        Raises `Unavailable` (`chain.wallet`) where it is frozen, or not this wallet's.
        """
        if account is None or account.status is AccountStatus.UNINIT:
            return 0
        if account.data is None:
            raise Unavailable(Reason.CHAIN_WALLET, found=f"a wallet that is {account.status}", wanted="an active one")
        try:
            state = _load_state(account.data, self.version)
        except Malformed as error:
            raise Unavailable(Reason.CHAIN_WALLET, found=error.found, wanted=f"a wallet {self.version}") from None
        if (state.wallet_id, state.public_key) != (self.wallet_id, self.public_key):
            raise Unavailable(
                Reason.CHAIN_WALLET,
                found=f"the wallet {state.wallet_id} of the key {state.public_key.hex()}",
                wanted=f"{self.wallet_id} of {self.public_key.hex()}",
            )
        return state.seqno


def load_key(file: Path) -> SigningKey:
    """Read an Ed25519 key as `Wallet.load` does. Raises `ConfigurationRefused` (`chain.wallet_key`)."""
    return ed25519_signing_key(_read_seed(file))


def new_key_file(file: Path) -> None:
    """Write a new key to a file that does not exist yet, mode 0600, durably. Raises `OSError`."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _FLAGS, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as opened:
        opened.write(secrets.token_hex(SEED_SIZE) + "\n")
        opened.flush()
        os.fsync(opened.fileno())


def _read_seed(file: Path) -> bytes:
    try:
        with os.fdopen(os.open(file, os.O_RDONLY | _FLAGS), "rb") as opened:
            status = os.fstat(opened.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise _refused(f"{file}, which is no regular file", "a regular file, not a link")
            if status.st_uid != os.geteuid() or status.st_mode & _OTHERS:
                raise _refused(
                    f"{file} of user {status.st_uid}, mode {stat.S_IMODE(status.st_mode):04o}",
                    f"user {os.geteuid()} and mode 0600: chmod 600 {file}",
                )
            raw = opened.read(_KEY_FILE_SIZE + 1)
    except OSError as error:
        raise _refused(f"{file}: {error.strerror}", "a regular file that can be read, no link") from None
    try:
        return load_hex(raw.decode("ascii").removesuffix("\n"), size=SEED_SIZE)
    except (Malformed, UnicodeDecodeError):
        # Nothing of it is repeated: it may be a key in another form.
        raise _refused(f"something else in {file}", f"{SEED_SIZE} bytes in hex") from None


def _load_state(data: Cell, version: WalletVersion) -> WalletState:
    slice_ = data.slice()
    if version is WalletVersion.V5R1:
        slice_.load_bit()
    state = WalletState(slice_.load_uint(32), slice_.load_uint(32), slice_.load_bytes(32))
    slice_.load_maybe_ref()  # plugins or extensions
    slice_.end()
    return state


def _actions(transfers: Sequence[Transfer]) -> Cell | None:
    """Chain the actions of a v5 wallet: each refers to those before it (OutList)."""
    listed = Builder().end()
    for transfer in transfers:
        listed = Builder().ref(listed).uint(_ACTION_SEND_MSG, 32).uint(_MODE, 8).ref(_internal(transfer)).end()
    return listed if transfers else None


def _internal(transfer: Transfer) -> Cell:
    """Write int_msg_info$0 as a wallet may: source and fees are filled in by the validators."""
    message = Builder().uint(0b01, 2).bit(transfer.bounce).bit(value=False).address(None).address(transfer.to)
    message.coins(transfer.value).bit(value=False).coins(0).coins(0).uint(0, 64 + 32)
    if transfer.state_init is None:
        message.bit(value=False)
    else:
        message.uint(0b11, 2).ref(transfer.state_init)
    return message.bit(value=True).ref(transfer.body).end()


def _refused(found: str, wanted: str) -> ConfigurationRefused:
    return ConfigurationRefused(Reason.WALLET_KEY, found=found, wanted=wanted)
