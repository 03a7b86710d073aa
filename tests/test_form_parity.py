"""250 random declarations of forms, each with random values: the doors of a form agree on every fault and on what is stored,
and both agree with a model of the rules that is told here once more, in a few lines.

Another door is one more function in CREATES, which makes a record of the values that were given by field.
"""

from __future__ import annotations

import csv
import io
import json
import random
import tomllib
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from schema_judge import keeps_to
from sites import PROVIDERS, REGISTRY

import app
from app import Action, Caller, Record, Request, Scope

DECLARATIONS, EACH = 250, 4
WORDS, NUMBERS, DAYS = ["ant", "bee", "cat"], [-2, 0, 0.5, 3, 10], ["2026-01-31", "2026-02-01", "2027-01-01"]
MOMENTS = ["2026-02-01T00:00:00Z", "2026-02-01T01:00:00+01:00", "2026-02-01T01:00:00.5Z", "2027-01-01T12:00:00-05:00"]
VALUES: dict[str, list[Any]] = {
    "choice": [*WORDS, "elk"],
    "set": [["ant"], ["bee", "cat"], ["ant", "bee", "cat"]],
    "text": ["a", "ab", "b" * 9],
    "number": NUMBERS,
    "integer": [-2, 0, 3, 10, 99],
    "flag": [True, False],
    "box": [True],
    "day": DAYS,
    "moment": MOMENTS,
    "lines": [
        [{"what": "a"}],
        [{"what": "b", "amount": 0.1, "kind": "bee"}, {"what": "c", "amount": 0.2}],
        [{"what": "a"}] * 3,
        [{"amount": 1}],
        [{"what": "abcdef", "kind": "elk"}, {"what": "b"}],
        [{"what": "a"}] * 4,
    ],
}  # fmt: skip (of a box that is not ticked a page sends nothing)
SETTINGS: dict[str, dict[str, Any]] = {
    "choice": {"enum": WORDS}, "set": {"type": "array", "items": {"enum": WORDS}}, "text": {"maxLength": 8},
    "number": {"type": "number"}, "integer": {"type": "integer", "maximum": 50}, "flag": {"type": "boolean"},
    "box": {"type": "boolean", "default": False}, "day": {"format": "date"}, "moment": {"format": "date-time"},
    "lines": {"type": "array", "maxItems": 3, "fields": {
        "what": {"required": True, "maxLength": 4}, "amount": {"type": "number"}, "kind": {"enum": WORDS, "default": "ant"},
    }},
}  # fmt: skip
OPERATORS = {
    "choice": ["eq", "ne", "in", "null"], "set": ["eq", "ne", "in", "contains", "null"],
    "text": ["eq", "ne", "prefix", "contains", "lt", "null"], "number": ["eq", "ne", "lt", "lte", "gt", "gte", "in", "null"],
    "integer": ["eq", "gte", "in", "null"], "flag": ["eq", "ne", "null"], "box": ["eq", "ne"],
    "day": ["eq", "lt", "gte", "in", "null"], "moment": ["eq", "lte", "gt", "null"], "lines": ["null"],
}  # fmt: skip


class Declared(NamedTuple):
    """A form: its settings, and the kind of each field."""

    settings: dict[str, Any]
    kinds: dict[str, str]


def declared(dice: random.Random) -> Declared:
    kinds = {f"f{number}": dice.choice(list(VALUES)) for number in range(dice.randint(2, 7))}
    fields: dict[str, dict[str, Any]] = {}
    for name, kind in kinds.items():
        fields[name] = dict(SETTINGS[kind])
        if kind not in ("flag", "box") and dice.random() < 0.3:
            fields[name]["required"] = True
        if kind not in ("set", "flag", "box", "lines") and dice.random() < 0.25:
            fields[name]["default"] = VALUES[kind][0]
        before = [other for other in kinds if other < name]  # so that there is no circle
        for key, odds in (("show_if", 0.5), ("required_if", 0.3)):
            if before and dice.random() < odds:
                fields[name][key] = {one: condition(dice, kinds[one]) for one in dice.sample(before, min(len(before), 2))}
    names = list(kinds)
    dice.shuffle(names)  # a condition may look at fields that stand behind its own
    checks = [check(dice, *pair) for pair in pairs(kinds) if dice.random() < 0.5]
    for name in [name for name, kind in kinds.items() if kind == "lines"]:
        fields[f"{name}_sum"] = {"type": "number", "sum": f"{name}.amount"}
        names.append(f"{name}_sum")
    return Declared({"checks": checks[:3], "fields": {name: fields[name] for name in names}}, kinds)


