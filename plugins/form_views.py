"""Views of a form whose rows are not its records as they are: with columns of other forms, or groups and what they add up
to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import copy
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import app
from app import (
    Caller,
    Column,
    CompiledQuery,
    Condition,
    Fault,
    Form,
    Json,
    ListQuery,
    Measure,
    Page,
    Query,
    Record,
    Request,
    Table,
    TooLarge,
    Value,
    View,
    ViewConfig,
    encode_cursor,
    list_mark,
    nearest,
    paged,
    read_list,
    sort_key,
    value_key,
    value_of_key,
    watched,
)

if TYPE_CHECKING:
    from plugins import groups, joins, list_filters, reading, row_rules, tallies
    from plugins.joins import Join
else:
    groups, joins, reading, tallies = map(app.plugin, ("groups", "joins", "reading", "tallies"))
    list_filters, row_rules = app.plugin("list_filters"), app.plugin("row_rules")

# ==== 1. JOINED ==================================================================================================
# Records with columns of other forms beside their own.
# uses: ERRORS VALUES CONFIG RESOURCES PROVIDERS plugin:groups plugin:joins plugin:reading plugin:row_rules
#       plugin:statements
# defines: MOST_SORTED JoinedView

MOST_SORTED = 10_000  # rows that are read to be ordered by a column of another form


class JoinedView(View):
    """A view of a form with columns of other forms, each only for whoever may read it there."""

    is_derived, is_grouped = True, False
    source: Form
    by_place = False  # whether cursors of rows that are all here count them, and say nothing of their values
    found: dict[str, list[Record]] | None = None  # of what one request asked for: its groups, by what selects them

    def __init__(self, config: ViewConfig, source: Form, locale: Any) -> None:
        self.joins: dict[str, Join] = joins.named(source, [*config.columns, *config.group_by])
        super().__init__(config, source, locale)
        self.providers = list(dict.fromkeys([*self.providers, *self._other_providers()]))

    def _other_providers(self) -> Iterator[Any]:
        for one in self.joins.values():
            if isinstance(other := one.sources.get(one.address), Form):
                yield from other.providers

    def _form_columns(self, form: Form) -> tuple[Column, ...]:
        known, said = {one.name: one for one in form.columns}, self.config.columns
        return tuple(reading.dressed(self.declared_column(known, name), said[name]) for name in said)

    def declared_column(self, known: Mapping[str, Column], name: str) -> Column:
        """A column before app.toml says how it is shown; `known` are those of the form."""
        if "." in name and name not in self.joins:
            return Column(name)  # of a form that has faults of its own
        return self.joins[name].column() if name in self.joins else known[name]

    def faults(self) -> Iterator[tuple[str, str]]:
        """(setting, what is wrong) with names of columns."""
        form, known = self.source, [one.name for one in self.source.columns]
        for key, name in self._named():
            if "." in name:
                if wrong := joins.fault(form, name):
                    yield key, wrong
                elif key == "facets":
                    yield key, f"names {name!r}, a column of another form, whose values are counted with group_by alone"
                elif name not in self.config.columns:
                    yield key, f"names {name!r}, which is not among the columns of the view: add it there"
            elif name not in known:
                yield key, f"names the column {name!r}, which {self.config.source} has not{nearest(name, known)}"

    def _named(self) -> list[tuple[str, str]]:
        """Settings that name columns, each with a name."""
        config = self.config
        found = [("columns", name) for name in config.columns] + [("facets", name) for name in config.facets]
        return found + [("order_by", name.removeprefix("-")) for name in config.order_by]

    def seen_by(self, caller: Caller) -> View:
        made, form = copy(self), row_rules.of_view(self, caller)
        made.found, made.by_place = {}, row_rules.is_narrowed(caller)
        seen = {name: one.seen_by(caller) for name, one in self.joins.items() if one.field_name not in form.hidden}
        made.source, made.joins = form, {name: one for name, one in seen.items() if one}
        gone = self._gone(form, made.joins)
        if gone:
            made.columns = tuple(one for one in self.columns if one.name not in gone)
            made.config = self.config.replaced(**{
                name: tuple(one for one in getattr(self.config, name) if one.removeprefix("-") not in gone)
                for name in ("order_by", "facets", "group_by")
            })  # fmt: skip
        return made

    def _gone(self, form: Form, there: Mapping[str, Join]) -> set[str]:
        """The names that do not exist for whoever sees this of the form and of the joins."""
        return {*form.hidden, *(self.joins.keys() - there.keys())}

    def titled(self) -> tuple[Column, ...]:
        """Its columns, with the labels of what was chosen from elsewhere."""
        named = {one.name: one for one in self.source.titled([one for one in self.columns if one.name not in self.joins])}
        return tuple(named.get(one.name, one) for one in self.columns)

    def pushed(self, query: Query) -> Query | None:
        """A query that may name columns of other forms as the provider takes it; None if that cannot look them up."""
        return joins.pushed(self.joins, query, self.columns, self.source.store)

    def selecting(self, query: Query) -> Query:
        """A query whose conditions are on its columns, with conditions on fields of the form, as far as these are few. The
        others are left to a provider that looks up by itself. Raises TooLarge where it cannot."""
        kept: list[Condition] = []
        for one in query.where:
            try:
                kept += self.joins[one.field].asked(one) if one.field in self.joins else [one]
            except TooLarge:
                if self.pushed(query._replace(where=(one,))) is None:
                    raise
                kept.append(one)
        query = query._replace(where=tuple(kept))
        return self.pushed(query) or query

    def selected(self, asked: ListQuery) -> Query:
        """What a list asks for as a query of the form's records."""
        own = [one for one in self.columns if one.name not in self.joins]
        query = self.source.query(asked, self.config.order_by or ("-id",), own)
        return self.selecting(query._replace(where=(*query.where, *self.config.where)))

    def rows(self, request: Request) -> Table:
        asked = read_list(request.params, self.columns, self.locale, self.own_params())
        query = self.selected(asked)
        if any(name.removeprefix("-") in self.joins for name in query.order_by) and not query.joins:
            table = self._sorted(query, asked, request)
        else:
            table = self._listed(query, asked, request)
            found = joins.with_joined(table.rows, [*self.joins.values()], self._shaped(request.page))
            table.rows = found if request.whole else list(found)
        table.columns = self.titled()
        table.facts = self.facets(request, partial(self.source.store.facet, query))
        return table

    def _listed(self, query: Query, asked: ListQuery, request: Request) -> Table:
        """The rows without the columns of other forms; a page takes no longer than the view may."""
        request, columns = request._replace(encoded=False), self._fetched(request.page)
        if request.whole or not query.joins:
            return self.source.listing(query, asked, request, columns)
        with groups.within(float(self.config.timeout_s)):
            return self.source.listing(query, asked, request, columns)

    def _needed(self, page: bool) -> list[str]:
        """The form's own names that rows are made of."""
        names = [name for name in reading.needed(self.columns, page) if name not in self.joins]
        return list(dict.fromkeys([*names, *(one.field_name for one in self.joins.values())]))

    def _fetched(self, page: bool) -> tuple[Column, ...]:
        known = {one.name: one for one in self.source.columns}
        return tuple(known[name] for name in self._needed(page) if name in known)

    def _shaped(self, page: bool) -> Callable[[Value], Value]:
        names = [*reading.needed(self.columns, page)]
        return lambda row: {name: row.get(name) for name in names}

    def _sorted(self, query: Query, asked: ListQuery, request: Request) -> Table:
        """The rows in the order of a column of another form, for which all of them are read."""
        names, found = [*dict.fromkeys([*self._needed(True), "version"])], list[Record]()
        for record in self.source.store.walk(query._replace(order_by=(), after="")):
            if len(found) >= MOST_SORTED:
                words = "reads all rows, which are more than"
                raise TooLarge(f"to order by a column of another form {words} {MOST_SORTED:,}: narrow the list by a filter")
            found.append(record)
        rows = joins.with_joined((self.source._row(names, one) for one in found), [*self.joins.values()], dict)
        stored = [one._replace(value={**one.value, **row}) for one, row in zip(found, rows, strict=True)]
        instants = self.source.instants | {one.name for one in self.columns if one.has_instants}
        order = query._replace(where=(), search="", instants=instants)
        return self._page(stored, order._replace(table=list_mark(query)), asked, request)

    def _page(self, records: Sequence[Record], query: Query, asked: ListQuery, request: Request) -> Table:
        """A page of rows that are all here, or all of them."""
        shaped, place = self._shaped(request.page), f"views/{self.name}"
        if request.whole:
            every = CompiledQuery(query._replace(limit=len(records), after="")).first(records)
            table = Table(self.columns, watched(place, (shaped(one.value) for one in every)))
            table.added = self._added(query, every, every, [])
            return table
        start = app.plugin("statements").offset_of(query.after) if self.by_place else 0
        compiled = CompiledQuery(query._replace(after="", limit=query.limit + start) if self.by_place else query)
        selected, found = [one for one in records if compiled.selects(one)], compiled.first(records)[start:]
        page, size = CompiledQuery(compiled.query._replace(limit=query.limit)).page(found), len(selected)
        if self.by_place and page.next:
            page = Page(page.items, encode_cursor(start + len(page.items)))
        rows, count = [shaped(one.value) for one in page.items], size if asked.wants_count else None
        table = paged(self.columns, rows, page.next, place=place, count=count, size=lambda: size)
        table.added = self._added(query, selected, page.items, found[len(rows) :])
        return table

    def _added(self, query: Query, selected: Sequence[Record], rows: Sequence[Record], following: Sequence[Record]) -> Any:
        """What rows add up to which are groups (see Table)."""

    def declared(self) -> list[Query]:
        own = tuple(one for one in self.config.order_by if "." not in one) or ("-id",)
        query = Query(self.source.table, self.config.where, own, instants=self.source.instants)
        return [query, *(query._replace(order_by=(name,), limit=0) for name in self.config.facets if "." not in name)]


