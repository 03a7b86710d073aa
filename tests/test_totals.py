"""What stands below the rows of views: against a model in Python, on every provider that can tell, and what it may take."""

from __future__ import annotations

import hashlib
import io
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import openpyxl
import postgres_server
import pytest
from http_client import Site

import app

OPS = ("sum", "avg", "min", "max", "count")
FORM = """
[forms.sales]
provider = "store"
[forms.sales.fields]
region = { type = "string" }
amount = { type = "number" }
pieces = { type = "integer" }
day = { type = "string", format = "date" }

[views.grouped]
from = "forms/sales"
group_by = ["region"]
columns.region = { total = "count" }
columns.sum = { sum = "amount", total = "sum", format = "money:EUR" }
columns.most = { max = "pieces", total = "max" }

[views.by_day]
from = "forms/sales"
group_by = ["region", "day"]
columns.region = { title = "Where" }
columns.day = {}
columns.sum = { sum = "amount", total = "sum", format = "money:EUR" }
columns.mean = { avg = "amount", total = "avg" }
columns.least = { min = "amount", total = "min" }
columns.most = { max = "pieces", total = "max" }
columns.sales = { count = "id", total = "sum" }

[views.parts]
from = "forms/sales"
facets = ["region", "day"]
order_by = ["-region", "day"]
columns.region = { title = "Where" }
columns.day = {}
columns.amount = { total = "avg" }
columns.pieces = { total = "sum" }
""" + "".join(f"""
[views.{op}]
from = "forms/sales"
columns.region = {{}}
columns.amount = {{ total = "{op}" }}
columns.pieces = {{ total = "{op}" }}
columns.day = {{ total = "{"count" if op in ("sum", "avg") else op}" }}
""" for op in OPS)  # fmt: skip
SQL_PARTS = """
[views.sql_parts]
provider = "store"
sql = "select {}, data->>'day' as day from sales"
facets = ["region", "day"]
order_by = ["-region", "day"]
columns.region = {{ title = "Where" }}
columns.amount = {{ total = "avg" }}
columns.pieces = {{ total = "sum" }}
"""
STORES = {
    "sql": '[providers.store]\nkind = "sql"\nurl = "sqlite:///store.db"\n',
    "file": '[providers.store]\nkind = "file"\nroot = "store"\n',
}


def postgres(folder: Path) -> str:
    schema = "t" + hashlib.sha256(str(folder).encode()).hexdigest()[:16]
    return f'[providers.store]\nkind = "postgres"\nurl = "{postgres_server.server().socket_url}"\nschema = "{schema}"\n'


def made(rows: int, seed: int) -> list[dict[str, Any]]:
    """Sales with empty fields, numbers that a double does not add up and ones at the edge of 64 bits."""
    luck = random.Random(seed)
    found = []
    for _ in range(rows):
        amount: Any = luck.choice([None, luck.randrange(-(10**6), 10**6) / 100, luck.randrange(10**4), 0.1, 0.2])
        pieces = luck.choice([None, luck.randrange(100), 2**63 - 1, 2**62, -7])
        day = luck.choice([None, f"20{luck.randrange(10, 30)}-0{luck.randrange(1, 10)}-11"])
        found.append({"region": luck.choice(["north", "south"]), "amount": amount, "pieces": pieces, "day": day})
    return found


def exactly(value: Any) -> Fraction:
    return Fraction(Decimal(repr(value))) if isinstance(value, float) else Fraction(value)


def expected(op: str, values: Sequence[Any]) -> Any:
    """The model; a mean is the double nearest to it."""
    there = [one for one in values if one is not None]
    if op == "count":
        return len(there)
    if not there:
        return None
    if op in ("min", "max"):
        return {"min": min, "max": max}[op](there, key=lambda one: one if isinstance(one, str) else exactly(one))
    total = sum(map(exactly, there), Fraction())
    found = total if op == "sum" else total / len(there)
    return int(found) if found.denominator == 1 else float(found)


@pytest.fixture(scope="module", params=["sql", "file", "postgres"])
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Site, str, Any]]:
    folder = tmp_path_factory.mktemp("totals")
    store = postgres(folder) if request.param == "postgres" else STORES[request.param]
    sql = ""
    if request.param != "file":
        columns = (
            "data->>'region' as region, cast(data->>'amount' as numeric) as amount, cast(data->>'pieces' as {}) as pieces"
        )
        columns = columns.format("numeric" if request.param == "postgres" else "integer")
        sql = "".join(f"""
[views.sql_{op}]
provider = "store"
sql = "select {columns}, data->>'day' as day from sales where :region is null or data->>'region' = :region"
params.region = {{ type = "string" }}
columns.amount = {{ total = "{op}" }}
columns.pieces = {{ total = "{op}" }}
columns.day = {{ total = "{"count" if op in ("sum", "avg") else op}" }}
""" for op in OPS)  # fmt: skip
        sql += SQL_PARTS.format(columns)
    found = Site(folder, edit=lambda toml: toml + store + FORM + sql)
    rows = made(300, seed=15)
    assert found.send("/forms/sales", rows, found.token("**:*")).status == 201
    yield found, request.param, rows
    found.close()


