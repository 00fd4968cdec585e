"""What keys say of the chain, what proves it, and what the service says of its own publishing."""

import json
from base64 import b64decode, b64encode
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from attestd.chain.ledger import AccountStatus, SeenAccount, SeenRegistry
from attestd.chain.reading import load_key_proof
from attestd.chain.state import CODE_HASH
from attestd.errors import Reason
from attestd.registry import epochs
from attestd.registry import published as published_
from attestd.registry.database import Transaction
from attestd.registry.epochs import Candidate
from attestd.registry.integrity import damaged
from attestd.transparency.checkpoint import load_checkpoint, verify_signatures
from attestd.transparency.keymap import lookup
from attestd.transparency.merkle import leaf_hash, verify_inclusion
from attestd.transparency.note import load_checkpoint_body, load_note_key, open_note
from attestd.transparency.record import Approve, Revoke, load_record
from attestd.tvm.address import Address
from attestd.tvm.boc import load_boc
from tests.api.epochs import GLOBAL_ID, REGISTRY, VERIFIERS, build, land
from tests.api.test_log import alter
from tests.api.world import Clock, Start, World, new_key, reason_of

NOBODYS = bytes(range(100, 132))


def register(world: World) -> str:
    return str(world.provider().register()["key"]["key_id"])


def revoke(world: World, key_id: str) -> None:
    answer = world.admin.post("/v1/revocations", json={"kind": "key", "value": key_id, "reason": "a test"})
    assert answer.status_code == 201, answer.text


def listed(world: World, **query: str) -> set[str]:
    answer = world.public.get("/v1/keys", params=query)
    assert answer.status_code == 200, answer.text
    return {item["key_id"] for item in answer.json()["items"]}


def proved(world: World, key_id: str) -> dict[str, Any]:
    """Ask for a proof, and verify everything in it as a client does that knows keys and contract from elsewhere."""
    answer = world.public.get(f"/v1/keys/{key_id}", params={"proof": "true"})
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "no-cache"
    document: dict[str, Any] = answer.json()
    proof = load_key_proof(answer.content, bytes.fromhex(key_id))
    (cell,) = load_boc(b64decode(document["checkpoint"]))
    checkpoint = load_checkpoint(cell)
    assert checkpoint == proof.checkpoint
    signatures = {
        index: b64decode(one["signature"])
        for one in document["signatures"]
        for index, key in VERIFIERS.items()
        if key.hex() == one["verifier"]
    }
    verify_signatures(checkpoint, signatures, VERIFIERS, threshold=1, global_id=GLOBAL_ID, registry=REGISTRY)
    key = load_note_key(world.public.get("/.well-known/attestd").json()["log"]["key"])
    head = load_checkpoint_body(open_note(document["note"].encode(), [key]))
    assert (head.size, head.root) == (checkpoint.tree_size, checkpoint.log_root)
    if document["record"] is not None:
        inclusion = document["inclusion"]
        path = [b64decode(one) for one in inclusion["hashes"]]
        leaf = leaf_hash(document["record"].encode())
        verify_inclusion(leaf, inclusion["log_index"], inclusion["tree_size"], path, head.root)
    document["entry"] = lookup(proof.proof, checkpoint.map_root, bytes.fromhex(key_id))
    return document


