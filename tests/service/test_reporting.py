"""One partner's operator suspended by own decision, irregularities reported and acknowledged, and erased."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import update

from node.errors import Conflict, Malformed, NotFound
from node.exchange import notices, page, reports
from node.exchange.reports import Acknowledged, Irregularity, Treatment
from node.ledger import canonical
from node.ledger.entry import LedgerEntry
from node.service import disclosures, erasing, reading_again, reporting
from node.service.batch import Batch
from node.service.erasing import Erase, HoldRecord, ReleaseRecord
from node.service.reporting import Acknowledge, ReportIrregularity, ResumeHere, SuspendHere
from node.store import logs
from node.store import reports as store
from node.store.tables import LEDGER
from tests.service import stores
from tests.service.test_erasing import history, is_unknown, remains, say, sound, status, told
from tests.service.world import CNPJS, Json, Node, World, operator, withdrawn

TIN, OTHER = f"BR{CNPJS[1]}", f"BR{CNPJS[2]}"
WHY = "container MSKU 1 opened on the way"
REPORT = ReportIrregularity(TIN, "CARGO", WHY, "officer of uy")
SUSPEND = SuspendHere(TIN, "SECURITY", "case 4711 of the port", "chief of uy")
ERASE = Erase(TIN, "OBJECTION", "case 9", "officer")


def listed(node: Node) -> list[Json]:
    with node.parts.database.read() as connection:
        return reporting.listed(connection, 2**31 - 1, 100)


def suspended(node: Node) -> list[Json]:
    with node.parts.database.read() as connection:
        return reporting.suspended(node.parts, connection)


def reasons(node: Node, tin: str = TIN) -> list[str]:
    told: list[str] = node.look_up(tin)["recognition"]["reasons"]
    return told


def unfounded(node: Node) -> list[Json]:
    return [each for each in node.incidents() if each["kind"] == "unfounded"]


# Suspending one operator here


def test_a_local_suspension_stands_against_recognition_in_every_answer(known: World) -> None:
    made = known.uy.settle(SUSPEND)
    assert (made["decision"], made["told"]) == ("SUSPENDED", ["BR"])
    [reason] = reasons(known.uy)
    assert reason == "suspended here since 2026-11-22T12:00:00.000Z (SECURITY): case 4711 of the port"
    answer = known.uy.look_up(TIN)
    assert (answer["recognition"]["applies"], answer["status"]["value"]) == (False, "ACTIVE")
    [[found]] = known.uy.find([CNPJS[1]]).values()
    assert found["recognition"]["reasons"] == [reason]
    assert reasons(known.uy, OTHER) == []
    known.exchange()
    known.br.amend(TIN, legal_name="Outro Nome S/A")
    known.exchange()
    assert reasons(known.uy) == [reason], "what the issuer says does not lift it"
    sound(known)


def test_it_is_recorded_in_the_own_ledger_and_lifted_the_same_way(known: World) -> None:
    size = known.uy.ledger().size
    known.uy.settle(SUSPEND)
    [held] = suspended(known.uy)
    assert (held["tin"], held["ledger_seq"], held["by"]) == (TIN, size, "chief of uy")
    known.clock.ms += 60_000
    known.uy.settle(ResumeHere(TIN, "case 4711 closed", "chief of uy"))
    assert known.uy.ledger().size == size + 2
    assert (reasons(known.uy), suspended(known.uy)) == ([], [])
    with known.uy.parts.database.read() as connection:
        encoded = logs.entries(connection, LEDGER, size, size + 2)
    assert [LedgerEntry.decode(each).type for each in encoded] == ["agreement"] * 2, "as of any act"
    known.exchange()
    sound(known)


def test_the_issuer_hears_that_it_happened_and_of_which_class_and_not_why(known: World) -> None:
    known.uy.settle(SUSPEND)
    known.exchange()
    [alert] = known.br.look_up(TIN)["alerts"]
    assert alert == "treatment: UY has suspended it there since 2026-11-22T12:00:00.000Z (SECURITY)"
    assert known.br.look_up(OTHER)["alerts"] == []
    known.uy.settle(ResumeHere(TIN, "case 4711 closed", "chief of uy"))
    known.exchange()
    assert known.br.look_up(TIN)["alerts"] == []
    assert [each["kind"] for each in listed(known.br)] == ["RESUMED", "SUSPENDED"]
    if not stores.ON_POSTGRESQL:
        assert remains(known.br.home, ("case 4711", "chief of uy")) == set()
    sound(known)


def test_it_holds_while_the_record_is_out_of_view_and_when_it_is_back(known: World) -> None:
    known.uy.settle(SUSPEND)
    known.br.amend(TIN, mra_consent=withdrawn("2026-11-22"))
    known.exchange()
    assert len(reasons(known.uy)) == 2
    known.br.amend(TIN, mra_consent={"given": True, "scope": "GENERAL", "from": "2026-11-22"})
    known.exchange()
    assert len(reasons(known.uy)) == 1
    sound(known)


def test_it_survives_a_start(known: World) -> None:
    known.uy.settle(SUSPEND)
    assert known.uy.findings() == []


@pytest.mark.parametrize("again", [SUSPEND, SuspendHere(TIN, "OTHER", "another", "somebody")])
def test_it_is_not_decided_twice(again: SuspendHere, known: World) -> None:
    known.uy.settle(SUSPEND)
    size = known.uy.ledger().size
    with pytest.raises(Conflict, match=r"since 2026-11-22.*case 4711"):
        known.uy.settle(again)
    assert known.uy.ledger().size == size


def test_what_is_not_suspended_is_not_resumed(known: World) -> None:
    for tin in (TIN, "BR1"):
        with pytest.raises(NotFound):
            known.uy.settle(ResumeHere(tin, "why", "chief"))


def test_own_operators_are_suspended_otherwise(known: World) -> None:
    with pytest.raises(NotFound, match="aeo operator status"):
        known.br.settle(SUSPEND)


def test_the_clause_must_allow_it(strangers: World) -> None:
    strangers.operate(local_suspension=False)
    strangers.br.admit(operator(1))
    strangers.exchange()
    size = strangers.uy.ledger().size
    with pytest.raises(Conflict) as refused:
        strangers.uy.settle(SUSPEND)
    [named] = refused.value.problems
    assert (named.field, "local_suspension" in named.rule) == (strangers.agreement, True)
    assert (reasons(strangers.uy), strangers.uy.ledger().size) == ([], size)


def test_without_the_clause_on_irregularities_nobody_is_told(strangers: World) -> None:
    strangers.operate(irregularity_notice=False)
    strangers.br.admit(operator(1))
    strangers.exchange()
    size = strangers.uy.channel_size("UY", "BR")
    assert strangers.uy.settle(SUSPEND)["told"] == []
    strangers.exchange()
    assert strangers.uy.channel_size("UY", "BR") == size
    assert not strangers.uy.look_up(TIN)["recognition"]["applies"]
    with pytest.raises(Conflict, match="irregularity_notice"):
        strangers.uy.settle(REPORT)
    sound(strangers)


# Irregularities


def test_an_irregularity_is_reported_shown_acknowledged_and_shown(known: World) -> None:
    assert known.uy.settle(REPORT)["partner"] == "BR"
    known.exchange()
    [received] = listed(known.br)
    shown = {name: received[name] for name in ("direction", "partner", "tin", "class", "text", "by")}
    assert shown == {
        "direction": "received", "partner": "UY", "tin": TIN, "class": "CARGO", "text": WHY, "by": None,
    }  # fmt: skip
    [alert] = known.br.look_up(TIN)["alerts"]
    assert alert == f"irregularity {received['report']}: UY reports CARGO: {WHY}"
    known.clock.ms += 60_000
    known.br.settle(Acknowledge(received["report"], "inspected, seal replaced", "officer of br"))
    with known.br.parts.database.read() as connection:
        told = disclosures.report(known.br.parts, connection, received["tin"])
    assert [(each["kind"], each["asked"]) for each in told] == [("disclosure", None), ("notice", None)]
    assert known.br.look_up(TIN)["alerts"] == []
    known.exchange()
    [sent] = listed(known.uy)
    assert (sent["direction"], sent["by"]) == ("sent", "officer of uy")
    assert sent["acknowledgement"] == "inspected, seal replaced"
    assert (sent["acknowledged_at"], sent["acknowledged_by"]) == ("2026-11-22T12:01:00.000Z", None)
    assert known.uy.look_up(TIN)["recognition"]["applies"], "a report alone decides nothing"
    sound(known)


def test_who_reported_it_stays_in_its_own_administration(known: World) -> None:
    known.uy.settle(REPORT)
    known.exchange()
    if not stores.ON_POSTGRESQL:
        assert remains(known.br.home, ("officer of uy",)) == set()


def test_a_record_that_left_the_view_can_still_be_reported(known: World) -> None:
    known.br.amend(TIN, mra_consent=withdrawn("2026-11-22"))
    known.exchange()
    known.uy.settle(REPORT)
    known.exchange()
    [received] = listed(known.br)
    known.br.settle(Acknowledge(received["report"], "thanks", "officer of br"))
    known.exchange()
    assert listed(known.uy)[0]["acknowledgement"] == "thanks"
    sound(known)


def test_the_way_back_of_a_one_way_arrangement_carries_it(strangers: World) -> None:
    from contracts import terms

    clauses: Any = terms.terms("br_uy")
    strangers.pin()
    strangers.agreement = strangers.draft(directions={"BR-UY": clauses["directions"]["BR-UY"]})
    strangers.both("sign")
    strangers.both("start", "BR", "UY", mode="operation")
    strangers.br.admit(operator(1))
    strangers.exchange()
    strangers.uy.settle(REPORT)
    strangers.exchange()
    assert listed(strangers.br)[0]["text"] == WHY
    sound(strangers)


def test_the_same_words_are_not_told_twice_while_they_wait(known: World) -> None:
    known.uy.settle(REPORT)
    size = known.uy.channel_size("UY", "BR")
    with pytest.raises(Conflict, match="reported already"):
        known.uy.settle(REPORT)
    assert known.uy.channel_size("UY", "BR") == size


@pytest.mark.parametrize("text", ["", "   ", "x" * 501, "two\nlines", "\x1b[31mred"])
def test_a_text_that_cannot_be_sent_is_refused_before(text: str, known: World) -> None:
    size = known.uy.channel_size("UY", "BR")
    with pytest.raises(Malformed):
        known.uy.settle(ReportIrregularity(TIN, "CARGO", text, "officer"))
    assert (listed(known.uy), known.uy.channel_size("UY", "BR")) == ([], size)


def test_nothing_is_reported_of_what_nobody_told(known: World) -> None:
    with pytest.raises(NotFound):
        known.uy.settle(ReportIrregularity("BR99000009000100", "CARGO", WHY, "officer"))
    with pytest.raises(NotFound):
        known.br.settle(REPORT)


def test_nothing_is_reported_under_an_agreement_that_has_ended(strangers: World) -> None:
    strangers.operate(termination_notice_days=0)
    strangers.br.admit(operator(1))
    strangers.exchange()
    strangers.both_end()
    with pytest.raises(Conflict, match="ended"):
        strangers.uy.settle(REPORT)


def test_only_the_issuer_acknowledges_and_only_once(known: World) -> None:
    known.uy.settle(REPORT)
    known.exchange()
    [sent], [received] = listed(known.uy), listed(known.br)
    with pytest.raises(Conflict, match="only the issuer"):
        known.uy.settle(Acknowledge(sent["report"], "thanks", "officer"))
    known.br.settle(Acknowledge(received["report"], "thanks", "officer"))
    size = known.br.channel_size("BR", "UY")
    with pytest.raises(Conflict, match="acknowledged already"):
        known.br.settle(Acknowledge(received["report"], "thanks", "officer"))
    with pytest.raises(NotFound):
        known.br.settle(Acknowledge(999, "thanks", "officer"))
    assert known.br.channel_size("BR", "UY") == size


# What does not hold


def channel(world: World, issuer: str = "br", partner: str = "UY") -> str:
    return f"aeo.{issuer}.example/channel/{world.agreement}/{partner}"


@pytest.mark.parametrize(
    "body",
    [
        lambda world: Irregularity(channel(world), 0, "CARGO", WHY).body(),
        lambda world: Irregularity(channel(world), 4_000, "CARGO", WHY).body(),
        lambda world: Irregularity(channel(world, "uy", "BR"), 1, "CARGO", WHY).body(),
        lambda world: Irregularity(channel(world, "ar"), 1, "CARGO", WHY).body(),
        lambda world: Irregularity(channel(world), 2, "GOSSIP", WHY).body(),
        lambda world: Irregularity(channel(world), 2, "CARGO", "x" * 501).body(),
        lambda world: Irregularity(channel(world), 2, "CARGO", "two\nlines").body(),
        lambda world: Irregularity(channel(world), -1, "CARGO", WHY).body(),
        lambda world: Treatment(channel(world), 2, "CARGO", "ABOLISHED").body(),
        lambda world: Treatment(channel(world), 2, ["CARGO"], "SUSPENDED").body(),  # type: ignore[arg-type]
        lambda world: notices.notice("irregularity", "CARGO", {"channel": channel(world), "tin": TIN}),
        lambda world: notices.notice("irregularity", "CARGO"),
        lambda world: Acknowledged(channel(world), 2, "thanks").body(),
        lambda world: Acknowledged(channel(world, "uy", "BR"), 0, "thanks").body(),
    ],
    ids=[
        "a notice", "no entry", "the other channel", "a stranger's", "no class", "too long", "two lines",
        "below nothing", "no decision", "a list of classes", "by its TIN", "nothing told",
        "what was no report", "of its own",
    ],
)  # fmt: skip
def test_a_report_that_does_not_hold_changes_nothing(body: Callable[[World], bytes], known: World) -> None:
    say(known.uy, body(known))
    known.exchange()
    [incident] = unfounded(known.br)
    assert incident["peer"] == "aeo.uy.example"
    assert (listed(known.br), known.br.look_up(TIN)["alerts"]) == ([], [])
    assert [node.findings() for node in known.nodes] == [[], []]


def test_an_acknowledgement_of_what_was_not_reported_changes_nothing(known: World) -> None:
    known.uy.settle(REPORT)
    known.exchange()
    [sent] = listed(known.uy)
    for origin, number in ((channel(known, "uy", "BR"), 0), (channel(known), 1)):
        say(known.br, Acknowledged(origin, number, "thanks").body())
    known.exchange()
    assert len(unfounded(known.uy)) == 2
    assert listed(known.uy) == [sent]


def test_a_second_acknowledgement_changes_nothing(known: World) -> None:
    known.uy.settle(REPORT)
    known.exchange()
    known.br.settle(Acknowledge(listed(known.br)[0]["report"], "thanks", "officer"))
    known.exchange()
    with known.uy.parts.database.read() as connection:
        [sent] = store.all_reports(connection)
    say(known.br, Acknowledged(channel(known, "uy", "BR"), sent.seq, "never mind").body())
    known.exchange()
    assert len(unfounded(known.uy)) == 1
    assert listed(known.uy)[0]["acknowledgement"] == "thanks"


def test_reports_that_the_terms_do_not_ask_for_change_nothing(strangers: World) -> None:
    strangers.operate(irregularity_notice=False)
    strangers.br.admit(operator(1))
    strangers.exchange()
    say(strangers.uy, Irregularity(channel(strangers), 2, "CARGO", WHY).body())
    strangers.exchange()
    assert "do not ask for" in unfounded(strangers.br)[0]["detail"]
    assert listed(strangers.br) == []


def test_what_a_report_said_that_did_not_hold_is_erased_with_its_entry(strangers: World) -> None:
    """It stands among the incidents, as evidence, where nothing says whom it is about."""
    strangers.operate(irregularity_notice=False)
    strangers.br.admit(operator(1))
    strangers.exchange()
    say(strangers.uy, Irregularity(channel(strangers), 2, "CARGO", WHY).body())
    strangers.exchange()
    said = strangers.uy.channel_size("UY", "BR") - 1
    assert [each["seq"] for each in unfounded(strangers.br)] == [said]
    say(strangers.uy, notices.Erasure("UNLAWFUL", (said,)).body())
    strangers.exchange()
    assert unfounded(strangers.br) == []
    if not stores.ON_POSTGRESQL:
        assert erasing.scrub(strangers.br.parts)
        assert remains(strangers.br.home, (WHY,)) == set()


def test_every_body_is_read_as_it_is_made() -> None:
    told = Irregularity("c", 3, "CARGO", "why"), Treatment("c", 3, "OTHER", "RESUMED")
    for each in (*told, Acknowledged("c", 4, "ok")):
        body: Any = canonical.decode(each.body())
        assert reports.read(body) == each
        assert body["notice"] in reports.SUBJECTS
    state: Any = canonical.decode(notices.notice("state", "SUSPENDED"))
    assert reports.read(state) is None


# Erased with the record


@pytest.mark.parametrize("is_carried", [True, False], ids=["when all has arrived", "on the way"])
def test_an_erasure_reaches_every_word_about_it_on_both_sides(is_carried: bool, known: World) -> None:
    known.uy.settle(SUSPEND)
    known.uy.settle(REPORT)
    known.exchange()
    received = next(each for each in listed(known.br) if each["kind"] == "IRREGULARITY")
    known.br.settle(Acknowledge(received["report"], "inspected by Sra. Oculta", "officer of br"))
    known.uy.settle(ReportIrregularity(TIN, "OTHER", "and something else", "officer of uy"))
    if is_carried:
        known.exchange()
    words = (WHY, "something else", "Oculta", "case 4711", TIN)
    if not stores.ON_POSTGRESQL:
        assert WHY in remains(known.br.home, words), "or the end would prove nothing"
        assert {WHY, "case 4711"} <= remains(known.uy.home, words)
    known.br.settle(ERASE)
    known.exchange()
    assert told(known.br)[-1:] == [("UY", "ERASED")]
    assert all(answer == "ERASED" for node in known.nodes for _, answer in told(node))
    for node in known.nodes:
        assert is_unknown(node)
        assert (listed(node), suspended(node)) == ([], [])
    sound(known)
    if not stores.ON_POSTGRESQL:
        for node in known.nodes:
            assert erasing.scrub(node.parts)
            assert remains(node.home, words) == set()
    assert known.uy.look_up(OTHER)["recognition"]["applies"]


def test_a_report_that_crosses_an_erasure_is_erased_too(known: World) -> None:
    known.br.settle(ERASE)
    known.uy.settle(REPORT)
    known.carry(known.br)
    assert listed(known.br) == []
    assert known.br.incidents() == []
    known.exchange()
    sound(known)
    if not stores.ON_POSTGRESQL:
        for node in known.nodes:
            assert erasing.scrub(node.parts)
            assert remains(node.home, (WHY, TIN)) == set()


def test_a_report_whose_body_never_came_blames_nobody(known: World) -> None:
    """The partner erases what it said before the issuer has asked for it."""
    known.uy.settle(REPORT)
    known.br.settle(ERASE)
    known.carry(known.uy)
    known.uy.keep()
    known.exchange()
    sound(known)


def test_the_law_holds_a_report_at_the_issuer(known: World) -> None:
    """The partner's term is over; the issuer needs what it was told."""
    known.uy.settle(REPORT)
    known.exchange()
    known.br.settle(HoldRecord(TIN, "court order 12", "counsel"))
    known.br.amend(TIN, mra_consent=withdrawn("2026-11-22"))
    known.exchange()
    known.days_pass(2_000)
    known.exchange()
    assert [each["text"] for each in listed(known.br)] == [WHY]
    assert listed(known.uy) == []
    answers = [each for row in status(known.uy) for each in row["partners"]]
    assert [(each["answer"], each["reason"]) for each in answers] == [("KEPT", "court order 12")]
    known.br.settle(ReleaseRecord(TIN))
    known.exchange()
    assert listed(known.br) == []
    sound(known)


