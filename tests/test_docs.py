"""README, docs/ and CHANGELOG are true: tables equal the program's own, every command runs, every example works.

`python tests/test_docs.py` prints the tables that the pages must have; `python tests/test_docs.py write` puts them there.
The commands of a page run in the order in which they stand, on the starter with the page's own pieces of app.toml; what is
shown below a command is what it prints. Pictures are made anew by their test when they are missing.
"""

from __future__ import annotations

import argparse
import base64
import configparser
import itertools
import json
import os
import re
import shlex
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

ROOT = Path(__file__).parent.parent
if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))

import aws_server  # noqa: E402
import backends  # noqa: E402
import postgres_server  # noqa: E402
import queue_site  # noqa: E402
import sqs_fake  # noqa: E402
from conftest import PATIENCE_S, Server, close_connections, wait_for  # noqa: E402
from visitor import PAGE, Visitor  # noqa: E402

import app  # noqa: E402

STARTER = app.bundled_text("starter.toml")

PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
MARK = "made by tests/test_docs.py"


# ---- the tables, made from the program ----

VALUES = {
    "address": "`HOST:PORT`, `[IPV6]:PORT` or `unix:/PATH`",
    "any": "any value",
    "callable": 'program such as `"stock:application"`',
    "boolean": "`true` or `false`",
    "choices": "list of tables",
    "conditions": "list of conditions",
    "roles": "name of a role, or list of them",
    "unique": "list of lists of field names",
    "count": "whole number",
    "age": 'duration such as `"90d"`, or in years such as `"2y"`',
    "duration": 'duration such as `"30s"`, `"10m"`, `"12h"`, `"7d"`',
    "fields": "table of fields",
    "file": "file, relative to app.toml",
    "folder": "folder, relative to app.toml",
    "grants": "list of grants",
    "headers": "table of header fields",
    "home": "list of tables, or the name of a template, form or view",
    "hosts": "list of names without port; `*` is any",
    "inside": "folder in the provider",
    "pages": 'folder, or a folder in a share such as `"files/handbook/pages"`',
    "lang": "language tag (BCP 47)",
    "menu": "list of addresses and tables",
    "networks": "list of addresses, networks, or `unix`",
    "number": "number",
    "opens": '`"form"` or `"records"`',
    "path": "path, relative to app.toml",
    "pattern": "regular expression",
    "patterns": "table of queries",
    "positive": "whole number, 1 or more",
    "prefix": "path of an address",
    "queue": 'URL of a queue, `"env:NAME"` or `"file:PATH"`',
    "queues": "list of tables",
    "replies": 'table of URLs of queues, or `"env:NAME"`',
    "secret": '`"file:PATH"` or `"env:NAME"`',
    "site": "address without a slash at its end",
    "room": 'size such as `"50GB"`, or ""',
    "size": 'size such as `"500KB"`, `"10MB"`, `"2GiB"`',
    "table": "table",
    "tables": "table of tables",
    "text": "text",
    "texts": "list of texts",
    "link": "address",
    "list": "list",
    "media": "list of media types and endings",
    "timezone": "name of a time zone (IANA)",
    "type": "name of a type",
    "values": "list of values",
    "word": "name: letters, digits, `_`",
}


def literal(value: Any) -> str:
    """A default as app.toml would say it."""
    if value is app.REQUIRED:
        return "required"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f'`"{value}"`' if isinstance(value, str) else f"`{value}`"


