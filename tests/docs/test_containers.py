"""The container files name only what there is: no engine runs here, so what can be read is compared."""

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from sqlalchemy import make_url

import node.__main__ as node_commands
from node import settings

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
FILE: dict[str, Any] = yaml.safe_load(COMPOSE)
SERVICES: dict[str, dict[str, Any]] = FILE["services"]
NODES = {name for name, each in SERVICES.items() if each["image"] == "aeo-exchange"}
SERVERS = SERVICES.keys() - NODES
IMAGE = (ROOT / "docker" / "Dockerfile").read_text(encoding="utf-8")
ENTRYPOINT = (ROOT / "docker" / "entrypoint.sh").read_text(encoding="utf-8")
PRIMARY = (ROOT / "docker" / "postgres" / "primary.sh").read_text(encoding="utf-8")
MEMBER = (ROOT / "docker" / "postgres" / "member.sh").read_text(encoding="utf-8")
PAGE = (ROOT / "docs" / "operate" / "postgresql.md").read_text(encoding="utf-8")
LET_IN = re.findall(r"^!(\S+)$", (ROOT / "docker" / "Dockerfile.dockerignore").read_text(), re.MULTILINE)
VARIABLES = {f"AEO_{name.upper()}" for name in settings.Settings.model_fields} | {"AEO_HOME"}


def found(pattern: str, text: str) -> list[str]:
    hits = re.findall(pattern, text, re.MULTILINE)
    assert hits, pattern
    return hits


def test_everything_copied_into_the_image_exists_and_reaches_the_build() -> None:
    copied = found(r"^COPY ((?:--chmod\S+ )?(?!--from).+)$", IMAGE)
    sources = {name for line in copied for name in line.split()[:-1] if not name.startswith("--")}
    assert {"node", "contracts", "clients", "docker/entrypoint.sh"} <= sources
    for source in sources:
        assert (ROOT / source).exists(), source
        assert any(source == each or source.startswith(f"{each}/") for each in LET_IN), source


def test_the_compose_file_builds_the_image_that_is_there() -> None:
    [context], [dockerfile] = found(r"context: (\S+)", COMPOSE), found(r"dockerfile: (\S+)", COMPOSE)
    assert (ROOT / context / dockerfile).is_file()


def test_port_home_and_health_check_are_the_same_everywhere() -> None:
    [port] = found(r"^EXPOSE (\d+)$", IMAGE)
    [home] = found(r"^VOLUME (\S+)$", IMAGE)
    for name in NODES:
        each = SERVICES[name]
        assert re.fullmatch(rf"127\.0\.0\.1:\d+:{port}", *each["ports"])
        assert each["environment"]["AEO_ADDRESS"] == f"http://{name}:{port}"
        assert each["volumes"] == [f"{name}:{home}"]
    assert f"--host 0.0.0.0 --port {port}" in ENTRYPOINT
    assert set(found(r"http://127\.0\.0\.1:(\d+)/healthz", COMPOSE + IMAGE)) == {port}
    assert f"AEO_HOME={home}" in IMAGE
    assert f":={home}" in ENTRYPOINT


def test_what_services_use_is_declared_and_what_they_mount_is_there() -> None:
    volumes, secrets = set(), set()
    for each in SERVICES.values():
        secrets |= set(each.get("secrets", ()))
        for source in (mounted.split(":")[0] for mounted in each["volumes"]):
            if source.startswith("."):
                assert os.access(ROOT / source, os.X_OK), source
            else:
                assert source not in volumes, "each has its own"
                volumes.add(source)
    assert volumes == FILE["volumes"].keys() == SERVICES.keys()
    assert secrets == FILE["secrets"].keys()
    ignored = (ROOT / ".gitignore").read_text(encoding="utf-8").split()
    assert {Path(each["file"]).parts[0] + "/" for each in FILE["secrets"].values()} <= set(ignored)


def test_the_demonstration_starts_without_the_replicated_store() -> None:
    assert {name for name, each in SERVICES.items() if "profiles" not in each} == {"br", "uy"}
    assert all(each.get("profiles", ["replicated"]) == ["replicated"] for each in SERVICES.values())
    assert "    export COMPOSE_PROFILES=replicated\n" in PAGE


