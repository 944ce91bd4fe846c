"""the access log: its key, the bodies beside its entries, and which entries are about a record."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring the schema forward."""
    op.create_table(
        "access_state",
        sa.Column("log", sa.Integer(), nullable=False),
        sa.Column("wrapped", sa.LargeBinary(), nullable=False),
        sa.Column("expired", sa.Integer()),
        sa.Column("committed_size", sa.Integer(), nullable=False),
        sa.Column("committed_at", sa.String(), nullable=False),
        sa.Column("block", sa.Integer(), nullable=False),
        sa.Column("block_rows", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("log"),
    )
    op.create_table(
        "access_body",
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("block", sa.Integer(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("seq"),
    )
    op.create_table(
        "access_told",
        sa.Column("block", sa.Integer(), nullable=False),
        sa.Column("log", sa.Integer(), nullable=False),
        sa.Column("record_id", sa.String(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("block", "log", "record_id", "seq"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "access_segment", sa.Column("name", sa.String(), nullable=False), sa.PrimaryKeyConstraint("name")
    )
    op.create_table(
        "access_forgotten",
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("until_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("digest"),
    )


def downgrade() -> None:
    """Take the schema back."""
    for name in ("access_forgotten", "access_segment", "access_told", "access_body", "access_state"):
        op.drop_table(name)
