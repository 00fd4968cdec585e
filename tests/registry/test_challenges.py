from datetime import datetime, timedelta

import pytest

from attestd.errors import Reason, RequestRefused, Unavailable
from attestd.registry import Registry, challenges
from attestd.registry.values import Challenge
from tests.registry.samples import LATER, NOW, challenge, digest, new_result, prepare, record

MICROSECOND = timedelta(microseconds=1)
HOUR = timedelta(hours=1)


def reason(registry: Registry, value: bytes, provider: str = "alice", at: datetime = NOW) -> Reason:
    with pytest.raises(RequestRefused) as caught:
        registry.read(challenges.require, value, provider, at)
    return caught.value.reason


def test_a_challenge_is_good_for_its_provider_until_it_expires(registry: Registry) -> None:
    value = challenge(registry, 1)
    expected = Challenge(value=value, provider="alice", issued_at=NOW, expires_at=LATER, consumed_at=None)
    assert registry.read(challenges.require, value, "alice", NOW) == expected
    assert registry.read(challenges.require, value, "alice", LATER) == expected
    assert reason(registry, value, at=LATER + MICROSECOND) is Reason.CHALLENGE_EXPIRED


def test_anothers_challenge_looks_like_none(registry: Registry) -> None:
    prepare(registry, "bob")
    value = challenge(registry, 1)
    record(registry, new_result(1))
    assert reason(registry, value, "bob") is Reason.CHALLENGE_UNKNOWN
    assert reason(registry, digest("never issued")) is Reason.CHALLENGE_UNKNOWN


def test_a_used_challenge_stays_used_after_it_has_expired(registry: Registry) -> None:
    value = challenge(registry, 1)
    record(registry, new_result(1))
    assert reason(registry, value) is Reason.CHALLENGE_USED
    assert reason(registry, value, at=LATER + MICROSECOND) is Reason.CHALLENGE_USED


def test_only_registered_providers_are_issued_challenges(registry: Registry) -> None:
    with pytest.raises(Unavailable) as caught:
        challenge(registry, 1, "nobody")
    assert caught.value.reason is Reason.DATABASE_UNAVAILABLE


def test_a_challenge_is_issued_once(registry: Registry) -> None:
    challenge(registry, 1)
    with pytest.raises(Unavailable):
        challenge(registry, 1)


def test_a_provider_has_a_bounded_number_of_open_challenges(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(number: int, at: datetime) -> bool:
        issuing = registry.write(challenges.issue, digest(number), "alice", expires_at=LATER + HOUR, at=at)
        error = issuing.exception()
        assert error is None or (isinstance(error, RequestRefused) and error.reason is Reason.CHALLENGE_LIMIT)
        return error is not None

    monkeypatch.setattr(challenges, "MOST", 2)
    prepare(registry, "bob")
    challenge(registry, 1)
    challenge(registry, 2)
    assert refused(3, NOW)
    assert reason(registry, digest(3)) is Reason.CHALLENGE_UNKNOWN
    challenge(registry, 4, "bob")
    # One that was answered counts no more …
    record(registry, new_result(1))
    assert not refused(5, NOW)
    assert refused(6, LATER)
    # … nor does one that has expired.
    assert not refused(6, LATER + MICROSECOND)
    assert refused(7, LATER + MICROSECOND)


def test_expired_challenges_are_forgotten_a_bounded_number_at_a_time(registry: Registry) -> None:
    values = [digest(number) for number in range(7)]
    for index, value in enumerate(values):
        expires_at = NOW + timedelta(seconds=index)
        registry.write(challenges.issue, value, "alice", expires_at=expires_at, at=NOW).result()
    before = NOW + timedelta(seconds=5)
    assert [registry.write(challenges.prune, before, most=3).result() for _ in range(3)] == [3, 2, 0]
    for value in values[:5]:
        assert reason(registry, value) is Reason.CHALLENGE_UNKNOWN
    for value in values[5:]:
        assert registry.read(challenges.require, value, "alice", NOW).value == value
