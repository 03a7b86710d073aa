"""The built-in administration: what Satchel keeps for itself, as lists to be read, and its metrics."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, cast

from app import (
    COUNT_S,
    COUNTED,
    LOST,
    App,
    BadRequest,
    Caller,
    Column,
    Condition,
    Config,
    Damaged,
    Files,
    ListQuery,
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
)

if TYPE_CHECKING:
    from plugins.locale import Locale

# ==== 1. ADMIN ===================================================================================================
# Resources of the type admin, which no app.toml declares: what all of them share, and which there are.
# uses: ERRORS VALUES CONFIG CONTRACTS RESOURCES PROVIDERS ASSEMBLY plugin:admin_access plugin:admin_audit
#       plugin:admin_check plugin:admin_links plugin:admin_outbox plugin:admin_providers plugin:admin_sessions
#       plugin:admin_tokens plugin:fields plugin:locale plugin:mailed_links plugin:metrics plugin:outbox plugin:people
# defines: TITLES lists retitled join AdminTable Metrics

TITLES: Mapping[str, str] = {  # as programs get them; pages have those of their language, "admin.people"
    f"admin/{name}": name.capitalize()
    for name in ("people", "tokens", "sessions", "links", "access", "audit", "outbox", "providers", "check", "metrics")
}


def lists(
    state: Records, audit_stores: Sequence[Records], config: Config, titles: Mapping[str, str], locale: Locale
) -> list[Resource]:
    """The audit trail, merged over the places where its entries are; people, tokens and sessions. `titles` are those of what
    the site has, by address."""
    return [
        plugin("admin_audit").Trail(audit_stores, config, titles, locale),
        plugin("people").resource(config, state, titles, locale),
        plugin("admin_tokens").Tokens(state, config, titles, locale),
        plugin("admin_sessions").Sessions(state, config, locale),
        plugin("admin_links").Links(state, config, locale),
        plugin("admin_access").Access(state, config, titles, locale),
        plugin("admin_outbox").OutboxRows([state], locale),
    ]


def retitled(own: Mapping[str, str], titles: Mapping[str, str]) -> dict[str, str]:
    """Titles by address, as far as there are others those."""
    return {address: titles.get(address, title) for address, title in own.items()}


def join(app: App) -> None:
    """Let the built-in resources ask what only the whole App knows."""
    app.resources["admin/metrics"] = Metrics(lambda: plugin("metrics").samples(app))
    app.resources["admin/providers"] = plugin("admin_providers").Providers(app)
    app.resources["admin/check"] = plugin("admin_check").Check(app)
    for share in app.resources.values():
        if isinstance(share, Files):
            share.site = app
    outbox = cast(Any, app.resources["admin/outbox"])
    outbox.shown_in = app.languages.shown
    outbox.providers = outbox.sources = tuple(plugin("outbox").stores(app))
    cast(Any, app.resources["admin/audit"]).shown_in = app.languages.shown
    cast(Any, app.resources["admin/tokens"]).authority = lambda: app.authority
    cast(Any, app.resources["admin/people"]).invited = lambda *args: plugin("mailed_links").invited(app, *args)


def _newest(sources: Iterable[Iterable[Record]]) -> Iterator[Record]:
    return heapq.merge(*sources, key=lambda record: record.key, reverse=True)


class AdminTable(Resource):
    """A list of rows that Satchel keeps for itself, merged over the places where they are, newest key first."""

    type = "admin"
    own: ClassVar[Sequence[str]] = ()  # parameters beside those of its columns
    asked: ClassVar[Sequence[str]] = ()  # columns that its page has controls for, beside those of its template …
    typed: ClassVar[Sequence[str]] = ()  # … for these
    order_by = ("-id",)
    template = "table.tpl"

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
        self.name, self.locale, self.secret, self.address = name, locale, secret, f"admin/{name}"
        self.providers = self.sources = tuple(sources)
        self.title, self.table = TITLES[self.address], f"_{name}"
        self.seconds = frozenset(column for column in columns if column.endswith("_at"))  # kept as Unix seconds, 0 = never
        key = () if secret else (Column("id", "Id"),)
        times = dict.fromkeys((*self.seconds, "at"), "date-time")
        types = {"count": "number", "grants": "array", "roles": "array"}
        titled = (
            Column(one, one.replace("_", " ").capitalize(), types.get(one, "string"), times.get(one, "")) for one in columns
        )
        self.columns = (*titled, *key)

    def describe(self) -> Value:
        """Its columns."""
        return {"columns": self.columns}

    def handle(self, request: Request, scope: Scope) -> Plan:
        columns = self.asked_of(scope.caller)
        asked = read_list(request.params, columns, self.locale, self.own)
        if asked.order_by not in ((), ("-id",)):
            raise BadRequest("this list is sorted by id, the newest first")
        texts = tuple(column.name for column in columns if column.name not in ("id", *self.seconds))
        query = Query(self.table, tuple(map(self._kept, asked.where)), self.order_by, asked.size, "", asked.search, texts)
        query = query._replace(instants=frozenset(("at",)))
        if self.secret:
            query = query._replace(where=(*query.where, Condition("expires_at", "gt", int(scope.now))))
        page = {
            "title": self.locale.t(f"admin.{self.name}"),
            "note": "",
            "search": asked.search,
            "asks": tuple(
                one._replace(title=self.locale.t(f"asked.{one.name}")) for one in columns if one.name in self.asked
            ),
            "own_params": (*self.own, *self.typed),
            **self.shown(request, scope),
        }
        return plan_of(Response(table=self._found(request, scope, asked, query), template=self.template, page=page))

    def asked_of(self, caller: Caller) -> Sequence[Column]:
        """The columns that a caller may filter by and search in."""
        return self.columns

    def shown(self, request: Request, scope: Scope) -> Value:
        """What the page of the list needs beside its rows."""
        return {}

    def queries(self, query: Query, request: Request, scope: Scope) -> list[Query]:
        """What the list asks of each place; no two of them select the same row. `query` is what the parameters of its
        columns come to."""
        return [query]

    def _found(self, request: Request, scope: Scope, asked: ListQuery, query: Query) -> Table:
        queries, row = self.queries(query, request, scope), partial(self.row, caller=scope.caller)
        pairs = [(source, one) for source in self.sources for one in queries]
        count = sum(source.count(one) for source, one in pairs) if asked.wants_count else None
        size = partial(self._size, pairs)
        if asked.after:
            older = Condition("id", "lt", text_cursor(asked.after))
            pairs = [(source, one._replace(where=(*one.where, older))) for source, one in pairs]
        if request.whole:
            rows = map(row, _newest(source.walk(one) for source, one in pairs))
            return Table(self.columns, rows, count=count)
        records, more = self._page([source.find(one) for source, one in pairs], asked.size)
        following = encode_cursor(records[-1].key) if more else None
        before = None if asked.after else 0
        return paged(self.columns, map(row, records), following, before=before, count=count, size=size)

    def _page(self, pages: Sequence[Page], limit: int) -> tuple[list[Record], bool]:
        """The newest records of all pages, and whether there are more; a page that ends early hides what follows."""
        known = max((page.items[-1].key for page in pages if page.next), default="")
        newest = itertools.takewhile(lambda record: record.key >= known, _newest(page.items for page in pages))
        records, more = page_of(newest, limit)
        return records, more or any(page.next for page in pages)

    def _size(self, pairs: Sequence[tuple[Records, Query]]) -> int | None:
        """What Table.size promises."""
        counts = [source.count_up_to(one, COUNTED + 1, COUNT_S / len(pairs)) for source, one in pairs]
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
            raise BadRequest(f"{name} {plugin('fields').FORMAT_HELP['date-time']}") from None
        return Condition(name, op, seconds if op == "in" else seconds[0])

    def row(self, record: Record, caller: Caller) -> Value:
        """A row as this caller may see it."""
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