@pytest.mark.parametrize("region", ["", "north", "nowhere"])
@pytest.mark.parametrize("op", OPS)
def test_totals_are_those_of_a_model_whatever_is_selected(site: tuple[Site, str, Any], op: str, region: str) -> None:
    asked, kind, rows = site
    token = asked.token("**:*")
    chosen = [row for row in rows if region in ("", row["region"])]
    ops = {"amount": op, "pieces": op, "day": "count" if op in ("sum", "avg") else op}
    model = {name: expected(one, [row[name] for row in chosen]) for name, one in ops.items()}
    for view in (op, f"sql_{op}"):
        if view.startswith("sql") and kind == "file":
            continue
        answer = asked.get(f"/views/{view}?_totals=1&_size=3" + (f"&region={region}" if region else ""), token).json
        assert answer["totals"] == model, view


def test_totals_of_groups_are_those_of_their_rows(site: tuple[Site, str, Any]) -> None:
    asked, _, rows = site
    token = asked.token("**:*")
    totals = asked.get("/views/grouped?_totals=1&_size=1", token).json["totals"]
    amounts, pieces = ([row[name] for row in rows] for name in ("amount", "pieces"))
    assert totals == {"region": 2, "sum": expected("sum", amounts), "most": expected("max", pieces)}
    assert "<tfoot>" in asked.get("/views/grouped", token, Accept="text/html").text