def test_nobody_erases_a_notice_that_has_to_be_answered_yet(known: World) -> None:
    """A hostile issuer names its own request, which waits for the end of a hold."""
    known.uy.settle(HoldRecord(TIN, "open fraud case", "counsel"))
    known.br.settle(ERASE)
    known.exchange()
    asked = told_at(known.br)
    say(known.br, notices.Erasure("OBJECTION", (asked,)).body())
    known.exchange()
    known.uy.settle(ReleaseRecord(TIN))
    known.exchange()
    assert is_unknown(known.uy)
    assert known.uy.findings() == []


def told_at(node: Node) -> int:
    return int(status(node)[0]["partners"][0]["notice"])


def test_a_request_to_erase_whose_body_came_late_is_carried_out(known: World) -> None:
    known.br.settle(ERASE)

    def lose(answer: Json) -> None:
        for entry in answer["channels"][0]["entries"]:
            entry["body"] = None

    before = known.cursors(known.uy)
    known.carry(known.uy, lose)
    assert not is_unknown(known.uy)
    known.clock.ms += 5_000
    news = page.read(known.answer(known.uy, before), known.br.parts.card.name)
    reading_again.take_again(known.uy.parts, known.br.parts.card, news)
    known.exchange()
    assert is_unknown(known.uy)
    assert told(known.br) == [("UY", "ERASED")]
    sound(known)


