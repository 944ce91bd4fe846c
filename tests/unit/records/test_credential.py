import json
from base64 import urlsafe_b64decode
from collections.abc import Callable
from hashlib import sha256
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from joserfc import jws
from joserfc.jwk import ECKey

from node.errors import Malformed, Refusal, TooMuch, Unproven
from node.ledger import canonical
from node.ledger.encoding import b64u, unb64u
from node.records.credential import (
    DIGESTS,
    Credential,
    Disclosure,
    Verified,
    covered,
    es256_signer,
    es256_verify,
    issue,
    pack,
    restore,
    unpack,
    verify,
    verify_packed,
)

ISSUER = "aeo.br.example"
KEY = ec.derive_private_key(7, ec.SECP256R1())
FIELDS: dict[str, Any] = {
    "country": "BR",
    "identifiers": [
        {"scheme": "CNPJ", "value": "99000001000101"},
        {"scheme": "LEI", "value": "213800KUD8LAJWSQ9D15"},
        {"scheme": "CNPJ", "value": "16727230000197"},
    ],
    "legal_name": "Caatinga Eletrônica S/A",
    "address": {"line": "Rua 1", "city": "Santos", "country": "BR"},
    "roles": ["importer", "exporter"],
    "sites": [{"name": str(n)} for n in range(5)],
    "mra_consent": {"given": True, "scope": "GENERAL"},
    "status": "ACTIVE",
}


def salts(group: str, count: int, version: str = "1") -> list[bytes]:
    return [sha256(f"{version}/{group}/{n}".encode()).digest()[:16] for n in range(count)]


def issued(fields: dict[str, Any] = FIELDS) -> Credential:
    return issue(fields, salts=salts, issuer=ISSUER, kid="br-1", sign=es256_signer(KEY))


CREDENTIAL = issued()


def disclosures(fields: dict[str, Any], salts: Any) -> tuple[Disclosure, ...]:
    return restore(fields, salts=salts, issuer=ISSUER, kid="br-1", signature=bytes(64)).disclosures


def shown(*paths: str) -> str:
    return CREDENTIAL.present(paths)


def checked(presentation: str) -> Verified:
    return verify(presentation, KEY.public_key(), issuer=ISSUER)


def opened(text: str) -> Any:
    return json.loads(urlsafe_b64decode(text + "=" * (-len(text) % 4)))


def forged(payload: object, *texts: str, header: object = None) -> str:
    """A presentation signed by the issuer's own key over whatever it is given."""
    head = header or {"alg": "ES256", "kid": "br-1", "typ": "aeo-operator+sd-jwt"}
    signed = f"{b64u(canonical.encode(head))}.{b64u(canonical.encode(payload))}"
    return "~".join([f"{signed}.{b64u(es256_signer(KEY)(signed.encode()))}", *texts, ""])


def signed_over(*texts: str, extra: tuple[str, ...] = ()) -> str:
    """An honestly signed credential over hand-made top-level disclosures; `extra` ones ride along."""
    digests = [b64u(sha256(text.encode()).digest()) for text in texts]
    digests += [b64u(sha256(bytes([n])).digest()) for n in range(DIGESTS - len(digests))]
    return forged({"_sd": digests, "_sd_alg": "sha-256", "iss": ISSUER}, *texts, *extra)


def disclosure(*parts: object) -> str:
    return b64u(canonical.encode(list(parts)))


SALT = b64u(bytes(16))


def test_all_fields_come_back_when_all_are_shown() -> None:
    verified = checked(shown(*FIELDS))
    assert {**verified.fields, "identifiers": 0, "roles": 0} == {**FIELDS, "identifiers": 0, "roles": 0}
    for name in ("identifiers", "roles"):
        assert sorted(map(repr, verified.fields[name])) == sorted(map(repr, FIELDS[name]))  # type: ignore[arg-type]
    assert verified.digest == sha256(CREDENTIAL.jwt.encode()).digest()
    assert verified.kid == "br-1"
    assert verified.paths == tuple(sorted({*FIELDS, "identifiers.CNPJ", "identifiers.LEI"} - {"identifiers"}))


