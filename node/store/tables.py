"""The tables, as SQLModel classes; queries over them are written with SQLAlchemy Core.

`log` 0 is the node's own ledger; every channel is a log of its own (outgoing: written here, incoming:
a verified copy), and so is the last checkpoint seen of each peer's ledger, without entries.
"""

from sqlalchemy import BigInteger, Column, Index, LargeBinary, UniqueConstraint
from sqlmodel import Field, SQLModel

LEDGER = 0
ACCESS = -1
"""The number of the node's own access log; its entries and tiles stand among those of the others."""
LARGEST = 2**31 - 1
"""Of the numbers in a column, where it does not say otherwise."""


def _blob() -> Column[bytes]:
    return Column(LargeBinary, nullable=False)


class LogHead(SQLModel, table=True):
    """The newest tree head of one log; `UPDATE ... WHERE size = ?` on it is the commit point."""

    __tablename__ = "log_head"
    log: int = Field(primary_key=True)
    origin: str = Field(unique=True)
    size: int
    root: bytes = Field(sa_column=_blob())
    last_leaf: bytes | None = None
    time: str
    checkpoint: str


class LogEntry(SQLModel, table=True):
    """The bytes of one entry."""

    __tablename__ = "log_entry"
    __table_args__ = ({"sqlite_with_rowid": False},)
    log: int = Field(primary_key=True)
    seq: int = Field(primary_key=True)
    entry: bytes = Field(sa_column=_blob())


class LogTile(SQLModel, table=True):
    """The longest known prefix of one tile: up to 256 hashes."""

    __tablename__ = "log_tile"
    log: int = Field(primary_key=True)
    level: int = Field(primary_key=True)
    idx: int = Field(primary_key=True)
    hashes: bytes = Field(sa_column=_blob())


class Heartbeat(SQLModel, table=True):
    """A checkpoint of an incoming channel that our copy was whole under, kept every so often.

    It shows how far we were, and how new the issuer's word was, at times gone by.
    """

    __tablename__ = "heartbeat"
    log: int = Field(primary_key=True)
    time: str = Field(primary_key=True)
    note: str


class Witnessed(SQLModel, table=True):
    """The largest checkpoint of a peer's log that is proven to begin with every one before it.

    It is what this node cosigned or may cosign; our copy of the log must hold to it. `mark` is the oldest
    size seen that our copy has not reached, and `time` when that was seen.
    """

    __tablename__ = "witnessed"
    origin: str = Field(primary_key=True)
    size: int = Field(sa_type=BigInteger)
    root: bytes = Field(sa_column=_blob())
    note: str
    mark: int = Field(sa_type=BigInteger)
    time: str


class Cosigned(SQLModel, table=True):
    """The newest checkpoint of an own log that a quorum of its witnesses cosigned, or as many as did."""

    __tablename__ = "cosigned"
    origin: str = Field(primary_key=True)
    size: int = Field(sa_type=BigInteger)
    note: str


class LedgerBody(SQLModel, table=True):
    """The sealed body behind a ledger entry that is not a record version."""

    __tablename__ = "ledger_body"
    seq: int = Field(primary_key=True)
    sealed: bytes = Field(sa_column=_blob())


class Record(SQLModel, table=True):
    """One own record: its newest version, its wrapped key, and its kind where it is no operator."""

    __tablename__ = "record"
    record_id: str = Field(primary_key=True)
    tin: str = Field(unique=True)
    version: int
    wrapped_key: bytes = Field(sa_column=_blob())
    kind: str | None = None


class RecordVersion(SQLModel, table=True):
    """One sealed state of an own operator."""

    __tablename__ = "record_version"
    record_id: str = Field(primary_key=True)
    version: int = Field(primary_key=True)
    ledger_seq: int = Field(unique=True)
    sealed: bytes = Field(sa_column=_blob())


class OperatorIdentifier(SQLModel, table=True):
    """Finds an operator by any identifier; `log` 0 for own ones, else the incoming channel."""

    __tablename__ = "operator_identifier"
    __table_args__ = (Index("ix_operator_identifier_owner", "log", "record_id"),)
    value: str = Field(primary_key=True)
    scheme: str = Field(primary_key=True)
    log: int = Field(primary_key=True)
    record_id: str = Field(primary_key=True)


class OperatorName(SQLModel, table=True):
    """A name to search by, folded to plain letters."""

    __tablename__ = "operator_name"
    log: int = Field(primary_key=True)
    record_id: str = Field(primary_key=True)
    name: str
    folded: str


