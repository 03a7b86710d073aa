"""Converters: what app.toml says becomes the setting's value."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

from app import (
    OPERATORS,
    RESERVED_FIELDS,
    BadRequest,
    Condition,
    FieldConfig,
    Grant,
    Json,
    Value,
    check_path,
    check_text,
    check_value,
    dump_json,
    nearest,
    parse_grant,
    plugin,
)

# ==== 1. CONVERTERS ==============================================================================================
# Each takes what app.toml says and the folder where relative paths start. ValueError says what to write instead.
# uses: ERRORS VALUES CONFIG AUTH plugin:file_names plugin:toml_advice
# defines: media inside secret queue pattern link grants field_type roles opens values items choices condition
#          comparisons check notice BLOCKS block pages menu_item unique age number size duration file word BY_KIND


_UNITS_BYTES = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
                "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}  # fmt: skip
_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_LONGEST_S = 10 * 366 * 86400
_WORD = r"[A-Za-z][A-Za-z0-9_]{0,63}"


def _text(raw: Any, folder: Path) -> str:
    if isinstance(raw, int | float | Decimal) and not isinstance(raw, bool):
        raise ValueError(f'must be a text in quotes: write "{raw}"')
    if not isinstance(raw, str) or check_text(raw):
        raise ValueError("must be a text in quotes")
    return raw


def _texts(raw: Any, folder: Path) -> tuple[str, ...]:
    if not isinstance(raw, list):
        raise ValueError(f'must be a list of texts, such as ["{raw if isinstance(raw, str) and raw else "a"}"]')
    return tuple(_text(item, folder) for item in raw)


def _json(raw: Any, folder: Path) -> Json:
    """A value as records can hold it: TOML has dates, infinities and longer integers too."""
    for fault in check_value(raw):
        raise ValueError(f"{fault.pointer} {fault.detail}".strip())
    try:
        dump_json(raw)
    except TypeError:
        raise ValueError('holds a date or time: write it in quotes, such as "2026-11-23"') from None
    return raw


def _made(raw: Any, folder: Path) -> Any:
    """What the reader made of what is inside a setting."""
    return tuple(raw) if isinstance(raw, list) else raw


def _path(raw: Any, folder: Path) -> Path | None:
    text = _text(raw, folder)
    try:
        return folder / Path(text).expanduser() if text else None
    except RuntimeError as error:  # ~name of nobody
        raise ValueError(f"names the home folder of an unknown user: {text}") from error


def media(raw: Any, folder: Path) -> tuple[str, ...]:
    """Media types such as "image/*", and endings such as ".pdf"."""
    for one in [text for text in _texts(raw, folder) if not re.fullmatch(r"\.[^/]+|[^./][^/]*/[^/]+", text)]:
        hint = '; write "*/*", or leave it out' if one == "*" else ""
        if ending := re.fullmatch(r"\*?\.?(\w+)", one):
            hint = f'; write ".{ending[1]}"'
        raise ValueError(f'{one!r} is neither a media type, such as "image/*", nor an ending, such as ".pdf"{hint}')
    return tuple(raw)


def inside(raw: Any, folder: Path) -> str:
    """A folder inside a provider, with a slash at its end; "" is its root."""
    path = _text(raw, folder).strip("/")
    if path and plugin("file_names").is_kept(path):
        raise ValueError("is where deleted and overwritten files are kept, which no share shows: name another folder")
    try:
        return check_path(path.split("/")) + "/" if path else ""
    except BadRequest as error:
        raise ValueError(f"must be a folder such as handbook/: {error.message}") from error


def secret(raw: Any, folder: Path) -> str:
    """What the environment variable or the file holds that is named, without white space round it; "" stays ""."""
    text = _text(raw, folder)
    scheme, _, rest = text.partition(":")
    if not text:
        return ""
    if scheme not in ("env", "file"):
        raise ValueError('must be "env:NAME" or "file:PATH", so that no secret stands in app.toml')
    if scheme == "env":
        named, found = f"environment variable {rest}, which is empty or not set", os.environ.get(rest, "")
    else:
        named = f"file {rest}, which is empty"
        try:
            found = (folder / rest).read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise ValueError(f"names the file {rest}, which cannot be read ({type(error).__name__})") from error
    if not found.strip():
        raise ValueError(f"names the {named}")
    return found.strip()


def queue(raw: Any, folder: Path) -> str:
    """The URL itself, or the secret that holds it."""
    text = _text(raw, folder)
    url = secret(text, folder) if text.startswith(("env:", "file:")) else text
    if not re.fullmatch(r"https?://[^/\s]+(/[^/\s]+)+", url):
        raise ValueError('must be the URL of a queue, or "env:NAME" or "file:PATH"')
    return url


def pattern(raw: Any, folder: Path) -> str:
    """A regular expression, also where it must match a whole text. Whether it is quick is judged beside its field."""
    try:
        re.compile(_text(raw, folder))
        re.compile(f"(?:{raw})")
    except (re.error, RecursionError, OverflowError) as error:
        also = ": write (?i:…) around it" if "global flags" in str(error) else ""
        raise ValueError(f"is not a regular expression: {error}{also}") from error
    return str(raw)


def link(raw: Any, folder: Path) -> str:
    """What a browser may be led to, or an address of this site."""
    if not re.match(r"https?://|/|mailto:|(forms|views|files|apps|admin)/", _text(raw, folder)):
        raise ValueError("must begin with https://, http://, mailto: or /, or be an address such as views/open?kind=paid")
    return str(raw)


def _one_of(raw: Any, words: Sequence[str]) -> str:
    if raw not in words:
        hint = nearest(raw, words) if isinstance(raw, str) else ""
        raise ValueError(f"must be {', '.join(words[:-1])} or {words[-1]}{hint}")
    return str(raw)


def grants(raw: Any, folder: Path) -> tuple[Grant, ...]:
    """Patterns with actions, such as forms/leave:create."""
    try:
        return tuple(parse_grant(text) for text in _texts(raw, folder))
    except BadRequest as error:
        raise ValueError(error.message) from error


def field_type(raw: Any, folder: Path) -> str:
    """The type of a field; a word that people use for one is told apart."""
    types = ("string", "number", "integer", "boolean", "array")
    if isinstance(raw, str) and raw not in types and (meant := plugin("toml_advice").other_type(raw)):
        raise ValueError(f"{raw!r} is not a type: write {meant}")
    return _one_of(raw, types)


def roles(raw: Any, folder: Path) -> tuple[str, ...]:
    """The names of roles, or the one of a single role."""
    found = _texts([raw] if isinstance(raw, str) else raw, folder)
    if not found:
        raise ValueError("names no role: leave it out, or write the name of one")
    return tuple(found)


def opens(raw: Any, folder: Path) -> str:
    """What links to a form lead to."""
    return _one_of(raw, ("form", "records"))


def values(raw: Any, folder: Path) -> tuple[Json, ...]:
    """Texts and numbers, each once."""
    found = tuple(items(raw, folder))
    if any(not isinstance(value, str | int | float | Decimal) for value in found):
        raise ValueError("must be a list of texts or numbers")
    if len(set(map(str, found))) < len(found):
        raise ValueError("has the same value twice")
    return found


def items(raw: Any, folder: Path) -> Json:
    """A list of any values."""
    if not isinstance(raw, list):
        raise ValueError("must be a list [ … ]" + (f', such as ["{raw}"]' if isinstance(raw, str) and raw else ""))
    return _json(raw, folder)


def choices(raw: Sequence[Value], folder: Path) -> tuple[Value, ...]:
    """Allowed values with their titles, each once."""
    values([one["const"] for one in raw], folder)
    return tuple(raw)


def condition(raw: Value, folder: Path) -> Condition:
    """The one comparison that a table says."""
    if len(raw) != 2:
        raise ValueError(f"must be {{ field = …, OP = … }} with one OP of {', '.join(OPERATORS)}")
    op = next(name for name in raw if name != "field")
    return Condition(raw["field"], op, raw[op])


def comparisons(raw: Any, folder: Path) -> tuple[tuple[str, Json], ...]:
    """The comparisons of a field in show_if or required_if: with one value, with a list, or by operators."""
    if not isinstance(raw, dict):
        op = "in" if isinstance(raw, list) else "eq"
        return ((op, _compared(op, raw, folder)),)
    if not raw:
        raise ValueError("must be a value, a list of values, or { OP = value } with an OP of " + ", ".join(OPERATORS))
    return tuple((_operator(op, OPERATORS), _compared(op, value, folder)) for op, value in raw.items())


def _operator(op: Any, known: Sequence[str]) -> str:
    if op not in known:
        raise ValueError(f"{op!r} is no operator{nearest(str(op), known) or ': write one of ' + ', '.join(known)}")
    return str(op)


def _compared(op: str, value: Any, folder: Path) -> Json:
    """What a field is compared with by an operator."""
    value = _json(value, folder)
    fits = {"in": isinstance(value, list) and value, "null": isinstance(value, bool), "prefix": isinstance(value, str)}
    if not fits.get(op, value is not None and not isinstance(value, dict | list)):
        needed = {"in": "a list of values", "null": "true or false", "prefix": "a text"}
        raise ValueError(f"{op} needs {needed.get(op, 'a text, a number, true or false')}")
    return cast(Json, value)


def check(raw: Value, folder: Path) -> Value:
    """The comparison that a table in `checks` says."""
    if ("right" in raw) == ("value" in raw):
        raise ValueError("must be { left = field, op = OP, right = field } or { left = field, op = OP, value = … }")
    known = OPERATORS[:6] if "right" in raw else OPERATORS[:-1]
    op = _operator(raw["op"], known)
    return raw if "right" in raw else {**raw, "value": _compared(op, raw["value"], folder)}


def notice(raw: Value, folder: Path) -> Value:
    """Who is told after what, or reminded."""
    if ("on" in raw) == bool(raw.keys() & {"after", "state"}) or ("after" in raw) != ("state" in raw):
        raise ValueError('must be { on = "create", to = … }, or a reminder { after = "3d", state = "new", to = … }')
    return raw


BLOCKS = ("view", "chart", "form", "number", "files", "markdown")


def block(raw: Value, folder: Path) -> Value:
    """A block of an app's page: what it shows, and how."""
    if len(raw.keys() & set(BLOCKS)) != 1:
        raise ValueError(f'must name one of {", ".join(BLOCKS)}: {{ view = "views/open", limit = 5 }}')
    return raw


