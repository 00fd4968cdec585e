"""The migrations, in the order of their numbers. Alembic reads them as files."""
