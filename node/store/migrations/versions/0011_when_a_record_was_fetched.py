"""when a record that is told only when it is asked for was told last."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring the schema forward."""
    op.add_column("mirror", sa.Column("fetched_at", sa.String(), nullable=True))


def downgrade() -> None:
    """Take the schema back."""
    op.drop_column("mirror", "fetched_at")
