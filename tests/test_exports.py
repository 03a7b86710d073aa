"""What leaves the site is what is on the screen: workbooks with formats, totals and facts, and a line for a shell."""

from __future__ import annotations

import io
import re
import subprocess
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from html import unescape
from typing import Any

import openpyxl
import pytest
from conftest import Server
from http_client import Site
from test_languages import chooses, person
from visitor import PAGE, Visitor

TOML = """
[forms.jobs]
provider = "main"
[forms.jobs.fields]
title = { type = "string" }
cost = { type = "number" }
share = { type = "number" }
size = { type = "integer" }
took = { type = "number" }
day = { type = "string", format = "date" }
at = { type = "string", format = "date-time" }
[views.jobs]
title = "Jobs"
note = "What we did"
from = "forms/jobs"
order_by = ["title"]
columns.title = {}
columns.cost = { title = "Cost", format = "money:EUR", total = "sum" }
columns.share = { format = "percent", total = "avg" }
columns.size = { format = "bytes", total = "max" }
columns.took = { format = "duration", total = "sum" }
columns.day = { total = "min" }
columns.at = { format = "date" }
[views.odd]
provider = "main"
sql = "select x'00ff' as raw, 1 as n, 2 as n, 9e999 as inf, -9e999 - -9e999 as nan, null as none, 1700000000 as at"
columns.at = { format = "date-time" }
columns.n = { total = "sum" }
[views.times]
from = "forms/jobs"
columns = { title = {}, at = {} }
[views.last]
from = "forms/jobs"
columns.last = { max = "at", format = "date" }
[views.asked]
provider = "main"
sql = "select -90 as took, '2026-W01-1' as day where :least is null or :most is null"
params.least = { type = "number" }
params.most = { type = "number" }
columns.took = { format = "duration", total = "sum" }
columns.day = { format = "date" }
[views.wide]
provider = "main"
sql = "WIDE"
columns.c7 = { format = "number:2", total = "sum" }
"""
WIDE = "select " + ", ".join(f"{n} as c{n}" for n in range(500))
JOBS = [
    {"title": "a", "cost": 1234.5, "share": 0.125, "size": 1_500_000, "took": 7500, "day": "2026-11-27",
     "at": "2026-11-26T23:30:00Z"},
    {"title": "=1+1", "cost": 0.1, "share": 0.5, "size": 10, "took": 0.5, "day": "2026-01-02", "at": None},
    {"title": "c", "cost": 0.2, "share": None, "size": None, "took": None, "day": None, "at": None},
]  # fmt: skip


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    zone = '[site]\ntimezone = "Europe/Copenhagen"\nurl = "https://intranet.example.org"'
    toml = TOML.replace("WIDE", WIDE)
    made = Site(tmp_path_factory.mktemp("exports"), edit=lambda text: text.replace("[site]", zone) + toml)
    assert made.send("/forms/jobs", JOBS, made.token("**:*")).status == 201
    yield made
    made.close()


@pytest.fixture(scope="module")
def token(site: Site) -> str:
    return site.token("**:*")


def workbook(site: Site, target: str, token: str, **headers: str) -> Any:
    reply = site.get(target, token, **headers)
    assert reply.status == 200, reply.text
    return openpyxl.load_workbook(io.BytesIO(reply.body))


def test_cells_of_a_workbook_have_the_formats_and_totals_of_the_view(site: Site, token: str) -> None:
    sheet = workbook(site, "/views/jobs.xlsx", token).worksheets[0]
    assert (sheet["A2"].value, sheet["A2"].data_type != "f") == ("=1+1", True)
    row = [cell.value for cell in sheet[3]]
    assert row == [
        "a",
        1234.5,
        0.125,
        1_500_000,
        timedelta(hours=2, minutes=5),
        datetime(2026, 11, 27),
        datetime(2026, 11, 27),
    ]
    codes = [cell.number_format for cell in sheet[3]]
    assert codes[1:5] == ['"€"#,##0.00', "0.0%", '[<1000]0" B";[<1000000]0.0," kB";0.0,," MB"', "[h]:mm:ss"]
    below = [[cell.value for cell in line] for line in sheet.iter_rows(min_row=5)]
    assert below == [
        ["Total", 1234.8, None, None, timedelta(seconds=7500, microseconds=500_000), None, None],
        ["Average", None, 0.3125, None, None, None, None],
        ["Greatest", None, None, 1_500_000, None, None, None],
        ["Least", None, None, None, None, datetime(2026, 1, 2), None],
    ]
    assert sheet["B5"].number_format == '"€"#,##0.00'
    assert sheet["B5"].font.bold
    assert sheet["A5"].border.top.style == "thin"
    assert sheet.auto_filter.ref == "A1:G4"  # without the totals, which no sorting moves


