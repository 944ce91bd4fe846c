"""A node's keys rotated over real processes: while its partner asks, and while it is away."""

import json
from typing import Any

import pytest

from clients.demo.waiting import until
from clients.sdk import verifier
from node.exchange import card
from tests.nodes import Node, Pair, brazilian, log_verifiers

USES = ("log", "cosign", "cosign_pq", "credential", "seal", "store")
ONE, TWO, THREE, FOUR = (brazilian(number) for number in (1, 2, 3, 4))


def state(node: Node) -> Any:
    return json.loads(node.command("keys", "--json").stdout)


def steps(node: Node, step: str, *options: str) -> None:
    """The same step of every key, and the node started again."""
    done = node.command("keys", step, *USES, *options)
    assert done.returncode == 0, done.stderr
    node.stop()
    node.run()


def until_heard(node: Node) -> None:
    number = card.read(node.get("/v1/card")["card"]).number

    def heard() -> bool:
        return all(each["has_card"] == number for each in node.get("/v1/peers")["peers"])

    until(heard, what=f"the partner of {node.name} has card {number}")


def open_incidents(*nodes: Node) -> list[Any]:
    return [each for node in nodes for each in node.get("/v1/incidents", open_only=True)["incidents"]]


def evidence(pair: Pair, tin: str, policy: str) -> list[verifier.Result]:
    answer = pair.uy.http.get(f"/v1/operators/{tin}/evidence")
    assert answer.status_code == 200, answer.text
    return verifier.verify(answer.content, policy)


def test_all_keys_of_both_nodes_are_rotated_while_they_exchange(new_pair: Pair) -> None:
    br, uy = new_pair.both()
    old = f"log {log_verifiers(br)[0].vkey()}\nquorum none\n"
    seq = br.post("/v1/operators", ONE)["ledger_seq"]
    new_pair.await_copy()
    for node in (br, uy):
        steps(node, "rotate")
        assert state(node)["card"] == 2
        until_heard(node)
    br.post("/v1/operators", TWO)
    new_pair.await_copy()
    for node in (br, uy):
        steps(node, "retire")
        assert state(node)["card"] == 3
    br.post("/v1/operators", THREE)
    new_pair.await_copy()
    for known in (ONE, TWO, THREE):
        answer = uy.answer(known["tin"])
        assert answer["recognition"]["applies"], answer
        assert [each for each in evidence(new_pair, known["tin"], old) if not each.passed] == []
    until(lambda: open_incidents(br, uy) == [], what="the end of what was late")
    assert uy.fsck() == br.fsck() == []
    assert br.http.get(f"/v1/receipts/{seq}").status_code == 200


def test_a_partner_that_was_away_hears_of_it_and_nothing_is_retired_before(new_pair: Pair) -> None:
    br, uy = new_pair.both()
    new_pair.await_copy()
    uy.stop()
    steps(br, "rotate")
    refused = br.command("keys", "retire", "log")
    assert refused.returncode == 2
    assert uy.name in refused.stderr
    assert "--even-so" in refused.stderr
    steps(br, "retire", "--even-so")
    br.post("/v1/operators", FOUR)
    uy.run()
    new_pair.await_copy()
    assert uy.answer(FOUR["tin"])["recognition"]["applies"]
    until_heard(br)
    until(lambda: open_incidents(br, uy) == [], what="the end of what was late")
    assert uy.fsck() == br.fsck() == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("rotate", "locks"), "must be one of log, cosign"),
        (("retire", "log"), "no older key"),
        (("retire", "store"), "no older key"),
    ],
)
def test_wrong_words_say_what_to_do(pair: Pair, arguments: tuple[str, ...], said: str) -> None:
    refused = pair.br.command("keys", *arguments)
    assert refused.returncode == 2, refused.stderr
    assert said in refused.stderr
