"""What administrators do, and that all of it is audited."""

import hashlib
from itertools import pairwise

import httpx
import pytest

from attestd.settings import shipped
from tests.api.world import Provider, World, reason_of

DIGEST = "sha256:" + "12" * 32
STRICT = (shipped("policies") / "strict-tdx.toml").read_text()


def policy(version: int, text: str = STRICT) -> bytes:
    return text.replace("\nversion = 1\n", f"\nversion = {version}\n").encode()


def put_policy(world: World, raw: bytes, name: str = "strict-tdx") -> httpx.Response:
    return world.admin.put(f"/v1/policies/{name}", content=raw, headers={"content-type": "application/toml"})


class TestCatalogue:
    def test_a_model_is_approved_and_listed(self, own: World) -> None:
        made = own.admin.put(f"/v1/models/{DIGEST}", json={"name": "A model", "expected_version": 0})
        assert made.status_code == 200
        document = made.json()
        assert (document["digest"], document["version"], document["revoked"]) == (DIGEST, 1, False)
        assert document["approved_by"] == "api-key:" + own.admin_token.split("_")[1]
        assert own.public.get("/v1/models").json()["items"] == [document]

    def test_changes_meet(self, own: World) -> None:
        """Two administrators who both saw the same version."""
        own.admin.put(f"/v1/models/{DIGEST}", json={"name": "A"})
        answer = own.admin.put(f"/v1/models/{DIGEST}", json={"name": "B", "expected_version": 0})
        assert (answer.status_code, reason_of(answer)) == (409, "request.version_conflict")
        assert own.admin.put(f"/v1/models/{DIGEST}", json={"name": "B", "expected_version": 1}).json()["version"] == 2

    def test_an_image_is_approved_for_its_roles(self, own: World) -> None:
        made = own.admin.put(
            f"/v1/images/{DIGEST}", json={"name": "An image", "roles": ["worker", "proxy", "worker"][:2]}
        )
        assert made.status_code == 200, made.text
        assert made.json()["roles"] == ["proxy", "worker"]
        assert own.public.get("/v1/images").json()["items"] == [made.json()]

    @pytest.mark.parametrize(
        ("body", "reason"),
        [
            ({}, "json.schema"),
            ({"name": ""}, "json.schema"),
            ({"name": "a\nb"}, "json.schema"),
            ({"name": "a", "digest": DIGEST}, "json.schema"),
            ({"name": 1}, "json.schema"),
            ({"name": "a", "expected_version": "1"}, "json.schema"),
            ({"name": "a", "expected_version": -1}, "json.schema"),
            ([], "json.schema"),
        ],
    )
    def test_bodies_are_strict(self, shared: World, body: object, reason: str) -> None:
        answer = shared.admin.put(f"/v1/models/{DIGEST}", json=body)
        assert (answer.status_code, reason_of(answer)) == (400, reason)

    @pytest.mark.parametrize("raw", [b'{"name":"a","name":"b"}', b'{"name":NaN}', b"\xff", b""])
    def test_json_is_as_strict_as_evidence(self, shared: World, raw: bytes) -> None:
        answer = shared.admin.put(f"/v1/models/{DIGEST}", content=raw, headers={"content-type": "application/json"})
        assert answer.status_code == 400
        assert reason_of(answer).startswith("json.")

    def test_a_digest_of_another_form(self, shared: World) -> None:
        for digest in ("12" * 32, "sha256:" + "AB" * 32, "sha512:" + "12" * 32, "sha256:12"):
            answer = shared.admin.put(f"/v1/models/{digest}", json={"name": "a"})
            assert (answer.status_code, reason_of(answer)) == (404, "request.not_found")

    def test_a_colon_may_be_escaped(self, shared: World) -> None:
        answer = shared.admin.put("/v1/models/sha256%3A" + "34" * 32, json={"name": "a"})
        assert answer.json()["digest"] == "sha256:" + "34" * 32


class TestPolicies:
    def test_the_digest_is_the_file_s(self, own: World) -> None:
        raw = policy(2)
        made = put_policy(own, raw)
        assert made.status_code == 200, made.text
        digest = "sha256:" + hashlib.sha256(raw).hexdigest()
        assert (made.json()["version"], made.json()["digest"]) == (2, digest)
        served = own.public.get("/v1/policies/strict-tdx")
        assert (served.content, served.headers["content-type"]) == (raw, "application/toml")
        in_force = {one["name"]: one["digest"] for one in own.public.get("/v1/policies").json()["items"]}
        assert in_force["strict-tdx"] == digest

    def test_it_decides_from_the_next_request_on_and_is_named(self, own: World) -> None:
        """P11: the result names the policy that it was judged by."""
        provider = own.provider()
        old = provider.register()["policy"]["digest"]
        new = put_policy(own, policy(2)).json()["digest"]
        assert provider.register()["policy"]["digest"] == new != old

    def test_no_way_back(self, own: World) -> None:
        """P12: a lower version, or another text of the same one."""
        assert put_policy(own, policy(3)).status_code == 200
        for raw in (policy(2), policy(3) + b"# changed\n"):
            answer = put_policy(own, raw)
            assert (answer.status_code, reason_of(answer)) == (409, "policy.rollback")
        assert put_policy(own, policy(3)).status_code == 200

    @pytest.mark.parametrize(
        "raw",
        [
            b"",
            b"\xff",
            b"name = ",
            b'name = "strict-tdx"',
            policy(2).replace(b"allow_debug = false", b"alow_debug = false"),
            policy(2).replace(b'models = "registered"', b"models = []"),
            policy(2).replace(b"UpToDate = ", b"Revoked = "),
        ],
    )
    def test_a_policy_that_does_not_load(self, own: World, raw: bytes) -> None:
        """P01, P07, P09."""
        answer = put_policy(own, raw)
        assert (answer.status_code, reason_of(answer)) == (400, "policy.malformed")
        assert own.public.get("/v1/policies/strict-tdx").content == STRICT.encode()

    def test_another_name_than_in_the_path(self, own: World) -> None:
        answer = put_policy(own, policy(2), name="another")
        assert (answer.status_code, reason_of(answer)) == (400, "policy.malformed")

    def test_as_json(self, own: World) -> None:
        answer = own.admin.put("/v1/policies/strict-tdx", json={})
        assert (answer.status_code, reason_of(answer)) == (415, "request.media_type")

    def test_too_large(self, own: World) -> None:
        answer = put_policy(own, policy(2) + b"#" * 65536)
        assert (answer.status_code, reason_of(answer)) == (413, "request.size")


