"""`aeo demo`: the main job, before your eyes, with figures measured in this run.

Every number printed is read from the two nodes or timed here; nothing is assumed. The operators are
invented (see `data/README.md`).
"""

import shutil
import tempfile
import time
from pathlib import Path
from shlex import quote
from typing import Any

from rich.console import Console

from clients.demo.nodes import DemoNode, start
from clients.demo.waiting import until
from clients.sdk import importing
from contracts.rules import text as contract_text
from contracts.terms import terms
from node.advice import program

COUNTRIES = {"BR": "Customs of Brazil (demonstration)", "UY": "Customs of Uruguay (demonstration)"}
LISTS = {"BR": ("br_oea.csv", "br-oea"), "UY": ("uy_oec.csv", "uy-oec")}
DATA = Path(__file__).parent / "data"
LIMIT_S = 20.0

Operator = dict[str, Any]


def main(keep: bool = False) -> int:
    """Run the demonstration; with `keep` leave the nodes running and say how to reach them."""
    folder = Path(tempfile.mkdtemp(prefix="aeo-demo-"))
    story = Story()
    nodes: list[DemoNode] = []
    try:
        nodes = story.start_nodes(folder)
        story.tell(*nodes)
    finally:
        if not keep:
            for node in nodes:
                node.stop()
            shutil.rmtree(folder, ignore_errors=True)
    if keep:
        story.say_how_to_reach(nodes)
    return 0