def test_a_decision_on_what_is_erased_but_for_its_tombstone_keeps_nothing_up(known: World) -> None:
    """The issuer asks to erase under a later agreement what it told there, not that it left the view."""
    known.uy.settle(SUSPEND)
    known.agreement = known.draft()
    known.both("sign")
    known.both("start", "BR", "UY", mode="operation")
    known.br.amend(TIN, mra_consent=withdrawn("2026-11-22"))
    known.exchange()
    told_later = [each for each in history(known.uy, TIN) if each["agreement"] == known.agreement]
    with known.br.parts.database.write() as connection:
        batch = Batch(known.br.parts, connection)
        line = next(each for each in batch.lines() if each.channel.agreement == known.agreement)
        batch.notice(line, notices.Erasure("NOT_NEEDED", (told_later[0]["channel_seq"],)).body())
        batch.commit()
    batch.settle()
    known.br.parts.bell.ring()
    known.exchange()
    assert known.uy.findings() == []
    known.br.settle(ERASE)
    known.exchange()
    assert is_unknown(known.uy)
    assert known.uy.findings() == []


def test_who_has_erased_what_was_asked_is_busy_no_more(known: World) -> None:
    """Or its files would never be made free of it, and its writer would run without a pause."""
    known.exchange()
    known.br.settle(ERASE)
    known.exchange()
    assert [node.keeper.is_busy for node in known.nodes] == [False, False]


# fsck


def test_a_kept_decision_or_report_is_held_against_what_was_recorded(known: World) -> None:
    known.uy.settle(SUSPEND)
    known.uy.settle(REPORT)
    known.exchange()
    with known.uy.parts.database.write() as connection:
        connection.execute(update(store.LOCAL).values(decision="RESUMED"))
    assert any("own decision" in each.what for each in known.uy.findings())
    with known.br.parts.database.write() as connection:
        connection.execute(update(store.REPORT).values(text="nothing at all"))
    assert any("report" in each.what for each in known.br.findings())