class TestRevocations:
    def test_they_are_listed_as_they_were_named(self, own: World) -> None:
        lines = [("product_line", line) for line in ("00906ed50000", "genoa")]
        for kind, value in (("image", DIGEST), ("model", DIGEST), ("key", "34" * 32), *lines):
            made = own.admin.post("/v1/revocations", json={"kind": kind, "value": value, "reason": "a test"})
            assert (made.status_code, made.json()["value"], made.json()["keys"]) == (201, value, 0)
        assert len(own.admin.get("/v1/revocations").json()["items"]) == 5

    @pytest.mark.parametrize(
        ("kind", "value"),
        [
            ("key", DIGEST),
            ("image", "12" * 32),
            ("key", "AB" * 32),
            ("planet", "mars"),
            ("provider", "UPPER"),
            ("product_line", "Milan"),
            ("product_line", "naples"),
            ("product_line", "00906ED50000"),
            ("product_line", "00906ed5"),
            ("key", 1),
        ],
    )
    def test_a_value_of_another_kind(self, shared: World, kind: str, value: object) -> None:
        answer = shared.admin.post("/v1/revocations", json={"kind": kind, "value": value, "reason": "a test"})
        assert (answer.status_code, reason_of(answer)) == (400, "json.schema")


class TestProviders:
    def test_a_secret_is_shown_once(self, shared: World, provider: Provider) -> None:
        issued = shared.admin.post(f"/v1/providers/{provider.id}/api-keys", json={"label": "second"}).json()
        listed = shared.admin.get("/v1/api-keys", params={"provider": provider.id})
        assert issued["id"] in {one["id"] for one in listed.json()["items"]}
        secret = issued["token"].split("_", 2)[2]
        for text in (
            listed.text,
            shared.admin.get("/v1/audit", params={"limit": 1000}).text,
            shared.public.get("/metrics").text,
        ):
            assert secret not in text

    def test_the_same_again_is_the_same(self, shared: World) -> None:
        body = {"id": "twice", "name": "Twice"}
        first, second = (shared.admin.post("/v1/providers", json=body) for _ in range(2))
        assert first.json() == second.json()
        answer = shared.admin.post("/v1/providers", json=body | {"name": "Other"})
        assert (answer.status_code, reason_of(answer)) == (409, "request.version_conflict")
        assert "twice" in {
            one["id"] for one in shared.admin.get("/v1/providers", params={"limit": 1000}).json()["items"]
        }

    def test_a_key_for_nobody(self, shared: World) -> None:
        answer = shared.admin.post("/v1/providers/nobody/api-keys", json={"label": "x"})
        assert (answer.status_code, reason_of(answer)) == (404, "request.not_found")

    @pytest.mark.parametrize("days", [0, 1826, "365", 1.5])
    def test_lifetimes_are_bounded(self, shared: World, provider: Provider, days: object) -> None:
        answer = shared.admin.post(f"/v1/providers/{provider.id}/api-keys", json={"label": "x", "lifetime_days": days})
        assert answer.status_code == 400


def test_every_act_is_audited(own: World) -> None:
    provider = own.provider()
    own.admin.put(f"/v1/models/{DIGEST}", json={"name": "m"})
    own.admin.put(f"/v1/images/{DIGEST}", json={"name": "i", "roles": ["worker"]})
    put_policy(own, policy(2))
    key = provider.token.split("_")[1]
    own.admin.post(f"/v1/api-keys/{key}/rotate", json={})
    own.admin.delete(f"/v1/api-keys/{key}")
    own.admin.post("/v1/revocations", json={"kind": "model", "value": DIGEST, "reason": "a reason"})
    entries = own.admin.get("/v1/audit", params={"limit": 1000}).json()["items"]
    by_hand = [entry for entry in entries if entry["actor"] == "api-key:" + own.admin_token.split("_")[1]]
    assert len(by_hand) == 8
    assert [entry["seq"] for entry in entries] == list(range(1, len(entries) + 1))
    for before, after in pairwise(entries):
        assert after["previous"] == before["hash"]


def test_a_refused_act_is_not_audited_as_done(own: World) -> None:
    before = own.admin.get("/v1/audit", params={"limit": 1000}).json()["items"]
    own.admin.put(f"/v1/models/{DIGEST}", json={"name": ""})
    put_policy(own, b"")
    assert own.admin.get("/v1/audit", params={"limit": 1000}).json()["items"] == before