class Story:
    """The chapters, in order; each prints its heading and what was measured."""

    def __init__(self) -> None:
        self._out = Console(highlight=False, width=min(Console().width, 96))
        self._chapter = 0
        self._begun = time.monotonic()

    def start_nodes(self, folder: Path) -> list[DemoNode]:
        """Two processes, each with its own keys, store and ledger."""
        self._heading("Two administrations, a node each")
        nodes = start(COUNTRIES, folder)
        for node in nodes:
            self._say(f"{node.country}  {node.name}  {node.url}")
        return nodes

    def tell(self, br: DemoNode, uy: DemoNode) -> None:
        """Everything after the start."""
        self._pin_cards(br, uy)
        agreement = self._sign(br, uy)
        self._heading("Each imports its national list; every record is signed and in the ledger")
        lists = {node.country: self._import(node) for node in (br, uy)}
        self._show_what_crossed(br, uy, agreement)
        chosen = self._look_up(uy, lists["BR"])
        self._suspend(br, uy, chosen)
        self._show_hidden_field(br, uy, chosen)
        self._withdraw_consent(br, uy, lists["BR"])
        self._kill_partner(br, uy, lists["BR"])
        self._tamper(br, uy, chosen)
        self._out.print(f"\n[bold]Done[/] in {time.monotonic() - self._begun:.1f} s.")

    def say_how_to_reach(self, nodes: list[DemoNode]) -> None:
        """Where the nodes that were left running are."""
        self._out.print("\nThe nodes go on running. In another terminal:")
        aeo = program()
        for node in nodes:
            self._out.print(f"  {aeo} channels --home {quote(str(node.home))}", soft_wrap=True)
        self._out.print(f"  {aeo} lookup --name Caatinga --home {quote(str(nodes[1].home))}", soft_wrap=True)
        numbers = " ".join(str(node.process.pid) for node in nodes)
        self._out.print(f"To stop them: kill {numbers}", soft_wrap=True)

    def _pin_cards(self, br: DemoNode, uy: DemoNode) -> None:
        self._heading("They pin each other's card, comparing fingerprints by telephone")
        for node, other in ((br, uy), (uy, br)):
            card = other.client.card()
            node.client.add_peer(card["card"], card["fingerprint"])
            self._say(f"{node.country} pins {card['name']}  {card['fingerprint']}")

    def _sign(self, br: DemoNode, uy: DemoNode) -> str:
        self._heading("They sign their arrangement: terms and contract, one text, two signatures")
        begun = time.monotonic()
        title = "Mutual recognition Brazil - Uruguay"
        agreement = br.client.draft_agreement(title, ["BR", "UY"], terms("br_uy"), contract_text("mra_v2"))
        br.client.act(agreement, "sign")
        until(lambda: _knows(uy, agreement), LIMIT_S, "the draft does not reach Uruguay")
        uy.client.act(agreement, "sign")
        until(
            lambda: _is_signed(br, agreement) and _is_signed(uy, agreement),
            LIMIT_S,
            "the signatures do not meet",
        )
        self._say(f"signed by both, proven to be in both ledgers, after {_since(begun)}")
        for issuer, partner in (("BR", "UY"), ("UY", "BR")):
            for node in (br, uy):
                node.client.act(agreement, "start", issuer=issuer, partner=partner, mode="operation")
        until(
            lambda: _operates(br, agreement) and _operates(uy, agreement),
            LIMIT_S,
            "the directions do not start",
        )
        self._say("in operation BR -> UY and UY -> BR")
        return agreement

    def _import(self, node: DemoNode) -> list[Operator]:
        name, profile = LISTS[node.country]
        rows = list(importing.read_import(DATA / name, importing.load_profile(profile)))
        operators = [row.operator for row in rows if row.operator is not None]
        begun = time.monotonic()
        counts = node.client.import_list(operators, source=name)["counts"]
        self._say(
            f"{node.country}  {name}: {counts['new']} new, {counts['refused']} refused, in {_since(begun)}"
        )
        return operators

    def _show_what_crossed(self, br: DemoNode, uy: DemoNode, agreement: str) -> None:
        self._heading("What the signed contract let across, and what it kept back")
        for issuer, partner in ((br, uy), (uy, br)):
            told = until_arrived(issuer, partner, agreement)
            withheld = sum(told["withheld"].values())
            way = f"{issuer.country} -> {partner.country}"
            self._say(f"{way}: [bold green]{told['shared']} shared[/], {withheld} withheld")
            for reason, count in told["withheld"].items():
                self._say(f"{count:>6}  {reason}")

    def _look_up(self, uy: DemoNode, operators: list[Operator]) -> Operator:
        self._heading("Uruguay looks up a Brazilian operator by its CNPJ")
        for operator in operators:
            found: list[Any] = list(uy.client.find(operator["identifiers"][0]["value"]))
            if found and found[0]["recognition"]["applies"]:
                self._show(found[0])
                return operator
        raise RuntimeError("no Brazilian operator is recognised in Uruguay")

    def _suspend(self, br: DemoNode, uy: DemoNode, chosen: Operator) -> None:
        self._heading("Brazil suspends it")
        begun = time.monotonic()
        br.client.change_status(chosen["tin"], "SUSPENDED", reason_class="UNDER_REVIEW")
        stored = _since(begun)
        until(lambda: _status(uy, chosen["tin"]) == "SUSPENDED", LIMIT_S, "Uruguay does not learn it")
        self._say(
            f"in Brazil's ledger after {stored}; Uruguay's answer changed after [bold]{_since(begun)}[/]"
        )
        self._say("recognition: no, " + "; ".join(_answer(uy, chosen["tin"])["recognition"]["reasons"]))

    def _show_hidden_field(self, br: DemoNode, uy: DemoNode, chosen: Operator) -> None:
        self._heading("A field outside the agreement does not arrive")
        contact = chosen["mra_contact"]
        held = _answer(br, chosen["tin"])["fields"]["mra_contact"] == contact
        told = "mra_contact" in _answer(uy, chosen["tin"])["fields"]
        self._say(f"Brazil holds the contact {contact}: {_yes(held)}")
        self._say(f"in Uruguay's answer: {_yes(told)}")
        self._say(f"anywhere in Uruguay's files: {_yes(uy.holds(contact))}")

    def _withdraw_consent(self, br: DemoNode, uy: DemoNode, operators: list[Operator]) -> None:
        self._heading("Another operator withdraws its consent")
        tin = next(each["tin"] for each in operators if _is_recognised(uy, each["tin"]))
        begun = time.monotonic()
        br.client.change_consent(tin, given=False)
        until(lambda: _status(uy, tin) == "NOT_SHARED", LIMIT_S, "no tombstone arrives")
        self._say(f"after {_since(begun)} Uruguay has a tombstone: {_status(uy, tin)}, and no field any more")
        self._say("it says that the record left Uruguay's view, not why")

    def _kill_partner(self, br: DemoNode, uy: DemoNode, operators: list[Operator]) -> None:
        self._heading("Uruguay's node is killed; Brazil goes on")
        tins = [each["tin"] for each in operators if _is_recognised(uy, each["tin"])][:5]
        uy.kill()
        for tin in tins:
            br.client.change_status(tin, "SUSPENDED", reason_class="UNDER_REVIEW")
        self._say(f"while it is dead Brazil suspends {len(tins)} more, waiting for nobody")
        begun = time.monotonic()
        uy.start()
        until(
            lambda: {_status(uy, tin) for tin in tins} == {"SUSPENDED"}, LIMIT_S, "Uruguay does not catch up"
        )
        self._say(f"started again, and caught up on all {len(tins)}, in {_since(begun)}")
        self._say(f"Uruguay's fsck: {uy.fsck()[0]}")

    def _tamper(self, br: DemoNode, uy: DemoNode, chosen: Operator) -> None:
        self._heading("Somebody changes one byte in Brazil's stored history")
        seq = _answer(br, chosen["tin"])["provenance"]["ledger"]["seq"]
        put_back = br.change_byte(seq, 20)
        begun = time.monotonic()
        self._say(f"entry {seq} of the ledger, one bit of byte 20")
        until(lambda: _altered(uy) is not None, LIMIT_S, "Uruguay does not notice")
        self._say(f"Uruguay noticed after {_since(begun)}: {_altered(uy)}")
        *found, code = br.fsck()
        self._say(f"Brazil's fsck, exit code {code}: {found[0]}")
        put_back()
        self._say(f"the byte put back: {br.fsck()[0]}")

    def _show(self, answer: Operator) -> None:
        fields, ledger, fresh = answer["fields"], answer["provenance"]["ledger"], answer["freshness"]
        applies = _yes(answer["recognition"]["applies"])
        self._say(f"[bold]{fields['legal_name']}[/], {answer['tin']}, {', '.join(fields['national_types'])}")
        self._say(f"{answer['status']['value']} since {answer['status']['since'][:10]}")
        self._say(f"recognition: {applies}, under {answer['recognition']['title']}")
        self._say(f"proof: entry {ledger['seq']} of {ledger['origin']}, proven up to {ledger['proven_size']}")
        self._say(f"freshness: {fresh['age_s']} s old; the agreement allows {fresh['limit_s']} s")

    def _heading(self, text: str) -> None:
        self._chapter += 1
        self._out.print(f"\n[bold cyan]{self._chapter:>2}  {text}[/]")

    def _say(self, text: str) -> None:
        self._out.print(f"    {text}", soft_wrap=True)


