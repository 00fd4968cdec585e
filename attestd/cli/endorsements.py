"""`attestd endorsements import` and `list`: what vendors say, on its way to the folder that the service reads."""

from argparse import Namespace
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import TypeAlias

from attestd.claims import ProductLine, TcbVersion
from attestd.cli import gpu_documents
from attestd.cli.inputs import bundles, effective_time, files
from attestd.cli.screen import VERIFIED, coloured, exit_status, show, table
from attestd.codec import Json, dump_time
from attestd.endorsements import (
    Bundle,
    HighWater,
    amd_documents,
    bundles_in,
    crl_newness,
    high_water,
    nvidia_documents,
    write_bundle,
    write_files,
)
from attestd.errors import AttestdError, EndorsementRejected, Reason, Unavailable
from attestd.nvgpu.collateral import Refusal as GpuRefusal
from attestd.nvgpu.collateral import collect as collect_gpu
from attestd.settings import load_anchors
from attestd.snp.collateral import Document, Refusal, collect
from attestd.snp.vek import Vek
from attestd.tdx.collateral import Collateral, RawCollateral, authenticate_collateral
from attestd.x509 import Certificate, RevocationList, TrustAnchors


@dataclass(frozen=True, slots=True)
class _Authentic:
    """A bundle that speaks for a platform."""

    folder: str
    raw: RawCollateral
    collateral: Collateral


@dataclass(frozen=True, slots=True)
class _Refused:
    """A bundle that speaks for nothing, and why."""

    folder: str
    error: AttestdError


_Row = _Authentic | _Refused
_AmdRow: TypeAlias = Document | Refusal


def run(arguments: Namespace) -> int:
    """Authenticate every bundle and document, copy or list it; the status is that of the worst refusal."""
    at = effective_time(arguments.at)
    anchors = load_anchors(arguments.trust_anchors)
    found = files(arguments.source)
    collected = collect(amd_documents(found), anchors, at)
    rows = [_authenticate(bundle, anchors, at) for bundle in bundles_in(found)]
    amd: list[_AmdRow] = [*collected.documents, *collected.refusals]
    of_nvidia = collect_gpu(nvidia_documents(found), anchors, at)
    gpu: list[gpu_documents.GpuRow] = [*of_nvidia.documents, *of_nvidia.refusals]
    if not rows and not amd and not gpu:
        raise Unavailable(
            Reason.TDX_ENDORSEMENTS_MISSING,
            found="no collateral",
            wanted="tcb_info.json and the files that go with it, AMD's certificates and CRLs, or NVIDIA's RIMs",
        )
    if arguments.action == "import":
        rows = [_import(row, arguments.to, anchors, at) for row in rows]
        amd = [_import_amd(row, arguments.to, anchors, at) for row in amd]
        gpu = [gpu_documents.bring(row, arguments.to, anchors, at) for row in gpu]
    document: dict[str, Json] = {
        "at": dump_time(at),
        "bundles": [_export(row) for row in rows],
        "amd": [_export_amd(row) for row in amd],
        "nvidia": [gpu_documents.export(row) for row in gpu],
    }
    show(arguments, document, lambda: [*_lines(rows), *_amd_lines(amd), *_gpu_lines(gpu)])
    refused = (row.error for row in (*rows, *amd, *gpu) if isinstance(row, _Refused | Refusal | GpuRefusal))
    return max(map(exit_status, refused), default=VERIFIED)


def _authenticate(bundle: Bundle, anchors: TrustAnchors, at: datetime) -> _Row:
    try:
        raw = bundle.raw()
        return _Authentic(bundle.folder, raw, authenticate_collateral(raw, anchors, at))
    except AttestdError as error:
        return _Refused(bundle.folder, error)


def _import(row: _Row, to: Path, anchors: TrustAnchors, at: datetime) -> _Row:
    """Write a bundle that is authentic and nowhere older than what is there; return what was done."""
    match row:
        case _Refused():
            return row
        case _Authentic(raw=raw, collateral=collateral):
            folder = f"{collateral.tee}-{collateral.fmspc.hex()}-{collateral.pck_ca}"
            try:
                _refuse_older(to / folder, collateral, anchors, at)
            except EndorsementRejected as error:
                return _Refused(folder, error)
            write_bundle(to / folder, raw)
            return _Authentic(folder, raw, collateral)


def _refuse_older(folder: Path, incoming: Collateral, anchors: TrustAnchors, at: datetime) -> None:
    for bundle in bundles([folder]) if folder.is_dir() else ():
        match _authenticate(bundle, anchors, at):
            case _Authentic(collateral=there):
                for old, new in zip(high_water(there), high_water(incoming), strict=True):
                    _require_no_older(old, new, Reason.TDX_ROLLBACK)
            case _Refused():  # what is no use is replaced
                pass


def _require_no_older(old: HighWater, new: HighWater, reason: Reason) -> None:
    if new < old:
        raise EndorsementRejected(
            reason,
            found=f"{new.kind} {new.number} of {dump_time(new.issued)}",
            wanted=f"{old.number} of {dump_time(old.issued)}, which is there, or newer",
        )


