"""The reading end of a channel: verifies everything a peer says before any of it is used.

A card that the page brings must follow the pinned one and stand in the ledger (`newest_card`,
`check_recorded`); the keys are then those of that card.
The page as a whole (any failure stops at the last proven state, and is tried again):
 1. the issuer's ledger checkpoint is signed with the keys in use on its card, and begins with our copy of the
    ledger's hashes and those that the page adds;
 2. the channel's entries follow one behind the other, without a gap, behind our copy;
 3. together they make the beginning of exactly the tree the issuer signed;
 4. both checkpoints carry the issuer's cosignature with a time not before the last one.
Each entry by itself (a failure sets that entry apart, with its reason, and the rest goes on):
 5. the sealed body is the one the entry names, and opens with the epoch key for this entry only;
 6. the record's ledger entry is the issuer's;
 7. its commitment opens to the body, and the body names this record and this credential;
 8. the credential is signed with the key that counted at that entry, and every disclosed value hangs on it;
 9. it comes as the terms say, mirrored or fetched; no field goes beyond them, each has the form of the model,
   and what must be there is: record, country, TIN, status, and of an operator programme and scope (`NEEDED`);
10. that entry is the one which stands in the ledger at its place, and the place does not go backwards.

All of it is worked out from what is handed in, so that it can be checked again by anyone who holds the
same; that trees begin with copies is checked where copies are written (`LogWriter.proven`).
"""

import hashlib
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from node.errors import Malformed, Refusal, Unproven
from node.exchange import card, fetches, sealing
from node.exchange.card import Card
from node.exchange.fetches import Asker
from node.exchange.page import CardPart, EntryPart, LedgerPart
from node.exchange.serving import LEAVES_LIMIT
from node.ledger import canonical, moment
from node.ledger.checkpoint import Checkpoint, opened_checkpoint
from node.ledger.encoding import b64u, unb64, unb64u
from node.ledger.entry import ChannelEntry, LedgerEntry, check_chain, commitment
from node.ledger.merkle import leaf_hash, split, verify_inclusion
from node.ledger.note import COSIGNATURE, ML_DSA_COSIGNATURE, open_note
from node.records import credential, model
from node.store.incidents import REASON_LIMIT
from node.store.logs import Head, LeafAt

Row = dict[str, Any]
Newest = Callable[[Collection[str]], Mapping[str, int]]
"""The newest ledger positions that we were shown of some records; it has none for those never shown."""

NEVER = moment.format(0)
"""The time of a copy that nothing was proven of yet."""
NEVER_SHOWN = -1
"""The ledger position of a record of which no entry has held yet."""
NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
"""As canonical JSON writes it: behind an even number of backslashes."""
BROKEN = (Refusal, TypeError, ValueError, KeyError, AttributeError)


@dataclass(frozen=True, slots=True)
class Proven:
    """A checkpoint that holds, as the note it came in, and the time its issuer last stood by it."""

    checkpoint: Checkpoint
    note: str
    time_s: int


@dataclass(frozen=True, slots=True)
class Disclosed:
    """One opened entry: what the peer now tells us of a record (`fields` None: it left our view)."""

    seq: int
    kind: str
    time: str
    record_id: str | None
    body: bytes
    fields: dict[str, Any] | None = None
    ledger_seq: int = -1
    leaf: bytes = b""
    credential: str = ""
    is_fetched: bool = False


@dataclass(frozen=True, slots=True)
class SetApart:
    """One entry that failed verification."""

    seq: int
    record_id: str | None
    reason: str
    evidence: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Reading:
    """What entries are read by: the issuer, the field paths its terms list, our epoch keys.

    `is_on_demand`: whether a record may come only as one that was asked for; None: it may come as either.
    `asker`: who must have signed what is answered; None: whoever it was.
    """

    peer: Card
    fields: tuple[str, ...]
    keys: Mapping[int, bytes] = field(repr=False)
    is_on_demand: bool | None = False
    asker: Asker | None = None


@dataclass(frozen=True, slots=True)
class Examined:
    """One entry after checks 5 to 9: what it says, or why it is set apart; and whether its body opened."""

    is_open: bool
    found: Disclosed | SetApart


