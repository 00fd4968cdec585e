"""A client of attestd's own REST interface, for the demonstration: loopback, one connection per call."""

import json
from dataclasses import dataclass
from http.client import HTTPConnection
from typing import Any, Final
from urllib.parse import urlsplit

_TIMEOUT_SECONDS: Final = 30


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, and on which request."""

    request: str  # method and path
    status: int
    body: bytes

    @property
    def document(self) -> Any:  # noqa: ANN401 - as it came; whoever reads it says what should be there
        """The body as JSON."""
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class Client:
    """One listener, called with one API key or anonymously."""

    url: str
    token: str | None = None

    def get(self, path: str) -> Answer:
        """Ask for something."""
        return self._call("GET", path, None, {})

    def post(self, path: str, document: object = None) -> Answer:
        """Send a document; bytes go as they are."""
        return self._send("POST", path, document)

    def put(self, path: str, document: object, media_type: str = "application/json") -> Answer:
        """Put a document in its place."""
        return self._send("PUT", path, document, media_type)

    def _send(self, method: str, path: str, document: object, media_type: str = "application/json") -> Answer:
        if document is None:
            return self._call(method, path, None, {})
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        return self._call(method, path, body, {"Content-Type": media_type})

    def _call(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> Answer:
        if self.token is not None:
            headers["Authorization"] = f"Bearer {self.token}"
        connection = HTTPConnection(urlsplit(self.url).netloc, timeout=_TIMEOUT_SECONDS)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return Answer(f"{method} {path}", answer.status, answer.read())
        finally:
            connection.close()
