"""Signing in by a link that is mailed: the page, what it sends, and who learns nothing by it."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from http_client import Reply, Site, action, hidden
from mail_server import MailServer, link_in, parsed

import app
from app import Query, plugin

MORE = """
[auth]
sign_in = [{ways}]
[channels.mail]
kind = "mail"
smtp = "{url}"
from = "intranet@example.org"
plain = true
"""


@pytest.fixture(scope="module")
def server() -> Iterator[MailServer]:
    started = MailServer()
    yield started
    started.stop()


class Mailing(Site):
    def __init__(self, folder: Path, server: MailServer, ways: str = '"mail", "password"', prefix: str = "") -> None:
        def edited(toml: str) -> str:
            named = f'title = "Print shop"\nurl = "http://localhost{prefix}"\n'
            return toml.replace('title = "Ops & <Co>"\n', named) + MORE.format(ways=ways, url=server.url)

        super().__init__(folder, prefix=prefix, edit=edited)
        self.job = plugin("outbox").Outbox({}, self.app.config)

    def mail(self) -> None:
        self.job.run(self.app, threading.Event())

    def invite(self, subject: str = "ann", **facts: Any) -> str:
        """The link of the invitation, which is not mailed."""
        person = {"subject": subject, "email": f"{subject}@example.org", "grants": ["forms/leave:create"], **facts}
        reply = self.send(f"{self.prefix}/admin/people", person, self.token("**:*"))
        assert reply.status == 201, reply.text
        rows = [app.Delete("_outbox", row.key) for row in self.app.state.find(Query("_outbox")).items]
        self.app.state.commit(rows)
        return str(reply.json["link"])

    def ask_link(self, email: str, cookie: str = "", **headers: str) -> Reply:
        return self.submit(f"{self.prefix}/login/mail", {"email": email}, cookie, **headers)

    @property
    def waiting(self) -> list[app.Record]:
        return list(self.app.state.find(Query("_outbox")).items)


@pytest.fixture
def site(server: MailServer, tmp_path: Path) -> Iterator[Mailing]:
    server.forget()
    opened = Mailing(tmp_path, server)
    yield opened
    opened.close()


def page(site: Site, target: str, cookie: str = "", **headers: str) -> Reply:
    return site.get(target, cookie, Accept="text/html", **headers)


# ---- the way through


def test_one_gives_an_address_opens_the_link_presses_the_button_and_is_where_one_was_going(
    site: Mailing, server: MailServer
) -> None:
    site.invite()
    went = page(site, "/forms/leave?name=x")
    assert went.status == 303
    login = page(site, went["Location"])
    form = re.search(r'<form[^>]*action="/login/mail".*?</form>', login.text, re.DOTALL)
    assert form
    after = re.search(r'name="after" value="([^"]*)"', form[0])
    assert after
    fields = {"_token": hidden(login, "_token"), "email": " Ann@Example.org ", "after": after[1]}
    sent = site.submit("/login/mail", fields)
    assert (sent.status, sent["Set-Cookie"]) == (303, "")
    shown = page(site, sent["Location"])
    assert "Look into your mailbox" in shown.text
    assert "ann@example.org" not in shown.text.lower()
    site.mail()
    [mail] = server.mails
    assert mail["to"] == ["ann@example.org"]
    link = link_in(mail).removeprefix("http://localhost")
    for _ in range(3):  # a scanner of mails, and a second browser
        opened = page(site, link)
        assert "Your sign-in link is ready" in opened.text
        assert not opened["Set-Cookie"]
    signed = site.submit(action(opened), {"code": hidden(opened, "code"), "after": hidden(opened, "after")})
    assert (signed.status, signed["Location"]) == (303, "/forms/leave?name=x")
    assert page(site, "/forms/leave", signed.cookie).status == 200
    assert "was used already" in page(site, link).text
    assert "Ask for a new one here." in page(site, link).text


def test_a_site_below_a_prefix_mails_links_below_it(server: MailServer, tmp_path: Path) -> None:
    server.forget()
    site = Mailing(tmp_path, server, prefix="/ops")
    site.invite()
    sent = site.submit("/ops/login/mail", {"email": "ann@example.org", "after": "/ops/forms/leave"})
    assert (sent.status, sent["Location"].partition("?")[0]) == (303, "/ops/login/mail")
    site.mail()
    assert re.match(r"http://localhost/ops/login/[\w-]{43}\?after=/ops/forms/leave$", link_in(server.mails[0]))
    site.close()


def test_the_mail_is_in_the_language_of_the_page_on_which_it_was_asked_for(site: Mailing, server: MailServer) -> None:
    site.invite()
    assert site.ask_link("ann@example.org", Accept_Language="de").status == 303
    site.mail()
    assert parsed(server.mails[0])["Subject"] == "Anmelden bei Print shop"


def test_what_was_typed_before_waits_beside_the_answer_until_one_is_signed_in(site: Mailing, server: MailServer) -> None:
    link = site.invite()
    cookie = site.sign_in(link)
    form = page(site, "/forms/leave", cookie)
    site.send("/admin/people/ann/sign-out", {}, site.token("**:*"))
    kept = site.submit(action(form), {"_token": hidden(form, "_token"), "day": "2026-07-01"}, cookie)
    assert kept.status == 401
    draft = hidden(kept, "draft").replace("&#034;", '"').replace("&quot;", '"').replace("&amp;", "&")
    assert draft
    sent = site.submit("/login/mail", {"email": "ann@example.org", "draft": draft})
    assert (sent.status, "Look into your mailbox" in sent.text, "2026-07-01" in sent.text) == (200, True, True)
    site.mail()
    signed = site.sign_in(link_in(server.mails[0]))
    again = site.submit(action(sent, "form") if 'class="form"' in sent.text else "/forms/leave?_resume=1", {
        "_token": "", "draft": draft,
    }, signed)  # fmt: skip
    assert "2026-07-01" in again.text


# ---- what others learn: nothing


def shape(reply: Reply) -> tuple[Any, ...]:
    variable = ("x-request-id", "request-id", "date", "server-timing")
    headers = sorted((name, value) for name, value in reply.headers if name.lower() not in variable)
    return reply.status, headers, re.sub(r'name="_token" value="[^"]*"', "", reply.text)


def test_the_same_is_answered_and_stored_for_everybody_and_nobody(site: Mailing, server: MailServer) -> None:
    site.invite()
    site.invite("bo", suspended=True)
    site.invite("cy", email=None)
    answers, stored = [], []
    for email in ("ann@example.org", "bo@example.org", "cy@example.org", "nobody@example.org"):
        answers.append(shape(site.ask_link(email)))
        stored.append(sorted(site.waiting[-1].value))
    assert all(one == answers[0] for one in answers)
    assert all(one == stored[0] for one in stored)
    site.mail()
    assert [mail["to"] for mail in server.mails] == [["ann@example.org"]]
    assert site.waiting == []


def test_a_request_looks_nobody_up(site: Mailing, monkeypatch: pytest.MonkeyPatch) -> None:
    """So what it takes cannot depend on who there is."""
    site.invite()
    asked: list[str] = []
    get, find = site.app.state.get, site.app.state.find
    monkeypatch.setattr(site.app.state, "get", lambda table, key: asked.append(table) or get(table, key))
    monkeypatch.setattr(site.app.state, "find", lambda query: asked.append(query.table) or find(query))
    for email in ("ann@example.org", "nobody@example.org"):
        assert site.ask_link(email).status == 303
    assert not {"_people", "_links", "_passwords"} & set(asked)


# ---- not too often


def test_too_many_links_for_an_address_or_from_one_are_429_whoever_it_is(site: Mailing) -> None:
    site.invite()
    for email in ("ann@example.org", "nobody@example.org"):
        statuses = [site.ask_link(email).status for _ in range(6)]
        assert statuses == [303] * 5 + [429]
    refused = site.ask_link("ann@example.org")
    assert 3000 < int(refused["Retry-After"]) <= 3600
    assert "Too many sign-in links were asked for: wait 60 minutes" in refused.text
    assert 'value="ann@example.org"' in refused.text
    statuses = [site.ask_link(f"p{n}@example.org").status for n in range(30)]
    assert statuses.count(429) >= 13
    assert site.ask_link("new@example.org").status == 429
    other = site.ask("POST", "/login/mail", "email=new%40example.org", {
        "Content-Type": "application/x-www-form-urlencoded", "Accept": "text/html", "REMOTE_ADDR": "203.0.113.9",
    })  # fmt: skip
    assert other.status == 303


def test_nobody_uses_up_the_links_of_a_browser_in_which_the_person_has_signed_in(site: Mailing) -> None:
    link = site.invite()
    signed = site.submit("/login", {"token": link})
    known = next(value.partition(";")[0] for name, value in signed.headers if "satchel_known_" in value)
    for number in range(8):
        site.ask("POST", "/login/mail", "email=ann%40example.org", {
            "Content-Type": "application/x-www-form-urlencoded", "Accept": "text/html", "REMOTE_ADDR": f"203.0.113.{number}",
        })  # fmt: skip
    assert site.ask_link("ann@example.org").status == 429
    assert site.ask_link("ann@example.org", Cookie=known).status == 303
    statuses = [site.ask_link("ann@example.org", Cookie=known).status for _ in range(6)]
    assert statuses[-1] == 429, "but not without end"
    assert site.ask_link("ann@example.org", Cookie=known.replace("=", "=x", 1)).status == 429


def test_a_flood_of_addresses_takes_no_more_memory_and_leaves_no_rows(site: Mailing) -> None:
    route: Any = site.runner.door.routes["mail"]
    before = {name: len(one._table) for name, one in route._counts.items()}
    for number in range(10_000):
        route._counts["address"].failed(f"address p{number}@example.org")
    assert {name: len(one._table) for name, one in route._counts.items()} == before
    assert sum(before.values()) < 4_000_000


# ---- what is refused


@pytest.mark.parametrize(
    "email",
    ["", "ann", "ann@", "ann@example.org\r\nBcc: eve@example.org", "ann@example.org,eve@example.org", "a" * 300 + "@b.de"],
)
def test_what_is_no_address_comes_back_to_be_mended(site: Mailing, email: str) -> None:
    reply = site.ask_link(email)
    assert reply.status == 422
    assert "This is no mail address" in reply.text
    assert 'aria-invalid="true"' in reply.text
    assert site.waiting == []


def test_other_sites_cannot_have_links_sent(site: Mailing) -> None:
    for origin in ("http://evil.example", "null"):
        assert site.ask_link("ann@example.org", Origin=origin).status == 403
    assert site.waiting == []


@pytest.mark.parametrize(
    "after", ["//evil.example", "/\\evil.example", "https://evil.example/", "/a\r\nSet-Cookie: x=y", "/../x"]
)
def test_a_link_leads_nowhere_but_to_this_site(site: Mailing, server: MailServer, after: str) -> None:
    site.invite()
    sent = site.submit("/login/mail", {"email": "ann@example.org", "after": after})
    assert (sent.status, sent["Location"]) == (303, "/login/mail?sent=1")
    site.mail()
    assert "after" not in link_in(server.mails[0])


def test_a_program_gets_json_and_no_page(site: Mailing) -> None:
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    reply = site.ask("POST", "/login/mail", "email=ann%40example.org", headers)
    assert (reply.status, list(reply.json)) == (202, ["done"])
    wrong = site.ask("POST", "/login/mail", "email=ann", headers)
    assert (wrong.status, wrong.json["errors"][0]["pointer"]) == (422, "/email")


def test_a_site_that_does_not_offer_it_has_no_such_address_and_says_why_it_cannot_be_offered(
    server: MailServer, tmp_path: Path
) -> None:
    site = Mailing(tmp_path, server, ways='"password"')
    assert page(site, "/login/mail").status == 404
    assert site.ask_link("ann@example.org").status == 404
    assert "/login/mail" not in page(site, "/login").text
    assert site.waiting == []
    site.close()
    with pytest.raises(app.ConfigError) as caught:
        Site(tmp_path, edit=lambda toml: toml + '[auth]\nsign_in = ["mail"]\n')
    [fault] = caught.value.faults
    assert (fault.pointer, "declare [channels.mail]" in fault.detail) == ("auth.sign_in.0", True)


def test_the_page_of_the_answer_alone_leads_to_the_page_for_signing_in(site: Mailing) -> None:
    assert page(site, "/login/mail")["Location"] == "/login"
    assert page(site, "/login/mail?after=/forms/leave")["Location"] == "/login?after=%2Fforms%2Fleave"


# ---- invitations in the page


def test_the_page_shows_the_link_once_and_says_that_it_is_mailed(site: Mailing, server: MailServer) -> None:
    cookie = site.sign_in(site.invite("root", grants=["**:*"]))
    form = page(site, "/admin/people?_new=1", cookie)
    fields = {"_token": hidden(form, "_token"), "subject": "bo", "email": "bo@example.org", "grants": "forms/leave:create"}
    shown = site.submit(action(form), fields, cookie)
    assert shown.status == 201
    assert "It is on its way to <bdi>bo@example.org</bdi> by mail, too." in shown.text
    site.mail()
    assert link_in(server.mails[0]) in shown.text
    person = page(site, "/admin/people/bo", cookie)
    again = site.submit("/admin/people/bo/link", {"_token": hidden(person, "_token")}, cookie)
    assert "by mail, too" in again.text
    site.mail()
    assert link_in(server.mails[1]) in again.text
