"""`POST /v1/appraisals`: the same verdicts, at any time and with any collateral; nothing is recorded."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, replace
from typing import Any

import httpx
import pytest

from attestd.api import Service
from attestd.codec import dump_base64, dump_time
from attestd.evidence import dump_evidence_json
from attestd.registrar import bootstrap_admin
from attestd.settings import Settings, shipped
from attestd.simulator import Attester, TdReport, TdReport15, bits
from attestd.tdx.collateral import RawCollateral
from tests.api.world import NOW, Clock, Provider, World, environment, reason_of
from tests.evidence import IntelCase, intel_case, intel_cases

Dry = Callable[..., httpx.Response]


def body_of(quote: bytes, tee: str = "tdx", raw: RawCollateral | None = None, **more: Any) -> dict[str, Any]:
    supplied = {} if raw is None else {"endorsements": {name: dump_base64(one) for name, one in asdict(raw).items()}}
    return {"cpu": {"tee": tee, "quote": dump_base64(quote)}, **supplied, **more}


@pytest.fixture
def dry(provider: Provider) -> Dry:
    return lambda **body: provider.http.post("/v1/appraisals", json=body)


def test_a_bare_quote(shared: World, provider: Provider, dry: Dry) -> None:
    answer = dry(**body_of(provider.attester.quote()))
    assert answer.status_code == 200, answer.text
    result = answer.json()
    assert (result["dry_run"], result["id"], result["key"], result["tier"]) == (True, None, None, "affirming")
    assert shared.public.get("/v1/keys", params={"provider": provider.id}).json()["items"] == []


def test_whole_evidence_registers_nothing_and_spends_nothing(shared: World, provider: Provider) -> None:
    raw = dump_evidence_json(provider.evidence())
    dry = provider.http.post("/v1/appraisals", content=raw, headers={"content-type": "application/json"})
    assert (dry.status_code, dry.json()["dry_run"]) == (200, True)
    key_id = dry.json()["key"]["key_id"]
    assert shared.public.get(f"/v1/keys/{key_id}").status_code == 404
    wet = provider.post(raw)
    assert (wet.status_code, wet.json()["dry_run"], wet.json()["key"]) == (201, False, dry.json()["key"])


def test_every_role_may(shared: World, provider: Provider) -> None:
    body = body_of(provider.attester.quote())
    admin = shared.client(shared.service.public_url, shared.admin_token)
    for client in (provider.http, shared.auditor(), admin):
        assert client.post("/v1/appraisals", json=body).status_code == 200
    assert shared.public.post("/v1/appraisals", json=body).status_code == 401


def test_not_affirming_is_an_answer_too(provider: Provider, dry: Dry) -> None:
    answer = dry(**body_of(provider.attester.quote(TdReport(td_attributes=bits(0, 28)))))
    assert (answer.status_code, answer.json()["tier"]) == (200, "contraindicated")


def test_a_policy_of_the_caller_s_own(provider: Provider, dry: Dry) -> None:
    strict = (shipped("policies") / "strict-tdx.toml").read_text()
    mine = strict.replace('name = "strict-tdx"', 'name = "mine"').replace('mrservicetd = "zero"', 'mrservicetd = "any"')
    answer = dry(**body_of(provider.attester.quote(TdReport15()), policy_toml=mine))
    assert (answer.status_code, answer.json()["policy"]["name"]) == (200, "mine")
    answer = dry(**body_of(provider.attester.quote(), policy_toml="name = 1"))
    assert (answer.status_code, reason_of(answer)) == (400, "policy.malformed")


def test_a_policy_by_name(provider: Provider, dry: Dry) -> None:
    answer = dry(**body_of(provider.attester.quote(), policy="cocoon-tdx"))
    assert (answer.status_code, answer.json()["tier"]) == (200, "contraindicated")
    answer = dry(**body_of(provider.attester.quote(), policy="unknown"))
    assert (answer.status_code, reason_of(answer)) == (404, "policy.unknown")


class TestSupplied:
    def test_collateral_of_the_caller_s_own(self, shared: World, provider: Provider, dry: Dry) -> None:
        """It is judged as strictly, and for this answer alone."""
        elsewhere = provider.machine("elsewhere", fmspc=bytes.fromhex("00906ed50000"))
        raw = shared.vendor.collateral(tcb_info=shared.vendor.tcb_info(lambda d: d.update(fmspc="00906ed50000")))
        quote = elsewhere.quote()
        assert dry(**body_of(quote)).status_code == 503
        answer = dry(**body_of(quote, raw=raw))
        assert (answer.status_code, answer.json()["tier"]) == (200, "affirming")
        assert dry(**body_of(quote)).status_code == 503

    def test_forged(self, shared: World, provider: Provider, dry: Dry) -> None:
        good = shared.vendor.collateral()
        forged = replace(good, tcb_info=good.tcb_info.replace(b"OutOfDate", b"UpToDate ", 1))
        answer = dry(**body_of(provider.attester.quote(), raw=forged))
        assert (answer.status_code, reason_of(answer)) == (422, "tdx.tcb_info_signature")

    def test_incomplete(self, shared: World, provider: Provider, dry: Dry) -> None:
        body = body_of(provider.attester.quote(), raw=shared.vendor.collateral())
        del body["endorsements"]["pck_crl"]
        answer = dry(**body)
        assert (answer.status_code, reason_of(answer)) == (422, "tdx.endorsements_missing")
        assert "pck_crl" in answer.json()["detail"]

    def test_revoked(self, shared: World, provider: Provider, dry: Dry) -> None:
        """C30, over the wire."""
        revoking = shared.vendor.pck_crl(revoked=[provider.attester.pck.serial_number])
        raw = shared.vendor.collateral(pck_crl=revoking)
        answer = dry(**body_of(provider.attester.quote(), raw=raw))
        assert (answer.status_code, reason_of(answer)) == (422, "tdx.pck_revoked")

    @pytest.mark.parametrize("member", ["tcb_info_url", "pccs_url", "TCB_INFO"])
    def test_no_address_is_ever_taken(self, provider: Provider, dry: Dry, member: str) -> None:
        """C41, A17: what could be fetched from elsewhere is no member at all."""
        body = body_of(provider.attester.quote(), endorsements={member: "aHR0cDovL2V4YW1wbGU="})
        answer = dry(**body)
        assert (answer.status_code, reason_of(answer)) == (400, "json.schema")

    def test_in_evidence_that_is_to_be_registered_it_is_refused(self, provider: Provider) -> None:
        """C41."""
        answer = provider.http.post("/v1/evidence", json=body_of(provider.attester.quote(), at=dump_time(NOW)))
        assert (answer.status_code, reason_of(answer)) == (400, "json.schema")

    def test_another_time(self, shared: World, provider: Provider, dry: Dry) -> None:
        quote, raw = provider.attester.quote(), shared.vendor.collateral()
        late = NOW.replace(year=NOW.year + 1)
        answer = dry(**body_of(quote, raw=raw, at=dump_time(late)))
        assert answer.status_code == 422
        assert reason_of(answer).endswith("_expired")
        assert dry(**body_of(quote, raw=raw, at="yesterday")).status_code == 400

    def test_half_a_binding(self, provider: Provider, dry: Dry) -> None:
        answer = dry(**body_of(provider.attester.quote(), binding="attestd/v1"))
        assert (answer.status_code, reason_of(answer)) == (400, "json.schema")


@pytest.fixture(scope="module")
def judges(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[IntelCase], httpx.Client]]:
    """Return a client of a running service for each set of trust anchors: Intel's, and the synthetic cases' own."""
    clock = Clock()
    clients: dict[str, httpx.Client] = {}
    with ExitStack() as stack:

        def judge(case: IntelCase) -> httpx.Client:
            name = case.document["trust_root"] if case.anchors.genuine else case.anchors.roots[0].der.hex()
            if name not in clients:
                directory = tmp_path_factory.mktemp("judge")
                anchors = {}
                if not case.anchors.genuine:
                    (directory / "root.der").write_bytes(case.anchors.roots[0].der)
                    anchors = {"trust_anchors": str(directory / "root.der")}
                settings = Settings.load(None, environment(directory, None, **anchors), clock())
                token = bootstrap_admin(settings, clock())
                service = stack.enter_context(Service.started(settings, clock=clock))
                headers = {"authorization": f"Bearer {token}"}
                clients[name] = stack.enter_context(httpx.Client(base_url=service.public_url, headers=headers))
            return clients[name]

        yield judge


@pytest.mark.parametrize("case", intel_cases(quotes=True))
def test_evidence_over_the_wire(judges: Callable[[IntelCase], httpx.Client], case: IntelCase) -> None:
    """Every quote there is, at its time and with its collateral, by the running service."""
    expected = case.expected
    quote = case.read("quote.bin")
    tee = case.document.get("tee", "TDX").lower()
    body = body_of(quote, tee, case.collateral, at=dump_time(case.at))
    answer = judges(case).post("/v1/appraisals", json=body)
    if expected["reject_stage"] is not None and not expected.get("implementation_defined"):
        assert answer.status_code in (400, 422), answer.text
        reason_of(answer)
        return
    assert answer.status_code == 200, answer.text
    result = answer.json()
    assert result["simulated"] is not case.anchors.genuine
    if expected.get("implementation_defined"):
        return
    assert result["tcb"]["status"] == expected["tcb_status"]
    assert result["tcb"]["advisories"] == expected["advisory_ids"]
    assert result["flags"] == expected["policy_flags"]
    assert (result["tier"] == "affirming") is expected["strict_policy_accepts"]
    for name, value in case.document["body"].items():
        if name in result["claims"]:
            assert result["claims"][name] == value


def test_the_real_cocoon_quote(judges: Callable[[IntelCase], httpx.Client]) -> None:
    case = intel_case("real/tdx-v4-90c06f-cocoon")
    body = body_of(case.read("quote.bin"), "tdx", case.collateral, at=dump_time(case.at))
    result = judges(case).post("/v1/appraisals", json=body).json()
    assert result["claims"]["image_digest"] == case.document["cocoon"]["image_hash_hex"]
    assert result["simulated"] is False


def test_real_anchors_refuse_simulated_evidence(shared: World, judges: Callable[[IntelCase], httpx.Client]) -> None:
    """A20."""
    case = intel_case("real/tdx-v4-90c06f-cocoon")
    quote = Attester.of(shared.vendor).quote()
    answer = judges(case).post("/v1/appraisals", json=body_of(quote, raw=shared.vendor.collateral()))
    assert (answer.status_code, reason_of(answer)) == (422, "tdx.untrusted_root")
