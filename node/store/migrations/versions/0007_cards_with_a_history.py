"""the node's own cards, which of them each peer has, and who succeeded whom.

Cards of before cannot be read any more, so pinned ones go.
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring the schema forward."""
    op.create_table(
        "own_card",
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("ledger_seq", sa.Integer(), nullable=False),
        sa.Column("card", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("number"),
    )
    op.drop_table("peer")
    op.create_table(
        "peer",
        *_peer(),
        sa.Column("holds", sa.Integer(), nullable=False),
        sa.Column("successor", sa.String()),
        sa.PrimaryKeyConstraint("name"),
    )


def downgrade() -> None:
    """Take the schema back."""
    op.drop_table("peer")
    op.create_table("peer", *_peer(), sa.PrimaryKeyConstraint("name"), sa.UniqueConstraint("country"))
    op.drop_table("own_card")


def _peer() -> list[sa.Column[str]]:
    return [sa.Column(name, sa.String(), nullable=False) for name in ("name", "country", "card", "pinned_at")]
