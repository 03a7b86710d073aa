"""Programs of Python's web interface (WSGI, PEP 3333) as parts of a site: `wsgi` of an app, at apps/NAME/app/."""

from __future__ import annotations

import io
import re
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import Any, BinaryIO, ClassVar, TypeAlias, cast
from urllib.parse import unquote_to_bytes

from app import (
    ELSEWHERE,
    HTTP_METHODS,
    LOG,
    PAGE_POLICY,
    Action,
    Answer,
    AppConfig,
    AppError,
    Asked,
    BodyReader,
    Caller,
    Config,
    ConfigError,
    Exchange,
    Forbidden,
    Host,
    HttpRunner,
    Request,
    Route,
    Unavailable,
    nearest,
)

# ==== 1. PROGRAMS ================================================================================================
# The programs that app.toml names. A process that serves imports them when it begins, after its fork, so that what they open
# or start is its own; no other process does, but for `server check`.
# uses: ERRORS CONFIG
# defines: Program callable_name load

_Headers: TypeAlias = list[tuple[str, str]]
Program: TypeAlias = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


def callable_name(text: str) -> str:
    """A setting such as "stock.web:application". Raises ValueError if it is not one."""
    name = r"[^\W\d]\w*(?:\.[^\W\d]\w*)*"
    if not re.fullmatch(f"{name}:{name}", text):
        raise ValueError('must be "MODULE:CALLABLE", such as "stock:application" of stock.py beside app.toml')
    return text


def load(text: str, folder: Path) -> Program:
    """The program that a setting of the app.toml in `folder` names; its module may lie there. Raises ConfigError if there is
    none."""
    name, _, inside = text.partition(":")
    if str(folder) not in sys.path:
        sys.path.append(str(folder))  # the last: a file there hides none of Python's own
    try:
        found: Any = import_module(name)
    except (Exception, SystemExit) as error:
        if isinstance(error, ModuleNotFoundError) and f"{name}.".startswith(f"{error.name}."):
            where = "neither beside app.toml nor among the packages of this Python"
            raise ConfigError(f"names the module {error.name}, which is {where}") from error
        raise ConfigError(f"names the module {name}, which fails to load: {type(error).__name__}: {error}") from error
    _check_place(name.partition(".")[0], folder)
    for part in inside.split("."):
        if not hasattr(found, part):
            raise ConfigError(f"names {inside}, which the module {name} does not have{nearest(part, vars(found))}")
        found = getattr(found, part)
    if not callable(found):
        raise ConfigError(f"names {inside} of the module {name}, which is not callable")
    return cast(Program, found)


def _check_place(name: str, folder: Path) -> None:
    """Raises ConfigError if another module has the name of one beside app.toml, and was imported in its place."""
    beside = [path for path in (folder / f"{name}.py", folder / name / "__init__.py") if path.exists()]
    file = getattr(sys.modules[name], "__file__", None)
    if beside and not (file and Path(file).exists() and any(path.samefile(file) for path in beside)):
        place = beside[0].relative_to(folder)
        raise ConfigError(f"names the module {name}, a name that another module has: give {place} another one")


# ==== 2. INPUT ===================================================================================================
# What a program is told of a request.
# uses: ERRORS VALUES CONFIG RUNNERS
# defines: Input environ_of

# The server's own business, what would let a program act as the caller, and what some programs take for settings, names or
# addresses. What a trusted proxy forwards is in wsgi.url_scheme, HTTP_HOST and REMOTE_ADDR; anybody can send the rest.
_WITHHELD = re.compile(
    "authorization|connection|content-length|content-type|cookie|expect|forwarded|keep-alive|proxy|proxy-authorization|"
    "proxy-connection|remote-user|te|trailer|transfer-encoding|upgrade|x-forwarded(-.*)?|x-original-url|x-real-ip|x-rewrite-url"
)
_OWN_COOKIE = re.compile(r"(__\w+-)?satchel_")
_SPOOLED_BYTES = 1 << 20  # in memory, of a body that has to be read first


class Input(io.RawIOBase):
    """The body of a request as a file. `fault` is what has ended it too early, if anything has."""

    def __init__(self, body: BodyReader) -> None:
        self._chunks, self._left = iter(body), memoryview(b"")
        self.fault: AppError | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self.fault:
            raise self.fault
        if not self._left:
            try:
                self._left = memoryview(next(self._chunks, b""))
            except AppError as error:
                self.fault = error
                raise
        size = min(len(buffer), len(self._left))
        buffer[:size], self._left = self._left[:size], self._left[size:]
        return size