def pages(raw: Any, folder: Path) -> str:
    """A folder in a share, as an address, or one beside app.toml, as its path."""
    text = _text(raw, folder).rstrip("/")
    return text if not text or text.startswith("files/") else str(folder / text)


def menu_item(raw: Any, folder: Path) -> Json:
    """The address of a resource, or a link."""
    if not isinstance(raw, dict) and (not isinstance(raw, str) or check_text(raw)):
        raise ValueError("must be an address such as forms/leave, or a table { title, href }")
    return cast(Json, raw)


def unique(raw: Any, folder: Path) -> tuple[tuple[str, ...], ...]:
    """Lists of fields, whose values no two records share."""
    example = 'must be a list of lists of fields, such as [["name", "from_day"]]'
    if not isinstance(raw, list) or not all(isinstance(one, list) and one for one in raw):
        raise ValueError(example + (": each list stands for one rule" if isinstance(raw, list) else ""))
    found = tuple(_texts(one, folder) for one in raw)
    if any(len(set(one)) < len(one) for one in found) or len({frozenset(one) for one in found}) < len(found):
        raise ValueError("names the same field, or the same rule, twice")
    return found


def age(raw: Any, folder: Path) -> int:
    """Seconds of a duration, which may be in years of 365 days."""
    if isinstance(raw, str) and (years := re.fullmatch(r"([0-9]{1,2})\s*y", raw)):
        raw = f"{int(years[1]) * 365}d"
    return duration(raw, folder)


