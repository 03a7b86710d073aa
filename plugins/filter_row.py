"""The filter row above a list: a control for each column that can be asked for, and what is asked for in words."""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import suppress
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple

from app import LIST_PARAMS, OPERATORS, AppError, BadRequest, Column, Form, Json, Unread, plugin

if TYPE_CHECKING:
    from plugins import list_filters
    from plugins.fields import Field
    from plugins.locale import Locale
else:
    list_filters = plugin("list_filters")

# ==== 1. CONTROLS ================================================================================================
# Choices may be ticked, several at once; numbers, days and times are asked for from and to, booleans as yes, no or unset,
# and other texts by what they contain. What no control says, such as `days__ne=3`, stays as it is.
# uses: ERRORS VALUES RESOURCES plugin:fields plugin:list_filters plugin:locale plugin:option_controls plugin:options
# defines: Asking askings can_be_filtered can_be_sorted controls covered lookups

_RANGES = {
    "number": "text",
    "integer": "text",
    "date": "date",
    "date-time": "date",
    list_filters.MOMENT: "date",
    "time": "time",
}
_TRUTHS = {"true": "common.yes", "false": "common.no", "null": "filter.unset"}
_NO_FILTER = ("file", "lines", "grants")  # formats that nobody can ask for
_MOST_CHOICES = 200
_SHAPES = {"date": r"[0-9]{4}-[0-9]{2}-[0-9]{2}", "time": r"[0-9]{2}:[0-9]{2}(:[0-9]{2})?"}  # that controls can show


class Asking(NamedTuple):
    """How a column is asked for: "choice", "truth", "range" or "text"."""

    column: Column
    title: str
    kind: str
    type: str = "text"  # of its <input>
    choices: Sequence[tuple[str, str]] = ()  # (text, title)

    @property
    def ops(self) -> tuple[str, ...]:
        """The operators that its controls say; "" is the plain name."""
        return {"choice": ("in", ""), "truth": ("", "null"), "range": ("gte", "lte")}.get(self.kind, ("contains",))


def askings(
    columns: Sequence[Column], fields: Mapping[str, Field], locale: Locale, offered: Callable[[str], Any]
) -> list[Asking]:
    """How each of the columns that can be asked for is; `offered` has the choices of one that are looked up, None if they
    are too many or not to be seen."""
    found = []
    for column in columns:
        if column.format in _NO_FILTER or column.type == "object" or not can_be_filtered(column.name):
            continue
        field, title = fields.get(column.name), locale.heading(column)
        choices = _choices(column, field, locale, offered)
        if choices:
            found.append(Asking(column, title, "choice", choices=choices))
        elif column.type == "boolean":
            found.append(Asking(column, title, "truth"))
        elif kind := _RANGES.get(column.format) or _RANGES.get(column.type):
            found.append(Asking(column, title, "range", kind))
        else:
            found.append(Asking(column, title, "text"))
    return found


def can_be_filtered(name: str) -> bool:
    """Whether an address can ask for values of a column of this name: a statement may call one as it likes."""
    return "__" not in name and not name.endswith("_") and name not in (*LIST_PARAMS, "_typed")


def can_be_sorted(name: str) -> bool:
    return "," not in name and not name.startswith("-")


def _choices(
    column: Column, field: Field | None, locale: Locale, offered: Callable[[str], Any]
) -> Sequence[tuple[str, str]]:
    """What can be chosen in a column; () if anything can be."""
    if hasattr(column.titles, "learn") or (field and field.looked_up):
        return offered(column.name) or ()
    pairs = field.choices if field and field.choices else [(value, title) for value, title in column.titles.items()]
    numbers = (field.item_type if field else column.type) in ("number", "integer")
    found = [(str(v), column.titles.get(v) or (locale.write_number(v) if numbers else str(title))) for v, title in pairs]
    return found if len(found) <= _MOST_CHOICES else ()


def controls(
    found: Sequence[Asking],
    asked: Mapping[str, str],
    wrong: Mapping[str, str],
    locale: Locale,
    counts: Mapping[str, Mapping[str, int]],
) -> list[SimpleNamespace]:
    """What the template shows of each, with what is asked for now and what is wrong with it; of columns in `counts` with
    how many rows have each value, by its text."""
    return [
        SimpleNamespace(
            kind=one.kind, title=one.title, id=f"w{number}", **_shown(one, asked, locale, counts.get(one.column.name)),
            faults=[(name, wrong[name]) for name in _names(one) if name in wrong],
        )
        for number, one in enumerate(found)
    ]  # fmt: skip


def _names(one: Asking) -> list[str]:
    """The parameters that its controls say."""
    return [one.column.name + ("__" + op if op else "") for op in one.ops]


def _shown(one: Asking, asked: Mapping[str, str], locale: Locale, counts: Mapping[str, int] | None) -> dict[str, Any]:
    name = one.column.name

    def counted(text: str) -> str:
        return "" if counts is None else locale.write_count(counts.get(text, 0))

    if one.kind == "choice":
        given = [asked[key] for key in (name, f"{name}__in") if asked.get(key)]
        chosen = {part for text in given for part in list_filters.parts(text, one.column.titles)}
        write = plugin("fields").with_commas
        options = [
            SimpleNamespace(value=write(v), title=title, selected=v in chosen, count=counted(v)) for v, title in one.choices
        ]
        return {"name": f"{name}__in", "options": options, "said": [each.title for each in options if each.selected]}
    if one.kind == "truth":
        null = {"true": "null", "false": ""}.get(asked.get(f"{name}__null", ""), "")
        options = [SimpleNamespace(value=text, title=title, count=counted(text)) for text, title in _truths(locale)]
        return {"name": name, "value": asked.get(name) or null, "options": options}
    if one.kind == "text":
        return {"name": f"{name}__contains", "value": asked.get(f"{name}__contains", ""), "type": "text"}
    ends = [_end(one, f"{name}__{op}", asked, locale) for op in one.ops]
    return {"from_": ends[0], "to": ends[1]}


