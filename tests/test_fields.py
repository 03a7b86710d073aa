"""Kinds of fields, and what a declaration says of one, at every door: as JSON, in a batch, in a message of a queue and in a
page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from copy import copy
from pathlib import Path
from typing import Any

import pytest
from http_client import PAGE
from http_client import Site as Pages
from queue_site import Door, Queue, envelope, texts, until
from sites import PROVIDERS, Site, Time
from sqs_fake import SqsFake
from test_resources import field

import app

FIELDS = """
[forms.call.fields]
day = { format = "date", default = "$today" }
at = { format = "date-time", default = "$now", required = true }
who = { default = "$me", required = true, maxLength = 8 }
nights = { type = "integer", default = 1 }
badge = { pattern = "[A-Z]{2}-[0-9]{3}", minLength = 6, required = true, message = "is on your badge, such as AB-123" }
doc = { format = "file", files = "files/papers", accept = [".pdf"], max_file = "1MB", message = "must be the signed paper" }
[files.papers]
[i18n.de]
"forms.call.fields.badge.message" = "steht auf dem Ausweis"
"forms.visit.fields.phone.placeholder" = "Etwa +49 30 123"
[forms.visit.fields]
name = { placeholder = "First <and> last" }
begins = { format = "time" }
phone = { format = "tel", placeholder = "Such as +45 33 12" }
"""
GOOD = {
    "time": ["00:00", "08:30", "23:59", "08:30:15"],
    "tel": ["112", "+45 33 12 34 56", "(030) 123-45/6", "030.123.456", "0" * 32],
}
BAD = {
    "time": ["24:00", "08:60", "8:30", "08:30:60", "08:30Z", "08:30:15.5", " 08:30", "08:30\n", "noon", ""],
    "tel": ["11", "0" * 33, "ann", "+45 33x", "12\n34", "١٢٣", "---", ""],
}


@pytest.fixture(autouse=True)
def _own_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clocks stand in the future here, and ids never go back: tests that follow would have those of later."""
    monkeypatch.setattr(app, "last_ids", memoryview(bytearray(256)).cast("Q"))


@pytest.fixture
def pages(tmp_path: Path) -> Iterator[Pages]:
    one = Pages(tmp_path, edit=lambda toml: toml + FIELDS)
    yield one
    one.close()


