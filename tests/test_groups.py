"""Views whose rows are groups of records, and columns that stand in another form."""

from __future__ import annotations

import random
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import test_matrix

import app
from tests.sites import Site

build = test_matrix.build
VIEWS = """
[forms.moving]
provider = "main"
[forms.moving.fields]
who = {}
status = {}
[forms.leave]
provider = "main"
[forms.leave.fields]
who = { options = { form = "forms/moving", value = "who", label = "status" } }
days = { type = "number" }
[views.by_who]
from = "forms/leave"
group_by = ["who"]
columns = { who = {}, n = { count = "days" }, sum = { sum = "days" }, mean = { avg = "days" }, least = { min = "days" }, most = { max = "days" }, records = { count = "id" } }
facets = ["who"]
[views.by_status]
from = "forms/leave"
group_by = ["who.status"]
columns = { "who.status" = {}, n = { count = "days" }, sum = { sum = "days" }, mean = { avg = "days" }, least = { min = "days" }, most = { max = "days" }, records = { count = "id" } }
facets = ["who.status"]
[views.parted]
from = "forms/leave"
group_by = ["who.status", "who"]
columns = { "who.status" = {}, who = {}, n = { count = "days", total = "sum" }, sum = { sum = "days", total = "sum" }, mean = { avg = "days", total = "avg" }, least = { min = "days", total = "min" }, most = { max = "days", total = "max" }, records = { count = "id", total = "sum" } }
[views.total]
from = "forms/leave"
columns = { n = { count = "days" }, sum = { sum = "days" }, mean = { avg = "days" }, least = { min = "days" }, most = { max = "days" }, records = { count = "id" } }
[views.joined]
from = "forms/leave"
columns = { who = {}, "who.status" = {}, days = {} }
order_by = ["days"]
"""  # noqa: E501
STATUS = {"a": "Ärzte", "b": "Bau", "c": "Bau", "d": "Chöre"}
Row = dict[str, Any]


def some(seed: int) -> list[Row]:
    chance, days = random.Random(seed), [1, 2, 2.5, 0.1, 0.2, -3, None]
    rows = [{"who": chance.choice([*STATUS, "e"]), "days": chance.choice(days)} for _ in range(20)]
    return [{name: value for name, value in one.items() if value is not None} for one in rows]


def model(rows: list[Row], by: str) -> list[Row]:
    """The groups as a view has them, in order."""
    found: dict[Any, list[Row]] = {}
    for row in rows:
        found.setdefault(row.get(by), []).append(row)
    return [{by: key, **measured(each)} for key, each in sorted(found.items(), key=lambda one: one[0] or "")]


def measured(rows: list[Row]) -> Row:
    days = [Fraction(str(row["days"])) for row in rows if row.get("days") is not None]
    total = sum(days) if days else None
    found: Row = {"n": len(days), "sum": total, "mean": total / len(days) if total is not None else None}
    found |= {"least": min(days, default=None), "most": max(days, default=None), "records": len(rows)}
    return {name: float(one) if isinstance(one, Fraction) else one for name, one in found.items()}


def filled(build: Any) -> Any:
    """A site with rows of some(5), of which those of "e" name a record that is gone."""
    site = build(VIEWS, app.Records)
    if site:
        made = [site.create("forms/moving", {"who": who, "status": one}) for who, one in (STATUS | {"e": "gone"}).items()]
        for row in some(5):
            site.create("forms/leave", row)
        site.delete(f"forms/moving/records/{made[-1].data['id']}")
    return site


def test_views_group_add_up_and_join_on_every_provider_as_a_model_does(build: Any) -> None:
    site = filled(build)
    if site:
        check_groups(site)
        check_joins(site)


