"""Charts of views: what is drawn of their rows, how a page shows it, and what is wrong with a declared one."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from app import Column, Config, Exchange, Fault, Form, Json, Response, Table, Value, ViewConfig, nearest, plugin

if TYPE_CHECKING:
    from plugins import column_formats
    from plugins.locale import Locale
else:
    column_formats = plugin("column_formats")

# ==== 1. CHARTS ==================================================================================================
# Rows become points here, and points words: plugins/svg.py draws them. What no picture can hold is left out and said.
# uses: ERRORS VALUES CONFIG RUNNERS RESOURCES plugin:column_formats plugin:locale
# defines: KINDS MOST_ROWS MOST_POINTS MOST_BARS MOST_SERIES Series Drawing Picture view_of chart_of faults on_page picture
#          drawing extremes show_y

KINDS = ("bar", "stacked", "line", "area", "pie", "scatter")
MOST_ROWS, MOST_POINTS, MOST_BARS, MOST_SERIES = 20_000, 1000, 400, 12  # that are read, and that are drawn
_ADDED = ("stacked", "area", "pie")  # what is left out of these is one series of its own: their parts make a whole
_LARGEST = 1e100
_NOT_IN_XML = re.compile("[\x00-\x1f\x7f\ud800-\udfff\ufffe\uffff]")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_LONGEST = 40  # letters of a label
_NUMBERS = frozenset((int, float, Decimal))
_OF_TABLE = (
    "_next",
    "_size",
    "_count",
    "_for",
    "_facets",
    "_totals",
    "_columns",
    "_prev",
)  # what is asked of the table alone
_MEASURES = ("count", "sum", "avg", "min", "max")


class Series(NamedTuple):
    """What is drawn in one colour: a value or None for each of the Drawing's places along x."""

    title: str
    values: list[Json]
    absent: frozenset[int] = frozenset()  # places where it has no row at all: a line goes on there


class Drawing(NamedTuple):
    """What a chart shows. `scale` says how x goes: by "words", by "numbers", or by "days", which are Unix days then."""

    kind: str
    x: Column
    y: Column
    scale: str
    xs: list[Any]  # with a fraction where there are times of day
    labels: list[str]  # of the xs
    series: list[Series]
    notes: list[str]  # what is not drawn, in words


class Picture(NamedTuple):
    """A chart in a page."""

    src: str
    alt: str
    note: str = ""


def view_of(config: Config, address: str) -> ViewConfig | None:
    """What is declared of a view; None if there is none at the address."""
    named = (one for one in config.resources if isinstance(one, ViewConfig) and f"views/{one.name}" == address)
    return next(named, None)


def chart_of(config: Config, address: str) -> Value:
    """The declared chart of a view; {} if it has none."""
    view = view_of(config, address)
    return view.chart if view else {}


# ---- what is wrong with one


def faults(config: ViewConfig, form: Form | None = None) -> Iterator[Fault]:
    """What is wrong with the chart of a view, with one `form` also with its columns."""
    chart, place = config.chart, f"views.{config.name}.chart"
    if not chart:
        return
    if form is None:
        if chart["kind"] not in KINDS:
            detail = f"{chart['kind']!r} is no kind of chart: write one of {', '.join(KINDS)}"
            yield Fault(f"{place}.kind", "configuration", detail)
        if chart["kind"] == "pie" and chart.get("series"):
            yield Fault(f"{place}.series", "configuration", "goes with every kind but pie: its slices are the values of x")
        return
    known = {one.name: one for one in form.columns}
    names = list(config.columns or known)
    for key in ("x", "y", "series"):
        if chart.get(key) and chart[key] not in names:
            detail = f"names the column {chart[key]!r}, which this view does not show{nearest(chart[key], names)}"
            yield Fault(f"{place}.{key}", "configuration", detail)
    if chart["y"] in names and not _is_number(config.columns.get(chart["y"], {}), known, chart["y"]):
        yield Fault(f"{place}.y", "configuration", f"must be a column of numbers, and {chart['y']} is none")


