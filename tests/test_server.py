"""RUNNERS: the HTTP server, in this process with applications of the tests' own, and its workers as a real program."""

from __future__ import annotations

import contextlib
import copy
import os
import re
import signal
import socket
import ssl
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import backends
import pytest
from http_client import Server, answers_at_once, hold, read_all, serving, status_of

import app

LIMITS = app.DEFAULT_LIMITS._replace(head_s=0.4, idle_s=2.0, silence_s=1.0, linger_s=0.5)
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
LAST = b"GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


class Running:
    """An HttpServer in a thread of this process."""

    def __init__(self, application: Callable[..., Any], folder: Path | None = None, **options: Any) -> None:
        options = {"limits": LIMITS, "threads": 3} | options
        if folder:
            self.listener = socket.create_server(str(folder / "s"), family=socket.AF_UNIX)
        else:
            self.listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.address = self.listener.getsockname()
        self.server = app.HttpServer([self.listener], application, **options)
        self.thread = threading.Thread(target=self.server.run, daemon=True)
        self.thread.start()
        self.tls: ssl.SSLContext | None = None

    def connect(self, timeout_s: float = 5) -> socket.socket:
        found: socket.socket = socket.socket(self.listener.family)
        found.settimeout(timeout_s)
        try:
            found.connect(self.address)
        except OSError:
            found.close()
            raise
        return self.tls.wrap_socket(found, server_hostname="localhost") if self.tls else found

    def raw(self, data: bytes) -> bytes:
        with self.connect() as connection:
            with contextlib.suppress(ConnectionError):
                connection.sendall(data)
            return read_all(connection)

    def end(self) -> None:
        self.server.stop(0)
        self.thread.join(5)
        assert not self.thread.is_alive()


@contextlib.contextmanager
def running(application: Callable[..., Any], **options: Any) -> Iterator[Running]:
    found = Running(application, **options)
    try:
        yield found
    finally:
        found.end()


def echo(head: app.Head, connection: app.Connection) -> app.Answer:
    """Method, target and body; /refused reads nothing of the body."""
    body = b"" if head.target == "/refused" else b"".join(app.BodyReader(head.fields, connection.body))
    status = {"/refused": 403, "/none": 204, "/same": 304}.get(head.target, 200)
    return app.Answer(
        status, [("X-Method", head.method)], b"" if status in (204, 304) else head.target.encode() + b" " + body
    )


