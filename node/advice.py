"""Commands within messages, as they can be pasted: the program as it can be run here, and the same home.

In a message a command stands between backticks and begins with `aeo`. What `pasted` gives runs in the
folder in which this process was started, and on the node that this process was told of.
"""

import re
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

WITHOUT_NODE: Final = (" contract ", " verify ")
"""Commands that take no home folder."""
_COMMAND: Final = re.compile(r"`aeo( [^`]*)`")


def program() -> str:
    """`aeo` where that runs this installation; else the path to it, the shorter way."""
    own = shutil.which("aeo", path=str(Path(sys.executable).parent))
    found = shutil.which("aeo")
    if own is None or (found is not None and Path(found).samefile(own)):
        return "aeo"
    here = Path.cwd()
    return shlex.quote(str(Path(own).relative_to(here) if Path(own).is_relative_to(here) else own))


def pasted(text: str) -> str:
    """The text with every command in it as it can be pasted."""
    home = _home_in(sys.argv)
    return _COMMAND.sub(lambda found: f"`{program()}{_at(found[1], home)}`", text)


def _at(arguments: str, home: str | None) -> str:
    if home is None or "--home" in arguments or arguments.startswith(WITHOUT_NODE):
        return arguments
    return f"{arguments} --home {shlex.quote(home)}"


def _home_in(arguments: Sequence[str]) -> str | None:
    """The last home folder that a command line names, as it was typed."""
    pairs = zip(arguments, [*arguments[1:], ""], strict=True)
    told = [
        after if each == "--home" else each.removeprefix("--home=")
        for each, after in pairs
        if each == "--home" or each.startswith("--home=")
    ]
    return told[-1] if told else None
