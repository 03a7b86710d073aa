"""Cells of a spreadsheet as values of a form's fields, as people write them or as programs do."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime, time, timedelta
from typing import TYPE_CHECKING, Any

import app
from app import BadRequest, Form, Json, Unread, Value, load_json

if TYPE_CHECKING:
    from plugins import fields, sheets
    from plugins.fields import Field
    from plugins.sheets import Cell
else:
    fields, sheets = app.plugin("fields"), app.plugin("sheets")

# ==== 1. CELLS ===================================================================================================
# What a person typed is read as a form reads it, by the page's language; what a program wrote, by the rules of JSON. In a
# workbook numbers, days and times are cells of their own kind for both. What is no value stays a text, which no field takes.
# uses: ERRORS VALUES RESOURCES plugin:fields plugin:options plugin:sheets
# defines: same_heading known_headings Reading

_NUMERIC = ("number", "integer")
_MOST_FOUND = 10_000  # texts whose choices are remembered
_TRUE, _FALSE = ("true", "1", "x", "✓", "✔"), ("false", "0")


def same_heading(text: Any) -> str:
    """A heading in the form in which headings are compared: "Price *" and "price" are one, "At (Europe/Oslo)" is "At"."""
    plain = re.sub(r"\s*\([A-Za-z_]+(/[A-Za-z_ ]+)+\)$|\s*\(UTC\)$|[\s:*]+$", "", str(text).strip())
    return " ".join(plain.replace("_", " ").split()).casefold()


def known_headings(form: Form) -> Mapping[str, str]:
    """What may stand above a column, and the name of the column that it means: names first, then titles in the reader's
    language."""
    found: dict[str, str] = {}
    for column in form.columns:
        found.setdefault(same_heading(column.name), column.name)
    for column in form.columns:
        found.setdefault(same_heading(form.locale.heading(column)), column.name)
    return found


class Reading:
    """Makes the data of a record of the cells of a row."""

    def __init__(self, form: Form, columns: Sequence[str], for_people: bool) -> None:
        """`columns` are the names of the fields in the order of the cells; "" for those that are left out."""
        self._form, self._locale, self._for_people = form, form.locale, for_people
        self._found: dict[tuple[str, str], Json] = {}  # what texts of fields mean that are looked up
        self._columns = [(place, name, form.fields.get(name)) for place, name in enumerate(columns) if name]
        self.width = len(columns)
        self._words = self._truths()

    def _truths(self) -> dict[str, bool]:
        t = self._locale.t
        yes, no = t("import.yes").split(), t("import.no").split()
        return dict.fromkeys([*_TRUE, *yes], True) | dict.fromkeys([*_FALSE, *no], False)

    def item(self, cells: Sequence[Cell]) -> Value:
        """The value of each column; None for a blank cell."""
        found: Value = {}
        for place, name, one in self._columns:
            cell = cells[place] if place < len(cells) else None
            if sheets.is_blank(cell):
                found[name] = None
            elif one is None:
                found[name] = str(cell).strip()  # an id
            else:
                found[name] = self._value(one, cell)
        return found

    def beyond(self, cells: Sequence[Cell]) -> str:
        """The first text in a cell that has no column; "" if there is none."""
        return next((str(cell) for cell in cells[self.width :] if not sheets.is_blank(cell)), "")

    def _value(self, one: Field, cell: Cell) -> Json:
        if isinstance(cell, sheets.Unsaved):
            return Unread(str(cell), self._locale.t("import.unsaved"))
        if isinstance(cell, sheets.Flaw):
            return Unread(str(cell), self._locale.t("import.flaw", text=str(cell)))
        if isinstance(cell, str):
            return self._of_text(one, cell)
        if isinstance(cell, bool):
            return cell if one.config.type == "boolean" else self._of_text(one, "true" if cell else "false")
        if isinstance(cell, int | float):
            return self._of_number(one, cell)
        return self._of_moment(one, cell)

    # -- texts

    def _of_text(self, one: Field, text: str) -> Json:
        if one.config.type == "array":
            return self._of_list(one, text)
        if (one.choices or one.looked_up) and (chosen := self._chosen(one, text)) is not None:
            return chosen
        if self._for_people:
            if one.config.type == "boolean":
                return self._words.get(text.strip().casefold(), text)
            return self._locale.read(one, [text])
        if one.config.type == "boolean":
            return {"true": True, "false": False}.get(text, text)
        if one.config.type in _NUMERIC and fields.is_number(text):
            return fields.number_of(text)
        return text

    def _chosen(self, one: Field, text: str) -> Json:
        """The choice whose value or title this is; None if there is none."""
        plain = text.strip()
        if one.looked_up:
            return self._looked_up(one, plain)
        by_value = next((value for value, _ in one.choices if str(value) == plain), None)
        if by_value is not None:
            return by_value
        return next((value for value, title in one.choices if title.strip().casefold() == plain.casefold()), None)

    def _looked_up(self, one: Field, plain: str) -> Json:
        """The same where choices come from elsewhere, which is asked once for each text. Raises Unavailable."""
        if len(self._found) > _MOST_FOUND:
            self._found.clear()
        if (one.name, plain) not in self._found:
            self._found[one.name, plain] = app.plugin("options").meant(self._form, one.name, plain)
        return self._found[one.name, plain]

    def _of_list(self, one: Field, text: str) -> Json:
        """A list in JSON, or its items between separators."""
        if text.lstrip().startswith("["):
            try:
                found = load_json(text)
            except BadRequest:
                return text
            return found if isinstance(found, list) else text
        if self._chosen(one, text) is not None:
            return [self._chosen(one, text)]
        sign = next((sign for sign in ("\n", ";", "|") if sign in text), ",")
        parts = [part.strip() for part in text.split(sign)]
        chosen = [(part, self._chosen(one, part)) for part in parts if part]
        return [part if value is None else value for part, value in chosen]

    # -- cells of other kinds

    def _of_number(self, one: Field, cell: int | float) -> Json:
        """A number with the fifteen digits that a spreadsheet shows."""
        number: int | float = cell
        if isinstance(cell, float):
            number = float(f"{cell:.15g}")
            number = int(number) if number.is_integer() and abs(number) < 2**53 else number
        if (one.choices or one.looked_up) and (chosen := self._chosen(one, str(number))) is not None:
            return chosen
        if one.config.type in _NUMERIC:
            return number
        if one.config.type == "boolean":
            return bool(number) if number in (0, 1) else str(number)
        if one.config.format in ("date", "date-time"):
            return self._locale.read(one, [str(number)])  # no day: it says so
        return self._of_text(one, self._locale.write_number(number) if self._for_people else str(number))

    def _of_moment(self, one: Field, cell: Any) -> Json:
        """A day, a time of day or both: by the clocks of the reader's zone."""
        if isinstance(cell, timedelta):
            cell = (datetime.min + cell).time() if timedelta() <= cell < timedelta(days=1) else str(cell)
        if isinstance(cell, str):
            return self._of_text(one, cell)
        if isinstance(cell, time):
            return _clock(cell)
        is_day = not isinstance(cell, datetime) or cell.time() == time()
        day = f"{cell:%Y-%m-%d}" if cell.year >= 1000 else f"{cell.year:04}-{cell:%m-%d}"
        if one.config.format == "date-time":
            return self._locale.read_date_time(f"{day} {_clock(cell.time()) if isinstance(cell, datetime) else '00:00'}")
        if one.config.format == "time" and isinstance(cell, datetime):
            return _clock(cell.time())
        return day if is_day or one.config.format == "date" else f"{day} {_clock(cell.time())}"


def _clock(moment: time) -> str:
    return f"{moment:%H:%M:%S}" if moment.second else f"{moment:%H:%M}"
