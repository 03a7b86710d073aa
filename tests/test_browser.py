"""What a person does, in Chromium: signs in by the link, makes mistakes, mends them, leaves; with scripts and without.

And what every page is to be: no sideways scrolling on a phone, a silent console, readable text in light and dark.
"""

from __future__ import annotations

import json
import sqlite3
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import backends
import pytest
from conftest import PATIENCE_S, Server

pytest.importorskip("selenium", reason="needs selenium, which is not installed: ./build.sh test installs it")

from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException, WebDriverException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait
from visitor import Visitor

SWITCHES = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--window-size=1280,900",
)  # fmt: skip
EVERY_WIDGET = '''
[site]
title = "Northern branch of the Society for Improvement"

[providers.main]
kind = "sql"
url = "sqlite:///data/app.db"

[files.papers]
title = "Papers"
accept = [".txt", "image/*"]

[forms.every]
title = "One of everything"
note = "A form with each kind of field, so that each can be looked at."
[forms.every.fields]
name     = { type = "string", title = "Name", required = true, minLength = 2, description = "As on your badge." }
size     = { type = "string", title = "Size", enum = ["S", "M", "L"], default = "M" }
town     = { type = "string", title = "Town", enum = ["Ant", "Bee", "Cat", "Dog", "Elk", "Fox"], required = true }
days     = { type = "integer", title = "Days", minimum = 1, maximum = 30 }
price    = { type = "number", title = "Price", multipleOf = 0.01 }
agreed   = { type = "boolean", required = true, title = "I have read the rules of the house and agree to every one of them" }
tags     = { type = "array", title = "Tags", items = { type = "string", enum = ["red", "green", "blue"] } }
day      = { type = "string", title = "Day", format = "date" }
moment   = { type = "string", title = "Moment", format = "date-time" }
site     = { type = "string", title = "Site", format = "uri" }
words    = { type = "string", title = "Words", format = "multiline" }
paper    = { type = "string", title = "Paper", format = "file", files = "files/papers" }

[views.squares]
title = "Squares"
provider = "main"
sql = """
  with recursive n(i) as (select 1 union all select i + 1 from n where i < 400)
  select i, i * i as square, 'a text that is long enough to be cut somewhere' as remark,
         'AnUnbreakableWordOfFiftyLettersThatGoesOnAndOnAndOn' as word
  from n where :least is null or i >= :least"""
params.least = { type = "integer", title = "At least" }

[apps.desk]
title = "Desk"
icon = "🗂"
menu = ["forms/every", "views/squares", "files/papers", { title = "Elsewhere", href = "https://example.org/" }]
'''


def waiting(driver: webdriver.Chrome) -> WebDriverWait[webdriver.Chrome]:
    """Looks again soon; WebDriverWait by itself does every half second."""
    return WebDriverWait(driver, PATIENCE_S, poll_frequency=0.03)


class Person:
    """Somebody at a browser."""

    def __init__(self, driver: webdriver.Chrome, base_url: str) -> None:
        self.driver, self.base_url = driver, base_url

    def go(self, path: str) -> None:
        self.driver.get(path if "://" in path else self.base_url + path)

    def see(self, selector: str) -> WebElement:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def press(self, element: WebElement) -> None:
        """Click on what leads to another page, and wait until that is there."""
        element.click()
        waiting(self.driver).until(lambda driver: gone(element))
        waiting(self.driver).until(lambda driver: driver.find_elements(By.CSS_SELECTOR, "footer"))

    def follow(self, text: str) -> None:
        """Press the link whose first line is this; cards of the home page go on with a note."""
        links = self.driver.find_elements(By.CSS_SELECTOR, "main a")
        self.press(next(link for link in links if link.text.partition("\n")[0] == text))

    def button(self, text: str, within: str = "main") -> WebElement:
        found = [one for one in self.driver.find_elements(By.CSS_SELECTOR, f"{within} button") if one.text == text]
        assert len(found) == 1, f"{len(found)} buttons say {text!r}"
        return found[0]

    def type(self, field: str, text: str) -> None:
        control = self.see(f"#f-{field}")
        control.clear()
        control.send_keys(text)

    def value(self, field: str) -> str:
        return self.see(f"#f-{field}").get_attribute("value") or ""

    @property
    def words(self) -> str:
        try:
            return self.see("body").text
        except StaleElementReferenceException:  # the next page came in between
            return self.see("body").text

    def complaints(self) -> list[str]:
        """Errors, warnings and violations of the policy that the console has got since it was last asked."""
        return [
            str(line["message"])
            for line in self.driver.get_log("browser")
            if "Failed to load resource" not in line["message"]
        ]