def test_another_implementation_accepts_the_signature_and_sees_only_digests() -> None:
    key = ECKey.import_key(KEY.public_key())
    token = jws.deserialize_compact(CREDENTIAL.jwt, key, algorithms=["ES256"])
    payload = json.loads(token.payload)
    assert token.headers() == {"alg": "ES256", "typ": "aeo-operator+sd-jwt", "kid": "br-1"}
    assert sorted(payload) == ["_sd", "_sd_alg", "iss"]
    assert (payload["iss"], payload["_sd_alg"]) == (ISSUER, "sha-256")
    assert payload["_sd"] == sorted(payload["_sd"], key=unb64u)
    assert len(set(payload["_sd"])) == DIGESTS


def test_disclosures_have_the_structure_of_rfc_9901() -> None:
    payload = opened(CREDENTIAL.jwt.split(".")[1])
    reachable = set(payload["_sd"])
    for one in CREDENTIAL.disclosures:
        if len(opened(one.text)) == 3 and opened(one.text)[1] in ("identifiers", "roles", "sites"):
            reachable |= {holder["..."] for holder in opened(one.text)[2]}
    for one in CREDENTIAL.disclosures:
        assert b64u(sha256(one.text.encode()).digest()) in reachable
        assert len(opened(one.text)) in (2, 3)


def test_nothing_hidden_can_be_read_or_counted() -> None:
    few, many = issued({"country": "BR"}), CREDENTIAL
    assert len(few.jwt) == len(many.jwt)
    clear = json.dumps([opened(part) for part in many.jwt.split(".")[:2]])
    assert not any(word in clear for word in ("legal_name", "Caatinga", "99000001000101", "identifiers"))


def test_one_scheme_is_shown_without_the_others() -> None:
    presentation = shown("identifiers.CNPJ")
    verified = checked(presentation)
    assert {number["scheme"] for number in verified.fields["identifiers"]} == {"CNPJ"}  # type: ignore[union-attr,index,call-overload]
    assert list(verified.fields) == ["identifiers"]
    assert len(verified.fields["identifiers"]) == 2  # type: ignore[arg-type]
    assert verified.paths == ("identifiers.CNPJ",)
    assert "213800KUD8LAJWSQ9D15" not in "".join(map(str, map(opened, presentation.split("~")[1:-1])))


def test_a_scheme_the_operator_lacks_shows_an_empty_list() -> None:
    verified = checked(shown("identifiers.RUT"))
    assert (verified.fields, verified.paths) == ({"identifiers": []}, ())


@pytest.mark.parametrize("paths", [(), ("unknown",), ("roles.importer",), ("legal_name.x",), ("",)])
def test_a_path_that_names_nothing_opens_nothing(paths: tuple[str, ...]) -> None:
    assert checked(shown(*paths)).fields == {}


@pytest.mark.parametrize(("count", "holders"), [(1, 4), (4, 4), (5, 8), (9, 16)])
def test_lists_are_padded_so_that_elements_cannot_be_counted(count: int, holders: int) -> None:
    fields: dict[str, Any] = {"sites": [{"name": str(n)} for n in range(count)]}
    container = disclosures(fields, salts=salts)[-1]
    assert len(opened(container.text)[2]) == holders


def test_the_order_of_elements_is_not_the_issuers() -> None:
    [container] = [each for each in CREDENTIAL.disclosures if each.path == "identifiers"]
    inner = [holder["..."] for holder in opened(container.text)[-1]]
    assert inner == sorted(inner, key=unb64u)


def test_the_same_salts_give_the_same_bytes_and_others_do_not() -> None:
    again = issued()
    assert again.jwt.rpartition(".")[0] == CREDENTIAL.jwt.rpartition(".")[0]
    assert disclosures(FIELDS, salts=salts) == CREDENTIAL.disclosures == again.disclosures
    other = disclosures(FIELDS, salts=lambda group, count: salts(group, count, "2"))
    assert not {one.text for one in other} & {one.text for one in again.disclosures}


