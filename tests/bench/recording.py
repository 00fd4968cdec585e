"""Durable inserts: the registry's group commit beside SQLModel with one session and one commit at a time."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from itertools import count
from math import nan
from pathlib import Path
from secrets import token_bytes, token_urlsafe
from time import perf_counter, process_time
from typing import Any, Final

from sqlalchemy import Engine, create_engine, event
from sqlmodel import Session

from attestd.registry import Registry, access, challenges, results
from attestd.registry.tables import (
    METADATA,
    ChallengeRow,
    KeyHistoryRow,
    KeyRow,
    LogRow,
    PlatformRow,
    ProviderRow,
    ResultRow,
)
from attestd.registry.values import NewKey, NewResult
from attestd.result import Tier
from tests.bench.measure import Sample, Scale, Subject, Subjects

_PROVIDER: Final = "bench"
_PLATFORM: Final = bytes(32)
_HOUR: Final = timedelta(hours=1)
# The sizes of a result and of its evidence for a quote of 5,000 bytes.
_DOCUMENT: Final = 5_000
_EVIDENCE: Final = 7_200
# That of a leaf of the log that names no model.
_LEAF: Final = 400
# Keys that attest again and again, on one machine.
_KEYS: Final = 16


@contextmanager
def subjects(folder: Path, scale: Scale) -> Iterator[Subjects]:
    """Open one database for each side, on the same disk."""
    with ExitStack() as stack:
        at = datetime.now(UTC)
        registry = Registry.open(f"sqlite:///{folder / 'registry.db'}", registry_id="bench", at=at)
        stack.callback(registry.close)
        registry.write(access.register_provider, _PROVIDER, "Bench", by="bench", at=at).result()
        engine = _engine(folder / "sqlmodel.db")
        stack.callback(engine.dispose)
        yield {
            "inserts": _group_of_inserts(registry, scale.records),
            "sqlmodel_inserts": _inserts_one_by_one(engine, scale.records),
            "records": _group_of_records(registry, scale.records),
            "sqlmodel_records": _records_one_by_one(engine, scale.records),
        }


# attestd


def _group_of_inserts(registry: Registry, units: int) -> Subject:
    numbers = count()

    def sample() -> Sample:
        # Nobody answers these, and a provider may have no more than so many open.
        provider, at = f"{_PROVIDER}-{next(numbers)}", datetime.now(UTC)
        registry.write(access.register_provider, provider, "Bench", by="bench", at=at).result()
        values = [token_bytes(32) for _ in range(units)]
        started = perf_counter()
        _issue(registry, values, provider)
        return Sample(nan, (perf_counter() - started) / units)

    return sample


def _issue(registry: Registry, values: list[bytes], provider: str) -> None:
    """Give them to the writer all at once, as many callers would; return when the last of them is durable."""
    at = datetime.now(UTC)
    until = at + _HOUR
    for future in [registry.write(challenges.issue, value, provider, expires_at=until, at=at) for value in values]:
        future.result()


def _group_of_records(registry: Registry, units: int) -> Subject:
    """Record results. Their challenges are there before the clock runs."""
    numbers = count()

    def sample() -> Sample:
        at = datetime.now(UTC)
        new = [_new_result(next(numbers), at) for _ in range(units)]
        _issue(registry, [one.challenge for one in new], _PROVIDER)
        started, cpu = perf_counter(), process_time()
        for future in [registry.write(results.record, one, at, live_keys_per_platform=_KEYS) for one in new]:
            future.result()
        return Sample((process_time() - cpu) / units, (perf_counter() - started) / units)

    return sample


def _new_result(number: int, at: datetime) -> NewResult:
    spki = b"key %d" % (number % _KEYS)
    return NewResult(
        id=token_urlsafe(16),
        evidence_id=token_bytes(32),
        provider=_PROVIDER,
        challenge=token_bytes(32),
        tee="tdx",
        binding="attestd/v1",
        key_id=sha256(spki).digest(),
        tier=Tier.AFFIRMING,
        policy_name="strict-tdx",
        policy_digest=bytes(32),
        document=token_bytes(_DOCUMENT),
        evidence=token_bytes(_EVIDENCE),
        key=NewKey(
            spki=spki,
            role=None,
            image=bytes(32),
            models=(),
            platform=_PLATFORM,
            product_line="90c06f000000",
            valid_from=at,
            valid_until=at + _HOUR,
        ),
    )


# SQLModel, with the same tables


def _engine(file: Path) -> Engine:
    engine = create_engine(f"sqlite:///{file}")

    @event.listens_for(engine, "connect")
    def _durable(connection: Any, _record: object) -> None:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")

    METADATA.create_all(engine)
    with Session(engine) as session:
        session.add(ProviderRow(id=_PROVIDER, name="Bench", registered_by="bench", registered_at=0))
        session.flush()
        session.add(PlatformRow(id=_PLATFORM, provider=_PROVIDER, claimed_at=0))
        session.commit()
    return engine


def _inserts_one_by_one(engine: Engine, units: int) -> Subject:
    def sample() -> Sample:
        started = perf_counter()
        for _ in range(units):
            with Session(engine) as session:
                session.add(_challenge(token_bytes(32)))
                session.commit()
        return Sample(nan, (perf_counter() - started) / units)

    return sample


def _challenge(value: bytes) -> ChallengeRow:
    return ChallengeRow(value=value, provider=_PROVIDER, issued_at=0, expires_at=1, consumed_at=None)


def _records_one_by_one(engine: Engine, units: int) -> Subject:
    """Write the rows of a recording, without the questions that `results.record` asks before it writes."""
    numbers = count()

    def sample() -> Sample:
        values = [token_bytes(32) for _ in range(units)]
        with Session(engine) as session:
            session.add_all([_challenge(value) for value in values])
            session.commit()
        started = perf_counter()
        for value in values:
            with Session(engine) as session:
                _record(session, value, next(numbers))
                session.commit()
        return Sample(nan, (perf_counter() - started) / units)

    return sample


def _record(session: Session, challenge: bytes, number: int) -> None:
    consumed = session.get_one(ChallengeRow, challenge)
    consumed.consumed_at = number
    result = ResultRow(
        id=token_urlsafe(16),
        evidence_id=token_bytes(32),
        provider=_PROVIDER,
        tee="tdx",
        binding="attestd/v1",
        key_id=sha256(b"%d" % (number % _KEYS)).digest(),
        tier="affirming",
        policy_name="strict-tdx",
        policy_digest=bytes(32),
        recorded_at=number,
        digest=bytes(32),
        seal=bytes(32),
        document=token_bytes(_DOCUMENT),
        evidence=token_bytes(_EVIDENCE),
    )
    session.add(result)
    session.flush()  # the tables declare foreign keys and no relationships, so the order is not SQLModel's to find
    key = session.get(KeyRow, result.key_id)
    columns = _key_columns(result, 1 if key is None else key.version + 1)
    listed = {**columns, "listed_until": columns["valid_until"]}
    if key is None:
        session.add(KeyRow(**listed))
        session.flush()
    else:
        key.sqlmodel_update(listed)
    session.add(KeyHistoryRow(**columns))
    session.add(
        LogRow(
            index=number,
            subject=result.key_id,
            version=columns["version"],
            leaf=bytes(32),
            record=token_bytes(_LEAF),
        )
    )


def _key_columns(result: ResultRow, version: int) -> dict[str, Any]:
    return {
        "id": result.key_id,
        "version": version,
        "spki": b"key",
        "provider": _PROVIDER,
        "state": "active",
        "tee": result.tee,
        "binding": result.binding,
        "role": None,
        "image": bytes(32),
        "models": b"",
        "platform": _PLATFORM,
        "product_line": "90c06f000000",
        "policy_name": result.policy_name,
        "policy_digest": result.policy_digest,
        "result_id": result.id,
        "result_digest": result.digest,
        "valid_from": result.recorded_at,
        "valid_until": result.recorded_at + 1,
        "registered_at": result.recorded_at,
        "changed_at": result.recorded_at,
        "seal": bytes(32),
    }
