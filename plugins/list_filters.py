"""The filters of lists: what `column=text` and `column__op=text` of an address mean."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from app import BadRequest, Column, Condition, Fault, Json, Unread, dump_json, plugin, rfc3339

if TYPE_CHECKING:
    from plugins import fields
else:
    fields = plugin("fields")

# ==== 1. FILTERS =================================================================================================
# Every list reads its filters here: records, views, and those of the administration. What is left empty asks for nothing,
# since a page's form sends all of its controls.
# uses: ERRORS VALUES plugin:column_formats plugin:fields
# defines: MOMENT DAY ITEM_OPERATORS Moment conditions is_empty plain as_typed of_items items parts

MOMENT, DAY = "moment", "day"  # the formats of SQL columns with times and with days, which may be stored in several ways
ITEM_OPERATORS = ("eq", "ne", "in", "contains", "null")  # that go with columns of lists
_DAYS = ("eq", "gte", "gt", "lte", "lt")  # operators that take a day for a column of times
_BEGINS = re.compile(r"[0-9]{4}(-[0-9]{2}){0,2}")  # what a date may begin with
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Moment(str):
    """What a column of a statement is compared with, as an RFC 3339 text: its rows may have days, moments with or without
    an offset, or Unix seconds. `day` is what days are compared with: the day by the clocks of the zone that was meant."""

    day: str

    def __new__(cls, text: str, day: str) -> Moment:
        made = super().__new__(cls, text)
        made.day = day
        return made

    @property
    def in_utc(self) -> str:
        """Without an offset, to the millisecond."""
        return self._utc.isoformat(timespec="milliseconds").removesuffix("+00:00")

    @property
    def unix_s(self) -> float:
        return (self._utc - _EPOCH).total_seconds()

    @property
    def _utc(self) -> datetime:
        return datetime.fromisoformat(self.upper()).astimezone(UTC)


def conditions(name: str, text: str, column: Column, locale: Any) -> list[Condition]:
    """What `column__op=text` asks for, with the text read by the column's type. Raises BadRequest if it is no such value."""
    op = name.rpartition("__")[2] if "__" in name else "eq"
    if is_empty(op, text, column):
        return []
    if text == "null" and op in ("eq", "ne") and column.type != "string":
        return [Condition(column.name, "null", op == "eq")]
    if op == "null":
        return [Condition(column.name, op, _truth(name, text, column))]
    if column.type == "array":
        texts = parts(text, column.titles) if op == "in" else [text]
        found = of_items(Condition(column.name, op, [value for one in texts for value in items(one)]))
        if found is None:
            raise _refused(name, text, column, f"holds several values: ask with {', '.join(ITEM_OPERATORS)}")
        return [found]
    if op in ("contains", "prefix"):
        return [Condition(column.name, op, text)]
    if (column.has_instants or column.format in (MOMENT, DAY)) and op in _DAYS and (day := _day(text, locale)):
        return _on_days(column, op, day, locale)
    if column.format in (MOMENT, DAY) and op in _DAYS[1:] and (moment := _of_clocks(text, locale)):
        return [Condition(column.name, op, moment)]
    if op == "in":
        return [Condition(column.name, op, [_value(name, part, column, locale) for part in parts(text, column.titles)])]
    return [Condition(column.name, op, _value(name, text, column, locale))]


def is_empty(op: str, text: str, column: Column) -> bool:
    """Whether a filter asks for nothing. A text may be asked for that is empty."""
    return not text and (column.type != "string" or op not in ("", "eq", "ne", "prefix"))


def plain(op: str, text: str, column: Column, locale: Any, *, typed: bool = False) -> str:
    """The text of a filter as readers of any language and programs read it alike; the same text where there is no other.
    One that was `typed` is what the language says: "1.000" is a thousand in German."""
    if not text or op in ("null", "contains", "prefix"):
        return text
    if op == "in":
        return ",".join(fields.with_commas(_plain(part, column, locale)) for part in parts(text, column.titles))
    return _plain(text, column, locale, typed=typed)


