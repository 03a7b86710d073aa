"""Spreadsheets that become records: as bodies, in batches, again, and with everything that is wrong in them."""

from __future__ import annotations

import html
import io
import json
import re
import tracemalloc
import zipfile
from datetime import date, datetime, time
from typing import Any
from urllib.parse import urlencode

import openpyxl
import pytest
from http_client import MULTIPART, Reply, Site, hidden, multipart

import app

XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
FORM = """
[forms.stock]
title = "Stock"
provider = "main"
[forms.stock.fields]
tag = { type = "string", title = "Tag", required = true, maxLength = 20 }
name = { type = "string", title = "What it is" }
price = { type = "number", title = "Price", minimum = 0 }
count = { type = "integer", title = "How many" }
bought = { type = "string", format = "date", title = "Bought on" }
seen = { type = "string", format = "date-time", title = "Seen" }
opens = { type = "string", format = "time", title = "Opens" }
lent = { type = "boolean", title = "Lent" }
state = { type = "string", oneOf = [{ const = "ok", title = "In order" }, { const = "bad", title = "Broken" }] }
colours = { type = "array", title = "Colours", items = { type = "string", enum = ["red", "green", "blue"] } }
note = { type = "string", format = "multiline", default = "none" }
[i18n.de]
"forms.stock.title" = "Bestand"
"forms.stock.fields.name.title" = "Bezeichnung"
"forms.stock.fields.price.title" = "Preis"
"forms.stock.fields.state.oneOf.ok" = "In Ordnung"
[forms.rules]
provider = "main"
unique = [["code"]]
[forms.rules.fields]
code = { type = "string", required = true }
kind = { type = "string", enum = ["plain", "odd"] }
why = { type = "string", show_if = { kind = "odd" }, required_if = { kind = "odd" } }
"""


@pytest.fixture
def site(tmp_path: Any) -> Any:
    made = Site(
        tmp_path, edit=lambda toml: toml.replace('prefix = "PREFIX"', 'prefix = "PREFIX"\ntimezone = "Europe/Oslo"') + FORM
    )
    yield made
    made.close()


def post(
    site: Site, by: str, body: bytes | str, query: str = "", media: str = "text/csv", form: str = "stock", **headers: str
) -> Reply:
    data = body.encode() if isinstance(body, str) else body
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return site.ask("POST", f"/forms/{form}/import{query}", data, {"Content-Type": media, **named}, by)


def stored(site: Site, by: str, form: str = "stock") -> list[dict[str, Any]]:
    rows = site.get(f"/forms/{form}/records?_sort=id&_size=1000", by).json["items"]
    return [{name: value for name, value in row.items() if value is not None} for row in rows]


def values(rows: list[dict[str, Any]], *names: str) -> list[Any]:
    return [tuple(row.get(name) for name in names) if len(names) > 1 else row.get(names[0]) for row in rows]


def workbook(*sheets: tuple[str, list[list[Any]]]) -> bytes:
    book = openpyxl.Workbook()
    book.remove(book.active)
    for title, rows in sheets:
        sheet = book.create_sheet(title)
        for row in rows:
            sheet.append(row)
    found = io.BytesIO()
    book.save(found)
    return found.getvalue()


# ---- as a program's body


def test_rows_of_csv_become_records(site: Site, staff: str) -> None:
    text = 'tag,price,lent,colours,bought\na1,1.5,true,"[""red"",""blue""]",2026-11-01\na2,,false,green,\n'
    reply = post(site, staff, text)
    assert (reply.status, reply.json) == (
        200,
        {"rows": 2, "created": 2, "updated": 0, "unchanged": 0, "failed": 0, "errors": []},
    )
    rows = stored(site, staff)
    assert values(rows, "tag", "price", "lent", "colours", "bought", "note") == [
        ("a1", 1.5, True, ["red", "blue"], "2026-11-01", "none"),
        ("a2", None, False, ["green"], None, "none"),
    ]
    assert {row["created_by"] for row in rows} == {"ann"}


def test_one_fault_stores_nothing_and_every_fault_is_told(site: Site, staff: str) -> None:
    reply = post(site, staff, "tag,price,count\na1,1,1\n,-1,1.5\na3,x,3\n")
    assert (reply.status, reply["Content-Type"]) == (422, "application/problem+json")
    assert [(one["row"], one["pointer"], one["code"]) for one in reply.json["errors"]] == [
        (3, "/tag", "required"), (3, "/price", "minimum"), (3, "/count", "type"), (4, "/price", "type"),
    ]  # fmt: skip
    assert (reply.json["rows"], reply.json["created"], reply.json["failed"]) == (3, 0, 2)
    assert stored(site, staff) == []


