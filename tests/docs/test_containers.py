"""The container files name only what there is: no engine runs here, so what can be read is compared."""

import re
from pathlib import Path

import typer

import node.__main__ as node_commands
from node import settings

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
IMAGE = (ROOT / "docker" / "Dockerfile").read_text(encoding="utf-8")
ENTRYPOINT = (ROOT / "docker" / "entrypoint.sh").read_text(encoding="utf-8")
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
    assert set(found(r'ports: \["127\.0\.0\.1:\d+:(\d+)"\]', COMPOSE)) == {port}
    assert set(found(r"AEO_ADDRESS: http://\w+:(\d+)$", COMPOSE)) == {port}
    assert f"--host 0.0.0.0 --port {port}" in ENTRYPOINT
    assert set(found(r"http://127\.0\.0\.1:(\d+)/healthz", COMPOSE + IMAGE)) == {port}
    [home] = found(r"^VOLUME (\S+)$", IMAGE)
    assert f"AEO_HOME={home}" in IMAGE
    assert f":={home}" in ENTRYPOINT
    assert set(found(r'volumes: \["\w+:(\S+)"\]', COMPOSE)) == {home}


def test_each_service_has_its_own_declared_volume_and_address() -> None:
    services = dict(re.findall(r"^  (\w+):\n    <<: \*node$([\s\S]+?)(?=^  \w+:|^\w)", COMPOSE, re.MULTILINE))
    declared = found(r"^  (\w+):$", COMPOSE.partition("\nvolumes:\n")[2])
    assert sorted(services) == sorted(declared) == ["br", "uy"]
    for name, text in services.items():
        assert f'volumes: ["{name}:' in text
        assert f"AEO_ADDRESS: http://{name}:" in text


def test_variables_and_options_are_those_that_a_node_knows() -> None:
    assert set(re.findall(r"AEO_[A-Z_]+", COMPOSE + IMAGE + ENTRYPOINT)) <= VARIABLES
    commands = typer.main.get_command(node_commands.cli).commands  # type: ignore[attr-defined]
    options = {option for each in commands["init"].params for option in each.opts}
    started = ENTRYPOINT.partition("aeo init")[2].partition("\nfi")[0]
    assert set(re.findall(r"--[a-z-]+", started)) <= options
    assert found(r'^CMD \["(\w+)"\]$', IMAGE)[0] in commands
