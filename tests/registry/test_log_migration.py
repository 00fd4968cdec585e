"""A database of the first release gets its log: what is in force is entered as it stands."""

from datetime import timedelta
from hashlib import sha256
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import inspect, text

from attestd.registry import catalogue, decisions, fsck, keys, log, migration, revocations, sequencing
from attestd.registry.registry import _database
from attestd.registry.values import RevocationKind
from attestd.transparency import record
from attestd.transparency.record import load_record
from tests.registry.alter import outside
from tests.registry.conftest import Opener
from tests.registry.samples import LATER, NOW, digest, known, prepare, register
from tests.registry.test_migration import fresh_url

__all__ = ["fresh_url"]

SECOND = timedelta(seconds=1)


def first_release(url: str) -> None:
    """Make the tables of the first release."""
    _database(url, 10.0).verify()
    config = Config()
    config.set_main_option("script_location", str(migration._SCRIPTS))
    config.set_main_option("path_separator", "os")
    with outside(url).begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")


def copy_rows(source: str, target: str) -> None:
    """Copy all that the first release had a place for."""
    with outside(source).connect() as old, outside(target).begin() as new:
        if new.dialect.name == "postgresql":
            new.execute(text("SET session_replication_role = replica"))  # no foreign keys
        for table in set(inspect(new).get_table_names()) - {"alembic_version"}:
            names = [column["name"] for column in inspect(new).get_columns(table)]
            rows = old.execute(text(f"SELECT {', '.join(names)} FROM {table}")).mappings().all()
            places = ", ".join(f":{name}" for name in names)
            for row in rows:
                new.execute(text(f"INSERT INTO {table} ({', '.join(names)}) VALUES ({places})"), dict(row))


def test_what_was_decided_before_there_was_a_log_is_in_it(fresh_url: str, tmp_path: Path, opener: Opener) -> None:
    lived = opener(f"sqlite:///{tmp_path}/lived.db")
    prepare(lived)
    for number in range(5):
        register(lived, number, NOW + number * SECOND)
    lived.write(keys.suspend, digest("key", 0), reason="", by="admin", at=NOW).result()
    for kind, value in ((RevocationKind.KEY, digest("key", 1)), (RevocationKind.MODEL, digest("m"))):
        lived.write(revocations.revoke, kind, value.hex(), reason="", by="admin", at=NOW).result()
    for model in (digest("m"), digest("n")):
        lived.write(catalogue.approve_model, model, name="m", by="admin", at=NOW).result()
    lived.write(catalogue.approve_image, digest("i"), name="i", roles=("proxy",), by="admin", at=NOW).result()
    lived.write(catalogue.approve_policy, "p", 1, b"p", by="admin", at=NOW).result()
    lived.close()
    first_release(fresh_url)
    copy_rows(f"sqlite:///{tmp_path}/lived.db", fresh_url)
    with outside(fresh_url).begin() as connection:
        altered = text("UPDATE keys SET valid_until = valid_until + 1 WHERE id = :id")
        connection.execute(altered, {"id": digest("key", 2)})

    registry = opener(fresh_url)
    said = [load_record(raw) for raw in registry.read(log.records, 0, 100)]
    trusted = [known(registry.read(keys.find, digest("key", number), NOW)) for number in (3, 4)]
    assert said[-2:] == [decided for key in trusted for decided in decisions.on_key(key, None)]
    assert said[:-2] == [
        record.Policy(at=NOW, name="p", policy_version=1, digest=sha256(b"p").digest()),
        record.Image(at=NOW, digest=digest("i"), state="approved"),
        *sorted(
            [
                record.Model(at=NOW, digest=digest("m"), state="withdrawn"),
                record.Model(at=NOW, digest=digest("n"), state="approved"),
            ],
            key=lambda model: model.digest,
        ),
    ]
    registry.write(sequencing.advance, 1).result()
    assert registry.read(lambda transaction: list(fsck.examine(transaction))) == []
    assert registry.write(keys.expire, LATER + SECOND, most=9).result() == 2
