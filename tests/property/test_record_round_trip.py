import re
from datetime import date
from typing import Any
from unicodedata import normalize

from hypothesis import given, settings
from hypothesis import strategies as st

from node.errors import Malformed
from node.ledger import canonical
from node.records.identifiers import COUNTRIES, SCHEMES, check
from node.records.model import REASON_CLASSES, ROLES, SCOPES, parse, to_json
from node.records.status import STATUSES

SLOW = settings(deadline=None, max_examples=60)

countries = st.sampled_from(sorted(COUNTRIES))
days = st.dates(date(1970, 1, 1), date(2100, 1, 1)).map(str)
moments = days.map(lambda day: f"{day}T12:34:56.789Z")


def texts(longest: int) -> st.SearchStrategy[str]:
    letters = st.characters(exclude_categories=("C", "Z"))
    return st.text(letters, min_size=1, max_size=longest // 4).map(lambda text: normalize("NFC", text))


def lists(of: st.SearchStrategy[Any], most: int) -> st.SearchStrategy[list[Any]]:
    return st.lists(of, min_size=1, max_size=most, unique_by=identity)


def identity(item: Any) -> object:
    """What may not stand twice in one list: for a number its value, whatever its purpose and days."""
    return item["value"] if type(item) is dict and "value" in item else canonical.encode(item)


def objects(required: dict[str, Any], optional: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(required, optional=optional)


numbers = objects(
    {"scheme": st.just("CTPAT"), "value": st.from_regex("[0-9A-Z]{4,17}", fullmatch=True)},
    {"purpose": texts(35), "valid_from": days},
)
addresses = objects(
    {"line": texts(70), "city": texts(35), "country": countries},
    {"postcode": texts(17), "subdivision": texts(9)},
)
consents = objects(
    {"given": st.just(False), "scope": st.just("GENERAL") | lists(st.sampled_from(("a", "b", "c")), 3)},
    {"withdrawn_on": days},
)
operators = countries.flatmap(
    lambda country: objects(
        {
            "country": st.just(country),
            "issuing_authority": objects({"code": texts(35), "name": texts(70)}, {}),
            "tin": st.from_regex("[0-9A-Z]{1,15}", fullmatch=True).map(lambda rest: country + rest),
            "identifiers": lists(numbers, 4),
            "authorisation_number": texts(35),
            "legal_name": texts(70),
            "address": addresses,
            "programme": st.just(f"{country}-AEO"),
            "national_types": lists(texts(35), 4),
            "scope": lists(st.sampled_from(SCOPES), 2),
            "status": st.sampled_from(STATUSES),
            "status_since": moments,
            "authorised_on": days,
            "mra_consent": consents,
            "effective_at": moments,
        },
        {
            "legal_name_latin": texts(70),
            "trade_names": lists(texts(70), 4),
            "sites": lists(
                objects({"name": texts(70), "address": addresses}, {"identifiers": lists(numbers, 2)}), 3
            ),
            "roles": lists(st.sampled_from(ROLES), 4),
            "status_reason_class": st.sampled_from(REASON_CLASSES),
            "mra_contact": texts(254),
            "successor": st.just("urn:aeo:br.example:1"),
            "source_system": texts(70),
            "source_updated_at": moments,
        },
    )
)
traders = countries.flatmap(
    lambda country: objects(
        {
            "kind": st.just("trader"),
            "country": st.just(country),
            "tin": st.from_regex("[0-9A-Z]{1,15}", fullmatch=True).map(lambda rest: country + rest),
            "identifiers": lists(numbers, 4),
            "legal_name": texts(70),
            "status": st.sampled_from(STATUSES),
            "status_since": moments,
            "effective_at": moments,
        },
        {
            "legal_name_latin": texts(70),
            "trade_names": lists(texts(70), 4),
            "address": addresses,
            "activity": st.from_regex("[0-9]{2,4}", fullmatch=True),
            "source_system": texts(70),
            "source_updated_at": moments,
        },
    )
)
records = operators | traders
values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@SLOW
@given(records)
def test_every_accepted_record_is_written_as_it_came(record: dict[str, Any]) -> None:
    assert to_json(parse(record)) == record


@SLOW
@given(records)
def test_every_accepted_record_can_be_signed(record: dict[str, Any]) -> None:
    assert canonical.decode(canonical.encode(to_json(parse(record)))) == record


@SLOW
@given(records, st.data())
def test_a_field_replaced_by_anything_is_refused_by_name_or_kept_as_it_is(
    record: dict[str, Any], data: st.DataObject
) -> None:
    name = data.draw(st.sampled_from(sorted(record.keys() - {"kind"})))
    record[name] = data.draw(values)
    try:
        operator = parse(record)
    except Malformed as refusal:
        refused = {re.split(r"[.\[]", broken.field)[0] for broken in refusal.problems}
    else:
        refused = set()
        assert to_json(operator) == record
    assert refused <= {name, "tin"}


@settings(deadline=None, max_examples=300)
@given(
    st.sampled_from(sorted(SCHEMES)),
    st.text("0123456789ABKXYZ -./&Ñ٣²\n\0", max_size=22) | st.text(max_size=22),
)
def test_a_number_has_one_canonical_form_or_is_refused(scheme: str, text: str) -> None:
    try:
        canonical_value = check(scheme, text)
    except Malformed:
        return
    assert check(scheme, canonical_value) == canonical_value
    assert canonical_value.isupper() or canonical_value.isdigit()
