"""Which records and fields of a form are there for a caller: `owner` of the form, `read_by` and `write_by` of its fields."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from copy import copy
from typing import TYPE_CHECKING, Any, cast

from app import (
    RESERVED_FIELDS,
    Action,
    BadRequest,
    Caller,
    CompiledQuery,
    Condition,
    Fault,
    Form,
    FormConfig,
    Json,
    Measure,
    Page,
    Query,
    Record,
    Records,
    Resource,
    Response,
    Scope,
    Value,
    View,
    check_text,
    decode_cursor,
    encode_cursor,
    list_mark,
    member_pointer,
    nearest,
    plugin,
)

if TYPE_CHECKING:
    from plugins import wrapped
    from plugins.fields import Field
else:
    wrapped = plugin("wrapped")

# ==== 1. ROWS ====================================================================================================
# Records of which only those of one owner are there.
# uses: VALUES CONTRACTS plugin:wrapped
# defines: OwnRows


class OwnRows(wrapped.Wrapped):
    """The records of a provider, of one table only those whose field names this subject. A record of somebody else is
    missing here, and of nobody, who has no name, all are."""

    def __init__(self, records: Records, table: str, field: str, subject: str) -> None:
        super().__init__(records)
        self._table, self._field, self._subject = table, field, subject
        self.whole, self.rule = records, (field, subject)

    def _own(self, query: Query) -> Query | None:
        """The query for what is there; None if nothing is."""
        if query.table != self._table:
            return query
        mine = Condition(self._field, "eq", self._subject)
        return query._replace(where=(mine, *query.where)) if self._subject else None

    def is_of(self, value: Value) -> bool:
        """Whether a record with these values would be there."""
        return bool(self._subject) and value.get(self._field) == self._subject

    def get(self, table: str, key: str) -> Record | None:
        record = self._records.get(table, key)
        if record is None or table != self._table:
            return record
        return record if not record.damage and self.is_of(record.value) else None

    def find(self, query: Query) -> Page:
        found = self._own(query)
        return self._records.find(found) if found else Page([])

    def find_texts(self, query: Query, text_of: Callable[[Record], str]) -> tuple[list[str], str | None]:
        found = self._own(query)
        return self._records.find_texts(found, text_of) if found else ([], None)

    def count(self, query: Query) -> int:
        found = self._own(query)
        return self._records.count(found) if found else 0

    def count_up_to(self, query: Query, most: int, timeout_s: float) -> int | None:
        found = self._own(query)
        return self._records.count_up_to(found, most, timeout_s) if found else 0

    def facet(self, query: Query, field: str, most: int) -> list[tuple[Json, int]]:
        found = self._own(query)
        return self._records.facet(found, field, most) if found else []

    def groups(self, query: Query, by: Sequence[str], measures: Sequence[Measure], most: int) -> list[Sequence[Json]]:
        nothing = query._replace(where=(Condition("id", "in", []),))
        return self._records.groups(self._own(query) or nothing, by, measures, most)

    def walk(self, query: Query) -> Iterator[Record]:
        found = self._own(query)
        return self._records.walk(found) if found else iter(())


# ==== 2. CURSORS =================================================================================================
# A cursor says where a page ends: the values of its last row in what the list is ordered by. A view may be ordered by what
# its readers do not see. They get the id of that row instead, of which they can neither read a value nor try one out.
# uses: ERRORS VALUES CONTRACTS PROVIDERS plugin:wrapped
# defines: RowCursors is_narrowed

_GONE = "the row behind which this page begins was deleted: start from the first page"


class RowCursors(wrapped.Wrapped):
    """The records of a provider, with other cursors where a query is ordered by what is not `shown`."""

    def __init__(self, records: Records, table: str, shown: frozenset[str]) -> None:
        super().__init__(records)
        self._table, self._shown, self.whole = table, shown, records

    def _hides(self, query: Query) -> bool:
        names = {name.removeprefix("-") for name in query.order_by}
        return query.table == self._table and not names <= self._shown and not any("." in name for name in names)

    def find(self, query: Query) -> Page:
        if not self._hides(query):
            return self._records.find(query)
        found = self._records.find(self._opened(query))
        return Page(found.items, self._closed(query, found.next))

    def find_texts(self, query: Query, text_of: Callable[[Record], str]) -> tuple[list[str], str | None]:
        if not self._hides(query):
            return self._records.find_texts(query, text_of)
        texts, following = self._records.find_texts(self._opened(query), text_of)
        return texts, self._closed(query, following)

    def _opened(self, query: Query) -> Query:
        """The query with the provider's own cursor. Raises BadRequest."""
        if not query.after:
            return query
        mark, key = decode_cursor(query.after, 2)
        compiled = CompiledQuery(query._replace(after=""))
        if mark != list_mark(query) or not isinstance(key, str) or key[:1] != "t" or check_text(key):
            raise BadRequest("_next is a cursor of another list: leave it out when the filter or the order changes")
        record = self._records.get(query.table, key[1:])  # which is behind the letter of its type
        if record is None:
            raise BadRequest(_GONE)
        return query._replace(after=compiled.cursor([compiled.key(record, name) for name, _ in compiled.terms]))

    @staticmethod
    def _closed(query: Query, following: str | None) -> str | None:
        if following is None:
            return None
        terms = CompiledQuery(query._replace(after="")).terms
        return encode_cursor(list_mark(query), decode_cursor(following, len(terms) + 1)[-1])


