"""Fields that hold lines: objects in an array, of fields of their own, and numbers that are summed over them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import app
from app import MOST_FAULTS, BadRequest, ConfigError, Fault, Form, Json, Value, dump_json, how_many, member_pointer, nearest

if TYPE_CHECKING:
    from plugins import controls, fields
    from plugins.controls import Input
else:
    controls, fields = app.plugin("controls"), app.plugin("fields")

# ==== 1. LINES ===================================================================================================
# A field with `fields` holds lines. Every rule of these fields holds in each line, with pointers such as /lines/0/amount.
# A page names the controls of a line lines.KEY.amount, and says by _lines which there are, in their order: KEY is the place
# of a stored line, or any other number. A line in which nothing is filled in is none.
# uses: ERRORS VALUES CONFIG RESOURCES plugin:controls plugin:fields
# defines: MOST_LINES Line Row Lines nested turned

MOST_LINES = 1000  # of a field, unless its maxItems is less


class Line(dict[str, Json]):
    """A line in which the values of the fields `kept` are as they were stored: they are not judged once more."""

    def __init__(self, values: Value, kept: Collection[str]) -> None:
        super().__init__(values)
        self.kept = frozenset(kept)


class Row(NamedTuple):
    """What a page sends of a line: its key, and the texts of each field."""

    key: str
    texts: Mapping[str, Sequence[str]]


class Lines(fields.Field):
    """A field of lines."""

    def __init__(self, config: Any, place: str) -> None:
        """ConfigError lists every fault of the declaration, those of the fields of a line, too."""
        wrong, inner = list[Fault](), list[fields.Field]()
        for one in config.fields:
            try:
                inner.append(fields.Field(one, f"{place}.fields.{one.name}"))
            except ConfigError as error:
                wrong += error.faults
        self.inner = tuple(inner)
        wrong += [Fault(f"{one.place}.{key}", "configuration", why) for one in inner for key, why in _unfit(one)]
        if wrong:
            raise ConfigError(f"{place} is no valid field", faults=wrong)
        super().__init__(config, place)
        self.column = self.column._replace(format="lines")

    @property
    def most(self) -> int:
        """The most lines."""
        return MOST_LINES if self.config.max_items is None else int(self.config.max_items)

    def _schema(self) -> Value:
        if self.config.type != "array":  # which is told
            return super()._schema()
        needed = [one.name for one in self.inner if one.config.required]
        properties = {one.name: one.published() for one in self.inner}
        line: Value = {"type": "object", "properties": properties, "required": needed, "additionalProperties": False}
        return super()._schema() | {"items": line, "maxItems": self.most}

    def _own_rules(self) -> Iterator[tuple[str, Callable[[Any, Any], Any], Any, str]]:
        return iter(())

    def _compiled(self) -> Callable[[Json], str]:
        known = {one.name: (place, f'"{one.name}":', one.text_of) for place, one in enumerate(self.inner)}
        needed = {one.name for one in self.inner if one.config.required or one.default is not None}
        least, most = self.config.min_items or 0, self.most

        def text_of_line(line: Json) -> str:
            if type(line) is not dict or not needed <= line.keys() <= known.keys():
                return ""
            members, before = [], -1
            for name, item in line.items():
                place, mark, text_of = known[name]
                text = text_of(item)
                if not text or place < before:
                    return ""
                members.append(mark + text)
                before = place
            return "{" + ",".join(members) + "}"

        def text_of(value: Json) -> str:
            if type(value) is not list or not least <= len(value) <= most:
                return ""
            texts = list(map(text_of_line, value))
            return "[" + ",".join(texts) + "]" if all(texts) else ""

        return text_of

    # -- what is wrong with lines

    def faults(self, value: Json, pointer: str) -> list[Fault]:
        """Everything that is wrong with the lines; the field's own message is for what is wrong with them as a whole."""
        if self.text_of(value):
            return []
        found = self._found(value, pointer)
        own = self.worded([one for one in found if one.pointer == pointer])
        return own + [one for one in found if one.pointer != pointer]

    def _found(self, value: Json, pointer: str) -> list[Fault]:
        least = self.config.min_items or 0
        if not isinstance(value, list):
            return [Fault(pointer, "type", "must be a list of lines")]
        if len(value) > self.most:
            return [Fault(pointer, "maxItems", f"must have at most {how_many(self.most, 'line')}")]
        found = [Fault(pointer, "minItems", f"must have at least {how_many(least, 'line')}")] if len(value) < least else []
        for index, line in enumerate(value):
            found += self._faults_of(line, f"{pointer}/{index}")
            if len(found) > MOST_FAULTS:
                break
        return found

    def _faults_of(self, line: Json, pointer: str) -> Iterator[Fault]:
        """What is wrong with one line."""
        if not isinstance(line, dict):
            yield Fault(pointer, "type", "must be an object, with the fields of a line")
            return
        names, kept = [one.name for one in self.inner], getattr(line, "kept", ())
        for name in [name for name in line if name not in names and name not in kept][:20]:
            detail = f"is not a field of a line{nearest(name, names)}"
            yield Fault(member_pointer(pointer, name), "unknown_field", detail)
        for one in self.inner:
            given, at = line.get(one.name, one.default), member_pointer(pointer, one.name)
            if one.name not in kept and given is not None:
                yield from one.faults(given, at)
            elif one.name not in kept and one.config.required:
                yield from one.missing(at)

    def normal(self, value: Json) -> Json:
        """The lines in their stored form: fields in declared order, with defaults, and without those that are empty."""
        return [self._normal_line(one) for one in value] if isinstance(value, list) else value

    def _normal_line(self, line: Json) -> Json:
        if not isinstance(line, dict):
            return line
        kept, made = getattr(line, "kept", ()), {}
        for one in self.inner:
            given = line.get(one.name) if one.name in kept else one.normal(line.get(one.name, one.default))
            if given is not None:
                made[one.name] = given
        return made | {name: line[name] for name in line if name in kept and name not in made}

    def against(self, given: Json, stored: Json) -> Json:
        """Lines that a program sends for a record, as Line where a part of them is stored already."""
        if not isinstance(given, list) or not isinstance(stored, list) or len(given) > self.most:
            return given
        whole = {dump_json(one) for one in stored}
        return [self._known(one, stored[place] if place < len(stored) else None, whole) for place, one in enumerate(given)]

    def _known(self, line: Json, before: Json, whole: Collection[str]) -> Json:
        if not isinstance(line, dict):
            return line
        if dump_json(line) in whole:
            return Line(line, {*line, *(one.name for one in self.inner)})
        if not isinstance(before, dict):
            return line
        return Line(line, [name for name in line if name in before and dump_json(line[name]) == dump_json(before[name])])

    def from_param(self, text: str, locale: Any) -> Json:
        raise BadRequest(f"{self.name} has lines, which a link cannot fill in")

    # -- what a page sends

    def read(self, rows: Sequence[Row], locale: Any) -> Json:
        """The lines that were typed; None if there are none."""
        rows = self.filled(rows, locale)
        if len(rows) > self.most:
            return _too_many(rows)
        return [self._typed(row, locale) for row in rows] or None

    def _typed(self, row: Row, locale: Any) -> Value:
        known = {one.name: locale.read(one, row.texts.get(one.name, ())) for one in self.inner}
        return known | {name: " ".join(texts) for name, texts in row.texts.items() if name not in known}

    def edited(self, rows: Sequence[Row], stored: Json, locale: Any) -> tuple[Json, Json]:
        """The lines after an edit, and what of them has to be valid: where a control shows what is stored, it stays as it is
        stored."""
        rows = self.filled(rows, locale)
        if len(rows) > self.most:
            return _too_many(rows), _too_many(rows)
        lines = [self._edited_line(row, _stored_at(row.key, stored), locale) for row in rows]
        return lines or None, lines or None

    def _edited_line(self, row: Row, before: Value | None, locale: Any) -> Value:
        """A line after an edit: new as it was typed, and of a stored one only what was changed."""
        if before is None:
            return self._typed(row, locale)
        names = [one.name for one in self.inner]
        values: Value = {name: one for name, one in before.items() if name not in names}
        kept = set(values)
        for one in self.inner:
            value, is_kept = self._edited_value(one, row.texts.get(one.name, ()), before.get(one.name), locale)
            if is_kept:
                kept.add(one.name)
            values[one.name] = value
        return Line({name: one for name, one in values.items() if one is not None or name not in kept}, kept)

    @staticmethod
    def _edited_value(one: fields.Field, texts: Sequence[str], old: Json, locale: Any) -> tuple[Json, bool]:
        """A value of a stored line after an edit, and whether it stays as it is stored and is not judged again."""
        if controls.mark(one, texts) == controls.mark(one, controls.control(one, locale, old).texts):
            return old, True
        value, fresh = controls.edited(one, texts, old, locale)
        return value, fresh is None and (value is not None or value is old)

    def filled(self, rows: Sequence[Row], locale: Any) -> list[Row]:
        """Those in which something is filled in; defaults alone count as such if they make a whole line."""
        found = [row for row in rows if any(text.strip() for texts in row.texts.values() for text in texts)]
        if not self._needs_more or len(found) > self.most:
            return found
        blank = {one.name: controls.mark(one, controls.control(one, locale, one.default).texts) for one in self.inner}
        return [row for row in found if row.texts.keys() - blank.keys() or self._marks(row) != list(blank.values())]

    @property
    def _needs_more(self) -> bool:
        """Whether a line of defaults alone is not valid."""
        return any(one.config.required and one.default is None for one in self.inner)

    def _marks(self, row: Row) -> list[str]:
        return [controls.mark(one, row.texts.get(one.name, ())) for one in self.inner]

    def flat(self, rows: Sequence[Row], locale: Any) -> list[str]:
        """What stands for lines where controls.mark() compares what was sent with what was shown."""
        nothing = [controls.mark(one, ()) for one in self.inner]
        found = []
        for place, row in enumerate(self.filled(rows, locale)):
            each = zip(self.inner, self._marks(row), nothing, strict=True)
            found += [f"{place}.{one.name}={digest}" for one, digest, empty in each if digest != empty]
        return found

    def initial(self) -> int:
        """How many lines stand in a page to be filled in where there are none."""
        plain = self._needs_more or self.config.required or all(one.default is None for one in self.inner)
        return max(1 if plain else 0, self.config.min_items or 0)


