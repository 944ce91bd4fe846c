"""An officer asks a partner's node about one operator, and both sides can show that it was asked."""

from collections.abc import Iterator
from copy import deepcopy

import pytest
from typer.testing import CliRunner

from clients.cli.main import cli
from clients.demo.waiting import until
from contracts import terms
from tests.e2e.test_erasure import found
from tests.nodes import Node, Pair, brazilian, pair_in, told

ONE, TWO, HIDDEN = (str(brazilian(number)["tin"]) for number in (1, 2, 3))
WHY = {"purpose": "import control", "reference": "DUA 2026-17"}
STATED = ["--purpose", WHY["purpose"], "--reference", WHY["reference"]]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    directions = deepcopy(terms.terms("br_uy")["directions"])
    directions["BR-UY"]["mode"] = "ON_DEMAND"
    with pair_in(tmp_path_factory.mktemp("demand"), directions=directions) as pair:
        for number in (1, 2):
            pair.br.post("/v1/operators", brazilian(number))
        pair.br.post("/v1/operators", brazilian(3, mra_consent={"given": False, "scope": "GENERAL"}))
        yield pair


def fetches_at(node: Node) -> list[dict[str, str]]:
    """Who asked, by the access log, newest first."""
    entries = node.get("/v1/access?kind=fetch")["entries"]
    return [each["caller"] | {name: each[name] for name in WHY} for each in entries]


def test_a_question_is_answered_proven_and_recorded_at_both_ends(pair: Pair) -> None:
    refused = pair.uy.http.get(f"/v1/operators/{ONE}")
    assert refused.status_code == 404
    assert "`aeo fetch` it from BR" in refused.json()["do"]
    answer = pair.uy.post("/v1/fetches", {"identifier": ONE, **WHY})
    assert (answer["country"], answer["shared"]) == ("BR", True)
    assert answer["operator"]["recognition"]["applies"]
    assert answer["operator"] == pair.uy.get(f"/v1/operators/{ONE}") | {
        "freshness": answer["operator"]["freshness"]
    }
    own, partner = fetches_at(pair.uy)[0], fetches_at(pair.br)[0]
    assert {name: own[name] for name in WHY} == {name: partner[name] for name in WHY} == WHY
    assert (own["role"], partner["role"], partner["token"]) == ("administrator", "peer", "aeo.uy.example")
    [disclosed] = pair.br.get(f"/v1/operators/{ONE}/disclosures")["disclosures"]
    asked = disclosed["asked"]
    said = {name: asked[name] for name in (*WHY, "reader", "identifier")}
    assert (disclosed["kind"], said) == ("disclosure", {**WHY, "reader": "UY", "identifier": ONE})
    assert {len(asked[name]) for name in ("about", "salt")} == {43}


def test_what_is_not_shared_is_answered_like_what_is_not_there(pair: Pair) -> None:
    answers = [pair.uy.post("/v1/fetches", {"identifier": each, **WHY}) for each in (HIDDEN, "BR0")]
    for each in answers:
        assert (each["shared"], each["operator"]) == (False, None)
    assert pair.uy.http.get(f"/v1/operators/{HIDDEN}").status_code == 404


def test_the_command_asks_shows_and_says_when_nothing_is_told(pair: Pair) -> None:
    run, home = CliRunner(), ["--home", str(pair.uy.home)]
    shown = run.invoke(cli, ["fetch", TWO, *STATED, *home])
    assert shown.exit_code == 0, shown.output
    assert all(word in shown.stdout for word in (TWO, "YES, under Brazil-Uruguay"))
    nothing = run.invoke(cli, ["fetch", HIDDEN, *STATED, *home])
    assert (nothing.exit_code, "BR shares nothing under this identifier" in nothing.stdout) == (4, True)
    listed = run.invoke(cli, ["access", "list", "--kind", "fetch", *home])
    assert "(to be asked of BR)" in " ".join(listed.stdout.split())
    told_by = run.invoke(cli, ["operator", "disclosures", TWO, "--home", str(pair.br.home)])
    assert "import control, DUA 2026-17, UY" in " ".join(told_by.stdout.split())


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({"purpose": ""}, 422),
        ({"reference": "a\nb"}, 422),
        ({"identifier": "9" * 65}, 422),
        ({"country": "AR"}, 404),
        ({"agreement": "A" * 43}, 404),
        ({"surplus": 1}, 422),
    ],
)
def test_a_question_out_of_form_never_leaves_the_node(
    pair: Pair, changed: dict[str, object], status: int
) -> None:
    before = len(fetches_at(pair.br))
    refused = pair.uy.http.post("/v1/fetches", json={"identifier": ONE, **WHY, **changed})
    assert refused.status_code == status, refused.text
    assert refused.json()["do"]
    assert len(fetches_at(pair.br)) == before


def test_only_a_peer_asks_a_node_and_only_who_may_look_up_its_own(pair: Pair) -> None:
    body = {"agreement": pair.agreement, "identifier": ONE, "scheme": "", "reader": "UY", **WHY}
    assert pair.br.http.post("/v1/peer/fetch", json=body).status_code == 401
    anonymous = pair.uy.http.post("/v1/fetches", json={}, headers={"authorization": "Bearer aeo_x_y"})
    assert anonymous.status_code == 401


def test_a_partner_that_is_away_is_named_and_the_attempt_recorded(pair: Pair) -> None:
    told(pair.uy.http.post("/v1/fetches", json={"identifier": ONE, **WHY}))
    pair.br.stop()
    before = len(fetches_at(pair.uy))
    refused = pair.uy.http.post("/v1/fetches", json={"identifier": ONE, **WHY})
    assert refused.status_code == 503
    assert "aeo.br.example" in refused.json()["detail"]
    assert len(fetches_at(pair.uy)) == before + 1
    pair.br.run()
    until(
        lambda: pair.uy.http.post("/v1/fetches", json={"identifier": ONE, **WHY}).is_success, what="BR back"
    )


def test_what_was_fetched_is_erased_with_every_question_for_it(pair: Pair) -> None:
    pair.uy.post("/v1/fetches", {"identifier": TWO, **WHY})
    pair.br.post(f"/v1/operators/{TWO}/erase", {"ground": "OBJECTION", "reference": "case 8"})
    until(lambda: pair.uy.http.get(f"/v1/operators/{TWO}").status_code == 404, what="UY to erase it")
    for node in pair.both():
        until(
            lambda node=node: node.get("/v1/erasures")["erasures"][0]["scrubbed"], what="the files to be free"
        )
    for node in pair.both():
        node.stop()
        assert found(node.home, (TWO, TWO[2:])) == {}
        assert node.fsck() == []
