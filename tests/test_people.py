"""People: invitations, rights of the moment, and what nobody may do to others or to himself."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from typing import Any
from urllib.parse import urlencode

import pytest
from http_client import Reply, Site, action, hidden
from sites import Site as Bare
from sites import Time

import app
from app import Action, Caller, parse_grant, plugin

TOML = """
[providers.main]
kind = "sql"
url = "sqlite:///data/app.db"
[roles.hr]
grants = ["admin/people:*", "forms/leave:*"]
[roles.staff]
grants = ["forms/leave:create"]
[forms.leave.fields]
name = { type = "string" }
"""


def invite(site: Site, by: str, **person: Any) -> Reply:
    return site.send("/admin/people", person, by)


def signed_in(site: Site, reply: Reply) -> str:
    """The cookie of whoever takes up an invitation."""
    return site.sign_in(reply.json["link"])


@pytest.fixture
def admin(site: Site) -> str:
    return site.token("**:*", subject="root")


# ---- invited, signed in, and let go


def test_a_link_for_a_person_signs_in_as_that_person_with_the_rights_of_the_moment(site: Site, admin: str) -> None:
    invite(site, admin, subject="bo", grants=["forms/leave:create"])
    site.token("**:*", subject="bo")  # which is not what the link is for
    cookie = site.sign_in(f"http://x/login/{site.app.office.link(Caller('cli:root'), 'bo')}")
    assert [site.get(one, cookie).status for one in ("/forms/leave", "/forms/leave/records")] == [200, 403]
    site.send("/admin/people/bo", {"grants": ["forms/leave:read"]}, admin, "PATCH")
    assert site.get("/forms/leave/records", cookie).status == 200
    told = site.get("/admin/audit?action=link", admin).json["items"][0]
    assert told["after"] == {"subject": "bo"}


def test_an_invitation_is_a_link_that_is_shown_once_and_signs_in_once(site: Site, admin: str) -> None:
    reply = invite(site, admin, subject="bo", name="Bo Chen", email="Bo@Example.org", roles=["staff"])
    assert (reply.status, reply["Location"]) == (201, "/admin/people/bo")
    assert (reply.json["email"], reply.json["roles"], reply.json["grants"]) == ("bo@example.org", ["staff"], [])
    link = reply.json["link"]
    assert re.fullmatch(r"http://localhost/login/[\w-]{43}", link)  # as it was reached, whatever its bind says
    secret = link.rpartition("/")[2].encode()
    assert not any(secret in one.read_bytes() for one in site.folder.rglob("*") if one.is_file())
    cookie = site.sign_in(link)
    assert site.get("/forms/leave", cookie, Accept="text/html").status == 200
    assert site.submit("/login", {"token": link}).status == 401
    assert "link" not in site.get("/admin/people/bo", admin).json


def test_a_repeat_of_an_invitation_does_not_show_the_link_again(site: Site, admin: str) -> None:
    first, second = (site.send("/admin/people", {"subject": "bo"}, admin, Idempotency_Key="k") for _ in range(2))
    assert (first.status, second.status, second["Idempotency-Replayed"]) == (201, 201, "true")
    assert "link" in first.json
    assert first.json | second.json == first.json
    assert "link" not in second.json


def test_rights_are_those_of_the_moment(site: Site, admin: str) -> None:
    cookie = signed_in(site, invite(site, admin, subject="bo", grants=["forms/leave:create"]))
    assert site.get("/forms/leave/records", cookie).status == 403
    site.send("/admin/people/bo", {"roles": ["staff"]}, admin, "PATCH")
    assert site.get("/forms/leave/records", cookie).status == 200
    site.send("/admin/people/bo", {"grants": [], "roles": []}, admin, "PATCH")
    assert site.get("/forms/leave/records", cookie).status == 403
    assert site.get("/forms/leave", cookie).status == 403


def test_whoever_is_suspended_is_out_at_once_with_every_token_and_comes_back_by_a_new_link(site: Site, admin: str) -> None:
    cookie = signed_in(site, invite(site, admin, subject="bo", roles=["staff"]))
    token = site.token("forms/leave:read", subject="bo")
    assert site.get("/forms/leave/records", token).status == 200
    assert site.send("/admin/people/bo", {"suspended": True}, admin, "PATCH").status == 200
    assert [site.get("/forms/leave", one).status for one in (cookie, token)] == [401, 401]
    assert site.send("/admin/people/bo/link", {}, admin).status == 409
    site.send("/admin/people/bo", {"suspended": False}, admin, "PATCH")
    assert site.get("/forms/leave", cookie).status == 401
    assert site.get("/forms/leave/records", token).status == 200
    again = site.send("/admin/people/bo/link", {}, admin)
    assert (again.status, again.json["subject"]) == (201, "bo")
    assert site.get("/forms/leave", site.sign_in(again.json["link"])).status == 200


def test_whoever_is_removed_is_out_for_good_even_if_the_name_comes_back(site: Site, admin: str) -> None:
    first = invite(site, admin, subject="bo", roles=["staff"])
    link = site.send("/admin/people/bo/link", {}, admin).json["link"]
    cookie, token = signed_in(site, first), site.token("forms/leave:read", subject="bo")
    assert site.ask("DELETE", "/admin/people/bo", token=admin).status == 204
    assert invite(site, admin, subject="bo", roles=["staff"]).status == 201
    assert [site.get("/forms/leave", one).status for one in (cookie, token)] == [401, 401]
    assert site.submit("/login", {"token": link}).status == 401
    told = site.get("/admin/audit?resource=admin/people/bo&action=delete", admin).json["items"]
    assert any((one["before"] or {}).get("subject") == "bo" for one in told)


def test_signing_out_everywhere_ends_sessions_and_leaves_tokens(site: Site, admin: str) -> None:
    cookies = [signed_in(site, invite(site, admin, subject="bo", roles=["staff"]))]
    cookies.append(site.sign_in(site.send("/admin/people/bo/link", {}, admin).json["link"]))
    token = site.token("forms/leave:read", subject="bo")
    assert site.send("/admin/people/bo/sign-out", {}, admin).json == {"ended": 2}
    assert [site.get("/forms/leave", one).status for one in cookies] == [401, 401]
    assert site.get("/forms/leave/records", token).status == 200


def test_a_session_slides_and_ends_after_a_time_without_a_request(tmp_path: Any) -> None:
    clock = Time()
    site = Bare(tmp_path, TOML + '[auth]\nsession = "10d"\nsession_idle = "1d"\n', clock=clock)
    site.create("admin/people", {"subject": "bo", "roles": ["staff"]})
    begun = clock.now

    def session() -> str:
        link = site.create("admin/people/bo/link", {}).page["once"]["link"]
        return "Session " + str(site.app.office.sign_in(link.rpartition("/")[2], "r")[0])

    used, idle = session(), session()
    for _ in range(12):
        clock.now += 20 * 3600
        if clock.now < begun + 10 * 86_400:
            assert site.read("forms/leave", by=used).data
    for one in (used, idle):
        with pytest.raises(app.Unauthenticated):
            site.read("forms/leave", by=one)
    site.close()


# ---- nobody gives more than he holds


@pytest.mark.parametrize(
    ("held", "given", "fits"),
    [
        ("**:*", "forms/leave:read", True),
        ("*:*", "**:*", True),
        ("forms/*:read", "forms/leave/records:read", True),
        ("forms/leave:read", "forms/leave/records/7:read", True),
        ("forms/leave:read", "forms/*:read", False),
        ("forms/leave:read", "forms/leave:read,create", False),
        ("files/a/*:read", "files/a/*:read", True),
        ("files/a/*:read", "files/a/b:read", False),  # which is everything inside, too
        ("files/a/*:read", "files/a/**:read", False),
        ("files/a/**:read", "files/a:read", True),
        ("files/*/b:read", "files/*/b:read", True),
        ("files/x/b:read", "files/*/b:read", False),
        ("forms/leave:read", "**:read", False),
        ("forms/leave/records/*:read", "forms/leave/records:read", False),
    ],
)
def test_what_is_given_lies_within_what_is_held(held: str, given: str, fits: bool) -> None:
    caller = Caller("ann", grants=(parse_grant(held),))
    assert (plugin("people").beyond(caller, [parse_grant(given)]) == []) == fits


def test_what_is_given_lies_within_every_ceiling() -> None:
    """Such as that of a token of one's own, whose person may do less than the token says."""
    caller = Caller(
        "ann",
        grants=(parse_grant("**:*"),),
        ceilings=((parse_grant("files/a/*/*:read"), parse_grant("files/a/*:read"), parse_grant("files/b:read")),),
    )
    beyond = plugin("people").beyond
    assert beyond(caller, [parse_grant("files/b:read")]) == []
    for one in ("files/*/*:read", "files/a/b:read", "files/b:create"):
        assert beyond(caller, [parse_grant(one)]) == [parse_grant(one)], one


