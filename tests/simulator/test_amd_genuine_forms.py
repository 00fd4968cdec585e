"""What AMD, its hardware and Azure made, rebuilt by the simulator from its parts: the bytes must be theirs."""

import json
from pathlib import Path
from struct import unpack_from
from typing import Any

import pytest
from cryptography import x509

from attestd.claims import ProductLine, TcbVersion
from attestd.codec import load_der_sequence, load_der_time, load_pem
from attestd.errors import Reason
from attestd.simulator import (
    AMD_ARC,
    AmdVendor,
    CertificateForm,
    Chip,
    CrlForm,
    Extension,
    HclForm,
    Revoked,
    SnpAttester,
    SnpReport,
    TableEntry,
    TpmAttest,
    certificate_table,
    rsassa_pss,
    runtime_data,
    signing_key,
    tcb_version,
)
from attestd.simulator.certtable import ARK_GUID, ASK_GUID, VCEK_GUID, VLEK_GUID
from attestd.simulator.vek import Kind
from attestd.x509 import Certificate
from tests.evidence import EVIDENCE

SNP = EVIDENCE / "snp"
pytestmark = pytest.mark.skipif(not SNP.is_dir(), reason=f"no genuine evidence at {SNP}")


def cases(folder: str, file: str) -> list[Path]:
    return sorted(path.parent for path in (SNP / folder).glob(f"*/{file}"))


def certificate(path: Path) -> Certificate:
    raw = path.read_bytes()
    return Certificate(load_pem(raw)[0] if path.suffix == ".pem" else raw)


def fields(certificate: Certificate) -> list[Any]:
    (signed,) = load_der_sequence(certificate.signed, Reason.DER_MALFORMED)
    return load_der_sequence(signed.content, Reason.DER_MALFORMED)


def extensions(certificate: Certificate) -> tuple[Extension, ...]:
    """Take the values as they stand: not all that AMD writes is how DER would have it."""
    # Of the serial number 0 cryptography would warn.
    renumbered = certificate.der.replace(b"\xa0\x03\x02\x01\x02\x02\x01\x00", b"\xa0\x03\x02\x01\x02\x02\x01\x01", 1)
    parsed = x509.load_der_x509_certificate(renumbered).extensions
    dotted = [(extension.oid.dotted_string, extension.critical) for extension in parsed]
    return tuple(Extension(oid, certificate.extension_bytes(oid) or b"", critical) for oid, critical in dotted)


def form_of(certificate: Certificate) -> CertificateForm:
    _, _, algorithm, issuer, validity, subject, spki, _ = fields(certificate)
    not_before, not_after = load_der_sequence(validity.content, Reason.DER_MALFORMED)
    return CertificateForm(
        subject=subject.encoded,
        issuer=issuer.encoded,
        serial_number=certificate.serial_number,
        not_before=load_der_time(not_before, Reason.DER_MALFORMED),
        not_after=load_der_time(not_after, Reason.DER_MALFORMED),
        spki=spki.encoded,
        extensions=extensions(certificate),
        signature_algorithm=algorithm.encoded,
    )


CAS = sorted((SNP / "roots").glob("*.pem"))
VEKS = [folder / name for name in ("vcek.der", "vlek.der") for folder in cases("real", name)]


