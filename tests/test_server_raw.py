"""The HTTP server asked in raw bytes, the same over TCP, TLS and a Unix socket: what it answers, and whether it goes on."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator

import pytest
from http_client import read_all
from inner_server import LAST, LIMITS, TRANSPORTS, Running, head, over, post, running, statuses

import app

NEVER = b"GET /never HTTP/1.1\r\nHost: a\r\n\r\n"  # where it is part of another request, or behind what ended the connection


class Echo:
    """Answers with the method and target, the names of the fields that were sent beside Host, and the body."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, head: app.Head, connection: app.Connection) -> app.Answer:
        self.asked.append(head.target)
        status = {"/refused": 403, "/none": 204, "/same": 304}.get(head.target, 200)
        body = b"" if status == 403 else b"".join(app.BodyReader(head.fields, connection.body))
        if head.target == "/stream":
            return app.Answer(200, [], (chunk for chunk in (b"ab", b"", b"c")))
        names = ",".join(sorted({*head.fields} & {"x", "trailer-field", "authorization"}))
        return app.Answer(
            status, [], b"" if status in (204, 304) else f"{head.method} {head.target} {names}|".encode() + body
        )


@pytest.fixture(scope="module")
def echo() -> Echo:
    return Echo()


@pytest.fixture(scope="module", params=TRANSPORTS)
def server(request: pytest.FixtureRequest, echo: Echo) -> Iterator[Running]:
    # Patient, so that a slow machine changes nothing; the tests end their connections themselves.
    limits = LIMITS._replace(head_s=10.0, idle_s=10.0, silence_s=10.0)
    with running(echo, limits=limits, **over(request.param)) as found:
        yield found


@pytest.fixture(autouse=True)
def _never(echo: Echo) -> Iterator[None]:
    """Whatever a test sends, no part of a body and nothing behind the end of a connection is taken for a request."""
    echo.asked.clear()
    yield
    assert "/never" not in echo.asked


def get(*lines: bytes, target: bytes = b"/") -> bytes:
    return head(b"GET " + target + b" HTTP/1.1", b"Host: a", *lines)


def length(text: bytes) -> bytes:
    return post(b"Content-Length: " + text, body=NEVER)


def coding(text: bytes, body: bytes = b"0\r\n\r\n") -> bytes:
    return post(b"Transfer-Encoding: " + text, body=body)


def chunked(body: bytes) -> bytes:
    return coding(b"chunked", body)


