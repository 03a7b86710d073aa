"""Serves a site over HTTP with gunicorn: pre-forked workers of a few threads each."""

from __future__ import annotations

import errno
import os
import selectors
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from app import HttpRunner, Unavailable

# ==== 1. GUNICORN ================================================================================================
# The runner, its worker, which is safe against slow clients, and the sockets that they listen on.
# uses: ERRORS RUNNERS
# defines: HEADER_S WAITING_THREADS GunicornRunner PatientWorker unix_listener

HEADER_S = 10.0  # to send the head of a request; past it the connection ends
WAITING_THREADS = 64  # of each worker, beside those that work: they wait for slow clients
_LINGER_S, _LINGER_SILENCE_S = 15.0, 2.0  # how long what a refused client still sends is read away


class GunicornRunner(HttpRunner):
    """HTTP/1.1 on the socket that [http] bind names."""

    def run(self) -> None:
        listener = _listen(self.config.bind)
        try:
            self._serve_from(listener, _bound_address(listener, self.prefix, tls=self.config.tls_cert is not None))
        finally:
            listener.close()

    def stop(self) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    def _serve_from(self, listener: socket.socket, address: str) -> None:
        from gunicorn.app.base import BaseApplication

        application, options = self.wsgi, self._options(listener, address)

        class Server(BaseApplication):  # type: ignore[misc]
            def load_config(self) -> None:
                for name, value in options.items():
                    self.cfg.set(name, value)

            def load(self) -> Callable[..., Any]:
                return application

        try:
            Server().run()
        except SystemExit as end:
            if end.code not in (0, None):
                raise Unavailable("the HTTP server stopped; its reason is in the log above") from end

    def _options(self, listener: socket.socket, address: str) -> dict[str, Any]:
        from gunicorn.config import KNOWN_SETTINGS
        from gunicorn.workers.gthread import ThreadWorker

        worker = type("Worker", (PatientWorker, ThreadWorker), {"deadlines": self.waits.deadlines, "late": set()})
        options: dict[str, Any] = {
            "bind": f"fd://{os.dup(listener.fileno())}", "workers": self.config.workers or os.cpu_count() or 1,
            "worker_class": worker, "threads": self.config.threads, "timeout": 60,
            "graceful_timeout": 25, "keepalive": 15, "loglevel": "error", "limit_request_line": 8190,
            "forwarded_allow_ips": "", "secure_scheme_headers": {}, "proc_name": "satchel",
            "when_ready": lambda arbiter: self.on_ready(address), "post_worker_init": lambda worker: self.host.open(),
            "worker_exit": lambda arbiter, worker: self.host.close(),
        }  # fmt: skip
        if self.config.tls_cert:
            options |= {"certfile": str(self.config.tls_cert), "keyfile": str(self.config.tls_key)}
        if any(one.name == "control_socket_disable" for one in KNOWN_SETTINGS):
            options["control_socket_disable"] = True
        return options


class PatientWorker:
    """What makes gunicorn's gthread worker safe against slow clients.

    A connection gets a thread when its first byte is there, and is ended when its request does not come by its deadline;
    the linger after the last answer is done by that thread and not by the loop that serves everybody.
    """

    deadlines: dict[Any, float]
    late: set[Any]  # connections whose body did not come: what still comes of it must not be read as a request
    cfg: Any
    pending_conns: Any
    poller: Any
    on_pending_socket_readable: Any

    def get_thread_pool(self) -> Any:
        from concurrent.futures import ThreadPoolExecutor

        return ThreadPoolExecutor(max_workers=self.cfg.threads + WAITING_THREADS)

    def enqueue_req(self, conn: Any) -> None:
        if conn.initialized or conn.data_ready:
            super().enqueue_req(conn)  # type: ignore[misc]
            return
        conn.sock.setblocking(False)
        conn.set_timeout()
        self.pending_conns.append(conn)
        self.poller.register(conn.sock, selectors.EVENT_READ, partial(self.on_pending_socket_readable, conn))

    def handle(self, conn: Any) -> Any:
        self.deadlines[conn] = time.monotonic() + HEADER_S
        try:
            kept = super().handle(conn)  # type: ignore[misc]
        finally:
            self.deadlines.pop(conn, None)
        if not kept:
            if conn.sock.fileno() >= 0:  # it was not broken off
                _linger(conn.sock)
                conn.close(graceful=True)
            conn.close = lambda graceful=False: None
        return kept

    def handle_request(self, req: Any, conn: Any) -> Any:
        self.deadlines.pop(conn, None)
        if getattr(req, "_expected_100_continue", False):
            req._expected_100_continue = False  # BodyReader says it when the body is wanted: a refused one stays unsent
            req.force_close()
        try:
            return super().handle_request(req, conn) and conn.sock not in self.late  # type: ignore[misc]
        except TimeoutError:  # the client does not read its answer
            return False
        finally:
            self.late.discard(conn.sock)

    def murder_pending(self) -> None:
        super().murder_pending()  # type: ignore[misc]
        for held, until in self.deadlines.copy().items():
            if time.monotonic() > until:
                if not hasattr(held, "sock"):  # its body is awaited; a head is awaited by the holder of the connection
                    self.late.add(held)
                with suppress(OSError):  # it was closed meanwhile
                    socket.socket.shutdown(getattr(held, "sock", held), socket.SHUT_RD)


def _linger(connection: socket.socket) -> None:
    """Keep reading what the client still sends: closing at once would reset the connection before it has its answer."""
    until = time.monotonic() + _LINGER_S
    with suppress(OSError):  # the client has gone
        connection.shutdown(socket.SHUT_WR)
        while (left := until - time.monotonic()) > 0:
            connection.settimeout(min(left, _LINGER_SILENCE_S))
            if not connection.recv(65536):
                return


def _listen(bind: str) -> socket.socket:
    """The bound socket. Raises Unavailable if the address stays taken for five seconds, in which a killed server's workers
    end."""
    for _ in range(50):
        try:
            if bind.startswith("unix:"):
                return unix_listener(bind.removeprefix("unix:"))
            host, _, port = bind.rpartition(":")
            return _tcp_listener(host.strip("[]"), int(port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise Unavailable(f"cannot listen on {bind}: {error.strerror}") from error
            time.sleep(0.1)
    raise Unavailable(f"cannot listen on {bind}: another program does; choose another with --bind")


def _bound_address(listener: socket.socket, prefix: str, *, tls: bool) -> str:
    """The site's own address, for people."""
    name = listener.getsockname()
    if isinstance(name, str):
        return f"unix:{name}{prefix}"
    host = f"[{name[0]}]" if ":" in name[0] else name[0]
    host = {"0.0.0.0": "localhost", "[::]": "localhost"}.get(host, host)  # noqa: S104 (compared, not bound)
    return f"{'https' if tls else 'http'}://{host}:{name[1]}{prefix}"


def _tcp_listener(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    both = host == "::" and socket.has_dualstack_ipv6()
    return socket.create_server((host, port), family=family, backlog=1024, dualstack_ipv6=both)


def unix_listener(path: str) -> socket.socket:
    """A Unix socket, in place of one that an ended server left behind. Raises OSError with EADDRINUSE if a server listens
    there."""
    if Path(path).is_socket():
        with socket.socket(socket.AF_UNIX) as probe:
            if probe.connect_ex(path) == 0:
                raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
        Path(path).unlink()
    listener = socket.socket(socket.AF_UNIX)
    before = os.umask(0o117)
    try:
        listener.bind(path)
        listener.listen(1024)
    except OSError:
        listener.close()
        raise
    finally:
        os.umask(before)
    return listener