def check_groups(filled: Site) -> None:
    items, rows = filled.items, [row | {"who.status": STATUS.get(row.get("who"))} for row in some(5)]
    for name, by in (("by_who", "who"), ("by_status", "who.status")):
        whole = model(rows, by)
        assert items(f"views/{name}") == whole
        assert items(f"views/{name}", whole=True) == whole
        assert test_matrix.pages(filled, f"views/{name}", "_size=2") == whole
        assert items(f"views/{name}?_sort=-sum")[0]["sum"] == max(one["sum"] for one in whole if one["sum"] is not None)
        assert items(f"views/{name}?sum__gt=2&records__lte=8") == [
            one for one in whole if (one["sum"] or 0) > 2 and one["records"] <= 8
        ]
        table = filled.read(f"views/{name}?_count=1&_facets=1&_size=1").table
        assert table.count == len(whole)
        facets = table.facts["facets"][by]
        assert {(one["value"], one["count"]) for one in facets} == {(one[by], 1) for one in whole}
    for query, kept in (("", rows), ("&who__in=a,b,c", [row for row in rows if row["who"] in "abc"])):
        facts = filled.read(f"views/parted?_totals=1&_size=1000{query}").table.facts
        parts = [{"value": one.pop("who.status"), "totals": one} for one in model(kept, "who.status")]
        assert facts["subtotals"] == [{"column": "who.status", **one} for one in parts]
        assert facts["totals"] == measured(kept)
    assert items("views/by_who?who__in=a,c") == [one for one in model(rows, "who") if one["who"] in ("a", "c")]
    assert items("views/by_status?who.status=Bau") == model([r for r in rows if r["who.status"] == "Bau"], "who.status")
    assert items("views/by_status?_q=ÄR") == model([r for r in rows if r["who.status"] == "Ärzte"], "who.status")
    assert items("views/total") == [measured(rows)]
    assert items("views/total?n__gt=1000") == []


def check_joins(filled: Site) -> None:
    none = {"who": None, "days": None}
    rows = [none | row | {"who.status": STATUS.get(row.get("who"))} for row in some(5)]

    def same(query: str, expected: list[Row], **facts: Any) -> None:
        found = filled.items(f"views/joined{query}", **facts)
        assert sorted(map(str, map(sorted_row, found))) == sorted(map(str, map(sorted_row, expected)))

    same("", rows)
    same("", rows, whole=True)
    for query, test in (
        ("who.status=Bau", lambda one: one == "Bau"),
        ("who.status__ne=Bau", lambda one: one != "Bau"),
        ("who.status__in=Bau,Chöre", lambda one: one in ("Bau", "Chöre")),
        ("who.status__contains=r", lambda one: "r" in (one or "")),
        ("who.status__gt=Bau", lambda one: one is not None and one > "Bau"),
        ("who.status__null=false", lambda one: one is not None),
        ("who.status__null=true", lambda one: one is None),
        ("who.status=nothing", lambda one: one == "nothing"),
    ):
        same(f"?{query}", [row for row in rows if test(row["who.status"])])
    for sort, down in (("who.status", False), ("-who.status", True)):
        found = test_matrix.pages(filled, "views/joined", f"_sort={sort},days&_size=5")
        assert [one["who.status"] or "" for one in found] == sorted((one["who.status"] or "" for one in rows), reverse=down)


def sorted_row(row: Row) -> list[Any]:
    return sorted(row.items())


# ---- what is there for whom


