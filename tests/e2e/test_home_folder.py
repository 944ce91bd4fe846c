"""The commands on a home folder, as real processes: making, serving once, tokens, refusals."""

import json
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from node import settings
from node.commands import home as home_folder
from node.commands.beginning import IN_WORDS
from node.commands.home import LOCK
from tests.nodes import ROOT, Node, free_port


def test_serving_a_home_twice_is_refused_and_the_first_goes_on(lone: Node) -> None:
    assert lone.process is not None
    done = lone.command("serve")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"Refused: this node is served already ({lone.home}); ")
    assert f"process {lone.process.pid} serves it" in done.stderr
    assert lone.http.get("/healthz").status_code == 200


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_dead_process_leaves_no_lock(lone: Node, how: signal.Signals) -> None:
    assert lone.process is not None
    lone.process.send_signal(how)
    lone.process.wait(15)
    assert (lone.home / LOCK).exists()
    lone.run()
    assert (lone.home / LOCK).read_text(encoding="ascii") == str(lone.process.pid)


def test_a_taken_port_is_refused_naming_it_and_the_way_out(unused: Node) -> None:
    with socket.create_server(("127.0.0.1", unused.port)):
        done = unused.command("serve")
    assert (done.returncode, done.stdout) == (2, "")
    [line] = done.stderr.splitlines()
    assert line.startswith(f"Refused: the port is taken (127.0.0.1, port {unused.port}); ")
    assert "stop that program, or change `port`" in line
    assert str(unused.home / settings.FILE) in line


def test_a_node_listens_on_every_address_of_its_host(lone: Node) -> None:
    lone.stop()
    place = lone.home / settings.FILE
    place.write_text(place.read_text("utf-8").replace('host = "127.0.0.1"', 'host = "localhost"'), "utf-8")
    lone.run()
    assert lone.http.get("/healthz").status_code == 200


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "node", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, cwd=ROOT)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b"colour = ", "(at line 7, column 10)"),
        (b"colour = 'red'", "colour: there is no such setting (got 'red')"),
        (b"# \xff", "can't decode byte 0xff"),
        (b"port = 8002", "line 7"),
    ],
)
@pytest.mark.parametrize("command", ["serve", "fsck", "card"])
def test_settings_that_cannot_be_read_are_told_by_line_or_name(
    unused: Node, tmp_path: Path, line: bytes, says: str, command: str
) -> None:
    place = tmp_path / settings.FILE
    place.write_bytes((unused.home / settings.FILE).read_bytes() + line + b"\n")
    done = run(command, "--home", str(tmp_path))
    assert (done.returncode, done.stdout) == (2, "")
    [refused] = done.stderr.splitlines()
    assert refused.startswith("Refused: the settings cannot be ")
    assert says in refused
    assert f"({place})" in refused
    assert "correct the file" in refused


def test_a_setting_that_must_be_given_is_named(tmp_path: Path) -> None:
    (tmp_path / settings.FILE).write_text('name = "aeo.br.example"\n', encoding="utf-8")
    done = run("serve", "--home", str(tmp_path))
    assert "country: must be given; administration: must be given" in done.stderr


def test_an_option_out_of_form_is_told_in_words_with_an_example(tmp_path: Path) -> None:
    home = tmp_path / "new"
    wrong = ("--name", "Foo Bar", "--country", "brazil", "--address", "127.0.0.1", "--port", "84310")
    done = run("init", *wrong, "--home", str(home))
    assert (done.returncode, home.exists()) == (2, False)
    for option, example in (("name", "aeo.br.example"), ("country", "BR"), ("port", "8001")):
        assert f"--{option}: {IN_WORDS[option]} (got " in done.stderr
        assert f"such as {example}" in done.stderr
    assert "pattern" not in done.stderr
    assert "^" not in done.stderr


