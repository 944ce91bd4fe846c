"""nonces of peers."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring the schema forward."""
    op.create_table(
        "peer_nonce",
        sa.Column("sender", sa.String(), nullable=False),
        sa.Column("nonce", sa.String(), nullable=False),
        sa.Column("until_s", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("sender", "nonce"),
    )
    with op.batch_alter_table("peer_nonce", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_peer_nonce_until_s"), ["until_s"], unique=False)


def downgrade() -> None:
    """Take the schema back."""
    op.drop_table("peer_nonce")
