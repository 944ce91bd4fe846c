"""What two administrations said to each other about one operator is gone with it, from every file."""

from pathlib import Path

from clients.demo.waiting import until
from tests.e2e.test_erasure import found, is_known, newest
from tests.nodes import Node, brazilian, pair_in

NEEDLES = ("container MSKU 1", "case 4711", "inspected by the port")


def answers(node: Node) -> list[str | None]:
    """What partners answered to the erasures that a node asked for."""
    made = node.get("/v1/erasures")["erasures"]
    return [each["answer"] for row in made for each in row["partners"]]


def test_what_was_said_of_an_operator_is_told_across_and_erased_with_it(tmp_path: Path) -> None:
    with pair_in(tmp_path) as pair:
        br, uy = pair.both()
        tin = brazilian(1)["tin"]
        br.post("/v1/operators", brazilian(1))
        pair.await_copy()
        uy.post(f"/v1/operators/{tin}/suspend-here", {"class": "SECURITY", "reason": NEEDLES[1]})
        assert not uy.get(f"/v1/operators/{tin}")["recognition"]["applies"]
        uy.post(f"/v1/operators/{tin}/irregularities", {"class": "CARGO", "text": NEEDLES[0]})
        until(lambda: len(br.get("/v1/reports")["reports"]) == 2, what="both reports at the issuer")
        number = br.get("/v1/reports")["reports"][0]["report"]
        br.post(f"/v1/reports/{number}/acknowledge", {"text": NEEDLES[2]})
        until(lambda: uy.get("/v1/reports")["reports"][0]["acknowledgement"], what="the acknowledgement")
        assert found(br.home, NEEDLES), "or nothing would be shown"
        assert found(uy.home, NEEDLES)
        br.post(f"/v1/operators/{tin}/erase", {"ground": "OBJECTION", "reference": "case 7"})
        until(lambda: answers(uy), what="the partner to erase what it said itself")
        until(lambda: answers(uy) == ["ERASED"], what="the issuer's answer")
        for node in pair.both():
            until(lambda node=node: newest(node)["scrubbed"], what="the files to be free of it")
            assert not is_known(node, tin)
            assert node.get("/v1/reports")["reports"] == []
        for node in pair.both():
            node.stop()
            assert found(node.home, (*NEEDLES, tin)) == {}
            assert node.fsck() == []