def table(headings: str, rows: list[list[str]]) -> str:
    names = headings.split(" | ")
    lines = [names, ["---"] * len(names), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def kinds() -> dict[str, Any]:
    return dict(app.load_registry(Path("/nonexistent")).provider_settings)


def all_settings() -> dict[str, list[tuple[str, app.Setting]]]:
    """(name, setting) of each by the heading of its table in app.toml; names of inner tables are dotted."""
    found: dict[str, list[tuple[str, app.Setting]]] = {}
    registry = app.load_registry(Path("/nonexistent"))
    for place, settings in app.SETTINGS.items():
        if place.startswith("views.*.params.*"):  # as the fields of forms
            continue
        outer = max((one for one in (*found, place) if f"{place}.".startswith(f"{one}.") and is_table(one)), key=len)
        inner = place.removeprefix(outer).removeprefix(".").replace("*", "NAME")
        found.setdefault(outer, []).extend((f"{inner}.{one.name}".lstrip("."), one) for one in settings)
    tables: dict[str, list[tuple[str, app.Setting]]] = {}
    for place, rows in found.items():
        tables[f"[{place.replace('*', 'NAME')}]"] = rows
        if place == "providers.*":
            of_kinds = {kind: [(one.name, one) for one in settings] for kind, settings in kinds().items()}
            tables |= {f'[providers.NAME] with kind = "{kind}"': rows for kind, rows in of_kinds.items()}
        if place == "channels.*":
            of_kinds = {kind: [(one.name, one) for one in settings] for kind, settings in registry.channel_settings.items()}
            tables |= {f'[channels.NAME] with kind = "{kind}"': rows for kind, rows in of_kinds.items()}
    return tables | {f"[{kind}]": [(one.name, one) for one in settings] for kind, settings in registry.tables.items()}


def is_table(place: str) -> bool:
    """Whether a place of app.toml has a heading of its own there: [forms.NAME.fields.NAME], and not an entry of a list."""
    return re.fullmatch(r"\w+(\.\*)?|forms\.\*\.fields\.\*", place) is not None


def settings_text() -> str:
    tables = []
    for heading, settings in all_settings().items():
        none = "the preset's" if "generic" in heading else "none"
        rows = [
            [f"`{name}`", none if one.default is None else literal(one.default), VALUES[one.kind], one.help]
            for name, one in settings
        ]
        tables.append(f"## {heading}\n\n{table('setting | default | value | what it is', rows)}")
        if heading == "[forms.NAME.fields.NAME]":
            tables.append("`params` of views take the same.")
    return "\n\n".join(tables)


def error_classes() -> list[type[app.AppError]]:
    found = [app.AppError]
    for cls in found:
        found += [one for one in cls.__subclasses__() if one.__module__ == app.__name__]  # plugins may have their own
    return sorted(set(found), key=lambda cls: (cls.status, cls.code, cls.retry, cls.__name__))


def errors_text() -> str:
    rows = []
    for cls in error_classes():
        meaning = "A fault in Satchel; the log has it under the request id"
        if cls is not app.AppError:
            meaning = re.split(r"[.;:] | \(|\.$", " ".join((cls.__doc__ or "").split()))[0]
        rows.append([f"`{cls.code}`", str(cls.status), str(cls.exit_code), "yes" if cls.retry else "no", meaning])
    return table("code | status | exit code | repeat may help | meaning", rows)


def leaves(
    parser: argparse.ArgumentParser, words: tuple[str, ...] = ()
) -> Iterator[tuple[str, argparse.ArgumentParser, str]]:
    """Every command as (words, parser, help)."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            helps = {choice.dest: choice.help or "" for choice in action._choices_actions}
            for name, inner in action.choices.items():
                nested = any(isinstance(one, argparse._SubParsersAction) for one in inner._actions)
                if not nested or name in ("server", "info"):
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
        many = "…" if isinstance(one, argparse._AppendAction) or one.nargs in ("+", "*") else ""
        optional = not one.required if one.option_strings else one.nargs in ("?", "*")
        shown.append(f"[{text}]{many}" if optional else text + many)
    return shown


def parser() -> argparse.ArgumentParser:
    return app.build_parser(app.load_registry(Path("/nonexistent")))


def commands_text() -> str:
    rows = []
    for words, one, help_ in leaves(parser()):
        rows.append([f"`{' '.join([words, *arguments_of(one)])}`", help_])
    return table("command | what it does", rows)


def contracts_text() -> str:
    """What a plugin implements: the abstract methods, and what it may replace."""
    rows = []
    for cls in (app.Extension, app.Provider, app.Records, app.Blobs, app.Queries, *app.FAMILIES[1:]):
        homes = [cls, *(base for base in cls.__bases__ if base is app.Configured)]
        own = [name for home in homes for name in vars(home) if not name.startswith("_") or name == "__init__"]
        must = [name for name in own if name in getattr(cls, "__abstractmethods__", ())]
        must += [name for name in getattr(cls, "__annotations__", ()) if name not in vars(cls)]
        may = [name for name in own if name not in must]
        rows.append([f"`{cls.__name__}`", *(", ".join(f"`{name}`" for name in names) or "nothing" for names in (must, may))])
    return table("contract | you write | you may replace", rows)


def families_text() -> str:
    """What kinds of things a plugin may add, and those that are there."""
    registry = app.load_registry(Path("/nonexistent"))
    rows = []
    for family in app.FAMILIES:
        promise = re.split(r"[.;:] |\.$", " ".join((family.__doc__ or "").split()))[0]
        kinds_ = ", ".join(f"`{kind}`" for kind in registry.kinds(family)) or "none"
        rows.append([f"`{family.__name__}`", promise, kinds_])
    return table("family | what it adds | kinds that are there", rows)


def metrics_text() -> str:
    rows = [
        [f"`{m.name}`", m.type, ", ".join(f"`{n}`" for n in m.labels), m.help] for m in app.plugin("metrics").METERS.values()
    ]
    return table("metric | type | labels | what it is", rows)


def bench_text() -> str:
    """What ./build.sh bench wrote, without its title."""
    return (ROOT / "tests" / "bench" / "RESULTS.md").read_text(encoding="utf-8").partition("\n\n")[2].rstrip()


def speed_text() -> str:
    """Of what is to be reached, the line of each row that is furthest from its goal, one for each other program."""
    chosen: dict[tuple[str, str], tuple[float, list[str]]] = {}
    reached = bench_text().partition("\n## What has to be reached\n")[2].partition("\n## ")[0]
    for line in reached.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) < 9 or cells[8] not in ("met", "missed"):
            continue
        row, work, against, _, _, ratio, _, goal, _ = cells
        share = float(ratio.replace(",", "")) / float(goal[2:])
        share = 1 / share if goal.startswith("≤") else share
        if (row, against) not in chosen or share < chosen[row, against][0]:
            chosen[row, against] = share, [work, against, ratio, goal]
    return table("work | beside | ratio | goal", [cells for _, cells in chosen.values()])


TABLES: Mapping[str, Callable[[], str]] = {
    "commands": commands_text,
    "settings": settings_text,
    "errors": errors_text,
    "families": families_text,
    "contracts": contracts_text,
    "metrics": metrics_text,
    "bench": bench_text,
    "speed": speed_text,
}


def with_tables(text: str) -> str:
    """A page with every table that it has a place for replaced by what the program says."""
    for name, make in TABLES.items():
        begin, end = f"<!-- {name}: {MARK} -->\n", f"<!-- end of {name} -->"
        before, found, rest = text.partition(begin)
        if found:
            _, closed, after = rest.partition(end)
            assert closed, f"the place of the table of {name} has no end"
            text = before + begin + make() + "\n" + end + after
    return text


# ---- what the pages show ----


def page(name: str) -> str:
    """The text of README.md, or of a page of docs/ by its name without the ending."""
    return (ROOT / name if name == "README.md" else ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")


def everything() -> str:
    return "\n".join(one.read_text(encoding="utf-8") for one in PAGES)


def section(name: str, heading: str) -> str:
    """The text of a page below a heading of the second level."""
    found = re.search(rf"^## {re.escape(heading)}$(.*?)(?=^## |\Z)", page(name), re.MULTILINE | re.DOTALL)
    assert found, f"{name} has no section {heading!r}"
    return found[1]


def blocks(text: str, *kinds: str) -> list[tuple[str, str]]:
    """(kind, content) of fenced blocks, in order; of these kinds alone if any are named."""
    found = re.findall(r"^```(\w+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [(kind, content) for kind, content in found if not kinds or kind in kinds]


def mentioned(word: str, text: str) -> bool:
    return bool(re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", text))


# ---- nothing is missing, and nothing is said twice ----


def test_the_tables_are_what_the_program_says() -> None:
    for one in PAGES:
        text = one.read_text(encoding="utf-8")
        assert text == with_tables(text), "python tests/test_docs.py write"


def test_every_table_has_its_place_and_every_place_its_table() -> None:
    assert sorted(re.findall(rf"^<!-- (\w+): {MARK} -->$", everything(), re.MULTILINE)) == sorted(TABLES)


def test_every_kind_of_setting_has_words() -> None:
    assert {one.kind for rows in all_settings().values() for _, one in rows} == set(VALUES)


def test_every_setting_is_in_the_reference() -> None:
    for heading, settings in all_settings().items():
        told = section("settings", heading)
        assert not [name for name, _ in settings if f"| `{name}` |" not in told], heading


def test_every_command_and_option_is_told() -> None:
    told = section("operating", "Commands")
    for words, command, _ in leaves(parser()):
        assert f"`{words}" in told
        for one in command._actions:
            for option in one.option_strings:
                assert option == "-h" or mentioned(option, told), f"{words} {option}"


def test_every_exit_code_is_told() -> None:
    told = section("operating", "Commands")
    for code in {cls.exit_code for cls in error_classes()}:
        assert re.search(rf"\s{code} \w", told), code


def test_what_is_no_request_is_among_the_errors() -> None:
    found = re.findall(r'status=([0-9]+), code="(\w+)"', (ROOT / "app.py").read_text(encoding="utf-8"))
    assert len(found) > 3
    for status, code in found:
        assert f"{status} `{code}`" in section("http-api", "Errors")


def test_every_error_is_in_the_table() -> None:
    for cls in error_classes():
        assert f"| `{cls.code}` | {cls.status} | {cls.exit_code} |" in section("http-api", "Errors")


def test_every_plugin_hook_is_told() -> None:
    told = page("plugins")
    for cls in (app.Provider, app.Records, app.Blobs, app.Queries):
        for name in (*cls.__abstractmethods__, *getattr(cls, "__annotations__", {})):
            assert f"`{name}`" in told, f"{cls.__name__}.{name}"


def test_every_list_parameter_and_operator_is_told() -> None:
    told = section("http-api", "Lists")
    for name in (*app.LIST_PARAMS, *app.OPERATORS):
        assert mentioned(name, told), name


def test_every_field_format_and_reserved_name_is_told() -> None:
    told = section("forms", "Field types")
    for name in ("file", *app.plugin("fields").FORMATS, *app.RESERVED_FIELDS):
        assert f"`{name}`" in told, name


def test_every_label_value_of_a_metric_that_satchel_chooses_is_told() -> None:
    told = section("operating", "Metrics")
    for value in (*app.OUTCOMES, app.LeaseLost.code, "ok", "other"):
        assert f"`{value}`" in told, value


def test_every_environment_variable_is_told() -> None:
    source = "".join((ROOT / name).read_text(encoding="utf-8") for name in ("app.py", ".build/start.py"))
    found = set(re.findall(r"os\.environ(?:\.get\(|\[)\"(\w+)\"", source))
    assert {"SHIV_ROOT", "HOME", "USER"} <= found
    for name in found:
        assert f"`{name}`" in section("operating", "Commands"), name


def test_every_template_is_told() -> None:
    told = section("apps-and-templates", "Changing our pages")
    for path in (ROOT / "templates").glob("*.tpl"):
        assert f"`{path.name}`" in told, path.name


def test_every_route_is_told() -> None:
    site = app.App(app.read_config(tomllib.loads(STARTER), ROOT, "starter", kinds()), app.load_registry(ROOT))
    for row in app.plugin("info").routes(site):
        shape = re.sub(r"^/(apps|forms|views|files)/\w+", r"/\1/NAME", row["path"])
        assert f"`{shape}`" in section("http-api", "Addresses"), shape


def test_the_first_block_is_the_two_commands_that_do_everything() -> None:
    """.ci/run pastes it in a fresh clone."""
    kind, content = blocks(page("README.md"))[0]
    assert kind == "sh"
    assert content.splitlines() == ["./build.sh server", "./build.sh test"]


def test_blocks_of_commands_can_be_copied_as_they_stand() -> None:
    """No prompts; and no comments, which zsh takes for arguments when they are typed. Of bash: in another test."""
    for kind, content in blocks(everything()):
        assert kind in {"sh", "bash", "text", "toml", "nginx", "python", "yaml", "html", "css", "markdown"}
        if kind in ("sh", "bash"):
            assert not re.search(r"^[$>#%] |(^|\s)#", content, re.MULTILINE), content


def headings_of(text: str) -> set[str]:
    """The anchors of a page, as code hosts make them."""
    found = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", line).strip().lower().replace(" ", "-") for line in found}


@pytest.mark.parametrize("one", PAGES, ids=lambda one: one.name)
def test_links_lead_somewhere(one: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", one.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)]+)\)", text):
        path, _, anchor = target.partition("#")
        other = (one.parent / path).resolve() if path else one
        assert other.is_file(), target
        assert not anchor or anchor in headings_of(other.read_text(encoding="utf-8")), target


def test_readme_is_short_and_leads_to_every_page() -> None:
    text = page("README.md")
    assert text.count("\n") <= 200
    for one in PAGES[1:]:
        assert f"(docs/{one.name})" in text, one.name


@pytest.mark.parametrize("one", PAGES, ids=lambda one: one.name)
def test_lines_are_short_where_they_can_be_broken(one: Path) -> None:
    """Tables and what programs print cannot be."""
    text = re.sub(r"^```text$.*?^```$", "", one.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    long = [line for line in text.splitlines() if len(line) > 130 and line[0] not in "|!" and "{ type = " not in line]
    assert not [line for line in long if not line.lstrip().startswith(("url =", "{ url"))]


def test_every_command_that_is_named_in_a_sentence_is_one() -> None:
    text = re.sub(r"^```.*?^```$", "", everything(), flags=re.MULTILINE | re.DOTALL)
    named = re.findall(r"`(?:python3 )?app\.pyz ([^`]+)`", text)
    named += re.findall(r"`((?:server|auth|info) [a-z][^`|\[]*)`", re.sub(r"^\|.*", "", text, flags=re.MULTILINE))
    assert len(named) > 10
    for line in named:
        if line != "COMMAND" and line not in {words for words, _, _ in leaves(parser())}:
            parser().parse_args([word.replace("…", "") for word in shlex.split(line)])


def test_the_changelog_begins_with_what_is_unreleased() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    found = re.match(r"# Changes\n\n## Unreleased\n\n(.+?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for package in project["dependencies"]:
        assert re.split(r"[<>=]", package)[0] in found[1]


def merged(base: dict[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    for name, value in more.items():
        base[name] = merged(base[name], value) if isinstance(value, dict) and isinstance(base.get(name), dict) else value
    return base


@pytest.mark.parametrize("one", PAGES, ids=lambda one: one.name)
def test_every_piece_of_app_toml_is_accepted(one: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = one.read_text(encoding="utf-8")
    for name in re.findall(r"env:([A-Z_]+)", text):
        monkeypatch.setenv(name, "secret")
    write_files(text, tmp_path)
    available = app.load_registry(tmp_path)
    for piece in (content for _, content in blocks(text, "toml")):
        raw = merged(tomllib.loads(STARTER), tomllib.loads(piece))
        providers, channels = available.provider_settings, available.channel_settings
        config = app.read_config(raw, tmp_path, one.name, providers, available.tables, channels)
        app.App(config, available).close()


def write_files(text: str, folder: Path) -> None:
    """The files that a page shows, each named in the sentence above its block."""
    for path, content in re.findall(r"`([\w/]+\.\w+)`[^`]*:[^`]*\n\n```(?:python|html|css|markdown)\n(.*?)^```$", text,
                                    re.MULTILINE | re.DOTALL):  # fmt: skip
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_text(content, encoding="utf-8")


# ---- the tour ----


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


class Tour:
    """A person at two terminals: one runs the server, the other one is a shell that keeps its variables."""

    def __init__(self, at: Path, folder: Path, python: str, unpack_root: Path, env: Mapping[str, str]) -> None:
        self.folder, self.port = folder, free_port()
        bin_ = at.parent / "bin"
        bin_.mkdir()
        (bin_ / "python3").symlink_to(python)
        path = f"{bin_}:{os.environ['PATH']}"
        self.env = {**os.environ, **env, "PATH": path, "SHIV_ROOT": str(unpack_root), "LC_ALL": "C.UTF-8"}
        self.shell = subprocess.Popen(
            ["bash"],
            cwd=at,
            env=self.env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.server: subprocess.Popen[bytes] | None = None
        self.log = at.parent / "server.log"

    def run(self, command: str) -> str:
        """Everything that a block of commands prints, pasted as it stands; the last one must succeed."""
        assert self.shell.stdin
        assert self.shell.stdout
        self.shell.stdin.write(command + "printf '\\n--- done %s ---\\n' $?\n")
        self.shell.stdin.flush()
        lines: list[str] = []
        while not lines or not lines[-1].startswith("--- done "):
            lines.append(self.shell.stdout.readline())
            assert lines[-1], f"the shell ended: {''.join(lines)}"
        printed = "".join(lines[:-1]).rstrip("\n")
        assert lines[-1] == "--- done 0 ---\n", f"{command}failed, and printed:\n{printed}"
        return printed

    def paste(self, text: str) -> None:
        """Every block of commands in a text, in order, and what is shown below each is what it prints."""
        for kind, content, shown in steps(text.replace("127.0.0.1:8080", f"127.0.0.1:{self.port}")):
            if kind == "toml":
                with (self.folder / "app.toml").open("a", encoding="utf-8") as file:
                    file.write("\n" + content)
            elif kind == "sh":
                serves = re.fullmatch(r"python3 app\.pyz server( --.*)?\n", content)
                printed = self.serve(content, shown.count("\n") + 1) if serves else self.run(content)
                assert shows(shown, printed), f"{content}it is shown:\n{shown}\nit printed:\n{printed}"
                if serves and "/login/" in printed:
                    press_button(printed)

    def serve(self, command: str, lines: int) -> str:
        """Stop the server that runs, start this one, and answer what it prints until that many lines are there."""
        self.stop()
        with self.log.open("wb") as log:
            words = [*command.split(), "--bind", f"127.0.0.1:{self.port}"]
            server = self.server = subprocess.Popen(
                words,
                cwd=self.folder,
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_for(lambda: self.log.read_text().count("\n") >= lines or server.poll() is not None, "the server's words")
        return self.log.read_text().rstrip("\n")

    def stop(self) -> None:
        """Ctrl-C, as the terminal sends it: to the whole group."""
        if self.server:
            close_connections()
            os.killpg(self.server.pid, signal.SIGINT)
            assert self.server.wait(PATIENCE_S) == 0, self.log.read_text()
            self.server = None

    def close(self) -> None:
        if self.server:
            os.killpg(self.server.pid, signal.SIGKILL)
            self.server.wait()
        self.shell.communicate("exit\n")


@pytest.fixture
def start_tour(pyz: Path, bare_python: str, unpack_root: Path, tmp_path: Path) -> Iterator[Callable[..., Tour]]:
    """`start_tour()` at the root of a clone; `start_tour(folder, **env)` beside the app.pyz and app.toml in a folder."""
    backends.program("curl")
    started: list[Tour] = []

    def start(folder: Path | None = None, **env: str) -> Tour:
        at = folder or tmp_path / "clone"
        brought = at if folder else at / "dist"
        brought.mkdir(parents=True, exist_ok=True)
        shutil.copy(pyz, brought)
        started.append(Tour(at, folder or tmp_path / "intranet", bare_python, unpack_root, env))
        return started[-1]

    yield start
    for one in started:
        one.close()


def steps(text: str) -> Iterator[tuple[str, str, str]]:
    """(kind, content, what is shown) of each block; what sh prints is shown in a block of text right below."""
    found = blocks(text)
    for (kind, content), (next_kind, shown) in itertools.pairwise([*found, ("", "")]):
        if kind != "text":
            yield kind, content, shown.rstrip("\n") if next_kind == "text" else ""


def shows(shown: str, printed: str) -> bool:
    """Whether what README shows fits what was printed: … is any text in a line, and a line of … alone any lines."""
    lines = [r"(?:.*\n)*" if line == "…" else re.escape(line).replace("…", ".+?") + r"\n" for line in shown.split("\n")]
    return bool(re.fullmatch("".join(lines), printed + "\n"))


def test_what_is_shown_fits_only_what_is_like_it() -> None:
    assert shows("a … c\n…\nd", "a b c\nx\ny\nd")
    assert shows("…\nd", "d")
    assert not shows("a … c", "a b d")
    assert not shows("a", "a\nb")
    assert not shows("", "a")
    text = "```sh\none\ntwo\n```\n\n```text\nshown\n```\nwords\n```sh\nthree\n```\n"
    assert list(steps(text)) == [("sh", "one\ntwo\n", "shown"), ("sh", "three\n", "")]


@pytest.mark.parametrize("text", [section("README.md", "A tour"), page("tutorial")], ids=["README", "tutorial"])
def test_the_tour_does_what_it_shows(text: str, start_tour: Callable[..., Tour]) -> None:
    tour = start_tour()
    tour.paste(text)
    expect_files_named(tour.folder / "data")
    tour.stop()


# ---- the commands of the other pages ----

# Blocks that are not pasted there, by page and first line, and what runs them instead.
ELSEWHERE: Mapping[tuple[str, str], str] = {
    ("README.md", "./build.sh server"): ".ci/run pastes it in a fresh clone",
    ("operating", "python3 app.pyz info systemd > /etc/systemd/system/satchel.service"): "test_the_systemd_unit_is_sound",
    ("operating", "python3 app.pyz auth issue --subject prometheus"): "test_metrics.py scrapes with such a token",
    ("providers", "python3 app.pyz server check --create"): "test_the_move_that_is_shown_works",
    ("queues", "python3 app.pyz server --runner http --runner sqs"): "test_the_commands_for_queues_do_what_they_show",
    ("queues", "python3 app.pyz info queues"): "test_the_commands_for_queues_do_what_they_show",
    ("queues", "python3 app.pyz server dead-letters list"): "test_the_commands_for_queues_do_what_they_show",
}
TOURS = ("README.md", "tutorial")


def name_of(one: Path) -> str:
    return one.name if one.name == "README.md" else one.stem


def is_elsewhere(name: str, content: str) -> bool:
    return any(content.startswith(line) for page_, line in ELSEWHERE if page_ == name)


def pasted(name: str) -> str:
    """The blocks of a page whose commands run on the starter with the page's own pieces of app.toml."""
    found = [(content, shown) for kind, content, shown in steps(page(name)) if kind == "sh"]
    here = [pair for pair in found if not is_elsewhere(name, pair[0])]
    return "\n".join(f"```sh\n{content}```\n```text\n{shown}\n```\n" for content, shown in here)


WALKED = [name_of(one) for one in PAGES if name_of(one) not in TOURS and "```sh" in pasted(name_of(one))]


def test_every_block_that_runs_elsewhere_is_there() -> None:
    for name, line in ELSEWHERE:
        assert any(content.startswith(line) for _, content in blocks(page(name), "sh")), (name, line)
    assert len(WALKED) > 5


@pytest.mark.parametrize("name", WALKED)
def test_the_commands_of_a_page_do_what_they_show(name: str, start_tour: Callable[..., Tour], tmp_path: Path) -> None:
    site = tmp_path / "site"
    pieces = [tomllib.loads(content) for _, content in blocks(page(name), "toml")]
    starter_with(site, *pieces)
    write_files(page(name), site)
    tour = start_tour(site)
    assert tour.run("python3 app.pyz server check\n").endswith("everything is in order")
    token = tour.run("python3 app.pyz auth issue --subject ann --role staff\n")
    tour.serve("python3 app.pyz server", 2)
    stored = Visitor(f"http://127.0.0.1:{tour.port}", token).send("PUT", "/files/shared/plan.txt", b"the plan")
    assert stored.status == 201, stored.text
    tour.paste(pasted(name))
    tour.stop()


def first_block(name: str, kind: str, line: str = "") -> str:
    return next(content for _, content in blocks(page(name), kind) if content.startswith(line))


def test_the_move_that_is_shown_works(start_tour: Callable[..., Tour], tmp_path: Path) -> None:
    mark = f"move{os.getpid()}"
    piece = tomllib.loads(first_block("providers", "toml"))["providers"]
    new = {
        "db": piece["db"] | {"url": postgres_server.server().socket_url, "schema": mark},
        "cloud": piece["cloud"]
        | {"bucket": mark, "tables": f"{mark}-", "region": "eu-central-1", "endpoint": aws_server.endpoint()},
    }
    del new["db"]["password"]  # it is asked for none on its socket
    site = tmp_path / "site"
    starter_with(site, {"providers": new})
    tour = start_tour(site)
    token = tour.run("python3 app.pyz auth issue --subject ann --grant '**:*'\n")
    tour.serve("python3 app.pyz server", 2)
    visitor = Visitor(f"http://127.0.0.1:{tour.port}", token)
    made = visitor.post_json("/forms/requests", {"subject": "A chair", "email": "ann@example.org"})
    assert visitor.send("PUT", "/files/shared/plan.txt", b"the plan").status == 201
    tour.stop()
    visitor.close()
    at = next(step for step in steps(page("providers")) if step[0] == "sh")
    printed = tour.run(at[1])
    assert shows(at[2], printed), f"it is shown:\n{at[2]}\nit printed:\n{printed}"

    moved = tomllib.loads((site / "app.toml").read_text())
    moved["providers"] = {"main": new["db"], "disk": new["cloud"]}
    (site / "app.toml").write_text(as_toml(moved))
    tour.serve("python3 app.pyz server", 1)
    record = visitor.get(f"/forms/requests/records/{made.data['id']}")
    assert (record.data, record.headers["ETag"]) == (made.data, made.headers["ETag"])
    assert visitor.get("/files/shared/plan.txt").body == b"the plan"
    tour.stop()


def test_the_commands_for_queues_do_what_they_show(start_tour: Callable[..., Tour], tmp_path: Path) -> None:
    with sqs_fake.SqsFake() as fake:
        client = aws_server.client("sqs", fake.url)
        queue = queue_site.Queue(client, "intake")
        sqs = tomllib.loads(first_block("queues", "toml"))["sqs"]
        sqs["queues"][0]["url"] = queue.url
        sqs["replies"]["results"] = client.create_queue(QueueName="results")["QueueUrl"]
        site = tmp_path / "site"
        starter_with(site, {"sqs": sqs | {"endpoint": fake.url, "region": "eu-central-1", "wait": "1s"}})
        tour = start_tour(site)
        token = "Bearer " + tour.run("python3 app.pyz auth issue --subject ann --role staff\n")
        weak = "Bearer " + tour.run("python3 app.pyz auth issue --subject ann --grant views/requests:read\n")
        started, *commands = [step for step in steps(page("queues")) if step[0] == "sh"]
        assert shows(started[2], printed := tour.serve(started[1], 3)), printed

        good = queue_site.envelope("forms/requests", "create", {"subject": "A chair", "email": "ann@example.org"})
        queue.send(good, token=token)
        queue.send(good, token=weak)
        queue.send(good | {"data": {}}, token=token)

        def are_dead() -> bool:
            return queue.empty() and queue.facts(queue.dead_url)["ApproximateNumberOfMessages"] == "2"

        wait_for(are_dead, "two dead letters")
        for _, content, shown in commands:
            printed = tour.run(content)
            assert shows(shown, printed), f"{content}it is shown:\n{shown}\nit printed:\n{printed}"
        visitor = Visitor(
            f"http://127.0.0.1:{tour.port}", tour.run("python3 app.pyz auth issue --subject a --grant '**:*'\n")
        )
        wait_for(lambda: len(visitor.get("/forms/requests/records").data["items"]) == 2, "the message that was sent again")
        assert queue.dead() == []
        tour.stop()


def press_button(printed: str) -> None:
    """What the text between the blocks says: open the link and press the button."""
    link = urlsplit(re.findall(r"http://\S+/login/\S+", printed)[0])
    visitor = Visitor(f"{link.scheme}://{link.netloc}")
    assert visitor.submit(visitor.form_at(link.path, "/login")).status == 303
    desk = visitor.get("/apps/desk", PAGE)
    for address in ("forms/requests", "views/requests", "files/shared"):
        assert f'href="/{address}' in desk.text
    visitor.close()


def expect_files_named(data: Path) -> None:
    told = section("operating", "What is stored where")
    own = [path for path in data.iterdir() if path.name != "files"] + list(data.glob("files/.satchel/*"))
    assert len(own) > 5
    for path in own:
        assert re.search(rf"[`/]{re.escape(path.name)}[`/]", told), path.name


# ---- the plugin ----


PLUGIN_SITE = """
[providers.main]
kind = "sql"
url = "sqlite:///data/app.db"
"""


def test_the_plugin_that_is_shown_works(
    start_server: Callable[..., Server], token_for: Callable[..., str], tmp_path: Path
) -> None:
    told = page("plugins")
    (tmp_path / "site" / "plugins").mkdir(parents=True)
    (tmp_path / "site" / "plugins" / "jsonfile.py").write_text(blocks(told, "python")[0][1], encoding="utf-8")
    (tmp_path / "site" / "app.toml").write_text(PLUGIN_SITE + blocks(told, "toml")[0][1], encoding="utf-8")
    server = start_server(folder=tmp_path / "site")
    visitor = Visitor(server.base_url, token_for(server, "forms/notes:*", "admin/audit:read"))
    made = [visitor.post_json("/forms/notes", {"text": text}) for text in ("one", "two", "three")]
    assert [answer.status for answer in made] == [201, 201, 201]
    batch = visitor.post_json("/forms/notes", [{"text": "four"}, {"text": 5}])
    assert batch.status == 422
    first = visitor.get("/forms/notes/records?_size=2&_sort=text&_count=1").data
    assert ([row["text"] for row in first["items"]], first["count"]) == (["one", "three"], 3)
    rest = visitor.get(f"/forms/notes/records?_size=2&_sort=text&_next={first['next']}").data
    assert ([row["text"] for row in rest["items"]], rest["next"]) == (["two"], None)
    one = f"/forms/notes/records/{made[0].data['id']}"
    assert (
        visitor.send("PUT", one, b'{"text": "uno"}', {"Content-Type": "application/json", "If-Match": '"1"'}).status == 200
    )
    stale = visitor.send("DELETE", one, None, {"If-Match": '"1"'})
    assert (stale.status, stale.data["code"]) == (412, "precondition_failed")
    assert visitor.send("DELETE", one).status == 204
    assert server.stop() == 0
    again = start_server(folder=server.folder)
    visitor = Visitor(again.base_url, visitor.token)
    assert [row["text"] for row in visitor.get("/forms/notes/records?text__contains=t").data["items"]] == ["three", "two"]
    assert {"forms/notes"} < {row["resource"] for row in visitor.get("/admin/audit?action=delete").data["items"]} | {
        "forms/notes",
        one,
    }


def test_a_plugin_that_fails_to_load_stops_the_start_and_is_named(
    run_pyz: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "broken.py").write_text("import nothing_of_this_name\n")
    done = run_pyz(tmp_path, "server")
    assert done.returncode == 2
    assert "plugins/broken.py" in done.stderr
    assert "nothing_of_this_name" in done.stderr
    assert "Traceback" not in done.stderr


# ---- what is said in words ----


def starter_with(folder: Path, *pieces: Mapping[str, Any]) -> None:
    """app.toml of the starter with more, as the pages show pieces of it."""
    folder.mkdir()
    raw = tomllib.loads(STARTER)
    for piece in pieces:
        raw = merged(raw, piece)
    (folder / "app.toml").write_text(as_toml(raw), encoding="utf-8")


def test_a_later_sign_in_link_of_the_administrator_works(
    running: Server, run_pyz: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    command = re.findall(r"`python3 app\.pyz (auth people [^`]+)`", section("people", "Signing in"))[0]
    done = run_pyz(running.folder, *shlex.split(command))
    assert done.returncode == 0, done.stderr
    visitor = Visitor(running.base_url)
    link = urlsplit(done.stdout.strip())
    assert visitor.submit(visitor.form_at(link.path, "/login")).status == 303
    assert visitor.get("/admin/tokens").status == 200
    assert Visitor(running.base_url).submit(visitor.form_at(link.path, "/login")).status == 401, "it works once"


def test_a_short_token_is_a_password(running: Server, run_pyz: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    done = run_pyz(running.folder, "auth", "issue", "--subject", "ann", "--role", "staff", "--format", "short")
    secret = done.stdout.strip()
    assert len(secret) == 58
    password = base64.b64encode(f"ann:{secret}".encode()).decode()
    assert Visitor(running.base_url).get("/views/requests", {"Authorization": f"Basic {password}"}).status == 200
    assert Visitor(running.base_url, secret).get("/views/requests").status == 200


def test_an_app_shows_its_own_page_with_rows_of_a_view(
    start_server: Callable[..., Server], token_for: Callable[..., str], tmp_path: Path
) -> None:
    starter_with(tmp_path / "site", {"apps": {"desk": {"home": "templates/hr.html"}}})
    (tmp_path / "site" / "templates").mkdir()
    template = '% for row in view("requests", kind="other"):\n<p>{{row["subject"]}}</p>\n% end\n'
    template += '<a href="{{url("forms/requests")}}">More</a>'
    (tmp_path / "site" / "templates" / "hr.html").write_text(template)
    server = start_server(folder=tmp_path / "site")
    visitor = Visitor(server.base_url, token_for(server, "forms/requests:create", "views/*:read", "apps/*:read"))
    for subject, kind in (("A <chair>", "other"), ("A screen", "hardware")):
        answer = visitor.post_json("/forms/requests", {"subject": subject, "kind": kind, "email": "ann@example.org"})
        assert answer.status == 201
    shown = visitor.get("/apps/desk", PAGE).text
    assert "<p>A &lt;chair&gt;</p>" in shown
    assert "A screen" not in shown
    assert '<a href="/forms/requests">More</a>' in shown


def test_a_backup_made_as_is_said_is_whole(
    start_server: Callable[..., Server], token_for: Callable[..., str], tmp_path: Path
) -> None:
    server = start_server()
    visitor = Visitor(server.base_url, token_for(server, "forms/requests:*", "files/shared:*"))
    made = visitor.post_json("/forms/requests", {"subject": "A chair", "email": "ann@example.org"})
    assert visitor.send("PUT", "/files/shared/plan.txt", b"the plan").status == 201
    copy = tmp_path / "copy" / "data"
    copy.mkdir(parents=True, mode=0o700)
    with closing(sqlite3.connect(server.data / "app.db")) as source, closing(sqlite3.connect(copy / "app.db")) as target:
        source.backup(target)
    shutil.copy2(server.data / "keys.json", copy)
    shutil.copytree(server.data / "files", copy / "files")
    assert visitor.post_json("/forms/requests", {"subject": "Later", "email": "ann@example.org"}).status == 201
    restored = start_server(folder=tmp_path / "copy")
    again = Visitor(restored.base_url, visitor.token)
    assert [row["id"] for row in again.get("/forms/requests/records").data["items"]] == [made.data["id"]]
    assert again.get("/files/shared/plan.txt").body == b"the plan"


# ---- nginx and systemd ----


NGINX = """
daemon off;
{user}
worker_processes 1;
pid {folder}/nginx.pid;
error_log stderr;
events {{ }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
{server}
}}
"""


@pytest.fixture
def start_nginx(tmp_path: Path) -> Iterator[Callable[[str], None]]:
    started: list[subprocess.Popen[bytes]] = []

    def start(server: str) -> None:
        folder = tmp_path / "nginx"
        folder.mkdir()
        user = "user root;" if os.geteuid() == 0 else ""
        (folder / "nginx.conf").write_text(NGINX.format(user=user, folder=folder, server=server))
        with (folder / "log").open("wb") as log:
            words = [
                backends.program("nginx", "nginx-light"),
                "-e",
                "stderr",
                "-p",
                str(folder),
                "-c",
                str(folder / "nginx.conf"),
            ]
            started.append(subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log))
        wait_for(lambda: (folder / "nginx.pid").exists() or started[0].poll() is not None, "nginx")
        assert started[0].poll() is None, (folder / "log").read_text()

    yield start
    for process in started:
        process.terminate()
        process.wait(PATIENCE_S)


@pytest.mark.parametrize("prefix", ["", "/ops"])
def test_the_site_works_behind_the_nginx_that_is_shown(
    prefix: str,
    start_server: Callable[..., Server],
    start_nginx: Callable[[str], None],
    run_pyz: Callable[..., subprocess.CompletedProcess[str]],
    tmp_path: Path,
) -> None:
    told = section("operating", "nginx")
    (tmp_path / "site").mkdir()
    config = merged(tomllib.loads(STARTER), tomllib.loads(blocks(told, "toml")[0][1]))
    config["http"]["access_log"] = True
    config["site"] |= {"prefix": prefix, "url": config["site"]["url"] + prefix}
    (tmp_path / "site" / "app.toml").write_text(as_toml(config), encoding="utf-8")
    server = start_server(folder=tmp_path / "site")
    port, upstream = free_port(), urlsplit(server.base_url).netloc
    shown = (
        blocks(told, "nginx")[0][1].replace("listen 80;", f"listen 127.0.0.1:{port};").replace("127.0.0.1:8080", upstream)
    )
    start_nginx(shown.replace("location / {", f"location {prefix or '/'} {{"))

    visitor = Visitor(f"http://127.0.0.1:{port}", host=f"intranet.local:{port}")
    code = urlsplit(server.sign_in_link).path.rpartition("/")[2]
    answer = visitor.submit(visitor.form_at(f"{prefix}/login/{code}", f"{prefix}/login"))
    assert (answer.status, answer.headers["Location"]) == (303, prefix + "/")
    assert f"Path={prefix or '/'};" in answer.headers["Set-Cookie"]
    home = visitor.get(f"{prefix}/", PAGE)
    for link in re.findall(r'(?:href|src|action)="(/[^"]*)"', home.text):
        assert link.startswith(prefix + "/")
        assert visitor.get(link.partition("#")[0], PAGE).status in (200, 405)
    sent = visitor.submit(
        visitor.form_at(f"{prefix}/forms/requests", f"{prefix}/forms/requests"), subject="A chair", email="ann@example.org"
    )
    assert sent.status == 303
    assert visitor.get(sent.headers["Location"], PAGE).status == 200
    body, same = os.urandom(3_000_000), {"Origin": f"http://intranet.local:{port}"}
    assert visitor.send("PUT", f"{prefix}/files/shared/big.bin", body, same).status == 201
    ranged = visitor.get(f"{prefix}/files/shared/big.bin", {"Range": "bytes=1000000-"})
    assert (ranged.status, ranged.body) == (206, body[1_000_000:])
    foreign = {"Origin": "http://elsewhere.example"}
    assert visitor.send("PUT", f"{prefix}/files/shared/big.bin", b"x", foreign).status == 403
    assert Visitor(visitor.base_url, host="elsewhere.example").get(f"{prefix}/").status in (200, 421)
    assert '"client":"127.0.0.1"' in server.stderr


def as_toml(raw: Mapping[str, Any], place: str = "") -> str:
    """TOML of what tomllib read: tables by their full names, other values as TOML writes them on one line."""
    plain = {name: value for name, value in raw.items() if not isinstance(value, dict)}
    lines = [f"[{place}]"] * bool(place) + [f"{key(name)} = {inline(value)}" for name, value in plain.items()]
    inner = [as_toml(value, f"{place}.{key(name)}".lstrip(".")) for name, value in raw.items() if isinstance(value, dict)]
    return "\n".join([*lines, *inner])


def key(name: str) -> str:
    return name if re.fullmatch(r"[\w-]+", name, re.ASCII) else json.dumps(name, ensure_ascii=False)


def inline(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key(name)} = {inline(one)}" for name, one in value.items()) + " }"
    if isinstance(value, list):
        return f"[{', '.join(map(inline, value))}]"
    return json.dumps(value, ensure_ascii=False)


def test_the_systemd_unit_is_sound(
    run_pyz: Callable[..., subprocess.CompletedProcess[str]], pyz: Path, tmp_path: Path
) -> None:
    assert "info systemd" in section("operating", "systemd")
    assert run_pyz(tmp_path, "server", "init").returncode == 0
    done = run_pyz(tmp_path, "info", "systemd")
    assert done.returncode == 0, done.stderr
    unit = configparser.ConfigParser(interpolation=None)
    unit.optionxform = str  # type: ignore[assignment]
    unit.read_string(done.stdout)
    program, *words = unit["Service"]["ExecStart"].split()
    assert Path(program).is_file()
    assert [words[0], words[1:]] == [str(pyz), ["server", "--config", str(tmp_path / "app.toml")]]
    assert unit["Service"]["WorkingDirectory"] == unit["Service"]["ReadWritePaths"] == str(tmp_path)
    (tmp_path / "satchel.service").write_text(done.stdout)
    if verify := shutil.which("systemd-analyze"):
        checked = subprocess.run([verify, "verify", tmp_path / "satchel.service"], capture_output=True, text=True)
        assert "satchel.service" not in checked.stderr, checked.stderr


if __name__ == "__main__":
    if sys.argv[1:] == ["write"]:
        for one in PAGES:
            one.write_text(with_tables(one.read_text(encoding="utf-8")), encoding="utf-8")
    else:
        print("\n\n".join(f"<!-- {name} -->\n{make()}" for name, make in TABLES.items()))
