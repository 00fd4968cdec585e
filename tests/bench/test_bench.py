"""Every row can be measured. What comes of it is for `make bench`: nothing here looks at a figure."""

from math import isfinite
from pathlib import Path

import pytest

from attestd.signature import P384_LIBRARY, P384Library
from tests import peers
from tests.bench import gpu, scale, snp, verification
from tests.bench.__main__ import QUICK, measure
from tests.bench.report import document, table

NO_PEERS = (
    peers.ABSENT,
    "no genuine report is here, and tinfoil takes no other",
    "no genuine GPU is here, and NVIDIA's verifier takes no other",
)


@pytest.mark.slow
def test_every_row_is_measured_or_says_why_not(tmp_path: Path) -> None:
    cases = verification.genuine_or_simulated(), snp.genuine_or_simulated(), gpu.genuine_or_simulated()
    outcomes = measure(QUICK, *cases, tmp_path)
    for outcome in outcomes:
        if outcome.row.name.startswith("peer") and outcome.not_measured:
            assert outcome.not_measured in NO_PEERS
        elif "aws_lc" in outcome.row.name and P384_LIBRARY is P384Library.OPENSSL:
            assert outcome.not_measured == snp.ABSENT.why
        else:
            assert len(outcome.values) == 1
            assert isfinite(outcome.median)
            assert outcome.median > 0
    assert all(outcome.row.over[:20] in table(outcomes, {}) for outcome in outcomes)
    assert document(outcomes, {}).count('"median"') == len(outcomes)


def test_a_growing_log_is_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scale.show(tmp_path, (20, 300), records=2)
    said = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in said[1:3]] == ["20", "300"]
    assert "times that" in said[-1] or said[-1].endswith(f"not measured: {peers.ABSENT}")
