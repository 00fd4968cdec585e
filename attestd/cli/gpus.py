"""`attestd verify --tee nvidia`: one GPU or NVSwitch by itself, or those of a machine, from files."""

from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final, NamedTuple

from attestd.binding import PUBLISHED_NONCES
from attestd.claims import GpuArch, GpuClaims, export_gpu
from attestd.cli.inputs import evidence, gpu_endorsements
from attestd.cli.screen import pairs, table
from attestd.codec import Fields, Json, dump_digest, load_json, load_pem
from attestd.errors import Malformed, Reason
from attestd.evidence import MAX_GPU_CERTIFICATES_SIZE, MAX_GPU_REPORT_SIZE, MAX_GPUS
from attestd.nvgpu.attestation import GpuAttestation
from attestd.nvgpu.collateral import Collected
from attestd.nvgpu.device import GpuDevice, authenticate_device
from attestd.nvgpu.golden import Rims, rim_ids
from attestd.nvgpu.rim import Rim
from attestd.nvgpu.spdm import GpuReport, parse_report
from attestd.nvgpu.topology import Topology, export_topology
from attestd.nvgpu.verify import require_nonce
from attestd.policy import AppraisalPolicy, appraise_gpus
from attestd.result import Tier, export_appraisal
from attestd.verifier import GpuSubject, verify_gpu, verify_gpus
from attestd.x509 import TrustAnchors

_Document = dict[str, Json]

# Base64 adds a third, and the other members of a device are some 200 bytes.
_MAX_LIST_SIZE: Final = 2 * MAX_GPUS * (MAX_GPU_REPORT_SIZE + MAX_GPU_CERTIFICATES_SIZE)
_NONCE_SIZE: Final = 32
# What NVIDIA's SDK writes of a device; the versions are in the report as well, and signed.
_MEMBERS: Final = ("arch", "nonce", "evidence", "certificate", "driver_version", "vbios_version", "version")
_PUBLISHED_NONCE: Final = "published_nonce"


class Presented(NamedTuple):
    """What one device says, parsed, and what a list of several says about it."""

    report: GpuReport
    certificates: bytes  # PEM, leaf first
    arch: GpuArch | None = None
    nonce: bytes | None = None

    @property
    def chain(self) -> tuple[bytes, ...]:
        """The certificates in DER. Raises `Malformed` (`pem.malformed`)."""
        return load_pem(self.certificates)


def verify(
    arguments: Namespace, under: AppraisalPolicy | None, anchors: TrustAnchors, at: datetime, document: _Document
) -> tuple[_Document, Tier]:
    """Verify the devices of a file, and return what to show of them, and the tier. Raises as `verify_gpus` does.

    `document` gets the id of a single device's evidence, also where that is refused.
    """
    presented = _presented(arguments)
    if len(presented) == 1:
        document["evidence_id"] = dump_digest(presented[0].report.evidence_id)
    collected = gpu_endorsements(arguments.endorsements, anchors, at)
    subjects = _subjects(presented, collected, arguments.endorsements, anchors, at)
    claims, topology = _verify(subjects, at)
    for device, one in zip(claims, presented, strict=True):
        for nonce in (one.nonce, arguments.nonce):
            if nonce is not None:
                require_nonce(device, nonce)
    found = _found(claims, topology, arguments.nonce)
    if under is None:
        return found, Tier.AFFIRMING
    appraisal = appraise_gpus(under, claims, topology, at)
    return found | {"appraisal": export_appraisal(appraisal)}, appraisal.tier


def _presented(arguments: Namespace) -> tuple[Presented, ...]:
    """Read a report with its certificates, or NVIDIA's list of devices, which has them."""
    raw, certificates = evidence(arguments.evidence, _MAX_LIST_SIZE), arguments.certificates
    is_list = raw.lstrip()[:1] == b"["
    if len(certificates) != (0 if is_list else 1):
        raise Malformed(
            Reason.EVIDENCE_KIND,
            found=f"{'a list of devices' if is_list else 'a report'} with {len(certificates)} files of certificates",
            wanted="a report with one file as --certificates, or a list without",
        )
    if is_list:
        return load_devices(raw)
    return (Presented(parse_report(raw), evidence(certificates[0], MAX_GPU_CERTIFICATES_SIZE)),)


def load_devices(raw: bytes) -> tuple[Presented, ...]:
    """Read a JSON array of `{arch, nonce, evidence, certificate}`, as NVIDIA's SDK writes what it collects.

    `nonce` is in hex; `evidence`, a report, and `certificate`, its chain in PEM, are in base64. Raises `Malformed`.
    """
    listed = Fields({"devices": load_json(raw)}, path="evidence").array("devices", most=MAX_GPUS)
    return tuple(_device(device.only(*_MEMBERS)) for device in listed)