def _plain(text: str, column: Column, locale: Any, *, typed: bool = False) -> str:
    read: Json = text
    if column.format in ("date", "date-time"):
        read = locale.read_date(text)
        if isinstance(read, Unread) and column.has_instants:
            read = locale.read_date_time(fields.with_plus(text))
    elif column.type in ("number", "integer") and (typed or not fields.is_number(text)):
        read = _number(text, column, locale, alone=typed)
    if read is None or isinstance(read, Unread):
        return text
    return read if isinstance(read, str) else dump_json(read)


def as_typed(text: str, locale: Any) -> str:
    """The number of an address as its reader would type it; any other text as it is."""
    return str(locale.write_number(fields.number_of(text))) if fields.is_number(text) else text


def of_items(condition: Condition) -> Condition | None:
    """A condition on a column that holds lists, as find() asks them for their items; None if its operator does not go with
    them. What is equal to one of the items is meant, or to none of them."""
    op, value = condition.op, condition.value
    if op not in ITEM_OPERATORS:
        return None
    if op == "null":
        return condition
    return Condition(
        condition.field, "ne" if op == "ne" else "contains", value if isinstance(value, list | tuple) else [value]
    )


def items(text: str) -> list[Json]:
    """What a text of an address means as an item of a list, which may hold texts or numbers."""
    return [text, fields.number_of(text)] if fields.is_number(text) else [text]


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
            moment = rfc3339(datetime(there.year, there.month, there.day, tzinfo=locale.zone).timestamp())
        except (OverflowError, ValueError):  # beyond the years that times have
            there, moment = (date.max, "9999-12-31T23:59:59Z") if apart else (date.min, "0001-01-01T00:00:00Z")
        return moment if column.has_instants else Moment(moment, there.isoformat())

    edges = {"gte": [("gte", 0)], "gt": [("gte", 1)], "lte": [("lt", 1)], "lt": [("lt", 0)], "eq": [("gte", 0), ("lt", 1)]}
    return [Condition(column.name, to, begin(apart)) for to, apart in edges[op]]


def _of_clocks(text: str, locale: Any) -> Moment | None:
    """The moment that a text names for a column of a statement; None if it is none."""
    local = locale.local(str(locale.read_date_time(fields.with_plus(text))))
    return Moment(local.isoformat(), local.date().isoformat()) if local else None


def _value(name: str, text: str, column: Column, locale: Any) -> Json:
    """As a program writes it, or else as a person does."""
    if column.type == "boolean":
        return _truth(name, text, column)
    if column.has_instants:
        return _moment(name, text, column, locale)
    if column.format in ("date", DAY):
        read = locale.read_date(text)
        if isinstance(read, Unread) and not _BEGINS.match(text):
            raise _refused(name, text, column, fields.FORMAT_HELP["date"])
        return text if isinstance(read, Unread) else read
    if column.type not in ("number", "integer"):
        return text
    if fields.is_number(text):
        return fields.number_of(text)
    number = _number(text, column, locale)
    if number is None or isinstance(number, Unread):
        raise _refused(name, text, column, number.reason if number else "is a number")
    return number


def _number(text: str, column: Column, locale: Any, *, alone: bool = False) -> Json:
    """The number that a person typed as the list shows it; Unread if it is none."""
    whole, typed = column.type == "integer", plugin("column_formats").typed
    number: Json = typed(locale, column.format, text, whole=whole, alone=alone)
    return number


def _moment(name: str, text: str, column: Column, locale: Any) -> str:
    moment = fields.with_plus(text)
    if fields.FORMATS["date-time"](moment):
        return moment
    read = locale.read_date_time(text)
    if isinstance(read, Unread):
        raise _refused(name, text, column, fields.FORMAT_HELP["date-time"])
    return str(read)
