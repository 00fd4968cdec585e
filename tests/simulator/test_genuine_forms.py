"""What Intel made, rebuilt by the simulator from its parts: the bytes must be Intel's."""

import json
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from attestd.claims import PckCa
from attestd.simulator import (
    SGX_EXTENSION,
    CertificateForm,
    CrlForm,
    Event,
    Extension,
    Platform,
    Revoked,
    SgxReport,
    TdReport,
    TdReport15,
    TdReport15Ex,
    Vendor,
    ccel,
    dstack_log,
    pem,
    replay,
)
from attestd.simulator.eventlogs import DSTACK_EVENT, EV_NO_ACTION
from tests.simulator.evidence import COCOON, SGX, TDX, certificates, expected, needs_evidence

pytestmark = needs_evidence


def genuine_leaf(case: Path) -> x509.Certificate:
    return certificates((case / "quote.bin").read_bytes())[0]


def extensions(parsed: x509.Extensions) -> tuple[Extension, ...]:
    return tuple(Extension(e.oid.dotted_string, e.value.public_bytes(), e.critical) for e in parsed)


def form_of(certificate: x509.Certificate) -> CertificateForm:
    return CertificateForm(
        subject=certificate.subject.public_bytes(),
        issuer=certificate.issuer.public_bytes(),
        serial_number=certificate.serial_number,
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        spki=certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        extensions=extensions(certificate.extensions),
    )


@pytest.mark.parametrize("case", [COCOON, SGX], ids=lambda case: case.name)
def test_certificates(case: Path) -> None:
    chain = certificates((case / "quote.bin").read_bytes())
    signer = certificates((case / "collateral" / "tcb_info_issuer_chain.pem").read_bytes())
    for certificate in (*chain, *signer):
        assert form_of(certificate).encode() == certificate.tbs_certificate_bytes


@pytest.mark.parametrize(
    ("case", "ca"), [(COCOON, PckCa.PLATFORM), (SGX, PckCa.PROCESSOR)], ids=["platform", "processor"]
)
def test_sgx_extension(case: Path, ca: PckCa) -> None:
    genuine = genuine_leaf(case).extensions.get_extension_for_oid(x509.ObjectIdentifier(SGX_EXTENSION))
    pck = expected(case)["pck"]
    platform = Platform(
        ca=ca,
        ppid=bytes.fromhex(pck["ppid"]),
        tcb_components=tuple(pck["tcb_components"]),
        pce_svn=pck["pcesvn"],
        pce_id=bytes.fromhex(pck["pce_id"]),
        fmspc=bytes.fromhex(pck["fmspc"]),
        sgx_type=["Standard", "Scalable", "ScalableWithIntegrity"].index(pck["sgx_type"]),
        platform_instance_id=bytes.fromhex(pck["platform_instance_id"] or ""),
        dynamic_platform=bool(pck["dynamic_platform"]),
        cached_keys=bool(pck["cached_keys"]),
        smt_enabled=bool(pck["smt_enabled"]),
    )
    assert platform.extension().value == genuine.value.public_bytes()
    assert not genuine.critical


def test_simulated_certificates_have_the_extensions_of_genuine_ones() -> None:
    vendor = Vendor.of()
    leaf, ca, root = certificates((COCOON / "quote.bin").read_bytes())
    signer = certificates((COCOON / "collateral" / "tcb_info_issuer_chain.pem").read_bytes())[0]
    pairs = [
        (vendor.issue_pck(Platform()).der, leaf),
        (vendor.platform_ca.der, ca),
        (vendor.root.der, root),
        (vendor.tcb_signing.der, signer),
    ]
    names = {"2.5.29.31", "2.5.29.35", "2.5.29.14", SGX_EXTENSION}  # differ in what they name
    for der, genuine in pairs:
        simulated = x509.load_der_x509_certificate(der)
        assert [(e.oid, e.critical) for e in simulated.extensions] == [(e.oid, e.critical) for e in genuine.extensions]
        for ours, theirs in zip(simulated.extensions, genuine.extensions, strict=True):
            if ours.oid.dotted_string not in names:
                assert ours.value == theirs.value
        assert [a.oid for a in simulated.subject] == [a.oid for a in genuine.subject]


@pytest.mark.parametrize("name", ["root_ca_crl.der", "pck_crl.der"])
def test_crls(name: str) -> None:
    crl = x509.load_der_x509_crl((COCOON / "collateral" / name).read_bytes())
    form = CrlForm(
        issuer=crl.issuer.public_bytes(),
        this_update=crl.last_update_utc,
        next_update=crl.next_update_utc,
        revoked=tuple(Revoked(entry.serial_number, entry.revocation_date_utc) for entry in crl),
        extensions=extensions(crl.extensions),
    )
    assert form.encode() == crl.tbs_certlist_bytes


