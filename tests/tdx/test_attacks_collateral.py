"""Attacks on collateral, one test per row of the catalogue (C01 to C47): everything else is right and signed again.

Not here: C41 (collateral in a POST), C42 (addresses inside certificates) and C44 (a source that lies) are the service's
and the live sources'; rollback (C19, C34, C40) needs the memory of the endorsements folder, and C46 its files. What the
core contributes to those four is here.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

import pytest

from attestd.claims import IntelClaims, PckCa, TcbStatus
from attestd.codec import load_pem
from attestd.errors import Reason
from attestd.policy import AppraisalPolicy, Check, appraise
from attestd.result import Tier
from attestd.simulator import (
    AT,
    TD_QE,
    Attester,
    CertificateForm,
    CrlForm,
    Extension,
    Framing,
    Platform,
    Revoked,
    Signing,
    TdReport,
    TdReport15,
    Vendor,
    append,
    basic_constraints,
    cut,
    flip,
    key_usage,
    p256_key,
    p384_key,
    pem,
    subject_name,
    svns,
    swap,
)
from attestd.simulator.collateral import level
from attestd.simulator.der import explicit, integer, octets, sequence
from attestd.simulator.keys import spki
from attestd.tdx.collateral import MAX_DOCUMENT_SIZE, MAX_LEVELS, Collateral, RawCollateral, authenticate_collateral
from attestd.tdx.quote import parse_quote
from attestd.tdx.verify import verify
from attestd.verifier import Requirement, requirement
from attestd.x509 import MAX_CRL_SIZE, TrustAnchors
from tests.policy import factory
from tests.refusals import malformed, not_authentic, rejected
from tests.tdx.baseline import (
    ANCHORS,
    ATTESTER,
    COLLATERAL,
    MALLORY,
    QUOTE,
    SGX_COLLATERAL,
    SGX_QUOTE,
    VENDOR,
    authenticated,
    pck_chain,
    quote,
    quote_15,
    verified,
)

Document = dict[str, Any]
BASELINE = verified()
SECOND = timedelta(seconds=1)


def tcb_info(edit: Callable[[Document], object] = lambda info: None, **signing: Any) -> RawCollateral:
    """Return the baseline with another TCB Info, signed as such."""
    return replace(COLLATERAL, tcb_info=VENDOR.tcb_info(edit, signing=Signing(**signing)))


def qe_identity(edit: Callable[[Document], object] = lambda identity: None, **signing: Any) -> RawCollateral:
    """Return the baseline with another QE Identity, signed as such."""
    return replace(COLLATERAL, qe_identity=VENDOR.qe_identity(edit, signing=Signing(**signing)))


def authenticate(raw: RawCollateral, at: datetime = AT) -> Collateral:
    return authenticate_collateral(raw, ANCHORS, at)


def same_claims(claims: IntelClaims) -> bool:
    """Whether these are the baseline's claims, but for the digests of the documents."""
    return claims._replace(endorsement_digests=BASELINE.endorsement_digests) == BASELINE


def by(signer: Any, chain: bytes) -> RawCollateral:
    """Return collateral that another key has signed, with the chain that goes with it."""
    raw = replace(VENDOR, tcb_signing=signer).collateral()
    return replace(raw, tcb_info_issuer_chain=chain, qe_identity_issuer_chain=chain)


def test_baseline_is_accepted() -> None:
    assert BASELINE.tcb.status is TcbStatus.UP_TO_DATE
    assert BASELINE.endorsement_digests == COLLATERAL.digests
    collateral = authenticate(COLLATERAL)
    assert (collateral.tee, collateral.fmspc, collateral.pck_ca) == ("tdx", BASELINE.pck.fmspc, PckCa.PLATFORM)


# ---------------------------------------------------------------------------------------------------------------------
# Signatures over the raw bytes


def test_c01_one_byte_changed() -> None:
    with rejected(Reason.TDX_TCB_INFO_SIGNATURE):
        authenticate(tcb_info(after=swap(b"UpToDate", b"UpToDatf")))
    with rejected(Reason.TDX_QE_IDENTITY_SIGNATURE):
        authenticate(qe_identity(after=swap(b"OutOfDate", b"UpToDatee")))


@pytest.mark.parametrize(
    "rewrite",
    [
        json.dumps,
        lambda document: json.dumps(document, indent=1),
        lambda document: json.dumps(document, sort_keys=True, separators=(",", ":")),
        lambda document: json.dumps(document, separators=(",", ":")).replace("UpToDate", "\\u0055pToDate"),
    ],
    ids=["spaces", "lines", "sorted", "escaped"],
)
def test_c02_written_anew(rewrite: Callable[[Document], str]) -> None:
    with rejected(Reason.TDX_TCB_INFO_SIGNATURE):
        authenticate(replace(COLLATERAL, tcb_info=rewrite(json.loads(COLLATERAL.tcb_info)).encode()))


def test_c02_spaces_outside_of_what_is_signed() -> None:
    spaced = swap(b'{"tcbInfo":', b' {\n"tcbInfo" : ')(COLLATERAL.tcb_info).replace(
        b',"signature":', b' , "signature" : '
    )
    assert same_claims(verified(QUOTE, replace(COLLATERAL, tcb_info=spaced + b"\n")))


def test_c03_member_named_twice() -> None:
    twice = b'"tcbStatus":"UpToDate","tcbStatus":"UpToDate"'
    with rejected(Reason.JSON_DUPLICATE_MEMBER):
        authenticate(tcb_info(before=swap(b'"tcbStatus":"UpToDate"', twice)))
    with rejected(Reason.JSON_DUPLICATE_MEMBER):
        authenticate(tcb_info(after=swap(b',"signature"', b',"tcbInfo":{},"signature"')))


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"NaN", Reason.JSON_NUMBER),
        (b"Infinity", Reason.JSON_NUMBER),
        (b"1e999", Reason.JSON_NUMBER),
        (b"20.0", Reason.JSON_NUMBER),
        (b"9" * 5000, Reason.JSON_NUMBER),
        (b'"\\ud800"', Reason.JSON_MALFORMED),
        (b'"\\u0000"', Reason.JSON_MALFORMED),
        (b'"\xff"', Reason.JSON_MALFORMED),
        (b"[" * 100_000 + b"]" * 100_000, Reason.JSON_DEPTH),
        (b"020", Reason.JSON_MALFORMED),
        (b"", Reason.JSON_MALFORMED),
    ],
)
def test_c04_json(value: bytes, reason: Reason) -> None:
    with rejected(reason):
        authenticate(tcb_info(before=swap(b'"tcbEvaluationDataNumber":20', b'"tcbEvaluationDataNumber":' + value)))


@pytest.mark.parametrize(
    "after",
    [
        append(b"x"),
        append(b"{}"),
        lambda raw: b"\xef\xbb\xbf" + raw,
        lambda raw: raw.decode().encode("utf-16"),
        cut(1000),
    ],
)
def test_c04_around_the_json(after: Callable[[bytes], bytes]) -> None:
    with rejected(Reason.JSON_MALFORMED):
        authenticate(tcb_info(after=after))


@pytest.mark.parametrize("empty", [b"", b"[]", b"null", b'"tcbInfo"', b"20"])
def test_c04_no_object(empty: bytes) -> None:
    with rejected(Reason.JSON_MALFORMED):
        authenticate(replace(COLLATERAL, tcb_info=empty))
    for other in (b'{"tcbinfo":{},"signature":""}', b"{}", b'{"tcbInfo":{}}'):
        with rejected(Reason.TDX_TCB_INFO_TYPE):
            authenticate(replace(COLLATERAL, tcb_info=other))


