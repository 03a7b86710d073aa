"""/me/filters: what somebody narrows and sorts a list by, under a name of his own, for himself alone."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar, cast
from urllib.parse import parse_qsl, quote, urlencode

import app
from app import (
    Action,
    Answer,
    App,
    AppError,
    Asked,
    BadRequest,
    Caller,
    Condition,
    Conflict,
    Delete,
    Exchange,
    Fault,
    Forbidden,
    Host,
    HttpRunner,
    Insert,
    Invalid,
    JsonFormat,
    NotFound,
    Query,
    Record,
    Records,
    Request,
    Route,
    SignInNeeded,
    Update,
    Value,
    check_text,
    dump_json,
    json_answer,
    line_problem,
    rfc3339,
    see_other,
    split_path,
    storable,
)

if TYPE_CHECKING:
    from plugins import html_forms, pages
else:
    html_forms, pages = app.plugin("html_forms"), app.plugin("pages")

# ==== 1. ROWS ====================================================================================================
# A row is a filter: the address of a list and what it is asked for. Its key begins with a digest of whose it is, and goes
# on with one of the list and the name: what is saved twice under a name is there once. Filters are no events: nothing is
# audited.
# uses: ERRORS VALUES CONTRACTS
# defines: TABLE MOST LONGEST_NAME of_person is_oneself pairs_of

TABLE = "_filters"
MOST = 50  # of one person
LONGEST_NAME = 60
_LONGEST_QUERY = 2000
_MOST_PARAMS = 30
_LEFT_OUT = ("_next", "_prev", "_for", "_count", "_list", "_embed", "_typed")  # what is no part of a filter
_LIST = re.compile(r"forms/[^/?#]+/(records|mine)|(views|admin)/[^/?#]+")
_ID = re.compile(r"[0-9a-f]{24}")


def _owner(subject: str) -> str:
    return hashlib.sha256(subject.encode()).hexdigest()[:32]


def _id(list_: str, title: str) -> str:
    return hashlib.sha256(f"{list_}\0{title.casefold()}".encode(errors="replace")).hexdigest()[:24]


def of_person(records: Records, subject: str, list_: str = "") -> list[Record]:
    """The filters of somebody, of all lists or of one, in the order of their names."""
    where = Condition("id", "gt", f"{_owner(subject)}-"), Condition("id", "lt", f"{_owner(subject)}.")
    rows = [one for one in records.walk(Query(TABLE, where)) if not one.damage and one.value.get("subject") == subject]
    return sorted(
        (one for one in rows if list_ in ("", one.value["list"])), key=lambda one: str(one.value["title"]).casefold()
    )


def is_oneself(caller: Caller) -> bool:
    """Whether somebody is signed in, and neither a token asks nor a session that was opened with one."""
    return bool(caller.subject and caller.session) and not caller.token_id


def pairs_of(query: str) -> dict[str, str]:
    """What an address asks a list for, without its place in it. Raises BadRequest if it is no query."""
    try:
        pairs = parse_qsl(query.removeprefix("?"), True, errors="strict", max_num_fields=_MOST_PARAMS)
    except ValueError:
        raise BadRequest(f"the query is not UTF-8, or has over {_MOST_PARAMS} parameters") from None
    found: dict[str, str] = {}
    for name, text in pairs:
        if name not in _LEFT_OUT:
            found[name] = f"{found[name]},{text}" if name in found else text
    return found


# ==== 2. ROUTE ===================================================================================================
# Forms of pages and JSON alike, for whoever is signed in as himself.
# uses: ERRORS VALUES RUNNERS AUTH ASSEMBLY ROWS plugin:html_forms plugin:pages
# defines: Route:filters Filters item tabs lines

_MOST_BYTES = 65536


class Filters(Route):
    """/me/filters and what lies there."""

    kind = "filters"
    paths: ClassVar[Mapping[str, str]] = {"/me/filters": "GET POST", "/me/filters/<id>": "GET POST DELETE"}

    def answer(self, asked: Asked, host: Host) -> Answer:
        exchange, site = cast(Exchange, asked), cast(App, host)
        site.health.ensure_open(site.state)
        caller = site.authority.identify(exchange.credential)
        if not caller.subject:
            raise SignInNeeded("sign in, to keep filters")
        exchange.subject = caller.subject
        if not is_oneself(caller):
            raise Forbidden("filters are kept for people who are signed in, not for tokens")
        id_ = "".join(split_path(exchange.inner)[2:])
        sent = self._sent(exchange) if exchange.method in ("POST", "DELETE") else {}
        work = _Work(exchange, site, caller)
        if not id_:
            return work.keep(sent) if exchange.method == "POST" else work.listed()
        row = work.row(id_)
        if exchange.method == "DELETE" or sent.get("do") == "delete":
            return work.removed(row)
        return work.renamed(row, sent) if exchange.method == "POST" else work.opened(row)

    def _sent(self, exchange: Exchange) -> Value:
        if exchange.is_form:
            form = html_forms.read_form(exchange, _MOST_BYTES)
            exchange.door.check_token(exchange, form.text("_token"))
            return {name: values[0] for name, values in form.fields.items()}
        exchange.door.check_token(exchange, "")
        if exchange.method == "DELETE":
            return {}
        sent = exchange.door.formats[JsonFormat.kind].load(exchange, "me")
        if not isinstance(sent, dict):
            raise BadRequest('the body must be a JSON object: { "title": …, "list": …, "query": … }')
        return sent


class _Work:
    """What is done with the filters of one caller."""

    def __init__(self, exchange: Exchange, site: App, caller: Caller) -> None:
        self.exchange, self.site, self.caller = exchange, site, caller
        self.store, self.t = site.state, exchange.locale.t

    def row(self, id_: str) -> Record:
        key = f"{_owner(self.caller.subject)}-{id_}"
        row = self.store.get(TABLE, key) if _ID.fullmatch(id_) else None
        if row is None or row.damage or row.value.get("subject") != self.caller.subject:
            raise NotFound(f"you have no filter {id_[:60]}")
        return row

    def listed(self) -> Answer:
        if self.exchange.page:
            return see_other(self.exchange.url("me"))
        rows = of_person(self.store, self.caller.subject)
        return json_answer(200, {"items": [item(self.exchange, one) for one in rows], "next": None})

    def keep(self, sent: Value) -> Answer:
        title, list_, query = self._checked(sent)
        if sent.get("do") == "line":
            return self._line(title, list_, query)
        rows = of_person(self.store, self.caller.subject)
        value = {"subject": self.caller.subject, "list": list_, "query": query, "title": title, "at": self.site.clock()}
        key = f"{_owner(self.caller.subject)}-{_id(list_, title)}"
        is_new = all(one.key != key for one in rows)
        if is_new and len(rows) >= MOST:
            raise Conflict(f"you have {MOST} filters, the most that are kept: delete one of them")
        self._commit(key, value, is_new=is_new)
        row = Record(key, 1, value)
        if not self.exchange.is_form:
            made = item(self.exchange, row)
            headers = [("Location", self.exchange.url(f"me/filters/{made['id']}"))]
            return json_answer(201 if is_new else 200, made, headers if is_new else [])
        return self._back(row, self.t("saved.kept", title=title))

    def _commit(self, key: str, value: Value, *, is_new: bool) -> None:
        with suppress(Conflict):  # somebody pressed twice
            self.store.commit([Insert(TABLE, key, storable(value)) if is_new else Update(TABLE, key, storable(value))])

    def _checked(self, sent: Value) -> tuple[str, str, str]:
        """The name, the list and what it is asked for. Raises Invalid with every fault."""
        faults, title = self._title_faults(sent)
        list_, query = (sent.get(name, "") for name in ("list", "query"))
        known = isinstance(list_, str) and _LIST.fullmatch(list_) and self._may_open(list_)
        if not known:
            faults.append(
                Fault("/list", "list", "must be the address of a list that you may open, such as forms/leave/records")
            )
        if not isinstance(query, str) or len(query) > _LONGEST_QUERY or check_text(query):
            faults.append(Fault("/query", "query", f"must be a text of at most {_LONGEST_QUERY:,} characters"))
        elif not (query := urlencode(pairs_of(query))):
            faults.append(Fault("/query", "query", "asks for nothing: filter or sort the list first"))
        if faults:
            raise Invalid("the filter cannot be kept", faults=faults)
        return title, str(list_), str(query)

    def _title_faults(self, sent: Value) -> tuple[list[Fault], str]:
        title = sent.get("title", "")
        title = title.strip() if isinstance(title, str) else ""
        wrong = line_problem(title, LONGEST_NAME) if title else "is missing: write what the filter is called"
        return ([Fault("/title", "title", wrong)] if wrong else []), title

    def _may_open(self, list_: str) -> bool:
        address = "/".join(split_path(list_)[:2])
        return address in self.site.resources and self.caller.opens(address if list_.endswith("/mine") else list_)

    def removed(self, row: Record) -> Answer:
        with suppress(Conflict):  # it is gone already
            self.store.commit([Delete(TABLE, row.key)])
        if not self.exchange.is_form:
            return Answer(204, [])
        return self._back(row, self.t("saved.deleted", title=row.value["title"]))

    def renamed(self, row: Record, sent: Value) -> Answer:
        faults, title = self._title_faults(sent)
        if faults:
            raise Invalid("the filter cannot be renamed", faults=faults)
        key, value = f"{_owner(self.caller.subject)}-{_id(row.value['list'], title)}", row.value | {"title": title}
        if key != row.key and self.store.get(TABLE, key):
            raise Conflict(f"you already have a filter of this list called {title}")
        self._commit(key, value, is_new=key != row.key)
        if key != row.key:
            self.store.commit([Delete(TABLE, row.key)])
        if not self.exchange.is_form:
            return json_answer(200, item(self.exchange, Record(key, 1, value)))
        return self._back(row, self.t("saved.renamed", title=title))

    def _back(self, row: Record, notice: str) -> Answer:
        """The list as the filter has it, or the page that it was asked for on."""
        at_me = self.exchange.query.get("_back") == "me"
        place = self.exchange.url("me" if at_me else row.value["list"])
        pages.give_notice(self.exchange, place, notice)
        return see_other(place + ("" if at_me else f"?{row.value['query']}"))

    def _line(self, title: str, list_: str, query: str) -> Answer:
        """The page with what an administrator writes into app.toml, for a filter that is there for everybody."""
        self.caller.require(Action.READ, "admin/check")
        line = f"{{ title = {dump_json(title)}, href = {dump_json(f'{list_}?{query}')} }}"
        back = self.exchange.url(list_) + f"?{query}"
        crumbs = [SimpleNamespace(title="", href=""), SimpleNamespace(title=self.t("saved.line_title"), href="")]
        page = {"crumbs": crumbs, "line": line, "back_href": back, "name": title}
        way = pages.pages_of(self.exchange)
        body = way.render(self.exchange, "saved_line.tpl", self.t("saved.line_title"), page, caller=self.caller)
        return pages.page_answer(200, body)

    # -- opening

    def opened(self, row: Record) -> Answer:
        """The list as the filter has it, as far as it fits the list still; a notice says what does not."""
        if not self.exchange.page:
            return json_answer(200, item(self.exchange, row))
        pairs, dropped = pairs_of(row.value["query"]), list[str]()
        while name := self._misfit(row.value["list"], pairs):
            pairs.pop(name)
            dropped.append(name)
        place = self.exchange.url(row.value["list"])
        if dropped:
            names = self.t("common.comma").join(dropped)
            pages.give_notice(self.exchange, place, self.t("saved.unfit", title=row.value["title"], names=names))
        return see_other(place + (f"?{urlencode(pairs)}" if pairs else ""))

    def _misfit(self, list_: str, pairs: Mapping[str, str]) -> str:
        """The name of a parameter that the list does not take, or not with this value; "" if there is none. Raises what
        keeps the caller from reading the list at all."""
        kind, name, *path = split_path(list_)
        try:
            response = self.site.handle(Request(
                id=self.exchange.id, action=Action.READ, resource=f"{kind}/{quote(name, safe='')}", path=tuple(path),
                params={**pairs, "_size": "1"}, door=HttpRunner.kind, credential=self.exchange.credential,
                languages=self.exchange.languages,
            ))  # fmt: skip
        except BadRequest as error:
            faulty = {fault.pointer.strip("/") for fault in error.faults}
            return next((one for one in pairs if one in faulty or error.message.startswith(f"{one} ")), "")
        if response.table:
            response.table.close()
        return ""


def item(exchange: Exchange, row: Record) -> Value:
    """What a program reads of a filter."""
    value = row.value
    return {
        "id": row.key.rpartition("-")[2], "title": value["title"], "list": value["list"], "query": value["query"],
        "href": f"{exchange.url(value['list'])}?{value['query']}", "at": rfc3339(value["at"]),
    }  # fmt: skip


# ---- pages


def tabs(exchange: Exchange, caller: Caller, again: Mapping[str, str], known: Sequence[str]) -> Any:
    """What a list shows of its filters: those that its reader has saved, and how he saves the one that he sees. `again` is
    what the list is asked for, `known` names what it can be asked for. None for whoever is not signed in as himself."""
    list_ = exchange.inner
    if not is_oneself(caller) or not _LIST.fullmatch(list_):
        return None
    rows = list[Record]()
    with suppress(AppError):  # the list is whole without them
        rows = of_person(pages.site_of(exchange).state, caller.subject, list_)
    now = {name: text for name, text in again.items() if name not in _LEFT_OUT}
    if not rows and not now:
        return None
    found = [_tab(exchange, one, now, known) for one in rows]
    return SimpleNamespace(
        tabs=found, all_href=exchange.url(list_), is_all=not now, current=next((one for one in found if one.current), None),
        action=exchange.url("me/filters"), list=list_, query=urlencode(now), most=LONGEST_NAME,
        for_all=caller.may(Action.READ, "admin/check"),
    )  # fmt: skip


def _tab(exchange: Exchange, row: Record, now: Mapping[str, str], known: Sequence[str]) -> SimpleNamespace:
    facts, pairs = item(exchange, row), pairs_of(row.value["query"])
    here = exchange.url(f"me/filters/{facts['id']}")
    sorted_ = [part.lstrip("-") for part in pairs.get("_sort", "").split(",") if part]
    fits = all(name.partition("__")[0] in known for name in [*sorted_, *(one for one in pairs if one[:1] != "_")])
    return SimpleNamespace(
        title=facts["title"], href=facts["href"] if fits else here, current=pairs == now, action=here,
    )  # fmt: skip


def lines(exchange: Exchange, resources: Mapping[str, Any], rows: Sequence[Record]) -> list[SimpleNamespace]:
    """Filters for people, with the lists that they are of."""
    found = []
    for row in rows:
        one, facts = resources.get("/".join(split_path(row.value["list"])[:2])), item(exchange, row)
        here = f"me/filters/{facts['id']}"
        found.append(SimpleNamespace(
            id=facts["id"], title=facts["title"], href=exchange.url(here), action=exchange.url(here, _back="me"),
            of=one.title if one else facts["list"],
        ))  # fmt: skip
    return found
