"""AMD's side: what is not asked for is as the vendor makes it, and what is asked for is the one thing that differs."""

from dataclasses import fields, replace
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509

from attestd.binding.transcript import vtpm_extra_data
from attestd.binding.verify import verify_binding
from attestd.claims import ProductLine
from attestd.evidence import HclEvidence, Scheme, SnpEvidence, dump_evidence_json, load_evidence_json
from attestd.simulator import (
    AT,
    BERGAMO,
    CHIPS,
    GENOA,
    MILAN,
    TURIN,
    AmdVendor,
    Chip,
    HclForm,
    KeyPair,
    Registry,
    Revoked,
    Signing,
    SnpAttester,
    SnpReport,
    TableEntry,
    TpmAttest,
    certificate_table,
    flip,
    other_s,
    p384_key,
    put,
    rsa_key,
    signing_key,
    tcb_version,
)
from attestd.simulator.snp_report import SNP, seal_report
from attestd.snp.certtable import parse_certificate_table
from attestd.snp.hcl import parse_hcl
from attestd.snp.report import parse_report
from attestd.snp.tpm import parse_quote
from attestd.snp.vek import Vek, authenticate_ark_crl, authenticate_vek
from attestd.snp.verify import verify
from attestd.snp.vtpm import require_nonce, verify_vtpm
from attestd.x509 import GENUINE_ROOTS, Certificate, TrustAnchors

VENDORS = {line: AmdVendor.of(line) for line in ProductLine}
GENOA_ATTESTER = SnpAttester.of(VENDORS[ProductLine.GENOA])
REGISTRY = Registry()
KEY = KeyPair.ed25519()
MODELS = (b"\2" * 32, b"\1" * 32)


def vek_of(attester: SnpAttester) -> Vek:
    return authenticate_vek(*attester.chain[:2], TrustAnchors.load([attester.vendor.ark.der]), AT)


@pytest.mark.parametrize("version", [2, 3, 4, 5])
@pytest.mark.parametrize("chip", [MILAN, GENOA, BERGAMO, TURIN], ids=["Milan", "Genoa", "Bergamo", "Turin"])
def test_every_chip_makes_every_version(chip: Chip, version: int) -> None:
    for kind in ("vcek", "vlek"):
        attester = SnpAttester.of(VENDORS[chip.line], replace(chip, kind=kind))
        vek = vek_of(attester)
        crl = authenticate_ark_crl(attester.vendor.crl(), vek.root, AT)
        claims = verify(parse_report(attester.report(SnpReport(version=version))), vek, crl, AT)
        assert (claims.version, claims.vek.kind, claims.vek.product_line) == (version, kind, chip.line)
        assert claims.reported_tcb == claims.launch_tcb == chip.tcb
        assert claims.flags == ()


def test_no_root_is_genuine() -> None:
    for vendor in VENDORS.values():
        root = x509.load_der_x509_certificate(vendor.ark.der)
        assert Certificate(vendor.ark.der).fingerprint not in GENUINE_ROOTS
        assert "attestd" in root.subject.rfc4514_string()
    assert len({vendor.ark.der for vendor in VENDORS.values()}) == 3


def test_mallory_has_the_same_names_and_other_keys() -> None:
    ours, theirs = VENDORS[ProductLine.GENOA], AmdVendor.of(seed="mallory")
    for role in ("ark", "ask", "asvk"):
        one, other = getattr(ours, role), getattr(theirs, role)
        assert one.form.subject == other.form.subject
        assert one.form.spki != other.form.spki


def test_the_vendor_of_another_time_has_the_same_cas() -> None:
    later = AmdVendor.of(at=AT + timedelta(days=900))
    assert (later.ark, later.ask, later.asvk) == (
        GENOA_ATTESTER.vendor.ark,
        GENOA_ATTESTER.vendor.ask,
        GENOA_ATTESTER.vendor.asvk,
    )
    chain = SnpAttester.of(later, replace(GENOA, kind="vlek")).chain
    authenticate_vek(chain[0], chain[1], TrustAnchors.load([later.ark.der]), later.at)
    authenticate_ark_crl(later.crl(), Certificate(later.ark.der), later.at)