@pytest.fixture(params=["sql", "file"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    one = Site(tmp_path, PROVIDERS[request.param] + FIELDS, clock=Time())
    yield one
    one.close()


def faults_of(form: dict[str, Any]) -> list[tuple[str, str]]:
    """What is wrong with the declaration of a field."""
    with pytest.raises(app.ConfigError) as caught:
        field(**form)
    return [(fault.pointer, fault.detail) for fault in caught.value.faults]


def control(html: str, name: str) -> str:
    """The control of a field in a page."""
    found = re.search(rf"<(?:input|textarea|select)[^>]*\bname=\"{name}\"[^>]*>", html)
    assert found, name
    return " ".join(found[0].split())


# ---- time and tel


@pytest.mark.parametrize("kind", GOOD)
def test_a_format_takes_what_it_says_and_its_published_schema_says_the_same(kind: str) -> None:
    one = field(format=kind)
    schema = one.published()
    assert "format" not in schema
    assert schema["x-format"] == kind
    longest = schema.get("maxLength", 1000)
    for text in GOOD[kind]:
        assert one.faults(text, "") == [], text
        assert re.search(schema["pattern"], text), text
    for text in BAD[kind]:
        assert {fault.code for fault in one.faults(text, "")} <= {"format", "maxLength"} != set(), text
        assert one.faults(text, ""), text
        assert not re.fullmatch(schema["pattern"], text) or len(text) > longest, text
    both = field(format=kind, pattern="[0-9:]+").published()
    assert (both["pattern"], both["allOf"]) == ("^(?:[0-9:]+)$", [{"pattern": schema["pattern"]}])


def test_a_time_of_day_and_a_number_are_taken_sorted_and_filtered_as_texts_at_every_door(site: Site) -> None:
    for begins in ("09:00", "08:30", "08:30:15"):
        site.create("forms/visit", {"begins": begins, "phone": "112"})
    site.create("forms/visit", [{"begins": "23:00"}])
    typed = site.create("forms/visit", {"begins": ["7.05"], "phone": [" +45 33 "]}, typed=False).data
    assert (typed["begins"], typed["phone"]) == ("07:05", "+45 33")
    rows = site.items("forms/visit/records?_sort=begins")
    assert [row["begins"] for row in rows] == ["07:05", "08:30", "08:30:15", "09:00", "23:00"]
    assert len(site.items("forms/visit/records?begins__gte=08:30&begins__lt=09:00")) == 2
    assert len(site.items("forms/visit/records", params={"phone": "112"})) == 3
    for data, facts in (
        ({"begins": "25:00", "phone": "x"}, {}),
        ({"begins": ["25:00"], "phone": ["x"]}, {"typed": False}),
    ):
        with pytest.raises(app.Invalid) as caught:
            site.create("forms/visit", data, **facts)
        assert [(fault.pointer, fault.code) for fault in caught.value.faults] == [
            ("/begins", "format"),
            ("/phone", "format"),
        ]
    with pytest.raises(app.Invalid) as caught:
        site.create("forms/visit", [{"begins": "08:30"}, {"begins": "25:00"}])
    assert [fault.pointer for fault in caught.value.faults] == ["/1/begins"]


def test_a_page_has_controls_for_times_and_numbers_and_an_untouched_one_is_no_change(pages: Pages) -> None:
    token = pages.token("**:*")
    html = pages.get("/forms/visit", token, **PAGE).text
    assert 'type="time"' in control(html, "begins")
    assert re.search('type="tel".* autocomplete="tel"', control(html, "phone"))
    form, controls = pages.app.resources["forms/visit"], app.plugin("controls")
    for sent in ("08:30", "08:30:00"):
        edits = controls.edits(form, {"begins": [sent]}, {"begins": "08:30:00"})
        assert edits == {}, "a browser leaves out seconds that are zero"
    assert list(controls.edits(form, {"begins": ["08:31"]}, {"begins": "08:30:00"})) == ["begins"]
    cookie = pages.sign_in(token)
    action = re.search(r'<form[^>]*action="([^"]*_submission[^"]*)"', pages.get("/forms/visit", cookie, **PAGE).text)
    assert action
    wrong = pages.submit(
        action[1].replace("&amp;", "&"), {"begins": "noon", "phone": "x"}, cookie,
        Accept_Language="de", Sec_Fetch_Site="same-origin",
    )  # fmt: skip
    assert wrong.status == 422
    assert "muss eine Uhrzeit sein, zum Beispiel 08:30" in wrong.text
    assert "muss eine Telefonnummer sein" in wrong.text
    assert 'type="text"' in control(wrong.text, "begins"), "a browser would not show it in its own control"


# ---- placeholder


def test_a_placeholder_stands_in_the_control_in_the_readers_language_and_in_the_schema(pages: Pages) -> None:
    token = pages.token("**:*")
    html = pages.get("/forms/visit", token, **PAGE).text
    assert 'placeholder="First &lt;and&gt; last"' in control(html, "name")
    assert 'placeholder="Such as +45 33 12"' in control(html, "phone")
    german = pages.get("/forms/visit", token, Accept="text/html", Accept_Language="de").text
    assert 'placeholder="Etwa +49 30 123"' in control(german, "phone")
    schema = pages.get("/forms/visit", token, Accept="application/json").json
    assert schema["properties"]["name"]["x-placeholder"] == "First <and> last"


@pytest.mark.parametrize("other", [
    {"type": "boolean"}, {"enum": ["a"]}, {"type": "array", "items": {"enum": ["a"]}}, {"format": "date"},
    {"format": "time"},
    {"format": "date-time"}, {"format": "file", "files": "files/x"},
])  # fmt: skip
def test_a_placeholder_of_a_field_that_is_chosen_is_refused(other: dict[str, Any]) -> None:
    words = "goes with fields that are typed, and this one is chosen: say it in its description"
    assert ("forms.f.fields.x.placeholder", words) in faults_of({"placeholder": "x", **other})


# ---- defaults that are made for each record


def at_noon(folder: Path, provider: str = "sql") -> Site:
    """A site where it is tomorrow already: 2027-01-15T12:00Z is the 16th there."""
    clock = Time()
    clock.now += 4 * 3600
    return Site(folder, '[site]\ntimezone = "Pacific/Kiritimati"\n' + PROVIDERS[provider] + FIELDS, clock=clock)


MADE = {"day": "2027-01-16", "at": "2027-01-15T12:00:00.000Z", "who": "root"}
BADGE = {"badge": "AB-123"}


def made_of(record: dict[str, Any]) -> dict[str, Any]:
    return {name: record[name] for name in MADE}


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_default_that_is_made_is_there_at_every_door_and_gives_way_to_what_is_sent(provider: str, tmp_path: Path) -> None:
    site = at_noon(tmp_path, provider)
    made = site.create("forms/call", BADGE)
    assert made_of(made.data) == MADE
    assert made.data["nights"] == 1
    assert made_of(site.items("forms/call/records")[0]) == MADE, "it is stored, and not only answered"
    batch = site.create("forms/call", [BADGE, {**BADGE, "who": "bo", "day": None}]).data["items"]
    assert [made_of(one) for one in batch] == [MADE, {**MADE, "who": "bo", "day": None}]
    assert made_of(site.put("forms/call/records/x", BADGE, if_none_match="*").data) == MADE
    page = {name: [text] for name, text in BADGE.items()}
    assert made_of(site.create("forms/call", page, typed=False).data) == MADE
    emptied = site.create("forms/call", {**page, "day": [""], "who": ["ann"]}, typed=False).data
    assert made_of(emptied) == {**MADE, "day": None, "who": "ann"}
    by_ann = site.create("forms/call", BADGE, by=site.token("ann", "forms/**:*"))
    assert by_ann.data["who"] == "ann"
    with pytest.raises(app.Invalid) as caught:  # made, and checked like anything else
        site.create("forms/call", BADGE, by=site.token("somebody-else", "forms/**:*"))
    assert [(fault.pointer, fault.code) for fault in caught.value.faults] == [("/who", "maxLength")]
    with pytest.raises(app.Invalid) as caught:
        site.create("forms/call", ["x"])
    assert [(fault.pointer, fault.code) for fault in caught.value.faults] == [("/0", "type")]
    site.put("forms/call/records/x", {**BADGE, "at": MADE["at"], "who": "ann"})
    assert site.read("forms/call/records/x").data["day"] is None, "it is for new records alone"
    site.close()


def test_a_message_of_a_queue_has_the_defaults_and_the_words_of_a_field(tmp_path: Path, fake: SqsFake, queue: Queue) -> None:
    clock = fake._clock = Time()  # the service has the same time
    door = Door(tmp_path, fake.url, [queue], more=FIELDS, clock=clock)
    with door.opened():
        queue.send(envelope("forms/call", "create", BADGE), token=door.site.root)
        queue.send(envelope("forms/call", "create", {"badge": "x"}), token=door.site.root)
        until(queue.empty, "an empty queue")
    assert [made_of(row) for row in door.rows("call")] == [
        {"day": "2027-01-15", "at": "2027-01-15T08:00:00.000Z", "who": "root"}
    ]
    assert ["is on your badge" in texts(message)["x_detail"] for message in queue.dead()] == [True]
    door.site.close()


def test_a_default_that_is_made_is_nothing_for_the_public_and_goes_by_the_clocks_of_the_reader(tmp_path: Path) -> None:
    site, defaults = at_noon(tmp_path), app.plugin("field_defaults")
    scope = app.Scope(app.Caller(), site.app.clock(), lambda _: [], lambda *_: app.Response())
    form = copy(site.app.resources["forms/call"])
    assert defaults.values(form, scope) == {name: MADE[name] for name in ("day", "at")}
    form.locale = app.plugin("locale").Locale("en", "Europe/Berlin")
    assert defaults.values(form, scope)["day"] == "2027-01-15"
    schema = form.schema()["properties"]
    assert {name: one["x-default"] for name, one in schema.items() if "x-default" in one} == {
        "day": "$today", "at": "$now", "who": "$me"
    }  # fmt: skip
    assert [name for name, one in schema.items() if "default" in one] == ["nights"]
    site.close()


def test_a_page_shows_what_is_made_before_it_is_sent_to_each_reader_his_own(pages: Pages) -> None:
    for subject in ("ann", "bo"):
        html = pages.get("/forms/call?nights=3", pages.token("**:*", subject=subject), **PAGE).text
        assert f'value="{subject}"' in control(html, "who")
        assert re.search(r'value="20[0-9]{2}-[0-9]{2}-[0-9]{2}"', control(html, "day"))
        assert re.search(r'type="datetime-local".* value="20[0-9-]{8}T[0-9]{2}:[0-9]{2}"', control(html, "at"))
        assert 'value="3"' in control(html, "nights")
    html = pages.get("/forms/call?who=cy", pages.token("**:*"), **PAGE).text
    assert 'value="cy"' in control(html, "who")
    described = pages.get("/openapi.json", pages.token("**:*")).text
    assert '"$me"' in described


@pytest.mark.parametrize(("declared", "words"), [
    ({"default": "$tody"}, "'$tody' is none of the values that are made for a new record: $today, $now, $me"),
    ({"default": "$5"}, "'$5' is none of the values that are made for a new record: $today, $now, $me"),
    ({"default": "$today"}, '"$today" goes with format = "date"'),
    ({"default": "$now", "format": "date"}, '"$now" goes with format = "date-time"'),
    ({"default": "$me", "format": "email"}, '"$me" goes with a text without format, or format = "person"'),
    ({"default": "$me", "type": "integer"}, "must be an integer"),
    ({"default": "$me", "enum": ["ann"]}, "must be one of ann"),
])  # fmt: skip
def test_a_default_that_cannot_be_made_is_refused_at_the_start(declared: dict[str, Any], words: str) -> None:
    assert faults_of(declared) == [("forms.f.fields.x.default", words)]


def test_a_choice_may_begin_with_a_dollar_and_a_parameter_is_not_made() -> None:
    one = field(enum=["$5", "$10"], default="$5")
    assert (one.fill, one.default) == ("", "$5")
    with pytest.raises(app.ConfigError) as caught:
        app.plugin("fields").Field(field(format="date", default="$today").config, "views.v.params.x")
    assert [fault.detail for fault in caught.value.faults] == [
        '"$today" is made for new records, and a parameter makes none'
    ]


@pytest.mark.parametrize(("text", "known", "values"), [
    ("a,b", (), ["a", "b"]), ("", (), [""]), ("a,", (), ["a", ""]), ("y, z,x", ("y, z",), ["y, z", "x"]),
    ('"n,1",b', (), ["n,1", "b"]), ('b,"say ""no"", or",c', (), ["b", 'say "no", or', "c"]), ('12",a', (), ['12"', "a"]),
    ('"a"b,c', (), ['"a"b', "c"]), ('"a,b', (), ['"a', "b"]), ('"""x"', (), ['"x']), ('""', (), [""]),
    ('"y, z"', ("y, z",), ["y, z"]),
    ('"a",b', ('"a"',), ['"a"', "b"]),
])  # fmt: skip
def test_values_between_commas_may_have_some_themselves(text: str, known: tuple[str, ...], values: list[str]) -> None:
    fields = app.plugin("fields")
    assert fields.of_commas(text, known) == values
    assert fields.of_commas(",".join(map(fields.with_commas, values)), ()) == values


# ---- message


def test_a_message_is_told_in_place_of_our_words_once_at_every_door(site: Site) -> None:
    told = "is on your badge, such as AB-123"
    site.create("forms/call", BADGE)
    record = site.items("forms/call/records")[0]["id"]
    doors: list[tuple[str, Any]] = [
        ("/badge", lambda: site.create("forms/call", {"badge": "x"})),
        ("/badge", lambda: site.create("forms/call", {"badge": 7})),
        ("/badge", lambda: site.create("forms/call", {})),
        ("/badge", lambda: site.create("forms/call", {"badge": ["x"]}, typed=False)),
        ("/badge", lambda: site.patch(f"forms/call/records/{record}", {"badge": "x"})),
        ("/badge", lambda: site.patch(f"forms/call/records/{record}", {"badge": None})),
        ("/1/badge", lambda: site.create("forms/call", [BADGE, {"badge": "x"}])),
    ]
    for pointer, door in doors:
        with pytest.raises(app.Invalid) as caught:
            door()
        assert [(fault.pointer, fault.detail) for fault in caught.value.faults] == [(pointer, told)]
    with pytest.raises(app.Invalid) as caught:
        site.create("forms/call", {**BADGE, "doc": {"name": "a.txt", "base64": ""}})
    assert [fault.detail for fault in caught.value.faults] == ["must be the signed paper"]
    assert site.app.resources["forms/call"].schema()["properties"]["badge"]["x-message"] == told


def test_a_message_stands_at_its_field_in_the_readers_language(pages: Pages) -> None:
    token = pages.token("**:*")
    cookie = pages.sign_in(token)
    action = re.search(r'<form[^>]*action="([^"]*_submission[^"]*)"', pages.get("/forms/call", cookie, **PAGE).text)
    assert action
    address = action[1].replace("&amp;", "&")
    for lang, words in (("en", "Badge is on your badge, such as AB-123"), ("de", "Badge: steht auf dem Ausweis")):
        wrong = pages.submit(address, {"badge": "x"}, cookie, Accept_Language=lang, Sec_Fetch_Site="same-origin")
        assert wrong.status == 422
        assert words in wrong.text
