"""Published contract texts, one file each; a published text is never edited, a new rule is a new file."""

from importlib.resources import files


def text(name: str = "mra_v1") -> str:
    """Give a published contract's text, exactly as the parties sign it."""
    return files(__package__).joinpath(f"{name}.py").read_text("utf-8")
