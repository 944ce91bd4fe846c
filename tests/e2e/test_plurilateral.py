"""Three real nodes under one agreement: Brazil leaves, Paraguay joins, by the commands that people type."""

import json
import subprocess
import sys
from itertools import combinations
from pathlib import Path
from typing import Any

from clients.demo.waiting import until
from contracts import terms
from tests.nodes import ROOT, Node, make, peer, run_all
from tests.service.region import of

THREE, LATER = ("AR", "BR", "UY"), ("AR", "PY", "UY")
TINS = {country: str(of(country)["tin"]) for country in (*THREE, "PY")}


def between(folder: Path, *countries: str) -> str:
    """A file with the terms of the four, between some of them, who may leave at once."""
    clauses: Any = terms.terms("mercosur") | {"termination_notice_days": 0}
    kept = {
        name: each for name, each in clauses["directions"].items() if set(name.split("-")) <= set(countries)
    }
    file = folder / f"{'-'.join(countries)}.json"
    file.write_text(json.dumps(clauses | {"directions": kept}), encoding="utf-8")
    return str(file)


def aeo(node: Node, *arguments: str, code: int = 0) -> Any:
    command = [sys.executable, "-m", "clients.cli.main", *arguments, "--home", str(node.home), "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == code, done.stdout + done.stderr
    return json.loads(done.stdout)


def drafted(answer: Any) -> str:
    return str(answer["agreement"])


def states(node: Node, agreement: str) -> dict[str, str]:
    answer = node.http.get(f"/v1/agreements/{agreement}")
    told = answer.json()["directions"] if answer.is_success else []
    return {f"{each['issuer']}-{each['partner']}": each["state"] for each in told}


def sign(agreement: str, *nodes: Node) -> None:
    for node in nodes:
        until(lambda node=node: states(node, agreement), what=f"the draft at {node.country}")
        aeo(node, "mra", "sign", agreement)


def recognised(node: Node, country: str) -> bool:
    answer = node.http.get(f"/v1/operators/{TINS[country]}")
    return answer.is_success and bool(answer.json()["recognition"]["applies"])


def test_brazil_leaves_and_paraguay_joins(tmp_path: Path) -> None:
    nodes = {node.country: node for node in make((*THREE, "PY"), tmp_path)}
    ar, br, uy, py = (nodes[country] for country in ("AR", "BR", "UY", "PY"))
    try:
        run_all((ar, br, uy))
        for one, two in combinations((ar, br, uy), 2):
            peer(one, two)
        agreed = drafted(
            aeo(ar, "mra", "draft", "--terms", between(tmp_path, *THREE), "--with", "BR", "--with", "UY")
        )
        sign(agreed, ar, br, uy)
        for node in (ar, br, uy):
            until(lambda node=node: set(states(node, agreed).values()) == {"SIGNED"}, what="all signatures")
            node.post("/v1/operators/import", {"operators": [of(node.country)]})
        for issuer, partner in ((one, two) for one in THREE for two in THREE if one != two):
            for country in (issuer, partner):
                aeo(nodes[country], "mra", "start", agreed, "--direction", f"{issuer}-{partner}")
        for node in (ar, br, uy):
            for country in THREE:
                if country != node.country:
                    until(
                        lambda node=node, country=country: recognised(node, country),
                        what=f"{country} at {node.country}",
                    )

        assert aeo(br, "mra", "leave", agreed, "--reason", "A new law")["complete"]
        for node in (ar, uy):
            until(lambda node=node: not recognised(node, "BR"), what=f"the end at {node.country}")
        assert recognised(uy, "AR")
        assert states(uy, agreed)["UY-AR"] == "IN_OPERATION"
        until(lambda: br.answer(TINS["UY"])["fields"] is None, what="the tombstone at BR")
        br.stop()

        run_all((py,))
        for node in (ar, uy):
            peer(node, py)
        py.post("/v1/operators/import", {"operators": [of("PY")]})
        four = between(tmp_path, *LATER)
        refused = aeo(uy, "mra", "amend", agreed, "--terms", four, code=2)
        assert "they name beside the parties: PY" in refused["detail"]
        without = aeo(
            uy, "mra", "amend", agreed, "--terms", between(tmp_path, "PY", "UY"), "--with", "PY", code=2
        )
        assert "not a party of the new one: AR" in without["detail"], "nobody is amended away"
        joined = drafted(aeo(uy, "mra", "amend", agreed[:10], "--terms", four, "--with", "PY"))
        sign(joined, uy, ar, py)
        for node in (ar, uy):
            until(lambda node=node: states(node, joined).get("AR-UY") == "IN_OPERATION", what="what goes on")
            until(
                lambda node=node: set(states(node, agreed).values()) == {"TERMINATED"},
                what="the old one's end",
            )
        until(
            lambda: uy.answer(TINS["AR"])["recognition"]["agreement"] == joined,
            what="the answer under the new one",
        )
        assert recognised(uy, "AR")
        assert states(py, joined) == dict.fromkeys(("AR-PY", "PY-AR", "PY-UY", "UY-PY"), "SIGNED")
        for node in (uy, py):
            aeo(node, "mra", "start", joined, "--direction", "UY-PY")
        until(lambda: recognised(py, "UY"), what="UY's operator at PY")
        assert not recognised(py, "AR"), "that direction was not started"
        for node in (ar, uy, py):
            kinds = {each["kind"] for each in node.get("/v1/incidents", open_only=True)["incidents"]}
            assert kinds <= {"late"}, "BR, which has left, is silent"
            node.stop()
            assert node.fsck() == []
    finally:
        for node in nodes.values():
            node.close()
