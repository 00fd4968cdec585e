"""Every single-bit flip and every length of genuine reports (N01, N03).

An input is refused with a reason, or it is accepted with the very claims of the original. Nothing else may be raised.
`pytest -s` shows the counts.
"""

from collections import Counter

import pytest

from attestd.claims import GpuClaims
from attestd.errors import AttestdError, Reason
from attestd.nvgpu.device import GpuDevice, authenticate_device
from attestd.nvgpu.golden import Rims
from attestd.nvgpu.rim import authenticate_rim
from attestd.nvgpu.spdm import parse_report
from attestd.nvgpu.verify import Revocations, verify
from attestd.simulator import other_spdm_s
from tests.evidence import NvidiaCase, nvidia_anchors, nvidia_case

pytestmark = pytest.mark.slow


class Subject:
    """A report that is accepted, and what it takes to verify it."""

    def __init__(self, case: NvidiaCase) -> None:
        raw = (case.driver_rim, case.vbios_rim)
        self.name, self.raw, self.at = case.folder.name, case.report, case.at
        self.device: GpuDevice = authenticate_device(case.certificates, nvidia_anchors(), case.at)
        self.rims = Rims(*(None if one is None else authenticate_rim(one, nvidia_anchors(), case.at) for one in raw))
        self.accepted = self.verify(self.raw)

    def verify(self, raw: bytes) -> GpuClaims:
        """Verify a report in place of the genuine one."""
        return verify(parse_report(raw), self.device, self.rims, Revocations(), self.at)

    def outcome(self, raw: bytes) -> str:
        """Verify a mutant; return the reason of its refusal, or "accepted" if its claims are those."""
        try:
            claims = self.verify(raw)
        except AttestdError as error:
            return error.reason
        assert claims == self.accepted
        return "accepted"

    def flips(self, start: int, stop: int) -> Counter[str]:
        """Flip each bit from one byte to another."""
        counts: Counter[str] = Counter()
        for place in range(start, stop):
            head, byte, tail = self.raw[:place], self.raw[place], self.raw[place + 1 :]
            counts.update(self.outcome(head + bytes((byte ^ 1 << bit,)) + tail) for bit in range(8))
        return counts


@pytest.fixture(scope="module", params=["h100-545.00-complete", "ls10-96.10.55.00.01-complete"])
def subject(request: pytest.FixtureRequest) -> Subject:
    return Subject(nvidia_case(request.param))


def shown(subject: Subject, counts: Counter[str]) -> None:
    print(f"\n{subject.name}: {counts.total()} flips, {counts['accepted']} accepted")
    for reason, count in sorted(counts.items()):
        print(f"  {count:6} {reason}")


def test_n01_every_bit_that_is_signed(subject: Subject) -> None:
    counts = subject.flips(0, len(subject.raw) - 96)
    shown(subject, counts)
    assert counts.total() == 8 * (len(subject.raw) - 96)
    assert counts.keys() == {
        Reason.GPU_REPORT_SIGNATURE,
        Reason.GPU_SPDM_VERSION,
        Reason.GPU_SPDM_MESSAGE,
        Reason.GPU_REPORT_SIZE,
        Reason.GPU_MEASUREMENT_RECORD,
        Reason.GPU_OPAQUE_DATA,
    }


def test_n01_every_bit_of_the_signature(subject: Subject) -> None:
    counts = subject.flips(len(subject.raw) - 96, len(subject.raw))
    assert counts == {Reason.GPU_REPORT_SIGNATURE: 8 * 96}


def test_n03_the_other_signature(subject: Subject) -> None:
    other = other_spdm_s(subject.raw)
    assert other != subject.raw
    assert subject.outcome(other) == "accepted"
    assert parse_report(other).evidence_id == subject.accepted.evidence_id


def test_every_length(subject: Subject) -> None:
    longer = subject.raw + bytes(1)
    outcomes = [subject.outcome(longer[:size]) for size in range(len(longer) + 1)]
    sizes = [Reason.GPU_REPORT_SIZE] * len(subject.raw)
    assert outcomes == [*sizes, "accepted", Reason.GPU_REPORT_SIZE]


def test_the_sweep_can_fail(subject: Subject) -> None:
    """A mutant that is accepted with other claims does not count as accepted."""
    subject.accepted, right = subject.accepted._replace(nonce=bytes(32)), subject.accepted
    with pytest.raises(AssertionError):
        subject.outcome(subject.raw)
    subject.accepted = right
