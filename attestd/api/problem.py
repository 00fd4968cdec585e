"""What every refusal looks like: RFC 9457 `application/problem+json`, at most 4 KiB, and never the input."""

from typing import Final, TypeAlias

from starlette.responses import Response

from attestd.codec import Json
from attestd.errors import (
    AttestdError,
    ConfigurationRefused,
    EndorsementRejected,
    Malformed,
    NotAuthentic,
    Reason,
    RequestRefused,
    Unavailable,
)
from attestd.registrar.documents import dump

PROBLEM_TYPE: Final = b"application/problem+json"
# Both halves of the detail together stay far below 4 KiB, however they are escaped.
_MAX_PART: Final = 300

Headers: TypeAlias = list[tuple[bytes, bytes]]

JSON_HEADER: Final = (b"content-type", b"application/json")
NO_SNIFFING: Final = (b"x-content-type-options", b"nosniff")
_NOT_MODIFIED: Final = 304
_BASE: Final[Headers] = [(b"content-type", PROBLEM_TYPE), (b"cache-control", b"no-store")]

# One status per reason where the class of the error alone does not tell (api.md, table of statuses).
_STATUS: Final[dict[Reason, int]] = {
    Reason.EVIDENCE_SIZE: 413,
    Reason.REQUEST_SIZE: 413,
    Reason.REQUEST_TYPE: 415,
    Reason.REQUEST_RATE: 429,
    Reason.CHALLENGE_LIMIT: 429,
    Reason.REQUEST_PATH: 404,
    Reason.REQUEST_METHOD: 405,
    Reason.REQUEST_TIMEOUT: 408,
    Reason.REQUEST_MALFORMED: 400,
    Reason.UNAUTHENTICATED: 401,
    Reason.POLICY_UNKNOWN: 404,
    Reason.FORBIDDEN: 403,
    Reason.NOT_AFFIRMING: 403,
    Reason.MODEL_UNKNOWN: 403,
    Reason.KEY_REVOKED: 403,
    Reason.INTERNAL: 500,
}

# By the first part of the reason.
_STAGE: Final = {
    "request": "edge",
    "access": "edge",
    "challenge": "freshness",
    "policy": "appraisal",
    "model": "appraisal",
    "key": "record",
    "platform": "record",
    "registry": "record",
    "service": "record",
    "chain": "publication",
    "cosign": "publication",
}

# Seconds after which it makes sense to come again.
_RETRY_AFTER: Final[dict[Reason, int]] = {
    Reason.STARTING: 1,
    Reason.OVERLOADED: 1,
    Reason.DATABASE_UNAVAILABLE: 5,
    Reason.CLOCK: 60,
    Reason.CLOCK_APART: 60,
    Reason.CHAIN_UNPUBLISHED: 5,
}
_RETRY_AFTER_ENDORSEMENTS: Final = 60


class Answer(Response):
    """A whole answer, ready to be sent: headers as bytes, and no framework work left to do."""

    def __init__(self, status: int, body: bytes, headers: Headers, reason: Reason | None = None) -> None:
        """Take the headers but for content-length; `reason` says in the log why it is a refusal."""
        self.status_code = status
        self.body = body
        self.background = None
        # What has not changed has no body, but the length of the one that was sent before (RFC 9110, 8.6).
        length = [] if status == _NOT_MODIFIED else [(b"content-length", b"%d" % len(body))]
        self.raw_headers = [*headers, *length]
        self.reason = reason


def head_of(headers: Headers) -> bytes:
    """Write headers as they are sent, with the empty line behind them."""
    return b"".join(name + b": " + value + b"\r\n" for name, value in headers) + b"\r\n"


def fresh(status: int, body: bytes, *headers: tuple[bytes, bytes]) -> Answer:
    """Return an answer in JSON that nobody may keep."""
    return Answer(status, body, [JSON_HEADER, (b"cache-control", b"no-store"), *headers])


def status_of(error: AttestdError) -> int:
    """Return the HTTP status."""
    if error.reason in _STATUS:
        return _STATUS[error.reason]
    match error:
        case Malformed() | ConfigurationRefused():
            return 400
        case EndorsementRejected() | Unavailable():
            return 503
        case NotAuthentic():
            return 422
        case RequestRefused():
            return 409
        case _:
            return 500


def stage_of(error: AttestdError) -> str:
    """Return which part of the journey refused (house.md, The journey)."""
    family = error.reason.partition(".")[0]
    if family in _STAGE:
        return _STAGE[family]
    match error:
        case Malformed():
            return "decode"
        case EndorsementRejected() | Unavailable():
            return "endorsements"
        case _:
            return "binding" if family == "binding" else "verification"


def refusal(error: AttestdError, *, headers: Headers | None = None) -> Answer:
    """Return the answer to a refusal."""
    code = status_of(error)
    return Answer(code, dump(problem(error, code)), [*_BASE, *_advice(error, code), *(headers or [])], error.reason)


def refused(status: int, body: bytes, reason: Reason) -> Answer:
    """Return an answer with a problem that is already written."""
    return Answer(status, body, list(_BASE), reason)


def problem(error: AttestdError, status: int) -> dict[str, Json]:
    """Return the members of RFC 9457, 3.1, and attestd's own."""
    reason = error.reason
    return {
        "type": f"urn:attestd:reason:{reason.value}",
        "title": reason.summary,
        "status": status,
        "detail": f"Found {_part(error.found)}; wanted {_part(error.wanted)}.",
        "reason": reason.value,
        "stage": stage_of(error),
        "hint": reason.hint,
    }


def nothing_here() -> RequestRefused:
    """Say that there is nothing of that name."""
    return RequestRefused(Reason.REQUEST_PATH, found="nothing of that name", wanted="a name from one of the lists")


def internal_failure() -> Answer:
    """Return the answer where attestd itself is at fault; what happened is in the log, under the request id."""
    return refusal(AttestdError(Reason.INTERNAL, found="a failure of the service", wanted="an answer"))


def _part(text: str) -> str:
    return text if len(text) <= _MAX_PART else text[: _MAX_PART - 1] + "…"


def _advice(error: AttestdError, status: int) -> Headers:
    match status:
        case 429:  # no bucket fills more slowly than one token a second
            return [(b"retry-after", b"1")]
        case 401:
            return [(b"www-authenticate", b'Bearer realm="attestd"')]
        case 503:
            seconds = _RETRY_AFTER.get(error.reason, _RETRY_AFTER_ENDORSEMENTS)
            return [(b"retry-after", b"%d" % seconds)]
        case _:
            return []
