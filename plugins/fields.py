"""One declared field or parameter: its JSON Schema, and what is wrong with a value."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from itertools import islice
from typing import Any, NamedTuple, cast

from app import (
    MOST_FAULTS,
    BadRequest,
    Column,
    ConfigError,
    Fault,
    FieldConfig,
    FormFieldConfig,
    Json,
    Unread,
    Value,
    check_value,
    dump_json,
    exact_number,
    how_many,
    plain_text,
    plugin,
)

# ==== 1. FIELDS ==================================================================================================
# Fields of forms and parameters of views: the keywords of JSON Schema that they take, what each of them asks, and why a
# value is refused. How a person is asked for one stands in plugins/controls.py.
# uses: ERRORS VALUES CONFIG RESOURCES plugin:declarations plugin:instants
# defines: is_date FORMATS FORMAT_HELP has_type RULES is_number number_of of_text with_plus longest_text Field of_commas
#          with_commas in_address

_EMAIL = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9-]{1,63}(\.[A-Za-z0-9-]{1,63}){0,8}")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[^\s<>\"{}|\\^`\x00-\x1f\x7f-\x9f]+")
_ANY_CASE = re.compile("[a-z]").sub  # of a pattern, for readers that know no flags: JSON Schema
_SCRIPT = "^((feed|jar|view-source):)*(data|javascript|jscript|livescript|mocha|vbs|vbscript):"  # programs, not places
_NO_SCRIPT = {"pattern": _ANY_CASE(lambda c: f"[{c[0].upper()}{c[0]}]", _SCRIPT)}
_TIME = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9])?")
_TEL = re.compile(r"[0-9+(][0-9 +()/.-]{1,30}[0-9)]")
_QUOTED = re.compile(r'"((?:[^"]|"")*+)"(?=,)')
_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,6})?")
_MOST_DIGITS = 400  # of a number, before or behind the point; more would make arithmetic a way to keep the server busy


def is_date(text: str) -> bool:
    """Full-date of RFC 3339 section 5.6."""
    try:
        return bool(_DATE.fullmatch(text) and datetime.fromisoformat(text))
    except ValueError:
        return False


FORMATS: Mapping[str, Callable[[str], Any]] = {
    "date": is_date,
    "date-time": lambda text: plugin("instants").instant_key(text),
    "time": _TIME.fullmatch,
    "email": _EMAIL.fullmatch,
    "uri": lambda text: _URI.fullmatch(text) and not re.match(_NO_SCRIPT["pattern"], text),
    "tel": _TEL.fullmatch,
    "multiline": lambda text: True,
    "person": lambda text: True,  # which one is for plugins/options.py to say
}
FORMAT_HELP = {
    "date": "must be a date such as 2026-11-23",
    "date-time": "must be a date and time with an offset, such as 2026-11-23T08:30:00Z",
    "time": "must be a time of day such as 08:30",
    "email": "must be an e-mail address such as ann@example.org",
    "uri": "must be an address such as https://example.org/, and no script",
    "tel": "must be a telephone number such as +45 33 12 34 56",
}
_TYPES: Mapping[str, tuple[type, ...]] = {
    "string": (str,), "number": (int, float, Decimal), "integer": (int,), "boolean": (bool,), "array": (list, tuple)
}  # fmt: skip
_MOSTLY: Mapping[str, tuple[type, ...]] = {  # what values of a type are, to the letter: True is no integer
    "string": (str,), "number": (int, float), "integer": (int,), "boolean": (bool,), "array": (list,)
}  # fmt: skip
_TEXTUAL, _NUMERIC = ("string",), ("number", "integer")


def has_type(value: Json, name: str) -> bool:
    return isinstance(value, _TYPES[name]) and isinstance(value, bool) == (name == "boolean")


def _normal(value: Json, kind: str) -> Json:
    """A value in its one stored form: 2.0 of an integer is 2. Anything that has no such form is left as it is."""
    if kind != "integer" or not isinstance(value, float | Decimal) or not -(2**63) <= value < 2**63:
        return value
    return int(value) if value == int(value) else value


def _type_help(name: str) -> str:
    return f"must be {'an' if name[0] in 'aio' else 'a'} {name}"


def _exact(number: Json) -> Decimal:
    """A number as the decimal that its text says."""
    return Decimal(repr(number)) if isinstance(number, float) else Decimal(number)


def _is_multiple(number: int | float | Decimal, of: int | float | Decimal) -> bool:
    from fractions import Fraction

    return Fraction(number) % Fraction(of) == 0


class _Rule(NamedTuple):
    """A keyword of a field's JSON Schema: the types of fields that it goes with, whether a value of such a type is within
    the limit that it sets, and what it asks, in words."""

    types: tuple[str, ...]
    holds: Callable[[Any, Any], Any]
    help: Callable[[Any], str]


_ONE_OF = _Rule(
    (*_TEXTUAL, *_NUMERIC),
    lambda value, choices: value in choices,
    lambda choices: f"must be one of {', '.join(map(str, choices))}",
)
RULES: Mapping[str, _Rule] = {
    "enum": _ONE_OF,
    "oneOf": _ONE_OF,
    "minLength": _Rule(_TEXTUAL, lambda text, n: len(text) >= n, lambda n: f"must have at least {how_many(n, 'character')}"),
    "maxLength": _Rule(_TEXTUAL, lambda text, n: len(text) <= n, lambda n: f"must have at most {how_many(n, 'character')}"),
    "format": _Rule(_TEXTUAL, lambda text, name: FORMATS[name](text), lambda name: FORMAT_HELP.get(name, "")),
    "pattern": _Rule(
        _TEXTUAL, lambda text, form: form.fullmatch(text), lambda form: "does not have the form that is asked for"
    ),
    "minimum": _Rule(_NUMERIC, operator.ge, lambda n: f"must be {n} or more"),
    "maximum": _Rule(_NUMERIC, operator.le, lambda n: f"must be {n} or less"),
    "exclusiveMinimum": _Rule(_NUMERIC, operator.gt, lambda n: f"must be more than {n}"),
    "exclusiveMaximum": _Rule(_NUMERIC, operator.lt, lambda n: f"must be less than {n}"),
    "multipleOf": _Rule(_NUMERIC, _is_multiple, lambda n: f"must be a multiple of {n}"),
    "minItems": _Rule(("array",), lambda items, n: len(items) >= n, lambda n: f"must have at least {how_many(n, 'choice')}"),
    "maxItems": _Rule(("array",), lambda items, n: len(items) <= n, lambda n: f"must have at most {how_many(n, 'choice')}"),
    "uniqueItems": _Rule(("array",), lambda items, _: _are_unique(items), lambda _: "must not have the same item twice"),
}
_RULES_OF_NUMBERS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")  # compared exactly
_FILE_SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "base64": {"type": "string", "contentEncoding": "base64"}},
    "required": ["name", "base64"],
}


def _are_unique(items: Sequence[Json]) -> bool:
    """Whether no text or number stands twice; other items are faults by their type."""
    plain = [item for item in items if isinstance(item, str | int | float | Decimal) and not isinstance(item, bool)]
    return len(set(plain)) == len(plain)


def is_number(text: str) -> bool:
    """Whether it is a number as programs write it, and no longer than is useful."""
    return len(text) <= _MOST_DIGITS and bool(_NUMBER.fullmatch(text))


def number_of(text: str) -> Json:
    """The exact number of a text that is_number."""
    return exact_number(text) if set(text) & set(".eE") else int(text)


def of_text(field: Field, text: str) -> Json:
    """The value of a field that is looked up for which a text stands in a control; the text itself if there is none."""
    return number_of(text) if field.item_type in _NUMERIC and is_number(text) else text


def with_plus(text: str) -> str:
    """A date-time from an address, where the plus of its offset means a space."""
    return re.sub(r"(:[0-9]{2}(?:\.[0-9]+)?) ([0-9]{2}:[0-9]{2})$", r"\1+\2", text)


_LONGEST: Mapping[str, int] = {
    "multiline": 100_000,
    "uri": 2000,
    "email": 254,
    "date-time": 64,
    "tel": 32,
    "person": 200,
}  # characters, by format


def longest_text(config: FieldConfig) -> int | None:
    """The most characters that a text may have, declared or by default; None if something else limits it."""
    if config.max_length is not None:
        return cast(int, config.max_length)
    if config.type != "string" or config.enum or config.one_of or config.format in ("date", "time", "file"):
        return None
    return max(_LONGEST.get(config.format, 10_000), config.min_length or 0)


class Field:
    """One declared field or parameter: its JSON Schema, its validator, and how a person is asked for it."""

    made = ""  # why no body may have it, if Satchel sets it: a new record has its default
    inner: tuple[Field, ...] = ()  # the fields of its lines, if it has some: see plugins/lines.py

    def __init__(self, config: FieldConfig, place: str) -> None:
        """ConfigError lists every fault of the declaration."""
        self.config, self.name, self.place = config, config.name, place
        self.title = config.title or config.name.replace("_", " ").capitalize()
        self.is_file = config.format == "file"
        self.is_many = self.is_file and config.type == "array"  # takes several files
        self.required = config.required and not getattr(config, "show_if", None)  # of every record, whatever is in it
        self.looked_up = bool(getattr(config, "options", None)) or config.format == "person"  # see plugins/options.py
        self.item_type = config.items.get("type", "string") if config.type == "array" else config.type
        is_asked = isinstance(config, FormFieldConfig) and not config.required and config.default is None
        self.is_open = is_asked and config.type == "boolean"  # yes, no, or neither
        if summed := getattr(config, "sum", ""):
            self.made = f"is computed from {summed}: leave it out, or as it is"
        self.choices = self._choices()
        word = config.default if config.type == "string" and not self.choices else None
        self.fill = word if isinstance(word, str) and word.startswith("$") else ""  # a default that each create makes anew
        self.default = None if self.fill else config.default
        one_of = config.items.get("oneOf", config.one_of)
        titles = {one["const"]: one["title"] for one in one_of if one.get("title")}
        self.column = Column(self.name, self.title, config.type, config.format, titles)
        self.schema = self._schema()
        wrong = [Fault(f"{place}.{key}", "configuration", detail) for key, detail in plugin("declarations").of_field(self)]
        if not wrong:
            self._rules = list(self._own_rules())
            self.text_of = self._compiled()
            wrong = [Fault(f"{place}.default", "configuration", fault.detail) for fault in self._default_faults()]
        if wrong:
            raise ConfigError(f"{place} is no valid field", faults=wrong)

    def _schema(self) -> Value:
        """The field in JSON Schema (draft 7) keywords."""
        config, summed = self.config, getattr(self.config, "sum", "")
        is_set = config.type == "array" and bool(self.choices or self.looked_up)
        of_items = config.type == "array" and config.format in ("file", "person")  # is what each of them is
        named = (
            ("format", "" if of_items else config.format), ("title", self.title), ("description", config.description),
            ("enum", list(config.enum)), ("oneOf", list(config.one_of)),
            ("items", config.items or ({"type": self.item_type} if is_set else {})),
            ("minimum", config.minimum), ("maximum", config.maximum), ("multipleOf", config.multiple_of),
            ("exclusiveMinimum", config.exclusive_minimum), ("exclusiveMaximum", config.exclusive_maximum),
            ("minLength", config.min_length), ("maxLength", longest_text(config)), ("minItems", config.min_items),
            ("maxItems", config.max_items), ("pattern", config.pattern and f"^(?:{config.pattern})$"),
            ("uniqueItems", True if is_set else None), ("default", self.default),
            ("x-default", self.fill), ("x-message", config.message),
            ("readOnly", True if summed else None), ("x-sum", summed),
            ("not", _NO_SCRIPT if config.format == "uri" else None), ("x-placeholder", config.placeholder),
        )  # fmt: skip
        given = {name: value for name, value in named if value is not None and value not in ("", [], {})}
        if self.is_many:
            given["items"] = {"format": "file"} | _FILE_SCHEMA
        return {"type": config.type} | given | (_FILE_SCHEMA if self.is_file and not self.is_many else {})

    def published(self) -> Value:
        """The same as others read it: JSON Schema's own "time" wants an offset, and it has no "tel"."""
        own = {"time": _TIME, "tel": _TEL}.get(self.config.format)
        others = {name: one for name, one in self.schema.items() if name != "format"}
        if self.looked_up:
            _, form, _, name = self.place.split(".")
            person = {"x-format": "person"} if self.config.format else {}
            return others | person | {"x-options": f"forms/{form}/options/{name}"}
        if not own:
            return self.schema
        rule: Value = {"pattern": f"^(?:{own.pattern})$"}
        return others | {"x-format": self.config.format} | ({"allOf": [rule]} if "pattern" in others else rule)

    def _choices(self) -> tuple[tuple[Json, str], ...]:
        """(value, title) of every allowed value; () when any is allowed."""
        config = self.config
        source = config.items if config.type == "array" else {"enum": config.enum, "oneOf": config.one_of}
        titled = tuple((one["const"], one.get("title") or str(one["const"])) for one in source.get("oneOf", ()))
        return titled or tuple((value, str(value)) for value in source.get("enum", ()))

    def _default_faults(self) -> list[Fault]:
        return [] if self.default is None or self.is_file else self._found(self.default, "")

    def _own_rules(self) -> Iterator[tuple[str, Callable[[Any, Any], Any], Any, str]]:
        """(keyword, what has to hold, its limit, the fault in words) of each rule that was declared."""
        for name, rule in RULES.items():
            if name not in self.schema or self.is_file:
                continue
            limit = self.schema[name]
            if rule is _ONE_OF:
                limit = [value for value, _ in self.choices]
            words = rule.help(limit)
            if name == "pattern":  # whose $ in the schema would let a line break pass
                limit = re.compile(self.config.pattern)
            yield name, rule.holds, _exact(limit) if name in _RULES_OF_NUMBERS else limit, words

    def _compiled(self) -> Callable[[Json], str]:
        """A function for values as they mostly come: the JSON text of one that is in its stored form and has no fault. Of a
        value that it has "" for, faults() has to find out."""
        kinds = () if self.is_file else _MOSTLY[self.config.type]
        rules = [(holds, limit, name in _RULES_OF_NUMBERS) for name, holds, limit, _ in self._rules]
        items, allowed = _MOSTLY[self.config.items.get("type", "string")], [value for value, _ in self.choices]

        def text_of(value: Json) -> str:
            kind = type(value)
            if kind not in kinds:
                return ""
            if kind is not list:
                text = plain_text(value)
            else:
                is_known = all(type(item) in items and item in allowed for item in value)
                text = dump_json(value) if is_known and not self.looked_up else ""
            for holds, limit, is_exact in rules if text else ():
                if not holds(_exact(value) if is_exact and kind is float else value, limit):
                    return ""
            return text

        return text_of

    def faults(self, value: Json, pointer: str) -> list[Fault]:
        """Everything that is wrong with a given value, in the words of the declaration if it has some."""
        return [] if self.text_of(value) else self.worded(self._found(value, pointer))

    def missing(self, pointer: str) -> list[Fault]:
        """The fault of a value that must be given and is not."""
        return self.worded([Fault(pointer, "required", "is missing")])

    def worded(self, faults: list[Fault]) -> list[Fault]:
        """The same with the field's own message, once for each place."""
        said = self.config.message
        return list({one.pointer: one._replace(detail=said) for one in reversed(faults)}.values())[::-1] if said else faults

    def _found(self, value: Json, pointer: str) -> list[Fault]:
        if isinstance(value, Unread):
            return [Fault(pointer, "format" if self.config.format else "type", value.reason)]
        value = self.normal(value)
        found = list(check_value(value, pointer)) or self._type_faults(value, pointer)
        has_items = self.config.items or (self.looked_up and self.config.type == "array")
        if found or not (self._rules or has_items):
            return found
        exact = _exact(value) if self.config.type in _NUMERIC else None
        for name, holds, limit, words in self._rules:
            if not holds(exact if name in _RULES_OF_NUMBERS else value, limit):
                found.append(Fault(pointer, name, words))
        return found + list(islice(self._item_faults(value, pointer), MOST_FAULTS)) if has_items else found

    def _type_faults(self, value: Json, pointer: str) -> list[Fault]:
        """Why no rule can be asked: the value is of another type, or too long to be looked at."""
        kind, longest = self.config.type, longest_text(self.config)
        if not has_type(value, kind):
            if kind == "integer" and has_type(value, "number") and _exact(value) == _exact(value).to_integral_value():
                return [Fault(pointer, "integer_size", "does not fit in 64 bits")]
            return [Fault(pointer, "type", _type_help(kind))]
        if kind in _NUMERIC:
            exact = _exact(value)
            if max(abs(exact.adjusted()), len(exact.as_tuple().digits)) > _MOST_DIGITS:
                return [Fault(pointer, "number_size", f"must have at most {_MOST_DIGITS} digits")]
        elif longest is not None and len(value) > longest:
            return [Fault(pointer, "maxLength", RULES["maxLength"].help(longest))]
        return []

    def _item_faults(self, items: Sequence[Json], pointer: str) -> Iterator[Fault]:
        kind, allowed = self.config.items.get("type", "string"), [value for value, _ in self.choices]
        for index, item in enumerate(items):
            if not has_type(_normal(item, kind), kind):
                yield Fault(f"{pointer}/{index}", "type", _type_help(kind))
            elif item not in allowed and not self.looked_up:
                yield Fault(f"{pointer}/{index}", "oneOf" if "oneOf" in self.config.items else "enum", _ONE_OF.help(allowed))

    def normal(self, value: Json) -> Json:
        """A value in its one stored form."""
        return _normal(value, self.config.type)

    def chosen(self, text: str) -> Json:
        """The choice that a text stands for; the text itself if there is none."""
        return next((value for value, _ in self.choices if str(value) == text), text)

    def _parts(self, text: str) -> list[str]:
        return [part.strip() for part in of_commas(text, [value for value, _ in self.choices])]

    def from_param(self, text: str, locale: Any) -> Json:
        """The value of a query parameter, as a program or as a person writes it. Raises BadRequest if it is none."""
        if text == "":
            return None
        if self.config.format == "date-time":
            text = with_plus(text)
        if self.config.type in _NUMERIC and not self.choices and is_number(text):
            value = number_of(text)
        else:
            value = locale.read(self, self._parts(text) if self.config.type == "array" else [text])
        for fault in self.faults(value, "") if value is not None else ():
            raise BadRequest(f"{self.name} {fault.detail}", faults=[fault._replace(pointer=f"/{self.name}")])
        return self.normal(value)


