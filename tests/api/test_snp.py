"""SEV-SNP through the service: the same journey as TDX, with AMD's certificates, a CRL, and Azure's vTPM."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import cbor2
import httpx
import pytest

from attestd.api import bodies, schemas
from attestd.claims import ProductLine
from attestd.codec import dump_base64, dump_time
from attestd.errors import Reason
from attestd.evidence import Evidence, HclEvidence, Scheme, SnpEvidence, dump_evidence_json
from attestd.settings import Settings, shipped
from attestd.simulator import (
    BERGAMO,
    CHIPS,
    DEBUG_ALLOWED,
    POLICY,
    AmdVendor,
    Attester,
    HclForm,
    KeyPair,
    Registry,
    Signing,
    SnpAttester,
    SnpReport,
    TpmAttest,
    Vendor,
    append,
    cut,
    flip,
    other_s,
    pem,
    put,
    runtime_data,
)
from attestd.simulator.azure import hcl_report_data, tpm_quote
from attestd.simulator.certificates import CrlForm
from tests.api.test_admin import put_policy
from tests.api.world import NOW, Clock, Provider, Start, World, environment, new_key, reason_of, world, write_anchors
from tests.policy import factory
from tests.refusals import misconfigured

MILAN, GENOA, TURIN = ProductLine
STRICT: Final = "strict-snp"
# Takes every form of evidence that is authentic.
ANY: Final = "any-snp"
MASKED: Final = bytes(64)
# A vendor of the same names, whom nobody trusts.
MALLORY: Final = AmdVendor.of(GENOA, seed="mallory", at=NOW)


def any_snp(version: int = 1, **edits: str | None) -> bytes:
    named = {"name": f'"{ANY}"', "version": str(version), "snp.flags": '"any"'}
    return factory.text(factory.SNP, named | edits).encode()


def prepared(running: World) -> World:
    assert put_policy(running, any_snp(), ANY).status_code == 200
    return running


@pytest.fixture(scope="module")
def snp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Return a service that these tests share: each with a provider of its own."""
    with world(tmp_path_factory.mktemp("snp"), Clock(), default_policy=STRICT) as running:
        yield prepared(running)


@pytest.fixture
def provider(snp: World) -> Provider:
    return snp.provider()


@pytest.fixture
def own(start: Start) -> World:
    return prepared(start(default_policy=STRICT))


def evidence(
    provider: Provider, attester: SnpAttester | None = None, policy: str | None = None, **how: Any
) -> Evidence:
    """Make evidence that is good, for a new challenge and a new key."""
    made = provider.evidence(attester=attester or provider.snp_machine(), **how)
    return replace(made, policy=policy)


def azure(provider: Provider, key: KeyPair | None = None, **how: Any) -> Evidence:
    """Make evidence of a guest on Azure."""
    made = provider.snp_machine().hcl_evidence(key or new_key(), provider.challenge(), **how)
    return replace(made, policy=ANY)


def register(provider: Provider, attester: SnpAttester | None = None, policy: str | None = None, **how: Any) -> Any:
    answer = provider.post(evidence(provider, attester, policy, **how))
    assert answer.status_code == 201, answer.text
    return answer.json()


def with_report(good: Evidence, edit: Callable[[bytes], bytes]) -> Evidence:
    assert isinstance(good.cpu, SnpEvidence)
    return replace(good, cpu=replace(good.cpu, report=edit(good.cpu.report)))


def with_certificates(good: Evidence, certificates: bytes | None) -> Evidence:
    assert isinstance(good.cpu, SnpEvidence)
    return replace(good, cpu=replace(good.cpu, certificates=certificates))


def cbor(good: Evidence) -> bytes:
    body = {
        "challenge": good.challenge,
        "binding": good.binding.value,
        "key": asdict(good.key),
        "policy": good.policy,
        "cpu": asdict(good.cpu),
    }
    return cbor2.dumps(body)


def post(provider: Provider, good: Evidence, encoding: str) -> httpx.Response:
    if encoding == "JSON":
        return provider.post(good)
    return provider.post(cbor(good), **{"content-type": "application/cbor"})


def findings(result: dict[str, Any]) -> list[str]:
    """Return the checks that are not affirming."""
    return [one["check"] for one in result["appraisal"]["findings"] if one["outcome"] != "affirming"]


def state(running: World, result: dict[str, Any]) -> str:
    return str(running.key(result["key"]["key_id"])["state"])


def crl(amd: AmdVendor, number: int, *revoked: int, **form: Any) -> bytes:
    """Return a CRL of that number; `form` replaces more of it."""

    def edit(usual: CrlForm) -> CrlForm:
        return replace(usual.numbered(number), **form)

    return amd.crl(revoked, edit=edit)


def unknown(running: World, *made: Evidence) -> bool:
    """Tell whether nobody has registered any of the keys."""
    ids = [sha256(one.key.spki).hexdigest() for one in made]
    return all(running.public.get(f"/v1/keys/{key_id}").status_code == 404 for key_id in ids)


# ---------------------------------------------------------------------------------------------------------------------
# Evidence that is good


def test_a_key_is_registered(own: World) -> None:
    provider = own.provider()
    good = evidence(provider)
    answer = provider.post(good)
    assert answer.status_code == 201, answer.text
    result = answer.json()
    schemas.ResultDocument.model_validate(result, strict=False)
    assert isinstance(good.cpu, SnpEvidence)
    signed = good.cpu.report[:0x2A0]
    assert (result["tee"], result["tier"], result["simulated"], result["dry_run"]) == ("snp", "affirming", True, False)
    assert (result["tcb"], result["event_log"], result["vtpm"], result["flags"]) == (None, None, None, [])
    assert result["evidence_id"] == "sha256:" + sha256(b"attestd/evidence-id/v1/snp-report\0" + signed).hexdigest()
    claims = result["claims"]
    assert claims["report_data"] == signed[0x50:0x90].hex()
    assert claims["measurement"] == SnpReport().measurement.hex()
    assert claims["image_digest"] == sha256(SnpReport().measurement + bytes(64)).hexdigest()
    assert (claims["vek"]["kind"], claims["vek"]["product_line"], claims["crl_checked"]) == ("vcek", "Genoa", True)
    used = (*provider.snp_machine().chain[:2], own.amd[GENOA].crl())
    assert result["endorsements"] == ["sha256:" + sha256(raw).hexdigest() for raw in used]

    key = own.key(result["key"]["key_id"])
    schemas.KeyDocument.model_validate(key, strict=False)
    assert (key["tee"], key["state"], key["image"]) == ("snp", "active", f"sha256:{claims['image_digest']}")
    assert (key["policy"]["name"], key["result_id"], key["simulated"]) == (STRICT, result["id"], True)
    assert provider.http.get(answer.headers["location"]).content == answer.content
    for tee, count in (("snp", 1), ("tdx", 0), ("sgx", 0)):
        assert len(own.public.get("/v1/keys", params={"tee": tee}).json()["items"]) == count


