"""`unique` of forms: what is wrong with a rule, how a page says that values are taken, and what keeps to the rule beside the
matrix of providers (tests/test_matrix.py)."""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from http_client import PAGE
from http_client import Site as Pages
from sites import PROVIDERS, Site
from visitor import forms_of

import app
from app import Invalid, Query

ROOMS = """
[files.plans]
[forms.rooms]
unique = [["room", "day"], ["code"]]
[forms.rooms.fields]
room = { title = "Room", required = true }
day = { title = "Day", format = "date-time" }
code = { title = "Code", type = "integer", message = "is on the door already" }
plan = { title = "Plan", format = "file", files = "files/plans" }
[i18n.de]
"forms.rooms.fields.room.title" = "Raum"
"forms.rooms.fields.day.title" = "Tag"
"""


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    one = Site(tmp_path, PROVIDERS["sql"] + ROOMS)
    yield one
    one.close()


def faults_of(ask: Callable[[], object]) -> list[tuple[str, str, str]]:
    with pytest.raises(Invalid) as caught:
        ask()
    return [tuple(fault) for fault in caught.value.faults]


@pytest.mark.parametrize(
    ("rule", "place", "words"),
    [
        ('[["room", "dya"]]', "forms.rooms.unique", "names 'dya', which is no field; did you mean day?"),
        ('[["plan"]]', "forms.rooms.unique", "names plan, which is a file"),
        ('[["tags"]]', "forms.rooms.unique", "names tags, which is of type array"),
        ('["room"]', "forms.rooms.unique", 'must be a list of lists of fields, such as [["name", "from_day"]]'),
        ('"room"', "forms.rooms.unique", "must be a list of lists"),
        ("[[]]", "forms.rooms.unique", "must be a list of lists"),
        ("[[1]]", "forms.rooms.unique", "must be a text"),
        ('[["room", "room"]]', "forms.rooms.unique", "names the same field, or the same rule, twice"),
        ('[["room", "day"], ["day", "room"]]', "forms.rooms.unique", "or the same rule, twice"),
        ('[["room", "updated_at"]]', "forms.rooms.unique", "names 'updated_at', which is no field"),
    ],
)
def test_a_wrong_rule_is_a_fault_at_start(tmp_path: Path, rule: str, place: str, words: str) -> None:
    toml = ROOMS.replace('[["room", "day"], ["code"]]', rule)
    toml = toml.replace("[i18n.de]", 'tags = { type = "array", items = { enum = ["a"] } }\n[i18n.de]')
    with pytest.raises(app.ConfigError) as caught:
        Site(tmp_path, PROVIDERS["sql"] + toml)
    assert [place] == [fault.pointer for fault in caught.value.faults]
    assert words in caught.value.faults[0].detail


def test_each_rule_is_a_fault_of_its_own_in_the_words_of_the_field(site: Site) -> None:
    first = {"room": "A", "day": "2027-01-01T09:00:00+01:00", "code": 1}
    site.create("forms/rooms", first)
    same = first | {"day": "2027-01-01T08:00:00Z"}  # the same moment
    assert faults_of(lambda: site.create("forms/rooms", same)) == [
        ("/room", "unique", "another record has the same Room, Day"),
        ("/code", "unique", "is on the door already"),
    ]
    assert site.read("forms/rooms").data["x-unique"] == [["room", "day"], ["code"]]


def test_who_made_a_record_may_be_part_of_a_rule(tmp_path: Path) -> None:
    toml = '[forms.votes]\nunique = [["created_by"]]\n[forms.votes.fields]\nchoice = { enum = ["a", "b"] }\n'
    site = Site(tmp_path, PROVIDERS["sql"] + toml)
    ann, bo = (site.token(name, "forms/votes:create") for name in ("ann", "bo"))
    for one in (ann, bo):
        site.create("forms/votes", {"choice": "a"}, by=one)
    [fault] = faults_of(lambda: site.create("forms/votes", {"choice": "b"}, by=ann))
    assert fault == ("/created_by", "unique", "another record has the same created_by")
    site.close()


def test_records_in_one_commit_may_pass_values_on(site: Site) -> None:
    """As an import does, which changes many records at once."""
    made = [site.create("forms/rooms", {"room": name, "code": code}).data for name, code in (("A", 1), ("B", 2))]
    form, keys = site.app.resources["forms/rooms"], app.plugin("unique")._Keys
    values = [{name: one for name, one in record.items() if name not in ("id", "version")} for record in made]
    turned = [
        app.Change(app.Update("rooms", one["id"], value | {"code": other["code"]}, 1), value)
        for one, other, value in zip(made, reversed(made), values, strict=True)
    ]
    store = site.app.providers["main"]
    writes = keys(form).writes([(f"/{n}", one) for n, one in enumerate(turned)])
    assert {type(one) for one in writes} == {app.Update}
    store.commit([*(one.write for one in turned), *writes])
    rows = {row.key: row.value["record"] for row in store.walk(Query("_unique"))}
    assert len(rows) == 2
    assert faults_of(lambda: site.create("forms/rooms", {"room": "C", "code": 1}))[0][0] == "/code"


