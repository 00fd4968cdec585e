import multiprocessing
import os
import signal
from importlib import import_module
from pathlib import Path
from typing import Any

import alembic.op
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import inspect, text

from attestd.errors import ConfigurationRefused, Unavailable
from attestd.registry import Registry, access, revocations
from attestd.registry.database import Database
from attestd.registry.registry import _database
from attestd.registry.tables import METADATA
from attestd.registry.values import RevocationKind
from tests.registry.alter import outside
from tests.registry.conftest import Opener
from tests.registry.samples import NOW, REGISTRY_ID, digest, prepare, register

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["tests.registry.test_migration", "tests.registry.recorder"])


@pytest.fixture(params=["sqlite", "postgresql"])
def fresh_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the URL of a database without tables."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/attestd.db"
    return str(request.getfixturevalue("postgres_url"))


def tables(url: str) -> set[str]:
    with outside(url).connect() as connection:
        return set(inspect(connection).get_table_names())


def test_the_migrations_make_the_tables_of_the_code(fresh_url: str, opener: Opener) -> None:
    opener(fresh_url).close()
    assert tables(fresh_url) == {*METADATA.tables, "alembic_version"}
    with outside(fresh_url).connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, METADATA) == []


def test_migrating_again_changes_nothing(fresh_url: str, opener: Opener) -> None:
    prepare(opener(fresh_url))
    assert opener(fresh_url).read(access.find_provider, "alice") is not None


def open_and_register(url: str, name: str) -> None:
    registry = Registry.open(url, registry_id=REGISTRY_ID, at=NOW)
    prepare(registry, name)
    registry.close()


def test_processes_that_start_together_migrate_once(fresh_url: str, opener: Opener) -> None:
    names = [f"provider-{number}" for number in range(4)]
    processes = [CONTEXT.Process(target=open_and_register, args=(fresh_url, name)) for name in names]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    providers = opener(fresh_url).read(access.list_providers).items
    assert [provider.id for provider in providers] == names


def die_while_migrating(url: str, step: int) -> None:
    """Open a database, and die before the migration makes its n-th table."""
    create, left = alembic.op.create_table, iter(range(step))

    def create_or_die(*arguments: Any, **options: Any) -> object:
        if next(left, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)
        return create(*arguments, **options)

    setattr(alembic.op, "create_table", create_or_die)  # noqa: B010  (a function of another type)
    Registry.open(url, registry_id=REGISTRY_ID, at=NOW)


@pytest.mark.parametrize("step", [0, 1, 7, len(METADATA.tables) - 1])
def test_an_interrupted_migration_is_done_again(fresh_url: str, opener: Opener, step: int) -> None:
    """Fault F32."""
    process = CONTEXT.Process(target=die_while_migrating, args=(fresh_url, step))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    assert tables(fresh_url) <= {"alembic_version"}
    prepare(opener(fresh_url))
    assert tables(fresh_url) == {*METADATA.tables, "alembic_version"}


def refused(url: str) -> str:
    with pytest.raises(ConfigurationRefused) as caught:
        Registry.open(url, registry_id=REGISTRY_ID, at=NOW)
    return caught.value.found


def test_tables_of_a_later_version_are_refused(fresh_url: str, opener: Opener) -> None:
    opener(fresh_url).close()
    with outside(fresh_url).begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    assert "later version" in refused(fresh_url)


def test_tables_of_another_program_are_refused(fresh_url: str, opener: Opener) -> None:
    opener(fresh_url).close()
    with outside(fresh_url).begin() as connection:
        connection.execute(text("CREATE TABLE keep (id INTEGER)"))
        connection.execute(text("DROP TABLE alembic_version"))
    before = tables(fresh_url)
    assert "another program" in refused(fresh_url)
    assert tables(fresh_url) == before


def test_a_locked_database_is_waited_for_a_bounded_time(tmp_path: Path) -> None:
    """Fault F07."""
    url = f"sqlite:///{tmp_path}/attestd.db"
    database: Database = _database(url, 0.1)
    database.verify()
    with outside(url).connect() as connection:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        with pytest.raises(Unavailable):
            Registry.open(url, registry_id=REGISTRY_ID, at=NOW, wait=0.1)
    Registry.open(url, registry_id=REGISTRY_ID, at=NOW).close()


def test_keys_of_before_rest_on_the_gpus_of_their_results(fresh_url: str, opener: Opener) -> None:
    first, second = digest("gpu", 1), digest("gpu", 2)
    registry = opener(fresh_url)
    prepare(registry)
    for number, device in ((1, first), (2, second)):
        register(registry, number, document=b'{"gpus":[{"device_id":"%b"}]}' % device.hex().encode())
    register(registry, 3)  # of a machine without
    registry.close()
    migration = import_module("attestd.registry.migrations.versions.0004_result_devices")
    with outside(fresh_url).begin() as connection:
        connection.execute(text("DROP TABLE result_devices"))
        # What was altered is no JSON, and keeps nobody from starting.
        connection.execute(text("UPDATE results SET document = :raw WHERE id = 'result-000002'"), {"raw": b"{"})
        with Operations.context(MigrationContext.configure(connection)):
            migration.upgrade()
        found = connection.execute(text("SELECT device, result_id FROM result_devices")).all()
    assert [(bytes(device), result_id) for device, result_id in found] == [(first, "result-000001")]
    fallen = opener(fresh_url).write(
        revocations.revoke, RevocationKind.PLATFORM, first.hex(), reason="a test", by="admin", at=NOW
    )
    assert fallen.result().keys == 1
