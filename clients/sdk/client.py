"""A client of one's own node over HTTP: one method for each route.

Guarantees what its `Connection` does, and that a change sent twice because the node was busy is made once.
"""

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from itertools import islice
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import quote
from uuid import uuid4

import httpx

from clients.sdk.answers import (
    AccessEntry,
    AccessPage,
    ActAnswer,
    Admitted,
    AgreementAnswer,
    AgreementSummary,
    AsOf,
    Card,
    Change,
    Comparison,
    ConsentRecorded,
    Decisions,
    DisclosureMade,
    ErasureMade,
    ErasureStatus,
    FetchedAnswer,
    Frozen,
    Held,
    History,
    ImportOutcome,
    Incident,
    IncidentEvidence,
    LocalDecision,
    Operator,
    OperatorAnswer,
    OwnLogKeys,
    Peer,
    Report,
    Reported,
    Search,
    SuspendedHere,
    ToldReads,
)
from clients.sdk.connection import Connection, json_of, not_ours, part_of
from node.errors import Busy, Malformed

LOOKUP_PAGE: Final = 500
REGISTER_PAGE: Final = 1000
ASSIGNED: Final = ("record_id", "recorded_at")
"""Fields of a record that its node assigned; `admit` leaves them out."""


class Node:
    """The node at `url`, asked with a bearer token; `timeout_s` bounds each wait for the network.

    An administration that it hosts as a reader asks with `auth` instead (`clients.sdk.signed.SignedBy`): it
    may look up lists, fetch, and have evidence.
    Every method raises `NodeError` when the node refuses and `NodeUnreachable` when it does not answer.
    `patience` is entered for as long as an answer is waited for. `purpose` and `reference`, where they are
    set, go with every question about operators: the node keeps them with who asked.
    A context manager: leaving it closes the connections.
    """

    def __init__(
        self,
        url: str,
        token: str = "",
        timeout_s: float = 10,
        *,
        auth: httpx.Auth | None = None,
        transport: httpx.BaseTransport | None = None,
        patience: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self._connection = Connection(
            url, token, timeout_s, auth=auth, transport=transport, patience=patience
        )
        self.url, self.purpose, self.reference = self._connection.url, "", ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._connection.close()

    # The node itself.

    def health(self) -> int:
        """The size of the node's ledger, when it serves."""
        return self._health()[0]

    def behind(self) -> str:
        """Why the node writes nothing, if it found that its store was put back; empty otherwise."""
        return self._health()[1]

    def _health(self) -> tuple[int, str]:
        content = self._connection.send("GET", "/healthz")[1].decode("utf-8", "replace")
        first, _, why = content.strip().partition("\n")
        word, _, size = first.partition(" ")
        if word not in ("ok", "behind") or not (size.isascii() and size.isdecimal()):
            raise not_ours(self.url)
        return int(size), why

    def card(self) -> Card:
        """The node's signed card."""
        answer: Card = self._get("/v1/card")
        return answer

    def log_keys(self) -> OwnLogKeys:
        """The verifier keys and addresses of the own ledger and witness, and of each pinned peer's."""
        answer: OwnLogKeys = self._get("/v1/log")
        return answer

    def channels(self) -> list[dict[str, Any]]:
        """Every channel: what goes out, what comes in, how fresh it is.

        Outgoing ones have `partner_asked`: when (`at`) and with how many entries (`size`); None: not yet.
        """
        answer: list[dict[str, Any]] = self._get("/v1/channels", part="channels")
        return answer

    def incidents(self, open_only: bool = False) -> list[Incident]:
        """What peers sent that failed verification, newest first."""
        query = {"open_only": "true"} if open_only else {}
        answer: list[Incident] = self._get("/v1/incidents", query, part="incidents")
        return answer

    def incident(self, incident: int) -> IncidentEvidence:
        """One incident with its evidence."""
        answer: IncidentEvidence = self._get(_path("incidents", str(incident)))
        return answer

    def close_incident(self, incident: int) -> None:
        """Close an incident that people have settled with the peer."""
        self._post(f"/v1/incidents/{incident}/close", {})

    # Operators: asking.

    def look_up(self, tin: str) -> OperatorAnswer:
        """One operator by its TIN; `NodeError` with status 404 when it is not known here."""
        answer: OperatorAnswer = self._get(_path("operators", tin), self._stated())
        return answer

    def find(self, identifier: str, scheme: str | None = None) -> list[OperatorAnswer]:
        """By any identifier, of one scheme where given; own and recognised ones first."""
        query = {"identifier": identifier} | ({"scheme": scheme} if scheme else {})
        results: dict[str, list[OperatorAnswer]] = self._get(
            "/v1/operators", query | self._stated(), part="results"
        )
        return results.get(identifier, [])

    def look_up_list(
        self, identifiers: Iterable[str], scheme: str | None = None
    ) -> dict[str, list[OperatorAnswer]]:
        """Any number of identifiers, sent in pages; each has its answers, none when it is not known."""
        rest, found = iter(identifiers), dict[str, list[OperatorAnswer]]()
        while page := list(islice(rest, LOOKUP_PAGE)):
            body = {"identifiers": page, "scheme": scheme}
            _, told = self._connection.send(
                "POST", "/v1/operators/lookup", body=body, query=self._stated(), repeatable=True
            )
            found |= part_of(json_of(told, self.url), "results", self.url)
        return found

    def history(self, identifier: str) -> History:
        """Every version of an operator that the node knows, oldest first; by any identifier."""
        written = identifier.replace("/", "")  # which would end it in a path, and is no part of any number
        answer: History = self._get(_path("operators", written, "history"), self._stated())
        return answer

    def as_of(self, tin: str, effective: str = "", known: str = "") -> AsOf:
        """What held for an operator at one moment, as far as the node knew at another; each now unless given.

        A day (`YYYY-MM-DD`) means its end, a moment is RFC 3339 in UTC with milliseconds.
        """
        query = {name: value for name, value in (("effective", effective), ("known", known)) if value}
        answer: AsOf = self._get(_path("operators", tin, "as-of"), query)
        return answer

    def evidence(self, tin: str, at: str = "", agreement: str = "") -> bytes:
        """What a partner had told the node about an operator at a moment, as a file that anyone can check.

        `at` is a day, which means its end, or a moment (RFC 3339, UTC, milliseconds); now unless given.
        """
        query = {name: value for name, value in (("at", at), ("agreement", agreement)) if value}
        return self._connection.send(
            "GET", _path("operators", tin, "evidence"), query=query | self._stated()
        )[1]

    def receipt(self, entry: int, *, size: int | None = None, witnessed: bool = False) -> bytes:
        """The proof that the node's ledger holds an entry (C2SP tlog-proof), against the newest checkpoint.

        `size`: against the ledger of this size, which no witness has cosigned; `witnessed`: once a quorum of
        witnesses has, or `Busy` if that takes longer than the node waits.
        """
        if witnessed and size is not None:
            raise Malformed("a receipt of a chosen size is never witnessed", do="ask for one or the other")
        query = {"wait": "witnessed"} if witnessed else {}
        query |= {} if size is None else {"size": str(size)}
        answer, told = self._connection.send("GET", _path("receipts", str(entry)), query=query)
        if witnessed and answer.headers.get("aeo-witnessed") != "true":
            why = (
                "fewer witnesses than the trust policy wants have cosigned it in the time that the node waits"
            )
            do = "ask again once a witness is in reach, or for a receipt that is signed by the log alone"
            raise Busy(
                "the entry is in the ledger, and is not witnessed yet", where=f"entry {entry}", why=why, do=do
            )
        return told

    def search(self, name: str, limit: int = 10) -> Search:
        """Operators with a name like this one (2 to 100 characters), 1 to 50 of them."""
        asked = {"name": name, "limit": str(limit)}
        answer: Search = self._get("/v1/search", asked | self._stated())
        return answer

    def register(self, kind: str | None = None) -> Iterator[str]:
        """The TINs of the own records, of one kind if given, in order."""
        asked = {"limit": str(REGISTER_PAGE)} | ({"kind": kind} if kind else {}) | self._stated()
        after: str | None = ""
        while after is not None:
            page = self._get("/v1/register", asked | {"after": after})
            yield from part_of(page, "tins", self.url)
            after = page.get("next")

    def changes(self, after: int | None = None) -> Iterator[Change]:
        """Changes as they happen, from behind `after`, or from the next one on.

        Never ends by itself: `NodeUnreachable` when the connection breaks or is silent for
        `QUIET_LIMIT_S`; call again with the last `change` received to lose nothing.
        """
        with closing(self._feed(after)) as lines:
            for line in lines:
                if line.startswith("data: "):
                    yield json_of(line[6:].encode(), self.url)

    def newest_change(self) -> int:
        """The newest place in the feed of changes: `changes` from behind it misses nothing from now on."""
        with closing(self._feed(None)) as lines:
            place = next(line[4:] for line in lines if line.startswith("id: "))
        if not (place.isascii() and place.isdecimal()):
            raise not_ours(self.url)
        return int(place)

    def _feed(self, after: int | None) -> Generator[str, None, None]:
        headers = {} if after is None else {"last-event-id": str(after)}
        return self._connection.lines("/v1/changes", query=self._stated(), headers=headers)

    def _stated(self) -> dict[str, str]:
        told = {"purpose": self.purpose, "reference": self.reference}
        return {name: each for name, each in told.items() if each}

    # Who asked what.

    def access(
        self,
        *,
        of: str = "",
        identifier: str = "",
        kind: str = "",
        since: str = "",
        until: str = "",
        stated: str = "",
        before: int | None = None,
        limit: int = 50,
    ) -> AccessPage:
        """A page of the access log, newest first; `next` of one is `before` of the one behind it.

        `of` is the id or label of a token, `identifier` any of an operator or a record's id, `stated` a part
        of the purpose, `since` and `until` days or moments.
        """
        asked = {"of": of, "identifier": identifier, "kind": kind, "since": since, "until": until}
        asked |= {"stated": stated, "before": "" if before is None else str(before), "limit": str(limit)}
        query = {name: each for name, each in asked.items() if each} | self._stated()
        answer: AccessPage = self._get("/v1/access", query)
        return answer

    def access_entry(self, entry: int) -> AccessEntry:
        """One entry of the access log, with all that was asked and told."""
        answer: AccessEntry = self._get(_path("access", str(entry)), self._stated())
        return answer

    def told_reads(self, identifier: str = "") -> Iterator[ToldReads]:
        """How often partners read the own operators, and this node theirs, as it was told; newest first.

        With `identifier`, any of an operator or a record's id, what is about it.
        """
        query = {"identifier": identifier} if identifier else {}
        before: dict[str, str] = {}
        while True:
            page = self._get("/v1/access/partners", query | before | self._stated())
            yield from part_of(page, "notices", self.url)
            if page.get("next") is None:
                return
            before = {"before": str(page["next"])}

    # Operators: changing.

    def admit(self, operator: Operator, key: str | None = None, reason: str = "") -> Admitted:
        """Record an own operator, new or changed; `key` makes a repeated call the same one.

        The `fields` that a lookup gave will do: what the node assigned (`ASSIGNED`) is left out.
        """
        query = {"reason": reason} if reason else {}
        stated = {name: value for name, value in operator.items() if name not in ASSIGNED}
        return self._change("/v1/operators", stated, key, query)

    def change_status(
        self,
        tin: str,
        status: str,
        *,
        effective_at: str | None = None,
        reason_class: str | None = None,
        reason: str = "",
        key: str | None = None,
    ) -> Admitted:
        """Move an own operator along its life cycle, from `effective_at` (now if absent)."""
        body = {"status": status, "effective_at": effective_at, "reason_class": reason_class}
        return self._change(_path("operators", tin, "status"), body | {"reason": reason}, key)

    def change_consent(
        self,
        tin: str,
        given: bool,
        scope: str | Sequence[str] = "GENERAL",
        *,
        by: str = "",
        text: str = "",
        document: str = "",
        reason: str = "",
        key: str | None = None,
    ) -> Admitted:
        """Record that an own operator gives or withdraws its consent to being named to partners.

        One that is given needs who gave it (`by`) and in which words: `text`, or the SHA-256 of a `document`.
        """
        named = scope if isinstance(scope, str) else list(scope)
        body = {"given": given, "scope": named, "by": by, "text": text, "document": document}
        body |= {"reason": reason}
        return self._change(_path("operators", tin, "consent"), body, key)

    def import_list(
        self, operators: Sequence[Operator], dry_run: bool = False, source: str = ""
    ) -> ImportOutcome:
        """Admit a list (1,000 operators at most, as the node is shipped); a refused one stops no other."""
        body = {"operators": list(operators), "dry_run": dry_run, "source": source}
        answer: ImportOutcome = self._post("/v1/operators/import", body, repeatable=True)
        return answer

    def consents(self, tin: str) -> list[ConsentRecorded]:
        """Each time that an own operator's consent was recorded, oldest first."""
        answer: list[ConsentRecorded] = self._get(_path("operators", tin, "consents"), part="consents")
        return answer

    def disclosures(self, tin: str) -> list[DisclosureMade]:
        """What partners were told about an own operator, oldest first."""
        answer: list[DisclosureMade] = self._get(_path("operators", tin, "disclosures"), part="disclosures")
        return answer

    # Single operators of a partner.

    def fetch(
        self,
        identifier: str,
        purpose: str,
        reference: str,
        scheme: str = "",
        country: str = "",
        agreement: str = "",
    ) -> FetchedAnswer:
        """Ask a partner about one operator that it tells on demand; `operator` None: nothing is shared.

        The partner learns all of this but who asks. `country` or `agreement` where several can be asked.
        """
        body = {"identifier": identifier, "scheme": scheme, "country": country, "agreement": agreement}
        answer: FetchedAnswer = self._post("/v1/fetches", body | {"purpose": purpose, "reference": reference})
        return answer

    def suspend_here(self, tin: str, code: str, reason: str, agreement: str = "") -> LocalDecision:
        """Stop treating a partner's operator as recognised, by own decision; under one agreement if named."""
        body = {"class": code, "reason": reason, "agreement": agreement}
        answer: LocalDecision = self._post(_path("operators", tin, "suspend-here"), body)
        return answer

    def resume_here(self, tin: str, reason: str, agreement: str = "") -> LocalDecision:
        """Lift such a decision."""
        body = {"reason": reason, "agreement": agreement}
        answer: LocalDecision = self._post(_path("operators", tin, "resume-here"), body)
        return answer

    def suspended_here(self) -> list[SuspendedHere]:
        """Every partner's operator whose treatment is suspended here."""
        answer: list[SuspendedHere] = self._get("/v1/suspended-here", part="suspended")
        return answer

    def report_irregularity(self, tin: str, code: str, text: str, agreement: str = "") -> Reported:
        """Tell the issuer of a partner's operator of an irregularity; `agreement` where several cover it."""
        body = {"class": code, "text": text, "agreement": agreement}
        answer: Reported = self._post(_path("operators", tin, "irregularities"), body)
        return answer

    def reports(self) -> Iterator[Report]:
        """What partners reported of the own operators, and this node of theirs, newest first."""
        query: dict[str, str] = {}
        while True:
            page = self._get("/v1/reports", query)
            yield from part_of(page, "reports", self.url)
            if page.get("next") is None:
                return
            query = {"before": str(page["next"])}

    def acknowledge(self, report: int, text: str) -> Reported:
        """Answer an irregularity that a partner reported of an own operator."""
        answer: Reported = self._post(f"/v1/reports/{report}/acknowledge", {"text": text})
        return answer

    # Erasing.

    def erase(self, tin: str, ground: str, reference: str) -> ErasureMade:
        """Erase an own operator here and at every partner that was told of it; it cannot be undone."""
        body = {"ground": ground, "reference": reference}
        answer: ErasureMade = self._post(_path("operators", tin, "erase"), body)
        return answer

    def hold(self, tin: str, reason: str) -> Held:
        """Keep a record, own or told by a partner, whatever asks for its erasure."""
        answer: Held = self._post(_path("operators", tin, "hold"), {"reason": reason}, repeatable=True)
        return answer

    def release(self, tin: str) -> Held:
        """End a hold."""
        answer: Held = self._post(_path("operators", tin, "release"), {})
        return answer

    def erasures(self) -> Iterator[ErasureStatus]:
        """Every erasure that the node's ledger records, newest first, with what each partner answered."""
        asked: dict[str, str] = {}
        while True:
            page = self._get("/v1/erasures", asked)
            yield from part_of(page, "erasures", self.url)
            if page.get("next") is None:
                return
            asked = {"before": str(page["next"])}

    # Agreements and peers.

    def agreements(self) -> list[AgreementSummary]:
        """Every agreement the node knows, with the state of each direction today."""
        answer: list[AgreementSummary] = self._get("/v1/agreements", part="agreements")
        return answer

    def agreement(self, agreement: str) -> AgreementAnswer:
        """One agreement with its document and its acts."""
        answer: AgreementAnswer = self._get(_path("agreements", agreement))
        return answer

    def draft_agreement(
        self,
        title: str,
        countries: Sequence[str],
        terms: Mapping[str, Any],
        contract: str,
        supersedes: str | None = None,
    ) -> str:
        """Draft an agreement out of terms and the contract's text, to replace another; gives its id."""
        body: dict[str, Any] = {"title": title, "countries": list(countries), "terms": dict(terms)}
        body |= {"contract": contract, "supersedes": supersedes}
        answer: str = self._post("/v1/agreements", body, part="agreement")
        return answer

    def compare_arrangements(
        self, old: Mapping[str, Any] | None, new: Mapping[str, Any], after: str = ""
    ) -> Comparison:
        """What would leave the node otherwise under `new` than under `old`; `next` names the next page.

        Each is `{"agreement": id}` or `{"terms": {...}, "contract": text}`; None is no agreement at all.
        """
        body = {"old": old, "new": new, "after": after}
        asked: dict[str, Any] = {"body": body, "query": self._stated(), "repeatable": True}
        answer: Comparison = json_of(
            self._connection.send("POST", "/v1/agreements/compare", **asked)[1], self.url
        )
        return answer

    def act(
        self,
        agreement: str,
        act: str,
        *,
        issuer: str | None = None,
        partner: str | None = None,
        mode: str | None = None,
        effective: str | None = None,
        reason: str = "",
        preconditions_met: Sequence[str] = (),
    ) -> ActAnswer:
        """Sign an act (start, suspend, leave and so on) on the agreement whose id begins so."""
        body: dict[str, Any] = {
            "act": act,
            "issuer": issuer,
            "partner": partner,
            "mode": mode,
            "effective": effective,
        }
        body |= {"reason": reason, "preconditions_met": list(preconditions_met)}
        answer: ActAnswer = self._post(_path("agreements", agreement, "acts"), body)
        return answer

    def withdraw(self, agreement: str, act: str | None = None, reason: str = "") -> ActAnswer:
        """Take back or decline the act with this id (or how it begins), or the draft when none is named."""
        body = {"act": act, "reason": reason}
        answer: ActAnswer = self._post(_path("agreements", agreement, "withdraw"), body)
        return answer

    def decisions(self, agreement: str) -> Decisions:
        """What the contract answered for the own records: how many are shared, why the others are not."""
        answer: Decisions = self._get(_path("agreements", agreement, "decisions"))
        return answer

    def peers(self) -> list[Peer]:
        """The peers whose cards are pinned."""
        answer: list[Peer] = self._get("/v1/peers", part="peers")
        return answer

    def add_peer(self, card: str, fingerprint: str) -> Peer:
        """Pin a peer's card; the fingerprint must be the one compared over another channel."""
        answer: Peer = self._post("/v1/peers", {"card": card, "fingerprint": fingerprint})
        return answer

    def freeze_peer(self, country: str, reason: str) -> Frozen:
        """Believe nothing new of a peer, and tell it nothing, from what is proven of it on."""
        answer: Frozen = self._post(f"/v1/peers/{quote(country, safe='')}/freeze", {"reason": reason})
        return answer

    # How it is sent.

    def _get(self, path: str, query: Mapping[str, str] | None = None, part: str = "") -> Any:
        return part_of(json_of(self._connection.send("GET", path, query=query)[1], self.url), part, self.url)

    def _post(self, path: str, body: object, part: str = "", repeatable: bool = False) -> Any:
        _, content = self._connection.send("POST", path, body=body, repeatable=repeatable)
        return part_of(json_of(content, self.url), part, self.url)

    def _change(
        self, path: str, body: object, key: str | None, query: Mapping[str, str] | None = None
    ) -> Admitted:
        headers = {"idempotency-key": key or uuid4().hex}
        _, content = self._connection.send(
            "POST", path, body=body, query=query, headers=headers, repeatable=True
        )
        answer: Admitted = json_of(content, self.url)
        return answer


def _path(*parts: str) -> str:
    if not all(parts):
        raise Malformed("an identifier is empty", where="/".join(parts), do="give the id, TIN or number")
    return "/v1/" + "/".join(quote(part, safe="") for part in parts)
