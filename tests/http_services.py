"""HTTP services for the generic provider to keep its data in: json-server, nginx, another Satchel, and stand-ins."""

from __future__ import annotations

import http.client
import http.server
import json
import os
import subprocess
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import backends

import app

generic: Any = app.plugin("generic")
TOKEN = "SATCHEL_TEST_TOKEN"  # environment variable


def answers(port: int, path: str = "/") -> Callable[[], bool]:
    """Whether an HTTP server says anything at all there."""

    def ready() -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
        try:
            connection.request("GET", path)
            return bool(connection.getresponse().status)
        except OSError:
            return False
        finally:
            connection.close()

    return ready


# ---- places: where the contract suite's providers keep their data, each new one empty


PLACES = "SATCHEL_HTTP_PLACES"  # environment variable: the settings by factory and folder, for other processes too
TABLES = ("t", "u", "u-2", "_audit", "log", "after", "nothing")


def options(name: str, folder: Path, make: Callable[[int], dict[str, Any]]) -> dict[str, Any]:
    """The settings of the provider that a folder stands for; `make` gives those of a fresh place by its number."""
    places: dict[str, dict[str, Any]] = json.loads(os.environ.get(PLACES, "{}"))
    place = f"{name} {folder}"
    if place not in places:
        places[place] = make(sum(one.startswith(name + " ") for one in places))
        os.environ[PLACES] = json.dumps(places)
    return places[place]


def opened(name: str, settings: Mapping[str, Any], folder: Path = Path("/nowhere")) -> Any:
    """A generic provider with these settings, converted as those of app.toml are."""
    declared = {one.name: one for one in generic.GenericProvider.settings}
    converted = {key: declared[key].read(value, folder) for key, value in settings.items()}
    provider = generic.GenericProvider(name, converted, folder)
    provider.open()
    return provider


# ---- json-server


def json_server(tables: Iterable[str], records: Mapping[str, Any] = MappingProxyType({})) -> tuple[backends.Process, str]:
    """A json-server that has these tables, and its URL."""
    folder, port = backends.folder(), backends.free_port()
    (folder / "db.json").write_text(json.dumps({table: records.get(table, []) for table in tables}))
    command = [
        backends.tool("json-server", "node_modules/.bin/json-server"),
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--quiet",
        "db.json",
    ]
    return backends.Process(command, answers(port, "/db"), folder=folder), f"http://127.0.0.1:{port}"


@cache
def json_group(number: int) -> str:
    """The URL of the json-server for eight places; it writes its whole file with each change, so groups stay small."""
    return json_server([f"{place}-{table}" for place in range(8 * number, 8 * number + 8) for table in TABLES])[1]


