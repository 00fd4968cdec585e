"""Who signs checkpoints: this service's own verifier key, and the verifiers of others that it asks.

A signature is over `transparency.checkpoint.signing_hash`: of one checkpoint, for one contract on one network.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from attestd.chain.ledger import SeenRegistry
from attestd.codec import Fields, Json, dump_base64, load_json
from attestd.errors import AttestdError, Malformed, NotAuthentic, Reason, Unavailable
from attestd.metrics import Metrics
from attestd.registrar.documents import dump
from attestd.registrar.leading import Leader
from attestd.registrar.orders import Orders, Stopped
from attestd.registrar.peer import Peer
from attestd.registry import epochs
from attestd.registry.epochs import Candidate, Signature
from attestd.signature import SigningKey, ed25519_public_key, ed25519_verifies, sign_ed25519
from attestd.transparency.checkpoint import signing_hash
from attestd.tvm.address import Address
from attestd.tvm.boc import dump_boc

_log: Final = logging.getLogger(__name__)

_MAX_ANSWER: Final = 4096
_KEY_SIZE: Final = 32


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

    async def sign(self, candidate: Candidate) -> Signature:
        """Have a candidate signed. Raises `Unavailable`, with the reason of the other side, or `cosign.peer`."""
        document: Json = {
            "checkpoint": dump_base64(dump_boc(candidate.checkpoint.to_cell())),
            "note": candidate.note.decode(),
            "signature": dump_base64((await self._own.sign(candidate)).signature),
        }
        raw = await asyncio.to_thread(self._peer.post, "/v1/cosignatures", dump(document), _MAX_ANSWER)
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

    async def collect(self, candidate: Candidate, registry: SeenRegistry) -> dict[int, bytes]:
        """Return the signatures over a candidate, by the index of the verifier.

        Our own is stored before anybody else is asked: from then on the candidate is live. Raises `Stopped`
        (`chain.quorum`) where they are too few; the next time only those are asked who have not signed yet.
        """
        signed = signing_hash(candidate.checkpoint, self._orders.global_id, self._orders.registry)
        places = {verifier: index for index, verifier in registry.verifiers}
        kept = {one.verifier: one for one in await self._leader.read(epochs.signatures, candidate)}
        own, *others = self._cosigners
        if not kept:
            kept |= await self._keep(candidate, await self._signature(own, candidate, signed, places))
        refused = []
        for cosigner in others:
            if len(kept.keys() & places.keys()) >= registry.threshold:
                break
            if self._signs_as.get(cosigner) in kept:
                continue
            try:
                signature = await self._signature(cosigner, candidate, signed, places)
                self._signs_as[cosigner] = signature.verifier
                kept |= await self._keep(candidate, signature)
            except AttestdError as error:
                if error.reason is Reason.LEASE_LOST:
                    raise
                refused.append(str(error.reason))
                self._metrics.cosigner_failures.labels(error.reason.value).inc()
                _log.warning("a co-signer does not sign epoch %d: %s", candidate.number, error)
        counted = {places[verifier]: kept[verifier].signature for verifier in kept.keys() & places.keys()}
        if len(counted) < registry.threshold:
            raise Stopped(
                Reason.CHAIN_QUORUM,
                found=f"{len(counted)} signatures ({', '.join(refused) or 'no more co-signers'})",
                wanted=f"{registry.threshold} of the contract's verifiers",
            )
        return dict(sorted(counted.items())[: registry.threshold])

    async def _signature(
        self, cosigner: Cosigner, candidate: Candidate, signed: bytes, places: Mapping[bytes, int]
    ) -> Signature:
        signature = await cosigner.sign(candidate)
        if signature.verifier not in places or not ed25519_verifies(signature.verifier, signature.signature, signed):
            raise NotAuthentic(
                Reason.CHECKPOINT_SIGNATURES, found="another's signature", wanted="one by a verifier of the contract"
            )
        return signature

    async def _keep(self, candidate: Candidate, signature: Signature) -> dict[bytes, Signature]:
        if not await self._leader.write(epochs.sign, candidate, [signature]):
            raise Unavailable(
                Reason.CHAIN_OUTDATED, found="a candidate that was replaced", wanted="the one that took its place"
            )
        return {signature.verifier: signature}