@pytest.fixture(scope="module", params=["tcp", "unix", "tls"])
def plain(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The echo over each kind of socket."""
    options: dict[str, Any] = {}
    folder = Path(tempfile.mkdtemp()) if request.param == "unix" else None
    if request.param == "tls":
        place = tmp_path_factory.mktemp("tls")
        names = ["-keyout", str(place / "key"), "-out", str(place / "cert"), "-subj", "/CN=localhost", "-days", "2"]
        kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
        subprocess.run(
            [backends.program("openssl"), "req", "-x509", "-nodes", *kind, *names], check=True, capture_output=True
        )
        options["tls"] = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        options["tls"].load_cert_chain(place / "cert", place / "key")
    found = Running(echo, folder, **options)
    if request.param == "tls":
        found.tls = ssl.create_default_context(cafile=str(place / "cert"))
    yield found
    found.end()
    if folder:
        (folder / "s").unlink()
        folder.rmdir()


def statuses(answer: bytes) -> list[int]:
    """Of all answers on a connection, whose bodies hold no status line."""
    return [int(code) for code in re.findall(rb"HTTP/1\.1 ([0-9]{3}) ", answer)]


def post(target: bytes, *lines: bytes, body: bytes = b"") -> bytes:
    return b"\r\n".join([b"POST " + target + b" HTTP/1.1", b"Host: a", *lines, b"", body])


# ---- heads


def head(*lines: bytes) -> bytes:
    return b"\r\n".join([*lines, b"", b""])


def test_a_head_is_read_into_its_parts() -> None:
    data = head(
        b"PATCH /a%20b?c=d HTTP/1.1",
        b"HOST: a:80",
        b"x-empty:",
        b"X-Two:\t 1 \t",
        b"Cookie: a=b",
        b"x-two: \xe9",
        b"cookie: c",
    )
    found = app.parse_head(data)
    assert (found.method, found.target, found.version) == ("PATCH", "/a%20b?c=d", "1.1")
    assert found.fields == {"host": "a:80", "x-empty": "", "x-two": "1, \xe9", "cookie": "a=b; c"}
    assert (found.body_bytes, found.keeps) == (0, True)


@pytest.mark.parametrize(
    "data",
    [
        head(b"GET http://a.example:80/x HTTP/1.1", b"Host: other"), head(b"GET HTTP://a HTTP/1.1", b"Host: a"),
        head(b"OPTIONS * HTTP/1.1", b"Host: a"), head(b"GET / HTTP/1.0"), head(b"GET / HTTP/1.2", b"Host: a"),
        head(b"GET / HTTP/1.1", b"Host:"), head(b"GET / HTTP/1.1", b"Host: [::1]:8080"),
        head(b"x!# /{|} HTTP/1.1", b"Host: a"),
        head(b"GET / HTTP/1.1", b"Host: a", b"A: " + b"x" * 8000, b"B: " + b"x" * 8000, b"C: " + b"x" * 8000),
        head(b"GET / HTTP/1.1", b"Host: a", *[b"X: y"] * 99), head(b"POST / HTTP/1.1", b"Host: a", b"Content-Length: 007"),
        head(b"POST / HTTP/1.1", b"Host: a", b"Transfer-Encoding: Chunked"),
    ],
)  # fmt: skip
def test_a_good_head_is_read(data: bytes) -> None:
    app.parse_head(data)


@pytest.mark.parametrize(
    ("status", "data"),
    [
        (400, head(b"GET / HTTP/1.1")), (400, head(b"GET / HTTP/1.1", b"Host: a", b"host: a")),
        (400, head(b"GET / HTTP/1.1", b"Host: a b")), (400, head(b"GET / HTTP/1.1", b"Host: a/b")),
        (400, head(b"GET / HTTP/1.1", b"Host: a@b")), (400, head(b"GET  / HTTP/1.1", b"Host: a")),
        (400, head(b"GET / HTTP/1.1 ", b"Host: a")), (400, head(b" GET / HTTP/1.1", b"Host: a")),
        (400, head(b"GET / http/1.1", b"Host: a")), (400, head(b"GET / HTTP/1.10", b"Host: a")),
        (400, head(b"GET /", b"Host: a")), (400, head(b"GET a HTTP/1.1", b"Host: a")),
        (400, head(b"GET * HTTP/1.1", b"Host: a")), (400, head(b"GET /a#b HTTP/1.1", b"Host: a")),
        (400, head(b"GET /\xc3\xa9 HTTP/1.1", b"Host: a")), (400, head(b"GET ftp://a/ HTTP/1.1", b"Host: a")),
        (400, head(b"GET http:///x HTTP/1.1", b"Host: a")), (400, head(b"G(T / HTTP/1.1", b"Host: a")),
        (501, head(b"CONNECT a:80 HTTP/1.1", b"Host: a")), (505, head(b"PRI * HTTP/2.0")),
        (505, head(b"GET / HTTP/0.9", b"Host: a")), (400, head(b"GET / HTTP/1.1", b"Host: a", b"A : b")),
        (400, head(b"GET / HTTP/1.1", b"Host: a", b" folded")),
        (400, head(b"GET / HTTP/1.1", b"Host: a", b"A: b", b"\tfolded")),
        (400, head(b"GET / HTTP/1.1", b"Host: a", b"A")), (400, head(b"GET / HTTP/1.1", b"Host: a", b": b")),
        (400, head(b"GET / HTTP/1.1", b"Host: a", b"A: \0")), (400, head(b"GET / HTTP/1.1", b"Host: a", b"A: b\rC: d")),
        (400, head(b"GET / HTTP/1.1", b"Host: a", b"A: b\nC: d")), (400, head(b"GET / HTTP/1.1\nHost: a", b"")),
        (400, head(b"GET / HTTP/1.1", b"Host: a", b"A: \x7f")),
        (414, head(b"GET /" + b"x" * 8190 + b" HTTP/1.1", b"Host: a")),
        (431, head(b"GET / HTTP/1.1", b"Host: a", b"A: " + b"x" * 8190)),
        (431, head(b"GET / HTTP/1.1", b"Host: a", *[b"A: " + b"x" * 8000] * 5)),
        (431, head(b"GET / HTTP/1.1", b"Host: a", *[b"X: y"] * 100)),
        *((400, head(b"POST / HTTP/1.1", b"Host: a", b"Content-Length: " + text)) for text in (
            b"", b"-1", b"+1", b"1 2", b"1,1", b"0x1", b"1.0", b"\xb2", b"1" * 19,
        )),
        (400, head(b"POST / HTTP/1.1", b"Host: a", b"Content-Length: 1", b"Content-Length: 1")),
        (400, head(b"POST / HTTP/1.1", b"Host: a", b"Content-Length: 1", b"Transfer-Encoding: chunked")),
        (400, head(b"POST / HTTP/1.0", b"Host: a", b"Transfer-Encoding: chunked")),
        (501, head(b"POST / HTTP/1.1", b"Host: a", b"Transfer-Encoding: gzip, chunked")),
        *((400, head(b"POST / HTTP/1.1", b"Host: a", b"Transfer-Encoding: " + text)) for text in (
            b"", b"gzip", b"xchunked", b"chunked, gzip", b"chunked, chunked", b"identity", b"chunked;x=y",
        )),
    ],
)  # fmt: skip
def test_a_bad_head_is_refused(status: int, data: bytes) -> None:
    with pytest.raises(app.AppError) as caught:
        app.parse_head(data)
    assert caught.value.status == status


@pytest.mark.parametrize(
    ("keeps", "version", "line"),
    [
        *((True, "1.1", ""), (False, "1.1", "close"), (False, "1.1", "x, Close"), (True, "1.1", "closed")),
        *((False, "1.0", ""), (True, "1.0", "Keep-Alive"), (False, "1.0", "keep-alive, close")),
    ],
)
def test_who_wants_to_keep_a_connection(keeps: bool, version: str, line: str) -> None:
    assert app.Head("GET", "/", version, {"connection": line}).keeps is keeps


# ---- requests


def test_requests_are_answered_one_after_the_other(plain: Running) -> None:
    chunked = b"3;a=b\r\nabc\r\n00002; c\r\nde\r\n0\r\nTrailer: dropped\r\n\r\n"
    data = (
        post(b"/a", b"Content-Length: 2", body=b"xy")
        + b"\r\n\r\n"
        + post(b"/b", b"Transfer-Encoding: chunked", body=chunked)
    )
    answer = plain.raw(data + GET + LAST)
    assert statuses(answer) == [200] * 4
    assert [part.rpartition(b"\r\n\r\n")[2] for part in answer.split(b"HTTP/1.1 ")[1:]] == [
        b"/a xy",
        b"/b abcde",
        b"/ ",
        b"/last ",
    ]


def test_a_request_in_single_bytes_is_the_same(plain: Running) -> None:
    chunked = b"3\r\nabc\r\n0\r\n\r\n"
    with plain.connect() as connection:
        for byte in post(b"/", b"Connection: close", b"Transfer-Encoding: chunked", body=chunked):
            connection.sendall(bytes([byte]))
            time.sleep(0.0005)
        assert read_all(connection).endswith(b"\r\n\r\n/ abc")


@pytest.mark.parametrize(
    "chunked",
    [
        *(
            b"x\r\n",
            b"-1\r\n",
            b"+1\r\na",
            b"0x1\r\na",
            b"1\na\r\n0\r\n\r\n",
            b"1\r\nab\r\n0\r\n\r\n",
            b" 1\r\na\r\n0\r\n\r\n",
        ),
        *(b"\r\n", b"1" * 16 + b"\r\n", b"1;\0\r\na\r\n0\r\n\r\n", b"1;" + b"x" * 20_000 + b"\r\n", b"1\r\na\n\n0\r\n\r\n"),
        *(
            b"0\r\nA : b\r\n\r\n",
            b"0\r\n" + b"A: b\r\n" * 200 + b"\r\n",
            b"1\r\na\r\n0\r\n b\r\n\r\n",
            b"1,1\r\na\r\n0\r\n\r\n",
        ),
    ],
)
def test_a_bad_chunk_ends_the_connection(plain: Running, chunked: bytes) -> None:
    answer = plain.raw(post(b"/", b"Transfer-Encoding: chunked", body=chunked) + LAST)
    assert statuses(answer) == [400]
    assert b"Connection: close" in answer


@pytest.mark.parametrize(
    "data", [b"GET / HTTP/1.1\nHost: a\n\n", b"\x16\x03\x01", b"\0", b"GET / HTTP/1.1\r\nHost: a\r\n\0"]
)
def test_what_can_be_no_head_is_refused_at_once(plain: Running, data: bytes) -> None:
    with plain.connect() as connection:
        connection.settimeout(0.3)
        connection.sendall(data)
        assert status_of(connection.recv(4096)) == 400


def test_a_little_of_a_body_that_was_refused_is_skipped(plain: Running) -> None:
    answer = plain.raw(post(b"/refused", b"Content-Length: 60000", body=LAST.ljust(60_000)) + GET + LAST)
    assert statuses(answer) == [403, 200, 200]


@pytest.mark.parametrize(
    "data",
    [
        post(b"/refused", b"Content-Length: 900000", body=LAST.ljust(900_000)),
        post(b"/refused", b"Transfer-Encoding: chunked", body=b"1\r\na\r\n0\r\n\r\n" + LAST),
        post(b"/refused", b"Expect: 100-continue", b"Content-Length: 9"),
    ],
    ids=["large", "chunked", "not sent"],
)
def test_much_of_a_body_that_was_refused_ends_the_connection(plain: Running, data: bytes) -> None:
    answer = plain.raw(data)
    assert statuses(answer) == [403]
    assert b"Connection: close" in answer


def test_100_continue_is_said_when_the_body_is_wanted_and_no_other_expectation_is_met(plain: Running) -> None:
    with plain.connect() as connection:
        connection.sendall(post(b"/", b"Expect: 100-Continue", b"Content-Length: 2"))
        assert connection.recv(4096) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"xy" + LAST)
        assert statuses(read_all(connection)) == [200, 200]
    assert statuses(plain.raw(post(b"/", b"Expect: 100-continue", b"Content-Length: 2", body=b"xy") + LAST)) == [200, 200]
    assert statuses(plain.raw(post(b"/", b"Expect: more", b"Content-Length: 2", body=b"xy"))) == [417]


def test_answers_without_a_body_have_none(plain: Running) -> None:
    asked = [GET.replace(b"GET /", b"HEAD /x"), GET.replace(b" / ", b" /none "), GET.replace(b" / ", b" /same ")]
    answer = plain.raw(b"".join(asked) + LAST)
    assert statuses(answer) == [200, 204, 304, 200]
    first, second, third, _ = answer.split(b"HTTP/1.1 ")[1:]
    assert first.endswith(b"\r\n\r\n")
    assert b"Content-Length: 3\r\n" in first
    assert b"Content-Length" not in second + third


def test_http_1_0_is_kept_only_if_it_asks(plain: Running) -> None:
    assert statuses(plain.raw(b"GET / HTTP/1.0\r\n\r\n" + LAST)) == [200]
    answer = plain.raw(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" + LAST)
    assert statuses(answer) == [200, 200]
    assert b"Connection: keep-alive" in answer


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server of answers of other kinds."""
    large = tmp_path_factory.mktemp("odd") / "large"
    large.write_bytes(b"x" * 3_000_000)

    class File:
        def __init__(self, start: int, length: int) -> None:
            self.file, self.start, self.length = large.open("rb"), start, length
            self.fileno, self.close = self.file.fileno, self.file.close

    def stream() -> Iterator[bytes]:
        yield b"ab"
        yield b""
        yield b"c"

    def failing() -> Iterator[bytes]:
        yield b"ab"
        raise app.Unavailable("away")

    def answer(head: app.Head, connection: app.Connection) -> app.Answer:
        name, _, rest = head.target[1:].partition("/")
        if name == "file":
            start, length = map(int, rest.split("/"))
            return app.Answer(200, [("Content-Length", str(length))], File(start, length))
        if name == "header":
            return app.Answer(200, [("X", "a\r\nb: c")], b"")
        if name == "bug":
            raise KeyError(name)
        sized = [("Content-Length", "5")] if name == "short" else []
        return app.Answer(200, sized, b"" if name == "last" else failing() if name in ("failing", "short") else stream())

    with running(answer) as found:
        yield found


def test_a_body_of_unknown_length_is_chunked_or_ends_with_the_connection(odd: Running) -> None:
    answer = odd.raw(GET + LAST)
    assert b"Transfer-Encoding: chunked\r\n" in answer
    assert b"\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\nHTTP/1.1 200" in answer
    answer = odd.raw(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" + LAST)
    assert (statuses(answer), answer.endswith(b"\r\n\r\nabc")) == ([200], True)
    assert b"chunked" not in answer
    assert odd.raw(GET.replace(b"GET", b"HEAD") + LAST).count(b"\r\n\r\n") == 2


def test_a_body_that_fails_never_ends_well(odd: Running) -> None:
    assert odd.raw(GET.replace(b" / ", b" /failing ")).endswith(b"\r\n\r\n2\r\nab\r\n")
    assert odd.raw(GET.replace(b" / ", b" /short ")).endswith(b"\r\n\r\nab")
    with odd.connect() as connection:
        connection.sendall(b"GET /failing HTTP/1.0\r\n\r\n")
        time.sleep(0.2)
        assert connection.recv(4096).endswith(b"ab")
        with pytest.raises(ConnectionResetError):
            connection.recv(4096)


def test_a_stretch_of_a_file_is_sent(odd: Running) -> None:
    for start, length in ((0, 3_000_000), (5, 2_000_000), (7, 9)):
        answer = odd.raw(GET.replace(b" / ", f" /file/{start}/{length} ".encode()) + LAST)
        assert answer.count(b"x") == length
        assert statuses(answer) == [200, 200]
    answer = odd.raw(GET.replace(b" / ", b" /file/2000000/2000000 ") + LAST)
    assert (answer.count(b"x"), statuses(answer)) == (1_000_000, [200])


@pytest.mark.parametrize("name", [b"bug", b"header"])
def test_a_fault_of_the_application_is_its_own(odd: Running, name: bytes) -> None:
    assert statuses(odd.raw(GET.replace(b" / ", b" /" + name + b" ") + LAST)) == [500]
    assert statuses(odd.raw(LAST)) == [200]


# ---- clients that are slow, or many


def quick(server: Running) -> bool:
    began = time.monotonic()
    return statuses(server.raw(LAST)) == [200] and time.monotonic() - began < 1


def test_a_head_that_does_not_come_in_time_is_answered_and_one_that_does_not_begin_is_not() -> None:
    with running(echo) as server, server.connect() as silent, server.connect() as half:
        half.sendall(GET[:-2])
        assert statuses(read_all(half)) == [408]
        assert read_all(silent) == b""


def test_slow_readers_and_writers_hold_nobody_up() -> None:
    large = b"x" * 8_000_000

    def answer(head: app.Head, connection: app.Connection) -> app.Answer:
        if head.method == "POST":
            b"".join(app.BodyReader(head.fields, connection.body))
        pieces = (large[:200_000] for _ in range(40))
        return app.Answer(200, [], {"/last": b"", "/": large}.get(head.target, pieces))

    limits = app.DEFAULT_LIMITS._replace(waiting_threads=60)
    with running(answer, limits=limits) as server, contextlib.ExitStack() as held:
        for data in (GET, GET.replace(b" / ", b" /pieces "), post(b"/", b"Content-Length: 1000", body=b"x")):
            for _ in range(25):
                connection = held.enter_context(server.connect())
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                connection.sendall(data)
        time.sleep(1)  # for what their buffers take
        assert all(quick(server) for _ in range(3))
        with server.connect() as one, server.connect() as other:  # more than may wait are told so
            for connection in (one, other, *(held.enter_context(server.connect()) for _ in range(20))):
                connection.sendall(post(b"/", b"Content-Length: 1000", body=b"x"))
            assert any(quick(server) for _ in range(2))


def test_a_reader_that_takes_nothing_is_ended() -> None:
    with running(lambda head, connection: app.Answer(200, [], b"x" * 20_000_000)) as server, server.connect() as connection:
        connection.sendall(GET)
        time.sleep(1.5)
        assert len(read_all(connection)) < 20_000_000


def test_more_waiting_clients_than_threads_for_them_are_refused() -> None:
    limits = LIMITS._replace(waiting_threads=2, silence_s=5.0)
    with running(echo, limits=limits) as server, contextlib.ExitStack() as held:
        found = [held.enter_context(server.connect()) for _ in range(6)]
        for connection in found:
            connection.sendall(post(b"/", b"Content-Length: 9", body=b"x"))
            time.sleep(0.05)
        assert [status_of(connection.recv(4096)) for connection in found[2:]] == [503] * 4
        for connection in found[:2]:
            connection.sendall(b"x" * 8)
            assert status_of(connection.recv(4096)) == 200
        assert quick(server)


@pytest.mark.parametrize("limits", [LIMITS._replace(connections=3, head_s=5), LIMITS._replace(per_address=3, head_s=5)])
def test_connections_are_capped(limits: app.Limits) -> None:
    with running(echo, limits=limits) as server, contextlib.ExitStack() as held:
        found = [held.enter_context(server.connect()) for _ in range(3)]
        time.sleep(0.1)
        assert statuses(server.raw(b"")) == [503]
        found[0].close()
        time.sleep(0.1)
        assert statuses(server.raw(LAST)) == [200]
    limits = LIMITS._replace(per_address=3)
    with running(echo, limits=limits, is_many=lambda peer: True) as server, contextlib.ExitStack() as held:
        for _ in range(5):
            held.enter_context(server.connect())
        assert statuses(server.raw(LAST)) == [200]


def test_workers_share_connections_evenly() -> None:
    seats = app.Seats(2)
    other = copy.copy(seats)
    other.own = 1
    counts = [0, 0]

    def counting(number: int) -> Callable[..., Any]:
        def answer(head: app.Head, connection: app.Connection) -> app.Answer:
            counts[number] += 1
            return app.Answer(200, [], b"")

        return answer

    with running(counting(0), seats=seats) as first:
        second = app.HttpServer([first.listener.dup()], counting(1), seats=other, limits=LIMITS)
        thread = threading.Thread(target=second.run)
        thread.start()
        time.sleep(0.2)
        with contextlib.ExitStack() as held:
            found = [held.enter_context(first.connect()) for _ in range(16)]
            for connection in found:
                connection.sendall(GET)
            assert all(status_of(connection.recv(4096)) == 200 for connection in found)
        second.stop(0)
        thread.join()
    assert min(counts) >= 5, counts


# ---- the end


def test_what_is_under_way_is_finished_and_nothing_new_is_taken() -> None:
    server = Running(echo)
    with server.connect() as busy, server.connect() as idle:
        idle.sendall(GET)
        assert status_of(idle.recv(4096)) == 200
        busy.sendall(post(b"/", b"Content-Length: 2", body=b"x"))
        time.sleep(0.1)
        server.server.stop(5)
        time.sleep(0.2)
        with pytest.raises(ConnectionRefusedError):
            server.connect()
        busy.sendall(b"y")
        answer = read_all(busy)
        assert statuses(answer) == [200]
        assert b"Connection: close" in answer
        assert read_all(idle) == b""
    server.thread.join(3)
    assert not server.thread.is_alive()


def test_a_patient_end_answers_kept_connections_once_more() -> None:
    server = Running(echo)
    with server.connect() as idle:
        idle.sendall(GET)
        assert status_of(idle.recv(4096)) == 200
        server.server.stop(5, patient=True)
        time.sleep(1.3)
        idle.sendall(GET)
        answer = read_all(idle)
        assert statuses(answer) == [200]
        assert b"Connection: close" in answer
    server.end()


def workers_of(server: Server) -> set[int]:
    pid = server.process.pid
    return set(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc")
@pytest.mark.parametrize("kept", [False, True])
def test_sighup_replaces_the_workers_and_no_request_is_lost(tmp_path: Path, kept: bool) -> None:
    with serving(tmp_path, "--workers", "2") as server:
        before, is_over = workers_of(server), threading.Event()

        def ask_on_and_on() -> int:
            count = 0
            while not is_over.is_set():
                with server.connect() as connection:
                    for _ in range(50 if kept else 1):
                        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
                        answer = connection.recv(4096)
                        assert status_of(answer) == 200
                        count += 1
                        if b"Connection: close" in answer:
                            break
            return count

        with ThreadPoolExecutor(6) as pool:
            asking = [pool.submit(ask_on_and_on) for _ in range(6)]
            for _ in range(2):
                time.sleep(0.5)
                server.process.send_signal(signal.SIGHUP)
                until = time.monotonic() + 20
                while (before & workers_of(server) or len(workers_of(server)) != 2) and time.monotonic() < until:
                    time.sleep(0.05)
                assert not before & workers_of(server)
                before = workers_of(server)
            is_over.set()
            assert all(one.result() > 10 for one in asking)
        assert server.stop() == 0


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc")
def test_a_worker_that_dies_is_replaced_and_what_waits_to_be_taken_is_not_lost(tmp_path: Path) -> None:
    with serving(tmp_path, "--workers", "1") as server:
        (worker,) = workers_of(server)
        os.kill(worker, signal.SIGKILL)
        assert server.ask("GET", "/healthz").status == 200
        assert worker not in workers_of(server)


def test_slow_clients_of_each_kind_leave_a_real_site_alone(tmp_path: Path) -> None:
    with serving(tmp_path, "--workers", "1") as server:
        upload = head(
            b"PUT /files/shared/x HTTP/1.1", b"Host: localhost", b"Authorization: Bearer " + server.token().encode()
        )
        upload = upload[:-2] + b"Content-Length: 100000\r\n\r\nx"
        with hold(server, 150, upload), hold(server, 100, b"GET / HT"), hold(server, 100, b""):
            assert all(answers_at_once(server) for _ in range(3))
