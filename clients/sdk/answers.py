"""The shapes of a node's answers, as its OpenAPI description has them; plain dictionaries at run time.

Moments are RFC 3339 text in UTC with milliseconds, days `YYYY-MM-DD`. Nothing here is verified: a shape
says what a sound node sends, and the caller trusts its own administration's node for it.
"""

from typing import Any, Literal, NotRequired, TypedDict

Operator = dict[str, Any]
"""An operator record as `node.records.model` reads it."""


class Card(TypedDict):
    """A node's signed card, and the fingerprint to compare over another channel."""

    card: str
    fingerprint: str
    name: str
    country: str


class Log(TypedDict):
    """A ledger: its origin, where it is read, and its C2SP verifier key."""

    origin: str
    url: str
    vkey: str


class Witness(TypedDict):
    """A cosigner: its name, where it is asked for a cosignature, and its C2SP verifier keys."""

    name: str
    url: str
    vkeys: list[str]


class LogKeys(TypedDict):
    """The keys of one administration, as on its card."""

    name: str
    country: str
    administration: str
    log: Log
    witness: Witness


class OwnLogKeys(LogKeys):
    """The own keys, with the ledger's size in entries, and those of each pinned peer."""

    size: int
    peers: list[LogKeys]


class Status(TypedDict):
    """A status as it must be read today, beside the one stated."""

    value: str
    stated: str | None
    since: str | None


class Recognition(TypedDict):
    """Whether the benefit applies today, under which agreement, and every reason if not."""

    applies: bool
    agreement: str
    title: str
    reasons: list[str]


class Freshness(TypedDict):
    """How old the newest proof behind the answer is, in seconds, against the agreement's limit."""

    proven_at: str
    age_s: int
    limit_s: int
    fresh: bool


class BindingClauses(TypedDict):
    """What binds whoever reads an answer.

    `keep_until`: the last day for what is taken from it; `identifier_scheme`: the number to match by.
    """

    purpose: str
    onward_transfer: Literal["NONE", "WITH_WRITTEN_CONSENT"]
    keep_until: str
    identifier_scheme: str


class OperatorAnswer(TypedDict):
    """One operator as the node can prove it; what is about a partner's terms is None for own operators.

    It rests on one agreement, for the reason in `because`; `others` has the answers under each other one.
    """

    tin: str | None
    record_id: str
    country: str
    source: Literal["own", "mirror"]
    fields: Operator | None
    status: Status
    recognition: Recognition | None
    partners: list[dict[str, Any]] | None
    provenance: dict[str, Any]
    freshness: Freshness | None
    clauses: BindingClauses | None
    alerts: list[str]
    because: str | None
    others: list["OperatorAnswer"]


def agreed_number(answer: OperatorAnswer) -> tuple[str, str] | None:
    """The number by which the agreement has its reader match the operator: (scheme, value).

    None for own operators, and where no such number was told.
    """
    clauses, fields = answer["clauses"], answer["fields"] or {}
    scheme = clauses["identifier_scheme"] if clauses else None
    values = [each["value"] for each in fields.get("identifiers", ()) if each["scheme"] == scheme]
    return (scheme, values[0]) if scheme and values else None


class History(TypedDict):
    """Every version that the node recorded or was told, oldest first."""

    tin: str
    versions: list[dict[str, Any]]


class Suggestion(TypedDict):
    """An operator with a name like the one searched; `score` is 0 to 100."""

    score: int
    name: str
    operator: OperatorAnswer


class Search(TypedDict):
    """Suggestions to a person, never a decision."""

    query: str
    note: str
    searched: int
    suggestions: list[Suggestion]


class Outcome(TypedDict, total=False):
    """What became of one change; `message` and `problems` stand there when it was refused."""

    outcome: Literal["new", "changed", "unchanged", "refused"]
    tin: str
    record_id: str | None
    version: int | None
    ledger_seq: int | None
    message: str
    problems: list[dict[str, str]]


