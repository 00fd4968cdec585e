"""`attestd log recover`: after a backup was restored, let the database of the settings go on from the lost log."""

import asyncio
import os
from argparse import Namespace
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from attestd.chain.wallet import load_key
from attestd.cli.screen import VERIFIED, pairs, show
from attestd.codec import Json
from attestd.errors import ConfigurationRefused, Reason
from attestd.peer import Peer
from attestd.registrar.publishing import on_chain
from attestd.registrar.recovering import Chain, Fetch, Log, folder, recover, service
from attestd.registry import Registry
from attestd.registry.recovery import Recovery
from attestd.settings import Settings, now
from attestd.transparency.record import Image, Model, Policy, Record

# Seconds; a part of them is what each statement may take. Nobody else waits for them.
_WAIT: Final = 120.0


def run(arguments: Namespace) -> int:
    """Fetch what is missing, and append it; with `--dry-run` show what that would come to."""
    at = now()
    settings = Settings.load(arguments.config, os.environ, at)
    if settings.cosign is not None:
        raise ConfigurationRefused(
            Reason.SETTINGS, found="cosign_of, which makes a co-signer of it", wanted="the settings of the registry"
        )
    log = Log(settings.registry_id, load_key(settings.log_key))
    chain = None
    if settings.chain is not None:
        ledger, wallet, orders = on_chain(settings.chain, now)
        chain = Chain(ledger, wallet.address, orders)
    registry = Registry.open(settings.database_url, registry_id=settings.registry_id, at=at, wait=_WAIT)
    try:
        with _copy(arguments.source) as fetch:
            done = asyncio.run(recover(registry, log, chain, fetch, at, rehearse=arguments.dry_run))
    finally:
        registry.close()
    document = _export(done, dry_run=arguments.dry_run)
    show(arguments, document, lambda: pairs(document))
    return VERIFIED


@contextmanager
def _copy(source: str) -> Iterator[Fetch]:
    if "://" not in source:
        yield folder(Path(source))
        return
    with closing(Peer("--from", source, unfit=Reason.LOG_SERVICE)) as peer:
        yield service(peer)


def _export(done: Recovery, *, dry_run: bool) -> dict[str, Json]:
    return {
        "dry_run": dry_run,
        "first": done.first,
        "recovered": done.records,
        "appended_again": done.again,
        "epochs": [*done.epochs],
        "revoked": [key.hex() for key in done.revoked],
        "changed": [key.hex() for key in done.changed],
        "to_approve_again": [_named(record) for record in done.approvals],
    }


def _named(said: Record) -> str:
    match said:
        case Model() | Image():
            return f"{said.decision} {said.digest.hex()}"
        case Policy():
            return f"policy {said.name} version {said.policy_version}, {said.digest.hex()}"
        case _:
            raise ValueError("no approval")
