"""The outbox: what is mailed leaves once, in the end, whatever becomes of mail servers and of this program meanwhile."""

from __future__ import annotations

import itertools
import logging
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import backends
import pytest
from http_client import FORM, PAGE, Reply, Server, serving
from mail_server import MailServer, link_in, parsed, text_of
from sites import Site, Time

import app
from app import Query, plugin

outbox = plugin("outbox")


def toml(url: str, more: str = "") -> str:
    return f"""
[site]
title = "Print shop"
url = "https://in.example.org"
[auth]
sign_in = ["mail"]
[providers.main]
kind = "sql"
url = "sqlite:///data/app.db"
[roles.staff]
grants = ["forms/leave:create"]
[forms.leave.fields]
name = {{ type = "string" }}
[channels.mail]
kind = "mail"
smtp = "{url}"
from = "Intranet <intranet@example.org>"
plain = true
timeout = "2s"
{more}
"""


class Mailing(Site):
    """A site of which a test runs the job."""

    def __init__(self, folder: Path, url: str) -> None:
        self.time = Time()
        super().__init__(folder, toml(url), clock=self.time)
        self.stop = threading.Event()
        self.job = outbox.Outbox({}, self.app.config)

    def run(self, after_s: float = 0) -> None:
        self.time.now += after_s
        self.job.run(self.app, self.stop)

    def ask_for_link(self, email: str, after: str = "", languages: str = "") -> None:
        key = app.new_id(self.time())
        self.app.state.commit([plugin("mailed_links").asked(email, after, languages, key, self.time())])

    @property
    def waiting(self) -> list[app.Record]:
        return list(self.app.state.find(Query("_outbox")).items)

    def invite(self, **person: Any) -> dict[str, Any]:
        answer = self.create("admin/people", person)
        return {**answer.data, **answer.page["once"]}

    def opens(self, link: str) -> bool:
        return self.app.authority.link_problem(link.rpartition("/")[2]) == ""

    def signs_in(self, link: str) -> None:
        self.app.office.sign_in(link.partition("?")[0].rpartition("/")[2], "request")


@pytest.fixture(scope="module")
def server() -> Iterator[MailServer]:
    started = MailServer()
    yield started
    started.stop()


@pytest.fixture
def site(server: MailServer, tmp_path: Path) -> Iterator[Mailing]:
    server.forget()
    opened = Mailing(tmp_path, server.url)
    yield opened
    opened.close()


ANN = {"subject": "ann", "name": "Ann Lee", "email": "ann@example.org", "roles": ["staff"]}


# ---- invitations


def test_an_invitation_is_shown_once_and_mailed_and_both_are_the_same_link(site: Mailing, server: MailServer) -> None:
    made = site.invite(**ANN)
    assert made["mailed_to"] == "ann@example.org"
    site.run()
    [mail] = server.mails
    assert mail["to"] == ["ann@example.org"]
    assert link_in(mail) == made["link"]
    assert made["link"].startswith("https://in.example.org/login/")
    assert parsed(mail)["Subject"] == "You are invited to Print shop"
    assert "Your name to sign in with is ann." in text_of(mail)
    assert site.waiting == []
    site.run()
    assert len(server.mails) == 1
    site.signs_in(made["link"])
    assert not site.opens(made["link"])


def test_a_new_link_is_mailed_too_and_says_who_had_it_sent(site: Mailing, server: MailServer) -> None:
    site.invite(subject="hr", name="Eve Ng", grants=["**:*"])
    code = site.create("admin/people/hr/link", {}).page["once"]["link"].rpartition("/")[2]
    session = "Session " + str(site.app.office.sign_in(code, "r")[0])
    site.invite(**ANN)
    answer = site.create("admin/people/ann/link", {}, by=session)
    assert answer.page["once"]["mailed_to"] == "ann@example.org"
    site.run()
    mail = server.wait_for(2)[-1]
    assert link_in(mail) == answer.page["once"]["link"]
    assert parsed(mail)["Subject"] == "A new link to sign in to Print shop"
    assert "Eve Ng" in text_of(mail)


def test_without_an_address_or_without_the_channel_a_link_is_only_shown(
    site: Mailing, server: MailServer, tmp_path: Path
) -> None:
    assert "mailed_to" not in site.invite(subject="bo")
    assert site.waiting == []
    other = tmp_path / "other"
    other.mkdir()
    plain = Site(other, toml(server.url).replace("[channels.mail]", "[channels.post]").replace('["mail"]', '["password"]'))
    assert "mailed_to" not in plain.create("admin/people", ANN).page["once"]
    plain.close()


