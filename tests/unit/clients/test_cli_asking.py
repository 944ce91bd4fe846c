"""What the command line makes of what people type: identifiers of any kind, slips, tokens, whole lists."""

import json
import re
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from clients.bench.traders import trader, write_list
from clients.cli import imports, operators, progress, session, watching
from clients.demo.waiting import until
from clients.sdk import Node as SdkNode
from clients.sdk.importing import ImportedRow
from tests.nodes import LISTS, ROOT, Node, Pair, brazilian, free_port
from tests.unit.clients.test_cli import Aeo, Done, admitted, aeo, home
from tests.unit.clients.test_sdk import server

__all__ = ("aeo",)

NOWHERE = "not recorded here, and never disclosed to us"


def test_a_wrong_check_digit_is_told_beside_not_found(aeo: Aeo, pair: Pair) -> None:
    for value in ("99000001000102", "BR99000001000102"):
        done = aeo("lookup", value, at=pair.uy)
        assert done.code == 4
        assert done.out.startswith(
            f"{value}: {NOWHERE}; the check digit of this CNPJ does not fit: mistyped?"
        )
    assert aeo("lookup", "99000001000101", at=pair.uy).code == 0


def test_consent_that_is_neither_given_nor_withdrawn_is_refused_naming_both(aeo: Aeo, pair: Pair) -> None:
    done = aeo("operator", "consent", "BR99000001000101", at=pair.br)
    assert (done.code, done.out) == (2, "")
    assert "say --give or --withdraw" in done.err


def test_terms_between_others_are_refused_with_how_to_name_the_partner(aeo: Aeo, pair: Pair) -> None:
    draft = ("mra", "draft", "--with", "Uruguay", "--terms", "br_uy", "--contract", "mra_v1")
    done = aeo(*draft, at=pair.br)
    assert (done.code, done.out) == (2, "")
    assert "name each partner as two letters" in done.err


def test_a_number_that_is_none_of_its_scheme_is_told_the_rule(aeo: Aeo, pair: Pair) -> None:
    done = aeo("lookup", "123", "--scheme", "cnpj", at=pair.uy)
    assert done.code == 4
    assert "this is no CNPJ (Brazil: 12 letters or digits and 2 check digits" in done.out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["1", "--scheme", "XX"], "there is no such scheme; --scheme: must be one of TIN, CNPJ, RUT"),
        (["1", ""], "an identifier is empty; ID: must have a letter or digit"),
        (["-"], "an identifier is empty"),
        ([""], "nothing to look up"),
        (["--name", " "], "nothing to look up"),
    ],
)
def test_a_lookup_that_can_find_nothing_is_refused(
    aeo: Aeo, pair: Pair, arguments: list[str], says: str
) -> None:
    done = aeo("lookup", *arguments, at=pair.br)
    assert (done.code, done.out) == (2, "")
    assert says in done.err