def number(raw: Any, folder: Path) -> Json:
    """A number of at most 400 digits."""
    if isinstance(raw, bool) or not isinstance(raw, int | float | Decimal) or any(check_value(raw)):
        raise ValueError("must be a number")
    if abs(Decimal(raw).adjusted()) > 400:
        raise ValueError("must have at most 400 digits")
    return raw


def size(raw: Any, folder: Path) -> int:
    """Bytes of a size such as "10MB"."""
    match = re.fullmatch(r"([0-9]{1,15})\s*([A-Za-z]*)", str(raw)) if isinstance(raw, str | int) else None
    if not match or isinstance(raw, bool) or match[2].upper() not in _UNITS_BYTES:
        raise ValueError('must be a size, such as "10MB" (1 MB = 1,000,000 bytes) or "10MiB"')
    return int(match[1]) * _UNITS_BYTES[match[2].upper()]


def duration(raw: Any, folder: Path) -> int:
    """Seconds of a duration such as "10m"."""
    match = re.fullmatch(r"([0-9]{1,9})\s*([smhdw]?)", str(raw)) if isinstance(raw, str | int) else None
    seconds = int(match[1]) * _UNITS_S[match[2] or "s"] if match and not isinstance(raw, bool) else 0
    if not 0 < seconds <= _LONGEST_S:
        raise ValueError('must be a duration from one second to ten years, such as "30s", "10m", "12h" or "30d"')
    return seconds


