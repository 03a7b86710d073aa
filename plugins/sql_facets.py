"""How often values of a field occur among records, counted by SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import app
from app import CompiledQuery, Json, Query, SqlProvider, quote_name, value_of_key

if TYPE_CHECKING:
    from plugins import groups
    from plugins.postgres import PostgresProvider
else:
    groups = app.plugin("groups")

# ==== 1. FACETS ==================================================================================================
# A statement that takes no lists apart is quicker: the other one is asked where there are some.
# uses: VALUES PROVIDERS plugin:groups plugin:postgres plugin:postgres_groups
# defines: of_sqlite of_postgres postgres_items

_Rows = Sequence[Sequence[Any]]


def of_sqlite(provider: SqlProvider, query: Query, field: str, most: int) -> list[tuple[Json, int]]:
    """What Records.facet() promises. Raises QueryTimeout in a block of groups.within()."""

    def rows(items: bool) -> _Rows:
        known: _Rows | None = provider._counts.facet(query, field, most, items=items)
        if known is not None:
            return known
        asked, make = CompiledQuery(query._replace(after="")), _statement(field, most, items)
        found: _Rows = provider._rows(asked, make, groups.deadline())
        return found

    return _counted(rows, most)


def of_postgres(provider: PostgresProvider, query: Query, field: str, most: int) -> list[tuple[Json, int]]:
    """The same."""
    postgres, postgres_groups = app.plugin("postgres"), app.plugin("postgres_groups")

    def rows(items: bool) -> _Rows:
        asked = CompiledQuery(query._replace(after="", order_by=()))
        sql = postgres.PostgresQuery(asked, provider._named(query.table), provider._schema)
        text = _statement(field, most, items)(sql)
        found: _Rows = postgres_groups.rows(provider, query.table, text, list(sql.values.values()))
        return found

    return _counted(rows, most)


def _statement(field: str, most: int, items: bool) -> Callable[[Any], str]:
    return lambda sql: str((sql.item_facet if items else sql.facet)(field, most))


def _counted(rows: Callable[[bool], _Rows], most: int) -> list[tuple[Json, int]]:
    found = rows(False)
    if found and found[0][0] == "z":
        found = rows(True)
    return [(value_of_key(key or ""), int(count)) for key, count in found[:most]]


def postgres_items(schema: str, value: str) -> tuple[str, str]:
    """What SqlQuery._items promises, of a jsonb."""
    found = f"case when jsonb_typeof({value}) = 'array' then {value} else '[]' end"
    return f"jsonb_array_elements({found}) as item(value)", f'({quote_name(schema)}._sort_key(item.value) collate "C")'
