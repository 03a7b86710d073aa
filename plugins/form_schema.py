"""The rules of a form in its JSON Schema: if, then and else where they can say them, and words with x- for all of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from app import Comparisons, Form, Json, Value, plugin

if TYPE_CHECKING:
    from plugins import conditions
    from plugins.fields import Field
else:
    conditions = plugin("conditions")

# ==== 1. SCHEMA ==================================================================================================
# A schema cannot order dates and moments, nor know the day of today: such conditions stand in the x- words alone. null is as
# good as nothing here, as it is when it is sent.
# uses: VALUES CONFIG RESOURCES plugin:conditions plugin:fields
# defines: with_rules

_NULL: Value = {"type": "null"}
_BOUNDS = {"lt": "exclusiveMaximum", "lte": "maximum", "gt": "exclusiveMinimum", "gte": "minimum"}


def with_rules(form: Form, schema: Value) -> Value:
    """The schema of a form with what its rules say of the fields in it; of others nothing is told."""
    properties, found = dict(schema["properties"]), []
    for name in properties:
        words = {}
        for key in ("show_if", "required_if"):
            declared = conditions.conditions_of(form.fields[name], key)
            if declared and declared.keys() <= form.fields.keys():
                words["x-" + key.replace("_", "-")] = {one: _as_declared(each) for one, each in declared.items()}
        if words:
            properties[name] = properties[name] | words
            found += _implications(form, name)
    beside: Value = {"allOf": found} if found else {}
    told = [one for one in form.config.checks if {one["left"], one.get("right", one["left"])} <= form.fields.keys()]
    beside |= {"x-checks": told} if told else {}
    sections = {title: [one for one in names if one in properties] for title, names in form.config.sections.items()}
    return schema | {"properties": properties} | beside | ({"x-sections": sections} if sections else {})


def _as_declared(comparisons: Comparisons) -> Json:
    """Comparisons as app.toml has them."""
    op, operand = comparisons[0]
    return operand if len(comparisons) == 1 and op in ("eq", "in") else dict(comparisons)


def _implications(form: Form, name: str) -> list[Value]:
    """What the conditions of a field ask of a record, as far as a schema can."""
    field, found = form.fields[name], []
    given: Value = {"required": [name], "properties": {name: {"not": _NULL}}}
    must = field.config.required and field.default is None and not field.fill
    shown = _all_of(form, name, "show_if", ())
    if shown is not None and conditions.conditions_of(field, "show_if"):
        then: Value = {"then": given} if must else {}
        found.append({"if": shown, **then, "else": {"properties": {name: _NULL}}})
    needed = _all_of(form, name, "required_if", ())
    if needed is not None and shown is not None and conditions.conditions_of(field, "required_if"):
        both = [one for one in (needed, shown) if one]
        if field.default is None and not field.fill:
            found.append({"if": both[0] if len(both) == 1 else {"allOf": both}, "then": given})
    return found


def _all_of(form: Form, name: str, key: str, path: tuple[str, ...]) -> Value | None:
    """A schema that a record keeps to if these conditions of a field hold: {} without any, None if no schema can say it."""
    found: list[Value] = []
    for other, comparisons in conditions.conditions_of(form.fields[name], key).items():
        field = form.fields.get(other)
        if field is None or field.made or other in path:
            return None
        shown, holds = _all_of(form, other, "show_if", (*path, name)), _condition(field, comparisons)
        if shown is None or holds is None:
            return None
        if shown and _is_met_empty(field, comparisons):
            return None
        found += [one for one in (shown, holds) if one]
    if len(found) < 2:
        return found[0] if found else {}
    return {"allOf": found}


def _is_met_empty(field: Field, comparisons: Comparisons) -> bool:
    """Whether these hold for a field that has no value."""
    return all(_holds(field, op, operand, None) for op, operand in comparisons)


def _holds(field: Field, op: str, operand: Json, value: Json) -> bool:
    from datetime import UTC

    return bool(conditions.holds(field, op, operand, value, UTC, 0))


def _condition(field: Field, comparisons: Comparisons) -> Value | None:
    """A schema that a record keeps to if its field compares so."""
    parts = [_value_schema(field, op, operand) for op, operand in comparisons]
    if None in parts or field.fill:
        return None
    inside = parts[0] if len(parts) == 1 else {"allOf": parts}
    present: Value = {"required": [field.name], "properties": {field.name: inside}}
    if all(_holds(field, op, operand, field.default) for op, operand in comparisons):
        return {"anyOf": [present, {"not": {"required": [field.name]}}]}
    return present


def _value_schema(field: Field, op: str, operand: Json) -> Value | None:
    """A schema of the values that compare so; None if there is none."""
    kind: str = conditions.kind_of(field)
    if op == "null":
        return _NULL if operand else {"not": _NULL}
    if kind == "array":
        wanted: Value = {"contains": {"enum": operand if isinstance(operand, list) else [operand]}}
        held: Value = {"type": "array", **wanted}
        return {"not": held} if op == "ne" else held
    if kind in ("date", "date-time", "time"):  # whose other spellings mean the same, or which have an order
        return _equal(op, operand) if kind == "date" and "$" not in str(operand) else None
    if op in _BOUNDS:
        return {"type": "number", _BOUNDS[op]: operand} if kind == "number" else None
    if op in ("contains", "prefix"):
        return (
            {"type": "string", "pattern": ("^" if op == "prefix" else "") + re.escape(str(operand))}
            if kind == "text"
            else None
        )
    return _equal(op, operand)


def _equal(op: str, operand: Json) -> Value | None:
    found: Mapping[str, Any] = {"eq": {"const": operand}, "ne": {"not": {"const": operand}}, "in": {"enum": operand}}
    return found.get(op)
