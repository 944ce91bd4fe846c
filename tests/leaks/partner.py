"""One world as Uruguay can observe it: Brazil's node through its whole HTTP interface, and Uruguay's own.

Both nodes are whole: real stores, keys, ledgers, channels and applications. Only what needs a clock or a
network is done by hand: time is a number, random bytes are drawn out of a seed, anew for each step, so that
what is done for others does not move what is drawn for Uruguay, and the one writer of each node takes its
turns in the thread of whoever asks. Uruguay always has a request for news open, as a follower has, and
notes after each step whether it was answered or still waits.
"""

import asyncio
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import orjson

from contracts import rules, terms
from node.errors import Malformed, Refusal
from node.exchange import requests, sealing
from node.exchange.card import channel_origin
from node.exchange.fetches import Asker, Case, Named
from node.exchange.peers import asking
from node.ledger import canonical, tiles
from node.ledger.checkpoint import Checkpoint
from node.ledger.encoding import b64u, unb64
from node.ledger.entry import SALT_BYTES, ChannelEntry
from node.ledger.tiles import Tree
from node.ledger.witness import request
from node.records import model
from node.records.credential import es256_signer
from node.service import backup, behind, consents, failures, reporting, tokens
from node.service.admit import AdmitList, AdmitOne, Author
from node.service.consents import ChangeConsent, Statement
from node.service.erasing import Erase, HoldRecord
from node.service.reporting import Acknowledge, ReportIrregularity, ResumeHere, SuspendHere
from node.service.signing import Draft, Sign, Withdraw
from node.store import channels as stored_channels
from node.store import logs
from node.store.tables import LARGEST, LEDGER
from tests.leaks.comparing import Comparison, Drawn, Heard, stale, structured, text
from tests.leaks.nodes import ARGENTINE, Entropy, Template, ToldBell, foreign_draft, routes_of, served
from tests.leaks.pairs import HELD, TODAY, Act, Fields, Pair, Step, tin_of
from tests.service.world import LEIS, ROUNDS, Node, World, open_world, opened, operator

Json = dict[str, Any]
Seen = list[tuple[str, Any]]

WAIT_S = 60
"""How long a request for news may wait: there is a new one for each step, so that none comes to its end."""
SMALL_PAGE = 3
"""Entries in a page when all is read again, so that there are several."""
BODY = b'{"given": true}'
SIGNED: dict[bytes, bytes] = {}
"""What Uruguay has signed of questions: alike in both worlds, though a signature is partly random."""
FAR_DAY = "2027-12-01"
"""Behind every notice that terms ask for."""
DRAWN_AGAIN = 8
"""The first steps of a world are lived through again with other random bytes."""


