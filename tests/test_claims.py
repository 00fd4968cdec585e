"""Claims as they are shown, and the vocabulary that they are written in."""

import json
from datetime import timedelta
from hashlib import sha256

import pytest

from attestd.claims import Flag, PckClaims, QeClaims, SgxClaims, TcbStatus, TdxClaims, export, export_tcb
from attestd.codec import dump_time
from attestd.simulator import AT, SgxReport, TdReport15Ex, p256_key
from attestd.validity import Validity
from tests.tdx.baseline import QUOTE, SGX_COLLATERAL, SGX_QUOTE, quote, quote_15, verified

EXTENDED = quote(TdReport15Ex())
# What is shown elsewhere: beside the claims, under names of its own.
ELSEWHERE = {"evidence_id", "flags", "tcb", "validity", "endorsement_digests"}
EXTENSION = (
    "vmid",
    "td_id",
    "devinfo",
    "init_servtd_hash",
    "init_servtd_attr",
    "init_cpu_svn",
    "init_tee_tcb_svn",
    "init_tee_fmspc",
    "curr_servtd_hash",
    "curr_servtd_attr",
)


def test_vocabulary_is_intel_s() -> None:
    assert [status.value for status in TcbStatus] == [
        "UpToDate",
        "SWHardeningNeeded",
        "ConfigurationNeeded",
        "ConfigurationAndSWHardeningNeeded",
        "OutOfDate",
        "OutOfDateConfigurationNeeded",
        "TDRelaunchAdvised",
        "TDRelaunchAdvisedConfigurationNeeded",
        "Revoked",
    ]
    assert len(Flag) == 17


@pytest.mark.parametrize("raw", [QUOTE, quote_15(), EXTENDED], ids=["TD 1.0", "TD 1.5", "TD 1.5 Ex"])
def test_export_of_a_td(raw: bytes) -> None:
    claims = verified(raw)
    assert isinstance(claims, TdxClaims)
    exported = export(claims)
    names = set(claims._fields) - ELSEWHERE - {"extension"} | {"image_digest"}
    assert exported.keys() == names | (set(EXTENSION) if raw == EXTENDED else set())
    assert exported["mrtd"] == claims.mrtd.hex()
    assert exported["tee_tcb_svn2"] == (None if raw == QUOTE else bytes((6, 1, 3)).hex() + "00" * 13)
    assert exported["trailing_bytes"] == (70 if raw == QUOTE else 0)
    assert json.loads(json.dumps(exported)) == exported


def test_export_of_td_1_5_ex_is_the_report() -> None:
    claims, body = verified(EXTENDED), TdReport15Ex()
    exported = export(claims)
    assert {name: exported[name] for name in EXTENSION} == {name: getattr(body, name).hex() for name in EXTENSION}


def test_export_of_an_enclave() -> None:
    claims, body = verified(SGX_QUOTE, SGX_COLLATERAL), SgxReport()
    assert isinstance(claims, SgxClaims)
    exported = export(claims)
    assert exported.keys() == set(claims._fields) - ELSEWHERE | {"image_digest"}
    assert (exported["mrenclave"], exported["isvsvn"]) == (body.mrenclave.hex(), body.isvsvn)


def test_export_of_the_platform() -> None:
    claims = verified()
    exported = export(claims)
    pck, qe = exported["pck"], exported["qe"]
    assert isinstance(pck, dict)
    assert isinstance(qe, dict)
    assert pck.keys() == set(PckClaims._fields)
    assert (pck["fmspc"], pck["pce_svn"], pck["pck_ca"]) == ("f0516d000000", 13, "platform")
    assert (pck["dynamic_platform"], pck["sgx_type"]) == (True, "Scalable")
    # Not a number: it has up to 160 bits.
    assert pck["pck_serial_number"] == f"{claims.pck.pck_serial_number:x}"
    assert qe.keys() == set(QeClaims._fields)
    of_processor = export(verified(SGX_QUOTE, SGX_COLLATERAL))["pck"]
    assert isinstance(of_processor, dict)
    assert (of_processor["platform_instance_id"], of_processor["smt_enabled"]) == (None, None)


def test_export_of_the_tcb() -> None:
    tcb = verified().tcb._replace(advisory_ids=("INTEL-SA-2", "INTEL-SA-1"))
    assert export_tcb(tcb) == {
        "status": "UpToDate",
        "advisories": ["INTEL-SA-2", "INTEL-SA-1"],
        "tcb_date": dump_time(tcb.tcb_date),
        "tcb_evaluation_data_number": 20,
        "tcb_info_evaluation_data_number": 20,
        "qe_identity_evaluation_data_number": 20,
        "sgx_level_status": "UpToDate",
        "tdx_level_status": "UpToDate",
        "tdx_module_id": "TDX_01",
        "tdx_module_status": "UpToDate",
        "qe_status": "UpToDate",
    }


def test_image_digests() -> None:
    td, enclave = verified(), verified(SGX_QUOTE, SGX_COLLATERAL)
    # The signed bytes from MRTD to RTMR3, and zeros in place of the report data.
    assert td.image_digest == sha256(QUOTE[184:568] + bytes(64)).digest()
    assert enclave.image_digest == sha256(SGX_QUOTE[112:144] + bytes(64)).digest()
    assert verified(quote(attestation_key=p256_key("another", "ak"))).image_digest == td.image_digest


def test_validity_narrows() -> None:
    day = timedelta(days=1)
    window = Validity(not_before=AT - day, not_after=AT + day)
    wider = Validity(not_before=AT - 2 * day, not_after=AT + 2 * day)
    later = Validity(not_before=AT, not_after=AT + 3 * day)
    assert window.narrowed(wider) == wider.narrowed(window) == window
    assert window.narrowed(later) == Validity(not_before=AT, not_after=AT + day)
    assert wider.narrowed(later) == Validity(not_before=AT, not_after=AT + 2 * day)
