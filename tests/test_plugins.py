"""PLUGINS: a file beside app.toml adds a kind of provider; one that does not load stops the start and is named."""

from __future__ import annotations

import base64
import builtins
import json
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from http_client import Site as HttpSite
from sites import REGISTRY, Site
from test_commands import ENVIRONMENT, PROGRAM, Shell, command

import app

ROOT = Path(app.__file__).parent

PLUGIN = '''
"""Records in a folder that is named otherwise."""
import app
from app import REQUIRED, Setting


class Drawer(app.plugin("file").FileProvider):
    kind = "drawer"
    settings = (
        Setting("place", "path", REQUIRED, "the folder"),
        Setting("slots", "positive", 4, "how many"),
    )

    def __init__(self, name, options, folder):
        if options["slots"] > 9:
            raise app.ConfigError(f"provider {name}: slots: at most 9")
        super().__init__(name, {"root": options["place"]}, folder)
'''
BUILT_IN = list(app.load_registry(Path("/nonexistent")).of(app.Provider))  # and the bundled plugins
TOML = '[providers.main]\nkind = "drawer"\nplace = "drawer"\n[forms.ask]\nfields.a = {}\n'


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


def test_a_plugin_beside_app_toml_adds_a_kind(shell: Shell) -> None:
    shell.write(PLUGIN, "plugins/drawer.py")
    registry = app.load_registry(shell.folder)
    kinds = registry.of(app.Provider)
    assert {"sql", "file"} <= set(kinds)
    assert list(kinds)[-1] == "drawer"
    site = Site(shell.folder, TOML, registry=registry)
    made = site.create("forms/ask", {"a": "x"})
    assert site.read(made.location).data["a"] == "x"
    assert (shell.folder / "drawer" / ".satchel").is_dir()
    site.close()


def test_the_settings_of_a_plugin_are_checked_like_all_others(shell: Shell) -> None:
    shell.write(PLUGIN, "plugins/drawer.py")

    def found(toml: str) -> dict[str, str]:
        shell.write(toml)
        return {f["pointer"]: f["detail"] for f in shell.json("server", "check", code=2)["faults"]}

    assert found(TOML.replace('place = "drawer"', "plase = 1\nslots = 0")) == {
        "providers.main.plase": "is not a setting; did you mean place?",
        "providers.main.slots": "must be a whole number, 1 or more",
    }
    assert found(TOML.replace('place = "drawer"\n', ""))["providers.main.place"] == "is missing: the folder"
    assert found(TOML.replace("[forms", "slots = 10\n[forms")) == {"providers.main": "provider main: slots: at most 9"}
    assert "did you mean drawer?" in found(TOML.replace('"drawer"', '"drawr"', 1))["providers.main.kind"]