def _truths(locale: Locale) -> list[tuple[str, str]]:
    """(text, title) of yes, no and neither."""
    return [(text, str(locale.t(name))) for text, name in _TRUTHS.items()]


def _end(one: Asking, name: str, asked: Mapping[str, str], locale: Locale) -> SimpleNamespace:
    """One end of a range; what its control cannot show, a text control does."""
    text, kind = asked.get(name, ""), one.type
    if kind == "text":
        text = list_filters.as_typed(text, locale)
    if kind == "date" and text:
        read = locale.read_date(text)
        text = text if isinstance(read, Unread) else str(read)
    if text and kind in _SHAPES and not re.fullmatch(_SHAPES[kind], text):
        kind = "text"
    return SimpleNamespace(name=name, value=text, type=kind, mode="decimal" if one.type == "text" else "")


def covered(found: Sequence[Asking], asked: Mapping[str, str]) -> set[str]:
    """The parameters that need no hidden control. A choice that is none any more does."""
    names = set()
    for one in found:
        known = {text for text, _ in one.choices}
        for name in _names(one):
            given = list_filters.parts(asked.get(name, ""), one.column.titles) if one.kind == "choice" else ()
            if not asked.get(name) or one.kind != "choice" or known.issuperset(given):
                names.add(name)
    return names - {f"{one.column.name}__null" for one in found if asked.get(f"{one.column.name}__null") == "false"}


def lookups(form: Form, may_see: bool) -> Callable[[str], Any]:
    """The choices of a field that are looked up, as whoever may submit the form sees them."""

    def offered(name: str) -> Any:
        most = plugin("option_controls").MOST
        if not may_see or name not in form.looked_up:
            return None
        with suppress(AppError):  # the list is whole without them
            found = plugin("options").choices(form, name).offered(most + 1)
            return [(str(value), label) for value, label in found] if len(found) <= most else None
        return None

    return offered


# ==== 2. WORDS ===================================================================================================
# What a list is narrowed by, as people say it: "Days at least 3".
# uses: ERRORS VALUES plugin:list_filters plugin:locale plugin:options
# defines: split said faceted

_WORDS = {
    "gte": "filter.at_least", "lte": "filter.at_most", "gt": "filter.above", "lt": "filter.below",
    "contains": "filter.has", "prefix": "filter.begins", "ne": "filter.is_not",
}  # fmt: skip
_TIMES = {"gte": "filter.since", "lte": "filter.until", "gt": "filter.after", "lt": "filter.before"}


def split(name: str, names: Container[str]) -> tuple[str, str]:
    """The column and the operator that a parameter of an address names; no operator if it is no filter of these columns."""
    column, _, op = name.partition("__")
    return (column, op or "eq") if column in names and (op or "eq") in OPERATORS else (column, "")


def said(column: Column, op: str, text: str, locale: Locale) -> str:
    """One filter in words."""
    title, t = locale.heading(column), locale.t
    if op == "null" or (op in ("eq", "ne") and text == "null" and column.type != "string"):
        is_empty = text == "true" if op == "null" else op == "eq"
        return str(t("filter.empty" if is_empty else "filter.there", field=title))
    if not text:
        return str(t("filter.no_text" if op != "ne" else "filter.some_text", field=title))
    if op in ("contains", "prefix") and column.type != "array":
        return str(t(_WORDS[op], field=title, value=text))
    if op in ("eq", "in", "contains"):
        texts = list_filters.parts(text, column.titles) if op == "in" else [text]
        return str(t("filter.is", field=title, value=t("common.comma").join(_values(column, texts, locale))))
    words = _TIMES if column.format in ("date", "date-time", list_filters.MOMENT, "time") else _WORDS
    return str(
        t(words.get(op, _WORDS[op]) if op in _WORDS else _WORDS["ne"], field=title, value=_values(column, [text], locale)[0])
    )


def _values(column: Column, texts: Sequence[str], locale: Locale) -> list[str]:
    """Texts of an address as the list shows their values."""
    is_list = column.type == "array"
    read = [list_filters.items(text) if is_list else [_read(column, text, locale)] for text in texts]
    if learn := getattr(column.titles, "learn", None):
        with suppress(AppError):
            learn([one for some in read for one in some])
    values = [next((one for one in some if one in column.titles), some[0]) for some in read]
    return [locale.show(column, value) or text for value, text in zip(values, texts, strict=True)]


def _read(column: Column, text: str, locale: Locale) -> Json:
    if column.format in ("date-time", list_filters.MOMENT):
        day = locale.read_date(text)
        return text if isinstance(day, Unread) else locale.write_date(day)
    with suppress(BadRequest):
        found = list_filters.conditions(column.name, text, column, locale)
        return found[0].value if found else text  # an empty one asks for nothing
    return text


def faceted(column: Column, counted: Sequence[tuple[Json, int]], locale: Locale) -> Iterator[tuple[str, str, str, int]]:
    """(parameter, its text, the title, how many) of each value of a facet."""
    for value, count in counted:
        name, text = (column.name, str(value)) if value is not None else (f"{column.name}__null", "true")
        if isinstance(value, bool):
            text = str(value).lower()
        none = "filter.nothing" if value is None else "filter.blank"
        yield name, text, locale.show(column, value) or str(locale.t(none)), count
