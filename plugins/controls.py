"""How a field is asked of a person in a page, what its control shows of a stored value, and what an edit there changed."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakKeyDictionary

import app
from app import BadRequest, Form, Json, Value, dump_json

if TYPE_CHECKING:
    from plugins import fields
    from plugins.fields import Field
else:
    fields = app.plugin("fields")

media_types = app.plugin("media_types")

# ==== 1. CONTROLS ================================================================================================
# Controls of fields for pages: an edit changes only what the person changed, and a value that no control can hold exactly
# stays as it is stored.
# uses: ERRORS VALUES RESOURCES plugin:fields plugin:lines plugin:media_types
# defines: Input control inputs prefilled mark marks edits edited with_inputs values

_WIDGETS = {
    "date": "date",
    "date-time": "datetime-local",
    "time": "time",
    "email": "email",
    "uri": "url",
    "tel": "tel",
    "file": "file",
}
_NUMERIC = ("number", "integer")
_TYPED = ("text", "email", "url", "tel", "number", "textarea")  # widgets that can show an example
_blank: WeakKeyDictionary[Form, tuple[Input, ...]] = WeakKeyDictionary()  # controls of forms that nobody filled in


class Input(NamedTuple):
    """How a field is asked of a person, and what its control shows: the texts of a value, or stored files.

    Choices are (text, title) and attrs belong to the HTML element.
    """

    name: str
    title: str
    help: str
    widget: str  # text email url tel number date time datetime-local textarea checkbox select radio checkboxes grants file
    required: bool = False
    texts: tuple[str, ...] = ()
    choices: tuple[tuple[str, str], ...] = ()
    attrs: Mapping[str, str] = MappingProxyType({})
    files: Sequence[Mapping[str, str]] = ()  # of a record: name, address and id of each
    groups: Mapping[str, tuple[str, str, str]] = MappingProxyType({})  # of grants: see plugins/grant_picker.py
    lookup: Any = None  # the search above the choices: see plugins/option_controls.py


def control(field: Field, locale: Any, value: Json = None) -> Input:
    """How a person is asked for a field that holds this value. What its usual control cannot hold is shown in another."""
    if field.inner:
        found: Input = app.plugin("lines").control(field, locale, value)
        return found
    config = field.config
    widget, texts, odd = _shown(field, value, locale)
    choices = [(text, text) for text in texts] if field.looked_up else []  # the others come with plugins/option_controls.py
    choices += [(str(v), _title(field, v, title, locale)) for v, title in field.choices]
    if widget in ("select", "radio") and config.type == "boolean":
        choices = [("true", locale.t("common.yes")), ("false", locale.t("common.no"))]
    choices += [(text, _odd_title(field, item, locale)) for text, item in odd.items()]
    if widget == "radio" and not config.required and "" not in dict(choices):
        none = "field.unanswered" if config.type == "boolean" else "field.none"
        choices.append(("", locale.t(none)))  # a radio button is released only by pressing another
    help_ = config.description
    if config.format == "date-time":
        help_ = f"{help_} {locale.t('field.zone', zone=locale.zone_name)}".strip()
    return Input(
        field.name, field.title, help_, widget, config.required, tuple(texts), tuple(choices),
        _attrs(field, widget), groups=getattr(field, "groups", {}),
    )  # fmt: skip


def _odd_title(field: Field, item: Json, locale: Any) -> str:
    words: Any = getattr(field, "odd", None)
    return str(words(item, locale.t)) if words else str(locale.t("field.no_longer", value=locale.show(field.column, item)))


def _title(field: Field, value: Json, title: str, locale: Any) -> str:
    return locale.write_number(value) if title == str(value) and field.config.type in _NUMERIC else title


def _attrs(field: Field, widget: str) -> dict[str, str]:
    """Without maxlength: a browser would cut a text that is pasted, and say nothing."""
    config, attrs = field.config, {}
    if config.min_length is not None and not field.choices:
        attrs["minlength"] = str(config.min_length)
    if accept := media_types.file_input_accept(config.accept):
        attrs["accept"] = accept
    if field.is_many:
        attrs["multiple"] = "multiple"
    if config.placeholder and widget in _TYPED:
        attrs["placeholder"] = config.placeholder
    if widget == "number":
        attrs["inputmode"] = "numeric" if config.type == "integer" else "decimal"
    return attrs


def _widget(field: Field) -> str:
    config = field.config
    if config.type == "boolean":
        return "radio" if field.is_open else "checkbox"
    if field.looked_up:
        return "checkboxes" if config.type == "array" else "select"
    if field.choices and config.type == "array":
        return str(getattr(field, "widget", "checkboxes"))
    if field.choices:
        return "radio" if len(field.choices) <= 4 else "select"
    if config.type in _NUMERIC:
        return "number"
    if config.format == "multiline" or (not config.format and (config.max_length or 0) > 250):
        return "textarea"
    return _WIDGETS.get(config.format, "text")


def _shown(field: Field, value: Json, locale: Any) -> tuple[str, list[str], Mapping[str, Json]]:
    """(widget, the texts that it shows, what it holds beside the choices, by its text)."""
    widget = _widget(field)
    if field.looked_up:
        return widget, [item if isinstance(item, str) else dump_json(item) for item in _items(field, value)], {}
    if widget == "checkbox" and isinstance(value, bool | None):
        return widget, ["true"] if value else [], {}
    if field.is_open and isinstance(value, bool | None):
        return widget, [] if value is None else [str(value).lower()], {}
    if field.config.type == "boolean" or field.choices:
        odd = _odd(field, value)
        texts = [text for item in _items(field, value) if (text := _choice_of(field, item)) is not None]
        return "select" if field.config.type == "boolean" else widget, [*texts, *odd], odd
    if field.is_file or value is None:
        return widget, [], {}
    if field.config.type in _NUMERIC and not isinstance(value, bool | str | list | dict):
        return widget, [locale.write_number(value)], {}
    text = value if isinstance(value, str) else dump_json(value)
    if widget == "datetime-local" and (local := locale.local(text)):
        return widget, [_without_empty_seconds(local.replace(tzinfo=None).isoformat())], {}
    return _holding(widget, text), [text], {}


def _holding(widget: str, text: str) -> str:
    """The widget, or a plainer one if browsers would not show the text in it as it is."""
    fits = {"datetime-local": False, "date": fields.is_date(text), "time": fields.FORMATS["time"](text)}
    fits |= {"email": text.isascii(), "url": text.isascii()}
    if re.search(r"[\r\n]", text):
        return "textarea"
    return widget if fits.get(widget, True) else "text"


def _items(field: Field, value: Json) -> list[Json]:
    items = value if isinstance(value, list) and field.config.type == "array" else [value]
    return [item for item in items if item is not None]


def _choice_of(field: Field, item: Json) -> str | None:
    """The text of the choice that stands for a stored item: 1.0 is 1, and true is neither."""
    fits = (str(v) for v, _ in field.choices if v == item and isinstance(v, bool) == isinstance(item, bool))
    return next(fits, None)


def _odd(field: Field, value: Json) -> dict[str, Json]:
    """What a stored value holds that is none of the choices (any more), by texts that none of them has."""
    known, found = {str(v) for v, _ in field.choices} | {"", "true", "false"}, {}
    for item in _items(field, value):
        if item != "" and _choice_of(field, item) is None:
            text = item if isinstance(item, str) else dump_json(item)
            found["=" + dump_json(item) if text in known else text] = item
    return found


def _without_empty_seconds(text: str) -> str:
    """A local date-time as browsers write it (HTML, "normalized local date and time string"); any other text as it is."""
    found = re.fullmatch(r"([0-9]{4,}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2})(:[0-9]{2})?(?:\.([0-9]*))?", text)
    if not found:
        return text
    fraction = (found[3] or "")[:3].rstrip("0")
    seconds = (found[2] or ":00") + ("." + fraction if fraction else "")
    return found[1].replace(" ", "T") + (seconds if seconds != ":00" else "")


# ---- of a form


def inputs(form: Form, value: Value | None = None) -> tuple[Input, ...]:
    """The controls of a form with the values of a record; None: with what is declared as default."""
    if value is None and form not in _blank:
        _blank[form] = tuple(_input(form, one, one.default) for one in form.taken.values())
    return _blank[form] if value is None else tuple(_input(form, one, value.get(one.name)) for one in form.taken.values())


def _input(form: Form, field: Field, value: Json) -> Input:
    found = control(field, form.locale, value)
    if not field.is_file:
        return found
    most = form.files.most_bytes(field)
    said = {"data-most-said": form.locale.write_size(most), "data-too-large": form.locale.t("files.too_large")}
    if field.is_many:
        said["data-all"] = "1"
    return found._replace(attrs={**found.attrs, "data-most": str(most), **said})


def prefilled(form: Form, params: Mapping[str, str], made: Value) -> tuple[tuple[Input, ...], str]:
    """The controls of a new record with the values that are made for it, as the parameters of a link fill them in, and what
    could not be, in words."""
    filled, unfit, t = {name: _input(form, form.fields[name], value) for name, value in made.items()}, [], form.locale.t
    for name in filter(form.taken.__contains__, params):
        field = form.fields[name]
        try:
            if field.is_file:
                raise BadRequest("is a file, which a link cannot choose")
            filled[name] = _input(form, field, field.from_param(params[name], form.locale))
        except BadRequest as error:
            what = t.said(error.message.removeprefix(name).strip())
            unfit.append(t("errors.fault", field=field.title, what=what))
    words = t("field.unfit", what="; ".join(unfit)) if unfit else ""
    return tuple(filled.get(one.name, one) for one in inputs(form)), words


def mark(field: Field, texts: Iterable[str]) -> str:
    """A digest of what a control shows. It stays the same for what a browser sends back untouched: line breaks, spaces
    around and empty seconds may differ, and so may the order of choices."""
    sent = {re.sub(r"\r\n?", "\n", text).strip() for text in texts}
    if field.config.format == "date-time":
        sent = {_without_empty_seconds(text) for text in sent}
    if field.config.format == "time":
        sent = {re.sub(r"(?<=..:..):00$", "", text) for text in sent}
    return hashlib.sha256("\0".join(sorted(sent - {""})).encode()).hexdigest()[:12]


def marks(form: Form, shown: Iterable[Input]) -> str:
    """What the controls of a page show, to come back with what is sent from it; `edits` reads it."""
    return " ".join(f"{one.name}:{mark(form.fields[one.name], one.texts)}" for one in shown if one.widget != "file")


def edits(form: Form, data: Value, stored: Value) -> dict[str, tuple[Json, Json]]:
    """For each field that a person changed in a page: the new value, and the part of it that has to be valid, since what was
    stored before may stay.

    `data` has texts and Uploads by field. Its `_shown` says what the controls showed; one that it names and that sends
    nothing was emptied. `_gone` has the stored files that are to be removed.
    What says the same as what is stored now is no change either.
    """
    shown = dict(pair.split(":", 1) for text in data.get("_shown", ()) for pair in str(text).split() if ":" in pair)
    given: dict[str, tuple[Json, Json]] = {}
    for name, field in form.taken.items():
        sent, value = data.get(name) if isinstance(data.get(name), list) else [], stored.get(name)
        if field.is_file:  # a page cannot send back the files that are stored
            if changed := form.files.edited(name, sent, data.get("_gone", ()), value):
                given[name] = changed[0], changed[0]
        elif name in data or name in shown:
            lines: Any = field if field.inner else None
            texts = lines.flat(sent, form.locale) if lines else [item for item in sent or () if isinstance(item, str)]
            if mark(field, texts) not in (shown.get(name), mark(field, control(field, form.locale, value).texts)):
                change = lines.edited(sent, value, form.locale) if lines else edited(field, texts, value, form.locale)
                given[name] = change
    return given


def edited(field: Field, texts: Sequence[str], stored: Json, locale: Any) -> tuple[Json, Json]:
    """A field's value after an edit, and the part of it that has to be valid."""
    odd = _odd(field, stored) if field.choices else {}
    kept = [odd[text] for text in texts if text in odd]
    typed = locale.read(field, [text for text in texts if text not in odd])
    if field.config.type == "array":
        return [*kept, *(typed or ())] or None, typed
    return (kept[-1], None) if kept else (typed, typed)


