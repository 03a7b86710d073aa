"""RUNNERS: a server that reads app.toml, plugins and templates again while it serves, and workers that cannot start."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Any

import backends
import pytest
from conftest import wait_for
from http_client import ROOT, Server, status_of

import app

pytestmark = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc")

CONFIG = """
[site]
title = "First"
[http]
workers = 2
[providers.main]
kind = "sql"
url = "sqlite:///app.db"
[forms.notes]
title = "Notes"
provider = "main"
[forms.notes.fields]
text = { type = "string" }
[public]
grants = ["forms/**:*"]
hourly = 0
"""
SECOND = CONFIG + '[forms.more]\nprovider = "main"\n[forms.more.fields]\nword = { type = "string" }\n'
ROUTE = """
import app
class Hello(app.Route):
    kind = "hello"
    paths = {"/hello": "GET"}
    def answer(self, asked, host):
        return app.Answer(200, [("Content-Type", "text/plain")], WORD)
"""
JSON = {"Content-Type": "application/json"}


class Site:
    """A server in a folder whose files change, and what it says."""

    def __init__(self, server: Server, told: Path) -> None:
        self.server, self.folder, self._told = server, server.folder, told

    @property
    def said(self) -> str:
        return self._told.read_text()

    def write(self, text: str, name: str = "app.toml") -> None:
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)

    def get(self, target: str) -> Any:
        return self.server.ask("GET", target, headers={"Accept": "application/json"})

    def token(self, *grants: str) -> str:
        line = [*backends.SATCHEL, "auth", "issue", "--subject", "ann", "--force"]
        line += [word for grant in grants for word in ("--grant", grant)]
        return subprocess.run(line, cwd=self.folder, check=True, capture_output=True, text=True).stdout.strip()

    def workers(self) -> set[int]:
        pid = self.server.process.pid
        return set(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))

    def reload(self, *, until: str = "is in force") -> None:
        """Ask for it, and wait until it has said how that went."""
        before = self.said.count(until)
        self.server.process.send_signal(signal.SIGHUP)
        wait_for(lambda: self.said.count(until) > before, f"{until!r}")


@contextmanager
def site_in(folder: Path, config: str = CONFIG, *args: str, bind: str = "127.0.0.1:0") -> Iterator[Site]:
    (folder / "app.toml").write_text(config)
    told = folder / "told"
    line = ["/bin/sh", "-c", 'exec "$@" 2>> told', "sh", *backends.SATCHEL, "server", "--bind", bind]
    process = subprocess.Popen([*line, *args], cwd=folder)
    try:
        wait_for(lambda: told.exists() and " is at http://" in told.read_text(), "its address")
        found = re.search(r" is at http://(.*?):(\d+)/", told.read_text())
        assert found
        yield Site(Server(process, folder, (found[1], int(found[2]))), told)
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with site_in(tmp_path) as found:
        yield found


# ---- what is read again


@contextmanager
def submitting(site: Site, clients: int = 6) -> Iterator[None]:
    """Clients that submit on and on, on new and on kept connections; each submission is acknowledged and stored."""
    is_over = Event()

    def submit(number: int) -> int:
        count = 0
        while not is_over.is_set():
            with site.server.connect() as client:
                for _ in range(1 + count % 7):
                    body = b'{"text": "%d"}' % number
                    client.sendall(
                        b"POST /forms/notes HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                        b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
                    )
                    answer = client.recv(4096)
                    assert status_of(answer) == 201, answer
                    count += 1
                    if b"\r\nConnection: close\r\n" in answer:
                        break
        return count

    with ThreadPoolExecutor(clients) as pool:
        found = [pool.submit(submit, number) for number in range(clients)]
        try:
            yield
        finally:
            is_over.set()
        counts = [one.result() for one in found]
    assert min(counts) > 3
    assert site.get("/forms/notes/records?_count=1&_size=1").json["count"] == sum(counts)


def test_sighup_puts_app_toml_in_force_under_load_and_loses_no_submission(site: Site) -> None:
    with submitting(site):
        assert site.get("/forms/more").status in (401, 404)
        site.write(SECOND.replace("First", "Second"))
        site.reload()
        assert site.get("/forms/more").status == 200
        site.write(CONFIG)
        site.reload()
        assert site.get("/forms/more").status in (401, 404)


@pytest.mark.parametrize(
    ("text", "said", "place"),
    [
        (CONFIG.replace("provider", "provder"), "forms.notes.provder", "forms.notes.provder"),
        (CONFIG.replace('"main"', '"mian"'), "forms.notes.provider", "forms.notes.provider"),
        ("[site\n", "app.toml is not TOML", "app.toml is not TOML"),
    ],
)
def test_a_faulty_app_toml_is_told_with_its_faults_and_the_old_workers_go_on(
    site: Site, text: str, said: str, place: str
) -> None:
    before = site.workers()
    assert site.get("/readyz").json["status"] == "ok"
    site.write(text)
    site.reload(until="the server keeps its present settings")
    wait_for(lambda: said in site.said, "its fault")
    assert site.workers() == before
    ready = site.get("/readyz")
    assert (ready.status, ready.json["status"]) == (200, "degraded")
    assert place in ready.json["reload"]
    assert site.get("/forms/notes/records").status == 200
    site.write(CONFIG)
    site.reload()
    assert "reload" not in site.get("/readyz").json
    assert site.get("/readyz").json["status"] == "ok"


def test_plugins_modules_beside_them_and_templates_are_read_again(tmp_path: Path) -> None:
    (tmp_path / "plugins").mkdir()
    plugin = "import sys, pathlib\nsys.path.insert(0, str(pathlib.Path(__file__).parent))\nfrom _word import WORD\n" + ROUTE
    (tmp_path / "plugins" / "hello.py").write_text(plugin)
    (tmp_path / "plugins" / "_word.py").write_text('WORD = b"one"\n')
    with site_in(tmp_path) as site:
        assert site.get("/hello").body == b"one"
        site.write('WORD = b"eleven"\n', "plugins/_word.py")
        site.reload()
        assert site.get("/hello").body == b"eleven"
        site.write(plugin.replace('"/hello"', '"/hallo"'), "plugins/hello.py")
        site.write("<p>made here</p>", "templates/error.tpl")
        site.reload()
        assert site.get("/hallo").body == b"eleven"
        page = site.server.ask("GET", "/hello", headers={"Accept": "text/html"})
        assert (page.status, b"made here" in page.body) == (404, True)


@pytest.mark.parametrize(
    "text", ["import os\nos._exit(0)\n", "raise SystemExit(3)\n", "1 / 0\n", "import sys\nsys.exit()\n", "def f(:\n"]
)
def test_a_plugin_that_does_not_load_leaves_all_as_it_was(site: Site, text: str) -> None:
    before = site.workers()
    site.write(text, "plugins/bad.py")
    site.reload(until="the server keeps its present settings")
    assert site.workers() == before
    assert site.get("/forms/notes/records").status == 200


def test_new_workers_that_do_not_start_leave_the_old_ones(site: Site) -> None:
    before = site.workers()
    broken = 'def run(self):\n    raise KeyError("no luck")\napp.HttpRunner.run = run\n'
    site.write(ROUTE.replace("WORD", 'b""') + broken, "plugins/bad.py")
    site.reload(until="the server keeps its present settings")
    assert "the new workers do not start: KeyError: 'no luck'" in site.said
    wait_for(lambda: site.workers() == before, "the end of the new ones")
    assert site.get("/forms/notes/records").status == 200


def test_what_takes_a_restart_is_said_and_the_rest_is_in_force(site: Site, tmp_path: Path) -> None:
    edited = SECOND.replace("workers = 2", 'workers = 3\nbind = "127.0.0.1:1"').replace("[site]", '[site]\ndata = "other"')
    (tmp_path / "app.toml").write_text(edited)
    site.reload()
    assert re.search(r"data stays \S*/data until", site.said)
    assert "bind stays" not in site.said, "--bind says where it is, whatever app.toml says"
    assert site.get("/forms/more").status == 200
    assert not (tmp_path / "other").exists()
    wait_for(lambda: len(site.workers()) >= 3, "a third worker")


def test_another_bind_is_said_to_take_a_restart(tmp_path: Path) -> None:
    (tmp_path / "site.toml").write_text(CONFIG.replace("workers = 2", f'bind = "unix:{tmp_path}/one"'))
    line = [sys.executable, str(ROOT / "app.py"), "server", "--config", "site.toml"]
    with (tmp_path / "told").open("w") as told, subprocess.Popen(line, cwd=tmp_path, stderr=told) as process:
        site = Site(Server(process, tmp_path, unix=str(tmp_path / "one")), tmp_path / "told")
        try:
            wait_for(lambda: " is at unix:" in site.said, "its address")
            site.write(SECOND.replace("workers = 2", f'bind = "unix:{tmp_path}/two"'), "site.toml")
            site.reload()
            assert f"bind stays unix:{tmp_path}/one until" in site.said
            assert site.get("/forms/more").status == 200
        finally:
            process.terminate()
        assert process.wait(30) == 0
    assert not (tmp_path / "one").exists()


def test_what_is_under_way_ends_well_while_another_app_toml_comes_in_force(site: Site) -> None:
    with site.server.connect() as client:
        client.sendall(b"POST /forms/notes HTTP/1.1\r\nHost: localhost\r\nContent-Length: 15\r\n")
        client.sendall(b'Content-Type: application/json\r\n\r\n{"text"')
        site.write(SECOND)
        site.reload()
        client.sendall(b': "late"')
        assert status_of(client.recv(4096)) == 400, "a byte is missing, which the old worker waits for"


# ---- by itself


def test_reload_takes_over_what_is_saved_and_a_fault_once(tmp_path: Path) -> None:
    with site_in(tmp_path, CONFIG, "--reload") as site:
        site.write(SECOND)
        wait_for(lambda: "is in force" in site.said, "the new app.toml")
        assert site.get("/forms/more").status == 200
        site.write(ROUTE.replace("WORD", 'b"made"'), "plugins/hello.py")
        wait_for(lambda: site.said.count("is in force") == 2, "the new plugin")
        assert site.get("/hello").body == b"made"
        site.write("[", "app.toml")
        wait_for(lambda: "the server keeps its present settings" in site.said, "its fault")
        assert site.get("/hello").body == b"made"
        os.utime(tmp_path / "app.db")  # nothing of what is read at a start
        (tmp_path / "app.toml").write_text(SECOND)
        wait_for(lambda: site.said.count("is in force") == 3, "the mended one")
        assert site.said.count("the server keeps its present settings") == 1


def test_administrators_see_in_the_page_what_is_wrong_with_what_they_saved(tmp_path: Path) -> None:
    with site_in(tmp_path, CONFIG, "--reload") as site:
        tokens = [site.token("**:*"), site.token("forms/notes:create"), ""]

        def pages() -> list[str]:
            """The home page of an administrator, of somebody else, and of a stranger."""
            headers = [{"Accept": "text/html"} | ({"Authorization": f"Bearer {one}"} if one else {}) for one in tokens]
            return [site.server.ask("GET", "/", headers=one).body.decode() for one in headers]

        assert not any("cannot be used" in page for page in pages())
        site.write(CONFIG.replace('type = "string"', 'tpye = "<b>string"'))
        wait_for(lambda: "the server keeps its present settings" in site.said, "its fault")
        admin, other, stranger = pages()
        assert "What was last saved for this site cannot be used" in admin
        assert "forms.notes.fields.text.tpye" in admin
        assert "<b>string" not in admin
        assert "cannot be used" not in other + stranger
        assert site.get("/readyz").json["reload"].startswith("forms.notes.fields.text")
        site.write(SECOND)
        wait_for(lambda: "is in force" in site.said, "the mended one")
        assert not any("cannot be used" in page for page in pages())


def test_after_sighup_alone_no_page_shows_a_fault(site: Site) -> None:
    headers = {"Accept": "text/html", "Authorization": f"Bearer {site.token('**:*')}"}
    site.write(CONFIG.replace("provider", "provder"))
    site.reload(until="the server keeps its present settings")
    assert "cannot be used" not in site.server.ask("GET", "/", headers=headers).body.decode()


def test_a_download_that_is_under_way_ends_whole_while_another_app_toml_comes_in_force(tmp_path: Path) -> None:
    share = '[providers.disk]\nkind = "file"\nroot = "share"\n[files.docs]\nprovider = "disk"\n'
    config = CONFIG.replace('"forms/**:*"', '"forms/**:*", "files/**:*"') + share
    (tmp_path / "share").mkdir()
    data = os.urandom(1 << 20) * 40
    (tmp_path / "share" / "big").write_bytes(data)
    with site_in(tmp_path, config) as site, site.server.connect() as client:
        client.sendall(b"GET /files/docs/big HTTP/1.1\r\nHost: localhost\r\n\r\n")
        found = client.recv(65536)
        site.write(config.replace("First", "Second"))
        site.reload()
        while len(found) - found.index(b"\r\n\r\n") - 4 < len(data):
            more = client.recv(1 << 20)
            assert more, "it was cut off"
            found += more
        assert found.endswith(data[-1000:])


def test_a_change_is_seen_once_when_it_rests(tmp_path: Path) -> None:
    config, now = tmp_path / "app.toml", 0.0
    watch: Any = app.plugin("reload").Watch(config, lambda: now)

    def looks() -> list[bool]:
        nonlocal now
        found = []
        for _ in range(6):
            now += 0.3
            found.append(watch.has_changed())
        return found

    assert looks() == [False] * 6
    for name in ("app.toml", "plugins/one.py", "templates/deep/page.html", "module.py"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("a")
        assert looks().count(True) == 1, name
        path.write_text("ab")
        assert looks().count(True) == 1, name
        path.unlink()
        assert looks().count(True) == 1, name
    for name in ("other.toml", "plugins/.one.py.swp", "templates/page.html~", "data"):
        (tmp_path / name).write_text("a")
        assert not any(looks()), name
    config.write_text("a")
    now += 0.6
    assert not watch.has_changed(), "it may still be written"
    config.write_text("abc")
    now += 0.6
    assert not watch.has_changed()
    now += 0.6
    assert watch.has_changed()


# ---- workers that cannot start


def ended(folder: Path, plugin: str, *args: str) -> tuple[int, str]:
    """The exit code of a server with this plugin, and what it said."""
    (folder / "plugins").mkdir()
    (folder / "plugins" / "bad.py").write_text(ROUTE.replace("WORD", 'b""') + plugin)
    (folder / "app.toml").write_text(CONFIG)
    line = [*backends.SATCHEL, "server", "--bind", "127.0.0.1:0", *args]
    done = subprocess.run(line, cwd=folder, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stderr


SOON = "app._FIRST_DELAY_S, app._LAST_TRY_S = 0.05, 0.2\n"  # a tenth of the time
RUN = "def run(self):\n    {}\napp.HttpRunner.run = run\n"


@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        ("raise KeyError('no luck')", 1, "exit code 1): KeyError: 'no luck'"),
        ("raise app.Unavailable('the disk is away')", 7, "exit code 7): the disk is away"),
        ("import os; os._exit(0)", 1, "exit code 0)"),
        ("import os; os._exit(9)", 7, "exit code 9)"),
        ("import os; os.kill(os.getpid(), 9)", 1, "SIGKILL)"),
    ],
)
def test_a_server_none_of_whose_workers_ever_starts_ends_and_names_the_error(
    tmp_path: Path, line: str, code: int, words: str
) -> None:
    found, said = ended(tmp_path, SOON + RUN.format(line), "--workers", "2")
    assert found == code, said
    assert re.search(r"the http [12] runner cannot start \(", said)
    assert words in said
    assert "error: a runner could not start" in said
    assert " is at http://" not in said


def test_a_worker_that_does_not_start_is_tried_again_ever_later_while_another_serves(tmp_path: Path) -> None:
    (tmp_path / "plugins").mkdir()
    second = "real = app.HttpRunner.run\n" + RUN.format(
        "if self.seats.own == 1:\n        raise KeyError('no luck')\n    real(self)"
    )
    (tmp_path / "plugins" / "bad.py").write_text(ROUTE.replace("WORD", 'b""') + second)
    with site_in(tmp_path) as site:
        wait_for(lambda: site.said.count("it starts again in") >= 3, "three tries")
        delays = re.findall(
            r"the http 2 runner ended \(exit code 1\): KeyError: 'no luck'; it starts again in (\S+) s", site.said
        )
        assert delays[:3] == ["0.5", "1", "2"]
        assert site.get("/healthz").status == 200


def test_a_worker_that_dies_while_it_serves_is_started_again_at_once(site: Site) -> None:
    victim = min(site.workers())
    os.kill(victim, signal.SIGKILL)
    wait_for(lambda: len(site.workers() - {victim}) == 2, "another one", 2)
    assert "runner ended (SIGKILL); it starts again in 0.5 s" in site.said
    site.reload()
    assert site.get("/healthz").status == 200