def test_a_node_that_is_slow_to_answer_is_told_of_while_it_is_waited_for(
    aeo: Aeo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[str] = []
    told = threading.Event()

    def warn(text: str) -> None:
        heard.append(text)
        told.set()

    def answer(_: object) -> tuple[int, dict[str, str], bytes]:
        assert told.wait(60)
        return 200, {}, b'{"peers": []}'

    monkeypatch.setattr(session, "warn", warn)
    monkeypatch.setattr(session, "SLOW_S", 0.05)
    (tmp_path / "token").write_text("aeo_0", encoding="utf-8")
    with server(answer) as url:
        done = aeo("peer", "list", "--url", url, "--token-file", str(tmp_path / "token"))
        assert (done.code, len(heard)) == (0, 1)
        assert heard[0].startswith(f"{url} has not answered yet")


def test_a_refusal_is_json_where_json_was_asked_for(aeo: Aeo, pair: Pair, tmp_path: Path) -> None:
    done = aeo("lookup", "1", "--scheme", "XX", "--json", at=pair.br)
    assert (done.code, done.err) == (2, "")
    assert (done.json["type"], done.json["problems"][0]["value"]) == ("urn:aeo:problem:malformed", "XX")

    done = aeo("mra", "show", "AAAAAAAA", "--json", at=pair.br)
    assert (done.code, done.err) == (2, "")
    assert (done.json["type"], done.json["status"]) == ("urn:aeo:problem:not-found", 404)
    assert done.json["detail"].startswith(done.json["title"])

    nobody = home(tmp_path / "br", free_port())
    done = aeo("channels", "--json", "--home", str(nobody))
    assert (done.code, done.err) == (3, "")
    assert done.json["type"] == "urn:aeo:problem:unreachable"


def test_a_node_that_does_not_run_is_told_with_the_command_that_starts_it(aeo: Aeo, tmp_path: Path) -> None:
    nobody = home(tmp_path / "br", free_port())
    assert f"aeo serve --home {nobody}`" in aeo("channels", "--home", str(nobody)).err


# Own operators, by any identifier.


def test_any_identifier_names_the_operator_to_change(aeo: Aeo, pair: Pair, tmp_path: Path) -> None:
    tin = admitted(aeo, tmp_path, pair.br, 930_001)
    written = f"{tin[2:4]}.{tin[4:7]}.{tin[7:10]}/{tin[10:14]}-{tin[14:]}"
    done = aeo("operator", "status", written, "SUSPENDED", "--reason-class", "UNDER_REVIEW", at=pair.br)
    assert done.out.startswith(f"{tin}: changed, version 2")
    assert aeo("operator", "consent", tin[2:], "--withdraw", at=pair.br).out.startswith(f"{tin}: changed")
    shown = aeo("operator", "history", tin[2:], at=pair.br).out
    assert "what changed" in shown
    [first, second, third] = [line for line in shown.splitlines() if line.split()[:1] == ["recorded"]]
    assert "first version" in first
    assert "status ACTIVE -> SUSPENDED, status_reason_class" in second
    assert "consent withdrawn" in third


def test_a_partners_operator_is_no_own_one(aeo: Aeo, pair: Pair) -> None:
    done = aeo("operator", "consent", "049000010017", "--withdraw", at=pair.br)
    assert (done.code, done.out) == (2, "")
    assert "a partner told of it; only its own administration changes it" in done.err


def test_an_operator_that_is_not_there_is_refused_with_the_likely_slip(aeo: Aeo, pair: Pair) -> None:
    done = aeo("operator", "status", "99000001000102", "SUSPENDED", at=pair.br)
    assert done.code == 2
    assert "the check digit of this CNPJ does not fit" in done.err


def test_several_operators_of_one_identifier_are_listed_and_none_is_changed(
    aeo: Aeo, pair: Pair, tmp_path: Path
) -> None:
    shared = {"scheme": "EORI", "value": "BR1234567"}
    tins = []
    for number in (930_002, 930_003):
        own = brazilian(number)["identifiers"]
        tins.append(admitted(aeo, tmp_path, pair.br, number, identifiers=[*own, shared]))
    done = aeo("operator", "consent", "BR1234567", "--withdraw", at=pair.br)
    assert done.code == 2
    assert "several operators have this identifier (BR1234567)" in done.err
    assert all(tin in done.err for tin in tins)


def test_what_changed_between_versions_is_told_source_by_source() -> None:
    def version(agreement: str | None, **fields: Any) -> dict[str, Any]:
        source = {"agreement": agreement} if agreement else {}
        return {"kind": "recorded", "fields": fields, **source}

    given, withdrawn = {"given": True}, {"given": False}
    told = [
        version(None, status="ACTIVE", legal_name="A", mra_consent=given, recorded_at="1"),
        version("one", status="ACTIVE"),
        version(None, status="ACTIVE", legal_name="B", mra_consent=withdrawn, recorded_at="2"),
        version("one"),
        version("one", status="ACTIVE"),
        version(None, status="ACTIVE", legal_name="B", mra_consent=given, valid_to="x", recorded_at="3"),
    ]
    assert [row[3] for row in operators._versions(told)] == [
        "first version",
        "first version",
        "legal_name, consent withdrawn",
        "left our view",
        "back in view",
        "consent given, valid_to",
    ]


def test_what_a_lookup_gave_can_be_recorded_again(aeo: Aeo, pair: Pair, tmp_path: Path) -> None:
    tin = admitted(aeo, tmp_path, pair.br, 930_004)
    [found] = aeo("lookup", tin, "--json", at=pair.br).json["results"][tin]
    assert {"record_id", "recorded_at"} <= set(found["fields"])
    file = tmp_path / "again.json"
    file.write_text(json.dumps(found["fields"] | {"legal_name": "Outro Nome Ltda"}), encoding="utf-8")
    assert aeo("operator", "add", str(file), at=pair.br).out.startswith(f"{tin}: changed, version 2")


def test_the_records_in_the_page_of_commands_can_be_recorded(aeo: Aeo, lone: Node, tmp_path: Path) -> None:
    examples = re.findall(r"```json\n(.*?)```", (ROOT / "docs" / "commands.md").read_text("utf-8"), re.S)
    assert len(examples) == 2
    for example in examples:
        (tmp_path / "record.json").write_text(example, encoding="utf-8")
        assert aeo("operator", "add", str(tmp_path / "record.json"), at=lone).code == 0
    card = aeo("lookup", json.loads(examples[1])["tin"], at=lone).out
    assert re.search(r"kind +trader, not an authorised operator, activity 4630 \(ISIC Rev. 4\)", card)
    assert "authorised  " not in card


def test_an_operator_that_left_our_view_is_still_named_by_what_was_asked(
    aeo: Aeo, pair: Pair, tmp_path: Path
) -> None:
    tin = admitted(aeo, tmp_path, pair.br, 930_005)
    until(lambda: "YES" in aeo("lookup", tin, at=pair.uy).out, what="the disclosure")
    aeo("operator", "consent", tin, "--withdraw", at=pair.br)
    until(lambda: "NOT_SHARED" in aeo("lookup", tin, at=pair.uy).out, what="the tombstone")
    written = f"{tin[2:4]}.{tin[4:7]}.{tin[7:10]}/{tin[10:14]}-{tin[14:]}"
    card = aeo("lookup", written, at=pair.uy).out.splitlines()
    assert card[0] == written
    versions = aeo("operator", "history", written, "--json", at=pair.uy).json
    assert versions["tin"] == tin
    assert [each["kind"] for each in versions["versions"]] == ["disclosure", "tombstone"]


def test_an_own_operator_is_shown_with_the_agreement_behind_each_partners_verdict(
    aeo: Aeo, pair: Pair, tmp_path: Path
) -> None:
    tin = admitted(aeo, tmp_path, pair.br, 930_006)
    title = pair.br.get(f"/v1/agreements/{pair.agreement}")["title"]
    under = f"partner UY    sees it, under {title} ({pair.agreement[:10]}): shared; IN_OPERATION"
    assert under in aeo("lookup", tin, at=pair.br).out
    assert under in aeo("lookup", "--name", "Empresa Inventada 930006", at=pair.br).out


def test_the_history_of_an_identifier_of_several_operators_names_them(pair: Pair) -> None:
    shared = {"scheme": "EORI", "value": "BR7654321"}
    for number in (930_007, 930_008):
        own = brazilian(number)["identifiers"]
        pair.br.post("/v1/operators", brazilian(number, identifiers=[*own, shared]))
    answer = pair.br.http.get("/v1/operators/BR7654321/history")
    assert answer.status_code == 409
    assert len(answer.json()["problems"]) == 2


# What happens.


def test_a_watch_tells_in_words_what_happened_and_what_a_notice_says(pair: Pair) -> None:
    with SdkNode(pair.uy.url, (pair.uy.home / "administrator.token").read_text().strip()) as uy:
        events = [dict[str, Any](each) for each in islice(uy.changes(after=0), uy.newest_change())]
    notices = [each for each in events if each["kind"] == "notice" and each["notice"] == "state"]
    assert [each["detail"] for each in notices][-1] == "IN_OPERATION"
    assert {(each["issuer"], each["agreement"]) for each in notices} == {("BR", pair.agreement)}
    assert watching._in_words(notices[-1]).split() == (
        f"notice: state IN_OPERATION BR, agreement {pair.agreement[:10]}".split()
    )
    words, own = watching.KINDS, {"kind": "recorded", "tin": "UY1", "record_id": "urn:x"}
    assert watching._in_words(own).split("  ")[0] == words["recorded"]
    assert watching._in_words({**own, "kind": "tombstone", "tin": ""}).split("  ")[0] == words["tombstone"]


# Whole lists.


@pytest.fixture
def imported(aeo: Aeo, tmp_path: Path) -> Callable[..., Done]:
    """Import lines of the Brazilian list, each as `change` leaves it."""
    lines = (LISTS / "br_oea.csv").read_text(encoding="utf-8").splitlines(keepends=True)

    def do(node: Node, rows: int, change: Callable[[str], str] = str, *options: str) -> Done:
        file = tmp_path / "list.csv"
        file.write_text(lines[0] + "".join(map(change, lines[1 : 1 + rows])), encoding="utf-8")
        return aeo("operator", "import", str(file), "--profile", "br-oea", *options, at=node)

    return do


def test_refused_rows_are_told_by_the_lists_column_and_our_field_and_bounded(
    imported: Callable[..., Done], lone: Node
) -> None:
    done = imported(
        lone, 30, lambda line: line.replace(";ATIVO;", ";ZOMBI;").replace(";SUSPENSO;", ";ZOMBI;")
    )
    lines = done.out.splitlines()
    assert done.code == 1
    assert [line.split()[:4] for line in lines if "column" in line] == [["line", "column", "field", "value"]]
    told = [line for line in lines if "must be one of ATIVO, SUSPENSO" in line]
    assert len(told) == imports.SHOWN
    assert told[0].split()[:4] == ["2", "Situação", "status", "ZOMBI"]
    assert any("more; --json tells all" in line for line in lines)


def test_what_the_node_refuses_is_told_by_the_lists_column(imported: Callable[..., Done], pair: Pair) -> None:
    older = imported(pair.br, 1, lambda line: line.replace("18/11/2025;S;", "17/11/2025;S;"), "--json")
    assert older.json["counts"]["refused"] == len(older.json["refused"]) == 1
    assert set(older.json["refused"][0]) == {"line", "column", "value", "rule", "field"}


def test_who_vanished_from_the_list_is_told_apart_from_who_is_on_a_refused_row(
    imported: Callable[..., Done], lone: Node
) -> None:
    imported(lone, 5)

    def spoilt(line: str) -> str:
        return line.replace(";ATIVO;", ";ZOMBI;") if line.startswith("99.000.002/") else line

    report = imported(lone, 4, spoilt, "--json").json
    assert report["on_refused_rows"] == ["BR99000002000148"]
    assert "BR99000002000148" not in report["missing"]
    assert "BR99000005000181" in report["missing"]
    assert report["unnamed"] == 0
    told = imported(lone, 4, spoilt).out
    assert "1 recorded here but on a refused row; they stay as they are:" in told
    assert "recorded here but not in the list; they stay" in told


def test_one_badly_quoted_cell_refuses_its_row_alone(imported: Callable[..., Done], lone: Node) -> None:
    done = imported(
        lone, 5, lambda line: line.replace("São Bento Agenciamento", '"São Bento" Agenciamento'), "--json"
    )
    assert done.json["counts"]["refused"] == 1
    [refused] = done.json["refused"]
    assert (refused["line"], refused["field"]) == (3, "row")


def test_a_header_alone_reports_nobody_as_gone(imported: Callable[..., Done], pair: Pair) -> None:
    done = imported(pair.br, 0)
    assert (done.code, done.out) == (2, "")
    assert "the list holds no rows" in done.err


def test_a_token_that_may_not_import_is_refused_before_the_file_is_read(
    aeo: Aeo, pair: Pair, tmp_path: Path
) -> None:
    token = pair.br.command("token", "create", "--role", "reader", "--label", "Desk").stdout
    (tmp_path / "token").write_text(token, encoding="utf-8")
    asked = ("--url", pair.br.url, "--token-file", str(tmp_path / "token"))
    done = aeo("operator", "import", str(tmp_path / "none.csv"), "--profile", "br-oea", *asked)
    assert done.code == 2
    assert "role reader may not do this" in done.err
    assert "officer" in done.err


# Lists of any length.


@pytest.fixture
def register(tmp_path: Path) -> Path:
    """Forty traders, as a national register has them."""
    file = tmp_path / "register.csv"
    write_list(file, 0, 40)
    return file


def brought(aeo: Aeo, file: Path, node: Node, *options: str) -> Done:
    return aeo("operator", "import", str(file), "--profile", "br-cnpj", *options, at=node)


def test_a_list_of_one_kind_says_nothing_of_the_other(
    aeo: Aeo, imported: Callable[..., Done], register: Path, lone: Node
) -> None:
    imported(lone, 30)
    assert brought(aeo, register, lone).out == "40 new, 0 changed, 0 unchanged, 0 refused\n"
    assert imported(lone, 30).out == "0 new, 0 changed, 30 unchanged, 0 refused\n"
    write_list(register, 1, 39)
    report = brought(aeo, register, lone, "--json").json
    assert (report["missing"], report["on_refused_rows"]) == ([trader(0)["tin"]], [])


def test_an_import_goes_on_from_the_line_it_names(
    aeo: Aeo, register: Path, lone: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = SdkNode.import_list

    def breaks(node: SdkNode, operators: Any, dry_run: bool = False, source: str = "") -> Any:
        if operators and operators[0]["tin"] == trader(20)["tin"]:
            raise KeyboardInterrupt
        return whole(node, operators, dry_run, source)

    monkeypatch.setattr(imports, "PAGE", 10)
    monkeypatch.setattr(SdkNode, "import_list", breaks)
    done = brought(aeo, register, lone)
    assert (done.code, done.out) == (130, "")
    assert "The rows before line 22 were sent; go on with --from-line 22, or import it again" in done.err

    monkeypatch.setattr(SdkNode, "import_list", whole)
    done = brought(aeo, register, lone, "--from-line", "22")
    assert re.fullmatch(r"\d+ new, 0 changed, \d+ unchanged, 0 refused, 20 passed over\n", done.out)
    assert brought(aeo, register, lone).out == "0 new, 0 changed, 40 unchanged, 0 refused\n"


def test_two_pages_are_on_their_way_at_once_and_told_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imports, "PAGE", 3)
    at_once, most, lock = 0, 0, threading.Lock()

    def answer(page: list[ImportedRow]) -> Any:
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
        time.sleep(0.02)
        with lock:
            at_once -= 1
        return {"outcomes": [row.line for row in page]}

    rows = (ImportedRow(line, {}, (), "") for line in range(2, 33))
    with ThreadPoolExecutor(imports.IN_FLIGHT) as pool:
        told = list(imports._answered(rows, lambda page: pool.submit(answer, page)))
    assert [line for page, _ in told for line in (row.line for row in page)] == list(range(2, 33))
    assert all([row.line for row in page] == outcomes for page, outcomes in told)
    assert most == imports.IN_FLIGHT


def test_of_many_refused_cells_the_first_are_told_and_the_rest_counted(
    aeo: Aeo, register: Path, lone: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imports, "MOST_TOLD", 25)
    register.write_text(register.read_text("utf-8").replace(";ATIVA;", ";ZUMBI;"), encoding="utf-8")
    report = brought(aeo, register, lone, "--json").json
    assert (report["counts"]["refused"], len(report["refused"]), report["untold"]) == (40, 25, 15)
    assert [each["line"] for each in report["refused"]] == list(range(2, 27))
    assert "and 20 more; --json tells the first 25" in brought(aeo, register, lone).out


def test_an_import_says_how_far_it_is_where_there_is_no_terminal(
    aeo: Aeo, register: Path, lone: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imports, "PAGE", 10)
    monkeypatch.setattr(progress, "EVERY_S", 0.0)
    said = brought(aeo, register, lone).err.splitlines()
    assert said[0].startswith("reading: 10 rows")
    assert re.fullmatch(r"sending: 10 of 40 rows(, [\d,]+ a second, .* left)?, to line 11", said[4])


@pytest.mark.parametrize(
    ("done", "total", "a_second", "says"),
    [
        (0, 10, 0.0, "0 of 10 rows"),
        (500, None, 250.0, "500 rows, 250 a second"),
        (120_000, 1_000_000, 4_000.0, "120,000 of 1,000,000 rows, 4,000 a second, 3 min 40 s left"),
        (1_000, 1_000_000, 100.0, "1,000 of 1,000,000 rows, 100 a second, 2 h 46 min left"),
        (99, 100, 99.0, "99 of 100 rows, 99 a second, 0 s left"),
    ],
)
def test_how_far_it_is_is_told_with_rate_and_time_left(
    done: int, total: int | None, a_second: float, says: str
) -> None:
    assert progress.so_far(done, total, a_second) == says