def test_commits_wait_for_exactly_the_servers_that_the_node_is_told_of() -> None:
    waited_for = found(r"^synchronous_standby_names = 'ANY 1 \((.+)\)'$", PRIMARY)[0].split(", ")
    url = make_url(SERVICES["ar"]["environment"]["AEO_DATABASE_URL"])
    hosts = [host.split(":")[0] for host in url.query["host"]]
    assert sorted(waited_for) == sorted(SERVERS) == sorted(hosts)
    assert [SERVICES[name]["environment"]["SERVER"] for name in hosts] == hosts
    assert "cluster_name = '$SERVER'" in MEMBER
    assert "application_name" not in MEMBER, "a copy that is being made confirms nothing"
    assert SERVICES["db2"]["environment"]["FOLLOWS"] == "${DB2_FOLLOWS:-db1}"
    assert f"CREATE DATABASE {url.database} OWNER {url.username} " in PRIMARY
    assert url.password is None


def test_the_page_has_the_settings_and_the_url_of_the_containers() -> None:
    settings_of_the_primary = PRIMARY.partition("<<'CONF'\n")[2].partition("CONF\n")[0]
    assert "synchronous_commit = on" in settings_of_the_primary
    assert "".join(f"    {line}\n" for line in settings_of_the_primary.splitlines()) in PAGE
    assert f"    {SERVICES['ar']['environment']['AEO_DATABASE_URL']}\n" in PAGE
    for secret in FILE["secrets"]:
        assert secret in PAGE


def test_a_server_that_was_lost_is_started_by_nobody() -> None:
    for name in SERVERS:
        assert SERVICES[name]["restart"] == "no"
        assert re.fullmatch(r"postgres:\d+-\w+", SERVICES[name]["image"])
    assert not any("depends_on" in each for each in SERVICES.values())


@pytest.mark.parametrize("variable", ["REPLICATION_PASSWORD_FILE", "NODE_PASSWORD_FILE", "SERVER", "FOLLOWS"])
def test_the_servers_are_given_what_their_scripts_ask_for(variable: str) -> None:
    assert variable in PRIMARY + MEMBER
    for name in SERVERS:
        told = SERVICES[name]["environment"][variable]
        assert not told.startswith("/") or Path(told).name in FILE["secrets"]


@pytest.mark.parametrize("script", sorted((ROOT / "docker").rglob("*.sh")), ids=lambda path: path.name)
def test_the_scripts_are_such_that_a_plain_shell_reads_them(script: Path) -> None:
    assert script.read_text(encoding="utf-8").startswith("#!/bin/sh\n")
    subprocess.run(["sh", "-n", str(script)], check=True)


def test_a_password_reaches_the_driver_by_a_file_for_the_node_alone(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("a:b\\c\n", encoding="utf-8")
    (tmp_path / "aeo").write_text("#!/bin/sh\n", encoding="utf-8")
    (tmp_path / "aeo").chmod(0o755)
    told = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "AEO_HOME": str(tmp_path)}
    told |= {"PGPASSWORD_FILE": str(tmp_path / "secret"), "PGPASSFILE": str(tmp_path / "passwords")}
    subprocess.run(["sh", str(ROOT / "docker" / "entrypoint.sh"), "card"], env=told, check=True)
    assert (tmp_path / "passwords").read_text(encoding="utf-8") == "*:*:*:*:a\\:b\\\\c\n"
    assert (tmp_path / "passwords").stat().st_mode & 0o777 == 0o600


def test_variables_and_options_are_those_that_a_node_knows() -> None:
    assert set(re.findall(r"AEO_[A-Z_]+", COMPOSE + IMAGE + ENTRYPOINT)) <= VARIABLES
    commands = typer.main.get_command(node_commands.cli).commands  # type: ignore[attr-defined]
    options = {option for each in commands["init"].params for option in each.opts}
    started = ENTRYPOINT.partition("aeo init")[2].partition("\nfi")[0]
    assert set(re.findall(r"--[a-z-]+", started)) <= options
    assert found(r'^CMD \["(\w+)"\]$', IMAGE)[0] in commands
