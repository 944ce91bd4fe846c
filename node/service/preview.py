"""`aeo mra diff`: what an arrangement would let out of this node otherwise than another one, or than none.

Only the node holds all own records, so it decides each under both, as of today and as if in operation. It
changes nothing. A page at a time: records are read in the order of their ids, up to a number of records, of
listed differences and of contract steps, so that a million take no more memory or patience of others than a
thousand; whoever asks adds the pages up.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Final

from sqlalchemy import Connection

from node.agreements.document import Agreement
from node.agreements.preview import Change, Count, Outlook, change, clauses, outlook
from node.exchange import versions
from node.exchange.versions import Fields
from node.service.parts import Parts
from node.store import records

PAGE: Final = 2_000
LISTED_LIMIT: Final = 4_000
STEPS_LIMIT: Final = 20_000_000
"""Of contract steps for one page: with the standard contract, 2,000 records for two partners."""
ARRIVING: Final = (
    "what would newly arrive is not known here: the partner holds its records, and can ask its node"
)


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two arrangements, the older of which may be none, as they would let out of this node."""

    parts: Parts
    old: Agreement | None
    new: Agreement

    def page(self, after: str = "", limit: int = PAGE) -> dict[str, Any]:
        """What would differ for the records behind `after`; `next` is where to go on, None at the end."""
        before, then = (outlook(each, self.parts.country) for each in (self.old, self.new))
        partners = list(dict.fromkeys([*before.directions, *then.directions]))
        limit = max(1, min(limit, PAGE, STEPS_LIMIT // max(1, before.steps + then.steps)))
        counts = {partner: Count() for partner in partners}
        listed: list[dict[str, Any]] = []
        today, looked_at, last = self.parts.today(), 0, after
        with self.parts.database.read() as connection:
            of = records.count(connection)
            for fields in self._records(connection, after, limit if partners else 0):
                for partner in partners:
                    listed += _compared(partner, before, then, fields, today, counts[partner])
                looked_at, last = looked_at + 1, str(fields["record_id"])
                if len(listed) >= LISTED_LIMIT:
                    break
            whole = not partners or not records.newest_after(connection, last, 1)
        return {
            "day": today,
            "issuer": self.parts.country,
            "records": of,
            "looked_at": looked_at,
            "next": None if whole else last,
            "directions": {
                f"{self.parts.country}-{to}": asdict(count) | {"on_demand": then.is_on_demand(to)}
                for to, count in counts.items()
            },
            "listed": [{"direction": f"{self.parts.country}-{each.pop('to')}"} | each for each in listed],
            "clauses": clauses(self.old, self.new),
            "arriving": ARRIVING,
        }

    def _records(self, connection: Connection, after: str, limit: int) -> Iterator[Fields]:
        for stored in records.newest_after(connection, after, limit) if limit else ():
            yield versions.unseal(stored, self.parts.keys.store).fields


def _compared(
    partner: str, before: Outlook, then: Outlook, fields: Fields, today: str, count: Count
) -> Iterator[dict[str, Any]]:
    """The one difference that a partner would see of a record, counted; nothing where there is none."""
    old, new = before.answer(partner, fields, today), then.answer(partner, fields, today)
    found: Change | None = change(old, new, fields)
    count.add(new, found)
    if found is not None:
        told = {"to": partner, "tin": fields["tin"], "record_id": fields["record_id"]}
        yield told | {"change": found.what} | {k: v for k, v in asdict(found).items() if v and k != "what"}
