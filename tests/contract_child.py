"""Decides what stands on standard input, a JSON array `[text, record, terms, today]` a line."""

import json
import sys
import tracemalloc

from contracts import load


def main() -> None:
    """Answer each line; `peak` is the most bytes held while deciding, beside what was there before."""
    sys.stdin.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
    for line in sys.stdin:
        text, record, terms, today = json.loads(line)
        contract = load(text)
        tracemalloc.start()
        answer = contract.decide(record, terms, today)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        told = {"answer": [answer.shared, answer.fields, answer.reason], "steps": dict(contract.steps)}
        sys.stdout.write(json.dumps(told | {"peak": peak}) + "\n")
        sys.stdout.flush()


main()
