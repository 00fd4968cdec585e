"""A reader of a static log, as the C2SP specifications of signed-note, tlog-checkpoint and tlog-tiles have it.

Nothing of attestd's is used: only what a client has, files by their paths and the key of the log.
"""

from base64 import b64decode
from collections.abc import Mapping
from hashlib import sha256

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from tests.transparency.logs import tree_hash


def checkpoint(note: bytes, vkey: str) -> tuple[str, int, bytes]:
    """Verify the log's signature; return origin, size and root."""
    name, key_hash, encoded = vkey.split("+", 2)
    algorithm_and_key = b64decode(encoded, validate=True)
    assert algorithm_and_key[0] == 1
    assert sha256(name.encode() + b"\n" + algorithm_and_key).digest()[:4].hex() == key_hash
    body, signatures = note.decode().split("\n\n")
    for line in signatures.removesuffix("\n").split("\n"):
        dash, signer, blob = line.split(" ")
        raw = b64decode(blob, validate=True)
        if (dash, signer, raw[:4].hex()) == ("\u2014", name, key_hash):
            Ed25519PublicKey.from_public_bytes(algorithm_and_key[1:]).verify(raw[4:], (body + "\n").encode())
            origin, size, root, *_ = body.split("\n")
            return origin, int(size), b64decode(root, validate=True)
    raise AssertionError


def tile_index(number: int) -> str:
    """Encode a tile's index: groups of three digits, all but the last behind an x."""
    digits = str(number)
    digits = digits.zfill((len(digits) + 2) // 3 * 3)
    groups = [digits[at : at + 3] for at in range(0, len(digits), 3)]
    return "/".join([f"x{group}" for group in groups[:-1]] + groups[-1:])


def fetch(files: Mapping[str, bytes], kind: str, number: int, count: int) -> bytes:
    """Read a tile, of which there are `count` entries in the whole row."""
    width = min(256, count - 256 * number)
    return files[f"tile/{kind}/{tile_index(number)}" + ("" if width == 256 else f".p/{width}")]


def row(files: Mapping[str, bytes], level: int, size: int) -> list[bytes]:
    """Read all hashes of a tile level."""
    count = size >> 8 * level
    raw = b"".join(fetch(files, str(level), number, count) for number in range((count + 255) // 256))
    assert len(raw) == 32 * count
    return [raw[at : at + 32] for at in range(0, len(raw), 32)]


def entries(files: Mapping[str, bytes], size: int) -> list[bytes]:
    """Read all entries."""
    read = []
    for number in range((size + 255) // 256):
        raw = fetch(files, "entries", number, size)
        while raw:
            length = int.from_bytes(raw[:2])
            read.append(raw[2 : 2 + length])
            raw = raw[2 + length :]
    return read


def audit(files: Mapping[str, bytes], note: bytes, vkey: str) -> list[bytes]:
    """Read the whole log, and require that entries, tiles of every level and checkpoint agree."""
    _, size, root = checkpoint(note, vkey)
    leaves = entries(files, size)
    assert len(leaves) == size
    assert tree_hash(leaves) == root
    assert row(files, 0, size) == [sha256(b"\0" + leaf).digest() for leaf in leaves]
    level = 1
    while size >> 8 * level:
        parts = [leaves[at : at + (1 << 8 * level)] for at in range(0, size, 1 << 8 * level)]
        assert row(files, level, size) == [tree_hash(part) for part in parts if len(part) == 1 << 8 * level]
        level += 1
    return leaves
