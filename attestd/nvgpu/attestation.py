"""What a provider sends of a GPU or an NVSwitch, taken apart. All of it is untrusted."""

from typing import NamedTuple

from attestd.claims import GpuArch
from attestd.codec import load_pem
from attestd.evidence import GpuEvidence
from attestd.nvgpu.spdm import GpuReport, parse_report


class GpuAttestation(NamedTuple):
    """One device's evidence that parses. Not evidence of anything yet."""

    arch: GpuArch  # as the provider names it
    report: GpuReport
    chain: tuple[bytes, ...]  # certificates in DER, leaf first


def parse_gpu(gpu: GpuEvidence) -> GpuAttestation:
    """Parse a report and the PEM around its certificates. Raises `Malformed`: `gpu.…`, `pem.malformed`."""
    return GpuAttestation(GpuArch(gpu.arch), parse_report(gpu.report), load_pem(gpu.certificates))
