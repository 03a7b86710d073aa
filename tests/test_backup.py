"""Backup and restore: a site comes back as it was, from an archive of which no byte can change unnoticed."""

from __future__ import annotations

import base64
import itertools
import json
import os
import random
import re
import resource
import signal
import subprocess
import sys
import threading
import time
import tomllib
import tracemalloc
import urllib.request
import zipfile
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
import test_kept_data as kept_data
import test_matrix as matrix
from sites import KINDS, REGISTRY, Site, mode
from test_commands import ENVIRONMENT, Shell, compiled
from test_commands import Server as Served

import app
from app import BadRequest, Conflict, Insert, Unauthenticated

backup, archives = app.plugin("backup"), app.plugin("archives")
FILES = {"a.txt": b"one", "deep/%C3%9Cn%C3%AF%20%231.bin": os.urandom(300_000), "empty": b""}
SHARE = '[providers.disk]\nkind = "file"\nroot = "share"\n'
RESOURCES = """
[forms.leave.fields]
day = { type = "string", format = "date", required = true }
days = { type = "number" }
[views.all]
from = "forms/leave"
[files.docs]
provider = "PLACE"
[roles.staff]
grants = ["forms/leave:*", "files/docs:*", "views/all:read"]
"""


def toml_of(name: str, folder: Path) -> str:
    """A site on a kind of provider; "sql and file" has a share in a folder beside its database."""
    if name == "sql and file":
        return '[providers.main]\nkind = "sql"\nurl = "sqlite:///data/app.db"\n' + SHARE + RESOURCES.replace("PLACE", "disk")
    return matrix.PROVIDERS[name](folder) + RESOURCES.replace("PLACE", "main")


def site_at(folder: Path, toml: str = "", clock: app.Clock = time.time) -> Site:
    """The site of a folder, which is made if its app.toml is given."""
    if toml:
        folder.mkdir()
        (folder / "app.toml").write_text(toml)
        raw = tomllib.loads(toml, parse_float=app.exact_number)
        whole = app.App(app.read_config(raw, folder, "app.toml", REGISTRY.provider_settings), REGISTRY)
        assert whole.inspection.create()[1] == []
        whole.close()
    return Site(folder, (folder / "app.toml").read_text(), clock=clock)


def fill(site: Site) -> None:
    for number in range(30):
        site.create("forms/leave", {"day": f"2027-01-{number + 1:02}", "days": number / 2}, idempotency_key=f"k{number}")
    first = site.items("forms/leave/records?_sort=day")[0]
    site.patch(f"forms/leave/records/{first['id']}", {"days": 7})
    for path, data in FILES.items():
        site.put(f"files/docs/{path}", body=data, body_bytes=len(data))


def shown(site: Site, by: str) -> dict[str, Any]:
    """What somebody sees of a site: rows with their versions, the audit trail, files with their bytes."""
    rows = site.items("forms/leave/records?_sort=day", by=by)
    etags = {row["id"]: site.read(f"forms/leave/records/{row['id']}", by=by).etag for row in rows}
    data = {path: site.bytes(f"files/docs/{path}", by=by) for path in FILES}
    told = [
        {name: value for name, value in entry.items() if name != "at"}
        for entry in site.audit()
        if entry["resource"] in ("forms/leave", "files/docs")
    ]
    return {"rows": rows, "etags": etags, "view": site.items("views/all?_size=100", by=by), "data": data, "audit": told}


