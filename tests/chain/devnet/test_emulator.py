"""The emulator's process: what it needs, and that no caller gets the answer of another."""

import asyncio
from pathlib import Path

import pytest

from attestd.chain.devnet import DEVNET_GLOBAL_ID
from attestd.chain.devnet.accounts import absent
from attestd.chain.devnet.emulator import Emulator, MethodResult, Rejected
from attestd.errors import ConfigurationRefused, Reason
from attestd.tvm.boc import dump_boc
from attestd.tvm.cell import Builder
from tests.chain.devnet.world import unavailable
from tests.refusals import misconfigured

# Ends well with its method id alone on the stack: NOP.
NOP = dump_boc(Builder().uint(0, 8).end())
NO_STACK = dump_boc(Builder().uint(0, 24).end())


async def method(emulator: Emulator, number: int, code: bytes = NOP) -> MethodResult:
    return await emulator.get_method(
        code, NOP, address="0:" + "00" * 32, method=number, stack=NO_STACK, balance=0, now=1, seed=bytes(32)
    )


def test_a_caller_that_gives_up_does_not_leave_its_answer_to_the_next() -> None:
    async def run() -> None:
        emulator = await Emulator.start(DEVNET_GLOBAL_ID)
        try:
            wanted = await method(emulator, 2)
            abandoned = asyncio.create_task(method(emulator, 1))
            await asyncio.sleep(0)
            abandoned.cancel()
            with pytest.raises(asyncio.CancelledError):
                await abandoned
            assert await method(emulator, 2) == wanted != await method(emulator, 1)
        finally:
            await emulator.close()

    asyncio.run(run())


def test_what_it_cannot_take_is_said_and_it_goes_on() -> None:
    async def run() -> None:
        emulator = await Emulator.start(DEVNET_GLOBAL_ID)
        try:
            with unavailable(Reason.CHAIN_UNAVAILABLE):
                await method(emulator, 1, b"no cells")
            for account in (absent().boc, NOP):
                found = await emulator.transaction(account, NOP, now=1, lt=1, seed=bytes(32))
                assert isinstance(found, Rejected)
                assert found.exit_code is None
            assert (await method(emulator, 1)).exit_code == 0
        finally:
            await emulator.close()

    asyncio.run(run())


def test_it_ends_once() -> None:
    async def run() -> None:
        emulator = await Emulator.start(DEVNET_GLOBAL_ID)
        await emulator.close()
        await emulator.close()
        with unavailable(Reason.CHAIN_UNAVAILABLE):
            await method(emulator, 1)

    asyncio.run(run())


def test_without_node_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    monkeypatch.setattr("attestd.chain.devnet.emulator.find_spec", lambda _: None)
    with misconfigured(Reason.SETTINGS):
        asyncio.run(Emulator.start(DEVNET_GLOBAL_ID))


def test_the_node_of_the_python_package_is_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program(tmp_path / "bin", "the node of the package")

    class Package:
        origin = str(tmp_path / "__init__.py")

    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    monkeypatch.setattr("attestd.chain.devnet.emulator.find_spec", lambda _: Package)
    with pytest.raises(ConfigurationRefused, match="the node of the package"):
        asyncio.run(Emulator.start(DEVNET_GLOBAL_ID))


def test_an_old_node_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program(tmp_path, "Node 18.0.0")
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    with misconfigured(Reason.SETTINGS):
        asyncio.run(Emulator.start(DEVNET_GLOBAL_ID))


def test_without_its_package_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("attestd.chain.devnet.emulator._PACKAGES", tmp_path)
    with misconfigured(Reason.SETTINGS):
        asyncio.run(Emulator.start(DEVNET_GLOBAL_ID))


def program(folder: Path, refused: str) -> None:
    """Write what answers as the emulator does when it refuses."""
    folder.mkdir(exist_ok=True)
    node = folder / "node"
    node.write_text(f'#!/bin/sh\nread -r line\necho \'{{"refused": "{refused}"}}\'\n')
    node.chmod(0o755)
