"""plugins/pages.py, HTML: where pages lead to, what they say was done, lists and apps as pages."""

from __future__ import annotations

import html
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

import app

sys.path.insert(0, str(Path(__file__).parent))
from http_client import (
    PAGE,
    Site,
    action,
    fill,
    hidden,
    notice_of,
)

LEAVE = {"day": "2026-01-31", "days": 1.5}


def test_a_static_file_lasts_for_ever_only_under_its_own_version(site: Site) -> None:
    page = site.get("/login").text
    versioned = re.search(r'href="(/static/app.css\?v=[0-9a-f]+)"', page)
    assert versioned
    assert "immutable" in site.get(versioned[1])["Cache-Control"]
    for target in ("/static/app.css", "/static/app.css?v=old"):
        assert site.get(target)["Cache-Control"] == "no-cache"
    tag = site.get(versioned[1])["ETag"]
    assert site.get(versioned[1], If_None_Match=tag).status == 304
    for name in ("none.css", "..%2fapp.py", "%2e%2e", "app.css/"):
        assert site.get(f"/static/{name}").status == 404


def test_pages_hold_no_inline_script_style_or_handler(site: Site, staff: str) -> None:
    site.send("/forms/leave", LEAVE, staff)
    for target in (
        "/",
        "/forms/leave",
        "/forms/leave/records",
        "/files/docs/",
        "/views/numbers",
        "/apps/desk",
        "/login",
        "/x",
    ):
        page = site.get(target, staff, Accept="text/html").text
        assert not re.search(r"<script(?![^>]* src=)|<style|\sstyle=|\son\w+=|javascript:", page), target


def test_a_record_is_changed_and_deleted_through_its_pages(site: Site, staff: str) -> None:
    address = site.send("/forms/leave", LEAVE, staff)["Location"]
    edit = site.get(address + "?_edit=1", staff, Accept="text/html")
    assert 'value="2026-01-31"' in edit.text
    wrong = site.submit(action(edit), {"day": "x"}, staff)
    assert wrong.status == 422
    assert action(wrong) == action(edit)
    done = site.submit(action(edit), {"day": "2026-03-01", "days": "2"}, staff)
    assert (done.status, done["Location"]) == (303, address)
    assert site.get(address, staff).json["day"] == "2026-03-01"
    stale = site.submit(action(edit), {"day": "2026-04-01"}, staff)
    assert (stale.status, stale["Content-Type"]) == (412, "text/html; charset=utf-8")
    delete = action(site.get(address, staff, Accept="text/html"), "panel")
    site.send(address, {"days": 3}, staff, "PATCH")
    assert site.submit(delete, {}, staff).status == 412
    delete = action(site.get(address, staff, Accept="text/html"), "panel")
    gone = site.submit(delete, {}, staff)
    assert (gone.status, gone["Location"]) == (303, "/forms/leave/records")
    assert site.get(address, staff).status == 404


def test_a_page_says_once_what_was_done(site: Site, staff: str) -> None:
    address = site.send("/forms/papers", {"name": "LT-0100 <b>"}, staff)["Location"]
    edit = action(site.get(address + "?_edit=1", staff, Accept="text/html"))
    saved = site.submit(edit, {"name": "LT-0101 <b>"}, staff)
    assert notice_of(site, saved, staff) == "Saved LT-0101 <b>."
    assert notice_of(site, site.submit(edit, {"name": "LT-0101 <b>"}, staff), staff) == "Saved LT-0101 <b>.", "twice is once"
    delete = action(site.get(address, staff, Accept="text/html"), "panel")
    assert notice_of(site, site.submit(delete, {}, staff), staff) == "Deleted LT-0101 <b>."
    one = site.upload("/files/docs/a/", ("file", "plan für x.pdf", b"x"), token=staff, Accept="text/html")
    assert notice_of(site, one, staff) == "Uploaded plan für x.pdf."
    many = [("file", f"{number}.txt", b"x") for number in range(3)]
    assert (
        notice_of(site, site.upload("/files/docs/a/", *many, token=staff, Accept="text/html"), staff) == "3 files uploaded."
    )
    gone = site.submit("/files/docs/a/plan%20f%C3%BCr%20x.pdf?_method=DELETE", {}, staff)
    assert (gone["Location"], notice_of(site, gone, staff)) == ("/files/docs/a/", "Deleted plan für x.pdf.")


