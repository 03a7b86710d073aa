"""The pages of a share's trash, of the versions of a file and of a quota, without scripts (plugins/kept_pages.py)."""

from __future__ import annotations

import html
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from http_client import FORM, PAGE, Reply, Site
from test_file_pages import Form, Person

ODD = "<b> ש\u202e&amp; a%41?.txt"
TRASH = "/files/papers/?_trash=1"
SHARE = """[files.papers]
provider = "PROVIDER"
prefix = "papers/"
title = "Papers"
trash = "30d"
versions = 3
quota = "2kB"
"""


@pytest.fixture(params=["disk", "main"])
def ann(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Person]:
    site = Site(tmp_path, edit=lambda text: text + SHARE.replace("PROVIDER", request.param))
    ann = Person(site, site.token(roles=["staff"]))
    for name in ("a.txt", "sub/b.txt", ODD):
        store(ann, name, "first")
    yield ann
    site.close()


def at(name: str) -> str:
    return f"/files/papers/{quote(name)}"


def store(ann: Person, name: str, text: str) -> None:
    assert ann.site.put(at(name), text, ann.token).status in (200, 201)


def throw(ann: Person, *names: str) -> None:
    for name in names:
        assert ann.site.ask("DELETE", at(name), token=ann.token).status == 204


def text_of(ann: Person, name: str) -> str | None:
    reply = ann.site.get(at(name), ann.token)
    return reply.text if reply.status == 200 else None


def rows(page: Reply) -> list[str]:
    assert page.status == 200, page.text
    return [html.unescape(one) for one in re.findall(r'<th scope="row"[^>]*>.*?<bdi>(.*?)</bdi>', page.text, re.S)]


def button(page: Reply, kind: str, label: str) -> tuple[str, str]:
    """(name, value) of the button of a row."""
    found = re.search(f'name="{kind}" value="([^"]*)" aria-label="{re.escape(html.escape(label))}"', page.text)
    assert found, page.text
    return kind, found[1]


def step(page: Reply) -> Form:
    assert page.status in (200, 422), page.text
    return Form(page, "several-asked")


# ---- the trash


def test_what_was_deleted_is_listed_the_newest_first_and_comes_back(ann: Person) -> None:
    throw(ann, "a.txt", "sub/b.txt", ODD)
    page = ann.look(TRASH)
    assert rows(page) == [ODD, "b.txt", "a.txt"]
    assert "<bdi>sub</bdi>" in page.text
    assert "Kept until" in page.text
    assert "for 30 days" in page.text
    reply = ann.press(Form(page, "several"), button(page, "restore", f"Bring back {ODD}"))
    assert ann.said(reply) == f"{ODD} is back."
    assert text_of(ann, ODD) == "first"
    assert rows(ann.look(TRASH)) == ["b.txt", "a.txt"]
    reply = ann.press(Form(ann.look(TRASH), "several"), *(("id", one) for one in ids_of(ann)), ("do", "restore"))
    assert ann.said(reply) == "2 entries are back."
    assert (text_of(ann, "a.txt"), text_of(ann, "sub/b.txt")) == ("first", "first")
    assert "The trash is empty." in ann.look(TRASH).text


def test_a_folder_has_its_own_trash_and_leads_there(ann: Person) -> None:
    throw(ann, "a.txt", "sub/b.txt")
    assert rows(ann.look("/files/papers/sub/?_trash=1")) == ["b.txt"]
    assert 'href="/files/papers/?_trash=1">Trash</a>' in ann.look("/files/papers/").text
    assert "_trash=1" not in ann.look("/files/docs/").text


def test_many_are_paged(ann: Person) -> None:
    throw(ann, "a.txt", "sub/b.txt", ODD)
    page = ann.look(TRASH + "&_size=2")
    following = re.search(r'href="([^"]*)" rel="next"', page.text)
    assert following
    assert rows(page) + rows(ann.look(html.unescape(following[1]))) == [ODD, "b.txt", "a.txt"]


def taken(ann: Person, name: str = "a.txt") -> Reply:
    """The page that asks, as something is where a file was."""
    throw(ann, name)
    store(ann, name, "second")
    page = ann.look(TRASH)
    asked = ann.press(Form(page, "several"), button(page, "restore", f"Bring back {name}"))
    assert "1 name is taken" in asked.text
    assert text_of(ann, name) == "second"
    return asked


