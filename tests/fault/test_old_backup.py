"""The drill: a node whose store was put back to an older copy notices, writes nothing, and forks nothing."""

import json
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from clients.demo.waiting import until
from node import assembly
from node.exchange.card import ledger_origin
from node.ledger import canonical, tiles, witness
from node.ledger.checkpoint import Checkpoint
from node.ledger.encoding import b64u, unb64u
from node.ledger.entry import LedgerEntry, commitment
from node.ledger.merkle import leaf_hash
from node.ledger.tiles import Tree
from tests.nodes import DATABASE, QUICK, Node, Pair, brazilian, checkpoint_of, copy_of, entries_of, running

BEFORE, SINCE, LATER = brazilian(1), brazilian(2), brazilian(3)
RECORD = "last-checkpoint"


@dataclass
class Drill:
    """BR stands still after an operator that its backup lacks; UY has both operators, and runs."""

    pair: Pair
    backup: Path
    checkpoint: Checkpoint

    @property
    def br(self) -> Node:
        return self.pair.br

    @property
    def uy(self) -> Node:
        return self.pair.uy

    def put_back(self, *, with_record: bool) -> None:
        """The old store in place of the new one; `with_record` leaves what BR keeps apart from it."""
        self.put(self.backup)
        if not with_record:
            (self.br.home / RECORD).unlink()

    def put(self, copy: Path) -> None:
        for file in self.br.home.glob(DATABASE + "*"):
            file.unlink()
        for file in copy.glob(DATABASE + "*"):
            shutil.copy(file, self.br.home)


@pytest.fixture(scope="module")
def drilled(signed: Pair, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Drill]:
    """How every drill begins: made once, and standing still; `drill` copies it."""
    folder = tmp_path_factory.mktemp("drilled")
    pair, backup = copy_of(signed, folder, **QUICK), folder / "backup"
    br = pair.br
    with running(*pair.both()):
        br.post("/v1/operators", BEFORE)
        pair.await_copy()
        br.stop()
        shutil.copytree(br.home, backup)
        br.run()
        br.post("/v1/operators", SINCE)
        pair.await_copy()
        newest = checkpoint_of(br)
        for node in pair.both():
            node.stop()
        yield Drill(pair, backup, newest)


@pytest.fixture
def drill(drilled: Drill, tmp_path: Path) -> Iterator[Drill]:
    pair = copy_of(drilled.pair, tmp_path, **QUICK)
    with running(pair.uy), closing(pair.br):
        yield Drill(pair, drilled.backup, drilled.checkpoint)


def health(node: Node) -> list[str]:
    """What a node says of itself: word and size, and why."""
    answer = node.http.get("/healthz")
    assert answer.status_code == 200, f"readers are still to be sent here: {answer.text}"
    return list(answer.text.splitlines())


def stands_still(node: Node) -> str:
    """Wait until a node says that it writes nothing; gives why."""
    _, why = until(lambda: len(told := health(node)) == 2 and told, what="the node to say that it is behind")
    return str(why)


def is_refused(node: Node, path: str, body: Any) -> str:
    answer = node.http.post(path, json=body)
    assert answer.status_code == 409, answer.text
    return str(answer.json()["detail"])


def check_partner(drill: Drill) -> None:
    """The partner goes on answering from what was proven, and has nothing to accuse anybody of."""
    uy = drill.uy
    for operator in (BEFORE, SINCE):
        assert uy.answer(operator["tin"])["fields"]["legal_name"] == operator["legal_name"]
    found = uy.get("/v1/incidents")["incidents"]
    assert {each["kind"] for each in found} <= {"late", "unaudited", "replaced"}, "no more than it saw"
    assert uy.channel("in")["ledger_size"] == drill.checkpoint.size


def test_by_its_own_record_it_does_not_start(drill: Drill) -> None:
    drill.put_back(with_record=True)
    drill.br.start()
    assert drill.br.process is not None
    assert drill.br.process.wait(30) == 2
    drill.br.process = None
    said = drill.br.log().splitlines()[-1]
    size = drill.checkpoint.size
    assert f"it holds {size - 1} entries of {drill.br.name}/ledger, of which {size} were signed" in said
    assert "aeo recover" in said
    [finding] = drill.br.fsck()
    assert (finding["log"], "aeo recover" in finding["what"]) == (RECORD, True)
    check_partner(drill)


