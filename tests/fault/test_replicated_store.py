"""A node on a replicated PostgreSQL: the primary is killed under load, and no acknowledged change is lost.

The servers are set up by the scripts of the containers, and the node is given the URL of docker-compose.yml.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import yaml
from structlog.testing import capture_logs

from clients.bench.postgres import Server, folder_of_programs
from clients.demo.waiting import until
from node.store.database import Database
from tests import postgres as postgresql
from tests.load import Load, check_all
from tests.nodes import ROOT, Node, brazilian, make

SYNCHRONOUS = "SELECT count(*) FROM pg_stat_replication WHERE application_name = %s AND sync_state = 'quorum'"
ALONE = ("ALTER SYSTEM SET synchronous_standby_names = ''", "SELECT pg_reload_conf()")
TOGETHER = ("ALTER SYSTEM RESET synchronous_standby_names", "SELECT pg_reload_conf()")


def url(**servers: Server) -> str:
    """The node's URL in docker-compose.yml, with the servers of this test for its own."""
    node = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]["ar"]
    found = str(node["environment"]["AEO_DATABASE_URL"])
    for name, each in servers.items():
        assert f"{name}:5432" in found
        found = found.replace(f"{name}:5432", f"{each.address}:{each.port}")
    return found


def let_in(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Give the node its password as its container does."""
    (folder / "secret").write_text(postgresql.SECRETS["node"] + "\n", encoding="utf-8")
    monkeypatch.setenv("PGPASSFILE", str(folder / "pgpass"))
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    told = os.environ | {"PGPASSWORD_FILE": str(folder / "secret"), "PATH": path}
    asked = ["sh", str(ROOT / "docker" / "entrypoint.sh"), "--help"]
    subprocess.run(asked, env=told, check=True, stdout=subprocess.DEVNULL)


def follows(other: Server, name: str) -> bool:
    """Whether commits on a server wait for the one of this name."""
    with psycopg.connect(other.url("postgres"), autocommit=True) as connection:
        return connection.execute(SYNCHRONOUS, (name,)).fetchone() == (1,)


WAIT_S, ANSWERED_S = 2, 45.0
"""How long a change waits for its answer, and a caller for any."""

Replicated = tuple[Path, Server, Server, Node]


@pytest.fixture
def replicated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Replicated]:
    """PostgreSQL's programs, a primary, its synchronous standby, and a node on both that is yet to start."""
    programs = folder_of_programs()
    if programs is None:
        pytest.skip("no PostgreSQL here: install Debian's package postgresql to run this test")
    let_in(monkeypatch, tmp_path)
    with postgresql.primary(programs) as db1, postgresql.member(programs, "db2", db1) as db2:
        until(lambda: follows(db1, "db2"), what="replication")
        [br] = make(("BR",), tmp_path, {"BR": url(db1=db1, db2=db2)})
        try:
            yield programs, db1, db2, br
        finally:
            br.stop()
            br.close()


@pytest.mark.timeout(180)
def test_no_acknowledged_change_is_lost_when_the_primary_dies(replicated: Replicated) -> None:
    programs, db1, db2, br = replicated
    br.start("--processes", "2")
    br.await_answer()
    load = Load(br, ANSWERED_S)
    load.goes_on()
    postgresql.kill(db1)
    postgresql.tell(db2, *ALONE, "SELECT pg_promote()")
    load.goes_on()
    with postgresql.member(programs, "db1", db2):
        postgresql.tell(db2, *TOGETHER)
        until(lambda: follows(db2, "db1"), what="replication the other way round")
        load.goes_on()
        load.end()
        check_all(br, load)


def test_what_waits_for_a_lost_standby_is_not_acknowledged(replicated: Replicated) -> None:
    _, db1, db2, br = replicated
    br.environment = {"AEO_REQUEST_TIMEOUT_S": str(WAIT_S)}
    br.start()
    br.await_answer()
    load = Load(br, ANSWERED_S)
    load.goes_on()
    postgresql.kill(db2)
    br.get("/v1/register")
    until(lambda: 503 in load.statuses, what="a change that is not acknowledged")
    so_far = len(load.acknowledged)
    time.sleep(2.5 * WAIT_S)
    assert br.http.get("/v1/operators/BR00000000000000").status_code == 404
    assert len(load.acknowledged) == so_far
    postgresql.tell(db1, *ALONE)
    load.goes_on()
    load.end()
    check_all(br, load)


def test_a_server_that_confirms_nothing_to_the_others_is_warned_of(replicated: Replicated) -> None:
    _, db1, db2, br = replicated
    br.start()
    br.await_answer()
    store = Database(url(db1=db1, db2=db2), br.home)
    with capture_logs() as said:
        with store.attend():
            assert said == []
        postgresql.tell(db1, *ALONE)
        until(lambda: not follows(db1, "db2"), what="a primary that waits for nobody")
        store.close()
        with store.attend():
            pass
    store.close()
    [warning] = said
    assert (warning["log_level"], warning["where"]) == ("warning", "synchronous_standby_names")


def test_a_node_whose_commit_waits_for_a_lost_standby_can_be_stopped(replicated: Replicated) -> None:
    _, db1, db2, br = replicated
    br.environment = {"AEO_REQUEST_TIMEOUT_S": "1"}
    br.run()
    postgresql.kill(db2)
    assert br.http.post("/v1/operators", json=brazilian(1)).status_code == 503
    br.stop()
    postgresql.tell(db1, *ALONE)
    br.run()
