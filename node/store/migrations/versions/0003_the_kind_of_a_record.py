"""the kind of a record; those there were are operators, which say none."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring the schema forward."""
    op.add_column("record", sa.Column("kind", sa.String(), nullable=True))


def downgrade() -> None:
    """Take the schema back."""
    with op.batch_alter_table("record", schema=None) as batch_op:
        batch_op.drop_column("kind")
