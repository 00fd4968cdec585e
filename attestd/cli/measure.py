"""`attestd policy measure-snp`: the launch measurement of an SNP machine, computed from what it is started with.

MEASUREMENT is a chain of SHA-384 over the firmware's pages, the sections that its metadata names, with the hashes of
kernel, initrd and command line among them, and one VMSA for each vCPU (SEV-SNP firmware ABI, 8.17; snp.md, 4). So each
number and type of vCPUs, and each set of guest features, has a measurement of its own.

The package sev-snp-measure computes it. It comes with the extra `measure`; this module alone knows it.
"""

from argparse import Namespace
from hashlib import file_digest
from pathlib import Path
from stat import S_ISREG
from typing import Final

from attestd.cli.screen import VERIFIED, pairs, show
from attestd.codec import Json
from attestd.errors import ConfigurationRefused, Reason

# Firmware ends at 4 GiB, below which QEMU leaves it at most some tens of MiB; an initrd may hold a whole system.
MAX_FIRMWARE_SIZE: Final = 64 * 1024 * 1024
MAX_BOOT_FILE_SIZE: Final = 2 * 1024 * 1024 * 1024

# What the package raises of firmware that it cannot make sense of.
_REFUSALS: Final = (AssertionError, AttributeError, IndexError, OverflowError, RuntimeError, ValueError)


def run(arguments: Namespace) -> int:
    """Print the measurement, what it is of, and the line for a policy."""
    _require_consistent(arguments)
    files: dict[str, Json] = {
        "ovmf_sha256": _digest(arguments.ovmf, MAX_FIRMWARE_SIZE),
        "kernel_sha256": _digest(arguments.kernel, MAX_BOOT_FILE_SIZE),
        "initrd_sha256": _digest(arguments.initrd, MAX_BOOT_FILE_SIZE),
    }
    measurement = _measure(arguments).hex()
    document: dict[str, Json] = {
        "measurement": measurement,
        **files,
        "append": arguments.append,
        "vcpus": arguments.vcpus,
        "vcpu_type": arguments.vcpu_type,
        "vmm": arguments.vmm,
        "guest_features": f"{arguments.guest_features:#x}",
        "policy": f'measurement = "{measurement}"',
    }
    show(arguments, document, lambda: pairs(document))
    return VERIFIED


def _require_consistent(arguments: Namespace) -> None:
    """Refuse what would not change the measurement: whoever gives it believes that it does."""
    if arguments.kernel is None and (arguments.initrd is not None or arguments.append is not None):
        raise _refused("--initrd or --append without --kernel", "the kernel that they are for, or neither")
    if (arguments.vmm == "qemu") != (arguments.vcpu_type is not None):
        raise _refused(
            f"--vmm {arguments.vmm} {'without' if arguments.vcpu_type is None else 'with'} --vcpu-type",
            "the type of the vCPUs with qemu, and only there",
        )


def _digest(path: Path | None, most: int) -> str | None:
    """Return the SHA-256 of a file that may be measured: a regular one of at most `most` bytes."""
    if path is None:
        return None
    state = path.stat()
    if not S_ISREG(state.st_mode) or not 0 < state.st_size <= most:
        raise _refused(f"{state.st_size} bytes, or no regular file, at {path}", f"a file of 1 to {most} bytes")
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def _measure(arguments: Namespace) -> bytes:
    try:
        from sevsnpmeasure.guest import snp_calc_launch_digest  # noqa: PLC0415 - it may not be there
        from sevsnpmeasure.ovmf import OVMF, SectionType  # noqa: PLC0415
        from sevsnpmeasure.vcpu_types import CPU_SIGS  # noqa: PLC0415
        from sevsnpmeasure.vmm_types import VMMType  # noqa: PLC0415
    except ImportError:
        raise ConfigurationRefused(
            Reason.MEASURE_PACKAGE, found="no package sev-snp-measure", wanted="attestd with the extra `measure`"
        ) from None
    if arguments.vcpu_type not in {None, *CPU_SIGS}:
        raise _refused(f"the vCPU type {arguments.vcpu_type}", ", ".join(CPU_SIGS))
    vmms = {"qemu": VMMType.QEMU, "ec2": VMMType.ec2, "gce": VMMType.gce}
    ovmf, kernel, initrd = (str(path or "") for path in (arguments.ovmf, arguments.kernel, arguments.initrd))
    try:
        # Without its metadata the rest can be measured all the same, but no such machine could start.
        if not OVMF(ovmf).has_metadata_section(SectionType.SNP_SECRETS):
            raise _refused("firmware without SEV-SNP metadata", "OVMF that is built for SEV-SNP")
        measurement: bytes = snp_calc_launch_digest(
            vcpus=arguments.vcpus,
            vcpu_sig=CPU_SIGS.get(arguments.vcpu_type, 0),
            ovmf_file=ovmf,
            kernel=kernel,
            initrd=initrd,
            append=arguments.append or "",
            guest_features=arguments.guest_features,
            ovmf_hash_str="",
            vmm_type=vmms[arguments.vmm],
        )
    except _REFUSALS as error:
        raise _refused(str(error) or type(error).__name__, "firmware that sev-snp-measure can read") from None
    return measurement


def _refused(found: str, wanted: str) -> ConfigurationRefused:
    return ConfigurationRefused(Reason.MEASURE_INPUT, found=found, wanted=wanted)
