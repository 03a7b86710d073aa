"""The generic provider beyond the contract suite: its presets, its settings, and services that misbehave."""

from __future__ import annotations

import itertools
import json
import logging
import re
import socket
import socketserver
import ssl
import subprocess
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, suppress
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import backends
import http_services
import pytest
import sites
from http_services import StandIn, as_json, generic, opened
from test_provider_contract import HARD_KEYS, everything, keys, race

import app
from app import Condition, Delete, Insert, Query, Record, Update

NOWHERE = Path("/nowhere")
QUICK = {"connect_timeout": 0.5, "read_timeout": 0.3, "answer_timeout": 0.6}
SETTINGS = {one.name: one for one in generic.GenericProvider.settings}
Made = Callable[..., tuple[StandIn, Any]]


@pytest.fixture
def stand_in() -> Iterator[Made]:
    """Starts a stand-in and a provider that uses it."""
    made: list[Any] = []

    def make(reply: Any, **settings: Any) -> tuple[StandIn, Any]:
        service = StandIn(reply)
        options = {"url": service.url, "records": "/{table}", **settings}
        provider = generic.GenericProvider("tickets", options, NOWHERE)
        provider.open()
        made.extend([provider, service])
        return service, provider

    yield make
    for one in made:
        one.close()


def said(error: app.AppError, *words: str) -> None:
    """The error names the provider and these words, and no host."""
    assert error.message.startswith("provider tickets: ")
    for word in words:
        assert word in error.message
    assert "127.0.0.1" not in error.message


# ---- settings


@pytest.mark.parametrize(
    ("settings", "place", "words"),
    [
        ({"url": "ftp://x", "records": "/{table}"}, "url", "must be http"),
        ({"url": "http://ann:secret@x/", "records": "/{table}"}, "url", "credentials go into headers"),
        ({"url": "http://x:99999", "records": "/{table}"}, "url", "is not a URL"),
        ({"url": "http://a..b/", "records": "/{table}"}, "url", "is not a URL"),
        ({"url": "http://x"}, "records", "is missing"),
        ({"url": "http://x", "records": "/all"}, "records", "{table}"),
        ({"url": "http://x", "blobs": "/all"}, "blobs", "{path}"),
        ({"url": "http://x", "preset": "jsonserver"}, "preset", "did you mean json-server?"),
        ({"url": "http://x", "preset": "satchel", "create": "post"}, "create", "POST, PUT"),
        ({"url": "http://x", "blobs": "/{path}", "listing": "ftp"}, "listing", "nginx, html, satchel"),
    ],
)
def test_settings_that_cannot_be_are_faults_of_the_configuration(settings: Any, place: str, words: str) -> None:
    with pytest.raises(app.ConfigError) as caught:
        generic.GenericProvider("tickets", settings, NOWHERE)
    assert caught.value.faults[0].pointer == f"providers.tickets.{place}"
    assert words in caught.value.message
    assert "secret" not in caught.value.message


def test_headers_take_secrets_by_name_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TICKETS", "s3cret")
    (tmp_path / "key").write_text("other\n")
    convert = SETTINGS["headers"].read
    given = {"Authorization": "Bearer env:TICKETS", "X-Key": "file:key", "X-Team": "ops"}
    assert convert(given, tmp_path) == {"Authorization": "Bearer s3cret", "X-Key": "other", "X-Team": "ops"}
    for wrong in (
        {"Authorization": "s3cret"},
        {"X-Api-Key": "x"},
        {"Host": "x"},
        {"A B": "x"},
        {"X": "env:NOT_SET"},
        {"X": "a\nb"},
        {"X": 5},
        5,
        [],
    ):
        with pytest.raises(ValueError, match=r"\w"):
            convert(wrong, tmp_path)


@pytest.mark.parametrize("wrong", [5, {"eq": 5}, {"contains": "a={value}"}, {"eq": "{value}"}])
def test_filters_that_are_no_queries_are_refused_in_words(wrong: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"must be a? ?(table|text|queries)"):
        SETTINGS["filters"].read(wrong, tmp_path)


def test_a_share_on_a_service_without_files_is_a_fault_at_start(tmp_path: Path) -> None:
    toml = '[providers.main]\nkind = "generic"\nurl = "http://x"\npreset = "json-server"\n[files.docs]\n'
    with pytest.raises(app.ConfigError) as caught:
        sites.Site(tmp_path, toml)
    assert any("no Blobs" in fault.detail for fault in caught.value.faults)


def test_what_a_preset_says_can_be_overridden_even_by_nothing() -> None:
    one = generic.GenericProvider(
        "x", {"url": "http://x", "preset": "satchel", "records": "", "blobs": "/files/s/{path}"}, NOWHERE
    )
    assert not one.has(app.Records)
    assert one.has(app.Blobs)
    assert one.has(app.Provider)
    assert not one.has(app.Queries)
    assert (
        generic.GenericProvider("x", {"url": "http://x", "preset": "satchel", "preconditions": False}, NOWHERE).conditional
        is False
    )


# ---- faults


def test_a_service_that_is_away_is_unavailable_and_is_back_without_a_restart() -> None:
    port = backends.free_port()
    provider = generic.GenericProvider("tickets", {"url": f"http://127.0.0.1:{port}", "records": "/{table}"}, NOWHERE)
    provider.open()
    for work in (provider.ping, lambda: provider.get("t", "a"), lambda: provider.commit([Insert("t", "a", {})])):
        with pytest.raises(app.Unavailable) as caught:
            work()
        said(caught.value, "cannot be reached", "is it running")
        assert str(port) in caught.value.hint
    service = StandIn(lambda *_: as_json([]), port)
    try:
        assert provider.ping() < 5
        assert provider.find(Query("t")) == app.Page([], None)
    finally:
        provider.close()
        service.close()


