"""The evidence beside the repository: where it is, its cases by vendor, and what each expects.

The folder is named by ATTESTD_EVIDENCE. Where it is absent the tests over it skip, and say how much they did not see.
"""

import json
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest

from attestd.codec import load_pem
from attestd.tdx.collateral import RawCollateral
from attestd.x509 import TrustAnchors

ROOT: Final = Path(__file__).parent.parent
EVIDENCE: Final = Path(os.environ.get("ATTESTD_EVIDENCE", ROOT.parent / "shared" / "evidence"))
# As many as tdx/index.json lists.
INTEL_QUOTES: Final = 134
INTEL_EVENT_LOGS: Final = 4
INTEL_CASES: Final = INTEL_QUOTES + INTEL_EVENT_LOGS
# As many as there are in each folder below snp/.
SNP_CASES: Final = {"real": 16, "derived": 17, "synthetic": 63, "cert-tables": 7}
# As many as there are folders below nvidia/ with one device.
NVIDIA_CASES: Final = 33

_SUFFIXES: Final = {
    "tcb_info": "json",
    "tcb_info_issuer_chain": "pem",
    "qe_identity": "json",
    "qe_identity_issuer_chain": "pem",
    "root_ca_crl": "der",
    "pck_crl": "der",
    "pck_crl_issuer_chain": "pem",
}


@dataclass(frozen=True)
class IntelCase:
    """One folder below `tdx/`: a quote with its collateral, or an event log."""

    folder: Path

    @property
    def document(self) -> dict[str, Any]:
        """The whole of expected.json."""
        document: dict[str, Any] = json.loads(self.read("expected.json"))
        return document

    @property
    def expected(self) -> dict[str, Any]:
        """The verdict that expected.json holds."""
        expected: dict[str, Any] = self.document["expected"]
        return expected

    @property
    def at(self) -> datetime:
        """The time of verification."""
        return datetime.fromtimestamp(self.document["verification_time"], UTC)

    @property
    def anchors(self) -> TrustAnchors:
        """Intel's root as it is pinned, or the one that the case names."""
        trust_root = self.document["trust_root"]
        if trust_root == "intel":
            return TrustAnchors.load_genuine([(ROOT / "certs/intel/sgx_root_ca.der").read_bytes()])
        return TrustAnchors.load([self.read(trust_root.removeprefix("synthetic (").removesuffix(")"))])

    @property
    def collateral(self) -> RawCollateral:
        """All seven documents as they came."""
        return RawCollateral(
            **{name: self.read(f"collateral/{name}.{suffix}") for name, suffix in _SUFFIXES.items()},
        )

    def read(self, name: str) -> bytes:
        """Return one file of the case."""
        return (self.folder / name).read_bytes()


def intel_case(path: str) -> IntelCase:
    """Return the case at `path` below `tdx/`, or skip."""
    folder = EVIDENCE / "tdx" / path
    if not folder.is_dir():
        pytest.skip(f"no evidence at {EVIDENCE}: {path} not seen")
    return IntelCase(folder)


def intel_cases(*, quotes: bool) -> list[Any]:
    """Return the cases with a quote, or those with an event log alone, as parameters of a test."""
    index = EVIDENCE / "tdx" / "index.json"
    if not index.is_file():
        count = INTEL_QUOTES if quotes else INTEL_EVENT_LOGS
        skip = pytest.mark.skip(reason=f"no evidence at {EVIDENCE}: {count} cases not seen")
        return [pytest.param(None, id="absent", marks=skip)]
    rows = [row for row in json.loads(index.read_bytes()) if (row["kind"] != "event-log-without-quote") is quotes]
    return [pytest.param(IntelCase(index.parent / row["path"]), id=row["path"]) for row in rows]