# ==== 2. GROUPED =================================================================================================
# Each row is a group of records with what they add up to. The provider groups; the groups are ordered and paged here.
# uses: VALUES CONFIG RESOURCES PROVIDERS JOINED plugin:groups plugin:joins plugin:tallies
# defines: MOST_GROUPS is_grouped GroupedView

MOST_GROUPS = 10_000
_MOST_VALUES = 100  # of a facet
_EXAMPLE = '{ kind = {}, requests = { count = "id" } }'


def _measures(said: Value) -> list[Measure]:
    """What a column in app.toml sums up; one measure if it is right."""
    return [Measure(op, said[op]) for op in groups.OPS if said.get(op)]


def is_grouped(config: ViewConfig) -> bool:
    """Whether the rows of a view of a form are groups: without group_by one of all records."""
    return bool(config.group_by) or any(map(_measures, config.columns.values()))


class GroupedView(JoinedView):
    """A view of a form whose rows are groups of its records."""

    is_grouped = True

    def __init__(self, config: ViewConfig, source: Form, locale: Any) -> None:
        self.measures = {name: found[0] for name, said in config.columns.items() if (found := _measures(said))}
        super().__init__(config, source, locale)

    def declared_column(self, known: Mapping[str, Column], name: str) -> Column:
        if name not in self.measures:
            return super().declared_column(known, name)
        op, field = self.measures[name]
        column = Column(name, name.replace("_", " ").capitalize())
        if op == "count":
            return column._replace(type="integer")
        if op in ("sum", "avg"):
            return column._replace(type="number" if op == "avg" else known[field].type)
        return known[field]._replace(name=name, title=column.title)

    # -- what is wrong in app.toml

    def faults(self) -> Iterator[tuple[str, str]]:
        config, known = self.config, {one.name: one for one in self.source.columns}
        if not config.columns:
            yield "columns", f"is missing: it says which columns the groups have, such as {_EXAMPLE}"
            return
        for name in config.group_by:
            if wrong := self._group_fault(name, known):
                yield "group_by", wrong
        for name, said in config.columns.items():
            yield from ((f"columns.{name}", wrong) for wrong in self._column_faults(name, said, known))
        for key, name in self._named():
            if key != "columns" and name not in config.columns:
                yield key, f"names {name!r}, which is not among the columns of the view{nearest(name, config.columns)}"
            elif key == "facets" and name in self.measures:
                yield key, f"names {name!r}, which is a measure: the values of columns of group_by are counted"

    def _group_fault(self, name: str, known: Mapping[str, Column]) -> str:
        if "." in name:
            wrong = joins.fault(self.source, name)
            column = self.joins[name].column() if name in self.joins else None
        else:
            column = known.get(name)
            wrong = "" if column else f"names {name!r}, which {self.config.source} has not{nearest(name, known)}"
        if wrong:
            return wrong
        if name in ("id", "version"):
            return f"names {name!r}, which tells records apart and not groups"
        if column and (column.type in ("array", "object") or column.format == "file"):
            return f"names {name!r}, which has no plain values to group by"
        if self.config.group_by.count(name) > 1:
            return f"names {name!r} twice"
        return "" if name in self.config.columns else f"names {name!r}, which columns has not: add {name} = {{}}"

    def _column_faults(self, name: str, said: Value, known: Mapping[str, Column]) -> Iterator[str]:
        found, is_group = _measures(said), name in self.config.group_by
        if not found and not is_group:
            yield 'is neither in group_by nor a measure: add it to group_by, or say what it is, such as { count = "id" }'
        elif found and is_group:
            yield f"is in group_by and has {found[0].op}: give the measure a column of its own"
        elif len(found) > 1:
            yield f"has {' and '.join(one.op for one in found)}: give each a column of its own"
        elif found and name in ("id", "version"):
            yield "is what records have of their own: give the measure another name"
        elif found and (wrong := _measure_fault(found[0], known, self.config.source)):
            yield wrong

    # -- for a caller

    def _gone(self, form: Form, there: Mapping[str, Join]) -> set[str]:
        fields = {name: one.field for name, one in self.measures.items()}
        own = {name for name in self.config.columns if fields.get(name, name) in form.hidden}
        return {*own, *(self.joins.keys() - there.keys())}

    def titled(self) -> tuple[Column, ...]:
        fields = {one.name: self._labelled_by(one.name) for one in self.columns}
        labelled = {name: one for name, one in fields.items() if one in self.source.looked_up}
        named = self.source.titled([one._replace(name=labelled[one.name]) for one in self.columns if one.name in labelled])
        titles = {name: column.titles for name, column in zip(labelled, named, strict=True)}
        return tuple(one._replace(titles=titles.get(one.name, one.titles)) for one in self.columns)

    def _labelled_by(self, name: str) -> str:
        """The field whose values a column holds; "" if it holds none's."""
        if name not in self.measures:
            return "" if name in self.joins else name
        op, field = self.measures[name]
        return field if op in ("min", "max") else ""

    # -- rows

    def _added(self, query: Query, selected: Sequence[Record], rows: Sequence[Record], following: Sequence[Record]) -> Any:
        by = [one.name for one in self.columns if one.name not in self.measures]
        lead = query.order_by[0].removeprefix("-") if query.order_by else ""
        return tallies.Added(selected, rows, following, lead if lead in by and len(by) > 1 else "")

    def rows(self, request: Request) -> Table:
        asked = read_list(request.params, self.columns, self.locale, self.own_params())
        records, query = self.grouped(asked)
        table = self._page(records, query, asked, request)
        table.columns = self.titled()
        fitting = CompiledQuery(query._replace(after=""))
        table.facts = self.facets(request, partial(_counted, [one for one in records if fitting.selects(one)]))
        return table

    def grouped(self, asked: ListQuery) -> tuple[list[Record], Query]:
        """All groups of the records that are asked for, each as a record of its columns, and what is asked of them."""
        by = [one for one in self.columns if one.name not in self.measures]
        kept = tuple(one for one in asked.where if one.field in self.measures)
        pushed = tuple(one for one in asked.where if one.field not in self.measures)
        texts = tuple(one.name for one in by if one.type == "string")
        query = Query(self.source.table, (*pushed, *self.config.where), instants=self.source.instants)
        query = self.selecting(query)
        if asked.search and not self.joins:  # else what is looked up is searched, too
            query = query._replace(search=asked.search, search_fields=texts)
        order = asked.order_by or self.config.order_by or tuple(one.name for one in by)
        instants = frozenset(one.name for one in self.columns if one.has_instants)
        mark = f"{self.name} {list_mark(query)}"
        shown = Query(mark, kept, order, asked.size, asked.after, asked.search, texts, instants)
        known = self.found if self.found is not None else {}
        if mark not in known:  # else the totals of a page come from its rows
            known[mark] = [Record(key, 1, row) for key, row in self._groups(query, [one.name for one in by])]
        return known[mark], shown

    def _groups(self, query: Query, by: Sequence[str]) -> Iterator[tuple[str, Value]]:
        """(what tells it from others, its columns) of each group."""
        names = [one.name for one in self.columns if one.name in self.measures]
        if not by and not names:
            return
        stored = list(dict.fromkeys(self.joins[name].field_name if name in self.joins else name for name in by))
        measures = [self.measures[name] for name in names]
        for one in [one for one in self.columns if one.total == "avg" and one.name in names]:
            if (measure := self.measures[one.name]).op == "avg":  # of all numbers, its mean is not that of the means
                names += tallies.parts_of(one.name)
                measures += [Measure("sum", measure.field), Measure("numbers", measure.field)]
        merged = _Merged(measures, query.instants) if self.joins else None
        asked = merged.asked if merged else measures
        with groups.within(min(groups.limit_s(), float(self.config.timeout_s))):
            found = self.source.store.groups(query, stored, asked, MOST_GROUPS)
        rows = [dict(zip(stored, row, strict=False)) | {"": row[len(stored) :]} for row in found]
        if merged:
            rows = merged.rows(joins.with_joined(rows, [*self.joins.values()], dict), by)
        for row in rows:
            keys = [sort_key(row[name]) for name in by]
            yield app.dump_json(cast(Json, keys)), {name: row[name] for name in by} | dict(zip(names, row[""], strict=True))

    def declared(self) -> list[Query]:
        own = [self.joins[name].field_name if name in self.joins else name for name in self.config.group_by]
        query = Query(self.source.table, self.config.where, instants=self.source.instants)
        return [query, *(query._replace(order_by=(name,), limit=0) for name in dict.fromkeys(own))]


