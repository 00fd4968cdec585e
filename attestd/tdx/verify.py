"""Verification of one Intel quote: the whole story, in Intel's order.

Source: Intel's quote verification library; tdx.md, section 3, Steps. The first check that fails raises; the claims are
made last, so that there are none unless every check has passed.
"""

from datetime import datetime
from typing import Final

from attestd.claims import Flag, IntelClaims, SgxClaims, TdxClaims
from attestd.errors import EndorsementRejected, NotAuthentic, Reason
from attestd.signature import verify_p256
from attestd.tdx.collateral import Collateral
from attestd.tdx.pck import PckChain
from attestd.tdx.qe import AttestationKey
from attestd.tdx.quote import Quote, SgxReport, TdReport
from attestd.tdx.tcb import require_qe_identity, select_tcb

# TDATTRIBUTES by bit (Linux, asm/shared/tdx.h; SERVTD_EXT: Open Enclave). What is not here is reserved.
_SEPT_VE_DISABLE: Final = 1 << 28
_TD_ATTRIBUTES: Final = {
    1 << 0: Flag.DEBUG,
    1 << 4: Flag.PROFILING,  # HGS_PLUS_PROF
    1 << 5: Flag.PROFILING,  # PERF_PROF
    1 << 6: Flag.PROFILING,  # PMT_PROF
    1 << 16: Flag.ICSSD,
    1 << 17: Flag.SERVICE_TD_EXT,
    1 << 27: Flag.LASS,
    1 << 29: Flag.MIGRATABLE,
    1 << 30: Flag.PKS,
    1 << 31: Flag.KEY_LOCKER,
    1 << 62: Flag.TPA,
    1 << 63: Flag.PERFMON,
}
_RESERVED_TD_ATTRIBUTES: Final = 2**64 - 1 - _SEPT_VE_DISABLE - sum(_TD_ATTRIBUTES)
# XFAM: x87 and SSE are always on; bits outside of the second mask do not exist (TDX module specification, XFAM).
_XFAM_FIXED_1: Final = 0x3
_XFAM_KNOWN: Final = 0x0006DBE7
_SGX_DEBUG: Final = 0x02  # SGX ATTRIBUTES.FLAGS


def verify(quote: Quote, key: AttestationKey, collateral: Collateral, at: datetime) -> IntelClaims:
    """Verify a quote with its authenticated attestation key and authenticated collateral, at the time `at`.

    Steps 1, 2 and 7 (parsing, PCK chain, quoting enclave) made `quote` and `key`, steps 3 to 5 (CRLs, TCB Info, QE
    Identity) made `collateral`; chain and collateral are refused here outside of their windows. What remains:

    (3) the PCK is not revoked, by the CRL of its own issuer; (6) the collateral is for this TEE, FMSPC and PCEID;
    (8) the quoting enclave is Intel's; (9) the attestation key signed the quote; (10) to (13) TDX module and TCB level,
    converged.

    Raises `NotAuthentic` with the first reason; `EndorsementRejected` where the collateral is what does not fit.
    `ValueError` where `key` is of another quote: the caller's mistake, which must not pass for a verdict.
    """
    if not key.certifies(quote):
        raise ValueError("the attestation key of another quote")
    pck = key.pck
    pck.require_current(at)
    collateral.require_current(at)
    _require_unrevoked(pck, collateral)  # (3)
    _require_same_platform(quote, pck, collateral)  # (6)
    require_qe_identity(collateral.qe_identity, key.qe_report)  # (8)
    verify_p256(key.public_key, quote.signature, quote.signed, Reason.TDX_QUOTE_SIGNATURE)  # (9)
    tcb = select_tcb(collateral, pck.claims, key.qe_report, quote.body)  # (10) - (13)
    validity = pck.validity.narrowed(collateral.validity)
    match quote.body:
        case TdReport() as body:
            return TdxClaims(
                *body,
                quote.evidence_id,
                quote.version,
                quote.user_data,
                td_flags(body),
                tcb,
                pck.claims,
                key.claims,
                validity,
                collateral.digests,
                len(quote.trailing),
            )
        case SgxReport() as body:
            return SgxClaims(
                *body,
                quote.evidence_id,
                quote.version,
                quote.user_data,
                sgx_flags(body),
                tcb,
                pck.claims,
                key.claims,
                validity,
                collateral.digests,
                len(quote.trailing),
            )


