"""The shapes of requests and answers, for strict reading and for the OpenAPI description."""

from typing import Annotated, Any, Literal

from fastapi import Path
from pydantic import BaseModel, ConfigDict, Field

from node.exchange.card import LIMIT_CHARACTERS

Operator = dict[str, Any]
Text = Annotated[str, Field(min_length=1, max_length=500)]
Country = Annotated[str, Field(pattern=r"^[A-Z]{2}$")]
CountryPath = Annotated[str, Path(pattern=r"^[A-Z]{2}$", description="Country of the administration.")]


class Request(BaseModel):
    """A request body: unknown members are refused."""

    model_config = ConfigDict(extra="forbid", strict=True)


class ImportList(Request):
    """Operators to admit, each by itself."""

    operators: list[Operator] = Field(
        max_length=10_000, description="Records, as `POST /v1/operators` takes one."
    )
    dry_run: bool = Field(default=False, description="Say what would happen, change nothing.")
    source: str = Field(
        default="", max_length=200, description="Where the list comes from; kept privately with each change."
    )


class StatusChange(Request):
    """A new status of an own operator."""

    status: str = Field(description="ACTIVE, SUSPENDED, REVOKED, WITHDRAWN, EXPIRED, ANNULLED or SUPERSEDED.")
    effective_at: str | None = Field(
        default=None, description="When it takes legal effect (RFC 3339, UTC, milliseconds); now if absent."
    )
    reason_class: str | None = Field(
        default=None, description="A word of the closed list; shared only where the terms say so."
    )
    reason: str = Field(default="", max_length=500, description="For the own file; never leaves the node.")


class ConsentChange(Request):
    """An operator's consent to being named to MRA partners; one that is given needs `by` and its words."""

    given: bool
    scope: Literal["GENERAL"] | list[str] = Field(
        default="GENERAL",
        max_length=64,
        description="All agreements whose terms take a general consent, or those of these names alone.",
    )
    by: str = Field(default="", max_length=200, description="Who at the operator said so.")
    text: str = Field(default="", max_length=4000, description="What was consented to, word for word.")
    document: str = Field(
        default="",
        pattern="^([0-9a-f]{64})?$",
        description="SHA-256 (hex) of the signed paper, if there is one.",
    )
    reason: str = Field(default="", max_length=500, description="For the own file; never leaves the node.")


class ConsentRecorded(BaseModel):
    """One time that a consent was recorded; `source` names the list that it came with."""

    recorded_at: str
    ledger_seq: int
    consent: dict[str, Any] | None
    statement: dict[str, Any] | None = Field(description="By whom it was given, and in which words.")
    entered_by: str
    reason: str
    source: str


class Consents(BaseModel):
    """The consents of one operator, oldest first."""

    tin: str
    consents: list[ConsentRecorded]


class Asked(BaseModel):
    """What a partner asked: for what, its case, for which administration (a country), by which number.

    With its signature: see `node/exchange/fetches.py`.
    """

    purpose: str
    reference: str
    reader: str
    at: str
    about: str
    by: str
    identifier: str
    scheme: str
    salt: str


class DisclosureMade(BaseModel):
    """One entry of a channel about the operator: a disclosure of fields, or that it left the view.

    Or a notice: the acknowledgement of what the partner reported of it.
    """

    time: str
    partner: str
    agreement: str
    kind: Literal["disclosure", "tombstone", "notice"]
    fields: list[str]
    asked: Asked | None = Field(description="What the partner asked for, where it is told on demand.")
    channel_seq: int
    ledger_seq: int | None


class Disclosures(BaseModel):
    """Everything that partners were told about one operator, oldest first."""

    tin: str
    disclosures: list[DisclosureMade]


class LookupList(Request):
    """Identifiers to look up in one call."""

    identifiers: list[Annotated[str, Field(min_length=1, max_length=64)]] = Field(max_length=10_000)
    scheme: str | None = Field(default=None, max_length=16)


class NewAgreement(Request):
    """A draft out of terms and a contract text."""

    title: Text
    countries: list[Country] = Field(min_length=2, max_length=20)
    terms: dict[str, Any]
    contract: str = Field(max_length=65_536, description="The contract's Python text.")
    supersedes: str | None = Field(
        default=None,
        max_length=64,
        description="The id, or how it begins, of the agreement that this one is to replace.",
    )


class NewAct(Request):
    """An act to sign: the one a partner proposed in these words, or else a new proposal."""

    act: Literal["sign", "start", "suspend", "resume", "terminate", "leave"]
    issuer: Country | None = None
    partner: Country | None = None
    mode: Literal["pilot", "operation"] | None = None
    effective: str | None = None
    reason: str = Field(default="", max_length=500)
    preconditions_met: list[str] = Field(default=[], max_length=64)


class Freeze(Request):
    """Why nothing new of a peer is to be believed; it stands in every answer about its operators."""

    reason: Text


class NewPeer(Request):
    """A card to pin, and the fingerprint that was compared over another channel."""

    card: str = Field(max_length=LIMIT_CHARACTERS)
    fingerprint: str = Field(max_length=64, description="As `aeo card` prints it at the peer.")


class Status(BaseModel):
    """A status as it must be read today, beside the one stated."""

    value: str
    stated: str | None
    since: str | None


