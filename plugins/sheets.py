"""Spreadsheets that are read: CSV in the encodings and with the separators that people's programs write, and XLSX."""

from __future__ import annotations

import codecs
import io
import re
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from datetime import date, datetime, time, timedelta
from itertools import islice
from typing import Any, BinaryIO, ClassVar, NamedTuple, TypeAlias, cast

from app import AppError, BadRequest, how_many, in_units, nearest

# ==== 1. SHEETS ==================================================================================================
# A file is read row by row, in memory that does not grow with it: of a workbook, only the texts that its cells share are
# held as a whole, and how many they may be is bounded before it is opened.
# uses: ERRORS VALUES CONFIG RESOURCES
# defines: ENCODINGS SEPARATORS MOST_COLUMNS Flaw Unsaved Cell is_blank Layout Sheet open_sheet CsvSheet XlsxSheet

ENCODINGS = ("utf-8", "utf-16", "cp1252")  # that are found out; what else Python calls one of them is one of them
SEPARATORS = {",": ",", ";": ";", "tab": "\t", "|": "|"}
MOST_COLUMNS = 1000
_SAMPLE_BYTES = 65_536
_SAMPLE_ROWS = 50
_CHUNK = 1 << 20
_LAST_ROW = 1_048_576  # of a worksheet
_ALIASES = {
    "iso8859-1": "cp1252",
    "iso8859-15": "cp1252",
    "utf-8-sig": "utf-8",
    "utf-16-le": "utf-16",
    "utf-16-be": "utf-16",
}
_SHEETS = "xl/worksheets/"  # parts of an archive that are read row by row; every other part may be read as a whole
_MOST_SHEETS_BYTES, _MOST_OTHERS_BYTES = 512 << 20, 64 << 20  # that they unpack to
_MOST_RATIO, _LARGE_BYTES = 200, 8 << 20  # bytes for each byte of a large part: tables need a tenth of that
_MOST_PARTS = 10_000

# What it says of styles and extensions that it passes over is for nobody here.
warnings.filterwarnings("ignore", module="openpyxl")


class Flaw(str):
    """What a cell shows in place of a value: an error of the spreadsheet, such as #N/A."""


class Unsaved(Flaw):
    """A formula whose value was not stored with it: the program that wrote the file did not calculate."""


Cell: TypeAlias = "str | int | float | bool | datetime | date | time | timedelta | None"


def is_blank(cell: Cell) -> bool:
    return cell is None or (isinstance(cell, str) and not cell.strip())


class Layout(NamedTuple):
    """How a file is to be read; "" is to be found out."""

    encoding: str = ""
    separator: str = ""  # a key of SEPARATORS
    sheet: str = ""


class Sheet:
    """The rows of a file, to be gone through as often as one likes."""

    kind: ClassVar[str]
    encoding = separator = sheet = ""  # as it is read
    sheets: Sequence[str] = ()  # of a workbook, those that are shown
    is_sure = True  # whether the encoding was named, or follows from the bytes

    def rows(self) -> Iterator[tuple[int, list[Cell]]]:
        """(number, cells) of every row that is not blank; the first row is 1. Raises BadRequest where it cannot be read."""
        raise NotImplementedError


def open_sheet(file: BinaryIO, layout: Layout) -> Sheet:
    """A file by what is in it, whatever it is called. Raises BadRequest if it is neither CSV nor XLSX."""
    file.seek(0)
    head = file.read(8)
    if head.startswith(b"\xd0\xcf\x11\xe0"):
        raise BadRequest("the file is an old .xls, or protected by a password: save it as .xlsx without one, or as CSV")
    if head.startswith(b"PK\x03\x04"):
        return XlsxSheet(file, layout)
    if head.startswith(b"%PDF"):
        raise BadRequest("the file is a PDF: save the table as CSV or .xlsx")
    return CsvSheet(file, layout)


# ---- CSV