def _require_unrevoked(pck: PckChain, collateral: Collateral) -> None:
    if pck.root != collateral.root:
        raise EndorsementRejected(
            Reason.TDX_UNTRUSTED_ROOT, found="collateral below another root", wanted="the root of the PCK chain"
        )
    if not collateral.pck_crl.speaks_for(pck.issuer):
        raise EndorsementRejected(
            Reason.TDX_PCK_CRL_ISSUER,
            found=f"a CRL of the {collateral.pck_ca} CA",
            wanted=f"a CRL of the {pck.claims.pck_ca} CA with the key that issued the PCK certificate",
        )
    if pck.issuer.serial_number in collateral.root_crl.revoked:
        raise NotAuthentic(
            Reason.TDX_PCK_CA_REVOKED, found=f"issuer {pck.issuer.serial_number:x} in the CRL", wanted="not revoked"
        )
    if pck.claims.pck_serial_number in collateral.pck_crl.revoked:
        raise NotAuthentic(
            Reason.TDX_PCK_REVOKED,
            found=f"serial number {pck.claims.pck_serial_number:x} in the CRL",
            wanted="not in it",
        )


def _require_same_platform(quote: Quote, pck: PckChain, collateral: Collateral) -> None:
    info, claims = collateral.tcb_info, pck.claims
    if quote.tee != info.tee:
        raise EndorsementRejected(
            Reason.TDX_TCB_INFO_TYPE, found=f"TCB Info for {info.tee}", wanted=f"TCB Info for {quote.tee}"
        )
    if quote.tee != collateral.qe_identity.tee:
        raise EndorsementRejected(
            Reason.TDX_QE_IDENTITY_TYPE,
            found=f"the identity of the {collateral.qe_identity.tee} quoting enclave",
            wanted=f"the identity of the {quote.tee} quoting enclave",
        )
    if claims.fmspc != info.fmspc or claims.pce_id != info.pce_id:
        raise EndorsementRejected(
            Reason.TDX_TCB_INFO_MISMATCH,
            found=f"TCB Info for FMSPC {info.fmspc.hex()}, PCEID {info.pce_id.hex()}",
            wanted=f"FMSPC {claims.fmspc.hex()}, PCEID {claims.pce_id.hex()}",
        )


def td_flags(td: TdReport) -> tuple[Flag, ...]:
    """Return the facts of a TD report that a policy decides on, attribute bits first."""
    attributes, xfam = int.from_bytes(td.td_attributes, "little"), int.from_bytes(td.xfam, "little")
    flags: list[Flag] = []
    if attributes != _SEPT_VE_DISABLE:  # the rule: that one alone
        flags += (flag for bit, flag in _TD_ATTRIBUTES.items() if attributes & bit)
        if attributes & _RESERVED_TD_ATTRIBUTES:
            flags.append(Flag.RESERVED_ATTRIBUTE_BITS)
        if not attributes & _SEPT_VE_DISABLE:
            flags.append(Flag.SEPT_VE_DISABLE_NOT_SET)
    if td.mrservicetd is not None and any(td.mrservicetd):
        flags.append(Flag.SERVICE_TD_BOUND)
    if xfam & _XFAM_FIXED_1 != _XFAM_FIXED_1 or xfam & ~_XFAM_KNOWN:
        flags.append(Flag.XFAM_FIXED_BITS)
    return tuple(dict.fromkeys(flags))


def sgx_flags(report: SgxReport) -> tuple[Flag, ...]:
    """Return the facts of an enclave report that a policy decides on."""
    return (Flag.DEBUG,) if report.attributes[0] & _SGX_DEBUG else ()