def test_a_dry_run_says_the_same_and_stores_nothing(site: Site, staff: str) -> None:
    faulty = post(site, staff, "tag,price\na1,1\n,2\n", "?dry_run=1")
    assert (faulty.status, faulty.json["created"], faulty.json["failed"]) == (200, 1, 1)
    good = post(site, staff, "tag,price\na1,1\na2,2\n", "?dry_run=1")
    assert (good.status, good.json["created"], good.json["errors"]) == (200, 2, [])
    assert stored(site, staff) == []
    assert site.get("/admin/audit?resource=forms/stock/import", staff).json["items"] == []


def test_partial_stores_the_rows_that_are_right(site: Site, staff: str) -> None:
    reply = post(site, staff, "tag,price\na1,1\n,2\na3,3\n", "?partial=1")
    assert (reply.status, reply.json["created"], reply.json["failed"]) == (200, 2, 1)
    assert reply.json["errors"] == [{"row": 3, "pointer": "/tag", "code": "required", "detail": "is missing"}]
    assert values(stored(site, staff), "tag") == ["a1", "a3"]


def test_a_key_updates_what_is_there(site: Site, staff: str) -> None:
    post(site, staff, "tag,price,name\na1,1,one\na2,2,two\n")
    reply = post(site, staff, "tag,price\na1,10\na2,2\na3,3\n", "?key=tag")
    assert [reply.json[name] for name in ("created", "updated", "unchanged")] == [1, 1, 1]
    rows = stored(site, staff)
    assert values(rows, "tag", "price", "name", "version") == [("a1", 10, "one", 2), ("a2", 2, "two", 1), ("a3", 3, None, 1)]
    assert post(site, staff, "tag,name\na1,\n", "?key=tag").json["updated"] == 1  # a blank cell is no value
    assert "name" not in stored(site, staff)[0]


def test_a_key_that_occurs_twice_is_a_fault(site: Site, staff: str) -> None:
    post(site, staff, "tag,price\na1,1\nb,1\nb,2\n")
    reply = post(site, staff, "tag,price\na1,2\na1,3\nb,1\n", "?key=tag")
    assert [(one["row"], one["code"]) for one in reply.json["errors"]] == [(3, "duplicate"), (4, "ambiguous")]
    assert reply.status == 422


def test_an_export_can_be_changed_and_imported_again(site: Site, staff: str) -> None:
    post(site, staff, "tag,price,colours\na1,1,red\na2,2,green\n")
    exported = site.get("/forms/stock/records.csv?_sort=tag", staff).text
    reply = post(site, staff, exported.replace("a2,,2,", "a2,,3,"), "?key=id")
    assert [reply.json[name] for name in ("created", "updated", "unchanged")] == [0, 1, 1], reply.text
    assert values(stored(site, staff), "tag", "price", "version") == [("a1", 1, 1), ("a2", 3, 2)]
    book = site.get("/forms/stock/records.xlsx?_sort=tag", staff).body
    assert post(site, staff, book, "?key=id", XLSX).json["unchanged"] == 2
    reply = post(site, staff, "id,tag\nnobody,x\n", "?key=id")
    assert (reply.status, reply.json["errors"][0]["code"]) == (422, "not_found")


def test_the_rules_of_a_form_hold(site: Site, staff: str) -> None:
    text = "code,kind,why\na,plain,\nb,odd,because\nc,odd,\nd,plain,no\na,plain,\n"
    reply = post(site, staff, text, form="rules")
    assert {(one["row"], one["pointer"], one["code"]) for one in reply.json["errors"]} == {
        (4, "/why", "required"), (5, "/why", "hidden"), (6, "/code", "unique"),
    }  # fmt: skip
    assert post(site, staff, text, "?partial=1", form="rules").json["created"] == 2
    again = post(site, staff, "code,kind\na,plain\ne,plain\n", "?partial=1", form="rules")
    assert (again.json["created"], again.json["errors"][0]["row"]) == (1, 2)
    assert post(site, staff, "code,kind\nf,plain\nf,plain\n", "?dry_run=1", form="rules").json["failed"] == 1


