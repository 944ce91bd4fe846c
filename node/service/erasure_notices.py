"""Notices about erasing: what partners ask for, noted; what they answer, checked; and who has answered."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from sqlalchemy import Connection

from node.errors import Refusal, Unproven
from node.exchange import notices
from node.exchange.card import Card
from node.exchange.incoming import Disclosed
from node.exchange.notices import Erased, Erasure, Kept
from node.service.parts import Parts
from node.service.ways import Notice, notices_in, own_way, stands_in_ledger
from node.store import channels, erasures
from node.store.channels import StoredChannel
from node.store.erasures import ERASED_ANSWER, KEPT_ANSWER


def received(
    parts: Parts, connection: Connection, peer: Card, channel: StoredChannel, notice: Notice, time: str
) -> None:
    """Note what a notice of a channel asks or answers; a `Refusal` where it says what is not so."""
    each, body = notice
    said = notices.read(body, each.seq)
    if isinstance(said, Erasure):
        erasures.add_asked(connection, channel.log, each.seq)
    elif isinstance(said, Kept):
        _kept(parts, connection, channel, said, time)
    elif isinstance(said, Erased):
        _check_recorded(connection, peer, said)
        _erased(parts, connection, channel, said, time)


def asked_for(disclosed: Sequence[Disclosed]) -> set[int]:
    """The entries that the notices among these ask to erase; those out of form ask for nothing."""
    found = set[int]()
    for each, body in notices_in(disclosed):
        with suppress(Refusal):
            said = notices.read(body, each.seq)
            found |= set(said.entries) if isinstance(said, Erasure) else set()
    return found


def _check_recorded(connection: Connection, peer: Card, said: Erased) -> None:
    """`Unproven` unless the partner's ledger, as we copy it, holds the erasure that it speaks of."""
    entry = said.entry
    if (entry.country, entry.type) != (peer.country, "erasure"):
        raise Unproven("an erasure is not recorded as one", where=f"{peer.name}, ledger entry {entry.seq}")
    if not stands_in_ledger(connection, peer, entry):
        why = "its ledger has another entry at this place"
        raise Unproven(
            "an erasure is not in the ledger of who claims it", where=f"entry {entry.seq}", why=why
        )


def _erased(parts: Parts, connection: Connection, channel: StoredChannel, said: Erased, time: str) -> None:
    log = own_way(parts, connection, channel, said.channel)
    if said.notice is None:
        return  # its term was over; the notice itself says so
    told = _told(connection, log, said.notice)
    wanted = erasures.taken_by(connection, told.erasure).get(log, [])
    if missing := sorted(set(wanted) - set(said.entries)):
        why = f"entries that were to go are not among those erased: {', '.join(map(str, missing[:10]))}"
        raise Unproven("a partner erased less than it was asked", where=f"notice {said.notice}", why=why)
    erasures.answer(connection, log, said.notice, ERASED_ANSWER, time, said.entry.seq, "")


def _kept(parts: Parts, connection: Connection, channel: StoredChannel, said: Kept, time: str) -> None:
    log = own_way(parts, connection, channel, said.channel)
    if _told(connection, log, said.notice).answer == ERASED_ANSWER:
        raise Unproven("a partner keeps what it said it has erased", where=f"notice {said.notice}")
    erasures.answer(connection, log, said.notice, KEPT_ANSWER, time, None, said.reason)


def _told(connection: Connection, log: int, seq: int) -> erasures.Told:
    told = erasures.told(connection, log, seq)
    if told is None:
        raise Unproven("an answer is about a notice that asked for nothing", where=f"notice {seq}")
    return told


def status(connection: Connection, before: int, limit: int) -> list[Mapping[str, Any]]:
    """Each erasure, newest first: what was told to whom, who has answered what, and who has not."""
    known = channels.by_log(connection)
    return [
        {
            "erasure": row["ledger_seq"],
            "time": row["time"],
            "scrubbed": row["scrubbed"],
            "partners": [
                _answered(known[told.log], told) for told in erasures.told_of(connection, row["ledger_seq"])
            ],
        }
        for row in erasures.erasures(connection, before, limit)
    ]


def _answered(channel: StoredChannel, told: erasures.Told) -> dict[str, Any]:
    return {
        "partner": channel.partner,
        "agreement": channel.agreement,
        "notice": told.seq,
        "answer": told.answer,
        "answered_at": told.answered_at,
        "ledger_seq": told.ledger_seq,
        "reason": told.reason or None,
    }
