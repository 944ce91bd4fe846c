"""P4, P9: a channel is verified from values alone, page by page, and what did not open is asked for again."""

import asyncio
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import orjson
import pytest
from sqlalchemy import event
from starlette.requests import Request

from node.api import logs as routes
from node.errors import Busy, Conflict, Unproven
from node.exchange import incoming, page, serving
from node.exchange.card import channel_origin, ledger_origin
from node.exchange.incoming import NEVER, Reading
from node.exchange.page import EntryPart
from node.exchange.serving import Cursors
from node.ledger import canonical
from node.ledger.entry import ChannelEntry
from node.ledger.merkle import EMPTY_ROOT, root
from node.service import behind, reading_again, replication, taking_over
from node.service.replication import Follower
from node.service.signing import Sign
from node.store import incidents
from node.store.database import add
from node.store.logs import Head, LeafAt
from node.store.tables import LEDGER, Incident
from tests.service.test_incoming import (
    FOUR,
    ONE,
    TWO,
    Liar,
    entries_of,
    flip_the_body,
    is_up_to_date,
    no_body,
    told,
    with_settings,
)
from tests.service.world import Json, Node, Tamper, World, operator

__all__ = ["told"]  # a fixture

MINUTE_MS = 60_000


# Verification is a function


def everything(world: World) -> tuple[Json, Cursors]:
    """All of BR's channel to UY, as to a reader that holds nothing yet."""
    cursors = Cursors(1, 0, 0, {world.agreement: 0})
    return world.answer(world.uy, cursors), cursors


Channel = tuple[list[ChannelEntry], list[EntryPart], Reading, LeafAt]


def whole_channel(known: World) -> Channel:
    """BR's channel to UY, with what it is read by, from values alone."""
    peer, latest_s = known.br.parts.card, known.clock.ms / 1000
    news = page.read(everything(known)[0], peer.name)
    [part] = news.channels
    unseen = Head(0, ledger_origin(peer.name), 0, EMPTY_ROOT, None, NEVER, "")
    ledger = incoming.check_ledger(news.ledger, peer, unseen, latest_s).checkpoint
    leaves = incoming.new_leaves(news.ledger, ledger, unseen)
    assert root(leaves) == ledger.root
    head = Head(0, channel_origin(peer.name, known.agreement, "UY"), 0, EMPTY_ROOT, None, NEVER, "")
    entries = incoming.check_entries(part.entries, head, 0, known.clock.ms)
    keys = incoming.epoch_keys({}, part.epochs, known.uy.parts.keys.seal, head.origin)
    with known.uy.parts.database.read() as connection:
        standing = known.uy.parts.standings.current(connection)[known.agreement]
    fields = tuple(standing.agreement.terms["directions"]["BR-UY"]["fields"])
    return entries, part.entries, Reading(peer, fields, keys), leaves.__getitem__


def test_a_channel_is_verified_without_a_store(known: World) -> None:
    entries, items, by, leaf_at = whole_channel(known)
    found = incoming.read(entries, items, by, lambda _: {}, leaf_at)
    assert found.set_apart == []
    shown = {each.fields["tin"]: each for each in found.disclosed if each.fields}
    assert {ONE, TWO} <= set(shown)
    later = {each.record_id: each.ledger_seq + 1 for each in shown.values() if each.record_id}
    found = incoming.read(entries, items, by, lambda _: later, leaf_at)
    assert {each.record_id for each in found.set_apart} == set(later)
    assert all("older version" in each.reason for each in found.set_apart)


@contextmanager
def statements(node: Node) -> Iterator[list[str]]:
    """The statements that a node's store runs meanwhile."""
    seen = list[str]()

    def note(_c: Any, _cursor: Any, statement: str, *_: Any) -> None:
        seen.append(statement)

    engine = node.parts.database._engine
    event.listen(engine, "before_cursor_execute", note)
    yield seen
    event.remove(engine, "before_cursor_execute", note)


def test_a_page_of_many_records_costs_no_more_queries_than_one_of_few(world: World) -> None:
    world.carry(world.uy)
    counts = []
    for numbers in ((1,), (2, 3, 4, 5, 6)):
        for number in numbers:
            world.br.admit(operator(number))
        with statements(world.uy) as seen:
            world.carry(world.uy)
        counts.append([re.split(r"\s+", statement)[0] for statement in seen].count("SELECT"))
    assert counts[0] == counts[1]


