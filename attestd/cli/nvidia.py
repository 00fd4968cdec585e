"""What NVIDIA's reports, chains, RIMs and OCSP answers say, read for people; nothing is verified (nvidia.md, 4)."""

import re
from collections.abc import Sequence
from datetime import datetime
from hashlib import sha256
from typing import Final

from attestd.binding import PUBLISHED_NONCES
from attestd.claims import export_value
from attestd.cli.gpus import Presented
from attestd.codec import Json, dump_digest, dump_time, load_base64
from attestd.errors import AttestdError, Malformed, Reason
from attestd.nvgpu.device import CHAIN_LENGTH, authenticate_device
from attestd.nvgpu.ocsp_answer import parse_answer
from attestd.nvgpu.rim import Rim, authenticate_rim
from attestd.nvgpu.spdm import GpuReport
from attestd.x509 import GENUINE_ROOTS, NVIDIA, Certificate, TrustAnchors

_Document = dict[str, Json]

# How a report begins: SPDM 1.1, GET_MEASUREMENTS.
REPORT_HEAD: Final = b"\x11\xe0"

_ROLES: Final = (
    (re.compile(r".* FMC LF"), "attestation_key"),
    (re.compile(r".* BROM"), "boot_rom"),
    (re.compile(r"NVIDIA .* Provisioner .*"), "provisioner"),
    (re.compile(r"NVIDIA .* Identity"), "identity"),
    (re.compile(r"NVIDIA Device Identity CA"), "device_root"),
    (re.compile(r".* L4 .*"), "rim_signer"),
    (re.compile(r"NVIDIA Reference Value L3 .*"), "rim_l3"),
    (re.compile(r"NVIDIA Reference Value .* CA"), "rim_ca"),
    (re.compile(r"NVIDIA CoRIM signing Root CA"), "rim_root"),
)
_EMBEDDED: Final = re.compile(rb"<(?:\w+:)?X509Certificate>([A-Za-z0-9+/=\s]+)</")


def export_report(report: GpuReport) -> _Document:
    """Show a report: as it stands, measurements by the indices of golden values."""
    return {
        "kind": "gpu_report",
        "tee": "nvidia",
        "device": "nvswitch" if report.is_switch else "gpu",
        "evidence_id": dump_digest(report.evidence_id),
        "nonce": report.nonce.hex(),
        "nonce_is_published": report.nonce in PUBLISHED_NONCES,
        "slot": report.slot,
        "opaque": {name: export_value(value) for name, value in report.opaque._asdict().items()},
        "measurements": [{"index": index, "value": value.hex()} for index, value in enumerate(report.measurements)],
    }


def export_devices(presented: Sequence[Presented]) -> _Document:
    """Show a list of devices as NVIDIA's SDK writes it."""
    devices: list[Json] = [
        {
            "arch": one.arch,
            "nonce": None if one.nonce is None else one.nonce.hex(),
            "report": export_report(one.report),
            "chain": export_chain(one.chain),
        }
        for one in presented
    ]
    return {"kind": "gpu_evidence", "tee": "nvidia", "devices": devices}


def is_nvidias(certificate: Certificate) -> bool:
    """Tell a certificate of NVIDIA's kind, by its signature algorithm, from a Cocoon RA-TLS certificate."""
    return NVIDIA.has_issued(certificate)


def export_chain(ders: Sequence[bytes]) -> _Document:
    """Show certificates as they stand in a file, in its order, and which device they name."""
    return {
        "kind": "certificates",
        "tee": "nvidia",
        "device": _device(ders) if len(ders) == CHAIN_LENGTH else None,
        "certificates": [_export_certificate(der) for der in ders],
    }


def _device(ders: Sequence[bytes]) -> Json:
    """Show which device it is. Its chain is held against the root that it brings along, not a pinned one."""
    try:
        device = authenticate_device(ders, *_own_root(ders))
    except AttestdError as error:
        return _refusal(error)
    return {
        "arch": device.arch.value,
        "hwmodel": device.hwmodel,
        "ueid": str(device.ueid),
        "device_id": device.device_id.hex(),
        "pdi": device.pdi.hex(),
        "spdm_device_id": device.spdm_device_id,
        "fwid": device.fwid.hex(),
    }


def _own_root(ders: Sequence[bytes]) -> tuple[TrustAnchors, datetime]:
    """Return the root at the end of a chain, and a time at which all of it is in force, if there is one."""
    at = max(Certificate(der).validity.not_before for der in ders)
    return TrustAnchors.load([ders[-1]]), at


def _export_certificate(der: bytes) -> _Document:
    try:
        certificate = Certificate(der)
    except AttestdError as error:
        return {"role": None, "common_name": "", **_refusal(error)}
    name = certificate.common_name
    read: _Document = {
        "role": next((role for form, role in _ROLES if form.fullmatch(name)), None),
        "common_name": name,
        "issuer": certificate.issuer_common_name,
        "serial_number": f"{certificate.serial_number:x}",
        "not_before": dump_time(certificate.validity.not_before),
        "not_after": dump_time(certificate.validity.not_after),
        "sha256": certificate.fingerprint.hex(),
    }
    if certificate.subject == certificate.issuer:
        read["pinned"] = certificate.fingerprint in GENUINE_ROOTS
    return read


def export_rim(raw: bytes) -> _Document:
    """Show a RIM. Its signature is held against the root that it brings along; broken ones are not read further."""
    read: _Document = {"kind": "rim", "tee": "nvidia", "sha256": sha256(raw).hexdigest(), "certificates": []}
    try:
        ders = _embedded(raw)
        read["certificates"] = [_export_certificate(der) for der in ders]
        return read | _export_rim(authenticate_rim(raw, *_own_root(ders)))
    except AttestdError as error:
        return read | _refusal(error)


def _embedded(raw: bytes) -> list[bytes]:
    ders = [load_base64("".join(encoded.decode().split())) for encoded in _EMBEDDED.findall(raw)]
    if not ders:
        raise Malformed(Reason.GPU_RIM_MALFORMED, found="no certificate", wanted="a signed RIM")
    return ders


def _export_rim(rim: Rim) -> _Document:
    return {
        "firmware": rim.kind,
        "product": rim.product,
        "version": rim.version,
        "tag_id": rim.tag_id,
        "signed_from": dump_time(rim.signed_from),
        "not_after": dump_time(rim.validity.not_after),
        "golden": [
            {"index": index, "values": [value.hex() for value in values]}
            for index, values in sorted(rim.golden.items())
        ],
    }


def read_ocsp(raw: bytes) -> _Document | None:
    """Show an OCSP answer, or return None for what is none."""
    try:
        answer = parse_answer(raw)
    except AttestdError:
        return None
    return {
        "kind": "ocsp",
        "serial_number": f"{answer.serial_number:x}",
        "status": answer.status.name.lower(),
        "revoked_at": None if answer.revoked_at is None else dump_time(answer.revoked_at),
        "reason": None if answer.reason is None else answer.reason.value,
        "this_update": dump_time(answer.validity.not_before),
        "next_update": dump_time(answer.validity.not_after),
        "nonce": None if answer.nonce is None else answer.nonce.hex(),
        "sha256": answer.digest.hex(),
        "certificates": [_export_certificate(one.der) for one in answer.certificates],
    }


def _refusal(error: AttestdError) -> _Document:
    return {"reason": error.reason.value, "detail": str(error)}
