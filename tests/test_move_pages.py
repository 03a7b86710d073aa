"""The pages of states: what a record's page says, its buttons, those of the list and of the home page, and what fails."""

from __future__ import annotations

import html
import re
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import app

sys.path.insert(0, str(Path(__file__).parent))
from http_client import Reply, Site
from visitor import HtmlForm, forms_of

STATES = """[roles.hr]
grants = ["forms/leave/records:read", "apps/*:read"]
[roles.boss]
grants = []
[forms.leave.states]
field = "status"
initial = "new"
moves = ["new>approved:hr", "new>rejected:hr", "rejected>new", "approved>paid:boss"]
titles = { approved = "Granted" }
badges = { approved = "good", rejected = "bad" }
"""
DEPUTY = ('address = { type = "string" }', 'address = {}\ndeputy = { type = "string", format = "person" }')
NAMED = '[forms.leave]\nname = "{reason}"\n'
GERMAN = """[i18n.de]
"forms.leave.states.title" = "Stand"
"forms.leave.states.titles.approved" = "Genehmigt"
"forms.leave.states.titles.new" = "Neu"
"""


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path, edit=lambda text: text.replace("[forms.leave]\n", NAMED).replace(*DEPUTY) + STATES + GERMAN)
    yield made
    made.close()


@pytest.fixture
def hr(site: Site) -> str:
    return site.token(roles=["hr"], subject="maria")


def submitted(site: Site, reason: str = "Ann") -> str:
    """The address of a new record."""
    made = site.send("/forms/leave", {"day": "2026-12-01", "reason": reason}, site.token("**:*"))
    return f"/forms/leave/records/{made.json['id']}"


def page(site: Site, address: str, token: str, **headers: str) -> Reply:
    return site.get(address, token, Accept="text/html", **headers)


def moves(shown: Reply) -> list[HtmlForm]:
    return [one for one in forms_of(shown.text) if "/move?" in one.action]


def press(site: Site, form: HtmlForm, to: str, token: str, comment: str = "", **headers: str) -> Reply:
    return site.submit(form.action, form.fields | {"to": to, "comment": comment}, token, **headers)


def said(shown: Reply) -> str:
    """The text of a page."""
    return " ".join(html.unescape(re.sub("<[^>]*>", " ", shown.text)).split())


def test_the_page_of_a_record_has_its_state_and_the_buttons_of_who_may_press_them(site: Site, hr: str) -> None:
    address = submitted(site)
    shown = page(site, address, hr)
    assert 'class="pill "' in shown.text
    assert re.findall(r'name="to" value="(\w+)"', shown.text) == ["approved", "rejected"]
    reader = page(site, address, site.token("forms/leave/records:read"))
    assert "New" in said(reader)
    assert not moves(reader)


def test_a_button_moves_and_the_page_says_who_and_when_and_why(site: Site, hr: str) -> None:
    address = submitted(site)
    [form] = moves(page(site, address, hr))
    done = press(site, form, "approved", hr, "Enjoy <it>")
    assert (done.status, done["Location"]) == (303, address)
    shown = site.get(address, hr, Accept="text/html", Cookie=done.cookie)
    assert "Ann is now: Granted." in said(shown)
    assert re.search(r"Granted by maria, 20\d\d-\d\d-\d\d", said(shown))
    assert "Enjoy &lt;it&gt;" in shown.text
    assert 'class="pill good"' in shown.text
    assert not moves(shown)


def test_a_double_click_moves_once(site: Site, hr: str) -> None:
    address = submitted(site)
    [form] = moves(page(site, address, hr))
    first, second = (press(site, form, "approved", hr) for _ in range(2))
    assert (first.status, second.status, second["Idempotency-Replayed"]) == (303, 303, "true")
    assert first["Location"] == second["Location"]
    assert site.get(address, hr).json["version"] == 2
    third = press(site, form, "rejected", hr)  # back, and the other button
    assert third.status == 422
    assert "You moved this to “Granted” already" in said(third)


def test_of_two_people_the_second_is_told_who_was_first_and_keeps_the_comment(site: Site, hr: str) -> None:
    address, other = submitted(site), site.token(roles=["hr"], subject="bo")
    [mine], [theirs] = moves(page(site, address, hr)), moves(page(site, address, other))
    assert press(site, theirs, "rejected", other).status == 303
    late = press(site, mine, "approved", site.token("forms/leave/records:update", roles=["hr"], subject="maria"), "Enjoy")
    assert late.status == 412
    assert "Somebody was faster: bo moved this to “Rejected” on 20" in said(late)
    assert site.get(address, hr).json["status"] == "rejected"
    assert ">Enjoy</textarea>" in late.text
    assert len(moves(late)) == 1


