"""What an officer is told: the status as of today, whether it may be relied on, and if not why."""

from collections.abc import Callable
from dataclasses import replace
from itertools import product
from random import Random
from typing import Any

import orjson
import pytest

from clients.cli import operators
from node.api.problems import encoded
from node.errors import NotFound
from node.ledger import moment
from node.records.status import STATUSES
from node.service import answers as answers_module
from node.service.answers import Answers
from node.service.mirror import decided_on
from node.service.names import fold
from node.service.reach import Reach
from node.service.signing import Sign
from node.service.teller import Teller
from node.store import channels, records
from node.store.channels import Mirrored
from node.store.database import Database
from node.store.engines import Sqlite
from node.store.tables import LEDGER
from tests.service.world import CNPJS, LEIS, Json, World, asking, operator, withdrawn

ONE, TWO, THREE = (f"BR{cnpj}" for cnpj in CNPJS[1:4])
RUT = "079000040015"


def uruguayan(**changed: Any) -> Json:
    """An operator of UY that the ready-made terms share."""
    fields = operator(1) | {
        "country": "UY",
        "tin": f"UY{RUT}",
        "identifiers": [{"scheme": "RUT", "value": RUT}],
        "legal_name": "Cabo Polonio Frigorífica S.A.",
        "programme": "UY-OEC",
        "national_types": ["OEC"],
    }
    return fields | changed


def test_a_partner_is_told_the_fields_of_the_terms_and_no_other(known: World) -> None:
    fields = known.uy.look_up(ONE)["fields"]
    terms = {"record_id", "country", "tin", "identifiers", "authorisation_number", "legal_name", "address"}
    terms |= {"programme", "national_types", "scope", "status", "status_since", "authorised_on", "valid_to"}
    assert set(fields) == terms | {"effective_at", "recorded_at"}
    assert fields["identifiers"] == [{"scheme": "CNPJ", "value": CNPJS[1]}]


def test_an_answer_about_a_partners_operator_names_the_proof_behind_it(known: World) -> None:
    answer = known.uy.look_up(ONE)
    assert (answer["source"], answer["country"], answer["recognition"]["applies"]) == ("mirror", "BR", True)
    ledger = answer["provenance"]["ledger"]
    assert ledger["origin"] == "aeo.br.example/ledger"
    assert 0 <= ledger["seq"] < ledger["proven_size"] == known.br.ledger().size
    assert answer["provenance"]["channel"]["seq"] < known.br.channel_size("BR", "UY")


def test_an_answer_about_an_own_operator_tells_what_each_partner_sees(known: World) -> None:
    known.br.amend(TWO, mra_consent=withdrawn("2026-11-22"))
    [one], [two] = known.br.look_up(ONE)["partners"], known.br.look_up(TWO)["partners"]
    assert (one["partner"], one["sees_it"], one["decision"]["answer"]) == ("UY", True, "share")
    assert (two["sees_it"], two["decision"]["reason"]) == (False, "consent withdrawn")
    own = known.br.look_up(ONE)
    assert (own["source"], own["recognition"], own["freshness"]) == ("own", None, None)
    assert own["fields"]["mra_contact"]


def test_both_directions_work_at_once(known: World) -> None:
    known.uy.admit(uruguayan())
    known.exchange()
    assert known.br.look_up(f"UY{RUT}")["recognition"]["applies"]
    assert known.uy.look_up(f"UY{RUT}")["source"] == "own"
    assert known.uy.look_up(ONE)["source"] == "mirror"


def test_the_reader_sees_expired_even_if_the_issuer_is_silent(world: World) -> None:
    world.br.admit(operator(1, valid_to="2026-11-22"))
    world.exchange()
    assert world.uy.look_up(ONE)["status"]["value"] == "ACTIVE"
    world.days_pass()
    answer = world.uy.look_up(ONE)
    assert (answer["status"]["value"], answer["status"]["stated"]) == ("EXPIRED", "ACTIVE")
    assert "the status is EXPIRED" in answer["recognition"]["reasons"]


