"""Lists of records with fields of another table beside their own, in SQLite: one statement looks them up."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any

import app
from app import CompiledQuery, quote_name

if TYPE_CHECKING:
    from plugins import sql_records
    from plugins.joins import Joined
else:
    sql_records = app.plugin("sql_records")

# ==== 1. SQLITE ==================================================================================================
# What is looked up of the other table is named outside, since SQLite's parser is not deep. An index finds it for each
# record; without one, the whole table is gone through once.
# uses: PROVIDERS plugin:joins plugin:sql_records
# defines: JoinedQuery


class JoinedQuery(sql_records.SqliteQuery):
    """A query with `joins`. Of several rows of the other table with a value, that with the least key counts."""

    def __init__(self, compiled: CompiledQuery, table: str, connection: sqlite3.Connection) -> None:
        self._joins: dict[str, Joined] = {one.name: one for one in compiled.query.joins}
        self._others, self._keys, self._connection = list[str](), "", connection
        super().__init__(compiled, table)

    def _field(self, name: str, instant: bool) -> str:
        one = self._joins.get(name)
        return self._looked_up(one, instant) if one else super()._field(name, instant)

    def _looked_up(self, one: Joined, instant: bool) -> str:
        number = len(self._others)
        other, key, (least, behind) = f"satchel_other_{number}", f"j{number}", one.bounds
        self._keys += f", {super()._field(one.field, False)} as {key}"
        tests = " and ".join(f"{super(JoinedQuery, self)._field(n, False)} = {self._bind(k)}" for n, k in one.where)
        columns = f"key as k, {super()._field(one.value, False)} as v, {super()._field(one.inner, instant)} as f"
        rows = f"select {columns} from {quote_name(one.table)}{tests and ' where ' + tests}"  # noqa: S608
        if self._is_indexed(one):
            self._others.append(f"{other} as ({rows})")
            same = f"k = substr({key}, 2)" if one.value == "id" else f"v = {key}"
            found = f"select f from {other} where {same} and {key} > '{least}' and {key} < '{behind}'"  # noqa: S608
            return f"coalesce(({found} order by k limit 1), '')"
        first = f"select v as v{number}, f as f{number}, min(k) from {other}_rows"  # noqa: S608
        first += f" where v > '{least}' and v < '{behind}' group by v"
        self._others.append(f"{other}_rows as ({rows}), {other} as ({first})")
        self.beside.append(f" left join {other} on v{number} = {key}")
        return f"coalesce(f{number}, '')"

    def _is_indexed(self, one: Joined) -> bool:
        if one.value == "id":
            return True
        asked = f"select 1 from {quote_name(one.table)} where {super()._field(one.value, False)} = 't'"  # noqa: S608
        steps: list[Any] = self._connection.execute(f"explain query plan {asked}").fetchall()
        return any("SEARCH" in step[3] for step in steps)

    def _begin(self) -> str:
        if not self._others:
            return super()._begin()
        own = f"satchel_own as (select *{self._keys} from {self._table})"  # noqa: S608
        rows = f"satchel_records as (select satchel_own.*{self._fields} from satchel_own{''.join(self.beside)})"  # noqa: S608
        return f"with {', '.join(self._others)}, {own}, {rows} "
