"""What must hold between the fields of a record: the checks of a form."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from app import Fault, Form, Value, nearest, plugin

if TYPE_CHECKING:
    from plugins import conditions, form_rules
    from plugins.fields import Field
    from plugins.form_rules import Filled, Rule
else:
    conditions, form_rules = plugin("conditions"), plugin("form_rules")
    Rule, Filled = form_rules.Rule, form_rules.Filled

# ==== 1. CHECKS ==================================================================================================
# A check of which one side is empty does not apply. Its fault is about the field on the left.
# uses: ERRORS VALUES CONFIG RESOURCES plugin:conditions plugin:fields plugin:form_rules
# defines: Check rules

_WORDS = {
    "eq": "must be the same as {}", "ne": "must differ from {}", "lt": "must be less than {}", "lte": "must be at most {}",
    "gt": "must be more than {}", "gte": "must be at least {}", "in": "must be one of {}", "contains": "must contain {}",
    "prefix": "must begin with {}",
}  # fmt: skip
_OF_TIMES = {
    "lt": "must be before {}", "lte": "must not be after {}", "gt": "must be after {}", "gte": "must not be before {}"
}  # fmt: skip
_TIMES = ("date", "date-time", "time")
_MADE = {"$today": "today", "$now": "now"}


class Check(Rule):
    """One check: the field on the left with another field, or with a constant."""

    def __init__(self, form: Form, declared: Value, place: str) -> None:
        self.op, self.operand, self.place = declared["op"], declared.get("value"), place
        self.left, self.right = form.fields[declared["left"]], form.fields.get(declared.get("right") or "")
        self.kind = conditions.kind_of(self.left)
        self.reads = (self.left.name, *([self.right.name] if self.right else []))
        self.words = declared.get("message") or self._own_words()

    def _own_words(self) -> str:
        words = (_OF_TIMES if self.kind in _TIMES else {}).get(self.op) or _WORDS[self.op]
        if self.right:
            return words.format(self.right.title)
        items = self.operand if isinstance(self.operand, list) else [self.operand]
        return words.format(", ".join(_MADE.get(str(one), str(one)) for one in items))

    def apply(self, filled: Filled) -> Iterable[Fault]:
        if not filled.unknown.isdisjoint(self.reads) or not filled.concerns(*self.reads):
            return ()
        if any(filled.value.get(name) is None for name in self.reads) or self._holds(filled):
            return ()
        return [Fault(filled.at(self.left.name), "check", self.words)]

    def _holds(self, filled: Filled) -> bool:
        value, zone = filled.value[self.left.name], filled.form.rules.zone
        if self.right is None:
            return bool(conditions.holds(self.left, self.op, self.operand, value, zone, filled.scope.now))
        kinds = self.kind, conditions.kind_of(self.right)
        as_day = "date" in kinds
        one, other = (
            conditions.key_of(kind, each, zone, as_day=as_day)
            for kind, each in zip(kinds, (value, filled.value[self.right.name]), strict=True)
        )
        return one is None or other is None or bool(conditions.compare(self.op, one, other))


def rules(form: Form, wrong: list[Fault]) -> list[Rule]:
    """The checks of a form."""
    found: list[Rule] = []
    for number, declared in enumerate(form.config.checks):
        place = f"forms.{form.name}.checks.{number}"
        faults = list(_faults(form, declared, place))
        wrong += faults
        if not faults and all(declared.get(side, declared["left"]) in form.fields for side in ("left", "right")):
            found.append(Check(form, declared, place))
    return found


def _faults(form: Form, declared: Value, place: str) -> Iterator[Fault]:
    known = {one.name for one in form.config.fields} | set(form.fields)
    sides = [side for side in ("left", "right") if side in declared]
    for side in sides:
        if declared[side] not in known:
            detail = f"names {declared[side]!r}, which is no field of this form{nearest(declared[side], known)}"
            yield Fault(f"{place}.{side}", "configuration", detail)
    found = [one for side in sides if (one := form.fields.get(declared[side]))]
    if len(found) < len(sides):
        return
    if len(found) == 2 and (detail := _pair_fault(found[0], found[1], declared["op"])):
        yield Fault(f"{place}.right", "configuration", detail)
    elif len(found) == 1 and (detail := conditions.operand_fault(found[0], declared["op"], declared["value"])):
        yield Fault(f"{place}.value", "configuration", detail)


def _pair_fault(left: Field, right: Field, op: str) -> str:
    """Why two fields do not compare; "" if they do."""
    if left.name == right.name:
        return "is the field on the left: name another one"
    one, other = conditions.kind_of(left), conditions.kind_of(right)
    kinds = {one, other}
    if kinds & {"array", "whole"}:
        return "compares a list or a file: a check compares single values"
    if len(kinds) > 1 and kinds != {"date", "date-time"}:
        return f"is not of the same kind as {left.name}: one is a {one}, the other a {other}"
    if kinds == {"boolean"} and op not in ("eq", "ne"):
        return f"{op} does not go with booleans: write eq or ne"
    return ""
