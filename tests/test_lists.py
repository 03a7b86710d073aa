"""The page of a list: its filters, chips, facets, columns and pages, and that the address says all of it at every door."""

from __future__ import annotations

import html
import json
import re
import time
from collections.abc import Iterator
from urllib.parse import parse_qsl, urlencode

import pytest
from http_client import Reply, Site

import app

TOML = '''
[site]
timezone = "Europe/Copenhagen"
[roles.staff]
grants = ["**:*"]
[roles.reader]
grants = ["forms/trip:read,create", "views/**:read"]
[providers.main]
kind = "sql"
url = "sqlite:///app.db"
[forms.team]
[forms.team.fields]
code = { type = "string", required = true }
name = { type = "string" }
size = { type = "number" }
[forms.trip]
states = { field = "status", initial = "new", moves = ["new>approved"] }
[forms.trip.fields]
name = { type = "string", title = "Who" }
day = { type = "string", format = "date", title = "First day" }
at = { type = "string", format = "date-time", title = "Asked at" }
clock = { type = "string", format = "time" }
days = { type = "number" }
seats = { type = "integer" }
kind = { type = "string", oneOf = [{ const = "paid", title = "Paid" }, { const = "no, unpaid", title = "Unpaid" }] }
urgent = { type = "boolean" }
team = { type = "string", options = { form = "forms/team", value = "code", label = "name" } }
pay = { type = "number", read_by = ["staff"] }
tags = { type = "array", items = { oneOf = [{ const = "far", title = "Far away" }, { const = "a, b", title = "A & B" }] } }
[views.trips]
from = "forms/trip"
columns = { name = {}, kind = {}, days = {}, urgent = {} }
facets = ["kind", "urgent"]
[views.tagged]
from = "forms/trip"
columns = { name = {}, tags = {} }
where = [{ field = "tags", ne = "far" }]
order_by = ["name"]
facets = ["tags"]
[views.teams]
from = "forms/team"
columns = { name = {}, size = {} }
[views.raw]
provider = "main"
sql = """select data->>'name' as name, data->>'day' as day, data->>'at' as at, data->>'days' as days, 1 as "odd, one"
  from trip where :least is null or :least <= 9"""
order_by = ["name"]
columns.day = { format = "date" }
columns.at = { format = "date-time" }
params.least = { type = "number", default = 0 }
facets = ["day"]
[views.stored]
provider = "main"
order_by = ["-at", "n"]
facets = ["n"]
sql = """with clock(n, at) as (values (1, '2026-03-28 22:59:59'), (2, '2026-03-28T23:00:00Z'), (3, 1774738799),
  (4, 1774738800), (5, '2026-03-29T23:59:59.5+02:00'), (6, '2026-03-30T00:00:00+02:00'), (7, 1774821600.0),
  (8, '2026-03-29'), (9, null), (10, '2026-03-30'), (11, '1969-12-31T22:30:00Z'), (12, -5400), (13, x'00'), (14, 'later'))
  select n, at, at as day, n * 0.05 as share, n * 100 as cost, n * 600 as took,
    n * 1e6 as size, n * 0.5 as bare from clock"""
columns.at = { format = "date-time" }
columns.day = { format = "date" }
columns.share = { format = "percent" }
columns.cost = { format = "money:EUR" }
columns.took = { format = "duration" }
columns.size = { format = "bytes" }
[views.spread]
provider = "main"
sql = """select 'ab' as x, 'Cd' as y, null as z, 12.5 as n, x'4141' as raw union all
  select 'Äb', replace(hex(zeroblob(60000)), '0', 'x') || 'needle', 'é', 3, null"""
[views.blank]
provider = "main"
sql = "select null as t union all select ''"
facets = ["t"]
[views.named]
provider = "main"
sql = """select 1 as a__gte, 2 as a_, 3 as _sort, 4 as "b,c", 5 as "100%", 6 as "-d", 7 as [it's "q"], 8 as plain,
  9 as plain"""
'''
TOML += f"""[views.wide]
provider = "main"
sql = "select {", ".join(f"{n} as c{n}" for n in range(500))}"
"""
ROWS = [
    {"name": "Ann", "day": "2027-01-04", "at": "2026-11-01T08:00:00Z", "clock": "08:30", "days": 1.5, "seats": 1,
     "kind": "paid", "urgent": True, "team": "ops", "pay": 10, "tags": ["far"]},
    {"name": "Bo", "day": "2027-01-11", "at": "2026-11-01T23:30:00Z", "clock": "12:00", "days": 3, "seats": 2,
     "kind": "no, unpaid", "urgent": False, "team": "fin", "pay": 20,
     "tags": ["far", "a, b"]},
    {"name": "Cy", "day": "2027-02-01", "at": "2026-11-02T12:00:00Z", "clock": "18:15", "days": 10, "seats": 3,
     "kind": "paid", "team": "ops", "pay": 30, "tags": ["a, b"]},
    {"name": "Di & Ed"},
]  # fmt: skip


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    made = Site(tmp_path_factory.mktemp("lists"), edit=lambda toml: TOML)
    token = made.token(roles=["staff"])
    made.send("/forms/team", [{"code": "ops", "name": "Operations"}, {"code": "fin", "name": "Finance"}], token)
    assert made.send("/forms/trip", ROWS, token).status in (200, 201)
    yield made
    made.close()