def test_what_is_held_is_never_less_than_what_is_allowed() -> None:
    """Whatever `beyond` lets through covers every address that the grant covers, tried on all patterns of few names."""
    names, patterns = ("a", "b"), ["**:read", "*:read"]
    for first in ("a", "*"):
        patterns += [f"{first}/{second}:read" for second in ("a", "*", "**")]
        patterns += [f"{first}/a/{third}:read" for third in ("a", "*", "**")]
    addresses = ["a", "b", *(f"{x}/{y}" for x in names for y in names)]
    addresses += [f"{x}/{y}/{z}{w}" for x in names for y in names for z in names for w in ("", "/a")]
    for held in patterns:
        caller = Caller("ann", grants=(parse_grant(held),))
        for given in patterns:
            grant = parse_grant(given)
            if not plugin("people").beyond(caller, [grant]):
                covered = [one for one in addresses if app.covers(grant.pattern, one.split("/"))]
                assert all(caller.may(Action.READ, one) for one in covered), (held, given)


def test_nobody_gives_takes_or_touches_more_than_he_holds(site: Site, admin: str) -> None:
    invite(site, admin, subject="boss", grants=["**:*"])
    invite(site, admin, subject="bo", roles=["staff"])
    helper = site.token("admin/people:*", "forms/leave:create", "apps/*:read", subject="helper")
    assert invite(site, helper, subject="cy", grants=["forms/leave:create"]).status == 201
    for refused in (
        invite(site, helper, subject="di", grants=["forms/leave:read"]),
        invite(site, helper, subject="di", grants=["**:*"]),
        site.send("/admin/people/cy", {"grants": ["forms/leave:create", "files/docs:read"]}, helper, "PATCH"),
        site.send("/admin/people/boss/link", {}, helper),
        site.send("/admin/people/boss/sign-out", {}, helper),
        site.send("/admin/people/boss", {"suspended": True}, helper, "PATCH"),
        site.send("/admin/people/boss", {"email": "me@example.org"}, helper, "PATCH"),
        site.ask("DELETE", "/admin/people/boss", token=helper),
    ):
        assert (refused.status, refused.json["code"]) == (403, "insufficient_scope"), refused.text
    assert site.get("/admin/people/di", admin).status == 404


