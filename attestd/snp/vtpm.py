"""Azure's vTPM: that its quote belongs to an authenticated SNP report.

What is trusted, and why (snp.md, 2.6): AMD's key signs the report; REPORT_DATA commits to the runtime data; that names
the attestation key; and that key, which the paravisor keeps from the guest, signs the quote. So the quote's PCRs are
what the guest booted, of which MEASUREMENT, the paravisor's, says nothing.

1. The report is of VMPL 0, the paravisor's level: a guest below it could name a key of its own.
2. REPORT_DATA is the SHA-256 of the runtime data, and 32 zero bytes.
3. The quote is signed by HCLAkPub of the runtime data: RSASSA-PKCS1-v1_5 with SHA-256.
4. The PCR values, where they came along, are those that the quote has the digest of.

That the paravisor is Azure's is not seen here: any SNP machine elsewhere can have runtime data and a key of its making.
So a policy that takes these claims must name MEASUREMENT or ID_KEY_DIGEST beside the PCRs that it wants.

What the quote answers is in its extraData, which takes the place of REPORT_DATA in key binding. Its rule is
`vtpm_extra_data` in attestd/binding/transcript.py.
"""

from hashlib import sha256
from typing import Final, NamedTuple

from attestd.claims import SnpClaims, export_value
from attestd.codec import Json, dump_base64url
from attestd.errors import NotAuthentic, Reason
from attestd.signature import rsa_public_key, verify_rsa_pkcs1_sha256
from attestd.snp.hcl import HclReport, VmConfiguration
from attestd.snp.tpm import PCR_SIZE, PCRS, TpmQuote

_PARAVISOR: Final = 0
_EVIDENCE_ID: Final = b"attestd/evidence-id/v1/snp-vtpm\0"


class VtpmClaims(NamedTuple):
    """What has been verified of an Azure vTPM. Only `verify_vtpm` makes it."""

    ak_thumbprint: bytes  # SHA-256 of HCLAkPub as a JSON Web Key (RFC 7638)
    extra_data: bytes  # 0 to 64 bytes
    clock: int  # milliseconds that the vTPM was powered
    reset_count: int
    restart_count: int
    safe: bool
    firmware_version: bytes  # 8 bytes, of the vTPM
    qualified_signer: bytes
    pcr_digest: bytes  # SHA-256 over PCR 0 to 23
    pcrs: tuple[bytes, ...] | None  # PCR 0 to 23 of the SHA-256 bank; None where only their digest is known
    hcl_version: int
    vm_configuration: VmConfiguration
    user_data: bytes | None  # 64 bytes that the guest had put into the runtime data
    # SHA-256, domain-separated, over the report's own and the signed bytes of the quote: a report serves many quotes.
    evidence_id: bytes


def verify_vtpm(
    claims: SnpClaims, hcl: HclReport, quote: TpmQuote, signature: bytes, pcrs: tuple[bytes, ...] | None
) -> VtpmClaims:
    """Verify a quote of the vTPM of the machine that `hcl.report` attests.

    `claims` are what `hcl.report` was verified to. `signature` is as long as the key's modulus, big-endian. `pcrs` are
    24 values of 32 bytes, or None. Raises `NotAuthentic` with `snp.vtpm_vmpl`, `snp.hcl_runtime_hash`,
    `snp.vtpm_quote_signature` or `snp.vtpm_pcr_digest`.
    """
    if claims.vmpl != _PARAVISOR:  # (1)
        raise NotAuthentic(Reason.SNP_VTPM_VMPL, found=f"VMPL {claims.vmpl}", wanted=f"VMPL {_PARAVISOR}")
    _require_commitment(hcl.runtime_data, claims.report_data)  # (2)
    key = rsa_public_key(hcl.ak_modulus)
    verify_rsa_pkcs1_sha256(key, signature, quote.signed, Reason.SNP_VTPM_QUOTE_SIGNATURE)  # (3)
    if pcrs is not None:
        _require_pcrs(pcrs, quote.pcr_digest)  # (4)
    return VtpmClaims(
        ak_thumbprint=ak_thumbprint(hcl.ak_modulus),
        extra_data=quote.extra_data,
        clock=quote.clock,
        reset_count=quote.reset_count,
        restart_count=quote.restart_count,
        safe=quote.safe,
        firmware_version=quote.firmware_version,
        qualified_signer=quote.qualified_signer,
        pcr_digest=quote.pcr_digest,
        pcrs=pcrs,
        hcl_version=hcl.version,
        vm_configuration=hcl.vm_configuration,
        user_data=hcl.user_data,
        evidence_id=vtpm_evidence_id(claims.evidence_id, quote),
    )


def vtpm_evidence_id(report: bytes, quote: TpmQuote) -> bytes:
    """Return the id of a report, known by its own id, together with a quote."""
    return sha256(_EVIDENCE_ID + report + quote.signed).digest()


def require_nonce(claims: VtpmClaims, nonce: bytes) -> None:
    """Require that the quote answers `nonce`, byte for byte. Raises `NotAuthentic` (`snp.vtpm_nonce`)."""
    if claims.extra_data != nonce:
        raise NotAuthentic(Reason.SNP_VTPM_NONCE, found=claims.extra_data.hex() or "nothing", wanted=nonce.hex())


def export_vtpm(claims: VtpmClaims) -> dict[str, Json]:
    """Return the claims for JSON, byte strings in lower-case hex; the evidence id is shown apart."""
    exported = {name: export_value(value) for name, value in claims._asdict().items() if name != "evidence_id"}
    configuration = {name: export_value(value) for name, value in claims.vm_configuration._asdict().items()}
    return {**exported, "vm_configuration": configuration}


def _require_commitment(runtime_data: bytes, report_data: bytes) -> None:
    expected = sha256(runtime_data).digest() + bytes(32)
    if report_data != expected:
        raise NotAuthentic(Reason.SNP_HCL_RUNTIME_HASH, found=report_data.hex(), wanted=expected.hex())


def _require_pcrs(pcrs: tuple[bytes, ...], digest: bytes) -> None:
    """Compare digests; values of another size could run together to the same bytes.

    A key that is not Azure's may have signed the digest of fewer values, so these are counted, too.
    """
    found = sha256(b"".join(pcrs)).digest()
    if found != digest or len(pcrs) != PCRS or any(len(value) != PCR_SIZE for value in pcrs):
        raise NotAuthentic(
            Reason.SNP_VTPM_PCR_DIGEST,
            found=f"{len(pcrs)} values with the digest {found.hex()}",
            wanted=f"{PCRS} with {digest.hex()}",
        )


def ak_thumbprint(modulus: bytes) -> bytes:
    """Return the thumbprint (RFC 7638, SHA-256) of an RSA key with the exponent 65537."""
    return sha256(f'{{"e":"AQAB","kty":"RSA","n":"{dump_base64url(modulus)}"}}'.encode()).digest()
