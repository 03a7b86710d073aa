"""Lists as workbooks: what is in the cells, and what a sheet cannot hold."""

from __future__ import annotations

import io
import tracemalloc
from datetime import datetime, time
from typing import Any

import openpyxl
import pytest
from http_client import Site
from openpyxl.cell.cell import Cell

import app

MEDIA = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
SETTINGS = '[site]\ntimezone = "Europe/Copenhagen"'
FORM = """
[forms.things]
title = "Things: all of [them]"
provider = "main"
[forms.things.fields]
name = { type = "string", title = "Name", maxLength = 100000 }
count = { type = "integer" }
price = { type = "number", title = "Price" }
day = { type = "string", format = "date" }
at = { type = "string", format = "date-time" }
clock = { type = "string", format = "time" }
sold = { type = "boolean" }
kind = { type = "string", oneOf = [{ const = "a", title = "Apple" }, { const = "b", title = "Bread" }] }
level = { type = "integer", oneOf = [{ const = 1, title = "Low" }, { const = 2, title = "High" }] }
marks = { type = "array", items = { type = "string", enum = ["x", "y"] } }
paper = { type = "string", format = "file", files = "files/docs" }
"""
THING = {
    "name": "=1+1", "count": 7, "price": 1.25, "day": "2026-11-27", "at": "2026-11-27T08:30:00+01:00", "clock": "08:30",
    "sold": True, "kind": "a", "level": 2, "marks": ["x", "y"], "paper": {"name": "a.txt", "base64": "YQ=="},
}  # fmt: skip


@pytest.fixture
def site(tmp_path: Any) -> Any:
    made = Site(tmp_path, edit=lambda toml: toml.replace("[site]", SETTINGS).replace("64KB", "1MB") + FORM)
    yield made
    made.close()


def store(site: Site, staff: str, *things: dict[str, Any]) -> None:
    assert site.send("/forms/things", list(things), staff).status == 201


def workbook(site: Site, staff: str, target: str = "/forms/things/records.xlsx", **headers: str) -> Any:
    reply = site.get(target, staff, **headers)
    assert (reply.status, reply["Content-Type"]) == (200, MEDIA), reply.text
    return openpyxl.load_workbook(io.BytesIO(reply.body))


def rows_of(book: Any) -> list[dict[str, Any]]:
    heading, *rows = list(book.worksheets[0].values)
    return [dict(zip(heading, row, strict=True)) for row in rows]


def test_every_cell_has_the_type_of_its_value(site: Site, staff: str) -> None:
    store(site, staff, THING, {})
    full, empty = rows_of(workbook(site, staff, "/forms/things/records.xlsx?_sort=id"))
    expected = {
        "Name": "=1+1", "Count": 7, "Price": 1.25, "Day": datetime(2026, 11, 27),
        "At (Europe/Copenhagen)": datetime(2026, 11, 27, 8, 30), "Clock": time(8, 30), "Sold": True, "Kind": "Apple",
        "Level": "High", "Marks": "x, y", "Paper": "a.txt",
    }  # fmt: skip
    assert {name: full[name] for name in expected} == expected
    assert all(empty[name] is None for name in expected)
    assert isinstance(full["Created (Europe/Copenhagen)"], datetime)


def test_the_sheet_has_a_name_that_it_may_have_and_a_heading_that_stays(site: Site, staff: str) -> None:
    store(site, staff, THING)
    sheet = workbook(site, staff).worksheets[0]
    assert (sheet.title, sheet.freeze_panes, sheet.auto_filter.ref) == ("Things all of them", "A2", "A1:Q2")
    assert sheet["A1"].font.bold
    assert sheet.column_dimensions["A"].width > 30  # an id
    for cell in next(sheet.iter_rows(min_row=2, max_row=2)):
        assert isinstance(cell, Cell)
        assert (cell.data_type != "f", cell.hyperlink) == (True, None)


@pytest.mark.parametrize(
    "name",
    [
        '=HYPERLINK("https://example.org")',
        "+1",
        "-1",
        "@a",
        "\tx",
        "https://example.org/",
        "'",
        "{=1}",
        "0012",
        "1e5",
    ],
)
def test_a_text_stays_the_text_that_it_is(site: Site, staff: str, name: str) -> None:
    store(site, staff, {"name": name})
    cell = workbook(site, staff).worksheets[0]["B2"]
    assert (cell.value, cell.data_type, cell.hyperlink) == (name, cell.data_type, None)
    assert cell.data_type in ("s", "inlineStr")


@pytest.mark.parametrize(
    ("count", "price", "shown"),
    [(999_999_999_999_999, 0.5, 999_999_999_999_999), (2**53 + 1, 0.5, "9007199254740993"), (-(2**63), 0.5, str(-(2**63)))],
)
def test_an_integer_that_a_spreadsheet_would_round_is_a_text(
    site: Site, staff: str, count: int, price: float, shown: Any
) -> None:
    store(site, staff, {"count": count, "price": price})
    assert rows_of(workbook(site, staff))[0]["Count"] == shown


