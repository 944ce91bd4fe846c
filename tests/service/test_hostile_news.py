"""P4: a peer that sends without end does not fill the store, hide what it did, or keep the node busy."""

from collections.abc import Callable
from typing import Any

import orjson
import pytest
from sqlalchemy import func, select, update

from node.errors import Refusal
from node.ledger import canonical
from node.service import replication
from node.service.replication import Follower
from node.store import incidents
from node.store.database import table
from node.store.tables import Incident
from tests.service.test_incoming import (
    ONE,
    TWO,
    Liar,
    entries_of,
    ledger_rewritten,
    ledger_shortened,
    people_settle,
    withhold,
)
from tests.service.test_reading_channels import Wire
from tests.service.world import Json, World, operator

INCIDENT = table(Incident)
LIMIT, OVERTAKEN = 20, 5


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bounds on what is kept of a peer, small enough to be met."""
    monkeypatch.setattr(incidents, "INCIDENTS_LIMIT", LIMIT)
    monkeypatch.setattr(incidents, "OVERTAKEN_LIMIT", OVERTAKEN)


def bad(record_id: str, text: str = "x") -> bytes:
    """A disclosure that opens, names a record, and holds in nothing else."""
    return canonical.encode({"v": 1, "record_id": record_id, "credential": {"kid": text}, "ledger": {}})


def say_bad(world: World, count: int, tin: str = TWO, text: str = "x") -> None:
    liar = Liar(world)
    for _ in range(count):
        liar.say("disclosure", bad(liar.held(tin).record_id, text))


def overtake(world: World, tin: str = TWO) -> None:
    """The true newest version once more."""
    liar = Liar(world)
    version = liar.held(tin)
    liar.disclose(liar.body(version), version.ledger_seq)


def no_body(answer: Json) -> None:
    for item in entries_of(answer):
        item["body"] = None


def suspend_unread(world: World) -> None:
    """BR suspends an operator and keeps the body of the entry back."""
    world.br.amend(ONE, status="SUSPENDED")
    world.carry(world.uy, no_body)


def kept(world: World) -> tuple[int, int]:
    """(incidents, bytes of evidence) in UY's store."""
    with world.uy.parts.database.read() as connection:
        found = select(func.count(), func.sum(func.length(INCIDENT.c.evidence)))
        rows, size = connection.execute(found).one()
    return rows, size or 0


def recognised(world: World, tin: str) -> bool:
    return bool(world.uy.look_up(tin)["recognition"]["applies"])


# The room for incidents


@pytest.mark.usefixtures("small")
def test_entries_overtaken_on_their_page_are_counted_and_use_no_room_up(known: World) -> None:
    say_bad(known, 3 * LIMIT)
    overtake(known)
    known.carry(known.uy)
    assert recognised(known, ONE)
    assert known.uy.incidents() == []
    told = known.uy.incidents(only_open=False)
    assert len(told) == OVERTAKEN + 1
    assert f"{3 * LIMIT - OVERTAKEN} more entries" in told[0]["detail"]
    assert known.uy.findings() == []
    suspend_unread(known)
    [incident] = known.uy.incidents()
    assert (incident["kind"], incident["record_id"]) == ("invalid", None)
    assert not recognised(known, ONE)
    assert known.uy.findings() == []


@pytest.mark.usefixtures("small")
def test_closed_incidents_make_room_for_an_entry_that_did_not_open(known: World) -> None:
    for _ in range(3):
        say_bad(known, LIMIT - 1)
        known.carry(known.uy)
        overtake(known)
        known.carry(known.uy)
    assert known.uy.incidents() == []
    suspend_unread(known)
    assert [each["record_id"] for each in known.uy.incidents()] == [None]
    assert not recognised(known, ONE)
    assert kept(known)[0] <= LIMIT + 1
    assert known.uy.findings() == []