def is_narrowed(caller: Caller) -> bool:
    """Whether a caller may do only part of what somebody may, like whoever has a link of his: what he is shown may have
    fewer columns than the view."""
    return bool(caller.ceilings)


# ==== 3. FORMS ===================================================================================================
# A form as it is for a caller: a copy with fewer fields and a store of fewer records.
# uses: ERRORS VALUES CONFIG CONTRACTS RESOURCES ROWS CURSORS plugin:field_defaults plugin:fields plugin:people
# defines: faults warnings owner_field hidden_from seen is_of_service own of_view seen_view settled settle of_owner spared
#          shown_again

_NAMES = (("string", ""), ("string", "person"), ("string", "email"))  # types and formats of fields that name somebody
_MOST_SEEN = 1000  # copies of a form that are kept
_NOT_YOURS = "is filled in by others here: leave it out or as it is"


def faults(config: FormConfig, roles: Collection[str]) -> Iterator[Fault]:
    """What is wrong with the rules of a form: roles that are not declared, an owner in a field that cannot name one."""
    place, owner = f"forms.{config.name}", config.owner
    named = [(f"{place}.owner.unless", owner.unless if owner else ())]
    for one in config.fields:
        named += [(f"{place}.fields.{one.name}.read_by", one.read_by), (f"{place}.fields.{one.name}.write_by", one.write_by)]
    for at, names in named:
        for role in [role for role in names or () if role not in roles]:
            detail = f"names role {role!r}, which is not declared in [roles]{nearest(role, roles)}"
            yield Fault(at, "configuration", detail)
    field = next((one for one in config.fields if owner and one.name == owner.field), None)
    if owner and field is None and owner.field != "created_by":
        near = nearest(owner.field, ["created_by", *(one.name for one in config.fields)])
        yield Fault(f"{place}.owner.field", "configuration", f"names {owner.field!r}, which is no field{near}")
    if owner and field and (field.type, field.format) not in _NAMES:
        yield Fault(f"{place}.owner.field", "configuration", f"names {owner.field!r}, which cannot say whose a record is")


def warnings(resources: Mapping[str, Resource]) -> Iterator[str]:
    """Views of SQL that read the table of a form with rules: they answer what their statements say, whoever asks."""
    guarded = [one for one in resources.values() if isinstance(one, Form) and one.is_guarded]
    views = [one for one in resources.values() if isinstance(one, View) and one.config.sql]
    for view, form in ((view, form) for view in views for form in guarded if _keeps(view.source, form.records)):
        if re.search(rf"(?i)(?<![\w$]){form.table}(?![\w$])", _bare(view.config.sql)):
            what = f"reads the table {form.table} of {form.address}, of which not everybody sees all"
            yield f"views.{view.name}: {what}: whoever may read the view sees all that its statement selects"


def _keeps(queries: Any, records: Any) -> bool:
    """Whether statements of one provider reach the tables of the other."""
    return queries is records or not {*queries.places()}.isdisjoint(records.places())


