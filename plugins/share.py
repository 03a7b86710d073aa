"""The door of share links: /s/CODE for whoever has one, and how one is made by programs and pages."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, cast
from urllib.parse import quote

from app import (
    ELSEWHERE,
    Action,
    Answer,
    App,
    AppError,
    Asked,
    BadRequest,
    Caller,
    Exchange,
    Forbidden,
    Format,
    Host,
    Json,
    JsonFormat,
    NotAcceptable,
    NotFound,
    Record,
    Response,
    Route,
    Table,
    Unauthenticated,
    UnsupportedMedia,
    Value,
    json_answer,
    log_fault,
    plugin,
    problem_answer,
    see_other,
    send_content,
    split_path,
)

links, list_columns, reading = plugin("links"), plugin("list_columns"), plugin("reading")

# ==== 1. DOOR ====================================================================================================
# Nobody signs in here. A file goes out as files do, a folder by plugins/share_folders.py, a view as a page without menus, or
# in another format by its suffix. The page of a password takes tries as slowly as the page for signing in. No answer says
# where a code came from, and no search engine is to keep one.
# uses: ERRORS VALUES RUNNERS ASSEMBLY plugin:html_forms plugin:list_filters plugin:passwords plugin:refusals
#       plugin:share_folders plugin:share_pages
# defines: Route:share Share dumped asked_for has_calendar

_LOCKED = "this link has a password: send it in a form, as the field password"
_OPEN_S = 43_200  # for so long a browser that knows the password is not asked again
_COOKIE = "satchel_share_"
_MOST_BYTES = 65536
_MULTIPART = "multipart/form-data"
_OF_PAGES = ("_next", "_prev", "_sort", "_size", "_totals", "_for")  # what may be asked of a view beside what its link keeps
_HEADERS = [("Referrer-Policy", "no-referrer"), ("X-Robots-Tag", "noindex, nofollow")]


class Share(Route):
    """/s/CODE, what is below it if it is of a folder, the page /share, and links to views."""

    kind = "share"
    paths: ClassVar[Mapping[str, str]] = {
        "/share": "GET POST", "/s/<code>": "GET POST", "/s/<code>/": "GET POST", "/s/<code>/<path:path>": "GET POST",
    }  # fmt: skip
    methods: ClassVar[Mapping[str, Action]] = {"POST": Action.READ}
    types = frozenset({"views"})

    def __init__(self, *facts: Any) -> None:
        super().__init__(*facts)
        self._lock = threading.Lock()
        self._uses: Any = None

    def answer(self, asked: Asked, host: Host) -> Answer:
        exchange, site = cast(Exchange, asked), cast(App, host)
        if exchange.resource:
            return asked_for(exchange, site)
        if exchange.inner == "share":
            return cast(Answer, plugin("share_pages").answer(exchange, site))
        try:
            answer = self._opened(exchange, site)
        except AppError as error:
            log_fault(exchange, error)
            answer = exchange.format.fault(exchange, error) or problem_answer(exchange.id, error)
        answer.headers[:] = [*answer.headers, *_HEADERS]
        return answer

    def _opened(self, exchange: Exchange, site: App) -> Answer:
        site.health.ensure_open(site.state)
        first, slash, rest = exchange.inner.removeprefix("s/").partition("/")
        code, _, ending = first.partition(".")
        if ending and not slash:
            exchange.format = exchange.door.formats.get(ending) or exchange.format
        row = links.good(site, code)
        is_folder = links.is_folder(row.value["address"])
        if slash and (ending or not is_folder):
            raise NotFound(links.GONE)
        caller = links.maker(site, row)  # before a password is asked for that opens nothing
        if ending and ending != exchange.format.kind:
            raise NotAcceptable(f"a link has no {ending[:20]}")
        if row.value["password"] and not _knows(exchange, row):
            return _asks(exchange, site, row)
        if exchange.method == "POST" and not (row.value["action"] == Action.CREATE and exchange.media_type == _MULTIPART):
            return see_other(exchange.own_address)
        exchange.subject = links.name_of(row)  # for the log
        answer = self._folder(exchange, site, row, caller, rest) if is_folder else self._shown(exchange, site, row)
        with self._lock:
            self._uses = self._uses or links.Uses(site)
        self._uses.note(row, exchange.client, exchange.id)
        return answer

    def _folder(self, exchange: Exchange, site: App, row: Record, caller: Caller, rest: str) -> Answer:
        """What is below the address of a link; `rest` is the way there."""
        one, inside = plugin("share_folders"), split_path(rest)
        if row.value["action"] == Action.READ:
            return cast(Answer, one.shown(exchange, site, row, inside))
        if inside:
            raise NotFound("this link takes files, and shows none")
        return cast(Answer, one.box(exchange, site, row, caller))

    def _shown(self, exchange: Exchange, site: App, row: Record) -> Answer:
        is_view = row.value["address"].startswith("views/")
        if unknown := [one for one in exchange.query if not is_view or one not in _OF_PAGES]:
            raise BadRequest(f"{unknown[0]} is no parameter of a link")
        kept = row.value["query"].get(list_columns.NAME, "")
        _check_order(exchange.query.get("_sort", ""), kept)
        facts = {"whole": exchange.format.whole, "page": exchange.page and is_view, "languages": exchange.languages}
        facts["timed"] = "table" not in exchange.format.subjects
        try:
            response = links.read(site, row, exchange.id, exchange.query, **facts)
        except BadRequest:
            _check_query(site, row, exchange.id)
            raise
        if response.content:
            return send_content(exchange, response.content)
        exchange.resource = row.value["address"]  # what formats say of a view
        if not kept:
            return _table(exchange, site, response)
        _keep(kept, cast(Table, response.table))
        try:
            return _table(exchange, site, response)
        except BadRequest:  # a picture or calendar shows another column
            raise NotAcceptable(f"this link has no {exchange.format.kind}") from None


def _check_order(sort: str, kept: str) -> None:
    """Raises BadRequest for an order by a column that a link does not keep, whether there is one of this name or not."""
    others = {one.removeprefix("-") for one in sort.split(",") if one} - {*plugin("list_filters").parts(kept, ())}
    if kept and others:
        raise BadRequest(f"_sort names {min(others)!r}, which is no column of this link")


def _check_query(site: App, row: Record, request_id: str) -> None:
    """Raises NotFound if what a link keeps is no longer what its view takes: that is nothing to be told to strangers."""
    try:
        response = links.read(site, row, request_id, {"_size": "1"})
    except BadRequest as error:
        raise NotFound("what this link leads to is no longer there") from error
    if response.table is not None:
        response.table.close()


def _keep(text: str, table: Table) -> None:
    """Leaves of a page only the columns that its link keeps, and no link made of others. Raises BadRequest."""
    try:
        names = list_columns.chosen(text, [one.name for one in table.columns])
    except BadRequest:
        table.close()
        raise
    known = {one.name: one for one in table.columns}
    kept = [known[name] for name in names]
    table.columns = tuple(one if {*reading.places(one.link)} <= {*names} else one._replace(link="") for one in kept)


def _table(exchange: Exchange, site: App, response: Response) -> Answer:
    """The rows of a view, as the page of a link or in another format."""
    if exchange.page:
        return cast(Answer, plugin("share_pages").view(exchange, site, response))
    exchange.query = _tellable(response)
    return dumped(exchange, response)


def _tellable(response: Response) -> dict[str, str]:
    """What a sheet of facts says of the query, the link's own with it: nothing of columns that the link leaves out."""
    view, asked = response.page["view"], dict(response.page["request"].params)
    shown = {one.name for one in response.table.columns} if response.table else set()
    hidden = {one.name for one in view.columns} - shown - {one.name for one in view.config.params}
    told = {name: text for name, text in asked.items() if name.partition("__")[0] not in hidden}
    if not hidden.isdisjoint(one.removeprefix("-") for one in told.get("_sort", "").split(",")):
        del told["_sort"]
    return told


