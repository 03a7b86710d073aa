"""Kinds of fields, and what a declaration says of one, at every door: as JSON, in a batch, in a message of a queue and in a
page. A message of a queue reaches the same App with the same typed data, without languages (tests/test_runner_sqs.py)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from http_client import PAGE
from http_client import Site as Pages
from test_resources import field

import app
from tests.sites import PROVIDERS, Site, Time

FIELDS = """
[i18n.de]
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