@pytest.mark.parametrize(
    ("reply", "error", "words"),
    [
        ((200, {"Content-Type": "text/html"}, b"<html>sign in</html>"), app.Unavailable, "(text/html) is not JSON"),
        ((500, {}, b"Traceback"), app.Unavailable, "failed (status 500)"),
        ((200, {"Content-Length": "100", "Close": "1"}, b'[{"id":"a"}'), app.Unavailable, "broke off"),
        ((200, {}, b'[{"id":'), app.Unavailable, "is not JSON"),
        ((200, {}, b"[" * 100_000), app.Unavailable, "is not JSON"),
        ((200, {}, b'{"items": []}'), app.Unavailable, "no list at its top"),
        ((200, {}, b"[1]"), app.Unavailable, "is not a JSON object"),
        ((200, {}, b'[{"n": 1}]'), app.Unavailable, "no key in id"),
        ((200, {}, b'[{"id": "a", "_version": "x"}]'), app.Unavailable, "no version in _version"),
        ((401, {}, b""), app.Unavailable, "refuses the credential"),
        ((403, {}, b""), app.Unavailable, "refuses the credential"),
        ((404, {}, b""), app.ConfigError, "no table t"),
        ((429, {"Retry-After": "17"}, b""), app.Unavailable, "wants fewer requests (status 429)"),
        ((503, {"Retry-After": "17"}, b""), app.Unavailable, "status 503"),
        (None, app.Unavailable, "broke off"),
    ],
)
def test_answers_that_are_none_are_errors_that_say_what_to_check(stand_in: Made, reply: Any, error: Any, words: str) -> None:
    _, provider = stand_in(lambda *_: reply)
    with pytest.raises(error) as caught:
        provider.find(Query("t"))
    said(caught.value, "reading t", words)
    if reply and "Retry-After" in reply[1]:
        assert caught.value.retry_after_s == 17


def test_a_record_that_is_none_of_ours_takes_no_list_with_it(stand_in: Made) -> None:
    items = b'[{"id":"a","n":1},{"id":"b","_version":"x"},{"id":"c","n":"\\ud800"}'
    items += b',{"id":"d","n":1e400},{"id":"e","n":"\\u0000"}]'
    _, provider = stand_in(lambda *_: (200, {}, items))
    found = provider.find(Query("t")).items
    assert [(r.key, r.version, r.damage) for r in found] == [
        ("a", 1, ""), ("b", 1, "has no version in _version"), ("c", 1, ""), ("d", 1, ""), ("e", 1, ""),
    ]  # fmt: skip
    assert app.damage_of(found[2].value["n"]) == "has half of a surrogate pair"
    assert provider.count(Query("t", (Condition("n", "null", False),))) == 4


def test_a_service_that_answers_and_refuses_one_thing_is_not_away(stand_in: Made) -> None:
    _, provider = stand_in(lambda _, target, *__: (200 if target == "/" else 403, {}, b"{}"))
    for work in (lambda: provider.find(Query("t")), lambda: provider.get("t", "a")):
        with pytest.raises(app.NotPermitted) as caught:
            work()
        said(caught.value, "status 403")


@pytest.mark.parametrize("status", [500, 401, 404, 429, 400, 413, 507])
def test_a_write_that_is_refused_says_so_and_leaves_nothing(stand_in: Made, status: int) -> None:
    service, provider = stand_in(lambda method, *_: (404, {}, b"{}") if method == "GET" else (status, {}, b"no"))
    expected = dict.fromkeys((401, 429, 500), app.Unavailable)
    expected |= {400: app.Invalid, 413: app.TooLarge, 507: app.StorageFull}
    with pytest.raises(expected.get(status, app.ConfigError)) as caught:
        provider.commit([Insert("t", "a", {})])
    said(caught.value, "writing t/a", str(status))
    assert [method for method, *_ in service.asked].count("POST") == 1


def test_a_service_that_is_slow_or_trickles_is_given_up_in_time(stand_in: Made) -> None:
    service, slow = stand_in(lambda *_: service.hold.wait(10) and None, **QUICK)

    def trickle() -> Iterator[bytes]:
        while not trickling.hold.wait(0.05):
            yield b" "

    trickling, drips = stand_in(lambda *_: (200, {}, trickle()), **QUICK)
    for provider, least_s in ((slow, 0.25), (drips, 0.5)):
        began = time.monotonic()
        with pytest.raises(app.Unavailable) as caught:
            provider.find(Query("t"))
        assert least_s < time.monotonic() - began < 3
        said(caught.value, "did not answer in time", "timeout")


def test_a_write_of_which_nobody_knows_is_said_so_and_sent_once(stand_in: Made) -> None:
    service, provider = stand_in(lambda method, *_: (404, {}, b"{}") if method == "GET" else None)
    with pytest.raises(app.Unavailable, match="whether it was done is not known"):
        provider.commit([Insert("t", "a", {})])
    assert [method for method, *_ in service.asked] == ["GET", "POST"]


def test_a_gigabyte_of_json_is_not_read(stand_in: Made) -> None:
    sent = [0]

    def flood() -> Iterator[bytes]:
        for _ in range(1000):
            sent[0] += 1_000_000
            yield b"[" + b'"x",' * 250_000

    _, provider = stand_in(lambda *_: (200, {}, flood()), max_answer=2_000_000)
    tracemalloc.start()
    try:
        with pytest.raises(app.TooLarge) as caught:
            provider.find(Query("t"))
        assert tracemalloc.get_traced_memory()[1] < 12_000_000
    finally:
        tracemalloc.stop()
    said(caught.value, "reading t", "2,000,000", "max_answer")
    assert sent[0] < 50_000_000


def test_redirects_are_not_followed_and_other_hosts_are_never_asked(stand_in: Made) -> None:
    other, _ = stand_in(lambda *_: as_json([]))
    _, moved = stand_in(lambda *_: (302, {"Location": other.url + "/t"}, b""))
    with pytest.raises(app.ConfigError, match="is not followed"):
        moved.find(Query("t"))
    data = {"items": [{"id": "a"}], "next": other.url + "/t?page=2"}
    _, paged = stand_in(lambda *_: as_json(data), items="/items", next="/next")
    with pytest.raises(app.ConfigError, match="at another place than url"):
        paged.find(Query("t"))
    assert other.asked == []


