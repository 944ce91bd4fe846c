import json
import os
import socket
import sqlite3
import sys
from pathlib import Path

import httpx
import pytest

from clients.bench import cost, decisions, nodes, profiling, report, sizes, usage
from clients.bench.figures import Conditions, Figure
from clients.bench.million import MILLION, SHARES, Size
from clients.bench.nodes import Pair, RunningNode
from clients.bench.wire import Wire
from clients.sdk.client import Node


@pytest.mark.parametrize(
    ("stack", "part"),
    [
        ("serve (/x/uvicorn/main.py:1);run (/x/node/service/batch.py:2)", "the rest"),
        ("serve (/x/uvicorn/main.py:1);dumps (/x/other.py:2)", "HTTP"),
        ("run (/x/threading.py:2);admit (/x/node/service/admit.py:3)", "the rest"),
        ("run (/x/node/service/batch.py:2);encode (/x/node/ledger/canonical.py:3)", "the rest"),
        ("issue (/x/node/records/credential.py:9);encode (/x/node/ledger/canonical.py:3)", "credential"),
        ("add (/x/node/store/logs.py:9);sign (/x/node/records/credential.py:3)", "credential"),
        ("add (/x/node/store/logs.py:9);execute (/x/sqlalchemy/engine/base.py:3)", "SQL"),
        ("decide (/x/node/exchange/outgoing.py:9);run (/x/contracts/evaluation.py:3)", "contract"),
        ("run (/x/node/service/sequencer.py:2);wait (/x/threading.py:320)", "handing over"),
    ],
)
def test_a_look_counts_for_the_innermost_part_on_the_stack(stack: str, part: str) -> None:
    assert profiling.part_of(stack) == part


def test_looks_are_shared_out_over_the_time_that_was_really_used() -> None:
    lines = ["a (/x/node/exchange/sealing.py:1) 30", "b (/x/node/store/logs.py:1);c (/y/z.py:2) 10"]
    found = profiling.Profiled("import", profiling.counted(lines), us_per_record=200.0)
    assert found.cell("seal") == "150 us  75%"
    assert found.cell("SQL") == "50 us  25%"
    assert found.cell("HTTP") == "0 us   0%"


def test_every_part_of_the_profile_names_code_that_is_there() -> None:
    root = Path(profiling.__file__).resolve().parents[2]
    ours = [place for places in profiling.PARTS.values() for place in places if place.startswith("/node/")]
    assert [place for place in ours if not (root / place[1:]).exists()] == []


def test_the_wire_counts_what_it_hands_on_both_ways() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, Wire(server.getsockname()[1]) as wire:
        with socket.create_connection(("127.0.0.1", wire.port), timeout=5) as asking:
            asking.sendall(b"hello")
            answering, _ = server.accept()
            with answering:
                assert answering.recv(5) == b"hello"
                answering.sendall(b"good day")
                assert asking.recv(8, socket.MSG_WAITALL) == b"good day"
        assert wire.count == 13


@pytest.mark.skipif(not usage.PROC.is_dir(), reason="only Linux tells what a process has used")
def test_a_command_is_told_by_its_time_its_processor_time_and_its_memory() -> None:
    busy = "import time\nkept = bytearray(b'1') * 80_000_000\nwhile time.process_time() < 0.3: pass"
    own_mb = usage.of_tree(os.getpid()).peak_mb
    ran = usage.run([sys.executable, "-c", busy])
    assert 0.3 <= ran.used.cpu_s < 5
    assert ran.took_s > 0.2
    assert 80 < ran.used.peak_mb < max(400, 1.1 * own_mb)
    with pytest.raises(RuntimeError, match="code 3: no"):
        usage.run([sys.executable, "-c", "print('no'); raise SystemExit(3)"])
    with pytest.raises(RuntimeError, match="code -9"):
        usage.run([sys.executable, "-c", "import time; time.sleep(60)"], limit_s=0.2)


def asked_for_its_channel(country: str, sizes: list[int]) -> RunningNode:
    def answer(_: httpx.Request) -> httpx.Response:
        said = json.dumps({"channels": [{"issuer": "BR", "size": sizes.pop(0)}]})
        return httpx.Response(200, stream=httpx.ByteStream(said.encode()))

    node = RunningNode(country, Path(), 0)
    node.client = Node("http://node.test", transport=httpx.MockTransport(answer))
    return node


def test_the_issuer_is_asked_once_and_the_partner_until_it_has_everything() -> None:
    issuer, partner = [70], [0, 30, 69, 70]
    pair = Pair(asked_for_its_channel("BR", issuer), asked_for_its_channel("UY", partner))
    assert list(pair.behind()) == [70, 40, 1]
    assert issuer == partner == []


def test_a_partner_that_stands_still_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nodes, "LIMIT_S", 0.02)
    pair = Pair(asked_for_its_channel("BR", [2]), asked_for_its_channel("UY", [1] * 100))
    with pytest.raises(RuntimeError, match="1 entries behind"):
        pair.catch_up()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can be told so")
