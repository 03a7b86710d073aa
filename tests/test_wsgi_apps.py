"""plugins/wsgi_apps.py: WSGI programs as parts of a site, in this process and as a real program."""

from __future__ import annotations

import base64
import http.client
import json
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import backends
import pytest
from conftest import wait_for
from http_client import FORM, PAGE, Connection, Reply, Site, drip, head, read_all, serving, status_of
from inner_server import Running, running

import app

# A program that wsgiref looks at, and that does as its path says. What it has seen is in SEEN, and in CLOSED which of its
# answers are over.
PROGRAM = '''
import json
import sys
import threading
from wsgiref.validate import validator

SEEN, CLOSED, GO_ON = [], [], threading.Event()


class Body:
    """An iterable that says when it is closed."""

    def __init__(self, name, chunks):
        self.name, self.chunks = name, iter(chunks)

    def __iter__(self):
        return self

    def __next__(self):
        return next(self.chunks)

    def close(self):
        CLOSED.append(self.name)
        if self.name.startswith("unclosable"):
            raise SystemExit("close() fails")


class ListBody(list):
    """A list that says when it is closed."""

    def close(self):
        CLOSED.append("list body")
        if self == [b"unclosable"]:
            raise SystemExit("close() fails")


def half(error):
    yield b"hello"
    raise error


def read_late(environ):
    yield b"first"
    yield b"," + environ["wsgi.input"].read()


def fail():
    yield b"once"
    raise ValueError("a fault of the program")


def wait():
    yield b"first"
    GO_ON.wait(10)
    yield b"second"


def plenty():
    while True:
        yield b"x" * 100_000


def late(start_response):
    start_response("200 OK", PLAIN)
    yield b""
    try:
        raise ValueError("late")
    except ValueError:
        start_response("503 Service Unavailable", PLAIN, sys.exc_info())
    yield b"replaced"


def too_late(start_response):
    start_response("200 OK", PLAIN)
    yield b"gone"
    try:
        raise ValueError("too late")
    except ValueError:
        start_response("500 Internal Server Error", PLAIN, sys.exc_info())


PLAIN = [("Content-Type", "text/plain")]
HEADERS = {
    "hop": [("Connection", "close")],
    "line": [("X-A", "a\\r\\nX-B: b")],
    "name": [("X A", "a")],
    "length": [("Content-Length", "many")],
    "lengths": [("Content-Length", "1"), ("content-length", "1")],
    "letter": [("X-A", "\\u20ac")],
    "policy": [("Content-Security-Policy", "default-src *"), ("Date", "never")],
}
STATUSES = {
    "odd": "299 So So", "informed": "100 Continue", "wrong": "OK", "none": "204 No Content", "same": "304 Not Modified",
}

LENGTHS = {
    "short list": lambda: [b"abc"], "long list": lambda: [b"abc", b"def"], "long write": lambda: [],
    "long stream": lambda: iter([b"abcdef"]), "short stream": lambda: iter([b"abc"]),
}


def plain(environ, start_response):
    """What no validator lets through, and what it would hide."""
    name = environ["PATH_INFO"][1:]
    SEEN.append(environ)
    if name in HEADERS:
        start_response("200 OK", PLAIN + HEADERS[name])
        return Body(name, [b"x"])
    if name in STATUSES:
        start_response(STATUSES[name], [("Content-Length", "1")] if name == "none" else PLAIN)
        return Body(name, [])
    if name.startswith("unclosable "):
        length = name.rpartition(" ")[2]
        start_response("200 OK", PLAIN + ([("Content-Length", length)] if length != "chunked" else []))
        return Body(name, [b"hello"])
    if name.startswith("half "):
        _, error, length = name.split()
        start_response("200 OK", PLAIN + ([("Content-Length", length)] if length != "chunked" else []))
        return Body(name, half({"exit": SystemExit, "interrupt": KeyboardInterrupt, "end": GeneratorExit}[error]("half")))
    if name in ("bad list", "list unclosable"):
        start_response("200 OK", PLAIN)
        return ListBody([b"a", "text"] if name == "bad list" else [b"unclosable"])
    if name == "read late":
        start_response("200 OK", PLAIN)
        return Body(name, read_late(environ))
    if name == "generated":
        start_response("200 OK", (pair for pair in [*PLAIN, ("X-A", "a"), ("Content-Length", "1")]))
        return Body(name, [b"x"])
    if name == "list":
        start_response("200 OK", PLAIN)
        return [b"a", b"", b"bc"]
    if name in LENGTHS:
        write = start_response("200 OK", PLAIN + [("Content-Length", "5")])
        if name == "long write":
            write(b"abcdef")
        return LENGTHS[name]()
    if name == "text":
        start_response("200 OK", PLAIN)
        return Body(name, ["text"])
    if name == "silent":
        return Body(name, [b"x"])
    if name == "twice":
        start_response("200 OK", PLAIN)
        start_response("200 OK", PLAIN)
    if name == "swallow":
        try:
            environ["wsgi.input"].read()
        except Exception:
            pass
        start_response("200 OK", PLAIN)
        return Body(name, [b"all of it"])
    if name == "raise":
        raise SystemExit(3)


@validator
def application(environ, start_response):
    name = environ["PATH_INFO"][1:]
    SEEN.append(dict(environ))
    if name == "read":
        data = environ["wsgi.input"]
        start_response("200 OK", PLAIN)
        return Body(name, [data.read(3), b"|", data.readline(), b"|", *data])
    if name == "write":
        write = start_response("200 OK", PLAIN)
        write(b"written, ")
        write(b"x" * 3_000_000)
        return Body(name, [b", returned"])
    bodies = {
        "fail": fail, "wait": wait, "plenty": plenty, "late": lambda: late(start_response),
        "too late": lambda: too_late(start_response),
    }
    if name not in ("late", "too late"):
        start_response("200 OK", PLAIN)
    return Body(name, bodies[name]() if name in bodies else [b"hello"])
'''
APPS = """
[apps.stock]
title = "Stock"
wsgi = "wsgi_program:application"
[apps.plain]
wsgi = "wsgi_program:plain"
"""


