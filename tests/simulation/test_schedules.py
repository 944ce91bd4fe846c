"""P1 to P4, P9: many schedules of several nodes, each out of one number; a failure says which number.

`AEO_TEST_SCHEDULES` runs more of them than the few of an ordinary run, `AEO_TEST_SEED` one of them again.
"""

import os
import shutil
from pathlib import Path

import pytest

from node.service import genesis
from node.service.admission import AdmitPeer
from tests.service.stores import files_only
from tests.service.world import START_MS, Clock, make_home, make_world, open_node, operator
from tests.simulation.simulation import LIAR, Simulation, opened

pytestmark = files_only

FEW = 24
STEPS = 40
SEED = os.environ.get("AEO_TEST_SEED")
SCHEDULES = [int(SEED)] if SEED else range(int(os.environ.get("AEO_TEST_SCHEDULES", FEW)))


@pytest.fixture(scope="module")
def beginning(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """BR and UY under an arrangement with a few operators, and AR, which knows both."""
    folder = tmp_path_factory.mktemp("beginning")
    world = make_world(folder)
    world.operate()
    for number in (1, 2):
        world.br.admit(operator(number))
    world.exchange()
    make_home(folder / "ar", "AR")
    ar = open_node(folder / "ar", world.clock)
    genesis.start_ledger(ar.parts)
    for node in world.nodes:
        node.settle(AdmitPeer(ar.parts.card.text, ar.parts.card.fingerprint))
        ar.settle(AdmitPeer(node.parts.card.text, node.parts.card.fingerprint))
    ar.parts.database.close()
    world.close()
    return folder


def begun(beginning: Path, folder: Path, seed: int, *, with_liar: bool) -> Simulation:
    shutil.copytree(beginning, folder)
    if with_liar:
        shutil.copytree(folder / "br", folder / LIAR)
    return opened(folder, seed, Clock(START_MS + 60_000))


@pytest.mark.parametrize("with_liar", [False, True], ids=["honest", "liar"])
@pytest.mark.parametrize("seed", SCHEDULES)
def test_a_schedule_keeps_every_promise(beginning: Path, tmp_path: Path, seed: int, with_liar: bool) -> None:
    run = begun(beginning, tmp_path / "run", seed, with_liar=with_liar)
    try:
        for _ in range(STEPS):
            run.step()
        run.heal()
        run.check_whole()
    except AssertionError:
        told = "\n".join(run.told)
        print(f"AEO_TEST_SEED={seed} {'with' if with_liar else 'without'} a liar\n{told}")
        raise
    finally:
        run.close()


def test_the_same_seed_is_the_same_schedule(beginning: Path, tmp_path: Path) -> None:
    told = []
    for name in ("one", "other"):
        run = begun(beginning, tmp_path / name, 7, with_liar=True)
        for _ in range(STEPS):
            run.step()
        run.close()
        told.append([line for line in run.told if not line.startswith("  ")])
    assert told[0] == told[1]


def test_the_schedules_do_lie_and_are_found_out(beginning: Path, tmp_path: Path) -> None:
    """The simulation can fail: among a few schedules with a liar some end in an accusation."""
    found = 0
    for seed in range(100, 108):
        run = begun(beginning, tmp_path / str(seed), seed, with_liar=True)
        for _ in range(STEPS):
            run.step()
        run.heal()
        found += bool(run.accusations("uy") or run.accusations("ar"))
        run.close()
    assert found >= 2
