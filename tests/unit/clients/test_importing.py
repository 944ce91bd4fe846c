import os
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from clients.bench.traders import traders, write_list
from clients.cli import imports
from clients.sdk.importing import (
    ImportedRow,
    ImportProblem,
    Profile,
    Row,
    load_profile,
    operator_from_row,
    read_import,
    read_rows,
    refused_by_node,
    survey,
)
from node.errors import Malformed, Problem, TooMuch
from node.records import model

LISTS = Path(__file__).parents[3] / "clients" / "demo" / "data"
PROFILES = Path(__file__).parents[3] / "clients" / "sdk" / "profiles"
BR, UY, CNPJ = load_profile("br-oea"), load_profile("uy-oec"), load_profile("br-cnpj")
HEADER = [column.header for column in UY.columns]
CELLS = {
    "RUT": "049000010017",
    "Denominación": "Queguay Depósitos SAS",
    "Rol": "depositario",
    "Domicilio": "Ruta 12 km 172",
    "Localidad": "Nueva Palmira",
    "Departamento": "CO",
    "Código Postal": "70101",
    "Certificado N°": "OEC-001/2026",
    "Fecha de certificación": "2026-03-21",
    "Válido hasta": "2029-03-21",
    "Estado": "VIGENTE",
    "Fecha del estado": "2026-03-21",
    "Consentimiento ARM": "SI",
}
OTHER_RUT = "069000030012"


def row(**changes: str) -> Row:
    cells = CELLS | changes
    return Row(7, tuple(cells), tuple(cells.values()))


def line(**changes: str) -> str:
    return ",".join((CELLS | changes).values()) + "\r\n"


@pytest.fixture
def listed(tmp_path: Path) -> Callable[..., Path]:
    def write(*lines: str, header: str = ",".join(HEADER) + "\r\n", encoding: str = "utf-8") -> Path:
        path = tmp_path / "list.csv"
        path.write_bytes((header + "".join(lines)).encode(encoding))
        return path

    return write


def refused(path: Path, profile: Profile = UY) -> Malformed:
    with pytest.raises(Malformed) as refusal:
        list(read_import(path, profile))
    return refusal.value


def problems(path: Path) -> list[tuple[int, str, str, str]]:
    return [(p.line, p.column, p.value, p.rule) for found in read_import(path, UY) for p in found.problems]


@pytest.mark.parametrize(("profile", "file", "rows"), [(BR, "br_oea.csv", 200), (UY, "uy_oec.csv", 60)])
def test_every_row_of_the_demonstration_lists_is_an_operator(profile: Profile, file: str, rows: int) -> None:
    found = list(read_import(LISTS / file, profile))
    assert [one.problems for one in found] == [()] * rows
    assert [one.line for one in found] == list(range(2, rows + 2))
    for one in found:
        assert one.operator is not None
        assert model.to_json(model.parse(one.operator)) == one.operator


def test_a_brazilian_row_becomes_the_operator_it_describes() -> None:
    found = list(read_import(LISTS / "br_oea.csv", BR))
    assert found[3].operator == {
        "country": "BR",
        "issuing_authority": {"code": "RFB", "name": "Receita Federal do Brasil"},
        "tin": "BR99000004000137",
        "identifiers": [{"scheme": "CNPJ", "value": "99000004000137"}],
        "authorisation_number": "ADE 146/2023",
        "legal_name": "Barra Funda Alimentos S/A",
        "address": {
            "line": "Av. Cedro, 3362",
            "city": "Manaus",
            "postcode": "69005-616",
            "subdivision": "AM",
            "country": "BR",
        },
        "programme": "BR-OEA",
        "national_types": ["OEA-S", "OEA-C"],
        "scope": ["SECURITY", "CUSTOMS_COMPLIANCE"],
        "roles": ["exporter"],
        "status": "ACTIVE",
        "status_since": "2023-01-30T00:00:00.000Z",
        "authorised_on": "2023-01-30",
        "valid_to": "2027-01-30",
        "next_revalidation": "2027-01-30",
        "mra_consent": {"given": True, "scope": "GENERAL"},
        "mra_contact": "oea@empresa0004.example",
        "effective_at": "2023-01-30T00:00:00.000Z",
    }