def test_both_vendors_beside_each_other(snp: World, provider: Provider) -> None:
    tdx = provider.post(replace(provider.evidence(), policy="strict-tdx"))
    assert (tdx.status_code, tdx.json()["tee"]) == (201, "tdx")
    assert register(provider)["tee"] == "snp"
    listed = snp.public.get("/v1/keys", params={"provider": provider.id}).json()["items"]
    assert {key["tee"] for key in listed} == {"tdx", "snp"}
    # Neither policy has anything to say of the other's evidence.
    for good, policy in ((provider.evidence(), STRICT), (evidence(provider), "strict-tdx")):
        answer = provider.post(replace(good, policy=policy))
        assert answer.status_code == 403
        assert findings(answer.json()["result"]) == ["tee"]


def table_behind(provider: Provider) -> Evidence:
    good = evidence(provider)
    assert isinstance(good.cpu, SnpEvidence)
    assert good.cpu.certificates is not None
    return replace(good, cpu=SnpEvidence(report=good.cpu.report + good.cpu.certificates))


def pem_chain(provider: Provider) -> Evidence:
    return with_certificates(evidence(provider), pem(*provider.snp_machine().chain))


def vcek_alone(provider: Provider) -> Evidence:
    """The ASK is in the folder."""
    return with_certificates(evidence(provider), provider.snp_machine().chain[0])


def crl_along(provider: Provider) -> Evidence:
    return evidence(provider, crl=provider.amd[GENOA].crl())


def of_turin(provider: Provider) -> Evidence:
    return evidence(provider, provider.snp_machine(line=TURIN))


def of_bergamo(provider: Provider) -> Evidence:
    attester = provider.snp_machine(model=BERGAMO.model, tcb=BERGAMO.tcb)
    return evidence(provider, attester, body=SnpReport(version=3))


def version_2(provider: Provider) -> Evidence:
    return evidence(provider, provider.snp_machine(line=MILAN), ANY, body=SnpReport(version=2))


def vlek(provider: Provider) -> Evidence:
    return evidence(provider, provider.snp_machine(line=MILAN, kind="vlek"), ANY, body=SnpReport(version=3))


FORMS: Final = {
    "table beside it": (evidence, {"version": 5, "kind": "vcek", "product_line": "Genoa"}),
    "table behind it": (table_behind, {"version": 5, "kind": "vcek", "product_line": "Genoa"}),
    "chain in PEM": (pem_chain, {"version": 5, "kind": "vcek", "product_line": "Genoa"}),
    "VCEK alone": (vcek_alone, {"version": 5, "kind": "vcek", "product_line": "Genoa"}),
    "with a CRL": (crl_along, {"version": 5, "kind": "vcek", "product_line": "Genoa"}),
    "Turin": (of_turin, {"version": 5, "kind": "vcek", "product_line": "Turin"}),
    "Bergamo": (of_bergamo, {"version": 3, "kind": "vcek", "product_line": "Genoa"}),
    "version 2": (version_2, {"version": 2, "kind": "vcek", "product_line": "Milan"}),
    "VLEK": (vlek, {"version": 3, "kind": "vlek", "product_line": "Milan"}),
    "Azure": (azure, {"version": 5, "kind": "vcek", "product_line": "Genoa"}),
}


@pytest.mark.parametrize(("first", "second"), [("JSON", "CBOR"), ("CBOR", "JSON")])
@pytest.mark.parametrize("form", FORMS)
def test_every_form_in_both_encodings(snp: World, provider: Provider, form: str, first: str, second: str) -> None:
    """In the other encoding it is the same submission."""
    make, told = FORMS[form]
    good = make(provider)
    answer = post(provider, good, first)
    assert answer.status_code == 201, answer.text
    result = answer.json()
    schemas.ResultDocument.model_validate(result, strict=False)
    claims = result["claims"]
    assert {"version": claims["version"]} | {name: claims["vek"][name] for name in ("kind", "product_line")} == told
    assert state(snp, result) == "active"
    again = post(provider, good, second)
    assert (again.status_code, again.content) == (200, answer.content)


def test_certificates_may_be_the_service_s_own(snp: World, provider: Provider) -> None:
    """The machine sends the report alone; its VCEK comes into the folder, as caches of the KDS call it."""
    bare = with_certificates(evidence(provider), None)
    answer = provider.post(bare)
    assert (answer.status_code, reason_of(answer)) == (503, "snp.endorsements_missing")
    assert "the VCEK in the evidence" in answer.json()["detail"]
    snp.supply_amd(**{f"{provider.id}_vcek": provider.snp_machine().chain[0]})
    assert provider.post(bare).status_code == 201


def test_a_vlek_may_be_the_service_s_own(snp: World, provider: Provider) -> None:
    attester = provider.snp_machine(line=MILAN, kind="vlek", csp_id=f"CN={provider.id}")
    bare = with_certificates(evidence(provider, attester, ANY, body=SnpReport(version=3)), None)
    answer = provider.post(bare)
    assert (answer.status_code, reason_of(answer)) == (503, "snp.endorsements_missing")
    assert "the VLEK in the evidence" in answer.json()["detail"]
    snp.supply_amd(**{f"{provider.id}_vlek": attester.chain[0]})
    answer = provider.post(bare)
    assert (answer.status_code, answer.json()["claims"]["vek"]["csp_id"]) == (201, f"CN={provider.id}")


SAME: Final[dict[str, Callable[[Provider, Evidence], Evidence]]] = {
    "to the byte": lambda provider, good: good,
    "(r, n - s)": lambda provider, good: with_report(good, other_s),
    "other certificates": lambda provider, good: with_certificates(good, pem(*provider.snp_machine().chain[:2])),
    "no certificates but a CRL": lambda provider, good: with_certificates(
        good, provider.snp_machine().certificate_table(crl(provider.amd[GENOA], 3))
    ),
}


@pytest.mark.parametrize("how", SAME)
def test_the_same_evidence_again_returns_the_first_result(provider: Provider, how: str) -> None:
    """X06: what is not authenticated does not make evidence another one."""
    good = evidence(provider)
    first = provider.post(good)
    again = provider.post(SAME[how](provider, good))
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.content == first.content
    assert again.headers["location"] == first.headers["location"]


def test_a_challenge_is_used_once(provider: Provider) -> None:
    """X05, X08."""
    registry = provider.challenge()
    attester = provider.snp_machine()
    assert provider.post(attester.evidence(new_key(), registry)).status_code == 201
    answer = provider.post(attester.evidence(new_key(), registry))
    assert (answer.status_code, reason_of(answer)) == (409, "challenge.used")


def test_an_older_binding_is_renewed_by_a_new_challenge(provider: Provider) -> None:
    """The report commits to the key alone, so that a new challenge is a new submission of the same report."""
    key, registry = new_key(), provider.challenge()
    first = replace(provider.snp_machine().evidence(key, registry, scheme=Scheme.SPKI_SHA256), policy=ANY)
    answer = provider.post(first)
    assert answer.status_code == 201, answer.text
    registry = provider.challenge()
    proof = key.sign(registry.context(key))
    again = provider.post(replace(first, challenge=registry.challenge, key=replace(first.key, proof=proof)))
    assert (again.status_code, again.json()["evidence_id"]) == (201, answer.json()["evidence_id"])
    assert again.json()["id"] != answer.json()["id"]


