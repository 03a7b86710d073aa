"""What stands below the rows of a view: totals of all that its filter selects, on pages, in JSON and in exports."""

from __future__ import annotations

import time
import weakref
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Any, cast

import app
from app import (
    COUNT_S,
    AppError,
    BadRequest,
    Column,
    Exchange,
    Form,
    Json,
    Measure,
    QueryTimeout,
    Request,
    Response,
    Table,
    TooLarge,
    Unsupported,
    Value,
    View,
    ViewConfig,
    read_list,
)

if TYPE_CHECKING:
    from plugins import form_views, groups, tallies
    from plugins.locale import Locale
    from plugins.statements import SqlView
    from plugins.tallies import Subtotal
else:
    form_views, groups, tallies = map(app.plugin, ("form_views", "groups", "tallies"))

# ==== 1. TOTALS ==================================================================================================
# The provider adds up, so that a page of fifty rows says what all of them come to. A page waits for that no longer than for
# the count of its rows, and says so if that was not enough; a program that asks for totals gets them, or an error.
# uses: ERRORS VALUES CONFIG RUNNERS RESOURCES plugin:form_views plugin:groups plugin:locale plugin:statements
#       plugin:tallies
# defines: names described params answer totals_of below between written

_SLOW_S, _MOST_SLOW = 30.0, 1000  # a list whose totals took too long is shown without them for so long; how many are known
_slow: weakref.WeakKeyDictionary[View, dict[Any, float]] = weakref.WeakKeyDictionary()  # until when, by what was asked of it
_TOO_LONG = (QueryTimeout, TooLarge, Unsupported)


def names(config: ViewConfig) -> list[str]:
    """The columns of a view that have totals."""
    return [name for name, said in config.columns.items() if said.get("total")]


def described(config: ViewConfig) -> Value:
    """What programs are told of them."""
    return {"totals": names(config), "subtotals": bool(names(config)) and len(config.group_by) > 1}


def params(config: ViewConfig) -> list[str]:
    """The parameters of a view that has totals."""
    return ["_totals"] if names(config) else []


def answer(view: View, request: Request, table: Table) -> None:
    """Put the totals beside the rows of a page, if they were asked for. Raises BadRequest, and what adding up raises."""
    asked = request.params.get("_totals", "0")
    if asked not in ("0", "1"):
        raise BadRequest("_totals must be 0 or 1")
    if asked != "1" or request.whole:
        return
    try:
        table.facts = {**table.facts, "totals": totals_of(view, request, table)}
        if table.added and not request.page and (found := table.added.subtotals(table.columns)):
            table.facts["subtotals"] = [one.told for one in found]
    except _TOO_LONG:
        if not request.page:  # which says so
            raise


def totals_of(
    view: View, request: Request, table: Table, within_s: float | None = None, columns: Sequence[Column] | None = None
) -> Value:
    """The totals of those of the columns, or of all that a table has, over all rows that a request selects. Raises
    QueryTimeout, TooLarge or Unsupported if there are too many for the provider or for `within_s`."""
    columns = table.columns if columns is None else columns
    if table.added:
        return cast(Value, table.added.totals(columns))
    measures = [Measure(one.total, one.name) for one in columns if one.total]
    if not measures:
        return {}
    if isinstance(view.source, Form):
        found: Sequence[Json] = _of_records(view, request, measures, within_s)
    else:
        sql = cast("SqlView", view)
        timeout_s = min(float(view.config.timeout_s), within_s or float(view.config.timeout_s))
        found = sql.source.sums(sql.selects(request)._replace(timeout_s=timeout_s), measures)
    return {one.field: value for one, value in zip(measures, found, strict=True)}


def _of_records(view: View, request: Request, measures: Sequence[Measure], within_s: float | None) -> Sequence[Json]:
    asked = read_list(request.params, view.columns, view.locale, view.own_params())
    if isinstance(view, form_views.JoinedView):
        query = view.selected(asked)
    else:
        query = view.source.query(asked, (), view.columns)
        query = query._replace(where=(*query.where, *view.config.where))
    query = query._replace(order_by=(), after="")
    with groups.within(within_s or groups.GROUPS_S):
        return cast(Sequence[Json], view.source.store.groups(query, (), measures, 1)[0])


# ---- the row of a page


