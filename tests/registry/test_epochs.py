"""Epochs and what carries them, on either back end: at most one candidate may land, and only the leader writes."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import text

from attestd.errors import Reason, Unavailable
from attestd.registry import Registry, catalogue, epochs, keys, log, publication, sequencing
from attestd.registry.epochs import Candidate, Coordinates, EpochState, Signature, Terms
from attestd.registry.publication import Lease, Message, MessageState
from tests.refusals import refused
from tests.registry.alter import outside
from tests.registry.samples import NOW, digest, known, register

TERMS = Terms(60, 3600, lambda size, root: b"%d" % size)
HERE = Coordinates(7, 1000, 5, digest("transaction"))
SIGNATURE = Signature(digest("verifier"), bytes(64))


def build(registry: Registry, seconds: float = 0, terms: Terms = TERMS) -> Candidate | None:
    return registry.write(epochs.build, NOW + timedelta(seconds=seconds), terms).result()


def sign(registry: Registry, candidate: Candidate, *signatures: Signature) -> bool:
    return registry.write(epochs.sign, candidate, signatures or (SIGNATURE,)).result()


def states(registry: Registry) -> list[tuple[int, int, EpochState]]:
    rows = registry.read(lambda transaction: list(epochs.all_(transaction)))
    return [(row.number, row.candidate, row.state) for row in rows]


def published(registry: Registry, seconds: float = 0) -> Candidate:
    candidate = known(build(registry, seconds))
    assert sign(registry, candidate)
    registry.write(epochs.confirm, candidate, HERE).result()
    return candidate


def test_the_first_epoch_states_what_there_is(registry: Registry) -> None:
    register(registry, 1)
    candidate = known(build(registry))
    state = registry.read(sequencing.state)
    assert candidate.checkpoint.tree_size == registry.read(log.size) == state.size
    assert (candidate.checkpoint.log_root, candidate.checkpoint.map_root) == (state.log_root, state.map_root)
    assert candidate.checkpoint.policy_digest == registry.read(catalogue.policies_digest)
    assert candidate.checkpoint.issued_at == int(NOW.timestamp())
    assert candidate.checkpoint.valid_until == int(NOW.timestamp()) + 3600
    assert candidate.note == b"%d" % state.size
    assert (registry.read(epochs.unsigned), registry.read(epochs.live)) == (candidate, None)


def test_what_nobody_has_seen_is_replaced(registry: Registry) -> None:
    build(registry)
    register(registry, 1)
    assert build(registry, 59) is None
    assert known(build(registry, 60)).candidate == 2
    assert states(registry) == [(1, 1, EpochState.LAPSED), (1, 2, EpochState.BUILT)]


def test_what_is_signed_stays_until_it_has_lapsed(registry: Registry) -> None:
    candidate = known(build(registry))
    assert sign(registry, candidate)
    register(registry, 1)
    assert build(registry, 100_000) is None
    assert registry.read(epochs.live) == replace(candidate, state=EpochState.SIGNED)
    assert registry.write(epochs.lapse, 1).result() == 1
    assert known(build(registry, 100_000)).candidate == 2


def test_without_a_chain_what_was_signed_for_one_is_given_up_when_it_has_expired(registry: Registry) -> None:
    assert sign(registry, known(build(registry)))
    alone = replace(TERMS, is_published=False)
    assert build(registry, 3600, alone) is None
    assert known(build(registry, 3601, alone)).candidate == 2


def test_a_signature_for_what_was_replaced_is_not_kept(registry: Registry) -> None:
    first = known(build(registry))
    second = known(build(registry, 1800))
    assert not sign(registry, first)
    assert registry.read(epochs.signatures, first) == ()
    assert sign(registry, second)
    another = Signature(digest("another verifier"), bytes(64))
    assert sign(registry, second, SIGNATURE, another)
    assert set(registry.read(epochs.signatures, second)) == {SIGNATURE, another}


def test_nor_is_one_while_another_is_live(registry: Registry) -> None:
    first = known(build(registry))
    register(registry, 1)
    second = known(build(registry, 60))
    assert sign(registry, second)
    assert not sign(registry, first)
    assert registry.read(epochs.signatures, first) == ()
    assert registry.read(epochs.live) == replace(second, state=EpochState.SIGNED)


def test_numbers_follow_what_is_confirmed(registry: Registry) -> None:
    first = published(registry)
    assert known(registry.read(epochs.confirmed)).coordinates == HERE
    register(registry, 1)
    second = known(build(registry, 60))
    assert (second.number, second.candidate) == (2, 1)
    assert registry.read(epochs.confirmed, 1) == replace(first, state=EpochState.CONFIRMED, coordinates=HERE)
    assert registry.read(epochs.confirmed, 0) is None
    assert registry.read(epochs.highest) == 2
    assert registry.read(epochs.of_number, 2) == (second,)


def test_a_fork_makes_what_was_confirmed_live_again(registry: Registry) -> None:
    for number in range(3):
        register(registry, number)
        published(registry, 60 * number)
    assert registry.write(epochs.unconfirm, 1).result() == 2
    assert known(registry.read(epochs.live)).number == 2
    # With the second the third goes, too: it was issued before whatever takes the place of the second.
    assert registry.write(epochs.lapse, 2).result() == 2
    assert (known(build(registry, 4000)).number, registry.read(epochs.highest)) == (2, 3)


def test_another_candidate_of_the_number_may_have_landed(registry: Registry) -> None:
    first = known(build(registry))
    sign(registry, first)
    registry.write(epochs.lapse, 1).result()
    published(registry, 4000)
    registry.write(epochs.confirm, first, HERE).result()
    assert states(registry) == [(1, 1, EpochState.CONFIRMED), (1, 2, EpochState.LAPSED)]


@pytest.mark.parametrize(
    "decide",
    [
        lambda transaction: keys.suspend(transaction, digest("key", 1), reason="", by="admin", at=NOW),
        lambda transaction: catalogue.approve_policy(transaction, "p", 1, b"text", by="admin", at=NOW),
    ],
)
def test_some_decisions_do_not_wait_for_the_interval(registry: Registry, decide: Callable[..., object]) -> None:
    register(registry, 1)
    published(registry)
    assert build(registry, 1) is None
    registry.write(decide).result()
    assert known(build(registry, 1)).number == 2


def test_a_key_that_has_expired_leaves_the_map_with_the_next_epoch(registry: Registry) -> None:
    register(registry, 1)
    published(registry)
    candidate = known(build(registry, 25 * 3600))
    assert candidate.checkpoint.map_root is None
    assert registry.read(keys.listed) == 0


def test_a_clock_that_was_set_back_stops_nothing(registry: Registry) -> None:
    """The contract takes no epoch that was issued before the last one."""
    first = published(registry)
    register(registry, 1)
    second = known(build(registry, -3600))
    assert second.checkpoint.issued_at == first.checkpoint.issued_at


def test_nor_does_one_that_was_ahead(registry: Registry) -> None:
    """What was built then was signed by nobody; what was signed and has lapsed may still be seen."""
    build(registry, 86_400)
    register(registry, 1)
    second = known(build(registry))
    assert second.checkpoint.issued_at == int(NOW.timestamp())
    sign(registry, second)
    registry.write(epochs.lapse, 1).result()
    third = known(build(registry, -3600))
    assert (third.number, third.checkpoint.issued_at) == (1, second.checkpoint.issued_at)


def test_an_altered_epoch_is_not_believed(registry: Registry, url: str) -> None:
    build(registry)
    with outside(url).begin() as connection:
        connection.execute(text("UPDATE epochs SET tree_size = tree_size + 1"))
    with refused(Unavailable, Reason.REGISTRY_INTEGRITY):
        registry.read(epochs.unsigned)


def message(number: int, candidate: int = 1, **changes: object) -> Message:
    fields = {
        "hash": digest("message", number, candidate, tuple(changes.items())),
        "number": number,
        "candidate": candidate,
        "wallet_seqno": 3,
        "since": 17,
        "valid_until": 1000,
        "boc": b"boc",
        "created_at": NOW,
        "cost": 70,
    }
    return Message(**fields | changes)  # type: ignore[arg-type]


def test_messages_and_what_they_cost(registry: Registry) -> None:
    build(registry)
    first, second = message(1), message(1, wallet_seqno=4, created_at=NOW + timedelta(hours=1))
    for one in (first, second):
        registry.write(publication.store, one).result()
    assert registry.read(publication.open_messages) == (first, second)
    assert registry.read(publication.spent, NOW - timedelta(days=1)) == 140
    registry.write(publication.settle, first, MessageState.REFUSED, cost=9, outcome="exit code 413").result()
    assert registry.read(publication.open_messages) == (second,)
    settled = replace(first, state=MessageState.REFUSED, cost=9, outcome="exit code 413")
    assert registry.read(publication.messages_of, 1, 1) == (settled, second)
    assert registry.read(publication.spent, NOW - timedelta(days=1)) == 79
    assert registry.read(publication.spent, NOW) == 70
    assert registry.read(publication.last_cost) == 9
    # All wait again, whatever came of them.
    assert registry.write(publication.reopen, 1).result() == 0
    assert registry.write(publication.reopen, 0).result() == 1


def test_one_leads_until_its_lease_has_ended(registry: Registry) -> None:
    def lead(holder: str, seconds: float) -> Lease | None:
        return registry.write(publication.lead, holder, NOW + timedelta(seconds=seconds), seconds=30).result()

    first = known(lead("a", 0))
    assert lead("b", 29) is None
    assert known(lead("a", 29)).token == first.token
    second = known(lead("b", 59))
    assert second.token == first.token + 1
    with refused(Unavailable, Reason.LEASE_LOST):
        registry.write(publication.led, first, publication.store, message(1)).result()
    registry.write(publication.resign, first, NOW).result()  # not its own any more: nothing happens
    assert lead("a", 60) is None
    registry.write(publication.resign, second, NOW + timedelta(seconds=60)).result()
    assert known(lead("a", 60)).token == second.token + 1


def test_nobody_writes_without_a_lease(registry: Registry) -> None:
    with refused(Unavailable, Reason.LEASE_LOST):
        registry.write(publication.led, Lease("a", 1, NOW), epochs.lapse, 1).result()
