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
    certificates: bytes  # PEM, leaf first

    @property
    def chain(self) -> tuple[bytes, ...]:
        """The certificates in DER; of a device that is known nobody needs them. Raises `Malformed`: `pem.malformed`."""
        return load_pem(self.certificates)


def parse_gpu(gpu: GpuEvidence) -> GpuAttestation:
    """Parse a report. Raises `Malformed`: `gpu.…`."""
    return GpuAttestation(GpuArch(gpu.arch), parse_report(gpu.report), gpu.certificates)
