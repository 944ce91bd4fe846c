"""Ready-made terms, one JSON file for each agreement; a starting point for negotiators."""

import json
from importlib.resources import files


def terms(name: str = "br_uy") -> dict[str, object]:
    """Give ready-made terms as plain JSON values."""
    loaded: dict[str, object] = json.loads(files(__package__).joinpath(f"{name}.json").read_text("utf-8"))
    return loaded
