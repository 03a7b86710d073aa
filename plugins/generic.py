"""Records on any HTTP service of JSON objects, and blobs on any HTTP server that takes GET, PUT and DELETE.

The settings say what the service is like; a preset says it for services that are known. What a service cannot filter or
order is done here, over at most `max_records` records.
"""

from __future__ import annotations

import email.utils
import hashlib
import ipaddress
import math
import os
import re
import socket
import tempfile
import threading
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from decimal import Decimal
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, NoReturn, TypeAlias, cast
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlencode, urljoin, urlsplit

import app
from app import (
    CHUNK_BYTES,
    CONVERTERS,
    LOOSE_STAGED_S,
    REQUIRED,
    RESERVED_FIELDS,
    AppError,
    BadRequest,
    Blob,
    Blobs,
    ConfigError,
    Conflict,
    Delete,
    Fault,
    Folder,
    Insert,
    Invalid,
    Json,
    Lookup,
    NotFound,
    NotPermitted,
    Page,
    PreconditionFailed,
    Provider,
    Query,
    Record,
    Records,
    Setting,
    Staged,
    StorageFull,
    TooLarge,
    Unavailable,
    Unsupported,
    Update,
    Value,
    Write,
    check_blob,
    check_commit,
    check_path,
    check_value,
    check_version,
    disk_errors,
    dump_json,
    is_instant,
    is_key,
    load_json,
    member_pointer,
    nearest,
    need_blob,
    next_version,
    parse_rfc3339,
    plugin,
    quote_path,
    rechunk,
    whole_texts,
    write_fully,
)

# ==== 1. GENERIC =================================================================================================
# The client of the one host of a URL, and the provider on it. No redirect is followed, no proxy used, and no link-local
# address ever connected to.
# uses: ERRORS VALUES CONFIG CONTRACTS PROVIDERS
# defines: Provider:generic Facts LINK_LOCAL NAT64 EXACT_JS PLACEHOLDER PRESETS is_link_local at_pointer fill_query
#          is_double inexact NamedLocks ALONE KEPT_IDLE_S NotConnected plain_errors TimedSocket CheckedConnection
#          HttpAnswer HttpClient HttpReader Entries Listed passable GenericProvider

Facts: TypeAlias = Mapping[str, str]
LINK_LOCAL = tuple(map(ipaddress.ip_network, ("169.254.0.0/16", "fe80::/10", "fd00:ec2::254/128")))
NAT64 = ipaddress.ip_network("64:ff9b::/96")
EXACT_JS = 2**53  # JavaScript holds every integer up to here
PLACEHOLDER = re.compile(r"\{(\w+)\}")

# What a setting is where app.toml does not say: PRESETS[""], and over it the preset that app.toml names.
PRESETS: Mapping[str, Mapping[str, Any]] = {
    "": {
        "ping": "/", "records": "", "record": "", "items": "", "next": "", "count": "", "total": "", "key": "id",
        "version": "_version", "service_fields": (), "drop_nulls": False, "keys": "", "query": "", "forward": "",
        "backward": "", "page_size": 500, "filters": {}, "join": "", "create": "POST", "update": "PUT",
        "preconditions": False, "exact_integers": False, "blobs": "", "listing": "", "blob_preconditions": False,
        "put_date": False, "move": "copy",
    },
    "satchel": {
        "ping": "/healthz", "records": "/forms/{table}/records", "items": "/items", "next": "/next",
        "count": "_count=1&_size=1", "total": "/count", "version": "version", "service_fields": RESERVED_FIELDS,
        "drop_nulls": True, "forward": "_sort=id&_size={limit}&id__gt={key}",
        "backward": "_sort=-id&_size={limit}&id__lt={key}", "page_size": 1000,
        "filters": {"eq": "{field}={value}", "gte": "{field}__gte={value}", "lte": "{field}__lte={value}"},
        "create": "PUT", "preconditions": True, "exact_integers": True, "listing": "satchel",
        "blob_preconditions": True,
    },
    "json-server": {
        "records": "/{table}", "query": "_limit={limit}", "count": "_limit=1", "total": "header:X-Total-Count",
        "keys": r"(?s:(?!\.\.?\Z).+)",
        "filters": {"gte": "{field}_gte={value}", "lte": "{field}_lte={value}"},
    },
    "pocketbase": {
        "ping": "/api/health", "records": "/api/collections/{table}/records", "items": "/items",
        "count": "page=1&perPage=1", "total": "/totalItems", "version": "version",
        "service_fields": ("collectionId", "collectionName", "created", "updated"), "drop_nulls": True,
        "keys": "[a-z0-9]{1,100}", "forward": "page=1&perPage={limit}&skipTotal=1&sort=id&filter=id>'{key}'",
        "backward": "page=1&perPage={limit}&skipTotal=1&sort=-id&filter=id<'{key}'",
        "filters": {"eq": "filter={field}={json}", "gte": "filter={field}>={json}", "lte": "filter={field}<={json}"},
        "join": " && ", "update": "PATCH",
    },
}  # fmt: skip


