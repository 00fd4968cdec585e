"""Signed notes, and the checkpoint of a log as one (C2SP signed-note and tlog-checkpoint).

    attestd.example/log
    1234067
    <base64 of the root>

    — attestd.example/log <base64 of key id and signature>

The key id is the first four bytes of SHA-256(name ‖ 0x0A ‖ 0x01 ‖ public key); the signature is Ed25519 over the text
up to the empty line. This is the log's own signature; verifiers sign the checkpoint of an epoch (checkpoint.py).
"""

import re
from collections.abc import Collection
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from attestd.codec import dump_base64, load_base64, load_hex
from attestd.errors import Malformed, NotAuthentic, Reason
from attestd.signature import SigningKey, ed25519_public_key, ed25519_verifies, sign_ed25519
from attestd.transparency.merkle import HASH_SIZE

# A checkpoint has three lines, and one for each witness that signs it, too.
MAX_NOTE_SIZE: Final = 64 * 1024
MAX_NOTE_SIGNATURES: Final = 100

_ED25519: Final = b"\x01"
_KEY_SIZE: Final = 32
_KEY_ID_SIZE: Final = 4
_NAME: Final = re.compile(r"[^\s+\x00-\x1f\x7f]{1,255}")
_SIGNATURE: Final = re.compile(r"\u2014 ([^\s+]+) ([A-Za-z0-9+/=]+)")
_CONTROL: Final = re.compile(r"[\x00-\x09\x0b-\x1f]")
_SIZE: Final = re.compile(r"0|[1-9][0-9]{0,19}", re.ASCII)
_BODY_LINES: Final = 3


@dataclass(frozen=True, slots=True)
class NoteKey:
    """Who signs notes: a name, which for a log is its origin, and an Ed25519 public key of 32 bytes."""

    name: str
    public_key: bytes

    def __post_init__(self) -> None:
        """Refuse a name that cannot stand in a signature line, and what is no key."""
        if not _NAME.fullmatch(self.name) or len(self.public_key) != _KEY_SIZE:
            raise _refused("another name or key", "a name without spaces and plus, and 32 bytes")

    @property
    def key_id(self) -> bytes:
        """Return the four bytes that stand in front of its signatures."""
        return sha256(self.name.encode() + b"\n" + _ED25519 + self.public_key).digest()[:_KEY_ID_SIZE]

    def __str__(self) -> str:
        """Return the key as text: name, key id in hex, and base64 of 0x01 and the public key, with plus between."""
        return f"{self.name}+{self.key_id.hex()}+{dump_base64(_ED25519 + self.public_key)}"


def load_note_key(text: str) -> NoteKey:
    """Read a key as text. Raises `Malformed` (`note.malformed`), also where the key id is another key's."""
    try:
        name, key_id, encoded = text.split("+", 2)
        raw = load_base64(encoded)
        key = NoteKey(name, raw[1:])
        if raw[:1] == _ED25519 and load_hex(key_id, size=_KEY_ID_SIZE) == key.key_id:
            return key
    except (Malformed, ValueError):
        pass
    raise _refused(f"{len(text)} characters that are no key", "<name>+<key id>+<base64 of 0x01 and the key>")


def sign(body: str, name: str, key: SigningKey) -> str:
    """Return the note of this text, which ends with a line break, with one signature.

    Raises `Malformed` (`note.malformed`) where the text or the name cannot stand in a note.
    """
    if not body.endswith("\n") or _CONTROL.search(body) or len(body.encode()) > MAX_NOTE_SIZE // 2:
        raise _refused("another text", f"lines, at most {MAX_NOTE_SIZE // 2} bytes")
    signer = NoteKey(name, ed25519_public_key(key))
    signature = dump_base64(signer.key_id + sign_ed25519(key, body.encode()))
    return f"{body}\n\u2014 {name} {signature}\n"


