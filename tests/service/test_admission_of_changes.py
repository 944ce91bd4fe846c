"""A change is new, changed, unchanged or refused; what is admitted is committed to, and nothing else is."""

from dataclasses import replace
from typing import Any

import pytest

from node.errors import Conflict, Damaged, Malformed, NotFound
from node.exchange import sealing, versions
from node.exchange.versions import Version
from node.ledger import canonical
from node.ledger.encoding import b64u
from node.ledger.entry import LedgerEntry, commitment
from node.records import model
from node.records.status import STATUSES, TRANSITIONS
from node.service.admit import AdmitList, AdmitOne, Amend, Author, Outcome
from node.service.batch import Batch
from node.store import channels, logs, records
from node.store.tables import LEDGER
from tests.service.world import Node, World, asking, operator

TIN = operator(1)["tin"]


@pytest.fixture
def br(strangers: World) -> Node:
    return strangers.br


def parsed(fields: dict[str, Any]) -> dict[str, Any]:
    return model.to_json(model.parse(fields))


def version(node: Node, record_id: str) -> Version:
    with node.parts.database.read() as connection:
        [stored] = records.newest(connection, [record_id])
    return versions.unseal(stored, node.parts.keys.store)


def entries(node: Node) -> list[LedgerEntry]:
    with node.parts.database.read() as connection:
        return [LedgerEntry.decode(e) for e in logs.entries(connection, LEDGER, 0, 1000)]


def rows(node: Node) -> tuple[int, int, int, int]:
    """Entries, versions, records and changes in the store."""
    with node.parts.database.read() as connection:
        stored = records.versions_behind(connection, 0, 1000)
        return (
            len(logs.entries(connection, LEDGER, 0, 1000)),
            len(stored),
            records.count(connection),
            channels.newest_change(connection),
        )


def test_new_then_changed_then_unchanged(br: Node) -> None:
    first = br.admit(operator(1))
    changed = br.admit(operator(1, legal_name="Caatinga Eletrônica Ltda"))
    again = br.admit(operator(1, legal_name="Caatinga Eletrônica Ltda"))
    assert [first.kind, changed.kind, again.kind] == ["new", "changed", "unchanged"]
    assert [first.version, changed.version, again.version] == [1, 2, 2]
    assert (again.ledger_seq, br.ledger().size) == (changed.ledger_seq, 3)


def test_a_record_keeps_its_id_and_no_two_share_one(br: Node) -> None:
    ids = {br.admit(operator(1, legal_name=name)).record_id for name in ("A", "B", "A")}
    assert len(ids) == 1
    assert br.admit(operator(2)).record_id not in ids


def test_a_record_id_tells_nothing_of_the_operator(br: Node) -> None:
    record_id = str(br.admit(operator(1)).record_id)
    assert TIN[2:] not in record_id
    assert record_id.startswith("urn:aeo:br:")


def test_the_ledger_entry_commits_to_the_version(br: Node) -> None:
    outcome = br.admit(operator(1))
    assert outcome.ledger_seq is not None
    entry, held = entries(br)[outcome.ledger_seq], version(br, str(outcome.record_id))
    assert (entry.country, entry.type, entry.commit) == ("BR", "record", held.commit())
    other = replace(held, private={"actor": "another"})
    assert other.commit() != entry.commit


def test_who_entered_a_change_stands_in_the_ledger_as_a_commitment_only(br: Node) -> None:
    author = Author("inspetora.silva", "motivo reservado", "mesa 7")
    outcome = br.settle(AdmitOne(parsed(operator(1)), author))
    held = version(br, str(outcome.record_id))
    assert held.private == {"version": 1, **author.private()}
    body = held.body
    assert set(body) == {"v", "record_id", "credential", "private"}
    for told in (canonical.encode(body), entries(br)[-1].encode(), held.credential.jwt.encode()):
        assert not any(secret.encode() in told for secret in author.private().values())