def gone(element: WebElement) -> bool:
    """Whether the element's page has been left."""
    try:
        element.is_enabled()
    except StaleElementReferenceException:
        return True
    except WebDriverException as error:  # the page goes at the very moment when the driver looks
        return "does not belong to the document" in str(error)
    return False


def started(scripts: bool) -> webdriver.Chrome:
    """A browser with a profile of its own."""
    options = webdriver.ChromeOptions()
    options.binary_location = backends.program("chromium")
    for switch in (*SWITCHES, f"--user-data-dir={backends.folder()}"):
        options.add_argument(switch)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    options.add_experimental_option("prefs", {"profile.managed_default_content_settings.javascript": 1 if scripts else 2})
    return webdriver.Chrome(options=options, service=Service(backends.program("chromedriver", "chromium-driver")))


def as_new(driver: webdriver.Chrome, base_url: str) -> None:
    """Make a browser forget the site: its tabs with what was set for them, cookies, storage, cache and console."""
    driver.switch_to.new_window("tab")
    fresh = driver.current_window_handle
    for one in driver.window_handles:
        if one != fresh:
            driver.switch_to.window(one)
            driver.close()
    driver.switch_to.window(fresh)
    for command in ("Network.clearBrowserCookies", "Network.clearBrowserCache"):
        driver.execute_cdp_cmd(command, {})
    driver.execute_cdp_cmd("Storage.clearDataForOrigin", {"origin": base_url, "storageTypes": "all"})
    driver.get_log("browser")


@pytest.fixture
def browse(idle_browsers: dict[bool, list[webdriver.Chrome]]) -> Iterator[Callable[..., Person]]:
    """`browse(base_url, scripts=…)` opens a browser of its own, or one that has forgotten what it was used for."""
    opened: list[tuple[bool, Person]] = []

    def open_browser(base_url: str, *, scripts: bool = True) -> Person:
        driver = idle_browsers[scripts].pop() if idle_browsers[scripts] else started(scripts)
        opened.append((scripts, Person(driver, base_url)))
        driver.set_page_load_timeout(PATIENCE_S)
        if not scripts:
            driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
        return opened[-1][1]

    yield open_browser
    for scripts, person in opened:
        try:
            as_new(person.driver, person.base_url)
        except WebDriverException:  # of one that a test left in the middle of something
            person.driver.quit()
        else:
            idle_browsers[scripts].append(person.driver)


# ---- by hand ----


@pytest.mark.parametrize("scripts", [False, True], ids=["without scripts", "with scripts"])
def test_a_person_does_the_main_job_by_hand(
    scripts: bool, running: Server, browse: Callable[..., Person], tmp_path: Path
) -> None:
    person = browse(running.base_url, scripts=scripts)
    person.go(running.sign_in_link)
    person.press(person.button("Sign in"))
    assert "Signed in as" in person.words

    person.follow("Requests")
    submit_wrongly(person, scripts)
    submit_rightly(person)
    see_it_in_the_view(person)
    edit_the_record(person)
    delete_the_record(person)
    upload_a_file(person, tmp_path)

    person.press(person.button("Sign out", "header"))
    person.go("/views/requests")
    assert person.driver.current_url.startswith(f"{person.base_url}/login?after=")
    shown = [one for one in person.driver.find_elements(By.CSS_SELECTOR, "main input") if one.is_displayed()]
    assert shown == [person.see("#login-subject"), person.see("#login-password")], "nothing else is asked for"
    assert "A better chair" not in person.words
    assert person.complaints() == []


