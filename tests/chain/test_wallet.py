"""The wallet: addresses and messages as another library makes them, and a key file that others cannot read."""

import asyncio
import os
import stat
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from attestd.chain.account import Account, dump_state_init
from attestd.chain.ledger import AccountStatus
from attestd.chain.transactions import load_message
from attestd.chain.wallet import Transfer, Wallet, WalletVersion, new_key_file
from attestd.errors import ConfigurationRefused, Reason, Unavailable
from attestd.signature import ed25519_signing_key
from attestd.tvm.address import Address
from attestd.tvm.boc import dump_boc, load_boc
from attestd.tvm.cell import Builder, Cell
from tests.refusals import misconfigured, refused

# The oracle; its types say little.
theirs_core: Any = import_module("pytoniq_core")
theirs_lib: Any = import_module("pytoniq")

SEED = bytes(range(32))
MAINNET, TESTNET = -239, -3
TO = Address(0, bytes.fromhex("c3" * 32))
BODY = Builder().uint(0x2B69F9C9, 32).uint(7, 64).end()
UNTIL = 1_800_000_060
VERSIONS = list(WalletVersion)


def wallet(version: WalletVersion, global_id: int = MAINNET, workchain: int = 0) -> Wallet:
    return Wallet(key=ed25519_signing_key(SEED), version=version, global_id=global_id, workchain=workchain)


class Nowhere:
    """A provider that knows no account."""

    async def raw_get_account_state(self, *_: Any, **__: Any) -> tuple[None, None]:
        return None, None


def theirs(version: WalletVersion, global_id: int = MAINNET, workchain: int = 0) -> Any:
    ours = wallet(version)
    private = SEED + ours.public_key

    async def make() -> Any:
        if version is WalletVersion.V4R2:
            return await theirs_lib.WalletV4R2.from_data(
                Nowhere(),
                ours.public_key,
                wc=workchain,
                private_key=private,
            )
        return await theirs_lib.WalletV5R1.from_data(
            Nowhere(),
            ours.public_key,
            wc=workchain,
            network_global_id=global_id,
            private_key=private,
        )

    return asyncio.run(make())


def their_cell(cell: Cell) -> Any:
    return theirs_core.Cell.one_from_boc(dump_boc(cell))


@pytest.mark.parametrize("workchain", [0, -1])
@pytest.mark.parametrize("global_id", [MAINNET, TESTNET, -777])
@pytest.mark.parametrize("version", VERSIONS)
def test_addresses_are_those_of_another_library(version: WalletVersion, global_id: int, workchain: int) -> None:
    ours, other = wallet(version, global_id, workchain), theirs(version, global_id, workchain)
    assert (ours.address.workchain, ours.address.hash) == (other.address.wc, other.address.hash_part)
    assert ours.wallet_id == other.wallet_id


def test_the_codes_are_the_published_ones() -> None:
    hashes = {version: wallet(version).state_init.refs[0].hash.hex() for version in VERSIONS}
    assert hashes == {
        "v4r2": "feb5ff6820e2ff0d9483e7e0d62c817d846789fb4ae580c878866d959dabd5c0",
        "v5r1": "20834b7b72b112147e1b2fb457b84e74d1a30f04f737d4f62a668e9552d2b72f",
    }


@pytest.mark.parametrize("count", [1, 2, 4])
@pytest.mark.parametrize("version", VERSIONS)
def test_what_is_signed_is_what_another_library_signs(version: WalletVersion, count: int) -> None:
    ours, other = wallet(version), theirs(version)
    state = dump_state_init(Builder().uint(1, 8).end(), Builder().uint(2, 8).end())
    transfers = [Transfer(to=TO, value=50_000_000 + number, body=BODY) for number in range(count)]
    transfers[-1] = Transfer(to=TO, value=5, body=BODY, state_init=state, bounce=False)
    external = ours.sign(transfers, seqno=6, valid_until=UNTIL)

    parsed = theirs_core.MessageAny.deserialize(their_cell(external).begin_parse())
    messages = [
        other.create_wallet_internal_message(
            destination=theirs_core.Address((TO.workchain, TO.hash)),
            value=transfer.value,
            body=their_cell(BODY),
            bounce=transfer.bounce,
            state_init=None
            if transfer.state_init is None
            else theirs_core.StateInit.deserialize(their_cell(state).begin_parse()),
        )
        for transfer in transfers
    ]
    expected = other.raw_create_transfer_msg(
        private_key=other.private_key, seqno=6, wallet_id=ours.wallet_id, messages=messages, valid_until=UNTIL
    )
    assert unsigned(version, parsed.body, count) == unsigned(version, expected, count)