@pytest.mark.parametrize(
    ("file", "profile", "counts"),
    [
        ("br_oea.csv", BR, {"ACTIVE": 187, "SUSPENDED": 8, "REVOKED": 3, "WITHDRAWN": 2}),
        ("uy_oec.csv", UY, {"ACTIVE": 52, "SUSPENDED": 4, "REVOKED": 3, "EXPIRED": 1}),
    ],
)
def test_the_words_of_each_country_become_statuses(
    file: str, profile: Profile, counts: dict[str, int]
) -> None:
    statuses = [one.operator["status"] for one in read_import(LISTS / file, profile) if one.operator]
    assert {status: statuses.count(status) for status in counts} == counts


def test_an_oec_counts_as_security_and_compliance() -> None:
    operator = operator_from_row(row(), UY)
    assert (operator["national_types"], operator["scope"]) == (["OEC"], ["SECURITY", "CUSTOMS_COMPLIANCE"])


@pytest.mark.parametrize(
    ("column", "cell", "rule"),
    [
        ("RUT", "049000010018", "Uruguay: 12 digits, the last a check digit"),
        ("RUT", "049000010018", "the check digit of this RUT does not fit"),
        ("RUT", "04900001001", "this is no RUT"),
        ("RUT", "", "must not be empty"),
        ("Fecha del estado", "", "must not be empty"),
        ("Denominación", "", "must not be empty"),
        ("Denominación", "N" * 71, "must have 1 to 70 characters (has 71)"),
        ("Denominación", "N" * 1001, "must have at most 1000 characters"),
        ("Denominación", "=HYPERLINK(1)", "must not be a formula"),
        ("Denominación", "@SUM(A1)", "must not be a formula"),
        ("Denominación", "+cmd|' /C calc'!A0", "must not be a formula"),
        ("Domicilio", "-2+3+cmd", "must not be a formula"),
        ("Denominación", "Acme\x07", "must not hold control"),
        ("Denominación", "Acme\nSA", "must not hold control"),
        ("Rol", "pirata", "must be one of importador"),
        ("Rol", "exportador;", "none of them empty"),
        ("Rol", "exportador;exportador", "repeats an earlier entry"),
        ("Fecha de certificación", "2026-02-30", "must be a day that exists"),
        ("Fecha de certificación", "21/03/2026", "must be a date written yyyy-mm-dd"),
        ("Fecha de certificación", "２０２６-03-21", "must be a date written yyyy-mm-dd"),
        ("Válido hasta", "2025-01-01", "must not lie before authorised_on"),
        ("Estado", "ZOMBI", "must be one of VIGENTE"),
        ("Estado", "", "must not be empty; must be one of VIGENTE"),
        ("Consentimiento ARM", "TALVEZ", "must be one of SI, NO"),
        ("Departamento", "0123456789", "must have 1 to 9 characters"),
    ],
)
def test_a_bad_cell_is_refused_under_its_header(column: str, cell: str, rule: str) -> None:
    with pytest.raises(Malformed) as refusal:
        operator_from_row(row(**{column: cell}), UY)
    [broken] = refusal.value.problems
    assert (broken.field, broken.value) == (column, cell[:120])
    assert rule in broken.rule


def test_every_bad_cell_of_a_row_is_named_at_once() -> None:
    with pytest.raises(Malformed) as refusal:
        operator_from_row(row(RUT="1", Estado="ZOMBI", Rol="pirata"), UY)
    assert [broken.field for broken in refusal.value.problems] == ["RUT", "Rol", "Estado"]


@pytest.mark.parametrize("cell", ["-", "+598 2 915 0007", "-34.9"])
def test_what_only_begins_like_a_formula_is_text(cell: str) -> None:
    assert operator_from_row(row(Domicilio=cell), UY)["address"]["line"] == cell  # type: ignore[index,call-overload]


