"""Notices: who is told what of the records of a form, once and in order, and what becomes of those that cannot be sent."""

from __future__ import annotations

import itertools
import threading
import tomllib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hook_server import KEY, HookServer
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
grants = ["forms/leave/**:*", "views/**:read", "admin/outbox:*"]
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
        self.root = self.token("root", "**:*", expires_s=365 * 86_400)
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


HOOK = """
[channels.finance]
kind = "webhook"
url = "{url}"
secret = "file:secret"
"""


@pytest.fixture
def hooks(tmp_path: Path) -> Iterator[HookServer]:
    (tmp_path / "secret").write_text(KEY)
    with HookServer() as server:
        yield server


# ---- who is told what


GUARDED = (
    TOML.replace(
        "notify = [{notify}]",
        'notify = [{notify}]\nowner = {{ field = "created_by", unless = ["hr"] }}',
    )
    + 'salary = {{ type = "number", title = "Salary", read_by = ["hr"], write_by = ["hr"] }}\n'
)


def test_everybody_who_has_a_role_is_told_once_and_nobody_else(server: MailServer, tmp_path: Path) -> None:
    notify = '{ on = "create", to = "role:hr" }, { on = "create", to = "mail:{boss}" }, { on = "*", to = "mail:role:boss" }'
    toml = TOML + '[roles.boss]\ngrants = ["forms/leave/records:read"]\n'
    site = Telling(tmp_path, server, notify, toml=toml)
    ann = site.person("ann", roles=["staff"])
    for subject, roles in {"eve": ["hr", "boss"], "bo": ["boss"], "hugo": ["hr"], "sue": ["hr"]}.items():
        site.person(subject, roles=roles)
    site.patch("admin/people/sue", {"suspended": True})
    site.create("forms/leave", RECORD | {"boss": "bo"}, by=ann)
    site.run()
    site.run()
    assert sorted(mail["to"][0] for mail in server.mails) == [f"{one}@example.org" for one in ("bo", "eve", "hugo")]
    assert site.waiting == []
    site.close()


def test_who_may_not_read_the_record_is_told_nothing_of_it(server: MailServer, tmp_path: Path) -> None:
    notify = '{ on = "*", to = "mail:{boss}" }, { on = "*", to = "mail:{created_by}" }'
    site = Telling(tmp_path, server, notify, toml=GUARDED)
    ann = site.person("ann", roles=["staff"])
    bo = site.person("bo", grants=["forms/leave/records:read", "forms/leave:create"])
    assert site.items("forms/leave/records", by=bo) == []
    key = site.create("forms/leave", RECORD | {"boss": "bo@example.org"}, by=ann).data["id"]
    site.run()
    [mail] = server.mails
    assert mail["to"] == ["ann@example.org"], "and not bo, who sees none but his own"
    assert f"/forms/leave/mine/{key}" in text_of(mail)
    assert site.read(f"forms/leave/mine/{key}", by=ann).data["id"] == key
    site.delete(f"forms/leave/records/{key}")
    site.run()
    assert [mail["to"] for mail in server.mails] == [["ann@example.org"]] * 2
    assert site.waiting == []
    site.close()


def test_a_field_that_one_may_not_read_is_in_no_notice(server: MailServer, tmp_path: Path) -> None:
    notify = (
        '{ on = "*", to = "mail:{created_by}" }, { on = "*", to = "role:hr" }, { on = "*", to = "mail:out@example.org" }'
    )
    site = Telling(
        tmp_path, server, notify, toml=GUARDED.replace('name = "{{name}}: {{day}}"', 'name = "{{name}} {{salary}}"')
    )
    ann, eve = site.person("ann", roles=["staff"]), site.person("eve", roles=["hr"])
    key = site.create("forms/leave", RECORD, by=ann).data["id"]
    site.patch(f"forms/leave/records/{key}", {"day": "2026-12-02", "salary": 4711}, by=eve)
    site.patch(f"forms/leave/records/{key}", {"salary": 4712}, by=eve)
    site.run()
    site.run()
    texts = {
        one: [text_of(mail) for mail in server.mails if mail["to"] == [f"{one}@example.org"]]
        for one in ("ann", "eve", "out")
    }
    assert {one: len(found) for one, found in texts.items()} == {"ann": 2, "eve": 3, "out": 2}
    assert "Salary: 4711" in texts["eve"][1]
    assert not any("471" in text or "Salary" in text for one in ("ann", "out") for text in texts[one])
    site.close()