@pytest.mark.parametrize("host", ["169.254.169.254", "[fe80::1]", "[::ffff:169.254.169.254]", "[64:ff9b::a9fe:a9fe]"])
def test_link_local_addresses_are_refused(host: str) -> None:
    provider = generic.GenericProvider("tickets", {"url": f"http://{host}/", "records": "/{table}"}, NOWHERE)
    provider.open()
    with pytest.raises(app.ConfigError) as caught:
        provider.find(Query("t"))
    said(caught.value, "link-local")


def test_what_a_name_resolves_to_is_checked_and_is_what_is_connected_to(
    stand_in: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    service, _ = stand_in(lambda *_: as_json([]))
    port = urlsplit(service.url).port
    answers: list[str] = []

    def resolve(host: str, number: int, **_: Any) -> Any:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (answers.pop(0), number))]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    provider = generic.GenericProvider("tickets", {"url": f"http://meta.internal:{port}", "records": "/{table}"}, NOWHERE)
    provider.open()
    answers[:] = ["127.0.0.1", "169.254.169.254"]
    assert provider.find(Query("t")).items == []  # a second question would have got the other address
    assert answers == ["169.254.169.254"]
    assert service.asked[-1][2]["Host"] == f"meta.internal:{port}"
    provider.close()
    provider.open()
    with pytest.raises(app.ConfigError, match="link-local"):
        provider.find(Query("t"))


