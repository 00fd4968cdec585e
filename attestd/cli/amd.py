"""What reports, certificates and CRLs of AMD's say, read for people: nothing here is verified (snp.md, 2.1 and 2.2)."""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Final, Literal

from cryptography import x509

from attestd.claims import ProductLine, export_value
from attestd.cli.report import ReportedSnp, measurements
from attestd.codec import Json, dump_digest, dump_time
from attestd.errors import AttestdError, Reason
from attestd.policy.amd_rules import GUEST_POLICY_BITS, PLATFORM_INFO_BITS
from attestd.snp.attestation import Certificates
from attestd.snp.hcl import HclReport
from attestd.snp.report import Report, tcb_version
from attestd.snp.vek import parse_vek_extensions
from attestd.snp.verify import report_flags
from attestd.snp.vtpm import ak_thumbprint
from attestd.x509 import AMD, BAD_BYTES, GENUINE_ROOTS, Certificate

_Document = dict[str, Json]

# Those that a policy shows as flags, and those that it names (SEV-SNP firmware ABI, 4.3).
_GUEST_POLICY_BITS: Final = {"migrate_ma": 18, "debug": 19, **GUEST_POLICY_BITS}
_BIT_FIELDS: Final = ("policy", "platform_info", "launch_mit_vector", "current_mit_vector")
# Always set.
_GUEST_POLICY_ONE: Final = 17
_FIRST_FLAG: Final = 16

_VEKS: Final[Mapping[str, Literal["vcek", "vlek"]]] = {"SEV-VCEK": "vcek", "SEV-VLEK": "vlek"}
_ISSUERS: Final = {name: line for line in ProductLine for name in (f"SEV-{line}", f"SEV-VLEK-{line}")}
_ROLES: Final[Mapping[str, str]] = {
    **_VEKS,
    **{f"SEV-{line}": "ask" for line in ProductLine},
    **{f"SEV-VLEK-{line}": "asvk" for line in ProductLine},
    **{f"ARK-{line}": "ark" for line in ProductLine},
}
_NO_CRL: Final[_Document] = {
    "reason": Reason.SNP_CRL_MALFORMED.value,
    "detail": Reason.SNP_CRL_MALFORMED.summary,
}


def export_report(reported: ReportedSnp) -> _Document:
    """Show a report: as it stands, its bits by name, and what came along with it."""
    report, certificates, hcl = reported
    read = _export_report(report, certificates)
    return read if hcl is None else _export_hcl(hcl, report) | {"report": read}


def _export_report(report: Report, certificates: Certificates) -> _Document:
    body = report.body
    digest = bytes(measurements(body)["image_digest"])
    provisional = report.committed_tcb != report.current_tcb or body.committed_version != body.current_version
    line = report.product_line or _product_line(certificates)
    fields, chain = body._asdict(), (certificates.vek, certificates.ask, certificates.ark)
    # As text, as in claims: these have 64 bits.
    bits = {name: None if fields[name] is None else f"{fields[name]:#x}" for name in _BIT_FIELDS}
    return {
        "kind": "snp_report",
        "tee": "snp",
        "version": body.version,
        "evidence_id": dump_digest(report.evidence_id),
        "product_line": line,
        "flags": [flag.value for flag in report_flags(body, provisional=provisional)],
        "image_digest": digest.hex(),
        "image_digest_base64": b64encode(digest).decode(),
        "body": {name: export_value(value) for name, value in (fields | bits).items()},
        "guest_policy": {
            "min_abi": f"{body.policy >> 8 & 0xFF}.{body.policy & 0xFF}",
            **_bits(body.policy & ~(1 << _GUEST_POLICY_ONE), _GUEST_POLICY_BITS, first=_FIRST_FLAG),
        },
        "platform_info": _bits(body.platform_info, PLATFORM_INFO_BITS),
        "tcb": {
            name: _tcb(getattr(report, f"{name}_tcb"), line) for name in ("reported", "committed", "current", "launch")
        },
        "certificates": [_export_certificate(der) for der in chain if der is not None],
        "crl": None if certificates.crl is None else read_crl(certificates.crl) or _NO_CRL,
    }


