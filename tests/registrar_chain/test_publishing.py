"""What a service makes at start, and what goes on by itself: refused where it is not as it has to be."""

import asyncio
import json
from base64 import b64encode
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from attestd.api import Service
from attestd.errors import ConfigurationRefused, Reason, Unavailable
from attestd.registrar.publishing import Publishing
from attestd.registry import epochs, log
from attestd.registry.epochs import EpochState
from attestd.settings import ChainSettings
from attestd.transparency.note import load_checkpoint_body, open_note
from attestd.tvm.address import Address
from tests.api.world import Clock
from tests.api.world import world as started

ADDRESS = Address(0, bytes(range(32)))
A_KEY = "07" * 32


def network(folder: Path, **own: object) -> Path:
    file = folder / "network.json"
    server = {"ip": 2130706433, "port": 1, "id": {"@type": "pub.ed25519", "key": b64encode(bytes(32)).decode()}}
    file.write_text(json.dumps({"liteservers": [server], "attestd": {"global_id": -3, "agree": 1} | own}))
    return file


@pytest.fixture
def chain(tmp_path: Path) -> ChainSettings:
    """Return the settings of a chain whose one liteserver does not answer."""
    for name in ("wallet", "verifier"):
        (tmp_path / name).write_text(A_KEY)
        (tmp_path / name).chmod(0o600)
    return ChainSettings(
        network=network(tmp_path),
        registry=str(ADDRESS),
        wallet_key=tmp_path / "wallet",
        wallet_version="v5r1",
        verifier_key=tmp_path / "verifier",
        cosigners=(),
        spending_cap=20,
    )


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with started(tmp_path, Clock()) as running:
        yield running.service


def test_a_service_without_a_chain_sequences_its_log(service: Service) -> None:
    site = service.site
    publishing = site.publishing
    assert publishing.publisher is None
    candidate = asyncio.run_coroutine_threadsafe(publishing.sequencer.once(), service.loop).result()
    candidate = candidate or site.registrar.registry.read(epochs.unsigned)
    assert candidate is not None
    assert candidate.state is EpochState.BUILT
    head = load_checkpoint_body(open_note(candidate.note, [publishing.log_key]))
    assert (head.origin, head.size, head.root) == (
        site.settings.registry_id,
        candidate.checkpoint.tree_size,
        candidate.checkpoint.log_root,
    )


def assembled(service: Service, chain: ChainSettings) -> Publishing:
    site = service.site
    return Publishing.assemble(replace(site.settings, chain=chain), site.registrar, site.metrics, site.clock)


def test_with_a_chain_there_is_a_publisher(service: Service, chain: ChainSettings) -> None:
    publisher = assembled(service, chain).publisher
    assert publisher is not None
    assert (publisher.orders.registry, publisher.orders.global_id) == (ADDRESS, -3)
    assert publisher.orders.spending_cap == 20 * 10**9
    with pytest.raises(Unavailable) as refused:
        asyncio.run(publisher.once())
    assert refused.value.reason is Reason.CHAIN_UNAVAILABLE


def test_the_network_file_may_name_the_registry(service: Service, chain: ChainSettings, tmp_path: Path) -> None:
    network(tmp_path, registry=str(ADDRESS))
    publisher = assembled(service, replace(chain, registry=None)).publisher
    assert publisher is not None
    assert publisher.orders.registry == ADDRESS


@pytest.mark.parametrize(
    ("change", "pinned", "name"),
    [
        ({"registry": None}, None, "chain_registry"),
        ({"registry": "elsewhere"}, None, "chain_registry"),
        ({"registry": str(ADDRESS)}, Address(0, bytes(32)), "chain_registry"),
        ({"network": Path("/nowhere")}, None, "chain_network"),
    ],
)
def test_a_chain_that_is_not_clear_is_refused(
    service: Service, chain: ChainSettings, tmp_path: Path, change: dict[str, object], pinned: Address | None, name: str
) -> None:
    network(tmp_path, **({"registry": str(pinned)} if pinned else {}))
    with pytest.raises(ConfigurationRefused) as refused:
        assembled(service, replace(chain, **change))  # type: ignore[arg-type]
    assert refused.value.reason is Reason.SETTINGS
    assert refused.value.found.startswith(name)


@pytest.mark.parametrize("name", ["wallet_key", "verifier_key"])
def test_a_key_that_others_can_read_is_refused(service: Service, chain: ChainSettings, name: str) -> None:
    getattr(chain, name).chmod(0o644)
    with pytest.raises(ConfigurationRefused) as refused:
        assembled(service, chain)
    assert refused.value.reason is Reason.WALLET_KEY


def test_a_log_key_that_others_can_read_is_refused(service: Service) -> None:
    service.site.settings.log_key.chmod(0o644)
    site = service.site
    with pytest.raises(ConfigurationRefused) as refused:
        Publishing.assemble(site.settings, site.registrar, site.metrics, site.clock)
    assert refused.value.reason is Reason.WALLET_KEY


def test_the_log_is_measured(service: Service) -> None:
    publishing = service.site.publishing
    asyncio.run_coroutine_threadsafe(publishing.measure(), service.loop).result()
    text = service.site.metrics.exposition().decode()
    size = service.site.registrar.registry.read(log.size)
    assert f"attestd_log_records {float(size)}" in text
    assert "attestd_publication_lag_seconds 0.0" in text  # nothing has to be on a chain


def test_measuring_goes_on_after_what_goes_wrong(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """What ends in it would end publication with it."""
    monkeypatch.setattr("attestd.registrar.publishing._MEASURED_EVERY", 0)
    publishing, measured = service.site.publishing, asyncio.Event()
    said = iter((Unavailable(Reason.REGISTRY_INTEGRITY, found="a row", wanted="another"), RuntimeError("a mistake")))

    async def measure() -> None:
        if (trouble := next(said, None)) is not None:
            raise trouble
        measured.set()

    async def story() -> None:
        task = asyncio.create_task(publishing._keep_measuring())
        await measured.wait()
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    monkeypatch.setattr(publishing, "measure", measure)
    asyncio.run(story())


def test_the_sequencer_goes_on_after_what_goes_wrong(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("attestd.registrar.sequencer._EVERY", 0)
    sequencer, built = service.site.publishing.sequencer, asyncio.Event()
    said = iter((Unavailable(Reason.REGISTRY_INTEGRITY, found="a row", wanted="another"), RuntimeError("a mistake")))

    async def once() -> None:
        if (trouble := next(said, None)) is not None:
            raise trouble
        built.set()

    async def story() -> None:
        task = asyncio.create_task(sequencer.run())
        await built.wait()
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    monkeypatch.setattr(sequencer, "once", once)
    asyncio.run(story())
    text = service.site.metrics.exposition().decode()
    assert 'attestd_publication_failures_total{reason="registry.integrity"}' in text
