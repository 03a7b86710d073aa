"""Signing in with an account elsewhere: an issuer that behaves, one that does not, and a real one."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, parse_qsl, unquote_plus, urlencode, urlsplit

import backends
import pytest
from http_client import Reply, Site, hidden
from http_services import StandIn, answers, as_json

import app
from app import plugin

SECRET = "s3cret: with a colon+"


class Issuer:
    """An issuer in this process. What it says can be spoilt: `facts` of itself, `claims` of the person, `answer` instead of
    whatever the token endpoint would say."""

    def __init__(self) -> None:
        self.facts: dict[str, Any] = {}
        self.claims: dict[str, Any] = {}
        self.userinfo: dict[str, Any] | None = None
        self.answer: Callable[[], Any] | None = None
        self.gate: threading.Event | None = None
        self.codes: dict[str, dict[str, str]] = {}
        self.stand = StandIn(self._reply)
        self.url = self.stand.url

    def _reply(self, method: str, path: str, headers: Any, body: bytes) -> Any:
        if self.gate:
            self.gate.wait(20)
        if path == "/.well-known/openid-configuration":
            own = {
                "issuer": self.url, "authorization_endpoint": f"{self.url}/authorize?tenant=1",
                "token_endpoint": f"{self.url}/token", "end_session_endpoint": f"{self.url}/out",
                "scopes_supported": ["openid", "email", "groups"], "code_challenge_methods_supported": ["S256"],
            }  # fmt: skip
            own |= {"userinfo_endpoint": f"{self.url}/me"} if self.userinfo is not None else {}
            return as_json({name: one for name, one in (own | self.facts).items() if one is not None})
        if path == "/me":
            assert headers["Authorization"] == "Bearer the-access-token"
            return as_json(self.userinfo)
        if path == "/token":
            return self.answer() if self.answer else self._token(headers, dict(parse_qsl(body.decode())))
        return 404, {}, b"nothing"

    def _token(self, headers: Any, sent: dict[str, str]) -> Any:
        name, _, secret = base64.b64decode(headers.get("Authorization", "").removeprefix("Basic ")).decode().partition(":")
        if (unquote_plus(name), unquote_plus(secret)) != ("satchel", SECRET):
            return as_json({"error": "invalid_client"}, 401)
        began = self.codes.pop(sent["code"], None)
        digest = base64.urlsafe_b64encode(hashlib.sha256(sent["code_verifier"].encode()).digest()).rstrip(b"=").decode()
        if began is None or digest != began["code_challenge"] or sent["redirect_uri"] != began["redirect_uri"]:
            return as_json({"error": "invalid_grant"}, 400)
        return as_json(
            {"access_token": "the-access-token", "token_type": "Bearer", "id_token": self.id_token(began["nonce"])}
        )

    def id_token(self, nonce: str) -> str:
        now = int(time.time())
        claims = {
            "iss": self.url, "aud": "satchel", "sub": "42", "iat": now, "exp": now + 300, "nonce": nonce,
            "email": "Ann@Example.org", "email_verified": True, "name": "Ann Lee",
        }  # fmt: skip
        told = {name: one for name, one in (claims | self.claims).items() if one is not None}
        parts = [json.dumps({"alg": "RS256", "kid": "1"}), json.dumps(told), "signature"]
        return ".".join(base64.urlsafe_b64encode(part.encode()).rstrip(b"=").decode() for part in parts)

    def signs_in(self, address: str) -> dict[str, str]:
        """What the browser of somebody who signs in there brings back."""
        asked = {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}
        assert address.startswith(f"{self.url}/authorize?tenant=1&")
        assert (asked["response_type"], asked["code_challenge_method"]) == ("code", "S256")
        code = f"code-{len(self.codes)}-{time.monotonic_ns()}"
        self.codes[code] = asked
        return {"code": code, "state": asked["state"]}


class Browser:
    """One that keeps cookies."""

    def __init__(self, site: Site) -> None:
        self.site, self.cookies = site, dict[str, str]()

    def get(self, target: str, accept: str = "text/html") -> Reply:
        return self.kept(self.site.get(target, Accept=accept, Cookie=self.header))

    @property
    def header(self) -> str:
        return "; ".join(f"{name}={value}" for name, value in self.cookies.items())

    def kept(self, reply: Reply) -> Reply:
        for name, value in reply.headers:
            if name == "Set-Cookie":
                key, _, text = value.partition(";")[0].partition("=")
                self.cookies[key] = text
                if "Max-Age=0" in value:
                    del self.cookies[key]
        return reply

    def begins(self, after: str = "") -> str:
        """The address at the issuer that it is led to."""
        reply = self.get("/login/oidc" + (f"?{urlencode({'after': after})}" if after else ""))
        assert reply.status == 303, reply.text
        return reply["Location"]

    def comes_back(self, **asked: str) -> Reply:
        return self.get(f"/login/oidc/back?{urlencode(asked)}")

    def signs_in(self, issuer: Issuer, after: str = "", **more: str) -> Reply:
        return self.comes_back(**issuer.signs_in(self.begins(after)), **more)


TABLE = """
[auth]
sign_in = ["password", "oidc"]
[oidc]
issuer = "ISSUER"
client_id = "satchel"
client_secret = "env:OIDC_TEST_SECRET"
roles = { "hr-team" = "hr", "*" = "staff" }
ADMIT
[roles.hr]
grants = ["admin/people:*"]
"""


@pytest.fixture
def issuer(monkeypatch: pytest.MonkeyPatch) -> Iterator[Issuer]:
    monkeypatch.setenv("OIDC_TEST_SECRET", SECRET)
    made = Issuer()
    yield made
    if made.gate:
        made.gate.set()
    made.stand.close()


@pytest.fixture
def site_of(tmp_path: Path) -> Iterator[Any]:
    """Makes a site where one signs in with an issuer."""
    made: list[Site] = []

    def make(issuer: Any, admit: str = "") -> Site:
        table = TABLE.replace("ISSUER", getattr(issuer, "url", issuer)).replace("ADMIT", admit)
        made.append(Site(tmp_path, edit=lambda toml: toml + table))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def site(issuer: Issuer, site_of: Any) -> Site:
    """A site that knows Ann by her mail address."""
    made: Site = site_of(issuer)
    invite(made, "ann", email="ann@example.org")
    return made


def invite(site: Site, subject: str, **facts: Any) -> None:
    reply = site.send("/admin/people", {"subject": subject} | facts, site.token("**:*"))
    assert reply.status == 201, reply.text


def client_of(site: Site) -> Any:
    route: Any = site.runner.door.routes["oidc"]
    return route.client


def rights(site: Site, subject: str) -> Any:
    row = site.app.state.get("_people", subject)
    return row and (row.value.get("roles", []), row.value.get("groups", []))


def refused(reply: Reply, words: str) -> None:
    """It is the sign-in page, which says so, and nobody is signed in."""
    assert (reply.status, words in reply.text) == (401, True), reply.text
    assert "satchel_session_" not in reply["Set-Cookie"]
    assert "<h1>Sign in</h1>" in reply.text
    assert 'name="password"' in reply.text, "the other ways are there"


# ---- what works


def test_somebody_signs_in_with_an_account_elsewhere_and_goes_on_to_where_he_was_going(site: Site, issuer: Issuer) -> None:
    browser = Browser(site)
    page = browser.get("/login?after=/forms/leave%3F_sent%3D1")
    button = re.search(r'<a class="button " href="([^"]+)"', page.text)
    assert button
    assert "Sign in with <bdi>127.0.0.1</bdi>" in page.text
    led = browser.get(button[1].replace("&amp;", "&"))
    asked = parse_qs(urlsplit(led["Location"]).query)
    assert asked["redirect_uri"] == ["http://localhost/login/oidc/back"]
    assert asked["scope"] == ["openid email groups"]
    back = browser.comes_back(**issuer.signs_in(led["Location"]))
    assert (back.status, back["Location"]) == (303, "/forms/leave?_sent=1")
    assert browser.get("/me", "application/json").json["subject"] == "ann"
    assert not [name for name in browser.cookies if name.startswith("satchel_oidc_")]
    told = site.get("/admin/audit?action=sign_in", site.token("admin/audit:read")).json["items"][0]
    assert (told["subject"], told["after"]) == ("ann", {"by": "oidc"})


def test_roles_of_groups_are_replaced_at_each_sign_in_and_added_to_those_given_by_hand(site: Site, issuer: Issuer) -> None:
    admin = site.token("**:*")
    site.send("/admin/people/ann", {"roles": ["hr"]}, admin, "PATCH")
    issuer.claims = {"groups": ["x", "hr-team", 7]}
    Browser(site).signs_in(issuer)
    assert rights(site, "ann") == (["hr"], ["hr", "staff"])
    assert site.send("/admin/people/ann", {"subject": "ann", "email": "ann@example.org"}, admin, "PUT").status == 200
    assert rights(site, "ann") == ([], ["hr", "staff"]), "an administrator who changes the person leaves them alone"
    browser = Browser(site)
    issuer.claims = {"groups": "hr-team"}
    browser.signs_in(issuer)
    assert browser.get("/me", "application/json").json["roles"] == ["hr", "staff"]
    issuer.claims = {}
    Browser(site).signs_in(issuer)
    assert rights(site, "ann") == ([], ["staff"])
    assert browser.get("/me", "application/json").json["roles"] == ["staff"], "sessions that are open lose it, too"
    told = reversed(site.get("/admin/audit?resource=admin/people/ann", admin).json["items"])
    assert [one["changes"]["groups"] for one in told if "groups" in (one.get("changes") or {})] == [
        [[], ["hr", "staff"]], [["hr", "staff"], ["staff"]]
    ]  # fmt: skip


def test_claims_that_are_not_in_the_id_token_are_asked_for(site: Site, issuer: Issuer) -> None:
    issuer.claims = {"email": None, "email_verified": None, "name": None}
    issuer.userinfo = {"sub": "42", "email": "ann@example.org", "groups": ["hr-team"]}
    assert Browser(site).signs_in(issuer).status == 303
    assert rights(site, "ann") == ([], ["hr", "staff"])
    issuer.userinfo = {"sub": "43", "email": "ann@example.org"}
    refused(Browser(site).signs_in(issuer), "Signing in with 127.0.0.1 did not work: start again.")


def test_whom_nobody_invited_is_let_in_only_where_everybody_is(site: Site, site_of: Any, issuer: Issuer) -> None:
    issuer.claims = {"email": "Bo@Example.org", "name": "Bo Chen", "groups": ["hr-team"]}
    refused(Browser(site).signs_in(issuer), "Bo@Example.org is not known here.")
    assert rights(site, "bo@example.org") is None
    site.close()
    other = site_of(issuer, 'admit = "all"')
    assert Browser(other).signs_in(issuer).status == 303
    row = other.app.state.get("_people", "bo@example.org").value
    assert (row["name"], row["email"], row["groups"]) == ("Bo Chen", "bo@example.org", ["hr", "staff"])
    assert row["era"], "sessions of one who had this name before stay ended"
    assert Browser(other).signs_in(issuer).status == 303
    people = other.get("/admin/people", other.token("**:*")).json["items"]
    assert sorted(one["id"] for one in people) == ["ann", "bo@example.org"]
    assert [one["email"] for one in people if one["id"] == "ann"] == ["ann@example.org"]


@pytest.mark.parametrize(
    "subject",
    ["cli:root", "service:hr", ".", "..", "a\u200bb", "ann\n", "a\x00b", "\ud800", " ", "x" * 300, "ANN", "a\u202eb", ""],
)
def test_a_subject_with_odd_characters_becomes_nobody(site_of: Any, issuer: Issuer, subject: str) -> None:
    site = site_of(issuer, 'admit = "all"\nsubject = "preferred_username"')
    invite(site, "ann")
    issuer.claims = {"preferred_username": subject}
    reply = Browser(site).signs_in(issuer)
    assert reply.status in (401, 303), reply.text
    people = [one["id"] for one in site.get("/admin/people", site.token("**:*")).json["items"]]
    assert people == ["ann"]
    if reply.status == 303:
        assert subject.strip() == "ann"


def test_a_subject_of_other_scripts_and_signs_is_a_person(site_of: Any, issuer: Issuer) -> None:
    site = site_of(issuer, 'admit = "all"\nsubject = "preferred_username"')
    for subject in ("Zoë O'Brien", "李雷/dev", "a{}b%2F..", "<b>x</b>"):
        issuer.claims = {"preferred_username": subject, "email": None}
        browser = Browser(site)
        assert browser.signs_in(issuer).status == 303
        assert browser.get("/me", "application/json").json["subject"] == subject
        assert "<b>x</b>" not in browser.get("/me").text


def test_signing_out_leads_on_to_the_issuer_and_ends_the_session_here(site: Site, issuer: Issuer) -> None:
    browser = Browser(site)
    browser.signs_in(issuer)
    form = {"_token": hidden(browser.get("/me"), "_token")}
    out = browser.kept(site.submit("/logout", form, Cookie=browser.header))
    assert out.status == 200
    address = out["Refresh"].partition("url=")[2]
    asked = parse_qs(urlsplit(address).query)
    assert address.startswith(f"{issuer.url}/out?")
    assert asked["post_logout_redirect_uri"] == ["http://localhost/login"]
    assert asked["id_token_hint"][0].count(".") == 2
    assert browser.get("/me", "application/json").status == 401
    for listed in ("/admin/sessions", "/admin/people/ann", "/admin/audit"):
        assert "id_token" not in site.get(listed, site.token("**:*")).text


# ---- what is refused


@pytest.mark.parametrize(
    "claims",
    [
        {"nonce": "another"},
        {"nonce": None},
        {"iss": "http://127.0.0.1:1"},
        {"iss": None},
        {"aud": "somebody-else"},
        {"aud": None},
        {"aud": []},
        {"aud": ["satchel", "other"]},
        {"aud": ["satchel", "other"], "azp": "other"},
        {"azp": "other"},
        {"exp": 1},
        {"exp": None},
        {"exp": "9999999999"},
        {"exp": True},
        {"iat": 1},
        {"iat": None},
        {"iat": 9_999_999_999},
        {"nbf": 9_999_999_999},
        {"sub": None},
        {"sub": ""},
        {"sub": 42},
        {"email": None},
        {"email": ["ann@example.org"]},
    ],
)
def test_an_id_token_that_is_not_for_this_browser_here_and_now_is_refused(
    site: Site, issuer: Issuer, caplog: pytest.LogCaptureFixture, claims: dict[str, Any]
) -> None:
    issuer.claims = claims
    refused(Browser(site).signs_in(issuer), "Signing in with 127.0.0.1 did not work: start again.")
    [told] = [one.getMessage() for one in caplog.records if "signing in with" in one.getMessage()]
    assert list(claims)[-1] in told or "azp" in told, "the operator learns what it was"
    assert "42." not in told


def test_an_email_that_is_no_mail_address_is_not_the_name_of_somebody_here(site: Site, issuer: Issuer) -> None:
    root = site.token("**:*")
    assert site.send("/admin/people", {"subject": "boss", "grants": ["**:*"]}, root).status == 201
    browser = Browser(site)
    issuer.claims["email"] = "boss"
    assert browser.comes_back(**issuer.signs_in(browser.begins())).status == 401
    assert not any(name.startswith("satchel_session_") for name in browser.cookies)


def test_several_audiences_are_fine_if_this_is_the_one_it_was_made_for(site: Site, issuer: Issuer) -> None:
    issuer.claims = {"aud": ["satchel", "other"], "azp": "satchel"}
    assert Browser(site).signs_in(issuer).status == 303


@pytest.mark.parametrize("verified", [False, "false", 0, None, "no"])
def test_a_mail_address_that_is_not_confirmed_is_refused(site: Site, issuer: Issuer, verified: Any) -> None:
    issuer.claims = {"email_verified": verified}
    reply = Browser(site).signs_in(issuer)
    if verified is None:  # it does not say
        assert reply.status == 303
    else:
        refused(reply, "Your mail address is not confirmed with 127.0.0.1")


def test_a_state_of_another_browser_or_none_is_refused_and_nothing_is_asked_of_the_issuer(
    site: Site, issuer: Issuer
) -> None:
    victim, attacker = Browser(site), Browser(site)
    brought = issuer.signs_in(attacker.begins())
    victim.begins()
    asked = len(issuer.stand.asked)
    for sent in (brought, brought | {"state": "A" * 43}, brought | {"state": ""}, {"code": "x"}, {"state": "x\r\ny"}, {}):
        refused(victim.comes_back(**sent), "begun in another browser")
    assert len(issuer.stand.asked) == asked
    assert attacker.comes_back(**brought).status == 303


def test_an_answer_is_taken_once_and_not_late(site: Site, issuer: Issuer) -> None:
    browser = Browser(site)
    brought = issuer.signs_in(browser.begins())
    kept = dict(browser.cookies)
    assert browser.comes_back(**brought).status == 303
    refused(Browser(site).comes_back(**brought), "has been used")
    browser.cookies = kept  # a browser that went back in time
    refused(browser.comes_back(**brought), "Signing in with 127.0.0.1 did not work: start again.")
    late = Browser(site)
    brought = issuer.signs_in(late.begins())
    site.app.clock = lambda: time.time() + 601
    refused(late.comes_back(**brought), "took too long")


def test_another_issuers_answer_is_refused(site: Site, issuer: Issuer) -> None:
    assert Browser(site).signs_in(issuer, iss=issuer.url).status == 303
    words = "Signing in with 127.0.0.1 did not work: start again."
    refused(Browser(site).signs_in(issuer, iss="http://127.0.0.1:1"), words)
    issuer.facts = {"authorization_response_iss_parameter_supported": True}
    client_of(site).issuer._known = 0.0, {}  # it says so from now on
    refused(Browser(site).signs_in(issuer), words)
    assert Browser(site).signs_in(issuer, iss=issuer.url).status == 303


def test_what_the_issuer_refuses_is_said_and_so_is_why_in_the_log(
    site: Site, issuer: Issuer, caplog: pytest.LogCaptureFixture
) -> None:
    browser = Browser(site)
    state = issuer.signs_in(browser.begins())["state"]
    reply = browser.comes_back(state=state, error="access_denied", error_description="no\nsuch luck <b>")
    refused(reply, "You were not signed in with 127.0.0.1.")
    assert "luck" not in reply.text
    assert r"no\nsuch luck" in caplog.text
    browser = Browser(site)
    state = issuer.signs_in(browser.begins())["state"]
    refused(browser.comes_back(state=state), "did not work: start again")
    issuer.answer = lambda: as_json({"error": "invalid_client", "error_description": "who?"}, 401)
    refused(Browser(site).signs_in(issuer), "did not work: start again")
    assert "invalid_client" in caplog.text
    assert SECRET not in caplog.text


def test_a_suspended_person_is_not_let_in(site: Site, issuer: Issuer) -> None:
    site.send("/admin/people/ann", {"suspended": True}, site.token("**:*"), "PATCH")
    refused(Browser(site).signs_in(issuer), "This person is suspended.")


def test_failed_sign_ins_are_slowed_down_and_audited(site: Site, issuer: Issuer) -> None:
    issuer.claims = {"nonce": "x"}
    statuses = [Browser(site).signs_in(issuer).status for _ in range(6)]
    assert statuses == [401] * 5 + [429]
    told = site.get("/admin/audit?action=sign_in&outcome=denied", site.token("**:*")).json["items"]
    assert sum(one["count"] for one in told) == 5


def test_a_new_sign_in_ends_the_session_before_and_no_session_is_taken_over(site: Site, issuer: Issuer) -> None:
    browser = Browser(site)
    browser.cookies[site.cookie("A" * 43).partition("=")[0]] = "A" * 43  # which somebody planted
    browser.signs_in(issuer)
    session = browser.cookies[site.cookie().partition("=")[0]]
    assert session != "A" * 43
    before = browser.header
    browser.signs_in(issuer)
    assert site.get("/me", Cookie=before).status == 401


def test_only_so_many_sign_ins_wait_in_a_browser_and_tabs_do_not_meet(site: Site, issuer: Issuer) -> None:
    browser = Browser(site)
    first, second = issuer.signs_in(browser.begins()), issuer.signs_in(browser.begins("/me"))
    assert browser.comes_back(**first)["Location"] == "/"
    assert browser.comes_back(**second)["Location"] == "/me"
    for _ in range(20):
        browser.begins("/" + "x" * 900)
    assert len([name for name in browser.cookies if name.startswith("satchel_oidc_")]) <= 4
    assert browser.signs_in(issuer).status == 303


@pytest.mark.parametrize("after", ["//evil.example", "/\\evil", "https://evil.example/", "/a\r\nb", "/../x"])
def test_the_way_back_never_leads_to_another_site(site: Site, issuer: Issuer, after: str) -> None:
    assert Browser(site).signs_in(issuer, after)["Location"] == "/"


# ---- an issuer that is away, slow, or says what cannot be


def test_an_issuer_that_is_away_is_said_to_be_and_the_other_ways_work(site_of: Any, issuer: Issuer) -> None:
    issuer.stand.close()
    site = site_of(issuer)
    page = site.get("/login", Accept="text/html")
    assert (page.status, "is not possible at the moment" in page.text) == (200, True)
    tried = site.get("/login/oidc", Accept="text/html")
    assert (tried.status, "cannot be reached at the moment: sign in another way" in tried.text) == (503, True)
    assert 'name="password"' in tried.text
    assert tried["Retry-After"]


def test_an_issuer_that_goes_away_on_the_way_is_503_and_the_log_says_why(
    site: Site, issuer: Issuer, caplog: pytest.LogCaptureFixture
) -> None:
    browser = Browser(site)
    brought = issuer.signs_in(browser.begins())
    issuer.stand.close()
    for one in client_of(site).issuer._clients.values():
        one.close()  # what was kept alive
        one.open()
    reply = browser.comes_back(**brought)
    assert (reply.status, "cannot be reached at the moment" in reply.text) == (503, True)
    assert "Connection refused" in caplog.text


@pytest.mark.parametrize(
    "answer",
    [
        lambda: as_json({}),
        lambda: as_json([1]),
        lambda: as_json({"id_token": 7}),
        lambda: as_json({"id_token": "a.b"}),
        lambda: as_json({"id_token": "a.!!.c"}),
        lambda: as_json({"id_token": f"a.{base64.urlsafe_b64encode(b'[1]').decode()}.c"}),
        lambda: (200, {}, b"<html>"),
        lambda: (200, {}, b"[" * 50_000),
        lambda: as_json({"error": "invalid_grant"}, 400),
        lambda: (302, {"Location": "http://127.0.0.1:1/"}, b""),
    ],
)
def test_a_token_endpoint_that_says_what_cannot_be_signs_nobody_in(site: Site, issuer: Issuer, answer: Any) -> None:
    issuer.answer = answer
    refused(Browser(site).signs_in(issuer), "did not work: start again")


@pytest.mark.parametrize("answer", [lambda: (200, {}, b"x" * 300_000), lambda: None, lambda: (503, {}, b"")])
def test_huge_answers_and_broken_ones_are_503(site: Site, issuer: Issuer, answer: Any) -> None:
    issuer.answer = answer
    assert Browser(site).signs_in(issuer).status == 503


def test_an_endless_answer_and_a_slow_one_end_in_time(site: Site, issuer: Issuer) -> None:
    client = client_of(site)
    client.issuer.patience_s = 0.5
    hold = issuer.stand.hold

    def slowly() -> Iterator[bytes]:
        yield b" "
        while not hold.wait(0.1):
            yield b" "

    issuer.answer = lambda: (200, {}, slowly())
    for one in client.issuer._clients.values():
        one.close()
    client.issuer._clients.clear()
    began = time.monotonic()
    assert Browser(site).signs_in(issuer).status == 503
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    "facts",
    [
        {"issuer": "http://127.0.0.1:1"},
        {"issuer": None},
        {"token_endpoint": "http://evil.example/token"},
        {"token_endpoint": "file:///etc/passwd"},
        {"authorization_endpoint": "javascript:alert(1)"},
        {"authorization_endpoint": None},
        {"userinfo_endpoint": 7},
        {"end_session_endpoint": "http://evil.example/"},
        {"code_challenge_methods_supported": ["plain"]},
    ],
)
def test_an_issuer_that_publishes_what_cannot_be_is_not_used(
    site_of: Any, issuer: Issuer, caplog: pytest.LogCaptureFixture, facts: dict[str, Any]
) -> None:
    issuer.facts = facts
    site = site_of(issuer)
    assert site.get("/login/oidc", Accept="text/html").status == 503
    assert next(iter(facts)).partition("_")[0] in caplog.text
    assert "is not possible at the moment" in site.get("/login", Accept="text/html").text


def test_no_redirect_of_the_issuer_is_followed_and_no_link_local_address_asked(
    site_of: Any, issuer: Issuer, caplog: pytest.LogCaptureFixture
) -> None:
    site = site_of("https://169.254.169.254")
    assert site.get("/login/oidc", Accept="text/html").status == 503
    assert "169.254.169.254 is at" in caplog.text


def test_a_slow_issuer_leaves_the_other_pages_alone(site_of: Any, issuer: Issuer) -> None:
    issuer.gate = threading.Event()
    site = site_of(issuer)
    waiting = [threading.Thread(target=site.get, args=("/login/oidc",)) for _ in range(8)]
    for one in waiting:
        one.start()
    began = time.monotonic()
    assert site.get("/login", Accept="text/html").status == 200
    assert time.monotonic() - began < 4
    issuer.gate.set()
    for one in waiting:
        one.join(20)


# ---- a real one


class Provider:
    """oidc-provider, as a program, and the browser of whoever signs in there: it keeps cookies and follows by hand."""

    def __init__(self, site: str) -> None:
        main = backends.tool("oidc-provider", "node_modules/oidc-provider/package.json")
        self.port = backends.free_port()
        self.url, self.cookies = f"http://127.0.0.1:{self.port}", dict[str, str]()
        script = [backends.program("node", "nodejs"), str(backends.ROOT / "tests" / "oidc_server.mjs")]
        folder = main.parent.parent.parent
        command = [*script, str(folder), str(self.port), site]
        self.process = backends.Process(command, answers(self.port), folder=backends.folder())

    def ask(self, method: str, address: str, **form: str) -> tuple[int, str, str]:
        """Status, where it leads, and the page."""
        connection, parts = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20), urlsplit(address)
        cookies = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        headers = {"Cookie": cookies, "Content-Type": "application/x-www-form-urlencoded"}
        connection.request(method, f"{parts.path}?{parts.query}", urlencode(form) if form else None, headers)
        reply = connection.getresponse()
        for value in reply.headers.get_all("Set-Cookie", []):
            name, _, text = value.partition(";")[0].partition("=")
            self.cookies[name] = text
        found = reply.status, reply.headers.get("Location", ""), reply.read().decode()
        connection.close()
        return found

    def signs_in(self, address: str, name: str) -> str:
        """Where it leads in the end whoever comes with that address, gives this name, and agrees to everything."""
        for _ in range(12):
            if not address.startswith((self.url, "/")):
                return address
            status, leads, page = self.ask("GET", address)
            if status == 200:
                prompt = re.search(r'name="prompt" value="(\w+)"', page)
                action = re.search(r'<form[^>]* action="([^"]+)"', page)
                assert prompt, page
                assert action, page
                status, leads, page = self.ask("POST", action[1], prompt=prompt[1], login=name, password="x")
            assert status in (302, 303), page
            address = leads
        raise AssertionError(address)


@pytest.fixture
def provider() -> Iterator[Provider]:
    made = Provider("http://localhost")
    yield made
    made.process.stop()


def test_somebody_signs_in_and_out_with_a_real_provider(
    site_of: Any, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OIDC_TEST_SECRET", "a-secret-of-this-test")
    site = site_of(provider)
    invite(site, "ann", email="ann@example.org")
    browser = Browser(site)
    back = provider.signs_in(browser.begins("/forms/leave"), "ann")
    assert back.startswith("http://localhost/login/oidc/back?code=")
    assert parse_qs(urlsplit(back).query)["iss"] == [provider.url]
    signed_in = browser.get(back.removeprefix("http://localhost"))
    assert (signed_in.status, signed_in["Location"]) == (303, "/forms/leave")
    facts = browser.get("/me", "application/json").json
    assert (facts["subject"], facts["roles"]) == ("ann", ["hr", "staff"])
    refused(Browser(site).get(back.removeprefix("http://localhost")), "begun in another browser")
    form = {"_token": hidden(browser.get("/me"), "_token")}
    out = browser.kept(site.submit("/logout", form, Cookie=browser.header))
    status, _, page = provider.ask("GET", out["Refresh"].partition("url=")[2])
    assert (status, "Do you want to sign-out" in page) == (200, True), page
    other = Provider.__new__(Provider)
    vars(other).update(vars(provider), cookies={})
    browser = Browser(site)
    back = other.signs_in(browser.begins(), "bo")
    refused(browser.get(back.removeprefix("http://localhost")), "Your mail address is not confirmed")


# ---- app.toml


@pytest.mark.parametrize(
    ("table", "fault"),
    [
        ('client_id = "x"', "oidc.issuer is missing"),
        ('issuer = "https://x.example"', "oidc.client_id is missing"),
        ('issuer = "http://login.example"\nclient_id = "x"', "oidc.issuer must begin with https://"),
        ('issuer = "login.example"\nclient_id = "x"', "oidc.issuer must be an URL"),
        ('issuer = "https://x.example#y"\nclient_id = "x"', "oidc.issuer must be an URL"),
        ('issuer = "https://x.example"\nclient_id = "x"\nadmit = "some"', 'oidc.admit must be "known" or "all"'),
        ('issuer = "https://x.example"\nclient_id = "x"\nroles = { a = "staf" }', "oidc.roles.a names role 'staf', which"),
        ('issuer = "https://x.example"\nclient_id = "x"\nclient_secret = "hunter2"', "oidc.client_secret must be"),
        ('isuer = "https://x.example"\nclient_id = "x"', "oidc.isuer"),
    ],
)
def test_a_wrong_table_stops_the_start_and_says_what_to_write(tmp_path: Path, table: str, fault: str) -> None:
    with pytest.raises(app.ConfigError) as caught:
        Site(tmp_path, edit=lambda toml: f"{toml}\n[oidc]\n{table}\n")
    assert any(f"{one.pointer} {one.detail}".startswith(fault) for one in caught.value.faults), caught.value.faults


def test_without_its_table_there_is_no_such_way(tmp_path: Path) -> None:
    site = Site(tmp_path)
    assert site.get("/login/oidc").status == 404
    assert "Sign in with <bdi>" not in site.get("/login", Accept="text/html").text
    site.close()


def test_state_nonce_and_verifier_differ_and_follow_from_the_secret_alone() -> None:
    flow, same = (plugin("oidc").Flow("s" * 43, after, at) for after, at in (("/a", 1.0), ("/b", 2.0)))
    assert len({flow.state, flow.nonce, flow.verifier, flow.challenge, flow.secret}) == 5
    assert (flow.state, flow.verifier) == (same.state, same.verifier)
    assert re.fullmatch(r"[\w-]{43}", flow.verifier)
