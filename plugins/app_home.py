"""What an app shows at its own address: its menu, a template of its own, or blocks."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from contextlib import closing
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from app import AppError, AppPage, Exchange, Json, Plan, Request, Response, Scope, leads_to, plan_of, plugin

if TYPE_CHECKING:
    from plugins import menus, pages
else:
    menus, pages = plugin("menus"), plugin("pages")

# ==== 1. HOMES ===================================================================================================
# A template of an app's own is a program of whoever runs the site. What it is given is in docs/apps-and-templates.md.
# uses: ERRORS VALUES CONTRACTS RUNNERS RESOURCES plugin:dashboards plugin:fields plugin:menus plugin:pages
#       plugin:template_faults
# defines: handle focusable

_MOST_ROWS = 1000  # of a view, that a template gets


def handle(one: AppPage, request: Request, scope: Scope) -> Plan:
    """The page of an app, or for programs what is in it."""
    menu = [entry for entry in one.menu if menus.is_open(entry, scope.caller)]
    data = {"title": one.title, "icon": one.config.icon, "note": one.config.note, "menu": menu}
    page: dict[str, Any] = {"title": one.title, "trail": [(one.title, "")], "scope": scope, "app": one}
    if isinstance(one.config.home, str):
        leads = [menus.leads(entry, one.opens, scope.caller) if "address" in entry else "" for entry in menu]
        page |= {"home": leads_to(one.config.home, one.opens, scope.caller), "leads": leads}
        page |= {"build": _page, "params": dict(request.params)}
    else:
        blocks = plugin("dashboards").for_caller(one.config.home, scope.caller)
        data["blocks"] = [block.described for block in blocks]
        page |= {"build": partial(plugin("dashboards").shown, blocks=blocks)}
    return plan_of(Response(data=data, template="app.tpl", page=page))


def _page(exchange: Exchange, response: Response) -> Mapping[str, Any]:
    """What the template of an app shows: its menu, or what the app's own template makes."""
    leads, home = response.page["leads"], response.page["home"]
    pairs = zip(response.data["menu"], leads, strict=True)
    menu = [{**one, "href": exchange.url(lead) if lead else one["href"]} for one, lead in pairs]
    body = _own_page(exchange, response, home) if home.endswith((".html", ".tpl")) else ""
    return {**response.data, "menu": [SimpleNamespace(**one) for one in menu], "body": body, "rows": ()}


def _own_page(exchange: Exchange, response: Response, name: str) -> str:
    """An app's own template: it may call url(), and view(name, …) for the rows of a view, as the caller."""
    from bottle import SimpleTemplate

    def view(name: str, **params: Any) -> list[Mapping[str, Json]]:
        texts = {key: plugin("fields").in_address(key, value) for key, value in ({"_size": _MOST_ROWS} | params).items()}
        asked = {key: text for key, text in texts.items() if text is not None}
        table = response.page["scope"].read(f"views/{name}", asked).table
        with closing(table):
            return list(table.rows)

    made = pages.pages_of(exchange)
    names = {
        "url": exchange.url, "view": view, "site": made.title(exchange), "subject": exchange.subject,
        "t": exchange.locale.t,
    }  # fmt: skip
    try:
        template = SimpleTemplate(name=name, lookup=[made.own_folder, *made.folders])
        text = str(template.render(**names, params=response.page["params"]))
    except AppError:
        raise
    except Exception as error:
        folders = [*made.folders, made.own_folder]
        raise plugin("template_faults").fault_of(error, exchange, response.caller, folders, name) from error
    return focusable(text, exchange.locale.t("table.wide"))


def focusable(text: str, name: str) -> str:
    """HTML with its wide parts in boxes that can be scrolled by keys alone; `name` is that of a table's."""
    text = re.sub(r"<pre\b(?![^>]*\btabindex)", '<pre tabindex="0"', text)
    box = '<div class="scroll" role="region" aria-label="' + html.escape(name) + '" tabindex="0">'
    return re.sub(r"<table\b(?:(?!<table\b).)*?</table>", lambda found: f"{box}{found[0]}</div>", text, flags=re.DOTALL)