def _unfit(one: fields.Field) -> Iterator[tuple[str, str]]:
    """(setting, what is wrong with it) of a field that cannot stand in a line."""
    if one.is_file:
        yield "format", '"file" is not for the fields of a line: let the form have a field of files beside it'
    if one.looked_up:
        yield "format", f'"{one.config.format}" is not for the fields of a line: let the form have such a field beside it'
    if one.fill:
        yield "default", f'"{one.fill}" is made for new records, and not for their lines'


def _too_many(rows: Sequence[Row]) -> list[Json]:
    """So many empty lines: that they are too many is all that is said of them."""
    return [{}] * len(rows)


def _stored_at(key: str, stored: Json) -> Value | None:
    """The stored line that a page names by its place; None if there is none."""
    place = int(key) if key.isascii() and key.isdigit() and len(key) < 6 else MOST_LINES
    found = stored[place] if isinstance(stored, list) and place < len(stored) else None
    return found if isinstance(found, dict) else None


def nested(form: Form, data: Json) -> Json:
    """What a page sent, with the Rows of each field that has lines in place of the names that have points."""
    if not isinstance(data, dict):
        return data
    rows: dict[str, dict[str, dict[str, list[str]]]] = {name: {} for name, one in form.fields.items() if one.inner}
    found: Value = {}
    for text in data.get("_lines", ()):
        name, _, key = str(text).partition(".")
        if name in rows:
            rows[name].setdefault(key, {})
    for name, texts in data.items():
        field, _, rest = name.partition(".")
        key, point, inner = rest.partition(".")
        if field in rows and point:
            rows[field].setdefault(key, {})[inner] = [text for text in texts if isinstance(text, str)]
        elif name in rows:  # the field itself was sent as a text: a line that is said to be wrong
            rows[name].setdefault("", {})[""] = [text for text in texts if isinstance(text, str)]
        elif name != "_lines":
            found[name] = texts
    return found | {name: [Row(key, texts) for key, texts in one.items()] for name, one in rows.items() if one}