def test_the_money_of_a_workbook_stands_where_the_language_puts_its_sign(site: Site, token: str) -> None:
    reply = site.ask("GET", "/views/jobs.xlsx", None, {"Cookie": site.sign_in(token), "Accept-Language": "de"})
    sheet = openpyxl.load_workbook(io.BytesIO(reply.body)).worksheets[0]
    assert (sheet["B2"].number_format, sheet["A5"].value) == ('#,##0.00"\u00a0€"', "Summe")


def test_the_second_sheet_says_what_the_first_one_is(site: Site, token: str) -> None:
    target = "/views/jobs.xlsx?cost__gte=0.15&title__contains=a&_q=a&_sort=-cost&_columns=title,cost"
    book = workbook(site, target, token)
    assert list(book.worksheets[0].values) == [("Title", "Cost"), ("a", 1234.5), ("Total", 1234.5)]
    assert book.worksheets[1].title == "About this list"
    facts: dict[str, list[str]] = {}
    what = ""
    for name, words in book.worksheets[1].values:
        what = name or what
        facts.setdefault(what, []).append(words)
    assert facts["List"] == ["Jobs"]
    assert facts["Note"] == ["What we did"]
    assert facts["Narrowed by"] == ["Cost at least €0.15", "Title contains “a”", "Search: a"]
    assert facts["Order"] == ["Cost, descending"]
    assert facts["Exported by"] == ["ann"]
    assert re.fullmatch(r"20\d\d-\d\d-\d\d \d\d:\d\d CES?T", facts["Exported at"][0])
    query = "cost__gte=0.15&title__contains=a&_q=a&_sort=-cost&_columns=title%2Ccost"
    assert facts["Address"] == [f"https://intranet.example.org/views/jobs?{query}"]
    assert site.get(f"/views/jobs?{query}", token).json["items"] == [{"title": "a", "cost": 1234.5}]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("at=2026-11-27", ["a"]),
        ("at__lt=2026-11-27", []),
        ("at__gte=27.11.2026", ["a"]),
        ("at__gte=2026-11-26T23:30:01Z", []),
    ],
)
def test_moments_that_are_shown_as_days_are_asked_for_as_days(site: Site, token: str, query: str, found: list[str]) -> None:
    assert [one["title"] for one in site.get(f"/views/jobs?{query}", token).json["items"]] == found
    [last] = site.get(f"/views/last?{query.replace('at', 'last', 1)}", token).json["items"] or [{"last": None}]
    assert last["last"] == ("2026-11-26T23:30:00Z" if found else None)


def test_what_asks_for_nothing_narrows_nothing(site: Site, token: str) -> None:
    book = workbook(site, "/views/jobs.xlsx?_q=&cost__gte=&day__lte=&title__contains=&took__null=false", token)
    assert [words for what, words in book.worksheets[1].values if what == "Narrowed by"] == ["Took is set"]
    book = workbook(site, "/views/asked.xlsx?least=&most=5", token)
    assert [words for what, words in book.worksheets[1].values if what == "Narrowed by"] == ["Most: 5"]


def test_a_time_below_zero_is_a_text_because_a_spreadsheet_shows_signs_alone(site: Site, token: str) -> None:
    sheet = workbook(site, "/views/asked.xlsx", token).worksheets[0]
    assert [[cell.value for cell in row] for row in sheet.iter_rows(min_row=2)] == [
        ["-1 minute 30 seconds", "2026-W01-1"], ["-1 minute 30 seconds", "Total"]
    ]  # fmt: skip