def test_c04_size() -> None:
    with rejected(Reason.TDX_TCB_INFO_MALFORMED):
        authenticate(replace(COLLATERAL, tcb_info=b" " * (MAX_DOCUMENT_SIZE + 1)))
    with rejected(Reason.TDX_QE_IDENTITY_MALFORMED):
        authenticate(replace(COLLATERAL, qe_identity=b" " * (MAX_DOCUMENT_SIZE + 1)))
    padded = COLLATERAL.tcb_info.ljust(MAX_DOCUMENT_SIZE)
    assert same_claims(verified(QUOTE, replace(COLLATERAL, tcb_info=padded)))
    with rejected(Reason.TDX_TCB_INFO_MALFORMED):
        authenticate(replace(COLLATERAL, tcb_info=padded + b" "))


def first_tcb(info: Document) -> Document:
    tcb: Document = info["tcbLevels"][0]["tcb"]
    return tcb


@pytest.mark.parametrize(
    "edit",
    [
        lambda info: first_tcb(info).update(pcesvn="13"),
        lambda info: first_tcb(info).update(pcesvn=True),
        lambda info: first_tcb(info).update(pcesvn=None),
        lambda info: first_tcb(info).update(pcesvn=-1),
        lambda info: first_tcb(info).update(pcesvn=65536),
        lambda info: first_tcb(info).pop("pcesvn"),
        lambda info: first_tcb(info)["sgxtcbcomponents"][3].update(svn=256),
        lambda info: first_tcb(info)["sgxtcbcomponents"][3].update(svn="2"),
        lambda info: first_tcb(info)["sgxtcbcomponents"][3].pop("svn"),
        lambda info: first_tcb(info)["sgxtcbcomponents"].pop(),
        lambda info: first_tcb(info)["sgxtcbcomponents"].append({"svn": 0}),
        lambda info: first_tcb(info)["tdxtcbcomponents"].pop(),
        lambda info: first_tcb(info).pop("tdxtcbcomponents"),
        lambda info: first_tcb(info).update(sgxtcbcomponents=[0] * 16),
        lambda info: info.update(tcbEvaluationDataNumber="20"),
        lambda info: info.update(tcbEvaluationDataNumber=2**32),
        lambda info: info.pop("tcbEvaluationDataNumber"),
        lambda info: info.update(fmspc="f0516d0000"),
        lambda info: info.update(fmspc="f0516d00000g"),
        lambda info: info.update(pceId=0),
        lambda info: info.update(issueDate="2026-05-25"),
        lambda info: info.update(issueDate=1779667200),
        lambda info: info.pop("nextUpdate"),
        lambda info: info["tcbLevels"][0].update(tcbDate="2026-02-30T00:00:00Z"),
        lambda info: info["tcbLevels"][0].update(advisoryIDs="INTEL-SA-00001"),
        lambda info: info["tcbLevels"][0].update(advisoryIDs=[1]),
        lambda info: info["tcbLevels"][0].update(advisoryIDs=[""]),
        lambda info: info["tcbLevels"][0].update(tcb=[]),
        lambda info: info["tdxModule"].pop("mrsigner"),
        lambda info: info["tdxModule"].update(attributes="00"),
        lambda info: info["tdxModule"].update(attributesMask=None),
        lambda info: info["tdxModuleIdentities"][0].pop("id"),
        lambda info: info["tdxModuleIdentities"][0].pop("mrsigner"),
        lambda info: info["tdxModuleIdentities"][0]["tcbLevels"][0]["tcb"].update(isvsvn="3"),
        lambda info: info["tdxModuleIdentities"][0].update(tcbLevels=[]),
        lambda info: info.update(tdxModuleIdentities={}),
    ],
)
def test_c05_types(edit: Callable[[Document], object]) -> None:
    with rejected(Reason.TDX_TCB_INFO_MALFORMED):
        authenticate(tcb_info(edit))


def test_c06_unknown_and_missing_members() -> None:
    def unknown(info: Document) -> None:
        info["ofTheFuture"] = info["tdxModule"]["x"] = info["tcbLevels"][0]["y"] = {"z": [1]}

    assert same_claims(verified(QUOTE, tcb_info(unknown)))
    assert same_claims(verified(QUOTE, qe_identity(lambda identity: identity.update(ofTheFuture=1))))
    with rejected(Reason.TDX_TCB_INFO_MALFORMED):
        authenticate(tcb_info(lambda info: info.pop("tdxModule")))
    # Outside of what is signed nothing is passed over.
    with rejected(Reason.TDX_TCB_INFO_TYPE):
        authenticate(tcb_info(after=swap(b',"signature"', b',"ofTheFuture":1,"signature"')))


def resigned(edit: Callable[[str], object]) -> RawCollateral:
    document = COLLATERAL.tcb_info
    start = document.rindex(b'"', 0, -2) + 1
    signature = json.dumps(edit(document[start:-2].decode())).encode()
    return replace(COLLATERAL, tcb_info=document[: start - 1] + signature + b"}")


@pytest.mark.parametrize(
    "edit",
    [
        lambda signature: signature[:-2],
        lambda signature: signature[:-1],
        lambda signature: signature + "00",
        lambda signature: "0" * 128,
        lambda signature: "",
        lambda signature: "0x" + signature[2:],
        lambda signature: None,
        lambda signature: 0,
        lambda signature: [signature],
        lambda signature: "30440220" + signature[:64] + "0220" + signature[64:],
    ],
)
def test_c07_signature(edit: Callable[[str], object]) -> None:
    assert resigned(lambda signature: signature) == COLLATERAL
    with rejected(Reason.TDX_TCB_INFO_SIGNATURE):
        authenticate(resigned(edit))


def test_c07_signature_in_upper_case() -> None:
    assert same_claims(verified(QUOTE, resigned(str.upper)))


# ---------------------------------------------------------------------------------------------------------------------
# Who signed


def test_c08_signed_by_another_role() -> None:
    chain, root = Reason.TDX_TCB_SIGNING_CHAIN, VENDOR.root.der
    for signer, below in (
        (ATTESTER.pck, pem(*ATTESTER.pck_chain)),
        (ATTESTER.pck, pem(ATTESTER.pck.der, root)),
        (VENDOR.platform_ca, pem(VENDOR.platform_ca.der, root)),
        (VENDOR.root, pem(root)),
        (VENDOR.root, pem(root, root)),
    ):
        with rejected(chain):
            authenticate(by(signer, below))


@pytest.mark.parametrize("name", ["SGX TCB Signing", "Intel SGX TCB Signing"])
def test_c08_look_alike_under_the_platform_ca(name: str) -> None:
    look_alike = VENDOR.issue_pck(Platform(), lambda form: replace(form, subject=subject_name(name)))
    for chain in (
        (look_alike.der, VENDOR.root.der),
        (look_alike.der, VENDOR.platform_ca.der),
        (look_alike.der, VENDOR.platform_ca.der, VENDOR.root.der),
    ):
        with rejected(Reason.TDX_TCB_SIGNING_CHAIN):
            authenticate(by(look_alike, pem(*chain)))