@pytest.fixture(scope="module")
def staff(site: Site) -> str:
    return site.token(roles=["staff"])


def page(site: Site, address: str, token: str) -> Reply:
    return site.get(address, token, Accept="text/html")


def chips(text: str) -> dict[str, str]:
    """The addresses without each of the filters, by their words."""
    found = re.findall(r'<li class="chip"><bdi>([^<]*)</bdi>\s*<a href="([^"]*)"', text)
    return {html.unescape(words): html.unescape(href) for words, href in found}


def names(reply: Reply) -> list[str]:
    return sorted(row["name"] for row in reply.json["items"])


# (filter of forms/trip, the rows that it selects by the first letters of their names, what its chip says)
FILTERS = [
    ("name__contains=o", "B", "Who contains “o”"), ("name__prefix=A", "A", "Who begins with “A”"),
    ("name__ne=Ann", "BCD", "Who is not Ann"), ("name__eq=Ann", "A", "Who: Ann"),
    ("day__gte=2027-01-11", "BC", "First day from 2027-01-11"), ("day__lte=2027-01-11", "AB", "First day until 2027-01-11"),
    ("day__gt=11.1.2027", "C", "First day after 2027-01-11"), ("day__null=true", "D", "First day is not set"),
    ("at__gte=2026-11-02", "BC", "Asked at from 2026-11-02"), ("at__lte=2026-11-01", "A", "Asked at until 2026-11-01"),
    ("at=2026-11-02", "BC", "Asked at: 2026-11-02"), ("at__gt=2026-11-01", "BC", "Asked at after 2026-11-01"),
    ("at__lt=2026-11-02", "A", "Asked at before 2026-11-02"), ("at__lte=2026-11-02T00:30", "AB", None),
    ("at__gte=2026-11-02T12:00:00Z", "C", "Asked at from 2026-11-02 13:00 CET"),
    ("clock__gte=12:00", "BC", "Clock from 12:00"), ("days__gte=3", "BC", "Days at least 3"),
    ("days__lte=1,5", "A", "Days at most 1.5"), ("days__lt=3", "A", "Days under 3"), ("days__gt=3", "C", "Days over 3"),
    ("days=null", "D", "Days is not set"), ("days__ne=null", "ABC", "Days is set"), ("seats=2", "B", "Seats: 2"),
    ("seats__in=1,3", "AC", "Seats: 1, 3"), ("kind__in=paid", "AC", "Kind: Paid"),
    ("kind__in=no, unpaid", "B", "Kind: Unpaid"), ("kind__in=no, unpaid,paid", "ABC", "Kind: Unpaid, Paid"),
    ("kind__in=paid&kind__in=no, unpaid", "ABC", "Kind: Paid, Unpaid"), ("kind__null=false", "ABC", "Kind is set"),
    ("urgent=true", "A", "Urgent: yes"), ("urgent=false", "B", "Urgent: no"), ("urgent=null", "CD", "Urgent is not set"),
    ("status=new", "ABCD", "Status: New"), ("team__in=ops", "AC", "Team: Operations"),
    ("tags=far", "AB", "Tags: Far away"), ("tags=a, b", "BC", "Tags: A & B"), ("tags__in=a, b", "BC", "Tags: A & B"),
    ("tags__in=far,a, b", "ABC", "Tags: Far away, A & B"), ("tags__contains=far", "AB", "Tags: Far away"),
    ("tags__ne=far", "CD", "Tags is not Far away"), ("tags__null=true", "D", "Tags is not set"),
    ("tags=null", "D", "Tags is not set"), ("tags__null=false", "ABC", "Tags is set"), ("tags__contains=f", "", "Tags: f"),
    ("team__in=ops,fin", "ABC", "Team: Operations, Finance"),
    ('team__in="ops"', "AC", "Team: Operations"), ('name__in="Ann",Cy', "AC", None), ("_q=cy", "C", "Search: cy"),
]  # fmt: skip


@pytest.mark.parametrize(("query", "letters", "words"), FILTERS, ids=[one[0] for one in FILTERS])
def test_each_filter_selects_its_rows_and_is_said_in_words(
    site: Site, staff: str, query: str, letters: str, words: str | None
) -> None:
    asked = "/forms/trip/records?" + query.replace(" ", "%20")
    shown = page(site, asked, staff)
    if shown.status == 303:  # what was typed as one's language writes it
        shown = page(site, shown["Location"], staff)
    assert shown.status == 200
    found = re.findall(r'data-of="Who"><a[^>]*><bdi>(\w)', shown.text)
    assert "".join(sorted(found)) == letters
    if query.count("kind__in") < 2:
        assert "".join(one[0] for one in names(site.get(asked, staff))) == letters
    if words is not None:
        assert chips(shown.text) == {words: "/forms/trip/records"}