def open_json_server(folder: Path) -> Any:
    def make(number: int) -> dict[str, Any]:
        return {"preset": "json-server", "url": json_group(number // 8), "records": f"/{number}-{{table}}"}

    return opened("main", options("json-server", folder, make))


# ---- stand-ins: what no real service can be made to do

Reply = tuple[int, Mapping[str, str], bytes | Iterable[bytes]]


class StandIn:
    """An HTTP server in a thread. `reply` gets method, path, headers and body of each request, which `asked` keeps.

    A reply of bytes is sent with its length, one of chunks until the connection is closed; None hangs up. `peers` has the
    address of the other end for each request: who asks twice over one connection has one address.
    """

    def __init__(self, reply: Callable[[str, str, Mapping[str, str], bytes], Reply | None], port: int = 0) -> None:
        self.asked: list[tuple[str, str, Mapping[str, str], bytes]] = []
        self.peers: list[Any] = []
        self.hold = threading.Event()  # set when it stops, for replies that wait
        self.hung_up = threading.Semaphore(0)  # released for each connection that has ended
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                request = (self.command, self.path, dict(self.headers.items()), body)
                outer.asked.append(request)
                outer.peers.append(self.client_address)
                given = reply(*request)
                self.close_connection = given is None or not isinstance(given[2], bytes) or "Close" in given[1]
                if given is None:
                    return
                status, headers, content = given
                self.send_response(status)
                for name, text in headers.items():
                    self.send_header(name, text)
                if isinstance(content, bytes) and "Content-Length" not in headers:
                    self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                with suppress(OSError):
                    for chunk in [content] if isinstance(content, bytes) else content:
                        if self.command != "HEAD":
                            self.wfile.write(chunk)
                            self.wfile.flush()

            def finish(self) -> None:
                super().finish()
                outer.hung_up.release()

            do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_MOVE = answer

            def log_message(self, *_: Any) -> None: ...

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self.hold.set()
        self.server.shutdown()
        self.server.server_close()


def as_json(value: Any, status: int = 200, **headers: str) -> Reply:
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return status, {"Content-Type": "application/json", **named}, json.dumps(value).encode()


# ---- nginx

NGINX = """
daemon off; pid nginx.pid; error_log error.log; worker_processes 1; events {{ worker_connections 256; }}
http {{
    access_log off; client_body_temp_path body; client_max_body_size 0;
    proxy_temp_path p; fastcgi_temp_path f; uwsgi_temp_path u; scgi_temp_path s;
    server {{
        listen 127.0.0.1:{port};
        location / {{
            root files; autoindex on; autoindex_format {form}; create_full_put_path on; dav_methods {methods};
        }}
    }}
}}
"""


@cache
def nginx(form: str = "json", methods: str = "PUT DELETE") -> tuple[Path, str]:
    """An nginx that stores files: the folder they are in, and its URL."""
    folder, port = backends.folder(), backends.free_port()
    (folder / "files").mkdir()
    user = "user root;" if os.geteuid() == 0 else ""
    (folder / "nginx.conf").write_text(user + NGINX.format(port=port, form=form, methods=methods))
    command = [
        backends.program("nginx", "nginx-light"),
        "-p",
        folder,
        "-c",
        folder / "nginx.conf",
        "-e",
        folder / "error.log",
    ]
    backends.Process(command, answers(port), folder=folder)
    return folder / "files", f"http://127.0.0.1:{port}"


def nginx_settings(number: int) -> dict[str, Any]:
    return {"url": nginx()[1], "blobs": f"/{number}/{{path}}", "listing": "nginx", "put_date": True}


def open_nginx(folder: Path) -> Any:
    return opened("main", options("nginx", folder, nginx_settings))


# ---- another Satchel


FORMS = """
[forms.{name}]
provider = "main"
[forms.{name}.fields]
n = {{ type = "number" }}
g = {{ type = "number" }}
text = {{ type = "string" }}
flag = {{ type = "boolean" }}
day = {{ type = "string", format = "date" }}
many = {{ type = "array", items = {{ type = "string", enum = ["a", "b"] }} }}
"""
SATCHEL = """
[http]
workers = 1
[providers.main]
kind = "sql"
url = "sqlite:///app.db"
[providers.disk]
kind = "file"
root = "disk"
"""


@cache
def satchel_folder() -> Path:
    return backends.folder()


@cache
def satchel(places: int = 64) -> tuple[str, str]:
    """The URL of a Satchel with many forms and shares, numbered, and a token for all of it."""
    shares = "".join(f'[files.s{n}]\nprovider = "disk"\nprefix = "s{n}/"\n' for n in range(places))
    forms = "".join(FORMS.format(name=f"{table}{n}") for n in range(8) for table in ("t", "u"))
    return another_satchel(SATCHEL + shares + forms, satchel_folder())


def another_satchel(toml: str, folder: Path | None = None) -> tuple[str, str]:
    """The URL of a Satchel with this configuration, and a token for all of it."""
    folder, port = folder or backends.folder(), backends.free_port()
    (folder / "app.toml").write_text(toml)
    command = [*backends.SATCHEL, "server", "--bind", f"127.0.0.1:{port}", "--config", folder / "app.toml"]
    backends.Process(command, answers(port, "/healthz"), folder=folder)
    issue = [*backends.SATCHEL, "auth", "issue", "--subject", "outer", "--grant", "**:*", "--config", folder / "app.toml"]
    issued = subprocess.run(issue, capture_output=True, text=True, check=True, timeout=60)
    return f"http://127.0.0.1:{port}", issued.stdout.strip()


def satchel_settings(number: int) -> dict[str, Any]:
    url, os.environ[TOKEN] = satchel()
    headers = {"Authorization": f"Bearer env:{TOKEN}"}
    blobs, records = f"/files/s{number}/{{path}}", f"/forms/{{table}}{number % 8}/records"
    return {"preset": "satchel", "url": url, "headers": headers, "blobs": blobs, "records": records}


def open_satchel(folder: Path) -> Any:
    return opened("main", options("satchel", folder, satchel_settings))


def files(blobs: Any) -> Path | None:
    """The folder of this machine in which a service keeps a provider's files; None where it is not one of these."""
    place = blobs.service.options["blobs"].removesuffix("/{path}") if blobs.kind == "generic" else ""
    if place.startswith("/files/"):
        return satchel_folder() / "disk" / place.removeprefix("/files/")
    return nginx()[0] / place.strip("/") if place else None
