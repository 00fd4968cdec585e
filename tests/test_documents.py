"""Documents of results: what is written in pieces is, byte for byte, what would be written whole."""

from datetime import timedelta

import pytest

from attestd.codec import Json, dump_digest, dump_time
from attestd.evidence import Evidence
from attestd.registrar import documents
from attestd.registrar.documents import Results, dump, export_policy
from attestd.result import Tier
from attestd.simulator import AT, DSTACK_BOOT, KeyPair, TdReport, bits, dstack_log
from attestd.verifier import AttestationResult, export_result
from tests.policy import factory
from tests.tdx.baseline import ATTESTER, SGX_COLLATERAL, SGX_QUOTE, quote
from tests.test_verifier import KEY, REGISTRY, STRICT, appraised

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
    }


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
