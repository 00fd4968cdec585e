"""A backup that is hours old, from which the service goes on: attacks.md B10 and F33.

What happened between backup and loss is on chain and in a copy of the log, and nowhere else.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from attestd.errors import AttestdError, NotAuthentic, Reason, RequestRefused, Unavailable
from attestd.registrar.orders import Stopped
from attestd.registrar.publishing import notary
from attestd.registrar.recovering import Chain, Log, folder, recover
from attestd.registry import (
    Registry,
    audit,
    catalogue,
    challenges,
    epochs,
    fsck,
    keys,
    log,
    publication,
    sequencing,
)
from attestd.registry.epochs import EpochState, Terms
from attestd.registry.recovery import Recovery
from attestd.registry.values import KeyState
from attestd.signature import ed25519_signing_key
from attestd.transparency import note
from attestd.transparency.record import Model, Renew
from attestd.transparency.tiles import TILE_WIDTH, entries_path, tile_path, tile_width
from tests.refusals import refused
from tests.registrar_chain.chain import WALLET
from tests.registrar_chain.test_publisher import is_trusted_on_chain, publish, revoke
from tests.registrar_chain.world import INTERVAL, VALIDITY, VERIFIERS, World, opened
from tests.registry.samples import REGISTRY_ID, digest, known, new_key, new_result, record, register

LOG = Log(REGISTRY_ID, ed25519_signing_key(digest("log key")))


class Story:
    """A registry, of which a backup is taken, and which is lost and restored."""

    def __init__(self, folder_: Path) -> None:
        self.folder = folder_
        self.copy = folder_ / "copy"

    def begin(self, registry: Registry) -> None:
        self.world = World(registry)
        self.world.terms = Terms(INTERVAL, VALIDITY, notary(LOG.key, REGISTRY_ID))

    @property
    def registry(self) -> Registry:
        return self.world.registry

    def publish(self) -> int:
        self.world.chain.block(seconds=INTERVAL)
        return asyncio.run(self.world.publish())

    def write(self, function: Callable[..., Any], *args: Any, **how: Any) -> Any:
        return self.registry.write(function, *args, **how, at=self.world.clock()).result()

    def back_up(self) -> None:
        with sqlite3.connect(self.folder / "attestd.db") as one, sqlite3.connect(self.folder / "backup") as other:
            one.backup(other)

    @contextmanager
    def restored(self) -> Iterator[None]:
        """Lose everything since the backup. The registry that was open must be closed."""
        for file in self.folder.glob("attestd.db*"):
            file.unlink()
        (self.folder / "backup").chmod(0o600)
        (self.folder / "backup").rename(self.folder / "attestd.db")
        with opened(self.folder) as registry:
            self.world.registry = registry
            self.world.publisher = self.world.new_publisher()
            yield

    def mirror(self) -> None:
        """Write the log as it is served by now."""
        newest = known(self.registry.read(epochs.newest))
        files = {"checkpoint": newest.note}
        size, level = newest.checkpoint.tree_size, 0
        while size >> 8 * level:
            for index in range(-(-(size >> 8 * level) // TILE_WIDTH)):
                width = tile_width(level, index, size)
                files[tile_path(level, index, width)] = known(self.registry.read(log.tile, level, index, width))
                if not level:
                    files[entries_path(index, width)] = known(self.registry.read(log.entries, index, width))
            level += 1
        for name, content in files.items():
            file = self.copy / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)

    def recover(self, *, rehearse: bool = False, with_chain: bool = True) -> Recovery:
        world = self.world
        chain = Chain(world.chain, WALLET, world.orders()) if with_chain else None
        return asyncio.run(recover(self.registry, LOG, chain, folder(self.copy), world.clock(), rehearse=rehearse))

    def stops(self) -> Reason | None:
        self.world.build()
        return asyncio.run(self.world.round())

    def says(self, number: int) -> object:
        """What the log says of a key last."""
        return known(self.registry.read(log.last, digest("key", number))).said()

    def key(self, number: int) -> Any:
        return self.registry.read(keys.find, digest("key", number), self.world.clock())

    def require_whole(self) -> None:
        """Nothing is wrong in the database, and it says what the chain does."""
        assert self.registry.read(lambda transaction: list(fsck.examine(transaction))) == []
        self.world.require_equal()

    def state(self) -> Any:
        return self.registry.read(
            lambda transaction: (
                log.size(transaction),
                sequencing.state(transaction),
                list(epochs.all_(transaction)),
                audit.verify(transaction),
            )
        )


@pytest.fixture
def story(tmp_path: Path) -> Story:
    return Story(tmp_path)


def test_all_of_it(story: Story) -> None:
    with opened(story.folder) as registry:
        story.begin(registry)
        for number in range(1, 6):
            register(registry, number)
        story.publish()
        waiting = new_result(20, key=new_key(20))
        story.write(challenges.issue, waiting.challenge, "alice", expires_at=story.world.clock() + timedelta(days=1))
        story.back_up()

        at = story.world.clock()
        register(registry, 6, at)  # unknown to the backup
        story.publish()
        revoke(story.world, 1)
        story.write(keys.suspend, digest("key", 2), reason="", by="admin")
        story.publish()
        renewed = new_result(103, key_id=digest("key", 3), key=new_key(3, valid_until=at + timedelta(days=2)))
        story.write(challenges.issue, renewed.challenge, "alice", expires_at=at + timedelta(days=1))
        record(registry, renewed, story.world.clock())
        record(registry, waiting, story.world.clock())
        register(registry, 7, at)
        revoke(story.world, 7)
        register(registry, 8, at, key=new_key(8, valid_until=at + timedelta(seconds=30)))
        story.write(catalogue.approve_model, digest("lost model"), name="lost", by="admin")
        last = story.publish()
        lost = registry.read(log.size)
        story.mirror()

    with story.restored():
        restored = story.registry.read(log.size)
        register(story.registry, 9, story.world.clock())
        story.write(keys.suspend, digest("key", 4), reason="", by="admin")
        assert story.stops() is Reason.CHAIN_AHEAD
        assert "attestd log recover" in Reason.CHAIN_AHEAD.hint
        before = story.state()
        shown = story.recover(rehearse=True)
        assert story.state() == before
        assert story.stops() is Reason.CHAIN_AHEAD

        done = story.recover()
        assert done == shown
        assert (done.first, done.records, done.again, done.epochs) == (restored, lost - restored, 2, (2, 3, last))
        assert set(done.revoked) == {digest("key", number) for number in (6, 7, 20)}
        assert set(done.changed) == {digest("key", number) for number in (1, 2)}
        assert [record.digest for record in done.approvals if isinstance(record, Model)] == [digest("lost model")]
        assert story.registry.read(epochs.confirmed) is not None
        assert story.world.epoch() == last
        assert story.publish() == last + 1
        story.require_whole()
        assert not any(is_trusted_on_chain(story.world, number) for number in (1, 2, 4, 6, 7, 8, 20))
        assert all(is_trusted_on_chain(story.world, number) for number in (3, 5, 9))
        states = {number: story.key(number).state for number in (1, 2, 3, 4, 5, 9)}
        revoked, suspended, active = KeyState.REVOKED, KeyState.SUSPENDED, KeyState.ACTIVE
        assert states == {1: revoked, 2: suspended, 3: active, 4: suspended, 5: active, 9: active}
        assert [story.key(number) for number in (6, 7, 8, 20)] == [None] * 4
        assert isinstance(story.says(3), Renew)  # as the backup knows it
        assert story.says(3).result == story.key(3).result_digest  # type: ignore[attr-defined]

        with refused(RequestRefused, Reason.CHALLENGE_USED):
            record(story.registry, new_result(21, challenge=waiting.challenge), story.world.clock())
        for number in (6, 7, 20):
            with refused(RequestRefused, Reason.KEY_REVOKED):
                register(story.registry, number, story.world.clock(), challenge=digest("again", number))
        story.mirror()
        before = story.state()
        assert story.recover().epochs == ()
        assert story.state() == before


def begun(story: Story, registry: Registry) -> None:
    """One epoch, a backup, and another epoch."""
    story.begin(registry)
    register(registry, 1)
    story.publish()
    story.back_up()
    register(registry, 2, story.world.clock())
    story.publish()
    story.mirror()


def test_before_the_service_is_started(story: Story) -> None:
    """Nothing was decided since, so that no record changes its place."""
    with opened(story.folder) as registry:
        begun(story, registry)
    with story.restored():
        done = story.recover()
        assert (done.first, done.records, done.again, done.epochs) == (1, 1, 0, (2,))
        confirmed = known(story.registry.read(epochs.confirmed))
        assert (confirmed.number, confirmed.checkpoint) == (2, story.world.chain.now.checkpoint)
        assert len(story.registry.read(epochs.signatures, confirmed)) == 1
        assert confirmed.note == (story.copy / "checkpoint").read_bytes()
        assert story.publish() == 3
        story.require_whole()


def test_signatures_of_those_who_are_no_verifiers_any_more_are_not_kept(story: Story) -> None:
    with opened(story.folder) as registry:
        begun(story, registry)
    chain = story.world.chain
    for verifiers in (((0, VERIFIERS[1]),), ((7, VERIFIERS[0]),)):
        chain.verifiers = verifiers
        with story.restored():
            anyone = Chain(chain, WALLET, replace(story.world.orders(), verifiers=()))
            story.back_up()
            done = asyncio.run(recover(story.registry, LOG, anyone, folder(story.copy), story.world.clock()))
            assert done.epochs == (2,)
            assert story.registry.read(epochs.signatures, known(story.registry.read(epochs.confirmed))) == ()


def test_what_was_signed_and_has_not_landed_is_in_the_copy(story: Story) -> None:
    """It may land still: then it is the log that is held here by now, and is followed again."""
    with opened(story.folder) as registry:
        begun(story, registry)
        story.world.chain.drop = 1.0
        register(registry, 3, story.world.clock())
        story.world.chain.block(seconds=INTERVAL)
        candidate = known(story.world.build())
        assert asyncio.run(story.world.round()) is None
        (waiting,) = registry.read(publication.messages_of, 3, 1)
        story.mirror()
    with story.restored():
        done = story.recover()
        assert (done.records, done.epochs, len(done.revoked)) == (2, (2,), 2)
        assert story.registry.read(log.root, 3) == candidate.checkpoint.log_root
        story.world.chain.drop = 0.0
        asyncio.run(story.world.chain.send(waiting.boc))
        story.world.chain.block()
        assert story.stops() is Reason.CHAIN_AHEAD
        done = story.recover()
        assert (done.records, done.again, done.epochs) == (0, 0, (3,))
        assert story.publish() == 4
        story.require_whole()
        assert not is_trusted_on_chain(story.world, 3)


def test_only_an_epoch_is_missing(story: Story) -> None:
    """The backup was taken after the last record, and before its epoch was built."""
    with opened(story.folder) as registry:
        story.begin(registry)
        register(registry, 1)
        story.publish()
        register(registry, 2, story.world.clock())
        story.back_up()
        story.publish()
        story.mirror()
    with story.restored():
        register(story.registry, 3, story.world.clock())
        story.world.chain.block(seconds=INTERVAL)
        assert story.stops() is Reason.CHAIN_AHEAD
        done = story.recover()
        assert (done.records, done.again, done.epochs, done.revoked) == (0, 0, (2,), ())
        assert story.publish() == 3
        story.require_whole()
        assert all(is_trusted_on_chain(story.world, number) for number in (1, 2, 3))


def test_epochs_are_confirmed_in_which_there_was_less(story: Story) -> None:
    """The next epoch was built when the backup was taken, and nobody had seen it: here it is built anew, with more."""
    with opened(story.folder) as registry:
        story.begin(registry)
        register(registry, 1)
        story.publish()
        register(registry, 2, story.world.clock())
        story.world.chain.block(seconds=INTERVAL)
        second = known(story.world.build())
        register(registry, 3, story.world.clock())
        story.back_up()
        assert asyncio.run(story.world.publish()) == 2
        assert story.publish() == 3
        story.mirror()
    with story.restored():
        story.world.chain.block(seconds=INTERVAL)
        assert story.stops() is Reason.CHAIN_AHEAD
        assert story.registry.read(sequencing.state).size == 3
        assert story.recover().epochs == (2, 3)
        states = {row.candidate: row.state for row in story.registry.read(epochs.of_number, 2)}
        assert states == {second.candidate: EpochState.CONFIRMED, 2: EpochState.LAPSED}
        register(story.registry, 4, story.world.clock())
        assert story.publish() == 4
        story.require_whole()


def test_tiles_and_map_go_back_over_what_was_decided_since(story: Story) -> None:
    """More than a tile on both sides, with the same keys in another order."""
    with opened(story.folder) as registry:
        story.begin(registry)
        for number in range(TILE_WIDTH - 10):
            register(registry, number)
        story.publish()
        story.back_up()
        for number in range(300):
            story.write(catalogue.approve_model, digest("lost", number), name="lost", by="admin")
        revoke(story.world, 1)
        story.publish()
        story.mirror()
    with story.restored():
        for number in range(TILE_WIDTH + 15):
            story.write(catalogue.approve_model, digest("since", number), name="since", by="admin")
        for number in (1, 2):
            story.write(keys.suspend, digest("key", number), reason="", by="admin")
        register(story.registry, 1000, story.world.clock())
        story.world.chain.block(seconds=INTERVAL)
        assert story.stops() is Reason.CHAIN_AHEAD
        assert story.registry.read(sequencing.state).size > 2 * TILE_WIDTH
        done = story.recover()
        assert (done.records, done.again, len(done.approvals)) == (301, TILE_WIDTH + 15 + 3, 300)
        assert story.publish() == 3
        story.require_whole()
        assert [is_trusted_on_chain(story.world, number) for number in (0, 1, 2, 1000)] == [True, False, False, True]


def test_a_log_without_a_chain(story: Story) -> None:
    with opened(story.folder) as registry:
        story.begin(registry)
        story.world.terms = replace(story.world.terms, is_published=False)
        register(registry, 1)
        story.world.build()
        story.back_up()
        register(registry, 2)
        story.world.chain.block(seconds=INTERVAL)
        story.world.build()
        story.mirror()
    with story.restored():
        register(story.registry, 3)
        story.world.chain.block(seconds=INTERVAL)
        story.world.build()
        done = story.recover(with_chain=False)
        assert (done.records, done.again, done.epochs, done.revoked) == (1, 1, (), (digest("key", 2),))
        story.world.chain.block(seconds=INTERVAL)
        assert known(story.world.build()).checkpoint.tree_size == story.registry.read(log.size) == 4
        assert story.registry.read(lambda transaction: list(fsck.examine(transaction))) == []


def other_note(story: Story) -> None:
    other = notary(ed25519_signing_key(digest("another")), REGISTRY_ID)
    (story.copy / "checkpoint").write_bytes(other(2, bytes(32)))


def other_log(story: Story) -> None:
    body = note.dump_checkpoint_body("attestd:other", 2, bytes(32))
    (story.copy / "checkpoint").write_text(note.sign(body, REGISTRY_ID, LOG.key))


def other_root(story: Story) -> None:
    (story.copy / "checkpoint").write_bytes(notary(LOG.key, REGISTRY_ID)(2, bytes(32)))


def too_few(story: Story) -> None:
    (story.copy / "checkpoint").write_bytes(notary(LOG.key, REGISTRY_ID)(1, bytes(32)))


def other_record(story: Story) -> None:
    file = story.copy / entries_path(0, 2)
    file.write_bytes(file.read_bytes().replace(b"approve", b"approvd"))


def other_map(story: Story) -> None:
    """Those who sign have signed a map that the records do not make."""
    sign_other(story, map_root=digest("another map"))


def another_log_on_chain(story: Story) -> None:
    sign_other(story, log_root=digest("another log"))


def sign_other(story: Story, **changed: bytes) -> None:
    chain = story.world.chain
    theirs = replace(known(chain.now.checkpoint), **changed)  # type: ignore[arg-type]
    chain.now.checkpoint = theirs
    chain.registry_log[-1] = replace(chain.registry_log[-1], body=publish(theirs))


@pytest.mark.parametrize(
    ("change", "error", "reason"),
    [
        (other_note, NotAuthentic, Reason.NOTE_SIGNATURE),
        (other_log, NotAuthentic, Reason.NOTE_SIGNATURE),
        (other_root, NotAuthentic, Reason.LOG_CONSISTENCY),
        (too_few, Unavailable, Reason.LOG_BEHIND),
        (other_record, NotAuthentic, Reason.LOG_INCLUSION),
        (other_map, NotAuthentic, Reason.LOG_MAP),
        (another_log_on_chain, NotAuthentic, Reason.LOG_CONSISTENCY),
    ],
)
def test_a_copy_that_is_not_this_log(
    story: Story, change: Callable[[Story], None], error: type[AttestdError], reason: Reason
) -> None:
    with opened(story.folder) as registry:
        begun(story, registry)
    change(story)
    with story.restored():
        before = story.state()
        with refused(error, reason):
            story.recover()
        assert story.state() == before


def test_the_contract_of_another_is_not_followed(story: Story) -> None:
    with opened(story.folder) as registry:
        begun(story, registry)
    story.world.chain.admin = WALLET
    with story.restored(), refused(Stopped, Reason.CHAIN_OWNER):
        story.recover()
