"""Drafts of forms: what was typed and not sent yet, for its writer alone, until it is sent or thirty days are over."""

from __future__ import annotations

import html
import os
import re
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sites import PROVIDERS, Site, Time

import app
from app import Conflict, Forbidden, Invalid, NotFound, SignInNeeded, TooLarge

sys.path.insert(0, str(Path(__file__).parent))
import http_client

FORM = """
[public]
grants = ["forms/open:create"]
[forms.leave]
[forms.leave.fields]
name = { type = "string", required = true, maxLength = 5 }
days = { type = "number" }
[forms.open]
[forms.open.fields]
name = { type = "string" }
"""
DAY = 86400


@pytest.fixture
def clock() -> Time:
    return Time()


@pytest.fixture
def site(tmp_path: Path, clock: Time) -> Iterator[Site]:
    made = Site(tmp_path, PROVIDERS["sql"] + FORM, clock=clock)
    yield made
    made.close()


@pytest.fixture
def ann(site: Site) -> str:
    return site.token("ann", "forms/**:create", expires_s=100 * DAY)


def test_a_draft_holds_what_was_typed_right_or_wrong(site: Site, ann: str, clock: Time) -> None:
    answer = site.create("forms/leave/drafts", {"name": "much too long", "days": "x"}, by=ann)
    assert answer.created
    [item] = site.read("forms/leave/drafts", by=ann).data["items"]
    assert item == answer.data == site.read(answer.location, by=ann).data
    assert item["data"] == {"name": "much too long", "days": "x"}
    clock.now += 60
    site.put(answer.location, {"name": "Ann"}, by=ann)
    [item] = site.read("forms/leave/drafts", by=ann).data["items"]
    assert item["data"] == {"name": "Ann"}
    assert item["created_at"] < item["updated_at"]
    site.delete(answer.location, by=ann)
    assert site.read("forms/leave/drafts", by=ann).data["items"] == []
    assert [one for one in site.audit() if "drafts" in one["resource"]] == []  # a draft is no event


def test_a_draft_is_there_for_its_writer_alone(site: Site, ann: str) -> None:
    draft = site.create("forms/leave/drafts", {"name": "A"}, by=ann).location
    for other in (site.root, site.token("bob", "forms/leave:create")):
        assert site.read("forms/leave/drafts", by=other).data["items"] == []
        for ask in (site.read, site.delete):
            with pytest.raises(NotFound):
                ask(draft, by=other)
        site.put(draft, {"name": "B"}, by=other)  # which is his own of the same id
    assert site.read(draft, by=ann).data["data"] == {"name": "A"}
    with pytest.raises(NotFound):
        site.read(draft.replace("leave", "open"), by=ann)
    with pytest.raises(Forbidden):
        site.read("forms/leave/drafts", by=site.token("rita", "forms/leave/records:read"))
    with pytest.raises(SignInNeeded):
        site.create("forms/open/drafts", {"name": "A"}, by="")


@pytest.mark.parametrize("data", [{}, {"name": ""}, {"name": 3}, [1], {"name": [None]}])
def test_what_is_no_draft_is_refused(site: Site, ann: str, data: Any) -> None:
    with pytest.raises(Invalid):
        site.create("forms/leave/drafts", data, by=ann)
    with pytest.raises(TooLarge):
        site.create("forms/leave/drafts", {"name": "x" * 200_001}, by=ann)


def test_drafts_are_few_and_go_after_thirty_days(site: Site, ann: str, clock: Time, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app.plugin("clock_watch"), "watch", lambda site: SimpleNamespace(look=lambda now: ""))
    for _ in range(30):
        site.create("forms/leave/drafts", {"name": "A"}, by=ann)
    with pytest.raises(Conflict, match="30 drafts"):
        site.create("forms/open/drafts", {"name": "A"}, by=ann)
    swept = app.plugin("sweeps").Sweeps({}, site.app.config)
    clock.now += 29 * DAY
    site.create("forms/leave/drafts", {"name": "A"}, by=site.token("bob", "forms/**:create"))
    swept.run(site.app, threading.Event())
    assert len(site.read("forms/leave/drafts", by=ann).data["items"]) == 30
    clock.now += 2 * DAY
    swept.run(site.app, threading.Event())
    assert site.read("forms/leave/drafts", by=ann).data["items"] == []
    assert len(list(site.app.state.walk(app.Query("_drafts")))) == 1


# ---- on pages


@pytest.fixture
def pages(tmp_path: Path) -> Iterator[http_client.Site]:
    made = http_client.Site(tmp_path)
    yield made
    made.close()


@pytest.fixture
def staff(pages: http_client.Site) -> str:
    return pages.token(roles=["staff"])


def later(page: http_client.Reply) -> str:
    """Where a page of a form saves its draft."""
    return html.unescape(re.findall(r'<button class="button" formaction="([^"]*)"', page.text)[0])


def page(pages: http_client.Site, address: str, token: str) -> http_client.Reply:
    return pages.get(address, token, Accept="text/html")


def saved(pages: http_client.Site, token: str) -> Any:
    return pages.get("/forms/papers/drafts", token).json["items"]