def test_a_change_of_roles_counts_when_the_notice_leaves(server: MailServer, tmp_path: Path) -> None:
    site = Telling(tmp_path, server, '{ on = "create", to = "mail:eve" }', toml=GUARDED)
    ann = site.person("ann", roles=["staff"])
    site.person("eve", roles=["hr"])
    site.create("forms/leave", RECORD, by=ann)
    site.patch("admin/people/eve", {"roles": ["staff"]})
    site.run()
    assert (server.mails, site.waiting) == ([], [])
    site.close()


def test_each_event_is_told_to_whom_it_is_for(server: MailServer, tmp_path: Path) -> None:
    rules = [f'{{ on = "{on}", to = "mail:{on}@example.org" }}' for on in ("create", "update", "delete", "approved", "new")]
    rules.append('{ on = "*", to = "mail:all@example.org" }')
    toml = TOML.replace("notify = [{notify}]", "notify = [{notify}]" + STATES.replace("{", "{{").replace("}", "}}"))
    site = Telling(tmp_path, server, ", ".join(rules), toml=toml)
    key = site.create("forms/leave", RECORD).data["id"]
    site.patch(f"forms/leave/records/{key}", {"day": "2026-12-03"})
    site.patch(f"forms/leave/records/{key}", {"day": "2026-12-03"})  # which changes nothing
    site.put(f"forms/leave/records/{key}/move", {"to": "approved"})
    site.delete(f"forms/leave/records/{key}")
    site.run()
    told = [mail["to"][0].partition("@")[0] for mail in server.mails]
    assert sorted(told) == sorted(["create", "new", "update", "approved", "delete", "all", "all", "all", "all"])
    [deleted] = [mail for mail in server.mails if mail["to"] == ["delete@example.org"]]
    assert "https://" not in text_of(deleted), "there is nothing left to lead to"
    site.close()


def test_a_comment_is_told_with_what_it_says(server: MailServer, hooks: HookServer, tmp_path: Path) -> None:
    notify = '{ on = "comment", to = "mail:{created_by}" }, { on = "comment", to = "finance" }'
    toml = GUARDED.replace("notify =", "comments = true\nnotify =")
    site = Telling(tmp_path, server, notify, toml=toml, more=HOOK.format(url=hooks.url))
    ann, eve = site.person("ann", roles=["staff"]), site.person("eve", name="Eve Ng", roles=["hr"])
    key = site.create("forms/leave", RECORD, by=ann).data["id"]
    site.create(f"forms/leave/records/{key}/comments", {"text": "Which hours?\nAll day?"}, by=eve)
    site.run()
    [mail] = server.mails
    assert (mail["to"], subjects(server)) == (["ann@example.org"], ["New comment in Leave request: Ann: 2026-12-01"])
    said = text_of(mail).replace("\r\n", "\n")
    assert "Eve Ng wrote about “Ann: 2026-12-01”:\n\nWhich hours?\nAll day?\n" in said
    assert f"/forms/leave/mine/{key}" in text_of(mail)
    assert hooks.bodies[0]["data"]["comment"] == "Which hours?\nAll day?"
    site.close()


def test_who_is_erased_is_in_no_notice_any_more(server: MailServer, tmp_path: Path) -> None:
    notify = '{ on = "*", to = "mail:hr@example.org" }, { on = "create", to = "mail:{created_by}" }'
    site = Telling(tmp_path, server, notify)
    ann, bo = site.person("ann", roles=["staff"]), site.person("bo", roles=["staff"])
    site.create("forms/leave", RECORD, by=ann)
    site.create("forms/leave", RECORD | {"name": "Bo"}, by=bo)
    plugin("personal_data").erase(site.app, "ann", app.Caller("cli:root"))
    assert {one.value["facts"]["by"] for one in site.waiting} == {"bo"}
    site.run()
    assert len(server.mails) == 2
    site.close()