@dataclass
class Run:
    """One world, and what Uruguay has observed of it."""

    template: Template
    world: World
    entropies: tuple[Entropy, Entropy]
    loop: asyncio.AbstractEventLoop
    seen: Seen = field(default_factory=list)
    drawn: Drawn = field(default_factory=Drawn)
    is_deaf: bool = False
    """Whether Uruguay refused what came: it asks no more, for it would be told the same again."""

    def __post_init__(self) -> None:
        self.br, self.uy = self.world.nodes
        self.apps = {node.country: served(node) for node in self.world.nodes}
        self.clients = {
            node.country: httpx.AsyncClient(
                transport=httpx.ASGITransport(self.apps[node.country]),
                base_url=node.parts.settings.address,
                headers={"accept-encoding": "identity"},
            )
            for node in self.world.nodes
        }
        self._waiting: asyncio.Task[Heard] | None = None
        self._epochs: dict[str, dict[int, bytes]] = {}
        self._agreements = [self.template.shared]
        self._all = [self.template.shared, self.template.asked]
        self.read(f"/v1/operators/{tin_of(HELD)}")  # before the first read the ledger commits to none

    @property
    def shared(self) -> str:
        """The agreement of the two that holds now."""
        return self._agreements[-1]

    # What is done: the acts of `pairs`

    def nothing(self) -> None:
        """Nothing."""

    def record(self, fields: Fields, by: str, reason: str, key: str | None) -> None:
        """Enter an operator or change one."""
        self._submit(AdmitOne(model.to_json(model.parse(fields)), Author(by, reason), key))

    def import_list(self, rows: Sequence[Fields], by: str, reason: str) -> None:
        """Enter the rows of a list."""
        parsed = [model.to_json(model.parse(row)) for row in rows]
        told = self._submit(AdmitList(parsed, Author(by, reason, "lista")))
        assert [each.kind for each in told] == ["new"] * len(rows), told

    def erase(self, number: int, reference: str, by: str) -> None:
        """Erase an operator."""
        self._submit(Erase(tin_of(number), "NOT_NEEDED", reference, by))

    def days_pass(self) -> None:
        """A day passes."""
        self.world.days_pass()

    def suspend(self) -> None:
        """Brazil suspends the direction to Uruguay."""
        self._submit(Sign(self.shared, "suspend", "BR", "UY", reason="acordado"))

    def resume(self) -> None:
        """Brazil proposes to resume it, and Uruguay signs."""
        self._submit(Sign(self.shared, "resume", "BR", "UY"))
        self.come_to_rest("proposed")
        if not self.is_deaf:
            self.uy.settle(Sign(self.shared, "resume", "BR", "UY"))

    def amend(self) -> None:
        """Brazil and Uruguay replace their agreement by one with the same terms."""
        clauses, contract = terms.terms("br_uy"), rules.text("mra_v1")
        new = self._submit(Draft("Anew", ("BR", "UY"), clauses, contract, self.shared))
        self._submit(Sign(new, "sign"))
        self.come_to_rest("drafted")
        if not self.is_deaf:
            self.uy.settle(Sign(new, "sign"))
            self._agreements.append(new)
            self._all.append(new)

    def suspend_abroad(self, reason: str) -> None:
        """Brazil suspends the direction to Argentina."""
        self._submit(Sign(self.template.foreign, "suspend", "BR", "AR", reason=reason))

    def decline_abroad(self, draft: int, reason: str) -> None:
        """Brazil takes back a draft with Argentina."""
        self._submit(Withdraw(self.template.drafts[draft], reason=reason))

    def sign_abroad(self, draft: int) -> None:
        """Brazil signs a draft with Argentina, which has not."""
        self._try(Sign(self.template.drafts[draft], "sign"))

    def new_draft(self, title: str) -> None:
        """Brazil drafts another agreement with Argentina."""
        self._submit(foreign_draft(title))

    def leave_abroad(self, reason: str) -> None:
        """Brazil leaves the agreement with Argentina and Paraguay."""
        self._submit(Sign(self.template.three, "leave", effective=FAR_DAY, reason=reason))

    def decide_here(self, is_suspended: bool, reason: str, by: str) -> None:
        """Brazil stops treating an operator of Argentina as recognised, or does so again."""
        if is_suspended:
            self._submit(SuspendHere(ARGENTINE, "SECURITY", reason, by, self.template.foreign))
        else:
            self._submit(ResumeHere(ARGENTINE, reason, by, self.template.foreign))

    def amend_abroad(self, title: str) -> None:
        """Brazil drafts what is to replace its agreement with Argentina, and signs it; Argentina does not."""
        self._try(Sign(self._submit(foreign_draft(title, self.template.foreign)), "sign"))

    def report_abroad(self, text: str, by: str) -> None:
        """Brazil reports something of an operator of Argentina."""
        self._try(ReportIrregularity(ARGENTINE, "CARGO", text, by, self.template.foreign))

    def acknowledge_abroad(self, report: int, text: str, by: str) -> None:
        """Brazil acknowledges what Argentina reported."""
        self._try(Acknowledge(report, text, by))

    def report(self, number: int, text: str, by: str) -> None:
        """Uruguay reports something of an operator, and an officer of Brazil acknowledges it."""
        if self.is_deaf:
            return
        self.uy.settle(ReportIrregularity(tin_of(number), "CARGO", text, "inspector"))
        self.come_to_rest("reported")
        with self.br.parts.database.read() as connection:
            heard = [each for each in reporting.listed(connection, LARGEST, 10) if each["text"] == text]
        self._begin("acknowledged")
        for each in heard:  # none where Brazil refused what came, because of what leaks
            self._submit(Acknowledge(each["report"], "inspected", by))

    def fetch(self, identifier: str, scheme: str) -> None:
        """Uruguay asks about one operator."""
        parts, case = self.uy.parts, Case("clearance", "DUA 1", "UY")
        sign = es256_signer(parts.keys.credential[0])
        named = Named(identifier, scheme, b64u(parts.entropy(SALT_BYTES)))
        asks = Asker(self.template.asked, "BR", "UY")
        question = asks.ask(named, case, parts.now_ms(), lambda said: SIGNED.setdefault(said, sign(said)))
        body = canonical.encode(question.to_json())
        headers = {"content-type": "application/json"}
        heard = self._asked("BR", "POST", "/v1/peer/fetch", signed=True, body=body, headers=headers)
        assert heard.status in (200, 404), heard
        self._note(f"asked for {scheme} {identifier}", heard, "")

    def suspend_here(self, number: int) -> None:
        """Uruguay stops treating an operator as recognised, by its own decision."""
        if not self.is_deaf:
            self.uy.settle(SuspendHere(tin_of(number), "SECURITY", "caso 4711", "jefe"))

    def consent(self, number: int, given: bool, scope: Sequence[str], said: str, by: str) -> None:
        """An operator consents to being named, or withdraws that."""
        scopes: consents.Scope = scope or "GENERAL"
        statement = Statement(f"sócio {by}", said)
        told = self._submit(ChangeConsent(tin_of(number), given, scopes, statement, Author(by, said)))
        assert told.kind == "changed", told

    def backup(self) -> None:
        """Somebody at Brazil makes a backup."""
        backup.write(self.br.parts, BytesIO(), lambda *_: None)

    def read(self, path: str) -> None:
        """An officer of Brazil asks its node."""
        heard = self._of_own("BR", path)
        assert heard.status in (200, 404), heard

    def hold(self, number: int, reason: str) -> None:
        """The law forbids to erase an operator."""
        self._submit(HoldRecord(tin_of(number), reason, "chefe"))

    def new_token(self, label: str) -> None:
        """Somebody at Brazil gets a token."""
        parts = self.br.parts
        tokens.create(parts.database, "officer", label, None, parts.now_ms(), parts.entropy)

    def incident(self, why: str) -> None:
        """Something that Argentina sent does not hold."""
        with self.br.parts.database.read() as connection:
            peer = self.br.parts.peers.by_country(connection)["AR"]
        failures.failed(self.br.parts, peer, Malformed("an answer is out of form", why=why), None)

    def refused(self, number: int) -> None:
        """A change that the rules refuse."""
        self._try(
            AdmitOne(model.to_json(model.parse(operator(country="AR", tin=f"AR{number}"))), Author("ana"))
        )

    def put_back(self, draft: int, ahead: int) -> None:
        """Somebody shows Brazil what it signed of a channel to Argentina, and has not in its store."""
        parts = self.br.parts
        origin = channel_origin(parts.settings.name, self.template.drafts[draft], "AR")
        note = parts.sign(Checkpoint(origin, ahead, bytes(32)))
        behind.hold(parts, "aeo.ar.example", behind.opened(parts, note), note)

    def _submit(self, work: Any) -> Any:
        return self.apps["BR"].state.sequencer.submit(work).result()

    def _try(self, work: Any) -> None:
        try:
            self._submit(work)
        except Refusal:
            return

    # What goes on by itself

    def step(self, number: int, act: Act) -> None:
        """Do something at Brazil's node, a second later, and let the nodes come to rest."""
        self.world.clock.ms += 1_000
        self.end_waiting()
        self._hear(f"{number}, before")
        self._begin(f"{number}")
        getattr(self, act.name)(**act.says)
        self._begin(f"{number}, what was asked")
        for application in self.apps.values():
            application.state.access.keep()
        self.come_to_rest(f"{number}")

    def come_to_rest(self, what: str) -> None:
        """Both keepers, and news both ways, until nothing is new."""
        for turn in range(ROUNDS):
            self._begin(f"{what} {turn}")
            steps = self.br.keep()
            if steps:
                self.br.parts.bell.ring()
            heard = self._hear(what)
            self._begin(f"{what} {turn} UY")
            steps += self.uy.keep()
            before = self.world.cursors(self.br)
            with suppress(Refusal):  # what leaks from a partner's node as well may be refused here
                self.world.carry(self.br)
            if not steps and not heard and self.world.cursors(self.br) == before:
                self.seen.append((f"step {what}", "waits"))
                return
        raise AssertionError("the nodes never came to rest")

    def _begin(self, step: str) -> None:
        for each in self.entropies:
            each.begin(step)

    def _hear(self, what: str) -> bool:
        """Whether Uruguay's open request for news was answered; it takes that over, and asks again."""
        heard = False
        for _ in range(ROUNDS):
            if self.is_deaf or not self.loop.run_until_complete(self._is_answered()):
                return heard
            assert self._waiting is not None
            answer, self._waiting, heard = self._waiting.result(), None, True
            self.seen.append((f"step {what}: news", self._news(answer, "/v1/peer/news")))
            self._take(answer)
        raise AssertionError("there is no end of news")

    async def _is_answered(self) -> bool:
        bell = self.br.parts.bell
        assert isinstance(bell, ToldBell)
        if self._waiting is None:
            path = self._news_path(self.world.cursors(self.uy), WAIT_S)
            self._waiting = self.loop.create_task(self.ask("BR", "GET", path, signed=True))
            bell.is_awaited = False
        while not self._waiting.done() and not bell.is_awaited:
            await asyncio.sleep(0)
        return self._waiting.done()

    def _take(self, answer: Heard) -> None:
        try:
            self.world.take(self.uy, orjson.loads(answer.body))
        except Refusal as refusal:
            self.is_deaf = True
            self.seen.append(("refused by Uruguay", refusal.sentence()))

    def _news_path(self, cursors: Any, wait_s: float = 0) -> str:
        at = [("at", f"{agreement}:{size}") for agreement, size in cursors.channels.items()]
        query = [("card", cursors.card), ("rev", cursors.rev), ("ledger", cursors.ledger), *at]
        return asking("/v1/peer/news", [*query, ("wait", wait_s)])

    # What is asked

    async def ask(
        self,
        country: str,
        method: str,
        path: str,
        *,
        signed: bool = False,
        body: bytes = b"",
        headers: Mapping[str, str] = {},
    ) -> Heard:
        """The answer to one request; `signed`: by Uruguay's node."""
        url = self.world.br.parts.settings.address if country == "BR" else self.uy.parts.settings.address
        sent = dict(headers)
        if signed:
            parts = self.uy.parts
            now_s = parts.now_ms() / 1000
            name, key = parts.settings.name, parts.keys.known_to_peers
            sent |= requests.sign(method, url + path, body, name, key, now_s)
        async with self.clients[country].stream(method, path, content=body or None, headers=sent) as answer:
            raw = b"".join([each async for each in answer.aiter_raw()])
        told = tuple((name.decode(), value.decode()) for name, value in answer.headers.raw)
        return Heard(answer.status_code, told, raw)

    def _asked(self, country: str, method: str, path: str, **how: Any) -> Heard:
        return self.loop.run_until_complete(self.ask(country, method, path, **how))

    def _of_own(self, country: str, path: str, method: str = "GET", body: bytes = b"") -> Heard:
        headers = {"authorization": f"Bearer {self.template.tokens[country]}"}
        headers |= {"content-type": "application/json"} if body else {}
        return self._asked(country, method, path, body=body, headers=headers)

    def _note(self, what: str, heard: Heard, path: str) -> None:
        self.seen.append((what, heard.structured(path)))

    def ask_all(self, pair: Pair) -> None:
        """Ask everything that can be asked, now that all is done."""
        self.end_waiting()
        self._begin("at the end")
        self._read_all_again()
        self._ask_every_route(pair)
        self._read_logs()
        self._ask_the_witness()
        self._ask_the_own_node(pair)

    def end_waiting(self) -> None:
        """Take back the open request for news."""
        if self._waiting is not None:
            self._waiting.cancel()
            self.loop.run_until_complete(asyncio.gather(self._waiting, return_exceptions=True))
            self._waiting = None

    def _read_all_again(self) -> None:
        """Everything from its beginning, a few entries at a time; and what is held of the own logs."""
        built, parts = self.apps["BR"], self.br.parts
        built.state.parts = replace(
            parts, settings=parts.settings.model_copy(update={"page_limit": SMALL_PAGE})
        )
        after, known = dict.fromkeys(self._all, 0), self.world.cursors(self.uy)
        for number in range(500):
            channels = {**after, self.template.foreign: 0, "unknown": 3}
            cursors = replace(known, card=1, rev=0, ledger=known.ledger if number else 0, channels=channels)
            path = self._news_path(cursors)
            heard = self._asked("BR", "GET", path, signed=True)
            self.seen.append((f"all again, {number}", self._news(heard, path)))
            pages = orjson.loads(heard.body).get("channels", [])
            for each in pages:
                after[each["agreement"]] += len(each["entries"])
            if not any(each["entries"] for each in pages):
                break
        built.state.parts = parts
        for path in (
            "/v1/peer/seen",
            "/v1/peer/held?ledger=0",
            f"/v1/peer/held?ledger=0&at={self.shared}:1",
        ):
            heard = self._asked("BR", "GET", path, signed=True)
            self.seen.append((path, self._news(heard, path)))

    def _news(self, heard: Heard, path: str) -> Any:
        """An answer with entries of channels, and what they say when they are opened."""
        told = heard.structured(path)
        if heard.status != 200:
            return told
        answer = orjson.loads(heard.body)
        pages = answer.get("channels", [])
        return told | {"opened": [self._opened(page, path) for page in pages]}

    def _opened(self, page: Json, path: str) -> Any:
        """The bodies of a page, each with its length; also of the own channel that a partner holds."""
        issuer, partner = (self.uy, self.br) if "held" in path else (self.br, self.uy)
        origin = channel_origin(issuer.parts.settings.name, page["agreement"], partner.country)
        keys = self._epochs.setdefault(origin, {})
        for number, envelope in page["epochs"].items():
            raw = unb64(envelope)
            keys[int(number)] = sealing.receive(raw, self.uy.parts.keys.seal, origin, int(number))
        told: list[Any] = [{str(number): keys[number] for number in sorted(keys)}]
        for part in page["entries"]:
            if part["body"] is None:
                told.append(None)
                continue
            entry, sealed = ChannelEntry.decode(part["entry"].encode()), unb64(part["body"])
            body = sealing.unseal(sealing.entry_key(keys[entry.epoch], entry.seq), sealed, entry.header())
            content: Any = canonical.decode(body)
            if entry.kind == "disclosure" and content["record_id"] not in self.template.record_ids:
                self.drawn.note(content)
            told.append([len(sealed), len(body), structured(content)])
        return told

    def _ask_every_route(self, pair: Pair) -> None:
        """Every route of Brazil's node, as nobody, as Uruguay, and with a token that nobody has."""
        bogus = {"authorization": "Bearer aeo_000000000000_" + "A" * 43}
        common = {"content-type": "application/json", "idempotency-key": "key-1"}
        asked = [("GET", f"/v1/search?name={quote(name)}") for name in pair.names]
        asked += [("GET", f"/v1/operators?identifier={LEIS[2]}"), ("GET", "/nowhere"), ("PUT", "/v1/card")]
        for method, route in [*routes_of(self.apps["BR"].routes), *asked]:
            body = BODY if method in ("POST", "PUT") and "witness" not in route else b""
            paths = self._filled(route, pair)
            for path in paths:
                callers = [("nobody", {}), ("UY", {"signed": True}), ("bogus", {"headers": bogus})]
                for who, how in callers if path == paths[0] else callers[:2]:
                    told = {**common, **how.get("headers", {})} if body else how.get("headers", {})
                    signed = bool(how.get("signed"))
                    heard = self._asked("BR", method, path, signed=signed, body=body, headers=told)
                    self._note(f"{who}: {method} {path}", heard, path)

    def _filled(self, route: str, pair: Pair) -> list[str]:
        """The paths of a route, with what may be asked for in its places."""
        shared, foreign, draft = self.shared, self.template.foreign, self.template.drafts[0]
        unknown = "A" * 43
        if "{issuer}" in route:
            ends = [(shared, "BR", "UY"), (shared, "BR", "AR"), (foreign, "BR", "AR"), (foreign, "AR", "BR")]
            ends += [(foreign, "BR", "UY"), (unknown, "BR", "AR")]
            found = [route.replace("{agreement}/{issuer}/{partner}", "/".join(each)) for each in ends]
        else:
            places = {"agreement": [shared, foreign, draft, unknown], "country": ["AR", "PY"]}
            places |= {"tin": [tin_of(number) for number in pair.numbers[:1] + pair.numbers[-3:]]}
            places |= {"incident": ["1"], "seq": ["0", "1000000"], "report": ["1"]}
            found = [route]
            for name in [name for name in places if f"{{{name}}}" in route]:
                found = [path.replace(f"{{{name}}}", value) for path in found for value in places[name]]
        found = [path.replace("{level}", "0").replace("{place:path}", "000") for path in found]
        assert not any("{" in path for path in found), f"nothing is asked for in a place of {route}"
        return found

    def _read_logs(self) -> None:
        """The ledger as anybody reads it, and the own channels as their parties do."""
        with self.br.parts.database.read() as connection:
            ledger = logs.head(connection, LEDGER)
        assert ledger is not None
        places = [("/log", ledger.size, False)]
        for agreement in self._agreements:
            for reader, ends in ((self.uy, ("BR", "UY")), (self.br, ("UY", "BR"))):
                size = _size_told(reader, agreement, *ends)
                places.append((f"/channel/{agreement}/{'/'.join(ends)}", size, True))
        for place, size, signed in places:
            paths = [f"{place}/checkpoint"]
            width = min(size, tiles.TILE_WIDTH)
            paths += [f"{place}/{tiles.bundle_path(0, width)}", f"{place}/{tiles.Tile(0, 0, width).path()}"]
            paths += [f"{place}/{tiles.bundle_path(0, width + 1)}"] if width < tiles.TILE_WIDTH else []
            for path in paths:
                for encoding in ("identity", "gzip"):
                    headers = {"accept-encoding": encoding}
                    heard = self._asked("BR", "GET", path, signed=signed, headers=headers)
                    self._note(f"{encoding} {path}", heard, path)

    def _ask_the_witness(self) -> None:
        """Cosignatures: on the own ledger, on a log of nobody, and on logs between Brazil and Argentina."""
        uy = self.uy.ledger()
        with self.uy.parts.database.read() as connection:
            proof = Tree(logs.tile_reader(connection, LEDGER), uy.size).consistency_proof(1)
        mine = request(1, proof, uy.checkpoint)
        ar, foreign = "aeo.ar.example", self.template.foreign
        between = [channel_origin("aeo.br.example", foreign, "AR"), channel_origin(ar, foreign, "BR")]
        others = [
            mine.replace(b"aeo.uy.example/ledger", each.encode()) for each in (*between, "x.example/ledger")
        ]
        for body in (mine, *others, b"old 0\n"):
            for signed in (False, True):
                heard = self._asked("BR", "POST", "/witness/add-checkpoint", signed=signed, body=body)
                self._note(f"witness {body[:60]!r} {signed}", heard, "")

    def _ask_the_own_node(self, pair: Pair) -> None:
        """What Uruguay's officers see: lookups, search, history, evidence, the feed, and every list."""
        shown = [tin_of(number) for number in pair.numbers]
        parts = ("", "/history", "/evidence", f"/as-of?effective={TODAY}", f"/as-of?known={TODAY}")
        paths = [f"/v1/operators/{tin}{part}" for tin in shown for part in parts]
        paths += [f"/v1/search?name={quote(name)}" for name in (*pair.names, "Caatinga", "Marca")]
        paths += [
            route
            for method, route in routes_of(self.apps["UY"].routes)
            if method == "GET" and "{" not in route
        ]
        paths += [f"/v1/agreements/{self.shared}{part}" for part in ("", "/decisions")]
        for path in paths:
            if path != "/v1/changes" and not path.startswith("/v1/peer/"):
                heard = self._of_own("UY", path)
                assert heard.status < 500, "the own node answers"
                self._note(f"own {path}", heard, path)
        wanted = orjson.dumps({"identifiers": shown})
        self._note("own list", self._of_own("UY", "/v1/operators/lookup", "POST", wanted), "")
        self.seen.append(("own feed", text(self._feed().decode())))

    def _feed(self) -> bytes:
        """The feed of Uruguay's node from its beginning: what it says before it waits."""
        sent: list[bytes] = []
        self.uy.parts.bell.ring()
        header = (b"authorization", f"Bearer {self.template.tokens['UY']}".encode())
        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": "GET",
            "path": "/v1/changes",
            "scheme": "http",
        }
        scope |= {"raw_path": b"/v1/changes", "query_string": b"after=0", "headers": [header]}
        bell = self.uy.parts.bell
        assert isinstance(bell, ToldBell)

        async def receive() -> Json:
            while not bell.is_awaited:
                await asyncio.sleep(0)
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message.get("body", b""))

        self.loop.run_until_complete(self.apps["UY"](scope, receive, send))
        return b"".join(sent)


