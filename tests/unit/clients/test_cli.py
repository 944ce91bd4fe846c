"""The command line: against real nodes, and what it does when there is none."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.core import TyperGroup

from clients.cli import agreements, local, main, output, session, watching
from clients.cli.output import printable
from clients.demo.waiting import until
from node.errors import Malformed
from tests.nodes import LISTS, ROOT, Node, Pair, brazilian, free_port, make, run_all

AEO = Path(sys.executable).with_name("aeo")


@dataclass(frozen=True, slots=True)
class Done:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Aeo = Callable[..., Done]


@pytest.fixture
def aeo(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Aeo:
    for name in [name for name in os.environ if name.startswith("AEO_")]:
        monkeypatch.delenv(name)

    def call(*arguments: str, at: Node | None = None) -> Done:
        home = ("--home", str(at.home)) if at else ()
        monkeypatch.setattr(sys, "argv", ["aeo", *arguments, *home])
        with pytest.raises(SystemExit) as ended:
            main.run()
        told = capfd.readouterr()
        return Done(int(str(ended.value.code or 0)), told.out, told.err)

    return call


def commands() -> dict[str, Any]:
    found: dict[str, Any] = {}

    def gather(prefix: str, group: TyperGroup) -> None:
        for name, command in group.commands.items():
            if isinstance(command, TyperGroup):
                gather(f"{prefix}{name} ", command)
            else:
                found[prefix + name] = command

    root = typer.main.get_command(main.cli)
    assert isinstance(root, TyperGroup)
    gather("", root)
    return found


# What the command line says of itself.


@pytest.mark.parametrize("name", sorted(commands()))
def test_every_command_has_help_and_one_example_of_itself(name: str) -> None:
    command = commands()[name]
    assert command.help
    assert command.epilog.startswith(f"Example: aeo {name}")


@pytest.mark.parametrize("name", sorted(set(commands()) - set(local.COMMANDS)))
def test_no_command_takes_a_token_as_an_argument(name: str) -> None:
    options = {option for parameter in commands()[name].params for option in parameter.opts}
    assert "--token" not in options


def test_help_tells_examples_and_every_exit_code(aeo: Aeo) -> None:
    told = aeo("--help").out
    assert all(example in told for example in main.EXAMPLES)
    assert all(f"{code}  {meaning}" in told for code, meaning in output.EXIT_CODES.items())


def test_a_command_of_the_home_folder_is_the_nodes_own() -> None:
    done = subprocess.run([AEO, "token", "create", "--help"], capture_output=True, text=True, check=True)
    assert "--role" in done.stdout


def test_a_folder_called_node_cannot_stand_in_for_the_node(tmp_path: Path) -> None:
    (tmp_path / "node").mkdir()
    for name in ("__init__.py", "__main__.py"):
        (tmp_path / "node" / name).write_text("print('an attack')", encoding="utf-8")
    done = subprocess.run(
        [AEO, "card", "--home", "nowhere"], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert "an attack" not in done.stdout
    assert done.returncode == 2
    assert "no node lives here" in done.stderr


def test_a_lookup_loads_nothing_that_only_others_need() -> None:
    heavy = ("fastapi", "sqlalchemy", "stdnum", "uvicorn", "pydantic", "contracts", "node.records.model")
    code = "import sys; import clients.cli.main, clients.sdk.client; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert not set(heavy) & set(done.stdout.split())


def test_what_a_terminal_could_obey_is_never_printed() -> None:
    assert printable("Cia\x1b[2J\r\n\u202egoldmine") == "Cia\ufffd[2J\ufffd\ufffd\ufffdgoldmine"


# Which node.


def home(folder: Path, port: int = 8123, host: str = "127.0.0.1") -> Path:
    folder.mkdir()
    (folder / "settings.toml").write_text(f'host = "{host}"\nport = {port}\n', encoding="utf-8")
    (folder / "administrator.token").write_text(f"aeo_{folder.name}\n", encoding="utf-8")
    return folder


def test_an_option_beats_the_environment(tmp_path: Path) -> None:
    br, uy = home(tmp_path / "br", 1), home(tmp_path / "uy", 2)
    environment = {"AEO_HOME": str(uy), "AEO_URL": "http://elsewhere.test", "AEO_TOKEN_FILE": str(uy / "x")}
    assert session.locate(br, None, None, environment) == session.Place("http://127.0.0.1:1", "aeo_br")


def test_the_environment_names_the_node_when_no_option_does(tmp_path: Path) -> None:
    uy = home(tmp_path / "uy")
    assert session.locate(None, None, None, {"AEO_HOME": str(uy)}) == session.Place(
        "http://127.0.0.1:8123", "aeo_uy"
    )
    named = {"AEO_URL": "http://elsewhere.test", "AEO_TOKEN_FILE": str(uy / "administrator.token")}
    assert session.locate(None, None, None, named) == session.Place("http://elsewhere.test", "aeo_uy")


def test_the_token_of_a_home_is_not_sent_to_another_address_of_the_environment(tmp_path: Path) -> None:
    uy = home(tmp_path / "uy")
    with pytest.raises(Malformed, match="token"):
        session.locate(None, None, None, {"AEO_HOME": str(uy), "AEO_URL": "http://elsewhere.test"})


def test_a_token_is_never_sent_to_an_address_it_was_not_named_for(tmp_path: Path) -> None:
    uy = home(tmp_path / "uy")
    with pytest.raises(Malformed, match="no token"):
        session.locate(None, "http://elsewhere.test", None, {"AEO_HOME": str(uy)})


@pytest.mark.parametrize(
    ("host", "address"),
    [("0.0.0.0", "127.0.0.1"), ("::", "[::1]"), ("::1", "[::1]"), ("node.test", "node.test")],
)
def test_a_node_that_listens_everywhere_is_reached_here(tmp_path: Path, host: str, address: str) -> None:
    assert session.locate(home(tmp_path / "br", 7, host), None, None, {}).url == f"http://{address}:7"


@pytest.mark.parametrize("content", ["", "two words", "a\nb", "smör"])
def test_a_file_that_does_not_hold_one_token_is_refused(tmp_path: Path, content: str) -> None:
    br = home(tmp_path / "br")
    (br / "administrator.token").write_text(content, encoding="utf-8")
    with pytest.raises(Malformed):
        session.locate(br, None, None, {})


def test_where_no_node_lives_the_command_is_refused(
    aeo: Aeo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = aeo("channels")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("Refused: no node lives here (aeo-node)")


def test_a_node_that_does_not_answer_is_exit_code_3(aeo: Aeo, tmp_path: Path) -> None:
    place = home(tmp_path / "br", free_port())
    for command in (["channels"], ["lookup", "1"], ["watch"]):
        done = aeo(*command, "--home", str(place))
        assert (done.code, done.out) == (3, "")
        assert done.err.startswith("Not done: the node cannot be reached")


def test_ctrl_c_ends_quietly(aeo: Aeo, pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("clients.sdk.client.Node.changes", interrupted)
    done = aeo("watch", at=pair.br)
    assert (done.code, done.err) == (130, "")


# Operators.


def admitted(aeo: Aeo, folder: Path, node: Node, number: int, **changed: Any) -> str:
    operator = brazilian(number, **changed)
    file = folder / "operator.json"
    file.write_text(json.dumps(operator), encoding="utf-8")
    done = aeo("operator", "add", str(file), at=node)
    assert done.code == 0, done.err
    assert done.out.startswith(f"{operator['tin']}: new, version 1, ledger entry ")
    return str(operator["tin"])


def shows(aeo: Aeo, node: Node, tin: str, text: str) -> str:
    def told() -> str:
        card = aeo("lookup", tin, at=node).out
        return card if text in card else ""

    return until(told, what=text)


def test_an_operators_life_is_told_to_the_partner(aeo: Aeo, pair: Pair, tmp_path: Path) -> None:
    br, uy = pair.both()
    tin = admitted(aeo, tmp_path, br, 920_001)
    card = shows(aeo, uy, tin, "YES, under")
    assert "Empresa Inventada 920001 Ltda" in card
    assert "ACTIVE since 2025-01-01" in card
    assert "entries proven" in card
    assert "the limit is 900 s" in card

    done = aeo("operator", "status", tin, "suspended", "--reason-class", "UNDER_REVIEW", at=br)
    assert done.out.startswith(f"{tin}: changed, version 2")
    assert "NO, under Brazil-Uruguay" in shows(aeo, uy, tin, "the status is SUSPENDED")

    assert aeo("operator", "consent", tin, "--withdraw", at=br).code == 0
    assert "no longer shares this record" in shows(aeo, uy, tin, "NOT_SHARED")
    own = aeo("lookup", tin, at=br).out
    assert "own record" in own
    assert "withheld: " in own

    told = aeo("operator", "history", tin, at=uy).out.splitlines()
    kinds = [line.split()[::2][:2] for line in told if line.split()[:1] in (["disclosure"], ["tombstone"])]
    assert kinds == [["disclosure", "ACTIVE"], ["disclosure", "SUSPENDED"], kinds[-1]]
    assert kinds[-1][0] == "tombstone"
    assert "identifiers" not in " ".join(told), "they never changed"

    versions = aeo("operator", "history", tin, "--json", at=br).json["versions"]
    assert [version["version"] for version in versions] == [1, 2, 3]
    assert "SUSPENDED" in aeo("operator", "history", tin, at=br).out


def test_an_operator_is_erased_where_it_was_told(aeo: Aeo, pair: Pair, tmp_path: Path) -> None:
    br, uy = pair.both()
    operator = brazilian(77)
    file, tin = tmp_path / "operator.json", operator["tin"]
    file.write_text(json.dumps(operator))
    assert aeo("operator", "add", str(file), at=br).code == 0
    until(lambda: aeo("lookup", tin, at=uy).code in (0, 1), what="the operator at the partner")
    wanted = ("operator", "erase", tin, "--ground", "objection", "--reference", "case 7")
    unsure = aeo(*wanted, at=br)
    assert (unsure.code, "--yes" in unsure.err) == (2, True)
    assert aeo("erasure", "hold", tin, "--reason", "court order 12", at=uy).code == 0
    assert aeo(*wanted, "--yes", at=br).code == 0
    until(lambda: "court order 12" in aeo("erasure", "status", at=br).out, what="the reason of the partner")
    assert aeo("erasure", "status", "--open", at=br).code == 1
    assert aeo("erasure", "release", tin, at=uy).code == 0
    until(lambda: aeo("erasure", "status", at=br).code == 0, what="the partner's answer")
    assert aeo("lookup", tin, at=uy).code == 4
    assert "no own operator has this identifier" in aeo(*wanted, "--yes", at=br).err
    assert "nothing is recorded here" in aeo("erasure", "release", tin, at=uy).err
    [told] = aeo("erasure", "status", "--json", at=br).json["erasures"][0]["partners"]
    assert (told["partner"], told["answer"]) == ("UY", "ERASED")


def test_a_partners_operator_is_suspended_here_and_an_irregularity_told_and_answered(
    aeo: Aeo, pair: Pair, tmp_path: Path
) -> None:
    br, uy = pair.both()
    tin = admitted(aeo, tmp_path, br, 920_013)
    shows(aeo, uy, tin, "YES, under")
    wanted = ("suspension", "impose", tin, "--class", "security", "--reason", "case 4711")
    assert "no partner has told of" in aeo(*wanted, at=br).err
    assert "must be one of CARGO" in aeo(*wanted[:3], "--class", "GOSSIP", "--reason", "x", at=uy).err
    done = aeo(*wanted, at=uy)
    assert (done.code, "SUSPENDED here, own ledger entry " in done.out, "told: BR" in done.out) == (
        0,
        True,
        True,
    )
    assert "suspended here since" in shows(aeo, uy, tin, "NO, under")
    assert "already" in aeo(*wanted, at=uy).err
    assert "case 4711" in aeo("suspension", "list", at=uy).out
    shows(aeo, br, tin, "UY has suspended it there")
    assert aeo("suspension", "lift", tin, "--reason", "closed", at=uy).code == 0
    shows(aeo, uy, tin, "YES, under")
    assert "No operator of a partner's" in aeo("suspension", "list", at=uy).out
    assert aeo("suspension", "list", "--json", at=uy).json == {"suspended": []}

    wanted = ("irregularity", "report", tin, "--class", "CARGO", "--text", "seal 1234 was broken")
    made = aeo(*wanted, "--json", at=uy).json
    assert made["partner"] == "BR"
    assert "reported already" in aeo(*wanted, at=uy).err
    card = shows(aeo, br, tin, "UY reports CARGO: seal 1234 was broken")
    number = card.partition("irregularity ")[2].partition(":")[0]
    assert aeo("irregularity", "list", "--open", at=br).code == 1
    assert aeo("irregularity", "acknowledge", number, "--text", "seal replaced", at=br).code == 0
    assert aeo("irregularity", "list", "--open", at=br).code == 0
    assert (
        "only the issuer" in aeo("irregularity", "acknowledge", str(made["report"]), "--text", "x", at=uy).err
    )
    told = until(
        lambda: (
            "seal replaced" in aeo("irregularity", "list", at=uy).out and aeo("irregularity", "list", at=uy)
        ),
        what="the acknowledgement",
    )
    assert ("to BR" in told.out, told.code) == (True, 0)


def test_a_lookup_as_of_a_day_shows_both_clocks(aeo: Aeo, pair: Pair, tmp_path: Path) -> None:
    br, uy = pair.both()
    tin = admitted(aeo, tmp_path, br, 920_014)
    shows(aeo, uy, tin, "YES, under")
    back = "2026-01-15T00:00:00.000Z"
    assert aeo("operator", "status", tin, "SUSPENDED", "--effective-at", back, at=br).code == 0
    shows(aeo, uy, tin, "the status is SUSPENDED")
    for node in pair.both():
        assert "ACTIVE since" in aeo("lookup", tin, "--effective", "2026-01-14", at=node).out
        card = aeo("lookup", tin, "--effective", "2026-01-15", at=node).out
        assert "SUSPENDED since 2026-01-15" in card
        assert f"in effect     {back}" in card
    [told] = aeo("lookup", tin, "--effective", "2026-01-15", "--json", at=uy).json["results"][tin]
    clocks = told["answers"][0]["clocks"]
    assert clocks["effective_at"] == back < clocks["recorded_at"] <= clocks["told_at"]
    before = aeo("lookup", tin, "--known", "2026-01-20", at=uy)
    assert (before.code, "nothing was known here" in before.err) == (2, True)
    assert "must not be in the future" in aeo("lookup", tin, "--effective", "2999-01-01", at=uy).err
    assert aeo("lookup", "--name", "x", "--known", "2026-01-20", at=uy).code == 2
    assert aeo("lookup", "BR00000000000000", "--known", "2026-01-20", at=uy).code == 4


def test_a_name_with_markup_is_printed_as_it_stands(aeo: Aeo, pair: Pair, tmp_path: Path) -> None:
    tin = admitted(aeo, tmp_path, pair.br, 920_002, legal_name="[bold red]Cia[/] Ltda")
    assert "[bold red]Cia[/] Ltda" in aeo("lookup", tin, at=pair.br).out


def test_a_lookup_that_finds_nothing_is_exit_code_4(aeo: Aeo, pair: Pair) -> None:
    done = aeo("lookup", "BR00000000000000", at=pair.br)
    assert (done.code, done.out) == (4, "BR00000000000000: not recorded here, and never disclosed to us\n")
    assert aeo("lookup", "BR00000000000000", "--json", at=pair.br).json == {
        "results": {"BR00000000000000": []}
    }
    assert aeo("lookup", "--name", "Zzyzx Qqq", at=pair.br).code == 4


def test_a_name_finds_suggestions(aeo: Aeo, pair: Pair) -> None:
    done = aeo("lookup", "--name", "caatinga eletronica", at=pair.br)
    assert done.code == 0
    assert "Caatinga Eletrônica S/A" in done.out
    assert "suggestions" in done.out


@pytest.mark.parametrize("arguments", [[], ["1", "--name", "x"]])
def test_a_lookup_of_nothing_or_of_both_is_refused(aeo: Aeo, pair: Pair, arguments: list[str]) -> None:
    assert aeo("lookup", *arguments, at=pair.br).code == 2


def test_a_refusal_of_the_node_is_told_whole(aeo: Aeo, pair: Pair, tmp_path: Path) -> None:
    tin = admitted(aeo, tmp_path, pair.br, 920_003)
    done = aeo("operator", "status", tin, "SPLENDID", at=pair.br)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("Refused: ")
    assert "status: " in done.err


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"{", "not JSON"),
        (b"[]", "one JSON object"),
        (b"\xff", "cannot be read"),
        (b" " * 2**21, "too large"),
    ],
)
def test_a_file_that_is_no_operator_is_refused(
    aeo: Aeo, pair: Pair, tmp_path: Path, content: bytes, says: str
) -> None:
    file = tmp_path / "operator.json"
    file.write_bytes(content)
    done = aeo("operator", "add", str(file), at=pair.br)
    assert done.code == 2
    assert says in done.err


def test_a_list_is_imported_twice_and_nothing_changes_the_second_time(
    aeo: Aeo, lone: Node, tmp_path: Path
) -> None:
    lines = (LISTS / "br_oea.csv").read_text(encoding="utf-8").splitlines(keepends=True)
    good = tmp_path / "good.csv"
    good.write_text("".join(lines[:31]), encoding="utf-8")
    command = ("operator", "import", str(good), "--profile", "br-oea")

    dry = aeo(*command, "--dry-run", at=lone)
    assert (dry.code, dry.out) == (
        0,
        "Nothing was changed; it would be: 30 new, 0 changed, 0 unchanged, 0 refused\n",
    )
    assert aeo(*command, at=lone).out == "30 new, 0 changed, 0 unchanged, 0 refused\n"
    assert aeo(*command, at=lone).out == "0 new, 0 changed, 30 unchanged, 0 refused\n"
    [consent] = aeo("operator", "consents", "BR99000002000148", "--json", at=lone).json["consents"]
    assert consent["source"] == f"good.csv sha256:{sha256(good.read_bytes()).hexdigest()}"

    bad = tmp_path / "bad.csv"
    broken = lines[2].replace("99.000.002/0001-48", "99.000.002/0001-49")
    assert broken != lines[2]
    bad.write_text("".join([lines[0], lines[1], broken, *lines[3:30]]), encoding="utf-8")
    done = aeo("operator", "import", str(bad), "--profile", "br-oea", "--json", at=lone)
    assert done.code == 1
    assert done.json["counts"] == {"new": 0, "changed": 0, "unchanged": 28, "refused": 1}
    [refused] = done.json["refused"]
    assert (refused["line"], refused["column"], refused["value"]) == (3, "CNPJ", "99.000.002/0001-49")
    assert "BR99000002000148" in done.json["missing"]
    assert len(done.json["missing"]) == 2

    told = aeo("operator", "import", str(bad), "--profile", "br-oea", at=lone).out
    assert "99.000.002/0001-49" in told
    assert "2 recorded here but not in the list, or on a refused row without a readable number;" in told


def test_a_row_that_the_node_refuses_is_named_by_its_line(aeo: Aeo, pair: Pair) -> None:
    done = aeo(
        "operator",
        "import",
        str(LISTS / "uy_oec.csv"),
        "--profile",
        "uy-oec",
        "--json",
        "--dry-run",
        at=pair.br,
    )
    report = done.json
    assert done.code == 1
    assert report["counts"]["refused"] == len(report["refused"]) > 0
    assert "own operators only" in report["refused"][0]["rule"]
    assert report["refused"][0]["line"] == 2


def test_a_list_that_cannot_be_trusted_is_refused_whole(aeo: Aeo, pair: Pair, tmp_path: Path) -> None:
    size = pair.br.http.get("/healthz").text
    lines = (LISTS / "br_oea.csv").read_text(encoding="utf-8").splitlines(keepends=True)
    file = tmp_path / "list.csv"
    file.write_text("".join([*lines[:10], 'a;"never closed\n']), encoding="utf-8")
    done = aeo("operator", "import", str(file), "--profile", "br-oea", at=pair.br)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("Refused: ")
    assert pair.br.http.get("/healthz").text == size


# Agreements and peers.


def test_two_administrations_pin_draft_sign_start_and_end(aeo: Aeo, tmp_path: Path) -> None:
    br, uy = nodes = make(("BR", "UY"), tmp_path)
    try:
        run_all((br, uy))
        pin(aeo, tmp_path, br, uy)
        agreement = signed(aeo, br, uy)
        direction = ("mra", "start", agreement[:8], "--direction", "BR-UY")
        assert "waits for: UY" in aeo(*direction, at=br).out
        until(lambda: "start" in aeo("mra", "list", at=uy).out, what="the proposal at the partner")
        done = aeo(*direction, at=uy)
        assert done.out.startswith("Signed; start is complete and in the ledger.\n")
        assert re.search(r"\n  effective +20\S+\n  state today +BR-UY \w+, .+\n", done.out)
        until(lambda: "BR-UY IN_OPERATION" in aeo("mra", "list", at=br).out, what="the operation")
        assert "BR-UY" in aeo("channels", at=br).out
        assert "shared" in aeo("mra", "decisions", agreement[:8], at=br).out

        done = aeo("mra", "suspend", agreement[:8], "--direction", "br-uy", "--reason", "Review", at=uy)
        assert done.out.startswith("Signed; suspend is complete and in the ledger.\n")
        assert re.search(r"  reason +Review\n", done.out)
        assert re.search(r"state today +BR-UY SUSPENDED", done.out)
        assert "BR-UY SUSPENDED" in aeo("mra", "show", agreement, at=uy).out
        until(lambda: "BR-UY SUSPENDED" in aeo("mra", "list", at=br).out, what="the suspension")
        resumes(aeo, br, uy, agreement)
        soon = aeo("mra", "terminate", agreement[:8], at=br)
        assert soon.code == 2
        assert "180 days of notice" in soon.err
        last = aeo("mra", "terminate", agreement[:8], "--effective", "2099-01-01", at=br)
        assert "IN_OPERATION, TERMINATED from 2099-01-01" in last.out
        assert "TERMINATED from 2099-01-01" in aeo("mra", "list", at=br).out
        assert re.search(r"in force +from 2099-01-01\n", aeo("mra", "show", agreement, at=br).out)
    finally:
        for node in nodes:
            node.close()


def resumes(aeo: Aeo, br: Node, uy: Node, agreement: str) -> None:
    """UY proposes in words that BR has not typed; BR signs them by the proposal's id."""
    resume = ("mra", "resume", agreement[:8])
    assert "about one direction" in aeo(*resume, at=uy).err
    assert aeo("mra", "suspend", agreement[:8], at=uy).code == 2, "a direction is named"
    proposed = aeo(*resume, "--direction", "BR-UY", "--reason", "Review done", "--json", at=uy).json["act"]
    until(lambda: proposed in aeo("mra", "show", agreement, at=br).out, what="the proposal at the partner")
    assert re.search(
        r"reason +Review done\n.*lifts +\S{43}\n", aeo("mra", "show", agreement, at=br).out, re.S
    )
    refused = aeo(*resume, "--direction", "BR-UY", at=br)
    assert refused.code == 2
    assert "its reason is 'Review done', not ''" in refused.err
    _program, *advised = shlex.split(refused.err.split("`")[1])
    assert aeo(*advised[:3], "--act", "AAAAAAAA", at=br).err.startswith("Refused: there is no one resume")
    done = aeo(*advised)
    assert done.out.startswith("Signed; resume is complete and in the ledger.\n")
    assert re.search(r"reason +Review done\n", done.out)
    until(lambda: "BR-UY IN_OPERATION" in aeo("mra", "list", at=br).out, what="the resumption")


