"""Pictures of charts: legend, notes and colours around what pygal draws, in light and dark, for wide and for narrow room."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Callable, Sequence
from datetime import date
from typing import TYPE_CHECKING, NamedTuple, cast
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from app import plugin

if TYPE_CHECKING:
    from plugins import chart_marks as marks
    from plugins import charts
    from plugins.charts import Drawing
    from plugins.locale import Locale
else:
    charts, marks = plugin("charts"), plugin("chart_marks")

# ==== 1. SHEETS ==================================================================================================
# There are three drawings in each picture, and the room that it is given decides which one is seen. It follows its reader's
# light or dark by a style of its own, and refers to nothing outside.
# uses: plugin:chart_marks plugin:charts plugin:locale
# defines: Size picture_of ticks day_ticks

_NOT_IN_XML = re.compile("[\x00-\x08\x0b-\x1f\ud800-\udfff\ufffe\uffff]")
_SVG = "http://www.w3.org/2000/svg"
_WIDE, _MIDDLE, _NARROW = (960, 400), (600, 410), (360, 380)
_HOURS_TO = 2  # days between the first and the last point, up to which hours are told
_DAY_S = 86_400
_ROUND_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, _DAY_S)
_LEFT = 40  # about what there is to the left of the places of words
_SIDEWAYS = 14  # labels of bars that lie, at most
# Six colours that people of any sight tell apart, with at least 3:1 on the ground; the next six are hatched or dashed.
_LIGHT = ("#0b665f", "#d55e00", "#3b78c4", "#b4538f", "#8a6d00", "#4a5157")
_DARK = ("#6ecabf", "#ff9a57", "#8ab8f5", "#eba3d0", "#e3c94f", "#c3cac6")
_RULES = """svg{font:13px system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans","Liberation Sans",Arial,sans-serif}
.narrow,.middle-sized{display:none}.small{font-size:12px}.empty{font-size:15px}.end{text-anchor:end}.middle{text-anchor:middle}
.line{stroke-width:2.5;stroke-linejoin:round;stroke-linecap:round}.dashed{stroke-dasharray:7 5}.axis path{fill:none}
.area{stroke-width:1.5}.soft{fill-opacity:.25}.stacked,.slice{stroke-width:.75}
@media (max-width:799px){.wide{display:none}.middle-sized{display:inline}}
@media (max-width:439px){.middle-sized{display:none}.narrow{display:inline}}
"""
_COLOURS = """svg{color-scheme:%s}.ground{fill:%s}text{fill:%s}.axis text,.muted{fill:%s}
.axis path{stroke:%s}.axis .zero{stroke:%s}.hatch path,.stacked,.slice,.area,.dot{stroke:%s}
"""
_GROUND_LIGHT = ("light", "#fff", "#1e2220", "#595e59", "#dcd9d2", "#86827a", "#fff")
_GROUND_DARK = ("dark", "#1c201f", "#e7e9e7", "#a6ada9", "#343a38", "#7d8581", "#1c201f")


def _of_series(colours: Sequence[str]) -> str:
    return "".join(f".c{at}{{fill:{one}}}.line.c{at}{{stroke:{one};fill:none}}" for at, one in enumerate(colours))


_STYLE = (
    f"{_RULES}{_COLOURS % _GROUND_LIGHT}{_of_series(_LIGHT)}\n"
    f"@media screen and (prefers-color-scheme:dark){{{_COLOURS % _GROUND_DARK}{_of_series(_DARK)}}}"
)


class Size(NamedTuple):
    width: int
    height: int

    @property
    def is_wide(self) -> bool:
        return self.width > 500


def picture_of(drawn: Drawing, title: str, locale: Locale) -> bytes:
    """The picture as a file: the same bytes for the same drawing."""
    root = Element("svg", {"xmlns": _SVG, "width": "100%", "height": "100%", "role": "img", "lang": locale.lang})
    SubElement(root, "title").text = _NOT_IN_XML.sub(" ", title)
    SubElement(root, "desc").text = " ".join([charts.extremes(drawn, locale), *drawn.notes])
    SubElement(root, "style").text = _STYLE
    root.append(_hatching())
    SubElement(root, "rect", {"class": "ground", "width": "100%", "height": "100%"})
    for size, name in ((_WIDE, "wide"), (_MIDDLE, "middle-sized"), (_NARROW, "narrow")):
        _Sheet(_room(root, Size(*size), name), Size(*size), drawn, locale).draw()
    return cast(bytes, ElementTree.tostring(root, encoding="utf-8", xml_declaration=True))


def _room(root: Element, size: Size, name: str) -> Element:
    """Where a drawing goes. Programs that know no media queries see the wide one alone."""
    room = {"viewBox": f"0 0 {size.width} {size.height}", "width": "100%", "height": "100%"}
    hidden = {} if name == "wide" else {"display": "none"}
    return SubElement(root, "svg", room | {"class": name} | hidden)


def _hatching() -> Element:
    """Lines across the ground's colour, which are drawn over what the first six colours do not reach."""
    made = Element("defs")
    attributes = {"id": "hatch", "class": "hatch", "width": "6", "height": "6", "patternUnits": "userSpaceOnUse"}
    pattern = SubElement(made, "pattern", attributes | {"patternTransform": "rotate(45)"})
    SubElement(pattern, "path", {"d": "M0 3h6", "stroke-width": "2"})
    return made


# ---- one drawing


class _Sheet:
    """One of the drawings of a picture: legend above, notes below, and between them what pygal draws."""

    def __init__(self, root: Element, size: Size, drawn: Drawing, locale: Locale) -> None:
        self._root, self._size, self._drawn, self._locale = root, size, drawn, locale
        self._letters = int((size.width - 24) / marks.LETTER)  # on a line

    def draw(self) -> None:
        if not any(value is not None for one in self._drawn.series for value in one.values):
            self._text(
                self._size.width / 2, self._size.height / 2, str(self._locale.t("chart.nothing")), "middle muted empty"
            )
            return
        bottom = self._notes()
        if self._drawn.kind == "pie":
            self._pie(bottom)
            return
        top = self._legend() if len(self._drawn.series) > 1 else 10
        self._text(12, top + 12, marks.cut(self._locale.heading(self._drawn.y), self._letters), "muted small")
        self._plot(top + 20, bottom)

    def _text(self, x: float, y: float, text: str, class_: str = "") -> None:
        attributes = {"x": marks.short(x), "y": marks.short(y)} | ({"class": class_} if class_ else {})
        SubElement(self._root, "text", attributes).text = text

    def _place(self, graph: Element, x: float, y: float) -> None:
        graph.set("transform", f"translate({marks.short(x)} {marks.short(y)})")
        self._root.append(graph)

    def _notes(self) -> float:
        """What is not drawn, in words; how far down the rest has room."""
        lines = [line for note in self._drawn.notes for line in textwrap.wrap(note, self._letters)]
        bottom = self._size.height - 17 * len(lines) - (6 if lines else 0)
        for at, line in enumerate(lines):
            self._text(12, bottom + 17 * at + 12, line, "muted small")
        return bottom

    # -- which series is which

    def _legend(self) -> float:
        """The names of the series, as many in a line as fit; how far down they reach."""
        lead = 28 if self._drawn.kind == "line" else 18
        x, y, most = 12.0, 18.0, 28
        in_pairs = not self._size.is_wide and len(self._drawn.series) > marks.COLOURS  # so that the chart has the room
        if in_pairs:
            most = int((self._size.width / 2 - lead - 24) / marks.LETTER)
        for index, one in enumerate(self._drawn.series):
            name = marks.cut(one.title, min(self._letters - 4, most))
            width = self._size.width / 2 - 6 if in_pairs else lead + marks.width(name) + 16
            if x > 12 and x + width > self._size.width - (0 if in_pairs else 8):
                x, y = 12.0, y + 20
            self._swatch(index, x, y)
            self._text(x + lead, y + 4.5, name)
            x += width
        return y + 12

    def _swatch(self, index: int, x: float, y: float) -> None:
        """How a series looks, before its name."""
        if self._drawn.kind == "line":
            self._root.append(marks.line(index, f"M{marks.short(x)} {marks.short(y)}h22"))
        if marks.has_dots(self._drawn):
            self._root.append(marks.dots(index, [(x + (11 if self._drawn.kind == "line" else 6), y)]))
        elif self._drawn.kind != "line":
            self._root.extend(marks.shape(index, f"M{marks.short(x)} {marks.short(y - 6)}h12v12h-12z"))

    # -- a pie and what its slices are

    def _pie(self, bottom: float) -> None:
        values = [float(value or 0) for value in self._drawn.series[0].values]
        if self._size.is_wide:
            side = min(bottom - 16, 360, 0.4 * self._size.width)
            top = (bottom - side) / 2
            self._place(marks.pie(values, int(side)), 30, top)
            self._slices(values, 30 + side + 40, top + side / 2 - 12 * (len(values) - 1), 24)
            return
        side = min(bottom - 20 * len(values) - 24, 260)
        self._place(marks.pie(values, int(side)), (self._size.width - side) / 2, 8)
        self._slices(values, 12, side + 28, 20)

    def _slices(self, values: Sequence[float], x: float, y: float, step: int) -> None:
        """What each slice is, how much, and which share of the whole."""
        room, total = int((self._size.width - x - 24) / marks.LETTER), sum(values)
        for index, label in enumerate(self._drawn.labels):
            says = charts.show_y(self._drawn, self._drawn.series[0].values[index], self._locale)
            says = f"{says} · {self._locale.write_share(values[index] / total)}"
            self._swatch(index, x, y + step * index)
            words = f"{marks.cut(label, max(room - len(says) - 6, 6))}: {says}"
            self._text(x + 20, y + step * index + 4.5, marks.cut(words, room + 2))

    # -- what has axes

    def _plot(self, top: float, bottom: float) -> None:
        if self._drawn.scale == "numbers":
            self._text(
                self._size.width / 2, bottom - 4, marks.cut(self._locale.heading(self._drawn.x), 60), "middle muted small"
            )
            bottom -= 20
        lies, size = self._lies(bottom - top), Size(self._size.width, int(bottom - top))
        axes = marks.Axes(self._along_y(size, lies), self._along_x())
        self._place(marks.plot(self._drawn, size, axes, self._shown_labels(lies), lies), 0, top)

    def _lies(self, height: float) -> bool:
        """Whether bars lie: words are read more easily beside them than across."""
        labels = self._drawn.labels
        if self._drawn.kind not in ("bar", "stacked") or len(labels) > _SIDEWAYS or height < 18 * len(labels):
            return False
        return max(map(marks.width, labels)) > (self._size.width - 80) / max(len(labels), 1)

    def _shown_labels(self, lies: bool) -> list[str]:
        """The labels of words: all, or each so-and-so-many-th where they would not fit; "" for the others."""
        if lies:
            return [marks.cut(label, 24 if self._size.is_wide else 14) for label in self._drawn.labels]
        labels = marks.words(self._drawn)
        room = (self._size.width - 80) / max(len(labels), 1)
        own = room if self._drawn.kind in ("bar", "stacked") else room * 2 / 3  # those at the ends are moved in
        if self._drawn.x.format != "date-time" and any(marks.width(label) + 12 > own for label in labels):
            labels = [marks.cut(label, max(14, int((own - 12) / (marks.LETTER + 2)))) for label in labels]
        every = max(1, math.ceil((max(map(marks.width, labels)) + 12) / room)) if labels else 1
        shown = self._apart(labels, every, room)
        while every < len(labels) - 1 and not shown[every]:  # the first one stands in its way
            every += 1
            shown = self._apart(labels, every, room)
        return shown

    def _apart(self, labels: list[str], every: int, room: float) -> list[str]:
        """Each so-and-so-many-th of the labels, without those that would touch the one before: those at the ends are moved
        into the picture."""
        shown, end, most = list[str](), -math.inf, room * len(labels) + 12
        for at, label in enumerate(labels):
            half = marks.width(label) / 2
            middle = max(half - _LEFT, min((at + 0.5) * room, most - half))
            fits = at % every == 0 and middle - half >= end + 4
            shown.append(label if fits else "")
            end = middle + half if fits else end
        return shown

    def _along_y(self, size: Size, lies: bool) -> list[tuple[float, str]]:
        low, high = _range(self._drawn)
        whole = all(isinstance(value, int) for one in self._drawn.series for value in one.values if value is not None)
        times = self._drawn.y.format == "duration"

        def labelled(count: int) -> list[tuple[float, str]]:
            found = ticks(low, high, count, whole=whole, times=times)
            return self._labelled(found, [charts.show_y(self._drawn, _plain(at), self._locale) for at in found])

        if lies:
            return _fitting(labelled, 8, size.width - 120)
        found = _told_apart(labelled, max(3, size.height // 55))
        if max(marks.width(text) for _, text in found) <= 0.5 * size.width and len({text for _, text in found}) == len(
            found
        ):
            return found
        mark = self._locale.write_number(0.5).strip("05")
        return [(at, f"{at:.3g}".replace(".", mark)) for at, _ in found]

    def _labelled(self, found: Sequence[float], texts: list[str]) -> list[tuple[float, str]]:
        mark = self._locale.write_number(0.5).strip("05")
        return list(zip(found, _without_zeros(texts, mark), strict=True))

    def _along_x(self) -> list[tuple[float, str]]:
        if self._drawn.scale == "words":
            return []
        low, high, count = min(self._drawn.xs), max(self._drawn.xs), max(2, (self._size.width - 60) // 85)
        if self._drawn.scale == "days":
            return [(at, self._day(at, high - low)) for at in day_ticks(low, high, count)]
        whole, times = all(x == int(x) for x in self._drawn.xs), self._drawn.x.format == "duration"
        write = self._locale.write_count if high >= 10_000 else self._locale.write_number  # 2026 is no 2,026

        def labelled(count: int) -> list[tuple[float, str]]:
            found = ticks(low, high, count, whole=whole, times=times)
            inside = [at for at in found if low <= at <= high]
            found = inside if len(inside) > 1 else found
            if not self._drawn.x.format:
                return [(at, write(_plain(at))) for at in found]
            return self._labelled(found, [self._locale.show(self._drawn.x, _plain(at)) for at in found])

        return _fitting(labelled, count, self._size.width - 60)

    def _day(self, at: float, span: float) -> str:
        """A day, or a time of day where all are within two."""
        if span > _HOURS_TO:
            return str(self._locale.write_date(date.fromordinal(int(at)).isoformat()))
        minutes = round(at % 1 * 1440)
        return f"{minutes // 60:02}:{minutes % 60:02}"


def _fitting(labelled: Callable[[int], list[tuple[float, str]]], most: int, room: float) -> list[tuple[float, str]]:
    """What labelled() makes of the greatest count whose labels have room beside each other."""
    found = _told_apart(labelled, most)
    for count in range(most - 1, 0, -1):
        if sum(marks.width(label) + 16 for _, label in found) <= room:
            break
        found = _told_apart(labelled, count)
    return found


def _told_apart(labelled: Callable[[int], list[tuple[float, str]]], most: int) -> list[tuple[float, str]]:
    """What labelled() makes of the greatest count whose labels differ: a format may round them to the same. If none has
    such, that of `most`."""
    for count in range(most, 0, -1):
        found = labelled(count)
        if len({label for _, label in found}) == len(found):
            return found
    return labelled(most)


def _without_zeros(texts: list[str], mark: str) -> list[str]:
    """Numbers without the zeros behind their decimal `mark`, if none has anything else there."""
    short = [re.sub(rf"{re.escape(mark)}0+(?=\D*$)", "", text) for text in texts]
    return texts if any(len(a) == len(b) for a, b in zip(texts, short, strict=True)) else short


def _plain(number: float) -> int | float:
    return int(number) if number == int(number) and abs(number) < 10**15 else number


# ---- scales


def _range(drawn: Drawing) -> tuple[float, float]:
    """The least and the greatest value that has to have room; zero is one of them where marks begin there."""
    places = zip(*[one.values for one in drawn.series], strict=True)
    columns = [[float(value) for value in at if value is not None] for at in places]
    if drawn.kind in ("stacked", "area"):
        columns = [[sum(v for v in at if v > 0), sum(v for v in at if v < 0)] for at in columns]
    low, high = min(map(min, filter(None, columns))), max(map(max, filter(None, columns)))
    if drawn.kind not in ("line", "scatter") or 0 <= low <= high / 2 or low == high:
        return min(low, 0.0), max(high, 0.0)
    return low, high


def ticks(low: float, high: float, count: int, *, whole: bool = False, times: bool = False) -> list[float]:
    """About `count` round numbers, in equal steps, that begin at or below `low` and end at or above `high`; `times` are
    seconds, of which whole minutes, hours and days are round."""
    if high - low <= 1e-9 * abs(low):
        low, high = (low - 1, high + 1) if low else (0.0, 1.0)
    rough = (high - low) / max(count, 1)
    step = _step_of_times(rough) if times else _step(rough, whole)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [float(f"{at * step:.15g}") for at in range(first, last + 1)]


def _step(rough: float, whole: bool) -> float:
    """A round number that is at least about so large."""
    power = 10.0 ** math.floor(math.log10(rough))
    if whole and power < 10:  # 2.5 is no step of what is counted
        return max(1.0, next(one * power for one in (1, 2, 5, 10) if one * power >= rough * 0.999))
    return next(one * power for one in (1, 2, 2.5, 5, 10) if one * power >= rough * 0.999)


def _step_of_times(rough: float) -> float:
    if rough <= 0.5:
        return _step(rough, whole=False)
    days = _DAY_S * _step(rough / _DAY_S, whole=True)
    return next((float(one) for one in _ROUND_S if one >= rough * 0.999), days)


def day_ticks(low: float, high: float, count: int) -> list[float]:
    """About `count` days between two, as ordinals: the first of months or years where they are far apart."""
    span = (high - low) / max(count, 1)
    if high - low <= _HOURS_TO and (low % 1 or high % 1):
        step = next(one for one in (1, 5, 15, 30, 60, 120, 180, 360, 720, 1440) if one >= span * 720)
        first, last = math.ceil(low * 1440 / step - 1e-6), math.floor(high * 1440 / step + 1e-6)
        return [at * step / 1440 for at in range(first, last + 1)] or [low, high]
    if span <= 14:
        step = next(one for one in (1, 2, 7, 14) if one >= span)
        return [float(at) for at in range(int(low), int(high) + 1, step)]
    months = next((one for one in (1, 3, 6, 12, 24, 60, 120, 240, 600, 1200) if one * 30.4 >= span), 6000)
    return _firsts(low, high, months) or [low, high]


def _firsts(low: float, high: float, months: int) -> list[float]:
    """The first days of each so-and-so-many-th month between two days."""
    first, last = date.fromordinal(int(low)), date.fromordinal(int(high))
    begin, end = (first.year * 12 + first.month - 1) // months * months, last.year * 12 + last.month - 1
    days = [date(at // 12, at % 12 + 1, 1).toordinal() for at in range(max(begin, 12), end + 1, months)]
    return [float(day) for day in days if low <= day <= high]
