"""What the registry contract has to do, said a second time: from the rules, without cells or signatures.

A key is a small number here, a time is seconds, a message is a dictionary that machine.mjs turns into a cell.
`Registry.receive` gives the exit code and goes to the state behind the message.
"""

from dataclasses import dataclass, field
from typing import Any, Final

Step = dict[str, Any]
Group = list[tuple[int, int | None]]

DAY: Final = 24 * 3600
START: Final = 1_800_000_000
GRACE: Final = 30 * DAY
MAX_DURATION: Final = 30 * DAY
MAX_PROPOSALS: Final = 16


class Refused(Exception):
    def __init__(self, exit_code: int) -> None:
        self.exit_code = exit_code


def require(condition: bool, exit_code: int) -> None:
    if not condition:
        raise Refused(exit_code)


def require_group(threshold: int, keys: Group) -> None:
    present = [key for _, key in keys if key is not None]
    require(len(keys) == len(present) == len(set(present)) <= 16, 425)
    require(1 <= threshold <= len(present), 425)


def require_change(change: Step) -> None:
    match change["kind"]:
        case "set_verifiers":
            require_group(change["threshold"], change["keys"])
        case "set_timelock":
            require(change["seconds"] <= MAX_DURATION, 423)
        case "set_max_validity":
            require(0 < change["seconds"] <= MAX_DURATION, 423)
        case "approve" | "withdraw":
            require(change["set"] <= 2 and 0 < len(change["digests"]) <= 48, 423)
        case _:
            pass


@dataclass
class Registry:
    threshold: int = 3
    verifiers: dict[int, int | None] = field(default_factory=lambda: {index: index for index in range(5)})
    admin: str = "admin"
    timelock: int = 2 * DAY
    max_validity: int = 3600
    paused: bool = False
    epoch: int = 0
    tree_size: int = 0
    issued_at: int = 0
    valid_until: int = 0
    signatures: list[int] = field(default_factory=list)
    next_proposal: int = 0
    proposals: dict[int, tuple[int, int, Step]] = field(default_factory=dict)
    sets: list[set[int]] = field(default_factory=lambda: [set(), set(), set()])

    def receive(self, step: Step) -> int:
        try:
            self._act(step)
        except Refused as refused:
            return refused.exit_code
        return 0

    def _act(self, step: Step) -> None:
        orders = {"propose": self._propose, "execute": self._execute, "cancel": self._cancel, "pause": self._pause}
        match step["op"]:
            # The authority of a publication are its signatures, and asking needs none.
            case "publish":
                self._publish(step)
            case "check_key":
                require(not self.paused and step["at"] <= self.valid_until, 431)
            case "gift":
                pass
            case _ if step["bounced"]:
                pass
            case op if op in orders:
                require(step["from"] == self.admin, 401)
                orders[op](step)
            case _:
                raise Refused(0xFFFF)

    def _publish(self, step: Step) -> None:
        new, at = step["statement"], step["at"]
        require(not self.paused, 402)
        require(at < new["validUntil"] <= at + self.max_validity, 412)
        require(new["epoch"] == self.epoch + 1, 413)
        require(new["treeSize"] >= self.tree_size, 411)
        require(self.issued_at <= new["issuedAt"] <= at + 60, 414)
        ours = step["network"] == step["registry"] == "ours"
        for index, key in sorted(step["signatures"]):
            require(index in self.verifiers, 404)
            require(ours and self.verifiers[index] == key, 405)
        require(len(step["signatures"]) >= self.threshold, 403)
        self.epoch, self.tree_size = new["epoch"], new["treeSize"]
        self.issued_at, self.valid_until = new["issuedAt"], new["validUntil"]
        self.signatures = sorted(index for index, _ in step["signatures"])

    def _propose(self, step: Step) -> None:
        require_change(step["change"])
        require(len(self.proposals) < MAX_PROPOSALS, 424)
        eta = step["at"] + self.timelock
        self.proposals[self.next_proposal] = (eta, eta + GRACE, step["change"])
        self.next_proposal += 1

    def _execute(self, step: Step) -> None:
        require(step["proposal"] in self.proposals, 420)
        eta, expires, change = self.proposals[step["proposal"]]
        require(step["at"] >= eta, 421)
        require(step["at"] <= expires, 422)
        del self.proposals[step["proposal"]]
        self._apply(change)

    def _cancel(self, step: Step) -> None:
        require(step["proposal"] in self.proposals, 420)
        del self.proposals[step["proposal"]]

    def _pause(self, _: Step) -> None:
        self.paused = True

    def _apply(self, change: Step) -> None:
        match change["kind"]:
            case "set_verifiers":
                self.threshold, self.verifiers = change["threshold"], dict(change["keys"])
            case "set_admin":
                self.admin = change["to"]
            case "set_timelock":
                self.timelock = change["seconds"]
            case "set_max_validity":
                self.max_validity = change["seconds"]
            case "unpause":
                self.paused = False
            case "approve":
                self.sets[change["set"]] |= set(change["digests"])
            case "withdraw":
                self.sets[change["set"]] -= set(change["digests"])
            case _:
                pass
