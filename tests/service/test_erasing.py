"""An operator is erased everywhere it went, every log still verifies, and each partner answers."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from node.errors import Conflict, NotFound
from node.exchange import notices
from node.ledger import canonical
from node.service import erasing, erasure_notices
from node.service.erasing import Erase, HoldRecord, ReleaseRecord
from node.store import channels, erasures
from node.store.tables import LEDGER
from tests.service import stores
from tests.service.test_evidence import assert_holds, of
from tests.service.world import CNPJS, LEIS, NAMES, Json, Node, World, operator, withdrawn

TIN = f"BR{CNPJS[1]}"
ERASE = Erase(TIN, "NOT_NEEDED", "case 2026/17", "officer")
NEEDLES = (TIN, CNPJS[1], LEIS[1], NAMES[1], "Marca oculta 1", "oculto1@", "ADE 1/2025")


def status(node: Node) -> list[Any]:
    with node.parts.database.read() as connection:
        return list(erasure_notices.status(connection, 2**31 - 1, 100))


def told(node: Node) -> list[tuple[str, str | None]]:
    return [(each["partner"], each["answer"]) for row in status(node) for each in row["partners"]]


def is_unknown(node: Node) -> bool:
    try:
        node.look_up(TIN)
    except NotFound:
        return True
    return False


def sound(world: World) -> None:
    for node in world.nodes:
        assert node.findings() == []
        assert node.incidents() == []


def remains(home: Path, texts: tuple[str, ...] = NEEDLES) -> set[str]:
    """Which of these texts stand in any file of a home folder."""
    held = [file.read_bytes() for file in home.rglob("*") if file.is_file()]
    return {text for text in texts if any(text.encode() in each for each in held)}


def test_it_disappears_from_both_nodes_and_both_logs_still_verify(known: World) -> None:
    record_id = str(known.br.look_up(TIN)["record_id"])
    known.br.amend(TIN, status="SUSPENDED", status_since="2026-11-20T00:00:00.000Z")
    known.exchange()
    outcome = known.br.settle(ERASE)
    assert outcome["partners"] == ["UY"]
    assert is_unknown(known.br)
    assert not is_unknown(known.uy)
    assert told(known.br) == [("UY", None)]
    known.exchange()
    assert is_unknown(known.uy)
    assert told(known.br) == [("UY", "ERASED")]
    sound(known)
    assert known.br.look_up(f"BR{CNPJS[2]}")["status"]["value"] == "ACTIVE"
    assert known.uy.look_up(f"BR{CNPJS[2]}")["recognition"]["applies"]
    if not stores.ON_POSTGRESQL:
        for node in known.nodes:
            assert erasing.scrub(node.parts)
            assert remains(node.home, (*NEEDLES, record_id)) == set()
            assert all(row["scrubbed"] for row in status(node))


def test_it_is_there_to_be_found_before(known: World) -> None:
    """Or the test above would prove nothing."""
    if not stores.ON_POSTGRESQL:
        assert {TIN, NAMES[1]} <= remains(known.br.home)
        assert {TIN, NAMES[1]} <= remains(known.uy.home)


@pytest.mark.parametrize(
    "change",
    [
        lambda br: br.amend(TIN, mra_consent=withdrawn("2026-11-22")),
        lambda br: br.amend(TIN, national_types=["OEA-C"]),
        lambda br: br.amend(TIN, legal_name="Outro Nome S/A"),
    ],
    ids=["left the view", "out of scope", "renamed"],
)
@pytest.mark.parametrize("is_carried", [True, False])
def test_whatever_the_partner_was_told_before(
    change: Callable[[Node], Any], is_carried: bool, known: World
) -> None:
    change(known.br)
    if is_carried:
        known.exchange()
    known.br.settle(ERASE)
    known.exchange()
    assert told(known.br) == [("UY", "ERASED")]
    assert is_unknown(known.uy)
    sound(known)


def test_an_entry_that_the_partner_never_had_is_erased_before_it_comes(world: World) -> None:
    world.br.admit(operator(1))
    world.br.admit(operator(2))
    world.br.settle(ERASE)
    world.exchange()
    assert told(world.br) == [("UY", "ERASED")]
    assert is_unknown(world.uy)
    assert world.uy.look_up(f"BR{CNPJS[2]}")["recognition"]["applies"]
    sound(world)


def test_what_nobody_was_told_of_is_told_to_nobody(world: World) -> None:
    world.br.admit(operator(1, mra_consent=withdrawn("2026-11-22")))
    world.exchange()
    size = world.br.channel_size("BR", "UY")
    assert world.br.settle(ERASE)["partners"] == []
    assert world.br.channel_size("BR", "UY") == size
    sound(world)


def test_it_can_be_recorded_anew(known: World) -> None:
    known.br.settle(ERASE)
    known.br.admit(operator(1))
    known.exchange()
    assert known.uy.look_up(TIN)["recognition"]["applies"]
    sound(known)


def test_more_entries_than_a_notice_holds_go_in_several(
    known: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or the partner would refuse the notice as out of form, and keep what it names."""
    for number in range(5):
        known.br.amend(TIN, legal_name=f"Nome {number} S/A")
    known.exchange()
    monkeypatch.setattr(notices, "MOST_ENTRIES", 4)
    assert known.br.settle(ERASE)["partners"] == ["UY"]
    known.exchange()
    assert told(known.br) == [("UY", "ERASED")] * 2
    assert is_unknown(known.uy)
    sound(known)