class TestPublication:
    def test_without_a_chain_there_is_none(self, own: World, clock: Clock) -> None:
        key_id = register(own)
        build(own, clock)
        assert own.key(key_id)["published"] is None
        assert listed(own) == listed(own, published="false") == {key_id}
        assert listed(own, published="true") == set()

    def test_from_decision_to_chain_and_back(self, own: World, clock: Clock) -> None:
        land(own, clock)
        key_id = register(own)
        pending = own.key(key_id)["published"]
        assert pending == {
            "state": "pending",
            "log_index": pending["log_index"],
            "epoch": None,
            "block": None,
            "transaction": None,
        }
        landed = land(own, clock)
        place = landed.coordinates
        assert place is not None
        published = own.key(key_id)["published"]
        assert published == pending | {
            "state": "published",
            "epoch": landed.number,
            "block": place.block,
            "transaction": place.hash.hex(),
        }
        revoke(own, key_id)
        removing = own.key(key_id)["published"]
        assert (removing["state"], removing["epoch"]) == ("removing", None)
        assert removing["log_index"] > published["log_index"]
        removed_in = land(own, clock)
        removed = own.key(key_id)["published"]
        assert (removed["state"], removed["epoch"]) == ("removed", removed_in.number)
        assert own.key(key_id)["state"] == "revoked"

    def test_of_each_key_the_epoch_that_was_the_first_to_have_it(self, own: World, clock: Clock) -> None:
        found = {}
        for _ in range(5):
            key_id = register(own)
            found[key_id] = land(own, clock).number
        assert list(found.values()) == [1, 2, 3, 4, 5]
        assert {key_id: own.key(key_id)["published"]["epoch"] for key_id in found} == found
        items = own.public.get("/v1/keys").json()["items"]
        assert {item["key_id"]: item["published"]["epoch"] for item in items} == found

    def test_of_what_the_log_does_not_speak_of_there_is_none(self, own: World, clock: Clock) -> None:
        land(own, clock)
        registry = own.service.site.registrar.registry
        assert registry.read(published_.publication, bytes(32), is_published=True) is None

    def test_a_renewal_is_pending_until_it_lands(self, own: World, clock: Clock) -> None:
        provider, key = own.provider(), new_key()
        key_id = provider.register(key)["key"]["key_id"]
        first = land(own, clock)
        provider.register(key)
        assert own.key(key_id)["published"]["state"] == "pending"
        second = land(own, clock)
        assert (first.number, own.key(key_id)["published"]["epoch"]) == (1, second.number)

    def test_the_filter_goes_by_the_last_decision(self, own: World, clock: Clock) -> None:
        one, two = register(own), register(own)
        land(own, clock)
        revoke(own, two)
        three = register(own)
        assert listed(own, published="true") == {one}
        assert listed(own, published="false") == {three}
        assert listed(own, published="false", state="revoked") == {two}
        land(own, clock)
        assert listed(own, published="true") == {one, three}
        assert listed(own, published="true", state="revoked") == {two}
        assert listed(own, published="false") == set()

    def test_pages_go_on_while_epochs_do(self, own: World, clock: Clock) -> None:
        keys = {register(own) for _ in range(3)}
        land(own, clock)
        query = {"published": "true", "limit": "2"}
        first = own.public.get("/v1/keys", params=query).json()
        land(own, clock)
        rest = own.public.get("/v1/keys", params=query | {"cursor": first["next"]}).json()
        assert {item["key_id"] for item in first["items"] + rest["items"]} == keys
        # A cursor is of its own list (attacks.md, A14).
        other = own.public.get("/v1/keys", params={"published": "false", "cursor": first["next"]})
        assert (other.status_code, reason_of(other)) == (400, "request.malformed")

    @pytest.mark.parametrize(("where", "query"), [("/v1/keys", "published"), ("/v1/keys/{key_id}", "proof")])
    def test_of_the_past_the_log_tells(self, own: World, where: str, query: str) -> None:
        key_id = register(own)
        at = own.clock().isoformat()
        answer = own.public.get(where.format(key_id=key_id), params={"at": at, query: "true"})
        assert (answer.status_code, reason_of(answer)) == (400, "request.malformed")


def is_kept(world: World, key_id: str) -> bool:
    """Tell whether the next answer comes from memory."""
    return world.service.site.answers.find(f"/v1/keys/{key_id}".encode()) is not None


