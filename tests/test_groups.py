"""Views whose rows are groups of records, and columns that stand in another form."""

from __future__ import annotations

import random
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import test_matrix
import test_totals
from sites import PROVIDERS, Site

import app

build = test_matrix.build
VIEWS = """
[forms.moving]
provider = "main"
[forms.moving.fields]
who = {}
status = {}
labels = { type = "array", items = { enum = ["big", "old", "it's"] } }
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
[views.labelled]
from = "forms/leave"
columns = { who = {}, "who.labels" = {} }
"""  # noqa: E501
LABELS = {"a": ["big", "it's"], "b": ["old"], "c": [], "d": None}
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
        made = [
            site.create("forms/moving", {"who": who, "status": one, "labels": LABELS.get(who)})
            for who, one in (STATUS | {"e": "gone"}).items()
        ]
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
    for query, fits in (
        ("who.labels=big", lambda one: "big" in one),
        ("who.labels__in=old,it's", lambda one: not {"old", "it's"}.isdisjoint(one)),
        ("who.labels__ne=big", lambda one: "big" not in one),
        ("who.labels__contains=bi", lambda one: False),
    ):
        found = filled.items(f"views/labelled?{query}")
        expected = [{"who": row["who"], "who.labels": LABELS.get(row["who"])} for row in rows]
        expected = [one for one in expected if fits(one["who.labels"] or [])]
        assert sorted(map(str, found)) == sorted(map(str, expected)), query
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


@pytest.fixture
def apart(tmp_path: Path) -> Iterator[Site]:
    """The teams are kept by another provider, which no database can look into."""
    other = '[providers.apart]\nkind = "file"\nroot = "apart"\n'
    site = Site(tmp_path, other + MASKED.replace("[forms.teams]\n", '[forms.teams]\nprovider = "apart"\n'))
    site.create("forms/teams", {"code": "a", "name": "Bau", "budget": 7})
    site.create("forms/leave", [{"kind": kind, "team": "a"} for kind in ("ill", "off", "off")])
    yield site
    site.close()