Examine = Callable[[Sequence[ChannelEntry], Sequence[EntryPart], Reading], list[Examined]]


@dataclass(frozen=True, slots=True)
class Opened:
    """One entry whose body opened: the body's members, of which nothing is proven yet."""

    entry: ChannelEntry
    item: EntryPart
    body: bytes
    content: Row
    record_id: str | None


@dataclass(frozen=True, slots=True)
class Found:
    """What entries say: those that hold, those set apart, and the epochs whose keys opened any."""

    disclosed: list[Disclosed]
    set_apart: list[SetApart]
    epochs: frozenset[int]


def prove(note: str, peer: Card, origin: str, latest_s: float, *, ever: bool = False) -> Proven:
    """Checks 1 and 4 on one checkpoint note: who signed, and as of when (`latest_s` at the latest).

    The issuer must have with a key of each kind: one of the log, and of those that cosign one of ML-DSA-44
    when the tree was made and one of Ed25519 at the time that counts. `ever`: also with keys that it has
    retired since, where a note is one that was kept.
    """
    opened = open_note(note, peer.verifiers(origin, ever=ever))
    checkpoint = opened_checkpoint(opened, origin)
    kinds = {each.key_id: each.kind for each in peer.cosigners(ever=ever)}
    times = {kinds.get(each.key_id): each.time_s for each in opened.signatures}
    now, made = times.get(COSIGNATURE), times.get(ML_DSA_COSIGNATURE)
    if now is None or made is None:
        kind = "Ed25519" if now is None else "ML-DSA-44"
        why = f"the issuer's {kind} cosignature is missing"
        raise Unproven("a checkpoint has no time on it", where=origin, why=why)
    if max(now, made) > latest_s:
        raise Unproven("a checkpoint is from the future", where=origin, do="set the clocks of both nodes")
    return Proven(checkpoint, note, now)


def newest_card(brought: CardPart | None, known: Card) -> Card:
    """The peer's card as a page brings it; `Unproven` unless it follows the one that is pinned."""
    if brought is None:
        return known
    new = card.read(brought.card)
    card.check_follows(known, new)
    return new


def check_recorded(brought: CardPart, known: Card, new: Card, signed: Checkpoint, copied: int) -> None:
    """`Unproven` unless the peer's ledger, under the checkpoint that came with the card, holds it.

    It stands behind the `copied` entries that came with earlier cards, and so does the place where any key
    begins or ends to count: what was signed under those cards cannot be disowned, nor signed afterwards.
    """
    encoded = brought.entry.encode()
    entry = LedgerEntry.decode(encoded)
    if (entry.country, entry.type) != (new.country, "key"):
        raise Unproven("a card is not recorded as one", where=new.name, why=f"entry {entry.seq}")
    if commitment(unb64u(brought.salt), canonical.encode({"v": 1, "card": new.text})) != entry.commit:
        raise Unproven("the ledger entry of a card commits to another", where=new.name)
    if not all(copied <= place <= entry.seq for place in card.turns(known, new)):
        why = f"it stands at entry {entry.seq}, behind {copied} that came with an earlier card"
        raise Unproven("a key begins or ends at a place where no card says so", where=new.name, why=why)
    verify_inclusion(entry.seq, signed.size, leaf_hash(encoded), hashes(brought.proof), signed.root)


def signed_part(note: str, peer: Card, origin: str) -> str | None:
    """What a peer signed of a checkpoint note, without the lines of other keys; None when nothing holds."""
    try:
        opened = open_note(note, peer.verifiers(origin))
        opened_checkpoint(opened, origin)
    except BROKEN:
        return None
    return f"{opened.text}\n" + "".join(each.line() for each in opened.signatures)


def check_ledger(page: LedgerPart, peer: Card, last: Head, latest_s: float) -> Proven:
    """Checks 1 and 4 on the peer's ledger, but for the tree: it has not become shorter or older."""
    proven = prove(page.checkpoint, peer, last.origin, latest_s)
    if proven.checkpoint.size < last.size:
        why = f"it had {last.size} entries, now {proven.checkpoint.size}"
        raise Unproven("a ledger has become shorter", where=last.origin, why=why)
    check_not_older(proven, last)
    return proven


