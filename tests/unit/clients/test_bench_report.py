import io
import json
import math
from pathlib import Path

import pytest
from rich.console import Console

from clients.bench.figures import Figure, Goal, table, write
from clients.bench.load import request
from clients.bench.machine import machine, versions
from clients.bench.operators import operators
from clients.bench.traders import MANY, trader, traders
from node.records import model

HUNDRED = [float(n) for n in range(1, 101)]


def waiting(runs: list[float], goal: Goal | None = None) -> Figure:
    return Figure("wait_ms", "ms", runs, "made up", better="lower", goal=goal)


def rate(runs: list[float], goal: Goal | None = None) -> Figure:
    return Figure("rate_per_s", "answers/s", runs, "made up", goal=goal)


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


def test_the_report_has_the_agreed_form(tmp_path: Path) -> None:
    path = tmp_path / "build" / "bench.json"
    write(path, machine(), versions(), [waiting([1.23456, 2.0, 4.0], Goal(50, 150)), rate([3.0])])
    report = json.loads(path.read_text(encoding="utf-8"))
    assert set(report) == {"machine", "versions", "results"}
    assert {"cpu_count", "cpu_model", "memory_mib", "python", "os"} == set(report["machine"])
    assert all(report["machine"].values())
    assert {"fastapi", "sqlalchemy", "cryptography", "sqlite"} <= set(report["versions"])
    timed, rated = report["results"]
    assert timed == {
        "name": "wait_ms",
        "unit": "ms",
        "better": "lower",
        "median": 2.0,
        "p50": 2.0,
        "p99": 4.0,
        "runs": 3,
        "conditions": "made up",
        "goal": "p50 under 50, p99 under 150",
        "met": True,
    }
    assert "goal" not in rated
    assert "met" not in rated


def test_the_report_replaces_an_earlier_one(tmp_path: Path) -> None:
    path = tmp_path / "bench.json"
    write(path, {}, {}, [rate([1.0]), rate([2.0])])
    write(path, {}, {}, [rate([123456.0])])
    (only,) = json.loads(path.read_text(encoding="utf-8"))["results"]
    assert only["median"] == 123500, "four significant digits are told, not more"


def test_the_table_names_every_figure_and_shouts_a_missed_goal() -> None:
    shown = io.StringIO()
    figures = [
        waiting([80.0], Goal(50, 150)),
        rate([12345.0], Goal(500)),
        Figure("plain", "bytes", [7.0], ""),
    ]
    Console(file=shown, width=80).print(table(figures))
    by_name = {line.split()[0]: line for line in shown.getvalue().splitlines() if line.split()}
    assert "NO" in by_name["wait_ms"]
    assert "yes" in by_name["rate_per_s"]
    assert "12,340" in by_name["rate_per_s"]
    assert not {"NO", "yes"} & set(by_name["plain"].split())


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