def test_a_place_that_is_taken_is_asked_about(ann: Person) -> None:
    form = step(taken(ann))
    assert [one for one in form.buttons if one[0] == "clash"] == [("clash", "replace"), ("clash", "both"), ("clash", "name")]
    assert ann.said(ann.press(form, ("clash", "replace"))) == "a.txt is back."
    assert text_of(ann, "a.txt") == "first"
    assert [one["size_bytes"] for one in ann.site.get(at("a.txt") + "?_versions=1", ann.token).json["items"]] == [6]


def test_both_are_kept(ann: Person) -> None:
    assert (
        ann.said(ann.press(step(taken(ann)), ("id", ids_of(ann)[0]), ("clash", "both"), but=["id"])) == "a (2).txt is back."
    )
    assert (text_of(ann, "a.txt"), text_of(ann, "a (2).txt")) == ("second", "first")


@pytest.mark.parametrize(("typed", "why"), [("a.txt", "already"), ("", ""), ("x/y", ""), ("..", "")])
def test_another_name_is_taken_if_it_is_good(ann: Person, typed: str, why: str) -> None:
    form = step(taken(ann))
    again = ann.press(form, ("name", typed), ("clash", "name"), but=["name"])
    assert again.status == 422
    assert 'aria-invalid="true"' in again.text
    assert why in again.text
    done = ann.press(step(again), ("name", ODD + "2"), ("clash", "name"), but=["name"])
    assert ann.said(done) == f"{ODD}2 is back."
    assert text_of(ann, ODD + "2") == "first"


def ids_of(ann: Person) -> list[str]:
    return [one["id"] for one in ann.site.get(TRASH, ann.token).json["items"]]


def test_deleting_for_good_and_emptying_ask_first(ann: Person) -> None:
    throw(ann, "a.txt", "sub/b.txt", ODD)
    page = ann.look(TRASH)
    asked = ann.press(Form(page, "several"), button(page, "purge", "Delete for good: a.txt"))
    assert "1 file, 5 bytes" in asked.text
    assert len(ids_of(ann)) == 3
    assert ann.said(ann.press(step(asked), ("id", ids_of(ann)[2]), ("sure", "1"), but=["id"])).startswith("1 entry is")
    assert rows(ann.look(TRASH)) == [ODD, "b.txt"]
    page = ann.look(TRASH)
    asked = ann.press(Form(page, "several"), ("do", "empty"))
    assert "2 files, 10 bytes" in asked.text
    assert len(ids_of(ann)) == 2
    assert ann.said(ann.press(step(asked), ("sure", "1"))) == "2 entries are deleted for good."
    assert ids_of(ann) == []


def test_what_is_gone_by_now_is_said(ann: Person) -> None:
    throw(ann, "a.txt")
    page = ann.look(TRASH)
    pressed = button(page, "restore", "Bring back a.txt")
    assert ann.press(Form(page, "several"), pressed).status == 303
    fresh = Form(page, "several")
    fresh.action = fresh.action.replace("_submission", "_other")
    assert ann.said(ann.press(fresh, pressed)) == "This is no longer in the trash."


def test_the_notice_of_a_deletion_says_that_it_can_be_brought_back(ann: Person) -> None:
    asked = ann.look(at("a.txt") + "?_do=delete")
    boxes = re.findall(r'name="id" value="([^"]*)"', asked.text)
    reply = ann.press(step(asked), *(("id", html.unescape(one)) for one in boxes), ("sure", "1"), but=["id"])
    assert ann.said(reply) == "Deleted a.txt. You can bring it back from the trash."


def test_a_form_without_its_token_does_nothing(ann: Person) -> None:
    throw(ann, "a.txt")
    session = ann.site.sign_in(ann.token)
    target = "/files/papers/?_do=trash"
    headers = FORM | PAGE | {"Cookie": session if "=" in session else ann.site.cookie(session)}
    reply = ann.site.ask("POST", target, f"do=restore&id={ids_of(ann)[0]}", headers)
    assert reply.status == 403, reply.text
    assert text_of(ann, "a.txt") is None


# ---- versions


def versions(ann: Person, name: str) -> Reply:
    page = ann.look(at(name) + "?_versions=1")
    assert page.status == 200, page.text
    return page