def of_commas(text: str, known: Iterable[Json]) -> list[str]:
    """The values of a text between commas. One that has commas itself is known, or stands in double quotes: `"a, b",c`."""
    whole = [one for one in known if isinstance(one, str) and ("," in one or one.startswith('"'))]
    if not whole and '"' not in text:
        return text.split(",")
    found, at, text = [], 0, text + ","
    while at < len(text):
        value = next((one for one in whole if text.startswith(one + ",", at)), None)
        quoted = _QUOTED.match(text, at) if value is None else None
        end = quoted.end() if quoted else at + len(value) if value is not None else text.index(",", at)
        found.append(quoted[1].replace('""', '"') if quoted else text[at:end])
        at = end + 1
    return found


def with_commas(value: str) -> str:
    """A value as one of several in an address."""
    return '"' + value.replace('"', '""') + '"' if "," in value or value.startswith('"') else value


def in_address(name: str, value: Any) -> str | None:
    """A value of a program as a parameter has it in an address; None if it is as good as none. Raises BadRequest if it is
    none that fits there."""
    if isinstance(value, list | tuple) and all(isinstance(one, str | int | float | bool) for one in value):
        return ",".join(with_commas(in_address(name, one) or "") for one in value)
    if isinstance(value, list | tuple | dict):
        raise BadRequest(f"{name} must be a text, a number, true, false or a list of them")
    if isinstance(value, float) and value.is_integer():
        return str(int(value))  # JSON has one kind of number
    return dump_json(value) if isinstance(value, int | float) else None if value is None else str(value)
