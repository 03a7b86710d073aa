"""A team's first hour: after the first link nobody needs a shell. With scripts and without them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import backends
import pytest
from conftest import Server

pytest.importorskip("selenium", reason="needs selenium, which is not installed: ./build.sh test installs it")

from selenium.webdriver.common.by import By
from test_browser import Person, browse, waiting  # noqa: F401 - a fixture
from test_oidc import Provider

CONFIG = """
[site]
title = "Corner shop"
contact = "Ann"

[auth]
sign_in = ["password", "oidc", "token"]
[oidc]
issuer = "ISSUER"
client_id = "satchel"
client_secret = "env:OIDC_TEST_SECRET"

[roles.staff]
grants = ["apps/*:read", "forms/leave:create"]
[roles.hr]
grants = ["apps/*:read", "forms/leave:*"]

[providers.main]
kind = "sql"
url = "sqlite:///data/app.db"

[forms.leave]
title = "Leave request"
[forms.leave.fields]
name = { type = "string", title = "Who", required = true }

[apps.hr]
title = "People and leave"
menu = ["forms/leave"]
"""
PASSWORD = "three green umbrellas"


@pytest.fixture
def accounts() -> Iterator[tuple[Provider, str]]:
    """A real provider of accounts, and the address that the site must have for it."""
    bind = f"127.0.0.1:{backends.free_port()}"
    made = Provider(f"http://{bind}")
    yield made, bind
    made.process.stop()


def invite(boss: Person, subject: str, role: str) -> str:
    """The link for a new person with a role, as the page shows it once."""
    boss.go("/admin/people")
    boss.follow("Invite somebody")
    boss.type("subject", subject)
    boss.type("email", f"{subject}@example.org")
    boss.see(f"input[name=roles][value={role}]").click()
    boss.press(boss.button("Invite"))
    link = boss.see(".once").text
    assert "/login/" in link
    boss.go("/admin/people")
    assert link not in boss.words
    assert subject in boss.words
    return link


def come_in(person: Person, link: str) -> None:
    """Sign in by a link, and set a password."""
    person.go(link)
    person.press(person.button("Sign in"))
    person.go("/me")
    for name in ("new", "again"):
        person.see(f"#me-{name}").send_keys(PASSWORD)
    person.press(person.button("Set the password"))
    assert "set" in person.see(".notice.good").text


def change(boss: Person, subject: str, box: str) -> None:
    """Tick or clear a box of a person."""
    boss.go(f"/admin/people/{subject}?_edit=1")
    boss.see(box).click()
    boss.press(boss.button("Save"))


def leave(person: Person) -> None:
    person.press(person.button("Sign out", "header"))


def come_back(person: Person, subject: str, password: str = PASSWORD) -> None:
    person.go("/login")
    person.see("#login-subject").send_keys(subject)
    person.see("#login-password").send_keys(password)
    person.press(person.see("form:has(#login-password) button"))


def come_by_account(person: Person, login: str) -> None:
    """Sign in with an account elsewhere, which asks for a name and a password, and then whether to go on."""
    person.go("/login?after=%2Fme")
    person.see(".way a").click()
    wait = waiting(person.driver)
    wait.until(lambda driver: driver.find_elements(By.NAME, "login"))
    person.see("input[name=login]").send_keys(login)
    person.see("input[name=password]").send_keys("x")
    person.see("button[type=submit]").click()
    wait.until(lambda driver: driver.find_elements(By.CSS_SELECTOR, "input[name=prompt][value=consent]"))
    person.press(person.see("button[type=submit]"))
    assert person.driver.current_url == f"{person.base_url}/me"


def by_menu(person: Person) -> None:
    """Find the form by the app's menu."""
    person.go("/")
    person.press(person.driver.find_element(By.LINK_TEXT, "People and leave"))
    person.follow("Leave request")
    assert person.see("h1").text == "Leave request"


def by_search(person: Person) -> None:
    person.go("/search?q=leave")
    person.follow("Leave request")
    assert person.see("h1").text == "Leave request"


def status(person: Person, token: str) -> int:
    """What a program gets that reads the form's records with a token."""
    request = Request(f"{person.base_url}/forms/leave/records", headers={"Authorization": f"Bearer {token}"})
    try:
        with urlopen(request) as answer:
            return int(answer.status)
    except HTTPError as error:
        return error.code


def use_a_token(boss: Person) -> None:
    """Issue a token in the page, use it, and revoke it."""
    boss.go("/admin/tokens")
    boss.follow("New token")
    boss.type("label", "monthly report")
    boss.type("subject", "reports")
    boss.see("input[value='forms/leave:read']").click()
    boss.press(boss.button("Issue the token"))
    token = boss.see("#secret").get_attribute("value") or ""
    assert token in (boss.see("textarea[rows]:not(#secret)").get_attribute("value") or "")
    assert status(boss, token) == 200
    boss.go("/admin/tokens")
    boss.see(".rows details summary").click()
    boss.press(boss.see(".rows details form button"))
    assert status(boss, token) == 401


@pytest.mark.parametrize("scripts", [True, False], ids=["with scripts", "without scripts"])
def test_a_team_settles_in_without_a_shell(
    scripts: bool,
    start_server: Callable[..., Server],
    browse: Callable[..., Person],  # noqa: F811
    accounts: tuple[Provider, str],
    tmp_path: Path,
) -> None:
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / "app.toml").write_text(CONFIG.replace("ISSUER", accounts[0].url), encoding="utf-8")
    secret = {"OIDC_TEST_SECRET": "a-secret-of-this-test"}
    server = start_server("--bind", accounts[1], folder=folder, env=secret)
    boss = browse(server.base_url, scripts=scripts)
    boss.go(server.sign_in_link)
    boss.press(boss.button("Sign in"))
    for_bo = invite(boss, "bo", "staff")
    invite(boss, "ann", "hr")

    member = browse(server.base_url, scripts=scripts)
    come_in(member, for_bo)
    leave(member)
    come_back(member, "bo")
    by_menu(member)
    by_search(member)
    member.type("name", "Bo")
    member.press(member.button("Send"))
    assert "Thank you" in member.words or "Sent" in member.words

    other = browse(server.base_url, scripts=scripts)
    come_by_account(other, "ann")
    assert "do everything with Leave request" in other.words

    change(boss, "bo", "input[name=roles][value=staff]")
    member.go("/forms/leave")
    assert "not open to you" in member.see("h1").text
    assert "Ask Ann" in member.words
    change(boss, "bo", "input[name=suspended]")
    member.go("/me")
    assert "sign in" in member.see("h1").text.lower()
    come_back(member, "bo")
    assert "suspended" in member.see("[role=alert]").text  # which is for whoever knows the password
    said = []
    for subject in ("bo", "nobody"):
        come_back(member, subject, "a wrong password")
        said.append(member.see("[role=alert]").text)
    assert said[0] == said[1]

    use_a_token(boss)
    boss.go("/admin/audit?subject=admin")
    for event in ("signed in", "issued a token", "revoked a token"):
        assert event in boss.words
    boss.follow("changed Suspended of bo")
    assert "Suspended" in boss.words
