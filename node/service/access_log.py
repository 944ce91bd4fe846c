"""The access log: who asked what, recorded before it is answered, chained, and committed to in the ledger.

What is asked is handed to the kernel first (`journal.py`), and taken over into the log in the store a moment
later: entries, tree and signed head as every log of this node has them. Every `access_commit_every_s` the
ledger commits to its head, whether or not anything was read, so that what was asked cannot be rewritten later
and nobody outside sees how much it was. Where it cannot be recorded nothing is told.
"""

import os
import secrets as randomness
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import structlog
from sqlalchemy import Connection

from node.errors import Busy, reason
from node.exchange import sealing
from node.ledger import canonical, moment
from node.ledger.encoding import b64u
from node.service import asking, behind, forgetting, introduction, journal, telling_reads
from node.service.access_writing import Writing, begin, secrets_of
from node.service.asking import Asked, Made, Question, Secrets, Why
from node.service.batch import Batch, SmallWork
from node.service.journal import Left, Segment
from node.service.parts import Parts
from node.service.sequencer import Sequencer
from node.service.telling_reads import Committed
from node.service.tokens import Caller
from node.store import access_log, logs
from node.store.tables import ACCESS

FOLD_S: Final = 0.5
"""How long a read may wait to be taken over into the store: what a loss of power may cost, with a commit."""
STOP_S: Final = 4.0
"""How long the end of a node waits for what was read to be taken over."""
SEGMENT_READS: Final = 2_000
SEGMENT_BYTES: Final = 4 * 2**20
BACKLOG_BYTES: Final = 64 * 2**20
"""So much may wait while the store takes nothing; beyond it nothing is told any more."""
EXPIRE_EVERY_S: Final = 3_600.0
COMMIT_AGAIN_S: Final = 60.0
"""When the ledger could not commit to the log."""
UNRECORDED: Final = "what is asked cannot be recorded, so nothing is told"
DO: Final = "whoever runs the node makes room on its disk and reads its log; then repeat the request"

log = structlog.get_logger()