def test_no_secret_is_kept_while_a_mail_waits_nor_said_in_the_log(
    site: Mailing, server: MailServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    server.answers(RCPT=["451 later"])
    code = site.invite(**ANN)["link"].rpartition("/")[2]
    site.ask_for_link("ann@example.org")
    site.run()
    site.run(after_s=20)
    codes = [code, *(link_in(mail).rpartition("/")[2] for mail in server.mails)]
    assert len(set(codes)) == 2
    stored = site.stored_bytes()
    for one in codes:
        assert one.encode() not in stored
        assert one not in caplog.text


def test_a_link_of_before_a_key_was_rotated_is_mailed_as_it_was_shown(site: Mailing, server: MailServer) -> None:
    made = site.invite(**ANN)
    site.app.office.rotate_key(app.Caller("test"))
    site.run()
    assert link_in(server.mails[0]) == made["link"]


def test_an_invitation_that_was_taken_up_or_taken_back_is_not_mailed(site: Mailing, server: MailServer) -> None:
    site.signs_in(site.invite(**ANN)["link"])
    site.invite(subject="bo", email="bo@example.org")
    site.patch("admin/people/bo", {"suspended": True})
    site.invite(subject="cy", email="cy@example.org")
    site.delete("admin/people/cy")
    site.run()
    assert (server.tried, site.waiting) == ([], [])


# ---- links that are asked for


def test_a_link_that_is_asked_for_is_good_for_ten_minutes_from_the_try_and_once(site: Mailing, server: MailServer) -> None:
    site.invite(subject="ann", email="ann@example.org")
    site.run()
    server.forget()
    site.ask_for_link("ann@example.org", after="/forms/leave?name=a b")
    site.run(after_s=5)
    [mail] = server.mails
    link = link_in(mail)
    assert link.endswith("?after=/forms/leave%3Fname%3Da%20b")
    code = link.partition("?")[0].rpartition("/")[2]
    site.time.now += 599
    assert site.app.authority.link_problem(code) == ""
    site.time.now += 2
    assert site.app.authority.link_problem(code) == "expired"
    site.ask_for_link("ann@example.org")
    site.run()
    other = link_in(server.mails[1]).rpartition("/")[2]
    site.signs_in(link_in(server.mails[1]))
    assert site.app.authority.link_problem(other) == "used"
    with pytest.raises(app.Unauthenticated, match="used already"):
        site.app.office.sign_in(other, "r")
    assert [one["action"] for one in site.audit(resource="admin/people/ann") if one["action"] == "link"]


def test_nobody_and_whoever_is_suspended_gets_no_link_and_the_row_goes(site: Mailing, server: MailServer) -> None:
    site.invite(subject="bo")
    site.invite(subject="cy", email="cy@example.org")
    site.patch("admin/people/cy", {"suspended": True})
    links = site.app.state.count(Query("_links"))
    for email in ("nobody@example.org", "cy@example.org", "CY@example.org"):
        site.ask_for_link(email)
    site.run()
    assert (server.tried, site.waiting) == ([], [])
    assert site.app.state.count(Query("_links")) == links


def test_a_mail_is_in_the_language_of_the_person_or_of_the_browser(site: Mailing, server: MailServer) -> None:
    site.invite(subject="ann", email="ann@example.org")
    site.run()
    server.forget()
    site.ask_for_link("ann@example.org", languages="de-AT,en;q=0.5")
    site.run()
    [mail] = server.mails
    assert parsed(mail)["Subject"] == "Anmelden bei Print shop"
    html = parsed(mail).get_body(("html",))
    assert html is not None
    assert '<html lang="de"' in html.get_content()


# ---- what may go wrong


def test_what_a_server_wants_later_goes_out_later_with_the_same_link_and_id(
    site: Mailing, server: MailServer, caplog: pytest.LogCaptureFixture
) -> None:
    site.invite(subject="ann", email="ann@example.org")
    site.run()
    server.forget()
    server.answers(RCPT=["451 4.7.1 Greylisted"] * 3)
    site.ask_for_link("ann@example.org")
    waits, began = [], site.time.now
    while not server.mails:
        site.run()
        if site.waiting:
            waits.append(site.waiting[0].value["next_at"] - site.time.now)
            site.run(after_s=waits[-1] - 1)
            site.time.now += 1
        assert site.time.now - began < 600
    assert 5 < waits[0] <= 20
    assert len(waits) == 3
    assert all(later > 1.3 * sooner for sooner, later in itertools.pairwise(waits))
    assert "451 4.7.1 Greylisted" in caplog.text
    assert site.app.state.count(Query("_links")) == 2
    assert site.opens(link_in(server.mails[0]))
    assert site.waiting == []


def test_what_is_refused_for_good_is_given_up_at_once_loudly_and_noted(
    site: Mailing, server: MailServer, caplog: pytest.LogCaptureFixture
) -> None:
    server.answers(RCPT=["550 5.1.1 No such user"])
    site.invite(**ANN)
    site.run()
    assert site.waiting == []
    [line] = [one for one in caplog.records if one.levelno >= logging.ERROR]
    assert "is given up after 1 attempt" in line.getMessage()
    assert "550 5.1.1 No such user" in line.getMessage()
    [entry] = site.audit(action="mail")
    assert (entry["resource"], entry["outcome"]) == ("admin/people/ann", "failed")
    assert entry["after"]["to"] == "ann@example.org"


def test_after_ten_minutes_a_link_that_was_asked_for_is_given_up(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    site = Mailing(tmp_path, f"smtp://127.0.0.1:{backends.free_port()}")
    site.invite(**ANN)
    site.ask_for_link("ann@example.org")
    for _ in range(60):
        site.run(after_s=20)
    assert [one.value["kind"] for one in site.waiting] == ["invitation"], "which is tried for a day"
    assert len([one for one in caplog.records if one.levelno >= logging.ERROR and one.module == "outbox"]) == 1
    assert "refused" in caplog.text
    for _ in range(80):
        site.run(after_s=1200)
    assert site.waiting == []
    site.close()


def test_a_server_that_is_away_is_tried_once_a_round_and_all_goes_out_when_it_is_back(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server = MailServer()
    server.process.stop()
    site = Mailing(tmp_path, server.url)
    for name in ("ann", "bo", "cy"):
        site.invite(subject=name, email=f"{name}@example.org")
    site.run()
    assert len({one.value["next_at"] for one in site.waiting}) == 1
    assert [one.value["tries"] for one in site.waiting] == [1, 1, 1]
    (server.folder / "ready").unlink()
    server.process.start()
    site.run(after_s=20)
    assert sorted(mail["to"][0] for mail in server.mails) == ["ann@example.org", "bo@example.org", "cy@example.org"]
    assert len({mail["peer"] for mail in server.mails}) == 1
    site.close()
    server.stop()


def test_one_that_cannot_be_said_keeps_no_other_back(
    site: Mailing, server: MailServer, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [outbox.waiting(f"a{n}", "mail", kind, facts, site.time(), 600) for n, (kind, facts) in enumerate(
        [("nonsense", {}), ("link", {}), ("sign_in", {"email": ["x"]})]
    )]  # fmt: skip
    site.app.state.commit([*rows, outbox.waiting("b", "post", "link", {"subject": "ann", "link": "x"}, site.time(), 600)])
    site.invite(**ANN)
    site.run()
    assert len(server.mails) == 1
    assert [one.key for one in site.waiting] == ["b"], "its channel may be declared again"
    assert "nobody knows the kind 'nonsense'" in caplog.text
    assert "no channel is named post" in caplog.text


def test_a_row_is_stored_with_what_caused_it_or_not_at_all(site: Mailing) -> None:
    with pytest.raises(RuntimeError):
        site.create("admin/people", ANN, guard=lambda: (_ for _ in ()).throw(RuntimeError("lost")))
    assert site.waiting == []


def test_a_job_that_is_told_to_end_sends_no_further_mail(site: Mailing, server: MailServer) -> None:
    site.invite(**ANN)
    site.stop.set()
    site.run()
    assert (server.tried, len(site.waiting)) == ([], 1)


def test_nothing_is_asked_of_the_provider_while_nothing_was_committed(
    site: Mailing, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.run()
    with monkeypatch.context() as patched:
        patched.setattr(site.app.state, "find", lambda query: pytest.fail("it was asked"))
        site.run()
    site.invite(**ANN)
    site.run()
    assert site.waiting == []


# ---- a real server


def test_mail_leaves_within_seconds_of_a_running_server_and_of_the_one_after_it(server: MailServer, tmp_path: Path) -> None:
    server.forget()
    (tmp_path / "app.toml").write_text(toml(server.url, "[http]\nworkers = 2\n"))
    command = [*backends.SATCHEL, "auth", "invite", "--subject", "ann", "--email", "ann@example.org"]

    def mailed(number: int) -> str:
        began = time.monotonic()
        link = link_in(server.wait_for(number)[number - 1])
        assert time.monotonic() - began < 6
        return link.partition("?")[0].rpartition("/")[2]

    def asks(one: Server, target: str, fields: dict[str, str]) -> Reply:
        return one.ask("POST", target, urlencode(fields), FORM | PAGE)

    with serving(tmp_path) as one:
        made = subprocess.run([*command, "--role", "staff"], cwd=tmp_path, capture_output=True, text=True, check=True)
        assert made.stdout.strip().endswith(mailed(1))
        assert "It goes to ann@example.org by mail, too" in made.stderr
        assert asks(one, "/login/mail", {"email": "ann@example.org"}).status == 303
        code = mailed(2)
        assert asks(one, "/login", {"code": code}).status == 303
        assert asks(one, "/login", {"code": code}).status == 401
    with serving(tmp_path) as other:
        assert asks(other, "/login/mail", {"email": "ann@example.org"}).status == 303
        mailed(3)
        os.kill(other.process.pid, signal.SIGTERM)
        other.process.wait(30)
    assert not any(code in line for one in (one, other) for line in one.told)
    assert any("sign_in" in line and "was sent" in line for line in one.told)
