"""The conditions of find as tests of records in memory, and what they ask of a list's items."""

from __future__ import annotations

import operator
from collections.abc import Callable

from app import Condition, Json, Query, Record, is_instant, key_rule, sort_key, value_key

# ==== 1. TESTS ===================================================================================================
# What SQL says of columns, for providers that read their records, and for what is looked up of another form.
# uses: VALUES PROVIDERS
# defines: items_of item_keys facet_keys key_test of_value value_of of

_NO_ITEMS = ("", "z")  # the sort keys of null, and of lists and objects


def items_of(condition: Condition) -> list[str] | None:
    """The sort keys of the items that a condition asks lists for; None if it asks for none."""
    if condition.op not in ("contains", "ne") or not isinstance(condition.value, list | tuple):
        return None
    return item_keys(condition.value)


def item_keys(value: Json) -> list[str]:
    """The sort keys of a list's plain items, each once; [] of any other value."""
    keys = map(sort_key, value) if isinstance(value, list | tuple) else ()
    return list(dict.fromkeys(key for key in keys if key not in _NO_ITEMS))


def facet_keys(value: Json) -> list[str]:
    """The sort keys as which Records.facet() counts a value."""
    return item_keys(value) if (key := sort_key(value)) == "z" else [key]


def key_test(condition: Condition, instant: bool = False) -> Callable[[str], bool]:
    """A condition as a test of the sort_key of its field."""
    op, keys = key_rule(condition, instant)
    if op == "in":
        return set(keys).__contains__
    if op == "out":
        return lambda key: key not in keys
    wanted = keys[0]
    if op == "prefix":
        return lambda key: key.startswith(wanted)
    if op == "contains":
        return lambda key: key[:1] == "t" and key.find(wanted[1:], 1) > 0
    compare = {"lt": operator.lt, "lte": operator.le, "gt": operator.gt, "gte": operator.ge}[op]
    return lambda key: key[:1] == wanted[0] and compare(key, wanted)


def of_value(condition: Condition, instant: bool) -> Callable[[Json], bool]:
    """A condition as a test of its field's value. Raises BadRequest on an unknown operator or a value of the wrong shape."""
    test, items = key_test(condition, instant), items_of(condition)
    if items is None:
        return lambda value: test(value_key(value, instant))
    sought, is_wanted = set(items), condition.op == "contains"
    return lambda value: sought.isdisjoint(item_keys(value)) is not is_wanted


def value_of(record: Record, name: str) -> Json:
    """The value of a record's field as Query names it."""
    if name in ("id", "version"):
        return record.key if name == "id" else record.version
    return record.value.get(name)


def of(query: Query, condition: Condition) -> Callable[[Record], bool]:
    """A condition of a query as a test of a record."""
    name, test = condition.field, of_value(condition, is_instant(query, condition))
    return lambda record: test(value_of(record, name))