def pin(aeo: Aeo, folder: Path, br: Node, uy: Node) -> None:
    for one, other in ((br, uy), (uy, br)):
        card = other.get("/v1/card")
        file = folder / f"{other.country}.card"
        file.write_text(card["card"] + "\n", encoding="utf-8")
        wrong = aeo("peer", "add", str(file), "--fingerprint", "0000 " * 8, at=one)
        assert wrong.code == 2
        assert "fingerprint is not this card's" in wrong.err
        assert aeo("peer", "add", str(file), "--fingerprint", card["fingerprint"], at=one).code == 0
        assert card["fingerprint"] in aeo("peer", "list", at=one).out


def signed(aeo: Aeo, br: Node, uy: Node) -> str:
    draft = ("mra", "draft", "--with", "UY", "--terms", "br_uy", "--contract", "mra_v1", "--json")
    agreement = str(aeo(*draft, at=br).json["agreement"])
    assert aeo("mra", "sign", agreement[:8], at=br).out.startswith("Signed; sign waits for: UY\n")
    assert "before both ledgers are proven" in aeo("mra", "decisions", agreement[:8], at=br).out
    until(lambda: agreement[:10] in aeo("mra", "list", at=uy).out, what="the draft at the partner")
    assert "def decide(" in aeo("mra", "show", agreement[:6], "--contract", at=uy).out
    assert f"mra start {agreement[:10]} --direction UY-BR" in aeo("mra", "sign", agreement[:8], at=uy).out
    for node in (br, uy):
        until(
            lambda node=node: aeo("mra", "show", agreement, "--json", at=node).json["signed"], what="signing"
        )
    return agreement


