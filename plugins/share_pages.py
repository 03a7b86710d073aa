"""The pages of share links: where one is made, what one shows, and the question for its password."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, cast

from app import (
    Action,
    Answer,
    App,
    BadRequest,
    Caller,
    Column,
    Exchange,
    Invalid,
    Record,
    Request,
    Response,
    Value,
    plugin,
    see_other,
    split_path,
)

links, pages, share = plugin("links"), plugin("pages"), plugin("share")

# ==== 1. SHAREPAGES ==============================================================================================
# /share?of=ADDRESS makes a link of a file, a folder or a view, shows it once, and lists one's own links there, to be ended.
# uses: ERRORS VALUES RUNNERS ASSEMBLY plugin:html_forms plugin:list_pages plugin:view_extras
# defines: answer title_of lines view locked

_EXPIRES = ("1d", "7d", "30d", "date")
_TIMES = ("created_at", "expires_at", "used_at")
_MOST_BYTES = 65536
_SENT = ("do", "action", "expires", "until", "password")
_NO_CRUMBS = Caller()


def answer(exchange: Exchange, site: App) -> Answer:
    """The page, or what came of what was pressed there."""
    site.health.ensure_open(site.state)
    if not exchange.page:
        raise BadRequest('this is a page: programs send {"link": {…}} to the address of the file, the folder or the view')
    if unknown := [one for one in exchange.query if one != "of"]:
        raise BadRequest(f"{unknown[0]} is no parameter here: write of")
    address, query = links.split_address(exchange.query.get("of", ""))
    wanted = links.place(address, query, exchange.id, credential=exchange.credential)
    target: Any = links.target(site, wanted)
    exchange.subject = target.caller.subject
    if exchange.method != "POST":
        return _shown(exchange, site, target)
    form = plugin("html_forms").read_form(exchange, _MOST_BYTES)
    exchange.door.check_token(exchange, form.text("_token"))
    if form.text("do") == "end":
        links.end(site, target.caller, form.text("id"), exchange.id)
        pages.give_notice(exchange, exchange.path, exchange.locale.t("links.ended"))
        return see_other(_own_address(exchange, target.request))
    return _made(exchange, site, target, {name: form.text(name) for name in _SENT})


def _made(exchange: Exchange, site: App, target: Any, sent: Mapping[str, str]) -> Answer:
    """The page with a new link on it, or with what is wrong."""
    wanted = target.request
    is_calendar = sent["do"] == "subscribe" and share.has_calendar(site, wanted.resource)
    asked: Value = {"expires": None if is_calendar else sent["until"] if sent["expires"] == "date" else sent["expires"]}
    if sent["password"].strip() and not is_calendar:
        asked["password"] = sent["password"]
    if sent["action"]:
        asked["action"] = sent["action"]
    zone = exchange.locale.zone
    try:
        wish = links.wish_of(asked, site.clock(), endless=is_calendar, zone=zone, actions=_possible(target))
    except Invalid as error:
        return _shown(exchange, site, target, sent=sent, error=error)
    target.check(wish)
    code, row = links.make(site, target.caller, wanted, wish)
    url = links.url_of(site, exchange, code) + (".ics" if is_calendar else "")
    return _shown(exchange, site, target, url=url, made=row)


def _possible(target: Any) -> list[Action]:
    """What a link may be for that the one who asks may do himself."""
    address = target.request.address
    places = {Action.READ: address, Action.CREATE: f"{address.rstrip('/')}/x"}
    return [one for one in target.actions if target.caller.may(one, places[one])]


def _own_address(exchange: Exchange, wanted: Request) -> str:
    return exchange.url("share", of=links.address_with({"address": wanted.address, "query": wanted.params}))


def _shown(
    exchange: Exchange, site: App, target: Any, *, sent: Mapping[str, str] | None = None,
    error: Invalid | None = None, url: str = "", made: Record | None = None,
) -> Answer:  # fmt: skip
    wanted, caller, possible = target.request, target.caller, _possible(target)
    t, title = exchange.locale.t, title_of(exchange, site, wanted.address)
    heading, back = t("links.share", name=title), wanted.address
    is_folder = links.is_folder(wanted.address)
    if wanted.resource.startswith("files/") and not is_folder:
        back = back.rpartition("/")[0] + "/"
    page = {
        "title": heading, "name": title, "url": url, "action": _own_address(exchange, wanted), "sent": sent or {},
        "narrowed": bool(wanted.params), "expires": [(one, t(f"links.expires_{one}")) for one in _EXPIRES],
        "errors": {one.pointer.rpartition("/")[2]: t.said(one.detail) for one in error.faults} if error else {},
        "lines": lines(exchange, site, links.of_subject(site, caller.subject, wanted.address)),
        "actions": [(str(one), t(f"links.may_{one}")) for one in possible] if is_folder else [],
        "has_calendar": share.has_calendar(site, wanted.resource), "back_href": exchange.url(back, **wanted.params),
        "until": exchange.locale.show(Column("", format="date-time"), links.row_of(made)["expires_at"]) if made else "",
        "crumbs": pages.crumbs_of(exchange, [(title, back), (t("links.share_short"), "")]),
    }  # fmt: skip
    notice = pages.take_notice(exchange)
    body = pages.pages_of(exchange).render(exchange, "share.tpl", heading, page, notice, caller)
    return cast(Answer, pages.page_answer(422 if error else 201 if url else 200, body))


def title_of(exchange: Exchange, site: App, address: str) -> str:
    """What a file, a folder or a view is called."""
    kind, _, rest = address.partition("/")
    parts = [part for part in split_path(rest) if part]
    if kind == "files" and len(parts) > 1:
        return parts[-1]
    address = f"{kind}/{parts[0]}"
    shown = site.languages.shown(exchange.locale).get(address)
    return shown.title if shown else address


def lines(exchange: Exchange, site: App, rows: list[Record]) -> list[SimpleNamespace]:
    """Links for people, with what says what they show and until when."""
    at, found = Column("", format="date-time"), []
    for row in map(links.row_of, rows):
        times = {name: exchange.locale.show(at, row[name]) if row[name] else "" for name in _TIMES}
        name = title_of(exchange, site, row["address"])
        asked = links.address_with(row).partition("?")[2]
        facts = SimpleNamespace(name=name, asked=asked, href=exchange.url(row["address"], **row["query"]), **times)
        facts.takes_files = row["action"] == Action.CREATE
        facts.id, facts.uses, facts.has_password = row["id"], row["uses"], row["has_password"]
        found.append(facts)
    return found


# ---- for whoever has a link


def view(exchange: Exchange, site: App, response: Response) -> Answer:
    """The rows of a view: what its own page has, without what leads elsewhere."""
    way = pages.pages_of(exchange)
    page = plugin("list_pages").shown(way, exchange, response) | {"choosing": "", "script": None}
    body = way.render(exchange, "shared.tpl", page["title"], page, caller=_NO_CRUMBS)
    return cast(Answer, plugin("view_extras").tagged(exchange, pages.page_answer(200, body)))


def locked(exchange: Exchange, status: int, error: str = "") -> Answer:
    """The page that asks for a password."""
    t = exchange.locale.t
    page = {"title": t("links.locked"), "action": exchange.own_address, "error": t.said(error).capitalize() if error else ""}
    body = pages.pages_of(exchange).render(exchange, "share_password.tpl", page["title"], page, caller=_NO_CRUMBS)
    return cast(Answer, pages.page_answer(status, body))