def _measure_fault(one: Measure, known: Mapping[str, Column], source: str) -> str:
    """What is wrong with a measure of a form's field."""
    column = known.get(one.field)
    if column is None:
        words = "a measure is of the form's own fields" if "." in one.field else f"{source} has not"
        return f"{one.op} names {one.field!r}, which {words}{nearest(one.field, known)}"
    if one.op in ("sum", "avg") and column.type not in ("number", "integer"):
        return f"{one.op} names {one.field!r}, which holds no numbers"
    if one.op in ("min", "max") and (column.type in ("array", "object") or column.format == "file"):
        return f"{one.op} names {one.field!r}, which has no plain values"
    return ""


def _counted(records: Sequence[Record], name: str, most: int) -> list[tuple[Json, int]]:
    """How many of the groups have each value of a column."""
    found = Counter(sort_key(one.value.get(name)) for one in records)
    return [(value_of_key(key), n) for key, n in sorted(found.items(), key=lambda one: (-one[1], one[0]))[:most]]


class _Merged:
    """Groups by stored values made into groups by what is looked up: several may become one."""

    def __init__(self, measures: Sequence[Measure], instants: frozenset[str]) -> None:
        self._measures, self._instants = measures, instants
        self.asked: list[Measure] = []  # of which those are made
        for one in measures:
            self.asked += [Measure("sum", one.field), Measure("numbers", one.field)] if one.op == "avg" else [one]

    def rows(self, rows: Iterable[Value], by: Sequence[str]) -> list[Value]:
        """One row for each combination of values of `by`; its measures are at ""."""
        found: dict[tuple[str, ...], tuple[Value, list[list[Json]]]] = {}
        for row in rows:
            key = tuple(sort_key(row[name]) for name in by)
            _, parts = found.setdefault(key, (row, []))
            parts.append(cast(Any, row[""]))
        return [{**row, "": self._whole(parts)} for row, parts in found.values()]

    def _whole(self, parts: Sequence[Sequence[Json]]) -> list[Json]:
        """The measures of all groups that become one."""
        columns = [
            _together(one.op, values, one.field in self._instants)
            for one, values in zip(self.asked, zip(*parts, strict=True), strict=True)
        ]
        made: list[Json] = []
        for one in self._measures:
            value = columns.pop(0)
            if one.op == "avg":
                count = cast(int, columns.pop(0))
                value = groups.mean_of(groups.exact_of(value), count) if count else None
            made.append(value)
        return made


