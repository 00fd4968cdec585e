"""Who may do what: API keys, roles, listeners, limits."""

import logging

import httpx
import pytest

from attestd.api.limits import RateLimit
from attestd.api.logs import FIELDS
from attestd.evidence import dump_evidence_json
from attestd.registry import challenges
from tests.api.world import Clock, Provider, Start, World, reason_of

ADMIN_CALLS = [
    ("PUT", "/v1/models/sha256:" + "00" * 32),
    ("PUT", "/v1/images/sha256:" + "00" * 32),
    ("PUT", "/v1/policies/strict-tdx"),
    ("POST", "/v1/revocations"),
    ("GET", "/v1/revocations"),
    ("POST", "/v1/providers"),
    ("GET", "/v1/providers"),
    ("POST", "/v1/providers/somebody/api-keys"),
    ("POST", "/v1/api-keys"),
    ("GET", "/v1/api-keys"),
    ("POST", "/v1/api-keys/0123456789abcdef/rotate"),
    ("DELETE", "/v1/api-keys/0123456789abcdef"),
    ("GET", "/v1/audit"),
]
# What changes whom attestd trusts: governed sets, policies, revocations.
GOVERNING_CALLS = [call for call in ADMIN_CALLS if call[0] == "PUT" or call == ("POST", "/v1/revocations")]
KEYED_CALLS = [
    ("POST", "/v1/challenges"),
    ("POST", "/v1/evidence"),
    ("POST", "/v1/appraisals"),
    ("GET", "/v1/results/AAAAAAAAAAAAAAAAAAAAAA"),
]


def bad_tokens(token: str) -> list[str]:
    return [
        "",
        "Bearer",
        f"Basic {token}",
        token,
        f"Bearer {token}x",
        f"Bearer {token[:-1]}",
        f"Bearer {token[:-1]}{'A' if token[-1] != 'A' else 'B'}",
        f"Bearer {token.upper()}",
        f"Bearer  {token}",
        "Bearer attestd_0000000000000000_" + "A" * 43,
        "Bearer " + "A" * 10_000,
    ]


class TestAuthentication:
    """A01."""

    @pytest.mark.parametrize(("method", "path"), KEYED_CALLS)
    def test_a_key_is_needed(self, shared: World, method: str, path: str) -> None:
        answer = shared.public.request(method, path)
        assert (answer.status_code, reason_of(answer)) == (401, "access.unauthenticated")
        assert answer.headers["www-authenticate"].startswith("Bearer")

    @pytest.mark.parametrize(("method", "path"), ADMIN_CALLS)
    def test_an_admin_key_is_needed(self, shared: World, provider: Provider, method: str, path: str) -> None:
        anonymous = httpx.request(method, shared.service.admin_url + path)
        assert (anonymous.status_code, reason_of(anonymous)) == (401, "access.unauthenticated")
        bearer = {"authorization": f"Bearer {provider.token}"}
        answer = httpx.request(method, shared.service.admin_url + path, headers=bearer)
        assert (answer.status_code, reason_of(answer)) == (403, "access.forbidden")

    def test_whatever_is_wrong_with_a_key_is_answered_alike(self, shared: World, provider: Provider) -> None:
        details = set()
        for header in bad_tokens(provider.token):
            answer = shared.public.post("/v1/challenges", headers={"authorization": header})
            assert (answer.status_code, reason_of(answer)) == (401, "access.unauthenticated"), header
            details.add(answer.json()["title"])
        assert len(details) == 1

    def test_two_keys_are_none(self, shared: World, provider: Provider) -> None:
        headers = [("authorization", f"Bearer {provider.token}")] * 2
        answer = shared.public.post("/v1/challenges", headers=headers)
        assert (answer.status_code, reason_of(answer)) == (401, "access.unauthenticated")

    def test_a_revoked_key(self, shared: World, provider: Provider) -> None:
        key_id = provider.token.split("_")[1]
        assert provider.http.post("/v1/challenges").status_code == 201
        assert shared.admin.delete(f"/v1/api-keys/{key_id}").status_code == 200
        answer = provider.http.post("/v1/challenges")
        assert (answer.status_code, reason_of(answer)) == (401, "access.unauthenticated")

    def test_an_expired_key(self, own: World, clock: Clock) -> None:
        provider = own.provider()
        token = own.admin.post(
            f"/v1/providers/{provider.id}/api-keys", json={"label": "short", "lifetime_days": 1}
        ).json()["token"]
        short = own.client(own.service.public_url, token)
        assert short.post("/v1/challenges").status_code == 201
        clock.advance(days=1, seconds=1)
        answer = short.post("/v1/challenges")
        assert (answer.status_code, reason_of(answer)) == (401, "access.unauthenticated")
        assert provider.http.post("/v1/challenges").status_code == 201

    def test_rotation_overlaps(self, own: World, clock: Clock) -> None:
        provider = own.provider()
        key_id = provider.token.split("_")[1]
        rotated = own.admin.post(f"/v1/api-keys/{key_id}/rotate", json={"overlap_seconds": 60})
        assert rotated.status_code == 201
        new = own.client(own.service.public_url, rotated.json()["token"])
        assert (provider.http.post("/v1/challenges").status_code, new.post("/v1/challenges").status_code) == (201, 201)
        clock.advance(seconds=61)
        assert (provider.http.post("/v1/challenges").status_code, new.post("/v1/challenges").status_code) == (401, 201)

    def test_a_revoked_provider(self, shared: World, provider: Provider) -> None:
        evidence = dump_evidence_json(provider.evidence())
        body = {"kind": "provider", "value": provider.id, "reason": "left"}
        assert shared.admin.post("/v1/revocations", json=body).status_code == 201
        answer = provider.post(evidence)
        assert (answer.status_code, reason_of(answer)) == (401, "access.unauthenticated")


