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
    SIMULATED = ("evidence.simulated", "Simulated hardware is not trusted here", "Use real hardware.")

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

    # Anchors, settings, build
    ANCHOR_UNPINNED = ("anchor.unpinned", "A trust anchor is not the pinned one", "Restore certs/ from the release.")
    ANCHOR_MISSING = ("anchor.missing", "There is no trust anchor", "Name at least one root certificate.")
    CLOCK = ("clock.before_build", "The clock is before the build of this software", "Set the clock.")
    SETTINGS = ("settings.refused", "The configuration is refused", "Mend the setting that is named.")

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
    KEY_OWNED = ("key.owned", "The key belongs to another provider", "Make a key of your own.")
    KEY_REVOKED = ("key.revoked", "The key, or what it rests on, was revoked", "Make a new key on trusted hardware.")
    PLATFORM_CONFLICT = ("platform.conflict", "The platform belongs to another provider", "Ask the operator.")
    PLATFORM_KEYS = ("platform.keys", "The platform has as many live keys as it may", "Use a key that it has, or wait.")
    MODEL_UNKNOWN = ("model.unknown", "A model is not approved", "Use models listed under /v1/models.")
    VERSION_CONFLICT = ("request.version_conflict", "It was changed meanwhile", "Read it again and retry.")
    DATABASE_UNAVAILABLE = ("service.database_unavailable", "The database does not answer", "Retry later.")
    REGISTRY_INTEGRITY = ("registry.integrity", "A stored record is not what was recorded", "Restore the database.")
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
