"""Groups of records in SQL: the database filters, makes sort keys and groups by them; for SQLite also an exact sum."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any, cast

import app
from app import AppError, CompiledQuery, Json, Measure, Query, QueryTimeout, TooLarge

if TYPE_CHECKING:
    from plugins import groups as rules
else:
    rules = app.plugin("groups")

# ==== 1. STATEMENT ===============================================================================================
# One statement over the keys of each record, which an inner one computes once: a limit keeps databases from computing them
# again for each measure.
# uses: VALUES plugin:groups
# defines: Grouping


_ADDED = ("sum", "avg", "numbers")


class Grouping(ABC):
    """What is asked of a query's records, as SQL round an SqlQuery and back again."""

    fence: str  # keeps an inner statement apart from the outer one

    def __init__(self, by: Sequence[str], measures: Sequence[Measure], most: int) -> None:
        self.by, self.measures, self.most = by, measures, most

    @abstractmethod
    def _number(self, sql: Any, name: str) -> str:
        """A column of the inner statement with what _sum takes of a field."""

    @abstractmethod
    def _sum(self, column: str) -> str:
        """How many numbers there are in a column of a group and, behind a space, their exact sum; null without any."""

    def statement(self, sql: Any) -> str:
        """The statement; `sql` is an SqlQuery."""
        instants = sql.compiled.query.instants
        named = dict.fromkeys([*self.by, *(one.field for one in self.measures if _key_of(one))])
        keys = {name: f"k{n}" for n, name in enumerate(named)}
        inner = [f"coalesce({sql._column(name, name in instants)}, '') as {key}" for name, key in keys.items()]
        summed = dict.fromkeys(one.field for one in self.measures if one.op in _ADDED)
        numbers = {name: f"n{n}" for n, name in enumerate(summed)}
        inner += [f"{self._number(sql, name)} as {column}" for name, column in numbers.items()]
        found = [keys[name] for name in self.by]
        ways = {"count": self._count, "min": self._least, "max": self._greatest}
        for one in self.measures:
            way = ways.get(one.op)
            if way and not _key_of(one):
                found.append("count(*)")
            else:
                found.append(way(keys[one.field]) if way else self._sum(numbers[one.field]))
        begin, some = sql._begin(), f"select {', '.join(inner) or '1'} from {sql._from} {self.fence}"  # noqa: S608
        whole = f"{begin}select {', '.join(found) or '1'} from ({some}) as satchel_keys"  # noqa: S608
        if not self.by:
            return whole
        columns = ", ".join(found[: len(self.by)])
        kept = " and ".join(f"{column} <> 'z'" for column in found[: len(self.by)])
        return f"{whole} group by {columns} having {kept} limit {self.most + 1}"

    @staticmethod
    def _count(key: str) -> str:
        return f"sum(case when {key} > '' then 1 else 0 end)"

    @staticmethod
    def _least(key: str) -> str:
        return f"min(case when {key} > '' and {key} < 'z' then {key} end)"

    @staticmethod
    def _greatest(key: str) -> str:
        return f"max(case when {key} < 'z' then {key} end)"

    def answer(self, rows: Sequence[Sequence[Any]]) -> list[Sequence[Json]]:
        """What Records.groups() gives, of what the statement gave."""
        if len(rows) > self.most:
            raise rules.too_many(self.most)
        if not rows and not self.by:  # there is no such table
            rows = [[None] * len(self.measures)]
        return [self._group(row) for row in rows]

    def _group(self, row: Sequence[Any]) -> Sequence[Json]:
        shown = [rules.shown_value(key or "") for key in row[: len(self.by)]]
        for one, found in zip(self.measures, row[len(self.by) :], strict=True):
            if one.op == "count":
                shown.append(int(found or 0))
            elif one.op in ("min", "max"):
                shown.append(rules.shown_value(found or ""))
            else:
                shown.append(_sum_of(one.op, found))
        return tuple(shown)


def _key_of(one: Measure) -> bool:
    """Whether a measure asks for a field's sort key."""
    return one.op not in _ADDED and (one.op != "count" or one.field not in ("id", "version"))


def _sum_of(op: str, found: str | None) -> Json:
    if found is None:
        return 0 if op == "numbers" else None
    count, _, text = found.partition(" ")
    if op == "numbers":
        return int(count)
    exact = Decimal(text)
    if not exact.is_finite():
        raise rules.too_far_apart()
    return rules.number_of(exact) if op == "sum" else rules.mean_of(exact, int(count))


