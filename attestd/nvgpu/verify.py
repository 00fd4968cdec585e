"""Verification of one report of a GPU or NVSwitch: the whole story.

Source: DMTF DSP0274 (SPDM) 1.1; nvidia.md, 4. The first check that fails raises; the claims are made last, so that
there are none unless every check has passed.
"""

from collections.abc import Sequence
from datetime import datetime
from functools import reduce
from typing import Final, Literal, NamedTuple

from attestd.claims import GpuClaims, NvidiaChainClaims, RimClaims
from attestd.errors import EndorsementRejected, NotAuthentic, Reason, Unavailable
from attestd.nvgpu.device import GpuDevice
from attestd.nvgpu.golden import Mismatch, Rims, compare, require_matching
from attestd.nvgpu.ocsp import UNASKED, Revocation
from attestd.nvgpu.rim import Rim
from attestd.nvgpu.spdm import GpuReport
from attestd.signature import verify_p384
from attestd.validity import Validity
from attestd.x509 import Certificate, require_window

_SHOWN: Final = 8  # bytes of a value that a refusal shows


class Revocations(NamedTuple):
    """What OCSP answers say of the chains of a device and of its RIMs. What was not asked is `UNAVAILABLE`."""

    device: Revocation = UNASKED
    driver_rim: Revocation = UNASKED
    vbios_rim: Revocation = UNASKED

    def hold_at(self, at: datetime) -> bool:
        """Tell whether the same answers say the same at `at`, no earlier than when they were authenticated."""
        return all(revocation.holds_at(at) for revocation in self)


def verify(report: GpuReport, device: GpuDevice, rims: Rims, revocations: Revocations, at: datetime) -> GpuClaims:
    """Verify a report with the authenticated device that it names, its RIMs and OCSP answers, at the time `at`.

    `report`, `device`, `rims` and `revocations` are parsed and authenticated; each is refused here outside of its
    window. What remains:

    (1) the device's key signed the report; (2) the report is of the device's kind, and (3) of the firmware that the
    certificate of the key is for; (4) no certificate of the device is revoked; (5) the RIMs are those that the report
    names, (6) and not revoked; (7) all measurements are golden; (8) no RIM is missing.

    The claims say what the policy decides on: the nonce (whether it is the right one is for who asked), firmware that
    names no FWID, holds, and OCSP answers that are stale or were not to be had.

    Raises `NotAuthentic` with the first reason; `EndorsementRejected` where a RIM or an OCSP answer is what does not
    fit; `Unavailable` (`gpu.rim_missing`) where all the rest is right and a RIM is not at hand: a measurement that the
    others refuse is final.
    """
    device.require_current(at)
    verify_p384(device.public_key, report.signature, report.signed, Reason.GPU_REPORT_SIGNATURE)  # (1)
    if report.is_switch is not device.arch.is_switch:  # (2)
        raise NotAuthentic(
            Reason.GPU_DEVICE_KIND,
            found=f"the report of {'an NVSwitch' if report.is_switch else 'a GPU'}",
            wanted=f"that of a {device.hwmodel}",
        )
    fwid = _require_same_firmware(report.opaque.fwid, device.fwid)  # (3)
    # Of a device all but the leaf is looked up: nobody answers for what its boot ROM issues (nvidia.md, 4.5).
    chain = _chain_claims(device.chain[1:], device.validity, revocations.device, at)  # (4)
    ids = require_matching(rims, report, device)  # (5)
    driver_rim = _rim_claims(rims.driver, ids.driver, revocations.driver_rim, at)  # (6)
    vbios_rim = _rim_claims(rims.vbios, ids.vbios, revocations.vbios_rim, at)
    comparison = compare(report, rims)  # (7)
    _require_golden(comparison.mismatches)
    if vbios_rim is None or (driver_rim is None and ids.driver is not None):  # (8)
        missing = [name for name, rim in zip(ids, (driver_rim, vbios_rim), strict=True) if name and rim is None]
        raise Unavailable(Reason.GPU_RIM_MISSING, found="all but these", wanted=", ".join(missing))
    used = [rim for rim in (driver_rim, vbios_rim) if rim is not None]
    return GpuClaims(
        device.arch,
        device.hwmodel,
        device.ueid,
        device.device_id,
        device.pdi,
        device.spdm_device_id,
        report.nonce,
        report.opaque,
        fwid,
        comparison.compared,
        comparison.skipped,
        report.evidence_id,
        chain,
        driver_rim,
        vbios_rim,
        reduce(Validity.narrowed, (rim.chain.window for rim in used), chain.window),
        (
            *device.digests,
            *(rim.sha256 for rim in used),
            *(digest for revocation in revocations for digest in revocation.digests),
        ),
    )


def require_nonce(claims: GpuClaims, nonce: bytes) -> None:
    """Require that the device was asked with `nonce`, 32 bytes. Raises `NotAuthentic` (`gpu.nonce`)."""
    if claims.nonce != nonce:
        raise NotAuthentic(Reason.GPU_NONCE, found=claims.nonce.hex(), wanted=nonce.hex())


def _require_same_firmware(reported: bytes | None, certified: bytes) -> Literal["match", "absent"]:
    """Compare the FWIDs. Reports of drivers before 550 have none, which is for the policy."""
    if reported is None:
        return "absent"
    if reported != certified:
        raise NotAuthentic(
            Reason.GPU_FWID, found=f"FWID {reported[:_SHOWN].hex()}…", wanted=f"{certified[:_SHOWN].hex()}…"
        )
    return "match"


def _chain_claims(
    path: Sequence[Certificate], validity: Validity, revocation: Revocation, at: datetime
) -> NvidiaChainClaims:
    """Require that nothing says of a certificate of `path`, but for its root, that it is revoked, or unknown.

    An answer that was stale when it was authenticated bounds nothing; every other one must count at `at`.
    """
    asked = revocation.certificates
    if asked and asked != tuple([one.fingerprint for one in path[:-1]]):
        raise EndorsementRejected(
            Reason.GPU_OCSP_CERTIFICATE,
            found="answers about other certificates",
            wanted=f"one about each between {path[0].common_name!r} and the root",
        )
    revocation.require_unrevoked()
    window = revocation.validity
    if window is None:
        return NvidiaChainClaims(validity, validity, revocation.states)
    require_window(window, at, Reason.GPU_OCSP_EXPIRED, Reason.GPU_OCSP_NOT_YET_VALID)
    return NvidiaChainClaims(validity, validity.narrowed(window), revocation.states)


def _rim_claims(rim: Rim | None, rim_id: str | None, revocation: Revocation, at: datetime) -> RimClaims | None:
    if rim is None or rim_id is None:
        return None
    rim.require_current(at)
    chain = _chain_claims(rim.chain, rim.validity, revocation, at)
    return RimClaims(rim_id, rim.sha256, rim.signed_from, chain)


def _require_golden(mismatches: Sequence[Mismatch]) -> None:
    if mismatches:
        raise NotAuthentic(
            Reason.GPU_MEASUREMENTS,
            found=", ".join(f"{one.index}: {_shown(one.runtime)}" for one in mismatches),
            wanted=", ".join(
                f"{one.index}: {_shown(one.golden[0])}{f' or {more} more' if (more := len(one.golden) - 1) else ''}"
                f" ({one.source})"
                for one in mismatches
            ),
        )


def _shown(value: bytes | None) -> str:
    return "none" if value is None else f"{value[:_SHOWN].hex()}…"
