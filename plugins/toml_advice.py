"""What to write in app.toml when its syntax is wrong, and the line on which each of its settings stands."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from app import CHOICE, Config, Fault, Setting, bundled_text, nearest, settings_of

# ==== 1. ADVICE ==================================================================================================
# For people at the command line: imported only when app.toml has a fault.
# uses: ERRORS CONFIG
# defines: toml_lines line_of located toml_advice


def toml_lines(text: str) -> dict[str, int]:
    """The line on which each table and key of a TOML file begins, by its place such as "forms.leave.fields.days", or
    "sqs.queues.1" for the second [[sqs.queues]]."""
    found: dict[str, int] = {}
    lists: dict[str, int] = {}  # how many [[name]] there were
    table, quotes = "", ""
    for number, line in enumerate(text.splitlines(), 1):
        if quotes:  # inside a text of several lines
            quotes = "" if quotes in line else quotes
            continue
        if head := re.match(r"\s*(\[\[?)([^\]]+)\]", line):
            place = table = _plain(head[2])
            if head[1] == "[[":
                found.setdefault(place, number)  # the list of them begins with the first
                lists[place] = lists.get(place, -1) + 1
                place = table = f"{place}.{lists[place]}"
        elif key := re.match(r"([\w.\"'\s-]+)=", line):
            place = f"{table}.{_plain(key[1])}".lstrip(".")
        else:
            place = table
        found.setdefault(place, number)
        quotes = next((mark for mark in ('"""', "'''") if line.count(mark) == 1), "")
    return found


def _plain(name: str) -> str:
    return re.sub(r"[\"'\s]", "", name)


def line_of(config: Config, fault: Fault) -> int | None:
    """The line of app.toml on which the fault's place, or the table around it, begins."""
    place, lines = fault.pointer, config.lines()
    while place and place not in lines:
        place = place.rpartition(".")[0]
    return lines.get(place)


def located(config: Config, faults: Iterable[Fault]) -> list[Fault]:
    """The faults with their lines, for people."""
    lines = ((fault, line_of(config, fault)) for fault in faults)
    return [fault._replace(detail=f"{fault.detail} (line {line})") if line else fault for fault, line in lines]


def toml_advice(text: str, trouble: str) -> str:
    """What to write where TOML's syntax is wrong, as tomllib's message says; "" if that is not clear."""
    place = re.search(r"at line ([0-9]+), column ([0-9]+)", trouble)
    if place is None:
        return ""
    line, at = text.splitlines()[int(place[1]) - 1], int(place[2]) - 1
    return _line_advice(line, at, trouble) or _value_advice(line, at)


def _line_advice(line: str, at: int, trouble: str) -> str:
    """The advice if one character of the line, or the whole of it, is what TOML does not take."""
    here, head = line[at : at + 1], line.strip()
    if set("“”„‘’«»") & set(line):
        quoted = re.search("(?:([\\w.-]+)\\s*=\\s*)?[“”„‘’«»]+([^“”„‘’«»]*)", line)
        return f': write straight quotes, as in {_key(quoted[1])}"{quoted[2]}"' if quoted else ""
    pair = re.search(r"([\w.\"'-]+)\s*$", line[:at]) if here == ":" and "Expected '='" in trouble else None
    if pair:
        value = re.split("[,}]", line[at + 1 :])[0].strip()
        return f": write = and not :, as in {pair[1]} = {value}" if value else f": write [{pair[1]}]"
    if re.search("twice|overwrite|Duplicate", trouble):
        return f": {_repeated(head, trouble)} stands there twice: make one of the two"
    if head.startswith("[") and "Expected ']'" in trouble:
        return ": a name has no spaces, as in [files.my-share]" if "]" in head else ": write ] at the end"
    if here == "}" and line[:at].rstrip().endswith(","):
        return ": take out the comma before }"
    if "Illegal character '\\n'" in trouble:
        return ': a quote is missing at the end; a text of several lines stands between three quotes, """'
    inner = re.fullmatch(r"([\w.-]+)\s*=\s*\"((?:.*[\s(])?\"\w.*)\"", head)
    if inner and "'" not in inner[2] and "," not in inner[2]:
        return f": quotes stand inside a text: write {inner[1]} = '{inner[2]}'"
    return ""