def new_leaves(page: LedgerPart, checkpoint: Checkpoint, last: Head) -> list[bytes]:
    """The leaf hashes that a page adds to our copy of the ledger; `Unproven` for more than there can be."""
    leaves = split(unb64(page.leaves))
    if len(leaves) > min(LEAVES_LIMIT, checkpoint.size - last.size):
        why = f"{len(leaves)} behind entry {last.size}, of {checkpoint.size} that were signed"
        raise Unproven("there are more leaf hashes than entries to copy", where=checkpoint.origin, why=why)
    return leaves


def check_entries(items: Sequence[EntryPart], head: Head, last_ms: int, latest_ms: int) -> list[ChannelEntry]:
    """Checks 2 and 4 on the entries behind `head`: no gap, and their times in order, up to `latest_ms`."""
    prev, entries = head.last_leaf, list[ChannelEntry]()
    for seq, item in enumerate(items, head.size):
        encoded = item.entry.encode()
        entry = ChannelEntry.decode(encoded)
        check_chain(prev, seq, entry)
        if entry.channel != head.origin:
            raise Unproven("an entry belongs to another channel", where=head.origin, why=entry.channel)
        if not last_ms <= entry.time <= latest_ms:
            raise Unproven("an entry's time is out of order", where=f"{head.origin}, entry {seq}")
        prev, last_ms = leaf_hash(encoded), entry.time
        entries.append(entry)
    return entries


def check_not_older(proven: Proven, last: Head) -> None:
    """The first part of check 4, against the last checkpoint seen."""
    time = moment.format(proven.time_s * 1000)
    if time < last.time:
        raise Unproven(
            "a checkpoint is older than the last one", where=last.origin, why=f"{time} after {last.time}"
        )


def epoch_keys(
    held: Mapping[int, bytes], brought: Mapping[str, str], own: Sequence[X25519PrivateKey], origin: str
) -> dict[int, bytes]:
    """The epoch keys of a page: those we hold, and those brought with it, of which nothing is proven yet.

    An envelope that does not open leaves its epoch out: its entries are then set apart.
    """
    keys = dict(held)
    for number, envelope in ((int(number), envelope) for number, envelope in brought.items()):
        if number not in held:
            try:
                keys[number] = sealing.receive(unb64(envelope), own, origin, number)
            except Unproven:
                continue
    return keys


def examined_here(entries: Sequence[ChannelEntry], items: Sequence[EntryPart], by: Reading) -> list[Examined]:
    """Checks 5 to 9 on each entry by itself."""
    return [_examined(entry, item, by) for entry, item in zip(entries, items, strict=True)]


def _examined(entry: ChannelEntry, item: EntryPart, by: Reading) -> Examined:
    is_open, record_id = False, None
    try:
        body = unsealed(entry, item, by.keys)
        is_open = True
        each = _opened(entry, item, body)
        record_id = each.record_id
        return Examined(is_open, _checked(each, by))
    except BROKEN as error:
        return Examined(is_open, apart(entry, item, record_id, error))


def read(
    entries: Sequence[ChannelEntry],
    items: Sequence[EntryPart],
    by: Reading,
    newest: Newest,
    leaf_at: LeafAt,
    examine: Examine = examined_here,
) -> Found:
    """Checks 5 to 10 on entries that are the issuer's; `examine` makes 5 to 9, of each entry by itself."""
    examined = examine(entries, items, by)
    named = {each.found.record_id for each in examined if each.found.record_id is not None}
    shown = dict(newest(named))
    disclosed, set_apart = list[Disclosed](), list[SetApart]()
    for entry, item, each in zip(entries, items, examined, strict=True):
        found = each.found
        if isinstance(found, Disclosed):
            found = _in_order(entry, item, found, shown, leaf_at)
        if isinstance(found, Disclosed):
            disclosed.append(found)
        else:
            set_apart.append(found)
    epochs = {entry.epoch for entry, each in zip(entries, examined, strict=True) if each.is_open}
    return Found(disclosed, set_apart, frozenset(epochs))


