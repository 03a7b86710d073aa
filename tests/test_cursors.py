"""Cursors: lists in the order of what a program cannot read exactly end, with each record once; and no cursor, filter or
order tells of what one may not see."""

from __future__ import annotations

import base64
import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from http_client import PAGE, Site

import app
from app import Insert, Query

postgres_server: Any = importlib.import_module("postgres_server")


@pytest.mark.parametrize("order", [("n", "-a"), ("-n", "a"), ("a",), ("-version", "n")])
def test_a_list_of_numbers_that_postgresql_writes_with_too_many_digits_ends(tmp_path: Path, order: tuple[str, ...]) -> None:
    provider = postgres_server.open_postgres(tmp_path)
    provider.commit([Insert("t", f"{n:02}", {"n": n % 5, "a": n}) for n in range(40)])
    unreadable = "jsonb_build_object('n', cast(version || repeat('0', 500) as numeric), 'a', data->'a')"
    [[schema]] = provider.select(app.Select("select current_schema()")).rows
    text = f"update {schema}.t set data = {unreadable} where key > '10' and key < '27'"
    postgres_server.server().sql(text, "satchel")
    query, seen = Query("t", order_by=order, limit=3), list[str]()
    while len(seen) < 50:
        page = provider.find(query)
        seen += [record.key for record in page.items]
        if not page.next:
            break
        query = query._replace(after=page.next)
    assert sorted(seen) == [f"{n:02}" for n in range(40)]
    provider.close()


SITE = """
[roles.hr]
[providers.files]
kind = "file"
root = "store"
""" + "".join(f"""
[forms.{store}]
provider = "{provider}"
[forms.{store}.fields]
who    = {{ type = "string", required = true }}
team   = {{ type = "string", enum = ["a", "b"] }}
cost   = {{ type = "number" }}
salary = {{ type = "number", read_by = "hr" }}
secret = {{ type = "string", read_by = "hr" }}
day    = {{ type = "string", format = "date", read_by = "hr" }}
[views.{store}_by_cost]
from = "forms/{store}"
columns = {{ who = {{}} }}
order_by = ["-cost", "who"]
[views.{store}_all]
from = "forms/{store}"
facets = ["team", "salary"]
columns = {{ who = {{}}, team = {{}}, cost = {{}}, salary = {{ total = "sum" }}, secret = {{}}, day = {{}} }}
order_by = ["salary"]
chart = {{ kind = "bar", x = "who", y = "salary" }}
calendar = {{ start = "day", title = "who" }}
[views.{store}_grouped]
from = "forms/{store}"
group_by = ["team", "secret"]
columns = {{ team = {{}}, secret = {{}}, paid = {{ sum = "salary", total = "sum" }}, most = {{ max = "secret" }} }}
[views.{store}_teams]
from = "forms/{store}"
group_by = ["team", "who"]
columns = {{ team = {{}}, who = {{}}, cost = {{ sum = "cost" }} }}
""" for store, provider in (("pay", "main"), ("kept", "files")))  # fmt: skip
STORES = ("pay", "kept")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    made = Site(tmp_path_factory.mktemp("cursors"), edit=lambda text: text + SITE)
    for store in STORES:
        rows = [
            {"who": f"n{n}", "team": "ab"[n % 2], "cost": 700_000 + 7 * n, "salary": 47_110_000 + n,
             "secret": f"xyzzy{n}", "day": f"2031-07-0{n}"}
            for n in range(1, 8)
        ]  # fmt: skip
        assert made.send(f"/forms/{store}", rows, made.token("**:*", roles=["hr"])).status == 201
    yield made
    made.close()


def told(cursor: str) -> str:
    return base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()


def walked(site: Site, address: str, token: str, *, column: str = "who") -> tuple[list[Any], list[str]]:
    """The values of a column on all pages of a list, and its cursors."""
    found, cursors = list[Any](), list[str]()
    while len(found) < 50:
        page = site.get(f"{address}&_next={cursors[-1]}" if cursors else address, token).json
        found += [row[column] for row in page["items"]]
        if page["next"] is None:
            break
        cursors.append(page["next"])
    return found, cursors


@pytest.mark.parametrize("store", STORES)
def test_a_cursor_says_nothing_of_an_order_by_what_its_reader_does_not_see(site: Site, store: str) -> None:
    reader, whole = site.token("views/*:read"), site.token("views/*:read", f"forms/{store}:read")
    address = f"/views/{store}_by_cost?_size=2"
    names, cursors = walked(site, address, reader)
    assert names == [f"n{n}" for n in range(7, 0, -1)]
    assert all(re.fullmatch(r'\["[0-9a-f]{12}","t[0-9a-f]{32}"\]', told(one)) for one in cursors)
    of_all, plain = walked(site, address, whole)
    assert of_all == names
    assert "700042" in told(plain[0])  # who may read it there anyway
    for made_up in (
        plain[0],
        app.encode_cursor(app.load_json(told(cursors[0]))[0], "tnobody"),
        app.encode_cursor("x", "n1"),
        "x",
    ):
        assert site.get(f"{address}&_next={made_up}", reader).status == 400
    other = site.get(f"{address}&who=n3&_next={cursors[0]}", reader)
    assert (other.status, "another list" in other.json["detail"]) == (400, True)
    page = site.ask("GET", f"{address}&_next={cursors[0]}", None, PAGE, reader)
    assert [one for one in names if f">{one}<" in page.text] == names[2:4]


