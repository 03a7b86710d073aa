"""A full disk can be emptied through Satchel: what is refused, what is not, and what still works at the last byte."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import resource
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import backends
import pytest
from http_client import Server, serving
from sites import Site, Time

import app
from app import Caller, StorageFull

RESERVE = app.plugin("reserve")
MB = 1_000_000
TOML = """
[site]
state = "main"
[providers.main]
{main}
[providers.disk]
kind = "file"
root = "store"
[providers.base]
kind = "sql"
url = "sqlite:///base.db"
[files.docs]
provider = "disk"
[files.blobs]
provider = "base"
[forms.note.fields]
text = { type = "string" }
file = { format = "file", files = "files/docs" }
"""
MAIN = {"sql": 'kind = "sql"\nurl = "sqlite:///main.db"', "file": 'kind = "file"\nroot = "main"'}


class Disk:
    """What the system says is left of a disk of 24 MB, of which uploads leave an eighth."""

    def __init__(self) -> None:
        self.left, self.files_left, self.files = 20 * MB, 0, 0  # files are not counted

    def statvfs(self, path: Any) -> Any:
        os.stat(path)
        sizes = {"f_frsize": 1, "f_blocks": 24 * MB, "f_bavail": self.left}
        return SimpleNamespace(**sizes, f_files=self.files, f_favail=self.files_left)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    made = Disk()
    monkeypatch.setattr(os, "statvfs", made.statvfs)
    return made


@pytest.fixture(params=MAIN)
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path, TOML.replace("{main}", MAIN[request.param]))
    yield made
    made.app.close()


def refused(work: Callable[[], Any]) -> str:
    with pytest.raises(StorageFull) as caught:
        work()
    assert caught.value.status == 507
    assert "deleting, signing in and revoking still work" in caught.value.message
    return caught.value.message


def test_uploads_stop_first_then_records_and_what_makes_room_never(site: Site, disk: Disk) -> None:
    shares = ("files/docs", "files/blobs")
    for share in shares:
        for number in range(3):
            site.put(f"{share}/{number}", body=b"x" * 1000)
    notes = [site.create("forms/note", {"text": "one"}).data["id"] for _ in range(3)]
    by, office = Caller("ann"), site.app.office
    code = office.link(by, office.issue(by, "bob", ["**:read"], [], 3600))
    session, _ = office.sign_in(code, "r")
    disk.left = 3 * MB - 1
    for share in shares:
        said = refused(lambda share=share: site.put(f"{share}/new", body=b"x"))  # type: ignore[misc]
        assert "3.0 MB of 24.0 MB are left" in said
        refused(lambda share=share: site.put(f"{share}/0", body=b""))  # type: ignore[misc]
        assert site.bytes(f"{share}/0") == b"x" * 1000
    inline = {"name": "a.txt", "base64": "eA=="}
    refused(lambda: site.create("forms/note", {"text": "x", "file": inline}))
    site.create("forms/note", {"text": "still"})
    disk.left = 3 * MB // 2 - 1
    refused(lambda: site.create("forms/note", {"text": "x"}))
    refused(lambda: site.create("forms/note", [{"text": "x"}] * 3))
    refused(lambda: site.put(f"forms/note/records/{notes[0]}", {"text": "x"}))
    refused(lambda: site.patch(f"forms/note/records/{notes[0]}", {"text": "x"}))
    for left in (disk.left, 0):
        disk.left = left
        number = 1 if left else 2
        for share in shares:
            site.delete(f"{share}/{number}")
        site.delete(f"forms/note/records/{notes[number]}")
        token = office.issue(by, "eve", ["files/docs:read"], [], 3600)
        again, _ = office.sign_in(office.link(by, token), "r")
        office.sign_out(f"Session {again}", "r")
        office.revoke(by, [token])
        office.rotate_key(by)
    office.sign_out(f"Session {session}", "r")
    actions = [row["action"] for row in site.items("admin/audit?_size=1000")]
    assert actions.count("delete") >= 6
    assert actions.count("sign_out") == 3
    assert {"issue", "revoke", "rotate_key"} <= set(actions)
    disk.left = 20 * MB
    for share in shares:
        site.put(f"{share}/again", body=b"x")
    site.create("forms/note", {"text": "again", "file": inline})


def test_a_disk_without_room_for_more_files_is_full_for_files_and_can_be_emptied(site: Site, disk: Disk) -> None:
    """However many bytes are left: a file system counts its files, too."""
    for number in range(3):
        site.put(f"files/docs/{number}", body=b"x")
    disk.files, disk.files_left = 80_000, 999
    said = refused(lambda: site.put("files/docs/new", body=b"x"))
    assert "room for 999 more files of 80,000" in said
    refused(lambda: site.create("forms/note", {"file": {"name": "a.txt", "base64": "eA=="}}))
    words = RESERVE.low(site.app)["disk"]
    assert "uploads are refused; deleting" in words
    assert "base" not in RESERVE.low(site.app), "its files are in one file"
    site.put("files/blobs/new", body=b"x")
    site.create("forms/note", {"text": "still"})
    disk.files_left = 0
    for number in range(3):
        site.delete(f"files/docs/{number}")
    site.app.providers["disk"].reserve.release()
    RESERVE.refill(site.app)
    assert not site.app.providers["disk"].reserve.spare.exists(), "it would take the last one"
    disk.files_left = 1000
    site.put("files/docs/new", body=b"x")
    assert not RESERVE.low(site.app)
    RESERVE.refill(site.app)
    assert site.app.providers["disk"].reserve.spare.exists()


def test_what_was_deleted_from_a_database_makes_room_at_once(tmp_path: Path, disk: Disk) -> None:
    site = Site(tmp_path, TOML.replace("{main}", MAIN["sql"]))
    site.put("files/blobs/large", body=b"x" * 3 * MB)
    disk.left = 1 * MB
    refused(lambda: site.put("files/blobs/new", body=b"x"))
    site.delete("files/blobs/large")
    site.put("files/blobs/new", body=b"x" * 100_000)
    refused(lambda: site.put("files/docs/new", body=b"x"))
    disk.left = MB // 2  # the log of the database could not take it
    refused(lambda: site.put("files/blobs/newer", body=b"x"))
    site.app.close()


def test_what_was_staged_stays_where_a_full_disk_drops_replaced_bytes(tmp_path: Path, disk: Disk) -> None:
    """Whoever staged it nearly a day ago, as the clock says, may publish it yet."""
    site = Site(tmp_path, TOML.replace("{main}", MAIN["sql"]))
    base: Any = site.app.providers["base"]
    clock = base.clock = Time()
    base.write("old", [b"x" * 1000])
    staged = base.stage([b"held"])
    clock.now += 23.5 * 3600
    disk.left = 1 * MB
    base.remove("old")
    with base.reading("looking") as connection:
        assert connection.execute("select count(*) from _loose where size_bytes < 0").fetchone() == (0,)
    disk.left = 20 * MB
    base.publish(staged, "held")
    assert b"".join(base.read("held")) == b"held"
    site.app.close()


def test_a_file_is_removed_whatever_comes_of_what_was_replaced(
    tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = Site(tmp_path, TOML.replace("{main}", MAIN["sql"]))
    site.put("files/blobs/one", body=b"x")
    disk.left = 1 * MB
    tried = []

    def full(self: Any, *_: Any) -> None:
        tried.append(self)
        raise StorageFull("not even that")

    monkeypatch.setattr(app.plugin("sql_files").SqlFiles, "_drop", full)
    site.delete("files/blobs/one")
    assert tried
    assert site.items("files/blobs") == []
    site.app.close()


def test_a_backup_leaves_the_last_of_the_disk_when_it_is_tried_out_and_fetched_too(
    tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    toml = TOML.replace("{main}", MAIN["sql"])
    (tmp_path / "app.toml").write_text(toml)
    site = Site(tmp_path, toml)
    backup, places = app.plugin("backup"), app.plugin("backup_places")
    path = backup.make(site.app, tmp_path / "kept", with_keys=False)
    base: Any = site.app.providers["base"]
    far = places.BlobsPlace("base", base, "far")
    far._send(path, path.name)
    [archive] = far.archives()
    disk.left = 3 * MB + archive.size_bytes - 1
    with pytest.raises(StorageFull, match="the backup"), far.here(archive, tmp_path):
        pass
    disk.left = 20 * MB
    real = backup.Restore._fill

    def fills(self: Any, *args: Any) -> None:
        disk.left = 1 * MB
        real(self, *args)

    monkeypatch.setattr(backup.Restore, "_fill", fills)
    with pytest.raises(StorageFull, match="the backup: writing"):
        backup.verify(path)
    site.app.close()


def test_a_large_disk_keeps_no_more_than_16_mib_and_one_that_does_not_say_keeps_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = SimpleNamespace(f_frsize=4096, f_blocks=10**9, f_bavail=10**6, f_files=0, f_favail=0)
    monkeypatch.setattr(os, "statvfs", lambda path: facts)
    one = RESERVE.Reserve("provider x", tmp_path / "a" / "b" / "x.db")
    assert one.left().kept_bytes == 16 * 1024 * 1024
    one.check("staging")

    def fails(path: Any) -> Any:
        raise OSError(errno.ENOSYS, "no")

    monkeypatch.setattr(os, "statvfs", fails)
    one.check("staging")


def test_the_spare_file_is_given_up_at_the_last_byte_and_made_again(tmp_path: Path, disk: Disk) -> None:
    site = Site(tmp_path, TOML.replace("{main}", MAIN["sql"]))
    notes = [site.create("forms/note", {"text": "x" * 9_000}).data["id"] for _ in range(2)]
    for share in ("files/docs", "files/blobs"):
        site.put(f"{share}/a", body=b"x")
    RESERVE.refill(site.app)
    spare = tmp_path / "main.db.spare"
    assert spare.stat().st_size == 3 * MB // 2
    assert sorted(path.name for path in tmp_path.rglob("*.spare")) == [
        "base.db.spare", "journal.jsonl.spare", "main.db.spare",
    ]  # fmt: skip
    database = site.app.providers["main"]
    writer = database._writer
    [(pages,)] = writer.execute("pragma page_count")
    writer.execute(f"pragma max_page_count = {pages}")
    release = database.reserve.release

    def released() -> None:
        release()
        writer.execute("pragma max_page_count = 1000000")

    database.reserve.release = released
    disk.left = 0
    for _ in range(100):  # until the audit trail needs a page
        if not spare.exists():
            break
        site.app.office.issue(Caller("ann"), "bob", ["**:read"], [], 3600)
    assert not spare.exists()
    site.delete("files/docs/a")
    site.delete(f"forms/note/records/{notes[0]}")
    RESERVE.refill(site.app)
    assert not spare.exists()
    disk.left = 20 * MB
    spare.write_bytes(b"half of it was made")
    RESERVE.refill(site.app)
    assert spare.stat().st_size == 3 * MB // 2
    site.app.close()


def test_a_full_disk_is_logged_once_and_not_with_each_request(
    tmp_path: Path, disk: Disk, caplog: pytest.LogCaptureFixture
) -> None:
    error = StorageFull("provider news: staging: the disk is full: 1 MB …")
    assert RESERVE.is_news(error)
    assert not RESERVE.is_news(error)
    assert RESERVE.is_news(StorageFull("provider other: the disk is full"))
    assert RESERVE.is_news(app.Unavailable("away"))
    site = Site(tmp_path, TOML.replace("{main}", MAIN["sql"]))
    job = RESERVE.Spares({}, site.app.config)
    for left in (20 * MB, MB, MB, 20 * MB, 20 * MB):
        disk.left = left
        job.run(site.app, app.threading.Event())
    said = [text for text in caplog.messages if text.startswith("provider main:")]
    assert len(said) == 2
    assert "1.0 MB of 24.0 MB are left: uploads are refused" in said[0]
    assert "the disk has room again" in said[1]
    site.app.close()


def test_a_limit_of_file_sizes_is_a_full_disk_for_every_kind(tmp_path: Path) -> None:
    site = Site(tmp_path, TOML.replace("{main}", MAIN["sql"]))
    for share in ("files/docs", "files/blobs"):
        site.put(f"{share}/a", body=b"old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    most = max(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()) + 100_000
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, limits[1]))
    try:
        for share in ("files/docs", "files/blobs"):
            with pytest.raises(StorageFull):
                site.put(f"{share}/a", body=b"x" * 2 * most)
        with pytest.raises(StorageFull):
            site.create("forms/note", [{"text": "x" * 9_000}] * (most // 4_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    for share in ("files/docs", "files/blobs"):
        assert site.bytes(f"{share}/a") == b"old"
    site.create("forms/note", {"text": "x"})
    site.app.close()


@pytest.mark.parametrize("number", sorted(StorageFull.errors))
def test_whatever_a_quota_says_the_key_ring_and_temporary_files_are_a_full_disk(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert isinstance(RESERVE.known(OSError(number, "no")), StorageFull)
    with pytest.raises(ValueError, match="new thread"):  # a text that only speaks of one
        RESERVE.known(ValueError("no such page: a new thread"))
    ring = app.KeyRing.load("", tmp_path / "keys.json")
    before = (tmp_path / "keys.json").read_bytes()

    def fails(*args: Any, **facts: Any) -> None:
        raise OSError(number, "no")

    monkeypatch.setattr(app.plugin("disk"), "replace_file", fails)
    with pytest.raises(StorageFull):
        app.plugin("key_edits").rotate(ring, 0)
    assert (tmp_path / "keys.json").read_bytes() == before


def test_temporary_files_and_backups_leave_the_reserve_too(tmp_path: Path, disk: Disk) -> None:
    done: list[int] = []
    step = RESERVE.guarded(tmp_path, done.append)
    RESERVE.check_scratch("receiving files")
    disk.left = 3 * MB - 1
    for work in (lambda: step(1), lambda: RESERVE.check_scratch("receiving files"), lambda: RESERVE.guarded(tmp_path, step)):
        refused(work)
    assert done == [0]
    sql = app.SqlProvider("main", {"url": "sqlite:///a.db"}, tmp_path)
    sql.open()
    sql.commit([app.Insert("t", "a", {})])
    disk.left = 3 * MB + 100
    with pytest.raises(StorageFull):
        app.plugin("sql_database").snapshot(sql, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()
    sql.close()


# ---- memory and open files


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (MemoryError(), 503),
        (OSError(errno.EMFILE, "no"), 503),
        (OSError(errno.ENFILE, "no"), 503),
        (RuntimeError("can't start new thread"), 503),
        (OSError(errno.ENOSPC, "no"), 507),
        (OSError(errno.EDQUOT, "no"), 507),
        (OSError(errno.EIO, "no"), 500),
        (RuntimeError("a bug"), 500),
    ],
    ids=repr,
)
def test_a_machine_at_its_end_is_no_bug_and_no_fault_of_the_request(
    error: Exception, status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from http_client import Site as HttpSite

    site = HttpSite(tmp_path)
    token = site.token("**:*")

    def fails(*args: Any) -> Any:
        raise error

    monkeypatch.setattr(app.Flow, "handle", fails)
    reply = site.send("/forms/leave", {"x": 1}, token)
    assert reply.status == status
    assert ("Retry-After" in dict(reply.headers)) == (status in (503, 507))
    site.close()


# ---- the whole, on a small disk

SERVED = """
[providers.main]
kind = "sql"
url = "sqlite:///data/app.db"
[providers.share]
kind = "file"
root = "data/files"
[files.docs]
provider = "share"
[files.blobs]
provider = "main"
[forms.note.fields]
text = { type = "string", maxLength = 100000 }
"""
FAKE = """
import os, pathlib, types
real = os.statvfs
def statvfs(path):
    used = sum(one.stat().st_size for one in pathlib.Path("data").rglob("*") if one.is_file())
    real(path)
    return types.SimpleNamespace(f_frsize=1, f_blocks=24_000_000, f_bavail=max(24_000_000 - used, 0), f_files=0, f_favail=0)