@pytest.mark.parametrize("scripts", [False, True], ids=["without scripts", "with scripts"])
def test_what_is_typed_is_kept_as_a_draft_and_goes_when_it_is_sent(
    scripts: bool, running: Server, browse: Callable[..., Person]
) -> None:
    person = browse(running.base_url, scripts=scripts)
    person.go(running.sign_in_link)
    person.press(person.button("Sign in"))
    person.go("/forms/requests")
    person.type("subject", "A draft of a chair")
    if scripts:
        said = person.see(".saved")
        waiting(person.driver).until(lambda _: said.text.startswith("Draft saved "))
        person.go("/forms/requests")
    else:
        person.press(person.button("Save for later"))
        assert "Your draft is saved." in person.words
    person.follow("A draft of a chair")
    assert person.value("subject") == "A draft of a chair"
    person.type("email", "ann@example.org")
    person.press(person.button("Send"))
    assert "Sent." in person.words
    assert "A draft of a chair" not in person.words
    assert person.complaints() == []


def submit_wrongly(person: Person, scripts: bool) -> None:
    person.type("subject", "A")
    person.type("email", "nobody")
    person.type("details", "Two lines,\nkept as they are.")
    person.press(person.button("Send"))
    summary = person.see("[role=alert]")
    assert "There are 2 problems" in summary.text
    focused = person.driver.switch_to.active_element == summary
    assert focused is scripts, "scripts put the reader at the summary; and where there are none, there are none"
    links = summary.find_elements(By.TAG_NAME, "a")
    assert [link.text for link in links] == [
        "What do you need? must have at least 3 characters",
        "Your e-mail must be an e-mail address such as ann@example.org",
    ]
    links[1].click()
    assert person.driver.switch_to.active_element == person.see("#f-email"), "a link of the summary leads to its field"
    for field in ("subject", "email"):
        control = person.see(f"#f-{field}")
        assert control.get_attribute("aria-invalid") == "true"
        described = [person.see(f"#{name}").text for name in (control.get_attribute("aria-describedby") or "").split()]
        assert any("must" in text for text in described), "the message stands at the field too"
    assert [person.value(name) for name in ("subject", "email")] == ["A", "nobody"]
    assert person.value("details") == "Two lines,\nkept as they are."
    assert person.driver.title.startswith("Error: ")


def submit_rightly(person: Person) -> None:
    person.type("subject", "A chair")
    person.type("email", "ann@example.org")
    person.press(person.button("Send"))
    assert "Sent. Your reference is" in person.words
    person.driver.refresh()
    person.go("/forms/requests/records?_count=1")
    assert "1 row" in person.words


def see_it_in_the_view(person: Person) -> None:
    person.go("/")
    person.follow("All requests")
    cells = [cell.text for cell in person.driver.find_elements(By.CSS_SELECTOR, "tbody td")]
    assert cells[:2] == ["A chair", "other"]
    assert "admin" in cells


def edit_the_record(person: Person) -> None:
    person.go("/forms/requests/records")
    person.follow("A chair")
    assert "Two lines," in person.words
    person.follow("Edit")
    assert person.value("subject") == "A chair"
    person.type("subject", "A better chair")
    person.press(person.button("Save"))
    assert "A better chair" in person.see("dl.record").text
    assert person.see("[role=status]").text == "Saved A better chair."
    person.driver.refresh()
    assert not person.driver.find_elements(By.CSS_SELECTOR, "[role=status]"), "it is said once"


def delete_the_record(person: Person) -> None:
    question = person.see("details.confirm")
    assert not question.find_element(By.CSS_SELECTOR, "form").is_displayed(), "one click does not delete"
    question.find_element(By.TAG_NAME, "summary").click()
    person.press(person.button("Delete", "details.confirm form"))
    assert person.driver.current_url == f"{person.base_url}/forms/requests/records"
    assert "Nothing here yet" in person.words
    assert person.see("[role=status]").text == "Deleted A better chair."


def upload_a_file(person: Person, tmp_path: Path) -> None:
    (tmp_path / "plan für 2027.txt").write_text("the plan\n")
    person.go("/files/shared/")
    person.see("input[type=file]").send_keys(str(tmp_path / "plan für 2027.txt"))
    person.press(person.button("Upload"))
    assert "plan für 2027.txt" in person.see("table.listing").text
    assert person.see("[role=status]").text == "Uploaded plan für 2027.txt."
    assert "9 bytes" in person.see("table.listing").text
    person.driver.find_element(By.PARTIAL_LINK_TEXT, "plan für 2027").click()
    waiting(person.driver).until(lambda driver: "the plan" in driver.find_element(By.TAG_NAME, "body").text)
    person.go("/")


