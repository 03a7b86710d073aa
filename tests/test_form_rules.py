"""Rules about whole records of a form: show_if, required_if and checks, at every door."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from form_page import FormPage
from http_client import Site as Pages
from schema_judge import keeps_to
from sites import PROVIDERS, Site, Time

import app
from app import Action

LEAVE = """
[forms.leave]
checks = [
  { left = "to_day", op = "gte", right = "from_day", message = "The last day is before the first" },
  { left = "from_day", op = "gte", value = "$today" },
  { left = "ends", op = "gt", right = "begins" },
]
[forms.leave.fields]
kind = { enum = ["paid", "unpaid", "sick"], default = "paid" }
reason = { show_if = { kind = "unpaid" }, required_if = { kind = "unpaid" }, maxLength = 40, message = "Say why" }
from_day = { format = "date" }
to_day = { format = "date" }
begins = { format = "date-time" }
ends = { format = "date-time" }
days = { type = "number" }
doctor = { show_if = { kind = "sick", days = { gt = 3 } }, required = true }
phone = { show_if = { doctor = { null = false } }, default = "none" }
"""


@pytest.fixture(autouse=True)
def _own_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clocks stand in the future here, and ids never go back: tests that follow would have those of later."""
    monkeypatch.setattr(app, "last_ids", memoryview(bytearray(256)).cast("Q"))


def faults_of(
    site: Site, data: Any, address: str = "forms/leave", action: Action = Action.CREATE, **facts: Any
) -> list[tuple[str, str]]:
    """(pointer, code) of what is wrong with it; [] if it is taken."""
    try:
        site.ask(action, address, data, **facts)
    except app.Invalid as error:
        return [(one.pointer, one.code) for one in error.faults]
    return []


@pytest.fixture
def site(tmp_path: Path) -> Any:
    one = Site(tmp_path, PROVIDERS["sql"] + LEAVE, clock=Time())
    yield one
    one.app.close()


def test_a_field_is_asked_for_only_while_its_conditions_hold(site: Site) -> None:
    assert faults_of(site, {"kind": "unpaid", "reason": "a holiday"}) == []
    assert faults_of(site, {"kind": "unpaid"}) == [("/reason", "required")]
    assert faults_of(site, {"kind": "paid", "reason": "x"}) == [("/reason", "hidden")]
    assert faults_of(site, {"reason": "x"}) == [("/reason", "hidden")]  # kind is paid by default
    assert faults_of(site, {"kind": "paid", "reason": None}) == []
    assert faults_of(site, {"kind": "paid", "reason": "x" * 50}) == [("/reason", "hidden")]
    assert faults_of(site, {"kind": "nonsense", "reason": "x"}) == [("/kind", "enum")]  # of the rest nothing can be said


def test_conditions_build_chains_and_a_hidden_field_counts_as_empty(site: Site) -> None:
    assert faults_of(site, {"kind": "sick", "days": 3}) == []
    assert faults_of(site, {"kind": "sick", "days": 3.5}) == [("/doctor", "required")]
    assert faults_of(site, {"kind": "sick", "days": 2, "doctor": "Who"}) == [("/doctor", "hidden")]
    assert faults_of(site, {"kind": "sick", "days": 2, "doctor": "Who", "phone": "1"}) == [
        ("/doctor", "hidden"), ("/phone", "hidden")
    ]  # fmt: skip
    made = site.ask(Action.CREATE, "forms/leave", {"kind": "sick", "days": 4, "doctor": "Who"}).data
    assert made["phone"] == "none"  # its default, as it is asked for
    assert site.ask(Action.CREATE, "forms/leave", {}).data["phone"] is None


def test_checks_compare_days_and_moments(site: Site) -> None:
    today = "2027-01-15"
    assert faults_of(site, {"from_day": today, "to_day": today}) == []
    assert faults_of(site, {"from_day": "2027-02-01", "to_day": "2027-01-31"}) == [("/to_day", "check")]
    assert faults_of(site, {"to_day": "2027-01-31"}) == []  # one side is empty
    assert faults_of(site, {"from_day": "2027-01-14"}) == [("/from_day", "check")]
    moments = {"begins": "2027-01-31T10:00:00+02:00", "ends": "2027-01-31T08:00:00Z"}
    assert faults_of(site, moments) == [("/ends", "check")]  # the same moment
    assert faults_of(site, {**moments, "ends": "2027-01-31T08:00:00.001Z"}) == []


