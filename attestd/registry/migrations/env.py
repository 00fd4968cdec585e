"""What Alembic runs: the migrations, on the connection and in the transaction that `migration` made."""

from alembic import context

from attestd.registry.tables import METADATA

context.configure(connection=context.config.attributes["connection"], target_metadata=METADATA)
context.run_migrations()
