"""Every case of the evidence through the library: refused or not, and every value that is expected of it."""

import warnings
from datetime import UTC, datetime
from functools import partial
from hashlib import sha256
from typing import Any, Final

import pytest

from attestd.claims import Flag, SnpClaims, TcbVersion, export
from attestd.errors import AttestdError, Reason
from attestd.signature import P384_LIBRARY, P384Library, p384_public_key
from attestd.snp.certtable import CertificateTable, parse_certificate_table
from attestd.snp.report import REPORT_SIZE, parse_report
from attestd.snp.vek import Vek, authenticate_ark_crl, authenticate_vek
from attestd.snp.verify import verify
from attestd.x509 import Certificate, TrustAnchors
from tests.evidence import EVIDENCE, ROOT, SNP_CASES, SnpCase, snp_case, snp_cases
from tests.refusals import malformed, not_authentic, rejected
from tests.snp.baseline import DAY, vek_of, verified_case

# Which reasons say what a failure of the evidence says.
FAILURES: Final[dict[str, set[Reason]]] = {
    "report_size": {Reason.SNP_REPORT_SIZE},
    "report_version_unsupported": {Reason.SNP_REPORT_VERSION},
    "signature_algo_unsupported": {Reason.SNP_SIGNATURE_ALGORITHM},
    "reserved_field_nonzero": {Reason.SNP_RESERVED},
    "policy_reserved_bits": {Reason.SNP_POLICY_RESERVED},
    "key_info_reserved_bits": {Reason.SNP_KEY_INFO},
    "signing_key_unsupported": {Reason.SNP_SIGNING_KEY},
    "report_not_signed": {Reason.SNP_MASK_CHIP_KEY},
    "vmpl_out_of_range": {Reason.SNP_VMPL},
    "signing_key_mismatch": {Reason.SNP_SIGNING_KEY_MISMATCH},
    "certificate_chain_invalid": {Reason.SNP_VEK_CHAIN, Reason.SNP_UNTRUSTED_ROOT},
    "certificate_profile": {Reason.SNP_VEK_PROFILE},
    "certificate_expired": {Reason.SNP_VEK_EXPIRED},
    "certificate_not_yet_valid": {Reason.SNP_VEK_NOT_YET_VALID},
    "certificate_revoked": {Reason.SNP_ASK_REVOKED},
    "certificate_extension_missing": {Reason.SNP_VEK_EXTENSION},
    "certificate_extension_unexpected": {Reason.SNP_VEK_EXTENSION},
    "crl_stale": {Reason.SNP_CRL_EXPIRED},
    "crl_invalid": {Reason.SNP_CRL_SIGNATURE},
    "product_mismatch": {Reason.SNP_PRODUCT_MISMATCH},
    "tcb_mismatch": {Reason.SNP_TCB_MISMATCH},
    "chip_id_mismatch": {Reason.SNP_CHIP_ID_MISMATCH},
    "report_signature_invalid": {Reason.SNP_REPORT_SIGNATURE},
    "tcb_order_invalid": {Reason.SNP_TCB_ORDER},
    "cert_table_malformed": {Reason.SNP_CERT_TABLE},
}


def cases_with(verdict: str, *kinds: str) -> list[Any]:
    """Select by what is expected; where the evidence is absent its skip stays."""
    return [
        case for case in snp_cases(*kinds) if case.values[0] is None or case.values[0].document["verdict"] == verdict
    ]


REPORTS: Final = ("real", "derived", "synthetic")


def test_no_case_is_left_out() -> None:
    for kind, count in SNP_CASES.items():
        cases = snp_cases(kind)
        if cases[0].values[0] is None:
            pytest.skip("no evidence")
        assert len(cases) == count
        assert len({case.id for case in cases}) == count
        assert sum(len(cases_with(verdict, kind)) for verdict in ("accept", "reject", "incomplete")) == count


@pytest.mark.parametrize("case", cases_with("reject", *REPORTS))
def test_refusal(case: SnpCase) -> None:
    document = case.document
    assert document["reject_reason"] in document["all_failures"]
    with pytest.raises(AttestdError) as caught:
        verified_case(case)
    assert caught.value.reason in set[Reason]().union(*(FAILURES[failure] for failure in document["all_failures"]))


@pytest.mark.parametrize("case", cases_with("accept", *REPORTS))
def test_acceptance(case: SnpCase) -> None:
    claims = verified_case(case)
    require_claims(told(claims), case)
    assert claims.crl_checked is (case.crl is not None)
    assert len(claims.endorsement_digests) == 2 + claims.crl_checked
    assert claims.validity.not_before <= case.at <= claims.validity.not_after