# Two of them


@contextmanager
def begun(template: Template, seed: int) -> Iterator[Run]:
    """A new world, a copy of the template's."""
    folder = Path(tempfile.mkdtemp(prefix="aeo-leaks-"))
    first = len(opened)
    run, loop = None, asyncio.new_event_loop()
    try:
        for country in ("br", "uy"):
            shutil.copytree(template.folder / country, folder / country)
        world = open_world(folder, template.shared, seed)
        drawn = (Entropy(f"{seed} br"), Entropy(f"{seed} uy"))
        for node, entropy in zip(world.nodes, drawn, strict=True):
            settings = node.parts.settings.model_copy(update={"wait_limit_s": float(WAIT_S)})
            node.parts = replace(node.parts, settings=settings, entropy=entropy, bell=ToldBell())
        run = Run(template, world, drawn, loop)
        yield run
    finally:
        if run is not None:
            run.end_waiting()
            for application in run.apps.values():
                application.state.access.let_go()
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()
        for node in opened[first:]:
            node.parts.database.close()
        del opened[first:]
        shutil.rmtree(folder)


def leak(template: Template, pair: Pair) -> str | None:
    """The first thing by which Uruguay can tell the two worlds apart; None where there is nothing."""
    with begun(template, 1) as one, begun(template, 1) as other:
        if (found := next(_differences(pair, one, other), None)) is not None:
            return found
    with begun(template, 2) as again:
        for part in islice(_parts(pair), DRAWN_AGAIN):
            part(again, 0)
    return next(stale(one.drawn, again.drawn), None)