def test_what_is_started_on_one_processor_has_no_other() -> None:
    before = os.sched_getaffinity(0)
    with usage.one_processor():
        ran = usage.run([sys.executable, "-c", "import os; print(len(os.sched_getaffinity(0)))"])
    assert (ran.said, os.sched_getaffinity(0)) == (b"1\n", before)


def test_a_trial_with_fewer_records_bears_its_number_and_has_no_goals() -> None:
    whole, trial = Size(MILLION), Size(20_000)
    assert (whole.name(), whole.name(whole.small), trial.name()) == ("million", "10k", "20000")
    assert (whole.growth("append_growth"), trial.growth("append_growth")) == (
        "append_growth",
        "append_growth_20000",
    )
    assert whole.goal(1.3) is not None
    assert trial.goal(1.3) is None


def test_the_parts_of_a_version_are_means_over_what_shares_them(tmp_path: Path) -> None:
    store = sqlite3.connect(tmp_path / "node.sqlite")
    store.executescript(
        """CREATE TABLE log_head (log, size); CREATE TABLE log_entry (log, entry);
        CREATE TABLE log_tile (log, hashes); CREATE TABLE record_version (sealed);
        CREATE TABLE channel_body (log, sealed);
        INSERT INTO log_head VALUES (0, 4), (7, 2);
        INSERT INTO log_entry VALUES (0, x'0102'), (0, x'01020304'), (7, x'010203');
        INSERT INTO log_tile VALUES (0, x'0102030405060708'), (7, x'01020304');
        INSERT INTO record_version VALUES (x'01'), (x'010203');
        INSERT INTO channel_body VALUES (7, x'0102030405');"""
    )
    store.commit()
    store.close()
    parts = sizes.parts_of_version(tmp_path / "node.sqlite")
    assert list(parts.values()) == [3, 2, 2, 3, 2, 5]
    assert sizes.of_version(tmp_path / "node.sqlite").runs == [17]
    assert sizes.growth(1000, 3000, 4, "issuer").runs == [500]


def report_of_a_run(path: Path, steps: tuple[str, ...] = ("10", "100", "1000"), fsck_s: float = 2.0) -> None:
    names = [name for name, _ in cost.MEASURED.values()]
    values = {f"{name}_{step}": 1000.0 + at for name in names for at, step in enumerate(steps)}
    values |= {f"partner_bytes_per_record_{steps[-1]}": 3000.0, f"fsck_cpu_{steps[-1]}_s": fsck_s}
    values |= {f"es256_signed_and_verified_{steps[-1]}_per_s": 9000.0}
    values |= {f"{who}_peak_memory_{steps[-1]}_mb": 200.0 + at for at, who in enumerate(("import", "fsck"))}
    figures = [Figure(name, "bytes", [value], Conditions("made up")) for name, value in values.items()]
    report.write(path, "make bench-million", {"took_s": 1200}, {}, {}, figures)


def test_the_page_on_costs_has_the_tables_of_a_report(tmp_path: Path) -> None:
    told, page = tmp_path / "bench.json", tmp_path / "cost.md"
    report_of_a_run(told)
    page.write_text((Path(__file__).resolve().parents[3] / "docs" / "cost.md").read_text(encoding="utf-8"))
    for _ in range(2):
        assert cost.main([str(told), str(page)]) == 0
    text = page.read_text(encoding="utf-8")
    assert (
        text.count("| the whole of it | 20.0 min |\n| the most memory that one process had | 201 MB |") == 1
    )
    assert text.count("| on the wire, both ways | 1,000 bytes | 1,001 bytes | 1,002 bytes | 1.00 |") == 1
    assert text.count("| one partner takes over all 100,000,000 | 27.8 h | 100.2 GB | 100.2 GB |") == 1
    assert text.count("| each further partner, by the lengths in the tables |  | 1.7 GB | 0.6 GB |") == 1


@pytest.mark.parametrize(("records", "fsck_s"), [(1_000_000, 600), (100_000, 60), (10_000, 6), (3_000, 1.8)])
def test_the_costs_of_a_trial_are_worked_out_though_its_number_is_in_words(
    records: int, fsck_s: float, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    size, told = Size(records), tmp_path / "bench.json"
    report_of_a_run(told, tuple(size.name(records // share) for share in SHARES), fsck_s)
    assert cost.main([str(told)]) == 0
    assert "| `aeo fsck` of one administration's 555,556 | 5.6 min |" in capsys.readouterr().out


def test_a_report_without_a_million_has_no_costs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cost.main([str(tmp_path / "bench.json")]) == 2
    assert "make bench-million" in capsys.readouterr().err


def test_the_decisions_that_are_counted_are_those_of_a_node(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decisions, "ROUND_S", 0.001)
    figure = decisions.decisions()
    assert (figure.name, figure.goal_text()) == ("decisions_per_s", "p50 over 100000")
    assert all(run > 0 for run in figure.runs)
    monkeypatch.setattr(decisions, "DAY", "2091-01-01")
    with pytest.raises(RuntimeError, match="withheld"):
        decisions.decisions()