def test_each_record_has_its_audit_entry_and_the_import_one(site: Site, staff: str) -> None:
    post(site, staff, "tag\na1\na2\n")
    post(site, staff, "tag,price\na1,5\na3,3\n", "?key=tag")
    post(site, staff, "tag\nb1\n\n", "?partial=1")
    entries = list(reversed(site.get("/admin/audit?_size=100", staff).json["items"]))
    mine = [one for one in entries if one["resource"].startswith("forms/stock")]
    told = [(one["action"], bool(one["record"])) for one in mine]
    assert sorted(told[:3]) == [("create", True), ("create", True), ("import", False)]
    assert sorted(told[3:6]) == [("create", True), ("import", False), ("update", True)]
    assert told[6:] == [("create", True), ("import", False)]
    whole = next(one for one in mine if one["action"] == "import")
    assert whole["after"] == {"file": "", "rows": 2, "created": 2, "updated": 0, "failed": 0}
    assert "imported CSV into Stock: 1 new, 1 changed" in site.get("/admin/audit", staff, Accept="text/html").text


def test_it_needs_the_grants_of_what_it_does(site: Site, staff: str) -> None:
    submitter = site.token("forms/stock:create")
    reader = site.token("forms/stock:read")
    assert post(site, reader, "tag\na\n").status == 403
    assert post(site, submitter, "tag\na\n").status == 200
    assert post(site, submitter, "tag\na\n", "?key=tag").status == 403
    assert post(site, "", "tag\na\n").status == 401
    assert len(stored(site, staff)) == 1


def test_the_same_key_stores_once(site: Site, staff: str) -> None:
    for query in ("", "?partial=1"):
        first = post(site, staff, "tag\na1\na2\n\n,\n", query, Idempotency_Key="k" + query)
        again = post(site, staff, "tag\na1\na2\n\n,\n", query, Idempotency_Key="k" + query)
        other = post(site, staff, "tag\nother\n", query, Idempotency_Key="k" + query)
        assert (first.status, again.json, other.status) == (200, first.json, 422), (first.text, other.text)
    assert len(stored(site, staff)) == 4


# ---- what is in a file


def test_encodings(site: Site, staff: str) -> None:
    cases = [
        ("utf-8", "", "text/csv"), ("utf-8-sig", "", "text/csv"), ("utf-16", "", "text/csv"), ("utf-16-le", "", "text/csv"),
        ("utf-16-be", "", "text/csv"), ("cp1252", "?encoding=cp1252", "text/csv"),
        ("cp1252", "", "text/csv; charset=windows-1252"), ("cp1252", "", "text/csv; charset=ISO-8859-1"),
        ("utf-8", "?encoding=utf-8", "text/csv"), ("utf-16-be", "?encoding=utf-16", "text/csv"),
    ]  # fmt: skip
    for encoding, query, media in cases:
        reply = post(site, staff, "tag,name\na1,Käse für Zoë – 5 €\n".encode(encoding), query, media)
        assert reply.status == 200, (encoding, query, reply.text)
    assert values(stored(site, staff), "name") == ["Käse für Zoë – 5 €"] * len(cases)


def test_bytes_that_are_no_utf_8_are_asked_about(site: Site, staff: str) -> None:
    reply = post(site, staff, "tag,name\na1,Käse\n".encode("cp1252"))
    assert (reply.status, "may be cp1252" in reply.json["detail"]) == (400, True)
    reply = post(site, staff, "tag,name\na1,Käse\n".encode("cp1252"), "?encoding=utf-8")
    assert (reply.status, "is not utf-8" in reply.json["detail"]) == (400, True)
    assert post(site, staff, "tag\na\n", "?encoding=ebcdic").status == 400


def test_separators(site: Site, staff: str) -> None:
    lines = [["tag", "name", "price"], ["a1", '"x, y; z"', "1.5"], ["a2", "", "2"]]
    for separator in (",", ";", "\t", "|"):
        assert post(site, staff, "\n".join(separator.join(line) for line in lines)).status == 200
    assert values(stored(site, staff), "tag", "name", "price") == [("a1", "x, y; z", 1.5), ("a2", None, 2)] * 4


