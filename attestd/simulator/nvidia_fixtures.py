"""Complete cases of NVIDIA devices as files: reports and chains, the endorsements of their time, what is expected.

The expectations are stated here by hand; no verifier is asked for them.
"""

import json
from base64 import b64encode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from attestd.simulator.case import describe, dump
from attestd.simulator.gpu import B200, H100, NVSWITCH, Gpu
from attestd.simulator.gpu_attester import AskedRole, GpuAnswer, GpuAttester, gpu_endorsements, gpu_set
from attestd.simulator.keys import p384_key
from attestd.simulator.nvidia import NvidiaVendor
from attestd.simulator.ocsp import State
from attestd.simulator.reports import measurement
from attestd.simulator.spdm import SPDM, SpdmReport, measured
from attestd.simulator.tampering import GENUINE, Signing

DEVICE_ROOT: Final = "roots/simulated_nvidia_device_root.der"
RIM_ROOT: Final = "roots/simulated_nvidia_rim_root.der"

_NONCE: Final = SPDM.nonce
# One of twelve that the RIM of the VBIOS has.
_VBIOS_INDEX: Final = 9


def nvidia_roots() -> dict[str, bytes]:
    """Return the two roots by where they are kept."""
    vendor = NvidiaVendor.of()
    return {DEVICE_ROOT: vendor.root.der, RIM_ROOT: vendor.rim_root.der}


@dataclass(frozen=True, kw_only=True)
class NvidiaCase:
    """One folder."""

    name: str
    what: str
    gpus: tuple[GpuAttester, ...]  # several stand in one file
    form: SpdmReport = SPDM
    signing: Signing = GENUINE
    states: Mapping[AskedRole, State] = field(default_factory=dict)  # of certificates that are not good
    expected: Mapping[str, Any] = field(default_factory=dict)  # where it differs from what is accepted

    def files(self) -> Iterator[tuple[str, bytes]]:
        """Yield each file by its path in the folder."""
        answers = tuple(gpu.answer(_NONCE, self.form, signing=self.signing) for gpu in self.gpus)
        if len(answers) == 1:
            yield "report.bin", answers[0].report
            yield "certs.pem", answers[0].certificates
        else:
            yield "evidence.json", bundle(answers)
        for name, raw in gpu_endorsements(self.gpus, self.states).items():
            yield f"endorsements/{name}", raw
        yield "expected.json", dump(self._description())

    def _description(self) -> dict[str, Any]:
        gpu = self.gpus[0].gpu
        described = describe(self.name, self.what, DEVICE_ROOT, self.gpus[0].vendor.at, "NVIDIA")
        return described | {
            "rim_trust_root": f"simulated (../../{RIM_ROOT})",
            "nonce": _NONCE.hex(),
            "arch": gpu.arch,
            "devices": [_device(one.gpu) for one in self.gpus],
            "rims": [gpu.rim_id(kind) for kind in self.gpus[0].rim_kinds],
            "expected": {"reason": None, "ocsp": "good", "mismatches": []} | dict(self.expected),
        }


def _device(gpu: Gpu) -> dict[str, Any]:
    return {
        "pdi": gpu.pdi.hex(),
        "fwid": gpu.fwid.hex(),
        "driver_version": gpu.driver_version,
        "vbios_version": gpu.vbios_version,
    }


def bundle(answers: tuple[GpuAnswer, ...]) -> bytes:
    """Return what several devices say as NVIDIA's tools write it: a list in JSON."""
    entries = [
        {
            "arch": answer.arch,
            "nonce": answer.report[4:36].hex(),
            "evidence": b64encode(answer.report).decode(),
            "certificate": b64encode(answer.certificates).decode(),
        }
        for answer in answers
    ]
    return json.dumps(entries, indent=1).encode() + b"\n"


def nvidia_cases() -> Iterator[NvidiaCase]:
    """Yield the cases; those that are refused differ from the first one in one thing."""
    hopper = GpuAttester.of(NvidiaVendor.of())
    yield NvidiaCase(name="gpu-h100", what="Hopper; driver and VBIOS are what their RIMs say", gpus=(hopper,))
    yield NvidiaCase(
        name="gpu-b200",
        what="Blackwell: another CA, another form of the FWID, other ids of RIMs",
        gpus=(GpuAttester.of(NvidiaVendor.of("BLACKWELL"), B200),),
    )
    yield NvidiaCase(
        name="gpu-ls10",
        what="an NVSwitch, of which one RIM speaks",
        gpus=(GpuAttester.of(NvidiaVendor.of("LS10"), NVSWITCH),),
    )
    yield NvidiaCase(name="gpu-2xh100", what="two GPUs that answer one nonce", gpus=gpu_set(2, H100))
    yield NvidiaCase(
        name="gpu-h100-measurement",
        what="one measurement of the VBIOS is not the golden one; the device itself is genuine",
        gpus=(hopper,),
        form=replace(SPDM, edit_blocks=measured({_VBIOS_INDEX: measurement("another VBIOS")})),
        expected={"reason": "gpu.measurements", "mismatches": [_VBIOS_INDEX]},
    )
    yield NvidiaCase(
        name="gpu-h100-forged-signature",
        what="signed by another key than the certificate's; everything else is right",
        gpus=(hopper,),
        signing=Signing(key=p384_key("forger", "gpu")),
        expected={"reason": "gpu.report_signature"},
    )
    yield NvidiaCase(
        name="gpu-h100-revoked",
        what="the device is revoked; everything else is right",
        gpus=(hopper,),
        states={"brom": "revoked"},
        expected={"reason": "gpu.revoked", "ocsp": "revoked"},
    )
    yield NvidiaCase(
        name="gpu-h100-hold",
        what="the signer of the RIMs is on hold, which a policy may allow",
        gpus=(hopper,),
        states={"rim_signer": "hold"},
        expected={"ocsp": "hold"},
    )