def _bits(field: int, names: Mapping[str, int], *, first: int = 0) -> _Document:
    """Name the bits of a field from `first` on: those that are set, by number where they have no name, and the rest."""
    named = {position: name for name, position in names.items()}
    positions = [position for position in range(first, field.bit_length()) if field >> position & 1]
    return {
        "set": [named.get(position, f"bit_{position}") for position in positions],
        "clear": [name for name, position in names.items() if position not in positions],
    }


def _product_line(certificates: Certificates) -> ProductLine | None:
    """Return the product line of the certificate, for a report of version 2, which does not tell its own."""
    try:
        return None if certificates.vek is None else _ISSUERS.get(Certificate(certificates.vek).issuer_common_name)
    except AttestdError:
        return None


def _tcb(raw: bytes, line: ProductLine | None) -> Json:
    """Return the levels, or the bytes where it is not known what they mean."""
    try:
        return raw.hex() if line is None else export_value(tcb_version(raw, line))
    except AttestdError:
        return raw.hex()


def _export_hcl(hcl: HclReport, report: Report) -> _Document:
    configuration = hcl.vm_configuration._asdict().items()
    return {
        "kind": "hcl_report",
        "tee": "snp",
        "version": hcl.version,
        "ak_thumbprint": ak_thumbprint(hcl.ak_modulus).hex(),
        "ak_bits": 8 * len(hcl.ak_modulus),
        "user_data": export_value(hcl.user_data),
        # Arithmetic, and no proof.
        "report_data_is_of_the_runtime_data": report.body.report_data == sha256(hcl.runtime_data).digest() + bytes(32),
        "vm_configuration": {name: export_value(value) for name, value in configuration},
    }


def is_amds(certificate: Certificate) -> bool:
    """Tell a certificate of AMD's kind, by its signature algorithm, from a Cocoon RA-TLS certificate."""
    return AMD.has_issued(certificate)


def export_certificates(ders: Sequence[bytes]) -> _Document:
    """Show certificates as they stand in a file, in its order."""
    return {"kind": "certificates", "tee": "snp", "certificates": [_export_certificate(der) for der in ders]}


def _export_certificate(der: bytes) -> _Document:
    try:
        return _read_certificate(Certificate(der))
    except AttestdError as error:
        return {"role": None, "common_name": "", "reason": error.reason.value, "detail": str(error)}


def _read_certificate(certificate: Certificate) -> _Document:
    name, issuer = certificate.common_name, certificate.issuer_common_name
    read: _Document = {
        "role": _ROLES.get(name),
        "common_name": name,
        "issuer": issuer,
        "serial_number": f"{certificate.serial_number:x}",
        "not_before": dump_time(certificate.validity.not_before),
        "not_after": dump_time(certificate.validity.not_after),
        "sha256": certificate.fingerprint.hex(),
    }
    if name in _VEKS and issuer in _ISSUERS:
        read["platform"] = _platform(certificate, _VEKS[name], _ISSUERS[issuer])
    elif read["role"] == "ark":
        read["pinned"] = certificate.fingerprint in GENUINE_ROOTS
    return read


def _platform(certificate: Certificate, kind: Literal["vcek", "vlek"], line: ProductLine) -> _Document:
    try:
        claims = parse_vek_extensions(certificate.extension_bytes, kind, line)
    except AttestdError as error:
        return {"reason": error.reason.value, "detail": str(error)}
    return {name: export_value(value) for name, value in claims._asdict().items() if name != "kind"}


def read_crl(der: bytes) -> _Document | None:
    """Show a CRL, AMD's or another one, or return None for what is none."""
    try:
        crl = x509.load_der_x509_crl(der)
        numbers = [one.value.crl_number for one in crl.extensions if isinstance(one.value, x509.CRLNumber)]
        revoked: list[Json] = [
            {"serial_number": f"{entry.serial_number:x}", "revoked_at": dump_time(entry.revocation_date_utc)}
            for entry in crl
        ]
        return {
            "kind": "crl",
            "issuer": crl.issuer.rfc4514_string(),
            "number": numbers[0] if numbers else None,
            "this_update": dump_time(crl.last_update_utc),
            "next_update": None if crl.next_update_utc is None else dump_time(crl.next_update_utc),
            "sha256": sha256(der).hexdigest(),
            "revoked": revoked,
        }
    except BAD_BYTES:
        return None