def test_a_guess_at_the_private_part_cannot_be_confirmed_without_its_salt(br: Node) -> None:
    held = version(br, str(br.admit(operator(1)).record_id))
    body = held.body
    guess = commitment(held.salt(), canonical.encode(held.private))
    assert body["private"] != b64u(guess), "the salt that partners are given does not open it"


def test_a_change_of_identical_fields_gives_another_commitment(strangers: World) -> None:
    br = strangers.br
    first = br.admit(operator(1))
    br.admit(operator(1, legal_name="Outro"))
    back = br.admit(operator(1))
    assert first.ledger_seq is not None
    assert back.ledger_seq is not None
    found = entries(br)
    assert found[first.ledger_seq].commit != found[back.ledger_seq].commit


def test_another_countrys_operator_is_refused(strangers: World) -> None:
    before = rows(strangers.uy)
    with pytest.raises(Conflict, match="own operators only"):
        strangers.uy.admit(operator(1))
    assert rows(strangers.uy) == before


def test_changing_an_unknown_operator_is_refused(br: Node) -> None:
    with pytest.raises(NotFound):
        br.amend(TIN, status="SUSPENDED")


@pytest.mark.parametrize("old", STATUSES)
@pytest.mark.parametrize("new", STATUSES)
def test_a_status_moves_along_the_life_cycle_only(br: Node, old: str, new: str) -> None:
    br.admit(operator(1, status=old))
    before = rows(br)
    if old == new or (old, new) in TRANSITIONS:
        assert br.amend(TIN, status=new).kind == ("unchanged" if old == new else "changed")
    else:
        with pytest.raises(Conflict):
            br.amend(TIN, status=new)
        assert rows(br) == before


def test_a_malformed_change_leaves_nothing(br: Node) -> None:
    br.admit(operator(1))
    before = rows(br)
    with pytest.raises(Malformed) as refusal:
        br.amend(TIN, valid_to="2026-02-30", status="HAPPY")
    assert {p.field for p in refusal.value.problems} == {"valid_to", "status"}
    assert rows(br) == before


def test_a_field_is_removed_by_giving_none(br: Node) -> None:
    br.admit(operator(1))
    br.amend(TIN, mra_contact=None)
    assert "mra_contact" not in br.look_up(TIN)["fields"]


def test_in_a_list_each_operator_stands_for_itself(br: Node) -> None:
    br.admit(operator(1))
    br.admit(operator(2, status="ANNULLED"))
    work = AdmitList(
        [
            parsed(each)
            for each in (operator(1), operator(2), operator(3), operator(3), operator(4, country="BR"))
        ],
        Author("importer"),
    )
    assert [each.kind for each in br.settle(work)] == ["unchanged", "refused", "new", "unchanged", "new"]
    assert br.settle(work)[1].message
    assert [each.kind for each in br.settle(work)] == ["unchanged", "refused", *["unchanged"] * 3]


def test_a_dry_run_changes_nothing_and_foresees_the_outcome(br: Node) -> None:
    br.admit(operator(1))
    listed = [parsed(operator(1, legal_name="Outro")), parsed(operator(2))]
    before = rows(br)
    foreseen = br.settle(AdmitList(listed, Author("importer"), dry_run=True))
    assert rows(br) == before
    done = br.settle(AdmitList(listed, Author("importer")))
    assert [each.kind for each in foreseen] == [each.kind for each in done] == ["changed", "new"]


def test_the_same_key_and_request_gets_the_first_answer_whatever_came_between(br: Node) -> None:
    first = br.admit(operator(1), key="k")
    br.admit(operator(1, legal_name="Outro"))
    before = rows(br)
    assert br.admit(operator(1), key="k") == first
    assert rows(br) == before


def test_the_same_key_for_another_request_is_refused(br: Node) -> None:
    br.admit(operator(1), key="k")
    before = rows(br)
    with pytest.raises(Conflict, match="idempotency key"):
        br.admit(operator(2), key="k")
    assert rows(br) == before