BROKEN = {
    "syntax.py": ("def", "SyntaxError"),
    "missing.py": ("import no_such_module_here", "no_such_module_here"),
    "raises.py": ("1 / 0", "ZeroDivisionError"),
    "empty.py": ("x = 1", "defines no extension with a kind"),
    "imports_only.py": ("from app import SqlProvider", "defines no extension with a kind"),
    "no_kind.py": ("import app\nclass P(app.Provider): ...", "defines no extension with a kind"),
    "again.py": ('import app\nclass P(app.plugin("file").FileProvider):\n    kind = "sql"', "'sql', which exists already"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_plugin_that_does_not_load_stops_the_start_and_is_named(shell: Shell, name: str) -> None:
    text, reason = BROKEN[name]
    shell.write(text, f"plugins/{name}")
    with pytest.raises(app.ConfigError) as error:
        app.load_registry(shell.folder).of(app.Provider)
    assert f"plugins/{name}" in error.value.message
    assert reason in error.value.message


def bundled_plugins() -> list[Path]:
    return sorted((app.BUNDLED / "plugins").glob("[!_]*.py"))


@pytest.mark.parametrize("path", bundled_plugins(), ids=lambda path: path.stem)
def test_the_heading_of_a_bundled_plugin_names_the_kinds_that_it_defines(path: Path) -> None:
    lists = re.findall(r"^# defines:(.*(?:\n#  +.*)*)", path.read_text(encoding="utf-8"), re.MULTILINE)
    module = app.plugin(path.stem)
    defined = [
        f"{family.__name__}:{cls.kind.replace(' ', '_')}"
        for cls in vars(module).values()
        for family in app.FAMILIES
        if isinstance(cls, type) and cls.__module__ == module.__name__ and issubclass(cls, family) and hasattr(cls, "kind")
    ]
    assert sorted(word for words in lists for word in words.split() if ":" in word) == sorted(defined)


def test_a_plugin_that_is_byte_for_byte_a_bundled_one_is_that_one(shell: Shell) -> None:
    for number, path in enumerate(bundled_plugins()):
        shell.write(path.read_text(encoding="utf-8"), f"plugins/{path.name}")
        shell.write(path.read_text(encoding="utf-8"), f"plugins/copy{number}.py")
    shell.write(PLUGIN, "plugins/drawer.py")
    assert list(app.load_registry(shell.folder).of(app.Provider)) == [*BUILT_IN, "drawer"]


def test_two_plugins_with_one_kind_are_refused_and_both_files_named(shell: Shell) -> None:
    bundled = next(path for path in bundled_plugins() if path.stem == "aws")
    changed = shell.write(bundled.read_text(encoding="utf-8") + "\n", f"plugins/{bundled.name}")
    _, err = shell.run("info", code=2)
    assert str(bundled) in err
    assert str(changed) in err
    changed.unlink()
    first, second = shell.write(PLUGIN, "plugins/one.py"), shell.write(PLUGIN, "plugins/two.py")
    _, err = shell.run("server", "check", code=2)
    assert f"the provider 'drawer', which exists already: it is in {first} and in {second}; remove one" in err


def test_every_command_stops_with_exit_2_at_a_broken_plugin(shell: Shell) -> None:
    shell.write("1 / 0", "plugins/broken.py")
    for args in (["server"], ["server", "check"], ["auth", "list"], ["info"]):
        _, err = shell.run(*args, code=2)
        assert "plugins/broken.py failed to load: ZeroDivisionError" in err
    assert not (shell.folder / "data").exists()
    shell.write("raise SystemExit(3)", "plugins/broken.py")
    assert "plugins/broken.py failed to load: SystemExit: 3" in shell.run("server", "check", code=2)[1]
    shell.run("--help")


def test_the_program_s_own_help_imports_no_plugin_and_that_of_a_group_does(shell: Shell) -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv.pop(1)); import app, atexit\n"
        "atexit.register(lambda: print(*[name for name in sys.modules if name.startswith('satchel_')])); app.main()"
    )
    said = {}
    for words in ("--help", "-h", "help", "auth --help", "help auth"):
        line = [sys.executable, "-c", code, str(Path(app.__file__).parent), *words.split()]
        said[words] = subprocess.run(line, capture_output=True, text=True, cwd=shell.folder, check=True).stdout.rstrip("\n")
    assert said["--help"] == said["-h"] == said["help"]
    assert "server | auth | info" in said["--help"]
    assert "satchel_plugin" not in said["--help"]
    assert said["auth --help"].startswith("usage: app.pyz auth")
    assert said["auth --help"] == said["help auth"]
    assert "satchel_plugin_tokens" in said["auth --help"]


def test_reading_settings_imports_the_bundled_files_that_have_some_and_finds_them_all(tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".*", "tests", "dist", "__pycache__"))
    heading = "# ==== 1. SPARE ====\n# A job.\n# uses: CONTRACTS\n# defines: Job:spare Spare\n"
    job = "class Spare(Job):\n    kind = 'spare'\n    settings = (Setting('every', 'duration', '1h', 'how often'),)\n"
    (copy / "plugins" / "spare.py").write_text(f"from app import Job, Setting\n\n{heading}\n{job}")
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import app; from pathlib import Path\n"
        "print('spare' in app.load_registry(Path('/nonexistent')).tables, 'satchel_plugin_openapi' in sys.modules)"
    )
    line = [sys.executable, "-c", code, str(copy)]
    assert subprocess.run(line, capture_output=True, text=True, check=True).stdout == "True False\n"
    families: list[Any] = [app.Format, app.Route, app.Job]
    every = {kind: cls.settings for family in families for kind, cls in REGISTRY.of(family).items()}
    assert REGISTRY.tables == {kind: settings for kind, settings in every.items() if settings}


def test_a_plugin_that_exits_or_is_hidden_is_handled(shell: Shell) -> None:
    shell.write("1 / 0", "plugins/_draft.py")
    shell.write("1 / 0", "plugins/notes.txt")
    assert list(app.load_registry(shell.folder).of(app.Provider)) == app.load_registry(shell.folder / "elsewhere").kinds(
        app.Provider
    )


