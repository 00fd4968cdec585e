"""Tiers, their order, and an appraisal as it is shown."""

import json
from datetime import UTC, datetime, timedelta, timezone

import pytest

from attestd.codec import Json
from attestd.result import Appraisal, Finding, Shown, Tier, export_appraisal

AT = datetime(2026, 6, 1, 12, tzinfo=UTC)


def test_tiers_from_good_to_bad() -> None:
    assert sorted(Tier, key=lambda tier: tier.rank) == [Tier.AFFIRMING, Tier.WARNING, Tier.CONTRAINDICATED]
    assert [tier.rank for tier in Tier] == [0, 1, 2]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (b"\x00\xff", "00ff"),
        (b"", ""),
        ("text", "text"),
        (7, 7),
        (True, True),
        (None, None),
        (AT, "2026-06-01T12:00:00Z"),
        (AT.astimezone(timezone(timedelta(hours=2))), "2026-06-01T12:00:00Z"),
        ((), []),
        (("name", b"\x01", (1, None)), ["name", "01", [1, None]]),
    ],
)
def test_what_a_finding_shows(value: Shown, shown: Json) -> None:
    appraisal = Appraisal(
        policy=bytes(32),
        tier=Tier.CONTRAINDICATED,
        findings=(
            Finding("image", Tier.CONTRAINDICATED, value, "other"),
            Finding("debug", Tier.AFFIRMING, "off", value),
        ),
        not_after=AT,
    )
    exported = export_appraisal(appraisal)
    assert exported == {
        "policy": "sha256:" + "00" * 32,
        "tier": "contraindicated",
        "findings": [
            {"check": "image", "outcome": "contraindicated", "got": shown, "want": "other"},
            {"check": "debug", "outcome": "affirming", "got": "off", "want": shown},
        ],
    }
    assert json.loads(json.dumps(exported)) == exported
