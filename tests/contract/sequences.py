"""Random messages: each is read off one number, so that hypothesis draws, keeps and shrinks numbers alone.

Most are nearly right, for a contract that only ever sees nonsense shows nothing.
"""

from typing import Any, Final, TypeVar

from tests.contract.model import DAY, Group, Registry, Step

T = TypeVar("T")

_OPS: Final = (
    *("publish",) * 10,
    *("propose",) * 5,
    *("execute",) * 5,
    "cancel",
    "pause",
    "check_key",
    "gift",
    "unknown",
    "excesses",
)
_KINDS: Final = (
    *("set_verifiers",) * 3,
    *("unpause",) * 2,
    "set_admin",
    "set_timelock",
    "set_max_validity",
    "upgrade",
    "approve",
    "withdraw",
)
_WAITS: Final = (0, 0, 0, 1, 30, 600, 3600, 2 * DAY, 2 * DAY, 2 * DAY, 31 * DAY)


class Number:
    """A number that is used up, choice by choice."""

    def __init__(self, number: int) -> None:
        self._rest = number

    def choose(self, options: tuple[T, ...]) -> T:
        self._rest, index = divmod(self._rest, len(options))
        return options[index]

    def below(self, bound: int) -> int:
        self._rest, value = divmod(self._rest, bound)
        return value

    def rarely(self) -> bool:
        return self.below(8) == 7


def _publication(number: Number, registry: Registry, at: int) -> Step:
    longest = registry.max_validity
    signers: Group = [(index, key) for index, key in registry.verifiers.items() if not number.rarely()]
    if number.rarely():
        signers.append((number.below(12), number.below(8)))
    signers = signers[: registry.threshold + number.below(2) - (1 if number.rarely() else 0)]
    return {
        "statement": {
            "epoch": registry.epoch + (number.choose((0, 2, 3)) if number.rarely() else 1),
            "treeSize": max(0, registry.tree_size + number.choose((0, 1, 7, 7, 7, 7, -1))),
            "issuedAt": number.choose((at + 60, at + 61, at - 5, registry.issued_at)) if number.rarely() else at,
            "validUntil": at + (number.choose((1, longest, longest + 1, 0)) if number.rarely() else min(600, longest)),
        },
        "signatures": sorted(dict(signers).items()),
        "network": "other" if number.rarely() and number.rarely() else "ours",
        "registry": "other" if number.rarely() and number.rarely() else "ours",
    }


def _group(number: Number) -> Step:
    count = number.choose((1, 2, 3, 3, 3, 4, 0))
    first = number.below(4)
    keys: Group = [(index, first + index) for index in range(count)]
    if number.rarely() and keys:
        keys.append((count, number.choose((None, first))))
    threshold = number.choose((1, 2, 2, 3, 3, 4, 0))
    return {"threshold": min(threshold, count) if not number.rarely() else threshold, "keys": keys}


def _change(number: Number) -> Step:
    kind = number.choose(_KINDS)
    rest: dict[str, Any] = {}
    match kind:
        case "set_verifiers":
            rest = _group(number)
        case "set_admin":
            rest = {"to": number.choose(("admin", "stranger"))}
        case "set_timelock":
            rest = {"seconds": number.choose((0, 600, 2 * DAY, 30 * DAY, 30 * DAY + 1, 2**32 - 1))}
        case "set_max_validity":
            rest = {"seconds": number.choose((1, 600, 7200, 30 * DAY, 30 * DAY + 1, 0))}
        case "approve" | "withdraw":
            rest = {"set": number.below(4), "digests": sorted({number.below(9) for _ in range(number.below(4))})}
        case _:
            pass
    return {"kind": kind, **rest}


def step(number: Number, registry: Registry, before: int) -> Step:
    """The next message to a registry in this state, not earlier than `before`."""
    op = number.choose(_OPS)
    if op in ("execute", "cancel") and not registry.proposals and not number.rarely():
        op = "propose"
    at = before + number.choose(_WAITS)
    rest: Step = {}
    match op:
        case "publish":
            rest = _publication(number, registry, at)
        case "propose":
            rest = {"change": _change(number)}
        case "execute" | "cancel":
            rest = {"proposal": number.choose((*registry.proposals, 0, registry.next_proposal))}
        case _:
            pass
    others = {"admin": "stranger", "stranger": "admin"}
    sender = others[registry.admin] if number.rarely() else registry.admin
    # A publication with the flag would still be one: see onInternalMessage.
    bounced = op not in ("publish", "check_key") and number.rarely() and number.rarely()
    return {
        "op": op,
        "at": at,
        "from": sender,
        "bounced": bounced,
        "value": number.choose((10**9, 10**9, 10**8)),
        **rest,
    }