ROUTE = """
import app


class Greeting(app.Route):
    kind = "greeting"
    paths = {"/greeting": "GET"}
    settings = (
        app.Setting("text", "text", "Hello", "what it says"),
        app.Setting("times", "positive", 1, "how often"),
        app.Setting("password", "secret", "", "what opens it"),
    )

    def answer(self, asked, host):
        return app.Answer(200, [("Content-Type", "text/plain")], self.options["text"].encode() * self.options["times"])
"""


def test_the_settings_of_every_family_are_checked_and_shown(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    shell.write(ROUTE, "plugins/greeting.py")
    main = '[providers.main]\nkind = "sql"\nurl = "sqlite:///app.db"\n'

    def found(toml: str) -> dict[str, str]:
        shell.write(main + toml)
        return {f["pointer"]: f["detail"] for f in shell.json("server", "check", code=2)["faults"]}

    assert found("[greeting]\ntime = 0") == {"greeting.time": "is not a setting; did you mean times?"}
    assert found("[greeting]\ntimes = 0") == {"greeting.times": "must be a whole number, 1 or more"}
    assert "did you mean greeting?" in found("[greting]\ntimes = 1")["greting"]
    shell.write(main)
    assert shell.json("info", "config")["greeting"] == {"text": "Hello", "times": 1, "password": ""}
    (shell.folder / "secret").write_text("open sesame")
    shell.write(main + '[greeting]\ntext = "Hi"\npassword = "file:secret"\n')
    assert shell.json("info", "config")["greeting"] == {"text": "Hi", "times": 1, "password": "set"}
    assert {"path": "/greeting", "methods": "GET"} in shell.json("info", "routes")


def test_a_route_is_answered_at_the_door(tmp_path: Path) -> None:
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "greeting.py").write_text(ROUTE)
    site = HttpSite(tmp_path)
    assert site.get("/greeting").text == "Hello"
    assert site.get("/greeting").status == 200
    assert site.send("/greeting", {}).status == 405
    site.close()


