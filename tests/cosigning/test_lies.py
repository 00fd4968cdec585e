"""Each lie of a registry, which is otherwise right in everything, and the reason for which a verifier does not sign."""

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest

from attestd import peer
from attestd.codec import dump_base64, load_base64
from attestd.errors import EndorsementRejected, Reason, Unavailable
from attestd.policy import AppraisalPolicy
from attestd.registrar.cosigner import Asked
from attestd.registrar.cosigning import OwnKey
from attestd.registrar.registrar import Registrar
from attestd.registry import catalogue, epochs
from attestd.registry.epochs import Candidate
from attestd.settings import shipped
from attestd.signature import ed25519_signing_key
from attestd.simulator.reports import TdReport, bits
from attestd.transparency.note import dump_checkpoint_body, sign
from attestd.transparency.record import (
    Approve,
    Expire,
    Image,
    Model,
    Record,
    RecordedEntry,
    Refuse,
    Renew,
    Resume,
    Revoke,
    Suspend,
    dump_record,
)
from attestd.tvm.address import Address
from tests.api.world import NOW, write_collateral
from tests.cosigning.world import Leader, Liar, Verifier, leader, verifier
from tests.registrar_chain.chain import GLOBAL_ID, REGISTRY, FaultChain
from tests.registrar_chain.world import KEYS, VERIFIERS, Clock
from tests.registry.samples import digest

MODEL = digest("model")


@dataclass
class Stage:
    """An honest registry, a liar in its name, and where verifiers of the liar are started."""

    lead: Leader
    liar: Liar
    url: str
    folder: Path
    stack: ExitStack
    started: int = 0

    def start(self, **settings: str) -> Verifier:
        self.started += 1
        name = self.folder / f"verifier {self.started}"
        clock = Clock(self.lead.chain)
        return self.stack.enter_context(verifier(name, 1, self.lead, clock, **{"cosign_of": self.url} | settings))


@dataclass
class Court:
    """A liar, a verifier that believes to follow the honest registry, and those who can start more of them."""

    lead: Leader
    liar: Liar
    verifier: Verifier

    @property
    def clock(self) -> Clock:
        return Clock(self.lead.chain)

    @property
    def validity(self) -> int:
        return self.verifier.settings.checkpoint_validity

    def next(self, more: int = 1) -> Candidate:
        """Build the epoch after the first, or one after that."""
        return self.liar.candidate(epoch=self.liar.honest.number + more)

    def rewrite(self, edit: Callable[[dict[str, Any]], None]) -> Candidate:
        """Edit the result of the first key."""
        place = self.place(Approve)
        approved: Any = self.liar.records[place]
        raw, evidence = self.liar.grounds[approved.result]
        document = json.loads(raw)
        edit(document)
        raw = json.dumps(document).encode()
        self.liar.grounds[sha256(raw).digest()] = raw, evidence
        return self.change(place, result=sha256(raw).digest())

    def refused(self, candidate: Candidate, reason: Reason, own: OwnKey | None = None) -> str:
        """Require that a candidate is refused for this reason, that nothing came of it, and return what was said."""
        before = self.verifier.held(), list(self.verifier.registry.read(lambda t: list(epochs.all_(t))))
        with pytest.raises(Unavailable) as refusal:
            self.verifier.sign(candidate, own)
        assert refusal.value.reason is reason, refusal.value
        assert (self.verifier.held(), list(self.verifier.registry.read(lambda t: list(epochs.all_(t))))) == before
        return refusal.value.found

    def place(self, kind: type[Record], nth: int = 0) -> int:
        """Return where the liar's log has a record of a kind."""
        return [index for index, record in enumerate(self.liar.records) if isinstance(record, kind)][nth]

    def change(self, place: int, **changed: Any) -> Candidate:
        """Change a record, and its entry, and make right again all that follows from it."""
        record: Any = self.liar.records[place]
        own = {name: changed.pop(name) for name in list(changed) if hasattr(record, name)}
        self.liar.records[place] = replace(record, **own, entry=replace(record.entry, **changed))
        return self.liar.candidate()


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Return a registry with two keys, one of which has a model, and with evidence that it has refused."""
    folder = tmp_path_factory.mktemp("lies")
    chain = FaultChain(VERIFIERS, 2, int(NOW.timestamp()))
    with ExitStack() as stack:
        lead = stack.enter_context(leader(folder / "leader", chain))
        assert lead.world.admin.put(f"/v1/models/sha256:{MODEL.hex()}", json={"name": "A model"}).is_success
        lead.register(models=(MODEL,))
        lead.register()
        evidence = lead.provider.evidence(body=TdReport(td_attributes=bits(0, 28)))
        assert lead.provider.post(evidence).status_code == 403
        liar = Liar(lead)
        yield Stage(lead, liar, stack.enter_context(liar.serving()), folder, stack)


@pytest.fixture(scope="module")
def shared(stage: Stage) -> Verifier:
    """Return a verifier that has signed nothing yet, and after lies alone does not."""
    return stage.start()


@pytest.fixture
def court(stage: Stage, shared: Verifier) -> Court:
    stage.liar.reset()
    return Court(stage.lead, stage.liar, shared)


@pytest.fixture
def own(stage: Stage) -> Court:
    """Return the same with a verifier of the test's own, which may sign."""
    stage.liar.reset()
    return Court(stage.lead, stage.liar, stage.start())