# ---- of a page


def with_inputs(page: Mapping[str, Any], locale: Any) -> dict[str, Any]:
    """What a resource says for its page, with the controls of its form or of its parameters as `inputs`."""
    if "form" not in page:
        return {**page, "inputs": tuple(control(one, locale, one.config.default) for one in page.get("fields", ()))}
    form: Form = page["form"]
    found, unfit = (
        prefilled(form, page["params"], page.get("made", {})) if "params" in page else (inputs(form, page.get("values")), "")
    )
    if form.files and "values" in page:
        shown = page["record"].value
        files = {name: form.files.listed(page["values"].get(name), shown.get(name)) for name in form.shares}
        found = tuple(one._replace(files=files.get(one.name, ())) for one in found)
    offers = page.get("offers", {})
    found = tuple(_offering(one, offers[one.name]) if one.name in offers else one for one in found)
    return {**page, "inputs": found, "unfit": unfit, "shown": marks(form, found) if "values" in page else ""}


def _offering(one: Input, offered: Collection[str]) -> Input:
    """A control with no other choices than these and those that are chosen."""
    choices = tuple(pair for pair in one.choices if pair[0] in offered or pair[0] in one.texts)
    return one._replace(choices=choices)


def values(one: Input, text: str) -> list[str]:
    """The texts of a parameter of an address: of its control there may be several, with commas between."""
    return fields.of_commas(text, [known for known, _ in one.choices]) if one.widget == "checkboxes" else [text]
