"""What an administration sees of unfinished business: proposals taken back, entries not fetched, evidence."""

import base64
import json
from typing import Any

from clients.demo.waiting import until
from contracts import rules, terms
from tests.nodes import Node, Pair, brazilian


def waiting(node: Node, agreement: str) -> list[Any]:
    return [(each["act"], each["missing"]) for each in node.get(f"/v1/agreements/{agreement[:8]}")["waiting"]]


def test_an_unwanted_draft_is_declined_and_a_proposal_taken_back(new_pair: Pair) -> None:
    br, uy = new_pair.both()
    draft = {"title": "Unwanted", "countries": ["BR", "UY"], "terms": terms.terms("br_uy")}
    unwanted = br.post("/v1/agreements", draft | {"contract": rules.text("mra_v1")})["agreement"]
    known = lambda: unwanted in {each["agreement"] for each in uy.get("/v1/agreements")["agreements"]}  # noqa: E731
    until(known, what="the draft at the partner")
    assert waiting(uy, unwanted) == [("sign", ["BR", "UY"])]
    uy.post(f"/v1/agreements/{unwanted[:8]}/withdraw", {"reason": "not agreed"})
    until(lambda: br.get(f"/v1/agreements/{unwanted}")["withdrawn_by"] == ["UY"], what="the refusal")
    assert waiting(br, unwanted) == []
    refused = br.http.post(f"/v1/agreements/{unwanted[:8]}/acts", json={"act": "sign"})
    assert refused.status_code == 409
    assert (refused.json()["title"], refused.json()["why"]) == ("the draft was withdrawn", "by UY")

    place = f"/v1/agreements/{new_pair.agreement[:6]}"
    words = {"issuer": "BR", "partner": "UY"}
    uy.post(f"{place}/acts", {"act": "suspend", **words})
    until(lambda: br.get(place)["directions"][0]["state"] == "SUSPENDED", what="the suspension")
    proposed = br.post(f"{place}/acts", {"act": "resume", **words})["act"]
    until(lambda: waiting(uy, new_pair.agreement) == [("resume", ["UY"])], what="the proposal")
    br.post(f"{place}/withdraw", {"act": proposed[:10]})
    until(lambda: waiting(uy, new_pair.agreement) == [], what="the withdrawal")
    [act] = [each for each in uy.get(place)["acts"] if each["act"] == proposed]
    assert (act["counts"], act["withdrawn_by"]) == (False, ["BR"])
    for node in (br, uy):
        node.post(f"{place}/acts", {"act": "resume", **words})
        until(lambda: waiting(uy, new_pair.agreement) in ([("resume", ["UY"])], []), what="the proposal")
    for node in (br, uy):
        state = lambda node=node: node.get(place)["directions"][0]["state"]  # noqa: E731
        until(lambda state=state: state() == "IN_OPERATION", what="the resumption")
        assert node.fsck() == []


def test_a_partners_words_are_signed_by_naming_its_proposal(new_pair: Pair) -> None:
    br, uy = new_pair.both()
    place, words = f"/v1/agreements/{new_pair.agreement}", {"issuer": "BR", "partner": "UY"}
    uy.post(f"{place}/acts", {"act": "suspend", **words})
    proposed = uy.post(f"{place}/acts", {"act": "resume", "reason": "UY accepts", **words})["act"]
    until(lambda: waiting(br, new_pair.agreement) == [("resume", ["BR"])], what="the proposal")
    refused = br.http.post(f"{place}/acts", json={"act": "resume", **words})
    assert refused.status_code == 409
    assert refused.json()["why"] == "its reason is 'UY accepts', not ''"
    signed = br.post(f"{place}/acts", {"act": "resume", "proposal": proposed[:8], **words})
    assert (signed["act"], signed["complete"]) == (proposed, True)
    br.post(f"{place}/acts", {"act": "terminate", "effective": "2099-01-01", **words})
    until(
        lambda: [each["ends"] for each in uy.get(place)["directions"]] == ["2099-01-01", None], what="the end"
    )


def test_the_issuer_sees_what_its_partner_has_not_fetched(new_pair: Pair) -> None:
    br, uy = new_pair.both()
    br.post("/v1/operators", brazilian(1))
    until(lambda: has(br) == br.channel("out")["size"], what="the partner's word that it has all")
    had, before = has(br), br.channel("out")["partner_asked"]["at"]
    uy.kill()
    br.post("/v1/operators", brazilian(2))
    told = br.channel("out")
    assert told["partner_asked"]["size"] == had == told["size"] - 1
    assert told["partner_asked"]["at"] >= before
    br.stop()
    br.run()
    assert br.channel("out")["partner_asked"] is None, "kept since the start only"
    uy.run()
    until(lambda: has(br) == told["size"], what="the partner's next request")


def has(node: Node) -> int | None:
    asked = node.channel("out")["partner_asked"]
    return asked and asked["size"]


def test_the_evidence_of_an_incident_can_be_read(new_pair: Pair) -> None:
    br, uy = new_pair.both()
    uy.stop()
    br.post("/v1/operators", brazilian(1))
    with br.store() as store:
        store.execute(
            "UPDATE channel_body SET sealed = zeroblob(length(sealed)) WHERE seq = (SELECT max(seq) "
            "FROM channel_body WHERE log = (SELECT log FROM channel WHERE issuer = 'BR')) "
            "AND log = (SELECT log FROM channel WHERE issuer = 'BR')"
        )
    uy.run()
    [listed] = until(lambda: uy.incidents("invalid"), what="the incident")
    assert "evidence" not in listed
    shown = uy.get(f"/v1/incidents/{listed['incident']}")
    evidence = base64.b64decode(shown["evidence"])
    with uy.store() as store:
        [[stored]] = store.execute("SELECT evidence FROM incident WHERE incident = ?", [listed["incident"]])
    assert shown == listed | {"evidence": shown["evidence"]}
    assert evidence == stored
    assert bytes(16) in base64.b64decode(json.loads(evidence)["body"])
    assert uy.http.get("/v1/incidents/999999").status_code == 404
