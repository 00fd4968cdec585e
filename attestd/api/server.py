"""The server: both listeners, the upkeep and publication in one process and one event loop.

`serve` is what the command line calls; `Service.started` runs the same in a thread, for the demo and for tests.
"""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Self, TypeAlias

import uvicorn
import uvloop

from attestd import __version__
from attestd.api import logs
from attestd.api.apps import admin_edge, cosigner_edge, public_edge
from attestd.api.edge import Edge
from attestd.api.exchange import Bodies, Site
from attestd.api.keys import KeyAnswers
from attestd.api.limits import RateLimit, Shared, Spared
from attestd.api.logs import FIELDS
from attestd.api.protocol import bounded
from attestd.api.streams import Streams
from attestd.endorsements import FolderEndorsements
from attestd.errors import ConfigurationRefused, Reason
from attestd.metrics import Metrics
from attestd.registrar import CosigningService, Publishing, Registrar, Upkeep
from attestd.registrar.policies import import_policies
from attestd.registry import Registry, access
from attestd.settings import Listener, Settings, now

_Stop: TypeAlias = Callable[[], None]
_Tell: TypeAlias = Callable[[Site, tuple[str, str], _Stop], None]

_log: Final = logging.getLogger(__name__)

_BACKLOG: Final = 2048
_KEEP_ALIVE: Final = 5
# With what a connection may still take (protocol.py), a stop is over within 30 s.
_DRAIN: Final = 20
# Each takes some milliseconds; monitoring asks every few seconds.
_EXPOSITIONS_PER_SECOND: Final = 10


@dataclass(frozen=True, slots=True)
class Service:
    """A running service, seen from another thread of the same process."""

    public_url: str
    admin_url: str
    site: Site
    loop: asyncio.AbstractEventLoop

    @classmethod
    @contextlib.contextmanager
    def started(cls, settings: Settings, *, clock: Callable[[], datetime] = now) -> Iterator[Self]:
        """Run a service in a thread of its own until the block ends; it listens, and may not be ready yet.

        Raises `ConfigurationRefused` or `Unavailable` where it does not start.
        """
        running: Future[tuple[Self, _Stop]] = Future()

        def tell(site: Site, urls: tuple[str, str], stop: _Stop) -> None:
            running.set_result((cls(*urls, site, asyncio.get_running_loop()), stop))

        thread = threading.Thread(target=_in_thread, args=(settings, clock, tell, running), name="attestd")
        thread.start()
        try:
            service, stop = running.result()
        except BaseException:
            thread.join()
            raise
        try:
            yield service
        finally:
            service.loop.call_soon_threadsafe(stop)
            thread.join()

    def until_ready(self) -> None:
        """Wait until the first upkeep is over."""
        asyncio.run_coroutine_threadsafe(self.site.upkeep.caught_up(), self.loop).result()

    def keep_up(self) -> None:
        """Do the upkeep now: new collateral is in use, and what rests on it appraised again, when this returns."""
        asyncio.run_coroutine_threadsafe(self.site.upkeep.once(), self.loop).result()


def _in_thread(
    settings: Settings, clock: Callable[[], datetime], tell: _Tell, running: Future[tuple[Service, _Stop]]
) -> None:
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_run(settings, clock, tell))
    except BaseException as error:
        if running.done():
            raise
        running.set_exception(error)


def serve(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT, then finish what was begun.

    Raises `ConfigurationRefused` or `Unavailable` where the service does not start.
    """
    os.umask(0o077)
    logs.configure(settings.log_level)

    def tell(_site: Site, urls: tuple[str, str], stop: _Stop) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop)
        _log.info(
            "listening",
            extra={
                FIELDS: {
                    "version": __version__,
                    "public": urls[0],
                    "admin": urls[1] if settings.cosign is None else None,
                    "registry_id": settings.registry_id,
                    "simulated": settings.simulated,
                }
            },
        )

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(settings, now, tell))


async def _run(settings: Settings, clock: Callable[[], datetime], tell: _Tell) -> None:
    with contextlib.ExitStack() as stack:
        site = _assemble(settings, clock, stack)
        if site.cosigning is None:
            listeners = [("listen", settings.listen), ("admin_listen", settings.admin_listen)]
            servers = [_server(public_edge(site), site.answers), _server(admin_edge(site))]
            runs = [site.upkeep.run, site.publishing.run]
        else:
            listeners = [("listen", settings.listen)]
            servers = [_server(cosigner_edge(site))]
            runs = [site.upkeep.run]
        sockets = [stack.enter_context(_listen(name, listener)) for name, listener in listeners]

        def stop() -> None:
            site.streams.close()
            for server in servers:
                server.should_exit = True

        tell(site, (_url(sockets[0]), _url(sockets[-1])), stop)
        tasks = [asyncio.create_task(run()) for run in runs]
        try:
            await asyncio.gather(*(server.serve(sockets=[one]) for server, one in zip(servers, sockets, strict=True)))
        finally:
            for task in tasks:
                task.cancel()
            for task in tasks:
                with contextlib.suppress(asyncio.CancelledError):
                    await task


def _assemble(settings: Settings, clock: Callable[[], datetime], stack: contextlib.ExitStack) -> Site:
    at = clock()
    registry = Registry.open(settings.database_url, registry_id=settings.registry_id, at=at)
    stack.callback(registry.close)
    if settings.cosign is None:  # a verifier has no decisions of its own, only copies of policies
        import_policies(registry, settings.policies, settings.default_policy, at)
    metrics = Metrics(__version__, simulated=settings.simulated)
    registrar = Registrar(
        settings,
        registry=registry,
        endorsements=FolderEndorsements(settings.endorsements, settings.trust_anchors, at),
        metrics=metrics,
        clock=clock,
    )
    stack.callback(registrar.close)
    cosigning = None
    if settings.cosign is not None:
        cosigning = CosigningService.assemble(settings, settings.cosign, registrar, metrics)
        stack.callback(cosigning.close)
    return Site(
        settings=settings,
        registrar=registrar,
        upkeep=Upkeep(registrar, metrics, every=settings.endorsements_refresh),
        publishing=Publishing.assemble(settings, registrar, metrics, clock),
        cosigning=cosigning,
        metrics=metrics,
        per_key=RateLimit(settings.requests_per_second_per_key),
        per_address=RateLimit(settings.requests_per_second_per_address),
        answers=KeyAnswers(registry, settings, registrar.now),
        streams=Streams(registrar, metrics),
        bodies=Bodies(),
        exposition=Spared(metrics.exposition, _EXPOSITIONS_PER_SECOND),
        database=Shared(lambda: registrar.read(access.count_admins, registrar.now())),
        clock=clock,
    )


def _listen(name: str, listener: Listener) -> socket.socket:
    family = socket.AF_INET6 if listener.host.version == 6 else socket.AF_INET  # noqa: PLR2004 - IPv6
    try:
        return socket.create_server((str(listener.host), listener.port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise ConfigurationRefused(
            Reason.SETTINGS, found=f"{name}: {error.strerror}", wanted="an address and a port that are free"
        ) from None


def _url(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class _Server(uvicorn.Server):
    """uvicorn's server, without its signal handlers: there are two of them in this process."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone."""
        yield


def _server(edge: Edge, answers: KeyAnswers | None = None) -> _Server:
    config = uvicorn.Config(
        edge,
        http=bounded(edge.metrics, edge.marks, answers),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE,
        timeout_graceful_shutdown=_DRAIN,
    )
    return _Server(config)
