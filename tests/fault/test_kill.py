"""Processes killed at any moment: what was acknowledged stays true, what was not can be repeated."""

import itertools
import random
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from clients.demo.waiting import until
from contracts import terms
from tests.nodes import Node, Pair, brazilian, checkpoint_of
from tests.receipts import check_every_receipt, check_nothing_was_done_twice

WRITERS = 8
ROUNDS = 3
KILLS = 3
LONGEST_ROUND_S = 0.8


@dataclass
class Stream:
    """Concurrent writers at one node: what it acknowledged, and what it may or may not have done."""

    node: Node
    acknowledged: dict[str, dict[str, Any]] = field(default_factory=dict)
    unsettled: dict[str, dict[str, Any]] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def run_until_dead(self, dies_after_s: float) -> None:
        """Write with all threads and kill the node in the middle of it."""
        before = len(self.acknowledged)
        threads = [threading.Thread(target=self._write) for _ in range(WRITERS)]
        for thread in threads:
            thread.start()
        until(lambda: len(self.acknowledged) > before + WRITERS, what="the first answers")
        threading.Event().wait(dies_after_s)
        self.node.kill()
        for thread in threads:
            thread.join(20)
        assert not any(thread.is_alive() for thread in threads)

    def settle(self) -> None:
        """Repeat every change that was not answered, under its own key."""
        for key, operator in self.unsettled.items():
            answer = self.node.post("/v1/operators", operator, Idempotency_Key=key)
            self.acknowledged[key] = answer
        self.unsettled.clear()

    def _write(self) -> None:
        token = self.node.http.headers["authorization"].removeprefix("Bearer ")
        with self.node.client(token) as client:
            while self._write_one(client, next(self._numbers)):
                pass

    def _write_one(self, client: httpx.Client, number: int) -> bool:
        operator, key = brazilian(number), f"key-{number}"
        self.unsettled[key] = operator
        try:
            answer = client.post("/v1/operators", json=operator, headers={"idempotency-key": key})
        except httpx.TransportError:
            return False
        if answer.is_success:
            self.acknowledged[key] = answer.json()
            del self.unsettled[key]
        else:
            self.refused.append(answer.text)
        return True


def test_a_receipt_once_given_stays_true_through_kills_of_the_issuer(lone: Node) -> None:
    chance = random.Random(20261122)
    stream = Stream(lone)
    repeated = 0
    for _ in range(ROUNDS):
        stream.run_until_dead(chance.uniform(0, LONGEST_ROUND_S))
        lone.run()
        repeated += len(stream.unsettled)
        stream.settle()
        assert lone.findings() == []
    assert stream.refused == []
    assert repeated, "no kill came between a request and its answer"
    assert len(check_every_receipt(lone, stream.acknowledged.values())) > ROUNDS
    check_nothing_was_done_twice(lone, stream.acknowledged.values())


def test_a_status_change_can_be_repeated_under_its_key_after_a_kill(lone: Node) -> None:
    operator = brazilian(1)
    lone.post("/v1/operators", operator)
    place, change = f"/v1/operators/{operator['tin']}/status", {"status": "SUSPENDED", "reason": "r"}
    first = lone.post(place, change, Idempotency_Key="suspend-1")
    lone.kill()
    lone.run()
    again = lone.post(place, change, Idempotency_Key="suspend-1")
    assert (again["version"], again["ledger_seq"]) == (first["version"], first["ledger_seq"])
    assert len(lone.get(f"/v1/operators/{operator['tin']}/history")["versions"]) == 2
    other = lone.http.post(place, json={"status": "ACTIVE"}, headers={"idempotency-key": "suspend-1"})
    assert other.status_code == 409


