"""Entries, records and checkpoints to test with."""

from datetime import UTC, datetime
from hashlib import sha256

from hypothesis import strategies as st

from attestd.transparency.checkpoint import Checkpoint
from attestd.transparency.entry import NO_MODELS, Entry
from attestd.transparency.record import (
    Approve,
    Expire,
    Image,
    Model,
    Policy,
    Record,
    RecordedEntry,
    Refuse,
    Renew,
    Resume,
    Revoke,
    Suspend,
)

AT = datetime(2026, 1, 31, 12, tzinfo=UTC)


def digest(number: int) -> bytes:
    return sha256(number.to_bytes(8)).digest()


def entry(number: int = 0) -> Entry:
    """Return an entry with a result of its own."""
    return Entry(
        tee="tdx",
        image=digest(1),
        models=NO_MODELS,
        result=digest(10**9 + number),
        not_before=1_700_000_000,
        not_after=1_700_003_600,
    )


RECORDED = RecordedEntry(
    tee="snp",
    image=digest(1),
    models=tuple(sorted((digest(2), digest(3)))),
    not_before=1_700_000_000,
    not_after=1_700_003_600,
)
KEY, RESULT = digest(4), digest(5)

RECORDS: tuple[Record, ...] = (
    Approve(at=AT, key=KEY, result=RESULT, entry=RECORDED),
    Renew(at=AT, key=KEY, result=RESULT, entry=RECORDED),
    Suspend(at=AT, key=KEY),
    Resume(at=AT, key=KEY, result=RESULT, entry=RECORDED),
    Expire(at=AT, key=KEY),
    Revoke(at=AT, key=KEY),
    Refuse(at=AT, result=RESULT),
    Model(at=AT, digest=digest(2), state="approved"),
    Image(at=AT, digest=digest(1), state="withdrawn"),
    Policy(at=AT, name="strict-tdx", policy_version=7, digest=digest(6)),
)

CHECKPOINT = Checkpoint(
    epoch=7,
    tree_size=1_234_567,
    log_root=digest(7),
    map_root=digest(8),
    policy_digest=digest(9),
    issued_at=1_769_860_800,
    valid_until=1_769_861_100,
)

DIGESTS = st.binary(min_size=32, max_size=32)
SECONDS = st.integers(0, 2**32 - 1)
ENTRIES = st.builds(
    Entry,
    tee=st.sampled_from(["tdx", "sgx", "snp"]),
    image=DIGESTS,
    models=DIGESTS,
    result=DIGESTS,
    not_before=SECONDS,
    not_after=SECONDS,
)