def test_what_is_left_empty_asks_for_nothing_and_leaves_the_address(site: Site, staff: str) -> None:
    empty = "_q=&name__contains=&day__gte=&day__lte=&days__gte=&kind__in=&urgent=&_sort="
    assert len(names(site.get(f"/forms/trip/records?{empty}", staff))) == 4
    tidy = page(site, f"/forms/trip/records?{empty}&days__lte=3", staff)
    assert (tidy.status, tidy["Location"]) == (303, "/forms/trip/records?days__lte=3")
    assert names(site.get("/forms/trip/records?name=", staff)) == []  # an empty text, which nobody has
    assert chips(page(site, "/forms/trip/records?name=", staff).text) == {"Who is empty": "/forms/trip/records"}
    assert page(site, "/views/raw?least=", staff).status == 200  # in place of the default
    assert site.get("/forms/trip/records?days__of=", staff).status == 400


WRONG = [
    ("days__gte=x", "Days", "w4"), ("days__lte=x", "Days", "w4-to"), ("day__gte=soon", "First day", "w1"),
    ("at__lte=soon", "Asked at", "w2-to"), ("seats__gte=many", "Seats", "w5"), ("urgent=perhaps", "Urgent", "w7"),
]  # fmt: skip


@pytest.mark.parametrize(("query", "field", "place"), WRONG, ids=[one[0] for one in WRONG])
def test_a_wrong_value_is_said_beside_its_control(site: Site, staff: str, query: str, field: str, place: str) -> None:
    shown = page(site, f"/forms/trip/records?{query}&kind__in=paid", staff)
    assert shown.status == 400
    assert re.search(rf'<a href="#{place}">{field} ', shown.text)
    assert re.search(rf'<(input|select)[^>]* id="{place}"', shown.text)
    assert 'class="error"' in shown.text
    assert "data-of" not in shown.text
    refused = site.get(f"/forms/trip/records?{query}", staff)
    assert (refused.status, refused.json["errors"][0]["pointer"]) == (400, "/" + query.partition("=")[0])


@pytest.mark.parametrize(
    ("query", "field"), [("trips?days__gte=x", "Days"), ("raw?day__gte=soon", "Day"), ("raw?least=x", "Least")]
)
def test_a_wrong_value_keeps_the_controls_of_a_view(site: Site, staff: str, query: str, field: str) -> None:
    shown = page(site, f"/views/{query}&_size=7", staff)
    assert shown.status == 400
    [place] = re.findall(rf'<a href="#([^"]*)">{field} ', shown.text)
    name, _, text = query.partition("?")[2].partition("=")
    assert re.search(rf'<input[^>]* id="{place}"[^>]* name="{name}"[^>]* value="{text}"', shown.text)
    assert 'class="error"' in shown.text


@pytest.mark.parametrize("target", ["/views/trips", "/views/raw", "/forms/trip/records"])
def test_a_wrong_value_that_is_given_twice_is_refused(site: Site, staff: str, target: str) -> None:
    name = "day__gte" if target == "/views/raw" else "days__gte"
    assert page(site, f"{target}?{name}=x&{name}=y", staff).status == 400


@pytest.mark.parametrize(
    "target", ["/forms/trip/records?days__in=,", "/views/trips?days__in=3,", "/views/stored?share__in=,"]
)
def test_a_list_of_values_with_an_empty_one_is_shown(site: Site, staff: str, target: str) -> None:
    assert page(site, target, staff).status in (200, 400)


def test_a_wrong_parameter_and_a_column_that_is_not_there_are_said_together(site: Site, staff: str) -> None:
    assert page(site, "/views/raw?least=x&_columns=nowhere", staff).status == 400


def test_several_wrong_values_are_all_said(site: Site, staff: str) -> None:
    shown = page(site, "/forms/trip/records?days__gte=x&seats__lte=y", staff)
    assert shown.status == 400
    assert shown.text.count('class="error"') == 2


def test_controls_show_what_is_asked_for_and_lose_nothing(site: Site, staff: str) -> None:
    asked = "days__gte=2&kind__in=paid&urgent=null&name__ne=Zoe&at__gte=2026-11-01&_sort=-days&_columns=name,days"
    text = page(site, f"/forms/trip/records?{asked}", staff).text
    form = text[text.index('<form class="filter"') :].partition("</form>")[0]
    sent = re.findall(
        r'<input[^>]* name="([^"]+)" value="([^"]*)"', re.sub(r'<input type="checkbox"(?![^>]*checked)[^>]*>', "", form)
    )
    picked = re.findall(r'<select[^>]* name="([^"]+)">.*?<option value="([^"]*)" selected', form, re.DOTALL)
    kept = {name: html.unescape(value) for name, value in (*sent, *picked) if value}
    assert kept == {**dict(parse_qsl(asked)), "_typed": "1"}


# ---- columns