def until_arrived(issuer: DemoNode, partner: DemoNode, agreement: str) -> Any:
    """What the contract decided for a partner, once the partner's mirror holds all of it."""

    def told() -> Any:
        directions: list[Any] = list(issuer.client.decisions(agreement)["directions"])
        return next(each for each in directions if each["partner"] == partner.country)

    def arrived() -> bool:
        incoming = [each for each in partner.client.channels() if each["direction"] == "in"]
        return any(each["in_view"] == told()["shared"] > 0 for each in incoming)

    until(arrived, LIMIT_S, f"{partner.country} does not receive what {issuer.country} shared")
    return told()


def _knows(node: DemoNode, agreement: str) -> bool:
    return any(each["agreement"] == agreement for each in node.client.agreements())


def _is_signed(node: DemoNode, agreement: str) -> bool:
    return bool(node.client.agreement(agreement)["signed"])


def _answer(node: DemoNode, tin: str) -> Any:
    return node.client.look_up(tin)


def _status(node: DemoNode, tin: str) -> str:
    return str(_answer(node, tin)["status"]["value"])


def _since(begun: float) -> str:
    """The time since a moment, as a person reads it."""
    took = time.monotonic() - begun
    return f"{took:.1f} s" if took >= 1 else f"{1000 * took:.0f} ms"


def _operates(node: DemoNode, agreement: str) -> bool:
    return all(each["state"] == "IN_OPERATION" for each in node.client.agreement(agreement)["directions"])


def _is_recognised(node: DemoNode, tin: str) -> bool:
    found: list[Any] = list(node.client.find(tin))
    return bool(found) and bool(found[0]["recognition"]["applies"])


def _altered(node: DemoNode) -> str | None:
    found = [each for each in node.client.incidents(open_only=True) if each["kind"] == "altered"]
    return str(found[0]["detail"]) if found else None


def _yes(value: bool) -> str:
    return "[bold green]yes[/]" if value else "[bold]no[/]"