@pytest.mark.parametrize("command", ["show", "sign", "withdraw", "decisions"])
@pytest.mark.parametrize("start", ["Zk3c1", "AAAAAAAAAAAAAA", "-AAAAAAA"])
def test_an_id_that_begins_no_agreement_or_is_too_short_is_refused(
    aeo: Aeo, pair: Pair, command: str, start: str
) -> None:
    done = aeo("mra", command, start, at=pair.br)
    assert done.code == 2
    assert done.err.startswith("Refused: there is no such agreement")
    assert "at least 6 characters" in done.err


def test_an_empty_id_is_refused(aeo: Aeo, pair: Pair) -> None:
    done = aeo("mra", "sign", "", at=pair.br)
    assert (done.code, "an identifier is empty" in done.err) == (2, True)


@pytest.mark.parametrize("act", ["-AAAAAAA", ""])
def test_an_act_that_is_not_there_is_refused(aeo: Aeo, pair: Pair, act: str) -> None:
    done = aeo("mra", "withdraw", pair.agreement[:8], "--act", act, at=pair.br)
    assert done.code == 2
    assert done.err.startswith("Refused: there is no such act")


def test_a_draft_says_who_has_to_sign_and_can_be_withdrawn(aeo: Aeo, lone: Node, tmp_path: Path) -> None:
    words = {"withdrawn_by": [], "signed": False}
    assert "proof" in agreements._waiting(words | {"waiting": []})
    refused = {"act": "start", "issuer": "BR", "partner": "UY", "mode": "pilot", "missing": []}
    assert agreements._waiting(words | {"waiting": [refused]}).startswith("start BR-UY pilot by nobody:")
    [uy] = make(("UY",), tmp_path / "partner")
    card = uy.command("card")
    (tmp_path / "uy.card").write_text(card.stdout, encoding="utf-8")
    fingerprint = card.stderr.rpartition("fingerprint: ")[2].strip()
    assert aeo("peer", "add", str(tmp_path / "uy.card"), "--fingerprint", fingerprint, at=lone).code == 0
    drafted = aeo("mra", "draft", "--with", "UY", "--terms", "br_uy", at=lone).out
    _program, *advised = shlex.split(drafted.split("`")[1])
    assert "sign by BR, UY" in aeo("mra", "list", at=lone).out
    assert aeo(*advised).out.startswith("Signed; sign waits for: UY\n")
    agreement = advised[2]
    assert "sign by UY" in aeo("mra", "show", agreement[:8], at=lone).out
    done = aeo("mra", "withdraw", agreement[:8], "--reason", "superseded", at=lone)
    assert done.out == "The draft is withdrawn.\nThis node will never let it count.\n"
    assert "nobody: withdrawn by BR" in aeo("mra", "list", at=lone).out
    shown = aeo("mra", "show", agreement[:8], at=lone).out
    row = next(line for line in shown.splitlines() if "withdraw " in line)
    assert "the draft" in row
    again = aeo("mra", "sign", agreement[:8], at=lone)
    assert (again.code, again.err.startswith("Refused: the draft was withdrawn")) == (2, True)


