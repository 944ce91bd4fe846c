"""Consent: who gave it, when, in which words; withdrawn at once; and what partners were told, as a list."""

from typing import Any

import pytest

from node.errors import Conflict, Malformed, NotFound
from node.service import consents, disclosures
from node.service.consents import ChangeConsent, Statement
from tests.service import stores
from tests.service.world import CNPJS, OFFICER, Node, World, operator, withdrawn

TIN = f"BR{CNPJS[1]}"
SAID = Statement("the director", "We consent to being named to partners.")


def change(
    node: Node, given: bool, scope: Any = "GENERAL", said: Statement = SAID, key: str | None = None
) -> str:
    return str(node.settle(ChangeConsent(TIN, given, scope, said, OFFICER, key)).kind)


def register(node: Node) -> list[dict[str, Any]]:
    with node.parts.database.read() as connection:
        return consents.register(node.parts, connection, TIN)


def told(node: Node) -> list[dict[str, Any]]:
    with node.parts.database.read() as connection:
        return disclosures.report(node.parts, connection, TIN)


def applies(node: Node) -> bool:
    return bool(node.look_up(TIN)["recognition"]["applies"])


@pytest.mark.parametrize(
    "said",
    [Statement(), Statement(by="the director"), Statement(text="We consent.")],
    ids=["nothing", "no words", "by nobody"],
)
def test_a_consent_without_evidence_is_refused_and_changes_nothing(said: Statement, known: World) -> None:
    before = known.br.ledger().size
    with pytest.raises(Malformed, match="without evidence"):
        change(known.br, True, said=said)
    assert known.br.ledger().size == before


def test_who_consented_when_and_to_what_is_recorded(known: World) -> None:
    assert change(known.br, True) == "changed"
    listed, given = register(known.br)
    assert listed["statement"] is None
    assert given["consent"] == {"given": True, "scope": "GENERAL", "from": "2026-11-22"}
    assert given["statement"]["by"] == "the director"
    assert given["statement"]["text"] == SAID.text
    assert given["entered_by"] == "officer"
    assert given["recorded_at"].startswith("2026-11-22")
    assert known.br.findings() == []


def test_the_words_never_leave_the_node_and_write_nothing_there(known: World) -> None:
    size = known.br.channel_size("BR", "UY")
    change(known.br, True, said=Statement("Maria da Silva", "Palavras secretas"))
    known.exchange()
    assert known.br.channel_size("BR", "UY") == size
    if not stores.ON_POSTGRESQL:
        held = b"".join(
            file.read_bytes() for home in (known.br.home, known.uy.home) for file in home.glob("node*")
        )
        assert b"Palavras secretas" not in held, "sealed at home, and never sent"


def test_a_withdrawal_counts_at_once(known: World) -> None:
    assert applies(known.uy)
    assert change(known.br, False, said=Statement()) == "changed"
    known.exchange()
    assert not applies(known.uy)
    assert change(known.br, False, said=Statement()) == "unchanged"
    assert change(known.br, True) == "changed"
    known.exchange()
    assert applies(known.uy)


def test_the_same_consent_in_other_words_is_recorded_too(known: World) -> None:
    change(known.br, True)
    assert change(known.br, True) == "unchanged"
    assert change(known.br, True, said=Statement("the director", "Other words.")) == "changed"
    assert len(register(known.br)) == 3


def test_a_repeated_request_is_answered_alike(known: World) -> None:
    assert change(known.br, True, key="once") == "changed"
    size = known.br.ledger().size
    assert change(known.br, True, key="once") == "changed"
    assert known.br.ledger().size == size


def test_it_is_withdrawn_agreement_by_agreement(known: World) -> None:
    change(known.br, True, ["MRA-BR-UY", "MERCOSUR"])
    change(known.br, False, ["MERCOSUR"])
    known.exchange()
    assert register(known.br)[-1]["consent"]["scope"] == ["MRA-BR-UY"]
    assert applies(known.uy)
    change(known.br, False, ["MRA-BR-UY"])
    known.exchange()
    assert register(known.br)[-1]["consent"]["given"] is False
    assert not applies(known.uy)


def test_a_general_consent_is_not_withdrawn_in_part(known: World) -> None:
    with pytest.raises(Conflict, match="single ones"):
        change(known.br, False, ["MRA-BR-UY"])


def test_of_nobody_no_consent_is_recorded(known: World) -> None:
    with pytest.raises(NotFound):
        known.br.settle(ChangeConsent("BR000", True, "GENERAL", SAID, OFFICER))
    with known.br.parts.database.read() as connection, pytest.raises(NotFound):
        consents.register(known.br.parts, connection, "BR000")


def test_the_report_names_every_field_that_a_partner_was_told(known: World) -> None:
    known.br.amend(TIN, legal_name="Outro Nome S/A")
    change(known.br, False, said=Statement())
    known.exchange()
    first, second, last = told(known.br)
    assert [each["kind"] for each in (first, second, last)] == ["disclosure", "disclosure", "tombstone"]
    assert {each["partner"] for each in (first, second, last)} == {"UY"}
    assert {"tin", "legal_name", "identifiers.CNPJ"} <= set(first["fields"])
    assert not {"roles", "trade_names", "mra_contact", "mra_consent", "identifiers.LEI"} & set(
        first["fields"]
    )
    assert last["fields"] == []
    assert "identifiers." not in first["fields"], "the list of them is no field of its own"
    assert first["ledger_seq"] < second["ledger_seq"] < last["ledger_seq"]


def test_nothing_is_reported_of_what_nobody_was_told(world: World) -> None:
    world.br.admit(operator(1, mra_consent=withdrawn("2026-11-22")))
    world.exchange()
    assert told(world.br) == []