def test_a_key_belongs_to_its_caller(br: Node) -> None:
    br.admit(operator(1), key="k")
    other = AdmitOne(parsed(operator(2)), Author("somebody else"), "k")
    assert br.settle(other).kind == "new"


def test_a_refused_request_does_not_use_up_its_key(br: Node) -> None:
    br.admit(operator(1, status="ANNULLED"))
    with pytest.raises(Conflict):
        br.admit(operator(1), key="k")
    assert br.admit(operator(2), key="k").kind == "new"


def test_every_version_can_be_read_again_with_both_clocks(strangers: World) -> None:
    br = strangers.br
    br.admit(operator(1))
    strangers.days_pass()
    br.amend(TIN, status="SUSPENDED", effective_at="2026-11-20T00:00:00.000Z")
    with asking(br) as (connection, answers):
        told = answers.history(connection, answers.tellers(), TIN)["versions"]
    assert [each["status"] for each in told] == ["ACTIVE", "SUSPENDED"]
    assert [each["recorded_at"][:10] for each in told] == ["2026-11-22", "2026-11-23"]
    assert told[1]["effective_at"][:10] == "2026-11-20"
    assert [each["by"] for each in told] == ["officer", "officer"]


def test_time_in_the_ledger_never_goes_back(strangers: World) -> None:
    strangers.br.admit(operator(1))
    strangers.days_pass(-3)
    strangers.br.admit(operator(2))
    times = [entry.time for entry in entries(strangers.br)]
    assert times == sorted(times)


# Lists and hands: neither undoes the other.

DAY, BEFORE, AFTER = "2026-11-22", "2026-11-21", "2026-11-23"


def midnight(day: str) -> str:
    return f"{day}T00:00:00.000Z"


def dated(day: str, **changed: Any) -> dict[str, Any]:
    """A row of a list, whose status is of this day."""
    return operator(1, status_since=midnight(day), effective_at=midnight(day), **changed)


def listed(node: Node, fields: dict[str, Any], dry_run: bool = False) -> Outcome:
    work = AdmitList([parsed(fields)], Author("importer", "import", "list.csv"), dry_run)
    outcome: Outcome = node.settle(work)[0]
    return outcome


def by_hand(node: Node, status: str, at: str, **changed: Any) -> Outcome:
    return node.amend(TIN, status=status, status_since=at, effective_at=at, **changed)


def consent(node: Node, given: bool, scope: Any = "GENERAL") -> Outcome:
    """As the route of consent asks for it."""
    day = {"from": DAY} if given else {"withdrawn_on": DAY}
    change = {"mra_consent": {"given": given, "scope": scope, **day}}
    outcome: Outcome = node.settle(Amend(TIN, {"given": given, "scope": scope}, change, Author("officer")))
    return outcome


def fields_of(node: Node) -> dict[str, Any]:
    found: dict[str, Any] = node.look_up(TIN)["fields"]
    return found


def test_a_list_does_not_undo_a_suspension_of_long_ago_that_was_entered_after_it(br: Node) -> None:
    listed(br, dated("2026-05-16"))
    by_hand(br, "SUSPENDED", "2025-02-01T00:00:00.000Z")
    before = rows(br)
    for dry_run in (True, False):
        refused = listed(br, dated("2026-05-16"), dry_run)
        assert refused.kind == "refused"
        assert f"not after the day on which the status was set by hand, {DAY}" in refused.message
    assert rows(br) == before


@pytest.mark.parametrize(("day", "kind"), [(BEFORE, "refused"), (DAY, "refused"), (AFTER, "changed")])
def test_a_list_changes_a_status_set_by_hand_only_with_a_later_day(
    strangers: World, day: str, kind: str
) -> None:
    br = strangers.br
    listed(br, dated("2026-05-16"))
    by_hand(br, "SUSPENDED", "2025-02-01T00:00:00.000Z")
    strangers.days_pass(3)
    assert listed(br, dated(day)).kind == kind


