"""A report that is accepted, signed by a key of our own, and the whole verification in one call.

Each negative test changes one thing of it, signs that again where a signature lies above it, and names the reason. The
certificate of the key is not there: `VEK` stands for what a chain was verified to, as `authenticate_vek` returns it.
"""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP384R1, derive_private_key
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA384

from attestd.claims import ProductLine, SnpClaims, TcbVersion, VekClaims
from attestd.signature import p384_public_key
from attestd.simulator.keys import point
from attestd.snp.report import REPORT_SIZE, SIGNED_SIZE, parse_report
from attestd.snp.vek import Vek, authenticate_ark_crl, authenticate_vek
from attestd.snp.verify import verify
from attestd.validity import Validity
from attestd.x509 import Certificate, RevocationList, TrustAnchors
from tests.evidence import ROOT, SnpCase

AT: Final = datetime(2026, 6, 1, tzinfo=UTC)
DAY: Final = timedelta(days=1)
# The order of P-384.
N: Final = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFC7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973

# Offset and size of each field of a report (snp.md, 2.1).
FIELDS: Final = {
    "version": (0x000, 4),
    "guest_svn": (0x004, 4),
    "policy": (0x008, 8),
    "family_id": (0x010, 16),
    "image_id": (0x020, 16),
    "vmpl": (0x030, 4),
    "signature_algo": (0x034, 4),
    "current_tcb": (0x038, 8),
    "platform_info": (0x040, 8),
    "key_info": (0x048, 4),
    "report_data": (0x050, 64),
    "measurement": (0x090, 48),
    "host_data": (0x0C0, 32),
    "id_key_digest": (0x0E0, 48),
    "author_key_digest": (0x110, 48),
    "report_id": (0x140, 32),
    "report_id_ma": (0x160, 32),
    "reported_tcb": (0x180, 8),
    "cpuid_fam_id": (0x188, 1),
    "cpuid_mod_id": (0x189, 1),
    "cpuid_step": (0x18A, 1),
    "chip_id": (0x1A0, 64),
    "committed_tcb": (0x1E0, 8),
    "current_build": (0x1E8, 1),
    "current_minor": (0x1E9, 1),
    "current_major": (0x1EA, 1),
    "committed_build": (0x1EC, 1),
    "committed_minor": (0x1ED, 1),
    "committed_major": (0x1EE, 1),
    "launch_tcb": (0x1F0, 8),
    "launch_mit_vector": (0x1F8, 8),
    "current_mit_vector": (0x200, 8),
}


def tcb(bootloader: int = 10, tee: int = 0, snp: int = 23, microcode: int = 84) -> bytes:
    """Encode a TCB_VERSION of Milan or Genoa."""
    return bytes((bootloader, tee, 0, 0, 0, 0, snp, microcode))


def turin_tcb(fmc: int = 1, bootloader: int = 1, tee: int = 1, snp: int = 4, microcode: int = 81) -> bytes:
    """Encode a TCB_VERSION of Turin."""
    return bytes((fmc, bootloader, tee, snp, 0, 0, 0, microcode))


CHIP_ID: Final = bytes(range(64))
TURIN_CHIP_ID: Final = bytes(range(1, 9)) + bytes(56)
_GENOA: Final[dict[str, int | bytes]] = {
    "version": 5,
    "guest_svn": 3,
    "policy": 0x30000,
    "signature_algo": 1,
    "current_tcb": tcb(),
    "platform_info": 0x25,
    "report_data": b"r" * 64,
    "measurement": b"m" * 48,
    "report_id": b"i" * 32,
    "report_id_ma": b"\xff" * 32,
    "reported_tcb": tcb(),
    "cpuid_fam_id": 0x19,
    "cpuid_mod_id": 0x11,
    "cpuid_step": 1,
    "chip_id": CHIP_ID,
    "committed_tcb": tcb(),
    "current_build": 54,
    "current_minor": 55,
    "current_major": 1,
    "committed_build": 54,
    "committed_minor": 55,
    "committed_major": 1,
    "launch_tcb": tcb(),
    "launch_mit_vector": 0xB,
    "current_mit_vector": 0xB,
}
TURIN: Final[dict[str, Any]] = {
    **dict.fromkeys(("current_tcb", "reported_tcb", "committed_tcb", "launch_tcb"), turin_tcb()),
    "cpuid_fam_id": 0x1A,
    "cpuid_mod_id": 0x02,
    "chip_id": TURIN_CHIP_ID,
}
# Before version 3 a report says nothing of the processor, before version 5 nothing of mitigations.
OLDER: Final = {
    2: dict.fromkeys(("cpuid_fam_id", "cpuid_mod_id", "cpuid_step", "launch_mit_vector", "current_mit_vector"), 0),
    3: dict.fromkeys(("launch_mit_vector", "current_mit_vector"), 0),
    4: dict.fromkeys(("launch_mit_vector", "current_mit_vector"), 0),
    5: {},
}
KEY: Final = derive_private_key(0xA77E57D, SECP384R1())