def test_a_second_press_of_delete_goes_to_where_the_first_one_went(site: Site, staff: str) -> None:
    address = site.send("/forms/papers", {"name": "LT-0100"}, staff)["Location"]
    delete = action(site.get(address + "?_list=_q%3DLT", staff, Accept="text/html"), "panel")
    for name in ("x", "y"):
        site.put(f"/files/docs/a/{name}", b"x", staff)
    for target, place in ((delete, "/forms/papers/records?_q=LT"), ("/files/docs/a/x?_method=DELETE", "/files/docs/a/")):
        assert site.submit(target, {}, staff)["Location"] == place
        again = site.submit(target, {}, staff)
        assert (again.status, again["Location"]) == (303, place)
        assert notice_of(site, again, staff) == "It was deleted already."
        assert site.ask("DELETE", target.partition("?")[0], None, {}, staff).status == 404, "a program is told"
        assert site.submit(target, {}, site.token("forms/papers:read")).status == 403


def test_two_presses_of_delete_at_the_same_time_delete_and_say_so(
    site: Site, staff: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = site.send("/forms/papers", {"name": "LT-0100"}, staff)["Location"]
    delete = action(site.get(address, staff, Accept="text/html"), "panel")
    site.send(address, {"name": "LT-0101"}, staff, "PATCH")
    assert site.submit(delete, {}, staff).status == 412, "it is there, and another one than was looked at"
    delete = action(site.get(address, staff, Accept="text/html"), "panel")
    handle = site.app.handle

    def be_late(request: app.Request, guard: Callable[[], None] | None = None) -> app.Response:
        response = handle(request, *([guard] if guard else []))
        if request.action == app.Action.DELETE:
            raise app.PreconditionFailed("the other press was faster")
        return response

    monkeypatch.setattr(site.app, "handle", be_late)
    reply = site.submit(delete, {}, staff)
    assert (reply.status, notice_of(site, reply, staff)) == (303, "It was deleted already.")


def test_after_the_last_file_of_a_folder_the_nearest_folder_that_is_left_says_so(site: Site, staff: str) -> None:
    site.put("/files/docs/a/%C3%BC%20b/c/last", b"x", staff)
    gone = site.submit("/files/docs/a/%C3%BC%20b/c/last?_method=DELETE", {}, staff)
    assert (gone["Location"], notice_of(site, gone, staff)) == ("/files/docs/", "Deleted last.")
    site.put("/files/docs/a/%C3%BC%20b/c/last", b"x", staff)
    site.put("/files/docs/a/other", b"x", staff)
    gone = site.submit("/files/docs/a/%C3%BC%20b/c/last?_method=DELETE", {}, staff)
    assert (gone["Location"], notice_of(site, gone, staff)) == ("/files/docs/a/", "Deleted last.")


def test_no_address_and_no_stranger_makes_a_page_say_what_was_not_done(site: Site, staff: str) -> None:
    name = f"satchel_notice_{site.app.site_id()}"
    true = re.search(rf"{name}=([^;]+)", site.submit("/files/docs/x?_method=DELETE", {}, "")["Set-Cookie"])
    assert true is None, "nothing was done"
    site.put("/files/docs/x", b"x", staff)
    sealed = re.search(rf"{name}=([^;]+)", site.submit("/files/docs/x?_method=DELETE", {}, staff)["Set-Cookie"])
    assert sealed
    for path, text in (
        ("/files/docs/?_done=Hello", ""), ("/files/docs/", "x.y"), ("/files/docs/", site.app.seal("form", '["", "Hello"]')),
        ("/files/docs/", "".join(reversed(sealed[1]))), ("/files/blobs/", sealed[1]),
    ):  # fmt: skip
        page = site.get(path, staff, Accept="text/html", Cookie=f"{name}={text}")
        assert not re.search(r'role="status"[^>]*>[^<]', page.text), path


def test_search_order_and_page_survive_an_edit_a_delete_and_the_way_back(site: Site, staff: str) -> None:
    for number in range(5):
        site.send("/forms/leave", LEAVE | {"reason": f"day & night {number}"}, staff)
    asked = "?_q=day+%26+night&_sort=-reason&_size=2&kind=paid"
    first = site.get(f"/forms/leave/records{asked}", staff, Accept="text/html")
    following = html.unescape(re.findall(r'href="([^"]*)" rel="next"', first.text)[0])
    page = site.get(following, staff, Accept="text/html")
    assert re.findall(r"day &amp; night (\d)", page.text) == ["2", "1"]
    record = html.unescape(re.findall(r'href="(/forms/leave/records/[0-9a-f]+[^"]*)"', page.text)[0])

    def is_same(target: str) -> None:
        again = site.get(html.unescape(target), staff, Accept="text/html")
        assert (again.status, re.findall(r"day &amp; night (\d)", again.text)[-1]) == (200, "1"), target

    shown = site.get(record, staff, Accept="text/html")
    is_same(re.findall(r'<p class="back"><a href="([^"]*)"', shown.text)[0])
    is_same(re.findall(r'<li><a href="([^"]*)"><bdi>Records', shown.text)[0])
    edit = site.get(html.unescape(re.findall(r'href="([^"]*_edit=1[^"]*)"', shown.text)[0]), staff, Accept="text/html")
    wrong = site.submit(action(edit), {"days": "many"}, staff)
    assert wrong.status == 422
    cancelled = html.unescape(re.findall(r'href="([^"]*)">Cancel', wrong.text)[0])
    assert cancelled == record
    saved = site.submit(action(wrong), {"days": "3"}, staff)
    assert saved["Location"] == record
    after = site.get(saved["Location"], staff, Accept="text/html")
    is_same(re.findall(r'<p class="back"><a href="([^"]*)"', after.text)[0])
    gone = site.submit(action(after, "panel"), {}, staff)
    left = site.get(gone["Location"], staff, Accept="text/html")
    assert (gone.status, re.findall(r"day &amp; night (\d)", left.text)) == (303, ["1", "0"]), "the same page, one less"


@pytest.mark.parametrize(
    "state", ["//evil.example", "https://evil.example/?a=1", "javascript:x", "%ff=1", "a" * 3000, 'x"=1']
)
def test_the_state_of_a_list_leads_nowhere_else(site: Site, staff: str, state: str) -> None:
    address = site.send("/forms/leave", LEAVE, staff)["Location"]
    page = site.get(f"{address}?_list={quote(state)}", staff, Accept="text/html")
    back = html.unescape(re.findall(r'<p class="back"><a href="([^"]*)"', page.text)[0])
    assert back.partition("?")[0] == "/forms/leave/records"
    assert site.get(f"{address}?_list=x", staff).status == 400, "to a program it is no parameter"


def test_a_folder_shows_the_same_page_after_an_upload_and_a_delete(site: Site, staff: str, share: str) -> None:
    for number in range(5):
        site.put(f"{share}/{number}.txt", b"x", staff)
    first = site.get(f"{share}/?_size=2", staff, Accept="text/html")
    following = html.unescape(re.findall(r'href="([^"]*)" rel="next"', first.text)[0])
    page = site.get(following, staff, Accept="text/html")
    assert re.findall(r"<bdi>(\d)\.txt</bdi></?[as]", page.text)[:1] == ["2"]
    asked = site.get(html.unescape(re.search(r'"(/[^"]*_do=delete[^"]*)"', page.text)[1]), staff, Accept="text/html")
    box = html.unescape(hidden(asked, "id") or re.search(r'name="id" value="([^"]*)"', asked.text)[1])
    deleted = site.submit(action(asked, "form several-asked"), {"do": "delete", "id": box, "sure": "1"}, staff)
    assert re.findall(r"<bdi>(\d)\.txt", site.get(deleted["Location"], staff, Accept="text/html").text)[0] == "3"
    done = site.upload(action(page, "upload"), ("file", "3a.txt", b"x"), token=staff, Accept="text/html")
    assert "<bdi>3a.txt" in site.get(done["Location"], staff, Accept="text/html").text


def test_the_next_page_of_a_page_is_a_page(site: Site, staff: str) -> None:
    fill(site, staff, 60)
    first = site.get("/forms/leave/records?kind=paid&_size=20", staff, Accept="text/html")
    following = re.search(r'href="([^"]*)" rel="next"', first.text)
    assert following
    second = site.get(html.unescape(following[1]), staff, Accept="text/html")
    assert second.status == 200
    assert 'rel="first"' in second.text


def words_of_count(site: Site, target: str, token: str) -> str:
    reply = site.get(target, token, **PAGE)
    assert reply.status == 200
    found = re.search(r'<p class="count">\s*(.*?)\s*</p>', reply.text)
    return found[1] if found else ""


def test_pages_of_lists_say_how_many_there_are_and_json_only_when_asked(site: Site) -> None:
    root = site.token("**:*")
    waiting = [{"kind": "paid", "days": n % 7, "created_by": "ann"} for n in range(10_001)]
    for start in range(0, len(waiting), 2000):
        writes = [app.Insert("leave", f"{start + n:05}", row) for n, row in enumerate(waiting[start : start + 2000])]
        site.app.providers["main"].commit(writes)
    for target, words in (
        ("/forms/leave/records", "10,000+ rows"),
        ("/forms/leave/records?days=0", "1,429 rows"),
        ("/forms/leave/records?id=00001", "1 row"),
        ("/forms/leave/records?days=99", "0 rows"),
        ("/forms/leave/records?_count=1", "10,001 rows"),
        ("/views/waiting", "10,000+ rows"),
        ("/views/waiting?days__gt=3&_size=10", "4,285 rows"),
        ("/views/numbers?top=10001", "10,000+ rows"),
        ("/views/numbers?top=10000&_sort=-i", "10,000 rows"),
        ("/views/numbers?top=10000&i__lte=70&_q=row", "70 rows"),
        ("/views/numbers?top=3", "3 rows"),
        ("/admin/audit?subject=test", "1 row"),
        ("/admin/tokens?_size=1", "1 row"),
    ):
        assert words_of_count(site, target, root) == words, target
    assert site.get("/forms/leave/records?_count=1&days=0", root).json["count"] == 1429
    assert site.get("/views/numbers?top=70&_count=1&_size=1", root).json["count"] == 70
    assert "count" not in site.get("/forms/leave/records", root).json
    following = site.get("/views/numbers?top=70&_size=60", root).json["next"]
    assert words_of_count(site, f"/views/numbers?top=70&_size=60&_next={following}", root) == "70 rows"


def test_a_folder_says_how_many_files_it_has(site: Site) -> None:
    root = site.token("**:*")
    for name in ("a.txt", "b.txt", "sub/c.txt"):
        site.put(f"/files/docs/{name}", b"x", root)
    assert words_of_count(site, "/files/docs/", root) == "1 folder, 2 files"
    assert words_of_count(site, "/files/docs/sub/", root) == "1 file"
    assert words_of_count(site, "/files/docs/?_size=2", root) == "1 folder, 2 files"


def test_a_count_that_takes_too_long_is_left_out_and_the_page_comes(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    root, asked = site.token("**:*"), []
    provider: Any = site.app.providers["main"]

    def late(select: app.Select, most: int | None = None) -> int:
        asked.append((select.timeout_s, most))
        raise app.QueryTimeout("the query took too long")

    monkeypatch.setattr(provider, "count_rows", late)
    assert words_of_count(site, "/views/numbers?top=100", root) == ""
    assert asked == [(app.COUNT_S, app.COUNTED + 1)]
    assert site.get("/views/numbers?top=100&_count=1", root).status == 504
    assert len(site.get("/views/numbers?top=100", root).json["items"]) == 50
    assert len(asked) == 2


def test_an_admin_list_offers_no_sorting_that_it_would_refuse(site: Site, staff: str) -> None:
    page = site.get("/admin/audit", staff, Accept="text/html").text
    assert "_sort=" not in page
    assert "_sort=" in site.get("/views/numbers", staff, Accept="text/html").text


def test_an_app_shows_its_own_template_its_menu_and_its_static_files(site: Site, staff: str) -> None:
    site.send("/forms/leave", LEAVE, staff)
    page = site.get("/apps/desk", staff, Accept="text/html").text
    assert "<p>1 waiting</p>" in page
    css = site.get("/apps/desk/static/desk.css", staff)
    assert (css["Content-Type"], css.body) == ("text/css; charset=utf-8", b"p { color: red }")
    assert site.get("/apps/desk/static/../app.db", staff).status == 400
    assert 'rel="noopener noreferrer"' in site.get("/apps/bare", staff, Accept="text/html").text


def test_an_apps_template_reads_as_its_caller(site: Site) -> None:
    assert site.get("/apps/desk", site.token("apps/desk:read"), Accept="text/html").status == 403