@pytest.mark.parametrize(
    "edit",
    [
        lambda form: replace(form, not_after=AT - SECOND),
        lambda form: replace(form, not_before=AT + SECOND),
        lambda form: replace(form, subject=subject_name("SGX TDB Signing")),
        lambda form: form.having(basic_constraints(ca=True)),
        lambda form: form.having(Extension("1.2.3.4", b"\x05\0", critical=True)),
    ],
    ids=["expired", "of the future", "other name", "CA", "unknown critical extension"],
)
def test_c08_signing_certificate(edit: Callable[[Any], Any]) -> None:
    with rejected(Reason.TDX_TCB_SIGNING_CHAIN):
        authenticate(VENDOR.reissue("tcb_signing", edit).collateral())


def test_c08_only_one_of_the_two_signers() -> None:
    # TCB Info has the genuine chain, QE Identity one of its own.
    other = by(ATTESTER.pck, pem(*ATTESTER.pck_chain))
    with rejected(Reason.TDX_TCB_SIGNING_CHAIN):
        authenticate(
            replace(
                COLLATERAL,
                qe_identity=other.qe_identity,
                qe_identity_issuer_chain=other.qe_identity_issuer_chain,
            )
        )
    # Two genuine signing certificates at one time are as Intel has it.
    renewed = VENDOR.reissue("tcb_signing", key=p256_key("attestd", "tcb signing, renewed")).collateral()
    both = replace(
        COLLATERAL, qe_identity=renewed.qe_identity, qe_identity_issuer_chain=renewed.qe_identity_issuer_chain
    )
    assert same_claims(verified(QUOTE, both))


def test_c08_key_of_another_kind() -> None:
    p384 = VENDOR.reissue("tcb_signing", lambda form: replace(form, spki=spki(p384_key("attestd", "signer"))))
    with rejected(Reason.DER_MALFORMED):
        authenticate(replace(COLLATERAL, tcb_info_issuer_chain=p384.tcb_signing_chain()))


def test_c09_document_of_another_kind() -> None:
    with rejected(Reason.TDX_TCB_INFO_TYPE):
        verified(QUOTE, replace(COLLATERAL, tcb_info=VENDOR.tcb_info(tee="sgx")))
    with rejected(Reason.TDX_TCB_INFO_TYPE):
        verified(SGX_QUOTE, replace(SGX_COLLATERAL, tcb_info=VENDOR.tcb_info()))


@pytest.mark.parametrize(
    "edit", [{"id": "tdx"}, {"id": "TD_QE"}, {"id": "QE"}, {"version": 2}, {"version": 4}, {"tcbType": 1}]
)
def test_c09_id_version_and_type(edit: Document) -> None:
    with rejected(Reason.TDX_TCB_INFO_TYPE):
        authenticate(tcb_info(lambda info: info.update(edit)))


def test_c09_id_of_the_other_tee() -> None:
    with rejected(Reason.TDX_TCB_INFO_TYPE):
        verified(QUOTE, tcb_info(lambda info: info.update(id="SGX")))


def test_c09_id_and_version_swapped() -> None:
    with rejected(Reason.TDX_TCB_INFO_MALFORMED):
        authenticate(tcb_info(lambda info: info.update(id=3, version="TDX")))


def test_c10_qe_identity_as_tcb_info() -> None:
    with rejected(Reason.TDX_TCB_INFO_TYPE):
        authenticate(replace(COLLATERAL, tcb_info=COLLATERAL.qe_identity))
    with rejected(Reason.TDX_QE_IDENTITY_TYPE):
        authenticate(replace(COLLATERAL, qe_identity=COLLATERAL.tcb_info))
    # Under the other name its own signature still verifies, but it names itself another document.
    with rejected(Reason.TDX_TCB_INFO_TYPE):
        authenticate(replace(COLLATERAL, tcb_info=swap(b"enclaveIdentity", b"tcbInfo")(COLLATERAL.qe_identity)))


def test_c11_qe_identity_without_signature() -> None:
    unsigned = COLLATERAL.qe_identity[: COLLATERAL.qe_identity.rindex(b',"signature"')] + b"}"
    with rejected(Reason.TDX_QE_IDENTITY_TYPE):
        authenticate(replace(COLLATERAL, qe_identity=unsigned))
    with rejected(Reason.TDX_QE_IDENTITY_SIGNATURE):
        authenticate(qe_identity(signature=bytes(64)))
    with rejected(Reason.TDX_QE_IDENTITY_SIGNATURE):
        authenticate(qe_identity(key=p256_key("mallory", "tcb_signing")))
    theirs = MALLORY.collateral()
    for chain in (theirs.qe_identity_issuer_chain, pem(*load_pem(theirs.qe_identity_issuer_chain)[:1])):
        with rejected(Reason.TDX_UNTRUSTED_ROOT, Reason.TDX_TCB_SIGNING_CHAIN):
            authenticate(replace(COLLATERAL, qe_identity=theirs.qe_identity, qe_identity_issuer_chain=chain))


@pytest.mark.parametrize("edit", [{"id": "QVE"}, {"id": "td_qe"}, {"version": 1}, {"version": 3}])
def test_c12_identity_of_another_enclave(edit: Document) -> None:
    with rejected(Reason.TDX_QE_IDENTITY_TYPE):
        authenticate(qe_identity(lambda identity: identity.update(edit)))


def test_c12_identity_of_the_other_quoting_enclave() -> None:
    with rejected(Reason.TDX_QE_IDENTITY_TYPE):
        verified(QUOTE, replace(COLLATERAL, qe_identity=VENDOR.qe_identity(tee="sgx")))
    with rejected(Reason.TDX_QE_IDENTITY_TYPE):
        verified(SGX_QUOTE, replace(SGX_COLLATERAL, qe_identity=VENDOR.qe_identity()))


@pytest.mark.parametrize(
    "edit",
    [
        {"mrsigner": ""},
        {"mrsigner": TD_QE.mrsigner.hex()[:62]},
        {"mrsigner": None},
        {"attributesMask": "00" * 16},
        {"miscselectMask": "00" * 4},
        {"attributesMask": "FF" * 17},  # C14 from here on
        {"attributesMask": "F" * 31},
        {"attributes": "11" * 15},
        {"miscselect": "0x000000"},
        {"miscselectMask": "FF" * 5},
        {"isvprodid": 65536},
        {"isvprodid": "2"},
        {"tcbLevels": []},
        {"tcbLevels": {}},
        {"tcbLevels": [level({"isvsvn": 6}, "2026-02-11T00:00:00Z", "UpToDate")] * 2},
        {"tcbLevels": [level({"isvsvn": 6}, "2026-02-11T00:00:00Z", "SWHardeningNeeded")]},
        {"tcbLevels": [level({}, "2026-02-11T00:00:00Z", "UpToDate")]},
    ],
)
def test_c13_c14_fields_of_the_qe_identity(edit: Document) -> None:
    with rejected(Reason.TDX_QE_IDENTITY_MALFORMED):
        authenticate(qe_identity(lambda identity: identity.update(edit)))


# ---------------------------------------------------------------------------------------------------------------------
# Levels


