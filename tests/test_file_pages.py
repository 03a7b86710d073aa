"""The page of a folder without scripts (plugins/file_pages.py and those beside it): sorted, new folders, other names, and
entries moved, copied and deleted, one or several at once."""

from __future__ import annotations

import html
import io
import re
import sys
import zipfile
from collections.abc import Iterator, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest

import app

sys.path.insert(0, str(Path(__file__).parent))
from http_client import FORM, PAGE, Reply, Site, notice_of

ODD = (
    "a b?c#d%41.txt",
    "שלום\u202e.txt",
    "x" * 251 + ".txt",
    "con: a*b.txt",
    "<b>&amp;.txt",
    "+ +",
    "ä.txt",
)


class Form(HTMLParser):
    """A form of a page, as a browser without scripts sends it: `kind` is its class."""

    def __init__(self, page: Reply, kind: str) -> None:
        super().__init__()
        self.kind, self.action, self.sent, self.buttons = kind, "", list[tuple[str, str]](), list[tuple[str, str]]()
        self._inside = False
        self.feed(page.text)
        assert self.action, page.text

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            self._inside = self.kind in given.get("class", "").split() or self.kind == given.get("id")
            self.action = given["action"] if self._inside and not self.action else self.action
        belongs = self._inside or given.get("form") == self.kind
        if belongs and tag == "button":
            self.buttons.append((given.get("name", ""), given.get("value", "")))
        is_sent = tag == "input" and given.get("name") and (given.get("type") != "checkbox" or "checked" in given)
        if belongs and is_sent:
            self.sent.append((given["name"], given.get("value", "")))

    def handle_endtag(self, tag: str) -> None:
        self._inside = self._inside and tag != "form"


class Person:
    """Somebody at the pages of a share, in a browser without scripts."""

    def __init__(self, site: Site, token: str) -> None:
        self.site, self.token = site, token

    def look(self, target: str) -> Reply:
        return self.site.get(target, self.token, **PAGE)

    def press(self, form: Form, *pressed: tuple[str, str], but: Sequence[str] = ()) -> Reply:
        sent = [one for one in form.sent if one[0] not in but]
        return self.site.ask("POST", form.action, urlencode([*sent, *pressed]), FORM | PAGE, self.token)

    def tick(self, folder: str, names: Sequence[str], do: str) -> Reply:
        form = Form(self.look(folder), "several")
        assert ("do", do) in form.buttons
        return self.press(form, *(("id", quote(one, safe="")) for one in names), ("do", do))

    def said(self, reply: Reply) -> str:
        assert reply.status == 303, reply.text
        return notice_of(self.site, reply, self.token)

    def rows(self, folder: str) -> list[str]:
        return names_of(self.look(folder))

    def stored(self, folder: str) -> dict[str, str]:
        """What is in a folder: size or type by name."""
        items = self.site.get(folder, self.token).json["items"]
        return {one["name"]: one["size_bytes"] if one["type"] == "file" else one["type"] for one in items}


def names_of(page: Reply) -> list[str]:
    assert page.status == 200, page.text
    return [html.unescape(one) for one in re.findall(r'<th scope="row">.*?<bdi>(.*?)</bdi>', page.text, re.S)]


def steps_of(page: Reply, name: str) -> list[str]:
    """What the menu of an entry offers."""
    for row in re.findall(r"<tr>.*?</tr>", page.text, re.S):
        if f"<bdi>{html.escape(name)}</bdi>" in row:
            return re.findall(r'<li><a class="(\w+)"', row)
    raise AssertionError(f"{name} is not on the page")


@pytest.fixture
def ann(site: Site, staff: str, share: str) -> Iterator[Person]:
    for name, size in {"b10.txt": 3, "B9.txt": 5, "a.txt": 4, "sub/x.txt": 1, "sub/deep/y.txt": 2, "other/z.txt": 1}.items():
        assert site.put(f"{share}/{name}", b"x" * size, staff).status == 201
    return Person(site, staff)


# ---- the list


