"""admin/links: which files, folders and views can be reached by links, who made them, and how often they were used."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from app import (
    Action,
    Caller,
    Change,
    Column,
    Config,
    Delete,
    Exchange,
    Plan,
    Record,
    Records,
    Request,
    Response,
    Scope,
    Table,
    Value,
    no_params,
    plugin,
)

if TYPE_CHECKING:
    from plugins import admin_sessions, links
    from plugins.locale import Locale
else:
    admin_sessions, links = plugin("admin_sessions"), plugin("links")

# ==== 1. LINKS ===================================================================================================
# The share links that have not ended. As those of sessions, their rows are named by the beginning of their keys.
# uses: VALUES CONFIG CONTRACTS RUNNERS RESOURCES plugin:admin_sessions plugin:links plugin:locale plugin:people
# defines: Links

_COLUMNS = ("address", "action", "subject", "created_at", "expires_at", "used_at", "uses")


class Links(admin_sessions.Sessions):
    """The links, those that work longest first."""

    template = "links.tpl"
    missing = "there is no link {}"

    def __init__(self, state: Records, config: Config, locale: Locale) -> None:
        super().__init__(state, config, locale, "links", _COLUMNS)
        self.table = links.TABLE
        count = {one.name: one._replace(type="integer") for one in self.columns if one.name == "uses"}
        self.columns = tuple(count.get(one.name, one) for one in self.columns)
        self.columns = (*self.columns, Column("query", "Query"), Column("has_password", "Has password", "boolean"))

    def asked_of(self, caller: Caller) -> tuple[Column, ...]:
        """What is kept as it is shown."""
        return tuple(one for one in self.columns if one.name not in ("query", "has_password", "id"))

    def handle(self, request: Request, scope: Scope) -> Plan:
        if not request.path:
            return super().handle(request, scope)
        no_params(request)
        row = self._named(request.path[0])
        told: Value = links.row_of(row)
        answer = Response(page={"notice": self.locale.t("links.ended")})
        return Plan(respond=lambda blobs: answer, changes=[Change(Delete(links.TABLE, row.key, row.version), told)])

    def row(self, record: Record, caller: Caller) -> Value:
        if record.damage:
            return {one.name: None for one in self.columns} | {"id": record.key[: links.ID_LETTERS]}
        told = links.row_of(record) | {"subject": record.value["subject"]}
        told["query"] = links.address_with(told).partition("?")[2]
        return {one.name: told[one.name] for one in self.columns}

    def _list_page(self, exchange: Exchange, response: Response) -> Mapping[str, Any]:
        at, rows = Column("", format="date-time"), list(cast(Table, response.table).rows)
        names = plugin("people").names(self.records, [row["subject"] for row in rows])
        found = []
        for row in rows:
            times = {name: exchange.locale.show(at, row[name]) for name in ("created_at", "expires_at", "used_at")}
            end = exchange.url(f"{self.address}/{row['id']}", _method="DELETE")
            shown = row["address"] + (f"?{row['query']}" if row["query"] else "")
            found.append(SimpleNamespace(
                **times, shown=shown, subject=row["subject"], name=names.get(row["subject"], ""), uses=row["uses"],
                has_password=row["has_password"], takes_files=row["action"] == Action.CREATE, href=exchange.url(shown),
                end_action=end if response.caller.may(Action.DELETE, f"{self.address}/{row['id']}") else "",
            ))  # fmt: skip
        return {"lines": found, "search": response.page["search"]}
