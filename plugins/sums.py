"""Numbers of a record that are summed over its lines: sum = "lines.amount"."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Context, Decimal
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from app import Fault, Form, Json, Value, exact_number, nearest, plugin

if TYPE_CHECKING:
    from plugins import form_rules
    from plugins.fields import Field
    from plugins.form_rules import Filled, Rule
else:
    form_rules = plugin("form_rules")
    Rule, Filled = form_rules.Rule, form_rules.Filled

# ==== 1. SUMS ====================================================================================================
# A sum is made here, exactly, whenever its lines change; no body may have it.
# uses: ERRORS VALUES CONFIG RESOURCES plugin:fields plugin:form_rules
# defines: Sum total put_sums rules totals

_EXACT = Context(prec=2000)  # digits, of which a number has at most 400 before the point and as many behind it


class Sum(Rule):
    """One field that is the sum of a field of lines."""

    def __init__(self, form: Form, name: str) -> None:
        self.field, self.sets = form.fields[name], name
        self.lines, _, self.inner = _sum(self.field).partition(".")
        self.reads, self.place = (self.lines,), f"{self.field.place}.sum"

    def apply(self, filled: Filled) -> Iterable[Fault]:
        if self.lines in filled.unknown:
            filled.unknown.add(self.sets)
        elif filled.concerns(self.lines) or self._is_new(filled):
            filled.value[self.sets] = found = total(filled.value.get(self.lines), self.inner)
            return self.field.faults(found, filled.at(self.sets))
        return ()

    def _is_new(self, filled: Filled) -> bool:
        """Whether it may be asked for only now, and has no value yet; whether it is, plugins/conditions.py says next."""
        return self.sets in filled.form.rules.conditional and filled.value.get(self.sets) is None


def _sum(field: Field) -> str:
    """What a field is the sum of; "" if it is typed."""
    return str(getattr(field.config, "sum", ""))


def total(lines: Json, name: str) -> Json:
    """The sum of a field of lines; one that is missing counts as nothing."""
    found = Decimal(0)
    for line in lines if isinstance(lines, list) else ():
        number = line.get(name) if isinstance(line, dict) else None
        if isinstance(number, int | float | Decimal) and not isinstance(number, bool):
            found = _EXACT.add(found, Decimal(repr(number)) if isinstance(number, float) else Decimal(number))
    return int(found) if found == found.to_integral_value() else exact_number(f"{found:f}")


def put_sums(form: Form, value: Value) -> None:
    """Puts the sums over what a page shows into the value of its record."""
    for name, one in form.fields.items():
        if summed := _sum(one):
            value[name] = total(value.get(summed.partition(".")[0]), summed.partition(".")[2])


def rules(form: Form, wrong: list[Fault]) -> list[Rule]:
    """The sums of a form."""
    found: list[Rule] = []
    for name, one in form.fields.items():
        if not _sum(one):
            continue
        fault = _fault(form, name)
        if fault:
            wrong.append(Fault(f"{one.place}.{fault[0]}", "configuration", fault[1]))
        else:
            found.append(Sum(form, name))
    return found


def _fault(form: Form, name: str) -> tuple[str, str] | None:
    """(setting, what is wrong with it) of a field with `sum`."""
    one = form.fields[name]
    lines, _, inner = _sum(one).partition(".")
    field = form.fields.get(lines)
    known = {each.name: each for each in field.inner} if field else {}
    if not known:
        fields = [each for each, found in form.fields.items() if found.inner]
        return "sum", f'must be "FIELD.NAME": {lines!r} is not a field of lines{nearest(lines, fields)}'
    if inner not in known:
        return "sum", f"names {inner!r}, which is not a field of {lines}{nearest(inner, known)}"
    if known[inner].config.type not in ("number", "integer") or one.config.type not in ("number", "integer"):
        return "sum", "adds up numbers: both fields must be of type number or integer"
    if one.config.type == "integer" and known[inner].config.type == "number":
        return "type", f"must be number, as that of {_sum(one)} is"
    asked = (one.config.required, one.config.default is not None, one.choices)
    if any((*asked, *vars(one.config).get("required_if", ()))):
        return "sum", "is computed: take out required, default, choices and required_if"
    return None


def totals(form: Form, field: Any, rows: Sequence[Any], wrong: Mapping[str, str]) -> list[SimpleNamespace]:
    """What a page shows below the lines of a field: of each sum over them its title, what it is so far, and what is wrong
    with it. "" stands for a sum where a number cannot be read."""
    found = []
    for one in form.fields.values():
        lines, _, inner = _sum(one).partition(".")
        if lines == field.name:
            summed = next(each for each in field.inner if each.name == inner)
            read = [form.locale.read(summed, row.texts.get(inner, ())) for row in rows]
            bad = any(isinstance(number, str) for number in read)
            text = "" if bad else form.locale.write_number(total([{inner: number} for number in read], inner))
            mark = form.locale.write_number(0.5)[1:2]
            facts = {"name": inner, "title": one.title, "text": text, "mark": mark, "error": wrong.get(one.name, "")}
            found.append(SimpleNamespace(id=f"f-{one.name}", **facts))
    return found
