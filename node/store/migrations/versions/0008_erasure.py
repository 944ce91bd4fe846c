"""erasures: what was erased, what partners were told and answered, what they asked, what is held."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring the schema forward."""
    op.create_index("ix_channel_body_about", "channel_body", ["ledger_seq"])
    op.create_table(
        "erasure",
        sa.Column("ledger_seq", sa.Integer(), nullable=False),
        sa.Column("time", sa.String(), nullable=False),
        sa.Column("scrubbed", sa.String()),
        sa.PrimaryKeyConstraint("ledger_seq"),
    )
    op.create_table(
        "erased",
        *(sa.Column(each, sa.Integer(), nullable=False) for each in ("log", "seq", "erasure")),
        sa.PrimaryKeyConstraint("log", "seq", "erasure"),
    )
    op.create_table(
        "doomed_key", sa.Column("owner", sa.String(), nullable=False), sa.PrimaryKeyConstraint("owner")
    )
    _of_entries(
        "erasure_told",
        sa.Column("erasure", sa.Integer(), nullable=False),
        sa.Column("answer", sa.String()),
        sa.Column("answered_at", sa.String()),
        sa.Column("ledger_seq", sa.Integer()),
        sa.Column("reason", sa.String(), nullable=False),
    )
    op.create_index("ix_erasure_told_erasure", "erasure_told", ["erasure"])
    _of_entries("erasure_asked", sa.Column("erasure", sa.Integer()), sa.Column("kept", sa.String()))
    op.create_table(
        "hold",
        sa.Column("log", sa.Integer(), nullable=False),
        sa.Column("record_id", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("by", sa.String(), nullable=False),
        sa.Column("since", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("log", "record_id"),
    )


def downgrade() -> None:
    """Take the schema back."""
    for name in ("hold", "erasure_asked", "erasure_told", "doomed_key", "erased", "erasure"):
        op.drop_table(name)
    op.drop_index("ix_channel_body_about", "channel_body")


def _of_entries(name: str, *columns: sa.Column[object]) -> None:
    """A table about single entries of logs."""
    key = [sa.Column(each, sa.Integer(), nullable=False) for each in ("log", "seq")]
    op.create_table(name, *key, *columns, sa.PrimaryKeyConstraint("log", "seq"))
