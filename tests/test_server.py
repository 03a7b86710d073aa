"""RUNNERS: the HTTP server, in this process with applications of the tests' own, and its workers as a real program."""

from __future__ import annotations

import builtins
import contextlib
import copy
import os
import select
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import backends
import pytest
from conftest import wait_for
from http_client import ROOT, Server, answers_at_once, hold, read_all, serving, status_of, wait_for_address
from inner_server import LAST, LIMITS, TRANSPORTS, Running, contexts, head, over, post, running, statuses

import app

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
PATIENT = LIMITS._replace(head_s=10.0, idle_s=10.0, silence_s=10.0, linger_s=10.0)


def echo(head: app.Head, connection: app.Connection) -> app.Answer:
    """Target and body."""
    return app.Answer(200, [], head.target.encode() + b" " + b"".join(app.BodyReader(head.fields, connection.body)))


# ---- heads


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
    "data", [b"GET / HTTP/1.1\nHost: a\n\n", b"\x16\x03\x01", b"\0", b"GET / HTTP/1.1\r\nHost: a\r\n\0"]
)
def test_what_can_be_no_head_is_refused_at_once(data: bytes) -> None:
    with running(echo, limits=LIMITS._replace(head_s=30)) as server, server.connect() as connection:
        connection.sendall(data)
        assert status_of(connection.recv(4096)) == 400


# ---- answers


@pytest.fixture(scope="module")
def odd_answers(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., app.Answer]:
    """Answers of other kinds."""
    large = tmp_path_factory.mktemp("odd") / "large"
    large.write_bytes(b"x" * 30_000_000)

    class File:
        def __init__(self, start: int, length: int) -> None:
            self.file, self.start, self.length = large.open("rb"), start, length
            self.fileno, self.close = self.file.fileno, self.file.close

    def closing(close: Callable[[], None]) -> Callable[[], None]:
        def fail() -> None:
            close()
            raise SystemExit("at the end")

        return fail

    def stream() -> Iterator[bytes]:
        yield b"ab"
        yield b""
        yield b"c"

    def failing() -> Iterator[bytes]:
        yield b"ab"
        raise app.Unavailable("away")

    class Odd:
        """A body that raises what it is told to: in its middle, or when it is closed."""

        def __init__(self, place: str, error: type[BaseException]) -> None:
            self.place, self.error = place, error

        def __iter__(self) -> Iterator[bytes]:
            yield b"hello"
            if self.place == "middle":
                raise self.error("in the middle")

        def close(self) -> None:
            if self.place == "close":
                raise self.error("at the end")

    def answer(head: app.Head, connection: app.Connection) -> app.Answer:
        name, _, rest = head.target[1:].partition("/")
        if name == "odd":
            place, error, announced = rest.split("/")
            sized = [("Content-Length", announced)] if announced else []
            return app.Answer(200, sized, Odd(place, getattr(builtins, error)))
        if name == "unclosable":
            file = File(0, 5)
            file.close = closing(file.close)
            return app.Answer(200, [("Content-Length", "5")], file)
        if name == "file":
            start, length = map(int, rest.split("/"))
            return app.Answer(200, [("Content-Length", str(length))], File(start, length))
        if name == "header":
            return app.Answer(200, [("X", "a\r\nb: c")], b"")
        if name in ("bug", "exit"):
            raise {"bug": KeyError, "exit": SystemExit}[name](name)
        if name == "plain":
            return app.Answer(200, [], iter([b"ab"]))
        sized = [("Content-Length", rest or "5")] if name in ("short", "sized") else []
        return app.Answer(200, sized, b"" if name == "last" else failing() if name in ("failing", "short") else stream())

    return answer


@pytest.fixture(scope="module", params=TRANSPORTS)
def odd(request: pytest.FixtureRequest, odd_answers: Callable[..., app.Answer]) -> Iterator[Running]:
    with running(odd_answers, **over(request.param)) as found:
        yield found


