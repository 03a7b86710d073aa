"""The filters of lists: what `column=text` and `column__op=text` of an address mean."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from app import BadRequest, Column, Condition, Fault, Json, Unread, plugin, rfc3339

if TYPE_CHECKING:
    from plugins import fields
else:
    fields = plugin("fields")

# ==== 1. FILTERS =================================================================================================
# Every list reads its filters here: records, views, and those of the administration. What is left empty asks for nothing,
# since a page's form sends all of its controls.
# uses: ERRORS VALUES plugin:fields
# defines: MOMENT conditions is_empty parts

MOMENT = "moment"  # the format of SQL columns with times: texts, which may have no zone
_DAYS = ("eq", "gte", "gt", "lte", "lt")  # operators that take a day for a column of times
_BEGINS = re.compile(r"[0-9]{4}(-[0-9]{2}){0,2}")  # what a date may begin with


def conditions(name: str, text: str, column: Column, locale: Any) -> list[Condition]:
    """What `column__op=text` asks for, with the text read by the column's type. Raises BadRequest if it is no such value."""
    op = name.rpartition("__")[2] if "__" in name else "eq"
    if is_empty(op, text, column):
        return []
    if text == "null" and op in ("eq", "ne") and column.type != "string":
        return [Condition(column.name, "null", op == "eq")]
    if op == "null":
        return [Condition(column.name, op, _truth(name, text, column))]
    if op in ("contains", "prefix"):
        return [Condition(column.name, op, text)]
    if column.format in ("date-time", MOMENT) and op in _DAYS and (day := _day(text, locale)):
        return _on_days(column, op, day, locale)
    if op == "in":
        return [Condition(column.name, op, [_value(name, part, column, locale) for part in parts(text, column.titles)])]
    return [Condition(column.name, op, _value(name, text, column, locale))]


def is_empty(op: str, text: str, column: Column) -> bool:
    """Whether a filter asks for nothing. A text may be asked for that is empty."""
    return not text and (column.type != "string" or op not in ("", "eq", "ne", "prefix"))


def parts(text: str, known: Iterable[Json]) -> list[str]:
    """The values of a list with commas between them; one that has commas itself is known, or in double quotes."""
    return fields.of_commas(text, known)


def _refused(name: str, text: str, column: Column, what: str) -> BadRequest:
    return BadRequest(f"{name} is {text!r}: {column.name} {what}", faults=[Fault(f"/{name}", "filter", what)])


def _truth(name: str, text: str, column: Column) -> bool:
    if text not in ("true", "false"):
        what = "is true or false"
        raise BadRequest(f"{name} is {text!r}: write true or false", faults=[Fault(f"/{name}", "filter", what)])
    return text == "true"


def _day(text: str, locale: Any) -> date | None:
    """The day that a text names; None if it is none, or one with a time."""
    read = locale.read_date(text)
    return None if isinstance(read, Unread) else date.fromisoformat(read)


def _on_days(column: Column, op: str, day: date, locale: Any) -> list[Condition]:
    """A day compared with times: it lasts until the next one begins, where the site is."""

    def begin(apart: int) -> str:
        try:
            there = day + timedelta(days=apart)
            if column.format == MOMENT:
                return there.isoformat()
            return rfc3339(datetime(there.year, there.month, there.day, tzinfo=locale.zone).timestamp())
        except (OverflowError, ValueError):  # beyond the years that times have
            return "9999-12-31T23:59:59Z" if apart else "0001-01-01T00:00:00Z"

    edges = {"gte": [("gte", 0)], "gt": [("gte", 1)], "lte": [("lt", 1)], "lt": [("lt", 0)], "eq": [("gte", 0), ("lt", 1)]}
    return [Condition(column.name, to, begin(apart)) for to, apart in edges[op]]


def _value(name: str, text: str, column: Column, locale: Any) -> Json:
    """As a program writes it, or else as a person does."""
    if column.type == "boolean":
        return _truth(name, text, column)
    if column.format == "date-time":
        return _moment(name, text, column, locale)
    if column.format == "date":
        read = locale.read_date(text)
        if isinstance(read, Unread) and not _BEGINS.match(text):
            raise _refused(name, text, column, fields.FORMAT_HELP["date"])
        return text if isinstance(read, Unread) else read
    if column.type not in ("number", "integer"):
        return text
    if fields.is_number(text):
        return fields.number_of(text)
    number = locale.read_number(text, whole=column.type == "integer")
    if number is None or isinstance(number, Unread):
        raise _refused(name, text, column, number.reason if number else "is a number")
    return number


def _moment(name: str, text: str, column: Column, locale: Any) -> str:
    moment = fields.with_plus(text)
    if fields.FORMATS["date-time"](moment):
        return moment
    read = locale.read_date_time(text)
    if isinstance(read, Unread):
        raise _refused(name, text, column, fields.FORMAT_HELP["date-time"])
    return str(read)