def test_no_token_is_issued_in_the_name_of_whoever_may_do_more(site: Site, admin: str) -> None:
    invite(site, admin, subject="boss", grants=["**:*"])
    invite(site, admin, subject="bo", grants=["forms/leave:read"])
    helper = site.token("admin/tokens:*", "forms/leave:*", subject="helper")

    def issued(name: str, by: str = helper, **more: Any) -> Reply:
        return site.send("/admin/tokens", {"subject": name, "grants": ["forms/leave:read"]} | more, by)

    assert [issued(one).status for one in ("boss", "bo", "helper", "robot")] == [403, 201, 201, 201]
    assert issued("boss", admin).status == 201
    for one in ("cli:root", "service:staff"):
        refused = issued(one, admin)
        assert (refused.status, refused.json["errors"][0]["pointer"]) == (422, "/subject")
    assert issued("bo", grants=["**:read"]).status == 403
    own = site.token("admin/tokens:create", "forms/leave:read", subject="boss")
    assert issued("boss", own).status == 201, "in one's own name"
    for odd in (
        {"expires": "soon"},
        {"expires": ["1d"]},
        {"expires": None},
        {"grants": None},
        {"label": "a\nb"},
        {"subject": ""},
    ):
        assert issued("bo", **odd).status in (400, 422), odd


def test_the_last_who_administers_people_stays(site: Site, admin: str) -> None:
    invite(site, admin, subject="boss", grants=["**:*"])
    site.ask("DELETE", "/admin/people/admin", token=admin)  # of the first start, if there was one
    for one in (
        site.ask("DELETE", "/admin/people/boss", token=admin),
        site.send("/admin/people/boss", {"suspended": True}, admin, "PATCH"),
        site.send("/admin/people/boss", {"grants": ["forms/leave:*"]}, admin, "PATCH"),
    ):
        assert (one.status, one.json["code"]) == (409, "conflict"), one.text
    invite(site, admin, subject="deputy", grants=["admin/people:*"])
    assert site.send("/admin/people/boss", {"suspended": True}, admin, "PATCH").status == 200
    assert site.ask("DELETE", "/admin/people/deputy", token=admin).status == 409