class AgreementRow(SQLModel, table=True):
    """The canonical text of an agreement; `rev` tells readers of this store that it moved."""

    __tablename__ = "agreement"
    agreement: str = Field(primary_key=True)
    document: bytes = Field(sa_column=_blob())
    rev: int = Field(index=True)


class ActRow(SQLModel, table=True):
    """An act under an agreement, and where this node's ledger holds it once it is complete."""

    __tablename__ = "act"
    act: str = Field(primary_key=True)
    agreement: str = Field(index=True)
    content: bytes = Field(sa_column=_blob())
    ledger_seq: int | None = None
    rev: int = Field(index=True)


class ActSignature(SQLModel, table=True):
    """One party's signature on an act (a JSON text of the JWS signature object)."""

    __tablename__ = "act_signature"
    act: str = Field(primary_key=True)
    country: str = Field(primary_key=True)
    signature: str


class ActReceipt(SQLModel, table=True):
    """A peer's proof that its own ledger holds the complete act."""

    __tablename__ = "act_receipt"
    act: str = Field(primary_key=True)
    country: str = Field(primary_key=True)
    receipt: str


class Channel(SQLModel, table=True):
    """One directed channel: everything one issuer discloses to one partner under one agreement."""

    __tablename__ = "channel"
    __table_args__ = (UniqueConstraint("agreement", "issuer", "partner"),)
    log: int = Field(primary_key=True)
    agreement: str
    issuer: str
    partner: str
    state: str
    day: str
    place: str | None = None


class ChannelEpoch(SQLModel, table=True):
    """One epoch key of a channel, wrapped by this node's store key; outgoing: also as delivered."""

    __tablename__ = "channel_epoch"
    log: int = Field(primary_key=True)
    epoch: int = Field(primary_key=True)
    wrapped: bytes = Field(sa_column=_blob())
    envelope: bytes | None = None


class ChannelBody(SQLModel, table=True):
    """The sealed body beside a channel entry, and which ledger entry it is about or rests on."""

    __tablename__ = "channel_body"
    __table_args__ = (Index("ix_channel_body_about", "ledger_seq"),)
    log: int = Field(primary_key=True)
    seq: int = Field(primary_key=True)
    ledger_seq: int | None = None
    sealed: bytes = Field(sa_column=_blob())


class ChannelView(SQLModel, table=True):
    """What the partner of an outgoing channel sees of one record now; `digest` None: a tombstone."""

    __tablename__ = "channel_view"
    log: int = Field(primary_key=True)
    record_id: str = Field(primary_key=True)
    digest: bytes | None = None
    seq: int


class Decision(SQLModel, table=True):
    """What a contract answered for one record version, one partner, one day."""

    __tablename__ = "decision"
    __table_args__ = (Index("ix_decision_record", "log", "record_id"),)
    decision: int | None = Field(default=None, primary_key=True)
    log: int
    record_id: str
    version: int
    day: str
    contract: str
    terms: str
    input: str
    answer: str


class Mirror(SQLModel, table=True):
    """What an incoming channel says of one record now; `fields` None: it left our view.

    `doubt`: why a newer entry about it failed verification; then nothing may rest on this row. What comes
    behind it is in `fields` too, and stands here for those that must decide without reading them all.
    `fetched_at`: when it was told last, of a record that is told only when it is asked for.
    """

    __tablename__ = "mirror"
    log: int = Field(primary_key=True)
    record_id: str = Field(primary_key=True)
    seq: int
    fields: bytes | None = None
    ledger_seq: int
    credential: str
    doubt: str | None = None
    tin: str | None = None
    status: str | None = None
    status_since: str | None = None
    valid_to: str | None = None
    programme: str | None = None
    scope: str | None = None
    fetched_at: str | None = None


class MirrorVersion(SQLModel, table=True):
    """One disclosure, tombstone or notice, opened; the history behind `Mirror`."""

    __tablename__ = "mirror_version"
    __table_args__ = (Index("ix_mirror_version_record", "log", "record_id"),)
    log: int = Field(primary_key=True)
    seq: int = Field(primary_key=True)
    record_id: str | None = None
    kind: str
    time: str
    received_at: str
    body: bytes = Field(sa_column=_blob())


