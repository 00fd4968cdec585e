"""For relying parties: the registry as the chain has it, and whether a key is in it. Needs no service of attestd's.

    client = Client(Network.load(Path("network.json")), time.time)
    verdict = asyncio.run(client.key(key_id, document))
    if verdict.standing is Standing.MEMBER: …

`document` is what a service answers with about the key (its proof); nobody who hands it out is believed. Whatever is
not proved raises: `Unavailable` where the chain cannot be read or does not answer for the key now, `NotAuthentic` where
a proof or a signature is wrong, `Malformed` where the document is none. Nothing but a verdict means anything.
"""

from collections.abc import Callable

from attestd.chain.liteservers import Liteservers
from attestd.chain.network import Network
from attestd.chain.reading import (
    KeyVerdict,
    Reading,
    Standing,
    Told,
    checkpoint_in_force,
    judge_key,
    load_key_proof,
    read_registry,
    silent,
)
from attestd.transparency.checkpoint import Checkpoint
from attestd.tvm.address import Address

__all__ = ["Client", "Network", "Standing"]


class Client:
    """Reads one registry. `clock` returns POSIX seconds; `told` hears of each step that has passed."""

    def __init__(
        self,
        network: Network,
        clock: Callable[[], float],
        *,
        registry: Address | None = None,
        told: Told = silent,
    ) -> None:
        """Keep what to read; without an address it is the one that the network file pins."""
        self.network = network
        self._servers = Liteservers(network, clock)
        self._clock = clock
        self._registry = registry
        self._told = told

    async def read(self) -> Reading:
        """Return the contract's state, proved and decoded, in force or not. Raises as `read_registry` does."""
        return await read_registry(self._servers, self._registry, told=self._told)

    def in_force(self, reading: Reading) -> Checkpoint:
        """Return the checkpoint that holds now. Raises as `checkpoint_in_force` does."""
        return checkpoint_in_force(reading, self.network, int(self._clock()), self._told)

    async def key(self, key_id: bytes, document: bytes) -> KeyVerdict:
        """Say what the chain says of a key now. Raises as the steps of `reading.py` do."""
        proof = load_key_proof(document, key_id)
        reading = await self.read()
        return judge_key(reading, self.in_force(reading), proof, int(self._clock()), self._told)