def below(exchange: Exchange, response: Response, columns: Sequence[Column]) -> dict[str, str]:
    """The row below a list with these columns as HTML, or why there is none; "" for what there is not."""
    view, request, table = response.page.get("view"), response.page.get("request"), cast(Table, response.table)
    none = {"totals": "", "no_totals": ""}
    if not isinstance(view, View) or not any(one.total for one in columns) or response.page.get("faults"):
        return none
    is_asked = exchange.query.get("_totals") == "1"
    found = table.facts.get("totals") if is_asked else _soon(view, cast(Request, request), table, columns)
    if found is None:
        return none | {"no_totals": _refused(exchange, is_asked)}
    return none | {"totals": f"<tfoot>{_row(exchange.locale, columns, found)}</tfoot>"}


def between(exchange: Exchange, response: Response, columns: Sequence[Column]) -> dict[int, str]:
    """The sub-totals on a page as rows of HTML, each by the number of the row that it stands behind."""
    table = cast(Table, response.table)
    if not table.added or response.page.get("faults"):
        return {}
    try:
        found: Sequence[Subtotal] = table.added.subtotals(columns)
    except TooLarge:  # which the row below says
        return {}
    return {one.behind: _row(exchange.locale, columns, one.totals, one) for one in found if one.behind is not None}


def _refused(exchange: Exchange, is_asked: bool) -> str:
    """Why a page has no totals, as HTML; they can be waited for."""
    t = exchange.locale.t
    if is_asked:
        return str(escape(t("totals.too_long")))
    href = exchange.url(exchange.inner, **{**exchange.query, "_totals": "1"})
    return str(t.html("totals.later", add=t.link(href, t("totals.add"))))


def _soon(view: View, request: Request, table: Table, columns: Sequence[Column]) -> Value | None:
    """The totals of a page, if they are soon there. A list that kept somebody waiting in vain is not asked again at once."""
    key, now, slow = tuple(sorted(request.params.items())), time.monotonic(), _slow.setdefault(view, {})
    if now < slow.get(key, 0.0):
        return None
    try:
        return totals_of(view, request, table, COUNT_S, columns)
    except AppError as error:
        if len(slow) > _MOST_SLOW:
            slow.clear()
        slow[key] = now + _SLOW_S
        if not isinstance(error, _TOO_LONG):
            app.LOG.warning("views/%s: its totals cannot be made: %s", view.name, error.with_hint)
        return None


def _row(locale: Locale, columns: Sequence[Column], found: Value, about: Subtotal | None = None) -> str:
    """Totals as a row, which says what it is in front of the first one; a sub-total that is in the first column says so in
    another one."""
    leads = next(place for place, one in enumerate(columns) if one.total)
    title = locale.t("totals.title") if about is None else about.title(locale, _column(columns, about.column))
    named = 0 if leads else None if about is None else _room(columns, about.column)
    cells = []
    for place, one in enumerate(columns):
        if place == named:
            cells.append(f'<th scope="row" colspan="{leads or 1}">{escape(title)}</th>')
        elif one.total:
            cells.append(_cell(locale, one, found[one.name], bool(leads)))
        elif place >= leads:
            cells.append("<td></td>")
    return f"<tr>{''.join(cells)}</tr>" if about is None else f'    <tr class="subtotal">{"".join(cells)}</tr>'


def _column(columns: Sequence[Column], name: str) -> Column:
    return next(one for one in columns if one.name == name)


def _room(columns: Sequence[Column], name: str) -> int:
    """The number of the first column without a total, or that of the column of this name."""
    names = [one.name for one in columns]
    return next((place for place, one in enumerate(columns) if not one.total), names.index(name))


def _cell(locale: Locale, column: Column, value: Json, is_named: bool) -> str:
    words = (
        ""
        if column.total == "sum" and is_named
        else f'<span class="op">{escape(locale.t(tallies.WORDS[column.total]))}</span> '
    )
    of = escape(locale.heading(column))  # which a phone shows before the value
    return f'<td class="num" data-of="{of}">{words}<bdi>{escape(written(locale, column, value))}</bdi></td>'


def written(locale: Locale, column: Column, value: Json) -> str:
    """A total for people; a mean without a format with no more than four digits behind the mark."""
    if value is None:
        return "—"
    if column.total in ("min", "max"):
        return locale.show(column, value)
    format_ = "" if column.total == "count" else column.format
    if column.total == "avg" and not format_ and isinstance(value, float):
        value = round(value, 4)
    return locale.show(Column(column.name, format=format_), value)