def test_the_line_with_which_excel_names_the_separator_is_no_row(site: Site, staff: str) -> None:
    reply = post(site, staff, "sep=;\r\ntag;name\r\na1;x\r\nb;,\r\n")
    assert (reply.status, values(stored(site, staff), "tag", "name")) == (200, [("a1", "x"), ("b", ",")])


def test_a_cell_without_a_heading_is_a_fault(site: Site, staff: str) -> None:
    reply = post(site, staff, "tag,price\na1,1,5\na2,2,\n")
    assert (reply.status, [(one["row"], one["code"]) for one in reply.json["errors"]]) == (422, [(2, "no_heading")])


def test_headings_that_mean_nothing_or_the_same_are_faults(site: Site, staff: str) -> None:
    reply = post(site, staff, "tag,Tag,prise\na1,a1,1\n", "?partial=1")
    assert reply.status == 422
    assert [(one["row"], one["pointer"], one["code"]) for one in reply.json["errors"]] == [
        (1, "/Tag", "duplicate_heading"), (1, "/prise", "unknown_field"),
    ]  # fmt: skip
    assert "price" in reply.json["errors"][1]["detail"]
    chosen = post(site, staff, "tag,Tag,prise\na1,a2,1\n", "?columns=,tag,price")
    assert (chosen.status, values(stored(site, staff), "tag", "price")) == (200, [("a2", 1)])


def test_what_is_asked_wrongly_is_said(site: Site, staff: str) -> None:
    for query, told in (
        ("?key=nothing", "key is 'nothing'"), ("?key=lent", "key is 'lent'"), ("?key=name", "which no column has"),
        ("?dry_run=yes", "dry_run"), ("?columns=tug", "did you mean tag"), ("?columns=tag,tag", "twice"),
        ("?heading=x", "heading"), ("?separator=x", "separator"), ("?parcial=1", "did you mean partial"),
    ):  # fmt: skip
        reply = post(site, staff, "tag\na1\n", query)
        assert (reply.status, told in reply.json["detail"]) == (400, True), reply.text
    assert stored(site, staff) == []


def test_an_empty_file_stores_nothing(site: Site, staff: str) -> None:
    assert post(site, staff, "").status == 415
    for text in ("\n\n", "tag,name\n", "tag,name\n,\n , \n"):
        reply = post(site, staff, text, "?partial=1")
        assert reply.json.get("created") == 0, (text, reply.text)
    assert stored(site, staff) == []


def test_a_quotation_mark_that_is_never_closed_is_found(site: Site, staff: str) -> None:
    reply = post(site, staff, 'tag,name\na1,"x\n' + "a2,y\n" * 40_000)
    assert (reply.status, "quotation mark" in reply.json["detail"]) == (400, True)
    assert stored(site, staff) == []


# ---- workbooks


def test_cells_of_a_workbook_are_what_they_are(site: Site, staff: str) -> None:
    rows: list[list[Any]] = [
        ["Tag", "What it is", "Price", "How many", "Bought on", "Seen", "Opens", "Lent", "State"],
        ["a1", 4711, 0.1 + 0.2, 3.0, date(2026, 11, 1), datetime(2026, 11, 1, 8, 30), time(8, 30), True, "Broken"],
        ["a2", date(2026, 1, 2), "1.5", "3", datetime(2026, 11, 2), date(2026, 11, 2), "09:15", 0, "ok"],
    ]
    book = workbook(("Stock", rows))
    reply = post(site, staff, book, media=XLSX)
    assert reply.status == 200, reply.text
    assert values(stored(site, staff), "tag", "name", "price", "count", "bought", "seen", "opens", "lent", "state") == [
        ("a1", "4711", 0.3, 3, "2026-11-01", "2026-11-01T08:30:00+01:00", "08:30", True, "bad"),
        ("a2", "2026-01-02", 1.5, 3, "2026-11-02", "2026-11-02T00:00:00+01:00", "09:15", False, "ok"),
    ]


def test_what_a_cell_cannot_be_is_a_fault_of_its_row(site: Site, staff: str) -> None:
    rows: list[list[Any]] = [
        ["tag", "bought", "count", "lent", "price"],
        ["a1", 45000, 1.5, 2, "#N/A"],
        ["a2", None, None, None, None],
    ]
    book = openpyxl.load_workbook(io.BytesIO(workbook(("x", rows))))
    book["x"]["E2"].data_type = "e"
    changed = io.BytesIO()
    book.save(changed)
    reply = post(site, staff, changed.getvalue(), media=XLSX)
    assert [(one["row"], one["pointer"]) for one in reply.json["errors"]] == [
        (2, "/price"), (2, "/count"), (2, "/bought"), (2, "/lent"),
    ]  # fmt: skip
    assert "error of the spreadsheet" in reply.json["errors"][0]["detail"]