def _import_amd(row: _AmdRow, to: Path, anchors: TrustAnchors, at: datetime) -> _AmdRow:
    """Write a document that is authentic and, if it is a CRL, no older than the one that is there."""
    match row:
        case Refusal():
            return row
        case Document(raw=raw, content=content, root=root):
            path = _path(row)
            if isinstance(content, RevocationList) and (to / path).is_file():
                there = collect(amd_documents(files(to / path)), anchors, at).endorsements.crls.get(root, content)
                try:
                    _require_no_older(crl_newness(root, there), crl_newness(root, content), Reason.SNP_CRL_ROLLBACK)
                except EndorsementRejected as error:
                    return Refusal(str(path), error)
            write_files(to / path.parent, {path.name: raw})
            return row._replace(name=str(path))


def _path(document: Document) -> PurePosixPath:
    """Return where a document belongs: VCEKs as trustee's offline store has them."""
    line, content = _line(document).lower(), document.content
    match content:
        case RevocationList():
            return PurePosixPath("amd", f"{line}_crl.der")
        case Certificate():
            return PurePosixPath("amd", f"{line}_{content.serial_number:x}_{_kind(content)}.der")
        case Vek(claims=claims):
            if claims.hwid is None:
                return PurePosixPath("vlek", f"{content.digests[0].hex()}_vlek.der")
            return PurePosixPath("vcek", claims.hwid.hex(), f"{_tcb_in_name(claims.tcb)}_vcek.der")


def _tcb_in_name(tcb: TcbVersion) -> str:
    levels = f"bl{tcb.bootloader:02}_tee{tcb.tee:02}_snp{tcb.snp:02}_ucode{tcb.microcode:02}"
    return levels if tcb.fmc is None else f"{levels}_fmc{tcb.fmc:02}"


def _line(document: Document) -> ProductLine:
    return ProductLine(document.root.common_name.removeprefix("ARK-"))


def _kind(content: Certificate | Vek | RevocationList) -> str:
    match content:
        case RevocationList():
            return "crl"
        case Vek():
            return content.claims.kind
        case Certificate():
            return "asvk" if content.common_name.startswith("SEV-VLEK-") else "ask"


def _export(row: _Row) -> Json:
    match row:
        case _Refused(folder=folder, error=error):
            return {"folder": folder, "outcome": "refused", "reason": error.reason.value, "detail": str(error)}
        case _Authentic(folder=folder, collateral=collateral):
            return {
                "folder": folder,
                "outcome": "ok",
                "tee": collateral.tee,
                "fmspc": collateral.fmspc.hex(),
                "pck_ca": collateral.pck_ca.value,
                "tcb_evaluation_data_number": collateral.tcb_evaluation_data_number,
                "valid_from": dump_time(collateral.validity.not_before),
                "valid_until": dump_time(collateral.validity.not_after),
            }


def _export_amd(row: _AmdRow) -> Json:
    match row:
        case Refusal(name=name, error=error):
            return {"file": name, "outcome": "refused", "reason": error.reason.value, "detail": str(error)}
        case Document(name=name, content=content):
            return {
                "file": name,
                "outcome": "ok",
                "kind": _kind(content),
                "product_line": _line(row).value,
                "content": _export_content(content),
                "valid_from": dump_time(content.validity.not_before),
                "valid_until": dump_time(content.validity.not_after),
            }


def _export_content(content: Certificate | Vek | RevocationList) -> dict[str, Json]:
    match content:
        case RevocationList(number=number, revoked=revoked):
            return {"number": number, "revoked": [f"{serial:x}" for serial in sorted(revoked)]}
        case Certificate(serial_number=serial):
            return {"serial_number": f"{serial:x}"}
        case Vek(claims=claims):
            of = {"csp_id": claims.csp_id} if claims.hwid is None else {"hwid": claims.hwid.hex()}
            return {**of, "tcb": {name: spl for name, spl in claims.tcb._asdict().items() if spl is not None}}


def _lines(rows: list[_Row]) -> list[str]:
    columns = ("folder", "outcome", "tee", "fmspc", "pck_ca", "tcb_evaluation_data_number", "valid_until")
    return _table(columns, [_export(row) for row in rows])


def _amd_lines(rows: list[_AmdRow]) -> list[str]:
    return _table(("file", "outcome", "kind", "product_line", "content", "valid_until"), [*map(_export_amd, rows)])


def _gpu_lines(rows: list[gpu_documents.GpuRow]) -> list[str]:
    return _table(("file", "outcome", "kind", "content", "valid_until"), [*map(gpu_documents.export, rows)])


def _table(columns: tuple[str, ...], rows: list[Json]) -> list[str]:
    exported = [row for row in rows if isinstance(row, dict)]
    good = [[row[column] for column in columns] for row in exported if "detail" not in row]
    refused = [f"{row[columns[0]]}: {coloured('refused')}: {row['detail']}" for row in exported if "detail" in row]
    return [*(table(columns, good) if good else ()), *refused]
