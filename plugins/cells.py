"""The cells of a page's table: each column's values as text for people, where they lead to, and their HTML."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, cast
from urllib.parse import quote

import app
from app import Column, Json

if TYPE_CHECKING:
    from plugins import column_formats, reading
    from plugins.locale import Locale
else:
    column_formats, reading = app.plugin("column_formats"), app.plugin("reading")

# ==== 1. CELLS ===================================================================================================
# A page of 50 rows has hundreds of cells, and a template takes longer over them than all else takes. So each column is
# written at once for all rows, what its cells have in common once, and the template gets the rows as one text.
# uses: VALUES plugin:column_formats plugin:locale plugin:reading
# defines: target files quoted Cell Rows

_SCHEMES = ("http", "mailto:")  # what the addresses begin with that `target` lets through
_ADDRESS = re.compile(r"(https?://|mailto:)\S+")
_UNQUOTED = re.compile(r"[A-Za-z0-9_.~-]*")  # RFC 3986 section 2.3
_LONGEST_ADDRESS = 4000
_NO_NUMBERS, _NUMBERS = frozenset((str, bool, type(None))), frozenset((int, float, Decimal))  # exactly these types
_TEXTS = frozenset((str, type(None)))
_ROOM, _LONG = 200, 36  # letters of a cell: the most that it shows, and from where on it is as wide as it may be


def target(url: Callable[[str], str], value: Json) -> str:
    """Where a shown value leads: a stored file to itself, an address that a browser may follow to there; "" for others."""
    if isinstance(value, dict) and "address" in value:
        return url(value["address"])
    if not isinstance(value, str) or not value.startswith(_SCHEMES) or len(value) >= _LONGEST_ADDRESS:
        return ""
    return value if _ADDRESS.fullmatch(value) else ""


def files(url: Callable[[str], str], column: Column, value: Json) -> list[tuple[str, str]]:
    """(name, where it leads) of each file of a field that takes several."""
    listed = value if column.format == "file" and isinstance(value, list) else []
    return [(str(one.get("name", "")), url(one["address"])) for one in listed if isinstance(one, dict) and "address" in one]


def quoted(keys: Iterable[Json]) -> list[str]:
    """The keys of records as they stand in addresses."""
    texts = list(map(str, keys))
    return texts if _UNQUOTED.fullmatch("".join(texts)) else [quote(text, safe="") for text in texts]


class Cell(NamedTuple):
    """A cell as a template shows it."""

    text: str
    href: str  # "" if it leads nowhere
    numeric: bool
    kind: str  # the format of its column


class _Written(NamedTuple):
    """The HTML of a column's cells: what they have in common, with a %s in each place where they differ; and what stands in
    these places, for each of them a list with a text for each cell."""

    pattern: str
    parts: Sequence[Sequence[str]]


class Rows:
    """The rows of a list. `html` is all of them, escaped, each with its <tr>; going through them gives lists of Cells, for
    templates that write their own. If they are records below the address `records`, the first cell of each leads to it."""

    def __init__(
        self,
        columns: Sequence[Column],
        rows: Iterable[Mapping[str, Json]],
        locale: Locale,
        url: Callable[[str], str],
        records: str = "",
        ending: str = "",  # of the addresses of records
        moves: Any = None,  # what moves a record on (plugins/move_pages.py), in a cell at the end of each row
        boxes: Any = None,  # what chooses rows (plugins/several_pages.py), in a cell at the beginning of each
        between: Mapping[int, str] = MappingProxyType({}),  # rows of HTML by the number of the row that each stands behind
        kept: dict[Any, Any] | None = None,  # where the rows of the last look at this list are
    ) -> None:
        self._columns, self._titles = columns, list(map(locale.heading, columns))
        self._rows, self._locale, self._url = list(rows), locale, url
        self._records, self._ending, self._moves, self._boxes = records and url(records), ending, moves, boxes
        self._between, self._kept = between, kept
        self._leads = next((place for place, one in enumerate(columns) if not one.link), None)  # the column that leads there

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[list[Cell]]:
        for row in self._rows:
            cells = [self._cell(column, row) for column in self._columns]
            if self._records and self._leads is not None:
                first = cells[self._leads]
                cells[self._leads] = first._replace(text=first.text or "—", href=self._record_href(row))
            yield cells

    def _cell(self, column: Column, row: Mapping[str, Json]) -> Cell:
        value = row[column.name]
        href = reading.linked(column.link, self._url)(row) if column.link else target(self._url, value)
        return Cell(_short(self._locale.show(column, value)), href, _is_numeric(column, value), column.format)

    def _record_href(self, row: Mapping[str, Json]) -> str:
        return self._records + quote(str(row["id"]), safe="") + self._ending

    @property
    def html(self) -> str:
        """As on the last look at the list, if the rows are the same objects: those of records are, which nobody changes."""
        by_row = self._moves or self._boxes or self._between
        if self._kept is None or by_row or any(hasattr(column.titles, "learn") for column in self._columns):
            return self._made()
        now = self._locale, self._records, self._ending
        before, rows, html = self._kept.get("rows") or ((), (), "")
        if now != before or len(rows) != len(self._rows) or not all(map(operator.is_, rows, self._rows)):
            html = self._made()
            self._kept["rows"] = now, self._rows, html
        return cast(str, html)

    def _made(self) -> str:
        leads = self._leads if self._records else None
        columns = [
            self._leading(column, title) if place == leads else self._column(column, title)
            for place, (column, title) in enumerate(zip(self._columns, self._titles, strict=True))
        ]
        if self._moves and self._moves.are_there:
            columns.insert(self._moves.after(self._columns), _Written("%s", [self._moving(self._columns[0])]))
        if self._boxes:
            boxes = self._boxes.html(self._rows, _escaped(self._names(self._columns[0])))
            columns.insert(0, _Written("%s", [boxes]))
        pattern = "".join(["    <tr>\n", *(one.pattern for one in columns), "    </tr>"])
        rows = list(map(pattern.__mod__, zip(*[part for one in columns for part in one.parts], strict=True)))
        for number, row in self._between.items():
            rows[number] += f"\n{row}"
        return "\n".join(rows)

    def _column(self, column: Column, title: str) -> _Written:
        values = [row[column.name] for row in self._rows]
        texts, hrefs = self._texts(column, values), self._hrefs(column, values)
        begin, inner = _begin(column, title, values, texts), _escaped(texts)
        if not hrefs:
            return _Written(begin.pattern + "<bdi>%s</bdi></td>\n", [*begin.parts, inner])
        leads = [f'<a href="{href}"><bdi>' if href else "<bdi>" for href in _escaped(hrefs)]
        ends = ["</bdi></a>" if href else "</bdi>" for href in hrefs]
        return _Written(begin.pattern + "%s%s%s</td>\n", [*begin.parts, leads, inner, ends])

    def _hrefs(self, column: Column, values: Sequence[Json]) -> list[str]:
        """Where the cells of a column lead; [] if none leads anywhere."""
        return list(map(reading.linked(column.link, self._url), self._rows)) if column.link else _targets(self._url, values)

    def _leading(self, column: Column, title: str) -> _Written:
        """The cells which lead to the records of the rows."""
        values = [row[column.name] for row in self._rows]
        texts = [text or "—" for text in self._texts(column, values)]
        keys = quoted([row["id"] for row in self._rows])
        begin, (records, ending) = _begin(column, title, values, texts), _escaped([self._records, self._ending])
        pattern = f'{begin.pattern}<a href="{_fixed(records)}%s{_fixed(ending)}"><bdi>%s</bdi></a></td>\n'
        return _Written(pattern, [*begin.parts, keys, _escaped(texts)])

    def _moving(self, first: Column) -> list[str]:
        """The HTML of the cells that move the records of the rows on."""
        pairs = zip(self._rows, self._names(first), strict=True)
        return [f'<td class="act">{self._moves.html(row, name)}</td>\n' for row, name in pairs]

    def _names(self, first: Column) -> list[str]:
        """What the rows are called by their first cells."""
        return [text or "—" for text in self._texts(first, [row[first.name] for row in self._rows])]

    def _texts(self, column: Column, values: Sequence[Json]) -> list[str]:
        texts = self._locale.texts(column, values)
        return list(map(_short, texts)) if max(map(len, texts), default=0) > _ROOM else texts


def _targets(url: Callable[[str], str], values: Sequence[Json]) -> list[str]:
    """Where each of the values leads; [] if none leads anywhere."""
    kinds = set(map(type, values))
    if kinds <= _NUMBERS or (kinds <= _TEXTS and not any(map("".join(filter(None, values)).__contains__, _SCHEMES))):
        return []
    found = [target(url, value) for value in values]
    return found if any(found) else []


def _begin(column: Column, title: str, values: Sequence[Json], texts: Sequence[str]) -> _Written:
    """The tags that cells begin with: their classes, and the title of the column, which a phone shows before the value."""
    kind, heading = _named(column.format, title)
    classes = _classes(column, kind, values, texts)
    if len(set(classes)) == 1:
        return _Written(_fixed(f'      <td class="{classes[0]}"{heading}>'), [])
    return _Written(f'      <td class="%s"{_fixed(heading)}>', [classes])


def _classes(column: Column, kind: str, values: Sequence[Json], texts: Sequence[str]) -> list[str]:
    """Of cells with values of this kind: how wide each is, and whether it is a number."""
    if column.badges:
        badges = [column.badges.get(reading.word(value), "") for value in values]
        return [f"state {badge}".rstrip() if text else "" for text, badge in zip(texts, badges, strict=True)]
    kinds, number = set(map(type, values)), "num " + kind
    if kind in column_formats.NUMERIC or (kinds <= _NUMBERS and not column.titles):
        return [number] * len(values)
    long, longest = "long " + kind, max(map(len, texts), default=0)
    widths = [long if len(text) > _LONG else kind for text in texts] if longest > _LONG else [kind] * len(texts)
    if column.titles or kinds <= _NO_NUMBERS:
        return widths
    return [number if _is_numeric(column, value) else width for value, width in zip(values, widths, strict=True)]


@lru_cache(maxsize=1024)
def _named(format_: str, title: str) -> tuple[str, str]:
    """The kind of a column's values, and the attribute with its title, as HTML."""
    kind, heading = _escaped([format_.partition(":")[0], title])
    return kind, f' data-of="{heading}"' if title else ""


def _fixed(text: str) -> str:
    """A text that stands as it is in a pattern."""
    return text.replace("%", "%%")


def _escaped(texts: Sequence[str]) -> list[str]:
    """The texts as the templates escape them: all in one go, with NUL between them, which no text of a page has."""
    from bottle import html_escape

    made: list[str] = html_escape("\0".join(texts)).split("\0")
    return made if len(made) == len(texts) else list(map(html_escape, texts))


def _is_numeric(column: Column, value: Json) -> bool:
    """Whether a value is shown as a number; what has a title is a word, even if a number stands for it."""
    return isinstance(value, int | float | Decimal) and not isinstance(value, bool) and not column.titles


def _short(text: str) -> str:
    """What stands in the cell of a list, where the whole may have any length."""
    return text if len(text) <= _ROOM else text[: _ROOM - 1].rstrip() + "…"
