"""The cells of a page's table: each column's values as text for people, where they lead to, and their HTML."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

from app import Column, Json

if TYPE_CHECKING:
    from plugins.locale import Locale

# ==== 1. CELLS ===================================================================================================
# A page of 50 rows has hundreds of cells, and a template takes longer over them than all else takes. So each column gets
# a function once for a table, and the template gets the rows as one text.
# uses: VALUES plugin:locale
# defines: target Cell Rows

_SCHEMES = ("http", "mailto:")  # what the addresses begin with that `target` lets through
_ADDRESS = re.compile(r"(https?://|mailto:)\S+")
_LONGEST_ADDRESS = 4000
_ROOM, _LONG = 200, 36  # letters of a cell: the most that it shows, and from where on it is as wide as it may be


def target(url: Callable[[str], str], value: Json) -> str:
    """Where a shown value leads: a stored file to itself, an address that a browser may follow to there; "" for others."""
    if isinstance(value, dict) and "address" in value:
        return url(value["address"])
    if not isinstance(value, str) or not value.startswith(_SCHEMES) or len(value) >= _LONGEST_ADDRESS:
        return ""
    return value if _ADDRESS.fullmatch(value) else ""


class Cell(NamedTuple):
    """A cell as a template shows it."""

    text: str
    href: str  # "" if it leads nowhere
    numeric: bool
    kind: str  # the format of its column


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
    ) -> None:
        self._columns, self._rows, self._locale, self._url = columns, list(rows), locale, url
        self._records, self._ending = records and url(records), ending

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[list[Cell]]:
        for row in self._rows:
            cells = [self._cell(column, row[column.name]) for column in self._columns]
            if self._records:
                cells[0] = cells[0]._replace(text=cells[0].text or "—", href=self._record_href(row))
            yield cells

    def _cell(self, column: Column, value: Json) -> Cell:
        text = _short(self._locale.show(column, value))
        return Cell(text, target(self._url, value), _is_numeric(column, value), column.format)

    def _record_href(self, row: Mapping[str, Json]) -> str:
        return self._records + quote(str(row["id"]), safe="") + self._ending

    @property
    def html(self) -> str:
        cells = [self._compiled(column) for column in self._columns]
        if self._records:
            cells[0] = self._leading(self._columns[0])
        return "\n".join(["".join(["    <tr>\n", *[cell(row) for cell in cells], "    </tr>"]) for row in self._rows])

    def _compiled(self, column: Column) -> Callable[[Mapping[str, Json]], str]:
        """The function that writes the column's cell of a row."""
        name, url, text_of, markup = column.name, self._url, self._locale.writer(column), _markup(column)

        def cell(row: Mapping[str, Json]) -> str:
            value = row[name]
            text = text_of(value)
            if len(text) > _ROOM:
                text = _short(text)
            if type(value) is str and not value.startswith(_SCHEMES):  # as most are
                return markup(text, "", False)
            return markup(text, target(url, value), _is_numeric(column, value))

        return cell

    def _leading(self, column: Column) -> Callable[[Mapping[str, Json]], str]:
        """The function that writes the cell which leads to a row's record."""
        name, text_of, markup = column.name, self._locale.writer(column), _markup(column)

        def cell(row: Mapping[str, Json]) -> str:
            text = _short(text_of(row[name])) or "—"
            return markup(text, self._record_href(row), _is_numeric(column, row[name]))

        return cell


def _markup(column: Column) -> Callable[[str, str, bool], str]:
    """The function that writes the HTML of a column's cell, of its text, of where it leads to, and of whether it is a
    number."""
    from bottle import html_escape  # as the templates escape

    kind = html_escape(column.format)
    short, long, number = (f'      <td class="{width}{kind}">' for width in ("", "long ", "num "))

    def markup(text: str, href: str, numeric: bool) -> str:
        begin = number
        if not numeric:
            begin = long if len(text) > _LONG else short
        if href:
            return f'{begin}<a href="{html_escape(href)}"><bdi>{html_escape(text)}</bdi></a></td>\n'
        return f"{begin}<bdi>{html_escape(text)}</bdi></td>\n"

    return markup


def _is_numeric(column: Column, value: Json) -> bool:
    """Whether a value is shown as a number; what has a title is a word, even if a number stands for it."""
    return isinstance(value, int | float | Decimal) and not isinstance(value, bool) and not column.titles


def _short(text: str) -> str:
    """What stands in the cell of a list, where the whole may have any length."""
    return text if len(text) <= _ROOM else text[: _ROOM - 1].rstrip() + "…"