def test_who_changed_a_field_meanwhile_is_named_and_the_button_can_be_pressed_again(site: Site, hr: str) -> None:
    address = submitted(site)
    [form] = moves(page(site, address, hr))
    site.send(address, {"reason": "Anna"}, site.token("**:*", subject="per"), method="PATCH")
    late = press(site, form, "approved", hr, "Enjoy")
    assert late.status == 412
    assert "per changed this on 20" in said(late)
    [again] = moves(late)
    assert press(site, again, "approved", hr).status == 303


def test_what_fails_otherwise_shows_the_record_with_the_comment(site: Site, hr: str) -> None:
    address = submitted(site)
    [form] = moves(page(site, address, hr))
    long = press(site, form, "approved", hr, "x" * 2001)
    assert long.status == 422
    assert "The comment must have at most 2,000 characters" in said(long)
    assert "x" * 2001 in long.text
    reader = site.token("forms/leave/records:read")
    refused = press(site, form, "approved", reader)
    assert refused.status == 403
    assert "You may not move this" in said(refused)
    site.ask("DELETE", address, token=site.token("**:*"))
    gone = press(site, form, "approved", hr, "kept words")
    assert gone.status == 404
    assert "kept words" in said(gone)


def test_a_comment_goes_on_after_signing_in(site: Site, hr: str) -> None:
    address = submitted(site)
    [form] = moves(page(site, address, hr))
    out = press(site, form, "approved", "", "Enjoy")
    assert out.status == 401
    assert "Enjoy" in said(out)
    carried = next(one for one in forms_of(out.text) if "draft" in one.fields)
    shown = site.submit(f"{address}?_resume=1", {"draft": carried.fields["draft"]}, hr, Sec_Fetch_Site="same-origin")
    assert shown.status == 200
    assert "Your comment is here" in said(shown)
    [again] = moves(shown)
    assert press(site, again, "approved", hr).status == 303


def test_the_list_has_colours_and_buttons_for_each_row_and_comes_back(site: Site, hr: str) -> None:
    first, second = submitted(site, "Ann"), submitted(site, "Bo")
    site.send(f"{first}/move", {"to": "approved"}, hr)
    shown = page(site, "/forms/leave/records?_sort=reason", hr)
    assert re.findall(r'<td class="(state[^"]*)"', shown.text) == ["state good", "state"]
    [form] = moves(shown)
    assert form.action.startswith(f"{second}/move?")
    done = press(site, form, "approved", hr)
    assert done["Location"] == "/forms/leave/records?_sort=reason"
    again = site.get(done["Location"], hr, Accept="text/html", Cookie=done.cookie)
    assert "Bo is now: Granted." in said(again)
    assert not moves(again)
    reader = site.token("forms/leave/records:read")
    assert 'class="move' not in page(site, "/forms/leave/records", reader).text


def waiting(site: Site, token: str) -> str:
    found = re.search(r'<section class="waiting".*?</section>', page(site, "/", token).text, re.DOTALL)
    return " ".join(html.unescape(re.sub("<[^>]*>", " ", found[0])).split()) if found else ""


def test_the_home_page_says_what_waits_and_moves_it(site: Site, hr: str) -> None:
    assert waiting(site, hr) == ""
    addresses = [submitted(site, name) for name in ("Ann", "Bo", "Cy", "Di", "Ed", "Flo", "Gus")]
    assert re.search("Waiting for me New Ann Leave , since 20.* Ed Leave .* All that waits in “ Leave ”", waiting(site, hr))
    assert "Flo" not in waiting(site, hr)
    [form, *_] = moves(page(site, "/", hr))
    done = press(site, form, "rejected", hr)
    assert done["Location"] == "/"
    assert "Ann is now: Rejected." in said(site.get("/", hr, Accept="text/html", Cookie=done.cookie))
    assert "Ann" not in waiting(site, hr)
    assert waiting(site, site.token("forms/leave/records:read")) == ""
    assert waiting(site, site.token("forms/leave/records:read,update")) == ""  # to go back to the beginning may wait
    boss = site.token("forms/leave/records:read", roles=["boss"])
    site.send(f"{addresses[1]}/move", {"to": "approved"}, hr)
    assert re.search("Waiting for me ✓? ?Granted Bo", waiting(site, boss))