def test_an_update_is_judged_as_a_whole_and_leaves_alone_what_it_does_not_concern(site: Site) -> None:
    site.ask(Action.CREATE, "forms/leave", {"kind": "unpaid", "reason": "a holiday", "days": 2})
    key = site.ask(Action.READ, "forms/leave/records").table.rows[0]["id"]
    at = f"forms/leave/records/{key}"
    patch = {"action": Action.UPDATE, "address": at, "partial": True}
    assert faults_of(site, {"reason": None}, **patch) == [("/reason", "required")]
    assert faults_of(site, {"kind": "paid", "reason": "other"}, **patch) == [("/reason", "hidden")]
    assert faults_of(site, {"days": 5}, **patch) == []
    assert site.ask(Action.READ, at).data["reason"] == "a holiday"
    changed = site.ask(Action.UPDATE, at, {"kind": "paid"}, partial=True).data
    assert (changed["kind"], changed["reason"]) == ("paid", None)  # what is no longer asked for goes
    whole = site.ask(Action.READ, at).data
    assert faults_of(site, {**whole, "reason": "back"}, action=Action.UPDATE, address=at) == [("/reason", "hidden")]
    assert faults_of(site, {**whole, "kind": "unpaid"}, action=Action.UPDATE, address=at) == [("/reason", "required")]


def test_what_was_stored_under_other_rules_stays_until_it_is_concerned(tmp_path: Path) -> None:
    loose = (
        PROVIDERS["sql"]
        + "[forms.a.fields]\nkind = {}\nreason = {}\nlow = { type = 'number' }\nhigh = { type = 'number' }\n"
    )
    strict = loose.replace("reason = {}", "reason = { show_if = { kind = 'x' } }").replace(
        "[forms.a.fields]", "[forms.a]\nchecks = [{ left = 'low', op = 'lte', right = 'high' }]\n[forms.a.fields]"
    )
    site = Site(tmp_path, loose)
    at = site.ask(Action.CREATE, "forms/a", {"kind": "y", "reason": "old", "low": 2, "high": 1}).location
    site.app.close()
    site = Site(tmp_path, strict)
    patch = {"action": Action.UPDATE, "address": at, "partial": True}
    assert faults_of(site, {"reason": "new"}, **patch) == [("/reason", "hidden")]
    assert faults_of(site, {"high": 1.5}, **patch) == [("/low", "check")]
    assert faults_of(site, {"reason": "old", "low": 2}, **patch) == []  # nothing changes
    assert site.ask(Action.READ, at).data["reason"] == "old"
    assert site.ask(Action.UPDATE, at, {"kind": "z"}, partial=True).data["reason"] is None
    site.app.close()


@pytest.mark.parametrize(
    ("fields", "place", "words"),
    [
        ("a = { show_if = { b = 'x' } }\nb = { show_if = { a = 'x' } }", "fields.a.show_if", "circle: a needs b needs a"),
        ("a = { show_if = { a = 'x' } }", "fields.a.show_if.a", "names the field itself"),
        ("a = { show_if = { kint = 'x' } }\nkind = {}", "fields.a.show_if.kint", "did you mean kind?"),
        ("a = { required_if = { k = 'piad' } }\nk = { enum = ['paid'] }", "fields.a.required_if.k", "did you mean paid?"),
        ("a = { show_if = { n = 'x' } }\nn = { type = 'number' }", "fields.a.show_if.n", "must be of type number"),
        ("a = { show_if = { d = '1.2.2026' } }\nd = { format = 'date' }", "fields.a.show_if.d", "must be a date"),
        ("a = { show_if = { d = { gte = '$now' } } }\nd = { format = 'date' }", "fields.a.show_if.d", "date-times alone"),
        ("a = { show_if = { d = { gr = 1 } } }\nd = { type = 'number' }", "fields.a.show_if.d", "did you mean gt"),
        ("a = { show_if = { y = { lt = true } } }\ny = { type = 'boolean' }", "fields.a.show_if.y", "lt does not go with y"),
        ("a = { show_if = { d = { null = 1 } } }\nd = {}", "fields.a.show_if.d", "null needs true or false"),
        ("a = { show_if = 'd' }\nd = {}", "fields.a.show_if", "must be a table"),
    ],
)  # fmt: skip
def test_a_wrong_condition_is_a_fault_at_start_with_its_place(tmp_path: Path, fields: str, place: str, words: str) -> None:
    with pytest.raises(app.ConfigError) as caught:
        Site(tmp_path, PROVIDERS["sql"] + f"[forms.f.fields]\n{fields}\n")
    found = [one for one in caught.value.faults if one.pointer == f"forms.f.{place}"]
    assert [one for one in found if words in one.detail], caught.value.faults


