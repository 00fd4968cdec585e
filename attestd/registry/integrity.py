"""Seals: what a row said when this package wrote it."""

from collections.abc import Callable, Iterable
from functools import wraps
from hashlib import sha256
from typing import TypeAlias, TypeVar

from attestd.errors import Reason, Unavailable

Field: TypeAlias = str | int | bytes | None

T = TypeVar("T")
R = TypeVar("R")


def seal(domain: str, fields: Iterable[Field]) -> bytes:
    """Return SHA-256 over the domain and the fields, each as its type, the length of its bytes, a colon and its bytes.

    Types and bytes: `s` and UTF-8, `b` and the bytes themselves, `i` and the decimal digits, `n` and nothing for null.
    Lengths are decimal. So no two rows have the same encoding.
    """
    parts = [b"s%d:%b" % (len(domain), domain.encode("ascii"))]
    for field in fields:
        if isinstance(field, bytes):
            parts.append(b"b%d:%b" % (len(field), field))
        elif isinstance(field, str):
            raw = field.encode()
            parts.append(b"s%d:%b" % (len(raw), raw))
        elif field is None:
            parts.append(b"n0:")
        else:
            raw = b"%d" % field
            parts.append(b"i%d:%b" % (len(raw), raw))
    return sha256(b"".join(parts)).digest()


def damaged(what: str) -> Unavailable:
    """Say that a stored row was changed by something else than attestd; it is never served."""
    return Unavailable(Reason.REGISTRY_INTEGRITY, found=f"{what} that was altered", wanted="the row as it was recorded")


def intact(what: str) -> Callable[[Callable[[R], T]], Callable[[R], T]]:
    """Let a function that turns a row into a value say so where the row cannot be what was recorded."""

    def decorate(convert: Callable[[R], T]) -> Callable[[R], T]:
        @wraps(convert)
        def converted(row: R) -> T:
            try:
                return convert(row)
            except (ValueError, TypeError, OverflowError):
                raise damaged(what) from None

        return converted

    return decorate
