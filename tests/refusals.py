"""How a test says that something is refused: with exactly this class of error, for exactly this reason."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from attestd.errors import AttestdError, ConfigurationRefused, EndorsementRejected, Malformed, NotAuthentic, Reason


@contextmanager
def refused(kind: type[AttestdError], *reasons: Reason) -> Iterator[None]:
    """Require that the block raises `kind` itself, with one of `reasons`."""
    with pytest.raises(AttestdError) as caught:
        yield
    assert type(caught.value) is kind, caught.value
    assert caught.value.reason in reasons, caught.value


def malformed(*reasons: Reason) -> AbstractContextManager[None]:
    """Require `Malformed`."""
    return refused(Malformed, *reasons)


def not_authentic(*reasons: Reason) -> AbstractContextManager[None]:
    """Require `NotAuthentic` that is not about collateral."""
    return refused(NotAuthentic, *reasons)


def rejected(*reasons: Reason) -> AbstractContextManager[None]:
    """Require `EndorsementRejected`."""
    return refused(EndorsementRejected, *reasons)


def misconfigured(*reasons: Reason) -> AbstractContextManager[None]:
    """Require `ConfigurationRefused`."""
    return refused(ConfigurationRefused, *reasons)