class Admitted(Outcome):
    """A durable change, with its receipt: a C2SP tlog-proof that the ledger holds it.

    `cosigned_by`: which witnesses of the trust policy cosigned its checkpoint; `witnessed`: whether they
    suffice.
    """

    receipt: str | None
    cosigned_by: list[str]
    witnessed: bool


class ImportOutcome(TypedDict):
    """What became of each operator, in the order given; `counts` by kind of outcome."""

    dry_run: bool
    counts: dict[str, int]
    outcomes: list[Outcome]


class ConsentRecorded(TypedDict):
    """One time that a consent was recorded: what, when, by whom it was said and entered, in which words."""

    recorded_at: str
    ledger_seq: int
    consent: dict[str, Any] | None
    statement: dict[str, Any] | None
    entered_by: str
    reason: str
    source: str


class Asked(TypedDict):
    """What a partner asked: for what, its case, for which administration, by which number; signed by it."""

    purpose: str
    reference: str
    reader: str
    at: str
    about: str
    by: str
    identifier: str
    scheme: str
    salt: str


class DisclosureMade(TypedDict):
    """One entry of a channel about an operator: fields disclosed, its leaving the view, or a notice."""

    time: str
    partner: str
    agreement: str
    kind: str
    fields: list[str]
    asked: Asked | None
    channel_seq: int
    ledger_seq: int | None


class ErasureMade(TypedDict):
    """An operator was erased, and these partners were told."""

    erasure: int
    entries: int
    partners: list[str]


class Held(TypedDict):
    """How many records of a TIN are held now, or are no longer."""

    records: int


class ErasureAnswer(TypedDict):
    """What a partner was told of an erasure, and what it answered: ERASED, KEPT, or nothing yet."""

    partner: str
    agreement: str
    notice: int
    answer: str | None
    answered_at: str | None
    ledger_seq: int | None
    reason: str | None


class ErasureStatus(TypedDict):
    """An erasure that the node's ledger records, and when its files were free of it."""

    erasure: int
    time: str
    scrubbed: str | None
    partners: list[ErasureAnswer]


class AsOfAnswer(TypedDict):
    """What held then, by the own record or as told under one agreement; `clocks` None: nothing did yet."""

    source: Literal["own", "mirror"]
    country: str
    agreement: str | None
    status: Status
    clocks: dict[str, Any] | None
    fields: Operator | None
    recognition: Recognition | None


class AsOf(TypedDict):
    """What held at `effective`, as far as the node knew at `known`."""

    tin: str
    effective: str
    known: str
    answers: list[AsOfAnswer]


class FetchedAnswer(TypedDict):
    """What a partner answered to a question, in the entry of its channel that this names."""

    country: str
    agreement: str
    entry: int
    shared: bool
    state: str
    operator: OperatorAnswer | None


class LocalDecision(TypedDict):
    """An own decision about a partner's operator, under each of `agreements`; `told`: the issuers."""

    decision: Literal["SUSPENDED", "RESUMED"]
    ledger_entries: list[int]
    agreements: list[str]
    told: list[str]


SuspendedHere = TypedDict(
    "SuspendedHere",
    {
        "tin": str,
        "country": str,
        "agreement": str,
        "since": str,
        "class": str,
        "reason": str,
        "by": str,
        "ledger_seq": int,
    },
)
"""A partner's operator whose treatment is suspended here."""

Report = TypedDict(
    "Report",
    {
        "report": int,
        "direction": Literal["received", "sent"],
        "partner": str,
        "agreement": str,
        "tin": str,
        "kind": Literal["IRREGULARITY", "SUSPENDED", "RESUMED"],
        "class": str,
        "text": str,
        "told_at": str,
        "by": str | None,
        "acknowledged_at": str | None,
        "acknowledgement": str | None,
        "acknowledged_by": str | None,
    },
)
"""What was reported about one operator, to us or by us, and the acknowledgement."""


