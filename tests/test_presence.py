"""What goes away under a running server is awaited and told of, and nothing is made anew in its place."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import wait_for
from http_client import Server, serving
from sites import Site

import app

TOML = """
[http]
workers = 1
[providers.main]
kind = "sql"
url = "sqlite:///data/app.db"
[providers.share]
kind = "file"
root = "share"
[files.docs]
provider = "share"
[files.blobs]
provider = "main"
[forms.note.fields]
text = {}
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("site")
    (folder / "app.toml").write_text(TOML)
    with serving(folder) as server:
        server.headers = {"Authorization": f"Bearer {server.token()}"}  # type: ignore[attr-defined]
        for share in ("docs", "blobs"):
            assert ask(server, "PUT", f"/files/{share}/a", b"old").status == 201
        yield server


def ask(server: Server, method: str, path: str, body: bytes | None = None):  # type: ignore[no-untyped-def]
    return server.ask(method, path, body, {**server.headers, "Content-Type": "application/json"})  # type: ignore[attr-defined]


REQUESTS = {
    "read a share": ("GET", "/files/docs/"),
    "read a file": ("GET", "/files/docs/a"),
    "read a missing file": ("GET", "/files/docs/missing"),
    "store a file": ("PUT", "/files/docs/b"),
    "remove a file": ("DELETE", "/files/docs/a"),
    "read a file of the database": ("GET", "/files/blobs/a"),
    "store a file in the database": ("PUT", "/files/blobs/b"),
    "list records": ("GET", "/forms/note/records"),
    "create a record": ("POST", "/forms/note"),
    "read the audit": ("GET", "/admin/audit"),
}
OF_SHARE = {name for name, (_, path) in REQUESTS.items() if "/docs/" in path}


def moved(path: Path) -> Callable[[], None]:
    path.rename(path.with_name("moved"))
    return lambda: path.with_name("moved").rename(path)


def emptied(path: Path) -> Callable[[], None]:
    """As where a disk is not mounted any more."""
    path.rename(path.with_name("moved"))
    path.mkdir()

    def back() -> None:
        assert {one.name for one in path.iterdir()} <= {"jobs.lock"}
        shutil.rmtree(path)
        path.with_name("moved").rename(path)

    return back


def garbled(path: Path) -> Callable[[], None]:
    kept = path.read_bytes()
    path.write_bytes(b"garbage")
    return lambda: (path.write_bytes(kept), None)[1]


def replaced(path: Path) -> Callable[[], None]:
    kept = path.with_name("kept")
    path.rename(kept)
    shutil.copy(kept, path)
    return lambda: os.replace(kept, path)


GONE = {
    "the data folder moved": (moved, "data", "main: the database is gone", set(REQUESTS)),
    "the data folder emptied": (emptied, "data", "main: the database is gone", set(REQUESTS)),
    "the key ring moved": (moved, "data/keys.json", "the key file cannot be used", set(REQUESTS)),
    "the key ring garbled": (garbled, "data/keys.json", "the key ring is not JSON", set(REQUESTS)),
    "the database moved": (moved, "data/app.db", "main: the database is gone", set(REQUESTS)),
    "the database replaced": (replaced, "data/app.db", "main: the database was replaced", set(REQUESTS)),
    "a share moved": (moved, "share", "share: its folder is gone", OF_SHARE),
    "a share emptied": (emptied, "share", "share: its own folder .satchel is gone", OF_SHARE),
}


@contextmanager
def gone(server: Server, name: str) -> Iterator[None]:
    how, path, _, _ = GONE[name]
    back = how(server.folder / path)
    try:
        yield
    finally:
        back()


@pytest.mark.parametrize("name", GONE)
def test_what_is_gone_is_unavailable_until_it_is_back(server: Server, name: str) -> None:
    _, path, said, needing = GONE[name]
    with gone(server, name):
        for each, (method, target) in REQUESTS.items():
            reply = ask(server, method, target, b"{}" if method in ("PUT", "POST") else None)
            if each in needing:
                assert (reply.status, reply.json["code"]) == (503, "unavailable"), each
                assert reply["Retry-After"], each
                assert str(server.folder) not in reply.text
            else:
                assert reply.status < 500, each
        ready = server.ask("GET", "/readyz")
        assert (ready.status, ready.json["status"]) == (503, "unavailable")
        assert said in ready.text
        assert str(server.folder) not in ready.text
        assert server.ask("GET", "/healthz").status == 200
        if name.endswith("moved"):
            assert not (server.folder / path).exists(), "it was made anew"
    assert server.ask("GET", "/readyz").json["status"] == "ok"
    assert ask(server, "GET", "/files/docs/a").body == b"old"
    assert ask(server, "GET", "/files/blobs/a").body == b"old"
    made = ask(server, "POST", "/forms/note", json.dumps({"text": name}).encode())
    assert made.status == 201
    assert ask(server, "GET", made["Location"]).json["text"] == name