def dumped(exchange: Exchange, response: Response) -> Answer:
    """What was read, in the format that was asked for. Raises NotAcceptable if that does not write such things."""
    one, table = exchange.format, response.table
    if answer := one.answer(exchange, response):
        return answer
    if table is None or "table" not in one.subjects:
        if table is not None:
            table.close()
        raise NotAcceptable(f"this is not written as {one.kind}")
    return Answer(200, _file_headers(one, exchange.resource), _Rows(one.dump(exchange, response), table))


def _file_headers(one: Format, address: str) -> list[tuple[str, str]]:
    name = split_path(address)[-1]
    kept = [("Content-Disposition", f'attachment; filename="{name}.{one.kind}"')] if one.whole else []
    return [("Content-Type", one.media), *kept]


class _Rows:
    """A streamed body that closes the table it is made of; a fault before the first row has a status of its own."""

    def __init__(self, chunks: Iterator[bytes], table: Table) -> None:
        self._chunks, self._table = chunks, table
        try:
            self._first = next(chunks, b"")
        except BaseException:
            table.close()
            raise

    def __iter__(self) -> Iterator[bytes]:
        yield self._first
        yield from self._chunks

    def close(self) -> None:
        self._table.close()


# ---- a password


def _knows(exchange: Exchange, row: Record) -> bool:
    """Whether the browser has shown the password of a link lately."""
    for sealed in exchange.cookie_values(f"{_COOKIE}{links.id_of(row)}_").split():
        key, _, until = (exchange.door.host.unseal("share link", sealed) or "").partition(" ")
        if key == row.key and until.isdigit() and int(until) > cast(App, exchange.door.host).clock():
            return True
    return False