def test_case_and_spaces_of_words_and_numbers_do_not_matter() -> None:
    changes = {"RUT": " 04-900001-001-7", "Estado": "Vigente ", "Rol": "Agente  decarga; EXPORTADOR"}
    operator = operator_from_row(row(**changes), UY)
    assert operator["tin"] == "UY049000010017"
    assert (operator["status"], operator["roles"]) == ("ACTIVE", ["forwarder", "exporter"])


def test_decomposed_accents_are_composed() -> None:
    operator = operator_from_row(row(Denominación="Depo\u0301sitos"), UY)
    assert operator["legal_name"] == "Depósitos"


def test_empty_optional_cells_are_left_out() -> None:
    operator = operator_from_row(row(**{"Válido hasta": "", "Código Postal": ""}), UY)
    assert "valid_to" not in operator
    assert "postcode" not in operator["address"]  # type: ignore[operator]


def test_a_bad_row_does_not_hide_the_next(listed: Callable[..., Path]) -> None:
    path = listed(line(Estado="ZOMBI"), line(RUT=OTHER_RUT))
    bad, good = read_import(path, UY)
    assert bad == ImportedRow(
        2,
        None,
        (
            ImportProblem(
                2, "Estado", "ZOMBI", "must be one of VIGENTE, SUSPENDIDO, CANCELADO, VENCIDO", "status"
            ),
        ),
        "UY049000010017",
    )
    assert (good.line, good.operator is not None) == (3, True)


def test_a_number_twice_in_one_file_is_refused_naming_the_earlier_line(listed: Callable[..., Path]) -> None:
    path = listed(line(), line(RUT=OTHER_RUT), line(RUT="04-900001-001-7"))
    assert problems(path) == [(4, "RUT", "049000010017", "stands already in line 2")]


def test_lines_are_counted_as_an_editor_counts_them(listed: Callable[..., Path]) -> None:
    path = listed("\r\n", line(Domicilio='"Ruta 1\nkm 2"'), line(RUT="1"))
    assert [(number, column) for number, column, _, _ in problems(path)] == [(3, "Domicilio"), (5, "RUT")]


@pytest.mark.parametrize("cells", ["x\r\n", line().replace("\r\n", ",more\r\n")])
def test_a_row_with_other_cells_than_the_header_is_refused(listed: Callable[..., Path], cells: str) -> None:
    [found] = [broken for imported in read_import(listed(cells), UY) for broken in imported.problems]
    assert (found.line, found.column, found.field) == (2, "", "row")
    assert "must have 13 cells" in found.rule


def test_a_byte_order_mark_is_no_part_of_the_first_header(listed: Callable[..., Path]) -> None:
    assert problems(listed(line(), encoding="utf-8-sig")) == []


def test_columns_may_stand_in_another_order(listed: Callable[..., Path]) -> None:
    cells = dict(reversed(CELLS.items()))
    path = listed(",".join(cells.values()), header=",".join(cells) + "\n")
    assert [found.operator for found in read_import(path, UY)] == [operator_from_row(row(), UY)]


def test_windows_1252_is_refused_telling_line_bytes_and_what_to_do(listed: Callable[..., Path]) -> None:
    path = listed(line(Denominación="Depósitos"), header=",".join(HEADER) + "\n", encoding="cp1252")
    refusal = refused(path)
    assert "line 1" in str(refusal)
    assert "\\xf3" in refusal.problems[0].value
    assert 'encoding = "windows-1252"' in refusal.do


@pytest.fixture
def windows(tmp_path: Path) -> Profile:
    text = (PROFILES / "uy-oec.toml").read_text("utf-8").replace('"utf-8"', '"windows-1252"')
    path = tmp_path / "windows.toml"
    path.write_text(text, "utf-8")
    return load_profile(path)


