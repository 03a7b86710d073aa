"""RESOURCES: what files, forms, views, apps and the admin lists make of requests, on every embedded provider."""

from __future__ import annotations

import base64
import contextlib
import csv
import io
import json
import random
import re
import sqlite3
import time
import tracemalloc
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from urllib.parse import parse_qsl, quote

import pytest
from sites import PROVIDERS, Site

import app
from app import Action, BadRequest, Conflict, Forbidden, Invalid, NotFound, PreconditionFailed, Unread

media_types = app.plugin("media_types")
Field = app.plugin("fields").Field

TOML = """
[forms.leave]
title = "Leave"
[forms.leave.fields]
who = { title = "Who", required = true, minLength = 2, maxLength = 20 }
days = { type = "number", minimum = 0, maximum = 60, multipleOf = 0.1 }
count = { type = "integer" }
ok = { type = "boolean", default = true }
day = { format = "date" }
at = { format = "date-time" }
mail = { format = "email" }
link = { format = "uri" }
kind = { oneOf = [{ const = "paid", title = "Paid leave" }, { const = "unpaid" }], default = "paid" }
level = { type = "integer", enum = [1, 2, 3] }
tags = { type = "array", items = { type = "string", enum = ["a", "b", "c"] }, maxItems = 2 }
text = { format = "multiline" }
code = { pattern = "[A-Z$]{2}" }
doc = { format = "file", files = "files/docs", accept = [".pdf", ".txt"], max_file = "20B" }
[forms.plain]
fields.a = {}
fields.n = { type = "number" }
[forms.long]
fields.a = { maxLength = 1000000 }
fields.b = { maxLength = 1000000, format = "multiline" }
[files.docs]
prefix = "docs/"
accept = []
max_file = "1kB"
[views.plain]
from = "forms/plain"
columns = { a = {} }
[views.short]
from = "forms/leave"
columns = { who = { title = "Name" }, days = {}, id = {} }
where = [{ field = "kind", eq = "paid" }]
order_by = ["-days"]
[apps.desk]
title = "Desk"
menu = [
  "forms/leave", "views/short", "files/docs", "forms/leave/records", "admin/audit", { title = "X", href = "https://x" }
]
"""


