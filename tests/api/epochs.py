"""Epochs of a service under test: built when a test says so, and put on a chain that is not there."""

import asyncio
from collections.abc import Coroutine
from hashlib import sha256
from typing import Any, TypeVar

from attestd.registry import epochs
from attestd.registry.database import Transaction
from attestd.registry.epochs import Candidate, Coordinates, Signature
from attestd.signature import ed25519_public_key, ed25519_signing_key, sign_ed25519
from attestd.transparency.checkpoint import signing_hash
from attestd.tvm.address import Address
from tests.api.world import Clock, World

T = TypeVar("T")

GLOBAL_ID = -88
REGISTRY = Address(0, sha256(b"the registry").digest())
VERIFIER = ed25519_signing_key(sha256(b"the verifier").digest())
VERIFIERS = {0: ed25519_public_key(VERIFIER)}


def build(world: World, clock: Clock) -> Candidate:
    """Have an epoch built of everything that was recorded, and return it."""
    clock.advance(seconds=world.settings.epoch_interval)
    run(world, world.service.site.publishing.sequencer.once())
    newest = world.service.site.registrar.registry.read(epochs.newest)
    assert newest is not None
    return newest


def land(world: World, clock: Clock) -> Candidate:
    """Have an epoch built, signed, and taken for one that is proved to be on chain."""
    build(world, clock)
    landed: Candidate = world.service.site.registrar.registry.write(_land).result()
    return landed


def _land(transaction: Transaction) -> Candidate:
    candidate = epochs.newest(transaction)
    assert candidate is not None
    signature = sign_ed25519(VERIFIER, signing_hash(candidate.checkpoint, GLOBAL_ID, REGISTRY))
    epochs.sign(transaction, candidate, [Signature(VERIFIERS[0], signature)])
    hash_ = sha256(b"transaction %d" % candidate.number).digest()
    epochs.confirm(
        transaction,
        candidate,
        Coordinates(block=100 + candidate.number, block_utime=candidate.checkpoint.issued_at, lt=2**40, hash=hash_),
    )
    confirmed = epochs.confirmed(transaction)
    assert confirmed is not None
    return confirmed


def run(world: World, work: Coroutine[Any, Any, T]) -> T:
    """Run something in the loop of the service."""
    return asyncio.run_coroutine_threadsafe(work, world.service.loop).result()
