"""The workshop: pure work in processes beside the serving one, when there is much of it at a time.

A row of a list goes out and comes back parsed; a draft goes out, and its signature, commitment and sealed
form come back; an entry of a peer's channel goes out, and what it proves comes back. The processes are begun
when first needed, and until they are ready, or when one of them dies, whoever asked does the work itself.
They hold the key that signs credentials and no other secret but the record keys and epoch keys that they are
handed, and end with the process that began them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import structlog

from node import keys
from node.errors import Malformed, Problem
from node.exchange import card, incoming, versions
from node.exchange.fetches import Asker
from node.exchange.incoming import Examined, Reading
from node.exchange.page import EntryPart
from node.exchange.versions import Body, Draft, Fields, Signatory, Signed, Version
from node.ledger.entry import ChannelEntry
from node.records import model
from node.records.credential import Credential, Disclosure, es256_signer
from node.service.hands import H, Hands, HandsLostError, R, T

WORTH = 16
"""So many versions at a time are worth sending out."""
LIMIT_S = 30
"""Longer than any list or page takes: processes that are silent for so long are given up."""
TURN_LIMIT_S = 3
"""The same for what the one writer waits for: a server cuts off a writer that is silent for 5 seconds."""

log = structlog.get_logger()

Order = tuple[Draft, bytes]
"""A draft, and the nonce to seal it with."""
Rest = tuple[str, int, int, bytes, dict[str, Any], bytes]
"""An order as it goes out, beside its fields."""
Shown = tuple[bytes, bytes, Body]
"""What a disclosure takes of a version besides: digests, disclosures as JSON, committed body."""
Means = tuple[str, tuple[str, ...], dict[int, bytes], bool | None, Asker | None]
"""What a page is examined by: the issuer's card, the fields of its terms, our epoch keys, mode and asker."""
Texts = tuple[str, str | None]
"""One entry as it travelled: entry, sealed body."""
Returned = tuple[bytes, bytes, bytes, Shown | None]
"""What comes back of an order: signature, commitment, sealed form, and what is needed to disclose it."""


@dataclass(frozen=True, slots=True)
class Unread:
    """A row that is out of form."""

    tin: str
    problems: tuple[Problem, ...]
    message: str


@dataclass(frozen=True, slots=True)
class Made:
    """A signed version, with its commitment and as it rests in the store."""

    version: Version
    commit: bytes
    sealed: bytes


Parsed = Fields | Unread
"""A row of a list as it is recorded, or what is wrong with it."""


def parse(rows: Sequence[Fields]) -> list[Parsed]:
    """Parse each row by itself."""
    return [_parsed(row) for row in rows]


def _parsed(row: Fields) -> Parsed:
    try:
        return model.to_json(model.parse(row))
    except Malformed as refusal:
        return Unread(str(row.get("tin", ""))[:64], refusal.problems, refusal.sentence())


def make(order: Order, by: Signatory) -> Made:
    """Sign and seal one version."""
    draft, nonce = order
    version = versions.sign(draft, by)
    return Made(version, version.commit(), version.seal(nonce))