def test_windows_1252_is_read_when_the_profile_says_so(listed: Callable[..., Path], windows: Profile) -> None:
    [found] = read_import(listed(line(), encoding="cp1252"), windows)
    assert found.operator == operator_from_row(row(), UY)


def test_utf_8_is_not_mistaken_for_windows_1252(listed: Callable[..., Path], windows: Profile) -> None:
    assert 'encoding = "utf-8"' in refused(listed(line()), windows).do


@pytest.mark.parametrize(
    ("header", "fault"),
    [
        (",".join(HEADER[1:]), ("RUT", "column is missing")),
        (",".join([*HEADER, "Color"]), ("Color", "column is unknown to the profile")),
        (",".join([*HEADER, "RUT"]), ("RUT", "column stands twice")),
    ],
)
def test_another_header_refuses_the_file(
    listed: Callable[..., Path], header: str, fault: tuple[str, str]
) -> None:
    refusal = refused(listed(line(), header=header + "\n"))
    assert [(broken.field, broken.rule) for broken in refusal.problems] == [fault]


@pytest.mark.parametrize(("separator", "told"), [(";", "between these stands ';'"), ("#", "has one column")])
def test_another_separator_is_told_once_and_as_such(
    listed: Callable[..., Path], separator: str, told: str
) -> None:
    refusal = refused(listed(header=separator.join(HEADER) + "\n"))
    assert refusal.problems == ()
    assert refusal.what == "the list has another separator"
    assert "expects 13 with ',' between" in refusal.why
    assert told in refusal.why


def test_what_a_node_refuses_is_told_under_the_column_it_came_from() -> None:
    operator = operator_from_row(row(), UY)
    named = [
        (found.column, found.field)
        for found in (
            refused_by_node(7, Problem(field, "x", "rule"), operator, UY)
            for field in ("legal_name", "identifiers[0].value", "address.city", "country")
        )
    ]
    assert named == [
        ("Denominación", "legal_name"),
        ("RUT", "identifiers[0].value"),
        ("Localidad", "address.city"),
        ("", "country"),
    ]


@pytest.mark.parametrize("content", ["", "\r\n\r\n"])
def test_an_empty_file_is_refused(listed: Callable[..., Path], content: str) -> None:
    assert "empty" in str(refused(listed(header=content)))


def test_a_header_alone_is_an_empty_list(listed: Callable[..., Path]) -> None:
    assert list(read_import(listed(), UY)) == []


def test_nul_bytes_refuse_the_file_naming_the_line(listed: Callable[..., Path]) -> None:
    assert "line 3" in str(refused(listed(line(), line(Localidad="Chuy\0"))))


@pytest.mark.parametrize("following", [1, 5_000])
def test_a_quote_that_never_closes_is_refused_naming_its_line(
    listed: Callable[..., Path], following: int
) -> None:
    path = listed(line(), line(Domicilio='"Ruta 1'), *[line(RUT=OTHER_RUT)] * following)
    refusal = refused(path)
    assert refusal.where == "the row that begins at line 3"
    assert "never closes" in refusal.do


QUOTED = '"Quebracho" Depósitos'


def test_a_quote_in_the_middle_of_a_cell_refuses_its_row_alone(listed: Callable[..., Path]) -> None:
    bad, good = read_import(listed(line(Denominación=QUOTED), line(RUT=OTHER_RUT)), UY)
    assert (bad.operator, bad.tin) == (None, "UY049000010017")
    [broken] = bad.problems
    assert (broken.line, broken.field) == (2, "row")
    assert "leave a quote out, or write it twice" in broken.rule
    assert (good.line, good.tin, good.problems) == (3, f"UY{OTHER_RUT}", ())