def test_no_salt_is_drawn_twice_and_every_disclosure_has_its_own() -> None:
    drawn: list[tuple[str, int]] = []

    def noted(group: str, count: int) -> list[bytes]:
        drawn.append((group, count))
        return salts(group, count)

    made = disclosures(FIELDS, salts=noted)
    assert sorted(drawn) == [("fields", 40), ("identifiers", 4), ("roles", 4), ("sites", 8)]
    assert len({opened(each.text)[0] for each in made}) == len(made)


def test_the_order_in_which_fields_are_given_does_not_matter() -> None:
    again = disclosures(dict(reversed(FIELDS.items())), salts=salts)
    assert again == CREDENTIAL.disclosures


def test_any_changed_character_is_noticed() -> None:
    presentation = shown("legal_name", "identifiers.CNPJ", "roles")
    for position, character in enumerate(presentation):
        other = "A" if character != "A" else "B"
        with pytest.raises(Refusal):
            checked(presentation[:position] + other + presentation[position + 1 :])


@pytest.mark.parametrize(
    "attack",
    [
        lambda text: text[:-1],
        lambda text: text + "eyJ.e30.c2ln",
        lambda text: "~" + text,
        lambda text: text.replace("~", "~~", 1),
        lambda text: text + text.split("~")[1] + "~",
        lambda text: text + disclosure(SALT, "status", "ACTIVE") + "~",
        lambda text: text + disclosure(SALT, {"scheme": "CNPJ"}) + "~",
        lambda text: text.split("~")[0],
        lambda text: "é" + text,
        lambda text: text.replace(".", "..", 1),
        lambda text: text.split(".")[0] + "." + text.split(".")[1] + ".~",
        lambda text: text + "é~",
    ],
)
def test_a_presentation_that_was_tampered_with_is_refused(attack: Callable[[str], str]) -> None:
    with pytest.raises((Malformed, Unproven)):
        checked(attack(shown("legal_name", "country")))


def test_an_element_without_its_list_is_refused() -> None:
    element = next(one for one in CREDENTIAL.disclosures if one.path == "identifiers.LEI")
    with pytest.raises(Unproven, match="opens nothing"):
        checked(f"{CREDENTIAL.jwt}~{element.text}~")


def test_another_issuer_or_key_is_refused() -> None:
    with pytest.raises(Unproven, match="not issued by"):
        verify(shown(), KEY.public_key(), issuer="aeo.uy.example")
    with pytest.raises(Unproven, match="signature"):
        verify(shown(), ec.derive_private_key(8, ec.SECP256R1()).public_key(), issuer=ISSUER)


@pytest.mark.parametrize(
    "header",
    [
        {"alg": "none", "kid": "br-1", "typ": "aeo-operator+sd-jwt"},
        {"alg": "ES384", "kid": "br-1", "typ": "aeo-operator+sd-jwt"},
        {"alg": "ES256", "kid": "br-1", "typ": "JWT"},
        {"alg": "ES256", "typ": "aeo-operator+sd-jwt"},
        {"alg": "ES256", "kid": "br-1", "typ": "aeo-operator+sd-jwt", "crit": ["b64"]},
        ["ES256"],
    ],
)
def test_another_header_is_refused_even_when_signed(header: object) -> None:
    with pytest.raises(Malformed):
        checked(forged({"_sd": [], "_sd_alg": "sha-256", "iss": ISSUER}, header=header))


@pytest.mark.parametrize(
    "payload",
    [
        {"_sd": ["x"] * DIGESTS, "_sd_alg": "sha-512", "iss": ISSUER},
        {"_sd": ["x"] * DIGESTS, "_sd_alg": "sha-256", "iss": ISSUER, "status": "ACTIVE"},
        {"_sd": ["x"] * DIGESTS, "_sd_alg": "sha-256", "iss": ISSUER},
        {"_sd": [str(n) for n in range(DIGESTS - 1)], "_sd_alg": "sha-256", "iss": ISSUER},
        {"_sd": list(range(DIGESTS)), "_sd_alg": "sha-256", "iss": ISSUER},
        {"_sd": "x", "_sd_alg": "sha-256", "iss": ISSUER},
        [],
    ],
)
def test_another_payload_is_refused_even_when_signed(payload: object) -> None:
    with pytest.raises((Malformed, Unproven)):
        checked(forged(payload))


