"""Columns of a view that stand in another form: "team.name" of a field whose choices are records of that form, or people."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import copy
from decimal import Decimal
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import app
from app import (
    Action,
    Caller,
    Column,
    Condition,
    Form,
    Json,
    Query,
    Record,
    TooLarge,
    is_key,
    nearest,
)

if TYPE_CHECKING:
    from plugins import options, record_tests
else:
    options, record_tests = app.plugin("options"), app.plugin("record_tests")

# ==== 1. JOINS ===================================================================================================
# Values are looked up many at once, of however many rows; a filter is asked of the other form first, which makes it one of
# the field itself. So it is the same on every provider.
# uses: ERRORS VALUES CONFIG RESOURCES plugin:options plugin:record_tests
# defines: Joined Join pushed fault named with_joined

_AT_ONCE = 100  # values that are looked up together
_ROWS_AT_ONCE = 500
_MOST_KNOWN = 10_000  # values that are remembered for one answer
_MOST_MATCHES = 1_000  # records of the other form that a filter may select
_MOST_OTHERS = 400  # … to be left out
_PEOPLE = "admin/people"
_OF_PEOPLE = {"name": Column("name", "Name"), "email": Column("email", "Email", format="email")}


class Joined(NamedTuple):
    """A join of two tables of one database, which looks it up itself (Query.joins)."""

    name: str  # of the column
    field: str  # the field of the records whose value is looked up
    table: str
    value: str  # the field of the other table where that is found
    inner: str  # the one that the column shows
    is_text: bool  # what such values are; otherwise numbers
    where: tuple[tuple[str, str], ...]  # fields of the other table, and the sort key that each must have

    @property
    def bounds(self) -> tuple[str, str]:
        """Between which sort keys those of such values lie."""
        return ("t", "u") if self.is_text else ("n", "o")


def _bare(store: Any) -> tuple[Any, tuple[tuple[str, str], ...]]:
    """The provider behind the store of a form, and what it is narrowed by as Joined.where is."""
    where: tuple[tuple[str, str], ...] = ()
    while whole := getattr(store, "whole", None):  # of plugins/row_rules.py
        if hasattr(store, "rule"):
            field, subject = store.rule
            where += ((field, f"t{subject}" if subject else "none"),)  # which is no key
        store = whole
    return store, where


class Join:
    """A column of a form's view with what records of another form say, which are found by a field's value."""

    def __init__(self, form: Form, name: str) -> None:
        self.name = name
        self.field_name, _, self.inner = name.partition(".")
        field = form.fields[self.field_name]
        said = options.options_of(field)
        self.kind, self.sources, self._title = field.item_type, form.sources, field.title
        self.address = f"forms/{said['form'].removeprefix('forms/')}" if said else _PEOPLE
        self.value: str = said["value"] if said else "id"
        self.label: str = said.get("label", "") if said else "name"
        self._caller: Caller | None = None  # None is the site itself

    @property
    def whole(self) -> Form:
        """The other form as the site sees it."""
        return cast(Form, self.sources[self.address])

    @property
    def form(self) -> Form:
        """The other form as the caller sees it; of labels, which everybody sees who may choose, as the site does."""
        return self.whole if self._caller is None or self.inner == self.label else self.whole.seen_by(self._caller)

    def seen_by(self, caller: Caller) -> Join | None:
        """The same as far as it is there for a caller, who needs the right to read the other form; None if it is not."""
        if self.address not in self.sources:
            return None
        made = copy(self)
        made._caller = caller
        if self.inner == self.label:
            return made
        may = caller.may(Action.READ, self.whole.records_at)
        return made if may and not made.form.hidden & {self.inner, self.value} else None

    def joined(self, own: Any) -> Joined | None:
        """What a provider looks up by itself, which keeps `own` and the other form; None if it cannot."""
        form = self.form
        (records, _), (other, where) = _bare(own), _bare(form.store)
        if records is not other or not getattr(records, "joins_tables", False):
            return None
        return Joined(self.name, self.field_name, form.table, self.value, self.inner, self.kind == "string", where)

    def column(self) -> Column:
        """What it is called and of which type it is."""
        known = _OF_PEOPLE if self.address == _PEOPLE else {one.name: one for one in self.whole.columns}
        found = known[self.inner]
        return found._replace(name=self.name, title=f"{self._title}: {found.title}")

    def values(self, keys: Iterable[Json]) -> dict[Json, Json]:
        """By value of the field what the column holds; one that no record has is left out."""
        plain = (one for one in keys if isinstance(one, str | int | float | Decimal) and not isinstance(one, bool))
        asked, found = list(dict.fromkeys(plain)), dict[Json, Json]()
        for start in range(0, len(asked), _AT_ONCE):
            found |= self._looked_up(asked[start : start + _AT_ONCE])
        return found

    def _looked_up(self, keys: Sequence[Json]) -> dict[Json, Json]:
        """Of several records with one value, that with the least id counts."""
        form = self.form
        sought = [one for one in keys if self.value != "id" or (isinstance(one, str) and is_key(one))]
        query = Query(form.table, (Condition(self.value, "in", sought),), ("id",), 1000, instants=form.instants)
        page = form.store.find(query)
        found = dict(reversed(self._pairs(page.items)))
        for one in [one for one in sought if one not in found] if page.next else ():
            alone = query._replace(where=(Condition(self.value, "eq", one),), limit=1)
            found |= dict(self._pairs(form.store.find(alone).items))
        return found

    def _pairs(self, records: Sequence[Record]) -> list[tuple[Json, Json]]:
        flats = [self.form.flat(record) for record in records if not record.damage]
        pairs = [(options.fitted(self.kind, flat.get(self.value)), flat.get(self.inner)) for flat in flats]
        return [pair for pair in pairs if pair[0] is not None]

    def asked(self, one: Condition) -> list[Condition]:
        """A condition on the column as conditions on the field: what is not so is what none of those that are so has. Raises
        TooLarge if they are too many."""
        form, is_null = self.form, one.op == "null" and one.value is True
        is_not = is_null or one.op == "ne"
        inner = Condition(self.inner, "null", False) if is_null else Condition(self.inner, one.op, one.value)
        if one.op == "ne":
            inner = inner._replace(op="eq" if record_tests.items_of(one) is None else "contains")
        query = Query(form.table, (inner,), ("id",), _MOST_MATCHES, instants=form.instants)
        page = form.store.find(query)
        instant = self.inner in form.instants and one.op not in ("contains", "prefix")
        test, keys = record_tests.of_value(inner, instant), [key for key, _ in self._pairs(page.items)]
        fitting = [key for key, value in self.values(keys).items() if test(value)]
        most = _MOST_OTHERS if is_not else _MOST_MATCHES
        if page.next or len(fitting) > most:
            raise TooLarge(f"more than {most:,} records of {self.address} fit {self.name}: narrow it")
        if is_not:
            return [Condition(self.field_name, "ne", key) for key in fitting]
        return [Condition(self.field_name, "in", fitting)]


def pushed(joins: Mapping[str, Join], query: Query, columns: Sequence[Column], own: Any) -> Query | None:
    """A query of the records in `own` that names columns of joins, with what its provider needs to look them up; None if it
    cannot."""
    if any(one.field in joins and record_tests.items_of(one) is not None for one in query.where):
        return None  # items of lists are looked for among a form's own fields alone
    named = dict.fromkeys([*(one.field for one in query.where), *(name.removeprefix("-") for name in query.order_by)])
    found = [joins[name].joined(own) for name in named if name in joins]
    moments = {one.name for one in columns if one.has_instants and one.name in named and one.name in joins}
    made = query._replace(joins=tuple(one for one in found if one), instants=query.instants | moments)
    compares_here = getattr(_bare(own)[0], "_compares_here", None)  # where PostgreSQL lacks a function
    return None if None in found or (made.joins and compares_here and compares_here(made)) else made


def fault(form: Form, name: str) -> str:
    """What is wrong with a joined column of this name; "" if nothing is."""
    field_name, _, inner = name.partition(".")
    field = form.fields.get(field_name)
    if field is None:
        return f"names the column {name!r}, which {form.address} has not{nearest(field_name, form.fields)}"
    said = options.options_of(field)
    if not field.looked_up or said.get("view"):
        why = "takes its choices from a view" if said else "has no options"
        return f"names {name!r}, and {field_name} {why}: a join goes by a field with options of a form, or by a person"
    if field.config.type == "array":
        return f"names {name!r}, and {field_name} holds several values: a join goes by one"
    if not said:
        words = f"names {name!r}: of a person there are {', '.join(_OF_PEOPLE)}"
        return "" if inner in _OF_PEOPLE else words
    other = form.sources.get(f"forms/{str(said.get('form', '')).removeprefix('forms/')}")
    if not isinstance(other, Form):
        return ""  # which is a fault of the field
    known = [one.name for one in other.columns]
    return "" if inner in known else f"names {name!r}, and {other.address} has no {inner!r}{nearest(inner, known)}"


def named(form: Form, names: Iterable[str]) -> dict[str, Join]:
    """The joins among names of columns; a source that was not built has faults of its own."""
    found = {name: Join(form, name) for name in names if "." in name and not fault(form, name)}
    return {name: one for name, one in found.items() if one.address == _PEOPLE or one.address in form.sources}


def with_joined(
    rows: Iterable[Mapping[str, Json]], joins: Sequence[Join], shaped: Callable[[dict[str, Json]], dict[str, Json]]
) -> Iterator[dict[str, Json]]:
    """The rows of a form with the columns of joins, and of each what shaped() makes of it."""
    known: dict[str, dict[Json, Json]] = {one.name: {} for one in joins}
    source = iter(rows)
    while part := list(islice(source, _ROWS_AT_ONCE)):
        for one in joins:
            _learn(one, known[one.name], [row.get(one.field_name) for row in part])
        for row in part:
            more = {one.name: _value(known[one.name], row.get(one.field_name)) for one in joins}
            yield shaped({**row, **more})


def _learn(one: Join, known: dict[Json, Json], keys: Sequence[Any]) -> None:
    if len(known) > _MOST_KNOWN:
        known.clear()
    fresh = [key for key in keys if not isinstance(key, list | dict | bool) and key not in known]
    known.update(dict.fromkeys(fresh) | one.values(fresh))


def _value(known: Mapping[Json, Json], key: Any) -> Json:
    return None if isinstance(key, list | dict | bool) else known.get(key)
