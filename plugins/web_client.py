"""HTTP to the one host of a URL, for plugins that use other services: bounded in time, never to a link-local address."""

from __future__ import annotations

import ipaddress
import math
import socket
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias, cast
from urllib.parse import SplitResult

from app import CHUNK_BYTES, Unavailable, plugin

# ==== 1. CLIENT ==================================================================================================
# HTTP to the one host of a URL, by urllib3. No redirect is followed, no proxy used, and no link-local address ever
# connected to.
# uses: ERRORS VALUES plugin:working
# defines: Texts LINK_LOCAL NAT64 KEPT_IDLE_S is_link_local hang_up wanted WantedAnswers NotConnected plain_errors
#          TimedSocket CheckedConnection HttpAnswer HttpClient

Texts: TypeAlias = Mapping[str, str]
LINK_LOCAL = tuple(map(ipaddress.ip_network, ("169.254.0.0/16", "fe80::/10", "fd00:ec2::254/128")))
NAT64 = ipaddress.ip_network("64:ff9b::/96")
KEPT_IDLE_S = 60  # of a connection, which firewalls forget when it is idle for longer


def is_link_local(address: str) -> bool:
    """Whether an IP address, or the IPv4 address that is wrapped in it, belongs to the link (cloud metadata does)."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    wrapped: list[Any] = [ip]
    if isinstance(ip, ipaddress.IPv6Address):
        wrapped += [ip.ipv4_mapped, ip.sixtofour]
        wrapped += [ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)] if ip in NAT64 else []
    return any(one in network for one in wrapped if one for network in LINK_LOCAL)


def hang_up(sock: socket.socket | None) -> None:
    """End what waits on a socket, at once: of TLS its own method would say goodbye first."""
    if sock is not None:
        socket.socket.shutdown(sock, socket.SHUT_RDWR)


def wanted(response: Any) -> AbstractContextManager[None]:
    """While the block runs, the body of an answer of urllib3 is waited for as long as somebody wants it."""
    connection = getattr(response, "connection", None)
    found: AbstractContextManager[None] = plugin("working").breakable(partial(hang_up, getattr(connection, "sock", None)))
    return found


class WantedAnswers:
    """Mixed into connections of urllib3: the heads of their answers are waited for as long as somebody wants them."""

    sock: Any

    def getresponse(self) -> Any:
        with plugin("working").breakable(partial(hang_up, self.sock)):
            return super().getresponse()  # type: ignore[misc]


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
        with plugin("working").breakable(partial(hang_up, self)):
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

    @property
    def is_success(self) -> bool:
        return 200 <= self.status < 300

    @property
    def is_missing(self) -> bool:
        return self.status in (404, 410)

    @property
    def etag(self) -> str:
        """The entity tag without its quotes; "" if there is none."""
        return self.header("etag").removeprefix("W/").strip('"')

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

    def __init__(
        self, base: SplitResult, *, connections: int, connect_timeout_s: float, silence_s: float, answer_timeout_s: float,
        tls_ca: Path | None,
    ) -> None:  # fmt: skip
        """`silence_s` bounds each wait for the service, `answer_timeout_s` a whole answer, and the wait for a connection.
        `tls_ca`: the certificates in PEM to trust; None means the system's."""
        self.host, self.port = base.hostname or "", base.port or (443 if base.scheme == "https" else 80)
        self.connect_timeout_s, self.silence_s = connect_timeout_s, silence_s
        self._base, self._connections, self._answer_timeout_s, self._tls_ca = base, connections, answer_timeout_s, tls_ca
        self.exchanging = threading.local()  # of the exchange in this thread: its deadline, and whether `was_kept`
        self._tls: Any = None
        self._pool: Any = None

    def open(self) -> None:
        """Connects to nothing; idempotent."""
        from urllib3 import HTTPConnectionPool

        if self._pool is None:
            pool = HTTPConnectionPool(self.host, self.port, maxsize=self._connections, block=True, retries=False)
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
            self._tls = ssl.create_default_context(cafile=self._tls_ca or None)
            self._tls.sslsocket_class = type("TlsSocket", (TimedSocket, ssl.SSLSocket), {})
        return cast(socket.socket, self._tls.wrap_socket(plain, server_hostname=self.host))

    def exchange(
        self, method: str, target: str, headers: Texts, body: bytes | Iterable[bytes] | None, *, whole: bool
    ) -> HttpAnswer:
        """One request, sent once; a GET or HEAD twice where a kept connection turns out dead. NotConnected, or an
        OSError or HTTPException after which nobody knows what the service did.

        `whole`: all of the answer must have come within answer_timeout_s, else only each part within silence_s.
        """
        again = method in ("GET", "HEAD")
        while True:
            self.exchanging.deadline = time.monotonic() + self._answer_timeout_s if whole else math.inf
            self.exchanging.was_kept = False
            try:
                return self._exchange(method, target, headers, body)
            except ConnectionError:
                if not again or not self.exchanging.was_kept:
                    raise
                again = False

    def _exchange(self, method: str, target: str, headers: Texts, body: bytes | Iterable[bytes] | None) -> HttpAnswer:
        pool = self._pool
        if pool is None:
            raise Unavailable("the provider is not open")
        ours = {"Host": self._base.netloc, "Accept-Encoding": "identity"}
        with plain_errors():
            response = pool.urlopen(
                method, target, body, {**ours, **headers}, redirect=False, preload_content=False, decode_content=False,
                pool_timeout=self._answer_timeout_s,
            )  # fmt: skip
        return HttpAnswer(response)