def test_secrets_are_in_no_error_hint_repr_or_log(stand_in: Made, caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    caplog.set_level(logging.DEBUG)
    headers = {"Authorization": "Bearer s3cret-token"}
    _, provider = stand_in(lambda m, p, given, b: (500, {}, given["Authorization"].encode()), headers=headers)
    with pytest.raises(app.Unavailable) as caught:
        provider.get("t", "a")
    error: BaseException | None = caught.value
    assert "status 500" in str(error)
    texts = [repr(provider), repr(provider.warnings()), caplog.text, caught.value.hint]
    while error:
        texts += [str(error), repr(error)]
        error = error.__cause__
    assert "s3cret" not in "".join(texts)
    config = app.ProviderConfig(name="tickets", options={"headers": headers}, kind="generic")
    assert "s3cret" not in repr(config)


def test_certificates_are_checked_against_tls_ca_and_the_name(stand_in: Made, tmp_path: Path) -> None:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-days", "2"]
    kind = ["-newkey", "rsa:2048", "-keyout", str(key), "-out", str(cert)]
    subprocess.run([backends.program("openssl"), "req", "-x509", "-nodes", *kind, *names], check=True, capture_output=True)
    stop = threading.Event()
    drips = (b" " for _ in itertools.takewhile(lambda _: not stop.wait(0.05), itertools.count()))
    service, _ = stand_in(lambda _, path, *__: (200, {}, drips) if path == "/slow/t" else as_json([]))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    service.server.socket = context.wrap_socket(service.server.socket, server_side=True)

    def ask(host: str, **settings: Any) -> app.Page:
        url = f"https://{host}:{service.server.server_port}"
        provider = generic.GenericProvider("tickets", {"url": url, "records": "/{table}", **settings}, NOWHERE)
        provider.open()
        with closing(provider):
            return [provider.find(Query("t")) for _ in range(3)][-1]

    assert ask("localhost", tls_ca=cert).items == []
    for host, settings in (("localhost", {}), ("127.0.0.1", {"tls_ca": cert})):
        with pytest.raises(app.Unavailable) as caught:
            ask(host, **settings)
        said(caught.value, "SSLCertVerificationError", "tls_ca")
    assert len(service.asked) == 3
    assert len(set(service.peers)) == 1
    with pytest.raises(app.Unavailable, match="did not answer in time"):
        ask("localhost", tls_ca=cert, records="/slow/{table}", **QUICK)
    stop.set()


def test_a_connection_that_died_while_it_was_kept_costs_nothing(stand_in: Made) -> None:
    service, provider = stand_in(lambda *_: (200, {"Close": "1"}, b"[]"))
    for _ in range(5):
        assert provider.find(Query("t")).items == []
    assert len(service.asked) == 5


def test_connections_are_kept_over_every_kind_of_answer(stand_in: Made) -> None:
    replies = {"HEAD": (200, {}, b""), "GET": (404, {}, b"{}" * 100), "POST": (201, {}, b'{"id": "a", "_version": 1}')}
    service, provider = stand_in(lambda method, *_: replies[method])
    for _ in range(3):
        for work in (provider.ping, lambda: provider.get("t", "a"), lambda: provider.commit([Insert("t", "a", {})])):
            work()
    assert len(service.peers) == 12
    assert len(set(service.peers)) == 1


def test_connections_are_bounded_and_shared(stand_in: Made) -> None:
    service, provider = stand_in(lambda *_: time.sleep(0.02) or as_json([]), connections=2)
    assert all(answer == app.Page([], None) for answer in race(8, lambda n: provider.find(Query("t"))))
    assert len(service.peers) == 8
    assert len(set(service.peers)) <= 2
    provider.close()
    for _ in set(service.peers):
        assert service.hung_up.acquire(timeout=5)
    with pytest.raises(app.Unavailable, match="not open"):
        provider.find(Query("t"))


def test_who_finds_all_connections_in_use_does_not_wait_for_ever(stand_in: Made) -> None:
    _, provider = stand_in(lambda *_: (200, {"ETag": '"v1"'}, b"x" * 1_000_000), blobs="/{path}", connections=1, **QUICK)
    reader = provider.read("a")
    with pytest.raises(app.Unavailable) as caught:
        provider.find(Query("t"))
    said(caught.value, "cannot be reached (TimeoutError)")
    assert len(everything(reader)) == 1_000_000
    assert provider.stat("a").size_bytes == 1_000_000


def test_a_connection_is_dropped_with_the_rest_of_a_file_that_nobody_reads(stand_in: Made) -> None:
    service, provider = stand_in(lambda *_: (200, {"ETag": '"v1"'}, b"x" * 5_000_000), blobs="/{path}", connections=1)
    provider.read("a").close()
    assert everything(provider.read("a", 4_999_998)) == b"xx"
    assert len(set(service.peers)) == 2


@pytest.mark.parametrize(("method", "times"), [("GET", 2), ("POST", 1)])
def test_what_changes_nothing_is_asked_again_where_a_kept_connection_turns_out_dead(
    stand_in: Made, method: str, times: int
) -> None:
    replies: list[Any] = []

    def reply(asked: str, *_: Any) -> Any:
        return replies.pop(0) if asked == method and replies else as_json([]) if asked == "HEAD" else as_json({}, 404)

    service, provider = stand_in(reply)
    provider.ping()  # from here on a connection is kept
    replies[:] = [None]
    if method == "GET":
        assert provider.get("t", "a") is None
    else:
        with pytest.raises(app.Unavailable, match=r"broke off .* whether it was done is not known"):
            provider.commit([Insert("t", "a", {})])
    assert [asked for asked, *_ in service.asked].count(method) == times


class Raw(socketserver.BaseRequestHandler):
    """Has nothing where HEAD asks for it, answers `parts` to any other head, reads no body, and hangs up."""

    parts: Iterable[bytes]

    def handle(self) -> None:
        with self.request.makefile("rb") as file:
            head = list(iter(lambda: file.readline().strip(), b""))
        nothing = [b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"]
        with suppress(OSError):
            for part in nothing if head[0].startswith(b"HEAD") else self.parts:
                self.request.sendall(part)


@pytest.fixture
def raw() -> Iterator[Callable[..., Any]]:
    """Starts a server that sends just these bytes, and a provider that uses it."""
    made: list[Any] = []

    def make(parts: Iterable[bytes], **settings: Any) -> Any:
        handler = type("Handler", (Raw,), {"parts": parts})
        server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}"
        provider = generic.GenericProvider("tickets", {"url": url, "records": "/{table}", **settings}, NOWHERE)
        provider.open()
        made.append(server)
        return provider

    yield make
    for one in made:
        one.shutdown()
        one.server_close()


def test_an_answer_that_comes_before_the_body_was_sent_is_read(raw: Any) -> None:
    provider = raw([b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"], blobs="/{path}")
    with pytest.raises(app.TooLarge, match="no room"):
        provider.write("a", [b"x" * 64_000_000])


def test_a_head_that_trickles_is_given_up_in_time(raw: Any) -> None:
    stop = threading.Event()
    drips = (b"x" for _ in itertools.takewhile(lambda _: not stop.wait(0.05), itertools.count()))
    provider = raw(itertools.chain([b"HTTP/1.1 200 OK\r\nX-Slow: "], drips), **QUICK)
    began = time.monotonic()
    with pytest.raises(app.Unavailable) as caught:
        provider.find(Query("t"))
    stop.set()
    assert 0.5 < time.monotonic() - began < 3
    said(caught.value, "did not answer in time")


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n[\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n[",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n[",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1000 + b"\r\n",
        b"ICY 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000 + b"\r\n\r\n",
    ],
)
def test_answers_that_are_no_http_broke_off(raw: Any, answer: bytes) -> None:
    with pytest.raises(app.Unavailable) as caught:
        raw([answer]).find(Query("t"))
    said(caught.value, "broke off")


# ---- lists


ROWS = [{"id": f"{n:03}", "n": n} for n in range(95)]


def lister(how: str) -> Callable[..., http_services.Reply]:
    """A service of ROWS that pages in one of the usual ways, at most 20 at a time whatever is asked."""

    def reply(method: str, path: str, headers: Mapping[str, str], body: bytes) -> http_services.Reply:
        query = {name: values[0] for name, values in parse_qs(urlsplit(path).query).items()}
        size = min(int(query.get("limit", 20)), 20)
        start = {"page": lambda: (int(query.get("page", 1)) - 1) * size, "offset": lambda: int(query.get("offset", 0))}
        begin = start.get(how, lambda: int(query.get("cursor", 0)))()
        rows, end = ROWS[begin : begin + size], begin + size
        more = end < len(ROWS)
        if how == "Link":
            link = {"Link": f'<?cursor={end}&limit=20>; rel="next"'} if more else {}
            return 200, link, json.dumps(rows).encode()
        following = {"cursor": end, "link": f"/t?cursor={end}"}.get(how)
        return as_json({"data": {"rows": rows}, "more": following if more else None})

    return reply


@pytest.mark.parametrize(
    ("how", "settings"),
    [
        ("page", {"query": "page={page}&limit={limit}"}),
        ("offset", {"query": "offset={offset}&limit={limit}"}),
        ("cursor", {"query": "cursor={cursor}&limit={limit}", "next": "/more"}),
        ("link", {"query": "limit={limit}", "next": "/more"}),
        ("Link", {"query": "limit={limit}", "next": "header:Link", "items": ""}),
    ],
)
def test_lists_are_read_through_whatever_the_service_pages_by(stand_in: Made, how: str, settings: dict[str, str]) -> None:
    if how == "page":
        settings = settings | {"page_size": 20}
    _, provider = stand_in(lister(how), **{"items": "/data/rows", **settings})
    assert keys(provider.find(Query("t", limit=200))) == [row["id"] for row in ROWS]
    assert keys(provider.find(Query("t", where=(Condition("n", "gt", 90),), order_by=("-n",)))) == [
        "094",
        "093",
        "092",
        "091",
    ]
    assert provider.count(Query("t", where=(Condition("n", "lt", 3),))) == 3


def test_more_records_than_the_bound_are_refused_with_what_to_do(stand_in: Made) -> None:
    _, provider = stand_in(lister("offset"), items="/data/rows", query="offset={offset}&limit={limit}", max_records=50)
    with pytest.raises(app.TooLarge) as caught:
        provider.find(Query("t"))
    said(caught.value, "50 records", "max_records")


def test_a_list_that_changes_while_it_is_read_is_read_again(stand_in: Made) -> None:
    rows = list(ROWS)
    pages = [0]

    def reply(method: str, path: str, *_: Any) -> http_services.Reply:
        pages[0] += 1
        if pages[0] == 3:
            rows.pop(0)  # every later row moves up by one, and one would be skipped
        start = int(parse_qs(urlsplit(path).query)["offset"][0])
        return as_json({"rows": rows[start : start + 20], "total": len(rows)})

    settings = {"items": "/rows", "total": "/total", "query": "offset={offset}&limit={limit}", "page_size": 20}
    _, provider = stand_in(reply, **settings)
    assert keys(provider.find(Query("t", limit=200))) == [row["id"] for row in ROWS[1:]]


def test_only_conditions_that_narrow_to_no_less_are_passed_down(stand_in: Made) -> None:
    service, provider = stand_in(lambda *_: as_json([]), filters={"eq": "{field}={value}", "gte": "{field}_gte={value}"})

    def asked(*where: Condition) -> str:
        provider.find(Query("t", where=where))
        return unquote(urlsplit(service.asked[-1][1]).query)

    assert asked(Condition("state", "eq", "open"), Condition("n", "gt", 4)) == "state=open&n_gte=4"
    assert asked(Condition("flag", "eq", True), Condition("n", "eq", Decimal("2.0"))) == "flag=true&n=2"
    for field, op, value in [
        ("n", "eq", 0.1), ("n", "eq", 2**60), ("n", "gte", "a"), ("n", "lt", 3), ("a.b", "eq", "x"), ("id", "eq", "x"),
        ("t", "eq", ""), ("t", "eq", "a'b"), ("t", "contains", "x"), ("t", "ne", "x"), ("t", "null", True),
        ("n", "gte", 1e300),
    ]:  # fmt: skip
        assert asked(Condition(field, op, value)) == "", (field, op, value)


def test_filters_that_the_service_refuses_are_sent_once(stand_in: Made) -> None:
    pages = [[{"id": f"{n:02}", "state": "open" if n % 2 else "shut"} for n in range(begin, begin + 5)] for begin in (0, 5)]

    def reply(method: str, path: str, *_: Any) -> http_services.Reply:
        query = parse_qs(urlsplit(path).query)
        number = int(query["page"][0])
        return as_json({}, 400) if "state" in query else as_json(pages[number - 1] if number <= 2 else [])

    service, provider = stand_in(reply, query="page={page}", filters={"eq": "{field}={value}"})
    assert len(provider.find(Query("t", (Condition("state", "eq", "open"),))).items) == 5
    assert [unquote(urlsplit(path).query) for _, path, *_ in service.asked] == [
        "page=1&state=open", "page=1", "page=2", "page=3",
    ]  # fmt: skip


@pytest.mark.parametrize("order", ["id", "-id"])
def test_lists_by_key_that_stand_still_are_an_error_and_no_endless_loop(stand_in: Made, order: str) -> None:
    _, provider = stand_in(lambda *_: as_json([{"id": "b"}]), forward="after={key}", backward="before={key}")
    with pytest.raises(app.Unavailable, match="order of their keys"):
        provider.find(Query("t", order_by=(order,)))


# ---- writes that others may come between


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"preset": "json-server"}, "for records,"),
        ({"blobs": "/{path}"}, "for files,"),
        ({"preset": "json-server", "blobs": "/{path}"}, "for records and files,"),
        ({"blobs": "/{path}", "blob_preconditions": True}, ""),
        ({"preset": "satchel", "blobs": "/files/share/{path}"}, ""),
    ],
)
def test_what_only_one_process_may_write_is_said(settings: dict[str, Any], words: str) -> None:
    said = http_services.opened("main", {"url": "http://127.0.0.1:9", **settings}).warnings()
    assert len(said) == bool(words)
    assert words in "".join(said)