class TestRoles:
    def test_an_auditor_reads_and_writes_nothing(self, shared: World, provider: Provider) -> None:
        """A02: a key that reads, on a call that writes."""
        result = provider.register()
        auditor = shared.auditor()
        assert auditor.get(f"/v1/results/{result['id']}").json() == result
        for path in ("/v1/challenges", "/v1/evidence"):
            answer = auditor.post(path, json={})
            assert (answer.status_code, reason_of(answer)) == (403, "access.forbidden")

    def test_an_auditor_reads_the_audit_trail(self, shared: World) -> None:
        token = shared.auditor().headers["authorization"]
        for path in ("/v1/audit", "/v1/revocations", "/v1/providers", "/v1/api-keys"):
            answer = httpx.get(shared.service.admin_url + path, headers={"authorization": token})
            assert answer.status_code == 200
        answer = httpx.post(shared.service.admin_url + "/v1/providers", headers={"authorization": token}, json={})
        assert (answer.status_code, reason_of(answer)) == (403, "access.forbidden")

    @pytest.mark.parametrize(("method", "path"), GOVERNING_CALLS)
    @pytest.mark.parametrize("role", ["provider", "auditor"])
    def test_who_is_no_administrator_governs_nothing(
        self, shared: World, provider: Provider, role: str, method: str, path: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """R12: refused, and who tried is in the log, by the key that was used.

        The audit trail has what was done: whoever has a key could else fill it.
        """
        caplog.set_level(logging.INFO, "attestd.api.edge")
        token = provider.token if role == "provider" else shared.auditor().headers["authorization"].split()[1]
        lists = [f"/v1/{name}" for name in ("models", "images", "policies")]
        before = [shared.public.get(path).content for path in lists], shared.admin.get("/v1/audit").content
        bearer = {"authorization": f"Bearer {token}"}
        answer = httpx.request(method, shared.service.admin_url + path, headers=bearer, content=b"{}")
        assert (answer.status_code, reason_of(answer)) == (403, "access.forbidden")
        assert ([shared.public.get(path).content for path in lists], shared.admin.get("/v1/audit").content) == before
        (tried,) = (vars(one)[FIELDS] for one in caplog.records if getattr(one, FIELDS, {}).get("status") == 403)
        assert (tried["api_key"], tried["reason"]) == (token.split("_")[1], "access.forbidden")
        assert tried["method"] == method
        assert path.startswith(tried["route"].partition("{")[0])
        assert tried["provider"] == (provider.id if role == "provider" else None)

    def test_an_administrator_is_no_provider(self, shared: World) -> None:
        admin = shared.client(shared.service.public_url, shared.admin_token)
        answer = admin.post("/v1/challenges")
        assert (answer.status_code, reason_of(answer)) == (403, "access.forbidden")

    def test_a_result_of_another_provider(self, shared: World, provider: Provider) -> None:
        """A01, A12."""
        result = provider.register()
        answer = shared.provider().http.get(f"/v1/results/{result['id']}")
        assert (answer.status_code, reason_of(answer)) == (403, "access.forbidden")
        assert result["evidence_id"] not in answer.text


class TestListeners:
    def test_no_call_makes_a_key_trusted_but_evidence(self, shared: World) -> None:
        """R01: an administrator may take trust away, and has nothing to say about a key, an epoch or the log."""
        for http in (shared.public, shared.admin):
            paths = http.get("/openapi.json").json()["paths"]
            writing = {path for path, calls in paths.items() if calls.keys() & {"post", "put", "patch", "delete"}}
            named = {path for path in writing if set(path.split("/")) & {"keys", "log", "epochs", "chain", "results"}}
            assert writing
            assert not named

    @pytest.mark.parametrize(("method", "path"), ADMIN_CALLS)
    def test_admin_routes_are_not_on_the_public_listener(self, shared: World, method: str, path: str) -> None:
        admin = shared.client(shared.service.public_url, shared.admin_token)
        answer = admin.request(method, path, json={})
        assert answer.status_code in (404, 405)
        assert reason_of(answer) in ("request.not_found", "request.method")

    @pytest.mark.parametrize("path", ["/v1/challenges", "/v1/evidence", "/v1/keys", "/v1/appraisals"])
    def test_public_routes_are_not_on_the_admin_listener(self, shared: World, path: str) -> None:
        assert shared.admin.get(path).status_code == 404

    @pytest.mark.parametrize("header", ["x-http-method-override", "x-method-override", "x-http-method"])
    def test_methods_are_not_overridden(self, shared: World, provider: Provider, header: str) -> None:
        """A02."""
        answer = provider.http.get("/v1/challenges", headers={header: "POST"})
        assert (answer.status_code, reason_of(answer)) == (405, "request.method")
        assert answer.headers["allow"] == "POST"


class TestLimits:
    def test_requests_of_one_key(self, start: Start) -> None:
        world = start(requests_per_second_per_key="4")
        provider, other = world.provider(), world.provider()
        answers = [provider.http.post("/v1/challenges") for _ in range(50)]
        assert [answer.status_code for answer in answers[:8]] == [201] * 8
        late = next(answer for answer in answers if answer.status_code != 201)
        assert (late.status_code, reason_of(late)) == (429, "request.rate")
        assert int(late.headers["retry-after"]) >= 1
        assert other.http.post("/v1/challenges").status_code == 201
        assert world.metric("attestd_rate_limited_total", scope="key") >= 1

    def test_challenges_that_nobody_answers(self, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
        world = start()
        monkeypatch.setattr(challenges, "MOST", 2)
        provider, other = world.provider(), world.provider()
        answers = [provider.http.post("/v1/challenges") for _ in range(3)]
        assert [answer.status_code for answer in answers] == [201, 201, 429]
        assert reason_of(answers[-1]) == "challenge.limit"
        assert int(answers[-1].headers["retry-after"]) >= 1
        assert other.http.post("/v1/challenges").status_code == 201

    def test_requests_of_one_address(self, start: Start) -> None:
        world = start(requests_per_second_per_address="1")
        statuses = [world.public.get("/v1/keys").status_code for _ in range(50)]
        assert (statuses[0], 429 in statuses) == (200, True)
        # Probes are never told to wait.
        assert {world.public.get("/healthz/live").status_code for _ in range(8)} == {200}

    def test_bucket_refills(self) -> None:
        limit = RateLimit(2)
        assert [limit.wait("a", 0.0) for _ in range(5)] == [0, 0, 0, 0, 0.5]
        assert limit.wait("b", 0.0) == 0
        assert limit.wait("a", 0.5) == 0
        assert limit.wait("a", 0.5) > 0

    def test_the_table_of_buckets_is_bounded(self) -> None:
        limit = RateLimit(1)
        for number in range(20_000):
            limit.wait(number, 0.0)
        assert len(limit._buckets) <= 16_384
