"""NVIDIA's RIMs and OCSP answers on their way to the folder that the service reads."""

from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Final, TypeAlias

from attestd.cli.inputs import files
from attestd.codec import Json, dump_time
from attestd.endorsements import HighWater, nvidia_documents, rim_newness, write_files
from attestd.errors import EndorsementRejected, Reason
from attestd.nvgpu.collateral import Document, Refusal, collect
from attestd.nvgpu.ocsp_answer import OcspAnswer
from attestd.nvgpu.rim import Rim
from attestd.x509 import TrustAnchors

GpuRow: TypeAlias = Document | Refusal

_SHOWN: Final = 8  # bytes of the hash of an issuer's key: several may give out the same serial number


def bring(row: GpuRow, to: Path, anchors: TrustAnchors, at: datetime) -> GpuRow:
    """Write a document where it belongs, unless there is a newer one; return what was done."""
    match row:
        case Refusal():
            return row
        case Document(raw=raw, content=content):
            path = _path(content)
            there = nvidia_documents(files(to / path)) if (to / path).is_file() else {}
            # What is no use is replaced.
            for document in collect(there, anchors, at).documents:
                old, new = _newness(document.content), _newness(content)
                if old.name == new.name and new < old:
                    return Refusal(str(path), _rollback(old, new))
            write_files(to / path.parent, {path.name: raw})
            return row._replace(name=str(path))


def _path(content: Rim | OcspAnswer) -> PurePosixPath:
    """Name a file by what is in it: one of NVIDIA's ids would name the board, too."""
    suffix = "swidtag" if isinstance(content, Rim) else "ocsp"
    return PurePosixPath("nvidia", f"{_newness(content).name}.{suffix}")


def _newness(content: Rim | OcspAnswer) -> HighWater:
    match content:
        case Rim():
            return rim_newness(content)
        case OcspAnswer(issuer_hashes=(_, key_hash), serial_number=serial_number, validity=validity):
            return HighWater("ocsp", f"{key_hash[:_SHOWN].hex()}_{serial_number:x}", 0, validity.not_before)


def _rollback(old: HighWater, new: HighWater) -> EndorsementRejected:
    reason = Reason.GPU_RIM_ROLLBACK if new.kind == "gpu_rim" else Reason.GPU_OCSP_ROLLBACK
    return EndorsementRejected(
        reason,
        found=f"one of {dump_time(new.issued)}",
        wanted=f"that of {dump_time(old.issued)}, which is there, or newer",
    )


def export(row: GpuRow) -> Json:
    """Return what is known of a document."""
    match row:
        case Refusal(name=name, error=error):
            return {"file": name, "outcome": "refused", "reason": error.reason.value, "detail": str(error)}
        case Document(name=name, content=content, is_authentic=is_authentic):
            return {
                "file": name,
                "outcome": "ok" if is_authentic else "unproven",
                **_export_content(content),
                "valid_from": dump_time(content.validity.not_before),
                "valid_until": dump_time(content.validity.not_after),
            }


def _export_content(content: Rim | OcspAnswer) -> dict[str, Json]:
    match content:
        case Rim(kind=kind, product=product, version=version, sha256=digest, golden=golden):
            about: dict[str, Json] = {"product": product, "version": version, "sha256": digest.hex()}
            return {"kind": kind, "content": about | {"measurements": len(golden)}}
        case OcspAnswer(serial_number=serial_number, status=status):
            return {"kind": "ocsp", "content": {"serial_number": f"{serial_number:x}", "status": status.name.lower()}}