# ---- edits ----

OTHER_RULES = """
[site]
timezone = "Europe/Copenhagen"
[public]
grants = ["forms/**:*"]
[providers.main]
kind = "sql"
url = "sqlite:///data/app.db"
[forms.odd.fields]
title = { type = "string", required = true }
at    = { type = "string", format = "date-time" }
later = { type = "string", format = "date-time", required = true }
when  = { type = "string", format = "date-time" }
day   = { type = "string", format = "date" }
price = { type = "number", multipleOf = 0.5 }
much  = { type = "number" }
huge  = { type = "integer", maximum = 5 }
text  = { type = "string", format = "multiline", maxLength = 5 }
lines = { type = "string", maxLength = 5 }
mail  = { type = "string", format = "email" }
link  = { type = "string", format = "uri" }
size  = { type = "string", enum = ["S", "M"] }
town  = { type = "string", enum = ["Ant", "Bee", "Cat", "Dog", "Elk"], required = true }
rank  = { type = "integer", enum = [1, 2] }
tags  = { type = "array", items = { type = "string", enum = ["red", "green"] } }
ready = { type = "boolean" }
sure  = { type = "boolean" }
maybe = { type = "boolean" }
blank = { type = "string" }
"""
STORED_UNDER_OTHERS = {
    "title": "t", "at": "2026-11-23T08:30:45.123456Z", "later": "2026-10-25T01:30:00+00:00", "when": "next week",
    "day": "soon", "price": 12.25, "much": 1e300, "huge": 9223372036854775807, "town": "Fox", "rank": 1.0, "blank": "",
    "text": "\n  longer than it may be\r\nby now \n", "lines": " two\r\nlines\t", "mail": " ann@bücher.example",
    "link": "no address", "size": "XXL", "tags": ["red", "blue", "red"], "ready": None, "sure": "perhaps", "maybe": True,
    "gone": ["kept", None],
}  # fmt: skip


@pytest.mark.parametrize("scripts", [False, True], ids=["without scripts", "with scripts"])
def test_an_edit_in_the_page_changes_only_what_the_person_changed(
    scripts: bool, start_server: Callable[..., Server], browse: Callable[..., Person], tmp_path: Path
) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "app.toml").write_text(OTHER_RULES, encoding="utf-8")
    server = start_server(folder=tmp_path / "site")
    address = f"{server.base_url}/forms/odd/records"

    def ask(method: str, address: str, value: object = None) -> Any:
        body = None if value is None else json.dumps(value).encode()
        request = urllib.request.Request(address, body, {"Content-Type": "application/json"}, method=method)
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            return json.load(answer)

    made = ask("POST", address, {"title": "t", "later": "2026-10-25T01:30:00Z", "town": "Ant"})
    with closing(sqlite3.connect(server.data / "app.db")) as database, database:
        kept = {name: made[name] for name in ("created_at", "created_by", "updated_at", "updated_by")}
        database.execute("update odd set data = ?", [json.dumps(STORED_UNDER_OTHERS | kept)])
    person = browse(server.base_url, scripts=scripts)
    person.go(f"/forms/odd/records/{made['id']}?_edit=1")
    assert "Time in Europe/Copenhagen" in person.words
    person.press(person.button("Save"))
    assert ask("GET", f"{address}/{made['id']}")["version"] == 1, "nothing was changed, so nothing is written"

    person.go(f"/forms/odd/records/{made['id']}?_edit=1")
    person.type("title", "changed")
    person.press(person.button("Save"))
    found = ask("GET", f"{address}/{made['id']}")
    assert (found["version"], found["title"]) == (2, "changed")
    assert {name: found[name] for name in STORED_UNDER_OTHERS} == STORED_UNDER_OTHERS | {"title": "changed"}
    assert type(found["rank"]) is float
    assert "no longer asked" in person.words

    person.go(f"/forms/odd/records/{made['id']}?_edit=1")
    person.see("#f-maybe-2").click()  # no, in place of yes
    for box in person.driver.find_elements(By.CSS_SELECTOR, "[name=tags]"):
        if box.is_selected() == (box.get_attribute("value") != "green"):
            box.click()
    person.type("much", "1.234,5")
    person.type("price", "12,5")  # which an English browser's own control for numbers makes 125
    person.press(person.button("Save"))
    found = ask("GET", f"{address}/{made['id']}")
    changed = {"title": "changed", "maybe": False, "tags": ["green"], "much": 1234.5, "price": 12.5}
    assert {name: found[name] for name in STORED_UNDER_OTHERS} == STORED_UNDER_OTHERS | changed
    assert not person.complaints()