class AccessLog:
    """One process's end of the node's access log."""

    def __init__(self, parts: Parts, sequencer: Sequencer) -> None:
        """`start` begins; nothing is written before the sequencer has seen that the store is no old one."""
        self._parts, self._sequencer = parts, sequencer
        self._folder: Path = parts.bookmark.path.parent / journal.FOLDER
        self._lock, self._folding = threading.Lock(), threading.Lock()
        self._secrets: Secrets | None = None
        self._current: Segment | None = None
        self._full: list[Segment | Left] = []
        self._gone: list[str] = []
        self._backlog = 0
        self._expire_s = self._commit_s = 0.0
        self._committed: Future[Any] | None = None
        self._wake, self._stop = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="access", daemon=True)

    # Recording.

    def record(
        self,
        caller: Caller,
        kind: str,
        why: Why,
        questions: Sequence[Question],
        detail: Mapping[str, Any] | None = None,
    ) -> None:
        """Record what somebody asked and is about to be told; `Busy` where that cannot be: then tell nothing.

        On return the kernel has it: it survives this process, whatever becomes of that.
        """
        if self._secrets is None:
            raise Busy("the access log has not begun", do="ask again in a moment")
        of = caller.token, caller.label, caller.role
        asked = Asked(self._parts.now_ms(), kind, of, why, questions, detail or {})
        nonce = self._parts.entropy(sealing.NONCE_BYTES)
        self._append(journal.framed(asked.seal(self._secrets, nonce)))

    def _append(self, encoded: bytes) -> None:
        with self._lock:
            if self._backlog + len(encoded) > BACKLOG_BYTES:
                why = "the store has taken nothing for too long"
                raise Busy(UNRECORDED, why=why, do=DO)
            try:
                if self._current is None:
                    self._current = Segment(self._folder, self._name())
                self._current.append(encoded)
            except OSError as error:
                self._put_away()
                raise Busy(UNRECORDED, where=journal.FOLDER, why=reason(error), do=DO) from None
            self._backlog += len(encoded)
            if self._current.count >= SEGMENT_READS or self._current.size >= SEGMENT_BYTES:
                self._put_away()
                self._wake.set()

    def _name(self) -> str:
        return f"{self._parts.now_ms():015d}-{os.getpid()}-{randomness.token_hex(6)}"

    def _put_away(self) -> None:
        """Let what was written wait to be taken over; the next read begins a new file."""
        if self._current is not None:
            self._full.append(self._current)
            self._current = None

    # Taking over.

    @property
    def waiting_bytes(self) -> int:
        """How much was asked here that the store has not taken over yet."""
        return self._backlog

    def start(self) -> None:
        """Begin the log in a store that has none, take up what a killed process left, and go on by itself."""
        with self._parts.database.read() as connection:
            state = access_log.state(connection)
        if state is None:
            begin(self._parts)
        with self._parts.database.read() as connection:
            self._secrets = secrets_of(self._parts, connection)
        with self._lock:
            for each in journal.left(self._folder):
                self._full.append(each)
                self._backlog += each.size
        self._thread.start()

    def stop(self) -> None:
        """Take over what waits, and have the ledger commit to it; a store that stands still is not awaited.

        What it does not take stays in its file, for the next start.
        """
        self._stop.set()
        self._wake.set()
        self._thread.join(STOP_S)

    def take_over(self) -> None:
        """Write what waits into the store; raises what that raises, and then it waits on."""
        with self._folding:
            with self._lock:
                self._put_away()
            while self._full and self._sequencer.has_looked_back:
                self._take(self._full[0])
                with self._lock:
                    done = self._full.pop(0)
                    self._backlog -= done.size
                done.close()

    def _take(self, segment: Segment | Left) -> None:
        assert self._secrets is not None, "it was begun"
        reads, rest = journal.read(segment.path)
        name = segment.path.name
        made = list[Made]()
        for each in reads:
            made.append(asking.make(Asked.unseal(self._secrets, each), self._secrets, self._parts.entropy))
            time.sleep(0)  # whoever answers meanwhile goes first
        with self._parts.database.write(quietly=True) as connection:
            if behind.told(self._parts, connection):
                raise Busy("the store was put back", do="see docs/operate/recovery.md")
            if refusal := introduction.refusal(self._parts, connection):
                raise refusal
            if not access_log.is_taken(connection, name):
                write_reads(self._parts, connection, self._secrets, made)
                access_log.take(connection, name, self._gone)
        # If the process dies here, the next start finds the file named in the store, and removes it.
        if rest:
            log.error("the end of a file of reads is none: power was lost", file=name, bytes=rest)
            segment.path.rename(segment.path.with_suffix(".damaged"))
        else:
            segment.path.unlink(missing_ok=True)
        self._gone = [name]

    def _run(self) -> None:
        while not self._stop.is_set():
            self._wake.wait(FOLD_S)
            self._wake.clear()
            try:
                self.take_over()
                if self._sequencer.leads and not self._stop.is_set():
                    self._keep()
            except Exception as error:  # noqa: BLE001  # it must outlive whatever the store does
                log.error("the access log is not written", why=repr(error), waiting_bytes=self._backlog)
                self._stop.wait(FOLD_S)
        with suppress(Exception):
            self.take_over()
            self._sequencer.submit(CommitHead(is_last=True))

    def _keep(self) -> None:
        """Have the ledger commit to the log, and remove what is too old, each when it is due."""
        now_s = time.monotonic()
        self._tell()  # before the next commitment takes the place of this one
        if self._committed is None and now_s >= self._commit_s and self._is_due():
            self._commit_s = now_s + min(COMMIT_AGAIN_S, self._parts.settings.access_commit_every_s)
            self._committed = self._sequencer.submit(CommitHead())
        if now_s >= self._expire_s:
            self._expire_s = now_s + EXPIRE_EVERY_S
            forgetting.expire(self._parts)

    def _tell(self) -> None:
        """Tell partners what was read of their operators, up to what the ledger has just committed to."""
        if self._committed is None or not self._committed.done():
            return
        committed, self._committed = self._committed, None
        if (head := committed.result()) is not None:
            for work in telling_reads.due(self._parts, head):
                self._sequencer.submit(work).add_done_callback(_note_untold)

    def _is_due(self) -> bool:
        with self._parts.database.glance() as connection:
            state = access_log.state(connection)
        return state is not None and is_due(self._parts, state, self._parts.now_ms())


def _note_untold(telling: Future[Any]) -> None:
    """The next commitment tells it again; until then it is late."""
    if error := telling.exception():
        log.error("a partner is not told what was read", why=repr(error))


def is_due(parts: Parts, state: access_log.State, now_ms: int) -> bool:
    """Whether the ledger is to commit to the access log again."""
    return now_ms - moment.parse(state.committed_at) >= parts.settings.access_commit_every_s * 1000


@dataclass(frozen=True, slots=True)
class CommitHead(SmallWork):
    """An entry of the ledger that commits to the head of the access log as it is now.

    Written when its time has come, whether or not anything was read since the one before, so that it tells
    nothing of that; but not before the first read, and at a node's stop (`is_last`) only if there was one.
    """

    is_last: bool = False

    def run(self, batch: Batch) -> Committed | None:
        """Append it, if it is due."""
        state, head = access_log.state(batch.connection), logs.head(batch.connection, ACCESS)
        if state is None or head is None or not head.size:
            return None
        is_new = self.is_last and head.size > state.committed_size
        if not is_new and not is_due(batch.parts, state, batch.now_ms):
            return None
        body: canonical.Json = {
            "v": 1,
            "access": {"origin": head.origin, "size": head.size, "root": b64u(head.root)},
        }
        seq = batch.append_body("access", body)
        access_log.set_committed(batch.connection, head.size, batch.time)
        return Committed(seq, head.size)


def write_reads(parts: Parts, connection: Connection, secrets: Secrets, reads: Sequence[Made]) -> None:
    """Append reads to the log, and forget of them what was forgotten meanwhile."""
    writing, gone = Writing(parts, connection), access_log.forgotten(connection)
    since = writing.seq
    late = {
        key
        for read in (reads if gone else ())
        for key in read.about
        if gone.get(access_log.digest_of(key), -1) >= read.time_ms
    }
    for read in reads:
        writing.append(read)
    writing.commit()
    if late:
        forgetting.remove(parts, connection, secrets, late, since)
