"""Charts: what is drawn of a view's rows, what is left out and said, and that a picture runs nothing."""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from http_client import PAGE, Site

import app
from app import Column

SVG = "{http://www.w3.org/2000/svg}"
KINDS = ("bar", "stacked", "line", "area", "pie", "scatter")
SITE = '''
[providers.main]
kind = "sql"
url = "sqlite:///app.db"
[forms.sale]
owner = { field = "created_by", unless = ["boss"] }
[forms.sale.fields]
month  = { type = "string", oneOf = [{ const = "a", title = "January <1>" }, { const = "b", title = "February" }] }
region = { type = "string" }
amount = { type = "number" }
margin = { type = "number", read_by = "boss" }
[roles.boss]
grants = ["forms/sale:*"]
[views.margins]
from = "forms/sale"
chart = { kind = "bar", x = "month", y = "margin" }
[views.plain]
from = "forms/sale"
[views.rows]
sql = "select value->>0 as x, value->>1 as y, value->>2 as s from json_each(:rows)"
params.rows = { type = "string", default = "[]" }
columns = { y = { title = "Amount" } }
chart = { kind = "line", x = "x", y = "y", series = "s" }
''' + "".join(
    f'[views.{kind}]\ntitle = "Sales: {kind}"\nfrom = "forms/sale"\n'
    f'columns = {{ month = {{}}, region = {{}}, amount = {{}} }}\n'
    f'chart = {{ kind = "{kind}", x = "month", y = "amount"{"" if kind == "pie" else """, series = "region" """} }}\n'
    for kind in KINDS
)  # fmt: skip
MEMBER = ("forms/sale:create", "views/*:read")
ROWS = [("a", "north", 3), ("a", "south", 4.5), ("b", "north", 12), ("b", "south", None)]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    made = Site(tmp_path_factory.mktemp("charts"), edit=lambda _: SITE)
    rows = [{"month": m, "region": r, "amount": a, "margin": 7} for m, r, a in ROWS]
    made.send("/forms/sale", rows, made.token("**:*", roles=["boss"]))
    yield made
    made.close()


@pytest.fixture(scope="module")
def root(site: Site) -> str:
    return site.token("**:*", roles=["boss"])


def texts(body: bytes, which: str = "wide") -> list[str]:
    """What is written in one of the two drawings of a picture."""
    drawing = next(one for one in ElementTree.fromstring(body) if one.get("class") == which)
    return [one.text or "" for one in drawing.iter(f"{SVG}text")]


def drawn(kind: str, rows: list[tuple[Any, ...]], *, lang: str = "en", series: bool = False) -> tuple[Any, bytes]:
    """What a chart of (x, y, series) shows, and its picture."""
    charts, locale = app.plugin("charts"), app.plugin("locale").Locale(lang)
    columns = (Column("x", "Month"), Column("y", "Amount", "number"), Column("s"))
    found = charts.drawing(
        {"kind": kind, "x": "x", "y": "y", "series": "s" if series else None}, columns,
        [dict(zip("xys", (*row, None), strict=False)) for row in rows], locale,
    )  # fmt: skip
    return found, app.plugin("chart_sheet").picture_of(found, "Sales", locale)


def test_words_below_a_chart_are_whole_where_there_is_room_for_them() -> None:
    long, longer = "Administration of the company", "Administration of the companies abroad"
    for kind in ("bar", "line", "area"):
        _, picture = drawn(kind, [(long, 1), ("Apollo", 2)])
        assert {long, "Apollo"} <= set(texts(picture)), kind
    _, picture = drawn("line", [(f"{longer} {n}", n) for n in range(2)])
    shown = [one for one in texts(picture) if one.startswith("Admin")]
    assert len(shown) == 2, shown  # each as far as there is room
    assert all(one.endswith("…") and len(one) > 14 for one in shown), shown


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_a_picture_that_says_what_it_shows_and_runs_nothing(site: Site, root: str, kind: str) -> None:
    reply = site.get(f"/views/{kind}.svg", root)
    assert (reply.status, reply["Content-Type"]) == (200, "image/svg+xml"), reply.text
    assert reply["Content-Security-Policy"] == "default-src 'none'; style-src 'unsafe-inline'; sandbox"
    tree = ElementTree.fromstring(reply.body)
    assert {one.tag.removeprefix(SVG) for one in tree.iter()} <= {
        "svg", "title", "desc", "style", "defs", "pattern", "path", "rect", "g", "text",
    }  # fmt: skip
    assert not re.search(r"href|pygal|https?://(?!www\.w3\.org/2000/svg)|@import|<!--", reply.text)
    assert tree.findtext(f"{SVG}title") == f"Sales: {kind}"
    said = "\n".join(texts(reply.body))
    for word in ("January <1>", "February") if kind == "pie" else ("January <1>", "February", "north", "south", "Amount"):
        assert word in said
    assert "<1>" not in reply.text
    range_ = (
        "From 7.5 (January <1>) to 12 (February)."
        if kind == "pie"
        else "From 3 (January <1>, north) to 12 (February, north)."
    )
    assert tree.findtext(f"{SVG}desc") == range_
    assert set(texts(reply.body, "narrow")) & set(texts(reply.body))
    assert reply["ETag"] == site.get(f"/views/{kind}", root, Accept="image/svg+xml")["ETag"]
    assert site.get(f"/views/{kind}.svg", root, **{"If-None-Match": reply["ETag"]}).status == 304


