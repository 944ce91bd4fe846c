"""The fault table: each effect of the write path fails once, lost or applied but reported as failed.

Two nodes with their real stores, keys, writer, ledgers and channels; what fails is the effect itself, at the
edge where it is handed in. The caller then repeats the request under its key, to the same process or to one
that was started again. Every row ends in the same: one version at the issuer, one entry in its ledger and in
its channel, one in the partner's copy, nothing that `fsck` finds at either, and every receipt holds.

`docs/faults.md` shows both tables of this file; a test keeps them the same.
"""

import errno
import importlib
import pkgutil
import re
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import wait
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pytest
from sqlalchemy import Connection, event

from clients.demo.waiting import until
from contracts import rules, terms
from node import keys, service
from node.errors import Refusal, Unproven
from node.exchange import card, page
from node.exchange.fetches import Case
from node.exchange.versions import Signatory
from node.ledger import merkle, policy, tiles
from node.ledger.proof import TlogProof
from node.ledger.witness import Accepted
from node.records import model
from node.records.credential import es256_signer
from node.service import access_log, access_writing, fetching, submissions, taking_over, telling_reads
from node.service import asking as asking_log
from node.service.access_log import CommitHead
from node.service.admission import AdmitPeer, Freeze, RenewPeer
from node.service.admit import AdmitList, AdmitOne, Amend, Outcome
from node.service.bell import Bell
from node.service.consents import ChangeConsent, Statement
from node.service.erasing import Erase, HoldRecord, ReleaseRecord
from node.service.erasing_disclosed import CarryOut
from node.service.failures import CloseIncident
from node.service.fetching import Tell
from node.service.introduction import Introduce, NoteHeld
from node.service.merging import Merge
from node.service.receipts import Receipt, Receipts
from node.service.reporting import Acknowledge, ReportIrregularity, ResumeHere, SuspendHere
from node.service.sequencer import Sequencer, Work
from node.service.signing import Draft, Sign, Withdraw
from node.service.submissions import Submissions
from node.service.telling_reads import TellReads
from node.service.witnessing import AddCheckpoint, KeepRefused, considered
from node.service.workshop import Workshop
from node.store import channels, logs
from node.store.database import Database
from node.store.tables import LEDGER
from tests.service import stores
from tests.service import test_witnessing as witnessed
from tests.service.test_submissions import submitting
from tests.service.world import (
    CNPJS,
    OFFICER,
    Json,
    Node,
    World,
    asking,
    kid_of,
    make_world,
    open_node,
    open_world,
    operator,
)
from tests.tlog_witnesses import Witness, serving

PAGE = Path(__file__).resolve().parents[2] / "docs" / "faults.md"
ONE, TWO = (f"BR{cnpj}" for cnpj in CNPJS[1:3])
KEY = "one request"
WAIT_S = 20

Kind = Literal["lost", "applied"]


class Row(NamedTuple):
    """What fails, how, what comes then; what the caller heard, if it was written by then, what is true."""

    effect: str
    fault: Kind
    then: Literal["retry", "restart"]
    heard: Literal["refused", "answered", "nothing"]
    written: Literal["no", "yes"]
    afterwards: str