@pytest.fixture(scope="module", params=["", "/ops"])
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("wsgi")
    (folder / "wsgi_program.py").write_text(PROGRAM)
    opened = Site(folder, prefix=request.param, edit=lambda text: text + APPS)
    yield opened
    opened.close()
    sys.path.remove(str(folder))
    sys.modules.pop("wsgi_program", None)


@pytest.fixture
def program(site: Site) -> Any:
    """The module of the programs, with nothing seen yet."""
    site.get(f"{site.prefix}/apps/plain/app/none", site.token("apps/plain:read"))
    found = sys.modules["wsgi_program"]
    found.SEEN.clear()
    found.CLOSED.clear()
    found.GO_ON.clear()
    return found


@pytest.fixture(scope="module")
def server(site: Site) -> Iterator[Running]:
    """The same site over real sockets."""
    with running(site.runner.answer) as found:
        yield found


def get(site: Site, path: str, token: str = "", method: str = "GET", body: Any = None, **headers: str) -> Reply:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return site.ask(method, f"{site.prefix}/apps/{path}", body, given, token)


# ---- what a program is told


def test_a_program_is_told_who_asks_and_where_it_is(site: Site, program: Any) -> None:
    token = site.token("apps/stock:read", roles=["staff"], subject="bøb")
    target = f"stock/app/{quote('a b/ø')}%2Fc//?x=1&x=2&%20"
    assert get(site, target, token, X_Odd="1", Cookie="a=b; c=d").text == "hello"
    environ = program.SEEN[0]
    assert environ["REMOTE_USER"].encode("latin-1").decode() == "bøb"
    assert environ["satchel.roles"] == ["staff"]
    assert environ["SCRIPT_NAME"] == f"{site.prefix}/apps/stock/app"
    assert environ["PATH_INFO"].encode("latin-1").decode() == "/a b/ø/c//"
    assert environ["QUERY_STRING"] == "x=1&x=2&%20"
    assert (environ["HTTP_X_ODD"], environ["HTTP_COOKIE"]) == ("1", "a=b; c=d")
    assert (environ["REQUEST_METHOD"], environ["SERVER_PROTOCOL"]) == ("GET", "HTTP/1.1")
    assert (environ["wsgi.url_scheme"], environ["HTTP_HOST"], environ["REMOTE_ADDR"]) == ("http", "localhost", "127.0.0.1")
    assert "CONTENT_LENGTH" not in environ


