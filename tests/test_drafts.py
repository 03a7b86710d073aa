"""plugins/pages.py, DRAFTS: nothing that was typed or chosen is lost."""

from __future__ import annotations

import html
import json
import re
import sys
import time
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlencode

import pytest

import app

sys.path.insert(0, str(Path(__file__).parent))
from http_client import (
    FORM,
    MULTIPART,
    PAGE,
    Reply,
    Site,
    action,
    hidden,
    multipart,
)
from visitor import forms_of

LEAVE = {"day": "2026-01-31", "days": 1.5}


def test_a_wrong_form_comes_back_with_its_values_messages_and_submission_id(site: Site, staff: str) -> None:
    page = site.get("/forms/leave", staff, Accept="text/html")
    target = action(page)
    wrong = site.submit(target, {"day": "", "days": "lots", "reason": 'a "quoted" <b>'}, staff)
    assert (wrong.status, wrong["Content-Type"]) == (422, "text/html; charset=utf-8")
    assert action(wrong) == target
    assert "is missing" in wrong.text
    assert 'value="lots"' in wrong.text
    assert "a &quot;quoted&quot; &lt;b&gt;" in wrong.text
    assert 'href="#f-day"' in wrong.text
    right = site.submit(target, {"day": "2026-01-31"}, staff)
    assert right.status == 303
    assert "Sent." in site.get(right["Location"], staff, Accept="text/html").text


def test_a_double_submit_makes_one_record(site: Site, staff: str) -> None:
    target = action(site.get("/forms/leave", staff, Accept="text/html"))
    first, second = (site.submit(target, {"day": "2026-01-31"}, staff) for _ in range(2))
    assert (first.status, second.status) == (303, 303)
    assert first["Location"] == second["Location"]
    assert second["Idempotency-Replayed"] == "true"
    assert len(site.get("/forms/leave/records", staff).json["items"]) == 1


def test_back_and_another_value_is_told_and_can_be_sent_as_a_second_record(site: Site, staff: str) -> None:
    target = action(site.get("/forms/leave", staff, Accept="text/html"))
    site.submit(target, {"day": "2026-01-31"}, staff)
    told = site.submit(target, {"day": "2026-02-01"}, staff)
    assert (told.status, told["Content-Type"]) == (422, "text/html; charset=utf-8")
    assert "was sent before, with other values" in told.text
    assert 'value="2026-02-01"' in told.text
    again = action(told)
    assert again != target
    assert site.submit(again, {"day": "2026-02-01"}, staff).status == 303
    assert len(site.get("/forms/leave/records", staff).json["items"]) == 2


def fields_of(page: Reply, target: str) -> tuple[str, dict[str, str]]:
    """The address and the fields, filled as they are, of the page's form whose address begins with `target`."""
    found = next(one for one in forms_of(page.text) if one.action.startswith(target))
    return found.action, found.fields


def send_papers(site: Site, target: str, token: str, *parts: tuple[str, str | None, bytes | str], **headers: str) -> Reply:
    return site.upload(target, *parts, token=token, Accept="text/html", Sec_Fetch_Site="same-origin", **headers)


def staged_files(site: Site) -> int:
    return len(list((site.folder / "disk" / ".satchel" / "staged").glob("*")))


def a_session(site: Site, *grants: str, subject: str = "ann") -> tuple[str, app.Token]:
    token = site.app.office.issue(app.Caller("test"), subject, grants, [], 3600)
    return site.sign_in(site.app.authority.jwt(token)), token