@pytest.mark.parametrize("between", [0, 3, 200])
def test_a_stray_quote_swallows_no_row_behind_it(listed: Callable[..., Path], between: int) -> None:
    others = [line(RUT=OTHER_RUT), *[line(Estado="ZOMBI")] * between]
    found = list(
        read_import(listed(line(Domicilio='"Ruta 1'), *others, line(Domicilio='"Ruta 2, km 3"')), UY)
    )
    assert [each.line for each in found] == list(range(2, between + 5))
    assert [each.line for each in found if each.operator] == [3, between + 4]
    assert found[0].problems[0].rule.startswith("must be CSV")


@pytest.mark.parametrize("following", [0, 1, 63, 64, 65, 500])
def test_only_a_quote_that_stays_open_to_the_end_refuses_the_list(
    listed: Callable[..., Path], following: int
) -> None:
    others = [line(Estado="ZOMBI")] * following
    assert refused(listed(line(Domicilio='"Ruta 1'), *others)).where == "the row that begins at line 2"
    closed = read_import(listed(line(Domicilio='"Ruta 1'), *others, line(Denominación=QUOTED)), UY)
    assert [each.line for each in closed] == list(range(2, following + 4))


def test_a_line_break_without_quotes_refuses_its_row_alone(listed: Callable[..., Path]) -> None:
    bad, good = read_import(listed(line(Domicilio="Ruta 1\rkm 2"), line(RUT=OTHER_RUT)), UY)
    assert (bad.operator, bad.line, good.problems) == (None, 2, ())


def test_a_header_with_a_stray_quote_refuses_the_list(listed: Callable[..., Path]) -> None:
    assert "line 1" in refused(listed(line(), header='"RUT" x,' + ",".join(HEADER[1:]) + "\n")).where


def test_a_cell_that_fills_two_fields_is_refused_once() -> None:
    cells = dict.fromkeys((column.header for column in BR.columns), "")
    cells |= {"CNPJ": "99.000.001/0001-01", "Razão Social": "Caatinga", "Modalidade": "OEA-S"}
    cells |= {"Função": "importador", "Logradouro": "Rua 1", "Município": "Santos"}
    cells |= {"Ato de Certificação": "ADE 1/2025", "Data da Certificação": "18/11/2025"}
    cells |= {"Situação": "ATIVO", "Data da Situação": "18/11/2025", "Consentimento ARM": "S"}
    cells |= {"Próxima Revalidação": "18/11/2020"}
    with pytest.raises(Malformed) as refusal:
        operator_from_row(Row(2, tuple(cells), tuple(cells.values())), BR)
    [broken] = refusal.value.problems
    assert (broken.field, broken.value) == ("Próxima Revalidação", "18/11/2020")


def test_whom_a_refused_row_is_about_is_told_only_where_its_number_holds(listed: Callable[..., Path]) -> None:
    rows = [line(Estado="ZOMBI"), line(RUT="1"), line(RUT="", Estado="ZOMBI"), "x\r\n"]
    assert [each.tin for each in read_import(listed(*rows), UY)] == ["UY049000010017", "", "", ""]


def test_a_quoted_cell_over_too_many_lines_refuses_the_list(listed: Callable[..., Path]) -> None:
    assert refused(listed(line(Domicilio='"' + "\n" * 70 + '"'))).what == "the list is not CSV"


def test_a_line_without_end_is_refused(listed: Callable[..., Path]) -> None:
    with pytest.raises(TooMuch, match="line 2"):
        list(read_import(listed("x" * 70_000), UY))


