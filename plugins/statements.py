"""Views of SQL: a declared statement whose rows are filtered, ordered and paged like any list."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import closing, suppress
from decimal import Decimal
from functools import partial
from json.encoder import encode_basestring
from types import MappingProxyType
from typing import Any

from app import (
    COUNT_S,
    COUNTED,
    LIST_PARAMS,
    Action,
    AppError,
    BadRequest,
    Column,
    Condition,
    ConfigError,
    Fault,
    Json,
    Plan,
    Queries,
    Request,
    Scope,
    Select,
    Table,
    Value,
    View,
    decode_cursor,
    encode_cursor,
    page_bounds,
    page_of,
    paged,
    plugin,
    read_list,
    text_page,
    watched,
    weigh,
)

# ==== 1. STATEMENTS ==============================================================================================
# The statement is the administrator's: parameters are bound, and what is asked of its rows is written around it by the
# provider, which knows their columns.
# uses: ERRORS VALUES CONTRACTS RESOURCES PROVIDERS plugin:column_formats plugin:fields plugin:list_filters
#       plugin:reading plugin:totals
# defines: SqlView offset_of


_NUMBERS = frozenset((int, float, Decimal))
_RANGES = frozenset(("gt", "gte", "lt", "lte"))
_JSON: Mapping[type, Callable[[Any], str]] = {  # what dump_json writes of a value of a row; infinities are texts there
    str: encode_basestring,
    int: int.__repr__,
    float: float.__repr__,
    bool: lambda value: "true" if value else "false",
    type(None): lambda value: "null",
}


class SqlView(View):
    """A report: the rows of an SQL statement."""

    source: Queries

    def handle(self, request: Request, scope: Scope) -> Plan:
        """What a database says of a statement that is wrong is for whoever may mend it, and for the log."""
        try:
            return super().handle(request, scope)
        except ConfigError as error:
            if scope.caller.may(Action.READ, "admin/check"):
                raise
            words = f"views/{self.name} cannot be shown: its statement is wrong, and the log says why"
            raise type(error)(words, hint=error.with_hint) from error

    def defaults(self) -> dict[str, Json]:
        """The value of each parameter that is not given."""
        return {name: one.config.default for name, one in self.params.items()}

    def statement(self, params: Mapping[str, str] = MappingProxyType({}), **asked: Any) -> Select:
        """The declared statement with its parameters read by their type; a missing one is its default or null."""
        values = self.defaults() | {n: p.from_param(params[n], self.locale) for n, p in self.params.items() if n in params}
        missing = [n for n, p in self.params.items() if p.config.required and values[n] is None]
        if missing:
            faults = [Fault(f"/{name}", "required", "is missing") for name in missing]
            raise BadRequest(f"the parameter {missing[0]} is missing", faults=faults)
        return Select(statement=self.config.sql, params=values, **asked)

    def selects(self, request: Request) -> Select:
        """The statement with all that a request asks of its rows, but for the page."""
        where, order_by = self._asked(request.params)
        search = request.params.get("_q", "").strip()
        return self.statement(request.params, where=where, search=search, order_by=order_by or self.config.order_by)

    def rows(self, request: Request) -> Table:
        source, place = self.source, f"views/{self.name}"
        size, start = page_bounds(request.params), offset_of(request.params.get("_next", ""))
        asked, timeout_s = self.selects(request), float(self.config.timeout_s)
        if request.whole:
            rows = source.select(asked._replace(timeout_s=timeout_s) if request.timed else asked)
            items = watched(place, _mappings(rows.columns, rows.rows))
            table = Table(self._titled(rows.columns, ()), items, close=rows.close)
            table.added = plugin("totals").parts(self, request, asked.order_by)
            return table
        asked = asked._replace(timeout_s=timeout_s)
        rows = source.select(asked._replace(limit=size + 1, offset=start))
        read = list[Sequence[Json]]()  # the latest row
        with closing(rows):
            found, more = page_of(_noting(rows.rows, read), size, _weight)
        count = source.count_rows(asked) if request.params.get("_count") == "1" else None
        asked_soon = asked._replace(timeout_s=min(COUNT_S, timeout_s))
        soon = partial(source.count_rows, asked_soon, COUNTED + 1)
        is_narrowed = request.page and bool(asked.where or asked.search)
        known = found or (self._unnarrowed(request) if is_narrowed else ())
        columns, following = self._titled(rows.columns, known), encode_cursor(start + len(found)) if more else None
        texts = _texts(rows.columns, found) if request.encoded else None
        if texts is None:
            items = _mappings(rows.columns, found)
            table = paged(columns, items, following, place=place, before=start, count=count, size=soon)
        else:
            table = text_page(columns, texts, following, count=count, size=soon)
        table.facts = self.facets(request, partial(source.facet_rows, asked_soon if request.page else asked))
        behind = [dict(zip(rows.columns, row, strict=True)) for row in read] if more and not texts else []
        table.added = plugin("totals").parts(self, request, asked.order_by, behind)
        return table

    def _unnarrowed(self, request: Request) -> Sequence[Sequence[Json]]:
        """The first rows without what narrows them, so that a list without rows keeps the controls that it has with some."""
        asked = self.statement(request.params, limit=50, timeout_s=min(COUNT_S, float(self.config.timeout_s)))
        with suppress(AppError), closing(self.source.select(asked)) as rows:
            return list(rows.rows)
        return ()

    def _asked(self, params: Mapping[str, str]) -> tuple[tuple[Condition, ...], tuple[str, ...]]:
        """Filters and order; the provider knows the columns and refuses those that do not exist."""
        params = {name: text for name, text in params.items() if name not in self.own_params()}
        filters = [name for name in params if name not in LIST_PARAMS]
        sort = [part for part in params.get("_sort", "").split(",") if part]
        ops = {name.removeprefix("-"): set[str]() for name in sort}
        for name in filters:
            column, _, op = name.partition("__")
            ops.setdefault(column, set()).add(op)
        asked = read_list(params, list(map(self._read_as, ops, ops.values())), self.locale)
        return tuple(map(self._untyped, asked.where)), asked.order_by

    def _read_as(self, name: str, ops: Set[str]) -> Column:
        """As what filters of a column with these operators are read, as far as its format says: numbers, days or moments."""
        declared, filters = self._format(name), plugin("list_filters")
        if plugin("column_formats").is_numeric(declared):
            return Column(name, type="number" if ops & _RANGES else "string", format=declared)
        return Column(name, format={"date": filters.DAY, "date-time": filters.MOMENT}.get(declared, ""))

    def _format(self, name: str) -> str:
        return str(self.config.columns.get(name, {}).get("format") or "")

    def _untyped(self, condition: Condition) -> Condition:
        """A condition on a column, whose type is not known: the text of a number also means the number, and the other way
        round."""
        if condition.op in ("contains", "prefix", "null") or isinstance(condition.value, plugin("list_filters").Moment):
            return condition
        values = condition.value if isinstance(condition.value, list) else [condition.value]
        format_ = self._format(condition.field)
        numbers = [one for value in values if (one := _number_of(value, format_, self.locale)) is not None]
        if condition.op in ("eq", "in"):
            return Condition(condition.field, "in", [*map(str, values), *numbers])
        return Condition(condition.field, condition.op, numbers[0]) if numbers else condition

    def _titled(self, names: Sequence[str], rows: Sequence[Sequence[Json]]) -> tuple[Column, ...]:
        """Columns with their declared titles; a column of numbers in these rows is a number."""
        columns = []
        for index, name in enumerate(names):
            types = {type(row[index]) for row in rows} - {type(None)}
            numeric = bool(types) and types <= _NUMBERS
            found = Column(name, name.replace("_", " ").capitalize(), "number" if numeric else "string")
            columns.append(plugin("reading").dressed(found, self.config.columns.get(name, {})))
        return tuple(columns)


def _number_of(value: Json, format_: str, locale: Any) -> Json:
    """A number, or what a text says as a program or as a person writes one; None of any other text."""
    fields = plugin("fields")
    if not isinstance(value, str):
        return value
    typed = plugin("column_formats").typed
    number = fields.number_of(value) if fields.is_number(value) else typed(locale, format_, value)
    return None if isinstance(number, str) else number


def offset_of(cursor: str) -> int:
    """How many rows are before the page that a cursor leads to. Raises BadRequest."""
    start = decode_cursor(cursor, 1)[0] if cursor else 0
    if isinstance(start, bool) or not isinstance(start, int) or not 0 <= start < 2**53:
        raise BadRequest("_next is not a cursor of this list: use the one from its answer, unchanged")
    return start


def _noting(rows: Iterable[Sequence[Json]], latest: list[Sequence[Json]]) -> Iterator[Sequence[Json]]:
    """The same rows; `latest` holds the last one that was read."""
    for row in rows:
        latest[:] = [row]
        yield row


def _mappings(columns: Sequence[str], rows: Iterable[Sequence[Json]]) -> Iterator[Value]:
    for row in rows:
        yield dict(zip(columns, row, strict=True))


def _texts(columns: Sequence[str], rows: Sequence[Sequence[Json]]) -> list[str] | None:
    """The rows as JSON; None if one holds what is no plain value, such as a damaged text, or a name stands twice."""
    if len(set(columns)) < len(columns):
        return None
    whole = "{" + ",".join(encode_basestring(name).replace("%", "%%") + ":%s" for name in columns) + "}"
    try:
        return [whole % tuple([_JSON[type(value)](value) for value in row]) for row in rows]
    except KeyError:
        return None


def _weight(row: Sequence[Json]) -> int:
    """What weigh() says of a row, of one without lists and objects quicker."""
    if not _JSON.keys() >= set(map(type, row)):
        return weigh(row)
    return sum([len(value) - 8 for value in row if type(value) is str]) + 9 * len(row)