def test_a_batch_tells_of_each_record_and_one_that_is_refused_of_none(server: MailServer, tmp_path: Path) -> None:
    site = Telling(tmp_path, server, '{ on = "create", to = "mail:hr@example.org" }')
    site.create("forms/leave", [RECORD, RECORD | {"name": "Bo"}])
    with pytest.raises(app.Invalid):
        site.create("forms/leave", [RECORD, {"day": "never"}])
    with pytest.raises(RuntimeError):
        site.create("forms/leave", RECORD, guard=lambda: (_ for _ in ()).throw(RuntimeError("lost")))
    site.create("forms/leave", RECORD, idempotency_key="k")
    site.create("forms/leave", RECORD, idempotency_key="k")
    site.run()
    assert len(server.mails) == 3
    site.close()


# ---- what may go wrong


def test_a_program_is_told_all_but_what_only_some_may_read(server: MailServer, hooks: HookServer, tmp_path: Path) -> None:
    notify = '{ on = "*", to = "finance" }'
    site = Telling(tmp_path, server, notify, toml=GUARDED, more=HOOK.format(url=hooks.url))
    ann = site.person("ann", roles=["staff"])
    key = site.create("forms/leave", RECORD, by=ann).data["id"]
    site.patch(f"forms/leave/records/{key}", {"salary": 4711, "day": "2027-01-04"})
    site.patch(f"forms/leave/records/{key}", {"salary": 4712})
    site.run()
    assert [body["type"] for body in hooks.bodies] == ["forms.leave.create", "forms.leave.update"]
    data = hooks.bodies[1]["data"]
    assert (data["resource"], data["event"], data["by"]) == (f"forms/leave/records/{key}", "update", "root")
    assert data["changed"] == ["day"]
    assert data["url"] == f"https://in.example.org/forms/leave/records/{key}"
    assert {name: data["record"][name] for name in ("id", "version", "name", "day", "created_by")} == {
        "id": key, "version": 2, "name": "Ann", "day": "2027-01-04", "created_by": "ann",
    }  # fmt: skip
    assert "salary" not in data["record"]
    assert len(set(hooks.ids)) == 2
    site.close()


def test_what_fails_comes_again_with_the_same_id_and_what_follows_of_its_record_waits(
    server: MailServer, hooks: HookServer, tmp_path: Path
) -> None:
    site = Telling(tmp_path, server, '{ on = "*", to = "finance" }', more=HOOK.format(url=hooks.url))
    one, other = (site.create("forms/leave", RECORD).data["id"] for _ in range(2))
    site.patch(f"forms/leave/records/{one}", {"day": "2027-01-04"})
    site.patch(f"forms/leave/records/{one}", {"day": "2027-01-05"})
    hooks.answers = [500]
    site.run()
    told = [(body["data"]["record"]["id"], body["data"]["record"]["version"]) for body in hooks.bodies]
    assert told == [(one, 1), (other, 1)], "the other record goes on, and this one waits"
    hooks.answers = [503]
    site.run(after_s=20)
    site.run(after_s=40)
    told = [(body["data"]["record"]["id"], body["data"]["record"]["version"]) for body in hooks.bodies]
    assert told == [(one, 1), (other, 1), (one, 1), (one, 1), (one, 2), (one, 3)]
    assert hooks.ids[0] == hooks.ids[2] == hooks.ids[3]
    assert site.waiting == []
    site.close()