def test_the_start_that_init_advises_can_be_pasted(tmp_path: Path) -> None:
    home = tmp_path / "our node"
    told = ("--name", "aeo.br.example", "--country", "BR", "--address", "http://127.0.0.1:1")
    done = run("init", *told, "--home", str(home))
    [start] = [line.removeprefix("Start it: ") for line in done.stdout.splitlines() if "Start it" in line]
    program, *arguments = shlex.split(start)
    assert (ROOT / program).exists() or shutil.which(program)
    assert arguments == ["serve", "--home", str(home)]
    again = run("init", *told, "--home", str(home))
    assert f"serve --home {shlex.quote(str(home))}`" in again.stderr


def test_a_refusal_is_json_where_json_was_asked_for(tmp_path: Path) -> None:
    done = run("fsck", "--json", "--home", str(tmp_path / "none"))
    told = json.loads(done.stdout)
    assert (done.returncode, done.stderr) == (2, "")
    assert (told["type"], told["title"]) == ("urn:aeo:problem:malformed", "no node lives here")
    assert told["detail"].startswith("no node lives here")


def test_a_token_without_a_label_is_refused(unused: Node) -> None:
    for label in ("", "  ", "x" * 101):
        done = unused.command("token", "create", "--role", "officer", "--label", label)
        assert (done.returncode, done.stdout) == (2, "")
        assert "--label: must say whose the token is" in done.stderr


def test_a_list_of_tokens_has_a_head(unused: Node) -> None:
    head, first = unused.command("token", "list").stdout.splitlines()
    assert head.split() == ["token", "role", "state", "label"]
    assert head.index("label") == first.index("first administrator")


def test_a_node_without_tokens_says_so_and_how_to_make_one(lone: Node) -> None:
    with lone.store() as store:
        store.execute("DELETE FROM token")
    told = lone.command("token", "list").stdout
    assert told.startswith("There is no token; make one with `")
    assert f"token create --home {lone.home}`" in told


@pytest.mark.parametrize("country", ["XX", "br", "BRA", ""])
def test_a_node_is_of_a_country_that_exists(tmp_path: Path, country: str) -> None:
    home = tmp_path / "home"
    options = ["--name", "aeo.br.example", "--address", "http://127.0.0.1:9", "--home", str(home)]
    refused = run("init", "--country", country, *options)
    assert (refused.returncode, home.exists()) == (2, False)
    assert "--country: must be the two capital letters of a country" in refused.stderr


def test_a_database_that_cannot_be_reached_is_named_without_its_password(tmp_path: Path) -> None:
    home = tmp_path / "home"
    options = ["--country", "BR", "--name", "aeo.br.example", "--address", "http://127.0.0.1:9"]
    url = "postgresql://aeo:geheim@127.0.0.1:1/aeo_br"
    refused = run("init", *options, "--home", str(home), "--database", url)
    assert (refused.returncode, home.exists()) == (2, False)
    assert "127.0.0.1:1/aeo_br" in refused.stderr
    assert "connection" in refused.stderr
    assert "geheim" not in refused.stderr + refused.stdout


@pytest.mark.parametrize(
    "command",
    [
        ("token", "list"),
        ("token", "create", "--role", "reader", "--label", "x"),
        ("token", "revoke", "0a1b2c3d4e5f"),
        ("fsck",),
        ("serve",),
    ],
    ids=" ".join,
)
def test_a_command_whose_database_is_away_says_which_and_why_and_advises_no_restoring(
    unused: Node, command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AEO_DATABASE_URL", f"postgresql://aeo:hidden@127.0.0.1:{free_port()}/aeo")
    done = unused.command(*command)
    assert done.returncode == 2
    assert "the database cannot be used now (postgresql+psycopg://aeo:***@127.0.0.1" in done.stderr
    assert "refused" in done.stderr
    assert "hidden" not in done.stderr
    assert "restore" not in done.stdout + done.stderr


def test_a_long_check_says_how_far_it_is_where_there_is_no_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(home_folder, "SAY_S", 0.0)
    with home_folder.progress() as told:
        told("aeo.br.example", 5000, 10000)
    assert capsys.readouterr().err.startswith("aeo.br.example: 5,000 of 10,000, ")
