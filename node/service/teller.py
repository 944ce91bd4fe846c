"""What an incoming channel tells about an operator, as the answer; one answer where several channels tell.

The answer is that under the agreement which the benefit rests on (`precedence`), with the others behind it,
each by its own terms and with what it told.
"""

from collections.abc import Mapping, Sequence

import orjson
from sqlalchemy import Connection

from node.agreements import precedence, recognition
from node.agreements.document import is_on_demand
from node.agreements.precedence import Claim
from node.ledger import moment
from node.records import status
from node.service.reach import Json, Reach
from node.store import channels
from node.store.channels import Mirrored

Told = tuple[bool, int, str, orjson.Fragment]
"""(whether others come first, log, record, the answer)."""
Reading = tuple[str, orjson.Fragment, bool]
"""(the status as it must be read today, whether recognition applies and why not, whether not)."""
ALONE: Sequence[orjson.Fragment] = ()
ASK_AGAIN = "it is told on demand only: `aeo fetch` tells whether it is shared now"


class Teller:
    """Tells the operators of one incoming channel at one moment; what is the same for many is made once."""

    def __init__(self, reach: Reach, now_ms: int) -> None:
        self.reach, self._now_ms, self._today = reach, now_ms, moment.date_of(now_ms)
        self.of_issuer: Sequence[Teller] = ()
        """Where this node tells us under several agreements: the tellers of all of them."""
        self._alerts = written(list(reach.alerts))
        self._freshness: dict[str | None, orjson.Fragment] = {None: written(reach.freshness(now_ms))}
        self._clauses = written(reach.clauses(now_ms))
        self._read: dict[tuple[bool | str | None, ...], Reading] = {}

    def told(
        self, row: Mirrored, because: str | None = None, others: Sequence[orjson.Fragment] = ALONE
    ) -> Told:
        """The answer about an operator that a partner disclosed, or whose record left our view.

        `others`: the answers under other agreements; `because`: why this one goes before them.
        """
        reach = self.reach
        is_gone, is_disowned = row.fields is None, reach.disowned_from is not None and reach.is_disowned(row)
        here = row.record_id if row.record_id in reach.suspended else None
        decided_on = is_gone, is_disowned, row.status, row.valid_to, row.programme, row.scope, row.doubt, here
        key = (*decided_on, row.fetched_at)
        found = self._read.get(key)
        if found is None:
            found = self._read[key] = self._reading(row)
        read, told, is_later = found
        answer = {
            "tin": row.tin,
            "record_id": row.record_id,
            "country": reach.channel.issuer,
            "source": "mirror",
            "fields": None if row.fields is None else orjson.Fragment(row.fields),
            "status": {"value": read, "stated": row.status, "since": row.status_since},
            "recognition": told,
            "partners": None,
            "provenance": {
                "ledger": {
                    "origin": reach.ledger_origin,
                    "seq": row.ledger_seq,
                    "proven_size": reach.ledger_size,
                },
                "channel": {"origin": reach.origin, "seq": row.seq},
                "credential": row.credential or None,
            },
            "freshness": self._fresh(row),
            "clauses": self._clauses,
            "alerts": self._alerts,
            "because": because,
            "others": others,
        }
        return is_later, row.log, row.record_id, orjson.Fragment(orjson.dumps(answer))

    def _fresh(self, row: Mirrored) -> orjson.Fragment:
        known = self._freshness.get(row.fetched_at)
        if known is None:
            known = self._freshness[row.fetched_at] = written(self.reach.freshness(self._now_ms, row))
        return known

    @property
    def country(self) -> str:
        """Whose operators it tells."""
        return self.reach.channel.issuer

    def claim(self, row: Mirrored) -> Claim:
        """What speaks for answering under this agreement where others tell of the same operator."""
        reach, is_gone = self.reach, row.fields is None
        return Claim(
            precedence.rank(reach.terms, reach.state, is_gone, self._today),
            is_gone,
            len(self._reasons(row)[1]),
            reach.terms["until"],
            reach.as_of_ms(row) + 1000 * reach.limit_s,
            reach.channel.log,
        )

    def _reading(self, row: Mirrored) -> Reading:
        reach, (read, reasons) = self.reach, self._reasons(row)
        told = {"applies": not reasons, "agreement": reach.agreement, "title": reach.title}
        return read, written(told | {"reasons": reasons}), bool(reasons)

    def _reasons(self, row: Mirrored) -> tuple[str, list[str]]:
        """(the status as it must be read today, every reason why recognition does not apply)."""
        if row.fields is None:
            unshared = recognition.unshared(self.reach.state)
            unshared += [ASK_AGAIN] if is_on_demand(self.reach.terms) else []
            return recognition.NOT_SHARED, unshared + self.reach.decided_here(row)
        read = status.as_read(row.status or "", row.valid_to, self._today)
        return read, self.reach.against(row, read, self._now_ms)


Tellers = Mapping[int, Teller]


def under_all(connection: Connection, wanted: Sequence[tuple[Teller, str]]) -> dict[tuple[str, str], Told]:
    """By node and record: the answer under the agreement that goes first, with those under the others."""
    alike = {(teller.reach.issuer, each): teller.of_issuer or (teller,) for teller, each in wanted}
    keys = [(each.reach.channel.log, key[1]) for key, tellers in alike.items() for each in tellers]
    rows = channels.mirrored(connection, keys)
    return {
        (name, record_id): _chosen(
            [(each, row) for each in tellers if (row := rows.get((each.reach.channel.log, record_id)))]
        )
        for (name, record_id), tellers in alike.items()
    }


def _chosen(told: Sequence[tuple[Teller, Mirrored]]) -> Told:
    """One operator as told under each of several agreements: one answer, with the others behind it.

    Of an agreement that has replaced others the newest channel tells.
    """
    newest = {each.reach.agreement: (each, row) for each, row in sorted(told, key=lambda pair: pair[1].log)}
    claims = sorted(
        ((each.claim(row), each, row) for each, row in newest.values()), key=lambda claim: claim[0].order()
    )
    (first, teller, row), *rest = claims
    because = precedence.because(first, rest[0][0]) if rest else None
    return teller.told(row, because, [each.told(behind, None)[-1] for _, each, behind in rest])


def written(value: Json | list[str]) -> orjson.Fragment:
    """What is the same in many answers, written out once."""
    return orjson.Fragment(orjson.dumps(value))
