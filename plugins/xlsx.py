"""The XLSX format: lists as workbooks, for people who go on with them in a spreadsheet."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from functools import partial
from tempfile import SpooledTemporaryFile, TemporaryDirectory
from typing import IO, TYPE_CHECKING, Any, NamedTuple, cast

import app
from app import CHUNK_BYTES, LOST, BadRequest, Column, Exchange, Format, Json, Response, Table

if TYPE_CHECKING:
    from plugins import column_formats as formats
    from plugins import tallies, totals
    from plugins.locale import Locale
else:
    formats, tallies, totals = map(app.plugin, ("column_formats", "tallies", "totals"))

# ==== 1. XLSX ====================================================================================================
# A list as one sheet, written row by row in constant memory: numbers, days and moments are cells of their own kind, and a
# text is always a text, whatever it begins with.
# uses: ERRORS VALUES CONTRACTS RUNNERS plugin:column_formats plugin:import_files plugin:list_facts plugin:locale
#       plugin:reserve plugin:tallies plugin:totals
# defines: Format:xlsx MOST_ROWS MOST_LETTERS XLSX_MEDIA Xlsx

MOST_ROWS = 1_048_576  # of a sheet, its heading among them
MOST_LETTERS = 32_767  # of a cell, as UTF-16 counts them
XLSX_MEDIA = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
_IN_MEMORY_BYTES = 1024 * 1024  # of the finished workbook; what is larger goes to a temporary file
_MOST_EXACT = 10**15  # of a number: spreadsheets show and keep fifteen digits
_FIRST_DAY = date(1900, 3, 1)  # before it spreadsheets count a day that never was
_NOT_IN_XML = re.compile("[\ud800-\udfff\ufffe\uffff]")  # control characters are written as _x0007_
_NOT_IN_NAMES = re.compile(r"[\[\]:*?/\\\x00-\x1f]")
_LONGEST_NAME = 31  # of a sheet
_NARROW, _WIDE = 8, 60  # characters of a column
_MEASURED = 500  # rows by which the widths of columns go
_MOST_SAID = 30_000  # letters of a fact
_MOST_CUT = 1000  # cells that are named as cut
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_CLOCK = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])(?::([0-5][0-9]))?")
# Numbers of formats, of which a spreadsheet writes days and moments as its own reader's language does.
_STYLES = {"date": 14, "date-time": 22, "time": 20, "seconds": 21, "integer": 1}


class Xlsx(Format):
    kind = "xlsx"
    media = XLSX_MEDIA
    subjects = frozenset({"table"})
    whole = True
    reads = frozenset({XLSX_MEDIA})

    def load(self, exchange: Exchange, resource: str) -> Json:
        return cast(Json, app.plugin("import_files").received(exchange))

    def dump(self, exchange: Exchange, response: Response) -> Iterator[bytes]:
        """Nothing is sent before the workbook is whole: a zip archive says at its end what is in it."""
        table, title = cast(Table, response.table), str(response.page.get("title", ""))
        with SpooledTemporaryFile(_IN_MEMORY_BYTES) as file:
            _write(cast(IO[bytes], file), table, title, exchange, response)
            file.seek(0)
            yield from iter(partial(file.read, CHUNK_BYTES), b"")


class _Cut(NamedTuple):
    """A cell that holds the beginning of a longer text; row and column count from zero."""

    row: int
    column: int
    letters: int


def _write(file: IO[bytes], table: Table, title: str, exchange: Exchange, response: Response) -> None:
    """The rows of a table as a workbook. Raises BadRequest if they do not fit into a sheet."""
    from xlsxwriter import Workbook

    with TemporaryDirectory() as folder:  # where the rows wait for the end, whatever happens
        book = Workbook(file, {"constant_memory": True, "tmpdir": folder})
        locale, name = exchange.locale, _sheet_name(title)
        sheet = _Sheet(book, name, table.columns, locale, tallies.Lines(table))
        try:
            sheet.fill(locale.labelled(table.columns, table.rows))
        except BaseException:
            sheet.close()
            raise
        about = book.add_worksheet(_sheet_name(locale.t("facts.sheet"), apart_from=name))
        _say(about, book.add_format({"bold": True}), exchange, response, sheet.cut)
        book.close()


def _say(sheet: Any, bold: Any, exchange: Exchange, response: Response, cut: Sequence[_Cut]) -> None:
    """The second sheet: what the list is, and which cells of it are cut."""
    from xlsxwriter.utility import xl_rowcol_to_cell

    sheet.set_column(0, 0, 20)
    sheet.set_column(1, 1, 100)
    row, before = -1, ""
    for row, (what, words) in enumerate(app.plugin("list_facts").facts(exchange, response)):
        sheet.write_string(row, 0, "" if what == before else what, bold)
        sheet.write_string(row, 1, _NOT_IN_XML.sub(LOST, words)[:_MOST_SAID])
        before = what
    for number, one in enumerate(cut, row + 2):
        cell = xl_rowcol_to_cell(one.row, one.column)
        sheet.write_string(number, 1, exchange.locale.t("xlsx.cut", cell=cell, n=one.letters, most=MOST_LETTERS))


def _sheet_name(title: str, apart_from: str = "") -> str:
    """What a sheet may be called: at most 31 letters, some of them not, not in quotes and not as another one."""
    name = _NOT_IN_NAMES.sub(" ", _NOT_IN_XML.sub("", title))
    name = " ".join(name.split()).encode("utf-16-le")[: 2 * _LONGEST_NAME].decode("utf-16-le", "ignore").strip("' ")
    if not name or name.casefold() in ("history", apart_from.casefold()):  # which Excel keeps for itself
        name = f"{name[:29]} 1".strip()
    return name


class _Sheet:
    """The sheet that the rows are written to."""

    def __init__(self, book: Any, name: str, columns: Sequence[Column], locale: Locale, lines: tallies.Lines) -> None:
        self._sheet, self._columns, self._locale = book.add_worksheet(name), columns, locale
        self._styles = {name: book.add_format({"num_format": number}) for name, number in _STYLES.items()}
        self._heading = book.add_format({"bold": True, "bottom": 1})
        self._book, self._widths = book, [0] * len(columns)
        self._codes = [formats.number_code(locale, one.format) for one in columns]
        self._numbers = [book.add_format({"num_format": code}) if code else None for code, _ in self._codes]
        self._lines = lines
        self.cut: list[_Cut] = []

    def fill(self, rows: Any) -> None:
        """Write the heading and all rows, which are read once."""
        for place, column in enumerate(self._columns):
            zone = f" ({self._locale.zone_name})" if column.format == "date-time" else ""
            self._text(0, place, self._locale.heading(column) + zone, self._heading)
        number = 0
        for row, behind in self._lines.among(rows):
            number += 1
            if number >= MOST_ROWS:
                words = "a sheet holds a heading and {:,} rows, and this list has more: filter it, or take it as CSV"
                raise BadRequest(words.format(MOST_ROWS - 1))
            if number % 5000 == 0:
                app.plugin("reserve").check_scratch("writing a workbook")
            self._row(number, row)
            for line in behind:
                number += 1
                self._line(number, line, {"bold": True})
        for place, line in enumerate(self._lines.below(), 1):
            self._line(number + place, line, {"bold": True, "top": 1} if place == 1 else {"bold": True})
        self._sheet.freeze_panes(1, 0)
        if self._columns:
            self._sheet.autofilter(0, 0, number, len(self._columns) - 1)
        for place, width in enumerate(self._widths):
            self._sheet.set_column(place, place, min(max(width + 2, _NARROW), _WIDE))

    def close(self) -> None:
        """Give up what was written."""
        self._sheet.row_data_fh.close()

    def _row(self, number: int, row: Mapping[str, Json]) -> None:
        for place, column in enumerate(self._columns):
            value = row[column.name]
            if value is not None and not self._typed(number, place, column, value):
                self._text(number, place, self._locale.show(column, value))

    def _line(self, number: int, line: tallies.Line, edge: Mapping[str, Any]) -> None:
        """A line of totals, with values and not with formulas, so that they are those of the page."""
        label, words = line.label(self._locale, self._columns)
        if label is not None:
            self._text(number, label, words, self._book.add_format(edge))
        for place, column in enumerate(self._columns):
            if place != label and (value := line.totals.get(column.name)) is not None:
                self._total(number, place, value, edge)

    def _total(self, row: int, place: int, value: Json, edge: Mapping[str, Any]) -> None:
        column, (code, divisor) = self._columns[place], self._codes[place]
        if column.total == "count" or not code:
            code, divisor = "", 1
        style = {**edge, **({"num_format": code} if code else {})}
        if isinstance(value, int | float | Decimal) and not isinstance(value, bool) and _fits(code, value):
            self._measure(row, place, len(totals.written(self._locale, column, value)))
            self._sheet.write_number(row, place, value / divisor if divisor != 1 else value, self._book.add_format(style))
        elif isinstance(value, str) and (found := self._moment(column.format, value)):
            dated = self._book.add_format({**edge, "num_format": _STYLES[found[0]]})
            self._sheet.write_datetime(row, place, found[1], dated)
        else:
            self._text(row, place, totals.written(self._locale, column, value), self._book.add_format(style))

    def _typed(self, row: int, place: int, column: Column, value: Json) -> bool:
        """Write a value that has a kind of cell of its own; whether it has."""
        if isinstance(value, list | dict) or (column.titles and value in column.titles):
            return False
        if isinstance(value, bool):
            self._measure(row, place, 5)
            self._sheet.write_boolean(row, place, value)
        elif isinstance(value, int | float | Decimal):
            return _fits(self._codes[place][0], value) and self._number(row, place, column, value)
        elif type(value) is str and (found := self._moment(column.format, value)):
            style, moment = found
            self._measure(row, place, 16 if style == "date-time" else 10)
            self._sheet.write_datetime(row, place, moment, self._styles[style])
        else:
            return False
        return True

    def _number(self, row: int, place: int, column: Column, value: float | Decimal) -> bool:
        (code, divisor), style = self._codes[place], self._numbers[place]
        if column.format in ("date", "date-time"):  # Unix seconds
            text = formats.moment_of(value)
            return bool(text) and self._typed(row, place, column, text)
        if not code:
            style = self._styles["integer"] if isinstance(value, int) else None
        self._measure(row, place, len(self._locale.show(column, value) if code and row <= _MEASURED else str(value)))
        self._sheet.write_number(row, place, value if divisor == 1 else value / divisor, style)
        return True

    def _moment(self, format_: str, text: str) -> tuple[str, date | time] | None:
        """The style and the value of a day, a moment by the clocks of the reader's zone, or a time of day; None if a sheet
        has no cell for it."""
        if format_ == "date" and len(text) > 10 and (local := self._locale.local(text)):
            text = local.date().isoformat()
        try:
            if format_ == "date" and _DAY.fullmatch(text) and (day := datetime.fromisoformat(text)).date() >= _FIRST_DAY:
                return "date", day
        except ValueError:
            return None
        if format_ == "date-time" and (local := self._locale.local(text)) and local.date() >= _FIRST_DAY:
            return "date-time", local.replace(tzinfo=None)
        if format_ == "time" and (clock := _CLOCK.fullmatch(text)):
            return "seconds" if clock[3] else "time", time(int(clock[1]), int(clock[2]), int(clock[3] or 0))
        return None

    def _text(self, row: int, place: int, text: str, style: Any = None) -> None:
        text = _NOT_IN_XML.sub(LOST, text.replace("\r\n", "\n"))
        units = len(text) if text.isascii() else len(text.encode("utf-16-le")) // 2
        if units > MOST_LETTERS:
            text = text.encode("utf-16-le")[: 2 * (MOST_LETTERS - 1)].decode("utf-16-le", "ignore") + "…"
            if len(self.cut) < _MOST_CUT:
                self.cut.append(_Cut(row, place, units))
        self._measure(row, place, max(map(len, text[:2000].split("\n"))))
        self._sheet.write_string(row, place, text, style)

    def _measure(self, row: int, place: int, width: int) -> None:
        if row <= _MEASURED and width > self._widths[place]:
            self._widths[place] = width


def _fits(code: str, value: int | float | Decimal) -> bool:
    """Whether a cell with this number format shows a number as it is: of a time below zero it shows signs alone."""
    return _is_exact(value) and not (code.startswith("[h]") and value < 0)


def _is_exact(value: int | float | Decimal) -> bool:
    """Whether a spreadsheet keeps all digits of a number: it has fifteen."""
    if isinstance(value, Decimal):
        return value.is_finite() and len(value.normalize().as_tuple().digits) <= 15 and abs(value.adjusted()) < 300
    return isinstance(value, float) or abs(value) < _MOST_EXACT