ENDS = ["expired", "revoked", "signed out"]


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("encoding", ["urlencoded", "multipart"])
def test_a_session_that_ends_while_typing_loses_nothing(site: Site, end: str, encoding: str) -> None:
    cookie, token = a_session(site, "forms/leave:create", "forms/papers:create")
    form = "papers" if encoding == "multipart" else "leave"
    target = action(site.get(f"/forms/{form}", cookie, Accept="text/html"))
    if end == "expired":
        site.app.clock = site.app.authority._clock = lambda: time.time() + 3601
    elif end == "revoked":
        site.app.office.revoke(app.Caller("test"), [token])
    else:
        out = site.submit("/logout", {}, cookie, Sec_Fetch_Site="same-origin")
        cookie = re.search(r"satchel_ended_\w+=[\w-]+", out["Set-Cookie"])[0]  # all that the browser has of it
    if encoding == "multipart":
        parts = ("paper", "plan.txt", b"the plan"), ("name", None, 'Zoë & "Co" <b>')
        lost = send_papers(site, target, "", *parts, Cookie=cookie)
    else:
        lost = site.submit(target, {"day": "2026-01-31", "reason": "two\nlines"}, Cookie=cookie)
    assert (lost.status, "Nothing you typed is lost" in lost.text) == (401, True)
    assert lost["WWW-Authenticate"].startswith("Bearer")
    again = site.app.authority.jwt(site.app.office.issue(app.Caller("test"), "ann", ["forms/**:*", "files/**:*"], [], 9999))
    if end == "signed out":  # wrong first: it is carried on
        lost = site.submit("/login", fields_of(lost, "/login")[1] | {"token": "x"}, Cookie=cookie)
        assert lost.status == 401
    filled = site.submit("/login", fields_of(lost, "/login")[1] | {"token": again})
    assert (filled.status, filled["Set-Cookie"] != "") == (200, True)
    onward, fields = fields_of(filled, f"/forms/{form}")
    assert onward == target, "it is still the same submission"
    if encoding == "multipart":
        assert fields["name"] == 'Zoë & "Co" <b>'
        assert "Current file: <bdi>plan.txt</bdi>" in filled.text
        done = send_papers(site, onward, filled.cookie, *((name, None, text) for name, text in fields.items()))
        twice = send_papers(site, onward, filled.cookie, *((name, None, text) for name, text in fields.items()))
        assert (twice.status, twice["Location"]) == (303, done["Location"])
    else:
        assert "two\nlines</textarea>" in filled.text
        done = site.submit(onward, {**fields, "reason": "two\nlines"}, filled.cookie, Sec_Fetch_Site="same-origin")
    assert done.status == 303, done.text
    [record] = site.get(f"/forms/{form}/records", again).json["items"]
    if encoding == "multipart":
        assert site.get("/" + record["paper"]["address"], again).body == b"the plan"
        assert staged_files(site) == 0
    else:
        assert (record["day"], record["reason"]) == ("2026-01-31", "two\nlines")


def test_the_cookie_outlives_the_session_by_a_day(site: Site) -> None:
    token = site.app.office.issue(app.Caller("test"), "ann", ["forms/papers:create"], [], 60)
    signed = site.submit("/login", {"token": site.app.authority.jwt(token)})
    [lasts] = re.findall(r"Max-Age=(\d+)", signed["Set-Cookie"])
    assert 86_400 < int(lasts) <= 86_460, (
        "a browser drops it when that is over, and with it what shows whose files those are"
    )


def test_signing_in_by_a_link_in_another_tab_goes_on_in_the_first(site: Site, staff: str) -> None:
    address = site.send("/forms/leave", LEAVE, staff)["Location"]
    cookie = site.sign_in(staff)
    edit = site.get(address + "?_edit=1", cookie, Accept="text/html")
    lost = site.submit(action(edit), {"day": "2026-07-01", "reason": "mine"}, site.cookie("A" * 43))
    target, fields = fields_of(lost, address)
    still = site.submit(target, fields)
    assert (still.status, fields_of(still, address)[1]["draft"]) == (401, fields["draft"]), "not signed in yet"
    filled = site.submit(target, fields, cookie)
    assert filled.status == 200
    assert site.get(address, staff).json["reason"] is None, "nothing is stored before it is sent"
    onward, again = fields_of(filled, address)
    assert again["day"] == "2026-07-01"
    assert site.submit(onward, again, cookie, Sec_Fetch_Site="same-origin").status == 303
    assert site.get(address, staff).json["day"] == "2026-07-01"
    other = site.submit(target, fields, site.token("views/**:read"))
    assert (other.status, 'class="form"' in other.text) == (403, False), "who may not use the form does not see it"