def test_of_a_node_that_stopped_the_file_alone_is_an_older_store(drill: Drill) -> None:
    (drill.br.home / f"{DATABASE}-wal").unlink()
    [finding] = drill.br.fsck()
    assert f"of which {drill.checkpoint.size} were signed" in finding["what"]


def test_without_the_record_it_learns_from_its_partner_and_writes_nothing(drill: Drill) -> None:
    drill.put_back(with_record=False)
    br, size = drill.br, drill.checkpoint.size
    br.run()
    detail = is_refused(br, "/v1/operators", LATER)
    assert f"it holds {size - 1} entries of {br.name}/ledger, of which {size} were signed" in detail
    assert f"as {drill.uy.name} has seen" in detail
    assert "aeo recover" in detail
    assert health(br)[0] == f"behind {size - 1}"
    assert br.answer(BEFORE["tin"])["alerts"] == [f"behind: {stands_still(br)}"]
    assert br.http.get(f"/v1/operators/{SINCE['tin']}").status_code == 404
    for incident in br.incidents("behind"):
        assert "store was put back" in is_refused(br, f"/v1/incidents/{incident['incident']}/close", None)
    assert "writes nothing from now on" in br.log()
    assert checkpoint_of(br).size == size - 1
    check_partner(drill)
    found = br.fsck()
    assert found[0]["log"] == f"{br.name}/ledger"
    assert all("the store was put back" in each["what"] for each in found)


def test_a_partner_that_was_away_is_asked_before_its_news_are_taken(drill: Drill) -> None:
    drill.put_back(with_record=False)
    drill.uy.kill()
    drill.br.run()
    assert health(drill.br) == [f"ok {drill.checkpoint.size - 1}"], "a dead partner stops nobody"
    drill.uy.run()
    assert drill.uy.name in stands_still(drill.br)
    is_refused(drill.br, "/v1/operators", LATER)
    check_partner(drill)


def test_it_goes_on_once_the_store_that_holds_everything_is_back(drill: Drill, tmp_path: Path) -> None:
    shutil.copytree(drill.br.home, tmp_path / "newest")
    drill.put_back(with_record=False)
    drill.br.run()
    is_refused(drill.br, "/v1/operators", LATER)
    drill.br.stop()
    drill.put(tmp_path / "newest")
    drill.br.run()
    assert drill.br.post("/v1/operators", LATER)["ledger_seq"] == drill.checkpoint.size
    drill.pair.await_copy()
    assert drill.uy.answer(LATER["tin"])["fields"]["tin"] == LATER["tin"]
    assert drill.br.fsck() == []


def test_what_a_partner_claims_without_our_signature_stops_nobody(drill: Drill) -> None:
    """It says that it has seen a thousand entries more, of the ledger and of the channel."""
    drill.br.run()
    drill.uy.stop()
    with drill.uy.store() as store:
        for table, note in (("witnessed", "note"), ("log_head", "checkpoint")):
            rows = store.execute(
                f"SELECT origin, {note} FROM {table} WHERE origin LIKE '{drill.br.name}/%'"
            ).fetchall()
            assert rows
            for origin, text in rows:
                first, size, rest = text.split("\n", 2)
                claimed = f"{first}\n{int(size) + 1000}\n{rest}"
                store.execute(f"UPDATE {table} SET {note} = ? WHERE origin = ?", (claimed, origin))
    drill.br.stop()
    drill.uy.run()  # and serves before this node asks: what it hears of us next takes the place of its claim
    drill.br.run()
    assert drill.br.post("/v1/operators", LATER)["ledger_seq"] == drill.checkpoint.size
    assert health(drill.br) == [f"ok {drill.checkpoint.size + 1}"]
    until(lambda: "what we did not sign" in drill.br.log(), what="the note of what the partner claims")


def recovered(node: Node, code: int) -> Any:
    """What `recover` says, as JSON; its exit code says whether anything is lost."""
    done = node.command("recover", "--json")
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout)


