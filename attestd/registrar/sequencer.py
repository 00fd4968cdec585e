"""The sequencer: lets epochs be built when they are due (`registry.epochs`), with a chain or without.

Every process has one; the write lock of the registry makes one sequence of what they do. It asks every second, because
a revocation must not wait for the interval, in whichever process it was decided.
"""

import asyncio
import logging
from typing import Final

from attestd.errors import AttestdError
from attestd.metrics import Metrics
from attestd.registrar.registrar import Registrar
from attestd.registry import epochs, keymap
from attestd.registry.epochs import Candidate, Terms

_log: Final = logging.getLogger(__name__)

_EVERY: Final = 1
# After a fork the chain may stand at an earlier epoch for a while: its map can still be proved from.
_MAPS_KEPT: Final = 16
# Each round, so that epochs do not wait for it.
_PRUNINGS: Final = 50


class Sequencer:
    """One background task of a service."""

    def __init__(self, registrar: Registrar, metrics: Metrics, terms: Terms) -> None:
        """Build by these terms."""
        self._registrar = registrar
        self._metrics = metrics
        self._terms = terms
        self._is_sound = False
        self._past = 0  # maps of epochs before it are to be forgotten; 0 where that is done

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
        """Build what is due.

        Raises as `epochs.build` does, and `Unavailable` where the database does not answer. Where the log was altered
        before this process began (attacks.md, R03), it builds nothing, and looks again each time.
        """
        registrar, at = self._registrar, self._registrar.now()
        if not self._is_sound:
            await registrar.search(epochs.require_sound)
            self._is_sound = True
        end: int | None = 0
        while end is not None:
            end = await registrar.write(epochs.prepare, at, self._terms, end)
        candidate = await registrar.write(epochs.build, at, self._terms)
        if candidate is not None:
            self._past = candidate.number - _MAPS_KEPT if self._terms.is_published else candidate.number
            _log.info("epoch %d is built, with %d records", candidate.number, candidate.checkpoint.tree_size)
        await self._prune()
        return candidate

    async def _prune(self) -> None:
        for _ in range(_PRUNINGS if self._past else 0):
            if await self._registrar.write(keymap.prune, self._past) < keymap.PRUNED_AT_ONCE:
                self._past = 0
                break