@pytest.mark.parametrize(
    ("check", "place", "words"),
    [
        ("left = 'frm', op = 'lt', right = 'to'", "0.left", "did you mean from?"),
        ("left = 'from', op = 'lt', right = 'from'", "0.right", "name another one"),
        ("left = 'from', op = 'lt', right = 'n'", "0.right", "not of the same kind as from"),
        ("left = 'from', op = 'lt', value = 3", "0.value", "must be of type string"),
        ("left = 'from', op = 'lt'", "0", "must be { left"),
        ("left = 'from', op = 'in', right = 'to'", "0", "'in' is no operator"),
        ("left = 'from', op = 'null', value = true", "0", "'null' is no operator"),
    ],
)
def test_a_wrong_check_is_a_fault_at_start_with_its_place(tmp_path: Path, check: str, place: str, words: str) -> None:
    toml = (
        f"[forms.f]\nchecks = [{{ {check} }}]\n[forms.f.fields]\nfrom = {{ format = 'date' }}\nto = {{ format = 'date' }}\n"
    )
    with pytest.raises(app.ConfigError) as caught:
        Site(tmp_path, PROVIDERS["sql"] + toml + "n = { type = 'number' }\n")
    found = [one for one in caught.value.faults if one.pointer == f"forms.f.checks.{place}"]
    assert [one for one in found if words in one.detail], caught.value.faults


@pytest.mark.parametrize(
    ("sections", "place", "words"),
    [
        ("{ When = ['form'] }", "When", "did you mean from?"),
        ("{ When = ['from'], Then = ['from'] }", "Then", "'from', which stands in When already"),
        ("{ When = [] }", "When", "names no field"),
        ("{ ' ' = ['from'] }", " ", "needs a title"),
    ],
)
def test_a_wrong_section_is_a_fault_at_start_with_its_place(tmp_path: Path, sections: str, place: str, words: str) -> None:
    with pytest.raises(app.ConfigError) as caught:
        Site(tmp_path, PROVIDERS["sql"] + f"[forms.f]\nsections = {sections}\n[forms.f.fields]\nfrom = {{}}\n")
    found = [one for one in caught.value.faults if one.pointer == f"forms.f.sections.{place}"]
    assert [one for one in found if words in one.detail], caught.value.faults


# ---- pages


@pytest.fixture
def page(tmp_path: Path) -> Any:
    """The page of the form, and the site behind it."""
    extra = """
[forms.trip]
sections = { "The trip" = ["town", "by", "seats"], Costs = ["paid", "sum"] }
[forms.trip.fields]
town = { required = true, title = "Town" }
note = { title = "Note" }
by = { enum = ["car", "train"], title = "By" }
seats = { type = "integer", show_if = { by = "car" }, default = 4, title = "Seats" }
paid = { type = "boolean", title = "Paid" }
sum = { type = "number", show_if = { paid = true }, title = "Sum" }
class = { show_if = { by = "train" }, required = true, title = "Class" }
meal = { show_if = { class = { prefix = "1" } }, title = "Meal" }
"""
    site = Pages(tmp_path, edit=lambda toml: toml + extra)
    yield FormPage(site, "/forms/trip")
    site.close()


