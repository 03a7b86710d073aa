"""`options` and format "person" of fields: choices that are rows of a form or a view, or the people of the site."""

from __future__ import annotations

import threading
import time
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from decimal import Decimal
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, cast

import app
from app import (
    LOG,
    PEOPLE,
    AppError,
    Caller,
    Column,
    Condition,
    Damaged,
    Fault,
    Form,
    Json,
    Provider,
    Query,
    Record,
    Records,
    Unavailable,
    Value,
    View,
    fold_case,
    is_key,
    nearest,
    plugin,
)

if TYPE_CHECKING:
    from plugins import form_rules
    from plugins.fields import Field
    from plugins.statements import SqlView
else:
    form_rules = app.plugin("form_rules")

# ==== 1. SOURCES =================================================================================================
# Where choices come from. They are read as the site, whoever asks: of each row a value and a label, and nothing else. Rows
# that only some people see are choices for all who may submit the form.
# uses: ERRORS VALUES CONFIG CONTRACTS AUTH RESOURCES PROVIDERS plugin:asking plugin:fields plugin:people
#          plugin:statements
# defines: PATIENCE_S Choice fitted Choices choices queries trouble meant options_of

PATIENCE_S = 5.0  # at most, for a source to answer; a view has its own limit, too
_SLOW_S, _AWAY_S = 1.0, 10.0  # a source that failed after so long is not asked for labels again for a while
_LOGGED_S = 60.0  # a field whose source is away is logged once in so long
_AT_ONCE = 100  # values that are looked up together
_MOST_READ = 10_000  # rows that are read for one search
_PLAIN = ("", "multiline", "email", "uri", "tel", "time")  # formats whose texts are shown as they are stored
Choice: TypeAlias = tuple[Json, str]  # a value and its label
_Answer = TypeVar("_Answer")


def fitted(kind: str, value: Json) -> Json:
    """A source's value as a field of this type holds it; None if it cannot."""
    if kind == "string":
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        return value if isinstance(value, str) and value and not isinstance(value, Damaged) else None
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return None
    if kind == "number":
        return value
    return int(value) if value == int(value) else None


class _Source(ABC):
    """Rows with a value and a label. What it raises is whatever its provider raises."""

    provider: Provider

    @abstractmethod
    def named(self, values: Sequence[Json], locale: Any) -> dict[Json, str]:
        """The labels of those of at most _AT_ONCE values that can be chosen; the others are left out."""

    @abstractmethod
    def offered(self, text: str, locale: Any) -> Iterator[Choice]:
        """What can be chosen, in order; with a text only what has it in its label, whatever the case."""

    def former(self, values: Sequence[Json]) -> dict[Json, str]:
        """Labels of those of the values that could be chosen once."""
        return {}