# ---------------------------------------------------------------------------------------------------------------------
# Evidence that is not


FORGED: Final[dict[str, tuple[Callable[[Provider, Evidence], Evidence], int, str]]] = {
    "measurement": (lambda _, good: with_report(good, flip(0x90)), 422, "snp.report_signature"),
    "chip id": (lambda _, good: with_report(good, flip(0x1A0)), 422, "snp.chip_id_mismatch"),
    "reported TCB": (lambda _, good: with_report(good, flip(0x180)), 422, "snp.tcb_mismatch"),
    "signature of zeros": (lambda _, good: with_report(good, put(0x2A0, bytes(144))), 422, "snp.report_signature"),
    "another chip's VCEK": (
        lambda provider, good: with_certificates(good, provider.snp_machine("other").certificate_table()),
        422,
        "snp.chip_id_mismatch",
    ),
    "VLEK of a report that a VCEK signed": (
        lambda provider, good: with_certificates(good, provider.snp_machine(kind="vlek").certificate_table()),
        422,
        "snp.signing_key_mismatch",
    ),
    "ASVK for the ASK": (
        lambda provider, good: with_certificates(good, pem(good_chain(provider)[0], provider.amd[GENOA].asvk.der)),
        422,
        "snp.vek_chain",
    ),
    "another product line's CRL": (
        lambda provider, good: with_certificates(
            good, provider.snp_machine().certificate_table(provider.amd[TURIN].crl())
        ),
        422,
        "snp.crl_issuer",
    ),
    "forged CRL": (
        lambda provider, good: with_certificates(
            good,
            provider.snp_machine().certificate_table(provider.amd[GENOA].crl(signing=Signing(key=MALLORY.ark.key))),
        ),
        422,
        "snp.crl_signature",
    ),
    "another ARK along": (
        lambda provider, good: with_certificates(good, pem(*good_chain(provider)[:2], MALLORY.ark.der)),
        422,
        "snp.untrusted_root",
    ),
    "a reserved bit": (lambda _, good: with_report(good, flip(0x208)), 400, "snp.reserved"),
    "version 6": (lambda _, good: with_report(good, put(0, b"\6")), 400, "snp.report_version"),
    "1183 bytes": (lambda _, good: with_report(good, cut(1183)), 400, "snp.report_size"),
    "a table twice": (lambda _, good: with_report(good, append(bytes(24))), 400, "evidence.kind"),
    "a table without an end": (lambda _, good: with_certificates(good, b"\1" * 48), 400, "snp.cert_table"),
    "a table of 64 KiB": (lambda _, good: with_certificates(good, bytes(64 * 1024 + 1)), 413, "evidence.size"),
    "PEM that is none": (
        lambda _, good: with_certificates(good, b"-----BEGIN CERTIFICATE-----\n\xff\n"),
        400,
        "pem.malformed",
    ),
    "DER that is none": (lambda _, good: with_certificates(good, b"\x30\x82" + b"\xff" * 60000), 400, "der.malformed"),
    "report data": (lambda provider, good: replace(good, models=(bytes(32),)), 422, "binding.report_data"),
}


def good_chain(provider: Provider) -> tuple[bytes, bytes, bytes]:
    return provider.snp_machine().chain


@pytest.mark.parametrize("case", FORGED)
def test_what_is_refused_stores_nothing(snp: World, provider: Provider, case: str) -> None:
    forge, status, reason = FORGED[case]
    good = evidence(provider)
    outcome = {"tee": "snp", "outcome": "rejected" if status == 422 else "malformed"}
    before = snp.metric("attestd_verifications_total", **outcome)
    by_reason = {"tee": "snp", "reason": reason}
    refusals = snp.metric("attestd_verification_refusals_total", **by_reason)
    answer = provider.post(forge(provider, good))
    assert (answer.status_code, reason_of(answer)) == (status, reason)  # which looks at the size, too
    # A body that does not decode names no TEE that could be counted.
    counted = 0 if status == 413 else 1
    assert snp.metric("attestd_verifications_total", **outcome) - before == counted
    assert snp.metric("attestd_verification_refusals_total", **by_reason) - refusals == counted
    assert unknown(snp, good)
    # The challenge is still there for the evidence that is good.
    assert provider.post(good).status_code == 201


def test_another_vendor_s_machine(snp: World, provider: Provider) -> None:
    """However complete its chain is: it has the names of the vendor that is trusted, and other keys."""
    attacker = SnpAttester.of(MALLORY)
    assert MALLORY.ark.form.subject == snp.amd[GENOA].ark.form.subject
    forged = evidence(provider, attacker)
    vcek, ask, _ = attacker.chain
    for certificates, reason in (
        (attacker.certificate_table(), "snp.untrusted_root"),
        (pem(vcek, ask), "snp.vek_chain"),
        (vcek, "snp.vek_chain"),  # the ASK of that name is in the folder
    ):
        answer = provider.post(with_certificates(forged, certificates))
        assert (answer.status_code, reason_of(answer)) == (422, reason)
    assert unknown(snp, forged)


def test_for_another_challenge(provider: Provider) -> None:
    answer = provider.post(replace(evidence(provider), challenge=provider.challenge().challenge))
    assert (answer.status_code, reason_of(answer)) == (422, "binding.report_data")


def test_not_affirming_is_refused_with_the_whole_result(own: World) -> None:
    provider = own.provider()
    bad = evidence(provider, body=SnpReport(policy=POLICY | DEBUG_ALLOWED))
    answer = provider.post(bad)
    assert (answer.status_code, answer.json()["reason"]) == (403, "policy.not_affirming")
    schemas.NotAffirming.model_validate(answer.json(), strict=False)
    result = answer.json()["result"]
    assert (result["tier"], result["flags"], findings(result)) == ("contraindicated", ["debug"], ["debug"])
    assert unknown(own, bad)
    # It is recorded as a result.
    assert provider.http.get(f"/v1/results/{result['id']}").json() == result
    assert own.metric("attestd_verifications_total", tee="snp", outcome="contraindicated") == 1
    assert own.metric("attestd_verification_refusals_total", tee="snp", reason="policy.not_affirming") == 1


@pytest.mark.parametrize(
    ("make", "check"),
    [
        (version_2, "report_version"),
        (vlek, "signing_key"),
        (lambda provider: evidence(provider, body=SnpReport(chip_id=MASKED)), "flags"),
        (lambda provider: evidence(provider, body=SnpReport(committed_minor=54)), "flags"),
        (lambda provider: evidence(provider, provider.snp_machine(tcb=CHIPS[GENOA].tcb._replace(snp=22))), "tcb_floor"),
        (azure, "vtpm_pcrs"),
    ],
    ids=["version 2", "VLEK", "masked chip id", "provisional firmware", "older firmware", "Azure"],
)
def test_the_strict_policy_says_no(provider: Provider, make: Callable[[Provider], Evidence], check: str) -> None:
    answer = provider.post(replace(make(provider), policy=STRICT))
    assert answer.status_code == 403, answer.text
    assert check in findings(answer.json()["result"])


