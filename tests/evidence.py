"""The evidence beside the repository: where it is, its Intel cases, and what each expects.

The folder is named by ATTESTD_EVIDENCE. Where it is absent the tests over it skip, and say how much they did not see.
"""

import json
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest

from attestd.tdx.collateral import RawCollateral
from attestd.x509 import TrustAnchors

ROOT: Final = Path(__file__).parent.parent
EVIDENCE: Final = Path(os.environ.get("ATTESTD_EVIDENCE", ROOT.parent / "shared" / "evidence"))
# As many as tdx/index.json lists.
INTEL_QUOTES: Final = 134
INTEL_EVENT_LOGS: Final = 4
INTEL_CASES: Final = INTEL_QUOTES + INTEL_EVENT_LOGS

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
            return TrustAnchors.intel((ROOT / "certs/intel/sgx_root_ca.der").read_bytes())
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