def open_note(note: bytes, keys: Collection[NoteKey]) -> str:
    """Return the text of a note that at least one of `keys` has signed, and that none has signed wrongly.

    Signatures by others are passed over, as the format has it.
    Raises `Malformed` (`note.malformed`) where it is no note, `NotAuthentic` (`note.signature`) where it is not signed.
    """
    body, lines = _divided(note)
    signed = 0
    for line in lines:
        match = _SIGNATURE.fullmatch(line)
        if match is None:
            raise _refused("another line among the signatures", "a dash, a name and base64")
        raw = _signature(match[2])
        for key in keys:
            if (key.name, key.key_id) == (match[1], raw[:_KEY_ID_SIZE]):
                if not ed25519_verifies(key.public_key, raw[_KEY_ID_SIZE:], body.encode()):
                    raise _not_signed("a signature that does not verify")
                signed += 1
    if not signed:
        raise _not_signed(f"{len(lines)} signatures, none by a known key")
    return body


def _divided(note: bytes) -> tuple[str, list[str]]:
    """Return the text of a note, and its signature lines."""
    if len(note) > MAX_NOTE_SIZE:
        raise _refused(f"{len(note)} bytes", f"at most {MAX_NOTE_SIZE}")
    try:
        text = note.decode()
    except UnicodeDecodeError:
        raise _refused("no UTF-8", "text in UTF-8") from None
    if _CONTROL.search(text):
        raise _refused("a control character", "line breaks alone")
    body, _, signatures = text.rpartition("\n\n")
    lines = signatures.split("\n")
    if not body or lines.pop() != "" or not 0 < len(lines) <= MAX_NOTE_SIGNATURES:
        raise _refused("another form", f"text, an empty line, 1 to {MAX_NOTE_SIGNATURES} signature lines")
    return body + "\n", lines


def _signature(encoded: str) -> bytes:
    try:
        raw = load_base64(encoded)
    except Malformed:
        raise _refused("a signature that is no base64", "base64") from None
    if len(raw) <= _KEY_ID_SIZE:
        raise _refused(f"a signature of {len(raw)} bytes", "a key id and a signature")
    return raw


@dataclass(frozen=True, slots=True)
class TreeHead:
    """What the checkpoint of a log says."""

    origin: str
    size: int
    root: bytes  # 32 bytes


def open_head(note: bytes, key: NoteKey) -> TreeHead:
    """Return what the signed checkpoint of a log says; the name of its key is the log's origin.

    Raises as `open_note` and `load_checkpoint_body` do, and `NotAuthentic` (`note.signature`) for the head of another
    log: a key may sign for several.
    """
    head = load_checkpoint_body(open_note(note, [key]))
    if head.origin != key.name:
        raise NotAuthentic(Reason.NOTE_SIGNATURE, found="the head of another log", wanted=key.name)
    return head


def dump_checkpoint_body(origin: str, size: int, root: bytes) -> str:
    """Return the text of a log's checkpoint, to be signed."""
    return f"{origin}\n{size}\n{dump_base64(root)}\n"


def load_checkpoint_body(body: str) -> TreeHead:
    """Read the text of a log's checkpoint; lines behind the third are extensions, and are passed over.

    Raises `Malformed` (`note.malformed`).
    """
    lines = body.removesuffix("\n").split("\n")
    if len(lines) < _BODY_LINES or not all(lines) or not _SIZE.fullmatch(lines[1]):
        raise _refused(f"{len(lines)} other lines", "an origin, a size and a root")
    try:
        root = load_base64(lines[2])
    except Malformed:
        root = b""
    if len(root) != HASH_SIZE:
        raise _refused("another root", f"base64 of {HASH_SIZE} bytes")
    return TreeHead(lines[0], int(lines[1]), root)


def _refused(found: str, wanted: str) -> Malformed:
    return Malformed(Reason.NOTE_MALFORMED, found=found, wanted=wanted)


def _not_signed(found: str) -> NotAuthentic:
    return NotAuthentic(Reason.NOTE_SIGNATURE, found=found, wanted="a signature by a known key, and none that is wrong")