class Workshop:
    """The processes, and whether they are ready."""

    def __init__(self, by: Signatory, key_place: str, home: Path, processes: int) -> None:
        """`processes` of them, which load their key themselves; 0: everything is done here."""
        self._by = by
        begin = partial(_begin, by.issuer, by.kid, key_place, home)
        self._hands = Hands(processes, begin) if processes else None

    def make(self, orders: Sequence[Order], *, is_shown: bool) -> list[Made]:
        """Sign and seal versions, in their order; `is_shown`: their credentials will be disclosed at once."""
        returned = self._sent_out(partial(_made, is_shown=is_shown), _handed_over, orders, TURN_LIMIT_S)
        if returned is None:
            return [make(order, self._by) for order in orders]
        return [self._taken(draft, *each) for (draft, _), each in zip(orders, returned, strict=True)]

    def parse(self, rows: Sequence[Fields]) -> list[Parsed]:
        """Each row of a list parsed, or what is wrong with it."""
        returned = self._sent_out(_parsed_here, _as_json, rows, LIMIT_S)
        return parse(rows) if returned is None else returned

    def examine(
        self, entries: Sequence[ChannelEntry], items: Sequence[EntryPart], by: Reading
    ) -> list[Examined]:
        """Checks 5 to 9 of a page (`incoming`)."""
        returned = self._sent_out(partial(_examined, _means(by)), _as_texts, items, LIMIT_S)
        return incoming.examined_here(entries, items, by) if returned is None else returned

    @property
    def is_ready(self) -> bool:
        """Whether there are processes that work."""
        return self._hands is not None and self._hands.is_ready

    def close(self) -> None:
        """End the processes, also those that hang; the next large list begins them again."""
        if self._hands is not None:
            self._hands.close()

    def _sent_out(
        self,
        work: Callable[[H], list[R]],
        hand_over: Callable[[Sequence[T]], H],
        items: Sequence[T],
        within_s: float,
    ) -> list[R] | None:
        """What the processes make of so many items; None when it is better done, or must be done, here."""
        if self._hands is None or len(items) < WORTH:
            return None
        try:
            return self._hands.over(work, hand_over, items, within_s)
        except orjson.JSONEncodeError:
            # A number or a text that cannot stand in a record either: it is named where it is read.
            return None
        except HandsLostError as error:
            log.warning(
                "the processes of the workshop did not do their work; it is done here", why=str(error)
            )
            return None

    def _taken(
        self, draft: Draft, signature: bytes, commit: bytes, sealed: bytes, shown: Shown | None
    ) -> Made:
        issuer, kid = self._by.issuer, self._by.kid
        issued = None
        if shown is not None:
            digests, openings, body = shown
            opened = tuple(Disclosure(path, opening) for path, opening in orjson.loads(openings))
            issued = Credential(issuer, kid, digests, signature, opened), body
        return Made(versions.signed(draft, Signed(issuer, kid, signature), issued), commit, sealed)


_signatory: Signatory
"""Of a process of the workshop: set once, when it begins."""


def _begin(issuer: str, kid: str, key_place: str, home: Path) -> None:
    global _signatory  # noqa: PLW0603  # what all the work of a process needs
    held = keys.load_one(key_place, home, "credential")
    # Where a key was rotated since, the newest in the folder is not the one that this node signs with yet.
    [key] = [each for each in held if card.credential_kid(issuer, card.jwk_of(each)) == kid]
    _signatory = Signatory(issuer, kid, es256_signer(key))


def _as_json(rows: Sequence[Fields]) -> bytes:
    """Rows as they go out: JSON is written and read several times as fast as objects."""
    return orjson.dumps(rows)


def _parsed_here(rows: bytes) -> list[Parsed]:
    return parse(orjson.loads(rows))


def _handed_over(orders: Sequence[Order]) -> tuple[bytes, list[Rest]]:
    fields = _as_json([draft.fields for draft, _ in orders])
    return fields, [(d.record_id, d.number, d.ledger_seq, d.key, d.private, nonce) for d, nonce in orders]


def _made(orders: tuple[bytes, list[Rest]], is_shown: bool) -> list[Returned]:  # by a partial
    fields, rest = orders
    return [_one(*each, is_shown) for each in zip(orjson.loads(fields), rest, strict=True)]


def _one(fields: Fields, rest: Rest, is_shown: bool) -> Returned:
    record_id, number, ledger_seq, key, private, nonce = rest
    draft = Draft(
        record_id=record_id, number=number, ledger_seq=ledger_seq, key=key, fields=fields, private=private
    )
    made = make((draft, nonce), _signatory)
    return made.version.signed.signature, made.commit, made.sealed, _shown(made.version) if is_shown else None


def _means(by: Reading) -> Means:
    return by.peer.text, by.fields, dict(by.keys), by.is_on_demand, by.asker


def _as_texts(items: Sequence[EntryPart]) -> list[Texts]:
    return [(item.entry, item.body) for item in items]


def _examined(means: Means, texts: list[Texts]) -> list[Examined]:
    text, fields, keys, is_on_demand, asker = means
    items = [EntryPart.model_construct(entry=entry, body=body) for entry, body in texts]
    entries = [ChannelEntry.decode(item.entry.encode()) for item in items]
    by = Reading(card.read(text), fields, keys, is_on_demand, asker)
    return incoming.examined_here(entries, items, by)


def _shown(version: Version) -> Shown:
    issued = version.credential
    openings = orjson.dumps([(each.path, each.opening) for each in issued.disclosures])
    return issued.digests, openings, version.body