def test_a_partner_killed_again_and_again_ends_with_everything_and_no_gap(new_pair: Pair) -> None:
    br, uy, chance = new_pair.br, new_pair.uy, random.Random(4)
    operators = [brazilian(number) for number in range(2000)]
    for start in (0, 1000):
        part = operators[start : start + 1000]
        assert br.post("/v1/operators/import", {"operators": part})["counts"]["new"] == 1000
    interrupted = 0
    for _ in range(KILLS):
        threading.Event().wait(chance.uniform(0, 0.2))
        interrupted += uy.channel("in")["in_view"] < 2000
        uy.kill()
        uy.run()
    new_pair.await_copy(40)
    assert interrupted, "every kill came after the copy was whole"
    check_same_view(br, uy, [operator["tin"] for operator in operators])
    assert {each["kind"] for each in uy.get("/v1/incidents")["incidents"]} <= {"late"}
    with ThreadPoolExecutor() as side_by_side:
        assert list(side_by_side.map(Node.fsck, (br, uy))) == [[], []]


def check_same_view(br: Node, uy: Node, tins: list[str]) -> None:
    """The partner's mirror is, record by record, what the issuer's rules disclose, and its log has no gap."""
    shown = {path.partition(".")[0] for path in terms.terms("br_uy")["directions"]["BR-UY"]["fields"]}
    for start in range(0, len(tins), 1000):
        wanted = {"identifiers": tins[start : start + 1000]}
        own = br.post("/v1/operators/lookup", wanted)["results"]
        for tin, [copy] in uy.post("/v1/operators/lookup", wanted)["results"].items():
            [record] = own[tin]
            assert copy["fields"] == {
                name: value for name, value in record["fields"].items() if name in shown
            }
            assert copy["provenance"]["ledger"]["seq"] == record["provenance"]["ledger"]["seq"]
    with uy.store() as store:
        query = "SELECT log, count(*), max(seq) FROM log_entry WHERE log > 0 GROUP BY log"
        logs = store.execute(query).fetchall()
    assert all(count == last + 1 for _, count, last in logs)
    assert max(count for _, count, _ in logs) == br.channel("out")["size"]


def test_a_dead_issuer_leaves_its_partner_answering_and_ageing(new_pair: Pair) -> None:
    br, uy = new_pair.br, new_pair.uy
    operator = brazilian(1)
    br.post("/v1/operators", operator)
    new_pair.await_copy()
    until(lambda: uy.answer(operator["tin"])["recognition"]["applies"], what="recognition")
    br.kill()
    stale = until(lambda: not (found := uy.answer(operator["tin"]))["freshness"]["fresh"] and found)
    assert stale["fields"]["legal_name"] == operator["legal_name"]
    assert stale["recognition"]["reasons"] == ["the newest proof is older than the agreement allows"]
    until(lambda: uy.incidents("late"), what="the note that the issuer is late")
    br.run()
    until(lambda: uy.answer(operator["tin"])["recognition"]["applies"], what="recognition again")
    until(lambda: not uy.incidents("late"), what="the end of the lateness")


def test_a_dead_partner_stops_nobody(new_pair: Pair) -> None:
    br, uy = new_pair.br, new_pair.uy
    uy.kill()
    operators = [brazilian(number) for number in range(20)]
    for operator in operators:
        assert br.post("/v1/operators", operator)["receipt"]
    br.post(f"/v1/operators/{operators[0]['tin']}/status", {"status": "REVOKED"})
    assert br.answer(operators[0]["tin"])["status"]["value"] == "REVOKED"
    suspend = {"act": "suspend", "issuer": "BR", "partner": "UY"}
    br.post(f"/v1/agreements/{new_pair.agreement}/acts", suspend)
    until(lambda: br.channel("out")["state"] == "SUSPENDED" and br.channel("out")["shared"] == 0)
    uy.run()
    new_pair.await_copy()
    assert uy.answer(operators[1]["tin"])["status"]["value"] == "NOT_SHARED"


@pytest.mark.parametrize("how", ["kill", "stop"])
def test_a_node_starts_again_where_it_was(lone: Node, how: str) -> None:
    lone.post("/v1/operators/import", {"operators": [brazilian(number) for number in range(300)]})
    before = checkpoint_of(lone)
    getattr(lone, how)()
    lone.run()
    assert checkpoint_of(lone) == before
    assert lone.post("/v1/operators", brazilian(301))["ledger_seq"] == before.size
