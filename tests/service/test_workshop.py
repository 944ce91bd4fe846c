"""Versions are signed in processes beside the writer, and by the writer where there are none."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from clients.bench.operators import operator
from clients.bench.postgres import Server
from clients.demo.waiting import until
from contracts.evaluation import Answer
from node import keys
from node.exchange import incoming, versions
from node.exchange.incoming import Disclosed, SetApart
from node.exchange.outgoing import Line
from node.exchange.versions import Signatory
from node.records import credential
from node.service import batch, genesis
from node.service import workshop as workshops
from node.service.admit import AdmitList, Author
from node.service.workshop import WORTH, Made, Order, Unread, Workshop, make, parse
from node.store.database import Database
from node.store.engines import Postgresql
from tests import nodes
from tests.service.test_reading_channels import whole_channel
from tests.service.world import Node, World, kid_of

MANY = 3 * WORTH
MORE_THAN_A_PIPE_HOLDS = 500
LIMIT_S = 60


def workshop(node: Node, processes: int) -> Workshop:
    parts = node.parts
    by = Signatory(parts.settings.name, kid_of(parts), credential.es256_signer(parts.keys.credential[0]))
    return Workshop(by, parts.settings.keys, node.home, processes)


def children(of: int | None = None) -> list[int]:
    command = ["pgrep", "-P", str(of or os.getpid()), "-f", "spawn_main"]
    found = subprocess.run(command, capture_output=True, text=True)
    return [int(each) for each in found.stdout.split()]


@pytest.fixture
def br(known: World) -> Node:
    return known.br


@pytest.fixture
def staffed(br: Node) -> Iterator[Workshop]:
    """A workshop whose processes are ready."""
    shop = workshop(br, 2)
    shop.make(orders(br, WORTH), is_shown=False)
    until(lambda: shop.is_ready, LIMIT_S)
    yield shop
    shop.close()


def test_processes_begun_behind_a_rotation_sign_with_the_key_that_they_name(br: Node) -> None:
    """The node that runs knows the older key only, until it is started again."""
    keys.rotate(br.home / "keys", "credential")
    shop = workshop(br, 1)
    try:
        shop.make(orders(br, WORTH), is_shown=False)
        until(lambda: shop.is_ready, LIMIT_S)
        for made in shop.make(orders(br, WORTH), is_shown=False):
            packed = made.version.credential.packed(["tin"])
            public = br.parts.card.credential_key(str(packed["kid"]), 0)
            credential.verify_packed(packed, public, issuer=br.parts.settings.name)
    finally:
        shop.close()


def orders(node: Node, count: int) -> list[Order]:
    return [
        (
            versions.Draft(
                record_id=f"urn:aeo:br:{number}",
                number=1,
                ledger_seq=number,
                key=bytes([number % 256]) * 32,
                fields={**operator(number), "record_id": f"urn:aeo:br:{number}", "recorded_at": "x"},
                private={"version": 1, "actor": "officer", "reason": "", "source": ""},
            ),
            bytes(12),
        )
        for number in range(1, count + 1)
    ]


@pytest.mark.parametrize("is_shown", [True, False])
def test_what_comes_back_is_what_the_writer_would_have_made(
    br: Node, staffed: Workshop, *, is_shown: bool
) -> None:
    sent = orders(br, MANY)
    for order, made in zip(sent, staffed.make(sent, is_shown=is_shown), strict=True):
        signature = made.version.signed.signature
        by = Signatory(br.parts.settings.name, kid_of(br.parts), lambda _, signature=signature: signature)
        assert made == make(order, by)
        assert made.version.credential == make(order, by).version.credential
        assert made.version.body == make(order, by).version.body
        key = br.parts.keys.credential[0].public_key()
        credential.es256_verify(key, signature, made.version.credential.signed_part)


def test_few_versions_are_signed_here_and_begin_no_process(br: Node) -> None:
    shop = workshop(br, 2)
    before = children()
    assert len(shop.make(orders(br, WORTH - 1), is_shown=True)) == WORTH - 1
    assert children() == before


def test_a_process_needs_no_key_but_the_one_that_signs_credentials(br: Node) -> None:
    for each in (br.home / "keys").iterdir():
        if each.name != "credential.pem":
            each.unlink()
    shop, sent = workshop(br, 1), orders(br, WORTH)
    shop.make(sent, is_shown=False)
    until(lambda: shop.is_ready)
    [process] = children()
    assert len(shop.make(sent, is_shown=False)) == WORTH
    assert children() == [process]
    shop.close()


def test_without_processes_everything_is_signed_here(br: Node) -> None:
    before = children()
    assert len(workshop(br, 0).make(orders(br, MANY), is_shown=True)) == MANY
    assert children() == before


def test_a_process_that_dies_costs_nothing_but_time(br: Node, staffed: Workshop) -> None:
    for pid in children():
        os.kill(pid, signal.SIGKILL)
    sent = orders(br, MANY)
    made = staffed.make(sent, is_shown=True)
    assert [each.version.record_id for each in made] == [draft.record_id for draft, _ in sent]
    staffed.make(sent, is_shown=True)
    until(lambda: staffed.is_ready, LIMIT_S)
    assert len(staffed.make(sent, is_shown=True)) == MANY


def test_a_process_that_hangs_is_given_up_and_ended(
    br: Node, staffed: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workshops, "TURN_LIMIT_S", 0.5)
    hung = children()
    for pid in hung:
        os.kill(pid, signal.SIGSTOP)
    sent = orders(br, MORE_THAN_A_PIPE_HOLDS)
    assert len(staffed.make(sent, is_shown=True)) == MORE_THAN_A_PIPE_HOLDS
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in hung))
    assert len(staffed.make(sent, is_shown=True)) == MORE_THAN_A_PIPE_HOLDS
    until(lambda: staffed.is_ready, LIMIT_S)


def test_a_node_ends_though_its_processes_hang(lone: nodes.Node) -> None:
    rows = [nodes.brazilian(number) for number in range(MORE_THAN_A_PIPE_HOLDS)]

    def ask() -> None:
        with suppress(httpx.TransportError):
            lone.http.post("/v1/operators/import", json={"operators": rows, "dry_run": True})

    def is_held_up() -> bool:
        """Whether a list waits for the processes, which hang; not so before they are ready."""
        for how in (signal.SIGCONT, signal.SIGSTOP):
            for pid in children(serving):
                os.kill(pid, how)
            asking.append(threading.Thread(target=ask))
            asking[-1].start()
            asking[-1].join(3)
        return bool(children(serving)) and asking[-1].is_alive()

    assert lone.process is not None
    asking, serving = list[threading.Thread](), lone.process.pid
    until(is_held_up)
    hung = children(serving)
    lone.stop()
    assert len(hung) == 2
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in hung))


@pytest.mark.parametrize("value", [10**30, float("nan"), "\ud800", 1.5])
def test_a_row_that_no_record_can_hold_is_refused_wherever_it_is_read(
    br: Node, staffed: Workshop, value: object
) -> None:
    rows = [operator(number) for number in range(MANY)]
    rows[3] = rows[3] | {"legal_name": value}
    before = children()
    parsed = staffed.parse(rows)
    assert children() == before, "nobody is ended for what somebody sends"
    assert [at for at, each in enumerate(parsed) if isinstance(each, Unread)] == [3]
    assert {each.field for each in parsed[3].problems} == {"legal_name"}  # type: ignore[union-attr]


def test_the_rows_of_a_list_come_back_in_their_order_each_by_itself(staffed: Workshop, br: Node) -> None:
    rows = [operator(number) for number in range(MANY)]
    rows[5] = rows[5] | {"status": "GOLDEN"}
    rows[MANY - 1] = {"tin": 5}
    parsed = staffed.parse(rows)
    assert parsed == parse(rows) == workshop(br, 0).parse(rows)
    unread = [at for at, each in enumerate(parsed) if isinstance(each, Unread)]
    assert unread == [5, MANY - 1]
    assert {each.field for each in parsed[5].problems} == {"status"}  # type: ignore[union-attr]


def test_a_page_is_examined_there_as_it_is_here(known: World, staffed: Workshop) -> None:
    for number in range(1000, 1000 + MANY):
        known.br.admit(operator(number))
    entries, items, by, _ = whole_channel(known)
    items[2] = items[2].model_copy(update={"body": None})
    items[5] = items[5].model_copy(update={"body": "AAAA"})
    items[MANY] = items[MANY].model_copy(update={"body": items[1].body})
    there = staffed.examine(entries, items, by)
    assert there == incoming.examined_here(entries, items, by)
    assert [at for at, each in enumerate(there) if isinstance(each.found, SetApart)] == [2, 5, MANY]
    assert sum(isinstance(each.found, Disclosed) and each.found.fields is not None for each in there) >= MANY
    asked = replace(by, is_on_demand=True)
    there = staffed.examine(entries, items, asked)
    assert there == incoming.examined_here(entries, items, asked)
    assert (
        sum("another mode" in each.found.reason for each in there if isinstance(each.found, SetApart)) >= MANY
    )


def test_the_processes_end_with_the_one_that_began_them(br: Node, tmp_path: Path) -> None:
    script = tmp_path / "serve.py"
    script.write_text(
        "import sys, time\n"
        "from pathlib import Path\n"
        "from tests.service.test_workshop import LIMIT_S, orders, workshop, children\n"
        "from clients.demo.waiting import until\n"
        "from tests.service.world import Clock, open_node, START_MS\n"
        "if __name__ == '__main__':\n"
        "    node = open_node(Path(sys.argv[1]), Clock(START_MS))\n"
        "    shop = workshop(node, 2)\n"
        "    shop.make(orders(node, 40), is_shown=False)\n"
        "    until(lambda: shop.is_ready, LIMIT_S)\n"
        "    print(*children(), flush=True)\n"
        "    time.sleep(600)\n",
        encoding="utf-8",
    )
    environment = os.environ | {"PYTHONPATH": os.getcwd()}
    command = [sys.executable, str(script), str(br.home)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        pids = [int(each) for each in process.stdout.readline().split()]
        assert len(pids) == 2
        process.kill()
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), LIMIT_S)


def test_a_list_that_is_signed_elsewhere_is_disclosed_and_sound(known: World, staffed: Workshop) -> None:
    br, uy = known.br, known.uy
    object.__setattr__(br, "parts", replace(br.parts, workshop=staffed))
    rows = [operator(number) for number in range(1000, 1000 + MANY)]
    outcomes = br.settle(AdmitList(rows, Author("officer", "import", "list.csv")))
    assert {each.kind for each in outcomes} == {"new"}
    known.exchange()
    assert uy.look_up(rows[-1]["tin"])["fields"]["legal_name"] == rows[-1]["legal_name"]
    assert br.findings() == uy.findings() == []


@pytest.fixture
def on_server(strangers: World, postgres: Server) -> Iterator[World]:
    """Two nodes with an agreement in operation, Brazil's on a PostgreSQL server."""
    br = strangers.br
    br.parts.database.close()
    br.parts = replace(br.parts, database=Database(postgres.create(), br.home))
    br.parts.database.migrate()
    genesis.start_ledger(br.parts)
    strangers.operate()
    yield strangers
    br.parts.database.close()