def test_a_provider_that_does_not_answer_is_named_and_the_home_page_is_there(
    site: Site, hr: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    submitted(site)
    waits = app.plugin("waiting")
    monkeypatch.setattr(waits, "_TIME_S", 0.05)
    held = threading.Event()

    def slow(*args: Any, **facts: Any) -> Any:
        held.wait(10)
        raise app.Unavailable("it is away")

    monkeypatch.setattr(site.app.providers["main"], "find", slow)
    monkeypatch.setattr(site.app.providers["main"], "find_texts", slow)
    try:
        assert waiting(site, hr) == "Waiting for me Could not be looked up just now: Leave"
    finally:
        held.set()


def test_a_provider_that_cannot_be_asked_so_is_not_named_each_time(
    site: Site, hr: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    submitted(site)

    def refuse(*args: Any, **facts: Any) -> Any:
        raise app.Unsupported("it cannot filter")

    monkeypatch.setattr(site.app.providers["main"], "find", refuse)
    assert waiting(site, hr) == ""


def test_states_speak_the_language_of_the_reader(site: Site, hr: str) -> None:
    address = submitted(site)
    shown = page(site, address, hr, Accept_Language="de")
    assert "Neu" in said(shown)
    assert "Genehmigt" in said(shown)
    done = press(site, moves(shown)[0], "approved", hr, Accept_Language="de")
    assert done.status == 303
    listed = page(site, "/forms/leave/records", hr, Accept_Language="de")
    assert "Stand" in said(listed)
    assert "Genehmigt" in said(listed)
    assert "Granted" in said(page(site, "/forms/leave/records", hr))


def test_a_state_that_is_not_known_any_more_is_shown_as_it_is(site: Site, hr: str) -> None:
    address = submitted(site)
    record = site.app.providers["main"].get("leave", address.rpartition("/")[2])
    site.app.providers["main"].commit([app.Update("leave", record.key, {**record.value, "status": "<old>"}, None)])
    for at in (address, "/forms/leave/records"):
        shown = page(site, at, hr)
        assert "&lt;old&gt;" in shown.text
        assert not moves(shown)


def test_what_is_ones_own_waits_for_one_and_is_moved_there(site: Site, hr: str) -> None:
    ann = site.token("forms/leave:create", "forms/leave/mine:update")
    key = site.send("/forms/leave", {"day": "2026-12-01", "reason": "Ann"}, ann).json["id"]
    own = f"/forms/leave/mine/{key}"
    assert waiting(site, ann) == ""
    site.send(f"/forms/leave/records/{key}/move", {"to": "rejected", "comment": "Which days?"}, hr)
    assert waiting(site, ann).startswith("Waiting for me Rejected Ann")
    shown = page(site, own, ann)
    assert "Which days?" in said(shown)
    [form] = moves(shown)
    assert form.action.startswith(f"{own}/move?")
    out = press(site, form, "new", "", "these")
    carried = next(one for one in forms_of(out.text) if "draft" in one.fields)
    again = site.submit(f"{own}?_resume=1", {"draft": carried.fields["draft"]}, ann, Sec_Fetch_Site="same-origin")
    assert ">these</textarea>" in again.text
    [at_home] = moves(page(site, "/", ann))
    assert press(site, at_home, "new", ann)["Location"] == "/"
    assert press(site, form, "new", ann).status == 412


def test_the_audit_trail_says_in_words_what_was_moved(site: Site, hr: str) -> None:
    address, root = submitted(site), site.token("**:*")
    site.send(f"{address}/move", {"to": "approved", "comment": "Enjoy"}, hr)
    listed = page(site, "/admin/audit", root)
    assert "moved a record in Leave to “Granted”" in said(listed)
    [row] = site.get("/admin/audit?subject=maria", root).json["items"]
    shown = page(site, f"/admin/audit/{row['id']}", root)
    assert "Comment Enjoy" in said(shown)


def test_a_record_that_names_one_waits_for_one_until_it_is_done_with(site: Site, hr: str) -> None:
    root, pia = site.token("**:*"), site.token("forms/leave/records:read", subject="pia")
    assert site.send("/admin/people", {"subject": "pia", "name": "Pia Holm"}, root).status == 201
    record = {"day": "2026-12-01", "reason": "Ann", "deputy": "pia"}
    made = site.send("/forms/leave", record, root)
    assert made.status == 201, made.text
    submitted(site, "Bo")
    assert waiting(site, pia).startswith("Waiting for me New Ann Leave , since 20")
    assert "Bo" not in waiting(site, pia)
    for to in ("approved", "paid"):
        assert waiting(site, pia)
        site.send(f"/forms/leave/records/{made.json['id']}/move", {"to": to}, root)
    assert waiting(site, pia) == ""
