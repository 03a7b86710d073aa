"""README and CHANGELOG are true: tables equal the program's own, the tour runs, the examples work.

`python tests/test_docs.py` prints the tables that README must have; `python tests/test_docs.py write` puts them there.
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

import backends  # noqa: E402
from conftest import PATIENCE_S, Server, wait_for  # noqa: E402
from visitor import PAGE, Visitor  # noqa: E402

import app  # noqa: E402

STARTER = app.bundled_text("starter.toml")

README = ROOT / "README.md"


# ---- the tables, made from the program ----

VALUES = {
    "address": "`HOST:PORT`, `[IPV6]:PORT` or `unix:/PATH`",
    "any": "any value",
    "boolean": "`true` or `false`",
    "choices": "list of tables",
    "conditions": "list of conditions",
    "count": "whole number",
    "duration": 'duration such as `"30s"`, `"10m"`, `"12h"`, `"7d"`',
    "fields": "table of fields",
    "file": "file, relative to app.toml",
    "folder": "folder, relative to app.toml",
    "grants": "list of grants",
    "headers": "table of header fields",
    "hosts": "list of names without port; `*` is any",
    "inside": "folder in the provider",
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


def all_settings() -> dict[str, tuple[app.Setting, ...]]:
    """The settings by the place of their table in app.toml, those of the providers' kinds too."""
    found: dict[str, tuple[app.Setting, ...]] = {}
    for place, settings in app.SETTINGS.items():
        if not place.startswith("views.*.params.*"):  # as the fields of forms
            found[place.replace("*", "NAME")] = settings
        if place == "providers.*":
            found |= {f"providers.NAME ({kind})": settings for kind, settings in kinds().items()}
    return found


def settings_text() -> str:
    rows = []
    for place, settings in all_settings().items():
        path, _, only = place.partition(" ")
        none = "the preset's" if "generic" in only else "none"
        defaults = [none if s.default is None else literal(s.default) for s in settings]
        names = [f"`{path}.{s.name}` {only}".strip() for s in settings]
        rows += [[name, default, VALUES[s.kind], s.help] for name, default, s in zip(names, defaults, settings, strict=True)]
    return table("setting | default | value | what it is", rows)


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


def commands_text() -> str:
    rows = []
    for words, parser, help_ in leaves(app.build_parser(app.load_registry(ROOT))):
        rows.append([f"`{' '.join([words, *arguments_of(parser)])}`", help_])
    return table("command | what it does", rows)


def contracts_text() -> str:
    """What a plugin implements: the abstract methods, and what it may replace."""
    rows = []
    for cls in (app.Extension, app.Provider, app.Records, app.Blobs, app.Queries, app.Route, app.Job, app.Command):
        own = [name for name in vars(cls) if not name.startswith("_") or name == "__init__"]
        must = [name for name in own if name in getattr(cls, "__abstractmethods__", ())]
        must += [name for name in getattr(cls, "__annotations__", ()) if name not in vars(cls)]
        may = [name for name in own if name not in must]
        rows.append([f"`{cls.__name__}`", *(", ".join(f"`{name}`" for name in names) or "nothing" for names in (must, may))])
    return table("contract | you write | you may replace", rows)


def metrics_text() -> str:
    rows = [
        [f"`{m.name}`", m.type, ", ".join(f"`{n}`" for n in m.labels), m.help] for m in app.plugin("metrics").METERS.values()
    ]
    return table("metric | type | labels | what it is", rows)