class Incident(SQLModel, table=True):
    """Something from a peer that failed verification, kept apart with the reason; never used."""

    __tablename__ = "incident"
    __table_args__ = (UniqueConstraint("peer", "log", "seq", "kind", "evidence_digest"),)
    incident: int | None = Field(default=None, primary_key=True)
    peer: str
    log: int
    seq: int
    kind: str
    record_id: str | None = None
    detail: str
    evidence: bytes = Field(sa_column=_blob())
    evidence_digest: str
    first_seen: str
    last_seen: str
    closed: str | None = None


class Change(SQLModel, table=True):
    """The feed behind `GET /v1/changes`: one row whenever an answer may have changed."""

    __tablename__ = "change"
    __table_args__ = ({"sqlite_autoincrement": True},)
    change: int | None = Field(default=None, primary_key=True)
    log: int
    record_id: str
    tin: str
    kind: str
    time: str


class Peer(SQLModel, table=True):
    """A pinned card; `holds` is the number of the newest card of this node that the peer has.

    A node that was succeeded by another stays, for what was taken from it; `successor` names the other.
    """

    __tablename__ = "peer"
    name: str = Field(primary_key=True)
    country: str
    card: str
    pinned_at: str
    holds: int
    successor: str | None = None


class OwnCardRow(SQLModel, table=True):
    """A card of this node, and where the ledger holds it; the newest one counts."""

    __tablename__ = "own_card"
    number: int = Field(primary_key=True)
    ledger_seq: int
    card: str


class Erasure(SQLModel, table=True):
    """An erasure that the own ledger records: of an own record, or of what a partner had disclosed.

    `scrubbed`: when the files of the store were made free of it; until then it is only deleted.
    """

    __tablename__ = "erasure"
    ledger_seq: int = Field(primary_key=True)
    time: str
    scrubbed: str | None = None


class Erased(SQLModel, table=True):
    """An entry of a log behind which there is nothing any more, and an erasure that names it."""

    __tablename__ = "erased"
    log: int = Field(primary_key=True)
    seq: int = Field(primary_key=True)
    erasure: int = Field(primary_key=True)


class DoomedKey(SQLModel, table=True):
    """The owner of a key of backups that is to be destroyed, named by a digest: its record was erased."""

    __tablename__ = "doomed_key"
    owner: str = Field(primary_key=True)


class ErasureTold(SQLModel, table=True):
    """A notice of an erasure in an outgoing channel, and what the partner answered: ERASED, KEPT or nothing.

    `ledger_seq`: the entry of the partner's ledger that records it; `reason`: why the partner keeps it.
    """

    __tablename__ = "erasure_told"
    log: int = Field(primary_key=True)
    seq: int = Field(primary_key=True)
    erasure: int = Field(index=True)
    answer: str | None = None
    answered_at: str | None = None
    ledger_seq: int | None = None
    reason: str = ""


class ErasureAsked(SQLModel, table=True):
    """A notice in an incoming channel that asks us to erase; `erasure` is ours, once it is done.

    `kept`: the reason that was answered for not doing it yet.
    """

    __tablename__ = "erasure_asked"
    log: int = Field(primary_key=True)
    seq: int = Field(primary_key=True)
    erasure: int | None = None
    kept: str | None = None


class Hold(SQLModel, table=True):
    """A record that the law forbids to erase for now: an own one (log 0), or one disclosed to us."""

    __tablename__ = "hold"
    log: int = Field(primary_key=True)
    record_id: str = Field(primary_key=True)
    reason: str
    by: str
    since: str


class Report(SQLModel, table=True):
    """A notice about one operator on the way back of its channel, sent or received, and its acknowledgement.

    `about` and `record_id`: the record, own (log 0) or as told on that incoming channel. `kind`:
    IRREGULARITY, or SUSPENDED and RESUMED for the partner's own treatment of the operator.
    """

    __tablename__ = "report"
    __table_args__ = (
        UniqueConstraint("log", "seq"),
        Index("ix_report_about", "about", "record_id"),
        {"sqlite_autoincrement": True},
    )
    report: int | None = Field(default=None, primary_key=True)
    log: int
    seq: int
    about: int
    record_id: str
    tin: str
    kind: str
    code: str
    text: str
    time: str
    by: str
    answer_seq: int | None = None
    answered_at: str | None = None
    answer: str | None = None
    answered_by: str | None = None


