"""A site and clients for tests: in this process through wsgiref.validate, and real servers started as programs."""

from __future__ import annotations

import html
import http.client
import io
import json
import os
import re
import secrets
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import quote, unquote_to_bytes, urlencode
from wsgiref.validate import validator

import backends
from sites import lay_tables

import app

ROOT = Path(app.__file__).parent
BOUNDARY = "frontier"
CONFIG = """
[site]
title = "Ops & <Co>"
prefix = "PREFIX"
[http]
hosts = ["intranet.local"]
trusted_proxies = ["10.0.0.1", "10.9.0.0/16"]
max_body = "64KB"
[roles.staff]
grants = ["forms/**:*", "files/**:*", "views/**:*", "apps/**:*", "admin/**:read"]
[public]
grants = ["forms/open:create"]
[providers.main]
kind = "sql"
url = "sqlite:///app.db"
[providers.disk]
kind = "file"
root = "disk"
[files.docs]
provider = "disk"
prefix = "docs/"
max_file = "1MB"
[files.blobs]
provider = "main"
prefix = "blobs/"
max_file = "1MB"
[files.pics]
provider = "disk"
prefix = "pics/"
accept = ["image/*"]
[forms.leave]
title = "Leave"
provider = "main"
[forms.leave.fields]
day    = { type = "string", format = "date", title = "First day", required = true }
days   = { type = "number", minimum = 0.5, maximum = 60, multipleOf = 0.5 }
kind   = { type = "string", enum = ["paid", "unpaid"], default = "paid" }
reason = { type = "string", title = "Reason", maxLength = 2000 }
urgent = { type = "boolean" }
address = { type = "string" }
[forms.open]
provider = "main"
[forms.open.fields]
text = { type = "string", required = true }
[forms.papers]
provider = "main"
[forms.papers.fields]
name  = { type = "string", required = true, minLength = 2 }
paper = { type = "string", format = "file", files = "files/docs", max_file = "20KB", accept = [".txt"] }
[views.waiting]
from = "forms/leave"
columns = { day = {}, days = {}, kind = {}, address = {} }
order_by = ["day"]
[views.numbers]
provider = "main"
sql = \"\"\"with recursive n(i) as (select 1 union all select i + 1 from n where i < :top)
select i, 'row "' || i || '"' || char(10) || 'x, y' as label from n\"\"\"
params.top = { type = "integer", default = 3, maximum = 1000000 }
[apps.desk]
menu = ["forms/leave", "views/waiting"]
home = "templates/desk.html"
static = "public"
[apps.bare]
menu = ["forms/leave", { title = "Policy", href = "https://example.org/" }]
"""


@dataclass
class Reply:
    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def __getitem__(self, name: str) -> str:
        """The header, "" when it is missing."""
        return ", ".join(value for key, value in self.headers if key.lower() == name.lower())

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def cookie(self) -> str:
        """name=value of the cookie that was set."""
        return self["Set-Cookie"].partition(";")[0]


def multipart(*parts: tuple[str, str | None, bytes | str], boundary: str = BOUNDARY) -> bytes:
    """A multipart/form-data body as browsers write it, of (name, file name or None, content)."""
    found = bytearray()
    for name, file_name, content in parts:
        quoted = "" if file_name is None else f'; filename="{quote_disposition(file_name)}"'
        found += f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{quoted}\r\n'.encode()
        found += (b"" if file_name is None else b"Content-Type: application/octet-stream\r\n") + b"\r\n"
        found += (content.encode() if isinstance(content, str) else content) + b"\r\n"
    return bytes(found + f"--{boundary}--\r\n".encode())


def quote_disposition(text: str) -> str:
    return text.replace("\r", "%0D").replace("\n", "%0A").replace('"', "%22")


MULTIPART = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
JSON = {"Content-Type": "application/json"}
PAGE = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}


