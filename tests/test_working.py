"""Work that nobody waits for ends, a statement holds to its limits, and no write is broken off."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import aws_server
import backends
import pytest
from conftest import wait_for
from http_client import Server, read_all, serving, status_of
from inner_server import TRANSPORTS, contexts, over, running
from postgres_server import open_postgres, server

import app

working = app.plugin("working")
ENDLESS = "with recursive c(x) as (select 1 union all select x + 1 from c)"
BLOCK = "hex(zeroblob(2400000))"  # nearly as large as a value may be
MANY_BLOCKS = f"with recursive c(x) as (select {BLOCK} union all select x from c)"
MOST_S, MOST_RSS_KB = 1.0, 150_000
STATEMENTS = {
    "hex": "select length(hex(zeroblob(400000000))) as x",
    "zeroblob": "select zeroblob(900000000) as x",
    "printf": "select printf('%.*c', 900000000, 'x') as x",
    "group_concat": f"{ENDLESS} select length(group_concat(hex(zeroblob(1000000)))) as x from c",
    "format": "select format('%.' || 900000000 || 'c', 'x') as x",
    "width": "select length(printf('%900000000d', 1)) as x",
    "randomblob": "select length(randomblob(900000000)) as x",
    "replace": "select length(replace(hex(zeroblob(1000000)), '0', 'xxxxxxxxxxxx')) as x",
    "joined": "with recursive c(x) as (select 'a' union all select x || x from c) select max(length(x)) as x from c",
    "like": f"select {BLOCK} like '%' || hex(zeroblob(20000)) || '1%' as x",
    "glob": f"select {BLOCK} glob '*' || hex(zeroblob(20000)) || '1*' as x",
    "json_group_array": f"{MANY_BLOCKS} select length(json_group_array(x)) as x from c",
    "json_group_object": f"{MANY_BLOCKS} select length(json_group_object('a', x)) as x from c",
    "distinct": f"{MANY_BLOCKS} select count(distinct x || random()) as x from c",
    "numbers": f"{ENDLESS} select length(json_group_array(x)) as x from c",
}
QUICK = [name for name in STATEMENTS if name not in ("json_group_array", "json_group_object", "distinct")]
CONFIG = f"""
[http]
threads = 1
workers = 1
[providers.main]
kind = "sql"
url = "sqlite:///app.db"
[forms.notes]
provider = "main"
[forms.notes.fields]
text = {{ type = "string" }}
[public]
grants = ["**:*"]
[views.never]
timeout = "2s"
sql = "{ENDLESS} select max(x) as x from c"
[views.rarely]
sql = "{ENDLESS} select x from c where x <= 60000 or x % 1000000000 = 0"
[views.late]
timeout = "60s"
sql = "with recursive c(x) as (select 1 union all select x + 1 from c where x < 6000000) select max(x) as x from c"
""" + "".join(
    f'[views.s_{name}]\nprovider = "main"\ntimeout = "1s"\nsql = """{sql}"""\n' for name, sql in STATEMENTS.items()
)
CONFIG = re.sub(r"(\[views\.(never|rarely|late)\])", r'\1\nprovider = "main"', CONFIG)


@contextlib.contextmanager
def site(folder: Path, transport: str = "tcp") -> Iterator[Server]:
    bind, tls, config = "127.0.0.1:0", None, CONFIG
    if transport == "tls":
        _, tls = contexts(folder)
        config = CONFIG.replace("[http]", '[http]\ntls_cert = "cert"\ntls_key = "key"')
    if transport == "unix":
        bind = f"unix:{backends.folder()}/s"
    (folder / "app.toml").write_text(config)
    with serving(folder, bind=bind, tls=tls) as server:
        assert server.ask("POST", "/forms/notes", b'{"text": "a"}', {"Content-Type": "application/json"}).status == 201
        yield server


@pytest.fixture(scope="module", params=TRANSPORTS)
def of_transport(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with site(tmp_path_factory.mktemp(request.param), request.param) as server:
        yield server


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with site(tmp_path_factory.mktemp("limits")) as server:
        yield server


def get(target: str, version: str = "1.1") -> bytes:
    return f"GET {target} HTTP/{version}\r\nHost: localhost\r\n\r\n".encode()


def abandoned(server: Server) -> int:
    text = server.ask("GET", "/metrics").text
    return int(float((re.findall(r"(?m)^satchel_http_abandoned_total (\S+)", text) or [0])[0]))


# ---- clients that are gone


@pytest.mark.parametrize("target", ["/views/never.csv", "/views/rarely.csv", "/views/never.ndjson", "/views/late"])
def test_a_closed_connection_frees_its_thread_within_a_second(of_transport: Server, target: str) -> None:
    server, before = of_transport, abandoned(of_transport)
    with server.connect() as client:
        client.sendall(get(target))
        if "rarely" in target:
            assert client.recv(5)  # its rows have begun
        else:
            time.sleep(0.05)
    began = time.monotonic()
    assert server.ask("GET", "/healthz").status == 200  # by the only thread
    assert time.monotonic() - began < MOST_S
    assert abandoned(server) == before + 1


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_a_client_that_only_sends_nothing_more_gets_its_answer(of_transport: Server, version: str) -> None:
    with of_transport.connect() as client:
        client.sendall(get("/views/late", version).replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        socket.socket.shutdown(client, socket.SHUT_WR)
        began = time.monotonic()
        answer = read_all(client)
    assert time.monotonic() - began > working.SOON_S * 2, "it was too quick to show anything"
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b'{"items":[{"x":6000000}]' in answer
    assert answer.count(b"HTTP/1.1") == 1


def test_a_client_that_waits_through_a_slow_stream_gets_all_of_it(transport: dict[str, Any]) -> None:
    def slow(head: app.Head, connection: app.Connection) -> app.Answer:
        def rows() -> Iterator[bytes]:
            for number in range(3):
                time.sleep(0.5)  # long enough for the server to see that the client sends nothing more
                yield b"row %d\n" % number

        return app.Answer(200, [], rows())

    with running(slow, **transport) as server, server.connect() as client:
        client.sendall(get("/").replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        socket.socket.shutdown(client, socket.SHUT_WR)
        head, _, body = read_all(client).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert b"chunked" in head
    sizes = re.findall(rb"([0-9a-f]+)\r\n", body)
    assert [int(size, 16) for size in sizes] == [6, 6, 6, 0]
    assert body.count(b"row") == 3


@pytest.fixture(params=TRANSPORTS)
def transport(request: pytest.FixtureRequest) -> dict[str, Any]:
    return over(request.param)


class Waits:
    """An application whose requests wait until they are broken off, or until `go`; it remembers what became of them."""

    def __init__(self) -> None:
        self.began, self.go, self.ended = threading.Semaphore(0), threading.Event(), list[str]()

    def __call__(self, head: app.Head, connection: app.Connection) -> app.Answer:
        self.began.release()
        with working.breakable(self.go.set):
            self.go.wait(10)
        reason = working.reason()
        self.ended.append(getattr(reason, "code", "done"))
        if reason:
            raise reason
        return app.Answer(200, [("Content-Length", "2")], b"ok")


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_only_what_reads_is_broken_off(transport: dict[str, Any], method: str) -> None:
    waits = Waits()
    with running(waits, **transport) as server:
        with server.connect() as client:
            client.sendall(get("/").replace(b"GET", method.encode()))
            assert waits.began.acquire(timeout=5)
        if method == "GET":
            wait_for(lambda: waits.ended, "its end", MOST_S)
        else:
            time.sleep(working.SOON_S + 0.4)  # for as long as it would take to notice
            assert not waits.go.is_set()
            waits.go.set()
            wait_for(lambda: waits.ended, "its end")
    assert waits.ended == ["client_gone" if method == "GET" else "done"]


def test_what_a_stopping_worker_reads_ends_with_its_grace() -> None:
    waits = Waits()
    with running(waits, limits=app.DEFAULT_LIMITS) as server, server.connect() as client:
        client.sendall(get("/"))
        assert waits.began.acquire(timeout=5)
        server.server.stop(0.5)
        began = time.monotonic()
        assert status_of(read_all(client)) == 503
        assert 0.3 < time.monotonic() - began < 2
    assert waits.ended == ["unavailable"]


def test_sixteen_exports_that_were_given_up_keep_no_server_from_ending(tmp_path: Path) -> None:
    with site(tmp_path) as server:
        clients = [server.connect() for _ in range(16)]
        for client in clients:
            client.sendall(get("/views/never.csv"))
        time.sleep(0.3)
        for client in clients:
            client.close()
        began = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - began < 8, "drain_s would be 25"
    assert len([line for line in server.told if "its client has gone" in line]) >= 1
    assert not [line for line in server.told if "ERROR" in line or "Traceback" in line]


def test_a_connection_that_was_interrupted_serves_the_next_request(served: Server) -> None:
    for _ in range(3):
        with served.connect() as client:
            client.sendall(get("/views/never.csv"))
            time.sleep(0.05)
        assert served.ask("GET", "/views/s_hex").status == 413
        assert len(served.ask("GET", "/forms/notes/records").json["items"]) == 1


# ---- limits of statements


def peak_rss_kb(server: Server) -> int:
    pid = server.process.pid
    [worker] = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(re.findall(r"VmHWM:\s+(\d+)", Path(f"/proc/{worker}/status").read_text())[0])


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
@pytest.mark.parametrize("name", [*QUICK, "distinct", "json_group_array", "json_group_object"])
def test_one_function_takes_neither_the_memory_nor_more_than_the_time(served: Server, name: str) -> None:
    began = time.monotonic()
    reply = served.ask("GET", f"/views/s_{name}", headers={"Accept": "application/json"})
    assert time.monotonic() - began < 2.0
    assert reply.status in (413, 504)
    assert reply["Content-Type"] == "application/problem+json"
    assert {413: "too_large", 504: "query_timeout"}[reply.status] == reply.json["code"]
    if name in QUICK:
        assert peak_rss_kb(served) < MOST_RSS_KB
    else:
        assert peak_rss_kb(served) < MOST_RSS_KB + 2 * working.MOST_GROWN_BYTES // 1024


def test_no_caller_makes_a_view_look_for_a_text_so_long_that_no_timeout_ends_it(tmp_path: Path) -> None:
    """A message of a queue may be that long: a text of a in one of a million a takes minutes, in one step of SQLite."""
    provider = app.SqlProvider("main", {"url": "sqlite:///app.db"}, tmp_path)
    provider.open()
    provider.commit([app.Insert("t", "a", {"x": "a" * 1_000_000})])
    table = "select data->>'x' as x from t"
    most = "a" * 9_999 + "b"
    for asked in ({"search": most}, *({"where": (app.Condition("x", op, most),)} for op in ("contains", "prefix"))):
        began = time.monotonic()
        with contextlib.closing(provider.select(app.Select(statement=table, **asked))) as rows:  # type: ignore[arg-type]
            assert list(rows.rows) == []
        assert time.monotonic() - began < 5
    longer = most + "b"
    for asked in ({"search": longer}, *({"where": (app.Condition("x", op, longer),)} for op in ("contains", "prefix"))):
        with pytest.raises(app.BadRequest, match="10,001 characters to look for"):
            provider.select(app.Select(statement=table, **asked))  # type: ignore[arg-type]
    provider.close()


def test_a_format_that_is_wide_but_not_too_wide_is_as_before(tmp_path: Path) -> None:
    statement = "select printf('%*d|%.*f|%s|%-5s|%%|%d', 9, 5, 2, 1.5, null, 'a', 9000000) as x, format(:form, 7) as y"
    options = {"url": "sqlite:///a.db"}
    provider = app.SqlProvider("main", options, tmp_path)
    provider.open()
    provider.commit([app.Insert("t", "a", {})])
    with contextlib.closing(provider.select(app.Select(statement, {"form": "%05d"}))) as rows:
        assert list(rows.rows) == [("        5|1.50||a    |%|9000000", "00007")]
    with contextlib.closing(provider.select(app.Select("select printf('%d', 7) as x"))) as rows:
        assert list(rows.rows) == [("7",)]
    provider.close()


def test_limits_of_views_do_not_stay_for_records(tmp_path: Path) -> None:
    provider = app.SqlProvider("main", {"url": "sqlite:///a.db"}, tmp_path)
    provider.open()
    large = {"text": "x" * 6_000_000}
    provider.commit([app.Insert("t", "a", large)])
    with (
        pytest.raises(app.TooLarge, match="5,000,000"),
        contextlib.closing(provider.select(app.Select("select data from t"))),
    ):
        pass
    record = cast(app.Record, provider.get("t", "a"))
    assert record.value == large
    with contextlib.closing(provider.select(app.Select("select length(key) as x from t"))) as rows:
        assert list(rows.rows) == [(1,)]
    provider.close()


# ---- what other services are asked for


@pytest.fixture
def silent() -> Iterator[int]:
    """The port of a service that takes connections, begins an answer of 1,000 bytes where it is asked for /half, and says
    nothing more."""
    stop, held = threading.Event(), list[socket.socket]()
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(0.05)

    def take() -> None:
        while not stop.is_set():
            with contextlib.suppress(TimeoutError):
                connection, _ = listener.accept()
                held.append(connection)
                if b"half" in connection.recv(65536):
                    connection.sendall(b'HTTP/1.1 200 OK\r\nETag: "a"\r\nContent-Length: 1000\r\n\r\n' + b"x" * 10)

    thread = threading.Thread(target=take)
    thread.start()
    yield listener.getsockname()[1]
    stop.set()
    thread.join()
    for one in (*held, listener):
        one.close()


def given_up(work: Callable[[], Any]) -> list[Any]:
    """What a read raises whose client goes once it has begun, which is to be soon, and why it was broken off."""
    ended = list[Any]()
    began = threading.Event()

    def application(head: app.Head, connection: app.Connection) -> app.Answer:
        try:
            began.set()
            ended.append(work())
        except app.AppError as error:
            ended.append((error, working.reason()))
        return app.Answer(200, [], b"")

    with running(application) as server:
        with server.connect() as client:
            client.sendall(get("/"))
            assert began.wait(5)
            time.sleep(working.SOON_S)
        wait_for(lambda: ended, "the end of the read", MOST_S)
    return ended


def reads_whole(blobs: Any, path: str) -> Callable[[], bytes]:
    def work() -> bytes:
        with contextlib.closing(blobs.read(path)) as reader:
            return b"".join(reader)

    return work


@pytest.mark.parametrize("path", ["whole", "half"])
def test_a_slow_service_is_waited_for_as_long_as_the_client_waits(silent: int, path: str) -> None:
    generic = app.plugin("generic").GenericProvider(
        "web", {"url": f"http://127.0.0.1:{silent}", "blobs": "/{path}", "read_timeout": 20}, Path()
    )
    generic.open()
    [(error, reason)] = given_up(reads_whole(generic, path))
    assert isinstance(reason, working.ClientGone), error
    generic.close()


@pytest.mark.parametrize("path", ["whole", "half"])
def test_a_slow_store_is_waited_for_as_long_as_the_client_waits(silent: int, path: str, tmp_path: Path) -> None:
    store = aws_server.build(tmp_path, endpoint=f"http://127.0.0.1:{silent}", timeout=20)
    [(error, reason)] = given_up(reads_whole(store, path))
    assert isinstance(reason, working.ClientGone), error
    store.close()


def test_a_statement_of_postgresql_is_cancelled_when_its_client_has_gone(tmp_path: Path) -> None:
    provider: Any = open_postgres(tmp_path)
    waits = "select 'given up' as x, pg_sleep(20) as y"

    def work() -> None:
        with contextlib.closing(provider.select(app.Select(waits))) as rows:
            list(rows.rows)

    [(error, reason)] = given_up(work)
    assert isinstance(reason, working.ClientGone), error
    others = "state = 'active' and query like '%given up%' and pid <> pg_backend_pid()"
    going_on = f"select count(*) from pg_stat_activity where {others}"
    wait_for(lambda: server().sql(going_on, "satchel") == "0", "the server to give up")
    with contextlib.closing(provider.select(app.Select("select 7 as x"))) as rows:
        assert list(rows.rows) == [(7,)]
    provider.close()


def test_a_row_of_postgresql_that_is_too_large_is_refused_before_it_is_read(tmp_path: Path) -> None:
    provider: Any = open_postgres(tmp_path)
    with pytest.raises(app.TooLarge, match="33,554,432"):
        provider.select(app.Select("select repeat('x', 40000000) as x"))
    with contextlib.closing(provider.select(app.Select("select length(repeat('x', 40000000)) as x"))) as rows:
        assert list(rows.rows) == [(40000000,)]
    provider.close()
