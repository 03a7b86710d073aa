"""Leave with approval in Chromium, from the seats of who asks and who decides: with scripts and without, on a phone."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

pytest.importorskip("selenium", reason="needs selenium, which is not installed: ./build.sh test installs it")

sys.path.insert(0, str(Path(__file__).parent))
from http_client import Server, serving
from selenium.webdriver.common.by import By
from test_browser import Person, browse  # noqa: F401 (a fixture)

SITE = """
[site]
title = "Operations"
[providers.main]
kind = "sql"
url = "sqlite:///data/app.db"
[roles.staff]
grants = ["forms/leave:create", "forms/leave/mine:update"]
[roles.hr]
grants = ["forms/leave/records:read"]
[forms.leave]
title = "Leave request"
name = "{who}: {days}"
owner = { field = "created_by", unless = "hr" }
[forms.leave.states]
field = "status"
initial = "new"
moves = ["new>approved:hr", "new>rejected:hr", "rejected>new"]
badges = { approved = "good", rejected = "bad" }
[forms.leave.fields]
who = { type = "string", required = true }
days = { type = "number", required = true }
"""


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Server]:
    (tmp_path / "app.toml").write_text(SITE, encoding="utf-8")
    with serving(tmp_path, "--workers", "1") as server:
        yield server


def seated(site: Server, open_browser: Callable[..., Person], subject: str, name: str, role: str, **facts: Any) -> Person:
    """Somebody who was invited and has signed in."""
    headers = {"Authorization": f"Bearer {site.token()}", "Content-Type": "application/json"}
    made = site.ask("POST", "/admin/people", json.dumps({"subject": subject, "name": name, "roles": [role]}), headers)
    person = open_browser("http://{}:{}".format(*site.tcp), **facts)
    metrics = {"width": 360, "height": 740, "deviceScaleFactor": 1, "mobile": False}
    person.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    person.go(urlsplit(made.json["link"]).path)
    person.press(person.button("Sign in"))
    return person


def moved(person: Person, to: str, comment: str) -> None:
    """Press the first button that moves something there, with a comment."""
    for folded in person.driver.find_elements(By.CSS_SELECTOR, "details.move:not([open]) summary")[:1]:
        folded.click()
    person.see("main textarea[name=comment]").send_keys(comment)
    person.press(next(one for one in person.driver.find_elements(By.CSS_SELECTOR, "main button") if one.text == to))


@pytest.mark.parametrize("scripts", [False, True], ids=["without scripts", "with scripts"])
def test_leave_is_asked_for_refused_asked_for_again_and_granted(
    site: Server, request: pytest.FixtureRequest, scripts: bool
) -> None:
    open_browser = request.getfixturevalue("browse")
    ann = seated(site, open_browser, "ann", "Ann Bo", "staff", scripts=scripts)
    maria = seated(site, open_browser, "maria", "Maria Holm", "hr", scripts=scripts)
    ann.go("/forms/leave")
    ann.type("who", "Ann")
    ann.type("days", "3")
    ann.press(ann.button("Send"))
    assert "Sent." in ann.words
    ann.go("/")
    assert "Waiting for me" not in ann.words
    maria.go("/")
    assert "Ann: 3" in maria.see("section.waiting").text
    moved(maria, "Rejected", "Too many are away then.")
    assert "Ann: 3 is now: Rejected." in maria.words
    ann.go("/")
    ann.press(ann.see("section.waiting li a"))
    assert "Rejected by Maria Holm" in ann.words.replace("\n", " ")
    assert "Too many are away then." in ann.words
    moved(ann, "New", "In the week after, then.")
    assert "Ann: 3 is now: New." in ann.words
    maria.go("/forms/leave/records")
    moved(maria, "Approved", "Enjoy it.")
    assert "Ann: 3 is now: Approved." in maria.words
    ann.go("/forms/leave/mine")
    ann.press(ann.see("tbody a"))
    assert "Approved by Maria Holm" in ann.words.replace("\n", " ")
    assert "Enjoy it." in ann.words
    assert ann.driver.find_elements(By.CSS_SELECTOR, "main textarea") == []
    for person in (ann, maria):
        assert person.complaints() == []
        if scripts:
            assert not person.driver.execute_script("return document.documentElement.scrollWidth > window.innerWidth")
