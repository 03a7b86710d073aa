"""The fields of a form as a page has them: in sections, with what scripts need to show and hide them by themselves."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from app import Fault, Form, Json, Value, dump_json, plugin

if TYPE_CHECKING:
    from plugins.controls import Input
    from plugins.fields import Field

# ==== 1. LAYOUT ==================================================================================================
# A page has every field. Those that are not asked for are hidden and disabled, so that they are not sent: scripts show them
# as one answers, and without scripts a button brings the page back. Each that could be filled in sends its name as _asked.
# uses: ERRORS VALUES RESOURCES plugin:conditions plugin:controls plugin:fields plugin:lines plugin:sums
# defines: ASKED unasked is_untouched LaidOut laid_out of_record in_sections faults

ASKED = "_asked"  # what a page sends beside its fields: the names of conditional ones that it showed, and one empty text


def unasked(form: Any, typed: Mapping[str, Sequence[Any]] | None) -> Collection[str]:
    """The conditional fields that were not shown on the page that sent this: they keep what their controls had."""
    rules = getattr(form, "rules", None)
    if not rules or not typed or ASKED not in typed:
        return ()
    return [name for name in rules.conditional if name not in typed[ASKED]]


def is_untouched(form: Form, name: str, sent: Sequence[Any]) -> bool:
    """Whether what a page sends for a field is the default that stood in its control."""
    field, controls = form.fields[name], plugin("controls")
    if field.default is None or field.is_file or field.inner:
        return False
    shown = controls.control(field, form.locale, field.default).texts
    return bool(controls.mark(field, map(str, sent)) == controls.mark(field, shown))


class LaidOut(NamedTuple):
    """What the page of a form shows: controls by section (title, fields, is_hidden), of which each also has is_hidden,
    is_conditional and, for scripts, `when` and `must`; the Inputs that are asked for, by name; whether any is so only
    because of others, and whether any changes as others do."""

    groups: list[SimpleNamespace]
    asked: Mapping[str, Input]
    conditional: bool
    moving: bool


def laid_out(
    page: Mapping[str, Any],
    fields: Sequence[SimpleNamespace],
    typed: Mapping[str, Sequence[Any]] | None,
    held: Collection[str],
) -> LaidOut:
    """The page of a form with its controls, for the first time or with what was `typed` and `held`."""
    form, inputs = page.get("form"), page["inputs"]
    rules = getattr(form, "rules", None)
    conditional: Mapping[str, Any] = rules.conditional if rules else {}
    needed: Mapping[str, Any] = rules.needed if rules else {}
    concealed, musts = _shown(page, typed, held) if conditional or needed else ((), ())
    for one in fields:
        one.is_conditional, one.when = one.name in conditional, _for_scripts(page, conditional.get(one.name))
        one.must = "" if one.required else _for_scripts(page, needed.get(one.name))
        one.is_hidden, one.required = one.name in concealed, one.required or one.name in musts
    asked = {one.name: one for one in inputs if one.name not in concealed}
    return LaidOut(in_sections(form, fields), asked, bool(conditional), bool(conditional or needed))


def _shown(
    page: Mapping[str, Any], typed: Mapping[str, Sequence[Any]] | None, held: Collection[str]
) -> tuple[Collection[str], Collection[str]]:
    """The fields that are not asked for by what the controls of a page show, or by what was typed into them, and those that
    must be given because of it."""
    form: Form = page["form"]
    record = page["record"].value if page["record"] else {}
    value: Value = {name: record.get(name, one.default) for name, one in form.fields.items()}
    unknown, kept = set(), unasked(form, typed)
    for one in page["inputs"]:
        field = form.fields[one.name]
        if field.inner:
            plugin("lines").put_typed(form, one.name, None if one.name in kept else typed, value)
            continue
        texts = one.texts if typed is None or one.name in kept else [str(text) for text in typed.get(one.name, ())]
        read = _present(one, texts, held) if field.is_file else form.locale.read(field, list(texts))
        value[one.name] = field.normal(read)
        if read is not None and not field.is_file and field.faults(read, ""):
            value[one.name] = None
            unknown.add(one.name)
    plugin("sums").put_sums(form, value)
    value = {name: one for name, one in value.items() if one is not None}
    return cast(tuple[Collection[str], Collection[str]], form.rules.shown(form, page["scope"], value, unknown))


def _present(one: Input, texts: Sequence[str], held: Collection[str]) -> Json:
    return {} if one.files or texts or one.name in held else None


def of_record(page: Mapping[str, Any], fields: Sequence[SimpleNamespace]) -> list[SimpleNamespace]:
    """What the page of a record shows, by sections: without fields that are empty because they are not asked for."""
    form = page["form"]
    rules, value = getattr(form, "rules", None), page.get("values", {})
    if rules and rules.conditional:
        present = {name: one for name, one in value.items() if name in form.fields and one is not None}
        concealed, _ = rules.shown(form, page["scope"], dict(present), ())
        fields = [one for one in fields if one.name in present or one.name not in concealed]
    return in_sections(form, fields)


def in_sections(form: Any, fields: Sequence[Any]) -> list[SimpleNamespace]:
    """Things with the names of fields by the sections of a form, each where its first field stands."""
    sections: Mapping[str, Sequence[str]] = getattr(getattr(form, "config", None), "sections", {})
    of = {name: title for title, names in sections.items() for name in names}
    by_name = {one.name: one for one in fields}
    found: list[SimpleNamespace] = []
    done = set[str]()
    for one in fields:
        title = of.get(one.name, "")
        if title in done:
            continue
        if title:
            done.add(title)
            found.append(SimpleNamespace(title=title, fields=[by_name[name] for name in sections[title] if name in by_name]))
        elif found and not found[-1].title:
            found[-1].fields.append(one)
        else:
            found.append(SimpleNamespace(title="", fields=[one]))
    for group in found:
        group.is_hidden = all(getattr(one, "is_hidden", False) for one in group.fields)
    return found


def _for_scripts(page: Mapping[str, Any], rule: Any) -> str:
    """The comparisons of a condition as app.js reads them, [field, kind, operator, [text, …]], as JSON; "" if they look at
    more than what stands on the page."""
    if rule is None:
        return ""
    known = {name for name, one in page["form"].fields.items() if getattr(one.config, "sum", "")}  # which stand there, too
    if not set(rule.reads) <= known | {one.name for one in page["inputs"]}:
        return ""
    return dump_json([
        [name, _kind(rule.fields[name], op, operand), op, _texts(page, rule, name, operand)]
        for name, comparisons in rule.conditions.items()
        for op, operand in comparisons
    ])  # fmt: skip


def _kind(field: Field, op: str, operand: Json) -> str:
    """How app.js reads what is in a control."""
    kind: str = plugin("conditions").kind_of(field)
    if kind == "date-time" and operand == "$today":
        return "day"
    if kind == "number" and field.choices:
        return "text"
    return "time" if kind in ("time", "date-time") else kind


def _texts(page: Mapping[str, Any], rule: Any, name: str, operand: Json) -> list[Json]:
    """What a comparison compares with, as the control of a field would hold it."""
    found, scope, form = list[Json](), page["scope"], page["form"]
    for one in operand if isinstance(operand, list) else [operand]:
        kind = plugin("conditions").kind_of(rule.fields[name])
        if isinstance(one, bool):
            found.append("true" if one else "false")
        elif one == "$today":
            found.append(plugin("conditions").today(scope.now, form.rules.zone))
        elif kind == "date-time":
            text = datetime.fromtimestamp(scope.now, form.rules.zone).isoformat() if one == "$now" else str(one)
            local = form.locale.local(text)
            found.append(local.replace(tzinfo=None).isoformat() if local else text)
        else:
            found.append(str(one))
    return found


def faults(form: Form, data: Value, shown: Collection[str], wrong: Collection[str]) -> list[Fault]:
    """A fault for each field that is asked for by what a page sent, and that the page had not shown. What depends on fields
    that the caller may not read no page could show."""
    sent = data.get(ASKED)
    if not isinstance(sent, list):
        return []
    names = [name for name in form.taken if name in shown and name not in sent and name not in wrong]
    names = [name for name in names if form.fields.keys() - form.hidden >= set(form.rules.conditional[name].reads)]
    return [Fault(f"/{name}", "unseen", "is asked for too: fill it in, or leave it empty") for name in names]