def test_columns_are_chosen_at_every_door(site: Site, staff: str) -> None:
    for address in ("/forms/trip/records", "/views/trips", "/views/raw"):
        rows = site.get(f"{address}?_columns=days,name&_q=cy", staff).json["items"]
        assert [list(row) for row in rows] == [["days", "name"]]
        lines = site.get(f"{address}.csv?_columns=days,name&_q=cy", staff).text.splitlines()
        assert (lines[0], lines[1].split(",")[1]) == ("days,name", "Cy")
        line = site.get(f"{address}.ndjson?_columns=name&_q=cy", staff).text
        assert json.loads(line) == {"name": "Cy"}
        shown = page(site, f"{address}?_columns=days,name&_q=cy", staff).text
        assert re.findall(r'data-of="(\w+)"', shown) == ["Days", "Who" if "raw" not in address else "Name"]
        assert f"{address}.xlsx?_columns=days%2Cname&amp;_q=cy" in shown
        assert site.get(f"{address}.xlsx?_columns=days,name", staff).status == 200
    wide = site.get("/views/raw?_columns=odd,%20one,name", staff).json["items"]
    assert list(wide[0]) == ["odd, one", "name"]


def test_a_column_that_is_not_there_or_not_to_be_seen_is_refused(site: Site, staff: str) -> None:
    reader = site.token(roles=["reader"])
    for token, name, status in ((staff, "pay", 200), (reader, "pay", 400), (reader, "nmae", 400)):
        for address in ("/forms/trip/records", "/forms/trip/records.csv"):
            assert site.get(f"{address}?_columns=name,{name}", token).status == status, (name, address)
        assert page(site, f"/forms/trip/records?_columns=name,{name}", token).status == status
    for address in ("/views/raw", "/views/raw.csv", "/views/raw.ndjson", "/views/trips", "/admin/audit", "/admin/tokens"):
        wrong = site.get(f"{address}?_columns=nmae", staff)
        assert (wrong.status, "_columns names 'nmae'" in wrong.text) == (400, True), address
    assert site.get("/forms/trip?_columns=name", staff).status == 400
    assert list(site.get("/admin/audit?_columns=subject,at&_size=1", staff).json["items"][0]) == ["subject", "at"]


def test_the_order_of_columns_is_moved_by_links(site: Site, staff: str) -> None:
    text = page(site, "/views/trips?_columns=name,days&days__gte=3", staff).text
    down = re.search(r'<a href="([^"]*)" aria-label="Move Who back">', text)
    assert down
    assert html.unescape(down[1]) == "/views/trips?days__gte=3&_columns=days,name"
    boxes = re.findall(r'name="_columns" value="(\w+)"( checked)?', text)
    assert boxes == [("name", " checked"), ("days", " checked"), ("kind", ""), ("urgent", "")]
    twice = page(site, "/views/trips?_columns=kind&_columns=name", staff).text
    assert re.findall(r'data-of="(\w+)"', twice)[:2] == ["Kind", "Who"]


# ---- order, pages, facets


def test_a_head_sorts_then_turns_then_lets_go(site: Site, staff: str) -> None:
    at, seen = "/views/trips", []
    for _ in range(3):
        text = page(site, at, staff).text
        head = next(one for one in re.findall(r"<th[^>]*>.*?</th>", text, re.DOTALL) if ">Days<" in one)
        sort = re.search(r'aria-sort="(\w+)"', head)
        seen.append(sort[1] if sort else "")
        link = re.search(r'href="([^"]*)"', head)
        assert link
        at = html.unescape(link[1])
    assert seen == ["", "ascending", "descending"]
    assert at == "/views/trips"
    assert '<option value="-days" selected>Days, descending' in page(site, "/views/trips?_sort=-days", staff).text


@pytest.mark.parametrize("address", ["/forms/trip/records", "/views/trips", "/views/raw"])
def test_pages_lead_on_and_back(site: Site, staff: str, address: str) -> None:
    def lead(text: str, rel: str) -> str:
        found = re.search(rf'<a class="button small" href="([^"]*)" rel="{rel}">', text)
        return html.unescape(found[1]) if found else ""

    def rows(text: str) -> list[str]:
        return re.findall(r'data-of="(?:Who|Name)">(?:<a[^>]*>)?<bdi>([^<]*)', text)

    texts = [page(site, f"{address}?_size=1&_sort=name", staff).text]
    while following := lead(texts[-1], "next"):
        texts.append(page(site, following, staff).text)
    assert [rows(text) for text in texts] == [["Ann"], ["Bo"], ["Cy"], ["Di &amp; Ed"]]
    assert not lead(texts[0], "prev")
    back = [texts[-1]]
    while before := lead(back[-1], "prev"):
        back.append(page(site, before, staff).text)
    assert [rows(text) for text in back] == [["Di &amp; Ed"], ["Cy"], ["Bo"], ["Ann"]]
    assert lead(texts[2], "first") == f"{address}?_size=1&_sort=name"


