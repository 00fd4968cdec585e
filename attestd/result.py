"""What attestd says in the end: the tier, and every finding that led to it."""

from datetime import datetime
from enum import StrEnum
from typing import NamedTuple, TypeAlias

from attestd.claims import export_value
from attestd.codec import Json, dump_digest


class Tier(StrEnum):
    """AR4SI trust tiers, worst last (draft-ietf-rats-ar4si, 2.3)."""

    AFFIRMING = "affirming"
    WARNING = "warning"
    CONTRAINDICATED = "contraindicated"

    @property
    def rank(self) -> int:
        """Return the place in the order from good to bad."""
        return _ORDER.index(self)


_ORDER = tuple(Tier)

# What a finding may show: it is written out only when somebody looks.
Shown: TypeAlias = "bytes | str | int | datetime | tuple[Shown, ...] | None"


class Finding(NamedTuple):
    """One check of a policy: what it looked at, what it found, what it wanted."""

    check: str
    outcome: Tier
    got: Shown
    want: Shown


class Appraisal(NamedTuple):
    """The verdict of one policy on one set of claims: all findings; the worst tier wins."""

    policy: bytes  # SHA-256 of the policy file
    tier: Tier
    findings: tuple[Finding, ...]
    not_after: datetime  # until when the verdict may be relied on: claims, grace periods and maximum age


def export_appraisal(appraisal: Appraisal) -> dict[str, Json]:
    """Return the appraisal with all of its findings, for people and programs; byte strings in lower-case hex."""
    return {
        "policy": dump_digest(appraisal.policy),
        "tier": appraisal.tier.value,
        "findings": [
            {
                "check": finding.check,
                "outcome": finding.outcome.value,
                "got": export_value(finding.got),
                "want": export_value(finding.want),
            }
            for finding in appraisal.findings
        ],
    }