def _spooled(body: BodyReader) -> tuple[BinaryIO, int]:
    """A body of unknown length as a file, and its length: most programs read only as much as is announced."""
    file = cast(BinaryIO, SpooledTemporaryFile(_SPOOLED_BYTES))  # noqa: SIM115 (closed by Call.close)
    try:
        for chunk in body:
            file.write(chunk)
    except BaseException:
        file.close()
        raise
    size = file.tell()
    file.seek(0)
    return file, size


def environ_of(exchange: Exchange, caller: Caller, mount: str, config: Config) -> dict[str, Any]:
    """All of the environ but wsgi.input and CONTENT_LENGTH. `mount` is the address of the program."""
    host = re.fullmatch(r"(.*?)(?::([0-9]*))?", exchange.host)
    name, port = (host[1], host[2]) if host else ("", "")
    fields = {
        "HTTP_" + name.upper().replace("-", "_"): value
        for name, value in exchange.head.fields.items()
        if not _WITHHELD.fullmatch(name) and "_" not in name  # which would pass for a hyphen
    }
    cookies = [one.strip() for one in exchange.header("cookie").split(";")]
    if own := "; ".join(one for one in cookies if one and not _OWN_COOKIE.match(one)):
        fields["HTTP_COOKIE"] = own
    if exchange.content_type:
        fields["CONTENT_TYPE"] = exchange.content_type
    if caller.subject:
        fields |= {"REMOTE_USER": caller.subject.encode().decode("latin-1"), "AUTH_TYPE": "satchel"}
    return fields | {
        "REQUEST_METHOD": exchange.method,
        "SCRIPT_NAME": _wsgi_text(f"{exchange.prefix}/{mount}"),
        "PATH_INFO": _wsgi_text(exchange.inner[len(mount) :]),
        "QUERY_STRING": exchange.own_address[len(exchange.own_path) + 1 :],
        "SERVER_NAME": name or "localhost",
        "SERVER_PORT": port or ("443" if exchange.scheme == "https" else "80"),
        "SERVER_PROTOCOL": f"HTTP/{exchange.head.version}",
        "REMOTE_ADDR": exchange.client,
        **({"HTTP_HOST": exchange.host} if exchange.host else {}),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": exchange.scheme,
        "wsgi.errors": sys.stderr,
        "wsgi.input_terminated": True,
        "wsgi.multithread": True,
        "wsgi.multiprocess": config.http.workers != 1,
        "wsgi.run_once": False,
        "satchel.roles": list(caller.roles),
        "satchel.request_id": exchange.id,
    }


def _wsgi_text(path: str) -> str:
    """A percent-encoded path as WSGI has it: decoded, each byte a letter."""
    return unquote_to_bytes(path).decode("latin-1")


# ==== 3. CALLS ===================================================================================================
# One call of a program, and the way to it.
# uses: ERRORS VALUES CONFIG RUNNERS PROGRAMS INPUT
# defines: Route:wsgi Gate Call WsgiApps

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_PATIENCE_S = 0.5  # for other calls to end
_HOP_BY_HOP = frozenset(
    "connection keep-alive proxy-authenticate proxy-authorization te trailer trailers transfer-encoding upgrade".split()
)