def test_in_one_transaction_with_what_went_before(known: World) -> None:
    """A change and its erasure may come in one batch."""

    class Both:
        weight, tins = 2, (TIN,)

        def run(self, batch: Any) -> Any:
            from tests.service.world import OFFICER, Amend

            Amend(TIN, {"legal_name": "X"}, {"legal_name": "Um Nome S/A"}, OFFICER, "key").run(batch)
            return ERASE.run(batch)

    known.br.settle(Both())
    known.exchange()
    assert told(known.br) == [("UY", "ERASED")]
    assert is_unknown(known.uy)
    sound(known)
    if not stores.ON_POSTGRESQL:
        assert erasing.scrub(known.br.parts)
        assert remains(known.br.home, (*NEEDLES, "Um Nome S/A")) == set()


def test_the_law_holds_it_at_the_issuer(known: World) -> None:
    known.br.settle(HoldRecord(TIN, "court order 12", "counsel"))
    with pytest.raises(Conflict, match="court order 12"):
        known.br.settle(ERASE)
    assert not is_unknown(known.br)
    known.br.settle(ReleaseRecord(TIN))
    known.br.settle(ERASE)
    known.exchange()
    assert told(known.br) == [("UY", "ERASED")]


def test_the_law_holds_it_at_the_partner_which_says_why(known: World) -> None:
    known.uy.settle(HoldRecord(TIN, "open fraud case", "counsel"))
    known.br.settle(ERASE)
    known.exchange()
    [answered] = status(known.br)[0]["partners"]
    assert (answered["answer"], answered["reason"]) == ("KEPT", "open fraud case")
    assert not is_unknown(known.uy)
    known.uy.settle(ReleaseRecord(TIN))
    known.exchange()
    assert told(known.br) == [("UY", "ERASED")]
    assert is_unknown(known.uy)
    sound(known)


def test_a_hold_that_is_none_cannot_be_released(known: World) -> None:
    with pytest.raises(NotFound):
        known.br.settle(ReleaseRecord(TIN))
    with pytest.raises(NotFound):
        known.br.settle(HoldRecord("BR123", "why", "counsel"))


def test_an_evidence_file_of_before_still_holds_and_no_new_one_is_made(known: World) -> None:
    before = of(known, TIN)
    known.br.settle(ERASE)
    known.exchange()
    assert_holds(known, before)
    assert_holds(known, of(known, f"BR{CNPJS[2]}"))
    with pytest.raises(NotFound):
        of(known, TIN)


# One way only