MASKED = """
[providers.main]
kind = "sql"
url = "sqlite:///data/app.db"
[roles.hr]
grants = ["views/**:read", "forms/**:read"]
[forms.teams]
owner = { field = "created_by", unless = ["hr"] }
[forms.teams.fields]
code = { type = "string" }
name = { type = "string" }
budget = { type = "number" }
secret = { type = "string", read_by = "hr" }
[forms.leave]
owner = { field = "created_by", unless = ["hr"] }
[forms.leave.fields]
kind = { type = "string", oneOf = [{ const = "ill", title = "Sick leave" }, { const = "off", title = "Holiday" }] }
team = { options = { form = "forms/teams", value = "code", label = "name" } }
person = { format = "person" }
days = { type = "integer" }
cost = { type = "number", read_by = "hr" }
grade = { type = "string", read_by = "hr" }
at = { type = "string", format = "date-time" }
many = { type = "array", items = { type = "string", enum = ["a", "b"] } }
[views.groups]
from = "forms/leave"
group_by = ["kind", "grade", "team.budget", "team.name"]
columns = { kind = {}, grade = {}, "team.name" = {}, "team.budget" = {}, n = { count = "id" }, costs = { sum = "cost" } }
order_by = ["-costs", "kind"]
facets = ["kind", "grade"]
[views.parts]
from = "forms/leave"
group_by = ["kind", "grade"]
columns = { kind = {}, grade = {}, n = { count = "id", total = "sum" }, costs = { sum = "cost", total = "sum" } }
[views.few]
from = "forms/leave"
group_by = ["kind", "team"]
columns = { kind = {}, team = {}, n = { count = "id", total = "sum" }, costs = { sum = "cost", total = "sum" } }
[views.joined]
from = "forms/leave"
columns = { kind = {}, "team.name" = {}, "team.budget" = {}, "team.secret" = {}, "person.name" = {}, "person.email" = {} }
order_by = ["team.budget"]
"""


TOTALS = """
[views.sums]
from = "forms/leave"
group_by = ["kind"]
columns = { kind = {}, days = { sum = "days", total = "sum" }, n = { count = "id", total = "sum" } }
"""


@pytest.fixture
def masked(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path, MASKED)
    hr = site.token("hr", "**:*", roles=["hr"])
    site.create("forms/teams", [{"code": "a", "name": "Bau", "budget": 7, "secret": "hush"}], by=hr)
    for subject, kind, grade in (("ann", "ill", "x"), ("ann", "ill", "y"), ("bo", "off", "x")):
        by = site.token(subject, "forms/leave:create", "forms/leave:update")
        made = site.create("forms/leave", {"kind": kind, "team": "a", "days": 2}, by=by).data
        site.patch(f"forms/leave/records/{made['id']}", {"cost": 10, "grade": grade}, by=hr)
    yield site
    site.close()


def test_rows_and_columns_of_groups_are_those_that_are_there_for_the_caller(masked: Site) -> None:
    hr = masked.token("cy", roles=["hr"])
    assert masked.items("views/groups", by=hr)[0] == {
        "kind": "ill", "grade": "x", "team.name": "Bau", "team.budget": 7, "n": 1, "costs": 10,
    }  # fmt: skip
    assert len(masked.items("views/groups", by=hr)) == 3
    ann = masked.token("ann", "views/*:read")
    assert masked.items("views/groups", by=ann) == [{"kind": "ill", "team.name": "Bau", "n": 2}]
    assert masked.items("views/groups", by=masked.token("bo", "views/*:read", "forms/teams:read")) == [
        {"kind": "off", "team.name": "Bau", "team.budget": None, "n": 1}  # the team's record is somebody else's
    ]
    assert masked.items("views/groups", by=masked.token("cy", "views/*:read")) == []
    for asked in ("grade=x", "costs__gt=1", "_sort=costs", "team.budget=7", "_sort=team.budget"):
        with pytest.raises(app.BadRequest):
            masked.read(f"views/groups?{asked}", by=ann)
    facets = masked.read("views/groups?_facets=1", by=ann).table
    assert facets
    assert list(facets.facts["facets"]) == ["kind"]


def test_subtotals_are_of_what_is_there_for_the_caller(masked: Site) -> None:
    def subtotals(by: str) -> Any:
        table = masked.read("views/parts?_totals=1", by=by).table
        assert table
        return [(one["column"], one["value"], one["totals"]) for one in table.facts.get("subtotals", [])]

    ill, off = ("kind", "ill", {"n": 2, "costs": 20}), ("kind", "off", {"n": 1, "costs": 10})
    assert subtotals(masked.token("cy", roles=["hr"])) == [ill, off]
    assert subtotals(masked.token("ann", "views/*:read")) == []  # one of two columns is left: its rows have no parts
    told = masked.read("views/few?_totals=1", by=masked.token("ann", "views/*:read")).table
    assert told
    assert told.facts["subtotals"] == [{"column": "kind", "value": "ill", "totals": {"n": 2}}]


