"""The chain of the demonstration: a devnet, a registry deployed on it, and somebody who asks the chain alone.

Everything here is done by the commands that an operator or a third party would give, each in a process of its own; they
share no more than what is on their command lines.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import sleep
from typing import Any, Final

from attestd.chain.wallet import load_key, new_key_file
from attestd.cli.scene import Scene, Unexpected, heading, require
from attestd.cli.screen import VERIFIED, say, table
from attestd.signature import ed25519_public_key

_WAIT_SECONDS: Final = 60
_PAUSE_SECONDS: Final = 0.2
_ATTESTD: Final = (sys.executable, "-m", "attestd")


@dataclass(frozen=True, slots=True)
class Deployed:
    """A registry on a devnet, and the keys that publish on it."""

    network: Path
    registry: str
    wallet_key: Path
    verifier_key: Path

    def settings(self) -> dict[str, str]:
        """Return what tells a service to publish there, as it stands in the environment."""
        return {
            "ATTESTD_CHAIN_NETWORK": str(self.network),
            "ATTESTD_CHAIN_REGISTRY": self.registry,
            "ATTESTD_CHAIN_WALLET_KEY": str(self.wallet_key),
            "ATTESTD_CHAIN_VERIFIER_KEY": str(self.verifier_key),
            "ATTESTD_EPOCH_INTERVAL": "1",
        }


@contextmanager
def deployed(folder: Path) -> Iterator[Deployed]:
    """Run a devnet until the block ends, with a registry that one verifier signs for. Raises `Unexpected`."""
    heading("A TON network on this machine, and a registry on it")
    wallet_key, verifier_key, network = folder / "wallet-key", folder / "verifier-key", folder / "devnet.json"
    new_key_file(verifier_key)
    verifier = ed25519_public_key(load_key(verifier_key)).hex()
    command = (*_ATTESTD, "chain", "devnet", "--json", "--out", str(network), "--wallet-key", str(wallet_key))
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as devnet:  # noqa: S603 - this program itself
        try:
            _require_started(devnet)
            made = _attestd(
                *("chain", "deploy", "--network", str(network), "--wallet-key", str(wallet_key)),
                *("--verifier", verifier, "--threshold", "1"),
            )
            require("deployed", made["outcome"], wanted="done")
            say(f"   registry {made['registry']}, gas {made['transactions'][-1]['gas']}")
            yield Deployed(network, made["registry"], wallet_key, verifier_key)
        finally:
            devnet.terminate()


def read_member(scene: Scene, chain: Deployed, key: str) -> None:
    """Wait until a key is published, then require that the chain has it."""
    heading("A third party reads the key from the chain, with the contract's address and a network file alone")
    _until(scene, key, "published")
    _verify(scene, chain, key, "member")


def read_absent(scene: Scene, chain: Deployed, key: str) -> None:
    """Wait until the absence of a key is published, then require that the chain shows it."""
    heading("The same third party sees that the revoked key is absent, by proof, from the chain alone")
    _until(scene, key, "removed")
    _verify(scene, chain, key, "absent")


def _verify(scene: Scene, chain: Deployed, key: str, wanted: str) -> None:
    found = _attestd(
        *("chain", "verify", key, "--network", str(chain.network), "--registry", chain.registry),
        *("--proof", f"{scene.anyone.url}/v1/proofs/{key}"),
    )
    say(*table(("step", "passed"), [(step["step"], step["found"]) for step in found["steps"]]))
    require("from the chain", found["outcome"], wanted=wanted)


def _until(scene: Scene, key: str, state: str) -> None:
    published: Any = None
    for _ in range(int(_WAIT_SECONDS / _PAUSE_SECONDS)):
        published = scene.anyone.get(f"/v1/keys/{key}").document["published"]
        if published is not None and published["state"] == state:
            say(f"   {state} in epoch {published['epoch']}, transaction {published['transaction']}")
            return
        sleep(_PAUSE_SECONDS)
    raise Unexpected(f"after {_WAIT_SECONDS} s the key is not {state}: {published}")


def _require_started(devnet: "subprocess.Popen[str]") -> None:
    """Wait for the one JSON object that the devnet prints once its file is written."""
    text = ""
    for line in devnet.stdout or ():
        text += line
        try:
            started = json.loads(text)
        except ValueError:
            continue
        say(f"   liteservers {', '.join(started['liteservers'])}, global id {started['global_id']}")
        return
    raise Unexpected("the devnet did not start")


def _attestd(*arguments: str) -> Any:  # noqa: ANN401 - as the command answered
    """Run a command of this program with its answer as JSON; a proof of absence is an answer, too."""
    shown = " ".join(("attestd", *arguments))
    run = subprocess.run((*_ATTESTD, *arguments, "--json"), capture_output=True, text=True, check=False)  # noqa: S603
    try:
        document = json.loads(run.stdout)
    except ValueError:
        raise Unexpected(f"{shown}: {run.stderr.strip()}") from None
    if run.returncode != VERIFIED and document.get("outcome") != "absent":
        raise Unexpected(f"{shown}: {document}")
    say(f"   {shown}")
    return document
