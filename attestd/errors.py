"""The whole error hierarchy of attestd, and every stable reason for a refusal.

A reason is at once the API problem type, the metric label and the test oracle. Its summary and its hint are for people.
The class of an error says what kind of trouble it is; the reason says which check failed.

    AttestdError
    ├── Malformed               bytes that do not parse                        400, exit 2
    ├── NotAuthentic            parsed, but a check of authenticity failed      422, exit 3
    │   └── EndorsementRejected   … of the collateral, not of the evidence
    ├── Unavailable             the world is bad, the data may be good: retry   503, exit 4
    ├── RequestRefused          who asks, how often, how much, in which order   401, 403, 404, 409, 413, 415, 429
    └── ConfigurationRefused    a policy, an anchor or a setting of the operator's   exit 1
"""

from enum import StrEnum
from typing import Self


class Reason(StrEnum):
    """Every reason, with a summary and what a person should do about it. Values never change once released."""

    summary: str
    hint: str

    def __new__(cls, value: str, summary: str, hint: str) -> Self:
        """Attach the prose to the value, so that no reason can exist without it."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.summary = summary
        member.hint = hint
        return member

    # Encodings
    JSON_MALFORMED = ("json.malformed", "Not strict JSON", "Send UTF-8 JSON (RFC 8259) without comments or NaN.")
    JSON_DUPLICATE_MEMBER = ("json.duplicate_member", "A JSON object names a member twice", "Name each member once.")
    JSON_DEPTH = ("json.depth", "JSON is nested too deeply", "Flatten the document.")
    JSON_NUMBER = ("json.number", "A JSON number is out of range", "Use integers of at most 20 digits.")
    JSON_SCHEMA = ("json.schema", "A JSON member is missing, unknown or of another type", "See the API reference.")
    CBOR_MALFORMED = ("cbor.malformed", "Not strict CBOR", "Send one definite-length CBOR map without tags.")
    CBOR_SCHEMA = ("cbor.schema", "A CBOR member is missing, unknown or of another type", "See the API reference.")
    BASE64_MALFORMED = ("base64.malformed", "Not canonical base64", "Use the alphabet and padding of RFC 4648, 4.")
    HEX_MALFORMED = ("hex.malformed", "Not hexadecimal", "Use an even number of hex digits, no prefix or spaces.")
    PEM_MALFORMED = ("pem.malformed", "Not a strict PEM certificate list", "Send CERTIFICATE blocks, nothing else.")
    DER_MALFORMED = ("der.malformed", "Not strict DER", "Send the DER encoding as the vendor issued it.")
    TIME_MALFORMED = ("time.malformed", "Not an RFC 3339 time with an offset", "Write 2026-01-31T12:00:00Z.")

    # Evidence as a whole
    EVIDENCE_SIZE = ("evidence.size", "The evidence is larger than any genuine one", "Send the quote alone.")
    EVIDENCE_KIND = ("evidence.kind", "The evidence is of another kind than was named", "Name the TEE that it is.")

    # Intel quotes: layout (tdx.md, section 3, Layouts)
    TDX_QUOTE_TRUNCATED = ("tdx.quote_truncated", "The quote ends too early", "Send the whole buffer of the driver.")
    TDX_QUOTE_VERSION = ("tdx.quote_version", "Unknown quote version", "Versions 3, 4 and 5 are verified.")
    TDX_ATTESTATION_KEY_TYPE = ("tdx.attestation_key_type", "Unknown attestation key type", "Use ECDSA P-256 (2).")
    TDX_TEE_TYPE = ("tdx.tee_type", "The TEE type does not fit", "Name the TEE that made the quote: sgx or tdx.")
    TDX_QE_VENDOR_ID = ("tdx.qe_vendor_id", "The quoting enclave is not Intel's", "Use Intel's quoting enclave.")
    TDX_BODY_DESCRIPTOR = ("tdx.body_descriptor", "The body descriptor does not fit", "Collect the quote again.")
    TDX_SIGNATURE_DATA = ("tdx.signature_data", "A length in the signature data is wrong", "Collect the quote again.")
    TDX_CERTIFICATION_DATA = (
        "tdx.certification_data",
        "The PCK certificate chain is not in the quote",
        "Configure the quoting service to embed the PCK chain (certification data type 5).",
    )

    # Intel: PCK certificate chain
    TDX_PCK_CHAIN = ("tdx.pck_chain", "The PCK chain is not one", "Renew the PCK certificates of the platform.")
    TDX_UNTRUSTED_ROOT = ("tdx.untrusted_root", "The chain does not end in a pinned root", "Use Intel's own chain.")
    TDX_PCK_EXPIRED = ("tdx.pck_expired", "A certificate of the PCK chain has expired", "Renew the PCK certificate.")
    TDX_PCK_NOT_YET_VALID = ("tdx.pck_not_yet_valid", "A certificate of the PCK chain is of the future", "Set clocks.")
    TDX_PCK_EXTENSION = ("tdx.pck_extension", "The SGX extension of the PCK is wrong", "Renew the PCK certificate.")
    TDX_PCK_REVOKED = ("tdx.pck_revoked", "Intel has revoked this platform's PCK", "This platform cannot be trusted.")
    TDX_PCK_CA_REVOKED = ("tdx.pck_ca_revoked", "Intel has revoked the PCK's issuer", "Renew the PCK certificate.")

    # Collateral of Intel (steps 3 to 5)
    TDX_ROOT_CRL_MALFORMED = ("tdx.root_crl_malformed", "The root CA's CRL does not parse", "Fetch it again.")
    TDX_ROOT_CRL_ISSUER = ("tdx.root_crl_issuer", "The root CRL is another issuer's", "Fetch Intel's root CA CRL.")
    TDX_ROOT_CRL_SIGNATURE = ("tdx.root_crl_signature", "The root CRL is not signed by the root", "Fetch it again.")
    TDX_ROOT_CRL_EXPIRED = ("tdx.root_crl_expired", "The root CA's CRL has expired", "Fetch the current one.")
    TDX_ROOT_CRL_NOT_YET_VALID = ("tdx.root_crl_not_yet_valid", "The root CRL is of the future", "Set the clock.")
    TDX_PCK_CRL_MALFORMED = ("tdx.pck_crl_malformed", "The PCK CRL does not parse", "Fetch it again.")
    TDX_PCK_CRL_ISSUER = (
        "tdx.pck_crl_issuer",
        "The PCK CRL is not from the issuer of this PCK certificate",
        "Fetch the CRL of the CA (processor or platform) that issued the PCK certificate.",
    )
    TDX_PCK_CRL_SIGNATURE = ("tdx.pck_crl_signature", "The PCK CRL is not signed by its issuer", "Fetch it again.")
    TDX_PCK_CRL_EXPIRED = ("tdx.pck_crl_expired", "The PCK CRL has expired", "Fetch the current one.")
    TDX_PCK_CRL_NOT_YET_VALID = ("tdx.pck_crl_not_yet_valid", "The PCK CRL is of the future", "Set the clock.")
    TDX_PCK_CRL_CHAIN = ("tdx.pck_crl_chain", "The PCK CRL's issuer chain is not one", "Fetch it with the CRL.")
    TDX_TCB_SIGNING_CHAIN = (
        "tdx.tcb_signing_chain",
        "The issuer of the collateral is not Intel's TCB signing certificate",
        "Fetch the issuer chain together with the collateral.",
    )
    TDX_TCB_SIGNING_REVOKED = ("tdx.tcb_signing_revoked", "The TCB signing certificate is revoked", "Fetch anew.")
    TDX_TCB_INFO_MALFORMED = ("tdx.tcb_info_malformed", "The TCB Info breaks its schema", "Fetch version 3 again.")
    TDX_TCB_INFO_SIGNATURE = ("tdx.tcb_info_signature", "The TCB Info is not signed as it stands", "Fetch it again.")
    TDX_TCB_INFO_EXPIRED = ("tdx.tcb_info_expired", "The TCB Info has expired", "Fetch the current one.")
    TDX_TCB_INFO_NOT_YET_VALID = ("tdx.tcb_info_not_yet_valid", "The TCB Info is of the future", "Set the clock.")
    TDX_TCB_INFO_TYPE = ("tdx.tcb_info_type", "The TCB Info is for another TEE", "Fetch the one for this TEE.")
    TDX_TCB_INFO_MISMATCH = (
        "tdx.tcb_info_mismatch",
        "The TCB Info is for another platform (FMSPC or PCEID)",
        "Fetch the TCB Info of the FMSPC that the PCK certificate names.",
    )
    TDX_QE_IDENTITY_MALFORMED = ("tdx.qe_identity_malformed", "The QE Identity breaks its schema", "Fetch it again.")
    TDX_QE_IDENTITY_SIGNATURE = ("tdx.qe_identity_signature", "The QE Identity is not signed so", "Fetch it again.")
    TDX_QE_IDENTITY_EXPIRED = ("tdx.qe_identity_expired", "The QE Identity has expired", "Fetch the current one.")
    TDX_QE_IDENTITY_NOT_YET_VALID = ("tdx.qe_identity_not_yet_valid", "The QE Identity is of the future", "Set clocks.")
    TDX_QE_IDENTITY_TYPE = ("tdx.qe_identity_type", "The QE Identity is for another TEE", "Fetch QE or TD_QE.")
    TDX_ENDORSEMENTS_MISSING = (
        "tdx.endorsements_missing",
        "Collateral for this platform is missing",
        "Import the collateral that is named into the endorsements folder.",
    )
    ENDORSEMENTS_FILE = (
        "endorsements.file",
        "A file of endorsements is refused for what it is",
        "Use regular files of the service's own user, under the names of the endorsements page.",
    )
    ENDORSEMENTS_ARCHIVE = (
        "endorsements.archive",
        "The archive is refused as a whole",
        "Pack regular files with relative paths into a .zip or .tar.gz.",
    )
    ENDORSEMENTS_EXPIRED = (
        "endorsements.expired",
        "All endorsements have expired",
        "Import current ones into the endorsements folder.",
    )
    TDX_ROLLBACK = ("tdx.collateral_rollback", "Older collateral than was already seen", "Import the newer one.")

    # Intel: the quote itself
    TDX_QE_REPORT_SIGNATURE = ("tdx.qe_report_signature", "The QE report is not signed by the PCK", "Collect anew.")
    TDX_QE_REPORT_DATA = ("tdx.qe_report_data", "The QE does not vouch for this attestation key", "Collect anew.")
    TDX_QE_IDENTITY_MISMATCH = ("tdx.qe_identity_mismatch", "Not the quoting enclave of Intel's", "Update the QE.")
    TDX_QE_NOT_SUPPORTED = ("tdx.qe_not_supported", "The QE is older than any known level", "Update the QE.")
    TDX_ATTESTATION_KEY = ("tdx.attestation_key", "The attestation key is not a P-256 point", "Collect anew.")
    TDX_QUOTE_SIGNATURE = ("tdx.quote_signature", "The quote is not signed by its attestation key", "Collect anew.")
    TDX_MODULE_MISMATCH = ("tdx.tdx_module_mismatch", "The TDX module is not one of Intel's", "Update the module.")
    TDX_MODULE_NOT_SUPPORTED = ("tdx.tdx_module_not_supported", "The TDX module is older than any level", "Update it.")
    TDX_TCB_NOT_SUPPORTED = ("tdx.tcb_not_supported", "No TCB level fits this platform", "Update firmware.")
    TDX_TCB_REVOKED = ("tdx.tcb_revoked", "Intel has revoked this TCB level", "Update firmware, QE and TDX module.")

    # SEV-SNP: the report and the certificates beside it (snp.md, 2.1 and 2.4)
    SNP_REPORT_SIZE = ("snp.report_size", "Not as many bytes as a report has", "Send the 1184 bytes of the firmware.")
    SNP_REPORT_VERSION = ("snp.report_version", "Unknown report version", "Versions 2 to 5 are verified.")
    SNP_SIGNATURE_ALGORITHM = ("snp.signature_algorithm", "Unknown signature algorithm", "Use ECDSA P-384 (1).")
    SNP_RESERVED = ("snp.reserved", "A reserved field of the report is not zero", "Collect the report again.")
    SNP_POLICY_RESERVED = (
        "snp.policy_reserved",
        "A reserved bit of the guest policy is wrong",
        "Launch the guest anew.",
    )
    SNP_VMPL = ("snp.vmpl", "No guest has this privilege level", "Request the report in the guest.")
    SNP_KEY_INFO = ("snp.key_info", "A reserved bit of KEY_INFO is set", "Collect the report again.")
    SNP_SIGNING_KEY = ("snp.signing_key", "The report is signed by no known kind of key", "Use a VCEK or a VLEK.")
    SNP_MASK_CHIP_KEY = ("snp.mask_chip_key", "The firmware did not sign", "Clear MASK_CHIP_KEY on the host.")
    SNP_CPUID = ("snp.cpuid", "An unknown processor", "Milan, Genoa, Bergamo, Siena and Turin are verified.")
    SNP_CERT_TABLE = ("snp.cert_table", "The certificate table is not one", "Set the host's certificates anew.")
    SNP_ENDORSEMENTS_MISSING = (
        "snp.endorsements_missing",
        "Endorsements for this platform are missing",
        "Send the certificates with the report, or import those that are named into the endorsements folder.",
    )

    # SEV-SNP: the endorsement key and its chain (snp.md, 2.2 and 2.3)
    SNP_VEK_CHAIN = ("snp.vek_chain", "The chain of the VCEK or VLEK is not one", "Fetch VCEK and ASK again.")
    SNP_VEK_PROFILE = ("snp.vek_profile", "The certificate is no VCEK and no VLEK", "Send the one that AMD issued.")
    SNP_UNTRUSTED_ROOT = ("snp.untrusted_root", "The chain does not end in a pinned ARK", "Use AMD's own chain.")
    SNP_VEK_EXPIRED = ("snp.vek_expired", "A certificate of the chain has expired", "Renew it; a VLEK lasts a year.")
    SNP_VEK_NOT_YET_VALID = ("snp.vek_not_yet_valid", "A certificate of the chain is of the future", "Set the clock.")
    SNP_VEK_EXTENSION = (
        "snp.vek_extension",
        "AMD's extensions are incomplete or wrong",
        "Fetch the certificate again.",
    )
    SNP_PRODUCT_MISMATCH = (
        "snp.product_mismatch",
        "Report and certificates are of different product lines",
        "Send the certificates of this platform.",
    )
    SNP_ASK_REVOKED = ("snp.ask_revoked", "AMD has revoked the ASK or ASVK", "Fetch VCEK and ASK again.")
    SNP_CRL_MALFORMED = ("snp.crl_malformed", "The CRL does not parse", "Fetch it again.")
    SNP_CRL_ISSUER = ("snp.crl_issuer", "The CRL is not from the root of this chain", "Fetch the product line's CRL.")
    SNP_CRL_SIGNATURE = ("snp.crl_signature", "The CRL is not signed by the ARK", "Fetch it again.")
    SNP_CRL_EXPIRED = ("snp.crl_expired", "The CRL has expired", "Fetch the current one.")
    SNP_CRL_NOT_YET_VALID = ("snp.crl_not_yet_valid", "The CRL is of the future", "Set the clock.")
    SNP_CRL_ROLLBACK = ("snp.crl_rollback", "An older CRL than was already seen", "Import the newer one.")

    # SEV-SNP: the report itself
    SNP_SIGNING_KEY_MISMATCH = (
        "snp.signing_key_mismatch",
        "The certificate is of another kind than the key that signed",
        "Send the VCEK for a VCEK and the VLEK for a VLEK.",
    )
    SNP_TCB_MISMATCH = (
        "snp.tcb_mismatch",
        "The certificate is for another TCB than the reported one",
        "Fetch the VCEK for REPORTED_TCB.",
    )
    SNP_CHIP_ID_MISMATCH = ("snp.chip_id_mismatch", "The VCEK is of another chip", "Fetch the VCEK for CHIP_ID.")
    SNP_REPORT_SIGNATURE = ("snp.report_signature", "The report is not signed by its key", "Collect the report again.")
    SNP_TCB_ORDER = ("snp.tcb_order", "A TCB version is ahead of the one that runs", "Update the SEV firmware.")

    # SEV-SNP on Azure: the report in its wrapping, and the quote of the vTPM (snp.md, 2.6)
    SNP_HCL_MALFORMED = ("snp.hcl_malformed", "The HCL report does not parse", "Read NV index 0x01400001 whole.")
    SNP_HCL_VERSION = ("snp.hcl_version", "Unknown version of HCL report", "Versions 1 and 2 are verified.")
    SNP_HCL_REQUEST_TYPE = ("snp.hcl_request_type", "Not the HCL report of a vTPM", "Read NV index 0x01400001.")
    SNP_HCL_REPORT_TYPE = (
        "snp.hcl_report_type",
        "The HCL report is of another TEE",
        "Send it from a SEV-SNP machine; on Intel TDX send the quote.",
    )
    SNP_HCL_HASH_TYPE = ("snp.hcl_hash_type", "The runtime data is not hashed with SHA-256", "Use a vTPM that does.")
    SNP_HCL_RUNTIME_DATA = ("snp.hcl_runtime_data", "The runtime data breaks its schema", "Read the NV index again.")
    SNP_HCL_AK = ("snp.hcl_ak", "The runtime data names no acceptable attestation key", "Use Azure's vTPM as it is.")
    SNP_HCL_RUNTIME_HASH = (
        "snp.hcl_runtime_hash",
        "The report does not commit to this runtime data",
        "Send report and runtime data as they stand in one HCL report.",
    )
    SNP_VTPM_VMPL = ("snp.vtpm_vmpl", "The report is not the paravisor's", "Send what NV index 0x01400001 holds.")
    SNP_VTPM_QUOTE_MALFORMED = ("snp.vtpm_quote_malformed", "The TPM quote does not parse", "Send the TPMS_ATTEST.")
    SNP_VTPM_ATTEST_TYPE = ("snp.vtpm_attest_type", "Not a TPM's quote", "Send what TPM2_Quote returned.")
    SNP_VTPM_PCR_SELECTION = (
        "snp.vtpm_pcr_selection",
        "The quote is over other registers",
        "Quote PCR 0 to 23 of the SHA-256 bank.",
    )
    SNP_VTPM_QUOTE_SIGNATURE = (
        "snp.vtpm_quote_signature",
        "The quote is not signed by the vTPM's attestation key",
        "Quote with the key at 0x81000003, RSASSA with SHA-256, and send the bare signature.",
    )
    SNP_VTPM_PCR_DIGEST = ("snp.vtpm_pcr_digest", "The PCR values are not the quoted ones", "Read them with the quote.")
    SNP_VTPM_NONCE = ("snp.vtpm_nonce", "The quote answers another nonce", "Quote with the nonce as qualifying data.")

    # NVIDIA GPUs and NVSwitches: the report and the device's certificates (nvidia.md, 4.1 to 4.4)
    GPU_REPORT_SIZE = (
        "gpu.report_size",
        "The report is cut short, or more than a report",
        "Send request and response as they stand, up to the 96 bytes of the signature.",
    )
    GPU_SPDM_VERSION = ("gpu.spdm_version", "Unknown SPDM version", "SPDM 1.1 is verified.")
    GPU_SPDM_MESSAGE = (
        "gpu.spdm_message",
        "Not a request for all measurements and its answer",
        "Ask the driver for an attestation report.",
    )
    GPU_MEASUREMENT_RECORD = ("gpu.measurement_record", "The measurement record is not one", "Collect it again.")
    GPU_OPAQUE_DATA = ("gpu.opaque_data", "The opaque data of the report does not parse", "Collect the report again.")
    GPU_OPAQUE_VERSION = ("gpu.opaque_version", "Unknown version of opaque data", "Update attestd.")
    GPU_DEVICE_CHAIN = (
        "gpu.device_chain",
        "The certificates are no chain of a device",
        "Send all five as the driver gives them, leaf first.",
    )
    GPU_UNTRUSTED_ROOT = ("gpu.untrusted_root", "The chain does not end in NVIDIA's root for devices", "Use NVIDIA's.")
    GPU_DEVICE_EXPIRED = ("gpu.device_expired", "A certificate of the device has expired", "Collect them again.")
    GPU_DEVICE_NOT_YET_VALID = (
        "gpu.device_not_yet_valid",
        "A certificate of the device is of the future",
        "Set the clock.",
    )
    GPU_DEVICE_PROFILE = (
        "gpu.device_profile",
        "The certificates are of no known GPU or NVSwitch",
        "Hopper and Blackwell GPUs and LS10 switches are verified.",
    )
    GPU_FWID_EXTENSION = (
        "gpu.fwid_extension",
        "The certificate does not say which firmware it is for",
        "Collect the certificates again.",
    )

    # NVIDIA: the report against its device and the reference values (nvidia.md, 4.4, 4.6 and 4.7)
    GPU_REPORT_SIGNATURE = ("gpu.report_signature", "The report is not signed by its device", "Collect it again.")
    GPU_NONCE = ("gpu.nonce", "The report answers another nonce", "Ask the device with the nonce that is wanted.")
    GPU_DEVICE_KIND = (
        "gpu.device_kind",
        "The report is of another kind of device than its certificates",
        "Send each report with the certificates of its device.",
    )
    GPU_FWID = ("gpu.fwid", "The report is of other firmware than its certificate", "Send both from the same boot.")
    GPU_RIM_MISSING = (
        "gpu.rim_missing",
        "A RIM for this device is missing",
        "Import the RIM that is named into the endorsements folder.",
    )
    GPU_RIM_MISMATCH = (
        "gpu.rim_mismatch",
        "A RIM is for another device or version",
        "Fetch the RIM of the id that is named.",
    )
    GPU_RIM_CONFLICT = ("gpu.rim_conflict", "The RIMs of driver and VBIOS contradict each other", "Fetch both again.")
    GPU_MEASUREMENTS = (
        "gpu.measurements",
        "Measurements are not the golden ones",
        "Fetch the RIMs again, since NVIDIA renews them under the same id; else install genuine driver and VBIOS.",
    )

    # NVIDIA GPUs: the reference integrity manifests (nvidia.md, 4.6)
    GPU_RIM_MALFORMED = ("gpu.rim_malformed", "Not a RIM in the form that NVIDIA gives it", "Fetch it again.")
    GPU_RIM_CHAIN = ("gpu.rim_chain", "The certificates in the RIM are no chain of a signer", "Fetch it again.")
    GPU_RIM_UNTRUSTED_ROOT = (
        "gpu.rim_untrusted_root",
        "The RIM's chain does not end in NVIDIA's root for RIMs",
        "Fetch it from NVIDIA's RIM service.",
    )
    GPU_RIM_EXPIRED = (
        "gpu.rim_expired",
        "A certificate in the RIM has expired",
        "Fetch the RIM of the same id again: NVIDIA signs it anew.",
    )
    GPU_RIM_NOT_YET_VALID = ("gpu.rim_not_yet_valid", "A certificate in the RIM is of the future", "Set the clock.")
    GPU_RIM_SIGNATURE = ("gpu.rim_signature", "The RIM is not signed by its certificate's key", "Fetch it again.")
    GPU_RIM_DIGEST = ("gpu.rim_digest", "The RIM was changed after it was signed", "Fetch it again.")
    GPU_RIM_EMPTY = ("gpu.rim_empty", "The RIM has no active measurement", "Fetch it again.")
    GPU_RIM_ID = ("gpu.rim_id", "The answer is about another RIM", "Fetch the RIM of the id that is named.")
    GPU_RIM_ROLLBACK = ("gpu.rim_rollback", "An older RIM than was already seen", "Fetch the RIM of that name again.")
    GPU_RIM_SHA256 = ("gpu.rim_sha256", "The RIM is not the one that the answer names", "Fetch it again.")

    # NVIDIA: revocation answers (RFC 6960)
    GPU_OCSP_MALFORMED = ("gpu.ocsp_malformed", "The OCSP answer does not parse", "Ask the responder again.")
    GPU_OCSP_UNAVAILABLE = ("gpu.ocsp_unavailable", "The OCSP responder gave no answer", "Ask it again later.")
    GPU_OCSP_CERTIFICATE = (
        "gpu.ocsp_certificate",
        "The OCSP answer is about another certificate",
        "Ask for the status of the certificate that is named.",
    )
    GPU_OCSP_RESPONDER = (
        "gpu.ocsp_responder",
        "The OCSP answer is not from who may answer for this issuer",
        "Ask the responder that NVIDIA's certificates name.",
    )
    GPU_OCSP_SIGNATURE = ("gpu.ocsp_signature", "The OCSP answer is not signed by its responder", "Ask again.")
    GPU_OCSP_EXPIRED = ("gpu.ocsp_expired", "The OCSP answer has expired", "Ask for a current one.")
    GPU_OCSP_NOT_YET_VALID = ("gpu.ocsp_not_yet_valid", "The OCSP answer is of the future", "Set the clock.")
    GPU_OCSP_ROLLBACK = ("gpu.ocsp_rollback", "An older OCSP answer than the one that is there", "Ask again.")
    GPU_OCSP_NONCE = ("gpu.ocsp_nonce", "The OCSP answer is not to this request", "Ask again, with a new nonce.")
    GPU_REVOKED = ("gpu.revoked", "NVIDIA has revoked a certificate", "What it stands for cannot be trusted.")
    GPU_REVOCATION_UNKNOWN = (
        "gpu.revocation_unknown",
        "NVIDIA does not know a certificate that it issued",
        "Collect the certificates of this device again.",
    )

    # NVIDIA: several devices of one machine (nvidia.md, 4.9)
    GPU_DUPLICATE_DEVICE = ("gpu.duplicate_device", "One device is presented twice", "Send each device once.")
    GPU_TOPOLOGY_ARCHITECTURE = (
        "gpu.topology_architecture",
        "The devices are of several architectures",
        "Send the devices of one machine.",
    )
    GPU_TOPOLOGY_MODE = (
        "gpu.topology_mode",
        "The devices are in modes that do not go together",
        "Set all GPUs of the machine to one mode.",
    )
    GPU_TOPOLOGY_SWITCHES = (
        "gpu.topology_switches",
        "The GPUs are linked to other switches than those presented",
        "Send all GPUs and all switches of one machine, and nothing else.",
    )
    GPU_TOPOLOGY_GPUS = (
        "gpu.topology_gpus",
        "A switch is linked to other GPUs than those presented",
        "Send all GPUs and all switches of one machine, and nothing else.",
    )
    GPU_TOPOLOGY_PDI = (
        "gpu.topology_pdi",
        "A switch reports another identity than its certificate",
        "Collect the evidence of this switch again.",
    )

    # Event logs
    EVENT_LOG_MALFORMED = ("event_log.malformed", "The event log does not parse", "Send the raw CCEL or dstack's JSON.")
    EVENT_LOG_MISMATCH = (
        "event_log.mismatch",
        "The event log does not replay to the quoted RTMRs",
        "Send the log of the same boot as the quote.",
    )

    # Binding
    BINDING_SCHEME = ("binding.scheme", "The binding scheme is not accepted", "Use one that the policy names.")
    BINDING_REPORT_DATA = (
        "binding.report_data",
        "The report data does not commit to this key, challenge and models",
        "Compute the report data from the transcript in the binding page.",
    )
    BINDING_KEY = ("binding.key", "The enclave key is not acceptable", "Use Ed25519, P-256, P-384, X25519 or RSA-3072.")
    BINDING_PROOF = ("binding.proof", "The key did not sign the context", "Sign the context with the enclave key.")
    BINDING_CERTIFICATE = ("binding.certificate", "Not a Cocoon RA-TLS certificate", "Send the one DER certificate.")
    BINDING_MODELS = ("binding.models", "A model digest is not a SHA-256 digest", "Write sha256:<64 hex digits>.")

    # Policy
    POLICY_MALFORMED = ("policy.malformed", "The policy does not load", "Run `attestd policy check` on it.")
    POLICY_UNKNOWN = ("policy.unknown", "No such policy", "Name a policy listed under /v1/policies.")
    POLICY_ROLLBACK = ("policy.rollback", "The policy is older than the one in force", "Raise its version.")
    NOT_AFFIRMING = ("policy.not_affirming", "Authentic, but not acceptable under the policy", "See the findings.")

    # Cells of the TVM, and what is built of them (registry.md)
    CELL_MALFORMED = ("cell.malformed", "Not a cell, or not the cells that are wanted here", "Fetch them again.")
    CELL_PRUNED = ("cell.pruned", "The proof leaves out what is asked for", "Ask for a proof of this very key.")
    CELL_PROOF = ("cell.proof", "The Merkle proof is of another root", "Fetch proof and root together.")
    BOC_MALFORMED = ("cell.boc_malformed", "Not a strict bag of cells", "Fetch it again.")
    ADDRESS_MALFORMED = ("address.malformed", "Not an address on TON", "Write 0:<64 hex digits>, or its base64 form.")

    # The log, the map and their checkpoints
    LOG_MALFORMED = ("log.malformed", "Not a part of a log of this form", "Fetch it again.")
    LOG_RECORD = ("log.record", "Not a record of the log in its one form", "Fetch it again.")
    LOG_INCLUSION = ("log.inclusion", "The record is not shown to be in the log", "Ask for a proof of this tree size.")
    LOG_CONSISTENCY = (
        "log.consistency",
        "The log is not shown to go on from the older one",
        "Keep both checkpoints: if no proof can be had, the log was rewritten.",
    )
    LOG_MAP = (
        "log.map",
        "The map on chain is not what the records of the log make",
        "Trust no key of this registry: its verifiers have signed a map that its log does not make.",
    )
    LOG_SIZE = ("log.size", "There are more keys than are read at once", "Read the log with a program of your own.")
    LOG_STATE = (
        "log.state",
        "The file remembers another log, or was damaged",
        "Name the file of this log and registry; without one, nothing tells a log that was rewritten.",
    )
    LOG_BEHIND = (
        "log.behind",
        "The copy of the log ends before what is on chain",
        "Name another copy: that of the co-signer that has signed last.",
    )
    LOG_SERVICE = ("log.service", "The service of the log does not answer as it should", "Compare its URL; ask again.")
    MAP_PROOF = ("map.proof", "The proof says nothing of this key in this map", "Ask for the proof of this epoch.")
    CHECKPOINT_SIGNATURES = (
        "checkpoint.signatures",
        "Too few verifiers have signed the checkpoint",
        "Use the checkpoint of this registry and network, and the verifiers in force.",
    )
    NOTE_MALFORMED = ("note.malformed", "Not a signed note, or its key is not one", "Fetch it again.")
    NOTE_SIGNATURE = ("note.signature", "The note is not signed by a known key", "Name the key of this log.")

    # Reference values
    MEASURE_PACKAGE = (
        "measure.package",
        "Measuring a launch needs a package that is not installed",
        "Install sev-snp-measure, or attestd with its extra: pip install 'attestd[measure]'.",
    )
    MEASURE_INPUT = ("measure.input", "No launch can be measured of this", "Give what the machine is started with.")

    # Anchors, settings, build
    ANCHOR_UNPINNED = ("anchor.unpinned", "A trust anchor is not the pinned one", "Restore certs/ from the release.")
    ANCHOR_MIXED = ("anchor.mixed", "Vendors' own trust anchors beside others", "Name vendors' own alone, or none.")
    ANCHOR_MISSING = ("anchor.missing", "There is no trust anchor", "Name at least one root certificate.")
    CLOCK = ("clock.before_build", "The clock is before the build of this software", "Set the clock.")
    CLOCK_APART = ("clock.database", "The clock and the database server's are apart", "Set the clock that is wrong.")
    SETTINGS = ("settings.refused", "The configuration is refused", "Mend the setting that is named.")

    # The chain: what it said, or failed to say. Nothing here is a verdict on evidence
    CHAIN_UNAVAILABLE = (
        "chain.unavailable",
        "Too few liteservers answer",
        "Retry later; if it stays so, name other liteservers in the network file.",
    )
    CHAIN_STALE = (
        "chain.stale",
        "The liteserver's last block is not of this minute",
        "Set the clock; if it is right, name other liteservers in the network file.",
    )
    CHAIN_DISAGREES = (
        "chain.disagrees",
        "Too few liteservers say the same",
        "Retry; if it stays so, find out which of them lies and name another.",
    )
    CHAIN_PROOF = (
        "chain.proof",
        "A liteserver's answer is not proved",
        "Retry; if it stays so, name other liteservers in the network file.",
    )
    CHAIN_NETWORK = ("chain.network", "The network file is refused", "Use TON's global config form; see the README.")
    CHAIN_ACCOUNT = (
        "chain.account",
        "The account is not in the state that it has to be in",
        "Deploy the contract, or name the address that it has; a frozen account needs TON.",
    )
    CHAIN_CODE = ("chain.code", "The contract's code is not the pinned one", "Find out who upgraded it; trust nothing.")
    CHAIN_STATE = ("chain.state", "The contract's storage is not a registry's", "Name the address of the registry.")
    CHAIN_OWNER = (
        "chain.owner",
        "The contract is governed by others than those pinned",
        "Find out who changed it; if that is right, pin the new ones in the network file.",
    )
    CHAIN_PAUSED = ("chain.paused", "The registry's admin has paused it", "No key is trusted until it is unpaused.")
    CHAIN_UNPUBLISHED = ("chain.unpublished", "The registry has no checkpoint yet", "Wait for the first publication.")
    CHAIN_EXPIRED = (
        "chain.expired",
        "The checkpoint on chain has expired",
        "No key is trusted until the registry publishes again.",
    )
    CHAIN_EPOCH = (
        "chain.epoch",
        "The proof belongs to another checkpoint than the one on chain",
        "Ask the service for the proof again; one of the two is behind for a moment.",
    )
    CHAIN_KEY_PROOF = (
        "chain.key_proof",
        "The proof of the key cannot be had",
        "Name a file with it, or the URL of a service that knows the key: …/v1/proofs/KEY_ID.",
    )
    CHAIN_AHEAD = (
        "chain.ahead",
        "The chain has a checkpoint that this database does not know",
        "If a backup was restored: `attestd log recover --from COPY`. Else somebody else has the verifiers' keys.",
    )
    CHAIN_FROZEN = ("chain.frozen", "The account is frozen", "Send it TON and its state; publication then goes on.")
    CHAIN_BALANCE = ("chain.balance", "The wallet has too little TON to publish", "Send TON to the wallet.")
    CHAIN_SPENDING_CAP = (
        "chain.spending_cap",
        "Publishing has cost as much today as it may",
        "Wait, or raise chain_spending_cap; look for what the fees are spent on.",
    )
    CHAIN_QUORUM = (
        "chain.quorum",
        "Too few verifiers have signed the checkpoint",
        "See why the co-signers that are named do not sign; publication goes on when they do.",
    )
    CHAIN_REFUSED = (
        "chain.refused",
        "The chain refused a checkpoint or the wallet's message",
        "See the exit code that is named; it is tried again, more and more rarely.",
    )
    CHAIN_OUTDATED = (
        "chain.outdated",
        "What was signed is not to be trusted any more",
        "Nothing: it is held back until it can no longer be published, and the next checkpoint is made without it.",
    )
    CHAIN_CLOCK = ("chain.clock", "The clock and the chain's are apart", "Set the clock.")
    LEASE_LOST = ("chain.lease_lost", "Another process publishes now", "Nothing: one process publishes at a time.")
    CHAIN_WALLET = ("chain.wallet", "The wallet cannot do that", "See `attestd chain wallet show`.")
    CHAIN_ORDER = (
        "chain.order",
        "The registry's contract takes no such order",
        "See admin, verifiers and proposals in `attestd chain status`.",
    )
    WALLET_KEY = (
        "chain.wallet_key",
        "The key file of a wallet or verifier is refused",
        "Keep 32 bytes in hex in a regular file of the service's own user, with mode 0600.",
    )

    # Co-signing: why a verifier does not sign what another registry would publish
    COSIGN_CANDIDATE = (
        "cosign.candidate",
        "Not a candidate of the registry that is co-signed",
        "Compare cosign_leader, cosign_log_key, network and address of the registry with those of the other side.",
    )
    COSIGN_WINDOW = (
        "cosign.window",
        "The candidate is of another time, or for longer than is co-signed",
        "Compare clocks and checkpoint_validity of both sides.",
    )
    COSIGN_CONFLICT = (
        "cosign.conflict",
        "Another candidate of this epoch was signed and may still land",
        "Wait until that one has expired; find out why there are two.",
    )
    COSIGN_POLICY = (
        "cosign.policy",
        "The policies are not those that the verifier has a copy of",
        "Compare the policies; copy those that are right into the verifier's folder.",
    )
    COSIGN_HISTORY = (
        "cosign.history",
        "The log does not go on from the one that the verifier holds",
        "Keep both logs, and find out who has rewritten one of them; sign nothing until then.",
    )
    COSIGN_RECORD = (
        "cosign.record",
        "A record is not what the log says that it is",
        "Run `attestd log fsck` on the registry; if that finds nothing, the registry lies.",
    )
    COSIGN_MAP = (
        "cosign.map",
        "The map is not what the records make",
        "Run `attestd log fsck` on the registry; if that finds nothing, the registry lies.",
    )
    COSIGN_EVIDENCE = (
        "cosign.evidence",
        "The evidence is not that of the result in the log",
        "Run `attestd log fsck` on the registry; if that finds nothing, the registry lies.",
    )
    COSIGN_ENTRY = (
        "cosign.entry",
        "The entry says something else than the evidence",
        "Find out how the key came into the map; revoke it.",
    )
    COSIGN_REVIVED = (
        "cosign.revived",
        "A key comes back into the map that the log says must not",
        "Find out how it came into the map: what was revoked or shortened stays so.",
    )
    COSIGN_APPRAISAL = (
        "cosign.appraisal",
        "By the verifier's own appraisal the evidence is not affirming",
        "Compare endorsements, trust anchors and clocks of both sides; revoke the key if the verifier is right.",
    )
    COSIGN_BEHIND = (
        "cosign.behind",
        "The verifier has more records to catch up with than it takes at once",
        "Start it from a copy of another verifier's database.",
    )
    COSIGN_PEER = (
        "cosign.peer",
        "The other side of co-signing does not answer as it should",
        "See whether it runs, and its certificate and API key; it is asked again.",
    )

    # Cocoon's root contract
    COCOON_STATE = (
        "cocoon.state",
        "Not the state of Cocoon's root contract",
        "Name the root contract, or a bag of cells with its data.",
    )
    COCOON_STRUCT_VERSION = (
        "cocoon.struct_version",
        "Unknown version of the state of Cocoon's root contract",
        "Update attestd; until then approve hashes by hand.",
    )
    COCOON_MESSAGE = ("cocoon.message", "Not a message of the root contract's owner", "Send a body of another op.")
    COCOON_UNKNOWN = (
        "cocoon.unknown",
        "The state of Cocoon's root contract says more than attestd can read",
        "Find out what it means, or update attestd; until then approve hashes by hand.",
    )
    COCOON_REGISTRY = (
        "cocoon.registry",
        "The registry does not answer as it should",
        "Name the listeners of a running service, and the API key of an administrator.",
    )

    # The service
    REQUEST_PATH = ("request.not_found", "There is nothing here", "See the API reference at /docs.")
    REQUEST_METHOD = ("request.method", "This path does not take that method", "See the API reference at /docs.")
    REQUEST_MALFORMED = ("request.malformed", "The request is malformed", "See the API reference at /docs.")
    REQUEST_SIZE = ("request.size", "The body is too large", "Send at most the size that is named.")
    REQUEST_TYPE = ("request.media_type", "The media type is not accepted", "Use application/json or application/cbor.")
    REQUEST_TIMEOUT = ("request.timeout", "The request came too slowly", "Send the whole request within 10 s.")
    REQUEST_RATE = ("request.rate", "Too many requests", "Wait as long as Retry-After says.")
    UNAUTHENTICATED = ("access.unauthenticated", "No API key that is known and in force", "Send a bearer API key.")
    FORBIDDEN = ("access.forbidden", "This API key may not do that", "Use a key with the role that is named.")
    CHALLENGE_UNKNOWN = ("challenge.unknown", "Not a challenge of this service for this caller", "Ask for a new one.")
    CHALLENGE_EXPIRED = ("challenge.expired", "The challenge has expired", "Ask for a new one.")
    CHALLENGE_USED = ("challenge.used", "The challenge was used before", "Ask for a new one.")
    CHALLENGE_LIMIT = ("challenge.limit", "Too many challenges await an answer", "Answer those, or let them expire.")
    KEY_OWNED = ("key.owned", "The key belongs to another provider", "Make a key of your own.")
    KEY_REVOKED = ("key.revoked", "The key, or what it rests on, was revoked", "Make a new key on trusted hardware.")
    PLATFORM_CONFLICT = ("platform.conflict", "The platform belongs to another provider", "Ask the operator.")
    PLATFORM_KEYS = ("platform.keys", "The platform has as many live keys as it may", "Use a key that it has, or wait.")
    MODEL_UNKNOWN = ("model.unknown", "A model is not approved", "Use models listed under /v1/models.")
    VERSION_CONFLICT = ("request.version_conflict", "It was changed meanwhile", "Read it again and retry.")
    DATABASE_UNAVAILABLE = ("service.database_unavailable", "The database does not answer", "Retry later.")
    REGISTRY_INTEGRITY = ("registry.integrity", "A stored record is not what was recorded", "Restore the database.")
    STARTING = ("service.starting", "The service has just started", "Retry in a moment; keys are answered meanwhile.")
    OVERLOADED = ("service.overloaded", "The service is at its limit", "Retry after the time that is named.")
    INTERNAL = ("service.internal", "The service failed; nothing was recorded", "Report it with the request id.")


class AttestdError(Exception):
    """A refusal: the reason, what was found, what was wanted.

    `found` and `wanted` are short and made by attestd; they never carry input of unbounded size or of unknown alphabet.
    """

    def __init__(self, reason: Reason, *, found: str, wanted: str) -> None:
        """Keep the parts apart, so that each interface can show them in its own form."""
        self.reason = reason
        self.found = found
        self.wanted = wanted
        super().__init__(f"{reason.summary}: found {found}; wanted {wanted}. {reason.hint}")


class Malformed(AttestdError):
    """The bytes are not of the form that they claim."""


class NotAuthentic(AttestdError):
    """The bytes parse, but a check of authenticity failed. Final: sending them again will not help."""


class EndorsementRejected(NotAuthentic):
    """Collateral is forged, malformed, of the wrong kind or outside its window. The evidence may still be good."""


class Unavailable(AttestdError):
    """Something outside the evidence is missing or does not answer. Retryable; never recorded as a verdict."""


class RequestRefused(AttestdError):
    """The service refuses the request whatever the evidence says."""


class ConfigurationRefused(AttestdError):
    """What the operator configured is broken or insecure; attestd does not start, or does not load it."""