class WsgiClient:
    """Stands for a Connection where a request is made by WSGI, whose validator looks at the answers."""

    def __init__(self, environ: dict[str, Any]) -> None:
        self.environ, self.peer, self.scheme = environ, environ["REMOTE_ADDR"], environ["wsgi.url_scheme"]
        self.body, self.request_id = self, ""
        fields = {
            name[5:].replace("_", "-").lower(): str(text) for name, text in environ.items() if name.startswith("HTTP_")
        }
        for name in ("CONTENT_TYPE", "CONTENT_LENGTH"):
            if text := environ.get(name):
                fields[name.replace("_", "-").lower()] = text
        target = quote(environ["RAW_URI"].encode("latin-1", "replace"), safe="".join(map(chr, range(0x21, 0x7F))))
        self.head = app.Head(environ["REQUEST_METHOD"], target, environ["SERVER_PROTOCOL"].removeprefix("HTTP/"), fields)

    @property
    def size_bytes(self) -> int | None:
        return self.head.body_bytes

    def read(self, size: int, until_s: float) -> bytes:
        return self.environ["wsgi.input"].read(size)  # type: ignore[no-any-return]


@cache
def bundled_registry() -> app.Registry:
    """Of a folder that has no plugins of its own."""
    return app.load_registry(Path("/nowhere"))