def test_c15_levels() -> None:
    def reverse(info: Document) -> None:
        info["tcbLevels"].reverse()
        info["tdxModuleIdentities"].reverse()
        info["tdxModuleIdentities"][0]["tcbLevels"].reverse()

    assert same_claims(verified(QUOTE, tcb_info(reverse)))
    assert same_claims(verified(QUOTE, qe_identity(lambda identity: identity["tcbLevels"].reverse())))
    for edit in (
        lambda info: info.update(tcbLevels=[]),
        lambda info: info.pop("tcbLevels"),
        lambda info: info["tcbLevels"].append(info["tcbLevels"][0]),
        lambda info: info["tcbLevels"].append({**info["tcbLevels"][0], "tcbStatus": "Revoked"}),
        lambda info: info["tcbLevels"].extend(info["tcbLevels"] * MAX_LEVELS),
        lambda info: info["tdxModuleIdentities"].append({**info["tdxModuleIdentities"][1], "id": "tdx_01"}),
    ):
        with rejected(Reason.TDX_TCB_INFO_MALFORMED):
            authenticate(tcb_info(edit))


def test_c16_revoked_and_forged() -> None:
    revoked = b'"tcbStatus":"Revoked "'
    with rejected(Reason.TDX_QE_IDENTITY_SIGNATURE):
        authenticate(qe_identity(after=swap(b'"tcbStatus":"UpToDate"', revoked)))


def set_status(status: str, which: int = 0) -> Callable[[Document], object]:
    return lambda document: document["tcbLevels"][which].update(tcbStatus=status)


@pytest.mark.parametrize(
    "status",
    [
        "Fine",
        "UpToDate ",
        "uptodate",
        "UPTODATE",
        "",
        "TDRelaunchAdvised",
        "TDRelaunchAdvisedConfigurationNeeded",
        None,
        0,
    ],
)
def test_c20_unknown_status(status: Any) -> None:
    for which in range(3):
        with rejected(Reason.TDX_TCB_INFO_MALFORMED):
            authenticate(tcb_info(set_status(status, which)))
        with rejected(Reason.TDX_QE_IDENTITY_MALFORMED):
            authenticate(qe_identity(set_status(status, which)))
    with rejected(Reason.TDX_TCB_INFO_MALFORMED):
        authenticate(tcb_info(lambda info: set_status(status)(info["tdxModuleIdentities"][0])))


def test_c21_advisories_beside_up_to_date() -> None:
    documented = tcb_info(lambda info: info["tcbLevels"][0].update(advisoryIDs=["INTEL-DOC-10000", "INTEL-SA-1"]))
    tcb = verified(QUOTE, documented).tcb
    assert (tcb.status, tcb.advisory_ids) == (TcbStatus.UP_TO_DATE, ("INTEL-DOC-10000", "INTEL-SA-1"))


def test_c21_advisories_in_order_and_once() -> None:
    def advisories(info: Document) -> None:
        info["tcbLevels"][0]["advisoryIDs"] = ["INTEL-SA-3", "INTEL-SA-1"]
        info["tdxModuleIdentities"][1]["tcbLevels"][0]["advisoryIDs"] = ["INTEL-SA-2", "INTEL-SA-3"]

    raw = replace(
        tcb_info(advisories),
        qe_identity=qe_identity(
            lambda identity: identity["tcbLevels"][0].update(advisoryIDs=["INTEL-SA-0", "INTEL-SA-1"])
        ).qe_identity,
    )
    assert verified(QUOTE, raw).tcb.advisory_ids == ("INTEL-SA-3", "INTEL-SA-1", "INTEL-SA-2", "INTEL-SA-0")


def test_c22_module_revoked() -> None:
    revoked = TdReport(tee_tcb_svn=bytes(svns(2, 1, 3)))
    with not_authentic(Reason.TDX_TCB_REVOKED):
        verified(quote(revoked))


STATUSES = {
    "UpToDate": "OutOfDate",
    "SWHardeningNeeded": "OutOfDate",
    "ConfigurationNeeded": "OutOfDateConfigurationNeeded",
    "ConfigurationAndSWHardeningNeeded": "OutOfDateConfigurationNeeded",
    "OutOfDate": "OutOfDate",
    "OutOfDateConfigurationNeeded": "OutOfDateConfigurationNeeded",
}


@pytest.mark.parametrize(("platform", "converged"), STATUSES.items())
def test_c23_convergence(platform: str, converged: str) -> None:
    raw = tcb_info(set_status(platform))
    assert verified(QUOTE, raw).tcb.status == platform
    old_qe = verified(quote(qe=replace(TD_QE, isvsvn=4)), raw).tcb
    assert (old_qe.status, old_qe.qe_status, old_qe.tdx_level_status) == (converged, "OutOfDate", platform)
    old_module = verified(quote(TdReport(tee_tcb_svn=bytes(svns(4, 1, 3)))), raw).tcb
    assert (old_module.status, old_module.tdx_module_status) == (converged, "OutOfDate")


def test_c23_revoked_platform() -> None:
    with not_authentic(Reason.TDX_TCB_REVOKED):
        verified(QUOTE, tcb_info(set_status("Revoked")))


def test_c24_level_of_sgx_alone() -> None:
    # The best level of the SGX part, whose TDX components are not reached, does not judge a TD.
    below = TdReport(tee_tcb_svn=bytes(svns(6, 1, 2)))
    raw = tcb_info(lambda info: (set_status("Revoked", 0)(info), set_status("UpToDate", 1)(info)))
    tcb = verified(quote(below), raw).tcb
    assert (tcb.status, tcb.sgx_level_status, tcb.tdx_level_status) == ("UpToDate", "Revoked", "UpToDate")
    # The reverse: SGX alone is up to date.
    with not_authentic(Reason.TDX_TCB_REVOKED):
        verified(quote(below), tcb_info(set_status("Revoked", 1)))


# A TD that was launched under an old module, on a platform that runs a new one by now.
OLD_MODULE, NEW_MODULE = bytes(svns(4, 1, 3)), bytes(svns(6, 1, 3))


def relaunch(raw: RawCollateral = COLLATERAL, tee_tcb_svn: bytes = OLD_MODULE, svn2: bytes = NEW_MODULE) -> str:
    return verified(quote_15(tee_tcb_svn=tee_tcb_svn, tee_tcb_svn2=svn2), raw).tcb.status


@pytest.mark.parametrize(
    ("platform", "advised"),
    [
        ("UpToDate", "TDRelaunchAdvised"),
        ("SWHardeningNeeded", "TDRelaunchAdvised"),
        ("ConfigurationNeeded", "TDRelaunchAdvisedConfigurationNeeded"),
        ("ConfigurationAndSWHardeningNeeded", "TDRelaunchAdvisedConfigurationNeeded"),
        ("OutOfDate", "OutOfDate"),
        ("OutOfDateConfigurationNeeded", "OutOfDateConfigurationNeeded"),
    ],
)
def test_c25_relaunch(platform: str, advised: str) -> None:
    assert relaunch(tcb_info(set_status(platform))) == advised


def test_c25_relaunch_of_another_level() -> None:
    # SGX at the newest level, the TD's own components at an older one.
    assert relaunch(tee_tcb_svn=bytes(svns(4, 1, 2))) == "TDRelaunchAdvised"
    configuration = tcb_info(set_status("OutOfDateConfigurationNeeded", 1))
    assert relaunch(configuration, bytes(svns(4, 1, 2))) == "TDRelaunchAdvisedConfigurationNeeded"


def test_c25_relaunch_saves_no_revoked_level() -> None:
    with not_authentic(Reason.TDX_TCB_REVOKED):
        relaunch(tcb_info(set_status("Revoked", 1)), bytes(svns(4, 1, 2)))