def test_a_hand_made_credential_of_the_right_form_is_accepted() -> None:
    assert checked(signed_over(disclosure(SALT, "status", "ACTIVE"))).fields == {"status": "ACTIVE"}


@pytest.mark.parametrize(
    "texts",
    [
        (disclosure(b64u(bytes(15)), "status", "ACTIVE"),),
        (disclosure(7, "status", "ACTIVE"),),
        (disclosure(SALT, "_sd", ["x"]),),
        (disclosure(SALT, "...", "x"),),
        (disclosure(SALT, "iss", "aeo.uy.example"),),
        (disclosure(SALT, "identifiers.CNPJ", "x"),),
        (disclosure(SALT, 7, "x"),),
        (disclosure(SALT, "ACTIVE"),),
        (disclosure(SALT, "address", {"_sd": ["x"]}),),
        (disclosure(SALT, "address", [{"...": "x"}]),),
        (disclosure(SALT, "roles", "importer"),),
        (disclosure(SALT, "roles", ["importer"]),),
        (disclosure(SALT, "roles", [{"...": "x", "y": 1}]),),
        (disclosure(SALT, "roles", [{"...": "x"}, {"...": "x"}]),),
        (disclosure(SALT, "status", "ACTIVE"), disclosure(SALT, "status", "REVOKED")),
        (b64u(b'["' + SALT.encode() + b'", "status","ACTIVE"]'),),
        (b64u(b'["' + SALT.encode() + b'","address",{"a":1,"a":2}]'),),
        (b64u(b"not json"),),
        (b64u(b"{}"),),
    ],
)
def test_a_signed_disclosure_of_another_form_is_refused(texts: tuple[str, ...]) -> None:
    with pytest.raises((Malformed, Unproven)):
        checked(signed_over(*texts))


def test_a_disclosure_reachable_twice_is_refused() -> None:
    element = disclosure(SALT, "importer")
    digest = b64u(sha256(element.encode()).digest())
    container = disclosure(SALT, "roles", [{"...": digest}])
    assert checked(signed_over(container, extra=(element,))).fields == {"roles": ["importer"]}
    twice = disclosure(SALT, "sites", [{"...": digest}])
    with pytest.raises(Unproven):
        checked(signed_over(container, twice, extra=(element,)))


@pytest.mark.parametrize("number", [{"value": "1"}, "CNPJ", {"scheme": 7}, {"scheme": "CNPJ.x"}])
def test_an_identifier_without_a_scheme_is_neither_issued_nor_accepted(number: Any) -> None:
    with pytest.raises(Malformed):
        issued({"identifiers": [number]})
    element = disclosure(SALT, number)
    container = disclosure(SALT, "identifiers", [{"...": b64u(sha256(element.encode()).digest())}])
    with pytest.raises(Malformed):
        checked(signed_over(container, extra=(element,)))


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({f"f{n}": 1 for n in range(DIGESTS + 1)}, TooMuch),
        ({"iss": "x"}, Malformed),
        ({"_sd": "x"}, Malformed),
        ({"address": {"_sd": "x"}}, Malformed),
        ({"address": [{"...": "x"}]}, Malformed),
        ({"roles": "importer"}, Malformed),
        ({"weight": 1.5}, Malformed),
    ],
)
def test_fields_that_cannot_be_hidden_are_not_issued(fields: dict[str, Any], error: type[Refusal]) -> None:
    with pytest.raises(error):
        issued(fields)


def test_text_that_looks_like_a_reserved_key_is_only_text() -> None:
    fields = {"legal_name": '{"_sd":"x","...":1}', "trade_names": ["...", "_sd"]}
    credential = issued(fields)
    assert checked(credential.present(fields)).fields == fields