class TestMemory:
    """An answer is kept until it differs, and an epoch without decisions makes none differ."""

    def test_landing_is_seen_at_once(self, own: World, clock: Clock) -> None:
        land(own, clock)
        key_id = register(own)
        assert own.key(key_id)["published"]["state"] == "pending"
        assert is_kept(own, key_id)
        build(own, clock)
        assert is_kept(own, key_id)
        land(own, clock)
        assert not is_kept(own, key_id)
        assert own.key(key_id)["published"]["state"] == "published"
        assert is_kept(own, key_id)

    def test_an_epoch_without_decisions_clears_nothing(self, own: World, clock: Clock) -> None:
        key_id = register(own)
        size = land(own, clock).checkpoint.tree_size
        before = own.key(key_id)
        clock.advance(seconds=own.settings.checkpoint_validity / 2)
        later = land(own, clock)
        assert (later.number, later.checkpoint.tree_size) == (2, size)
        assert is_kept(own, key_id)
        assert own.key(key_id) == before

    def test_a_fork_is_seen_at_once(self, own: World, clock: Clock) -> None:
        key_id = register(own)
        land(own, clock)
        assert own.key(key_id)["published"]["state"] == "published"
        own.service.site.registrar.registry.write(epochs.unconfirm, 0).result()
        assert own.key(key_id)["published"] is None  # nothing is on chain, and there is none to publish to


