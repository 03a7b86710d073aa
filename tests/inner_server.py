"""An HttpServer in a thread of the tests' own process, and the certificate that it shows over TLS."""

from __future__ import annotations

import contextlib
import functools
import re
import socket
import ssl
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import backends
from http_client import read_all

import app

# Short, so that tests wait for little.
LIMITS = app.DEFAULT_LIMITS._replace(head_s=0.4, idle_s=2.0, silence_s=1.0, linger_s=0.5)
LAST = b"GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


def head(*lines: bytes) -> bytes:
    return b"\r\n".join([*lines, b"", b""])


def post(*lines: bytes, body: bytes = b"", target: bytes = b"/") -> bytes:
    return head(b"POST " + target + b" HTTP/1.1", b"Host: a", *lines) + body


def statuses(answer: bytes) -> list[int]:
    """Of all answers on a connection, whose bodies hold no status line."""
    return [int(code) for code in re.findall(rb"HTTP/1\.1 ([0-9]{3}) ", answer)]


class Running:
    """An HttpServer over TCP, or over a Unix socket in `folder`; `tls` is the context of its clients."""

    def __init__(
        self,
        application: Callable[..., Any],
        folder: Path | None = None,
        client_tls: ssl.SSLContext | None = None,
        **options: Any,
    ) -> None:
        if folder:
            self.listener = socket.create_server(str(folder / "s"), family=socket.AF_UNIX, backlog=128)
        else:
            self.listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.address, self.tls = self.listener.getsockname(), client_tls
        given: dict[str, Any] = {"limits": LIMITS, "threads": 3} | options
        self.server = app.HttpServer([self.listener], application, **given)
        self.thread = threading.Thread(target=self.server.run, daemon=True)
        self.thread.start()

    def connect(self, timeout_s: float = 5, source: str = "") -> socket.socket:
        """A connection, of TCP from the address `source` if that is given."""
        found = socket.socket(self.listener.family)
        found.settimeout(timeout_s)
        if source:
            found.bind((source, 0))
        try:
            found.connect(self.address)
            return self.tls.wrap_socket(found, server_hostname="localhost") if self.tls else found
        except OSError:
            found.close()
            raise

    def raw(self, data: bytes) -> bytes:
        """All that is answered to these bytes until the server closes."""
        with self.connect() as connection:
            with contextlib.suppress(ConnectionError):
                connection.sendall(data)
            return read_all(connection)

    def end(self) -> None:
        self.server.stop(0)
        self.thread.join(5)
        assert not self.thread.is_alive()


@contextlib.contextmanager
def running(application: Callable[..., Any], *args: Any, **options: Any) -> Iterator[Running]:
    found = Running(application, *args, **options)
    try:
        yield found
    finally:
        found.end()


TRANSPORTS = ["tcp", "tls", "unix"]


def over(transport: str) -> dict[str, Any]:
    """What running() takes for a server over TCP, TLS or a Unix socket."""
    if transport == "tls":
        return dict(zip(("tls", "client_tls"), own_contexts(), strict=True))
    return {"folder": Path(backends.folder())} if transport == "unix" else {}


@functools.cache
def own_contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    with tempfile.TemporaryDirectory() as folder:
        return contexts(Path(folder))


def contexts(folder: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Of a server with a certificate of its own, made in the folder, and of a client that trusts it."""
    names = ["-keyout", str(folder / "key"), "-out", str(folder / "cert"), "-subj", "/CN=localhost", "-days", "2"]
    kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-addext", "subjectAltName=DNS:localhost"]
    command = [backends.program("openssl"), "req", "-x509", "-nodes", *kind, *names]
    subprocess.run(command, check=True, capture_output=True)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(folder / "cert", folder / "key")
    return server, ssl.create_default_context(cafile=str(folder / "cert"))
