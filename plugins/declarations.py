"""What is wrong with the declaration of a field, with what records are called, and with the columns of a view."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from app import (
    MOST_RECORD_BYTES,
    NAME_PLACE,
    Fault,
    Form,
    FormConfig,
    FormFieldConfig,
    Settings,
    View,
    nearest,
    plugin,
    stores,
)

if TYPE_CHECKING:
    from plugins import fields, list_filters
else:
    fields, list_filters = plugin("fields"), plugin("list_filters")

# ==== 1. DECLARATIONS ============================================================================================
# Each setting is right by itself when this runs; here it is looked at beside the others of its table.
# uses: ERRORS CONFIG RESOURCES ASSEMBLY plugin:calendars plugin:charts plugin:fields plugin:form_views plugin:lines
#       plugin:list_filters plugin:options plugin:patterns plugin:reading plugin:row_rules plugin:toml_advice
# defines: of_field of_name of_sections of_columns slow_patterns of_options of_state

_NUMERIC = ("number", "integer")
_PICKED = ("date", "date-time", "time", "file")  # formats whose controls a browser fills itself
_LOW_AND_HIGH = (
    ("minimum", "maximum"), ("exclusiveMinimum", "exclusiveMaximum"), ("minLength", "maxLength"), ("minItems", "maxItems")
)  # fmt: skip


def of_field(field: fields.Field) -> Iterator[tuple[str, str]]:
    """(setting, what is wrong with it) of a declared field or parameter."""
    config, schema = field.config, field.schema
    for name, types in [*((name, rule.types) for name, rule in fields.RULES.items()), ("items", ("array",))]:
        if name in schema and config.type not in types:
            yield name, f"goes with type {' or '.join(types)}, and this field is of type {config.type}"
    for low, high in _LOW_AND_HIGH:
        if low in schema and high in schema and schema[low] > schema[high]:
            yield low, f"is more than {high}"
    if config.multiple_of is not None and config.multiple_of <= 0:
        yield "multipleOf", "must be above zero"
    if config.max_length is not None and config.max_length > MOST_RECORD_BYTES:
        yield "maxLength", f"is more than a whole record may have: {MOST_RECORD_BYTES:,}"
    if config.format and config.format not in (*fields.FORMATS, "file"):
        known = [*fields.FORMATS, "file"]
        meant = plugin("toml_advice").other_type(config.format)
        hint = f": write {meant}" if meant else nearest(config.format, known) or f": write one of {', '.join(known)}"
        yield "format", f"{config.format!r} is no format{hint}"
    if field.fill:
        yield from _of_fill(field)
    if config.placeholder and (
        field.choices or field.looked_up or config.type in ("boolean", "array") or config.format in _PICKED
    ):
        yield "placeholder", "goes with fields that are typed, and this one is chosen: say it in its description"
    yield from _of_choices(field)
    yield from _of_file_settings(field)
    if field.looked_up:
        yield from _of_lookup(field)


def _of_lookup(field: fields.Field) -> Iterator[tuple[str, str]]:
    """What does not go with choices that are looked up. Their source is judged once all resources are there."""
    config, key = field.config, "options" if getattr(field.config, "options", None) else "format"
    what = "options" if key == "options" else '"person"'
    if not isinstance(config, FormFieldConfig):
        yield key, f"{what} is for the fields of forms"
    elif field.item_type not in ("string", *_NUMERIC) or field.is_file:
        yield key, f"{what} goes with a text, a number or an array of them"
    elif field.choices:
        yield key, f"{what} stands beside other choices: keep one of the two"
    elif key == "options" and config.format:
        yield key, f'{what} stands beside format = "{config.format}": keep one of the two'


def _of_fill(field: fields.Field) -> Iterator[tuple[str, str]]:
    """What is wrong with a default that is to be made anew for each record."""
    fits = {"$today": "date", "$now": "date-time", "$me": "person" if field.config.format == "person" else ""}
    if field.fill not in fits:
        yield "default", f"{field.fill!r} is none of the values that are made for a new record: {', '.join(fits)}"
    elif field.config.format != fits[field.fill]:
        needed = f'format = "{fits[field.fill]}"' if fits[field.fill] else 'a text without format, or format = "person"'
        yield "default", f'"{field.fill}" goes with {needed}'
    elif field.place.startswith("views."):
        yield "default", f'"{field.fill}" is made for new records, and a parameter makes none'


def _of_choices(field: fields.Field) -> Iterator[tuple[str, str]]:
    config = field.config
    source = config.items if config.type == "array" else field.schema
    place = "items" if config.type == "array" else "enum"
    if config.type == "array" and not (field.choices or field.inner or field.is_file or field.looked_up):
        yield place, 'must be { type = …, enum = […] } or with oneOf; else the array has fields, or format = "file"'
    if field.inner and (config.type != "array" or config.items or config.format):
        yield "fields", 'makes it a field of lines: write type = "array" and take out items and format'
    if field.is_many and (config.max_items or 0) > 100:
        yield "maxItems", "is more than a form may have: 100 files"
    if field.inner and (config.max_items or 0) > plugin("lines").MOST_LINES:
        yield "maxItems", f"is more than a field may have: {plugin('lines').MOST_LINES:,} lines"
    if "enum" in source and "oneOf" in source:
        yield place, "stands beside oneOf: keep one of the two"
    inner = source.get("type", "string")
    if inner not in ("string", *_NUMERIC):
        if config.type == "array":
            yield place, f"cannot be of type {inner}"
        return
    for value, _ in field.choices:
        if not fields.has_type(value, inner):
            yield place, f"has {value!r}, which is not of type {inner}"


def _of_file_settings(field: fields.Field) -> Iterator[tuple[str, str]]:
    config = field.config
    if field.is_file and not config.files:
        yield "files", 'is missing: name the share that keeps the files, such as files = "files/receipts"'
    for name, given in (("files", config.files), ("accept", config.accept)):
        if given and not field.is_file:
            yield name, 'is for fields that take a file: write format = "file" too, or take it out'
    if field.is_file and (
        field.choices or config.default is not None or set(field.schema) & {"minLength", "maxLength", "pattern"}
    ):
        yield "format", '"file" makes it a field that takes a file: take out its default, choices, lengths and pattern'


def of_name(form: Form) -> Iterator[Fault]:
    """A fault for each mistake in what records are called, and in whose they are."""
    if form.config.owner and plugin("row_rules").is_of_service(form):
        detail = f"is {form.config.owner.field}, which the service of the provider sets: name a field of the form"
        yield Fault(f"forms.{form.name}.owner.field", "configuration", detail)
    known, place = {column.name for column in form.columns}, f"forms.{form.name}.name"
    for name in NAME_PLACE.findall(form.config.called):
        if name not in known and name not in {field_.name for field_ in form.config.fields}:
            yield Fault(place, "configuration", f"names {{{name}}}, which is no field{nearest(name, known)}")
    if re.search(r"[{}]", NAME_PLACE.sub("", form.config.called)):
        yield Fault(place, "configuration", 'has a brace without its pair: write fields as "{name}"')


def of_sections(form: Form) -> Iterator[Fault]:
    """A fault for each mistake in the groups of a form's fields."""
    known = {one.name for one in form.config.fields} | form.fields.keys()
    seen: dict[str, str] = {}
    for title, names in form.config.sections.items():
        found = [] if title.strip() else ["needs a title"]
        found += [] if names else ["names no field"]
        for name in names:
            if name not in known:
                found.append(f"names {name!r}, which is no field of this form{nearest(name, known)}")
            elif name in seen:
                found.append(f"names {name!r}, which stands in {seen[name]} already")
            seen.setdefault(name, title)
        yield from (Fault(f"forms.{form.name}.sections.{title}", "configuration", detail) for detail in found)


