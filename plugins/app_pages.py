"""Pages of an app in Markdown, at apps/NAME/pages and below."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from app import (
    Action,
    AppPage,
    Exchange,
    Plan,
    Request,
    Response,
    Scope,
    Value,
    no_params,
    plan_of,
    plugin,
)

if TYPE_CHECKING:
    from plugins import page_edits as edits
    from plugins import pages
    from plugins.page_sources import ENDING, PagesFolder, PagesShare, address_of, html_of, source_of
else:
    edits, pages, sources = plugin("page_edits"), plugin("pages"), plugin("page_sources")
    ENDING, PagesFolder, PagesShare = sources.ENDING, sources.PagesFolder, sources.PagesShare
    address_of, html_of, source_of = sources.address_of, sources.html_of, sources.source_of

# ==== 1. PAGES ===================================================================================================
# What is answered at apps/NAME/pages and below.
# uses: VALUES CONTRACTS RUNNERS RESOURCES plugin:page_edits plugin:page_sources
# defines: handle


def handle(one: AppPage, request: Request, scope: Scope) -> Plan:
    """The pages, one of them, or the plan of what is written to them. Raises NotFound, Forbidden, PreconditionFailed …"""
    source = source_of(one)
    if request.action != Action.READ:
        return edits.Edit(one, source, request, scope).plan()
    if len(request.path) == 1:
        return _index(one, source, request, scope)
    name = request.path[1].removesuffix(ENDING)
    no_params(request, ("_edit",) if request.page else ())
    trail = [(one.title, f"apps/{one.name}"), ("", f"apps/{one.name}/pages")]
    found = source.read(name, scope)
    title = found.text.title or name
    data: Value = {"name": name, "title": title, "address": address_of(one, name), "text": found.text.source}
    page = {
        "title": title,
        "trail": [*trail, (title, "")],
        "app": one,
        "found": found,
        "may_edit": _may(source, scope, name),
    }
    if request.params.get("_edit") and page["may_edit"]:
        page["trail"] = [*trail, (title, address_of(one, name)), ("", "")]
        return plan_of(Response(data=data, template="page_edit.tpl", page=page | {"build": edits.shown}, etag=found.etag))
    page |= {"at": source.at, "build": _shown}
    return plan_of(Response(data=data, template="page.tpl", page=page, etag=found.etag))


def _may(source: PagesFolder | PagesShare, scope: Scope, name: str, action: Action = Action.UPDATE) -> bool:
    return isinstance(source, PagesShare) and bool(scope.caller.subject) and scope.caller.may(action, source.address(name))


def _index(one: AppPage, source: PagesFolder | PagesShare, request: Request, scope: Scope) -> Plan:
    no_params(request, ("_new",) if request.page else ())
    page: dict[str, Any] = {"title": one.title, "trail": [(one.title, f"apps/{one.name}"), ("", "")], "app": one}
    page["may_create"] = _may(source, scope, "x", Action.CREATE)
    if request.params.get("_new") and page["may_create"]:
        page["trail"] = [(one.title, f"apps/{one.name}"), ("", f"apps/{one.name}/pages"), ("", "")]
        return plan_of(Response(data={}, template="page_edit.tpl", page=page | {"build": edits.shown, "found": None}))
    items = [{"name": name, "title": title, "address": address_of(one, name)} for name, title in source.names(scope)]
    items.sort(key=lambda item: item["title"].casefold())
    return plan_of(Response(data={"items": items, "next": None}, template="pages.tpl", page=page | {"build": _listed}))


# ---- what the templates show


def _listed(exchange: Exchange, response: Response) -> Mapping[str, Any]:
    page, one = response.page, response.page["app"]
    items = [SimpleNamespace(title=item["title"], href=exchange.url(item["address"])) for item in response.data["items"]]
    new = exchange.url(f"apps/{one.name}/pages", _new="1") if page["may_create"] else ""
    t = exchange.locale.t
    return {
        "crumbs": edits.crumbs(exchange, page["trail"]),
        "items": items,
        "new_href": new,
        "title": t("app_pages.title"),
    }


def _shown(exchange: Exchange, response: Response) -> Mapping[str, Any]:
    page, found, one = response.page, response.page["found"], response.page["app"]
    edit = exchange.url(address_of(one, found.name), _edit="1") if page["may_edit"] else ""
    body = html_of(exchange, one, found.text, page["at"], page["title"])
    return {"crumbs": edits.crumbs(exchange, page["trail"]), "body": body, "edit_href": edit}
