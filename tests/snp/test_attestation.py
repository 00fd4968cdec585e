"""What comes with a report, taken apart: a table behind it or beside it, PEM, DER, and Azure's form (S31)."""

from collections.abc import Mapping
from typing import Final

import pytest

from attestd.claims import image_digest
from attestd.errors import Reason
from attestd.evidence import HclEvidence, SnpEvidence, TpmQuoteEvidence
from attestd.simulator import pem
from attestd.snp.attestation import Certificates, VtpmEvidence, parse_attestation, with_certificates
from attestd.snp.hcl import parse_hcl
from attestd.snp.report import REPORT_SIZE, SIGNED_SIZE, parse_report
from attestd.snp.tpm import parse_quote
from attestd.snp.vtpm import vtpm_evidence_id
from tests.evidence import snp_case
from tests.refusals import malformed
from tests.snp.baseline import REPORT, put, report
from tests.snp.test_certtable import ARK, ASK, CRL, END, VCEK, VLEK, table
from tests.snp.test_hcl import PCRS, REPORT_AT, Attest, Blob, sign

# What is in them is looked at later, where they are authenticated.
VCEK_DER, VLEK_DER, ASK_DER, ARK_DER = (b"\x30\x82" + name for name in (b"vcek", b"vlek", b"ask", b"ark"))
TABLE: Final = table((VCEK, VCEK_DER), (ASK, ASK_DER), (ARK, ARK_DER), (CRL, b"crl"))
IN_TABLE: Final = Certificates(VCEK_DER, ASK_DER, ARK_DER, b"crl")
VLEK_REPORT: Final = report(key_info=1 << 2)


def azure(blob: Blob | None = None, attest: Attest | None = None, **changes: bytes | None) -> HclEvidence:
    """Return what Azure's guests send, with a report that is signed by the baseline's key."""
    made, message = blob or Blob(), (attest or Attest()).message()
    raw = made.raw()
    inner = report(report_data=raw[REPORT_AT + 0x50 : REPORT_AT + 0x90], vmpl=0)
    quote = TpmQuoteEvidence(message=message, signature=sign(message), pcrs=changes.pop("pcrs", b"".join(PCRS)))
    return HclEvidence(hcl_report=put(raw, REPORT_AT, inner), tpm_quote=quote, certificates=changes.pop("beside", None))


# ---------------------------------------------------------------------------------------------------------------------
# A report


def test_report_alone() -> None:
    parsed = parse_attestation(SnpEvidence(report=REPORT))
    assert parsed.report == parse_report(REPORT)
    assert (parsed.tee, parsed.certificates, parsed.vtpm) == ("snp", Certificates(), None)
    assert parsed.evidence_id == parsed.report.evidence_id
    assert parsed.image_digest == image_digest(b"m" * 48)


@pytest.mark.parametrize(
    ("raw", "certificates"),
    [
        (TABLE, IN_TABLE),
        (table((VCEK, VCEK_DER)), Certificates(VCEK_DER)),
        (table((ASK, pem(ASK_DER))), Certificates(ask=ASK_DER)),
        (END, Certificates()),
        (pem(VCEK_DER), Certificates(VCEK_DER)),
        (pem(VCEK_DER, ASK_DER), Certificates(VCEK_DER, ASK_DER)),
        (pem(VCEK_DER, ASK_DER, ARK_DER), Certificates(VCEK_DER, ASK_DER, ARK_DER)),
        (VCEK_DER, Certificates(VCEK_DER)),
    ],
    ids=["table", "VCEK alone", "PEM in a table", "empty table", "PEM", "PEM chain", "PEM to the root", "DER"],
)
def test_behind_the_report_and_beside_it(raw: bytes, certificates: Certificates) -> None:
    assert parse_attestation(SnpEvidence(report=REPORT, certificates=raw)).certificates == certificates
    assert parse_attestation(SnpEvidence(report=REPORT + raw)).certificates == certificates
    assert parse_attestation(azure(beside=raw)).certificates == certificates