# Bytes that are refused, by status: nothing behind them is read, and the connection is closed.
REFUSED = {
    "TE and CL": (400, coding(b"chunked").replace(b"Transfer", b"Content-Length: 5\r\nTransfer") + NEVER),
    "CL and TE": (400, post(b"Transfer-Encoding: chunked", b"Content-Length: 40", body=b"0\r\n\r\n" + NEVER)),
    "the same length twice": (400, post(b"Content-Length: 5", b"Content-Length: 5", body=b"12345")),
    "two lengths": (400, post(b"Content-Length: 5", b"Content-Length: 0", body=NEVER)),
    "a length of two cases": (400, post(b"Content-Length: 0", b"content-length: 5", body=NEVER)),
    **{
        f"the length {text.decode('latin-1')!r}": (400, length(text))
        for text in (
            *(b"+5", b"-5", b"5,5", b"5, 5", b"5,6", b"0x5", b"5 5", b"5.0", b"5e0", b"", b"five", b"\xb2", b"1_0"),
            *(b"1" * 20, b"0" * 15 + b"12345", b"\x0b5"),
        )
    },
    **{
        f"the coding {text.decode('latin-1')!r}": (status, coding(text) + NEVER)
        for status, text in (
            *(
                (501, b"gzip, chunked"),
                (501, b"gzip,chunked"),
                (400, b"chunked, chunked"),
                (400, b"xchunked"),
                (400, b"gzip"),
            ),
            *((400, b"chunked, gzip"), (400, b"identity"), (400, b""), (400, b"chunked;q=1"), (400, b"\x0bchunked")),
            *((400, b"\xa0chunked"), (400, b"chunked\x85"), (400, b"gzip,\xa0chunked")),
            *((400, b'"chunked"'), (400, b"chunke d")),
        )
    },
    "two lines of codings": (
        400,
        post(b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity", body=b"0\r\n\r\n" + NEVER),
    ),
    "a coding in HTTP/1.0": (400, coding(b"chunked").replace(b"HTTP/1.1", b"HTTP/1.0") + NEVER),
    "a folded line": (400, get(b"X: a", b" b")),
    "a folded line with a tab": (400, get(b"X: a", b"\tb")),
    "a folded coding": (400, post(b"Transfer-Encoding:", b" chunked", body=b"0\r\n\r\n" + NEVER)),
    "a folded first field": (400, head(b"GET / HTTP/1.1", b" X: a", b"Host: a")),
    "a bare LF behind the request line": (400, b"GET / HTTP/1.1\nHost: a\r\n\r\n"),
    "a bare LF behind a field": (400, get(b"X: a\nY: b")),
    "bare LFs alone": (400, b"GET / HTTP/1.1\nHost: a\n\n"),
    "a bare LF at the end": (400, b"GET / HTTP/1.1\r\nHost: a\r\n\n"),
    "a bare LF before a request": (400, b"\n" + NEVER),
    "a bare CR in a value": (400, get(b"X: a\rTransfer-Encoding: chunked")),
    "a bare CR behind the request line": (400, b"GET / HTTP/1.1\rHost: a\r\n\r\n"),
    "CR CR LF": (400, get(b"X: a\r")),
    "a space before a colon": (400, get(b"X : a")),
    "a tab before a colon": (400, get(b"X\t: a")),
    "a length with a space before its colon": (400, post(b"Content-Length : 40", body=NEVER)),
    "no colon": (400, get(b"X")),
    "no name": (400, get(b": a")),
    "white space before the request line": (400, b" " + NEVER),
    **{f"{byte!r} in a name": (400, get(b"X" + byte + b"Y: a")) for byte in (b"\0", b"\x01", b"\x7f", b" ", b"(", b"\xe9")},
    **{f"{byte!r} in a value": (400, get(b"X: a" + byte + b"b")) for byte in (b"\0", b"\x01", b"\x0b", b"\x1b", b"\x7f")},
    **{
        f"{byte!r} in the target": (400, get(target=b"/a" + byte + b"b"))
        for byte in (b"\0", b"\x01", b"\t", b" ", b"\x7f", b"\xe9", b"#", b"\r", b"\n")
    },
    "no Host": (400, head(b"GET / HTTP/1.1")),
    "two Hosts": (400, get(b"Host: b")),
    "the same Host twice": (400, get(b"host: a")),
    **{
        f"the Host {text!r}": (400, head(b"GET / HTTP/1.1", b"Host: " + text))
        for text in (b"a b", b"u@a", b"a/b", b"a:b", b"[::1")
    },
    "absolute form without Host": (400, head(b"GET http://a/ HTTP/1.1")),
    "absolute form without a host": (400, get(target=b"http:///x")),
    "absolute form with a user": (400, get(target=b"http://u@a/")),
    "another scheme": (400, get(target=b"ftp://a/")),
    "authority form": (400, get(target=b"a:80")),
    "CONNECT": (501, head(b"CONNECT a:80 HTTP/1.1", b"Host: a")),
    "the asterisk of GET": (400, get(target=b"*")),
    "two spaces": (400, b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n"),
    "a method that is no token": (400, head(b"G(T / HTTP/1.1", b"Host: a")),
    "no version": (400, b"GET /\r\n\r\n"),
    "a space behind the version": (400, b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n"),
    "a version in lower case": (400, b"GET / http/1.1\r\nHost: a\r\n\r\n"),
    "HTTP/1.10": (400, b"GET / HTTP/1.10\r\nHost: a\r\n\r\n"),
    "HTTP/0.9": (505, b"GET / HTTP/0.9\r\nHost: a\r\n\r\n"),
    "HTTP/3.0": (505, b"GET / HTTP/3.0\r\nHost: a\r\n\r\n"),
    "the preface of HTTP/2": (505, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    "TLS where none is": (400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
    "a long target": (414, get(target=b"/" + b"x" * 8190)),
    "a request line without an end": (414, b"GET /" + b"x" * 10_000),
    "a long field": (431, get(b"X: " + b"x" * 8190)),
    "a field without an end": (431, get()[:-2] + b"X: " + b"x" * 10_000),
    "a long head": (431, get(*[b"X: " + b"x" * 8000] * 5)),
    "many fields": (431, get(*[b"X: y"] * 100)),
    "another expectation": (417, post(b"Expect: more", b"Content-Length: 40", body=NEVER)),
    "two expectations": (417, post(b"Expect: 100-continue, more", b"Content-Length: 40", body=NEVER)),
    **{
        f"the chunk {body[:20]!r}": (400, chunked(body) + NEVER)
        for body in (
            *(
                b"0x1\r\na\r\n0\r\n\r\n",
                b"-1\r\na\r\n0\r\n\r\n",
                b"+1\r\na\r\n0\r\n\r\n",
                b"1_0\r\na",
                b"g\r\n",
                b"\r\n",
                b";a\r\n",
            ),
            *(b" 1\r\na\r\n0\r\n\r\n", b"1 ;a\r\na\r\n0\r\n\r\n", b"1,1\r\na\r\n0\r\n\r\n", b"1 1\r\na\r\n0\r\n\r\n"),
            *(b"1" * 16 + b"\r\n", b"0" * 16 + b"1\r\na\r\n0\r\n\r\n", b"f" * 17 + b"\r\n", b"1" * 10_000),
            *(b"1;" + b"x" * 8190 + b"\r\na\r\n0\r\n\r\n", b"1;a=\0\r\na\r\n0\r\n\r\n", b"1;a\rb\r\na\r\n0\r\n\r\n"),
            *(
                b"1\na\r\n0\r\n\r\n",
                b"1;a\na\r\n0\r\n\r\n",
                b"1\r\na\n0\r\n\r\n",
                b"1\r\na0\r\n\r\n",
                b"1\r\nab\r\n0\r\n\r\n",
            ),
            *(b"1\r\na\r0\r\n\r\n", b"2\r\na\r\n0\r\n\r\n", b"1\r\na\r\n0\n\n", b"1\r\n\r\na\r\n0\r\n\r\n"),
            *(b"0\r\nA : b\r\n\r\n", b"0\r\n A: b\r\n\r\n", b"0\r\nA\r\n\r\n", b"0\r\nA: \0\r\n\r\n", b"0\r\nA: b\n\r\n"),
            *(b"0\r\n" + b"A: b\r\n" * 101 + b"\r\n", b"0\r\nA: " + b"x" * 8190 + b"\r\n\r\n"),
        )
    },
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_ends_the_connection(server: Running, name: str) -> None:
    status, data = REFUSED[name]
    answer = server.raw(data + NEVER)
    assert statuses(answer) == [status]
    assert b"\r\nConnection: close\r\n" in answer
    assert b"\r\nContent-Type: application/problem+json" in answer


# Bytes that are taken, and what the echo says to them; then the connection goes on.
TAKEN = {
    "a plain request": (get(), b"GET / |"),
    "absolute form": (get(target=b"http://b:80/x?y"), b"GET http://b:80/x?y |"),
    "OPTIONS *": (head(b"OPTIONS * HTTP/1.1", b"Host: a"), b"OPTIONS * |"),
    "an empty Host": (head(b"GET / HTTP/1.1", b"Host:"), b"GET / |"),
    "a Host of IPv6": (head(b"GET / HTTP/1.1", b"Host: [::1]:8080"), b"GET / |"),
    "HTTP/1.2": (head(b"GET / HTTP/1.2", b"Host: a"), b"GET / |"),
    "HTTP/1.0 without Host that is kept": (head(b"GET / HTTP/1.0", b"Connection: Keep-Alive"), b"GET / |"),
    "an empty line before": (b"\r\n" + get(), b"GET / |"),
    "empty lines before": (b"\r\n\r\n\r\n" + get(), b"GET / |"),
    "names and spaces of all kinds": (get(b"x:\t y \t", b"AUTHORIZATION:z"), b"GET / authorization,x|"),
    "bytes above ASCII in a value": (get(b"X: \xe9\xff"), b"GET / x|"),
    "a target just short enough": (get(target=b"/" + b"x" * 8176), b"GET /" + b"x" * 8176 + b" |"),
    "100 fields": (get(*[b"X: y"] * 99), b"GET / x|"),
    "another method": (head(b"x!# / HTTP/1.1", b"Host: a"), b"x!# / |"),
    "a length": (post(b"Content-Length: 40", body=NEVER.ljust(40)), b"POST / |" + NEVER.ljust(40)),
    "a length with zeros": (post(b"Content-Length: 0005", body=b"12345"), b"POST / |12345"),
    "a body of GET": (get(b"Content-Length: 40") + NEVER.ljust(40), b"GET / |" + NEVER.ljust(40)),
    "a body that was announced and came along": (
        post(b"Expect: 100-continue", b"Content-Length: 1", body=b"x"),
        b"POST / |x",
    ),
    "chunks": (chunked(b"3\r\nabc\r\n28\r\n" + NEVER.ljust(40) + b"\r\n0\r\n\r\n"), b"POST / |abc" + NEVER.ljust(40)),
    "chunked in capitals": (coding(b"CHUNKED", b"1\r\na\r\n0\r\n\r\n"), b"POST / |a"),
    "sizes with zeros and in both cases": (
        chunked(b"0000A\r\n0123456789\r\n00a\r\n0123456789\r\n000\r\n\r\n"),
        b"POST / |01234567890123456789",
    ),
    "extensions": (chunked(b'1;a\r\na\r\n1;a=b;c="d;\\"\r\nb\r\n1;\r\nc\r\n0;z=0\r\n\r\n'), b"POST / |abc"),
    "trailers, which are dropped": (
        chunked(b"1\r\na\r\n0\r\nTrailer-Field: x\r\nAuthorization: Bearer x\r\nContent-Length: 40\r\n\r\n"),
        b"POST / |a",
    ),
}  # fmt: skip


def bodies(answer: bytes) -> list[bytes]:
    """Of answers that all have a Content-Length, in turn."""
    found = []
    while answer:
        lines, _, answer = answer.partition(b"\r\n\r\n")
        size = int(re.search(rb"(?m)^Content-Length: ([0-9]+)\r?$", lines + b"\r\n")[1])  # type: ignore[index]
        found.append(answer[:size])
        answer = answer[size:]
    return found


@pytest.mark.parametrize("name", TAKEN)
def test_what_is_taken_is_answered_and_the_connection_goes_on(server: Running, name: str) -> None:
    data, body = TAKEN[name]
    answer = server.raw(data + LAST)
    assert statuses(answer) == [200, 200]
    assert bodies(answer) == [body, b"GET /last |"]


def test_pipelined_requests_are_answered_in_turn_from_one_segment_and_byte_by_byte(server: Running) -> None:
    several = [
        TAKEN[name] for name in ("a length", "an empty line before", "chunks", "trailers, which are dropped", "extensions")
    ]
    data = b"".join(data for data, _ in several) + LAST
    wanted = [*(body for _, body in several), b"GET /last |"]
    assert bodies(server.raw(data)) == wanted
    with server.connect() as connection:
        for byte in data:
            connection.sendall(bytes([byte]))
        assert bodies(read_all(connection)) == wanted


@pytest.mark.parametrize(
    "data",
    [
        post(b"Content-Length: 900000", body=NEVER.ljust(900_000), target=b"/refused"),
        post(b"Transfer-Encoding: chunked", body=b"1\r\na\r\n0\r\n\r\n" + NEVER, target=b"/refused"),
        post(b"Content-Length: 40", b"Expect: 100-continue", target=b"/refused"),
    ],
    ids=["much", "chunked", "announced"],
)
def test_a_body_that_nobody_wanted_ends_the_connection_and_is_no_request(server: Running, data: bytes) -> None:
    answer = server.raw(data)
    assert statuses(answer) == [403]
    assert b"\r\nConnection: close\r\n" in answer


def test_a_little_of_a_body_that_nobody_wanted_is_skipped_and_is_no_request(server: Running) -> None:
    answer = server.raw(post(b"Content-Length: 60000", body=NEVER * 1800 + b"x" * 2400, target=b"/refused") + LAST)
    assert statuses(answer) == [403, 200]


def test_a_body_that_is_cut_off_is_no_request(server: Running, echo: Echo) -> None:
    for data in (
        post(b"Content-Length: 9", body=b"x"),
        chunked(b"9\r\nx"),
        chunked(b"1\r\nx\r\n"),
        chunked(b"1\r\nx\r\n0\r\n"),
    ):
        with server.connect() as connection:
            connection.sendall(data)
            if not server.tls:  # which has no end in one direction alone
                connection.shutdown(socket.SHUT_WR)
                assert statuses(read_all(connection)) == [400]


def test_100_continue_is_said_once_the_body_is_wanted(server: Running) -> None:
    with server.connect() as connection:
        connection.sendall(post(b"Expect: 100-Continue", b"Content-Length: 2"))
        assert connection.recv(4096) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"xy" + LAST)
        assert bodies(read_all(connection)) == [b"POST / |xy", b"GET /last |"]


@pytest.mark.parametrize("line", [b"Content-Length: 0", b"X: y"])
def test_100_continue_is_not_said_where_no_body_comes(server: Running, line: bytes) -> None:
    with server.connect() as connection:
        connection.sendall(post(b"Expect: 100-continue", line))
        assert statuses(connection.recv(4096)) == [200]


def test_an_expectation_of_http_1_0_is_ignored(server: Running) -> None:
    answer = server.raw(head(b"POST / HTTP/1.0", b"Expect: more", b"Content-Length: 1") + b"x")
    assert (statuses(answer), bodies(answer)) == ([200], [b"POST / |x"])


def test_answers_that_have_no_body_have_none(server: Running) -> None:
    data = [head(b"HEAD /x HTTP/1.1", b"Host: a"), get(target=b"/none"), get(target=b"/same")]
    data.append(head(b"HEAD /stream HTTP/1.1", b"Host: a"))
    answer = server.raw(b"".join(data) + LAST)
    assert statuses(answer) == [200, 204, 304, 200, 200]
    *parts, last = answer.split(b"HTTP/1.1 ")[1:]
    assert all(part.endswith(b"\r\n\r\n") and part.count(b"\r\n\r\n") == 1 for part in parts)
    assert b"\r\nContent-Length: 9\r\n" in parts[0]
    assert not re.search(rb"(?i)content-length|transfer-encoding", parts[1] + parts[2])
    assert last.endswith(b"GET /last |")


def test_a_body_of_unknown_length_is_chunked_for_1_1_and_ends_with_the_connection_for_1_0(server: Running) -> None:
    answer = server.raw(get(target=b"/stream") + LAST)
    assert b"\r\nTransfer-Encoding: chunked\r\n" in answer
    assert b"\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n" in answer
    answer = server.raw(head(b"GET /stream HTTP/1.0", b"Connection: keep-alive") + NEVER)
    assert b"chunked" not in answer
    assert b"\r\nConnection: close\r\n" in answer
    assert answer.endswith(b"\r\n\r\nabc")


@pytest.mark.parametrize(
    ("version", "options", "keeps"),
    [
        *((b"1.1", b"", True), (b"1.1", b"close", False), (b"1.1", b"x, CLOSE", False), (b"1.1", b"closed", True)),
        *((b"1.0", b"", False), (b"1.0", b"keep-alive", True), (b"1.0", b"Keep-Alive, close", False)),
        *((b"1.1", b"keep-alive, close", False), (b"1.2", b"", True), (b"1.2", b"close", False)),
    ],
)
def test_a_connection_is_kept_as_its_client_wants(server: Running, version: bytes, options: bytes, keeps: bool) -> None:
    first = head(b"GET / HTTP/" + version, b"Host: a", b"Connection: " + options)
    answer = server.raw(first + (LAST if keeps else NEVER))
    assert statuses(answer) == [200, 200] if keeps else [200]
    said = re.findall(rb"\r\nConnection: ([a-z-]+)\r\n", answer.partition(b"\r\n\r\n")[0] + b"\r\n")
    assert said == ([b"keep-alive"] if version == b"1.0" else []) if keeps else said == [b"close"]


def test_every_answer_has_a_date(server: Running) -> None:
    answer = server.raw(get() + get(target=b"/same") + get(b"X : y"))
    assert len(re.findall(rb"\r\nDate: [A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} [0-9]{4} [0-9:]{8} GMT\r\n", answer)) == 3