def test_a_page_that_begins_behind_a_deleted_row_says_so(site: Site) -> None:
    root, reader = site.token("**:*", roles=["hr"]), site.token("views/*:read")
    key = site.send("/forms/pay", {"who": "gone", "cost": 900_000}, root).json["id"]
    following = site.get("/views/pay_by_cost?_size=1", reader).json["next"]
    assert site.get(f"/views/pay_by_cost?_size=1&_next={following}", reader).json["items"] == [{"who": "n7"}]
    assert site.ask("DELETE", f"/forms/pay/records/{key}", None, {}, root).status == 204
    gone = site.get(f"/views/pay_by_cost?_size=1&_next={following}", reader)
    assert (gone.status, gone.json["detail"]) == (400, "the row behind which this page begins was deleted: "
                                                  "start from the first page")  # fmt: skip


@pytest.mark.parametrize("view", ["all?_columns=who&_sort=-cost", "teams?_columns=cost&_sort=-who"])
@pytest.mark.parametrize("store", STORES)
def test_cursors_of_a_link_tell_of_no_columns_that_it_leaves_out(site: Site, store: str, view: str) -> None:
    wish = {"link": {"action": "read", "expires": "1d"}}
    made = site.send(f"/views/{store}_{view}", wish, site.token("**:*", roles=["hr"], subject="root"))
    link = "/s/" + made.json["url"].rpartition("/")[2] + ".json?_size=2"
    column = "who" if "all" in view else "cost"
    found, cursors = walked(site, link, "", column=column)
    assert found == [f"n{n}" if column == "who" else 700_000 + 7 * n for n in range(7, 0, -1)]
    shape = r'\["[0-9a-f]{12}","t[0-9a-f]{32}"\]' if column == "who" else r"\[[0-9]\]"
    assert all(re.fullmatch(shape, told(one)) for one in cursors)


@pytest.mark.parametrize("store", STORES)
def test_nothing_tells_of_a_field_that_its_reader_may_not_read(site: Site, store: str) -> None:
    """Every way that a list takes names and values, against the same list as if the field did not exist."""
    reader = site.token("views/*:read", f"forms/{store}:read,create", f"forms/{store}/records/*:read")
    lists = (f"/forms/{store}/records", f"/views/{store}_all", f"/views/{store}_grouped")
    refused = (
        "salary=47110001", "salary__gte=1", "salary__null=false", "salary__in=47110001", "secret__prefix=x", "secret=xyzzy1",
        "_sort=salary", "_sort=-secret", "_sort=who,day", "_columns=salary", "_columns=who,secret", "day__lt=2032-01-01",
        "paid__gt=1", "most__prefix=x", "_sort=paid", "_columns=most",
    )  # fmt: skip
    for address in lists:
        for query in refused:
            for ending in ("", ".json", ".csv", ".xlsx", ".ndjson"):
                reply = site.get(f"{address}{ending}?{query}", reader)
                assert reply.status == 400, (address, query, ending)
                assert not re.search("47[ ,.]?110[ ,.]?00[0-9]|xyzzy[02-9]", reply.text), (address, query)
        for ending in (
            "",
            ".json",
            ".csv",
            ".ndjson",
            ".csv?_for=excel",
            "?_facets=1",
            "?_totals=1",
            "?_q=xyzzy",
            "?_q=4711",
        ):
            for headers in ({}, PAGE):
                reply = site.ask("GET", f"{address}{ending}", None, headers, reader)
                assert not re.search("47[ ,.]?110[ ,.]?00[0-9]|xyzzy[0-9]", reply.text), (address, ending)
                assert reply.status in (200, 400), (address, ending)
        assert site.get(f"{address}?_q=xyzzy", reader).json["items"] == [], address
    for ending, status in (("svg", 403), ("ics", 403)):
        reply = site.get(f"/views/{store}_all.{ending}", reader)
        assert (reply.status, "47110" in reply.text, "203107" in reply.text) == (status, False, False), ending
    assert site.get(f"/views/{store}_all?_facets=1", reader).json["facets"].keys() == {"team"}
    assert "47110001" in site.get(f"/views/{store}_all.csv", site.token("**:*", roles=["hr"])).text
