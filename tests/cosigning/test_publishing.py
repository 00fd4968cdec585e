"""Three services, each with a database, policies, endorsements, clock and key of its own; two signatures are wanted."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from attestd.errors import Reason
from attestd.registrar.orders import Stopped
from attestd.registry import epochs
from tests.api.world import NOW
from tests.cosigning.world import Leader, Publishing, Verifier, leader, verifier
from tests.registrar_chain.chain import FaultChain
from tests.registrar_chain.world import VERIFIERS, Clock


class Three:
    """A registry and two verifiers, which may be down."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder = folder
        self.chain = FaultChain(VERIFIERS, 2, int(NOW.timestamp()))
        self.clock = Clock(self.chain)
        self._stack = stack
        self._running: dict[int, ExitStack] = {}
        self.leader: Leader = stack.enter_context(leader(folder / "leader", self.chain))
        self.urls: dict[int, str] = {}

    def start(self, number: int) -> Verifier:
        """Start a verifier, at the address that it had before."""
        running = self._running[number] = self._stack.enter_context(ExitStack())
        listen = self.urls.get(number, "http://127.0.0.1:0").removeprefix("http://")
        started = running.enter_context(
            verifier(self._folder / f"verifier {number}", number, self.leader, self.clock, listen=listen)
        )
        self.urls[number] = started.service.public_url
        return started

    def stop(self, number: int) -> None:
        self._running[number].close()

    def publishing(self) -> Publishing:
        return Publishing(self.leader, self.chain, self.clock, list(self.urls.values()))


@pytest.fixture
def three(tmp_path: Path) -> Iterator[Three]:
    with ExitStack() as stack:
        yield Three(tmp_path, stack)


def test_two_of_three_sign_what_they_have_verified(three: Three) -> None:
    first, second = three.start(1), three.start(2)
    publishing = three.publishing()
    key = three.leader.register()
    assert publishing.publish() == 1
    known = three.leader.registry.read(epochs.confirmed)
    assert known is not None
    assert known.checkpoint == three.chain.now.checkpoint
    signers = {one.verifier for one in three.leader.registry.read(epochs.signatures, known)}
    assert signers == {VERIFIERS[0], VERIFIERS[1]}
    held = first.held()
    assert (held.size, held.log_root, held.map_root) == (
        known.checkpoint.tree_size,
        known.checkpoint.log_root,
        known.checkpoint.map_root,
    )
    assert three.leader.is_trusted(key, known)
    assert first.metric("attestd_cosignatures_total") == 1
    assert second.held().size == 0  # nobody needed it

    three.leader.world.admin.post("/v1/revocations", json={"kind": "key", "value": key.hex(), "reason": "test"})
    assert publishing.publish() == 2
    assert three.chain.now.checkpoint is not None
    assert three.chain.now.checkpoint.map_root is None
    assert first.held().map_root == bytes(32)


def test_one_is_down_and_the_others_publish(three: Three) -> None:
    three.start(1)
    second = three.start(2)
    publishing = three.publishing()
    three.leader.register()
    three.stop(1)
    assert publishing.publish() == 1
    assert publishing.failures("cosign.peer") >= 1
    assert second.held().size == three.chain.now.checkpoint.tree_size  # type: ignore[union-attr]


def test_both_are_down_and_it_goes_on_when_one_is_back(three: Three) -> None:
    three.start(1)
    three.start(2)
    publishing = three.publishing()
    three.leader.register()
    assert publishing.publish() == 1
    three.stop(1)
    three.stop(2)
    three.leader.register()
    candidate = three.leader.build()
    for _ in range(3):
        with pytest.raises(Stopped) as stopped:
            publishing.round()
        assert stopped.value.reason is Reason.CHAIN_QUORUM
        three.chain.block()
    assert publishing.on_chain() == 1
    assert publishing.failures("cosign.peer") == 6
    assert three.leader.registry.read(epochs.live) is not None

    back = three.start(2)  # which has seen nothing so far, and catches up with both epochs
    assert back.held().size == 0
    assert publishing.publish() == 2
    assert three.chain.now.checkpoint == candidate.checkpoint
    assert back.held().size == candidate.checkpoint.tree_size


def test_a_verifier_that_is_killed_has_its_signatures(three: Three) -> None:
    three.start(1)
    three.leader.register()
    candidate = three.leader.build()
    first = three.start(2)
    signed = first.sign(candidate)
    three.stop(2)
    again = three.start(2)
    assert again.sign(candidate) == signed
