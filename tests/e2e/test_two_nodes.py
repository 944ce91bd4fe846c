"""The main job: what crosses from Brazil to Uruguay, what does not, and why; all over real HTTP."""

import csv
import json
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime

import httpx
import pytest

from clients.demo.waiting import until
from node.errors import Unproven
from node.ledger import merkle, tiles
from node.ledger.entry import LedgerEntry
from node.ledger.proof import TlogProof
from tests.nodes import (
    LISTS,
    Node,
    Pair,
    brazilian,
    bundles,
    checkpoint_of,
    entries_of,
    log_verifiers,
    origin_of,
    tile_reader,
)

TERMS = json.loads((LISTS.parents[2] / "contracts" / "terms" / "br_uy.json").read_text(encoding="utf-8"))
IMMUTABLE = "public, max-age=31536000, immutable"


@dataclass(frozen=True)
class Listed:
    """One line of a national list, and why it is withheld (None: it is shared)."""

    tin: str
    number: str
    row: dict[str, str]
    withheld: str | None


def brazilian_list() -> list[Listed]:
    """The Brazilian list judged anew from its cells, by the words of the arrangement."""
    with (LISTS / "br_oea.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file, delimiter=";"))
    numbers = ["".join(c for c in row["CNPJ"] if c.isalnum()) for row in rows]
    return [Listed(f"BR{n}", n, row, brazil_withholds(row)) for n, row in zip(numbers, rows, strict=True)]


def brazil_withholds(row: dict[str, str]) -> str | None:
    if row["Consentimento ARM"] != "S":
        return "consent not given"
    if "OEA-S" not in row["Modalidade"].split(";"):
        return "type not accepted"
    if row["Situação"] not in ("ATIVO", "SUSPENSO", "EXCLUÍDO"):
        return "status not shared"
    until_ = row["Próxima Revalidação"]
    if until_ and datetime.strptime(until_, "%d/%m/%Y").replace(tzinfo=UTC).date() < today():
        return "expired"
    return None


def uruguayan_list() -> list[Listed]:
    """The Uruguayan list, judged in the same way."""
    with (LISTS / "uy_oec.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    return [Listed(f"UY{row['RUT']}", row["RUT"], row, uruguay_withholds(row)) for row in rows]


def uruguay_withholds(row: dict[str, str]) -> str | None:
    if row["Consentimiento ARM"] != "SI":
        return "consent not given"
    if row["Estado"] not in ("VIGENTE", "SUSPENDIDO", "CANCELADO"):
        return "status not shared"
    if row["Válido hasta"] and date.fromisoformat(row["Válido hasta"]) < today():
        return "expired"
    return None


def today() -> date:
    return datetime.now(UTC).date()


BR_LIST, UY_LIST = brazilian_list(), uruguayan_list()
SHARED = [each for each in BR_LIST if each.withheld is None]
ACTIVE = [each for each in SHARED if each.row["Situação"] == "ATIVO"]
# Each test that changes an operator has one of its own.
TO_SUSPEND, TO_WITHDRAW, TO_FOLLOW, TO_READ = ACTIVE[:4]


def change_status(node: Node, tin: str, status: str) -> None:
    node.post(f"/v1/operators/{tin}/status", {"status": status, "reason": "a test"})


@pytest.mark.parametrize(("reader", "listed"), [("uy", BR_LIST), ("br", UY_LIST)])
def test_what_arrived_is_what_the_arrangement_names_and_nothing_else(
    pair: Pair, reader: str, listed: list[Listed]
) -> None:
    told = getattr(pair, reader).post("/v1/operators/lookup", {"identifiers": [each.tin for each in listed]})
    arrived = {tin for tin, answers in told["results"].items() if answers}
    assert arrived == {each.tin for each in listed if each.withheld is None}


@pytest.mark.parametrize(("issuer", "listed"), [("br", BR_LIST), ("uy", UY_LIST)])
def test_every_withheld_operator_has_the_reason_that_its_line_gives(
    pair: Pair, issuer: str, listed: list[Listed]
) -> None:
    node: Node = getattr(pair, issuer)
    told = node.post("/v1/operators/lookup", {"identifiers": [each.tin for each in listed]})["results"]
    decisions = {tin: answers[0]["partners"][0]["decision"] for tin, answers in told.items()}
    expected = {each.tin: each.withheld for each in listed if each.withheld}
    changed = {TO_WITHDRAW.tin}
    reasons = {tin: each["reason"] for tin, each in decisions.items() if each["answer"] == "withhold"}
    assert {tin: why for tin, why in reasons.items() if tin not in changed} == expected
    assert len(Counter(expected.values())) >= 2


def test_the_counts_by_reason_are_those_of_the_lists(pair: Pair) -> None:
    expected = Counter(each.withheld for each in UY_LIST if each.withheld)
    [direction] = pair.uy.get(f"/v1/agreements/{pair.agreement}/decisions")["directions"]
    assert Counter(direction["withheld"]) == expected
    assert direction["shared"] == len(UY_LIST) - expected.total() == pair.br.channel("in")["in_view"]


def test_only_fields_of_the_terms_arrive_and_they_are_the_issuers_own(pair: Pair) -> None:
    allowed = {path.partition(".")[0] for path in TERMS["directions"]["BR-UY"]["fields"]}
    wanted = {"identifiers": [each.tin for each in SHARED if each.tin != TO_WITHDRAW.tin]}
    there = pair.uy.post("/v1/operators/lookup", wanted)["results"]
    here = pair.br.post("/v1/operators/lookup", wanted)["results"]
    for tin, [answer] in there.items():
        [own] = here[tin]
        assert set(answer["fields"]) <= allowed
        assert answer["fields"] == {name: own["fields"][name] for name in answer["fields"]}
        assert answer["fields"]["identifiers"] == [{"scheme": "CNPJ", "value": tin[2:]}]


def test_what_is_outside_the_terms_is_in_no_file_of_the_partner(pair: Pair) -> None:
    shared_names = " ".join(each.row["Razão Social"] for each in SHARED)
    own_rows = (LISTS / "uy_oec.csv").read_text(encoding="utf-8")
    emails = {each.row["E-mail de Contato"] for each in BR_LIST}
    trade_names = {each.row["Nome Fantasia"] for each in BR_LIST}
    withheld = {each.row["Razão Social"] for each in BR_LIST if each.withheld}
    secret = {text for text in emails | trade_names | withheld if text and text not in shared_names}
    secret = {text for text in secret if text not in own_rows}
    secret |= {each.number for each in BR_LIST if each.withheld}
    assert len(secret) > 250
    assert pair.uy.holds(TO_READ.row["Razão Social"]), "the search must find what did arrive"
    files = [path.read_bytes() for path in pair.uy.home.rglob("*") if path.is_file()]
    assert [text for text in sorted(secret) if any(text.encode() in file for file in files)] == []


def test_a_suspension_changes_the_partners_answer(pair: Pair) -> None:
    before = pair.uy.answer(TO_SUSPEND.tin)
    assert (before["status"]["value"], before["recognition"]["applies"]) == ("ACTIVE", True)
    change_status(pair.br, TO_SUSPEND.tin, "SUSPENDED")
    until(lambda: pair.uy.answer(TO_SUSPEND.tin)["status"]["value"] == "SUSPENDED")
    after = pair.uy.answer(TO_SUSPEND.tin)
    assert not after["recognition"]["applies"]
    assert after["recognition"]["reasons"] == ["the status is SUSPENDED"]
    assert after["provenance"]["ledger"]["seq"] > before["provenance"]["ledger"]["seq"]


def test_withdrawn_consent_takes_the_record_out_of_the_partners_view(pair: Pair) -> None:
    pair.br.post(f"/v1/operators/{TO_WITHDRAW.tin}/consent", {"given": False})
    until(lambda: pair.uy.answer(TO_WITHDRAW.tin)["fields"] is None)
    answer = pair.uy.answer(TO_WITHDRAW.tin)
    assert answer["status"]["value"] == "NOT_SHARED"
    assert not answer["recognition"]["applies"]
    assert "withdrawn" not in json.dumps(answer["recognition"]["reasons"])
    [partner] = pair.br.answer(TO_WITHDRAW.tin)["partners"]
    assert partner["decision"] == {"answer": "withhold", "reason": "consent withdrawn"}
    assert not partner["sees_it"]


def test_an_operator_is_found_by_its_national_number(pair: Pair) -> None:
    uruguayan = next(each for each in UY_LIST if each.withheld is None)
    for node, listed, scheme in ((pair.uy, TO_READ, "CNPJ"), (pair.br, uruguayan, "RUT")):
        [answer] = node.get("/v1/operators", identifier=listed.number, scheme=scheme)["results"][
            listed.number
        ]
        assert answer["tin"] == listed.tin
        other = node.get("/v1/operators", identifier=listed.number, scheme="EORI")["results"]
        assert other == {listed.number: []}


def test_a_thousand_operators_are_looked_up_in_one_call(pair: Pair) -> None:
    known = [each.tin for each in BR_LIST + UY_LIST]
    wanted = known + [f"BR{number:014d}" for number in range(1000 - len(known))]
    results = pair.br.post("/v1/operators/lookup", {"identifiers": wanted})["results"]
    assert list(results) == wanted
    expected = [each.tin for each in BR_LIST] + [each.tin for each in UY_LIST if each.withheld is None]
    assert sorted(tin for tin, answers in results.items() if answers) == sorted(expected)
    refused = pair.br.http.post("/v1/operators/lookup", json={"identifiers": [*wanted, "one more"]})
    assert refused.status_code == 413


def test_a_name_is_found_without_its_accents_and_marked_as_a_suggestion(pair: Pair) -> None:
    name = next(each.row["Razão Social"] for each in ACTIVE if not each.row["Razão Social"].isascii())
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().upper()
    found = pair.uy.get("/v1/search", name=plain, limit=5)
    assert found["suggestions"][0]["name"] == name
    assert found["suggestions"][0]["operator"]["country"] == "BR"
    assert "suggestions" in found["note"]


def test_a_withheld_operator_is_not_found_by_name_either(pair: Pair) -> None:
    shared = {each.row["Razão Social"] for each in SHARED}
    name = next(n for each in BR_LIST if each.withheld and (n := each.row["Razão Social"]) not in shared)
    found = pair.uy.get("/v1/search", name=name, limit=50)["suggestions"]
    assert name not in {each["name"] for each in found}
    assert pair.br.get("/v1/search", name=name)["suggestions"][0]["name"] == name


def test_both_sides_keep_every_version_in_order(pair: Pair) -> None:
    operator = brazilian(1)
    pair.br.post("/v1/operators", operator)
    for status in ("SUSPENDED", "ACTIVE", "REVOKED"):
        change_status(pair.br, operator["tin"], status)
    pair.await_copy()
    place = f"/v1/operators/{operator['tin']}/history"
    own, told = pair.br.get(place)["versions"], pair.uy.get(place)["versions"]
    assert [each["status"] for each in own] == ["ACTIVE", "SUSPENDED", "ACTIVE", "REVOKED"]
    assert [each["kind"] for each in told] == ["disclosure"] * 4
    assert [each["ledger_seq"] for each in told] == [each["ledger_seq"] for each in own]
    assert own[1]["reason"] == "a test"
    assert "a test" not in json.dumps(told)


def events(client: httpx.Client, count: int, **headers: str) -> Iterator[dict[str, str]]:
    """The next `count` events of the stream of changes."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    with client.stream("GET", "/v1/changes", headers=named, timeout=30) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        event: dict[str, str] = {}
        for line in answer.iter_lines():
            if not line and "data" in event:
                yield event
                event = {}
                count -= 1
                if not count:
                    return
            name, _, value = line.partition(": ")
            event[name] = value


def test_the_stream_of_changes_goes_on_behind_the_last_event(pair: Pair) -> None:
    client = pair.uy.http
    first = list(events(client, 3, Last_Event_ID="0"))
    assert [each["id"] for each in first] == ["1", "2", "3"]
    again = list(events(client, 2, Last_Event_ID=first[1]["id"]))
    assert again[0] == first[2]
    assert again[1]["id"] == "4"
    rows = [json.loads(each["data"]) for each in first]
    assert [row["kind"] for row in rows] == [each["event"] for each in first]


def test_a_change_at_the_issuer_reaches_the_partners_stream(pair: Pair) -> None:
    pair.await_copy()
    with pair.uy.client(pair.uy.http.headers["authorization"].removeprefix("Bearer ")) as client:
        stream = client.stream("GET", "/v1/changes", timeout=30)
        with stream as answer:
            lines = answer.iter_lines()
            assert next(lines).startswith(":")
            change_status(pair.br, TO_FOLLOW.tin, "SUSPENDED")
            data = next(line for line in lines if line.startswith("data: "))
    row = json.loads(data.removeprefix("data: "))
    assert (row["tin"], row["kind"]) == (TO_FOLLOW.tin, "disclosure")
    assert pair.uy.answer(TO_FOLLOW.tin)["status"]["value"] == "SUSPENDED"


def test_a_receipt_is_verified_offline_and_for_this_change_only(pair: Pair) -> None:
    admitted = pair.br.post("/v1/operators", brazilian(2))
    verifiers, origin = log_verifiers(pair.br), origin_of(pair.br)
    proof = TlogProof.decode(admitted["receipt"])
    assert proof.index == admitted["ledger_seq"]
    size = checkpoint_of(pair.br).size
    entries = entries_of(pair.br, size)
    entry = LedgerEntry.decode(entries[proof.index])
    assert (entry.country, entry.type, entry.seq) == ("BR", "record", proof.index)
    assert proof.verify(merkle.leaf_hash(entries[proof.index]), origin, verifiers).size > proof.index
    with pytest.raises(Unproven):
        proof.verify(merkle.leaf_hash(entries[proof.index - 1]), origin, verifiers)
    with pytest.raises(Unproven):
        proof.verify(merkle.leaf_hash(entries[proof.index]), origin, log_verifiers(pair.uy))


def test_no_ledger_entry_names_an_operator(pair: Pair) -> None:
    content = b"".join(entries_of(pair.br, checkpoint_of(pair.br).size))
    assert b'"country":"BR"' in content
    assert not [each.number for each in BR_LIST if each.number.encode() in content]
    assert b"urn:aeo:" not in content


def test_anyone_can_recompute_the_root_from_the_log_over_http(pair: Pair) -> None:
    unseen = [
        brazilian(number, mra_consent={"given": False, "scope": "GENERAL"}) for number in range(100, 190)
    ]
    pair.br.post("/v1/operators/import", {"operators": unseen})
    checkpoint = checkpoint_of(pair.br)
    assert checkpoint.size > tiles.TILE_WIDTH
    leaves = [merkle.leaf_hash(entry) for entry in entries_of(pair.br, checkpoint.size)]
    assert merkle.root(leaves) == checkpoint.root
    assert tiles.tree_root(tile_reader(pair.br, checkpoint.size), checkpoint.size) == checkpoint.root
    chained = [LedgerEntry.decode(entry) for entry in entries_of(pair.br, checkpoint.size)]
    assert [entry.prev for entry in chained[1:]] == leaves[:-1]


def test_the_log_is_served_as_static_files_are(pair: Pair) -> None:
    size = checkpoint_of(pair.br).size
    with pair.br.client(None) as anybody:
        head = anybody.get("/log/checkpoint")
        assert head.headers["content-type"] == "text/plain; charset=utf-8"
        assert head.headers["cache-control"] in ("no-cache", "no-store", "max-age=1")
        index, width = bundles(size)[-1]
        for path in (tiles.Tile(0, index, width).path(), tiles.bundle_path(index, width)):
            answer = anybody.get(f"/log/{path}")
            assert answer.headers["content-type"] == "application/octet-stream"
            assert answer.headers["cache-control"] == IMMUTABLE
        for path in (tiles.Tile(0, index + 1, 1).path(), tiles.bundle_path(index, 256), "tile/9/000.p/1"):
            assert anybody.get(f"/log/{path}").status_code == 404


def test_partial_tiles_of_earlier_sizes_stay_available(pair: Pair) -> None:
    old = checkpoint_of(pair.br)
    before = {path: pair.br.http.get(f"/log/{path}").content for path in last_paths(old.size)}
    pair.br.post("/v1/operators", brazilian(3))
    new = checkpoint_of(pair.br)
    assert new.size == old.size + 1
    after = {path: pair.br.http.get(f"/log/{path}").content for path in last_paths(old.size)}
    assert after == before
    proof = tiles.Tree(tile_reader(pair.br, new.size), new.size).consistency_proof(old.size)
    merkle.verify_consistency(old.size, new.size, old.root, new.root, proof)


def last_paths(size: int) -> list[str]:
    index, width = bundles(size)[-1]
    return [tiles.Tile(0, index, width).path(), tiles.bundle_path(index, width)]


def test_nothing_that_arrived_was_set_apart_and_both_stores_are_sound(pair: Pair) -> None:
    for node in pair.both():
        assert node.get("/v1/incidents", open_only=True)["incidents"] == []
        assert node.fsck() == []