def test_the_truth_is_signed(own: Court) -> None:
    candidate = own.liar.candidate()
    assert candidate.checkpoint == own.liar.honest.checkpoint
    signature = own.verifier.sign(candidate)
    assert signature.verifier == VERIFIERS[1]
    assert own.verifier.held().size == len(own.liar.records)
    assert sum(path.startswith("/v1/evidence/") for path in own.liar.asked) == 2  # nothing is asked about refusals


class TestCandidate:
    def test_of_another_registry_address(self, court: Court) -> None:
        foreign = OwnKey(KEYS[0], GLOBAL_ID, Address(0, digest("another registry")))
        court.refused(court.liar.candidate(), Reason.COSIGN_CANDIDATE, foreign)

    def test_of_another_network(self, court: Court) -> None:
        court.refused(court.liar.candidate(), Reason.COSIGN_CANDIDATE, OwnKey(KEYS[0], GLOBAL_ID + 1, REGISTRY))

    def test_of_anybody_else(self, court: Court) -> None:
        court.refused(court.liar.candidate(), Reason.COSIGN_CANDIDATE, OwnKey(KEYS[2], GLOBAL_ID, REGISTRY))

    @pytest.mark.parametrize("changed", [{"size": 1}, {"root": bytes(32)}], ids=lambda changed: next(iter(changed)))
    def test_with_the_note_of_another_tree(self, court: Court, changed: dict[str, Any]) -> None:
        court.refused(court.liar.noted(court.liar.honest.checkpoint, **changed), Reason.COSIGN_CANDIDATE)

    def test_with_the_note_of_another_log(self, court: Court) -> None:
        court.refused(court.liar.noted(court.liar.honest.checkpoint, origin="another"), Reason.NOTE_SIGNATURE)

    def test_with_a_note_by_a_former_key_of_the_log(self, court: Court) -> None:
        """R08: the name is the same, the key was replaced."""
        honest, origin = court.liar.honest, court.lead.world.settings.registry_id
        body = dump_checkpoint_body(origin, honest.checkpoint.tree_size, honest.checkpoint.log_root)
        former = sign(body, origin, ed25519_signing_key(digest("former"))).encode()
        court.refused(replace(honest, note=former), Reason.NOTE_SIGNATURE)

    def test_nothing_is_fetched_for_it(self, court: Court) -> None:
        court.refused(court.liar.candidate(), Reason.COSIGN_CANDIDATE, OwnKey(KEYS[2], GLOBAL_ID, REGISTRY))
        assert court.liar.asked == []


class TestWindow:
    def test_for_longer_than_is_cosigned(self, court: Court) -> None:
        issued_at = court.liar.honest.checkpoint.issued_at
        court.refused(court.liar.candidate(valid_until=issued_at + court.validity + 1), Reason.COSIGN_WINDOW)

    def test_of_the_future(self, court: Court) -> None:
        now = int(court.clock().timestamp())
        candidate = court.liar.candidate(issued_at=now + 61, valid_until=now + court.validity)
        court.refused(candidate, Reason.COSIGN_WINDOW)

    def test_of_the_past(self, court: Court) -> None:
        now = int(court.clock().timestamp())
        court.refused(court.liar.candidate(issued_at=now - 60, valid_until=now), Reason.COSIGN_WINDOW)

    def test_as_far_as_it_may_be(self, own: Court) -> None:
        now = int(own.clock().timestamp())
        own.verifier.sign(own.liar.candidate(issued_at=now + 60, valid_until=now + 60 + own.validity))