@dataclass(frozen=True)
class SnpCase:
    """One folder below `snp/`: a report, the certificate of its key, or both, or an extended report."""

    folder: Path

    @property
    def document(self) -> dict[str, Any]:
        """The whole of expected.json."""
        document: dict[str, Any] = json.loads(self.read("expected.json"))
        return document

    @property
    def at(self) -> datetime:
        """The time of verification."""
        return datetime.fromisoformat(self.document["verification_time"])

    @property
    def anchors(self) -> TrustAnchors:
        """AMD's roots as they are pinned, or the synthetic one that the case names."""
        anchor = self.document["trust_anchor"]
        if anchor == "amd":
            return TrustAnchors.load_genuine(path.read_bytes() for path in sorted((ROOT / "certs/amd").glob("*.der")))
        line = anchor.removeprefix("synthetic-")
        return TrustAnchors.load(load_pem((EVIDENCE / f"snp/synthetic/roots/{line}_ark.pem").read_bytes()))

    @property
    def report(self) -> bytes:
        """The bare report."""
        return self.read("report.bin")

    @property
    def vek(self) -> bytes | None:
        """The certificate that came, of either kind."""
        found = [self.read(name) for name in ("vcek.der", "vlek.der") if (self.folder / name).is_file()]
        return found[0] if found else None

    @property
    def issuer(self) -> bytes:
        """The ASK or ASVK: the one that came, or the known one of the product line."""
        if (self.folder / "ask.pem").is_file():
            return load_pem(self.read("ask.pem"))[0]
        role = "ask" if self.document["key_type"] == "VCEK" else "asvk"
        return self.known(f"{self.document['product'].lower()}_{role}.pem")

    def known(self, name: str) -> bytes:
        """Return a CA certificate of the case's vendor, AMD or the synthetic one."""
        genuine = self.document.get("trust_anchor", "amd") == "amd"
        folder = EVIDENCE / ("snp/roots" if genuine else "snp/synthetic/roots")
        return load_pem((folder / name).read_bytes())[0]

    @property
    def crl(self) -> bytes | None:
        """The CRL that came."""
        return self.read("crl.der") if (self.folder / "crl.der").is_file() else None

    def read(self, name: str) -> bytes:
        """Return one file of the case."""
        return (self.folder / name).read_bytes()


def snp_case(path: str) -> SnpCase:
    """Return the case at `path` below `snp/`, or skip."""
    folder = EVIDENCE / "snp" / path
    if not folder.is_dir():
        pytest.skip(f"no evidence at {EVIDENCE}: {path} not seen")
    return SnpCase(folder)


def snp_cases(*kinds: str) -> list[Any]:
    """Return the cases of some folders below `snp/`, or of all in `SNP_CASES`, as parameters of a test."""
    kinds = kinds or tuple(SNP_CASES)
    if not (EVIDENCE / "snp").is_dir():
        count = sum(SNP_CASES[kind] for kind in kinds)
        skip = pytest.mark.skip(reason=f"no evidence at {EVIDENCE}: {count} cases not seen")
        return [pytest.param(None, id="absent", marks=skip)]
    found = sorted(path.parent for kind in kinds for path in (EVIDENCE / "snp" / kind).glob("*/expected.json"))
    return [pytest.param(SnpCase(folder), id=f"{folder.parent.name}/{folder.name}") for folder in found]


@dataclass(frozen=True)
class NvidiaCase:
    """One folder below `nvidia/` with a single device: a report, its certificates, and the RIMs that are public."""

    folder: Path

    @property
    def document(self) -> dict[str, Any]:
        """The whole of expected.json."""
        document: dict[str, Any] = json.loads(self.read("expected.json"))
        return document

    @property
    def at(self) -> datetime:
        """The time of verification."""
        return datetime.fromisoformat(self.document["verify_at"])

    @property
    def report(self) -> bytes:
        """Request, response and signature."""
        return self.read("report.bin")

    @property
    def certificates(self) -> tuple[bytes, ...]:
        """The device's chain as it came, DER, leaf first."""
        return load_pem(self.read("certs.pem"))

    @property
    def driver_rim(self) -> bytes | None:
        """The RIM of the driver, where one came."""
        return self.read("driver_rim.swidtag") if (self.folder / "driver_rim.swidtag").is_file() else None

    @property
    def vbios_rim(self) -> bytes | None:
        """The RIM of the VBIOS, or of an NVSwitch's BIOS, where one came."""
        return self.read("vbios_rim.swidtag") if (self.folder / "vbios_rim.swidtag").is_file() else None

    def read(self, name: str) -> bytes:
        """Return one file of the case."""
        return (self.folder / name).read_bytes()


def nvidia_case(path: str) -> NvidiaCase:
    """Return the case at `path` below `nvidia/`, or skip."""
    folder = EVIDENCE / "nvidia" / path
    if not folder.is_dir():
        pytest.skip(f"no evidence at {EVIDENCE}: {path} not seen")
    return NvidiaCase(folder)


def nvidia_cases() -> list[Any]:
    """Return the cases of single devices as parameters of a test."""
    if not (EVIDENCE / "nvidia").is_dir():
        skip = pytest.mark.skip(reason=f"no evidence at {EVIDENCE}: {NVIDIA_CASES} cases not seen")
        return [pytest.param(None, id="absent", marks=skip)]
    found = sorted(path.parent for path in (EVIDENCE / "nvidia").glob("*/report.bin"))
    return [pytest.param(NvidiaCase(folder), id=folder.name) for folder in found]


def nvidia_anchors() -> TrustAnchors:
    """Return NVIDIA's roots as they are pinned."""
    return TrustAnchors.load_genuine(path.read_bytes() for path in sorted((ROOT / "certs/nvidia").glob("*.der")))
