"""A node on a replicated PostgreSQL: the primary is killed under load, and no acknowledged change is lost."""

from pathlib import Path

import psycopg
import pytest

from clients.bench import postgres as postgresql
from tests.load import Load, check_all
from tests.nodes import make, until
from tests.postgres import kill
from tests.postgres import standby as standby_of

SYNCHRONOUS = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'"


def test_no_acknowledged_change_is_lost_when_the_primary_dies(tmp_path: Path) -> None:
    programs = postgresql.folder_of_programs()
    if programs is None:
        pytest.skip("no PostgreSQL here: install Debian's package postgresql to run this test")
    with postgresql.server(programs) as primary, postgresql.own_folder() as folder:
        name = primary.create().split("///")[1].split("?")[0]
        standby = standby_of(primary, folder)
        try:
            with psycopg.connect(primary.url("postgres"), autocommit=True) as connection:
                until(lambda: connection.execute(SYNCHRONOUS).fetchone() == (1,), what="replication")
            hosts = "&".join(f"host={each.folder}:{each.port}" for each in (primary, standby))
            [br] = make(("BR",), tmp_path, {"BR": f"postgresql:///{name}?{hosts}&user={postgresql.OWNER}"})
            br.start("--processes", "2")
            try:
                br.await_answer()
                load = Load(br)
                load.goes_on()
                kill(primary)
                standby.control("promote")
                load.goes_on()
                load.end()
                check_all(br, load)
            finally:
                br.stop()
                br.close()
        finally:
            standby.control("stop", "-m", "immediate", check=False)
