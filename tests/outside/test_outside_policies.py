"""A trust policy that a node prints, read by Tessera (`policy/` calls it): whom it wants, where they are."""

from pathlib import Path

from node import app
from node.ledger import note
from tests.nodes import Node, make, peer, running
from tests.outside.conftest import Tools, aeo, saved


def test_a_policy_wants_somebody_else_to_have_cosigned(tools: Tools, tmp_path: Path) -> None:
    br, uy = make(("BR", "UY"), tmp_path)
    policy, signed = tmp_path / "policy", tmp_path / "signed"
    with running(br, uy):
        policy.write_text(aeo(br, "log", "policy"), encoding="utf-8")
        done = tools.run("policy", policy, saved(br, signed))
        assert (done.returncode, done.stdout) == (0, ""), "nobody is asked where no peer is pinned"
        peer(br, uy)
        for options, log, witness in (((), br, uy), (("--ledger", "UY"), uy, br)):
            policy.write_text(aeo(br, "log", "policy", *options), encoding="utf-8")
            text = saved(log, signed).read_text(encoding="utf-8")
            for cosigned, code in ((text, 1), (text + beat(log, text), 1), (text + beat(witness, text), 0)):
                signed.write_text(cosigned, encoding="utf-8")
                done = tools.run("policy", policy, signed)
                assert (done.returncode, done.stdout) == (code, f"{witness.url}/witness/add-checkpoint\n")


def beat(cosigner: Node, signed: str) -> str:
    """A node's cosignature on a checkpoint."""
    parts = app.parts_of(cosigner.home)
    try:
        return parts.beat(note.read_note(signed)[0])
    finally:
        parts.database.close()
