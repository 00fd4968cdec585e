"""Results by their digest, which is all that the log says of them: verifiers ask for the evidence behind a record."""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the index."""
    op.create_index(op.f("ix_results_digest"), "results", ["digest"], unique=False)