def test_c25_relaunch_of_version_0() -> None:
    # The newest level says what version 0 must have: components 0 and 2.
    for svn2, status in (
        (svns(5, 0, 3), "TDRelaunchAdvised"),
        (svns(4, 0, 3), "OutOfDate"),
        (svns(5, 0, 2), "OutOfDate"),
    ):
        assert relaunch(svn2=bytes(svn2)) == status


@pytest.mark.parametrize(
    "svn2",
    [svns(5, 1, 3), svns(6, 1, 2), svns(6, 7, 3), svns(2, 3, 3)],
    ids=["module old", "component 2 old", "module unknown", "other module old"],
)
def test_c25_relaunch_would_not_help(svn2: tuple[int, ...]) -> None:
    assert relaunch(svn2=bytes(svn2)) == "OutOfDate"


def test_c25_relaunch_is_not_all() -> None:
    out_of_date = ATTESTER.quote(TdReport15(tee_tcb_svn=OLD_MODULE), Framing(qe=replace(TD_QE, isvsvn=4)))
    assert verified(out_of_date).tcb.status is TcbStatus.OUT_OF_DATE
    # In TD 1.0 reports nothing says which module runs now.
    assert verified(quote(TdReport(tee_tcb_svn=OLD_MODULE))).tcb.status is TcbStatus.OUT_OF_DATE
    # An up-to-date module needs no relaunch, whatever the level says.
    assert relaunch(tee_tcb_svn=bytes(svns(6, 1, 2))) == "OutOfDate"


# ---------------------------------------------------------------------------------------------------------------------
# Time


def dated(document: Document, issued: datetime, until: datetime) -> None:
    document.update(issueDate=f"{issued:%Y-%m-%dT%H:%M:%SZ}", nextUpdate=f"{until:%Y-%m-%dT%H:%M:%SZ}")


@pytest.mark.parametrize(
    ("make", "expired", "not_yet_valid"),
    [
        (tcb_info, Reason.TDX_TCB_INFO_EXPIRED, Reason.TDX_TCB_INFO_NOT_YET_VALID),
        (qe_identity, Reason.TDX_QE_IDENTITY_EXPIRED, Reason.TDX_QE_IDENTITY_NOT_YET_VALID),
    ],
)
def test_c17_c18_dates_of_documents(make: Callable[..., RawCollateral], expired: Reason, not_yet_valid: Reason) -> None:
    # Both ends are included: issued now and ending now is a window of one second.
    now = make(lambda document: dated(document, AT, AT))
    assert verified(QUOTE, now).validity.not_after == AT
    with rejected(expired):
        authenticate(now, AT + SECOND)
    with rejected(not_yet_valid):
        authenticate(now, AT - SECOND)
    with rejected(expired):
        authenticate(now, AT + timedelta(microseconds=1))
    # Issued after its own end: a window that nothing lies in.
    for at in (AT - 2 * SECOND, AT, AT + 2 * SECOND):
        with rejected(expired, not_yet_valid):
            authenticate(make(lambda document: dated(document, AT + SECOND, AT - SECOND)), at)


def test_c17_c18_dates_of_authenticated_collateral() -> None:
    parsed, key = authenticated(QUOTE)
    collateral = authenticate(COLLATERAL)
    until = collateral.validity.not_after
    assert (collateral.validity.not_before, until) == (VENDOR.issued, VENDOR.next_update)
    assert verify(parsed, key, collateral, until) == verify(parsed, key, collateral, VENDOR.issued) == BASELINE
    with rejected(Reason.TDX_TCB_INFO_EXPIRED):
        verify(parsed, key, collateral, until + SECOND)
    with rejected(Reason.TDX_TCB_INFO_NOT_YET_VALID):
        verify(parsed, key, collateral, VENDOR.issued - SECOND)


def short(form: Any) -> Any:
    """Let a certificate or a CRL end sooner than everything else."""
    return replace(form, not_after=AT) if hasattr(form, "not_after") else replace(form, next_update=AT)


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (tcb_info(lambda info: dated(info, VENDOR.issued, AT)), Reason.TDX_TCB_INFO_EXPIRED),
        (qe_identity(lambda identity: dated(identity, VENDOR.issued, AT)), Reason.TDX_QE_IDENTITY_EXPIRED),
        (VENDOR.collateral(root_ca_crl=VENDOR.root_ca_crl(edit=short)), Reason.TDX_ROOT_CRL_EXPIRED),
        (VENDOR.collateral(pck_crl=VENDOR.pck_crl(edit=short)), Reason.TDX_PCK_CRL_EXPIRED),
        (VENDOR.reissue("tcb_signing", short).collateral(), Reason.TDX_TCB_SIGNING_CHAIN),
        (
            replace(COLLATERAL, qe_identity_issuer_chain=VENDOR.reissue("tcb_signing", short).tcb_signing_chain()),
            Reason.TDX_TCB_SIGNING_CHAIN,
        ),
        (VENDOR.reissue("platform_ca", short).collateral(), Reason.TDX_PCK_CRL_CHAIN),
    ],
    ids=["TCB Info", "QE Identity", "root CRL", "PCK CRL", "signer", "signer of QE Identity", "issuer of PCK CRL"],
)
def test_c47_clock_moves_on_while_collateral_is_kept(raw: RawCollateral, reason: Reason) -> None:
    parsed, key = authenticated(QUOTE)
    collateral = authenticate(raw)
    assert collateral.validity.not_after == AT
    assert same_claims(verify(parsed, key, collateral, AT)._replace(validity=BASELINE.validity))
    with rejected(reason):
        verify(parsed, key, collateral, AT + SECOND)
    with rejected(reason):
        authenticate(raw, AT + SECOND)


@pytest.mark.parametrize("at", [datetime(1970, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)])
def test_c47_clock_far_off(at: datetime) -> None:
    expired = at > AT
    with rejected(Reason.TDX_TCB_SIGNING_CHAIN):
        authenticate(COLLATERAL, at)
    with not_authentic(Reason.TDX_PCK_EXPIRED if expired else Reason.TDX_PCK_NOT_YET_VALID):
        pck_chain(pem(*ATTESTER.pck_chain), ANCHORS, at)
    # Authenticated before the clock jumped.
    parsed, key = authenticated(QUOTE)
    with not_authentic(Reason.TDX_PCK_EXPIRED if expired else Reason.TDX_PCK_NOT_YET_VALID):
        verify(parsed, key, authenticate(COLLATERAL), at)


def test_c47_pck_expires_while_it_is_kept() -> None:
    short_lived = Attester.of(VENDOR, edit=short)
    parsed, key = authenticated(short_lived.quote())
    assert verify(parsed, key, authenticate(COLLATERAL), AT).validity.not_after == AT
    with not_authentic(Reason.TDX_PCK_EXPIRED):
        verify(parsed, key, authenticate(COLLATERAL), AT + SECOND)
    with not_authentic(Reason.TDX_PCK_EXPIRED):
        authenticated(short_lived.quote(), at=AT + SECOND)


def test_c47_pck_begins_while_it_is_kept() -> None:
    begins = Attester.of(VENDOR, edit=lambda form: replace(form, not_before=AT))
    parsed, key = authenticated(begins.quote())
    assert verify(parsed, key, authenticate(COLLATERAL), AT).validity.not_before == AT
    with not_authentic(Reason.TDX_PCK_NOT_YET_VALID):
        verify(parsed, key, authenticate(COLLATERAL), AT - SECOND)