def test_a_list_without_end_is_refused(listed: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clients.sdk.importing.MAX_ROWS", 2)
    with pytest.raises(TooMuch, match="at most 2 rows"):
        list(read_rows(listed(*[line()] * 3), UY))


def test_a_spreadsheet_is_refused_with_the_way_out(tmp_path: Path) -> None:
    assert "save the sheet as CSV" in refused(tmp_path / "list.XLSX").do


def test_a_list_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert "cannot be opened" in str(refused(tmp_path / "none.csv"))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('name = "uy-oec"', 'name = "uy-oec"\ncolour = "blue"'),
        ('name = "uy-oec"', ""),
        ('encoding = "utf-8"', 'encoding = "latin-9"'),
        ('separator = ","', 'separator = ":"'),
        ('list_separator = ";"', 'list_separator = ""'),
        ('dates = "yyyy-mm-dd"', 'dates = "any"'),
        ('"OEC" = ["SECURITY"', '"OEC" = ["SAFETY"'),
        ('["SECURITY", "CUSTOMS_COMPLIANCE"]', "7"),
        ('header = "Rol"', 'header = "Rol"\nwidth = 7'),
        ('fields = ["legal_name"]', 'fields = ["nickname"]'),
        ('fields = ["legal_name"]', 'fields = ["address"]'),
        ('fields = ["legal_name"]', 'fields = ["address.line"]'),
        ('fields = ["legal_name"]', 'fields = ["address.country"]'),
        ('fields = ["legal_name"]', "fields = []"),
        ('fields = ["legal_name"]', 'fields = "legal_name"'),
        ('fields = ["legal_name"]', 'fields = ["identifiers.LEI"]'),
        ('fields = ["identifiers.RUT"]', 'fields = ["identifiers.CPF"]'),
        ('form = "identifier"', 'form = "text"'),
        ('form = "midnight"', 'form = "noon"'),
        ("optional = true", 'optional = "yes"'),
        ('words = { "SI" = true, "NO" = false }', ""),
        ('country = "UY"', 'country = "UY'),
    ],
)
def test_a_profile_that_breaks_a_rule_is_refused(tmp_path: Path, old: str, new: str) -> None:
    text = (PROFILES / "uy-oec.toml").read_text("utf-8")
    assert old in text
    path = tmp_path / "broken.toml"
    path.write_text(text.replace(old, new), "utf-8")
    with pytest.raises(Malformed):
        load_profile(path)


@pytest.mark.parametrize("name", ["xx-aeo", "../profiles/uy-oec", "", "UY-OEC"])
def test_only_profiles_that_exist_are_loaded_by_name(name: str) -> None:
    with pytest.raises(Malformed, match="use one of br-cnpj, br-oea, uy-oec"):
        load_profile(name)


def test_a_profile_of_any_size_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "large.toml"
    path.write_text("#" * 70_000, "utf-8")
    with pytest.raises(TooMuch):
        load_profile(path)


def altered(tmp_path: Path, *changes: tuple[str, str]) -> Profile:
    text = (PROFILES / "uy-oec.toml").read_text("utf-8")
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path = tmp_path / "altered.toml"
    path.write_text(text, "utf-8")
    return load_profile(path)


@pytest.mark.parametrize(
    ("change", "changes", "fields"),
    [
        (('country = "UY"', 'country = "ZZ"'), {}, ["country"]),
        (('national_types = ["OEC"]', ""), {}, ["national_types", "scope"]),
        (
            ('form = "identifier"', 'form = "identifier"\noptional = true'),
            {"RUT": ""},
            ["tin", "identifiers"],
        ),
    ],
)
def test_a_fault_no_column_explains_is_named_by_its_field(
    tmp_path: Path, change: tuple[str, str], changes: dict[str, Any], fields: list[str]
) -> None:
    with pytest.raises(Malformed) as refusal:
        operator_from_row(row(**changes), altered(tmp_path, change))
    assert [broken.field for broken in refusal.value.problems] == fields


# Lists of any length.


def test_a_register_becomes_the_traders_it_describes(tmp_path: Path) -> None:
    write_list(tmp_path / "list.csv", 7, 20)
    assert [row.operator for row in read_import(tmp_path / "list.csv", CNPJ)] == traders(7, 20)


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("ATIVA", "ACTIVE"),
        ("Inapta", "SUSPENDED"),
        ("SUSPENSA", "SUSPENDED"),
        ("BAIXADA", "WITHDRAWN"),
        ("NULA", "ANNULLED"),
    ],
)
def test_the_words_of_the_register_become_statuses(tmp_path: Path, word: str, status: str) -> None:
    path = tmp_path / "list.csv"
    write_list(path, 1, 1)
    path.write_text(path.read_text("utf-8").replace("ATIVA", word), encoding="utf-8")
    [found] = read_import(path, CNPJ)
    assert (found.operator or {})["status"] == status


