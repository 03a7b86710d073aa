"""Records that a form would not take any more, since its fields or rules are others by now: counted and shown."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from app import (
    AppError,
    Caller,
    Column,
    Fault,
    Form,
    Json,
    Plan,
    Query,
    Record,
    Request,
    Response,
    Scope,
    Table,
    Value,
    how_many,
    member_pointer,
    no_params,
    plan_of,
    plugin,
)

if TYPE_CHECKING:
    from plugins.catalogue import Words

# ==== 1. UNFIT ===================================================================================================
# Nothing is changed or lost because of it: what was stored stays as it is until somebody edits that field.
# uses: ERRORS VALUES CONTRACTS RESOURCES plugin:catalogue plugin:form_rules
# defines: faults warnings listed

_MOST = 1_000  # records of a page
_TIME_S = 5.0  # for a page


def faults(form: Form, record: Record, scope: Scope) -> list[Fault]:
    """What the form would say of a record if all of it were sent anew. Files were looked at when they came."""
    value: Value = {name: one for name in form.taken if (one := record.value.get(name)) is not None}
    found, good = list[Fault](), dict(value)
    for name, one in form.taken.items():
        at = member_pointer("", name)
        if name not in value:
            found += one.missing(at) if one.required else []
        elif not one.is_file and (wrong := one.faults(value[name], at)):
            found += wrong
            del good[name]
    if form.rules is None:
        return found
    filled = plugin("form_rules").Filled(form, scope, value, True, good, None, "", found)
    return list(form.rules.judge(filled))


def _unfit(form: Form, scope: Scope, until: float) -> Iterator[tuple[Record, list[Fault]] | None]:
    """The records that do not fit, each with its faults, and None for those that do; until that time.monotonic()."""
    for record in form.store.walk(Query(form.table)):
        if time.monotonic() > until:
            return
        found: list[Fault] = []
        with suppress(AppError):  # where choices come from is away, which is told elsewhere
            found = [] if record.damage else faults(form.whole or form, record, scope)
        found = [one for one in found if _field_of(one) not in form.hidden]
        yield (record, found) if found else None


def _field_of(fault: Fault) -> str:
    return fault.pointer.partition("/")[2].partition("/")[0]


def warnings(form: Form, now: float, until: float) -> Iterator[str]:
    """How many records do not fit, in words, if any do not, as far as is seen until that time.monotonic()."""
    scope = Scope(Caller(), now, lambda count: [], lambda address, params: Response())
    fields, count, first = Counter[str](), 0, ""
    for pair in _unfit(form, scope, until):
        if pair:
            record, found = pair
            count, first = count + 1, first or record.key
            fields.update({_field_of(one) or "the whole" for one in found})
    if count:
        names = ", ".join(f"{name}: {number:,}" for name, number in fields.most_common(5))
        such = f"({names}), such as {first}: see {form.records_at}?_unfit=1"
        yield f"forms.{form.name}: {how_many(count, 'record')} would not be taken any more as they are {such}"


def listed(form: Form, request: Request, scope: Scope) -> Plan:
    """The page of these records, each with what is wrong with it."""
    no_params(request, ("_unfit", "_for", "_size"))
    columns = (*form.columns, Column("faults", form.locale.t("unfit.why")))
    rows: list[Mapping[str, Json]] = []
    for pair in _unfit(form, scope, time.monotonic() + _TIME_S):
        if pair and len(rows) < _MOST:
            record, found = pair
            rows.append(form.flat(record) | {"faults": _words(form, found)})
    shown = [{column.name: row.get(column.name) for column in columns} for row in rows]
    page: dict[str, Any] = {**form._page(scope), "note": form.locale.t("unfit.note"), "search": None, "key": "id"}
    return plan_of(Response(table=Table(columns, shown), template="table.tpl", page=page))


def _words(form: Form, found: list[Fault]) -> str:
    t: Words = form.locale.t
    titles = {name: one.title for name, one in form.fields.items()}
    said = [(titles.get(_field_of(one), ""), t.said(one.detail)) for one in found]
    return "; ".join(t("errors.said", field=title, what=what) if title else what for title, what in said)
