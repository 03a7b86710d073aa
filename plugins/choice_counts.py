"""How many records of a form have each choice, for the filter above their list."""

from __future__ import annotations

import math
import time
import weakref
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import app
from app import COUNT_S, AppError, Form, Query, QueryTimeout, Unsupported, read_list

if TYPE_CHECKING:
    from plugins import groups
    from plugins.filter_row import Asking
else:
    groups = app.plugin("groups")

# ==== 1. COUNTS ==================================================================================================
# A choice says how many records there would be with it alone in its column, and all else that is asked for. A form declares
# nothing for that, so no index is made and no write costs more: the records are gone through, if they are few, and only once
# between two changes of them.
# uses: ERRORS VALUES RESOURCES plugin:filter_row plugin:groups
# defines: MOST_COUNTED Counts of_list

MOST_COUNTED = 2_000  # records of a form whose choices are counted
_MOST_COLUMNS, _MOST_VALUES = 12, 200
_MOST_KEPT = 100  # filters of one form whose counts are kept
_OF_LIST = ("_sort", "_size", "_next", "_prev", "_columns", "_count", "_for")  # on which no count depends
Counts = Mapping[str, Mapping[str, int]]  # by column and by what its control sends for the value
_SLOW_S = 30.0  # how long a form that kept somebody waiting in vain is not asked
_resting: weakref.WeakKeyDictionary[Form, float] = weakref.WeakKeyDictionary()  # until when a form is not asked
_kept: weakref.WeakKeyDictionary[Form, tuple[Any, dict[Any, Counts]]] = weakref.WeakKeyDictionary()  # since this mark


def of_list(form: Form, params: Mapping[str, str], found: Sequence[Asking]) -> Counts:
    """By column how many records have each of its choices; without columns where counting them takes too long, and where
    there are too many records. Only of what the form shows its caller."""
    asked = {name: text for name, text in params.items() if name not in _OF_LIST}
    unset = {one.column.name for one in found if one.kind == "truth"}
    names = [one.column.name for one in found if one.kind in ("choice", "truth") and one.column.name in form.fields]
    mark = form.store.mark()
    since, known = _kept.get(form, (None, {}))
    if mark is None or since != mark or len(known) >= _MOST_KEPT:
        since, known = _kept[form] = mark, {}
    key = *names, *sorted(asked.items())
    if key not in known:
        known[key] = _counted(form, asked, names[:_MOST_COLUMNS], unset)
    return known[key]


def _counted(form: Form, asked: Mapping[str, str], names: Sequence[str], unset: Collection[str]) -> Counts:
    """Of columns in `unset` with how many have no value. A provider that cannot count is asked once."""
    counts, until = dict[str, Mapping[str, int]](), time.monotonic() + COUNT_S
    if not names or _resting.get(form, 0.0) > time.monotonic():
        return counts
    with suppress(AppError), _noting(form):  # the list is whole without them
        if not _are_few(form):
            return counts
        query = form.query(read_list(asked, form.columns, form.locale), (), form.columns)
        for name in names:
            others = query._replace(where=tuple(one for one in query.where if one.field != name))
            with groups.within(max(until - time.monotonic(), 0.001)):
                values = form.store.facet(others, name, _MOST_VALUES + 1)
            if len(values) <= _MOST_VALUES:
                counts[name] = {_text(value): count for value, count in values if value is not None or name in unset}
    return counts


@contextmanager
def _noting(form: Form) -> Iterator[None]:
    """Notes how long a form that cannot be counted is not to be asked."""
    try:
        yield
    except (QueryTimeout, Unsupported) as error:
        _resting[form] = math.inf if isinstance(error, Unsupported) else time.monotonic() + _SLOW_S
        raise


def _are_few(form: Form) -> bool:
    count = form.store.count_up_to(Query(form.table), MOST_COUNTED + 1, COUNT_S)
    return count is not None and count <= MOST_COUNTED


def _text(value: Any) -> str:
    """A value as an address has it."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)
