import json
from dataclasses import replace
from typing import Any

import pytest
from joserfc import jws
from joserfc.jwk import ECKey

from contracts import load
from contracts.rules import text as rules
from contracts.terms import terms as ready_made
from node.agreements.act import Act, Instrument, Signature, parse, parse_act, sign, verify
from node.agreements.document import Agreement, Party, draft
from node.errors import Malformed, Unproven
from node.ledger.encoding import b64u

KEYS = {country: ECKey.generate_key("P-256", private=True) for country in ("AR", "BR", "UY")}
TODAY = "2027-01-01"


def party(country: str) -> Party:
    key = KEYS[country].as_dict(private=False)
    public = {name: str(key[name]) for name in ("kty", "crv", "x", "y")}
    return Party(country, f"aeo.{country.lower()}.example", f"Customs of {country}", public)


def agreed(nonce: bytes) -> Agreement:
    parties = [party("BR"), party("UY")]
    return draft("Brazil and Uruguay", parties, ready_made(), rules(), "2026-11-01", nonce)


AGREEMENT, REDRAFTED = agreed(b"n" * 16), agreed(b"m" * 16)
SIGN = Act(AGREEMENT.digest(), "sign", None, None, None, "2026-12-01", (), "", (), b"a" * 16)
START = replace(SIGN, act="start", issuer="BR", partner="UY", mode="pilot")
BY_BR, BY_UY = sign(SIGN, "BR", KEYS["BR"]), sign(SIGN, "UY", KEYS["UY"])


def test_an_act_survives_the_round_trip() -> None:
    suspension = b64u(b"s" * 32)
    resume = replace(START, act="resume", mode=None, lifts=(suspension,), reason="reviewed")
    withdraw = replace(SIGN, act="withdraw")
    for act in (SIGN, START, resume, withdraw, replace(withdraw, lifts=(START.id,))):
        assert parse_act(act.to_json()) == act
        assert parse_act(act.to_json()).id == act.id
    assert len({SIGN.id, START.id, resume.id}) == 3


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("v", 2),
        ("agreement", "AAAA"),
        ("act", "annex"),
        ("act", ["start"]),
        ("issuer", None),
        ("issuer", "UY"),
        ("partner", 1),
        ("mode", None),
        ("mode", "demo"),
        ("effective", "2027-02-30"),
        ("effective", None),
        ("lifts", ["AAAA"]),
        ("lifts", [b64u(b"s" * 32)]),
        ("reason", None),
        ("reason", "x" * 501),
        ("preconditions_met", "all"),
        ("preconditions_met", ["a", "a"]),
        ("nonce", ""),
        ("extra", 1),
    ],
)
def test_a_broken_act_is_refused(field: str, value: object) -> None:
    with pytest.raises(Malformed):
        parse_act({**START.to_json(), field: value})


def test_a_resume_that_lifts_nothing_and_a_directed_signing_are_refused() -> None:
    directed = [replace(START, act=act, mode=None) for act in ("resume", "sign", "withdraw")]
    twice = replace(SIGN, act="withdraw", lifts=(SIGN.id, START.id))
    for act in (*directed, twice):
        with pytest.raises(Malformed):
            parse_act(act.to_json())


def test_an_instrument_survives_the_round_trip_and_stays_signed() -> None:
    instrument = Instrument(SIGN, (BY_BR, BY_UY))
    again = parse(json.loads(json.dumps(instrument.to_json())))
    assert again == instrument
    assert again.signed_by(AGREEMENT) == ("BR", "UY")
    assert again.complete(AGREEMENT, TODAY).allowed


def test_others_can_verify_the_general_jws() -> None:
    serialized: Any = Instrument(SIGN, (BY_UY,)).to_json()
    key = ECKey.import_key(dict(AGREEMENT.party("UY").key))
    assert jws.deserialize_json(serialized, key, algorithms=["ES256"]).payload == SIGN.encode()


def test_a_partial_signing_is_incomplete_and_names_who_is_missing() -> None:
    ruling = Instrument(SIGN, (BY_BR,)).complete(AGREEMENT, TODAY)
    assert (ruling.allowed, ruling.missing) == (False, ("UY",))
    twice = Instrument(SIGN, (BY_BR, BY_BR, sign(SIGN, "BR", KEYS["BR"])))
    assert twice.complete(AGREEMENT, TODAY).missing == ("UY",)


def with_header(header: dict[str, Any], key: ECKey) -> Signature:
    protected, _, signature = jws.serialize_compact(
        header, SIGN.encode(), key, algorithms=["ES256", "HS256", "none"]
    ).split(".")
    return Signature("UY", protected, signature)


