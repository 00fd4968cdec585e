"""Calls to another service: HTTP/1.1, with a bound on everything that the other side sizes.

What it answers is no more to be believed than any other input. Redirects are not followed, so that neither the API key
nor a candidate goes to anybody but whom the operator has named; off this machine, TLS says who that is.
"""

import ssl
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from io import BufferedReader, RawIOBase
from ipaddress import ip_address
from socket import socket
from time import monotonic, sleep
from typing import Any, Final
from urllib.parse import urlsplit

from attestd.codec import Fields, load_json
from attestd.errors import ConfigurationRefused, Malformed, Reason, Unavailable

# Of one read, and of an answer from its first byte to its last, whatever comes before it or between its parts.
_READ_SECONDS: Final = 4
_CALL_SECONDS: Final = 8
# A bucket has a token again after a second at most; somebody else may take it.
_PAUSE_SECONDS: Final = 1
_TRIES: Final = 10
_OK: Final = 200
_CHUNK: Final = 64 * 1024
_MAX_PROBLEM_SIZE: Final = 4096
_MAX_SHOWN: Final = 300


class _Timed(RawIOBase):
    """What comes over a connection, until a time has passed."""

    def __init__(self, source: RawIOBase) -> None:
        self._source = source
        self._end = monotonic() + _CALL_SECONDS

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:  # noqa: ANN401 - it has no type before Python 3.12
        if monotonic() > self._end:
            raise TimeoutError
        return self._source.readinto(buffer)

    def close(self) -> None:
        self._source.close()
        super().close()


class _Answer(HTTPResponse):
    """http.client passes over any number of `100 Continue` and of trailers: only a clock ends that."""

    def __init__(self, sock: socket, debuglevel: int = 0, method: str | None = None) -> None:
        super().__init__(sock, debuglevel, method)
        self.fp = BufferedReader(_Timed(self.fp.detach()))


class Peer:
    """One listener of another service. Not to be used by two threads at once."""

    def __init__(self, name: str, url: str, token: str | None = None, *, unfit: Reason = Reason.COSIGN_PEER) -> None:
        """Take a URL from the setting `name`, and the reason for what is no answer of a service.

        Raises `ConfigurationRefused`; nothing is sent yet.
        """
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError:
            raise _refused(name, "no URL") from None
        if not host or parts.path not in ("", "/") or parts.query or parts.fragment or parts.username is not None:
            raise _refused(name, "another form of URL")
        if parts.scheme == "https":
            self._connection: HTTPConnection = HTTPSConnection(
                host, port, timeout=_READ_SECONDS, context=ssl.create_default_context()
            )
        elif parts.scheme == "http" and _is_loopback(host):
            self._connection = HTTPConnection(host, port, timeout=_READ_SECONDS)
        else:
            raise _refused(name, "a server that does not say who it is")
        self._connection.response_class = _Answer
        self._unfit = unfit
        self._authorization = {} if token is None else {"Authorization": f"Bearer {token}"}

    def get(self, path: str, most: int) -> bytes:
        """Return what is there. Raises `Unavailable`, with the reason that the other side gives, or that of `Peer`."""
        return self._call("GET", path, None, {}, most)

    def read(self, path: str, most: int) -> bytes:
        """Return what is there, as fast as the other side has it done. Raises as `get` does."""
        for _ in range(_TRIES - 1):
            try:
                return self.get(path, most)
            except Unavailable as error:
                if error.reason is not Reason.REQUEST_RATE:
                    raise
            sleep(_PAUSE_SECONDS)
        return self.get(path, most)

    def post(self, path: str, body: bytes, most: int) -> bytes:
        """Post JSON, and return the answer. Raises as `get` does."""
        try:
            return self._call("POST", path, body, {"Content-Type": "application/json"}, most)
        finally:
            self.close()  # before the next one, the other side would have closed it

    def close(self) -> None:
        """Let go of the connection, which several `get` share; the next call makes another."""
        self._connection.close()

    def _call(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str], most: int) -> bytes:
        connection = self._connection
        is_fresh = connection.sock is None
        try:
            connection.request(method, path, body, {**headers, **self._authorization})
            answer = connection.getresponse()
            limit = most if answer.status == _OK else _MAX_PROBLEM_SIZE
            received = b""
            while chunk := answer.read1(_CHUNK):
                received += chunk
                if len(received) > limit:
                    raise self._refusal(f"more than {limit} bytes")
            if answer.length:
                raise self._refusal("the beginning of an answer")
            answer.close()  # the connection stays
        except (OSError, HTTPException) as error:
            self.close()
            if isinstance(error, ConnectionError) and not is_fresh:  # which the other side had closed meanwhile
                return self._call(method, path, body, headers, most)
            raise self._refusal(f"{type(error).__name__} of {self._at}") from None
        except Unavailable:
            self.close()
            raise
        if answer.status != _OK:
            raise self._told(answer.status, received)
        return received

    def _told(self, status: int, raw: bytes) -> Unavailable:
        """Return what the other side says of its refusal (RFC 9457), if it is one of ours."""
        try:
            fields = Fields(load_json(raw))
            reason = next(one for one in Reason if one.value == fields.text("reason"))
            detail = fields.text("detail", most=_MAX_PROBLEM_SIZE)
        except (Malformed, StopIteration):
            return self._refusal(f"status {status} of {self._at}")
        shown = "".join(one if " " <= one <= "~" else "?" for one in detail)[:_MAX_SHOWN]
        return Unavailable(reason, found=f"status {status} of {self._at}: {shown}", wanted=f"status {_OK}")

    @property
    def _at(self) -> str:
        return f"{self._connection.host}:{self._connection.port}"

    def _refusal(self, found: str) -> Unavailable:
        return Unavailable(self._unfit, found=found, wanted="an answer")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _refused(name: str, found: str) -> ConfigurationRefused:
    wanted = "https://<host>, or http:// of this machine, and no path"
    return ConfigurationRefused(Reason.SETTINGS, found=f"{name}: {found}", wanted=wanted)