def test_evidence_is_counted_by_its_tee(own: World) -> None:
    provider = own.provider()
    register(provider)
    assert own.metric("attestd_verifications_total", tee="snp", outcome="affirming") == 1
    for tee in ("tdx", "sgx", "unknown"):
        assert own.metric("attestd_verifications_total", tee=tee, outcome="affirming") == 0
    own.service.keep_up()
    ends = own.amd[GENOA].issued + timedelta(days=376)
    assert own.metric("attestd_collateral_expiry_timestamp_seconds", tee="snp") == ends.timestamp()
    assert own.metric("attestd_collateral_refused_files") == 0
    own.supply_amd(forged_crl=MALLORY.crl())
    assert own.metric("attestd_collateral_refused_files") == 1
    register(provider)


# ---------------------------------------------------------------------------------------------------------------------
# Azure


def test_azure(snp: World, provider: Provider) -> None:
    """The report is the paravisor's and says nothing of the key; the vTPM's quote does."""
    good = azure(provider)
    answer = provider.post(good)
    assert answer.status_code == 201, answer.text
    result = answer.json()
    assert isinstance(good.cpu, HclEvidence)
    vtpm, message = result["vtpm"], good.cpu.tpm_quote.message
    report = good.cpu.hcl_report[0x20:][:1184]
    report_id = sha256(b"attestd/evidence-id/v1/snp-report\0" + report[:0x2A0]).digest()
    evidence_id = sha256(b"attestd/evidence-id/v1/snp-vtpm\0" + report_id + message).hexdigest()
    assert result["evidence_id"] == f"sha256:{evidence_id}"
    runtime = runtime_data(provider.snp_machine().vtpm_key)
    assert result["claims"]["report_data"] == hcl_report_data(runtime).hex()
    assert result["key"]["key_id"] == sha256(good.key.spki).hexdigest()
    assert (len(vtpm["pcrs"]), vtpm["vm_configuration"]["secure_boot"]) == (24, True)
    assert state(snp, result) == "active"
    # Without the registers it is the same evidence: the quote has their digest.
    without = replace(good, cpu=replace(good.cpu, tpm_quote=replace(good.cpu.tpm_quote, pcrs=None)))
    again = provider.post(without)
    assert (again.status_code, again.content) == (200, answer.content)


def test_a_report_of_azure_serves_many_quotes(provider: Provider) -> None:
    first, second = azure(provider), azure(provider)
    assert isinstance(first.cpu, HclEvidence)
    assert isinstance(second.cpu, HclEvidence)
    assert first.cpu.hcl_report == second.cpu.hcl_report
    answers = [provider.post(one) for one in (first, second)]
    assert [answer.status_code for answer in answers] == [201, 201]
    assert answers[0].json()["evidence_id"] != answers[1].json()["evidence_id"]
    assert answers[0].json()["platform"] == answers[1].json()["platform"]


@pytest.mark.parametrize(
    "extra_data",
    [
        lambda report_data: report_data,
        lambda report_data: report_data[:32],
        lambda report_data: sha256(report_data[:32]).digest(),
        lambda report_data: sha256(report_data).digest() + bytes(32),
        lambda report_data: b"",
    ],
    ids=["itself", "its half", "SHA-256 of its half", "SHA-256 and zeros", "nothing"],
)
def test_extra_data_is_the_digest_of_the_report_data(provider: Provider, extra_data: Callable[[bytes], bytes]) -> None:
    key, registry, attester = new_key(), provider.challenge(), provider.snp_machine()
    good = replace(attester.hcl_evidence(key, registry), policy=ANY)
    assert isinstance(good.cpu, HclEvidence)
    other = tpm_quote(attester.vtpm_key, extra_data(registry.report_data(key)), TpmAttest())
    answer = provider.post(replace(good, cpu=replace(good.cpu, tpm_quote=other)))
    assert (answer.status_code, reason_of(answer)) == (422, "binding.report_data")
    assert provider.post(good).status_code == 201


def test_a_key_in_the_report_data_of_azure_is_bound_by_nothing(provider: Provider) -> None:
    """A report of another machine, whose report data its guest may fill, inside of an HCL report."""
    key, registry, attester = new_key(), provider.challenge(), provider.snp_machine()
    good = replace(attester.hcl_evidence(key, registry), policy=ANY)
    assert isinstance(good.cpu, HclEvidence)
    report = attester.report(SnpReport(report_data=registry.report_data(key)))
    hcl = HclForm().encode(report, runtime_data(attester.vtpm_key))
    answer = provider.post(replace(good, cpu=replace(good.cpu, hcl_report=hcl)))
    assert (answer.status_code, reason_of(answer)) == (422, "snp.hcl_runtime_hash")


@pytest.mark.parametrize(
    ("edit", "status", "reason"),
    [
        (lambda cpu: replace(cpu, hcl_report=flip(0x20 + 0x90)(cpu.hcl_report)), 422, "snp.report_signature"),
        (lambda cpu: replace(cpu, hcl_report=flip(0)(cpu.hcl_report)), 400, "snp.hcl_malformed"),
        (
            lambda cpu: replace(cpu, tpm_quote=replace(cpu.tpm_quote, signature=flip(9)(cpu.tpm_quote.signature))),
            422,
            "snp.vtpm_quote_signature",
        ),
        (
            lambda cpu: replace(cpu, tpm_quote=replace(cpu.tpm_quote, pcrs=flip(0)(cpu.tpm_quote.pcrs))),
            422,
            "snp.vtpm_pcr_digest",
        ),
        (
            lambda cpu: replace(cpu, tpm_quote=replace(cpu.tpm_quote, message=cpu.tpm_quote.message[:-1])),
            400,
            "snp.vtpm_quote_malformed",
        ),
    ],
    ids=["report", "frame", "quote", "registers", "quote cut off"],
)
def test_forged_on_azure(
    snp: World, provider: Provider, edit: Callable[[Any], HclEvidence], status: int, reason: str
) -> None:
    good = azure(provider)
    answer = provider.post(replace(good, cpu=edit(good.cpu)))
    assert (answer.status_code, reason_of(answer)) == (status, reason)
    assert unknown(snp, good)
    assert provider.post(good).status_code == 201


def test_a_policy_names_the_registers(own: World) -> None:
    """A vTPM's PCRs are a part of what a policy accepts; that they changed takes trust from keys."""
    provider = own.provider()
    booted = TpmAttest().pcrs
    pinned: dict[str, str | None] = {"snp.vtpm_pcrs": None, 'snp.vtpm_pcrs."8"': f'["{booted[8].hex()}"]'}
    assert put_policy(own, any_snp(2, **pinned), ANY).status_code == 200
    result = provider.post(azure(provider)).json()
    assert state(own, result) == "active"
    other = TpmAttest(pcrs=(*booted[:8], bytes(32), *booted[9:]))
    answer = provider.post(azure(provider, attest=other))
    assert (answer.status_code, findings(answer.json()["result"])) == (403, ["vtpm_pcrs"])
    pinned['snp.vtpm_pcrs."8"'] = f'["{bytes(32).hex()}"]'
    assert put_policy(own, any_snp(3, **pinned), ANY).status_code == 200
    own.service.keep_up()
    assert state(own, result) == "suspended"