def items(page: FormPage) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = page.site.get("/forms/trip/records", page.cookie, Accept="application/json").json["items"]
    return [
        {name: value for name, value in one.items() if name not in app.RESERVED_FIELDS and value is not None}
        for one in found
    ]


def test_without_scripts_a_page_comes_back_with_what_is_asked_for_too(page: FormPage) -> None:
    assert page.names == {"town", "note", "by", "paid"}
    page.send(again=True, by="train", town="Ulm", note="kept")
    assert (page.status, page.names) == (200, {"town", "note", "by", "paid", "class"})
    assert dict(page.sent) | {"town": "Ulm", "note": "kept", "by": "train"} == dict(page.sent)
    page.send(**{"class": "1st"})  # a meal is asked for, and nobody has seen that yet
    assert (page.status, page.names) == (422, {"town", "note", "by", "paid", "class", "meal"})
    assert "Meal is asked for too" in page.text
    page.send()
    assert page.status == 303
    assert items(page) == [{"town": "Ulm", "note": "kept", "by": "train", "class": "1st"}]


def test_a_page_keeps_a_default_until_its_field_is_shown_and_takes_no_value_that_is_hidden(page: FormPage) -> None:
    page.send(again=True, town="Ulm", by="car")
    assert dict(page.sent)["seats"] == "4"
    page.send(by="train", seats="2")
    assert page.status == 422
    assert "Seats is not asked for with these answers and was taken out" in page.text
    assert page.names == {"town", "note", "by", "paid", "class"}  # and is not sent the next time
    page.send(**{"class": "2nd"})
    assert (page.status, items(page)) == (303, [{"town": "Ulm", "by": "train", "class": "2nd"}])
    page.open("/forms/trip").send(again=True, town="Bonn", by="car").send(by="train")
    assert "Seats is not asked for" not in page.text  # a default that was left there is nothing that somebody typed
    page.send(**{"class": "1st"}).send()
    assert items(page)[0] == {"town": "Bonn", "by": "train", "class": "1st"}


def test_an_edit_takes_away_what_it_hides_and_leaves_alone_what_was_hidden(page: FormPage) -> None:
    page.send(again=True, town="Ulm", by="car", paid="true")
    page.send(seats="2", sum="12.5")
    assert items(page) == [{"town": "Ulm", "by": "car", "seats": 2, "paid": True, "sum": 12.5}]
    key = page.site.get("/forms/trip/records", page.cookie, Accept="application/json").json["items"][0]["id"]
    page.open(f"/forms/trip/records/{key}?_edit=1")
    assert page.names == {"town", "note", "by", "seats", "paid", "sum"}
    page.send(again=True, paid="false")
    assert page.names == {"town", "note", "by", "seats", "paid"}
    page.send()
    assert items(page) == [{"town": "Ulm", "by": "car", "seats": 2, "paid": False}]
    page.open(f"/forms/trip/records/{key}?_edit=1").send(paid="")
    assert items(page) == [{"town": "Ulm", "by": "car", "seats": 2}]  # neither yes nor no


def test_fields_stand_in_sections_on_the_form_and_on_the_record(page: FormPage) -> None:
    legends = re.findall(r"<legend><bdi>(.*?)</bdi></legend>", page.text)
    assert legends == ["The trip", "Costs"]
    order = ["town", "by", "seats", "note", "paid", "sum", "class", "meal"]
    assert list(dict.fromkeys(re.findall(r'\bid="f-([a-z]+)"', page.text))) == order
    page.send(town="Ulm")
    key = page.site.get("/forms/trip/records", page.cookie, Accept="application/json").json["items"][0]["id"]
    page.open(f"/forms/trip/records/{key}")
    assert re.findall(r"<h2><bdi>(.*?)</bdi></h2>", page.text) == ["The trip", "Costs"]
    assert re.findall(r"<dt>(.*?)</dt>", page.text)[:4] == ["Town", "By", "Note", "Paid"]  # nothing that was not asked for


