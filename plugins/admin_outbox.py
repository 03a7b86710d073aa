"""admin/outbox: what waits to be sent and what could not be; each can be tried again or taken out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar, cast
from urllib.parse import quote

from app import (
    Action,
    BadRequest,
    Caller,
    Change,
    Column,
    Condition,
    Delete,
    Endpoint,
    Exchange,
    NotFound,
    Plan,
    Query,
    Record,
    Records,
    Request,
    Resource,
    Response,
    Scope,
    Table,
    Update,
    Value,
    is_key,
    no_params,
    plan_of,
    plugin,
    rfc3339,
)

if TYPE_CHECKING:
    from plugins import admin
    from plugins.locale import Locale
else:
    admin = plugin("admin")

# ==== 1. OUTBOX ==================================================================================================
# The rows of all outboxes, the newest first. What a notice says of a record is not shown: who looks here may not be somebody
# who may read that.
# uses: ERRORS VALUES CONTRACTS RUNNERS RESOURCES plugin:admin plugin:locale plugin:outbox
# defines: STATES OutboxRows

STATES = ("open", "waiting", "planned", "dead")  # open: all that is there but for reminders whose time has not come
_COLUMNS = ("at", "channel", "kind", "to", "about", "event", "state", "tries", "next_at", "until", "why")
_STORED = ("channel", "kind", "to", "state", "tries", "why")  # that filters ask the provider for
_TIMES = ("at", "next_at", "until")
_STATE_WORDS = {"waiting": "outbox.is_waiting", "planned": "outbox.is_planned", "dead": "outbox.is_dead"}
_SHOW_WORDS = {
    "open": "outbox.show_open", "waiting": "outbox.show_waiting", "planned": "outbox.show_planned",
    "dead": "outbox.show_dead",
}  # fmt: skip
_EVENTS = {
    "create": "outbox.e_create", "update": "outbox.e_update", "delete": "outbox.e_delete", "comment": "outbox.e_comment",
    "reminder": "outbox.e_reminder", "digest": "outbox.e_digest", "sign_in": "outbox.e_sign_in",
    "invitation": "outbox.e_invitation", "link": "outbox.e_link",
}  # fmt: skip
_FACTS = {
    "at": "outbox.f_at", "channel": "outbox.f_channel", "to": "outbox.f_to", "about": "outbox.f_about",
    "event": "outbox.f_event", "state": "outbox.f_state", "tries": "outbox.f_tries", "next_at": "outbox.f_next_at",
    "until": "outbox.f_until", "why": "outbox.f_why", "id": "outbox.f_id",
}  # fmt: skip


class OutboxRows(admin.AdminTable):
    """The outbox."""

    endpoints = (
        Endpoint(""),
        Endpoint("ID", (Action.READ, Action.DELETE)),
        Endpoint("ID/retry", (Action.CREATE,)),
    )
    own: ClassVar[Sequence[str]] = ("show",)
    template = "outbox.tpl"
    asked = ("channel", "to", "tries", "at", "next_at")

    def __init__(self, stores: Sequence[Records], locale: Locale) -> None:
        super().__init__("outbox", (), stores, locale)
        self.seconds = frozenset(_TIMES)
        known = {"tries": "integer"}
        self.columns = tuple(
            Column(one, one.replace("_", " ").capitalize(), known.get(one, "string"), "date-time" if one in _TIMES else "")
            for one in (*_COLUMNS, "id")
        )
        self.records = self.sources[0]
        self.shown_in: Callable[[Any], Mapping[str, Resource]]  # the resources of the site in a language, set by the App

    def seen_by(self, caller: Caller) -> Resource:
        """One of its own for each request, which says in `records` where the row is that it is about."""
        return cast(Resource, copy(self))

    def describe(self) -> Value:
        """Its columns, and what may be asked beside them."""
        return {"columns": self.columns, "params": {"show": {"type": "string", "enum": list(STATES)}}}

    def handle(self, request: Request, scope: Scope) -> Plan:
        if not request.path:
            return super().handle(request, scope)
        no_params(request)
        row = self._named(request.path[0])
        if request.action == Action.READ:
            return self._one(row, scope)
        told = {name: one for name, one in row.value.items() if name != "facts"}  # which holds the record
        if request.action == Action.DELETE:
            change = Change(Delete("_outbox", row.key, row.version), told)
            answer = Response(page={"notice": self.locale.t("outbox.dropped")}, location=self.address)
        else:
            tried = plugin("outbox").again(row, scope.now)
            change = Change(Update("_outbox", row.key, tried, row.version), row.value)
            data = self.row(row._replace(value=tried, version=row.version + 1), scope.caller)
            answer = Response(data=data, page={"notice": self.locale.t("outbox.again")}, location=self.address)
        return Plan(respond=lambda blobs: answer, changes=[change])

    def _named(self, key: str) -> Record:
        """The row of that id. Raises NotFound if there is none."""
        for store in self.sources if is_key(key) else ():
            if row := store.get("_outbox", key):
                self.records = store
                return row
        raise NotFound(f"the outbox has no {key[:64]}: it was sent, or taken out")

    def row(self, record: Record, caller: Caller) -> Value:
        """A row as it is shown: times for people, and what it is about."""
        value = record.value
        facts = cast(Value, value.get("facts") or {})
        about = f"forms/{facts['form']}/records/{quote(str(facts['record']), safe='')}" if "record" in facts else ""
        shown: Value = {name: value.get(name) for name in _STORED} | {"id": record.key}
        shown |= {
            "about": about or facts.get("view") or "",
            "event": facts.get("event") or "",
            "why": value.get("why") or "",
        }
        shown |= {"state": value.get("state") or "waiting", "to": value.get("to") or facts.get("email") or ""}
        if record.damage:
            return super().row(record, caller)
        times = {name: rfc3339(value[name]) if value.get(name) else None for name in _TIMES}
        return {column.name: (shown | times).get(column.name) for column in self.columns}

    def queries(self, query: Query, request: Request, scope: Scope) -> list[Query]:
        show = request.params.get("show") or "open"
        if show not in STATES:
            raise BadRequest(f"show is {show!r}: write {', '.join(STATES)}")
        for one in query.where:
            if one.field not in (*_STORED, *_TIMES, "id"):
                raise BadRequest(f"{one.field} is no filter here: {', '.join((*_STORED, *_TIMES))}")
        is_asked = any(one.field == "state" for one in query.where)
        told = Condition("state", "ne", "planned") if show == "open" else Condition("state", "eq", show)
        more = () if is_asked else (told,)
        texts = ("channel", "kind", "to", "why")
        return [query._replace(where=(*query.where, *more), instants=frozenset(), search_fields=texts)]

    # -- pages

    def _one(self, row: Record, scope: Scope) -> Plan:
        data = self.row(row, scope.caller)
        title = self.locale.t("outbox.one")
        trail = [(self.locale.t("admin.outbox"), self.address), (title, "")]
        page = {"title": title, "build": partial(self._facts, data), "trail": trail}
        return plan_of(Response(data=data, template="notice.tpl", page=page))

    def shown(self, request: Request, scope: Scope) -> Value:
        return {"build": self._list_page, "show": request.params.get("show") or "open"}

    def _facts(self, data: Value, exchange: Exchange, response: Response) -> Mapping[str, Any]:
        line = self._line(exchange, response, data)
        show, t = exchange.locale.show, exchange.locale.t
        columns = {column.name: column for column in self.columns}
        told = {name: line.state if name == "state" else show(columns[name], data[name]) for name in _FACTS}
        fields = [SimpleNamespace(title=t(_FACTS[name]), text=text, href="", multiline=False) for name, text in told.items()]
        return {"line": line, "fields": fields}

    def _list_page(self, exchange: Exchange, response: Response) -> Mapping[str, Any]:
        rows = [dict(row) for row in cast(Table, response.table).rows]
        states = {one: exchange.locale.t(key) for one, key in _SHOW_WORDS.items()}
        lines = [self._line(exchange, response, row) for row in rows]
        return {"lines": lines, "states": states, "show": response.page["show"]}

    def _line(self, exchange: Exchange, response: Response, row: Value) -> SimpleNamespace:
        """A row for people."""
        at, t = Column("", "", "string", "date-time"), exchange.locale.t
        address = f"{self.address}/{quote(str(row['id']), safe='')}"
        may, state, event = response.caller.may, str(row["state"]), str(row["event"] or row["kind"])
        about = self.shown_in(exchange.locale).get("/".join(str(row["about"] or "").split("/")[:2]))
        return SimpleNamespace(
            href=exchange.url(address), channel=row["channel"] or "", to=row["to"] or "",
            event=t(_EVENTS[event]) if event in _EVENTS else event, about=about.title if about else "",
            why=row["why"] or "", tries=row["tries"] or 0, dead=state == "dead",
            state=t(_STATE_WORDS.get(state, "outbox.is_waiting")),
            at=exchange.locale.show(at, row["at"]), next_at=exchange.locale.show(at, row["next_at"]),
            retry=exchange.url(f"{address}/retry") if may(Action.CREATE, f"{address}/retry") else "",
            drop=exchange.url(address, _method="DELETE") if may(Action.DELETE, address) else "",
        )  # fmt: skip