def test_a_silent_issuer_stops_being_relied_on_after_the_agreed_time(known: World) -> None:
    limit_s = known.uy.look_up(ONE)["freshness"]["limit_s"]
    assert limit_s == 900
    known.clock.ms += 1000 * limit_s
    assert known.uy.look_up(ONE)["recognition"]["applies"]
    known.clock.ms += 1000
    answer = known.uy.look_up(ONE)
    assert not answer["freshness"]["fresh"]
    assert answer["recognition"]["reasons"] == ["the newest proof is older than the agreement allows"]
    known.carry(known.uy)
    assert known.uy.look_up(ONE)["recognition"]["applies"], "nothing new is news: the issuer stands by it"


def test_every_reason_against_recognition_is_named(known: World) -> None:
    known.br.amend(ONE, status="SUSPENDED")
    known.carry(known.uy)
    known.uy.settle(Sign(known.agreement, "suspend", "BR", "UY"))
    known.clock.ms += 1_000_000
    reasons = known.uy.look_up(ONE)["recognition"]["reasons"]
    assert len(reasons) == 3
    assert [word in " ".join(reasons) for word in ("suspended", "SUSPENDED", "older")] == [True] * 3


@pytest.mark.parametrize("tin", ["BR0", "", "UY" + CNPJS[1], "x" * 64, "' OR 1=1 --"])
def test_an_unknown_tin_is_said_to_be_unknown(known: World, tin: str) -> None:
    for node in known.nodes:
        with pytest.raises(NotFound):
            node.look_up(tin)


def test_a_number_that_is_no_tin_does_not_answer_for_one(known: World) -> None:
    with pytest.raises(NotFound):
        known.uy.look_up(CNPJS[1])


def test_an_operator_is_found_by_any_identifier_that_was_shared(known: World) -> None:
    known.uy.admit(uruguayan())
    known.exchange()
    asked = [CNPJS[1], RUT, LEIS[1], ONE, "unknown"]
    found, by_scheme = known.uy.find(asked), known.uy.find([CNPJS[1]], "RUT")
    assert [[each["tin"] for each in found[value]] for value in asked] == [[ONE], [f"UY{RUT}"], [], [ONE], []]
    assert by_scheme == {CNPJS[1]: []}
    assert [each["tin"] for each in known.br.find([LEIS[1]])[LEIS[1]]] == [ONE]


def test_an_identifier_that_was_replaced_finds_nothing_any_more(known: World) -> None:
    known.br.amend(ONE, identifiers=[{"scheme": "CNPJ", "value": CNPJS[5]}])
    known.exchange()
    for node in known.nodes:
        found = node.find([CNPJS[1], CNPJS[5]])
        assert [len(found[value]) for value in (CNPJS[1], CNPJS[5])] == [0, 1]


def test_a_record_that_left_the_view_is_still_found_as_not_shared(known: World) -> None:
    known.br.amend(ONE, mra_consent=withdrawn("2026-11-22"))
    known.carry(known.uy)
    [answer] = known.uy.find([CNPJS[1]])[CNPJS[1]]
    assert (answer["status"]["value"], answer["tin"], answer["fields"]) == ("NOT_SHARED", None, None)


