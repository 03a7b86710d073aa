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
# defines: groups rows


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
    rules.check(measures)
    grouping, query = _PostgresGrouping(by, measures, most), query._replace(after="", order_by=())
    fields = [*by, *(one.field for one in measures)]
    if provider._compares_here(query._replace(order_by=tuple(fields))):
        return rules.of_read(provider, query, by, measures, most)
    postgres = app.plugin("postgres")
    sql = postgres.PostgresQuery(CompiledQuery(query), provider._named(query.table), provider._schema)
    text = grouping.statement(sql)
    return grouping.answer(rows(provider, query.table, text, list(sql.values.values())))


def rows(provider: PostgresProvider, table: str, text: str, values: Sequence[Json]) -> Sequence[Sequence[Json]]:
    """Those of a statement over a table, none if there is no such table. Raises QueryTimeout."""
    if rules.limit_s() >= rules.GROUPS_S:
        return provider._rows(table, text, values)
    postgres = app.plugin("postgres")
    limit = f"set local statement_timeout = {postgres.milliseconds(rules.limit_s())}"
    with provider.reading("adding up records") as link:
        if not provider._has_table(link, table):
            return []
        try:
            return link.run(("begin read only", ()), (limit, ()), (text, values), ("commit", ())).rows
        except Exception as error:
            postgres.roll_back(link)
            if postgres.state_of(error) == "57014":
                raise rules.too_long() from error
            raise
