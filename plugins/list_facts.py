"""What a list that leaves the site says of itself, and the line by which a program asks for it."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import app
from app import Column, Exchange, Response, View, rfc3339

if TYPE_CHECKING:
    from plugins import controls, filter_row, list_filters
    from plugins.pages import Pages
else:
    controls, filter_row, list_filters = map(app.plugin, ("controls", "filter_row", "list_filters"))

# ==== 1. FACTS ===================================================================================================
# The address of a list is its whole state, so that its words and its script are made of that.
# uses: VALUES RUNNERS RESOURCES plugin:controls plugin:filter_row plugin:list_filters plugin:pages
# defines: facts script

_OF_PAGES = ("_next", "_prev", "_size", "_count", "_facets", "_totals", "_for")  # what an export does not go by


def facts(exchange: Exchange, response: Response) -> Iterator[tuple[str, str]]:
    """(what it is, its words) of a list that is exported: what it shows, for whom and when."""
    page, t, columns = response.page, exchange.locale.t, response.table.columns if response.table else ()
    inner, query = page.get("listed") or (exchange.inner, exchange.query)
    yield t("facts.title"), str(page.get("heading") or page.get("title", ""))
    if page.get("note"):
        yield t("facts.note"), str(page["note"])
    for words in _narrowed(exchange, response, columns, query):
        yield t("facts.narrowed"), words
    if order := _order(exchange, page, columns, query):
        yield t("facts.order"), order
    of_link = exchange.inner.startswith("s/")  # whose address is a secret, and whose reader nobody knows
    yield t("facts.by"), ("" if of_link else response.caller.subject) or t("facts.anybody")
    yield t("facts.at"), exchange.locale.write_date_time(rfc3339(time.time()))
    yield t("facts.address"), _address(exchange, exchange.resource if of_link else inner, query)


def _narrowed(exchange: Exchange, response: Response, columns: Sequence[Column], query: Mapping[str, str]) -> Iterator[str]:
    """Each thing that a list is narrowed by, in words."""
    page, t = response.page, exchange.locale.t
    inputs = {one.name: one for one in controls.with_inputs(page, exchange.locale).get("inputs", ())}
    view = page.get("view")
    known = {one.name: one for one in [*(view.columns if isinstance(view, View) else ()), *columns]}
    if page.get("ticked"):
        yield t("several.told", n=page["ticked"])
    for name, text in query.items():
        if name == "_q" and text:
            yield t("filter.search", text=text)
        elif not text and (name in inputs or not _asks_for_empty(name, known)):
            continue
        elif one := inputs.get(name):
            titles = dict(one.choices)
            shown = [titles.get(part, part) for part in controls.values(one, text)]
            yield t("filter.param", field=one.title, value=t("common.comma").join(shown))
        elif not name.startswith("_"):
            column, op = filter_row.split(name, known)
            yield filter_row.said(known[column], op, text, exchange.locale) if op else f"{name} = {text}"


def _asks_for_empty(name: str, known: Mapping[str, Column]) -> bool:
    """Whether a parameter without a text narrows a list: it may ask for an empty one."""
    column, op = filter_row.split(name, known)
    return bool(op) and not list_filters.is_empty(op, "", known[column])


def _order(exchange: Exchange, page: Mapping[str, Any], columns: Sequence[Column], query: Mapping[str, str]) -> str:
    view, t = page.get("view"), exchange.locale.t
    asked = [one for one in query.get("_sort", "").split(",") if one]
    order = asked or (view.config.order_by if isinstance(view, View) else ())
    titles = {one.name: exchange.locale.heading(one) for one in columns}
    said = []
    for one in order:
        words = "table.descending" if one.startswith("-") else "table.ascending"
        said.append(t(words, field=titles.get(one.removeprefix("-"), one.removeprefix("-"))))
    return str(t("common.comma").join(said))


def _address(exchange: Exchange, inner: str, query: Mapping[str, str]) -> str:
    """Where a list is on the web with all that narrows and orders it."""
    site = exchange.door.site
    begin = site.url or f"{exchange.scheme}://{exchange.host}{exchange.prefix}"
    kept = {name: text for name, text in query.items() if name not in _OF_PAGES}
    return f"{begin}/{inner}" + (f"?{urlencode(kept)}" if kept else "")


# ---- a line for a shell


def script(way: Pages, exchange: Exchange, response: Response) -> str:
    """The HTML of the line that fetches the list of a page in a shell; "" for one that programs do not ask for. All pages
    have it, so that the words round the line are made once for a language."""
    if response.page.get("faults"):
        return ""
    key = ("script", exchange.locale.lang, title := exchange.locale.t("script.title"))
    around = way.kept.get(key)
    if around is None:
        facts = {"title": title, "t": exchange.locale.t, "tokens_href": exchange.url("me"), "line": _LINE}
        around = way.kept[key] = way.part("_script.tpl", facts).partition(_LINE)
    address = shlex.quote(_address(exchange, f"{exchange.inner}.csv", _by_no_clocks(exchange, response)))
    return f'{around[0]}curl -fsS -H "Authorization: Bearer $TOKEN" {escape(address)}{around[2]}'


def _by_no_clocks(exchange: Exchange, response: Response) -> Mapping[str, str]:
    """What a list is asked for, with the moments in which days begin and end for whoever looks at it: programs go by the
    clocks of the site."""
    if exchange.locale.zone == exchange.door.host.languages.site.zone or not response.table:
        return exchange.query
    known, found = {one.name: one for one in response.table.columns if one.has_instants}, dict[str, str]()
    for name, text in exchange.query.items():
        column, op = filter_row.split(name, known)
        if not op or op == "in" or column not in known:
            found[name] = text
            continue
        for one in list_filters.conditions(name, text, known[column], exchange.locale):
            found[f"{column}__{one.op}"] = one.value if isinstance(one.value, str) else text
    return found


_LINE = "the line"