def _bare(statement: str) -> str:
    """A statement without its comments and texts."""
    return re.sub(r"--[^\n]*|/\*.*?\*/|'[^']*'", " ", statement, flags=re.DOTALL)


def owner_field(form: Form) -> str:
    """The field that says whose a record is."""
    return form.config.owner.field if form.config.owner else "created_by"


def hidden_from(form: Form, caller: Caller) -> frozenset[str]:
    """The fields of a form that a caller may not read, by the names that they had before, too."""
    found = set[str]()
    for one in form.fields.values():
        roles = getattr(one.config, "read_by", None)
        if roles and not plugin("people").holds(caller, roles):
            found |= {one.name, getattr(one.config, "was", "") or one.name}
    return frozenset(found)


def seen(form: Form, caller: Caller) -> Form:
    """The form as far as it is there for a caller; the same form if all of it is."""
    holds, rule, hidden = plugin("people").holds, form.config.owner, hidden_from(form, caller)
    writes = {
        one.name: holds(caller, one.write_by) if one.write_by else one.name not in hidden for one in form.config.fields
    }
    closed = frozenset(name for name, may in writes.items() if not may)
    is_own = rule is not None and not holds(caller, rule.unless or ())
    if not (hidden or closed or is_own):
        return form
    return _kept(form, (form.locale, hidden, closed, caller.subject if is_own else None, ""))


def is_of_service(form: Form) -> bool:
    """Whether the service behind a provider says itself whose a record is: that is nobody of this site."""
    shape = getattr(form.records, "shape", None)  # of a generic provider
    return shape is not None and owner_field(form) in shape.own_fields


def own(form: Form, subject: str, place: str) -> Form:
    """The form with the records of one subject alone, at another place than its list."""
    whole = form.whole or form
    subject = "" if is_of_service(whole) else subject
    closed = frozenset(name for name in whole.fields if name not in form.taken and not whole.fields[name].made)
    return _kept(whole, (form.locale, form.hidden, closed, subject, place))


def _kept(form: Form, key: tuple[Any, frozenset[str], frozenset[str], str | None, str]) -> Form:
    """The copy of a whole form for this locale, these hidden and closed fields, this owner of records (None: all of them)
    and the place of its list ("": its own)."""
    found = form.seen.get(key)
    if found is None:
        locale, hidden, closed, subject, place = key
        base = (locale, hidden, closed, None, "")
        is_base = key == base
        found = _narrowed(form, locale, hidden, closed) if is_base else _placed(_kept(form, base), subject, place)
        if len(form.seen) >= _MOST_SEEN:
            form.seen.clear()
        form.seen[key] = found
    return found


def _narrowed(form: Form, locale: Any, hidden: frozenset[str], closed: frozenset[str]) -> Form:
    """The form without what is hidden; what is closed is as if Satchel set it."""
    made = copy(form)
    made.locale, made.whole, made.seen, made._known = locale, form, {}, {}
    made.hidden = hidden
    fields = {name: one for name, one in form.fields.items() if name not in hidden or name not in closed}
    made.fields = {name: _closed(one) if name in closed else one for name, one in fields.items()}
    made.taken = {name: one for name, one in made.fields.items() if not one.made}
    made.columns = tuple(one for one in form.columns if one.name not in hidden)
    made.called_by = [one for one in form.called_by if one.name not in hidden]
    made.shares = {name: one for name, one in form.shares.items() if name in made.fields}
    made.asked = [(n, f'"{n}":', f.default, f.config.required, f.text_of) for n, f in made.fields.items()]
    made.fills = any(one.fill for one in made.taken.values())
    visible = [name for name in made.fields if name not in hidden]
    made.nulls = {name: one for name, one in form.nulls.items() if name in visible}
    made.empty = dict.fromkeys((*visible, *RESERVED_FIELDS[2:]))
    return _with_files(made)


def _closed(field: Field) -> Field:
    """A field that is shown and cannot be written."""
    if field.made:
        return field
    made = copy(field)
    made.made = _NOT_YOURS
    made.required, made.config = False, field.config.replaced(required=False)
    return made


def _placed(form: Form, subject: str | None, place: str) -> Form:
    """The form with the records of one owner, at a place of their own."""
    made = copy(form)
    made.seen, made.owned_by = {}, owner_field(form)
    made.store = OwnRows(form.store, form.table, made.owned_by, subject or "")
    if place:
        made.records_at = place
        made._known = {}
    return _with_files(made)


