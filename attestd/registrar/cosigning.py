"""Who signs checkpoints: this service's own verifier key, and the verifiers of others that it asks.

A signature is over `transparency.checkpoint.signing_hash`: of one checkpoint, for one contract on one network.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final, Protocol

from attestd.chain.ledger import SeenRegistry
from attestd.codec import Fields, Json, dump_base64, load_json
from attestd.errors import AttestdError, Malformed, NotAuthentic, Reason, Unavailable
from attestd.metrics import Metrics
from attestd.peer import Peer
from attestd.registrar.documents import dump
from attestd.registrar.leading import Leader
from attestd.registrar.orders import Orders, Stopped
from attestd.registry import epochs
from attestd.registry.epochs import Candidate, Signature
from attestd.signature import SigningKey, ed25519_public_key, ed25519_verifies, sign_ed25519
from attestd.transparency.checkpoint import signing_hash
from attestd.tvm.address import Address
from attestd.tvm.boc import dump_boc

_log: Final = logging.getLogger(__name__)

_MAX_ANSWER: Final = 4096
_KEY_SIZE: Final = 32
# Seconds for which an answer is waited for before all others are asked, too; and before it is given up for this round.
_SLOW: Final = 2
_PATIENCE: Final = 20


class Cosigner(Protocol):
    """A verifier whose signature counts.

    It signs no two candidates of one epoch that could both land: the first one until it has expired. Asking again for
    the same is answered with the same.
    """

    async def sign(self, candidate: Candidate) -> Signature:
        """Return its signature. Raises `AttestdError` where it does not sign, `Unavailable` if it does not answer."""


class OwnKey:
    """The service's own key. What it signs was built here, and is live from the moment that it is stored as signed."""

    def __init__(self, key: SigningKey, global_id: int, registry: Address) -> None:
        """Sign for one contract on one network."""
        self.verifier = ed25519_public_key(key)
        self._key = key
        self._global_id = global_id
        self._registry = registry

    async def sign(self, candidate: Candidate) -> Signature:
        """Sign a candidate."""
        signed = signing_hash(candidate.checkpoint, self._global_id, self._registry)
        return Signature(self.verifier, sign_ed25519(self._key, signed))


class Elsewhere:
    """A verifier that is another service, which looks at everything itself (`cosigner.py`)."""

    def __init__(self, peer: Peer, own: OwnKey) -> None:
        """Ask there, with the signature by our own key: so it knows a candidate of ours from anybody else's."""
        self._peer = peer
        self._own = own
        # One at a time, and not in the place of anything else that waits for a thread.
        self._thread = ThreadPoolExecutor(1, "attestd-asking")

    async def sign(self, candidate: Candidate) -> Signature:
        """Have a candidate signed. Raises `Unavailable`, with the reason of the other side, or `cosign.peer`."""
        document: Json = {
            "checkpoint": dump_base64(dump_boc(candidate.checkpoint.to_cell())),
            "note": candidate.note.decode(),
            "signature": dump_base64((await self._own.sign(candidate)).signature),
        }
        post = partial(self._peer.post, "/v1/cosignatures", dump(document), _MAX_ANSWER)
        raw = await asyncio.get_running_loop().run_in_executor(self._thread, post)
        try:
            fields = Fields(load_json(raw))
            return Signature(fields.hexadecimal("verifier", _KEY_SIZE), fields.binary("signature"))
        except Malformed as error:
            raise Unavailable(Reason.COSIGN_PEER, found=error.found, wanted=error.wanted) from None


