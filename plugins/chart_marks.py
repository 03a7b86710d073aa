"""What pygal draws of a chart: its axes and its marks, told anew without all that pygal adds for pages with scripts."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple
from xml.etree.ElementTree import Element, SubElement

import pygal
from pygal.style import Style

if TYPE_CHECKING:
    from plugins.charts import Drawing, Series

# ==== 1. MARKS ===================================================================================================
# The one place that imports pygal. It works out where things stand; classes, shapes and texts are ours.
# uses: plugin:charts
# defines: TEXT LETTER COLOURS Axes cut width short words plot pie has_dots dots line shape

TEXT, LETTER = 13, 7.0  # size of letters, and how wide they are on average
_WIDE = re.compile("[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\uff00-\uff60\U0001f300-\U0001faff]")
COLOURS = 6
_DOTS = 40  # places along x up to which lines have dots
_SHAPES = ("m-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0z", "m-4-4h8v8h-8z", "m0-5l5 9h-10z", "m0-5.5l5.5 5.5l-5.5 5.5l-5.5-5.5z",
           "m0 5l5-9h-10z", "m-4-1.5h2.5v-2.5h3v2.5h2.5v3h-2.5v2.5h-3v-2.5h-2.5z")  # fmt: skip
# pygal adds a finder of modules, for plugins that nobody has here, to everything that this process imports later.
sys.meta_path[:] = [one for one in sys.meta_path if type(one).__module__ != "pygal"]
_STYLE = Style(label_font_size=TEXT, major_label_font_size=TEXT, font_family="sans-serif")


class Axes(NamedTuple):
    """What stands along the sides: (place, label) of y, and of x where that is no word."""

    y: list[tuple[float, str]]
    x: list[tuple[float, str]]


class _Once:
    """A chart that is drawn once. pygal looks for each attribute in a copy of the chart whenever it uses one, and spends
    most of its time on that."""

    __getattribute__ = object.__getattribute__
    __setattr__ = object.__setattr__

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__.get("state") or self.__dict__["config"], name)

    def _tooltip_data(self, *_: Any, **__: Any) -> None:
        """No picture shows them."""

    _static_value = _tooltip_data


def _once(kind: type) -> type:
    return type(kind.__name__, (_Once, kind), {})


_POINTS, _PIE = _once(pygal.XY), _once(pygal.Pie)
_KINDS: Mapping[str, type] = {
    "bar": _once(pygal.Bar), "stacked": _once(pygal.StackedBar), "line": _once(pygal.Line),
    "area": _once(pygal.StackedLine), "lying bar": _once(pygal.HorizontalBar),
    "lying stacked": _once(pygal.HorizontalStackedBar),
}  # fmt: skip


def cut(text: str, letters: int) -> str:
    return text if len(text) <= letters else text[: max(letters - 1, 1)].rstrip() + "…"


def width(text: str) -> float:
    """About how wide a text is."""
    digits, capitals = sum(map(str.isdigit, text)), sum(map(str.isupper, text))
    return LETTER * len(text) + digits + 2 * capitals + 6 * len(_WIDE.findall(text))


def short(number: float) -> str:
    """A coordinate: a tenth of a unit is less than anybody sees."""
    return f"{number:.1f}".removesuffix(".0")


def words(drawn: Drawing) -> list[str]:
    """The labels along x, of which several points of a scatter chart may share one place."""
    return list(dict(zip(drawn.xs, drawn.labels, strict=True)).values()) if drawn.kind == "scatter" else drawn.labels


# ---- what pygal draws


def plot(drawn: Drawing, size: tuple[int, int], axes: Axes, labels: list[str], lies: bool) -> Element:
    """The axes and marks of what has axes, in so much room. `labels` are those of words along x, "" where none is shown;
    bars may lie."""
    by_place = drawn.kind == "scatter" or (drawn.scale != "words" and (drawn.kind == "line" or len(drawn.series) == 1))
    kind = _POINTS if by_place else _KINDS[f"lying {drawn.kind}" if lies else drawn.kind]
    steps = [at for at, _ in axes.y]
    chart: Any = kind(
        width=size[0], height=size[1], margin=0, margin_left=10, margin_right=16, margin_top=6, margin_bottom=4,
        show_legend=False, style=_STYLE, js=[], spacing=8, truncate_label=100, range=(steps[0], steps[-1]),
        y_labels=[{"value": at, "label": label} for at, label in axes.y], show_dots=has_dots(drawn),
        stroke=drawn.kind != "scatter", fill=drawn.kind == "area", allow_interruptions=drawn.kind == "line", dots_size=4,
        print_values=False, disable_xml_declaration=True,
    )  # fmt: skip
    if by_place:
        chart.x_labels = _labelled_places(drawn, axes, labels)
    else:
        chart.x_labels = labels[::-1] if lies else labels
    for one in drawn.series:
        values: list[Any] = [None if value is None else float(value) for value in one.values]
        if by_place:
            values = [
                (x, y) for at, (x, y) in enumerate(zip(_places(drawn), values, strict=True)) if _counts(drawn, one, at)
            ]
        chart.add(one.title, values[::-1] if lies else values)
    kind_drawn = "soft" if drawn.kind == "area" and len(drawn.series) == 1 else drawn.kind
    return _retold(chart.render_tree(), kind_drawn, lies)


def _counts(drawn: Drawing, one: Series, at: int) -> bool:
    """Whether there is something, or a gap, of a series at a place."""
    return one.values[at] is not None or (drawn.kind == "line" and at not in one.absent)


def _places(drawn: Drawing) -> Sequence[float]:
    if drawn.scale != "words":
        return drawn.xs
    at = {x: index for index, x in enumerate(dict.fromkeys(drawn.xs))}
    return [at[x] for x in drawn.xs]


def _labelled_places(drawn: Drawing, axes: Axes, labels: list[str]) -> list[dict[str, Any]]:
    found = axes.x if drawn.scale != "words" else [(at, label) for at, label in enumerate(labels) if label]
    return [{"value": at, "label": label} for at, label in found]


def pie(values: Sequence[float], side: int) -> Element:
    """The slices of a pie, in a square. One that is all of it, as far as one sees, is a ring: no arc is a circle."""
    if max(values) >= 0.9999 * sum(values):
        made, half = Element("g"), side / 2
        ring = "".join(f"M{half:g} {half - r:g}a{r:g} {r:g} 0 1 {turn} 0 {2 * r:g}a{r:g} {r:g} 0 1 {turn} 0 {-2 * r:g}z"
                       for r, turn in ((0.9 * half, 1), (0.45 * half, 0)))  # fmt: skip
        made.extend(shape(list(values).index(max(values)), ring))
        return made
    chart: Any = _PIE(
        width=side, height=side, margin=0, show_legend=False, style=_STYLE, js=[], inner_radius=0.5,
        disable_xml_declaration=True,
    )  # fmt: skip
    for value in values:
        chart.add("", value)
    return _retold(chart.render_tree(), "slice", False)


def has_dots(drawn: Drawing) -> bool:
    """Whether each value has a mark: where there are few, or one would not be seen between two that are missing."""
    if drawn.kind == "area":
        return len(drawn.xs) == 1
    if drawn.kind != "line":
        return drawn.kind == "scatter"
    return len(drawn.xs) <= _DOTS or any(_stands_alone(drawn, one) for one in drawn.series)


def _stands_alone(drawn: Drawing, one: Series) -> bool:
    goes_on = drawn.scale != "words"
    values = [value for at, value in enumerate(one.values) if not (goes_on and at in one.absent)]
    around = [None, *values, None]
    return any(b is not None and a is None and c is None for a, b, c in zip(around, around[1:], around[2:], strict=False))


def dots(index: int, places: Iterable[tuple[float, float]]) -> Element:
    """The marks of single values, whose shape tells their series, too."""
    mark = _SHAPES[index % len(_SHAPES)]
    return Element(
        "path", {"class": f"dot c{index % COLOURS}", "d": "".join(f"M{short(x)} {short(y)}{mark}" for x, y in places)}
    )


def line(index: int, path: str) -> Element:
    """The line of a series; its second round of colours is dashed."""
    return Element("path", {"class": f"line c{index % COLOURS}" + " dashed" * (index >= COLOURS), "d": path})


def shape(index: int, path: str, kind: str = "slice") -> list[Element]:
    """The bars, the area or the slice of a series; its second round of colours is hatched."""
    made = [Element("path", {"class": f"{kind} c{index % COLOURS}", "d": path})]
    return [*made, Element("path", {"d": path, "fill": "url(#hatch)"})] if index >= COLOURS else made


# ---- what is taken of pygal's drawing


def _retold(tree: Any, kind: str, lies: bool) -> Element:
    """The axes and marks that pygal laid out, with classes of ours and nothing else of its own."""
    made = Element("g")
    for group in tree.iter("g"):
        classes = (group.get("class") or "").split()
        if "plot" in classes:
            place = _numbers(group.get("transform", "0 0"))
            inner = Element("g", {"transform": f"translate({short(place[0])} {short(place[1])})"})
            _retell_axes(inner, group, place[0], lies)
            _retell_marks(inner, group, kind)
            if len(inner):
                made.append(inner)
    return made


def _retell_axes(made: Element, plot: Any, left: float, lies: bool) -> None:
    for axis in (one for one in plot if "axis" in (one.get("class") or "").split()):
        name = "x" if " x" in axis.get("class") else "y"
        measures = (name == "x") is lies
        told = SubElement(made, "g", {"class": "axis"})
        for guides in axis.iter("g"):
            for one in guides:
                if one.tag == "path" and measures and "class" in one.attrib:
                    is_zero = "guide" not in one.get("class").split()
                    SubElement(told, "path", {"d": _rounded(one.get("d")), **({"class": "zero"} if is_zero else {})})
                elif one.tag == "text" and one.text:
                    _retell_label(told, one, name, left, plot)


def _retell_label(made: Element, label: Any, axis: str, left: float, plot: Any) -> None:
    x, half = float(label.get("x")), width(label.text) / 2
    if axis == "x":  # no half of a word outside of the picture
        room = float(next(one for one in plot if one.tag == "rect").get("width"))
        x = max(half - left + 4, min(x, room + 12 - half))
    place = {"x": short(x), "y": short(float(label.get("y"))), "class": "middle" if axis == "x" else "end"}
    SubElement(made, "text", place).text = label.text


def _retell_marks(made: Element, plot: Any, kind: str) -> None:
    for group in (one for one in plot if "series" in (one.get("class") or "").split()):
        index = int(re.search(r"serie-(\d+)", group.get("class"))[1])  # type: ignore[index]
        if path := "".join(_outline(one) for one in group.iter() if one.tag in ("rect", "path")):
            made.extend(_marks_of(index, path, kind))
        if places := [(float(one.get("cx")), float(one.get("cy"))) for one in group.iter("circle")]:
            made.append(dots(index, places))


def _marks_of(index: int, path: str, kind: str) -> list[Element]:
    """The marks of a series, as few shapes. An area that stands alone lets the lines of the axis through."""
    if kind in ("line", "scatter"):
        return [line(index, path)]
    if kind == "soft":
        return [*shape(index, path, "soft"), line(index, _top_of(path))]
    return shape(index, path, kind)


def _top_of(area: str) -> str:
    """The line on an area that stands on the axis: all of its outline but the first and the last point."""
    points = _numbers(area)[2:-2]
    return "M" + "L".join(f"{x:g} {y:g}" for x, y in zip(points[::2], points[1::2], strict=True))


def _outline(mark: Any) -> str:
    """The path of a mark; "" of a value that is missing, whose rectangle has no size."""
    if mark.tag == "path":
        return _rounded(mark.get("d"))
    place = [mark.get(name) for name in ("x", "y", "width", "height")]
    if None in place:
        return ""
    x, y, across, down = map(float, place)
    return f"M{x:.2f} {y:.2f}h{across:.2f}v{down:.2f}h{-across:.2f}z"


def _rounded(path: str) -> str:
    return re.sub(r"-?\d+\.\d+", lambda found: f"{float(found[0]):.2f}".rstrip("0").rstrip("."), path)


def _numbers(text: str) -> list[float]:
    return [float(one) for one in re.findall(r"-?\d+(?:\.\d+)?", text)]
