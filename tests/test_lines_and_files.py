"""plugins/form_files.py and plugins/lines.py: several files and several lines in one field of a form, at every door."""

from __future__ import annotations

import base64
import csv
import json
import re
import sys
import time
from collections.abc import Iterator
from decimal import Decimal
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

import app

sys.path.insert(0, str(Path(__file__).parent))
from http_client import FORM as URLENCODED
from http_client import PAGE, Reply, Site, action
from visitor import forms_of

HEADERS = URLENCODED | PAGE
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
[forms.cost]
provider = "main"
[forms.cost.fields]
name = { type = "string", required = true }
lines = { type = "array", title = "Receipts", maxItems = 20, fields.what = WHAT, fields.amount = AMOUNT, fields.kind = KIND }
total = { type = "number", maximum = 1000, sum = "lines.amount" }
"""

FORM = FORM.replace("WHAT", '{ type = "string", required = true, maxLength = 20 }')
FORM = FORM.replace("AMOUNT", '{ type = "number", minimum = 0, required = true }')
FORM = FORM.replace("KIND", '{ type = "string", enum = ["food", "rail"], default = "rail" }')


@pytest.fixture
def trips(tmp_path: Path) -> Iterator[Site]:
    made = Site(
        tmp_path, edit=lambda toml: toml.replace("64KB", "400KB").replace("[views.waiting]", FORM + "[views.waiting]")
    )
    yield made
    made.close()


def a_file(name: str, text: str) -> dict[str, str]:
    return {"name": name, "base64": base64.b64encode(text.encode()).decode()}


def sends(site: Site, method: str, target: str, data: Any, token: str, **headers: str) -> Reply:
    return site.ask(method, target, json.dumps(data), {"Content-Type": "application/json", **headers}, token)


def page_sends(site: Site, target: str, token: str, *parts: tuple[str, str | None, bytes | str], **headers: str) -> Reply:
    return site.upload(target, *parts, token=token, Accept="text/html", Sec_Fetch_Site="same-origin", **headers)


def posts(site: Site, target: str, fields: dict[str, Any], token: str = "", **headers: str) -> Reply:
    """A form from a browser, in which a name may come several times."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return site.ask("POST", target, urlencode(fields, doseq=True), HEADERS | named, token)


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


def test_a_file_comes_back_from_before_another_one_was_removed(trips: Site) -> None:
    staff = trips.token(roles=["staff"])
    sent = {"name": "R", "receipts": [a_file("a.txt", "1"), a_file("b.txt", "2"), a_file("b.txt", "2")]}
    made = sends(trips, "POST", "/forms/trip", sent, staff)
    at, (_, second, third) = made["Location"], made.json["receipts"]
    assert sends(trips, "PATCH", at, {"receipts": [second, third]}, staff).status == 200
    assert sends(trips, "PATCH", at, {"receipts": [second]}, staff).json["receipts"][0]["name"] == "b.txt"
    assert kept_files(trips) == ["2"]
    assert pointers(sends(trips, "PATCH", at, {"receipts": [second | {"sha256": "0"}]}, staff)) == [("/receipts/0", "type")]


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
    filled = posts(trips, "/login", login.fields | {"token": again})
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


def test_whoever_sent_files_reads_and_changes_them_among_his_own_records(trips: Site) -> None:
    ann, bo = (trips.token("forms/trip:create", "forms/trip/mine:update", subject=who) for who in ("ann", "bo"))
    sent = {"name": "R", "receipts": [a_file("a.txt", "1"), a_file("b.txt", "2")]}
    at = "/forms/trip/mine/" + sends(trips, "POST", "/forms/trip", sent, ann).json["id"]
    files = trips.get(at, ann).json["receipts"]
    assert [trips.get("/" + one["address"], ann).text for one in files] == ["1", "2"]
    assert [trips.get("/" + one["address"], bo).status for one in files] == [404, 404]
    assert sends(trips, "PATCH", at, {"receipts": files[1:]}, ann).status == 200
    assert kept_files(trips) == ["2"]


# ---- lines


