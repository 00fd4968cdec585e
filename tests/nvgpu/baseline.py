"""Devices that are accepted, with keys and a vendor of our own, and the whole verification in one call.

Each negative test changes one thing, which is signed as it then stands, and names the reason.
"""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from functools import lru_cache
from typing import Final

from attestd.claims import GpuClaims
from attestd.nvgpu.device import GpuDevice, authenticate_device
from attestd.nvgpu.golden import Rims
from attestd.nvgpu.ocsp import UNASKED, authenticate_revocation
from attestd.nvgpu.rim import Rim, authenticate_rim
from attestd.nvgpu.spdm import parse_report
from attestd.nvgpu.verify import Revocations, verify
from attestd.simulator import AT, B200, GpuAttester, NvidiaVendor, OpaqueField, SpdmReport
from attestd.simulator.gpu_attester import ASKED_ROLES
from attestd.simulator.ocsp import State
from attestd.x509 import TrustAnchors

VENDOR: Final = NvidiaVendor.of("HOPPER")
GPU: Final = GpuAttester.of(VENDOR)
BLACKWELL: Final = GpuAttester.of(NvidiaVendor.of("BLACKWELL"), replace(B200, chip_info=None))
SWITCH: Final = GpuAttester.of(NvidiaVendor.of("LS10"))
DEVICES: Final = (GPU, BLACKWELL, SWITCH)
# Vendors of one seed have the same roots.
ANCHORS: Final = TrustAnchors.load([VENDOR.root.der, VENDOR.rim_root.der])
REPORT: Final = GPU.report()


@lru_cache(maxsize=64)
def device_of(chain: tuple[bytes, ...], at: datetime = AT, anchors: TrustAnchors = ANCHORS) -> GpuDevice:
    """Authenticate a device; only successes are kept, as in a service's cache."""
    return authenticate_device(chain, anchors, at)


@lru_cache(maxsize=64)
def rim_of(raw: bytes, at: datetime = AT, anchors: TrustAnchors = ANCHORS) -> Rim:
    """Authenticate a RIM likewise."""
    return authenticate_rim(raw, anchors, at)


def rims_of(gpu: GpuAttester = GPU) -> Rims:
    """Return all RIMs that a device needs."""
    rims = {kind: rim_of(gpu.rim(kind)) for kind in gpu.rim_kinds}
    return Rims(rims.get("driver"), rims["vbios"])


def answers(gpu: GpuAttester = GPU, **states: State) -> tuple[bytes, ...]:
    """Return the OCSP answers about all certificates of a device and its RIMs, good but for `states`, by role."""
    return tuple(gpu.ocsp(role, states.get(role, "good")) for role in ASKED_ROLES)


def revocations_of(
    gpu: GpuAttester = GPU, raw: Iterable[bytes] | None = None, at: datetime = AT, **states: State
) -> Revocations:
    """Return what OCSP answers say of the chains of a device."""
    known = tuple(answers(gpu, **states) if raw is None else raw)
    rims = rims_of(gpu)
    chains = (device_of(gpu.chain).chain[1:], *(() if rim is None else rim.chain for rim in rims))
    found = [authenticate_revocation(chain, known, at) if chain else UNASKED for chain in chains]
    return Revocations(*found)


def verified(
    gpu: GpuAttester = GPU,
    raw: bytes | None = None,
    *,
    rims: Rims | None = None,
    revocations: Revocations | None = None,
    at: datetime = AT,
) -> GpuClaims:
    """Verify a device's report from its bytes, with its own RIMs; without `revocations` nobody was asked."""
    return verify(
        parse_report(gpu.report() if raw is None else raw),
        device_of(gpu.chain),
        rims_of(gpu) if rims is None else rims,
        revocations or Revocations(),
        at,
    )


def with_opaque(*fields: OpaqueField, gpu: GpuAttester = GPU) -> bytes:
    """Return a report of a device with these opaque fields behind all others."""
    return gpu.report(SpdmReport(edit_opaque=lambda others: (*others, *fields)))