def _is_number(shown: Value, known: Mapping[str, Column], name: str) -> bool:
    """Whether a column of a form's view holds numbers, as far as that is known."""
    measured = next((key for key in _MEASURES if shown.get(key)), "")
    if measured in ("count", "sum", "avg"):
        return True
    column = known.get(shown[measured] if measured else name)
    return column is None or column.type in ("number", "integer")


# ---- in a page


def on_page(exchange: Exchange, response: Response) -> Picture | None:
    """The chart above the table of a view that is shown; None if it has none, or nothing to draw."""
    table = response.table
    if table is None or response.page.get("faults") or not table.rows:
        return None
    asked = {name: text for name, text in exchange.query.items() if text and name not in _OF_TABLE}
    return picture(exchange, exchange.resource, response.page["title"], table, asked)


def picture(exchange: Exchange, address: str, title: str, table: Table, asked: Mapping[str, str]) -> Picture | None:
    """How a page shows the chart of the view at an address with these parameters, for templates/_chart.tpl. Its words say
    more if `table` has all of its rows. None if it has no chart, or one with a column that the reader may not see."""
    chart = chart_of(exchange.door.formats["svg"].config, address)
    if not chart:
        return None
    names = {one.name for one in table.columns}
    if not {chart["x"], chart["y"], chart.get("series") or chart["x"]} <= names:
        return None
    t = exchange.locale.t
    alt = str(t("chart.alt", kind=t(f"chart.kinds.{chart['kind']}"), title=title))
    rows = table.rows
    if isinstance(rows, list) and table.next is None and not exchange.query.get("_next"):
        alt = f"{alt} {extremes(drawing(chart, table.columns, rows, exchange.locale), exchange.locale)}".strip()
    return Picture(exchange.url(f"{address}.svg", **asked), alt)


# ---- rows to points


def drawing(chart: Value, columns: Sequence[Column], rows: Iterable[Mapping[str, Json]], locale: Locale) -> Drawing:
    """What a chart shows of these rows, of which it reads MOST_ROWS."""
    by_name = {column.name: column for column in columns}
    x, y = by_name[chart["x"]], by_name[chart["y"]]
    series = by_name.get(chart.get("series") or "")
    reader, notes = iter(rows), []
    taken = [(row[x.name], row[series.name] if series else None, _number(row[y.name])) for row in islice(reader, MOST_ROWS)]
    if next(reader, None) is not None:
        notes.append(str(locale.t("chart.first_rows", n=MOST_ROWS)))
    points = _Points(chart["kind"], x, taken, locale)
    names = points.named(series, notes)
    if chart["kind"] == "pie":
        points.keep_slices(notes)
    points.keep_first(len(names), notes)
    return Drawing(
        chart["kind"], x, y, points.scale, points.places(), points.labels(),
        [Series(title, points.values(keys), points.absent(keys)) for title, keys in names], notes,
    )  # fmt: skip