@pytest.mark.parametrize("path", CAS + VEKS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_certificates(path: Path) -> None:
    genuine = certificate(path)
    assert form_of(genuine).encode() == genuine.signed
    # AMD writes the trailer field out, except in newer leaves.
    identifiers = (rsassa_pss(trailer=True), rsassa_pss())
    assert genuine.signature_algorithm in (identifiers if path in VEKS else identifiers[:1])


@pytest.mark.parametrize("path", VEKS, ids=lambda path: path.parent.name)
def test_extensions_of_a_chip(path: Path) -> None:
    described = json.loads((path.parent / "expected.json").read_bytes())
    cert, kind = described["cert"], described["key_type"].lower()
    is_vcek = kind == "vcek"
    chip = Chip(
        line=ProductLine(described["product"]),
        family=0,
        model=0,
        hwid=bytes.fromhex(cert["hwid"]) if is_vcek else b"",
        tcb=TcbVersion(cert.get("fmc"), *(cert[part] for part in ("bootloader", "tee", "snp", "microcode"))),
        kind=kind_of(kind),
        csp_id="" if is_vcek else cert["csp_id"],
    )
    assert chip.extensions() == extensions(certificate(path))


def kind_of(name: str) -> Kind:
    return "vcek" if name == "vcek" else "vlek"


@pytest.mark.parametrize("line", ProductLine)
def test_simulated_certificates_have_the_form_of_genuine_ones(line: ProductLine) -> None:
    vendor = AmdVendor.of(line)
    for role in ("ark", "ask", "asvk"):
        ours = Certificate(getattr(vendor, role).der)
        theirs = certificate(SNP / f"roots/{line.lower()}_{role}.pem")
        assert (ours.serial_number, ours.common_name) == (theirs.serial_number, theirs.common_name)
        assert ours.subject != theirs.subject
        assert ours.spki != theirs.spki
        assert len(ours.spki) == len(theirs.spki)
        assert (ours.is_ca, ours.path_length) == (theirs.is_ca, theirs.path_length)
        assert (ours.may_sign_certificates, ours.may_sign_crls) == (theirs.may_sign_certificates, theirs.may_sign_crls)
        assert [(e.oid, e.critical) for e in extensions(ours)] == [(e.oid, e.critical) for e in extensions(theirs)]
        names = [x509.load_der_x509_certificate(one.der).subject for one in (ours, theirs)]
        assert [a.oid for a in names[0]] == [a.oid for a in names[1]]


@pytest.mark.parametrize("name", ["genoa_vcek_crl_20241023", "milan_vcek_crl_20250506"])
def test_crls(name: str) -> None:
    crl = x509.load_der_x509_crl((SNP / f"roots/{name}.der").read_bytes())
    form = CrlForm(
        issuer=crl.issuer.public_bytes(),
        this_update=crl.last_update_utc,
        next_update=crl.next_update_utc,
        revoked=tuple(Revoked(entry.serial_number, entry.revocation_date_utc, reason=None) for entry in crl),
        extensions=tuple(Extension(e.oid.dotted_string, e.value.public_bytes(), e.critical) for e in crl.extensions),
        signature_algorithm=rsassa_pss(),
    )
    assert form.encode() == crl.tbs_certlist_bytes


def test_simulated_crl_has_the_form_of_a_genuine_one() -> None:
    theirs = x509.load_der_x509_crl((SNP / "roots/genoa_vcek_crl_20241023.der").read_bytes())
    ours = x509.load_der_x509_crl(AmdVendor.of().crl())
    assert [e.oid for e in ours.extensions] == [e.oid for e in theirs.extensions]
    assert [e.serial_number for e in ours] == [e.serial_number for e in theirs]
    assert [len(e.extensions) for e in ours] == [len(e.extensions) for e in theirs]


def number(value: str | int) -> int:
    return int(value, 0) if isinstance(value, str) else value


@pytest.mark.parametrize("folder", cases("real", "report.bin"), ids=lambda folder: folder.name)
def test_reports(folder: Path) -> None:
    described = json.loads((folder / "expected.json").read_bytes())
    report = described["report"]
    line = ProductLine(described["product"])
    numbers = ("version", "guest_svn", "policy", "vmpl", "platform_info", "launch_mit_vector", "current_mit_vector")
    contents = (
        "family_id",
        "image_id",
        "report_data",
        "measurement",
        "host_data",
        "chip_id",
        "report_id",
        "report_id_ma",
    )
    digests = ("id_key_digest", "author_key_digest")
    values: dict[str, Any] = {name: number(report[name]) for name in numbers}
    values |= {name: bytes.fromhex(report[name]) for name in (*contents, *digests)}
    for name in ("current_tcb", "reported_tcb", "committed_tcb", "launch_tcb"):
        tcb = report[name]
        parts = (tcb[part] for part in ("bootloader", "tee", "snp", "microcode"))
        values[name] = tcb_version(TcbVersion(tcb.get("fmc"), *parts), line)
    for name in ("current", "committed"):
        for part, value in zip(("major", "minor", "build"), report[f"{name}_version"].split("."), strict=True):
            values[f"{name}_{part}"] = int(value)
    raw = (folder / "report.bin").read_bytes()
    made = SnpReport(
        **values,
        cpuid_fam_id=report.get("cpuid_family") or 0,
        cpuid_mod_id=report.get("cpuid_model") or 0,
        cpuid_step=report.get("cpuid_stepping") or 0,
        key_info=signing_key(int(report["signing_key"] == "VLEK"), author_key_en=bool(report["author_key_en"])),
    )
    assert made.encode() == raw[:0x2A0]
    assert raw[0x330:] == bytes(368)


@pytest.mark.parametrize("name", ["genoa-vcek-ask-ark", "genoa-vcek-only", "milan-vlek-asvk-ark"])
def test_certificate_tables(name: str) -> None:
    raw = (SNP / "cert-tables" / name / "cert_table.bin").read_bytes()
    entries: list[TableEntry] = []
    while any((row := unpack_from("<16sII", raw, 24 * len(entries)))[0]):
        guid, offset, length = row
        entries.append(TableEntry(guid, raw[offset : offset + length]))
    assert certificate_table(entries) == raw
    assert {entry.guid for entry in entries} <= {VCEK_GUID, VLEK_GUID, ASK_GUID, ARK_GUID}


def test_hcl_report_and_quote() -> None:
    folder = SNP / "azure-hcl/milan-v3-quote"
    described = json.loads((folder / "expected.json").read_bytes())
    raw = (folder / "hcl_report.bin").read_bytes()
    start, size = described["runtime_data_offset"], described["runtime_data_size"]
    runtime = raw[start : start + size]
    assert HclForm().encode(raw[0x20:0x4C0], runtime) == raw
    message = (folder / "tpm_quote.msg").read_bytes()
    attest = TpmAttest(
        qualified_signer=message[8:42],
        clock=int.from_bytes(message[53:61]),
        pcrs=tuple(map(bytes.fromhex, described["pcrs_sha256"])),
    )
    assert attest.encode(bytes.fromhex(described["expected_tpm_nonce_hex"])) == message


def test_runtime_data() -> None:
    raw = (SNP / "azure-hcl/milan-v3-quote/hcl_report.bin").read_bytes()[1236 : 1236 + 1110]
    theirs = json.loads(raw)
    ours = json.loads(runtime_data(SnpAttester.of(AmdVendor.of()).vtpm_key))
    assert json.dumps(theirs, separators=(",", ":")).encode() == raw
    assert [*ours] == [*theirs]
    assert [*ours["vm-configuration"]] == [*theirs["vm-configuration"]]
    for mine, key in zip(ours["keys"], theirs["keys"], strict=True):
        assert mine | {"n": ""} == key | {"n": ""}
        assert len(mine["n"]) == len(key["n"])


def test_the_arc_is_amds() -> None:
    assert all(e.oid.startswith(f"{AMD_ARC}.") for e in extensions(certificate(VEKS[0])))
