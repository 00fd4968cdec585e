"""What goes on by itself from the log to the chain: the sequencer and, where a chain is named, the publisher.

All that they need is made here, at start, and refused here where it is not as it has to be.
"""

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Final, Self

from attestd.chain.liteservers import Liteservers
from attestd.chain.network import Network
from attestd.chain.onchain import OnChain
from attestd.chain.wallet import Wallet, WalletVersion, load_key
from attestd.errors import AttestdError, ConfigurationRefused, Malformed, Reason
from attestd.metrics import Metrics
from attestd.peer import Peer
from attestd.registrar.cosigning import Elsewhere, OwnKey
from attestd.registrar.orders import Orders
from attestd.registrar.publisher import Publisher
from attestd.registrar.registrar import Registrar
from attestd.registrar.sequencer import Sequencer
from attestd.registry import epochs, keys, log
from attestd.registry.database import Transaction
from attestd.registry.epochs import Terms
from attestd.settings import ChainSettings, Settings
from attestd.signature import SigningKey, ed25519_public_key
from attestd.transparency import note
from attestd.transparency.note import NoteKey
from attestd.transparency.record import load_record
from attestd.tvm.address import Address

_log: Final = logging.getLogger(__name__)

_TON: Final = 1_000_000_000
_MEASURED_EVERY: Final = 10


class Publishing:
    """The background tasks of a service on the way from the log to the chain."""

    def __init__(
        self,
        registrar: Registrar,
        metrics: Metrics,
        sequencer: Sequencer,
        publisher: Publisher | None,
        log_key: NoteKey,
    ) -> None:
        """Take what `assemble` has made."""
        self.log_key = log_key
        self.sequencer = sequencer
        self.publisher = publisher
        self._registrar = registrar
        self._metrics = metrics

    @classmethod
    def assemble(
        cls, settings: Settings, registrar: Registrar, metrics: Metrics, clock: Callable[[], datetime]
    ) -> Self:
        """Make them as the settings say. Raises `ConfigurationRefused`."""
        key = load_key(settings.log_key)
        publisher = None if settings.chain is None else _publisher(settings.chain, registrar, metrics, clock)
        terms = Terms(
            interval=settings.epoch_interval,
            validity=settings.checkpoint_validity,
            note=notary(key, settings.registry_id),
            is_published=publisher is not None,
            void=lambda: None if publisher is None else publisher.void,
        )
        log_key = NoteKey(settings.registry_id, ed25519_public_key(key))
        return cls(registrar, metrics, Sequencer(registrar, metrics, terms), publisher, log_key)

    @property
    def orders(self) -> Orders | None:
        """Where epochs are published; null without a chain."""
        return None if self.publisher is None else self.publisher.orders

    async def run(self) -> None:
        """Run until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.sequencer.run())
            tasks.create_task(self._keep_measuring())
            if self.publisher is not None:
                tasks.create_task(self.publisher.run())

    async def measure(self) -> None:
        """Set the gauges of log, map and chain."""
        is_published, at = self.publisher is not None, self._registrar.now()
        await self._registrar.search(_measured, self._metrics, at, is_published=is_published)

    async def _keep_measuring(self) -> None:
        while True:
            try:
                await self.measure()
            except AttestdError as error:
                _log.warning("the log is not measured: %s", error)
            except Exception:  # noqa: BLE001 - it is logged, and must not end what has to go on
                _log.exception("the log is not measured")
            await asyncio.sleep(_MEASURED_EVERY)


def notary(key: SigningKey, origin: str) -> Callable[[int, bytes], bytes]:
    """Return what signs the log's own checkpoints (C2SP tlog-checkpoint); its origin is the name of the registry."""

    def sign(size: int, root: bytes) -> bytes:
        return note.sign(note.dump_checkpoint_body(origin, size, root), origin, key).encode()

    return sign


def _publisher(
    chain: ChainSettings, registrar: Registrar, metrics: Metrics, clock: Callable[[], datetime]
) -> Publisher:
    ledger, wallet, orders = on_chain(chain, clock)
    own = OwnKey(load_key(chain.verifier_key), orders.global_id, orders.registry)
    return Publisher(
        registrar.registry,
        ledger,
        wallet,
        [own, *(Elsewhere(Peer("chain_cosigners", url), own) for url in chain.cosigners)],
        orders=orders,
        metrics=metrics,
        clock=clock,
    )


def on_chain(chain: ChainSettings, clock: Callable[[], datetime]) -> tuple[OnChain, Wallet, Orders]:
    """Return the chain, the wallet that pays, and what the operator has decided. Raises `ConfigurationRefused`."""
    network, address = contract(chain.network, chain.registry)
    wallet = Wallet.load(chain.wallet_key, WalletVersion(chain.wallet_version), network.global_id)
    orders = Orders(
        registry=address,
        global_id=network.global_id,
        spending_cap=chain.spending_cap * _TON,
        verifiers=network.verifiers,
        threshold=network.threshold,
        admin=network.admin,
    )
    return OnChain(Liteservers(network, lambda: clock().timestamp()), address, wallet), wallet, orders


def contract(file: Path, named: str | None) -> tuple[Network, Address]:
    """Return the network of a file, and the contract's address on it. Raises `ConfigurationRefused`."""
    try:
        network = Network.load(file)
    except OSError as error:
        raise _refused("chain_network", f"{file}: {error.strerror}", "a file that can be read") from None
    return network, _address(named, network)


def _address(named: str | None, network: Network) -> Address:
    """Return the contract's address: of the settings, of the network file, or of both if they say the same."""
    try:
        address = network.registry if named is None else Address.parse(named)
    except Malformed as error:
        raise _refused("chain_registry", error.found, error.wanted) from None
    if address is None:
        raise _refused("chain_registry", "nothing, and none in the network file", "the address of the contract")
    if network.registry not in (None, address):
        raise _refused("chain_registry", "another address than in the network file", "the same")
    return address


def _measured(transaction: Transaction, metrics: Metrics, at: datetime, *, is_published: bool) -> None:
    size, known = log.size(transaction), epochs.confirmed(transaction)
    metrics.log_records.set(size)
    metrics.map_keys.set(keys.listed(transaction))
    reached = 0
    if known is not None:
        reached = known.checkpoint.tree_size
        metrics.epoch.set(known.number)
        if known.coordinates is not None:
            metrics.publication_success.set(known.coordinates.block_utime)
    oldest = log.records(transaction, reached, 1) if is_published else ()
    metrics.publication_lag.set(max(0, *((at - load_record(raw).at).total_seconds() for raw in oldest), 0))


def _refused(name: str, found: str, wanted: str) -> ConfigurationRefused:
    return ConfigurationRefused(Reason.SETTINGS, found=f"{name}: {found}", wanted=wanted)