def test_nothing_is_yielded_of_a_list_that_cannot_be_trusted_as_a_whole(listed: Callable[..., Path]) -> None:
    path = listed(line(), line(RUT=OTHER_RUT), "\0")
    with pytest.raises(Malformed, match="NUL"):
        next(read_import(path, UY))


def test_a_survey_counts_and_knows_whom_the_list_is_about(listed: Callable[..., Path]) -> None:
    bad = line(RUT=OTHER_RUT, Estado="?")
    passed: list[int] = []

    def through(rows: Iterator[Row]) -> Iterator[Row]:
        for each in rows:
            passed.append(each.line)
            yield each

    found = survey(listed(line(), bad, line(RUT="1"), line()), UY, through)
    assert (found.rows, passed) == (4, [2, 3, 4, 5])
    assert ["UY" + number in found.tins for number in (CELLS["RUT"], OTHER_RUT, "1")] == [True, True, False]
    assert found.is_repeated(("RUT", CELLS["RUT"]))
    assert not found.is_repeated(("RUT", OTHER_RUT))


def test_a_list_read_from_a_line_on_still_knows_the_numbers_before_it(listed: Callable[..., Path]) -> None:
    path = listed(line(RUT=OTHER_RUT), line(), line(Rol="?"), line())
    rows = list(read_import(path, UY, from_line=4))
    assert [row.line for row in rows] == [3, 4, 5]
    assert [p.rule for p in rows[2].problems] == ["stands already in line 3"]


def test_a_list_that_is_written_to_between_the_readings_is_refused(listed: Callable[..., Path]) -> None:
    path = listed(line())
    found = survey(path, UY)
    with path.open("a", encoding="utf-8") as file:
        file.write(line(RUT=OTHER_RUT))
    with pytest.raises(Malformed, match="changed while it was read"):
        next(read_import(path, UY, found))


def test_what_cannot_be_read_twice_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "list.csv")
    assert "save the list as a file" in refused(tmp_path / "list.csv").do


def test_a_country_may_stand_in_a_column(tmp_path: Path) -> None:
    profile = PROFILES / "br-cnpj.toml"
    text = profile.read_text("utf-8").replace('country = "BR"\nsource', "source", 1)
    text += '\n[[columns]]\nheader = "País"\nfields = ["country"]\nform = "text"\n'
    (tmp_path / "own.toml").write_text(text, encoding="utf-8")
    own, path = load_profile(str(tmp_path / "own.toml")), tmp_path / "list.csv"
    write_list(path, 3, 1)
    [header, row] = path.read_text("utf-8").splitlines()
    path.write_text(f"{header};País\n{row};BR\n", encoding="utf-8")
    assert [each.operator for each in read_import(path, own)] == traders(3, 1)
    assert traders(3, 1)[0]["tin"] in survey(path, own).tins


def test_reading_a_list_takes_no_more_memory_for_more_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eight bytes for each number and TIN, not a row, also where every second row is refused."""
    monkeypatch.setattr(imports, "MOST_TOLD", 10)
    path, most = tmp_path / "list.csv", []
    for rows in (1_000, 9_000):
        write_list(path, 0, rows)
        head, *lines = path.read_text("utf-8").splitlines(keepends=True)
        lines[::2] = [line.replace(";ATIVA;", ";ZUMBI;") for line in lines[::2]]
        path.write_text("".join([head, *lines]), encoding="utf-8")
        tracemalloc.start()
        tally = imports._Tally(CNPJ)
        assert sum(1 for _ in imports._readable(read_import(path, CNPJ), tally, 0)) == rows // 2
        assert (len(tally.unread), tally.unnamed) == (rows // 2, 0)
        most.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert most[1] - most[0] < 8_000 * 2 * 24