def _key(name: str | None) -> str:
    return f"{name} = " if name else ""


def _repeated(head: str, trouble: str) -> str:
    """The key or table that stands there twice."""
    if named := re.search("key '(.+?)'", trouble):
        return named[1]
    return head if head.startswith("[") else head.partition("=")[0].strip()


def _value_advice(line: str, at: int) -> str:
    """The advice if a value is what TOML does not take."""
    match = re.match(r"\s*([\w.\"'-]+)\s*[:=]", line)
    if match is None:
        return ""
    if "{" in line and "}" not in line:
        return ": a table in { } stands on one line"
    start = max(line.rfind(mark, 0, at + 1) for mark in "=,[{") + 1
    word = re.split("[,\\]}#]", line[start:])[0].strip()
    if word.casefold() in ("true", "yes", "on"):
        return ": write true"
    if word.casefold() in ("false", "no", "off"):
        return ": write false"
    if word.casefold() in ("", "null", "none", "nil"):
        return ": write a value, or leave the line out"
    if word.startswith('"') and "\\" in word:
        return f": in double quotes a backslash is written twice; write {match[1]} = '{word.strip(chr(34))}'"
    if word.startswith(('"', "'")):
        return ""
    inside = re.search(r"([\w-]+)\s*=\s*$", line[:start])
    return f': a text stands in quotes: write {_key(inside and inside[1])}"{word}"'


# ==== 2. WORDS ===================================================================================================
# Words that other programs have for settings, and how what is wrong is written here.
# uses: ERRORS CONFIG
# defines: other_names other_type unknown_key example as_tables
#          misnamed as_table


@lru_cache(maxsize=1)
def other_names() -> Mapping[str, Mapping[str, Any]]:
    """What other programs call things of app.toml, and what to write here: templates/names.toml, by table and word."""
    tables = tomllib.loads(bundled_text("names.toml"))
    return {
        name: {word: meant for words, meant in table.items() for word in words.split()} for name, table in tables.items()
    }


def other_type(word: str) -> str:
    """What to write for the word that other programs have for a type or format of a field; "" if none is known."""
    return str(other_names()["types"].get(word.casefold(), ""))


def unknown_key(key: str, names: Collection[str]) -> str:
    """What is wrong with a key that is none of the settings of its table."""
    return f"is not a setting{_instead(key, names)}"


def _instead(key: str, names: Collection[str]) -> str:
    """A hint what was probably meant by an unknown key, or ""."""
    for meant in other_names()["settings"].get(key.casefold(), ()):
        name = re.split("[ .]", meant)[0]
        if name == meant and name in names:
            return f"; did you mean {meant}?"
        if name in names:
            return f"; write {meant}"
    return nearest(key, names)


def example(settings: Sequence[Setting], value: Any = "…") -> str:
    """A table with the first of its settings."""
    given = settings[0].default if isinstance(settings[0].default, str) else value
    return f'{{ {settings[0].name} = "{given}" }}'


def as_tables(one: Setting) -> str:
    """What is wrong with a setting that holds neither a list nor a table by names."""
    such = f" of tables: write NAME = {example(settings_of(one.each))}" if one.each else " { … }"
    if one.default == {}:
        return f"must be a table{such}"
    return f"must be a list of tables, such as [{example(settings_of(one.each))}]"


def misnamed(faults: Iterable[Fault], place: str, name: str) -> bool:
    """Whether a fault says already that another key of the table was probably meant to be this setting."""
    meant = re.compile(rf"is not a setting; (did you mean|write) {name}\b")
    return any(one.pointer.rpartition(".")[0] == place and meant.match(one.detail) for one in faults)


def as_table(place: str, shape: str, settings: Sequence[Setting], raw: Any) -> str:
    """How to write a table in place of a value that is not one."""
    if shape.count(".") < 2 and not shape.endswith(".N"):
        return f"[{place}]"
    such = example(settings, raw if isinstance(raw, str) else "…")
    if settings == CHOICE and isinstance(raw, str):
        return f'{such}, or enum = ["{raw}"] in place of oneOf'
    return such if shape.endswith(".N") else f"{place.rpartition('.')[2]} = {such}"
