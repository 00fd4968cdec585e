"""What goes wrong inside: told apart from what the peer did wrong, and never told more than that."""

import logging
import sqlite3
from typing import Any, NoReturn

import pytest

from attestd.api import exchange
from attestd.api.logs import JsonFormatter
from attestd.api.problem import status_of
from attestd.errors import Reason, Unavailable
from attestd.evidence import dump_evidence_json
from attestd.registrar import registrar
from attestd.registry import keys
from tests.api.world import World, reason_of

SECRET = "secret-4711"


def fail(*_: Any, **__: Any) -> NoReturn:
    raise RuntimeError(SECRET)


class TestFailures:
    def test_on_a_call_that_the_edge_makes(
        self, own: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        provider = own.provider()
        evidence = dump_evidence_json(provider.evidence())
        monkeypatch.setattr(registrar, "parse_evidence", fail)
        answer = provider.post(evidence)
        assert (answer.status_code, reason_of(answer)) == (500, "service.internal")
        assert SECRET not in answer.text
        assert "Traceback" not in answer.text
        (record,) = (one for one in caplog.records if one.message == "request failed")
        line = JsonFormatter().format(record)
        assert answer.headers["x-request-id"] in line
        assert "RuntimeError" in line
        assert SECRET not in line
        monkeypatch.undo()
        assert provider.post(evidence).status_code == 201

    def test_on_a_call_that_the_framework_makes(self, own: World, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(keys, "page", fail)
        answer = own.public.get("/v1/keys")
        assert (answer.status_code, reason_of(answer)) == (500, "service.internal")
        assert SECRET not in answer.text
        assert own.metric("attestd_http_requests_total", route="/v1/keys", status="5xx") == 1

    def test_in_the_upkeep(self, own: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
        """It is logged, and goes on the next time."""
        monkeypatch.setattr(keys, "count", fail)
        own.service.loop.call_soon_threadsafe(own.service.site.upkeep.soon)
        while "upkeep failed" not in caplog.text:
            pass
        monkeypatch.undo()
        own.service.keep_up()
        assert own.public.get("/healthz/live").status_code == 200


class TestUnavailable:
    def test_no_database(self, own: World) -> None:
        """F06: 503 with Retry-After, and no verdict."""
        provider = own.provider()
        evidence = dump_evidence_json(provider.evidence())
        own.service.site.registrar.registry.close()
        for answer in (
            provider.post(evidence),
            provider.http.post("/v1/challenges"),
            own.public.get("/v1/keys"),
            own.public.get(f"/v1/keys/{bytes(32).hex()}"),
            own.admin.get("/v1/audit"),
        ):
            assert (answer.status_code, reason_of(answer)) == (503, "service.database_unavailable")
            assert int(answer.headers["retry-after"]) > 0

    def test_more_dry_runs_than_fit(self, own: World, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(registrar, "_MAX_WAITING", 0)
        answer = own.provider().http.post("/v1/appraisals", json={})
        assert (answer.status_code, reason_of(answer)) == (503, "service.overloaded")

    def test_more_bodies_than_fit(self, own: World, monkeypatch: pytest.MonkeyPatch) -> None:
        """F25: all of them together are bounded, and what was answered makes room."""
        provider = own.provider()
        evidence = dump_evidence_json(provider.evidence())
        monkeypatch.setattr(exchange, "MAX_HELD", len(evidence))
        answer = provider.post(evidence + b" ")
        assert (answer.status_code, reason_of(answer)) == (503, "service.overloaded")
        assert provider.post(evidence).status_code == 201
        assert provider.post(evidence).status_code == 200

    def test_a_row_that_was_altered_is_not_served(self, own: World) -> None:
        """R02: not the key alone, and not in the list; and there is an alarm."""
        result = own.provider().register()
        key_id = result["key"]["key_id"]
        other = own.provider().register()["key"]["key_id"]
        database = own.settings.database_url.removeprefix("sqlite:///")
        connection = sqlite3.connect(database)
        connection.execute("UPDATE keys SET valid_until = valid_until + 1 WHERE id = ?", (bytes.fromhex(key_id),))
        connection.commit()
        connection.close()
        answer = own.public.get(f"/v1/keys/{key_id}")
        assert (answer.status_code, reason_of(answer)) == (503, "registry.integrity")
        assert [one["key_id"] for one in own.public.get("/v1/keys").json()["items"]] == [other]
        assert own.metric("attestd_registry_damaged_rows_total") == 1


def test_every_answer_of_a_simulated_service_says_so(own: World) -> None:
    """A20."""
    provider = own.provider()
    key_id = provider.register()["key"]["key_id"]
    answers = [
        own.public.get(f"/v1/keys/{key_id}"),
        own.public.get(f"/v1/keys/{key_id}"),
        own.public.get("/v1/keys"),
        own.public.get("/nothing"),
        own.public.get("/metrics"),
        own.public.get("/v1/policies/strict-tdx"),
        own.admin.get("/v1/audit"),
        provider.post(b"{}"),
        own.public.get("/v1/keys", headers={"x": "a" * 20_000}),
    ]
    assert {answer.headers.get("x-attestd-simulated") for answer in answers} == {"true"}


def test_the_formatter_writes_one_line() -> None:
    record = logging.makeLogRecord({"msg": "a\nb\x1b[31m\u2028", "levelname": "INFO"})
    line = JsonFormatter().format(record)
    assert line.isascii()
    assert line.isprintable()


def test_the_class_of_an_error_decides_its_status() -> None:
    assert status_of(Unavailable(Reason.OVERLOADED, found="x", wanted="y")) == 503
