"""plugins/form_files.py and plugins/lines.py: several files and several lines in one field of a form, at every door."""

from __future__ import annotations

import base64
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import app

sys.path.insert(0, str(Path(__file__).parent))
from http_client import Reply, Site, action
from visitor import forms_of

FORM = """
[files.receipts]
provider = "disk"
prefix = "receipts/"
max_file = "1MB"
[forms.trip]
provider = "main"
[forms.trip.fields]
name = { type = "string", required = true }
receipts = { type = "array", format = "file", files = "files/receipts", maxItems = 3, max_file = "20KB", accept = [".txt"] }
"""


@pytest.fixture
def trips(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path, edit=lambda toml: toml.replace("[views.waiting]", FORM + "[views.waiting]"))
    yield made
    made.close()


def a_file(name: str, text: str) -> dict[str, str]:
    return {"name": name, "base64": base64.b64encode(text.encode()).decode()}


def sends(site: Site, method: str, target: str, data: Any, token: str, **headers: str) -> Reply:
    return site.ask(method, target, json.dumps(data), {"Content-Type": "application/json", **headers}, token)


def page_sends(site: Site, target: str, token: str, *parts: tuple[str, str | None, bytes | str], **headers: str) -> Reply:
    return site.upload(target, *parts, token=token, Accept="text/html", Sec_Fetch_Site="same-origin", **headers)


def kept_files(site: Site) -> list[str]:
    return sorted(path.read_text() for path in (site.folder / "disk" / "receipts").rglob("*") if path.is_file())


def pointers(reply: Reply) -> list[tuple[str, str]]:
    assert reply.status == 422, reply.text
    return [(one["pointer"], one["code"]) for one in reply.json["errors"]]


# ---- several files


def test_a_field_keeps_a_list_of_files_each_at_an_address_of_its_own(trips: Site) -> None:
    staff = trips.token(roles=["staff"])
    sent = {"name": "Rome", "receipts": [a_file("a.txt", "first"), a_file("a.txt", "second")]}
    made = sends(trips, "POST", "/forms/trip", sent, staff)
    assert made.status == 201
    at = made["Location"]
    files = made.json["receipts"]
    assert [one["address"] for one in files] == [f"{at.removeprefix('/')}/receipts/{n}" for n in (0, 1)]
    reader = trips.token("forms/trip/records/*:read")
    assert [trips.get(f"{at}/receipts/{n}", reader).body for n in (0, 1)] == [b"first", b"second"]
    assert [trips.get(f"{at}/{path}", reader).status for path in ("receipts", "receipts/2", "receipts/x", "name/0")] == [
        404
    ] * 4
    assert trips.get(f"{at}/receipts/0", trips.token("forms/trip:create")).status == 403


def test_stored_files_that_are_sent_back_as_they_were_shown_stay_and_others_go(trips: Site) -> None:
    staff = trips.token(roles=["staff"])
    at = sends(trips, "POST", "/forms/trip", {"name": "R", "receipts": [a_file("a.txt", "1"), a_file("b.txt", "2")]}, staff)[
        "Location"
    ]
    first, second = trips.get(at, staff).json["receipts"]
    changed = sends(trips, "PATCH", at, {"receipts": [second, a_file("c.txt", "3")]}, staff)
    assert [one["name"] for one in changed.json["receipts"]] == ["b.txt", "c.txt"]
    assert [trips.get(f"{at}/receipts/{n}", staff).text for n in (0, 1)] == ["2", "3"]
    assert kept_files(trips) == ["2", "3"]
    record = changed.json
    assert sends(trips, "PUT", at, record, staff).json["receipts"] == record["receipts"], "as it was read"
    assert pointers(sends(trips, "PATCH", at, {"receipts": [first]}, staff)) == [("/receipts/0", "type")], "it is gone"
    twice = [record["receipts"][0]] * 2
    assert pointers(sends(trips, "PATCH", at, {"receipts": twice}, staff)) == [("/receipts", "uniqueItems")]
    assert sends(trips, "PATCH", at, {"receipts": None}, staff).json["receipts"] is None
    assert kept_files(trips) == []


