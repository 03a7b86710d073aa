"""The filters of lists: what `column=text` and `column__op=text` of an address mean."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from app import BadRequest, Column, Condition, Json, Unread, plugin

if TYPE_CHECKING:
    from plugins import fields
else:
    fields = plugin("fields")

# ==== 1. FILTERS =================================================================================================
# Every list reads its filters here: records, views, and those of the administration.
# uses: ERRORS VALUES plugin:fields
# defines: condition


def condition(name: str, text: str, column: Column, locale: Any) -> Condition:
    """`column__op=text` with the text read by the column's type. Raises BadRequest if it is no such value."""
    op = name.rpartition("__")[2] if "__" in name else "eq"
    if op == "null":
        return Condition(column.name, op, _truth(name, text))
    if op in ("contains", "prefix"):
        return Condition(column.name, op, text)
    if op == "in":
        return Condition(column.name, op, [_value(name, part, column, locale) for part in text.split(",")])
    return Condition(column.name, op, _value(name, text, column, locale))


def _truth(name: str, text: str) -> bool:
    if text not in ("true", "false"):
        raise BadRequest(f"{name} is {text!r}: write true or false")
    return text == "true"


def _value(name: str, text: str, column: Column, locale: Any) -> Json:
    """As a program writes it, or else as a person does."""
    if column.type == "boolean":
        return _truth(name, text)
    if column.format == "date-time":
        moment = fields.with_plus(text)
        if not fields.FORMATS["date-time"](moment):
            raise BadRequest(f"{name} is {text!r}: {column.name} {fields.FORMAT_HELP['date-time']}")
        return moment
    if column.type not in ("number", "integer"):
        date = locale.read_date(text) if column.format == "date" else text
        return text if isinstance(date, Unread) else date
    if fields.is_number(text):
        return fields.number_of(text)
    number = locale.read_number(text, whole=column.type == "integer")
    if number is None or isinstance(number, Unread):
        raise BadRequest(f"{name} is {text!r}: {column.name} {number.reason if number else 'is a number'}")
    return number