def test_signing_in_after_an_upload_or_a_delete_leads_back_to_where_it_was(site: Site, staff: str) -> None:
    site.put("/files/docs/a/x", b"x", staff)
    record = site.send("/forms/leave", LEAVE, staff)["Location"]
    for reply, back in (
        (site.upload("/files/docs/a/", ("file", "y", b"y"), Accept="text/html"), "/files/docs/a/"),
        (site.submit("/files/docs/a/x?_method=DELETE", {}), "/files/docs/a/"),
        (site.submit(f"{record}?_method=DELETE&_version=1", {}), record),
    ):
        assert (reply.status, "Nothing was done: sign in first" in reply.text) == (401, True)
        assert site.submit("/login", fields_of(reply, "/login")[1] | {"token": staff})["Location"] == back
        assert site.get(back, staff, Accept="text/html").status == 200


def test_an_edit_goes_on_after_signing_in_and_shows_what_changed_meanwhile(site: Site, staff: str) -> None:
    made = send_papers(site, "/forms/papers", staff, ("name", None, "Ann"), ("paper", "one.txt", b"one"))
    address = f"/forms/papers/records/{made['Location'].partition('=')[2]}"
    cookie, token = a_session(site, "forms/**:*")
    target, fields = fields_of(site.get(address + "?_edit=1", cookie, Accept="text/html"), address)
    site.app.office.revoke(app.Caller("test"), [token])
    typed = [(name, None, text) for name, text in (fields | {"name": "Bob"}).items() if name != "paper"]
    lost = send_papers(site, target, "", *typed, ("paper", "two.txt", b"two"), Cookie=cookie)
    site.send(address, {"name": "Carl"}, staff, "PATCH")
    filled = site.submit("/login", fields_of(lost, "/login")[1] | {"token": staff})
    assert re.findall(r"<dt>(Now|Yours)</dt><dd><bdi>(.*?)</bdi>", filled.text) == [("Now", "Carl"), ("Yours", "Bob")]
    onward, fields = fields_of(filled, address)
    done = send_papers(site, onward, filled.cookie, *((name, None, text) for name, text in fields.items()))
    assert (done.status, site.get(address, staff).json["name"]) == (303, "Bob")
    assert site.get(f"{address}/paper", staff).body == b"two"
    assert staged_files(site) == 0


def test_strangers_leave_no_files_and_little_text(site: Site, staff: str) -> None:
    target = action(site.get("/forms/papers", staff, Accept="text/html"))
    for cookie in ("", site.cookie("A" * 43), f"satchel_ended_{site.app.site_id()}={'A' * 43}"):
        lost = send_papers(site, target, "", ("paper", "p.txt", b"x" * 9000), ("name", None, "Ann"), Cookie=cookie)
        assert lost.status == 401
        assert "have to be chosen again" in lost.text
        assert json.loads(html.unescape(fields_of(lost, "/login")[1]["draft"]))["typed"]["name"] == ["Ann"]
    assert staged_files(site) == 0
    huge = site.submit(target, {"name": "x" * 2_000_000})
    assert (huge.status, len(huge.body) < 100_000, "was too long to be kept here" in huge.text) == (401, True, True)
    filled = site.submit("/login", fields_of(lost, "/login")[1] | {"token": staff})
    assert "choose the file again" in filled.text
    for draft in ("x", "[]", "{}", '{"at": "files/docs", "typed": {}}', '{"at": 1}', "[" * 9999):
        assert site.submit("/login", {"token": staff, "draft": draft})["Location"] == "/"


