"""Lists that refresh themselves, in Chromium: what changes, what stays as it was, and when they wait."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from http_client import PAGE, Server, Site, serving

pytest.importorskip("selenium", reason="needs selenium, which is not installed: ./build.sh test installs it")

from selenium.webdriver.common.by import By
from test_accessibility import axe, dress, wrong_with
from test_browser import Person, browse, waiting

__all__ = ["axe", "browse"]
SITE = """
[site]
title = "Desk"
[public]
grants = ["views/open:read", "views/drawn:read"]
[providers.main]
kind = "sql"
url = "sqlite:///data/app.db"
[forms.job]
[forms.job.fields]
what = { title = "What" }
who = { title = "Who" }
hours = { type = "number" }
[views.open]
title = "Open jobs"
from = "forms/job"
columns = { what = {}, who = {} }
order_by = ["what"]
refresh = "5s"
[views.drawn]
from = "forms/job"
group_by = ["what"]
columns = { what = {}, hours = { sum = "hours" } }
refresh = "5s"
chart = { kind = "bar", x = "what", y = "hours" }
"""
# The clock of the page runs fifty times as fast, and it counts what it asks for.
FAST = """
const real = window.setTimeout, ask = window.fetch;
window.setTimeout = (work, ms, ...more) => real(work, ms / 50, ...more);
window.asked = 0;
window.fetch = async (...given) => {
  window.asked += 1;
  const answer = await ask(...given);
  window.answered = answer.status;
  return answer;
};
Object.defineProperty(document, "hidden", { get: () => Boolean(window.away) });
"""


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Server]:
    folder = tmp_path / "desk"
    folder.mkdir()
    (folder / "app.toml").write_text(SITE, encoding="utf-8")
    with serving(folder, "--workers", "1") as server:
        yield server


def add(server: Server, what: str, who: str = "", hours: int | None = None) -> None:
    headers = {"Authorization": f"Bearer {server.token()}", "Content-Type": "application/json"}
    assert server.ask("POST", "/forms/job", json.dumps({"what": what, "who": who, "hours": hours}), headers).status == 201


def address(server: Server) -> str:
    return f"http://{server.tcp[0]}:{server.tcp[1]}"


def opened(server: Server, browse: Callable[..., Person], path: str = "/views/open") -> Person:
    person = browse(address(server))
    person.driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": FAST})
    person.go(path)
    return person


def until(person: Person, script: str) -> None:
    """Wait until the page says that this is so."""
    waiting(person.driver).until(lambda driver: driver.execute_script(f"return {script}"), message=script)


def look_twice(person: Person) -> None:
    """Wait for two more answers."""
    before = person.driver.execute_script("return window.asked")
    until(person, f"window.asked > {before} + 1")


def cells(person: Person) -> list[str]:
    return [one.text for one in person.driver.find_elements(By.CSS_SELECTOR, "tbody td:first-child")]


def test_new_rows_come_by_themselves_and_all_else_stays(desk: Server, browse: Callable[..., Person]) -> None:
    add(desk, "b", "x" * 400)
    person = opened(desk, browse)
    assert "Updated" in person.see("#refreshed").text
    person.driver.execute_script("""
        document.querySelector("input[name=_q]").kept = true;
        document.querySelector("thead a").focus();
        document.querySelector(".scroll").scrollLeft = 50;
    """)
    add(desk, "a")
    until(person, "document.querySelectorAll('tbody tr').length === 2")
    assert cells(person) == ["a", "b"]
    assert person.driver.execute_script("return document.querySelector('input[name=_q]').kept")
    assert person.driver.execute_script("return document.activeElement.matches('thead a:first-of-type')")
    assert "The list has changed. Updated" in person.driver.execute_script(
        "return document.querySelector('.refreshed [role=status]').textContent"
    )
    until(person, "window.answered === 304")
    person.go("/views/drawn")
    assert "Nothing to draw yet" in person.see(".chart img").get_attribute("alt")
    add(desk, "c", hours=7)
    until(person, "document.querySelector('.chart img').src.startsWith('data:image/svg+xml,')")
    assert "%3Ec%3C" in person.see(".chart img").get_attribute("src")
    assert person.see(".chart img").get_attribute("alt").endswith("7 (c).")
    until(person, "document.querySelector('.chart img').naturalWidth > 0")
    assert person.complaints() == []


def test_it_waits_while_it_is_hidden_while_somebody_types_or_marks_text(desk: Server, browse: Callable[..., Person]) -> None:
    add(desk, "b")
    person = opened(desk, browse)
    look_twice(person)
    for begins, ends in (
        ("window.away = true; document.dispatchEvent(new Event('visibilitychange'))",
         "window.away = false; document.dispatchEvent(new Event('visibilitychange'))"),
        ("document.querySelector('input[name=_q]').focus()", "document.activeElement.blur()"),
        ("getSelection().selectAllChildren(document.querySelector('tbody td'))", "getSelection().removeAllRanges()"),
    ):  # fmt: skip
        person.driver.execute_script(begins)
        person.driver.execute_async_script("setTimeout(arguments[0], 5000)")  # what is under way ends
        before = person.driver.execute_script("return window.asked")
        person.driver.execute_async_script("setTimeout(arguments[0], 25000)")  # five times as long as it waits
        assert person.driver.execute_script("return window.asked") == before, begins
        person.driver.execute_script(ends)
        look_twice(person)


def test_it_tries_ever_later_while_the_site_is_away_and_stops_where_it_may_no_longer_look(
    desk: Server, browse: Callable[..., Person]
) -> None:
    add(desk, "b")
    person = opened(desk, browse)
    look_twice(person)
    person.driver.execute_cdp_cmd("Network.enable", {})
    offline = {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0}
    person.driver.execute_cdp_cmd("Network.emulateNetworkConditions", offline)
    until(person, "document.getElementById('refreshed').textContent.includes('Trying again')")
    person.driver.execute_cdp_cmd(
        "Network.emulateNetworkConditions", offline | {"offline": False, "downloadThroughput": -1, "uploadThroughput": -1}
    )
    add(desk, "a")
    until(person, "document.querySelectorAll('tbody tr').length === 2")
    assert "Updated" in person.see("#refreshed").text
    config = desk.folder / "app.toml"
    config.write_text(SITE.replace('["views/open:read", "views/drawn:read"]', "[]"), encoding="utf-8")
    desk.process.send_signal(signal.SIGHUP)
    until(person, "document.getElementById('refreshed').textContent.includes('Load the page again')")
    assert cells(person) == ["a", "b"]


def test_without_scripts_a_link_does_it_and_no_page_reloads_itself(desk: Server, browse: Callable[..., Person]) -> None:
    add(desk, "b")
    person = browse(address(desk), scripts=False)
    person.go("/views/open?_sort=-what")
    assert "http-equiv" not in person.driver.page_source
    add(desk, "a")
    person.press(person.see(".refreshed a"))
    assert cells(person) == ["b", "a"]


def test_the_page_of_a_link_refreshes_itself_too(desk: Server, browse: Callable[..., Person], axe: str) -> None:
    add(desk, "b")
    headers = {"Authorization": f"Bearer {desk.token()}", "Content-Type": "application/json"}
    made = json.loads(desk.ask("POST", "/views/open", '{"link": {"expires": "7d"}}', headers).body)
    person = opened(desk, browse, urlsplit(made["url"]).path)
    add(desk, "a")
    until(person, "document.querySelectorAll('tbody tr').length === 2")
    assert person.driver.find_elements(By.CSS_SELECTOR, "nav, form, a[href*='/views/'], a[href*='/login']") == []
    dress(person, "dark", 360, 740)
    assert wrong_with(person, axe) == []


def test_the_page_of_a_view_that_refreshes_itself_has_a_tag_and_others_have_none(tmp_path: Path) -> None:
    site = Site(tmp_path, edit=lambda text: text.replace("[views.waiting]", '[views.waiting]\nrefresh = "1m"'))
    root = site.token("**:*", subject="root")

    def look(target: str, **more: str) -> Any:
        return site.ask("GET", target, None, PAGE | {name.replace("_", "-"): text for name, text in more.items()}, root)

    first = look("/views/waiting")
    again = look("/views/waiting", If_None_Match=first["ETag"])
    assert (first.status, again.status, again.body) == (200, 304, b"")
    assert first["ETag"].startswith('W/"')
    assert look("/views/waiting?_q=x", If_None_Match=first["ETag"]).status == 200
    site.send("/forms/leave", {"day": "2026-12-24"}, root)
    assert look("/views/waiting", If_None_Match=first["ETag"]).status == 200
    for target in ("/views/numbers", "/forms/leave/records"):
        reply = look(target)
        assert not reply["ETag"]
        assert "data-refresh" not in reply.text
    site.close()