class Quorum:
    """Collects as many signatures as the contract wants."""

    def __init__(self, leader: Leader, cosigners: Sequence[Cosigner], orders: Orders, metrics: Metrics) -> None:
        """Ask in this order; the first of them is our own key."""
        self._leader = leader
        self._cosigners = cosigners
        self._orders = orders
        self._metrics = metrics
        self._signs_as: dict[Cosigner, bytes] = {}  # so that nobody is asked again who has signed
        self._asked: dict[Cosigner, asyncio.Task[Signature]] = {}  # nor who may still answer

    async def collect(self, candidate: Candidate, registry: SeenRegistry) -> dict[int, bytes]:
        """Return the signatures over a candidate, by the index of the verifier.

        Our own is stored before anybody else is asked: from then on the candidate is live. Of the others, as many as
        are missing are asked at once, and all that are left when one of those refuses or is slow; nobody is waited for
        any more when there are enough. Raises `Stopped` (`chain.quorum`) where they are too few; the next time only
        those are asked who have not signed yet.
        """
        signed = signing_hash(candidate.checkpoint, self._orders.global_id, self._orders.registry)
        places = {verifier: index for index, verifier in registry.verifiers}
        known = await self._leader.read(epochs.signatures, candidate)
        # One that is not good, because its row was altered, would have the contract refuse all of them.
        kept = {one.verifier: one for one in known if ed25519_verifies(one.verifier, one.signature, signed)}
        own, *others = self._cosigners
        if self._signs_as.get(own) not in kept:
            signature = await self._signature(own, candidate, signed, places)
            self._signs_as[own] = signature.verifier
            kept |= await self._keep(candidate, signature)
        refused: list[str] = []
        left = [one for one in others if self._signs_as.get(one) not in kept]
        missing = registry.threshold - len(kept.keys() & places.keys())
        asked, left = left[: max(0, missing)], left[max(0, missing) :]
        waiting = self._ask(asked, candidate, signed, places)
        while len(kept.keys() & places.keys()) < registry.threshold and (waiting or left):
            done, waiting = await _first_of(waiting, _SLOW if left else _PATIENCE)
            for task in done:
                kept |= await self._answer(task, candidate, refused)
            if left and (refused or not done):
                waiting |= self._ask(left, candidate, signed, places)
                left = []
            elif not done:
                break
        counted = kept.keys() & places.keys()
        if len(counted) < registry.threshold:
            raise Stopped(
                Reason.CHAIN_QUORUM,
                found=f"{len(counted)} signatures ({', '.join(sorted(refused)) or 'no more co-signers'})",
                wanted=f"{registry.threshold} of the contract's verifiers",
            )
        by_index = sorted((places[verifier], kept[verifier].signature) for verifier in counted)
        return dict(by_index[: registry.threshold])

    def _ask(
        self, cosigners: Sequence[Cosigner], candidate: Candidate, signed: bytes, places: Mapping[bytes, int]
    ) -> set[asyncio.Task[Signature]]:
        """Begin to ask those who are not being asked already; whoever is too late for this candidate is not heard."""
        asked = [one for one in cosigners if one not in self._asked]
        for cosigner in asked:
            task = asyncio.create_task(self._signature(cosigner, candidate, signed, places))
            self._asked[cosigner] = task
            task.add_done_callback(partial(self._answered, cosigner))
        return {self._asked[cosigner] for cosigner in asked}

    def _answered(self, cosigner: Cosigner, task: asyncio.Task[Signature]) -> None:
        del self._asked[cosigner]
        if not task.cancelled() and task.exception() is None:
            self._signs_as[cosigner] = task.result().verifier

    async def _answer(
        self, task: asyncio.Task[Signature], candidate: Candidate, refused: list[str]
    ) -> dict[bytes, Signature]:
        """Keep what a co-signer has answered, or add why there is nothing to keep."""
        try:
            return await self._keep(candidate, task.result())
        except AttestdError as error:
            if error.reason is Reason.LEASE_LOST:
                raise
            refused.append(str(error.reason))
            self._metrics.cosigner_failures.labels(error.reason.value).inc()
            _log.warning("a co-signer does not sign epoch %d: %s", candidate.number, error)
            return {}

    async def _signature(
        self, cosigner: Cosigner, candidate: Candidate, signed: bytes, places: Mapping[bytes, int]
    ) -> Signature:
        signature = await cosigner.sign(candidate)
        if signature.verifier not in places or not ed25519_verifies(signature.verifier, signature.signature, signed):
            raise NotAuthentic(
                Reason.CHECKPOINT_SIGNATURES,
                found=f"one by {signature.verifier.hex()}",
                wanted="a good one by a verifier of the contract",
            )
        return signature

    async def _keep(self, candidate: Candidate, signature: Signature) -> dict[bytes, Signature]:
        if not await self._leader.write(epochs.sign, candidate, [signature]):
            raise Unavailable(
                Reason.CHAIN_OUTDATED, found="a candidate that was replaced", wanted="the one that took its place"
            )
        return {signature.verifier: signature}


async def _first_of(
    waiting: set[asyncio.Task[Signature]], seconds: float
) -> tuple[set[asyncio.Task[Signature]], set[asyncio.Task[Signature]]]:
    """Return who has answered, after so many seconds nobody, and who has not."""
    if not waiting:
        return set(), set()
    return await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
