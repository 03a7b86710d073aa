"""Fields that come and go in the page of a form, in Chromium, with scripts and without."""

from __future__ import annotations

import json
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("selenium", reason="needs selenium, which is not installed: ./build.sh test installs it")

sys.path.insert(0, str(Path(__file__).parent))
from http_client import serving
from selenium.webdriver.common.by import By
from test_accessibility import axe, dress, wrong_with
from test_browser import PATIENCE_S, Person, browse, waiting

__all__ = ["axe", "browse"]
LEAVE = """
[site]
title = "Amt"
[public]
grants = ["forms/leave:create,read"]
[providers.main]
kind = "sql"
url = "sqlite:///data/app.db"
[files.notes]
[forms.leave]
sections = { "Wann" = ["day", "days"], "Warum" = ["kind", "seen", "doctor", "note", "tags", "color"] }
[forms.leave.fields]
who = { title = "Wer" }
day = { title = "Tag", format = "date" }
days = { title = "Tage", type = "number" }
deputy = { title = "Vertretung", show_if = { days = { gt = 2.5 } }, required = true }
kind = { title = "Art", enum = ["paid", "sick"], default = "paid" }
seen = { title = "Beim Arzt", type = "boolean", show_if = { kind = "sick" } }
doctor = { title = "Praxis", show_if = { seen = true }, required = true }
note = { title = "Attest", format = "file", files = "files/notes", show_if = { kind = "sick" } }
tags = { title = "Fragen", type = "array", items = { enum = ["a", "b"] } }
color = { title = "Farbe", show_if = { tags = { contains = "b" } } }
plan = { title = "Plan", show_if = { day = { lt = "$today" } } }
other = { title = "Sonst", required_if = { color = { null = false } } }
costs = { title = "Kosten", type = "array", fields = { sum = { title = "Betrag", type = "number" } } }
total = { type = "number", sum = "costs.sum" }
bank = { title = "Konto", show_if = { total = { gte = 10 } } }
"""


@pytest.fixture
def leave(tmp_path: Path) -> Iterator[Any]:
    folder = tmp_path / "leave"
    folder.mkdir()
    (folder / "app.toml").write_text(LEAVE, encoding="utf-8")
    with serving(folder, "--workers", "1") as server:
        yield server


def shown(person: Person) -> set[str]:
    """The fields that can be seen."""
    fields = person.driver.find_elements(By.CSS_SELECTOR, "form.form :is(input, select, textarea)[name]")
    return {one.get_attribute("name").split(".")[0] for one in fields if one.is_displayed()}


def comes(person: Person, *names: str) -> None:
    waiting(person.driver).until(lambda _: set(names) <= shown(person), message=str(names))


def goes(person: Person, *names: str) -> None:
    waiting(person.driver).until(lambda _: not set(names) & shown(person), message=str(names))


def press(person: Person, name: str, value: str) -> None:
    person.see(f'[name="{name}"][value="{value}"]').click()


def stored(server: Any) -> Any:
    with urllib.request.urlopen("http://{}:{}/forms/leave/records".format(*server.tcp), timeout=PATIENCE_S) as answer:
        return json.load(answer)["items"]


def test_scripts_show_what_is_asked_for_as_one_answers(leave: Any, browse: Callable[..., Person], axe: str) -> None:
    person = browse("http://{}:{}".format(*leave.tcp))
    dress(person, "dark", 360, 740)
    person.go("/forms/leave")
    always = {"who", "day", "days", "kind", "tags", "other", "costs"}
    assert shown(person) == always
    press(person, "kind", "sick")
    comes(person, "seen", "note")
    press(person, "seen", "true")
    comes(person, "doctor")
    person.type("doctor", "kept")
    press(person, "kind", "paid")
    goes(person, "seen", "note", "doctor")  # a chain: what is hidden counts as empty
    press(person, "kind", "sick")
    comes(person, "doctor")
    assert person.see("#f-doctor").get_attribute("value") == "kept"
    person.type("days", "2,5")
    goes(person, "deputy")
    person.type("days", "2,51")
    comes(person, "deputy")
    person.type("days", "")
    goes(person, "deputy")
    press(person, "tags", "b")
    comes(person, "color")
    star = person.driver.find_element(By.CSS_SELECTOR, "[data-must] .must")
    assert not star.is_displayed()
    person.type("color", "red")
    waiting(person.driver).until(lambda _: star.is_displayed())
    person.driver.execute_script(
        "document.querySelector('#f-day').value = '2026-01-01'; showAsked(document.forms[document.forms.length - 1])"
    )
    comes(person, "plan")
    amount = person.see(".lines [name$='.sum']")
    amount.send_keys("9.99")
    goes(person, "bank")
    amount.clear()
    amount.send_keys("10")
    comes(person, "bank")
    assert wrong_with(person, axe) == []
    person.press(person.see(".actions .solid"))
    assert person.see("[role=alert] a").text == "Sonst is missing"
    person.type("other", "x")
    press(person, "kind", "paid")
    goes(person, "doctor")
    person.press(person.see(".actions .solid"))
    [record] = stored(leave)
    assert (record["kind"], record["seen"], record["doctor"], record["color"], record["total"]) == (
        "paid",
        None,
        None,
        "red",
        10,
    )
    assert not person.complaints()


def test_without_scripts_a_button_shows_what_else_is_asked_for(leave: Any, browse: Callable[..., Person]) -> None:
    person = browse("http://{}:{}".format(*leave.tcp), scripts=False)
    dress(person, "light", 360, 740)
    person.go("/forms/leave")
    press(person, "kind", "sick")
    person.type("who", "Ann")
    assert "seen" not in shown(person)
    person.press(person.button("Continue"))
    assert {"seen", "note"} <= shown(person)
    assert person.see("#f-who").get_attribute("value") == "Ann"
    press(person, "seen", "true")
    person.press(person.see(".actions .solid"))  # which is not enough: there is one more question
    assert person.see("[role=alert] a").text == "Praxis is missing"
    person.type("doctor", "Dr. No")
    person.press(person.see(".actions .solid"))
    [record] = stored(leave)
    assert (record["who"], record["kind"], record["seen"], record["doctor"]) == ("Ann", "sick", True, "Dr. No")