def test_the_picture_has_the_filters_and_the_rights_of_whoever_asks(site: Site, root: str) -> None:
    assert "south" not in site.get("/views/bar.svg?region=north", root).text
    assert site.get("/views/bar.svg?regoin=north", root).status == 400
    assert "Nothing to draw yet" in site.get("/views/bar.svg", site.token(*MEMBER, subject="eve")).text
    assert site.get("/views/bar.svg", site.token("views/line:read")).status == 403
    assert site.get("/views/margins.svg", root).status == 200
    refused = site.get("/views/margins.svg", site.token(*MEMBER))
    assert refused.status == 403
    less = site.get("/views/bar.svg?_columns=month", root)
    assert (less.status, "_columns leaves out amount" in less.json["detail"]) == (400, True)
    assert '/views/bar.svg"' in site.get("/views/bar?_columns=month", root, **PAGE).text
    assert "margin" in refused.json["detail"]


@pytest.mark.parametrize("rows", ["select count(*) as x, 1 as y from n", "select 1 as x, i as y from n where i in (1, 0)"])
def test_a_statement_has_the_time_of_a_page_for_a_picture_and_no_limit_for_an_export(tmp_path: Path, rows: str) -> None:
    endless = f"with recursive n(i) as (select 1 union all select i + 1 from n) {rows}"
    chart = 'chart = { kind = "bar", x = "x", y = "y" }\n'
    view = f'[views.endless]\nsql = "{endless}"\ntimeout = "1s"\n{chart}[views.odd]\nsql = "select 1 as x"\n{chart}'
    site = Site(tmp_path, edit=lambda _: SITE + view)
    asked = list[float | None]()
    provider: Any = site.app.providers["main"]
    select = provider._views.select
    provider._views.select = lambda one: asked.append(one.timeout_s) or select(one)
    reply = site.get("/views/endless.svg", site.token("**:*"))
    assert (reply.status, reply.json["code"], asked) == (504, "query_timeout", [1.0])
    odd = site.get("/views/odd.svg", site.token("**:*"))
    assert (odd.status, odd.json["detail"]) == (501, "the chart of views/odd names 'y', which is no column of its rows")
    asked.pop()
    assert site.get("/views/rows.csv", site.token("**:*")).status == 200
    assert asked == [1.0, None]
    site.close()


def test_it_is_described_for_programs(site: Site, root: str) -> None:
    paths = site.get("/openapi.json", root).json["paths"]
    for name, has_one in (("bar", True), ("plain", False)):
        answers = paths[f"/views/{name}"]["get"]["responses"]
        assert ("image/svg+xml" in answers["200"]["content"], "304" in answers) == (has_one, has_one)


def test_what_has_no_chart_says_so(site: Site, root: str) -> None:
    for address in ("/views/plain", "/forms/sale/records", "/forms/sale"):
        reply = site.get(f"{address}.svg", root)
        assert reply.status == 406, address
        assert "a view has one if its chart is declared" in reply.text, address
    assert site.get("/views/none.svg", root).status == 404


def test_the_page_shows_it_above_its_table_and_says_it_in_words(site: Site, root: str) -> None:
    page = site.get("/views/bar?region=north&_size=5&_count=1", root, **PAGE).text
    image = re.search(r'<img src="([^"]*)" alt="([^"]*)"', page)
    assert image
    assert page.index("<img src") < page.index("<table")
    assert image[1] == "/views/bar.svg?region=north"
    assert image[2] == "Bar chart: Sales: bar. From 3 (January &lt;1&gt;, north) to 12 (February, north)."
    one_page = site.get("/views/bar?_size=1", root, **PAGE).text
    assert 'alt="Bar chart: Sales: bar."' in one_page
    assert "<figure" not in site.get("/views/bar?region=nowhere", root, **PAGE).text
    assert "<figure" not in site.get("/views/plain", root, **PAGE).text
    assert "<figure" not in site.get("/views/margins", site.token(*MEMBER), **PAGE).text


