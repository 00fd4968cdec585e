"""`GET /v1/keys/{key_id}`: the call that carries the load, answered from memory.

An answer is kept as bytes while nothing in the registry has changed, by whichever process, and while the key is within
its window; both are looked at each time. So a revocation is seen by the next request, and so is the end of a key.
What is kept is sent by the connection itself (protocol.py), without a task or a framework in between.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from attestd.api.problem import JSON_HEADER, NO_SNIFFING, Answer, Headers, head_of
from attestd.codec import Json
from attestd.errors import Unavailable
from attestd.registrar.documents import dump, export_key
from attestd.registry import Registry
from attestd.registry.published import Publication
from attestd.registry.values import Key, KeyState
from attestd.settings import Settings

KEY_ROUTE: Final = "/v1/keys/{key_id}"
# Some 2 KiB each.
_MAX_KEPT: Final = 16_384
# Seconds for which others may keep an answer: for so long a revocation goes unseen by who does not ask again.
MAX_AGE: Final = 10

_MAX_AGES: Final = [(b"cache-control", b"public, max-age=%d" % seconds) for seconds in range(MAX_AGE + 1)]
_NOT_KEPT: Final = (b"cache-control", b"no-cache")


@dataclass(frozen=True, slots=True)
class KeyAnswer:
    """The answer about one key in one state."""

    body: bytes
    etag: bytes
    active: bool
    valid_from: datetime
    valid_until: datetime

    def answer(self, at: datetime, if_none_match: bytes | None) -> Answer:
        """Return what is sent at the time `at`."""
        headers: Headers = [JSON_HEADER, (b"etag", self.etag), cache_control(self.valid_until, at, kept=self.active)]
        if matches(if_none_match, self.etag):
            return Answer(304, b"", headers)
        return Answer(200, self.body, headers)


def key_answer(key: Key, publication: Publication | None, settings: Settings) -> KeyAnswer:
    """Write the answer about a key."""
    body = dump(key_document(key, publication, settings))
    return KeyAnswer(body, entity_tag(body), key.state is KeyState.ACTIVE, key.valid_from, key.valid_until)


def key_document(key: Key, publication: Publication | None, settings: Settings) -> dict[str, Json]:
    """Return what everybody may know of a key.

    What is in it of the chain changes when a decision about this key lands there, not with every epoch.
    """
    document = export_key(key)
    document["published"] = None if publication is None else export_publication(publication)
    document["registry_id"] = settings.registry_id
    document["simulated"] = settings.simulated
    return document


def export_publication(publication: Publication) -> dict[str, Json]:
    """Return how far the last decision about a key is on its way to the chain."""
    epoch = publication.epoch
    place = None if epoch is None else epoch.coordinates
    return {
        "state": publication.state.value,
        "log_index": publication.log_index,
        "epoch": None if epoch is None else epoch.number,
        "block": None if place is None else place.block,
        "transaction": None if place is None else place.hash.hex(),
    }


def marks(settings: Settings) -> Headers:
    """Return what every answer of a service says that trusts simulated hardware (attacks.md, section 5)."""
    return [(b"x-attestd-simulated", b"true")] if settings.simulated else []


def entity_tag(body: bytes) -> bytes:
    """Return the strong entity tag of a body."""
    return b'"%s"' % hashlib.sha256(body).hexdigest()[:32].encode()


def matches(if_none_match: bytes | None, etag: bytes) -> bool:
    """Tell whether the peer holds this very body (RFC 9110, 13.1.2)."""
    if if_none_match is None:
        return False
    return if_none_match == b"*" or etag in (tag.strip().removeprefix(b"W/") for tag in if_none_match.split(b","))


def cache_control(valid_until: datetime, at: datetime, *, kept: bool) -> tuple[bytes, bytes]:
    """Return for how long others may keep an answer: never beyond the end of what it calls trusted."""
    if not kept:
        return _NOT_KEPT
    return _MAX_AGES[min(MAX_AGE, max(0, int((valid_until - at).total_seconds())))]


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    """An answer about a trusted key in the form in which it leaves: what follows the status line and the date."""

    starts: datetime
    until: datetime  # from here on the end of the key is too near for the longest time that others may keep it
    etag: bytes
    whole: bytes
    unchanged: bytes


class KeyAnswers:
    """Answers about keys that are trusted, by the URL that was asked for."""

    def __init__(self, registry: Registry, settings: Settings, now: Callable[[], datetime]) -> None:
        """Keep nothing yet; `now` is `Registrar.now`."""
        self._registry = registry
        self._now = now
        self._marks = marks(settings)
        self._generation: int | None = None
        self._kept: dict[bytes, KeptAnswer] = {}

    def find(self, url: bytes) -> KeptAnswer | None:
        """Return the answer that is kept, if it still holds now; none where nobody knows what time it is."""
        kept = self._kept.get(url)
        if kept is None or self._generation is None or self._registry.generation() != self._generation:
            return None
        try:
            return kept if kept.starts <= self._now() <= kept.until else None
        except Unavailable:
            return None

    def keep(self, url: bytes, answer: KeyAnswer, generation: int | None) -> None:
        """Keep an answer that was read after `generation` was taken."""
        if not answer.active or generation is None:
            return
        if generation != self._generation or len(self._kept) >= _MAX_KEPT:
            self._kept.clear()
            self._generation = generation
        caching: Headers = [(b"etag", answer.etag), _MAX_AGES[MAX_AGE], NO_SNIFFING, *self._marks]
        length = (b"content-length", b"%d" % len(answer.body))
        self._kept[url] = KeptAnswer(
            starts=answer.valid_from,
            until=answer.valid_until - timedelta(seconds=MAX_AGE),
            etag=answer.etag,
            whole=head_of([JSON_HEADER, *caching, length]) + answer.body,
            unchanged=head_of([JSON_HEADER, *caching]),
        )