# ---------------------------------------------------------------------------------------------------------------------
# Machines


def platform_of(chip_id: bytes) -> str:
    return sha256(b"attestd/snp-chip/v1\0" + chip_id.ljust(64, b"\0")).hexdigest()


def test_a_machine_is_its_chip(provider: Provider) -> None:
    """Whoever vouches for it, and also where the report does not name it but its VCEK does."""
    genoa, turin = provider.snp_machine(), provider.snp_machine(line=TURIN)
    masked, of_cloud = SnpReport(chip_id=MASKED), provider.snp_machine(kind="vlek")
    assert len(turin.chip.hwid) == 8
    seen = {
        "named": register(provider, genoa),
        "masked": register(provider, genoa, ANY, body=masked),
        "VLEK": register(provider, of_cloud, ANY),
        "Azure": provider.post(azure(provider)).json(),
    }
    assert {result["platform"] for result in seen.values()} == {platform_of(genoa.chip.hwid)}
    assert seen["masked"]["flags"] == ["chip_id_masked"]
    assert register(provider, turin)["platform"] == platform_of(turin.chip.hwid)


def test_without_a_chip_id_each_guest_is_a_machine(snp: World, provider: Provider) -> None:
    attester = provider.snp_machine(kind="vlek")
    one, two = (SnpReport(chip_id=MASKED, report_id=sha256(name).digest()) for name in (b"one", b"two"))
    platforms = [register(provider, attester, ANY, body=body)["platform"] for body in (one, one, two)]
    assert platforms[0] == sha256(b"attestd/snp-guest/v1\0" + one.report_id).hexdigest()
    assert platforms[0] == platforms[1] != platforms[2]
    # So what other guests of the same cloud register is no conflict, and this guest has one owner.
    other = snp.provider()
    answer = other.post(evidence(other, attester, ANY, body=one))
    assert (answer.status_code, reason_of(answer)) == (409, "platform.conflict")
    register(other, attester, ANY, body=replace(one, report_id=bytes(32)))


@pytest.mark.parametrize("body", [SnpReport(), SnpReport(chip_id=MASKED)], ids=["named", "masked"])
def test_a_machine_belongs_to_one_provider(snp: World, provider: Provider, body: SnpReport) -> None:
    """X11."""
    attester = provider.snp_machine()
    register(provider, attester)
    other = snp.provider()
    answer = other.post(evidence(other, attester, ANY, body=body))
    assert (answer.status_code, reason_of(answer)) == (409, "platform.conflict")


def test_too_many_keys_on_one_chip(start: Start) -> None:
    """X11: a masked chip id does not make it another machine."""
    running = prepared(start(default_policy=STRICT, live_keys_per_platform="1"))
    provider = running.provider()
    register(provider)
    answer = provider.post(evidence(provider, policy=ANY, body=SnpReport(chip_id=MASKED)))
    assert (answer.status_code, reason_of(answer)) == (409, "platform.keys")
    register(provider, provider.snp_machine("second"))


def test_chips_cannot_be_told_apart_by_everybody(snp: World, provider: Provider) -> None:
    """A12."""
    result = register(provider)
    chip_id = result["claims"]["chip_id"]
    paths = (f"/v1/keys/{result['key']['key_id']}", f"/v1/keys?provider={provider.id}", "/metrics")
    for text in (snp.public.get(path).text for path in paths):
        for secret in (chip_id, chip_id[:16], sha256(bytes.fromhex(chip_id)).hexdigest(), result["platform"]):
            assert secret not in text


# ---------------------------------------------------------------------------------------------------------------------
# What keys rest on


def revoke(running: World, kind: str, value: str) -> httpx.Response:
    return running.admin.post("/v1/revocations", json={"kind": kind, "value": value, "reason": "a test"})


@pytest.mark.parametrize("line", ProductLine)
def test_a_product_line_is_revoked(own: World, line: ProductLine) -> None:
    provider = own.provider()
    results = {each: register(provider, provider.snp_machine(line=each), ANY) for each in ProductLine}
    made = revoke(own, "product_line", line.lower())
    assert (made.status_code, made.json()["keys"]) == (201, 1), made.text
    for each, result in results.items():
        assert state(own, result) == ("revoked" if each is line else "active")
        answer = provider.post(evidence(provider, provider.snp_machine(line=each), ANY))
        assert answer.status_code == (403 if each is line else 201)
        assert each is not line or reason_of(answer) == "key.revoked"
    (entry,) = (one for one in own.admin.get("/v1/audit").json()["items"] if one["action"] == "revocation.add")
    assert entry["subject"] == f"product_line:{line.lower()}"
    assert entry["detail"] == {"reason": "a test", "keys": 1}


@pytest.mark.parametrize("value", ["Genoa", "bergamo", "venice", ""])
def test_there_are_no_other_product_lines(snp: World, value: str) -> None:
    answer = revoke(snp, "product_line", value)
    assert (answer.status_code, reason_of(answer)) == (400, "json.schema")


@pytest.mark.parametrize("kind", ["key", "platform", "image", "provider"])
def test_revocation_takes_effect_at_once(own: World, kind: str) -> None:
    provider = own.provider()
    result = register(provider)
    key = own.key(result["key"]["key_id"])
    value = {"key": key["key_id"], "platform": result["platform"], "image": key["image"], "provider": provider.id}[kind]
    made = revoke(own, kind, value)
    assert (made.status_code, made.json()["keys"]) == (201, 1), made.text
    assert state(own, result) == "revoked"
    assert own.public.get("/v1/keys").json()["items"] == []


def test_an_image_must_be_approved(own: World) -> None:
    """`cocoon-snp`: by the registry, for as long as it does."""
    provider = own.provider()
    answer = provider.post(evidence(provider, policy="cocoon-snp"))
    assert (answer.status_code, findings(answer.json()["result"])) == (403, ["image"])
    digest = "sha256:" + sha256(SnpReport().measurement + bytes(64)).hexdigest()
    approved = own.admin.put(f"/v1/images/{digest}", json={"name": "An image", "roles": ["worker"]})
    assert approved.status_code == 200, approved.text
    result = register(provider, policy="cocoon-snp")
    assert own.key(result["key"]["key_id"])["image"] == digest
    other = evidence(provider, policy="cocoon-snp", body=SnpReport(measurement=bytes(48)))
    answer = provider.post(other)
    assert (answer.status_code, findings(answer.json()["result"])) == (403, ["image"])
    assert revoke(own, "image", digest).json()["keys"] == 1
    assert state(own, result) == "revoked"
    answer = provider.post(evidence(provider, policy="cocoon-snp"))
    assert answer.status_code == 403