TABLE = (
    Row("load", "lost", "retry", "refused", "no", "the repeated request is the first that is looked at"),
    Row("load", "lost", "restart", "refused", "no", "the repeated request is the first that is looked at"),
    Row("load", "applied", "retry", "refused", "no", "what was read is forgotten and read again"),
    Row("load", "applied", "restart", "refused", "no", "what was read is forgotten and read again"),
    Row("sign version", "lost", "retry", "refused", "no", "no number was used up"),
    Row("sign version", "lost", "restart", "refused", "no", "no number was used up"),
    Row(
        "sign version",
        "applied",
        "retry",
        "refused",
        "no",
        "one signature stands nowhere, another in the ledger",
    ),
    Row(
        "sign version",
        "applied",
        "restart",
        "refused",
        "no",
        "one signature stands nowhere, another in the ledger",
    ),
    Row("sign checkpoint", "lost", "retry", "refused", "no", "what was written before it is undone"),
    Row("sign checkpoint", "lost", "restart", "refused", "no", "what was written before it is undone"),
    Row(
        "sign checkpoint",
        "applied",
        "retry",
        "refused",
        "no",
        "nobody was handed it, and another takes its place",
    ),
    Row(
        "sign checkpoint",
        "applied",
        "restart",
        "refused",
        "no",
        "nobody was handed it, and another takes its place",
    ),
    Row("commit", "lost", "retry", "refused", "no", "the heads stand where they stood"),
    Row("commit", "lost", "restart", "refused", "no", "the heads stand where they stood"),
    Row("commit", "applied", "retry", "refused", "yes", "the repeated request gets the first outcome"),
    Row("commit", "applied", "restart", "refused", "yes", "the repeated request gets the first outcome"),
    Row("cosign", "lost", "retry", "answered", "yes", "no write waits for a witness; it is asked again"),
    Row("cosign", "lost", "restart", "answered", "yes", "no write waits for a witness; it is asked again"),
    Row(
        "cosign", "applied", "retry", "answered", "yes", "the witness tells what it has, and cosigns it again"
    ),
    Row(
        "cosign",
        "applied",
        "restart",
        "answered",
        "yes",
        "the witness tells what it has, and cosigns it again",
    ),
    Row("ring", "lost", "retry", "answered", "yes", "who waits looks again by itself; the receipt is whole"),
    Row(
        "ring", "lost", "restart", "answered", "yes", "who waits looks again by itself; the receipt is whole"
    ),
    Row("ring", "applied", "retry", "answered", "yes", "the writer goes on"),
    Row("ring", "applied", "restart", "answered", "yes", "the writer goes on"),
    Row("answer", "lost", "retry", "nothing", "yes", "the repeated request gets the first outcome"),
    Row("answer", "lost", "restart", "nothing", "yes", "the repeated request gets the first outcome"),
    Row("answer", "applied", "retry", "answered", "yes", "the repeated request gets the same outcome"),
    Row("answer", "applied", "restart", "answered", "yes", "the repeated request gets the same outcome"),
    Row("fetch", "lost", "retry", "answered", "yes", "the partner's cursors stand; it asks again"),
    Row("fetch", "lost", "restart", "answered", "yes", "the partner's cursors stand; it asks again"),
    Row(
        "fetch",
        "applied",
        "retry",
        "answered",
        "yes",
        "a page that did not arrive bound nobody; it asks again",
    ),
    Row(
        "fetch",
        "applied",
        "restart",
        "answered",
        "yes",
        "a page that did not arrive bound nobody; it asks again",
    ),
    Row("take over", "lost", "retry", "answered", "yes", "copy and cursors stand, together"),
    Row("take over", "lost", "restart", "answered", "yes", "copy and cursors stand, together"),
    Row(
        "take over",
        "applied",
        "retry",
        "answered",
        "yes",
        "copy and cursors moved together; nothing comes twice",
    ),
    Row(
        "take over",
        "applied",
        "restart",
        "answered",
        "yes",
        "copy and cursors moved together; nothing comes twice",
    ),
)


@dataclass
class Fault:
    """Strikes the first time: before the effect, which is lost, or behind it, which was applied."""

    kind: Kind
    has_struck: bool = False

    def before(self) -> None:
        self._strike("lost")

    def behind(self) -> None:
        self._strike("applied")

    def _strike(self, kind: Kind) -> None:
        if kind == self.kind and not self.has_struck:
            self.has_struck = True
            raise OSError(errno.EIO, "struck")


