"""Times as the tables hold them: microseconds since 1970 in UTC, exact and the same on every back end."""

from datetime import UTC, datetime, timedelta
from typing import Final

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


def to_micros(at: datetime) -> int:
    """Return an aware time as microseconds."""
    return (at - _EPOCH) // _MICROSECOND


def from_micros(micros: int) -> datetime:
    """Return microseconds as a time in UTC."""
    return _EPOCH + timedelta(0, 0, micros)


def from_optional_micros(micros: int | None) -> datetime | None:
    """Return microseconds, if there are any, as a time in UTC."""
    return None if micros is None else from_micros(micros)