def told_plainly(reach: Reach, row: Mirrored, now_ms: int) -> Json:
    """The answer about a mirrored record, worked out from its fields and nothing else."""
    fields = orjson.loads(row.fields) if row.fields is not None else None
    as_of_ms = min(reach.proven_ms, moment.parse(row.fetched_at) if row.fetched_at else reach.proven_ms)
    age_s, today, reasons = max(0, now_ms - as_of_ms) // 1000, moment.date_of(now_ms), []
    if reach.state != "IN_OPERATION":
        reasons.append(f"the agreement is {reach.state.lower()} in this direction")
    if fields is None:
        read: Json = {"value": "NOT_SHARED", "stated": None, "since": None}
        reasons.append("the issuer no longer shares this record with us")
    else:
        lapsed = "valid_to" in fields and fields["valid_to"] < today
        expired = lapsed and fields["status"] in ("ACTIVE", "SUSPENDED", "EXPIRED")
        read = {"value": "EXPIRED" if expired else fields["status"], "stated": fields["status"]}
        read["since"] = fields.get("status_since")
        if read["value"] != "ACTIVE":
            reasons.append(f"the status is {read['value']}")
        if fields.get("programme") != "BR-OEA":
            reasons.append("no authorisation under a programme that the agreement recognises")
        if "SECURITY" not in fields.get("scope", []):
            reasons.append("the authorisation does not cover SECURITY")
        if age_s > 900:
            reasons.append("the newest proof is older than the agreement allows")
        if row.doubt:
            reasons.append(f"a newer entry about this operator failed verification: {row.doubt}")
        if reach.unread:
            reasons.append("an entry that could not be read may be about this operator: incident 7")
    return {
        "tin": fields and fields["tin"],
        "record_id": row.record_id,
        "country": "BR",
        "source": "mirror",
        "fields": fields,
        "status": read,
        "recognition": {
            "applies": not reasons,
            "agreement": reach.channel.agreement,
            "title": "BR-UY",
            "reasons": reasons,
        },
        "partners": None,
        "provenance": {
            "ledger": {
                "origin": "aeo.br.example/ledger",
                "seq": row.ledger_seq,
                "proven_size": reach.ledger_size,
            },
            "channel": {"origin": reach.origin, "seq": row.seq},
            "credential": row.credential or None,
        },
        "freshness": {
            "proven_at": moment.format(as_of_ms),
            "age_s": age_s,
            "limit_s": 900,
            "fresh": age_s <= 900,
        },
        "clauses": {
            "purpose": "Mutual recognition of authorised operators only",
            "onward_transfer": "NONE",
            "keep_until": "2031-11-22",
            "identifier_scheme": "CNPJ",
        },
        "alerts": list(reach.alerts),
        "because": None,
        "others": [],
    }


@pytest.mark.parametrize(
    "ask",
    [
        lambda answers, *held: answers.operator(*held, ONE),
        lambda answers, *held: answers.operators(*held, [ONE, TWO]),
        lambda answers, *held: answers.history(*held, ONE),
        lambda answers, *held: answers.search(*held, "Caatinga", 5),
    ],
)
def test_an_answer_takes_one_connection_at_a_time(
    known: World, monkeypatch: pytest.MonkeyPatch, ask: Callable[..., object]
) -> None:
    monkeypatch.setattr(Sqlite, "connections", 1)
    for node in known.nodes:
        store = Database(node.parts.settings.database_url, node.home)
        monkeypatch.setattr(store._engine.pool, "_timeout", 0)
        answers = Answers(replace(node.parts, database=store))
        tellers = answers.tellers()
        known.clock.ms += 86_400_000  # what was known of the channels is out of date
        with store.read() as connection:
            assert ask(answers, connection, tellers)
        store.close()


def test_an_answer_is_the_one_worked_out_from_the_fields_alone(known: World) -> None:
    [reach] = Answers(known.uy.parts).reaches().values()
    fields, now_ms, draw = known.uy.look_up(ONE)["fields"], known.clock.ms, Random(0)
    seen = set()
    for state, late_s, unread in product(("IN_OPERATION", "SUSPENDED"), (0, 900, 901), ((), (7,))):
        at = replace(reach, state=state, proven_ms=now_ms - 1000 * late_s, unread=unread, alerts=("a: b",))
        teller = Teller(at, now_ms)
        for number in range(200):
            changed = fields | {
                "status": draw.choice(list(STATUSES)),
                "scope": draw.choice([["SECURITY"], ["COMPLIANCE"], ["COMPLIANCE", "SECURITY"], []]),
                "valid_to": draw.choice(["2026-11-21", "2026-11-22", "2029-01-01"]),
                "status_since": f"2025-01-10T00:00:00.{number:03d}Z",
                "legal_name": draw.choice(['Ação "&\u2028 Ltda', "x"]),
            }
            left_out = draw.choice(["", "valid_to", "programme", "scope"])
            changed = {name: value for name, value in changed.items() if name != left_out}
            shown = None if draw.random() < 0.1 else changed
            proof = (number, "" if shown is None else "digest", draw.choice([None, "it does not hold"]))
            written = None if shown is None else orjson.dumps(shown)
            moments = [None, moment.format(now_ms), moment.format(now_ms - 901_000)]
            decided = {"fetched_at": draw.choice(moments), **decided_on(shown)}
            row = Mirrored(1, f"record {number}", number, written, *proof, **decided)
            told = encoded(teller.told(row)[-1])
            assert told == orjson.dumps(told_plainly(at, row, now_ms))
            seen.add(orjson.loads(told)["recognition"]["applies"])
    assert seen == {True, False}