def of_columns(view: View, form: Form) -> Iterator[Fault]:
    """A fault for each name of a column that the form does not have."""
    config, known = view.config, [column.name for column in form.columns]
    asked = [("where", one.field) for one in config.where]
    is_derived = getattr(view, "is_derived", False)
    if not is_derived:
        asked = [("columns", name) for name in config.columns] + asked + [("facets", name) for name in config.facets]
        asked += [("order_by", name.removeprefix("-")) for name in config.order_by]
    for key, name in asked:
        if name not in known:
            detail = f"names the column {name!r}, which {config.source} has not{nearest(name, known)}"
            yield Fault(f"views.{view.name}.{key}", "configuration", detail)
    if is_derived:
        yield from plugin("form_views").faults(view, form)
    else:
        yield from plugin("reading").of_form(view, form, known)
        yield from plugin("charts").faults(config, form)
    lists = {column.name for column in form.columns if column.type == "array"}
    for one in config.where:
        if one.field in lists and one.op not in list_filters.ITEM_OPERATORS:
            fit = ", ".join(list_filters.ITEM_OPERATORS)
            detail = f"compares {one.field}, which holds several values, with {one.op}: write one of {fit}"
            yield Fault(f"views.{view.name}.where", "configuration", detail)
        values = one.value if one.op == "in" else [one.value]
        compares = one.field in form.instants and one.op not in ("contains", "prefix", "null")
        for text in filter(
            lambda one: isinstance(one, str) and not fields.FORMATS["date-time"](one), values if compares else ()
        ):
            detail = f"compares {one.field} with {text!r}: it {fields.FORMAT_HELP['date-time']}"
            yield Fault(f"views.{view.name}.where", "configuration", detail)


def slow_patterns(one: Settings, place: str) -> Iterator[Fault]:
    """Faults of patterns that could keep the server busy with a text that a field may hold."""
    inside, asked = ("fields", one.fields) if isinstance(one, FormConfig) else ("params", getattr(one, "params", ()))
    for each in asked:
        judged = each.pattern and each.type == "string"
        if judged and (slow := plugin("patterns").pattern_fault(each.pattern, fields.longest_text(each) or 10_000)):
            yield Fault(f"{place}.{inside}.{each.name}.pattern", "configuration", slow)


def of_options(resources: Mapping[str, Any], declared: Iterable[str]) -> list[Fault]:
    """A fault for each mistake in where the choices of fields come from, and in what views have beside their rows."""
    views = [one for one in resources.values() if isinstance(one, View) and (one.config.calendar or one.config.refresh_s)]
    found: list[Fault] = list(plugin("calendars").faults(views)) if views else []
    if any(isinstance(one, Form) and one.looked_up for one in resources.values()):
        found += plugin("options").faults(resources, declared)
    return found


def of_state(built: Any) -> Iterator[Fault]:
    """A fault if what a site keeps beside its resources would go to a database that only SQL views read: it may be somebody
    else's."""
    if built.config.site.state or built.state is None or len(built.resources) < len(built.declared):
        return  # nobody knows what the resources that could not be built would write
    is_read = any(isinstance(one, View) and id(one.source) == id(built.state) for one in built.resources.values())
    if is_read and not any(built.state in stores(one) for one in built.resources.values()):
        detail = "is missing: the default provider is only read by SQL views; name one to write to"
        yield Fault("site.state", "configuration", detail)