def test_a_write_of_another_process_is_lost_without_preconditions_and_a_conflict_with_them(stand_in: Made) -> None:
    store = {"n": 1, "_version": 1}

    def reply(method: str, path: str, headers: Mapping[str, str], body: bytes) -> http_services.Reply:
        if method == "GET":
            answer = as_json({"id": "a", **store}, ETag=f'"{store["_version"]}"')
            store.update(n=99, _version=2)  # another process, right after we have looked
            return answer
        if headers.get("If-Match", f'"{store["_version"]}"') != f'"{store["_version"]}"':
            return as_json({}, 412)
        store.update(json.loads(body))
        return as_json(store)

    _, lax = stand_in(reply)
    assert not lax.conditional
    assert "preconditions" in lax.warnings()[0]
    assert lax.commit([Update("t", "a", {"n": 2}, 1)]) == [Record("a", 2, {"n": 2})]
    store.update(n=1, _version=1)
    _, strict = stand_in(reply, preconditions=True)
    assert strict.conditional
    with pytest.raises(app.Conflict):
        strict.commit([Update("t", "a", {"n": 2}, 1)])
    assert store["n"] == 99


def test_a_write_waits_for_another_of_the_same_record_alone_and_not_for_ever(stand_in: Made) -> None:
    inside = threading.Event()

    def reply(method: str, path: str, headers: Mapping[str, str], body: bytes) -> http_services.Reply:
        if method == "POST" and b'"slow"' in body:
            inside.set()
            service.hold.wait(5)
        return as_json({}, 404) if method == "GET" else as_json(json.loads(body), 201)

    service, provider = stand_in(reply, answer_timeout=0.5, read_timeout=9)
    slow = threading.Thread(target=lambda: race(1, lambda n: provider.commit([Insert("t", "slow", {})])))
    slow.start()
    assert inside.wait(5)
    assert provider.commit([Insert("t", "other", {})]) == [Record("other", 1, {})]
    began = time.monotonic()
    with pytest.raises(app.Unavailable, match="in time"):
        provider.commit([Insert("t", "slow", {})])
    assert time.monotonic() - began < 3
    service.hold.set()
    slow.join()
    assert provider.commit([Insert("t", "slow", {})]) == [Record("slow", 1, {})]


def test_fields_that_the_service_drops_are_named(stand_in: Made) -> None:
    _, provider = stand_in(lambda method, *_: (404, {}, b"{}") if method == "GET" else as_json({"id": "a", "n": 1}, 201))
    with pytest.raises(app.ConfigError) as caught:
        provider.commit([Insert("t", "a", {"n": 1, "colour": "red"})])
    said(caught.value, "did not keep colour, _version")