def is_link_local(address: str) -> bool:
    """Whether an IP address, or the IPv4 address that is wrapped in it, belongs to the link (cloud metadata does)."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    wrapped: list[Any] = [ip]
    if isinstance(ip, ipaddress.IPv6Address):
        wrapped += [ip.ipv4_mapped, ip.sixtofour]
        wrapped += [ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)] if ip in NAT64 else []
    return any(one in network for one in wrapped if one for network in LINK_LOCAL)


def at_pointer(value: Json, pointer: str) -> Json:
    """What a JSON pointer (RFC 6901) names inside a value; None where nothing is there."""
    for part in pointer.split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        if isinstance(value, list):
            value = value[int(name)] if re.fullmatch("[0-9]{1,9}", name) and int(name) < len(value) else None
        else:
            value = value.get(name) if isinstance(value, dict) else None
    return value


def fill_query(pattern: str, facts: Facts) -> list[tuple[str, str]]:
    """The parameters of "name=text&…" with each {fact} in its place; those with a fact that is not there are left out."""
    pairs = [one.partition("=")[::2] for one in pattern.split("&") if one]
    kept = [pair for pair in pairs if set(PLACEHOLDER.findall("=".join(pair))) <= set(facts)]
    return [(PLACEHOLDER.sub(lambda m: facts[m[1]], n), PLACEHOLDER.sub(lambda m: facts[m[1]], v)) for n, v in kept]


def is_double(number: int | float | Decimal) -> bool:
    """Whether a JSON number is still the same after JavaScript has read and written it."""
    if isinstance(number, Decimal):
        return math.isfinite(float(number)) and Decimal(repr(float(number))) == number
    return not EXACT_JS < abs(number) < 1e21  # between these it writes other digits than it read


def inexact(value: Json, pointer: str = "") -> Iterator[str]:
    """Pointers of the numbers that JavaScript would change."""
    if isinstance(value, dict | list):
        inner = value.items() if isinstance(value, dict) else enumerate(value)
        for name, item in inner:
            yield from inexact(item, member_pointer(pointer, str(name)))
    elif isinstance(value, Decimal | int | float) and not is_double(value):
        yield pointer


class NamedLocks:
    """One holder of each name among the threads of this process."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._held: set[str] = set()

    @contextmanager
    def held(self, names: set[str], wait_s: float) -> Iterator[None]:
        """All the names at once; TimeoutError if others keep one for so long."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._held.isdisjoint(names), wait_s):
                raise TimeoutError("others write the same all the while")
            self._held |= names
        try:
            yield
        finally:
            with self._changed:
                self._held -= names
                self._changed.notify_all()


ALONE = NamedLocks()  # where a service checks no preconditions, this process does
KEPT_IDLE_S = 60  # of a connection, which firewalls forget when it is idle for longer


class NotConnected(Exception):
    """Nothing was sent, for the reason that is its cause."""


@contextmanager
def plain_errors() -> Iterator[None]:
    """Errors of urllib3 leave as what they wrap, an OSError or HTTPException, or as NotConnected."""
    from http.client import HTTPException

    from urllib3 import exceptions

    try:
        yield
    except exceptions.ClosedPoolError as error:
        raise Unavailable("the provider is not open") from error
    except exceptions.EmptyPoolError as error:
        raise NotConnected from TimeoutError(f"all connections are in use: {error}")
    except exceptions.TimeoutError as error:
        raise TimeoutError(str(error)) from error
    except exceptions.HTTPError as error:
        causes = [one for one in error.args if isinstance(one, OSError | HTTPException)]
        raise causes[-1] if causes else ConnectionError(str(error)) from None


class TimedSocket(socket.socket):
    """A socket on which no wait is longer than `silence_s`, and none goes on past `deadline` (of time.monotonic)."""

    silence_s = deadline = math.inf

    def _limit_wait(self) -> None:
        left_s = min(self.silence_s, self.deadline - time.monotonic())
        if left_s <= 0:
            raise TimeoutError("the whole answer took too long")
        self.settimeout(left_s)

    def sendall(self, data: Any, *_: Any) -> None:
        view = memoryview(data)
        while view:
            self._limit_wait()
            view = view[self.send(view) :]

    def recv_into(self, *args: Any) -> int:
        self._limit_wait()
        return super().recv_into(*args)


class CheckedConnection:
    """Mixed into the connections of urllib3: how they connect, and what bounds each exchange on them.

    Link-local addresses are never connected to. The name is looked up once for a connection, and what was checked is what
    is connected to.
    """

    client: HttpClient
    used_at = 0.0

    def _new_conn(self) -> socket.socket:
        """urllib3 calls this for a socket. NotConnected if nobody is there; its cause is a PermissionError where nobody may
        be asked."""
        host, port = self.client.host, self.client.port
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            if any(is_link_local(str(one[4][0])) for one in found):
                raise PermissionError(f"{host} is at {found[0][4][0]}")
            return self._first_to_answer(found)
        except OSError as error:
            raise NotConnected from error

    def _first_to_answer(self, found: Sequence[tuple[Any, ...]]) -> socket.socket:
        failure: OSError = ConnectionError("the name has no address")
        for family, kind, protocol, _, place in found:
            plain = TimedSocket(family, kind, protocol)
            try:
                plain.settimeout(self.client.connect_timeout_s)
                plain.connect(place)
                plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                return self.client.secured(plain)
            except OSError as error:
                failure = error
                plain.close()
        raise failure

    @property
    def is_connected(self) -> bool:
        """Whether a kept connection can be used again."""
        return time.monotonic() - self.used_at < KEPT_IDLE_S and bool(super().is_connected)  # type: ignore[misc]

    def request(self, *args: Any, **options: Any) -> None:
        connection: Any = self
        self.client.exchanging.was_kept = not connection.is_closed
        if connection.is_closed:
            connection.connect()
        self.used_at = time.monotonic()
        connection.sock.silence_s = self.client.silence_s
        connection.sock.deadline = self.client.exchanging.deadline
        super().request(*args, **options)  # type: ignore[misc]


class HttpAnswer:
    """The head of an answer, and its body, read once; close() gives the connection back, or drops it if much is left."""

    def __init__(self, response: Any) -> None:
        self.status: int = response.status
        self._response = response

    def header(self, name: str) -> str:
        return str(self._response.headers.get(name, ""))

    def chunks(self) -> Iterator[bytes]:
        """The body, as it comes; OSError or HTTPException where it breaks off."""
        with plain_errors():
            while chunk := self._response.read1(CHUNK_BYTES // 4):
                yield chunk

    def close(self) -> None:
        response, left = self._response, self._response.length_remaining
        ends_it = response.connection is None or response.connection.is_closed
        if not ends_it and left is not None and left <= CHUNK_BYTES:
            response.drain_conn()  # a short rest is read, so that the connection can be kept
        response.close()
        response.release_conn()


class HttpClient:
    """Connections to the one host of a URL: urllib3's pool, made by open(). They are made when needed and kept alive, at
    most `connections` at once. No redirect is followed and no proxy is used."""

    def __init__(self, base: SplitResult, options: Mapping[str, Any]) -> None:
        self.host, self.port = base.hostname or "", base.port or (443 if base.scheme == "https" else 80)
        self._base, self._options = base, options
        self.connect_timeout_s, self.silence_s = options["connect_timeout"], options["read_timeout"]
        self.exchanging = threading.local()  # of the exchange in this thread: its deadline, and whether `was_kept`
        self._tls: Any = None
        self._pool: Any = None

    def open(self) -> None:
        """Connects to nothing; idempotent."""
        from urllib3 import HTTPConnectionPool

        if self._pool is None:
            pool = HTTPConnectionPool(self.host, self.port, maxsize=self._options["connections"], block=True, retries=False)
            pool.ConnectionCls = type("Connection", (CheckedConnection, pool.ConnectionCls), {"client": self})
            self._pool = pool

    def close(self) -> None:
        """Close what is idle, and what is in use when it is given back."""
        pool, self._pool = self._pool, None
        if pool:
            pool.close()

    def secured(self, plain: TimedSocket) -> socket.socket:
        """The connection itself, or TLS over it with the host's name checked against its certificate."""
        if self._base.scheme != "https":
            return plain
        import ssl

        if self._tls is None:
            self._tls = ssl.create_default_context(cafile=self._options["tls_ca"] or None)
            self._tls.sslsocket_class = type("TlsSocket", (TimedSocket, ssl.SSLSocket), {})
        return cast(socket.socket, self._tls.wrap_socket(plain, server_hostname=self.host))

    def exchange(
        self, method: str, target: str, headers: Facts, body: bytes | Iterable[bytes] | None, *, whole: bool
    ) -> HttpAnswer:
        """One request, sent once; a GET or HEAD twice where a kept connection turns out dead. NotConnected, or an
        OSError or HTTPException after which nobody knows what the service did.

        `whole`: all of the answer must have come within answer_timeout, else only each part within read_timeout.
        """
        again = method in ("GET", "HEAD")
        while True:
            self.exchanging.deadline = time.monotonic() + self._options["answer_timeout"] if whole else math.inf
            self.exchanging.was_kept = False
            try:
                return self._exchange(method, target, headers, body)
            except ConnectionError:
                if not again or not self.exchanging.was_kept:
                    raise
                again = False

    def _exchange(self, method: str, target: str, headers: Facts, body: bytes | Iterable[bytes] | None) -> HttpAnswer:
        pool = self._pool
        if pool is None:
            raise Unavailable("the provider is not open")
        ours = {"Host": self._base.netloc, "Accept-Encoding": "identity"}
        with plain_errors():
            response = pool.urlopen(
                method, target, body, {**ours, **headers}, redirect=False, preload_content=False, decode_content=False,
                pool_timeout=self._options["answer_timeout"],
            )  # fmt: skip
        return HttpAnswer(response)


class HttpReader:
    """Part of the body of an answer: `length` bytes (None: all) after the first `skip`."""

    def __init__(self, provider: GenericProvider, path: str, answer: HttpAnswer, skip: int, length: int | None) -> None:
        self._provider, self._path, self._answer = provider, path, answer
        self._skip, self._left = skip, length

    def __iter__(self) -> Iterator[bytes]:
        with self._provider.translated(f"reading {self._path}"):
            chunks = self._answer.chunks()
            while self._left != 0 and (chunk := next(chunks, b"")):
                chunk, self._skip = chunk[self._skip :], max(self._skip - len(chunk), 0)
                if self._left is not None:
                    chunk = chunk[: self._left]
                    self._left -= len(chunk)
                if chunk:
                    yield chunk

    def close(self) -> None:
        self._answer.close()


Entries: TypeAlias = tuple[list[tuple[str, Blob | Folder | None]], str | None]  # of a page of a listing, and its cursor


