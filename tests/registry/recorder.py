"""A process that records as fast as it can, and says of what it was told that it is recorded."""

from collections import deque
from concurrent.futures import Future
from multiprocessing.connection import Connection

from attestd.registry import Registry, challenges, results, sequencing
from attestd.registry.values import NewResult, Recorded
from tests.registry.samples import LATER, NOW, REGISTRY_ID, digest, new_key, new_result, prepare

OUTSTANDING = 24
SEQUENCED_EACH = 10


def record_until_killed(url: str, pipe: Connection, start: int) -> None:
    """Record results from number `start` on and sequence them; write each number to the pipe once acknowledged."""
    registry = Registry.open(url, registry_id=REGISTRY_ID, at=NOW)
    prepare(registry)
    pending: deque[tuple[int, Future[Recorded]]] = deque()
    number = start
    while True:
        new = small_result(number)
        registry.write(challenges.issue, new.challenge, new.provider, expires_at=LATER, at=NOW)
        pending.append((number, registry.write(results.record, new, NOW, live_keys_per_platform=1)))
        if number % SEQUENCED_EACH == 0:
            registry.write(sequencing.advance, number)
        number += 1
        while len(pending) > OUTSTANDING:
            done, future = pending.popleft()
            assert future.result().created
            pipe.send_bytes(b"%d" % done)


def small_result(number: int) -> NewResult:
    return new_result(number, document=b'{"number":%d}' % number, evidence=digest(number), key=new_key(number))