class StruckDatabase(Database):
    """A store of which the first look at a record fails, or the first commit."""

    def __init__(self, node: Node, fault: Fault, *, loads: bool) -> None:
        super().__init__(node.parts.database.url.render_as_string(hide_password=False), node.home)
        self._fault, self._loads = fault, loads
        event.listen(self._engine, "before_cursor_execute", lambda *told: self._load(fault.before, told[2]))
        event.listen(self._engine, "after_cursor_execute", lambda *told: self._load(fault.behind, told[2]))

    def _load(self, strike: Callable[[], None], statement: str) -> None:
        if self._loads and "FROM record " in statement:
            strike()

    @contextmanager
    def write(self) -> Iterator[Connection]:
        with super().write() as connection:
            yield connection
            if not self._loads:
                self._fault.before()
        if not self._loads:
            self._fault.behind()


class StruckKey:
    """A private key that does not sign, or does not hand over what it signed, as one in a device may."""

    def __init__(self, key: Any, fault: Fault) -> None:
        self._key, self._fault = key, fault

    def sign(self, *asked: Any) -> bytes:
        self._fault.before()
        made: bytes = self._key.sign(*asked)
        self._fault.behind()
        return made

    def __getattr__(self, name: str) -> Any:
        return getattr(self._key, name)


class StruckBell(Bell):
    """A bell that fails before it rings, or behind that."""

    def __init__(self, fault: Fault) -> None:
        super().__init__()
        self._fault = fault

    def ring(self) -> None:
        self._fault.before()
        super().ring()
        self._fault.behind()


def struck(node: Node, effect: str, fault: Fault) -> Node:
    """The node, with the one part that fails in place of its own, where the effect is one of a part."""
    parts, keys = node.parts, node.parts.keys
    changed: dict[str, Any] = {}
    if effect in ("load", "commit", "take over"):
        parts.database.close()
        changed = {"database": StruckDatabase(node, fault, loads=effect == "load")}
    elif effect == "sign version":
        by = Signatory(parts.settings.name, kid_of(parts), es256_signer(StruckKey(keys.credential[0], fault)))
        changed = {"workshop": Workshop(by, parts.settings.keys, node.home, 0)}
    elif effect == "sign checkpoint":
        changed = {"keys": replace(keys, log=(StruckKey(keys.log[0], fault),))}
    elif effect == "ring":
        changed = {"bell": StruckBell(fault)}
    return replace(node, parts=replace(parts, **changed))


