"""What a provider sends of an SEV-SNP machine, taken apart: the report, what came along with it, Azure's vTPM quote.

All of it is untrusted: `certificates` only spare a look at one's own.
"""

from collections.abc import Mapping, Sequence
from typing import Final, Literal, NamedTuple, assert_never

from attestd.claims import image_digest
from attestd.codec import load_pem
from attestd.errors import Malformed, Reason
from attestd.evidence import AMD_ENDORSEMENT_NAMES, AmdEvidence, HclEvidence, SnpEvidence
from attestd.snp.certtable import CertificateTable, parse_certificate_table
from attestd.snp.hcl import HclReport, parse_hcl
from attestd.snp.report import REPORT_SIZE, Report, parse_report
from attestd.snp.tpm import PCR_SIZE, TpmQuote, parse_quote
from attestd.snp.vtpm import vtpm_evidence_id

_PEM: Final = b"-----BEGIN"
_DER: Final = b"\x30\x82"
# VCEK or VLEK, the ASK or ASVK that issued it, and the ARK above.
_MOST_CERTIFICATES: Final = 3
_FIELDS: Final = {"vcek": "vek", "vlek": "vek"}


class Certificates(NamedTuple):
    """What came along: certificates in DER, and a CRL as it came."""

    vek: bytes | None = None  # VCEK or VLEK
    ask: bytes | None = None  # or ASVK
    ark: bytes | None = None
    crl: bytes | None = None


class VtpmEvidence(NamedTuple):
    """An HCL report around the report, and a quote of the vTPM that it vouches for."""

    hcl: HclReport
    quote: TpmQuote
    signature: bytes
    pcrs: tuple[bytes, ...] | None


class SnpAttestation(NamedTuple):
    """One piece of evidence that parses. Not evidence of anything yet."""

    report: Report
    certificates: Certificates
    vtpm: VtpmEvidence | None

    @property
    def tee(self) -> Literal["snp"]:
        """The TEE, as evidence names it."""
        return "snp"

    @property
    def evidence_id(self) -> bytes:
        """SHA-256, domain-separated, over what is signed: by AMD's key, and by the vTPM's where it answers for more."""
        if self.vtpm is None:
            return self.report.evidence_id
        return vtpm_evidence_id(self.report.evidence_id, self.vtpm.quote)

    @property
    def image_digest(self) -> bytes:
        """What identifies the image, in Cocoon's form."""
        return image_digest(self.report.body.measurement)


def parse_attestation(cpu: AmdEvidence) -> SnpAttestation:
    """Parse a report, with the certificates that came beside it or behind it, or Azure's form of the same.

    Raises `Malformed`: `snp.…`, `pem.malformed`, and `evidence.kind` where certificates came twice.
    """
    match cpu:
        case SnpEvidence():
            raw, table = cpu.report[:REPORT_SIZE], cpu.report[REPORT_SIZE:]
            if table and cpu.certificates is not None:
                raise Malformed(
                    Reason.EVIDENCE_KIND,
                    found="certificates beside the report, and bytes behind it",
                    wanted="a certificate table behind the report, or certificates beside it",
                )
            report = parse_report(raw)
            return SnpAttestation(report, _certificates(table or cpu.certificates, report), None)
        case HclEvidence():
            hcl = parse_hcl(cpu.hcl_report)
            report = parse_report(hcl.report)
            quote = cpu.tpm_quote
            vtpm = VtpmEvidence(hcl, parse_quote(quote.message), quote.signature, _pcrs(quote.pcrs))
            return SnpAttestation(report, _certificates(cpu.certificates, report), vtpm)
        case _:
            assert_never(cpu)


def with_certificates(attestation: SnpAttestation, supplied: Mapping[str, bytes]) -> SnpAttestation:
    """Put certificates, DER or PEM, in the place of those that came along; `supplied` by `AMD_ENDORSEMENT_NAMES`.

    Raises `Malformed`: `pem.malformed`, and `evidence.kind` for other names and for both a VCEK and a VLEK.
    """
    if not supplied.keys() <= set(AMD_ENDORSEMENT_NAMES) or {"vcek", "vlek"} <= supplied.keys():
        raise Malformed(
            Reason.EVIDENCE_KIND, found="other endorsements", wanted="vcek or vlek, ask, ark, crl: those of SEV-SNP"
        )
    given = {_FIELDS.get(name, name): raw if name == "crl" else _one(raw) for name, raw in supplied.items()}
    certificates = Certificates(**(attestation.certificates._asdict() | given))
    return SnpAttestation(attestation.report, certificates, attestation.vtpm)


def _one(raw: bytes) -> bytes:
    if not raw.startswith(_PEM):
        return raw
    match load_pem(raw):
        case [der]:
            return der
        case chain:
            raise Malformed(Reason.PEM_MALFORMED, found=f"{len(chain)} certificates", wanted="one")


def _certificates(raw: bytes | None, report: Report) -> Certificates:
    if raw is None:
        return Certificates()
    if raw.startswith(_PEM):
        return _in_order(load_pem(raw))
    if raw.startswith(_DER):
        return Certificates(vek=raw)
    table = parse_certificate_table(raw)
    return Certificates(vek=_vek(table, report), ask=table.ask, ark=table.ark, crl=table.crl)


def _in_order(chain: Sequence[bytes]) -> Certificates:
    if len(chain) > _MOST_CERTIFICATES:
        raise Malformed(
            Reason.SNP_CERT_TABLE, found=f"{len(chain)} certificates", wanted="VCEK or VLEK, ASK or ASVK, ARK"
        )
    return Certificates(*chain)


def _vek(table: CertificateTable, report: Report) -> bytes | None:
    """Return the one that signed; the other one, where the host has only that, so that it is refused by name."""
    if report.body.signing_key == "vcek":
        return table.vcek or table.vlek
    return table.vlek or table.vcek


def _pcrs(raw: bytes | None) -> tuple[bytes, ...] | None:
    return None if raw is None else tuple(raw[at : at + PCR_SIZE] for at in range(0, len(raw), PCR_SIZE))
