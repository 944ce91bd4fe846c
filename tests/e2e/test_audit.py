"""`aeo audit`: somebody else's log is re-read by whoever has its key, and nobody is believed."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from clients.demo.waiting import until
from clients.sdk import auditing, tlog
from clients.sdk.auditing import Report, load, trusting
from clients.sdk.tlog import Log, LogUnreachable
from node.errors import Malformed, NotFound, TooMuch, Unproven
from node.ledger import note, policy
from node.ledger.accusation import Accusation
from node.ledger.tiles import encode_bundle
from node.service import bookmark
from tests.fault.test_tamper import change_byte, restore
from tests.nodes import ROOT, Node, brazilian, origin_of
from tests.tlogs import Book, Place, ledger, packed, served, signer

VKEY = signer().verifier().vkey()
TRUSTED = trusting(VKEY)
LEDGER = ledger(1000)


@pytest.fixture
def place() -> Iterator[Place]:
    with served(Book(LEDGER[:600])) as made:
        yield made


@pytest.fixture
def audit(place: Place, tmp_path: Path) -> Callable[[], Report]:
    def run() -> Report:
        with Log(place.url) as log:
            return auditing.audit(log, TRUSTED, tmp_path / "state", lambda done, of: None)

    return run


def aeo(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "clients.cli.main", "audit", *arguments]
    told = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, cwd=cwd, env=told)


# A log that holds.


def test_a_log_is_re_read_once_and_then_only_what_is_new(place: Place, audit: Callable[[], Report]) -> None:
    first = audit()
    assert (first.found, first.before, first.read, first.signed) == (None, None, 600, place.book.signed)
    assert first.chain is not None
    assert first.chain.country == "BR"
    assert place.bundles() == [0, 1, 2]
    place.book.append(LEDGER[600:])
    second = audit()
    assert (second.found, second.before, second.signed.size) == (None, 600, 1000)
    assert place.bundles() == [2, 3]
    third = audit()
    assert (third.found, third.before, place.bundles()) == (None, 1000, [3])


@pytest.mark.parametrize("size", [0, 1, 256, 512])
def test_a_log_of_any_size_can_be_audited_again(size: int, tmp_path: Path) -> None:
    with served(Book(LEDGER[:size])) as place, Log(place.url) as log:
        for before in (None, size):
            report = auditing.audit(log, TRUSTED, tmp_path / "state", lambda done, of: None)
            assert (report.found, report.before, report.signed.size) == (None, before, size)


def test_packed_answers_are_unpacked(place: Place, audit: Callable[[], Report]) -> None:
    place.instead = lambda path: packed(place.book.answer(path) or b"")
    assert audit().found is None


def test_a_partial_tile_that_is_gone_is_read_from_the_whole_one(
    place: Place, audit: Callable[[], Report]
) -> None:
    """The log has grown since its checkpoint was shown, and keeps no partial tile any more."""
    shown = place.book.note().encode()
    place.book.append(LEDGER[600:])

    def instead(path: str) -> tuple[int, dict[str, str], bytes] | None:
        if path == "checkpoint":
            return 200, {}, shown
        return (404, {}, b"") if ".p/" in path and "/1/" not in path else None

    place.instead = instead
    report = audit()
    assert (report.found, report.signed.size) == (None, 600)
    assert "tile/entries/002" in place.asked


def test_a_log_that_is_not_a_ledger_is_said_to_be_checked_by_its_hashes_alone(tmp_path: Path) -> None:
    with served(Book([b"theirs %d" % seq for seq in range(300)])) as place:
        done = aeo(place.url, "--vkey", VKEY, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "hashes only: they are not a ledger's" in done.stdout
    assert load(tmp_path / "aeo.br.example_ledger.audit") is not None


def test_a_busy_log_is_asked_again(
    place: Place, audit: Callable[[], Report], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tlog, "PAUSES_S", (0.01, 0.02))
    busy = [429, 503, 429]
    place.instead = lambda path: (busy.pop(), {"retry-after": "1"}, b"") if busy else None
    assert audit().found is None
    assert busy == []


# A log that does not.


def test_a_changed_entry_is_named_each_time_until_it_is_put_back(
    place: Place, audit: Callable[[], Report]
) -> None:
    place.book.change_entry(300)
    for _ in range(2):
        report = audit()
        assert report.found is not None
        assert "a ledger was altered (entry 300)" in report.found.sentence()
    place.book.change_entry(300)
    place.bundles()
    assert audit().found is None
    assert set(place.bundles()) == {1, 2}  # one of an audit that ended may still have been on its way


def fork(book: Book, seq: int, size: int) -> Book:
    """The same log with another history from an entry on, signed with the same key."""
    return Book([*book.entries[:seq], *ledger(size - seq, book.entries[:seq], salt=1)], book.by)


@pytest.mark.parametrize(("seq", "size"), [(599, 600), (0, 600), (300, 1000), (599, 601)])
def test_a_log_that_contradicts_what_it_signed_is_stopped_with_proof(
    place: Place, audit: Callable[[], Report], seq: int, size: int
) -> None:
    honest = audit()
    kept = honest.state.read_bytes()
    place.book = fork(place.book, seq, size)
    report = audit()
    assert report.accused is not None
    older, newer = Accusation.decode(report.accused.read_bytes()).check([signer().verifier()])
    assert (older, newer) == (honest.signed, place.book.signed)
    assert honest.state.read_bytes() == kept
    assert audit().accused == report.accused


def test_what_strangers_sign_beside_the_log_saves_it_from_nothing(
    place: Place, audit: Callable[[], Report]
) -> None:
    """A name that canonical JSON does not hold, in a signature that nobody here knows."""
    stranger = note.cosigner("e\u0301.example/witness", Ed25519PrivateKey.from_private_bytes(bytes([9]) * 32))

    def instead(path: str) -> tuple[int, dict[str, str], bytes] | None:
        if path != "checkpoint":
            return None
        beside = note.cosign(place.book.signed.text(), stranger, 1_790_000_000)
        return 200, {}, (place.book.note() + beside).encode()

    place.instead = instead
    honest = audit()
    assert honest.found is None
    kept = load(honest.state)
    assert kept is not None
    assert kept.checkpoint == place.book.note()
    place.book = fork(place.book, 300, 700)
    assert audit().accused is not None


def test_a_contradiction_has_an_exit_code_of_its_own(place: Place, tmp_path: Path) -> None:
    assert aeo(place.url, "--vkey", VKEY, cwd=tmp_path).returncode == 0
    place.book = fork(place.book, 10, 700)
    done = aeo(place.url, "--vkey", VKEY, "--json", cwd=tmp_path)
    told = json.loads(done.stdout)
    assert (done.returncode, told["found"]["type"]) == (5, "urn:aeo:problem:unproven")
    assert Accusation.decode((tmp_path / told["accusation"]).read_bytes()).check([signer().verifier()])


def test_a_log_that_went_back_is_found_and_accused_once_it_has_grown_past_it(
    place: Place, audit: Callable[[], Report]
) -> None:
    audit()
    whole, place.book = place.book, fork(place.book, 300, 500)
    report = audit()
    assert report.accused is None
    assert report.found is not None
    assert "a smaller tree than the one that it signed before" in report.found.sentence()
    place.book = fork(whole, 300, 700)
    assert audit().accused is not None


def test_an_older_checkpoint_over_the_same_tree_is_a_stale_cache_and_no_fault(
    place: Place, audit: Callable[[], Report]
) -> None:
    old = place.book.note().encode()
    place.book.append(LEDGER[600:])
    assert audit().signed.size == 1000
    place.instead = lambda path: (200, {}, old) if path == "checkpoint" else None
    report = audit()
    assert (report.found, report.signed.size) == (None, 1000)


def test_tiles_that_do_not_make_the_tree_prove_nothing_against_the_log(
    place: Place, audit: Callable[[], Report]
) -> None:
    audit()
    place.book.append(LEDGER[600:])
    place.book.change_hash(0, 590)
    report = audit()
    assert report.accused is None
    assert report.found is not None


@pytest.mark.parametrize("path", ["tile/entries/001", "tile/0/001", "tile/1/000.p/2"])
def test_what_the_log_signed_and_does_not_serve_is_found(
    place: Place, audit: Callable[[], Report], path: str
) -> None:
    place.instead = lambda asked: (
        (404, {}, b"") if asked == path or asked == path.partition(".p/")[0] else None
    )
    report = audit()
    assert isinstance(report.found, NotFound)
    assert path.partition(".p/")[0] in report.found.sentence()


HUGE = bytes(300 * 65_537)
WRONG = [
    ({}, HUGE, TooMuch, "too long"),
    ({"content-encoding": "gzip"}, packed(HUGE)[2], TooMuch, "too long"),
    ({"content-encoding": "gzip"}, packed(b"abc")[2][:-4], Malformed, "unpacked"),
    ({"content-encoding": "gzip"}, packed(b"abc")[2] + b"x", Malformed, "unpacked"),
    ({"content-encoding": "gzip"}, b"not packed", Malformed, "unpacked"),
    ({"content-encoding": "br"}, b"abc", Malformed, "was not asked for"),
    ({}, b"", Malformed, "1 to 256 entries"),
    ({}, encode_bundle(LEDGER[:255]), Unproven, "another width"),
]


@pytest.mark.parametrize(("headers", "body", "kind", "what"), WRONG)
def test_an_answer_that_no_log_gives_is_refused_within_bounds(
    place: Place,
    audit: Callable[[], Report],
    headers: dict[str, str],
    body: bytes,
    kind: type[Exception],
    what: str,
) -> None:
    place.instead = lambda path: (200, headers, body) if path == "tile/entries/000" else None
    found = audit().found
    assert isinstance(found, kind)
    assert what in found.sentence()


def test_a_redirect_is_not_followed(place: Place, audit: Callable[[], Report]) -> None:
    with served(Book(LEDGER[:600])) as elsewhere:
        to = {"location": f"{elsewhere.url}/checkpoint"}
        place.instead = lambda path: (302, to, b"") if path == "checkpoint" else None
        with pytest.raises(Malformed, match=r"answered 302.*redirects are not followed"):
            audit()
        assert elsewhere.asked == []


def test_a_log_that_never_ends_its_answer_is_given_up(
    place: Place, audit: Callable[[], Report], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PATIENCE_S", "TIMEOUT_S"):
        monkeypatch.setattr(tlog, name, 0.2)
    hung = Event()

    def instead(path: str) -> None:
        if path == "tile/entries/001":
            hung.wait(30)

    place.instead = instead
    try:
        with pytest.raises(LogUnreachable):
            audit()
    finally:
        hung.set()
    state = load(audit().state)
    assert state is not None
    assert state.progress.tree.size == 512


# Whom it believes.


def test_a_checkpoint_of_another_key_is_refused(place: Place, tmp_path: Path) -> None:
    done = aeo(place.url, "--vkey", signer(1).verifier().vkey(), cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "no known key signed it" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_policy_wants_its_witnesses(place: Place, tmp_path: Path) -> None:
    witness = note.cosigner("w.example/witness", Ed25519PrivateKey.from_private_bytes(bytes([7]) * 32))
    text = f"log {VKEY}\nwitness w {witness.verifier().vkey()}\nquorum w\n"
    (tmp_path / "policy").write_text(text, encoding="utf-8")
    done = aeo(place.url, "--policy", "policy", cwd=tmp_path)
    assert done.returncode == 2
    assert "not cosigned by as many" in done.stderr
    cosigned = place.book.note() + note.cosign(place.book.signed.text(), witness, 1_790_000_000)
    place.instead = lambda path: (200, {}, cosigned.encode()) if path == "checkpoint" else None
    assert aeo(place.url, "--policy", "policy", cwd=tmp_path).returncode == 0
    assert policy.parse(text).open(cosigned).times_s == {"w": 1_790_000_000}


@pytest.mark.parametrize(
    ("vkey", "says"),
    [
        (VKEY, "give the prefix under which it is served"),
        ("br.vkey", "give the line itself"),
        (VKEY.replace("aeo.br", "aeo.xx"), "must be spelt"),
    ],
)
def test_a_wrong_address_or_key_is_told_with_what_to_give_instead(
    place: Place, tmp_path: Path, vkey: str, says: str
) -> None:
    place.instead = lambda path: (404, {}, b"")
    done = aeo(place.url, "--vkey", vkey, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert says in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_key_of_another_log_is_told_with_the_log_that_it_is_of(place: Place, tmp_path: Path) -> None:
    other = note.ed25519_signer("aeo.uy.example/ledger", Ed25519PrivateKey.generate())
    done = aeo(place.url, "--vkey", other.verifier().vkey(), cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"({place.book.signed.origin}); it names aeo.uy.example/ledger" in done.stderr


@pytest.mark.parametrize("given", [(), ("--vkey", VKEY, "--policy", "policy")])
def test_a_key_is_needed_once(place: Place, tmp_path: Path, given: tuple[str, ...]) -> None:
    done = aeo(place.url, *given, cwd=tmp_path)
    assert done.returncode == 2
    assert "needs the key of the log" in done.stderr
    assert place.asked == []


@pytest.mark.parametrize(
    "url", ["br", "ftp://a.example/log", "http://", "http://a.example/log?x=1", "http://u:p@a/l"]
)
def test_what_is_no_address_is_refused(url: str, tmp_path: Path) -> None:
    done = aeo(url, "--vkey", VKEY, cwd=tmp_path)
    assert done.returncode == 2
    assert "not the address of a log" in done.stderr


def test_a_log_that_is_away_is_said_to_be_so_at_once(tmp_path: Path) -> None:
    with served(Book()) as place:
        pass
    done = aeo(place.url, "--vkey", VKEY, cwd=tmp_path)
    assert done.returncode == 3
    assert "the log cannot be read now" in done.stderr


# What it keeps.


@pytest.mark.parametrize(
    "spoil",
    [
        lambda kept: kept[:-1],
        lambda kept: kept.replace(b'"size":512', b'"size":511'),
        lambda kept: kept.replace(b'"size":512', b'"size":1024'),
        lambda kept: kept.replace(b"aeo-audit/v1", b"aeo-audit/v2"),
        lambda kept: kept.replace(b'"country":"BR"', b'"country":7'),
        lambda kept: b"",
    ],
)
def test_a_damaged_state_is_refused(audit: Callable[[], Report], spoil: Callable[[bytes], bytes]) -> None:
    state = audit().state
    kept = state.read_bytes()
    assert spoil(kept) != kept
    state.write_bytes(spoil(kept))
    with pytest.raises(Malformed, match="not the state of an audit"):
        audit()


def test_the_state_of_another_log_is_refused(
    place: Place, audit: Callable[[], Report], tmp_path: Path
) -> None:
    audit()
    place.book = Book(LEDGER[:600], signer(1))
    with Log(place.url) as log, pytest.raises(Malformed, match="not that of this log's audits"):
        auditing.audit(
            log, trusting(place.book.by.verifier().vkey()), tmp_path / "state", lambda done, of: None
        )


def test_a_state_that_claims_more_than_was_read_does_not_pass(
    place: Place, audit: Callable[[], Report]
) -> None:
    """The entries before it are not looked at again, so its tree must be theirs."""
    state = audit().state
    kept = json.loads(state.read_bytes())
    kept["tree"] = ["A" * 43 + "="]
    state.write_text(
        json.dumps(kept, separators=(",", ":"), sort_keys=True, ensure_ascii=False), encoding="utf-8"
    )
    found = audit().found
    assert found is not None
    assert "do not make the root that was signed" in found.sentence()


KILLED = "import sys; from clients.sdk import auditing; auditing.SAVE_S = 0.0; from clients.cli import main; "
KILLED += "sys.argv = ['aeo', 'audit', *sys.argv[1:]]; main.run()"


def test_an_audit_that_is_killed_goes_on_where_it_was(tmp_path: Path) -> None:
    released, state = Event(), tmp_path / "state"
    with served(Book(ledger(256 * 12 + 7))) as place:
        for held in (4, 9):

            def instead(path: str, held: int = held) -> None:
                if path == f"tile/entries/{held:03}":
                    released.wait(30)

            place.instead = instead
            command = [sys.executable, "-c", KILLED, place.url, "--vkey", VKEY, "--state", str(state)]
            process = subprocess.Popen(command, cwd=ROOT)
            until(lambda held=held: _read(state) == 256 * held, what="the audit half way")
            process.kill()
            process.wait()
            released.set()
            released.clear()
        place.instead = lambda path: None
        place.bundles()
        done = aeo(place.url, "--vkey", VKEY, "--state", str(state), cwd=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
        assert place.bundles() == [9, 10, 11, 12]


def _read(state: Path) -> int:
    kept = load(state)
    return kept.progress.tree.size if kept else 0


# A real node.


def key_of(node: Node) -> str:
    """The key of its ledger, as its keeper would tell it."""
    told = node.command("card").stderr
    return told.partition("Key of its ledger: ")[2].partition("\n")[0]


def audited(node: Node, key: str, folder: Path) -> tuple[int, dict[str, Any]]:
    done = aeo(f"{node.url}/log", "--vkey", key, "--json", cwd=folder)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def test_a_nodes_ledger_is_audited_and_a_changed_byte_named(lone: Node, tmp_path: Path) -> None:
    key = key_of(lone)
    lone.post("/v1/operators/import", {"operators": [brazilian(number) for number in range(20)]})
    code, told = audited(lone, key, tmp_path)
    assert (code, told["origin"], told["country"], told["found"]) == (0, origin_of(lone), "BR", None)
    assert told["size"] == told["read"] == 21
    change_byte(lone, 9)
    code, told = audited(lone, key, tmp_path)
    assert (code, told["accusation"]) == (1, None)
    assert told["found"]["where"] == "entry 9"
    change_byte(lone, 9)
    assert audited(lone, key, tmp_path)[0] == 0


def test_a_node_put_back_to_an_older_store_is_stopped_once_it_has_written_over_it(
    lone: Node, tmp_path: Path
) -> None:
    key = key_of(lone)
    lone.stop()
    shutil.copytree(lone.home, tmp_path / "older")
    lone.run()
    lone.post("/v1/operators/import", {"operators": [brazilian(number) for number in range(5)]})
    assert audited(lone, key, tmp_path)[0] == 0
    lone.stop()
    restore(lone, tmp_path / "older")
    (lone.home / bookmark.FILE).unlink()  # what would keep an honest node from writing over its history
    lone.run()
    assert audited(lone, key, tmp_path)[0] == 1
    lone.post("/v1/operators/import", {"operators": [brazilian(number) for number in range(10, 20)]})
    code, told = audited(lone, key, tmp_path)
    assert code == 5
    verifier = note.parse_vkey(key)
    older, newer = Accusation.decode((tmp_path / told["accusation"]).read_bytes()).check([verifier])
    assert (older.size, newer.size) == (6, 11)
    assert older.origin == origin_of(lone)


def test_the_other_word_is_the_nodes_own_command(unused: Node, tmp_path: Path) -> None:
    done = aeo("decisions", "--home", str(unused.home), cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "0 decisions made again; everything holds.\n")
    assert "--json" in aeo("decisions", "--help", cwd=tmp_path).stdout
