"""Groups of records in PostgreSQL, whose numbers are exact by themselves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import app
from app import CompiledQuery, Json, Measure, Query

if TYPE_CHECKING:
    from plugins import groups as rules
    from plugins import sql_groups
    from plugins.postgres import PostgresProvider
else:
    rules, sql_groups = app.plugin("groups"), app.plugin("sql_groups")

# ==== 1. POSTGRES ================================================================================================
# One statement, which ends after the provider's `timeout`.
# uses: VALUES PROVIDERS plugin:groups plugin:postgres plugin:sql_groups
# defines: groups


class _PostgresGrouping(sql_groups.Grouping):
    fence = "offset 0"

    def _number(self, sql: Any, name: str) -> str:
        if name in ("id", "version"):
            return "null::numeric" if name == "id" else "version::numeric"
        if app.check_text(name):
            return "null::numeric"
        literal = app.plugin("postgres").literal(name)
        return f"case when jsonb_typeof(data->{literal}) = 'number' then (data->>{literal})::numeric end"

    def _sum(self, column: str) -> str:
        return f"count({column}) || ' ' || sum({column})"


def groups(
    provider: PostgresProvider, query: Query, by: Sequence[str], measures: Sequence[Measure], most: int
) -> list[Sequence[Json]]:
    """What Records.groups() promises. Where the account may not make what compares moments, the records are read."""
    grouping, query = _PostgresGrouping(by, measures, most), query._replace(after="", order_by=())
    fields = [*by, *(one.field for one in measures)]
    if provider._compares_here(query._replace(order_by=tuple(fields))):
        return rules.of_read(provider, query, by, measures, most)
    postgres = app.plugin("postgres")
    sql = postgres.PostgresQuery(CompiledQuery(query), provider._named(query.table), provider._schema)
    text = grouping.statement(sql)
    return grouping.answer(provider._rows(query.table, text, list(sql.values.values())))
