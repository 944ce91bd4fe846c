"""Asks the witnesses of this node's ledger for cosignatures, and hands on what peers' ledgers have signed.

The newest checkpoint goes to every witness of the trust policy at once. A round ends when a quorum has
cosigned and the others had a moment more, or when all have answered or their time is over; the next
begins with the checkpoint that is newest then. Cosignatures that come later are added to what is kept. A
witness that does not answer is left out for a while, and writing waits for none. Every now and then the
partner of each channel is asked to cosign how much of it there is, and each peer's ledger is shown to the
other peers, so that a node which tells two partners two histories is found by one of them.
"""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from functools import partial

import structlog
from sqlalchemy import Connection

from node.errors import Busy, Malformed, NotFound, Refusal, Unproven
from node.exchange import requests
from node.exchange.card import Card, ledger_origin
from node.exchange.peers import Answered, Caller
from node.exchange.trust import WITNESS_PATH
from node.ledger.encoding import parse_decimal
from node.ledger.note import Verifier, joined, open_note, read_note
from node.ledger.policy import Policy
from node.ledger.tiles import Tree
from node.ledger.witness import SIZE_TYPE, request
from node.service import behind
from node.service.accusing import is_frozen
from node.service.parts import Parts
from node.store import logs, witnessed
from node.store.logs import Head
from node.store.tables import LEDGER

ASKED_AT_ONCE = 16
MOMENT_S = 0.05
"""How long the next round waits for the slower witnesses once a quorum is reached."""
LOOK_S = 5.0
QUIET_S = 0.25
"""Between two rounds for which nobody waits."""
ATTEMPTS = 4
"""How often a witness is asked about one checkpoint while the size that it has recorded moves."""
ANSWER_LIMIT_BYTES = 1 << 16
FIRST_PAUSE_S = 0.5

log = structlog.get_logger()


Sign = Callable[[str, bytes], dict[str, str]]
"""The headers of a signed request to an address with a body."""


@dataclass(slots=True)
class Target:
    """One witness as it is asked about one log: where, its keys, the size it had last, when to ask again.

    Requests are signed where the log is known to its issuer only.
    """

    url: str
    verifiers: tuple[Verifier, ...]
    caller: Caller
    sign: Sign | None = None
    old: int = 0
    pause_s: float = 0.0
    again_s: float = 0.0
    contradicts: bool = False
    busy: threading.Lock = field(default_factory=threading.Lock)

    def is_free(self) -> bool:
        """Whether it may be asked now."""
        return not self.busy.locked() and time.monotonic() >= self.again_s

    def ask(self, note: str, tree: Tree, timeout_s: float, retry_s: float) -> str:
        """Its cosignature lines on a checkpoint; empty when there are none, after which it is left alone."""
        with self.busy:
            try:
                lines = self._cosigned(note, tree, timeout_s)
            except Refusal as refusal:
                self.pause_s = min(max(2 * self.pause_s, FIRST_PAUSE_S), retry_s)
                self.again_s = time.monotonic() + self.pause_s
                self.contradicts = isinstance(refusal, Unproven)
                tell = log.warning if isinstance(refusal, Unproven) else log.info
                tell("no cosignature", witness=self.url, why=refusal.sentence())
                return ""
            self.pause_s, self.contradicts = 0.0, False
            return lines

    def _cosigned(self, note: str, tree: Tree, timeout_s: float) -> str:
        for _ in range(ATTEMPTS):  # it records what comes with news too, and so may have moved meanwhile
            answer = self._posted(note, tree, timeout_s)
            if answer.status != 409:
                break
            self.old = _size(answer)
            if self.old > tree.size:
                break
        told = answer.body.decode(errors="replace")
        if answer.status != 200:
            kind = {404: NotFound, 409: Busy, 429: Busy, 503: Busy}.get(answer.status, Unproven)
            raise kind("a witness refused", where=self.url, why=f"{answer.status}: {told[:200].strip()}")
        self.old = tree.size
        opened = open_note(note + told, self.verifiers)  # one of its keys signed at least, and none badly
        if opened.text != read_note(note)[0]:
            raise Unproven("a witness answers with more than signature lines", where=self.url)
        return "".join(each.line() for each in opened.signatures)

    def _posted(self, note: str, tree: Tree, timeout_s: float) -> Answered:
        body = request(self.old, tree.consistency_proof(self.old), note)
        url, headers = f"{self.url}/add-checkpoint", {"content-type": "text/plain; charset=utf-8"}
        headers |= self.sign(url, body) if self.sign else {}
        return self.caller.send("POST", url, headers, timeout_s, body, ANSWER_LIMIT_BYTES)


def _size(answer: Answered) -> int:
    if answer.content_type.partition(";")[0].strip() != SIZE_TYPE:
        raise Malformed("a witness answers 409 without the size it has", why=answer.content_type)
    return parse_decimal(answer.body.decode(errors="replace").removesuffix("\n"), "size")


