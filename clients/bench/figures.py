"""What was measured: a figure out of its runs, with the conditions it was made under.

`p50` and `p99` are read from the bad side: 50 and 99 of 100 runs were no worse. For a time that is the
usual percentile; for a rate, where more is better, `p99` is the rate that 99 of 100 runs reached.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median, quantiles
from typing import Any, Literal

Better = Literal["lower", "higher"]
Measure = Callable[[int], float]


@dataclass(frozen=True, slots=True)
class Goal:
    """Bounds on p50 and, where there is one, on p99; reached exactly is not met."""

    p50: float
    p99: float | None = None


@dataclass(frozen=True, slots=True)
class Conditions:
    """What was measured, and with what; a part that does not apply is empty."""

    what: str
    payload: str = ""
    concurrency: str = ""
    durability: str = ""

    def to_json(self) -> dict[str, str]:
        """As they stand in `bench.json`."""
        parts = {"payload": self.payload, "concurrency": self.concurrency, "durability": self.durability}
        return {"conditions": self.what} | {name: told for name, told in parts.items() if told}


@dataclass(frozen=True, slots=True)
class Figure:
    """One thing measured in several runs; `ratios`: what it is of each floor of the same run."""

    name: str
    unit: str
    runs: Sequence[float]
    conditions: Conditions
    better: Better = "higher"
    goal: Goal | None = None
    floor: bool = False
    ratios: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse a figure that nothing was measured for."""
        if not self.runs or not all(math.isfinite(run) for run in self.runs):
            raise ValueError(f"{self.name}: a figure needs runs, and every run a finite number")

    def percentile(self, share: int) -> float:
        """The run that `share` of 100 runs were no worse than (nearest rank)."""
        ordered = sorted(self.runs, reverse=self.better == "higher")
        return ordered[max(0, math.ceil(share / 100 * len(ordered)) - 1)]

    def quartiles(self) -> tuple[float, float]:
        """Between these lies the middle half of the runs."""
        if len(self.runs) == 1:
            return self.runs[0], self.runs[0]
        low, _, high = quantiles(self.runs, n=4, method="inclusive")
        return low, high

    def is_met(self) -> bool | None:
        """Whether the goal is met; None without a goal."""
        if self.goal is None:
            return None
        bounds = [(50, self.goal.p50)] + ([(99, self.goal.p99)] if self.goal.p99 is not None else [])
        return all(self._is_within(self.percentile(share), bound) for share, bound in bounds)

    def to_json(self) -> dict[str, Any]:
        """As it stands in `bench.json`."""
        told: dict[str, Any] = {"name": self.name, "unit": self.unit, "better": self.better}
        told |= {"p50": rounded(self.percentile(50)), "p99": rounded(self.percentile(99))}
        told |= {"quartiles": [rounded(each) for each in self.quartiles()]}
        told |= {"range": [rounded(min(self.runs)), rounded(max(self.runs))], "runs": len(self.runs)}
        told |= {"floor": self.floor, "ratios": {name: rounded(of) for name, of in self.ratios.items()}}
        return told | self.conditions.to_json() | self._goal_json()

    def goal_text(self) -> str:
        """The goal as a person reads it."""
        if self.goal is None:
            return ""
        word = "under" if self.better == "lower" else "over"
        tail = "" if self.goal.p99 is None else f", p99 {word} {self.goal.p99:g}"
        return f"p50 {word} {self.goal.p50:g}{tail}"

    def _goal_json(self) -> dict[str, Any]:
        if self.goal is None:
            return {}
        return {"goal": self.goal_text(), "goal_p50": self.goal.p50, "met": self.is_met()}

    def _is_within(self, value: float, bound: float) -> bool:
        return value < bound if self.better == "lower" else value > bound


def in_turn(rounds: int, measures: Mapping[str, Measure]) -> dict[str, list[float]]:
    """Measure A B C A B C ..., so that what the machine does meanwhile meets all of them alike.

    Each measure is told the number of the round. Gives the runs of each, round by round.
    """
    runs: dict[str, list[float]] = {name: [] for name in measures}
    for at in range(rounds):
        for name, measure in measures.items():
            runs[name].append(measure(at))
    return runs


def against(runs: Sequence[float], floors: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """The median, over the rounds, of each run to the run of each floor in the same round."""
    return {
        name: median(one / other for one, other in zip(runs, of, strict=True)) for name, of in floors.items()
    }


def rounded(value: float) -> float:
    """To four significant digits: more would pretend."""
    return float(f"{value:.4g}")