GENOA_ROOT: Final = Certificate((ROOT / "certs/amd/ark_genoa.der").read_bytes())
VEK: Final = Vek(
    claims=VekClaims("vcek", ProductLine.GENOA, "Genoa", TcbVersion(None, 10, 0, 23, 84), CHIP_ID, None),
    public_key=p384_public_key(point(KEY.public_key())),
    issuer=Certificate((ROOT / "certs/amd/ark_milan.der").read_bytes()),  # any certificate: it is verified already
    root=GENOA_ROOT,
    validity=Validity(AT - DAY, AT + DAY),
    digests=(b"v" * 32, b"a" * 32),
)
TURIN_VEK: Final = replace(
    VEK, claims=VekClaims("vcek", ProductLine.TURIN, "Turin", TcbVersion(1, 1, 1, 4, 81), TURIN_CHIP_ID[:8], None)
)
VLEK: Final = replace(VEK, claims=VEK.claims._replace(kind="vlek", hwid=None, csp_id="CN=cloud.example"))
CRL: Final = RevocationList(
    issuer=GENOA_ROOT.subject,
    issuer_spki=GENOA_ROOT.spki,
    number=1,
    validity=Validity(AT - DAY, AT + DAY / 2),
    revoked=frozenset({1}),
    digest=b"c" * 32,
)


def put(raw: bytes, offset: int, value: bytes) -> bytes:
    """Return `raw` with `value` at `offset`."""
    return raw[:offset] + value + raw[offset + len(value) :]


def unsigned(**fields: int | bytes) -> bytes:
    """Return the baseline report, but for `fields`, with zeros for a signature."""
    version = fields.get("version", _GENOA["version"])
    raw = bytes(REPORT_SIZE)
    for name, value in {**_GENOA, **OLDER.get(int(version), {}), **fields}.items():
        offset, size = FIELDS[name]
        raw = put(raw, offset, value if isinstance(value, bytes) else value.to_bytes(size, "little"))
    return raw


def with_signature(raw: bytes, r: int, s: int) -> bytes:
    """Return a report with another signature."""
    return put(raw, SIGNED_SIZE, r.to_bytes(72, "little") + s.to_bytes(72, "little"))


def signed(raw: bytes) -> bytes:
    """Sign a report with the baseline's key."""
    return with_signature(raw, *decode_dss_signature(KEY.sign(raw[:SIGNED_SIZE], ECDSA(SHA384()))))


def report(**fields: int | bytes) -> bytes:
    """Return the baseline report, but for `fields`, signed as such."""
    return signed(unsigned(**fields))


REPORT: Final = report()


def verified(raw: bytes = REPORT, vek: Vek = VEK, crl: RevocationList | None = CRL, at: datetime = AT) -> SnpClaims:
    """Verify a report from its bytes to its claims."""
    return verify(parse_report(raw), vek, crl, at)


@lru_cache(maxsize=64)
def vek_of(vek: bytes, issuer: bytes, anchors: TrustAnchors, at: datetime) -> Vek:
    """Authenticate a key; only successes are kept, as in a service's cache."""
    return authenticate_vek(vek, issuer, anchors, at)


def verified_case(case: SnpCase, raw: bytes | None = None) -> SnpClaims:
    """Verify a case of the evidence, with `raw` in place of its report."""
    parsed = parse_report(case.report if raw is None else raw)
    assert case.vek is not None
    vek = vek_of(case.vek, case.issuer, case.anchors, case.at)
    crl = None if case.crl is None else authenticate_ark_crl(case.crl, vek.root, case.at)
    return verify(parsed, vek, crl, case.at)
