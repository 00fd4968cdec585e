"""Which results rest on which GPUs and NVSwitches; those that were recorded before are entered as they stand."""

import json
from hashlib import sha256

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table, and enter what keys rest on."""
    table = op.create_table(
        "result_devices",
        sa.Column("device", sa.LargeBinary(), nullable=False),
        sa.Column("result_id", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["result_id"], ["results.id"], name=op.f("fk_result_devices_result_id")),
        sa.PrimaryKeyConstraint("device", "result_id", name=op.f("pk_result_devices")),
        sqlite_with_rowid=False,
    )
    kept = sa.text("SELECT id, digest, document FROM results WHERE id IN (SELECT result_id FROM keys)")
    for result_id, digest, document in op.get_bind().execute(kept):
        # The key of a result that was altered is never served.
        if sha256(document).digest() == bytes(digest):
            gpus = json.loads(document).get("gpus", ())
            rows = [{"device": bytes.fromhex(gpu["device_id"]), "result_id": result_id} for gpu in gpus]
            op.bulk_insert(table, rows)
