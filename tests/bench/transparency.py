"""The log beside pymerkle: the records of an epoch are appended, and the root is taken."""

from typing import Any, Final

from attestd.transparency.merkle import Frontier, leaf_hash
from tests.bench.measure import Scale, Subjects, timed

RECORDS: Final = 1000
# As long as the record of an approval.
_RECORDS: Final = tuple(b"%0480d" % index for index in range(RECORDS))


def _append() -> bytes:
    log = Frontier()
    log.extend(map(leaf_hash, _RECORDS))
    return log.root()


def subjects(scale: Scale) -> Subjects:
    """Return what is measured in this process."""
    return {"log": timed(_append, scale)}


def task() -> dict[str, Any]:
    """Return the same for a peer, with the root that it must come to."""
    return {"records": [record.decode() for record in _RECORDS], "verdict": _append().hex()}