class _FormSource(_Source):
    """Records of a form, or those that a view of it selects."""

    def __init__(self, kind: str, form: Form, options: Value, view: View | None = None) -> None:
        self.kind, self.form, self.value = kind, form, options["value"]
        self.named_by = form.seen_by(Caller())  # whoever looks at a choice may not see all that its record is called by
        self.label = options.get("label") or (options["value"] if view else "")
        self.provider, self.records = cast(Records, form.records), form.store
        self.where = view.config.where if view else ()
        self.order_by = (view.config.order_by if view else ()) or ((self.label,) if self.label else ())

    def named(self, values: Sequence[Json], locale: Any) -> dict[Json, str]:
        """All at once, and one by one those that did not fit into that page: many records may have the same value."""
        sought = [one for one in values if self.value != "id" or is_key(one)]
        found: dict[Json, str] = {}
        if len(sought) > 1:
            page = self.records.find(self._query(Condition(self.value, "in", sought), limit=1000))
            found = _first_of_each(self._choices(page.items, locale))
            sought = [one for one in sought if one not in found] if page.next else []
        for one in sought:
            page = self.records.find(self._query(Condition(self.value, "eq", one), limit=1))
            found |= dict(self._choices(page.items, locale))
        return found

    def offered(self, text: str, locale: Any) -> Iterator[Choice]:
        fields = self._searched() if text else ()
        query = self._query(search=text if fields else "", search_fields=fields, order_by=self.order_by, limit=100)
        cursor: str | None = ""
        while cursor is not None:
            page = self.records.find(query._replace(after=cursor))
            yield from _having("" if fields else text, self._choices(page.items, locale))
            cursor = page.next

    def queries(self) -> list[Query]:
        """What is asked of the records again and again."""
        exact = [] if self.value == "id" else [self._query(Condition(self.value, "eq", ""))]
        return [*exact, self._query(order_by=self.order_by)]

    def _query(self, *where: Condition, **asked: Any) -> Query:
        return Query(self.form.table, (*self.where, *where), instants=self.form.instants, **asked)

    def _searched(self) -> tuple[str, ...]:
        """The fields of the label, if all of them are plain texts as they are stored."""
        columns = [one for one in self.form.columns if one.name == self.label] if self.label else self.named_by.called_by
        plain = [one.type == "string" and one.format in _PLAIN and not one.titles for one in columns]
        return tuple(one.name for one in columns) if plain and all(plain) else ()

    def _choices(self, records: Sequence[Record], locale: Any) -> list[Choice]:
        """The choices that records are, in their order; a record without a value is none."""
        whole = [one for one in records if not one.damage]
        flat = [self.form.flat(one) for one in whole]
        values = [fitted(self.kind, one.get(self.value)) for one in flat]
        if self.label:
            [column] = self.form.titled([one for one in self.form.columns if one.name == self.label])
            labels = locale.texts(column, [one.get(self.label) for one in flat])
        else:
            labels = map(self.named_by.called, whole)
        return [(value, label or str(value)) for value, label in zip(values, labels, strict=True) if value is not None]


class _SqlSource(_Source):
    """Rows of an SQL view with its parameters as they are by default."""

    def __init__(self, kind: str, view: SqlView, options: Value) -> None:
        self.kind, self.view, self.value = kind, view, options["value"]
        self.label = options.get("label") or options["value"]
        self.provider = view.source
        self.timeout_s = min(float(view.config.timeout_s), PATIENCE_S)

    def named(self, values: Sequence[Json], locale: Any) -> dict[Json, str]:
        fields = plugin("fields")
        numbers = [fields.number_of(one) for one in values if isinstance(one, str) and fields.is_number(one)]
        where = (Condition(self.value, "in", [*values, *numbers]),)
        return _first_of_each(list(self._choices(locale, where=where, limit=_MOST_READ)))

    def offered(self, text: str, locale: Any) -> Iterator[Choice]:
        order_by = self.view.config.order_by or (self.label,)
        found = self._choices(locale, search=text, order_by=order_by, max_rows=None)
        return _having(text, islice(found, _MOST_READ))  # the search looks at all columns of a row

    def _choices(self, locale: Any, **asked: Any) -> Iterator[Choice]:
        rows = self.view.source.select(self.view.statement(timeout_s=self.timeout_s, **asked))
        with closing(rows):
            for name in (self.value, self.label):
                if name not in rows.columns:
                    raise app.ConfigError(f"views/{self.view.name} has no column {name}{nearest(name, rows.columns)}")
            at, label_at = rows.columns.index(self.value), rows.columns.index(self.label)
            column = Column(self.label)
            for row in rows.rows:
                if (value := fitted(self.kind, row[at])) is not None:
                    yield value, locale.show(column, row[label_at]) or str(value)


