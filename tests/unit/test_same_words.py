"""Words that stand at the edge as well as inside are the same ones."""

import re
from pathlib import Path
from typing import get_args

from sqlmodel import SQLModel

from clients.cli import suspensions
from node.api import access
from node.api import reports as routes
from node.exchange import reports
from node.ledger.entry import ACCESS_KINDS
from node.service import accusing, behind, mirror, taking_over
from node.store.engines import Postgresql

PAGES = Path(__file__).resolve().parents[2] / "docs"


def shown(page: str, heading: str) -> list[str]:
    """The words in the first column of the table that stands below a heading of a page."""
    text = (PAGES / page).read_text(encoding="utf-8")
    table = text.partition(heading)[2].lstrip().partition("\n\n")[0]
    firsts = [row.split("|")[1] for row in table.splitlines()[2:]]
    return [word for first in firsts for word in re.findall(r"`(\w+)`", first)]


def test_a_report_is_of_the_same_classes_everywhere() -> None:
    classes = list(reports.CLASSES)
    assert list(get_args(routes.Class)) == list(suspensions.CLASSES) == classes
    assert (
        shown("leaving-the-view.md", 'acknowledge 3 --text "inspected, seal replaced" --home br') == classes
    )


def test_the_access_log_has_the_same_kinds_everywhere() -> None:
    assert set(get_args(access.Kind)) == ACCESS_KINDS
    assert (
        set(shown("operate/access-log.md", "access partners --identifier BR99000001000101 --home br"))
        == ACCESS_KINDS
    )


def test_every_table_that_tells_of_a_record_is_made_free_of_what_was_erased() -> None:
    tables = SQLModel.metadata.tables
    naming = {name for name in tables if {"record_id", "tin"} & set(tables[name].columns.keys())}
    assert {"record", "mirror", "reads_counted"} <= naming
    page = (PAGES / "operate/postgresql.md").read_text(encoding="utf-8")
    said = page.partition("run `VACUUM FULL` on")[2].partition(" in a quiet hour")[0]
    assert naming <= set(Postgresql.scrubbed) == set(re.findall(r"`(\w+)`", said))


def test_every_kind_of_incident_has_its_row() -> None:
    kinds = {
        *taking_over.STRUCTURAL,
        mirror.UNFOUNDED,
        accusing.FORKED,
        accusing.FROZEN,
        accusing.UNPROVEN,
        behind.BEHIND,
    }
    kinds |= {"invalid", "altered", "unaudited", "unannounced", "withdrawn"}
    assert (
        set(shown("operate/README.md", "once the newest proof is older than the agreement allows.")) >= kinds
    )