@pytest.mark.parametrize(
    ("host", "scheme", "name", "port"),
    [("localhost:81", "http", "localhost", "81"), ("[::1]", "https", "[::1]", "443"), ("[::1]:8", "http", "[::1]", "8")],
)
def test_a_program_is_told_the_address_that_was_asked_for(
    site: Site, program: Any, host: str, scheme: str, name: str, port: str
) -> None:
    proxied = {"REMOTE_ADDR": "10.0.0.1", "X_Forwarded_For": "192.0.2.7", "X_Forwarded_Proto": scheme}
    get(site, "stock/app/", site.token("apps/stock:read"), X_Forwarded_Host=host, **proxied)
    environ = program.SEEN[0]
    assert (environ["SERVER_NAME"], environ["SERVER_PORT"], environ["HTTP_HOST"]) == (name, port, host)
    assert (environ["wsgi.url_scheme"], environ["REMOTE_ADDR"]) == (scheme, "192.0.2.7")


def test_a_program_never_sees_a_credential(site: Site, program: Any) -> None:
    token = site.token("apps/stock:read")
    cookie = site.sign_in(token)
    spoofed = {"Remote_User": "root", "Proxy": "http://evil", "Proxy_Authorization": "Basic eDp5"}
    get(site, "stock/app/", token, Cookie=f"a=b;{cookie};c=d;{cookie}", **spoofed)
    get(site, "stock/app/", Cookie=cookie)
    for environ in program.SEEN:
        assert environ["REMOTE_USER"] == "ann"
        said = repr(environ)
        assert token not in said
        assert cookie.partition("=")[2] not in said
        assert not {"HTTP_AUTHORIZATION", "HTTP_REMOTE_USER", "HTTP_PROXY", "HTTP_PROXY_AUTHORIZATION"} & set(environ)
    assert [environ.get("HTTP_COOKIE") for environ in program.SEEN] == ["a=b; c=d", None]


@pytest.mark.parametrize("peer", ["192.0.2.7", "10.0.0.1"], ids=["anybody", "a trusted proxy"])
def test_a_program_sees_no_header_that_pretends_another_address(site: Site, program: Any, peer: str) -> None:
    names = ["Forwarded", "X-Real-IP", "X-Original-URL", "X-Rewrite-URL"]
    names += ["X-Forwarded", *(f"X-Forwarded-{what}" for what in ("By", "For", "Host", "Port", "Prefix", "Proto", "Server"))]
    pretended = dict.fromkeys(names, "gopher") | {"X-Forwarded-Host": "localhost:99"}
    assert get(site, "stock/app/", site.token("apps/stock:read"), REMOTE_ADDR=peer, X_Odd="1", **pretended).status == 200
    environ = program.SEEN[0]
    own = {"HTTP_AUTHORIZATION", "HTTP_HOST", "HTTP_ACCEPT", "HTTP_X_ODD"}
    assert {name for name in environ if name.startswith("HTTP_")} <= own
    assert environ["HTTP_X_ODD"] == "1"
    assert environ["HTTP_HOST"] == ("localhost:99" if peer == "10.0.0.1" else "localhost")
    assert environ["wsgi.url_scheme"] == "http"


# ---- who may use it


def test_a_program_is_for_whoever_may_read_its_app(site: Site, program: Any) -> None:
    refused = get(site, "stock/app/x", site.token("apps/plain:read"))
    assert (refused.status, refused.json["code"]) == (403, "insufficient_scope")
    assert get(site, "stock/app/x").status == 401
    assert get(site, "stock/app/x", method="POST", body=b"a").status == 401
    assert get(site, "stock/app/x", "nonsense").status == 401
    page = get(site, "stock/app/x", Accept=PAGE["Accept"])
    assert (page.status, page["Location"]) == (
        303,
        f"{site.prefix}/login?after={quote(site.prefix + '/apps/stock/app/x', safe='')}",
    )
    assert get(site, "stock/app/x", "", "POST", b"a=1", **FORM, Accept=PAGE["Accept"]).status == 401
    assert get(site, "nothing/app/x").status == 401, "what is missing looks like what is forbidden"
    assert not program.SEEN
    for grant in ("apps/stock:read", "apps/*:read", "apps/stock/app/x:read"):
        assert get(site, "stock/app/x", site.token(grant)).status == 200
    for name in ("nothing", "bare"):
        assert get(site, f"{name}/app/x", site.token("apps/**:read")).status == 404