def unsigned(version: WalletVersion, body: Any, count: int) -> list[Any]:
    """Take a signed body apart, since libraries write the messages inside in more than one way."""
    parts = body.begin_parse()
    found: list[Any] = []
    if version is WalletVersion.V4R2:
        parts.skip_bits(512)
        found += [parts.load_uint(32), parts.load_uint(32), parts.load_uint(32), parts.load_uint(8)]
        for _ in range(count):
            found += [parts.load_uint(8), read(parts.load_ref())]
    else:
        found += [parts.load_uint(32) for _ in range(4)] + [parts.load_uint(1)]
        actions = parts.load_ref()
        found.append(parts.load_uint(1))
        for _ in range(count):
            action = actions.begin_parse()
            actions = action.load_ref()
            found += [action.load_uint(32), action.load_uint(8), read(action.load_ref())]
        assert actions == theirs_core.Cell.empty()
    return found


def read(cell: Any) -> tuple[Any, ...]:
    """Read an internal message."""
    message = theirs_core.MessageAny.deserialize(cell.begin_parse())
    info = message.info
    init = None if message.init is None else message.init.serialize().hash
    return (
        info.ihr_disabled,
        info.bounce,
        info.bounced,
        info.src,
        info.dest,
        info.value.grams,
        info.fwd_fee,
        init,
        message.body.hash,
    )


@pytest.mark.parametrize("version", VERSIONS)
def test_the_signature_is_over_what_the_wallet_hashes(version: WalletVersion) -> None:
    ours = wallet(version)
    parts = load_message(ours.message(seqno=3, valid_until=UNTIL, to=TO, value=1, body=BODY)).body.slice()
    if version is WalletVersion.V4R2:
        signature, request = parts.load_bytes(64), parts.to_cell()
    else:
        signed = Builder().uint(parts.load_uint(parts.bits_left - 512), 32 * 4 + 2).ref(parts.load_ref()).end()
        signature, request = parts.load_bytes(64), signed
    ours.key.public_key().verify(signature, request.hash)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_first_message_brings_the_wallets_state(version: WalletVersion) -> None:
    ours = wallet(version)
    first = theirs_core.MessageAny.deserialize(
        their_cell(ours.message(seqno=0, valid_until=UNTIL, to=TO, value=1, body=BODY)).begin_parse()
    )
    assert first.init is not None
    assert first.init.serialize().hash == ours.state_init.hash == ours.address.hash
    second = ours.message(seqno=1, valid_until=UNTIL, to=TO, value=1, body=BODY)
    assert theirs_core.MessageAny.deserialize(their_cell(second).begin_parse()).init is None
    assert load_message(second).destination == ours.address


def test_a_message_can_be_stored_and_is_the_same_whenever_it_is_made() -> None:
    ours = wallet(WalletVersion.V5R1)
    made = [dump_boc(ours.message(seqno=1, valid_until=UNTIL, to=TO, value=1, body=BODY)) for _ in range(2)]
    assert made[0] == made[1]
    assert load_message(load_boc(made[0])[0]).hash == load_message(load_boc(made[1])[0]).normalized_hash


@pytest.mark.parametrize(("version", "most"), [(WalletVersion.V4R2, 4), (WalletVersion.V5R1, 255)])
def test_how_many_messages_fit(version: WalletVersion, most: int) -> None:
    transfers = [Transfer(to=TO, value=1, body=BODY)] * (most + 1)
    assert wallet(version).sign(transfers[1:], seqno=1, valid_until=UNTIL).depth >= 1
    assert wallet(version).sign((), seqno=0, valid_until=UNTIL).refs
    with misconfigured(Reason.CHAIN_WALLET):
        wallet(version).sign(transfers, seqno=1, valid_until=UNTIL)