@pytest.fixture(params=["sql and file", "sql", "file"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    made = site_at(tmp_path / "site", toml_of(request.param, tmp_path / "site"))
    fill(made)
    yield made
    made.close()


@pytest.fixture
def sql_site(tmp_path: Path) -> Iterator[Site]:
    made = site_at(tmp_path / "site", toml_of("sql and file", tmp_path / "site"))
    fill(made)
    yield made
    made.close()


def restored(path: Path, folder: Path, *, local: bool = False, clock: app.Clock = time.time) -> Site:
    backup.restore_into(path, folder, local=local)
    return site_at(folder, clock=clock)


def test_a_restored_site_has_the_same_pages_tokens_etags_and_replays(site: Site, tmp_path: Path) -> None:
    ann = site.token("ann", roles=["staff"])
    for folder in ("nothing", "nothing as well"):
        site.create("files/docs", {"folder": folder})
    before = shown(site, ann)
    path = backup.make(site.app, tmp_path / "kept", with_keys=True)
    site.create("forms/leave", {"day": "2028-01-01"})  # after it
    again = restored(path, tmp_path / "again")
    with closing(again):
        assert again.items("files/docs/nothing") == again.items("files/docs/nothing as well") == []
        assert shown(again, ann) == before
        repeated = again.create("forms/leave", {"day": "2027-01-01", "days": 0.0}, by=ann, idempotency_key="other")
        assert not repeated.replayed
        count = len(again.items("forms/leave/records?_size=100"))
        old = again.create("forms/leave", {"day": "2027-01-02", "days": 0.5}, by=site.root, idempotency_key="k1")
        assert old.replayed
        assert len(again.items("forms/leave/records?_size=100")) == count
    assert path.stat().st_mode & 0o777 == 0o600
    assert os.listdir(path.parent) == [path.name]


def test_without_the_key_ring_no_token_of_before_is_good(sql_site: Site, tmp_path: Path) -> None:
    ann = sql_site.token("ann", roles=["staff"])
    path = backup.make(sql_site.app, tmp_path / "kept", with_keys=False)
    ring = (sql_site.folder / "data" / "keys.json").read_bytes()
    assert ring not in path.read_bytes()
    again = restored(path, tmp_path / "again")
    with closing(again), pytest.raises(Unauthenticated):
        again.read("forms/leave", by=ann)


def test_files_keep_the_time_at_which_they_were_changed(sql_site: Site, tmp_path: Path) -> None:
    os.utime(sql_site.folder / "share" / "a.txt", (1_700_000_000, 1_700_000_000))
    path = backup.make(sql_site.app, tmp_path / "kept", with_keys=False)
    with closing(restored(path, tmp_path / "again")):
        assert (tmp_path / "again" / "share" / "a.txt").stat().st_mtime == 1_700_000_000


def test_any_damaged_byte_is_found(sql_site: Site, tmp_path: Path) -> None:
    path = backup.make(sql_site.app, tmp_path / "kept", with_keys=False)
    data, chance = path.read_bytes(), random.Random(12)
    for place in [0, len(data) - 1, *(chance.randrange(len(data)) for _ in range(50))]:
        damaged = bytearray(data)
        damaged[place] ^= 1 << chance.randrange(8)
        path.write_bytes(damaged)
        with pytest.raises(BadRequest, match="damaged"):
            backup.verify(path)
    for cut in (0, 10, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:cut])
        with pytest.raises(BadRequest, match="damaged"):
            backup.verify(path)
    path.write_bytes(data)
    assert backup.verify(path)["providers"]["main"]["tables"]["leave"] == {"count": 30}


def test_an_archive_that_does_not_hold_what_it_says_is_not_whole(
    sql_site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The site loses a record between the database's copy and the manifest, as a fault of the copy would look like."""
    right = app.SqlProvider.count
    monkeypatch.setattr(
        app.SqlProvider, "count", lambda self, query: right(self, query) + (self.path.parent.name == "drawn")
    )
    with pytest.raises(BadRequest, match="the backup is not whole"):
        backup.make(sql_site.app, tmp_path / "kept", with_keys=False)
    assert not list((tmp_path / "kept").iterdir())


def test_files_that_are_not_what_the_manifest_says_are_found(sql_site: Site, tmp_path: Path) -> None:
    """The archive is sealed, and so is no damaged one: it was made so."""
    sql_site.put("files/docs/a.txt", body=b"first")
    sql_site.put("files/docs/b.txt", body=b"second")
    path = backup.make(sql_site.app, tmp_path / "kept", with_keys=False)
    right = path.read_bytes()
    for ending, what, other in ((".tar", b"second", b"Second"), (".jsonl", b"b.txt", b"c.txt")):
        path.write_bytes(right)
        with zipfile.ZipFile(path) as archive:
            entries = {name: archive.read(name) for name in archive.namelist()}
        changed = [name for name, data in entries.items() if name.endswith(ending) and what in data]
        assert len(changed) == 1
        entries[changed[0]] = entries[changed[0]].replace(what, other)
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in entries.items():
                archive.writestr(name, data)
            archive.comment = b"0" * archives.SEAL_BYTES
        archives.seal(path)
        with pytest.raises(BadRequest, match=r"the backup is not whole: .*files"):
            backup.verify(path)


def test_what_a_killed_backup_leaves_looks_like_none_and_goes_with_the_next(sql_site: Site, tmp_path: Path) -> None:
    for number in range(40):
        (sql_site.folder / "share" / f"{number}.bin").write_bytes(os.urandom(1_000_000))
    command = compiled("server", "backup", str(tmp_path / "kept"))
    with subprocess.Popen(command, cwd=sql_site.folder, env=ENVIRONMENT, stderr=subprocess.DEVNULL) as process:
        end = time.monotonic() + 30
        while not list((tmp_path / "kept").glob("*.partial")):
            assert time.monotonic() < end
            assert process.poll() is None
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
    assert not list((tmp_path / "kept").glob("*.zip"))
    path = backup.make(sql_site.app, tmp_path / "kept", with_keys=False)
    assert os.listdir(tmp_path / "kept") == [path.name]


def test_backups_at_the_same_time_leave_each_other_alone(
    sql_site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second one begins when the first has everything but its name."""
    verify, made = backup.verify, []

    def meanwhile(*args: Any) -> Any:
        monkeypatch.setattr(backup, "verify", verify)
        monkeypatch.setattr(sql_site.app, "clock", lambda: time.time() + 5)
        made.append(backup.make(sql_site.app, tmp_path / "kept", with_keys=False))
        return verify(*args)

    monkeypatch.setattr(backup, "verify", meanwhile)
    made.append(backup.make(sql_site.app, tmp_path / "kept", with_keys=False))
    assert sorted(os.listdir(tmp_path / "kept")) == sorted(path.name for path in made)
    assert len(made) == 2
    for path in made:
        backup.verify(path)


def test_a_backup_is_verified_where_nothing_can_be_written(sql_site: Site, tmp_path: Path) -> None:
    path = backup.make(sql_site.app, tmp_path / "kept", with_keys=False)
    with mode(path.parent, 0o500):
        assert backup.verify(path)["title"] == sql_site.app.title


def test_nothing_of_a_crafted_archive_lands_outside_of_the_new_folder(sql_site: Site, tmp_path: Path) -> None:
    path = backup.make(sql_site.app, tmp_path / "kept", with_keys=False)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("site/../../evil.txt", "evil")
        archive.comment = b"0" * 64
    archives.seal(path)
    with pytest.raises(BadRequest):
        restored(path, tmp_path / "again")
    assert not list(tmp_path.rglob("evil.txt"))


def test_a_restore_that_fails_leaves_nothing_and_one_that_was_killed_makes_room(
    sql_site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = backup.make(sql_site.app, tmp_path / "kept", with_keys=False)

    def fails(*args: Any) -> None:
        assert (tmp_path / "again.partial" / "app.toml").exists()
        raise Conflict("no")

    with monkeypatch.context() as patch:
        patch.setattr(backup.Restore, "compare", fails)
        with pytest.raises(Conflict):
            restored(path, tmp_path / "again")
    assert not list(tmp_path.glob("again*"))
    (tmp_path / "again.partial").mkdir()
    (tmp_path / "again").mkdir()
    with closing(restored(path, tmp_path / "again")) as again:
        assert len(again.items("forms/leave/records?_size=100")) == 30
    assert [one.name for one in tmp_path.glob("again*")] == ["again"]


def test_writers_do_not_wait_for_a_backup(sql_site: Site, tmp_path: Path) -> None:
    """How long a record takes to be made while the database is copied again and again."""
    records: Any = sql_site.app.state
    for start in range(0, 20_000, 1000):
        records.commit([Insert("much", f"{start + n:06}", {"text": "x" * 500}) for n in range(1000)])
    done, copies = threading.Event(), []

    def copy() -> None:
        while not done.is_set():
            path = tmp_path / f"copy{len(copies)}"
            app.plugin("sql_database").snapshot(records, path)
            copies.append(path)

    thread = threading.Thread(target=copy)
    thread.start()
    waits = []
    try:
        end = time.monotonic() + 60
        while len(copies) < 3 or len(waits) < 200:
            assert time.monotonic() < end
            began = time.monotonic()
            sql_site.create("forms/leave", {"day": "2027-02-01"})
            waits.append(time.monotonic() - began)
            time.sleep(0.005)
    finally:
        done.set()
        thread.join()
    assert sorted(waits)[int(len(waits) * 0.98)] < 0.1  # two in a hundred may have met a busy machine
    for path in copies:
        with closing(app.SqlProvider("x", {"url": f"sqlite:///{path}"}, tmp_path)) as copied:
            copied.open()
            assert app.plugin("sql_database").integrity(copied) == ""
            assert copied.count(app.Query("much")) == 20_000


MAIN = '[providers.main]\nkind = "sql"\nurl = "sqlite:///data/app.db"\n'
LEAVE = '[forms.leave.fields]\ndata = { type = "string" }\n'
ODD = {
    "inline": 'providers.main = { kind = "sql", url = "sqlite:///data/app.db" }\n' + LEAVE,
    "texts": ('[site]\ntitle = """one\ndata = two\n[providers.main]\nthree\u2028"""\n' + MAIN + LEAVE),
    "CRLF": '[providers."main"] # x\r\nkind = "sql"\r\nurl = "sqlite:///data/app.db"\r\n',
    "BOM": '\ufeff[providers.main]\nkind = "sql"\nurl = "sqlite:///data/app.db"\n',
    "not written yet": (
        MAIN
        + '[providers.second]\nkind = "sql"\nurl = "sqlite:///data/second.db"\n'
        + '[forms.leave]\nprovider = "second"\nfields.a = { type = "string" }\n'
    ),
    "files beside it": (
        MAIN + '[apps.stock]\nwsgi = "stock:application"\nstatic = "pics"\npages = "wiki"\n'
        'home = [{ markdown = "wiki/a.md" }, { markdown = "hello.md" }]\n[auth]\nkeys = "file:ring.json"\n'
    ),
}


@pytest.mark.parametrize("case", ODD)
def test_a_site_of_any_app_toml_is_backed_up_and_restored(case: str, shell: Shell, tmp_path: Path) -> None:
    (shell.folder / "app.toml").write_bytes(ODD[case].encode())
    if case == "files beside it":
        shell.write("def application(environ, start): ...\n", "stock.py")
        shell.write("x", "pics/a.txt")
        shell.write("x", "wiki/a.md")
        shell.write("x", "hello.md")
        ring = '{"keys": [{"kid": "k", "k": "' + "A" * 43 + '", "created_at": 1}]}'
        shell.write(ring, "ring.json").chmod(0o600)
    shell.run("auth", "issue", "--subject", "ann", "--grant", "**:read", "--force")
    kept = shell.json("server", "backup", "--with-keys", str(tmp_path / "kept"))["path"]
    shell.run("server", "restore", kept, str(tmp_path / "new"))
    assert (tmp_path / "new" / "app.toml").read_bytes() == (shell.folder / "app.toml").read_bytes()
    if case == "files beside it":
        assert all((tmp_path / "new" / name).exists() for name in ("pics/a.txt", "wiki/a.md", "hello.md"))
        (tmp_path / "new" / "ring.json").write_bytes((shell.folder / "ring.json").read_bytes())
        (tmp_path / "new" / "ring.json").chmod(0o600)
    assert [row["subject"] for row in Shell(tmp_path / "new").json("auth", "list")] == ["ann"]
    code = None if case in ("inline", "texts") else 0
    shell.run("server", "restore", "--local", kept, str(tmp_path / "local"), code=code)
    if (tmp_path / "local").exists():
        again = tomllib.loads((tmp_path / "local" / "app.toml").read_text("utf-8-sig"))
        assert again["providers"]["main"]["url"] == "sqlite:///data/local/main.db"
        before = tomllib.loads(ODD[case].removeprefix("\ufeff"))
        assert {**again, "providers": 0} == {**before, "providers": 0}


def test_a_restore_touches_nothing_outside_of_its_folder(shell: Shell, tmp_path: Path) -> None:
    live = '[site]\ndata = "../live"\n[providers.main]\nkind = "sql"\nurl = "sqlite:///../live/app.db"\n'
    shell.write(live)
    shell.run("auth", "issue", "--subject", "ann", "--grant", "**:read", "--force")
    kept = shell.json("server", "backup", "--with-keys", str(tmp_path / "kept"))["path"]
    before = {path.name: path.read_bytes() for path in (tmp_path / "live").iterdir()}
    assert "use --local" in shell.run("server", "restore", kept, str(tmp_path / "new"), code=2)[1]
    shell.write(live.replace('"../live"', '"data"'))
    kept = shell.json("server", "backup", "--with-keys", str(tmp_path / "kept2"))["path"]
    assert "use --local" in shell.run("server", "restore", kept, str(tmp_path / "new"), code=5)[1]
    assert {path.name: path.read_bytes() for path in (tmp_path / "live").iterdir()} == before
    assert not list(tmp_path.glob("new*"))


def test_no_backup_goes_where_a_share_shows_it_and_faults_are_told_in_words(shell: Shell, tmp_path: Path) -> None:
    shell.write(
        '[providers.main]\nkind = "sql"\nurl = "sqlite:///data/app.db"\n' + SHARE + RESOURCES.replace("PLACE", "disk")
    )
    shell.run("auth", "issue", "--subject", "ann", "--grant", "**:read")
    assert "others can read it" in shell.run("server", "backup", "share/kept", code=2)[1]
    (tmp_path / "taken").write_text("")
    assert "taken" in shell.run("server", "backup", str(tmp_path / "taken"), code=7)[1]
    (shell.folder / "share").mkdir(exist_ok=True)
    (shell.folder / "share" / "good").write_text("good")
    (shell.folder / "share" / os.fsdecode(b"bad\xff")).write_text("bad")
    kept = shell.json("server", "backup")["path"]
    told = shell.json("server", "verify", kept)["manifest"]
    assert "not in the backup" in shell.run("server", "backup", str(tmp_path / "kept"))[1]
    assert (told["providers"]["disk"]["files"]["count"], len(told["left_out"])) == (1, 1)


# ---- providers elsewhere


@pytest.mark.parametrize("name", ["postgres", "aws"])
def test_what_is_elsewhere_is_restored_into_empty_places_alone_or_into_the_folder(name: str, tmp_path: Path) -> None:
    toml = toml_of(name, tmp_path / "site")
    site = site_at(tmp_path / "site", toml)
    with closing(site):
        fill(site)
        ann = site.token("ann", roles=["staff"])
        before = shown(site, ann)
        path = backup.make(site.app, tmp_path / "kept", with_keys=True)
        with pytest.raises(Conflict, match="provider main holds"):
            restored(path, tmp_path / "full")
        local = restored(path, tmp_path / "local", local=True)
        with closing(local):
            assert local.app.config.providers["main"].kind == "sql"
            assert shown(local, ann) == before
        elsewhere = toml_of(name, tmp_path / "elsewhere")
        (tmp_path / "moved").mkdir()
        with closing(backup.Restore(path, tmp_path / "moved")) as restore:
            restore.site()
            (tmp_path / "moved" / "app.toml").write_text(elsewhere)
            raw = tomllib.loads(elsewhere, parse_float=app.exact_number)
            config = app.read_config(raw, tmp_path / "moved", "app.toml", REGISTRY.provider_settings)
            restore.providers(config, lambda done: None)
            restore.compare(config)
        moved = Site(tmp_path / "moved", elsewhere)
        with closing(moved):
            assert shown(moved, ann) == before


# ---- commands


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    (tmp_path / "office").mkdir()
    return Shell(tmp_path / "office")


def test_the_commands_make_list_try_and_restore_backups(shell: Shell, tmp_path: Path) -> None:
    token = shell.run("auth", "issue", "--subject", "ann", "--grant", "**:*")[0].strip()
    out, err = shell.run("server", "backup")
    path = Path(out.strip())
    assert path.parent == shell.folder / "data" / "backups"
    assert "--with-keys" in err
    assert shell.json("server", "backups") == [{"path": str(path), "size_bytes": path.stat().st_size}]
    assert "the backup is whole" in shell.run("server", "verify", path.name)[1]
    kept = shell.json("server", "backup", "--with-keys", str(tmp_path / "kept"))["path"]
    assert shell.json("server", "verify", kept)["manifest"]["keys"] == "keys.json"
    shell.run("server", "restore", kept, str(tmp_path / "new"))
    again = Shell(tmp_path / "new")
    assert '"subject": "ann"' in again.run("auth", "check", "--json", given=token)[0]
    assert "is not empty" in shell.run("server", "restore", kept, str(tmp_path / "new"), code=5)[1]
    assert "there is no backup" in shell.run("server", "verify", "nothing.zip", code=4)[1]
    Path(kept).write_bytes(Path(kept).read_bytes()[:-1] + b"!")
    assert "is damaged" in shell.run("server", "verify", kept, code=6)[1]


def test_a_site_that_keeps_its_data_elsewhere_is_restored_with_local_alone(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    shell.write(
        f'[site]\ntitle = "Far"\ndata = "{tmp_path}/far/data"\n[providers.main]\nkind = "sql"\n'
        f'url = "sqlite:///{tmp_path}/far/app.db"\n[forms.leave.fields]\ndata = {{ type = "string" }}\n'
    )
    shell.run("auth", "issue", "--subject", "ann", "--grant", "forms/leave:read")
    kept = shell.json("server", "backup", str(tmp_path / "kept"))["path"]
    assert "use --local" in shell.run("server", "restore", kept, str(tmp_path / "one"), code=2)[1]
    shell.run("server", "restore", "--local", kept, str(tmp_path / "two"))
    again = Shell(tmp_path / "two")
    assert "data = { type" in (again.folder / "app.toml").read_text()
    assert [row["subject"] for row in again.json("auth", "list")] == ["ann"]


# ---- one moment

EXPENSES = '[forms.expense.fields]\nslip = { format = "file", files = "files/docs" }\n'


@pytest.fixture(params=["sql and file", "sql", "file", "postgres", "aws"])
def expenses(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    made = site_at(tmp_path / "site", toml_of(request.param, tmp_path / "site") + EXPENSES)
    yield made
    made.close()


def expense(site: Site, text: bytes) -> str:
    sent = {"name": "slip.txt", "base64": base64.b64encode(text).decode()}
    return str(site.create("forms/expense", {"slip": sent}).location)


def test_no_record_is_backed_up_without_its_file_whenever_it_comes_and_goes(
    expenses: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What happens between the steps of a backup, several times over."""
    site, steps = expenses, list[str]()
    kept, short = [expense(site, b"first")], [expense(site, b"goes")]
    draw, of_records = backup.Backup._draw, backup.Backup._of_records

    def drawing(self: Any, *args: Any) -> Any:  # files were read, records were not
        steps.append("draw")
        kept.append(expense(site, b"new %d" % len(steps)))
        short.append(expense(site, b"short %d" % len(steps)))
        return draw(self, *args)

    def of_records_read(self: Any, name: str, *args: Any) -> Any:
        facts = of_records(self, name, *args)
        if name == "main":  # records were read, new files were not
            while short and len(steps) < 3:
                site.delete(short.pop())
        return facts

    monkeypatch.setattr(backup.Backup, "_draw", drawing)
    monkeypatch.setattr(backup.Backup, "_of_records", of_records_read)
    path = backup.make(site.app, tmp_path / "kept", with_keys=True)
    manifest = backup.verify(path)
    assert (manifest["missing"], manifest["loose"]) == ({}, [])
    again = restored(path, tmp_path / "again", local=True)
    with closing(again):
        rows = again.items("forms/expense/records?_size=100", by=site.root)
        assert {f"forms/expense/records/{row['id']}" for row in rows} >= set(kept[: len(steps)])
        for row in rows:
            assert again.bytes(f"forms/expense/records/{row['id']}/slip", by=site.root)


def test_a_file_that_is_gone_is_named_and_one_that_no_record_has_is_loose(expenses: Site, tmp_path: Path) -> None:
    site = expenses
    expense(site, b"gone")
    expense(site, b"here")
    blobs: Any = site.app.resources["files/docs"].providers[0]
    gone, *_ = [blob.path for blob in blobs.scan("uploads")]
    blobs.remove(gone)
    blobs.write("uploads/expense/0/slip/loose.txt", [b"x"])
    path = backup.make(site.app, tmp_path / "kept", with_keys=False)
    manifest = backup.verify(path)
    name = "disk" if "disk" in manifest["providers"] else "main"
    assert manifest["missing"] == {name: 1}
    assert manifest["left_out"] == {f"{name}: {gone}": "a record names it, and there is no such file"}
    assert manifest["loose"] == [f"{name}: uploads/expense/0/slip/loose.txt"]
    told = "\n".join(backup._told(manifest))
    assert f"{gone}: not in it, a record names it" in told
    assert "loose.txt: no record has it" in told
    assert ("read one after the other" in told) == (site.app.providers["main"].kind == "aws")


def test_a_kill_between_a_file_and_its_record_leaves_no_record_and_a_file_that_is_named(tmp_path: Path) -> None:
    """Nothing removes it: whoever put an older database beside newer files would lose those."""
    folder = tmp_path / "site"
    site_at(folder, toml_of("sql and file", folder) + EXPENSES).close()
    child = os.fork()
    if child == 0:
        with ExitStack() as stack:
            stack.callback(os._exit, 1)
            site = site_at(folder)
            site.app.state.commit = lambda writes: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[method-assign]
            expense(site, b"bytes")
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    with closing(site_at(folder)) as site:
        assert site.items("forms/expense/records") == []
        blobs: Any = site.app.providers["disk"]
        [orphan] = [one.path for one in blobs.scan("uploads")]
        first = backup.make(site.app, tmp_path / "kept", with_keys=False)
        assert backup.verify(first)["loose"] == [f"disk: {orphan}"]
        site.delete(f"files/docs/{orphan}")
        assert not list(blobs.scan("uploads"))


@pytest.mark.parametrize("name", ["file", "postgres"])
def test_records_and_files_are_read_as_they_were_at_one_moment(name: str, tmp_path: Path) -> None:
    site = site_at(tmp_path / "site", toml_of(name, tmp_path / "site"))
    with closing(site):
        fill(site)
        main: Any = site.app.providers["main"]
        before = list(main.walk(app.Query("leave")))
        with main.frozen() as still:
            site.delete(f"forms/leave/records/{before[0].key}")
            site.create("forms/leave", {"day": "2028-01-01"})
            site.patch(f"forms/leave/records/{before[1].key}", {"days": 99})
            assert list(still.walk(app.Query("leave"))) == before
            assert [one.key for one in still.walk(app.Query("leave", order_by=("day",)))]
            assert still.count(app.Query("leave")) == 30
            if name == "postgres":
                site.delete("files/docs/a.txt")
                main.sweep(time.time() + 1e6)
                assert b"".join(still.read("a.txt")) == b"one"
                with pytest.raises(app.NotFound):
                    main.read("a.txt")
        assert main.count(app.Query("leave")) == 30
        assert list(main.walk(app.Query("leave"))) != before


def test_a_long_journal_is_read_while_others_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process that comes to it holds off no writer for longer than its last lines take."""
    toml = toml_of("file", tmp_path / "site")
    site = site_at(tmp_path / "site", toml)
    with closing(site):
        records: Any = site.app.state
        for number in range(3):
            records.commit([Insert("much", f"{number}-{n}", {"text": "x" * 200}) for n in range(1000)])
        module: Any = app.plugin("file")
        catch_up, met = module.Journal.catch_up, list[int]()

        def meanwhile(self: Any, end: int) -> None:
            met.append(end)
            records.commit([Insert("much", "last", {"text": "y"})])
            catch_up(self, end)

        monkeypatch.setattr(module.Journal, "catch_up", meanwhile)
        other = KINDS["file"]("main", {"root": records.places()[0]}, tmp_path)
        other.open()
        with closing(other):
            assert other.count(app.Query("much")) == 3001
        assert len(met) == 1


def test_an_archive_of_the_first_format_is_restored(tmp_path: Path) -> None:
    path = Path(__file__).with_name("data") / "backups" / "format-1.zip"
    with closing(restored(path, tmp_path / "again")) as again:
        assert len(again.items("forms/leave/records?_size=100")) == 30
        assert again.bytes("files/docs/a.txt") == b"one"
        assert (tmp_path / "again" / "share" / "a.txt").stat().st_mtime == 1_700_000_000


MEASURED = """
import resource, sys, time, tomllib
from pathlib import Path
import app
folder = Path(sys.argv[1])
registry = app.load_registry(folder)
raw = tomllib.loads((folder / "app.toml").read_text())
site = app.App(app.read_config(raw, folder, "app.toml", registry.provider_settings), registry)
backup = app.plugin("backup")
path = backup.make(site, folder / "kept", with_keys=True)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (1024 if sys.platform == "darwin" else 1))
"""


def test_a_backup_of_a_large_file_takes_no_more_memory(tmp_path: Path) -> None:
    def peak_kib(name: str, size: int) -> int:
        folder = tmp_path / name
        site_at(folder, toml_of("sql and file", folder)).close()
        (folder / "share").mkdir(exist_ok=True)
        with (folder / "share" / "large").open("wb") as file:
            file.truncate(size)  # a hole: as many bytes to read, and none on the disk
        command = [sys.executable, "-c", MEASURED, str(folder)]
        return int(subprocess.run(command, env=ENVIRONMENT, capture_output=True, check=True, text=True).stdout)

    assert peak_kib("large", 300_000_000) < peak_kib("small", 10) + 8_000


class Endless:
    """As many small files as are wanted, of which nothing is kept."""

    def __init__(self, count: int) -> None:
        self.count = count

    def scan(self) -> Iterator[Any]:
        return (self.stat(f"folder/{number:09}") for number in range(self.count))

    def stat(self, path: str) -> Any:
        return app.Blob(path, 4, 1_700_000_000.5, "etag" + path)

    def read(self, path: str, *, if_match: str) -> Any:
        assert if_match == "etag" + path
        return Bytes()


class Bytes:
    def __iter__(self) -> Iterator[bytes]:
        return iter([b"four"])

    def close(self) -> None: ...


def test_a_backup_of_many_files_takes_no_more_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "_HELD_LINES", 500)

    def peak_bytes(count: int) -> int:
        path = tmp_path / f"{count}.zip"
        tracemalloc.start()
        with zipfile.ZipFile(path, "w") as archive:
            pack = archives.Pack("disk", archive, tmp_path / f"scratch{count}", lambda done: None)
            for _ in range(2):
                assert list(pack.fill(Endless(count), (), lambda what, why: None)) == []
            facts = pack.close()
        with zipfile.ZipFile(path) as archive:
            found = 0
            for number, (name, modified_at, chunks) in enumerate(archives.unpacked(archive, facts)):
                assert (name, modified_at, b"".join(chunks)) == (f"folder/{number:09}", 1_700_000_000.5, b"four")
                found += 1
        assert found == facts["count"] == count
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return peak

    few = peak_bytes(600)
    assert peak_bytes(3_600) < few + 300_000  # a hundred for each file; the zip's own entries would be 1,300


def kept_site(folder: Path) -> Site:
    """The site that the build of commit 2290c44 made, as it is a while later."""
    with zipfile.ZipFile(kept_data.KEPT / "site.zip") as packed:
        packed.extractall(folder)
    (folder / "data" / "keys.json").chmod(0o600)
    return Site(folder, (folder / "app.toml").read_text(), clock=lambda: kept_data.AN_HOUR_LATER)


def shown_of_kept(site: Site) -> dict[str, Any]:
    facts, ann = kept_data.FACTS, kept_data.ANN
    lists = ("forms/leave/records", "forms/notes/records", "views/leave", "views/sums", "admin/audit")
    found: dict[str, Any] = {one: site.items(f"{one}?_size=1000", by=ann) for one in lists}
    found["admin/audit"] = [one for one in found["admin/audit"] if one["subject"] != "test"]  # who looks now
    found |= {one: site.bytes(one, by=ann) for one in ("files/share/a/plan.txt", "files/inside/b/c.bin")}
    return found | {
        "etag": site.read(facts["once"], by=ann).etag,
        "session": site.read("", by=f"Session {facts['session']}").data,
    }


def test_a_data_folder_of_commit_2290c44_is_backed_up_and_restored(tmp_path: Path) -> None:
    site = kept_site(tmp_path / "site")
    with closing(site):
        before = shown_of_kept(site)
        path = backup.make(site.app, tmp_path / "kept", with_keys=True)
    assert backup.verify(path)["form"] == 1
    for name, local in (("again", False), ("local", True)):
        with closing(restored(path, tmp_path / name, local=local, clock=lambda: kept_data.AN_HOUR_LATER)) as again:
            assert shown_of_kept(again) == before
            facts = kept_data.FACTS
            repeated = again.create("forms/notes", {"text": "line 1\nline 2"}, by=kept_data.ANN, idempotency_key="note")
            assert (repeated.location, repeated.replayed) == (facts["note"], True)
            with pytest.raises(Unauthenticated):
                again.read(facts["once"], by=f"Bearer {facts['revoked']}")


# ---- what ends in the middle


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*") if not path.name.startswith("."))


@pytest.mark.parametrize("ends", [signal.SIGKILL, signal.SIGTERM])
def test_a_restore_that_is_ended_leaves_nothing_that_looks_whole(
    ends: signal.Signals, sql_site: Site, tmp_path: Path
) -> None:
    for number in range(200):
        (sql_site.folder / "share" / f"{number}.bin").write_bytes(os.urandom(20_000))
    path = backup.make(sql_site.app, tmp_path / "kept", with_keys=False)
    target = tmp_path / "place" / "new"
    target.parent.mkdir()
    command = compiled("server", "restore", str(path), str(target))
    with subprocess.Popen(command, cwd=sql_site.folder, env=ENVIRONMENT, stderr=subprocess.DEVNULL) as process:
        end = time.monotonic() + 30
        while not list(target.with_name("new.partial").glob("share/*")):
            assert time.monotonic() < end
            assert process.poll() is None
            time.sleep(0.002)
        process.send_signal(ends)
    assert left(target.parent) == ["new.partial"]
    with closing(restored(path, target)) as again:
        assert len(again.items("forms/leave/records?_size=100")) == 30
    assert left(target.parent) == ["new"]


@pytest.mark.parametrize("command", ["backup", "verify", "restore"])
def test_a_medium_without_room_leaves_nothing_that_looks_whole(command: str, sql_site: Site, tmp_path: Path) -> None:
    """As by a full disk: no file may have more than a million bytes."""
    (sql_site.folder / "share" / "large.bin").write_bytes(os.urandom(2_000_000))
    records: Any = sql_site.app.state
    records.commit([Insert("much", f"{n:06}", {"text": "x" * 2_000}) for n in range(1000)])
    path = backup.make(sql_site.app, tmp_path / "kept", with_keys=False)
    words = {
        "backup": [str(tmp_path / "other")],
        "verify": [str(path)],
        "restore": [str(path), str(tmp_path / "place" / "new")],
    }
    (tmp_path / "other").mkdir()
    (tmp_path / "place").mkdir()

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))

    done = subprocess.run(
        compiled("server", command, *words[command]), cwd=sql_site.folder, env=ENVIRONMENT, capture_output=True, text=True,
        preexec_fn=limited,
    )  # fmt: skip
    assert done.returncode == 7, done.stderr
    assert "Traceback" not in done.stderr
    for folder in ("other", "place"):
        assert os.listdir(tmp_path / folder) == []
    assert os.listdir(tmp_path / "kept") == [path.name]


def test_a_target_that_goes_away_ends_a_backup_in_words(
    sql_site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = backup.Backup._draw

    def goes(self: Any, *args: Any) -> Any:
        (tmp_path / "kept").rename(tmp_path / "gone")
        return draw(self, *args)

    monkeypatch.setattr(backup.Backup, "_draw", goes)
    with pytest.raises(OSError, match="No such file"):
        backup.make(sql_site.app, tmp_path / "kept", with_keys=False)
    assert not list(tmp_path.glob("*/*.zip"))
    monkeypatch.setattr(backup.Backup, "_draw", draw)
    path = backup.make(sql_site.app, tmp_path / "gone", with_keys=False)
    assert os.listdir(tmp_path / "gone") == [path.name]


# ---- newer and older data


def test_newer_data_is_refused_by_name_by_every_command(shell: Shell, tmp_path: Path) -> None:
    shell.run("auth", "issue", "--subject", "ann", "--grant", "**:read")
    mark = shell.folder / "data" / "form.json"
    assert json.loads(mark.read_text()) == {"form": 1, "version": app.__version__}
    kept = shell.json("server", "backup", str(tmp_path / "kept"))["path"]
    mark.write_text('{"form": 2, "version": "7.1"}')
    before = {path: path.read_bytes() for path in (shell.folder / "data").rglob("*") if path.is_file()}
    commands = ("server run", "server check", "server backup", "info providers", "auth list", "server copy main disk")
    for words in commands:
        err = shell.run(*words.split(), code=2)[1]
        assert "the data folder was written by Satchel 7.1, in form 2" in err, words
        assert words == "server check" or "use Satchel 7.1 or newer, or a backup that was made before" in err
    assert {path: path.read_bytes() for path in (shell.folder / "data").rglob("*") if path.is_file()} == before
    mark.write_text("{")
    assert "the mark of the data folder cannot be read" in shell.run("info", "providers", code=2)[1]
    mark.write_text('{"form": "1", "version": "7.1"}')
    assert "the mark of the data folder is damaged" in shell.run("info", "providers", code=2)[1]
    mark.unlink()
    shell.run("server", "restore", kept, str(tmp_path / "new"))
    assert (tmp_path / "new" / "data" / "form.json").exists()


@pytest.mark.parametrize("name", ["format", "form"])
def test_a_backup_of_a_newer_satchel_is_refused_by_name(
    name: str, sql_site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = backup.dump_json
    newer = {name: 9, "version": "7.1"}
    monkeypatch.setattr(backup, "dump_json", lambda value, **more: told(value | newer if more else value, **more))
    monkeypatch.setattr(backup, "verify", lambda *args: {"left_out": {}})
    path = backup.make(sql_site.app, tmp_path / "kept", with_keys=False)
    monkeypatch.undo()
    for wanted in (lambda: restored(path, tmp_path / "new"), lambda: backup.verify(path)):
        with pytest.raises(app.ConfigError, match=r"was written by Satchel 7\.1, in form 9"):
            wanted()
    assert not list(tmp_path.glob("new*"))


def test_older_data_is_backed_up_before_it_is_changed_and_the_way_back_is_that_backup(
    sql_site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site, mark = sql_site, app.plugin("data_mark")
    data = site.folder / "data"
    mark.bring_up(site.app)
    assert mark.mark_of(data) == {"form": 1, "version": app.__version__}

    def step(given: Any) -> None:
        given.state.open()
        given.state.commit([Insert("leave", "from-the-step", {"day": "2030-01-01"})])

    monkeypatch.setattr(mark, "FORM", 2)
    monkeypatch.setattr(mark, "STEPS", {1: step})
    with pytest.raises(app.ConfigError, match="the data folder is in form 1, and this Satchel's is 2"):
        mark.refuse_older(data)
    mark.check(data)
    mark.bring_up(site.app)
    [before] = (data / "backups").glob("*.zip")
    mark.bring_up(site.app)
    assert mark.mark_of(data)["form"] == 2
    assert len(list((data / "backups").glob("*.zip"))) == 1
    with closing(site_at(site.folder)) as again:
        assert len(again.items("forms/leave/records?_size=100")) == 31
        later = backup.make(again.app, tmp_path / "kept", with_keys=True)
    assert backup.verify(before)["form"] == 1  # it is brought up where it is tried
    monkeypatch.undo()
    with closing(restored(before, tmp_path / "back")) as back:
        assert len(back.items("forms/leave/records?_size=100")) == 30
    with pytest.raises(app.ConfigError, match="in form 2"):
        backup.verify(later)


# ---- a site under load, page by page


def served(folder: Path) -> Served:
    return Served(Shell(folder), "server", "--bind", "127.0.0.1:0", "--workers", "1")


def seen(url: str, token: str, path: str, accept: str) -> tuple[Any, ...]:
    """Status, ETag and body, without what is of one answer or one server alone."""
    headers = {"Authorization": token, "Accept": accept}
    with urllib.request.urlopen(urllib.request.Request(url + path, headers=headers)) as answer:
        body = answer.read().replace(url.encode(), b"")
        etag = answer.headers["ETag"] if "/records/" in path else None  # of plain files it follows their inodes
        return (
            answer.status,
            etag,
            re.sub(rb"[A-Za-z0-9_.-]{40,}|/drafts/[\w-]+", b"", body) if accept == "text/html" else body,
        )


def pages_of(folder: Path, token: str, ids: list[str], files: list[str]) -> dict[Any, Any]:
    """What a server of the folder shows, as a person and as a program see it."""
    lists = [
        "/forms/leave/records?_size=200&_sort=day",
        "/views/all?_size=500",
        "/admin/audit?_size=200&resource=forms/leave",
        "/forms/leave",
        "/",
    ]
    paths = [
        *lists,
        "/files/docs/",
        *(f"/forms/leave/records/{one}" for one in ids),
        *(f"/files/docs/{one}" for one in files),
    ]
    server = served(folder)
    try:
        return {
            (path, accept): seen(server.url, token, path, accept)
            for path in paths
            for accept in ("application/json", "text/html")
        }
    finally:
        server.stop()


def test_a_backup_goes_to_the_medium_in_small_steps_and_what_it_tries_out_not_at_all(
    sql_site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever writes to the same disk waits for such a step, and not for all of it."""
    for number in range(12):
        sql_site.put(f"files/docs/{number}.bin", body=os.urandom(900_000))
    sql_site.app.site_id()  # which is made once
    kept, synced, seen = tmp_path / "kept", dict[str, list[int]](), Counter[str]()
    steps: list[tuple[int, int]] = []

    def stepped(descriptor: int, start: int, size_bytes: int) -> None:
        steps.append((start, size_bytes))
        assert os.readlink(f"/proc/self/fd/{descriptor}").endswith(".zip.partial")

    def noted(descriptor: int) -> None:
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        synced.setdefault(path, []).append(os.fstat(descriptor).st_size)

    def counted(self: app.ProcessLock) -> Any:
        seen[str(self.path)] += 1
        return held(self)

    def opened(self: app.SqlProvider) -> Any:
        writer = open_writer(self)
        levels[self.path] = writer.execute("pragma synchronous").fetchone()[0]
        return writer

    held, open_writer, levels = app.ProcessLock.held, app.SqlProvider._opened_writer, dict[Path, int]()
    with monkeypatch.context() as patched:
        patched.setattr(app.SqlProvider, "_opened_writer", opened)
        patched.setattr(os, "fsync", noted)
        patched.setattr(app.plugin("disk"), "write_out", stepped)
        patched.setattr(app.ProcessLock, "held", counted)
        patched.setattr(app.plugin("file").FileProvider, "write", lambda *args: pytest.fail("a file is written again"))
        made = backup.make(sql_site.app, kept, with_keys=False)
    [size_bytes] = synced.pop(f"{made}.partial")
    assert size_bytes - sum(size for _, size in steps) < archives.STEP_BYTES
    assert [start for start, _ in steps] == [0, *itertools.accumulate(size for _, size in steps[:-1])]
    assert max(size for _, size in steps) < 2 * archives.STEP_BYTES
    assert set(synced) <= {str(kept), str(tmp_path)}, "the names of the folder and of the file"
    assert not [path for path in seen if Path(path).is_relative_to(sql_site.folder)], "no writer waits for its turn"
    assert set(levels.values()) == {0}, "none of the copies is synchronised"
    sql_site.create("forms/leave", {"day": "2027-01-01"})
    assert open_writer(sql_site.app.state).execute("pragma synchronous").fetchone() == (2,)


def test_the_commands_let_other_processes_go_first(tmp_path: Path) -> None:
    def run(*args: str) -> list[str]:
        code = "import os, sys, app; app.main(sys.argv[1:]); print(os.nice(0))"
        done = subprocess.run(
            [sys.executable, "-c", code, *args], cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, timeout=60
        )
        return done.stdout.split()

    made, nice = run("server", "backup")
    assert nice == "19"
    assert run("server", "verify", made)[-1] == "19"
    assert run("server", "backups")[-1] == str(os.nice(0))


@pytest.mark.parametrize("kind", ["sql and file", "file", "postgres and S3"])
def test_a_site_is_backed_up_under_load_damaged_and_restored_page_by_page(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    monkeypatch.setattr("test_commands.ENVIRONMENT", ENVIRONMENT | keys)
    folder, many = tmp_path / "site", 2_000 if kind == "sql and file" else 300
    if kind == "postgres and S3":
        s3 = matrix.PROVIDERS["aws"](folder).replace("[providers.main]", "[providers.disk]")
        toml = matrix.PROVIDERS["postgres"](folder) + s3 + RESOURCES.replace("PLACE", "disk")
    else:
        toml = toml_of(kind, folder)
    site = site_at(folder, toml)
    with closing(site):
        for start in range(0, many, 100):
            site.create("forms/leave", [{"day": f"2027-01-{n % 28 + 1:02}", "days": n} for n in range(start, start + 100)])
        names = [f"{n % 7}/{n}.bin" for n in range(many // 10)]
        for name in names:
            site.put(f"files/docs/{name}", body=name.encode() * 50, body_bytes=len(name) * 50)
        first = site.create("forms/leave", {"day": "2027-02-01"}, idempotency_key="once")
        done, made = threading.Event(), list[str]()

        def write() -> None:
            while not done.wait(0.005):
                made.append(site.create("forms/leave", {"day": "2027-03-01"}).location)

        thread = threading.Thread(target=write)
        thread.start()
        try:
            busy = backup.make(site.app, tmp_path / "busy", with_keys=True)
        finally:
            done.set()
            thread.join()
        assert len(made) > 5
        kept = backup.make(site.app, tmp_path / "kept", with_keys=True)
    data, chance = kept.read_bytes(), random.Random(50)
    for place in [chance.randrange(len(data)) for _ in range(50)]:
        with kept.open("r+b") as file:
            file.seek(place)
            file.write(bytes([data[place] ^ 1 << chance.randrange(8)]))
        with pytest.raises(BadRequest, match="damaged"):
            backup.verify(kept)
        kept.write_bytes(data)
    ids, token = [first.data["id"], made[0].rpartition("/")[2]], site.root
    before = pages_of(folder, token, ids, names[:3])
    backup.restore_into(kept, tmp_path / "again", local=kind == "postgres and S3")
    after = pages_of(tmp_path / "again", token, ids, names[:3])
    assert {one for one in before if before[one] != after[one]} == set()
    with closing(restored(busy, tmp_path / "busy again", local=kind == "postgres and S3")) as again:
        assert many < again.app.state.count(app.Query("leave")) <= many + 1 + len(made)
        repeated = again.create("forms/leave", {"day": "2027-02-01"}, by=token, idempotency_key="once")
        assert (repeated.location, repeated.replayed) == (first.location, True)
        for name in names:
            assert again.bytes(f"files/docs/{name}", by=token) == name.encode() * 50
