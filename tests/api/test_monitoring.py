"""Metrics, health, discovery, the reference; and that none of them tells what it should not."""

import asyncio
import re

import pytest
from prometheus_client.parser import text_string_to_metric_families

from attestd import __version__
from attestd.api import monitoring, server
from attestd.api.limits import Shared
from attestd.errors import Reason, Unavailable
from attestd.metrics import ChallengeEvent, CutCause, LimitScope, Outcome, Stage, TeeLabel
from attestd.registry.values import KeyState
from attestd.signature import P384_LIBRARY
from attestd.simulator import Vendor
from tests.api.world import Clock, Provider, World, new_key, reason_of

CLOSED: dict[str, set[str]] = {
    "tee": {*TeeLabel},
    "outcome": {*Outcome},
    "reason": {reason.value for reason in Reason},
    "stage": {*Stage},
    "event": {*ChallengeEvent},
    "scope": {*LimitScope},
    "cause": {*CutCause},
    "state": {*KeyState},
    "status": {"1xx", "2xx", "3xx", "4xx", "5xx"},
    "version": {__version__},
    "p384": {P384_LIBRARY},
}


def families(world: World) -> list:
    answer = world.public.get("/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return list(text_string_to_metric_families(answer.text))


class TestMetrics:
    def test_the_exposition_parses_and_labels_are_closed(self, shared: World, provider: Provider) -> None:
        provider.register()
        provider.post(b"{}")
        shared.public.get("/nothing/at/all")
        shared.admin.get("/v1/audit")
        document = shared.public.get("/openapi.json").json()
        operator = shared.admin.get("/openapi.json").json()
        routes = {*document["paths"], *operator["paths"], "unmatched", "/openapi.json", "/docs"}
        found = families(shared)
        assert {family.name for family in found} >= {
            "attestd_build_info",
            "attestd_verifications",
            "attestd_verification_refusals",
            "attestd_verification_duration_seconds",
            "attestd_challenges",
            "attestd_collateral_expiry_timestamp_seconds",
            "attestd_registry_entries",
            "attestd_registry_next_expiry_timestamp_seconds",
            "attestd_rate_limited",
            "attestd_http_requests",
            "process_resident_memory_bytes",
        }
        for family in found:
            assert family.documentation
            for sample in family.samples:
                for label, value in sample.labels.items():
                    assert value in CLOSED.get(label, routes) or label == "le", (sample.name, label, value)

    def test_names_follow_prometheus(self, shared: World) -> None:
        for family in families(shared):
            assert re.fullmatch(r"(attestd|process)_[a-z][a-z0-9_]*", family.name)
            if family.type == "counter":
                assert {sample.name for sample in family.samples} <= {family.name + "_total"}
            assert not re.search(r"_(milliseconds|micros|ms|kb|mb|count|sum|bucket)$", family.name)
            assert "created" not in family.name

    def test_hostile_names_never_become_labels(self, shared: World, provider: Provider) -> None:
        """A13: line feeds, escapes, and one name after the other."""
        before = len(shared.public.get("/metrics").text.splitlines())
        for number in range(50):
            shared.public.get(f"/{number}%0d%0aattestd_fake_total 1")
            shared.public.request(f"M{number}", "/v1/keys")
            shared.public.get("/v1/keys", params={"provider": f"\x1b[31m{number}"})
            provider.http.get(f"/v1/results/{number:022d}")
        text = shared.public.get("/metrics").text
        assert "fake" not in text
        assert "\x1b" not in text
        assert len(text.splitlines()) <= before + 60  # new routes and statuses once, not once per request

    def test_verdicts_are_counted_by_reason(self, shared: World, provider: Provider) -> None:
        def refusals(tee: str, reason: str) -> float:
            return shared.metric("attestd_verification_refusals_total", tee=tee, reason=reason)

        before = refusals("unknown", "json.schema"), refusals("tdx", "challenge.used")
        affirmed = shared.metric("attestd_verifications_total", tee="tdx", outcome="affirming")
        registry = provider.challenge()
        provider.post(provider.attester.evidence(new_key(), registry))
        provider.post(provider.attester.evidence(new_key(), registry))
        provider.post(b"{}")
        assert refusals("unknown", "json.schema") == before[0] + 1
        assert refusals("tdx", "challenge.used") == before[1] + 1
        assert shared.metric("attestd_verifications_total", tee="tdx", outcome="affirming") == affirmed + 1

    def test_answers_from_memory_are_counted_too(self, shared: World, provider: Provider) -> None:
        def requests() -> float:
            return shared.metric("attestd_http_requests_total", route="/v1/keys/{key_id}", status="2xx")

        key = provider.register()["key"]["key_id"]
        before = requests()
        for _ in range(3):
            shared.key(key)
        assert requests() == before + 3


class TestCost:
    """Monitoring is not limited by caller, so that what it costs has to be."""

    def test_metrics_are_not_written_for_everybody_who_asks(self, own: World, monkeypatch: pytest.MonkeyPatch) -> None:
        now = 0.0
        monkeypatch.setattr(monitoring, "monotonic", lambda: now)
        texts = [own.public.get("/metrics").text for _ in range(50)]
        assert len(set(texts)) == 2 * server._EXPOSITIONS_PER_SECOND
        assert len(set(texts[2 * server._EXPOSITIONS_PER_SECOND :])) == 1
        now = 1 / server._EXPOSITIONS_PER_SECOND
        assert own.public.get("/metrics").text not in texts

    def test_one_look_is_shared_by_all_who_wait_for_it(self) -> None:
        looks: list[asyncio.Future[None]] = []
        looking = asyncio.Event()

        async def look() -> None:
            looks.append(asyncio.get_running_loop().create_future())
            looking.set()
            await looks[-1]

        async def ask() -> None:
            shared = Shared(look)
            for _ in range(2):
                looking.clear()
                waiting = [asyncio.create_task(shared.wait()) for _ in range(3)]
                await looking.wait()
                waiting[0].cancel()  # who goes away takes the look from nobody
                looks[-1].set_exception(Unavailable(Reason.DATABASE_UNAVAILABLE, found="nothing", wanted="it"))
                gone, *told = await asyncio.gather(*waiting, return_exceptions=True)
                assert isinstance(gone, asyncio.CancelledError)
                assert [type(one) for one in told] == [Unavailable, Unavailable]

        asyncio.run(ask())
        assert len(looks) == 2


class TestHealth:
    def test_alive_and_ready(self, shared: World) -> None:
        for client in (shared.public, shared.admin):
            assert client.get("/healthz/live").json() == {"status": "up"}
            assert client.get("/healthz/ready").json() == {"status": "ready"}
            assert client.get("/healthz").json() == {"status": "ready"}

    def test_not_ready_when_all_endorsements_have_expired(self, own: World, clock: Clock) -> None:
        """AMD's CRLs last longer than Intel's collateral: until they end, evidence of AMD's is verified."""
        clock.advance(days=60)
        assert own.public.get("/healthz/ready").json() == {"status": "ready"}
        clock.advance(days=340)
        answer = own.public.get("/healthz/ready")
        assert (answer.status_code, reason_of(answer)) == (503, "endorsements.expired")
        assert answer.json()["detail"].startswith("Found endorsements of Intel and of AMD that have all expired")
        assert own.public.get("/healthz/live").status_code == 200

    def test_ready_again_with_new_endorsements(self, own: World, clock: Clock) -> None:
        clock.advance(days=400)
        assert own.public.get("/healthz/ready").status_code == 503
        own.supply(Vendor.of(seed="attestd", at=clock()).collateral())
        assert own.public.get("/healthz/ready").json() == {"status": "ready"}

    def test_not_ready_with_a_wrong_clock(self, own: World, clock: Clock) -> None:
        """F20."""
        clock.at = clock.at.replace(year=1970)
        answer = own.public.get("/healthz/ready")
        assert (answer.status_code, reason_of(answer)) == (503, "clock.before_build")

    def test_not_ready_without_the_database(self, own: World) -> None:
        own.service.site.registrar.registry.close()
        answer = own.public.get("/healthz/ready")
        assert (answer.status_code, reason_of(answer)) == (503, "service.database_unavailable")


def test_discovery(shared: World) -> None:
    document = shared.public.get("/.well-known/attestd").json()
    assert document["registry_id"] == shared.settings.registry_id
    assert document["simulated"] is True
    assert document["trust_anchors"] == [
        {"vendor": "simulated", "sha256": root.fingerprint.hex()} for root in shared.settings.trust_anchors.roots
    ]
    assert document["tees"] == ["tdx", "sgx", "snp"]
    assert {policy["name"] for policy in document["policies"]} == {
        *(f"{kind}-{tee}" for kind in ("strict", "cocoon") for tee in ("tdx", "snp")),
        *(f"cocoon-{tee}-h100" for tee in ("tdx", "snp")),
    }
    assert document["default_policy"] == "strict-tdx"
    assert document["version"] == __version__


def test_the_reference_needs_nothing_from_elsewhere(shared: World) -> None:
    for client in (shared.public, shared.admin):
        answer = client.get("/docs")
        assert answer.headers["content-security-policy"].startswith("default-src 'none'")
        assert "<script" not in answer.text
        assert "http://" not in answer.text.replace(str(client.base_url), "")
        assert "https://" not in answer.text
    assert "/v1/evidence" in shared.public.get("/docs").text
    assert "/v1/revocations" in shared.admin.get("/docs").text


def test_admin_calls_are_not_documented_in_public(shared: World) -> None:
    assert not [
        path for path in shared.public.get("/openapi.json").json()["paths"] if "api-keys" in path or "audit" in path
    ]


def test_monitoring_tells_no_secret(shared: World, provider: Provider) -> None:
    """A21."""
    provider.register()
    for client in (shared.public, shared.admin):
        for path in (
            "/metrics",
            "/healthz",
            "/healthz/live",
            "/healthz/ready",
            "/.well-known/attestd",
            "/openapi.json",
        ):
            text = client.get(path, headers={"authorization": ""}).text
            for secret in (provider.token, shared.admin_token, str(shared.settings.state_dir), provider.id):
                assert secret not in text
