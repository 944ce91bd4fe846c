"""Hypothesis drives a whole node against a small model: what UY sees is what the agreement says, always."""

import atexit
import shutil
import tempfile
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from node.errors import NotFound, Refusal
from node.records.status import TRANSITIONS
from node.service.batch import Batch
from node.service.signing import Sign
from tests.service.world import CNPJS, World, make_world, open_world, operator, withdrawn

FIRST_DAY = date(2026, 11, 22)
GIVEN = {"given": True, "scope": "GENERAL", "from": "2025-01-10"}
SHOWN_STATUSES = ("ACTIVE", "SUSPENDED", "REVOKED")
KNOWN = (1, 2)
NUMBERS = st.integers(1, 3)

Seen = dict[int, tuple[str, str]]


@dataclass
class Model:
    """What BR recorded of each operator, and what UY must see of it."""

    today: date = FIRST_DAY
    suspended: bool = False
    operators: dict[int, dict[str, Any]] = field(default_factory=dict)
    told: set[int] = field(default_factory=set)

    def shown(self) -> Seen:
        """{number: (status, name)} of the records that the standard contract shares today."""
        return {
            number: (fields["status"], fields["legal_name"])
            for number, fields in self.operators.items()
            if not self.suspended
            and fields["mra_consent"]["given"]
            and fields["status"] in SHOWN_STATUSES
            and fields["valid_to"] >= self.today.isoformat()
        }

    def settle(self) -> None:
        """Whatever is shown now was told once; it leaves a tombstone when it goes."""
        self.told |= set(self.shown())

    def expected(self) -> Seen:
        gone = dict.fromkeys(self.told, ("NOT_SHARED", ""))
        return gone | self.shown()


def known(number: int) -> dict[str, Any]:
    """An operator that is there from the beginning, valid for a few more days."""
    return operator(number, valid_to=(FIRST_DAY + timedelta(number + 1)).isoformat())