@pytest.fixture(params=["sql", "file"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    one = Site(tmp_path, PROVIDERS[request.param] + TOML)
    yield one
    one.close()


def field(**settings: Any) -> Any:
    """A field of JSON Schema keywords, as app.toml gives them."""
    reader = app.read_config(
        {"providers": {"main": {"kind": "file", "root": "x"}}, "forms": {"f": {"fields": {"x": settings}}}},
        Path("/srv"),
        "app.toml",
        {"file": app.plugin("file").FileProvider.settings},
    )
    assert not reader.faults
    form = reader.resources[0]
    assert isinstance(form, app.FormConfig)
    return Field(form.fields[0], "forms.f.fields.x")


# ---- fields

Locale = app.plugin("locale").Locale
LOCALE = Locale()
VALUES: list[tuple[dict[str, Any], list[Any], list[tuple[Any, str]]]] = [
    ({}, ["", "x", "ä" * 9], [(1, "type"), (True, "type"), ([], "type"), ({}, "type"), ("\0", "text"), ("\ud800", "text")]),
    ({"minLength": 2, "maxLength": 3}, ["ab", "äöü"], [("a", "minLength"), ("abcd", "maxLength")]),
    ({"maxLength": 0}, [""], [("a", "maxLength")]),
    ({"pattern": "[A-Z$]{2}"}, ["A$"], [("A", "pattern"), ("ABC", "pattern"), ("AB\n", "pattern")]),
    ({"pattern": "a\"{1}'\\{x"}, ["a\"'{x"], [("b", "pattern")]),
    (
        {"type": "number"},
        [0, 1.5, -2, Decimal("0.1000000000000000000001"), 2**63 - 1],
        [
            ("1", "type"),
            (True, "type"),
            (2**63, "integer_size"),
            (float("nan"), "number"),
            (Decimal("1e-999999"), "number_size"),
        ],
    ),
    ({"type": "number", "minimum": 0}, [0, 0.0], [(-1, "minimum"), (Decimal("-1E-30"), "minimum")]),
    ({"type": "number", "maximum": 0}, [0, -5], [(1, "maximum")]),
    (
        {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
        [0.5],
        [(0, "exclusiveMinimum"), (1, "exclusiveMaximum")],
    ),
    ({"type": "number", "minimum": 0.1}, [0.1, Decimal("0.10000000000000000000001")], [(0.09, "minimum")]),
    (
        {"type": "number", "multipleOf": 0.01},
        [0.07, 19.01, 1e300, Decimal("12345678901234567890123456789012.34")],
        [(0.001, "multipleOf"), (Decimal("1234567890123456789012345678901.001"), "multipleOf")],
    ),
    ({"type": "integer", "multipleOf": 2}, [0, 2**62], [(2**53 + 1, "multipleOf"), (3, "multipleOf")]),
    (
        {"type": "integer"},
        [0, -(2**63), 5.0, Decimal("9007199254740993.0")],
        [(1.5, "type"), ("1", "type"), (1e30, "integer_size")],
    ),
    ({"type": "boolean"}, [True, False], [(1, "type"), ("true", "type"), (0, "type")]),
    (
        {"format": "date"},
        ["2026-02-28", "2024-02-29"],
        [
            ("2026-02-29", "format"),
            ("20260228", "format"),
            ("", "format"),
            ("٢٠٢٦-٠١-٠١", "format"),
            ("2026-01-01T00:00:00Z", "format"),
        ],
    ),
    (
        {"format": "date-time"},
        ["2026-01-01T00:00:00Z", "2026-01-01T00:00:00.123+02:00"],
        [
            ("2026-01-01T00:00:00", "format"),
            ("2026-01-01", "format"),
            ("2026-13-01T00:00:00Z", "format"),
            ("0000-00-00T00:00:00Z", "format"),
        ],
    ),
    (
        {"format": "email"},
        ["a@b", "a.b+c@example.org"],
        [("a", "format"), ("a@b@c", "format"), ("a b@c", "format"), ("a@b\n", "format")],
    ),
    (
        {"format": "uri"},
        [
            *(
                "https://a.b/c?d#e",
                "mailto:a@b",
                "tel:+49301",
                "urn:isbn:1",
                "urn:data:1",
                "database:x",
                "HTTP://a",
                "sip:a@b",
            ),
            *("https://a/?q=javascript:alert(1)", "https://a/javascript:1", "javascripts:x", "view-source:https://a"),
        ],
        [
            (text, "format")
            for text in (
                *(
                    "a b",
                    "//a",
                    "http://a\nb",
                    "javascript:alert(1)",
                    "JaVaScRiPt:x",
                    "vbscript:x",
                    "VBS:x",
                    "data:text/html,x",
                ),
                *(
                    " javascript:x",
                    "\tjavascript:x",
                    "\x01javascript:x",
                    "\x7fjavascript:x",
                    "\u00a0javascript:x",
                    "java\nscript:x",
                ),
                *(
                    "java\tscript:x",
                    "javascript\n:x",
                    "javascript%3Ax",
                    "java%73cript:x",
                    "%6aavascript:x",
                    "java\u200bscript:x",
                ),
                *(
                    "livescript:x",
                    "mocha:x",
                    "view-source:javascript:x",
                    "feed:javascript:x",
                    "feed:jar:data:x",
                    "http://a\x7f",
                ),
                *("&#106;avascript:x", "\u017fcript:x", "data:", "javascript:"),
            )
        ],
    ),
    ({"format": "multiline"}, ["a\nb"], [(5, "type")]),
    ({"enum": ["a", "{b}", "c\"'\\"]}, ["a", "{b}", "c\"'\\"], [("d", "enum"), (5, "type"), (None, "type")]),
    ({"type": "integer", "enum": [1, 2]}, [1, 2.0], [(3, "enum"), (True, "type")]),
    ({"type": "number", "enum": [0.5, 1]}, [0.5, 1], [(0.25, "enum")]),
    ({"oneOf": [{"const": "a", "title": "A"}, {"const": "b"}]}, ["a", "b"], [("A", "oneOf"), ("", "oneOf")]),
    (
        {"type": "array", "items": {"enum": ["a", "b", "c"]}, "minItems": 1, "maxItems": 2},
        [["a"], ["c", "a"]],
        [
            ([], "minItems"),
            (["a", "b", "c"], "maxItems"),
            (["a", "a"], "uniqueItems"),
            ("a", "type"),
            (["x"], "enum"),
            ([1], "type"),
        ],
    ),
    ({"type": "array", "items": {"type": "integer", "oneOf": [{"const": 1}, {"const": 2}]}}, [[], [2, 1]], [([3], "oneOf")]),
]


@pytest.mark.parametrize(("settings", "value"), [(s, v) for s, good, _ in VALUES for v in good])
def test_a_good_value_has_no_fault(settings: dict[str, Any], value: Any) -> None:
    assert field(**settings).faults(value, "/x") == []


@pytest.mark.parametrize(("settings", "value", "code"), [(s, v, c) for s, _, bad in VALUES for v, c in bad])
def test_a_bad_value_is_named_by_pointer_rule_and_words(settings: dict[str, Any], value: Any, code: str) -> None:
    [fault] = field(**settings).faults(value, "/x")
    assert (fault.pointer.startswith("/x"), fault.code) == (True, code)
    assert "data" not in fault.detail
    assert fault.detail.split()[0] in ("must", "contains", "does", "is"), fault.detail


def test_all_faults_of_a_value_are_named_at_once() -> None:
    codes = [fault.code for fault in field(minLength=3, pattern="[a-z]+").faults("A", "")]
    assert codes == ["minLength", "pattern"]
    faults = field(type="array", items={"enum": ["a", "b"]}, maxItems=2).faults(["a", "x", "a", 1], "/tags")
    assert [(fault.pointer, fault.code) for fault in faults] == [
        ("/tags", "maxItems"),
        ("/tags", "uniqueItems"),
        ("/tags/1", "enum"),
        ("/tags/3", "type"),
    ]


def test_the_faults_of_one_array_are_bounded() -> None:
    assert len(field(type="array", items={"enum": ["a"]}).faults(list(map(str, range(1000))), "")) == 100


def test_items_of_an_array_are_compared_as_numbers() -> None:
    assert field(type="array", items={"type": "integer", "enum": [1, 2]}).faults([1.0, 2], "") == []


def test_a_fault_inside_an_array_points_at_its_item() -> None:
    [fault] = field(type="array", items={"enum": ["a"]}).faults(["a", "x"], "/3/tags")
    assert fault == app.Fault("/3/tags/1", "enum", "must be one of a")


def test_a_huge_number_costs_no_time() -> None:
    one = field(type="number", multipleOf=0.01)
    for text in ("1e999999999", "1e-999999999", "-1E+999999"):
        assert [fault.code for fault in one.faults(app.load_json(text), "")] in (["number_size"], ["number"])


TYPED = [
    ({}, [" ann "], "ann"),
    ({}, ["", " "], None),
    ({}, [], None),
    ({"format": "multiline"}, ["a\r\nb"], "a\nb"),
    ({"type": "number"}, ["1.50"], 1.5),
    ({"type": "number"}, [".5"], 0.5),
    ({"type": "number"}, ["007"], 7),
    ({"type": "number"}, ["+5"], 5),
    ({"type": "number"}, ["12345678901234567890.1"], Decimal("12345678901234567890.1")),
    ({"type": "number"}, ["x"], Unread("x", "")),
    ({"type": "number"}, ["1,5"], 1.5),
    ({"type": "number"}, [""], None),
    ({"type": "number"}, ["nan"], Unread("nan", "")),
    ({"type": "number"}, ["١"], 1),
    ({"type": "integer", "enum": [1, 2]}, ["9"], 9),
    ({"format": "date"}, ["24.12.2026"], "2026-12-24"),
    ({"format": "date"}, ["soon"], Unread("soon", "")),
    ({"format": "multiline"}, ["  a\r\rb\n"], "  a\n\nb\n"),
    ({"format": "multiline"}, [" \r\n "], None),
    ({"type": "integer"}, ["9007199254740993"], 2**53 + 1),
    ({"type": "boolean"}, ["true"], True),
    ({"type": "boolean"}, ["on"], True),
    ({"type": "boolean", "required": True}, [], False),
    ({"type": "boolean", "default": True}, [], False),
    ({"type": "boolean"}, [], None),
    ({"type": "boolean"}, [""], None),
    ({"type": "boolean"}, ["false"], False),
    ({"type": "boolean"}, ["banana"], "banana"),
    ({"format": "date-time"}, ["2026-01-01T08:30"], "2026-01-01T08:30:00Z"),
    ({"format": "date-time"}, ["2026-01-01T08:30:15"], "2026-01-01T08:30:15Z"),
    ({"type": "integer", "enum": [1, 2]}, ["2"], 2),
    ({"enum": ["1", "2"]}, ["2"], "2"),
    ({"type": "array", "items": {"type": "integer", "enum": [1, 2]}}, ["2", "1"], [2, 1]),
    ({"type": "array", "items": {"enum": ["a"]}}, [], None),
    ({"type": "array", "items": {"enum": ["a"]}}, ["z"], ["z"]),
]


@pytest.mark.parametrize(("settings", "texts", "value"), TYPED)
def test_what_a_person_types_is_read_by_the_type(settings: dict[str, Any], texts: list[str], value: Any) -> None:
    read = LOCALE.read(field(**settings), texts)
    assert (read, type(read)) == (value, type(value))


def test_the_schema_of_a_form_says_every_rule() -> None:
    schema = field(type="number", minimum=0, maximum=0.5, multipleOf=0.1, default=0, title="T", description="D").schema
    assert schema == {
        "type": "number",
        "title": "T",
        "description": "D",
        "minimum": 0,
        "maximum": 0.5,
        "multipleOf": 0.1,
        "default": 0,
    }
    assert field(type="boolean", default=False).schema["default"] is False


# ---- records


def inline_name(name: str) -> dict[str, str]:
    return {"name": name, "base64": ""}


GOOD = {
    "who": "Ann",
    "days": 0.3,
    "count": 2**62 + 1,
    "ok": False,
    "day": "2026-11-23",
    "at": "2026-11-23T08:00:00Z",
    "mail": "ann@example.org",
    "link": "https://x.org/",
    "kind": "unpaid",
    "level": 2,
    "tags": ["b", "a"],
    "text": "a\nb",
    "code": "A$",
}


def test_a_record_can_be_made_under_a_given_id_once(site: Site) -> None:
    for key in ("ticket-7", "a/b", "..", "\u200f%", "x" * 512):
        address = "forms/plain/records/" + quote(key, safe="")
        made = site.put(address, {"a": "x"}, if_none_match="*")
        assert made.created
        assert (made.data["id"], made.data["version"], made.etag, made.location) == (key, 1, "1", address)
        assert site.read(address).data == made.data
        with pytest.raises(app.PreconditionFailed):
            site.put(address, {"a": "y"}, if_none_match="*")
    assert len(site.audit(action="create", outcome="ok")) == 5
    with pytest.raises(app.NotFound):
        site.put("forms/plain/records/other", {"a": "x"})
    with pytest.raises(app.NotFound):
        site.patch("forms/plain/records/other", {"a": "x"}, if_none_match="*")
    for bad in ("x" * 513, "%00", ""):
        with pytest.raises(app.BadRequest):
            site.put("forms/plain/records/" + bad, {"a": "x"}, if_none_match="*")
    with pytest.raises(app.BadRequest):
        site.put("forms/plain/records/list", [{"a": "x"}], if_none_match="*")
    with pytest.raises(app.Invalid):
        site.put("forms/plain/records/list", {"b": "x"}, if_none_match="*")


def test_making_a_record_under_an_id_needs_the_create_grant_and_no_other(site: Site) -> None:
    maker, changer = site.token("m", "forms/plain:create"), site.token("c", "forms/plain:update")
    site.put("forms/plain/records/a", {"a": "x"}, if_none_match="*", by=maker)
    for by, facts in ((changer, {"if_none_match": "*"}), (maker, {})):
        with pytest.raises(app.Forbidden):
            site.put("forms/plain/records/b", {"a": "x"}, by=by, **facts)
    with pytest.raises(app.Forbidden):
        site.put("forms/plain/records/a", {"a": "y"}, by=maker)
    with pytest.raises(app.PreconditionFailed):
        site.put("forms/plain/records/a", {"a": "y"}, if_none_match="*", by=maker)


def test_files_of_a_record_under_a_given_id_stay_in_their_folder(site: Site) -> None:
    doc = {"name": "a.txt", "base64": "aGVsbG8="}
    made = site.put("forms/leave/records/" + quote("../../x", safe=""), GOOD | {"doc": doc}, if_none_match="*")
    assert site.bytes(made.data["doc"]["address"]) == b"hello"
    assert all(".." not in path for path, _ in kept_files(site))


def test_a_record_comes_back_flat_and_exact(site: Site) -> None:
    made = site.create("forms/leave", GOOD)
    assert made.created
    assert made.etag == "1"
    assert made.location == "forms/leave/records/" + made.data["id"]
    assert {name: made.data[name] for name in GOOD} == GOOD
    assert made.data["created_by"] == made.data["updated_by"] == "root"
    assert made.data["created_at"] == made.data["updated_at"]
    assert app.plugin("locale").parse_rfc3339(made.data["created_at"])
    again = site.read(made.location)
    assert (again.data, again.etag) == (made.data, "1")
    assert site.items("forms/leave/records") == [made.data]


def test_decimals_and_64_bit_integers_are_exact_through_create_get_list_and_export(site: Site) -> None:
    for text in (
        "0.1000000000000000000001",
        "9223372036854775807",
        "-9223372036854775808",
        "1E+300",
        "12345678901234567890.5",
    ):
        made = site.create("forms/plain", app.load_json('{"n": ' + text + "}"))
        rows = [made.data, site.read(made.location).data, site.items(f"forms/plain/records?id={made.data['id']}")[0]]
        rows += [row for row in site.items("forms/plain/records", whole=True) if row["id"] == made.data["id"]]
        assert len(rows) == 4
        for row in rows:
            assert Decimal(app.dump_json(row["n"])) == Decimal(text)


def test_defaults_fill_what_is_not_named_and_nothing_else(site: Site) -> None:
    made = site.create("forms/leave", {"who": "Ann"}).data
    assert (made["ok"], made["kind"], made["days"]) == (True, "paid", None)
    assert site.create("forms/leave", {"who": "Ann", "kind": None}).data["kind"] is None
    changed = site.put("forms/leave/records/" + made["id"], {"who": "Bob"}).data
    assert (changed["ok"], changed["kind"]) == (None, None)


def faults(error: pytest.ExceptionInfo[Invalid]) -> dict[str, str]:
    return {fault.pointer: fault.code for fault in error.value.faults}


def test_every_fault_of_every_field_is_reported_at_once(site: Site) -> None:
    bad = {"days": -1, "count": 1.5, "day": "x", "kind": "x", "tags": ["a", "z"], "whoo": 1, "a/b~c": 1, "doc": 5}
    with pytest.raises(Invalid) as error:
        site.create("forms/leave", bad)
    assert faults(error) == {
        "/who": "required",
        "/days": "minimum",
        "/count": "type",
        "/day": "format",
        "/kind": "oneOf",
        "/tags/1": "enum",
        "/whoo": "unknown_field",
        "/a~1b~0c": "unknown_field",
        "/doc": "type",
    }
    assert "did you mean who?" in next(f.detail for f in error.value.faults if f.pointer == "/whoo")
    assert site.items("forms/leave/records") == []


LENGTHS = [
    ("who", "x" * 20, "x" * 21),
    ("text", "x" * 100_000, "x" * 100_001),
    ("mail", f"{'x' * 64}@{'y' * 61}.{'z' * 63}.{'z' * 63}", f"{'x' * 64}@{'y' * 62}.{'z' * 63}.{'z' * 63}"),
    ("link", "https://a/" + "x" * 1990, "https://a/" + "x" * 1991),
    ("at", "2026-01-01T00:00:00." + "0" * 43 + "Z", "2026-01-01T00:00:00." + "0" * 44 + "Z"),
]


@pytest.mark.parametrize(("name", "good", "bad"), LENGTHS)
def test_a_text_without_a_declared_length_is_bounded_all_the_same(site: Site, name: str, good: str, bad: str) -> None:
    assert site.create("forms/leave", {"who": "Ann", name: good}).data[name] == good
    with pytest.raises(Invalid) as error:
        site.create("forms/leave", {"who": "Ann", name: bad})
    assert faults(error) == {"/" + name: "maxLength"}
    schema = site.read("forms/leave").data["properties"][name]
    assert schema["maxLength"] == len(good)
    with pytest.raises(Invalid, match="not valid") as error:
        site.create("forms/plain", {"a": "x" * 10_001})
    assert error.value.faults[0].detail == "must have at most 10,000 characters"
    assert field(minLength=20_000).schema["maxLength"] == 20_000
    assert "maxLength" not in field(enum=["a"]).schema


def test_a_longer_text_that_is_stored_already_stays_and_other_fields_can_be_changed(site: Site) -> None:
    long = "x" * 20_000
    site.app.providers["main"].commit([app.Insert("plain", "old", {"a": long, "n": 1})])
    assert site.read("forms/plain/records/old").data["a"] == long
    assert site.patch("forms/plain/records/old", {"n": 2}).data["a"] == long
    assert site.put("forms/plain/records/old", {"a": long, "n": 3}).data["n"] == 3
    with pytest.raises(Invalid) as error:
        site.patch("forms/plain/records/old", {"a": long + "y"})
    assert faults(error) == {"/a": "maxLength"}


def test_a_record_is_bounded_as_a_whole(site: Site) -> None:
    most = app.MOST_RECORD_BYTES
    site.create("forms/long", {"a": "x" * (most // 2), "b": "x" * (most // 2 - 100)})
    for data in (
        {"a": "x" * (most // 2), "b": "x" * (most // 2)},
        {"a": "\u20ac" * (most // 3)},
        {"a": "\x01" * (most // 6)},
    ):
        with pytest.raises(Invalid) as error:
            site.create("forms/long", [{"a": "x"}, data])
        assert faults(error) == {"/1": "record_size"}
        assert "a record has at most 1,000,000" in error.value.faults[0].detail
    assert len(site.items("forms/long/records")) == 1


def test_a_record_that_is_stored_too_large_can_still_be_changed_where_it_is_not_too_large(site: Site) -> None:
    long = "x" * (app.MOST_RECORD_BYTES + 1)
    site.app.providers["main"].commit([app.Insert("long", "old", {"a": long, "b": "y"})])
    assert site.patch("forms/long/records/old", {"b": "other"}).data["a"] == long
    assert site.put("forms/long/records/old", {"a": long, "b": "again"}).data["b"] == "again"
    assert site.patch("forms/long/records/old", {"a": "short"}).data["b"] == "again"
    with pytest.raises(Invalid) as error:
        site.patch("forms/long/records/old", {"a": "x" * (app.MOST_RECORD_BYTES - 10)})
    assert faults(error) == {"": "record_size"}


def test_the_faults_of_one_request_are_bounded(site: Site) -> None:
    began = time.thread_time()
    with pytest.raises(Invalid) as error:
        site.create("forms/leave", {f"whoo{n}": 1 for n in range(200_000)} | {"who": "Ann"})
    assert 1 < len(error.value.faults) < 200
    with pytest.raises(Invalid) as error:
        site.create("forms/leave", [{"who": 1}] * 1000)
    assert 1 < len(error.value.faults) < 200
    assert time.thread_time() - began < 2


@pytest.mark.parametrize(
    ("address", "written"),
    [
        ("forms/long/records", app.CsvFormat),
        ("forms/long/records?_sort=-b", app.NdjsonFormat),
        ("admin/audit", app.CsvFormat),
    ],
)
def test_an_export_holds_a_few_rows_at_a_time(site: Site, address: str, written: Any) -> None:
    records = site.app.providers["main"]
    for n in range(40):
        value = {"a": f"{n}" + "x" * 900_000}
        records.commit([app.Insert("long", f"{n:02}", value), app.Insert("_audit", f"{n:02}", {"at": "", "after": value})])
    table = site.read(address, whole=True).table
    assert table is not None
    tracemalloc.start()
    try:
        chunks = written.dump(written.__new__(written), SimpleNamespace(query={}), app.Response(table=table))
        size = sum(map(len, chunks))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert size > 36_000_000
    assert peak < 22_000_000


def test_pages_of_views_and_of_the_audit_trail_end_before_they_are_too_large(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [f"{n:02}" + "x" * (9000 if n == 5 else 900) for n in range(12)]
    for text in texts:
        site.create("forms/plain", {"a": text})
    monkeypatch.setattr(app, "PAGE_BYTES", 3000)
    for address, name in (
        ("views/plain?", "a"),
        ("admin/audit?resource=forms/plain&", "after"),
        ("forms/plain/records?", "a"),
    ):
        found: list[str] = []
        following: str | None = ""
        pages = 0
        while following is not None:
            table = site.read(f"{address}_size=1000" + (f"&_next={following}" if following else "")).table
            assert table is not None
            found += [str(row[name]["a"] if name == "after" else row[name]) for row in table.rows]
            following, pages = table.next, pages + 1
        assert sorted(found) == texts
        assert pages >= 5


@pytest.mark.parametrize(
    "data",
    [
        {"\ud800": 1},
        {"\0": 1},
        {"\0x": {}},
        {"who": {"\ud800": 1}},
        {"who": ["\udfff"]},
        {"doc": inline_name("\ud800.exe")},
        {"who": {"\0": "\0"}},
    ],
)
def test_faults_of_names_that_no_encoding_can_send_can_be_sent(site: Site, data: dict[str, Any]) -> None:
    with pytest.raises(Invalid) as error:
        site.create("forms/leave", data)
    sent = app.dump_json([fault._asdict() for fault in error.value.faults]).encode()
    assert len(app.load_json(sent)) == len(error.value.faults) > 0


def test_a_batch_reports_the_faults_of_every_record_and_stores_none(site: Site) -> None:
    batch = [{"who": "Ann"}, {"who": "x"}, 5, {"who": "Bob", "days": 99}, [], None]
    with pytest.raises(Invalid) as error:
        site.create("forms/leave", batch)
    assert faults(error) == {"/1/who": "minLength", "/2": "type", "/3/days": "maximum", "/4": "type", "/5": "type"}
    assert site.items("forms/leave/records") == []


def test_a_batch_is_stored_in_order_in_one_answer(site: Site) -> None:
    made = site.create("forms/plain", [{"n": number} for number in range(1000)])
    assert made.created
    assert not made.location
    assert [row["n"] for row in made.data["items"]] == list(range(1000))
    assert [row["n"] for row in site.items("forms/plain/records?_sort=id&_size=1000")] == list(range(1000))


@pytest.mark.parametrize("data", [None, [], "x", 5, True, [{}] * 1001])
def test_a_body_that_is_no_record_is_a_bad_request(site: Site, data: Any) -> None:
    with pytest.raises(BadRequest):
        site.create("forms/plain", data)


def test_reserved_names_are_refused_unless_they_come_back_as_they_were(site: Site) -> None:
    made = site.create("forms/leave", {"who": "Ann"}).data
    with pytest.raises(Invalid) as error:
        site.create("forms/leave", {"who": "Ann", "id": "mine", "created_by": "boss"})
    assert faults(error) == {"/id": "unknown_field", "/created_by": "unknown_field"}
    with pytest.raises(Invalid) as error:
        site.put("forms/leave/records/" + made["id"], made | {"created_by": "boss", "version": 7})
    assert faults(error) == {"/created_by": "read_only", "/version": "read_only"}


def test_what_get_gave_can_be_put_back(site: Site) -> None:
    file = {"name": "a.txt", "base64": base64.b64encode(b"hello").decode()}
    made = site.create("forms/leave", GOOD | {"doc": file}).data
    put = site.put("forms/leave/records/" + made["id"], made).data
    assert put["version"] == 2
    assert {n: put[n] for n in put if n not in ("version", "updated_at")} == {
        n: made[n] for n in made if n not in ("version", "updated_at")
    }
    assert site.bytes(put["doc"]["address"]) == b"hello"


BEFORE = """
[forms.f.fields]
title = {}
size = {}
gone = {}
paper = {}
"""
AFTER = """
[files.papers]
provider = "main"
[forms.f.fields]
title = {}
paper = { format = "file", files = "files/papers" }
size = { enum = ["S", "M"] }
at = { format = "date-time", required = true }
ok = { type = "boolean" }
tags = { type = "array", items = { enum = ["a", "b"] } }
"""


@pytest.fixture(params=["sql", "file"])
def aged(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    """A site whose one record `x` was stored when app.toml said something else."""
    before = Site(tmp_path, PROVIDERS[request.param] + BEFORE)
    before.put("forms/f/records/x", {"title": "t", "size": "XL", "gone": "kept"}, if_none_match="*")
    before.close()
    one = Site(tmp_path, PROVIDERS[request.param] + AFTER)
    yield one
    one.close()


def test_an_address_that_is_a_script_is_shown_if_it_is_stored_and_never_taken_anew(tmp_path: Path) -> None:
    bad = {"x": "javascript:alert(1)"}
    before = Site(tmp_path, PROVIDERS["sql"] + "[forms.f.fields]\nx = {}\n")
    before.put("forms/f/records/old", bad, if_none_match="*")
    before.close()
    one = Site(tmp_path, PROVIDERS["sql"] + '[forms.f.fields]\nx = { format = "uri" }\ny = {}\n')
    assert one.read("forms/f/records/old").data["x"] == bad["x"]
    one.patch("forms/f/records/old", {"y": "changed"})
    assert one.read("forms/f/records/old").data["x"] == bad["x"]
    with pytest.raises(app.Invalid) as caught:
        one.put("forms/f/records/new", bad, if_none_match="*")
    assert [(fault.pointer, fault.code) for fault in caught.value.faults] == [("/x", "format")]
    schema = one.app.resources["forms/f"].schema()["properties"]["x"]
    assert re.search(schema["not"]["pattern"], "jAvAsCrIpT:alert(1)")
    assert not re.search(schema["not"]["pattern"], "https://example.org/javascript:")
    one.close()


def fields_of(site: Site) -> dict[str, Any]:
    data: dict[str, Any] = site.read("forms/f/records/x").data
    return {name: value for name, value in data.items() if name not in app.RESERVED_FIELDS and value is not None}


def test_what_was_stored_under_other_rules_is_shown_and_stays_through_every_kind_of_write(aged: Site) -> None:
    first = {"title": "t", "size": "XL", "gone": "kept"}
    assert fields_of(aged) == first
    shown = aged.read("forms/f/records/x").page["columns"]
    assert shown[-1].title == "gone (no longer asked)"
    aged.patch("forms/f/records/x", {"title": "patched"})
    assert fields_of(aged) == first | {"title": "patched"}
    aged.put("forms/f/records/x", {"title": "put", "size": "XL"})
    assert fields_of(aged) == first | {"title": "put"}
    aged.put("forms/f/records/x", aged.read("forms/f/records/x").data | {"title": "back"})
    assert fields_of(aged) == first | {"title": "back"}
    aged.put("forms/f/records/x", typed(title="page"), typed=False)
    assert fields_of(aged) == first | {"title": "page"}
    for data, fault in (({"gone": "other"}, "/gone"), ({"size": "XXL"}, "/size")):
        with pytest.raises(Invalid) as error:
            aged.patch("forms/f/records/x", data)
        assert list(faults(error)) == [fault]
    with pytest.raises(Invalid):
        aged.create("forms/f", {"title": "new", "size": "XL", "at": "2026-01-01T00:00:00Z"})


def test_a_text_where_files_are_today_is_kept_shown_replaced_and_deleted(aged: Site) -> None:
    change = app.Update("f", "x", aged.app.resources["forms/f"].records.get("f", "x").value | {"paper": "in the drawer"})  # type: ignore[union-attr]
    aged.app.resources["forms/f"].records.commit([change])  # type: ignore[union-attr]
    assert aged.patch("forms/f/records/x", {"title": "n"}).data["paper"] == "in the drawer"
    with pytest.raises(NotFound):
        aged.read("forms/f/records/x/paper")
    replaced = aged.patch("forms/f/records/x", {"paper": {"name": "a.txt", "base64": "YQ=="}})
    assert replaced.data["paper"]["name"] == "a.txt"
    change = app.Update("f", "x", {"paper": {"address": 5}})
    aged.app.resources["forms/f"].records.commit([change])  # type: ignore[union-attr]
    aged.delete("forms/f/records/x")


def test_a_page_that_says_what_it_showed_empties_what_it_sends_nothing_for(aged: Site) -> None:
    aged.patch("forms/f/records/x", {"ok": True, "tags": ["a"], "at": "2026-01-01T00:00:00.5Z"})
    page = app.plugin("controls").with_inputs(aged.read("forms/f/records/x?_edit=1").page, LOCALE)
    sent = {one.name: list(one.texts) for one in page["inputs"]} | {"_shown": [page["shown"]]}
    unchanged = aged.put("forms/f/records/x", sent, typed=False)
    assert (unchanged.etag, len(aged.audit(action="update", record="x"))) == ("2", 1)
    del sent["ok"], sent["tags"]
    aged.put("forms/f/records/x", typed(title="t"), typed=False)
    assert fields_of(aged)["ok"] is True
    aged.put("forms/f/records/x", sent, typed=False)
    assert (fields_of(aged).get("ok"), fields_of(aged).get("tags"), fields_of(aged)["at"]) == (
        None,
        None,
        "2026-01-01T00:00:00.5Z",
    )
    with pytest.raises(Invalid) as error:
        aged.put("forms/f/records/x", sent | {"at": [""]}, typed=False)
    assert faults(error) == {"/at": "required"}


def test_a_required_choice_that_is_no_longer_offered_may_stay_alone(tmp_path: Path) -> None:
    toml = PROVIDERS["sql"] + '[forms.f.fields]\ntags = { type = "array", required = true, items = { enum = ["a", "b"] } }\n'
    before = Site(tmp_path, toml)
    where = before.create("forms/f", {"tags": ["a", "b"]}).location
    before.close()
    after = Site(tmp_path, toml.replace('"a", ', ""))
    assert after.put(where, typed(tags="a"), typed=False).data["tags"] == ["a"]
    with pytest.raises(Invalid):
        after.put(where, {"_shown": ["tags:0"]}, typed=False)
    after.close()


def test_a_page_that_was_open_while_others_wrote_changes_only_what_was_changed_in_it(aged: Site) -> None:
    page = app.plugin("controls").with_inputs(aged.read("forms/f/records/x?_edit=1").page, LOCALE)
    sent = {one.name: list(one.texts) for one in page["inputs"]} | {"_shown": [page["shown"]]}
    aged.patch("forms/f/records/x", {"title": "of others", "ok": True})
    aged.put("forms/f/records/x", sent | {"size": ["M"]}, typed=False)
    assert fields_of(aged) == {"title": "of others", "ok": True, "size": "M", "gone": "kept"}
    aged.patch("forms/f/records/x", {"at": "2026-01-01T08:30:00.123456Z"})
    aged.put("forms/f/records/x", sent | {"title": ["mine"], "at": ["2026-01-01T08:30:00.123"]}, typed=False)
    assert (fields_of(aged)["title"], fields_of(aged)["at"]) == ("mine", "2026-01-01T08:30:00.123456Z")


CALLED = """
[forms.tools]
title = "Tools"
opens = "records"
name = "{tag}: {state} ({kinds})"
[forms.tools.fields]
tag = {}
state = { type = "integer", oneOf = [{ const = 1, title = "=On loan" }, { const = 2, title = "Here" }] }
kinds = { type = "array", items = { oneOf = [{ const = "a", title = "Attic" }, { const = "b" }] } }
cost = { type = "number" }
at = { format = "date-time" }
day = { format = "date" }
[forms.plain.fields]
text = { title = "Text" }
[views.tools]
from = "forms/tools"
columns = { tag = { title = "Label" }, state = {}, kinds = {}, cost = {}, at = {}, day = {} }
[apps.desk]
home = "forms/tools"
menu = ["forms/tools", "forms/plain", "views/tools"]
"""


@pytest.fixture(params=["sql", "file"])
def tools(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    zone = '[site]\nlang = "de"\ntimezone = "Europe/Berlin"\n'
    one = Site(tmp_path, zone + PROVIDERS[request.param].replace("[site]", "") + CALLED)
    yield one
    one.close()


def test_a_record_is_called_by_the_name_of_the_form(tools: Site) -> None:
    def called(form: str, **fields: Any) -> str:
        made = tools.create(f"forms/{form}", fields)
        page = tools.read(made.location).page
        assert made.name == page["called"]
        return made.name.replace(made.data["id"][:13], "ID")

    assert called("tools", tag="LT-1", state=2, kinds=["a", "b"]) == "LT-1: Here (Attic, b)"
    assert [called("tools", tag="a"), called("tools", state=2), called("tools", tag="a", state=1)] == [
        "a",
        "Here",
        "a: =On loan",
    ]
    assert called("tools", cost=3) == "ID"
    assert called("plain", text=" two\nlines ") == "two lines"
    assert called("plain") == called("plain", text=" ") == "ID"
    assert called("plain", text="x" * 100) == "x" * 79 + "…"
    made = tools.create("forms/plain", {"text": "old"})
    assert tools.patch(made.location, {"text": "new"}).name == "new"
    assert tools.delete(made.location).name == "new"


def test_links_lead_to_the_records_where_they_come_first_or_the_caller_may_not_submit(tools: Site) -> None:
    def leads(*grants: str) -> tuple[str, ...]:
        by = tools.token("x", *grants, "apps/desk:read")
        home, desk = (tools.read(address, by=by).page for address in ("", "apps/desk"))
        menu = tools.read("apps/desk", by=by).data["menu"]
        assert all(home["leads"].get(one["address"], where) == where for one, where in zip(menu, desk["leads"], strict=True))
        return (*(where for address, where in home["leads"].items() if address.startswith("forms/")), desk["home"])

    assert leads("forms/*:*") == ("forms/tools/records", "forms/plain", "forms/tools/records")
    assert leads("forms/*:create") == ("forms/tools", "forms/plain", "forms/tools")
    assert leads("forms/*:read") == ("forms/tools/records", "forms/plain/records", "forms/tools/records")


def test_filters_and_parameters_are_read_as_programs_and_as_people_write_them(tools: Site) -> None:
    for number, cost in enumerate((1.25, 1250, 12.5)):
        tools.create("forms/tools", {"tag": str(number), "cost": cost, "day": f"2026-0{number + 1}-01"})
    found = {
        query: [row["tag"] for row in tools.items(f"forms/tools/records?_sort=tag&{query}")]
        for query in (
            "cost=1.25",
            "cost=1,25",
            "cost=1.250",
            "cost=1.250,0",
            "cost__in=1.25,12.5",
            "day__gte=1.2.2026",
            "day=2026-01",
        )
    }
    assert found == {
        "cost=1.25": ["0"], "cost=1,25": ["0"], "cost=1.250": ["0"], "cost=1.250,0": ["1"], "cost__in=1.25,12.5": ["0", "2"],
        "day__gte=1.2.2026": ["1", "2"], "day=2026-01": [],
    }  # fmt: skip
    with pytest.raises(BadRequest, match="must be a number such as 1234,5"):
        tools.items("forms/tools/records?cost=many")
    param, here = field(type="number").from_param, Locale("de", "Europe/Berlin")
    assert [param(text, here) for text in ("1.25", "1,25", "1.250", "1.250,5", "-1e3")] == [1.25, 1.25, 1.25, 1250.5, -1e3]
    moment = field(format="date-time").from_param
    assert moment("2026-11-23T08:30", here) == "2026-11-23T08:30:00+01:00"
    assert moment("2026-11-23T08:30:00 05:30", here) == "2026-11-23T08:30:00+05:30"


def test_a_time_that_the_clocks_leave_out_and_a_number_that_could_be_two_are_refused_in_words(tools: Site) -> None:
    with pytest.raises(Invalid) as error:
        tools.create("forms/tools", typed(at="2026-03-29T02:30", cost="1.234", day="31.2.2026"), typed=False)
    told = {fault.pointer: (fault.code, fault.detail) for fault in error.value.faults}
    assert told == {
        "/cost": ("type", "could be two numbers: write 1234 or 1,234"),
        "/at": ("format", "does not exist: the clocks of Europe/Berlin leave this time out"),
        "/day": ("format", "must be a date such as 24.12.2026"),
    }
    made = tools.create("forms/tools", typed(at="2026-07-01T02:30", cost="−1.234,5", day="1.2.2026"), typed=False)
    assert (made.data["at"], made.data["cost"], made.data["day"]) == ("2026-07-01T02:30:00+02:00", -1234.5, "2026-02-01")
    with pytest.raises(Invalid):
        tools.create("forms/tools", {"cost": "12,5"})  # a program sends numbers as numbers


def test_columns_have_the_titles_of_their_values_for_people(tools: Site) -> None:
    tools.create("forms/tools", {"tag": "a", "state": 1, "kinds": ["a", "b"], "cost": 12.5, "at": "2026-07-01T00:00:00Z"})
    for address in ("forms/tools/records", "views/tools"):
        table = tools.read(address).table
        assert table is not None
        [row] = table.rows
        here = Locale("de", "Europe/Berlin")
        shown = {one.name: here.show(one, row[one.name]) for one in table.columns}
        assert (row["state"], row["kinds"]) == (1, ["a", "b"])
        assert (shown["state"], shown["kinds"], shown["cost"], shown["day"]) == ("=On loan", "Attic, b", "12,5", "")
        assert shown["at"] == "01.07.2026 02:00 CEST"
    with pytest.raises(BadRequest, match="write excel"):
        tools.read("views/tools?_for=word")


def test_a_patch_changes_what_it_names_and_null_removes(site: Site) -> None:
    made = site.create("forms/leave", GOOD).data
    where = "forms/leave/records/" + made["id"]
    patched = site.patch(where, {"days": None, "tags": ["c"], "level": 3})
    assert patched.etag == "2"
    assert patched.data == made | {
        "days": None,
        "tags": ["c"],
        "level": 3,
        "version": 2,
        "updated_at": patched.data["updated_at"],
    }
    for data, wrong in (({"who": None}, {"/who": "required"}), ({"nosuch": None}, {"/nosuch": "unknown_field"})):
        with pytest.raises(Invalid) as error:
            site.patch(where, data)
        assert faults(error) == wrong
    assert site.read(where).data == patched.data


def test_an_update_names_at_most_twenty_unknown_fields(site: Site) -> None:
    made = site.create("forms/plain", {"a": "1"})
    with pytest.raises(Invalid) as error:
        site.patch(made.location, {f"nosuch{n}": n for n in range(500)})
    assert len(faults(error)) == 20


def test_a_stale_if_match_changes_nothing(site: Site) -> None:
    made = site.create("forms/plain", {"a": "1"})
    assert site.patch(made.location, {"a": "2"}, if_match="1").etag == "2"
    for write in (site.patch, site.put):
        with pytest.raises(PreconditionFailed):
            write(made.location, {"a": "3"}, if_match="1")
    with pytest.raises(PreconditionFailed):
        site.delete(made.location, if_match="1")
    assert site.read(made.location).data["a"] == "2"
    assert site.delete(made.location, if_match="2").data is None
    with pytest.raises(NotFound):
        site.read(made.location)
    for late in (lambda: site.delete(made.location), lambda: site.put(made.location, {})):
        with pytest.raises(NotFound):
            late()


@pytest.mark.parametrize(
    ("action", "path", "error"),
    [
        (Action.UPDATE, "", app.UnsupportedAction),
        (Action.DELETE, "", app.UnsupportedAction),
        (Action.DELETE, "/records", app.UnsupportedAction),
        (Action.CREATE, "/records/x", app.UnsupportedAction),
        (Action.READ, "/nothing", NotFound),
        (Action.READ, "/records/x/y", NotFound),
        (Action.READ, "/records/x", NotFound),
        (Action.READ, "/records/", NotFound),
        (Action.READ, "/records/" + "k" * 600, NotFound),
        (Action.READ, "/records/%00", NotFound),
        (Action.READ, "/records/a%2Fb", NotFound),
    ],
)
def test_what_a_form_does_not_do_is_said(site: Site, action: Action, path: str, error: type[app.AppError]) -> None:
    with pytest.raises(error):
        site.ask(action, "forms/leave" + path, {})


def test_who_may_submit_may_see_the_form_but_no_records(site: Site) -> None:
    ann = site.token("ann", "forms/leave:create")
    assert site.read("forms/leave", by=ann).data["required"] == ["who"]
    made = site.create("forms/leave", {"who": "Ann"}, by=ann)
    for refused in (lambda: site.read("forms/leave/records", by=ann), lambda: site.read(made.location, by=ann)):
        with pytest.raises(Forbidden):
            refused()


# -- as a page sends it


def typed(**texts: Any) -> dict[str, list[Any]]:
    return {name: text if isinstance(text, list) else [text] for name, text in texts.items()}


def test_a_page_sends_texts_that_become_values(site: Site) -> None:
    sent = typed(
        who=" Ann ",
        days="0.3",
        count=str(2**62),
        level="2",
        tags=["a", "c"],
        text="a\r\nb",
        day="",
        mail="",
        at="2026-01-01T08:00",
    )
    made = site.create("forms/leave", sent, typed=False).data
    assert (made["who"], made["days"], made["count"], made["level"], made["tags"]) == ("Ann", 0.3, 2**62, 2, ["a", "c"])
    assert (made["ok"], made["day"], made["text"], made["at"]) == (False, None, "a\nb", "2026-01-01T08:00:00Z")


def test_a_page_gets_every_fault_of_what_was_typed(site: Site) -> None:
    with pytest.raises(Invalid) as error:
        site.create("forms/leave", typed(who=" ", days="many", level="9", tags=["z"], day="soon", nope="x"), typed=False)
    assert faults(error) == {
        "/who": "required",
        "/days": "type",
        "/level": "enum",
        "/tags/0": "enum",
        "/day": "format",
        "/nope": "unknown_field",
    }


def test_a_file_in_a_field_that_takes_text_is_a_fault_and_no_crash(site: Site) -> None:
    upload = app.Upload("a.txt", io.BytesIO(b"x"))
    with pytest.raises(Invalid) as error:
        site.create("forms/leave", typed(who=[upload], doc="text"), typed=False)
    assert faults(error) == {"/who": "required"}


def test_a_page_keeps_the_stored_file_unless_it_sends_another(site: Site) -> None:
    first = app.Upload("a.txt", io.BytesIO(b"one"))
    made = site.create("forms/leave", typed(who="Ann", doc=first), typed=False).data
    kept = site.put(
        "forms/leave/records/" + made["id"], typed(who="Bob", doc=[app.Upload("", io.BytesIO())]), typed=False
    ).data
    assert kept["doc"] == made["doc"]
    second = app.Upload("b.txt", io.BytesIO(b"two"))
    changed = site.put("forms/leave/records/" + made["id"], typed(who="Bob", doc=second), typed=False).data
    assert site.bytes(changed["doc"]["address"]) == b"two"
    assert [content for _, content in kept_files(site)] == [b"two"]


# -- file fields


def inline(name: str, content: bytes) -> dict[str, str]:
    return {"name": name, "base64": base64.b64encode(content).decode()}


def test_a_file_field_keeps_name_size_digest_and_address(site: Site) -> None:
    made = site.create("forms/leave", {"who": "Ann", "doc": inline("C:\\x\\plän 1.PDF", b"%PDF-")}).data
    stored = made["doc"]
    assert (stored["name"], stored["size_bytes"]) == ("plän 1.PDF", 5)
    assert stored["address"] == f"forms/leave/records/{made['id']}/doc"
    assert site.bytes(stored["address"]) == b"%PDF-"
    assert kept_files(site) == [(f"docs/uploads/leave/{made['id']}/doc/plän 1.PDF", b"%PDF-")]


def kept_files(site: Site) -> list[tuple[str, bytes]]:
    """The paths in the provider of all files of records, with what is in them."""
    blobs = site.app.resources["files/docs"].blobs  # type: ignore[attr-defined]
    found = []
    for blob in blobs.scan("docs/uploads"):
        with contextlib.closing(blobs.read(blob.path)) as chunks:
            found.append((blob.path, b"".join(chunks)))
    return found


def test_whoever_may_read_a_record_may_read_its_files_at_its_own_address(site: Site) -> None:
    made = site.create("forms/leave", {"who": "Ann", "doc": inline("a b.txt", b"12345")})
    address = made.data["doc"]["address"]
    assert address == f"{made.location}/doc"
    assert site.read(made.location).data["doc"] == site.items("forms/leave/records")[0]["doc"] == made.data["doc"]
    content = site.read(address).content
    assert content
    assert (content.name, content.blob.size_bytes) == ("a b.txt", 5)
    for grant in ("forms/leave:read", "forms/leave/records/*:read", f"{made.location}:read"):
        assert site.bytes(address, by=site.token("ann", grant)) == b"12345"
    for grant in ("files/docs:read", "forms/leave:create", "forms/plain:read", "forms/leave/records/other:read"):
        with pytest.raises(app.Forbidden):
            site.read(address, by=site.token("ann", grant))
    for wrong in (f"{made.location}/who", f"{made.location}/none", f"{made.location}/doc/x", "forms/leave/records/x/doc"):
        with pytest.raises(NotFound):
            site.read(wrong)
    with pytest.raises(app.UnsupportedAction):
        site.put(address, body=b"x")
    assert site.bytes(address) == b"12345"


def test_a_file_is_sent_back_as_it_was_shown_or_as_it_is_stored(site: Site) -> None:
    made = site.create("forms/leave", {"who": "Ann", "doc": inline("a.txt", b"1")})
    [record] = site.app.resources["forms/leave"].store.find(app.Query("leave")).items  # type: ignore[attr-defined]
    stored = record.value["doc"]
    assert stored["address"].startswith("files/docs/uploads/")
    for doc in (made.data["doc"], stored):
        for change in (site.put, site.patch):
            changed = change(made.location, {"who": "Bob", "doc": doc}).data
            assert changed["doc"] == made.data["doc"]
            assert site.bytes(changed["doc"]["address"]) == b"1"
    with pytest.raises(app.Invalid):
        site.put(made.location, {"who": "Bob", "doc": made.data["doc"] | {"size_bytes": 9}})
    other = site.create("forms/leave", {"who": "Eve", "doc": inline("e.txt", b"2")})
    with pytest.raises(app.Invalid):
        site.put(made.location, {"who": "Bob", "doc": other.data["doc"]})


@pytest.mark.parametrize(
    ("given", "code"),
    [
        (inline("a.exe", b""), "accept"),
        (inline("a.pdf", b"%PDF-" + b"x" * 16), "max_file"),
        ({"name": "a.pdf"}, "type"),
        ({"name": "a.pdf", "base64": "!!"}, "type"),
        ({"name": 5, "base64": ""}, "type"),
        (5, "type"),
        ("a.pdf", "type"),
        ([inline("a.pdf", b"")], "type"),
        ({"name": "a.pdf", "base64": "", "address": "files/docs/x"}, "type"),
        ({"name": "x", "size_bytes": 1, "sha256": "", "address": "files/docs/secret.pdf"}, "type"),
        (True, "type"),
        ({"name": "a.pdf", "base64": "ä"}, "type"),
    ],
)
def test_a_bad_file_is_a_fault_of_its_field(site: Site, given: Any, code: str) -> None:
    with pytest.raises(Invalid) as error:
        site.create("forms/leave", {"who": "Ann", "doc": given})
    assert faults(error) == {"/doc": code}
    assert site.items("files/docs") == []


@pytest.mark.parametrize(
    "name",
    [
        "../../x.txt",
        "con.txt",
        "..txt",
        "a\0b.txt",
        "<i>.txt",
        "x" * 400 + ".txt",
        "ä" * 300 + ".txt",
        " .txt",
        "a\ud800.txt",
    ],
)
def test_a_hostile_file_name_is_made_harmless(site: Site, name: str) -> None:
    made = site.create("forms/leave", {"who": "Ann", "doc": inline(name, b"x")}).data
    assert made["doc"]["name"].endswith("txt")
    [(path, content)] = kept_files(site)
    assert path == f"docs/uploads/leave/{made['id']}/doc/{made['doc']['name']}"
    assert site.bytes(made["doc"]["address"]) == content == b"x"


def test_the_name_of_a_records_file_is_stored_composed(site: Site) -> None:
    made = site.create("forms/leave", {"who": "Ann", "doc": inline("re\u0301sume\u0301.txt", b"1")})
    assert made.data["doc"]["name"] == "r\u00e9sum\u00e9.txt"
    assert site.bytes(made.data["doc"]["address"]) == b"1"
    assert [path.rpartition("/")[2] for path, _ in kept_files(site)] == ["r\u00e9sum\u00e9.txt"]
    site.delete(made.location)
    assert kept_files(site) == []


@pytest.mark.parametrize("prefix", ["bu\u0308ro/", "b\u00fcro/"])
def test_a_share_finds_its_prefix_in_either_unicode_form(tmp_path: Path, prefix: str) -> None:
    site = Site(tmp_path, PROVIDERS["file"] + f'[files.docs]\nprefix = "{prefix}"\n')
    (tmp_path / "store/bu\u0308ro").mkdir(parents=True)
    site.put("files/docs/a", body=b"x")
    assert [row["address"] for row in site.items("files/docs")] == ["files/docs/a"]
    assert [path.name for path in (tmp_path / "store").iterdir() if path.name != ".satchel"] == ["bu\u0308ro"]
    assert site.bytes("files/docs/a") == b"x"
    site.close()


def test_files_go_with_their_records(site: Site) -> None:
    made = site.create("forms/leave", {"who": "Ann", "doc": inline("a.txt", b"1")})
    address = made.data["doc"]["address"]
    site.patch(made.location, {"doc": inline("b.txt", b"2")})
    assert [content for _, content in kept_files(site)] == [site.bytes(address)] == [b"2"]
    site.patch(made.location, {"who": "Bob"})
    assert site.bytes(address) == b"2"
    assert site.patch(made.location, {"doc": None}).data["doc"] is None
    assert kept_files(site) == []
    with pytest.raises(NotFound):
        site.read(address)
    site.patch(made.location, {"doc": inline("c.txt", b"3")})
    assert site.bytes(address) == b"3"
    site.delete(made.location)
    with pytest.raises(NotFound):
        site.read(address)
    assert site.items("files/docs") == []


# ---- lists of records


@pytest.fixture
def rows(site: Site) -> Site:
    people = [
        {"who": "Ann", "days": 1, "ok": True, "day": "2026-01-01", "kind": "paid", "tags": ["a"]},
        {"who": "bob", "days": 2.5, "ok": False, "day": "2026-02-01", "kind": "unpaid"},
        {"who": "Cäcilie", "days": 10, "ok": True, "kind": "paid", "text": "needs ANN"},
        {"who": "dan,ny", "ok": None, "kind": None},
    ]
    site.create("forms/leave", people)
    return site


FILTERS = [
    ("who=Ann", ["Ann"]),
    ("who__eq=Ann", ["Ann"]),
    ("who=ann", []),
    ("days=2.5", ["bob"]),
    ("days=2.50", ["bob"]),
    ("days__gt=1", ["bob", "Cäcilie"]),
    ("days__gte=1", ["Ann", "bob", "Cäcilie"]),
    ("days__lt=10", ["Ann", "bob"]),
    ("days__lte=10", ["Ann", "bob", "Cäcilie"]),
    ("days__ne=1", ["bob", "Cäcilie", "dan,ny"]),
    ("days__in=1,10", ["Ann", "Cäcilie"]),
    ("days__null=true", ["dan,ny"]),
    ("days__null=false", ["Ann", "bob", "Cäcilie"]),
    ("ok=true", ["Ann", "Cäcilie"]),
    ("ok=false", ["bob"]),
    ("ok__ne=true", ["bob", "dan,ny"]),
    ("who__contains=n", ["Ann", "dan,ny"]),
    ("who__prefix=C", ["Cäcilie"]),
    ("who__in=Ann,bob", ["Ann", "bob"]),
    ("day__gte=2026-01-15", ["bob"]),
    ("kind__null=true", ["dan,ny"]),
    ("days__gt=1&ok=true", ["Cäcilie"]),
    ("version=1&days=1", ["Ann"]),
    ("created_by=root&who=Ann", ["Ann"]),
    ("_q=ann", ["Ann", "Cäcilie"]),
    ("_q=ÄCI", ["Cäcilie"]),
    ("_q=%", []),
    ("_q=bob&days=1", []),
    ("doc__null=true&who=bob", ["bob"]),
    ("tags__null=false", ["Ann"]),
]


@pytest.mark.parametrize(("query", "expected"), FILTERS)
def test_filters_select_by_type(rows: Site, query: str, expected: list[str]) -> None:
    found = rows.items("forms/leave/records?_sort=id&" + query)
    assert [row["who"] for row in found] == expected
    table = rows.read("forms/leave/records?_count=1&_size=1&" + query).table
    assert table is not None
    assert table.count == len(expected)
    assert [row["who"] for row in rows.items("forms/leave/records?_sort=id&" + query, whole=True)] == expected


MEETINGS = {
    "early": "2026-11-23T09:59:59.9999999+02:00",
    "eight": "2026-11-23T08:00:00Z",
    "eight too": "2026-11-23T09:00:00.000+01:00",
    "late": "2026-11-23T08:00:00.0000001Z",
    "never": None,
}


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("at=2026-11-23T03:00:00-05:00", ["eight", "eight too"]),
        ("at__gt=2026-11-23T09:00:00.0+01:00", ["late"]),
        ("at__gt=2026-11-23T09:00:00 01:00", ["late"]),
        ("at__lte=2026-11-23 09:00:00+01:00", ["early", "eight", "eight too"]),
        ("at__ne=2026-11-23t08:00:00z", ["early", "late", "never"]),
        ("at__in=2026-11-23T08:00:00.0000001000Z,2026-11-23T10:00:00+02:00", ["eight", "eight too", "late"]),
        ("at__prefix=2026-11-23T08:00:00", ["eight", "late"]),
        ("at__contains=+0", ["early", "eight too"]),
        ("created_at__gt=2020-01-01T00:00:00-12:00&at__null=true", ["never"]),
        ("created_at__gt=9999-12-31T23:59:59-12:00", []),
    ],
)
def test_date_times_are_filtered_as_moments_and_stay_as_they_were_sent(site: Site, query: str, expected: list[str]) -> None:
    site.create("forms/leave", [{"who": who, "at": at} for who, at in MEETINGS.items()])
    found = site.items("forms/leave/records?_sort=at,id&" + query)
    assert sorted(row["who"] for row in found) == expected
    assert all(row["at"] == MEETINGS[row["who"]] for row in found)
    assert [row["who"] for row in found if row["at"]] == [who for who in MEETINGS if who in expected and who != "never"]


def test_a_filter_by_what_is_no_date_time_says_what_to_write(site: Site) -> None:
    for text in ("2026-02-30", "2026-02-30T08:00", "soon", "08:00", "2026-02-30T08:00:00Z"):
        for address in (f"forms/leave/records?at__gte={text}", f"admin/audit?at__gte={text}"):
            with pytest.raises(BadRequest, match="at must be a date and time with an offset, such as 2026-11-23T08:30:00Z"):
                site.read(address)


def test_a_view_and_the_audit_compare_moments_and_a_view_of_another_text_is_refused(tmp_path: Path) -> None:
    view = '[views.due]\nfrom = "forms/leave"\norder_by = ["at"]\ncolumns = { who = {} }\n'
    where = 'where = [{ field = "at", gte = "%s" }]\n'
    site = Site(tmp_path, PROVIDERS["sql"] + TOML + view + where % "2026-11-23T09:00:00+01:00")
    site.create("forms/leave", [{"who": who, "at": at} for who, at in reversed(MEETINGS.items())])
    assert sorted(row["who"] for row in site.items("views/due")) == ["eight", "eight too", "late"]
    assert site.items("views/due")[-1]["who"] == "late"
    [entry] = site.items("admin/audit?action=create")[:1]
    hour = datetime.fromisoformat(entry["at"]).astimezone(timezone(timedelta(hours=9)))
    assert site.items(f"admin/audit?action=create&at={hour.isoformat()}")[0] == entry
    site.close()
    with pytest.raises(app.ConfigError) as caught:
        Site(tmp_path / "other", PROVIDERS["sql"] + TOML + view + where % "2026-11-23")
    assert "compares at with '2026-11-23': it must be a date and time with an offset" in caught.value.faults[0].detail


@pytest.mark.parametrize(
    "query",
    [
        "who__like=x",
        "whoo=x",
        "days=x",
        "days__in=1,x",
        "ok=1",
        "ok=yes",
        "who__null=1",
        "_sort=whoo",
        "_sort=-",
        "_size=0",
        "_size=1001",
        "_size=x",
        "_size=-1",
        "_count=2",
        "_count=true",
        "_next=x",
        "_nope=1",
        "who__=x",
        "__eq=1",
        "who__eq__eq=1",
        "_next=WyJhIl0",
        "days=1e9999999",
        "days=" + "9" * 500,
        "_size=٣",
    ],
)
def test_a_bad_list_parameter_is_named(rows: Site, query: str) -> None:
    with pytest.raises(BadRequest) as error:
        rows.read("forms/leave/records?" + query)
    assert query.split("=")[0].split("__")[0].strip("_") in error.value.message


def test_lists_are_sorted_newest_first_unless_asked(rows: Site) -> None:
    assert [row["who"] for row in rows.items("forms/leave/records")] == ["dan,ny", "Cäcilie", "bob", "Ann"]
    assert [row["who"] for row in rows.items("forms/leave/records?_sort=days")] == ["dan,ny", "Ann", "bob", "Cäcilie"]
    assert [row["who"] for row in rows.items("forms/leave/records?_sort=-ok,who")] == ["Ann", "Cäcilie", "bob", "dan,ny"]


def test_pages_follow_each_other_without_gaps(rows: Site) -> None:
    seen, cursor = [], ""
    for _ in range(9):
        table = rows.read(
            "forms/leave/records", params={"_size": "1", "_sort": "-days"} | ({"_next": cursor} if cursor else {})
        ).table
        assert table is not None
        seen += [row["who"] for row in table.rows]
        cursor = table.next or ""
        if not cursor:
            break
    assert seen == ["Cäcilie", "bob", "Ann", "dan,ny"]


# ---- portable views


def test_a_view_shows_chosen_columns_rows_and_order(rows: Site) -> None:
    table = rows.read("views/short").table
    assert table is not None
    assert [(column.name, column.title, column.type) for column in table.columns] == [
        ("who", "Name", "string"),
        ("days", "Days", "number"),
        ("id", "Id", "string"),
    ]
    assert [(row["who"], row["days"], set(row)) for row in table.rows] == [
        ("Cäcilie", 10, {"who", "days", "id"}),
        ("Ann", 1, {"who", "days", "id"}),
    ]
    assert [row["who"] for row in rows.items("views/short?days__lt=5")] == ["Ann"]
    assert [row["who"] for row in rows.items("views/short?_sort=who")] == ["Ann", "Cäcilie"]


def test_a_view_tells_nothing_of_columns_that_it_does_not_show(rows: Site) -> None:
    for query in ("kind=paid", "_sort=kind", "text__contains=needs"):
        with pytest.raises(BadRequest):
            rows.read("views/short?" + query)
    assert rows.items("views/short?_q=needs") == []


@pytest.mark.parametrize("action", [Action.CREATE, Action.UPDATE, Action.DELETE])
@pytest.mark.parametrize("address", ["views/short", "apps/desk", "admin/audit"])
def test_views_apps_and_admin_lists_are_only_read(site: Site, action: Action, address: str) -> None:
    with pytest.raises(app.UnsupportedAction):
        site.ask(action, address, {})


# ---- what another program damaged


def mar(site: Site, *statements: str) -> None:
    """What somebody does to the database by hand."""
    with contextlib.closing(sqlite3.connect(site.folder / "app.db")) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()


@pytest.fixture
def marred(tmp_path: Path) -> Iterator[Site]:
    """Six records: the first is sound, and of each of the others something is not."""
    site = Site(tmp_path, PROVIDERS["sql"] + TOML + '[views.all]\nfrom = "forms/plain"\norder_by = ["-n"]\n')
    for number in range(6):
        site.create("forms/plain", {"a": f"text {number}", "n": number})
    rows = [row["id"] for row in site.items("forms/plain/records?_sort=id")]
    changes = ["version = version", "data = '{nope'", "data = cast(replace(data, 'text', x'74e97874') as text)"]
    changes += ["data = x'00ff'", "version = 'four'", """data = '{"a": "\\ud800", "n": 5}'"""]
    mar(site, *(f"update plain set {change} where key = '{key}'" for key, change in zip(rows, changes, strict=True)))
    yield site
    site.close()


def test_a_damaged_record_takes_no_list_with_it_and_stands_marked_in_it(
    marred: Site, caplog: pytest.LogCaptureFixture
) -> None:
    app._damage_logged.clear()
    for _ in range(2):
        rows = marred.items("forms/plain/records?_sort=id")
    assert [row["a"] for row in rows] == ["text 0", "\ufffd", "t\ufffdxt 2", "\ufffd", "text 4", "\ufffd"]
    assert [row["n"] for row in rows] == [0, "\ufffd", 2, "\ufffd", 4, 5]
    reasons = [app.damage_of(row["a"]) for row in rows]
    assert reasons == ["", "is not JSON", "is not UTF-8", "is not text", "", "has half of a surrogate pair"]
    told = [record.getMessage() for record in caplog.records]
    assert [words.partition(" (")[0] for words in told] == [
        "forms/plain: every column holds what is not JSON",
        "forms/plain: column a holds what is not UTF-8",
    ]
    assert rows[1]["id"] in told[0]


def json_of(site: Site, address: str, *, encoded: bool) -> bytes:
    """A list as HTTP answers it in JSON; not `encoded`: by way of its rows."""
    table = site.read(address, encoded=encoded).table
    assert table is not None
    assert bool(table.text) <= encoded
    exchange: Any = SimpleNamespace(query={}, own_path=f"/{address}")
    return cast(bytes, app.JsonFormat({}, site.app.config)._list(exchange, table).body)


def any_json(chance: random.Random, depth: int = 0) -> str:
    """A value as another program may write it."""
    kind = chance.randrange(7 if depth < 2 else 5)
    if kind == 0:
        return chance.choice(
            ["null", "true", "false", "0", "-0", "-0.0", "1.50", "1E400", "1e5", "9223372036854775808", "1e-7"]
        )
    if kind == 1:
        return f"{chance.uniform(-1, 1) * 10.0 ** chance.randint(-25, 25)!r}" + chance.choice(
            ["", "0", "1"]
        ) * chance.randint(0, 9)
    if kind < 5:
        marks = [
            "a",
            "é",
            "\U0001f3d6",
            "\x7f",
            "/",
            "\\/",
            "\\u00e9",
            "\\u0000",
            "\\n",
            '\\"',
            "\u2028",
            "\\ud800",
            "\\ud83c\\udfd6",
        ]
        return (
            '"' + "".join(chance.choice(marks[: chance.choice([11, 11, 11, 13])]) for _ in range(chance.randrange(6))) + '"'
        )
    inner = [any_json(chance, depth + 1) for _ in range(chance.randrange(3))]
    if kind == 5:
        return f"[{' , '.join(inner)}]"
    return "{" + ",".join(f'"{chance.choice("xy")}": {one}' for one in inner) + "}"


def test_a_list_in_json_says_byte_for_byte_what_its_rows_say_whatever_is_stored(tmp_path: Path) -> None:
    site = Site(
        tmp_path, PROVIDERS["sql"] + TOML + '[views.all]\nfrom = "forms/plain"\ncolumns = { n = {}, id = {}, a = {} }\n'
    )
    site.create("forms/plain", {"a": "x"})
    chance = random.Random(5)
    with contextlib.closing(sqlite3.connect(site.folder / "app.db")) as connection:
        for n in range(60):
            members = [
                f'"{name}":{any_json(chance)}'
                for name in ("n", "a", "id", "other", "a")[: chance.choice([1, 2, 3, 4, 4, 5])]
            ]
            data = "{" + ", ".join(members) + "}"
            connection.execute("insert into plain values (?, ?, ?)", (f"{n:03}é", chance.choice([1, 2, "x"]), data))
        connection.commit()
    whole = 0
    for address in ("forms/plain/records", "views/all", "views/all?_sort=n,-a&_count=1"):
        mark = "&" if "?" in address else "?"
        for size in (1, 100):
            cursor: str | None = ""
            while cursor is not None:
                place = f"{address}{mark}_size={size}&_next={cursor}"
                expected = json_of(site, place, encoded=False)
                assert json_of(site, place, encoded=True) == expected
                assert json_of(site, place, encoded=True) == expected
                table = site.read(place, encoded=True).table
                assert table is not None
                whole += bool(table.text)
                cursor = json.loads(expected)["next"]
    assert whole > 100  # pages without damage, which are nearly all of the small ones
    site.close()


@pytest.mark.parametrize(
    "select",
    [
        "select 1 as \"a%s\", 0.1 + 0.2 b, -0.0 as c, 1e999 as d, 1e22 as e, 9223372036854775807 as f, null g, x'ff' as h",
        "select 'é\x7f/\u2028\U0001f3d6' as a, char(34, 92, 10, 1, 31) as b, json('[1]') as c, cast(x'ff' as text) as d",
        "select 'x' as a, 2 as a union all select null, 'y'",
        "select 1 as a where 1 = 0",
        "select 'x' as a, 1.0 as b union all select 'y', 2 union all select 'z', cast(x'fe' as text) order by 1",
    ],
)
def test_a_view_of_sql_in_json_says_byte_for_byte_what_its_rows_say(tmp_path: Path, select: str) -> None:
    toml = f"[views.all]\nprovider = 'main'\nsql = {json.dumps(select, ensure_ascii=False)}\n"
    site = Site(tmp_path, PROVIDERS["sql"] + TOML + toml.replace("\x7f", "\\u007f"))
    for size in (1, 2, 50):
        place = f"views/all?_size={size}&_count=1"
        assert json_of(site, place, encoded=True) == json_of(site, place, encoded=False)
        short, long = (cast(app.Table, site.read(place, encoded=encoded).table) for encoded in (True, False))
        assert short.columns == long.columns
        rows = list(long.rows)
        assert bool(short.text) == (bool(rows) and not long.damaged)
    site.close()


def test_a_page_in_json_with_a_damaged_record_marks_it_and_one_without_goes_the_short_way(marred: Site) -> None:
    for address in ("forms/plain/records?_sort=id", "views/all", "views/all?_size=1&_sort=id"):
        assert json_of(marred, address, encoded=True) == json_of(marred, address, encoded=False)
    assert len(json.loads(json_of(marred, "views/all", encoded=True))["damaged"]) > 3
    table = marred.read("views/all?_size=1&_sort=id", encoded=True).table
    assert table is not None
    assert (list(table.rows), json.loads(table.text)["a"]) == ([], "text 0")
    [mended] = [row["id"] for row in marred.items("views/all?_size=1&_sort=id")]
    answers = []
    for lost, held in (
        ("text", "char(65533)"),
        ("\ufffd", "cast(x'ff' as text)"),
    ):  # the same letters, with and without loss
        mar(marred, f"update plain set data = cast(replace(data, '{lost}', {held}) as text) where key = '{mended}'")
        answers.append(json_of(marred, "views/all?_size=1&_sort=id", encoded=True))
        assert answers[-1] == json_of(marred, "views/all?_size=1&_sort=id", encoded=False)
    assert [b"damaged" in answer for answer in answers] == [False, True]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("_sort=-n", [5, 4, 2, 0, 1, 3]),
        ("_sort=id&n__gte=2", [2, 4, 5]),
        ("_sort=id&n__null=true", [1, 3]),
        ("_sort=id&n__ne=4", [0, 1, 2, 3, 5]),
        ("_sort=id&_q=TEXT", [0, 4]),
        ("_sort=id&_q=xt 2", [2]),
        ("_sort=id&created_at__gt=2020-01-01T00:00:00Z", [0, 2, 4]),
        ("_sort=id&a__contains=xt", [0, 2, 4]),
        ("_sort=id&version=1", [0, 1, 2, 3, 4, 5]),  # what is no version counts as 1
    ],
)
def test_filters_order_and_counts_go_on_past_damaged_records(marred: Site, query: str, expected: list[int]) -> None:
    every = [row["id"] for row in marred.items("forms/plain/records?_sort=id")]
    assert [every.index(row["id"]) for row in marred.items("forms/plain/records?" + query)] == expected
    assert [every.index(row["id"]) for row in marred.items("forms/plain/records?" + query, whole=True)] == expected
    table = marred.read("forms/plain/records?_count=1&_size=1&" + query).table
    assert table is not None
    assert (table.count, table.size()) == (len(expected), len(expected))
    paged: list[int] = []
    following: str | None = ""
    while following is not None:
        page = marred.read("forms/plain/records", params=dict(parse_qsl(query)) | {"_size": "2", "_next": following}).table
        assert page is not None
        paged, following = paged + [every.index(row["id"]) for row in page.rows], page.next
    assert paged == expected
    assert len(marred.items("views/all")) == 6


def test_a_damaged_record_is_replaced_or_deleted_and_never_changed_in_part(marred: Site) -> None:
    places = [f"forms/plain/records/{row['id']}" for row in marred.items("forms/plain/records?_sort=id")]
    for number in (1, 3):
        with pytest.raises(app.Unreadable, match=f"{places[number]} is damaged: what is stored is not"):
            marred.read(places[number])
        with pytest.raises(app.Unreadable):
            marred.patch(places[number], {"n": 1})
    assert (marred.read(places[2]).data["a"], marred.read(places[4]).data["version"]) == ("t\ufffdxt 2", 1)
    with pytest.raises(Invalid) as caught:  # which would store U+FFFD in the place of what may be mended
        marred.patch(places[2], {"n": 9})
    assert [fault.pointer for fault in caught.value.faults] == ["/a"]
    assert marred.patch(places[2], {"a": "new"}).data["n"] == 2
    assert marred.put(places[1], {"a": "new"}).data["a"] == "new"
    assert marred.patch(places[4], {"n": 9}).data["version"] == 2
    marred.delete(places[3])
    marred.delete(places[5])
    assert [row["a"] for row in marred.items("forms/plain/records?_sort=id")] == ["text 0", "new", "new", "text 4"]
    assert [app.damage_of(row["a"]) for row in marred.items("forms/plain/records")] == [""] * 4


def test_a_damaged_audit_entry_takes_no_other_with_it(marred: Site) -> None:
    before = marred.items("admin/audit")
    mar(marred, f"update _audit set data = 'x' where key = '{before[2]['id']}'")
    after = marred.items("admin/audit")
    assert [row["id"] for row in after] == [row["id"] for row in before]
    assert app.damage_of(after[2]["action"]) == "is not JSON"
    assert after[3] == before[3]


# ---- SQL views

SQL = """
[providers.main]
kind = "file"
root = "store"
[providers.erp]
kind = "sql"
url = "sqlite:///erp.db"
[views.sales]
provider = "erp"
sql = "select region, month, amount, paid, note from sale where (:region is null or region = :region) and amount >= :least"
params.region = { title = "Region" }
params.least = { type = "number", default = 0 }
order_by = ["month", "region"]
columns.amount = { title = "Sum" }
[views.must]
provider = "erp"
sql = "select :n + 1 as next, typeof(:n) as type"
params.n = { type = "integer", required = true }
[views.slow]
provider = "erp"
timeout = "1s"
sql = "with recursive c(x) as (select 1 union all select x + 1 from c where x < 400000000) select max(x) as x from c"
[views.many]
provider = "erp"
sql = "with recursive c(x) as (select 1 union all select x + 1 from c where x < 20000) select x, 'row ' || x as name from c"
[views.typed]
provider = "erp"
sql = "select :t as t, :b as b, :d as d"
params.t = {}
params.b = { type = "boolean" }
params.d = { format = "date" }
"""


@pytest.fixture
def erp(tmp_path: Path) -> Iterator[Site]:
    connection = sqlite3.connect(tmp_path / "erp.db")
    connection.execute("create table sale (region text, month integer, amount real, paid integer, note text)")
    data = [("EU", 1, 10.5, 1, None), ("EU", 2, 20, 0, "late"), ("US", 1, 5, 1, "100%"), ("US", 2, 7.25, None, "5")]
    connection.executemany("insert into sale values (?, ?, ?, ?, ?)", data)
    connection.commit()
    connection.close()
    site = Site(tmp_path, SQL)
    yield site
    site.close()


def amounts(site: Site, query: str = "") -> list[float]:
    return [row["amount"] for row in site.items("views/sales" + query)]


def test_a_sql_view_has_typed_parameters_with_defaults_and_null(erp: Site) -> None:
    assert amounts(erp) == [10.5, 5, 20, 7.25]
    assert amounts(erp, "?region=EU") == [10.5, 20]
    assert amounts(erp, "?region=") == [10.5, 5, 20, 7.25]
    assert amounts(erp, "?least=7.25&region=US") == [7.25]
    assert erp.items("views/must?n=4") == [{"next": 5, "type": "integer"}]
    assert erp.items("views/typed?t=5&b=true&d=2026-01-01") == [{"t": "5", "b": 1, "d": "2026-01-01"}]
    for query in ("", "?n=", "?n=x", "?n=1.5", "?m=1"):
        with pytest.raises(BadRequest):
            erp.read("views/must" + query)
    for query in ("?b=banana", "?d=soon"):
        with pytest.raises(BadRequest):
            erp.read("views/typed" + query)


@pytest.fixture
def latin(erp: Site) -> Site:
    """A row of the view holds texts that are not UTF-8, as programs of another age leave them."""
    with contextlib.closing(sqlite3.connect(erp.folder / "erp.db")) as connection:
        connection.execute("insert into sale values (cast(x'4dfc6c6c6572' as text), 3, 1e999, 'x', 'a' || char(0) || 'b')")
        connection.execute("insert into sale values ('Ü', 4, 70, x'ff00', cast(x'eda080' as text))")
        connection.commit()
    return erp


def test_a_text_that_is_not_utf_8_takes_no_row_of_a_view_with_it(latin: Site, caplog: pytest.LogCaptureFixture) -> None:
    app._damage_logged.clear()
    for whole in (False, True):
        rows = latin.items("views/sales", whole=whole)
        assert [row["region"] for row in rows] == ["EU", "US", "EU", "US", "M\ufffdller", "Ü"]
        assert (rows[4]["amount"], rows[4]["paid"], rows[4]["note"]) == ("inf", "x", "a\0b")
        assert (rows[5]["paid"], rows[5]["note"]) == ("/wA=", "\ufffd\ufffd\ufffd")
        assert [app.damage_of(row["region"]) for row in rows] == ["", "", "", "", "is not UTF-8", ""]
    told = [record.getMessage().partition(" holds")[0] for record in caplog.records]
    assert told == ["views/sales: column region", "views/sales: column note"]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("_q=LLER", [3]),
        ("_q=ü", [4]),
        ("region__contains=ller", [3]),
        ("month__gte=3&_sort=-region", [4, 3]),
        ("month=3", [3]),
    ],
)
def test_filters_and_search_go_on_past_texts_that_are_not_utf_8(latin: Site, query: str, expected: list[int]) -> None:
    assert [row["month"] for row in latin.items("views/sales?" + query)] == expected
    table = latin.read("views/sales?_count=1&_size=1&" + query).table
    assert table is not None
    assert table.count == len(expected)


def test_a_database_in_utf_16_is_searched_too(tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "erp.db")) as connection:
        connection.execute("pragma encoding = 'UTF-16le'")
        connection.execute("create table sale (region text, month integer, amount real, paid integer, note text)")
        connection.execute("insert into sale values ('Zürich', 1, 2, 3, 'x')")
        connection.commit()
    site = Site(tmp_path, SQL)
    assert [row["region"] for row in site.items("views/sales?_q=ZÜRICH")] == ["Zürich"]
    site.close()


def test_columns_whose_names_are_not_utf_8_are_numbered(tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "erp.db")) as connection:
        connection.execute("create table old (gr integer, name text)")
        connection.execute("insert into old values (1, 'x')")
        connection.execute("pragma writable_schema = on")
        connection.execute("update sqlite_master set sql = cast(replace(sql, 'gr', x'6772fcdf65') as text)")
        connection.commit()
    site = Site(
        tmp_path,
        SQL + '[views.old]\nprovider = "erp"\nsql = "select * from old where :n is null or name <> :n"\nparams.n = {}\n',
    )
    assert site.items("views/old?n=y") == [{"column_1": 1, "column_2": "x"}]
    assert site.items("views/old?column_1=1&_sort=-column_2", whole=True) == [{"column_1": 1, "column_2": "x"}]
    site.close()


def test_parameters_are_bound_and_never_spliced(erp: Site) -> None:
    assert amounts(erp, "?region=x' or '1'='1") == []
    assert erp.items("views/sales", params={"region__contains": "'; drop table sale; --"}) == []
    assert len(amounts(erp)) == 4


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("?amount=20", [20]),
        ("?amount__gt=7", [10.5, 20, 7.25]),
        ("?amount__in=5,20", [5, 20]),
        ("?month=1", [10.5, 5]),
        ("?month__ne=1", [20, 7.25]),
        ("?note=5", [7.25]),
        ("?note__null=true", [10.5]),
        ("?note__contains=%", [5]),
        ("?note__prefix=la", [20]),
        ("?region__in=EU,FR", [10.5, 20]),
        ("?paid__null=false&month=2", [20]),
        ("?_q=LATE", [20]),
        ("?_sort=-amount", [20, 10.5, 7.25, 5]),
        ("?_sort=region,-month", [20, 10.5, 7.25, 5]),
        ("?amount__lte=7.25", [5, 7.25]),
    ],
)
def test_columns_of_a_sql_view_are_filtered_and_sorted(erp: Site, query: str, expected: list[float]) -> None:
    assert amounts(erp, query) == expected
    table = erp.read("views/sales" + query + "&_count=1&_size=1").table
    assert table is not None
    assert table.count == len(expected)


@pytest.mark.parametrize(
    "query", ["nope=1", "_sort=nope", "nope__gt=1", "_size=0", "_next=x", "_next=WyJhIl0", "_next=Wy0xXQ", "a__zz=1"]
)
def test_bad_parameters_of_a_sql_view_are_refused(erp: Site, query: str) -> None:
    with pytest.raises(BadRequest):
        erp.read("views/sales?" + query)


def test_numbers_are_told_from_texts_by_their_values(erp: Site) -> None:
    table = erp.read("views/sales").table
    assert table is not None
    assert [(c.name, c.title, c.type) for c in table.columns] == [
        ("region", "Region", "string"),
        ("month", "Month", "number"),
        ("amount", "Sum", "number"),
        ("paid", "Paid", "number"),
        ("note", "Note", "string"),
    ]


def test_a_sql_view_is_paged_by_offset_and_exported_whole(erp: Site) -> None:
    first = erp.read("views/many?_size=1000").table
    assert first is not None
    assert [row["x"] for row in first.rows] == list(range(1, 1001))
    second = erp.read("views/many", params={"_size": "1000", "_next": first.next or ""}).table
    assert second is not None
    assert [row["x"] for row in second.rows][:2] == [1001, 1002]
    assert len(erp.items("views/many", whole=True)) == 20_000
    assert len(erp.items("views/many?x__gt=19000", whole=True)) == 1000


def test_columns_of_the_same_name_are_kept_apart_in_page_and_export(tmp_path: Path) -> None:
    site = Site(tmp_path, PROVIDERS["sql"] + '[forms.f]\nfields.a = {}\n[views.v]\nsql = "select 1 as a, 2 as a"\n')
    assert site.items("views/v") == site.items("views/v", whole=True) == [{"a": 1, "a:1": 2}]
    site.close()


def test_a_slow_view_ends_at_its_time_limit(erp: Site) -> None:
    with pytest.raises(app.QueryTimeout, match="1 s"):
        erp.read("views/slow")


def test_a_statement_that_writes_or_is_wrong_is_found_by_check_and_does_nothing(erp: Site, tmp_path: Path) -> None:
    statements = {
        "writes": "delete from sale",
        "two": "select 1; select 2",
        "typo": "selec 1",
        "column": "select nope from sale",
        "param": "select :nope",
        "fine": "select 1 as a",
        "attach": "attach database 'x' as y",
        "returning": "insert into sale values (1,1,1,1,1) returning *",
    }
    views = "".join(f'[views.{name}]\nprovider = "erp"\nsql = "{sql}"\n' for name, sql in statements.items())
    views += '[views.title]\nprovider = "erp"\nsql = "select 1 as a"\ncolumns.b = {}\n'
    views += '[views.order]\nprovider = "erp"\nsql = "select 1 as a"\norder_by = ["b"]\n'
    other = Site(tmp_path, SQL + views)
    wrong = {fault.pointer for fault in other.app.inspection.check()}
    other.close()
    assert wrong == {f"views.{name}.sql" for name in [*statements, "title", "order"] if name != "fine"}
    assert len(amounts(erp)) == 4


def test_a_database_that_only_views_read_is_not_altered(erp: Site, tmp_path: Path) -> None:
    before = (tmp_path / "erp.db").read_bytes()
    amounts(erp, "?_q=x")
    erp.app.inspection.check()
    assert (tmp_path / "erp.db").read_bytes() == before
    assert sorted(path.name for path in tmp_path.glob("erp.db*")) == ["erp.db"]


def test_a_sql_view_may_read_the_table_of_a_form_before_its_first_record(tmp_path: Path) -> None:
    toml = PROVIDERS["sql"] + "[forms.ask]\nfields.a = {}\n[views.v]\nsql = \"select data ->> 'a' as a from ask\"\n"
    site = Site(tmp_path, toml)
    assert site.items("views/v") == []
    assert site.app.inspection.check() == []
    site.create("forms/ask", {"a": "x"})
    assert site.items("views/v") == [{"a": "x"}]
    site.close()


# ---- files


def test_a_file_is_created_overwritten_read_and_deleted(site: Site) -> None:
    made = site.put("files/docs/2026/pl%C3%A4n.txt", body=b"one")
    assert made.created
    assert made.data["address"] == made.location == "files/docs/2026/pl%C3%A4n.txt"
    assert (made.data["size_bytes"], made.data["name"]) == (3, "plän.txt")
    again = site.put(made.location, body=b"three", if_match=made.etag)
    assert not again.created
    assert again.etag != made.etag
    assert site.bytes(made.location) == b"three"
    with pytest.raises(PreconditionFailed):
        site.put(made.location, body=b"x", if_match=made.etag)
    with pytest.raises(PreconditionFailed):
        site.put(made.location, body=b"x", if_none_match="*")
    with pytest.raises(PreconditionFailed):
        site.delete(made.location, if_match=made.etag)
    site.delete(made.location, if_match=again.etag)
    with pytest.raises(NotFound):
        site.read(made.location)


def test_what_a_grant_allows_decides_how_a_file_may_be_put(site: Site) -> None:
    create, update = site.token("c", "files/docs:create"), site.token("u", "files/docs:update")
    site.put("files/docs/a.txt", body=b"1", by=create)
    with pytest.raises(Forbidden) as error:
        site.put("files/docs/a.txt", body=b"2", by=create)
    assert error.value.needed == "files/docs/a.txt:update"
    site.put("files/docs/a.txt", body=b"3", by=update)
    with pytest.raises(Forbidden) as error:
        site.put("files/docs/b.txt", body=b"4", by=update)
    assert error.value.needed == "files/docs/b.txt:create"
    with pytest.raises(Conflict):
        site.create("files/docs/a.txt", body=b"5", by=create)
    for by in (create, update):
        with pytest.raises(Forbidden):
            site.delete("files/docs/a.txt", by=by)
        with pytest.raises(Forbidden):
            site.read("files/docs/a.txt", by=by)
    assert site.bytes("files/docs/a.txt") == b"3"


def test_a_caller_without_create_does_not_make_a_file_that_vanished_meanwhile(site: Site) -> None:
    update = site.token("u", "files/docs:update")
    site.put("files/docs/a.txt", body=b"1")

    def body() -> Iterator[bytes]:
        site.delete("files/docs/a.txt")
        yield b"2"

    with pytest.raises(PreconditionFailed):
        site.put("files/docs/a.txt", body=body(), by=update)
    with pytest.raises(NotFound):
        site.read("files/docs/a.txt")


def test_a_caller_without_update_does_not_overwrite_a_file_that_appeared_meanwhile(site: Site) -> None:
    create = site.token("c", "files/docs:create")

    def body() -> Iterator[bytes]:
        site.put("files/docs/a.txt", body=b"first")
        yield b"second"

    with pytest.raises(PreconditionFailed):
        site.put("files/docs/a.txt", body=body(), by=create)
    assert site.bytes("files/docs/a.txt") == b"first"


@pytest.mark.parametrize(
    "path", ["../x", "a/../../x", "%2E%2E/x", "a%2Fb", "a%5Cb", "a%00b", "con", "a./b", "a//b", "/a", "", "a/", "a%0A"]
)
def test_a_path_that_no_share_may_have_is_refused(site: Site, path: str, tmp_path: Path) -> None:
    with pytest.raises(BadRequest):
        site.put("files/docs/" + path, body=b"x")
    assert not (tmp_path / "x").exists()
    assert site.items("files/docs") == []


def test_too_large_a_file_leaves_nothing(site: Site) -> None:
    for facts in ({"body": [b"x" * 600, b"x" * 600]}, {"body": b"", "body_bytes": 1001}):
        with pytest.raises(app.TooLarge):
            site.put("files/docs/a.txt", **facts)
    assert site.items("files/docs") == []


@pytest.mark.parametrize(
    ("accept", "name", "fits"),
    [
        ([], "x.exe", True),
        (["image/*"], "a.PNG", True),
        (["IMAGE/*"], "a.png", True),
        ([".pdf"], "A.PDF", True),
        ([".pdf"], "pdf", False),
        (["application/pdf"], "a.pdf", True),
        (["text/*"], "a.html", True),
        (["image/*"], "a.png.exe", False),
        (["*/*"], "x", True),
    ],
)
def test_accept_is_by_media_type_or_ending(accept: list[str], name: str, fits: bool) -> None:
    assert media_types.accepts(accept, name) is fits


def test_a_listing_has_pages_and_folders(site: Site) -> None:
    for name in ("b/1", "b/2", "a", "c", "ä x"):
        site.put(f"files/docs/{app.quote(name)}", body=b"x")
    rows = site.items("files/docs")
    assert [(row["name"], row["type"]) for row in rows] == [("a", "file"), ("b", "folder"), ("c", "file"), ("ä x", "file")]
    assert rows[3]["address"] == "files/docs/%C3%A4%20x"
    assert rows[1]["size_bytes"] is None
    assert [row["name"] for row in site.items("files/docs/b/")] == ["1", "2"]
    assert [row["name"] for row in site.items("files/docs/b")] == ["1", "2"]
    seen, cursor = [], ""
    while True:
        table = site.read("files/docs", params={"_size": "1"} | ({"_next": cursor} if cursor else {})).table
        assert table is not None
        seen += [row["name"] for row in table.rows]
        if not table.next:
            break
        cursor = table.next
    assert seen == ["a", "b", "c", "ä x"]
    assert [row["name"] for row in site.items("files/docs", whole=True)] == seen
    for bad in ("files/docs?x=1", "files/docs?_next=x", "files/docs?_next=WzFd", "files/docs?_size=0", "files/docs/a?x=1"):
        with pytest.raises(BadRequest):
            site.read(bad)
    for missing in ("files/docs/zz", "files/docs/zz/", "files/docs/a/", "files/docs/a/b"):
        with pytest.raises(NotFound):
            site.read(missing)


def test_hostile_cursors_are_bad_requests_everywhere(site: Site) -> None:
    site.put("files/docs/a", body=b"x")
    for text in ('["\\ud800"]', '["\\u0000"]', "[{}]", "[[]]", "[1e999]", "{}", "[]", '["a","b","c","d"]'):
        cursor = base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()
        for address in ("files/docs", "admin/audit", "forms/leave/records", "views/short"):
            with pytest.raises(BadRequest):
                site.read(address, params={"_next": cursor})


def test_a_folder_is_neither_put_nor_deleted(site: Site) -> None:
    site.put("files/docs/b/1", body=b"x")
    for refused in (
        lambda: site.put("files/docs/b", body=b"x"),
        lambda: site.delete("files/docs/b"),
        lambda: site.put("files/docs/b/1/2", body=b"x"),
    ):
        with pytest.raises(Conflict):
            refused()
    with pytest.raises(app.UnsupportedAction):
        site.patch("files/docs/b/1", None, body=b"x")
    assert site.bytes("files/docs/b/1") == b"x"


# ---- apps, home, administration


def test_an_app_shows_the_entries_that_its_caller_may_open(site: Site) -> None:
    def titles(credential: str) -> list[str]:
        return [entry["title"] for entry in site.read("apps/desk", by=credential).data["menu"]]

    assert titles(site.root) == ["Leave", "Short", "Docs", "Leave", "Audit", "X"]
    assert titles(site.token("a", "apps/*:read")) == ["X"]
    opened = titles(site.token("a", "apps/desk:read", "forms/leave:create", "files/docs:read"))
    assert opened == ["Leave", "Docs", "X"], "the list of all records is for readers"
    with pytest.raises(NotFound):
        site.read("apps/desk/static/x")


def test_home_lists_what_the_caller_may_open(site: Site) -> None:
    def addresses(credential: str) -> list[str]:
        return [entry["address"] for entry in site.read("", by=credential).data["resources"]]

    declared = ["files/docs", "forms/leave", "forms/plain", "forms/long", "views/plain", "views/short", "apps/desk"]
    own = ("people", "tokens", "sessions", "links", "access", "audit", "outbox", "providers", "check", "metrics")
    assert addresses(site.root) == [*declared, *(f"admin/{name}" for name in own)]
    assert addresses("") == []
    assert addresses(site.token("a", "forms/leave:create", "files/docs:delete")) == ["forms/leave"]


def test_static_files_of_an_app_stay_in_their_folder(tmp_path: Path) -> None:
    (tmp_path / "assets" / "sub").mkdir(parents=True)
    (tmp_path / "assets" / "a.css").write_text("a")
    (tmp_path / "assets" / "sub" / "b.js").write_text("b")
    (tmp_path / "secret.txt").write_text("secret")
    (tmp_path / "assets" / "link").symlink_to(tmp_path / "secret.txt")
    site = Site(tmp_path, PROVIDERS["sql"] + '[apps.a]\nstatic = "assets"\n')
    assert site.bytes("apps/a/static/a.css") == b"a"
    assert site.bytes("apps/a/static/sub/b.js") == b"b"
    for path in (
        "../secret.txt",
        "%2E%2E/secret.txt",
        "sub/../../secret.txt",
        "..%2Fsecret.txt",
        "/etc/passwd",
        "a.css/",
        "",
        "sub",
        "link",
        "none",
    ):
        with pytest.raises((BadRequest, NotFound)) as error:
            site.read("apps/a/static/" + path)
        assert str(tmp_path) not in error.value.message
    assert not (tmp_path / "assets" / ".satchel").exists()
    site.close()


def test_an_app_hands_its_home_and_a_reader_to_the_page(tmp_path: Path) -> None:
    (tmp_path / "hr.html").write_text("x")
    toml = PROVIDERS["sql"] + '[apps.a]\nhome = "hr.html"\n[forms.f]\nfields.a = {}\n[views.v]\nfrom = "forms/f"\n'
    site = Site(tmp_path, toml)
    site.create("forms/f", {"a": "x"})
    page = site.read("apps/a?tab=2").page
    assert (page["home"], page["params"]) == ("hr.html", {"tab": "2"})
    assert [row["a"] for row in page["scope"].read("views/v", {}).table.rows] == ["x"]
    poor = site.read("apps/a", by=site.token("p", "apps/a:read")).page
    with pytest.raises(Forbidden):
        poor["scope"].read("views/v", {})
    for nonsense in ("views", "", "views/none"):
        with pytest.raises(NotFound):
            page["scope"].read(nonsense, {})
    site.close()


def test_admin_lists_are_merged_over_providers_paged_and_filtered(tmp_path: Path) -> None:
    toml = PROVIDERS["sql"] + '[providers.disk]\nkind = "file"\nroot = "store"\n'
    toml += '[forms.a]\nprovider = "main"\nfields.x = {}\n[forms.b]\nprovider = "disk"\nfields.x = {}\n'
    site = Site(tmp_path, toml)
    for _ in range(5):
        site.create("forms/a", {"x": "1"})
        site.create("forms/b", {"x": "1"})
    made = [row["resource"] for row in site.items("admin/audit?action=create")]
    assert made == ["forms/b", "forms/a"] * 5
    seen: list[str] = []
    params = {"_size": "3", "_count": "1", "action": "create"}
    while True:
        table = site.read("admin/audit", params=params).table
        assert table is not None
        assert table.count == 10
        seen += [row["resource"] for row in table.rows]
        if not table.next:
            break
        params["_next"] = table.next
    assert seen == made
    assert [row["resource"] for row in site.items("admin/audit?action=create&resource=forms/b")] == ["forms/b"] * 5
    assert len(site.items("admin/audit", whole=True)) == 11
    for bad in ("admin/audit?_sort=at", "admin/audit?nope=1", "admin/audit?_next=x"):
        with pytest.raises(BadRequest):
            site.read(bad)
    with pytest.raises(NotFound):
        site.read("admin/audit/x")
    site.close()


def test_the_lists_of_tokens_and_sessions_show_times_and_no_secret(site: Site) -> None:
    token = site.app.office.issue(app.Caller("t"), "ann", ["apps/*:read"], [], 3600, "phone")
    session, _ = site.app.office.sign_in(site.app.authority.short(token), "r1")
    row = site.items("admin/tokens?subject=ann")[0]
    assert (row["id"], row["label"], row["grants"], row["revoked_at"]) == (token.jti, "phone", ["apps/*:read"], None)
    assert app.plugin("locale").parse_rfc3339(row["expires_at"]) == token.expires_at
    assert [r["subject"] for r in site.items("admin/tokens?revoked_at__null=true")] == ["ann", "root"]
    assert site.items("admin/tokens?expires_at__lt=2020-01-01T00:00:00Z") == []
    assert len(site.items("admin/tokens?expires_at__gt=2020-01-01T00:00:00Z")) == 2
    with pytest.raises(BadRequest):
        site.read("admin/tokens?expires_at__gt=soon")
    [shown] = site.items("admin/sessions")
    assert (shown["subject"], shown["jti"]) == ("ann", token.jti)
    assert len(shown["id"]) == 16, "the beginning of a digest names it, and signs nobody in"
    assert session not in json.dumps(site.items("admin/sessions") + site.items("admin/tokens") + site.audit())


def test_a_csv_of_records_has_every_row(rows: Site) -> None:
    table = rows.read("forms/leave/records", whole=True).table
    assert table is not None
    text = "".join(",".join(app.dump_json(row[c.name]) for c in table.columns) + "\n" for row in table.rows)
    assert len(list(csv.reader(io.StringIO(text)))) == 4