def file(raw: Any, folder: Path) -> Path | None:
    """A file that can be read; None of ""."""
    path = _path(raw, folder)
    if path is not None and not (path.is_file() and os.access(path, os.R_OK)):
        raise ValueError(f"names the file {raw}, which cannot be read")
    return path


def word(raw: Any, folder: Path) -> str:
    """Letters, digits and _, as names of tables have them; "" stays ""."""
    if raw != "" and not (isinstance(raw, str) and re.fullmatch(_WORD, raw)):
        raise ValueError("must be letters, digits and _, beginning with a letter, at most 64")
    return str(raw)


def _name(raw: str, folder: Path) -> str:
    if not re.fullmatch(r"[a-z][a-z0-9_-]{0,63}", raw):
        raise ValueError("is not a name: a-z, 0-9, _ and -, beginning with a letter, at most 64")
    return raw


def _field_name(raw: str, folder: Path) -> str:
    if not re.fullmatch(_WORD, raw) or "__" in raw or raw in RESERVED_FIELDS:
        raise ValueError("is not a field name: letters, digits and _, no __, and none of " + ", ".join(RESERVED_FIELDS))
    return raw


def _boolean(raw: Any, folder: Path) -> bool:
    if not isinstance(raw, bool):
        raise ValueError("must be true or false")
    return raw


def _count(raw: Any, folder: Path) -> int:
    if isinstance(raw, bool) or not isinstance(raw, int) or not 0 <= raw < 2**31:
        raise ValueError("must be a whole number, 0 or more")
    return raw


def _positive(raw: Any, folder: Path) -> int:
    if not _count(raw, folder):
        raise ValueError("must be a whole number, 1 or more")
    return cast(int, raw)


def _directory(raw: Any, folder: Path) -> Path:
    path = _path(raw, folder)
    if path is None or (path.exists() and not path.is_dir()):
        raise ValueError("must be a folder")
    return path


def _fields(raw: Mapping[str, FieldConfig], folder: Path) -> tuple[FieldConfig, ...]:
    return tuple(raw.values())


def _bind(raw: Any, folder: Path) -> str:
    return str(raw) if type(raw) is int else _text(raw, folder)


def _judged_by(
    plugin_name: str, function: str, usual: Any, read: Callable[[Any, Path], Any] = _text
) -> Callable[[Any, Path], Any]:
    """A converter that asks a function of a plugin about what is not usual."""

    def convert(raw: Any, folder: Path) -> Any:
        value = read(raw, folder)
        return value if value == usual else getattr(plugin(plugin_name), function)(value)

    return convert


def _unless_empty(convert: Callable[[Any, Path], Any]) -> Callable[[Any, Path], Any]:
    """A converter that leaves "" as it is."""
    return lambda raw, folder: raw if raw == "" else convert(raw, folder)


# In order of the value: anything, texts, numbers, places on disk, and the shapes of single settings.
BY_KIND: Mapping[str, Callable[[Any, Path], Any]] = {
    "any": _json, "boolean": _boolean, "text": _text, "texts": _texts, "list": items, "word": word, "media": media,
    "secret": secret, "pattern": pattern, "block": block, "pages": pages, "number": number, "count": _count,
    "positive": _positive, "size": size, "duration": duration, "path": _path, "age": _unless_empty(age), "file": file,
    "folder": _directory, "inside": inside, "link": link,
    "address": _judged_by("addresses", "bind_address", "127.0.0.1:8080", _bind),
    "hosts": _judged_by("addresses", "hosts", (), _texts), "networks": _judged_by("addresses", "networks", (), _texts),
    "prefix": _judged_by("addresses", "prefix", ""), "site": _judged_by("addresses", "site_address", ""),
    "lang": _judged_by("zones", "language", "en"), "timezone": _judged_by("zones", "zone", "UTC"),
    "callable": _judged_by("wsgi_apps", "callable_name", ""), "queue": queue, "queues": _made, "grants": grants,
    "replies": _made, "type": field_type, "comparisons": comparisons, "check": check, "roles": roles, "opens": opens,
    "values": values, "table": _made, "tables": _made, "fields": _fields, "field": _field_name, "name": _name,
    "choices": choices, "conditions": _made, "condition": condition, "menu": _made, "menu item": menu_item, "home": _made,
    "notice": notice, "unique": unique, "room": _unless_empty(size),
}  # fmt: skip