@pytest.fixture(scope="session")
def _operating(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> tuple[Path, str]:
    if stores.ON_POSTGRESQL:
        stores.servers.append(request.getfixturevalue("postgres"))
    folder = tmp_path_factory.mktemp("operating")
    made = make_world(folder)
    made.operate()
    made.br.admit(operator(1))
    made.exchange()
    made.close()
    return folder, made.agreement


@pytest.fixture
def world(_operating: tuple[Path, str], tmp_path: Path) -> Iterator[World]:
    """BR and UY with an agreement in operation; UY knows BR's operator 1."""
    shutil.copytree(_operating[0], tmp_path, dirs_exist_ok=True)
    for home in (tmp_path / "br", tmp_path / "uy"):
        stores.part(home)
    opened = open_world(tmp_path, _operating[1], seed=1)
    yield opened
    opened.close()
    for node in opened.nodes:
        stores.drop(node.home)


def started_again(world: World) -> None:
    """Everything that was in memory is gone: the nodes are opened anew from what they hold."""
    world.close()
    opened = open_world(world.br.home.parent, world.agreement, seed=2, ms=world.clock.ms)
    world.br, world.uy, world.clock = opened.br, opened.uy, opened.clock


@contextmanager
def writing(node: Node) -> Iterator[Sequencer]:
    """The node's own writer, at work."""
    sequencer = Sequencer(node.parts)
    sequencer.start()
    try:
        yield sequencer
    finally:
        sequencer.stop()


def fields_of(number: int) -> Json:
    """An operator as it is recorded."""
    return model.to_json(model.parse(operator(number)))


class Caller:
    """Somebody who records operator 2 at a node, always under the same key, and keeps the receipts."""

    def __init__(self, node: Node, sequencer: Sequencer, receipts: list[str]) -> None:
        self._sequencer, self._receipts, self._kept = sequencer, Receipts(node.parts), receipts
        self._receipts.newest(0)  # so that it knows the ledger as it was

    def asks(self) -> Outcome:
        """Ask, and hear the answer."""
        outcome: Outcome = self._sequencer.submit(AdmitOne(fields_of(2), OFFICER, KEY)).result(WAIT_S)
        assert outcome.ledger_seq is not None
        self._kept.append(self._receipts.newest(outcome.ledger_seq).text)
        return outcome

    def asks_and_leaves(self) -> None:
        """Ask, and be gone when the answer comes."""
        wait([self._sequencer.submit(AdmitOne(fields_of(2), OFFICER, KEY))], WAIT_S)


def named(row: Row) -> str:
    return f"{row.effect}, {row.fault}, {row.then}"


@pytest.mark.parametrize("row", [row for row in TABLE if row.effect != "cosign"], ids=named)
def test_what_fails_once_leaves_the_change_there_once(row: Row, world: World) -> None:
    before, fault, receipts = sizes(world), Fault(row.fault), list[str]()
    at = "uy" if row.effect == "take over" else "br"
    setattr(world, at, struck(getattr(world, at), row.effect, fault))
    with writing(world.br) as sequencer:
        caller = Caller(world.br, sequencer, receipts)
        assert heard(row.effect, caller, world, fault) == row.heard
        assert fault.has_struck
        assert (world.br.ledger().size > before[0]) == (row.written == "yes")
        outcome = caller.asks() if row.then == "retry" else None
    if outcome is None:
        started_again(world)
        with writing(world.br) as sequencer:
            outcome = Caller(world.br, sequencer, receipts).asks()
    assert (outcome.kind, outcome.version, outcome.ledger_seq) == ("new", 1, before[0])
    world.exchange()
    assert sizes(world) == tuple(size + 1 for size in before)
    check_once_everywhere(world, before[0])
    check_receipts(world.br, receipts)


@pytest.mark.parametrize("row", [row for row in TABLE if row.effect == "cosign"], ids=named)
def test_a_cosignature_that_failed_once_is_there_in_the_end(
    row: Row, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The witness is one over HTTP, and has cosigned the ledger as it was before."""
    monkeypatch.setattr(submissions, "LOOK_S", 0.0)  # so that nobody waits for the next look
    before, fault, receipts, origin = sizes(world), Fault(row.fault), list[str](), world.br.ledger().origin
    with serving(Witness("fiscal.example", origin, world.br.parts.card.verifiers(origin))) as witness:
        world.br = watched(world.br, witness)
        with writing(world.br) as sequencer, submitting(world.br.parts) as asking_witnesses:
            receipts.append(cosigned(world.br, asking_witnesses, 0))
            witness.arrives, witness.leaves = fault.before, fault.behind
            caller = Caller(world.br, sequencer, receipts)
            assert (caller.asks().ledger_seq, row.heard) == (before[0], "answered")
            assert (world.br.ledger().size > before[0]) == (row.written == "yes")
            asking_witnesses._round()
            assert fault.has_struck
            assert witness.size == before[0] + (row.fault == "applied")
            assert Receipts(world.br.parts).witnessed(before[0]) is None
            if row.then == "retry":
                receipts.append(cosigned(world.br, asking_witnesses, before[0]))
                caller.asks()
        if row.then == "restart":
            started_again(world)
            world.br = watched(world.br, witness)
            with writing(world.br) as sequencer, submitting(world.br.parts) as asking_witnesses:
                receipts.append(cosigned(world.br, asking_witnesses, before[0]))
                Caller(world.br, sequencer, receipts).asks()
    world.exchange()
    assert sizes(world) == tuple(size + 1 for size in before)
    check_once_everywhere(world, before[0])
    check_receipts(world.br, receipts)


def watched(node: Node, witness: Witness) -> Node:
    """The node, by whose trust policy this witness is to cosign its ledger."""
    [key, *_] = node.parts.card.verifiers(witness.origin)
    told = policy.parse(f"log {key.vkey()}\n{witness.policy_line}quorum {witness.name}\n")
    return replace(node, parts=replace(node.parts, given_policy=told))


def cosigned(node: Node, asking_witnesses: Submissions, seq: int) -> str:
    """The receipt of an entry once the witness has cosigned, which is asked until it has."""
    receipts = Receipts(node.parts)

    def found() -> Receipt | None:
        asking_witnesses._round()
        return receipts.witnessed(seq)

    return until(found, WAIT_S, "the cosignature of the witness").text


def heard(effect: str, caller: Caller, world: World, fault: Fault) -> str:
    """Let it happen; gives what the caller heard of the change."""
    try:
        if effect == "answer":
            return heard_of_an_answer(caller, fault)
        caller.asks()
    except Refusal:
        return "refused"
    if effect in ("fetch", "take over"):
        with pytest.raises(OSError, match="struck"):
            page_to_uruguay(world, fault, fails=effect == "fetch")
    return "answered"


def heard_of_an_answer(caller: Caller, fault: Fault) -> str:
    """Nobody is there for it, or it gets lost behind the caller."""
    try:
        fault.before()
        caller.asks()
        fault.behind()
    except OSError:
        return "answered" if fault.kind == "applied" else caller.asks_and_leaves() or "nothing"
    raise AssertionError("nothing was struck")


def page_to_uruguay(world: World, fault: Fault, *, fails: bool) -> None:
    """One page, which may get lost before it is made or behind that."""
    if fails:
        fault.before()
    answer = world.page(world.uy)
    if fails:
        fault.behind()
    world.take(world.uy, answer)


def sizes(world: World) -> tuple[int, ...]:
    """Of Brazil's ledger, of its channel, and of Uruguay's copy of that."""
    return world.br.ledger().size, *(node.channel_size("BR", "UY") for node in world.nodes)


def check_once_everywhere(world: World, seq: int) -> None:
    """One version of operator 2 here and one there, and nothing that a check finds."""
    for node in world.nodes:
        assert node.findings() == []
        assert node.incidents() == []
        with asking(node) as (connection, answers):
            [version] = answers.history(connection, answers.tellers(), TWO)["versions"]
        assert node.look_up(TWO)["provenance"]["ledger"]["seq"] == seq, version


def check_receipts(node: Node, receipts: list[str]) -> None:
    """Each holds under the node's key, and its checkpoint is the beginning of the newest ledger."""
    assert receipts
    newest, origin = node.ledger(), card.ledger_origin(node.parts.settings.name)
    with node.parts.database.read() as connection:
        tree = tiles.Tree(logs.tile_reader(connection, LEDGER), newest.size)
        for text in receipts:
            proof = TlogProof.decode(text)
            [entry] = logs.entries(connection, LEDGER, proof.index, proof.index + 1)
            old = proof.verify(merkle.leaf_hash(entry), origin, node.parts.card.verifiers(origin))
            proven = tree.consistency_proof(old.size)
            merkle.verify_consistency(old.size, newest.size, old.root, newest.root, proven)


# Every kind of work


class Repeated(NamedTuple):
    """Work whose commit was applied but reported failed, and is asked for again.

    What it added to the ledger, what it adds when it is repeated, and what whoever repeats it hears.
    """

    work: type[Any]
    entries: int
    more: int
    again: str


REPEATED = (
    Repeated(AdmitOne, 1, 0, "new: the first outcome, by its key"),
    Repeated(Amend, 1, 0, "changed: the first outcome, by its key"),
    Repeated(ChangeConsent, 1, 0, "changed: the first outcome, by its key"),
    Repeated(AdmitList, 2, 0, "unchanged: each is as the list says"),
    Repeated(AdmitPeer, 1, 0, "pinned: it is already"),
    Repeated(Draft, 0, 0, "drafted: a second draft, so take one of them back"),
    Repeated(Sign, 1, 1, "signed: a second suspension, and one resumption lifts both"),
    Repeated(Withdraw, 1, 0, "conflict: it is withdrawn already"),
    Repeated(Merge, 1, 0, "merged: what is known is not added"),
    Repeated(CloseIncident, 0, 0, "not-found: none of this number is open"),
    Repeated(AddCheckpoint, 0, 0, "409: it is recorded, which the answer says"),
    Repeated(KeepRefused, 0, 0, "kept: the same incident, renewed"),
    Repeated(RenewPeer, 1, 0, "pinned: it is already"),
    Repeated(NoteHeld, 0, 0, "noted: it is already"),
    Repeated(Freeze, 0, 0, "frozen: it is already"),
    Repeated(Erase, 1, 0, "not-found: it is erased already"),
    Repeated(CarryOut, 1, 0, "carried out: nothing is asked any more"),
    Repeated(HoldRecord, 0, 0, "held: it is already"),
    Repeated(ReleaseRecord, 0, 0, "not-found: it is not held any more"),
    Repeated(SuspendHere, 1, 0, "conflict: it is suspended already"),
    Repeated(ResumeHere, 1, 0, "not-found: it is not suspended any more"),
    Repeated(ReportIrregularity, 0, 0, "conflict: it is reported already"),
    Repeated(Acknowledge, 0, 0, "conflict: it is acknowledged already"),
    Repeated(CommitHead, 1, 0, "committed: it is already"),
    Repeated(Tell, 0, 0, "answered: in another entry of the channel, as it was asked again"),
    Repeated(TellReads, 0, 0, "nothing: it is told already"),
)


def test_every_kind_of_work_has_its_row() -> None:
    modules = [
        importlib.import_module(f"node.service.{each.name}")
        for each in pkgutil.iter_modules(service.__path__)
    ]
    found = {
        each
        for module in modules
        for each in vars(module).values()
        if isinstance(each, type) and each is not Work and {"run", "weight", "tins"} <= set(dir(each))
    }
    assert found == {row.work for row in REPEATED} | {Introduce}, "which has its own test"


def test_a_card_that_was_written_but_reported_failed_is_not_written_twice(world: World) -> None:
    """It is the first work of a node that starts, which goes on until it is done."""
    keys.rotate(world.br.home / "keys", "log")
    world.br.parts.database.close()
    world.br, fault = open_node(world.br.home, world.clock), Fault("applied")
    before = world.br.ledger().size
    world.br = struck(world.br, "commit", fault)
    with writing(world.br) as sequencer:
        assert answered(sequencer, AdmitOne(fields_of(2), OFFICER, KEY)) == "new"
    assert fault.has_struck
    assert world.br.ledger().size == before + 2
    started_again(world)
    assert world.br.parts.card.number == 2
    world.exchange()
    assert [node.findings() for node in world.nodes] == [[], []]


@pytest.mark.parametrize("then", ["retry", "restart"])
@pytest.mark.parametrize("row", REPEATED, ids=lambda row: str(row.work.__name__))
def test_work_that_was_applied_but_reported_failed_is_not_done_twice(
    row: Repeated, then: str, world: World
) -> None:
    at, work = prepared(row.work, world)
    before, fault = getattr(world, at).ledger().size, Fault("applied")
    setattr(world, at, struck(getattr(world, at), "commit", fault))
    with writing(getattr(world, at)) as sequencer:
        assert answered(sequencer, work) == "busy"
        assert fault.has_struck
        assert getattr(world, at).ledger().size == before + row.entries
        again = answered(sequencer, work) if then == "retry" else ""
    if then == "restart":
        started_again(world)
        with writing(getattr(world, at)) as sequencer:
            again = answered(sequencer, work)
    assert again == row.again.partition(":")[0]
    assert getattr(world, at).ledger().size == before + row.entries + row.more
    world.exchange()
    assert [node.findings() for node in world.nodes] == [[], []]


def answered(sequencer: Sequencer, work: Any) -> str:
    """What whoever asks for a piece of work hears, in a word or two."""
    try:
        answer = sequencer.submit(work).result(WAIT_S)
    except Refusal as refusal:
        return refusal.code
    if isinstance(work, Merge):
        assert answer == []
    told = {AdmitPeer: "pinned", Draft: "drafted", Sign: "signed", Merge: "merged", KeepRefused: "kept"}
    told |= {RenewPeer: "pinned", NoteHeld: "noted", Freeze: "frozen", CarryOut: "carried out"}
    told |= {Erase: "erased", HoldRecord: "held", ReleaseRecord: "released"}
    told |= {SuspendHere: "decided", ResumeHere: "decided", ReportIrregularity: "told", Acknowledge: "told"}
    told |= {CommitHead: "committed", Tell: "answered"}
    if isinstance(work, TellReads):
        return "told" if answer else "nothing"
    if isinstance(work, AddCheckpoint):
        return "cosigned" if isinstance(answer, Accepted) else str(answer.status)
    outcomes = answer if isinstance(answer, list) else [answer]
    return told.get(type(work)) or "/".join({outcome.kind for outcome in outcomes})


ELSEWHERE = "http://elsewhere.example"


def _moved(node: Node) -> card.Card:
    """The card of a node that has moved."""
    own = node.parts.card
    moved = card.renew(own, own.administration, ELSEWHERE, node.parts.keys, node.ledger().size)
    assert moved is not None
    return moved


def prepared(kind: type[Any], world: World) -> tuple[str, Any]:
    """A piece of work of this kind, and the node at which it can be done now."""
    br, uy = world.br, world.uy
    if kind is Merge:
        br.settle(Sign(world.agreement, "suspend", "BR", "UY"))
        news = page.read(world.page(uy), br.parts.card.name)
        taking_over.take(uy.parts, br.parts.card, news, lambda _: None)
        assert news.agreements is not None
        return "uy", Merge(br.parts.card, tuple(news.agreements))
    if kind is AddCheckpoint:
        br.admit(operator(4))
        history = witnessed.truth(world)
        body = history.body(witnessed.seen_size(uy), len(history.leaves))
        return "uy", considered(uy.parts, body, None)
    if kind is KeepRefused:
        return "uy", witnessed.refused(world, witnessed.lie(world, 1).note(witnessed.seen_size(uy)))
    if kind is RenewPeer:
        return "br", RenewPeer(_moved(uy))
    if kind is CloseIncident:
        with pytest.raises(Unproven):
            world.carry(uy, lambda answer: answer["ledger"].update(checkpoint=uy.ledger().checkpoint))
        return "uy", CloseIncident(uy.incidents()[0]["incident"])
    if kind is CommitHead:
        _asked(br)
        return "br", CommitHead(is_last=True)
    if kind is Tell:
        directions = terms.terms("br_uy")["directions"]
        _agreed(world, directions=directions | {"BR-UY": directions["BR-UY"] | {"mode": "ON_DEMAND"}})
        case = Case("clearance", "case 1", "UY")
        return "br", Tell("UY", fetching.question(uy.parts, world.agreement, "BR", (ONE, ""), case))
    if kind is TellReads:
        _agreed(world, report_reads=True)
        world.days_pass()
        world.exchange()
        with uy.parts.database.read() as connection:
            channel = channels.channel(connection, world.agreement, "BR", "UY")
        assert channel is not None
        _asked(uy, (channel.log, uy.look_up(ONE)["record_id"]))
        [work] = telling_reads.due(uy.parts, uy.settle(CommitHead(is_last=True)))
        return "uy", work
    if kind is AdmitPeer:
        moved = _moved(uy)
        return "br", AdmitPeer(moved.text, moved.fingerprint)
    hold = HoldRecord(ONE, "court order 12", "counsel")
    if kind is CarryOut:
        br.settle(Erase(ONE, "NOT_NEEDED", "case 1", "officer"))
        world.carry(uy)
        return "uy", CarryOut()
    suspend = SuspendHere(ONE, "SECURITY", "case 1", "chief")
    if kind is Acknowledge:
        uy.settle(ReportIrregularity(ONE, "CARGO", "seal broken", "officer"))
        world.exchange()
        return "br", Acknowledge(1, "seal replaced", "officer")
    if kind in (SuspendHere, ReportIrregularity, ResumeHere):
        if kind is ResumeHere:
            uy.settle(suspend)
            return "uy", ResumeHere(ONE, "case 1 closed", "chief")
        return "uy", suspend if kind is SuspendHere else ReportIrregularity(ONE, "CARGO", "seal", "officer")
    drafted = Draft("BR-UY", ("BR", "UY"), terms.terms("br_uy"), rules.text("mra_v1"))
    changes = {"legal_name": "Outro Nome S/A"}
    made: dict[type[Any], Callable[[], Any]] = {
        AdmitOne: lambda: AdmitOne(fields_of(2), OFFICER, KEY),
        AdmitList: lambda: AdmitList([fields_of(2), fields_of(3)], OFFICER),
        Amend: lambda: Amend(ONE, changes, changes, OFFICER, KEY),
        ChangeConsent: lambda: ChangeConsent(ONE, False, "GENERAL", Statement(), OFFICER, KEY),
        Draft: lambda: drafted,
        Sign: lambda: Sign(world.agreement, "suspend", "BR", "UY"),
        NoteHeld: lambda: NoteHeld(uy.parts.card.name, 1),
        Freeze: lambda: Freeze("UY", "as was said"),
        Erase: lambda: Erase(ONE, "NOT_NEEDED", "case 1", "officer"),
        HoldRecord: lambda: hold,
        ReleaseRecord: lambda: br.settle(hold) and ReleaseRecord(ONE),
        Withdraw: lambda: Withdraw(br.settle(drafted)),
    }
    return "br", made[kind]()


def _agreed(world: World, **changed: Any) -> None:
    """A second agreement in operation, which is that of the world from here on."""
    world.agreement = world.draft(**changed)
    world.both("sign")
    for issuer, partner in (("BR", "UY"), ("UY", "BR")):
        world.both("start", issuer, partner, mode="operation")
    world.exchange()


def _asked(node: Node, *told: tuple[int, str]) -> None:
    """Somebody asked this node something, and was told of these records."""
    access_writing.begin(node.parts)
    with node.parts.database.write() as connection:
        secrets = access_writing.secrets_of(node.parts, connection)
        asked = asking_log.Asked(
            node.parts.now_ms(), "lookup", None, asking_log.Why(), [(ONE, told, False)], {}
        )
        made = asking_log.make(asked, secrets, node.parts.entropy)
        access_log.write_reads(node.parts, connection, secrets, [made])


def test_the_page_shows_these_tables() -> None:
    found = re.findall(r"^\| (.*) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    shown = [tuple(row.split(" | ")) for row in found]
    assert [row for row in shown if len(row) == len(Row._fields)][1:] == [tuple(row) for row in TABLE]
    works = [(f"`{row.work.__name__}`", str(row.entries), str(row.more), row.again) for row in REPEATED]
    assert [row for row in shown if len(row) == len(Repeated._fields)][1:] == works