def test_a_route_is_not_asked_for_a_write_that_comes_from_another_site(tmp_path: Path) -> None:
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "greeting.py").write_text(ROUTE.replace('"GET"', '"GET POST"'))
    site = HttpSite(tmp_path)
    basic = {"Authorization": "Basic " + base64.b64encode(f"ann:{site.token('**:*')}".encode()).decode()}
    for headers in ({"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {"Origin": "https://evil.example"}):
        assert site.send("/greeting", {}, **basic, **headers).status == 403, headers
        assert site.get("/greeting", **basic, **headers).status == 200, headers
    for headers in ({"Sec-Fetch-Site": "same-origin"}, {}):
        assert site.send("/greeting", {}, **basic, **headers).text == "Hello", headers
    site.close()


def test_routes_with_one_path_and_kinds_named_like_a_table_are_refused(shell: Shell) -> None:
    shell.write(ROUTE, "plugins/greeting.py")
    shell.write(ROUTE.replace('"greeting"', '"other"', 1), "plugins/other.py")
    with pytest.raises(app.ConfigError, match="the routes greeting and other both answer GET /greeting"):
        HttpSite(shell.folder)
    shell.write(ROUTE.replace('"greeting"', '"http"', 1), "plugins/other.py")
    _, err = shell.run("info", code=2)
    assert "plugins/other.py: the kind 'http' is a table of Satchel's own" in err


def test_the_contract_suites_run_over_a_file_of_ones_own(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    path = shell.write(ROUTE + PLUGIN.split('"""', 2)[2] + 'EXAMPLES = {"drawer": {"place": "drawer"}}\n', "mine.py")
    suites = [str(Path(__file__).with_name(name)) for name in ("test_extensions.py", "test_provider_contract.py")]
    chosen = "greeting or (drawer and (ping or closed or racing))"
    args = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *suites, "--plugin", str(path), "-k", chosen]
    done = subprocess.run(args, capture_output=True, text=True, cwd=PROGRAM.parent, timeout=300)
    assert done.returncode == 0, done.stdout[-3000:]
    count = re.search(r"([0-9]+) passed", done.stdout)
    assert count
    assert int(count[1]) >= 6


PROBE = """
import sys
import app


class Probe(app.plugin("file").FileProvider):
    kind = "probe"
    settings = ()

    def __init__(self, name, options, folder):
        super().__init__(name, {"root": "probe"}, folder)

    def warnings(self):
        copies = [m for m in sys.modules.values() if getattr(m, "__file__", "") == app.__file__ and hasattr(m, "cmd_info")]
        return [f"{len({id(m) for m in copies})} {isinstance(self, app.Provider)}"]
"""


def probed(args: list[str], folder: Path, **env: str) -> Any:
    done = subprocess.run(args, capture_output=True, cwd=folder, env=ENVIRONMENT | env, timeout=60)
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)[0]["warnings"]


def test_import_app_in_a_plugin_does_not_load_the_program_twice(shell: Shell) -> None:
    shell.write(PROBE, "plugins/probe.py")
    shell.write('[providers.main]\nkind = "probe"\n')
    args = ["info", "providers", "--json"]
    assert probed(command(*args), shell.folder) == ["1 True"]
    assert probed([sys.executable, "-m", "app", *args], shell.folder, PYTHONPATH=str(PROGRAM.parent)) == ["1 True"]
    text = f"import sys, app; sys.exit(app.main({args!r}))"
    assert probed([sys.executable, "-c", text], shell.folder, PYTHONPATH=str(PROGRAM.parent)) == ["1 True"]


def test_threads_that_need_a_plugin_at_the_same_time_get_it_whole(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    shell.write("import builtins\nbuiltins.half_made()\nWHOLE = True\n", "plugins/slow.py")
    monkeypatch.setattr(app, "BUNDLED", shell.folder)
    found: list[bool] = []

    def look_up() -> None:
        found.append(hasattr(app.plugin("slow"), "WHOLE"))

    second = threading.Thread(target=look_up)

    def half_made() -> None:  # the other thread has the time to get it, and must not
        second.start()
        second.join(0.2)

    monkeypatch.setattr(builtins, "half_made", half_made, raising=False)
    look_up()
    second.join(10)
    monkeypatch.delitem(sys.modules, "satchel_plugin_slow")
    assert found == [True, True]


@pytest.mark.parametrize(
    "options",
    [("--config", "{}"), ("--config={}",), ("--conf", "{}"), ("--conf={}",), ("--config", "app.toml", "--config", "{}")],
)
def test_plugins_are_loaded_from_beside_the_app_toml_that_is_named_alone(shell: Shell, options: Sequence[str]) -> None:
    shell.write('raise SystemExit("loaded from here")', "plugins/here.py")
    there = shell.write(
        '[providers.main]\nkind = "sql"\nurl = "sqlite:///app.db"\n[forms.ask]\nfields.a = {}\n', "there/app.toml"
    )
    out, _ = shell.run("info", "resources", *(one.format(there) for one in options))
    assert "forms/ask" in out


MARKDOWN = '''
"""Lists as tables of Markdown."""

import app


class Markdown(app.Format):
    kind = "md"
    media = "text/markdown; charset=utf-8"
    subjects = frozenset({"table"})
    whole = True

    def dump(self, exchange, response):
        names = [column.name for column in response.table.columns]
        yield f"| {' | '.join(names)} |\\n|{' --- |' * len(names)}\\n".encode()
        for row in response.table.rows:
            yield f"| {' | '.join(str(row[name]) for name in names)} |\\n".encode()
'''


def test_a_format_is_a_file_in_plugins_and_lists_have_it_by_suffix_by_accept_and_on_their_pages(tmp_path: Path) -> None:
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "markdown.py").write_text(MARKDOWN)
    site = HttpSite(tmp_path)
    root = site.token("**:*")
    for reply in (site.get("/views/numbers.md?top=2", root), site.get("/views/numbers?top=2", root, Accept="text/markdown")):
        assert (reply.status, reply["Content-Type"]) == (200, "text/markdown; charset=utf-8")
        assert reply["Content-Disposition"] == "attachment; filename*=UTF-8''numbers.md"
        assert reply.text.splitlines()[:3] == ["| i | label |", "| --- | --- |", '| 1 | row "1"']
    assert len(site.get("/views/numbers.md?top=1500", root).text.splitlines()) > 1500, "not a page, but all of it"
    assert 'href="/views/numbers.md?top=2">MD</a>' in site.get("/views/numbers?top=2", root, Accept="text/html").text
    refused = site.get("/forms/leave.md", root)
    assert (refused.status, "application/json, text/html" in refused.json["detail"]) == (406, True)
    site.close()
