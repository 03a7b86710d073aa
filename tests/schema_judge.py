"""Whether a value keeps to a JSON Schema (draft 7), for the keywords that the schemas of forms have."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,), "number": (int, float, Decimal), "integer": (int,), "boolean": (bool,), "array": (list,),
    "object": (dict,), "null": (type(None),),
}  # fmt: skip


def same(one: Any, other: Any) -> bool:
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


def keeps_to(schema: Any, value: Any) -> bool:
    if isinstance(schema, bool):
        return schema
    return all(_JUDGES[key](value, limit, schema) for key, limit in schema.items() if key in _JUDGES)


def _has_type(value: Any, name: str, schema: Any) -> bool:
    if name == "integer" and isinstance(value, float | Decimal):
        return value == int(value)
    return isinstance(value, _TYPES[name]) and isinstance(value, bool) == (name == "boolean")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | Decimal) and not isinstance(value, bool)


def _properties(value: Any, inside: Any, schema: Any) -> bool:
    return not isinstance(value, dict) or all(keeps_to(one, value[name]) for name, one in inside.items() if name in value)


def _additional(value: Any, inside: Any, schema: Any) -> bool:
    others = [one for name, one in value.items() if name not in schema["properties"]] if isinstance(value, dict) else []
    return all(keeps_to(inside, one) for one in others)


def _implies(value: Any, inside: Any, schema: Any) -> bool:
    return keeps_to(schema.get("then" if keeps_to(inside, value) else "else", True), value)


_JUDGES = {
    "type": _has_type,
    "const": lambda value, wanted, _: same(value, wanted),
    "enum": lambda value, wanted, _: any(same(value, one) for one in wanted),
    "required": lambda value, names, _: not isinstance(value, dict) or set(names) <= value.keys(),
    "properties": _properties,
    "additionalProperties": _additional,
    "allOf": lambda value, inside, _: all(keeps_to(one, value) for one in inside),
    "anyOf": lambda value, inside, _: any(keeps_to(one, value) for one in inside),
    "oneOf": lambda value, inside, _: sum(keeps_to(one, value) for one in inside) == 1,
    "not": lambda value, inside, _: not keeps_to(inside, value),
    "if": _implies,
    "items": lambda value, inside, _: not isinstance(value, list) or all(keeps_to(inside, one) for one in value),
    "contains": lambda value, inside, _: not isinstance(value, list) or any(keeps_to(inside, one) for one in value),
    "pattern": lambda value, form, _: not isinstance(value, str) or bool(re.search(form, value)),
    "minLength": lambda value, n, _: not isinstance(value, str) or len(value) >= n,
    "maxLength": lambda value, n, _: not isinstance(value, str) or len(value) <= n,
    "minimum": lambda value, n, _: not _is_number(value) or value >= n,
    "maximum": lambda value, n, _: not _is_number(value) or value <= n,
    "exclusiveMinimum": lambda value, n, _: not _is_number(value) or value > n,
    "exclusiveMaximum": lambda value, n, _: not _is_number(value) or value < n,
}