class CsvSheet(Sheet):
    """Rows of text, as RFC 4180 and what spreadsheets make of it."""

    kind = "csv"

    def __init__(self, file: BinaryIO, layout: Layout) -> None:
        self._file = file
        self._codec, self.is_sure = _named_codec(layout.encoding, file) if layout.encoding else _found_codec(file)
        self.encoding = _common(self._codec)
        sample, says = self._sample()
        self._skips = bool(says)
        self.separator = layout.separator or says or _found_separator(sample)
        _check_separator(self.separator)

    def _lines(self) -> Iterator[str]:
        """Decoded lines with their ends, a lone CR among them."""
        self._file.seek(0)
        errors = "replace" if self._codec == "cp1252" else "strict"
        text = io.TextIOWrapper(cast(Any, self._file), self._codec, errors=errors, newline="")
        try:
            for line in text:  # noqa: UP028 (closing "yield from" would close the file)
                yield line
        finally:
            text.detach()

    def _sample(self) -> tuple[list[str], str]:
        """The first lines, and the separator that Excel's first line "sep=;" names; "" without one."""
        try:
            lines = list(islice(self._lines(), _SAMPLE_ROWS))
        except UnicodeError:
            return [], ""
        said = re.fullmatch(r"\"?sep=(.)\"?\r?\n?", lines[0], re.IGNORECASE) if lines else None
        return (lines[1:], {sign: name for name, sign in SEPARATORS.items()}.get(said[1], "")) if said else (lines, "")

    def rows(self) -> Iterator[tuple[int, list[Cell]]]:
        import csv

        number = 0
        lines = self._lines()
        reader = csv.reader(lines, delimiter=SEPARATORS[self.separator], strict=True)
        try:
            for number, row in enumerate(reader, 1):
                if any(map(str.strip, row)) and not (number == 1 and self._skips):
                    yield number, cast("list[Cell]", _checked(row, number))
        except csv.Error as error:
            why = "a quotation mark is not closed there or stands inside a quoted cell, or a cell is too long"
            raise BadRequest(f"the file cannot be read after row {number}: {why}") from error
        except UnicodeError as error:
            raise BadRequest(f"the file is not {self.encoding} after row {number}: name its encoding") from error
        finally:
            lines.close()  # type: ignore[attr-defined]


def _check_separator(name: str) -> None:
    if name not in SEPARATORS:
        raise BadRequest(f"separator is {name!r}: write one of {' '.join(SEPARATORS)}")


def _checked(row: list[Any], number: int) -> list[Any]:
    if len(row) > MOST_COLUMNS:
        raise BadRequest(f"row {number} has {len(row):,} cells; at most {MOST_COLUMNS:,} are read")
    return row


def _named_codec(name: str, file: BinaryIO) -> tuple[str, bool]:
    try:
        known = codecs.lookup(name).name
    except LookupError:
        known = ""
    common = _common(known)
    if common not in ENCODINGS:
        raise BadRequest(f"encoding is {name!r}: write one of {', '.join(ENCODINGS)}{nearest(name, ENCODINGS)}")
    found, _ = _found_codec(file)
    if _common(found) == common:  # with its mark, and the order of its bytes
        return found, True
    return {"utf-16": known if known != "utf-16" else "utf-16-le"}.get(common, common), True


def _common(codec: str) -> str:
    return _ALIASES.get(codec, codec)


def _has_zeros(half: bytes) -> bool:
    """Whether these are the upper bytes of UTF-16: letters of European languages have a zero there."""
    return half.count(0) * 5 > len(half) * 2


def _found_codec(file: BinaryIO) -> tuple[str, bool]:
    """What the bytes are, and whether they say so; any bytes could be cp1252."""
    file.seek(0)
    sample = file.read(_SAMPLE_BYTES)
    if sample.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16", True
    if _has_zeros(sample[1::2]):
        return "utf-16-le", True
    if _has_zeros(sample[::2]):
        return "utf-16-be", True
    decoder = codecs.getincrementaldecoder("utf-8")()
    file.seek(0)
    try:
        while chunk := file.read(_CHUNK):
            decoder.decode(chunk)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return "cp1252", False
    return ("utf-8-sig" if sample.startswith(codecs.BOM_UTF8) else "utf-8"), True


def _widths(lines: Sequence[str], sign: str) -> list[int]:
    """How many cells each row has by a separator; [] if it cannot be that one."""
    import csv

    try:
        return [len(row) for row in csv.reader(lines, delimiter=sign) if row]
    except csv.Error:
        return []


def _found_separator(lines: Sequence[str]) -> str:
    """The one by which most of the first rows have as many cells as each other."""
    best, chosen = (0.0, 1), ","
    for name, sign in SEPARATORS.items():
        widths = _widths(lines, sign)
        usual = max(set(widths), key=widths.count, default=1)
        if usual > 1 and (score := (widths.count(usual) / len(widths), usual)) > best:
            best, chosen = score, name
    return chosen


# ---- XLSX


