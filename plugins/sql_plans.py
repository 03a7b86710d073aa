"""Plans in SQLite: a list that one index filters and another one orders is read by the one that reads less."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

import app
from app import CompiledQuery

if TYPE_CHECKING:
    from plugins import sql_records
else:
    sql_records = app.plugin("sql_records")

# ==== 1. PLANS ===================================================================================================
# SQLite takes any filter for one that few records meet, and sorts them all. Here they are counted, up to a few.
# uses: PROVIDERS plugin:sql_records
# defines: FEW PlannedQuery ListQuery Plans

FEW = 5_000  # records: to sort them takes about as long as to find a page of them among 500,000 in order
_LONGEST_PAGE = 1_000  # more are no page: all of them are read anyway
_MOST_KNOWN = 1_000
_SORTS = "TEMP B-TREE FOR ORDER BY"  # what SQLite says if it sorts all, and not only those that an index has alike


class PlannedQuery(sql_records.SqliteQuery):
    """A query whose statement uses no index of the `hidden` fields."""

    def __init__(self, compiled: CompiledQuery, table: str, hidden: Collection[str] = ()) -> None:
        self._hidden = hidden
        super().__init__(compiled, table)
        self.key = "+key" if "id" in hidden else "key"

    def _field(self, name: str, instant: bool) -> str:
        field = super()._field(name, instant)
        return f"+{field}" if name in self._hidden and name != "id" else field

    def _behind(self, terms: Sequence[tuple[str, bool]]) -> str:
        """A plus before a column would take its affinity away, and a key that is a number lie before every text."""
        behind = super()._behind([*terms[:-1], ("key", terms[-1][1])])
        return f"+{behind}" if behind and len(terms) == 1 and "id" in self._hidden else behind

    def steps(self, connection: sqlite3.Connection, statement: str) -> str:
        """What SQLite does for a statement of this query, in its words."""
        return " ".join(row[3] for row in connection.execute(f"explain query plan {statement}", self.values))


class ListQuery(sql_records.SqliteQuery):
    """A query that decides, when rows are selected, by which index that is done. Only for this connection, and now."""

    def __init__(self, compiled: CompiledQuery, table: str, plans: Plans, connection: sqlite3.Connection) -> None:
        self._plans, self._connection = plans, connection
        super().__init__(compiled, table)

    def rows(self, columns: str) -> str:
        """Selects these columns of the page's records and of one more."""
        hidden = self._plans.hidden(self.compiled, self._table, self._connection)
        if not hidden:
            return super().rows(columns)
        planned = PlannedQuery(self.compiled, self._table, hidden)
        text, self.values = planned.rows(columns), planned.values
        return text


class Plans:
    """Decides by which index lists are read, and remembers for which there is something to decide."""

    def __init__(self) -> None:
        self._known: dict[Any, tuple[bool, bool]] = {}  # see _look; by the version of the schema and the shape of the query

    def query(self, compiled: CompiledQuery, table: str, connection: sqlite3.Connection) -> sql_records.SqliteQuery:
        """The query as a statement. Filters of several fields, and what is no page, are left to SQLite."""
        query = compiled.query
        filtered = {condition.field for condition in query.where}
        is_left = len(filtered) != 1 or query.search or query.limit > _LONGEST_PAGE
        if is_left or filtered & {name for name, _ in compiled.terms}:
            return sql_records.SqliteQuery(compiled, table)
        return ListQuery(compiled, table, self, connection)

    def hidden(self, compiled: CompiledQuery, table: str, connection: sqlite3.Connection) -> Collection[str]:
        """The fields whose indexes are not to be used."""
        query = compiled.query
        [(version,)] = connection.execute("pragma schema_version")
        shape = [(c.field, c.op, len(c.value) if c.op == "in" else c.op == "null" and c.value) for c in query.where]
        key = version, table, *shape, query.order_by, query.instants
        if key not in self._known:
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            self._known[key] = self._look(CompiledQuery(query._replace(after="")), table, connection)
        is_open, is_ordered = self._known[key]
        if not is_open:
            return ()
        probe = sql_records.SqliteQuery(compiled, table)
        [(count,)] = connection.execute(probe.count(FEW + 1), probe.values)
        if count <= FEW:
            return [name for name, _ in compiled.terms]
        return [condition.field for condition in query.where] if is_ordered else ()

    @staticmethod
    def _look(compiled: CompiledQuery, table: str, connection: sqlite3.Connection) -> tuple[bool, bool]:
        """Whether an index filters that does not order as well, and whether another one orders."""
        query = PlannedQuery(compiled, table)
        rows, count = (query.steps(connection, statement) for statement in (query.rows("key"), query.count(FEW + 1)))
        is_both = "SEARCH" in rows and _SORTS not in rows
        query = PlannedQuery(compiled, table, [condition.field for condition in compiled.query.where])
        return "SEARCH" in count and not is_both, _SORTS not in query.steps(connection, query.rows("key"))
