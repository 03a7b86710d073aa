"""What views say of their columns: formats by language, links, badges, and what is refused at the start."""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from http_client import Site

import app
from app import Column, ConfigError

Locale = app.plugin("locale").Locale
S, N = "\u00a0", "\u202f"  # the spaces between digits and signs
MOMENT = 1_795_764_600  # 2026-11-27 08:30 in Paris
FORMATS: list[tuple[str, Any, str, str, str, str]] = [  # format, value, and what en, de, fr and de-CH show
    ("number:2", 1234.5, "1,234.50", "1.234,50", f"1{N}234,50", "1’234.50"),
    ("number:0", 1234567, "1,234,567", "1.234.567", f"1{N}234{N}567", "1’234’567"),
    ("number:0", 2.5, "3", "3", "3", "3"),
    ("number:2", -0.001, "0.00", "0,00", "0,00", "0.00"),
    ("number:2", 2**63 - 1, *(f"9{mark}223{mark}372{mark}036{mark}854{mark}775{mark}807{end}" for mark, end in (
        (",", ".00"), (".", ",00"), (N, ",00"), ("’", ".00")))),
    ("number:3", Decimal("0.1000000000000000000001"), "0.100", "0,100", "0,100", "0.100"),
    ("number:2", Decimal("1E+400"), "1e+400", "1e+400", "1e+400", "1e+400"),
    ("money:EUR", 1234.5, "€1,234.50", f"1.234,50{S}€", f"1{N}234,50{S}€", f"€{S}1’234.50"),
    ("money:EUR", -3, "-€3.00", f"-3,00{S}€", f"-3,00{S}€", f"-€{S}3.00"),
    ("money:JPY", 1234.6, "¥1,235", f"1.235{S}¥", f"1{N}235{S}¥", f"¥{S}1’235"),
    ("money:SEK", 0.1 + 0.2, f"SEK{S}0.30", f"0,30{S}SEK", f"0,30{S}SEK", f"SEK{S}0.30"),
    ("money:EUR", -1e30, *(f"-{before}1{mark.join(['', *['000'] * 10])}{end}" for before, mark, end in (
        ("€", ",", ".00"), ("", ".", f",00{S}€"), ("", N, f",00{S}€"), (f"€{S}", "’", ".00")))),
    ("number:0", Decimal(10**35 + 1), *(mark.join(["100", *["000"] * 10, "001"]) for mark in (",", ".", N, "’"))),
    ("percent", 0.125, "12.5%", f"12,5{S}%", f"12,5{N}%", "12.5%"),
    ("percent", 1, "100%", f"100{S}%", f"100{N}%", "100%"),
    ("bytes", 1_260_000, "1.3 MB", "1,3 MB", "1,3 MB", "1.3 MB"),
    ("bytes", -0.3, "0 bytes", "0 Byte", "0 bytes", "0 Byte"),
    ("duration", -0.04, "0 seconds", "0 Sekunden", "0 seconds", "0 Sekunden"),
    ("bytes", -500, "-500 bytes", "-500 Byte", "-500 bytes", "-500 Byte"),
    ("bytes", Decimal("1E+400"), "1e+400", "1e+400", "1e+400", "1e+400"),
    ("duration", 7500, "2 hours 5 minutes", "2 Stunden 5 Minuten", "2 hours 5 minutes", "2 Stunden 5 Minuten"),
    ("duration", 1.54, "1.5 seconds", "1,5 Sekunden", "1,5 seconds", "1.5 Sekunden"),
    ("duration", -90, "-1 minute 30 seconds", "-1 Minute 30 Sekunden", "-1 minute 30 seconds", "-1 Minute 30 Sekunden"),
    ("date", "2026-11-27", "2026-11-27", "27.11.2026", "27/11/2026", "27.11.2026"),
    ("date", "2026-11-26T23:30:00Z", "2026-11-27", "27.11.2026", "27/11/2026", "27.11.2026"),
    ("date-time", MOMENT, "2026-11-27 08:30 CET", "27.11.2026 08:30 CET", "27/11/2026 08:30 CET", "27.11.2026 08:30 CET"),
    ("date-time", -0.5, "1970-01-01 00:59 CET", "01.01.1970 00:59 CET", "01/01/1970 00:59 CET", "01.01.1970 00:59 CET"),
    ("date-time", "2026-11-27 07:30:00", "2026-11-27 08:30 CET", "27.11.2026 08:30 CET", "27/11/2026 08:30 CET",
     "27.11.2026 08:30 CET"),
    ("money:EUR", "inf", "inf", "inf", "inf", "inf"),
    ("money:EUR", None, "", "", "", ""),
    ("percent", True, "yes", "ja", "yes", "ja"),
]  # fmt: skip


