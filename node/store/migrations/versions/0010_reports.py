"""reports on single operators between partners, and own decisions not to recognise one."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring the schema forward."""
    op.create_table(
        "report",
        sa.Column("report", sa.Integer(), nullable=False),
        *(sa.Column(name, sa.Integer(), nullable=False) for name in ("log", "seq", "about")),
        *(
            sa.Column(name, sa.String(), nullable=False)
            for name in ("record_id", "tin", "kind", "code", "text", "time", "by")
        ),
        sa.Column("answer_seq", sa.Integer()),
        *(sa.Column(name, sa.String()) for name in ("answered_at", "answer", "answered_by")),
        sa.PrimaryKeyConstraint("report"),
        sa.UniqueConstraint("log", "seq"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_report_about", "report", ["about", "record_id"])
    op.create_table(
        "local_decision",
        *(sa.Column(name, sa.Integer(), nullable=False) for name in ("ledger_seq", "log")),
        *(
            sa.Column(name, sa.String(), nullable=False)
            for name in ("record_id", "tin", "decision", "code", "reason", "by", "time")
        ),
        sa.PrimaryKeyConstraint("ledger_seq"),
    )
    op.create_index("ix_local_decision_about", "local_decision", ["log", "record_id"])


def downgrade() -> None:
    """Take the schema back."""
    op.drop_table("local_decision")
    op.drop_table("report")
