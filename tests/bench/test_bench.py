"""Every row can be measured. What comes of it is for `make bench`: nothing here looks at a figure."""

from math import isfinite
from pathlib import Path

import pytest

from tests.bench.__main__ import QUICK, measure
from tests.bench.report import document, table
from tests.bench.verification import genuine_or_simulated


@pytest.mark.slow
def test_every_row_is_measured_or_says_why_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ATTESTD_PEERS", raising=False)
    outcomes = measure(QUICK, genuine_or_simulated(), tmp_path)
    for outcome in outcomes:
        if outcome.row.name.startswith("peer"):
            assert outcome.not_measured == "ATTESTD_PEERS names no Python that has dcap-qvl installed"
        else:
            assert len(outcome.values) == 1
            assert isfinite(outcome.median)
            assert outcome.median > 0
    assert all(outcome.row.over[:20] in table(outcomes, {}) for outcome in outcomes)
    assert document(outcomes, {}).count('"median"') == len(outcomes)