def policy_findings(claims: IntelClaims, policy: AppraisalPolicy, collateral: Collateral) -> list[str]:
    issued = min(collateral.tcb_info.validity.not_before, collateral.qe_identity.validity.not_before)
    facts = factory.BARE._replace(collateral_issued_at=issued)
    return [one.check for one in appraise(policy, claims, facts, AT).findings if one.outcome is not Tier.AFFIRMING]


@pytest.mark.parametrize(("info", "identity"), [(19, 20), (20, 19)])
def test_c19_evaluation_data_numbers(info: int, identity: int) -> None:
    raw = replace(
        tcb_info(lambda document: document.update(tcbEvaluationDataNumber=info)),
        qe_identity=VENDOR.qe_identity(lambda document: document.update(tcbEvaluationDataNumber=identity)),
    )
    claims = verified(QUOTE, raw)
    tcb = claims.tcb
    assert (tcb.tcb_info_evaluation_data_number, tcb.qe_identity_evaluation_data_number) == (info, identity)
    assert tcb.tcb_evaluation_data_number == authenticate(raw).tcb_evaluation_data_number == 19
    for least, findings in ((19, []), (20, [Check.TCB_EVALUATION_DATA_NUMBER])):
        policy = factory.load(edits={"tdx.tcb.min_evaluation_data_number": str(least)})
        assert policy_findings(claims, policy, authenticate(raw)) == findings


def test_c40_old_but_signed() -> None:
    issued = AT - timedelta(days=29)
    old = qe_identity(lambda identity: dated(identity, issued, AT + timedelta(days=1)))
    week = factory.load(edits={"max_collateral_age_seconds": str(7 * 86400)})
    month = factory.load(edits={"max_collateral_age_seconds": str(30 * 86400)})
    assert policy_findings(verified(QUOTE, old), week, authenticate(old)) == [Check.COLLATERAL_AGE]
    assert policy_findings(verified(QUOTE, old), month, authenticate(old)) == []


# ---------------------------------------------------------------------------------------------------------------------
# Revocation lists


def with_pck_crl(
    *revoked: int | Revoked, edit: Callable[[CrlForm], CrlForm] = lambda form: form, **signing: Any
) -> RawCollateral:
    return replace(COLLATERAL, pck_crl=VENDOR.pck_crl(revoked, edit=edit, signing=Signing(**signing)))


def test_c30_revoked() -> None:
    others = (1, 2, ATTESTER.pck.serial_number + 1)
    assert same_claims(verified(QUOTE, with_pck_crl(*others)))
    with not_authentic(Reason.TDX_PCK_REVOKED):
        verified(QUOTE, with_pck_crl(*others, ATTESTER.pck.serial_number))


@pytest.mark.parametrize(
    ("role", "reason"),
    [
        ("platform_ca", Reason.TDX_PCK_CA_REVOKED),
        ("tcb_signing", Reason.TDX_TCB_SIGNING_REVOKED),
        ("root", Reason.TDX_UNTRUSTED_ROOT),
    ],
)
def test_c30_revoked_by_the_root(role: str, reason: Reason) -> None:
    crl = VENDOR.root_ca_crl([1, getattr(VENDOR, role).serial_number])
    with rejected(reason):
        authenticate(replace(COLLATERAL, root_ca_crl=crl))


def test_c30_revoked_leaf_behind_another_issuer() -> None:
    # With the other CA in the second place its list would be asked, which knows nothing of this leaf.
    leaf, ca, _ = ATTESTER.pck_chain
    hidden = quote(cert_data=pem(leaf, VENDOR.processor_ca.der, ca))
    with not_authentic(Reason.TDX_PCK_CHAIN):
        verified(hidden, VENDOR.collateral(ca=PckCa.PROCESSOR))


def test_c30_second_signer_revoked() -> None:
    renewed = VENDOR.reissue("tcb_signing", key=p256_key("attestd", "tcb signing, renewed"))
    raw = replace(
        COLLATERAL,
        qe_identity=renewed.qe_identity(),
        qe_identity_issuer_chain=renewed.tcb_signing_chain(),
        root_ca_crl=VENDOR.root_ca_crl([renewed.tcb_signing.serial_number]),
    )
    with rejected(Reason.TDX_TCB_SIGNING_REVOKED):
        authenticate(raw)


def test_c30_issuer_of_the_pck_revoked_where_the_issuer_of_the_crl_is_not() -> None:
    # A CA certificate that was renewed for the same key: the old one is revoked, the CRL comes with the new one.
    renewed = VENDOR.reissue("platform_ca", lambda form: replace(form, serial_number=12345))
    raw = replace(
        COLLATERAL,
        pck_crl_issuer_chain=renewed.pck_ca_chain(),
        root_ca_crl=VENDOR.root_ca_crl([VENDOR.platform_ca.serial_number]),
    )
    with not_authentic(Reason.TDX_PCK_CA_REVOKED):
        verified(QUOTE, raw)
    assert same_claims(verified(QUOTE, replace(raw, root_ca_crl=COLLATERAL.root_ca_crl)))


@pytest.mark.parametrize(
    "empty", [b"", b"\0", b"\x30\0", b"\x30\x03\x02\x01\x01", b"<html>", b"{}", b"3000", b"\xff" * 64]
)
def test_c31_no_crl(empty: bytes) -> None:
    with rejected(Reason.TDX_PCK_CRL_MALFORMED):
        authenticate(replace(COLLATERAL, pck_crl=empty))
    with rejected(Reason.TDX_ROOT_CRL_MALFORMED):
        authenticate(replace(COLLATERAL, root_ca_crl=empty))


def test_c31_empty_list_with_a_bad_signature() -> None:
    with rejected(Reason.TDX_PCK_CRL_SIGNATURE):
        authenticate(with_pck_crl(signature=bytes(63) + b"\x01"))
    with rejected(Reason.TDX_PCK_CRL_SIGNATURE):
        authenticate(with_pck_crl(key=p256_key("mallory", "platform_ca")))
    with rejected(Reason.TDX_ROOT_CRL_SIGNATURE):
        authenticate(replace(COLLATERAL, root_ca_crl=VENDOR.root_ca_crl(signing=Signing(key=VENDOR.platform_ca.key))))


def test_c32_another_ca_of_that_name() -> None:
    with rejected(Reason.TDX_PCK_CRL_ISSUER):
        authenticate(replace(COLLATERAL, pck_crl=MALLORY.pck_crl()))
    with rejected(Reason.TDX_ROOT_CRL_ISSUER):
        authenticate(replace(COLLATERAL, root_ca_crl=MALLORY.root_ca_crl()))
    # With its chain, which ends in another root.
    with rejected(Reason.TDX_UNTRUSTED_ROOT):
        authenticate(replace(COLLATERAL, pck_crl=MALLORY.pck_crl(), pck_crl_issuer_chain=MALLORY.pck_ca_chain()))


def test_c33_crl_of_the_other_ca() -> None:
    processor = VENDOR.collateral(ca=PckCa.PROCESSOR)
    with rejected(Reason.TDX_PCK_CRL_ISSUER):
        verified(QUOTE, processor)
    with rejected(Reason.TDX_PCK_CRL_ISSUER):
        verified(SGX_QUOTE, VENDOR.collateral("sgx", PckCa.PLATFORM))
    assert verified(SGX_QUOTE, SGX_COLLATERAL).pck.pck_ca is PckCa.PROCESSOR
    # The list of one with the chain of the other.
    with rejected(Reason.TDX_PCK_CRL_ISSUER):
        authenticate(replace(COLLATERAL, pck_crl=processor.pck_crl))
    with rejected(Reason.TDX_PCK_CRL_ISSUER):
        authenticate(replace(COLLATERAL, pck_crl=COLLATERAL.root_ca_crl))
    with rejected(Reason.TDX_ROOT_CRL_ISSUER):
        authenticate(replace(COLLATERAL, root_ca_crl=COLLATERAL.pck_crl))