@pytest.mark.parametrize("place", range(4), ids=["en", "de", "fr", "de-CH"])
def test_each_format_is_written_by_the_language_of_the_reader(place: int) -> None:
    lang = ("en", "de", "fr", "de-CH")[place]
    locale = Locale(lang, "Europe/Paris", words={"fr": "en"}.get(lang, ""))
    shown = [(format_, value, locale.show(Column("x", format=format_), value)) for format_, value, *_ in FORMATS]
    assert shown == [(format_, value, texts[place]) for format_, value, *texts in FORMATS]
    for format_, value, *texts in FORMATS:
        assert locale.texts(Column("x", format=format_), [value, None]) == [texts[place], ""]


TOML = """
[forms.bills]
provider = "main"
name = "{title}"
[forms.bills.fields]
title = { type = "string" }
amount = { type = "number" }
state = { type = "string", oneOf = [{ const = "open", title = "To pay" }, { const = "over", title = "Overdue" }] }
day = { type = "string", format = "date" }
secret = { type = "string", read_by = ["boss"] }
[roles.boss]
grants = ["**:read"]
[views.bills]
from = "forms/bills"
order_by = ["title"]
columns.amount = { title = "To pay", format = "money:EUR", total = "sum", link = "views/other?title={title}" }
columns.state = { badge = { over = "bad", open = "none" } }
columns.title = {}
[views.found]
from = "forms/bills"
columns.state = { link = "https://example.org/?q={title}#{secret}" }
[views.other]
provider = "main"
params.title = { type = "string" }
sql = "select 1 as n, :title as title, 'a b' as gone, 0.5 as part, 'x/../y' as path"
columns.n = { link = "forms/bills/records/{title}", badge = { 1 = "good" } }
columns.gone = { link = "views/bills?_q={missing}" }
columns.part = { format = "percent" }
columns.path = { link = "files/docs/{path}" }
"""


def cells_of(page: str) -> list[str]:
    page = re.sub(r' data-of="[^"]*"', "", page.partition("<tfoot>")[0])  # the heading of its column
    return [re.sub(r"\s+", " ", one) for one in re.findall(r"<td[^>]*>.*?</td>", page, re.DOTALL)]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    made = Site(tmp_path_factory.mktemp("reading"), edit=lambda toml: toml + TOML)
    yield made
    made.close()


@pytest.fixture(scope="module")
def bill(site: Site) -> str:
    token = site.token("**:*")
    reply = site.send("/forms/bills", {"title": "A & B/ü", "amount": 1234.5, "state": "over", "secret": "between us"}, token)
    return str(reply.json["id"])


def test_a_row_of_a_view_leads_to_its_record_if_the_reader_may_follow(site: Site, bill: str) -> None:
    page = site.get("/views/bills", site.token("views/*:read", "forms/bills:read"), Accept="text/html").text
    amount, state, title = cells_of(page)
    assert amount == (
        '<td class="num money"><a href="/views/other?title=A%20%26%20B%2F%C3%BC"><bdi>€1,234.50</bdi></a></td>'
    )
    assert state == f'<td class="state bad"><a href="/forms/bills/records/{bill}"><bdi>Overdue</bdi></a></td>'
    assert title == '<td class=""><bdi>A &amp; B/ü</bdi></td>'
    page = site.get("/views/bills", site.token("views/*:read"), Accept="text/html").text
    assert "forms/bills/records" not in page
    assert bill not in page
    [item] = site.get("/views/bills", site.token("views/*:read")).json["items"]
    assert item == {"amount": 1234.5, "state": "over", "title": "A & B/ü"}  # what only leads on is on no page of a program


