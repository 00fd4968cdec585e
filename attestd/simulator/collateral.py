"""TCB Info and QE Identity: baseline documents in the shape, member order and spelling of Intel's.

Source: Intel SGX and TDX Provisioning Certification Service API v4, "Get TCB Info" and "Get Identity". The values are
made up; only their sizes and their relations are as in genuine documents.
"""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final, Literal, TypeAlias

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

from attestd.simulator.pck import CURRENT_PCE_SVN, CURRENT_SVNS, OLDER_PCE_SVN, OLDER_SVNS, PLATFORM, svns
from attestd.simulator.reports import SGX_QE, TD_QE
from attestd.simulator.tampering import Signing

Tee: TypeAlias = Literal["tdx", "sgx"]
Document: TypeAlias = dict[str, Any]
# Changes the document in place; what it returns is ignored, so that `dict.update` will do.
DocumentEdit: TypeAlias = Callable[[Document], object]


def same_document(document: Document) -> None:
    """Leave the document as it is."""


EVALUATION_DATA_NUMBER: Final = 20
CURRENT_TCB_DATE: Final = "2026-02-11T00:00:00Z"
OLDER_TCB_DATE: Final = "2024-03-13T00:00:00Z"

_BIOS: Final = {"category": "BIOS"}
_SGX_CATEGORIES: Final[tuple[dict[str, str], ...]] = (
    {"category": "BIOS", "type": "Early Microcode Update"},
    {"category": "OS/VMM", "type": "SGX Late Microcode Update"},
    {"category": "OS/VMM", "type": "TXT SINIT"},
    _BIOS,
    _BIOS,
    _BIOS,
    {},
    {"category": "OS/VMM", "type": "SEAMLDR ACM"},
)
_TDX_CATEGORIES: Final = (
    {"category": "OS/VMM", "type": "TDX Module"},
    {"category": "OS/VMM", "type": "TDX Module"},
    {"category": "OS/VMM", "type": "TDX Late Microcode Update"},
)
_INTEL_MODULE: Final = {"mrsigner": "00" * 48, "attributes": "00" * 8, "attributesMask": "FF" * 8}


def tcb_info(tee: Tee, issued: datetime, until: datetime) -> Document:
    """Return the inner object of a TCB Info, version 3, for the FMSPC and PCEID of `PLATFORM`."""
    head: Document = {
        "id": tee.upper(),
        "version": 3,
        "issueDate": timestamp(issued),
        "nextUpdate": timestamp(until),
        "fmspc": PLATFORM.fmspc.hex().upper(),
        "pceId": PLATFORM.pce_id.hex().upper(),
        "tcbType": 0,
        "tcbEvaluationDataNumber": EVALUATION_DATA_NUMBER,
    }
    if tee == "tdx":
        head |= {"tdxModule": dict(_INTEL_MODULE), "tdxModuleIdentities": [_module_03(), _module_01()]}
    return head | {"tcbLevels": _tcb_levels(tee)}


def _module_03() -> Document:
    return {"id": "TDX_03"} | _INTEL_MODULE | {"tcbLevels": [level({"isvsvn": 3}, CURRENT_TCB_DATE, "UpToDate")]}


def _module_01() -> Document:
    levels = [
        level({"isvsvn": 6}, CURRENT_TCB_DATE, "UpToDate"),
        level({"isvsvn": 4}, OLDER_TCB_DATE, "OutOfDate", "INTEL-SA-90002"),
        level({"isvsvn": 2}, "2023-08-09T00:00:00Z", "Revoked", "INTEL-SA-90003"),
    ]
    return {"id": "TDX_01"} | _INTEL_MODULE | {"tcbLevels": levels}


def _tcb_levels(tee: Tee) -> list[Document]:
    rows = (
        (CURRENT_SVNS, CURRENT_PCE_SVN, svns(5, 0, 3), CURRENT_TCB_DATE, "UpToDate", ()),
        (OLDER_SVNS, OLDER_PCE_SVN, svns(5, 0, 2), OLDER_TCB_DATE, "OutOfDate", ("INTEL-SA-90001",)),
        (svns(2, 2, 2, 2, 3, 1), 5, svns(3), "2018-01-04T00:00:00Z", "Revoked", ("INTEL-SA-90004",)),
    )
    return [
        level(
            {"sgxtcbcomponents": _components(sgx, _SGX_CATEGORIES), "pcesvn": pce_svn}
            | ({"tdxtcbcomponents": _components(tdx, _TDX_CATEGORIES)} if tee == "tdx" else {}),
            date,
            status,
            *advisories,
        )
        for sgx, pce_svn, tdx, date, status, advisories in rows
    ]


def _components(numbers: tuple[int, ...], categories: tuple[dict[str, str], ...]) -> list[Document]:
    padded = categories + ({},) * (len(numbers) - len(categories))
    return [{"svn": svn} | category for svn, category in zip(numbers, padded, strict=True)]


def level(tcb: Document, date: str, status: str, *advisories: str) -> Document:
    """Return one TCB level; as in genuine documents there is no `advisoryIDs` where there are none."""
    return {"tcb": tcb, "tcbDate": date, "tcbStatus": status} | (
        {"advisoryIDs": list(advisories)} if advisories else {}
    )


def qe_identity(tee: Tee, issued: datetime, until: datetime) -> Document:
    """Return the inner object of a QE Identity, version 2."""
    qe = TD_QE if tee == "tdx" else SGX_QE
    return {
        "id": "TD_QE" if tee == "tdx" else "QE",
        "version": 2,
        "issueDate": timestamp(issued),
        "nextUpdate": timestamp(until),
        "tcbEvaluationDataNumber": EVALUATION_DATA_NUMBER,
        "miscselect": "00" * 4,
        "miscselectMask": "FF" * 4,
        "attributes": "11" + "00" * 15,
        "attributesMask": "FB" + "FF" * 7 + "00" * 8,
        "mrsigner": qe.mrsigner.hex().upper(),
        "isvprodid": qe.isvprodid,
        "tcbLevels": [
            level({"isvsvn": qe.isvsvn}, CURRENT_TCB_DATE, "UpToDate"),
            level({"isvsvn": qe.isvsvn - 2}, OLDER_TCB_DATE, "OutOfDate", "INTEL-SA-90005"),
            level({"isvsvn": qe.isvsvn - 4}, "2023-08-09T00:00:00Z", "Revoked", "INTEL-SA-90006"),
        ],
    }


def seal_document(member: str, inner: Document, key: EllipticCurvePrivateKey, signing: Signing) -> bytes:
    """Return `{member: inner, "signature": hex}`, signed over the very bytes of the inner object as they stand."""
    signed = signing.before(json.dumps(inner, separators=(",", ":")).encode())
    signature = signing.p256(key, signed).hex().encode()
    return signing.after(b'{"%s":%s,"signature":"%s"}' % (member.encode(), signed, signature))


def timestamp(at: datetime) -> str:
    """Return a time as Intel writes it: UTC, whole seconds, Z."""
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
