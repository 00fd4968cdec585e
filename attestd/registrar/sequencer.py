"""The sequencer: lets epochs be built when they are due (`registry.epochs`), with a chain or without.

Every process has one; the write lock of the registry makes one sequence of what they do. It asks every second, because
a revocation must not wait for the interval, in whichever process it was decided.
"""

import asyncio
import logging
from datetime import datetime
from typing import Final

from attestd.errors import AttestdError
from attestd.metrics import Metrics
from attestd.registrar.registrar import Registrar
from attestd.registry import epochs, keymap
from attestd.registry.database import Transaction
from attestd.registry.epochs import Candidate, Terms

_log: Final = logging.getLogger(__name__)

_EVERY: Final = 1
# After a fork the chain may stand at an earlier epoch for a while: its map can still be proved from.
_MAPS_KEPT: Final = 16


class Sequencer:
    """One background task of a service."""

    def __init__(self, registrar: Registrar, metrics: Metrics, terms: Terms) -> None:
        """Build by these terms."""
        self._registrar = registrar
        self._metrics = metrics
        self._terms = terms

    async def run(self) -> None:
        """Run until cancelled. A failure is logged, and the next second tries again."""
        said = ""
        while True:
            try:
                await self.once()
                said = ""
            except AttestdError as error:
                if str(error) != said:
                    said = str(error)
                    _log.error("no epoch is built: %s", error)
                self._metrics.publication_failures.labels(error.reason.value).inc()
            except Exception:  # noqa: BLE001 - it is logged, and must not end what has to go on
                _log.exception("the sequencer failed")
            await asyncio.sleep(_EVERY)

    async def once(self) -> Candidate | None:
        """Build what is due. Raises as `epochs.build` does, and `Unavailable` where the database does not answer."""
        candidate = await self._registrar.write(_build, self._registrar.now(), self._terms)
        if candidate is not None:
            _log.info("epoch %d is built, with %d records", candidate.number, candidate.checkpoint.tree_size)
        return candidate


def _build(transaction: Transaction, at: datetime, terms: Terms) -> Candidate | None:
    candidate = epochs.build(transaction, at, terms)
    if candidate is not None:
        keymap.prune(transaction, candidate.number - _MAPS_KEPT if terms.is_published else candidate.number)
    return candidate
