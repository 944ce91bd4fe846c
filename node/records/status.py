"""The life cycle of an operator's status, as one literal table.

Guarantees that a status changes only along a named act of `TRANSITIONS`, and that a reader never
takes an operator for authorised after its validity ran out. Refuses unknown statuses (`Malformed`)
and moves the table does not hold (`Conflict`). The diagram in the documentation is `diagram()`.
"""

from typing import Final

from node.errors import Conflict, Malformed, problem

STATUSES: Final = ("ACTIVE", "SUSPENDED", "REVOKED", "WITHDRAWN", "EXPIRED", "ANNULLED", "SUPERSEDED")

AMEND: Final = "amend"

TRANSITIONS: Final[dict[tuple[str | None, str], str]] = {
    (None, "ACTIVE"): "grant",
    (None, "SUSPENDED"): "enter",
    (None, "REVOKED"): "enter",
    (None, "WITHDRAWN"): "enter",
    (None, "EXPIRED"): "enter",
    (None, "ANNULLED"): "enter",
    (None, "SUPERSEDED"): "enter",
    ("ACTIVE", "SUSPENDED"): "suspend",
    ("ACTIVE", "REVOKED"): "revoke",
    ("ACTIVE", "WITHDRAWN"): "withdraw",
    ("ACTIVE", "EXPIRED"): "expire",
    ("ACTIVE", "ANNULLED"): "annul",
    ("ACTIVE", "SUPERSEDED"): "supersede",
    ("SUSPENDED", "ACTIVE"): "reinstate",
    ("SUSPENDED", "REVOKED"): "revoke",
    ("SUSPENDED", "WITHDRAWN"): "withdraw",
    ("SUSPENDED", "EXPIRED"): "expire",
    ("SUSPENDED", "ANNULLED"): "annul",
    ("SUSPENDED", "SUPERSEDED"): "supersede",
    ("REVOKED", "ACTIVE"): "grant",
    ("WITHDRAWN", "ACTIVE"): "grant",
    ("EXPIRED", "ACTIVE"): "grant",
}


def transition(old: str | None, new: str) -> str:
    """Name the act that takes an operator from `old` (None: not yet recorded) to `new`.

    A status may always stay what it is ("amend": other fields of the record change).
    Raises `Malformed` for a word that is no status, `Conflict` for a move the life cycle forbids.
    """
    for status in (old, new):
        if status is not None:
            _known(status)
    if old == new:
        return AMEND
    act = TRANSITIONS.get((old, new))
    if act is None:
        raise _forbidden(old, new)
    return act


def as_read(status: str, valid_to: str | None, today: str) -> str:
    """The status a reader must act on: EXPIRED once `valid_to` (its last valid day) lies before `today`.

    Dates are `YYYY-MM-DD`. A silent issuer can therefore not keep an operator alive. Raises `Malformed`.
    """
    lapsed = valid_to is not None and valid_to < today
    return "EXPIRED" if lapsed and (_known(status), "EXPIRED") in TRANSITIONS else _known(status)


def diagram() -> str:
    """The life cycle as a Mermaid state diagram, one line for each row of `TRANSITIONS`."""
    lines = [f"    {old or '[*]'} --> {new} : {act}" for (old, new), act in TRANSITIONS.items()]
    return "\n".join(["stateDiagram-v2", *lines]) + "\n"


def _known(status: str) -> str:
    if status not in STATUSES:
        broken = problem("status", status, f"one of {', '.join(STATUSES)}")
        raise Malformed("unknown status", where="status", do="use a word of the list", problems=[broken])
    return status


def _forbidden(old: str | None, new: str) -> Conflict:
    possible = ", ".join(to for origin, to in TRANSITIONS if origin == old)
    return Conflict(
        f"an operator that is {old} cannot become {new}",
        where="status",
        why=f"from {old} the life cycle allows: {possible}" if possible else f"{old} is final",
        do="correct the status" if possible else "record a new operator and name this one its predecessor",
    )
