"""Fields that are asked for, or must be given, only while other fields have some values: show_if and required_if."""

from __future__ import annotations

import operator
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from datetime import datetime, tzinfo
from decimal import Decimal
from typing import TYPE_CHECKING, Any, cast

from app import Comparisons, Fault, Form, Json, nearest, plugin

if TYPE_CHECKING:
    from plugins import fields, form_rules
    from plugins.fields import Field
    from plugins.form_rules import Filled, Rule
else:
    fields, form_rules = plugin("fields"), plugin("form_rules")
    Rule, Filled = form_rules.Rule, form_rules.Filled

# ==== 1. COMPARISONS =============================================================================================
# How values of fields compare: numbers exactly, date-times as instants, a date-time with a date by its day in the zone of
# the site, everything else by code point. What is empty compares with nothing, as in the conditions of find.
# uses: VALUES CONFIG plugin:fields plugin:instants
# defines: MADE kind_of today key_of holds compare operand_fault

_COMPARE: Mapping[str, Callable[[Any, Any], bool]] = {
    "eq": operator.eq, "ne": operator.ne, "lt": operator.lt, "lte": operator.le, "gt": operator.gt, "gte": operator.ge,
    "contains": lambda text, part: part in text, "prefix": lambda text, part: text.startswith(part),
}  # fmt: skip
MADE = {"$today": ("date", "date-time"), "$now": ("date-time",)}  # by what they compare with
_ORDER = ("lt", "lte", "gt", "gte")
_OPERATORS: Mapping[str, Collection[str]] = {  # by kind of field; others have them all
    "boolean": ("eq", "ne", "in", "null"),
    "array": ("eq", "ne", "in", "contains", "null"),
    "whole": ("null",),
    **dict.fromkeys(("number", "date", "date-time", "time"), ("eq", "ne", *_ORDER, "in", "null")),
}


def kind_of(field: Field) -> str:
    """As what its values compare: number, boolean, date, date-time, time, text; array of choices; whole, which do not."""
    config = field.config
    if field.is_file or (config.type == "array" and not (field.choices or field.looked_up)):
        return "whole"
    if config.type in ("number", "integer"):
        return "number"
    if config.type != "string":
        return str(config.type)
    return config.format if config.format in ("date", "date-time", "time") else "text"


def today(now: float, zone: tzinfo) -> str:
    return datetime.fromtimestamp(now, zone).date().isoformat()


def key_of(kind: str, value: Json, zone: tzinfo, *, as_day: bool = False) -> Any:
    """What stands for a value in comparisons; None if it is none of this kind. A date-time may stand for its day."""
    if kind == "number":
        return None if isinstance(value, bool) or not isinstance(value, int | float | Decimal) else Decimal(str(value))
    if kind == "boolean":
        return value if isinstance(value, bool) else None
    if not isinstance(value, str):
        return value if kind == "text" and not isinstance(value, dict | list) else None
    if kind == "date-time":
        key = plugin("instants").instant_key(value)
        return _day_of(value, zone) if key and as_day else key or None
    if kind == "time":
        return value + ":00" if len(value) == 5 else value
    return value


def _day_of(moment: str, zone: tzinfo) -> str | None:
    """The day of a date-time in a zone; None beyond the years 1 to 9999."""
    try:
        return datetime.fromisoformat(moment.upper()).astimezone(zone).date().isoformat()
    except OverflowError:
        return None


def holds(field: Field, op: str, operand: Json, value: Json, zone: tzinfo, now: float) -> bool:
    """Whether a field's value compares with a constant as a declaration says."""
    if op == "null":
        return (value is None) is operand
    kind = kind_of(field)
    as_day = operand == "$today" and kind == "date-time"
    operand = today(now, zone) if operand == "$today" and kind in MADE["$today"] else operand
    operand = datetime.fromtimestamp(now, zone).isoformat() if operand == "$now" and kind == "date-time" else operand
    if kind == "array":
        items = value if isinstance(value, list | tuple) else ()
        wanted = operand if isinstance(operand, list) else [operand]
        return any(item in wanted for item in items) == (op != "ne")
    found = None if value is None else key_of(kind, value, zone, as_day=as_day)
    if found is None:
        return op == "ne"
    if op == "in":
        return any(key_of(kind, one, zone) == found for one in operand)
    if op in ("contains", "prefix"):
        return _COMPARE[op](str(found), str(operand))
    wanted = operand if as_day else key_of(kind, operand, zone)
    return wanted is not None and _COMPARE[op](found, wanted)


def compare(op: str, one: Any, other: Any) -> bool:
    """Whether two keys compare so."""
    return _COMPARE[op](one, other)


def operand_fault(field: Field, op: str, operand: Json) -> str:
    """What is wrong with comparing a field with a constant; "" if nothing is."""
    kind = kind_of(field)
    if op not in _OPERATORS.get(kind, (op,)):
        return f"{op} does not go with {field.name}: write one of {', '.join(_OPERATORS[kind])}"
    if op == "null" or (op in ("prefix", "contains") and kind != "array"):
        return ""
    for one in operand if isinstance(operand, list) else [operand]:
        if kind in MADE.get(str(one), ()) and op != "in":
            continue
        if isinstance(one, str) and one in MADE and kind in ("date", "date-time"):
            return f"{one} goes with " + ("the operators eq, ne, lt, lte, gt and gte" if op == "in" else "date-times alone")
        if detail := _constant_fault(field, kind, op, one):
            return f"compares {field.name} with {one!r}: it {detail}"
    return ""


