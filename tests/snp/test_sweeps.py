"""Every single-bit flip, every byte and every length of a genuine, of a synthetic and of our own report (S01-S03, S33).

An input is refused with a reason, or it is accepted with the very claims of the original. Nothing else may be raised.
`pytest -s` shows the counts.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from attestd.claims import SnpClaims
from attestd.errors import AttestdError, Reason
from attestd.snp.report import REPORT_SIZE, SIGNED_SIZE
from tests.evidence import snp_case
from tests.snp.baseline import REPORT, N, put, verified, verified_case, with_signature

pytestmark = pytest.mark.slow

SIGNATURE_END = 0x330


@dataclass(frozen=True)
class Subject:
    """A report that is accepted, and what it takes to verify it."""

    name: str
    raw: bytes
    verify: Callable[[bytes], SnpClaims]

    def outcome(self, raw: bytes, accepted: SnpClaims) -> str:
        """Verify a mutant; return the reason of its refusal, or "accepted" if its claims are those."""
        try:
            claims = self.verify(raw)
        except AttestdError as error:
            return error.reason
        assert claims == accepted
        return "accepted"


@pytest.fixture(scope="module", params=["real/genoa-v3-aci", "synthetic/ok-turin-v5", "baseline"])
def subject(request: pytest.FixtureRequest) -> Subject:
    if request.param == "baseline":
        return Subject("baseline", REPORT, verified)
    case = snp_case(request.param)
    return Subject(request.param, case.report, lambda raw: verified_case(case, raw))


def shown(subject: Subject, what: str, counts: Counter[str]) -> None:
    print(f"\n{subject.name}, {what}: {counts.total()} inputs, {counts['accepted']} accepted")
    for reason, count in sorted((counts - Counter(accepted=counts["accepted"])).items()):
        print(f"  {count:6} {reason}")


def flips(subject: Subject, start: int, stop: int) -> Counter[str]:
    accepted = subject.verify(subject.raw)
    return Counter(
        subject.outcome(put(subject.raw, bit // 8, bytes((subject.raw[bit // 8] ^ 1 << bit % 8,))), accepted)
        for bit in range(8 * start, 8 * stop)
    )


def test_s01_every_bit_that_is_signed(subject: Subject) -> None:
    counts = flips(subject, 0, SIGNED_SIZE)
    shown(subject, "flips of one bit that is signed", counts)
    assert counts.total() == 8 * SIGNED_SIZE
    assert not counts["accepted"]


def test_s02_every_bit_of_the_signature(subject: Subject) -> None:
    counts = flips(subject, SIGNED_SIZE, SIGNATURE_END)
    assert counts == {Reason.SNP_REPORT_SIGNATURE: 8 * (SIGNATURE_END - SIGNED_SIZE)}


def test_s03_every_byte_behind_the_signature(subject: Subject) -> None:
    counts = flips(subject, SIGNATURE_END, REPORT_SIZE)
    assert counts == {Reason.SNP_RESERVED: 8 * (REPORT_SIZE - SIGNATURE_END)}


def test_s04_the_other_signature(subject: Subject) -> None:
    r = int.from_bytes(subject.raw[0x2A0:0x2E8], "little")
    s = int.from_bytes(subject.raw[0x2E8:0x330], "little")
    assert subject.outcome(with_signature(subject.raw, r, N - s), subject.verify(subject.raw)) == "accepted"


def test_s33_every_length(subject: Subject) -> None:
    accepted = subject.verify(subject.raw)
    longer = subject.raw + bytes(1)
    outcomes = [subject.outcome(longer[:size], accepted) for size in range(REPORT_SIZE + 2)]
    expected = [Reason.SNP_REPORT_SIZE] * (REPORT_SIZE + 2)
    assert outcomes == [*expected[:REPORT_SIZE], "accepted", Reason.SNP_REPORT_SIZE]
    assert subject.outcome(subject.raw + subject.raw, accepted) == Reason.SNP_REPORT_SIZE


def test_the_sweep_can_fail(subject: Subject) -> None:
    """A mutant that is accepted with other claims does not count as accepted."""
    with pytest.raises(AssertionError):
        subject.outcome(subject.raw, subject.verify(subject.raw)._replace(guest_svn=77))