def test_a_list_is_answered_in_the_same_words_as_one(known: World) -> None:
    known.uy.admit(uruguayan())
    known.exchange()
    for node in known.nodes:
        asked = [ONE, TWO, THREE, f"UY{RUT}"]
        assert node.find(asked) == {tin: [node.look_up(tin)] for tin in asked}


def test_an_operator_that_carries_a_number_twice_is_told_once(known: World) -> None:
    numbers = [{"scheme": "CTPAT", "value": RUT}, {"scheme": "RUT", "value": RUT}]
    known.uy.admit(uruguayan(identifiers=numbers))
    assert [each["tin"] for each in known.uy.find([RUT, ONE])[RUT]] == [f"UY{RUT}"]


def test_own_operators_come_first_and_those_not_recognised_last(known: World) -> None:
    same = [{"scheme": "CNPJ", "value": CNPJS[5]}]
    known.br.amend(ONE, identifiers=same, status="SUSPENDED")
    known.br.amend(TWO, identifiers=same)
    known.exchange()
    known.uy.admit(uruguayan(identifiers=[{"scheme": "RUT", "value": RUT}, *same]))
    told = known.uy.find([CNPJS[5], THREE])[CNPJS[5]]
    assert [each["tin"] for each in told] == [f"UY{RUT}", TWO, ONE]


def test_a_text_with_a_zero_byte_finds_nothing(known: World) -> None:
    assert known.uy.find([f"{ONE}\0", f"{ONE}\0x"]) == {f"{ONE}\0": [], f"{ONE}\0x": []}
    assert known.uy.find([f"{ONE}\0"]) == {f"{ONE}\0": []}
    with asking(known.uy) as (connection, answers), pytest.raises(NotFound):
        answers.history(connection, answers.tellers(), f"{ONE}\0")


@pytest.mark.parametrize(
    ("asked", "tin"),
    [
        ("São Bento Agenciamento", TWO),
        ("sao bento agenciamento", TWO),
        ("SAO BENTO AGENCIAMENTO SA", TWO),
        ("Agenciamento São Bento Ltda", TWO),
        ("Sao Bento Agenciamentos", TWO),
        ("Caatinga Eletronica", ONE),
        ("mantiqueira maquinas", THREE),
    ],
)
def test_a_name_is_found_without_its_accents_and_legal_form(known: World, asked: str, tin: str) -> None:
    for node in known.nodes:
        with asking(node) as (connection, answers):
            told = orjson.loads(encoded(answers.search(connection, answers.tellers(), asked, 3)))
        assert told["suggestions"][0]["operator"]["tin"] == tin
        assert "suggestion" in told["note"]


