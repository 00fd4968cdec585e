"""The same by the settings alone: three services, liteservers, the real contract with a threshold of two."""

import asyncio
import json
import socket
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from attestd.api import Service
from attestd.chain.devnet import DEVNET_GLOBAL_ID
from attestd.chain.messages import DEPLOY_VALUE
from attestd.chain.onchain import OnChain
from attestd.chain.state import Governance, state_init
from attestd.chain.wallet import Transfer, Wallet, WalletVersion, load_key
from attestd.registrar import bootstrap_admin
from attestd.registrar.publisher import Publisher
from attestd.registry import Registry, access, epochs
from attestd.registry.values import Role
from attestd.settings import Settings
from attestd.signature import ed25519_public_key
from attestd.simulator import NvidiaVendor, Vendor
from attestd.transparency.note import NoteKey
from attestd.tvm.address import Address
from attestd.tvm.boc import dump_boc
from attestd.tvm.cell import Builder
from tests.api.world import World as Api
from tests.api.world import amd_vendors, environment
from tests.chain.devnet.world import TON, World, on_devnet
from tests.cosigning.world import SEEDS, THRESHOLD, Verifier, write_key
from tests.registrar_chain.world import VERIFIERS
from tests.registry.samples import digest

REGISTRY_ID = "simulated:cosigned"


async def deploy(world: World, folder: Path) -> Address:
    """Deploy a contract for three verifiers, and pay in advance for what publishes to it."""
    wallet = Wallet.load(Path(write_key(folder / "wallet-key", digest("wallet"))), WalletVersion.V5R1, DEVNET_GLOBAL_ID)
    await world.net.fund(wallet.address, 1000 * TON)
    await world.net.chain.send(dump_boc(wallet.sign((), seqno=0, valid_until=int(world.clock()) + 60)))
    governance = Governance(
        admin=Address(0, bytes(32)),
        threshold=THRESHOLD,
        timelock=3600,
        max_validity=3600,
        verifiers=tuple(enumerate(VERIFIERS)),
    )
    init = state_init(governance)
    address = Address(0, init.hash)
    transfer = Transfer(to=address, value=DEPLOY_VALUE, body=Builder().end(), state_init=init, bounce=False)
    seqno = await world.seqno(wallet)
    await world.net.chain.send(dump_boc(wallet.sign((transfer,), seqno=seqno, valid_until=int(world.clock()) + 60)))
    await world.net.advance(2)
    (folder / "network.json").write_text(json.dumps(world.net.config))
    return address


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


class Three:
    """The settings of all three; each side has to name the other."""

    def __init__(self, folder: Path, address: Address, clock: Callable[[], datetime]) -> None:
        self._folder = folder
        self.clock = clock
        self.vendor = Vendor.of(seed="attestd", at=clock())
        self.urls = [f"http://127.0.0.1:{free_port()}" for _ in VERIFIERS]
        self._common = {
            "registry_id": REGISTRY_ID,
            "chain_network": str(folder / "network.json"),
            "chain_registry": str(address),
        }
        log_key = Path(write_key(folder / "log-key", digest("log key")))
        self._log_key = str(NoteKey(REGISTRY_ID, ed25519_public_key(load_key(log_key))))
        self.leader = self._settings(
            0,
            log_key=str(log_key),
            chain_wallet_key=str(folder / "wallet-key"),
            chain_cosigners=",".join(self.urls[1:]),
            epoch_interval="1",
        )
        self.admin_token = bootstrap_admin(self.leader, clock())
        self._token = folder / "token"
        self._token.write_text(self._auditor())
        self._token.chmod(0o600)

    def _auditor(self) -> str:
        registry = Registry.open(self.leader.database_url, registry_id=REGISTRY_ID, at=self.clock())
        at, until = self.clock(), self.clock() + timedelta(days=1)
        try:
            issue = registry.write(access.issue, Role.AUDITOR, None, label="v", expires_at=until, by="test", at=at)
            return issue.result().token
        finally:
            registry.close()

    @property
    def wallet(self) -> Wallet:
        return Wallet.load(self._folder / "wallet-key", WalletVersion.V5R1, DEVNET_GLOBAL_ID)

    def register(self, service: Service, stack: ExitStack) -> dict[str, Any]:
        """Register a key with the registry."""
        amd, nvidia = amd_vendors(self.clock()), NvidiaVendor.of(at=self.clock())
        world = Api(service, self.leader, self.vendor, amd, nvidia, self.clock, self.admin_token, stack)
        return world.provider().register()

    def _settings(self, number: int, **settings: str) -> Settings:
        folder = self._folder / f"instance {number}"
        folder.mkdir(mode=0o700)
        key = write_key(self._folder / f"verifier-key {number}", SEEDS[number])
        listen = self.urls[number].removeprefix("http://")
        own = {"listen": listen, "chain_verifier_key": key}
        return Settings.load(None, environment(folder, self.vendor, **self._common | own | settings), self.clock())

    @contextmanager
    def verifier(self, number: int) -> Iterator[Verifier]:
        settings = self._settings(
            number,
            cosign_of=self.urls[0],
            cosign_token=str(self._token),
            cosign_log_key=self._log_key,
            cosign_leader=VERIFIERS[0].hex(),
        )
        with Service.started(settings, clock=self.clock) as service:
            service.until_ready()
            yield Verifier(service, settings)


async def idle(_: Publisher) -> None:
    """Leave the rounds to the test."""


@on_devnet
async def test_two_of_three_publish_on_the_real_contract(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Publisher, "run", idle)
    address = await deploy(world, tmp_path)
    three = Three(tmp_path, address, lambda: datetime.fromtimestamp(world.clock(), UTC))
    with ExitStack() as stack:
        verifiers = [await asyncio.to_thread(stack.enter_context, three.verifier(number)) for number in (1, 2)]
        service = await asyncio.to_thread(stack.enter_context, Service.started(three.leader, clock=three.clock))
        await asyncio.to_thread(service.until_ready)
        result = await asyncio.to_thread(three.register, service, stack)
        world.clock.at += 2
        registry, publishing = service.site.registrar.registry, service.site.publishing
        assert publishing.publisher is not None

        async def there(work: Coroutine[Any, Any, object]) -> None:
            await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, service.loop))

        await there(publishing.sequencer.once())
        newest = registry.read(epochs.newest)
        assert newest is not None
        for _ in range(10):
            await there(publishing.publisher.once())
            world.clock.at += 3
            await world.net.advance()
        assert registry.read(epochs.confirmed) is not None

        seen = await OnChain(world.reader(), address, three.wallet).registry()
        assert seen.checkpoint == newest.checkpoint
        assert [one.held().map_root for one in verifiers] == [newest.checkpoint.map_root, bytes(32)]
        signers = {one.verifier for one in registry.read(epochs.signatures, newest)}
        assert signers == {VERIFIERS[0], VERIFIERS[1]}
        assert result["tier"] == "affirming"
