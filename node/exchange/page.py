"""The shape of what a peer answers when asked for news, or for what it holds of ours.

Anything else is refused before it is read.
"""

from typing import Annotated, Any, TypeVar

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from node.errors import Malformed, problem
from node.exchange.card import LIMIT_CHARACTERS

Note = Annotated[str, Field(max_length=2**16)]
Base64 = Annotated[str, Field(max_length=2**20)]
Epochs = Annotated[dict[Annotated[str, Field(pattern=r"^[1-9][0-9]{0,8}$")], Base64], Field(max_length=1000)]
Hashes = Annotated[list[Annotated[str, Field(max_length=44)]], Field(max_length=128)]


ENTRIES_LIMIT_BYTES = 8 * 2**20
"""What the entries of one answer take, but for the end of the last; an issuer keeps to it."""
ANSWER_LIMIT_BYTES = 8 * ENTRIES_LIMIT_BYTES
"""What a reader takes in of any answer: those entries, and agreements with all their acts and receipts."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


Shape = TypeVar("Shape", bound=_Part)


class LedgerPart(_Part):
    """The issuer's ledger: its newest checkpoint, the leaf hashes behind the reader's copy, one behind the
    other, and the proof from the size that the copy has with them."""

    checkpoint: Note
    leaves: Base64
    consistency: Hashes


class EntryPart(_Part):
    """One channel entry, and its sealed body."""

    entry: Annotated[str, Field(max_length=2**16)]
    body: Base64 | None


class ChannelPart(_Part):
    """The part of one channel behind the reader's cursor."""

    agreement: Annotated[str, Field(max_length=64)]
    checkpoint: Note
    consistency: Hashes
    epochs: Epochs
    entries: Annotated[list[EntryPart], Field(max_length=2000)]


class ActPart(_Part):
    """An act with its signatures, and the proof that the peer's ledger holds it."""

    instrument: dict[str, Any]
    receipt: dict[str, Any] | None


class AgreementPart(_Part):
    """An agreement between the two with everything the peer knows about it."""

    document: dict[str, Any]
    acts: Annotated[list[ActPart], Field(max_length=1000)]


class CardPart(_Part):
    """The issuer's newest card, and the proof that its ledger, as it was signed for this answer, holds it."""

    card: Annotated[str, Field(max_length=LIMIT_CHARACTERS)]
    entry: Annotated[str, Field(max_length=2**16)]
    salt: Annotated[str, Field(max_length=64)]
    proof: Hashes


class News(_Part):
    """The whole answer; `agreements` and `card` are None when the reader knows them already."""

    v: Annotated[int, Field(ge=1, le=1)]
    rev: Annotated[int, Field(ge=0)]
    agreements: Annotated[list[AgreementPart], Field(max_length=1000)] | None
    card: CardPart | None
    ledger: LedgerPart
    channels: Annotated[list[ChannelPart], Field(max_length=1000)]


class HeldChannel(_Part):
    """What a peer holds of a channel of ours to it, of `size` entries, behind our own copy."""

    agreement: Annotated[str, Field(max_length=64)]
    size: Annotated[int, Field(ge=0)]
    epochs: Epochs
    entries: Annotated[list[EntryPart], Field(max_length=2000)]


class OpenedEntry(_Part):
    """An entry of our ledger, and the salt and body that open it."""

    entry: Annotated[str, Field(max_length=2**16)]
    salt: Annotated[str, Field(max_length=64)]
    body: dict[str, Any]


class Held(_Part):
    """What a peer holds of our own logs: hashes of the ledger's entries, acts in it, channels to the peer."""

    v: Annotated[int, Field(ge=1, le=1)]
    leaves: Base64
    acts: Annotated[list[OpenedEntry], Field(max_length=1000)]
    channels: Annotated[list[HeldChannel], Field(max_length=1000)]


def loads(answer: bytes) -> object:
    """A peer's answer as JSON, of whatever shape; `Malformed` when it is none."""
    try:
        return orjson.loads(answer)
    except orjson.JSONDecodeError as error:
        raise Malformed("a peer's answer is not JSON", why=repr(error)) from None


def read_held(answer: object, peer: str) -> Held:
    """A peer's answer in its shape; `Malformed` names what is out of form."""
    return _read(Held, answer, peer)


def read(answer: object, peer: str) -> News:
    """The answer in its shape; `Malformed` names what is out of form."""
    return _read(News, answer, peer)


def _read(shape: type[Shape], answer: object, peer: str) -> Shape:
    try:
        return shape.model_validate(answer)
    except ValidationError as error:
        found = [problem(".".join(map(str, e["loc"])), e.get("input"), e["msg"]) for e in error.errors()[:10]]
        raise Malformed("a peer's answer is not of the agreed form", where=peer, problems=found) from None