def _together(op: str, values: Sequence[Any], instant: bool) -> Json:
    """One measure of several groups."""
    there = [one for one in values if one is not None]
    if op in ("count", "numbers"):
        return sum(there)
    if op == "sum":
        total = groups.Total()
        for one in there:
            total.add_value(one)
        return total.sum()
    return cast(Json, (min if op == "min" else max)(there, key=lambda one: value_key(one, instant), default=None))


# ==== 3. VIEWS ===================================================================================================
# Which of them a declared view is, and what is wrong with its settings.
# uses: ERRORS VALUES CONFIG RESOURCES JOINED GROUPED plugin:charts plugin:list_filters plugin:reading
# defines: of settings_faults faults


def of(config: ViewConfig, form: Form, locale: Any) -> View:
    """A view of a form."""
    config = config.replaced(where=tuple(_of_items(one, form) for one in config.where))
    if is_grouped(config):
        return GroupedView(config, form, locale)
    return (JoinedView if any("." in name for name in (*config.columns, *config.order_by)) else View)(config, form, locale)


def _of_items(one: Condition, form: Form) -> Condition:
    """A condition of a view, as find() asks lists for their items. One that does not go with lists is a fault of its own."""
    is_list = any(column.name == one.field and column.type == "array" for column in form.columns)
    return (list_filters.of_items(one) or one) if is_list else one


