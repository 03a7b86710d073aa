"""How columns of views in PostgreSQL compare with a moment, however they keep days and times."""

from __future__ import annotations

from typing import Any

import app
from app import SQL_SIGNS, Condition, quote_name

# ==== 1. TIMES ===================================================================================================
# A day or a moment, or a number of Unix seconds; a text is compared as the cell is shown, with one in UTC.
# uses: VALUES PROVIDERS plugin:instants plugin:postgres
# defines: of_moments compared

_MOMENTS, _WITH_ZONE = (1114, 1184), 1184  # OIDs: timestamp, timestamptz


def of_moments(select: Any, condition: Condition) -> str:
    """What `select`, a PostgresSelect, asks of a timestamptz by texts that name moments; "" for other conditions."""
    name, op = condition.field, condition.op
    if select._types.get(name) != _WITH_ZONE or op in ("contains", "prefix"):
        return ""
    asked = condition.value if isinstance(condition.value, list) else [condition.value]
    moments = [text for text in asked if type(text) is str and app.plugin("instants").instant_key(text)]
    if not moments:
        return ""
    column, bounds = quote_name(name), ", ".join(f"cast({select._bind(text)} as timestamptz)" for text in moments)
    if op == "ne":
        return f"({column} is null or {column} <> {bounds})"
    return f"{column} {'in' if op == 'in' else SQL_SIGNS[op]} ({bounds})"


def compared(select: Any, name: str, sign: str, moment: Any) -> str:
    """Whether a column compares so with a Moment (see plugins/list_filters.py)."""
    column, type_ = quote_name(name), select._types[name]
    if type_ in app.plugin("postgres").NUMBERS:
        return f"{column} {sign} {select._bind(moment.unix_s)}"
    if type_ in _MOMENTS:
        bound = f"cast({select._bind(moment.in_utc)} as timestamp)"
        return f"{column} {sign} {bound}" + (" at time zone 'UTC'" if type_ == _WITH_ZONE else "")
    text = f'{select._text(name)} collate "C"'
    bound = select._bind(moment.in_utc.removesuffix(".000"))
    there = f"replace(rtrim({select._text(name)}, 'Zz'), ' ', 'T') collate \"C\" {sign} {bound}"
    return f"case when length({text}) = 10 then {text} {sign} {select._bind(moment.day)} else {there} end"
