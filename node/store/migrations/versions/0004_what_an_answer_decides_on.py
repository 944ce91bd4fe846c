"""what an answer decides on, beside the fields of a mirrored record."""

import json

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

STEP = 1_000
NAMES = ("tin", "status", "status_since", "valid_to", "programme", "scope")
MIRROR = sa.table(
    "mirror",
    *(sa.column(name) for name in ("log", "record_id", "fields")),
    *(sa.column(name, sa.String()) for name in NAMES),
)
KEY = (MIRROR.c.log, MIRROR.c.record_id)


def upgrade() -> None:
    """Bring the schema forward."""
    for name in NAMES:
        op.add_column("mirror", sa.Column(name, sa.String(), nullable=True))
    connection, place = op.get_bind(), (-1, "")
    rows = select_behind(connection, place)
    while rows:
        connection.execute(
            sa.update(MIRROR)
            .where(MIRROR.c.log == sa.bindparam("of"), MIRROR.c.record_id == sa.bindparam("about"))
            .values({name: sa.bindparam(f"new_{name}") for name in NAMES}),
            [{"of": log, "about": record_id, **decided_on(fields)} for log, record_id, fields in rows],
        )
        rows = select_behind(connection, (rows[-1][0], rows[-1][1]))


def select_behind(connection: sa.Connection, place: tuple[int, str]) -> list[tuple[int, str, bytes]]:
    """The next rows in the order of their key."""
    found = sa.select(*KEY, MIRROR.c.fields).where(sa.tuple_(*KEY) > place, MIRROR.c.fields.is_not(None))
    return [(row[0], row[1], row[2]) for row in connection.execute(found.order_by(*KEY).limit(STEP))]


def decided_on(fields: bytes) -> dict[str, str | None]:
    """The new columns of one row."""
    known = json.loads(fields)
    told = {name: known.get(name) for name in NAMES} | {"scope": " ".join(known.get("scope", []))}
    return {f"new_{name}": value for name, value in told.items()}


def downgrade() -> None:
    """Take the schema back."""
    with op.batch_alter_table("mirror", schema=None) as batch_op:
        for name in NAMES:
            batch_op.drop_column(name)
