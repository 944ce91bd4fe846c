"""The machine and the libraries that figures were measured on."""

import os
import platform
import sqlite3
import ssl
import subprocess
import sysconfig
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from clients.bench.postgres import folder_of_programs

OPTIMISED = "--enable-optimizations"
LIBRARIES = (
    "cryptography",
    "fastapi",
    "httptools",
    "httpx",
    "orjson",
    "psycopg",
    "pydantic",
    "sqlalchemy",
    "sqlmodel",
    "starlette",
    "uvicorn",
    "uvloop",
)


def machine() -> dict[str, str | int]:
    """Processors, memory, Python and operating system, as they say themselves."""
    told: dict[str, str | int] = {"cpu_count": os.cpu_count() or 0, "cpu_model": _cpu_model()}
    told |= {"memory_mib": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2**20}
    return told | {"python": _interpreter(), "os": platform.platform()}


def versions() -> dict[str, str]:
    """The libraries that matter for speed."""
    told = {name: version(name) for name in LIBRARIES if find_spec(name)}
    told |= {"sqlite": sqlite3.sqlite_version, "openssl": ssl.OPENSSL_VERSION}
    programs = folder_of_programs()
    return told | ({"postgresql": _said(programs / "postgres")} if programs else {})


def _interpreter() -> str:
    """Its version and compiler; that it is optimised where it tells. Distributions do it untold."""
    told = f"{platform.python_implementation()} {platform.python_version()}, {platform.python_compiler()}"
    how = str(sysconfig.get_config_var("CONFIG_ARGS"))
    return told + (f", {OPTIMISED}" if OPTIMISED in how else "")


def _said(program: Path) -> str:
    return subprocess.run([program, "--version"], check=True, capture_output=True, text=True).stdout.strip()


def _cpu_model() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()