def test_rows_are_read_to_be_ordered_by_a_form_that_is_kept_elsewhere_and_they_are_bounded(
    apart: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert [one["team.budget"] for one in apart.items("views/joined")] == [7, 7, 7]
    monkeypatch.setattr(app.plugin("form_views"), "MOST_SORTED", 2)
    with pytest.raises(app.TooLarge, match="narrow the list"):
        apart.read("views/joined")
    assert len(apart.items("views/joined?_sort=kind")) == 3


def test_a_filter_of_a_form_that_is_kept_elsewhere_selects_a_thousand_of_its_records_or_leaves_out_400(apart: Site) -> None:
    masked = apart
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


# ---- columns of another form that the database looks up itself


LOOKED_UP = """
[providers.store]
STORE
[roles.hr]
grants = ["views/**:read", "forms/**:read"]
[forms.teams]
provider = "store"
owner = { field = "head", unless = ["hr"] }
[forms.teams.fields]
code = { type = "string" }
name = { type = "string" }
head = { type = "string" }
budget = { type = "number" }
at = { type = "string", format = "date-time" }
open = { type = "boolean" }
[forms.desks]
provider = "store"
[forms.desks.fields]
number = { type = "integer" }
floor = { type = "integer", options = { form = "forms/desks", value = "number", label = "name" } }
name = { type = "string" }
[forms.leave]
provider = "store"
owner = { field = "who", unless = ["hr"] }
[forms.leave.fields]
team = { options = { form = "forms/teams", value = "code", label = "name" } }
desk = { type = "integer", options = { form = "forms/desks", value = "number", label = "name" } }
who = { format = "person" }
days = { type = "integer" }
[views.all]
from = "forms/leave"
columns = { id = {}, days = {}, "team.name" = {}, "team.budget" = {}, "team.at" = {}, "team.open" = {}, "desk.name" = {}, "who.name" = {} }
order_by = ["team.name", "-days"]
[views.desks]
from = "forms/desks"
columns = { id = {}, name = {}, "floor.name" = {} }
where = [{ field = "name", prefix = "d" }]
"""  # noqa: E501
MOMENTS = ["2027-01-01T09:00:00Z", "2027-01-01T09:30:00+01:00", "2026-12-31T23:00:00-10:00", None, "2020-02-02T02:02:02.5Z"]


def made_teams(chance: random.Random) -> list[tuple[str, Row]]:
    """Teams by key, of which several have one code, some none, and some other things than their form takes."""
    found: list[tuple[str, Row]] = []
    for number in range(60):
        code: Any = chance.choice([f"c{chance.randrange(25)}", f"c{chance.randrange(25)}", None, "", 7, "c' \\ä"])
        value = {
            "code": code, "name": chance.choice(["Bau", "bau", "Ärzte", "z\U0001f600", None, "A" * 300 + str(number)]),
            "budget": chance.choice([None, 1, 1.0, -2.5, 10**17, 0.1, "x"]), "at": chance.choice(MOMENTS),
            "open": chance.choice([True, False, None]), "head": chance.choice(["ann", "bo"]),
        }  # fmt: skip
        found.append((f"k{chance.randrange(10**6):06}", {name: one for name, one in value.items() if one is not None}))
    return list(dict(found).items())


def made_leave(chance: random.Random) -> list[tuple[str, Row]]:
    found: list[tuple[str, Row]] = []
    for number in range(90):
        team: Any = chance.choice([f"c{chance.randrange(30)}", f"c{chance.randrange(30)}", None, "", 7, "c' \\ä", True])
        value = {"team": team, "desk": chance.choice([1, 2, 3, 99, None]), "days": chance.randrange(4)}
        value["who"] = chance.choice(["ann", "bo", "gone"])
        found.append((f"m{number:03}", {name: one for name, one in value.items() if one is not None}))
    return found


@pytest.fixture(scope="module", params=["sql", "sql without an index", "postgres"])
def looked_up(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Site, Any, Any]]:
    folder, chance = tmp_path_factory.mktemp("looked-up"), random.Random(11)
    store = test_totals.STORES["sql"] if request.param != "postgres" else test_totals.postgres(folder)
    site = Site(folder, LOOKED_UP.replace("[providers.store]\nSTORE", store))
    provider: Any = site.app.providers["store"]
    teams, leave = made_teams(chance), made_leave(chance)
    desks = [("d1", {"number": 2, "name": "door"}), ("d2", {"number": 1, "name": "attic", "floor": 2}),
             ("d0", {"number": 2, "name": "cellar", "floor": 1})]  # fmt: skip
    for table, rows in (("teams", teams), ("leave", leave), ("desks", desks)):
        provider.commit([app.Insert(table, key, value) for key, value in rows])
    if request.param == "sql without an index":
        with provider.reading("a test") as connection:
            names = connection.execute(
                "select name from sqlite_master where type = 'index' and tbl_name = 'teams'"
            ).fetchall()
        drops = [f"drop index {name}" for (name,) in names if name.startswith("satchel_")]
        provider.submit(lambda connection: [connection.execute(one) for one in drops] and None)
        assert drops
    for subject in ("ann", "bo"):
        site.create("admin/people", {"subject": subject, "name": {"ann": "Zoe", "bo": "Abe"}[subject], "roles": []})
    yield site, dict(teams), dict(leave)
    site.close()


