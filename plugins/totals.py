"""What stands below the rows of a view: totals of all that its filter selects, on pages, in JSON and in exports."""

from __future__ import annotations

import time
import weakref
from collections.abc import Mapping, Sequence
from decimal import Decimal
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
    value_key,
)

if TYPE_CHECKING:
    from plugins import form_views, groups
    from plugins.locale import Locale
    from plugins.statements import SqlView
else:
    form_views, groups = app.plugin("form_views"), app.plugin("groups")

# ==== 1. TOTALS ==================================================================================================
# The provider adds up, so that a page of fifty rows says what all of them come to. A page waits for that no longer than for
# the count of its rows, and says so if that was not enough; a program that asks for totals gets them, or an error.
# uses: ERRORS VALUES CONFIG RUNNERS RESOURCES PROVIDERS plugin:form_views plugin:groups plugin:locale plugin:statements
# defines: WORDS names params answer totals_of Tally below written

WORDS = {one.rpartition(".")[2]: one for one in ("totals.sum", "totals.avg", "totals.min", "totals.max", "totals.count")}
_SLOW_S, _MOST_SLOW = 30.0, 1000  # a list whose totals took too long is shown without them for so long; how many are known
_slow: weakref.WeakKeyDictionary[View, dict[Any, float]] = weakref.WeakKeyDictionary()  # until when, by what was asked of it
_TOO_LONG = (QueryTimeout, TooLarge, Unsupported)


def names(config: ViewConfig) -> list[str]:
    """The columns of a view that have totals."""
    return [name for name, said in config.columns.items() if said.get("total")]


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
        table.facts = {**table.facts, "totals": totals_of(view, request, table.columns)}
    except _TOO_LONG:
        if not request.page:  # which says so
            raise


def totals_of(view: View, request: Request, columns: Sequence[Column], within_s: float | None = None) -> Value:
    """The totals of those of the columns that have one, over all rows that a request selects. Raises QueryTimeout, TooLarge
    or Unsupported if there are too many for the provider or for `within_s`."""
    measures = [Measure(one.total, one.name) for one in columns if one.total]
    if not measures:
        return {}
    if getattr(view, "is_grouped", False):
        with groups.within(within_s or groups.GROUPS_S):
            found: Sequence[Json] = _of_groups(view, request, columns)
    elif isinstance(view.source, Form):
        found = _of_records(view, request, measures, within_s)
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


def _of_groups(view: View, request: Request, columns: Sequence[Column]) -> list[Json]:
    """Of the rows of a view that groups records, of which there are few."""
    tallies = [Tally(one) for one in columns if one.total]
    table = view.rows(request._replace(whole=True, encoded=False))
    try:
        for row in table.rows:
            for tally in tallies:
                tally.add(row.get(tally.name))
    finally:
        table.close()
    return [tally.result() for tally in tallies]


class Tally:
    """Adds up the values of a column one by one, as providers do it."""

    def __init__(self, column: Column) -> None:
        self.name, self.op = column.name, column.total
        self._instant, self._count = column.format == "date-time", 0
        self._exact, self._bound, self._key = groups.Total(), cast(Json, None), ""

    def add(self, value: Json) -> None:
        if value is None:
            return
        self._count += 1
        if self.op in ("sum", "avg"):
            if isinstance(value, int | float | Decimal) and not isinstance(value, bool):
                self._exact.add_number(value)
                self._exact.count += 1
        elif self.op != "count" and self._goes_beyond(key := value_key(value, self._instant)):
            self._key, self._bound = key, value

    def _goes_beyond(self, key: str) -> bool:
        """Whether a value with this sort key is less, or greater, than all before it."""
        return key != "z" and (not self._key or (key < self._key if self.op == "min" else key > self._key))

    def result(self) -> Json:
        """Raises TooLarge if it has too many digits."""
        if self.op in ("min", "max"):
            return self._bound
        ways: Mapping[str, Any] = {"sum": self._exact.sum, "avg": self._exact.avg}
        return self._count if self.op == "count" else cast(Json, ways[self.op]())


# ---- the row of a page


def below(exchange: Exchange, response: Response, columns: Sequence[Column]) -> dict[str, str]:
    """The row below a list with these columns as HTML, or why there is none; "" for what there is not."""
    view, request, table = response.page.get("view"), response.page.get("request"), cast(Table, response.table)
    none = {"totals": "", "no_totals": ""}
    if not isinstance(view, View) or not any(one.total for one in columns) or response.page.get("faults"):
        return none
    is_asked = exchange.query.get("_totals") == "1"
    found = table.facts.get("totals") if is_asked else _soon(view, cast(Request, request), columns)
    if found is None:
        return none | {"no_totals": _refused(exchange, is_asked)}
    return none | {"totals": _html(exchange.locale, columns, found)}


def _refused(exchange: Exchange, is_asked: bool) -> str:
    """Why a page has no totals, as HTML; they can be waited for."""
    t = exchange.locale.t
    if is_asked:
        return str(escape(t("totals.too_long")))
    href = exchange.url(exchange.inner, **{**exchange.query, "_totals": "1"})
    return str(t.html("totals.later", add=t.link(href, t("totals.add"))))


def _soon(view: View, request: Request, columns: Sequence[Column]) -> Value | None:
    """The totals of a page, if they are soon there. A list that kept somebody waiting in vain is not asked again at once."""
    key, now, slow = tuple(sorted(request.params.items())), time.monotonic(), _slow.setdefault(view, {})
    if now < slow.get(key, 0.0):
        return None
    try:
        return totals_of(view, request, columns, COUNT_S)
    except AppError as error:
        if len(slow) > _MOST_SLOW:
            slow.clear()
        slow[key] = now + _SLOW_S
        if not isinstance(error, _TOO_LONG):
            app.LOG.warning("views/%s: its totals cannot be made: %s", view.name, error.with_hint)
        return None


def _html(locale: Locale, columns: Sequence[Column], found: Value) -> str:
    leads = next(place for place, one in enumerate(columns) if one.total)
    cells = []
    if leads:  # what stands before the first total says what the row is
        cells.append(f'<th scope="row" colspan="{leads}">{escape(locale.t("totals.title"))}</th>')
    for one in columns[leads:]:
        cells.append(_cell(locale, one, found[one.name], bool(leads)) if one.total else "<td></td>")
    return f"<tfoot><tr>{''.join(cells)}</tr></tfoot>"


def _cell(locale: Locale, column: Column, value: Json, is_named: bool) -> str:
    words = "" if column.total == "sum" and is_named else f'<span class="op">{escape(locale.t(WORDS[column.total]))}</span> '
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