def test_an_ended_session_keeps_one_submit_and_for_a_day(site: Site) -> None:
    cookie, token = a_session(site, "forms/papers:create")
    site.app.office.revoke(app.Caller("test"), [token])
    for content in (b"one", b"two", b"three"):
        send_papers(site, "/forms/papers", "", ("paper", "p.txt", content), ("name", None, "Ann"), Cookie=cookie)
        assert staged_files(site) == 1
    for path in ("/forms/papers", "/forms/nothing", "/forms/leave"):
        send_papers(site, path, "", ("other", "p.txt", b"x"), Cookie=cookie)
    assert staged_files(site) == 0, "what no field takes is not kept"
    site.app.clock = site.app.authority._clock = lambda: time.time() + 86_400 + 60
    send_papers(site, "/forms/papers", "", ("paper", "p.txt", b"late"), ("name", None, "Ann"), Cookie=cookie)
    assert staged_files(site) == 0


def test_files_for_a_folder_that_come_after_the_session_ended_are_kept_through_signing_in(site: Site) -> None:
    cookie, token = a_session(site, "files/docs:*")
    site.app.office.revoke(app.Caller("test"), [token])
    fresh = site.token("files/docs:*")
    site.put("/files/docs/in%20it/old", b"x", fresh)
    files = [("file", "ü a.txt", b"one"), ("file", "b.txt", b"two")]
    late = send_papers(site, "/files/docs/in%20it/", "", *files, Cookie=cookie)
    assert (late.status, staged_files(site)) == (401, 2)
    assert "Chosen file: <bdi>ü a.txt</bdi>" in late.text
    target, fields = fields_of(late, "/login")
    wrong = site.submit(target, fields | {"token": "x"})
    assert wrong.status == 401
    tab = fields_of(wrong, "/files/docs/in%20it/")  # signed in by a link in another tab
    page = site.submit(tab[0], tab[1], fresh)
    assert (page.status, "Store what is kept" in page.text) == (200, True)
    assert site.submit(tab[0], tab[1]).status == 401, "not signed in yet"
    page = site.submit(target, fields_of(wrong, "/login")[1] | {"token": fresh})
    assert "Store what is kept" in page.text
    assert [one["name"] for one in site.get("/files/docs/in%20it/", fresh).json["items"]] == ["old"]
    [form] = [one for one in forms_of(page.text) if "_staged" in one.fields]
    staged = re.findall(r'name="_staged" value="([^"]*)"', page.text)
    body = urlencode([("_token", form.fields["_token"]), *(("_staged", one) for one in staged)]).encode()
    stored = site.ask("POST", form.action, body, FORM | {"Accept": "text/html"}, fresh)
    assert (stored.status, stored["Location"]) == (303, "/files/docs/in%20it/")
    assert site.get("/files/docs/in%20it/%C3%BC%20a.txt", fresh).body == b"one"
    assert site.get("/files/docs/in%20it/b.txt", fresh).body == b"two"
    assert staged_files(site) == 0


def test_of_a_stranger_no_file_for_a_folder_is_kept(site: Site) -> None:
    for cookie in ("", site.cookie("A" * 43), f"satchel_ended_{site.app.site_id()}={'A' * 43}"):
        lost = send_papers(site, "/files/docs/", "", ("file", "a.txt", b"one"), Cookie=cookie)
        assert (lost.status, staged_files(site), "Nothing was done" in lost.text) == (401, 0, True)
    facts = {"version": "", "submission": "", "typed": {}, "held": {"0": "b"}, "lost": [], "list": ""}
    for draft in (
        {"at": 1, **facts},
        {"at": "views/waiting", **facts},
        {"at": "files/docs/"},
        {"at": "files/docs/", **facts},
    ):
        page = site.submit("/login", {"token": site.token("**:*"), "draft": json.dumps(draft)})
        assert (page.status, page["Location"]) == (303, "/")
    reply = site.submit("/files/docs/", {"_staged": "b"}, site.token("**:*"))
    assert reply.status == 400


OF_NO_PAGE = ', "version": "", "submission": "", "held": {}, "lost": [], "list": ""}'