class TestNumber:
    def test_two_candidates_of_one_number(self, own: Court) -> None:
        first = own.liar.candidate()
        signature = own.verifier.sign(first)
        second = own.liar.candidate(valid_until=first.checkpoint.valid_until - 1)
        own.refused(second, Reason.COSIGN_CONFLICT)
        assert own.verifier.sign(first) == signature
        later = own.liar.candidate(epoch=first.number + 1)
        assert own.verifier.sign(later) != signature

    def test_another_when_the_first_can_no_longer_land(self, own: Court) -> None:
        now = int(own.clock().timestamp())
        own.verifier.sign(own.liar.candidate(issued_at=now, valid_until=now + 90))
        own.lead.chain.block(seconds=150)  # the second in which the contract refuses it, and a minute for its clock
        second = own.liar.candidate(issued_at=now + 150, valid_until=now + 300)
        own.refused(second, Reason.COSIGN_CONFLICT)
        own.lead.chain.block(seconds=1)
        own.verifier.sign(second)


class TestPolicies:
    def test_the_digest_of_others(self, court: Court) -> None:
        court.refused(court.liar.candidate(policy_digest=digest("policies")), Reason.COSIGN_POLICY)

    def test_a_copy_that_differs(self, stage: Stage, court: Court) -> None:
        folder = stage.folder / "differing"
        copytree(shipped("policies"), folder)
        strict = folder / "strict-tdx.toml"
        strict.write_text(strict.read_text() + "\n# another digest\n")
        court.verifier = stage.start(policies=str(folder))
        court.refused(court.liar.candidate(), Reason.COSIGN_POLICY)
        copytree(shipped("policies"), folder, dirs_exist_ok=True)
        court.verifier.sign(court.liar.candidate())  # copies are read again each time

    @pytest.mark.parametrize(
        "changed",
        [{"name": "another"}, {"version": 1000}, {"digest": "sha256:" + "00" * 32}],
        ids=lambda changed: next(iter(changed)),
    )
    def test_a_result_under_a_policy_that_there_is_no_copy_of(self, court: Court, changed: dict[str, Any]) -> None:
        def other(document: dict[str, Any]) -> None:
            document["policy"].update(changed)

        court.refused(court.rewrite(other), Reason.COSIGN_POLICY)

    def test_a_result_under_an_older_version_is_judged_by_the_one_in_force(self, own: Court) -> None:
        def older(document: dict[str, Any]) -> None:
            document["policy"].update(version=document["policy"]["version"] - 1, digest="sha256:" + "00" * 32)

        own.verifier.sign(own.rewrite(older))


