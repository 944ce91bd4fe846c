"""`aeo log`: the key of a ledger, and the trust policy for one, as tools of others take them."""

from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

from clients.cli.log import policy_for
from node import assembly
from node.errors import Malformed, NotFound, Unproven
from node.exchange.card import read
from node.ledger import note, policy
from node.ledger.checkpoint import Checkpoint, sign_checkpoint
from node.ledger.merkle import EMPTY_ROOT
from tests.nodes import Node, Pair, origin_of
from tests.unit.clients.test_cli import Aeo, aeo

__all__ = ("aeo",)


def cosigned(log: Node, *witnesses: Node) -> str:
    """A ledger's newest checkpoint with its own signature, and the cosignatures of nodes."""
    text, signatures = note.read_note(log.http.get("/log/checkpoint").text)
    signed = f"{text}\n{signatures[0].line()}"
    for each in witnesses:
        parts = assembly.parts_of(each.home)
        signed += parts.witness(text)
        parts.database.close()
    return signed


def test_the_key_is_the_one_on_the_card_and_opens_the_checkpoint(aeo: Aeo, pair: Pair) -> None:
    done = aeo("log", "vkey", at=pair.br)
    key = note.parse_vkey(done.out.removesuffix("\n"))
    assert [key] == read(pair.br.get("/v1/card")["card"]).verifiers(origin_of(pair.br))[:1]
    assert note.open_note(pair.br.http.get("/log/checkpoint").text, [key]).signatures
    told = aeo("log", "vkey", "--json", at=pair.br).json
    assert told["log"] == {"origin": origin_of(pair.br), "url": f"{pair.br.url}/log", "vkey": key.vkey()}
    assert told["size"] >= 200
    [partner] = told["peers"]
    assert {name: partner[name] for name in ("country", "log", "witness")} == {
        name: aeo("log", "vkey", "--json", at=pair.uy).json[name] for name in ("country", "log", "witness")
    }


@pytest.mark.parametrize("whose", ["own", "partner's"])
def test_a_policy_takes_a_ledger_that_somebody_else_cosigned(aeo: Aeo, pair: Pair, whose: str) -> None:
    own = whose == "own"
    log, witness = (pair.br, pair.uy) if own else (pair.uy, pair.br)
    said = aeo("log", "policy", *([] if own else ["--ledger", "uy"]), at=pair.br)
    wanted = policy.parse(said.out)
    assert list(wanted.logs) == [origin_of(log)]
    assert list(wanted.urls.values()) == [f"{log.url}/log"]
    assert [each.url for each in wanted.witnesses.values()] == [f"{witness.url}/witness"] * 2
    assert wanted.open(cosigned(log, witness)).checkpoint.origin == origin_of(log)
    for too_few in (cosigned(log), cosigned(log, log)):
        with pytest.raises(Unproven, match="not cosigned"):
            wanted.open(too_few)
    with pytest.raises(Unproven, match="does not name"):
        wanted.open(cosigned(witness, log))
    comments = [line for line in said.out.splitlines() if line.startswith("# ")]
    assert len(comments) == 3
    assert witness.name in comments[1]


def test_a_policy_of_a_node_without_peers_says_that_nobody_vouches(aeo: Aeo, lone: Node) -> None:
    said = aeo("log", "policy", at=lone).out
    assert policy.parse(said).open(cosigned(lone)).times_s == {}
    assert "nobody vouches" in said
    done = aeo("log", "policy", "--ledger", "UY", at=lone)
    assert (done.code, done.out) == (2, "")
    assert "no peer is pinned for this country (UY)" in done.err


# What is put together out of cards.


def keys_of(country: str, *kinds: str, **changed: Any) -> Any:
    """What a node tells of one administration; each with keys of its own."""
    name = f"aeo.{country.lower()}.example"
    seed = country.encode() * 16
    signers = {
        "ed25519": note.cosigner(f"{name}/witness", Ed25519PrivateKey.from_private_bytes(seed)),
        "ml-dsa": note.ml_dsa_cosigner(f"{name}/witness", MLDSA44PrivateKey.from_seed_bytes(seed)),
    }
    log = note.ed25519_signer(f"{name}/ledger", Ed25519PrivateKey.from_private_bytes(seed[::-1]))
    told = {
        "name": name,
        "country": country,
        "administration": f"Customs of {country}",
        "log": {"origin": log.name, "url": f"https://{name}/log", "vkey": log.verifier().vkey()},
        "witness": {
            "name": f"{name}/witness",
            "url": f"https://{name}/witness",
            "vkeys": [signers[kind].verifier().vkey() for kind in kinds],
        },
    }
    return told | changed, log, signers


def test_any_of_the_others_suffices_that_signs_with_all_its_keys() -> None:
    (br, log, own), (uy, _, of_uy), (ar, _, of_ar) = (
        keys_of("BR", "ed25519"),
        keys_of("UY", "ed25519", "ml-dsa"),
        keys_of("AR", "ml-dsa"),
    )
    read_ = policy.parse(policy_for(None, [br, uy, ar]))
    checkpoint = Checkpoint(log.name, 0, EMPTY_ROOT)
    signed = sign_checkpoint(checkpoint, [log])
    for signers in ((of_uy["ed25519"], of_uy["ml-dsa"]), (of_ar["ml-dsa"],)):
        lines = "".join(note.cosign(checkpoint.text(), signer, 1) for signer in signers)
        assert len(read_.open(signed + lines).times_s) == len(signers)
    for signer in (own["ed25519"], of_ar["ed25519"], of_uy["ed25519"], of_uy["ml-dsa"]):
        with pytest.raises(Unproven, match="not cosigned"):
            read_.open(signed + note.cosign(checkpoint.text(), signer, 1))
    assert {each.url for each in read_.witnesses.values()} == {uy["witness"]["url"], ar["witness"]["url"]}


@pytest.mark.parametrize(
    "administration", ["Customs\nquorum none\n", "Customs\r\nquorum none", "Customs\u2028\x1b[31m", "# x\n\n"]
)
def test_no_name_on_a_card_becomes_a_line_of_the_policy(administration: str) -> None:
    br, uy = keys_of("BR", "ed25519")[0], keys_of("UY", "ed25519", administration=administration)[0]
    plain = policy.parse(policy_for(None, [br, keys_of("UY", "ed25519")[0]]))
    assert policy.parse(policy_for(None, [br, uy])) == plain


@pytest.mark.parametrize("url", ["https://a b", "https://a\nquorum none", "https://a\tc"])
def test_an_address_on_a_card_that_is_no_word_is_refused(url: str) -> None:
    br, uy = keys_of("BR", "ed25519")[0], keys_of("UY", "ed25519")[0]
    uy["witness"]["url"] = url
    with pytest.raises(Malformed):
        policy_for(None, [br, uy])


def test_two_administrations_do_not_share_a_key() -> None:
    """Or one of them would vouch for itself under another name."""
    br, uy = keys_of("BR", "ed25519")[0], keys_of("UY", "ed25519")[0]
    uy["witness"]["vkeys"] = [
        note.cosigner("other.example/witness", Ed25519PrivateKey.from_private_bytes(b"BR" * 16))
        .verifier()
        .vkey()
    ]
    policy_for(None, [br, uy])
    with pytest.raises(Malformed, match="already"):
        policy_for(None, [keys_of("AR", "ed25519")[0], br, uy])


def test_a_ledger_of_nobody_known_is_not_found() -> None:
    with pytest.raises(NotFound, match="UY"):
        policy_for("UY", [keys_of("BR", "ed25519")[0]])
