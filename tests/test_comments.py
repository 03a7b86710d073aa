"""Comments on records: who writes and reads them, what is refused, and that they go with their record."""

from __future__ import annotations

import html
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sites import PROVIDERS, Site

import app
from app import Conflict, Forbidden, Invalid, NotFound, SignInNeeded

sys.path.insert(0, str(Path(__file__).parent))
import http_client

FORM = """
[public]
grants = ["forms/open/records:read", "forms/open:create"]
[forms.leave]
comments = true
[forms.leave.fields]
name = { type = "string", required = true }
[forms.open]
comments = true
[forms.open.fields]
name = { type = "string" }
[forms.silent]
[forms.silent.fields]
name = { type = "string" }
"""


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path, PROVIDERS["sql"] + FORM)
    yield made
    made.close()


def record(site: Site, form: str = "forms/leave") -> str:
    """The address of a new record."""
    return f"{form}/records/{site.create(form, {'name': 'Ann'}).data['id']}"


def say(site: Site, address: str, text: Any, **facts: Any) -> Any:
    return site.create(f"{address}/comments", {"text": text}, **facts)


def thread(site: Site, address: str, query: str = "", **facts: Any) -> Any:
    return site.read(f"{address}/comments{query}", **facts).data


def test_whoever_reads_a_record_says_something_about_it(site: Site) -> None:
    address, reader = record(site), site.token("rita", "forms/leave/records:read")
    answer = say(site, address, " Why\r\nnot? ", by=reader)
    assert (answer.created, answer.location) == (True, f"{address}/comments")
    assert answer.data["text"] == "Why\nnot?"
    say(site, address, "Because.")
    found = thread(site, address, by=reader)
    assert [(one["by"], one["text"]) for one in found["items"]] == [("rita", "Why\nnot?"), ("root", "Because.")]
    assert found["items"][0] == answer.data
    assert set(answer.data) == {"id", "at", "by", "text"}
    assert found["next"] is None
    assert site.read(address).data["version"] == 1


def test_who_does_not_read_a_record_neither_sees_nor_writes_its_comments(site: Site) -> None:
    address, stranger = record(site), site.token("sue", "forms/leave:create")
    asks: list[Any] = [thread, lambda site, address, **facts: say(site, address, "x", **facts)]
    for ask in asks:
        with pytest.raises(Forbidden):
            ask(site, address, by=stranger)
        with pytest.raises(SignInNeeded):
            ask(site, address, by="")
        with pytest.raises(NotFound):
            ask(site, "forms/leave/records/none")
        with pytest.raises(NotFound):
            ask(site, record(site, "forms/silent"))


def test_the_public_reads_comments_and_writes_none(site: Site) -> None:
    address = record(site, "forms/open")
    assert thread(site, address, by="")["items"] == []
    with pytest.raises(SignInNeeded):
        say(site, address, "x", by="")


@pytest.mark.parametrize(
    "data", [{}, {"text": ""}, {"text": " "}, {"text": 3}, {"text": "x" * 10_001}, {"text": "a\0"}, [1]]
)
def test_what_is_no_comment_is_refused_with_the_place(site: Site, data: Any) -> None:
    address = record(site)
    with pytest.raises(Invalid) as refused:
        site.create(f"{address}/comments", data)
    assert refused.value.faults
    with pytest.raises(Invalid) as refused:
        site.create(f"{address}/comments", {"text": "x", "by": "somebody"})
    assert refused.value.faults[0].pointer == "/by"
    assert thread(site, address)["items"] == []
    say(site, address, "x" * 10_000)


def test_a_thread_is_paged_from_its_first_comment(site: Site) -> None:
    address, other = record(site), record(site)
    for number in range(5):
        say(site, address, str(number))
        say(site, other, "elsewhere")
    seen, query = [], "?_size=2"
    for _ in range(3):
        found = thread(site, address, query)
        seen += [one["text"] for one in found["items"]]
        query = f"?_size=2&_next={found['next']}"
    assert seen == ["0", "1", "2", "3", "4"]
    assert found["next"] is None


def test_a_comment_is_audited_and_the_same_one_sent_twice_is_one(site: Site) -> None:
    address = record(site)
    for _ in range(2):
        say(site, address, "Hello", idempotency_key="k")
    assert len(thread(site, address)["items"]) == 1
    [entry] = site.audit(resource=f"{address}/comments")
    assert (entry["action"], entry["subject"], entry["after"]["text"]) == ("create", "root", "Hello")


def test_comments_go_with_their_record(site: Site) -> None:
    address, other = record(site), record(site)
    for one in (address, address, other):
        say(site, one, "Hello")
    site.delete(address)
    left = [one.value["text"] for one in site.app.state.walk(app.Query("_comments"))]
    assert left == ["Hello"]
    assert len(thread(site, other)["items"]) == 1
    with pytest.raises(NotFound):
        thread(site, address)


def test_a_thread_that_is_full_says_so(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app.plugin("comments"), "MOST", 2)
    address = record(site)
    say(site, address, "1")
    say(site, address, "2")
    with pytest.raises(Conflict, match="2 comments"):
        say(site, address, "3")


def test_the_page_of_a_record_has_its_thread_and_a_box(tmp_path: Path) -> None:
    room = '[forms.room]\nprovider = "main"\ncomments = true\n[forms.room.fields]\ntitle = { required = true }\n'
    site = http_client.Site(tmp_path, edit=lambda toml: toml + room)
    root = site.token("**:*")
    address = site.send("/forms/room", {"title": "Blue"}, root)["Location"]
    page = site.get(address, root, Accept="text/html").text
    assert "Nobody has said anything yet." in page
    [action] = re.findall(r'action="([^"]*/comments[^"]*)"', page)
    for _ in range(2):  # pressed twice, it is there once
        answer = site.submit(html.unescape(action), {"text": "Too <b>small</b>"}, root)
        assert (answer.status, answer["Location"]) == (303, address)
    page = site.get(address, root, Accept="text/html").text
    assert page.count("Too &lt;b&gt;small&lt;/b&gt;") == 1
    assert ">ann</bdi>" in page
    again = site.submit(html.unescape(action), {"text": "Back and another"}, root)
    assert again.status == 422
    assert "sent before is there" in again.text
    [action] = re.findall(r'action="([^"]*/comments[^"]*)"', again.text)
    assert "Back and another</textarea>" in again.text
    long = site.submit(html.unescape(action), {"text": "x" * 10_001}, root)
    assert long.status == 422
    assert "at most 10,000 characters" in long.text
    assert f"{'x' * 10_001}</textarea>" in long.text
    assert "Too &lt;b&gt;small" in site.get(f"{address}/comments", root, Accept="text/html").text
    for number in range(51):
        site.send(f"{address}/comments", {"text": f"no {number}"}, root)
    page = site.get(address, root, Accept="text/html").text
    assert "no 50<" in page
    assert "no 0<" not in page
    assert f'href="{address}/comments"' in page
    site.close()