def test_a_batch_that_takes_longer_than_a_writer_may_be_silent_is_written(
    on_server: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Slow(Workshop):
        def make(self, orders: Sequence[Order], *, is_shown: bool) -> list[Made]:
            time.sleep(0.6 * stall_s)
            return super().make(orders, is_shown=is_shown)

    def decide(line: Line, fields: versions.Fields, today: str) -> Answer:
        time.sleep(0.02 * stall_s)
        return decided(line, fields, today)

    br, decided, stall_s = on_server.br, Line.decide, 2.0
    assert Postgresql.stall_ms / 1000 > workshops.TURN_LIMIT_S + batch.SILENT_S
    monkeypatch.setattr(Postgresql, "stall_ms", int(1000 * stall_s))
    monkeypatch.setattr(batch, "SILENT_S", 0.2 * stall_s)
    monkeypatch.setattr(batch, "SIGNED_AT_ONCE", WORTH)
    monkeypatch.setattr(Line, "decide", decide)
    by = Signatory(
        br.parts.settings.name, kid_of(br.parts), credential.es256_signer(br.parts.keys.credential[0])
    )
    br.parts = replace(br.parts, workshop=Slow(by, br.parts.settings.keys, br.home, 0))
    outcomes = br.settle(AdmitList([operator(number) for number in range(MANY)], Author("officer")))
    assert {each.kind for each in outcomes} == {"new"}
    assert br.findings() == []