TABLES: Mapping[str, Callable[[], str]] = {
    "commands": commands_text,
    "settings": settings_text,
    "errors": errors_text,
    "contracts": contracts_text,
    "metrics": metrics_text,
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


# ---- what README shows ----


def readme() -> str:
    return README.read_text(encoding="utf-8")


def section(heading: str) -> str:
    """The text below a heading of the second level."""
    found = re.search(rf"^## {re.escape(heading)}$(.*?)(?=^## |\Z)", readme(), re.MULTILINE | re.DOTALL)
    assert found, f"README has no section {heading!r}"
    return found[1]


def blocks(text: str, *kinds: str) -> list[tuple[str, str]]:
    """(kind, content) of fenced blocks, in order; of these kinds alone if any are named."""
    found = re.findall(r"^```(\w+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [(kind, content) for kind, content in found if not kinds or kind in kinds]


def mentioned(word: str, text: str) -> bool:
    return bool(re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", text))


# ---- nothing is missing, and nothing is said twice ----


def test_the_tables_are_what_the_program_says() -> None:
    assert readme() == with_tables(readme()), "python tests/test_docs.py write"


def test_every_kind_of_setting_has_words() -> None:
    assert set(app.CONVERTERS) == set(VALUES)


def test_every_setting_is_in_the_reference() -> None:
    reference = section("app.toml")
    missing = [s.name for settings in all_settings().values() for s in settings if f".{s.name}`" not in reference
               and f".{s.name} " not in reference]  # fmt: skip
    assert not missing


def test_every_command_and_option_is_told() -> None:
    told = section("Commands")
    for words, parser, _ in leaves(app.build_parser(app.load_registry(ROOT))):
        assert f"`{words}" in told
        for one in parser._actions:
            for option in one.option_strings:
                assert option == "-h" or mentioned(option, told), f"{words} {option}"


def test_every_exit_code_is_told() -> None:
    told = section("Commands")
    for code in {cls.exit_code for cls in error_classes()}:
        assert re.search(rf"\s{code} \w", told), code


def test_every_error_is_in_the_table() -> None:
    for cls in error_classes():
        assert f"| `{cls.code}` | {cls.status} | {cls.exit_code} |" in section("Errors")


def test_every_plugin_hook_is_told() -> None:
    told = section("Writing a plugin")
    for cls in (app.Extension, app.Provider, app.Records, app.Blobs, app.Queries, app.Route, app.Job, app.Command):
        for name in (*getattr(cls, "__abstractmethods__", ()), *getattr(cls, "__annotations__", {})):
            assert f"`{name}`" in told, f"{cls.__name__}.{name}"


def test_every_list_parameter_and_operator_is_told() -> None:
    told = section("HTTP")
    for name in (*app._LIST_PARAMS, *app.OPERATORS):
        assert mentioned(name, told), name


def test_every_field_format_and_reserved_name_is_told() -> None:
    told = section("app.toml")
    for name in ("file", *app._FORMATS, *app.RESERVED_FIELDS):
        assert f"`{name}`" in told, name


def test_every_label_value_of_a_metric_that_satchel_chooses_is_told() -> None:
    told = section("Metrics")
    for value in (*app.Tally.outcomes, app.LeaseLost.code, "ok", "other"):
        assert f"`{value}`" in told, value


def test_every_environment_variable_is_told() -> None:
    source = "".join((ROOT / name).read_text(encoding="utf-8") for name in ("app.py", ".build/start.py"))
    found = set(re.findall(r"os\.environ(?:\.get\(|\[)\"(\w+)\"", source))
    assert {"SHIV_ROOT", "HOME", "USER"} <= found
    for name in found:
        assert f"`{name}`" in section("Commands"), name


def test_every_route_is_told() -> None:
    site = app.App(app.read_config(tomllib.loads(STARTER), ROOT, "starter", kinds()), app.load_registry(ROOT))
    for row in app._info_routes(site):
        shape = re.sub(r"^/(apps|forms|views|files)/\w+", r"/\1/NAME", row["path"])
        assert f"`{shape}`" in section("HTTP"), shape


def kinds() -> dict[str, Any]:
    return dict(app.load_registry(Path("/nonexistent")).provider_settings)


def test_what_is_not_available_is_named_as_such_and_nowhere_else() -> None:
    absent = section("Not in this build")
    elsewhere = readme().replace(absent, "")
    own = {s.name for settings in all_settings().values() for s in settings}
    for place in app.NOT_AVAILABLE:
        name = place.rpartition(".")[2]
        assert re.search(rf"`\[?{name}\]?`", absent), place
        assert name in own or not re.search(rf"`{name}`|^{name} *=", elsewhere, re.MULTILINE), place
    for name in (
        "server backup",
        "server restore",
        "--reload",
        "XLSX",
    ):
        assert not mentioned(name, elsewhere), name


def test_the_first_block_is_the_two_commands_that_do_everything() -> None:
    """.ci/run pastes it in a fresh clone."""
    kind, content = blocks(readme())[0]
    assert kind == "sh"
    assert content.splitlines() == ["./build.sh server", "./build.sh test"]


def test_blocks_of_commands_can_be_copied_as_they_stand() -> None:
    """No prompts; and no comments, which zsh takes for arguments when they are typed."""
    for kind, content in blocks(readme()):
        assert kind in {"sh", "text", "toml", "nginx", "python", "yaml"}
        if kind == "sh":
            assert not re.search(r"^[$>#%] |(^|\s)#", content, re.MULTILINE), content


def test_links_lead_somewhere() -> None:
    text = re.sub(r"^```.*?^```$", "", readme(), flags=re.MULTILINE | re.DOTALL)
    headings = {
        re.sub(r"[^\w\- ]", "", line).strip().lower().replace(" ", "-")
        for line in re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    }
    for target in re.findall(r"\]\(([^)]+)\)", text):
        assert target[1:] in headings if target[0] == "#" else (ROOT / target).exists(), target


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


def test_every_piece_of_app_toml_is_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in re.findall(r"env:([A-Z_]+)", readme()):
        monkeypatch.setenv(name, "secret")
    (tmp_path / "plugins").mkdir()
    plugin = next(content for _, content in blocks(section("Writing a plugin"), "python"))
    (tmp_path / "plugins" / "jsonfile.py").write_text(plugin, encoding="utf-8")
    available = app.load_registry(tmp_path)
    pieces = blocks(readme(), "toml")
    assert len(pieces) >= 3
    for _, piece in pieces:
        raw = merged(tomllib.loads(STARTER), tomllib.loads(piece))
        config = app.read_config(raw, tmp_path, "README", available.provider_settings)
        app.App(config, available).close()


# ---- the tour ----


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


class Tour:
    """A person at two terminals: one runs the server, the other one is a shell that keeps its variables."""

    def __init__(self, clone: Path, python: str, unpack_root: Path) -> None:
        self.folder, self.port = clone.parent / "intranet", free_port()  # which the tour makes
        bin_ = clone.parent / "bin"
        bin_.mkdir()
        (bin_ / "python3").symlink_to(python)
        self.env = {**os.environ, "PATH": f"{bin_}:{os.environ['PATH']}", "SHIV_ROOT": str(unpack_root), "LC_ALL": "C.UTF-8"}
        self.shell = subprocess.Popen(
            ["bash"],
            cwd=clone,
            env=self.env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.server: subprocess.Popen[bytes] | None = None
        self.log = clone.parent / "server.log"

    def run(self, command: str) -> str:
        """Everything that a block of commands prints, pasted as it stands."""
        assert self.shell.stdin
        assert self.shell.stdout
        self.shell.stdin.write(command + "printf '\\n--- done ---\\n'\n")
        self.shell.stdin.flush()
        lines = list(iter(self.shell.stdout.readline, "--- done ---\n"))
        return "".join(lines).rstrip("\n")

    def serve(self, command: str, lines: int) -> str:
        """Stop the server that runs, start this one, and answer what it prints until that many lines are there."""
        self.stop()
        with self.log.open("wb") as log:
            words = [*command.split(), "--bind", f"127.0.0.1:{self.port}"]
            self.server = subprocess.Popen(
                words,
                cwd=self.folder,
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_for(lambda: self.log.read_text().count("\n") >= lines or self.server.poll() is not None, "the server's words")
        return self.log.read_text().rstrip("\n")

    def stop(self) -> None:
        """Ctrl-C, as the terminal sends it: to the whole group."""
        if self.server:
            os.killpg(self.server.pid, signal.SIGINT)
            assert self.server.wait(PATIENCE_S) == 0, self.log.read_text()
            self.server = None

    def close(self) -> None:
        if self.server:
            os.killpg(self.server.pid, signal.SIGKILL)
            self.server.wait()
        self.shell.communicate("exit\n")


@pytest.fixture
def tour(pyz: Path, bare_python: str, unpack_root: Path, tmp_path: Path) -> Iterator[Tour]:
    backends.program("curl")
    clone = tmp_path / "clone"
    (clone / "dist").mkdir(parents=True)
    shutil.copy(pyz, clone / "dist")
    found = Tour(clone, bare_python, unpack_root)
    yield found
    found.close()


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


def test_the_tour_does_what_it_shows(tour: Tour) -> None:
    text = section("A tour of five minutes").replace("127.0.0.1:8080", f"127.0.0.1:{tour.port}")
    for kind, content, shown in steps(text):
        if kind == "toml":
            with (tour.folder / "app.toml").open("a", encoding="utf-8") as file:
                file.write("\n" + content)
        else:
            serves = content.endswith("app.pyz server\n")
            printed = tour.serve(content, shown.count("\n") + 1) if serves else tour.run(content)
            assert shows(shown, printed), f"{content}README shows:\n{shown}\nit printed:\n{printed}"
            if serves and "/login/" in printed:
                press_button(printed)
    expect_files_named(tour.folder / "data")
    tour.stop()


def press_button(printed: str) -> None:
    """What the text between the blocks says: open the link and press the button."""
    link = urlsplit(re.findall(r"http://\S+/login/\S+", printed)[0])
    visitor = Visitor(f"{link.scheme}://{link.netloc}")
    assert visitor.submit(visitor.form_at(link.path, "/login")).status == 303
    page = visitor.get("/apps/desk", PAGE)
    for address in ("forms/requests", "views/requests", "files/shared"):
        assert f'href="/{address}' in page.text
    visitor.close()


def expect_files_named(data: Path) -> None:
    told = section("What is stored where")
    own = [path for path in data.iterdir() if path.name != "files"] + list((data / "files" / ".satchel").iterdir())
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
    told = section("Writing a plugin")
    (tmp_path / "site" / "plugins").mkdir(parents=True)
    (tmp_path / "site" / "plugins" / "jsonfile.py").write_text(blocks(told, "python")[0][1], encoding="utf-8")
    (tmp_path / "site" / "app.toml").write_text(PLUGIN_SITE + blocks(told, "toml")[0][1], encoding="utf-8")
    server = start_server(folder=tmp_path / "site")
    visitor = Visitor(server.base_url, token_for(server, "forms/notes:*", "admin/audit:read"))
    made = [visitor.post_json("/forms/notes", {"text": text}) for text in ("one", "two", "three")]
    assert [answer.status for answer in made] == [201, 201, 201]
    batch = visitor.post_json("/forms/notes", [{"text": "four"}, {"text": 5}])
    assert batch.status == 422
    page = visitor.get("/forms/notes/records?_size=2&_sort=text&_count=1").data
    assert ([row["text"] for row in page["items"]], page["count"]) == (["one", "three"], 3)
    rest = visitor.get(f"/forms/notes/records?_size=2&_sort=text&_next={page['next']}").data
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


def starter_with(folder: Path, piece: str) -> None:
    """app.toml of the starter with more, as README shows pieces of it."""
    folder.mkdir()
    (folder / "app.toml").write_text(as_toml(merged(tomllib.loads(STARTER), tomllib.loads(piece))), encoding="utf-8")


def test_a_later_sign_in_link_of_the_administrator_works(
    running: Server, run_pyz: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    command = re.findall(r"`python3 app\.pyz (auth link [^`]+)`", section("Commands"))[0]
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
    starter_with(tmp_path / "site", '[apps.desk]\nhome = "templates/hr.html"')
    (tmp_path / "site" / "templates").mkdir()
    page = '% for row in view("requests", kind="other"):\n<p>{{row["subject"]}}</p>\n% end\n'
    page += '<a href="{{url("forms/requests")}}">More</a>'
    (tmp_path / "site" / "templates" / "hr.html").write_text(page)
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
    told = section("Behind nginx, under systemd")
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
    """TOML of what tomllib read: tables by their full names, other values as JSON, which TOML reads but for null."""
    plain = {name: value for name, value in raw.items() if not isinstance(value, dict)}
    lines = [f"[{place}]"] * bool(place) + [f"{name} = {inline(value)}" for name, value in plain.items()]
    inner = [as_toml(value, f"{place}.{name}".lstrip(".")) for name, value in raw.items() if isinstance(value, dict)]
    return "\n".join([*lines, *inner])


def inline(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def test_the_systemd_unit_is_sound(
    run_pyz: Callable[..., subprocess.CompletedProcess[str]], pyz: Path, tmp_path: Path
) -> None:
    assert "info systemd" in section("Behind nginx, under systemd")
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
        README.write_text(with_tables(README.read_text(encoding="utf-8")), encoding="utf-8")
    else:
        print("\n\n".join(f"<!-- {name} -->\n{make()}" for name, make in TABLES.items()))
