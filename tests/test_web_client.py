"""plugins/web_client.py: what it connects to, which connections it keeps, and how its exchanges end."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any
from urllib.parse import urlsplit

import backends
import pytest
from http_services import StandIn, as_json

import app

web: Any = app.plugin("web_client")
Made = Callable[..., Any]


@pytest.fixture
def service() -> Iterator[StandIn]:
    one = StandIn(lambda method, path, *_: None if path == "/hang-up" else as_json({"path": path}))
    yield one
    one.close()


@pytest.fixture
def made() -> Iterator[Made]:
    """Makes an open client of a URL."""
    clients: list[Any] = []

    def make(url: str, **given: Any) -> Any:
        limits = {"connections": 2, "connect_timeout_s": 2, "silence_s": 2, "answer_timeout_s": 5, "tls_ca": None} | given
        clients.append(web.HttpClient(urlsplit(url), **limits))
        clients[-1].open()
        return clients[-1]

    yield make
    for one in clients:
        one.close()


def ask(client: Any, path: str = "/", method: str = "GET") -> bytes:
    with closing(client.exchange(method, path, {}, None, whole=True)) as answer:
        return b"".join(answer.chunks())


LOCAL = [
    "169.254.0.1", "169.254.169.254", "fe80::1", "fe80::1%eth0", "febf::1", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe",
    "2002:a9fe:a9fe::", "fd00:ec2::254",
]  # fmt: skip
OTHER = ["127.0.0.1", "10.0.0.1", "169.253.255.255", "169.255.0.0", "::1", "fec0::1", "::ffff:10.0.0.1", "64:ff9b::a00:1"]


@pytest.mark.parametrize("address", LOCAL)
def test_link_local_addresses_are_known_in_every_disguise(address: str) -> None:
    assert web.is_link_local(address)


@pytest.mark.parametrize("address", OTHER)
def test_other_addresses_are_not_link_local(address: str) -> None:
    assert not web.is_link_local(address)


def resolving(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> list[str]:
    """Every name leads to these addresses; the names that were looked up."""
    asked: list[str] = []

    def resolve(host: str, port: int, **_: Any) -> Any:
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    return asked


def test_a_name_is_looked_up_once_for_each_connection(service: StandIn, made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = resolving(monkeypatch, "127.0.0.1")
    client = made(service.url.replace("127.0.0.1", "tickets.internal"))
    for _ in range(3):
        ask(client)
    assert asked == ["tickets.internal"]
    first = client.exchange("GET", "/", {}, None, whole=True)  # while its answer is not read, another connection is needed
    ask(client)
    first.close()
    assert asked == ["tickets.internal"] * 2


def test_of_several_addresses_the_first_that_answers_is_used(
    service: StandIn, made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolving(monkeypatch, "127.0.0.2", "127.0.0.1")  # the stand-in listens at the second alone
    assert ask(made(service.url)) == b'{"path": "/"}'


def test_one_link_local_address_among_others_is_reason_enough(
    service: StandIn, made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolving(monkeypatch, "127.0.0.1", "169.254.169.254")
    with pytest.raises(web.NotConnected) as caught:
        ask(made(service.url))
    assert isinstance(caught.value.__cause__, PermissionError)
    assert service.asked == []


def test_a_connection_that_was_idle_for_long_is_not_used_again(
    service: StandIn, made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = made(service.url)
    ask(client)
    ask(client)
    assert len(set(service.peers)) == 1
    monkeypatch.setattr(web, "KEPT_IDLE_S", 0)
    ask(client)
    assert len(set(service.peers)) == 2


def test_no_proxy_of_the_environment_is_used(service: StandIn, made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{backends.free_port()}")
    assert ask(made(service.url)) == b'{"path": "/"}'


def test_nobody_there_is_not_connected_and_a_hang_up_is_not(service: StandIn, made: Made) -> None:
    with pytest.raises(web.NotConnected) as caught:
        ask(made(f"http://127.0.0.1:{backends.free_port()}"))
    assert isinstance(caught.value.__cause__, ConnectionRefusedError)
    with pytest.raises(ConnectionError):
        ask(made(service.url), "/hang-up", "POST")


def test_a_closed_client_asks_nobody_and_can_be_opened_again(service: StandIn, made: Made) -> None:
    client = made(service.url)
    ask(client)
    answer = client.exchange("GET", "/", {}, None, whole=True)
    client.close()
    answer.close()  # its connection has no pool to go back to
    for _ in set(service.peers):
        assert service.hung_up.acquire(timeout=5)
    with pytest.raises(app.Unavailable, match="not open"):
        ask(client)
    client.open()
    assert ask(client) == b'{"path": "/"}'


def test_what_is_sent_is_what_the_caller_says_and_no_more(service: StandIn, made: Made) -> None:
    client = made(service.url + "/base")
    with closing(client.exchange("PUT", "/a%2Fb/%2E?q=%C3%A9", {"X-One": "1"}, b"body", whole=True)) as answer:
        assert answer.is_success
    [(method, path, headers, body)] = service.asked
    assert (method, path, body) == ("PUT", "/a%2Fb/%2E?q=%C3%A9", b"body")
    host = urlsplit(service.url).netloc
    expected = {"Host": host, "Accept-Encoding": "identity", "X-One": "1", "Content-Length": "4"}
    assert {name: text for name, text in headers.items() if name != "User-Agent"} == expected