@cache
def template() -> tuple[Path, str]:
    """An agreement in operation and two operators that UY knows, made once and copied for every example."""
    folder = Path(tempfile.mkdtemp(prefix="aeo-machine-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    world = make_world(folder / "made")
    world.operate()
    for number in KNOWN:
        world.br.admit(known(number))
    world.exchange()
    world.close()
    return folder / "made", world.agreement


def copied() -> World:
    made, agreement = template()
    folder = Path(tempfile.mkdtemp(prefix="run-", dir=made.parent))
    shutil.copytree(made, folder, dirs_exist_ok=True)
    return open_world(folder, agreement, seed=2)


class NodeMachine(RuleBasedStateMachine):
    """One issuer and its partner, restarted, interrupted and asked at any moment."""

    @initialize()
    def begin(self) -> None:
        self.world = copied()
        self.model = Model(operators={number: known(number) for number in KNOWN}, told=set(KNOWN))
        self.replicated = True

    def teardown(self) -> None:
        if hasattr(self, "world"):
            try:
                self.replicate()
                self.the_partner_sees_what_the_agreement_says()
                assert [node.findings() for node in self.world.nodes] == [[], []]
            finally:
                self.world.close()
                shutil.rmtree(self.world.br.home.parent)

    # What happens at BR

    @rule(number=NUMBERS, days=st.integers(0, 4))
    def admit(self, number: int, days: int) -> None:
        """A new operator, valid for some more days."""
        if number not in self.model.operators:
            valid_to = (self.model.today + timedelta(days)).isoformat()
            fields = operator(number, valid_to=valid_to)
            assert self.world.br.admit(fields).kind == "new"
            self.model.operators[number] = fields
            self.changed()

    @rule(number=NUMBERS, name=st.sampled_from(("A", "B", "C")))
    def rename(self, number: int, name: str) -> None:
        self.amend(number, legal_name=name)

    @rule(number=NUMBERS, status=st.sampled_from(("ACTIVE", "SUSPENDED", "REVOKED", "WITHDRAWN", "ANNULLED")))
    def change_status(self, number: int, status: str) -> None:
        """Along the life cycle, or refused and nothing happens."""
        fields = self.model.operators.get(number)
        if fields is None:
            return
        if fields["status"] == status or (fields["status"], status) in TRANSITIONS:
            self.amend(number, status=status)
            return
        before = self.world.br.ledger()
        try:
            self.world.br.amend(fields["tin"], status=status)
        except Refusal:
            assert self.world.br.ledger() == before
        else:
            raise AssertionError(f"{fields['status']} became {status}")

    @rule(number=NUMBERS)
    def suspend(self, number: int) -> None:
        self.change_status(number, "SUSPENDED")

    @rule(number=NUMBERS)
    def withdraw_consent(self, number: int) -> None:
        self.amend(number, mra_consent=withdrawn(self.model.today.isoformat()))

    @rule(number=NUMBERS)
    def give_consent(self, number: int) -> None:
        self.amend(number, mra_consent=GIVEN)

    @rule(number=NUMBERS, contact=st.sampled_from(("a@b.example", "c@d.example")))
    def change_what_is_hidden(self, number: int, contact: str) -> None:
        """Writes nothing to the channel."""
        before = self.world.br.channel_size("BR", "UY")
        self.amend(number, mra_contact=contact)
        assert self.world.br.channel_size("BR", "UY") == before

    @rule(number=NUMBERS)
    def fail_in_the_middle(self, number: int) -> None:
        """A change whose transaction does not commit never happened."""
        before = self.world.br.ledger()
        try:
            with self.world.br.parts.database.write() as connection:
                batch = Batch(self.world.br.parts, connection)
                self.world.br.keeper.step(batch, 1)
                batch.commit()
                raise InterruptedError
        except InterruptedError:
            self.world.br.parts.standings.forget()
            self.world.br.keeper.rest()
        assert self.world.br.ledger() == before

    @rule()
    def a_day_passes(self) -> None:
        self.world.days_pass()
        self.model.today += timedelta(1)
        self.world.br.keep(limit=1)
        self.changed()

    @precondition(lambda self: not self.model.suspended)
    @rule()
    def suspend_the_direction(self) -> None:
        self.world.br.settle(Sign(self.world.agreement, "suspend", "BR", "UY"))
        self.world.br.keep(limit=2)
        self.model.suspended = True
        self.changed()

    @precondition(lambda self: self.model.suspended)
    @rule()
    def resume_the_direction(self) -> None:
        self.replicate()
        self.world.both("resume", "BR", "UY")
        self.model.suspended = False
        self.changed()

    # What happens between the nodes

    @rule()
    def replicate(self) -> None:
        self.world.exchange()
        self.replicated = True

    @precondition(lambda self: not self.replicated)
    @rule()
    def a_page_is_lost_on_its_way(self) -> None:
        """UY verified nothing of it, so it asks again from the same place."""
        self.world.page(self.world.uy)

    @rule(both=st.booleans())
    def restart(self, both: bool) -> None:
        """The processes end and begin again on what they stored."""
        ms, folder = self.world.clock.ms, self.world.br.home.parent
        self.world.close()
        fresh = open_world(folder, self.world.agreement, seed=ms % 1009 + both, ms=ms)
        self.world = fresh if both else replace(self.world, clock=fresh.clock, br=fresh.br, uy=fresh.uy)

    # What must hold

    @invariant()
    def the_partner_sees_what_the_agreement_says(self) -> None:
        if getattr(self, "replicated", False):
            assert self.seen() == self.model.expected()
            assert self.world.uy.incidents() == []

    def seen(self) -> Seen:
        found = {}
        for number in range(1, 4):
            try:
                answer = self.world.uy.look_up(f"BR{CNPJS[number]}")
            except NotFound:
                continue
            fields = answer["fields"] or {"legal_name": ""}
            value = answer["status"]["stated"] or answer["status"]["value"]
            found[number] = (value, fields["legal_name"])
            is_active = answer["status"]["value"] == "ACTIVE"
            assert answer["recognition"]["applies"] == is_active
        return found

    def amend(self, number: int, **changes: Any) -> None:
        fields = self.model.operators.get(number)
        if fields is None:
            return
        outcome = self.world.br.amend(fields["tin"], **changes)
        assert outcome.kind == ("unchanged" if fields == fields | changes else "changed")
        fields.update(changes)
        self.changed()

    def changed(self) -> None:
        """BR's channels are in line after every change; UY has yet to hear of it."""
        self.model.settle()
        self.replicated = False


NodeMachine.TestCase.settings = settings(
    max_examples=20,
    stateful_step_count=20,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
test_a_node_and_its_model_agree = NodeMachine.TestCase
