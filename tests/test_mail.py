"""The channel mail: what a mail server gets, and what becomes of each answer that it may give."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import backends
import pytest
from mail_server import SECRET, MailServer, parsed, talking, text_of
from sites import REGISTRY, Site

import app
from app import plugin

SENDER = "Intranet <intranet@example.org>"


@pytest.fixture(scope="module")
def server() -> Iterator[MailServer]:
    started = MailServer()
    yield started
    started.stop()


@pytest.fixture(scope="module")
def starttls() -> Iterator[MailServer]:
    started = MailServer("starttls")
    yield started
    started.stop()


@pytest.fixture(scope="module")
def smtps() -> Iterator[MailServer]:
    started = MailServer("smtps")
    yield started
    started.stop()


def config_of(**settings: Any) -> app.Config:
    raw = {"channels": {"mail": {"kind": "mail", "from": SENDER, **settings}}}
    return app.read_config(raw, Path("/nowhere"), "app.toml", {}, {}, REGISTRY.channel_settings)


def channel(url: str, **settings: Any) -> Any:
    config = config_of(smtp=url, **settings)
    assert [fault for fault in config.faults if fault.pointer.startswith("channels")] == []
    one = config.channels["mail"]
    return REGISTRY.find(app.Channel, "mail")("mail", one.options, Path("/nowhere"))  # type: ignore[type-abstract]


def notice(**facts: Any) -> dict[str, Any]:
    made = {"id": "0193a", "at": 1_800_000_000.0, "to": "ann@example.org", "title": "Hello", "text": "A line.\n", "html": ""}
    return made | facts


def to_plain(server: MailServer, **settings: Any) -> Any:
    server.forget()
    return channel(server.url, plain=True, **settings)


# ---- what arrives


def test_a_mail_arrives_as_it_was_meant_with_the_same_id_at_every_try(server: MailServer) -> None:
    mail = to_plain(server)
    text = "Grüße\n.\n..\nFrom here\n" + "x" * 3000 + "\n"
    for _ in range(2):
        mail.send(notice(text=text, html="<p>Grüße</p>", title="Antrag für Ömer: 3 €"))
    mail.close()
    first, second = server.mails
    assert (first["sender"], first["to"]) == ("intranet@example.org", ["ann@example.org"])
    got = parsed(first)
    assert (got["From"], got["To"], got["Subject"]) == (
        SENDER, "ann@example.org", "Antrag für Ömer: 3 €",
    )  # fmt: skip
    assert got["Message-ID"] == parsed(second)["Message-ID"] == "<0193a@example.org>"
    assert (got["Auto-Submitted"], got["Date"].datetime.timestamp()) == ("auto-generated", 1_800_000_000)
    html = got.get_body(("html",))
    assert html is not None
    assert (text_of(first).splitlines(), html.get_content().strip()) == (text.splitlines(), "<p>Grüße</p>")
    assert all(len(line) <= 998 and line.isascii() for line in first["data"].split("\r\n"))
    assert first["greeted"] == "example.org"
    assert first["peer"] == second["peer"], "several mails go over one connection"


@pytest.mark.parametrize(
    ("to", "envelope"),
    [
        ("o'neill+x=y@example.org", "o'neill+x=y@example.org"),
        ("a..b@example.org", "a..b@example.org"),
        ('"a b"@example.org', '"a b"@example.org'),
        ('Ann "the boss" Lee <ann@example.org>', "ann@example.org"),
        ('"Lee, Ann" <ann@example.org>', "ann@example.org"),
        ("Ömer <omer@example.org>", "omer@example.org"),
        ("jörg@müller.example", "jörg@xn--mller-kva.example"),
        ("ann@[127.0.0.1]", "ann@[127.0.0.1]"),
        ("用户@例子.example", "用户@xn--fsqu00a.example"),
    ],
)
def test_odd_addresses_reach_whom_they_name(server: MailServer, to: str, envelope: str) -> None:
    mail = to_plain(server)
    mail.send(notice(to=to))
    mail.close()
    [got] = server.mails
    assert got["to"] == [envelope]
    assert [one.addr_spec for one in parsed(got)["To"].addresses] == [envelope] or not envelope.isascii()


@pytest.mark.parametrize(
    "to",
    [
        "", "ann", "ann@", "@example.org", "ann@example.org, bo@example.org", "ann@example.org\r\nBcc: eve@example.org",
        "ann@example.org\nRCPT TO:<eve@example.org>", "Ann <ann@example.org> eve", "ann@exa mple.org", "<>", "Team:;",
        "a" * 65 + "@example.org", "ann@straße.example", "\udc80@example.org", "ann\0@example.org", "=?utf-8?q?a=40b?=",
    ],
)  # fmt: skip
def test_what_is_no_address_gets_no_mail_and_nobody_else_either(server: MailServer, to: str) -> None:
    mail = to_plain(server)
    with pytest.raises(app.Refused, match="no mail can be made"):
        mail.send(notice(to=to))
    assert (server.mails, server.tried) == ([], [])


@pytest.mark.parametrize("end", ["\r\n", "\n", "\r", "\u2028", "\x0b", "\x85", "\0"])
def test_no_text_adds_a_header_or_a_recipient(server: MailServer, end: str) -> None:
    mail = to_plain(server)
    mail.send(notice(title=f"Hello{end}Bcc: eve@example.org{end}{end}Body", text=f"x{end}Bcc: eve@example.org"))
    mail.close()
    [got] = server.mails
    assert parsed(got)["Bcc"] is None
    assert parsed(got)["Subject"] == "Hello Bcc: eve@example.org Body"
    assert server.tried == ["ann@example.org"]


def test_a_text_that_is_no_unicode_is_refused_and_not_tried_for_ever(server: MailServer) -> None:
    mail = to_plain(server)
    with pytest.raises(app.Refused):
        mail.send(notice(text="half of a pair: \ud800"))


# ---- TLS and passwords


@pytest.mark.parametrize("kind", ["starttls", "smtps"])
def test_mail_goes_over_tls_with_a_password(kind: str, request: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    server = request.getfixturevalue(kind)
    server.forget()
    monkeypatch.setenv("SMTP_PASSWORD", SECRET)
    url = server.url.replace("://", "://intra%40net@")
    mail = channel(url, password="env:SMTP_PASSWORD", tls_ca=str(server.folder / "cert"))
    mail.check()
    assert server.mails == []
    mail.send(notice())
    mail.close()
    [got] = server.mails
    assert (got["tls"], got["user"]) == (True, "intra@net")
    assert SECRET not in repr(config_of(smtp=url, password="env:SMTP_PASSWORD").channels["mail"].options)


@pytest.mark.parametrize("kind", ["starttls", "smtps"])
def test_a_server_that_cannot_prove_who_it_is_gets_nothing(kind: str, request: Any) -> None:
    server = request.getfixturevalue(kind)
    server.forget()
    trusted = {"tls_ca": str(server.folder / "cert")}
    for url, settings in ((server.url, {}), (server.url.replace("localhost", "127.0.0.1"), trusted)):
        for ask in ("send", "check"):
            mail = channel(url, **settings)
            with pytest.raises(app.Unavailable) as caught:
                mail.send(notice()) if ask == "send" else mail.check()
            assert "certificate" in caught.value.hint.lower()
    assert server.tried == []


def test_without_starttls_nothing_is_sent_unless_app_toml_says_plain(server: MailServer) -> None:
    server.forget()
    with pytest.raises(app.Unavailable) as caught:
        channel(server.url).send(notice())
    assert "STARTTLS" in caught.value.hint
    assert server.tried == []


def test_a_wrong_password_is_told_to_the_operator_and_stands_nowhere(
    starttls: MailServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("SMTP_PASSWORD", "hunter2-hunter2")
    url = starttls.url.replace("://", "://intranet@")
    mail = channel(url, password="env:SMTP_PASSWORD", tls_ca=str(starttls.folder / "cert"))
    with pytest.raises(app.Unavailable) as caught:
        mail.send(notice())
    assert "535" in caught.value.hint
    assert "hunter2" not in caught.value.with_hint + caplog.text + repr(mail)


# ---- what a server may say


@pytest.mark.parametrize(
    ("script", "error", "says"),
    [
        ({"RCPT": ["451 4.7.1 Greylisted, come again"]}, app.Busy, "451 4.7.1 Greylisted"),
        ({"RCPT": ["550 5.1.1 No such user"]}, app.Refused, "550 5.1.1 No such user"),
        ({"DATA": ["452 4.2.2 Mailbox full"]}, app.Busy, "452 4.2.2"),
        ({"DATA": ["554 5.7.1 Looks like spam"]}, app.Refused, "554 5.7.1"),
        ({"MAIL": ["550 5.7.1 You may not send as this"]}, app.Unavailable, "550 5.7.1"),
        ({"RCPT": ["421 4.3.2 Shutting down"]}, app.Unavailable, "421"),
    ],
)
def test_an_answer_is_about_one_mail_or_about_the_channel_and_for_now_or_for_good(
    server: MailServer, script: dict[str, list[str]], error: type[app.AppError], says: str
) -> None:
    mail = to_plain(server)
    server.answers(**script)
    with pytest.raises(app.AppError) as caught:
        mail.send(notice())
    assert type(caught.value) is error
    assert says in caught.value.hint
    assert caught.value.retry is (error is not app.Refused)
    mail.send(notice())
    mail.close()
    assert len(server.mails) == 1, "the next one goes out"


def test_a_server_that_is_away_or_says_nothing_or_breaks_off_is_unavailable_soon(server: MailServer) -> None:
    def greet_and_go(connection: socket.socket) -> None:
        connection.sendall(b"220 here\r\n")
        connection.recv(100)

    def not_smtp(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    def silent(connection: socket.socket) -> None:
        connection.recv(1)

    for talk in (greet_and_go, not_smtp, silent):
        with talking(talk) as port:
            mail, began = channel(f"smtp://127.0.0.1:{port}", plain=True, timeout="1s"), time.monotonic()
            with pytest.raises(app.Unavailable, match="cannot be used"):
                mail.send(notice())
            assert time.monotonic() - began < 5, talk.__name__
    with pytest.raises(app.Unavailable) as caught:
        channel(f"smtp://127.0.0.1:{backends.free_port()}", plain=True).send(notice())
    assert "refused" in caught.value.hint


def test_a_server_that_answers_a_letter_at_a_time_does_not_hold_the_channel_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(plugin("mail"), "_WHOLE_S", 0.5)
    stop = threading.Event()

    def dripping(connection: socket.socket) -> None:
        connection.sendall(b"220 here\r\n")
        while not stop.wait(0.05):
            connection.sendall(b"2")

    def endless(connection: socket.socket) -> None:
        while not stop.wait(0.001):
            connection.sendall(b"220-" + b"x" * 70 + b"\r\n")

    for talk in (dripping, endless):
        with talking(talk) as port:
            began = time.monotonic()
            with pytest.raises(app.Unavailable):
                channel(f"smtp://127.0.0.1:{port}", plain=True).send(notice())
            assert time.monotonic() - began < 5, talk.__name__
    stop.set()


def test_a_connection_that_died_between_two_mails_is_made_anew(server: MailServer) -> None:
    mail = to_plain(server)
    mail.send(notice())
    mail._client.sock.shutdown(socket.SHUT_RDWR)
    with pytest.raises(app.Unavailable):
        mail.send(notice())
    mail.send(notice())
    mail.close()
    mail.close()
    assert len(server.mails) == 2


# ---- settings


@pytest.mark.parametrize(
    ("settings", "place", "says"),
    [
        ({"smtp": "mail.example.org"}, "smtp", "must be like"),
        ({"smtp": "smtp://a:b@mail.example.org"}, "smtp", "must not hold the password"),
        ({"smtp": "smtp://mail.example.org:99999"}, "smtp", "port"),
        ({"smtp": "smtps://mail.example.org\r\n"}, "smtp", "must be"),
        ({"smtp": 25}, "smtp", "must be"),
        ({"smtp": "smtps://mail.example.org", "from": "nobody"}, "from", "must be one address"),
        ({"smtp": "smtps://mail.example.org", "from": "a@b.example, c@d.example"}, "from", "must be one address"),
        ({"smtp": "smtps://mail.example.org", "password": "secret"}, "password", "env:NAME"),
        ({"smtp": "smtps://mail.example.org", "pasword": "env:X"}, "pasword", "did you mean password?"),
        ({}, "smtp", "is missing"),
        ({"kind": "mial", "smtp": "x"}, "kind", "'mial' is not a kind of channel; did you mean mail?"),
    ],
)
def test_a_wrong_setting_is_named_by_its_place(settings: dict[str, Any], place: str, says: str) -> None:
    faults = [fault for fault in config_of(**settings).faults if fault.pointer.startswith("channels")]
    assert [fault.pointer for fault in faults] == [f"channels.mail.{place}"]
    assert says in faults[0].detail


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"smtp": "smtps://mail.example.org", "plain": True}, "plain goes with smtp://"),
        ({"smtp": "smtps://intranet@mail.example.org"}, "password is missing"),
        ({"smtp": "smtps://mail.example.org", "password": "env:SMTP_PASSWORD"}, "names no user"),
        ({"smtp": "smtp://intranet@mail.example.org", "password": "env:SMTP_PASSWORD", "plain": True}, "without TLS"),
    ],
)
def test_settings_that_do_not_go_together_are_faults_of_the_start(
    settings: dict[str, Any], says: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SMTP_PASSWORD", SECRET)
    providers = {"main": {"kind": "sql", "url": "sqlite:///app.db"}}
    raw = {"providers": providers, "channels": {"mail": {"kind": "mail", "from": SENDER, **settings}}}
    config = app.read_config(raw, tmp_path, "app.toml", REGISTRY.provider_settings, {}, REGISTRY.channel_settings)
    with pytest.raises(app.ConfigError) as caught:
        app.App(config, REGISTRY)
    [fault] = caught.value.faults
    assert fault.pointer == "channels.mail"
    assert says in fault.detail


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]", "[::ffff:127.0.0.1]"])
def test_a_password_need_not_be_encrypted_on_its_way_to_this_machine(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMTP_PASSWORD", SECRET)
    assert channel(f"smtp://intranet@{host}", password="env:SMTP_PASSWORD", plain=True).relay.is_here


# ---- beside the rest of a site


def site_toml(url: str, more: str = "") -> str:
    return f'''
[providers.main]
kind = "sql"
url = "sqlite:///data/app.db"
[channels.mail]
kind = "mail"
smtp = "{url}"
from = "{SENDER}"
plain = true
{more}
'''


def test_server_check_tries_the_mail_server_and_sends_nothing(server: MailServer, tmp_path: Path) -> None:
    server.forget()
    site = Site(tmp_path, site_toml(server.url))
    assert site.app.inspection.check() == []
    assert [one for one in site.app.inspection.warnings() if one.startswith("site.url is not set: links in mails")]
    site.close()
    site = Site(tmp_path, site_toml(f"smtp://127.0.0.1:{backends.free_port()}", '[site]\nurl = "https://in.example.org"'))
    [fault] = site.app.inspection.check()
    assert (fault.pointer, fault.code) == ("channels.mail", "unavailable")
    assert "refused" in fault.detail
    assert not [one for one in site.app.inspection.warnings() if "site.url" in one]
    site.close()
    assert server.mails == []


def test_info_config_shows_channels_without_their_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMTP_PASSWORD", SECRET)
    toml = site_toml("smtp://intranet@127.0.0.1", 'password = "env:SMTP_PASSWORD"')
    site = Site(tmp_path, toml)
    shown = plugin("info").config(site.app)["channels"]["mail"]
    assert (shown["kind"], shown["smtp"], shown["password"]) == ("mail", "smtp://intranet@127.0.0.1", "set")
    assert SECRET not in str(plugin("info").config(site.app))
    site.close()


def test_a_check_beside_a_job_that_sends_does_not_use_its_connection(server: MailServer, tmp_path: Path) -> None:
    server.forget()
    site = Site(tmp_path, site_toml(server.url))
    mail: Any = site.app.channels["mail"]
    mail.send(notice())
    client = mail._client
    assert site.app.inspection.check() == []
    assert mail._client is client
    mail.send(notice())
    mail.close()
    assert len(server.mails) == 2
    site.close()


def test_a_check_waits_for_a_silent_server_no_longer_than_for_a_provider(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plugin("check"), "_PATIENCE_S", 0.2)
    with talking(lambda connection: connection.recv(1)) as port:
        site = Site(tmp_path, site_toml(f"smtp://127.0.0.1:{port}", 'timeout = "1s"'))
        [fault] = site.app.inspection.check()
        assert (fault.pointer, fault.detail) == ("channels.mail", "channel mail gave no answer within 0.2 seconds")
    site.close()
