"""A liteserver of the devnet: ADNL over TCP on one port, with a key and a fault plan of its own."""

import asyncio
from dataclasses import dataclass, field
from typing import Final, Self

from attestd.chain.devnet.adnl import Broken, Connection, ServerKey
from attestd.chain.devnet.answers import Answers
from attestd.chain.devnet.chain import Chain
from attestd.chain.devnet.faults import Fault, Plan
from attestd.chain.devnet.wire import Answer, Call, ErrorCode, QueryError, Reader, error
from attestd.chain.tl import text, uint32

_MS: Final = 1000
# The longest that a node waits for a block, whatever the client asks for (liteserver, kMaxWait).
_LONGEST_WAIT: Final = 10.0


@dataclass(slots=True)
class Liteserver:
    """One server. `faults` are its own, beside those of the devnet."""

    key: ServerKey
    faults: Plan
    answers: Answers
    _server: asyncio.Server | None = None
    _connections: set[asyncio.Task[None]] = field(default_factory=set)

    @classmethod
    def of(cls, chain: Chain, key: ServerKey, faults: Plan, shared: Plan) -> Self:
        """Make a server of a chain, which does not listen so far; `shared` is the plan of the devnet."""
        return cls(key, faults, Answers(chain, lambda fault: faults.strikes(fault) or shared.strikes(fault)))

    async def listen(self, host: str, port: int = 0) -> None:
        """Begin to listen; port 0 is any that is free."""
        self._server = await asyncio.start_server(self._connected, host, port)

    @property
    def port(self) -> int:
        """Return the port on which it listens."""
        if self._server is None:
            raise RuntimeError("not listening")
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def close(self) -> None:
        """Stop listening and cut every connection."""
        if self._server is not None:
            self._server.close()
            self._server = None
        await _end(self._connections)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None:  # pragma: no cover - asyncio runs it as one
            return
        self._connections.add(task)
        queries: set[asyncio.Task[None]] = set()
        try:
            await self._serve(await Connection.accept(reader, writer, self.key), writer, queries)
        except (Broken, asyncio.CancelledError):
            pass  # the client is gone, or this server is
        finally:
            self._connections.discard(task)
            writer.close()
            await _end(queries)

    async def _serve(
        self, connection: Connection, writer: asyncio.StreamWriter, queries: set[asyncio.Task[None]]
    ) -> None:
        """Take packets; each query runs on its own, since one may wait for a block while others come."""
        while True:
            packet = Reader(await connection.receive())
            try:
                call = packet.call()
                if call is Call.PING:
                    await connection.send(uint32(Answer.PONG) + packet.take(8))
                    continue
                if call is not Call.QUERY:
                    continue
                query_id, query = packet.take(32), packet.text()
            except QueryError:
                continue  # without a query id there is nothing to answer
            task = asyncio.create_task(self._query(connection, writer, query_id, query))
            queries.add(task)
            task.add_done_callback(queries.discard)

    async def _query(self, connection: Connection, writer: asyncio.StreamWriter, query_id: bytes, query: bytes) -> None:
        strikes = self.answers.strikes
        if strikes(Fault.SILENT):
            return
        if strikes(Fault.CUT):
            writer.close()
            return
        try:
            answer, call = await self._answer(Reader(query))
        except QueryError as raised:
            answer, call = error(raised), None
        if call is Call.SEND_MESSAGE and strikes(Fault.DROP_ANSWER):
            writer.close()
            return
        try:
            await connection.send(uint32(Answer.ANSWER) + query_id + text(answer))
        except Broken:
            writer.close()

    async def _answer(self, packet: Reader) -> tuple[bytes, Call]:
        if packet.call() is not Call.LITE_QUERY:
            raise QueryError(ErrorCode.PROTOCOL_VIOLATION, "not a liteServer.query")
        query = Reader(packet.text())
        call = query.call()
        if call is Call.WAIT_MASTERCHAIN_SEQNO:
            await self._wait(query.u32(), query.u32())
            call = query.call()
        return await self.answers.answer(call, query), call

    async def _wait(self, seqno: int, milliseconds: int) -> None:
        try:
            await asyncio.wait_for(self.answers.wait(seqno), min(milliseconds / _MS, _LONGEST_WAIT))
        except TimeoutError:
            raise QueryError(ErrorCode.TIMEOUT, "timeout") from None


async def _end(tasks: set[asyncio.Task[None]]) -> None:
    ending = tuple(tasks)
    for task in ending:
        task.cancel()
    await asyncio.gather(*ending, return_exceptions=True)