class Recognition(BaseModel):
    """Whether the benefit applies today, under which agreement, and every reason if not."""

    applies: bool
    agreement: str
    title: str
    reasons: list[str]


class Freshness(BaseModel):
    """How old the newest proof behind the answer is, against the agreement's limit."""

    proven_at: str
    age_s: int
    limit_s: int
    fresh: bool


class BindingClauses(BaseModel):
    """What binds whoever reads an answer; `identifier_scheme`: by which of the numbers in it to match."""

    purpose: str
    onward_transfer: Literal["NONE", "WITH_WRITTEN_CONSENT"]
    keep_until: str = Field(description="Last day on which what is taken from this answer may be kept.")
    identifier_scheme: str


class OperatorAnswer(BaseModel):
    """One operator as this node can prove it."""

    tin: str | None = Field(description="None once the record left our view.")
    record_id: str
    country: str
    source: Literal["own", "mirror"]
    fields: dict[str, Any] | None = Field(
        description="What is recorded, or what was disclosed to us; None: no longer shared."
    )
    status: Status
    recognition: Recognition | None = Field(description="None for own operators.")
    partners: list[dict[str, Any]] | None = Field(
        description="For own operators: what each partner sees, and why."
    )
    provenance: dict[str, Any] = Field(description="The ledger and channel positions behind the answer.")
    freshness: Freshness | None
    clauses: BindingClauses | None = Field(description="What binds the reader; None for own operators.")
    alerts: list[str] = Field(description="What failed verification on this channel and is not used.")
    because: str | None = Field(
        description="Why the answer rests on this agreement; None where there are no `others`."
    )
    others: list["OperatorAnswer"] = Field(
        description="The same operator as told under other agreements, in order; each by its own terms."
    )


class OperatorList(BaseModel):
    """Answers by the identifier asked for; an empty list: not known here."""

    results: dict[str, list[OperatorAnswer]]


class Outcome(BaseModel):
    """What became of one change."""

    outcome: Literal["new", "changed", "unchanged", "refused"]
    tin: str
    record_id: str | None
    version: int | None
    ledger_seq: int | None
    message: str | None = None
    problems: list[dict[str, str]] | None = None


class Admitted(Outcome):
    """A durable change, with its receipt: a C2SP tlog-proof that the ledger holds it.

    `cosigned_by`: which witnesses of the trust policy cosigned its checkpoint; `witnessed`: whether they
    suffice.
    """

    receipt: str | None
    cosigned_by: list[str]
    witnessed: bool


class ImportOutcome(BaseModel):
    """What became of each operator, in the order given."""

    dry_run: bool
    counts: dict[str, int]
    outcomes: list[Outcome]


class ReadCaller(BaseModel):
    """Who asked: the token's id and label, and its role."""

    token: str
    label: str
    role: str


class ReadQuestion(BaseModel):
    """One thing that was asked, and the records that were told.

    `asked` is None where nothing was typed or it is forgotten, and where nothing was `found`: then a keyed
    digest is kept, by which the entry is found again.
    """

    asked: str | None
    found: bool
    told: list[dict[str, str]]


class AccessEntry(BaseModel):
    """One entry of the access log, with what is kept of who asked what."""

    seq: int
    time: str
    kind: str
    expired: bool = Field(description="Its body was removed for its age; the entry stays.")
    caller: ReadCaller | None = Field(default=None, description="None where the node itself wrote it.")
    purpose: str | None = None
    reference: str | None = None
    detail: dict[str, Any] | None = None
    questions: list[ReadQuestion] = []
    more: int = Field(default=0, description="Questions that a list does not show.")
    forgotten: int = Field(default=0, description="Items that went when a record was erased.")


class AccessPage(BaseModel):
    """Entries of the access log, newest first."""

    entries: list[AccessEntry]
    next: int | None = Field(description="Give it as `before` for the next page; None at the end.")
    size: int = Field(description="How many entries there are.")
    waiting_bytes: int = Field(description="What was asked here and could not be taken over yet.")


class CountedReads(BaseModel):
    """How often one operator was read, in one way and for one purpose."""

    record_id: str
    tin: str
    kind: str
    purpose: str = Field(description="One of a few codes: OTHER for free text, NONE where none was stated.")
    times: int


class ToldReads(BaseModel):
    """What one notice tells of reads in a period: what a partner read of ours, or we of its operators."""

    notice: int
    direction: Literal["received", "sent"]
    partner: str
    agreement: str
    since: str = Field(alias="from")
    until: str = Field(alias="to", description="The time of the ledger entry.")
    part: int
    parts: int
    follows: bool = Field(description="Whether nothing is missing between this and what was told before.")
    told_at: str
    ledger: dict[str, Any] = Field(
        description="The entry (origin, seq) of the reader's ledger that commits to its access log as it was."
    )
    access: dict[str, Any] | None = Field(
        description="Size and root of the access log that it commits to; the reader's own to know."
    )
    reads: list[CountedReads] = Field(description="As far as the records were not erased.")


class ToldReadsPage(BaseModel):
    """Notices of reads, newest first."""

    notices: list[ToldReads]
    next: int | None = Field(description="Give it as `before` for the next page; None at the end.")


class Problem(BaseModel):
    """Problem details (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    where: str | None = None
    why: str | None = None
    do: str | None = None
    problems: list[dict[str, str]] | None = None