HEADER = {"alg": "ES256", "kid": f"UY:{KEYS['UY'].thumbprint()}", "typ": "aeo-act+jws"}
FORGED = {
    "replayed from another act": sign(replace(SIGN, nonce=b"b" * 16), "UY", KEYS["UY"]),
    "replayed from another agreement": sign(replace(SIGN, agreement=REDRAFTED.digest()), "UY", KEYS["UY"]),
    "replayed from a start": sign(START, "UY", KEYS["UY"]),
    "another party's signature": replace(BY_BR, country="UY"),
    "another party's key": sign(SIGN, "UY", KEYS["BR"]),
    "a stranger's key": sign(SIGN, "UY", KEYS["AR"]),
    "another's key named as ours": with_header(HEADER, KEYS["BR"]),
    "another type": with_header({**HEADER, "typ": "JWT"}, KEYS["UY"]),
    "an extra header": with_header({**HEADER, "cty": "x"}, KEYS["UY"]),
    "no type": with_header({"alg": "ES256", "kid": HEADER["kid"]}, KEYS["UY"]),
    "no algorithm": replace(BY_UY, protected=b64u(b'{"alg":"none"}'), signature=""),
    "no signature": replace(BY_UY, signature=""),
    "a cut signature": replace(BY_UY, signature=BY_UY.signature[:-4]),
    "a foreign character": replace(BY_UY, signature=BY_UY.signature[:-1] + "!"),
    "a header that is not JSON": replace(BY_UY, protected="AAAA"),
}


@pytest.mark.parametrize("name", FORGED)
def test_a_signature_that_is_not_this_party_on_this_act_counts_for_nothing(name: str) -> None:
    with pytest.raises(Unproven):
        verify(SIGN, FORGED[name], AGREEMENT.party("UY"))
    mixed = Instrument(SIGN, (BY_BR, FORGED[name]))
    assert mixed.signed_by(AGREEMENT) == ("BR",)
    assert mixed.complete(AGREEMENT, TODAY).missing == ("UY",)


def test_every_changed_byte_of_a_signature_breaks_it() -> None:
    for position in range(0, len(BY_UY.signature) - 1, 5):
        flipped = "A" if BY_UY.signature[position] != "A" else "B"
        changed = BY_UY.signature[:position] + flipped + BY_UY.signature[position + 1 :]
        with pytest.raises(Unproven):
            verify(SIGN, replace(BY_UY, signature=changed), AGREEMENT.party("UY"))


def test_a_stranger_signs_nothing() -> None:
    stranger = sign(SIGN, "AR", KEYS["AR"])
    assert Instrument(SIGN, (BY_BR, stranger)).signed_by(AGREEMENT) == ("BR",)


def test_an_act_on_another_text_has_no_signatures_here() -> None:
    instrument = Instrument(SIGN, (BY_BR, BY_UY))
    assert instrument.signed_by(REDRAFTED) == ()
    assert not instrument.complete(REDRAFTED, TODAY).allowed


def test_another_contract_cannot_judge() -> None:
    lax = rules().replace("return need(parties)", "return allow()")
    with pytest.raises(Unproven):
        Instrument(SIGN, ()).complete(AGREEMENT, TODAY, load(lax))


@pytest.mark.parametrize(
    "broken",
    [
        None,
        {},
        {"payload": "AAAA", "signatures": []},
        {"payload": b64u(SIGN.encode()), "signatures": [{}]},
        {"payload": b64u(SIGN.encode() + b" "), "signatures": []},
        {"payload": b64u(SIGN.encode()), "signatures": [{"protected": "e30", "signature": "AA"}]},
        {"payload": b64u(SIGN.encode()), "signatures": [{"protected": 1, "signature": "AA"}]},
        {"payload": b64u(SIGN.encode()), "signatures": [{"protected": BY_UY.protected, "signature": "A!"}]},
    ],
)
def test_a_broken_instrument_is_refused(broken: object) -> None:
    with pytest.raises(Malformed):
        parse(broken)


ALLOWS_ALL = """
def decide(record, terms, today):
    return withhold("no")

def govern(act, terms, signatures, today):
    return allow()
"""
REFUSES_ALL = ALLOWS_ALL.replace("return allow()", 'return refuse("never")')


def judged_by(contract: str, act: str, signers: str) -> bool:
    """Whether an act of this kind is complete under a contract, with the signatures of these countries."""
    whole = draft("A", [party("BR"), party("UY")], ready_made(), contract, "2026-11-01", b"c" * 16)
    direction = {} if act == "sign" else {"issuer": "BR", "partner": "UY"}
    mode, lifts = ("operation" if act == "start" else None), ((b64u(b"s" * 32),) if act == "resume" else ())
    told = replace(SIGN, agreement=whole.digest(), act=act, mode=mode, lifts=lifts, **direction)
    signatures = tuple(sign(told, country, KEYS[country]) for country in signers.split())
    return Instrument(told, signatures).complete(whole, TODAY).allowed


@pytest.mark.parametrize("act", ["sign", "start", "resume"])
@pytest.mark.parametrize("signers", ["", "BR", "UY"])
def test_no_contract_lets_one_party_bind_the_other(act: str, signers: str) -> None:
    assert not judged_by(ALLOWS_ALL, act, signers)
    assert judged_by(ALLOWS_ALL, act, "BR UY")


@pytest.mark.parametrize("act", ["suspend", "terminate"])
@pytest.mark.parametrize("signers", ["BR", "UY", "BR UY"])
def test_no_contract_keeps_a_party_from_stopping(act: str, signers: str) -> None:
    assert judged_by(REFUSES_ALL, act, signers)
    assert not judged_by(REFUSES_ALL, act, "")