@pytest.mark.parametrize(
    ("chart", "key", "words"),
    [
        ('{ kind = "bars", x = "month", y = "amount" }', "kind", "write one of bar, stacked"),
        ('{ kind = "bar", x = "mnth", y = "amount" }', "x", "month"),
        ('{ kind = "bar", x = "month", y = "region" }', "y", "numbers"),
        ('{ kind = "bar", x = "month", y = "amount", series = "colour" }', "series", "colour"),
        ('{ kind = "pie", x = "month", y = "amount", series = "region" }', "series", "slices"),
    ],
)
def test_a_chart_that_cannot_be_is_refused_at_the_start(tmp_path: Path, chart: str, key: str, words: str) -> None:
    toml = SITE.replace('chart = { kind = "bar", x = "month", y = "margin" }', f"chart = {chart}")
    with pytest.raises(app.ConfigError) as caught:
        Site(tmp_path, edit=lambda _: toml)
    found = caught.value.faults
    assert [one.pointer for one in found] == [f"views.margins.chart.{key}"]
    assert words in found[0].detail


def test_hostile_texts_are_only_texts(site: Site, root: str) -> None:
    bad = ["</text><script>alert(1)</script>", "a\x00\x0b\ud800\uffffb", "x" * 300, "]]>&amp;'\"", "\u202eabc", "", "  "]
    found, body = drawn("bar", [(text, 3, text) for text in bad], series=True)
    tree = ElementTree.fromstring(body)
    assert not list(tree.iter(f"{SVG}script"))
    assert max(map(len, found.labels)) <= 40
    assert found.labels[-2:] == ["—", "—"]
    for kind in KINDS:
        ElementTree.fromstring(drawn(kind, [(text, 3) for text in bad])[1])


@pytest.mark.parametrize("kind", [one for one in KINDS if one not in ("pie", "scatter")])
@pytest.mark.parametrize("words", [("a", "b"), ("a very long name of somebody", "another one that is no shorter, by far")])
def test_what_only_some_series_have_is_missing_in_the_others(kind: str, words: tuple[str, str]) -> None:
    found, body = drawn(kind, [(words[0], 1, "one"), (words[1], 2, "two")], series=True)
    assert [len(one.values) for one in found.series] == [2, 2]
    assert {"one", "two"} <= set(texts(body))


def test_very_many_values_and_series_are_bounded_and_it_is_said() -> None:
    charts = app.plugin("charts")
    many, body = drawn("bar", [(f"value {n}", n) for n in range(3000)])
    assert len(many.xs) == charts.MOST_BARS
    assert len(body) < 150_000
    assert "The first 400 of 3,000 values are drawn." in texts(body)
    lines, body = drawn("line", [(f"v{n % 10}", n, f"series {n}") for n in range(10_000)], series=True)
    assert [one.title for one in lines.series] == [f"series {n}" for n in range(9988, 10_000)]
    assert "The 12 greatest of 10,000 series are drawn." in texts(body)
    whole, _ = drawn("stacked", [(f"v{n % 2}", 1, f"series {n}") for n in range(100)], series=True)
    assert (len(whole.series), whole.series[-1].title, whole.notes) == (12, "89 others", [])
    assert sum(value for one in whole.series for value in one.values if value) == 100
    slices, _ = drawn("pie", [(f"v{n}", n - 3) for n in range(50)])
    assert (len(slices.xs), slices.labels[-1]) == (12, "35 others")
    assert slices.notes == ["4 values that are zero or less are not drawn."]
    first, body = drawn("scatter", [(n, n) for n in range(charts.MOST_ROWS + 1)])
    assert len(first.notes) == 2
    assert len(body) < 200_000


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_one_negative_missing_and_huge_values_are_drawn_as_they_are(kind: str) -> None:
    assert texts(drawn(kind, [], lang="de")[1]) == ["Noch nichts zu zeichnen"]
    assert "Nothing to draw yet" in drawn(kind, [("a", None), (None, "text"), ("b", float("nan"))])[1].decode()
    one = "\n".join(texts(drawn(kind, [("only", 5)])[1]))
    assert "5" in one
    assert "only" in one
    for rows in (
        [(1, -5), (2, None), (3, -1e99)], [("2026-01-31", 1), ("2026-03-01", 2), (None, 3)], [("a", 10**400), ("b", 0)],
        [("a", 0), ("b", 0)], [("a", True), ("b", [1])], [("2026-02-30", 1), ("2026-02-28", 0.1)], [(1e300, 1), (-1e300, 2)],
        [([1], 2), ({"a": 1}, 3)],
    ):  # fmt: skip
        text = drawn(kind, rows)[1].decode()
        assert not re.search(r"\bnan\b|\binf\b|Infinity", text)


