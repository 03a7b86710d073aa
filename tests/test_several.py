"""Several rows of a list at once (plugins/several.py): moved on, deleted, taken along, each by itself, with one report."""

from __future__ import annotations

import csv
import html
import io
import re
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from urllib.parse import urlencode

import openpyxl
import pytest

import app

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


def at_once(*works: Callable[[], None]) -> None:
    racers = [threading.Thread(target=one) for one in works]
    for one in racers:
        one.start()
    for one in racers:
        one.join()


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


def test_without_scripts_the_box_of_all_takes_every_row_of_the_page(office: Office) -> None:
    office.asked_for(3)
    question = office.tick(office.page(office.hr, "/forms/leave/records?_size=2"), office.hr, "move")
    assert "Move 2 records" in words(question)
    assert office.go_on(question, office.hr, to="rejected").status == 303
    assert sorted(office.states().values()) == ["new", "rejected", "rejected"]


def test_only_moves_that_every_row_allows_are_offered_and_rows_can_be_left_out(office: Office) -> None:
    keys = office.asked_for(3)
    office.go_on(office.tick(office.page(office.hr), office.hr, "move", keys[:1]), office.hr, to="approved")
    question = office.tick(office.page(office.hr), office.hr, "move", keys)
    assert targets(question) == []
    assert "There is no move that all of these can make: New (2), Approved (1)." in words(question)
    fewer = office.go_on(question, office.hr, but=keys[:1])
    assert targets(fewer) == ["approved", "rejected"]
    office.go_on(fewer, office.hr, to="approved", but=keys[2:])
    assert [office.states()[one] for one in keys] == ["approved", "approved", "new"]
    left = office.site.get("/forms/leave/records?status=new", office.hr, **PAGE)
    assert office.tick(left, office.hr, "move", []).status == 303  # nothing was ticked: the list says so


def test_boxes_stand_where_the_reader_may_do_something(office: Office) -> None:
    office.asked_for(1)
    reader = office.site.token("forms/leave/records:read", roles=[], subject="ann")
    for token, address, buttons in (
        (office.hr, "/forms/leave/records", ["move", "csv", "xlsx"]),
        (office.root, "/forms/leave/records", ["move", "delete", "csv", "xlsx"]),
        (office.ann, "/forms/leave/mine", ["move", "delete", "csv", "xlsx"]),
        (reader, "/forms/leave/records", []),
    ):
        shown = office.page(token, address).text
        bar = re.search(r'<form class="several".*?</form>', shown, re.DOTALL)
        assert re.findall(r'name="do" value="(\w+)"', bar[0] if bar else "") == buttons, address
        assert ('class="tick"' in shown) is bool(buttons)


def test_what_goes_is_named_and_counted_before_it_is_deleted(office: Office) -> None:
    keys = office.asked_for(3)
    question = office.tick(office.page(office.root), office.root, "delete", keys[:2])
    assert "Delete 2 records?" in words(question)
    assert "W0: 0" in words(question)
    assert len(office.states()) == 3
    done = office.go_on(question, office.root, sure="1")
    assert (done.status, done["Location"]) == (303, "/forms/leave/records")
    assert list(office.states()) == keys[2:]
    audit = office.site.get("/admin/audit?action=delete", office.root).json["items"]
    assert {one["record"] for one in audit} == set(keys[:2])


def press(office: Office, question: Reply, replies: list[Reply], pressed: dict[str, str]) -> None:
    replies.append(office.go_on(question, office.root, **pressed))


def test_a_double_click_moves_and_deletes_once(office: Office) -> None:
    keys = office.asked_for(4)
    for do, pressed in (("move", {"to": "approved"}), ("delete", {"sure": "1"})):
        question = office.tick(office.page(office.root), office.root, do, keys[:2])
        replies = list[Reply]()
        press = partial(
            lambda page, said, how: said.append(office.go_on(page, office.root, **how)), question, replies, pressed
        )
        at_once(press, press)
        assert [one.status for one in replies] == [303, 303], words(replies[-1])
        entries = office.site.get("/admin/audit?action__in=update,delete&outcome=ok", office.root).json["items"]
        assert len([one for one in entries if one["record"] in keys]) == (2 if do == "move" else 4)
    assert sorted(office.states()) == sorted(keys[2:])


