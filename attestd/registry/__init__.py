"""The registry: what was decided, durably, and what of it is true now.

    registry.py       open, read, write: what the service holds
    access.py         providers and their API keys          challenges.py    issued, answered once
    results.py        recording                              keys.py          state, lists, history
    revocations.py    for good                               catalogue.py     models, images, policies
    audit.py          who did what                           high_water.py    the newest collateral that was seen

Those are functions over a `Transaction`, given to `Registry.read` and `Registry.write`. Below them: `tables` and
`values`, `writer` (group commit), `database` with `sqlite` and `postgresql`, `migration`.
"""

from attestd.registry import access, audit, catalogue, challenges, high_water, keys, results, revocations
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
    "keys",
    "results",
    "revocations",
]
