"""Notices: who is told what of the records of a form, once and in order, and what becomes of those that cannot be sent."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mail_server import MailServer, parsed, text_of
from sites import PROVIDERS, Site, Time

import app
from app import Query, plugin

TOML = """
[site]
title = "Print shop"
url = "https://in.example.org"
[roles.staff]
grants = ["forms/leave:create"]
[roles.hr]
grants = ["forms/leave/**:*", "admin/outbox:*"]
[channels.mail]
kind = "mail"
smtp = "{url}"
from = "Intranet <intranet@example.org>"
plain = true
timeout = "2s"
[forms.leave]
title = "Leave request"
name = "{{name}}: {{day}}"
notify = [{notify}]
[forms.leave.fields]
name = {{ type = "string", title = "Who" }}
day = {{ type = "string", format = "date", title = "First day" }}
boss = {{ type = "string", title = "Boss" }}
"""
RECORD = {"name": "Ann", "day": "2026-12-01"}


class Telling(Site):
    """A site of which a test runs the jobs."""

    def __init__(
        self, folder: Path, server: MailServer, notify: str, *, provider: str = "sql", more: str = "", toml: str = TOML
    ) -> None:
        self.time = Time()
        toml = toml.format(url=server.url, notify=notify) + PROVIDERS[provider] + more
        super().__init__(folder, toml, clock=self.time)
        self.stop = threading.Event()
        self.jobs = [plugin("digests").Digests({}, self.app.config), plugin("outbox").Outbox({}, self.app.config)]

    def run(self, after_s: float = 0) -> None:
        self.time.now += after_s
        for job in self.jobs:
            job.run(self.app, self.stop)

    def person(self, subject: str, **facts: Any) -> str:
        """A credential of somebody who is made."""
        made = self.create("admin/people", {"subject": subject, "email": f"{subject}@example.org", **facts})
        rows = [app.Delete("_outbox", row.key) for row in self.waiting]
        self.app.state.commit(rows)
        return "Session " + self.app.office.sign_in(made.page["once"]["link"].rpartition("/")[2], "r")[0]

    @property
    def waiting(self) -> list[app.Record]:
        return list(self.app.state.find(Query("_outbox")).items)


@pytest.fixture(scope="module")
def server() -> Iterator[MailServer]:
    started = MailServer()
    yield started
    started.stop()


@pytest.fixture(autouse=True)
def _fresh(server: MailServer) -> None:
    server.forget()


def subjects(server: MailServer) -> list[str]:
    return [str(parsed(mail)["Subject"]) for mail in server.mails]


@pytest.mark.parametrize("provider", ["sql", "file"])
def test_a_record_is_announced_with_a_link_and_what_was_sent_in(server: MailServer, tmp_path: Path, provider: str) -> None:
    site = Telling(tmp_path, server, '{ on = "create", to = "mail:hr@example.org" }', provider=provider)
    ann = site.person("ann", name="Ann Lee", roles=["staff"])
    key = site.create("forms/leave", RECORD, by=ann).data["id"]
    assert len(site.waiting) == 1
    site.run()
    [mail] = server.mails
    assert (mail["to"], subjects(server)) == (["hr@example.org"], ["New in Leave request: Ann: 2026-12-01"])
    text = text_of(mail)
    assert "Ann Lee sent in “Ann: 2026-12-01”." in text
    assert "First day: 2026-12-01" in text
    assert f"https://in.example.org/forms/leave/records/{key}" in text
    html = parsed(mail).get_body(("html",))
    assert html is not None
    assert f'href="https://in.example.org/forms/leave/records/{key}"' in html.get_content()
    site.run()
    assert (len(server.mails), site.waiting) == (1, [])
    site.close()


STATES = '\nstates = { field = "status", initial = "new", moves = ["new>approved:hr", "new>rejected:hr", "rejected>new"] }'


def test_whoever_made_a_record_is_told_of_its_state_in_his_language_and_may_follow_the_link(
    server: MailServer, tmp_path: Path
) -> None:
    notify = '{ on = "approved", to = "mail:{created_by}" }'
    toml = TOML.replace("notify = [{notify}]", "notify = [{notify}]" + STATES.replace("{", "{{").replace("}", "}}"))
    site = Telling(tmp_path, server, notify, toml=toml)
    ann = site.person("ann", name="Ann Lee", grants=["forms/leave:create", "forms/leave/records:read"])
    hr = site.person("eve", name="Eve Ng", roles=["hr"])
    row = site.app.state.get("_people", "ann")
    assert row
    site.app.state.commit([app.Update("_people", "ann", row.value | {"lang": "de"})])
    key = site.create("forms/leave", RECORD, by=ann).data["id"]
    site.run()
    assert server.mails == []
    site.put(f"forms/leave/records/{key}/move", {"to": "approved", "comment": "Have fun"}, by=hr)
    site.run()
    [mail] = server.mails
    assert (mail["to"], subjects(server)) == (["ann@example.org"], ["Approved – Leave request: Ann: 01.12.2026"])
    assert "Eve Ng hat „Ann: 01.12.2026“ weitergegeben. Der Stand ist jetzt: Approved" in text_of(mail)
    assert "Have fun" in text_of(mail)
    assert f"https://in.example.org/forms/leave/records/{key}" in text_of(mail)
    site.close()
