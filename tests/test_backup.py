"""Backup and restore: a site comes back as it was, from an archive of which no byte can change unnoticed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import threading
import time
import tomllib
import zipfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import test_matrix as matrix

import app
from app import BadRequest, Conflict, Insert, Unauthenticated
from tests.sites import REGISTRY, Site, mode
from tests.test_commands import ENVIRONMENT, Shell, compiled

backup = app.plugin("backup")
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


def restored(path: Path, folder: Path, *, local: bool = False) -> Site:
    backup.restore_into(path, folder, local=local)
    return site_at(folder)


def test_a_restored_site_has_the_same_pages_tokens_etags_and_replays(site: Site, tmp_path: Path) -> None:
    ann = site.token("ann", roles=["staff"])
    before = shown(site, ann)
    path = backup.make(site.app, tmp_path / "kept", with_keys=True)
    site.create("forms/leave", {"day": "2028-01-01"})  # after it
    again = restored(path, tmp_path / "again")
    with closing(again):
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
    monkeypatch.setattr(app.SqlProvider, "count", lambda self, query: right(self, query) + (self.path.name == "database"))
    with pytest.raises(BadRequest, match="the backup is not whole"):
        backup.make(sql_site.app, tmp_path / "kept", with_keys=False)
    assert not list((tmp_path / "kept").iterdir())


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
    backup.seal(path)
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
        MAIN + '[apps.stock]\nwsgi = "stock:application"\nstatic = "pics"\n[auth]\nkeys = "file:ring.json"\n'
    ),
}


@pytest.mark.parametrize("case", ODD)
def test_a_site_of_any_app_toml_is_backed_up_and_restored(case: str, shell: Shell, tmp_path: Path) -> None:
    (shell.folder / "app.toml").write_bytes(ODD[case].encode())
    if case == "files beside it":
        shell.write("def application(environ, start): ...\n", "stock.py")
        shell.write("x", "pics/a.txt")
        ring = '{"keys": [{"kid": "k", "k": "' + "A" * 43 + '", "created_at": 1}]}'
        shell.write(ring, "ring.json").chmod(0o600)
    shell.run("auth", "issue", "--subject", "ann", "--grant", "**:read", "--force")
    kept = shell.json("server", "backup", "--with-keys", str(tmp_path / "kept"))["path"]
    shell.run("server", "restore", kept, str(tmp_path / "new"))
    assert (tmp_path / "new" / "app.toml").read_bytes() == (shell.folder / "app.toml").read_bytes()
    if case == "files beside it":
        assert (tmp_path / "new" / "pics" / "a.txt").exists()
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