def test_facets_count_and_narrow(site: Site, staff: str) -> None:
    def facets(address: str) -> dict[str, tuple[str, str, bool]]:
        text = page(site, address, staff).text
        found = re.findall(
            r'<li><a href="([^"]*)"( aria-current="true")?><bdi>([^<]*)</bdi> <span class="count">(\d+)', text
        )
        return {title: (count, html.unescape(href), bool(active)) for href, active, title, count in found}

    found = facets("/views/trips?days__gte=1")
    assert found["Paid"] == ("2", "/views/trips?days__gte=1&kind=paid", False)
    assert found["Unpaid"][:2] == ("1", "/views/trips?days__gte=1&kind=no%2C+unpaid")
    assert found["nothing"][1] == "/views/trips?days__gte=1&urgent__null=true"
    assert facets("/views/trips?kind=paid")["Paid"] == ("2", "/views/trips", True)
    assert facets("/views/raw")["2027-01-04"][0] == "1"
    assert "facets" not in site.get("/views/trips", staff).json
    assert len(facets("/views/stored")) == 12
    found = facets("/views/blank")
    assert {one: found[one][1] for one in found} == {"nothing": "/views/blank?t__null=true", "empty": "/views/blank?t="}
    assert page(site, "/views/stored", staff).text.count("the 12 most frequent") == 1
    assert "most frequent" not in page(site, "/views/stored?n__lte=12", staff).text