# ---- nothing typed is lost ----

KEEPS = """
[providers.main]
kind = "sql"
url = "sqlite:///data/app.db"
[files.receipts]
provider = "main"
[forms.claims]
title = "Claim"
[forms.claims.fields]
name    = { type = "string", title = "Name", required = true, minLength = 2 }
words   = { type = "string", title = "Words", format = "multiline" }
receipt = { type = "string", format = "file", files = "files/receipts", max_file = "5MB", required = true }
kind    = { type = "string", title = "Kind", enum = ["train", "taxi"] }
"""
WORDS = 'Two lines,\n"quoted" & <b> für Zoë'


@pytest.fixture
def claims(start_server: Callable[..., Server], tmp_path: Path) -> Server:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "app.toml").write_text(KEEPS, encoding="utf-8")
    (tmp_path / "receipt.txt").write_text("the receipt")
    (tmp_path / "big.bin").write_bytes(bytes(6_000_000))
    return start_server(folder=tmp_path / "site")


def sign_in(person: Person, link: str) -> None:
    person.go(link)
    person.press(person.button("Sign in"))


def fill_in_a_claim(person: Person, folder: Path, name: str = "Ann") -> None:
    person.type("name", name)
    person.type("words", WORDS)
    person.see("#f-receipt").send_keys(str(folder / "receipt.txt"))
    person.see("input[value=taxi]").click()


def is_filled_in(person: Person, name: str = "Ann") -> None:
    assert person.value("name") == name
    assert person.value("words") == WORDS
    assert person.see("input[value=taxi]").is_selected()
    assert "Current file: receipt.txt" in person.words


def claim_is_stored(person: Person) -> None:
    assert "Sent." in person.words
    person.go("/forms/claims/records?_count=1")
    assert "1 row" in person.words
    person.press(person.see("tbody a"))
    assert "receipt.txt" in person.see("dl.record").text
    assert "taxi" in person.see("dl.record").text


@pytest.mark.parametrize("scripts", [False, True], ids=["without scripts", "with scripts"])
def test_a_session_that_ends_while_typing_loses_no_text_and_no_file(
    scripts: bool, claims: Server, browse: Callable[..., Person], run_pyz: Callable[..., Any], tmp_path: Path
) -> None:
    person, (shots, wrong) = browse(claims.base_url, scripts=scripts), (tmp_path, list[str]())
    sign_in(person, claims.sign_in_link)
    person.go("/forms/claims")
    fill_in_a_claim(person, tmp_path)
    assert run_pyz(claims.folder, "auth", "people", "sign-out", "admin").returncode == 0
    person.press(person.button("Send"))
    assert "Nothing you typed is lost" in person.words
    if scripts:
        look_at(person, "sign in with a draft", "", shots, wrong)

    first = person.driver.current_window_handle
    code = run_pyz(claims.folder, "auth", "link", "--subject", "ann", "--grant", "**:*").stdout.strip().rpartition("/")[2]
    if scripts:  # the link is opened in another tab, as from a mail
        person.driver.switch_to.new_window("tab")
        sign_in(person, f"/login/{code}")
        person.driver.close()
        person.driver.switch_to.window(first)
        person.press(person.button("Continue"))
    else:
        person.see("main details summary").click()
        person.see("#token").send_keys(code)
        person.press(person.button("Sign in", "main details form"))
    is_filled_in(person)
    assert "nothing is stored yet: press Send" in person.words
    if scripts:
        look_at(person, "form with a draft", "", shots, wrong)
    person.press(person.button("Send"))
    claim_is_stored(person)
    assert not wrong, "\n".join(wrong)
    assert person.complaints() == []