def data(ours: Wallet, seqno: int, *, wallet_id: int | None = None, key: bytes | None = None) -> Cell:
    cell = Builder()
    if ours.version is WalletVersion.V5R1:
        cell.bit(True)
    cell.uint(seqno, 32).uint(ours.wallet_id if wallet_id is None else wallet_id, 32)
    return cell.bytes(key or ours.public_key).maybe_ref(None).end()


def account(ours: Wallet, held: Cell | None, status: AccountStatus = AccountStatus.ACTIVE) -> Account:
    return Account(address=ours.address, status=status, balance=1, code=BODY, data=held)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_sequence_number_is_read_from_the_proved_state(version: WalletVersion) -> None:
    ours = wallet(version)
    assert ours.seqno(None) == 0
    assert ours.seqno(account(ours, None, AccountStatus.UNINIT)) == 0
    assert ours.seqno(account(ours, data(ours, 12))) == 12
    assert ours.state_init.refs[1] == data(ours, 0)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_wallet_that_is_another(version: WalletVersion) -> None:
    ours = wallet(version)
    for held in (data(ours, 1, wallet_id=1), data(ours, 1, key=bytes(32)), BODY, Builder().end()):
        with refused(Unavailable, Reason.CHAIN_WALLET):
            ours.seqno(account(ours, held))
    with refused(Unavailable, Reason.CHAIN_WALLET):
        ours.seqno(account(ours, None, AccountStatus.FROZEN))


# The key file


def written(tmp_path: Path, text: str = SEED.hex() + "\n", mode: int = 0o600) -> Path:
    file = tmp_path / "wallet.key"
    file.write_text(text)
    file.chmod(mode)
    return file


def load(file: Path) -> Wallet:
    return Wallet.load(file, WalletVersion.V5R1, MAINNET)


def test_a_key_file(tmp_path: Path) -> None:
    assert load(written(tmp_path)).address == wallet(WalletVersion.V5R1).address
    assert load(written(tmp_path, SEED.hex(), 0o400)).address == wallet(WalletVersion.V5R1).address


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660, 0o601, 0o610, 0o777])
def test_a_key_file_that_others_can_reach(tmp_path: Path, mode: int) -> None:
    with misconfigured(Reason.WALLET_KEY):
        load(written(tmp_path, mode=mode))


@pytest.mark.skipif(os.geteuid() != 0, reason="root alone can give a file away")
def test_a_key_file_of_another_user(tmp_path: Path) -> None:
    file = written(tmp_path)
    os.chown(file, 12345, -1)
    with misconfigured(Reason.WALLET_KEY):
        load(file)


@pytest.mark.parametrize(
    "text", ["", "\n", "00" * 31, "00" * 33, "zz" * 32, "00" * 32 + "\n\n", "\xe9" * 64, "word " * 24]
)
def test_a_key_file_with_something_else(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigurationRefused) as caught:
        load(written(tmp_path, text))
    assert caught.value.reason is Reason.WALLET_KEY
    # What may be a key in another form is not repeated.
    assert text.strip() == "" or text.strip()[:8] not in str(caught.value)


def test_no_key_file(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(written(tmp_path))
    os.mkfifo(tmp_path / "pipe", 0o600)
    for file in (tmp_path / "absent", tmp_path, link, tmp_path / "pipe"):
        with misconfigured(Reason.WALLET_KEY):
            load(file)


def test_a_new_key(tmp_path: Path) -> None:
    file = tmp_path / "new.key"
    previous = os.umask(0)
    try:
        new_key_file(file)
    finally:
        os.umask(previous)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    first = load(file).address
    with pytest.raises(FileExistsError):
        new_key_file(file)
    assert load(file).address == first
    new_key_file(tmp_path / "other.key")
    assert load(tmp_path / "other.key").address != first


def test_the_key_is_in_no_text_of_the_wallet() -> None:
    ours = wallet(WalletVersion.V5R1)
    assert SEED.hex() not in repr(ours)
    assert "Ed25519" not in repr(ours)
