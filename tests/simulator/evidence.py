"""Genuine evidence, to hold what the simulator writes against what Intel writes."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

TDX = Path(os.environ.get("ATTESTD_EVIDENCE", Path(__file__).parents[3] / "shared" / "evidence")) / "tdx"

needs_evidence = pytest.mark.skipif(not TDX.is_dir(), reason=f"no genuine evidence at {TDX}")

COCOON = TDX / "real" / "tdx-v4-90c06f-cocoon"  # Platform CA
SGX = TDX / "real" / "sgx-v3-00a067-config-and-swh"  # Processor CA


def expected(case: Path) -> dict[str, Any]:
    return dict(json.loads((case / "expected.json").read_bytes()))


def certificates(text: bytes) -> list[x509.Certificate]:
    return x509.load_pem_x509_certificates(text[text.index(b"-----BEGIN") :])