@pytest.mark.parametrize(
    ("role", "chain"),
    [
        ("leaf", pem(*ATTESTER.pck_chain)),
        ("leaf", pem(ATTESTER.pck.der, VENDOR.platform_ca.der)),
        ("signer", VENDOR.tcb_signing_chain()),
        ("root", pem(VENDOR.root.der)),
        ("three", pem(VENDOR.platform_ca.der, VENDOR.processor_ca.der, VENDOR.root.der)),
        ("beside", pem(VENDOR.platform_ca.der, VENDOR.processor_ca.der)),
    ],
)
def test_c33_chain_of_another_role(role: str, chain: bytes) -> None:
    with rejected(Reason.TDX_PCK_CRL_CHAIN):
        authenticate(replace(COLLATERAL, pck_crl_issuer_chain=chain))


def test_c33_list_of_a_ca_that_issues_no_pck() -> None:
    # Genuine, below the pinned root, and of another role.
    other = VENDOR.reissue("platform_ca", lambda form: replace(form, subject=subject_name("SGX Other CA")))
    with rejected(Reason.TDX_PCK_CRL_CHAIN):
        authenticate(other.collateral())


def test_c33_documents_below_two_pinned_roots() -> None:
    # Another vendor that is trusted as well: its list does not speak for the first one's platforms.
    other = Vendor.of("other").reissue("root", lambda form: renamed(form, "Other SGX Root CA"))
    anchors = TrustAnchors.load([VENDOR.root.der, other.root.der])
    ca = Vendor.of("other").reissue("platform_ca", lambda form: replace(form, issuer=other.root.form.subject))
    assert authenticate_collateral(COLLATERAL, anchors, AT).root == anchors.roots[0]
    with rejected(Reason.TDX_PCK_CRL_CHAIN):
        authenticate_collateral(
            replace(COLLATERAL, pck_crl=ca.pck_crl(), pck_crl_issuer_chain=pem(ca.platform_ca.der)), anchors, AT
        )


def test_c34_dates_of_crls() -> None:
    def instant(form: CrlForm) -> CrlForm:
        return replace(form, this_update=AT, next_update=AT)

    for now, expired, not_yet_valid in (
        (with_pck_crl(edit=instant), Reason.TDX_PCK_CRL_EXPIRED, Reason.TDX_PCK_CRL_NOT_YET_VALID),
        (
            replace(COLLATERAL, root_ca_crl=VENDOR.root_ca_crl(edit=instant)),
            Reason.TDX_ROOT_CRL_EXPIRED,
            Reason.TDX_ROOT_CRL_NOT_YET_VALID,
        ),
    ):
        assert verified(QUOTE, now).validity.not_after == AT
        with rejected(expired):
            authenticate(now, AT + SECOND)
        with rejected(not_yet_valid):
            authenticate(now, AT - SECOND)


def test_c34_no_end() -> None:
    with rejected(Reason.TDX_PCK_CRL_MALFORMED):
        authenticate(with_pck_crl(edit=lambda form: replace(form, next_update=None)))


def test_c34_number_is_kept_for_comparison() -> None:
    assert authenticate(with_pck_crl(edit=lambda form: form.numbered(7))).pck_crl.number == 7


def renamed(form: CertificateForm, common_name: str) -> CertificateForm:
    return replace(form, subject=subject_name(common_name), issuer=subject_name(common_name))


def adding(extension: Extension) -> Callable[[CrlForm], CrlForm]:
    return lambda form: replace(form, extensions=(*form.extensions, extension))


# IssuingDistributionPoint { indirectCRL [4] TRUE }, and the number of the list that a delta builds upon.
INDIRECT = Extension("2.5.29.28", bytes.fromhex("30038401ff"), critical=True)
DELTA = Extension("2.5.29.27", integer(1), critical=True)


@pytest.mark.parametrize(
    "edit",
    [
        adding(Extension("1.2.3.4", b"\x05\0", critical=True)),
        adding(Extension("1.2.3.4", b"\x05\0")),
        adding(INDIRECT),
        adding(DELTA),
        lambda form: form.without("2.5.29.20"),
        lambda form: form.without("2.5.29.35"),
        lambda form: replace(form, extensions=()),
        lambda form: replace(form, extensions=form.extensions * 2),
        lambda form: replace(form, signature_algorithm="1.2.840.10045.4.3.3"),
        lambda form: replace(form, extensions=(Extension("2.5.29.20", b"no DER"), form.extensions[1])),
    ],
    ids=[
        "unknown critical",
        "unknown",
        "indirect",
        "delta",
        "no number",
        "no key identifier",
        "no extension",
        "twice",
        "other algorithm",
        "broken number",
    ],
)
def test_c35_extensions(edit: Callable[[CrlForm], CrlForm]) -> None:
    with rejected(Reason.TDX_PCK_CRL_MALFORMED):
        authenticate(with_pck_crl(edit=edit))


def test_c35_critical_extension_of_an_entry() -> None:
    # Certificate issuer: the entry is about another CA's certificate (RFC 5280, 5.3.3).
    other_issuer = Extension("2.5.29.29", sequence(explicit(4, subject_name("Another CA"))), critical=True)
    with rejected(Reason.TDX_PCK_CRL_MALFORMED):
        authenticate(with_pck_crl(Revoked(1, extensions=(other_issuer,))))
    uncritical = Revoked(1, extensions=(replace(other_issuer, critical=False),))
    assert same_claims(verified(QUOTE, with_pck_crl(uncritical)))


@pytest.mark.parametrize("reason", [None, 0, 1, 6, 8, 10])
def test_c35_every_reason_revokes(reason: int | None) -> None:
    # removeFromCRL (8) belongs into delta CRLs, which are refused: whoever is listed is revoked.
    with not_authentic(Reason.TDX_PCK_REVOKED):
        verified(QUOTE, with_pck_crl(Revoked(ATTESTER.pck.serial_number, reason=reason)))


def test_c36_serial_numbers_are_integers() -> None:
    # 20 bytes whose first bit is set take a leading zero in DER, here 21 bytes.
    serial = 0x9E << 152 | 0x1234
    attester = Attester.of(VENDOR, edit=lambda form: replace(form, serial_number=serial))
    raw = attester.quote()
    assert verified(raw).pck.pck_serial_number == serial
    with not_authentic(Reason.TDX_PCK_REVOKED):
        verified(raw, with_pck_crl(serial))
    # The same 20 bytes without it are a negative number, hence another one.
    assert verified(raw, with_pck_crl(Revoked(serial.to_bytes(20)))).pck.pck_serial_number == serial
    # More zeros than DER allows do not hide a number.
    with rejected(Reason.TDX_PCK_CRL_MALFORMED):
        authenticate(with_pck_crl(Revoked(b"\0\0" + serial.to_bytes(20))))


def test_c37_size() -> None:
    with rejected(Reason.TDX_PCK_CRL_MALFORMED):
        authenticate(replace(COLLATERAL, pck_crl=COLLATERAL.pck_crl + bytes(MAX_CRL_SIZE)))