def joined_rows(teams: dict[str, Row], leave: dict[str, Row], of: str = "") -> list[Row]:
    """The model: rows in the order of their keys, with what the team with the least key says; `of` one head's teams alone,
    but for their names, which are labels."""
    by_code: dict[Any, Row] = {}
    own: dict[Any, Row] = {}
    for _, team in sorted(teams.items()):
        if isinstance(code := team.get("code"), str) and code:
            by_code.setdefault(code, team)
            if of in ("", team["head"]):
                own.setdefault(code, team)
    desk, person = {1: "attic", 2: "cellar"}, {"ann": "Zoe", "bo": "Abe"}
    found = []
    for key, row in sorted(leave.items()):
        code = row.get("team") if isinstance(row.get("team"), str) else None
        told = own.get(code, {})
        found.append({
            "id": key, "days": row["days"], "team.name": by_code.get(code, {}).get("name"),
            "team.budget": told.get("budget"), "team.at": told.get("at"), "team.open": told.get("open"),
            "desk.name": desk.get(row.get("desk", 0)), "who.name": person.get(row["who"]),
        })  # fmt: skip
    return found


def ordered(rows: list[Row], *names: str) -> list[str]:
    """The ids of rows in the order of the columns."""
    for name in reversed(names):
        column = name.removeprefix("-")
        rows = sorted(rows, key=lambda row: app.value_key(row[column], column == "team.at"), reverse=name.startswith("-"))
    return [row["id"] for row in rows]


ORDERS = [
    ("team.name", "-days"), ("-team.name",), ("team.budget", "team.name"), ("-team.budget", "days"), ("team.at",),
    ("-team.at", "-team.open"), ("team.open", "desk.name"), ("days", "-desk.name", "team.at"), ("-desk.name",),
]  # fmt: skip


@pytest.mark.parametrize("order", ORDERS, ids=lambda order: ",".join(order))
def test_a_database_orders_by_columns_of_another_form_as_a_model_does(looked_up: Any, order: tuple[str, ...]) -> None:
    site, teams, leave = looked_up
    rows = joined_rows(teams, leave)
    address = f"views/all?_sort={','.join(order)}"
    assert [row["id"] for row in test_matrix.pages(site, "views/all", f"_sort={','.join(order)}&_size=7")] == ordered(
        rows, *order
    )
    exported = site.items(address, whole=True)
    assert [row["id"] for row in exported] == ordered(rows, *order)
    assert exported[0] == next(row for row in rows if row["id"] == exported[0]["id"])
    few = [row for row in rows if row["days"] == 2]
    assert [row["id"] for row in test_matrix.pages(site, "views/all", f"_sort={','.join(order)}&_size=7&days=2")] == ordered(
        few, *order
    )
    table = site.read(f"{address}&_count=1&_size=5").table
    assert (table.count, len(table.rows)) == (len(rows), 5)


def test_a_database_shows_and_orders_what_is_there_for_the_caller(looked_up: Any) -> None:
    site, teams, leave = looked_up
    ann = site.token("ann", "views/*:read", "forms/teams:read")
    own = {key: row for key, row in leave.items() if row["who"] == "ann"}
    rows = joined_rows(teams, own, of="ann")
    for order in (("-team.budget", "days"), ("team.name",), ("team.at", "team.budget")):
        found = site.items(f"views/all?_size=100&_sort={','.join(order)}", by=ann)
        assert [row["id"] for row in found] == ordered(rows, *order)
        assert sorted(map(str, map(sorted_row, found))) == sorted(
            str(sorted_row({name: row[name] for name in found[0]})) for row in rows
        )
    assert site.items("views/all?_sort=-team.name", by=site.token("nobody", "views/*:read")) == []


FILTERS = {
    "team.name=Bau": lambda row: row["team.name"] == "Bau",
    "team.name__ne=Bau": lambda row: row["team.name"] != "Bau",
    "team.name__in=Bau,bau": lambda row: row["team.name"] in ("Bau", "bau"),
    "team.name__contains=au": lambda row: "au" in (row["team.name"] or ""),
    "team.name__null=true": lambda row: row["team.name"] is None,
    "team.name__null=false": lambda row: row["team.name"] is not None,
    "team.budget__gte=0.1": lambda row: isinstance(row["team.budget"], int | float) and row["team.budget"] >= 0.1,
    "team.at__lt=2027-01-01T00:00:00Z": lambda row: row["team.at"] in (MOMENTS[-1],),
    "team.open=true": lambda row: row["team.open"] is True,
    "desk.name__gt=b&team.name__null=false": lambda row: row["desk.name"] == "cellar" and row["team.name"] is not None,
}  # fmt: skip


