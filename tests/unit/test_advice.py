"""What a message advises runs when it is pasted."""

import shutil
import sys
from pathlib import Path

import pytest

from node import advice

OWN = shutil.which("aeo", path=str(Path(sys.executable).parent))


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    monkeypatch.setattr(sys, "argv", ["aeo", "channels", "--home", "my nodes/br"])
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.chdir(tmp_path)
    return monkeypatch


def test_the_program_is_named_as_it_can_be_run(typed: pytest.MonkeyPatch) -> None:
    assert OWN is not None
    assert advice.program() == OWN
    typed.chdir(Path(OWN).parents[2])
    assert advice.program() == str(Path(*Path(OWN).parts[-3:]))
    typed.setenv("PATH", str(Path(OWN).parent))
    assert advice.program() == "aeo"


def test_another_program_of_that_name_is_not_meant(typed: pytest.MonkeyPatch, tmp_path: Path) -> None:
    other = tmp_path / "aeo"
    other.write_text("#!/bin/sh\n", encoding="utf-8")
    other.chmod(0o755)
    typed.setenv("PATH", str(tmp_path))
    assert advice.program() == OWN


@pytest.mark.parametrize(
    ("home", "said"),
    [
        (["--home", "br"], "`aeo serve --home br`"),
        (["--home=my br"], "`aeo serve --home 'my br'`"),
        (["--home", "a", "--home", "b"], "`aeo serve --home b`"),
        ([], "`aeo serve`"),
    ],
)
def test_commands_in_a_message_name_the_home_that_was_given(
    typed: pytest.MonkeyPatch, home: list[str], said: str
) -> None:
    typed.setattr(sys, "argv", ["aeo", "channels", *home])
    typed.setattr(advice, "program", lambda: "aeo")
    assert advice.pasted("start it: `aeo serve`; an aeo") == f"start it: {said}; an aeo"


def test_a_home_that_the_advice_names_itself_stays(typed: pytest.MonkeyPatch) -> None:
    typed.setattr(advice, "program", lambda: "bin/aeo")
    assert advice.pasted("run `aeo init --home x` first") == "run `bin/aeo init --home x` first"


def test_a_command_that_takes_no_home_is_told_without(typed: pytest.MonkeyPatch) -> None:
    typed.setenv("PATH", str(Path(str(OWN)).parent))
    told = "`aeo contract check`, `aeo verify FILE --policy FILE`"
    assert advice.pasted(told) == told
    assert advice.pasted("`aeo contracts`") == "`aeo contracts --home 'my nodes/br'`"