def condition(dice: random.Random, kind: str) -> Any:
    op = dice.choice(OPERATORS[kind])
    values = WORDS if kind in ("choice", "set") else VALUES[kind]
    operand = {"null": dice.choice([True, False]), "in": values[:2]}.get(op, dice.choice(values))
    if op in ("eq", "in") and dice.random() < 0.5:
        return operand
    return {op: operand}


def pairs(kinds: dict[str, str]) -> list[tuple[str, str]]:
    """Fields that a check may compare."""
    like = {"integer": "number", "choice": "text", "moment": "day"}
    found = [(one, other) for one in kinds for other in kinds if one < other]
    same = [(a, b) for a, b in found if like.get(kinds[a], kinds[a]) == like.get(kinds[b], kinds[b])]
    return [(a, b) for a, b in same if kinds[a] not in ("set", "flag", "box", "lines")]


def check(dice: random.Random, left: str, right: str) -> dict[str, Any]:
    return {"left": left, "op": dice.choice(["eq", "ne", "lt", "lte", "gt", "gte"]), "right": right}


def values(dice: random.Random, kinds: dict[str, str]) -> dict[str, Any]:
    return {name: dice.choice(VALUES[kind]) for name, kind in kinds.items() if dice.random() < 0.6}


# ---- doors


class Outcome(NamedTuple):
    faults: list[tuple[str, str]]
    stored: dict[str, Any]


def outcome(work: Callable[[], app.Plan], before: dict[str, Any] | None = None) -> Outcome:
    """What is wrong, or what would be stored."""
    try:
        plan = work()
    except app.Invalid as error:
        return Outcome(sorted((one.pointer, one.code) for one in error.faults), {})
    if not plan.changes:
        return Outcome([], before or {})
    value: Any = plan.changes[0].write.value  # type: ignore[union-attr]
    return Outcome([], {name: one for name, one in value.items() if name not in app.RESERVED_FIELDS})


def scope() -> Scope:
    return Scope(Caller("ann"), 1_800_000_000.0, lambda n: [f"id{number}" for number in range(n)], None)  # type: ignore[arg-type]


def request(data: Any, action: Action, **facts: Any) -> Request:
    return Request("r", action, "forms/f", data=data, **facts)


def texts(form: Any, name: str, value: Any) -> list[Any]:
    """A value as the control of a field sends it."""
    if form.fields[name].inner:
        return rows_of(form, name, value or [])
    if isinstance(value, bool):
        return ["true"] if value else ["false"] if form.fields[name].is_open else []
    if form.fields[name].config.format == "date-time":
        return [value]  # to the last digit
    return (
        [str(one) for one in value]
        if isinstance(value, list)
        else [form.locale.write_number(value) if not isinstance(value, str) else value]
    )


def rows_of(form: Any, name: str, lines: list[Any]) -> list[Any]:
    """Lines as a page sends them, with the defaults that stand in their controls."""
    found, write = [], lambda one: [one if isinstance(one, str) else form.locale.write_number(one)]
    for key, line in enumerate(lines):
        held = {one.name: line.get(one.name, one.default) for one in form.fields[name].inner}
        found.append(app.plugin("lines").Row(str(key), {n: [""] if one is None else write(one) for n, one in held.items()}))
    return found