@pytest.mark.parametrize("between", ["consent", "list"])
def test_the_hand_behind_a_status_is_remembered_through_other_changes(br: Node, between: str) -> None:
    listed(br, dated("2026-05-16"))
    by_hand(br, "SUSPENDED", "2025-02-01T00:00:00.000Z")
    if between == "consent":
        consent(br, given=True)
    else:
        row = operator(1, status="SUSPENDED", status_since=midnight("2026-03-01"), legal_name="Outro")
        assert listed(br, row | {"effective_at": midnight("2026-03-01")}).kind == "changed"
    assert listed(br, dated("2026-05-16")).kind == "refused"


def test_a_list_goes_on_changing_what_only_lists_said(br: Node) -> None:
    listed(br, dated("2026-05-16"))
    assert listed(br, dated(BEFORE, status="SUSPENDED")).kind == "changed"
    assert listed(br, dated(DAY)).kind == "changed"
    assert listed(br, dated(BEFORE)).kind == "refused"


def test_a_reason_that_says_import_makes_no_list_of_a_change_by_hand(br: Node) -> None:
    listed(br, dated("2026-05-16"))
    at = "2025-02-01T00:00:00.000Z"
    changes = {"status": "SUSPENDED", "status_since": at, "effective_at": at}
    br.settle(Amend(TIN, changes, changes, Author("officer", "import")))
    assert listed(br, dated("2026-05-16")).kind == "refused"


def test_a_list_without_a_name_is_a_list_all_the_same(br: Node) -> None:
    br.settle(AdmitList([parsed(dated("2026-05-16"))], Author("importer")))
    assert listed(br, dated(BEFORE, status="SUSPENDED")).kind == "changed"


def test_a_list_is_put_off_while_it_cannot_be_told_who_set_the_status(br: Node) -> None:
    listed(br, dated("2026-05-16"))
    with br.parts.database.write() as connection:
        batch = Batch(br.parts, connection)
        for changes in ({"legal_name": "A"}, {"legal_name": "B"}):
            Amend(TIN, changes, changes, Author("officer")).run(batch)
        row = parsed(dated(DAY, status="SUSPENDED", legal_name="B"))
        [outcome] = AdmitList([row], Author("importer")).run(batch)
        batch.commit()
    assert (outcome.kind, "import it again" in outcome.message) == ("refused", True)


@pytest.mark.parametrize("at", [f"{DAY}T10:30:00.000Z", f"{DAY}T00:00:00.000Z"])
def test_a_list_that_says_the_same_status_of_the_same_day_leaves_its_moment(br: Node, at: str) -> None:
    listed(br, dated("2026-05-16"))
    by_hand(br, "SUSPENDED", at, status_reason_class="UNDER_REVIEW")
    assert listed(br, dated(DAY, status="SUSPENDED")).kind == "unchanged"
    moved = dated(DAY, status="SUSPENDED", address=operator(1)["address"] | {"line": "Rua Nova"})
    assert listed(br, moved).kind == "changed"
    told = fields_of(br)
    assert (told["status_since"], told["effective_at"], told["address"]["line"]) == (at, at, "Rua Nova")
    assert told["status_reason_class"] == "UNDER_REVIEW"


def test_a_more_precise_moment_of_the_same_day_is_taken_over(br: Node) -> None:
    listed(br, dated(DAY))
    at = f"{DAY}T10:30:00.000Z"
    assert listed(br, operator(1, status_since=at, effective_at=at)).kind == "changed"
    assert listed(br, dated(DAY)).kind == "unchanged"
    assert fields_of(br)["effective_at"] == at


def test_a_day_ends_where_it_ends_last(strangers: World) -> None:
    br = strangers.br
    listed(br, dated("2026-05-16"))
    strangers.clock.ms += 14 * 3_600_000
    by_hand(br, "SUSPENDED", f"{AFTER}T01:30:00.000Z")
    assert listed(br, dated(DAY, status="SUSPENDED")).kind == "unchanged"
    assert listed(br, dated(BEFORE, status="SUSPENDED")).kind == "refused"


