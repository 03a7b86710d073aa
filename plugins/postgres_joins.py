"""Lists of records with fields of another table beside their own, in PostgreSQL: one statement looks them up."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import app
from app import CompiledQuery, Query, Record, Records, quote_name, stored_record

if TYPE_CHECKING:
    from plugins.joins import Joined
    from plugins.postgres import PostgresProvider, PostgresQuery

# ==== 1. POSTGRES ================================================================================================
# What is looked up stands beside each record, so that it is computed once, however often the statement names it.
# uses: VALUES CONTRACTS PROVIDERS plugin:joins plugin:postgres
# defines: field walk

_AT_ONCE = 100  # records that are read together


def field(sql: PostgresQuery, name: str, instant: bool) -> str:
    """A field of another table as its sort key; "" if it is one of the records. Of several rows with a value, that with the
    least key counts."""
    one: Joined | None = next((one for one in sql.compiled.query.joins if one.name == name), None)
    if one is None:
        return ""
    postgres = app.plugin("postgres")
    found, own, (least, behind) = f"satchel_other_{len(sql.beside)}", "satchel_own.key_of", one.bounds
    key = sql._field(one.field, False).replace("_sort_key(data->", f"_sort_key({sql._table}.data->", 1)
    value, letters = sql._field(one.value, False), postgres.KEY_LETTERS
    same = f"left({value}, {letters}) = left({own}, {letters}) and {value} = {own}"
    if one.value == "id":
        same = f"key = substr({own}, 2)"
    tests = [same, f"{own} > '{least}'", f"{own} < '{behind}'"]
    tests += [f"{sql._field(name, False)} = {sql._bind(wanted)}" for name, wanted in one.where]
    table = f"{quote_name(sql._schema)}.{quote_name(one.table)} as satchel_table"
    rows = f"(select {key} as key_of offset 0) as satchel_own, {table} where {' and '.join(tests)}"
    first = f"select {sql._field(one.inner, instant)} as {found} from {rows} order by key limit 1"  # noqa: S608
    sql.beside.append(f" left join lateral ({first}) as {found}_row on true")
    return f"coalesce({found}, '')"


def walk(provider: PostgresProvider, query: Query) -> Iterator[Record]:
    """What Records.walk() promises. To order by a field of another table, each page would look up all records: so their keys
    are sorted once."""
    if not query.joins or query.after:
        yield from Records.walk(provider, query)
        return
    postgres, names = app.plugin("postgres"), provider._named(query.table)
    sql = postgres.PostgresQuery(CompiledQuery(query._replace(limit=2**31 - 2)), names, provider._schema)
    keys = [str(key) for (key,) in provider._rows(query.table, sql.rows("key"), list(sql.values.values()))]
    text = f"select key, version, {postgres.EXACT} as sent from {names} where key = any(cast($1 as text[]))"  # noqa: S608
    for start in range(0, len(keys), _AT_ONCE):
        some = keys[start : start + _AT_ONCE]
        found = {row[0]: row for row in provider._rows(query.table, text, [postgres.array(some)])}
        yield from (stored_record(*found[key]) for key in some if key in found)