class Submissions:
    """The thread of a leading process that asks for cosignatures."""

    def __init__(self, parts: Parts, is_awaited: Callable[[], bool]) -> None:
        """`start` begins to ask; as long as nobody waits for cosignatures, only so often."""
        self._parts, self._is_awaited = parts, is_awaited
        self._quiet_until_s = 0.0
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._pool = ThreadPoolExecutor(ASKED_AT_ONCE, "witness")
        self._targets: dict[tuple[str, str], Target] = {}
        self._asked, self._again_s, self._handed_on_s = 0, 0.0, time.monotonic()

    def start(self) -> None:
        """Begin."""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(self._stop,), name="submissions", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End after what is under way."""
        self._stop.set()

    def _run(self, stop: threading.Event) -> None:
        while not stop.is_set() and not self._parts.bell.is_closed:
            heard = self._parts.bell.rings
            for step in (self._round, self._hand_on):
                try:
                    step()
                except Exception as error:  # noqa: BLE001  # whatever witnesses answer, the next round comes
                    log.error("cosignatures could not be asked for", why=repr(error))
            pause_s = QUIET_S if self._is_quiet() else LOOK_S
            self._parts.bell.wait(heard, min(pause_s, self._parts.settings.audit_every_s))

    def _is_quiet(self) -> bool:
        """Whether the next round can wait a little: it costs both nodes as much as a change does."""
        return time.monotonic() < self._quiet_until_s and not self._is_awaited()

    def _round(self) -> None:
        """Ask about the newest checkpoint of the own ledger, once, and keep what is cosigned."""
        if self._is_quiet():
            return
        parts = self._parts
        with parts.database.read() as connection:
            if behind.told(parts, connection):
                return
            head, policy = logs.head(connection, LEDGER), parts.policy(connection)
            kept = witnessed.cosigned(connection, head.origin) if head else None
            frozen = self._frozen(connection)
        if head is None or (kept and kept.size >= head.size and is_quorum(policy, kept.note)):
            return
        if head.size <= self._asked and time.monotonic() < self._again_s:
            return
        free = [each for each in self._of(head.origin, policy, frozen) if each.is_free()]
        if not free:
            return
        self._asked, self._again_s = head.size, time.monotonic() + LOOK_S
        self._quiet_until_s = time.monotonic() + QUIET_S
        asked = [self._pool.submit(self._asking(each, head)) for each in free]
        gathered = Gathered(head, policy)
        deadline_s = time.monotonic() + parts.settings.peer_timeout_s
        while asked and (left_s := deadline_s - time.monotonic()) > 0:
            done, rest = wait(asked, left_s, FIRST_COMPLETED)
            asked = list(rest)
            if gathered.take(done) and gathered.is_quorum:
                self._keep(gathered)
                deadline_s = min(deadline_s, time.monotonic() + MOMENT_S)
        if gathered.lines and not gathered.is_quorum:
            self._keep(gathered)
        for each in asked:
            each.add_done_callback(partial(self._late, gathered))

    def _late(self, gathered: "Gathered", answered: Future[str]) -> None:
        """A witness answers whose round is over; in its own thread, which its time-out ends."""
        try:
            if gathered.take({answered}):
                self._keep(gathered)
        except Exception as error:  # noqa: BLE001  # whatever witnesses answer, nobody waits for this one
            log.error("cosignatures that came late could not be kept", why=repr(error))

    def _frozen(self, connection: Connection) -> set[str]:
        """Where frozen peers would be asked: who has their keys is told nothing, and counts for nothing."""
        peers = self._parts.peers.by_country(connection).values()
        return {each.address + WITNESS_PATH for each in peers if is_frozen(connection, each)}

    def _asking(self, target: Target, head: Head) -> Callable[[], str]:
        settings, tree = self._parts.settings, self._tree(head)

        def asked() -> str:
            lines = target.ask(head.checkpoint, tree, settings.peer_timeout_s, settings.retry_s)
            if head.log == LEDGER and (target.contradicts or self._has_seen_more(target, tree.size)):
                self._look_back(target)
            return lines

        return asked

    def _has_seen_more(self, target: Target, asked: int) -> bool:
        """Whether a witness has seen more of the ledger than there is.

        Where the ledger has only grown since it was asked, with `asked` entries, it is asked again at once.
        """
        if target.old <= asked:
            return False
        with self._parts.database.read() as connection:
            head = logs.head(connection, LEDGER)
        if head is None or head.size < target.old:
            return True
        target.pause_s, target.again_s = 0.0, 0.0
        return False

    def _look_back(self, target: Target) -> None:
        """A witness says that it has seen more of our ledger, or another: only our signature shows it."""
        with self._parts.database.read() as connection:
            peers = list(self._parts.peers.by_country(connection).values())
        for peer in peers:
            if peer.address + WITNESS_PATH == target.url:
                behind.look_back_at(self._parts, peer)
                return
        log.warning("a witness claims to have seen another ledger", witness=target.url, size=target.old)

    def _keep(self, gathered: "Gathered") -> None:
        """Keep a cosigned checkpoint with all that is kept on it; not in place of a newer one.

        Nor in place of one with a quorum if this has none.
        """
        head, note = gathered.head, gathered.note
        with self._parts.database.write() as connection:
            kept = witnessed.cosigned(connection, head.origin)
            if kept is not None and kept.size == head.size:
                note = joined(kept.note, note)
            elif kept is not None and (kept.size > head.size or self._is_worse(gathered, kept.note)):
                return
            witnessed.keep(connection, head.origin, head.size, note)
        self._parts.bell.ring()

    def _is_worse(self, gathered: "Gathered", note: str) -> bool:
        return is_quorum(gathered.policy, note) and not gathered.is_quorum

    def _of(self, origin: str, policy: Policy, frozen: set[str]) -> list[Target]:
        """The witnesses of a policy that can be asked, each once however many keys it has."""
        by_url: dict[str, list[Verifier]] = {}
        for each in policy.witnesses.values():
            if each.url and each.url not in frozen:
                by_url.setdefault(each.url, []).append(each.verifier)
        return [self._target(origin, url, keys) for url, keys in by_url.items()]

    def _target(self, origin: str, url: str, keys: Sequence[Verifier], sign: Sign | None = None) -> Target:
        known = self._targets.get((origin, url))
        if known is None or known.verifiers != tuple(keys):
            known = self._targets[origin, url] = Target(url, tuple(keys), Caller(url), sign)
        return known

    def _tree(self, head: Head) -> Tree:
        return Tree(logs.later_reader(self._parts.database, head.log), head.size)

    def _hand_on(self) -> None:
        """Every now and then: each channel to its partner, and each peer's ledger to the other peers."""
        if time.monotonic() - self._handed_on_s < self._parts.settings.audit_every_s:
            return
        self._handed_on_s = time.monotonic()
        with self._parts.database.read() as connection:
            cards, frozen = self._parts.peers.by_country(connection), self._frozen(connection)
            lines = self._parts.lines(connection, self._parts.today())
            own = [(logs.head(connection, line.channel.log), line.channel.partner) for line in lines]
            copies = [
                (logs.head_of(connection, ledger_origin(card.name)), country)
                for country, card in cards.items()
            ]
        heard = {
            country: card for country, card in cards.items() if card.address + WITNESS_PATH not in frozen
        }
        for head, partner in own:
            if partner in heard:
                self._ask_partner(head, heard[partner])
        for head, country in copies:
            for other in (card for each, card in heard.items() if each != country):
                self._show(head, other)

    def _ask_partner(self, head: Head | None, partner: Card) -> None:
        """Let the partner of a channel say how much of it it has seen."""
        if head is None:
            return
        url = partner.address + WITNESS_PATH
        target = self._target(head.origin, url, partner.cosigners(), self._sign)
        if target.is_free() and target.old < head.size:
            self._pool.submit(self._kept, self._asking(target, head), head)

    def _kept(self, ask: Callable[[], str], head: Head) -> None:
        lines = ask()
        if lines:
            with self._parts.database.write() as connection:
                witnessed.keep(connection, head.origin, head.size, head.checkpoint + lines)

    def _sign(self, url: str, body: bytes) -> dict[str, str]:
        parts = self._parts
        return requests.sign(
            "POST", url, body, parts.settings.name, parts.keys.known_to_peers, parts.now_ms() / 1000
        )

    def _show(self, head: Head | None, other: Card) -> None:
        """Show a peer's ledger, as far as it is proven here, to another."""
        if head is None or not head.is_whole:
            return
        target = self._target(head.origin, other.address + WITNESS_PATH, other.cosigners())
        if target.is_free() and target.old < head.size:
            self._pool.submit(self._asking(target, head))


@dataclass(slots=True)
class Gathered:
    """The cosignatures that have come in on one checkpoint."""

    head: Head
    policy: Policy
    lines: list[str] = field(default_factory=list)

    @property
    def note(self) -> str:
        """The checkpoint with them."""
        return self.head.checkpoint + "".join(self.lines)

    @property
    def is_quorum(self) -> bool:
        """Whether they suffice."""
        return is_quorum(self.policy, self.note)

    def take(self, done: set[Future[str]]) -> bool:
        """Take in answers; gives whether there are lines in them."""
        new = [lines for each in done if (lines := each.result())]
        self.lines += new
        return bool(new)


def is_quorum(policy: Policy, note: str) -> bool:
    """Whether a note of an own log is cosigned as its policy wants."""
    return policy.is_quorum(policy.cosigned(note).times_s)
