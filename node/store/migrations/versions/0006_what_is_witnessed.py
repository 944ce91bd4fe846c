"""what is seen of peers' logs, what witnesses cosigned of own ones, and when copies were whole."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring the schema forward."""
    op.create_table(
        "witnessed",
        sa.Column("origin", sa.String(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("root", sa.LargeBinary(), nullable=False),
        sa.Column("note", sa.String(), nullable=False),
        sa.Column("mark", sa.BigInteger(), nullable=False),
        sa.Column("time", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("origin"),
    )
    op.create_table(
        "cosigned",
        sa.Column("origin", sa.String(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("note", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("origin"),
    )
    op.create_table(
        "heartbeat",
        sa.Column("log", sa.Integer(), nullable=False),
        sa.Column("time", sa.String(), nullable=False),
        sa.Column("note", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("log", "time"),
    )


def downgrade() -> None:
    """Take the schema back."""
    op.drop_table("heartbeat")
    op.drop_table("cosigned")
    op.drop_table("witnessed")