def pointed(form: Any, sent: dict[str, Any]) -> dict[str, Any]:
    """The same with the names of controls of lines."""
    found = {name: one for name, one in sent.items() if name.startswith("_") or not form.fields[name].inner}
    rows = {name: one for name, one in sent.items() if name not in found}
    if rows:
        found["_lines"] = [f"{name}.{row.key}" for name, one in rows.items() for row in one if row]
    return found | {
        f"{name}.{row.key}.{inner}": typed
        for name, one in rows.items()
        for row in one
        if row
        for inner, typed in row.texts.items()
    }


def by_json(form: Any, given: dict[str, Any]) -> Outcome:
    return outcome(lambda: form.create(request(dict(given), Action.CREATE), scope()))


def by_message(form: Any, given: dict[str, Any]) -> Outcome:
    return outcome(lambda: form.create(request(dict(given), Action.CREATE, door="sqs"), scope()))


def by_batch(form: Any, given: dict[str, Any]) -> Outcome:
    found = outcome(lambda: form.create(request([dict(given)], Action.CREATE), scope()))
    return found._replace(faults=sorted((pointer.removeprefix("/0"), code) for pointer, code in found.faults))


def by_page(form: Any, given: dict[str, Any]) -> Outcome:
    """A page without scripts: defaults stand in its controls, and it is sent once all that is asked for was shown."""
    data = {name: texts(form, name, value) for name, value in given.items()}
    shown = set[str]()
    for _ in form.fields:  # each time the button is pressed that brings the page back
        filled = {name: texts(form, name, one.default) for name, one in form.fields.items() if one.default is not None}
        held = {name: read for name, one in (filled | data).items() if (read := read_by(form, name, one)) is not None}
        valid = {name: one for name, one in held.items() if not form.fields[name].faults(one, "")}
        concealed = form.rules.shown(form, scope(), dict(valid), held.keys() - valid.keys())[0] if form.rules else ()
        shown = {name for name in form.fields if name not in concealed}
    sent: dict[str, Any] = {name: one for name, one in filled.items() if name in shown} | data
    if not any(filled.get(name) == one for name, one in data.items()):  # else it would be a default that was left there
        sent["_asked"] = ["", *sorted(shown)]
    return outcome(lambda: form.create(request(pointed(form, sent), Action.CREATE, typed=False), scope()))


def updated(form: Any, asked: Request, stored: dict[str, Any]) -> Outcome:
    """What an update of a record would store."""
    return outcome(lambda: app._Writing(form, asked, scope()).update(Record("k", 1, stored)), stored)


def read_by(form: Any, name: str, sent: list[str]) -> Any:
    one = form.fields[name]
    return one.normal(one.read(sent, form.locale) if one.inner else form.locale.read(one, sent))


def by_csv(form: Any, given: dict[str, Any]) -> Outcome:
    """A row of CSV as a program writes it."""
    text = io.StringIO()
    cells = [one if isinstance(one, str) else json.dumps(one) for one in given.values()]
    csv.writer(text).writerows([list(given), cells])
    sheet = app.plugin("sheets").open_sheet(io.BytesIO(text.getvalue().encode()), app.plugin("sheets").Layout())
    rows = list(sheet.rows()) if given else [(1, []), (2, [])]
    return imported(form, rows[0][1], rows[1][1], for_people=False)


def by_workbook(form: Any, given: dict[str, Any]) -> Outcome:
    """A row of a workbook as a person fills it in: numbers and yes or no have cells of their own kind."""
    cells = [
        "; ".join(one)
        if isinstance(one, list) and not form.fields[name].inner
        else json.dumps(one)
        if isinstance(one, list)
        else one
        for name, one in given.items()
    ]
    return imported(form, list(given), cells, for_people=True)


def imported(form: Any, headings: list[Any], cells: list[Any], *, for_people: bool) -> Outcome:
    """What a row of a spreadsheet comes to."""
    form_import, values = app.plugin("form_import"), app.plugin("cell_values")
    columns = form_import.Columns(form, headings, (), 1)
    assert not columns.faults
    item = values.Reading(form, columns.names, for_people).item(cells)
    rows = form_import.Rows([item], [2], "", False)
    found = outcome(lambda: form_import.batch_plan(form, request(rows, Action.CREATE), scope(), rows))
    return found._replace(faults=sorted((pointer.removeprefix("/0"), code) for pointer, code in found.faults))


