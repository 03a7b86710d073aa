"""What stands below the rows of a view: totals of all that its filter selects, on pages, in JSON and in exports."""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from html import escape
from typing import TYPE_CHECKING, Any, TypeVar, cast

import app
from app import (
    COUNT_S,
    AppError,
    BadRequest,
    Column,
    Exchange,
    Form,
    Json,
    ListQuery,
    Measure,
    Query,
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
    value_key,
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
# uses: ERRORS VALUES CONFIG RUNNERS RESOURCES PROVIDERS plugin:form_views plugin:groups plugin:locale
#       plugin:statements plugin:tallies
# defines: names described params answer totals_of Parts parts subtotals_of below between written

_SLOW_S, _MOST_SLOW = 30.0, 1000  # a list whose totals took too long is shown without them for so long; how many are known
_slow: weakref.WeakKeyDictionary[View, dict[Any, float]] = weakref.WeakKeyDictionary()  # until when, by what was asked of it
_Made = TypeVar("_Made")
_MOST_PARTS = 10_000  # values of a column that have sub-totals
_TOO_LONG = (QueryTimeout, TooLarge, Unsupported)


def names(config: ViewConfig) -> list[str]:
    """The columns of a view that have totals."""
    return [name for name, said in config.columns.items() if said.get("total")]


def described(config: ViewConfig) -> Value:
    """What programs are told of them."""
    parts = len(config.group_by) > 1 or (bool(config.facets) and not config.group_by)
    return {"totals": names(config), "subtotals": bool(names(config)) and parts}


def params(config: ViewConfig) -> list[str]:
    """The parameters of a view that has totals."""
    return ["_totals"] if names(config) else []


def answer(view: View, request: Request, table: Table) -> None:
    """Put the totals beside the rows of a page, if they were asked for. Raises BadRequest, and what adding up raises."""
    asked = request.params.get("_totals", "0")
    if table.added is None and isinstance(view.source, Form) and not getattr(view, "is_grouped", False):
        table.added = parts(view, request, _asked_of(view, request).order_by or view.config.order_by)
    if asked not in ("0", "1"):
        raise BadRequest("_totals must be 0 or 1")
    if asked != "1" or request.whole:
        return
    try:
        table.facts = {**table.facts, "totals": totals_of(view, request, table)}
        if table.added and not request.page and (found := subtotals_of(table, table.columns)):
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
    if isinstance(table.added, tallies.Added):
        return table.added.totals(columns)
    measures = [Measure(one.total, one.name) for one in columns if one.total]
    if not measures:
        return {}
    [found] = _measured(view, request, measures, within_s)
    return {one.field: value for one, value in zip(measures, found, strict=True)}


def _measured(
    view: View, request: Request, measures: Sequence[Measure], within_s: float | None, by: str = ""
) -> Sequence[Sequence[Json]]:
    """The measures of all rows, or of those with each value of a column, behind that."""
    if isinstance(view.source, Form):
        query = _query_of(view, _asked_of(view, request))._replace(order_by=(), after="")
        with groups.within(within_s or groups.GROUPS_S):
            found: Sequence[Sequence[Json]] = view.source.store.groups(query, (by,) if by else (), measures, _MOST_PARTS)
        return found
    sql = cast("SqlView", view)
    timeout_s = min(float(view.config.timeout_s), within_s or float(view.config.timeout_s))
    return sql.source.sums(sql.selects(request)._replace(timeout_s=timeout_s), measures, by, _MOST_PARTS)


def _asked_of(view: View, request: Request) -> ListQuery:
    return read_list(request.params, view.columns, view.locale, view.own_params())


def _query_of(view: View, asked: ListQuery) -> Query:
    """What a list of records asks for."""
    if isinstance(view, form_views.JoinedView):
        return view.selected(asked)
    query: Query = view.source.query(asked, view.config.order_by or ("-id",), view.columns)
    return query._replace(where=(*query.where, *view.config.where))


# ---- sub-totals of rows that are no groups


class Parts:
    """What the rows with one value of `lead` add up to, which the provider says. `behind` has the row after the page, as far
    as it is known."""

    def __init__(self, view: View, request: Request, lead: str, behind: Sequence[Mapping[str, Json]]) -> None:
        self.view, self.request, self.lead, self.behind = view, request, lead, behind
        self.are_late = False  # whether a page goes without them

    def subtotals(self, table: Table, columns: Sequence[Column], within_s: float | None = None) -> list[Subtotal]:
        """One for each value that the page has, in its order; [] if none of the columns has a total, if `lead` is not among
        them, or has too many values. Raises QueryTimeout and Unsupported."""
        measures = [Measure(one.total, one.name) for one in columns if one.total]
        lead = next((one for one in columns if one.name == self.lead), None)
        rows = app.load_json(f"[{table.text}]") if table.text else table.rows
        shown = [row[self.lead] for row in rows if lead and measures]
        if not shown or lead is None:
            return []
        try:
            found = _measured(self.view, self.request, measures, within_s, self.lead)
        except TooLarge:
            return []
        names, instant = [one.field for one in measures], lead.has_instants
        totals: dict[str, Value] = {value_key(value, instant): dict(zip(names, row, strict=True)) for value, *row in found}
        totals.pop("z", None)  # lists and objects, which are no values of groups
        behind = [row[self.lead] for row in (self._behind(table) if self.request.page else ())]
        return tallies.placed(self.lead, shown, behind, totals, instant)

    def _behind(self, table: Table) -> Sequence[Mapping[str, Json]]:
        if self.behind or not table.next:
            return self.behind
        asked = _asked_of(self.view, self.request)._replace(size=1, after=table.next)
        form = self.view.source
        rows = [form.flat(one) for one in form.store.find(_query_of(self.view, asked)).items]
        return [{self.lead: row.get(self.lead)} for row in rows]  # which a record need not have


def parts(view: View, request: Request, order_by: Sequence[str], behind: Sequence[Mapping[str, Json]] = ()) -> Parts | None:
    """Sub-totals are of the column that a list is ordered by first, if its values are counted, too; None for others."""
    lead = order_by[0].removeprefix("-") if order_by else ""
    return Parts(view, request, lead, behind) if lead in view.config.facets and names(view.config) else None


def subtotals_of(table: Table, columns: Sequence[Column], within_s: float | None = None) -> list[Subtotal]:
    """The sub-totals of a page. Raises QueryTimeout, TooLarge or Unsupported."""
    if isinstance(table.added, Parts):
        return table.added.subtotals(table, columns, within_s)
    return cast("list[Subtotal]", table.added.subtotals(columns))


# ---- the row of a page


def below(exchange: Exchange, response: Response, columns: Sequence[Column]) -> dict[str, str]:
    """The row below a list with these columns as HTML, or why there is none; "" for what there is not."""
    view, request, table = response.page.get("view"), response.page.get("request"), cast(Table, response.table)
    none = {"totals": "", "no_totals": ""}
    if not isinstance(view, View) or not any(one.total for one in columns) or response.page.get("faults"):
        return none
    is_asked = exchange.query.get("_totals") == "1"
    made = partial(totals_of, view, cast(Request, request), table, COUNT_S, columns)
    found = table.facts.get("totals") if is_asked else _soon(view, cast(Request, request), made)
    if found is None:
        return none | {"no_totals": _refused(exchange, is_asked)}
    late = _refused(exchange, is_asked) if getattr(table.added, "are_late", False) else ""
    return {"totals": f"<tfoot>{_row(exchange.locale, columns, found)}</tfoot>", "no_totals": late}


def between(exchange: Exchange, response: Response, columns: Sequence[Column]) -> dict[int, str]:
    """The sub-totals on a page as rows of HTML, each by the number of the row that it stands behind."""
    table = cast(Table, response.table)
    if not table.added or response.page.get("faults"):
        return {}
    within_s = None if exchange.query.get("_totals") == "1" else COUNT_S
    made = partial(subtotals_of, table, columns, within_s)
    if isinstance(table.added, Parts):
        found = _soon(table.added.view, table.added.request, made, "parts")
        table.added.are_late = found is None
    else:
        try:
            found = made()
        except TooLarge:  # which the row below says
            return {}
    return {one.behind: _row(exchange.locale, columns, one.totals, one) for one in found or () if one.behind is not None}


def _refused(exchange: Exchange, is_asked: bool) -> str:
    """Why a page has no totals, as HTML; they can be waited for."""
    t = exchange.locale.t
    if is_asked:
        return str(escape(t("totals.too_long")))
    href = exchange.url(exchange.inner, **{**exchange.query, "_totals": "1"})
    return str(t.html("totals.later", add=t.link(href, t("totals.add"))))


def _soon(view: View, request: Request, make: Callable[[], _Made], what: str = "") -> _Made | None:
    """What a page adds up, if that is soon there. A list that kept somebody waiting in vain is not asked again at once."""
    key, now, slow = (what, *sorted(request.params.items())), time.monotonic(), _slow.setdefault(view, {})
    if now < slow.get(key, 0.0):
        return None
    try:
        return make()
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
