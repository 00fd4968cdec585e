"""`attestd endorsements import` and `list`: collateral on its way to the folder that the service reads."""

from argparse import Namespace
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from attestd.cli.inputs import bundles, effective_time, trust_anchors
from attestd.cli.screen import VERIFIED, coloured, exit_status, show, table
from attestd.codec import Json, dump_time
from attestd.endorsements import Bundle, high_water, write_bundle
from attestd.errors import AttestdError, EndorsementRejected, Reason, Unavailable
from attestd.tdx.collateral import Collateral, RawCollateral, authenticate_collateral
from attestd.x509 import TrustAnchors


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


def run(arguments: Namespace) -> int:
    """Authenticate every bundle, copy or list it; the status is that of the worst refusal."""
    at = effective_time(arguments.at)
    anchors = trust_anchors(arguments.trust_anchors)
    found = bundles([arguments.source])
    if not found:
        raise Unavailable(
            Reason.TDX_ENDORSEMENTS_MISSING, found="no collateral", wanted="tcb_info.json and the files that go with it"
        )
    rows = [_authenticate(bundle, anchors, at) for bundle in found]
    if arguments.action == "import":
        rows = [_import(row, arguments.to, anchors, at) for row in rows]
    document: dict[str, Json] = {"at": dump_time(at), "bundles": [_export(row) for row in rows]}
    show(arguments, document, lambda: _lines(rows))
    return max((exit_status(row.error) for row in rows if isinstance(row, _Refused)), default=VERIFIED)


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
                    if new < old:
                        raise EndorsementRejected(
                            Reason.TDX_ROLLBACK,
                            found=f"{new.kind} {new.number} of {dump_time(new.issued)}",
                            wanted=f"{old.number} of {dump_time(old.issued)}, which is there, or newer",
                        )
            case _Refused():  # what is no use is replaced
                pass


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


def _lines(rows: list[_Row]) -> list[str]:
    columns = ("folder", "outcome", "tee", "fmspc", "pck_ca", "tcb_evaluation_data_number", "valid_until")
    exported = [row for row in map(_export, rows) if isinstance(row, dict)]
    good = [[row[column] for column in columns] for row in exported if row["outcome"] == "ok"]
    refused = [f"{row['folder']}: {coloured('refused')}: {row['detail']}" for row in exported if "detail" in row]
    return [*(table(columns, good) if good else ()), *refused]
