"""The rules of a form that look at whole records: at every door, for new records and for changed ones."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from app import Fault, Form, Scope, Upload, Value, member_pointer, plugin, same_json

# ==== 1. RULES ===================================================================================================
# A plugin adds a kind of rule by a function rules(form, wrong) that returns those of a form and puts faults of their
# declaration into `wrong`; its name stands in _KINDS. Rules that decide what a field holds come first, each after those
# that decide what it reads, and then those that only judge.
# uses: ERRORS VALUES CONTRACTS RESOURCES plugin:conditions plugin:form_layout
# defines: Rule Filled FormRules in_order

# Plugins; of two rules that decide the same field the earlier one does so first.
_KINDS = ("sums", "conditions", "form_checks", "options")


class Rule:
    """One rule about the records of a form, made once from its declaration."""

    place = ""  # in app.toml
    sets = ""  # the field whose value it decides; "" if it only judges
    reads: Collection[str] = ()  # other fields that it looks at

    def apply(self, filled: Filled) -> Iterable[Fault]:
        """What is wrong with a record. A rule with `sets` may put a value there, or take it away."""
        raise NotImplementedError


@dataclass
class Filled:
    """A record as it is to be stored, while the rules look at it.

    `value` has the values without faults, in their stored form; empty fields are left out. `data` is what was sent: values,
    or lists of texts and Uploads if it is not `typed`. `stored` has the fields of the record before, and is None for a new
    one: then every field counts as changed.
    """

    form: Form
    scope: Scope
    data: Value
    typed: bool
    value: Value
    stored: Value | None
    pointer: str
    faults: list[Fault]
    hidden: set[str] = field(default_factory=set)  # fields that are not asked for: they count as empty
    unknown: set[str] = field(default_factory=set)  # fields of which that cannot be said

    def __post_init__(self) -> None:
        """A field with a wrong value has its fault already: nothing more is said of it, nor of what depends on it. One that
        is missing is empty."""
        wrong = [self.name_of(one) for one in self.faults if one.code != "required"]
        self.unknown |= {name for name in wrong if name in self.form.fields}

    def name_of(self, fault: Fault) -> str:
        """The field that a fault of this record is about; "" for the record."""
        return fault.pointer[len(self.pointer) :].partition("/")[2].partition("/")[0]

    def at(self, name: str) -> str:
        """The pointer of a field."""
        return str(member_pointer(self.pointer, name))

    def was_sent(self, name: str) -> bool:
        """Whether something was sent for a field; an empty control or null is nothing, and neither is a default that stood
        in a page and was left there."""
        sent = self.data.get(name)
        if self.typed or not isinstance(sent, list):
            return sent is not None
        if "_asked" in self.data and plugin("form_layout").is_untouched(self.form, name, sent):
            return False
        return any(one.name if isinstance(one, Upload) else str(one).strip() for one in sent)

    def concerns(self, *names: str) -> bool:
        """Whether one of these fields changes. What was stored under other rules stays as it is until it does."""
        before = self.stored
        return before is None or any(not same_json(self.value.get(name), before.get(name)) for name in names)


class FormRules:
    """The rules of one form, in the order in which they are asked."""

    def __init__(self, form: Form, wrong: list[Fault]) -> None:
        """`wrong` gets the faults of what is declared."""
        self.zone = form.locale.zone  # of the site: rules hold for everybody alike
        found = [rule for kind in _KINDS for rule in plugin(kind).rules(form, wrong)]
        self.rules = [*in_order([one for one in found if one.sets], wrong), *(one for one in found if not one.sets)]
        self.conditional: Mapping[str, Rule] = {  # by field: what says whether it is asked for
            one.sets: one for one in self.rules if isinstance(one, plugin("conditions").Shown)
        }
        self.needed = {one.field.name: one for one in self.rules if isinstance(one, plugin("conditions").Needed)}
        self._places = {name: number for number, name in enumerate(form.fields)}

    def judge(self, filled: Filled) -> list[Fault]:
        """All faults of a record, in the order of its fields; its value becomes what the rules make of it."""
        found = [fault for rule in self.rules for fault in rule.apply(filled)]
        if not filled.typed and self.conditional:
            wrong = {filled.name_of(one) for one in found} | filled.unknown
            shown = [name for name in self.conditional if name not in filled.hidden]
            found += plugin("form_layout").faults(filled.form, filled.data, shown, wrong)
        own = [one for one in filled.faults if filled.name_of(one) not in filled.hidden]
        return sorted([*own, *found], key=lambda one: self._places.get(filled.name_of(one), -1))

    def shown(
        self, form: Form, scope: Scope, value: Value, unknown: Collection[str]
    ) -> tuple[Collection[str], Collection[str]]:
        """The fields that a record with these values does not ask for, and those that it must have because of others;
        `unknown` are fields whose values have faults."""
        filled = Filled(form, scope, dict.fromkeys(form.fields), True, value, None, "", [], unknown=set(unknown))
        for rule in self.rules:
            if rule.sets:
                list(rule.apply(filled))
        return filled.hidden, [name for name, one in self.needed.items() if one.holds(filled)]


def in_order(rules: Sequence[Rule], wrong: list[Fault]) -> list[Rule]:
    """Rules that decide fields, each behind those that decide what it reads; one fault for each circle among them."""
    by_field: dict[str, list[Rule]] = {}
    for one in rules:
        by_field.setdefault(one.sets, []).append(one)
    done: dict[str, list[Rule]] = {}

    def visit(name: str, path: tuple[str, ...]) -> Iterator[Rule]:
        if name in path:
            circle = (*path[path.index(name) :], name)
            first = by_field[name][-1]
            if not any(fault.pointer == first.place for fault in wrong):
                detail = f"goes in a circle: {' needs '.join(circle)}; take one of them out"
                wrong.append(Fault(first.place, "configuration", detail))
        elif name in by_field and name not in done:
            done[name] = by_field[name]
            for rule in by_field[name]:
                for read in rule.reads:
                    yield from visit(read, (*path, name))
            yield from by_field[name]

    return [rule for name in by_field for rule in visit(name, ())]