def test_facets_of_records_that_take_long_are_left_out_of_the_page(
    site: Site, staff: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def facet(*_: object) -> list[tuple[app.Json, int]]:
        if app.plugin("groups").deadline() < time.monotonic() + 1:
            raise app.QueryTimeout("it takes a second")
        return [("paid", 3)]

    monkeypatch.setattr(app.SqlProvider, "facet", facet)
    shown = page(site, "/views/trips", staff)
    assert (shown.status, '<span class="count">' in shown.text) == (200, False)
    assert site.get("/views/trips?_facets=1", staff).json["facets"]["kind"] == [{"value": "paid", "count": 3}]


def test_columns_of_several_choices_are_ticked_counted_and_narrowed_at_every_door(site: Site, staff: str) -> None:
    shown = page(site, "/views/tagged?tags__in=%22a,+b%22", staff).text
    ticked = re.findall(r'name="tags__in" value="([^"]*)"( checked)?><label[^>]*><bdi>([^<]*)', shown)
    assert ticked == [("far", "", "Far away"), ("&quot;a, b&quot;", " checked", "A &amp; B")]
    assert chips(shown) == {"Tags: A & B": "/views/tagged"}
    assert re.findall(r'<bdi>([^<]*)</bdi> <span class="count">', page(site, "/views/tagged", staff).text) == [
        "nothing", "A &amp; B",
    ]  # fmt: skip
    assert names(site.get("/views/tagged?tags=a,+b", staff)) == ["Cy"]
    assert site.get("/views/tagged.csv?tags__ne=a,+b", staff).text.splitlines() == ["name,tags", "Di & Ed,"]
    counted = site.get("/views/tagged?_facets=1", staff).json["facets"]["tags"]
    assert counted == [{"value": None, "count": 1}, {"value": "a, b", "count": 1}]
    refused = site.get("/forms/trip/records?tags__gte=far", staff)
    assert (refused.status, refused.json["errors"][0]["pointer"]) == (400, "/tags__gte")
    assert "tags holds several values: ask with eq, ne, in, contains, null" in refused.json["detail"]
    assert page(site, "/forms/trip/records?tags__gte=far", staff).status == 400


def test_choices_say_how_many_records_have_them(site: Site, staff: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def counts(address: str) -> dict[str, str]:
        text = page(site, address, staff).text
        found = re.findall(r'<bdi>([^<]*)</bdi> <span class="count">(\d+)</span></label>', text)
        return dict(found + re.findall(r"<option[^>]*>([^<(]*) \((\d+)\)</option>", text))

    every = counts("/forms/trip/records")
    assert {title: every[title] for title in ("Paid", "Unpaid", "Far away", "A &amp; B", "Operations", "yes", "no")} == {
        "Paid": "2", "Unpaid": "1", "Far away": "2", "A &amp; B": "2", "Operations": "2", "yes": "1", "no": "1",
    }  # fmt: skip
    assert every["New"] == "4"
    some = counts("/forms/trip/records?kind__in=paid&days__gte=2")  # of its own column a choice asks for nothing else
    assert [some[title] for title in ("Paid", "Unpaid", "Far away", "A &amp; B", "yes")] == ["1", "1", "0", "1", "0"]
    made = site.send("/forms/trip", {"name": "Flo", "kind": "paid"}, staff).json["id"]
    assert counts("/forms/trip/records")["Paid"] == "3"
    with monkeypatch.context() as patch:  # of more records than are counted nothing is said
        patch.setattr(app.plugin("choice_counts"), "MOST_COUNTED", 4)
        assert counts("/forms/trip/records?_q=n") == {}
    site.ask("DELETE", f"/forms/trip/records/{made}", token=staff)
    assert counts("/forms/trip/records") == every
    assert counts("/forms/trip/records?days__gte=x") == {}


def test_days_of_an_sql_view_are_asked_for_as_days(site: Site, staff: str) -> None:
    for query, letters in (
        ("day__gte=11.01.2027", "BC"), ("at__lte=2026-11-01", "A"), ("at__gte=2026-11-02", "BC"), ("at=2026-11-01", "A"),
        ("at=2026-11-02", "BC"), ("at__gt=2026-11-02T00:30:00%2B01:00", "C"), ("at__lt=2026-11-02%2000:30", "A"),
        ("days__gte=3", "BC"), ("name__contains=n", "A"), ("days__null=true", "D"),
    ):  # fmt: skip
        assert "".join(one[0] for one in names(site.get(f"/views/raw?{query}", staff))) == letters, query
    assert page(site, "/views/raw?day__gte=soon", staff).status == 400


@pytest.mark.parametrize(
    ("query", "rows"),
    [  # by the clocks of Copenhagen, which went forward on 2026-03-29
        ("at=2026-03-29", "2 4 5 8"), ("at__lt=2026-03-29", "1 3 11 12"), ("at__lte=2026-03-29", "1 2 3 4 5 8 11 12"),
        ("at__gt=2026-03-29", "6 7 10 14"), ("at__gte=2026-03-29", "2 4 5 6 7 8 10 14"), ("at__lt=1970-01-01", "11 12"),
        ("at__gte=2026-03-30T00:00:00%2B02:00", "6 7 10 14"), ("at__lt=2026-03-28T23:00:00Z", "1 3 11 12"),
        ("day=2026-03-29", "2 4 5 8"),
        ("at__lte=1969-12-31", "11 12"), ("at__null=true", "9"), ("at__contains=03-29T23", "5"),
    ],
)  # fmt: skip
def test_moments_of_an_sql_view_are_the_same_however_they_are_stored(site: Site, staff: str, query: str, rows: str) -> None:
    found = site.get(f"/views/stored?{query}&_sort=n", staff).json["items"]
    assert " ".join(str(one["n"]) for one in found) == rows


@pytest.mark.parametrize(
    ("lang", "typed", "plain", "rows"),
    [
        ("en", "share__gte=65 %", "share__gte=0.65", 2), ("de", "share__gte=62,5 %", "share__gte=0.625", 2),
        ("de", "cost__gte=1.250,50 €", "cost__gte=1250.5", 2), ("en", "cost__gte=EUR 1,250", "cost__gte=1250", 2),
        ("de", "cost__lte=150,25", "cost__lte=150.25", 1), ("en", "took__gte=2:10:00", "took__gte=7800", 2),
        ("en", "size__gte=12.5 MB", "size__gte=12500000", 2), ("de", "bare__gte=6,5", "bare__gte=6.5", 2),
        ("de", "n__lte=1,500", "n__lte=1.5", 1), ("de", "day=29.03.2026", "day=2026-03-29", 4),
    ],
)  # fmt: skip
def test_what_somebody_types_as_a_list_shows_it_is_an_address_that_everybody_reads_alike(
    site: Site, staff: str, lang: str, typed: str, plain: str, rows: int
) -> None:
    reader = {"Cookie": site.sign_in(staff), "Accept-Language": lang, "Accept": "text/html"}
    name, _, text = typed.partition("=")
    there = site.ask("GET", "/views/stored?" + urlencode({name: text}), None, reader)
    assert (there.status, there["Location"]) == (303, f"/views/stored?{plain}")
    assert site.ask("GET", there["Location"], None, reader).text.count("<tr>") == 1 + rows
    assert len(site.get(there["Location"], staff).json["items"]) == rows
    assert page(site, "/views/stored?cost__gte=dear", staff).status == 400


def typed(site: Site, staff: str, lang: str, target: str) -> str:
    """Where an address leads that the form of a page sends."""
    path, _, query = target.partition("?")
    reader = {"Cookie": site.sign_in(staff), "Accept-Language": lang, "Accept": "text/html"}
    there = site.ask("GET", f"{path}?{urlencode(parse_qsl(query, keep_blank_values=True))}", None, reader)
    assert there.status == 303, there.text
    return there["Location"]


@pytest.mark.parametrize(
    ("lang", "sent", "plain"),
    [
        ("de", "n__gte=1.000", "n__gte=1000"), ("en", "n__gte=1.000", "n__gte=1.0"),
        ("de", "n__gte=1,500", "n__gte=1.5"), ("en", "n__gte=1,500", "n__gte=1500"),
        ("de", "n__ne=1.125&n__gte=-1.125", "n__ne=1.125&n__gte=-1125"), ("de", "cost__lte=1.000 €", "cost__lte=1000"),
        ("de", "day__gte=03.04.2026", "day__gte=2026-04-03"), ("de", "day__gte=4/3/2026", "day__gte=2026-03-04"),
        ("en", "day__gte=4/13/2026", "day__gte=2026-04-13"), ("en", "n__gte=&_q=&_sort=-n", "_sort=-n"),
        ("en", "n__gte=soon&n__lte=1,500", "n__gte=soon&n__lte=1500"),
        ("de", "n__gte=soon&cost__lte=1.000 €", "n__gte=soon&cost__lte=1000"),
    ],
)  # fmt: skip
def test_what_is_typed_into_a_filter_is_read_by_the_language_alone(
    site: Site, staff: str, lang: str, sent: str, plain: str
) -> None:
    assert typed(site, staff, lang, f"/views/stored?{sent}&_typed=1") == f"/views/stored?{plain}"


def test_records_and_parameters_that_are_typed_are_read_by_the_language_alone(site: Site, staff: str) -> None:
    sent = "days__gte=1.000&seats__lte=1.000&_typed=1"
    for lang, number in (("de", "1000"), ("en", "1.0")):
        plain = f"/forms/trip/records?days__gte={number}&seats__lte={number.removesuffix('.0')}"
        assert typed(site, staff, lang, f"/forms/trip/records?{sent}") == plain
        assert typed(site, staff, lang, "/views/raw?least=1.000&_typed=1") == f"/views/raw?least={number}"
    assert typed(site, staff, "de", "/views/raw?least=&_typed=1") == "/views/raw?least="
    assert typed(site, staff, "de", "/views/raw?_typed=1") == "/views/raw"
    wrong = "/views/raw?least=soon&days__gte=1.000"  # nobody knows its columns
    assert typed(site, staff, "de", f"{wrong}&_typed=1") == "/views/raw?least=soon&days__gte=1000"
    assert typed(site, staff, "de", f"{wrong}&_typed=params") == wrong
    assert 'name="_typed" value="params"' in page(site, wrong, staff).text


@pytest.mark.parametrize(("lang", "shown"), [("de", "1,125"), ("en", "1.125")])
@pytest.mark.parametrize("target", ["/views/stored?n__lte=1.125", "/views/raw?least=1.125"])
def test_a_filter_that_is_sent_again_asks_for_the_same(site: Site, staff: str, lang: str, shown: str, target: str) -> None:
    reader = {"Cookie": site.sign_in(staff), "Accept-Language": lang, "Accept": "text/html"}
    text = site.ask("GET", target, None, reader).text
    name = target.partition("?")[2].partition("=")[0]
    assert re.search(rf'name="{name}"[^>]*value="{shown}"', text)
    assert typed(site, staff, lang, f"{target.partition('=')[0]}={shown}&_typed=1") == target
    assert not [one for one in re.findall(r'(?:href|action)="([^"]*)"', text) if "_typed" in one]


def test_only_pages_are_told_that_values_were_typed(site: Site, staff: str) -> None:
    for address in ("/views/trips", "/views/raw", "/forms/trip/records", "/views/raw.csv", "/admin/audit"):
        refused = site.get(f"{address}?_typed=1", staff)
        assert (refused.status, "_typed" in refused.text) == (400, True), address
    assert page(site, "/views/stored?n__gte=1&n__gte=2&_typed=1", staff).status == 400
    said = page(site, typed(site, staff, "en", "/views/stored?day__gte=4/3/2026&n__gte=1,500&_typed=1"), staff)
    assert (said.status, 'value="4/3/2026"' in said.text, 'value="1500"' in said.text) == (400, True, True)


@pytest.mark.parametrize("name", ["_facets", "_totals", "_typed"])
def test_a_view_of_sql_says_of_what_it_has_not_that_it_is_no_parameter(site: Site, staff: str, name: str) -> None:
    for address in ("/views/spread", "/views/spread.csv", "/views/teams"):
        assert site.get(f"{address}?{name}=1", staff).json["detail"].startswith(f"{name} is no parameter here"), address
    assert site.get("/views/spread?_none=1", staff).json["detail"] == "there is no column '_none'"


def test_a_list_without_rows_keeps_the_controls_that_it_has_with_some(site: Site, staff: str) -> None:
    def controls(query: str) -> list[str]:
        return re.findall(
            r'<input type="(?:text|date)" id="w[^"]*" name="([^"]*)"', page(site, f"/views/stored{query}", staff).text
        )

    assert {"n__gte", "bare__lte", "at__gte", "day__lte", "cost__lte"} <= set(controls(""))
    assert controls("?n__gte=99") == controls("")
    assert controls("?_q=nowhere") == controls("")


def test_a_list_says_what_it_is_ordered_by_before_anybody_sorts_it(site: Site, staff: str) -> None:
    text = page(site, "/views/stored", staff).text
    assert re.findall(r'aria-sort="(\w+)"\s*>\s*<a href="([^"]*)">(\w+)', text) == [
        ("descending", "/views/stored?_sort=at", "At")
    ]
    text = page(site, "/views/stored?_sort=n,-at", staff).text
    assert re.findall(r'aria-sort="(\w+)"\s*>\s*<a href="([^"]*)">(\w+)', text) == [
        ("ascending", "/views/stored?_sort=-n", "N")
    ]


def test_columns_that_no_address_can_name_are_not_offered_to_be_asked_for(site: Site, staff: str) -> None:
    text = page(site, "/views/named", staff).text
    names = re.findall(r'name="([^"]*?)__gte"', text)
    assert names == ["b,c", "100%", "-d", "it&#039;s &quot;q&quot;", "plain", "plain:1"]
    for query in (*(f"{html.unescape(one)}__gte=1" for one in names), "_sort=plain:1", "_columns=a__gte,_sort"):
        assert page(site, "/views/named?" + urlencode(dict([query.rsplit("=", 1)])), staff).status == 200, query
    links = [html.unescape(one) for one in re.findall(r'<th[^>]*>\s*<a href="([^"]*)"', text)]
    assert [page(site, one, staff).status for one in links] == [200] * 7


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("cd", [12.5]),
        ("bc", []),
        ("b\x1fc", []),
        ("12.5", [12.5]),
        ("NEEDLE", [3]),
        ("äB", [3]),
        ("é", [3]),
        ("xneedlee", []),
    ],
)
def test_a_search_of_an_sql_view_looks_at_each_column_by_itself(
    site: Site, staff: str, query: str, found: list[float]
) -> None:
    target = "/views/spread?" + urlencode({"_q": query, "_columns": "n"})
    assert [one["n"] for one in site.get(target, staff).json["items"]] == found
    assert len(site.get("/views/wide?_q=499", staff).json["items"]) == 1
    assert site.get("/views/wide?_q=500", staff).json["items"] == []