def test_a_policy_that_no_longer_accepts_it_suspends_a_key(own: World) -> None:
    """P15."""
    provider = own.provider()
    result = register(provider, policy=ANY)
    assert put_policy(own, any_snp(2, **{"snp.product_lines": '["Turin"]'}), ANY).status_code == 200
    own.service.keep_up()
    assert state(own, result) == "suspended"
    assert put_policy(own, any_snp(3), ANY).status_code == 200
    own.service.keep_up()
    assert state(own, result) == "active"


def test_an_issuer_that_amd_revokes_takes_its_keys_along(own: World) -> None:
    """A newer CRL in the folder is enough, and no later one brings them back."""
    provider, amd = own.provider(), own.amd[GENOA]
    fallen, stays = register(provider), register(provider, provider.snp_machine(line=TURIN))
    of_cloud = register(provider, provider.snp_machine("cloud", kind="vlek"), ANY)
    own.supply_amd(genoa_crl=crl(amd, 5, amd.ask.serial_number))
    states = [state(own, result) for result in (fallen, stays, of_cloud)]
    assert states == ["revoked", "active", "active"]  # the VLEK's issuer is another one
    entries = [one for one in own.admin.get("/v1/audit").json()["items"] if one["actor"] == "attestd"]
    assert [(one["action"], one["subject"]) for one in entries] == [
        ("revocation.add", f"key:{fallen['key']['key_id']}")
    ]
    assert entries[0]["detail"]["reason"].startswith("snp.ask_revoked")
    assert own.metric("attestd_reappraisals_total", outcome="rejected") == 1
    bad = evidence(provider)
    answer = provider.post(bad)
    assert (answer.status_code, reason_of(answer)) == (422, "snp.ask_revoked")
    # An older one that comes along does not help, nor does it where it is put into the folder.
    answer = provider.post(evidence(provider, crl=crl(amd, 4)))
    assert (answer.status_code, reason_of(answer)) == (422, "snp.ask_revoked")
    own.supply_amd(genoa_crl=crl(amd, 4))
    assert reason_of(provider.post(bad)) == "snp.ask_revoked"
    # Nor a newer one: which of an ARK's two lists it follows on is not to be told.
    own.supply_amd(genoa_crl=crl(amd, 6))
    assert reason_of(provider.post(bad)) == "snp.ask_revoked"
    assert state(own, fallen) == "revoked"


def test_a_newer_crl_that_comes_along_counts(provider: Provider) -> None:
    amd = provider.amd[GENOA]
    answer = provider.post(evidence(provider, crl=crl(amd, 5, amd.ask.serial_number)))
    assert (answer.status_code, reason_of(answer)) == (422, "snp.ask_revoked")
    register(provider)  # it is not taken in


def test_an_older_crl_is_refused_after_a_restart_too(start: Start, own: World) -> None:
    """C34, C40: what was seen is in the database."""
    provider = own.provider()
    result = register(provider)
    own.supply_amd(genoa_crl=crl(own.amd[GENOA], 5))
    again = start(default_policy=STRICT)  # writes the older one, and starts on the same database
    late = again.provider()
    waiting = evidence(late)
    answer = late.post(waiting)
    assert (answer.status_code, reason_of(answer)) == (503, "snp.crl_rollback")
    assert int(answer.headers["retry-after"]) > 0
    assert unknown(again, waiting)
    # What is trusted is not judged by it, and other product lines are not touched.
    assert state(again, result) == "active"
    assert again.metric("attestd_reappraisals_total", outcome="unavailable") == 1
    register(late, late.snp_machine(line=TURIN))
    # One that was not seen before is taken, from the machine or from the folder.
    assert late.post(evidence(late, crl=crl(own.amd[GENOA], 5))).status_code == 201
    again.supply_amd(genoa_crl=crl(own.amd[GENOA], 6))
    assert late.post(waiting).status_code == 201


# ---------------------------------------------------------------------------------------------------------------------
# What is missing


def test_what_is_missing_is_named_and_nothing_is_recorded(start: Start) -> None:
    """VCEK, then ASK, then CRL: all the time the same evidence, which waits."""
    running = prepared(start(default_policy=STRICT, amd_documents=False))
    provider, amd = running.provider(), running.amd[GENOA]
    good = evidence(provider)
    vcek = provider.snp_machine().chain[0]
    bare = with_certificates(good, None)
    steps: list[tuple[Evidence, str, dict[str, bytes]]] = [
        (bare, "the VCEK in the evidence, or among the endorsements", {"vcek": vcek}),
        (bare, "the VCEK in the evidence", {}),  # without its issuer it is of no use
        (with_certificates(good, vcek), "the ASK or ASVK, in the evidence or among the endorsements", {}),
        (with_certificates(good, vcek), "the ASK or ASVK", {"ask": amd.ask.der}),
        (bare, "the CRL of ARK-Genoa, which the policy requires", {}),
        (good, "the CRL of ARK-Genoa, which the policy requires", {"crl": amd.crl()}),
    ]
    for number, (waiting, wanted, supplied) in enumerate(steps, start=1):
        answer = provider.post(waiting)
        assert (answer.status_code, reason_of(answer)) == (503, "snp.endorsements_missing"), wanted
        assert f"wanted {wanted}" in answer.json()["detail"]
        assert int(answer.headers["retry-after"]) > 0
        assert unknown(running, good)
        assert running.metric("attestd_verifications_total", tee="snp", outcome="unavailable") == number
        running.supply_amd(**supplied)
    assert running.public.get("/v1/keys", params={"provider": provider.id}).json()["items"] == []
    assert provider.post(bare).status_code == 201


def test_a_policy_may_do_without_a_crl(start: Start) -> None:
    """Until there is one."""
    running = prepared(start(default_policy=STRICT, amd_documents=False))
    provider, amd = running.provider(), running.amd[GENOA]
    result = register(provider, policy=ANY)
    assert (result["claims"]["crl_checked"], len(result["endorsements"])) == (False, 2)
    running.supply_amd(crl=crl(amd, 4, amd.ask.serial_number))
    assert state(running, result) == "revoked"


def test_a_crl_that_has_expired(own: World, clock: Clock) -> None:
    """F12: no approval by it, and no policy may do without it where there was one."""
    provider, amd = own.provider(), own.amd[GENOA]
    own.supply_amd(genoa_crl=crl(amd, 5, next_update=NOW + timedelta(hours=1)))
    result = register(provider)
    assert result["valid_until"] == dump_time(NOW + timedelta(hours=1))
    clock.advance(hours=1, seconds=1)
    own.service.keep_up()
    assert state(own, result) == "expired"
    for policy in (STRICT, ANY):
        late = evidence(provider, policy=policy)
        answer = provider.post(late)
        assert (answer.status_code, reason_of(answer)) == (503, "snp.crl_expired")
        assert unknown(own, late)


# ---------------------------------------------------------------------------------------------------------------------
# The dry run


def dry(provider: Provider, report: bytes, supplied: dict[str, bytes] | None = None, **more: Any) -> httpx.Response:
    endorsements = {} if supplied is None else {name: dump_base64(raw) for name, raw in supplied.items()}
    body = {"cpu": {"tee": "snp", "report": dump_base64(report)}, "endorsements": endorsements, **more}
    return provider.http.post("/v1/appraisals", json=body)