class Listed(NamedTuple):
    """A page of a list: `following` names the next one, "" where none is named; `total` is None where none is said."""

    records: list[Record]
    following: str
    total: int | None


def passable(op: str, value: Json) -> str:
    """A condition's value for a query, "" where a service might read it more narrowly: plain texts, bools, numbers."""
    if isinstance(value, str):
        return value if op == "eq" and re.fullmatch(r"[\w@:+-][\w .@:+-]*", value) and value == value.strip() else ""
    if isinstance(value, bool):
        return str(value).lower() if op == "eq" else ""
    whole = isinstance(value, int | float | Decimal) and math.isfinite(value) and value == int(value)
    text = str(int(value)) if whole and abs(value) < EXACT_JS else "" if op == "eq" else str(value)
    return text if re.fullmatch(r"-?[0-9]{1,15}(\.[0-9]{1,15})?", text) else ""


_OWN_HEADERS = ("host", "connection", "content-length", "transfer-encoding", "range", "expect", "if-match", "if-none-match")


def _texts_of(raw: Any, folder: Path) -> Mapping[str, str]:
    if not isinstance(raw, dict):
        raise ValueError("must be a table { … }")
    return {name: CONVERTERS["text"](value, folder) for name, value in raw.items()}


def _headers(raw: Any, folder: Path) -> Mapping[str, str]:
    """Header fields with the secrets that they name in place: "env:NAME", or behind a word as in "Bearer env:NAME"."""
    found = {}
    for name, value in _texts_of(raw, folder).items():
        word, space, secret = value.rpartition(" ")
        is_secret = secret.startswith(("env:", "file:"))
        if not re.fullmatch(r"[A-Za-z0-9-]+", name) or name.lower() in _OWN_HEADERS:
            raise ValueError(f"has the header {name}, which cannot be set here")
        if not is_secret and re.search("auth|cookie|key|token|secret|pass", name.lower()):
            raise ValueError(f'{name} must be "env:NAME" or "Bearer env:NAME", so that no secret stands in app.toml')
        try:
            found[name] = word + space + CONVERTERS["secret"](secret, folder) if is_secret else value
        except ValueError as error:
            raise ValueError(f"{name} {error}") from error
        if not re.fullmatch(r"[ -~]*", found[name]):
            raise ValueError(f"{name} has a character that a header cannot hold")
    return found


def _patterns(raw: Any, folder: Path) -> Mapping[str, str]:
    for op, pattern in _texts_of(raw, folder).items():
        if op not in ("eq", "gte", "lte") or "=" not in pattern:
            raise ValueError('must be queries for eq, gte and lte, such as { eq = "{field}={value}" }')
    return dict(raw)