@pytest.mark.parametrize(
    ("person", "pointer"),
    [
        ({}, "/subject"),
        ({"subject": ""}, "/subject"),
        ({"subject": "a\nb"}, "/subject"),
        ({"subject": "ü" * 200}, ""),
        ({"subject": "é" * 201}, "/subject"),
        ({"subject": "bo", "email": "nobody"}, "/email"),
        ({"subject": "bo", "email": "ANN@example.org"}, "/email"),
        ({"subject": "ann"}, "/subject"),
        ({"subject": "ANN"}, "/subject"),
        ({"subject": "\uff41nn"}, "/subject"),
        ({"subject": "a\u200bnn"}, "/subject"),
        ({"subject": "b\u202eo"}, "/subject"),
        ({"subject": "cli:root"}, "/subject"),
        ({"subject": "Service:staff"}, "/subject"),
        ({"subject": ".."}, "/subject"),
        ({"subject": "a:b"}, ""),
        ({"subject": "bo", "roles": ["nosuch"]}, "/roles/0"),
        ({"subject": "bo", "grants": ["nonsense"]}, "/grants/0"),
        ({"subject": "bo", "password": "x"}, "/password"),
        ({"subject": "bo", "suspended": "yes"}, "/suspended"),
    ],
)
def test_what_no_person_can_be_is_refused_by_its_place(site: Site, admin: str, person: Any, pointer: str) -> None:
    invite(site, admin, subject="ann", email="ann@example.org")
    reply = invite(site, admin, **person)
    assert reply.status == (422 if pointer else 201), reply.text
    assert not pointer or pointer in {one["pointer"] for one in reply.json["errors"]}


def test_a_mail_address_and_a_name_are_those_of_one_person(site: Site, admin: str) -> None:
    invite(site, admin, subject="ann", email="ann@example.org")
    invite(site, admin, subject="zoe\u0308", email="zoe@example.org")
    assert site.get("/admin/people/zo%C3%AB", admin).json["subject"] == "zo\xeb"
    taken = site.send("/admin/people/zo%C3%AB", {"email": "Ann@example.org"}, admin, "PATCH")
    assert (taken.status, taken.json["errors"][0]["pointer"]) == (422, "/email")
    assert site.send("/admin/people/ann", {"email": "ANN@example.org", "name": "A"}, admin, "PATCH").status == 200
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Authorization": f"Bearer {admin}"}
    twice = site.ask("POST", "/admin/people", "subject=bo&subject=cy", headers)
    assert (twice.status, twice.json["errors"][0]["pointer"]) == (422, "/subject")


@pytest.mark.parametrize(
    "stored", ['{"subject"', "[1]", '{"subject": "boss", "grants": ["junk"]}', '{"subject": "boss", "grants": 5}']
)
def test_a_damaged_person_is_touched_by_whoever_may_everything_alone(site: Site, admin: str, stored: str) -> None:
    cookie = signed_in(site, invite(site, admin, subject="boss", grants=["**:*"]))
    invite(site, admin, subject="bo", grants=["forms/leave:read"])
    helper = site.token("admin/people:*", "forms/leave:read", subject="helper")
    [path] = site.folder.rglob("app.db")
    with closing(sqlite3.connect(path)) as database:
        database.execute("update _people set data = ? where key = 'boss'", (stored,))
        database.execute("update _tokens set data = json_remove(data, '$.revoked_at', '$.label') where data like '%helper%'")
        database.commit()
    assert site.get("/forms/leave", cookie).status == 401
    whole: Any = {"subject": "boss", "grants": ["forms/leave:read"]}
    for refused in (
        site.send("/admin/people/boss/link", {}, helper),
        site.send("/admin/people/boss", whole, helper, "PUT"),
        site.ask("DELETE", "/admin/people/boss", token=helper),
    ):
        assert refused.status in (401, 403), refused.text
    assert site.send("/admin/people/boss/link", {}, admin).status == 409
    assert site.get("/admin/people", admin).status == 200
    assert site.send("/admin/people/bo", {"suspended": True}, admin, "PATCH").status == 200
    mended = site.send("/admin/people/boss", whole, admin, "PUT")
    assert (mended.status, mended.json["grants"]) == (200, ["forms/leave:read"])