def test_the_key_that_signed_is_taken_from_a_table() -> None:
    both, signed_by = table((VCEK, VCEK_DER), (VLEK, VLEK_DER)), {REPORT: VCEK_DER, VLEK_REPORT: VLEK_DER}
    for raw, signer in signed_by.items():
        assert parse_attestation(SnpEvidence(report=raw, certificates=both)).certificates.vek == signer
    # Where the table has only the other one, that is what will be refused.
    for raw, other in ((REPORT, table((VLEK, VLEK_DER))), (VLEK_REPORT, table((VCEK, VCEK_DER)))):
        found = parse_attestation(SnpEvidence(report=raw, certificates=other)).certificates.vek
        assert found not in (None, signed_by[raw])


@pytest.mark.parametrize("behind", [TABLE, END, b"\0"])
@pytest.mark.parametrize("beside", [TABLE, VCEK_DER])
def test_certificates_twice(behind: bytes, beside: bytes) -> None:
    with malformed(Reason.EVIDENCE_KIND):
        parse_attestation(SnpEvidence(report=REPORT + behind, certificates=beside))


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"\0", Reason.SNP_CERT_TABLE),
        (bytes(23), Reason.SNP_CERT_TABLE),
        (b"certificates", Reason.SNP_CERT_TABLE),
        (table((VCEK, pem(VCEK_DER, ASK_DER))), Reason.SNP_CERT_TABLE),
        (pem(VCEK_DER, ASK_DER, ARK_DER, ARK_DER), Reason.SNP_CERT_TABLE),
        (pem(VCEK_DER)[:-10], Reason.PEM_MALFORMED),
        (b"-----BEGIN X509 CRL-----\n", Reason.PEM_MALFORMED),
    ],
)
def test_certificates_that_do_not_parse(raw: bytes, reason: Reason) -> None:
    for evidence in (SnpEvidence(report=REPORT, certificates=raw), SnpEvidence(report=REPORT + raw)):
        with malformed(reason):
            parse_attestation(evidence)


def test_empty_certificates_are_none_that_came() -> None:
    """The wire form refuses them before; a file may be empty."""
    with malformed(Reason.SNP_CERT_TABLE):
        parse_attestation(SnpEvidence(report=REPORT, certificates=b""))


def test_the_report_is_looked_at_first() -> None:
    for raw in (b"", REPORT[:-1]):
        with malformed(Reason.SNP_REPORT_SIZE):
            parse_attestation(SnpEvidence(report=raw, certificates=b"nonsense"))
    with malformed(Reason.SNP_REPORT_VERSION):
        parse_attestation(SnpEvidence(report=put(REPORT, 0, b"\1") + b"nonsense"))


def test_evidence_id_is_of_the_signed_bytes() -> None:
    """What nobody has signed must not make new evidence of old (X06)."""
    plain = parse_attestation(SnpEvidence(report=REPORT)).evidence_id
    signature = put(REPORT, SIGNED_SIZE, bytes(48))
    for same in (SnpEvidence(report=REPORT + TABLE), SnpEvidence(report=signature, certificates=VCEK_DER)):
        assert parse_attestation(same).evidence_id == plain
    assert parse_attestation(SnpEvidence(report=report(guest_svn=4))).evidence_id != plain


def test_genuine_extended_reports() -> None:
    case = snp_case("cert-tables/genoa-vcek-ask-ark")
    raw = case.read("extended_report.bin")
    behind = parse_attestation(SnpEvidence(report=raw))
    assert behind == parse_attestation(SnpEvidence(report=raw[:REPORT_SIZE], certificates=raw[REPORT_SIZE:]))
    assert behind.certificates == Certificates(
        behind.certificates.vek, case.known("genoa_ask.pem"), case.known("genoa_ark.pem")
    )


# ---------------------------------------------------------------------------------------------------------------------
# Azure's form


def test_azure() -> None:
    evidence = azure()
    parsed = parse_attestation(evidence)
    hcl, quote = parse_hcl(evidence.hcl_report), parse_quote(evidence.tpm_quote.message)
    assert parsed.vtpm == VtpmEvidence(hcl, quote, evidence.tpm_quote.signature, PCRS)
    assert parsed.report == parse_report(hcl.report)
    assert (parsed.tee, parsed.certificates) == ("snp", Certificates())