def test_columns_of_another_form_are_there_for_who_may_read_that(masked: Site) -> None:
    def names(by: str) -> list[str]:
        [first, *_] = masked.items("views/joined", by=by)
        return list(first)

    ann = ("views/*:read",)
    every = ["kind", "team.name", "team.budget", "team.secret", "person.name", "person.email"]
    assert names(masked.token("hr", "**:*", roles=["hr"])) == every
    assert names(masked.token("ann", *ann)) == ["kind", "team.name", "person.name"]
    assert names(masked.token("ann", *ann, "forms/teams:read")) == ["kind", "team.name", "team.budget", "person.name"]
    assert names(masked.token("ann", *ann, "admin/people:read"))[-1] == "person.email"
    mine = masked.items("views/joined", by=masked.token("ann", *ann, "forms/teams:read"))
    assert [one["team.budget"] for one in mine] == [None, None]  # that record is somebody else's
    with pytest.raises(app.BadRequest, match=r"team\.secret is no parameter"):
        masked.read("views/joined?team.secret=hush", by=masked.token("ann", *ann, "forms/teams:read"))


def test_columns_of_groups_have_the_type_and_titles_of_their_fields(masked: Site) -> None:
    table = masked.read("views/groups").table
    assert table
    columns = {one.name: one for one in table.columns}
    assert columns["kind"].titles == {"ill": "Sick leave", "off": "Holiday"}
    assert (columns["n"].type, columns["costs"].type, columns["n"].title) == ("integer", "number", "N")
    assert columns["team.name"].title == "Team: Name"
    described = {one["address"]: one for one in masked.app.describe(None)}["views/groups"]
    assert [one.name for one in described["columns"]] == ["kind", "grade", "team.name", "team.budget", "n", "costs"]


# ---- bounds and faults