def test_a_revocation_while_somebody_is_suspended_is_not_taken_back(tmp_path: Any) -> None:
    site = Bare(tmp_path, TOML)
    site.create("admin/people", {"subject": "bo", "roles": ["staff"]})
    token = site.app.office.issue(Caller("root"), "bo", ["forms/leave:read"], [], 3600)
    changes = list(plugin("people").ended_tokens(site.app.state, "bo", site.app.clock(), {"suspended": True}))
    site.app.office.revoke(Caller("root"), [token])
    with pytest.raises(app.Conflict):
        site.app.state.commit([one.write for one in changes])
    assert site.app.state.get("_tokens", token.jti).value["revoked_at"]
    site.close()


def test_the_name_of_a_person_does_not_change(site: Site, admin: str) -> None:
    invite(site, admin, subject="bo")
    assert site.send("/admin/people/bo", {"subject": "cy"}, admin, "PATCH").status == 422
    assert site.get("/admin/people/bo", admin).json["subject"] == "bo"


def test_a_stale_change_and_odd_names_are_as_for_any_record(site: Site, admin: str) -> None:
    invite(site, admin, subject="a/b é", roles=["staff"])
    address = "/admin/people/a%2Fb%20%C3%A9"
    etag = site.get(address, admin)["ETag"]
    assert site.send(address, {"name": "A"}, admin, "PATCH", If_Match=etag).status == 200
    assert site.send(address, {"name": "B"}, admin, "PATCH", If_Match=etag).status == 412
    assert site.send(address + "/link", {}, admin).status == 201
    assert site.ask("OPTIONS", address, token=admin)["Allow"] == "GET, HEAD, PUT, PATCH, DELETE, OPTIONS"
    assert site.ask("OPTIONS", address + "/link", token=admin)["Allow"] == "POST, OPTIONS"
    assert site.ask("OPTIONS", "/admin/audit", token=admin)["Allow"] == "GET, HEAD, OPTIONS"


# ---- in the page


def browse(site: Site, target: str, cookie: str) -> Reply:
    return site.get(target, cookie, Accept="text/html")


def test_a_person_is_invited_changed_and_removed_in_the_page(site: Site, admin: str) -> None:
    cookie = site.sign_in(admin)
    page = browse(site, "/admin/people?_new=1", cookie)
    row = page.text.partition('aria-label="Leave"')[2].partition("</li>")[0]  # what can be done there, in words
    assert [words in row for words in ("fill in", "look up", "change and delete")] == [True, True, True]
    own = row.partition('value="forms/leave/mine:update,delete"')[2].partition("</label>")[0]
    assert "change and delete what is one&#039;s own" in own or "change and delete what is one's own" in own
    assert "staff: do everything with all forms" in page.text
    fields = {"_token": hidden(page, "_token"), "subject": "bo", "name": "Bo Chen", "grants": "forms/leave:create"}
    shown = site.submit(action(page), fields, cookie)
    assert shown.status == 201
    link = re.search(r"https?://[^<]+/login/[\w-]{43}", shown.text)
    assert link
    assert (
        "Bo Chen (bo)" in browse(site, "/admin/people", cookie).text or ">bo<" in browse(site, "/admin/people", cookie).text
    )
    member = site.sign_in(link[0])
    assert browse(site, "/admin/people", member).status == 403
    page = browse(site, "/admin/people/bo?_edit=1", cookie)
    fields = {
        "_token": hidden(page, "_token"),
        "_shown": hidden(page, "_shown"),
        "subject": "bo",
        "name": "Bo C.",
        "roles": "staff",
    }
    assert site.submit(action(page), fields, cookie).status == 303
    person = browse(site, "/admin/people/bo", cookie)
    assert "Bo C. (bo)" in person.text
    assert "Sign out everywhere" in person.text
    out = re.search(r'action="(/admin/people/bo/sign-out[^"]*)"', person.text)
    assert out
    assert site.submit(out[1], {"_token": hidden(person, "_token")}, cookie).status == 303
    assert site.get("/forms/leave", member).status == 401
    person = browse(site, "/admin/people/bo", cookie)
    delete = re.search(r'action="(/admin/people/bo\?_method=DELETE[^"]*)"', person.text)
    assert delete
    assert site.submit(delete[1].replace("&amp;", "&"), {"_token": hidden(person, "_token")}, cookie).status == 303
    assert browse(site, "/admin/people/bo", cookie).status == 404