class XlsxSheet(Sheet):
    """Rows of one sheet of a workbook; of a formula, the value that was stored with it."""

    kind = "xlsx"

    def __init__(self, file: BinaryIO, layout: Layout) -> None:
        self._file = file
        _check_archive(file)
        book = self._opened()
        try:
            shown = [one.title for one in book.worksheets if one.sheet_state == "visible"]
            self.sheets = shown or [one.title for one in book.worksheets]
            every = [one.title for one in book.worksheets]
        finally:
            book.close()
        if not every:
            raise BadRequest("the workbook has no sheet with cells")
        self.sheet = layout.sheet or self.sheets[0]
        if self.sheet not in every:
            raise BadRequest(f"the workbook has no sheet {self.sheet!r}{nearest(self.sheet, every)}")

    def _opened(self, *, values: bool = True) -> Any:
        """The workbook, with formulas in place of their values if those are not asked for."""
        from openpyxl import load_workbook

        self._file.seek(0)
        try:
            return load_workbook(self._file, read_only=True, data_only=values, keep_links=False)
        except Exception as error:  # whatever is in it, and the library does not expect
            raise BadRequest("the workbook is damaged, or no .xlsx: open it and save it again") from error

    def rows(self) -> Iterator[tuple[int, list[Cell]]]:
        book, number, formulas = self._opened(), 0, None
        try:
            formulas = self._opened(values=False) if self._has_formulas(book[self.sheet]) else None
            for number, cells in enumerate(self._cells(book, formulas), 1):
                if number > _LAST_ROW:
                    raise BadRequest(f"the sheet names rows beyond {_LAST_ROW:,}, the last that there can be: save it again")
                if cells:
                    yield number, _checked(cells, number)
        except (AppError, GeneratorExit):
            raise
        except Exception as error:
            raise BadRequest(f"the workbook is damaged after row {number}: open it and save it again") from error
        finally:
            book.close()
            if formulas:
                formulas.close()

    def _cells(self, book: Any, formulas: Any) -> Iterator[list[Cell]]:
        """The cells of each row; of formulas their values, or that they have none."""
        sheet = book[self.sheet]
        sheet.reset_dimensions()  # which programs write as they like
        if not formulas:
            yield from (_without_end([_value(cell) for cell in row]) for row in sheet.iter_rows())
            return
        other = formulas[self.sheet]
        other.reset_dimensions()
        for row, said in zip(sheet.iter_rows(), other.iter_rows(), strict=True):
            yield _without_end([_calculated(cell, one) for cell, one in zip(row, said, strict=True)])

    def _has_formulas(self, sheet: Any) -> bool:
        """Whether a sheet has formulas at all: to read it twice takes time."""
        with zipfile.ZipFile(self._file) as archive, archive.open(sheet._worksheet_path) as part:
            return _has_any(part, (b"<f>", b"<f "))


def _has_any(file: Any, marks: Sequence[bytes]) -> bool:
    """Whether one of these marks of three bytes is in a file."""
    end = b""
    while chunk := file.read(_CHUNK):
        if any(mark in end + chunk for mark in marks):
            return True
        end = chunk[-2:]
    return False


def _value(cell: Any) -> Cell:
    value: Cell = cell.value
    return Flaw(value) if cell.data_type == "e" else value


def _calculated(cell: Any, formula: Any) -> Cell:
    """The value of a cell, which may be that of a formula."""
    is_missing = formula.data_type == "f" and cell.value is None
    return Unsaved(formula.value if isinstance(formula.value, str) else "=") if is_missing else _value(cell)


def _without_end(cells: list[Cell]) -> list[Cell]:
    while cells and is_blank(cells[-1]):
        cells.pop()
    return cells


def _check_archive(file: BinaryIO) -> None:
    """Raises BadRequest for what is no workbook, and for one that unpacks to more than is read."""
    try:
        with zipfile.ZipFile(file) as archive:
            parts = archive.infolist()
            if "mimetype" in archive.namelist():
                raise BadRequest("the file is an OpenDocument: save it as .xlsx or as CSV")
            if "xl/workbook.xml" not in archive.namelist():
                raise BadRequest("the file is an archive and no workbook: send an .xlsx or CSV")
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise BadRequest("the workbook is damaged: open it and save it again") from error
    _check_size(parts)


def _check_size(parts: Sequence[zipfile.ZipInfo]) -> None:
    """Raises BadRequest if an archive unpacks to more than is read."""
    if len(parts) > _MOST_PARTS:
        raise BadRequest(f"the workbook has {how_many(len(parts), 'part')}; at most {_MOST_PARTS:,} are read")
    sheets = sum(one.file_size for one in parts if one.filename.startswith(_SHEETS))
    others = sum(one.file_size for one in parts) - sheets
    if any(map(_is_bomb, parts)) or sheets > _MOST_SHEETS_BYTES or others > _MOST_OTHERS_BYTES:
        size = in_units(sheets + others)
        raise BadRequest(f"the workbook unpacks to {size}, which is more than is read: save the sheet as CSV")


def _is_bomb(part: zipfile.ZipInfo) -> bool:
    return part.file_size > max(_LARGE_BYTES, _MOST_RATIO * part.compress_size)
