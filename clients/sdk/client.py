"""A typed client of one node's HTTP API: bounded, synchronous, with one exception for every refusal."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

import httpx
import orjson

Json = dict[str, Any]

ANSWER_LIMIT_BYTES = 64 * 2**20


class NodeError(Exception):
    """The node refused: the members of its problem details (RFC 9457)."""

    def __init__(self, status: int, told: Mapping[str, Any]) -> None:
        self.status = status
        self.title = str(told.get("title", f"status {status}"))
        self.detail = str(told.get("detail", self.title))
        self.where, self.why, self.do = (str(told.get(name, "")) for name in ("where", "why", "do"))
        self.problems: list[dict[str, str]] = list(told.get("problems", []))
        super().__init__(self.detail)


class NodeUnreachable(Exception):  # noqa: N818  # what happened, in the words of its users
    """Nobody answers at the node's address."""


class Node:
    """One node, asked with one token."""

    def __init__(self, url: str, token: str = "", timeout_s: float = 30.0) -> None:
        """`token` is a bearer token `aeo_...`; every request is bounded by `timeout_s`."""
        headers = {"authorization": f"Bearer {token}"} if token else {}
        self.url = url.rstrip("/")
        self._http = httpx.Client(
            base_url=self.url, headers=headers, timeout=timeout_s, follow_redirects=False, trust_env=False
        )

    # About the node

    def health(self) -> str:
        """`ok` and the size of the ledger."""
        return self._send("GET", "/healthz").decode()

    def card(self) -> Json:
        """The node's signed card and its fingerprint."""
        return self._json("GET", "/v1/card")

    def channels(self) -> list[Json]:
        """Every channel, outgoing and incoming, with its freshness."""
        return self._list("/v1/channels", "channels")

    def incidents(self, open_only: bool = False) -> list[Json]:
        """What failed verification and is not used."""
        return self._list("/v1/incidents", "incidents", open_only=str(open_only).lower())

    # Operators

    def look_up(self, tin: str) -> Json:
        """The answer about one TIN."""
        return self._json("GET", f"/v1/operators/{quote(tin, safe='')}")

    def find(self, identifier: str, scheme: str | None = None) -> list[Json]:
        """The answers about one identifier of any scheme; empty when it is not known."""
        query = {"identifier": identifier} | ({"scheme": scheme} if scheme else {})
        found: list[Json] = self._json("GET", "/v1/operators", query=query)["results"][identifier]
        return found

    def look_up_list(self, identifiers: Sequence[str], scheme: str | None = None) -> dict[str, list[Json]]:
        """The answers about up to 1,000 identifiers."""
        body = {"identifiers": list(identifiers)} | ({"scheme": scheme} if scheme else {})
        found: dict[str, list[Json]] = self._json("POST", "/v1/operators/lookup", body)["results"]
        return found

    def history(self, tin: str) -> list[Json]:
        """Every version that the node recorded or was told."""
        return self._list(f"/v1/operators/{quote(tin, safe='')}/history", "versions")

    def search(self, name: str, limit: int = 10) -> list[Json]:
        """Suggestions by likeness of the name."""
        return self._list("/v1/search", "suggestions", name=name, limit=limit)

    def register(self) -> Iterator[str]:
        """The TINs of the own operators, in order."""
        after: str | None = ""
        while after is not None:
            page = self._json("GET", "/v1/register", query={"after": after})
            yield from page["tins"]
            after = page["next"]

    def changes(self, after: int | None = None) -> Iterator[Json]:
        """Changes as they happen; ends only when the connection does. Resume with the last `change`."""
        query = {} if after is None else {"after": str(after)}
        try:
            with self._http.stream(
                "GET", "/v1/changes", params=query, timeout=httpx.Timeout(30.0, read=90.0)
            ) as answer:
                if answer.status_code != 200:
                    raise _error(answer.status_code, answer.read())
                for line in answer.iter_lines():
                    if line.startswith("data: "):
                        yield orjson.loads(line[6:])
        except httpx.HTTPError as error:
            raise NodeUnreachable(f"{self.url}: {type(error).__name__}") from None

    def admit(self, operator: Json, key: str | None = None, reason: str = "") -> Json:
        """Record an own operator; the answer holds the receipt."""
        return self._json("POST", "/v1/operators", operator, {"reason": reason}, key)

    def import_list(self, operators: Sequence[Json], dry_run: bool = False, source: str = "") -> Json:
        """Record up to 1,000 own operators, each by itself."""
        return self._json(
            "POST",
            "/v1/operators/import",
            {"operators": list(operators), "dry_run": dry_run, "source": source},
        )

    def change_status(
        self,
        tin: str,
        status: str,
        reason_class: str | None = None,
        reason: str = "",
        effective_at: str | None = None,
        key: str | None = None,
    ) -> Json:
        """Give an own operator a new status, along its life cycle."""
        body = {
            "status": status,
            "reason_class": reason_class,
            "reason": reason,
            "effective_at": effective_at,
        }
        return self._json("POST", f"/v1/operators/{quote(tin, safe='')}/status", body, key=key)

    def change_consent(self, tin: str, given: bool, reason: str = "", key: str | None = None) -> Json:
        """Record that an own operator gives or withdraws consent."""
        return self._json(
            "POST",
            f"/v1/operators/{quote(tin, safe='')}/consent",
            {"given": given, "reason": reason},
            key=key,
        )

    # Agreements and peers

    def agreements(self) -> list[Json]:
        """Every agreement in short."""
        return self._list("/v1/agreements", "agreements")

    def draft_agreement(
        self, title: str, countries: Sequence[str], terms: Mapping[str, Any], contract: str
    ) -> str:
        """Draft an agreement and give its id."""
        body = {"title": title, "countries": list(countries), "terms": dict(terms), "contract": contract}
        return str(self._json("POST", "/v1/agreements", body)["agreement"])

    def agreement(self, agreement: str) -> Json:
        """One agreement with its document and acts."""
        return self._json("GET", f"/v1/agreements/{quote(agreement, safe='')}")

    def act(self, agreement: str, act: str, **says: Any) -> Json:
        """Sign an act: `issuer`, `partner`, `mode`, `effective`, `reason`, `preconditions_met`."""
        return self._json("POST", f"/v1/agreements/{quote(agreement, safe='')}/acts", {"act": act, **says})

    def decisions(self, agreement: str) -> Json:
        """How many own records the contract shares, and why not the others."""
        return self._json("GET", f"/v1/agreements/{quote(agreement, safe='')}/decisions")

    def peers(self) -> list[Json]:
        """The pinned peers."""
        return self._list("/v1/peers", "peers")

    def add_peer(self, card: str, fingerprint: str) -> Json:
        """Pin a peer's card."""
        return self._json("POST", "/v1/peers", {"card": card, "fingerprint": fingerprint})

    # The way there

    def close(self) -> None:
        """Let go of the connection."""
        self._http.close()

    def _list(self, path: str, member: str, **query: Any) -> list[Json]:
        found: list[Json] = self._json("GET", path, query=query)[member]
        return found

    def _json(
        self,
        method: str,
        path: str,
        body: object = None,
        query: Mapping[str, Any] | None = None,
        key: str | None = None,
    ) -> Json:
        told: Json = orjson.loads(self._send(method, path, body, query, key))
        return told

    def _send(
        self,
        method: str,
        path: str,
        body: object = None,
        query: Mapping[str, Any] | None = None,
        key: str | None = None,
    ) -> bytes:
        headers = {"idempotency-key": key} if key else {}
        content = None if body is None else orjson.dumps(body)
        if content is not None:
            headers["content-type"] = "application/json"
        try:
            answer = self._http.request(
                method, path, content=content, params=dict(query or {}), headers=headers
            )
        except httpx.HTTPError as error:
            raise NodeUnreachable(f"{self.url}: {type(error).__name__}") from None
        if answer.status_code >= 300:
            raise _error(answer.status_code, answer.content)
        return answer.content


def _error(status: int, body: bytes) -> NodeError:
    try:
        told = orjson.loads(body)
    except orjson.JSONDecodeError:
        told = {}
    return NodeError(status, told if isinstance(told, dict) else {})