HOSTILE_DRAFTS = [
    '{"folder": "files/docs/", "kept": [["a", "b"]], "lost": 1e1000000}',
    '{"folder": "files/docs/\\ud800", "kept": [["a", "b"]], "lost": 0}',
    '{"folder": "files/docs/", "kept": [["\\ud800", "b"]], "lost": 0}',
    '{"at": "forms/leave", "typed": {"reason": ["\\ud800"]}' + OF_NO_PAGE,
    '{"at": "forms/leave/records/\\ud800", "typed": {}' + OF_NO_PAGE,
]


@pytest.mark.parametrize("draft", HOSTILE_DRAFTS)
def test_a_draft_that_no_page_made_holds_nobody_up_and_is_no_fault_of_the_server(site: Site, draft: str) -> None:
    began = time.process_time()
    for target in ("/login", "/files/docs/?_resume=1", "/forms/leave?_resume=1"):
        assert site.submit(target, {"token": "x", "draft": draft}).status in (303, 401), target
    assert site.submit("/login", {"token": site.token("**:*"), "draft": draft}).status == 303
    assert time.process_time() - began < 2


def test_files_of_a_form_are_bounded_together_however_often_a_field_comes(site: Site, staff: str) -> None:
    parts = [("paper", f"{n}.txt", b"x" * 15_000) for n in range(8)]
    page = send_papers(site, "/forms/papers", staff, *parts, ("name", None, "Ann"))
    assert (page.status, fields_of(page, "/forms/papers")[1]["name"]) == (413, "Ann")
    assert "is too large" in page.text
    assert staged_files(site) == 0


