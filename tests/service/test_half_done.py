"""A change that is refused after it began to write leaves no trace: its batch does not commit."""

import pytest

from node.errors import Unproven
from node.service.batch import Batch
from node.service.sequencer import HalfDoneError, _attempt
from tests.service.world import World


class RefusesLate:
    weight = 1
    tins: tuple[str, ...] = ()

    def run(self, batch: Batch) -> None:
        batch.append_body("member", {"v": 1})
        raise Unproven("too late")


class RefusesFirst(RefusesLate):
    def run(self, batch: Batch) -> None:
        raise Unproven("in time")


def test_a_late_refusal_fails_the_batch_and_an_early_one_does_not(world: World) -> None:
    before = world.br.ledger().size
    with pytest.raises(HalfDoneError), world.br.parts.database.write() as connection:
        _attempt(RefusesLate(), Batch(world.br.parts, connection))
    assert world.br.ledger().size == before
    with world.br.parts.database.write() as connection:
        batch = Batch(world.br.parts, connection)
        assert isinstance(_attempt(RefusesFirst(), batch), Unproven)
        batch.commit()
    assert world.br.ledger().size == before