os.statvfs = statvfs
"""


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[bool]:
    """Make it a disk of 24 MB; where this account may not, what runs there is told that it is one. Yields whether it is."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(folder)]
    try:
        is_real = subprocess.run(command, capture_output=True).returncode == 0
    except OSError:
        is_real = False
    if not is_real:
        (folder / "plugins").mkdir()
        (folder / "plugins" / "fake.py").write_text(FAKE)
    try:
        yield is_real
    finally:
        if is_real:
            subprocess.run(["umount", "-l", str(folder)], check=True)


def auth(server: Server, *args: str) -> str:
    command = [*backends.SATCHEL, "auth", *args]
    done = subprocess.run(command, cwd=server.folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_small_disk_is_filled_and_emptied_through_the_door(tmp_path: Path) -> None:
    folder = tmp_path / "disk"
    with small_disk(folder) as is_real:
        (folder / "app.toml").write_text(SERVED)
        with serving(folder, "--workers", "2") as server:
            bearer = {"Authorization": f"Bearer {server.token()}"}
            typed = bearer | {"Content-Type": "application/json"}

            def fill(make: Callable[[int], Any]) -> int:
                for number in range(60):
                    reply = make(number)
                    if reply.status != 201:
                        assert (reply.status, reply.json["code"]) == (507, "storage_full")
                        assert "deleting" in reply.json["detail"]
                        return number
                raise AssertionError("it is never full")

            files = fill(lambda n: server.ask("PUT", f"/files/docs/{n}", os.urandom(MB), bearer))
            assert files > 5
            assert fill(lambda n: server.ask("PUT", f"/files/blobs/{n}", os.urandom(MB), bearer)) < 2
            ready = server.ask("GET", "/readyz")
            assert (ready.status, ready.json["status"]) == (200, "degraded")
            assert set(ready.json["disks"]) == {"main", "share"}
            assert 'satchel_disk_free_bytes{provider="main"}' in server.ask("GET", "/metrics", None, bearer).text
            note = json.dumps({"text": "x" * 50_000})
            fill(lambda n: server.ask("POST", "/forms/note", note, typed))
            if is_real:
                with open(folder / "other", "wb", buffering=0) as other, contextlib.suppress(OSError):
                    while True:
                        other.write(bytes(65_536))
                with open(folder / "other", "ab", buffering=0) as other, contextlib.suppress(OSError):
                    while True:
                        other.write(b"x")
                assert os.statvfs(folder).f_bavail == 0
            token = auth(server, "issue", "--subject", "bob", "--grant", "**:*")
            form = {"Content-Type": "application/x-www-form-urlencoded"}
            assert server.ask("POST", "/login", f"token={token}", form).status == 303
            jti = json.loads(auth(server, "list", "--json"))
            auth(server, "revoke", next(one["jti"] for one in jti if one["subject"] == "bob"))
            assert server.ask("DELETE", "/files/docs/0", None, {"Authorization": f"Bearer {token}"}).status == 401
            for number in range(files):
                assert server.ask("DELETE", f"/files/docs/{number}", None, bearer).status == 204
            for path in ("/files/docs/again", "/files/blobs/again"):
                assert server.ask("PUT", path, b"x" * MB, bearer).status == 201
            assert server.ask("POST", "/forms/note", note, typed).status == 201
            ready = server.ask("GET", "/readyz")
            assert (ready.status, ready.json["status"]) == (200, "ok")
        assert sum("the disk is full" in line for line in server.told) <= 6, "not one for each request"