def test_a_draft_with_the_own_country_is_refused(aeo: Aeo, pair: Pair) -> None:
    for partners in (["--with", "br"], ["--with", "BR", "--with", "UY"]):
        done = aeo("mra", "draft", *partners, "--terms", "br_uy", at=pair.br)
        assert done.code == 2
        assert done.err.startswith("Refused: --with BR is this node's own country")


def test_what_the_partner_has_fetched_is_told_to_the_issuer(aeo: Aeo, pair: Pair) -> None:
    pair.await_copy()
    size = pair.br.channel("out")["size"]
    until(lambda: f"{size} of {size}, asked at 20" in aeo("channels", at=pair.br).out, what="the cursor")
    assert "has not asked" in watching._partner_has({"partner_asked": None})
    assert "not about this" in watching._partner_has({"partner_asked": {"at": "x", "size": None}})


def test_an_incident_is_shown_with_its_evidence(aeo: Aeo, lone: Node) -> None:
    row = "'aeo.uy.example', -1, -1, 'replaced', NULL, 'shorter', ?, 'd', '2026', '2026', NULL"
    with lone.store() as store:
        store.execute(f"INSERT INTO incident VALUES (7, {row})", [b'[{"checkpoint":"S\xc3\xa3o"}]'])
    shown = aeo("incidents", "--show", "7", at=lone)
    assert shown.code == 0
    assert "replaced" in shown.out
    assert shown.out.endswith('[{"checkpoint":"São"}]\n')
    assert aeo("incidents", "--show", "7", "--json", at=lone).json["evidence"].startswith("W3si")
    missing = aeo("incidents", "--show", "8", at=lone)
    assert (missing.code, missing.err.startswith("Refused: there is no incident")) == (2, True)