def contents(home: Path) -> dict[str, str]:
    """Every row of a node's store."""
    with sqlite3.connect(home / DATABASE) as store:
        names = [row[0] for row in store.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {name: repr(store.execute(f"SELECT * FROM {name}").fetchall()) for name in names}


def lose(drill: Drill) -> list[dict[str, Any]]:
    """An operator that the partner is told of, one that it is not, a status, an act; then the old store."""
    br = drill.br
    br.run()
    hidden = brazilian(5, mra_consent={"given": False, "scope": "GENERAL", "withdrawn_on": "2026-01-01"})
    br.post("/v1/operators", hidden)
    br.post(f"/v1/operators/{BEFORE['tin']}/status", {"status": "SUSPENDED"})
    drill.pair.await_copy()
    suspend = {"act": "suspend", "issuer": "BR", "partner": "UY"}
    br.post(f"/v1/agreements/{drill.pair.agreement}/acts", suspend)
    until(lambda: br.channel("out")["shared"] == 0 and br.channel("out")["in_line"])
    drill.pair.await_copy()
    until(lambda: drill.uy.channel("in")["state"] == "SUSPENDED", what="the act at the partner")
    drill.checkpoint = checkpoint_of(br)
    br.stop()
    drill.put_back(with_record=True)
    [record, unseen, status, act] = [{"seq": drill.checkpoint.size - at} for at in (4, 3, 2, 1)]
    record |= {"known": "record", "tin": SINCE["tin"], "shown_by": [drill.uy.name]}
    unseen |= {"known": "hash"}
    status |= {"known": "record", "tin": BEFORE["tin"], "shown_by": [drill.uy.name]}
    act |= {"known": "agreement", "shown_by": [drill.uy.name]}
    return [record, unseen, status, act]


def test_recover_says_what_is_lost_and_what_partners_hold_of_it(drill: Drill) -> None:
    expected = lose(drill)
    before = contents(drill.br.home)
    told = recovered(drill.br, 1)
    assert (told["whole"], told["rebuilt"], told["contradictions"], told["unheard"]) == (False, False, [], {})
    ledger, channel = told["lost"]
    size = drill.checkpoint.size
    assert ledger == {
        "origin": f"{drill.br.name}/ledger",
        "held": size - 4,
        "signed": size,
        "had_again": 3,
        "shown_by": [RECORD, drill.uy.name],
    }
    assert channel["had_again"] == channel["signed"] - channel["held"] > 0
    assert [
        {name: each.get(name) for name in want} for each, want in zip(told["entries"], expected, strict=True)
    ] == expected
    for each in told["entries"]:
        if each["known"] != "hash":
            entry = LedgerEntry.decode(each["entry"].encode())
            assert commitment(unb64u(each["salt"]), canonical.encode(each["body"])) == entry.commit
            assert b64u(leaf_hash(each["entry"].encode())) == each["leaf"]
    record, _, status, act = told["entries"]
    assert record["fields"]["legal_name"] == SINCE["legal_name"]
    assert status["fields"]["status"] == "SUSPENDED"
    assert act["body"]["agreement"] == drill.pair.agreement
    refused = drill.br.command("recover", "--rebuild")
    assert refused.returncode == 2
    assert "partners do not hold all" in refused.stderr
    assert contents(drill.br.home) == before, "nothing is written"
    text = drill.br.command("recover")
    assert text.returncode == 1
    assert f"entry {size - 3}: only its hash is known" in text.stdout
    assert f"about {SINCE['tin']}" in text.stdout
    assert "Known again: 3 of 4 entries, about 2 operators." in text.stdout
    assert contents(drill.br.home) == before
    assert drill.uy.incidents("forked") == drill.uy.incidents("replaced") == []


def test_recover_without_partners_tells_how_much_is_lost_by_the_record_alone(drill: Drill) -> None:
    drill.put_back(with_record=True)
    drill.uy.stop()
    told = recovered(drill.br, 1)
    assert list(told["unheard"]) == [drill.uy.name]
    assert told["entries"] == [{"seq": drill.checkpoint.size - 1, "known": "nothing"}]


def test_recover_finds_nothing_missing_in_a_whole_store(drill: Drill) -> None:
    assert recovered(drill.br, 0)["whole"]
    assert "Nothing is missing" in drill.br.command("recover").stdout


def test_recover_tells_of_a_store_that_was_written_on(drill: Drill) -> None:
    """Cut off from its partner and without its record it could not know better."""
    drill.put_back(with_record=False)
    drill.br.environment = {**drill.br.environment, "AEO_PEER_TIMEOUT_S": "0.0001"}
    drill.br.run()
    drill.br.post("/v1/operators", LATER)
    drill.br.stop()
    [told, *_] = recovered(drill.br, 1)["contradictions"]
    assert f"its first {drill.checkpoint.size} entries" in told


def test_what_a_partner_gives_back_counts_only_if_it_was_signed(drill: Drill) -> None:
    drill.put_back(with_record=True)
    drill.uy.stop()
    with drill.uy.store() as store:
        store.execute(
            "UPDATE mirror_version SET body = CAST(replace(CAST(body AS TEXT), ?, ?) AS BLOB)",
            (SINCE["tin"], "BR98000007000100"),
        )
        place = "log = (SELECT log FROM log_head WHERE origin = ?) AND level = 0"
        [(tile,)] = store.execute(
            f"SELECT hashes FROM log_tile WHERE {place}", (f"{drill.br.name}/ledger",)
        ).fetchall()
        store.execute(
            f"UPDATE log_tile SET hashes = ? WHERE {place}",
            (tile[:-1] + bytes([tile[-1] ^ 1]), f"{drill.br.name}/ledger"),
        )
    drill.uy.run()
    told = recovered(drill.br, 1)
    hashes, body = told["unheard"][drill.uy.name]
    assert "do not make, behind our entries, the tree that was signed" in hashes
    assert "a sealed body is not the one its entry names" in body
    assert [each["known"] for each in told["entries"]] == ["nothing"]


@pytest.fixture(params=[1, 5])
def ahead(drill: Drill, request: pytest.FixtureRequest) -> Iterator[bytes]:
    """A request to a witness with what another instance of BR signed: some entries more than BR has."""
    drill.br.run()
    now = checkpoint_of(drill.br)
    leaves = [leaf_hash(entry) for entry in entries_of(drill.br, now.size)] + [bytes(32)] * request.param
    grown = tiles.append(lambda *_: b"", 0, leaves)
    tree = Tree(lambda level, index: grown.tiles[level, index], len(leaves))
    parts = assembly.parts_of(drill.br.home)
    new = Checkpoint(ledger_origin(drill.br.name), len(leaves), tree.root())
    yield witness.request(now.size, tree.consistency_proof(now.size), parts.sign(new))
    parts.database.close()


def test_a_witness_that_has_seen_more_is_asked_for_our_signature(drill: Drill, ahead: bytes) -> None:
    """Another instance of this node writes somewhere, and shows that to a witness."""
    br = drill.br
    until(lambda: br.channel("in")["freshness"]["fresh"], what="the news of the partner")
    answer = drill.uy.http.post("/witness/add-checkpoint", content=ahead)
    assert answer.status_code == 200, answer.text
    br.http.post("/v1/operators", json=LATER)
    assert f"as {drill.uy.name} has seen" in stands_still(br)
    is_refused(br, "/v1/operators", brazilian(4))


def test_what_partners_hold_whole_is_rebuilt_and_the_node_goes_on(new_pair: Pair, tmp_path: Path) -> None:
    """Acts alone came since the backup: both sides hold them, and what the channels told about them."""
    br, uy, backup, tin = new_pair.br, new_pair.uy, tmp_path / "backup", BEFORE["tin"]
    br.post("/v1/operators", BEFORE)
    new_pair.await_copy()
    br.stop()
    backup.mkdir()
    for file in br.home.glob(DATABASE + "*"):
        shutil.copy(file, backup)
    br.run()
    place = f"/v1/agreements/{new_pair.agreement}/acts"
    direction = {"issuer": "BR", "partner": "UY"}
    br.post(place, {"act": "suspend", **direction})
    until(lambda: not uy.answer(tin)["recognition"]["applies"], what="the suspension at the partner")
    for node in (br, uy):
        node.post(place, {"act": "resume", **direction})
        until(lambda: len(uy.get(f"/v1/agreements/{new_pair.agreement}")["acts"]) >= 5, what="the resumption")
    until(lambda: uy.answer(tin)["recognition"]["applies"], what="the resumption at the partner")
    new_pair.await_copy()
    signed = checkpoint_of(br)
    br.stop()
    for file in br.home.glob(DATABASE + "*"):
        file.unlink()
    for file in backup.glob(DATABASE + "*"):
        shutil.copy(file, br.home)

    told = br.command("recover")
    assert (told.returncode, "--rebuild" in told.stdout) == (1, True), told.stdout + told.stderr
    done = br.command("recover", "--rebuild")
    assert (done.returncode, "written again" in done.stdout) == (0, True), done.stdout + done.stderr
    br.run()
    again = checkpoint_of(br)
    assert (again.size, again.root) == (signed.size, signed.root)
    br.post("/v1/operators", SINCE)
    until(lambda: uy.http.get(f"/v1/operators/{SINCE['tin']}").is_success, what="what came behind it")
    assert uy.answer(SINCE["tin"])["recognition"]["applies"]
    for node in (br, uy):
        assert node.get("/v1/incidents", open_only=True)["incidents"] == []
        assert node.fsck() == []
