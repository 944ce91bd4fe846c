"""how far a channel's records have been decided again; no pass is under way where nothing says so."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring the schema forward."""
    op.add_column("channel", sa.Column("place", sa.String(), nullable=True))


def downgrade() -> None:
    """Take the schema back."""
    with op.batch_alter_table("channel", schema=None) as batch_op:
        batch_op.drop_column("place")
