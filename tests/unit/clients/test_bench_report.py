import io
import json
import math
import platform
import sysconfig
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from clients.bench import plot, run
from clients.bench.figures import Conditions, Figure, Goal, Measure, against, in_turn
from clients.bench.load import request
from clients.bench.machine import machine, versions
from clients.bench.operators import operators
from clients.bench.report import read, table, write
from clients.bench.run import told
from clients.bench.traders import MANY, trader, traders
from node.records import model

MADE_UP = Conditions("made up", payload="2 bytes", durability="none")
HUNDRED = [float(n) for n in range(1, 101)]


def waiting(runs: list[float], goal: Goal | None = None) -> Figure:
    return Figure("wait_ms", "ms", runs, MADE_UP, better="lower", goal=goal)


def rate(runs: list[float], goal: Goal | None = None) -> Figure:
    return Figure("rate_per_s", "answers/s", runs, MADE_UP, goal=goal)


@pytest.mark.parametrize(("share", "value"), [(1, 1.0), (50, 50.0), (99, 99.0), (100, 100.0)])
def test_a_time_is_read_from_its_slow_side(share: int, value: float) -> None:
    assert waiting(HUNDRED[::-1]).percentile(share) == value


@pytest.mark.parametrize(("share", "value"), [(1, 100.0), (50, 51.0), (99, 2.0), (100, 1.0)])
def test_a_rate_is_read_from_its_slow_side(share: int, value: float) -> None:
    assert rate(HUNDRED).percentile(share) == value


def test_of_few_runs_the_worst_one_is_the_p99() -> None:
    assert waiting([3.0, 9.0, 4.0]).percentile(99) == 9.0
    assert rate([3.0, 9.0, 4.0]).percentile(99) == 3.0
    assert rate([7.0]).percentile(50) == 7.0


@pytest.mark.parametrize("runs", [[], [1.0, math.nan], [math.inf]])
def test_a_figure_without_a_finite_run_is_refused(runs: list[float]) -> None:
    with pytest.raises(ValueError, match="rate_per_s"):
        rate(runs)


@pytest.mark.parametrize(
    ("figure", "met"),
    [
        (waiting([40.0, 60.0], Goal(50, 150)), True),
        (waiting([50.0], Goal(50, 150)), False),
        (waiting([10.0] * 90 + [150.0] * 10, Goal(50, 150)), False),
        (waiting([10.0] * 90 + [149.0] * 10, Goal(50, 150)), True),
        (rate([600.0, 501.0], Goal(500)), True),
        (rate([500.0], Goal(500)), False),
        (rate([1.0]), None),
    ],
)
def test_a_goal_is_met_only_beyond_its_bounds(figure: Figure, met: bool | None) -> None:
    assert figure.is_met() is met


def test_what_is_compared_is_measured_in_turn() -> None:
    order: list[tuple[str, int]] = []

    def measure(name: str, value: float) -> Measure:
        def run(at: int) -> float:
            order.append((name, at))
            return value * (at + 1)

        return run

    runs = in_turn(3, {"node": measure("node", 1.0), "floor": measure("floor", 4.0)})
    assert order == [("node", 0), ("floor", 0), ("node", 1), ("floor", 1), ("node", 2), ("floor", 2)]
    assert runs == {"node": [1.0, 2.0, 3.0], "floor": [4.0, 8.0, 12.0]}
    assert against(runs["node"], {"floor": runs["floor"]}) == {"floor": 0.25}


def test_a_ratio_is_taken_round_by_round_so_that_a_slow_moment_meets_both_sides() -> None:
    assert against([100.0, 10.0, 90.0], {"floor": [200.0, 20.0, 180.0]}) == {"floor": 0.5}


def test_the_spread_is_the_middle_half_of_the_runs() -> None:
    assert rate([1.0, 2.0, 3.0, 4.0, 5.0]).quartiles() == (2.0, 4.0)
    assert rate([7.0]).quartiles() == (7.0, 7.0)


def written(path: Path, run: str, *figures: Figure) -> dict[str, Any]:
    write(path, run, {"at": run}, {"cpu_count": 2}, {"sqlite": "3"}, figures)
    report: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return report


def test_the_report_has_the_agreed_form(tmp_path: Path) -> None:
    path = tmp_path / "build" / "bench.json"
    figures = [waiting([1.23456, 2.0, 4.0], Goal(50, 150)), replace(rate([3.0]), ratios={"floor": 0.123456})]
    write(path, "make bench", {"at": "now", "took_s": 3}, machine(), versions(), figures)
    report = json.loads(path.read_text(encoding="utf-8"))
    assert set(report) == {"runs", "results"}
    ran = report["runs"]["make bench"]
    assert set(ran) == {"at", "took_s", "machine", "versions"}
    assert {"cpu_count", "cpu_model", "memory_mib", "python", "os"} == set(ran["machine"])
    assert all(ran["machine"].values())
    assert {"fastapi", "sqlalchemy", "cryptography", "sqlite"} <= set(ran["versions"])
    timed, rated = report["results"]
    assert timed == {
        "name": "wait_ms",
        "unit": "ms",
        "better": "lower",
        "p50": 2.0,
        "p99": 4.0,
        "quartiles": [1.617, 3.0],
        "range": [1.235, 4.0],
        "runs": 3,
        "floor": False,
        "ratios": {},
        "conditions": "made up",
        "payload": "2 bytes",
        "durability": "none",
        "goal": "p50 under 50, p99 under 150",
        "goal_p50": 50,
        "met": True,
        "run": "make bench",
    }
    assert not {"goal", "goal_p50", "met"} & set(rated)
    assert rated["ratios"] == {"floor": 0.1235}


