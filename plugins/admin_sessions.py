"""admin/sessions: who is signed in, since when, from where and until when; each can be ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from app import (
    COUNT_S,
    COUNTED,
    Action,
    Caller,
    Change,
    Column,
    Condition,
    Config,
    Endpoint,
    Exchange,
    ListQuery,
    NotFound,
    Plan,
    Query,
    Record,
    Records,
    Request,
    Response,
    Scope,
    Table,
    Update,
    Value,
    no_params,
    paged,
    plugin,
    rfc3339,
)  # fmt: skip

if TYPE_CHECKING:
    from plugins import admin
    from plugins.locale import Locale
else:
    admin = plugin("admin")

# ==== 1. SESSIONS ================================================================================================
# The sessions that have not ended. Their keys are digests of what signs in: a row is named by the beginning of its own.
# uses: ERRORS VALUES CONFIG CONTRACTS RUNNERS RESOURCES plugin:admin plugin:locale plugin:people
# defines: Sessions

_COLUMNS = ("subject", "jti", "created_at", "used_at", "expires_at", "client")
_ID_LETTERS = 16  # of a session's digest: enough to name it, and nothing that signs in


class Sessions(admin.AdminTable):
    """The sessions, the latest sign-in first."""

    endpoints = (Endpoint(""), Endpoint("ID", (Action.DELETE,)))
    order_by = ("-expires_at",)  # an index has it, and a session lasts as long as any other
    template = "sessions.tpl"
    asked = ("subject", "client", "created_at", "used_at", "expires_at")
    missing = "there is no session {}"

    def __init__(
        self, state: Records, config: Config, locale: Locale, name: str = "sessions", columns: Sequence[str] = _COLUMNS
    ) -> None:
        super().__init__(name, columns, [state], locale, secret=True)
        self.columns = (*self.columns, Column("id", "Id"))
        self.records, self._idle_s = state, config.auth.session_idle_s

    def handle(self, request: Request, scope: Scope) -> Plan:
        if not request.path:
            return super().handle(request, scope)
        no_params(request)
        row = self._named(request.path[0])
        ended = Change(Update("_sessions", row.key, row.value | {"expires_at": int(scope.now)}, row.version), row.value)
        answer = Response(page={"notice": self.locale.t("sessions.ended", subject=row.value["subject"])})
        return Plan(respond=lambda blobs: answer, changes=[ended])

    def _named(self, name: str) -> Record:
        """The row of that id. Raises NotFound if there is none."""
        wanted = Query(self.table, (Condition("id", "prefix", name),), limit=2)
        found = cast(Records, self.records).find(wanted).items if len(name) >= _ID_LETTERS else []
        if len(found) != 1 or found[0].damage:
            raise NotFound(self.missing.format(name[:64]))
        return found[0]

    def _found(self, request: Request, scope: Scope, asked: ListQuery, query: Query) -> Table:
        """Those of one place in another order than that of their keys."""
        state = cast(Records, self.records)
        row = partial(self.row, caller=scope.caller)
        count = state.count(query) if asked.wants_count else None
        if request.whole:
            return Table(self.columns, map(row, state.walk(query)), count=count)
        page = state.find(query._replace(after=asked.after))
        size = partial(state.count_up_to, query, COUNTED + 1, COUNT_S)
        before = None if asked.after else 0
        return paged(self.columns, map(row, page.items), page.next, before=before, count=count, size=size)

    def row(self, record: Record, caller: Caller) -> Value:
        found = super().row(record, caller)
        if not record.damage:
            ends_at = float(record.value["expires_at"])
            if "used_at" in record.value:  # which one of an older version does not say
                ends_at = min(ends_at, record.value["used_at"] + self._idle_s)
            found["expires_at"] = rfc3339(ends_at)
        return found | {"id": record.key[:_ID_LETTERS]}

    # -- pages

    def shown(self, request: Request, scope: Scope) -> Value:
        return {"build": self._list_page, "own": scope.caller.session[:_ID_LETTERS]}

    def _list_page(self, exchange: Exchange, response: Response) -> Mapping[str, Any]:
        """A line for each session that a request would still go on with."""
        at, show = Column("", "", "string", "date-time"), exchange.locale.show
        names = plugin("people").names(self.records, [row["subject"] for row in cast(Table, response.table).rows])
        lines = []
        for row in cast(Table, response.table).rows:
            times = {name: show(at, row[name]) for name in ("created_at", "used_at", "expires_at")}
            end = exchange.url(f"{self.address}/{row['id']}", _method="DELETE")
            lines.append(SimpleNamespace(
                **times, subject=row["subject"], name=names.get(row["subject"], ""), client=row["client"] or "",
                is_token=bool(row["jti"]), own=row["id"] == response.page["own"],
                end_action=end if response.caller.may(Action.DELETE, f"{self.address}/{row['id']}") else "",
            ))  # fmt: skip
        return {"lines": lines}
