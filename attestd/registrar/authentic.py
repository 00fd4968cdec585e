"""Authenticated values, kept for as long as they are asked for: what makes a warm verification fast.

The core holds no caches. A value here was authenticated from exactly the bytes that it is kept under; whether it still
holds at the time of a verdict is judged at every verdict (house.md, principle 5).
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from datetime import datetime
from threading import Lock
from typing import Final, Generic, TypeVar

from attestd.tdx.pck import PckChain, authenticate_pck_chain
from attestd.tdx.qe import AttestationKey, authenticate_attestation_key
from attestd.tdx.quote import QeCertification, Quote
from attestd.x509 import TrustAnchors

# Platforms that attest at the same time; each entry has some 10 KiB. Only Intel can make the bytes of one.
_PLATFORMS: Final = 2048

_K = TypeVar("_K", bound=Hashable)
_V = TypeVar("_V")


class Recent(Generic[_K, _V]):
    """The values that were asked for last; from any thread."""

    def __init__(self, most: int) -> None:
        """Keep at most so many."""
        self._most = most
        self._values: OrderedDict[_K, _V] = OrderedDict()
        self._lock = Lock()

    def get(self, key: _K, make: Callable[[], _V]) -> _V:
        """Return the value kept under `key`, or make and keep it; what `make` raises is not kept."""
        with self._lock:
            value = self._values.get(key)
            if value is not None:
                self._values.move_to_end(key)
                return value
        value = make()
        with self._lock:
            self._values[key] = value
            if len(self._values) > self._most:
                self._values.popitem(last=False)
        return value


class Authenticator:
    """Authenticates PCK chains and attestation keys to one set of trust anchors."""

    def __init__(self, anchors: TrustAnchors) -> None:
        """Start with nothing authenticated."""
        self._anchors = anchors
        self._chains: Recent[bytes, PckChain] = Recent(_PLATFORMS)
        self._keys: Recent[tuple[bytes, QeCertification], AttestationKey] = Recent(_PLATFORMS)

    def attestation_key(self, quote: Quote, at: datetime) -> AttestationKey:
        """Return the authenticated attestation key of a quote, with its platform.

        Raises `Malformed` or `NotAuthentic`, as `authenticate_pck_chain` and `authenticate_attestation_key` do.
        """
        return self._keys.get((quote.attestation_key, quote.qe), lambda: self._authenticate(quote, at))

    def _authenticate(self, quote: Quote, at: datetime) -> AttestationKey:
        pem = quote.pck_chain
        chain = self._chains.get(pem, lambda: authenticate_pck_chain(pem, self._anchors, at))
        return authenticate_attestation_key(quote, chain)