@pytest.mark.parametrize("how", ["'--enable-shared' '--enable-optimizations'", "'--enable-shared'", None])
def test_the_interpreter_is_told_and_optimised_only_where_it_says_so(
    how: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sysconfig, "get_config_var", {"CONFIG_ARGS": how}.get)
    told = str(machine()["python"])
    assert platform.python_version() in told
    assert told.endswith(", --enable-optimizations") == ("optimizations" in (how or ""))


def test_a_run_replaces_what_it_measured_and_keeps_the_figures_of_others(tmp_path: Path) -> None:
    path = tmp_path / "bench.json"
    written(path, "make bench", rate([1.0]), waiting([2.0]))
    written(path, "make bench-million", replace(rate([5.0]), name="million"))
    report = written(path, "make bench", rate([123456.0]))
    kept = {each["name"]: (each["run"], each["p50"]) for each in report["results"]}
    assert kept == {
        "wait_ms": ("make bench", 2.0),
        "million": ("make bench-million", 5.0),
        "rate_per_s": ("make bench", 123500),  # four significant digits are told, not more
    }
    assert set(report["runs"]) == {"make bench", "make bench-million"}


def test_what_is_no_report_is_not_written_over(tmp_path: Path) -> None:
    path = tmp_path / "bench.json"
    path.write_text('{"notes": 1}', encoding="utf-8")
    with pytest.raises(OSError, match="not a report"):
        written(path, "make bench", rate([1.0]))
    path.write_text("half a repo", encoding="utf-8")
    with pytest.raises(OSError, match="not a report"):
        read(path)
    assert path.read_text(encoding="utf-8") == "half a repo"


def test_the_table_names_every_figure_its_floor_and_shouts_a_missed_goal() -> None:
    shown = io.StringIO()
    figures = [
        waiting([80.0], Goal(50, 150)),
        replace(rate([12345.0], Goal(500)), ratios={"empty": 0.256}),
        Figure("plain", "bytes", [7.0], MADE_UP),
        Figure("empty", "answers/s", [40_000.0], MADE_UP, floor=True),
    ]
    Console(file=shown, width=150).print(table(figures))
    by_name = {line.split()[0]: line for line in shown.getvalue().splitlines() if line.split()}
    assert "NO" in by_name["wait_ms"]
    assert "yes" in by_name["rate_per_s"]
    assert "12,340" in by_name["rate_per_s"]
    assert "0.26 of empty" in by_name["rate_per_s"]
    assert "(floor)" in by_name["empty"]
    assert not {"NO", "yes"} & set(by_name["plain"].split())


def test_the_plot_shows_every_figure_in_a_panel_of_its_unit(tmp_path: Path) -> None:
    path = tmp_path / "bench.svg"
    units = {
        "changes/s": "a_rate",
        "ms": "a_wait",
        "s": "a_time",
        "ratio": "of",
        "bytes": "size",
        "us": "cpu",
    }
    figures = [Figure(name, unit, [1.0, 2.0], MADE_UP, goal=Goal(3)) for unit, name in units.items()]
    figures.append(Figure("memory", "MB", [9.0], MADE_UP, floor=True))
    plot.draw([figure.to_json() for figure in figures], path)
    drawn = path.read_text(encoding="utf-8")
    assert [name for name in (*units.values(), "memory") if f">{name}<" not in drawn] == []
    assert len(plot.PANELS) == len(figures)


def test_what_was_measured_is_told_though_the_rest_could_not_be(tmp_path: Path) -> None:
    def measure(folder: Path, console: Console) -> Iterator[Figure]:
        assert folder.parent == tmp_path, "on the disk where the report is"
        yield rate([3.0])
        raise RuntimeError("the node does not start")

    path = tmp_path / "bench.json"
    assert told("make bench", measure, path) == 1
    report = read(path)
    assert [each["name"] for each in report["results"]] == ["rate_per_s"]
    assert report["runs"]["make bench"]["versions"]["fastapi"]
    assert sorted(each.name for each in tmp_path.iterdir()) == ["bench.json", "bench.svg"]


def test_a_long_measurement_says_that_it_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def measure(_folder: Path, console: Console) -> Iterator[Figure]:
        console.print("Checking")
        time.sleep(0.5)
        yield rate([3.0])

    monkeypatch.setattr(run, "SAY_S", 0.01)
    assert told("make bench", measure, tmp_path / "bench.json") == 0
    meanwhile = capsys.readouterr().out.partition("Checking")[2].partition("rate_per_s")[0]
    assert meanwhile.count(" s\n") > 1


def test_every_made_up_operator_is_one_the_node_accepts() -> None:
    made = operators(0, 300) + operators(99_999_990, 10)
    assert [model.to_json(model.parse(each)) for each in made] == made
    assert len({each["tin"] for each in made}) == len(made)


def test_a_request_on_the_wire_says_exactly_how_long_its_body_is() -> None:
    head, _, body = request("POST", "/v1/operators", "aeo_x_y", "ção".encode()).partition(b"\r\n\r\n")
    assert body == "ção".encode()
    assert head.split(b"\r\n")[0] == b"POST /v1/operators HTTP/1.1"
    assert b"content-length: 5" in head
    assert b"authorization: Bearer aeo_x_y" in head
    assert b"content-length" not in request("GET", "/")


def test_made_up_traders_are_accepted_all_different_and_no_operators() -> None:
    made = [*traders(0, 50), trader(MANY - 1)]
    assert [model.to_json(model.parse(each)) for each in made] == made
    assert len({each["tin"] for each in made}) == len(made)
    assert not {each["tin"] for each in made} & {each["tin"] for each in operators(0, 51)}