def test_a_token_of_ones_own_that_only_reads_only_reads_in_a_program_too(site: Site, program: Any) -> None:
    site.app.state.commit([app.Insert("_people", "bo", {"subject": "bo", "grants": ["apps/stock:read"]})])
    office, tester = site.app.office, app.Caller("test")
    reads, does = (
        site.app.authority.jwt(office.issue(tester, "bo", [grant], [], 3600, own=True)) for grant in ("**:read", "**:*")
    )
    session = site.sign_in(reads)
    for method in ("GET", "HEAD", "OPTIONS"):
        assert get(site, "stock/app/x", reads, method).status == 200
    program.SEEN.clear()
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        for token in (reads, session):
            refused = get(site, "stock/app/x", token, method, b"a", Sec_Fetch_Site="same-origin")
            assert (refused.status, refused.json["detail"]) == (403, "this token only reads")
        assert not program.SEEN
        assert get(site, "stock/app/x", does, method, b"a").status == 200
        program.SEEN.clear()


def test_a_program_is_not_reached_by_a_queue(site: Site) -> None:
    for path in (("app",), ("app", "x")):
        request = app.Request("1", app.Action.READ, "apps/stock", path, "sqs", credential=f"Bearer {site.token('**:*')}")
        with pytest.raises(app.NotFound, match="no program that is served here"):
            site.app.handle(request)


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_a_program_answers_every_method(site: Site, program: Any, method: str) -> None:
    body = b"a=1" if method in ("POST", "PUT", "PATCH") else None
    reply = get(site, "stock/app/x?_method=x&a=1&a=2", site.token("apps/stock:read"), method, body, **FORM if body else {})
    assert (reply.status, reply.text) == (200, "" if method == "HEAD" else "hello")
    assert [environ["REQUEST_METHOD"] for environ in program.SEEN] == [method]
    assert program.CLOSED == ["x"]


def test_the_address_of_a_program_without_a_slash_leads_to_it(site: Site, program: Any) -> None:
    token = site.token("apps/stock:read")
    reply = get(site, "stock/app?a=b", token)
    assert (reply.status, reply["Location"]) == (308, f"{site.prefix}/apps/stock/app/?a=b")
    assert get(site, "stock/app", token, "POST", b"").status == 200
    assert program.SEEN[0]["PATH_INFO"] == ""
    assert get(site, "stock", token).status == 200, "the app's own page is still there"


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_no_other_site_writes_by_a_cookie_through_a_program(site: Site, program: Any, method: str) -> None:
    token = site.token("apps/stock:read")
    cookie = site.sign_in(token)
    foreign = [{"Sec_Fetch_Site": "cross-site"}, {"Sec_Fetch_Site": "same-site"}, {"Origin": "https://evil.example"}]
    for said in ({}, {"Origin": "null"}, *foreign):
        assert get(site, "stock/app/x", cookie, method, b"a=1", **said, **FORM).status == 403, said
    basic = "Basic " + base64.b64encode(f"x:{token}".encode()).decode()
    assert get(site, "stock/app/x", "", method, b"", Authorization=basic, Sec_Fetch_Site="cross-site").status == 403
    assert get(site, "stock/app/x", "", method, b"", Authorization=basic, Origin="null").status == 403
    assert not program.SEEN
    for said in ({"Sec_Fetch_Site": "same-origin"}, {"Origin": "http://localhost"}):
        assert get(site, "stock/app/x", cookie, method, b"a=1", **said, **FORM).status == 200, said
    assert get(site, "stock/app/x", token, method, b"", Origin="https://evil.example").status == 200


# ---- bodies of requests