class TestProof:
    def test_of_membership_and_of_absence(self, own: World, clock: Clock) -> None:
        key_id, other = register(own), register(own)
        landed = land(own, clock)
        document = proved(own, key_id)
        entry = document["entry"]
        assert entry.result.hex() == document["result_digest"].removeprefix("sha256:")
        assert entry.not_after == int(clock.at.fromisoformat(document["valid_until"]).timestamp())
        said = load_record(document["record"].encode())
        assert isinstance(said, Approve)
        assert said.key.hex() == key_id
        assert document["proved_by"]["epoch"] == landed.number
        assert document["proved_by"]["state"] == "confirmed"
        revoke(own, key_id)
        # Until the next epoch, what is proved is what the chain has; the answer itself says what was decided since.
        document = proved(own, key_id)
        assert document["entry"] is not None
        assert (document["state"], document["published"]["state"]) == ("revoked", "removing")
        land(own, clock)
        document = proved(own, key_id)
        assert document["entry"] is None
        assert isinstance(load_record(document["record"].encode()), Revoke)
        assert proved(own, other)["entry"] is not None

    def test_of_the_last_key_there_is_no_map(self, own: World, clock: Clock) -> None:
        key_id = register(own)
        revoke(own, key_id)
        land(own, clock)
        document = proved(own, key_id)
        assert (document["proof"], document["entry"], document["proved_by"]["map_root"]) == (None, None, None)

    def test_a_key_that_is_not_on_chain_yet(self, own: World, clock: Clock) -> None:
        register(own)
        land(own, clock)
        key_id = register(own)
        document = proved(own, key_id)
        assert (document["state"], document["entry"], document["record"]) == ("active", None, None)
        assert document["published"]["state"] == "pending"

    def test_without_a_chain_by_the_last_epoch_of_the_log(self, own: World, clock: Clock) -> None:
        key_id = register(own)
        built = build(own, clock)
        answer = own.public.get(f"/v1/keys/{key_id}", params={"proof": "true"})
        proof = load_key_proof(answer.content, bytes.fromhex(key_id))
        assert proof.checkpoint == built.checkpoint
        assert lookup(proof.proof, built.checkpoint.map_root, proof.key_id) is not None
        assert answer.json()["signatures"] == []
        assert answer.json()["proved_by"]["transaction"] is None

    def test_what_is_over_is_not_trusted_though_the_map_has_it(self, own: World, clock: Clock) -> None:
        """R05: from the second after `valid_until`; the proof shows an entry whose window is over."""
        key_id = register(own)
        until = clock.at.fromisoformat(own.key(key_id)["valid_until"])
        clock.at = until - timedelta(seconds=own.settings.epoch_interval)
        land(own, clock)
        assert clock.at == until
        assert own.key(key_id)["state"] == "active"
        clock.at = until + timedelta(seconds=1)
        answer = own.public.get(f"/v1/keys/{key_id}")
        assert answer.json()["state"] == "expired"
        assert answer.headers["cache-control"] == "no-cache"
        assert listed(own) == set()
        document = proved(own, key_id)
        assert (document["state"], document["published"]["state"]) == ("expired", "published")
        assert document["entry"].not_after < clock.at.timestamp()
        land(own, clock)  # and then the map has it no longer
        document = proved(own, key_id)
        assert (document["entry"], document["published"]["state"]) == (None, "removed")

    def test_by_the_next_epoch_where_the_map_was_pruned_meanwhile(
        self, own: World, clock: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        key_id = register(own)
        before = build(own, clock)
        prove, tried = published_._proof, []

        def pruned(transaction: Transaction, of: bytes, candidate: Candidate) -> published_.Proof:
            tried.append(candidate)
            if candidate == before:
                register(own)
                build(own, clock)
                raise damaged("a node of the map")
            return prove(transaction, of, candidate)

        monkeypatch.setattr(published_, "_proof", pruned)
        answer = own.public.get(f"/v1/keys/{key_id}", params={"proof": "true"})
        assert answer.status_code == 200
        assert [one == before for one in tried] == [True, False]

    def test_an_altered_map_proves_nothing(self, own: World, clock: Clock) -> None:
        """R02, R03."""
        key_id = register(own)
        land(own, clock)
        alter(own, "UPDATE map_nodes SET node = zeroblob(length(node))")
        answer = own.public.get(f"/v1/keys/{key_id}", params={"proof": "true"})
        assert (answer.status_code, reason_of(answer)) == (503, "registry.integrity")

    def test_of_what_was_never_registered(self, own: World, clock: Clock) -> None:
        """There is no key to answer for, and a proof of that."""
        register(own)
        landed = land(own, clock)
        answer = own.public.get(f"/v1/keys/{NOBODYS.hex()}", params={"proof": "true"})
        assert (answer.status_code, reason_of(answer)) == (404, "request.not_found")
        answer = own.public.get(f"/v1/proofs/{NOBODYS.hex()}")
        assert answer.headers["cache-control"] == "no-cache"
        proof = load_key_proof(answer.content, NOBODYS)
        assert proof.proof is not None
        assert proof.checkpoint == landed.checkpoint
        assert lookup(proof.proof, landed.checkpoint.map_root, NOBODYS) is None
        assert (answer.json()["record"], answer.json()["inclusion"]) == (None, None)

    def test_the_proof_by_itself_and_with_the_key_are_one(self, own: World, clock: Clock) -> None:
        key_id = register(own)
        land(own, clock)
        with_key = own.public.get(f"/v1/keys/{key_id}", params={"proof": "true"}).json()
        assert own.public.get(f"/v1/proofs/{key_id}").json().items() <= with_key.items()

    @pytest.mark.parametrize("written", [NOBODYS.hex().upper(), NOBODYS.hex()[:-1], f"sha256:{NOBODYS.hex()}", "x"])
    def test_other_ids_are_none(self, own: World, written: str) -> None:
        answer = own.public.get(f"/v1/proofs/{written}")
        assert (answer.status_code, reason_of(answer)) == (404, "request.not_found")


class TestEpochs:
    def test_an_epoch_as_it_is_on_chain(self, own: World, clock: Clock) -> None:
        landed = land(own, clock)
        register(own)
        build(own, clock)
        document = own.public.get("/v1/epochs/1").json()
        place = landed.coordinates
        assert place is not None
        assert (document["state"], document["transaction"]) == ("confirmed", place.hash.hex())
        assert document["block"] == place.block
        (cell,) = load_boc(b64decode(document["checkpoint"]))
        assert load_checkpoint(cell) == landed.checkpoint
        assert [one["verifier"] for one in document["signatures"]] == [VERIFIERS[0].hex()]
        waiting = own.public.get("/v1/epochs/2").json()
        assert (waiting["state"], waiting["transaction"], waiting["signatures"]) == ("built", None, [])

    @pytest.mark.parametrize("number", ["0", "7", "-1", "01x", "4294967296", "1.5", "99999999999999999999"])
    def test_others_are_not_found(self, own: World, clock: Clock, number: str) -> None:
        build(own, clock)
        answer = own.public.get(f"/v1/epochs/{number}")
        assert (answer.status_code, reason_of(answer)) == (404, "request.not_found")

    def test_without_a_chain_nothing_is_pending(self, own: World, clock: Clock) -> None:
        register(own)
        build(own, clock)
        document = own.public.get("/v1/chain").json()
        assert (document["registry"], document["pending"], document["trouble"]) == (None, 0, None)
        assert document["code_hash"] == CODE_HASH.hex()


def secret(folder: Path, name: str) -> str:
    file = folder / name
    file.write_text(bytes(range(32)).hex())
    file.chmod(0o600)
    return str(file)


@pytest.fixture
def published(start: Start, tmp_path: Path) -> World:
    """Return a service that publishes to a chain of which nobody answers."""
    verifiers = {str(index): key.hex() for index, key in VERIFIERS.items()}
    return publishing(start, tmp_path, verifiers=verifiers, threshold=1)


def publishing(start: Start, tmp_path: Path, **pinned: object) -> World:
    network = tmp_path / "network.json"
    liteserver = {"ip": 0x7F000001, "port": 1, "id": {"@type": "pub.ed25519", "key": b64encode(VERIFIERS[0]).decode()}}
    own = {"global_id": GLOBAL_ID, "agree": 1, "registry": str(REGISTRY), **pinned}
    network.write_text(json.dumps({"liteservers": [liteserver], "attestd": own}))
    return start(
        chain_network=str(network),
        chain_wallet_key=secret(tmp_path, "wallet"),
        chain_verifier_key=secret(tmp_path, "verifier"),
    )


class TestChain:
    def test_verifiers_that_are_not_pinned_are_those_that_were_seen(self, start: Start, tmp_path: Path) -> None:
        service = publishing(start, tmp_path)
        publisher = service.service.site.publishing.publisher
        assert publisher is not None
        where = service.public.get("/v1/chain").json()
        assert (where["verifiers"], where["threshold"]) == ({}, None)
        account = SeenAccount(
            seqno=1,
            utime=1,
            status=AccountStatus.ACTIVE,
            balance=0,
            code_hash=CODE_HASH,
            last_lt=0,
            last_hash=bytes(32),
        )
        publisher.seen = SeenRegistry(account=account, verifiers=((3, NOBODYS),), threshold=1)
        for where in (
            service.public.get("/v1/chain").json(),
            service.public.get("/.well-known/attestd").json()["chain"],
        ):
            assert (where["verifiers"], where["threshold"]) == ({"3": NOBODYS.hex()}, 1)

    def test_where_it_is_published_and_what_stands_in_the_way(self, published: World, clock: Clock) -> None:
        """Nobody answers: what is recorded waits, and the reason is told, without what was found."""
        key_id = register(published)
        assert published.key(key_id)["published"]["state"] == "pending"
        build(published, clock)
        clock.advance(seconds=30)
        document = published.public.get("/v1/chain").json()
        for where in (document, published.public.get("/.well-known/attestd").json()["chain"]):
            assert Address.parse(where["registry"]) == REGISTRY
            assert (where["global_id"], where["threshold"]) == (GLOBAL_ID, 1)
            assert where["verifiers"] == {"0": VERIFIERS[0].hex()}
        assert document["confirmed"] is None
        assert document["pending"] == document["log_size"] > 0
        assert document["lag_seconds"] == 90
        publisher = published.service.site.publishing.publisher
        assert publisher is not None
        while publisher.trouble is None:  # its first round is under way
            published.public.get("/healthz/live")
        trouble = published.public.get("/v1/chain").json()["trouble"]
        assert trouble == {"reason": "chain.unavailable", "title": Reason.CHAIN_UNAVAILABLE.summary}

    def test_before_the_first_publication_there_is_no_proof(self, published: World, clock: Clock) -> None:
        key_id = register(published)
        build(published, clock)
        for path in (f"/v1/keys/{key_id}?proof=true", f"/v1/proofs/{key_id}", f"/v1/proofs/{NOBODYS.hex()}"):
            answer = published.public.get(path)
            assert (answer.status_code, reason_of(answer)) == (503, "chain.unpublished")
            assert answer.headers["retry-after"] == "5"

    def test_what_is_confirmed_is_not_pending(self, published: World, clock: Clock) -> None:
        register(published)
        landed = land(published, clock)
        document = published.public.get("/v1/chain").json()
        assert document["confirmed"]["epoch"] == landed.number
        assert document["confirmed"]["block"] == 100 + landed.number
        assert (document["pending"], document["lag_seconds"]) == (0, 0)
