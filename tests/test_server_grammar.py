"""What our HTTP server takes for a request, against what h11 does: 5,000 seeded streams of requests, good and broken.

Either reads the same from each stream, request by request: method, target, version, fields, body, and where the next one
begins. Where h11 goes on and we refuse, one of STRICTER says so; where one of them says so, we do refuse."""

from __future__ import annotations

import contextlib
import random
import re
import socket
import ssl
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import backends
import pytest
from http_client import read_all
from inner_server import TRANSPORTS, Running, over, running

import app

COUNT = 5000  # over a Unix socket, which is the quickest
A_FEW = 600  # over the others
LAST = b"GET /the-next-one HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


class Heard(NamedTuple):
    """A request as a server has understood it."""

    method: str
    target: str
    version: str
    fields: dict[str, str]
    body: bytes


# ---- streams of requests

# fmt: off
METHODS = ["GET", "GET", "POST", "POST", "PUT", "HEAD", "DELETE", "PATCH", "OPTIONS", "get", "x!#$%&'*+-.^_`|~9"]
ODD_METHODS = ["CONNECT", "PRI", "G(T", ""]
TARGETS = ["/", "/", "/a/b.c?d=e&f", "/%2e%00", "//a", '/{|}"<>', "http://b:80/x", "HTTPS://b", "http://b?c"]
ODD_TARGETS = ["*", "a:80", "ftp://a/", "http:///x", "http://u@a/", "/a#b", "a", "?", "/é", "/\x7f"]
VERSIONS = ["1.1"] * 16 + ["1.0", "1.0", "1.2"]
ODD_VERSIONS = ["1.5", "1.9", "2.0", "0.9", "3.1", "1.10", "11"]
HOSTS = ["a"] * 12 + ["a.example:80", "[::1]:8080"]
ODD_HOSTS = ["", "a_b", "a b", "a/b", "u@a", "a:b", "[::1", "a,b", "a\\b"]
FIELDS = [
    "X: y", "x-two:\t 1 \t", "X-Empty:", "Cookie: a=b", 'cookie: c="d"', "Accept: text/html, */*;q=0.1", "X-Obs: \xe9\xff",
    "Connection: keep-alive", "Keep-Alive: 5", "Upgrade: h2c", "Date: x: y :z", "X-Two: a, , b", "TE: trailers",
]
ODD_FIELDS = [
    "Expect: 100-continue", "Expect: 100-Continue", "Expect: more", "Connection: close", "Connection: x, Close", "X(: y",
    "X-Sp : y", "Host: a", " folded: x", "X-C: a\x01b", "X-D: a\x7fb", "X-V: a\x0bb", "X-N: a\0b", "no colon", ": no name",
]
LENGTHS = [
    "5", "+5", "-5", "5,5", "5, 5", "0x5", "5 5", " 5", "5\t", "05", "5.0", "5e0", "", "\xb2", "5" * 19, "5" * 20,
    "0" * 18 + "5",
]
CODINGS = ["chunked", "Chunked", " chunked\t"]
ODD_CODINGS = [
    "gzip, chunked", "chunked, chunked", "xchunked", "chunked, gzip", "identity", "", "chunked;a=b", "\x0bchunked",
    "\xa0chunked", "chunked,", ",chunked", "gzip", '"chunked"',
]
SIZES = ["{:X}", "{:x}", "0{:x}", "000000{:x}"]
ODD_SIZES = ["0x{:x}", "+{:x}", "-{:x}", " {:x}", "{:x} ", "{:x}\t", "{:x}_", "", "{:017x}", "{:021x}"]
ODD_EXTENSIONS = [
    ";a", ";a=b", ';a="b;c"', ';a="\\""', ";", " ;a", "; a = b", ";\xe9", ";\x01", ";a\rb", ";a\nb", " a", ";" + "x" * 9000,
]
ODD_TRAILERS = [
    "A: b\r\n", "Content-Length: 9\r\nHost: x\r\n", "A : b\r\n", " A: b\r\n", "A\r\n", "A: \0\r\n", "A: b\r\n c\r\n",
    "A: \x01\r\n", "A: b\n", "A: b\r\n" * 101,
]
# fmt: on


