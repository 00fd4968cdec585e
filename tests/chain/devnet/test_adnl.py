"""ADNL and TL at a liteserver's door: what is no handshake, no packet, no query."""

import asyncio
import secrets
from collections.abc import Callable
from hashlib import sha256

import pytest

from attestd.chain.devnet import Liteserver
from attestd.chain.devnet.adnl import ServerKey, _aes_ctr
from attestd.chain.devnet.wire import Answer, Call, ErrorCode, Reader
from attestd.chain.tl import block_id, text, uint32
from tests.chain.devnet.world import World, on_devnet


class Peer:
    """A client of the devnet's own making, which can do everything wrong."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.seeds = secrets.token_bytes(160)
        self.outgoing = _aes_ctr(self.seeds[32:64], self.seeds[80:96])
        self.incoming = _aes_ctr(self.seeds[:32], self.seeds[64:80])

    def handshake(self, server: Liteserver, *, named: bytes | None = None, checksum: bytes | None = None) -> None:
        key = ServerKey.generate()
        digest = sha256(self.seeds).digest()
        shared = key.agree(server.key.public)
        sealed = _aes_ctr(shared[:16] + digest[16:], digest[:4] + shared[20:]).update(self.seeds)
        self.writer.write((named or server.key.id) + key.public + (checksum or digest) + sealed)

    def break_off(self, server: Liteserver) -> None:
        self.writer.write(server.key.id)
        self.writer.write_eof()

    def send(self, payload: bytes, *, checksum: bytes | None = None, size: int | None = None) -> None:
        body = bytes(32) + payload
        packet = (size or len(body) + 32).to_bytes(4, "little") + body + (checksum or sha256(body).digest())
        self.writer.write(self.outgoing.update(packet))

    def ask(self, query: bytes) -> None:
        self.send(uint32(Call.QUERY) + bytes(32) + text(query))

    async def receive(self) -> bytes:
        size = int.from_bytes(self.incoming.update(await self.reader.readexactly(4)), "little")
        return self.incoming.update(await self.reader.readexactly(size))[32:-32]

    async def error(self) -> tuple[int, bytes]:
        answer = Reader(await self.receive())
        assert (answer.u32(), answer.take(32)) == (Answer.ANSWER, bytes(32))
        found = Reader(answer.text())
        assert found.u32() == Answer.ERROR
        return found.i32(), found.text()

    async def closed(self) -> bool:
        try:
            return await self.reader.read() == b""
        except ConnectionError:
            return True


async def peer(world: World) -> Peer:
    return Peer(*await asyncio.open_connection("127.0.0.1", world.net.liteservers[0].port))


async def greeted(world: World) -> Peer:
    connected = await peer(world)
    connected.handshake(world.net.liteservers[0])
    assert await connected.receive() == b""
    return connected


WRONG_HANDSHAKES: dict[str, Callable[[Peer, Liteserver], object]] = {
    "of another server": lambda connected, server: connected.handshake(server, named=bytes(32)),
    "with another checksum": lambda connected, server: connected.handshake(server, checksum=bytes(32)),
    "with a key that is no point of large order": lambda connected, server: connected.writer.write(
        server.key.id + (1).to_bytes(32, "little") + bytes(192)
    ),
    "that ends early": lambda connected, server: connected.break_off(server),
}


@pytest.mark.parametrize("wrong", WRONG_HANDSHAKES.values(), ids=WRONG_HANDSHAKES)
@on_devnet
async def test_a_wrong_handshake_ends_the_connection(world: World, wrong: Callable[[Peer, Liteserver], object]) -> None:
    connected = await peer(world)
    wrong(connected, world.net.liteservers[0])
    assert await connected.closed()
    connected.writer.close()


WRONG_PACKETS: dict[str, Callable[[Peer], None]] = {
    "with another checksum": lambda connected: connected.send(b"", checksum=bytes(32)),
    "too long": lambda connected: connected.send(b"", size=1 << 25),
    "too short": lambda connected: connected.send(b"", size=63),
}


@pytest.mark.parametrize("wrong", WRONG_PACKETS.values(), ids=WRONG_PACKETS)
@on_devnet
async def test_a_wrong_packet_ends_the_connection(world: World, wrong: Callable[[Peer], None]) -> None:
    connected = await greeted(world)
    wrong(connected)
    assert await connected.closed()
    connected.writer.close()


@on_devnet
async def test_what_is_no_query_is_passed_over(world: World) -> None:
    connected = await greeted(world)
    for packet in (b"", b"\0\0\0\0", uint32(Call.GET_TIME), uint32(Call.QUERY), uint32(Call.PING)):
        connected.send(packet)
    connected.send(uint32(Call.PING) + bytes(range(8)))
    assert await connected.receive() == uint32(Answer.PONG) + bytes(range(8))
    connected.writer.close()


@on_devnet
async def test_a_wrong_query_is_answered_with_an_error(world: World) -> None:
    connected = await greeted(world)
    elsewhere = block_id(world.net.chain.head.master.id) + (5).to_bytes(4, "little") + bytes(32)
    wrong = {
        uint32(Call.GET_TIME): b"not a liteServer.query",
        uint32(Call.LITE_QUERY): b"the query ends too early",
        uint32(Call.LITE_QUERY) + text(uint32(Call.GET_BLOCK)): b"the query ends too early",
        uint32(Call.LITE_QUERY) + text(uint32(Call.PING)): b"PING is no query",
        uint32(Call.LITE_QUERY) + text(uint32(1)): b"the devnet does not serve 00000001",
        uint32(Call.LITE_QUERY) + text(uint32(Call.GET_ACCOUNT_STATE) + elsewhere): b"there is no workchain 5",
        uint32(Call.LITE_QUERY)
        + text(uint32(Call.GET_SHARD_INFO) + block_id(world.net.chain.head.master.id) + uint32(9)): b"one shard",
    }
    for query, message in wrong.items():
        connected.ask(query)
        code, said = await connected.error()
        assert code == ErrorCode.PROTOCOL_VIOLATION
        assert message in said
    connected.writer.close()


@on_devnet
async def test_a_server_that_closes_cuts_its_connections(world: World) -> None:
    connected = await greeted(world)
    server = world.net.liteservers[0]
    await server.close()
    assert await connected.closed()
    connected.writer.close()
    with pytest.raises(RuntimeError):
        _ = server.port


@on_devnet
async def test_a_client_that_leaves_is_forgotten(world: World) -> None:
    server = world.net.liteservers[0]
    connected = await greeted(world)
    (task,) = server._connections
    connected.writer.close()
    await asyncio.wait([task])
    assert not server._connections