def test_no_file_of_another_record_can_be_claimed(trips: Site) -> None:
    staff = trips.token(roles=["staff"])
    other = sends(trips, "POST", "/forms/trip", {"name": "R", "receipts": [a_file("a.txt", "1")]}, staff).json
    stored = trips.app.resources["forms/trip"].store.get("trip", other["id"]).value["receipts"][0]
    for claimed in (other["receipts"][0], stored):
        assert pointers(sends(trips, "POST", "/forms/trip", {"name": "x", "receipts": [claimed]}, staff)) == [
            ("/receipts/0", "type")
        ]


def test_each_file_of_a_list_has_its_limits_and_the_list_its_own(trips: Site) -> None:
    staff = trips.token(roles=["staff"])
    wrong = [a_file("a.exe", "1"), a_file("b.txt", "2" * 20_001), {"name": "c.txt", "base64": "?"}]
    assert pointers(sends(trips, "POST", "/forms/trip", {"name": "R", "receipts": wrong}, staff)) == [
        ("/receipts/0", "accept"), ("/receipts/1", "max_file"), ("/receipts/2", "type"),
    ]  # fmt: skip
    four = [a_file(f"{n}.txt", str(n)) for n in range(4)]
    assert pointers(sends(trips, "POST", "/forms/trip", {"name": "R", "receipts": four}, staff)) == [
        ("/receipts", "maxItems")
    ]
    assert pointers(sends(trips, "POST", "/forms/trip", {"name": "R", "receipts": four[0]}, staff)) == [
        ("/receipts", "type")
    ]
    assert kept_files(trips) == []


def test_deleting_a_record_removes_all_its_files(trips: Site) -> None:
    staff = trips.token(roles=["staff"])
    files = [a_file("a.txt", "1"), a_file("b.txt", "2")]
    at = sends(trips, "POST", "/forms/trip", {"name": "R", "receipts": files}, staff)["Location"]
    form = trips.app.resources["forms/trip"]
    record = form.store.get("trip", at.rpartition("/")[2])
    assert len(list(form.files.places(record.value))) == 2
    assert trips.ask("DELETE", at, token=staff).status == 204
    assert kept_files(trips) == []


def test_a_page_takes_several_files_keeps_them_when_it_is_refused_and_removes_single_ones(trips: Site) -> None:
    staff = trips.token(roles=["staff"])
    page = trips.get("/forms/trip", staff, Accept="text/html")
    assert re.search(r'<input type="file" id="f-receipts"[^>]*multiple', page.text, re.DOTALL)
    files = [("receipts", f"{n}.txt", f"file {n}") for n in (1, 2)]
    wrong = page_sends(trips, action(page), staff, ("name", None, ""), *files)
    assert wrong.status == 422
    held = re.findall(r'name="_held_receipts" value="([^"]*)"', wrong.text)
    assert len(held) == 2
    kept = [("_held_receipts", None, one) for one in held]
    more = page_sends(
        trips,
        action(wrong),
        staff,
        ("name", None, ""),
        *kept,
        ("_drop_receipts", None, "1"),
        ("receipts", "3.txt", "file 3"),
    )
    held = re.findall(r'name="_held_receipts" value="([^"]*)"', more.text)
    assert ["1.txt" in more.text, "2.txt" in more.text, "3.txt" in more.text, len(held)] == [False, True, True, 2]
    done = page_sends(trips, action(more), staff, ("name", None, "Rome"), *[("_held_receipts", None, one) for one in held])
    assert done.status == 303
    at = trips.get("/forms/trip/records", staff).json["items"][0]
    assert [one["name"] for one in at["receipts"]] == ["2.txt", "3.txt"]
    assert kept_files(trips) == ["file 2", "file 3"]

    record = f"/forms/trip/records/{at['id']}"
    shown = trips.get(record, staff, Accept="text/html").text
    assert all(f'href="{record}/receipts/{n}"' in shown for n in (0, 1))
    edit = trips.get(f"{record}?_edit=1", staff, Accept="text/html")
    gone = re.findall(r'name="_gone" value="([^"]*)"', edit.text)
    marks = re.search(r'name="_shown" value="([^"]*)"', edit.text)[1]
    parts = ("name", None, "Rome"), ("_shown", None, marks), ("_gone", None, gone[0])
    late = page_sends(trips, action(edit), staff, *parts, ("receipts", "x.exe", "no"))
    assert late.status == 422
    assert re.search(rf'name="_gone" value="{gone[0]}" checked', late.text), "what was ticked stays so"
    saved = page_sends(trips, action(late), staff, *parts, ("receipts", "4.txt", "file 4"))
    assert saved.status == 303
    assert [one["name"] for one in trips.get(record, staff).json["receipts"]] == ["3.txt", "4.txt"]
    assert kept_files(trips) == ["file 3", "file 4"]