def test_the_first_sheet_that_is_shown_counts_unless_one_is_named(site: Site, staff: str) -> None:
    made = openpyxl.load_workbook(
        io.BytesIO(workbook(("Old", [["tag"], ["old"]]), ("New", [["tag"], ["new"]]), ("Last", [["tag"], ["last"]])))
    )
    made["Old"].sheet_state = "hidden"
    book = io.BytesIO()
    made.save(book)
    for query in ("", "?sheet=Last", "?sheet=Old"):
        assert post(site, staff, book.getvalue(), query, XLSX).status == 200
    assert values(stored(site, staff), "tag") == ["new", "last", "old"]
    reply = post(site, staff, book.getvalue(), "?sheet=Lost", XLSX)
    assert (reply.status, "did you mean Last" in reply.json["detail"]) == (400, True)


def zipped(**parts: bytes) -> bytes:
    found = io.BytesIO()
    with zipfile.ZipFile(found, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name.replace("__", "/"), content)
    return found.getvalue()


def test_a_file_that_is_no_table_or_a_bomb_is_refused(site: Site, staff: str) -> None:
    good = workbook(("x", [["tag"], ["a1"]]))
    with zipfile.ZipFile(io.BytesIO(good)) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    entities = b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">' + b"".join(
        b'<!ENTITY %c "%s">' % (98 + n, b"&%c;" % (97 + n) * 10) for n in range(9)
    )
    bomb = parts["xl/worksheets/sheet1.xml"].replace(b"<worksheet", entities + b"]><worksheet", 1).replace(b"a1", b"&j;")
    for body, told in (
        (b"\xd0\xcf\x11\xe0" + b"x" * 600, "old .xls"), (b"%PDF-1.7 x", "PDF"), (good[:-40], "damaged"),
        (zipped(a=b"x"), "no workbook"), (zipped(mimetype=b"application/vnd.oasis"), "OpenDocument"),
        (zipped(**parts | {"xl/sharedStrings.xml": b"<x>" + b" " * 70_000_000}), "unpacks to"),
        (zipped(**parts | {"xl/worksheets/sheet1.xml": b"<x>" + b" " * 20_000_000}), "unpacks to"),
        (zipped(**parts | {"xl/worksheets/sheet1.xml": b"<worksheet><sheetData><row>"}), "damaged"),
        (zipped(**parts | {"xl/worksheets/sheet1.xml": bomb}), "damaged"),
    ):  # fmt: skip
        reply = post(site, staff, body, media=XLSX)
        assert (reply.status, told in reply.json.get("detail", "")) == (400, True), (told, reply.text)
    assert stored(site, staff) == []


def test_a_sheet_that_says_it_is_as_large_as_can_be_is_read_as_it_is(site: Site, staff: str) -> None:
    with zipfile.ZipFile(io.BytesIO(workbook(("x", [["tag", "name"], ["a1", "x"]])))) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    name = "xl/worksheets/sheet1.xml"
    parts[name] = re.sub(rb'<dimension ref="[^"]*"', b'<dimension ref="A1:XFD1048576"', parts[name])
    assert post(site, staff, zipped(**parts), media=XLSX).json["created"] == 1


# ---- a spreadsheet as people make them


def messy() -> bytes:
    """A list of things as somebody kept it: a title over merged cells, blank lines, days and prices in all ways, blanks at
    the ends of texts, a heading twice, a remark, and a sum."""
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    sheet.title = "Inventar 2026"
    for row in (
        ["Inventar der Werkstatt, Stand November 2026", None, None, None, None, None], [], [None, "bitte ergänzen!"],
        ["Tag ", "Bezeichnung", "Preis", "Bought on", "Lent", "Preis"],
        ["W-001", "Bohrmaschine ", "1.249,50", date(2024, 3, 1), "ja", "alt"],
        ["W-002", " Leiter  ", 89.9, "1.4.2024", "nein", None], [],
        ["W-003", "Schraubstock", "12,5 €", "04/2024", "?", None], ["W-004", "Säge", "19,99", "31.12.24", "x", None],
        [None, "Hammer", 7, datetime(2024, 5, 2), None, None], [], ["Summe", None, "=SUM(C5:C10)", None, None, None],
    ):  # fmt: skip
        sheet.append(row)
    sheet.merge_cells("A1:F1")
    found = io.BytesIO()
    book.save(found)
    return found.getvalue()


