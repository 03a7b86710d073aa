"""What app.toml says of the columns of views: titles, formats, links, badges and totals, and where the rows lead."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from app import Action, Column, Config, Fault, Form, Json, Response, Value, View, ViewConfig, nearest, plugin

if TYPE_CHECKING:
    from plugins import column_formats
else:
    column_formats = plugin("column_formats")

# ==== 1. READING =================================================================================================
# A column of a view is that of its form or statement with what app.toml says of it. Links are made of the values of a row,
# each percent-encoded, so that none of them can lead anywhere else than its place.
# uses: ERRORS VALUES CONFIG RESOURCES plugin:column_formats plugin:states
# defines: dressed needed places linked word records_of faults of_form

_PLACE = re.compile(r"\{([^{}]*)\}")
_TOTALS = ("sum", "avg", "min", "max", "count")
_ADDED = ("sum", "avg")
_SCHEMES = ("http://", "https://", "mailto:")
_TYPES = ("forms", "views", "files", "apps")


def dressed(column: Column, said: Mapping[str, Any]) -> Column:
    """A column with what its table in app.toml says."""
    if not said:
        return column
    badges = {value: badge for value, badge in (said.get("badge") or {}).items() if badge != "none"}
    format_ = said.get("format") or column.format
    return column._replace(
        title=said.get("title") or column.title, format=format_, link=said.get("link") or "",
        total=said.get("total") or "", badges=badges or column.badges, instant=column.has_instants,
        type="number" if column_formats.is_numeric(format_) else column.type,
    )  # fmt: skip


def needed(columns: Sequence[Column], page: bool) -> tuple[str, ...]:
    """The names of what rows of these columns hold: on a page also what leads from them."""
    names = [column.name for column in columns]
    if page:
        names += ["id", *(name for column in columns for name in _PLACE.findall(column.link))]
    return tuple(dict.fromkeys(names))


# ---- links


@lru_cache(maxsize=512)
def _parts(link: str) -> tuple[tuple[str, str], ...]:
    """(text, name of the column behind it or "") of a link, from its beginning to its end."""
    pieces = _PLACE.split(link)
    return tuple(zip(pieces[::2], [*pieces[1::2], ""], strict=True))


def places(link: str) -> list[str]:
    """The columns whose values a link is made of."""
    return _PLACE.findall(link)


def linked(link: str, url: Callable[[str], str]) -> Callable[[Mapping[str, Json]], str]:
    """What makes the address that a link leads to of a row; "" if the row has no value for one of its places."""
    parts, safe = _parts(link), "@" if link.startswith("mailto:") else ""
    begin = "" if link.startswith(_SCHEMES) else url("")

    def address(row: Mapping[str, Json]) -> str:
        made = begin
        for text, name in parts:
            value = word(row.get(name)) if name else ""
            if name and value in ("", ".", ".."):
                return ""
            made += text + quote(value, safe=safe)
        return made

    return address


def word(value: Json) -> str:
    """A plain value as addresses and badges name it; "" for one that they cannot name."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int | float | Decimal) else ""


def records_of(response: Response) -> str:
    """The address below which the records lie that the rows of a list are; "" if they are none, or the caller may not read
    them."""
    page = response.page
    if page.get("key"):  # of a form's own list
        return str(page["records_at"]) + "/"
    view = page.get("view")
    form = view.source if isinstance(view, View) else None
    if not isinstance(view, View) or not isinstance(form, Form) or getattr(view, "is_grouped", False):
        return ""
    return f"{form.records_at}/" if response.caller.may(Action.READ, f"{form.records_at}/x") else ""


# ---- faults of app.toml