def _constant_fault(field: Field, kind: str, op: str, value: Json) -> str:
    """Why a field would never have this value; limits such as minimum are not looked at."""
    choices = [known for known, _ in field.choices]
    if choices and op not in _ORDER:
        if value in choices and isinstance(value, bool) == any(isinstance(one, bool) for one in choices):
            return ""
        return f"is none of its choices{nearest(str(value), [str(one) for one in choices])}"
    inner = str(field.config.items.get("type", "string")) if kind == "array" else field.config.type
    if not fields.has_type(value, "number" if kind == "number" else inner):
        return f"must be of type {inner}"
    check = fields.FORMATS.get(field.config.format) if kind in ("date", "date-time", "time") else None
    return fields.FORMAT_HELP[field.config.format] if check and not check(value) else ""


# ==== 2. CONDITIONS ==============================================================================================
# A field that is not shown counts as empty, for other conditions too; a value that is sent for it is a fault, and one that
# was stored goes with the change that hides it.
# uses: ERRORS CONFIG RESOURCES COMPARISONS plugin:field_defaults plugin:fields plugin:form_rules plugin:instants
# defines: conditions_of verdict Shown Needed rules

_Conditions = Mapping[str, Comparisons]


def conditions_of(field: Field, key: str) -> _Conditions:
    """show_if or required_if of a field; a parameter of a view has none."""
    return cast(_Conditions, getattr(field.config, key, {}))


def verdict(conditions: _Conditions, form_fields: Mapping[str, Field], filled: Filled) -> bool | None:
    """Whether all conditions hold; None if that depends on a field with a fault."""
    open_ = False
    for name, comparisons in conditions.items():
        if name in filled.unknown:
            open_ = True
            continue
        value = None if name in filled.hidden else filled.value.get(name)
        field, zone, now = form_fields[name], filled.form.rules.zone, filled.scope.now
        if not all(holds(field, op, one, value, zone, now) for op, one in comparisons):
            return False
    return None if open_ else True


class Shown(Rule):
    """show_if of one field: whether it is asked for at all."""

    def __init__(self, form: Form, field: Field) -> None:
        self.field, self.fields = field, dict(form.fields)
        self.conditions = conditions_of(field, "show_if")
        self.sets, self.reads, self.place = field.name, tuple(self.conditions), f"{field.place}.show_if"

    def apply(self, filled: Filled) -> Iterator[Fault]:
        name, is_shown = self.sets, verdict(self.conditions, self.fields, filled)
        if is_shown is None:
            filled.unknown.add(name)
            return
        concerned = filled.concerns(name, *self.reads)
        if not is_shown:
            filled.hidden.add(name)
            filled.unknown.discard(name)
            if concerned:
                yield from self._hide(filled)
        elif concerned and name not in filled.unknown and filled.value.get(name) is None:
            yield from self._ask(filled)

    def _hide(self, filled: Filled) -> Iterator[Fault]:
        """Take its value away; what was sent for it is refused."""
        name = self.sets
        filled.value.pop(name, None)
        if filled.was_sent(name):
            form = filled.form
            names = (
                " and ".join(one for one in self.reads if one in form.fields and one not in form.hidden) or "other fields"
            )
            detail = f"must be left out: it is asked for only with other values of {names}"
            yield Fault(filled.at(name), "hidden", detail)

    def _ask(self, filled: Filled) -> Iterator[Fault]:
        """Give it the value that is made for new records; without one it may be missing."""
        name = self.sets
        if self.field.fill and filled.stored is None and name not in filled.data:
            made = plugin("field_defaults").values(filled.form, filled.scope).get(name)
            if made is not None:
                filled.value[name] = made
                return
        if self.field.config.required and name in filled.form.fields:
            yield from self.field.missing(filled.at(name))


class Needed(Rule):
    """required_if of one field: whether it must be given."""

    def __init__(self, form: Form, field: Field) -> None:
        self.field, self.fields = field, dict(form.fields)
        self.conditions = conditions_of(field, "required_if")
        self.reads, self.place = tuple(self.conditions), f"{field.place}.required_if"

    def apply(self, filled: Filled) -> Iterable[Fault]:
        name, config = self.field.name, self.field.config
        if name in filled.hidden or name in filled.unknown or filled.value.get(name) is not None or config.required:
            return ()
        if name not in filled.form.fields or not filled.concerns(name, *self.reads):
            return ()
        return self.field.missing(filled.at(name)) if self.holds(filled) else ()

    def holds(self, filled: Filled) -> bool:
        """Whether the others are as its conditions say."""
        return bool(verdict(self.conditions, self.fields, filled))


def rules(form: Form, wrong: list[Fault]) -> list[Rule]:
    """The conditions of a form's fields."""
    found: list[Rule] = []
    for one in form.fields.values():
        for key, kind in (("show_if", Shown), ("required_if", Needed)):
            conditions = conditions_of(one, key)
            faults = [*_faults(form, one, conditions, f"{one.place}.{key}")]
            wrong += faults
            if conditions and not faults:
                found.append(kind(form, one))
    return found


def _faults(form: Form, field: Field, conditions: _Conditions, place: str) -> Iterator[Fault]:
    declared = {one.name for one in form.config.fields}
    for name, comparisons in conditions.items():
        at = f"{place}.{name}"
        if name == field.name:
            yield Fault(at, "configuration", "names the field itself: name another one")
        elif name not in form.fields and name not in declared:
            others = [one for one in form.fields if one != field.name]
            yield Fault(at, "configuration", f"names {name!r}, which is no field of this form{nearest(name, others)}")
        elif name in form.fields:
            for op, operand in comparisons:
                if detail := operand_fault(form.fields[name], op, operand):
                    yield Fault(at, "configuration", detail)