def endorsements_of(attester: SnpAttester) -> dict[str, bytes]:
    vek, ask, ark = attester.chain
    return {attester.chip.kind: vek, "ask": ask, "ark": ark, "crl": attester.vendor.crl()}


def test_a_bare_report_with_its_endorsements(start: Start) -> None:
    """By a service that holds nothing: in DER, in PEM, of both kinds; and nothing of it is kept."""
    running = prepared(start(default_policy=STRICT, amd_documents=False))
    provider = running.provider()
    for attester, policy in (
        (provider.snp_machine(), STRICT),
        (provider.snp_machine(line=TURIN), STRICT),
        (provider.snp_machine(line=MILAN, kind="vlek"), ANY),
    ):
        report, supplied = attester.report(), endorsements_of(attester)
        in_pem = {name: raw if name == "crl" else pem(raw) for name, raw in supplied.items()}
        answers = [dry(provider, report, documents, policy=policy) for documents in (supplied, in_pem)]
        for answer in answers:
            assert answer.status_code == 200, answer.text
            result = answer.json()
            schemas.ResultDocument.model_validate(result, strict=False)
            assert (result["tier"], result["dry_run"], result["id"], result["key"]) == ("affirming", True, None, None)
            assert (result["tee"], result["claims"]["crl_checked"], result["simulated"]) == ("snp", True, True)
        assert answers[0].content == answers[1].content
        answer = dry(provider, report, policy=policy)
        assert (answer.status_code, reason_of(answer)) == (503, "snp.endorsements_missing")
    assert running.metric("attestd_verifications_total", tee="snp", outcome="affirming") == 6
    assert running.metric("attestd_verifications_total", tee="snp", outcome="unavailable") == 3
    assert running.public.get("/v1/keys").json()["items"] == []


def test_whole_evidence_registers_nothing_and_spends_nothing(snp: World, provider: Provider) -> None:
    for good in (evidence(provider), azure(provider)):
        answers = [
            provider.http.post("/v1/appraisals", content=raw, headers={"content-type": kind})
            for raw, kind in ((dump_evidence_json(good), "application/json"), (cbor(good), "application/cbor"))
        ]
        assert [answer.status_code for answer in answers] == [200, 200]
        assert unknown(snp, good)
        told, wet = answers[0].json(), provider.post(good).json()
        assert answers[1].json() == told
        assert {name for name in wet if wet[name] != told[name]} == {"id", "dry_run", "provider", "challenge"}


def test_a_bare_report_of_azure(provider: Provider) -> None:
    """Nothing is bound, so that the quote may answer anything."""
    good = azure(provider)
    assert isinstance(good.cpu, HclEvidence)
    quote = good.cpu.tpm_quote
    body = {
        "cpu": {
            "tee": "snp",
            "hcl_report": dump_base64(good.cpu.hcl_report),
            "tpm_quote": {"message": dump_base64(quote.message), "signature": dump_base64(quote.signature)},
        },
        "endorsements": {"vcek": dump_base64(provider.snp_machine().chain[0])},
        "policy": ANY,
    }
    answer = provider.http.post("/v1/appraisals", json=body)
    assert answer.status_code == 200, answer.text
    assert (answer.json()["vtpm"]["pcrs"], answer.json()["key"], answer.json()["tier"]) == (None, None, "affirming")


def test_a_time_of_the_caller_s_own(provider: Provider) -> None:
    """With a CRL of that time, older than the service's own: that one was not in force yet."""
    then = NOW - timedelta(days=60)
    attester = SnpAttester.of(AmdVendor.of(GENOA, at=then))
    report, supplied = attester.report(), endorsements_of(attester)
    answer = dry(provider, report, supplied, at=dump_time(then))
    assert answer.status_code == 200, answer.text
    assert (answer.json()["tier"], answer.json()["at"]) == ("affirming", dump_time(then))
    without = {name: raw for name, raw in supplied.items() if name != "crl"}
    answer = dry(provider, report, without, at=dump_time(then))
    assert (answer.status_code, reason_of(answer)) == (503, "snp.crl_not_yet_valid")
    for at, reason in (
        (then - timedelta(days=31), "snp.vek_not_yet_valid"),
        (then + timedelta(days=400), "snp.crl_expired"),
        (then + timedelta(days=7 * 365), "snp.vek_expired"),
    ):
        answer = dry(provider, report, supplied, at=dump_time(at))
        assert (answer.status_code, reason_of(answer)) == (422, reason)


@pytest.mark.parametrize(
    ("edit", "status", "reason"),
    [
        (lambda amd: {"crl": crl(amd, 5, amd.ask.serial_number)}, 422, "snp.ask_revoked"),
        (lambda amd: {"crl": crl(amd, 3, amd.ask.serial_number)}, 422, "snp.ask_revoked"),
        (lambda amd: {"crl": amd.crl(signing=Signing(key=MALLORY.ark.key))}, 422, "snp.crl_signature"),
        (lambda amd: {"crl": b"\x30\0"}, 422, "snp.crl_malformed"),
        (lambda amd: {"ask": amd.asvk.der}, 422, "snp.vek_chain"),
        (lambda amd: {"ark": MALLORY.ark.der}, 422, "snp.untrusted_root"),
        (lambda amd: {"vcek": b"0"}, 400, "der.malformed"),
        (lambda amd: {"ask": pem(amd.ask.der, amd.ark.der)}, 400, "pem.malformed"),
    ],
    ids=["revoked", "revoked, older", "forged CRL", "no CRL", "ASVK", "another ARK", "no certificate", "two of them"],
)
def test_endorsements_that_are_not_good(
    provider: Provider, edit: Callable[[AmdVendor], dict[str, bytes]], status: int, reason: str
) -> None:
    """They are as bad as the evidence, and no retry mends them."""
    attester = provider.snp_machine()
    supplied = endorsements_of(attester)
    assert dry(provider, attester.report(), supplied).status_code == 200
    answer = dry(provider, attester.report(), supplied | edit(attester.vendor))
    assert (answer.status_code, reason_of(answer)) == (status, reason)


@pytest.mark.parametrize(
    "supplied",
    [{"tcb_info": b"{}"}, {"vcek": b"0", "pck_crl": b"0"}, {"vcek": b"0", "vlek": b"0"}],
    ids=["Intel's", "both vendors'", "both keys"],
)
def test_endorsements_that_are_not_for_it(provider: Provider, supplied: dict[str, bytes]) -> None:
    answer = dry(provider, provider.snp_machine().report(), supplied)
    assert (answer.status_code, reason_of(answer)) == (400, "evidence.kind")


@pytest.mark.parametrize("all_of_intel_s", [True, False])
def test_amd_s_endorsements_beside_a_quote(snp: World, provider: Provider, all_of_intel_s: bool) -> None:
    documents = asdict(snp.vendor.collateral()) if all_of_intel_s else {}
    body = {
        "cpu": {"tee": "tdx", "quote": dump_base64(provider.attester.quote())},
        "endorsements": {name: dump_base64(raw) for name, raw in (documents | {"vcek": b"0"}).items()},
    }
    answer = provider.http.post("/v1/appraisals", json=body)
    assert (answer.status_code, reason_of(answer)) == (400, "evidence.kind")


