"""Keys as relying parties see them: states, filters, the past, caching, and that nothing old is ever served."""

import hashlib
from datetime import timedelta

import pytest

from attestd.codec import dump_time
from attestd.simulator import TdReport
from tests.api.world import Clock, Provider, World, new_key, raw_exchange, reason_of


def key_id(result: dict) -> str:
    return str(result["key"]["key_id"])


def listed(world: World, **query: str) -> list[str]:
    answer = world.public.get("/v1/keys", params=query)
    assert answer.status_code == 200, answer.text
    return [item["key_id"] for item in answer.json()["items"]]


class TestStates:
    def test_expiry_needs_no_job(self, own: World, clock: Clock) -> None:
        """R05: from the second after `valid_until` on, without anything having happened in between."""
        result = own.provider().register()
        until = own.clock().fromisoformat(result["valid_until"])
        clock.at = until
        assert own.key(key_id(result))["state"] == "active"
        assert listed(own) == [key_id(result)]
        clock.at = until + timedelta(microseconds=1)
        assert own.key(key_id(result))["state"] == "expired"
        assert listed(own) == []
        assert listed(own, state="expired") == [key_id(result)]

    @pytest.mark.parametrize("kind", ["key", "platform", "image", "model", "provider", "product_line"])
    def test_revocation_takes_effect_at_once(self, own: World, kind: str) -> None:
        model = bytes(range(32))
        own.admin.put(f"/v1/models/sha256:{model.hex()}", json={"name": "m"})
        provider = own.provider()
        result = provider.register(models=(model,))
        seen = own.key(key_id(result))
        assert seen["state"] == "active"  # and kept in memory from now on
        value = {
            "key": seen["key_id"],
            "platform": result["platform"],
            "image": seen["image"],
            "model": seen["models"][0],
            "provider": provider.id,
            "product_line": result["claims"]["pck"]["fmspc"],
        }[kind]
        revoked = own.admin.post("/v1/revocations", json={"kind": kind, "value": value, "reason": "a test"})
        assert revoked.status_code == 201, revoked.text
        assert revoked.json()["keys"] == 1
        assert own.key(key_id(result))["state"] == "revoked"
        assert listed(own) == []
        assert listed(own, state="revoked") == [key_id(result)]

    def test_a_revoked_key_does_not_come_back(self, own: World) -> None:
        """R09: neither by the same evidence nor by new evidence."""
        provider = own.provider()
        key = new_key()
        evidence = provider.evidence(key)
        result = provider.post(evidence).json()
        own.admin.post("/v1/revocations", json={"kind": "key", "value": key_id(result), "reason": "a test"})
        for again in (evidence, provider.evidence(key)):
            answer = provider.post(again)
            assert (answer.status_code, reason_of(answer)) == (403, "key.revoked")
        assert own.key(key_id(result))["state"] == "revoked"

    def test_what_was_never_seen_is_not_found(self, shared: World) -> None:
        answer = shared.public.get(f"/v1/keys/{bytes(32).hex()}")
        assert (answer.status_code, reason_of(answer)) == (404, "request.not_found")


class TestPast:
    def test_a_key_as_it_was(self, own: World, clock: Clock) -> None:
        result = own.provider().register()
        registered = clock.at
        clock.advance(minutes=10)
        own.admin.post("/v1/revocations", json={"kind": "key", "value": key_id(result), "reason": "a test"})
        revoked = clock.at
        clock.advance(minutes=10)
        before, between, after = registered - timedelta(seconds=1), revoked - timedelta(seconds=1), revoked
        assert own.public.get(f"/v1/keys/{key_id(result)}", params={"at": dump_time(before)}).status_code == 404
        assert own.key(key_id(result), at=dump_time(between))["state"] == "active"
        assert own.key(key_id(result), at=dump_time(after))["state"] == "revoked"
        assert listed(own, at=dump_time(between)) == [key_id(result)]
        assert listed(own, at=dump_time(after)) == []

    def test_the_past_is_not_kept_as_if_it_were_now(self, own: World) -> None:
        result = own.provider().register()
        answer = own.public.get(f"/v1/keys/{key_id(result)}", params={"at": dump_time(own.clock())})
        assert answer.headers["cache-control"] == "no-cache"


class TestFilters:
    def test_each_narrows(self, shared: World, provider: Provider) -> None:
        model = hashlib.sha256(provider.id.encode()).digest()
        shared.admin.put(f"/v1/models/sha256:{model.hex()}", json={"name": "m"})
        one = key_id(provider.register(models=(model,)))
        two = key_id(provider.register(body=TdReport(mrconfigid=b"\1" * 48)))
        both = sorted([one, two])
        own = {"provider": provider.id}
        assert sorted(listed(shared, **own)) == both
        assert sorted(listed(shared, **own, tee="tdx")) == both
        assert listed(shared, **own, tee="sgx") == []
        assert listed(shared, **own, model=f"sha256:{model.hex()}") == [one]
        assert listed(shared, **own, image=shared.key(two)["image"]) == [two]
        assert sorted(listed(shared, **own, binding="attestd/v1")) == both
        assert listed(shared, **own, binding="cocoon") == []
        assert sorted(listed(shared, **own, published="false")) == both
        assert listed(shared, **own, published="true") == []
        assert listed(shared, **own, state="revoked") == []

    def test_pages(self, shared: World, provider: Provider) -> None:
        keys = sorted(key_id(provider.register()) for _ in range(5))
        query = {"provider": provider.id, "limit": "2"}
        found: list[str] = []
        while True:
            page = shared.public.get("/v1/keys", params=query).json()
            found += [item["key_id"] for item in page["items"]]
            assert len(page["items"]) <= 2
            if page["next"] is None:
                break
            query["cursor"] = page["next"]
        assert sorted(found) == keys
        assert len(found) == len(set(found))

    def test_a_cursor_is_of_its_own_list(self, shared: World, provider: Provider) -> None:
        """A14."""
        for _ in range(2):
            provider.register()
        cursor = shared.public.get("/v1/keys", params={"provider": provider.id, "limit": "1"}).json()["next"]
        answer = shared.public.get("/v1/keys", params={"provider": "another", "cursor": cursor})
        assert (answer.status_code, reason_of(answer)) == (400, "request.malformed")