def test_signing_out_in_another_tab_loses_no_text_and_no_file(
    claims: Server, browse: Callable[..., Person], token_for: Callable[..., str], tmp_path: Path
) -> None:
    person, token = browse(claims.base_url, scripts=False), token_for(claims, "**:*")
    sign_in(person, claims.sign_in_link)
    person.go("/forms/claims")
    fill_in_a_claim(person, tmp_path)
    first = person.driver.current_window_handle
    person.driver.switch_to.new_window("tab")
    person.go("/")
    person.press(person.button("Sign out", "header"))
    person.driver.close()
    person.driver.switch_to.window(first)
    person.press(person.button("Send"))
    person.see("main details summary").click()
    person.see("#token").send_keys(token)
    person.press(person.button("Sign in", "main details form"))
    is_filled_in(person)
    person.press(person.button("Send"))
    claim_is_stored(person)


@pytest.mark.parametrize("scripts", [False, True], ids=["without scripts", "with scripts"])
def test_a_wrong_or_too_large_submit_keeps_the_chosen_file(
    scripts: bool, claims: Server, browse: Callable[..., Person], tmp_path: Path
) -> None:
    person = browse(claims.base_url, scripts=scripts)
    sign_in(person, claims.sign_in_link)
    person.go("/forms/claims")
    fill_in_a_claim(person, tmp_path, "A")
    person.press(person.button("Send"))
    assert "Name must have at least 2 characters" in person.words
    is_filled_in(person, "A")
    person.see("#f-receipt").send_keys(str(tmp_path / "big.bin"))
    if scripts:
        person.button("Send").click()
        assert "big.bin is too large: at most 5 MB." in person.see("[role=alert].error").text
        assert person.driver.switch_to.active_element == person.see("#f-receipt"), "nothing was sent"
        person.driver.execute_script("document.querySelector('#f-receipt').value = ''")
        person.type("name", "Ann")
    else:
        person.press(person.button("Send"))
        assert "Receipt is too large: at most 5 MB" in person.words
        assert (person.value("name"), person.value("words")) == ("A", WORDS)
        fill_in_a_claim(person, tmp_path)
    person.press(person.button("Send"))
    claim_is_stored(person)
    assert person.complaints() == []


@pytest.mark.parametrize("scripts", [False, True], ids=["without scripts", "with scripts"])
def test_an_edit_conflict_shows_both_and_lets_the_person_choose(
    scripts: bool, claims: Server, browse: Callable[..., Person], token_for: Callable[..., str], tmp_path: Path
) -> None:
    person, (shots, wrong) = browse(claims.base_url, scripts=scripts), (tmp_path, list[str]())
    sign_in(person, claims.sign_in_link)
    person.go("/forms/claims")
    fill_in_a_claim(person, tmp_path)
    person.press(person.button("Send"))
    person.press(person.see(".notice a"))
    address, robot = person.driver.current_url, Visitor(claims.base_url, token_for(claims, "**:*"))
    for mine in ("my words", ""):
        person.go(address.partition("?")[0] + "?_edit=1")
        person.type("words", mine or "other words")
        theirs = "their words" if mine else "their last words"
        change = json.dumps({"words": theirs, "name": "Theirs"}).encode()
        headers = {"Content-Type": "application/json"}
        assert robot.send("PATCH", urlsplit(address).path, change, headers).status == 200
        person.press(person.button("Save"))
        shown = [" ".join(one.text.split()) for one in person.driver.find_elements(By.CSS_SELECTOR, ".versions")]
        assert f"Now {theirs} Yours {mine or 'other words'}" in shown
        assert person.value("words") == (mine or "other words")
        if scripts and mine:
            look_at(person, "edit conflict", "", shots, wrong)
        if mine:
            person.press(person.button("Save mine anyway"))
            assert "my words" in person.see("dl.record").text
            assert "Theirs" in person.see("dl.record").text, "what was not touched is as the other one left it"
        else:
            person.follow("Take theirs")
            assert "their last words" in person.see("dl.record").text
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("scripts", [True, False], ids=["with scripts", "without scripts"])
def test_a_token_is_issued_tried_and_revoked_and_the_audit_trail_tells_of_it(
    claims: Server, browse: Callable[..., Person], scripts: bool
) -> None:
    person = browse(claims.base_url, scripts=scripts)
    sign_in(person, claims.sign_in_link)
    person.go("/admin/tokens?_new=1")
    person.type("label", "Reader")
    person.press(person.button("Issue the token"))
    assert "In whose name" in person.see("[role=alert]").text
    assert person.value("label") == "Reader", "what was typed stays"
    person.type("subject", "robot")
    person.see("input[name=grants][value='forms/claims:read']").click()
    person.press(person.button("Issue the token"))
    secret = person.see("#secret").get_attribute("value") or ""
    assert secret.startswith("stl_")
    assert person.see("button[data-copy]").is_displayed() == scripts
    asked = urllib.request.Request(claims.base_url + "/forms/claims/records", headers={"Authorization": f"Bearer {secret}"})
    with urllib.request.urlopen(asked) as answer:
        assert answer.status == 200
    person.follow("Done")
    person.see("details.confirm summary").click()
    person.press(person.see("details.confirm .panel button"))
    assert "Revoked: Reader, of robot." in person.words
    person.go("/admin/audit")
    person.press(person.see(".events li a"))
    assert "revoked a token" in person.see("h1").text
    assert person.complaints() == []