def test_pem() -> None:
    chain = (COCOON / "collateral" / "tcb_info_issuer_chain.pem").read_bytes()
    assert pem(*(c.public_bytes(Encoding.DER) for c in certificates(chain))).strip() == chain.strip()


def shape(value: object) -> object:
    """The names of members in their order, and the kinds of values, of all that is not in a list of levels."""
    match value:
        case dict():
            return [(name, shape(inner)) for name, inner in value.items()]
        case list():
            return [shape(value[0])] if value else []
        case _:
            return type(value)


@pytest.mark.parametrize("name", ["tcb_info", "qe_identity"])
@pytest.mark.parametrize(("case", "tee"), [(COCOON, "tdx"), (SGX, "sgx")], ids=["tdx", "sgx"])
def test_documents(case: Path, tee: str, name: str) -> None:
    genuine = (case / "collateral" / f"{name}.json").read_bytes()
    collateral = Vendor.of().collateral("tdx" if tee == "tdx" else "sgx")
    simulated: bytes = getattr(collateral, name)
    for document in (genuine, simulated):
        assert json.dumps(json.loads(document), separators=(",", ":")).encode() == document.strip()
    ours, theirs = json.loads(simulated), json.loads(genuine)
    if case is SGX and name == "tcb_info":
        # Genuine SGX documents of this age name no categories, and their best level has advisories.
        for level in ours["tcbInfo"]["tcbLevels"]:
            for component in level["tcb"]["sgxtcbcomponents"]:
                component.pop("category", None)
                component.pop("type", None)
        theirs["tcbInfo"]["tcbLevels"][0].pop("advisoryIDs")
    assert shape(ours) == shape(theirs)


BODIES = {"enclave(384)": SgxReport, "td1.0(584)": TdReport, "td1.5(648)": TdReport15, "td1.5ex(885)": TdReport15Ex}


@pytest.mark.parametrize("case", sorted((TDX / "real").glob("*")) if TDX.is_dir() else [], ids=lambda case: case.name)
def test_bodies(case: Path) -> None:
    description, quote = expected(case), (case / "quote.bin").read_bytes()
    fields = {
        name: value if isinstance(value, int) else bytes.fromhex(value) for name, value in description["body"].items()
    }
    encoded = BODIES[description["body_type"]](**fields).encode()
    start = 54 if description["quote_version"] == 5 else 48
    assert encoded == quote[start : start + len(encoded)]


def events(log: bytes) -> tuple[list[Event], bytes]:
    """Read the records of a CCEL by TCG's layout; return them and what fills the rest of the area."""
    position, found = 32 + int.from_bytes(log[28:32], "little"), []
    while (index := int.from_bytes(log[position : position + 4], "little")) not in (0, 0xFFFFFFFF):
        kind = int.from_bytes(log[position + 4 : position + 8], "little")
        digest = log[position + 14 : position + 62]
        size = int.from_bytes(log[position + 62 : position + 66], "little")
        found.append(Event(index - 1, kind, log[position + 66 : position + 66 + size], digest=digest))
        position += 66 + size
    return found, log[position:]


@pytest.mark.parametrize("case", ["real/tdx-v4-00806f-gcp-ccel", "ccel/trustee-ovmf"])
def test_ccel(case: str) -> None:
    log, description = (TDX / case / "ccel.bin").read_bytes(), expected(TDX / case)
    measured, padding = events(log)
    assert ccel(measured, padding=padding) == log
    wanted = description.get("replayed") or description["body"]
    assert [register.hex() for register in replay(measured)] == [wanted[f"rtmr{i}"] for i in range(4)]
    assert all(event.event_type != EV_NO_ACTION for event in measured)


def test_dstack_log() -> None:
    case = TDX / "real" / "tdx-v4-b0c06f-dstack-event-log"
    raw = (case / "dstack_event_log.json").read_bytes()
    measured = [
        Event(
            entry["imr"],
            entry["event_type"],
            bytes.fromhex(entry["event_payload"]),
            entry["event"],
            # What dstack measures itself has a digest that the simulator must find on its own.
            None if entry["event_type"] == DSTACK_EVENT else bytes.fromhex(entry["digest"]),
        )
        for entry in json.loads(raw)
    ]
    assert json.loads(dstack_log(measured)) == json.loads(raw)
    assert [register.hex() for register in replay(measured)] == [expected(case)["body"][f"rtmr{i}"] for i in range(4)]