def _in_order(
    entry: ChannelEntry, item: EntryPart, found: Disclosed, shown: dict[str, int], leaf_at: LeafAt
) -> Disclosed | SetApart:
    """Check 10, against the ledger positions `shown` of each record so far, in which it notes this one."""
    if found.record_id is None:
        return found
    newest = shown.get(found.record_id, NEVER_SHOWN)
    if found.kind == "tombstone":
        return replace(found, ledger_seq=newest)
    if leaf_at(found.ledger_seq) != found.leaf:
        what = "the record's ledger entry is not the one that stands in the ledger at its place"
        return apart(entry, item, found.record_id, Unproven(what, where=f"ledger entry {found.ledger_seq}"))
    if found.ledger_seq < newest:
        what = "an older version of a record was disclosed after a newer one"
        return apart(entry, item, found.record_id, Unproven(what, where=found.record_id))
    shown[found.record_id] = found.ledger_seq
    return found


def _opened(entry: ChannelEntry, item: EntryPart, body: bytes) -> Opened:
    content = canonical.decode(body)
    if not isinstance(content, dict) or content.get("v") != 1:
        raise Malformed("a body is not of version 1")
    if NUL.search(body):
        raise Malformed(
            "a body has a NUL in it", why="no text of this model has one, and PostgreSQL holds none"
        )
    record_id = _text(content, "record_id") if "record_id" in content else None
    return Opened(entry, item, body, content, record_id)


def apart(entry: ChannelEntry, item: EntryPart, record_id: str | None, error: Exception) -> SetApart:
    """An entry that is set apart, with the reason and the evidence."""
    evidence = canonical.encode({"entry": item.entry, "body": item.body})
    return SetApart(entry.seq, record_id, why(error)[:REASON_LIMIT], evidence)


def why(error: Exception) -> str:
    """Why something did not hold, as one sentence."""
    return error.sentence() if isinstance(error, Refusal) else f"it is out of form: {error!r}"


def _checked(each: Opened, by: Reading) -> Disclosed:
    """Checks 6 to 9."""
    entry, content, record_id = each.entry, each.content, each.record_id
    time = moment.format(entry.time)
    _check_members(entry.kind, content)
    answers = fetches.answered(entry.kind, content)
    if answers is not None and by.asker is not None:
        by.asker.check(answers.asked, entry.time)
    if record_id is None or entry.kind == "tombstone":
        return Disclosed(entry.seq, entry.kind, time, record_id, each.body)
    _check_mode(record_id, is_fetched=answers is not None, is_on_demand=by.is_on_demand)
    behind = check_commitment(content, by.peer)
    verified = verify_credential(content["credential"], by.peer, behind.seq)
    digest = b64u(verified.digest)
    check_names_credential(content, digest)
    check_fields(verified, record_id, by.peer.country, by.fields)
    if answers is not None and answers.named is not None and not answers.named.is_of(verified.fields):
        what = "a record is told that shows another identifier than was asked for"
        raise Unproven(what, where=record_id)
    leaf = leaf_hash(behind.encode())
    return Disclosed(
        entry.seq,
        entry.kind,
        time,
        record_id,
        each.body,
        verified.fields,
        behind.seq,
        leaf,
        digest,
        answers is not None,
    )


def unsealed(entry: ChannelEntry, item: EntryPart, keys: Mapping[int, bytes]) -> bytes:
    """Check 5."""
    if item.body is None:
        raise Unproven(
            "a sealed body is missing",
            where=f"entry {entry.seq}",
            why="the issuer no longer has it or keeps it back",
        )
    sealed = unb64(item.body)
    if hashlib.sha256(sealed).digest() != entry.body:
        raise Unproven("a sealed body is not the one its entry names", where=f"entry {entry.seq}")
    if entry.epoch not in keys:
        raise Unproven(
            "there is no key for an entry's epoch", where=f"entry {entry.seq}, epoch {entry.epoch}"
        )
    return sealing.unseal(sealing.entry_key(keys[entry.epoch], entry.seq), sealed, entry.header())


def verify_credential(packed: Any, peer: Card, seq: int) -> credential.Verified:
    """Check 8: the credential that an entry of the issuer's ledger is about, under the key of that time."""
    kid = packed.get("kid") if isinstance(packed, dict) else None
    return credential.verify_packed(packed, peer.credential_key(str(kid), seq), issuer=peer.name)