def test_a_name_is_found_among_more_than_can_be_compared(
    known: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers_module, "SEARCH_LIMIT", 20)
    names = {f"0 {number}": f"Comercio {number}" for number in range(50)} | {"1": "Quixada Comercio"}
    index = {each: {"identifiers": [], "name": name, "folded": fold(name)} for each, name in names.items()}
    with known.uy.parts.database.write() as connection:
        records.index(connection, LEDGER, index)
    for asked, alike, is_cut in (
        ("Mantiqueira", 1, False),
        ("Mantiqueira Maquinas Comercio", 20, True),
        ("Nantiqueira", 0, False),
    ):
        with asking(known.uy) as (connection, answers):
            told = orjson.loads(encoded(answers.search(connection, answers.tellers(), asked, 30)))
        assert ("write more" in told["note"]) is is_cut
        assert told["searched"] == 20
        found = [each["operator"]["tin"] for each in told["suggestions"]]
        assert found == ([THREE] if alike else [])


def test_a_name_like_no_other_finds_nothing(known: World) -> None:
    with asking(known.uy) as (connection, answers):
        assert answers.search(connection, answers.tellers(), "Xyzzy Quux", 5)["suggestions"] == []
        assert len(answers.search(connection, answers.tellers(), "Caatinga", 1)["suggestions"]) == 1


def test_a_hidden_trade_name_finds_nothing_at_the_partner(known: World) -> None:
    for node, expected in ((known.br, True), (known.uy, False)):
        with asking(node) as (connection, answers):
            assert (
                bool(answers.search(connection, answers.tellers(), "Marca oculta 1", 5)["suggestions"])
                is expected
            )


def test_names_are_compared_in_plain_letters() -> None:
    assert fold("Índice & Cia. Ltda.") == fold("INDICE") == "indice"
    assert fold("S/A") == "s a"
    assert fold("") == ""


def test_history_tells_every_version_and_who_was_told_what(known: World) -> None:
    known.br.amend(ONE, legal_name="Nova S/A", mra_contact="x@y.example")
    known.br.amend(ONE, mra_contact="z@y.example")
    known.br.amend(ONE, mra_consent=withdrawn("2026-11-22"))
    known.carry(known.uy)
    assert kinds_of(known.br, ONE) == ["recorded"] * 4
    assert kinds_of(known.uy, ONE) == ["disclosure", "disclosure", "tombstone"]
    with asking(known.uy) as (connection, answers), pytest.raises(NotFound):
        answers.history(connection, answers.tellers(), "BR0")


def test_a_partners_history_tells_the_fields_that_were_shown_then(known: World) -> None:
    known.br.amend(ONE, legal_name="Nova S/A")
    known.br.amend(ONE, mra_consent=withdrawn("2026-11-22"))
    given = operator(1)["mra_consent"] | {"from": "2026-11-22"}
    known.br.amend(ONE, mra_consent=given, status="SUSPENDED")
    known.carry(known.uy)
    with asking(known.uy) as (connection, answers):
        told = answers.history(connection, answers.tellers(), ONE)["versions"]
    assert [each.get("fields", {}).get("legal_name") for each in told] == [
        "Caatinga Eletrônica S/A", "Nova S/A", None, "Nova S/A"
    ]  # fmt: skip
    assert told[-1]["fields"] == known.uy.look_up(ONE)["fields"]
    shown = [row[3] for row in operators._versions(told)]
    assert shown == ["first version", "legal_name", "left our view", "back in view"]


def kinds_of(node: Any, tin: str) -> list[str]:
    with asking(node) as (connection, answers):
        return [each["kind"] for each in answers.history(connection, answers.tellers(), tin)["versions"]]


CHANGES: list[tuple[Callable[[World], Any], str]] = [
    (lambda world: world.br.amend(ONE, status="SUSPENDED"), "disclosure"),
    (lambda world: world.br.amend(ONE, mra_consent=withdrawn("2026-11-22")), "tombstone"),
]


@pytest.mark.parametrize(("act", "kind"), CHANGES)
def test_the_change_feed_tells_each_change_of_an_answer_with_its_tin(
    known: World, act: Callable[[World], Any], kind: str
) -> None:
    with asking(known.uy) as (connection, _):
        after = channels.newest_change(connection)
    act(known)
    known.carry(known.uy)
    with asking(known.uy) as (connection, _):
        [row] = channels.changes_after(connection, after, 9)
    assert (row["kind"], row["tin"]) == (kind, ONE)