class _PeopleSource(_Source):
    """The people of the site, by their names. One who is suspended is not chosen anew."""

    def __init__(self, people: Form) -> None:
        self.provider = self.records = cast(Records, people.records)

    def named(self, values: Sequence[Json], locale: Any) -> dict[Json, str]:
        rows = [self.records.get(PEOPLE, one) for one in values if isinstance(one, str) and is_key(one)]
        return dict(self._choice(row) for row in rows if row and not row.damage and not row.value.get("suspended"))

    def offered(self, text: str, locale: Any) -> Iterator[Choice]:
        where = (Condition("suspended", "ne", True),)
        query = Query(PEOPLE, where, ("name",), search=text, search_fields=("name", "subject"))
        for row in self.records.walk(query):
            if not row.damage:
                yield self._choice(row)

    def former(self, values: Sequence[Json]) -> dict[Json, str]:
        people = plugin("people")
        found: dict[Json, str] = dict(people.names(self.records, values))
        for one in values:
            if isinstance(one, str) and one not in found and is_key(key := people.former(one)):
                row = self.records.get("_settings", key)
                found |= {one: str(row.value["name"])} if row else {}
        return found

    @staticmethod
    def _choice(row: Record) -> Choice:
        return row.key, str(row.value.get("name") or row.key)


def _first_of_each(found: Sequence[Choice]) -> dict[Json, str]:
    """The labels by value; of several with the same value that of the first."""
    return dict(reversed(found))


def _having(text: str, found: Iterable[Choice]) -> Iterator[Choice]:
    """Those with the text in their labels."""
    sought = fold_case(text)
    return (one for one in found if sought in fold_case(one[1]))


class _Failures:
    """When (monotonic seconds) the source of a field last failed slowly, and when that it fails was last logged."""

    slow_at = logged_at = -3600.0


_failures: weakref.WeakKeyDictionary[Provider, dict[str, _Failures]] = weakref.WeakKeyDictionary()  # by place of the field


class Choices:
    """What can be chosen in a field of a form."""

    def __init__(self, form: Form, field: Field) -> None:
        self.form, self.field, self._source = form, field, _source_of(form, field)
        self._failures = _failures.setdefault(self._source.provider, {}).setdefault(field.place, _Failures())

    @property
    def provider(self) -> Provider:
        """Where the source is."""
        return self._source.provider

    @property
    def is_away(self) -> bool:
        """Whether the source kept somebody waiting in vain a moment ago."""
        return time.monotonic() - self._failures.slow_at < _AWAY_S

    def named(self, values: Iterable[Json], *, former: bool = False) -> dict[Json, str]:
        """Labels of those of the values that can be chosen, with `former` also of those that could once. Raises Unavailable
        if the source does not answer."""
        asked = list(dict.fromkeys(one for one in values if isinstance(one, str | int | float | Decimal)))

        def ask() -> dict[Json, str]:
            found: dict[Json, str] = {}
            for start in range(0, len(asked), _AT_ONCE):
                found |= self._source.named(asked[start : start + _AT_ONCE], self.form.locale)
            others = [one for one in asked if one not in found] if former else []
            return self._source.former(others) | found if others else found

        return self._asked(ask)

    def offered(self, most: int, text: str = "") -> list[Choice]:
        """The first `most` choices, with a text those with it in their labels, each once, and the one with this very value
        before them. Raises Unavailable if the source does not answer."""
        fields = plugin("fields")

        def ask() -> list[Choice]:
            exact = fields.of_text(self.field, text) if text else None
            found = {} if exact is None else self._source.named([exact], self.form.locale)
            for value, label in self._source.offered(text, self.form.locale):
                if len(found) >= most:
                    break
                found.setdefault(value, label)
            return list(found.items())

        return self._asked(ask)

    def _asked(self, ask: Callable[[], _Answer]) -> _Answer:
        began, failures = time.monotonic(), self._failures
        try:
            found = self._in_time(self._source.provider, ask)
        except AppError as error:
            now, what = time.monotonic(), f"the choices of {self.field.title} cannot be reached at the moment"
            if now - began > _SLOW_S:
                failures.slow_at = now
            if now - failures.logged_at > _LOGGED_S:
                failures.logged_at = now
                LOG.warning("%s: %s: %s", self.form.address, what, error.with_hint)
            fault = Fault(
                f"/{self.field.name}", Unavailable.code, "the choices cannot be reached at the moment: try again soon"
            )
            raise Unavailable(what, hint=error.with_hint, faults=[fault]) from error
        failures.slow_at = _Failures.slow_at
        return found

    @staticmethod
    def _in_time(provider: Provider, ask: Callable[[], _Answer]) -> _Answer:
        """The answer, from another machine within PATIENCE_S: its provider may have more patience than a page."""
        if provider.places():
            provider.open()
            return ask()

        def opened(name: str) -> _Answer:
            provider.open()
            return ask()

        [found] = plugin("asking").ask_all([provider.name], opened, PATIENCE_S).values()
        if isinstance(found, AppError):
            raise found
        return cast(_Answer, found)