def _next_key(keys: Sequence[str]) -> int:
    """The key of one more line: no place of a stored one."""
    return 1 + max([int(key) for key in keys if key.isascii() and key.isdigit() and len(key) < 9] + [MOST_LINES - 1])


def turned(typed: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """What was typed into a page where a button for one more line, or for one less, was pressed."""
    found, (does, _, what) = dict(typed), next(iter(typed.get("_again", ())), "").partition(":")
    if does == "add":
        keys = [text.partition(".")[2] for text in found.get("_lines", ()) if text.startswith(f"{what}.")]
        found["_lines"] = [*found.get("_lines", ()), f"{what}.{_next_key(keys)}"]
    if does == "remove":
        found = {name: texts for name, texts in found.items() if not name.startswith(f"{what}.")}
        found["_lines"] = [text for text in found.get("_lines", ()) if text != what]
    return found


# ==== 2. PAGES ===================================================================================================
# Lines in the page of a form, with buttons for one more and one less, and in the page of a record.
# uses: ERRORS VALUES RESOURCES LINES plugin:controls plugin:sums
# defines: control placed flattened put_typed Shown fill said in_words shown

_BLANK = "__KEY__"  # stands for the key of a line that a script adds


def control(field: Lines, locale: Any, value: Json) -> Input:
    """The control of a field of lines, as marks compare it: what is in it is made by fill()."""
    config = field.config
    texts = tuple(field.flat(_rows(field, value, locale), locale))
    return controls.Input(field.name, field.title, config.description, "lines", config.required, texts)


def _rows(field: Lines, value: Json, locale: Any) -> list[Row]:
    """The lines of a value as a page shows them; if there are none, those that stand there to be filled in."""
    lines = value if isinstance(value, list) else []
    if not lines:
        lines = [{one.name: one.default for one in field.inner}] * field.initial()
    return [Row(str(key), _texts_of(field, line, locale)) for key, line in enumerate(lines)]


def _texts_of(field: Lines, line: Json, locale: Any) -> dict[str, Sequence[str]]:
    held = line if isinstance(line, dict) else {}
    return {one.name: controls.control(one, locale, held.get(one.name)).texts for one in field.inner}


def _inputs(field: Lines, key: str, before: Value, locale: Any) -> list[Input]:
    """The controls of a line, which holds this."""
    found = []
    for one in field.inner:
        each: Input = controls.control(one, locale, before.get(one.name))
        if each.widget == "radio":
            each = each._replace(widget="select", choices=tuple(pair for pair in each.choices if pair[0]))
        found.append(each._replace(name=f"{field.name}.{key}.{one.name}"))
    return found


def _sent(form: Form, typed: Mapping[str, Sequence[Any]], name: str) -> list[Row]:
    """The lines of a field as they were typed."""
    found = nested(form, {key: texts for key, texts in typed.items() if "." in key or key == "_lines"})
    return cast(list[Row], found.get(name, []))


def placed(form: Form, typed: Mapping[str, Sequence[Any]], faults: Sequence[Fault]) -> tuple[list[Fault], dict[str, str]]:
    """(the faults with names of controls in place of pointers into lines, what such controls are called)."""
    found, titles = [], {}
    for fault in faults:
        name, place, inner, *_ = [*fault.pointer.removeprefix("/").split("/"), "", ""]
        field = form.fields.get(name)
        rows = field.filled(_sent(form, typed, name), form.locale) if isinstance(field, Lines) else []
        if isinstance(field, Lines) and place.isdigit() and int(place) < len(rows):
            one = next((one for one in field.inner if one.name == inner), field.inner[0])
            control = f"{name}.{rows[int(place)].key}.{one.name}"
            fault = fault._replace(pointer=f"/{control}")
            titles[control] = form.locale.t("lines.place", field=field.title, n=int(place) + 1, inner=one.title)
        elif field is not None and not place and vars(field.config).get("sum"):
            titles[name] = field.title
        found.append(fault)
    return found, titles


def flattened(form: Form, typed: Mapping[str, Sequence[Any]]) -> dict[str, Sequence[Any]]:
    """What was typed, with what flat() makes of lines under the names of their fields."""
    of_lines = [one for one in form.fields.values() if isinstance(one, Lines)]
    return {**typed, **{one.name: one.flat(_sent(form, typed, one.name), form.locale) for one in of_lines}}


def put_typed(form: Form, name: str, typed: Mapping[str, Sequence[Any]] | None, value: Value) -> None:
    """Puts the lines of a field into a record's value as they were typed, if they were."""
    if typed is not None:
        value[name] = cast(Lines, form.fields[name]).read(_sent(form, typed, name), form.locale)


class Shown(NamedTuple):
    """A line in a page: its number, from 1, its key, and its controls."""

    number: int
    key: str
    cells: list[Any]


def fill(
    page: Mapping[str, Any],
    control: Any,
    typed: Mapping[str, Any] | None,
    wrong: Mapping[str, str],
    make: Callable[..., Any],
) -> None:
    """Puts the lines into the control of their field in a page: those that were typed, or else those of its record. `wrong`
    says what is wrong with controls by their names, and `make` makes what a template shows of an Input."""
    form: Form = page["form"]
    field, locale = cast(Lines, form.fields[control.name]), form.locale
    stored = page.get("values", {}).get(field.name, None if "values" in page else field.default)
    rows = _rows(field, stored, locale) if typed is None else _sent(form, typed, field.name)
    lines, fresh = [], {one.name: one.default for one in field.inner}
    blank = _texts_of(field, fresh, locale)
    for number, row in enumerate(rows[: field.most], 1):
        before = _stored_at(row.key, stored) or {}
        each = zip(field.inner, _inputs(field, row.key, before, locale), strict=True)
        texts = row.texts or blank  # of a line that was added, which has its defaults
        cells = [make(one, texts.get(inner.name, ()), wrong.get(one.name, "")) for inner, one in each]
        lines.append(Shown(number, row.key, cells))
    control.lines, control.blank = lines, Shown(0, _BLANK, list(map(make, _inputs(field, _BLANK, fresh, locale))))
    control.most, control.full = field.most, len(rows) >= field.most
    control.totals = app.plugin("sums").totals(form, field, rows, wrong)
    control.next = f"f-{field.name}.{_next_key([row.key for row in rows])}.{field.inner[0].name}"  # where to type on


def said(control: Any) -> str:
    """The lines of a control in one text."""
    texts = (" ".join(filter(None, (str(cell.value) for cell in line.cells))) for line in control.lines)
    return "; ".join(filter(None, texts))


def in_words(field: Lines, value: Sequence[Json], locale: Any) -> str:
    """Lines as text, each in a line of its own."""
    columns = [one.column for one in field.inner]
    lines = [line if isinstance(line, dict) else {} for line in value]
    shown = ([locale.show(column, line.get(column.name)) for column in columns] for line in lines)
    return "\n".join(locale.t("common.comma").join(filter(None, texts)) for texts in shown)


def shown(form: Form, name: str, value: Json) -> Any:
    """(headings, whether each is of numbers; rows of texts) of a field of lines in the page of a record; None for another
    field, or if it has none."""
    field = form.fields.get(name)
    if field is None or not field.inner or not isinstance(value, list) or not value:
        return None
    lines = [line for line in value if isinstance(line, dict)]
    known = {one.name: one.column for one in field.inner}
    others = dict.fromkeys(name for line in lines for name in line if name not in known)
    columns = [*known.values(), *(app.Column(name, form.locale.t("form.not_asked", name=name)) for name in others)]
    rows = [[form.locale.show(column, line.get(column.name)) for column in columns] for line in lines]
    return [(column.title, column.type in ("number", "integer")) for column in columns], rows