def added_up(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The model of what sales with anything in common add up to."""
    amounts, pieces = ([row[name] for row in rows] for name in ("amount", "pieces"))
    found = {name: expected(op, amounts) for name, op in (("sum", "sum"), ("mean", "avg"), ("least", "min"))}
    return found | {"most": expected("max", pieces), "sales": len(rows)}


def parted(rows: list[dict[str, Any]], name: str, descends: bool = False) -> list[dict[str, Any]]:
    """The model of the sub-totals by a column, in its order; null is the least."""
    values = sorted({row[name] for row in rows}, key=lambda one: (one is not None, one), reverse=descends)
    return [{"column": name, "value": one, "totals": added_up([row for row in rows if row[name] == one])} for one in values]


def test_subtotals_are_of_all_groups_with_a_value_of_the_first_column_of_the_order(site: tuple[Site, str, Any]) -> None:
    asked, _, rows = site
    token = asked.token("**:*")

    def found(query: str) -> Any:
        return asked.get(f"/views/by_day?_totals=1&_size=1000{query}", token).json

    whole = found("")
    assert (whole["subtotals"], whole["totals"]) == (parted(rows, "region"), added_up(rows))
    assert whole["totals"]["mean"] != expected("avg", [row["mean"] for row in whole["items"]])  # no mean of means
    assert found("&_sort=-region,sum")["subtotals"] == parted(rows, "region", descends=True)
    assert found("&_sort=day")["subtotals"] == parted(rows, "day")
    assert found("&region=north&_sort=-day")["subtotals"] == parted(
        [row for row in rows if row["region"] == "north"], "day", descends=True
    )
    assert "subtotals" not in found("&_sort=sum")
    assert "subtotals" not in found("&_sort=sum,region")
    assert "subtotals" not in asked.get("/views/by_day?_sort=region", token).json
    assert "subtotals" not in asked.get("/views/grouped?_totals=1", token).json  # each of its rows is one already
    few = found("&sales__lte=4")  # a filter of a measure selects groups
    kept = {(row["region"], row["day"]) for row in few["items"]}
    assert 0 < len(kept) < len(whole["items"])
    assert few["subtotals"] == parted([row for row in rows if (row["region"], row["day"]) in kept], "region")
    alone = asked.get("/views/by_day?_totals=1&_size=1&_sort=-region", token).json  # and not of the page alone
    assert alone["subtotals"] == parted(rows, "region", descends=True)[:1]


def test_subtotals_are_those_of_the_columns_that_are_asked_for(site: tuple[Site, str, Any]) -> None:
    asked, _, rows = site
    token = asked.token("**:*")

    def found(columns: str) -> Any:
        return asked.get(f"/views/by_day?_totals=1&_size=1000&_columns={columns}", token).json

    sales = [
        {"column": "region", "value": one["value"], "totals": {"sales": one["totals"]["sales"]}}
        for one in parted(rows, "region")
    ]
    assert (found("region,sales")["subtotals"], found("region,sales")["totals"]) == (sales, {"sales": len(rows)})
    for columns in ("day,sales", "region,day"):
        assert not found(columns).get("subtotals")
        page = asked.get(f"/views/by_day?_columns={columns}", token, Accept="text/html").text
        assert 'class="subtotal"' not in page
        text = asked.get(f"/views/by_day.csv?_for=excel&_columns={columns}", token).text
        assert "Subtotal" not in text


def test_pages_and_exports_for_people_have_subtotals_behind_the_last_row_of_each_value(site: tuple[Site, str, Any]) -> None:
    asked, _, rows = site
    token = asked.token("**:*")
    north, south = (one["totals"] for one in parted(rows, "region"))
    days = len({row["day"] for row in rows if row["region"] == "north"})
    pages = [asked.get(f"/views/by_day?_size={days - 1}", token, Accept="text/html").text]
    assert "Subtotal" not in pages[0]  # there are more of the north, on the page that follows
    following = re.findall(r'href="([^"]*_next=[^"]*)"', pages[0])[0].replace("&amp;", "&")
    pages.append(asked.get(following, token, Accept="text/html").text)
    [line, *_] = re.findall(r'<tr class="subtotal">.*</tr>', pages[1])
    assert line.startswith(
        '<tr class="subtotal"><th scope="row" colspan="2">Subtotal of north</th><td class="num" data-of="Sum">'
    )
    assert f'data-of="Sales"><bdi>{north["sales"]}</bdi></td></tr>' in line
    lines = asked.get("/views/by_day.csv?_for=excel", token).text.splitlines()
    at = [place for place, line in enumerate(lines) if "Subtotal" in line]
    assert at[0] == 1 + days
    assert lines[at[0]].startswith("Subtotal of north,,")
    assert lines[at[0]].endswith(f",{north['sales']}")
    assert lines[at[1]].endswith(f",{south['sales']}")
    assert [line.partition(",")[0] for line in lines[at[1] + 1 :]] == ["Total", "Average", "Least", "Greatest"]
    plain = asked.get("/views/by_day.csv", token).text.splitlines()
    assert len(plain) == len(lines) - 6  # programs get rows and nothing else
    sheet = openpyxl.load_workbook(io.BytesIO(asked.get("/views/by_day.xlsx", token).body)).worksheets[0]
    made = [[cell.value for cell in row] for row in sheet.iter_rows()]
    assert [line[0] for line in made if "Subtotal" in str(line[0])] == ["Subtotal of north", "Subtotal of south"]
    assert made[at[0]][-1] == north["sales"]
    assert [line[0] for line in made[at[1] + 1 :]] == ["Total", "Average", "Least", "Greatest"]


def test_a_list_that_is_ordered_by_a_facet_has_subtotals_of_its_values(site: tuple[Site, str, Any]) -> None:
    asked, kind, rows = site
    token = asked.token("**:*")

    def model(name: str, chosen: list[dict[str, Any]]) -> list[dict[str, Any]]:
        values = sorted({row[name] for row in chosen}, key=lambda one: (one is not None, one))
        of = [(one, [row for row in chosen if row[name] == one]) for one in values]
        return [
            {"column": name, "value": one, "totals": {
                "amount": expected("avg", [row["amount"] for row in part]),
                "pieces": expected("sum", [row["pieces"] for row in part]),
            }} for one, part in of
        ]  # fmt: skip

    for view in ("parts", "sql_parts")[: 1 + (kind != "file")]:

        def found(query: str, view: str = view) -> Any:
            return asked.get(f"/views/{view}?_totals=1{query}", token).json.get("subtotals")

        assert found("&_size=1000") == model("region", rows)[::-1], view
        assert found("&_sort=day&_size=20") == model("day", rows)[:1], view  # those of the page, whole
        assert found("&_sort=day&_size=1000") == model("day", rows), view
        few = [row for row in rows if row["day"] and row["day"] < "2020"]
        assert found("&day__lt=2020-01-01&_sort=region&_size=1000") == model("region", few), view
        assert found("&_sort=pieces,region") is None, view  # whose values are not counted
        assert found("&_columns=day,pieces") == [], view


def test_a_list_goes_without_subtotals_of_too_many_values(site: tuple[Site, str, Any], monkeypatch: Any) -> None:
    asked, kind, _ = site
    monkeypatch.setattr(app.plugin("totals"), "_MOST_PARTS", 5)
    for view in ("parts", "sql_parts")[: 1 + (kind != "file")]:
        few = asked.get(f"/views/{view}?_totals=1", asked.token("**:*")).json
        assert [one["column"] for one in few["subtotals"]] == ["region"], view
        many = asked.get(f"/views/{view}?_totals=1&_sort=day", asked.token("**:*"))
        assert (many.status, many.json["totals"], "subtotals" in many.json) == (200, few["totals"], False), view


def test_subtotals_of_rows_stand_behind_the_last_of_each_value(site: tuple[Site, str, Any]) -> None:
    asked, kind, rows = site
    token = asked.token("**:*")
    south = sum(row["region"] == "south" for row in rows)
    whole = expected("sum", [row["pieces"] for row in rows if row["region"] == "south"])
    for view in ("parts", "sql_parts")[: 1 + (kind != "file")]:
        page = asked.get(f"/views/{view}?_size={south - 1}", token, Accept="text/html").text
        assert 'class="subtotal"' not in page, view  # one more of the south is on the next page
        page = asked.get(f"/views/{view}?_size={south}", token, Accept="text/html").text
        [line] = re.findall(r'<tr class="subtotal">.*</tr>', page)
        assert "Subtotal of south" in line, view
        assert f'data-of="Pieces"><bdi>{whole}</bdi>' in line.replace(",", ""), view
        page = asked.get(f"/views/{view}?_size=300", token, Accept="text/html").text
        assert len(re.findall(r'<tr class="subtotal">', page)) == 2, view
        lines = asked.get(f"/views/{view}.csv?_for=excel", token).text.splitlines()
        assert [at for at, line in enumerate(lines) if "Subtotal" in line] == [south + 1, len(rows) + 2], view
        assert lines[south + 1].split(",")[0] == "Subtotal of south", view
        assert lines[south + 1].endswith(f",{whole}") or f",{whole}," in lines[south + 1], view
        assert len(asked.get(f"/views/{view}.csv", token).text.splitlines()) == 1 + len(rows), view
        sheet = openpyxl.load_workbook(io.BytesIO(asked.get(f"/views/{view}.xlsx", token).body)).worksheets[0]
        labels = [(at, row[0].value) for at, row in enumerate(sheet.iter_rows()) if "Subtotal" in str(row[0].value)]
        assert labels == [(south + 1, "Subtotal of south"), (len(rows) + 2, "Subtotal of north")], view


def test_a_page_has_its_totals_below_all_of_its_pages(site: tuple[Site, str, Any]) -> None:
    asked, _, rows = site
    page = asked.get("/views/sum?_size=3&region=north", asked.token("**:*"), Accept="text/html").text
    foot = re.findall(r"<tfoot>.*</tfoot>", page)[0]
    pieces = expected("sum", [row["pieces"] for row in rows if row["region"] == "north"])
    assert '<th scope="row" colspan="1">Total</th>' in foot
    assert f'<td class="num" data-of="Pieces"><bdi>{pieces}</bdi></td>' in foot
    assert '<span class="op">Count</span>' in foot


def test_totals_are_asked_for_where_there_are_some(site: tuple[Site, str, Any]) -> None:
    asked = site[0]
    token = asked.token("**:*")
    assert asked.get("/views/sum?_totals=2", token).json["detail"] == "_totals must be 0 or 1"
    assert "totals" not in asked.get("/views/sum?_totals=0", token).json
    assert asked.get("/views/numbers?_totals=1", token).json["detail"] == "_totals is no parameter here"


INFINITE = """
[views.{0}]
provider = "main"
order_by = ["who"]
sql = "select 9e999 as a, -9e999 as b, 9e999 as c, 1.5 as d, 'x' as who union all \
select 1, 2, -9e999, 9e999, 'y'"
columns = {{ a = {{ total = "{0}" }}, b = {{ total = "{0}" }}, c = {{ total = "{0}" }}, d = {{ total = "{0}" }} }}
"""


def test_infinities_come_to_the_same_in_exports_as_on_pages_and_in_json(tmp_path: Path) -> None:
    site = Site(tmp_path, edit=lambda toml: toml + "".join(map(INFINITE.format, ("sum", "avg", "min", "max"))))
    token = site.token("**:*")
    for op in ("sum", "avg", "min", "max"):
        found = site.get(f"/views/{op}?_totals=1", token).json["totals"]
        said = [str(found[name]) for name in "abcd"]
        line = site.get(f"/views/{op}.csv?_for=excel&_columns=a,b,c,d", token).text.splitlines()[-1]
        assert [one.lstrip("'") for one in line.split(",")] == said
        book = openpyxl.load_workbook(io.BytesIO(site.get(f"/views/{op}.xlsx?_columns=a,b,c,d", token).body))
        *_, cells = book.worksheets[0].iter_rows(values_only=True)
        assert [str(one).lstrip("'") for one in cells] == said
    site.close()


ODD = """
[views.odd]
provider = "main"
sql = "select 9e999 as inf, x'00ff' as raw, 9223372036854775807 as big, 'text' as word, 0.1 as part union all \
select -9e999, null, 9223372036854775807, 5, 0.2"
columns = { inf = { total = "sum" }, raw = { total = "max" }, big = { total = "sum" }, word = { total = "avg" }, \
part = { total = "sum" }, missing = { total = "sum" } }
[views.slow]
provider = "main"
sql = "with recursive n(i) as (select 1 union all select i + 1 from n where i < 100000000) select i from n"
columns.i = { total = "sum" }
timeout = "1s"
[views.slow_parts]
provider = "main"
sql = "with recursive n(i) as (select 1 union all select i + 1 from n where i < 3000000) select i from n"
columns.i = { total = "max" }
facets = ["i"]
"""


def test_odd_values_add_up_to_something_and_never_to_a_fault(tmp_path: Path) -> None:
    site = Site(tmp_path, edit=lambda toml: toml + ODD)
    token = site.token("**:*")
    found: Mapping[str, Any] = site.get("/views/odd?_totals=1", token).json["totals"]
    assert found == {"inf": "nan", "raw": "AP8=", "big": 2 * (2**63 - 1), "word": 5, "part": 0.3}
    page = site.get("/views/odd", token, Accept="text/html").text
    assert "18446744073709551614" in page
    site.close()


def test_a_page_goes_without_totals_that_take_too_long_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site(tmp_path, edit=lambda toml: toml + ODD + STORES["file"] + FORM)
    token = site.token("**:*")
    page = site.get("/views/slow", token, Accept="text/html")
    assert (page.status, "<tfoot>" in page.text) == (200, False)
    assert '<a href="/views/slow?_totals=1"><bdi>Add up all rows</bdi></a>' in page.text
    page = site.get("/views/slow_parts?_sort=i&i__lte=1", token, Accept="text/html").text
    assert 'class="subtotal"' not in page
    assert "Add up all rows" in page
    page = site.get("/views/slow?_totals=1", token, Accept="text/html")
    assert (page.status, "The totals would take too long" in page.text) == (200, True)
    assert site.get("/views/slow?_totals=1", token).status == 504
    site.send("/forms/sales", [{"pieces": 1}] * 3, token)
    monkeypatch.setattr(app.plugin("groups"), "MOST_READ", 2)
    page = site.get("/views/sum", token, Accept="text/html")
    assert (page.status, "Add up all rows" in page.text) == (200, True)
    monkeypatch.setattr(app.plugin("groups"), "MOST_READ", 10)
    assert "<tfoot>" in site.get("/views/sum?_totals=1", token, Accept="text/html").text
    assert "<tfoot>" not in site.get("/views/sum", token, Accept="text/html").text  # it was too long a moment ago
    monkeypatch.setattr(app.plugin("groups"), "MOST_READ", 2)
    assert site.get("/views/sum?_totals=1", token).status == 413
    site.close()


def test_totals_leave_out_what_their_reader_may_not_see(tmp_path: Path) -> None:
    hidden = FORM.replace('pieces = { type = "integer" }', 'pieces = { type = "integer", read_by = ["staff"] }')
    site = Site(tmp_path, edit=lambda toml: toml + STORES["sql"] + hidden)
    site.send("/forms/sales", {"pieces": 47110815, "amount": 5}, site.token("**:*"))
    token = site.token("views/*:read")
    assert site.get("/views/sum?_totals=1", token).json["totals"] == {"amount": 5, "day": 0}
    assert "47110815" not in site.get("/views/sum", token, Accept="text/html").text
    site.close()


def test_the_row_behind_a_page_need_not_have_what_the_list_is_ordered_by(tmp_path: Path) -> None:
    site = Site(tmp_path, edit=lambda toml: toml + STORES["sql"] + FORM)
    token = site.token("**:*")
    site.send("/forms/sales", [{"region": "south", "pieces": 2}, {"pieces": 1}], token)
    page = site.get("/views/parts?_size=1", token, Accept="text/html")
    assert (page.status, "Subtotal of south" in page.text) == (200, True)
    site.close()
