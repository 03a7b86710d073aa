"""A person narrows a list to an answer in Chromium: with scripts and without, on a phone, and as axe sees it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

pytest.importorskip("selenium", reason="needs selenium, which is not installed: ./build.sh test installs it")

sys.path.insert(0, str(Path(__file__).parent))
from http_client import serving
from selenium.webdriver import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.support.select import Select
from test_accessibility import axe, dress, wrong_with
from test_browser import Person, browse

__all__ = ["axe", "browse"]
LEAVE = """
[providers.main]
kind = "sql"
url = "sqlite:///data/app.db"
[forms.leave]
title = "Leave"
opens = "records"
states = { field = "status", initial = "new", moves = ["new>approved"], badges = { approved = "good" } }
[forms.leave.fields]
name = { type = "string", title = "Who" }
day = { type = "string", format = "date", title = "First day" }
days = { type = "number", title = "Days" }
kind = { title = "Kind", oneOf = [{ const = "paid", title = "Paid" }, { const = "unpaid", title = "Unpaid" }] }
urgent = { type = "boolean", title = "Urgent" }
reason = { type = "string", title = "Reason" }
[views.away]
title = "Who is away"
from = "forms/leave"
columns = { name = {}, day = {}, days = {}, kind = {}, status = {} }
facets = ["kind"]
"""
NAMES = ("Ann", "Bo", "Cy", "Di", "Ed")


@pytest.fixture
def leave(tmp_path: Path) -> Iterator[Any]:
    folder = tmp_path / "leave"
    folder.mkdir()
    (folder / "app.toml").write_text(LEAVE, encoding="utf-8")
    with serving(folder, "--workers", "1") as server:
        rows = [
            {"name": NAMES[n % 5], "day": f"2027-0{1 + n % 9}-1{n % 10}", "days": 1 + n % 7, "urgent": n % 3 == 0,
             "kind": ("paid", "unpaid")[n % 2], "reason": "Because of the move to another house " * (n % 2)}
            for n in range(60)
        ]  # fmt: skip
        headers = {"Authorization": f"Bearer {server.token()}", "Content-Type": "application/json"}
        assert server.ask("POST", "/forms/leave", json.dumps(rows), headers).status == 201
        yield server


def signed_in(leave: Any, browse: Callable[..., Person], scripts: bool) -> Person:
    person = browse("http://{}:{}".format(*leave.tcp), scripts=scripts)
    person.go(f"/login/{leave.code}")
    person.press(person.button("Sign in"))
    return person


def query(person: Person) -> str:
    return unquote(urlsplit(person.driver.current_url).query)


def names(person: Person) -> list[str]:
    cells = person.driver.find_elements(By.CSS_SELECTOR, 'tbody td[data-of="Who"]')
    return [one.text for one in cells]


def chips(person: Person) -> list[str]:
    return [one.text for one in person.driver.find_elements(By.CSS_SELECTOR, ".chip bdi")]


def point(person: Person, selector: str) -> None:
    """Click where it is. The driver thinks that nothing in details is seen that are not open, whatever the styles say."""
    ActionChains(person.driver).move_to_element(person.see(selector)).click().perform()


def open_filter(person: Person) -> None:
    filter_ = person.see(".narrowing")
    if not filter_.get_attribute("open") and person.see(".narrowing > summary").is_displayed():
        person.see(".narrowing > summary").click()


@pytest.mark.parametrize(
    ("scripts", "width"), [(False, 360), (True, 1280)], ids=["without scripts, a phone", "with scripts, a desk"]
)
def test_a_person_narrows_a_list_to_an_answer(scripts: bool, width: int, leave: Any, browse: Callable[..., Person]) -> None:
    person = signed_in(leave, browse, scripts)
    dress(person, "light", width, 900)
    person.go("/views/away")
    assert "60 rows" in person.words
    open_filter(person)
    person.see('.filter [name="days__gte"]').send_keys("6")
    for one in (".pick > summary", '[name="kind__in"][value="paid"]', ".pick > summary"):
        point(person, one)
    person.press(person.see(".filter > .button"))
    assert query(person) == "days__gte=6&kind__in=paid", "and nothing that is empty"
    assert chips(person) == ["Days at least 6", "Kind: Paid"]
    assert set(names(person)) == {"Ann", "Bo", "Cy", "Di", "Ed"}
    if width == 360:
        open_filter(person)
        Select(person.see("#sorted-by")).select_by_visible_text("Who, descending")
        person.press(person.see(".filter > .button"))
    else:
        for _ in range(2):
            person.press(next(one for one in person.driver.find_elements(By.CSS_SELECTOR, "th a") if one.text == "Who"))
        assert person.see("[aria-sort]").get_attribute("aria-sort") == "descending"
    assert "_sort=-name" in query(person)
    assert names(person) == sorted(names(person), reverse=True)
    person.press(person.see('.chip a[aria-label="Remove: Days at least 6"]'))
    assert chips(person) == ["Kind: Paid"]
    for left in ([], ["Kind: Paid"]):
        person.press(next(one for one in person.driver.find_elements(By.CSS_SELECTOR, ".facet a") if "Paid" in one.text))
        assert chips(person) == left
    person.press(person.see(".chips li:last-child > a"))
    assert (query(person), chips(person)) == ("", [])
    person.press(person.see('.pager [rel="next"]'))
    assert len(names(person)) == 10
    person.press(person.see('.pager [rel="prev"]'))
    assert len(names(person)) == 50
    assert person.complaints() == []


def test_columns_are_chosen_and_ordered(leave: Any, browse: Callable[..., Person]) -> None:
    person = signed_in(leave, browse, False)
    person.go("/views/away?days__gte=6")

    def heads() -> list[str]:
        return [one.text.split("\n")[0].strip() for one in person.driver.find_elements(By.CSS_SELECTOR, "thead th")]

    person.see(".columns > summary").click()
    for name in ("day", "kind"):
        person.see(f'.columns [value="{name}"]').click()
    person.press(person.see(".columns .actions .button"))
    assert heads() == ["Who", "Days", "Status"]
    person.see(".columns > summary").click()
    person.press(person.see('[aria-label="Move Days forward"]'))
    assert heads() == ["Days", "Who", "Status"]
    assert query(person) == "days__gte=6&_columns=days,name,status"
    assert "_columns=days%2Cname%2Cstatus" in str(person.see(".formats a").get_attribute("href"))


def test_a_wrong_value_is_said_at_its_control(leave: Any, browse: Callable[..., Person]) -> None:
    person = signed_in(leave, browse, True)
    person.go("/forms/leave/records?days__gte=many")
    control = person.see('.filter [name="days__gte"]')
    assert control.is_displayed()
    assert control.get_attribute("value") == "many"
    assert "must be a number" in person.see("#" + str(control.get_attribute("aria-describedby"))).text
    control.clear()
    control.send_keys("7")
    person.press(person.see(".filter > .button"))
    assert chips(person) == ["Days at least 7"]


def test_on_a_phone_rows_are_cards(leave: Any, browse: Callable[..., Person]) -> None:
    person = signed_in(leave, browse, False)
    dress(person, "dark", 360, 800)
    person.go("/forms/leave/records")

    def shown() -> list[str]:
        cells = person.driver.find_elements(By.CSS_SELECTOR, "tbody tr:first-child td[data-of]")
        return [str(one.get_attribute("data-of")) for one in cells if one.is_displayed()]

    assert shown() == ["Who", "First day", "Days", "Status"]
    person.see("#all-fields").click()
    assert {"Kind", "Urgent", "Reason"} <= set(shown())
    table = person.driver.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    roles = [node["role"]["value"] for node in table if not node.get("ignored")]
    assert roles.count("row") >= 50
    assert {"table", "columnheader", "cell"} <= set(roles)


def test_a_narrowed_list_breaks_no_rule_of_accessibility(leave: Any, browse: Callable[..., Person], axe: str) -> None:
    person = signed_in(leave, browse, True)
    for address in (
        "/views/away?days__gte=3&kind__in=paid&_sort=-days", "/forms/leave/records?days__gte=x",
        "/admin/audit?record__contains=a",
        "/forms/leave/records?_columns=name,days",
    ):  # fmt: skip
        person.go(address)
        assert wrong_with(person, axe) == [], address
