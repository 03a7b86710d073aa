"""The built-in administration: what Satchel keeps for itself, as lists to be read, and its metrics."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from app import (
    COUNT_S,
    COUNTED,
    FORMAT_HELP,
    LOST,
    App,
    BadRequest,
    Column,
    Condition,
    Config,
    Damaged,
    Page,
    Plan,
    Query,
    Record,
    Records,
    Request,
    Resource,
    Response,
    Scope,
    Table,
    Value,
    encode_cursor,
    no_params,
    page_of,
    paged,
    plan_of,
    plugin,
    read_list,
    rfc3339,
    text_cursor,
)  # fmt: skip

if TYPE_CHECKING:
    from plugins.locale import Locale

# ==== 1. ADMIN ===================================================================================================
# Resources of the type admin, which no app.toml declares.
# uses: ERRORS VALUES CONFIG CONTRACTS RESOURCES PROVIDERS ASSEMBLY plugin:admin_tokens plugin:locale plugin:metrics
#       plugin:people
# defines: TOKENS SESSIONS lists join AdminTable Metrics

_AUDIT = (
    "at", "subject", "action", "resource", "record", "outcome", "code", "changes", "before", "after", "door", "client",
    "count", "token_id", "request_id",
)  # fmt: skip
TOKENS = ("subject", "label", "grants", "roles", "issued_at", "expires_at", "used_at", "revoked_at")
SESSIONS = ("subject", "jti", "created_at", "expires_at")


def lists(
    state: Records, audit_stores: Sequence[Records], config: Config, titles: Mapping[str, str], locale: Locale
) -> list[Resource]:
    """The audit trail, merged over the places where its entries are; people, tokens and sessions. `titles` are those of what
    the site has, by address."""
    tokens = plugin("admin_tokens")
    return [
        AdminTable("audit", _AUDIT, audit_stores, locale),
        plugin("people").resource(config, state, titles, locale),
        tokens.Tokens(state, config, titles, locale),
        tokens.Sessions(state, locale),
    ]


def join(app: App) -> None:
    """Let the built-in resources ask what only the whole App knows."""
    app.resources["admin/metrics"] = Metrics(lambda: plugin("metrics").samples(app))
    cast(Any, app.resources["admin/tokens"]).authority = lambda: app.authority


def _newest(sources: Iterable[Iterable[Record]]) -> Iterator[Record]:
    return heapq.merge(*sources, key=lambda record: record.key, reverse=True)


class AdminTable(Resource):
    """A read-only list of rows that Satchel keeps for itself, merged over the places where they are, newest key first."""

    type = "admin"

    def __init__(
        self,
        name: str,
        columns: Sequence[str],
        sources: Sequence[Records],
        locale: Locale,
        *,
        secret: bool = False,
    ) -> None:
        """`secret`: keys are secret, and rows past their expires_at are left out."""
        self.name, self.locale, self.secret = name, locale, secret
        self.providers = self.sources = tuple(sources)
        self.title, self.table = name.capitalize(), f"_{name}"
        self.seconds = frozenset(column for column in columns if column.endswith("_at"))  # kept as Unix seconds, 0 = never
        key = () if secret else (Column("id", "Id"),)
        times = dict.fromkeys((*self.seconds, "at"), "date-time")
        types = {"count": "number"}
        titled = (
            Column(one, one.replace("_", " ").capitalize(), types.get(one, "string"), times.get(one, "")) for one in columns
        )
        self.columns = (*titled, *key)

    def describe(self) -> Value:
        """Its columns."""
        return {"columns": self.columns}

    def handle(self, request: Request, scope: Scope) -> Plan:
        asked = read_list(request.params, self.columns, self.locale)
        if asked.order_by not in ((), ("-id",)):
            raise BadRequest("this list is sorted by id, the newest first")
        texts = tuple(column.name for column in self.columns if column.name not in ("id", *self.seconds))
        query = Query(self.table, tuple(map(self._kept, asked.where)), ("-id",), asked.size, "", asked.search, texts)
        query = query._replace(instants=frozenset(("at",)))
        if self.secret:
            query = query._replace(where=(*query.where, Condition("expires_at", "gt", int(scope.now))))
        count = sum(source.count(query) for source in self.sources) if asked.wants_count else None
        size = partial(self._size, query)
        if asked.after:
            query = query._replace(where=(*query.where, Condition("id", "lt", text_cursor(asked.after))))
        if request.whole:
            table = Table(self.columns, map(self._row, _newest(source.walk(query) for source in self.sources)), count=count)
        else:
            records, more = self._page([source.find(query) for source in self.sources], asked.size)
            rows, following = map(self._row, records), encode_cursor(records[-1].key) if more else None
            table = paged(self.columns, rows, following, before=None if asked.after else 0, count=count, size=size)
        page = {"title": self.title, "note": "", "search": asked.search}
        return plan_of(Response(table=table, template="table.tpl", page=page))

    def _page(self, pages: Sequence[Page], limit: int) -> tuple[list[Record], bool]:
        """The newest records of all pages, and whether there are more; a page that ends early hides what follows."""
        known = max((page.items[-1].key for page in pages if page.next), default="")
        newest = itertools.takewhile(lambda record: record.key >= known, _newest(page.items for page in pages))
        records, more = page_of(newest, limit)
        return records, more or any(page.next for page in pages)

    def _size(self, query: Query) -> int | None:
        """What Table.size promises."""
        counts = [source.count_up_to(query, COUNTED + 1, COUNT_S / len(self.sources)) for source in self.sources]
        return None if None in counts else min(sum(cast(list[int], counts)), COUNTED + 1)

    def _kept(self, condition: Condition) -> Condition:
        """The condition on times as they are kept."""
        name, op, value = condition.field, condition.op, condition.value
        if name not in self.seconds:
            return condition
        if op == "null":
            return Condition(name, "eq" if value else "ne", 0)
        try:
            seconds = [plugin("locale").parse_rfc3339(text) for text in (value if op == "in" else [value])]
        except (ValueError, OverflowError):
            raise BadRequest(f"{name} {FORMAT_HELP['date-time']}") from None
        return Condition(name, op, seconds if op == "in" else seconds[0])

    def _row(self, record: Record) -> Value:
        if record.damage:
            return {one.name: Damaged(LOST, record.damage) for one in self.columns} | {"id": record.key}
        values: Value = {"id": record.key} | record.value
        values |= {name: rfc3339(values[name]) if values[name] else None for name in self.seconds}
        return {column.name: values.get(column.name) for column in self.columns}


class Metrics(Resource):
    """What is counted and measured: `{"metrics": […]}`, of each meter name, type, help and samples with their labels."""

    type, name, title = "admin", "metrics", "Metrics"

    def __init__(self, read: Callable[[], Sequence[Value]]) -> None:
        self.read = read

    def handle(self, request: Request, scope: Scope) -> Plan:
        no_params(request)
        return plan_of(Response(data={"metrics": self.read()}, template="metrics.tpl", page={"title": self.title}))
