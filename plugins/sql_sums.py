"""What the rows of an SQL view add up to, asked of SQLite and of PostgreSQL."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from decimal import Context, Decimal
from typing import TYPE_CHECKING, Any

import app
from app import Json, Measure, Select, quote_name

if TYPE_CHECKING:
    from plugins import groups as rules
else:
    rules = app.plugin("groups")

# ==== 1. SUMS ====================================================================================================
# One statement round the view's, under its limits. SQLite's own sum of integers ends with an error at 64 bits, and that of
# others gathers what each addition rounds off: so it calls one of ours, five times as slow. PostgreSQL is exact.
# uses: VALUES PROVIDERS plugin:groups
# defines: of_sqlite of_postgres ViewSum

_SURE = 14  # digits behind the first that doubles keep when they are added up
_EXACT = Context(prec=1000)
_AT_ONCE = 10_000  # numbers that are kept to be added up
_ADDED = ("sum", "avg")


def of_sqlite(views: Any, select: Select, measures: Sequence[Measure], by: str = "", most: int = 1) -> list[Sequence[Json]]:
    """What Queries.sums() promises, of SqliteViews."""
    return _of(views, select, (measures, by, most), _asked_of_sqlite, _from_sqlite)


def of_postgres(
    provider: Any, select: Select, measures: Sequence[Measure], by: str = "", most: int = 1
) -> list[Sequence[Json]]:
    """The same of a PostgresProvider."""
    return _of(provider, select, (measures, by, most), _asked_of_postgres, _from_postgres)


def _of(
    queries: Any,
    select: Select,
    wanted: tuple[Sequence[Measure], str, int],
    ask: Callable[[Sequence[Measure], str], str],
    answer: Callable[[Measure, Iterator[Any]], Json],
) -> list[Sequence[Json]]:
    """Only numbers are added up; the least and greatest of a column are its texts, if it has any, only beside numbers."""
    measures, by, most = wanted
    rules.check(measures)
    asked = select._replace(order_by=(), limit=None, offset=0, max_rows=None)
    around = ask(measures, by) + (f" limit {most + 1}" if by else "")
    with closing(queries._select(asked, around)) as rows:
        found = [iter(row) for row in rows.rows]
    if by and len(found) > most:
        raise rules.too_many(most)
    return [(*([next(row)] if by else []), *(answer(one, row) for one in measures)) for row in found]


def _quoted(name: str) -> str:
    """A column in a text that str.format() goes over."""
    return quote_name(name).replace("{", "{{").replace("}", "}}")


def _asked_of_sqlite(measures: Iterable[Measure], by: str) -> str:
    """Texts that differ in anything are values of their own, whatever the column takes for equal."""
    ways = {"sum": "view_sum", "avg": "view_sum"}
    terms = [_quoted(by)] if by else []
    terms += [f"{ways.get(one.op, one.op)}({_quoted(one.field)})" for one in measures]
    grouped = f" group by {_quoted(by)} collate binary" if by else ""
    return f"select {', '.join(terms)} from (\n{{}}\n) as satchel_summed{grouped}"  # noqa: S608


def _from_sqlite(measure: Measure, found: Iterator[Any]) -> Json:
    value = next(found)
    if measure.op not in _ADDED or value is None:
        return value
    count, text = value.split()
    exact = Decimal(text)
    if not exact.is_finite():
        return text
    return rules.number_of(exact) if measure.op == "sum" else rules.mean_of(exact, int(count))


class ViewSum:
    """view_sum(value) in SQLite: how many numbers there are, and their sum behind a space; null without any. Integers are
    exact, and so are others as decimals, as long as all of them together have fifteen digits."""

    def __init__(self) -> None:
        self._count, self._whole, self._size = 0, 0, 0.0
        self._others: list[float] = []

    def step(self, value: Any) -> None:
        if type(value) is int:
            self._whole += value
            self._count += 1
        elif type(value) is float:
            self._others.append(value)
            self._count += 1
            if len(self._others) > _AT_ONCE:
                self._gather()

    def _gather(self) -> None:
        """Few numbers instead of many, with the same sum to twice the digits of one."""
        self._size += math.fsum(map(abs, self._others[2 * (self._size > 0) :]))
        total = math.fsum(self._others)
        self._others = [total, math.fsum([*self._others, -total])] if math.isfinite(total) else [total]

    def finalize(self) -> str | None:
        if not self._count:
            return None
        if not self._others:
            return f"{self._count} {self._whole}"
        if len(self._others) == self._count == 1:
            return f"1 {self._others[0]!r}"
        try:
            self._gather()
        except (OverflowError, ValueError):  # more than a double holds, or infinities of both signs
            return f"{self._count} {sum(self._others)}"
        if not math.isfinite(self._size):
            return f"{self._count} {sum(self._others)}"
        places = _SURE - Decimal(self._size).adjusted()
        found = _EXACT.add(Decimal(self._whole), round(sum(map(Decimal, self._others), Decimal()), places))
        return f"{self._count} {found}"


def _asked_of_postgres(measures: Iterable[Measure], by: str) -> str:
    """Whatever the type of a column, its values as JSON are numbers or not."""
    inner, terms = ([f"{_quoted(by)} as satchel_by"], ["satchel_by"]) if by else (list[str](), list[str]())
    for place, one in enumerate(measures):
        value, column = f"to_jsonb({_quoted(one.field)})", f"satchel_{place}"
        number = f"case when jsonb_typeof({value}) = 'number' then cast({value} #>> '{{{{}}}}' as numeric) end"
        text = f"case when jsonb_typeof({value}) = 'string' then {value} #>> '{{{{}}}}' end collate \"C\""
        if one.op == "count":
            inner.append(f"{_quoted(one.field)} as {column}")
            terms.append(f"count({column})")
        elif one.op in _ADDED:
            inner.append(f"{number} as {column}")
            terms += [f"count({column})", f"cast(sum({column}) as text)"]
        else:
            inner += [f"{number} as {column}", f"{text} as {column}_text"]
            terms += [f"cast({one.op}({column}) as text)", f"{one.op}({column}_text)"]
    rows = f"select {', '.join(inner)} from (\n{{}}\n) as satchel_rows offset 0"  # noqa: S608
    grouped = " group by satchel_by" if by else ""
    return f"select {', '.join(terms)} from (\n{rows}\n) as satchel_summed{grouped}"  # noqa: S608


def _from_postgres(measure: Measure, found: Iterator[Any]) -> Json:
    if measure.op == "count":
        return int(next(found))
    first, second = next(found), next(found)
    if measure.op in _ADDED:
        exact = Decimal(second or 0)
        added = rules.number_of(exact) if measure.op == "sum" else rules.mean_of(exact, int(first or 1))
        return added if first else None
    number = None if first is None else rules.number_of(Decimal(first))
    text = None if second is None else str(second).replace("+00:00", "Z")
    kept = [one for one in (number, text) if one is not None]
    return (kept[0] if measure.op == "min" else kept[-1]) if kept else None
