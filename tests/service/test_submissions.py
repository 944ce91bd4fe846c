"""Cosignatures of witnesses over HTTP: a slow one holds up nobody, and is not left out."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from threading import Event

import pytest

from clients.demo.waiting import until
from node.ledger import policy
from node.ledger.checkpoint import stated
from node.service.parts import Parts
from node.service.submissions import Submissions
from node.store import logs, witnessed
from node.store.tables import LEDGER
from tests.service.world import Node, World, operator
from tests.tlog_witnesses import Witness, nothing, serving

ORIGIN = "aeo.br.example/ledger"


@dataclass
class Watched:
    """BR with two witnesses of which one suffices: a fast one, and one that answers when `let_go` is set."""

    br: Node
    submissions: Submissions
    fast: Witness
    slow: Witness
    let_go: Event

    def served(self) -> str:
        """The newest checkpoint as it is served."""
        with self.br.parts.database.read() as connection:
            head = logs.head(connection, LEDGER)
            assert head is not None
            return witnessed.published(connection, head)

    def cosigned_by(self) -> set[str]:
        """Who is seen to have cosigned the checkpoint that is served; each must have signed it well."""
        with self.br.parts.database.read() as connection:
            own = self.br.parts.policy(connection)
        return set(own.cosigned(self.served()).times_s)


@contextmanager
def submitting(parts: Parts) -> Iterator[Submissions]:
    """Who asks for cosignatures; at the end every answer has come, and the connections are closed."""
    submissions = Submissions(parts, lambda: True)
    try:
        yield submissions
    finally:
        submissions._pool.shutdown()
        for target in submissions._targets.values():
            target.caller.close()


@pytest.fixture
def watched(known: World) -> Iterator[Watched]:
    let_go, keys = Event(), known.br.parts.card.verifiers(ORIGIN)
    with ExitStack() as stack:
        fast, slow = (stack.enter_context(serving(Witness(name, ORIGIN, keys))) for name in ("fast", "slow"))
        slow.arrives = lambda: let_go.wait() or None
        told = f"log {keys[0].vkey()}\n{fast.policy_line}{slow.policy_line}"
        told += "group either any fast slow\nquorum either\n"
        br = replace(known.br, parts=replace(known.br.parts, given_policy=policy.parse(told)))
        submissions = stack.enter_context(submitting(br.parts))
        stack.callback(let_go.set)
        yield Watched(br, submissions, fast, slow, let_go)


def test_what_a_slow_witness_cosigned_is_added_when_it_comes(watched: Watched) -> None:
    watched.submissions._round()
    assert watched.cosigned_by() == {"fast"}, "a quorum suffices"
    rings = watched.br.parts.bell.rings
    watched.let_go.set()
    until(lambda: watched.cosigned_by() == {"fast", "slow"}, what="the cosignature that came late")
    assert watched.br.parts.bell.rings > rings, "who waits for something new is told"


def test_a_slow_witness_holds_up_no_round_and_its_answer_is_of_its_own_checkpoint(watched: Watched) -> None:
    watched.submissions._round()
    first = stated(watched.served()).size
    watched.br.admit(operator(4))
    watched.submissions._round()
    newest = watched.served()
    assert (stated(newest).size, watched.cosigned_by()) == (first + 1, {"fast"})
    watched.let_go.set()
    watched.submissions._pool.shutdown()  # every answer has come
    assert watched.slow.size == first
    assert watched.served() == newest


def test_cosignatures_of_several_rounds_on_one_checkpoint_are_all_kept(watched: Watched) -> None:
    """The one that was there in the first round is away in the second."""
    both = watched.br.parts.given_policy
    assert both is not None
    wanting = replace(watched.br.parts, given_policy=replace(both, groups={}, quorum="nobody"))
    watched.let_go.set()
    watched.slow.arrives = away
    with submitting(wanting) as submissions:
        submissions._round()
    assert watched.cosigned_by() == {"fast"}
    watched.fast.arrives, watched.slow.arrives = away, nothing
    with submitting(wanting) as submissions:
        submissions._round()
    assert watched.cosigned_by() == {"fast", "slow"}


def away() -> None:
    raise OSError("away")
