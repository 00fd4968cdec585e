"""Every single-bit flip and every truncation of a genuine and of a simulated quote, and flips in what they carry.

An input is refused with a reason, or it is accepted with the very claims of the original, which happens where bytes are
not authenticated: behind the quote. Nothing else may be raised. `pytest -s` shows the counts.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from datetime import datetime

import pytest

from attestd.claims import IntelClaims
from attestd.errors import AttestdError, Reason
from attestd.simulator import AT, pem
from attestd.tdx.collateral import RawCollateral, authenticate_collateral
from attestd.tdx.pck import authenticate_pck_chain
from attestd.tdx.quote import parse_quote
from attestd.x509 import TrustAnchors
from tests.evidence import intel_case
from tests.tdx.baseline import ANCHORS, ATTESTER, COLLATERAL, QUOTE, verified

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Subject:
    """A quote that is accepted, and what it takes to verify it."""

    name: str
    raw: bytes
    collateral: RawCollateral
    anchors: TrustAnchors
    at: datetime

    def verified(self, raw: bytes) -> IntelClaims:
        # Only what did authenticate is kept: a chain that differs in one byte is authenticated anew.
        return verified(raw, self.collateral, anchors=self.anchors, at=self.at)

    def outcome(self, raw: bytes, accepted: IntelClaims) -> str:
        """Verify a mutant; return the reason of its refusal, or "accepted" if its claims are those."""
        try:
            claims = self.verified(raw)
        except AttestdError as error:
            return error.reason
        assert claims == accepted
        return "accepted"


@pytest.fixture(scope="module", params=["genuine", "simulated"])
def subject(request: pytest.FixtureRequest) -> Subject:
    if request.param == "simulated":
        return Subject("simulated", QUOTE, COLLATERAL, ANCHORS, AT)
    case = intel_case("real/tdx-v4-90c06f-cocoon")
    return Subject("genuine", case.read("quote.bin"), case.collateral, case.anchors, case.at)


def flipped(raw: bytes, bits: Iterable[int]) -> Iterable[tuple[int, bytes]]:
    """Yield each position with the bytes in which that one bit is flipped."""
    mutant = bytearray(raw)
    for bit in bits:
        mutant[bit // 8] ^= 1 << bit % 8
        yield bit, bytes(mutant)
        mutant[bit // 8] = raw[bit // 8]


def shown(name: str, what: str, counts: Counter[str]) -> None:
    print(f"\n{name}, {what}: {counts.total()} inputs, {counts['accepted']} accepted")
    for reason, count in sorted((counts - Counter(accepted=counts["accepted"])).items()):
        print(f"  {count:6} {reason}")


def test_every_bit(subject: Subject) -> None:
    accepted = subject.verified(subject.raw)
    outcomes = {
        bit: subject.outcome(mutant, accepted) for bit, mutant in flipped(subject.raw, range(8 * len(subject.raw)))
    }
    shown(subject.name, "flips of one bit", Counter(outcomes.values()))
    assert len(outcomes) == 8 * len(subject.raw)
    behind = 8 * (len(subject.raw) - accepted.trailing_bytes)
    assert {bit for bit, outcome in outcomes.items() if outcome == "accepted"} == set(range(behind, len(outcomes)))


def test_every_truncation(subject: Subject) -> None:
    accepted = subject.verified(subject.raw)
    end = len(subject.raw) - accepted.trailing_bytes
    outcomes = [
        subject.outcome(subject.raw[:size], accepted._replace(trailing_bytes=size - end))
        for size in range(len(subject.raw) + 1)
    ]
    shown(subject.name, "truncations", Counter(outcomes))
    assert set(outcomes[:end]) == {Reason.TDX_QUOTE_TRUNCATED}
    assert set(outcomes[end:]) == {"accepted"}


@pytest.mark.parametrize("place", range(3), ids=["leaf", "intermediate", "root"])
def test_every_bit_of_a_certificate(place: int) -> None:
    chain = list(ATTESTER.pck_chain)
    counts: Counter[str] = Counter()
    for _, mutant in flipped(chain[place], range(8 * len(chain[place]))):
        with pytest.raises(AttestdError) as caught:
            authenticate_pck_chain(pem(*chain[:place], mutant, *chain[place + 1 :]), ANCHORS, AT)
        counts[caught.value.reason] += 1
    shown("simulated", f"flips of one bit in certificate {place}", counts)
    assert set(counts) <= {Reason.DER_MALFORMED, Reason.TDX_PCK_CHAIN, Reason.TDX_UNTRUSTED_ROOT}


@pytest.mark.parametrize("name", asdict(COLLATERAL))
def test_every_byte_of_a_document(name: str) -> None:
    document: bytes = getattr(COLLATERAL, name)
    accepted = verified()
    counts: Counter[str] = Counter()
    # One bit of each byte, another one each time.
    for _, mutant in flipped(document, range(0, 8 * len(document), 7)):
        raw = replace(COLLATERAL, **{name: mutant})
        try:
            authenticate_collateral(raw, ANCHORS, AT)
        except AttestdError as error:
            counts[error.reason] += 1
        else:
            # The signature may be written in hex of either case.
            assert name in ("tcb_info", "qe_identity")
            assert document.lower() == mutant.lower()
            assert verified(QUOTE, raw) == accepted._replace(endorsement_digests=raw.digests)
            counts["accepted"] += 1
    shown("simulated", f"flips of one bit in each byte of {name}", counts)


def test_the_sweep_can_fail() -> None:
    """A mutant that is accepted with other claims does not count as accepted."""
    other = Subject("other", ATTESTER.quote(), COLLATERAL, ANCHORS, AT)
    with pytest.raises(AssertionError):
        other.outcome(QUOTE, verified()._replace(trailing_bytes=1))
    assert other.outcome(QUOTE[:100], verified()) == Reason.TDX_QUOTE_TRUNCATED
    assert parse_quote(QUOTE).evidence_id == verified().evidence_id
