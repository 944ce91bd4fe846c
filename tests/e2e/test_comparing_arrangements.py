"""`aeo mra diff` against a running node: by id, by name, by file, added up over pages."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from contracts import rules, terms
from node.service.preview import PAGE
from tests.nodes import LISTS, ROOT, Node, brazilian, make, peer, running

OF_BRAZIL = ("--records", LISTS / "br_oea.csv", "--profile", "br-oea")


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node with the demonstration's list and no agreement."""
    [made] = make(("BR",), tmp_path_factory.mktemp("preview"))
    with running(made):
        done = aeo(
            "operator", "import", str(LISTS / "br_oea.csv"), "--profile", "br-oea", "--home", made.home
        )
        assert done.returncode == 0, done.stderr
        yield made


def aeo(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "clients.cli.main", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)


def diff(node: Node, *arguments: object) -> tuple[int, Any]:
    done = aeo("mra", "diff", *arguments, "--home", node.home, "--json")
    return done.returncode, json.loads(done.stdout)


def test_what_would_leave_is_what_the_contract_says_of_the_list_without_a_node(node: Node) -> None:
    tried = aeo("contract", "try", "mra_v1", "--terms", "br_uy", "--json", *OF_BRAZIL)
    alone = json.loads(tried.stdout)["directions"]["BR-UY"]
    code, told = diff(node, "nothing", "br_uy")
    counted = told["directions"]["BR-UY"]
    assert code == 0
    assert (told["records"], told["looked_at"], told["differences"]) == (200, 200, alone["shared"])
    assert counted["leaves"] == {"no agreement": alone["shared"]}
    assert counted["withheld"] == alone["withheld"]
    assert len(told["listed"]) == 50
    said = aeo("mra", "diff", "nothing", "br_uy", "--most", "2", "--home", node.home).stdout
    assert "would newly leave" in said
    assert f"These are 2 of {alone['shared']} differences" in said
    assert "the partner holds its records" in said


def with_mode(told: dict[str, Any], mode: str) -> dict[str, Any]:
    directions = told["directions"]
    return told | {"directions": directions | {"BR-UY": directions["BR-UY"] | {"mode": mode}}}


def test_own_terms_and_contract_are_taken_from_files(node: Node, tmp_path: Path) -> None:
    changed: dict[str, Any] = terms.terms()
    changed["directions"]["BR-UY"]["exclude_roles"] = ["exporter"]
    asked = tmp_path / "asked.json"
    asked.write_text(json.dumps(with_mode(changed, "ON_DEMAND")), encoding="utf-8")
    said = aeo("mra", "diff", "br_uy", asked, "--home", node.home).stdout
    assert "BR-UY: on demand: what may be told is told when the partner asks, and nothing by itself." in said
    mine, rule = tmp_path / "mine.json", tmp_path / "mine.py"
    mine.write_text(json.dumps(changed), encoding="utf-8")
    rule.write_text(rules.text().replace('"expired"', '"ran out"'), encoding="utf-8")
    code, told = diff(node, "br_uy", mine, "--contract", rule, "--old-contract", "mra_v1", "--most", "1000")
    counted = told["directions"]["BR-UY"]
    assert code == 0
    assert set(counted["stops"]) == {"role not accepted"}
    assert "ran out" in counted["withheld"]
    assert "expired" not in counted["withheld"]
    assert len(told["listed"]) == told["differences"] == counted["stops"]["role not accepted"]
    assert told["clauses"][0] == "directions.BR-UY.exclude_roles: not limited becomes exporter"
    assert told["clauses"][1].startswith("contract: ")


def test_a_contract_that_shares_beyond_the_terms_is_told_and_the_exit_code_says_so(
    node: Node, tmp_path: Path
) -> None:
    rule = tmp_path / "beyond.py"
    text = rules.text()
    wanted = json.dumps([*terms.terms()["directions"]["BR-UY"]["fields"], "mra_contact"])  # type: ignore[index]
    rule.write_text(text.replace('share(direction["fields"])', f"share({wanted})"), encoding="utf-8")
    code, told = diff(node, "br_uy", "br_uy", "--contract", rule, "--old-contract", "mra_v1")
    beyond = "contract error: shares fields that the terms do not list: mra_contact"
    assert code == 1
    assert set(told["directions"]["BR-UY"]["stops"]) == {beyond}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("br_uy", "nothing"), "there is nothing to preview"),
        (("nothing", "unknown-id"), "there is no such agreement here"),
        (("nothing", "br_uy", "--contract", "mra_v9"), "no ready-made contract of this name"),
    ],
)
def test_what_cannot_be_compared_is_refused(node: Node, arguments: tuple[str, ...], said: str) -> None:
    code, told = diff(node, *arguments)
    assert code == 2
    assert said in told["detail"]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"new": {}},
        {"new": {"agreement": "abcdef", "terms": {}}},
        {"new": {"terms": {}}},
        {"new": {"agreement": "abcdef"}, "limit": PAGE + 1},
        {"new": {"agreement": "abcdef"}, "after": "x" * 101},
        {"new": {"terms": {"directions": [1]}, "contract": ""}},
        {"new": {"terms": {}, "contract": rules.text()}},
    ],
)
def test_what_is_out_of_form_is_refused_by_the_route(node: Node, body: dict[str, Any]) -> None:
    answer = node.http.post("/v1/agreements/compare", json=body)
    assert answer.status_code == 422
    assert answer.json()["type"] == "urn:aeo:problem:malformed"


def test_a_draft_is_compared_by_its_id_and_pages_are_added_up(tmp_path: Path) -> None:
    br, uy = make(("BR", "UY"), tmp_path)
    with running(br, uy):
        peer(br, uy)
        sent = [brazilian(number) for number in range(1, 8)]
        assert br.http.post("/v1/operators/import", json={"operators": sent}).status_code == 200
        body = {"title": "t", "countries": ["BR", "UY"], "terms": terms.terms(), "contract": rules.text()}
        draft = br.http.post("/v1/agreements", json=body).json()["agreement"]
        code, told = diff(br, "nothing", draft[:10])
        assert (code, told["looked_at"]) == (0, 7)
        alike = diff(br, draft, "br_uy")[1]
        assert (alike["differences"], alike["clauses"]) == (0, []), "the contract is the draft's"
        assert diff(br, draft, "br_uy", "--contract", "mra_v2")[1]["clauses"]
        asked: dict[str, Any] = {"new": {"agreement": draft}, "limit": 3}
        after, sizes = "", []
        while after is not None:
            page = br.http.post("/v1/agreements/compare", json=asked | {"after": after}).json()
            after = page["next"]
            sizes.append(page["looked_at"])
        assert sizes == [3, 3, 1]
        [last, *_] = br.get("/v1/access", kind="export")["entries"]
        listed = {each["record_id"] for each in page["listed"]}
        assert {each["record_id"] for each in last["questions"][0]["told"]} == listed
