"""Documents of results: what is written in pieces is, byte for byte, what would be written whole."""

from dataclasses import replace
from datetime import timedelta
from hashlib import sha256

import pytest

from attestd.codec import Json, dump_digest, dump_time
from attestd.evidence import Evidence, SnpEvidence
from attestd.registrar import documents
from attestd.registrar.documents import Results, dump, export_policy
from attestd.result import Tier
from attestd.simulator import AT, DSTACK_BOOT, KeyPair, TdReport, bits, dstack_log
from attestd.verifier import AttestationResult, export_result
from tests.policy import factory
from tests.snp import baseline as snp
from tests.snp.test_attestation import azure
from tests.snp.test_hcl import Attest
from tests.tdx.baseline import ATTESTER, SGX_COLLATERAL, SGX_QUOTE, quote
from tests.test_verifier import KEY, MODEL, REGISTRY, STRICT, amd, appraise_report, appraised, evidence_of

PLATFORM = bytes(range(32))
ID = "0123456789abcdefABCDE-"


def evidence(name: str) -> Evidence:
    return ATTESTER.evidence(KeyPair.ed25519(name), REGISTRY)


def results() -> dict[str, AttestationResult]:
    logged = ATTESTER.evidence(KEY, REGISTRY, body=TdReport().booted(DSTACK_BOOT), event_log=dstack_log())
    return {
        "one key": appraised(evidence("one")),
        "another": appraised(evidence("two")),
        "later": appraised(evidence("one"), at=AT + timedelta(minutes=1, microseconds=1)),
        "ends sooner": appraised(evidence("one"), policy=factory.load(edits={"max_age_seconds": "3600"})),
        "bare": appraised(quote()),
        "another image": appraised(quote(TdReport(mrtd=bytes([7]) * 48))),
        "debug": appraised(quote(TdReport(td_attributes=bits(0, 28)))),
        "event log": appraised(logged),
        "enclave": appraised(SGX_QUOTE, SGX_COLLATERAL),
        **reports(),
    }


def reports() -> dict[str, AttestationResult]:
    """Return results of SEV-SNP; of one paravisor there are many vTPMs, with one report for many quotes of each."""
    report_data = REGISTRY.report_data(KEY, [MODEL])
    signed = SnpEvidence(report=snp.report(report_data=report_data))
    quoted = azure(attest=Attest(extra_data=sha256(report_data).digest()))
    masked = replace(quoted, tpm_quote=replace(quoted.tpm_quote, pcrs=None))
    policy = factory.load(factory.SNP)
    found = {
        "report": appraise_report(amd(), policy),
        "report without a CRL": appraise_report(amd(crl=None), policy),
        "report under no section": appraise_report(amd(), STRICT),
        "report for a key": appraise_report(amd(signed), policy, evidence_of(signed)),
        "vTPM": appraise_report(amd(azure()), policy),
        "vTPM for a key": appraise_report(amd(quoted), policy, evidence_of(quoted)),
        "vTPM that does not tell its PCRs": appraise_report(amd(masked), policy, evidence_of(masked)),
    }
    for name, result in found.items():
        assert (result.verified.vtpm is not None) == ("vTPM" in name)
    return found


def test_pieces_make_the_whole() -> None:
    """With the pieces of every other result kept, in both orders, and with none."""
    written = Results("here")
    found = results()
    for result in (*found.values(), *reversed(found.values())):
        for writes in (written, Results("here")):
            head: dict[str, Json] = {
                "id": ID,
                "dry_run": False,
                "registry_id": "here",
                "provider": "p",
                "challenge": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8",
                "platform": PLATFORM.hex(),
                "policy": export_policy(STRICT),
            }
            assert writes.recorded(
                result, result_id=ID, provider="p", challenge=PLATFORM, platform=PLATFORM, policy=STRICT
            ) == dump({**head, **export_result(result)})
            dry: dict[str, Json] = {**head, "id": None, "dry_run": True, "provider": None, "challenge": None}
            assert writes.dry(result, platform=PLATFORM, policy=STRICT) == dump({**dry, **export_result(result)})
    assert {result.tier for result in found.values()} >= {Tier.AFFIRMING, Tier.CONTRAINDICATED}


def test_what_reports_share_is_exported_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever they answer, and whatever a vTPM says."""
    exported: list[AttestationResult] = []

    def export(result: AttestationResult) -> dict[str, Json]:
        exported.append(result)
        return export_result(result)

    monkeypatch.setattr(documents, "export_result", export)
    written, found = Results("here"), reports()
    alike = [found[name] for name in ("report", "report for a key", *(name for name in found if "vTPM" in name))]
    texts = [written.dry(result, platform=PLATFORM, policy=STRICT) for result in alike]
    assert (len(set(texts)), len(exported)) == (5, 1)
    for result, text in zip(alike, texts, strict=True):
        assert dump_digest(result.verified.evidence_id).encode() in text


def test_what_results_share_is_exported_once(monkeypatch: pytest.MonkeyPatch) -> None:
    exported: list[AttestationResult] = []

    def export(result: AttestationResult) -> dict[str, Json]:
        exported.append(result)
        return export_result(result)

    monkeypatch.setattr(documents, "export_result", export)
    results_ = Results("here")
    first, second = appraised(evidence("one")), appraised(evidence("two"), at=AT + timedelta(seconds=1))
    texts = [results_.dry(result, platform=PLATFORM, policy=STRICT) for result in (first, second)]
    assert len(exported) == 1
    for result, text in zip((first, second), texts, strict=True):
        assert dump_digest(result.verified.evidence_id).encode() in text
        assert dump_time(result.at).encode() in text
