"""Complete cases of SEV-SNP as files: a report, the endorsements of its time, and what is expected of a verifier.

The expectations are stated here by hand; no verifier is asked for them.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final

from attestd.claims import ProductLine
from attestd.simulator.amd import AmdVendor
from attestd.simulator.case import describe, dump, show
from attestd.simulator.keys import p384_key
from attestd.simulator.snp_attester import SnpAttester
from attestd.simulator.snp_report import DEBUG_ALLOWED, POLICY, SNP, SnpReport
from attestd.simulator.tampering import GENUINE, Signing
from attestd.simulator.vek import BERGAMO, GENOA, MILAN, tcb_version
from attestd.simulator.vendor import pem

_NONCE: Final = bytes(range(32))


def ark_path(line: ProductLine) -> str:
    """Return where the root of a product line is kept."""
    return f"roots/simulated_ark_{line.lower()}.der"


@dataclass(frozen=True, kw_only=True)
class SnpCase:
    """One folder."""

    name: str
    what: str
    attester: SnpAttester
    body: SnpReport = SNP
    signing: Signing = GENUINE
    is_extended: bool = False  # the certificates follow the report
    on_azure: bool = False
    crl: bytes | None = None  # None: the vendor's, on which nothing stands that matters
    expected: Mapping[str, Any] = field(default_factory=dict)  # where it differs from what is accepted

    def files(self) -> Iterator[tuple[str, bytes]]:
        """Yield each file by its path in the folder."""
        if self.on_azure:
            yield from self._azure()
        else:
            table = self.attester.certificate_table() if self.is_extended else b""
            yield "report.bin", self.attester.report(self.body, signing=self.signing) + table
        if not self.is_extended:
            yield from self._certificates()
        yield "endorsements/crl.der", self.attester.vendor.crl() if self.crl is None else self.crl
        yield "expected.json", dump(self._description())

    def _azure(self) -> Iterator[tuple[str, bytes]]:
        quote = self.attester.tpm_quote(_NONCE)
        yield "hcl_report.bin", self.attester.hcl_report(self.body, signing=self.signing)
        yield "tpm_quote.msg", quote.message
        yield "tpm_quote.sig", quote.signature
        yield "tpm_pcrs.bin", quote.pcrs or b""

    def _certificates(self) -> Iterator[tuple[str, bytes]]:
        vek, issuer, _ = self.attester.chain
        is_vcek = self.attester.chip.kind == "vcek"
        yield f"endorsements/{self.attester.chip.kind}.der", vek
        yield f"endorsements/{'ask' if is_vcek else 'asvk'}.pem", pem(issuer)

    def _description(self) -> dict[str, Any]:
        vendor, chip = self.attester.vendor, self.attester.chip
        report = show(asdict(self.body.of(chip)))
        if self.on_azure:
            del report["report_data"]  # which is the paravisor's
        return describe(self.name, self.what, ark_path(vendor.line), vendor.at, "SNP") | {
            "product_line": chip.line.value,
            "signing_key": chip.kind,
            "report": report,
            "nonce": _NONCE.hex() if self.on_azure else None,
            "expected": {"reason": None, "policy_flags": [], "strict_policy_accepts": True} | dict(self.expected),
        }


_NOT_STRICT: Final = {"strict_policy_accepts": False}


def snp_cases(vendors: Mapping[ProductLine, AmdVendor]) -> Iterator[SnpCase]:
    """Yield the cases; those of Genoa differ from the first one in one thing."""
    attester = SnpAttester.of(vendors[ProductLine.GENOA])
    yield SnpCase(name="snp-genoa-v5", what="Genoa on current firmware", attester=attester)
    yield from _accepted(vendors)
    yield SnpCase(
        name="snp-genoa-v5-debug",
        what="the guest's policy allows debugging: its memory is readable by the host",
        attester=attester,
        body=SnpReport(policy=POLICY | DEBUG_ALLOWED),
        expected={"policy_flags": ["debug"], **_NOT_STRICT},
    )
    older = replace(GENOA, tcb=GENOA.tcb._replace(snp=22))
    yield SnpCase(
        name="snp-genoa-v5-out-of-date",
        what="below the floors of the SNP firmware, with two advisories open",
        attester=SnpAttester.of(attester.vendor, older),
        expected=_NOT_STRICT,
    )
    yield SnpCase(
        name="snp-genoa-v5-provisional",
        what="the firmware that runs is not committed: the host can go back to the one before",
        attester=attester,
        body=SnpReport(committed_tcb=tcb_version(older.tcb, older.line)),
        expected={"policy_flags": ["provisional_firmware"], **_NOT_STRICT},
    )
    yield SnpCase(
        name="snp-genoa-v5-forged-signature",
        what="signed by another key than the VCEK's; everything else is right",
        attester=attester,
        signing=Signing(key=p384_key("forger", "vcek")),
        expected={"reason": "snp.report_signature", **_NOT_STRICT},
    )
    yield SnpCase(
        name="snp-genoa-v5-revoked-ask",
        what="the CRL lists the ASK; everything else is right",
        attester=attester,
        crl=attester.vendor.crl([attester.vendor.ask.serial_number]),
        expected={"reason": "snp.ask_revoked", **_NOT_STRICT},
    )


def _accepted(vendors: Mapping[ProductLine, AmdVendor]) -> Iterator[SnpCase]:
    yield SnpCase(
        name="snp-bergamo-v3-extended-report",
        what="Bergamo, which has Genoa's keys; VCEK, ASK and ARK follow the report in a certificate table",
        attester=SnpAttester.of(vendors[ProductLine.GENOA], BERGAMO),
        body=SnpReport(version=3),
        is_extended=True,
    )
    yield SnpCase(
        name="snp-turin-v5",
        what="Turin: another layout of TCB versions, a chip id of 8 bytes",
        attester=SnpAttester.of(vendors[ProductLine.TURIN]),
    )
    yield SnpCase(
        name="snp-milan-v2",
        what="Milan with a report of version 2, which does not tell the processor",
        attester=SnpAttester.of(vendors[ProductLine.MILAN]),
        body=SnpReport(version=2),
        expected=_NOT_STRICT,
    )
    yield SnpCase(
        name="snp-milan-v3-vlek",
        what="Milan, signed with the key of a cloud provider",
        attester=SnpAttester.of(vendors[ProductLine.MILAN], replace(MILAN, kind="vlek")),
        body=SnpReport(version=3),
        expected=_NOT_STRICT,
    )
    yield SnpCase(
        name="snp-genoa-v5-azure",
        what="the report of Azure's paravisor with its runtime data, and a quote of its vTPM",
        attester=SnpAttester.of(vendors[ProductLine.GENOA]),
        on_azure=True,
        expected=_NOT_STRICT,
    )