def test_what_was_typed_about_a_person_stays_when_it_is_refused(site: Site, admin: str) -> None:
    cookie = site.sign_in(admin)
    page = browse(site, "/admin/people?_new=1", cookie)
    fields = {"_token": hidden(page, "_token"), "subject": "bo", "name": "Bo Chen", "email": "nobody"}
    again = site.submit(action(page), fields, cookie)
    assert again.status == 422
    assert 'value="Bo Chen"' in again.text
    assert 'href="#f-email"' in again.text
    cookie_gone = site.ask("POST", action(page), urlencode(fields), {
        "Content-Type": "application/x-www-form-urlencoded", "Accept": "text/html", "Origin": "http://localhost",
    })  # fmt: skip
    assert (cookie_gone.status, "Bo Chen" in cookie_gone.text) == (401, True)


def test_what_a_grant_allows_is_said_in_words() -> None:
    words, titles = plugin("people").in_words, {"forms/leave": "Leave", "files/docs": "Handbook"}
    said = {
        "**:*": "do everything", "**:read": "see everything", "forms/leave:create": "fill in Leave",
        "files/docs/a%20b:read": "see Handbook (a b)", "views/*:*": "see all views", "apps/*:read": "see all apps",
        "forms/*:*": "do everything with all forms",
    }  # fmt: skip
    assert {text: words([parse_grant(text)], titles) for text in said} == said
    assert words([], titles) == "nothing yet"


# ---- tokens and sessions, by JSON


def test_a_token_is_issued_once_used_and_revoked_by_json(site: Site, admin: str) -> None:
    sent = {"subject": "robot", "grants": ["forms/leave:create"], "expires": "90d", "label": "intake"}
    made = site.send("/admin/tokens", sent, admin, Idempotency_Key="k")
    assert made.status == 201, made.text
    jti, token = made.json["jti"], made.json["token"]
    assert made["Location"] == f"/admin/tokens/{jti}"
    assert "token" not in site.send("/admin/tokens", sent, admin, Idempotency_Key="k").json
    assert site.get("/forms/leave", token).status == 200
    assert site.get(f"/admin/tokens/{jti}", admin).json["label"] == "intake"
    assert [site.ask("DELETE", f"/admin/tokens/{jti}", token=admin).status for _ in range(2)] == [204, 204]
    assert site.get("/forms/leave", token).status == 401
    assert site.ask("DELETE", "/admin/tokens/nosuch", token=admin).status == 404
    short = site.send("/admin/tokens", sent | {"format": "short"}, admin).json["token"]
    assert short.startswith("stl_")


@pytest.mark.parametrize(
    ("sent", "pointer"),
    [
        ({}, "/subject"),
        ({"subject": "a"}, ""),
        ({"subject": "a", "grants": "x"}, "/grants"),
        ({"subject": "a", "roles": ["nosuch"]}, "/roles/0"),
        ({"subject": "a", "grants": ["**:read"], "expires": "1month"}, "/expires"),
        ({"subject": "a", "grants": ["**:read"], "expires": 5.5}, "/expires"),
        ({"subject": "a", "grants": ["**:read"], "format": "xml"}, "/format"),
        ({"subject": 5, "grants": ["**:read"]}, "/subject"),
        ({"subject": "a", "grants": ["**:read"], "own": True}, "/own"),
    ],
)
def test_a_token_that_cannot_be_is_refused_by_its_place(site: Site, admin: str, sent: Any, pointer: str) -> None:
    reply = site.send("/admin/tokens", sent, admin)
    assert reply.status == 422, reply.text
    assert pointer in {one["pointer"] for one in reply.json["errors"]}


def test_nobody_issues_a_token_for_more_than_he_holds_or_for_whoever_is_suspended(site: Site, admin: str) -> None:
    helper = site.token("admin/tokens:*", "forms/leave:create", subject="helper")
    fits = site.send("/admin/tokens", {"subject": "robot", "grants": ["forms/leave:create"]}, helper)
    assert fits.status == 201
    for sent in ({"grants": ["**:*"]}, {"grants": ["forms/leave:read"]}, {"roles": ["staff"]}):
        assert site.send("/admin/tokens", {"subject": "robot"} | sent, helper).status == 403
    assert site.send("/admin/tokens", {"subject": "robot", "grants": ["nonsense"]}, helper).status == 400
    invite(site, admin, subject="bo", suspended=True)
    assert site.send("/admin/tokens", {"subject": "bo", "grants": ["forms/leave:create"]}, admin).status == 422


