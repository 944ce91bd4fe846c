"""what was read of partners' operators, as it was told to their issuers."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring the schema forward."""
    op.create_table(
        "reads_told",
        sa.Column("told", sa.Integer(), nullable=False),
        *(sa.Column(name, sa.Integer(), nullable=False) for name in ("log", "seq", "about")),
        *(sa.Column(name, sa.String(), nullable=False) for name in ("since", "until")),
        *(sa.Column(name, sa.Integer(), nullable=False) for name in ("ledger_seq", "part", "parts")),
        sa.Column("time", sa.String(), nullable=False),
        sa.Column("size", sa.Integer()),
        sa.PrimaryKeyConstraint("told"),
        sa.UniqueConstraint("log", "seq"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "reads_counted",
        *(sa.Column(name, sa.Integer(), nullable=False) for name in ("told", "entry")),
        *(sa.Column(name, sa.String(), nullable=False) for name in ("kind", "purpose")),
        sa.Column("about", sa.Integer(), nullable=False),
        *(sa.Column(name, sa.String(), nullable=False) for name in ("record_id", "tin")),
        sa.Column("times", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("told", "entry", "kind", "purpose"),
    )
    op.create_index("ix_reads_counted_about", "reads_counted", ["about", "record_id"])


def downgrade() -> None:
    """Take the schema back."""
    op.drop_table("reads_counted")
    op.drop_table("reads_told")