@pytest.mark.parametrize("role", ["ark", "ask", "asvk"])
def test_reissue_changes_one_certificate(role: Any) -> None:
    vendor = VENDORS[ProductLine.GENOA]
    other = vendor.reissue(role, lambda form: replace(form, serial_number=7))
    keyed = vendor.reissue(role, key=rsa_key("attestd", "ark Milan"))
    for name in ("ark", "ask", "asvk"):
        assert (getattr(other, name) == getattr(vendor, name)) is (name != role)
    made = getattr(keyed, role)
    assert (made.serial_number, made.key) == (getattr(vendor, role).serial_number, rsa_key("attestd", "ark Milan"))
    assert made.form.spki != getattr(vendor, role).form.spki
    if role == "ark":
        TrustAnchors.load([keyed.ark.der])


def test_veks_are_of_chip_tcb_and_kind() -> None:
    vendor = VENDORS[ProductLine.GENOA]
    older = replace(GENOA, tcb=GENOA.tcb._replace(snp=22))
    keys = {vendor.issue_vek(chip).form.spki for chip in (GENOA, older, BERGAMO, replace(GENOA, kind="vlek"))}
    assert len(keys) == 4
    # A VLEK is not about the chip.
    vleks = {vendor.issue_vek(replace(GENOA, kind="vlek", hwid=hwid * 64)).der for hwid in (b"\1", b"\2")}
    assert len(vleks) == 1


def test_crl() -> None:
    crl = x509.load_der_x509_crl(VENDORS[ProductLine.GENOA].crl([5, Revoked(6, AT)]))
    assert [entry.serial_number for entry in crl] == [0x20001, 5, 6]
    assert [len(entry.extensions) for entry in crl] == [0, 0, 1]
    assert not [*x509.load_der_x509_crl(VENDORS[ProductLine.TURIN].crl())]


def test_report_fields_keep_their_places() -> None:
    """Each field by itself changes its own bytes, which lie one after the other in the order of the layout."""
    base = SNP.of(GENOA)
    raw, last = base.encode(), 0
    for field in fields(SnpReport):
        value = getattr(base, field.name)
        changed: dict[str, Any] = {field.name: value ^ 1 if isinstance(value, int) else flip(0)(value)}
        edited = replace(base, **changed).encode()
        (place,) = [i for i, (a, b) in enumerate(zip(raw, edited, strict=True)) if a != b]
        assert place >= last
        last = place
    assert last == 0x208


@pytest.mark.parametrize("field", [{"chip_id": bytes(8)}, {"measurement": bytes(49)}, {"reported_tcb": bytes(7)}])
def test_report_fields_have_sizes(field: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="size"):
        GENOA_ATTESTER.report(SnpReport(**field))


def test_signing_of_reports() -> None:
    raw = GENOA_ATTESTER.report()
    assert len(raw) == 1184
    assert raw == GENOA_ATTESTER.report()
    assert GENOA_ATTESTER.report(signing=Signing(after=flip(0x50))) == flip(0x50)(raw)
    before = GENOA_ATTESTER.report(signing=Signing(before=put(0, b"\6")))
    assert before[1:0x2A0] == raw[1:0x2A0]
    assert before[0x2A0:] != raw[0x2A0:]
    signature = bytes(range(96))
    placed = GENOA_ATTESTER.report(signing=Signing(signature=signature))
    assert placed[0x2A0:0x330] == signature[47::-1] + bytes(24) + signature[:47:-1] + bytes(24)
    other = GENOA_ATTESTER.report(signing=Signing(key=p384_key("tests", "other")))
    assert other == seal_report(SNP.of(GENOA), p384_key("tests", "other"), Signing())
    assert other_s(other_s(raw)) == raw != other_s(raw)