def some(rng: random.Random, common: list[str], rare: list[str], chance: float = 0.04) -> str:
    return rng.choice(rare if rng.random() < chance else common)


def chunked(rng: random.Random, body: bytes) -> bytes:
    """The body in chunks, of odd sizes, extensions and trailers now and then."""
    found = ""
    while body:
        size = rng.randint(1, len(body))
        found += (
            some(rng, SIZES, ODD_SIZES).format(size)
            + some(rng, [""], ODD_EXTENSIONS)
            + some(rng, ["\r\n"], ["\n", "\r", ""], 0.01)
        )
        found += body[:size].decode("latin-1") + some(rng, ["\r\n"], ["\n", "", "x\r\n"], 0.01)
        body = body[size:]
    last = some(rng, ["0"], ["00", "0 ", "0;a", "0000000000000000", "-0"]) + "\r\n"
    return (found + last + some(rng, [""], ODD_TRAILERS) + "\r\n").encode("latin-1")


def framed(rng: random.Random, body: bytes) -> tuple[list[str], bytes]:
    """Fields that say how long a body is, and the body as it is sent."""
    kind = some(rng, ["none", "length", "length", "chunked", "chunked"], ["both", "odd lengths", "odd codings"], 0.15)
    if kind == "none":
        return [], b""
    lines = [f"Content-Length: {len(body)}"] if kind in ("length", "both") else []
    if kind == "odd lengths":
        lines, body = [f"Content-Length: {rng.choice(LENGTHS)}" for _ in range(rng.choice([1, 1, 2]))], b"12345"
    if kind == "odd codings":
        lines = ["Transfer-Encoding: " + rng.choice(CODINGS + ODD_CODINGS) for _ in range(rng.choice([1, 1, 2]))]
    if kind in ("chunked", "both"):
        lines.append("Transfer-Encoding: " + some(rng, CODINGS, ODD_CODINGS))
    return lines, body if "length" in kind else chunked(rng, body)


def request(rng: random.Random) -> bytes:
    """A request that is good for the most part, with its body."""
    lines = [f"Host: {some(rng, HOSTS, ODD_HOSTS)}"] if rng.random() > 0.03 else []
    lines += [some(rng, FIELDS, ODD_FIELDS, 0.06) for _ in range(rng.choice([0, 1, 1, 2, 3]))]
    more, body = framed(rng, bytes(rng.choice(b"ab\r\n0;: \x00\xff") for _ in range(rng.choice([0, 1, 5, 5, 40]))))
    lines += more
    if rng.random() < 0.01:
        lines += rng.choice([["X: " + "y" * 8200], ["X: " + "y" * 8000] * 5, ["X: y"] * 101])
    rng.shuffle(lines)
    target = "/" + "x" * 8200 if rng.random() < 0.005 else some(rng, TARGETS, ODD_TARGETS)
    version = some(rng, VERSIONS, ODD_VERSIONS)
    first = f"{some(rng, METHODS, ODD_METHODS)} {target} HTTP/{version}"
    return "\r\n".join([first, *lines, "", ""]).encode("latin-1", "replace") + body


BYTES = [
    b"\0",
    b"\t",
    b"\n",
    b"\r",
    b"\r\n",
    b" ",
    b"\x0b",
    b"\x0c",
    b"\x1b",
    b"\x7f",
    b"\x80",
    b"\xa0",
    b":",
    b";",
    b",",
    b"0",
    b"a",
    b'"',
]


def flip(rng: random.Random, data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]


def insert(rng: random.Random, data: bytes, at: int) -> bytes:
    return data[:at] + rng.choice(BYTES) + data[at:]


def drop(rng: random.Random, data: bytes, at: int) -> bytes:
    return data[:at] + data[at + rng.choice([1, 1, 1, 2, 5]) :]


def another_line_end(rng: random.Random, data: bytes, at: int) -> bytes:
    places = [match.start() for match in re.finditer(b"\r\n", data)]
    at = rng.choice(places) if places else at
    return data[:at] + rng.choice([b"\n", b"\r", b"\n\r", b"\r\r\n", b"\r\n ", b" \r\n", b""]) + data[at + 2 :]