def test_what_is_kept_of_an_upload_outlasts_a_session_and_a_provider_that_is_away(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    cookie, token = a_session(site, "files/docs:*")
    fresh = site.token("files/docs:*")
    site.put("/files/docs/a.txt", b"one", fresh)
    page = send_papers(site, "/files/docs/", "", ("file", "a.txt", b"two"), Cookie=cookie)
    assert page.status == 409
    pressed = {"_token": hidden(page, "_token"), "_staged": hidden(page, "_staged"), "_replace": "1"}

    def away(*args: Any, **more: Any) -> NoReturn:
        raise app.Unavailable("it is away")

    with monkeypatch.context() as patch:
        patch.setattr(type(site.app.resources["files/docs"].blobs), "publish", away)
        failed = site.submit("/files/docs/", pressed, fresh)
    assert (failed.status, hidden(failed, "_staged")) == (503, pressed["_staged"])
    site.app.office.revoke(app.Caller("test"), [token])
    late = site.ask("POST", "/files/docs/", urlencode(pressed), FORM | {"Accept": "text/html", "Cookie": cookie})
    assert late.status == 401
    target, fields = fields_of(late, "/login")
    back = site.submit(target, fields | {"token": fresh})
    assert hidden(back, "_staged") == pressed["_staged"]
    assert site.submit("/files/docs/", {**pressed, "_token": hidden(back, "_token")}, fresh).status == 303
    assert site.get("/files/docs/a.txt", fresh).body == b"two"


def test_a_held_file_is_its_senders_alone_and_is_used_once(site: Site, staff: str) -> None:
    wrong = send_papers(site, "/forms/papers", staff, ("paper", "a.txt", b"mine"), ("name", None, "A"))
    assert (wrong.status, staged_files(site)) == (422, 1)
    target, fields = fields_of(wrong, "/forms/papers")
    sealed = fields["_held_paper"]
    bob = site.token(roles=["staff"], subject="bob")

    def stored(sender: str, *more: tuple[str, str | None, bytes | str], held: str = sealed, to: str = "") -> Any:
        parts = ("name", None, "Ann"), ("_held_paper", None, held), *more
        done = send_papers(site, to or "/forms/papers", sender, *parts)
        if done.status == 422:
            assert "is no longer kept here: choose the file again" in done.text
            assert "_held_paper" not in done.text
            return 422
        key = done["Location"].partition("=")[2]
        paper = site.get(f"/forms/papers/records/{key}", staff).json["paper"]
        return paper and site.get("/" + paper["address"], staff).body

    assert stored(bob) == 422
    assert stored(staff, held=sealed[:-3] + "abc") == 422
    assert stored(staff, held=site.app.seal("form", "x")) == 422
    facts = json.loads(site.app.unseal("held file", sealed) or "")
    assert stored(staff, held=site.app.seal("held file", json.dumps(["forms/other", *facts[1:]]))) == 422
    assert stored(staff, held=site.app.seal("held file", json.dumps([*facts[:2], "blobs", *facts[3:]]))) == 422
    assert stored(staff, ("_drop_paper", None, "1")) is None
    assert stored(staff, ("paper", "b.txt", b"another")) == b"another"
    again = send_papers(site, target, staff, ("name", None, "A"), ("paper", "", b""), ("_held_paper", None, sealed))
    assert (again.status, "Current file: <bdi>a.txt</bdi>" in again.text) == (422, True), (
        "a second wrong submit keeps it too"
    )
    assert stored(staff, to=target) == b"mine"
    assert stored(staff, to=target) == b"mine", "a replay is the same record"
    assert len(site.get("/forms/papers/records", staff).json["items"]) == 3
    assert stored(staff) == 422, "it was used"


def test_an_edit_conflict_shows_now_beside_yours_with_both_ways_out(site: Site, staff: str) -> None:
    address = site.send("/forms/leave", LEAVE | {"reason": "theirs", "kind": "paid"}, staff)["Location"]
    edit = site.get(address + "?_edit=1", staff, Accept="text/html")
    site.send(address, {"days": 4, "reason": "theirs <2>"}, staff, "PATCH")
    stale = site.submit(action(edit), {"day": "2026-01-31", "days": "1.5", "reason": "mine", "kind": "unpaid"}, staff)
    assert stale.status == 412
    shown = re.findall(r"<dt>(Now|Yours)</dt><dd><bdi>(.*?)</bdi>", stale.text)
    assert shown == [
        ("Now", "4"), ("Yours", "1.5"), ("Now", "paid"), ("Yours", "unpaid"), ("Now", "theirs &lt;2&gt;"), ("Yours", "mine"),
    ]  # fmt: skip
    assert f'href="{address}">Take theirs</a>' in stale.text
    assert ">Save mine anyway</button>" in stale.text
    target, fields = fields_of(stale, address)
    saved = site.submit(target, {**fields, "reason": "mine", "kind": "unpaid"}, staff)
    assert (saved.status, saved["Location"]) == (303, address)
    assert site.submit(target, {**fields, "reason": "mine", "kind": "unpaid"}, staff).status == 303, "twice is once"
    assert [site.get(address, staff).json[name] for name in ("version", "reason", "days")] == [3, "mine", 1.5]


def test_a_value_that_is_typed_on_the_page_of_a_conflict_is_stored_though_it_once_stood_there(
    site: Site, staff: str
) -> None:
    address = site.send("/forms/leave", LEAVE | {"reason": "open"}, staff)["Location"]
    edit = site.get(address + "?_edit=1", staff, Accept="text/html")
    target, fields = fields_of(edit, address)
    site.send(address, {"reason": "closed"}, staff, "PATCH")
    stale = site.submit(target, {**fields, "reason": "pending"}, staff)
    target, fields = fields_of(stale, address)
    assert (stale.status, site.submit(target, {**fields, "reason": "open"}, staff).status) == (412, 303)
    assert site.get(address, staff).json["reason"] == "open"


def test_an_edit_of_what_was_deleted_comes_back_as_a_new_form(site: Site, staff: str) -> None:
    address = site.send("/forms/leave", LEAVE, staff)["Location"]
    edit = site.get(address + "?_edit=1", staff, Accept="text/html")
    site.ask("DELETE", address, None, {}, staff)
    gone = site.submit(action(edit), {"day": "2026-07-01", "reason": "much work"}, staff)
    assert (gone.status, "was deleted while you were editing it" in gone.text) == (404, True)
    target, fields = fields_of(gone, "/forms/leave?")
    assert fields["day"] == "2026-07-01"
    assert site.submit(target, fields, staff).status == 303


def test_a_file_that_is_too_large_leaves_the_rest_of_the_form(site: Site, staff: str) -> None:
    for size, status in ((30_000, 422), (3_000_000, 413)):
        parts = ("paper", "big.txt", b"x" * size), ("name", None, "After the file")
        page = send_papers(site, "/forms/papers", staff, *parts)
        assert (page.status, "is too large: at most 20 kB" in page.text) == (status, True)
        assert fields_of(page, "/forms/papers")[1]["name"] == "After the file"
    assert staged_files(site) == 0
    assert site.upload("/forms/papers", ("paper", "b.txt", b"x" * 3_000_000), token=staff).status == 413
    for headers, body in (
        (FORM, urlencode({"reason": "y" * 70_000, "day": "2026-07-01"})),
        (MULTIPART, multipart(("reason", None, "y" * 70_000), ("day", None, "2026-07-01"))),
    ):
        page = site.ask("POST", "/forms/leave", body, headers | PAGE, staff)
        assert (page.status, "y" * 70_000 in page.text, "at most 64 kB" in page.text) == (413, True, True)
        assert fields_of(page, "/forms/leave")[1]["day"] == "2026-07-01"


def test_what_is_far_too_large_is_said_in_a_persons_units(site: Site, staff: str) -> None:
    page = site.submit("/forms/leave", {"reason": "y" * 600_000}, staff)
    assert (page.status, "what is typed may have 64 kB in all" in page.text) == (413, True)
    for reply in (
        site.put("/files/docs/big", b"x" * 1_200_000, staff),
        site.upload("/files/docs/", ("file", "big", b"x" * 1_200_000), token=staff),
        site.upload("/files/docs/", ("file", "big", b"x" * 1_200_000), token=staff, Accept="text/html"),
    ):
        assert (reply.status, "at most 1 MB are taken here" in reply.text) == (413, True)


def test_a_refused_submit_comes_back_with_everything_in_it(site: Site) -> None:
    reader, _ = a_session(site, "forms/papers:read")
    page = send_papers(site, "/forms/papers", reader, ("paper", "p.txt", b"x"), ("name", None, "Typed"))
    assert (page.status, fields_of(page, "/forms/papers")[1]["name"]) == (403, "Typed")
    assert ("You may not send this form" in page.text, staged_files(site)) == (True, 0)
    nobody, _ = a_session(site, "views/**:read")
    page = send_papers(site, "/forms/papers", nobody, ("name", None, "Typed"))
    assert (page.status, "<bdi>Typed</bdi>" in page.text, 'name="paper"' in page.text) == (403, True, False)
    assert "You may not send this form. If you should, ask" in page.text
    writer, _ = a_session(site, "forms/papers:create")
    parts = ("paper", "p.txt", b"x"), ("name", None, "Typed"), ("_token", None, "old")
    old = site.upload("/forms/papers", *parts, token=writer, Accept="text/html")
    assert (old.status, "too old" in old.text, staged_files(site)) == (403, True, 1)
    target, fields = fields_of(old, "/forms/papers")
    assert site.upload(target, *((n, None, t) for n, t in fields.items()), token=writer, Accept="text/html").status == 303
    across = site.upload("/forms/papers", *parts, token=writer, Accept="text/html", Sec_Fetch_Site="cross-site")
    assert (across.status, "came from another site" in across.text, staged_files(site)) == (403, True, 0)
    assert fields_of(across, "/forms/papers")[1]["name"] == "Typed"


@pytest.mark.parametrize(
    "error", [app.Unavailable("away"), app.StorageFull("full"), RuntimeError("a bug"), app.Busy("at work")]
)
def test_a_provider_that_fails_loses_nothing(
    site: Site, staff: str, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    store: Any = site.app.providers["main"]
    commit, target = store.commit, action(site.get("/forms/papers", staff, Accept="text/html"))

    def fails(writes: Any) -> Any:
        if any(write.table == "papers" for write in writes):
            raise error
        return commit(writes)

    monkeypatch.setattr(store, "commit", fails)
    page = send_papers(site, target, staff, ("paper", "p.txt", b"the plan"), ("name", None, "Typed"))
    for _ in range(2):  # a held file outlives more failures
        assert page.status == getattr(error, "status", 500)
        assert page["Retry-After"] or not getattr(error, "retry", False)
        onward, fields = fields_of(page, "/forms/papers")
        assert (onward, fields["name"], staged_files(site)) == (target, "Typed", 1)
        assert "a bug" not in page.text
        page = send_papers(site, onward, staff, *((name, None, text) for name, text in fields.items()))
    monkeypatch.undo()
    done = send_papers(
        site, onward, staff, *((name, None, text) for name, text in fields_of(page, "/forms/papers")[1].items())
    )
    assert done.status == 303
    [record] = site.get("/forms/papers/records", staff).json["items"]
    assert site.get("/" + record["paper"]["address"], staff).body == b"the plan"


def test_where_the_form_itself_is_away_its_texts_are_kept_on_the_page(
    site: Site, staff: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*args: Any) -> Any:
        raise app.Unavailable("provider main is away")

    address = site.send("/forms/leave", LEAVE, staff)["Location"]
    edit = action(site.get(address + "?_edit=1", staff, Accept="text/html"))
    with monkeypatch.context() as patch:
        patch.setattr(site.app.providers["main"], "get", away)
        patch.setattr(site.app.providers["main"], "mark", lambda: None)
        page = site.submit(edit, {"day": "2026-07-01", "reason": "typed"}, staff)
        assert (page.status, "<bdi>typed</bdi>" in page.text) == (503, True)
    target, fields = fields_of(page, address)
    filled = site.submit(target, fields, staff)
    assert (filled.status, fields_of(filled, address)[1]["day"]) == (200, "2026-07-01")


def test_a_form_with_files_may_be_as_large_as_its_files_may(site: Site, staff: str) -> None:
    most = site.app.held.body_limit("forms/papers")
    assert most > site.runner.config.max_body_bytes

    def send(size: int) -> int:
        frame = len(multipart(("x", None, "a" * 50_000), ("paper", "a.txt", b"")))
        body = multipart(("x", None, "a" * 50_000), ("paper", "a.txt", b"x" * (size - frame)))
        assert len(body) == size
        return site.ask("POST", "/forms/papers", body, MULTIPART, staff).status

    assert [send(most), send(most + 1)] == [422, 413]


def test_a_submission_id_that_was_not_given_here_is_refused(site: Site, staff: str) -> None:
    for forged in ("x", "x.y", "eA.AAAA", site.app.seal("form", "x")):
        assert site.submit(f"/forms/leave?_submission={forged}", {"day": "2026-01-31"}, staff).status == 400


def test_a_button_that_is_no_submit_brings_the_page_back_and_stores_nothing(site: Site, staff: str) -> None:
    target = action(site.get("/forms/papers", staff, Accept="text/html"))
    parts = (("name", None, "x"), ("paper", "a.txt", b"kept"), ("_again", None, "look"))
    back = site.upload(target, *parts, token=staff, Accept="text/html")
    assert (back.status, action(back)) == (200, target)
    assert 'value="x"' in back.text
    assert 'role="alert"' not in back.text
    assert site.get("/forms/papers/records", staff).json["items"] == []
    held = next(value for name, value in forms_of(back.text)[-1].fields.items() if name.startswith("_held_"))
    parts = (("name", None, "xy"), ("_held_paper", None, held), ("paper", "", b""))
    assert site.upload(target, *parts, token=staff, Accept="text/html").status == 303
    [record] = site.get("/forms/papers/records", staff).json["items"]
    assert site.get(f"/{record['paper']['address']}", staff).text == "kept"
    edit = action(site.get(f"/forms/papers/records/{record['id']}?_edit=1", staff, Accept="text/html"))
    back = site.submit(edit, {"name": "changed", "_again": "look"}, staff)
    assert (back.status, action(back)) == (200, edit)
    assert 'value="changed"' in back.text
    assert site.get(f"/forms/papers/records/{record['id']}", staff).json["version"] == 1