def test_an_answer_to_a_write_may_say_nothing(stand_in: Made) -> None:
    for said in (b"", b"{}", b"null"):
        _, provider = stand_in(lambda method, *_: (404, {}, b"{}") if method == "GET" else (200, {}, said))  # noqa: B023
        assert provider.commit([Insert("t", "a", {"n": 1})]) == [Record("a", 1, {"n": 1})]
    _, odd = stand_in(lambda method, *_: (404, {}, b"{}") if method == "GET" else as_json([1], 201))
    with pytest.raises(app.Unavailable, match="not a JSON object"):
        odd.commit([Insert("t", "a", {"n": 1})])


def test_a_refusal_is_explained_over_the_only_connection_there_is(stand_in: Made) -> None:
    replies = {"POST": (500, {}, b"Error"), "HEAD": (200, {}, b""), "DELETE": (403, {}, b"no")}
    _, provider = stand_in(lambda method, *_: replies.get(method, (404, {}, b"")), connections=1, answer_timeout=9)
    began = time.monotonic()
    with pytest.raises(app.Unavailable, match="status 500"):
        provider.commit([Insert("t", "a", {})])  # looks whether somebody else has made the record
    _, present = stand_in(lambda method, *_: replies.get(method, as_json({"id": "a"})), connections=1, answer_timeout=9)
    with pytest.raises(app.NotPermitted, match="status 403"):
        present.commit([Delete("t", "a")])  # looks whether the service answers at all
    assert time.monotonic() - began < 5


# ---- another Satchel


@pytest.fixture
def inner(tmp_path: Path) -> Iterator[Any]:
    provider = http_services.open_satchel(tmp_path)
    yield provider
    for table in ("t", "u"):
        for record in provider.walk(Query(table)):
            provider.commit([Delete(table, record.key)])
    provider.close()


def own(record: Record) -> dict[str, Any]:
    """The value without the stamps of the inner Satchel."""
    return {name: value for name, value in record.value.items() if name not in app.RESERVED_FIELDS}


def test_another_satchel_keeps_records_with_its_own_stamps_and_versions(inner: Any) -> None:
    assert inner.conditional
    assert inner.exact_integers
    assert not inner.atomic
    value = {"n": 2**63 - 1, "text": "e\u0301 ' 🏖", "flag": False, "many": ["b"], "created_by": "me"}
    [made] = inner.commit([Insert("t", "a", value)])
    assert own(made) == {name: value[name] for name in value if name != "created_by"}
    assert made.value["created_by"] == "outer"
    assert inner.get("t", "a") == made
    [changed] = inner.commit([Update("t", "a", {"n": Decimal("0.30000000000000000001")}, 1)])
    assert (changed.version, own(changed)) == (2, {"n": Decimal("0.30000000000000000001")})
    assert inner.commit([Update("t", "a", {"n": 3})])[0].version == 3
    for write in (
        Insert("t", "a", {}),
        Update("t", "a", {}, 2),
        Delete("t", "a", 2),
        Update("t", "b", {}, 1),
        Delete("t", "b", 1),
    ):
        with pytest.raises(app.Conflict):
            inner.commit([write])
    with pytest.raises(app.Unsupported, match="counts versions itself"):
        inner.commit([Insert("t", "b", {}, 7)])
    assert inner.commit([Delete("t", "a", 3)]) == [Record("a", 0, {})]
    assert inner.get("t", "a") is None


def test_another_satchel_refuses_fields_that_its_form_has_not(inner: Any) -> None:
    with pytest.raises(app.Invalid, match="refuses it") as caught:
        inner.commit([Insert("t", "a", {"colour": "red"})])
    assert "colour" in caught.value.hint
    with pytest.raises(app.ConfigError, match="no table w"):
        inner.find(Query("w"))


def test_another_satchel_holds_difficult_keys(inner: Any) -> None:
    hard = [key for key in HARD_KEYS if len(key) < 100]
    for number, key in enumerate(hard):
        inner.commit([Insert("t", key, {"n": number})])
    assert [inner.get("t", key).value["n"] for key in hard] == list(range(len(hard)))
    assert keys(inner.find(Query("t", limit=100))) == sorted(hard, key=str.encode)


def test_pages_of_another_satchel_give_every_row_once_though_rows_come_and_go(inner: Any) -> None:
    for n in range(30):
        inner.commit([Insert("t", f"{n:03}", {"n": n, "g": n % 2})])
    where = (Condition("g", "eq", 1),)
    for order, first in (("id", "001"), ("-id", "029")):
        seen: list[str] = []
        page = inner.find(Query("t", where, (order,), limit=4))
        assert page.items[0].key == first
        while page.next:
            seen += keys(page)
            inner.commit([Delete("t", seen[-1])])
            inner.commit([Insert("t", seen[-1], {"n": 0, "g": 1})])
            page = inner.find(Query("t", where, (order,), limit=4, after=page.next))
        seen += keys(page)
        assert sorted(seen) == [f"{n:03}" for n in range(30) if n % 2]
    assert inner.count(Query("t")) == 30
    assert inner.count(Query("t", where)) == 15
    assert inner.find(Query("t", (Condition("text", "eq", "x"), Condition("colour", "eq", "red")))).items == []
    assert keys(inner.find(Query("t", order_by=("-n", "id"), limit=2))) == ["029", "028"]


@pytest.mark.parametrize("kind", [Insert, Update, Delete])
def test_of_writes_that_race_to_another_satchel_one_wins(inner: Any, kind: Any, tmp_path: Path) -> None:
    other = http_services.open_satchel(tmp_path)
    doors = [inner, other]
    if kind is not Insert:
        inner.commit([Insert("t", "a", {})])
    writes = {Insert: lambda n: Insert("t", "a", {"n": n}), Update: lambda n: Update("t", "a", {"n": n}, 1)}
    answers = race(8, lambda n: doors[n % 2].commit([writes.get(kind, lambda n: Delete("t", "a", 1))(n)]))
    assert sum(isinstance(answer, list) for answer in answers) == 1
    assert sum(isinstance(answer, app.Conflict) for answer in answers) == 7
    other.close()


# ---- PocketBase, as a stand-in that speaks what its documentation says: it cannot be installed here


