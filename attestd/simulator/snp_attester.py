"""An attester with SEV-SNP: a chip with its VCEK or VLEK, its reports, and the evidence that it sends to a registry."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final, Self

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from attestd.binding import transcript
from attestd.evidence import Evidence, HclEvidence, Scheme, SnpEvidence, TpmQuoteEvidence
from attestd.simulator.amd import AmdVendor
from attestd.simulator.attester import Registry
from attestd.simulator.azure import HclForm, TpmAttest, hcl_report_data, runtime_data, tpm_quote
from attestd.simulator.certificates import CertificateEdit, EcAuthority, same_certificate
from attestd.simulator.certtable import (
    ARK_GUID,
    ASK_GUID,
    CRL_GUID,
    VCEK_GUID,
    VLEK_GUID,
    TableEntry,
    certificate_table,
)
from attestd.simulator.gpu_attester import GpuAnswer
from attestd.simulator.keys import KeyPair
from attestd.simulator.rsa import rsa_key
from attestd.simulator.snp_report import SNP, SnpReport, seal_report
from attestd.simulator.tampering import GENUINE, Signing
from attestd.simulator.vek import CHIPS, Chip

_VEK_GUIDS: Final = {"vcek": VCEK_GUID, "vlek": VLEK_GUID}
_VTPM_KEY_SIZE: Final = 2048

HCL: Final = HclForm()
TPM: Final = TpmAttest()


@dataclass(frozen=True, kw_only=True)
class SnpAttester:
    """A chip of a vendor's, with the key that its firmware signs reports with."""

    vendor: AmdVendor
    chip: Chip
    vek: EcAuthority

    @classmethod
    def of(
        cls,
        vendor: AmdVendor,
        chip: Chip | None = None,
        edit: CertificateEdit = same_certificate,
        *,
        signing: Signing = GENUINE,
    ) -> Self:
        """Make the chip, the vendor's usual one without `chip`; `edit` and `signing` are for its VCEK or VLEK."""
        chip = chip or CHIPS[vendor.line]
        return cls(vendor=vendor, chip=chip, vek=vendor.issue_vek(chip, edit, signing=signing))

    @property
    def chain(self) -> tuple[bytes, bytes, bytes]:
        """VCEK or VLEK, ASK or ASVK, and ARK in DER."""
        return self.vek.der, self.vendor.vek_issuer(self.chip).der, self.vendor.ark.der

    def report(self, body: SnpReport = SNP, *, signing: Signing = GENUINE) -> bytes:
        """Return a report, 1184 bytes."""
        return seal_report(body.of(self.chip), self.vek.key, signing)

    def table_entries(self, crl: bytes | None = None) -> tuple[TableEntry, ...]:
        """Return what a host puts beside the report: the chain, and the CRL where it has one."""
        guids = (_VEK_GUIDS[self.chip.kind], ASK_GUID, ARK_GUID)
        entries = tuple(TableEntry(guid, der) for guid, der in zip(guids, self.chain, strict=True))
        return entries if crl is None else (*entries, TableEntry(CRL_GUID, crl))

    def certificate_table(self, crl: bytes | None = None) -> bytes:
        """Return the certificate table of an extended report."""
        return certificate_table(self.table_entries(crl))

    def evidence(
        self,
        key: KeyPair,
        registry: Registry,
        models: Iterable[bytes] = (),
        *,
        scheme: Scheme = Scheme.ATTESTD_V1,
        body: SnpReport = SNP,
        crl: bytes | None = None,
        gpus: Iterable[GpuAnswer] = (),
    ) -> Evidence:
        """Return evidence with a report whose report data commits to the key, and to what else the scheme has in it.

        `models` are SHA-256 digests. The report data in `body` is replaced. The certificate table goes along. `gpus`
        have answered `registry.gpu_nonce`.
        """
        models, gpus = tuple(sorted(models)), tuple(gpus)
        bound = replace(body, report_data=registry.report_data(key, models, scheme, gpus))
        cpu = SnpEvidence(report=self.report(bound), certificates=self.certificate_table(crl))
        return registry.evidence(key, models, scheme, cpu, gpus)

    @property
    def vtpm_key(self) -> RSAPrivateKey:
        """The attestation key that the paravisor keeps, where the chip is Azure's."""
        return rsa_key(self.vendor.seed, "vtpm ak", _VTPM_KEY_SIZE)

    def hcl_report(self, body: SnpReport = SNP, form: HclForm = HCL, *, signing: Signing = GENUINE) -> bytes:
        """Return the paravisor's HCL report; the report data in `body` is replaced. `signing` is of the report."""
        runtime = runtime_data(self.vtpm_key) if form.runtime_data is None else form.runtime_data
        bound = replace(body, report_data=hcl_report_data(runtime))
        return form.encode(self.report(bound, signing=signing), runtime)

    def tpm_quote(self, extra_data: bytes, attest: TpmAttest = TPM, *, signing: Signing = GENUINE) -> TpmQuoteEvidence:
        """Return a quote of the paravisor's vTPM."""
        return tpm_quote(self.vtpm_key, extra_data, attest, signing)

    def hcl_evidence(
        self,
        key: KeyPair,
        registry: Registry,
        models: Iterable[bytes] = (),
        *,
        scheme: Scheme = Scheme.ATTESTD_V1,
        body: SnpReport = SNP,
        attest: TpmAttest = TPM,
        gpus: Iterable[GpuAnswer] = (),
    ) -> Evidence:
        """Return the evidence of a guest on Azure, in which a quote of the vTPM commits to the key and to `gpus`."""
        models, gpus = tuple(sorted(models)), tuple(gpus)
        extra_data = transcript.vtpm_extra_data(registry.report_data(key, models, scheme, gpus))
        cpu = HclEvidence(
            hcl_report=self.hcl_report(body),
            tpm_quote=self.tpm_quote(extra_data, attest),
            certificates=self.certificate_table(),
        )
        return registry.evidence(key, models, scheme, cpu, gpus)