@pytest.mark.usefixtures("small")
def test_more_open_entries_than_there_is_room_for_stop_recognition_on_the_channel(known: World) -> None:
    say_bad(known, LIMIT + 3)
    known.carry(known.uy)
    suspend_unread(known)
    assert len(known.uy.incidents()) == LIMIT + 1
    assert "4 more entries of this channel failed" in " ".join(
        each["detail"] for each in known.uy.incidents()
    )
    assert not recognised(known, ONE)
    assert known.uy.findings() == []
    people_settle(known)
    assert recognised(known, ONE), "people have settled it"
    assert known.uy.findings() == []


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("fork", [ledger_rewritten, ledger_shortened])
def test_however_much_was_sent_before_a_fork_is_kept_with_what_was_signed(
    known: World, fork: Callable[[World, Json], None]
) -> None:
    say_bad(known, LIMIT + 3)
    known.carry(known.uy)
    for number in range(LIMIT + 3):
        known.br.admit(operator(4, legal_name=f"Nome {number} S/A"))
        page = known.page(known.uy)
        page["channels"].append(page["channels"][0])
        with pytest.raises(Refusal):
            known.take(known.uy, page)
        if number == LIMIT:
            known.carry(known.uy)
    page = known.page(known.uy)
    fork(known, page)
    with pytest.raises(Refusal):
        known.take(known.uy, page)
    assert page["ledger"]["checkpoint"] in evidence(known)
    assert any(each["kind"] == "replaced" for each in known.uy.incidents())


def evidence(world: World) -> list[str]:
    """The signed checkpoints in the incidents about whole answers."""
    with world.uy.parts.database.read() as connection:
        rows = connection.execute(select(INCIDENT.c.evidence).where(INCIDENT.c.log == incidents.WHOLE_PEER))
        parts = [part for (each,) in rows for part in orjson.loads(each)]
    return [part["checkpoint"] for part in parts if "checkpoint" in part]


@pytest.mark.usefixtures("small")
def test_where_no_answer_can_be_kept_singly_any_more_one_incident_still_says_so(known: World) -> None:
    with known.uy.parts.database.write() as connection:
        for number in range(2 * LIMIT):
            incidents.note(connection, whole(number))
    assert len(known.uy.incidents()) == LIMIT + 1


def whole(number: int) -> Json:
    told: Json = {"peer": "aeo.br.example", "log": incidents.WHOLE_PEER, "seq": -1, "kind": "replaced"}
    told |= {"record_id": None, "detail": "d", "evidence": b"[]", "evidence_digest": str(number)}
    return told | {"first_seen": "t", "last_seen": "t", "closed": None}


# The room for evidence


def junk(world: World, number: int) -> Json:
    page = world.page(world.uy)
    part: Json = {"consistency": [], "epochs": {}, "entries": []}
    page["channels"] = [
        part | {"agreement": f"x{number}.{each}", "checkpoint": f"{number}.{each}\n" + "A" * 65_000}
        for each in range(50)
    ]
    return page


def test_what_nobody_signed_is_one_incident_of_bounded_size(known: World) -> None:
    for number in range(3):
        with pytest.raises(Refusal):
            known.take(known.uy, junk(known, number))
    rows, size = kept(known)
    assert (rows, size < 20_000) == (1, True)
    [signed] = evidence(known)
    assert signed.startswith("aeo.br.example/ledger\n")


def test_lines_of_other_keys_on_a_signed_checkpoint_are_not_kept(known: World) -> None:
    page = known.page(known.uy)
    ledger_rewritten(known, page)
    signed = page["ledger"]["checkpoint"]
    page["ledger"]["checkpoint"] += "".join(
        f"\u2014 other{each}.example {'A' * 1000}\n" for each in range(50)
    )
    with pytest.raises(Refusal):
        known.take(known.uy, page)
    assert signed in evidence(known)
    assert kept(known)[1] < 10_000


