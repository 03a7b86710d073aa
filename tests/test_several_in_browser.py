"""Eight leave requests approved at once in Chromium, with scripts and without, on a phone and at a desk."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("selenium", reason="needs selenium, which is not installed: ./build.sh test installs it")

sys.path.insert(0, str(Path(__file__).parent))
import test_seats
from http_client import Server, serving
from selenium.webdriver.common.by import By
from test_browser import Person, browse  # noqa: F401 (a fixture)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Server]:
    (tmp_path / "app.toml").write_text(test_seats.SITE, encoding="utf-8")
    with serving(tmp_path, "--workers", "1") as server:
        yield server


def asked_for(site: Server, count: int) -> list[str]:
    sent = json.dumps([{"who": f"Person {n}", "days": n} for n in range(1, count + 1)])
    headers = {"Authorization": f"Bearer {site.token()}", "Content-Type": "application/json"}
    return [one["id"] for one in site.ask("POST", "/forms/leave", sent, headers).json["items"]]


def ticks(person: Person) -> list[str]:
    """What is ticked in the list."""
    boxes = person.driver.find_elements(By.CSS_SELECTOR, "td.tick input")
    return [one.get_attribute("aria-label") or "" for one in boxes if one.is_selected()]


@pytest.mark.parametrize("scripts", [False, True], ids=["without scripts on a phone", "with scripts at a desk"])
def test_eight_requests_are_approved_at_once(site: Server, request: pytest.FixtureRequest, scripts: bool) -> None:
    keys = asked_for(site, 10)
    maria = test_seats.seated(site, request.getfixturevalue("browse"), "maria", "Maria Holm", "hr", scripts=scripts)
    if scripts:
        size = {"width": 1280, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        maria.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    maria.go("/forms/leave/records?_sort=days")
    for box in maria.driver.find_elements(By.CSS_SELECTOR, "td.tick input")[:8]:
        maria.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", box) if scripts else None
        box.click()
    assert ticks(maria) == [f"Person {n}" for n in range(1, 9)]
    assert ("Ticked: 8" in maria.words) is scripts
    headers = {"Authorization": f"Bearer {site.token()}", "Content-Type": "application/json"}
    assert site.ask("DELETE", f"/forms/leave/records/{keys[0]}", None, headers).status == 204
    maria.press(next(one for one in maria.driver.find_elements(By.CSS_SELECTOR, ".several button") if one.text == "Move…"))
    assert "Move 7 records" in maria.words
    assert "One that you chose is no longer there." in maria.words
    assert site.ask("POST", f"/forms/leave/records/{keys[1]}/move", '{"to": "rejected"}', headers).status == 200
    maria.see("#comment").send_keys("Have a good time.")
    maria.press(maria.see("button[name=to][value=approved]"))
    assert "1 of 7 was not done" in maria.words
    assert "6 records are now: Approved." in maria.words
    assert "Person 2: 2" in maria.words
    assert "moved this to “Rejected”" in maria.words
    maria.press(maria.driver.find_element(By.LINK_TEXT, "← Back to Records"))
    assert maria.driver.current_url.endswith("/forms/leave/records?_sort=days")
    states = [one.text for one in maria.driver.find_elements(By.CSS_SELECTOR, "td.state")]
    assert [one.split()[-1] for one in states] == ["Rejected", *["Approved"] * 6, "New", "New"]
    maria.go("/forms/leave/records?status=new")
    maria.see("[data-all]").click()
    assert (ticks(maria) == ["Person 10", "Person 9"]) is scripts  # without scripts it stands for them
    maria.press(next(one for one in maria.driver.find_elements(By.CSS_SELECTOR, ".several button") if one.text == "Move…"))
    maria.press(maria.see("button[name=to][value=approved]"))
    assert "2 records are now: Approved." in maria.words
    maria.go(f"/forms/leave/records/{keys[5]}")
    assert "Have a good time." in maria.words
    if scripts:
        assert not maria.driver.execute_script("return document.documentElement.scrollWidth > window.innerWidth")
    assert maria.complaints() == []
