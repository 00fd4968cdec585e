"""`attestd inspect`: parse a file and show what it says; nothing is verified, and the output says so."""

import re
from argparse import Namespace
from base64 import b64encode
from collections.abc import Iterator, Mapping
from hashlib import sha512
from typing import Final, assert_never

from attestd.binding.ra_tls import RaTlsCertificate
from attestd.claims import PckClaims
from attestd.cli.amd import export_certificates, export_report, is_amds, read_crl
from attestd.cli.gpus import load_devices
from attestd.cli.inputs import evidence
from attestd.cli.nvidia import (
    REPORT_HEAD,
    export_chain,
    export_devices,
    export_rim,
    is_nvidias,
    read_ocsp,
)
from attestd.cli.nvidia import export_report as export_gpu_report
from attestd.cli.report import NOTICE, ReportedQuote, ReportedSnp, load_report, measurements
from attestd.cli.screen import VERIFIED, coloured, pairs, show, shown, table
from attestd.codec import Json, dump_digest, dump_time, load_json, load_pem
from attestd.errors import AttestdError, Malformed, Reason
from attestd.evidence import MAX_EVENT_LOG_SIZE
from attestd.nvgpu.rim import load_rim_envelope
from attestd.nvgpu.spdm import parse_report
from attestd.tdx.eventlog import LogFormat, replay
from attestd.tdx.pck import authenticate_pck_chain
from attestd.tdx.quote import Quote, SgxReport, TdReport, parse_sgx_report
from attestd.tdx.verify import sgx_flags, td_flags
from attestd.x509 import Certificate, TrustAnchors

_Document = dict[str, Json]

# The members of Intel's two signed documents, by which one is told from the other.
_SIGNED: Final = {"tcbInfo": "tcb_info", "enclaveIdentity": "qe_identity"}
_PEM: Final = b"-----BEGIN CERTIFICATE-----"
# A list of devices as NVIDIA's SDK writes it: the members of an event have other names.
_GPU_LIST: Final = re.compile(rb"""\s*\[\s*\{\s*"(?:arch|certificate|evidence|nonce)"\s*:""")
_SPEC_ID: Final = slice(32, 47)  # of the first record of a CCEL


def run(arguments: Namespace) -> int:
    """Show a quote or report, an RA-TLS certificate, an event log, or what a vendor has signed."""
    raw = evidence(arguments.file, MAX_EVENT_LOG_SIZE)
    document: _Document = {"verified": False, "notice": NOTICE, **_read(raw)}
    show(arguments, document, lambda: _lines(document))
    return VERIFIED


def _read(raw: bytes) -> _Document:
    """Tell by its beginning what a file is, and read it."""
    if raw[:2] == REPORT_HEAD:
        return export_gpu_report(parse_report(raw))
    if _GPU_LIST.match(raw):
        return export_devices(load_devices(raw))
    if raw[:1] == b"[" or raw[_SPEC_ID] == b"Spec ID Event03":
        return _read_event_log(raw)
    if raw[:1] == b"<":
        return export_rim(raw)
    if raw[:1] == b"{":
        return _read_signed(raw)
    return _read_certificates(raw) or _read_report(raw)


def _read_certificates(raw: bytes) -> _Document | None:
    """Show AMD's or NVIDIA's certificates, a CRL or an OCSP answer; None for what else there is, RA-TLS among it."""
    try:
        ders = load_pem(raw) if raw.startswith(_PEM) else (raw,)
        first = Certificate(ders[0])
        if is_amds(first):
            return export_certificates(ders)
        return export_chain(ders) if is_nvidias(first) else None
    except Malformed:
        return read_crl(raw) or read_ocsp(raw)


def _read_report(raw: bytes) -> _Document:
    reported = load_report(raw)
    match reported:
        case ReportedSnp():
            return export_report(reported)
        case ReportedQuote(quote, certificate):
            read = _export_quote(quote)
            return read if certificate is None else _export_certificate(certificate, quote) | {"quote": read}
        case _:
            assert_never(reported)


def _read_event_log(raw: bytes) -> _Document:
    log = replay(raw)
    return {
        "kind": "event_log",
        "format": log.format.value,
        "events": len(log.events),
        "bytes_used": log.bytes_used,
        "events_per_register": {f"rtmr{n}": count for n, count in enumerate(log.events_per_register)},
        "replayed": {f"rtmr{n}": register.hex() for n, register in enumerate(log.registers)},
        "runtime_events": [
            {"register": event.register, "event": event.name, "event_payload": event.data.hex()}
            for event in log.events
            if log.format is LogFormat.DSTACK and event.name
        ],
    }


def _read_signed(raw: bytes) -> _Document:
    match load_json(raw):
        case {"tcbInfo": dict(content)}:
            return {"kind": "tcb_info", "content": content}
        case {"enclaveIdentity": dict(content)}:
            return {"kind": "qe_identity", "content": content}
        case {"rim": str()}:
            return export_rim(load_rim_envelope(raw))
        case _:
            raise Malformed(Reason.JSON_SCHEMA, found="another document", wanted="tcbInfo, enclaveIdentity or rim")