class Reported(TypedDict):
    """A report that was sent, or acknowledged."""

    report: int
    partner: str
    agreement: str


class Change(TypedDict):
    """One event of the change feed; `change` is the place to resume after. The last four are of notices."""

    change: int
    log: int
    record_id: str
    tin: str
    kind: str
    time: str
    issuer: NotRequired[str]
    agreement: NotRequired[str]
    notice: NotRequired[str]
    detail: NotRequired[str]


class Incident(TypedDict):
    """Something a peer sent that failed verification; `log` -1: its answer as a whole."""

    incident: int
    peer: str
    log: int
    seq: int
    kind: str
    record_id: str | None
    detail: str
    evidence_digest: str
    first_seen: str
    last_seen: str
    closed: str | None


class IncidentEvidence(Incident):
    """One incident with its evidence in base64: JSON of what the peer signed, or the entry that failed."""

    evidence: str


class AgreementSummary(TypedDict):
    """An agreement in short: parties, the state of each direction, what waits for whose signature.

    `withdrawn_by` names the parties that took the draft back or declined it; `supersedes` and `superseded_by`
    the agreement that it is to replace, and the one that has replaced it.
    """

    agreement: str
    title: str
    parties: list[str]
    drafted_on: str
    contract: str
    directions: list[dict[str, str]]
    waiting: list[dict[str, Any]]
    withdrawn_by: list[str]
    signed: bool
    supersedes: str | None
    superseded_by: str | None


class AgreementAnswer(AgreementSummary):
    """One agreement with its document and acts."""

    document: dict[str, Any]
    acts: list[dict[str, Any]]


class ActAnswer(TypedDict):
    """A signed act: whether it takes effect, and whose signature is still missing."""

    act: str
    complete: bool
    missing: list[str]


class Decisions(TypedDict):
    """For each direction out of this node: how many records are shared, and why the others are not."""

    agreement: str
    directions: list[dict[str, Any]]


class Comparison(TypedDict):
    """A page of what would leave a node otherwise under another arrangement: counted, listed, in words.

    `directions` count records by what becomes of them and why, `listed` has each difference, `clauses` how
    the texts differ; `next` is where the next page begins, None at the end.
    """

    day: str
    issuer: str
    records: int
    looked_at: int
    next: str | None
    directions: dict[str, dict[str, Any]]
    listed: list[dict[str, Any]]
    clauses: list[str]
    arriving: str


class Frozen(TypedDict):
    """A peer of which nothing new is believed, and the checkpoint of its ledger up to which it was proven."""

    name: str
    country: str
    checkpoint: str


class Peer(TypedDict, total=False):
    """A peer whose card is pinned."""

    name: str
    country: str
    administration: str
    address: str
    fingerprint: str
    pinned_at: str
    number: int
    has_card: int
    frozen: bool
    successor: str | None


class AccessEntry(TypedDict):
    """One entry of the access log: `caller` and the rest are there as long as its body is."""

    seq: int
    time: str
    kind: str
    expired: bool
    caller: NotRequired[dict[str, str]]
    purpose: NotRequired[str]
    reference: NotRequired[str]
    detail: NotRequired[dict[str, Any]]
    questions: NotRequired[list[dict[str, Any]]]
    more: NotRequired[int]
    forgotten: NotRequired[int]


ToldReads = TypedDict(
    "ToldReads",
    {
        "notice": int,
        "direction": str,
        "partner": str,
        "agreement": str,
        "from": str,
        "to": str,
        "part": int,
        "parts": int,
        "follows": bool,
        "told_at": str,
        "ledger": dict[str, Any],
        "access": dict[str, Any] | None,
        "reads": list[dict[str, Any]],
    },
)
"""How often operators were read in a period, as the reader told their issuer."""


class AccessPage(TypedDict):
    """Entries of the access log, newest first; `next` is where the page behind this one begins."""

    entries: list[AccessEntry]
    next: int | None
    size: int
    waiting_bytes: int
