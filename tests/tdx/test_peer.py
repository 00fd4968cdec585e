"""The same mutants before dcap-qvl 0.7.0, which runs in an environment of its own.

Both say the same, but for the differences below, each of which has its reason.
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

from attestd.claims import PckCa
from attestd.errors import AttestdError
from attestd.simulator import (
    AT,
    OLDER_SVNS,
    TD_QE,
    Attester,
    Platform,
    Signing,
    TdReport,
    TdReport15Ex,
    basic_constraints,
    bits,
    flip,
    negate_s,
    p256_key,
    pem,
    subject_name,
    svns,
    swap,
)
from attestd.tdx.collateral import RawCollateral
from tests import peers
from tests.tdx.baseline import (
    ATTESTER,
    COLLATERAL,
    MALLORY,
    QUOTE,
    SGX_COLLATERAL,
    SGX_QUOTE,
    VENDOR,
    quote,
    quote_15,
    verified,
)

Input = tuple[bytes, RawCollateral]

CHAIN = ATTESTER.pck_chain


def platform(**fields: Any) -> bytes:
    return Attester.of(VENDOR, Platform(**fields)).quote()


def td(**fields: Any) -> bytes:
    return quote(TdReport(**fields))


def tcb_info(edit: Callable[[dict[str, Any]], object] = lambda info: None, **signing: Any) -> Input:
    return QUOTE, replace(COLLATERAL, tcb_info=VENDOR.tcb_info(edit, signing=Signing(**signing)))


def qe_identity(edit: Callable[[dict[str, Any]], object] = lambda identity: None, **signing: Any) -> Input:
    return QUOTE, replace(COLLATERAL, qe_identity=VENDOR.qe_identity(edit, signing=Signing(**signing)))


def with_quote(raw: bytes) -> Input:
    return raw, COLLATERAL


def platform_status(status: str) -> Input:
    return tcb_info(lambda info: info["tcbLevels"][0].update(tcbStatus=status))


SAME: Final[dict[str, Input]] = {
    "baseline": with_quote(QUOTE),
    "SGX": (SGX_QUOTE, SGX_COLLATERAL),
    "version 5, TD 1.0": with_quote(quote(TdReport(), version=5)),
    "version 5, TD 1.5": with_quote(quote_15()),
    "version 5, TD 1.5 Ex": with_quote(quote(TdReport15Ex())),
    "body": with_quote(flip(600)(QUOTE)),
    "vendor id": with_quote(quote(qe_vendor_id=bytes(16))),
    "negated s": with_quote(negate_s(636)(QUOTE)),
    "attacker's key": with_quote(
        quote(attestation_key=p256_key("mallory", "ak"), qe_report_data=ATTESTER.qe_report_data())
    ),
    "no point": with_quote(quote(attestation_public_key=bytes(64))),
    "attacker's PKI": (Attester.of(MALLORY).quote(), COLLATERAL),
    "QE signer": with_quote(quote(qe=replace(TD_QE, mrsigner=bytes(32)))),
    "QE debug": with_quote(quote(qe=replace(TD_QE, attributes=flip(0, 1)(TD_QE.attributes)))),
    "QE out of date": with_quote(quote(qe=replace(TD_QE, isvsvn=4))),
    "QE revoked": with_quote(quote(qe=replace(TD_QE, isvsvn=2))),
    "QE too old": with_quote(quote(qe=replace(TD_QE, isvsvn=1))),
    "platform out of date": with_quote(platform(tcb_components=OLDER_SVNS)),
    "platform too old": with_quote(platform(tcb_components=svns(1))),
    "PCESVN too old": with_quote(platform(pce_svn=4)),
    "FMSPC": with_quote(platform(fmspc=bytes(6))),
    "module out of date": with_quote(td(tee_tcb_svn=bytes(svns(4, 1, 3)))),
    "module revoked": with_quote(td(tee_tcb_svn=bytes(svns(2, 1, 3)))),
    "module unknown": with_quote(td(tee_tcb_svn=bytes(svns(6, 7, 3)))),
    "module of version 0": with_quote(td(tee_tcb_svn=bytes(svns(6, 0, 3)))),
    "module's signer": with_quote(td(mrsignerseam=flip(0)(bytes(48)))),
    "TDX component 2": with_quote(td(tee_tcb_svn=bytes(svns(6, 1, 2)))),
    "relaunch": with_quote(quote_15(tee_tcb_svn=bytes(svns(4, 1, 3)))),
    "relaunch would not help": with_quote(
        quote_15(tee_tcb_svn=bytes(svns(4, 1, 3)), tee_tcb_svn2=bytes(svns(4, 1, 3)))
    ),
    **{
        status: platform_status(status)
        for status in (
            "SWHardeningNeeded",
            "ConfigurationNeeded",
            "ConfigurationAndSWHardeningNeeded",
            "OutOfDate",
            "OutOfDateConfigurationNeeded",
            "Revoked",
            "Fine",
        )
    },
    "relaunch, configuration": (
        quote_15(tee_tcb_svn=bytes(svns(4, 1, 3))),
        platform_status("ConfigurationNeeded")[1],
    ),
    "module and configuration": (
        td(tee_tcb_svn=bytes(svns(4, 1, 3))),
        platform_status("ConfigurationNeeded")[1],
    ),
    "TCB Info altered": tcb_info(after=swap(b"UpToDate", b"UpToDatf")),
    "TCB Info by another key": tcb_info(key=p256_key("mallory", "tcb_signing")),
    "levels in another order": tcb_info(lambda info: info["tcbLevels"].reverse()),
    "no level": tcb_info(lambda info: info.update(tcbLevels=[])),
    "QE Identity altered": qe_identity(after=swap(b"OutOfDate", b"UpToDatee")),
    "QE Identity of the other enclave": (QUOTE, replace(COLLATERAL, qe_identity=VENDOR.qe_identity(tee="sgx"))),
    "PCK revoked": (QUOTE, VENDOR.collateral(pck_crl=VENDOR.pck_crl([ATTESTER.pck.serial_number]))),
    "CA revoked": (QUOTE, VENDOR.collateral(root_ca_crl=VENDOR.root_ca_crl([VENDOR.platform_ca.serial_number]))),
    "signer revoked": (QUOTE, VENDOR.collateral(root_ca_crl=VENDOR.root_ca_crl([VENDOR.tcb_signing.serial_number]))),
    "CRL of the other CA": (QUOTE, VENDOR.collateral(ca=PckCa.PROCESSOR)),
    "CRL by another key": (
        QUOTE,
        VENDOR.collateral(pck_crl=VENDOR.pck_crl(signing=Signing(key=p256_key("mallory", "platform_ca")))),
    ),
    "CA as leaf": with_quote(Attester.of(VENDOR, edit=lambda form: form.having(basic_constraints(ca=True))).quote()),
}

# name: input, attestd's verdict, dcap-qvl's verdict
OTHER: Final[dict[str, tuple[Input, str, str]]] = {
    # Facts about the TD are for a policy to judge (tdx.md, step 14); dcap-qvl has its own built in.
    "debug": (with_quote(td(td_attributes=bits(0, 28))), "UpToDate", "refused"),
    "migratable": (with_quote(td(td_attributes=bits(28, 29))), "UpToDate", "refused"),
    "SEPT_VE_DISABLE": (with_quote(td(td_attributes=bits())), "UpToDate", "refused"),
    # Step 6: PCEID too.
    "PCEID": (with_quote(platform(pce_id=b"\0\1")), "refused", "UpToDate"),
    # Step 2: the chain, its roles and its root byte for byte; strict DER, PEM and lengths (T04, T27, T28, T29, T44).
    "another issuer second": (
        with_quote(quote(cert_data=pem(CHAIN[0], VENDOR.processor_ca.der, CHAIN[1]))),
        "refused",
        "UpToDate",
    ),
    "one beside the path": (
        with_quote(quote(cert_data=pem(*CHAIN[:2], VENDOR.processor_ca.der))),
        "refused",
        "UpToDate",
    ),
    "leaf of another role": (
        with_quote(Attester.of(VENDOR, edit=lambda form: replace(form, subject=subject_name("other"))).quote()),
        "refused",
        "UpToDate",
    ),
    "another root of that name": (
        with_quote(quote(cert_data=pem(*CHAIN[:2], MALLORY.root.der))),
        "refused",
        "UpToDate",
    ),
    "item twice": (with_quote(platform(edit=lambda items: [*items, items[0]])), "refused", "UpToDate"),
    "text before the PEM": (with_quote(quote(cert_data=b"text\n" + pem(*CHAIN))), "refused", "UpToDate"),
    "certification data one shorter": (with_quote(quote(cert_size=len(pem(*CHAIN)))), "refused", "UpToDate"),
    # Step 7: the second half of the QE's report data is zero.
    "QE report data": (
        with_quote(quote(qe_report_data=ATTESTER.qe_report_data()[:32] + b"\1" * 32)),
        "refused",
        "UpToDate",
    ),
    # T46: authentication data of any length, as long as the QE vouches for it.
    "authentication data": (with_quote(quote(auth_data=b"")), "UpToDate", "refused"),
    # Step 13 asks for a module that is out of date; here only component 2 is.
    "relaunch for component 2": (
        with_quote(quote_15(tee_tcb_svn=bytes(svns(6, 1, 2)))),
        "OutOfDate",
        "TDRelaunchAdvised",
    ),
    # C15: enclave levels in any order.
    "QE levels in another order": (
        qe_identity(lambda identity: identity["tcbLevels"].reverse()),
        "UpToDate",
        "refused",
    ),
}


def verdict(raw: bytes, collateral: RawCollateral) -> str:
    try:
        return verified(raw, collateral).tcb.status
    except AttestdError:
        return "refused"


def peer_verdicts(inputs: Iterable[Input]) -> list[str]:
    tasks = "".join(
        json.dumps(
            {
                "quote": raw.hex(),
                "collateral": {name: document.hex() for name, document in asdict(collateral).items()},
                "root": VENDOR.root.der.hex(),
                "at": int(AT.timestamp()),
            }
        )
        + "\n"
        for raw, collateral in inputs
    )
    return peers.said(peers.PEERS, Path(__file__).with_name("peer_verdicts.py"), tasks).splitlines()


def test_same_verdicts() -> None:
    theirs = dict(zip(SAME, peer_verdicts(SAME.values()), strict=True))
    assert theirs == {name: verdict(*given) for name, given in SAME.items()}
    assert {"UpToDate", "OutOfDate", "TDRelaunchAdvised", "refused"} <= set(theirs.values())


def test_differences() -> None:
    theirs = peer_verdicts(given for given, _, _ in OTHER.values())
    found = {name: (verdict(*given), their) for (name, (given, _, _)), their in zip(OTHER.items(), theirs, strict=True)}
    assert found == {name: (ours, their) for name, (_, ours, their) in OTHER.items()}
