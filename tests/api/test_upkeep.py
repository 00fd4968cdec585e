"""What happens without a request: new collateral, rollback, re-appraisal, gauges."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from threading import Event

import pytest

from attestd.errors import ConfigurationRefused, Reason, Unavailable
from attestd.registrar.collateral import CollateralStore
from attestd.registry import keys
from attestd.settings import shipped
from attestd.simulator import TdReport, Vendor
from tests.acceptance.processes import until
from tests.api.test_admin import policy, put_policy
from tests.api.world import Clock, Start, World, new_key, reason_of, write_collateral
from tests.refusals import misconfigured

STRICT = (shipped("policies") / "strict-tdx.toml").read_text()


def key_id(result: dict) -> str:
    return str(result["key"]["key_id"])


class TestReappraisal:
    """House, journey (12); P15."""

    def test_a_policy_that_no_longer_accepts_it_takes_trust_from_a_key(self, own: World) -> None:
        """P15: the measurement is denied from now on."""
        provider = own.provider()
        fallen = provider.register(body=TdReport(mrconfigid=b"\1" * 48))
        stays = provider.register()
        image = own.key(key_id(fallen))["image"].removeprefix("sha256:")
        denying = STRICT.replace('denied_measurements = "none"', f'denied_measurements = ["{image}"]', 1)
        assert put_policy(own, policy(2, denying)).status_code == 200
        own.service.keep_up()
        assert own.key(key_id(fallen))["state"] == "suspended"
        assert own.key(key_id(stays))["state"] == "active"
        entries = own.admin.get("/v1/audit", params={"limit": 1000}).json()["items"]
        (entry,) = (one for one in entries if one["subject"] == key_id(fallen) or key_id(fallen) in str(one))
        assert entry["actor"] == "attestd"
        # A policy that is mended gives it back: nobody had to make another key.
        assert put_policy(own, policy(3, STRICT)).status_code == 200
        own.service.keep_up()
        assert own.key(key_id(fallen))["state"] == "active"

    def test_a_pck_that_intel_revokes_takes_its_keys_along(self, own: World) -> None:
        provider = own.provider()
        result = provider.register()
        other = provider.register(attester=provider.machine("second"))
        revoking = own.vendor.pck_crl(revoked=[provider.attester.pck.serial_number], edit=lambda form: form.numbered(2))
        own.supply(own.vendor.collateral(pck_crl=revoking))
        assert own.key(key_id(result))["state"] == "revoked"
        assert own.key(key_id(other))["state"] == "active"

    def test_a_tcb_recovery_takes_trust_from_what_became_out_of_date(self, own: World) -> None:
        """F31."""
        result = own.provider().register()

        def recovered(inner: dict) -> None:
            inner["tcbEvaluationDataNumber"] += 1
            inner["tcbLevels"][0]["tcbStatus"] = "OutOfDate"

        own.supply(own.vendor.collateral(tcb_info=own.vendor.tcb_info(recovered)))
        assert own.key(key_id(result))["state"] == "suspended"

    def test_what_is_unchanged_stays(self, own: World) -> None:
        result = own.provider().register()
        for _ in range(2):
            own.service.keep_up()
        put_policy(own, policy(2))
        own.service.keep_up()
        assert own.key(key_id(result))["state"] == "active"
        assert own.metric("attestd_reappraisals_total", outcome="affirming") >= 1

    def test_collateral_that_has_gone_is_no_verdict(self, own: World, clock: Clock) -> None:
        """The world is bad: the key lives on until its own end."""
        result = own.provider().register()
        for file in (own.settings.endorsements / "platform").iterdir():
            file.unlink()
        put_policy(own, policy(2))
        own.service.keep_up()
        assert own.key(key_id(result))["state"] == "active"
        clock.advance(days=2)
        assert own.key(key_id(result))["state"] == "expired"

    def test_a_start_looks_at_everything_again(self, start: Start, own: World) -> None:
        """Between two runs a policy may have changed; here the key is as it was."""
        result = own.provider().register()
        again = start()
        assert again.key(key_id(result))["state"] == "active"
        assert again.metric("attestd_reappraisals_total", outcome="affirming") == 1


def test_trust_that_was_suspended_comes_back_with_an_affirming_verdict(own: World) -> None:
    key = key_id(own.provider().register())
    own.service.site.registrar.registry.write(
        keys.suspend, bytes.fromhex(key), reason="a warning", by="attestd", at=own.clock()
    ).result()
    assert own.key(key)["state"] == "suspended"
    own.service.keep_up()
    assert own.key(key)["state"] == "active"


class TestCollateral:
    def test_it_is_taken_while_running(self, own: World) -> None:
        provider = own.provider()
        elsewhere = provider.machine("elsewhere", fmspc=bytes.fromhex("00906ed50000"))
        answer = provider.post(provider.evidence(attester=elsewhere))
        assert (answer.status_code, reason_of(answer)) == (503, "tdx.endorsements_missing")
        info = own.vendor.tcb_info(lambda inner: inner.update(fmspc="00906ed50000"))
        own.supply(own.vendor.collateral(tcb_info=info), "elsewhere")
        provider.register(attester=elsewhere)

    def test_older_collateral_is_refused_after_a_restart_too(self, start: Start, own: World) -> None:
        """C19, C40: what was seen is in the database."""
        provider = own.provider()
        newer = own.vendor.tcb_info(lambda inner: inner.update(tcbEvaluationDataNumber=21))
        identity = own.vendor.qe_identity(lambda inner: inner.update(tcbEvaluationDataNumber=21))
        own.supply(own.vendor.collateral(tcb_info=newer, qe_identity=identity))
        provider.register()
        write_collateral(own.settings.endorsements / "platform", own.vendor.collateral())
        again = start()  # writes the older collateral, and starts on the same database
        late = again.provider()
        answer = late.post(late.evidence())
        assert (answer.status_code, reason_of(answer)) == (503, "tdx.collateral_rollback")

    def test_forged_collateral_is_counted_and_not_used(self, own: World) -> None:
        forged = own.vendor.collateral(tcb_info=Vendor.of(seed="mallory", at=own.clock()).tcb_info())
        own.supply(forged, "forged")
        assert own.metric("attestd_collateral_refused_files") >= 1
        own.provider().register()


class TestGauges:
    def test_they_say_what_there_is(self, own: World, clock: Clock) -> None:
        result = own.provider().register()
        own.service.keep_up()
        assert own.metric("attestd_registry_entries", state="active") == 1
        until = clock.at.fromisoformat(result["valid_until"]).timestamp()
        assert own.metric("attestd_registry_next_expiry_timestamp_seconds") == pytest.approx(until)
        assert own.metric("attestd_collateral_expiry_timestamp_seconds", tee="tdx") > clock.at.timestamp()
        assert own.metric("attestd_tcb_evaluation_data_number", tee="tdx") == 20
        assert own.metric("attestd_collateral_expiry_timestamp_seconds", tee="sgx") == 0
        assert own.metric("attestd_simulated") == 1
        clock.advance(days=2)
        own.service.keep_up()
        assert own.metric("attestd_registry_entries", state="active") == 0
        assert own.metric("attestd_registry_entries", state="expired") == 1

    def test_old_challenges_are_forgotten(self, own: World, clock: Clock) -> None:
        provider = own.provider()
        registry = provider.challenge()
        clock.advance(days=2)
        own.service.keep_up()
        answer = provider.post(provider.attester.evidence(new_key(), registry))
        assert (answer.status_code, reason_of(answer)) == (409, "challenge.unknown")


class TestNotReadyYet:
    """Between the start and the first run."""

    def test_it_listens_and_says_that_it_is_not_ready(
        self, start: Start, own: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A policy came with the start: what it does not accept falls, and nobody waits for an answer until then."""
        provider = own.provider()
        fallen = key_id(provider.register(body=TdReport(mrconfigid=b"\1" * 48)))
        stays = key_id(provider.register())
        image = own.key(fallen)["image"].removeprefix("sha256:")
        denying = STRICT.replace('denied_measurements = "none"', f'denied_measurements = ["{image}"]', 1)
        (tmp_path / "policies").mkdir()
        (tmp_path / "policies" / "strict.toml").write_bytes(policy(2, denying))
        with blocked(monkeypatch) as (_, go_on):
            starting = start(ready=False, policies=str(tmp_path / "policies"))
            answer = starting.public.get("/healthz/ready")
            assert (answer.status_code, reason_of(answer)) == (503, "service.starting")
            assert answer.headers["retry-after"] == "1"
            assert starting.admin.get("/healthz").status_code == 503
            assert starting.public.get("/healthz/live").json() == {"status": "up"}
            assert [starting.key(key)["state"] for key in (fallen, stays)] == ["active", "active"]
            late = starting.provider()
            evidence = late.evidence()
            answer = late.post(evidence)
            assert (answer.status_code, reason_of(answer)) == (503, "tdx.endorsements_missing")
            go_on.set()
            starting.service.until_ready()
        assert starting.public.get("/healthz/ready").json() == {"status": "ready"}
        assert [starting.key(key)["state"] for key in (fallen, stays)] == ["suspended", "active"]
        assert late.post(evidence).status_code == 201

    def test_it_is_not_ready_after_a_run_that_failed(self, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
        away = Unavailable(Reason.DATABASE_UNAVAILABLE, found="nothing", wanted="a database that answers")
        with blocked(monkeypatch, away) as (runs, go_on):
            starting = start(ready=False)
            service = starting.service
            service.loop.call_soon_threadsafe(service.site.upkeep.soon)
            until("it is not tried again", lambda: len(runs) == 2)
            assert reason_of(starting.public.get("/healthz/ready")) == "service.starting"
            go_on.set()
            service.until_ready()
        assert starting.public.get("/healthz/ready").status_code == 200


@contextmanager
def blocked(monkeypatch: pytest.MonkeyPatch, *failures: Exception) -> Iterator[tuple[list[datetime], Event]]:
    """Let runs fail, then wait; yield the runs that began and what lets them go on."""
    genuine, runs, go_on = CollateralStore.refresh, list[datetime](), Event()

    def refresh(store: CollateralStore, at: datetime) -> None:
        runs.append(at)
        if len(runs) <= len(failures):
            raise failures[len(runs) - 1]
        go_on.wait(30)
        genuine(store, at)

    with monkeypatch.context() as patched:
        patched.setattr(CollateralStore, "refresh", refresh)
        yield runs, go_on


class TestStart:
    """A20: a configuration that is not as the operator must believe it to be."""

    def test_a_policy_folder_without_policies(self, start: Start, tmp_path: Path) -> None:
        (tmp_path / "none").mkdir()
        with misconfigured(Reason.SETTINGS):
            start(policies=str(tmp_path / "none"))

    def test_a_policy_that_does_not_load(self, start: Start, tmp_path: Path) -> None:
        folder = tmp_path / "policies"
        folder.mkdir()
        (folder / "a.toml").write_text(STRICT.replace("allow_debug = false", ""))
        with pytest.raises(ConfigurationRefused, match=r"a\.toml"):
            start(policies=str(folder))

    def test_a_default_policy_that_is_not_there(self, start: Start) -> None:
        with pytest.raises(ConfigurationRefused, match="default_policy"):
            start(default_policy="no-such-policy")

    def test_another_text_of_the_same_version(self, start: Start, tmp_path: Path, own: World) -> None:
        """P12."""
        folder = tmp_path / "policies"
        folder.mkdir()
        (folder / "strict.toml").write_text(STRICT + "# changed\n")
        with pytest.raises(ConfigurationRefused, match="version 1"):
            start(policies=str(folder))

    def test_an_older_version_is_passed_over(self, start: Start, own: World) -> None:
        put_policy(own, policy(5))
        again = start()
        assert again.public.get("/v1/policies/strict-tdx").content == policy(5)

    def test_a_newer_version_comes_into_force(self, start: Start, tmp_path: Path, own: World) -> None:
        folder = tmp_path / "policies"
        folder.mkdir()
        (folder / "strict.toml").write_bytes(policy(2))
        again = start(policies=str(folder))
        assert again.public.get("/v1/policies/strict-tdx").content == policy(2)

    def test_a_database_of_another_registry(self, start: Start, own: World) -> None:
        with misconfigured(Reason.SETTINGS):
            start(registry_id="simulated:another")

    def test_a_port_that_is_taken(self, start: Start, own: World) -> None:
        with pytest.raises(ConfigurationRefused, match="listen"):
            start(listen=own.service.public_url.removeprefix("http://"))

    def test_endorsements_that_are_not_there(self, start: Start, tmp_path: Path) -> None:
        with misconfigured(Reason.SETTINGS):
            start(endorsements=str(tmp_path / "nowhere"))
