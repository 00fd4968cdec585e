"""Every row can be measured. What comes of it is for `make bench`: nothing here looks at a figure."""

from math import isfinite
from pathlib import Path

import pytest

from attestd.signature import P384_LIBRARY, P384Library
from tests.bench import gpu, scale, snp, verification
from tests.bench.__main__ import QUICK, measure
from tests.bench.report import document, table

NO_PEERS = (
    "ATTESTD_PEERS names no Python that has dcap-qvl installed",
    "ATTESTD_PEERS names no Python that has tinfoil installed",
    "ATTESTD_PEERS names no Python that has pymerkle installed",
    "no genuine report is here, and tinfoil takes no other",
    "ATTESTD_NVIDIA_PEER names no Python that has nv-local-gpu-verifier installed",
    "no genuine GPU is here, and NVIDIA's verifier takes no other",
)


@pytest.mark.slow
def test_every_row_is_measured_or_says_why_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("ATTESTD_PEERS", "ATTESTD_NVIDIA_PEER"):
        monkeypatch.delenv(variable, raising=False)
    cases = verification.genuine_or_simulated(), snp.genuine_or_simulated(), gpu.genuine_or_simulated()
    outcomes = measure(QUICK, *cases, tmp_path)
    for outcome in outcomes:
        if outcome.row.name.startswith("peer"):
            assert outcome.not_measured in NO_PEERS
        elif "aws_lc" in outcome.row.name and P384_LIBRARY is P384Library.OPENSSL:
            assert outcome.not_measured == snp.ABSENT.why
        else:
            assert len(outcome.values) == 1
            assert isfinite(outcome.median)
            assert outcome.median > 0
    assert all(outcome.row.over[:20] in table(outcomes, {}) for outcome in outcomes)
    assert document(outcomes, {}).count('"median"') == len(outcomes)


def test_a_growing_log_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("ATTESTD_PEERS", raising=False)
    scale.show(tmp_path, (20, 300), records=2)
    said = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in said[1:3]] == ["20", "300"]
    assert "not measured: ATTESTD_PEERS names no Python" in said[-1]