def test_the_way_back_of_a_one_way_arrangement_carries_the_answer(strangers: World) -> None:
    directions = {"BR-UY": _terms()["directions"]["BR-UY"]}
    strangers.pin()
    strangers.agreement = strangers.draft(directions=directions)
    strangers.both("sign")
    strangers.both("start", "BR", "UY", mode="operation")
    strangers.br.admit(operator(1))
    strangers.exchange()
    assert strangers.uy.look_up(TIN)["recognition"]["applies"]
    strangers.br.settle(ERASE)
    strangers.exchange()
    assert told(strangers.br) == [("UY", "ERASED")]
    sound(strangers)


def _terms() -> Json:
    from contracts import terms

    clauses: Any = terms.terms("br_uy")
    return dict(clauses)


# What a term is over for


def test_what_left_the_view_is_kept_as_long_as_the_terms_say(strangers: World) -> None:
    strangers.operate(retention_days=30)
    strangers.br.admit(operator(1))
    strangers.br.admit(operator(2))
    strangers.exchange()
    strangers.br.amend(TIN, mra_consent=withdrawn("2026-11-22"))
    strangers.br.amend(f"BR{CNPJS[2]}", legal_name="Outro Nome S/A")
    strangers.exchange()
    strangers.days_pass(30)
    strangers.exchange()
    assert len(history(strangers.uy, TIN)) == 2
    strangers.days_pass(1)
    strangers.exchange()
    assert is_unknown(strangers.uy)
    assert not is_unknown(strangers.br)
    assert len(history(strangers.uy, f"BR{CNPJS[2]}")) == 1
    assert strangers.uy.look_up(f"BR{CNPJS[2]}")["recognition"]["applies"]
    sound(strangers)
    if not stores.ON_POSTGRESQL:
        assert erasing.scrub(strangers.uy.parts)
        assert remains(strangers.uy.home) == set()


def test_what_is_held_outlives_its_term(strangers: World) -> None:
    strangers.operate(retention_days=30)
    strangers.br.admit(operator(1))
    strangers.exchange()
    strangers.uy.settle(HoldRecord(TIN, "open fraud case", "counsel"))
    strangers.br.amend(TIN, mra_consent=withdrawn("2026-11-22"))
    strangers.exchange()
    strangers.days_pass(40)
    strangers.exchange()
    assert len(history(strangers.uy, TIN)) == 2


def test_of_an_agreement_that_ended_nothing_is_kept_beyond_the_term(strangers: World) -> None:
    strangers.operate(retention_days=30, termination_notice_days=0)
    strangers.br.admit(operator(1))
    strangers.exchange()
    strangers.both_end()
    strangers.days_pass(40)
    strangers.exchange()
    assert is_unknown(strangers.uy)
    assert not is_unknown(strangers.br)
    sound(strangers)


def history(node: Node, tin: str) -> list[Json]:
    from tests.service.world import asking

    with asking(node) as (connection, answers):
        versions: list[Json] = answers.history(connection, answers.tellers(), tin)["versions"]
        return versions


# Answers that do not hold


def answer_of(world: World) -> Json:
    """The notice in which UY answered, as BR has it."""
    with world.br.parts.database.read() as connection:
        [row, *_] = channels.notices(connection, world.br.log_of("UY", "BR"))
    body: Any = canonical.decode(row["body"])
    return dict(body)


@pytest.mark.parametrize(
    "damage",
    [
        lambda told: told | {"notice": 0},
        lambda told: told | {"channel": "aeo.uy.example/channel/x/BR"},
        lambda told: (
            told | {"ledger": {**told["ledger"], "entry": told["ledger"]["entry"].replace("UY", "BR")}}
        ),
        lambda told: told | {"ledger": told["ledger"] | {"salt": "A" * 43}},
        lambda told: {"notice": told["notice"]},
    ],
    ids=["no such notice", "another channel", "another country", "another salt", "out of form"],
)
def test_an_answer_that_does_not_hold_changes_nothing(damage: Callable[[Json], Json], known: World) -> None:
    known.br.settle(ERASE)
    known.exchange()
    body = answer_of(known)
    say(known.uy, notices.notice(body["notice"], body["detail"], damage(body["told"])))
    known.exchange()
    [incident] = known.br.incidents()
    assert incident["kind"] == "unfounded"
    assert told(known.br) == [("UY", "ERASED")]
    assert [node.findings() for node in known.nodes] == [[], []]