def test_a_signer_is_shown_every_term(aeo: Aeo, pair: Pair) -> None:
    shown = aeo("mra", "show", pair.agreement, at=pair.br).out
    terms = pair.br.get(f"/v1/agreements/{pair.agreement}")["document"]["terms"]
    names = [*terms, *terms["directions"]["BR-UY"]]
    names.remove("directions")
    assert [name for name in names if f"\n  {name} " not in shown] == []
    assert "SECURITY" in shown
    assert "identifiers.CNPJ" in shown


def test_terms_between_others_are_refused(aeo: Aeo, pair: Pair) -> None:
    done = aeo("mra", "draft", "--with", "AR", "--terms", "br_uy", at=pair.br)
    assert done.code == 2
    assert "between BR, UY" in done.err


@pytest.mark.parametrize(("option", "name"), [("--terms", "br_xx"), ("--contract", "mra_v99")])
def test_ready_made_texts_that_do_not_exist_are_refused(aeo: Aeo, pair: Pair, option: str, name: str) -> None:
    told = {"--terms": "br_uy", "--contract": "mra_v1", option: name}
    done = aeo("mra", "draft", "--with", "UY", *(part for item in told.items() for part in item), at=pair.br)
    assert done.code == 2
    assert name in done.err
    assert re.search(
        {"--terms": r"ready-made are: .*br_uy\b", "--contract": r"are: .*mra_v1\b"}[option], done.err
    )


