"""`aeo mra diff`: what an arrangement would let out otherwise than another, before anyone signs it."""

from collections import Counter
from typing import Annotated, Any, Final

import typer

from clients.cli import readymade
from clients.cli.output import FINDINGS, FINE, join, say, say_json, say_table
from clients.cli.progress import steps
from clients.cli.session import Session, on_node
from node.errors import Malformed

NOTHING: Final = "nothing"
DRAFTED_WITH: Final = "mra_v2"
"""The contract of `aeo mra draft`, unless another is named."""
KINDS: Final = {
    "leaves": "would newly leave",
    "stops": "would stop leaving",
    "changes": "would leave with other fields",
}
COUNTED: Final = (*KINDS, "withheld")


@on_node
def diff(
    session: Session,
    old: Annotated[
        str, typer.Argument(metavar="OLD", help="An agreement's id, terms by name or file, or: nothing.")
    ],
    new: Annotated[str, typer.Argument(metavar="NEW", help="An agreement's id, or terms by name or file.")],
    contract: Annotated[
        str | None,
        typer.Option(
            help="Of terms: a published contract, or a file; else OLD's, or mra_v2 where OLD has none.",
            show_default=False,
        ),
    ] = None,
    old_contract: Annotated[
        str | None, typer.Option(help="Of OLD's terms, if it is another.", show_default=False)
    ] = None,
    most: Annotated[int, typer.Option(help="List so many differences.", min=0, max=1_000_000)] = 50,
) -> int:
    """Say what would newly leave this node, stop leaving or change, if NEW stood in OLD's place today.

    All own records are decided under both, as if in operation; nothing is changed. Exit code 1 when the
    contract would err. What would newly arrive is for the partner to say: it holds its records.
    """
    if new == NOTHING:
        do = "name it first: `aeo mra diff nothing NEW`"
        raise Malformed("there is nothing to preview", why="`nothing` stands for no agreement before", do=do)
    is_agreed = old != NOTHING and not readymade.is_terms(old)
    by_old = contract is None and is_agreed and readymade.is_terms(new)
    text = _contract_of(session, old) if by_old else readymade.contract_of(contract or DRAFTED_WITH)
    before = None if old == NOTHING else _arrangement(old, old_contract, text)
    told = _all_pages(session, before, _arrangement(new, None, text), most)
    if session.as_json:
        say_json(told)
    else:
        _say(told)
    whys = [
        why for each in told["directions"].values() for kind in ("stops", "withheld") for why in each[kind]
    ]
    return FINDINGS if any(why.startswith("contract error:") for why in whys) else FINE


def _arrangement(name: str, contract: str | None, text: str) -> dict[str, Any]:
    """What is meant: terms where there are such, else an agreement that the node knows."""
    if not readymade.is_terms(name):
        return {"agreement": name}
    return {
        "terms": readymade.terms_of(name),
        "contract": readymade.contract_of(contract) if contract else text,
    }


def _contract_of(session: Session, agreement: str) -> str:
    """The text of the contract that an agreement was drafted with."""
    return str(session.node.agreement(agreement)["document"]["contract"]["text"])


def _all_pages(
    session: Session, old: dict[str, Any] | None, new: dict[str, Any], most: int
) -> dict[str, Any]:
    """Every page added up; of the differences that they list no more than `most` are kept."""
    page = session.node.compare_arrangements(old, new)
    told: dict[str, Any] = dict(page)
    after = page["next"]
    del told["next"]
    with steps("comparing", page["records"], "records") as tell:
        while after is not None:
            tell(told["looked_at"], of=page["records"])
            page = session.node.compare_arrangements(old, new, after)
            after = page["next"]
            _add(told, dict(page), most)
    told["differences"] = sum(
        sum(each[kind].values()) for each in told["directions"].values() for kind in KINDS
    )
    return told | {"listed": told["listed"][:most]}


def _add(told: dict[str, Any], page: dict[str, Any], most: int) -> None:
    told["looked_at"] += page["looked_at"]
    told["listed"] = (told["listed"] + page["listed"])[:most]
    for name, each in page["directions"].items():
        counts = told["directions"][name]
        counts["shared_alike"] += each["shared_alike"]
        for kind in COUNTED:
            counts[kind] = dict(Counter(counts[kind]) + Counter(each[kind]))


def _say(told: dict[str, Any]) -> None:
    say(f"{told['looked_at']:,} own records, as of {told['day']}, as if in operation; nothing is changed.")
    say("What the texts say otherwise:")
    for each in told["clauses"] or ["nothing"]:
        say(f"  {each}")
    rows = [row for name, each in told["directions"].items() for row in _counted(name, each)]
    say_table(("direction", "records", "how many", "why, or which fields"), rows, _goes_nowhere(told))
    for name in (name for name, each in told["directions"].items() if each["on_demand"]):
        say(f"{name}: on demand: what may be told is told when the partner asks, and nothing by itself.")
    listed = [[each["direction"], each["tin"], KINDS[each["change"]], _what(each)] for each in told["listed"]]
    if listed:
        say_table(("direction", "TIN", "record", "why, or which fields"), listed, "")
    if told["differences"] > len(listed):
        say(f"These are {len(listed):,} of {told['differences']:,} differences; more with --most.")
    say(f"Note: {told['arriving']}.")


def _goes_nowhere(told: dict[str, Any]) -> str:
    return f"No direction goes out of {told['issuer']} under either."


def _counted(name: str, each: dict[str, Any]) -> list[list[object]]:
    """The rows of a direction: of each kind of record the most frequent first."""
    before = {"leaves": "withheld before: "}
    rows: list[list[object]] = [
        [name, KINDS[kind], count, before.get(kind, "") + why]
        for kind in KINDS
        for why, count in _most_first(each[kind])
    ]
    rows.append([name, "leave as before", each["shared_alike"], ""])
    return rows + [[name, "stay as before", count, why] for why, count in _most_first(each["withheld"])]


def _most_first(counts: dict[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda each: (-each[1], each[0]))


def _what(each: dict[str, Any]) -> str:
    """Why a record leaves or stays, or which of its fields come and go."""
    if each["change"] == "stops":
        return str(each["reason"])
    gained, lost = join(each.get("gained", ())), join(each.get("lost", ()))
    return "; ".join(filter(None, (f"gains {gained}" if gained else "", f"loses {lost}" if lost else "")))
