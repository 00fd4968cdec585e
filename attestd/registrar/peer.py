"""Calls from one service to another: HTTP/1.1, with a bound on everything that the other side sizes.

What it answers is no more to be believed than any other input. Redirects are not followed, so that neither the API key
nor a candidate goes to anybody but whom the operator has named; off this machine, TLS says who that is.
"""

import ssl
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from ipaddress import ip_address
from time import monotonic
from typing import Final
from urllib.parse import urlsplit

from attestd.codec import Fields, load_json
from attestd.errors import ConfigurationRefused, Malformed, Reason, Unavailable

# Of one read, and of one call as a whole: a round of the publisher must end before its lease does.
_READ_SECONDS: Final = 4
_CALL_SECONDS: Final = 8
_OK: Final = 200
_CHUNK: Final = 64 * 1024
_MAX_PROBLEM_SIZE: Final = 4096
_MAX_SHOWN: Final = 300


class Peer:
    """One listener of another service. Not to be used by two threads at once."""

    def __init__(self, name: str, url: str, token: str | None = None) -> None:
        """Take a URL from the setting `name`. Raises `ConfigurationRefused`; nothing is sent yet."""
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
        self._authorization = {} if token is None else {"Authorization": f"Bearer {token}"}

    def get(self, path: str, most: int) -> bytes:
        """Return what is there. Raises `Unavailable`, with the reason that the other side gives, or `cosign.peer`."""
        return self._call("GET", path, None, {}, most)

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
        deadline, connection = monotonic() + _CALL_SECONDS, self._connection
        try:
            connection.request(method, path, body, {**headers, **self._authorization})
            answer = connection.getresponse()
            limit = most if answer.status == _OK else _MAX_PROBLEM_SIZE
            received = b""
            while chunk := answer.read1(_CHUNK):
                received += chunk
                if len(received) > limit:
                    raise _unfit(f"more than {limit} bytes")
                if monotonic() > deadline:
                    raise TimeoutError
            if answer.length:
                raise _unfit("the beginning of an answer")
            answer.close()  # the connection stays
        except (OSError, HTTPException) as error:
            self.close()
            raise _unfit(f"{type(error).__name__} of {connection.host}:{connection.port}") from None
        except Unavailable:
            self.close()
            raise
        if answer.status != _OK:
            raise _told(answer.status, received)
        return received


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _told(status: int, raw: bytes) -> Unavailable:
    """Return what the other side says of its refusal (RFC 9457), if it is one of ours."""
    try:
        fields = Fields(load_json(raw))
        reason = next(one for one in Reason if one.value == fields.text("reason"))
        detail = fields.text("detail", most=_MAX_PROBLEM_SIZE)
    except (Malformed, StopIteration):
        return _unfit(f"status {status}")
    shown = "".join(one if " " <= one <= "~" else "?" for one in detail)[:_MAX_SHOWN]
    return Unavailable(reason, found=f"status {status}: {shown}", wanted=f"status {_OK}")


def _unfit(found: str) -> Unavailable:
    return Unavailable(Reason.COSIGN_PEER, found=found, wanted="an answer")


def _refused(name: str, found: str) -> ConfigurationRefused:
    wanted = "https://<host>, or http:// of this machine, and no path"
    return ConfigurationRefused(Reason.SETTINGS, found=f"{name}: {found}", wanted=wanted)
