"""Changes one bit of one stored value behind the registry's back, as a failing disk or a careless hand would."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from sqlalchemy import Connection, Engine, create_engine, text
from sqlalchemy.pool import NullPool


def outside(url: str) -> Engine:
    """Return a way to the database that goes around the registry."""
    return create_engine(
        url if url.startswith("sqlite") else "postgresql+psycopg://",
        poolclass=NullPool,
        **({} if url.startswith("sqlite") else {"creator": lambda: psycopg.connect(url)}),
    )


@contextmanager
def alter(url: str, table: str, column: str, where: str = "1 = 1") -> Iterator[None]:
    """Flip one bit of a value, and put it right again at the end."""
    with outside(url).begin() as connection:
        before = connection.execute(text(f"SELECT {column} FROM {table} WHERE {where}")).scalar_one()
        after = _flipped(before)
        _set(connection, f"UPDATE {table} SET {column} = :value WHERE {where}", value=after)
    yield
    with outside(url).begin() as connection:
        _set(connection, f"UPDATE {table} SET {column} = :value WHERE {column} = :after", value=before, after=after)


def _set(connection: Connection, statement: str, **values: object) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(text("SET session_replication_role = replica"))  # no foreign keys
    assert connection.execute(text(statement), values).rowcount == 1


def _flipped(value: object) -> object:
    match value:
        case bytes():
            return bytes([value[0] ^ 1]) + value[1:]
        case str():
            return chr(ord(value[0]) ^ 1) + value[1:]
        case int():
            return value ^ 1 << 20
        case _:
            return "x"
