"""The attestation key of a quote, and the quoting enclave that vouches for it.

Source: Intel's quote verification library; tdx.md, step 7. A quoting enclave makes one key and signs every quote of its
platform with it, so what is authenticated here is good for all of them.
"""

from hashlib import sha256
from typing import NamedTuple

from attestd.claims import QeClaims
from attestd.errors import NotAuthentic, Reason
from attestd.signature import PublicKey, p256_public_key, verify_p256
from attestd.tdx.pck import PckChain
from attestd.tdx.quote import QeCertification, Quote, SgxReport, parse_sgx_report


class AttestationKey(NamedTuple):
    """An authenticated attestation key: a platform's PCK vouches for the enclave, and the enclave for the key.

    Immutable. Whether that enclave is Intel's is for `verify`, which has the QE Identity.
    """

    public_key: PublicKey
    pck: PckChain
    qe_report: SgxReport
    claims: QeClaims
    raw: bytes  # x ‖ y
    certification: QeCertification  # the bytes that all of this follows from

    def certifies(self, quote: Quote) -> bool:
        """Whether a quote names this key and carries the same certification, byte for byte."""
        return quote.attestation_key == self.raw and quote.qe == self.certification


def authenticate_attestation_key(quote: Quote, pck: PckChain) -> AttestationKey:
    """Verify that the PCK signed the QE report and that the QE report vouches for the attestation key of `quote`.

    `pck` is the authenticated chain of that very quote. Raises `NotAuthentic`: `tdx.qe_report_signature`,
    `tdx.qe_report_data`, `tdx.attestation_key`.
    """
    qe = quote.qe
    verify_p256(pck.public_key, qe.signature, qe.report, Reason.TDX_QE_REPORT_SIGNATURE)
    report = parse_sgx_report(qe.report)
    # Intel compares the first half only; the second is zero in every genuine QE report, so nothing else may pass there.
    bound = sha256(quote.attestation_key + qe.authentication_data).digest() + bytes(32)
    if report.report_data != bound:
        raise NotAuthentic(Reason.TDX_QE_REPORT_DATA, found=report.report_data.hex(), wanted=bound.hex())
    claims = QeClaims(report.miscselect, report.attributes, report.mrsigner, report.isvprodid, report.isvsvn)
    return AttestationKey(p256_public_key(quote.attestation_key), pck, report, claims, quote.attestation_key, qe)
