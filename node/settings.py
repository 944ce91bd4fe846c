"""What one node is told at its start: read once, frozen, every size and time-out bounded.

Values come from `settings.toml` in the node's home folder; an environment variable `AEO_<NAME>`
overrides one of them. Secrets are never settings: `keys` only says where they are kept.
"""

import tomllib
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from node.errors import Conflict, Malformed, Problem, problem, reason
from node.records.identifiers import ISSUERS

FILE = "settings.toml"
_RULES = {"extra_forbidden": "there is no such setting", "missing": "must be given"}

Seconds = Annotated[float, Field(gt=0, le=86_400)]


def _country(code: str) -> str:
    if code not in ISSUERS:
        raise ValueError("must be the two capital letters of a country (ISO 3166-1), such as BR, or EU")
    return code


def _networks(listed: str) -> str:
    for each in listed.split(",") if listed else ():
        try:
            ip_network(each.strip())
        except ValueError as error:
            raise ValueError(f"must be addresses or networks with commas between: {error}") from None
    return listed


class Settings(BaseSettings):
    """The settings of one node."""

    model_config = SettingsConfigDict(env_prefix="AEO_", extra="forbid", frozen=True)

    name: str = Field(
        pattern=r"^[a-z0-9-]{1,63}(\.[a-z0-9-]{1,63})+$",
        description="The node's schema-less URL, such as aeo.br.example; also the origin of its ledger.",
    )
    country: Annotated[str, AfterValidator(_country)] = Field(
        description="ISO 3166-1 alpha-2 code of the administration; EU for the Union."
    )
    administration: str = Field(
        min_length=1, max_length=100, description="The administration's name, for people."
    )
    address: str = Field(
        pattern=r"^https?://[^\s/]+$",
        description="Where peers reach this node; covered by the signature of every request to it.",
    )
    host: str = Field(default="127.0.0.1", description="Interface to listen on.")
    proxies: Annotated[str, AfterValidator(_networks)] = Field(
        default="",
        description="Addresses or networks of proxies in front, with commas between, whose X-Forwarded-For "
        "says who calls; from anywhere else it is ignored.",
    )
    port: int = Field(default=8000, ge=1, le=65535, description="Port to listen on.")
    keys: str = Field(
        default="file:keys",
        pattern=r"^(file|env):.+$",
        description="Where the private keys are: file:FOLDER (relative to the home folder) or env:PREFIX.",
    )
    database_url: str = Field(
        default="sqlite:///node.sqlite",
        pattern=r"^(sqlite|postgresql)(\+psycopg)?:",
        description="URL of the store, SQLite or PostgreSQL; a relative path is from the home folder.",
    )

    log_public: bool = Field(
        default=True,
        description="Whether anybody may read the ledger's checkpoint, tiles and entries, which hold "
        "commitments only; if not, peers by signed requests, and own tokens.",
    )

    body_limit_bytes: int = Field(
        default=4 * 2**20, ge=2**10, le=64 * 2**20, description="Largest request body."
    )
    list_limit: int = Field(
        default=1000, ge=1, le=10_000, description="Most operators in one lookup or import call."
    )
    rate_per_minute: int = Field(
        default=6_000, ge=1, le=10_000_000, description="Requests a caller may make in a minute."
    )
    queue_limit: int = Field(
        default=2_000,
        ge=1,
        le=100_000,
        description="Changes that may wait for the sequencer; beyond it callers get 503.",
    )
    batch_limit: int = Field(default=500, ge=1, le=5_000, description="Most changes in one transaction.")
    signing_processes: int = Field(
        default=2,
        ge=0,
        le=64,
        description="Processes that read and sign lists and verify pages, begun when first needed; "
        "0: the serving process does all.",
    )
    page_limit: int = Field(
        default=500, ge=1, le=2_000, description="Most channel entries in one page to a partner."
    )
    wait_limit_s: Seconds = Field(default=25.0, description="Longest time a long poll is held open.")
    request_timeout_s: Seconds = Field(default=30.0, description="Longest time a write waits for its answer.")
    peer_timeout_s: Seconds = Field(
        default=10.0, description="Time-out of a request to a peer, on top of the long poll."
    )
    retry_s: Seconds = Field(
        default=5.0, description="Longest pause before asking an unreachable peer again."
    )
    clock_skew_s: Seconds = Field(default=60.0, description="How far a peer's clock may be off.")
    policy: str = Field(
        default="",
        description="File with the trust policy (C2SP tlog-policy) that names the witnesses of this ledger, "
        "from the home folder; unless given, any one of the pinned peers suffices.",
    )
    witness_wait_s: Seconds = Field(
        default=5.0, description="Longest time that `wait=witnessed` waits for cosignatures."
    )
    audit_every_s: Seconds = Field(
        default=60.0,
        description="Pause before the next 16,384 entries of a peer's ledger are re-read, and before it is "
        "shown to the other peers.",
    )
    epoch_entries: int = Field(
        default=10_000,
        ge=1,
        le=1_000_000,
        description="Channel entries sealed under one epoch key before it is rotated.",
    )

    access_days: int = Field(
        default=1_825,
        ge=1,
        le=36_500,
        description="Days after which the bodies of the access log (who asked what) are removed; "
        "its entries stay.",
    )
    access_commit_every_s: Seconds = Field(
        default=3_600.0,
        description="Pause before the ledger commits to the head of the access log again, read or not.",
    )

    report_reads_every_s: Annotated[float, Field(gt=0, le=31 * 86_400)] = Field(
        default=86_400.0,
        description="Shortest time between two tellings to a partner of what was read of its operators, "
        "where the terms have `report_reads`; it is told when the ledger next commits to the access log.",
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Environment first, then the values read from the file."""
        return env_settings, init_settings


def load(home: Path) -> Settings:
    """The settings of the node whose home folder is `home`; `Malformed` names each bad one, or the line."""
    path = home / FILE
    if not path.is_file():
        raise Malformed("no node lives here", where=str(home), do=f"run `aeo init --home {home}` first")
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        do = "correct the file: `name = value` on each line, texts between double quotes"
        raise Malformed("the settings cannot be read", where=str(path), why=reason(error), do=do) from None
    return checked(values, str(path))


def checked(values: dict[str, Any], where: str) -> Settings:
    """Settings out of these values and the environment; `Malformed` names each bad one."""
    try:
        return Settings(**values)
    except ValidationError as error:
        raise Malformed(
            "the settings cannot be used",
            where=where,
            do="correct the file or the AEO_ variable of that name",
            problems=[_problem(each) for each in error.errors()],
        ) from None


def _problem(error: ErrorDetails) -> Problem:
    """What is wrong with one setting; a database's URL may hold a password."""
    name, kind = ".".join(map(str, error["loc"])), error["type"]
    shown = "(not shown)" if name == "database_url" else "" if kind == "missing" else error["input"]
    return problem(name, shown, _RULES.get(kind, error["msg"]))


def write(home: Path, values: dict[str, Any]) -> None:
    """Write a new settings file of plain texts and numbers; `Conflict` when there is one."""
    path = home / FILE
    if path.exists():
        raise Conflict("a node lives here already", where=str(home), do="start it with `aeo serve`")
    lines = [f"{key} = {_toml(value)}" for key, value in values.items()]
    with path.open("x", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")


def _toml(value: str | int | float) -> str:
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return str(value)