def test_azure_without_the_values_of_the_registers() -> None:
    vtpm = parse_attestation(azure(pcrs=None)).vtpm
    assert vtpm is not None
    assert vtpm.pcrs is None


def test_azure_evidence_id_is_of_report_and_quote() -> None:
    first, second = parse_attestation(azure()), parse_attestation(azure(attest=Attest(extra_data=b"other")))
    assert first.report.evidence_id == second.report.evidence_id
    assert first.evidence_id != second.evidence_id
    assert first.vtpm is not None
    assert first.evidence_id == vtpm_evidence_id(first.report.evidence_id, first.vtpm.quote)


def test_each_part_of_azures_form_is_parsed() -> None:
    with malformed(Reason.SNP_HCL_MALFORMED):
        parse_attestation(azure(Blob(magic=b"HCLB")))
    with malformed(Reason.SNP_VTPM_ATTEST_TYPE):
        parse_attestation(azure(attest=Attest(type=0x8017)))
    whole = azure()
    broken = HclEvidence(hcl_report=put(whole.hcl_report, REPORT_AT, b"\7"), tpm_quote=whole.tpm_quote)
    with malformed(Reason.SNP_REPORT_VERSION):
        parse_attestation(broken)
    with malformed(Reason.SNP_CERT_TABLE):
        parse_attestation(azure(beside=TABLE[:-1]))


# ---------------------------------------------------------------------------------------------------------------------
# Certificates that are supplied apart


@pytest.mark.parametrize(
    ("supplied", "certificates"),
    [
        ({}, IN_TABLE),
        ({"vcek": b"\x30new"}, IN_TABLE._replace(vek=b"\x30new")),
        ({"vlek": b"\x30new"}, IN_TABLE._replace(vek=b"\x30new")),
        ({"ask": pem(b"\x30new")}, IN_TABLE._replace(ask=b"\x30new")),
        ({"ark": b"\x30new"}, IN_TABLE._replace(ark=b"\x30new")),
        ({"crl": b"new"}, IN_TABLE._replace(crl=b"new")),
        (
            dict.fromkeys(("vcek", "ask", "ark", "crl"), b"\x30new"),
            Certificates(b"\x30new", b"\x30new", b"\x30new", b"\x30new"),
        ),
    ],
)
def test_supplied_certificates(supplied: Mapping[str, bytes], certificates: Certificates) -> None:
    came = parse_attestation(SnpEvidence(report=REPORT + TABLE))
    given = with_certificates(came, supplied)
    assert given.certificates == certificates
    assert (given.report, given.vtpm) == (came.report, came.vtpm)
    assert came.certificates == IN_TABLE


def test_supplied_certificates_beside_a_quote_of_a_vtpm() -> None:
    came = parse_attestation(azure())
    given = with_certificates(came, {"vcek": VCEK_DER})
    assert (given.vtpm, given.certificates) == (came.vtpm, Certificates(VCEK_DER))


@pytest.mark.parametrize(
    ("supplied", "reason"),
    [
        ({"tcb_info": b"{}"}, Reason.EVIDENCE_KIND),
        ({"vcek": VCEK_DER, "pck_crl": b"crl"}, Reason.EVIDENCE_KIND),
        ({"vek": VCEK_DER}, Reason.EVIDENCE_KIND),
        ({"vcek": VCEK_DER, "vlek": VLEK_DER}, Reason.EVIDENCE_KIND),
        ({"ask": pem(ASK_DER, ARK_DER)}, Reason.PEM_MALFORMED),
        ({"ask": pem(ASK_DER)[:-9]}, Reason.PEM_MALFORMED),
    ],
)
def test_other_endorsements_are_refused(supplied: Mapping[str, bytes], reason: Reason) -> None:
    with malformed(reason):
        with_certificates(parse_attestation(SnpEvidence(report=REPORT)), supplied)
