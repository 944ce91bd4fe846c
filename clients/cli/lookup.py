"""`aeo lookup`: is this operator an AEO, may I rely on it, can I prove it?"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any

import typer

from clients.cli.access import Purpose, Reference, state
from clients.cli.clauses import onward
from clients.cli.output import FINE, NOTHING_FOUND, join, say, say_json, say_pairs
from clients.cli.session import Session, on_node
from clients.sdk.answers import (
    AsOf,
    BindingClauses,
    Freshness,
    OperatorAnswer,
    Recognition,
    Status,
    agreed_number,
)
from node.errors import Malformed, problem


@on_node
def lookup(
    session: Session,
    identifiers: Annotated[
        list[str] | None,
        typer.Argument(metavar="ID...", help="CNPJ, RUT, EORI, AEO code, TIN ...", show_default=False),
    ] = None,
    scheme: Annotated[
        str | None, typer.Option(help="Only identifiers of this scheme.", show_default=False)
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Search by name instead: suggestions only.", show_default=False)
    ] = None,
    purpose: Purpose = "",
    reference: Reference = "",
    effective: Annotated[
        str, typer.Option(help="What held then, a day or a moment; now if absent.", show_default=False)
    ] = "",
    known: Annotated[
        str, typer.Option(help="As far as was known then; now if absent.", show_default=False)
    ] = "",
) -> int:
    """Look operators up by any identifier, or search them by name; exit code 4 when none is found."""
    state(session, purpose, reference)
    asked = name if name is not None else "".join(identifiers or ())
    if bool(identifiers) == (name is not None) or not asked.strip():
        raise Malformed("nothing to look up", do="give identifiers, or --name, but not both")
    if effective or known:
        if name is not None:
            raise Malformed("a search by name is of now", do="give identifiers with --effective and --known")
        return _look_up_as_of(
            session, identifiers or [], _scheme(identifiers or [], scheme), effective, known
        )
    return _search(session, name) if name else _look_up(session, identifiers or [], scheme)


def _look_up(session: Session, identifiers: list[str], scheme: str | None) -> int:
    of = _scheme(identifiers, scheme)
    results = session.node.look_up_list(identifiers, of)
    if session.as_json:
        say_json({"results": results})
    else:
        titles = _titles(session, [answer for answers in results.values() for answer in answers])
        for identifier, answers in results.items():
            if not answers:
                say(f"{identifier}: {not_known(identifier, of)}")
            for answer in answers:
                say_card(answer, titles, identifier)
    return FINE if any(results.values()) else NOTHING_FOUND


def _look_up_as_of(
    session: Session, identifiers: list[str], scheme: str | None, effective: str, known: str
) -> int:
    """What held then, of each operator that has one of these identifiers, or had when it left our view."""
    told, is_any = dict[str, list[AsOf]](), False
    for identifier, answers in session.node.look_up_list(identifiers, scheme).items():
        tins = dict.fromkeys(answer["tin"] or identifier for answer in answers)
        told[identifier] = [session.node.as_of(tin, effective, known) for tin in tins]
        is_any = is_any or bool(tins)
    if session.as_json:
        say_json({"results": told})
        return FINE if is_any else NOTHING_FOUND
    for identifier, found in told.items():
        if not found:
            say(f"{identifier}: {not_known(identifier, scheme)}")
        for each in found:
            _say_as_of(each)
    return FINE if is_any else NOTHING_FOUND


def _say_as_of(found: AsOf) -> None:
    say(f"{found['tin']} on {found['effective']}, as far as was known on {found['known']}")
    for answer in found["answers"]:
        fields, clocks = answer["fields"] or {}, answer["clocks"] or {}
        own = "own record" if answer["source"] == "own" else "as told by it"
        say_pairs(
            [
                ("name", fields.get("legal_name") or ""),
                ("issuer", f"{answer['country']}, {own}"),
                ("status", _status(answer["status"])),
                ("recognition", _recognition(answer["recognition"])),
                ("in effect", clocks.get("effective_at") or ""),
                ("recorded", clocks.get("recorded_at") or ""),
                ("told", clocks.get("told_at") or ""),
                ("received", clocks.get("received_at") or ""),
            ]
        )


def _scheme(identifiers: list[str], scheme: str | None) -> str | None:
    """The scheme to look in; `Malformed` when there is none such, or an identifier without characters."""
    empty = [each for each in identifiers if not any(map(str.isalnum, each))]
    if empty:
        rule = "must have a letter or digit"
        told = [problem("ID", each, rule) for each in empty]
        raise Malformed("an identifier is empty", problems=told, do="leave it out, or give the number")
    if scheme is None:
        return None
    from clients.sdk.numbers import scheme_of

    return scheme_of(scheme)


def not_known(identifier: str, scheme: str | None = None) -> str:
    """That nothing was found, and what speaks for a number that was mistyped."""
    from clients.sdk.numbers import doubt, fault

    why = doubt(identifier) if scheme in (None, "TIN") else fault(str(scheme), identifier)
    said = "not recorded here, and never disclosed to us"
    return f"{said}; {why}; check it with its register" if why else said


def _search(session: Session, name: str) -> int:
    found = session.node.search(name)
    if session.as_json:
        say_json(found)
        return FINE if found["suggestions"] else NOTHING_FOUND
    titles = _titles(session, [each["operator"] for each in found["suggestions"]])
    for suggestion in found["suggestions"]:
        say(f"{suggestion['score']} % like it:")
        say_card(suggestion["operator"], titles)
    say(f"{len(found['suggestions'])} of {found['searched']} names; {found['note']}")
    return FINE if found["suggestions"] else NOTHING_FOUND


def _titles(session: Session, answers: Iterable[OperatorAnswer]) -> dict[str, str]:
    """The title of each agreement, asked for where an own operator's partners are to be named."""
    if not any(answer["partners"] for answer in answers):
        return {}
    return {each["agreement"]: each["title"] for each in session.node.agreements()}


