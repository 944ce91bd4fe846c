from hashlib import sha256
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st

from node.ledger import canonical
from node.records.credential import covered, es256_signer, issue, pack, unpack, verify

KEY = ec.derive_private_key(11, ec.SECP256R1())
ISSUER = "aeo.uy.example"

texts = st.text(st.characters(codec="latin-1"), max_size=20)
elements = {
    "identifiers": st.fixed_dictionaries({"scheme": st.sampled_from(("RUT", "LEI", "EORI")), "value": texts}),
    "roles": texts,
    "sites": st.fixed_dictionaries({"name": texts}),
}
plain = st.dictionaries(st.from_regex("f[a-z_]{0,5}", fullmatch=True), texts | st.booleans(), max_size=20)
listed = st.fixed_dictionaries({}, optional={name: st.lists(of, max_size=9) for name, of in elements.items()})
fields = st.builds(lambda one, other: {**one, **other}, plain, listed)
paths = ["roles", "sites", "identifiers", "identifiers.RUT", "identifiers.LEI", "f", "fa"]


def expected(record: dict[str, Any], wanted: set[str]) -> dict[str, Any]:
    """What a reader may see, worked out from the record alone."""
    seen = {name: value for name, value in record.items() if name in wanted and name != "identifiers"}
    schemes = {path.partition(".")[2] for path in wanted if path.startswith("identifiers")}
    if schemes and "identifiers" in record:
        numbers = record["identifiers"]
        seen["identifiers"] = [n for n in numbers if "" in schemes or n["scheme"] in schemes]
    return seen


def unordered(record: dict[str, Any]) -> dict[str, Any]:
    return {
        name: sorted(value, key=canonical.encode) if type(value) is list else value
        for name, value in record.items()
    }


@settings(deadline=None, max_examples=80)
@given(fields, st.sets(st.sampled_from(paths)), st.binary(max_size=8))
def test_a_presentation_proves_exactly_the_paths_it_was_made_for(
    record: dict[str, Any], wanted: set[str], seed: bytes
) -> None:
    credential = issue(
        record,
        salts=lambda group, count: [sha256(seed + f"{group}{n}".encode()).digest() for n in range(count)],
        issuer=ISSUER,
        kid="uy-1",
        sign=es256_signer(KEY),
    )
    presentation = credential.present(sorted(wanted))
    verified = verify(presentation, KEY.public_key(), issuer=ISSUER)
    assert unordered(verified.fields) == unordered(expected(record, wanted))
    assert all(covered(path, wanted) for path in verified.paths)
    assert verified.jwt == credential.jwt
    packed = pack(presentation, issuer=ISSUER)
    assert unpack(packed, issuer=ISSUER) == presentation
    assert packed == credential.packed(sorted(wanted))