class _Points:
    """Rows on their way to a Drawing: `rows` are (x, series, y)."""

    def __init__(self, kind: str, x: Column, rows: list[tuple[Json, Json, Json]], locale: Locale) -> None:
        self._kind, self._x, self._locale = kind, x, locale
        self.scale = _scale(x, [one[0] for one in rows], kind, locale)
        self._rows = [(_key(x_), _key(series), y) for x_, series, y in rows if self.scale == "words" or x_ is not None]
        if kind == "scatter":  # each row is a point of its own
            self._xs: list[Any] = list(range(len(self._rows)))
            self._found = {(at, row[1]): row[2] for at, row in enumerate(self._rows)}
        else:
            self._xs = list(dict.fromkeys(row[0] for row in self._rows))
            self._found = self._added_up()
        if self.scale != "words" and kind != "scatter":
            self._xs.sort(key=self._place)

    def _added_up(self) -> dict[tuple[Any, Any], Json]:
        """The value at each x of each series: what several rows say of one mark is added up."""
        found: dict[tuple[Any, Any], Json] = {}
        for x, series, y in self._rows:
            before = found.get((x, series))
            found[x, series] = y if before is None else before if y is None else _sum((before, y))
        return found

    def named(self, column: Column | None, notes: list[str]) -> list[tuple[str, list[Any]]]:
        """(title, keys) of the series, at most MOST_SERIES: those that amount to most."""
        if column is None:
            return [("", [None])]
        weights: dict[Any, float] = {}
        for (_, series), y in self._found.items():
            weights[series] = weights.get(series, 0.0) + abs(float(y or 0))
        keys = list(weights)
        if len(keys) > MOST_SERIES:
            kept = set(sorted(keys, key=lambda key: -weights[key])[: MOST_SERIES - (self._kind in _ADDED)])
            rest = [key for key in keys if key not in kept]
            keys = [key for key in keys if key in kept]
        else:
            rest = []
        named = [(_label(self._locale, column, key), [key]) for key in keys]
        if rest and self._kind in _ADDED:
            named.append((str(self._locale.t("chart.others", n=len(rest))), rest))
        elif rest:
            notes.append(str(self._locale.t("chart.greatest", n=MOST_SERIES, all=len(weights))))
        return named

    def keep_slices(self, notes: list[str]) -> None:
        """Of a pie: the greatest slices, and one of all others."""
        amounts = [(x, float(self._found.get((x, None)) or 0)) for x in self._xs]
        parts = sorted((one for one in amounts if one[1] > 0), key=lambda one: -one[1])
        if len(parts) < len(amounts):
            notes.append(str(self._locale.t("chart.no_parts", n=len(amounts) - len(parts))))
        self._xs = [x for x, _ in parts]
        if len(parts) > MOST_SERIES:
            rest = self._xs[MOST_SERIES - 1 :]
            self._xs = [*self._xs[: MOST_SERIES - 1], _Others(len(rest))]
            self._found[self._xs[-1], None] = _sum([self._found[x, None] for x in rest])

    def keep_first(self, count: int, notes: list[str]) -> None:
        """As many places along x as MOST_POINTS allow."""
        most = MOST_POINTS if self._kind == "scatter" else MOST_POINTS // max(count, 1)
        most = min(most, MOST_BARS) if self._kind in ("bar", "stacked") else most  # narrower ones nobody tells apart
        if len(self._xs) > most:
            notes.append(str(self._locale.t("chart.first_points", n=most, all=len(self._xs))))
            self._xs = self._xs[:most]

    def values(self, keys: Sequence[Any]) -> list[Json]:
        """The value of a series, or of several as one, at each place along x."""
        found = [[self._found.get((x, key)) for key in keys] for x in self._xs]
        return [one[0] if len(one) == 1 else _sum([y for y in one if y is not None]) for one in found]

    def absent(self, keys: Sequence[Any]) -> frozenset[int]:
        """The places along x where none of these series has a row."""
        return frozenset(at for at, x in enumerate(self._xs) if not any((x, key) in self._found for key in keys))

    def places(self) -> list[Any]:
        """Where the points are along x."""
        keys = [self._rows[at][0] for at in self._xs] if self._kind == "scatter" else self._xs
        return keys if self.scale == "words" else [self._place(key) for key in keys]

    def _place(self, key: Any) -> float:
        return _day(key, self._locale) if self.scale == "days" else float(key)

    def labels(self) -> list[str]:
        keys = [self._rows[at][0] for at in self._xs] if self._kind == "scatter" else self._xs
        if learn := getattr(self._x.titles, "learn", None):
            learn([key for key in keys if not isinstance(key, _Others)])
        column = self._x
        if self.scale == "days" and not column.format:
            column = column._replace(format="date" if all(len(key) == 10 for key in keys) else "date-time")
        return [str(self._locale.t("chart.others", n=key.number)) if isinstance(key, _Others) else
                _label(self._locale, column, key) for key in keys]  # fmt: skip