class TestCaching:
    def test_entity_tags(self, shared: World, provider: Provider) -> None:
        path = f"/v1/keys/{key_id(provider.register())}"
        for _ in range(2):  # from the registry, then from memory
            first = shared.public.get(path)
            etag = first.headers["etag"]
            for value in (etag, f'"other", W/{etag}', "*"):
                same = shared.public.get(path, headers={"if-none-match": value})
                assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", etag)
            assert shared.public.get(path, headers={"if-none-match": '"other"'}).content == first.content
        lists = shared.public.get("/v1/keys", params={"provider": provider.id})
        again = shared.public.get(
            "/v1/keys", params={"provider": provider.id}, headers={"if-none-match": lists.headers["etag"]}
        )
        assert again.status_code == 304

    def test_nobody_keeps_an_answer_beyond_the_end_of_the_key(self, own: World, clock: Clock) -> None:
        result = own.provider().register()
        path = f"/v1/keys/{key_id(result)}"
        until = clock.at.fromisoformat(result["valid_until"])
        for seconds, expected in ((3600, 10), (10, 10), (9, 9), (1, 1), (0, 0)):
            clock.at = until - timedelta(seconds=seconds)
            for where in (path, "/v1/keys"):
                assert own.public.get(where).headers["cache-control"] == f"public, max-age={expected}"
        clock.at = until + timedelta(seconds=1)
        assert own.public.get(path).headers["cache-control"] == "no-cache"

    def test_memory_answers_as_the_registry_does(self, shared: World, provider: Provider) -> None:
        path = f"/v1/keys/{key_id(provider.register())}"
        first, second = shared.public.get(path), shared.public.get(path)
        assert second.content == first.content
        for name in ("content-type", "etag", "cache-control", "content-length"):
            assert second.headers[name] == first.headers[name]

    @pytest.mark.parametrize(
        "request_line",
        [
            "GET {path} HTTP/1.0\r\n\r\n",
            "GET {path} HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET {path} HTTP/1.0\r\n\r\n",
            "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
            "GET {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{{}}",
            "GET {path} HTTP/1.1\r\nHost: x\r\nUpgrade: x\r\nConnection: close\r\n\r\n",
            "GET {path} HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n",
        ],
    )
    def test_what_is_unusual_is_answered_too(self, shared: World, provider: Provider, request_line: str) -> None:
        path = f"/v1/keys/{key_id(provider.register())}"
        body = shared.public.get(path).content
        shared.public.get(path)
        answer = raw_exchange(shared.service.public_url, request_line.format(path=path).encode())
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        assert answer.endswith(b"\r\n\r\n" + body)

    def test_answers_keep_the_order_of_the_questions(self, shared: World, provider: Provider) -> None:
        """From memory, from the registry, and from memory again, on one connection."""
        path = f"/v1/keys/{key_id(provider.register())}"
        body = shared.public.get(path).content
        shared.public.get(path)
        get = f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
        other = b"GET /healthz/live HTTP/1.1\r\nHost: x\r\n\r\n"
        last = get.replace(b"Host: x", b"Host: x\r\nConnection: close")
        answer = raw_exchange(shared.service.public_url, get + other + get + get + other + last)
        places = [
            answer.find(body),
            answer.find(b'{"status":"up"}'),
            answer.rfind(b'{"status":"up"}'),
            answer.rfind(body),
        ]
        assert places == sorted(places)
        assert (answer.count(body), answer.count(b'{"status":"up"}')) == (4, 2)

    def test_a_renewed_key_is_seen_at_once(self, shared: World, provider: Provider) -> None:
        key = new_key()
        first = provider.register(key)
        shared.key(key_id(first))
        shared.key(key_id(first))
        second = provider.register(key)
        assert shared.key(key_id(first))["result_id"] == second["id"]


def test_machines_cannot_be_told_apart_by_everybody(shared: World, provider: Provider) -> None:
    """A12: neither the PPID nor anything made of it."""
    result = provider.register()
    pck = result["claims"]["pck"]
    for path in (f"/v1/keys/{key_id(result)}", "/v1/keys?provider=" + provider.id, "/.well-known/attestd", "/metrics"):
        text = shared.public.get(path).text
        for secret in (pck["ppid"], pck["platform_instance_id"], result["platform"], str(pck["pck_serial_number"])):
            assert secret not in text