def test_a_direction_out_of_form_is_refused(aeo: Aeo, pair: Pair) -> None:
    done = aeo("mra", "suspend", pair.agreement, "--direction", "BRUY", at=pair.br)
    assert done.code == 2
    assert "--direction" in done.err


def test_nothing_failed_verification(aeo: Aeo, pair: Pair) -> None:
    done = aeo("incidents", "--open", at=pair.br)
    assert (done.code, done.out) == (0, "Nothing has failed verification.\n")


def test_a_watch_goes_on_where_it_broke_off_when_the_node_was_killed(
    aeo: Aeo, lone: Node, tmp_path: Path
) -> None:
    out, err = tmp_path / "out", tmp_path / "err"
    before = admitted(aeo, tmp_path, lone, 1)
    with out.open("wb") as to_out, err.open("wb") as to_err:
        command = [AEO, "watch", "--after", "0", "--home", str(lone.home)]
        watching = subprocess.Popen(command, stdout=to_out, stderr=to_err)
    try:
        until(lambda: before in out.read_text(), what="the first change")
        lone.kill()
        until(err.read_text, what="the warning")
        lone.run()
        after = admitted(aeo, tmp_path, lone, 2)
        until(lambda: after in out.read_text(), what="the change after the interruption")
        watching.send_signal(signal.SIGINT)
        assert watching.wait(10) == 130
    finally:
        watching.kill()
        watching.wait(10)
    assert [line.split()[-1] for line in out.read_text().splitlines()] == [before, after]
    assert "going on from change 1" in err.read_text()
    assert "Traceback" not in err.read_text()
