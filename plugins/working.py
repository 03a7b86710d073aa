"""What the threads of an HTTP server are busy with, and how that is broken off once nobody waits for it."""

from __future__ import annotations

import math
import resource
import select
import struct
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from select import POLLERR, POLLHUP, POLLOUT, poll
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import app

if TYPE_CHECKING:
    from app import AppError, Connection

# ==== 1. WORKING =================================================================================================
# TCP says the same of a client that is gone and of one that has ended what it sends and waits (RFC 9293 section 3.6). The
# first byte that it gets tells, because one that is gone resets. All answers begin alike, and the size of a chunk may begin
# with a zero (RFC 9112 sections 4 and 7.1), so that this byte can go early.
# uses: ERRORS VALUES RUNNERS
# defines: SOON_S MOST_GROWN_BYTES ClientGone Stop Work peak_bytes Watch breakable reason

SOON_S = 0.2  # what is done by then is left alone
MOST_GROWN_BYTES = 256 * 1024 * 1024  # of memory, by which a statement that gathers values may make this process larger
_ENDED = getattr(select, "POLLRDHUP", 0)  # the client sends nothing more; macOS says POLLHUP
_IS_EXACT = sys.platform == "linux"  # POLLHUP says that neither side can send
_BEGINNING, _ZERO = b"HTTP/1.1 ", b"0"
_RSS_UNIT_BYTES = 1 if sys.platform == "darwin" else 1024
_here = threading.local()  # work: what this thread works on


class ClientGone(app.AppError):
    """The client closed its connection before it had its answer. It never sees this: metrics and the log do."""

    code: ClassVar[str] = "client_gone"
    status: ClassVar[int] = 499  # as nginx counts it


class Stop(NamedTuple):
    """What ends a thread's wait for something. `call` is called from another thread, again and again, and does not wait."""

    call: Callable[[], Any]
    until_s: float = math.inf  # of time.monotonic(): when that is, whoever waits for the client or not
    most_bytes: float = math.inf  # of memory of this process


class Work:
    """The request of a connection that a thread works on. A connection has one, for one request after another."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.reason: AppError | None = None  # why it is broken off
        self._lock = threading.Lock()  # of what is sent early, and of `_stops` while they are called
        self._early, self._ahead = b"", 0  # what may go early, and how many bytes of the answer did
        self._stops: list[Stop] = []
        self._is_read, self._since = False, 0.0

    # -- by the thread that works

    def of(self, head: app.Head) -> Work:
        """Begin; the block after `with` is the work."""
        self.reason, self._since, self._early, self._ahead = None, time.monotonic(), _BEGINNING, 0
        self._is_read = head.method in ("GET", "HEAD") and self.connection.body.is_over
        return self

    def __enter__(self) -> None:
        _here.work = self
        self.connection.server.watch.works[self] = None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        _here.work = None
        self.connection.server.watch.works.pop(self, None)
        with self._lock:
            self._stops.clear()
        if isinstance(self.reason, ClientGone) or (kind is not None and issubclass(kind, app.Gone)):
            self.connection.server.watch.on_gone()
            took_s = time.monotonic() - self._since
            app.LOG.info("request %s: broken off after %.1f s: its client has gone", self.connection.request_id, took_s)

    def claim(self, data: bytes) -> bytes:
        """What is left to send of the next bytes of the answer. From here on nothing is sent early."""
        with self._lock:
            self._early, ahead, self._ahead = b"", self._ahead, 0
        return data[ahead:]

    def waits(self, is_chunked: bool) -> None:
        """The next chunk, or whatever comes, is being made."""
        self._early = _ZERO if is_chunked else b""

    def cut(self, error: BaseException, *, reset: bool) -> None:
        """Say in the log why the answer breaks off in the middle. The connection is to end; by a reset if the client would
        take its end for that of the answer."""
        error = self.reason or error
        if not isinstance(error, ClientGone):
            known = error.with_hint if isinstance(error, app.AppError) else ""
            words = known or f"{type(error).__name__}: {error}"
            which = self.connection.request_id
            app.LOG.error("request %s: broken off in the middle: %s", which, words, exc_info=not known)
        if reset:
            import socket

            linger = struct.pack("ii", 1, 0)
            self.connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

    def add(self, stop: Stop) -> None:
        if self.reason:
            raise self.reason
        with self._lock:
            self._stops.append(stop)

    def drop(self, stop: Stop) -> None:
        """From here on it is not called."""
        with self._lock, suppress(ValueError):
            self._stops.remove(stop)

    # -- by the one that looks after all of them

    def look(self, now: float) -> None:
        """Call what breaks it off, if its time is over or nobody waits for it."""
        if now - self._since < SOON_S:
            return
        if self._is_read and not self.reason and self._has_gone():
            self.reason = ClientGone("the client closed the connection")
        with self._lock:
            for stop in self._stops:
                if self.reason or now > stop.until_s or (stop.most_bytes < math.inf and peak_bytes() > stop.most_bytes):
                    with suppress(Exception):  # it is over already
                        stop.call()

    def break_off(self, why: str) -> None:
        """The same for another reason, unless it is a write: that goes on to its end."""
        if self._is_read and not self.reason:
            self.reason = app.Unavailable(why)

    def _has_gone(self) -> bool:
        connection, waiter = self.connection, poll()
        try:
            waiter.register(connection.sock, POLLOUT | _ENDED)
            [(_, events)] = waiter.poll(0) or [(0, 0)]
            if events & POLLERR or (_IS_EXACT and events & POLLHUP):
                return True
            if not events & (_ENDED | POLLHUP):
                return False
            connection.sock.getpeername()  # of a connection that was reset there is none
            if events & POLLOUT:
                self._send_early()
        except (OSError, ValueError, app.Gone):
            return True
        return False

    def _send_early(self) -> None:
        with self._lock:
            if self._early and (sent := self.connection.send_some(memoryview(self._early))):
                self._ahead, self._early = (sent if self._early == _BEGINNING else 0), b""


def peak_bytes() -> int:
    """The most memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _RSS_UNIT_BYTES


class Watch:
    """What all threads of a server work on."""

    def __init__(self) -> None:
        self.works: dict[Work, None] = {}
        self.on_gone: Callable[[], Any] = bool  # called for each request that is broken off because its client has gone

    def look(self) -> None:
        now = time.monotonic()
        for work in list(self.works):
            work.look(now)

    def break_off(self, why: str) -> None:
        """Break off whatever only reads."""
        for work in list(self.works):
            work.break_off(why)
        self.look()


class breakable:
    """While the block runs, `call` is called from another thread if this thread's work is to end: because its client has
    gone or the server stops, because it is `until_s`, or with `gathers` because the process has grown too much. Raises the
    reason if that is so already. A thread that does no work of an HTTP server is left alone."""

    def __init__(self, call: Callable[[], Any], until_s: float = math.inf, *, gathers: bool = False) -> None:
        self._work: Work | None = getattr(_here, "work", None)
        self._stop = Stop(call, until_s, peak_bytes() + MOST_GROWN_BYTES if gathers else math.inf)

    def __enter__(self) -> None:
        if self._work:
            self._work.add(self._stop)

    def __exit__(self, *_: object) -> None:
        if self._work:
            self._work.drop(self._stop)


def reason() -> AppError | None:
    """Why this thread's work is broken off; None if it is not."""
    work: Work | None = getattr(_here, "work", None)
    return work.reason if work else None