@pytest.fixture(params=TRANSPORTS)
def transport(request: pytest.FixtureRequest) -> dict[str, Any]:
    """What running() takes for each of them."""
    return over(request.param)


ERRORS = ["ValueError", "SystemExit", "KeyboardInterrupt", "GeneratorExit"]


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("length", ["5", "10", ""])
def test_no_second_head_follows_an_answer_that_fails(odd: Running, error: str, length: str) -> None:
    answer = odd.raw(GET.replace(b" / ", f" /odd/middle/{error}/{length} ".encode()) + LAST)
    assert statuses(answer) == [200]
    assert answer.endswith(b"\r\n\r\nhello" if length else b"\r\n\r\n5\r\nhello\r\n")


@pytest.mark.parametrize("error", ERRORS)
def test_an_answer_whose_close_fails_is_whole(odd: Running, error: str) -> None:
    for length in ("5", ""):
        asked = GET.replace(b" / ", f" /odd/close/{error}/{length} ".encode())
        answer = odd.raw(asked + asked.replace(b"GET", b"HEAD") + LAST)
        assert statuses(answer) == [200, 200, 200]
        assert answer.count(b"hello") == 1
    assert statuses(odd.raw(GET.replace(b" / ", f" /odd/close/{error}/10 ".encode()) + LAST)) == [200]
    assert statuses(odd.raw(GET.replace(b" / ", b" /unclosable ") + LAST)) == [200, 200]


def test_a_fault_at_head_has_no_body(odd: Running) -> None:
    for name in (b"bug", b"exit"):
        answer = odd.raw(GET.replace(b" / ", b" /" + name + b" ").replace(b"GET", b"HEAD"))
        assert statuses(answer) == [500]
        assert answer.endswith(b"\r\n\r\n")


def test_a_body_that_fails_never_ends_well(odd: Running) -> None:
    assert odd.raw(GET.replace(b" / ", b" /failing ")).endswith(b"\r\n\r\n2\r\nab\r\n")
    assert odd.raw(GET.replace(b" / ", b" /short ")).endswith(b"\r\n\r\nab")
    with odd.connect() as connection:
        connection.sendall(b"GET /failing HTTP/1.0\r\n\r\n")
        time.sleep(0.2)
        assert connection.recv(4096).endswith(b"ab")
        if odd.listener.family == socket.AF_UNIX:  # which knows no reset
            assert connection.recv(4096) == b""
            return
        if isinstance(connection, ssl.SSLSocket):
            connection.suppress_ragged_eofs = False  # type: ignore[attr-defined]  # an argument of wrap_socket()
        with pytest.raises((ConnectionResetError, ssl.SSLEOFError)):
            connection.recv(4096)


@pytest.mark.parametrize(("length", "sent"), [(3, b"abc"), (4, b"abc"), (2, b"ab")])
def test_a_body_of_another_length_than_its_head_says_is_the_last_thing_sent(odd: Running, length: int, sent: bytes) -> None:
    answer = odd.raw(GET.replace(b" / ", b" /sized/%d " % length) + LAST)
    assert statuses(answer) == [200] + [200] * (length == 3)
    assert answer.split(b"\r\n\r\n")[1].removesuffix(b"HTTP/1.1 200 OK").startswith(sent)
    assert length == 3 or answer.endswith(b"\r\n\r\n" + sent)


def test_head_of_any_iterator_is_answered(odd: Running) -> None:
    assert statuses(odd.raw(GET.replace(b"GET / ", b"HEAD /plain ") + LAST)) == [200, 200]


def test_a_stretch_of_a_file_is_sent(odd: Running) -> None:
    for start, length in ((0, 3_000_000), (5, 2_000_000), (7, 9)):
        answer = odd.raw(GET.replace(b" / ", f" /file/{start}/{length} ".encode()) + LAST)
        assert answer.count(b"x") == length
        assert statuses(answer) == [200, 200]
    answer = odd.raw(GET.replace(b" / ", b" /file/29000000/2000000 ") + LAST)
    assert (answer.count(b"x"), statuses(answer)) == (1_000_000, [200])