@pytest.mark.parametrize("name", ["the data folder moved", "a share moved"])
def test_a_worker_that_begins_meanwhile_makes_nothing_anew(server: Server, name: str) -> None:
    [worker] = children(server.process.pid)
    with gone(server, name):
        os.kill(worker, signal.SIGKILL)
        wait_for(lambda: children(server.process.pid) not in ([], [worker]), "the next worker")
        ready = wait_for(lambda: answer(server), "its first answer")
        assert ready == 503
        assert ask(server, "PUT", "/files/docs/b", b"x").status == 503
        assert not (server.folder / GONE[name][1]).exists()
    assert server.ask("GET", "/readyz").json["status"] == "ok"
    assert ask(server, "GET", "/files/docs/a").body == b"old"


def answer(server: Server) -> int:
    """The status of /readyz; 0 if nobody answers."""
    try:
        return server.ask("GET", "/readyz").status
    except OSError:
        return 0


def children(pid: int) -> list[int]:
    return list(map(int, subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True).stdout.split()))


def test_a_folder_or_database_that_was_never_there_is_made(tmp_path: Path) -> None:
    site = Site(tmp_path, TOML)
    assert site.app.ready() == {"main": "ok", "share": "ok"}
    site.put("files/docs/a", body=b"x")
    site.put("files/blobs/a", body=b"x")
    site.app.close()


def test_a_site_that_is_read_again_knows_what_was_there(tmp_path: Path) -> None:
    before, after = (Site(tmp_path, TOML).app for _ in range(2))
    shutil.rmtree(tmp_path / "share", ignore_errors=True)
    before.providers["share"].write("a", [b"x"])
    shutil.rmtree(tmp_path / "share")
    app.plugin("presence").carry(before.providers, after.providers)
    with pytest.raises(app.Unavailable, match="share: its folder is gone"):
        after.providers["share"].write("a", [b"x"])
    assert not (tmp_path / "share").exists()
    before.close()
    after.close()


# ---- views that cannot be answered


@pytest.mark.parametrize(
    ("statement", "status", "code", "said"),
    [
        ("select json_extract(data, '$.text') as a from (select 'no json' as data)", 500, "unreadable", "malformed JSON"),
        ("select abs(-9223372036854775807 - 1) as a", 500, "unreadable", "integer overflow"),
        ("select json_extract(:p, '$.a') as a", 400, "bad_request", "malformed JSON"),
        ("select * from pragma_database_list", 501, "unsupported", "does more than read"),
        ("select count(*) from PRAGMA_table_info('note')", 501, "unsupported", "does more than read"),
        ("select a from nowhere", 500, "configuration", "no such table"),
    ],
)
def test_a_view_says_whether_its_statement_or_its_data_is_at_fault(
    tmp_path: Path, statement: str, status: int, code: str, said: str
) -> None:
    params = "params.p = {}" if ":p" in statement else ""
    site = Site(tmp_path, TOML + f'[views.v]\nprovider = "main"\nsql = """{statement}"""\n{params}\n')
    site.create("forms/note", {"text": "x"})
    for whole in (False, True):
        with pytest.raises(app.AppError, match=said) as caught:
            list(site.read("views/v", params={"p": "no json"} if params else {}, whole=whole).table.items)  # type: ignore[union-attr]
        assert (caught.value.status, caught.value.code) == (status, code)
        if isinstance(caught.value, app.ConfigError):  # a reader is told in plain words, and the log what the database said
            with pytest.raises(app.ConfigError) as told:
                site.read("views/v", whole=whole, by=site.token("ann", "views/*:read"))
            assert told.value.message == "views/v cannot be shown: its statement is wrong, and the log says why"
            assert (said in told.value.with_hint, told.value.status) == (True, status)
    faults = [fault.detail for fault in site.app.inspection.check()]
    assert any(said in fault for fault in faults) == (code in ("unsupported", "configuration"))
    site.app.close()