def test_folders_come_first_and_numbers_in_names_are_numbers(ann: Person, share: str) -> None:
    assert ann.rows(f"{share}/") == ["other", "sub", "a.txt", "B9.txt", "b10.txt"]
    assert ann.rows(f"{share}/?_sort=-name") == ["sub", "other", "b10.txt", "B9.txt", "a.txt"]
    assert ann.rows(f"{share}/?_sort=-size_bytes") == ["other", "sub", "B9.txt", "a.txt", "b10.txt"]
    assert ann.rows(f"{share}/?_sort=size_bytes") == ["other", "sub", "b10.txt", "a.txt", "B9.txt"]


def test_a_head_says_how_the_list_is_sorted_and_turns_the_order(ann: Person, share: str) -> None:
    page = ann.look(f"{share}/?_sort=-size_bytes").text
    assert re.search(r'<th scope="col" class="num" aria-sort="descending"><a href="[^"]*_sort=size_bytes"', page)
    assert re.search(r'<th scope="col"><a href="/files/\w+/">Name', page)
    assert 'aria-sort="ascending"' in ann.look(f"{share}/").text


@pytest.mark.parametrize("sort", ["", "name", "-name", "size_bytes", "-size_bytes", "modified_at", "-modified_at"])
def test_pages_of_an_order_follow_each_other_and_lead_back(ann: Person, share: str, sort: str) -> None:
    asked = f"_sort={sort}&_size=2" if sort else "_size=2"
    whole, found, page = ann.rows(f"{share}/?{asked.replace('=2', '=100')}"), [], ann.look(f"{share}/?{asked}")
    for _ in range(3):
        found += names_of(page)
        following = re.search(r'href="([^"]*)" rel="next"', page.text)
        page = ann.look(html.unescape(following[1])) if following else page
    assert found == whole
    before = re.search(r'href="([^"]*)" rel="prev"', page.text)
    assert before
    assert ann.rows(html.unescape(before[1])) == whole[2:4]


def test_a_program_gets_path_order_unless_it_asks_for_another(ann: Person, share: str) -> None:
    def pages(asked: str) -> list[str]:
        found, cursor = [], ""
        while cursor is not None:
            reply = ann.site.get(f"{share}/?_size=2{asked}{cursor and '&_next=' + cursor}", ann.token).json
            found += [one["name"] for one in reply["items"]]
            cursor = reply["next"]
        return found

    assert pages("") == ["B9.txt", "a.txt", "b10.txt", "other", "sub"]
    assert pages("&_sort=-size_bytes") == ["other", "sub", "B9.txt", "a.txt", "b10.txt"]
    reply = ann.site.get(f"{share}/?_sort=size", ann.token)
    assert (reply.status, "did you mean size_bytes?" in reply.json["detail"]) == (400, True)
    assert ann.site.get(f"{share}/?_sort=name&_q=a", ann.token).status == 400
    assert ann.site.get(f"{share}/?_sort=name&_next=WyJhIl0", ann.token).status == 400
    cursor = ann.site.get(f"{share}/?_sort=name&_size=1", ann.token).json["next"]
    assert ann.site.get(f"{share}/?_sort=-name&_next={cursor}", ann.token).status == 400
    assert ann.site.get(f"{share}/?_next={cursor}", ann.token).status == 400


def test_a_page_goes_on_where_it_was_when_its_last_entry_is_gone(ann: Person, share: str) -> None:
    cursor = ann.site.get(f"{share}/?_sort=name&_size=3", ann.token).json["next"]
    ann.site.ask("DELETE", f"{share}/a.txt", token=ann.token)
    found = ann.site.get(f"{share}/?_sort=name&_next={cursor}", ann.token).json["items"]
    assert [one["name"] for one in found] == ["B9.txt", "b10.txt"]


def test_more_entries_than_are_sorted_come_in_path_order_and_it_says_so(
    ann: Person, share: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app.plugin("file_lists"), "MOST_SORTED", 4)
    page = ann.look(f"{share}/")
    assert names_of(page) == ["B9.txt", "a.txt", "b10.txt", "other", "sub"]
    assert "too many entries to sort" in page.text
    assert "aria-sort" not in page.text
    reply = ann.site.get(f"{share}/?_sort=name", ann.token).json
    assert reply["items"][0]["name"] == "B9.txt"
    assert "order of their paths" in reply["note"]
    first = ann.site.get(f"{share}/?_sort=name&_size=2", ann.token).json
    assert [one["name"] for one in first["items"]] == ["B9.txt", "a.txt"]
    second = ann.site.get(f"{share}/?_sort=name&_size=2&_next={first['next']}", ann.token).json
    assert [one["name"] for one in second["items"]] == ["b10.txt", "other"]