def test_rows_of_one_mark_are_added_up_and_time_goes_by_the_calendar() -> None:
    added, _ = drawn("bar", [("a", 0.1), ("a", 0.2), ("b", 1)])
    assert added.series[0].values == [0.3, 1]
    days, body = drawn("line", [("2026-09-01", 2), ("2026-01-01", 1), ("2026-01-02", 3)], lang="de")
    assert [date.fromordinal(int(x)).isoformat() for x in days.xs] == ["2026-01-01", "2026-01-02", "2026-09-01"]
    assert "01.02.2026" in texts(body)
    moments = [("2026-01-05T01:30:00Z", 1, "a"), ("2026-01-05T05:00:00Z", 2, "b"), ("2026-01-05T23:30:00+01:00", 3, "a")]
    hours, body = drawn("line", moments, series=True)
    assert [one.absent for one in hours.series] == [{1}, {0, 2}]
    assert ("10:00" in texts(body), [round(x % 1 * 24, 1) for x in hours.xs]) == (True, [1.5, 5, 22.5])
    _, body = drawn("line", [(year, year * 1000) for year in range(1991, 2027)])
    assert {"1995", "2025", "2,000,000"} <= set(texts(body))
    gap, body = drawn("line", [("a", 1), ("b", None), ("c", 2), ("d", 3)])
    assert gap.series[0].values == [1, None, 2, 3]
    assert "1.234.567,5" in "\n".join(texts(drawn("pie", [("a", 1234567.5)], lang="de")[1]))


def test_both_axes_have_the_formats_of_their_columns() -> None:
    def labels(kind: str, x: str, y: str, rows: list[tuple[float, float]], which: str = "wide") -> list[str]:
        columns = (Column("x", "X", "number", format=x), Column("y", "Y", "number", format=y))
        charts, locale = app.plugin("charts"), app.plugin("locale").Locale("en", "Europe/Oslo")
        found = charts.drawing(
            {"kind": kind, "x": "x", "y": "y"}, columns, [dict(zip("xy", row, strict=True)) for row in rows], locale
        )
        return texts(app.plugin("chart_sheet").picture_of(found, "Sales", locale), which)

    assert {"0%", "20%", "2 hours", "1 hour 30 minutes"} <= set(
        labels("scatter", "percent", "duration", [(0.0, 60), (0.3, 7000)])
    )
    for kind in ("line", "area", "scatter"):
        found = labels(kind, "date-time", "bytes", [(1_774_738_800, 3_000_000), (1_790_000_000, 1)])
        assert {"2026-04-01", "2026-07-01", "3 MB"} <= set(found), (kind, found)
    assert "10:00" in labels("line", "date-time", "", [(1_774_738_800, 3), (1_774_785_600, 1)])
    for width, which in ((960, "wide"), (360, "narrow")):
        found = labels("scatter", "duration", "", [(1000 * n, n) for n in range(9)], which)
        below = [one for one in found if "minute" in one or "hour" in one or "second" in one]
        assert len(below) >= 2, found
        assert sum(app.plugin("chart_marks").width(one) + 16 for one in below) < width, below


@pytest.mark.parametrize("rows", [[("a", 5)], [("a", 5), ("b", 0)], [("a", 1e9), ("b", 1), ("c", -3)]])
def test_a_pie_of_one_value_is_a_ring(rows: list[tuple[str, float]]) -> None:
    body = drawn("pie", rows)[1].decode()
    assert len(re.findall(r'<path class="slice c0" d="M[0-9. ]+a', body)) == 3, "one in each of the drawings"


@pytest.mark.parametrize("kind", KINDS)
def test_a_single_point_is_seen(kind: str) -> None:
    drawing = next(one for one in ElementTree.fromstring(drawn(kind, [("a", 5)])[1]) if one.get("class") == "wide")
    marks = [one.get("d") or "" for one in drawing.iter(f"{SVG}path") if re.search(r"\bc0\b", one.get("class") or "")]
    assert any(re.search("[hva][1-9]|[hva]-?0?\\.?[1-9]|a4", one) for one in marks), marks


