"""A channel that cannot be written holds up no other."""

from sqlalchemy import delete

from node.errors import Damaged
from node.service.batch import Batch
from node.service.signing import Sign
from node.store import channels, logs
from tests.service.world import Node, World


def test_a_damaged_channel_does_not_keep_another_from_its_new_state(world: World) -> None:
    first = world.agreement
    second = world.agreement = world.draft(max_staleness_s=7200)
    world.both("sign")
    world.both("start", "BR", "UY", mode="operation")
    for agreement in (first, second):
        world.br.settle(Sign(agreement, "suspend", "BR", "UY"))
    with world.br.parts.database.write() as connection:
        broken = channels.channel(connection, first, "BR", "UY")
        assert broken is not None
        connection.execute(delete(logs.TILE).where(logs.TILE.c.log == broken.log))
    assert [_step(world.br) for _ in range(4)].count("failed") >= 1
    with world.br.parts.database.read() as connection:
        own = [each for each in channels.channels(connection) if each.issuer == "BR"]
    states = {each.agreement: each.state for each in own}
    assert states[second] == "SUSPENDED"
    assert states[first] != "SUSPENDED"


def _step(node: Node) -> str:
    """One step as the sequencer makes it."""
    try:
        with node.parts.database.write() as connection:
            batch = Batch(node.parts, connection)
            node.keeper.step(batch, 50)
            batch.commit()
    except Damaged:
        node.keeper.rest()
        return "failed"
    return "done"
