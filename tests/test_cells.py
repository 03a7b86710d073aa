"""plugins/cells.py: what a list's cells show, and that their HTML says the same as the cells a template may write itself."""

from __future__ import annotations

import re
import sys
from decimal import Decimal
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

import app
from app import Column, Damaged

sys.path.insert(0, str(Path(__file__).parent))
from http_client import Site

cells = app.plugin("cells")
locale = app.plugin("locale")

COLUMNS = (
    Column("text"), Column("day", format="date"), Column("at", format="date-time"), Column("n", type="number"),
    Column("of", titles={"a": "First & last", 1: "One", None: "none"}), Column("odd", format='<"uri">'),
)  # fmt: skip
VALUES: list[Any] = [
    None, "", "a", "é <b>&amp; \"it's\"</b>", "x" * 36, "x" * 37, "y" * 199 + "  z", "a\0b", True, False, 0, 1, -1.5, 1e300,
    -0.0, "100% %s",
    Decimal("0.1000000000000000000001"), [], ["a", 1, None], {}, {"name": "x.txt", "address": "files/docs/x.txt"},
    {"name": "no address"}, "https://example.org/?a=1&b=2", "http://a b", "https://" + "x" * 4000, "mailto:ann@example.org",
    "2026-11-26", "2026-02-30", "2026-11-26T17:48:00Z", "1883-11-18T12:03:58.5-05:00", Damaged("a\ufffd", "is not UTF-8"),
]  # fmt: skip


@pytest.mark.parametrize("column", COLUMNS, ids=lambda column: column.name)
@pytest.mark.parametrize("lang", ["en", "de"])
def test_texts_of_a_column_are_what_show_says(column: Column, lang: str) -> None:
    one = locale.Locale(lang, "Europe/Berlin")
    assert one.texts(column, VALUES) == [one.show(column, value) for value in VALUES]


# A column whose values are all of one kind is written in fewer steps than one with all kinds.
ALIKE: list[list[Any]] = [
    VALUES, [], [value for value in VALUES if type(value) is str],
    *[[value for value in VALUES if type(value) is kind] * 2 for kind in dict.fromkeys(map(type, VALUES))],
    [None, 1, 2.5], [True, 1], [True, None, "a"], ["<", "a&b", "'"], ["x" * 36, "x" * 37], [1, 10**38],
    [1.0, -0.0, 10, 100.5], [1.0, 1e-7, 1e300], [1.5, None], ["2026-11-26", None], ["https://example.org/", None],
]  # fmt: skip


@pytest.mark.parametrize("values", ALIKE, ids=str)
@pytest.mark.parametrize("records", ["", "forms/f/records/"])
def test_the_html_of_rows_says_what_their_cells_say(values: list[Any], records: str) -> None:
    made = [{"id": f"k/{n}", **dict.fromkeys((column.name for column in COLUMNS), value)} for n, value in enumerate(values)]
    rows = cells.Rows(COLUMNS, made, locale.Locale("de"), "/at/{}".format, records, "?_list=a%3D1")
    said, own = unescape(re.sub(r"(^|\n) *", "", rows.html)), ""
    for row in rows:
        own += "<tr>"
        for cell, column in zip(row, COLUMNS, strict=True):
            wide = "num " if cell.numeric else "long " if len(cell.text) > 36 else ""
            text = f'<a href="{cell.href}"><bdi>{cell.text}</bdi></a>' if cell.href else f"<bdi>{cell.text}</bdi>"
            own += f'<td class="{wide}{cell.kind}" data-of="{column.name}">{text}</td>'
        own += "</tr>"
    assert said == own
    assert len(rows) == len(values)
    assert "<b>" not in rows.html
    assert all(len(cell.text) <= 200 for row in rows for cell in row)
    first = next((row[0] for row in rows), None)
    if records and first:
        assert first.href == "/at/forms/f/records/k%2F0?_list=a%3D1"
        assert first.text == (locale.Locale("de").show(COLUMNS[0], values[0])[:200] or "—")


def test_ids_that_need_no_quoting_lead_to_the_same_addresses_as_others() -> None:
    for ids in (["a.b", "c"], ["a.b", "c d"], ["ü", "0"], ["%", "a/b", "?"]):
        made = [{"id": one, "text": "x"} for one in ids]
        html = cells.Rows(COLUMNS[:1], made, locale.Locale(), "/at/{}".format, "r/").html
        assert re.findall('href="([^"]*)"', html) == ["/at/r/" + quote(one, safe="") for one in ids]


def test_a_percent_sign_is_one_wherever_it_stands() -> None:
    column = Column("n", title="50% %s", format="%d")
    html = cells.Rows([column], [{"id": "%s", "n": "100%"}], locale.Locale(), str, "a%20b/", "?_list=%s").html
    cell = '<td class="%d" data-of="50% %s"><a href="a%20b/%25s?_list=%s"><bdi>100%</bdi></a></td>'
    assert html == f"    <tr>\n      {cell}\n    </tr>"


def test_no_value_ends_its_cell() -> None:
    for column in COLUMNS:
        for text in ("</bdi><script>", 'https://x/"><script>', "'\"&<>"):
            html = cells.Rows([column], [{column.name: text}], locale.Locale(), str).html
            assert re.fullmatch(
                r'    <tr>\n      <td class="[^"<>]*" data-of="\w+">'
                r'(<a href="[^"<>]*">)?<bdi>[^"\'<>]*</bdi>(</a>)?</td>\n    </tr>',
                html,
            )


def test_a_site_s_own_table_goes_through_rows_and_cells(tmp_path: Path) -> None:
    (tmp_path / "templates").mkdir()
    own = "{{len(page.rows)}} {{page.columns[0].title}}\n% for row in page.rows:\n%   for cell in row:\n" \
          "<{{cell.text}}|{{cell.href}}|{{cell.numeric}}|{{cell.kind}}>\n%   end\n% end\n"  # fmt: skip
    (tmp_path / "templates" / "table.tpl").write_text(own)
    site = Site(tmp_path)
    token = site.token(roles=["staff"])
    site.send("/forms/leave", {"day": "2026-01-31", "days": 1.5, "address": "https://example.org/a"}, token)
    page = site.get("/views/waiting", token, Accept="text/html").text
    [record] = site.get("/forms/leave/records", token).json["items"]
    site.close()
    assert page.startswith(f"1 First day\n<2026-01-31|/forms/leave/records/{record['id']}|False|date>\n<1.5||True|>\n"), page
    assert "<https://example.org/a|https://example.org/a|False|>" in page