def test_lists_of_the_administration_have_the_same_filters(site: Site, staff: str) -> None:
    for address, query, words in (
        ("admin/tokens", "label__contains=curl", "Label contains “curl”"),
        ("admin/sessions", "created_at__gte=2026-11-27", "Since from 2026-11-27"),
        ("admin/audit", "record__contains=ab", "Record contains “ab”"),
        ("admin/outbox", "tries__gte=2", "Tries at least 2"),
        ("admin/people", "email__contains=x", "Mail address contains “x”"),
    ):  # fmt: skip
        shown = page(site, f"/{address}?{query}", staff)
        assert (shown.status, list(chips(shown.text))) == (200, [words]), address
        assert page(site, f"/{address}?{query}&_q=", staff).status == 303
    assert page(site, "/admin/sessions?created_at__gte=soon", staff).status == 400
    assert page(site, "/admin/tokens?state=working&subject=ann&label__contains=x", staff).text.count('name="subject"') == 1


def test_choices_of_options_are_offered_to_whoever_may_choose_them(site: Site, staff: str) -> None:
    assert 'name="team__in" value="ops"' in page(site, "/forms/trip/records", staff).text
    made = [site.send(f"/forms/{form}", one, staff).json["id"] for form, one in (
        ("team", {"code": "x, y", "name": "Both"}), ("trip", {"name": "Em", "team": "x, y"}),
    )]  # fmt: skip
    assert 'name="team__in" value="&quot;x, y&quot;"' in page(site, "/forms/trip/records", staff).text
    both = site.get("/forms/trip/records?team__in=%22x,%20y%22&team__in=fin&_sort=name", staff)
    assert names(both) == ["Bo", "Em"]
    for form, one in zip(("team", "trip"), made, strict=True):
        assert site.ask("DELETE", f"/forms/{form}/records/{one}", None, {}, staff).status == 204
    only = site.token("forms/trip/records:read")
    text = page(site, "/forms/trip/records", only).text
    assert 'name="team__in"' not in text
    assert 'name="team__contains"' in text