def test_c37_as_many_entries_as_fit() -> None:
    entries = [Revoked(serial.to_bytes(20), reason=None) for serial in range(1 << 158, (1 << 158) + 80_000)]
    many = with_pck_crl(*entries)
    assert len(many.pck_crl) < MAX_CRL_SIZE
    assert len(authenticate(many).pck_crl.revoked) == 80_000
    with not_authentic(Reason.TDX_PCK_REVOKED):
        verified(QUOTE, with_pck_crl(*entries, ATTESTER.pck.serial_number))


# ---------------------------------------------------------------------------------------------------------------------
# Certificates


@pytest.mark.parametrize(
    "edit",
    [
        lambda form: form.without("2.5.29.19"),
        lambda form: form.having(basic_constraints(ca=False)),
        lambda form: form.having(key_usage("digital_signature")),
        lambda form: form.having(key_usage("crl_sign")),
        lambda form: form.having(Extension("1.2.3.4", b"\x05\0", critical=True)),
    ],
    ids=["no basic constraints", "CA:FALSE", "no keyCertSign", "crl_sign alone", "unknown critical extension"],
)
def test_c38_intermediate(edit: Callable[[CertificateForm], CertificateForm]) -> None:
    with not_authentic(Reason.TDX_PCK_CHAIN):
        verified(Attester.of(VENDOR.reissue("platform_ca", edit)).quote())


def test_c38_path_length() -> None:
    vendor = VENDOR.reissue("root", lambda form: form.having(basic_constraints(ca=True, path_length=0)))
    with not_authentic(Reason.TDX_PCK_CHAIN):
        verified(Attester.of(vendor).quote(), anchors=TrustAnchors.load([vendor.root.der]))


def test_c38_cross_signed_loop() -> None:
    one, two = VENDOR.platform_ca.form.subject, VENDOR.processor_ca.form.subject
    loop = VENDOR.reissue("platform_ca", lambda form: replace(form, issuer=two))
    loop = loop.reissue("processor_ca", lambda form: replace(form, issuer=one))
    with not_authentic(Reason.TDX_UNTRUSTED_ROOT):
        verified(quote(cert_data=pem(ATTESTER.pck.der, loop.platform_ca.der, loop.processor_ca.der)))


@pytest.mark.parametrize(
    "edit",
    [
        append(b"\0"),
        append(b"\x30\0"),
        lambda raw: b"\x30\x83\0" + raw[2:],  # a longer length than is needed
        lambda raw: b"\x30\x80" + raw[4:] + b"\0\0",  # indefinite length
        cut(-1),
    ],
    ids=["trailing zero", "trailing element", "length not minimal", "length indefinite", "cut"],
)
def test_c39_der(edit: Callable[[bytes], bytes]) -> None:
    leaf, ca, root = ATTESTER.pck_chain
    for chain in ((edit(leaf), ca, root), (leaf, edit(ca), root), (leaf, ca, edit(root))):
        with malformed(Reason.DER_MALFORMED):
            verified(quote(cert_data=pem(*chain)))


@pytest.mark.parametrize(
    "edit",
    [
        lambda form: replace(form, serial_number=-5),
        lambda form: replace(form, serial_number=0),
        lambda form: replace(form, serial_number=b"\0\0\x05"),
        lambda form: replace(form, version=1, extensions=()),
        lambda form: replace(form, version=4),
        lambda form: replace(form, extensions=(*form.extensions, form.extensions[0])),
        lambda form: replace(form, extensions=(*form.extensions, Extension("2.5.29.37", b"no DER"))),
        lambda form: replace(form, spki=sequence(octets(b"no key"))),
        lambda form: form.having(Extension("1.2.3.4", bytes(9000))),
    ],
    ids=[
        "negative serial",
        "serial of zero",
        "serial not minimal",
        "version 1",
        "version 4",
        "extension twice",
        "extension broken",
        "no key",
        "larger than any",
    ],
)
def test_c39_certificate(edit: Callable[[CertificateForm], CertificateForm]) -> None:
    with malformed(Reason.DER_MALFORMED):
        verified(Attester.of(VENDOR, edit=edit).quote())


@pytest.mark.parametrize("algorithm", ["1.2.3.4", "1.2.840.10045.4.3.3", "1.2.840.113549.1.1.11"])
def test_c39_signature_algorithm(algorithm: str) -> None:
    with not_authentic(Reason.TDX_PCK_CHAIN):
        verified(Attester.of(VENDOR, edit=lambda form: replace(form, signature_algorithm=algorithm)).quote())


# ---------------------------------------------------------------------------------------------------------------------
# Use


@pytest.mark.parametrize("fmspc", [b"../../", b"%2f%2e", b"?x=1&y", b"\0\0\0\0\0\0"])
def test_c43_identifiers_come_from_the_authenticated_certificate_as_bytes(fmspc: bytes) -> None:
    attester = Attester.of(VENDOR, Platform(fmspc=fmspc))
    parsed, key = authenticated(attester.quote())
    # Six bytes, which whoever asks for collateral writes in hex.
    assert requirement(parsed, key.pck) == Requirement("tdx", fmspc, PckCa.PLATFORM)
    for wrong in (b"", fmspc[:5], fmspc + b"/"):
        with not_authentic(Reason.TDX_PCK_EXTENSION):
            authenticated(Attester.of(VENDOR, Platform(fmspc=wrong)).quote())
    # Nothing of a chain that is not authentic gets that far.
    with not_authentic(Reason.TDX_UNTRUSTED_ROOT):
        authenticated(Attester.of(MALLORY, Platform(fmspc=fmspc)).quote())


def test_c45_one_immutable_snapshot() -> None:
    parsed, key = authenticated(QUOTE)
    collateral = authenticate(COLLATERAL)
    for frozen, name in ((COLLATERAL, "tcb_info"), (collateral, "tcb_info"), (key, "public_key"), (key.pck, "claims")):
        with pytest.raises(AttributeError):
            setattr(frozen, name, None)
    # The claims name the very documents, in the order of RawCollateral.
    digests = verify(parsed, key, collateral, AT).endorsement_digests
    assert digests == collateral.digests == COLLATERAL.digests
    assert digests[0] == sha256(COLLATERAL.tcb_info).digest()
    assert digests[-1] == sha256(COLLATERAL.pck_crl_issuer_chain).digest()


def test_c45_key_of_another_quote() -> None:
    _, key = authenticated(QUOTE)
    collateral = authenticate(COLLATERAL)
    for other in (
        Attester.of(VENDOR, Platform(ppid=bytes(16))).quote(),
        quote(auth_data=b"another certification of that key"),
        flip(700)(QUOTE),  # another key with that certification
    ):
        with pytest.raises(ValueError, match="attestation key of another quote"):
            verify(parse_quote(other), key, collateral, AT)
    # Of the same platform it is the same key.
    another, _ = authenticated(quote(TdReport(mrtd=bytes(48))))
    assert verify(another, key, collateral, AT).tcb == BASELINE.tcb


def test_c46_collateral_below_another_root() -> None:
    # Both are authentic, but of two vendors.
    parsed, key = authenticated(QUOTE)
    theirs = authenticate_collateral(MALLORY.collateral(), TrustAnchors.load([MALLORY.root.der]), AT)
    with rejected(Reason.TDX_UNTRUSTED_ROOT):
        verify(parsed, key, theirs, AT)