def test_no_link_says_what_its_reader_may_not_see(site: Site, bill: str) -> None:
    assert "between" not in site.get("/views/found", site.token("views/*:read"), Accept="text/html").text
    [cell] = cells_of(site.get("/views/found", site.token(roles=["boss"]), Accept="text/html").text)
    assert 'href="https://example.org/?q=A%20%26%20B%2F%C3%BC#between%20us"' in cell


def test_a_link_of_an_sql_view_leads_where_its_row_says(site: Site) -> None:
    page = site.get("/views/other?title=..", site.token("**:*"), Accept="text/html")
    number, _, gone, part, path = cells_of(page.text)
    assert number == '<td class="state good"><bdi>1</bdi></td>'  # ".." is no place to lead to
    assert "href" not in gone  # a column that the statement does not have
    assert part == '<td class="num percent"><bdi>50%</bdi></td>'
    assert 'href="/files/docs/x%2F..%2Fy"' in path
    number, *_ = cells_of(site.get("/views/other?title=a%2Fb", site.token("**:*"), Accept="text/html").text)
    assert 'href="/forms/bills/records/a%2Fb"' in number


WRONG = [
    ('format = "money"', "format: 'money' needs the three letters of its currency: write \"money:EUR\""),
    ('format = "money:usd"', 'write "money:USD"'),
    ('format = "number"', 'write "number:2"'),
    ('format = "number:99"', "from 0 to 10"),
    ('format = "percent:2"', 'write "percent"'),
    ('format = "monney:EUR"', "did you mean money:EUR"),
    ('format = "currency"', "write one of number:2, money:EUR, percent, bytes, date, date-time, duration"),
    ('total = "add"', "'add' is no total: write one of sum, avg, min, max, count"),
    ('badge = { over = "red" }', "'red' is none of good, bad, warn, none"),
    ('link = "javascript:alert(1)"', "leads where no cell may lead"),
    ('link = "JAVASCRIPT:alert(1)"', "leads where no cell may lead"),
    ('link = "data:text/html,x"', "leads where no cell may lead"),
    ('link = "//example.org/{title}"', "leads where no cell may lead"),
    ('link = "https://{title}/"', "takes its host from a row"),
    ('link = "https:///x"', "is no address"),
    ('link = "views/bils?x={title}"', "names 'views/bils', which is not declared; did you mean views/bills"),
    ('link = "{title}"', "names no resource"),
    ('link = "views/bills?x={title"', "has a brace without its pair"),
    ('link = "views/bills?x={titel}"', "names the column 'titel', which forms/bills has not; did you mean title"),
]
WRONG_OF_FORM = [
    ("title", 'format = "bytes"', "'bytes' goes with numbers, and title is of type string"),
    ("title", 'format = "date"', "'date' goes with days and moments, and title is none"),
    ("title", 'total = "sum"', "'sum' goes with numbers, and title is of type string"),
    ("state", 'badge = { ovr = "bad" }', "'ovr' is no value of state; did you mean over"),
]


@pytest.mark.parametrize(
    ("column", "setting", "words"), [*(("amount", *one) for one in WRONG), *WRONG_OF_FORM], ids=lambda one: str(one)[:40]
)
def test_a_wrong_setting_of_a_column_is_refused_at_the_start(tmp_path: Path, column: str, setting: str, words: str) -> None:
    wrong = f'\n[views.wrong]\nfrom = "forms/bills"\ncolumns.{column} = {{ {setting} }}\n'
    with pytest.raises(ConfigError) as caught:
        Site(tmp_path, edit=lambda toml: toml + TOML + wrong).close()
    [fault] = caught.value.faults
    assert fault.pointer.startswith(f"views.wrong.columns.{column}.{setting.partition(' ')[0]}")
    assert words in f"{fault.pointer.rpartition('.')[2]}: {fault.detail}"
