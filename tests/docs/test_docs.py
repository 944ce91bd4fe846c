"""The pages say what the program does: each route, setting, command, code and diagram is compared with it."""

import json
import os
import re
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from fastapi import FastAPI
from pydantic_core import PydanticUndefined

import node.__main__ as node_commands
from clients.cli import main as client_commands
from node import app, assembly, keys, settings
from node.agreements import state
from node.api import connections, problems
from node.errors import Refusal
from node.exchange import requests
from node.records import status
from node.service import line
from node.store import database

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md"), *(ROOT / "clients").rglob("*.md")])
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ +(.+)$", re.MULTILINE)
FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
MACHINE_PATH = re.compile(r"(?<![\w.])/(?:home|root|work|tmp|Users)/\w+")


def page(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FastAPI]:
    """The application of a node that was never started."""
    home = tmp_path_factory.mktemp("docs")
    told = {"name": "aeo.br.example", "country": "BR", "administration": "Customs of BR"}
    settings.write(home, told | {"address": "http://127.0.0.1:8001"})
    keys.make(home / "keys")
    parts = assembly.parts_of(home)
    yield app.build(parts)
    parts.database.close()


def served(routes: Iterable[Any]) -> set[str]:
    """Every "METHOD /path" that an application serves, described by it or not."""
    found: set[str] = set()
    for route in routes:
        if hasattr(route, "original_router"):
            found |= served(route.original_router.routes)
        else:
            path = route.path.replace(":path}", "}")
            found |= {f"{method} {path}" for method in route.methods - {"HEAD"}}
    return found


def test_every_route_is_in_the_page_and_no_other(built: FastAPI) -> None:
    documented = set(re.findall(r"^\| `([A-Z]+ /[^`]*)` \|", page("api.md"), re.MULTILINE))
    assert documented == served(built.routes) - {"GET /openapi.json"}
    assert "`GET /openapi.json`" in page("api.md")


def test_the_committed_description_is_the_one_a_node_serves(built: FastAPI) -> None:
    written = (DOCS / "openapi.json").read_text(encoding="utf-8")
    assert written.rstrip("\n") == json.dumps(built.openapi(), indent=1, sort_keys=True)


def test_every_route_is_described_in_a_sentence(built: FastAPI) -> None:
    described = {
        f"{method.upper()} {path}": told.get("description", "")
        for path, each in built.openapi()["paths"].items()
        for method, told in each.items()
    }
    assert set(described) == served(built.routes) - {"GET /openapi.json"}
    assert [route for route, told in described.items() if len(told) < 20] == []


def test_every_setting_is_in_the_page_with_its_variable_and_default() -> None:
    rows = re.findall(
        r"^\| `(\w+)` \| `(\w+)` \| (`[^`]*`|required) \| (.+) \|$", page("operate/README.md"), re.M
    )
    documented = {name: (variable, default, meaning) for name, variable, default, meaning in rows}
    expected = {}
    for name, told in settings.Settings.model_fields.items():
        default = "required" if told.default is PydanticUndefined else f"`{told.default}`"
        expected[name] = (f"AEO_{name.upper()}", default, told.description)
    assert documented == expected


def commands_of(cli: typer.Typer, before: str = "") -> set[str]:
    """Every command of a program, with the group before it."""
    found = {f"{before}{command.name or command.callback.__name__}" for command in cli.registered_commands}
    for group in cli.registered_groups:
        found |= commands_of(group.typer_instance, f"{before}{group.name} ")
    return found


def test_every_command_is_in_a_page() -> None:
    of_node = commands_of(node_commands.cli)
    of_client = commands_of(client_commands.cli) - {"token"}  # handed on: its commands are the node's
    text = page("commands.md") + page("operate/README.md")
    assert len(of_node) > 5
    assert len(of_client) > 15
    missing = [name for name in of_node | of_client if not re.search(rf"`aeo {re.escape(name)}[ `]", text)]
    assert missing == []


def test_every_command_that_the_pages_name_is_there() -> None:
    known = commands_of(node_commands.cli) | commands_of(client_commands.cli)
    groups = {name.split()[0] for name in known if " " in name}
    said = {
        (named(path), first, second)
        for path in PAGES
        for first, second in re.findall(
            r"(?:^    |`)aeo ([a-z]+)(?: ([a-z]+))?", path.read_text(encoding="utf-8"), re.M
        )
    }
    wrong = [
        (where, first, second)
        for where, first, second in said
        if not (first in known or (first in groups and (not second or f"{first} {second}" in known)))
    ]
    assert wrong == []


