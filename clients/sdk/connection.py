"""The connection to one node: requests sent, and answers read within bounds.

Guarantees that every exchange ends within its time-out, that no answer is read beyond `ANSWER_LIMIT_BYTES`,
and that redirects, proxies and credentials from the environment are not followed: the token goes to the node
named and nowhere else. Refuses (`NodeError`) whatever the node refuses, in its own words, and every answer
that is not of the agreed form.
"""

import re
import time
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import AbstractContextManager
from typing import Any, Final

import httpx
import orjson

from node.errors import Malformed, Problem, Refusal

ANSWER_LIMIT_BYTES: Final = 64 * 2**20
TRIES: Final = 4
PAUSE_LIMIT_S: Final = 5.0
QUIET_LIMIT_S: Final = 90.0
BUSY: Final = (429, 503)
PROBLEM: Final = re.compile("urn:aeo:problem:([a-z-]{1,40})")


class NodeError(Refusal):
    """The node refused: its problem details (RFC 9457), `status` as in HTTP.

    `code` ends the problem's type, such as "conflict"; "node-error" where the answer is not a node's.
    """

    code = "node-error"

    def __init__(
        self,
        title: str,
        *,
        status: int = 0,
        where: str = "",
        why: str = "",
        do: str = "",
        problems: Iterable[Problem] = (),
        code: str = "",
    ) -> None:
        super().__init__(title, where=where, why=why, do=do, problems=problems)
        self.title, self.status = title, status
        self.code = code or self.code

    @property
    def detail(self) -> str:
        """The refusal as one line."""
        return self.sentence()


class NodeUnreachable(Refusal):
    """The node did not answer; whether it made a change that was sent is not known."""

    code = "unreachable"


class Connection:
    """Connections to the node at `url`; `timeout_s` bounds each wait for the network.

    Requests have a bearer token, or are signed by `auth`. `patience` is entered for as long as an answer is
    waited for.
    """

    def __init__(
        self,
        url: str,
        token: str,
        timeout_s: float,
        *,
        auth: httpx.Auth | None,
        transport: httpx.BaseTransport | None,
        patience: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self.url = url.rstrip("/")
        if not self.url.startswith(("http://", "https://")):
            raise Malformed("this is not a node's address", where=url, do="give it as http://host:port")
        headers = {"accept-encoding": "identity"} | ({"authorization": f"Bearer {token}"} if token else {})
        self._patience = patience
        self._http = httpx.Client(
            base_url=self.url,
            headers=headers,
            timeout=timeout_s,
            trust_env=False,
            follow_redirects=False,
            # Reading the certificates costs more than a lookup; without TLS nothing would use them.
            verify=self.url.startswith("https://"),
            transport=transport,
            auth=auth,
        )

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def send(
        self,
        method: str,
        path: str,
        *,
        body: object = None,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        repeatable: bool = False,
    ) -> tuple[httpx.Response, bytes]:
        """One request, asked again while the node is busy where repeating it changes nothing."""
        content = None if body is None else orjson.dumps(body)
        sent = {"content-type": "application/json", **(headers or {})} if content else headers
        request = self._http.build_request(method, path, params=query, headers=sent, content=content)
        for left in reversed(range(TRIES if repeatable or method == "GET" else 1)):
            answer, told = self._exchange(request)
            if answer.is_success:
                return answer, told
            if answer.status_code not in BUSY or not left:
                break
            time.sleep(_pause_s(answer))
        raise _refusal(answer, told)

    def lines(
        self, path: str, *, query: Mapping[str, str], headers: Mapping[str, str]
    ) -> Generator[str, None, None]:
        """The lines of a stream of events; ends only with `NodeUnreachable`."""
        timeout = httpx.Timeout(**{**self._http.timeout.as_dict(), "read": QUIET_LIMIT_S})
        accepted = {"accept": "text/event-stream", **headers}
        try:
            with self._http.stream("GET", path, params=query, headers=accepted, timeout=timeout) as answer:
                if answer.status_code != httpx.codes.OK:
                    raise _refusal(answer, _bounded(answer))
                _refuse_encoded(answer)
                yield from answer.iter_lines()
        except httpx.TransportError as error:
            raise self._unreachable(error) from error
        raise NodeUnreachable("the node ended the stream of changes", where=self.url, do="ask again")

    def _exchange(self, request: httpx.Request) -> tuple[httpx.Response, bytes]:
        try:
            with self._patience():
                answer = self._http.send(request, stream=True)
            try:
                return answer, _bounded(answer)
            finally:
                answer.close()
        except httpx.RequestError as error:
            raise self._unreachable(error) from error

    def _unreachable(self, error: httpx.RequestError) -> NodeUnreachable:
        late = isinstance(error, httpx.ReadTimeout)
        what = "the node did not answer in time" if late else "the node cannot be reached"
        return NodeUnreachable(
            what, where=self.url, why=str(error), do="see that it runs: `aeo serve`; then try again"
        )


def _bounded(answer: httpx.Response) -> bytes:
    _refuse_encoded(answer)
    content = bytearray()
    for piece in answer.iter_raw():
        content += piece
        if len(content) > ANSWER_LIMIT_BYTES:
            raise NodeError("the answer is too large", why=f"at most {ANSWER_LIMIT_BYTES} bytes are read")
    return bytes(content)


def _refuse_encoded(answer: httpx.Response) -> None:
    """Decoding would come before any bound, and a few bytes can decode to more than the memory holds."""
    if "content-encoding" in answer.headers:
        raise NodeError(
            "the answer is encoded, which was not asked for", where=str(answer.url.copy_with(query=None))
        )


def _pause_s(answer: httpx.Response) -> float:
    wanted = answer.headers.get("retry-after", "1")
    return min(float(wanted) if wanted.isdecimal() else 1.0, PAUSE_LIMIT_S)


def part_of(answer: Any, part: str, url: str) -> Any:
    """One member of an answer, or all of it where none is named."""
    if part and part not in answer:
        raise not_ours(url)
    return answer[part] if part else answer


def json_of(content: bytes, url: str) -> Any:
    """The object that an answer is; `NodeError` when it is none."""
    try:
        found = orjson.loads(content)
    except orjson.JSONDecodeError:
        found = None
    if not isinstance(found, dict):
        raise not_ours(url)
    return found


def not_ours(url: str) -> NodeError:
    """That an answer is not of the agreed form."""
    return NodeError(
        "the answer is not a node's",
        where=url,
        why="it is not of the agreed form",
        do="check the address: it must be a node's, not a proxy's or a web page's",
    )


def _refusal(answer: httpx.Response, content: bytes) -> NodeError:
    """The refusal as the node told it; what it left out is left empty."""
    url = str(answer.url.copy_with(query=None))
    try:
        told = json_of(content, url)
    except NodeError:
        do = "check the address: redirects are not followed" if answer.is_redirect else ""
        return NodeError(
            f"the node answered {answer.status_code}", status=answer.status_code, where=url, do=do
        )
    problems = [
        Problem(str(each.get("field", "")), str(each.get("value", "")), str(each.get("rule", "")))
        for each in told.get("problems") or ()
        if isinstance(each, dict)
    ]
    title = str(told.get("title") or told.get("detail") or f"the node answered {answer.status_code}")
    where, why, do = (str(told.get(name) or "") for name in ("where", "why", "do"))
    of = PROBLEM.fullmatch(str(told.get("type")))
    code = of[1] if of and of[1] != NodeUnreachable.code else ""
    return NodeError(
        title, status=answer.status_code, where=where, why=why, do=do, problems=problems, code=code
    )
