"""Two processes on one database: whatever may happen once happens once."""

import multiprocessing
from concurrent.futures import Future
from multiprocessing.connection import Connection

import pytest

from attestd.errors import Reason, RequestRefused
from attestd.registry import Registry, access, audit, keys, results, revocations
from attestd.registry.values import KeyState, NewResult, Recorded, RevocationKind
from tests.registry.samples import (
    NOW,
    REGISTRY_ID,
    challenge,
    digest,
    known,
    new_key,
    new_result,
    prepare,
    register,
)

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["tests.registry.test_migration", "tests.registry.recorder"])
POSTS = 50


def outcome(future: Future[Recorded]) -> str:
    error = future.exception(60)
    if error is None:
        return "created" if future.result().created else "repeated"
    assert isinstance(error, RequestRefused), error
    return error.reason.value


def post(url: str, kind: str, first: int, pipe: Connection) -> None:
    """Record fifty results at once when told to, and send back what became of each."""
    registry = Registry.open(url, registry_id=REGISTRY_ID, at=NOW)
    pipe.send("ready")
    pipe.recv()
    futures = [
        registry.write(results.record, attempt(kind, number), NOW, live_keys_per_platform=100)
        for number in range(first, first + POSTS)
    ]
    pipe.send([outcome(future) for future in futures])
    registry.close()


def attempt(kind: str, number: int) -> NewResult:
    shared = digest("challenge", 0)
    match kind:
        case "one challenge, other evidence":
            return new_result(number, challenge=shared)
        case "one challenge, one piece of evidence":
            return new_result(number, challenge=shared, evidence_id=digest("evidence", 0))
        case "one platform, two providers":
            provider = "alice" if number < POSTS else "bob"
            return new_result(number, provider=provider, key=new_key(number, platform=digest("one")))
        case _:
            return new_result(number, key_id=digest("key", 0))


def both(url: str, kind: str) -> list[str]:
    """Let two processes record a hundred results at the same time, and return what became of them."""
    pipes, processes = [], []
    for first in (0, POSTS):
        mine, theirs = CONTEXT.Pipe()
        process = CONTEXT.Process(target=post, args=(url, kind, first, theirs))
        process.start()
        processes.append(process)
        pipes.append(mine)
    for pipe in pipes:
        assert pipe.poll(60)
        assert pipe.recv() == "ready"
    for pipe in pipes:
        pipe.send("go")
    outcomes: list[str] = []
    for pipe in pipes:
        assert pipe.poll(60)
        outcomes += pipe.recv()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    return outcomes


def test_one_challenge_is_accepted_once(registry: Registry, url: str) -> None:
    challenge(registry, 0)
    outcomes = both(url, "one challenge, other evidence")
    assert outcomes.count("created") == 1
    assert outcomes.count(Reason.CHALLENGE_USED) == 2 * POSTS - 1
    assert registry.read(keys.count, NOW)[KeyState.ACTIVE] == 1


def test_one_piece_of_evidence_is_recorded_once(registry: Registry, url: str) -> None:
    challenge(registry, 0)
    outcomes = both(url, "one challenge, one piece of evidence")
    assert outcomes.count("created") == 1
    assert outcomes.count("repeated") == 2 * POSTS - 1


def test_a_platform_is_claimed_by_one_provider(registry: Registry, url: str) -> None:
    prepare(registry, "bob")
    for number in range(2 * POSTS):
        challenge(registry, number, "alice" if number < POSTS else "bob")
    outcomes = both(url, "one platform, two providers")
    assert outcomes.count("created") == outcomes.count(Reason.PLATFORM_CONFLICT) == POSTS


def test_every_version_of_a_hot_key_is_kept(registry: Registry, url: str) -> None:
    """Fault F08."""
    for number in range(2 * POSTS):
        challenge(registry, number)
    outcomes = both(url, "one key")
    assert outcomes == ["created"] * 2 * POSTS
    assert known(registry.read(keys.find, digest("key", 0), NOW)).version == 2 * POSTS


def revoke_when_told(url: str, pipe: Connection) -> None:
    registry = Registry.open(url, registry_id=REGISTRY_ID, at=NOW)
    while (number := pipe.recv()) is not None:
        value = digest("key", number).hex()
        registry.write(revocations.revoke, RevocationKind.KEY, value, reason="", by="admin", at=NOW).result(60)
        pipe.send(number)
    registry.close()


@pytest.mark.slow
def test_a_revocation_wins_against_a_renewal_at_the_same_time(registry: Registry, url: str) -> None:
    """Attacks R10: whichever comes first, the key is revoked in the end."""
    mine, theirs = CONTEXT.Pipe()
    process = CONTEXT.Process(target=revoke_when_told, args=(url, theirs))
    process.start()
    outcomes = set()
    for number in range(100):
        register(registry, number)
        challenge(registry, 1000 + number)
        mine.send(number)
        renewal = new_result(1000 + number, key_id=digest("key", number), key=new_key(number))
        outcomes.add(outcome(registry.write(results.record, renewal, NOW, live_keys_per_platform=9)))
        assert mine.recv() == number
        assert known(registry.read(keys.find, digest("key", number), NOW)).state is KeyState.REVOKED
    mine.send(None)
    process.join(60)
    assert outcomes <= {"created", Reason.KEY_REVOKED}


def administer(url: str, name: str) -> None:
    registry = Registry.open(url, registry_id=REGISTRY_ID, at=NOW)
    for number in range(25):
        registry.write(access.register_provider, f"{name}-{number}", name, by=name, at=NOW).result(60)
    registry.close()


def test_the_audit_trail_of_two_processes_is_one_chain(registry: Registry, url: str) -> None:
    processes = [CONTEXT.Process(target=administer, args=(url, name)) for name in ("one", "two")]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    assert registry.read(audit.verify).seq == 51