def test_more_groups_than_a_view_may_have_are_refused_in_words(masked: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    views = app.plugin("form_views")
    monkeypatch.setattr(views, "MOST_GROUPS", 2)
    with pytest.raises(app.TooLarge, match="more than 2 groups: narrow the list by a filter"):
        masked.read("views/groups")
    assert len(masked.items("views/groups?kind=ill")) == 2
    monkeypatch.setattr(views, "MOST_SORTED", 2)
    with pytest.raises(app.TooLarge, match="narrow the list"):
        masked.read("views/joined")
    assert len(masked.items("views/joined?_sort=kind")) == 3


def test_a_filter_of_another_form_selects_a_thousand_of_its_records_or_leaves_out_400(masked: Site) -> None:
    masked.create("forms/teams", [{"code": f"t{n}", "name": "Many"} for n in range(400)])
    assert masked.items("views/joined?team.name__ne=Many&_sort=kind&_size=2")[0]["team.name"] == "Bau"
    assert masked.items("views/joined?team.name=Many&_sort=kind") == []
    masked.create("forms/teams", [{"code": f"u{n}", "name": "Many"} for n in range(600)])
    assert masked.items("views/joined?team.name=Many&_sort=kind") == []
    for asked, most in (("name__ne=Many", "400"), ("name__null=true", "400"), ("name__prefix=", "1,000")):
        with pytest.raises(app.TooLarge, match=f"more than {most} records of forms/teams fit team.name"):
            masked.read(f"views/joined?team.{asked}")


@pytest.mark.parametrize(
    ("view", "place", "words"),
    [
        ('group_by = ["kind"]', "columns", "is missing: it says which columns"),
        ('group_by = ["knd"]\ncolumns = { knd = {} }', "group_by", "did you mean kind?"),
        ('group_by = ["kind"]\ncolumns = { n = { count = "id" } }', "group_by", "add kind = {}"),
        ('group_by = ["id"]\ncolumns = { id = {} }', "group_by", "tells records apart"),
        ('group_by = ["many"]\ncolumns = { many = {} }', "group_by", "no plain values"),
        ('group_by = ["kind"]\ncolumns = { kind = {}, days = {} }', "columns.days", "neither in group_by nor a measure"),
        ('columns = { kind = {}, n = { count = "id" } }', "columns.kind", "neither in group_by nor a measure"),
        ('group_by = ["kind"]\ncolumns = { kind = { max = "days" } }', "columns.kind", "a column of its own"),
        ('group_by = ["kind"]\ncolumns = { kind = {}, n = { min = "days", max = "days" } }', "columns.n", "has min and max"),
        ('group_by = ["kind"]\ncolumns = { kind = {}, n = { sum = "team" } }', "columns.n", "holds no numbers"),
        ('group_by = ["kind"]\ncolumns = { kind = {}, n = { avg = "dyas" } }', "columns.n", "did you mean days?"),
        ('group_by = ["kind"]\ncolumns = { kind = {}, n = { max = "many" } }', "columns.n", "no plain values"),
        ('group_by = ["kind"]\ncolumns = { kind = {}, n = { max = "team.budget" } }', "columns.n", "form's own fields"),
        ('group_by = ["kind"]\ncolumns = { kind = {} }\norder_by = ["days"]', "order_by", "not among the columns"),
        ('columns = { "kind.name" = {} }', "columns", "kind has no options"),
        ('columns = { "team.nme" = {} }', "columns", "did you mean name?"),
        ('columns = { "person.grants" = {} }', "columns", "of a person there are name, email"),
        ('columns = { "team.name" = {} }\nfacets = ["team.name"]', "facets", "with group_by alone"),
        ('columns = { kind = {} }\norder_by = ["team.name"]', "order_by", "add it there"),
        ('columns = { "team.name" = {} }\nwhere = [{ field = "team.name", eq = "Bau" }]', "where", "has not"),
    ],
)
def test_what_cannot_be_grouped_or_joined_is_said_at_start(tmp_path: Path, view: str, place: str, words: str) -> None:
    with pytest.raises(app.ConfigError) as caught:
        Site(tmp_path, f'{MASKED}[views.wrong]\nfrom = "forms/leave"\n{view}\n')
    faults = {fault.pointer: fault.detail for fault in caught.value.faults}
    assert list(faults) == [f"views.wrong.{place}"]
    assert words in faults[f"views.wrong.{place}"]


def test_a_statement_groups_by_itself(tmp_path: Path) -> None:
    view = '[views.wrong]\nsql = "select 1 as n"\ngroup_by = ["n"]\ncolumns = { n = { sum = "n" } }\n'
    with pytest.raises(app.ConfigError) as caught:
        Site(tmp_path, MASKED + view)
    assert {fault.pointer for fault in caught.value.faults} == {"views.wrong.group_by", "views.wrong.columns.n.sum"}
    choice = '[forms.more.fields]\nkind = { options = { view = "views/groups", value = "kind" } }\n'
    with pytest.raises(app.ConfigError) as caught:
        Site(tmp_path, MASKED + choice)
    assert "whose rows are groups" in caught.value.faults[0].detail


def test_grouping_ends_at_the_timeout_of_the_view_and_totals_are_of_the_rows_of_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    views = TOTALS + '[views.late]\nfrom = "forms/leave"\ngroup_by = ["kind"]\ntimeout = "1s"\ncolumns = { kind = {} }\n'
    site, asked = Site(tmp_path, MASKED + views), list[float]()
    site.create("forms/leave", [{"kind": "ill", "days": 2}, {"kind": "off", "days": 3}])
    group = app.SqlProvider.groups

    def watched(*given: Any) -> Any:
        asked.append(app.plugin("groups").limit_s())
        return group(*given)

    monkeypatch.setattr(app.SqlProvider, "groups", watched)
    table = site.read("views/sums?_totals=1").table
    assert table
    assert (table.facts["totals"], asked) == ({"days": 5, "n": 2}, [10.0])
    assert site.items("views/late") == [{"kind": "ill"}, {"kind": "off"}]
    assert asked[1:] == [1.0]
    rows = [(f"k{n}", 1, '{"kind": "ill", "days": 1}') for n in range(5000)]
    site.app.providers["main"].submit(  # type: ignore[attr-defined]
        lambda connection: connection.executemany("insert into leave values (?, ?, ?)", rows) and None
    )
    monkeypatch.setattr(app.plugin("groups"), "limit_s", lambda: -1.0)
    with pytest.raises(app.QueryTimeout, match="narrow the list by a filter"):
        site.read("views/sums")
    site.close()


def test_a_join_with_a_form_that_has_a_fault_adds_none_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(app.ConfigError) as caught:
        Site(tmp_path, MASKED.replace('code = { type = "string" }', 'code = { type = "string", format = "nothing" }'))
    assert [fault.pointer for fault in caught.value.faults] == ["forms.teams.fields.code.format"]


# ---- sums in SQLite


@pytest.mark.parametrize(
    "numbers",
    [
        ["0.1", "0.2", "-12.5", "100", "0"],
        ["1e2", "1E-4", "-0.0", "1.0000", "123456789.1234", "999999999.9999"],
        ["0.00005", "0.1"],
        ["1.00000000000000001", "-1"],
        ["12345678.12345678", "1000000000.0001", "1000000001"],
        ["9223372036854775807", "9223372036854775807", "-0.5"],
        ["1e300", "1", "-1e300"],
        ["0.12345678901234567890123", "1e-30"],
    ],
)
def test_sums_in_sqlite_are_exact_whatever_the_numbers_are(tmp_path: Path, numbers: list[str]) -> None:
    provider = app.SqlProvider("main", {"url": "sqlite:///app.db"}, tmp_path)
    provider.open()
    provider.prepare({"t": ()})
    others = ["true", "null", '"7"', "[1]", '{"a": 1}']
    rows = [(f"k{n}", f'{{"x": {one}}}') for n, one in enumerate([*numbers, *others])] + [("none", "{}"), ("broken", "{")]
    provider.submit(lambda connection: connection.executemany("insert into t values (?, 1, ?)", rows) and None)
    [found] = provider.groups(app.Query("t"), (), [app.Measure(op, "x") for op in ("sum", "avg")], 1)
    total = sum(map(Fraction, numbers))
    assert (Fraction(str(found[0])), found[1]) == (total, float(total / len(numbers)))
    provider.close()


def test_usual_numbers_are_added_up_by_sqlite_itself_and_too_much_of_them_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider, fast = app.SqlProvider("main", {"url": "sqlite:///app.db"}, tmp_path), app.plugin("sql_groups")
    provider.open()
    numbers = [0.25, 1, 999_999_999]
    provider.commit([app.Insert("t", f"k{n}", {"x": one}) for n, one in enumerate(numbers)])
    asked = fast._FastGrouping((), [app.Measure("sum", "x")], 1)
    assert not asked.is_odd(fast._rows(provider, app.Query("t"), asked))
    assert provider.groups(app.Query("t"), (), [app.Measure("sum", "x")], 1) == [(1_000_000_000.25,)]
    provider.submit(lambda connection: connection.execute("delete from t") and None)
    monkeypatch.setattr(fast, "_FAST", 10**14)
    provider.commit([app.Insert("t", f"m{n}", {"x": 99_999_999_999_999}) for n in range(20)])
    assert provider.groups(app.Query("t"), (), [app.Measure("sum", "x")], 1) == [(1_999_999_999_999_980,)]
    provider.close()