def test_a_file_goes_on_once_the_client_has_taken_a_good_part_and_not_in_crumbs(
    odd_answers: Callable[..., app.Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    ready: list[bool] = []
    sendfile = os.sendfile

    def watched(out: int, *args: int) -> int:
        waiter = select.poll()
        waiter.register(out, select.POLLOUT)
        ready.append(bool(waiter.poll(0)))
        return sendfile(out, *args)

    monkeypatch.setattr(os, "sendfile", watched)
    with running(odd_answers) as server, server.connect() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 100_000)
        connection.sendall(GET.replace(b" / ", b" /file/0/30000000 ") + LAST)
        assert read_all(connection).count(b"x") == 30_000_000
    assert len(ready) > 1
    assert all(ready)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no MSG_MORE")
def test_the_head_of_a_file_does_not_leave_without_the_first_bytes_of_the_file(
    odd_answers: Callable[..., app.Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    sendfile = os.sendfile
    came: list[bool] = []

    def watched(out: int, *args: int) -> int:
        waiter = select.poll()
        waiter.register(connection, select.POLLIN)
        came.append(bool(waiter.poll(0)))
        return sendfile(out, *args)

    monkeypatch.setattr(os, "sendfile", watched)
    with running(odd_answers) as server, server.connect() as connection:
        connection.sendall(GET.replace(b" / ", b" /file/0/70000 ") + LAST)
        assert read_all(connection).count(b"x") == 70_000
    assert not came[0]


@pytest.mark.parametrize("name", [b"bug", b"exit", b"header"])
def test_a_fault_of_the_application_is_its_own(odd: Running, name: bytes) -> None:
    assert statuses(odd.raw(GET.replace(b" / ", b" /" + name + b" ") + LAST)) == [500]
    assert statuses(odd.raw(LAST)) == [200]


# ---- clients that are slow, or many


def quick(server: Running) -> bool:
    began = time.monotonic()
    return statuses(server.raw(LAST)) == [200] and time.monotonic() - began < 1


def test_a_head_that_does_not_come_in_time_is_answered_and_one_that_does_not_begin_is_not(
    transport: dict[str, Any],
) -> None:
    with running(echo, **transport) as server, server.connect() as silent, server.connect() as half:
        half.sendall(GET[:-2])
        assert statuses(read_all(half)) == [408]
        assert read_all(silent) == b""


def test_slow_readers_and_writers_hold_nobody_up(transport: dict[str, Any]) -> None:
    large = b"x" * 8_000_000

    def answer(head: app.Head, connection: app.Connection) -> app.Answer:
        if head.method == "POST":
            b"".join(app.BodyReader(head.fields, connection.body))
        pieces = (large[:200_000] for _ in range(40))
        return app.Answer(200, [], {"/last": b"", "/": large}.get(head.target, pieces))

    limits = app.DEFAULT_LIMITS._replace(waiting_threads=60)
    with running(answer, limits=limits, **transport) as server, contextlib.ExitStack() as held:
        for data in (GET, GET.replace(b" / ", b" /pieces "), post(b"Content-Length: 1000", body=b"x")):
            for _ in range(25):
                connection = held.enter_context(server.connect())
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                connection.sendall(data)
        time.sleep(1)  # for what their buffers take
        assert all(quick(server) for _ in range(3))
        with server.connect() as one, server.connect() as other:  # more than may wait are told so
            for connection in (one, other, *(held.enter_context(server.connect()) for _ in range(20))):
                connection.sendall(post(b"Content-Length: 1000", body=b"x"))
            assert any(quick(server) for _ in range(2))


def test_clients_that_never_shake_hands_hold_nobody_up_and_are_ended(tmp_path: Path) -> None:
    mine, theirs = contexts(tmp_path)
    limits = LIMITS._replace(head_s=3.0)
    with running(echo, client_tls=theirs, tls=mine, limits=limits) as server, contextlib.ExitStack() as held:
        silent = [held.enter_context(socket.create_connection(server.address, 10)) for _ in range(100)]
        for client in silent[::2]:
            client.sendall(b"\x16\x03\x01\x02")  # a little of a handshake
        assert all(quick(server) for _ in range(3))
        assert {read_all(client) for client in silent} == {b""}


def test_a_client_that_asks_without_waiting_holds_nobody_up() -> None:
    with running(echo, threads=1) as server, server.connect() as eager:

        def ask() -> None:
            with contextlib.suppress(OSError):
                while True:
                    eager.sendall(GET * 500)

        def take() -> None:
            with contextlib.suppress(OSError):
                while eager.recv(100_000):
                    pass

        threads = [threading.Thread(target=ask), threading.Thread(target=take)]
        for one in threads:
            one.start()
        try:
            time.sleep(0.2)
            assert all(quick(server) for _ in range(3))
        finally:
            eager.shutdown(socket.SHUT_RDWR)
            for one in threads:
                one.join(5)


def test_a_thread_that_cannot_be_started_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with running(echo, limits=LIMITS._replace(silence_s=5.0)) as server:
        assert quick(server)
        threads = server.server.threads
        wait_for(lambda: server.server._live == threads, "the start of all threads")
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", refuse)
            for _ in range(4):
                with server.connect() as slow:
                    slow.sendall(post(b"Content-Length: 9", body=b"x"))
                    assert status_of(slow.recv(4096)) == 503
        assert quick(server)
        assert server.server._live == threads


def test_the_slowest_client_is_answered_408_when_another_one_needs_its_thread(transport: dict[str, Any]) -> None:
    limits = LIMITS._replace(waiting_threads=2, silence_s=8.0)
    with running(echo, limits=limits, **transport) as server, contextlib.ExitStack() as held:
        upload = post(b"Content-Length: 900")
        slowest, slow = [held.enter_context(server.connect()) for _ in range(2)]
        for one in (slowest, slow):
            one.sendall(upload + b"x")

        def have_waited(seconds: float) -> bool:
            waiting = list(server.server._slow.values())
            return len(waiting) == 2 and all(time.monotonic() - since > seconds for since, _ in waiting)

        wait_for(lambda: have_waited(0.0), "two clients that are waited for")
        slow.sendall(b"x" * 800)
        wait_for(lambda: have_waited(1.05), "the end of their grace")
        third = held.enter_context(server.connect())
        third.sendall(post(b"Content-Length: 2", body=b"x"))
        assert status_of(slowest.recv(4096)) == 408
        third.sendall(b"y")
        slow.sendall(b"x" * 99)
        assert status_of(third.recv(4096)) == status_of(slow.recv(4096)) == 200


def test_a_reader_that_takes_nothing_is_ended(transport: dict[str, Any]) -> None:
    def answer(head: app.Head, connection: app.Connection) -> app.Answer:
        return app.Answer(200, [], b"x" * 20_000_000)

    with running(answer, **transport) as server, server.connect() as connection:
        connection.sendall(GET)
        assert connection.recv(1) == b"H"
        wait_for(lambda: not server.server._count, "the end of its connection")
        assert len(read_all(connection)) < 20_000_000


def test_more_waiting_clients_than_threads_for_them_are_refused(transport: dict[str, Any]) -> None:
    limits = LIMITS._replace(waiting_threads=2, silence_s=5.0)
    with running(echo, limits=limits, **transport) as server, contextlib.ExitStack() as held:
        found = [held.enter_context(server.connect()) for _ in range(6)]
        for connection in found:
            connection.sendall(post(b"Content-Length: 9", body=b"x"))
            time.sleep(0.05)
        assert [status_of(connection.recv(4096)) for connection in found[2:]] == [503] * 4
        for connection in found[:2]:
            connection.sendall(b"x" * 8)
            assert status_of(connection.recv(4096)) == 200
        assert quick(server)


@pytest.mark.parametrize("limits", [PATIENT._replace(connections=3), PATIENT._replace(per_address=3)])
def test_connections_are_capped(limits: app.Limits) -> None:
    with running(echo, limits=limits) as server, contextlib.ExitStack() as held:
        found = [held.enter_context(server.connect()) for _ in range(3)]
        for connection in found:  # what a thread waits for is no rest
            connection.sendall(post(b"Content-Length: 9", body=b"x"))
        wait_for(lambda: len(server.server._slow) == 3, "three uploads")
        assert statuses(server.raw(b"")) == [503]
        found[0].close()
        wait_for(lambda: server.server._count == 2, "the end of one")
        assert statuses(server.raw(LAST)) == [200]
    limits = LIMITS._replace(per_address=3)
    with running(echo, limits=limits, is_many=lambda peer: True) as server, contextlib.ExitStack() as held:
        for _ in range(5):
            held.enter_context(server.connect())
        assert statuses(server.raw(LAST)) == [200]


# What a connection does before it rests, and how one is known to have got there.
RESTS: dict[str, tuple[bytes, Callable[[app.Connection], object]]] = {
    "before its first byte": (b"", lambda one: one.is_new and one.is_idle),
    "in a head": (GET[:-2], lambda one: one.buffer),
    "between two requests": (GET, lambda one: one.is_idle and not one.is_new),
    "in an answer": (GET.replace(b" / ", b" /large "), lambda one: one.out),
    "at its end": (LAST, lambda one: one.request_id),
}


def resting(server: Running, held: contextlib.ExitStack, kind: str, **options: Any) -> socket.socket:
    """One more connection that rests so."""
    data, has_got_there = RESTS[kind]
    before = set(server.server.parked)
    found = held.enter_context(server.connect(**options))
    found.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    found.sendall(data)
    wait_for(lambda: any(has_got_there(one) for key, one in server.server.parked.copy().items() if key not in before), kind)
    return found


def large(head: app.Head, connection: app.Connection) -> app.Answer:
    connection.request_id = "asked"
    return app.Answer(200, [], b"x" * (20_000_000 if head.target == "/large" else 1))


@pytest.mark.parametrize("kind", RESTS)
def test_one_more_connection_takes_the_place_of_the_one_that_rests_for_longest(transport: dict[str, Any], kind: str) -> None:
    limits = PATIENT._replace(connections=3)
    with running(large, limits=limits, **transport) as server, contextlib.ExitStack() as held:
        resting(server, held, kind)
        (oldest,) = server.server.parked.values()
        other = resting(server, held, "between two requests")
        resting(server, held, kind)
        others = set(server.server.parked.values()) - {oldest}
        assert statuses(server.raw(LAST)) == [200]
        left = set(server.server.parked.values())
        assert oldest not in left
        assert others <= left
        other.sendall(LAST)
        assert statuses(read_all(other)) == [200, 200], "the others go on"


@pytest.mark.skipif(sys.platform != "linux", reason="needs a second loopback address")
def test_a_full_address_gives_up_its_own_connections(tmp_path: Path) -> None:
    with running(large, limits=PATIENT._replace(per_address=2)) as server, contextlib.ExitStack() as held:
        foreign = resting(server, held, "between two requests", source="127.0.0.2")
        first = resting(server, held, "between two requests")
        second = resting(server, held, "between two requests")
        assert statuses(server.raw(LAST)) == [200]
        assert read_all(first) != b""
        for other in (foreign, second):
            other.sendall(LAST)
            assert statuses(read_all(other)) == [200, 200]


def test_who_is_one_too_many_gets_an_answer_and_no_reset() -> None:
    has_begun, goes_on = threading.Event(), threading.Event()

    def answer(head: app.Head, connection: app.Connection) -> app.Answer:
        has_begun.set()
        goes_on.wait(5)
        return echo(head, connection)

    with running(answer, threads=1, limits=PATIENT._replace(connections=1)) as server, server.connect() as first:
        first.sendall(post(b"Content-Length: 1"))
        assert has_begun.wait(5)
        with server.connect() as second:
            second.sendall(GET)  # before it is taken
            goes_on.set()
            assert statuses(second.recv(4096)) == [503]
            assert second.recv(4096) == b""
        first.sendall(b"x")
        assert statuses(first.recv(4096)) == [200]


@pytest.mark.skipif(not Path("/proc/sys/net/core/somaxconn").exists(), reason="needs /proc")
def test_a_burst_at_a_unix_socket_is_not_refused(tmp_path: Path) -> None:
    most = int(Path("/proc/sys/net/core/somaxconn").read_text())
    with app.plugin("listeners").unix_listener(f"{backends.folder()}/s") as listener, contextlib.ExitStack() as held:
        for _ in range(min(most, 1500)):
            client = held.enter_context(socket.socket(socket.AF_UNIX))
            client.setblocking(False)  # as proxies connect
            client.connect(listener.getsockname())


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


def test_what_is_under_way_is_finished_and_nothing_new_is_taken(transport: dict[str, Any]) -> None:
    server = Running(echo, **transport)
    with server.connect() as busy, server.connect() as idle:
        idle.sendall(GET)
        assert status_of(idle.recv(4096)) == 200
        busy.sendall(post(b"Content-Length: 2", body=b"x"))
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


def test_a_worker_that_goes_shows_no_sign_of_life() -> None:
    seats = app.Seats(1)
    server = Running(echo, seats=seats)
    with server.connect() as idle:
        idle.sendall(GET)
        assert status_of(idle.recv(4096)) == 200
        assert seats.beaten_at(0)
        server.server.stop(5)
        assert read_all(idle) == b""
    server.thread.join(3)
    assert not seats.beaten_at(0)


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
def test_a_worker_that_dies_is_replaced_and_what_waits_to_be_taken_is_not_lost(tmp_path: Path) -> None:
    with serving(tmp_path, "--workers", "1") as server:
        (worker,) = workers_of(server)
        os.kill(worker, signal.SIGKILL)
        assert server.ask("GET", "/healthz").status == 200
        assert worker not in workers_of(server)


def test_a_worker_without_a_sign_of_life_is_killed_but_not_because_the_machine_stood_still(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(app, "_HUNG_S", 0.5)
    seats = app.Seats(1)
    http: Any = SimpleNamespace(seats=seats)
    supervisor = app.Supervisor({"http 1": lambda: None}, lambda name: None, http)
    with subprocess.Popen(["sleep", "30"]) as process:
        supervisor.children["http 1"] = app._Child("http 1", process.pid, time.monotonic(), 0)
        seats.beat(0)
        time.sleep(0.6)
        supervisor._watch_workers()  # as if it and its workers had been stopped since
        assert process.poll() is None
        time.sleep(0.3)
        supervisor._watch_workers()
        assert process.poll() is None
        time.sleep(0.3)
        supervisor._watch_workers()
        assert process.wait(5) == -signal.SIGKILL


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc")
def test_sighup_while_it_starts_is_heeded_once_it_has_told_its_address(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "app.py"), "server", "--bind", "127.0.0.1:0", "--workers", "2"]
    with (tmp_path / "told").open("w+b") as told, subprocess.Popen(command, cwd=tmp_path, stderr=told) as process:
        server = Server(process, tmp_path)
        try:
            wait_for(lambda: len(workers_of(server)) == 2, "its workers")
            first = workers_of(server)
            process.send_signal(signal.SIGHUP)
            wait_for(lambda: not first & workers_of(server), "the end of the first workers")
            wait_for_address(server, told.fileno(), 5)
        finally:
            process.terminate()


def test_slow_clients_of_each_kind_leave_a_real_site_alone(tmp_path: Path) -> None:
    with serving(tmp_path, "--workers", "1") as server:
        upload = head(
            b"PUT /files/shared/x HTTP/1.1", b"Host: localhost", b"Authorization: Bearer " + server.token().encode()
        )
        upload = upload[:-2] + b"Content-Length: 100000\r\n\r\nx"
        with hold(server, 150, upload), hold(server, 100, b"GET / HT"), hold(server, 100, b""):
            assert all(answers_at_once(server) for _ in range(3))