class GenericProvider(Records, Blobs):
    """An HTTP service of JSON objects as Records, or a store of files as Blobs, or both, as its settings describe it.

    What the service cannot filter or order is done here over at most `max_records` records. Staged bytes are a temporary
    file of this machine until they are published.
    """

    kind = "generic"
    atomic = False
    most_writes = 1
    settings = (
        Setting("url", "text", REQUIRED, "where the service is: http(s)://host[:port][/path]; no other host is ever asked"),
        Setting("preset", "text", "", "satchel, json-server or pocketbase: what the settings without a default are there"),
        Setting(
            "headers", "headers", {}, 'sent with every request: { Authorization = "Bearer env:NAME" }', convert=_headers
        ),
        Setting("tls_ca", "file", "", "certificates in PEM to trust instead of the system's"),
        Setting("connect_timeout", "duration", "5s", "longest time to connect", "seconds"),
        Setting("read_timeout", "duration", "10s", "longest silence of the service", "seconds"),
        Setting("answer_timeout", "duration", "30s", "longest time for a whole answer that is not a file", "seconds"),
        Setting("connections", "positive", 16, "most connections of a process at once"),
        Setting("max_answer", "size", "16MB", "largest answer that is not a file", "bytes"),
        Setting("max_records", "positive", 10_000, "most records read, or files listed, for one answer of Satchel's"),
        Setting("ping", "text", None, "path that tells whether the service is there"),
        Setting("records", "text", None, 'path of a table\'s records, such as "/{table}"; "" = it keeps no records'),
        Setting("record", "text", None, 'path of one record; "" = that of the records and /{key}'),
        Setting("items", "text", None, "JSON pointer to the records in the answer to a list"),
        Setting("next", "text", None, 'JSON pointer to the cursor or link of the next page, or "header:Link"'),
        Setting("count", "text", None, "query of a list that says how many records there are, at total"),
        Setting("total", "text", None, 'JSON pointer to that number, or "header:NAME"'),
        Setting("key", "text", None, "field with the record's key"),
        Setting("version", "text", None, "field with the record's version; Satchel's own unless it is in service_fields"),
        Setting("service_fields", "texts", None, "fields that the service sets itself: read, never sent"),
        Setting("drop_nulls", "boolean", None, "whether a null in its answers is a field that is missing"),
        Setting("keys", "pattern", None, 'which keys the service can hold, as a regular expression; "" = all'),
        Setting("query", "text", None, 'query of a list, with {limit} and {page}, {offset} or {cursor}: "page={page}"'),
        Setting("forward", "text", None, 'instead: query of what follows a {key}, ordered by keys: "_sort=id&id__gt={key}"'),
        Setting("backward", "text", None, "the same with the keys descending"),
        Setting("page_size", "positive", None, "largest {limit}"),
        Setting(
            "filters",
            "patterns",
            None,
            'queries for eq, gte and lte: { eq = "{field}={value}" }, or {json} of the value',
            convert=_patterns,
        ),
        Setting("join", "text", None, 'what joins several filters in one parameter, such as " && "; "" = each is its own'),
        Setting("create", "text", None, "POST to the list, or PUT to the record"),
        Setting("update", "text", None, "PUT the whole record, or PATCH what changes"),
        Setting("preconditions", "boolean", None, "whether it honours If-Match and If-None-Match for records"),
        Setting("exact_integers", "boolean", None, "whether integers of 64 bits and decimals come back exact"),
        Setting("blobs", "text", None, 'path of a file, such as "/{path}"; "" = it keeps no files'),
        Setting(
            "listing", "text", None, "how folders are listed: nginx (autoindex_format json), html, satchel, or not at all"
        ),
        Setting("blob_preconditions", "boolean", None, "whether it honours If-Match and If-None-Match for files"),
        Setting("put_date", "boolean", None, "send files with a Date that never repeats, for nginx to stamp them with"),
        Setting("move", "text", None, "how a file is renamed: copy, or webdav for MOVE"),
    )

    def __init__(self, name: str, options: Mapping[str, Any], folder: Path) -> None:
        self.name = name
        defaults = {s.name: s.read(s.default, folder) for s in self.settings if s.default not in (None, REQUIRED)}
        preset = self._one_of("preset", str(options.get("preset") or ""), PRESETS)
        given = {setting_: value for setting_, value in options.items() if value is not None}
        self._options: dict[str, Any] = {**defaults, **PRESETS[""], **PRESETS[preset], **given}
        one = self._options
        self._base = self._checked_url(str(one.get("url") or ""))
        for setting_, words in (("create", ("POST", "PUT")), ("update", ("PUT", "PATCH")), ("move", ("copy", "webdav")),
                                ("listing", ("", "nginx", "html", "satchel"))):  # fmt: skip
            self._one_of(setting_, one[setting_], words)
        if not one["records"] and not one["blobs"]:
            self._fault("records", "is missing, and so is blobs: say what the service keeps, or name a preset")
        for setting_, place in (("records", "{table}"), ("record", "{key}"), ("blobs", "{path}")):
            if one[setting_] and (place not in one[setting_] or not one[setting_].startswith("/")):
                self._fault(setting_, f"must be a path with {place} in it")
        if one["keys"] and (slow := plugin("patterns").pattern_fault(one["keys"], 512)):
            self._fault("keys", slow)
        self.conditional, self.exact_integers = one["preconditions"], one["exact_integers"]
        self.lists, self.renames = bool(one["listing"]), one["move"] == "webdav"
        self.frees_folders = one["listing"] == "satchel"
        self.own_fields = frozenset((one["key"], one["version"], *one["service_fields"]))
        self._counts_itself = one["version"] in one["service_fields"]
        self._secrets = [word for text in one["headers"].values() if len(word := text.rpartition(" ")[2]) > 3]
        self._client = HttpClient(self._base, one)

    def _fault(self, setting_: str, detail: str) -> NoReturn:
        fault = Fault(f"providers.{self.name}.{setting_}", "configuration", detail)
        raise ConfigError(f"provider {self.name}: {setting_} {detail}", faults=[fault])

    def _one_of(self, setting_: str, word: str, words: Collection[str]) -> str:
        if word not in words:
            self._fault(setting_, f"is {word!r}, and can be {', '.join(filter(None, words))}{nearest(word, words)}")
        return word

    def _checked_url(self, url: str) -> SplitResult:
        if not url:
            self._fault("url", "is missing, such as https://tickets.internal/api")
        try:
            base = urlsplit(url)
            _ = base.port, (base.hostname or "").encode("idna")
        except ValueError:
            self._fault("url", "is not a URL")
        if base.scheme not in ("http", "https") or not base.hostname or not re.fullmatch(r"[!-~]+", url):
            self._fault("url", "must be http://host[:port][/path] or https://…")
        if base.query or base.fragment or "@" in base.netloc:
            self._fault("url", "has a user, a query or a fragment: credentials go into headers, as env:NAME or file:PATH")
        return base

    # -- life

    def has(self, contract: type[Provider]) -> bool:
        if contract.__name__ in ("Records", "Blobs"):
            return bool(self._options[contract.__name__.lower()])
        return isinstance(self, contract)

    def open(self) -> None:
        """Connects to nothing."""
        self._client.open()

    def close(self) -> None:
        self._client.close()

    def ping(self) -> float:
        began = time.perf_counter()
        with closing(self._ask("ping", "HEAD", self._options["ping"])) as answer:
            if answer.status in (401, 403) or (answer.status >= 500 and answer.status != 501):
                raise self._refusal("ping", answer)
        return time.perf_counter() - began

    def warnings(self) -> list[str]:
        found = []
        if self._secrets and self._base.scheme == "http" and self._base.hostname not in ("localhost", "127.0.0.1", "::1"):
            found.append("its headers go over the network unencrypted: use https")
        unsafe = [] if self.conditional or not self._options["records"] else ["records"]
        unsafe += [] if self._options["blob_preconditions"] or not self._options["blobs"] else ["files"]
        if unsafe:
            found.append(
                f"the service checks no preconditions for {' and '.join(unsafe)}, so only writes of one process exclude "
                "each other: let one worker write there (http.workers = 1)"
            )
        return found

    # -- asking

    def _error(self, cls: type[AppError], doing: str, detail: str, hint: Any = "") -> AppError:
        """An error of this provider's; the hint has no secret in it."""
        said = f"{self._base.scheme}://{self._base.netloc}{self._base.path}: {hint}" if hint else self._base.netloc
        for secret in self._secrets:
            said = said.replace(secret, "…")
        return cls(f"provider {self.name}: {doing}: {detail}", hint=said)

    @contextmanager
    def translated(self, doing: str, *, unsure: bool = False) -> Iterator[None]:
        """Errors of sockets and of HTTP leave as Unavailable; `unsure`: the service may have done what was asked."""
        from http.client import HTTPException

        doubt = "; whether it was done is not known" if unsure else ""
        try:
            yield
        except NotConnected as error:
            if isinstance(error.__cause__, PermissionError):
                detail = "url is a link-local address, which is never asked: set it to the service's own"
                raise self._error(ConfigError, doing, detail, error.__cause__) from error
            detail = (
                f"the service cannot be reached ({type(error.__cause__).__name__}): is it running, are url and tls_ca right?"
            )
            raise self._error(Unavailable, doing, detail, error.__cause__) from error
        except TimeoutError as error:
            detail = (
                f"the service did not answer in time{doubt}: is it overloaded? else raise read_timeout or answer_timeout"
            )
            raise self._error(Unavailable, doing, detail, error) from error
        except (OSError, HTTPException) as error:
            detail = f"the connection or the answer broke off ({type(error).__name__}){doubt}: look at the service's log"
            raise self._error(Unavailable, doing, detail, error) from error

    def _ask(
        self, doing: str, method: str, path: str, *, query: Sequence[tuple[str, str]] = (),
        headers: Facts = MappingProxyType({}), body: bytes | Iterable[bytes] | None = None, whole: bool = True,
    ) -> HttpAnswer:  # fmt: skip
        """The head of the answer to one request, whatever its status but a redirect to somewhere else."""
        target = self._base.path.rstrip("/") + path + ("?" + urlencode(query, quote_via=quote) if query else "")
        unsure = method not in ("GET", "HEAD")
        agent = {"Accept": "application/json, */*;q=0.5", "User-Agent": f"satchel/{app.__version__}"}
        with self.translated(doing, unsure=unsure):
            return self._client.exchange(method, target, {**agent, **self._options["headers"], **headers}, body, whole=whole)

    def _refusal(self, doing: str, answer: HttpAnswer, table: str = "") -> AppError:
        """The error that a status stands for, where the caller has no better one."""
        status, said = answer.status, self._said(answer)
        if 300 <= status < 400:
            detail = f"the service redirects (status {status}), which is not followed: set url to where it leads"
            return self._error(ConfigError, doing, detail, answer.header("location"))
        if status == 403 and doing != "ping" and self._answers():
            detail = "the service does not allow this (status 403): may the credential in headers do it there?"
            return self._error(NotPermitted, doing, detail, said)
        if status in (401, 403):
            detail = f"the service refuses the credential (status {status}): check headers, and what it may do there"
            return self._error(Unavailable, doing, detail, said)
        if status == 404:
            what = f"no table {table}" if table else "nothing there"
            return self._error(
                ConfigError, doing, f"the service has {what} (status 404): make it, or correct the path", said
            )
        if status in (413, 507):
            return self._error(
                TooLarge if status == 413 else StorageFull, doing, f"the service has no room (status {status})", said
            )
        if status in (429, 503) or status >= 500:
            what = "wants fewer requests" if status == 429 else "failed"
            error = self._error(Unavailable, doing, f"the service {what} (status {status}): look at its log", said)
            after = answer.header("retry-after")
            if isinstance(error, Unavailable) and re.fullmatch("[0-9]{1,5}", after):
                error.retry_after_s = max(int(after), 1)
            return error
        cls = Invalid if doing.startswith("writing") else ConfigError
        return self._error(cls, doing, f"the service refuses it (status {status}): do the settings fit it?", said)

    def _answers(self) -> bool:
        """Whether the service as such answers."""
        with suppress(AppError):
            self.ping()
            return True
        return False

    def _said(self, answer: HttpAnswer) -> str:
        """The beginning of a body that explains a status, for the operator; "" if it breaks off."""
        try:
            with self.translated("reading"):
                return next(answer.chunks(), b"")[:500].decode(errors="replace")
        except Unavailable:
            return ""

    def _bytes(self, doing: str, answer: HttpAnswer, *, unsure: bool = False) -> bytes:
        """The body of an answer; TooLarge past max_answer, without reading the rest."""
        most, data = self._options["max_answer"], bytearray()
        with self.translated(doing, unsure=unsure):
            for chunk in answer.chunks():
                data += chunk
                if len(data) > most:
                    detail = f"the answer has over {most:,} bytes: does url lead to the right service? else raise max_answer"
                    raise self._error(TooLarge, doing, detail)
        return bytes(data)

    def _json(self, doing: str, answer: HttpAnswer, *, unsure: bool = False) -> Json:
        """The JSON of an answer, None for an empty one."""
        data = self._bytes(doing, answer, unsure=unsure)
        try:
            return load_json(data) if data else None
        except BadRequest as error:
            media = answer.header("content-type").partition(";")[0] or "no media type"
            detail = (
                f"the answer ({media}) is not JSON: does url lead to the service itself, and not to a sign-in page or proxy?"
            )
            raise self._error(Unavailable, doing, detail, f"{error.message}: {data[:200]!r}") from error

    def _shape(self, doing: str, detail: str) -> AppError:
        return self._error(Unavailable, doing, f"{detail}: do preset and settings fit the service?")

    @contextmanager
    def _alone(self, free: bool, *names: str) -> Iterator[None]:
        """Alone in this process with these records or files, unless it is `free` because the service keeps order."""
        places = set() if free else {f"{self._base.geturl()} {name}" for name in names}
        with ExitStack() as stack:
            with self.translated(f"waiting for {names[0]}"):
                stack.enter_context(ALONE.held(places, self._options["answer_timeout"]))
            yield

    # -- records

    def _place(self, table: str, key: str | None = None) -> str:
        """The path of a table's records, or of one."""
        pattern = self._options["records"]
        if key is not None:
            pattern = self._options["record"] or pattern + "/{key}"
        name = "%2E" * len(key or "") if key in (".", "..") else quote(key or "", safe="")
        return str(pattern).replace("{table}", quote(table, safe="")).replace("{key}", name)

    def _record(self, doing: str, item: Json) -> Record:
        """A record as the service gives it."""
        if not isinstance(item, dict):
            raise self._shape(doing, "a record is no JSON object")
        value = {name: v for name, v in item.items() if v is not None or not self._options["drop_nulls"]}
        key, version = value.pop(self._options["key"], None), value.pop(self._options["version"], None) or 1
        key = str(key) if isinstance(key, int) and not isinstance(key, bool) else key
        if not isinstance(key, str) or not is_key(key):
            raise self._shape(doing, f"a record has no key in {self._options['key']}")
        if not isinstance(version, int) or isinstance(version, bool) or version < 1:
            return Record(key, 1, {}, f"has no version in {self._options['version']}")
        codes = {fault.code for fault in check_value(value)}
        if "depth" in codes:
            return Record(key, version, {}, "is nested in more than 100 lists and objects")
        return Record(key, version, whole_texts(value) if codes else value)

    def holds(self, key: str) -> bool:
        """Whether the service can have a record under the key."""
        return is_key(key) and (not self._options["keys"] or bool(re.fullmatch(self._options["keys"], key)))

    def _look(self, table: str, key: str) -> tuple[Record | None, str]:
        """The record and its entity tag as the service writes it; (None, "")."""
        doing = f"reading {table}/{key}"
        with closing(self._ask(doing, "GET", self._place(table, key))) as answer:
            if answer.status in (404, 410):
                return None, ""
            if answer.status != 200:
                raise self._refusal(doing, answer, table)
            record = self._record(doing, self._json(doing, answer))
            if record.key != key:
                raise self._shape(doing, f"the service answers with record {record.key}")
            return record, answer.header("etag")

    def get(self, table: str, key: str) -> Record | None:
        return self._look(table, key)[0] if self.holds(key) else None

    def find(self, query: Query) -> Page:
        lookup = Lookup.of(query)
        descends = lookup.terms[0][1]
        if len(lookup.terms) > 1 or not self._options["backward" if descends else "forward"]:
            return lookup.page(lookup.first(self._all(query)))
        begin = lookup.after[0][1:] if lookup.after else ""
        plain = not query.where and not query.search
        found = self._all(query, begin, descends, query.limit + 1 if plain else 0)
        rows = (r for r in found if lookup.selects(r) and (not lookup.after or lookup.follows(r)))
        return lookup.page(rows)

    def count(self, query: Query) -> int:
        lookup = Lookup.of(query._replace(after=""))
        if query.where or query.search or not self._options["count"]:
            return sum(map(lookup.selects, self._all(query)))
        doing = f"counting {query.table}"
        pairs = fill_query(self._options["count"], {})
        with closing(self._ask(doing, "GET", self._place(query.table), query=pairs)) as answer:
            if answer.status != 200:
                raise self._refusal(doing, answer, query.table)
            total = self._total(answer, self._json(doing, answer))
        if total is None:
            raise self._shape(doing, "the answer has no number at total")
        return total

    def count_up_to(self, query: Query, most: int, timeout_s: float) -> int | None:
        """By the one request that tells it; a count of what is filtered here would read everything."""
        return None if query.where or query.search or not self._options["count"] else min(self.count(query), most)

    def _total(self, answer: HttpAnswer, data: Json) -> int | None:
        place = self._options["total"]
        found = answer.header(place.removeprefix("header:")) if place.startswith("header:") else at_pointer(data, place)
        text = str(found) if place and not isinstance(found, bool) else ""
        return int(text) if re.fullmatch("[0-9]{1,15}", text) else None

    # -- lists

    def _filter(self, query: Query) -> list[tuple[str, str]]:
        """Parameters for those conditions that the service is certain not to read more narrowly than they are meant."""
        found: dict[str, list[str]] = {}
        for condition in query.where:
            op = {"gt": "gte", "lt": "lte"}.get(condition.op, condition.op)
            text = passable(op, condition.value)
            named = re.fullmatch(r"[A-Za-z](_?[A-Za-z0-9])*", condition.field) and condition.field not in self.own_fields
            if not text or not named or condition.field in ("id", "version") or op not in self._options["filters"]:
                continue
            if is_instant(query, condition):  # a service that compares texts would leave out what is the same moment
                continue
            quoted = dump_json(text) if isinstance(condition.value, str) else text
            facts = {"field": condition.field, "value": text, "json": quoted}
            for name, value in fill_query(self._options["filters"][op], facts):
                found.setdefault(name, []).append(value)
        return [
            (name, value) for name, values in found.items() for value in (values if self._options["join"] else values[:1])
        ]

    def _joined(self, pairs: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
        """Parameters of one name as one, where the service wants them so."""
        found: dict[str, list[str]] = {}
        for name, value in pairs:
            found.setdefault(name, []).append(value)
        one = {n: v[0] if len(v) == 1 else self._options["join"].join(f"({x})" for x in v) for n, v in found.items()}
        return list(one.items()) if self._options["join"] else list(pairs)

    def _all(self, query: Query, begin: str = "", descends: bool = False, wanted: int = 0) -> Iterator[Record]:
        """The records that the service selects, each once; in the order of keys, behind `begin`, where it can page so.

        `wanted`: how many will do, 0 = who knows. TooLarge past max_records.
        """
        doing, most = f"reading {query.table}", self._options["max_records"]
        pattern = self._options["backward" if descends else "forward"]
        pages = self._by_key if pattern else self._by_number
        last = begin
        found = pages(doing, query.table, pattern or self._options["query"], self._filter(query), begin, wanted)
        for seen, record in enumerate(found):
            if seen == most:
                detail = f"over {most:,} records would have to be read: narrow the filter, or raise max_records"
                raise self._error(TooLarge, doing, detail)
            if pattern and last and (record.key <= last) is not descends:
                raise self._shape(doing, "the records do not come in the order of their keys")
            last = record.key
            yield record

    def _page(self, doing: str, table: str, pattern: str, facts: Facts, filters: Sequence[tuple[str, str]]) -> Listed:
        path, pairs = self._place(table), self._joined([*fill_query(pattern, facts), *filters])
        if "link" in facts:
            path, pairs = self._link(doing, facts["link"], path)
        with closing(self._ask(doing, "GET", path, query=pairs)) as answer:
            if answer.status in (400, 422) and filters:  # it does not know such a field, say: then it is filtered here
                return self._page(doing, table, pattern, facts, ())
            if answer.status != 200:
                raise self._refusal(doing, answer, table)
            data = self._json(doing, answer)
            items = at_pointer(data, self._options["items"])
            if not isinstance(items, list):
                raise self._shape(doing, f"the answer has no list at {self._options['items'] or 'its top'}")
            records = [self._record(doing, item) for item in items]
            if records and all(record.damage for record in records):  # then it is the settings that do not fit
                raise self._shape(doing, f"record {records[0].key} {records[0].damage}")
            return Listed(records, self._next(answer, data), self._total(answer, data))

    def _next(self, answer: HttpAnswer, data: Json) -> str:
        """The cursor or link of the page that follows; "" at the end."""
        place = self._options["next"]
        if place == "header:Link":
            match = re.search(r'<([^<>]*)>[^,<]*;\s*rel="?next"?', answer.header("link"))
            return match[1] if match else ""
        found = at_pointer(data, place) if place else None
        return str(found) if isinstance(found, str | int) and not isinstance(found, bool) else ""

    def _link(self, doing: str, link: str, path: str) -> tuple[str, list[tuple[str, str]]]:
        """Path and query of a page that the service links to; ConfigError if that is not below url."""
        root = self._base.path.rstrip("/")
        target = urlsplit(urljoin(self._base._replace(path=root + path).geturl(), link))
        if (target.scheme, target.netloc) != (self._base.scheme, self._base.netloc) or not target.path.startswith(
            root + "/"
        ):
            detail = (
                "the next page is at another place than url, where nothing is asked: is url what the service calls itself?"
            )
            raise self._error(ConfigError, doing, detail, link)
        return target.path.removeprefix(root), parse_qsl(target.query, keep_blank_values=True)

    def _by_key(
        self, doing: str, table: str, pattern: str, filters: Sequence[tuple[str, str]], begin: str, wanted: int
    ) -> Iterator[Record]:
        """Each page begins behind the last record of the one before: none comes twice and none is skipped."""
        last = begin if self.holds(begin) else ""
        while True:
            size = min(wanted or self._options["page_size"], self._options["page_size"])
            facts = {"limit": str(size)} | ({"key": last} if last else {})
            page = self._page(doing, table, pattern, facts, filters)
            yield from page.records
            if not page.records or (self._options["next"] and not page.following):
                return
            last = page.records[-1].key

    def _by_number(
        self, doing: str, table: str, pattern: str, filters: Sequence[tuple[str, str]], begin: str, wanted: int
    ) -> Iterator[Record]:
        """All pages, read to the end before any record is given; read again if the total changed on the way."""
        for _ in range(3):
            records, totals = self._collect(doing, table, pattern, filters)
            if len(totals - {None}) <= 1:
                return iter(records.values())
        raise self._error(Unavailable, doing, "the list changed all the while it was read: try again")

    def _collect(
        self, doing: str, table: str, pattern: str, filters: Sequence[tuple[str, str]]
    ) -> tuple[dict[str, Record], set[int | None]]:
        """The records of all pages by key, one over max_records at most, and every total that was said."""
        most, records, totals = self._options["max_records"], dict[str, Record](), set[int | None]()
        paged = bool(self._options["next"] or {"page", "offset"} & set(PLACEHOLDER.findall(pattern)))
        size = min(most + 1, self._options["page_size"]) if paged else most + 1
        facts, read = {"page": "1", "offset": "0", "limit": str(size)}, 0
        for number in range(2, most + 3):
            page = self._page(doing, table, pattern, facts, filters)
            records |= {record.key: record for record in page.records}
            totals.add(page.total)
            read += len(page.records)
            if not paged and read <= most and (page.total or 0) > read:
                raise self._error(
                    TooLarge, doing, f"the service gives {read:,} of {page.total:,} records: set query to page"
                )
            last_page = not page.following if self._options["next"] else not page.records
            if not paged or last_page or len(records) > most:
                break
            is_link = re.match(r"https?://|[/?]", page.following)
            facts |= {"page": str(number), "offset": str(read), "link" if is_link else "cursor": page.following}
        return records, totals

    # -- writing

    def commit(self, writes: Sequence[Write]) -> list[Record]:
        check_commit(writes)
        if len(writes) > 1:
            raise Unsupported(f"provider {self.name} writes one record at a time, and not {len(writes)} together")
        return [self._commit_one(write) for write in writes]

    def _commit_one(self, write: Write) -> Record:
        if not isinstance(write, Delete):
            self._check(write)
        with self._alone(self.conditional, f"{write.table}/{write.key}"):
            for _ in range(8):  # an unconditional write goes on until nobody comes between
                present, etag = self._look(write.table, write.key) if self.holds(write.key) else (None, "")
                check_version(0, write, present.version if present else 0)
                if isinstance(write, Delete):
                    done = present is None or self._delete(write, etag)
                    record: Record | None = Record(write.key, 0, {}) if done else None
                else:
                    record = self._put(write, present, etag)
                if record:
                    return record
        raise Conflict(f"{write.table}: record {write.key} is changed by others all the time")

    def _check(self, write: Insert | Update) -> None:
        """Nothing, or why the service cannot hold the record: Invalid, or Unsupported for the version of a copy."""
        faults = [Fault("", "key", f"the service of provider {self.name} cannot hold the key {write.key!r}")]
        faults = [] if self.holds(write.key) else faults
        taken = {self._options["key"]} | ({self._options["version"]} - set(self._options["service_fields"]))
        for name in taken & set(write.value):
            faults.append(Fault(member_pointer("", name), "read_only", f"is kept by provider {self.name} for itself"))
        for pointer in () if self.exact_integers else inexact(write.value):
            faults.append(Fault(pointer, "inexact", f"is a number that the service of provider {self.name} would change"))
        if faults:
            raise Invalid("the record cannot be stored", faults=faults)
        if self._counts_itself and isinstance(write, Insert) and write.version != 1:
            raise Unsupported(
                f"provider {self.name}: the service counts versions itself, and cannot begin at {write.version}"
            )

    def _conditions(self, doing: str, free: bool, etag: str | None) -> dict[str, str]:
        """The header that lets the service check what is there: an entity tag, or None for nothing."""
        if not free:
            return {}
        if etag == "":
            raise self._shape(doing, "the service gives no ETag to check by")
        return {"If-None-Match": "*"} if etag is None else {"If-Match": etag}

    def _delete(self, write: Delete, etag: str) -> bool:
        """Whether it is gone; False if another writer came between."""
        doing, version = f"deleting {write.table}/{write.key}", write.version
        headers = self._conditions(doing, self.conditional, etag)
        with closing(self._ask(doing, "DELETE", self._place(write.table, write.key), headers=headers)) as answer:
            if answer.status in (409, 412) or (answer.status in (404, 410) and version is not None):
                return False
            if not 200 <= answer.status < 300 and answer.status not in (404, 410):
                raise self._refusal(doing, answer, write.table)
            return True

    def _put(self, write: Insert | Update, present: Record | None, etag: str) -> Record | None:
        """The record as it is written; None if another writer came between."""
        one, doing = self._options, f"writing {write.table}/{write.key}"
        version = next_version(write, present.version if present else 0)
        sent = {name: value for name, value in write.value.items() if name not in one["service_fields"]}
        body = sent if self._counts_itself else sent | {one["version"]: version}
        method = one["create"] if present is None else one["update"]
        if method == "PATCH" and present:
            body = {name: None for name in present.value if name not in self.own_fields} | body
        if one["key"] not in one["service_fields"]:
            body |= {one["key"]: write.key}
        data = dump_json(body).encode()
        headers = {"Content-Type": "application/json", "Content-Length": str(len(data))}
        headers |= self._conditions(doing, self.conditional, etag if present else None)
        place = self._place(write.table, None if method == "POST" else write.key)
        with closing(self._ask(doing, method, place, headers=headers, body=data)) as answer:
            if answer.status in (409, 412) or (present and answer.status in (404, 410)):
                return None
            if not 200 <= answer.status < 300:
                error = self._refusal(doing, answer, write.table)
                if present is None and self._was_beaten(write, sent, error):
                    return None
                raise error
            data = self._json(doing, answer, unsure=True)
        return self._stored(doing, write, data, {**sent, **({} if self._counts_itself else {one["version"]: version})})

    def _was_beaten(self, write: Insert | Update, sent: Value, error: AppError) -> bool:
        """Whether a service that refused to create a record did so because another writer was first."""
        if not isinstance(error, Invalid | Unavailable):
            return False
        there = self._look(write.table, write.key)[0]
        return there is not None and any(there.value.get(name) != value for name, value in sent.items())

    def _stored(self, doing: str, write: Insert | Update, data: Json, sent: Value) -> Record:
        """The record that a service says it has stored; ConfigError if it dropped fields."""
        if not isinstance(data, dict) and not self._counts_itself:
            if data is not None:
                raise self._shape(doing, "the answer to a write is no JSON object")
            return Record(write.key, sent[self._options["version"]], write.value)
        lost = [name for name, value in sent.items() if value is not None and name not in (data or sent)]
        if not lost and not self._counts_itself and data[self._options["version"]] != sent[self._options["version"]]:
            lost = [self._options["version"]]
        if lost:
            detail = f"the service did not keep {', '.join(lost)}: its table must have such fields"
            raise self._error(ConfigError, doing, detail)
        if not self._counts_itself:
            return Record(write.key, sent[self._options["version"]], write.value)
        record = self._record(doing, data) if data else self._look(write.table, write.key)[0]
        if record is None or record.key != write.key:
            raise self._shape(doing, "the service does not have the record that it took")
        return record

    # -- blobs

    def _path(self, path: str, folder: str = "") -> str:
        """The path of a file for the service, or of a folder with a slash at its end."""
        whole = str(self._options["blobs"]).replace("{path}", quote_path(path))
        return whole.rstrip("/") + folder

    def _blob(self, doing: str, path: str, answer: HttpAnswer) -> Blob | None:
        """The blob that the head of an answer describes; None where there is none, or a folder."""
        if answer.status in (404, 410) or self._is_folder_answer(path, answer):
            return None
        if answer.status not in (200, 206):
            raise self._refusal(doing, answer)
        whole = (
            answer.header("content-range").rpartition("/")[2] if answer.status == 206 else answer.header("content-length")
        )
        if not re.fullmatch("[0-9]{1,18}", whole):
            raise self._shape(doing, "the service does not say how large the file is")
        changed = email.utils.parsedate_tz(answer.header("last-modified"))
        modified_at = email.utils.mktime_tz(changed) if changed else 0
        tag = answer.header("etag").removeprefix("W/").strip('"') or f"{int(modified_at):x}-{int(whole):x}"
        return Blob(path, int(whole), float(modified_at), tag)

    def _is_folder_answer(self, path: str, answer: HttpAnswer) -> bool:
        """Whether the service says that there is a folder: by a redirect to the same path and a slash, or a listing."""
        if 300 <= answer.status < 400:
            place = urlsplit(answer.header("location")).path
            return unquote(place) == unquote(self._base.path.rstrip("/") + self._path(path, "/"))
        return self._options["listing"] == "satchel" and answer.status == 200 and not answer.header("etag")

    def stat(self, path: str) -> Blob | None:
        doing = f"looking at {path}"
        with closing(self._ask(doing, "HEAD", self._path(path))) as answer:
            return self._blob(doing, path, answer)

    def is_folder(self, path: str) -> bool:
        self._need_listing()
        return not path or next(iter(self.scan(path)), None) is not None

    def read(self, path: str, start: int = 0, length: int | None = None, if_match: str | None = None) -> HttpReader:
        doing, end = f"reading {path}", "" if length is None else start + max(length, 1) - 1
        headers = {"Range": f"bytes={start}-{end}"} if start or length is not None else {}
        answer = self._ask(doing, "GET", self._path(path), headers=headers, whole=False)
        try:
            if answer.status == 416:
                need_blob(path, self.stat(path), if_match)
                return HttpReader(self, path, answer, 0, 0)
            need_blob(path, self._blob(doing, path, answer), if_match)
            if answer.status == 206 and not answer.header("content-range").startswith(f"bytes {start}-"):
                raise self._shape(doing, "the service sends another range than was asked for")
            return HttpReader(self, path, answer, start if answer.status == 200 else 0, length)
        except BaseException:
            answer.close()
            raise

    def stage(self, chunks: Iterable[bytes], path: str = "") -> Staged:
        digest, size = hashlib.sha256(), 0
        with disk_errors(f"provider {self.name}", "staging"):
            descriptor, place = tempfile.mkstemp(prefix="satchel-", suffix=".staged")
        try:
            with open(descriptor, "wb", buffering=0) as file:
                for chunk in rechunk(chunks, CHUNK_BYTES):
                    digest.update(chunk)
                    size += len(chunk)
                    with disk_errors(f"provider {self.name}", "staging"):
                        write_fully(file.fileno(), chunk)
        except BaseException:
            os.unlink(place)
            raise
        return Staged(os.path.basename(place), size, digest.hexdigest())

    @staticmethod
    def _staged(name: str) -> Path | None:
        """The file of staged bytes; None if they are gone, or were never staged by this account."""
        place = Path(tempfile.gettempdir(), name)
        if not re.fullmatch(r"satchel-\w+\.staged", name) or not place.is_file() or place.is_symlink():
            return None
        return place if os.name == "nt" or place.stat().st_uid == os.geteuid() else None

    def sweep(self, now: float) -> None:
        """Remove staged files that nobody wanted for a day."""
        for place in Path(tempfile.gettempdir()).glob("satchel-*.staged"):
            with suppress(OSError):
                if self._staged(place.name) and place.stat().st_mtime < now - LOOSE_STAGED_S:
                    place.unlink()

    def discard(self, staged: Staged) -> None:
        with suppress(OSError):
            if place := self._staged(staged.id):
                place.unlink()

    def publish(self, staged: Staged, path: str, *, if_match: str | None = None, if_none_match: bool = False) -> Blob:
        source = self._staged(staged.id)
        if source is None:
            raise NotFound("the staged bytes are gone: they were published, discarded or left for a day")
        with self._alone(self._options["blob_preconditions"], f"file {path}"):
            present = self.stat(path)
            check_blob(path, present, if_match, if_none_match)
            conditional = if_none_match or if_match is not None
            tag = self._conditions("publishing", conditional and self._options["blob_preconditions"], None)
            if tag and if_match is not None:
                tag = {"If-Match": f'"{if_match}"'}
            stamp = max(time.time(), present.modified_at + 1 if present else 0)
            blob = self._upload(source, staged.size_bytes, path, tag, stamp)
        self.discard(staged)
        return blob

    def _upload(self, source: Path, size_bytes: int, path: str, condition: Facts, stamp: float) -> Blob:
        """PUT a file of this machine; PreconditionFailed, or Conflict where path is no place for a file."""
        doing = f"writing {path}"
        headers = {"Content-Length": str(size_bytes), "Content-Type": "application/octet-stream", **condition}
        headers |= {"Date": email.utils.formatdate(stamp, usegmt=True)} if self._options["put_date"] else {}
        with disk_errors(f"provider {self.name}", "staging"), open(source, "rb") as file:
            body = iter(partial(file.read, CHUNK_BYTES), b"")
            answer = self._ask(doing, "PUT", self._path(path), headers=headers, body=body, whole=False)
        with closing(answer):
            if answer.status == 412:
                raise PreconditionFailed(f"{path} was changed meanwhile")
            if not 200 <= answer.status < 300:
                error = self._refusal(doing, answer)
                raise self._clash(path) or error
            tag = answer.header("etag").removeprefix("W/").strip('"')
        blob = self.stat(path)
        if tag and (blob is None or blob.etag != tag):  # somebody replaced it already
            return Blob(path, size_bytes, float(int(stamp)), tag)
        if blob is None:
            raise self._error(Unavailable, doing, "the service took the file and does not have it: look at its log")
        return blob

    def _clash(self, path: str) -> Conflict | None:
        """The Conflict there is where a folder has the path or a file is above it."""
        parts = path.split("/")
        for above in ("/".join(parts[:n]) for n in range(1, len(parts))):
            if self.stat(above):
                return Conflict(f"a part of {path} is a file and no folder")
        doing = f"looking at {path}"
        with closing(self._ask(doing, "HEAD", self._path(path))) as answer:
            return Conflict(f"{path} is a folder") if self._is_folder_answer(path, answer) else None

    def remove(self, path: str, *, if_match: str | None = None) -> None:
        with self._alone(self._options["blob_preconditions"], f"file {path}"):
            blob = need_blob(path, self.stat(path), if_match)
            self._remove(path, blob.etag if if_match is not None else None)

    def _remove(self, path: str, etag: str | None) -> None:
        doing = f"removing {path}"
        headers = {"If-Match": f'"{etag}"'} if etag and self._options["blob_preconditions"] else {}
        with closing(self._ask(doing, "DELETE", self._path(path), headers=headers)) as answer:
            if answer.status == 412:
                raise PreconditionFailed(f"{path} was changed meanwhile")
            if answer.status in (404, 410):
                raise NotFound(f"there is no file {path}")
            if not 200 <= answer.status < 300:
                raise self._refusal(doing, answer)

    def move(self, source: str, target: str) -> Blob:
        """In one step with MOVE; else the copy is there before the original goes, and is removed if that does not."""
        with self._alone(
            self._options["blob_preconditions"] and self._options["move"] == "copy", f"file {source}", f"file {target}"
        ):
            blob = need_blob(source, self.stat(source))
            if self.stat(target):
                raise Conflict(f"{target} exists already")
            if self._options["move"] == "webdav":
                return self._rename(source, target)
            with closing(self.read(source, if_match=blob.etag)) as reader:
                staged = self.stage(reader)
            try:
                place = self._staged(staged.id)
                condition = self._conditions("moving", self._options["blob_preconditions"], None)
                moved = self._upload(cast(Path, place), staged.size_bytes, target, condition, blob.modified_at)
            except PreconditionFailed as error:
                raise Conflict(f"{target} exists already") from error
            finally:
                self.discard(staged)
            try:
                self._remove(source, blob.etag)
            except AppError:
                with suppress(AppError):  # the first failure is the one to tell
                    self._remove(target, moved.etag)
                raise
            return moved

    def _rename(self, source: str, target: str) -> Blob:
        doing = f"moving {source}"
        goal = self._base._replace(path=self._base.path.rstrip("/") + self._path(target)).geturl()
        headers = {"Destination": goal, "Overwrite": "F"}
        with closing(self._ask(doing, "MOVE", self._path(source), headers=headers)) as answer:
            if answer.status == 412:
                raise Conflict(f"{target} exists already")
            if not 200 <= answer.status < 300:
                raise self._clash(target) or self._refusal(doing, answer)
        return need_blob(target, self.stat(target))

    # -- listings

    def _need_listing(self) -> None:
        if not self.lists:
            raise Unsupported(f"provider {self.name} cannot list its files: name them, or set listing")

    def scan(self, prefix: str = "", *, deep: bool = True, after: str = "") -> Iterator[Blob | Folder]:
        self._need_listing()
        return self._walk_folder(prefix, deep, after)

    def _walk_folder(self, folder: str, deep: bool, after: str) -> Iterator[Blob | Folder]:
        """Entries in order; of folders only those in which something is."""
        found = self._entries(folder)
        for path in sorted(found, key=lambda path: path + "/" * (deep and isinstance(found[path], Folder))):
            entry = found[path]
            if isinstance(entry, Folder) and deep:
                if after < path + "0":  # what lies in it sorts before this
                    yield from self._walk_folder(path, deep, after)
            elif path > after:
                entry = entry or self.stat(path)
                empty = self._options["listing"] != "satchel" and isinstance(entry, Folder) and not self.is_folder(path)
                if entry and not empty:
                    yield entry

    def _entries(self, folder: str) -> dict[str, Blob | Folder | None]:
        """What a listing says of a folder by path; None where it names a file and does not describe it."""
        found: dict[str, Blob | Folder | None] = {}
        for name, entry in self._listed(f"listing {folder or 'the files'}", folder):
            path = f"{folder}/{name}" if folder else name
            with suppress(BadRequest):  # a name that nobody could ask for
                check_path(path.split("/"))
                found[path] = Folder(path) if isinstance(entry, Folder) else entry and entry._replace(path=path)
        return found

    def _listed(self, doing: str, folder: str) -> list[tuple[str, Blob | Folder | None]]:
        """The names of a listing and what each is; [] where there is no such folder."""
        listing, most = self._options["listing"], self._options["max_records"]
        read = {"nginx": self._read_autoindex, "html": self._read_links, "satchel": self._read_satchel}[listing]
        accept = {"Accept": "text/html" if listing == "html" else "application/json"}
        query = [("_size", "1000")] if listing == "satchel" else []
        found: list[tuple[str, Blob | Folder | None]] = []
        following: str | None = ""
        while following is not None:
            pairs = [*query, ("_next", following)] if following else query
            with closing(self._ask(doing, "GET", self._path(folder, "/"), query=pairs, headers=accept)) as answer:
                if answer.status in (404, 410):
                    return []
                if answer.status != 200:
                    raise self._refusal(doing, answer)
                entries, following = read(doing, answer)
            found += entries
            if len(found) > most:
                raise self._error(TooLarge, doing, f"over {most:,} files are in one folder: raise max_records")
        return found

    def _read_autoindex(self, doing: str, answer: HttpAnswer) -> Entries:
        """nginx, autoindex_format json; its entity tags are time and size."""
        entries: list[tuple[str, Blob | Folder | None]] = []
        for item in self._rows(doing, self._json(doing, answer)):
            changed = email.utils.parsedate_tz(str(item.get("mtime")))
            if item.get("type") == "directory":
                entries.append((item["name"], Folder("")))
            elif item.get("type") == "file" and changed and isinstance(item.get("size"), int):
                at, size = email.utils.mktime_tz(changed), item["size"]
                entries.append((item["name"], Blob("", size, float(at), f"{at:x}-{size:x}")))
        return entries, None

    def _read_satchel(self, doing: str, answer: HttpAnswer) -> Entries:
        data = self._json(doing, answer)
        entries: list[tuple[str, Blob | Folder | None]] = []
        for item in self._rows(doing, at_pointer(data, "/items")):
            if item.get("type") == "folder":
                entries.append((item["name"], Folder("")))
            elif item.get("type") == "file":
                at = parse_rfc3339(item["modified_at"]) // 1  # as Last-Modified says it
                entries.append((item["name"], Blob("", item["size_bytes"], at, item["etag"])))
        return entries, data["next"]

    def _rows(self, doing: str, data: Json) -> list[Value]:
        if not isinstance(data, list) or not all(isinstance(i, dict) and isinstance(i.get("name"), str) for i in data):
            raise self._shape(doing, "the answer is no list of files")
        return data

    def _read_links(self, doing: str, answer: HttpAnswer) -> Entries:
        """A page of links: those to one segment below it are its entries. What they are is asked of each file."""
        from html.parser import HTMLParser

        targets: list[str] = []
        parser = HTMLParser()
        parser.handle_starttag = lambda tag, attrs: targets.extend(  # type: ignore[method-assign]
            text or "" for name, text in attrs if (tag, name) == ("a", "href")
        )
        parser.feed(self._bytes(doing, answer).decode(errors="replace"))
        names = dict.fromkeys(target.removeprefix("./") for target in targets)
        wanted = [name for name in names if re.fullmatch(r"[^/?#:]+/?", name) and name not in (".", "..", "../")]
        return [(unquote(name.rstrip("/")), Folder("") if name.endswith("/") else None) for name in wanted], None
