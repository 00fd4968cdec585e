"""What the operator has decided of publishing, and what is said when it has to wait for the operator."""

from dataclasses import dataclass

from attestd.errors import Unavailable
from attestd.tvm.address import Address


class Stopped(Unavailable):
    """Publishing stands still until somebody has seen to it; what is recorded waits."""


@dataclass(frozen=True, slots=True)
class Orders:
    """What the operator has decided: of the contract, for which the chain must say the same, and of the money."""

    registry: Address
    global_id: int
    spending_cap: int  # nanoton per day
    verifiers: tuple[tuple[int, bytes], ...] = ()  # none are pinned where it is empty
    threshold: int = 0
    admin: Address | None = None