class Site:
    """A real App on real providers in a folder, asked through wsgiref.validate as if by a server."""

    def __init__(self, folder: Path, *, prefix: str = "", edit: Callable[[str], str] = str) -> None:
        self.folder, self.prefix = folder, prefix
        (folder / "templates").mkdir(exist_ok=True)
        (folder / "public").mkdir(exist_ok=True)
        (folder / "public" / "desk.css").write_text("p { color: red }")
        desk = "<p>{{len(view('waiting'))}} waiting</p><a href=\"{{url('forms/leave')}}\">ask</a>"
        (folder / "templates" / "desk.html").write_text(desk)
        raw = tomllib.loads(edit(CONFIG).replace("PREFIX", prefix))
        registry = app.load_registry(folder) if (folder / "plugins").exists() else bundled_registry()
        kinds, channels = registry.provider_settings, registry.channel_settings
        config = app.read_config(raw, folder, "app.toml", kinds, registry.tables, channels)
        self.app = app.App(config, registry)
        lay_tables(self.app)
        self.app.open()
        self.runner = app.HttpRunner(config, self.app)

    def close(self) -> None:
        self.app.close()

    def token(self, *grants: str, roles: Sequence[str] = (), subject: str = "ann") -> str:
        issued = self.app.office.issue(app.Caller("test"), subject, grants, roles, 3600)
        return self.app.authority.jwt(issued)

    def environ(self, method: str, target: str, body: bytes | None, headers: Mapping[str, str]) -> dict[str, Any]:
        address = re.sub("^https?://[^/]*", "", target, flags=re.IGNORECASE)
        path, _, query = ("/" if target == "*" else address).partition("?")
        environ: dict[str, Any] = {
            "REQUEST_METHOD": method, "RAW_URI": target, "SCRIPT_NAME": "", "QUERY_STRING": query,
            "PATH_INFO": unquote_to_bytes(path).decode("latin-1"), "SERVER_NAME": "localhost", "SERVER_PORT": "80",
            "SERVER_PROTOCOL": "HTTP/1.1", "REMOTE_ADDR": "127.0.0.1", "wsgi.version": (1, 0), "wsgi.url_scheme": "http",
            "wsgi.input": io.BytesIO(body or b""), "wsgi.errors": io.StringIO(), "wsgi.multithread": True,
            "wsgi.multiprocess": True, "wsgi.run_once": False, "wsgi.input_terminated": True, "HTTP_HOST": "localhost",
        }  # fmt: skip
        if body is not None:
            environ["CONTENT_LENGTH"] = str(len(body))
        for name, value in headers.items():
            key = name.upper().replace("-", "_")
            key = key if key in ("CONTENT_TYPE", "CONTENT_LENGTH", "REMOTE_ADDR", "SERVER_PROTOCOL") else "HTTP_" + key
            environ[key] = value
        if "chunked" in headers.get("Transfer-Encoding", ""):
            environ.pop("CONTENT_LENGTH", None)
        return {name: value for name, value in environ.items() if value is not None}

    def start(self, environ: dict[str, Any], *, checked: bool = True) -> tuple[list[Any], Any]:
        """[status line, headers] and the body's iterable, not yet read."""
        head: list[Any] = []

        def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], None]:
            head[:] = [status, headers]
            return lambda data: None

        application = validator(self.wsgi) if checked else self.wsgi
        return head, application(environ, start_response)

    def wsgi(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        client = WsgiClient(environ)
        answer = self.runner.answer(client.head, client)
        phrase = HTTPStatus(answer.status).phrase if answer.status in set(HTTPStatus) else "Other"
        start_response(f"{answer.status} {phrase}", answer.headers)
        if isinstance(answer.body, bytes):
            return [] if client.head.method == "HEAD" else [answer.body]
        if client.head.method == "HEAD":
            answer.body.close()
            return []
        return answer.body  # type: ignore[no-any-return]

    def ask(
        self,
        method: str,
        target: str,
        body: bytes | str | None = None,
        headers: Mapping[str, str] | None = None,
        token: str = "",
    ) -> Reply:
        """The reply to one request; `token` may be a JWT or a cookie ("name=value")."""
        headers = dict(headers or {})
        if token:
            is_cookie = "satchel_session_" in token.partition("=")[0]
            headers["Cookie" if is_cookie else "Authorization"] = token if is_cookie else f"Bearer {token}"
        data = body.encode() if isinstance(body, str) else body
        environ = self.environ(method, target, data, headers)
        head, found = self.start(environ, checked=method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
        try:
            content = b"".join(found)
        finally:
            if hasattr(found, "close"):
                found.close()
        return Reply(int(head[0][:3]), head[1], content)

    def get(self, target: str, token: str = "", **headers: str) -> Reply:
        return self.ask("GET", target, None, {name.replace("_", "-"): value for name, value in headers.items()}, token)

    def send(self, target: str, data: Any, token: str = "", method: str = "POST", **headers: str) -> Reply:
        """JSON."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.ask(method, target, json.dumps(data), JSON | named, token)

    def submit(self, target: str, fields: Mapping[str, str], token: str = "", **headers: str) -> Reply:
        """A form from a browser."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.ask("POST", target, urlencode(fields), FORM | PAGE | named, token)

    def put(self, target: str, body: bytes | str, token: str = "", **headers: str) -> Reply:
        return self.ask("PUT", target, body, {name.replace("_", "-"): value for name, value in headers.items()}, token)

    def upload(self, target: str, *parts: tuple[str, str | None, bytes | str], token: str = "", **headers: str) -> Reply:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.ask("POST", target, multipart(*parts), MULTIPART | named, token)

    def cookie(self, session: str = "", scheme: str = "http") -> str:
        """ "name=value" of this site's cookie with that session."""
        secure = ("__Secure-" if self.prefix else "__Host-") if scheme == "https" else ""
        return f"{secure}satchel_session_{self.app.site_id()}={session}"

    def sign_in(self, token: str) -> str:
        """The cookie of a session."""
        reply = self.submit(f"{self.prefix}/login", {"token": token})
        assert reply.status == 303, reply.text
        return reply.cookie


def of_app(opened: app.App) -> Site:
    """The same client for an App that is open already."""
    made = Site.__new__(Site)
    made.folder, made.prefix, made.app = opened.config.folder, opened.config.site.prefix, opened
    made.runner = app.HttpRunner(opened.config, opened)
    return made


def action(page: Reply, kind: str = "form") -> str:
    """The address that a page's main form is sent to."""
    found = re.search(rf'<form class="{kind}"[^>]*action="([^"]*)"', page.text)
    assert found, page.text
    return found[1].replace("&amp;", "&")


def hidden(page: Reply, name: str) -> str:
    found = re.search(rf'name="{name}" value="([^"]*)"', page.text)
    return found[1] if found else ""


# ---- real servers


@dataclass
class Server:
    """`python app.py server` as a program of its own; `tcp` or `unix` says where it listens, over `tls` if its clients have
    such a context."""

    process: subprocess.Popen[bytes]
    folder: Path
    tcp: tuple[str, int] = ("", 0)
    unix: str = ""
    code: str = ""  # of the administrator's sign-in link
    prefix: str = ""
    told: list[str] = field(default_factory=list)
    tls: ssl.SSLContext | None = None

    def connect(self, timeout_s: float = 20, *, shakes: bool = True) -> socket.socket:
        """A connection; over TLS without even a handshake unless it `shakes` hands."""
        if self.unix:
            found = socket.socket(socket.AF_UNIX)
            found.connect(self.unix)  # it waits where the server has not taken the ones before
            found.settimeout(timeout_s)
            return found
        found = socket.create_connection(self.tcp, timeout_s)
        return self.tls.wrap_socket(found, server_hostname="localhost") if self.tls and shakes else found

    def ask(self, method: str, target: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Reply:
        with Connection(self.connect()) as connection:
            return connection.ask(method, target, body, headers)

    def token(self) -> str:
        """A bearer token that may do everything, issued by the command while the server runs."""
        command = [*backends.SATCHEL, "auth", "issue", "--subject", "ann", "--grant", "**:*"]
        done = subprocess.run(command, cwd=self.folder, check=True, capture_output=True, text=True, timeout=60)
        return done.stdout.strip()

    def stop(self, timeout_s: float = 30) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout_s)


class Connection(http.client.HTTPConnection):
    """An HTTP connection over a socket that is there already."""

    def __init__(self, sock: socket.socket, host: str = "localhost") -> None:
        super().__init__(host)
        self.sock = sock

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def ask(self, method: str, target: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Reply:
        self.request(method, target, body, dict(headers or {}))
        answer = self.getresponse()
        return Reply(answer.status, answer.getheaders(), answer.read())


@contextmanager
def serving(
    folder: Path,
    *args: str,
    bind: str = "127.0.0.1:0",
    program: Sequence[str] = (),
    tls: ssl.SSLContext | None = None,
) -> Iterator[Server]:
    """A server in a folder, from when it says where it is until the end of the block."""
    command = [*([sys.executable, *program] if program else backends.SATCHEL), "server", "--bind", bind, *args]
    # A file and not a pipe: a pipe that nobody empties would stop a server that has much to say.
    with tempfile.TemporaryFile() as told:
        process = subprocess.Popen(command, cwd=folder, stderr=told)
        server = Server(process, folder, tls=tls)
        try:
            wait_for_address(server, told.fileno())
            yield server
        finally:
            if process.poll() is None:
                process.terminate()
                try:
                    backends.hurry(process)
                    process.wait(30)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
            server.told = said(told.fileno()).splitlines()


def said(descriptor: int) -> str:
    return os.pread(descriptor, 1 << 24, 0).decode()


def wait_for_address(server: Server, told: int, timeout_s: float = 30) -> None:
    """Until the server has told its address, and the sign-in link where no administrator has signed in yet."""
    until = time.monotonic() + timeout_s
    wanted = re.compile(r" is at (\S+)/ \(.*\)\n(?:Sign in .*/login/(\S+)\n)")
    while not (found := wanted.search(said(told))):
        if server.process.poll() is not None or time.monotonic() > until:
            raise AssertionError(f"the server did not start: {said(told)}")
        time.sleep(0.02)
    server.told, server.code = said(told).splitlines(), found[2]
    if found[1].startswith("unix:"):
        server.unix = found[1].removeprefix("unix:")
        return
    host, _, rest = found[1].partition("://")[2].rpartition(":")
    port, slash, prefix = rest.partition("/")
    server.tcp, server.prefix = (host.strip("[]"), int(port)), slash + prefix


@contextmanager
def nginx(folder: Path, upstream: str, extra: str = "") -> Iterator[tuple[str, int]]:
    """A real nginx in front of `upstream`, and where it listens."""
    port = backends.free_port()
    temporary = "".join(
        f"{name}_temp_path {folder}/{name};\n" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(f"""
daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/nginx.log;
events {{ worker_connections 64; }}
http {{ access_log off; {temporary}
  upstream satchel {{ server {upstream}; keepalive 4; }}
  server {{ listen 127.0.0.1:{port}; client_max_body_size 0;
    location /ops {{ proxy_pass http://satchel; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_set_header Host $http_host; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Forwarded-Proto https; {extra} }}
  }}
}}""")
    command = ["/usr/sbin/nginx", "-p", str(folder), "-c", str(folder / "nginx.conf")]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 10
        while not answers(port) and time.monotonic() < until:
            time.sleep(0.02)
        yield "127.0.0.1", port
    finally:
        process.terminate()
        process.wait(10)


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def random_bytes(size: int) -> bytes:
    return secrets.token_bytes(size)


def read_all(connection: socket.socket) -> bytes:
    """What comes until the other side closes."""
    found = bytearray()
    while True:
        try:
            chunk = connection.recv(65536)
        except ConnectionResetError:
            return bytes(found)
        if not chunk:
            return bytes(found)
        found += chunk


def drip(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """A body without a length, so that http.client sends it in chunks."""
    yield from chunks


def notice_of(site: Site, reply: Reply, token: str) -> str:
    """What the page that a write leads to says was done, "" if nothing; asked as a browser does, which keeps cookies."""
    crumbs = re.findall(r"satchel_notice_\w+=[\w.-]+", reply["Set-Cookie"])
    page = site.get(reply["Location"], token, Accept="text/html", Cookie="; ".join(crumbs))
    found = re.search(r'<div class="notice good" role="status"><p><bdi>(.*?)</bdi>', page.text)
    assert ("Max-Age=0" in page["Set-Cookie"]) is bool(found), "it is said once"
    return html.unescape(found[1]) if found else ""


def fill(site: Site, staff: str, count: int = 25) -> None:
    kinds = ["paid", "unpaid"]
    rows = [{"day": f"2026-01-{n % 28 + 1:02d}", "days": n + 0.5, "kind": kinds[n % 2]} for n in range(count)]
    assert site.send("/forms/leave", rows, staff).status == 201


# ---- raw requests

# A program with short limits for slow clients.
QUICK = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
import app
sys.modules["app"] = app
app._BODY_S = 1.0
app.HttpRunner.limits = app.DEFAULT_LIMITS._replace(head_s=0.5, waiting_threads=40)
sys.exit(app.main())
"""


def head(method: str, target: str, *lines: str) -> bytes:
    return "\r\n".join([f"{method} {target} HTTP/1.1", "Host: localhost", *lines, "", ""]).encode()


def authorised(bearer: dict[str, str]) -> str:
    return f"Authorization: {bearer['Authorization']}"


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1]) if answer else 0


def raw(server: Server, data: bytes) -> bytes:
    """What the server answers to these bytes until it closes."""
    with server.connect() as connection:
        with suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(data)
        return read_all(connection)


@contextmanager
def hold(server: Server, count: int, data: bytes) -> Iterator[list[socket.socket]]:
    """So many connections that sent the data and then stay open; all are closed at the end."""
    with ExitStack() as held:
        found = [held.enter_context(server.connect()) for _ in range(count)]
        for connection in found:
            connection.sendall(data)
        yield found


def answers_at_once(server: Server) -> bool:
    """Whether somebody else is served within two seconds."""
    began = time.monotonic()
    return server.ask("GET", "/healthz").status == 200 and time.monotonic() - began < 2