@pytest.mark.parametrize("is_chunked", [False, True])
def test_a_program_reads_a_body_as_it_comes(site: Site, program: Any, server: Running, is_chunked: bool) -> None:
    data = b"abcline\n" + b"x" * 60_000 + b"\nend"
    headers = {"Authorization": f"Bearer {site.token('apps/stock:read')}"}
    with Connection(server.connect()) as connection:
        body = drip([data[:5], data[5:50_000], data[50_000:]]) if is_chunked else data
        reply = connection.ask("POST", f"{site.prefix}/apps/stock/app/read", body, headers)
    assert reply.body == b"abc|line\n|" + data[8:]
    environ = program.SEEN[0]
    assert environ["CONTENT_LENGTH"] == str(len(data))
    assert "HTTP_TRANSFER_ENCODING" not in environ


@pytest.mark.parametrize("is_chunked", [False, True])
def test_a_body_over_the_limit_never_reaches_a_program(site: Site, program: Any, server: Running, is_chunked: bool) -> None:
    headers = {"Authorization": f"Bearer {site.token('apps/stock:read')}"}
    with Connection(server.connect()) as connection:
        body = drip([b"x" * 40_000] * 2) if is_chunked else b"x" * 80_000
        assert connection.ask("POST", f"{site.prefix}/apps/stock/app/read", body, headers).status == 413
    assert not program.SEEN


def test_a_body_that_is_cut_off_is_400_whatever_the_program_makes_of_it(site: Site, program: Any, server: Running) -> None:
    token = site.token("apps/plain:read")
    request = head("POST", f"{site.prefix}/apps/plain/app/swallow", f"Authorization: Bearer {token}", "Content-Length: 9")
    with server.connect() as connection:
        connection.sendall(request + b"x")
        connection.shutdown(socket.SHUT_WR)
        assert status_of(read_all(connection)) == 400
    assert program.CLOSED == ["swallow"]


# ---- answers


def test_an_answer_goes_out_while_it_is_made(site: Site, program: Any, server: Running) -> None:
    with Connection(server.connect()) as connection:
        connection.request("GET", f"{site.prefix}/apps/stock/app/wait", headers=bearer(site))
        answer = connection.getresponse()
        assert answer.read(5) == b"first"
        assert not program.CLOSED
        program.GO_ON.set()
        assert answer.read() == b"second"
    assert program.CLOSED == ["wait"]


def bearer(site: Site) -> dict[str, str]:
    return {"Authorization": f"Bearer {site.token('apps/*:read')}"}


def test_a_program_is_told_when_its_client_has_gone(site: Site, program: Any, server: Running) -> None:
    with server.connect() as connection:
        connection.sendall(
            head("GET", f"{site.prefix}/apps/stock/app/plenty", f"Authorization: {bearer(site)['Authorization']}")
        )
        assert status_of(connection.recv(4096)) == 200
    wait_for(lambda: program.CLOSED == ["plenty"], "the end of its answer")


def test_an_answer_that_fails_on_its_way_is_broken_off(site: Site, program: Any, server: Running) -> None:
    for name in ("fail", "too late"):
        with Connection(server.connect()) as connection, pytest.raises(http.client.IncompleteRead):
            connection.ask("GET", f"{site.prefix}/apps/stock/app/{quote(name)}", headers=bearer(site))
        wait_for(lambda name=name: name in program.CLOSED, "the end of its answer")  # type: ignore[misc]
    with Connection(server.connect()) as connection, pytest.raises(http.client.IncompleteRead):
        connection.ask("GET", f"{site.prefix}/apps/plain/app/short%20stream", headers=bearer(site))


def raw(site: Site, server: Running, name: str, method: str = "GET", *lines: str, rest: bytes = b"") -> bytes:
    """All that is answered by a program of ours, until the server closes."""
    with server.connect() as connection:
        credential = f"Authorization: {bearer(site)['Authorization']}"
        connection.sendall(head(method, f"{site.prefix}/apps/plain/app/{quote(name)}", credential, *lines) + rest)
        return read_all(connection)


