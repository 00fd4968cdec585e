"""Liteservers on loopback that answer with what a test gives them: honest about a world, or wrong in one way."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from attestd.chain import tl
from attestd.chain.devnet import wire
from attestd.chain.devnet.adnl import Broken, Connection, ServerKey
from attestd.chain.devnet.wire import Answer, Call, Reader
from attestd.chain.network import Liteserver, Network
from attestd.chain.tl import AccountAnswer, BlockId
from attestd.tvm.address import Address
from tests.chain.worlds import GLOBAL_ID, World

NOT_READY = wire.error(wire.QueryError(wire.ErrorCode.NOT_READY, "block not in db \x1b[31m" + "x" * 500))


@dataclass
class Server:
    """A server over a world. Each kind of answer can be replaced; `about` is the account that blocks are made for."""

    world: World
    about: Address
    pages: list[bytes] = field(default_factory=list)  # of transactions, one for each call
    status: int = 1
    answer: Callable[[AccountAnswer], AccountAnswer | bytes] = lambda found: found
    head: Callable[[BlockId], BlockId] = lambda found: found
    raw: Callable[[bytes], bytes] = lambda found: found
    before: Callable[[Connection], Awaitable[None]] | None = None
    key: ServerKey = field(default_factory=ServerKey.generate)
    sent: list[bytes] = field(default_factory=list)
    asked: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            connection = await Connection.accept(reader, writer, self.key)
            if self.before is not None:
                await self.before(connection)
            while True:
                packet = Reader(await connection.receive())
                packet.u32()
                query_id = packet.take(32)
                query = Reader(packet.text())
                query.u32()
                self.asked += 1
                answer = self.raw(self.answered(Reader(query.text())))
                await connection.send(tl.uint32(Answer.ANSWER) + query_id + tl.text(answer))
        except Broken:
            pass
        finally:
            writer.close()

    def answered(self, query: Reader) -> bytes:
        call = query.call()
        if call is Call.WAIT_MASTERCHAIN_SEQNO:
            query.take(8)
            call = query.call()
        match call:
            case Call.GET_MASTERCHAIN_INFO:
                block = self.head(self.world.head(self.about))
                return tl.uint32(Answer.MASTERCHAIN_INFO) + tl.block_id(block) + bytes(32 + 68)
            case Call.GET_ACCOUNT_STATE:
                return self.account(query.block_id(), query.account_id())
            case Call.SEND_MESSAGE:
                self.sent.append(query.text())
                return tl.uint32(Answer.SEND_MSG_STATUS) + tl.uint32(self.status)
            case _:
                boc = self.pages.pop(0) if self.pages else b""
                return tl.uint32(Answer.TRANSACTION_LIST) + tl.uint32(0) + tl.text(boc)

    def account(self, block: BlockId, address: Address) -> bytes:
        if block != self.world.head(self.about):
            return NOT_READY
        answer = self.answer(self.world.answer(address))
        if isinstance(answer, bytes):
            return answer
        head = tl.uint32(Answer.ACCOUNT_STATE) + tl.block_id(answer.block) + tl.block_id(answer.shard_block)
        return head + tl.text(answer.shard_proof) + tl.text(answer.proof) + tl.text(answer.state)


@asynccontextmanager
async def serving(*servers: Server, agree: int = 2) -> AsyncIterator[Network]:
    """Open the servers, and give the network that names them."""
    opened = [await asyncio.start_server(server.serve, "127.0.0.1", 0) for server in servers]
    named = tuple(
        Liteserver("127.0.0.1", listener.sockets[0].getsockname()[1], server.key.public)
        for listener, server in zip(opened, servers, strict=True)
    )
    try:
        yield Network(liteservers=named, global_id=GLOBAL_ID, agree=agree)
    finally:
        for listener in opened:
            listener.close()
            await listener.wait_closed()


def nobody(key: ServerKey) -> Liteserver:
    """Name a server where nothing listens."""
    return Liteserver("127.0.0.1", 9, key.public)
