"""Several rows of a list at once (plugins/several.py): moved on, deleted, taken along, each by itself, with one report."""

from __future__ import annotations

import html
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import urlencode

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from http_client import FORM, PAGE, Reply, Site

TOML = """
[site]
title = "Operations"
[http]
hosts = ["localhost"]
[providers.main]
kind = "sql"
url = "sqlite:///app.db"
[roles.hr]
grants = ["forms/leave/records:read"]
[roles.boss]
grants = []
[forms.leave]
title = "Leave"
name = "{who}: {days}"
owner = { field = "created_by", unless = "hr" }
[forms.leave.states]
field = "status"
initial = "new"
moves = ["new>approved:hr", "new>rejected:hr", "approved>paid:hr", "rejected>new", "approved>new:hr"]
badges = { approved = "good", rejected = "bad" }
[forms.leave.fields]
who = { type = "string", required = true }
days = { type = "number", required = true }
salary = { type = "number", read_by = "boss" }
"""


class Office:
    """A site with what ann has asked for, and people of hr who decide."""

    def __init__(self, folder: Path) -> None:
        self.site = Site(folder, edit=lambda _: TOML)
        self.ann = self.site.token("forms/leave:create", "forms/leave/mine:update,delete", subject="ann")
        self.hr, self.bo = (self.site.token(roles=["hr"], subject=one) for one in ("maria", "bo"))
        self.root = self.site.token("**:*", subject="root")

    def asked_for(self, count: int) -> list[str]:
        sent = [{"who": f"W{n}", "days": n} for n in range(count)]
        made = self.site.send("/forms/leave", sent, self.ann)
        return [one["id"] for one in made.json["items"]]

    def page(self, token: str, address: str = "/forms/leave/records") -> Reply:
        return self.site.get(address, token, **PAGE)

    def tick(self, shown: Reply, token: str, do: str, keys: Sequence[str] | None = None) -> Reply:
        """Press a button below the list with these rows ticked; None ticks the box of all."""
        action = html.unescape(re.search(r'id="several" method="post" action="([^"]*)"', shown.text)[1])
        boxes = re.findall(r'name="id" form="several" value="([^"]*)"', shown.text)
        ticked = [one for one in boxes if keys and one.partition(".")[2] in keys]
        if keys is None:
            ticked = re.findall(r'name="id" value="([^"]*)" data-all', shown.text)
        return self.send(action, [*(("id", one) for one in ticked), ("do", do)], token)

    def go_on(self, question: Reply, token: str, *, but: Sequence[str] = (), **pressed: str) -> Reply:
        """Press a button of the page that asks once more."""
        action = html.unescape(re.search(r'several-asked" method="post" action="([^"]*)"', question.text)[1])
        rows = re.findall(r'name="id" value="([^"]*)" checked', question.text)
        do = re.search(r'name="do" value="(\w+)"', question.text)[1]
        left = [("id", one) for one in rows if one.partition(".")[2] not in but]
        return self.send(action, [*left, ("do", do), *pressed.items()], token)

    def send(self, action: str, pairs: Sequence[tuple[str, str]], token: str) -> Reply:
        return self.site.ask("POST", action, urlencode(pairs), FORM | PAGE | {"Sec-Fetch-Site": "same-origin"}, token=token)

    def states(self) -> dict[str, str]:
        rows = self.site.get("/forms/leave/records?_size=1000", self.root).json["items"]
        return {one["id"]: one["status"] for one in rows}


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    made = Office(tmp_path)
    yield made
    made.site.close()


def words(reply: Reply) -> str:
    return " ".join(html.unescape(re.sub("<[^>]*>", " ", reply.text)).split())


def targets(question: Reply) -> list[str]:
    return re.findall(r'name="to" value="(\w+)"', question.text)


def test_the_ticked_rows_are_moved_and_the_list_says_so(office: Office) -> None:
    keys = office.asked_for(3)
    question = office.tick(office.page(office.hr, "/forms/leave/records?_sort=days"), office.hr, "move", keys[:2])
    assert question.status == 200, question.text
    assert "Move 2 records" in words(question)
    assert "W0: 0" in words(question)
    assert "W2: 2" not in words(question)
    assert targets(question) == ["approved", "rejected"]
    done = office.go_on(question, office.hr, to="approved", comment="Enjoy")
    assert (done.status, done["Location"]) == (303, "/forms/leave/records?_sort=days")
    assert "2 records are now: Approved." in office.site.get(done["Location"], office.hr, **PAGE, Cookie=done.cookie).text
    assert [office.states()[one] for one in keys] == ["approved", "approved", "new"]