def test_a_page_looks_at_no_entry_that_it_does_not_show_where_there_are_too_many_to_sort(
    ann: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    blobs = ann.site.app.resources["files/docs"].blobs
    for number in range(30):
        ann.site.put(f"/files/docs/many/{number:02}.txt", b"x", ann.token)
    monkeypatch.setattr(app.plugin("file_lists"), "MOST_SORTED", 20)
    looks, look = [], blobs._look
    monkeypatch.setattr(blobs, "_look", lambda path: looks.append(path) or look(path))
    assert ann.rows("/files/docs/many/?_size=5") == [f"{number:02}.txt" for number in range(5)]
    assert len([one for one in looks if re.search(r"/\d\d\.txt$", one)]) == 6


# ---- what a reader is offered


def test_only_what_the_caller_may_do_is_shown(site: Site, ann: Person, share: str) -> None:
    name = share.rpartition("/")[2]
    reader = Person(site, site.token(f"files/{name}:read", f"files/{name}/**:read"))
    page = reader.look(f"{share}/")
    assert steps_of(page, "a.txt") == ["details", "share", "copy"]
    assert steps_of(page, "sub") == ["details", "zip", "share", "copy"]
    assert Form(page, "several").buttons == [("do", "zip")]
    assert "New folder" not in page.text
    assert steps_of(ann.look(f"{share}/"), "a.txt") == ["details", "share", "rename", "move", "copy", "delete"]
    for step, status in {"rename": 403, "move": 403, "delete": 403, "details": 200, "copy": 200, "nonsense": 400}.items():
        assert reader.look(f"{share}/a.txt?_do={step}").status == status, step
    fields = {"do": "delete", "id": "a.txt", "sure": "1"}
    reply = site.submit(f"{share}/?_do=several", fields, reader.token)
    assert "You may not do this here" in reply.text
    assert "a.txt" in ann.stored(f"{share}/")


def test_a_drop_box_shows_and_does_nothing_else(site: Site, ann: Person, share: str) -> None:
    name = share.rpartition("/")[2]
    sender = Person(site, site.token(f"files/{name}/**:create", f"files/{name}:create"))
    assert "cannot see what is in this folder" in sender.look(f"{share}/").text
    assert sender.look(f"{share}/?_do=folder").status == 400
    for fields in ({"do": "delete", "id": "a.txt", "sure": "1"}, {"do": "copy", "id": "a.txt", "to": f"{share[1:]}/n/"}):
        assert site.submit(f"{share}/?_do=several", fields, sender.token).status == 403


def test_programs_are_told_that_steps_are_pages(ann: Person, share: str) -> None:
    reply = ann.site.get(f"{share}/a.txt?_do=details", ann.token)
    assert (reply.status, '{"move": …}' in reply.json["detail"]) == (400, True)


def test_details_say_kind_size_time_address_and_sender(ann: Person, share: str) -> None:
    text = ann.look(f"{share}/a.txt?_do=details").text
    for words in ("Document (text/plain)", "4 bytes", f"http://localhost{share}/a.txt", "Stored by", "<bdi>ann</bdi>"):
        assert words in text, words
    assert "1 folder, 2 files, 3 bytes" in ann.look(f"{share}/sub?_do=details").text
    assert ann.look(f"{share}/none?_do=details").status == 404


# ---- one entry


def test_a_folder_is_made_and_a_taken_or_impossible_name_comes_back(ann: Person, share: str) -> None:
    form = Form(ann.look(f"{share}/?_size=500"), "panel")
    reply = ann.press(form, ("name", " Neues & Ü "), but=["name"])
    assert reply["Location"] == f"{share}/?_size=500"
    assert ann.said(reply) == "The folder Neues & Ü is here."
    assert ann.stored(f"{share}/")["Neues & Ü"] == "folder"
    assert ann.press(form, ("name", " Neues & Ü "), but=["name"]).status == 303, "the same press once more"
    for name in ("sub", "a.txt"):
        again = ann.press(Form(ann.look(f"{share}/"), "panel"), ("name", name), but=["name"])
        assert (again.status, "Something of this name is here already" in again.text) == (409, True)
        assert f'value="{name}"' in again.text
    for name in ("", "..", "x/y", "n" * 256, "tab\there"):
        again = ann.press(Form(ann.look(f"{share}/?_do=folder"), "form"), ("name", name), but=["name"])
        assert (again.status, 'aria-invalid="true"' in again.text) == (400, True), name
        assert re.search(r"the name (is|has)", again.text), "in words of the person who typed it"
        assert "segment" not in again.text
    assert set(ann.stored(f"{share}/")) == {"Neues & Ü", "sub", "other", "a.txt", "B9.txt", "b10.txt"}


@pytest.mark.parametrize("name", ODD)
def test_odd_names_are_safe_and_usable_on_every_page(ann: Person, share: str, name: str) -> None:
    address = f"{share}/sub/{quote(name, safe='')}"
    assert ann.site.put(address, b"odd", ann.token).status == 201
    assert name in ann.rows(f"{share}/sub/")
    for step in ("details", "rename", "move", "copy", "delete"):
        page = ann.look(f"{address}?_do={step}")
        assert page.status == 200, page.text
        assert html.escape(name) in page.text
        assert "<b>" not in page.text
    copied = ann.press(Form(ann.tick(f"{share}/sub/", [name], "copy"), "target"), ("to", f"{share[1:]}/other/"))
    assert name in ann.said(copied) or len(name) > 200
    assert name in ann.stored(f"{share}/other/")
    gone = ann.press(Form(ann.tick(f"{share}/sub/", [name], "delete"), "several-asked"), ("sure", "1"))
    assert gone.status == 303
    assert name not in ann.stored(f"{share}/sub/")
    form = Form(ann.look(f"{share}/other/{quote(name, safe='')}?_do=rename"), "form")
    assert ann.press(form, ("name", "plain.txt"), but=["name"]).status == 303
    assert ann.stored(f"{share}/other/") == {"z.txt": 1, "plain.txt": 3}


def test_an_entry_gets_another_name_and_a_taken_one_is_said(ann: Person, share: str) -> None:
    taken = ann.press(Form(ann.look(f"{share}/a.txt?_do=rename"), "form"), ("name", "B9.txt"), but=["name"])
    assert (taken.status, 'value="B9.txt"' in taken.text) == (409, True)
    reply = ann.press(
        Form(ann.look(f"{share}/a.txt?_do=rename&_list=_sort%3D-name"), "form"), ("name", "c.txt"), but=["name"]
    )
    assert reply["Location"] == f"{share}/?_sort=-name"
    assert ann.said(reply) == "a.txt is now called c.txt."
    assert ann.press(Form(ann.look(f"{share}/sub?_do=rename"), "form"), ("name", "SUB2"), but=["name"]).status == 303
    assert ann.stored(f"{share}/SUB2/") == {"x.txt": 1, "deep": "folder"}
    same = ann.press(Form(ann.look(f"{share}/c.txt?_do=rename"), "form"))
    assert same.status == 303
    assert "c.txt" in ann.stored(f"{share}/")


def test_a_file_is_moved_by_walking_to_its_folder(ann: Person, share: str) -> None:
    page = ann.look(f"{share}/a.txt?_do=move")
    form = Form(page, "target")
    assert "This is where it is now" in page.text
    assert not [one for one in form.buttons if one[0] == "to"]
    walked = ann.press(form, ("at", f"{share[1:]}/sub/"))
    form = Form(walked, "target")
    assert {("at", ""), ("at", f"{share[1:]}/"), ("at", f"{share[1:]}/sub/deep/"), ("to", f"{share[1:]}/sub/")} == set(
        form.buttons
    )
    reply = ann.press(form, ("to", f"{share[1:]}/sub/"))
    assert reply["Location"] == f"{share}/"
    assert ann.said(reply) == f"a.txt was moved to {share[7:].capitalize()} / sub."
    assert ann.press(form, ("to", f"{share[1:]}/sub/")).status == 303, "pressed twice"
    assert ann.stored(f"{share}/sub/")["a.txt"] == 4
    assert "a.txt" not in ann.stored(f"{share}/")


def test_the_shares_are_those_that_take_something_of_the_caller(site: Site, ann: Person, share: str) -> None:
    own = share.rpartition("/")[2]
    mover = Person(site, site.token(f"files/{own}:*", f"files/{own}/**:*", "files/pics:read", "files/pics/**:read"))
    shares = ann.press(Form(ann.look(f"{share}/a.txt?_do=copy"), "target"), ("at", ""))
    assert {value for name, value in Form(shares, "target").buttons if name == "at"} >= {
        "files/docs/",
        "files/blobs/",
        "files/pics/",
    }
    shares = mover.press(Form(mover.look(f"{share}/a.txt?_do=copy"), "target"), ("at", ""))
    assert [value for name, value in Form(shares, "target").buttons] == [f"files/{own}/"]
    for place in ("files/pics/x/", "files/none/", "forms/leave", "files/%FF/", "files/docs/../"):
        reply = mover.press(Form(mover.look(f"{share}/a.txt?_do=copy"), "target"), ("to", place))
        assert reply.status == 200, place
        assert "a.txt" not in site.get("/files/pics/", ann.token).text


def test_a_file_goes_to_another_share(ann: Person, share: str) -> None:
    other = {"/files/docs": "files/blobs", "/files/blobs": "files/docs"}[share]
    reply = ann.press(Form(ann.look(f"{share}/sub?_do=move"), "target"), ("to", f"{other}/new/"))
    assert reply.status == 303, reply.text
    assert ann.stored(f"/{other}/new/sub/") == {"x.txt": 1, "deep": "folder"}
    assert "sub" not in ann.stored(f"{share}/")
    refused = ann.press(Form(ann.look(f"{share}/a.txt?_do=move"), "target"), ("to", "files/pics/"))
    assert (refused.status, "image/*" in refused.text) == (200, True)
    assert "a.txt" in ann.stored(f"{share}/")


def test_a_folder_is_not_offered_its_own_inside(ann: Person, share: str) -> None:
    form = Form(ann.look(f"{share}/sub?_do=move"), "target")
    assert ("at", f"{share[1:]}/sub/") not in form.buttons
    assert ("at", f"{share[1:]}/other/") in form.buttons
    refused = ann.press(form, ("to", f"{share[1:]}/sub/deep/"))
    assert refused.status == 200
    assert ann.stored(f"{share}/sub/") == {"x.txt": 1, "deep": "folder"}


def test_a_copy_in_the_same_folder_gets_a_number(ann: Person, share: str) -> None:
    for _ in range(2):
        assert ann.press(Form(ann.look(f"{share}/a.txt?_do=copy"), "target"), ("to", f"{share[1:]}/")).status == 303
    assert {"a.txt", "a (2).txt", "a (3).txt"} <= set(ann.stored(f"{share}/"))


def test_deleting_a_folder_asks_with_what_goes(ann: Person, share: str) -> None:
    page = ann.look(f"{share}/sub?_do=delete")
    assert "2 folders, 2 files, 3 bytes" in page.text
    form = Form(page, "several-asked")
    assert ann.stored(f"{share}/")["sub"] == "folder"
    reply = ann.press(form, ("sure", "1"))
    assert ann.said(reply) == "Deleted sub."
    assert "sub" not in ann.stored(f"{share}/")
    assert ann.press(form, ("sure", "1")).status == 303
    assert ann.press(Form(page, "several-asked"), ("sure", "1")).status == 303


def test_a_file_that_was_replaced_meanwhile_is_not_deleted(ann: Person, share: str) -> None:
    form = Form(ann.look(f"{share}/a.txt?_do=delete"), "several-asked")
    ann.site.put(f"{share}/a.txt", b"newer one", ann.token)
    reply = ann.press(form, ("sure", "1"))
    assert "It was changed after you opened the list" in reply.text
    assert ann.stored(f"{share}/")["a.txt"] == 9


# ---- several at once


def test_several_are_taken_along_as_one_archive(ann: Person, share: str) -> None:
    reply = ann.tick(f"{share}/", ["a.txt", "sub"], "zip")
    assert (reply.status, reply["Content-Type"]) == (200, "application/zip")
    with zipfile.ZipFile(io.BytesIO(reply.body)) as archive:
        assert set(archive.namelist()) == {"a.txt", "sub/x.txt", "sub/deep/y.txt"}
    gone = ann.site.submit(f"{share}/?_do=several", {"do": "zip", "id": "none"}, ann.token)
    assert ann.said(gone) == "It is no longer there."


def test_several_are_moved_and_names_that_are_taken_are_asked_about(ann: Person, share: str) -> None:
    ann.site.put(f"{share}/other/a.txt", b"kept", ann.token)
    ann.site.put(f"{share}/other/b10.txt", b"kept too", ann.token)
    to = ("to", f"{share[1:]}/other/")
    report = ann.press(Form(ann.tick(f"{share}/", ["a.txt", "B9.txt", "b10.txt"], "move"), "target"), to)
    assert "1 entry was moved to" in report.text
    assert "2 names are taken" in report.text
    form = Form(report, "several-asked")
    assert form.buttons == [("clash", "replace"), ("clash", "both")]
    both = ann.press(Form(report, "several-asked"), ("id", "a.txt"), ("clash", "both"), but=["id"])
    assert ann.said(both) == f"a.txt was moved to {share[7:].capitalize()} / other."
    replaced = ann.press(form, ("id", "b10.txt"), ("clash", "replace"), but=["id"])
    assert replaced.status == 303
    assert ann.stored(f"{share}/other/") == {"z.txt": 1, "a.txt": 4, "a (2).txt": 4, "B9.txt": 5, "b10.txt": 3}
    assert set(ann.stored(f"{share}/")) == {"other", "sub"}


def test_who_may_not_update_is_offered_no_replacing(site: Site, ann: Person, share: str) -> None:
    name = share.rpartition("/")[2]
    may = [f"files/{name}:read,create,delete", f"files/{name}/**:read,create,delete"]
    mover = Person(site, site.token(*may))
    ann.site.put(f"{share}/other/a.txt", b"kept", ann.token)
    report = mover.press(Form(mover.look(f"{share}/a.txt?_do=move"), "target"), ("to", f"{share[1:]}/other/"))
    form = Form(report, "several-asked")
    assert form.buttons == [("clash", "both")]
    refused = mover.press(form, ("clash", "replace"))
    assert "You may not do this here" in refused.text
    assert ann.stored(f"{share}/other/")["a.txt"] == 4


def test_several_are_deleted_with_one_question_and_what_is_gone_is_said(ann: Person, share: str) -> None:
    form = Form(ann.look(f"{share}/?_sort=-name"), "several")
    assert form.action.endswith("_list=_sort%3D-name")
    ann.site.ask("DELETE", f"{share}/b10.txt", token=ann.token)
    page = ann.press(form, ("id", "a.txt sub b10.txt"), ("do", "delete"))
    assert "One that you chose is no longer there" in page.text
    assert "2 folders, 3 files, 7 bytes" in page.text
    reply = ann.press(Form(page, "several-asked"), ("sure", "1"))
    assert reply["Location"] == f"{share}/?_sort=-name"
    assert ann.said(reply) == "2 entries were deleted."
    assert set(ann.stored(f"{share}/")) == {"other", "B9.txt"}


def test_the_last_ones_of_a_folder_lead_to_the_one_above(ann: Person, share: str) -> None:
    page = ann.tick(f"{share}/other/", ["z.txt"], "delete")
    reply = ann.press(Form(page, "several-asked"), ("sure", "1"))
    assert reply["Location"] == f"{share}/"
    assert ann.said(reply) == "Deleted z.txt."
    again = ann.site.submit(f"{share}/other/?_do=several", {"do": "delete", "id": "z.txt", "sure": "1"}, ann.token)
    assert ann.said(again) == "That folder is no longer there."


def test_nothing_ticked_is_said_and_what_no_page_sends_is_refused(ann: Person, share: str) -> None:
    form = Form(ann.look(f"{share}/"), "several")
    assert "Nothing was ticked" in ann.said(ann.press(form, ("do", "move")))
    for sent in (
        [("id", "a.txt"), ("do", "eat")], [("id", "..%2Fx"), ("do", "delete")], [("id", "?e"), ("do", "delete")],
        [("id", " ".join(f"n{n}" for n in range(1001))), ("do", "delete")],
        [("id", "a.txt"), ("do", "copy"), ("clash", "x")],
    ):  # fmt: skip
        assert ann.press(form, *sent).status == 400, sent
    assert ann.site.submit(f"{share}/?_do=x", {"do": "delete"}, ann.token).status == 400
    assert ann.look(f"{share}/?_do=several").status == 303


def test_who_is_signed_out_signs_in_and_comes_back_to_the_folder(ann: Person, share: str) -> None:
    reply = ann.site.submit(f"{share}/?_do=several", {"do": "delete", "id": "a.txt", "sure": "1"})
    assert (reply.status, f'value="{share}/"' in reply.text) == (401, True)
    assert "a.txt" in ann.stored(f"{share}/")


def test_a_form_from_another_site_does_nothing(ann: Person, share: str) -> None:
    cookie = ann.site.sign_in(ann.token)
    reply = ann.site.submit(f"{share}/?_do=several", {"do": "delete", "id": "a.txt", "sure": "1"}, cookie)
    assert reply.status == 403
    assert "a.txt" in ann.stored(f"{share}/")


def test_pages_are_in_the_readers_language(ann: Person, share: str) -> None:
    german = PAGE | {"Accept-Language": "de"}
    assert "sub löschen?" in ann.site.get(f"{share}/sub?_do=delete", ann.token, **german).text
    assert "Neuer Ordner" in ann.site.get(f"{share}/", ann.token, **german).text


def test_what_cannot_be_read_is_shown_and_offers_nothing(ann: Person, share: str, monkeypatch: pytest.MonkeyPatch) -> None:
    blobs: Any = ann.site.app.resources[share[1:]].blobs
    scan = blobs.scan

    def damaged(prefix: str = "", **asked: Any) -> Iterator[app.Entry]:
        yield from scan(prefix, **asked)
        yield app.Unseen(f"{share[7:]}/lost\ufffd", "its name is not UTF-8")

    monkeypatch.setattr(blobs, "scan", damaged)
    page = ann.look(f"{share}/")
    assert "lost\ufffd" in names_of(page)
    assert steps_of(page, "lost\ufffd") == []
    assert "cannot be read" in page.text


# ---- what takes several steps


def without_renames(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """No provider renames a folder in one step."""
    for kind in {base for one in site.app.providers.values() for base in type(one).__mro__}:
        if "move_folder" in vars(kind):
            monkeypatch.delattr(kind, "move_folder")


def test_a_large_folder_is_gone_on_with_by_a_button(ann: Person, share: str, monkeypatch: pytest.MonkeyPatch) -> None:
    big, steps = app.plugin("big_folders"), app.plugin("file_steps")
    monkeypatch.setattr(app.plugin("file_trees"), "MOST_ENTRIES", 2)
    monkeypatch.setattr(big, "STEP_S", 0.0)
    monkeypatch.setattr(steps, "_MOST_S", 0.0)
    without_renames(ann.site, monkeypatch)
    reply = ann.press(Form(ann.tick(f"{share}/", ["sub", "a.txt"], "copy"), "target"), ("to", f"{share[1:]}/"))
    pages = 0
    while reply.status == 200:
        assert "Not everything is copied yet" in reply.text
        assert ("So far it is 1 file." in reply.text) == (pages == 1)
        reply, pages = ann.press(Form(reply, "going")), pages + 1
        assert pages < 20
    assert pages > 2
    assert ann.stored(f"{share}/sub (2)/") == ann.stored(f"{share}/sub/")
    assert ann.stored(f"{share}/sub (2)/deep/") == {"y.txt": 2}
    assert "a (2).txt" in ann.stored(f"{share}/")
    reply, pages = ann.press(Form(ann.tick(f"{share}/", ["sub"], "delete"), "several-asked"), ("sure", "1")), 0
    while reply.status == 200:
        assert "Not everything is deleted yet" in reply.text
        reply, pages = ann.press(Form(reply, "going")), pages + 1
        assert pages < 20
    assert pages > 0
    assert "sub" not in ann.stored(f"{share}/")
