"""The beginning of a node: its ledger, whose first entry commits to the node's own card."""

from collections.abc import Mapping

from node.errors import Conflict
from node.exchange.card import ledger_origin
from node.exchange.log_writer import begin
from node.ledger import moment
from node.service import introduction
from node.service.batch import Batch
from node.service.parts import Parts
from node.store import logs
from node.store.tables import LEDGER


def start_ledger(parts: Parts, predecessor: Mapping[str, str] | None = None) -> None:
    """Start the ledger in a migrated, empty store; `Conflict` when there is one.

    `predecessor`: card and checkpoint of the node that this one succeeds.
    """
    with parts.database.write() as connection:
        if logs.head(connection, LEDGER) is not None:
            raise Conflict("this store has a ledger already", do="start it with `aeo serve`")
        origin = ledger_origin(parts.settings.name)
        begin(connection, origin, moment.format(parts.now_ms()), parts.sign, LEDGER)
        batch = Batch(parts, connection)
        introduction.record(batch, parts.card, predecessor)
        batch.commit()
    batch.settle()