CREATES: dict[str, Callable[[Any, dict[str, Any]], Outcome]] = {
    "message": by_message, "batch": by_batch, "page": by_page, "csv": by_csv, "workbook": by_workbook,
}  # fmt: skip


# ---- the model


def compares(kind: str, op: str, value: Any, operand: Any) -> bool:
    if op == "null":
        return (value is None) == operand
    if kind == "set":
        wanted = operand if isinstance(operand, list) else [operand]
        return bool(set(value or []) & set(wanted)) == (op != "ne")
    if value is None:
        return op == "ne"
    key = app.plugin("instants").instant_key if kind == "moment" else lambda one: one
    if op == "in":
        return any(key(one) == key(value) for one in operand)
    one, other = key(value), key(operand)
    return {
        "eq": lambda: one == other, "ne": lambda: one != other, "lt": lambda: one < other, "lte": lambda: one <= other,
        "gt": lambda: one > other, "gte": lambda: one >= other, "prefix": lambda: one.startswith(other),
        "contains": lambda: other in one,
    }[op]()  # fmt: skip


def holds(form: Declared, conditions: dict[str, Any], record: dict[str, Any]) -> bool:
    for name, said in conditions.items():
        value = record.get(name) if is_shown(form, name, record) else None
        for op, operand in (said if isinstance(said, dict) else {"in" if isinstance(said, list) else "eq": said}).items():
            if not compares(form.kinds[name], op, value, operand):
                return False
    return True


def is_shown(form: Declared, name: str, record: dict[str, Any]) -> bool:
    return holds(form, form.settings["fields"][name].get("show_if", {}), record)


def expected(form: Declared, given: dict[str, Any]) -> set[tuple[str, str]]:
    """The faults that the rules find in a record whose fields have none of their own."""
    fields, found = form.settings["fields"], set[tuple[str, str]]()
    record = {name: one["default"] for name, one in fields.items() if "default" in one} | given
    for name, one in fields.items():
        if not is_shown(form, name, record):
            found |= {(f"/{name}", "hidden")} if name in given else set()
        elif record.get(name) is None and (
            one.get("required") or ("required_if" in one and holds(form, one["required_if"], record))
        ):
            found.add((f"/{name}", "required"))
    for one in form.settings["checks"]:
        left, right = (record.get(n) if is_shown(form, n, record) else None for n in (one["left"], one["right"]))
        kinds = [form.kinds[one["left"]], form.kinds[one["right"]]]
        if left is not None and right is not None and not holds_between(kinds, one["op"], left, right):
            found.add((f"/{one['left']}", "check"))
    return found


def holds_between(kinds: list[str], op: str, left: Any, right: Any) -> bool:
    if sorted(kinds) == ["day", "moment"]:
        moment = left if kinds[0] == "moment" else right
        day = app.datetime.fromisoformat(moment).astimezone(app.UTC).date().isoformat()
        left, right = (day, right) if kinds[0] == "moment" else (left, day)
        return compares("day", op, left, right)
    return compares(kinds[0], op, left, right)


# ---- tests