def test_a_decimal_keeps_its_digits(site: Site, staff: str) -> None:
    for text in ("0.1", "12345678.125", "0.12345678901234567"):
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {staff}"}
        assert site.ask("POST", "/forms/things", f'{{"price": {text}}}'.encode(), headers).status == 201
    prices = [row["Price"] for row in rows_of(workbook(site, staff, "/forms/things/records.xlsx?_sort=id"))]
    assert prices == [0.1, 12345678.125, "0.12345678901234567"]


def test_a_day_before_spreadsheets_could_count_is_a_text(site: Site, staff: str) -> None:
    store(site, staff, {"day": "1899-12-31"}, {"day": "1900-03-01"})
    days = [row["Day"] for row in rows_of(workbook(site, staff, "/forms/things/records.xlsx?_sort=day"))]
    assert days == ["1899-12-31", datetime(1900, 3, 1)]


def test_a_text_that_is_too_long_for_a_cell_is_cut_and_the_workbook_says_so(site: Site, staff: str) -> None:
    store(site, staff, {"name": "a" * 32_768}, {"name": "b" * 32_767}, {"name": "🏖" * 20_000})
    book = workbook(site, staff, "/forms/things/records.xlsx?_sort=id")
    names = [row["Name"] for row in rows_of(book)]
    assert names == ["a" * 32_766 + "…", "b" * 32_767, "🏖" * 16_383 + "…"]
    notes = [row[1] for row in book.worksheets[1].values if row[1] and str(row[1]).startswith("The text")]
    assert book.worksheets[1].title == "About this list"
    assert [note[:26] for note in notes] == ["The text in cell B2 has 32", "The text in cell B4 has 40"]
    assert "32,768 characters" in notes[0]


def test_letters_that_xml_does_not_have_do_not_break_the_workbook(site: Site, staff: str) -> None:
    store(site, staff, {"name": "bell \x07 tab \t end \x1f \ufffe \uffff <&>"})
    assert rows_of(workbook(site, staff))[0]["Name"].startswith("bell ")
    assert rows_of(workbook(site, staff))[0]["Name"].endswith("\ufffd \ufffd <&>")


def test_a_list_that_no_sheet_can_hold_is_refused(site: Site, staff: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store(site, staff, *[{"count": n} for n in range(5)])
    monkeypatch.setattr(app.plugin("xlsx"), "MOST_ROWS", 5)
    reply = site.get("/forms/things/records.xlsx", staff)
    assert (reply.status, "a sheet holds a heading and 4 rows" in reply.json["detail"]) == (400, True)
    assert len(rows_of(workbook(site, staff, "/forms/things/records.xlsx?count__lt=4"))) == 4


def test_it_has_exactly_what_the_screen_selects(site: Site, staff: str) -> None:
    store(site, staff, *[{"count": n, "name": f"n{n % 3}"} for n in range(30)])
    query = "?name=n1&count__gte=10&_sort=-count&_q=n"
    shown = [row["count"] for row in site.get(f"/forms/things/records{query}", staff).json["items"]]
    assert shown == [28, 25, 22, 19, 16, 13, 10]
    assert [row["Count"] for row in rows_of(workbook(site, staff, f"/forms/things/records.xlsx{query}"))] == shown
    by_accept = workbook(site, staff, f"/forms/things/records{query}&_size=2", Accept=MEDIA)
    assert [row["Count"] for row in rows_of(by_accept)] == shown


def test_a_view_is_a_workbook_too_and_its_page_leads_to_it(site: Site, staff: str) -> None:
    book = workbook(site, staff, "/views/numbers.xlsx?top=2")
    assert list(book.worksheets[0].values) == [("I", "Label"), (1, 'row "1"\nx, y'), (2, 'row "2"\nx, y')]
    page = site.get("/views/numbers?top=2", staff, Accept="text/html").text
    assert 'href="/views/numbers.xlsx?top=2"' in page
    empty = workbook(site, staff, "/forms/things/records.xlsx")
    assert len(list(empty.worksheets[0].values)) == 1


def test_a_person_reads_it_in_her_language(site: Site, staff: str) -> None:
    store(site, staff, THING)
    session = site.sign_in(staff)
    reply = site.ask("GET", "/forms/things/records.xlsx", None, {"Cookie": session, "Accept-Language": "de"})
    heading = next(iter(openpyxl.load_workbook(io.BytesIO(reply.body)).worksheets[0].values))
    assert "Angelegt von" in heading
    assert "Geändert (Europe/Copenhagen)" in heading
    excel = site.ask("GET", "/forms/things/records.csv?_for=excel", None, {"Cookie": session, "Accept-Language": "de"})
    assert excel.text.splitlines()[0].removeprefix("\ufeff").split(";") == [str(one) for one in heading]


def test_a_workbook_of_many_rows_is_written_in_bounded_memory(site: Site, staff: str) -> None:
    site.get("/views/numbers.xlsx?top=1", staff)  # what is imported once
    environ = site.environ("GET", "/views/numbers.xlsx?top=20000", None, {"Authorization": f"Bearer {staff}"})
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        _, body = site.start(environ, checked=False)
        size = sum(map(len, body))
        peak = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
        body.close()
    assert size > 100_000
    assert peak < 4_000_000
