"""The sign-in page: it offers what app.toml names, leads on, and takes nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from http_client import Site, hidden

import app

GOOD = "green horse likes tea"


def edited(ways: str, more: str = "") -> Any:
    return lambda toml: f"{toml}\n[auth]\nsign_in = [{ways}]\n{more}"


@pytest.fixture
def site_with(tmp_path: Path) -> Iterator[Any]:
    """Makes a site whose page offers these ways."""
    made: list[Site] = []

    def make(ways: str, more: str = "") -> Site:
        made.append(Site(tmp_path, edit=edited(ways, more)))
        return made[-1]

    yield make
    for one in made:
        one.close()


def link_for(site: Site, subject: str) -> str:
    reply = site.send("/admin/people", {"subject": subject, "grants": ["forms/leave:create"]}, site.token("**:*"))
    assert reply.status == 201, reply.text
    return str(reply.json["link"]).rpartition("/")[2]


def with_password(site: Site, subject: str = "bo") -> None:
    """Somebody who has a password."""
    cookie = site.submit("/login", {"code": link_for(site, subject)}).cookie
    sent = {"do": "password", "new": GOOD}
    assert site.send("/me", sent, cookie, Origin="http://localhost").status == 200


@pytest.mark.parametrize(
    ("ways", "controls"),
    [
        ('"password", "token"', ["subject", "password", "token"]),
        ('"token", "password"', ["token", "subject", "password"]),
        ('"password"', ["subject", "password"]),
        ('"token"', ["token"]),
        ("", []),
    ],
)
def test_the_sign_in_page_offers_exactly_what_is_configured_in_that_order(
    site_with: Any, ways: str, controls: list[str]
) -> None:
    site = site_with(ways)
    for page in (
        site.get("/login", Accept="text/html"),
        site.submit("/forms/leave/records/x?_method=DELETE", {}),
        site.submit("/login", {"code": "A" * 43}),
    ):
        assert re.findall(r'name="(\w+)" (?:value="" )?required', page.text) == controls
        assert "for a new link" in page.text
    opened = re.search(r"<details\s+open", site.get("/login", Accept="text/html").text)
    assert bool(opened) is (ways == '"token"'), "what is the only way is not folded"


def test_a_way_that_is_not_offered_is_not_taken_either_and_links_always_are(site_with: Any) -> None:
    site = site_with('"token"')
    with_password(site)
    refused = site.submit("/login", {"subject": "bo", "password": GOOD})
    assert (refused.status, "takes no password" in refused.text, refused["Set-Cookie"]) == (401, True, "")
    assert site.submit("/login", {"token": site.token("**:*")}).status == 303
    site.close()
    other = site_with('"password"')
    assert other.submit("/login", {"subject": "bo", "password": GOOD}).status == 303
    token = other.token("**:*")
    for sent in ({"token": token}, {"code": token}, {"password": token}):
        assert other.submit("/login", sent).status == 401
    assert other.get("/forms/leave", token).status == 200, "a program sends its token as ever"
    assert other.submit("/login", {"code": link_for(other, "cy")}).status == 303
    assert other.submit("/login", {"token": f"http://x/login/{link_for(other, 'di')}"}).status == 303


@pytest.mark.parametrize(
    ("ways", "fault"),
    [
        ('"pasword"', "auth.sign_in.0 names 'pasword', which is no way to sign in; did you mean password?"),
        ('"password", "tamtam 123"', "auth.sign_in.1 names 'tamtam 123', which is no way to sign in: name some of password"),
        ('"oidc"', "auth.sign_in.0 names 'oidc', which needs the table [oidc]"),
        ('"proxy"', "auth.sign_in.0 names 'proxy', which needs the table [proxy]"),
        ('"mail"', "auth.sign_in.0 names 'mail', which needs a channel: declare [channels.mail]"),
        ('"token", "token"', "auth.sign_in.1 names 'token' twice"),
    ],
)
def test_a_way_without_what_it_needs_stops_the_start_and_says_so(site_with: Any, ways: str, fault: str) -> None:
    with pytest.raises(app.ConfigError) as caught:
        site_with(ways)
    assert any(f"{one.pointer} {one.detail}".startswith(fault) for one in caught.value.faults), caught.value.faults


def test_a_name_without_a_password_is_answered_as_a_wrong_one(site: Site) -> None:
    with_password(site)
    for sent in ({"subject": "", "password": GOOD}, {"subject": "bo", "password": ""}, {"subject": " ", "password": "x"}):
        page = site.submit("/login", sent)
        assert (page.status, "The name or the password is wrong" in page.text) == (401, True)
        assert page.text.count('aria-invalid="true"') == 1


def test_what_is_wrong_is_marked_where_it_was_typed(site: Site) -> None:
    page = site.submit("/login", {"subject": "bo", "password": "x", "after": "/forms/leave"})
    assert 'value="bo"' in page.text
    assert re.search(r'id="login-password"[^>]*aria-invalid="true"', page.text, re.DOTALL)
    assert not re.search(r"<details\s+open", page.text)
    assert hidden(page, "after") == "/forms/leave"
    page = site.submit("/login", {"token": "x"})
    assert re.search(r'<details\s+open.*id="token"[^>]*aria-invalid="true"', page.text, re.DOTALL)
    page = site.submit("/login", {"code": "A" * 43})
    assert "aria-invalid" not in page.text, "nothing was typed"


# ---- links, browsers and sessions


def test_a_mail_scanner_uses_no_link_up_and_of_two_browsers_the_first_is_signed_in(site: Site) -> None:
    code = link_for(site, "bo")
    for method in ("GET", "HEAD", "OPTIONS", "GET"):
        scanned = site.ask(method, f"/login/{code}", headers={"Accept": "text/html", "User-Agent": "scanner"})
        assert not scanned["Set-Cookie"]
    first, second = (site.submit("/login", {"code": code}) for _ in range(2))
    assert (first.status, second.status) == (303, 401)
    assert "satchel_session_" not in second["Set-Cookie"]


def test_no_session_that_somebody_planted_is_signed_in_and_each_sign_in_has_a_new_one(site: Site) -> None:
    with_password(site)
    planted = site.cookie("A" * 43)
    cookies = []
    for before in (planted, planted):
        signed = site.submit("/login", {"subject": "bo", "password": GOOD}, Cookie=before)
        assert signed.status == 303
        cookies.append(signed.cookie)
    assert len({planted, *cookies}) == 3
    assert site.get("/me", planted).status == 401


def test_cookies_of_other_sites_on_this_host_sign_nobody_in_and_are_left_alone(site: Site) -> None:
    with_password(site)
    mine = site.submit("/login", {"subject": "bo", "password": GOOD}).cookie
    value = mine.partition("=")[2]
    for other in (f"satchel_session_0123456789abcdef={value}", f"session={value}", f"satchel_session_={value}"):
        assert site.get("/me", Cookie=other).status == 401
    out = site.submit("/login", {"subject": "bo", "password": GOOD}, Cookie=f"satchel_session_0123456789abcdef={value}")
    assert "0123456789abcdef" not in out["Set-Cookie"]
    assert site.get("/me", mine).status == 200


@pytest.mark.parametrize(
    "headers", [{"Origin": "https://evil.example"}, {"Sec_Fetch_Site": "cross-site"}, {"Origin": "null"}]
)
def test_another_site_signs_nobody_in_here_and_nobody_out(site: Site, headers: dict[str, str]) -> None:
    code = link_for(site, "bo")
    refused = site.submit("/login", {"code": code}, **headers)
    assert (refused.status, refused["Set-Cookie"]) == (403, "")
    cookie = site.submit("/login", {"code": code}).cookie
    assert site.submit("/logout", {}, cookie, **headers).status == 403
    assert site.get("/me", cookie).status == 200