def test_a_session_is_seen_and_ended_by_json(site: Site, admin: str) -> None:
    cookie = signed_in(site, invite(site, admin, subject="bo", roles=["staff"]))
    [row] = [one for one in site.get("/admin/sessions", admin).json["items"] if one["subject"] == "bo"]
    assert site.ask("DELETE", f"/admin/sessions/{row['id']}", token=cookie).status == 403
    assert site.ask("DELETE", f"/admin/sessions/{row['id'][:3]}", token=admin).status == 404
    assert site.ask("DELETE", f"/admin/sessions/{row['id']}", token=admin).status == 204
    assert site.get("/forms/leave", cookie).status == 401


def test_many_sessions_keep_nobody_in_where_a_commit_is_short(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as on DynamoDB, where one has at most 100 writes; here 21."""
    site = Bare(tmp_path, TOML)
    site.create("admin/people", {"subject": "bo", "roles": ["staff"]})

    def session() -> str:
        link = site.create("admin/people/bo/link", {}).page["once"]["link"]
        return "Session " + str(site.app.office.sign_in(link.rpartition("/")[2], "r")[0])

    sessions, token = [session() for _ in range(14)], site.token("bo", "forms/leave:read")
    state: Any = site.app.state
    commit = state.commit

    def short(writes: Any) -> Any:
        assert len(writes) <= 21
        return commit(writes)

    monkeypatch.setattr(state, "most_writes", 21)
    monkeypatch.setattr(state, "commit", short)
    assert site.patch("admin/people/bo", {"suspended": True}).data["suspended"]
    for one in (*sessions, token):
        with pytest.raises(app.Unauthenticated):
            site.read("forms/leave", by=one)
    assert 0 < len(list(plugin("people").ended_sessions(state, "bo", site.app.clock()))) < 14
    site.patch("admin/people/bo", {"suspended": False})
    assert_dead(site, sessions)
    sessions = [session() for _ in range(14)]
    site.read("forms/leave", by=sessions[0])
    site.create("admin/people/bo/sign-out", {})
    assert_dead(site, sessions)
    sessions = [session() for _ in range(14)]
    site.delete("admin/people/bo")
    assert_dead(site, sessions)
    site.create("admin/people", {"subject": "bo", "roles": ["staff"]})
    assert_dead(site, [*sessions, token])
    site.read("forms/leave", by=session())
    for _ in range(12):
        site.token("bo", "forms/leave:read")
    with pytest.raises(app.Conflict, match="too many tokens"):
        site.delete("admin/people/bo")
    site.close()


def assert_dead(site: Bare, credentials: Sequence[str]) -> None:
    for one in credentials:
        with pytest.raises(app.Unauthenticated):
            site.read("forms/leave", by=one)


def test_a_session_that_is_opened_in_the_moment_of_a_removal_never_lives(tmp_path: Any) -> None:
    site = Bare(tmp_path, TOML)
    for end in (lambda: site.delete("admin/people/bo"), lambda: site.create("admin/people/bo/sign-out", {})):
        link = site.create("admin/people", {"subject": "bo", "roles": ["staff"]}).page["once"]["link"]
        session, _, _, writes = site.app.authority.open_session(link.rpartition("/")[2])
        end()
        site.app.state.commit([one for one in writes if isinstance(one, app.Insert)])  # of a process that looked before
        assert_dead(site, [f"Session {session}"])
        with suppress(app.NotFound):
            site.delete("admin/people/bo")
        site.create("admin/people", {"subject": "bo", "roles": ["staff"]})
        assert_dead(site, [f"Session {session}"])
        site.delete("admin/people/bo")
    site.close()


def meanwhile(monkeypatch: pytest.MonkeyPatch, state: Any, work: Callable[[], Any]) -> None:
    """Have something done by another process after the next commit has looked at everything, and before it is made."""
    commit, left = state.commit, [work]

    def late(writes: Any) -> Any:
        if left:
            left.pop()()
        return commit(writes)

    monkeypatch.setattr(state, "commit", late)


def test_of_two_who_get_one_mail_address_at_once_one_is_refused(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    site = Bare(tmp_path, TOML)
    site.create("admin/people", {"subject": "ann"})

    def take(name: str, email: str) -> Callable[[], Any]:
        return lambda: site.create("admin/people", {"subject": name} | ({"email": email} if email else {}))

    meanwhile(monkeypatch, site.app.state, take("bo", "one@example.org"))
    with pytest.raises(app.Invalid, match="cannot be invited") as refused:
        take("cy", "one@example.org")()
    assert [fault.pointer for fault in refused.value.faults] == ["/email"]
    meanwhile(monkeypatch, site.app.state, take("dee", "two@example.org"))
    with pytest.raises(app.Invalid, match="cannot be changed"):
        site.patch("admin/people/ann", {"email": "two@example.org"})
    meanwhile(monkeypatch, site.app.state, take("Eve", ""))
    with pytest.raises(app.Invalid, match="cannot be invited"):
        take("eve", "")()
    site.close()


def test_nobody_makes_a_token_of_his_own_in_the_moment_of_his_removal(
    site: Site, admin: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cookie = signed_in(site, invite(site, admin, subject="bo", grants=["forms/leave:create"]))
    ask = {"do": "make_token", "label": "x", "expires": "30d"}
    meanwhile(monkeypatch, site.app.state, lambda: site.ask("DELETE", "/admin/people/bo", token=admin))
    refused = site.send("/me", ask, cookie, Sec_Fetch_Site="same-origin")
    assert refused.status in (401, 409), refused.text
    assert [one for one in site.app.authority.tokens() if one.own] == []


def test_a_person_has_so_many_tokens_of_his_own_and_no_more(site: Site, admin: str, monkeypatch: pytest.MonkeyPatch) -> None:
    cookie = signed_in(site, invite(site, admin, subject="bo", grants=["forms/leave:create"]))
    ask = {"do": "make_token", "label": "x", "expires": "30d"}
    monkeypatch.setattr(plugin("me"), "_MOST_TOKENS", 3)
    made = [site.send("/me", ask, cookie, Sec_Fetch_Site="same-origin") for _ in range(4)]
    assert [one.status for one in made] == [200, 200, 200, 422]
    assert made[3].json["errors"][0]["code"] == "too_many"
    site.send("/me", {"do": "revoke", "jti": made[0].json["jti"]}, cookie, Sec_Fetch_Site="same-origin")
    assert site.send("/me", ask, cookie, Sec_Fetch_Site="same-origin").status == 200


def test_a_token_of_ones_own_shows_what_it_allows_and_not_what_it_was_made_of(site: Site, admin: str) -> None:
    rights = ["forms/leave:create,read", "views/*:read", "files/docs:create"]
    cookie = signed_in(site, invite(site, admin, subject="bo", grants=rights))
    for read_only, allowed in ((False, rights), (True, ["forms/leave:read", "views/*:read"])):
        ask = {"do": "make_token", "label": "x", "expires": "30d", "read_only": read_only}
        token = site.send("/me", ask, cookie, Sec_Fetch_Site="same-origin").json["token"]
        shown = site.get("/me", token).json["grants"]
        public = [str(one) for one in site.app.config.public.grants]
        assert sorted(set(shown) - set(public)) == sorted(map(str, map(parse_grant, allowed)))
    assert sorted(set(site.get("/me", cookie).json["grants"]) - set(public)) == sorted(map(str, map(parse_grant, rights)))


def test_what_a_person_typed_is_kept_when_the_session_has_ended_meanwhile(site: Site, admin: str) -> None:
    cookie = signed_in(site, invite(site, admin, subject="bo", grants=["forms/leave:create", "files/docs:create"]))
    page = browse(site, "/forms/leave", cookie)
    token = ("_token", None, hidden(page, "_token"))
    uploaded = site.upload("/files/docs/", token, ("file", "y", b"y"), token=cookie, Accept="text/html")
    assert uploaded.status == 303, uploaded.text
    site.send("/admin/people/bo/sign-out", {}, admin)
    kept = site.submit(action(page), {"_token": hidden(page, "_token"), "day": "2026-07-01"}, cookie)
    assert (kept.status, "Nothing you typed is lost" in kept.text) == (401, True)