def refusals(of: type[Refusal]) -> list[type[Refusal]]:
    """A refusal of the node and those below it; the clients' own are not answered over HTTP."""
    below = [child for child in of.__subclasses__() if child.__module__ == of.__module__]
    return [of, *(each for child in below for each in refusals(child))]


def test_every_refusal_is_in_the_page_with_its_status() -> None:
    rows = re.findall(r"^\| `([a-z-]+)` \| ([0-9, ]+) \|", page("api.md"), re.MULTILINE)
    documented = {code: {int(status_) for status_ in statuses.split(",")} for code, statuses in rows}
    expected: dict[str, set[int]] = {"busy": {problems.TOO_OFTEN}}
    for each in refusals(Refusal):
        expected.setdefault(each.code, set()).add(problems.STATUS.get(each, 500))
    assert documented == expected


def test_every_module_is_on_the_map_under_its_folder_and_no_other() -> None:
    named_as = r"^(?:## |\| `)((?:node|contracts|clients)[/\w]*)"
    _, *told = re.split(named_as, page("architecture.md"), flags=re.MULTILINE)
    on_map = {
        f"{folder}/{file}"
        for folder, text in zip(told[::2], told[1::2], strict=True)
        for file in re.findall(r"`((?:rules/)?\w+\.py)`", text)
    }
    found = [path for package in ("node", "contracts", "clients") for path in (ROOT / package).rglob("*.py")]
    modules = {named(path) for path in found if path.name != "__init__.py" and "migrations" not in path.parts}
    assert on_map == modules


def test_the_bounds_that_are_no_settings_are_in_the_page() -> None:
    said = page("api.md").partition("## Bounds")[2]
    fixed = [connections.REQUEST_LIMIT_S, database.WRITER_WAIT_S, requests.LIFETIME_S]
    assert [f"{bound:.0f} s" for bound in fixed] == re.findall(r"\d+ s(?= )", said)[:3]
    assert f"{line.REMEMBER_MS // 86_400_000} days" in said


@pytest.mark.parametrize("diagram", [status.diagram(), state.diagram()], ids=["status", "agreement"])
def test_a_diagram_in_the_pages_is_drawn_from_the_table_in_the_code(diagram: str) -> None:
    drawn = f"```mermaid\n{diagram.rstrip()}\n```"
    assert [named(path) for path in PAGES if drawn in path.read_text(encoding="utf-8")] != []


def test_no_other_state_diagram_stands_in_the_pages() -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in PAGES)
    assert text.count("stateDiagram") == 2


def anchors(path: Path) -> set[str]:
    """The anchors of a page's headings, as they are made where the project is read."""
    headings = HEADING.findall(FENCED.sub("", path.read_text(encoding="utf-8")))
    plain = [re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings]
    return {heading.replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("path", PAGES, ids=named)
def test_every_link_of_a_page_leads_somewhere(path: Path) -> None:
    dead = []
    for target in LINK.findall(FENCED.sub("", path.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", target):
            continue
        place, _, anchor = target.partition("#")
        file = (path.parent / place).resolve() if place else path
        if not file.exists() or (anchor and anchor not in anchors(file)):
            dead.append(target)
    assert dead == []


@pytest.mark.parametrize("path", PAGES, ids=named)
def test_no_page_names_a_place_on_one_machine(path: Path) -> None:
    assert MACHINE_PATH.findall(path.read_text(encoding="utf-8")) == []


def test_every_page_can_be_reached_from_the_readme() -> None:
    seen, waiting = set(), [ROOT / "README.md"]
    while waiting:
        path = waiting.pop()
        seen.add(path)
        targets = LINK.findall(FENCED.sub("", path.read_text(encoding="utf-8")))
        linked = [(path.parent / target.partition("#")[0]).resolve() for target in targets]
        waiting += [each for each in linked if each.suffix == ".md" and each.is_file() and each not in seen]
    assert [named(path) for path in PAGES if path not in seen and DOCS in path.parents] == []


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


def test_the_make_commands_of_the_pages_are_targets() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert {"demo", "test"} <= set(re.findall(r"^    make ([a-z]+)$", readme, re.MULTILINE))
    said = {
        target
        for path in PAGES
        for target in re.findall(r"(?:^    |`)make ([a-z]+)", path.read_text(encoding="utf-8"), re.M)
    }
    assert said <= make_targets()


def test_make_alone_lists_its_targets() -> None:
    own = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    asked = subprocess.run(
        ["make"], cwd=ROOT, env=own, capture_output=True, text=True, check=True, timeout=20
    )
    said = asked.stdout
    listed = {line.split()[0] for line in said.splitlines()}
    assert listed == make_targets()