def choices(form: Form, name: str) -> Choices:
    """The choices of a field that is looked up."""
    return Choices(form, form.fields[name])


def queries(form: Form) -> list[Query]:
    """What fields of all forms ask of the records of this one."""
    found = []
    for asking in [one for one in form.sources.values() if isinstance(one, Form)]:
        for field in [one for one in asking.fields.values() if options_of(one) and _is_there(asking, one)]:
            source = _source_of(asking, field)
            if isinstance(source, _FormSource) and source.form is form:
                found += source.queries()
    return found


def trouble(form: Form) -> list[Fault]:
    """What the sources of a form's fields answer, if it is an error."""
    found = []
    for name in [name for name, one in form.fields.items() if name in form.looked_up and _is_there(form, one)]:
        try:
            choices(form, name).offered(1)
        except Unavailable as error:
            cause = cast(AppError, error.__cause__)
            found.append(Fault(f"{form.fields[name].place}.options", cause.code, cause.with_hint))
    return found


def meant(form: Form, name: str, text: str) -> Json:
    """The choice whose value a text is, or else whose whole label, whatever the case; None if none is, or several are.
    Raises Unavailable."""
    found, field = choices(form, name), form.fields[name]
    value = plugin("fields").of_text(field, text)
    if found.named([value]):
        return value
    fits = [one for one, label in found.offered(_AT_ONCE, text) if fold_case(label.strip()) == fold_case(text)]
    return fits[0] if len(fits) == 1 else None


def _source_of(form: Form, field: Field) -> _Source:
    options, kind = options_of(field), field.item_type
    if not options:
        return _PeopleSource(cast(Form, form.sources["admin/people"]))
    target: Any = form.sources[_address(options)]
    if isinstance(target, Form):
        return _FormSource(kind, target, options)
    if isinstance(target.source, Form):
        return _FormSource(kind, target.source, options, target)
    return _SqlSource(kind, target, options)


def options_of(field: Field) -> Value:
    """The `options` of a field; {} if it has none."""
    return cast(Value, getattr(field.config, "options", {}))


def _is_there(form: Form, field: Field) -> bool:
    """Whether the source of a field was built: a site with faults may be looked at, too."""
    options = options_of(field)
    return (_address(options) if options else "admin/people") in form.sources


def _address(options: Value) -> str:
    """The resource that `options` names, with or without its type."""
    kind = "views" if options.get("view") else "forms"
    return f"{kind}/{options.get('view') or options.get('form') or ''}".replace(f"{kind}/{kind}/", f"{kind}/")


# ==== 2. LABELS ==================================================================================================
# What people see instead of values: looked up for all rows of a page at once, and a value without a label is shown itself.
# uses: ERRORS VALUES RESOURCES SOURCES plugin:fields
# defines: Labels titled learned


class Labels(Mapping[Json, str]):
    """The titles of a column: those of values that have a label, asked for once each. It never raises."""

    def __init__(self, found: Choices) -> None:
        self._choices = found
        self._known: dict[Json, str | None] = {}

    def learn(self, values: Iterable[Json]) -> None:
        """Look up all of these at once."""
        flat = [item for one in values for item in (one if isinstance(one, list) else (one,))]
        fresh = [one for one in flat if isinstance(one, str | int | float | Decimal) and one not in self._known]
        if not fresh:
            return
        named: dict[Json, str] = {}
        if not self._choices.is_away:
            try:
                named = self._choices.named(fresh, former=True)
            except Unavailable:  # which is logged: values are shown themselves
                named = {}
        self._known |= {one: named.get(one) for one in fresh}

    def __contains__(self, value: object) -> bool:
        if isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
            return False
        self.learn([value])
        return self._known[value] is not None

    def __getitem__(self, value: Json) -> str:
        if value not in self:
            raise KeyError(value)
        return cast(str, self._known[value])

    def __bool__(self) -> bool:
        return True

    def __iter__(self) -> Iterator[Json]:
        return (value for value, label in self._known.items() if label is not None)

    def __len__(self) -> int:
        return sum(1 for _ in self)