def test_the_first_retry_comes_within_twenty_seconds_and_the_last_after_three_days(
    server: MailServer, hooks: HookServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    site = Telling(tmp_path, server, '{ on = "create", to = "finance" }', more=HOOK.format(url=hooks.url))
    site.create("forms/leave", RECORD)
    began, waits = site.time.now, []
    hooks.answers = [500] * 1000
    site.run()
    while site.waiting[0].value["state"] == "waiting":
        waits.append(site.waiting[0].value["next_at"] - site.time.now)
        site.run(after_s=waits[-1])
        assert site.time.now - began < 4 * 86_400
    assert 10 < waits[0] <= 20
    assert all(1.4 < later / sooner < 2.8 for sooner, later in itertools.pairwise(waits[:6]))
    assert 2.9 * 86_400 < site.time.now - began < 3.1 * 86_400
    assert len(set(hooks.ids)) == 1
    assert "is given up after" in caplog.text
    site.close()


def test_a_dead_one_is_loud_and_can_be_tried_again_or_taken_out(
    server: MailServer, hooks: HookServer, tmp_path: Path
) -> None:
    site = Telling(tmp_path, server, '{ on = "create", to = "finance" }', more=HOOK.format(url=hooks.url))
    keys = [site.create("forms/leave", RECORD).data["id"] for _ in range(2)]
    hooks.answers = [410, 410]
    site.run()
    site.run(after_s=86_400)
    assert len(hooks.got) == 2, "nobody is asked again by himself"
    status, told = plugin("readiness").told(site.app, {}, "")
    assert (status, told["status"], told["outbox"]) == (200, "degraded", "2 notices could not be sent: see admin/outbox")
    dead = site.items("admin/outbox?state=dead")
    assert [one["about"] for one in reversed(dead)] == [f"forms/leave/records/{key}" for key in keys]
    assert {(one["channel"], one["state"], one["tries"], one["next_at"]) for one in dead} == {("finance", "dead", 1, None)}
    assert "answers 410" in dead[0]["why"]
    first, second = dead[1]["id"], dead[0]["id"]
    answer = site.create(f"admin/outbox/{first}/retry")
    assert (answer.data["state"], answer.data["id"]) == ("waiting", first)
    site.run()
    assert hooks.ids.count(first) == 2
    site.delete(f"admin/outbox/{second}")
    assert site.items("admin/outbox") == []
    with pytest.raises(app.NotFound):
        site.create(f"admin/outbox/{second}/retry")
    assert [one["resource"] for one in site.audit() if "outbox" in one["resource"]] == [
        f"admin/outbox/{first}/retry", f"admin/outbox/{second}",
    ]  # fmt: skip
    assert plugin("readiness").told(site.app, {}, "")[1]["status"] == "ok"
    site.close()


def test_a_channel_that_is_down_or_slow_holds_up_no_other_one(server: MailServer, hooks: HookServer, tmp_path: Path) -> None:
    reached = threading.Event()

    def slow(body: bytes) -> int:
        reached.wait(10)
        return 204

    notify = '{ on = "create", to = "finance" }, { on = "create", to = "mail:hr@example.org" }'
    site = Telling(tmp_path, server, notify, more=HOOK.format(url=hooks.url))
    site.create("forms/leave", RECORD)
    hooks.answers = [slow]
    job = threading.Thread(target=site.run)
    job.start()
    server.wait_for(1)
    site.create("forms/leave", RECORD)
    server.wait_for(2)
    assert len(hooks.got) == 1
    reached.set()
    job.join(20)
    assert not job.is_alive()
    site.run()
    assert (len(hooks.got), site.waiting) == (2, [])
    site.close()


def test_one_that_brings_the_receiver_down_does_not_keep_the_others_from_it(
    server: MailServer, hooks: HookServer, tmp_path: Path
) -> None:
    site = Telling(tmp_path, server, '{ on = "create", to = "finance" }', more=HOOK.format(url=hooks.url))
    for name in ("poison", "Ann", "Bo"):
        site.create("forms/leave", RECORD | {"name": name})

    def answer(body: bytes) -> int:
        return 429 if b"poison" in body else 204

    hooks.answers = [answer] * 100
    for _ in range(4):
        site.run(after_s=60)
    told = [body["data"]["record"]["name"] for body in hooks.bodies]
    assert {"Ann", "Bo"} < set(told)
    assert [one.value["state"] for one in site.waiting] == ["waiting"]
    site.close()


def test_greylisting_and_refusals_of_a_mail_server(server: MailServer, tmp_path: Path) -> None:
    site = Telling(tmp_path, server, '{ on = "create", to = "mail:{boss}" }')
    server.answers(RCPT=["451 4.7.1 Greylisted", "550 5.1.1 No such user"])
    for name in ("grey", "none", "fine"):
        site.create("forms/leave", RECORD | {"boss": f"{name}@example.org"})
    site.run()
    assert [mail["to"] for mail in server.mails] == [["fine@example.org"]]
    states = {one.value["to"]: one.value["state"] for one in site.waiting}
    assert states == {"grey@example.org": "waiting", "none@example.org": "dead"}
    site.run(after_s=20)
    assert [mail["to"] for mail in server.mails] == [["fine@example.org"], ["grey@example.org"]]
    site.close()


# ---- reminders and digests


def with_states(toml: str = TOML) -> str:
    return toml.replace("notify = [{notify}]", "notify = [{notify}]" + STATES.replace("{", "{{").replace("}", "}}"))


def test_a_reminder_comes_once_for_each_time_that_a_record_came_into_the_state(server: MailServer, tmp_path: Path) -> None:
    site = Telling(tmp_path, server, '{ after = "3d", state = "new", to = "role:hr" }', toml=with_states())
    site.person("eve", roles=["hr"])
    kept, moved, back, gone = (
        site.create("forms/leave", RECORD | {"name": n}).data["id"] for n in ("kept", "moved", "back", "gone")
    )
    day = 86_400
    site.put(f"forms/leave/records/{moved}/move", {"to": "approved"})
    site.put(f"forms/leave/records/{back}/move", {"to": "rejected"})
    site.patch(f"forms/leave/records/{kept}", {"day": "2027-02-01"})
    site.delete(f"forms/leave/records/{gone}")
    assert {one["state"] for one in site.items("admin/outbox?show=planned")} == {"planned"}
    assert site.items("admin/outbox") == []
    site.run(after_s=2 * day)
    site.put(f"forms/leave/records/{back}/move", {"to": "new"})
    site.run(after_s=day - 10)
    assert server.mails == []
    for _ in range(3):
        site.run(after_s=20)
    assert subjects(server) == ["Reminder – Leave request: kept: 2027-02-01"]
    assert "It still is: New" in text_of(server.mails[0])
    for _ in range(3):
        site.run(after_s=2 * day)
    assert subjects(server)[1:] == ["Reminder – Leave request: back: 2026-12-01"]
    assert site.waiting == []
    site.close()


DIGEST = """
[views.open_leave]
from = "forms/leave"
title = "Open requests"
columns = { name = {}, day = {} }
where = [{ field = "name", ne = "done" }]
"""


def digested(to: str = "role:hr", every: str = "monday 08:00", toml: str = GUARDED) -> str:
    line = f'digest = {{{{ view = "views/open_leave", every = "{every}", to = "{to}" }}}}'
    return toml.replace("notify = [{notify}]", "notify = [{notify}]\n" + line).replace(
        "[site]", '[site]\ntimezone = "Europe/Copenhagen"'
    )


def test_a_view_is_sent_once_at_its_time_late_if_it_was_missed_and_not_while_it_is_empty(
    server: MailServer, tmp_path: Path
) -> None:
    site = Telling(tmp_path, server, "", toml=digested(), more=DIGEST)
    site.person("eve", roles=["hr"])
    week = 7 * 86_400
    monday = datetime(2027, 1, 18, 7, tzinfo=UTC).timestamp()  # 08:00 in Copenhagen
    site.time.now = monday - 3 * week
    site.run()
    site.time.now = monday - 10
    site.run()
    site.run()
    assert server.mails == [], "it was empty on the two mondays before, and before that nobody asked for it"
    site.create("forms/leave", RECORD | {"salary": 4711})
    site.run(after_s=5)
    assert server.mails == []
    site.run(after_s=6)
    site.run()
    [mail] = server.mails
    assert (mail["to"], subjects(server)) == (["eve@example.org"], ["Open requests: 1 entry"])
    assert "- Who: Ann; First day: 2026-12-01" in text_of(mail)
    assert "https://in.example.org/views/open_leave" in text_of(mail)
    nodes = [plugin("digests").Digests({}, site.app.config) for _ in range(3)]
    site.time.now += 2 * week + 3600  # the server was down for two mondays
    for node in nodes:
        node.run(site.app, site.stop)
    site.run()
    site.run()
    assert len(server.mails) == 2
    site.close()


def test_a_digest_shows_each_what_he_may_see(server: MailServer, tmp_path: Path) -> None:
    more = DIGEST.replace("day = {}", "day = {}, salary = {}")
    site = Telling(tmp_path, server, "", toml=digested("mail:role:staff"), more=more)
    staff = {"grants": ["views/open_leave:read"], "roles": ["staff"]}
    ann, bo = (site.person(name, **staff) for name in ("ann", "bo"))
    site.person("cy", roles=["staff"])
    site.run()
    site.create("forms/leave", RECORD | {"name": "Of ann"}, by=ann)
    site.create("forms/leave", RECORD | {"name": "Of bo"}, by=bo)
    site.run(after_s=8 * 86_400)
    site.run()
    told = {mail["to"][0]: text_of(mail) for mail in server.mails}
    assert told.keys() == {"ann@example.org", "bo@example.org"}, "cy may not see the view"
    assert "Of ann" in told["ann@example.org"]
    assert "Of bo" not in told["ann@example.org"]
    assert "Salary" not in told["ann@example.org"]
    site.close()


def test_a_program_and_an_address_get_a_view_without_fields_of_some(
    server: MailServer, hooks: HookServer, tmp_path: Path
) -> None:
    more = DIGEST.replace("day = {}", "day = {}, salary = {}") + HOOK.format(url=hooks.url)
    site = Telling(tmp_path, server, "", toml=digested("finance", "day 06:30"), more=more)
    site.run()
    site.create("forms/leave", RECORD | {"salary": 4711})
    site.run(after_s=86_400)
    [body] = hooks.bodies
    assert body["type"] == "views.open_leave.digest"
    assert body["data"]["rows"] == [{"name": "Ann", "day": "2026-12-01"}]
    site.close()


@pytest.mark.parametrize(
    ("every", "now", "due"),
    [
        ("monday 08:00", "2027-01-18T07:59:59", "2027-01-11T08:00:00"),
        ("monday 08:00", "2027-01-18T08:00:00", "2027-01-18T08:00:00"),
        ("Sunday 23:05", "2027-01-18T00:00:00", "2027-01-17T23:05:00"),
        ("weekday 9:00", "2027-01-17T12:00:00", "2027-01-15T09:00:00"),
        ("day 00:00", "2027-01-17T12:00:00", "2027-01-17T00:00:00"),
        ("month 06:00", "2027-01-01T05:00:00", "2026-12-01T06:00:00"),
        ("sunday 02:30", "2027-03-28T12:00:00", "2027-03-28T03:30:00"),  # which the clocks skip
        ("sunday 02:30", "2027-10-31T12:00:00", "2027-10-31T02:30:00"),  # which comes twice: the first one
    ],
)
def test_when_a_digest_is_due(every: str, now: str, due: str) -> None:
    digests, zone = plugin("digests"), ZoneInfo("Europe/Copenhagen")
    at = datetime.fromisoformat(now).replace(tzinfo=zone).timestamp()
    found = digests.latest(digests.every(every), at, zone)
    assert datetime.fromtimestamp(found, zone).strftime("%Y-%m-%dT%H:%M:%S") == due


# ---- declarations


def faults(tmp_path: Path, notify: str = "", *, toml: str = TOML, provider: str = PROVIDERS["sql"]) -> list[str]:
    raw = tomllib.loads(
        toml.format(url="smtp://127.0.0.1:1", notify=notify) + provider + HOOK.format(url="http://localhost/")
    )
    (tmp_path / "secret").write_text(KEY)
    registry = app.load_registry(tmp_path)
    config = app.read_config(
        raw, tmp_path, "app.toml", registry.provider_settings, registry.tables, registry.channel_settings
    )
    found = app.App(config, registry, strict=False).faults
    return [f"{one.pointer}: {one.detail}" for one in found]


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ('{ on = "create", to = "mal:a@example.org" }', "notify.0.to: is 'mal:a@example.org': no channel is named mal"),
        ('{ on = "create", to = "fnance" }', "notify.0.to: is 'fnance': no channel is named fnance; did you mean finance?"),
        ('{ on = "create", to = "mail" }', "notify.0.to: is 'mail': say to whom"),
        ('{ on = "create", to = "finance:ann" }', "notify.0.to: is 'finance:ann': finance has one place, write 'finance'"),
        ('{ on = "create", to = "role:hrr" }', "notify.0.to: is 'role:hrr': the role hrr is not declared in [roles]; did"),
        ('{ on = "create", to = "mail:{bos}" }', "notify.0.to: is 'mail:{bos}': {bos} is no text field of this form; did"),
        ('{ on = "create", to = "mail:a@b@c" }', "notify.0.to: is 'mail:a@b@c': must be one address"),
        ('{ on = "created", to = "finance" }', "notify.0.on: is 'created', which is none of *, create, update"),
        ('{ on = "approved", to = "finance" }', "notify.0.on: is 'approved', which is none of"),
        ('{ to = "finance" }', 'notify.0: must be { on = "create"'),
        ('{ on = "create", after = "3d", state = "new", to = "finance" }', 'notify.0: must be { on = "create"'),
        ('{ after = "3d", to = "finance" }', 'notify.0: must be { on = "create"'),
        ('{ after = "3d", state = "new", to = "finance" }', "notify.0.state: is 'new', which needs states in this form"),
        ('{ after = "soon", state = "new", to = "finance" }', "notify.0.after: must be a duration"),
        ('{ on = "create" }', "notify.0.to: is missing"),
        ('{ on = "create", whom = "finance", to = "finance" }', "notify.0.whom: is not a setting"),
    ],
)  # fmt: skip
def test_a_notice_that_cannot_work_is_a_fault_at_its_place(tmp_path: Path, rule: str, said: str) -> None:
    found = faults(tmp_path, rule)
    assert len(found) == 1, found
    assert found[0].startswith(f"forms.leave.{said}")


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ('view = "views/opn", every = "day 08:00", to = "finance"', "digest.view: names 'views/opn', which is no view"),
        ('view = "forms/leave", every = "day 08:00", to = "finance"', "digest.view: names 'forms/leave', which is no view"),
        ('view = "views/open_leave", every = "mondays 8", to = "finance"', "digest.every: must be a day and a time"),
        ('view = "views/open_leave", every = "mnday 08:00", to = "finance"', "digest.every: must be a day and a time"),
        (
            'view = "views/open_leave", every = "day 08:00", to = "mail:{boss}"',
            "digest.to: is 'mail:{boss}': a digest is of no",
        ),
        ('view = "views/open_leave", every = "day 08:00"', "digest.to: is missing"),
    ],
)
def test_a_digest_that_cannot_work_is_a_fault_at_its_place(tmp_path: Path, told: str, said: str) -> None:
    toml = TOML.replace("notify = [{notify}]", f"digest = {{{{ {told.replace('{', '{{').replace('}', '}}')} }}}}")
    found = faults(tmp_path, toml=toml + DIGEST.replace("{", "{{").replace("}", "}}"))
    assert len(found) == 1, found
    assert found[0].startswith(f"forms.leave.{said}")


def test_check_warns_of_roles_that_may_not_read_what_they_are_told_of(tmp_path: Path, server: MailServer) -> None:
    notify = '{ on = "create", to = "role:staff" }, { on = "create", to = "role:hr" }'
    site = Telling(tmp_path, server, notify, toml=digested("mail:role:staff"), more=DIGEST)
    told = [one for one in site.app.inspection.warnings() if one.startswith("forms.")]
    assert [one.partition(": ")[0] for one in told] == ["forms.leave.notify.0", "forms.leave.digest"]
    assert told[1].endswith("the role staff may not read views/open_leave, and is told nothing by that alone")
    site.close()


def test_a_provider_without_commits_of_several_records_is_refused(tmp_path: Path) -> None:
    generic = '[providers.main]\nkind = "sql"\nurl = "sqlite:///app.db"\n'
    generic += '[providers.far]\nkind = "generic"\nurl = "http://localhost:1/api"\npreset = "json-server"\n'
    toml = TOML.replace("notify = [", 'provider = "far"\nnotify = [')
    [fault] = faults(tmp_path, '{ on = "create", to = "finance" }', toml=toml, provider=generic)
    assert fault.startswith("forms.leave.notify: needs a provider that stores a record and its notices in one commit")