class Gate:
    """Lets so many calls of programs into this worker that it has threads for everything else. One that finds no room waits
    a moment, unless those before it take long."""

    def __init__(self, threads: int) -> None:
        self._of_one, self._of_all = max(1, threads // 2), max(1, threads - max(1, threads // 4))
        self._calls: dict[object, tuple[str, float]] = {}  # the program's address, and since when
        self._changed = threading.Condition()

    def enter(self, address: str) -> Callable[[], None]:
        """What ends the call of a program, once or often. Raises Unavailable if there is no room for it."""
        call, until = object(), time.monotonic() + _PATIENCE_S
        with self._changed:
            while (full := self._full(address)) is not None:
                left = min(until, full + _PATIENCE_S) - time.monotonic()
                if left <= 0:
                    raise Unavailable(f"the program of {address} is busy with others; try again soon")
                self._changed.wait(left)
            self._calls[call] = address, time.monotonic()

        def leave() -> None:
            with self._changed:
                self._calls.pop(call, None)
                self._changed.notify_all()

        return leave

    def _full(self, address: str) -> float | None:
        """Since when the oldest call runs that a further one has to wait for; None if there is room."""
        own = [began for where, began in self._calls.values() if where == address]
        if len(own) >= self._of_one:
            return min(own)
        return min(began for _, began in self._calls.values()) if len(self._calls) >= self._of_all else None


class Call:
    """A call of a program and, once it has begun to answer, the body of that answer."""

    def __init__(
        self, program: Program, environ: dict[str, Any], exchange: Exchange, most_bytes: int, leave: Callable[[], None]
    ) -> None:
        """Raises AppError if the body of the request cannot be taken, or has over `most_bytes`. `leave` is called at the
        end."""
        self._leave = leave
        self._program, self._environ, self._method, self._id = program, environ, exchange.method, exchange.id
        body = exchange.body.bounded(most_bytes)
        self._input = Input(body)
        self._file: BinaryIO = io.BufferedReader(self._input)
        size = body.size_bytes
        if size is None:
            self._file, size = _spooled(body)
        environ["wsgi.input"] = self._file
        if size or exchange.header("content-length") or exchange.header("transfer-encoding"):
            environ["CONTENT_LENGTH"] = str(size)
        self._written = cast(BinaryIO, SpooledTemporaryFile(_SPOOLED_BYTES))  # noqa: SIM115 (what write() was given)
        self._status, self._headers, self._is_sent = 0, cast(_Headers, []), False
        self._found: Iterable[bytes] = ()
        self._chunks: Iterator[bytes] = iter(())
        self._first = b""

    def answer(self) -> Answer:
        """The answer, from when its first bytes are there."""
        try:
            self._found = self._program(self._environ, self._start)
            self._chunks = filter(None, map(_checked_chunk, self._found))
            self._first = next(self._chunks, b"")
            if not self._status:
                raise RuntimeError("the program did not call start_response")
            if self._input.fault:  # which the program may have taken for a fault of its own
                raise self._input.fault
            self._check_length()
            self._is_sent = True
            return self._whole() or Answer(self._status, self._headers, self)
        except BaseException as error:
            self.close()
            if self._input.fault and error is not self._input.fault:
                raise self._input.fault from error
            raise

    def _check_length(self) -> None:
        """Raises RuntimeError if Content-Length is wrong, as far as is known before the head goes out: of a list it is known
        whole, of anything else only that its beginning is too long."""
        announced = [int(value) for name, value in self._headers if name.lower() == "content-length"]
        if not announced or self._method == "HEAD" or self._status in (204, 304):
            return
        is_all = isinstance(self._found, list | tuple)
        parts = self._found if is_all else [self._first]
        size = self._written.tell() + sum(len(_checked_chunk(one)) for one in parts)
        if size > announced[0] or (is_all and size < announced[0]):
            than = "" if is_all else "at least "
            raise RuntimeError(f"Content-Length is {announced[0]}, but the program answers with {than}{size} bytes")

    def _whole(self) -> Answer | None:
        """The answer with its body, if the program has given that as a list and left its length to us."""
        has_length = any(name.lower() == "content-length" for name, _ in self._headers)
        if not isinstance(self._found, list | tuple) or has_length or self._method == "HEAD":
            return None
        data = b"".join(self)
        self.close()
        return Answer(self._status, self._headers, data)

    def __iter__(self) -> Iterator[bytes]:
        self._written.seek(0)
        yield from iter(lambda: self._written.read(1 << 16), b"")
        yield self._first
        yield from self._chunks
        if self._input.fault:
            raise self._input.fault

    def close(self) -> None:
        """Tells the program that its answer is over, however it ended. What the program raises then is logged."""
        try:
            if hasattr(self._found, "close"):
                self._found.close()
        except BaseException:
            LOG.exception("request %s: close() of the program's answer failed", self._id)
        finally:
            self._leave()
            self._file.close()
            self._written.close()

    # -- what the program calls

    def _start(self, status: str, headers: _Headers, exc_info: Any = None) -> Callable[[bytes], None]:
        """start_response of PEP 3333."""
        try:
            if exc_info and self._is_sent:
                raise exc_info[1].with_traceback(exc_info[2])
            if self._status and not exc_info:
                raise RuntimeError("start_response was called again without exc_info")
        finally:
            exc_info = None  # no circle of frame and traceback
        self._status, self._headers = _checked_status(status), _checked_headers(headers)
        if self._status == 204:
            self._headers = [pair for pair in self._headers if pair[0].lower() != "content-length"]
        return self._write

    def _write(self, data: bytes) -> None:
        """What write() was given goes out before what the program returns."""
        self._written.write(_checked_chunk(data))
        self._is_sent = self._is_sent or bool(data)


def _checked_chunk(data: bytes) -> bytes:
    if not isinstance(data, bytes):
        raise TypeError(f"a WSGI program answers with bytes, not {type(data).__name__}")
    return data


def _checked_status(status: str) -> int:
    if not isinstance(status, str) or not re.fullmatch(r"[2-5][0-9]{2}( [^\0-\x1f\x7f]*)?", status):
        raise ValueError(f"{status!r} is not the status of an answer, such as '200 OK'")
    return int(status[:3])


def _checked_headers(given: Iterable[tuple[str, str]]) -> _Headers:
    """The headers, and the policy of an app's pages unless there is one. Raises ValueError if they cannot be sent."""
    headers = list(given)  # some programs give what can be read only once
    for name, value in headers:
        if not _TOKEN.fullmatch(name) or not re.fullmatch(r"[^\0-\x08\n-\x1f\x7f]*", value):
            raise ValueError(f"the header {name!r}: {value!r} is not one of HTTP")
        if name.lower() in _HOP_BY_HOP:
            raise ValueError(f"the header {name} is for servers, not for programs behind them")
        if name.lower() == "content-length" and not re.fullmatch("[0-9]{1,18}", value):
            raise ValueError(f"Content-Length is {value!r}, not a number")
        value.encode("latin-1")
    names = [name.lower() for name, _ in headers]
    if names.count("content-length") > 1:
        raise ValueError("Content-Length is given more than once")
    policy = [] if "content-security-policy" in names else [("Content-Security-Policy", PAGE_POLICY)]
    return [*(pair for pair in headers if pair[0].lower() not in ("date", "x-request-id")), *policy]


def _check_own(caller: Caller, exchange: Exchange) -> None:
    """Raises Forbidden if somebody's own token only reads, and the method is not one of those that only read. All others may
    do in a program whatever it lets them: reading an app is all that there is to grant."""
    if caller.ceilings and exchange.method not in ("GET", "HEAD", "OPTIONS"):
        action = {"POST": Action.CREATE, "DELETE": Action.DELETE}.get(exchange.method, Action.UPDATE)
        if not caller._replace(ceilings=()).may(action, exchange.inner):
            raise Forbidden("this token only reads", needed=f"{exchange.resource}:{action}")


class WsgiApps(Route):
    """The program of each app that has one, for whoever may read the app there."""

    kind = "wsgi"
    types = frozenset({"apps"})
    inside = "app"
    methods: ClassVar[Mapping[str, Action]] = dict.fromkeys(HTTP_METHODS, Action.READ)

    def __init__(self, options: Mapping[str, Any], config: Config) -> None:
        super().__init__(options, config)
        self._named = {f"apps/{one.name}": one.wsgi for one in config.resources if isinstance(one, AppConfig) and one.wsgi}
        self._programs: dict[str, Program] = {}  # by address
        self._gate = Gate(config.http.threads)

    def open(self) -> None:
        for address in self._named:
            self._program(address)

    def _program(self, address: str) -> Program:
        if address not in self._programs:
            try:
                self._programs[address] = load(self._named[address], self.config.folder)
            except ConfigError as error:
                raise ConfigError(f"{address.replace('/', '.')}.wsgi {error.message}") from error
        return self._programs[address]

    def answer(self, asked: Asked, host: Host) -> Answer:
        exchange = cast(Exchange, asked)
        if exchange.method not in ("GET", "HEAD", "OPTIONS"):
            exchange.door.check_origin(exchange, form=False)  # the forms of a program have no token of ours
            if exchange.by_browser and exchange.header("origin") == "null":
                raise Forbidden(ELSEWHERE)
        request = Request(
            exchange.id, Action.READ, exchange.resource, exchange.path_inside, HttpRunner.kind,
            credential=exchange.credential,
        )  # fmt: skip
        caller = host.handle(request).caller
        exchange.subject = caller.subject
        _check_own(caller, exchange)
        if exchange.path_inside == ("app",) and exchange.method in ("GET", "HEAD"):  # links there start at its folder
            query = exchange.own_address[len(exchange.own_path) :]
            return Answer(308, [("Location", f"{exchange.own_path}/{query}"), ("Content-Type", "text/plain; charset=utf-8")])
        mount = "/".join(exchange.inner.split("/")[:3])
        environ = environ_of(exchange, caller, mount, self.config)
        program, leave = self._program(exchange.resource), self._gate.enter(exchange.resource)
        try:
            call = Call(program, environ, exchange, self.config.http.max_body_bytes, leave)
        except BaseException:
            leave()
            raise
        return call.answer()
