"""Brings a database to the tables of this version, once, however many processes start at the same time.

The migrations are Alembic's, under `migrations/`. All of them run in one transaction that holds the lock of writers;
both back ends undo definitions as they undo rows, so one that is interrupted leaves nothing behind.
"""

from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect
from sqlalchemy.exc import DBAPIError

from attestd.errors import ConfigurationRefused, Reason
from attestd.registry.database import Database, Trouble
from attestd.registry.tables import METADATA

_SCRIPTS: Final = Path(__file__).parent / "migrations"


def migrate(database: Database) -> None:
    """Create the tables, or bring those of an earlier version up to date.

    Raises `ConfigurationRefused` where a later version made them, or another program; `Trouble` where the database
    does not do it.
    """
    engine = database.engine()
    try:
        with engine.connect() as connection, connection.begin():
            connection.exec_driver_sql(database.migration_lock)
            _upgrade(connection)
    except DBAPIError as error:
        raise Trouble(type(error.orig).__name__) from error
    finally:
        engine.dispose()


def _upgrade(connection: Connection) -> None:
    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    scripts = ScriptDirectory.from_config(config)
    current = MigrationContext.configure(connection).get_current_heads()
    if list(current) == scripts.get_heads():
        return
    known = {script.revision for script in scripts.walk_revisions()}
    if not known.issuperset(current):
        raise _refused("tables of a later version", "this version of attestd or an earlier one; install the later one")
    ours = METADATA.tables.keys()
    if not current and not ours.isdisjoint(inspect(connection).get_table_names()):
        raise _refused("tables of another program", "an empty database, or attestd's own")
    command.upgrade(config, "head")


def _refused(found: str, wanted: str) -> ConfigurationRefused:
    return ConfigurationRefused(Reason.SETTINGS, found=f"database_url: {found}", wanted=wanted)