def test_a_messy_spreadsheet_is_read_as_its_people_mean_it(site: Site, staff: str) -> None:
    parts: list[tuple[str, str | None, bytes | str]] = [
        ("file", "Inventar.xlsx", messy()),
        ("columns", None, "tag,name,price,bought,lent,"),
    ]
    session = site.sign_in(staff)
    token = hidden(site.get("/forms/stock", session, Accept="text/html"), "_token")

    def send(*more: tuple[str, str | None, bytes | str]) -> Any:
        headers = MULTIPART | {"Accept-Language": "de", "Accept": "text/csv", "Sec-Fetch-Site": "same-origin"}
        return site.ask("POST", "/forms/stock/import", multipart(*parts, *more, ("_token", None, token)), headers, session)

    reply = send(("dry_run", None, "1"))
    assert reply.status == 200, reply.text
    assert [(one["row"], one["pointer"]) for one in reply.json["errors"]] == [
        (8, "/price"), (8, "/bought"), (8, "/lent"), (9, "/bought"), (10, "/tag"), (12, "/price"),
    ]  # fmt: skip
    reply = send(("partial", None, "1"))
    assert (reply.json["rows"], reply.json["created"], reply.json["failed"]) == (6, 2, 4)
    assert values(stored(site, staff), "tag", "name", "price", "bought", "lent") == [
        ("W-001", "Bohrmaschine", 1249.5, "2024-03-01", True), ("W-002", "Leiter", 89.9, "2024-04-01", False),
    ]  # fmt: skip


# ---- the command