def settings_faults(config: ViewConfig) -> Iterator[Fault]:
    """A fault for each setting of groups in a view of SQL."""
    if config.source:
        return
    if config.group_by:
        yield Fault(f"views.{config.name}.group_by", "configuration", "goes with from: a statement groups by itself")
    for name, said in config.columns.items():
        for one in _measures(said):
            place = f"views.{config.name}.columns.{name}.{one.op}"
            yield Fault(place, "configuration", "goes with from and group_by: a statement adds up by itself")


def faults(view: View, form: Form) -> Iterator[Fault]:
    """What is wrong with the columns of such a view."""
    made, place = cast(JoinedView, view), f"views.{view.name}"
    wrong = [Fault(f"{place}.{key}", "configuration", words) for key, words in made.faults()]
    yield from wrong
    if not wrong:
        known = {one.name: one for one in form.columns}
        own = SimpleNamespace(columns=[made.declared_column(known, name) for name in made.config.columns])
        names = [*made.config.columns] if made.is_grouped else [*known, *made.config.columns]
        yield from reading.of_form(view, cast(Form, own), names)
        yield from app.plugin("charts").faults(view.config, cast(Form, own))
        for name in made.joins if not made.is_grouped else ():
            if made.config.columns.get(name, {}).get("total"):
                yield Fault(f"{place}.columns.{name}.total", "configuration", "goes with the form's own columns")