def test_of_two_people_who_move_the_same_rows_each_row_has_one_and_the_report_says_who(office: Office) -> None:
    keys = office.asked_for(30)
    pages = {one: office.tick(office.page(one), one, "move", keys) for one in (office.hr, office.bo)}
    replies: dict[str, Reply] = {}

    def move(who: str, to: str) -> None:
        replies[who] = office.go_on(pages[who], who, to=to)

    at_once(lambda: move(office.hr, "approved"), lambda: move(office.bo, "rejected"))
    states = list(office.states().values())
    assert set(states) <= {"approved", "rejected"}
    entries = office.site.get("/admin/audit?action=update&outcome=ok&_size=1000", office.root).json["items"]
    assert sorted(one["record"] for one in entries) == sorted(keys)
    for who, own, other in ((office.hr, "approved", "bo"), (office.bo, "rejected", "maria")):
        missed = 30 - states.count(own)
        reply = replies[who]
        assert reply.status == (200 if missed else 303)
        if missed:
            assert f"{missed} of 30" in words(reply)
            assert words(reply).count(f"Somebody was faster: {other} moved this to") == missed
    assert 200 in [one.status for one in replies.values()]


def test_rows_that_are_gone_changed_or_forbidden_are_named_and_the_others_are_done(office: Office) -> None:
    keys = office.asked_for(4)
    question = office.tick(office.page(office.ann, "/forms/leave/mine"), office.ann, "delete", keys)
    site = office.site
    assert site.ask("DELETE", f"/forms/leave/records/{keys[0]}", token=office.root).status == 204
    assert site.send(f"/forms/leave/records/{keys[1]}", {"days": 9}, office.root, "PATCH").status == 200
    assert site.send(f"/forms/leave/records/{keys[2]}/move", {"to": "approved"}, office.hr).status == 200
    report = office.go_on(question, office.ann, sure="1")
    assert report.status == 200
    said = words(report)
    assert "3 of 4 were not done" in said
    assert "1 record was deleted." in said
    assert "It is no longer there." in said
    assert "W1: 9 It was changed after you opened the list." in said
    assert sorted(office.states()) == sorted(keys[1:3])
    reader = site.token("forms/leave/records:read,delete", subject="ann")
    late = office.tick(office.page(reader), reader, "delete", keys[1:2])
    weaker = site.token("forms/leave/records:read", subject="ann")
    refused = office.go_on(late, weaker, sure="1")
    assert "You may not delete this." in words(refused)
    assert keys[1] in office.states()


def test_nothing_is_told_or_done_of_rows_that_are_not_there_for_the_caller(office: Office) -> None:
    keys = office.asked_for(1)
    other = office.site.token("forms/leave:create,read,delete", "forms/leave/mine:update,delete", subject="eve")
    for address in ("/forms/leave/several", "/forms/leave/several?_of=mine"):
        for do, pressed in (("move", ("to", "new")), ("delete", ("sure", "1")), ("delete", ("x", "")), ("csv", ("x", ""))):
            reply = office.send(address, [("id", f"1.{keys[0]}"), ("do", do), pressed], other)
            assert reply.status in (200, 303), reply.text
            assert "W0" not in words(reply)
        made = office.site.send(address, {"do": "delete", "rows": [keys[0]]}, other)
        assert (made.status, made.json["done"], made.json["left"][0]["status"]) == (200, [], 404)
    assert keys[0] in office.states()
    assert office.site.send("/forms/leave/several?_of=mine", {"do": "delete", "rows": ["x"]}).status == 401
    assert office.site.send("/forms/leave/several", {"do": "delete", "rows": ["x"]}).status == 401
    stranger = office.site.token("forms/other:*", subject="ann")
    assert office.site.send("/forms/leave/several", {"do": "delete", "rows": keys}, stranger).status == 403


def test_a_thousand_rows_are_moved_in_one_go_and_no_more_are_taken(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app.plugin("several"), "_MOST_S", 300.0)  # however busy the machine is
    office.asked_for(1000)
    listed = office.page(office.hr, "/forms/leave/records?_size=1000")
    question = office.tick(listed, office.hr, "move")
    assert "Move 1,000 records" in words(question) or "Move 1000 records" in words(question)
    done = office.go_on(question, office.hr, to="approved")
    assert done.status == 303, words(done)[:500]
    assert set(office.states().values()) == {"approved"}
    more = [("id", f"1.{n}") for n in range(1001)]
    assert office.send("/forms/leave/several", [*more, ("do", "move")], office.hr).status == 400
    refused = office.site.send("/forms/leave/several", {"do": "delete", "rows": ["x"] * 1001}, office.hr)
    assert (refused.status, refused.json["errors"][0]["pointer"]) == (422, "/rows")


