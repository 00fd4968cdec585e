"""What a file says of a report, read for people: nothing here has been verified."""

from typing import Final, NamedTuple, TypeAlias, assert_never

from attestd.binding.ra_tls import RaTlsCertificate, parse_ra_tls
from attestd.claims import image_digest
from attestd.codec import load_pem
from attestd.evidence import SnpEvidence, Tee
from attestd.snp.attestation import Certificates, parse_attestation
from attestd.snp.hcl import HCL_MAGIC, HclReport, parse_hcl
from attestd.snp.report import Report, ReportBody, parse_report
from attestd.tdx.quote import Body, Quote, SgxReport, TdReport, parse_quote

NOTICE: Final = "nothing was verified; a file may say anything."

# A report begins with its version, u32 little-endian. A quote has the type of its attestation key, 2, at 2.
_UPPER_BYTES_OF_A_VERSION: Final = bytes(3)


class ReportedQuote(NamedTuple):
    """A quote, and the RA-TLS certificate that it came in, if it came in one."""

    quote: Quote
    certificate: RaTlsCertificate | None

    @property
    def tee(self) -> Tee:
        """The TEE, as evidence names it."""
        return self.quote.tee

    @property
    def body(self) -> Body:
        """What the platform reports."""
        return self.quote.body


class ReportedSnp(NamedTuple):
    """An SEV-SNP report, with what lay behind it, or with what Azure's paravisor has put around it."""

    report: Report
    certificates: Certificates
    hcl: HclReport | None

    @property
    def tee(self) -> Tee:
        """The TEE, as evidence names it."""
        return "snp"

    @property
    def body(self) -> ReportBody:
        """What the platform reports."""
        return self.report.body


Reported: TypeAlias = ReportedQuote | ReportedSnp


def load_report(raw: bytes) -> Reported:
    """Read a quote, an RA-TLS certificate (DER or PEM), an SEV-SNP report or Azure's HCL report. Raises `Malformed`."""
    if raw.startswith(HCL_MAGIC):
        hcl = parse_hcl(raw)
        return ReportedSnp(parse_report(hcl.report), Certificates(), hcl)
    if raw[1:4] == _UPPER_BYTES_OF_A_VERSION:
        attestation = parse_attestation(SnpEvidence(report=raw))
        return ReportedSnp(attestation.report, attestation.certificates, None)
    if raw.startswith(b"-----BEGIN CERTIFICATE-----"):
        raw = load_pem(raw)[0]
    if raw.startswith(b"\x30\x82"):  # a SEQUENCE of more than 255 bytes; no version of a quote begins so
        certificate = parse_ra_tls(raw)
        return ReportedQuote(parse_quote(certificate.quote), certificate)
    return ReportedQuote(parse_quote(raw), None)


def measurements(body: Body | ReportBody) -> dict[str, bytes | int]:
    """Return what an image may pin, by the names of the claims, with the image digest in Cocoon's form (tdx.md, 5)."""
    match body:
        case TdReport():
            registers = {
                name: getattr(body, name)
                for name in ("mrtd", "mrconfigid", "mrowner", "mrownerconfig", "rtmr0", "rtmr1", "rtmr2", "rtmr3")
            }
            return registers | {"image_digest": body.image_digest}
        case SgxReport():
            return {
                "mrenclave": body.mrenclave,
                "mrsigner": body.mrsigner,
                "isvprodid": body.isvprodid,
                "isvsvn": body.isvsvn,
                "image_digest": body.image_digest,
            }
        case ReportBody():
            return {
                "measurement": body.measurement,
                "host_data": body.host_data,
                "family_id": body.family_id,
                "image_id": body.image_id,
                "guest_svn": body.guest_svn,
                "image_digest": image_digest(body.measurement),
            }
        case _:
            assert_never(body)