def space_at_a_colon(rng: random.Random, data: bytes, at: int) -> bytes:
    places = [match.start() for match in re.finditer(b":", data)]
    at = rng.choice(places) if places else at
    return data[:at] + rng.choice([b" :", b": \t", b"\t:", b":\0", b"::", b""]) + data[at + 1 :]


def repeat_a_line(rng: random.Random, data: bytes, at: int) -> bytes:
    lines = data.split(b"\r\n")
    lines.insert(rng.randrange(len(lines) + 1), rng.choice(lines))
    return b"\r\n".join(lines)


def move_a_line(rng: random.Random, data: bytes, at: int) -> bytes:
    lines = data.split(b"\r\n")
    lines.insert(rng.randrange(len(lines)), lines.pop(rng.randrange(len(lines))))
    return b"\r\n".join(lines)


MUTATIONS = [
    flip,
    flip,
    insert,
    insert,
    drop,
    another_line_end,
    another_line_end,
    space_at_a_colon,
    repeat_a_line,
    move_a_line,
]


def stream(number: int) -> bytes:
    """One to three requests, a quarter of them left as the grammar has made them, and a plain last one."""
    rng = random.Random(number)
    found = b""
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        data = rng.choice([b""] * 12 + [b"\r\n", b"\r\n\r\n", b"\n"]) + request(rng)
        for _ in range(rng.choice([0, 0, 0, 0, 0, 1, 1, 2, 3])):
            # Rather near the beginning: most of what matters stands there.
            data = rng.choice(MUTATIONS)(rng, data, int(rng.random() ** 2 * len(data)))
            data = data or b"\r\n"
        found += data
    return found + LAST


# ---- how h11 reads them


class Sent(NamedTuple):
    """A request as h11 has read it, and the bytes of its head, and of its chunked body the lines before the chunks and the
    trailers with the empty line."""

    heard: Heard
    head: bytes
    sizes: list[bytes]
    trailers: bytes

    def has(self, pattern: bytes) -> bool:
        """Whether the head has it; ^ is the beginning of a line."""
        return bool(re.search(b"(?im)" + pattern, self.head))


def of_h11(h11: Any, data: bytes) -> Iterator[Sent]:
    """The requests that the module h11 reads from a stream that ends."""
    while data := re.sub(rb"\A(\r\n)+", b"", data):  # RFC 9112 section 2.2 has these skipped, which h11 does not
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
        try:
            connection.receive_data(data)
            connection.receive_data(b"")
            event = connection.next_event()
            if not isinstance(event, h11.Request):
                return
            head, body = data[: len(data) - len(connection.trailing_data[0])], b""
            while isinstance(part := connection.next_event(), h11.Data):
                body += bytes(part.data)
            if not isinstance(part, h11.EndOfMessage):
                return
        except h11.RemoteProtocolError:
            return
        rest, _ = connection.trailing_data
        fields: dict[str, str] = {}
        for name, value in event.headers.raw_items():
            key, text = name.decode().lower(), value.decode("latin-1")
            fields[key] = fields[key] + ("; " if key == "cookie" else ", ") + text if key in fields else text
        heard = Heard(event.method.decode(), event.target.decode(), event.http_version.decode(), fields, body)
        chunks = data[len(head) : len(data) - len(rest)] if "transfer-encoding" in fields else b""
        yield Sent(heard, head, *framing(chunks))
        options = [one.strip("\t ") for one in fields.get("connection", "").lower().split(",")]
        if "close" in options or (heard.version < "1.1" and "keep-alive" not in options):
            return
        data = rest


def framing(chunks: bytes) -> tuple[list[bytes], bytes]:
    """The lines before the chunks of a body that h11 has read, and what follows the last of them."""
    sizes = []
    while chunks:
        line, _, chunks = chunks.partition(b"\r\n")
        sizes.append(line)
        size = int(re.match(b"[0-9A-Fa-f]+", line)[0], 16)  # type: ignore[index]
        if not size:
            break
        chunks = chunks[size + 2 :]
    return sizes, chunks


