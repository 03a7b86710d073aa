"""[backup] and [audit], and backups that go to a provider: made when they are due, tried out where they arrive, and loud
when they fail; the audit trail loses what a backup has, and nothing else."""

from __future__ import annotations

import errno
import itertools
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import tomllib
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import pytest
import test_matrix as matrix
from sites import REGISTRY, Site, Time
from test_commands import ENVIRONMENT, Shell, compiled

import app
from app import Blobs, ConfigError, Insert, Query, Records, Unavailable

backup, places, jobs = app.plugin("backup"), app.plugin("backup_places"), app.plugin("jobs")
backup_job = app.plugin("backup_job")
Backups, Audits = backup_job.Backups, app.plugin("audit_job").Audits
MAIN = '[providers.main]\nkind = "sql"\nurl = "sqlite:///data/app.db"\n'
SHARE = '[providers.disk]\nkind = "file"\nroot = "share"\n[files.docs]\nprovider = "disk"\nprefix = "docs/"\n'
FORM = '[forms.leave.fields]\nday = { type = "string" }\n'
WEB = '[providers.web]\nkind = "generic"\npreset = "json-server"\nurl = "http://127.0.0.1:9"\n'
KINDS = ("file", "sql", "postgres", "aws")


def far(kind: str, folder: Path) -> str:
    """[providers.far] of this kind, which no resource uses."""
    text = matrix.PROVIDERS[kind](folder).replace("[providers.main]", "[providers.far]")
    return text.replace("sqlite:///app.db", "sqlite:///far.db").replace('"store"', '"far"')


