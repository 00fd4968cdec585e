"""Upkeep, which needs no request: new collateral, re-appraisal of what is trusted, gauges, old challenges.

Nothing here makes a key trusted that was not, but for one that upkeep itself had suspended; and that a key expires or
is revoked needs nothing of it.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Final, TypeAlias

from attestd.errors import (
    AttestdError,
    EndorsementRejected,
    Malformed,
    NotAuthentic,
    Reason,
    RequestRefused,
    Unavailable,
)
from attestd.metrics import Metrics, Outcome
from attestd.registrar.journey import approved_images, approved_models
from attestd.registrar.registrar import Registrar
from attestd.registry import catalogue, challenges, keys, results, revocations
from attestd.registry.database import Transaction
from attestd.registry.values import Key, KeyFilters, KeyState, RevocationKind
from attestd.result import Tier

_log: Final = logging.getLogger(__name__)

_ACTOR: Final = "attestd"
_PAGE: Final = 100
_MAX_POLICIES: Final = 1000
# Long enough to tell a late answer from one that was never asked for.
_CHALLENGES_KEPT: Final = timedelta(days=1)
_CHALLENGES_AT_ONCE: Final = 500

# The vendor has withdrawn its word: no later collateral will bring it back.
_FINAL: Final = frozenset(
    {
        Reason.TDX_PCK_REVOKED,
        Reason.TDX_PCK_CA_REVOKED,
        Reason.TDX_TCB_REVOKED,
        Reason.SNP_ASK_REVOKED,
        Reason.GPU_REVOKED,
    }
)

# What verdicts rest on: collateral and policies, by digest, and how often the approval of an image has changed.
_Ground: TypeAlias = tuple[frozenset[tuple[bytes, ...]], frozenset[tuple[str, bytes]], int]


class Upkeep:
    """The one background task of a service.

    The service listens before the first run is over: keys are answered as they were recorded, as between two runs, and
    evidence waits for collateral to be taken. Until then the service says that it is not ready.
    """

    def __init__(self, registrar: Registrar, metrics: Metrics, *, every: int) -> None:
        """Run every so many seconds, and whenever `soon` is called."""
        self._registrar = registrar
        self._metrics = metrics
        self._every = every
        self._wanted = asyncio.Event()
        self._once = asyncio.Event()
        self._ground: _Ground | None = None
        self._put_off: frozenset[bytes] = frozenset()  # keys that could not be judged on this ground yet

    def soon(self) -> None:
        """Ask for a run at once: something that verdicts rest on has changed."""
        self._wanted.set()

    @property
    def is_behind(self) -> bool:
        """Whether what changed while the service was down has not been looked at yet."""
        return not self._once.is_set()

    async def caught_up(self) -> None:
        """Wait until the first run is over."""
        await self._once.wait()

    async def run(self) -> None:
        """Run until cancelled. A failure is logged, and the next run tries again."""
        while True:
            try:
                await self.once()
            except AttestdError as error:
                _log.warning("upkeep is put off: %s", error)
            except Exception:  # noqa: BLE001 - it is logged, and must not end what has to go on
                _log.exception("upkeep failed")
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wanted.wait(), self._every)
            self._wanted.clear()

    async def once(self) -> None:
        """Do all of it once."""
        registrar = self._registrar
        at = registrar.now()
        await asyncio.to_thread(registrar.collateral.refresh, at)
        while (
            await registrar.write(challenges.prune, at - _CHALLENGES_KEPT, _CHALLENGES_AT_ONCE) == _CHALLENGES_AT_ONCE
        ):
            pass
        ground = await self._current_ground()
        await self._reappraise_all(changed=ground != self._ground)
        self._ground = ground
        await self._measure(at)
        self._once.set()

    async def _current_ground(self) -> _Ground:
        page = await self._registrar.search(catalogue.list_policies, limit=_MAX_POLICIES)
        policies = frozenset((policy.name, policy.digest) for policy in page.items)
        return self._registrar.collateral.admitted(), policies, await self._registrar.search(catalogue.image_changes)

    async def _measure(self, at: datetime) -> None:
        states = await self._registrar.search(keys.count, at)
        expiry = await self._registrar.search(keys.next_expiry, at)
        self._metrics.count_entries(
            ((state.value, states.get(state, 0)) for state in KeyState), 0 if expiry is None else expiry.timestamp()
        )

    async def _reappraise_all(self, *, changed: bool) -> None:
        """Judge all keys on ground that has changed, or else those that may fare otherwise on the same ground."""
        put_off: set[bytes] = set()
        # A key that was suspended may have been renewed since on better ground of its own.
        states = (KeyState.ACTIVE, KeyState.SUSPENDED) if changed or self._put_off else (KeyState.SUSPENDED,)
        async for key in self._keys(states):
            if not changed and key.state is KeyState.ACTIVE and key.id not in self._put_off:
                continue
            try:
                await self._reappraise(key)
            except (Unavailable, EndorsementRejected, RequestRefused) as error:
                # The world is bad, not the data; or somebody else was faster. The next run tries again, and until then
                # expiry bounds what is left as it is.
                put_off.add(key.id)
                self._metrics.reappraisals.labels(Outcome.UNAVAILABLE).inc()
                _log.info("key %s is not appraised again: %s", key.id.hex(), error)
        self._put_off = frozenset(put_off)

    async def _keys(self, states: Iterable[KeyState]) -> AsyncIterator[Key]:
        for state in states:
            cursor = None
            while True:
                page = await self._registrar.search(
                    keys.page, KeyFilters(state=state), self._registrar.now(), limit=_PAGE, cursor=cursor
                )
                for key in page.items:
                    yield key
                    await asyncio.sleep(0)  # requests come first
                cursor = page.next
                if cursor is None:
                    break

    async def _reappraise(self, key: Key) -> None:
        registrar = self._registrar
        raw = await registrar.read(results.evidence, key.result_id)
        if raw is None:
            raise Unavailable(Reason.REGISTRY_INTEGRITY, found="a key without evidence", wanted="its evidence")
        policy = await registrar.read(registrar.policies.in_force, key.policy_name)
        models = await registrar.read(approved_models, key.models)
        images = await registrar.read(approved_images, key.image)
        try:
            result = registrar.reappraise(raw, policy, models, images)
        except (Unavailable, EndorsementRejected):
            raise
        except (NotAuthentic, Malformed) as error:  # malformed: damaged on the disk, or refused by a later version
            self._metrics.reappraisals.labels(Outcome.REJECTED).inc()
            await self._fell(key, f"{error.reason}: {error.found}", final=error.reason in _FINAL)
            return
        self._metrics.reappraisals.labels(Outcome(result.tier.value)).inc()
        if result.tier is not Tier.AFFIRMING:
            # Not for good: a policy may be mended, and firmware brought up to date.
            await self._fell(key, f"{result.tier} under {policy.name} version {policy.version}", final=False)
            return
        at = registrar.now()
        if result.not_after < key.valid_until:
            until = result.not_after
            await registrar.write(keys.shorten, key.id, result_id=key.result_id, valid_until=until, by=_ACTOR, at=at)
        if key.state is KeyState.SUSPENDED:
            await registrar.write(keys.resume, key.id, reason="affirming again", by=_ACTOR, at=at)

    async def _fell(self, key: Key, reason: str, *, final: bool) -> None:
        """Take trust from a key: for good, or until a later appraisal is affirming."""
        _log.warning("key %s is no longer trusted: %s", key.id.hex(), reason)
        await self._registrar.write(_fall, key, reason=reason, final=final, at=self._registrar.now())


def _fall(transaction: Transaction, key: Key, *, reason: str, final: bool, at: datetime) -> None:
    """Take trust from a key that still rests on the result that was judged: it may have been renewed meanwhile."""
    known = keys.load(transaction, key.id, at)
    if known is None or known.result_id != key.result_id:
        return
    if final:
        revocations.revoke(transaction, RevocationKind.KEY, key.id.hex(), reason=reason, by=_ACTOR, at=at)
    elif known.decided is KeyState.ACTIVE:
        keys.suspend(transaction, key.id, reason=reason, by=_ACTOR, at=at)