def test_evidence_of_entries_is_bounded_and_an_incident_without_it_names_no_record(
    known: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(incidents, "EVIDENCE_LIMIT_BYTES", 50_000)
    monkeypatch.setattr(incidents, "PEER_EVIDENCE_LIMIT_BYTES", 100_000)
    say_bad(known, 5, text="x" * 20_000)
    say_bad(known, 1, text="x" * 200_000)
    known.carry(known.uy)
    rows, size = kept(known)
    assert (rows, size < 105_000) == (6, True)
    named = [each["record_id"] is not None for each in reversed(known.uy.incidents())]
    assert named == [True] * 3 + [False] * 3
    assert not recognised(known, ONE), "nothing shows any more whom it is about"
    assert known.uy.findings() == []


# The pause


class Stop:
    """Counts the pauses of a follower, in place of waiting them out."""

    def __init__(self, rounds: int) -> None:
        self.rounds, self.pauses = rounds, list[float]()

    def wait(self, pause_s: float) -> bool:
        self.pauses.append(pause_s)
        return len(self.pauses) > self.rounds


class Waiting(Wire):
    """The wire to BR, with the wait that a request asks for, never waited."""

    def get_bytes(self, path: str, wait_s: float = 0) -> bytes:
        return super().get_bytes(path)


class Merges:
    """A sequencer that does nothing with what it is handed."""

    def submit(self, _work: Any) -> Any:
        return self

    def result(self, _timeout_s: float) -> list[str]:
        return []


def pauses(world: World, tamper: Callable[[Json], None], rounds: int = 8) -> list[float]:
    """The pauses of UY's follower between answers of BR that are tampered with."""
    follower = Follower(world.uy.parts, Merges(), world.br.parts.card)  # type: ignore[arg-type]
    follower._client.close()
    wire, stop = Waiting(world), Stop(rounds)
    wire.tamper = tamper
    follower._client, follower._stop = wire, stop  # type: ignore[assignment]
    follower._follow()
    return stop.pauses[1:]


def test_a_peer_that_always_has_agreements_and_never_a_new_one_is_asked_after_pauses(known: World) -> None:
    numbers = iter(range(1, 100))

    def always(answer: Json) -> None:
        answer["rev"], answer["agreements"] = next(numbers), []

    assert pauses(known, always) == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]


def test_a_peer_that_claims_more_than_it_gives_is_asked_after_pauses(known: World) -> None:
    known.br.admit(operator(4))
    size = known.uy.channel_size("BR", "UY")

    def claim(answer: Json) -> None:
        answer["agreements"] = None
        withhold(known, answer, size)

    told = pauses(known, claim)
    assert told[0] == 0, "its ledger has moved"
    assert told[1:] == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0]


def test_a_peer_that_answers_nothing_without_waiting_is_asked_after_pauses(known: World) -> None:
    def nothing(answer: Json) -> None:
        answer["agreements"] = None

    assert pauses(known, nothing, 4) == [0, 0.1, 0.2, 0.4]


def test_a_long_channel_is_followed_without_a_pause(known: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replication, "WAITED_S", 0)
    for number in (4, 5, 6):
        known.br.admit(operator(number))
    monkeypatch.setattr("node.exchange.serving.ENTRIES_LIMIT_BYTES", 1)

    def quiet(answer: Json) -> None:
        answer["agreements"] = None

    assert pauses(known, quiet, 4) == [0, 0, 0, 0]
    assert known.uy.channel_size("BR", "UY") == known.br.channel_size("BR", "UY")


# What the store says of it


def test_an_incident_that_is_made_to_name_a_record_is_found(known: World) -> None:
    suspend_unread(known)
    with known.uy.parts.database.write() as connection:
        connection.execute(update(INCIDENT).values(record_id="nobody"))
    known.uy.parts.bell.ring()
    assert any("body is missing" in each.what for each in known.uy.findings())


def test_an_incident_that_names_another_record_than_its_evidence_is_found(known: World) -> None:
    say_bad(known, 1)
    known.carry(known.uy)
    assert known.uy.findings() == []
    with known.uy.parts.database.write() as connection:
        connection.execute(update(INCIDENT).values(record_id=Liar(known).held(ONE).record_id))
    assert any("about another record" in each.what for each in known.uy.findings())