def made(folder: Path, toml: str, clock: app.Clock = time.time) -> Site:
    """The site of an app.toml, with what is never made silently."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "app.toml").write_text(toml)
    raw = tomllib.loads(toml, parse_float=app.exact_number)
    settings, tables = REGISTRY.provider_settings, REGISTRY.tables
    with closing(app.App(app.read_config(raw, folder, "app.toml", settings, tables), REGISTRY)) as whole:
        assert whole.inspection.create()[1] == []
    return Site(folder, toml, clock=clock)


@pytest.fixture
def sites() -> Iterator[Callable[..., Site]]:
    opened: list[Site] = []

    def make(*args: Any, **options: Any) -> Site:
        opened.append(made(*args, **options))
        return opened[-1]

    yield make
    for site in opened:
        site.close()


def place(site: Site, text: str) -> Any:
    return places.place_of(text, site.app.config, site.app.providers, site.folder)


def blobs(site: Site, name: str = "far") -> Blobs:
    return cast(Blobs, site.app.providers[name])


def paths(site: Site, name: str = "far") -> list[str]:
    return [cast(app.Blob, one).path for one in blobs(site, name).scan()]


def row(site: Site) -> Any:
    found = site.app.state.get("_settings", "backup")
    return found.value if found else {}


def run(site: Site, stop: threading.Event | None = None) -> None:
    Backups(site.app.config.extensions["backup"], site.app.config).run(site.app, stop or threading.Event())


def scheduled(to: str, keep: int = 2) -> str:
    return f'[backup]\nto = "{to}"\nevery = "1h"\nkeep = {keep}\n'


# ---- a provider that keeps backups


@pytest.mark.parametrize("kind", KINDS)
def test_a_backup_in_a_provider_is_listed_tried_out_and_restored(
    kind: str, sites: Callable[..., Site], tmp_path: Path
) -> None:
    site = sites(tmp_path / "site", MAIN + SHARE + FORM + far(kind, tmp_path / "site"))
    site.create("forms/leave", {"day": "monday"})
    site.put("files/docs/a.bin", body=os.urandom(300_000), body_bytes=300_000)
    there = place(site, "far")
    archive = there.make(site.app, with_keys=True)
    assert [one.address for one in there.archives()] == [archive.address] == [f"far/{paths(site)[0]}"]
    assert there.manifest(archive)["site"] == site.app.site_id()
    assert not list((site.folder / "data").glob(".satchel-*")), "nothing is left of what was made here first"
    found_in, found = places.archive_at(archive.address, site.app.config, site.app.providers)
    with found_in.here(found, tmp_path) as path:
        backup.restore_into(path, tmp_path / "again", local=False)
    again = Site(tmp_path / "again", (tmp_path / "again" / "app.toml").read_text())
    with closing(again):
        assert [one["day"] for one in again.items("forms/leave/records", by=site.root)] == ["monday"]
        assert again.bytes("files/docs/a.bin") == site.bytes("files/docs/a.bin")
    there.remove(archive)
    assert there.archives() == paths(site) == []


@pytest.mark.parametrize("kind", KINDS)
def test_what_does_not_arrive_as_it_was_sent_is_no_backup(
    kind: str, sites: Callable[..., Site], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = sites(tmp_path / "site", MAIN + FORM + far(kind, tmp_path / "site"))
    right = type(blobs(site)).write

    def damaged(self: Any, path: str, chunks: Any, **conditions: Any) -> Any:
        data = bytearray(b"".join(chunks))
        data[len(data) // 2] ^= 1
        return right(self, path, [bytes(data)], **conditions)

    monkeypatch.setattr(type(blobs(site)), "write", damaged)
    with pytest.raises(Unavailable, match="did not arrive"):
        place(site, "far").make(site.app, with_keys=False)
    assert paths(site) == []


def test_a_part_that_was_left_is_no_backup_and_goes_after_a_day(sites: Callable[..., Site], tmp_path: Path) -> None:
    site, left = (
        sites(tmp_path / "site", MAIN + FORM + far("file", tmp_path)),
        "backups/satchel-2026-01-01T000000Z.zip.partial",
    )
    fresh = left.replace("000000Z", "000001Z")
    for path in (left, fresh):
        blobs(site).write(path, [b"half"])
    os.utime(tmp_path / "site" / "far" / left, (1_767_225_600, 1_767_225_600))
    archive = place(site, "far").make(site.app, with_keys=False)
    assert paths(site) == [fresh, f"backups/{archive.name}"]
    assert [one.name for one in place(site, "far").archives()] == [archive.name]


def test_a_provider_and_a_folder_are_told_apart(sites: Callable[..., Site], tmp_path: Path) -> None:
    site = sites(tmp_path / "site", MAIN + SHARE + FORM + far("file", tmp_path))
    (site.folder / "far").mkdir(exist_ok=True)
    for text, folder in (("./far", "far"), ("kept/far", "kept/far"), ("other", "other"), (str(tmp_path / "x"), "../x")):
        assert Path(os.path.realpath(place(site, text).folder)) == (site.folder / folder).resolve()
    for text, inside in (("far", "backups"), ("far/", "backups"), ("far/night/ly", "night/ly")):
        assert (place(site, text).name, place(site, text).folder) == ("far", inside)
    for text, problem in (("fa", "did you mean far"), ("far/../up", "no folder of far")):
        with pytest.raises(ConfigError, match=problem):
            place(site, text)


@pytest.mark.parametrize(
    ("tables", "at", "problem"),
    [
        ('[backup]\nto = "nowhere"\n', "backup.to", "not a provider"),
        ('[backup]\nto = "main"\n', "backup.to", "itself what is backed up"),
        ('[backup]\nto = "twin"\n[providers.twin]\nkind = "sql"\nurl = "sqlite:///data/app.db"\n', "backup.to", "itself"),
        ('[backup]\nto = "disk/docs"\n', "backup.to", "is in files/docs"),
        ('[backup]\nto = "disk/docs/deep"\n', "backup.to", "is in files/docs"),
        ('[backup]\nto = "./share/kept"\n', "backup.to", "others can read it"),
        ('[backup]\nto = "./pub/kept"\n[apps.pub]\nstatic = "pub"\n', "backup.to", "others can read it"),
        (f'[backup]\nto = "web"\n{WEB}', "backup.to", "no files"),
        ('[backup]\nto = "./kept"\nevery = "10s"\n', "backup.every", "at least one minute"),
        ('[backup]\nto = "./kept"\nevery = "often"\n', "backup.every", "duration"),
        ('[backup]\nto = "./kept"\nkeep = 0\n', "backup.keep", "1 or more"),
        ('[backup]\nto = 7\n', "backup.to", "quotes"),
        ('[backup]\ntoo = "./kept"\n', "backup.too", "to"),
        ('[audit]\nkeep = "2y"\n', "audit.keep", r"needs \[backup\] to"),
        ('[audit]\nkeep = "2y"\n[backup]\nto = ""\n', "audit.keep", r"needs \[backup\] to"),
        ('[audit]\nkeep = "1h"\n[backup]\nto = "./kept"\n', "audit.keep", "at least one day"),
        ('[audit]\nkeep = false\n[backup]\nto = "./kept"\n', "audit.keep", "duration"),
    ],
)  # fmt: skip
def test_settings_that_cannot_be_meant_are_refused(tables: str, at: str, problem: str, tmp_path: Path) -> None:
    (tmp_path / "pub").mkdir()
    with pytest.raises(ConfigError) as refused:
        Site(tmp_path, MAIN + SHARE + FORM + tables)
    [fault] = refused.value.faults
    assert fault.pointer == at
    assert re.search(problem, fault.detail), fault.detail


def test_settings_that_are_right_are_taken(tmp_path: Path) -> None:
    right = '[backup]\nto = "disk/kept"\nevery = "24h"\nkeep = 14\nkeys = true\n[audit]\nkeep = "2y"\n'
    site = Site(tmp_path, MAIN + SHARE + FORM + right)
    with closing(site):
        assert site.app.config.extensions["audit"]["keep"] == 2 * 365 * 86400
        assert site.app.config.extensions["backup"]["keys"] is True


def test_backups_beside_a_share_are_not_in_the_next_one(sites: Callable[..., Site], tmp_path: Path) -> None:
    site = sites(tmp_path / "site", MAIN + SHARE + FORM)
    own = "docs/satchel-2026-01-01T000000Z.zip"  # somebody's file, called as one
    blobs(site, "disk").write(own, [b"own"])
    first = place(site, "disk").make(site.app, with_keys=False)
    blobs(site, "disk").write("docs/b", [b"b"])
    with place(site, "disk").here(first, tmp_path) as path:
        assert backup.verify(path)["providers"]["disk"]["files"]["count"] == 1
    again = place(site, "./kept").make(site.app, with_keys=False)
    assert backup.verify(Path(again.address))["providers"]["disk"]["files"]["count"] == 2


def test_a_local_copy_of_a_site_makes_no_backups_of_its_own(sites: Callable[..., Site], tmp_path: Path) -> None:
    toml = MAIN + SHARE + FORM + far("file", tmp_path) + scheduled("far") + '[audit]\nkeep = "2y"\n[roles.x]\ngrants = []\n'
    site = sites(tmp_path / "site", toml)
    archive = place(site, "./kept").make(site.app, with_keys=True)
    backup.restore_into(Path(archive.address), tmp_path / "copy", local=True)
    copied = tomllib.loads((tmp_path / "copy" / "app.toml").read_text())
    assert sorted(copied) == ["files", "forms", "providers", "roles"]
    Site(tmp_path / "copy", (tmp_path / "copy" / "app.toml").read_text()).close()


def test_the_commands_take_a_provider(tmp_path: Path) -> None:
    (tmp_path / "office").mkdir()
    shell = Shell(tmp_path / "office")
    shell.write(MAIN + FORM + far("file", tmp_path) + scheduled("far"))
    shell.run("auth", "issue", "--subject", "ann", "--grant", "**:*")
    path = shell.json("server", "backup", "--with-keys")["path"]
    assert path.startswith("far/backups/satchel-")
    assert [one["path"] for one in shell.json("server", "backups")] == [path]
    assert [one["path"] for one in shell.json("server", "backups", "far")] == [path]
    assert shell.json("server", "backups", "data/backups") == []
    name = path.rpartition("/")[2]
    assert shell.json("server", "verify", name)["ok"]
    assert "there is no backup" in shell.run("server", "verify", "far/backups/none.zip", code=4)[1]
    shell.run("server", "restore", path, str(tmp_path / "new"))
    assert [one["subject"] for one in Shell(tmp_path / "new").json("auth", "list")] == ["ann"]
    stored = tmp_path / "office" / path
    stored.write_bytes(stored.read_bytes()[:-1] + b"!")
    assert "is damaged" in shell.run("server", "verify", path, code=6)[1]
    assert "did you mean far" in shell.run("server", "backup", "fax", code=2)[1]


# ---- the job


@pytest.mark.parametrize("to", ["far", "./kept"])
def test_a_backup_is_made_when_it_is_due_and_older_ones_of_this_site_go(
    to: str, sites: Callable[..., Site], tmp_path: Path
) -> None:
    clock = Time()
    clock.now = time.time()
    site = sites(tmp_path / "site", MAIN + FORM + far("file", tmp_path) + scheduled(to), clock=clock)
    other = sites(tmp_path / "other", MAIN + FORM)
    there = place(site, to)
    folder = site.folder / ("far/backups" if to == "far" else "kept")
    folder.mkdir(parents=True)
    theirs = place(other, str(tmp_path / "theirs")).make(other.app, with_keys=False)
    kept_for_others = {"satchel-2001-01-01T000000Z.zip": Path(theirs.address).read_bytes()}
    kept_for_others |= {"satchel-2002-01-01T000000Z.zip": b"no backup", "satchel-mine.zip": b"x", "notes.txt": b"y"}
    for name, data in kept_for_others.items():
        (folder / name).write_bytes(data)
    old = place(site, str(tmp_path / "old")).make(site.app, with_keys=False)
    for year in (2003, 2004, 2005):
        (folder / f"satchel-{year}-01-01T000000Z.zip").write_bytes(Path(old.address).read_bytes())
    run(site)
    first = row(site)
    assert first["failures"] == 0
    own = [one.name for one in there.archives() if one.name not in kept_for_others]
    assert own == [Path(first["name"]).name, "satchel-2005-01-01T000000Z.zip"] == first["made"]
    assert {name: (folder / name).read_bytes() for name in kept_for_others} == kept_for_others
    run(site)
    assert row(site) == first, "it was not due"
    clock.now = time.time() + 3601
    wait_until(lambda: int(time.time()) > int(first["good_at"]))  # names tell seconds
    run(site)
    assert row(site)["name"] != first["name"]
    assert [one.name for one in there.archives()][:2] == [Path(row(site)["name"]).name, Path(first["name"]).name]
    backup.verify(folder / Path(row(site)["name"]).name)


def test_what_a_manifest_says_is_nothing_if_any_of_it_is_damaged(sites: Callable[..., Site], tmp_path: Path) -> None:
    site = sites(tmp_path / "site", MAIN + FORM)
    there = place(site, str(tmp_path / "kept"))
    archive = there.make(site.app, with_keys=False)
    whole, path = there.manifest(archive), Path(archive.address)
    data = path.read_bytes()
    with zipfile.ZipFile(path) as opened:
        one = opened.getinfo("manifest.json")
    found = []
    for at in range(one.header_offset, one.header_offset + 30 + len(one.filename) + one.compress_size):
        path.write_bytes(data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :])
        found.append(there.manifest(archive))
    assert whole["site"]
    assert {} in found
    assert all(said in ({}, whole) for said in found)


def test_a_backup_that_fails_is_loud_tried_again_and_removes_nothing(
    sites: Callable[..., Site], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Time()
    clock.now = time.time()
    site = sites(tmp_path / "site", MAIN + FORM + scheduled("./kept", keep=1), clock=clock)
    run(site)
    whole = {"providers": "ok"}
    assert backup_job.condition(site.app, whole) == {"age_s": 0, "failures": 0}
    before = os.listdir(site.folder / "kept")
    (site.folder / "kept").rename(site.folder / "away")
    (site.folder / "kept").write_text("a file in its place")
    tried = []
    for _ in range(400):
        clock.now += 60
        failures = row(site)["failures"]
        run(site)
        if row(site)["failures"] > failures:
            tried.append(clock.now)
            if len(tried) == 3:
                break
    assert [round((b - a) / 60) for a, b in itertools.pairwise(tried)] == [1, 2], "later each time"
    told = backup_job.condition(site.app, whole)
    assert (told["failures"], told["age_s"] >= 3600) == (3, True)
    assert "the last backup failed" in told["why"]
    assert str(tmp_path) not in told["why"], "everybody may read it"
    assert str(tmp_path) in caplog.text, "which helps the operator"
    assert [one.levelname for one in caplog.records if "the backup failed" in one.message] == ["ERROR"] * 3
    gauges = {one["name"]: one["samples"] for one in app.plugin("metrics").samples(site.app)}
    assert gauges["satchel_backup_failures"] == [{"labels": {}, "value": 3}]
    assert gauges["satchel_backup_age_seconds"][0]["value"] == told["age_s"]
    (site.folder / "kept").unlink()
    (site.folder / "away").rename(site.folder / "kept")
    assert os.listdir(site.folder / "kept") == before
    clock.now += 3600
    run(site)
    assert row(site)["failures"] == 0
    assert row(site)["stores"] == backup_job.stores_of(site.app.config)
    assert "why" not in backup_job.condition(site.app, whole)
    assert len(list((site.folder / "kept").glob("*.zip"))) == 1


@pytest.mark.parametrize("to", ["./mnt/kept", "far/kept"])
def test_a_disk_for_backups_that_is_not_mounted_is_a_failure_and_nothing_goes_to_its_empty_folder(
    to: str, sites: Callable[..., Site], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Time()
    clock.now = time.time()
    there = far("file", tmp_path).replace('"far"', '"mnt"') if to == "far/kept" else ""
    site = sites(tmp_path / "site", MAIN + FORM + there + scheduled(to), clock=clock)
    run(site)
    mount, good = site.folder / "mnt", row(site)
    for is_there in (True, False):  # the folder that a disk is mounted to, and the one below it
        mount.rename(site.folder / "unmounted")
        mount.mkdir()
        if is_there:
            (mount / "kept").mkdir()
        clock.now += 7200  # the process that makes one goes by the real time
        run(site)
        assert row(site)["failure"] == "the folder for backups is not the one that had them before: is its disk mounted?"
        assert not [name for _, _, names in os.walk(mount) for name in names]
        assert (mount / "kept").exists() is is_there
        told = subprocess.run(
            compiled("server", "backup"), cwd=site.folder, env=ENVIRONMENT, capture_output=True, timeout=60
        )
        assert (told.returncode, b"is its disk mounted?" in told.stderr) == (7, True)
        shutil.rmtree(mount)
        (site.folder / "unmounted").rename(mount)
    clock.now += 7200
    run(site)
    assert row(site)["failures"] == 0
    assert ".satchel-backups should hold" in caplog.text, "how to use it all the same"
    shutil.rmtree(mount)
    (mount / "kept").mkdir(parents=True)
    (mount / "kept" / ".satchel-backups").write_text(good["mark"]["mark"])
    clock.now += 7200
    run(site)
    assert row(site)["failures"] == 0
    assert row(site)["mark"] == good["mark"]


def test_another_folder_for_backups_is_taken_as_it_is(sites: Callable[..., Site], tmp_path: Path) -> None:
    clock = Time()
    clock.now = time.time()
    site = sites(tmp_path / "site", MAIN + FORM + scheduled("./kept"), clock=clock)
    run(site)
    cast(Any, site.app.config.extensions)["backup"]["to"] = "./elsewhere"
    clock.now += 7200
    run(site)
    assert row(site)["failures"] == 0
    assert row(site)["mark"]["folder"] == str(site.folder / "elsewhere")


def test_a_process_that_ends_at_once_and_a_disk_without_room_for_its_answer_are_failures_too(
    sites: Callable[..., Site], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Time()
    site = sites(tmp_path / "site", MAIN + FORM + scheduled("./kept"), clock=clock)
    monkeypatch.setattr(backup_job, "_PROGRAM", "pass")
    run(site)
    assert row(site)["failure"] == "the process that makes it ended with 0"

    def full() -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    clock.now += 3600
    run(site)
    assert row(site)["failures"] == 2
    assert row(site)["failure"] == "the process that makes it does not work: No space left on device"


def test_a_backup_that_is_too_old_or_was_never_made_is_told(sites: Callable[..., Site], tmp_path: Path) -> None:
    clock = Time()
    site = sites(tmp_path / "site", MAIN + FORM + scheduled("./kept"), clock=clock)
    whole = {"main": "ok"}
    assert backup_job.condition(site.app, whole) == {"age_s": None, "failures": 0}
    assert backup_job.condition(site.app, {"main": "away"}) == {}
    clock.now += 3 * 3600 + 1
    assert backup_job.condition(site.app, whole)["why"] == "no backup was made yet"
    site.app.state.commit([Insert("_settings", "backup", {"good_at": clock.now, "failures": 0})])
    assert "why" not in backup_job.condition(site.app, whole)
    clock.now += 3 * 3600 + 1
    assert "too old" in backup_job.condition(site.app, whole)["why"]
    clock.now -= 5 * 3600
    assert backup_job._next_at(row(site), 3600, clock.now) == 0, "what a wrong clock noted holds up nothing"


def big(sites: Callable[..., Site], folder: Path) -> Site:
    """A site whose backup takes a second or two."""
    site = sites(folder, MAIN + SHARE + FORM + scheduled("./kept"))
    (folder / "share" / "docs").mkdir(parents=True, exist_ok=True)
    for number in range(40):
        (folder / "share" / "docs" / f"{number}.bin").write_bytes(os.urandom(1_000_000))
    return site


def wait_until(true: Callable[[], Any], patience_s: float = 30) -> None:
    end = time.monotonic() + patience_s
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_backup_ends_promptly_when_its_server_stops_and_leaves_nothing(sites: Callable[..., Site], tmp_path: Path) -> None:
    site, stop = big(sites, tmp_path / "site"), threading.Event()
    thread = threading.Thread(target=run, args=[site, stop])
    thread.start()
    wait_until(lambda: list((site.folder / "kept").glob("*.partial")))
    began = time.monotonic()
    stop.set()
    thread.join(30)
    assert time.monotonic() - began < 5
    assert list((site.folder / "kept").glob("*.zip")) == []
    assert row(site) == {}, "a stop is no failure"


RUNS = """
import sys, threading, tomllib
from pathlib import Path
import app
folder = Path.cwd()
registry = app.load_registry(folder)
raw = app.read_toml(folder / "app.toml")[0]
site = app.App(app.read_config(raw, folder, "app.toml", registry.provider_settings, registry.tables), registry)
site.open()
Backups = registry.find(app.Job, "backup")
Backups(site.config.extensions["backup"], site.config).run(site, threading.Event())
"""


def test_a_backup_ends_with_its_server_that_is_killed(sites: Callable[..., Site], tmp_path: Path) -> None:
    site = big(sites, tmp_path / "site")
    env = os.environ | {"PYTHONPATH": str(app.BUNDLED)}
    with subprocess.Popen([sys.executable, "-c", RUNS], cwd=site.folder, env=env) as server:
        wait_until(lambda: list((site.folder / "kept").glob("*.partial")))
        server.send_signal(signal.SIGKILL)

    def is_free() -> bool:
        app.plugin("archives").remove_left(site.folder / "kept", "*.partial")
        return not list((site.folder / "kept").glob("*.partial"))

    wait_until(is_free)
    assert list((site.folder / "kept").glob("*.zip")) == []
    run(site)
    assert [one.name for one in place(site, "./kept").archives()] == row(site)["made"]


def test_a_long_job_holds_up_no_other_and_keeps_the_lease(sites: Callable[..., Site], tmp_path: Path) -> None:
    clock, entered, leave = Time(), threading.Event(), threading.Event()
    site = sites(tmp_path / "site", MAIN + FORM, clock=clock)
    stops: list[threading.Event] = []
    ran = {"short": 0, "there": 0}

    class Long(app.Job):
        kind, scope, every_s = "long", "site", 10

        def run(self, one: app.App, stop: threading.Event) -> None:
            stops.append(stop)
            entered.set()
            assert leave.wait(30)

    class Short(app.Job):
        kind, scope, every_s = "short", "site", 10

        def run(self, one: app.App, stop: threading.Event) -> None:
            ran["short"] += 1

    class There(Short):
        def run(self, one: app.App, stop: threading.Event) -> None:
            ran["there"] += 1

    config = site.app.config
    here = jobs.Jobs(site.app, [Long({}, config), Short({}, config)], tmp_path / "1.lock", clock)
    there = jobs.Jobs(site.app, [There({}, config)], tmp_path / "2.lock", clock)
    for _ in range(20):
        clock.now += 10
        here.step()
        there.step()
    assert entered.is_set()
    assert (len(stops), ran) == (1, {"short": 20, "there": 0})
    clock.now += 100  # this node slept
    there.step()
    assert ran["there"] == 1
    here.step()
    assert stops[0].is_set(), "another node has the lease"
    leave.set()
    here.stop()
    there.stop()


def test_writes_wait_for_no_backup_that_the_server_makes(sites: Callable[..., Site], tmp_path: Path) -> None:
    site = big(sites, tmp_path / "site")
    done, waits = threading.Event(), list[float]()

    def backups() -> None:
        run(site)
        done.set()

    thread = threading.Thread(target=backups)
    thread.start()
    end = time.monotonic() + 60
    while not done.is_set():
        assert time.monotonic() < end
        began = time.monotonic()
        site.create("forms/leave", {"day": "x"})
        waits.append(time.monotonic() - began)
        time.sleep(0.005)
    thread.join()
    assert row(site)["failures"] == 0
    assert sorted(waits)[int(len(waits) * 0.98)] < 0.1  # two in a hundred may have met a busy machine


# ---- the audit trail


def audit_keys(site: Site) -> list[str]:
    return [one.key for records in site.app.audit_stores() for one in records.walk(Query("_audit"))]


@pytest.mark.parametrize("kind", KINDS)
def test_the_trail_loses_what_is_old_and_in_a_backup_and_nothing_else(
    kind: str, sites: Callable[..., Site], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, folder = Time(), tmp_path / "site"
    monkeypatch.setattr(app, "last_ids", memoryview(bytearray(256)).cast("Q"))  # ids of another test are from later
    keeps = scheduled("./kept") + '[audit]\nkeep = "30d"\n'
    site = sites(folder, matrix.PROVIDERS[kind](folder) + FORM + keeps, clock=clock)
    store: Records = site.app.state
    monkeypatch.setattr(app.plugin("audit_job"), "_BATCH", 3)
    monkeypatch.setattr(app.plugin("audit_job"), "_PAUSE_S", 0)

    stores = backup_job.stores_of(site.app.config)

    def prune() -> None:
        Audits(site.app.config.extensions["audit"], site.app.config).run(site.app, threading.Event())

    made = [site.create("forms/leave", {"day": str(n)}, idempotency_key=f"k{n}") for n in range(8)]
    began, requests = clock.now, store.count(Query("_requests"))
    old = audit_keys(site)
    clock.now += 40 * 86400
    site.root = site.token("root", "**:*")
    site.put(f"forms/leave/records/{made[0].data['id']}", {"day": "new"})
    young = [key for key in audit_keys(site) if key not in old]
    prune()
    assert audit_keys(site) == [*old, *young], "no backup has them"
    store.commit([Insert("_settings", "backup", {"good_at": began, "failures": 0, "stores": stores})])
    prune()
    assert audit_keys(site) == [*old, *young], "the backup may have been begun before their commit"
    store.commit([app.Update("_settings", "backup", {"good_at": clock.now + 86400, "failures": 0, "stores": stores}, None)])
    prune()
    assert audit_keys(site) == [*old, *young], "a backup of the future is none"
    moved = dict.fromkeys(stores, "of another place")
    store.commit([app.Update("_settings", "backup", {"good_at": began + 7200, "failures": 0, "stores": moved}, None)])
    prune()
    assert audit_keys(site) == [*old, *young], "of what app.toml names since then there is no backup"
    store.commit([app.Update("_settings", "backup", {"good_at": began + 7200, "failures": 3, "stores": stores}, None)])
    prune()
    left = audit_keys(site)
    assert left[: len(young)] == young
    [told] = site.audit(resource="admin/audit")
    assert told["after"] == {"entries": len(old), "older_than": app.rfc3339(began + 3600)}
    assert left == [*young, told["id"]]
    assert store.count(Query("_requests")) == requests
    assert len(site.items("forms/leave/records")) == 8
    store.commit([app.Update("_settings", "backup", {"good_at": clock.now, "failures": 0, "stores": stores}, None)])
    prune()  # what a backup has by now is not old
    assert audit_keys(site) == left


def test_pruning_stops_when_it_is_told_to(
    sites: Callable[..., Site], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Time()
    monkeypatch.setattr(app, "last_ids", memoryview(bytearray(256)).cast("Q"))
    site = sites(tmp_path / "site", MAIN + FORM + scheduled("./kept") + '[audit]\nkeep = "30d"\n', clock=clock)
    for number in range(7):
        site.create("forms/leave", {"day": str(number)})
    clock.now += 40 * 86400
    stores = backup_job.stores_of(site.app.config)
    site.app.state.commit([Insert("_settings", "backup", {"good_at": clock.now, "failures": 0, "stores": stores})])
    before, stop = len(audit_keys(site)), threading.Event()
    monkeypatch.setattr(app.plugin("audit_job"), "_BATCH", 3)
    monkeypatch.setattr(stop, "wait", lambda timeout_s: stop.set())
    Audits(site.app.config.extensions["audit"], site.app.config).run(site.app, stop)
    assert len(audit_keys(site)) == before - 3 + 1