def test_lines_are_objects_in_an_array_with_defaults_of_their_own_and_an_exact_sum(trips: Site) -> None:
    staff = trips.token(roles=["staff"])
    lines = [{"amount": 0.1, "what": "Tram"}, {"what": "Lunch", "amount": 0.2, "kind": "food"}]
    made = sends(trips, "POST", "/forms/cost", {"name": "Rome", "lines": lines}, staff)
    assert made.status == 201, made.text
    assert made.json["lines"] == [
        {"what": "Tram", "amount": 0.1, "kind": "rail"}, {"what": "Lunch", "amount": 0.2, "kind": "food"},
    ]  # fmt: skip
    assert made.json["total"] == 0.3
    assert list(made.json["lines"][0]) == ["what", "amount", "kind"], "in declared order"
    none = sends(trips, "POST", "/forms/cost", {"name": "Oslo"}, staff)
    assert (none.json["lines"], none.json["total"]) == (None, 0)
    whole = {
        "name": "Bern",
        "lines": [{"what": "a", "amount": 1.50, "kind": "rail"}, {"what": "b", "amount": 2.5, "kind": "rail"}],
    }
    assert '"total":4,' in sends(trips, "POST", "/forms/cost", whole, staff).text
    assert app.plugin("sums").total([{"n": Decimal("12345678901234567.25")}, {"n": 0.1}, {}, {"n": None}], "n") == Decimal(
        "12345678901234567.35"
    )


def test_every_rule_of_a_lines_fields_holds_at_its_own_pointer(trips: Site) -> None:
    staff = trips.token(roles=["staff"])
    wrong = [
        {"what": "x" * 21, "amount": -1}, {"amount": "3"}, 7, {"what": "a", "amount": 1, "kind": "air", "wat": 1},
        {"what": None, "amount": True},
    ]  # fmt: skip
    assert pointers(sends(trips, "POST", "/forms/cost", {"name": "R", "lines": wrong}, staff)) == [
        ("/lines/0/what", "maxLength"), ("/lines/0/amount", "minimum"), ("/lines/1/what", "required"),
        ("/lines/1/amount", "type"), ("/lines/2", "type"), ("/lines/3/wat", "unknown_field"), ("/lines/3/kind", "enum"),
        ("/lines/4/what", "required"), ("/lines/4/amount", "type"),
    ]  # fmt: skip
    for given in ("a", {"what": "a"}, 3):
        assert pointers(sends(trips, "POST", "/forms/cost", {"name": "R", "lines": given}, staff)) == [("/lines", "type")]
    batch = sends(trips, "POST", "/forms/cost", [{"name": "R"}, {"name": "R", "lines": [{}]}], staff)
    assert pointers(batch) == [("/1/lines/0/what", "required"), ("/1/lines/0/amount", "required")]


def test_thousands_of_lines_are_refused_soon(trips: Site) -> None:
    staff = trips.token(roles=["staff"])
    lines = [{"what": "", "amount": 1}] * 5000
    began = time.perf_counter()
    assert pointers(sends(trips, "POST", "/forms/cost", {"name": "R", "lines": lines}, staff)) == [("/lines", "maxItems")]
    page = trips.get("/forms/cost", staff, Accept="text/html")
    typed = {f"lines.{n}.what": "x" for n in range(5000)} | {f"lines.{n}.amount": "1" for n in range(5000)}
    wrong = posts(trips, action(page), {"name": "R"} | typed, staff)
    assert (wrong.status, "at most 20 lines" in wrong.text) == (422, True)
    assert time.perf_counter() - began < 5