def test_what_the_service_lacks_is_not_the_caller_s_fault(own: World, clock: Clock) -> None:
    """A VCEK came with the request, and the CRL that has expired is the service's."""
    provider, amd = own.provider(), own.amd[GENOA]
    own.supply_amd(genoa_crl=crl(amd, 5, next_update=NOW + timedelta(hours=1)))
    clock.advance(hours=1, seconds=1)
    attester = provider.snp_machine()
    answer = dry(provider, attester.report(), {"vcek": attester.chain[0]})
    assert (answer.status_code, reason_of(answer)) == (503, "snp.crl_expired")
    assert dry(provider, attester.report(), endorsements_of(attester)).status_code == 200


# ---------------------------------------------------------------------------------------------------------------------
# Simulated hardware is told from real hardware


def test_every_answer_says_that_it_is_simulated(snp: World, provider: Provider) -> None:
    """Also where the anchors are AMD's alone."""
    result = register(provider)
    key_id = result["key"]["key_id"]
    refused = provider.post(evidence(provider, body=SnpReport(policy=POLICY | DEBUG_ALLOWED)))
    documents = [
        result,
        refused.json()["result"],
        dry(provider, provider.snp_machine().report(), endorsements_of(provider.snp_machine())).json(),
        *(snp.public.get(path).json() for path in (f"/v1/keys/{key_id}", "/v1/keys", "/.well-known/attestd")),
    ]
    assert [document["simulated"] for document in documents] == [True] * len(documents)
    discovery = documents[-1]
    assert {anchor["vendor"] for anchor in discovery["trust_anchors"]} == {"simulated"}
    assert snp.metric("attestd_simulated") == 1


GENUINE: Final = {
    "intel": ("intel/sgx_root_ca.der",),
    "amd": tuple(f"amd/ark_{line.lower()}.der" for line in ProductLine),
}


def anchors(folder: Path, *genuine: str, simulated: tuple[ProductLine, ...] = ()) -> str:
    """Write roots that AMD or Intel have made, and simulated ones of AMD."""
    folder.mkdir()
    for name in genuine:
        (folder / Path(name).name).write_bytes((shipped("certs") / name).read_bytes())
    for line in simulated:
        (folder / f"simulated_{line}.der").write_bytes(AmdVendor.of(line).ark.der)
    return str(folder)


def test_a_real_registry_never_stands_on_a_simulated_ark(tmp_path: Path) -> None:
    """A20."""
    trusted = anchors(tmp_path / "anchors", simulated=(GENOA,))
    for name in ("attestd:production", "somebody's"):
        named = environment(tmp_path, None, trust_anchors=trusted, registry_id=name)
        with misconfigured(Reason.SETTINGS):
            Settings.load(None, named, NOW)
    loaded = Settings.load(None, environment(tmp_path, None, trust_anchors=trusted), NOW)
    assert (loaded.simulated, loaded.registry_id[:10]) == (True, "simulated:")


@pytest.mark.parametrize(
    ("genuine", "simulated"),
    [
        (GENUINE["amd"], (GENOA,)),
        (GENUINE["intel"], (GENOA,)),
        (GENUINE["intel"] + GENUINE["amd"], (MILAN,)),
    ],
    ids=["beside AMD's", "beside Intel's", "beside all"],
)
def test_no_registry_stands_on_a_simulated_ark_beside_real_roots(
    tmp_path: Path, genuine: tuple[str, ...], simulated: tuple[ProductLine, ...]
) -> None:
    """A20: one is enough, and also where everything would be called simulated."""
    trusted = anchors(tmp_path / "anchors", *genuine, simulated=simulated)
    for names in ({}, {"registry_id": "attestd:production"}, {"registry_id": "simulated:demo"}):
        with misconfigured(Reason.ANCHOR_MIXED):
            Settings.load(None, environment(tmp_path, None, trust_anchors=trusted, **names), NOW)


@pytest.mark.parametrize("genuine", [GENUINE["amd"], GENUINE["amd"][:1], GENUINE["amd"] + GENUINE["intel"]])
def test_a_simulated_registry_never_stands_on_amd_s_own(tmp_path: Path, genuine: tuple[str, ...]) -> None:
    trusted = anchors(tmp_path / "anchors", *genuine)
    with misconfigured(Reason.SETTINGS):
        Settings.load(None, environment(tmp_path, None, trust_anchors=trusted, registry_id="simulated:demo"), NOW)
    loaded = Settings.load(None, environment(tmp_path, None, trust_anchors=trusted), NOW)
    assert (loaded.simulated, loaded.registry_id[:8]) == (False, "attestd:")


def test_the_state_of_simulated_amd_hardware_is_not_taken_for_the_real_one(tmp_path: Path) -> None:
    simulated = write_anchors(tmp_path / "simulated", Vendor.of(), {GENOA: AmdVendor.of(GENOA)})
    Settings.load(None, environment(tmp_path, None, trust_anchors=simulated), NOW)
    genuine = anchors(tmp_path / "genuine", *GENUINE["amd"])
    with misconfigured(Reason.SETTINGS):
        Settings.load(None, environment(tmp_path, None, trust_anchors=genuine), NOW)


# ---------------------------------------------------------------------------------------------------------------------
# The schemas


def forms() -> dict[str, Evidence]:
    key, registry = KeyPair.ed25519(), Registry()
    amd, intel = SnpAttester.of(AmdVendor.of()), Attester.of(Vendor.of())
    report, hcl = amd.evidence(key, registry), amd.hcl_evidence(key, registry)
    assert isinstance(hcl.cpu, HclEvidence)
    return {
        "quote": intel.evidence(key, registry),
        "cocoon": intel.cocoon_evidence(key, registry),
        "report": report,
        "bare report": with_certificates(report, None),
        "azure": hcl,
        "azure without registers": replace(
            hcl, cpu=replace(hcl.cpu, tpm_quote=replace(hcl.cpu.tpm_quote, pcrs=None), certificates=None)
        ),
        "older binding": amd.evidence(key, registry, scheme=Scheme.SPKI_SHA256),
    }


@pytest.mark.parametrize("name", forms())
def test_the_schema_takes_what_the_loader_takes(name: str) -> None:
    bodies.EvidenceBody.model_validate_json(dump_evidence_json(forms()[name]))


@pytest.mark.parametrize("kind", ["vcek", "vlek"])
def test_the_schema_takes_the_endorsements_that_the_service_takes(kind: Any) -> None:
    attester = SnpAttester.of(AmdVendor.of(), replace(CHIPS[GENOA], kind=kind))
    supplied = {name: dump_base64(raw) for name, raw in endorsements_of(attester).items()}
    body = {"cpu": {"tee": "snp", "report": dump_base64(attester.report())}, "endorsements": supplied}
    bodies.AppraisalBody.model_validate(body)
