"""What did not hold of a peer as a whole: kept as an incident, with what the peer signed as evidence."""

from dataclasses import dataclass
from hashlib import sha256

import orjson

from node.errors import Gap, NotFound, Refusal, Unproven
from node.exchange import incoming
from node.exchange.card import Card, channel_origin, ledger_origin
from node.exchange.page import ChannelPart, LedgerPart, News
from node.ledger import moment
from node.service.accusing import Forked, accuse
from node.service.batch import Batch, SmallWork
from node.service.copies import expected
from node.service.parts import Parts
from node.store import incidents, logs
from node.store.database import Row
from node.store.incidents import EVIDENCE_LIMIT_BYTES, WHOLE_PEER

UNSIGNED_LIMIT, UNSIGNED_PARTS = 1024, 8
"""Characters kept of a checkpoint that nobody signed, and of how many parts of an answer."""


@dataclass(frozen=True, slots=True)
class CloseIncident(SmallWork):
    """An incident that people have settled with the peer."""

    incident: int

    def run(self, batch: Batch) -> None:
        """Close it; `NotFound` when none of this number is open."""
        if not incidents.close(batch.connection, self.incident, batch.time):
            raise NotFound(
                "there is no open incident of this number",
                where=str(self.incident),
                do="see `aeo incidents --open`",
            )


def failed(parts: Parts, peer: Card, refusal: Refusal, news: News | None) -> None:
    """Keep what did not hold as a whole: nothing of it was used, and answers go on from what was proven.

    The evidence is what the peer signed: its checkpoints and what it gave as proof of consistency.
    """
    if isinstance(refusal, Forked):
        with parts.database.write() as connection:
            accuse(connection, peer, refusal.accusation, moment.format(parts.now_ms()))
        return
    kind = (
        "missing" if isinstance(refusal, Gap) else "replaced" if isinstance(refusal, Unproven) else "invalid"
    )
    told = _told(parts, peer, news) if news else []
    signed = [part for part in told if "checkpoint" in part]
    # The cosignatures differ each time; what is claimed are the trees. What nobody signed claims nothing.
    claim = orjson.dumps([part["checkpoint"].partition("\n\n")[0] for part in signed])
    _note(parts, peer, kind, refusal.sentence(), orjson.dumps(_fitting(told)), claim)


def _told(parts: Parts, peer: Card, news: News) -> list[Row]:
    """The parts of an answer as evidence: those signed come first, of others only how they begin."""
    with parts.database.read() as connection:
        known = dict(expected(parts, connection, peer))
    first = {page.agreement: page for page in reversed(news.channels) if page.agreement in known}
    rest = [page for page in news.channels if first.get(page.agreement) is not page]
    pages: list[LedgerPart | ChannelPart] = [news.ledger, *first.values(), *rest]
    told = [_told_part(parts, peer, page) for page in pages]
    return sorted(told, key=lambda part: "checkpoint" not in part)


def _told_part(parts: Parts, peer: Card, page: LedgerPart | ChannelPart) -> Row:
    origin = ledger_origin(peer.name)
    if isinstance(page, ChannelPart):
        origin = channel_origin(peer.name, page.agreement, parts.country)
    signed = incoming.signed_part(page.checkpoint, peer, origin)
    if signed is not None:
        return {"checkpoint": signed, "consistency": page.consistency}
    whole = page.checkpoint.encode(errors="replace")
    return {
        "unsigned": page.checkpoint[:UNSIGNED_LIMIT],
        "bytes": len(whole),
        "sha256": sha256(whole).hexdigest(),
    }


def _fitting(told: list[Row]) -> list[Row]:
    """As many of these parts as one incident may hold; the last one says how many more there were."""
    room, kept = EVIDENCE_LIMIT_BYTES - 100, list[Row]()
    for part in told:
        size = len(orjson.dumps(part)) + 1
        if size <= room and ("checkpoint" in part or len(kept) < UNSIGNED_PARTS):
            kept.append(part)
            room -= size
    return kept if len(kept) == len(told) else [*kept, {"left_out": len(told) - len(kept)}]


def altered(parts: Parts, peer: Card, refusal: Refusal) -> None:
    """Keep that re-reading the peer's ledger found an entry that is not the one signed."""
    told = refusal.sentence()
    _note(parts, peer, "altered", told, told.encode(), told.encode())


def unaudited(parts: Parts, peer: Card, since_ms: int, error: Exception) -> None:
    """Keep that a peer which serves news has not let its ledger be re-read since a moment.

    Silence about both is lateness. The time allowed is the shortest that an agreement gives for a proof.
    """
    now_ms = parts.now_ms()
    with parts.database.read() as connection:
        head = logs.head_of(connection, ledger_origin(peer.name))
        terms = [standing.agreement.terms for _, standing in expected(parts, connection, peer)]
    limit_ms = 1000 * min((int(each["max_staleness_s"]) for each in terms), default=now_ms)
    if head and now_ms - moment.parse(head.time) <= limit_ms < now_ms - since_ms:
        why = incoming.why(error)
        told = f"its ledger could not be re-read since {moment.format(since_ms)}: {why}"
        _note(parts, peer, "unaudited", told, why.encode(), b"")


def unaltered(parts: Parts, peer: Card) -> None:
    """A whole round of re-reading held: close what earlier ones found, or could not."""
    with parts.database.write() as connection:
        time = moment.format(parts.now_ms())
        incidents.close_kinds(connection, peer.name, WHOLE_PEER, ("altered", "unaudited"), time)


def _note(parts: Parts, peer: Card, kind: str, detail: str, evidence: bytes, claim: bytes) -> None:
    time = moment.format(parts.now_ms())
    with parts.database.write() as connection:
        row = incidents.row(peer.name, WHOLE_PEER, -1, kind, detail, evidence, time, claim)
        incidents.note(connection, row)