def test_a_sum_is_never_taken_from_a_body_and_has_its_own_limits(trips: Site) -> None:
    staff = trips.token(roles=["staff"])
    line = {"what": "a", "amount": 600}
    assert pointers(sends(trips, "POST", "/forms/cost", {"name": "R", "lines": [line], "total": 600}, staff)) == [
        ("/total", "read_only")
    ]
    assert pointers(sends(trips, "POST", "/forms/cost", {"name": "R", "lines": [line, line]}, staff)) == [
        ("/total", "maximum")
    ]
    made = sends(trips, "POST", "/forms/cost", {"name": "R", "lines": [line]}, staff)
    at = made["Location"]
    assert pointers(sends(trips, "PATCH", at, {"total": 1}, staff)) == [("/total", "read_only")]
    back = made.json | {"lines": [*made.json["lines"], {"what": "b", "amount": 1.25}]}
    assert sends(trips, "PUT", at, back, staff).json["total"] == 601.25, "what was read comes back, and is computed anew"
    assert sends(trips, "PATCH", at, {"name": "S"}, staff).json["total"] == 601.25
    assert sends(trips, "PATCH", at, {"lines": None}, staff).json["total"] == 0


def test_lines_that_were_stored_under_other_rules_stay_while_others_change(trips: Site) -> None:
    staff = trips.token(roles=["staff"])
    line = {"what": "a", "amount": 1, "kind": "rail"}
    at = sends(trips, "POST", "/forms/cost", {"name": "R", "lines": [line]}, staff)["Location"]
    form = trips.app.resources["forms/cost"]
    record = form.store.get("cost", at.rpartition("/")[2])
    old = {"what": "x" * 30, "amount": -2, "kind": "air", "vat": 7}
    form.store.commit([app.Update("cost", record.key, dict(record.value) | {"lines": [line, old]}, 1)])
    lines = [line | {"amount": 3}, old]
    assert sends(trips, "PATCH", at, {"lines": lines}, staff).json["lines"] == lines
    lines = [line, old | {"what": "b"}]
    assert sends(trips, "PATCH", at, {"lines": lines}, staff).json["lines"] == lines
    assert pointers(sends(trips, "PATCH", at, {"lines": [line, old | {"what": "b", "amount": -3}]}, staff)) == [
        ("/lines/1/amount", "minimum")
    ]
    page = trips.get(at, staff, Accept="text/html").text
    assert all(text in page for text in ("air", "vat (no longer asked)", ">7<"))
    edit = trips.get(f"{at}?_edit=1", staff, Accept="text/html")
    fields = typed_in(edit) | {"lines.0.amount": "5"}
    assert posts(trips, action(edit), fields, staff).status == 303
    assert trips.get(at, staff).json["lines"] == [line | {"amount": 5}, old | {"what": "b"}]


def typed_in(page: Reply) -> dict[str, Any]:
    """What a browser sends of the page's form."""
    return page_form(page.text)


def page_form(html_text: str) -> dict[str, Any]:
    reader = Controls()
    reader.feed(html_text)
    return reader.sent