def test_short_salts_are_refused() -> None:
    with pytest.raises(Malformed, match="16 to 64 bytes"):
        disclosures(FIELDS, salts=lambda group, count: [each[:15] for each in salts(group, count)])
    with pytest.raises(Malformed, match="takes 40 salts"):
        disclosures(FIELDS, salts=lambda group, count: salts(group, count - 1))


def test_a_flood_is_refused_before_it_is_read() -> None:
    with pytest.raises(TooMuch):
        checked(CREDENTIAL.jwt + "~" * 300)
    with pytest.raises(TooMuch):
        checked("x" * ((1 << 20) + 1))


def test_only_p256_keys_sign_and_verify() -> None:
    other = ec.derive_private_key(7, ec.SECP384R1())
    with pytest.raises(Malformed, match="P-256"):
        es256_signer(other)
    with pytest.raises(Malformed, match="P-256"):
        es256_verify(other.public_key(), bytes(64), b"")


@pytest.mark.parametrize("signature", [b"", bytes(64), bytes(63), bytes(65), b"\xff" * 64])
def test_a_signature_of_the_wrong_shape_does_not_hold(signature: bytes) -> None:
    with pytest.raises(Unproven):
        es256_verify(KEY.public_key(), signature, b"message")


def test_a_bare_list_covers_every_scheme_and_nothing_else() -> None:
    assert covered("identifiers.CNPJ", ["identifiers"])
    assert covered("identifiers.CNPJ", ["identifiers.CNPJ"])
    assert not covered("identifiers.CNPJ", ["identifiers.RUT", "legal_name"])


def packed(*paths: str) -> dict[str, Any]:
    return canonical.decode(canonical.encode(CREDENTIAL.packed(paths)))  # type: ignore[return-value]


def test_a_packed_presentation_is_the_same_presentation_and_much_shorter() -> None:
    paths = ("legal_name", "identifiers.CNPJ", "roles", "address")
    assert unpack(packed(*paths), issuer=ISSUER) == shown(*paths)
    assert pack(shown(*paths), issuer=ISSUER) == packed(*paths)
    assert verify_packed(packed(*paths), KEY.public_key(), issuer=ISSUER) == checked(shown(*paths))
    assert len(canonical.encode(packed(*paths))) < 0.75 * len(shown(*paths))


def test_a_credential_comes_back_from_its_fields_salts_and_signature() -> None:
    again = restore(FIELDS, salts=salts, issuer=ISSUER, kid="br-1", signature=CREDENTIAL.signature)
    assert again == CREDENTIAL
    es256_verify(KEY.public_key(), CREDENTIAL.signature, CREDENTIAL.signed_part)


@pytest.mark.parametrize(
    "change",
    [
        {"kid": "br-2"},
        {"kid": 1},
        {"digests": b64u(bytes(32 * DIGESTS))},
        {"digests": b64u(bytes(32 * DIGESTS - 1))},
        {"digests": "!"},
        {"signature": b64u(bytes(64))},
        {"signature": b64u(bytes(63))},
        {"signature": None},
        {"disclosures": "x"},
        {"disclosures": [[]]},
        {"disclosures": ["x"]},
        {"disclosures": [[SALT, "status", "ACTIVE"]]},
        {"disclosures": [["x", "status", "ACTIVE"]]},
        {"disclosures": [[SALT]]},
        {"disclosures": [[SALT, 1, 2, 3]]},
        {"more": 1},
    ],
)
def test_a_packed_presentation_of_another_form_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises((Malformed, Unproven)):
        verify_packed(packed("status") | change, KEY.public_key(), issuer=ISSUER)


def test_a_packed_presentation_of_another_issuer_or_with_too_much_is_refused() -> None:
    with pytest.raises(Unproven, match="signature"):
        verify_packed(packed("status"), KEY.public_key(), issuer="aeo.uy.example")
    opening = packed("status")["disclosures"][0]
    with pytest.raises(Unproven, match="twice"):
        verify_packed(packed() | {"disclosures": [opening] * 2}, KEY.public_key(), issuer=ISSUER)
    with pytest.raises(TooMuch):
        verify_packed(packed() | {"disclosures": [opening] * 257}, KEY.public_key(), issuer=ISSUER)