def labels(page: Reply, kind: str) -> Sequence[str]:
    return re.findall(f'name="{kind}" value="([^"]*)"', page.text)


@pytest.mark.parametrize("name", ["a.txt", ODD])
def test_versions_are_listed_brought_back_and_deleted(ann: Person, name: str) -> None:
    store(ann, name, "the second")
    page = versions(ann, name)
    assert "10 bytes" in page.text
    assert "5 bytes" in page.text
    [id_] = labels(page, "restore")
    assert ann.site.get(at(name) + f"?_version={id_}", ann.token).text == "first"
    form = Form(page, "kept-versions")
    assert "is back" in ann.said(ann.press(form, ("restore", id_)))
    assert text_of(ann, name) == "first"
    page = versions(ann, name)
    ids = labels(page, "purge")
    assert len(ids) == 2
    asked = ann.press(Form(page, "kept-versions"), ("purge", ids[0]))
    assert "Delete this version?" in asked.text
    assert len(labels(versions(ann, name), "purge")) == 2
    assert "is deleted" in ann.said(ann.press(step(asked), ("sure", "1")))
    assert labels(versions(ann, name), "purge") == ids[1:]


def test_the_menu_and_the_page_of_a_file_lead_to_its_versions(ann: Person) -> None:
    for page in ("/files/papers/", at("a.txt") + "?_view=1", at("a.txt") + "?_do=details"):
        assert "a.txt?_versions=1" in ann.look(page).text, page
    assert ann.site.put("/files/docs/a.txt", "x", ann.token).status == 201
    assert "_versions" not in ann.look("/files/docs/").text


# ---- who


def test_only_what_the_caller_may_do_is_shown(ann: Person) -> None:
    store(ann, "a.txt", "second")
    throw(ann, "sub/b.txt")
    reader = Person(ann.site, ann.site.token("files/papers:read", "files/papers/**:read", subject="eve"))
    assert "_trash=1" not in reader.look("/files/papers/").text
    assert rows(reader.look(TRASH)) == []
    page = versions(reader, "a.txt")
    assert (labels(page, "restore"), labels(page, "purge")) == ([], [])
    fields = {"restore": ids_of(ann)[0]}
    reply = ann.site.submit("/files/papers/?_do=trash", fields, reader.token)
    assert text_of(ann, "sub/b.txt") is None, reply.text
    old = ann.site.get(at("a.txt") + "?_versions=1", ann.token).json["items"][0]["id"]
    assert ann.site.submit(at("a.txt") + "?_do=versions", {"restore": old}, reader.token).status == 403
    assert text_of(ann, "a.txt") == "second"
    ends = Person(ann.site, ann.site.token("files/papers:read", "files/papers/**:read,delete", subject="bo"))
    page = ends.look(TRASH)
    assert (labels(page, "restore"), len(labels(page, "purge"))) == ([], 1)
    assert "You cannot bring some of these back" in page.text
    assert "You cannot bring a version back" in versions(reader, "a.txt").text
    assert "You cannot bring" not in ann.look(TRASH).text + versions(ann, "a.txt").text


# ---- the quota


def test_what_is_used_of_a_quota_stands_below_the_list(ann: Person) -> None:
    assert "15 bytes of 2 kB used</label> <meter" in re.sub("[\u00a0\u202f]", " ", ann.look("/files/papers/").text)
    assert "<meter" not in ann.look("/files/docs/").text
    sender = Person(ann.site, ann.site.token("files/papers:create", "files/papers/**:create", subject="eve"))
    box = sender.look("/files/papers/").text
    assert "<meter" in box
    assert "is full" not in box
    link = ann.site.send("/files/papers/", {"link": {"action": "create", "expires": "7d"}}, ann.site.token("**:*"))
    box_link = urlsplit(link.json["url"]).path
    stranger = Person(ann.site, "")
    assert "There is room for 2 kB altogether" in re.sub("[\u00a0\u202f]", " ", stranger.look(box_link).text)
    store(ann, "large.txt", "x" * 1985)
    assert "This folder is full" in sender.look("/files/papers/").text
    shut = stranger.look(box_link).text
    assert "This folder is full" in shut
    assert 'type="file"' not in shut