class Controls(HTMLParser):
    """The controls of the form for records, filled as they are; names that come twice have lists."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: dict[str, Any] = {}
        self.on, self.hidden, self.select, self.area = False, 0, "", ""

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        given = dict(attrs)
        self.on = self.on or (tag == "form" and given.get("class") == "form")
        self.hidden += tag == "template"
        if not self.on or self.hidden:
            return
        name = given.get("name")
        if tag == "select":
            self.select = name
        if tag == "option" and "selected" in given:
            self.add(self.select, given.get("value", ""))
        if tag == "textarea":
            self.area = name
            self.sent[name] = ""
        if tag == "input" and name and (given.get("type") not in ("radio", "checkbox") or "checked" in given):
            self.add(name, given.get("value") or "")

    def handle_endtag(self, tag: str) -> None:
        self.hidden -= tag == "template"
        self.on = self.on and tag != "form"
        self.area = "" if tag == "textarea" else self.area

    def handle_data(self, data: str) -> None:
        if self.area and self.on:
            self.sent[self.area] += data

    def add(self, name: str, text: str) -> None:
        if name in self.sent:
            before = self.sent[name]
            self.sent[name] = [*(before if isinstance(before, list) else [before]), text]
        else:
            self.sent[name] = text


def test_a_page_adds_and_removes_lines_by_buttons_that_store_nothing(trips: Site) -> None:
    staff = trips.token(roles=["staff"])
    page = trips.get("/forms/cost", staff, Accept="text/html")
    assert "<template>" in page.text
    target, fields = action(page), typed_in(page)
    assert [name for name in fields if name.startswith("lines.")] == ["lines.0.what", "lines.0.amount", "lines.0.kind"]
    fields |= {"name": "Rome", "_again": "remove:lines.0"}
    more = posts(trips, target, fields, staff)
    assert more.status == 200
    assert 'class="notice bad"' not in more.text
    fields = typed_in(more)
    assert not [name for name in fields if name.startswith("lines.")]
    more = posts(trips, target, fields | {"_again": "add:lines"}, staff)
    fields = typed_in(more)
    first = fields["_lines"]
    fields |= {"_again": "add:lines", f"{first}.what": "Tram", f"{first}.amount": "1,5"}
    more = posts(trips, target, fields, staff, Accept_Language="de")
    fields = typed_in(more)
    assert (fields["name"], fields[f"{first}.what"], fields[f"{first}.amount"]) == ("Rome", "Tram", "1,5")
    assert len(fields["_lines"]) == 2
    second = fields["_lines"][1]
    fields |= {"_again": f"remove:{first}", f"{second}.what": "Bus", f"{second}.amount": "2"}
    more = posts(trips, target, fields, staff)
    fields = typed_in(more)
    assert (fields["_lines"], fields[f"{second}.what"], "Tram" in more.text) == (second, "Bus", False)
    assert trips.get("/forms/cost/records", staff).json["items"] == []
    assert posts(trips, target, fields, staff).status == 303
    made = trips.get("/forms/cost/records", staff).json["items"][0]
    assert (made["lines"], made["total"]) == ([{"what": "Bus", "amount": 2, "kind": "rail"}], 2)


def test_faults_of_lines_stand_at_their_controls_whatever_is_blank_before_them(trips: Site) -> None:
    staff = trips.token(roles=["staff"])
    target = action(trips.get("/forms/cost", staff, Accept="text/html"))
    sent = {"name": "R", "_lines": ["lines.3", "lines.9"], "lines.3.what": "", "lines.3.amount": "", "lines.3.kind": ""}
    wrong = posts(trips, target, sent | {"lines.9.what": "Bus", "lines.9.amount": "lots"}, staff)
    assert wrong.status == 422
    assert 'href="#f-lines.9.amount"' in wrong.text
    assert "Receipts, line 1: Amount" in wrong.text
    assert re.search(r'id="f-lines\.9\.amount"[^>]*value="lots"[^>]*aria-invalid="true"', wrong.text, re.DOTALL)


def test_what_is_wrong_with_a_sum_stands_at_it(trips: Site) -> None:
    staff = trips.token(roles=["staff"])
    page = trips.get("/forms/cost", staff, Accept="text/html")
    fields = typed_in(page) | {"name": "R", "lines.0.what": "a", "lines.0.amount": "1001"}
    wrong = posts(trips, action(page), fields, staff)
    assert wrong.status == 422
    assert '<a href="#f-total">Total must be 1000 or less</a>' in wrong.text
    assert re.search(r'<output id="f-total"[^>]*aria-describedby="f-total-error"[^>]*>1001</output>', wrong.text)


def test_an_edit_of_lines_changes_what_was_typed_and_nothing_else(trips: Site) -> None:
    staff = trips.token(roles=["staff"])
    lines = [{"what": "a  b", "amount": 1, "kind": "food"}, {"what": "c", "amount": 2, "kind": "rail"}]
    at = sends(trips, "POST", "/forms/cost", {"name": "R", "lines": lines}, staff)["Location"]
    edit = trips.get(f"{at}?_edit=1", staff, Accept="text/html")
    target, fields = action(edit), typed_in(edit)
    assert posts(trips, target, fields | {"name": "S"}, staff).status == 303
    assert trips.get(at, staff).json["lines"] == lines
    assert trips.app.resources["forms/cost"].store.get("cost", at.rpartition("/")[2]).version == 2
    edit = trips.get(f"{at}?_edit=1", staff, Accept="text/html")
    target, fields = action(edit), typed_in(edit)
    one_less = {name: text for name, text in fields.items() if not name.startswith("lines.0.")} | {"_lines": "lines.1"}
    assert posts(trips, target, one_less, staff).status == 303
    assert trips.get(at, staff).json["lines"] == lines[1:]
    assert trips.get(at, staff).json["total"] == 2
    edit = trips.get(f"{at}?_edit=1", staff, Accept="text/html")
    none = {name: text for name, text in typed_in(edit).items() if not name.startswith(("lines.", "_lines"))}
    assert posts(trips, action(edit), none, staff).status == 303
    assert (trips.get(at, staff).json["lines"], trips.get(at, staff).json["total"]) == (None, 0)


def test_lines_survive_a_conflict_and_show_what_stands_there_now(trips: Site) -> None:
    staff = trips.token(roles=["staff"])
    lines = [{"what": "a", "amount": 1, "kind": "food"}]
    at = sends(trips, "POST", "/forms/cost", {"name": "R", "lines": lines}, staff)["Location"]
    edit = trips.get(f"{at}?_edit=1", staff, Accept="text/html")
    target, fields = action(edit), typed_in(edit)
    sends(trips, "PATCH", at, {"lines": [lines[0] | {"amount": 7}]}, staff)
    stale = posts(trips, target, fields | {"name": "S"}, staff)
    assert stale.status == 412
    assert typed_in(stale)["lines.0.amount"] == "7", "which this person did not touch"
    mine = posts(trips, target, fields | {"lines.0.amount": "9"}, staff)
    assert mine.status == 412
    assert (typed_in(mine)["lines.0.amount"], "a 7 food" in mine.text) == ("9", True)
    assert posts(trips, action(mine), typed_in(mine), staff).status == 303
    assert trips.get(at, staff).json["total"] == 9


def test_lines_survive_signing_in(trips: Site) -> None:
    token = trips.app.office.issue(app.Caller("test"), "ann", ["forms/cost:create"], [], 3600)
    cookie = trips.sign_in(trips.app.authority.jwt(token))
    page = trips.get("/forms/cost", cookie, Accept="text/html")
    trips.app.office.revoke(app.Caller("test"), [token])
    sent = {"name": "Rome", "_lines": ["lines.0", "lines.1"], "lines.0.what": "Bus", "lines.0.amount": "2"}
    lost = posts(trips, action(page), sent, Cookie=cookie)
    assert lost.status == 401
    again = trips.app.authority.jwt(trips.app.office.issue(app.Caller("test"), "ann", ["forms/**:*"], [], 9999))
    login = next(one for one in forms_of(lost.text) if one.action.startswith("/login"))
    filled = posts(trips, "/login", login.fields | {"token": again})
    fields = typed_in(filled)
    assert (fields["_lines"], fields["lines.0.what"]) == (["lines.0", "lines.1"], "Bus")
    assert posts(trips, action(filled), fields, again).status == 303


def test_a_draft_keeps_lines_and_files_as_they_stand(trips: Site) -> None:
    staff = trips.sign_in(trips.token(roles=["staff"]))
    page = trips.get("/forms/cost", staff, Accept="text/html")
    later = re.search(r'formaction="([^"]*/drafts/[^"]*)"', page.text)[1]
    sent = typed_in(page) | {"_lines": ["lines.0", "lines.1000"], "lines.0.what": "Tram", "lines.1000.amount": "2"}
    assert posts(trips, later, sent, staff, Sec_Fetch_Site="same-origin").status == 303
    filled = typed_in(trips.get(later, staff, Accept="text/html"))
    assert (filled["_lines"], filled["lines.0.what"], filled["lines.1000.amount"]) == (
        ["lines.0", "lines.1000"],
        "Tram",
        "2",
    )


def test_lists_count_lines_and_exports_have_them_as_json(trips: Site) -> None:
    staff = trips.token(roles=["staff"])
    lines = [{"what": "a", "amount": 1, "kind": "food"}, {"what": "c", "amount": 2.5, "kind": "rail"}]
    at = sends(trips, "POST", "/forms/cost", {"name": "R", "lines": lines}, staff)["Location"]
    assert ">2 lines<" in trips.get("/forms/cost/records", staff, Accept="text/html").text
    row = next(csv.DictReader(trips.get("/forms/cost/records.csv", staff).text.splitlines()))
    assert json.loads(row["lines"]) == lines
    assert json.loads(trips.get("/forms/cost/records.ndjson", staff).text)["lines"] == lines
    shown = trips.get(at, staff, Accept="text/html").text
    assert all(text in shown for text in ('<th scope="col" class="num">Amount</th>', "2.5", "3.5"))


def test_history_says_what_became_of_lines(trips: Site) -> None:
    staff = trips.token(roles=["staff"])
    line = {"what": "Tram", "amount": 1.5, "kind": "rail"}
    at = sends(trips, "POST", "/forms/cost", {"name": "R", "lines": [line]}, staff)["Location"]
    sends(trips, "PATCH", at, {"lines": [line | {"amount": 2}]}, staff)
    page = trips.get(f"{at}/history", staff, Accept="text/html").text
    assert all(text in page for text in ("Tram, 1.5, rail", "Tram, 2, rail"))
    restored = trips.ask("POST", f"{at}/history", b'{"version": 1}', {"Content-Type": "application/json"}, staff)
    assert (restored.status, restored.json["lines"], restored.json["total"]) == (200, [line], 1.5)


def test_json_schema_and_openapi_say_what_lines_are(trips: Site) -> None:
    staff = trips.token(roles=["staff"])
    known = trips.get("/forms/cost", staff).json["properties"]
    assert known["lines"]["items"] == {
        "type": "object", "required": ["what", "amount"], "additionalProperties": False,
        "properties": {
            "what": {"type": "string", "title": "What", "maxLength": 20},
            "amount": {"type": "number", "title": "Amount", "minimum": 0},
            "kind": {"type": "string", "title": "Kind", "enum": ["food", "rail"], "default": "rail"},
        },
    }  # fmt: skip
    assert (known["lines"]["maxItems"], "uniqueItems" in known["lines"]) == (20, False)
    assert (known["total"]["readOnly"], known["total"]["x-sum"]) == (True, "lines.amount")
    schemas = trips.get("/openapi.json", staff).json["components"]["schemas"]
    assert schemas["CostInput"]["properties"]["lines"]["anyOf"][0]["items"]["required"] == ["what", "amount"]
    assert "total" not in schemas["CostInput"]["properties"]
    assert schemas["CostRecord"]["properties"]["lines"]["items"]["properties"]["amount"]["type"] == ["number", "null"]
    assert schemas["CostRecord"]["properties"]["total"]["readOnly"]


WRONG = {
    'lines = { type = "string", fields.a = {} }': "lines.fields",
    'lines = { type = "array", fields.a = { type = "nope" } }': "lines.fields.a.type",
    'lines = { type = "array", fields.a = { format = "file", files = "files/receipts" } }': "lines.fields.a.format",
    'lines = { type = "array", fields.a = { type = "array", fields.b = {} } }': "lines.fields.a.fields",
    'lines = { type = "array", fields.a = { format = "date", default = "$today" } }': "lines.fields.a.default",
    'lines = { type = "array", maxItems = 1001, fields.a = {} }': "lines.maxItems",
    'lines = { type = "array", minItems = 3, maxItems = 2, fields.a = {} }': "lines.minItems",
    'lines = { type = "array", fields.a.format = "person" }': "lines.fields.a.format",
    'x = { type = "number", sum = "line.a" }': "x.sum",
    'x = { type = "number", sum = "lines" }': "x.sum",
    'x = { type = "array", format = "file", files = "files/receipts", maxItems = 101 }': "x.maxItems",
    'lines = { type = "array", fields.a.type = "number" }\nx = { type = "number", sum = "lines.a", required_if.y = 1 }\n'
    'y = { type = "number" }': "x.sum",
    'lines = { type = "array", fields.a = {} }\nx = { type = "number", sum = "lines.b" }': "x.sum",
    'lines = { type = "array", fields.a = {} }\nx = { type = "number", sum = "lines.a" }': "x.sum",
    'lines = { type = "array", fields.a.type = "number" }\nx = { type = "integer", sum = "lines.a" }': "x.type",
    'lines = { type = "array", fields.a.type = "integer" }\nx = { type = "integer", default = 1, sum = "lines.a" }': "x.sum",
}


@pytest.mark.parametrize(("declared", "place"), WRONG.items())
def test_a_wrong_declaration_is_told_at_its_place(declared: str, place: str, tmp_path: Path) -> None:
    wrong = f'{FORM}[forms.wrong]\nprovider = "main"\n[forms.wrong.fields]\n{declared}\n'
    with pytest.raises(app.ConfigError) as told:
        Site(tmp_path, edit=lambda toml: toml.replace("[views.waiting]", wrong + "[views.waiting]"))
    places = [fault.pointer for fault in told.value.faults]
    assert [one for one in places if one.endswith(f"forms.wrong.fields.{place}")] == places, told.value.faults


def test_what_lines_are_called_is_translated(tmp_path: Path) -> None:
    german = (
        '[i18n.de]\n"forms.cost.fields.lines.fields.amount.title" = "Betrag"\n"forms.cost.fields.lines.title" = "Belege"\n'
    )
    site = Site(tmp_path, edit=lambda toml: german + toml.replace("[views.waiting]", FORM + "[views.waiting]"))
    try:
        page = site.get("/forms/cost", site.token(roles=["staff"]), Accept="text/html", Accept_Language="de").text
        assert all(text in page for text in ("Belege", "Betrag", "Zeile hinzufügen"))
    finally:
        site.close()


def test_a_message_has_lines_and_files_as_json_has(trips: Site) -> None:
    token = trips.token(roles=["staff"])
    files = [a_file("a.txt", "1"), a_file("b.txt", "2")]
    trip, cost = {"name": "R", "receipts": files}, {"name": "R", "lines": [{"what": "a", "amount": 0.5}]}
    for form, data in (("trip", trip), ("cost", cost)):
        asked = app.Request(
            id="m" * 32, action=app.Action.CREATE, resource=f"forms/{form}", door="sqs", data=data, typed=True,
            credential=f"Bearer {token}", idempotency_key=f"message-{form}",
        )  # fmt: skip
        first, again = (trips.app.handle(asked) for _ in range(2))
        assert (again.replayed, first.location) == (True, again.location)
        with pytest.raises(app.Invalid):
            trips.app.handle(
                asked._replace(idempotency_key="other", data=data | {"lines": [{"amount": "1"}], "receipts": [{}]})
            )
    assert kept_files(trips) == ["1", "2"]
    assert trips.get("/forms/cost/records", token).json["items"][0]["total"] == 0.5


def test_a_sum_decides_whether_a_field_is_asked_for(tmp_path: Path) -> None:
    asked = 'why = { type = "string", show_if.total.gt = 100, required_if.total.gt = 100 }\n'
    form = FORM.replace('sum = "lines.amount" }\n', 'sum = "lines.amount" }\n' + asked)
    site = Site(tmp_path, edit=lambda toml: toml.replace("[views.waiting]", form + "[views.waiting]"))
    try:
        staff = site.token(roles=["staff"])
        line = {"what": "a", "amount": 60}
        assert pointers(sends(site, "POST", "/forms/cost", {"name": "R", "lines": [line, line]}, staff)) == [
            ("/why", "required")
        ]
        hidden = sends(site, "POST", "/forms/cost", {"name": "R", "lines": [line], "why": "x"}, staff)
        assert pointers(hidden) == [("/why", "hidden")]
        page = site.get("/forms/cost", staff, Accept="text/html")
        fields = typed_in(page) | {"name": "R", "lines.0.what": "a", "lines.0.amount": "120"}
        wrong = posts(site, action(page), fields, staff)
        assert (wrong.status, 'href="#f-why"' in wrong.text) == (422, True), "it is asked for now"
        done = posts(site, action(wrong), typed_in(wrong) | {"why": "urgent", "_asked": ["", "why"]}, staff)
        assert done.status == 303
        assert site.get("/forms/cost/records", staff).json["items"][0]["why"] == "urgent"
    finally:
        site.close()