def test_the_time_is_bounded_and_what_it_was_not_enough_for_is_named(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = office.asked_for(3)
    monkeypatch.setattr(app.plugin("several"), "_MOST_S", -1.0)
    reply = office.site.send("/forms/leave/several", {"do": "delete", "rows": keys}, office.root)
    assert [one["code"] for one in reply.json["left"]] == ["unavailable"] * 3
    assert len(office.states()) == 3


def test_the_ticked_rows_are_taken_along_as_the_list_shows_them(office: Office) -> None:
    keys = office.asked_for(4)
    listed = office.page(office.hr, "/forms/leave/records?_sort=-days&_columns=who,days")
    taken = office.tick(listed, office.hr, "csv", keys[1:3])
    assert taken.text.splitlines() == ["who,days", "W2,2", "W1,1"]
    assert taken["Content-Disposition"].endswith("leave.csv")
    book = office.tick(office.page(office.hr), office.hr, "xlsx", keys[1:3])
    with zipfile.ZipFile(io.BytesIO(book.body)) as sheets:
        text = "".join(sheets.read(name).decode() for name in sheets.namelist() if name.endswith(".xml"))
    assert ">W1<" in text
    assert ">W3<" not in text
    assert "salary" not in text.lower()
    listed = office.page(office.hr, "/forms/leave/records?_sort=-days&who__contains=W&_size=100")
    book = office.tick(listed, office.hr, "xlsx", keys[1:3])
    facts = [words for _, words in openpyxl.load_workbook(io.BytesIO(book.body)).worksheets[1].values]
    assert facts[1:5] == ["Ticked: 2", "Who contains “W”", "Days, descending", "maria"], facts
    assert facts[-1].endswith("/forms/leave/records?_sort=-days&who__contains=W"), facts
    mine = office.tick(office.page(office.ann, "/forms/leave/mine"), office.ann, "csv", keys[:1])
    assert [row["who"] for row in csv.DictReader(io.StringIO(mine.text))] == ["W0"]


def test_programs_read_what_became_of_each_row(office: Office) -> None:
    keys = office.asked_for(3)
    sent = {"do": "move", "rows": [keys[0], {"id": keys[1], "version": 7}, "nothing"], "to": "approved", "comment": "Yes"}
    first = office.site.send("/forms/leave/several", sent, office.hr, Idempotency_Key="k")
    assert (first.status, first.json["asked"]) == (200, 3)
    assert first.json["done"] == [{"id": keys[0], "name": "W0: 0"}]
    assert [(one["id"], one["status"]) for one in first.json["left"]] == [(keys[1], 412), ("nothing", 404)]
    again = office.site.send("/forms/leave/several", sent, office.hr, Idempotency_Key="k")
    assert [one["id"] for one in again.json["done"]] == keys[:1]
    assert office.site.get(f"/forms/leave/records/{keys[0]}", office.hr).json["version"] == 2
    facts = office.site.get("/forms/leave/several", office.hr).json
    assert facts == {"do": ["move", "delete"], "most_rows": 1000}
    for wrong, place in (
        ({"do": "x"}, "/do"), ({"rows": []}, "/rows"), ({"rows": [5]}, "/rows/0"), ({"rows": ["\ud800"]}, "/rows/0"),
        ({"rows": [{"id": "x", "v": 1}]}, "/rows/0"),
        ({"to": None}, "/to"), ({"to": 5}, "/to"), ({"comment": 5}, "/comment"), ({"more": 1}, "/more"),
        ({"do": "delete"}, "/to"), ({"rows": [{"id": "x", "version": "1"}]}, "/rows/0"),
    ):  # fmt: skip
        refused = office.site.send("/forms/leave/several", sent | wrong, office.hr)
        assert (refused.status, refused.json["errors"][0]["pointer"]) == (422, place), wrong
    assert office.site.send("/forms/leave/several", [1], office.hr).status == 400
    assert office.site.send("/forms/leave/several?_of=all", sent, office.hr).status == 400


def test_what_comes_from_no_page_is_refused(office: Office) -> None:
    keys = office.asked_for(1)
    for pairs in ([("id", "x"), ("do", "move")], [("id", f"1.{keys[0]}"), ("do", "fly")], [("do", "fly")]):
        assert office.send("/forms/leave/several", pairs, office.hr).status == 400
    cookie = office.site.sign_in(office.hr)
    sent = urlencode([("id", f"1.{keys[0]}"), ("do", "move"), ("to", "approved")])
    headers = FORM | PAGE | {"Cookie": cookie, "Sec-Fetch-Site": "cross-site"}
    assert office.site.ask("POST", "/forms/leave/several", sent, headers).status == 403
    assert office.states()[keys[0]] == "new"
    led = office.site.get("/forms/leave/several?_list=_sort%3Ddays", office.hr, **PAGE)
    assert (led.status, led["Location"]) == (303, "/forms/leave/records?_sort=days")