def faults(config: ViewConfig, whole: Config) -> Iterator[Fault]:
    """A fault for each setting of a view's columns that is wrong by itself, whatever the columns are."""
    for name, said in config.columns.items():
        place = f"views.{config.name}.columns.{name}"
        if said.get("format") and (wrong := column_formats.fault(said["format"])):
            yield Fault(f"{place}.format", "configuration", wrong)
        if (total := said.get("total")) and total not in _TOTALS:
            words = f"{total!r} is no total" + (nearest(total, _TOTALS) or f": write one of {', '.join(_TOTALS)}")
            yield Fault(f"{place}.total", "configuration", words)
        for value, badge in (said.get("badge") or {}).items():
            known = plugin("states").BADGES
            if badge not in known:
                words = f"{badge!r} is none of {', '.join(known)}{nearest(str(badge), known)}"
                yield Fault(f"{place}.badge.{value}", "configuration", words)
        if said.get("link") and (wrong := _link_fault(said["link"], whole)):
            yield Fault(f"{place}.link", "configuration", wrong)


def _link_fault(link: str, whole: Config) -> str:
    """What is wrong with a link, whatever the columns of its row are."""
    if re.search(r"[{}]", _PLACE.sub("", link)) or "" in _PLACE.findall(link):
        return 'has a brace without its pair, or nothing between them: write columns as "{region}"'
    if link.startswith(_SCHEMES):
        host = link.removeprefix("mailto:") if link.startswith("mailto:") else re.split("[/?#]", link.partition("://")[2])[0]
        if "{" in host and not link.startswith("mailto:"):
            return "takes its host from a row: write the host, and columns behind it"
        return "" if host and not re.search(r"[\s\x00-\x1f\\]", link) else f"{link!r} is no address"
    head = re.split("[?#]", link)[0]
    kind, _, rest = head.partition("/")
    such = 'write a resource such as "views/sales?region={region}", or an address that begins with https:// or mailto:'
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", link) or link.startswith(("/", "\\")) or re.search(r"[\s\x00-\x1f\\]", link):
        return f"{link!r} leads where no cell may lead: {such}"
    if kind == "admin":
        return ""
    name = f"{kind}/{rest.partition('/')[0]}"
    if kind not in _TYPES or "{" in name:
        return f"{link!r} names no resource: {such}"
    tables: Any = whole.raw.get(kind)
    declared = [f"{kind}/{one}" for one in tables] if isinstance(tables, dict) else []
    return "" if name in declared else f"names {name!r}, which is not declared{nearest(name, declared)}"


def of_form(view: View, form: Form, names: Collection[str]) -> Iterator[Fault]:
    """A fault for each setting that does not go with its column in a view of a form, which has columns of these names."""
    fields = {one.name: one for one in form.columns}
    for name, said in view.config.columns.items():
        place, column = f"views.{view.name}.columns.{name}", fields.get(name)
        for sought in _PLACE.findall(said.get("link") or ""):
            if sought not in names:
                words = f"names the column {sought!r}, which {view.config.source} has not{nearest(sought, names)}"
                yield Fault(f"{place}.link", "configuration", words)
        if column:
            yield from (Fault(f"{place}.{key}", "configuration", words) for key, words in _of_column(column, said))


def _of_column(column: Column, said: Value) -> Iterator[tuple[str, str]]:
    """(setting, what is wrong) of a form's column."""
    is_number, kind = column.type in ("number", "integer"), column_formats.shown_as(said.get("format") or "").kind
    if kind in column_formats.NUMERIC and not is_number:
        yield "format", f"{said['format']!r} goes with numbers, and {column.name} is of type {column.type}"
    if kind in ("date", "date-time") and column.format not in ("date", "date-time"):
        yield "format", f"{kind!r} goes with days and moments, and {column.name} is none"
    if said.get("total") in _ADDED and not is_number:
        yield "total", f"{said['total']!r} goes with numbers, and {column.name} is of type {column.type}"
    if said.get("total") in ("min", "max") and (column.type in ("array", "boolean", "object") or column.format == "file"):
        yield "total", f"{said['total']!r} goes with numbers, texts and days, and {column.name} is none"
    for value in said.get("badge") or {}:
        known = [word(one) for one in column.titles] if isinstance(column.titles, dict) else []
        if known and value not in known:
            yield f"badge.{value}", f"{value!r} is no value of {column.name}{nearest(value, known)}"