@pytest.mark.parametrize("asked", FILTERS)
def test_a_database_filters_by_columns_of_another_form_however_many_of_its_records_fit(
    looked_up: Any, asked: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    site, teams, leave = looked_up
    rows = [row for row in joined_rows(teams, leave) if FILTERS[asked](row)]
    kept = [row["id"] for row in site.items(f"views/all?_size=100&_sort=id&{asked}")]
    for name, most in (("_MOST_MATCHES", 1), ("_MOST_OTHERS", 0)):
        monkeypatch.setattr(app.plugin("joins"), name, most)
    for query in ("_sort=id", "_sort=-team.at,team.budget"):
        found = site.items(f"views/all?_size=100&{asked}&{query}")
        assert sorted(row["id"] for row in found) == sorted(row["id"] for row in rows) == kept
    assert site.read(f"views/all?{asked}&_count=1").table.count == len(rows)
    assert rows


def test_a_form_is_ordered_by_a_column_of_itself(looked_up: Any) -> None:
    site, *_ = looked_up
    assert [row["name"] for row in site.items("views/desks?_sort=-floor.name")] == ["door"]
    found = site.items("views/desks?_sort=floor.name")
    assert [(row["name"], row["floor.name"]) for row in found] == [("door", None)]


def test_people_order_a_list_by_the_names_of_people_where_the_database_keeps_both(tmp_path: Path) -> None:
    toml = PROVIDERS["sql"] + '[forms.tasks.fields]\nwho = { format = "person" }\n[views.tasks]\nfrom = "forms/tasks"\n'
    site = Site(tmp_path, toml + 'columns = { who = {}, "who.name" = {} }\norder_by = ["who.name"]\n')
    for subject, name in (("ann", "Zoe"), ("bo", "Abe")):
        site.create("admin/people", {"subject": subject, "name": name})
    for who in ("ann", "bo", "ann"):
        site.create("forms/tasks", {"who": who})
    found = test_matrix.pages(site, "views/tasks", "_size=1")
    assert [row["who.name"] for row in found] == ["Abe", "Zoe", "Zoe"]
    [view] = [one for one in site.app.resources.values() if one.name == "tasks" and isinstance(one, app.View)]
    assert view.selected(app.read_list({}, view.columns, None)).joins  # type: ignore[attr-defined]
    site.close()


@pytest.mark.parametrize("kind", ["sql", "postgres"])
def test_many_records_are_paged_through_in_the_order_of_another_form(tmp_path: Path, kind: str) -> None:
    store = test_totals.STORES["sql"] if kind == "sql" else test_totals.postgres(tmp_path)
    site = Site(tmp_path, LOOKED_UP.replace("[providers.store]\nSTORE", store))
    provider: Any = site.app.providers["store"]
    provider.commit([app.Insert("teams", f"t{n}", {"code": f"c{n}", "name": f"Team {n % 7}"}) for n in range(50)])
    for start in range(0, 12_000, 1000):
        rows = [app.Insert("leave", f"m{n:06}", {"team": f"c{n % 50}", "days": 1}) for n in range(start, start + 1000)]
        provider.commit(rows)
    seen, more = list[str](), ""
    while more is not None:
        table = site.read(
            "views/all", params={"_sort": "-team.name", "_size": "1000"} | ({"_next": more} if more else {})
        ).table
        seen, more = seen + [row["team.name"] for row in table.rows], table.next
    assert len(seen) == 12_000
    assert seen == sorted(seen, reverse=True)
    site.close()
