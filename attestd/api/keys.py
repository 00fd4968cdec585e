"""`GET /v1/keys/{key_id}`: the call that carries the load, answered from memory.

An answer is kept as bytes while nothing in the registry has changed, by whichever process, and while the key is within
its window; both are looked at each time. So a revocation is seen by the next request, and so is the end of a key.
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from starlette.types import Message

from attestd.api.problem import JSON_HEADER, Answer, Headers
from attestd.codec import Json
from attestd.registrar.documents import dump, export_key
from attestd.registry import Registry
from attestd.registry.values import Key, KeyState
from attestd.settings import Settings

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


def key_answer(key: Key, settings: Settings) -> KeyAnswer:
    """Write the answer about a key."""
    body = dump(key_document(key, settings))
    return KeyAnswer(body, entity_tag(body), key.state is KeyState.ACTIVE, key.valid_from, key.valid_until)


def key_document(key: Key, settings: Settings) -> dict[str, Json]:
    """Return what everybody may know of a key. Nothing of it is on a chain yet, so `published` is null."""
    document = export_key(key)
    document["published"] = None
    document["registry_id"] = settings.registry_id
    document["simulated"] = settings.simulated
    return document


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


class KeptAnswer:
    """An answer about a trusted key, in the form in which it leaves: there is nothing left to do for a request."""

    __slots__ = ("answer", "body", "ends", "starts", "until", "whole")

    def __init__(self, answer: KeyAnswer, marks: Headers) -> None:
        """Write it out as it is for as long as others may keep it for the longest time."""
        self.answer = answer
        self.starts = answer.valid_from
        self.ends = answer.valid_until
        self.until = answer.valid_until - timedelta(seconds=MAX_AGE)
        self.whole: Message = {
            "type": "http.response.start",
            "status": 200,
            "headers": [
                JSON_HEADER,
                (b"etag", answer.etag),
                _MAX_AGES[MAX_AGE],
                (b"content-length", b"%d" % len(answer.body)),
                *marks,
            ],
        }
        self.body: Message = {"type": "http.response.body", "body": answer.body}


class KeyAnswers:
    """Answers about keys that are trusted, by the path that was asked for."""

    def __init__(self, registry: Registry, settings: Settings) -> None:
        """Keep nothing yet."""
        self._registry = registry
        self._marks = marks(settings)
        self._generation: int | None = None
        self._kept: dict[str, KeptAnswer] = {}

    def find(self, path: str, at: datetime) -> KeptAnswer | None:
        """Return the answer that is kept, if it still holds."""
        kept = self._kept.get(path)
        if kept is None or self._generation is None or self._registry.generation() != self._generation:
            return None
        return kept if kept.starts <= at <= kept.ends else None

    def keep(self, path: str, answer: KeyAnswer, generation: int | None) -> None:
        """Keep an answer that was read after `generation` was taken."""
        if not answer.active or generation is None:
            return
        if generation != self._generation or len(self._kept) >= _MAX_KEPT:
            self._kept.clear()
            self._generation = generation
        self._kept[path] = KeptAnswer(answer, self._marks)