@pytest.mark.parametrize("length", ["5", "10", "chunked"])
@pytest.mark.parametrize("error", ["exit", "interrupt", "end"])
def test_an_answer_that_has_begun_has_no_second_head_whatever_is_raised(
    site: Site, program: Any, server: Running, error: str, length: str, caplog: pytest.LogCaptureFixture
) -> None:
    answer = raw(site, server, f"half {error} {length}")
    assert answer.endswith(b"5\r\nhello\r\n" if length == "chunked" else b"\r\n\r\nhello")
    assert answer.count(b"HTTP/1.1") == 1
    wait_for(lambda: [f"half {error} {length}"] == program.CLOSED, "the end of its answer")
    assert "broken off in the middle" in caplog.text


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("name", ["unclosable 5", "unclosable chunked", "list unclosable"])
def test_an_answer_is_what_it_is_when_its_close_fails(
    site: Site, program: Any, server: Running, name: str, method: str, caplog: pytest.LogCaptureFixture
) -> None:
    with Connection(server.connect()) as connection:
        for count in (1, 2):  # the connection goes on
            reply = connection.ask(method, f"{site.prefix}/apps/plain/app/{quote(name)}", headers=bearer(site))
            whole = "unclosable" if name == "list unclosable" else "hello"
            assert (reply.status, reply.text) == (200, "" if method == "HEAD" else whole)
            wait_for(lambda count=count: len(program.CLOSED) == count, "the end of its answer")  # type: ignore[misc]
    assert "close() of the program's answer failed" in caplog.text


def test_a_list_with_a_bad_chunk_is_closed(site: Site, program: Any) -> None:
    assert get(site, "plain/app/bad%20list", site.token("apps/plain:read")).status == 500
    assert program.CLOSED == ["list body"]


def test_a_program_that_exits_at_head_gets_no_body_out(site: Site, program: Any, server: Running) -> None:
    answer = raw(site, server, "raise", "HEAD", "Connection: close")
    assert status_of(answer) == 500
    assert answer.endswith(b"\r\n\r\n")
    assert answer.count(b"\r\n\r\n") == 1


def test_a_body_that_is_read_while_the_answer_goes_out_leaves_the_next_request_whole(
    site: Site, program: Any, server: Running
) -> None:
    second = head(
        "GET", f"{site.prefix}/apps/plain/app/list", f"Authorization: {bearer(site)['Authorization']}", "Connection: close"
    )
    answer = raw(site, server, "read late", "POST", "Content-Length: 9", rest=b"some data" + second)
    assert b"some data" in answer
    assert answer.count(b"HTTP/1.1 200") == 2
    assert answer.endswith(b"abc")


def test_nobody_is_asked_for_a_body_in_the_middle_of_an_answer(site: Site, program: Any, server: Running) -> None:
    token = bearer(site)["Authorization"]
    lines = (f"Authorization: {token}", "Content-Length: 9", "Expect: 100-continue")
    with server.connect() as connection:
        connection.sendall(head("POST", f"{site.prefix}/apps/plain/app/read%20late", *lines))
        begun = b""
        while b"first" not in begun:
            begun += connection.recv(4096)
        connection.sendall(b"some data")
        answer = begun + read_all(connection)
    assert answer.count(b"HTTP/1.1") == 1
    assert b"some data" in answer


def test_headers_that_can_be_read_only_once_go_out(site: Site, program: Any) -> None:
    reply = get(site, "plain/app/generated", site.token("apps/plain:read"))
    assert (reply.status, reply["X-A"], reply["Content-Length"], reply.text) == (200, "a", "1", "x")
    assert reply["Content-Type"] == "text/plain"


def test_what_is_written_comes_before_what_is_returned(site: Site, program: Any) -> None:
    reply = get(site, "stock/app/write", site.token("apps/stock:read"))
    assert reply.body == b"written, " + b"x" * 3_000_000 + b", returned"
    assert program.CLOSED == ["write"]


def test_the_head_of_an_answer_may_be_replaced_until_its_first_bytes(site: Site, program: Any) -> None:
    reply = get(site, "stock/app/late", site.token("apps/stock:read"))
    assert (reply.status, reply.text) == (503, "replaced")
    assert program.CLOSED == ["late"]