class _Others(NamedTuple):
    """The slice of those that have none of their own."""

    number: int


def _scale(x: Column, values: Sequence[Json], kind: str, locale: Locale) -> str:
    """How x goes. Bars and slices stand apart, whatever their values are."""
    if kind in ("bar", "stacked", "pie") or x.titles:
        return "words"
    there = [value for value in values if value is not None]
    if there and x.format in ("date", "date-time") and set(map(type, there)) <= _NUMBERS:  # Unix seconds
        return "days" if all(map(column_formats.moment_of, there)) else "numbers"
    if there and set(map(type, there)) <= _NUMBERS and all(_number(one) is not None for one in there):
        return "numbers"
    if there and all(isinstance(one, str) and _DAY.match(one) and _is_day(one, locale) for one in there):
        return "days"
    return "words"


def _day(value: Any, locale: Locale) -> float:
    """The ordinal of a day, or of a moment by the reader's clocks, with its time as a fraction. ValueError if it is none."""
    text = value if isinstance(value, str) else column_formats.moment_of(value)
    moment = locale.local(text) if len(text) > 10 else None
    moment = moment or datetime.fromisoformat(text[:19])
    return moment.toordinal() + (moment.hour * 3600 + moment.minute * 60 + moment.second) / 86_400


def _is_day(text: str, locale: Locale) -> bool:
    try:
        return bool(_day(text, locale))
    except ValueError:
        return False


def _number(value: Json) -> Json:
    """A value that can be drawn, else None."""
    if type(value) not in _NUMBERS or not math.isfinite(number := _float(value)) or abs(number) > _LARGEST:
        return None
    return value


def _float(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _sum(values: Sequence[Json]) -> Json:
    """The sum of numbers, exact where floats of SQL would show digits that nobody wrote."""
    if not values:
        return None
    if any(type(one) is not int for one in values):
        total = sum(Decimal(str(one)) for one in values)
        return float(total) if any(type(one) is float for one in values) else total
    return sum(values)


def _key(value: Json) -> Any:
    """What tells a value from others; lists and objects by their text."""
    return str(value) if isinstance(value, list | dict) else value


def _label(locale: Locale, column: Column, value: Any) -> str:
    """A value on an axis or in a legend: one line, not too long, and nothing that XML cannot hold."""
    text = " ".join(_NOT_IN_XML.sub(" ", locale.show(column, _rounded(value))).split()) or "—"
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1].rstrip() + "…"


# ---- points to words


def extremes(drawn: Drawing, locale: Locale) -> str:
    """The least and the greatest value that are drawn, in words; "" if there is nothing."""
    found = [
        (float(value), at, one, value)
        for one in drawn.series for at, value in enumerate(one.values) if value is not None
    ]  # fmt: skip
    if not found:
        return str(locale.t("chart.nothing"))
    low, high = min(found, key=lambda one: one[0]), max(found, key=lambda one: one[0])

    def where(one: tuple[float, int, Series, Any]) -> str:
        return f"{drawn.labels[one[1]]}, {one[2].title}" if one[2].title else drawn.labels[one[1]]

    facts = {"low": show_y(drawn, low[3], locale), "at_low": where(low)}
    if len(found) == 1:
        return str(locale.t("chart.one_point", **facts))
    if low[0] == high[0]:
        return str(locale.t("chart.same", value=facts["low"]))
    return str(locale.t("chart.range", **facts, high=show_y(drawn, high[3], locale), at_high=where(high)))


def show_y(drawn: Drawing, value: Json, locale: Locale) -> str:
    """A value of y for people."""
    return locale.show(drawn.y, value) if drawn.y.format else locale.write_count(_rounded(value))


def _rounded(value: Any) -> Any:
    """A number with as many digits as one reads in a picture."""
    if not isinstance(value, float | Decimal):
        return value
    return float(f"{value:.2f}" if 1000 <= abs(float(value)) < 1e15 else f"{value:.6g}")