def titled(form: Form, columns: Iterable[Column]) -> tuple[Column, ...]:
    """Columns of a form's records with the labels of what was chosen in them, fresh for each page."""
    return tuple(
        one._replace(titles=Labels(choices(form, one.name)))
        if one.name in form.looked_up and one.name in form.fields
        else one
        for one in columns
    )


def learned(columns: Iterable[Column], rows: Iterable[Mapping[str, Json]]) -> Iterator[Mapping[str, Json]]:
    """The same rows, with the labels of many of them looked up together."""
    labels = [(one.name, one.titles) for one in columns if isinstance(one.titles, Labels)]
    source = iter(rows)
    while part := list(islice(source, 5 * _AT_ONCE)):
        for name, titles in labels:
            titles.learn(row.get(name) for row in part)
        yield from part


# ==== 3. RULES ===================================================================================================
# At every door: what is chosen anew is one of the choices at that moment. And at start: the declaration itself.
# uses: ERRORS VALUES CONFIG RESOURCES SOURCES plugin:fields plugin:form_rules plugin:statements
# defines: rules faults


class _Chosen(form_rules.Rule):
    """A field holds what can be chosen in it. The source is asked for exactly that; what was stored before may stay."""

    def __init__(self, field: Field) -> None:
        self.name, self.place = field.name, f"{field.place}.options"
        self._seen = threading.local()  # what was asked for by the request that a thread is at

    def apply(self, filled: form_rules.Filled) -> Iterator[Fault]:
        field, given = filled.form.fields[self.name], filled.value.get(self.name)
        if given is None or self.name in filled.unknown or self.name in filled.hidden or not filled.concerns(self.name):
            return
        fresh = self._fresh(given, (filled.stored or {}).get(self.name), filled.at(self.name))
        named = self._named(filled, list(fresh.values()))
        for pointer, one in fresh.items():
            if one not in named and not self._is_oneself(field, one, filled):
                yield from field.worded([Fault(pointer, "options", "is none of the choices")])

    @staticmethod
    def _fresh(given: Json, before: Json, at: str) -> dict[str, Json]:
        """What is chosen by its pointer, without the items of a list that were in it before."""
        if not isinstance(given, list):
            return {at: given}
        kept = before if isinstance(before, list) else []
        return {f"{at}/{place}": one for place, one in enumerate(given) if one not in kept}

    def _named(self, filled: form_rules.Filled, values: Sequence[Json]) -> dict[Json, str]:
        """Of a batch each value is asked for once."""
        seen = self._seen
        request = getattr(seen, "request", None)
        if request is None or request() is not filled.scope.new_ids:
            seen.request, seen.named, seen.asked = weakref.ref(filled.scope.new_ids), {}, set()
        if fresh := [one for one in values if one not in seen.asked]:
            seen.named |= choices(filled.form, self.name).named(fresh)
            seen.asked |= set(fresh)
        return cast(dict[Json, str], seen.named)

    @staticmethod
    def _is_oneself(field: Field, value: Json, filled: form_rules.Filled) -> bool:
        """Whether the caller names himself as a person: a program, too, may be who did something."""
        return field.config.format == "person" and value == filled.scope.caller.subject


def rules(form: Form, wrong: list[Fault]) -> list[form_rules.Rule]:
    """A rule for each field that is looked up. What is wrong with their sources is found once all resources are there."""
    return [_Chosen(one) for one in form.fields.values() if one.looked_up]