def test_key_info() -> None:
    assert [signing_key(0), signing_key(1), signing_key(7)] == [0, 4, 28]
    assert signing_key(0, mask_chip_key=True) == 2
    assert signing_key(0, author_key_en=True) == 1


def test_tcb_versions() -> None:
    assert tcb_version(GENOA.tcb, GENOA.line) == bytes((10, 0, 0, 0, 0, 0, 27, 84))
    assert tcb_version(TURIN.tcb, TURIN.line) == bytes((1, 3, 2, 5, 0, 0, 0, 97))
    assert CHIPS[ProductLine.MILAN] == MILAN


def test_certificate_table() -> None:
    crl = GENOA_ATTESTER.vendor.crl()
    table = parse_certificate_table(GENOA_ATTESTER.certificate_table(crl))
    assert (table.vcek, table.ask, table.ark) == GENOA_ATTESTER.chain
    assert (table.vlek, table.crl) == (None, crl)
    entry = TableEntry(b"g" * 16, b"data", offset=7, length=2**32 - 1)
    raw = certificate_table([entry], end=b"")
    assert raw == b"g" * 16 + b"\7\0\0\0" + b"\xff" * 4 + b"data"


@pytest.mark.parametrize("scheme", [Scheme.ATTESTD_V1, Scheme.SPKI_SHA256, Scheme.NONCE_AND_KEY])
def test_evidence_binds_its_key(scheme: Scheme) -> None:
    evidence = GENOA_ATTESTER.evidence(KEY, REGISTRY, MODELS, scheme=scheme)
    assert isinstance(evidence.cpu, SnpEvidence)
    report_data = parse_report(evidence.cpu.report).body.report_data
    assert (
        verify_binding(evidence, registry_id=REGISTRY.registry_id, report_data=report_data, gpu_nonces=(), at=AT).scheme
        is scheme
    )
    assert load_evidence_json(dump_evidence_json(evidence)) == evidence
    assert evidence.cpu.certificates == GENOA_ATTESTER.certificate_table()


@pytest.mark.parametrize("scheme", [Scheme.ATTESTD_V1, Scheme.SPKI_SHA256, Scheme.NONCE_AND_KEY])
def test_evidence_of_azure(scheme: Scheme) -> None:
    evidence = GENOA_ATTESTER.hcl_evidence(KEY, REGISTRY, MODELS, scheme=scheme)
    assert isinstance(evidence.cpu, HclEvidence)
    assert load_evidence_json(dump_evidence_json(evidence)) == evidence
    hcl, quote = parse_hcl(evidence.cpu.hcl_report), parse_quote(evidence.cpu.tpm_quote.message)
    claims = verify(parse_report(hcl.report), vek_of(GENOA_ATTESTER), None, AT)
    pcrs = TpmAttest().pcrs
    assert evidence.cpu.tpm_quote.pcrs == b"".join(pcrs)
    vtpm = verify_vtpm(claims, hcl, quote, evidence.cpu.tpm_quote.signature, pcrs)
    require_nonce(vtpm, vtpm_extra_data(REGISTRY.report_data(KEY, MODELS, scheme)))
    bound = verify_binding(
        evidence, registry_id=REGISTRY.registry_id, report_data=vtpm.extra_data, gpu_nonces=(), at=AT
    )
    assert bound.scheme is scheme


def test_hcl_report_may_be_wrong() -> None:
    plain = GENOA_ATTESTER.hcl_report()
    assert len(plain) == 2600
    odd = GENOA_ATTESTER.hcl_report(
        form=HclForm(size=1, data_size=2, runtime_data=b"{}", runtime_data_size=3, padding=b"x")
    )
    assert (odd[8:12], odd[0x4C0:0x4C4], odd[0x4D0:0x4D4]) == (b"\1\0\0\0", b"\2\0\0\0", b"\3\0\0\0")
    assert odd[0x4D4:] == b"{}x"
    assert TpmAttest(pcr_digest=b"d", trailing=b"t").encode(b"")[-4:] == b"\0\1dt"
