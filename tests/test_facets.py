"""Facets: how often each value of a view's columns occurs among the rows that are asked for."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import http_client
import pytest
from sites import Site

import app

TOML = """
[providers.main]
kind = "sql"
url = "sqlite:///data/app.db"
[forms.sale.fields]
region = { type = "string" }
amount = { type = "number" }
paid = { type = "boolean" }
[views.sales]
from = "forms/sale"
facets = ["region", "paid"]
[views.dear]
from = "forms/sale"
where = [{ field = "amount", gte = 5 }]
columns = { region = {} }
facets = ["region"]
[views.plain]
from = "forms/sale"
[views.report]
provider = "main"
sql = "select data->>'region' as region, data->>'amount' as amount from sale"
facets = ["region"]
"""


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    opened = Site(tmp_path, TOML)
    rows = [("north", 1, True), ("south", 5, False), ("north", 7.5, True), (None, 9, None), ("north", 2, None)]
    opened.create("forms/sale", [{"region": r, "amount": a, "paid": p} for r, a, p in rows])
    yield opened
    opened.close()


def facets(site: Site, address: str) -> dict[str, dict[object, int]]:
    """By column, as they stand in the JSON of the list."""
    table = site.read(address).table
    assert table
    page = json.loads(app.dump_json(app.list_page(table)))
    return {name: {one["value"]: one["count"] for one in values} for name, values in page["facets"].items()}


def test_a_view_counts_the_values_of_its_facets_among_the_rows_that_are_selected(site: Site) -> None:
    assert facets(site, "views/sales?_facets=1&_size=1") == {
        "region": {"north": 3, "south": 1, None: 1},
        "paid": {None: 2, True: 2, False: 1},
    }
    assert facets(site, "views/sales?_facets=1&amount__lt=6") == {
        "region": {"north": 2, "south": 1},
        "paid": {True: 1, False: 1, None: 1},
    }
    assert facets(site, "views/dear?_facets=1") == {"region": {"north": 1, "south": 1, None: 1}}
    assert facets(site, "views/dear?_facets=1&_q=NORTH") == {"region": {"north": 1}}
    assert facets(site, "views/report?_facets=1") == {"region": {"north": 3, "south": 1, None: 1}}
    assert facets(site, "views/report?_facets=1&amount__gte=5") == {"region": {"north": 1, "south": 1, None: 1}}


def test_facets_stand_in_the_answer_only_where_they_are_asked_for(site: Site) -> None:
    for address in ("views/sales", "views/sales?_facets=0", "views/report"):
        table = site.read(address).table
        assert table
        assert "facets" not in app.list_page(table)
    assert len(site.items("views/sales?_facets=1", whole=True)) == 5


@pytest.mark.parametrize(
    "address",
    [
        "views/plain?_facets=1", "forms/sale/records?_facets=1", "admin/audit?_facets=1",
        "views/sales?_facets=2", "views/report?_facets=yes",
    ],
)  # fmt: skip
def test_a_list_without_facets_has_no_such_parameter(site: Site, address: str) -> None:
    with pytest.raises(app.BadRequest, match=r"^_facets (is no parameter here|must be 0 or 1)"):
        site.read(address)


def test_facets_of_a_view_from_a_form_have_an_index(site: Site) -> None:
    queries = site.app.needed()["main"]["sale"]
    assert {query.order_by for query in queries} >= {("region",), ("paid",)}


def test_a_facet_that_is_no_column_is_named(tmp_path: Path) -> None:
    wrong = TOML.replace('facets = ["region", "paid"]', 'facets = ["regoin"]')
    with pytest.raises(app.ConfigError) as caught:
        Site(tmp_path, wrong)
    assert [fault.pointer for fault in caught.value.faults] == ["views.sales.facets"]
    assert "did you mean region?" in caught.value.faults[0].detail
    opened = Site(tmp_path, TOML.replace('from sale"\nfacets = ["region"]', 'from sale"\nfacets = ["amuont"]'))
    [fault] = opened.app.inspection.check()
    assert (fault.pointer, "facets" in fault.detail) == ("views.report.sql", True)
    opened.close()


def test_a_view_that_compares_several_values_as_if_they_were_one_is_named(tmp_path: Path) -> None:
    tags = 'tags = { type = "array", items = { enum = ["a", "b"] } }\n[views.sales]'
    where = 'where = [{ field = "tags", gte = "a" }]\nfacets = ["region", "paid"]'
    with pytest.raises(app.ConfigError) as caught:
        Site(tmp_path, TOML.replace("[views.sales]", tags).replace('facets = ["region", "paid"]', where))
    assert [fault.pointer for fault in caught.value.faults] == ["views.sales.where"]
    assert "tags, which holds several values, with gte: write one of eq, ne, in" in caught.value.faults[0].detail


def test_programs_are_told_which_views_have_facets(tmp_path: Path) -> None:
    view = '[views.days]\nfrom = "forms/leave"\nfacets = ["day"]\n'
    site = http_client.Site(tmp_path, edit=lambda config: config + view)
    paths = site.get("/openapi.json", site.token("**:*")).json["paths"]
    having = [path for path, one in paths.items() if "_facets" in json.dumps(one)]
    assert having == ["/views/days"]
    site.close()