def disclosed_in(body: Row, peer: Card) -> tuple[int, credential.Verified]:
    """The entry of the issuer's ledger that a kept disclosure rests on, and what its credential shows."""
    seq = LedgerEntry.decode(body["ledger"]["entry"].encode()).seq
    return seq, verify_credential(body["credential"], peer, seq)


def check_commitment(content: Row, peer: Card) -> LedgerEntry:
    """Checks 6 and 7: gives the issuer's ledger entry that commits to what a disclosure opens."""
    opening = content.get("ledger")
    if not isinstance(opening, dict) or set(opening) != {"entry", "salt", "body"}:
        raise Malformed("a disclosure does not say which ledger entry it rests on")
    entry = LedgerEntry.decode(_text(opening, "entry").encode())
    if entry.country != peer.country or entry.type != "record":
        raise Unproven("the ledger entry is not a record of the issuer", where=f"ledger entry {entry.seq}")
    if commitment(unb64u(_text(opening, "salt")), canonical.encode(opening["body"])) != entry.commit:
        raise Unproven("the ledger entry commits to another body", where=f"ledger entry {entry.seq}")
    if not isinstance(opening["body"], dict) or opening["body"].get("record_id") != content["record_id"]:
        raise Unproven("the ledger entry is about another record", where=f"ledger entry {entry.seq}")
    return entry


def check_names_credential(content: Row, digest: str) -> None:
    """The rest of check 7: the ledger commits to this very credential."""
    if content["ledger"]["body"].get("credential") != digest:
        raise Unproven("the ledger entry names another credential", where=str(content["record_id"]))


def check_fields(
    verified: credential.Verified, record_id: str, country: str, allowed: tuple[str, ...]
) -> None:
    """Check 9."""
    beyond = [path for path in verified.paths if not credential.covered(path, allowed)]
    if beyond:
        raise Unproven(
            "a disclosure goes beyond the terms", where=record_id, why="not agreed: " + ", ".join(beyond)
        )
    missing = [name for name in model.NEEDED[model.kind_of(verified.fields)] if name not in verified.fields]
    if missing:
        raise Unproven(
            "a disclosure lacks what every reader needs",
            where=record_id,
            why="missing: " + ", ".join(missing),
        )
    if verified.fields["record_id"] != record_id or verified.fields["country"] != country:
        raise Unproven("a disclosure is about another record or country", where=record_id)
    model.check_fields(verified.fields)


def _check_mode(record_id: str, *, is_fetched: bool, is_on_demand: bool | None) -> None:
    """The first part of check 9: where records are fetched each says what it was asked for; else none."""
    if is_on_demand is not None and is_fetched != is_on_demand:
        why = "the terms have it fetched on demand" if is_on_demand else "the terms have it mirrored"
        raise Unproven("a record is told in another mode than was agreed", where=record_id, why=why)


MEMBERS = {
    "disclosure": {"v", "record_id", "credential", "ledger"},
    "tombstone": {"v", "record_id"},
    "notice": {"v", "notice", "detail"},
}


def _check_members(kind: str, content: Row) -> None:
    """Each kind of body has exactly its members, all texts but the version, credential and opening.

    A notice may have `told` besides, of which `notices.read` knows the form; what was fetched too.
    """
    texts = [value for name, value in content.items() if name not in ("v", "credential", "ledger", "told")]
    is_packed = all(isinstance(content.get(name, {}), dict) for name in ("credential", "told"))
    members = set(content) - ({"told"} if kind in ("notice", "disclosure") else set())
    if members != MEMBERS[kind] or not is_packed or not all(isinstance(value, str) for value in texts):
        raise Malformed(f"a {kind} is out of form", why="it must hold " + ", ".join(sorted(MEMBERS[kind])))


def _text(members: Mapping[str, Any], name: str) -> str:
    value = members.get(name)
    if not isinstance(value, str):
        raise Malformed("a peer's answer is not of the agreed form", where=name, why="it must be a text")
    return value


def hashes(texts: Sequence[str]) -> list[bytes]:
    """The hashes of a proof as it travels."""
    return [unb64(text) for text in texts]