def test_a_page_is_not_stored_over_a_copy_that_moved_while_it_was_verified(
    told: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer, honest = told.page(told.uy), taking_over._checked

    def overtaken(*args: Any) -> Any:
        checked = honest(*args)
        monkeypatch.setattr(taking_over, "_checked", honest)
        told.take(told.uy, answer)
        return checked

    monkeypatch.setattr(taking_over, "_checked", overtaken)
    with pytest.raises(Conflict, match="moved"):
        told.take(told.uy, answer)
    is_up_to_date(told)
    assert told.uy.incidents() == []


def test_a_channel_told_twice_in_one_answer_is_refused(told: World) -> None:
    with pytest.raises(Unproven, match="twice"):
        told.carry(told.uy, lambda answer: answer["channels"].append(answer["channels"][0]))
    told.carry(told.uy)
    is_up_to_date(told)


# Bounds


def test_a_page_of_large_bodies_is_bounded_in_bytes_and_all_of_them_arrive(world: World) -> None:
    liar, count = Liar(world), 20
    large = canonical.encode({"v": 1, "notice": "test", "detail": "x" * 700_000})
    for _ in range(count):
        liar.say("notice", large)
    before, sizes, more = world.uy.channel_size("BR", "UY"), list[int](), True
    while more:
        answer = world.page(world.uy)
        sizes.append(len(orjson.dumps(answer)))
        more = world.take(world.uy, answer)
    assert world.uy.channel_size("BR", "UY") == before + count
    assert world.uy.incidents() == []
    assert len(sizes) == 3
    assert max(sizes) < page.ENTRIES_LIMIT_BYTES + 2**20 < page.ANSWER_LIMIT_BYTES


def test_an_entry_larger_than_what_room_is_left_still_comes_alone(
    told: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "ENTRIES_LIMIT_BYTES", 1)
    before = told.uy.channel_size("BR", "UY")
    assert [told.carry(told.uy) for _ in range(3)] == [True, True, False]
    assert told.uy.channel_size("BR", "UY") == before + 3
    is_up_to_date(told)


@pytest.mark.parametrize(("skew_s", "holds"), [(5, False), (100, True)])
def test_the_skew_that_is_allowed_is_the_one_in_the_settings(told: World, skew_s: int, holds: bool) -> None:
    told.uy.parts = with_settings(told.uy.parts, clock_skew_s=float(skew_s))
    told.clock.ms += 90_000
    early = told.page(told.uy)
    told.clock.ms -= 90_000
    if holds:
        told.take(told.uy, early)
        return
    with pytest.raises(Unproven, match="future"):
        told.take(told.uy, early)


# The revision of the agreements


def test_an_issuer_that_lost_an_act_is_heard_again(known: World) -> None:
    """Restored from a backup it holds less than it told; that is another state, not an older number."""
    parts, peer, own = known.br.parts, known.uy.parts.card, known.br.parts.card
    with parts.database.read() as connection:
        backup = parts.standings.current(connection)
    known.br.settle(Sign(known.agreement, "suspend", "BR", "UY"))
    known.exchange()
    cursors = known.cursors(known.uy)
    with parts.database.read() as connection:
        now = parts.standings.current(connection)
        assert not serving.has_news(connection, now, own, peer, cursors)
        assert serving.has_news(connection, backup, own, peer, cursors)
        assert serving.revision(list(backup.values())) != serving.revision(list(now.values()))


def test_the_revision_tells_nothing_of_agreements_with_others(known: World) -> None:
    with known.br.parts.database.read() as connection:
        [standing] = known.br.parts.standings.current(connection).values()
    before = serving.revision(serving.shared_with({"": standing}, known.br.parts.card, known.uy.parts.card))
    parties = tuple(replace(party, country="AR") for party in standing.agreement.parties[1:])
    foreign = replace(standing, agreement=replace(standing.agreement, parties=parties), told=bytes(32))
    assert (
        serving.revision(
            serving.shared_with({"": standing, "other": foreign}, known.br.parts.card, known.uy.parts.card)
        )
        == before
    )


# What did not open


@pytest.fixture
def follower(told: World) -> Follower:
    """UY's follower of BR, on a wire that is a call."""
    found = Follower(told.uy.parts, None, told.br.parts.card)  # type: ignore[arg-type]
    found._client.close()
    found._client = Wire(told)  # type: ignore[assignment]
    return found


class Wire:
    """Answers UY's requests as BR's node does; `tamper` may damage news, `fault` stops the log."""

    def __init__(self, world: World) -> None:
        self._world, self.peer = world, world.br.parts.card
        self.tamper: Tamper | None = None
        self.fault: Callable[[], None] = lambda: None
        self.asked = list[str]()

    def get_bytes(self, path: str) -> bytes:
        self.asked.append(path)
        if path == behind.SEEN_PATH:
            with self._world.br.parts.database.read() as connection:
                seen = behind.seen_of(connection, "BR", self._world.uy.parts.card)
            return orjson.dumps({"seen": seen})
        if path.startswith("/log/"):
            return self._of_ledger(path.removeprefix("/log/"))
        pairs = parse_qsl(urlsplit(path).query)
        named = dict(pairs)
        at = {
            number: int(size) for name, value in pairs if name == "at" for number, size in [value.split(":")]
        }
        answer = self._world.answer(
            self._world.uy, Cursors(int(named["card"]), int(named["rev"]), int(named["ledger"]), at)
        )
        if self.tamper:
            self.tamper(answer)
        return orjson.dumps(answer)

    def _of_ledger(self, place: str) -> bytes:
        """A bundle or a tile, as the routes of the log give it to who takes no compression."""
        node, shown = self._world.br.parts, routes.Shown(LEDGER, is_public=True)
        if place.startswith("tile/entries/"):
            self.fault()
            request = Request({"type": "http", "headers": []})
            place = place.removeprefix("tile/entries/")
            return bytes(asyncio.run(routes.bundle(place=place, request=request, node=node, this=shown)).body)
        level, _, place = place.removeprefix("tile/").partition("/")
        return bytes(asyncio.run(routes.tile(level=level, place=place, node=node, this=shown)).body)


def wire(follower: Follower) -> Wire:
    assert isinstance(follower._client, Wire)
    return follower._client


@pytest.mark.parametrize("fault", [flip_the_body, no_body])
def test_an_entry_that_came_damaged_is_asked_for_again_and_settles_its_incident(
    told: World, follower: Follower, fault: Callable[[World, Json], None]
) -> None:
    told.carry(told.uy, lambda answer: fault(told, answer))
    assert not told.uy.look_up(TWO)["recognition"]["applies"]
    told.clock.ms += MINUTE_MS
    follower._ask_again()
    assert told.uy.incidents() == []
    is_up_to_date(told)
    assert told.uy.look_up(ONE)["recognition"]["applies"]
    follower._ask_again()
    assert len(wire(follower).asked) == 1, "nothing is left to be asked for"


def test_the_pause_before_a_damaged_entry_is_asked_for_again_doubles(told: World, follower: Follower) -> None:
    told.carry(told.uy, lambda answer: flip_the_body(told, answer))
    wire(follower).tamper = lambda answer: flip_the_body(told, answer)
    asked = []
    for minute in range(1, 40):
        told.clock.ms += MINUTE_MS
        before = len(wire(follower).asked)
        follower._ask_again()
        asked += [minute] * (len(wire(follower).asked) - before)
    assert asked == [1, 2, 4, 8, 16, 32]
    assert len(told.uy.incidents()) == 1
    wire(follower).tamper = None
    told.clock.ms += 60 * MINUTE_MS
    follower._ask_again()
    told.carry(told.uy)
    is_up_to_date(told)


def test_another_entry_in_place_of_the_damaged_one_opens_nothing(told: World, follower: Follower) -> None:
    told.carry(told.uy, lambda answer: flip_the_body(told, answer))
    wire(follower).tamper = lambda answer: entries_of(answer).__delitem__(0)
    told.clock.ms += MINUTE_MS
    follower._ask_again()
    assert [each["seq"] for each in told.uy.incidents()] == [5]
    assert told.uy.look_up(ONE)["fields"]["legal_name"] == "Caatinga Eletrônica S/A"


def test_an_entry_that_opens_late_does_not_replace_what_came_after_it(
    told: World, follower: Follower
) -> None:
    told.br.amend(ONE, legal_name="Caatinga Terceira S/A")
    told.carry(told.uy, lambda answer: flip_the_body(told, answer))
    told.clock.ms += MINUTE_MS
    follower._ask_again()
    assert told.uy.incidents() == []
    assert told.uy.look_up(ONE)["fields"]["legal_name"] == "Caatinga Terceira S/A"
    assert told.uy.look_up(ONE)["recognition"]["applies"]
    assert told.uy.findings() == []


def test_an_entry_that_opens_late_does_not_settle_a_later_one_that_failed(
    told: World, follower: Follower
) -> None:
    Liar(told).misplace(ONE)
    told.carry(told.uy, lambda answer: flip_the_body(told, answer))
    told.clock.ms += MINUTE_MS
    follower._ask_again()
    assert [each["seq"] for each in told.uy.incidents()] == [8]
    answer = told.uy.look_up(ONE)
    assert answer["fields"]["legal_name"] == "Caatinga Nova S/A"
    assert not answer["recognition"]["applies"], "what came last could not be proven, nor be ignored"
    assert told.uy.look_up(FOUR)["recognition"]["applies"]


def test_an_entry_that_could_be_read_and_failed_is_not_asked_for_again(
    told: World, follower: Follower
) -> None:
    Liar(told).misplace(ONE)
    told.carry(told.uy)
    assert told.uy.incidents()
    told.clock.ms += MINUTE_MS
    follower._ask_again()
    assert wire(follower).asked == []


def late(world: World, follower: Follower, damage: Callable[[Json], None]) -> None:
    """A page arrives damaged; a minute later what did not open is asked for again."""
    world.carry(world.uy, damage)
    world.clock.ms += MINUTE_MS
    follower._ask_again()


def no_bodies(answer: Json) -> None:
    for item in entries_of(answer):
        item["body"] = None


def flood(world: World, count: int) -> None:
    """As many newer open incidents of another peer."""
    row = incidents.row("aeo.xx.example", 1, 0, "invalid", "other", b"", "2026-11-22T12:00:00.000Z")
    with world.uy.parts.database.write() as connection:
        add(connection, Incident, [row | {"seq": seq, "record_id": str(seq)} for seq in range(count)])
    world.uy.parts.bell.ring()


def test_the_incidents_of_another_peer_hide_neither_an_alert_nor_a_doubt(
    told: World, follower: Follower
) -> None:
    Liar(told).misplace(ONE)
    told.carry(told.uy, lambda answer: flip_the_body(told, answer))
    alerts = told.uy.look_up(TWO)["alerts"]
    flood(told, incidents.INCIDENTS_LIMIT)
    assert told.uy.look_up(TWO)["alerts"] == alerts != []
    told.clock.ms += MINUTE_MS
    follower._ask_again()
    answer = told.uy.look_up(ONE)
    assert answer["fields"]["legal_name"] == "Caatinga Nova S/A"
    assert not answer["recognition"]["applies"], "what came last could not be proven, nor be ignored"


def test_many_late_entries_ask_for_the_open_incidents_no_oftener_than_one(
    told: World, follower: Follower
) -> None:
    counts = []
    for numbers in ((), (5, 6)):
        for number in numbers:
            told.br.admit(operator(number))
        with statements(told.uy) as seen:
            late(told, follower, no_bodies)
        assert told.uy.incidents() == []
        counts.append(sum(bool(re.search("SELECT .*FROM incident.*ORDER", each, re.S)) for each in seen))
    assert counts[0] == counts[1] > 0
    is_up_to_date(told)


def test_what_opens_late_is_verified_while_the_writer_is_free(
    told: World, follower: Follower, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest, is_held = incoming.read, list[bool]()

    def read(*args: Any) -> Any:
        is_held.append(told.uy.parts.database._writer.locked())
        return honest(*args)

    told.carry(told.uy, no_bodies)
    monkeypatch.setattr(incoming, "read", read)
    told.clock.ms += MINUTE_MS
    follower._ask_again()
    assert is_held == [False, False, False]
    is_up_to_date(told)


def test_what_opens_late_is_not_stored_over_a_copy_that_moved_meanwhile(
    told: World, follower: Follower, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = reading_again._read_again

    def overtaken(*args: Any) -> Any:
        again = honest(*args)
        monkeypatch.setattr(reading_again, "_read_again", honest)
        told.carry(told.uy)
        return again

    told.br.parts = with_settings(told.br.parts, page_limit=1)
    told.carry(told.uy, no_bodies)
    told.clock.ms += MINUTE_MS
    monkeypatch.setattr(reading_again, "_read_again", overtaken)
    with pytest.raises(Conflict, match=r"moved.*/channel"):
        follower._ask_again()
    assert len(told.uy.incidents()) == 1
    follower._ask_again()
    told.exchange()
    is_up_to_date(told)


def test_an_incident_that_people_closed_meanwhile_stays_closed(
    told: World, follower: Follower, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = reading_again._read_again

    def settled(*args: Any) -> Any:
        again = honest(*args)
        with told.uy.parts.database.write() as connection:
            incidents.close(connection, told.uy.incidents()[0]["incident"], "2026-11-22T12:00:00.000Z")
        return again

    told.carry(told.uy, lambda answer: flip_the_body(told, answer))
    wire(follower).tamper = lambda answer: flip_the_body(told, answer)
    monkeypatch.setattr(reading_again, "_read_again", settled)
    told.clock.ms += MINUTE_MS
    follower._ask_again()
    assert told.uy.incidents() == []


def test_late_entries_about_one_record_do_not_go_back_either(known: World) -> None:
    """Check 10 counts what another late entry of the same answer showed."""
    liar, follower = Liar(known), Follower(known.uy.parts, None, known.br.parts.card)  # type: ignore[arg-type]
    follower._client.close()
    follower._client = Wire(known)  # type: ignore[assignment]
    old = liar.held(ONE)
    known.br.amend(ONE, status="SUSPENDED")
    liar.disclose(liar.body(old), old.ledger_seq)
    late(known, follower, no_bodies)
    [incident] = known.uy.incidents()
    assert "older version" in incident["detail"]
    assert known.uy.look_up(ONE)["status"]["value"] == "SUSPENDED"


# A ledger that cannot be re-read


def unreachable() -> None:
    raise Busy("a peer cannot be reached")


def test_a_peer_that_serves_news_but_not_its_ledger_is_flagged_until_a_round_succeeds(
    told: World, follower: Follower
) -> None:
    told.carry(told.uy)
    limit_s = told.uy.look_up(ONE)["freshness"]["limit_s"]
    follower._audit_round()
    wire(follower).fault = unreachable
    kinds = []
    for _ in range(4):
        told.carry(told.uy)
        with pytest.raises(Busy):
            follower._audit_round()
        kinds.append([each["kind"] for each in told.uy.incidents()])
        told.clock.ms += 1000 * limit_s // 2
    assert kinds == [[], [], [], ["unaudited"]]
    assert told.uy.look_up(ONE)["alerts"]
    wire(follower).fault = lambda: None
    follower._audit_round()
    assert told.uy.incidents() == []


def test_a_peer_that_is_silent_altogether_is_late_and_not_unaudited(told: World, follower: Follower) -> None:
    told.carry(told.uy)
    wire(follower).fault = unreachable
    for _ in range(3):
        with pytest.raises(Busy):
            follower._audit_round()
        told.clock.ms += 1000 * told.uy.look_up(ONE)["freshness"]["limit_s"]
        follower._note_lateness()
    assert [each["kind"] for each in told.uy.incidents()] == ["late"]


def test_each_step_of_re_reading_goes_on_when_the_other_fails(
    told: World, follower: Follower, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = list[str]()
    stops = iter([False, False, True])
    monkeypatch.setattr(follower._stop, "wait", lambda _: next(stops))

    def fails() -> None:
        ran.append("audit")
        raise RuntimeError

    monkeypatch.setattr(follower, "_audit_round", fails)
    monkeypatch.setattr(follower, "_ask_again", lambda: ran.append("ask"))
    monkeypatch.setattr(replication.log, "error", lambda *_, **__: None)
    follower._audit()
    assert ran == ["audit", "ask"] * 2