# ---- every page ----

PAGES = {
    "home": "/",
    "app": "/apps/desk",
    "form": "/forms/every",
    "records": "/forms/every/records?_count=1",
    "view": "/views/squares",
    "view narrowed": "/views/squares?least=390&_count=1",
    "view empty": "/views/squares?least=500",
    "files": "/files/papers/",
    "folder": "/files/papers/2026/a%20folder%20with%20a%20rather%20long%20name%20that%20has%20to%20wrap/",
    "audit": "/admin/audit",
    "tokens": "/admin/tokens",
    "new token": "/admin/tokens?_new=1",
    "sessions": "/admin/sessions",
    "outbox": "/admin/outbox",
    "access": "/admin/access?resource=forms/every",
    "providers": "/admin/providers",
    "check": "/admin/check",
    "metrics": "/admin/metrics",
    "not found": "/forms/nothing",
    "bad request": "/views/squares?nothing=1",
}
LONG = "Ein_sehr_langer_Dateiname_ohne_jede_Luecke_der_auf_keinem_Telefon_in_eine_Zeile_passt_2026.txt"

# The least contrast of visible text with what is behind it (WCAG 2, 1.4.3), as [ratio, text]; large text counts at 3 : 4.5.
CONTRAST = """
const channel = (c) => { c /= 255; return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4; };
const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
const rgba = (color) => {
  canvas.clearRect(0, 0, 1, 1);
  canvas.fillStyle = color;
  canvas.fillRect(0, 0, 1, 1);
  return canvas.getImageData(0, 0, 1, 1).data;
};
const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
const behind = (element) => {
  for (let one = element; one; one = one.parentElement) {
    const color = rgba(getComputedStyle(one).backgroundColor);
    if (color[3] > 250) return color;
  }
  return matchMedia("(prefers-color-scheme: dark)").matches ? [18, 18, 18, 255] : [255, 255, 255, 255];
};
let worst = [99, ""];
for (const element of document.querySelectorAll("body *")) {
  const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
  const box = element.getBoundingClientRect();
  const shown = element.checkVisibility({ opacityProperty: true, visibilityProperty: true });
  if (!own || !shown || box.width < 2 || box.height < 2) continue;
  const style = getComputedStyle(element), size = parseFloat(style.fontSize);
  const [a, b] = [light(rgba(style.color)), light(behind(element))].sort((x, y) => y - x);
  const large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
  const ratio = ((a + 0.05) / (b + 0.05)) * (large ? 1.5 : 1);
  if (ratio < worst[0]) worst = [ratio, element.textContent.trim().slice(0, 60)];
}
return worst;
"""