def test_a_page_saves_for_later_opens_again_and_is_removed_by_its_submit(pages: http_client.Site, staff: str) -> None:
    first = page(pages, "/forms/papers", staff)
    parts = [("name", None, "x"), ("paper", "a.txt", "hello")]
    answer = pages.upload(later(first), *parts, token=staff, Accept="text/html")
    assert (answer.status, answer["Location"]) == (303, "/forms/papers/drafts")
    listed = pages.ask("GET", "/forms/papers/drafts", headers={"Accept": "text/html", "Cookie": answer.cookie}, token=staff)
    assert "Your draft is saved." in listed.text
    assert "x</bdi></a>" in page(pages, "/forms/papers", staff).text
    assert "x</bdi></a>" in page(pages, "/me", staff).text
    assert [one["form"] for one in pages.get("/me", staff).json["drafts"]] == ["forms/papers"]
    [item] = saved(pages, staff)
    assert (item["data"], item["files"]) == ({"name": "x"}, {"paper": ["a.txt"]})
    again = page(pages, f"/forms/papers/drafts/{item['id']}", staff)
    assert 'value="x"' in again.text
    assert "a.txt" in again.text
    assert later(again) == later(first)  # it stays one draft
    held = http_client.hidden(again, "_held_paper")
    short = pages.upload(
        http_client.action(again), ("name", None, "x"), ("_held_paper", None, held), token=staff, Accept="text/html"
    )
    assert short.status == 422  # the name is too short, and the draft stays
    assert len(saved(pages, staff)) == 1
    done = pages.upload(
        http_client.action(short), ("name", None, "xy"), ("_held_paper", None, held), token=staff, Accept="text/html"
    )
    assert done.status == 303
    assert saved(pages, staff) == []
    [record] = pages.get("/forms/papers/records", staff).json["items"]
    assert pages.get(f"/forms/papers/records/{record['id']}/paper", staff).body == b"hello"
    late = pages.upload(
        http_client.action(short), ("name", None, "xy"), ("_held_paper", None, held), token=staff, Accept="text/html"
    )
    assert late["Location"] == done["Location"]  # pressed twice


def test_a_draft_that_is_too_long_comes_back_with_its_own_limit(
    pages: http_client.Site, staff: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app.plugin("form_drafts"), "_MOST_TEXT_BYTES", 20_000)
    first, text = page(pages, "/forms/papers", staff), "many words " * 2_000
    answer = pages.upload(later(first), ("name", None, text), token=staff, Accept="text/html", Accept_Language="de")
    assert answer.status == 413
    assert "ein Entwurf hat höchstens 20 kB Text, und dieser hat 22 kB" in html.unescape(answer.text)
    assert text.strip() in answer.text
    assert saved(pages, staff) == []


def test_a_script_sends_files_once(pages: http_client.Site, staff: str) -> None:
    address = later(page(pages, "/forms/papers", staff))
    pages.upload(f"{address}?_auto=", ("name", None, "xy"), ("paper", "a.txt", "hello"), token=staff, Accept="text/html")
    pages.upload(f"{address}?_auto=paper", ("name", None, "xyz"), token=staff, Accept="text/html")
    assert [(one["data"]["name"], one["files"]) for one in saved(pages, staff)] == [("xyz", {"paper": ["a.txt"]})]
    pages.upload(f"{address}?_auto=", ("name", None, "xyz"), ("paper", "bad.exe", "hello"), token=staff, Accept="text/html")
    assert [one["files"] for one in saved(pages, staff)] == [{}]  # which is not taken, and the texts are


def test_a_file_that_is_not_taken_brings_the_page_back(pages: http_client.Site, staff: str) -> None:
    address = later(page(pages, "/forms/papers", staff))
    answer = pages.upload(address, ("name", None, "xy"), ("paper", "bad.exe", "hello"), token=staff, Accept="text/html")
    assert answer.status == 422
    assert "only .txt is taken here" in answer.text
    assert 'value="xy"' in answer.text
    assert later(answer) == address
    assert saved(pages, staff) == []


def test_the_files_of_a_draft_are_kept_as_long_as_it_is(pages: http_client.Site, staff: str) -> None:
    parts = [("name", None, "xy"), ("paper", "a.txt", "hello")]
    pages.upload(later(page(pages, "/forms/papers", staff)), *parts, token=staff, Accept="text/html")
    folder = pages.folder / "disk" / ".satchel" / "staged"
    [file] = folder.iterdir()
    other = folder / "left"
    for one in (file, other):
        one.write_bytes(b"hello")
        os.utime(one, (0, 0))
    app.plugin("sweeps").Sweeps({}, pages.app.config).run(pages.app, threading.Event())
    assert [one.name for one in folder.iterdir()] == [file.name]


def test_whoever_cannot_sign_a_draft_has_no_button(pages: http_client.Site) -> None:
    assert "Save for later" not in page(pages, "/forms/open", "").text


@pytest.mark.parametrize("is_there", [False, True])
def test_what_a_page_saves_after_it_was_sent_is_no_draft_any_more(site: Site, ann: str, is_there: bool) -> None:
    draft = "forms/leave/drafts/p1"
    if is_there:
        site.put(draft, {"name": "An"}, by=ann)
    site.create("forms/leave", {"name": ["Ann"]}, by=ann, typed=False, idempotency_key="page p1")
    assert site.read("forms/leave/drafts", by=ann).data["items"] == []
    with pytest.raises(Conflict, match="sent already"):
        site.put(draft, {"name": "Anna"}, by=ann)
    with pytest.raises(NotFound):
        site.read(draft, by=ann)
    site.create("forms/leave", {"name": ["Ann"]}, by=ann, typed=False, idempotency_key="page p1")  # sent twice
    assert site.read("forms/leave/drafts", by=ann).data["items"] == []
    site.put(draft, {"name": "Bo"}, by=site.token("bob", "forms/leave:create"))  # which is another one
    [mark] = [one.value for one in site.app.state.walk(app.Query("_drafts")) if "subject" not in one.value]
    assert mark.keys() == {"sent", "at"}
