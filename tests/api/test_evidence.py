"""`POST /v1/evidence`: the journey over the wire, and each way off it."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace

import cbor2
import pytest

from attestd.codec import dump_base64, dump_base64url
from attestd.evidence import KeyEvidence, QuoteEvidence, dump_evidence_json
from attestd.registry import catalogue
from attestd.simulator import (
    OLDER_SVNS,
    Attester,
    Framing,
    KeyPair,
    Registry,
    Signing,
    TdReport,
    TdReport15,
    Vendor,
    append,
    bits,
    ccel,
    flip,
    negate_s,
)
from tests.api.test_admin import put_policy
from tests.api.world import NOW, Clock, Provider, Start, World, new_key, reason_of
from tests.policy import factory


def test_evidence_becomes_a_trusted_key(shared: World, provider: Provider) -> None:
    key = new_key()
    evidence = provider.evidence(key)
    answer = provider.post(evidence)

    assert answer.status_code == 201
    result = answer.json()
    key_id = hashlib.sha256(key.spki).hexdigest()
    assert result["tier"] == "affirming"
    assert result["simulated"] is True
    assert result["dry_run"] is False
    assert result["provider"] == provider.id
    assert result["challenge"] == dump_base64url(evidence.challenge)
    assert result["key"]["key_id"] == key_id
    assert result["tcb"]["status"] == "UpToDate"
    assert answer.headers["location"] == f"/v1/results/{result['id']}"

    seen = shared.key(key_id)
    assert seen["state"] == "active"
    assert seen["spki"] == dump_base64(key.spki)
    assert seen["result_id"] == result["id"]
    assert seen["result_digest"] == "sha256:" + hashlib.sha256(answer.content).hexdigest()
    assert seen["valid_until"] == result["valid_until"]
    assert seen["simulated"] is True
    assert provider.http.get(answer.headers["location"]).content == answer.content


def test_cbor_is_the_same_evidence(provider: Provider) -> None:
    evidence = provider.evidence()
    assert isinstance(evidence.cpu, QuoteEvidence)
    body = {
        "challenge": evidence.challenge,
        "binding": evidence.binding.value,
        "key": {"spki": evidence.key.spki, "proof": evidence.key.proof},
        "cpu": {"tee": "tdx", "quote": evidence.cpu.quote},
    }
    answer = provider.post(cbor2.dumps(body), **{"content-type": "application/cbor"})
    assert answer.status_code == 201, answer.text


def test_cbor_named_json_is_refused(provider: Provider) -> None:
    answer = provider.post(cbor2.dumps({"challenge": b""}))
    assert (answer.status_code, reason_of(answer)) == (400, "json.malformed")


def test_the_same_evidence_again_returns_the_first_result(provider: Provider) -> None:
    evidence = provider.evidence()
    first = provider.post(evidence)
    second = provider.post(evidence)
    assert (first.status_code, second.status_code) == (201, 200)
    assert second.content == first.content


@pytest.mark.parametrize("edit", [append(b"\0" * 40), negate_s(636)], ids=["trailing zeros", "(r, n - s)"])
def test_the_same_evidence_in_other_bytes_returns_the_first_result(
    provider: Provider, edit: Callable[[bytes], bytes]
) -> None:
    """X06: what is not authenticated does not make evidence another one."""
    evidence = provider.evidence()
    assert isinstance(evidence.cpu, QuoteEvidence)
    first = provider.post(evidence)
    second = provider.post(replace(evidence, cpu=replace(evidence.cpu, quote=edit(evidence.cpu.quote))))
    assert (first.status_code, second.status_code) == (201, 200)
    assert second.content == first.content


def test_a_repetition_outlives_its_challenge(own: World, clock: Clock) -> None:
    """Challenges are forgotten a day after their end, results never."""
    provider = own.provider()
    evidence = provider.evidence()
    first = provider.post(evidence)
    clock.advance(days=2)
    own.service.keep_up()
    again = provider.post(evidence)
    assert (first.status_code, again.status_code, again.content) == (201, 200, first.content)
    # For nobody else it is one, and neither is anything else that names the challenge.
    other = own.provider().post(evidence)
    assert (other.status_code, reason_of(other)) == (409, "challenge.unknown")
    changed = provider.attester.evidence(new_key(), Registry(own.settings.registry_id, evidence.challenge))
    answer = provider.post(changed)
    assert (answer.status_code, reason_of(answer)) == (409, "challenge.unknown")
    assert isinstance(evidence.cpu, QuoteEvidence)
    forged = replace(evidence.cpu, quote=flip(640)(evidence.cpu.quote))  # the signature, which the id leaves out
    answer = provider.post(replace(evidence, cpu=forged))
    assert (answer.status_code, reason_of(answer)) == (422, "tdx.quote_signature")


def test_a_key_is_renewed_by_new_evidence(shared: World, provider: Provider) -> None:
    key = new_key()
    first, second = provider.register(key), provider.register(key)
    assert first["id"] != second["id"]
    assert shared.key(first["key"]["key_id"])["result_id"] == second["id"]


def test_a_cocoon_certificate_is_renewed_by_a_new_challenge(provider: Provider) -> None:
    """The report commits to the key alone; what is fresh is the proof, so a new challenge is a new submission."""
    key = new_key()
    registry = provider.challenge()
    first = provider.attester.cocoon_evidence(key, registry)
    answer = provider.post(first)
    assert answer.status_code == 201, answer.text
    assert provider.post(first).status_code == 200

    registry = provider.challenge()
    context_signed = key.sign(registry.context(key))
    renewed = replace(first, challenge=registry.challenge, key=replace(first.key, proof=context_signed))
    again = provider.post(renewed)
    assert again.status_code == 201, again.text
    assert again.json()["evidence_id"] == answer.json()["evidence_id"]
    assert again.json()["id"] != answer.json()["id"]


def test_authentic_but_not_affirming_is_refused_with_the_whole_result(shared: World, provider: Provider) -> None:
    registry = provider.challenge()
    answer = provider.post(provider.attester.evidence(new_key(), registry, body=TdReport(td_attributes=bits(0, 28))))

    assert answer.status_code == 403
    assert answer.headers["content-type"] == "application/problem+json"
    document = answer.json()
    assert document["reason"] == "policy.not_affirming"
    result = document["result"]
    assert result["tier"] == "contraindicated"
    assert "debug" in {one["check"] for one in result["appraisal"]["findings"] if one["outcome"] != "affirming"}
    assert shared.public.get(f"/v1/keys/{result['key']['key_id']}").status_code == 404
    # It is recorded as a result, and its challenge is spent.
    assert provider.http.get(f"/v1/results/{result['id']}").json() == result
    again = provider.post(provider.attester.evidence(new_key(), registry))
    assert (again.status_code, reason_of(again)) == (409, "challenge.used")


REFUSED_QUOTES = {
    "vendor": (400, "tdx.qe_vendor_id", Framing(qe_vendor_id=bytes(16))),
    "signature": (422, "tdx.quote_signature", Framing(signing=Signing(after=flip(600)))),
    "qe signature": (422, "tdx.qe_report_signature", Framing(qe_signing=Signing(after=flip(0)))),
    "certification data": (400, "tdx.certification_data", Framing(cert_type=1)),
}


@pytest.mark.parametrize("case", REFUSED_QUOTES)
def test_a_quote_that_is_not_authentic_is_refused_and_stores_nothing(
    shared: World, provider: Provider, case: str
) -> None:
    status, reason, framing = REFUSED_QUOTES[case]
    key = new_key()
    good = provider.evidence(key)
    assert isinstance(good.cpu, QuoteEvidence)
    registry = Registry(registry_id=shared.settings.registry_id, challenge=good.challenge)
    body = TdReport(report_data=registry.report_data(key))
    forged = replace(good, cpu=QuoteEvidence(tee="tdx", quote=provider.attester.quote(body, framing)))
    answer = provider.post(forged)
    assert (answer.status_code, reason_of(answer)) == (status, reason)
    assert shared.public.get(f"/v1/keys/{hashlib.sha256(key.spki).hexdigest()}").status_code == 404
    # The challenge is still there for the evidence that is good.
    assert provider.post(good).status_code == 201


def test_truncated(provider: Provider) -> None:
    evidence = provider.evidence()
    assert isinstance(evidence.cpu, QuoteEvidence)
    answer = provider.post(replace(evidence, cpu=replace(evidence.cpu, quote=evidence.cpu.quote[:1000])))
    assert (answer.status_code, reason_of(answer)) == (400, "tdx.quote_truncated")


def test_another_root_is_not_trusted(provider: Provider) -> None:
    attacker = Attester.of(Vendor.of(seed="mallory", at=NOW))
    answer = provider.post(provider.evidence(attester=attacker))
    assert (answer.status_code, reason_of(answer)) == (422, "tdx.untrusted_root")


class TestBinding:
    def test_another_key_in_the_envelope(self, shared: World, provider: Provider) -> None:
        """T19, X14: the same quote with the key of somebody else."""
        evidence = provider.evidence()
        registry = Registry(registry_id=shared.settings.registry_id, challenge=evidence.challenge)
        other = new_key()
        swapped = replace(evidence, key=KeyEvidence(spki=other.spki, proof=other.sign(registry.context(other))))
        answer = provider.post(swapped)
        assert (answer.status_code, reason_of(answer)) == (422, "binding.report_data")

    def test_models_that_are_not_committed_to(self, provider: Provider) -> None:
        """X12."""
        evidence = provider.evidence()
        answer = provider.post(replace(evidence, models=(bytes(32),)))
        assert (answer.status_code, reason_of(answer)) == (422, "binding.report_data")

    def test_evidence_for_another_registry(self, provider: Provider) -> None:
        """X15."""
        registry = replace(provider.challenge(), registry_id="simulated:another")
        answer = provider.post(provider.attester.evidence(new_key(), registry))
        assert (answer.status_code, reason_of(answer)) == (422, "binding.report_data")

    @pytest.mark.parametrize("proof", [None, bytes(64)], ids=["missing", "zero"])
    def test_no_proof_of_possession(self, provider: Provider, proof: bytes | None) -> None:
        """X14."""
        evidence = provider.evidence()
        answer = provider.post(replace(evidence, key=replace(evidence.key, proof=proof)))
        assert (answer.status_code, reason_of(answer)) == (422, "binding.proof")

    def test_a_key_that_is_none(self, provider: Provider) -> None:
        """X13: the identity of Ed25519."""
        evidence = provider.evidence()
        identity = evidence.key.spki[:-32] + b"\x01" + bytes(31)
        answer = provider.post(replace(evidence, key=replace(evidence.key, spki=identity)))
        assert (answer.status_code, reason_of(answer)) == (422, "binding.key")


class TestFreshness:
    def test_a_challenge_is_used_once(self, provider: Provider) -> None:
        """X05, X08: other evidence for a challenge that was used."""
        registry = provider.challenge()
        assert provider.post(provider.attester.evidence(new_key(), registry)).status_code == 201
        answer = provider.post(provider.attester.evidence(new_key(), registry))
        assert (answer.status_code, reason_of(answer)) == (409, "challenge.used")

    def test_a_challenge_that_nobody_issued(self, provider: Provider) -> None:
        """X07: guessed."""
        registry = replace(provider.challenge(), challenge=bytes(32))
        answer = provider.post(provider.attester.evidence(new_key(), registry))
        assert (answer.status_code, reason_of(answer)) == (409, "challenge.unknown")

    def test_a_challenge_of_another_provider(self, shared: World, provider: Provider) -> None:
        """X07, X09."""
        other = shared.provider()
        answer = other.post(other.attester.evidence(new_key(), provider.challenge()))
        assert (answer.status_code, reason_of(answer)) == (409, "challenge.unknown")

    def test_a_challenge_expires(self, own: World, clock: Clock) -> None:
        """X07: later than its lifetime, by a second."""
        provider = own.provider()
        late, in_time = provider.evidence(), provider.evidence()
        clock.advance(seconds=own.settings.challenge_lifetime)
        assert provider.post(in_time).status_code == 201
        clock.advance(seconds=1)
        answer = provider.post(late)
        assert (answer.status_code, reason_of(answer)) == (409, "challenge.expired")

    def test_a_repetition_is_still_answered_after_the_challenge_has_expired(self, own: World, clock: Clock) -> None:
        provider = own.provider()
        evidence = provider.evidence()
        first = provider.post(evidence)
        clock.advance(seconds=own.settings.challenge_lifetime + 1)
        again = provider.post(evidence)
        assert (again.status_code, again.content) == (200, first.content)


class TestOwnership:
    def test_a_key_of_another_provider(self, shared: World, provider: Provider) -> None:
        """X10."""
        key = new_key()
        provider.register(key)
        other = shared.provider()
        answer = other.post(other.evidence(key))
        assert (answer.status_code, reason_of(answer)) == (409, "key.owned")

    def test_a_platform_of_another_provider(self, shared: World, provider: Provider) -> None:
        """X11: one machine under two providers."""
        provider.register()
        other = shared.provider()
        answer = other.post(other.evidence(attester=provider.attester))
        assert (answer.status_code, reason_of(answer)) == (409, "platform.conflict")

    def test_too_many_keys_on_one_platform(self, start: Start) -> None:
        """X11: a burst of keys from one machine."""
        provider = start(live_keys_per_platform="2").provider()
        provider.register()
        provider.register()
        answer = provider.post(provider.evidence())
        assert (answer.status_code, reason_of(answer)) == (409, "platform.keys")
        provider.register(attester=provider.machine("second"))


class TestPolicies:
    def test_an_unknown_policy(self, provider: Provider) -> None:
        answer = provider.post(replace(provider.evidence(), policy="no-such-policy"))
        assert (answer.status_code, reason_of(answer)) == (404, "policy.unknown")

    def test_the_policy_that_is_named_decides(self, provider: Provider) -> None:
        answer = provider.post(replace(provider.evidence(), policy="cocoon-tdx"))
        assert answer.status_code == 403
        assert answer.json()["result"]["policy"]["name"] == "cocoon-tdx"

    def test_a_model_must_be_approved(self, shared: World, provider: Provider) -> None:
        model = hashlib.sha256(provider.id.encode()).digest()
        refused = provider.post(provider.evidence(models=(model,)))
        assert refused.status_code == 403
        assert [
            one["check"] for one in refused.json()["result"]["appraisal"]["findings"] if one["outcome"] != "affirming"
        ] == ["models"]
        approved = shared.admin.put(f"/v1/models/sha256:{model.hex()}", json={"name": "A model"})
        assert approved.status_code == 200, approved.text
        result = provider.register(models=(model,))
        assert shared.key(result["key"]["key_id"])["models"] == [f"sha256:{model.hex()}"]

    def test_an_image_is_looked_up_only_where_the_policy_asks(
        self, own: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asking = factory.text(factory.TDX, {"name": '"asking"', "tdx.images": '"registered"'})
        assert put_policy(own, asking.encode(), "asking").status_code == 200
        own.service.keep_up()
        looked: list[bytes] = []
        monkeypatch.setattr(catalogue, "find_image", lambda _, digest: looked.append(digest))
        provider = own.provider()
        provider.register()
        assert looked == []
        answer = provider.post(replace(provider.evidence(), policy="asking"))
        assert answer.status_code == 403
        result = answer.json()["result"]
        assert [one["check"] for one in result["appraisal"]["findings"] if one["outcome"] != "affirming"] == ["image"]
        assert [digest.hex() for digest in looked] == [result["claims"]["image_digest"]]

    def test_an_older_platform_is_not_affirmed(self, provider: Provider) -> None:
        """P02."""
        older = provider.machine("older", tcb_components=OLDER_SVNS)
        answer = provider.post(provider.evidence(attester=older))
        assert answer.status_code == 403
        assert answer.json()["result"]["tcb"]["status"] == "OutOfDate"


class TestWorldIsBad:
    def test_collateral_that_is_missing_is_named(self, shared: World, provider: Provider) -> None:
        elsewhere = provider.machine("elsewhere", fmspc=bytes.fromhex("00906ed50000"))
        evidence = provider.evidence(attester=elsewhere)
        answer = provider.post(evidence)
        assert (answer.status_code, reason_of(answer)) == (503, "tdx.endorsements_missing")
        assert "00906ed50000" in answer.json()["detail"]
        assert int(answer.headers["retry-after"]) > 0

    def test_collateral_that_has_expired(self, own: World, clock: Clock) -> None:
        """F12: no approval without collateral in force, and nothing recorded."""
        provider = own.provider()
        evidence_before = provider.register()
        clock.advance(days=40)
        answer = provider.post(provider.evidence())
        assert (answer.status_code, reason_of(answer)) == (503, "tdx.endorsements_missing")
        assert own.key(evidence_before["key"]["key_id"])["state"] == "expired"

    def test_a_clock_before_the_build_gives_no_verdict(self, own: World, clock: Clock) -> None:
        """C47, F20."""
        provider = own.provider()
        evidence = provider.evidence()
        clock.at = clock.at.replace(year=1970)
        answer = provider.post(evidence)
        assert (answer.status_code, reason_of(answer)) == (503, "clock.before_build")


def test_event_logs_replay(provider: Provider) -> None:
    assert provider.register(event_log=ccel())["event_log"]["format"] == "ccel"


def test_an_event_log_of_another_boot(provider: Provider) -> None:
    """T52."""
    answer = provider.post(provider.evidence(body=TdReport(rtmr1=bytes(48)), event_log=ccel()))
    assert (answer.status_code, reason_of(answer)) == (422, "event_log.mismatch")


def test_gpu_evidence_is_never_ignored(provider: Provider) -> None:
    """X04: nor where no policy asks for any (test_gpu.py has the others)."""
    body = json.loads(dump_evidence_json(provider.evidence()))
    body["gpus"] = [{"arch": "HOPPER", "report": "AAAA", "certificates": "AAAA"}]
    answer = provider.post(json.dumps(body).encode())
    assert (answer.status_code, reason_of(answer)) == (400, "gpu.report_size")


def test_a_quote_of_another_tee(provider: Provider) -> None:
    """T49, X16."""
    evidence = provider.evidence()
    assert isinstance(evidence.cpu, QuoteEvidence)
    answer = provider.post(replace(evidence, cpu=replace(evidence.cpu, tee="sgx")))
    assert (answer.status_code, reason_of(answer)) == (400, "evidence.kind")


@pytest.mark.parametrize(
    ("cpu", "reason"),
    [
        ({"tee": "snp", "report": "AAAA", "certificates": None}, "snp.report_size"),
        ({"tee": "snp", "quote": "AAAA"}, "json.schema"),
        ({"tee": "nvidia", "report": "AAAA"}, "evidence.kind"),
    ],
)
def test_evidence_that_is_none(provider: Provider, cpu: dict[str, str | None], reason: str) -> None:
    body = json.loads(dump_evidence_json(provider.evidence())) | {"cpu": cpu}
    answer = provider.post(json.dumps(body).encode())
    assert (answer.status_code, reason_of(answer)) == (400, reason)


@pytest.mark.parametrize("tee", ["simulated", "fake", "test_purpose"])
def test_there_is_no_fake_tee(provider: Provider, tee: str) -> None:
    """T50."""
    body = json.loads(dump_evidence_json(provider.evidence()))
    body["cpu"]["tee"] = tee
    answer = provider.post(json.dumps(body).encode())
    assert (answer.status_code, reason_of(answer)) == (400, "evidence.kind")


def test_newer_reports_are_taken(provider: Provider) -> None:
    assert provider.register(body=TdReport15())["claims"]["quote_version"] == 5


def test_a_key_agreement_key_is_bound_by_the_report_alone(provider: Provider) -> None:
    result = provider.register(KeyPair.x25519("agreement"))
    assert result["key"]["proof_of_possession"] is False