def _with_files(form: Form) -> Form:
    if form.files:
        form.files = form.files.of(form)
    return form


def of_view(view: View, caller: Caller) -> Form:
    """The form of a view as it is there for a caller, with cursors that tell him of nothing beside the view."""
    form = cast(Form, view.source.seen_by(caller))
    shown = frozenset[str]() if is_narrowed(caller) else frozenset(one.name for one in view.columns)
    ordered = {one.removeprefix("-") for one in view.config.order_by}
    if (shown and ordered <= shown) or caller.may(Action.READ, f"{form.records_at}/x"):
        return form
    known: dict[Any, Any] = form.seen
    if (key := ("cursors", shown)) not in known:
        made = copy(form)
        made.seen, made.store = {}, RowCursors(form.store, form.table, shown)
        if len(known) >= _MOST_SEEN:
            known.clear()
        known[key] = made
    return cast(Form, known[key])


def seen_view(view: View, form: Form) -> View:
    """A view of a form as one caller sees that. What the view asks for by itself holds; columns that are hidden are gone,
    and nothing is ordered or counted by them."""
    known: dict[Any, Any] = form.seen
    made: View | None = known.get(view)
    if made is None:
        made, config = copy(view), view.config
        made.source = form
        made.columns = tuple(one for one in view.columns if one.name not in form.hidden)
        made.config = config.replaced(
            order_by=tuple(name for name in config.order_by if name.removeprefix("-") not in form.hidden),
            facets=tuple(name for name in config.facets if name not in form.hidden),
        )
        if len(known) >= _MOST_SEEN:
            known.clear()
        known[view] = made
    return made


# ---- what is written


def settled(form: Form, scope: Scope) -> Value | None:
    """What a new record holds in the fields that its maker may not fill in, None if nothing is to be watched."""
    whole = cast(Form, form.whole)
    names = [name for name in whole.fields if name not in form.taken]
    owner = form.owned_by if form.owned_by in whole.fields else ""
    if not (names or owner or form.hidden):
        return None
    made = plugin("field_defaults").values(whole, scope) if whole.fills else {}
    found = {name: made.get(name, whole.fields[name].default) for name in names}
    return {name: one for name, one in found.items() if one is not None} | ({owner: scope.caller.subject} if owner else {})


def settle(form: Form, values: Mapping[str, Json], value: Value, pointer: str) -> Iterator[Fault]:
    """Put these values into those of a new record where it has none. A fault if the record is to be somebody else's."""
    yield from of_owner(form, value, pointer)
    found = {name: one for name, one in values.items() if one != ""} | value
    value.clear()
    value.update((name, found[name]) for name in cast(Form, form.whole).fields if name in found)


def of_owner(form: Form, value: Value, pointer: str) -> list[Fault]:
    """A fault if these values of a record give it to somebody else than whose records are there for the caller."""
    name = form.owned_by
    if name not in value or not isinstance(form.store, OwnRows) or form.store.is_of(value):
        return []
    detail = "must be you: nobody makes a record of somebody else here, or gives one away"
    return [Fault(member_pointer(pointer, name), "owner", detail)]


def spared(form: Form, faults: Sequence[Fault], pointer: str) -> list[Fault]:
    """The faults of a record for a caller: nobody is asked for what he may not fill in, nor told of what he may not see."""
    found = []
    for one in faults:
        name = one.pointer[len(pointer) :].partition("/")[2].partition("/")[0]
        is_told = name in form.fields or one.code == "unknown_field"  # as any name that is none of the form's
        if is_told or name not in cast(Form, form.whole).fields:
            found += [one] if one.code != "required" or name not in form.fields or name in form.taken else []
        elif one.code != "required":
            found.append(
                Fault(pointer, one.code, "does not fit together with what is not shown to you: ask who sees all of it")
            )
    return found


def shown_again(form: Form, response: Response) -> Response:
    """The answer to an earlier request, without what may not be seen now."""
    data = response.data
    if isinstance(data, dict):
        is_batch = data.keys() == {"items"}
        response.data = {"items": list(map(form.open_part, data["items"]))} if is_batch else form.open_part(data)
        response.name = ""
    return response