def test_a_partner_cannot_answer_for_what_it_was_not_asked(known: World) -> None:
    say(known.uy, notices.Kept(f"aeo.br.example/channel/{known.agreement}/UY", 3, "why not").body())
    known.exchange()
    assert known.br.incidents()[0]["kind"] == "unfounded"


def test_a_notice_that_asks_for_later_entries_asks_for_nothing(known: World) -> None:
    say(known.br, notices.notice("erasure", "NOT_NEEDED", {"entries": [4_000]}))
    known.exchange()
    assert known.uy.incidents()[0]["kind"] == "unfounded"
    assert not is_unknown(known.uy)


def test_what_was_erased_already_is_answered_again_and_erased_no_more(known: World) -> None:
    """An issuer that asks over and over costs this node a notice for each of its own, and nothing else."""
    other = f"BR{CNPJS[2]}"
    entries = {tin: told_entries(known, tin) for tin in (TIN, other)}
    for tin in entries:
        known.br.settle(Erase(tin, "NOT_NEEDED", "", "officer"))
        known.exchange()
    if not stores.ON_POSTGRESQL:
        assert erasing.scrub(known.uy.parts)
    size, back = known.uy.ledger().size, known.uy.channel_size("UY", "BR")
    for _ in range(3):
        say(known.br, notices.Erasure("OBJECTION", tuple(entries[TIN])).body())
        known.exchange()
    assert (known.uy.ledger().size, known.uy.channel_size("UY", "BR")) == (size, back + 3)
    assert all(row["scrubbed"] for row in status(known.uy)) or stores.ON_POSTGRESQL
    assert {row["kind"] for row in known.br.incidents()} == {"unfounded"}, "BR's own records know of no such"
    answers = [each["told"]["ledger"]["entry"] for each in answers_of(known)[-3:]]
    assert answers == [answers_of(known)[0]["told"]["ledger"]["entry"]] * 3, "the erasure that took it"
    assert known.uy.findings() == []
    say(known.br, notices.Erasure("OBJECTION", tuple(sorted(entries[TIN] + entries[other]))).body())
    known.exchange()
    assert known.uy.ledger().size == size + 1, "no one erasure took both"


def answers_of(world: World) -> list[Json]:
    """What UY answered, oldest first, as BR has it."""
    with world.br.parts.database.read() as connection:
        rows = channels.notices(connection, world.br.log_of("UY", "BR"), 100)
    said: list[Any] = [canonical.decode(row["body"]) for row in reversed(rows)]
    return [each for each in said if each["notice"] == "erased"]


def told_entries(world: World, tin: str) -> list[int]:
    with world.uy.parts.database.read() as connection:
        record_id = str(world.uy.look_up(tin)["record_id"])
        rows = channels.mirror_history(connection, world.uy.log_of("BR", "UY"), record_id)
    return [row["seq"] for row in rows]


def say(node: Node, body: bytes) -> None:
    """Have a node tell its partner this, whatever it is."""

    class Say:
        weight, tins = 1, ()

        def run(self, batch: Any) -> None:
            batch.notice(batch.lines()[0], body)

    node.settle(Say())


# fsck


def test_an_entry_that_no_erasure_names_may_not_be_empty(known: World) -> None:
    with known.br.parts.database.write() as connection:
        found = erasures.own_entries(connection, str(known.br.look_up(TIN)["record_id"]))
        erasures.delete_own(connection, str(known.br.look_up(TIN)["record_id"]), found)
    assert any(each.what.startswith("no record version is behind it") for each in known.br.findings())
    with known.br.parts.database.write() as connection:
        erasures.add_erasure(connection, found[LEDGER][0], "2026-11-22T12:00:00.000Z", found)
    assert any("no erasure is recorded here" in each.what for each in known.br.findings())
