"""plugins/uploads.py: files sent into a folder, by programs and by the page of the folder."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import app

sys.path.insert(0, str(Path(__file__).parent))
from http_client import (
    BOUNDARY,
    FORM,
    JSON,
    MULTIPART,
    PAGE,
    Site,
    hidden,
    multipart,
)

LEAVE = {"day": "2026-01-31", "days": 1.5}


def test_many_files_and_folders_go_up_in_one_form(site: Site, staff: str, share: str) -> None:
    parts = [("file", f"tree/{number % 3}/{number}.txt", f"content {number}") for number in range(60)]
    reply = site.upload(f"{share}/in", *parts, token=staff)
    assert (reply.status, len(reply.json["items"])) == (201, 60)
    assert site.get(f"{share}/in/tree/2/59.txt", staff).body == b"content 59"
    page = site.upload(f"{share}/in", ("file", "page.txt", "x"), token=staff, **PAGE)
    assert (page.status, page["Location"]) == (303, f"{share}/in")


def test_an_upload_replaces_only_where_it_says_so(site: Site, staff: str, share: str) -> None:
    assert site.upload(f"{share}/", ("file", "a", b"one"), token=staff).status == 201
    refused = site.upload(f"{share}/", ("file", "a", b"two"), token=staff)
    assert (refused.status, refused.json["code"]) == (409, "conflict")
    assert site.get(f"{share}/a", staff).body == b"one"
    assert site.upload(f"{share}/", ("_replace", None, "1"), ("file", "a", b"two"), token=staff).status == 201
    assert site.get(f"{share}/a", staff).body == b"two"


def test_a_page_says_behind_its_files_that_they_replace_others_or_stay_beside_them(
    site: Site, staff: str, share: str
) -> None:
    site.put(f"{share}/a.txt", b"one", staff)
    for field in ("_replace", "_keep_both"):
        sent = site.upload(
            f"{share}/", ("file", "a.txt", field), ("file", "new", b"n"), (field, None, "1"), token=staff, **PAGE
        )
        assert sent.status in (303, 207)
    assert [site.get(f"{share}/{name}", staff).text for name in ("a.txt", "a%20%282%29.txt")] == ["_replace", "_keep_both"]


def test_a_file_of_an_upload_whose_name_is_not_utf_8_stops_no_other_and_is_named(site: Site, staff: str, share: str) -> None:
    body = multipart(("file", "a\u00e9", b"a"), ("file", "b@", b"b"), ("file", "c", b"c")).replace(b"b@", b"b\xe9")
    reply = site.ask("POST", f"{share}/", body, MULTIPART, staff)
    assert (reply.status, [item["name"] for item in reply.json["items"]]) == (207, ["a\u00e9", "c"])
    assert [(one["name"], one["code"]) for one in reply.json["errors"]] == [("b\ufffd", "bad_request")]


BATCH = (("file", "a", b"two"), ("file", "tree/../x", b"x"), ("file", "big", b"x" * 1_000_001), ("file", "tree/b", b"b"))


def test_a_file_of_an_upload_that_is_refused_stops_no_other_and_is_named(site: Site, staff: str, share: str) -> None:
    site.put(f"{share}/a", b"one", staff)
    reply = site.upload(f"{share}/", *BATCH, token=staff)
    assert reply.status == 207
    assert [item["address"] for item in reply.json["items"]] == [f"{share}/tree/b".lstrip("/")]
    told = [(one["name"], one["code"], one["status"]) for one in reply.json["errors"]]
    assert told == [("a", "conflict", 409), ("tree/../x", "bad_request", 400), ("big", "too_large", 413)]
    assert all(one["detail"] for one in reply.json["errors"])
    assert site.get(f"{share}/a", staff).body == b"one"
    assert [row["name"] for row in site.get(f"{share}/", staff).json["items"]] == ["a", "tree"]


def test_an_upload_of_which_nothing_was_stored_is_a_problem_that_names_every_file(site: Site, staff: str) -> None:
    reply = site.upload("/files/pics/", ("file", "a.exe", b"x"), ("file", "b.txt", b"x" * 400_000), token=staff)
    assert (reply.status, reply["Content-Type"]) == (415, "application/problem+json")
    assert (reply.json["items"], [one["name"] for one in reply.json["errors"]]) == ([], ["a.exe", "b.txt"])


def test_files_of_an_upload_that_this_caller_may_not_write_stop_no_other(site: Site, share: str) -> None:
    inside = site.token(f"{share.strip('/')}/tree:create")
    reply = site.upload(f"{share}/", ("file", "tree/b", b"b"), ("file", "a", b"a"), token=inside)
    assert (reply.status, reply.json["errors"][0]["code"]) == (207, "insufficient_scope")
    assert site.upload(f"{share}/", ("file", "a", b"a"), ("file", "b", b"b"), token=inside).status == 403


def test_an_upload_that_is_cut_off_says_what_was_stored_before(site: Site, staff: str, share: str) -> None:
    body = multipart(("file", "a", b"a"), ("file", "b", b"b" * 1000))[:-600]
    reply = site.ask("POST", f"{share}/", body, MULTIPART, staff)
    assert reply.status == 207
    assert [item["name"] for item in reply.json["items"]] == ["a"]
    assert [one["code"] for one in reply.json["errors"]] == ["bad_request"]
    assert site.get(f"{share}/b", staff).status == 404


def test_a_program_may_keep_both_files_of_one_name(site: Site, staff: str, share: str) -> None:
    for _ in range(3):
        reply = site.upload(f"{share}/", ("_keep_both", None, "1"), ("file", "a.tar.gz", b"x"), token=staff)
        assert reply.status == 201
    names = [row["name"] for row in site.get(f"{share}/", staff).json["items"]]
    assert names == ["a (2).tar.gz", "a (3).tar.gz", "a.tar.gz"]


def test_the_second_of_two_files_with_the_longest_name_has_a_shorter_stem(site: Site, staff: str, share: str) -> None:
    name = "\ud55c" * 83 + ".txt"
    for _ in range(2):
        assert site.upload(f"{share}/", ("_keep_both", None, "1"), ("file", name, b"x"), token=staff).status == 201
    names = [row["name"] for row in site.get(f"{share}/", staff).json["items"]]
    assert sorted(names) == ["\ud55c" * 82 + " (2).txt", name]


def test_the_page_of_an_upload_says_what_became_of_each_file_and_offers_to_replace_or_keep_both(
    site: Site, staff: str, share: str
) -> None:
    for name in ("plan.pdf", "c.txt"):
        site.put(f"{share}/{name}", b"one", staff)
    files = [("file", "plan.pdf", b"two"), ("file", "c.txt", b"2"), ("file", "x/../y", b"x"), ("file", "new.txt", b"n")]
    page = site.upload(f"{share}/", *files, token=staff, **PAGE)
    assert (page.status, page["Content-Type"]) == (207, "text/html; charset=utf-8")
    assert re.search(r'role="status">\s*<p>Stored: <bdi>new.txt</bdi>', page.text)
    assert re.search(r'role="alert".*3 files were not stored.*plan.pdf.*c.txt.*x/../y', page.text, re.DOTALL)
    first, _, everything = re.findall(r'<form class="row".*?</form>', page.text, re.DOTALL)
    staged, pending = (re.findall(rf'name="{name}" value="([^"]*)"', first) for name in ("_staged", "_pending"))
    assert (len(staged), len(pending)) == (1, 1)
    assert re.findall(r'name="_staged" value="([^"]*)"', everything) == [*staged, *pending]
    token = {"_token": hidden(page, "_token")}
    again = site.submit(f"{share}/", {**token, "_staged": staged[0], "_pending": pending[0], "_keep_both": "1"}, staff)
    assert again.status == 207
    assert "One file was not stored" in again.text
    assert site.get(f"{share}/plan%20%282%29.pdf", staff).body == b"two"
    done = site.submit(f"{share}/", {**token, "_staged": hidden(again, "_staged"), "_replace": "1"}, staff)
    assert (done.status, done["Location"]) == (303, f"{share}/")
    assert [site.get(f"{share}/{name}", staff).body for name in ("plan.pdf", "c.txt")] == [b"one", b"2"]
    gone = site.submit(f"{share}/", {**token, "_staged": staged[0], "_replace": "1"}, staff)
    assert gone.status == 404
    other = "/files/blobs/" if share == "/files/docs" else "/files/docs/"
    assert site.submit(other, {**token, "_staged": pending[0], "_replace": "1"}, staff).status == 400
    assert site.submit(f"{share}/", {**token, "_staged": "forged", "_replace": "1"}, staff).status == 400


def test_a_drop_box_is_a_page_to_upload_into_without_a_list(site: Site, staff: str, share: str) -> None:
    site.put(f"{share}/secret.txt", b"one", staff)
    site.put(f"{share}/sub/deep.txt", b"one", staff)
    drops = site.token(f"{share.strip('/')}:create")
    for target in (share, f"{share}/", f"{share}/sub", f"{share}/sub/", f"{share}/none/"):
        page = site.get(target, drops, **PAGE)
        assert page.status == 200, target
        assert 'type="file"' in page.text
        assert "secret.txt" not in page.text
        assert "deep.txt" not in page.text
        assert "_replace" not in page.text
        assert site.get(target, drops).status == 403
        assert site.get(target, drops, Accept="text/csv").status == 403
    for target in (f"{share}/secret.txt", f"{share}/sub/deep.txt", f"{share}/missing"):
        assert site.get(target, drops, **PAGE).status == 403
    assert site.get(f"{share}/", site.token("forms/leave:create"), **PAGE).status == 403
    sent = site.upload(f"{share}/", ("file", "mine.txt", b"x"), ("file", "too.txt", b"x"), token=drops, **PAGE)
    assert (sent.status, sent["Location"]) == (303, f"{share}/")
    told = site.get(f"{share}/", drops, Cookie=sent.cookie, **PAGE).text
    assert re.search(r'role="status"[^>]*>.*Uploaded mine.txt, too.txt', told, re.DOTALL)
    many = [("file", f"{'x' * 60}{n}", b"x") for n in range(4)]
    whole = site.upload(f"{share}/", *many, token=drops, **PAGE)
    assert (whole.status, whole.text.count("x" * 60)) == (201, 4)
    taken = site.upload(f"{share}/sub/", ("file", "deep.txt", b"two"), token=drops, **PAGE)
    assert taken.status == 409
    assert "Keep both" in taken.text
    assert "Replace" not in taken.text
    staged = {"_token": hidden(taken, "_token"), "_staged": hidden(taken, "_staged"), "_keep_both": "1"}
    kept = site.submit(f"{share}/sub/", staged, drops)
    assert "deep (2).txt" in site.get(f"{share}/sub/", drops, Cookie=kept.cookie, **PAGE).text
    assert site.get(f"{share}/sub/deep%20%282%29.txt", staff).body == b"two"


@pytest.mark.parametrize(
    "name", ["../x", "..\\x", "a/../../x", "/etc/x", "C:\\a\\..\\x", "con", "a\x00b", "a\nb", "x" * 256, ".."]
)
def test_a_file_name_in_a_form_that_leads_astray_is_refused(site: Site, staff: str, share: str, name: str) -> None:
    assert site.upload(f"{share}/", ("file", name, b"x"), token=staff).status in (400, 201 if name.startswith("C:") else 400)
    assert not (site.folder / "x").exists()
    assert not (site.folder / "disk" / "x").exists()


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"garbage", 400),
        (multipart(("file", "a", b"x"))[:-6], 400),
        (multipart(("file", "a", b"x")).replace(b"form-data", b"nonsense"), 400),
        (multipart(("_token", None, "x")), 400),
        (multipart(("file", "", b"")), 400),
        (f"--{BOUNDARY}\r\n{'X: y' * 9000}\r\n\r\nx\r\n--{BOUNDARY}--\r\n".encode(), 400),
        (multipart(("file", "\xff", b"x")).replace("\xff".encode(), b"\xff"), 400),
        (multipart(("note", None, "x" * 70_000), ("file", "a", b"x")), 413),
        (multipart(*[("note", None, "x" * 60_000)] * 20, ("file", "a", b"x")), 413),
        (multipart(("file", "", b"x" * 2_000_000), ("file", "a", b"x")), 413),
        (b"x" * 2_000_000, 413),
    ],
)
@pytest.mark.parametrize("encoding", ["", "chunked"])
def test_a_malformed_upload_is_refused_and_stores_nothing(
    site: Site, staff: str, share: str, body: bytes, status: int, encoding: str
) -> None:
    headers = MULTIPART | ({"Transfer-Encoding": encoding} if encoding else {})
    reply = site.ask("POST", f"{share}/", body, headers, staff)
    assert (reply.status, reply["Content-Type"]) == (status, "application/problem+json")
    assert site.get(f"{share}/", staff).json["items"] == []


def test_an_upload_names_its_boundary_and_its_type(site: Site, staff: str) -> None:
    body = multipart(("file", "a", b"x"))
    nameless = site.ask("POST", "/files/docs/", body, {"Content-Type": "multipart/form-data"}, staff)
    assert (nameless.status, nameless.json["detail"]) == (400, "the multipart body names no boundary")
    for target, field in (("/forms/leave", "day"), ("/files/docs/", "_replace")):
        wrong = multipart((field, None, b"\xff"), ("file", "a", b"x"))
        assert site.ask("POST", target, wrong, MULTIPART, staff).json["detail"] == f"the field {field} is not UTF-8"
    many = multipart(*[("", None, b"")] * 50_001, ("file", "a", b"x"))
    assert site.ask("POST", "/files/docs/", many, MULTIPART, staff).status == 413
    assert site.ask("POST", "/files/docs/", body, FORM, staff).status == 415
    assert site.ask("POST", "/files/docs/", body, {}, staff).status == 415


def test_a_share_takes_only_the_media_that_it_accepts(site: Site, staff: str) -> None:
    assert site.put("/files/pics/a.png", b"\x89PNG\r\n\x1a\n", staff).status == 201
    assert site.put("/files/pics/b.png", b"x", staff).status == 415
    assert site.put("/files/pics/a.exe", b"x", staff).status == 415
    assert site.upload("/files/pics/", ("file", "a.pdf", b"x"), token=staff).status == 415


def test_an_upload_that_loses_a_race_for_its_name_says_that_the_name_is_taken(
    site: Site, staff: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    handle = site.app.handle

    def be_late(request: app.Request, guard: Callable[[], None] | None = None) -> app.Response:
        if request.action == app.Action.CREATE:
            raise app.PreconditionFailed("same.txt exists already")
        return handle(request, *([guard] if guard else []))

    monkeypatch.setattr(site.app, "handle", be_late)
    page = site.upload("/files/docs/", ("file", "same.txt", b"x"), token=staff, Accept="text/html")
    assert page.status == 409
    assert "A file of this name is here already." in page.text
    assert site.upload("/files/docs/", ("file", "same.txt", b"x"), token=staff).json["code"] == "conflict"


def test_a_file_is_moved_and_a_folder_made_by_json(site: Site, staff: str, share: str) -> None:
    site.put(f"{share}/a%20b.txt", b"one", staff)
    made = site.ask("POST", f"{share}/", b'{"folder": "new"}', JSON, staff)
    assert (made.status, made["Location"], made.json["type"]) == (201, f"{share}/new", "folder")
    moved = site.ask("POST", f"{share}/a%20b.txt", f'{{"move": "{share}/new/c.txt"}}'.encode(), JSON, staff)
    assert (moved.status, moved["Location"], moved.json["size_bytes"]) == (201, f"{share}/new/c.txt", 3)
    assert moved["ETag"] == site.get(f"{share}/new/c.txt", staff)["ETag"]
    taken = site.ask("POST", f"{share}/new/c.txt", f'{{"copy": "{share}/new/c.txt"}}'.encode(), JSON, staff)
    assert (taken.status, taken.json["code"]) == (409, "conflict")
    for body, status in ((b"", 400), (b"[]", 400), (b"{}", 400), (b"{", 400), (b'{"move": 1}', 422)):
        assert site.ask("POST", f"{share}/new/c.txt", body, JSON, staff).status == status
    gone = site.ask("DELETE", f"{share}/new?_tree=1", token=staff)
    assert (gone.status, gone.json) == (200, {"files": 1, "folders": 1, "bytes": 3})
    assert site.ask("POST", f"{share}/new", b'{"folder": "x"}', JSON).status == 401