def _export_quote(quote: Quote) -> _Document:
    body, qe = quote.body, quote.qe
    qe_report = parse_sgx_report(qe.report)
    flags = td_flags(body) if isinstance(body, TdReport) else sgx_flags(body)
    digest = bytes(measurements(body)["image_digest"])
    return {
        "kind": "quote",
        "tee": quote.tee,
        "version": quote.version,
        "evidence_id": dump_digest(quote.evidence_id),
        "flags": [flag.value for flag in flags],
        "image_digest": digest.hex(),
        "image_digest_base64": b64encode(digest).decode(),
        "body": _export_body(body),
        "user_data": quote.user_data.hex(),
        "trailing_bytes": len(quote.trailing),
        "qe": {
            "mrsigner": qe_report.mrsigner.hex(),
            "isvprodid": qe_report.isvprodid,
            "isvsvn": qe_report.isvsvn,
            "certification_data_type": qe.certification_data_type,
        },
        "pck": _read_platform(quote),
    }


def _export_body(body: TdReport | SgxReport) -> _Document:
    members = body._asdict().items()
    return {name: value.hex() if isinstance(value, bytes) else value for name, value in members if value is not None}


def _read_platform(quote: Quote) -> Json:
    """Show what the PCK certificate says. Its chain is held against the root that it brings along, not a pinned one."""
    try:
        chain = [Certificate(der) for der in load_pem(quote.pck_chain)]
        own_root = TrustAnchors.load([chain[-1].der])
        pck = authenticate_pck_chain(quote.pck_chain, own_root, chain[0].validity.not_before)
    except AttestdError as error:
        return {"reason": error.reason.value, "detail": str(error)}
    return _export_platform(pck.claims) | {
        "not_before": dump_time(chain[0].validity.not_before),
        "not_after": dump_time(chain[0].validity.not_after),
        "root": dump_digest(pck.root.fingerprint),
    }


def _export_platform(pck: PckClaims) -> _Document:
    instance = pck.platform_instance_id
    return {
        "fmspc": pck.fmspc.hex(),
        "pce_id": pck.pce_id.hex(),
        "pce_svn": pck.pce_svn,
        "cpu_svn": pck.cpu_svn.hex(),
        "tcb_components": pck.tcb_components.hex(),
        "pck_ca": pck.pck_ca.value,
        "sgx_type": pck.sgx_type,
        "ppid": pck.ppid.hex(),
        "platform_instance_id": None if instance is None else instance.hex(),
    }


def _export_certificate(certificate: RaTlsCertificate, quote: Quote) -> _Document:
    claims = certificate.user_claims
    return {
        "kind": "ra_tls_certificate",
        "key": certificate.raw_key.hex(),
        "user_claims": None if claims is None else claims.hex(),
        "not_before": dump_time(certificate.validity.not_before),
        "not_after": dump_time(certificate.validity.not_after),
        # Cocoon's binding (tdx.md, section 5), which is arithmetic and no proof.
        "report_data_is_of_the_key": quote.body.report_data == sha512(certificate.raw_key).digest(),
    }


def _lines(document: Mapping[str, Json]) -> Iterator[str]:
    """Lay out a document of any kind: values first, then each nested one under its name."""
    yield f"{coloured('unverified')}: {document['notice']}"
    yield ""
    yield from _section({name: value for name, value in document.items() if name not in {"verified", "notice"}}, "")


def _section(members: Mapping[str, Json], path: str) -> Iterator[str]:
    members = {name: _compact(value) for name, value in members.items()}
    yield from pairs({name: value for name, value in members.items() if not _is_nested(value)})
    for name, value in members.items():
        where = f"{path}{name}"
        match value:
            case dict():
                yield from ("", f"{where}:")
                yield from _section(value, f"{where}.")
            case [{"tcbLevels": list()} | {"common_name": str()} | {"chain": dict()}, *_]:
                for number, inner in enumerate(value):
                    if isinstance(inner, dict):
                        yield from ("", f"{where}[{number}]:")
                        yield from _section(inner, f"{where}[{number}].")
            case [dict(), *_]:
                yield from ("", f"{where}:")
                rows = [_joined(row) for row in value if isinstance(row, dict)]
                columns = list(dict.fromkeys(column for row in rows for column in row))
                yield from table(columns, ([row.get(column) for column in columns] for row in rows))
            case _:
                pass


def _compact(value: Json) -> Json:
    """Write sixteen component SVNs as sixteen bytes, and a TCB version of AMD's in one line."""
    match value:
        case [{"svn": int()}, *_]:
            svns = [component.get("svn") for component in value if isinstance(component, dict)]
            return "".join(f"{svn:02x}" for svn in svns if isinstance(svn, int))
        case {"bootloader": int(), "microcode": int()}:
            return shown(value)
        case _:
            return value


def _joined(row: Mapping[str, Json]) -> dict[str, Json]:
    """Raise the members of a level's `tcb` to the level; its advisories, the longest, come last."""
    joined: dict[str, Json] = {}
    for name, value in row.items():
        joined |= {inner: _compact(svn) for inner, svn in value.items()} if isinstance(value, dict) else {name: value}
    return dict(sorted(joined.items(), key=lambda item: isinstance(item[1], list)))


def _is_nested(value: Json) -> bool:
    match value:
        case dict() | [dict(), *_]:
            return True
        case _:
            return False
