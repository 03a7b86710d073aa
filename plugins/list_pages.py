"""The pages of lists: records, views and what the administration lists, with what narrows them and what leads on."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlencode

import app
from app import COUNTED, Action, AppError, BadRequest, Column, Exchange, Response, Table

if TYPE_CHECKING:
    from plugins import cells, controls, pages
    from plugins.catalogue import Words
    from plugins.controls import Input
    from plugins.pages import Pages
else:
    cells, controls, pages = app.plugin("cells"), app.plugin("controls"), app.plugin("pages")

# ==== 1. LISTS ===================================================================================================
# The address of a list is its whole state: what it is narrowed by, its order and its page.
# uses: ERRORS VALUES RUNNERS RESOURCES plugin:catalogue plugin:cells plugin:charts plugin:controls plugin:move_pages
#          plugin:pages plugin:reading plugin:several_pages plugin:totals
# defines: shown


def shown(way: Pages, exchange: Exchange, response: Response) -> dict[str, Any]:
    """What the page of a list shows."""
    page, table, here = response.page, cast(Table, response.table), exchange.inner
    if "key" not in page:  # which the records of a form have
        page = controls.with_inputs(page, exchange.locale)
    again = {name: text for name, text in exchange.query.items() if text and name not in ("_next", "_for")}
    is_records = bool(page.get("key"))  # of a form; else a view, which has parameters
    records = app.plugin("reading").records_of(response)
    unsaid = ("id", "version", "updated_by", *(["created_by"] if page.get("heading") else [])) if is_records else ()
    columns = [column for column in table.columns if column.name not in unsaid]
    moves = app.plugin("move_pages").Cells(exchange, response) if is_records and page["form"].states else None
    boxes = app.plugin("several_pages").Boxes(exchange, response) if is_records else None
    headings = [_heading(exchange, here, again, column) for column in columns]
    if moves and moves.are_there:
        heading = SimpleNamespace(title=exchange.locale.t("moves.column"), numeric=False, sort_href="", sorted="")
        headings.insert(moves.after(columns), heading)
    filters, faults = _filter(way, exchange, page, again), page.get("faults", ())
    state, may_create = pages.list_state(exchange), is_records and Action.CREATE in page["may"]
    ending = "?" + urlencode({"_list": state}) if state and is_records else ""
    rows = cells.Rows(columns, table.rows, exchange.locale, exchange.url, records, ending, moves, boxes)
    return {
        "title": page.get("heading") or page["title"], "note": page["note"], **filters,
        "chart": app.plugin("charts").on_page(exchange, response) if exchange.resource[:6] == "views/" else None,
        "empty": _empty_words(page, again, exchange.locale.t),
        "crumbs": pages.crumbs_of(exchange, pages.form_trail(exchange, page) if is_records else [(page["title"], "")]),
        "rows": rows, "several": boxes,
        "columns": headings, "action": exchange.url(here), "count": _counted(table, exchange.locale.t),
        "next_href": exchange.url(here, **again, _next=table.next) if table.next else "",
        "first_href": exchange.url(here, **again) if exchange.query.get("_next") else "",
        "formats": {} if faults else _other_formats(exchange, here, again),
        **app.plugin("totals").below(exchange, response, columns),
        "create_href": exchange.url(page["address"], **page.get("new", {})) if may_create else "",
        "create": page.get("create") or exchange.locale.t("trail.new"),
        "import_href": exchange.url(f"{page['address']}/import") if may_create and page["form"].type == "forms" else "",
    }  # fmt: skip


def _filter(way: Pages, exchange: Exchange, page: Mapping[str, Any], again: Mapping[str, str]) -> dict[str, Any]:
    """The search and the parameters above a list, with what was asked for and what was wrong with it."""
    inputs, t = page.get("inputs", ()), exchange.locale.t
    asked = {}
    for one in inputs:
        if one.name in exchange.query:
            text = exchange.query[one.name]
            asked[one.name] = text.split(",") if one.widget == "checkboxes" else [text]
    if twice := exchange.repeated - {one.name for one in inputs if one.widget == "checkboxes"}:
        raise BadRequest(f"the parameter {min(twice)} is given twice")
    titles, wrong = {one.name: one.title for one in inputs}, {}
    if exchange.query:  # else nothing was asked yet
        wrong = {one.pointer[1:]: t.said(one.detail) for one in page.get("faults", ())}
    params = []
    for one in inputs:
        params.append(way.control(exchange, _filter_input(one, t), asked.get(one.name), wrong.get(one.name, "")))
    return {
        "params": params, "search": page.get("search"),
        "hidden": {name: text for name, text in again.items() if name != "_q" and name not in asked},
        "errors": [
            SimpleNamespace(href=f"#f-{name}", text=t("errors.fault", field=titles[name], what=text))
            for name, text in wrong.items()
        ],
    }  # fmt: skip


def _filter_input(one: Input, t: Words) -> Input:
    """A parameter's control in a filter, where a choice can be taken back."""
    if one.widget not in ("radio", "select", "checkbox"):
        return one
    choices = [("true", t("common.yes")), ("false", t("common.no"))]
    if one.widget != "checkbox":
        choices = [pair for pair in one.choices if pair[0]]
    if not one.required:
        choices.insert(0, ("", t("field.any")))
    return one._replace(widget="select", choices=tuple(choices))


def _heading(exchange: Exchange, here: str, again: Mapping[str, str], column: Column) -> SimpleNamespace:
    name, sort = column.name, again.get("_sort", "")
    turned = {**again, "_sort": "-" + name if sort == name else name}
    return SimpleNamespace(
        title=exchange.locale.heading(column), numeric=column.type in ("number", "integer"),
        sort_href="" if here.startswith("admin/") else exchange.url(here, **turned),
        sorted={name: "ascending", "-" + name: "descending"}.get(sort, ""),
    )  # fmt: skip


def _other_formats(exchange: Exchange, here: str, again: Mapping[str, str]) -> dict[str, str]:
    """The addresses of a list in other formats, by what they are called."""
    kinds = sorted(kind for kind, one in exchange.door.formats.items() if "table" in one.subjects and not one.for_people)
    found = {kind.upper(): exchange.url(f"{here}.{kind}", **again) for kind in kinds}
    return found | {exchange.locale.t("table.excel"): exchange.url(f"{here}.csv", **again, _for="excel")}


def _empty_words(page: Mapping[str, Any], again: Mapping[str, str], t: Words) -> str:
    """What stands in place of a list without rows."""
    if faults := page.get("faults", ()):
        titles = {one.name: one.title for one in page.get("inputs", ())}
        return t("table.fill_in", fields=t("common.comma").join(titles[one.pointer[1:]] for one in faults))
    return t("table.nothing_fits") if again else t("table.nothing")


def _counted(table: Table, t: Words) -> str:
    """How many rows there are, in words; "" where that is not known soon."""
    count = table.count
    if count is None:
        with suppress(AppError):  # the page is whole without it
            count = table.size()
    if count is None:
        return ""
    if table.count is None and count > COUNTED:
        return t("table.more_rows", n=COUNTED)
    return t("table.rows", n=count)
