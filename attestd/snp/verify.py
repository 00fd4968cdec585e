"""Verification of one SEV-SNP report: the whole story.

Source: SEV Secure Nested Paging Firmware ABI Specification (AMD 56860), 7.3; snp.md, 2.3, Steps. The first check that
fails raises; the claims are made last, so that there are none unless every check has passed.
"""

from datetime import datetime
from typing import Final

from attestd.claims import Flag, SnpClaims, TcbVersion, VekClaims
from attestd.errors import EndorsementRejected, NotAuthentic, Reason
from attestd.signature import verify_p384
from attestd.snp.report import Report, ReportBody, tcb_version
from attestd.snp.vek import Vek
from attestd.x509 import RevocationList, require_window

# Guest policy (4.3)
_MIGRATE_MA: Final = 1 << 18
_DEBUG: Final = 1 << 19

_MASKED: Final = bytes(64)
_NO_MIGRATION_AGENT: Final = b"\xff" * 32


def verify(report: Report, vek: Vek, crl: RevocationList | None, at: datetime) -> SnpClaims:
    """Verify a report with the authenticated key that it names and the root's authenticated CRL, at the time `at`.

    Steps 1 to 3 and 5 (parsing, the chain, the extensions) made `report` and `vek`, which is refused here outside of
    its window. What remains:

    (2) the certificate is of the kind that signed; (4) the ASK or ASVK is not revoked; (5) the processor is of the
    certificate's product line; (6) the certificate is for the reported TCB, (7) for this chip; (8) the key signed the
    report; (9) no TCB version is ahead of the current one.

    Without a `crl` step 4 is left out and the claims say so: whether that will do is for the policy, as are debugging,
    migration, provisional firmware, a masked chip id and all values.

    Raises `NotAuthentic` with the first reason; `EndorsementRejected` where the CRL is what does not fit; `Malformed`
    (`snp.reserved`) for a TCB version that is none of the product line's.
    """
    body, line = report.body, vek.claims.product_line
    vek.require_current(at)
    _require_same_kind(body, vek.claims)  # (2)
    validity, digests = vek.validity, vek.digests
    if crl is not None:  # (4)
        _require_unrevoked(vek, crl, at)
        validity, digests = validity.narrowed(crl.validity), (*digests, crl.digest)
    if report.product_line not in (line, None):  # (5)
        raise NotAuthentic(
            Reason.SNP_PRODUCT_MISMATCH, found=f"a {report.product_line} processor", wanted=f"{line}, as certified"
        )
    reported = tcb_version(report.reported_tcb, line)
    if reported != vek.claims.tcb:  # (6)
        raise NotAuthentic(
            Reason.SNP_TCB_MISMATCH, found=f"a certificate for {_shown(vek.claims.tcb)}", wanted=_shown(reported)
        )
    _require_same_chip(body.chip_id, vek.claims.hwid)  # (7)
    verify_p384(vek.public_key, report.signature, report.signed, Reason.SNP_REPORT_SIGNATURE)  # (8)
    current, committed = tcb_version(report.current_tcb, line), tcb_version(report.committed_tcb, line)
    for name, version in (("REPORTED_TCB", reported), ("COMMITTED_TCB", committed)):  # (9)
        if not current.covers(version):
            raise NotAuthentic(
                Reason.SNP_TCB_ORDER, found=f"{name} {_shown(version)}", wanted=f"at most {_shown(current)}"
            )
    return SnpClaims(
        *body,
        current,
        reported,
        committed,
        tcb_version(report.launch_tcb, line),
        report.evidence_id,
        report_flags(body, provisional=committed != current or body.committed_version != body.current_version),
        vek.claims,
        crl is not None,
        validity,
        digests,
    )


def _require_same_kind(body: ReportBody, vek: VekClaims) -> None:
    if body.signing_key != vek.kind:
        raise NotAuthentic(
            Reason.SNP_SIGNING_KEY_MISMATCH,
            found=f"the certificate of a {vek.kind.upper()}",
            wanted=f"that of a {body.signing_key.upper()}, as SIGNING_KEY says",
        )


def _require_unrevoked(vek: Vek, crl: RevocationList, at: datetime) -> None:
    """Look the issuer up in the CRL of its root.

    The leaf is not looked up: the list is about what the root issued, and all leaves have the serial number 0.
    """
    if not crl.speaks_for(vek.root):
        raise EndorsementRejected(
            Reason.SNP_CRL_ISSUER, found="a CRL of another root", wanted=f"a CRL of {vek.root.common_name}"
        )
    require_window(crl.validity, at, Reason.SNP_CRL_EXPIRED, Reason.SNP_CRL_NOT_YET_VALID)
    if vek.issuer.serial_number in crl.revoked:
        raise NotAuthentic(
            Reason.SNP_ASK_REVOKED, found=f"issuer {vek.issuer.serial_number:x} in the CRL", wanted="not revoked"
        )


def _require_same_chip(chip_id: bytes, hwid: bytes | None) -> None:
    """Require the chip of the VCEK where the report names one; a VLEK is not about a chip.

    With a masked chip id the signature alone tells the chip, since each has a VCEK of its own.
    """
    if hwid is not None and chip_id not in (hwid.ljust(len(_MASKED), b"\0"), _MASKED):
        raise NotAuthentic(
            Reason.SNP_CHIP_ID_MISMATCH,
            found=f"CHIP_ID {chip_id[:8].hex()}…",
            wanted=f"{hwid[:8].hex()}…, {len(hwid)} bytes and zeros",
        )


def report_flags(body: ReportBody, *, provisional: bool) -> tuple[Flag, ...]:
    """Return the facts of a report that a policy decides on; `provisional`: what runs is not what is committed."""
    found = (
        (Flag.DEBUG, body.policy & _DEBUG),
        (Flag.MIGRATE_MA, body.policy & _MIGRATE_MA or body.report_id_ma != _NO_MIGRATION_AGENT),
        (Flag.PROVISIONAL_FIRMWARE, provisional),
        (Flag.CHIP_ID_MASKED, body.chip_id == _MASKED),
    )
    return tuple([flag for flag, is_so in found if is_so])


def _shown(version: TcbVersion) -> str:
    return ", ".join(f"{name} {spl}" for name, spl in version._asdict().items() if spl is not None)
