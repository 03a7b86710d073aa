"""plugins/unserved.py: what the server itself refuses is answered as everything else is, byte for byte."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import wait_for
from http_client import Server, raw, serving, status_of
from inner_server import LIMITS, Running, post, running

import app

PAGE = b"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n"
HOST = b"Host: localhost\r\nConnection: close\r\n"
CONFIG = """
[http]
workers = 1
max_body = "1KB"
[public]
grants = ["forms/open:create"]
[providers.main]
kind = "sql"
url = "sqlite:///app.db"
[forms.open]
provider = "main"
fields.text = { type = "string" }
"""
JSON = b"Content-Type: application/json\r\n"
REFUSED = {  # (status, code, method, target, version, fields)
    "no request": (400, "bad_request", b"GET", b"a b", b"1.1", HOST),
    "a field without a name": (400, "bad_request", b"GET", b"/", b"1.1", HOST + b": x\r\n"),
    "no host": (400, "bad_request", b"GET", b"/", b"1.1", b""),
    "an odd target": (400, "bad_request", b"GET", b"x", b"1.1", HOST),
    "a chunk": (400, "bad_request", b"POST", b"/forms/open", b"1.1", HOST + JSON + b"Transfer-Encoding: chunked\r\n"),
    "no length": (400, "bad_request", b"POST", b"/", b"1.1", HOST + b"Content-Length: x\r\n"),
    "a body": (413, "too_large", b"POST", b"/forms/open", b"1.1", HOST + JSON + b"Content-Length: 99000\r\n"),
    "a target": (414, "uri_too_long", b"GET", b"/" + b"a" * 9000, b"1.1", HOST),
    "an expectation": (417, "expectation_failed", b"GET", b"/", b"1.1", HOST + b"Expect: tea\r\n"),
    "another host": (421, "misdirected_request", b"GET", b"/", b"1.1", HOST.replace(b"localhost", b"evil.example")),
    "a long field": (431, "head_too_large", b"GET", b"/", b"1.1", HOST + b"X: " + b"a" * 9000 + b"\r\n"),
    "many fields": (431, "head_too_large", b"GET", b"/", b"1.1", HOST + b"X: a\r\n" * 101),
    "a coding": (501, "unsupported", b"POST", b"/", b"1.1", HOST + b"Transfer-Encoding: gzip, chunked\r\n"),
    "a tunnel": (501, "unsupported", b"CONNECT", b"a:1", b"1.1", HOST),
    "a version": (505, "version_not_supported", b"GET", b"/", b"2.0", HOST),
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder: Path = tmp_path_factory.mktemp("refusals")
    (folder / "app.toml").write_text(CONFIG)
    with serving(folder) as found:
        yield found


def asked(method: bytes, target: bytes, version: bytes, fields: bytes) -> bytes:
    return method + b" " + target + b" HTTP/" + version + b"\r\n" + fields + b"\r\nzz\r\n"


def parts(answer: bytes) -> tuple[dict[str, str], bytes]:
    """The fields of one answer, in lower case, and its body."""
    lead, _, body = answer.partition(b"\r\n\r\n")
    pairs = [line.partition(": ") for line in lead.decode("latin-1").split("\r\n")[1:]]
    assert len({name.lower() for name, _, _ in pairs}) == len(pairs), lead
    return {name.lower(): value for name, _, value in pairs}, body


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_before_routing_is_a_problem_for_programs_and_a_page_for_people(server: Server, name: str) -> None:
    status, code, *request = REFUSED[name]
    method, target, version, fields = request
    fields_of_answer, body = parts(answer := raw(server, asked(method, target, version, fields)))
    problem = json.loads(body)
    assert status_of(answer) == problem["status"] == status
    assert (fields_of_answer["content-type"], problem["code"]) == ("application/problem+json", code)
    assert len(problem["request_id"]) == 32
    assert (fields_of_answer["x-request-id"], fields_of_answer["connection"]) == (problem["request_id"], "close")
    assert (int(fields_of_answer["content-length"]), fields_of_answer["x-content-type-options"]) == (len(body), "nosniff")
    fields_of_page, page = parts(answer := raw(server, asked(method, target, version, PAGE + fields)))
    assert status_of(answer) == status
    assert fields_of_page["content-type"] == "text/html; charset=utf-8"
    assert fields_of_page["x-request-id"].encode() in page
    assert page.endswith(b"</html>\n")
    assert int(fields_of_page["content-length"]) == len(page)


@pytest.mark.parametrize("name", [name for name, one in REFUSED.items() if one[2] == b"GET"])
@pytest.mark.parametrize("accept", [b"", PAGE])
def test_a_refusal_of_head_has_no_body(server: Server, name: str, accept: bytes) -> None:
    status, _, _, target, version, fields = REFUSED[name]
    head, body = parts(answer := raw(server, asked(b"HEAD", target, version, accept + fields)))
    assert (status_of(answer), body) == (status, b"")
    assert int(head["content-length"]) > 100


def test_each_refusal_on_a_connection_has_an_id_of_its_own(server: Server) -> None:
    taken = asked(b"GET", b"/healthz", b"1.1", b"Host: localhost\r\n").removesuffix(b"zz\r\n")
    first, _, second = raw(server, taken + asked(b"GET", b"x", b"1.1", HOST)).partition(b"HTTP/1.1 400")
    problem = json.loads(second.partition(b"\r\n\r\n")[2])
    assert len(problem["request_id"]) == 32
    assert problem["request_id"].encode() not in first


def echo(head: app.Head, connection: app.Connection) -> app.Answer:
    while connection.body.read(9, math.inf):
        pass
    return app.Answer(200, [], b"ok")


def refused(server: Running, data: bytes) -> tuple[int, dict[str, str], bytes]:
    answer = server.raw(data)
    return (status_of(answer), *parts(answer))


@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
def test_a_head_that_comes_too_late_is_a_problem(method: bytes) -> None:
    with running(echo) as server:
        status, fields, body = refused(server, method + b" / HTTP/1.1\r\n" + PAGE)
        assert (status, fields["content-type"], fields["connection"]) == (408, "application/problem+json", "close")
        assert (json.loads(body)["code"] == "request_timeout") if method == b"GET" else not body


@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
def test_a_connection_without_room_is_a_problem(method: bytes) -> None:
    limits = LIMITS._replace(head_s=20.0, silence_s=20.0, connections=1)
    with running(echo, limits=limits) as server, contextlib.closing(server.connect()) as held:
        held.sendall(post(b"Content-Length: 9", body=b"x"))  # what a thread waits for is no rest
        wait_for(lambda: len(server.server._slow) == 1, "its upload")
        status, fields, body = refused(server, method + b" / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (status, fields["retry-after"], fields["connection"]) == (503, "5", "close")
        assert not body or method == b"GET"
        if body:
            assert (json.loads(body)["code"], fields["content-type"]) == ("unavailable", "application/problem+json")