class TestLog:
    def test_an_altered_record(self, court: Court) -> None:
        place = court.place(Approve)

        def alter(bundle: list[bytes]) -> list[bytes]:
            return [*bundle[:place], bundle[place].replace(b'"approve"', b'"renew"'), *bundle[place + 1 :]]

        court.liar.shown = alter
        assert f"record {place} " in court.refused(court.liar.candidate(), Reason.COSIGN_RECORD)

    def test_an_omitted_record(self, court: Court) -> None:
        court.liar.shown = lambda bundle: bundle[:-1]
        court.refused(court.liar.candidate(), Reason.COSIGN_RECORD)

    def test_a_record_in_another_writing(self, court: Court) -> None:
        place = court.place(Approve)
        raw = dump_record(court.liar.records[place])
        court.liar.written[place] = raw.replace(b":", b": ", 1)
        assert f"record {place}:" in court.refused(court.liar.candidate(), Reason.COSIGN_RECORD)

    def test_a_root_of_something_else(self, court: Court) -> None:
        court.refused(court.liar.candidate(log_root=digest("root")), Reason.COSIGN_HISTORY)
        assert not any("evidence" in path for path in court.liar.asked)  # it is known before that is looked at

    def test_rewritten_history(self, own: Court) -> None:
        own.verifier.sign(own.liar.candidate())
        first: Any = own.liar.records[0]
        own.liar.records[0] = replace(first, at=first.at + timedelta(seconds=1))
        own.liar.records.append(Model(at=first.at, digest=digest("later"), state="approved"))
        own.refused(own.next(), Reason.COSIGN_HISTORY)

    def test_rewritten_history_of_the_same_size(self, own: Court) -> None:
        own.verifier.sign(own.liar.candidate())
        first: Any = own.liar.records[0]
        own.liar.records[0] = replace(first, at=first.at + timedelta(seconds=1))
        own.refused(own.next(), Reason.COSIGN_HISTORY)

    def test_shortened_history(self, own: Court) -> None:
        own.verifier.sign(own.liar.candidate())
        own.liar.records.pop()
        assert "at least the" in own.refused(own.next(), Reason.COSIGN_HISTORY)

    def test_a_map_of_something_else(self, court: Court) -> None:
        court.refused(court.liar.candidate(map_root=digest("root")), Reason.COSIGN_MAP)

    def test_a_map_in_which_a_revoked_key_stays(self, court: Court) -> None:
        map_root = court.liar.candidate().checkpoint.map_root
        approved: Any = court.liar.records[court.place(Approve)]
        court.liar.records.append(Revoke(at=approved.at, key=approved.key))
        court.refused(court.liar.candidate(map_root=map_root), Reason.COSIGN_MAP)

    def test_more_than_is_caught_up_with_at_once(self, court: Court, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("attestd.registrar.cosigner._MOST", len(court.liar.records) - 1)
        court.refused(court.liar.candidate(), Reason.COSIGN_BEHIND)

    def test_as_much_as_is_caught_up_with_at_once(self, own: Court, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("attestd.registrar.cosigner._MOST", len(own.liar.records))
        own.verifier.sign(own.liar.candidate())
        own.liar.records.append(Model(at=NOW, digest=digest("later"), state="approved"))
        own.verifier.sign(own.next())  # only what is new is counted


class TestEvidence:
    def test_a_result_of_another_digest(self, court: Court) -> None:
        approved: Any = court.liar.records[court.place(Approve)]
        document, evidence = court.liar.grounds[approved.result]
        court.liar.grounds[approved.result] = document + b" ", evidence
        court.refused(court.liar.candidate(), Reason.COSIGN_EVIDENCE)

    def test_a_result_that_is_none(self, court: Court) -> None:
        place = court.place(Approve)
        approved: Any = court.liar.records[place]
        court.liar.grounds[sha256(b"{}").digest()] = b"{}", court.liar.grounds[approved.result][1]
        court.refused(court.change(place, result=sha256(b"{}").digest()), Reason.COSIGN_EVIDENCE)

    def test_the_evidence_of_another_key(self, court: Court) -> None:
        first, second = (court.liar.records[court.place(Approve, nth)] for nth in (0, 1))
        document, _ = court.liar.grounds[first.result]  # type: ignore[union-attr]
        court.liar.grounds[first.result] = document, court.liar.grounds[second.result][1]  # type: ignore[union-attr]
        court.refused(court.liar.candidate(), Reason.COSIGN_EVIDENCE)

    def test_the_result_and_the_evidence_of_another_key(self, court: Court) -> None:
        other: Any = court.liar.records[court.place(Approve, 1)]
        place = court.place(Approve)
        candidate = court.change(place, result=other.result, **asdict(other.entry))
        assert f"record {place}: key " in court.refused(candidate, Reason.COSIGN_ENTRY)

    def test_evidence_that_is_not_authentic(self, court: Court) -> None:
        approved: Any = court.liar.records[court.place(Approve)]
        document, raw = court.liar.grounds[approved.result]
        evidence = json.loads(raw)
        quote = bytearray(load_base64(evidence["cpu"]["quote"]))
        quote[600] ^= 1
        evidence["cpu"]["quote"] = dump_base64(bytes(quote))
        court.liar.grounds[approved.result] = document, json.dumps(evidence).encode()
        court.refused(court.liar.candidate(), Reason.COSIGN_APPRAISAL)

    def test_evidence_that_does_not_parse(self, court: Court) -> None:
        approved: Any = court.liar.records[court.place(Approve)]
        court.liar.grounds[approved.result] = court.liar.grounds[approved.result][0], b"{}"
        court.refused(court.liar.candidate(), Reason.COSIGN_APPRAISAL)

    def test_evidence_that_is_not_affirming(self, court: Court) -> None:
        """A key is approved on evidence of a TD that can be debugged, which the registry itself has refused before."""
        refused: Any = court.liar.records[court.place(Refuse)]
        document = json.loads(court.liar.grounds[refused.result][0])
        entry = RecordedEntry(
            tee="tdx",
            image=bytes.fromhex(document["claims"]["image_digest"].removeprefix("sha256:")),
            models=(),
            not_before=0,
            not_after=0,
        )
        key = bytes.fromhex(document["key"]["key_id"])
        place = len(court.liar.records)
        court.liar.records.append(Approve(at=refused.at, key=key, result=refused.result, entry=entry))
        said = court.refused(court.liar.candidate(), Reason.COSIGN_APPRAISAL)
        assert f"record {place}: contraindicated" in said

    def test_not_affirming_by_own_collateral(self, stage: Stage, court: Court) -> None:
        def recovered(inner: dict[str, Any]) -> None:
            inner["tcbEvaluationDataNumber"] += 1
            inner["tcbLevels"][0]["tcbStatus"] = "OutOfDate"

        vendor = stage.lead.world.vendor
        court.verifier = stage.start()
        collateral = vendor.collateral(tcb_info=vendor.tcb_info(recovered))
        write_collateral(court.verifier.settings.endorsements / "platform", collateral)
        court.verifier.service.keep_up()
        court.refused(court.liar.candidate(), Reason.COSIGN_APPRAISAL)

    def test_own_collateral_is_missing(self, stage: Stage, court: Court) -> None:
        empty = stage.folder / "empty"
        empty.mkdir(mode=0o700)
        court.verifier = stage.start(endorsements=str(empty))
        court.refused(court.liar.candidate(), Reason.TDX_ENDORSEMENTS_MISSING)

    def test_own_collateral_is_rejected(self, court: Court, monkeypatch: pytest.MonkeyPatch) -> None:
        """The evidence may be good: what is wrong is not said of it."""

        def reappraise(*_: object) -> None:
            raise EndorsementRejected(Reason.TDX_TCB_INFO_EXPIRED, found="collateral of last year", wanted="of today")

        monkeypatch.setattr(Registrar, "reappraise", reappraise)
        court.refused(court.liar.candidate(), Reason.TDX_TCB_INFO_EXPIRED)

    def test_a_model_that_was_withdrawn(self, court: Court) -> None:
        withdrawn: Any = court.liar.records[court.place(Model)]
        court.liar.records.append(replace(withdrawn, state="withdrawn"))
        court.refused(court.liar.candidate(), Reason.COSIGN_APPRAISAL)

    def test_an_image_that_is_not_approved(self, stage: Stage, own: Court) -> None:
        """By the next version of a policy, which takes registered images alone."""
        folder = stage.folder / "registered"
        copytree(shipped("policies"), folder)
        strict = folder / "strict-tdx.toml"
        version = AppraisalPolicy.load(strict.read_bytes()).version
        text = strict.read_text().replace('images = "any"', 'images = "registered"')
        strict.write_text(text.replace(f"version = {version}\n", f"version = {version + 1}\n"))
        policies = [AppraisalPolicy.load(file.read_bytes()) for file in folder.glob("*.toml")]
        in_force = catalogue.digest_of_policies((policy.name, policy.digest) for policy in policies)
        own.verifier = stage.start(policies=str(folder))
        own.refused(own.liar.candidate(policy_digest=in_force), Reason.COSIGN_APPRAISAL)
        image = own.liar.records[own.place(Approve)].entry.image  # type: ignore[union-attr]
        own.liar.records.append(Image(at=NOW, digest=image, state="approved"))
        own.verifier.sign(own.liar.candidate(policy_digest=in_force))

    def test_a_model_that_was_approved_in_an_earlier_epoch(self, own: Court) -> None:
        """What is held says so, and not only what is new."""
        approvals = [one for one in own.liar.records if isinstance(one, Approve)]
        own.liar.records = [one for one in own.liar.records if one not in approvals]
        own.verifier.sign(own.liar.candidate())
        own.liar.records += approvals
        own.verifier.sign(own.next())

    @pytest.mark.parametrize(
        ("name", "value"),
        [("tee", "snp"), ("image", digest("image")), ("models", ()), ("models", (MODEL, digest("more")))],
        ids=["tee", "image", "fewer models", "more models"],
    )
    def test_an_entry_that_says_something_else(self, court: Court, name: str, value: object) -> None:
        place = court.place(Approve)
        value = tuple(sorted(value)) if isinstance(value, tuple) else value
        said = court.refused(court.change(place, **{name: value}), Reason.COSIGN_ENTRY)
        assert f"record {place}: " in said

    def test_an_entry_for_another_key(self, court: Court) -> None:
        candidate = court.change(court.place(Approve), key=digest("key"))
        court.refused(candidate, Reason.COSIGN_ENTRY)

    def test_an_entry_for_longer_than_the_evidence_holds(self, court: Court) -> None:
        place = court.place(Approve)
        approved: Any = court.liar.records[place]
        candidate = court.change(place, not_after=approved.entry.not_after + 40 * 86400)
        assert f"record {place}: trusted until" in court.refused(candidate, Reason.COSIGN_ENTRY)

    @pytest.mark.parametrize("kind", [Renew, Resume])
    def test_the_same_holds_when_a_key_comes_back(self, own: Court, kind: type[Renew | Resume]) -> None:
        own.verifier.sign(own.liar.candidate())
        approved: Any = own.liar.records[own.place(Approve)]
        again = kind(at=approved.at, key=approved.key, result=approved.result, entry=approved.entry)
        own.liar.records.append(again)
        own.verifier.sign(own.next())
        own.liar.records.append(replace(again, entry=replace(again.entry, image=digest("image"))))
        own.refused(own.next(2), Reason.COSIGN_ENTRY)

    @pytest.mark.parametrize("kind", [Revoke, Suspend])
    def test_a_key_that_is_taken_out_needs_no_proof(self, own: Court, kind: type[Revoke | Suspend]) -> None:
        for approved in [one for one in own.liar.records if isinstance(one, Approve)]:
            own.liar.records.append(kind(at=approved.at, key=approved.key))
        own.liar.grounds.clear()
        own.verifier.sign(own.liar.candidate())
        assert own.verifier.held().map_root == bytes(32)


class TestRevival:
    """What the log itself says of a key, and would have forgotten: by the evidence alone it would be trusted."""

    def known(self, court: Court) -> Any:
        """Have the log signed as it is, and return what it says of a key."""
        court.verifier.sign(court.liar.candidate())
        return court.liar.records[court.place(Approve)]

    @pytest.mark.parametrize("kind", [Approve, Renew, Resume])
    @pytest.mark.parametrize("at_once", [True, False], ids=["at once", "later"])
    def test_a_key_that_was_revoked(self, own: Court, kind: type[Approve | Renew | Resume], at_once: bool) -> None:
        known = self.known(own)
        own.liar.records.append(Revoke(at=known.at, key=known.key))
        if not at_once:
            own.liar.records.append(Expire(at=known.at, key=known.key))
            own.verifier.sign(own.next())
        own.liar.records.append(kind(at=known.at, key=known.key, result=known.result, entry=known.entry))
        assert "revoked" in own.refused(own.next(2), Reason.COSIGN_REVIVED)

    @pytest.mark.parametrize("at_once", [True, False], ids=["at once", "later"])
    def test_a_result_for_longer_than_it_once_was_good_for(self, own: Court, at_once: bool) -> None:
        known = self.known(own)
        shorter = replace(known.entry, not_after=known.entry.not_after - 1)
        own.liar.records.append(Renew(at=known.at, key=known.key, result=known.result, entry=shorter))
        if not at_once:
            own.liar.records.append(Expire(at=known.at, key=known.key))
            own.verifier.sign(own.next())
        again = Renew(at=known.at, key=known.key, result=known.result, entry=known.entry)
        own.liar.records.append(again)
        assert f"until {known.entry.not_after}" in own.refused(own.next(2), Reason.COSIGN_REVIVED)
        own.liar.records[-1] = replace(again, entry=shorter)
        own.verifier.sign(own.next(2))

    def test_a_key_that_was_revoked_before_anything_was_signed(self, own: Court) -> None:
        known: Any = own.liar.records[own.place(Approve)]
        own.liar.records.append(Revoke(at=known.at, key=known.key))
        own.liar.records.append(Renew(at=known.at, key=known.key, result=known.result, entry=known.entry))
        assert "revoked" in own.refused(own.liar.candidate(), Reason.COSIGN_REVIVED)

    def test_another_result_may_be_good_for_longer(self, own: Court) -> None:
        known = self.known(own)
        shorter = replace(known.entry, not_after=known.entry.not_after - 1)
        own.liar.records.append(Renew(at=known.at, key=known.key, result=known.result, entry=shorter))
        raw, evidence = own.liar.grounds[known.result]
        raw = json.dumps(json.loads(raw) | {"another": True}).encode()
        own.liar.grounds[sha256(raw).digest()] = raw, evidence
        again = Renew(at=known.at, key=known.key, result=sha256(raw).digest(), entry=known.entry)
        own.liar.records.append(again)
        own.verifier.sign(own.next())

    def test_what_is_said_of_another_key_does_not_matter(self, own: Court) -> None:
        known = self.known(own)
        other: Any = own.liar.records[own.place(Approve, 1)]
        own.liar.records.append(Revoke(at=known.at, key=other.key))
        own.liar.records.append(Renew(at=known.at, key=known.key, result=known.result, entry=known.entry))
        own.verifier.sign(own.next())


def test_a_registry_that_does_not_answer(own: Court) -> None:
    own.liar.down = True
    own.refused(own.liar.candidate(), Reason.COSIGN_PEER)
    own.liar.down = False
    own.verifier.sign(own.liar.candidate())


def test_a_registry_that_is_asked_too_often(own: Court, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer, "_PAUSE_SECONDS", 0)
    own.liar.busy = 10
    own.refused(own.liar.candidate(), Reason.REQUEST_RATE)
    own.liar.busy = 9
    own.verifier.sign(own.liar.candidate())


def test_one_at_a_time_and_to_the_end(own: Court) -> None:
    """What has begun goes on when nobody waits for it any more, as the registry does not for long."""
    service, candidate = own.verifier.service, own.liar.candidate()
    cosigning = service.site.cosigning
    assert cosigning is not None
    key = OwnKey(KEYS[0], GLOBAL_ID, REGISTRY)
    asked = Asked(candidate.checkpoint, candidate.note, asyncio.run(key.sign(candidate)).signature)
    begun, may_go_on = threading.Event(), threading.Event()

    def slowly(bundle: list[bytes]) -> list[bytes]:
        begun.set()
        may_go_on.wait()
        return bundle

    own.liar.shown = slowly
    first = asyncio.run_coroutine_threadsafe(cosigning.sign(asked), service.loop)
    begun.wait()
    own.refused(candidate, Reason.OVERLOADED)
    # Whoever else asks is refused without having waited, and nobody waits for him.
    own.refused(candidate, Reason.COSIGN_CANDIDATE, OwnKey(KEYS[2], GLOBAL_ID, REGISTRY))
    first.cancel()
    may_go_on.set()
    cosigning._thread.submit(lambda: None).result()
    asyncio.run_coroutine_threadsafe(asyncio.sleep(0), service.loop).result()
    own.liar.down = True
    own.verifier.sign(candidate)


def test_a_verifier_that_stops_does_not_catch_up_first(own: Court) -> None:
    service, candidate = own.verifier.service, own.liar.candidate()
    cosigning = service.site.cosigning
    assert cosigning is not None
    own.liar.asked.clear()
    stopping = threading.Thread(target=cosigning.close)

    def stop(bundle: list[bytes]) -> list[bytes]:
        stopping.start()
        while not cosigning._followed._is_over:
            time.sleep(0.001)
        return bundle

    own.liar.shown = stop
    assert "about to stop" in own.refused(candidate, Reason.COSIGN_PEER)
    stopping.join()
    assert not any("evidence" in path for path in own.liar.asked)


def test_refusals_are_counted(own: Court) -> None:
    own.refused(own.liar.candidate(map_root=digest("root")), Reason.COSIGN_MAP)
    assert own.verifier.metric("attestd_cosign_refusals_total", reason="cosign.map") == 1
    assert own.verifier.metric("attestd_cosignatures_total") == 0
