"""admin/audit: who did what, and when. A list with filters, and a page of each event with what it changed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from functools import cached_property
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar, cast
from urllib.parse import quote

from app import (
    Action,
    AppError,
    BadRequest,
    Caller,
    Column,
    Condition,
    Config,
    Endpoint,
    Exchange,
    Fault,
    Form,
    FormConfig,
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
    Value,
    damage_of,
    is_key,
    nearest,
    no_params,
    plan_of,
    plugin,
    read_config,
    rfc3339,
    split_path,
)

if TYPE_CHECKING:
    from plugins import admin, audit_words
    from plugins.fields import Field
    from plugins.locale import Locale
else:
    admin, audit_words = plugin("admin"), plugin("audit_words")

# ==== 1. TRAIL ===================================================================================================
# The entries, merged over the places where they are. What a program reads is each entry as it is kept; a page says in one
# line what happened. Fields that the reader may not see are masked in both.
# uses: ERRORS VALUES CONFIG CONTRACTS RUNNERS RESOURCES plugin:admin plugin:audit_words plugin:fields plugin:locale
#          plugin:row_rules
#       plugin:people
# defines: MASKED Trail

_COLUMNS = (
    "at", "subject", "action", "resource", "record", "outcome", "code", "comment", "changes", "before", "after", "door",
    "client", "count", "token_id", "request_id",
)  # fmt: skip
MASKED = "•••"  # stands for a value that the reader may not see
_APART_S = 3600  # between the time in an entry and that in its key, and between the clocks of nodes
_TOGETHER_S, _MOST_TOGETHER = 120, 100  # entries of one request that its page names


class Trail(admin.AdminTable):
    """The audit trail."""

    endpoints = (Endpoint(""), Endpoint("ID"))
    own: ClassVar[Sequence[str]] = ("within", "from", "to")
    template = "audit.tpl"
    asked = ("record", "code", "door", "client", "comment", "request_id")

    def __init__(self, stores: Sequence[Records], config: Config, titles: Mapping[str, str], locale: Locale) -> None:
        super().__init__("audit", _COLUMNS, stores, locale)
        self.titles, self.state, self.config, self.title = titles, stores[0], config, locale.t("admin.audit")
        self.shown_in: Callable[[Any], Mapping[str, Resource]]  # the resources of the site in a language, set by the App

    @cached_property
    def fields(self) -> Mapping[str, Field]:
        """What its filters are, as fields of a form."""
        asked = {"forms": {"audit": {"fields": _filters(self.titles, self.locale.t)}}}
        read = read_config(asked, self.config.folder, self.config.origin, {})
        return Form(cast(FormConfig, read.resources[0]), self.state, {}, self.locale).fields

    def in_language(self, titles: Mapping[str, str], locale: Any) -> Trail:
        """The same with the words of a language, and titles in it."""
        made = Trail(self.sources, self.config, admin.retitled(self.titles, titles), locale)
        made.shown_in = self.shown_in
        return made

    def describe(self) -> Value:
        """Its columns, and what may be asked beside them."""
        return {"columns": self.columns, "params": {name: self.fields[name].schema for name in self.own}}

    def asked_of(self, caller: Caller) -> Sequence[Column]:
        """Nobody finds out what he may not see by asking for it."""
        forms = (self._form_at(address) for address in self.titles)
        if any(isinstance(one, Form) and plugin("row_rules").hidden_from(one, caller) for one in forms):
            return [one for one in self.columns if one.name not in ("changes", "before", "after")]
        return self.columns

    def handle(self, request: Request, scope: Scope) -> Plan:
        if request.path:
            no_params(request)
            return self._event(request.path[0], scope.caller)
        try:
            return super().handle(request, scope)
        except BadRequest as error:
            if not (request.page and (faults := list(self._faults(request.params)))):
                raise error
            page = {
                "title": self.locale.t("admin.audit"),
                "note": "",
                "search": request.params.get("_q", ""),
                "faults": faults,
            }
            return plan_of(Response(table=Table(self.columns, []), template=self.template, page=page | self._page_facts()))

    # -- the list

    def shown(self, request: Request, scope: Scope) -> Value:
        return self._page_facts()

    def _page_facts(self) -> Value:
        return {"fields": tuple(self.fields.values()), "build": self._list_page}

    def _faults(self, params: Mapping[str, str]) -> Iterator[Fault]:
        """What is wrong with the days that were asked for."""
        for name in ("from", "to"):
            try:
                self._day(params, name)
            except BadRequest as error:
                yield Fault(f"/{name}", "date", error.message.removeprefix(name).strip())

    def _day(self, params: Mapping[str, str], name: str) -> datetime | None:
        """The beginning of a day that was asked for, where the site is. Raises BadRequest."""
        if not params.get(name):
            return None
        day = self.fields[name].from_param(params[name], self.locale)
        if faults := self.fields[name].faults(day, ""):
            raise BadRequest(f"{name} {faults[0].detail}")
        return datetime.fromisoformat(day).replace(tzinfo=self.locale.zone)

    def queries(self, query: Query, request: Request, scope: Scope) -> list[Query]:
        """Those of the days and the place that were asked for. A place is there with all that lies inside of it."""
        where = list(query.where)
        if first := self._day(request.params, "from"):
            where += _since(first, "gte", -_APART_S)
        if (last := self._day(request.params, "to")) and last.year < 9999:  # whose last day has none after it
            where += _since(last + timedelta(days=1), "lt", _APART_S)
        within = request.params.get("within", "")
        if not within:
            return [query._replace(where=tuple(where))]
        if within not in self.titles:
            raise BadRequest(f"within is {within!r}, which is not declared{nearest(within, self.titles)}")
        places = Condition("resource", "eq", within), Condition("resource", "prefix", within + "/")
        return [query._replace(where=(*where, one)) for one in places]

    def row(self, record: Record, caller: Caller) -> Value:
        found = super().row(record, caller)
        if record.damage or not (hidden := self._hidden(found["resource"], caller)):
            return found
        for name in ("before", "after"):
            if isinstance(found[name], dict):
                found[name] = {field: MASKED if field in hidden else one for field, one in found[name].items()}
        if isinstance(found["changes"], dict):
            found["changes"] = {
                field: [MASKED, MASKED] if field in hidden else one for field, one in found["changes"].items()
            }
        return found

    def _hidden(self, address: Any, caller: Caller) -> frozenset[str]:
        """The fields of a form that this caller may not read."""
        if not isinstance(form := self._form_at(address), Form):
            return frozenset()
        return cast(frozenset[str], plugin("row_rules").hidden_from(form, caller))

    def _form_at(self, address: Any) -> Resource | None:
        return self.shown_in(self.locale).get("/".join(str(address).split("/")[:2]))

    # -- pages

    def _list_page(self, exchange: Exchange, response: Response) -> Mapping[str, Any]:
        """A line for each event of the page."""
        rows = [dict(row) for row in cast(Table, response.table).rows]
        names, at, t = self._names(rows), Column("at", "", "string", "date-time"), exchange.locale.t
        lines = []
        for row, more in audit_words.events(rows):
            is_damaged = bool(damage_of(row["resource"]))
            outcome = "" if is_damaged or row["outcome"] == "ok" else row["outcome"] or ""
            is_own = str(row["resource"]).startswith("admin/")  # whose other records say nothing to people
            lines.append(SimpleNamespace(
                at=exchange.locale.show(at, row["at"]), more=0 if is_own else more, outcome=outcome,
                who="" if is_damaged else audit_words.who(str(row["subject"] or ""), names, t),
                what=audit_words.what_happened(row, self.titles, self._form_at(row["resource"]), t),
                outcome_words=t(f"audit.outcome_{outcome}") if outcome in _OUTCOMES else outcome,
                href=exchange.url(f"{self.address}/{quote(str(row['id']), safe='')}"),
            ))  # fmt: skip
        return {"lines": lines}

    def _names(self, rows: Sequence[Value]) -> dict[str, str]:
        """What the people are called who are the subjects of these entries."""
        return cast(dict[str, str], plugin("people").names(self.state, [row["subject"] for row in rows]))

    def _event(self, key: str, caller: Caller) -> Plan:
        """One entry."""
        if not (found := is_key(key) and next(filter(None, (one.get(self.table, key) for one in self.sources)), None)):
            raise NotFound(f"there is no entry {key[:64]}")
        row = self.row(found, caller)
        title = self.locale.t("event.title")
        page: Value = {"title": title, "trail": [(self.locale.t("admin.audit"), self.address), (title, "")], "row": row}
        page |= {"build": self._event_page, "caller": caller}
        return plan_of(Response(data=row, template="event.tpl", page=page))

    def _event_page(self, exchange: Exchange, response: Response) -> Mapping[str, Any]:
        row, show = response.page["row"], exchange.locale.show
        form, subject, names = self._form_at(row["resource"]), str(row["subject"] or ""), self._names([row])
        t = exchange.locale.t
        door = f"event.door_{row['door']}"
        facts = {
            "at": show(Column("", format="date-time"), row["at"]), "who": audit_words.who(subject, names, t),
            "subject": subject if subject in names else "",
            "outcome": " ".join(filter(None, (self._outcome(row, t), row["code"]))),
            "resource": row["resource"], "record": row["record"], "door": t(door) if t.has(door) else row["door"],
            "comment": row["comment"], "client": row["client"], "count": row["count"] or "", "token_id": row["token_id"],
            "request_id": row["request_id"],
        }  # fmt: skip
        same = [one for one in self._same_request(row, response.page["caller"]) if one["id"] != row["id"]]
        return {
            "what": audit_words.what_happened(row, self.titles, form, t), "who": audit_words.who(subject, names, t),
            "facts": [
                SimpleNamespace(title=t(f"event.{name}"), text=text, href="", multiline=False)
                for name, text in facts.items() if text
            ],
            "differences": audit_words.differences(row, form, exchange.locale),
            "record_href": exchange.url(self._record(row, response.caller)) if self._record(row, response.caller) else "",
            "others": [
                SimpleNamespace(
                    text=t("event.beside", record=one["record"]) if str(one["resource"]).startswith("admin/")
                    else audit_words.what_happened(one, self.titles, self._form_at(one["resource"]), t),
                    outcome=one["outcome"], record=one["record"], href=exchange.url(f"{self.address}/{one['id']}"),
                )
                for one in same
            ],
        }  # fmt: skip

    def _outcome(self, row: Value, t: Any) -> str:
        return str(t(f"audit.outcome_{row['outcome']}") if row["outcome"] in _OUTCOMES else row["outcome"] or "")

    def _record(self, row: Value, caller: Caller) -> str:
        """The address of the record that an entry speaks of, if the caller may see it and it may still be there."""
        form = self._form_at(row["resource"])
        if not isinstance(form, Form) or form.type != "forms" or row["action"] == "delete" or not row["record"]:
            return ""
        inside = split_path(str(row["resource"]))[2:]
        key = inside[1] if tuple(inside[2:]) == ("comments",) else str(row["record"])  # an entry of a comment names that
        address = f"{form.records_at}/{quote(key, safe='')}"
        return address if caller.may(Action.READ, address) else ""

    def _same_request(self, row: Value, caller: Caller) -> list[Value]:
        """The entries of the same request: their keys are near in time."""
        if not row["request_id"] or damage_of(row["request_id"]):
            return []
        first, last = (_key_at(row["id"], seconds) for seconds in (-_TOGETHER_S, _TOGETHER_S))
        where = Condition("id", "gt", first), Condition("id", "lt", last), Condition("request_id", "eq", row["request_id"])
        query, found = Query(self.table, where, ("id",), _MOST_TOGETHER), []
        for one in self.sources:
            with suppress(AppError):  # the page is whole without them
                found += one.find(query).items
        return [self.row(one, caller) for one in sorted(found)[:_MOST_TOGETHER]]


def _key_at(key: str, seconds: int) -> str:
    """A key as long before or after another one: a UUIDv7 begins with its milliseconds."""
    return f"{max(int(key[:12], 16) + seconds * 1000, 0):012x}" if re.fullmatch("[0-9a-f]{32}", key) else key


def _since(moment: datetime, op: str, apart_s: int) -> list[Condition]:
    """What holds for entries since a moment, or before it: by their time, and by their keys, which no provider has to look
    far for."""
    at_s = max(moment.timestamp(), 0.0)
    edge = f"{max(int((at_s + apart_s) * 1000), 0):012x}"
    return [Condition("at", op, rfc3339(at_s)), Condition("id", "gt" if op == "gte" else "lt", edge)]


def _filters(titles: Mapping[str, str], t: Any) -> Value:
    """What the page of the list asks for, as app.toml would say it."""
    choices: dict[str, list[Value]] = {
        name: [{"const": one, "title": t(f"audit.{name}_{one}")} for one in values]
        for name, values in (("action", _ACTIONS), ("outcome", _OUTCOMES))
    }
    choices["within"] = [{"const": address, "title": title} for address, title in titles.items()]
    names = ("subject", "within", "action", "outcome", "from", "to")
    fields: dict[str, Value] = {name: {"title": t(f"audit.{name}")} for name in names}
    for name, those in choices.items():
        fields[name]["oneOf"] = those
    for name in ("from", "to"):
        fields[name]["format"] = "date"
    return fields


_ACTIONS = (
    "create", "update", "delete", "sign_in", "sign_out", "use", "issue", "revoke", "link", "password", "rotate_key",
    "retire_key",
)  # fmt: skip
_OUTCOMES = ("ok", "denied", "failed", "intent")