def test_a_link_to_a_record_carries_the_list_and_one_page_before(site: Site, staff: str) -> None:
    query = urlencode({"_size": "1", "_next": "x", "_prev": "0,a,b"})
    assert page(site, f"/forms/trip/records?{query}", staff).status == 400  # a cursor that is none
    text = page(site, "/forms/trip/records?_columns=name,days&days__gte=3", staff).text
    assert "records?" not in text.partition('data-of="Who"')[2].partition("<bdi>")[0]
    assert "_list=_columns%3Dname%252Cdays%26days__gte%3D3" in text


def test_each_look_at_a_list_shows_its_reader_s_own_links_language_and_the_latest_rows(site: Site, staff: str) -> None:
    viewer = site.token("views/teams:read", subject="vi")
    [ops] = site.get("/forms/team/records?code=ops", staff).json["items"]
    at = f"/forms/team/records/{ops['id']}"
    for size, shown in ((1.5, {"en": "1.5", "de": "1,5"}), (2.25, {"en": "2.25", "de": "2,25"})):
        assert site.send(at, {"size": size}, staff, "PATCH").status == 200
        for lang in ("en", "de", "en"):
            for token, leads in ((staff, True), (viewer, False), (staff, True)):
                text = site.get("/views/teams", token, Accept="text/html", Accept_Language=lang).text
                assert (f'href="{at}"' in text) == leads
                assert f'data-of="Size"><bdi>{shown[lang]}</bdi>' in text


def test_a_list_of_500_columns_is_a_page_that_a_browser_takes(site: Site, staff: str) -> None:
    shown = page(site, "/views/wide", staff).text
    assert "C499" in shown
    assert len(shown) < 1_000_000
    few = page(site, "/views/wide?_columns=c7,c9,c8", staff).text
    assert 'href="/views/wide?_columns=c7,c8,c9" aria-label=' in few