def test_odd_values_are_shown_at_every_door(site: Site, token: str) -> None:
    [item] = site.get("/views/odd", token).json["items"]
    assert item["raw"] == "AP8="
    assert (item["n"], item["n:1"], item["inf"], item["none"]) == (1, 2, "inf", None)
    assert item["nan"] in (None, "nan")
    assert site.get("/views/odd.csv", token).text.splitlines()[1].startswith("AP8=,1,2,inf,,,1700000000")
    page = site.get("/views/odd", token, Accept="text/html")
    assert page.status == 200
    assert "2023-11-14 23:13 CET" in page.text
    assert [cell.value for cell in workbook(site, "/views/odd.xlsx", token).worksheets[0][2]] == [
        "AP8=", 1, 2, "inf", None, None, datetime(2023, 11, 14, 23, 13, 20)
    ]  # fmt: skip
    assert "2023-11-14 23:13:20" in site.get("/views/odd.csv?_for=excel", token).text


def test_five_hundred_columns_are_shown_at_every_door(site: Site, token: str) -> None:
    assert len(site.get("/views/wide?_totals=1", token).json["items"][0]) == 500
    assert site.get("/views/wide", token, Accept="text/html").text.count("<td") == 500 + 500 - 7
    assert workbook(site, "/views/wide.xlsx", token).worksheets[0].max_column == 500
    assert len(site.get("/views/wide.csv", token).text.splitlines()[1].split(",")) == 500


def test_the_page_has_a_line_for_a_shell_which_fetches_what_it_shows(site: Site, token: str) -> None:
    page = site.get("/views/jobs?title=it%27s+%24HOME%26x&_size=50", token, Accept="text/html").text
    [line] = re.findall(r"<pre[^>]*><code>(.*?)</code>", page)
    line = unescape(line)
    assert line.startswith('curl -fsS -H "Authorization: Bearer $TOKEN" ')
    run = subprocess.run(
        ["/bin/sh", "-c", f"curl() {{ printf '%s\\n' \"$@\"; }}; {line}"], env={"TOKEN": "abc", "HOME": "/nowhere"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    url = "https://intranet.example.org/views/jobs.csv?title=it%27s+%24HOME%26x"
    assert run.stdout.splitlines() == ["-fsS", "-H", "Authorization: Bearer abc", url]


def test_the_line_means_the_days_of_whoever_looks_at_the_list(site: Site, token: str) -> None:
    cookie = person(site)
    assert chooses(site, cookie, lang="en", timezone="Pacific/Auckland").status == 303
    page = site.get("/views/times?at=2026-11-27&title=a", cookie, Accept="text/html").text
    [line] = re.findall(r"<pre[^>]*><code>(.*?)</code>", page)
    query = unescape(line).rpartition("?")[2].rstrip("'")
    assert query == "at__gte=2026-11-26T11%3A00%3A00.000Z&at__lt=2026-11-27T11%3A00%3A00.000Z&title=a"
    assert len(site.get(f"/views/times.csv?{query}", token).text.splitlines()) == 2
    page = site.get("/views/times?at=2026-11-27", token, Accept="text/html").text
    assert "views/times.csv?at=2026-11-27" in page


def test_the_line_works_when_it_is_pasted(running: Server, token_for: Callable[..., str]) -> None:
    token = token_for(running, "**:*")
    here = Visitor(running.base_url, token=token)
    address = next(one["address"] for one in here.send("GET", "/").data["resources"] if one["type"] == "views")
    page = here.send("GET", f"/{address}?_q=a%27b", headers=PAGE).text
    [line] = re.findall(r"<pre[^>]*><code>(.*?)</code>", page)
    run = subprocess.run(["/bin/sh", "-c", unescape(line)], env={"TOKEN": token}, capture_output=True, check=True)
    assert run.stdout == here.send("GET", f"/{address}.csv?_q=a%27b").body
    assert b"," in run.stdout