class LocalDecision(SQLModel, table=True):
    """A decision of this administration to suspend, or resume, its treatment of one told operator."""

    __tablename__ = "local_decision"
    __table_args__ = (Index("ix_local_decision_about", "log", "record_id"),)
    ledger_seq: int = Field(primary_key=True)
    log: int
    record_id: str
    tin: str
    decision: str
    code: str
    reason: str
    by: str
    time: str


class ReadsTold(SQLModel, table=True):
    """A notice on the way back of a channel that tells how often its operators were read in a period.

    `about`: whose operators, own (log 0) or those of that incoming channel. The period ends with the entry
    `ledger_seq` of the reader's ledger, which commits to its access log; `size`: how many entries that had,
    known to the reader only. `part` of `parts`.
    """

    __tablename__ = "reads_told"
    __table_args__ = (UniqueConstraint("log", "seq"), {"sqlite_autoincrement": True})
    told: int | None = Field(default=None, primary_key=True)
    log: int
    seq: int
    about: int
    since: str
    until: str
    ledger_seq: int
    part: int
    parts: int
    time: str
    size: int | None = None


class ReadsCounted(SQLModel, table=True):
    """How often one operator was read in one way, as a notice tells it; it goes with the record.

    `entry`: the entry of the channel that told of the operator, by which the notice names it.
    """

    __tablename__ = "reads_counted"
    __table_args__ = (Index("ix_reads_counted_about", "about", "record_id"),)
    told: int = Field(primary_key=True)
    entry: int = Field(primary_key=True)
    kind: str = Field(primary_key=True)
    purpose: str = Field(primary_key=True)
    about: int
    record_id: str
    tin: str
    times: int


class Token(SQLModel, table=True):
    """A bearer token, as the SHA-256 of its secret."""

    __tablename__ = "token"
    token: str = Field(primary_key=True)
    role: str
    label: str
    secret_hash: bytes = Field(sa_column=_blob())
    created_at: str
    expires_at: str | None = None
    revoked_at: str | None = None


class PeerNonce(SQLModel, table=True):
    """A nonce that a peer's signed request used, kept until the signature has expired."""

    __tablename__ = "peer_nonce"
    sender: str = Field(primary_key=True)
    nonce: str = Field(primary_key=True)
    until_s: int = Field(index=True, sa_type=BigInteger)


class Idempotency(SQLModel, table=True):
    """The answer once given to a caller's key, so that a repeated request changes nothing."""

    __tablename__ = "idempotency"
    caller: str = Field(primary_key=True)
    key: str = Field(primary_key=True)
    request: bytes = Field(sa_column=_blob())
    answer: bytes = Field(sa_column=_blob())
    time: str = Field(index=True)


class AccessState(SQLModel, table=True):
    """The access log's key, wrapped by the store key, and how far it has come.

    `expired`: the newest entry by which bodies were removed for their age; `committed_size` and
    `committed_at`: what the ledger last committed to, and when; `block`: the newest block of `AccessTold`,
    `block_rows`: how many rows it was given.
    """

    __tablename__ = "access_state"
    log: int = Field(primary_key=True)
    wrapped: bytes = Field(sa_column=_blob())
    expired: int | None = None
    committed_size: int
    committed_at: str
    block: int
    block_rows: int


class AccessBody(SQLModel, table=True):
    """The sealed body beside an entry of the access log: who asked, why, for what, and what was told.

    `block`: where `AccessTold` says what it is about.
    """

    __tablename__ = "access_body"
    seq: int = Field(primary_key=True)
    block: int
    sealed: bytes = Field(sa_column=_blob())


class AccessTold(SQLModel, table=True):
    """Which entries of the access log are about a record: (`log`, `record_id`) as in the index.

    With `log` -1 nothing was found, and `record_id` is a keyed digest of what was asked. The rows of some
    thousand reads stand together in a block, so that new ones do not touch a page each.
    """

    __tablename__ = "access_told"
    __table_args__ = ({"sqlite_with_rowid": False},)
    block: int = Field(primary_key=True)
    log: int = Field(primary_key=True)
    record_id: str = Field(primary_key=True)
    seq: int = Field(primary_key=True)


class AccessSegment(SQLModel, table=True):
    """A file of reads that was taken over into the access log, until the file is gone."""

    __tablename__ = "access_segment"
    name: str = Field(primary_key=True)


class AccessForgotten(SQLModel, table=True):
    """The digest of a record of which the access log keeps nothing read up to a moment, come when it may."""

    __tablename__ = "access_forgotten"
    digest: str = Field(primary_key=True)
    until_ms: int = Field(sa_type=BigInteger)