def test_labels_tell_their_values_apart() -> None:
    charts, locale = app.plugin("charts"), app.plugin("locale").Locale("de")

    def labels(format_: str, values: list[float], which: str = "wide") -> list[str]:
        columns = (Column("x", "X"), Column("y", "Y", "number", format=format_))
        found = charts.drawing(
            {"kind": "line", "x": "x", "y": "y"}, columns, [{"x": at, "y": v} for at, v in enumerate(values)], locale
        )
        return texts(app.plugin("chart_sheet").picture_of(found, "Sales", locale), which)

    for format_, values in (
        ("percent", [0.0, 0.002]),
        ("percent", [0.0, 3e-9]),
        ("number:0", [0.0, 1.5]),
        ("bytes", [0.0, 2.0]),
    ):
        for which in ("wide", "narrow"):
            found = labels(format_, values, which)[1:-2]
            assert len(set(found)) == len(found) > 1, (format_, which, found)
    found = labels("money:EUR", [-1e30, 1e30], "narrow")
    assert {"-1e+30", "0", "1e+30"} <= set(found)
    assert max(map(len, found)) < 10


def test_points_of_a_scatter_chart_stand_apart_though_their_labels_begin_alike() -> None:
    found, _ = drawn("scatter", [("the same forty letters and some more of it " + end, n) for n, end in enumerate("abc")])
    assert len(set(found.labels)) == 1
    assert app.plugin("chart_marks")._places(found) == [0, 1, 2]
    assert len(app.plugin("chart_marks").words(found)) == 3


def test_labels_along_x_do_not_touch_each_other_and_the_legend_leaves_room_on_a_phone() -> None:
    charts, locale, width = (
        app.plugin("charts"),
        app.plugin("locale").Locale("en", "Europe/Oslo"),
        app.plugin("chart_marks").width,
    )
    columns = (Column("x", "X", "number", format="date-time"), Column("y", "Y", "number"), Column("s", "S"))
    for count, series in ((60, 1), (7, 1), (12, 12)):
        rows = [
            {"x": 1_774_000_000 + n * 30_000, "y": n + 1, "s": f"Series number {at}"}
            for n in range(count)
            for at in range(series)
        ]
        found = charts.drawing({"kind": "bar", "x": "x", "y": "y", "series": "s"}, columns, rows, locale)
        for which in ("wide", "middle-sized", "narrow"):
            drawing = next(
                one for one in ElementTree.fromstring(app.plugin("chart_sheet").picture_of(found, "Sales", locale))
                if one.get("class") == which
            )  # fmt: skip
            below = [
                (float(one.get("x") or 0), one.text or "")
                for one in drawing.iter(f"{SVG}text")
                if one.get("class") == "middle"
            ]
            assert len(below) > 1, (count, which)
            ends = [(x - width(text) / 2, x + width(text) / 2) for x, text in sorted(below)]
            assert all(a[1] <= b[0] for a, b in itertools.pairwise(ends)), (count, which, below)
            if series == 12:
                legend = [
                    float(one.get("y") or 0) for one in drawing.iter(f"{SVG}text") if (one.text or "").startswith("Series")
                ]
                assert max(legend) < 150, which


def test_ticks_are_round_in_equal_steps_and_hold_all_values() -> None:
    sheet, dice = app.plugin("chart_sheet"), random.Random(7)
    for _ in range(3000):
        low = dice.choice([0.0, dice.uniform(-1, 1) * 10 ** dice.randint(-6, 12)])
        high = low + abs(dice.uniform(0, 1)) * 10 ** dice.randint(-6, 12)
        count = dice.randint(2, 12)
        found = sheet.ticks(low, high, count, whole=dice.random() < 0.3, times=dice.random() < 0.3)
        steps = [b - a for a, b in itertools.pairwise(found)]
        assert found[0] <= low + 1e-6 * steps[0]
        assert found[-1] >= high - 1e-6 * steps[0]
        assert 2 <= len(found) <= 2 * count + 3
        assert max(steps) - min(steps) <= 1e-6 * max(steps) + 1e-12 * abs(found[-1])
        first = dice.randint(1, 3_000_000)
        days = sheet.day_ticks(first, first + dice.choice([0, 3, 40, 500, 9000, 600_000]), count)
        assert days == sorted(days)
        assert first <= days[0]
        assert len(days) <= 3 * count + 2