def _differences(pair: Pair, one: Run, other: Run) -> Iterator[str]:
    """The differences between two worlds, found as they are lived through, step by step."""
    walk = Comparison()
    for part in (*_parts(pair), lambda run, _: run.ask_all(pair)):
        for side, run in enumerate((one, other)):
            run.seen.clear()
            part(run, side)
        yield from _compared(walk, one.seen, other.seen)


def _parts(pair: Pair) -> Iterator[Callable[[Run, int], None]]:
    """What a world lives through, in parts."""
    yield lambda run, _: run.come_to_rest("before")
    for number, step in enumerate(pair.steps):
        yield partial(_step, number, step)


def _step(number: int, step: Step, run: Run, side: int) -> None:
    run.step(number, step.acts[side])


def _size_told(reader: Node, agreement: str, issuer: str, partner: str) -> int:
    """How many entries of a channel its reader was told of."""
    with reader.parts.database.read() as connection:
        channel = stored_channels.channel(connection, agreement, issuer, partner)
        head = logs.head(connection, channel.log) if channel else None
    return head.size if head and head.size else 1


def _compared(walk: Comparison, one: Seen, other: Seen) -> Iterator[str]:
    for (what, left), (same, right) in zip(one, other, strict=False):
        if what != same:
            yield f"{what} | {same}"
            return
        yield from walk.differences(left, right, what)
    if len(one) != len(other):
        yield f"{len(one)} observations | {len(other)}"