def _device(device: Fields) -> Presented:
    arch = device.text("arch")
    if arch not in list(GpuArch):
        raise device.refuse("arch", " or ".join(GpuArch))
    return Presented(
        parse_report(device.binary("evidence")),
        device.binary("certificate"),
        GpuArch(arch),
        device.hexadecimal("nonce", _NONCE_SIZE),
    )


def _subjects(
    presented: Sequence[Presented], collected: Collected, named: Sequence[Path], anchors: TrustAnchors, at: datetime
) -> list[GpuSubject]:
    """Join devices with what the files endorse."""
    held = collected.endorsements
    authentic = [(one, authenticate_device(one.chain, anchors, at)) for one in presented]
    found = [held.rims(one.report, device) for one, device in authentic]
    spare = _spare(collected, named, found)
    subjects = []
    for (one, device), rims in zip(authentic, found, strict=True):
        attestation = GpuAttestation(one.arch or device.arch, one.report, one.certificates)
        given = _at_their_word(rims, spare, one.report, device)
        subjects.append(GpuSubject(attestation, device, given, held.revocations(device, given, at)))
    return subjects


def _spare(collected: Collected, named: Sequence[Path], found: Sequence[Rims]) -> list[Rim]:
    """Return the RIMs in files that were named one by one, and that are of no use to any of the devices."""
    needed = {rim.sha256 for rims in found for rim in rims if rim is not None}
    spare = []
    for document in collected.documents:
        if isinstance(document.content, Rim) and Path(document.name) in named:
            if document.content.sha256 in needed:
                needed.remove(document.content.sha256)
            else:
                spare.append(document.content)
    return spare


def _at_their_word(rims: Rims, spare: Sequence[Rim], report: GpuReport, device: GpuDevice) -> Rims:
    """Put RIMs that were named, and that nothing needs, where one is missing: what does not fit is refused by name."""
    left = iter(spare)
    ids = rim_ids(report, device)
    return Rims(*(next(left, None) if rim is None and name else rim for rim, name in zip(rims, ids, strict=True)))


def _verify(subjects: Sequence[GpuSubject], at: datetime) -> tuple[tuple[GpuClaims, ...], Topology | None]:
    """Verify the devices; a switch by itself goes with nothing."""
    if len(subjects) == 1 and subjects[0].device.arch.is_switch:
        return (verify_gpu(subjects[0], at),), None
    return verify_gpus(subjects, at)


def _found(claims: Sequence[GpuClaims], topology: Topology | None, nonce: bytes | None) -> _Document:
    return {
        "flags": [_PUBLISHED_NONCE] if any(device.nonce in PUBLISHED_NONCES for device in claims) else [],
        "endorsements": [
            dump_digest(digest)
            for digest in dict.fromkeys(digest for device in claims for digest in device.endorsement_digests)
        ],
        "gpus": [
            {"evidence_id": dump_digest(device.evidence_id), **export_gpu(device, nonce=nonce)} for device in claims
        ],
        "topology": None if topology is None else export_topology(topology),
    }


def lines(gpus: Sequence[Json], topology: Json) -> Iterator[str]:
    """Lay out devices, their RIMs and how they belong together."""
    devices = [gpu for gpu in gpus if isinstance(gpu, dict)]
    yield from ("", "devices:", *table(("", *_COLUMNS), map(_device_row, range(len(devices)), devices)))
    yield from ("", "reference values:", *table(("", *_RIM_COLUMNS), _rim_rows(devices)))
    if isinstance(topology, dict):
        yield from ("", "topology:", *pairs(topology))


# Fields of the report stand among the claims.
_COLUMNS: Final = (
    *("arch", "hwmodel", "driver_version", "vbios_version"),
    *("fwid", "measurements_skipped", "revocation", "device_id"),
)
_RIM_COLUMNS: Final = ("id", "sha256", "signed_from", "revocation")


def _device_row(number: int, gpu: Mapping[str, Json]) -> list[Json]:
    opaque = gpu["opaque"]
    claims = (opaque if isinstance(opaque, dict) else {}) | dict(gpu)
    return [number, *(claims[name] for name in _COLUMNS)]


def _rim_rows(devices: Sequence[Mapping[str, Json]]) -> Iterator[list[Json]]:
    """Name each RIM once, with the first device that it is for."""
    seen = set()
    for number, gpu in enumerate(devices):
        for rim in (gpu["driver_rim"], gpu["vbios_rim"]):
            if isinstance(rim, dict) and rim["sha256"] not in seen:
                seen.add(rim["sha256"])
                yield [number, *(rim[name] for name in _RIM_COLUMNS)]
