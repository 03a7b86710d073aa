"""README and CHANGELOG are true: tables equal the program's own, the tour runs, the examples work.

`python tests/test_docs.py` prints the tables that README must have; `python tests/test_docs.py write` puts them there.
"""

from __future__ import annotations

import argparse
import configparser
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

ROOT = Path(__file__).parent.parent
if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))

import app  # noqa: E402

README = ROOT / "README.md"


# ---- the tables, made from the program ----

VALUES = {
    "address": "`HOST:PORT`, `[IPV6]:PORT` or `unix:/PATH`",
    "any": "any value",
    "boolean": "`true` or `false`",
    "columns": "table of tables",
    "conditions": "list of conditions",
    "count": "whole number",
    "duration": 'duration such as `"30s"`, `"10m"`, `"12h"`, `"7d"`',
    "folder": "folder in the provider",
    "grants": "list of grants",
    "list": "list",
    "menu": "list of addresses and tables",
    "number": "number",
    "path": "path, relative to app.toml",
    "pattern": "regular expression",
    "prefix": "path of an address",
    "secret": '`"file:PATH"` or `"env:NAME"`',
    "size": 'size such as `"500KB"`, `"10MB"`, `"2GiB"`',
    "table": "table",
    "tables": "list of tables",
    "text": "text",
    "texts": "list of texts",
    "type": "name of a type",
    "word": "name: letters, digits, `_`",
}


def literal(value: Any) -> str:
    """A default as app.toml would say it."""
    if value is app.REQUIRED:
        return "required"
    if value is None:
        return "none"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f'`"{value}"`' if isinstance(value, str) else f"`{value}`"


def table(headings: str, rows: list[list[str]]) -> str:
    names = headings.split(" | ")
    lines = [names, ["---"] * len(names), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def all_settings() -> dict[str, tuple[app.Setting, ...]]:
    """The settings by the place of their table in app.toml, those of the providers' kinds too."""
    found: dict[str, tuple[app.Setting, ...]] = {}
    for place, settings in app.SETTINGS.items():
        if place != "views.*.params.*":  # as the fields of forms
            found[place.replace("*", "NAME")] = settings
        if place == "providers.*":
            found |= {f"providers.NAME ({cls.kind})": cls.settings for cls in (app.SqlProvider, app.FileProvider)}
    return found


def settings_text() -> str:
    rows = []
    for place, settings in all_settings().items():
        path, _, only = place.partition(" ")
        rows += [[f"`{path}.{s.name}` {only}".strip(), literal(s.default), VALUES[s.kind], s.help] for s in settings]
    return table("setting | default | value | what it is", rows)


def error_classes() -> list[type[app.AppError]]:
    found = [app.AppError]
    for cls in found:
        found += cls.__subclasses__()
    return sorted(set(found), key=lambda cls: (cls.status, cls.code))


def errors_text() -> str:
    rows = []
    for cls in error_classes():
        meaning = "A fault in Satchel; the log has it under the request id"
        if cls is not app.AppError:
            meaning = re.split(r"[.;:] | \(|\.$", " ".join((cls.__doc__ or "").split()))[0]
        rows.append([f"`{cls.code}`", str(cls.status), str(cls.exit_code), "yes" if cls.retry else "no", meaning])
    return table("code | status | exit code | repeat may help | meaning", rows)


def leaves(parser: argparse.ArgumentParser, words: tuple[str, ...] = ()) -> Iterator[tuple[str, argparse.ArgumentParser, str]]:
    """Every command as (words, parser, help)."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            helps = {choice.dest: choice.help or "" for choice in action._choices_actions}
            for name, inner in action.choices.items():
                nested = any(isinstance(one, argparse._SubParsersAction) for one in inner._actions)
                if not nested or name == "server":
                    yield " ".join((*words, name)), inner, helps[name]
                if nested:
                    yield from leaves(inner, (*words, name))


def arguments_of(parser: argparse.ArgumentParser) -> list[str]:
    """Options and arguments as usage shows them, without those that nearly every command has."""
    common = {"--help", "--config", "--data", "--json"}
    shown = []
    for one in parser._actions:
        if isinstance(one, argparse._SubParsersAction) or common & set(one.option_strings):
            continue
        metavar = str(one.metavar or (one.choices and "|".join(one.choices)) or one.dest.upper())
        text = f"{one.option_strings[0]} {metavar}".strip() if one.option_strings else metavar
        if isinstance(one, argparse._StoreTrueAction):
            text = one.option_strings[0]
        many = "…" if isinstance(one, argparse._AppendAction) or one.nargs == "+" else ""
        optional = not one.required if one.option_strings else one.nargs == "?"
        shown.append(f"[{text}]{many}" if optional else text + many)
    return shown


def commands_text() -> str:
    rows = []
    for words, parser, help_ in leaves(app.build_parser()):
        rows.append([f"`{' '.join([words, *arguments_of(parser)])}`", help_])
    return table("command | what it does", rows)


def contracts_text() -> str:
    """What a plugin implements: the abstract methods, and what it may replace."""
    rows = []
    for cls in (app.Provider, app.Records, app.Blobs, app.Queries):
        own = [name for name in vars(cls) if not name.startswith("_") or name == "__init__"]
        must = [name for name in own if name in cls.__abstractmethods__]
        must += [name for name in getattr(cls, "__annotations__", ()) if name not in vars(cls)]
        may = [name for name in own if name not in must]
        rows.append([f"`{cls.__name__}`", *(", ".join(f"`{name}`" for name in names) or "nothing" for names in (must, may))])
    return table("contract | you write | you may replace", rows)


TABLES: Mapping[str, Callable[[], str]] = {
    "commands": commands_text,
    "settings": settings_text,
    "errors": errors_text,
    "contracts": contracts_text,
}


def with_tables(text: str) -> str:
    """README with every table replaced by what the program says."""
    for name, make in TABLES.items():
        begin, end = f"<!-- {name}: made by tests/test_docs.py -->\n", f"\n<!-- end of {name} -->"
        before, _, rest = text.partition(begin)
        _, found, after = rest.partition(end)
        assert found, f"README has no place for the table of {name}: {begin.strip()} … {end.strip()}"
        text = before + begin + make() + end + after
    return text


if __name__ == "__main__":
    if sys.argv[1:] == ["write"]:
        README.write_text(with_tables(README.read_text(encoding="utf-8")), encoding="utf-8")
    else:
        print("\n\n".join(f"<!-- {name} -->\n{make()}" for name, make in TABLES.items()))