@pytest.mark.parametrize(
    "name",
    ["hop", "line", "name", "length", "lengths", "letter", "informed", "wrong", "text", "silent", "twice", "short list",
     "long list", "long write", "long stream"],
)  # fmt: skip
def test_an_answer_that_is_none_is_a_fault_of_the_program(
    site: Site, program: Any, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    reply = get(site, f"plain/app/{quote(name)}", site.token("apps/plain:read"))
    assert (reply.status, reply.json["code"]) == (500, "internal_error")
    assert ([name] if name in ("text", "silent") else []) == program.CLOSED
    assert "request" in caplog.text


def test_headers_are_those_of_an_app_unless_the_program_has_others(site: Site, program: Any) -> None:
    token = site.token("apps/*:read")
    reply = get(site, "stock/app/", token)
    assert reply["Content-Security-Policy"] == app.PAGE_POLICY
    assert (reply["X-Content-Type-Options"], reply["X-Frame-Options"], reply["Cache-Control"]) == (
        "nosniff",
        "DENY",
        "no-store",
    )
    own = get(site, "plain/app/policy", token)
    assert (own["Content-Security-Policy"], own["Date"]) == ("default-src *", "")


@pytest.mark.parametrize(
    ("name", "method", "status", "length", "body"),
    [
        ("list", "GET", 200, "3", "abc"),
        ("list", "HEAD", 200, "", ""),
        ("none", "GET", 204, "", ""),
        ("same", "GET", 304, "", ""),
    ],
)
def test_an_answer_has_the_length_that_is_known(
    site: Site, program: Any, name: str, method: str, status: int, length: str, body: str
) -> None:
    target = f"{site.prefix}/apps/plain/app/{name}"
    with running(site.runner.answer) as own, Connection(own.connect()) as connection:
        for _ in range(2):  # the connection goes on
            reply = connection.ask(method, target, headers=bearer(site))
            assert (reply.status, reply["Content-Length"], reply.text) == (status, length, body)


def test_a_status_that_http_has_no_name_for_goes_out(site: Site, program: Any, server: Running) -> None:
    with Connection(server.connect()) as connection:
        assert connection.ask("GET", f"{site.prefix}/apps/plain/app/odd", headers=bearer(site)).status == 299


def test_a_program_that_exits_ends_no_server(site: Site, program: Any, server: Running) -> None:
    with Connection(server.connect()) as connection:
        assert connection.ask("GET", f"{site.prefix}/apps/plain/app/raise", headers=bearer(site)).status == 500
    with Connection(server.connect()) as connection:
        assert connection.ask("GET", f"{site.prefix}/apps/stock/app/x", headers=bearer(site)).status == 200


def test_a_wsgi_address_is_among_the_routes(site: Site) -> None:
    rows = {row["path"]: row["methods"].split() for row in app.plugin("info").routes(site.app)}
    assert rows["/apps/stock/app/PATH"] == ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
    assert rows["/apps/stock"] == ["GET"]
    assert get(site, "stock/static/x", site.token("**:*"), "POST", b"")["Allow"] == "GET, HEAD, OPTIONS"


# ---- Bottle

SHOP = """
import bottle

shop = bottle.Bottle()


@shop.get("/")
def start():
    return {"user": bottle.request.auth[0], "address": bottle.request.url}


@shop.post("/order")
def order():
    bottle.response.set_cookie("last", bottle.request.forms.what)
    bottle.redirect(shop.get_url("thanks"))


@shop.get("/thanks", name="thanks")
def thanks():
    return "Thanks for " + bottle.request.get_cookie("last")


@shop.put("/count")
def count():
    return str(len(bottle.request.body.read()))
"""


def test_a_bottle_program_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", sys.path[:])
    (tmp_path / "wsgi_shop.py").write_text(SHOP)
    site = Site(tmp_path, prefix="/ops", edit=lambda text: text + '[apps.shop]\nwsgi = "wsgi_shop:shop"\n')
    try:
        cookie = site.sign_in(site.token("apps/shop:read"))
        start = get(site, "shop/app/", cookie).json
        assert start == {"user": "ann", "address": "http://localhost/ops/apps/shop/app/"}
        sent = get(site, "shop/app/order", cookie, "POST", b"what=tea", Origin="http://localhost", **FORM)
        assert (sent.status, sent["Location"]) == (303, "http://localhost/ops/apps/shop/app/thanks")
        assert get(site, "shop/app/thanks", Cookie=f"{cookie}; {sent.cookie}").text == "Thanks for tea"
        token = site.token("apps/shop:read")
        with running(site.runner.answer) as server, Connection(server.connect()) as connection:
            found = connection.ask(
                "PUT", "/ops/apps/shop/app/count", drip([b"x" * 9000] * 3), {"Authorization": f"Bearer {token}"}
            )
        assert found.text == "27000", "a chunked body is not lost"
    finally:
        site.close()


# ---- what app.toml may say

CONFIG = """
[http]
workers = 2
[providers.main]
kind = "sql"
url = "sqlite:///app.db"
[apps.stock]
wsgi = "VALUE"
[public]
grants = ["apps/stock:read"]
"""
MODULES = {
    "wsgi_broken.py": "import missing_module_of_it\n",
    "wsgi_exits.py": "raise SystemExit(0)\n",
    "wsgi_odd.py": "application = 5\ndef aplication(environ, start_response): pass\n",
    "app.py": "application = print\n",
}
FAULTS = {
    "wsgi_no_such:application": "names the module wsgi_no_such, which is neither beside app.toml nor among the "
    "packages of this Python",
    "wsgi_broken:application": "names the module wsgi_broken, which fails to load: ModuleNotFoundError: No module named "
    "'missing_module_of_it'",
    "wsgi_exits:application": "names the module wsgi_exits, which fails to load: SystemExit: 0",
    "wsgi_odd:applicaton": "names applicaton, which the module wsgi_odd does not have; did you mean application?",
    "wsgi_odd:application": "names application of the module wsgi_odd, which is not callable",
    "app:application": "names the module app, a name that another module has: give app.py another one",
    "wsgi_odd": 'must be "MODULE:CALLABLE", such as "stock:application" of stock.py beside app.toml',
    "wsgi-odd:x": 'must be "MODULE:CALLABLE", such as "stock:application" of stock.py beside app.toml',
}


def site_with(folder: Path, value: str) -> Path:
    for name, text in MODULES.items():
        (folder / name).write_text(text)
    (folder / "app.toml").write_text(CONFIG.replace("VALUE", value))
    return folder


def run(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    command = [*backends.SATCHEL, *args]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("value", FAULTS)
def test_server_check_names_a_program_that_cannot_be_used(tmp_path: Path, value: str) -> None:
    done = run(site_with(tmp_path, value), "server", "check", "--json")
    faults = [(one["pointer"], one["detail"]) for one in json.loads(done.stdout)["faults"]]
    assert (done.returncode, faults) == (2, [("apps.stock.wsgi", FAULTS[value])])


@pytest.mark.parametrize("value", ["wsgi_no_such:application", "wsgi_odd:application", "wsgi_odd"])
def test_a_server_does_not_start_without_its_program_and_says_why(tmp_path: Path, value: str) -> None:
    done = run(site_with(tmp_path, value), "server", "--bind", "127.0.0.1:0")
    assert done.returncode
    assert re.search(rf"apps\.stock\.wsgi:? {re.escape(FAULTS[value])}", done.stderr), done.stderr
    assert "Traceback" not in done.stderr


COUNTS = """
import os

BEGAN_IN = os.getpid()


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"WORD %d" % (BEGAN_IN == os.getpid())]
"""


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc")
def test_each_worker_imports_the_program_itself_and_a_reload_does_so_anew(tmp_path: Path) -> None:
    (tmp_path / "wsgi_counts.py").write_text(COUNTS)
    (tmp_path / "app.toml").write_text(CONFIG.replace("VALUE", "wsgi_counts:application"))
    with serving(tmp_path) as server:
        assert {server.ask("GET", "/apps/stock/app/").text for _ in range(8)} == {"WORD 1"}
        (tmp_path / "wsgi_counts.py").write_text("1 / 0")
        server.process.send_signal(signal.SIGHUP)
        wait_for(lambda: "reload" in server.ask("GET", "/readyz").json, "its refusal")
        assert server.ask("GET", "/apps/stock/app/").text == "WORD 1", "the old one goes on"
        (tmp_path / "wsgi_counts.py").write_text(COUNTS.replace("WORD", "another word"))
        server.process.send_signal(signal.SIGHUP)
        wait_for(lambda: server.ask("GET", "/apps/stock/app/").text == "another word 1", "the new one")
    assert any("the new workers do not start: apps.stock.wsgi names the module wsgi_counts" in one for one in server.told)