def test_a_consent_by_hand_is_no_reason_against_a_later_list(br: Node) -> None:
    listed(br, dated("2026-05-16"))
    consent(br, given=False)
    consent(br, given=True)
    assert fields_of(br)["effective_at"] == midnight("2026-05-16")
    moved = dated("2026-05-16", address=operator(1)["address"] | {"line": "Rua Nova"})
    moved["mra_consent"] = {"given": True, "scope": "GENERAL"}
    assert listed(br, moved).kind == "changed"
    assert fields_of(br)["mra_consent"] == {"given": True, "scope": "GENERAL", "from": DAY}


def test_a_list_does_not_give_again_a_consent_that_was_withdrawn_by_hand(br: Node) -> None:
    said = {"given": True, "scope": "GENERAL"}
    listed(br, dated("2026-05-16", mra_consent=said))
    consent(br, given=False)
    for _ in range(2):
        refused = listed(br, dated("2026-05-16", mra_consent=said))
        assert refused.kind == "refused"
        assert f"on {DAY} it was withdrawn" in refused.message
        assert listed(br, dated("2026-05-16", mra_consent=said | {"given": False})).kind == "unchanged"


def test_a_list_does_not_widen_a_consent_that_was_given_by_hand(br: Node) -> None:
    listed(br, dated("2026-05-16", mra_consent={"given": True, "scope": "GENERAL"}))
    consent(br, True, ["one", "two"])
    for scope, kind in (("GENERAL", "refused"), (["one", "three"], "refused"), (["one"], "changed")):
        assert listed(br, dated("2026-05-16", mra_consent={"given": True, "scope": scope})).kind == kind


def test_a_list_withdraws_a_consent_and_gives_it_again_where_no_hand_said_otherwise(br: Node) -> None:
    listed(br, dated("2026-05-16"))
    consent(br, given=True)
    for given in (False, True):
        row = dated("2026-05-16", mra_consent={"given": given, "scope": "GENERAL"})
        assert listed(br, row).kind == "changed"


@pytest.mark.parametrize("given", [True, False])
def test_a_consent_that_is_said_twice_is_unchanged(br: Node, given: bool) -> None:
    br.admit(operator(1, mra_consent={"given": not given, "scope": "GENERAL"}))
    assert [consent(br, given).kind for _ in range(2)] == ["changed", "unchanged"]
    assert consent(br, given, ["one"]).kind == "changed"


@pytest.mark.parametrize(
    ("status", "kind"), [("SUSPENDED", "refused"), ("REVOKED", "refused"), ("ANNULLED", "changed")]
)
def test_only_an_annulment_takes_effect_before_the_authorisation(br: Node, status: str, kind: str) -> None:
    br.admit(operator(1))
    before = rows(br)
    if kind == "refused":
        with pytest.raises(Conflict, match="before the operator was authorised"):
            by_hand(br, status, "2010-01-01T00:00:00.000Z")
        assert rows(br) == before
    else:
        assert by_hand(br, status, "2010-01-01T00:00:00.000Z").kind == kind
        assert br.amend(TIN, mra_contact=None).kind == "changed"


def test_a_new_operator_that_takes_effect_before_its_authorisation_is_refused(br: Node) -> None:
    assert listed(br, dated("2010-01-01")).kind == "refused"
    assert listed(br, dated("2025-01-10")).kind == "new"


def test_a_version_of_an_older_form_is_named_with_what_to_do(br: Node) -> None:
    tin = br.admit(operator(1)).tin
    with br.parts.database.read() as connection:
        stored = records.newest_by_tin(connection, [tin])[tin]
    held = versions.unseal(stored, br.parts.keys.store)
    owner = f"aeo/version/{stored.record_id}/{stored.version}".encode()
    sealed = sealing.seal(held.key, b'{"fields":{},"jwt":"","private":{}}', owner, bytes(12))
    with pytest.raises(Damaged, match="aeo init"):
        versions.unseal(replace(stored, sealed=sealed), br.parts.keys.store)
