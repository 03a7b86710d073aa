"""What to write in app.toml when its syntax is wrong, and the line on which each of its settings stands."""

from __future__ import annotations

import re
from collections.abc import Iterable

from app import Config, Fault

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
