"""The registry: what was decided, durably, and what of it is true now.

    registry.py       open, read, write: what the service holds
    access.py         providers and their API keys          challenges.py    issued, answered once
    results.py        recording                              ground.py        what that rests on, in one statement
    keys.py           state, lists, history                  revocations.py   for good
    catalogue.py      models, images, policies               audit.py         who did what
    high_water.py     the newest collateral that was seen
    decisions.py      what the log says of all that          log.py           leaves, tiles, proofs
    keymap.py         the map of trusted keys                sequencing.py    from the log into tiles and map
    decided.py        what the log rests on                  epochs.py        what may be on chain, and what is
    publication.py    who sends, and what was sent           published.py     what the chain has of a key, with proof
    fsck.py           all of it held against the records     recovery.py      from the published log, after a loss
    cosigned.py       a verifier's copy of another registry

Those are functions over a `Transaction`, given to `Registry.read` and `Registry.write`. Below them: `tables` and
`values`, `writer` (group commit), `database` with `sqlite` and `postgresql`, `migration`; `instants`, `integrity` and
`pages` are how times, seals and lists are written.
"""

from attestd.registry.database import Transaction
from attestd.registry.registry import Registry

__all__ = ["Registry", "Transaction"]