class PocketBase:
    """The records API of one collection with the fields n, text and version; unknown fields are dropped without a word."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, Any]] = {}

    def whole(self, row: Mapping[str, Any]) -> dict[str, Any]:
        fixed = {"collectionId": "c", "collectionName": "t", "created": "2026-11-23 10:00:00.000Z", "updated": "now"}
        return {**fixed, "n": None, "text": "", "version": 0, **row}

    def __call__(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> http_services.Reply:
        parts = urlsplit(path)
        match = re.fullmatch(r"/api/collections/t/records(?:/([a-z0-9]+))?", unquote(parts.path))
        if not match:
            return as_json({"status": 404, "message": "Missing collection context.", "data": {}}, 404)
        key, sent = match[1], json.loads(body or b"{}")
        kept = {name: value for name, value in sent.items() if name in ("id", "n", "text", "version")}
        if method == "POST":
            if sent.get("id") in self.rows:
                return as_json({"status": 400, "data": {"id": {"code": "validation_not_unique"}}}, 400)
            self.rows[sent["id"]] = kept
            return as_json(self.whole(kept))
        if key is None:
            return self.listed({name: values[0] for name, values in parse_qs(parts.query).items()})
        if key not in self.rows:
            return as_json({"status": 404, "message": "The requested resource wasn't found.", "data": {}}, 404)
        if method == "DELETE":
            del self.rows[key]
            return 204, {}, b""
        if method == "PATCH":
            self.rows[key] |= kept
        return as_json(self.whole(self.rows[key]))

    def listed(self, query: Mapping[str, str]) -> http_services.Reply:
        rows = sorted(self.rows.values(), key=lambda row: row["id"], reverse=query.get("sort") == "-id")
        for part in filter(None, query.get("filter", "").replace("(", "").replace(")", "").split(" && ")):
            match = re.fullmatch(r"""(\w+)(>=|<=|=|>|<)(?:'(.*)'|(".*"|[\d.]+))""", part)
            if not match or match[1] not in ("id", "n", "text"):
                return as_json({"status": 400, "message": "Something went wrong while processing your request."}, 400)
            wanted = match[3] if match[3] is not None else json.loads(match[4])
            compare = {"=": "__eq__", ">": "__gt__", "<": "__lt__", ">=": "__ge__", "<=": "__le__"}[match[2]]
            rows = [row for row in rows if getattr(row.get(match[1], 0), compare)(wanted) is True]
        size = min(int(query.get("perPage", 30)), 20)
        total = -1 if "skipTotal" in query else len(rows)
        return as_json({"page": 1, "perPage": size, "totalItems": total, "items": [self.whole(row) for row in rows[:size]]})


@pytest.fixture
def pocketbase(stand_in: Made) -> tuple[StandIn, Any]:
    records = generic.PRESETS["pocketbase"]["records"]
    return stand_in(PocketBase(), preset="pocketbase", records=records)


def test_pocketbase_keeps_records_with_versions_of_ours(pocketbase: Any) -> None:
    service, provider = pocketbase
    assert provider.commit([Insert("t", "a", {"n": 1, "text": "x"})]) == [Record("a", 1, {"n": 1, "text": "x"})]
    assert provider.commit([Update("t", "a", {"text": "y"}, 1)]) == [Record("a", 2, {"text": "y"})]
    found = provider.get("t", "a")
    assert (found.version, found.value["text"], found.value.get("n")) == (2, "y", None)
    assert json.loads(service.asked[-2][3])["n"] is None  # a PATCH says what is gone
    for write in (Insert("t", "a", {}), Update("t", "a", {}, 1), Delete("t", "a", 1)):
        with pytest.raises(app.Conflict):
            provider.commit([write])
    assert provider.commit([Delete("t", "a", 2)]) == [Record("a", 0, {})]
    with pytest.raises(app.ConfigError, match="did not keep colour"):
        provider.commit([Insert("t", "b", {"colour": "red"})])
    with pytest.raises(app.Invalid):
        provider.commit([Insert("t", "A b", {})])


def test_pocketbase_pages_by_key_and_filters_where_that_is_certain(pocketbase: Any) -> None:
    service, provider = pocketbase
    for n in range(45):
        provider.commit([Insert("t", f"{n:015}", {"n": n, "text": "even" if n % 2 == 0 else "odd"})])
    assert provider.count(Query("t")) == 45
    everything_ = [r.key for r in provider.walk(Query("t"))]
    assert everything_ == [f"{n:015}" for n in range(45)]
    assert [r.key for r in provider.walk(Query("t", order_by=("-id",)))] == everything_[::-1]
    where = (Condition("text", "eq", "even"), Condition("n", "gt", 40))
    assert keys(provider.find(Query("t", where))) == [f"{n:015}" for n in (42, 44)]
    assert 'text="even"' in parse_qs(urlsplit(service.asked[-1][1]).query)["filter"][0]
    assert keys(provider.find(Query("t", (Condition("colour", "eq", "red"),)))) == []
    moment = Condition("text", "eq", "2026-11-23T09:00:00+01:00")  # compared here: the service compares texts
    provider.commit([Update("t", f"{0:015}", {"text": "2026-11-23T08:00:00Z"})])
    assert keys(provider.find(Query("t", (moment,), instants=frozenset({"text"})))) == [f"{0:015}"]


def test_of_two_inserts_that_race_to_pocketbase_one_wins(pocketbase: Any) -> None:
    answers = race(8, lambda n: pocketbase[1].commit([Insert("t", "a", {"n": n})]))
    assert sum(isinstance(answer, list) for answer in answers) == 1
    assert sum(isinstance(answer, app.Conflict) for answer in answers) == 7


# ---- json-server beside others


def test_a_key_that_another_process_takes_meanwhile_is_a_conflict(stand_in: Made) -> None:
    looks = [0]

    def reply(method: str, *_: Any) -> http_services.Reply:
        if method == "POST":  # as json-server answers
            return 500, {"Content-Type": "text/html"}, b"Error: Insert failed, duplicate id"
        looks[0] += 1
        return as_json({}, 404) if looks[0] == 1 else as_json({"id": "a", "n": 2, "_version": 1})

    _, provider = stand_in(reply, preset="json-server")
    with pytest.raises(app.Conflict):
        provider.commit([Insert("t", "a", {"n": 1})])


# ---- files


def test_a_service_that_ignores_ranges_is_read_over(stand_in: Made) -> None:
    data = bytes(range(256)) * 1000
    _, provider = stand_in(lambda *_: (200, {"ETag": '"v1"'}, data), blobs="/{path}")
    assert everything(provider.read("a", 1000, 50)) == data[1000:1050]
    assert everything(provider.read("a", 255_990)) == data[255_990:]
    with pytest.raises(app.PreconditionFailed):
        provider.read("a", if_match="v0")


def test_a_file_that_breaks_off_or_has_no_length_is_an_error(stand_in: Made) -> None:
    _, short = stand_in(lambda *_: (200, {"ETag": '"v1"', "Content-Length": "99"}, b"abc"), blobs="/{path}", **QUICK)
    with pytest.raises(app.Unavailable, match="reading a"):
        everything(short.read("a"))
    _, endless = stand_in(lambda *_: (200, {"ETag": '"v1"'}, iter([b"x"])), blobs="/{path}")
    with pytest.raises(app.Unavailable, match="how large"):
        endless.stat("a")


@pytest.mark.parametrize("listing", ["nginx", "satchel"])
@pytest.mark.parametrize("answer", [5, [1], {"items": 5}, [{"type": "file"}], {"items": [{"type": "file", "name": "a"}]}])
def test_a_listing_that_is_none_is_an_error(stand_in: Made, listing: str, answer: Any) -> None:
    _, provider = stand_in(lambda *_: as_json(answer), blobs="/{path}", listing=listing)
    with pytest.raises(app.Unavailable, match="not a list of files"):
        list(provider.scan())


def test_links_of_a_page_are_a_listing() -> None:
    folder, url = http_services.nginx("html")
    provider = opened("tickets", {"url": url, "blobs": "/{path}", "listing": "html"})
    for path in ("a b.txt", "d/é.txt", "d/e/x", "50%.txt"):
        provider.write(path, [path.encode()])
    (folder / "empty").mkdir()
    assert [e.path for e in provider.scan()] == ["50%.txt", "a b.txt", "d/e/x", "d/é.txt"]
    assert [e.path for e in provider.scan(deep=False)] == ["50%.txt", "a b.txt", "d"]
    assert all(e == provider.stat(e.path) for e in provider.scan())
    assert not provider.is_folder("empty")
    provider.close()


def test_webdav_moves_in_one_step() -> None:
    _, url = http_services.nginx("json", "PUT DELETE MOVE MKCOL")
    provider = opened("tickets", {"url": url, "blobs": "/{path}", "listing": "nginx", "move": "webdav"})
    assert provider.renames
    blob = provider.write("a", [b"1"])
    provider.write("b", [b"2"])
    with pytest.raises(app.Conflict):
        provider.move("a", "b")
    moved = provider.move("a", "c")
    assert (moved.path, moved.etag) == ("c", blob.etag)
    assert [e.path for e in provider.scan()] == ["b", "c"]
    provider.close()


def test_files_that_cannot_be_listed_can_be_read_and_written(tmp_path: Path) -> None:
    url = http_services.nginx()[1]
    toml = f"""
        [providers.main]
        kind = "sql"
        url = "sqlite:///app.db"
        [providers.web]
        kind = "generic"
        url = "{url}"
        blobs = "/unlisted/{{path}}"
        [files.docs]
        provider = "web"
    """
    site = sites.Site(tmp_path, toml)
    try:
        site.put("files/docs/a/b.txt", body=b"hello", body_bytes=5)
        assert site.bytes("files/docs/a/b.txt") == b"hello"
        for address in ("files/docs", "files/docs/"):
            with pytest.raises(app.Unsupported, match="cannot list"):
                site.read(address)
        with pytest.raises(app.NotFound):
            site.read("files/docs/a/c.txt")
        with pytest.raises(app.NotFound):
            site.delete("files/docs/a/c.txt")
        site.delete("files/docs/a/b.txt")
        with pytest.raises(app.NotFound):
            site.read("files/docs/a/b.txt")
    finally:
        site.close()


# ---- a form on a service


def test_a_form_on_a_service_is_audited_beside_it_and_a_repeat_has_one_effect(tmp_path: Path) -> None:
    process, url = http_services.json_server(["leave"])
    toml = f"""
        [providers.main]
        kind = "sql"
        url = "sqlite:///app.db"
        [providers.web]
        kind = "generic"
        preset = "json-server"
        url = "{url}"
        [forms.leave]
        provider = "web"
        [forms.leave.fields]
        days = {{ type = "number" }}
    """
    site = sites.Site(tmp_path, toml)
    try:
        first = site.create("forms/leave", {"days": 2.5}, idempotency_key="once")
        again = site.create("forms/leave", {"days": 2.5}, idempotency_key="once")
        assert again.replayed
        assert again.data == first.data
        assert len(site.items("forms/leave/records")) == 1
        address = first.location
        assert site.put(address, {"days": 3}, if_match="1").etag == "2"
        with pytest.raises(app.PreconditionFailed):
            site.put(address, {"days": 4}, if_match="1")
        with pytest.raises(app.Unsupported, match="one record a request"):
            site.create("forms/leave", [{"days": 1}, {"days": 2}])
        assert [row["days"] for row in site.items("forms/leave/records?days__gte=3")] == [3]
        with pytest.raises(app.Invalid):
            site.create("forms/leave", {"days": 2**60 + 1})
        site.delete(address)
        assert site.items("forms/leave/records") == []
        outcomes = [(row["action"], row["outcome"]) for row in site.audit(resource="forms/leave")]
        assert outcomes[:2] == [("create", "intent"), ("create", "ok")]
        assert ("delete", "ok") in [(row["action"], row["outcome"]) for row in site.audit()]
        process.stop()
        with pytest.raises(app.Unavailable, match="provider web"):
            site.create("forms/leave", {"days": 1})
        assert site.audit(outcome="failed")
    finally:
        site.close()
        process.stop()