def test_a_refused_record_leaves_no_staged_file(tmp_path: Path) -> None:
    disk = '[providers.disk]\nkind = "file"\nroot = "disk"\n'
    site = Site(tmp_path, PROVIDERS["sql"] + disk + ROOMS.replace("[files.plans]", '[files.plans]\nprovider = "disk"'))
    site.create("forms/rooms", {"room": "A", "code": 1})
    plan = {"name": "plan.txt", "base64": base64.b64encode(b"secret plan").decode()}
    faults_of(lambda: site.create("forms/rooms", {"room": "B", "code": 1, "plan": plan}))
    assert b"secret plan" not in site.stored_bytes()
    site.close()


def test_a_page_comes_back_with_what_was_typed_and_the_words_of_its_reader(tmp_path: Path) -> None:
    pages = Pages(tmp_path, edit=lambda toml: toml + ROOMS.replace("[files.plans]", '[files.plans]\nprovider = "disk"'))
    token = pages.token("forms/rooms:*")
    assert pages.send("/forms/rooms", {"room": "A", "day": "2027-01-01T08:00:00Z"}, token).status == 201
    session = pages.sign_in(token)
    page = pages.get("/forms/rooms", session, **PAGE, Accept_Language="de").text
    fields = forms_of(page)[-1].fields | {"room": "A", "day": "2027-01-01T08:00"}
    reply = pages.submit(forms_of(page)[-1].action, fields, session, Accept_Language="de", Origin="http://localhost")
    assert reply.status == 422
    assert "ein anderer Eintrag hat hier schon dasselbe: Raum, Tag" in reply.text
    assert forms_of(reply.text)[-1].fields | {"room": "A", "day": "2027-01-01T08:00"} == forms_of(reply.text)[-1].fields
    pages.close()


def test_a_field_that_is_renamed_frees_no_value(tmp_path: Path) -> None:
    before = PROVIDERS["sql"] + '[forms.f]\nunique = [["who", "day"]]\n[forms.f.fields]\nwho = {}\nday = {}\n'
    one = Site(tmp_path, before)
    one.create("forms/f", {"who": "ann", "day": "1"})
    one.app.providers["main"].commit([app.Insert("f", "old", {"who": "bo", "day": "1"})])  # older than the rule
    one.close()
    after = before.replace('"who"', '"name"').replace("who = {}", 'name = { was = "who" }')
    two = Site(tmp_path, after)
    for name in ("ann", "bo"):  # which are stored under the old name still
        assert faults_of(lambda name=name: two.create("forms/f", {"name": name, "day": "1"}))[0][:2] == ("/name", "unique")
    two.create("forms/f", {"name": "cy", "day": "1"})
    app.plugin("renames").Renames({}, two.app.config).run(two.app, threading.Event())
    assert {row["name"] for row in two.items("forms/f/records")} == {"ann", "bo", "cy"}
    two.close()
    three = Site(tmp_path, after.replace(' was = "who" ', ""))
    for name in ("ann", "bo", "cy"):
        assert faults_of(lambda name=name: three.create("forms/f", {"name": name, "day": "1"}))[0][:2] == ("/name", "unique")
    three.close()


def test_what_holds_the_rule_is_copied_with_the_records(tmp_path: Path) -> None:
    toml = PROVIDERS["sql"] + '[providers.new]\nkind = "file"\nroot = "new"\n' + ROOMS
    site = Site(tmp_path, toml)
    site.create("forms/rooms", [{"room": "A", "code": n} for n in range(3)])
    copy = app.plugin("copy").Copy(site.app.providers["main"], site.app.providers["new"])
    tables = copy.tables(site.app.needed()["main"])
    assert "_unique" in tables
    for table in tables:
        copy.records(table)
    assert copy.faults == []
    site.close()
    moved = Site(tmp_path, toml.replace("[forms.rooms]", '[forms.rooms]\nprovider = "new"'))
    assert faults_of(lambda: moved.create("forms/rooms", {"room": "B", "code": 2}))[0][0] == "/code"
    found = moved.items("forms/rooms/records?code=2")[0]["id"]
    moved.delete(f"forms/rooms/records/{found}")
    assert moved.create("forms/rooms", {"room": "B", "code": 2}).created
    moved.close()