@pytest.mark.parametrize("library", P384Library)
def test_the_same_verdicts_by_either_library(library: P384Library, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys as `test_refusal` and `test_acceptance` keep them, each with the verification of one library."""
    if library is P384Library.AWS_LC is not P384_LIBRARY:
        pytest.skip("the extra aws-lc is not installed: one library not seen")
    load = partial(p384_public_key, library=library)
    monkeypatch.setattr("attestd.x509.certificate.p384_public_key", load)
    vek_of.cache_clear()
    found: dict[str, str] = {}
    expected: dict[str, str] = {}
    for case in (*cases_with("accept", *REPORTS), *cases_with("reject", *REPORTS)):
        if case.values[0] is None:
            pytest.skip("no evidence")
        expected[case.id] = case.values[0].document["verdict"]
        try:
            verified_case(case.values[0])
        except AttestdError:
            found[case.id] = "reject"
        else:
            found[case.id] = "accept"
    vek_of.cache_clear()
    assert found == expected


def told(claims: SnpClaims) -> dict[str, Any]:
    """Return the claims as both interfaces show them, with the flags, which stand beside them there."""
    return {**export(claims), "flags": list(claims.flags)}


def require_claims(shown: dict[str, Any], case: SnpCase) -> None:
    """Require that what is shown of a report is all that the evidence says of it."""
    document = case.document
    assert fields(shown) == document["report"]
    assert certificate(shown, case) == expected_certificate(document)
    assert findings(shown) == document["policy_findings"]


def tcb(version: TcbVersion) -> dict[str, int]:
    return {name: spl for name, spl in version._asdict().items() if spl is not None}


def tcb_version(shown: dict[str, int]) -> TcbVersion:
    return TcbVersion(shown.get("fmc"), *(shown[name] for name in ("bootloader", "tee", "snp", "microcode")))


def fields(shown: dict[str, Any]) -> dict[str, Any]:
    """Return what the report says, under the names and in the forms of the evidence."""
    renamed = {"cpuid_family": "cpuid_fam_id", "cpuid_model": "cpuid_mod_id", "cpuid_stepping": "cpuid_step"}
    same = (
        *("version", "guest_svn", "policy", "family_id", "image_id", "vmpl", "platform_info", "report_data"),
        *("measurement", "host_data", "id_key_digest", "author_key_digest", "report_id", "report_id_ma", "chip_id"),
        *("current_tcb", "reported_tcb", "committed_tcb", "launch_tcb", "current_version", "committed_version"),
    )
    cpuid = {} if shown["version"] == 2 else {name: shown[ours] for name, ours in renamed.items()}
    return {name: shown[name] for name in same} | {
        **cpuid,
        "sig_algo": 1,
        "author_key_en": int(shown["author_key_en"]),
        "mask_chip_key": 0,
        "signing_key": shown["signing_key"].upper(),
        "reported_tcb_hex": raw_reported_tcb(tcb_version(shown["reported_tcb"])),
        # Before version 5 these are reserved.
        "launch_mit_vector": shown["launch_mit_vector"] or "0x0",
        "current_mit_vector": shown["current_mit_vector"] or "0x0",
    }


def raw_reported_tcb(version: TcbVersion) -> str:
    if version.fmc is None:
        return bytes((version.bootloader, version.tee, 0, 0, 0, 0, version.snp, version.microcode)).hex()
    return bytes((version.fmc, version.bootloader, version.tee, version.snp, 0, 0, 0, version.microcode)).hex()


def certificate(shown: dict[str, Any], case: SnpCase) -> dict[str, Any]:
    """Return what the certificate says, under the names of the evidence."""
    assert case.vek is not None
    leaf, vek = Certificate(case.vek), shown["vek"]
    return {
        "cn": leaf.common_name,
        "issuer_cn": f"SEV-{'VLEK-' if vek['kind'] == 'vlek' else ''}{vek['product_line']}",
        "product": vek["product_name"],
        **vek["tcb"],
        **({"csp_id": vek["csp_id"]} if vek["hwid"] is None else {"hwid": vek["hwid"]}),
        "not_before": leaf.validity.not_before.isoformat(),
        "not_after": leaf.validity.not_after.isoformat(),
    }


def expected_certificate(document: dict[str, Any]) -> dict[str, Any]:
    # Which encoding was found is not a claim; that the reserved levels are 0 is a condition.
    implied = ("struct", "spl4", "spl5", "spl6", "spl7", "hwid_encoding")
    return {name: value for name, value in document["cert"].items() if name not in implied}


def findings(shown: dict[str, Any]) -> list[str]:
    """Return what the evidence would have a policy see, each from the claim that tells it."""
    current, committed, reported = (tcb_version(shown[f"{name}_tcb"]) for name in ("current", "committed", "reported"))
    policy, platform_info = int(shown["policy"], 16), int(shown["platform_info"], 16)
    same_version = shown["committed_version"] == shown["current_version"]
    provisional = committed != current or not same_version
    assert (Flag.PROVISIONAL_FIRMWARE in shown["flags"]) is provisional
    found = {
        "debug_allowed": Flag.DEBUG in shown["flags"],
        "migrate_ma_allowed": Flag.MIGRATE_MA in shown["flags"],
        "smt_allowed": policy >> 16 & 1,
        "single_socket_not_required": not policy >> 20 & 1,
        "vmpl_nonzero": shown["vmpl"],
        "provisional_tcb_committed_ne_current": committed != current,
        "provisional_version_committed_ne_current": not same_version,
        "reported_below_committed": reported != committed and not reported.covers(committed),
        "reported_below_current": reported != current,
        "launch_below_current": tcb_version(shown["launch_tcb"]) != current,
        "chip_id_masked": Flag.CHIP_ID_MASKED in shown["flags"],
        "id_block_absent": not any(bytes.fromhex(shown["id_key_digest"])),
        "platform_smt_enabled": platform_info & 1,
        "platform_ecc_not_reported": not platform_info >> 2 & 1,
        "platform_info_bit6_set": platform_info >> 6 & 1,
    }
    return [name for name, is_so in found.items() if is_so]


@pytest.mark.parametrize("case", cases_with("incomplete", *REPORTS))
def test_incomplete(case: SnpCase) -> None:
    document = case.document
    if document["reject_reason"] == "report_missing":
        assert (case.vek is None, (case.folder / "report.bin").exists()) == (False, False)
        return
    assert (document["reject_reason"], case.vek) == ("endorsement_certificate_missing", None)
    body = parse_report(case.report).body
    assert {name: getattr(body, name) for name in ("version", "guest_svn", "vmpl")} == {
        name: document["report"][name] for name in ("version", "guest_svn", "vmpl")
    }
    assert (body.chip_id.hex(), body.measurement.hex(), str(body.committed_version)) == tuple(
        document["report"][name] for name in ("chip_id", "measurement", "committed_version")
    )


def test_a_certificate_without_a_report() -> None:
    case = snp_case("real/turin-vcek-only")
    genuine = snp_case("real/turin-v5-aci")
    cert = case.document["cert"]
    assert case.vek is not None
    vek = authenticate_vek(case.vek, case.issuer, genuine.anchors, genuine.at)
    assert tcb(vek.claims.tcb) == {name: cert[name] for name in ("fmc", "bootloader", "tee", "snp", "microcode")}
    assert (vek.claims.hwid, vek.claims.product_name) == (bytes.fromhex(cert["hwid"]), cert["product"])
    window = Certificate(case.vek).validity
    assert [at.astimezone(UTC).isoformat() for at in window] == [cert["nb"], cert["na"]]
    # It is another chip's.
    with not_authentic(Reason.SNP_TCB_MISMATCH):
        verify(parse_report(genuine.report), vek, None, genuine.at)


# ---------------------------------------------------------------------------------------------------------------------
# Chains that verify, with issuers of another role


def test_s14_vcek_from_the_issuer_of_vleks() -> None:
    case = snp_case("synthetic/vcek-issued-by-asvk")
    assert case.vek is not None
    with not_authentic(Reason.SNP_VEK_CHAIN):
        authenticate_vek(case.vek, case.known("genoa_asvk.pem"), case.anchors, case.at)


def test_the_right_leaf_with_a_wrong_issuer() -> None:
    """The other CA of the same root, another product line's, and the root itself."""
    case = snp_case("real/genoa-v3-aci")
    assert case.vek is not None
    for name in ("genoa_asvk.pem", "milan_ask.pem", "genoa_ark.pem"):
        with not_authentic(Reason.SNP_VEK_CHAIN):
            authenticate_vek(case.vek, case.known(name), case.anchors, case.at)


def test_a_ca_in_place_of_the_leaf() -> None:
    case = snp_case("real/genoa-v3-aci")
    with not_authentic(Reason.SNP_VEK_CHAIN):
        authenticate_vek(case.known("genoa_ask.pem"), case.known("genoa_ark.pem"), case.anchors, case.at)


def test_no_root_of_the_product_line() -> None:
    case = snp_case("real/genoa-v3-aci")
    assert case.vek is not None
    milan = TrustAnchors.load_genuine([(ROOT / "certs/amd/ark_milan.der").read_bytes()])
    with not_authentic(Reason.SNP_UNTRUSTED_ROOT):
        authenticate_vek(case.vek, case.issuer, milan, case.at)


@pytest.mark.parametrize(
    ("name", "line", "number", "revoked"),
    [
        ("genoa_vcek_crl_20241023.der", "genoa", 4, {0x020001}),
        ("milan_vcek_crl_20250506.der", "milan", 6, set()),
    ],
)
def test_crl_of_amd(name: str, line: str, number: int, revoked: set[int]) -> None:
    case = snp_case("real/turin-v5-aci")
    crl = (EVIDENCE / "snp/roots" / name).read_bytes()
    roots = {root.common_name: root for root in case.anchors.roots}
    at = datetime(2025, 6, 1, tzinfo=UTC)
    found = authenticate_ark_crl(crl, roots[f"ARK-{line.capitalize()}"], at)
    assert (found.number, set(found.revoked), found.digest) == (number, revoked, sha256(crl).digest())
    for root in roots.values():
        assert found.speaks_for(root) is (root.common_name == f"ARK-{line.capitalize()}")
    with rejected(Reason.SNP_CRL_ISSUER):
        authenticate_ark_crl(crl, roots["ARK-Turin"], at)
    with rejected(Reason.SNP_CRL_EXPIRED):
        authenticate_ark_crl(crl, roots[f"ARK-{line.capitalize()}"], found.validity.not_after + DAY)
    with rejected(Reason.SNP_CRL_NOT_YET_VALID):
        authenticate_ark_crl(crl, roots[f"ARK-{line.capitalize()}"], found.validity.not_before - DAY)
    with rejected(Reason.SNP_CRL_MALFORMED):
        authenticate_ark_crl(crl[:-1], roots[f"ARK-{line.capitalize()}"], at)


# ---------------------------------------------------------------------------------------------------------------------
# Extended reports


def vek_in(table: CertificateTable, case: SnpCase) -> Vek:
    leaf = table.vcek or table.vlek
    assert leaf is not None
    return authenticate_vek(leaf, table.ask or case.issuer, case.anchors, case.at)


@pytest.mark.parametrize("case", cases_with("accept", "cert-tables"))
def test_extended_report(case: SnpCase) -> None:
    document = case.document
    extended = case.read("extended_report.bin")
    assert extended == case.report + case.read("cert_table.bin")
    table = parse_certificate_table(extended[REPORT_SIZE:])
    claims = verify(parse_report(extended[:REPORT_SIZE]), vek_in(table, case), None, case.at)
    assert fields(told(claims)) == document["report"]
    assert findings(told(claims)) == document["policy_findings"]
    assert (table.vlek is None, claims.vek.kind.upper()) == (claims.vek.kind == "vcek", document["key_type"])
    if table.ark is not None:
        assert Certificate(table.ark) == case.anchors.named(Certificate(table.ark).subject)


@pytest.mark.parametrize("case", cases_with("reject", "cert-tables"))
def test_table_that_is_refused(case: SnpCase) -> None:
    assert case.document["reject_reason"] == "cert_table_malformed"
    parse_report(case.report)
    with malformed(*FAILURES["cert_table_malformed"]):
        parse_certificate_table(case.read("cert_table.bin"))


@pytest.mark.parametrize("case", cases_with("incomplete", "cert-tables"))
def test_table_without_a_key(case: SnpCase) -> None:
    assert case.document["reject_reason"] == "endorsement_certificate_missing"
    assert parse_certificate_table(case.read("cert_table.bin")) == CertificateTable(None, None, None, None, None)


# ---------------------------------------------------------------------------------------------------------------------
# Anchors


@pytest.mark.parametrize("case", snp_cases("synthetic"))
def test_nothing_synthetic_below_amd_s_roots(case: SnpCase) -> None:
    anchors = snp_case("real/turin-v5-aci").anchors
    assert anchors.genuine
    assert case.vek is not None
    with pytest.raises(AttestdError):
        authenticate_vek(case.vek, case.issuer, anchors, case.at)


def test_every_certificate_loads_without_a_warning() -> None:
    cases = [case.values[0] for case in snp_cases()]
    if cases[0] is None:
        pytest.skip("no evidence")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        leaves = [Certificate(case.vek) for case in cases if case.vek is not None]
        assert {len(leaf.p384_public_key.point) for leaf in leaves if leaf.serial_number == 0} == {96}
        assert len(leaves) > 80
