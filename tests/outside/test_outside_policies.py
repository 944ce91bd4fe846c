"""A trust policy that a node prints, read by Tessera (`policy/` calls it): whom it wants, where they are."""

from pathlib import Path

from node import assembly
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
            text, signatures = note.read_note(saved(log, signed).read_text(encoding="utf-8"))
            alone = f"{text}\n{signatures[0].line()}"  # without what its witnesses have cosigned already
            by_itself, by_other = alone + cosignatures(log, text), alone + cosignatures(witness, text)
            for cosigned, code in ((alone, 1), (by_itself, 1), (by_other, 0)):
                signed.write_text(cosigned, encoding="utf-8")
                done = tools.run("policy", policy, signed)
                assert (done.returncode, done.stdout) == (code, f"{witness.url}/witness/add-checkpoint\n")


def cosignatures(cosigner: Node, text: str) -> str:
    """A node's cosignatures on a checkpoint, Ed25519 and ML-DSA-44."""
    parts = assembly.parts_of(cosigner.home)
    try:
        return parts.witness(text)
    finally:
        parts.database.close()