def _asks(exchange: Exchange, site: App, row: Record) -> Answer:
    """The page that asks for the password, or what came of one that was sent."""
    if exchange.method != "POST" or exchange.media_type == _MULTIPART:  # files that are sent hold no password
        if not exchange.page:
            raise Forbidden(_LOCKED)
        return cast(Answer, plugin("share_pages").locked(exchange, 403 if exchange.method == "POST" else 200))
    if exchange.door.same_origin(exchange) is False:
        raise Forbidden(ELSEWHERE)
    password, address = _password(exchange), plugin("refusals").address_of(exchange.client)
    try:
        with site.office.throttle.reserved(f"address {address}", f"link {links.id_of(row)}"):
            if not plugin("passwords").fits(password, row.value["password"]):
                raise Unauthenticated("the password is wrong")
    except Unauthenticated as error:
        site.office.refusals.note("share", exchange.client, "wrong_password", exchange.id)
        if not exchange.page:
            raise Forbidden(error.message) from None
        return cast(Answer, plugin("share_pages").locked(exchange, 403, error.message))
    sealed = site.seal("share link", f"{row.key} {int(site.clock()) + _OPEN_S}")
    exchange.cookies.append(exchange.door.cookie(exchange, sealed, _OPEN_S, f"{_COOKIE}{links.id_of(row)}_"))
    return see_other(exchange.own_address)


def _password(exchange: Exchange) -> str:
    text: str = plugin("html_forms").read_form(exchange, _MOST_BYTES).text("password")
    return text if len(text) <= plugin("passwords").LONGEST else ""


# ---- made by programs


def asked_for(exchange: Exchange, site: App, sent: Json = None) -> Answer:
    """The answer to `{"link": {…}}`, sent to what is to be shared; `sent` is the body, if it was read."""
    if exchange.media_type != JsonFormat.media:
        raise UnsupportedMedia('send application/json, such as {"link": {"action": "read", "expires": "7d"}}')
    exchange.door.check_origin(exchange, form=False)
    address = "/".join((exchange.resource, *[quote(part, safe="") for part in exchange.path_inside]))
    wanted = links.place(address, exchange.query, exchange.id, credential=exchange.credential)
    target: Any = links.target(site, wanted)
    exchange.subject = target.caller.subject
    exchange.door.check_token(exchange, "")
    if sent is None:
        sent = exchange.door.formats[JsonFormat.kind].load(exchange, address)
    if not isinstance(sent, dict) or set(sent) != {"link"}:
        raise BadRequest('the body must be {"link": {"action": "read", "expires": "7d"}}')
    endless = has_calendar(site, wanted.resource)
    zone = exchange.locale.zone
    wish = links.wish_of(sent["link"], site.clock(), endless=endless, zone=zone, actions=target.actions)
    target.check(wish)
    code, row = links.make(site, target.caller, target.request, wish)
    url = links.url_of(site, exchange, code)
    told: Value = {**links.row_of(row), "url": url}
    if endless:
        told["calendar_url"] = f"{url}.ics"
    return json_answer(201, told)


def has_calendar(site: App, resource: str) -> bool:
    """Whether an address is that of a view with a calendar."""
    config = getattr(site.resources.get(resource), "config", None)
    return bool(resource.startswith("views/") and getattr(config, "calendar", None))