# ==== 2. SQLITE ==================================================================================================
# SQLite's own sums are of 64 bits, or not exact.
# uses: ERRORS VALUES PROVIDERS STATEMENT plugin:groups plugin:sql_records
# defines: GroupSum groups


_FAST = 10**9  # numbers below it, with at most 15 digits and four decimals, are added up as integers of ten-thousandths
_ODD = "odd"  # in place of a sum of other numbers


class _ExactGrouping(Grouping):
    """Of any numbers: all of them go through Python."""

    fence = "limit -1"

    def _number(self, sql: Any, name: str) -> str:
        return sql._column(name, name in sql.compiled.query.instants)  # type: ignore[no-any-return]

    def _sum(self, column: str) -> str:
        return f"group_sum({column})"


class _FastGrouping(_ExactGrouping):
    """Of numbers as people have them, which SQLite adds up itself, exactly and several times as fast. A double says which
    decimal it is if that has at most 15 digits (IEEE 754), and so whether that has more than four decimals."""

    def _number(self, sql: Any, name: str) -> str:
        path = "'" + f'$."{name}"'.replace("'", "''") + "'"
        value, ten = f"json_extract(data, {path})", f"round(json_extract(data, {path}) * 10000.0)"
        is_usual = f"{value} between -{_FAST} and {_FAST}"
        whole = f"iif({is_usual}, {value} * 10000, '{_ODD}')"
        is_short = f"length(json_extract(data, {path}, {path})) <= 35 and {ten} / 10000.0 = {value}"
        real = f"iif({is_usual} and {is_short}, cast({ten} as integer), '{_ODD}')"
        kinds = f"case json_type(data, {path}) when 'integer' then {whole} when 'real' then {real} end"
        column = f"n_{len(sql._fields)}"
        sql._fields += f", case when typeof(data) = 'text' and json_valid(data) then {kinds} end as {column}"
        return column

    def _sum(self, column: str) -> str:
        odd = f"sum(typeof({column}) = 'text')"
        there = f"count({column}) || ' ' || sum({column})"
        return f"case when count({column}) > 0 then iif({odd}, '{_ODD}', {there} || 'e-4') end"

    def is_odd(self, rows: Sequence[Sequence[Any]]) -> bool:
        """Whether a sum was not made."""
        return any(_ODD in row[len(self.by) :] for row in rows)


class GroupSum:
    """group_sum(key) in SQLite."""

    def __init__(self) -> None:
        self._total = rules.Total()
        self.step = self._total.add

    def finalize(self) -> str | None:
        if not self._total.count:
            return None
        try:
            return f"{self._total.count} {self._total.exact()}"
        except TooLarge:
            return f"{self._total.count} nan"


def groups(provider: Any, query: Query, by: Sequence[str], measures: Sequence[Measure], most: int) -> list[Sequence[Json]]:
    """What Records.groups() promises, of an SqlProvider."""
    rules.check(measures)
    grouping = _ExactGrouping(by, measures, most)
    query = query._replace(after="", order_by=())
    if (counted := _counted(provider, query, grouping)) is not None:
        return grouping.answer(counted)
    summed = [one.field for one in measures if one.op in _ADDED]
    fast = _FastGrouping(by, measures, most)
    if summed and all(map(_is_usual, summed)):
        try:
            rows = _rows(provider, query, fast)
            if not fast.is_odd(rows):
                return fast.answer(rows)
        except AppError as error:
            if "integer overflow" not in str(error.__cause__):
                raise
    return grouping.answer(_rows(provider, query, grouping))


def _is_usual(name: str) -> bool:
    return name not in ("id", "version") and bool(app.plugin("sql_records").is_plain(name))


def _rows(provider: Any, query: Query, grouping: Grouping) -> Sequence[Sequence[Any]]:
    try:
        found = provider._rows(CompiledQuery(query), grouping.statement, time.monotonic() + rules.limit_s())
    except QueryTimeout as error:
        raise rules.too_long() from error
    return cast("Sequence[Sequence[Any]]", found)


def _counted(provider: Any, query: Query, grouping: Grouping) -> list[Sequence[Json]] | None:
    """The groups of records that are only counted, if that is kept beside the table."""
    by, only = grouping.by, Measure("count", "id")
    if not by or query.instants & set(by) or any(one != only for one in grouping.measures):
        return None
    found: Sequence[Sequence[Any]] | None = provider._counts.groups(query, by, grouping.most)
    if found is None:
        return None
    return [(*row[:-1], *[row[-1]] * len(grouping.measures)) for row in found]