def say_card(answer: OperatorAnswer, titles: Mapping[str, str], asked: str = "") -> None:
    """Print one answer as a person reads it: who, what status, may I rely on it, why, how fresh.

    `asked`: the identifier that it answers; of a record that left our view nothing else is known.
    """
    fields = answer["fields"] or {}
    say(fields.get("legal_name") or asked or answer["record_id"])
    say_pairs(
        [
            ("TIN", answer["tin"]),
            (
                "issuer",
                f"{answer['country']}, {'own record' if answer['source'] == 'own' else 'as told by it'}",
            ),
            ("kind", _kind(fields)),
            ("authorised", _authorised(fields)),
            ("status", _status(answer["status"])),
            ("number", " ".join(agreed_number(answer) or ())),
            ("recognition", _recognition(answer["recognition"])),
            ("because", answer["because"] or ""),
            *(("also", _recognition(other["recognition"])) for other in answer["others"]),
            *_partners(answer["partners"] or [], titles),
            ("proof", _proof(answer["provenance"])),
            ("freshness", _freshness(answer["freshness"])),
            *_clauses(answer["clauses"]),
            *(("ALERT", alert) for alert in answer["alerts"]),
        ]
    )


def _kind(fields: dict[str, Any]) -> str:
    """What a record is of that is no operator's, with its activity."""
    if "kind" not in fields:
        return ""
    activity = f", activity {fields['activity']} (ISIC Rev. 4)" if "activity" in fields else ""
    return f"{fields['kind']}, not an authorised operator{activity}"


def _authorised(fields: dict[str, Any]) -> str:
    told = [
        join(fields.get("national_types", ())),
        fields.get("authorisation_number"),
        fields.get("valid_to"),
    ]
    return ", ".join(f"until {each}" if each is told[2] else str(each) for each in told if each)


def _status(status: Status) -> str:
    since = f" since {status['since'][:10]}" if status["since"] else ""
    stated = f" (stated: {status['stated']})" if status["stated"] not in (None, status["value"]) else ""
    return f"{status['value']}{since}{stated}"


def _recognition(recognition: Recognition | None) -> str:
    if recognition is None:
        return ""
    under = f"under {recognition['title']} ({recognition['agreement'][:10]})"
    if recognition["applies"]:
        return f"YES, {under}"
    return f"NO, {under}: {'; '.join(recognition['reasons'])}"


def _clauses(clauses: BindingClauses | None) -> Iterator[tuple[str, str]]:
    """What binds whoever reads this."""
    if clauses is not None:
        yield "purpose", clauses["purpose"]
        yield "this data", f"{onward(clauses['onward_transfer'])}; kept until {clauses['keep_until']} at most"


def _partners(partners: list[dict[str, Any]], titles: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for partner in partners:
        decision = partner["decision"]
        why = f"withheld: {decision['reason']}" if decision["answer"] == "withhold" else "shared"
        seen = "sees it" if partner["sees_it"] else "does not see it"
        agreement = partner["agreement"]
        under = f"under {titles.get(agreement, 'agreement')} ({agreement[:10]})"
        yield f"partner {partner['partner']}", f"{seen}, {under}: {why}; {partner['state']}"


def _proof(provenance: dict[str, Any]) -> str:
    ledger = provenance["ledger"]
    proven = f", {ledger['proven_size']} entries proven" if "proven_size" in ledger else ""
    entry = "the issuer's ledger" if ledger["seq"] is None else f"entry {ledger['seq']}"
    return f"{entry} of {ledger['origin']}{proven}"


def _freshness(freshness: Freshness | None) -> str:
    if freshness is None:
        return ""
    stale = "" if freshness["fresh"] else "STALE: "
    return f"{stale}proven {freshness['age_s']} s ago, the limit is {freshness['limit_s']} s"