def faults(resources: Mapping[str, Any], declared: Iterable[str]) -> list[Fault]:
    """What is wrong with the options of all forms. A source that is `declared` and not among the resources has faults of its
    own."""
    found: list[Fault] = []
    arrows: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for address, form in resources.items():
        for field in form.fields.values() if isinstance(form, Form) and address.startswith("forms/") else ():
            if options_of(field):
                wrong, leads = _of_field(field, resources, declared)
                found += [Fault(f"{field.place}.options{key}", "configuration", detail) for key, detail in wrong]
                arrows[form.name, field.name] = leads
    return found or list(_circles(arrows))


def _of_field(
    field: Field, resources: Mapping[str, Any], declared: Iterable[str]
) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """What is wrong with the options of a field, and which fields of forms they read."""
    options, address = options_of(field), _address(options_of(field))
    if wrong := list(_of_target(options, address, resources, declared)):
        return wrong, []
    target = resources.get(address)
    if target is None:  # which has faults of its own
        return [], []
    form = target if isinstance(target, Form) else target.source
    if not isinstance(form, Form):
        return _of_sql(cast("SqlView", target)), []
    if getattr(target, "is_grouped", False):
        return [(".view", f"names {target.name}, whose rows are groups: name a view whose rows are records")], []
    shown = target.columns if isinstance(target, View) else form.columns
    known = [one.name for one in shown if "." not in one.name]  # none of another form
    named = {key: options[key] for key in ("value", "label") if options.get(key)}
    wrong = [
        (f".{key}", f"names {name!r}, which is no column of {address}{nearest(name, known)}")
        for key, name in named.items()
        if name not in known
    ]
    if not wrong and (why := _misfit(field, next(one for one in form.columns if one.name == options["value"]))):
        wrong = [(".value", why)]
    return wrong, [] if wrong else [(form.name, name) for name in named.values() if name in form.fields]


def _of_target(
    options: Value, address: str, resources: Mapping[str, Any], declared: Iterable[str]
) -> Iterator[tuple[str, str]]:
    """What is wrong with the view or form that `options` names."""
    view, form = options.get("view"), options.get("form")
    if view and form:
        yield "", "names a view or a form, and this names both: keep one"
    elif not view and not form:
        yield "", 'names neither a view nor a form: write { form = "forms/teams", value = "code", label = "name" }'
    else:
        kind = "view" if view else "form"
        known = [one for one in declared if one.startswith(f"{kind}s/")]
        if address not in resources and address not in known:
            yield f".{kind}", f"names {options[kind]!r}, which is no {kind}{nearest(address, known)}"


def _of_sql(view: SqlView) -> list[tuple[str, str]]:
    asked = [name for name, one in view.params.items() if one.config.required and one.config.default is None]
    why = "must be given: a source of options is read without parameters"
    return [(".view", f"names {view.name}, whose parameter {asked[0]} {why}")] if asked else []


def _misfit(field: Field, column: Column) -> str:
    """Why the values of a column cannot be those of a field; "" if they can."""
    types = ("string",) if field.item_type == "string" else ("number", "integer")
    if column.type in types and column.format != "file":
        return ""
    holds = "files" if column.format == "file" else f"values of type {column.type}"
    return f"names {column.name}, which holds {holds}, and this field takes values of type {field.item_type}"


def _circles(arrows: Mapping[tuple[str, str], Sequence[tuple[str, str]]]) -> Iterator[Fault]:
    """A fault for each circle of fields whose options are read from one another: nothing could ever be chosen first."""
    told: set[tuple[str, str]] = set()

    def visit(one: tuple[str, str], path: tuple[tuple[str, str], ...]) -> Iterator[Fault]:
        if one in path:
            circle = path[path.index(one) :]
            if not told & set(circle):
                told.update(circle)
                way = " reads ".join(f"forms/{form}.{name}" for form, name in (*circle, one))
                detail = f"goes in a circle: {way}; name another column"
                yield Fault(f"forms.{one[0]}.fields.{one[1]}.options", "configuration", detail)
            return
        for following in arrows.get(one, ()):
            if following in arrows:
                yield from visit(following, (*path, one))

    for start in arrows:
        yield from visit(start, ())