def test_the_schema_of_a_form_says_its_rules(site: Site) -> None:
    schema = site.app.resources["forms/leave"].schema()  # type: ignore[attr-defined]
    assert schema["required"] == []
    assert schema["properties"]["doctor"]["x-show-if"] == {"kind": "sick", "days": {"gt": 3}}
    assert schema["properties"]["reason"]["x-required-if"] == {"kind": "unpaid"}
    assert schema["x-checks"][1] == {"left": "from_day", "op": "gte", "value": "$today"}
    valid = partial(keeps_to, schema)
    for data in ({}, {"kind": "paid"}, {"kind": "unpaid", "reason": "x"}, {"kind": "sick", "days": 4, "doctor": "x"}):
        assert valid(data), data
        assert faults_of(site, data) == []
    for data in (
        {"reason": "x"},
        {"kind": "unpaid"},
        {"kind": "sick", "days": 4},
        {"kind": "sick", "doctor": "x", "days": 3},
    ):
        assert not valid(data), data
        assert faults_of(site, data), data


# ---- sums


def test_a_sum_over_lines_that_are_not_asked_for_is_nothing_and_can_itself_be_asked_for(tmp_path: Path) -> None:
    toml = """
[forms.claim.fields]
travel = { type = "boolean" }
total = { type = "number", sum = "legs.cost", show_if = { detail = true } }
boss = { show_if = { total = { gt = 10 } }, required = true }
legs = { type = "array", show_if = { travel = true }, fields = { cost = { type = "number" } } }
detail = { type = "boolean" }
"""
    site = Site(tmp_path, PROVIDERS["sql"] + toml)
    legs = [{"cost": 7}, {"cost": 4.5}]
    made = site.ask(Action.CREATE, "forms/claim", {"travel": True, "detail": True, "legs": legs, "boss": "Eve"}).data
    assert (made["total"], made["boss"]) == (11.5, "Eve")
    at = f"forms/claim/records/{made['id']}"
    patch = {"action": Action.UPDATE, "address": at, "partial": True}
    assert faults_of(site, {"travel": True, "detail": True, "legs": legs}, "forms/claim") == [("/boss", "required")]
    assert faults_of(site, {"detail": True, "legs": legs}, "forms/claim") == [("/legs", "hidden")]
    assert faults_of(site, {"total": 3}, **patch) == [("/total", "read_only")]
    hidden = site.ask(Action.UPDATE, at, {"detail": None}, partial=True).data
    assert (hidden["total"], hidden["boss"], hidden["legs"]) == (None, None, legs)
    back = site.ask(Action.UPDATE, at, {"detail": True, "boss": "Eve"}, partial=True).data
    assert (back["total"], back["boss"]) == (11.5, "Eve")
    gone = site.ask(Action.UPDATE, at, {"travel": None}, partial=True).data
    assert (gone["total"], gone["boss"], gone["legs"]) == (0, None, None)
    site.app.close()


# ---- languages and zones


def test_rules_go_by_the_day_of_the_site_and_speak_the_readers_language(tmp_path: Path) -> None:
    toml = """
[site]
timezone = "Pacific/Auckland"
[roles.all]
grants = ["**:*"]
[i18n.de]
"forms.leave.checks.0.message" = "Der letzte Tag liegt vor dem ersten"
"forms.leave.sections.When" = "Wann"
""" + LEAVE.replace("[forms.leave]\n", '[forms.leave]\nsections = { When = ["from_day", "to_day"] }\n')
    clock = Time()
    clock.now += 4 * 3600  # 2027-01-15 12:00 UTC, and the day after in Auckland
    site = Site(tmp_path, PROVIDERS["sql"] + toml, clock=clock)
    for languages in (None, "de"):
        assert faults_of(site, {"from_day": "2027-01-15"}, languages=languages) == [("/from_day", "check")]
        assert faults_of(site, {"from_day": "2027-01-16"}, languages=languages) == []
    with pytest.raises(app.Invalid) as caught:
        site.ask(Action.CREATE, "forms/leave", {"from_day": "2027-02-02", "to_day": "2027-02-01"}, languages="de")
    assert caught.value.faults[0].detail == "Der letzte Tag liegt vor dem ersten"
    page = site.ask(Action.READ, "forms/leave", languages="de").page
    assert list(page["form"].config.sections) == ["Wann"]
    site.app.close()
