"""ADNL over TCP, the server's side: one handshake, then encrypted packets both ways (docs.ton.org, ADNL TCP).

    handshake   server's key id (32) | client's Ed25519 key (32) | SHA-256 of the seeds (32) | seeds (160), encrypted
    packet      length (4, little-endian) | nonce (32) | payload | SHA-256 over nonce and payload (32), encrypted

The seeds hold two AES-256-CTR keys and counters: what the server sends with, then what the client does. Each key pair
agrees by X25519, on the Montgomery form of the Ed25519 keys.
"""

import secrets
from asyncio import IncompleteReadError, StreamReader, StreamWriter
from dataclasses import dataclass
from hashlib import sha256, sha512
from typing import Final, Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR

# pub.ed25519 key:int256 = PublicKey (ton_api.tl), in front of the key whose hash is the key id.
_PUBLIC_KEY: Final = bytes.fromhex("c6b41348")
_SEEDS_SIZE: Final = 160
_HASH_SIZE: Final = 32
_FIELD: Final = 2**255 - 19
# A node takes no larger packet (AdnlExtConnection).
_MAX_PACKET_SIZE: Final = 16 * 1024 * 1024


class Broken(Exception):
    """The peer does not speak ADNL, not with this server, or has gone."""


@dataclass(frozen=True, slots=True)
class ServerKey:
    """The Ed25519 key pair of a liteserver, by its seed of 32 bytes."""

    seed: bytes

    @classmethod
    def generate(cls) -> Self:
        """Make a new one."""
        return cls(secrets.token_bytes(32))

    @property
    def public(self) -> bytes:
        """Return the Ed25519 public key, 32 bytes."""
        return Ed25519PrivateKey.from_private_bytes(self.seed).public_key().public_bytes_raw()

    @property
    def id(self) -> bytes:
        """Return the key id by which clients name the server."""
        return sha256(_PUBLIC_KEY + self.public).digest()

    def agree(self, peer: bytes) -> bytes:
        """Return the secret shared with a peer of this Ed25519 public key. Raises `ValueError` for none such."""
        scalar = sha512(self.seed).digest()[:32]
        return X25519PrivateKey.from_private_bytes(scalar).exchange(
            X25519PublicKey.from_public_bytes(_montgomery(peer))
        )


def _montgomery(ed25519: bytes) -> bytes:
    """Map a point of the Edwards curve to u = (1 + y) / (1 - y) (RFC 7748, 4.1)."""
    y = int.from_bytes(ed25519, "little") & (1 << 255) - 1
    return ((1 + y) * pow(1 - y, -1, _FIELD) % _FIELD).to_bytes(32, "little")


@dataclass(slots=True)
class Connection:
    """One client, after the handshake."""

    _reader: StreamReader
    _writer: StreamWriter
    _outgoing: CipherContext
    _incoming: CipherContext

    @classmethod
    async def accept(cls, reader: StreamReader, writer: StreamWriter, key: ServerKey) -> Self:
        """Take the handshake, and answer with an empty packet. Raises `Broken`."""
        named, peer, checksum, sealed = [await _take(reader, size) for size in (32, 32, 32, _SEEDS_SIZE)]
        if named != key.id:
            raise Broken("a handshake for another server")
        try:
            shared = key.agree(peer)
        except ValueError as error:
            raise Broken("no key") from error
        seeds = _aes_ctr(shared[:16] + checksum[16:], checksum[:4] + shared[20:]).update(sealed)
        if sha256(seeds).digest() != checksum:
            raise Broken("another checksum")
        connection = cls(reader, writer, _aes_ctr(seeds[:32], seeds[64:80]), _aes_ctr(seeds[32:64], seeds[80:96]))
        await connection.send(b"")
        return connection

    async def receive(self) -> bytes:
        """Take one packet. Raises `Broken`."""
        size = int.from_bytes(self._incoming.update(await _take(self._reader, 4)), "little")
        if not 2 * _HASH_SIZE <= size <= _MAX_PACKET_SIZE:
            raise Broken(f"a packet of {size} bytes")
        packet = self._incoming.update(await _take(self._reader, size))
        if sha256(packet[:-_HASH_SIZE]).digest() != packet[-_HASH_SIZE:]:
            raise Broken("another checksum")
        return packet[_HASH_SIZE:-_HASH_SIZE]

    async def send(self, payload: bytes) -> None:
        """Send one packet. Raises `Broken`."""
        body = secrets.token_bytes(_HASH_SIZE) + payload
        packet = (len(body) + _HASH_SIZE).to_bytes(4, "little") + body + sha256(body).digest()
        try:
            self._writer.write(self._outgoing.update(packet))
            await self._writer.drain()
        except ConnectionError as error:
            raise Broken("gone") from error


async def _take(reader: StreamReader, size: int) -> bytes:
    try:
        return await reader.readexactly(size)
    except (ConnectionError, IncompleteReadError) as error:
        raise Broken("gone") from error


def _aes_ctr(key: bytes, counter: bytes) -> CipherContext:
    return Cipher(AES(key), CTR(counter)).encryptor()
