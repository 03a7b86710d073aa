"""What rows add up to: a column's values one by one, and the totals and sub-totals of a view whose rows are groups."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from decimal import Decimal
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import app
from app import Column, Json, Record, Table, TooLarge, Value, sort_key, value_key

if TYPE_CHECKING:
    from plugins import groups
    from plugins.locale import Locale
else:
    groups = app.plugin("groups")

# ==== 1. TALLIES =================================================================================================
# Values are added up as providers do it.
# uses: VALUES PROVIDERS plugin:groups
# defines: WORDS parts_of Tally result_of

WORDS = {one.rpartition(".")[2]: one for one in ("totals.sum", "totals.avg", "totals.min", "totals.max", "totals.count")}


def parts_of(name: str) -> tuple[str, str]:
    """The names under which a group has what its mean in a column is made of: the sum of its numbers, and how many they are.
    No column has such a name."""
    return f"{name} sum", f"{name} numbers"


class Tally:
    """Adds up the values of a column of rows one by one. The mean of a column of means is that of all their numbers, if the
    rows have what these are made of."""

    def __init__(self, column: Column) -> None:
        self.name, self.op = column.name, column.total
        self._parts = parts_of(column.name)
        self._instant, self._count = column.has_instants, 0
        self._exact, self._bound, self._key = groups.Total(), cast(Json, None), ""
        self._infinite, self._has_numbers = list[float](), False

    def add(self, row: Mapping[str, Json]) -> None:
        if self.op == "avg" and self._parts[1] in row:
            self._add_numbers(row[self._parts[0]], cast(int, row[self._parts[1]]))
        elif (value := row.get(self.name)) is not None:
            self._add_value(value)

    def _add_numbers(self, total: Json, count: int) -> None:
        """So many numbers with this sum."""
        if count:
            self._exact.add_number(cast("int | float | Decimal", total))
            self._exact.count += count

    def _add_value(self, value: Json) -> None:
        self._count += 1
        if self.op in ("sum", "avg"):
            if isinstance(value, int | float | Decimal) and not isinstance(value, bool):
                self._add_numbers(value, 1)
            elif value in ("inf", "-inf"):  # as rows of SQLite have infinities
                self._infinite.append(float(cast(str, value)))
        elif self.op != "count" and value == "-inf":
            self._infinite.append(-math.inf)
        elif self.op != "count":
            key = value_key(value, self._instant)
            self._has_numbers = self._has_numbers or key[:1] == "n"
            if self._goes_beyond(key):
                self._key, self._bound = key, value

    def _goes_beyond(self, key: str) -> bool:
        """Whether a value with this sort key is less, or greater, than all before it."""
        return key != "z" and (not self._key or (key < self._key if self.op == "min" else key > self._key))

    def result(self) -> Json:
        """Raises TooLarge if it has too many digits."""
        if self.op in ("min", "max"):
            return self._least_or_greatest()
        if self._infinite and self.op != "count":
            return str(sum(self._infinite))
        ways: Mapping[str, Any] = {"sum": self._exact.sum, "avg": self._exact.avg}
        return self._count if self.op == "count" else cast(Json, ways[self.op]())

    def _least_or_greatest(self) -> Json:
        """Beside numbers "-inf" is less than any of them, and beside texts alone it is one of them."""
        if not self._infinite or (self._has_numbers and self.op == "max"):
            return self._bound
        return "-inf" if self._has_numbers or self._goes_beyond(sort_key("-inf")) else self._bound


def result_of(columns: Iterable[Column], rows: Iterable[Mapping[str, Json]]) -> Value:
    """What the columns that have a total add up to, by their names. Raises TooLarge."""
    tallies = [Tally(one) for one in columns if one.total]
    for row in rows:
        for tally in tallies:
            tally.add(row)
    return {tally.name: tally.result() for tally in tallies}


# ==== 2. PARTS ===================================================================================================
# The groups of a view are all at hand. Where they are ordered by one of several columns of group_by first, each value of it
# has a sub-total: that of all groups with it which are selected, on whatever page they stand.
# uses: VALUES PROVIDERS TALLIES plugin:locale
# defines: Subtotal Added placed


class Subtotal(NamedTuple):
    """What the groups with one value of a column add up to."""

    column: str
    value: Json
    totals: Value  # by column
    behind: int | None  # the number of the row after which it stands; None if the rows of the value go on behind the page

    def title(self, locale: Locale, column: Column) -> str:
        """What it is called by people."""
        return str(locale.t("totals.sub", value=locale.show(column, self.value) or "—"))

    @property
    def told(self) -> Value:
        """It as programs get it."""
        return {"column": self.column, "value": self.value, "totals": self.totals}


class Added:
    """What the groups that a request selects add up to. `rows` are those of its page, in order, and `following` is the
    first one behind it, if there is one; `lead` is the column by whose values there are sub-totals, "" if there are none."""

    def __init__(self, selected: Iterable[Record], rows: Sequence[Record], following: Sequence[Record], lead: str) -> None:
        self._selected, self._rows, self._following, self._lead = selected, rows, following, lead

    @cached_property
    def _values(self) -> list[Value]:
        return [one.value for one in self._selected]

    def totals(self, columns: Sequence[Column]) -> Value:
        """Raises TooLarge."""
        return result_of(columns, self._values)

    def subtotals(self, columns: Sequence[Column]) -> list[Subtotal]:
        """One for each value that the page has, in its order; [] if none of the columns has a total, or the one with the
        values is not among them. Raises TooLarge."""
        if not any(one.total for one in columns) or all(one.name != self._lead for one in columns):
            return []
        shown = [one.value[self._lead] for one in self._rows]
        keys = set(map(sort_key, shown))
        found: dict[str, list[Value]] = {key: [] for key in keys}
        for value in self._values:
            if (key := sort_key(value[self._lead])) in found:
                found[key].append(value)
        totals = {key: result_of(columns, rows) for key, rows in found.items()}
        return placed(self._lead, shown, [one.value[self._lead] for one in self._following[:1]], totals)


def placed(
    lead: str, shown: Sequence[Json], following: Sequence[Json], totals: Mapping[str, Value], instant: bool = False
) -> list[Subtotal]:
    """The sub-totals of a page, whose rows have the values `shown` in a column, and the one behind it `following`; `totals`
    go by sort keys."""
    keys = [value_key(one, instant) for one in (*shown, *following)]
    last = {key: number for number, key in enumerate(keys)}
    first = dict(zip(reversed(keys[: len(shown)]), reversed(shown), strict=True))
    return [
        Subtotal(lead, first[key], totals[key], at if (at := last[key]) < len(shown) else None)
        for key in dict.fromkeys(keys[: len(shown)])
        if key in totals
    ]


# ==== 3. LINES ===================================================================================================
# Exports for people have lines between their rows, and below them one for each kind of total.
# uses: ERRORS VALUES PROVIDERS TALLIES PARTS plugin:locale
# defines: Line Lines


class Line(NamedTuple):
    """A line of totals: of all rows those of one kind, or a sub-total."""

    op: str
    about: Subtotal | None
    totals: Value  # by column

    def label(self, locale: Locale, columns: Sequence[Column]) -> tuple[int | None, str]:
        """The number of the column that says which line it is, None if there is no room for that, and what it says."""
        place = next((at for at, one in enumerate(columns) if not one.total), None)
        if self.about is None:
            return place, str(locale.t(WORDS[self.op]))
        lead = next(at for at, one in enumerate(columns) if one.name == self.about.column)
        return lead if place is None else place, self.about.title(locale, columns[lead])

    def cell(self, column: Column) -> tuple[Column, Json]:
        """As what its total in a column is shown, and the total; None without one."""
        return Column(column.name) if column.total == "count" else column, self.totals.get(column.name)


class Lines:
    """The lines of totals of a table whose rows are written one after the other."""

    def __init__(self, table: Table) -> None:
        self._columns = [one for one in table.columns if one.total]
        self._tallies = [Tally(one) for one in self._columns]
        self._added = table.added if isinstance(table.added, Added) else None
        self._lead, self._part = getattr(table.added, "lead", ""), list[Tally]()
        self._instant = any(one.name == self._lead and one.has_instants for one in table.columns)
        if all(one.name != self._lead for one in table.columns) or not self._columns:
            self._lead = ""
        self._behind: dict[int | None, Subtotal] = {}
        if self._added and self._columns:
            self._behind = {one.behind: one for one in self._tolerant(table.columns)}

    def _tolerant(self, columns: Sequence[Column]) -> list[Subtotal]:
        """A workbook has all its rows, whatever they come to."""
        try:
            return self._added.subtotals(columns) if self._added else []
        except TooLarge:
            return []

    def among(self, rows: Iterable[Mapping[str, Json]]) -> Iterator[tuple[Mapping[str, Json], Sequence[Line]]]:
        """Each row, and the lines behind it."""
        number, before = -1, cast("Mapping[str, Json] | None", None)
        for row in rows:
            if before is not None:
                yield before, self._between(number, before, row)
            if not self._added:
                self._add(row)
            number, before = number + 1, row
        if before is not None:
            yield before, self._between(number, before, None)

    def _add(self, row: Mapping[str, Json]) -> None:
        for tally in self._tallies:
            tally.add(row)
        if self._lead:
            self._part = self._part or [Tally(one) for one in self._columns]
            for tally in self._part:
                tally.add(row)

    def _between(self, number: int, row: Mapping[str, Json], following: Mapping[str, Json] | None) -> list[Line]:
        """The lines behind a row; rows count from 0."""
        if one := self._behind.get(number):
            return [Line("", one, one.totals)]
        if not self._lead or (following is not None and self._key(following) == self._key(row)):
            return []
        part, self._part = self._part, []
        if self._key(row) == "z":  # lists and objects, which are no values of groups
            return []
        found: Value = {}
        for tally in part:
            with suppress(TooLarge):
                found[tally.name] = tally.result()
        return [Line("", Subtotal(self._lead, row[self._lead], found, number), found)]

    def _key(self, row: Mapping[str, Json]) -> str:
        return value_key(row[self._lead], self._instant)

    def below(self) -> Iterator[Line]:
        """Those below all rows. A total of too many digits is left out."""
        found: Value = {}
        for one, tally in zip(self._columns, self._tallies, strict=True):
            try:
                found |= self._added.totals([one]) if self._added else {one.name: tally.result()}
            except TooLarge:
                continue
        for op in dict.fromkeys(one.total for one in self._columns):
            names = [one.name for one in self._columns if one.total == op and one.name in found]
            yield Line(op, None, {name: found[name] for name in names})