def test_files_of_a_list_are_kept_through_signing_in(trips: Site) -> None:
    token = trips.app.office.issue(app.Caller("test"), "ann", ["forms/trip:create"], [], 3600)
    cookie = trips.sign_in(trips.app.authority.jwt(token))
    page = trips.get("/forms/trip", cookie, Accept="text/html")
    trips.app.office.revoke(app.Caller("test"), [token])
    files = [("receipts", f"{n}.txt", f"file {n}") for n in (1, 2)]
    lost = page_sends(trips, action(page), "", ("name", None, "Rome"), *files, Cookie=cookie)
    assert lost.status == 401
    again = trips.app.authority.jwt(trips.app.office.issue(app.Caller("test"), "ann", ["forms/**:*"], [], 9999))
    login = next(one for one in forms_of(lost.text) if one.action.startswith("/login"))
    filled = trips.submit("/login", login.fields | {"token": again})
    held = re.findall(r'name="_held_receipts" value="([^"]*)"', filled.text)
    done = page_sends(trips, action(filled), again, ("name", None, "Rome"), *[("_held_receipts", None, one) for one in held])
    assert done.status == 303, done.text
    assert [one["name"] for one in trips.get("/forms/trip/records", again).json["items"][0]["receipts"]] == [
        "1.txt",
        "2.txt",
    ]


def test_a_file_that_was_stored_alone_goes_on_in_a_list(trips: Site, tmp_path: Path) -> None:
    staff = trips.token(roles=["staff"])
    made = sends(trips, "POST", "/forms/trip", {"name": "R", "receipts": [a_file("a.txt", "1")]}, staff).json
    form = trips.app.resources["forms/trip"]
    record = form.store.get("trip", made["id"])
    alone = dict(record.value) | {"receipts": record.value["receipts"][0]}
    form.store.commit([app.Update("trip", record.key, alone, record.version)])
    at = f"/forms/trip/records/{made['id']}"
    shown = trips.get(at, staff).json["receipts"]
    assert trips.get(f"/{shown['address']}", staff).text == "1"
    both = sends(trips, "PATCH", at, {"receipts": [shown, a_file("b.txt", "2")]}, staff)
    assert [one["name"] for one in both.json["receipts"]] == ["a.txt", "b.txt"]
    assert kept_files(trips) == ["1", "2"]


def test_json_schema_and_openapi_say_that_a_field_takes_a_list_of_files(trips: Site) -> None:
    staff = trips.token(roles=["staff"])
    one = trips.get("/forms/trip", staff).json["properties"]["receipts"]
    assert (one["type"], one["maxItems"], one["items"]["required"]) == ("array", 3, ["name", "base64"])
    openapi = trips.get("/openapi.json", staff).json
    assert "/forms/trip/records/{id}/receipts/{n}" in openapi["paths"]
    assert openapi["components"]["schemas"]["TripRecord"]["properties"]["receipts"]["anyOf"][0]["items"] == {
        "$ref": "#/components/schemas/StoredFile"
    }