# ---- what we refuse of that, and why

CONTROL = rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]"
BARE_OR_FOLDED = rb"(?<!\r)\n|\n[ \t]"
HOST = re.compile(r"(?:[!$%&'()*+,;=._~0-9A-Za-z-]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]*)?")  # uri-host [ ":" port ]
TARGET = re.compile(r"/[^#]*|(?i:https?)://[^/?#@]+([/?][^#]*)?")


class Rule(NamedTuple):
    """If it `applies`, we answer `status`; sections are of RFC 9112."""

    status: int
    why: str
    applies: Callable[[Sent], object]


STRICTER = [
    Rule(414, "a request line over 8,190 bytes", lambda sent: len(sent.head.split(b"\r\n")[0]) > 8190),
    Rule(431, "a line over 8,190 bytes", lambda sent: max(map(len, sent.head.split(b"\r\n"))) > 8190),
    Rule(431, "a head over 32 KiB", lambda sent: len(sent.head) > 32_768),
    Rule(400, "a bare LF, which a recipient may recognise (section 2.2)", lambda sent: sent.has(rb"(?<!\r)\n")),
    Rule(400, "a folded line, to be refused or unfolded (section 5.2)", lambda sent: sent.has(rb"^[ \t]")),
    Rule(400, "a control character in a value (RFC 9110 section 5.5)", lambda sent: sent.has(CONTROL)),
    Rule(505, "a major version other than 1", lambda sent: sent.heard.version[0] != "1"),
    Rule(431, "over 100 fields", lambda sent: sent.head.count(b"\r\n") > 102),
    Rule(
        400, "Content-Length twice, even if it is the same (section 6.3)",
        lambda sent: len(re.findall(b"(?im)^content-length:", sent.head)) > 1,
    ),
    Rule(400, "Content-Length as a list, even of the same (section 6.3)", lambda sent: sent.has(b"^content-length:.*,")),
    Rule(400, "Content-Length over 18 digits", lambda sent: sent.has(rb"^content-length:[ \t]*[0-9]{19}")),
    Rule(501, "CONNECT, which is for proxies", lambda sent: sent.heard.method == "CONNECT"),
    Rule(
        400, "a target that is no path and no http URL with a host (section 3.2)",
        lambda sent: not TARGET.fullmatch(sent.heard.target) and sent.heard[:2] != ("OPTIONS", "*"),
    ),
    Rule(
        400, "no Host in what is newer than HTTP/1.1 (section 3.2)",
        lambda sent: sent.heard.version > "1.1" and "host" not in sent.heard.fields,
    ),
    Rule(400, "a Host that is no host (section 3.2)", lambda sent: not HOST.fullmatch(sent.heard.fields.get("host", ""))),
    Rule(
        400, "Transfer-Encoding with Content-Length (section 6.1)",
        lambda sent: {"transfer-encoding", "content-length"} <= set(sent.heard.fields),
    ),
    Rule(
        400, "Transfer-Encoding in HTTP/1.0 (section 6.1)",
        lambda sent: sent.heard.version == "1.0" and "transfer-encoding" in sent.heard.fields,
    ),
    Rule(
        417, "an expectation other than 100-continue (RFC 9110 section 10.1.1)",
        lambda sent: sent.heard.version != "1.0" and sent.heard.fields.get("expect", "100-continue").lower()
        not in ("", "100-continue"),
    ),
    Rule(400, "a chunk's size over 15 digits", lambda sent: any(re.match(b"[0-9A-Fa-f]{16}", line) for line in sent.sizes)),
    Rule(
        400, "a control character in a chunk's extension",
        lambda sent: any(re.search(CONTROL + rb"|[\r\n]", line) for line in sent.sizes),
    ),
    Rule(400, "a line over 8,190 bytes before a chunk", lambda sent: any(len(line) > 8188 for line in sent.sizes)),
    Rule(400, "a bare LF or a folded line in trailers", lambda sent: re.search(BARE_OR_FOLDED, sent.trailers)),
    Rule(400, "a control character in trailers", lambda sent: re.search(CONTROL, sent.trailers)),
    Rule(400, "100 trailers or more", lambda sent: sent.trailers.count(b"\r\n") > 100),
]  # fmt: skip