def test_the_command_imports_as_its_site_writes(tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    toml = '[site]\nlang = "de"\n[providers.main]\nkind = "sql"\nurl = "sqlite:///app.db"\n' + FORM.partition("[i18n")[0]
    (tmp_path / "app.toml").write_text(toml)
    table = tmp_path / "stock.csv"
    table.write_text("Tag;What it is;Price;Bought on\na1;Käse;1,50;24.12.2025\n;x;abc;1.1.2025\n", encoding="utf-8")

    def run(*args: str) -> tuple[int, str, str]:
        code = app.main(["server", "import", *args, "--config", str(tmp_path / "app.toml")])
        return code, *capsys.readouterr()

    code, out, err = run("stock", str(table))
    assert (code, out) == (6, "row 3: tag is missing\nrow 3: price must be a number such as 1234,5\n")
    assert err == "2 rows: 1 failed; nothing was stored\n"
    assert run("stock", str(table), "--partial", "--dry-run")[::2] == (
        6,
        "2 rows: 1 created, 1 failed; nothing was stored\n",
    )
    assert run("stock", str(table), "--partial")[::2] == (6, "2 rows: 1 created, 1 failed\n")
    table.write_text("Tag;Price\na1;2,50\na2;3\n")
    code, out, _ = run("forms/stock", str(table), "--key", "tag", "--json")
    assert (code, json.loads(out)["updated"], json.loads(out)["created"]) == (0, 1, 1)
    assert run("stack", str(table))[::2] == (4, "error: no form is named 'stack'; did you mean stock?\n")
    assert run("stock", str(tmp_path / "none.csv"))[0] == 6
    assert run("stock", str(table), "--key", "tug")[0] == 6


# ---- the page, without scripts


class Person:
    """Somebody at the pages of an import."""

    def __init__(self, site: Site, token: str, lang: str = "de") -> None:
        self.site, self.session = site, site.sign_in(token)
        self.headers = {"Accept": "text/html", "Accept-Language": lang, "Sec-Fetch-Site": "same-origin"}

    def get(self, target: str) -> Reply:
        return self.site.ask("GET", target, None, self.headers, self.session)

    def choose(self, name: str, content: bytes, form: str = "stock") -> str:
        """The address to which a chosen file leads."""
        token = hidden(self.get(f"/forms/{form}/import"), "_token")
        body = multipart(("_token", None, token), ("step", None, "choose"), ("file", name, content))
        reply = self.site.ask("POST", f"/forms/{form}/import", body, MULTIPART | self.headers, self.session)
        assert reply.status == 303, reply.text
        return reply["Location"]

    def run(self, page: Reply, target: str, **more: str) -> Reply:
        """What comes after the last form of the page was sent."""
        form = page.text[page.text.index('<form class="run"') :]
        fields = [
            (html.unescape(n), html.unescape(v)) for n, v in re.findall(r'type="hidden" name="(.*?)" value="(.*?)"', form)
        ]
        body = urlencode([*fields, *more.items()])
        media = {"Content-Type": "application/x-www-form-urlencoded"}
        reply = self.site.ask("POST", target, body, media | self.headers, self.session)
        assert reply.status == 303, reply.text
        return self.get(reply["Location"])


def plain(reply: Reply) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", reply.text)).split())


def test_a_person_chooses_maps_checks_and_imports_a_messy_file(site: Site, staff: str) -> None:
    person = Person(site, staff)
    assert 'href="/forms/stock/import"' in person.get("/forms/stock/records").text
    place = person.choose("Inventar.xlsx", messy())
    first = person.get(place)
    assert first.status == 200, first.text
    assert re.findall(r"<option value=\"(\w*)\" selected", first.text) == ["tag", "name", "price", "bought", "lent"]
    assert "W-001" in first.text
    assert "10 Tag fehlt" in plain(first) or "Tag" in plain(first)
    checked = person.run(first, place, dry_run="1")
    told = plain(checked)
    assert "Alle Zeilen sind geprüft, und gespeichert ist nichts" in told
    assert "Neu wären 2" in told
    assert "8 Preis" in told
    assert stored(site, staff) == []
    refused = person.run(checked, place)
    assert "Es wurde nichts gespeichert" in plain(refused)
    report = person.get(f"{place}?report=csv")
    assert report.text.removeprefix("\ufeff").splitlines()[0] == "Zeile;Spalte;Was nicht stimmt"
    assert len(report.text.splitlines()) == 7
    done = person.run(refused, place, partial="1")
    assert "Der Import ist fertig" in plain(done)
    assert "Neu 2" in plain(done)
    assert len(stored(site, staff)) == 2
    again = person.run(refused, place, partial="1")  # pressed twice
    assert "Neu 2" in plain(again)
    assert len(stored(site, staff)) == 2


def test_a_file_in_other_letters_is_shown_and_confirmed(site: Site, staff: str) -> None:
    person = Person(site, staff)
    place = person.choose("alt.csv", "Tag;Bezeichnung;Preis\nä1;Käse;1.249,50\n".encode("cp1252"))
    page = person.get(place)
    assert "Käse" in page.text
    assert "lassen sich verschieden lesen" in plain(page)
    assert 'value="cp1252" selected' in page.text
    other = person.get(f"{place}?encoding=utf-16&separator=%3B&heading=1")
    assert other.status == 200
    assert "Käse" not in other.text
    person.run(page, place)
    assert values(stored(site, staff), "tag", "name", "price") == [("ä1", "Käse", 1249.5)]


def test_columns_and_key_are_chosen_on_the_page(site: Site, staff: str) -> None:
    post(site, staff, "tag,price\na1,1\n")
    person = Person(site, staff, "en")
    place = person.choose("x.csv", b"Number,Worth,Remark\na1,2,x\na2,3,y\n")
    page = person.get(f"{place}?encoding=utf-8&separator=,&heading=1&columns=tag&columns=price&columns=&key=tag")
    assert "Change what has the same: Tag" in plain(page)
    done = person.run(page, place)
    assert ("New 1" in plain(done), "Changed 1" in plain(done)) == (True, True), plain(done)
    assert values(stored(site, staff), "tag", "price") == [("a1", 2), ("a2", 3)]


def test_a_staged_file_is_its_owners_and_goes_after_a_day(site: Site, staff: str) -> None:
    person, other = Person(site, staff), Person(site, site.token("**:*", subject="eve"))
    place = person.choose("x.csv", b"tag\na1\n")
    assert (person.get(place).status, other.get(place).status) == (200, 404)
    assert person.get("/forms/stock/import/none").status == 404
    later = person.choose("y.csv", b"tag\na2\n")
    assert (person.get(place).status, person.get(later).status) == (404, 200)
    app.plugin("import_files").forget(site.app, site.app.clock() + 90_000)
    assert person.get(later).status == 404
    assert site.app.state.find(app.Query("_imports")).items == []


def test_the_page_is_for_those_who_may_create(site: Site, staff: str) -> None:
    assert Person(site, site.token("forms/stock:read")).get("/forms/stock/import").status == 403
    submitter = Person(site, site.token("forms/stock:create"), "en")
    place = submitter.choose("x.csv", b"tag\na1\n")
    page = submitter.get(place)
    assert 'name="key"' not in page.text
    assert "Show the records" not in plain(submitter.run(page, place))
    bad = submitter.site.ask(
        "POST", "/forms/stock/import", multipart(("step", None, "choose"), ("file", "x.pdf", b"%PDF-1.4")),
        MULTIPART | submitter.headers, submitter.session,
    )  # fmt: skip
    assert (bad.status, "PDF" in bad.text) == (400, True)


# ---- many rows


def test_an_import_that_was_interrupted_goes_on_where_it_stopped(
    site: Site, staff: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app.plugin("form_import"), "_AT_ONCE", 2)
    text = "tag,price\n" + "".join(f"t{n},{n}\n" for n in range(7)) + ",1\n"
    store: Any = site.app.providers["main"]
    commit, done = store.commit, []

    def breaks(writes: Any) -> Any:
        if any(one.table == "stock" for one in writes):
            done.append(len(writes))
            if len(done) == 3:
                raise app.Unavailable("the disk is gone")
        return commit(writes)

    monkeypatch.setattr(store, "commit", breaks)
    assert post(site, staff, text, "?partial=1", Idempotency_Key="k").status == 503
    assert len(stored(site, staff)) == 4
    monkeypatch.setattr(store, "commit", commit)
    reply = post(site, staff, text, "?partial=1", Idempotency_Key="k")
    assert [reply.json[name] for name in ("rows", "created", "failed")] == [8, 7, 1]
    assert sorted(values(stored(site, staff), "tag")) == [f"t{n}" for n in range(7)]


def test_more_rows_than_one_commit_holds_are_asked_to_go_in_parts(
    site: Site, staff: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app.plugin("form_import"), "MOST_WHOLE", 5)
    text = "tag\n" + "".join(f"t{n}\n" for n in range(6))
    reply = post(site, staff, text)
    assert (reply.status, "send partial=1" in reply.json["detail"]) == (413, True)
    assert stored(site, staff) == []
    assert post(site, staff, text, "?dry_run=1").json["created"] == 6
    person = Person(site, staff)
    place = person.choose("x.csv", text.encode())
    page = person.get(place)
    assert "6 Zeilen sind mehr, als auf einmal gespeichert werden können (5)" in plain(page)
    assert "Neu 6" in plain(person.run(page, place))
    assert len(stored(site, staff)) == 6


def test_memory_does_not_grow_with_the_rows(site: Site, staff: str) -> None:
    peaks = []
    post(site, staff, "tag\nwarm\n", "?partial=1")
    for count in (2000, 6000):
        body = ("tag,name,price\n" + "".join(f"t{n},thing number {n},{n}\n" for n in range(count))).encode()
        tracemalloc.start()
        reply = post(site, staff, body, "?partial=1")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert reply.json["created"] == count
    assert peaks[1] < peaks[0] * 1.3 + 500_000


def test_rows_that_no_worksheet_has_are_refused_soon(site: Site, staff: str) -> None:
    book, made = io.BytesIO(workbook(("Stock", [["Tag"], ["a"]]))), io.BytesIO()
    with zipfile.ZipFile(book) as old, zipfile.ZipFile(made, "w") as new:
        for name in old.namelist():
            text = old.read(name)
            if name.startswith("xl/worksheets/"):
                text = text.replace(b'<row r="2"', b'<row r="99999999999"').replace(b'r="A2"', b'r="A99999999999"')
            new.writestr(name, text)
    reply = post(site, staff, made.getvalue(), "?dry_run=1", XLSX)
    assert reply.status == 400
    assert "beyond 1,048,576" in reply.json["detail"]


@pytest.mark.parametrize("text", ['tag\n"abc\nb,2\nc\n', 'tag\n"1"trail\n'])
def test_a_quotation_mark_that_is_not_closed_swallows_no_rows(site: Site, staff: str, text: str) -> None:
    reply = post(site, staff, text.encode())
    assert reply.status == 400
    assert "quotation mark" in reply.json["detail"]