def test_every_page_fits_a_phone_and_a_desktop_in_light_and_dark(
    start_server: Callable[..., Server], browse: Callable[..., Person], tmp_path: Path
) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "app.toml").write_text(EVERY_WIDGET, encoding="utf-8")
    server = start_server(folder=tmp_path / "site")
    person = browse(server.base_url)
    shots, wrong = tmp_path / "shots", list[str]()
    shots.mkdir()
    look_at(person, "sign in", "/login", shots, wrong)
    look_at(person, "sign in by link", server.sign_in_link, shots, wrong)
    person.go(server.sign_in_link)
    person.press(person.button("Sign in"))
    assert person.see("header .subject").is_displayed()

    look_at(person, "files empty", "/files/papers/", shots, wrong)
    look_at(person, "records empty", "/forms/every/records", shots, wrong)
    record = fill_in_everything(person, tmp_path, shots, wrong)
    upload_long_names(person, tmp_path)
    for name, path in PAGES.items():
        look_at(person, name, path, shots, wrong)
    look_at(person, "record", record, shots, wrong)
    look_at(person, "edit", record + "?_edit=1", shots, wrong)
    assert not wrong, "\n".join(wrong)


def fill_in_everything(person: Person, tmp_path: Path, shots: Path, wrong: list[str]) -> str:
    """Submit the form with faults, look at that page, submit it well; the address of the record."""
    (tmp_path / "paper.txt").write_text("paper")
    person.go("/forms/every")
    person.type("name", "A")
    person.type("days", "99")
    person.press(person.button("Send"))
    look_at(person, "form with faults", "", shots, wrong)
    person.type("name", "Ann")
    person.type("days", "3")
    person.see("#f-town option[value=Elk]").click()
    person.see("#f-agreed").click()
    person.see("input[name=tags][value=blue]").click()
    person.type("site", "https://example.org/")
    person.type("words", "One line.\n" + "And a long one. " * 20)
    person.see("#f-paper").send_keys(str(tmp_path / "paper.txt"))
    person.press(person.button("Send"))
    assert "Sent." in person.words
    look_at(person, "form sent", "", shots, wrong)
    person.go("/forms/every/records")
    person.press(person.see("tbody a"))
    assert "Elk" in person.words
    assert "blue" in person.words
    return person.driver.current_url


def upload_long_names(person: Person, tmp_path: Path) -> None:
    folder = "2026/a folder with a rather long name that has to wrap"
    for path in ("papers/", f"papers/{folder.replace(' ', '%20')}/"):
        (tmp_path / LONG).write_text("x" * 2000)
        person.go("/files/papers/")
        action = f"{person.base_url}/files/{path}"
        person.driver.execute_script("document.querySelector('form.upload').action = arguments[0]", action)
        person.see("input[type=file]").send_keys(str(tmp_path / LONG))
        person.press(person.button("Upload"))
    assert LONG in person.words


def look_at(person: Person, name: str, path: str, shots: Path, wrong: list[str]) -> None:
    """Look at the page (path "": what is open) in four ways. What is amiss goes to `wrong`, and a picture to `shots`."""
    if path:
        person.go(path)
    for width in (360, 1280):
        screen = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 600}
        person.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
        for scheme in ("light", "dark"):
            media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
            person.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
            before = len(wrong)
            judge(person, f"{name} at {width} px, {scheme}", width, wrong)
            if len(wrong) > before:
                shot = shots / f"{name} {width} {scheme}.png".replace(" ", "-")
                shot.write_bytes(person.driver.get_screenshot_as_png())
    person.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    person.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


OUTSIDE = """
const ends = (element) => element.getBoundingClientRect().right;
return [...document.querySelectorAll("a, button, input, select, textarea, h1, p")]
  .filter((one) => one.checkVisibility() && ends(one) > arguments[0] + 0.5 && !one.closest(".scroll"))
  .map((one) => one.textContent.trim() || one.name);
"""


def judge(person: Person, what: str, width: int, wrong: list[str]) -> None:
    page = person.driver.execute_script("return document.documentElement.scrollWidth")
    if page > width:  # not innerWidth: a phone widens its window to what the page wants
        wrong.append(f"{what}: scrolls sideways, {page} px")
    if outside := person.driver.execute_script(OUTSIDE, width):
        wrong.append(f"{what}: stands outside the window: {outside}")
    ratio, text = person.driver.execute_script(CONTRAST)
    if ratio < 4.5:
        wrong.append(f"{what}: contrast {ratio:.2f} of {text!r}")
    wrong += [f"{what}: console: {line}" for line in person.complaints()]