def wanted(h11: Any, data: bytes) -> tuple[list[Heard], list[Rule]]:
    """What we have to read from a stream, and the rules that end it, of which we may name any."""
    found: list[Heard] = []
    for sent in of_h11(h11, data):
        if rules := [rule for rule in STRICTER if rule.applies(sent)]:
            return found, rules
        found.append(sent.heard)
    return found, []


# ---- how we read them


class Listener:
    """The server, whose application notes what it was asked."""

    def __init__(self) -> None:
        self.heard: list[Heard] = []

    def application(self, head: app.Head, connection: app.Connection) -> app.Answer:
        body = b"".join(app.BodyReader({}, connection.body))
        fields = dict(head.fields)
        if "transfer-encoding" in fields:
            fields["transfer-encoding"] = fields["transfer-encoding"].lower()  # as h11 has it
        self.heard.append(Heard(head.method, head.target, head.version, fields, body))
        return app.Answer(200, [], b"")


@pytest.fixture(scope="module")
def listener() -> Listener:
    return Listener()


@pytest.fixture(scope="module", params=TRANSPORTS)
def server(request: pytest.FixtureRequest, listener: Listener) -> Iterator[Running]:
    with running(listener.application, threads=1, **over(request.param)) as found:
        yield found


def ask(server: Running, listener: Listener, data: bytes) -> tuple[list[Heard], int]:
    """What we read from a stream that ends, and the status of the last answer."""
    listener.heard = []
    answer = answer_over_tls(server, server.tls, data) if server.tls else answer_of(server, data)
    codes = re.findall(rb"HTTP/1\.1 ([0-9]{3}) ", answer)
    return listener.heard, int(codes[-1]) if codes else 0


def answer_of(server: Running, data: bytes) -> bytes:
    with server.connect() as connection:
        with contextlib.suppress(OSError):  # the server has refused it, and gone
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
        return read_all(connection)


def answer_over_tls(server: Running, tls: ssl.SSLContext, data: bytes) -> bytes:
    """The same. The end of what is sent is told by TLS itself, which ssl.SSLSocket cannot do and go on reading."""
    coming, going = ssl.MemoryBIO(), ssl.MemoryBIO()
    client, found = tls.wrap_bio(coming, going, server_hostname="localhost"), b""
    with socket.create_connection(server.address, 5) as connection:

        def take() -> bool:
            """Whether there is more to come."""
            with contextlib.suppress(OSError):
                if going.pending:
                    connection.sendall(going.read())
                coming.write(more := connection.recv(65536))
                return bool(more)
            return False

        while True:
            try:
                client.do_handshake()
                break
            except ssl.SSLWantReadError:
                assert take()
        client.write(data)
        with contextlib.suppress(ssl.SSLWantReadError):
            client.unwrap()
        while take():
            with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLZeroReturnError):
                while more := client.read(65536):
                    found += more
    return found


def test_we_read_what_h11_reads_but_for_a_list_of_stricter_rules(server: Running, listener: Listener) -> None:
    h11 = backends.module("h11")
    whole, used, faults = 0, Counter[str](), []
    count = COUNT if server.listener.family == socket.AF_UNIX else A_FEW
    for number in range(count):
        data = stream(number)
        expected, rules = wanted(h11, data)
        heard, status = ask(server, listener, data)
        used.update(rule.why for rule in rules)
        if heard != expected or (rules and status not in {rule.status for rule in rules}):
            faults.append((number, data, expected, [rule[:2] for rule in rules], heard, status))
        whole += any(one.target == "/the-next-one" for one in heard)
    report = "\n\n".join("\n  ".join(map(repr, fault)) for fault in faults[:5])
    assert not faults, (
        f"{len(faults)} of {count} streams are read in another way; number, bytes, wanted, rules, read:\n{report}"
    )
    assert whole > count / 5, "too few of the streams are good to their end for this to show much"
    assert count < COUNT or not (unused := {rule.why for rule in STRICTER} - set(used)), (
        f"rules that nothing came under: {unused}"
    )
