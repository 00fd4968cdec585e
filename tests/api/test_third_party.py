"""Somebody who believes neither the service nor a liteserver, and has the commands, a network file and an address."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from attestd.chain.state import CODE, Governance, RegistryState, dump_state
from attestd.cli import main
from attestd.registry.epochs import Candidate
from attestd.signature import sign_ed25519
from attestd.transparency.checkpoint import Checkpoint, signing_hash
from attestd.tvm.address import Address
from tests.api.epochs import GLOBAL_ID, REGISTRY, VERIFIER, VERIFIERS, build, land
from tests.api.test_chain import NOBODYS, register, revoke
from tests.api.test_log import approve
from tests.api.world import Clock, World
from tests.chain import worlds
from tests.chain.background import Chain, chain

GOVERNANCE = Governance(
    admin=Address(0, bytes(32)), threshold=1, timelock=0, max_validity=3600, verifiers=tuple(VERIFIERS.items())
)


def moment(clock: Clock, checkpoint: Checkpoint | None = None) -> worlds.World:
    """Return the chain as it is now, with a registry that has published this."""
    state = RegistryState(governance=GOVERNANCE)
    if checkpoint is not None:
        signature = sign_ed25519(VERIFIER, signing_hash(checkpoint, GLOBAL_ID, REGISTRY))
        state = replace(state, checkpoint=checkpoint, signatures=((0, signature),))
    account = worlds.account_cell(REGISTRY, code=CODE, data=dump_state(state))
    return worlds.World(
        accounts={REGISTRY: worlds.Stored(account)}, global_id=GLOBAL_ID, utime=int(clock.at.timestamp())
    )


class Party:
    """The third party."""

    def __init__(self, own: World, clock: Clock, shown: Chain, capsys: pytest.CaptureFixture[str]) -> None:
        self.own, self.clock, self.chain, self.capsys = own, clock, shown, capsys

    def publish(self) -> Candidate:
        """Have an epoch built, and put it on the chain that liteservers show."""
        landed = land(self.own, self.clock)
        self.chain.show(moment(self.clock, landed.checkpoint))
        return landed

    def run(self, *arguments: object) -> tuple[int, Any]:
        named = ("--network", self.chain.file, "--registry", REGISTRY)
        status = main([str(argument) for argument in (*arguments, *named)])
        return status, json.loads(self.capsys.readouterr().out)

    def verify(self, key_id: str) -> tuple[int, str]:
        """Verify a key; return the status and the outcome."""
        proof = f"{self.own.service.public_url}/v1/proofs/{key_id}"
        status, document = self.run("chain", "verify", key_id, "--proof", proof)
        return status, document["outcome"]

    def verify_log(self, *more: object) -> tuple[int, Any]:
        return self.run("log", "verify", "--from", self.own.service.public_url, *more)


@pytest.fixture
def party(
    own: World, clock: Clock, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Party]:
    for module in ("chain", "log_verify", "proved"):
        monkeypatch.setattr(f"attestd.cli.{module}.effective_time", lambda _: clock())
    with chain(moment(clock), REGISTRY, tmp_path / "network.json") as shown:
        yield Party(own, clock, shown, capsys)


def test_a_key_that_nobody_ever_registered_is_shown_to_be_absent(party: Party) -> None:
    assert party.verify(NOBODYS.hex()) == (4, "unavailable")
    party.publish()  # the empty map
    assert party.verify(NOBODYS.hex()) == (5, "absent")
    key_id = register(party.own)
    assert party.verify(key_id) == (5, "absent")  # nothing is on chain of it yet
    party.publish()
    assert party.verify(key_id) == (0, "member")
    assert party.verify(NOBODYS.hex()) == (5, "absent")
    revoke(party.own, key_id)
    assert party.verify(key_id) == (0, "member")
    party.publish()
    assert party.verify(key_id) == (5, "absent")


def test_the_log_of_a_service_is_what_is_on_chain(party: Party, tmp_path: Path) -> None:
    """Over more than one tile, and once more when the log has grown."""
    state = tmp_path / "state.json"
    key_id = register(party.own)
    register(party.own)
    approve(party.own, 280)
    landed = party.publish()
    status, document = party.verify_log("--state", state, "--all")
    assert (status, document["outcome"]) == (0, "verified"), document
    assert document["audited"] == {"records": landed.checkpoint.tree_size, "keys": 2}
    revoke(party.own, key_id)
    newest = build(party.own, party.clock)  # the log goes ahead of the chain
    status, document = party.verify_log("--state", state, "--all")
    assert (status, document["log"]["size"]) == (0, newest.checkpoint.tree_size), document
    party.publish()
    status, document = party.verify_log("--state", state, "--all")
    assert (status, document["audited"]) == (0, {"records": newest.checkpoint.tree_size, "keys": 1}), document
    assert document["log"]["key"] == str(party.own.service.site.publishing.log_key)
