"""The registry: what was decided, durably, and what of it is true now.

    registry.py       open, read, write: what the service holds
    access.py         providers and their API keys          challenges.py    issued, answered once
    results.py        recording                              keys.py          state, lists, history
    revocations.py    for good                               catalogue.py     models, images, policies
    audit.py          who did what                           high_water.py    the newest collateral that was seen
    decisions.py      what the log says of all that          log.py           leaves, tiles, proofs
    keymap.py         the map of trusted keys                sequencing.py    from the log into tiles and map
    decided.py        what the log rests on                  fsck.py          all of it held against the records
    cosigned.py       a verifier's copy of another registry

Those are functions over a `Transaction`, given to `Registry.read` and `Registry.write`. Below them: `tables` and
`values`, `writer` (group commit), `database` with `sqlite` and `postgresql`, `migration`.
"""

from attestd.registry import (
    access,
    audit,
    catalogue,
    challenges,
    high_water,
    keymap,
    keys,
    log,
    results,
    revocations,
    sequencing,
)
from attestd.registry.database import Transaction
from attestd.registry.registry import Registry

__all__ = [
    "Registry",
    "Transaction",
    "access",
    "audit",
    "catalogue",
    "challenges",
    "high_water",
    "keymap",
    "keys",
    "log",
    "results",
    "revocations",
    "sequencing",
]