@pytest.fixture(scope="module")
def forms(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """(declaration, form) of each."""
    made = [declared(random.Random(f"form {seed}")) for seed in range(DECLARATIONS)]

    def toml(value: Any) -> str:
        if isinstance(value, dict):
            return "{ " + ", ".join(f"{name} = {toml(one)}" for name, one in value.items()) + " }"
        return "[" + ", ".join(map(toml, value)) + "]" if isinstance(value, list) else json.dumps(value)

    lines = [PROVIDERS["sql"]]
    for number, one in enumerate(made):
        lines.append(f"[forms.f{number}]\nchecks = {toml(one.settings['checks'])}\n[forms.f{number}.fields]")
        lines += [f"{name} = {toml(field)}" for name, field in one.settings["fields"].items()]
    raw = tomllib.loads("\n".join(lines), parse_float=app.exact_number)
    kinds = REGISTRY.provider_settings
    config = app.read_config(raw, tmp_path_factory.mktemp("parity"), "app.toml", kinds, REGISTRY.tables)
    resources = app.App(config, REGISTRY).resources  # nothing is opened: what would be stored is looked at
    return [(one, resources[f"forms/f{number}"]) for number, one in enumerate(made)]


def test_every_door_finds_the_same_faults_and_stores_the_same(forms: Any) -> None:
    refused = hidden = 0
    for number, (form, made) in enumerate(forms):
        dice = random.Random(f"values {number}")
        for _ in range(EACH):
            given = values(dice, form.kinds)
            found = by_json(made, given)
            codes = ("enum", "maxLength", "maximum", "type", "maxItems")
            own = {pointer for pointer, code in found.faults if code in codes or pointer.count("/") > 1}
            if not own:
                assert set(found.faults) == expected(form, given), (number, given)
            if not found.faults:
                for name, one in form.settings["fields"].items():
                    if "sum" in one:
                        lines = found.stored.get(one["sum"].partition(".")[0], [])
                        assert found.stored[name] == float(f"{sum(line.get('amount', 0) for line in lines):.3f}")
                filled = {
                    name: one["default"]
                    for name, one in form.settings["fields"].items()
                    if one.get("required") and "default" in one
                }
                usual = {name: one["default"] for name, one in form.settings["fields"].items() if "default" in one}
                shown = {name: one for name, one in filled.items() if is_shown(form, name, usual | given)}
                assert keeps_to(made.schema(), shown | given), (number, given)
            for door, create in CREATES.items():
                assert create(made, given) == found, (number, door, given)
            refused += bool(found.faults)
            hidden += any(code == "hidden" for _, code in found.faults)
    assert 0.2 < refused / (DECLARATIONS * EACH) < 0.9, "what is tried should be good and bad"
    assert hidden > DECLARATIONS / 5


def test_an_edit_in_a_page_and_a_patch_find_the_same_faults_and_store_the_same(forms: Any) -> None:
    controls = app.plugin("controls")
    changed = 0
    for number, (form, made) in enumerate(forms):
        dice = random.Random(f"edits {number}")
        stored = next((one.stored for _ in range(8) if not (one := by_json(made, values(dice, form.kinds))).faults), None)
        if stored is None:
            continue
        for _ in range(2):
            news = {name: dice.choice([None, *VALUES[kind]]) for name, kind in form.kinds.items() if dice.random() < 0.3}
            ticked = {name for name, one in made.fields.items() if one.config.type == "boolean" and not one.is_open}
            news = {name: one for name, one in news.items() if one is not None or name not in ticked}
            patch = request(dict(news), Action.UPDATE, partial=True)
            found = updated(made, patch, stored)
            concealed = made.rules.shown(made, scope(), dict(stored), ())[0] if made.rules else ()
            inputs = [one for one in controls.inputs(made, stored) if one.name not in concealed]
            later = {name: one for name, one in (stored | news).items() if one is not None}
            gone = made.rules.shown(made, scope(), later, ())[0] if made.rules else ()
            sent: dict[str, Any] = {
                one.name: texts(made, one.name, stored.get(one.name)) if made.fields[one.name].inner else list(one.texts)
                for one in inputs
                if one.name not in gone
            }
            sent |= {name: texts(made, name, one) if one is not None else [""] for name, one in news.items()}
            sent["_shown"] = [controls.marks(made, inputs)]
            edit = request(pointed(made, sent), Action.UPDATE, typed=False)
            assert updated(made, edit, stored) == found, (
                number,
                stored,
                news,
            )  # type: ignore[misc]
            changed += not found.faults and found.stored != stored
    assert changed > DECLARATIONS / 4
