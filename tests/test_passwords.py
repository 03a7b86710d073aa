"""Passwords, what slows guessing down, and /me: what is one's own to change."""

from __future__ import annotations

import itertools
import multiprocessing
import re
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from types import SimpleNamespace
from typing import Any

import pytest
from http_client import Reply, Site, hidden
from sites import Time

import app
from app import Caller, plugin

GOOD = "green horse likes tea"


@pytest.fixture
def admin(site: Site) -> str:
    return site.token("**:*", subject="root")


def person(site: Site, admin: str, subject: str = "bo", **facts: Any) -> str:
    """The cookie of somebody who was invited just now."""
    invited = site.send("/admin/people", {"subject": subject, "grants": ["forms/leave:create"]} | facts, admin)
    assert invited.status == 201, invited.text
    return site.sign_in(invited.json["link"])


def me(site: Site, cookie: str, **sent: str) -> Reply:
    page = site.get("/me", cookie, Accept="text/html")
    return site.submit("/me", {"_token": hidden(page, "_token"), **sent}, cookie)


def signs_in(site: Site, subject: str, password: str, **headers: str) -> Reply:
    return site.submit("/login", {"subject": subject, "password": password}, **headers)


# ---- which are good, and how they are kept


@pytest.mark.parametrize(
    ("password", "code"),
    [
        ("short", "minLength"),
        ("x" * 1001, "maxLength"),
        ("password123", "common"),
        ("Qwertyuiop", "common"),
        ("1234567890", "common"),
        ("aaaaaaaaaaaa", "common"),
        ("dragon2026!", "common"),
        ("Bo.Chen@example.org", "personal"),
        ("bo.chen-2026", "personal"),
        (GOOD, ""),
        ("ünïcödé päss", ""),
    ],
)
def test_a_password_is_long_and_none_of_those_that_are_tried_first(password: str, code: str) -> None:
    about = ["bo", "Bo Chen", "bo.chen@example.org", "bo.chen"]
    assert [fault.code for fault in plugin("passwords").faults(password, about)] == ([code] if code else [])


def test_the_name_of_the_site_is_no_password_and_one_of_any_letters_and_great_length_is(site: Site, admin: str) -> None:
    site.app.title = "Harbour Office"
    cookie = person(site, admin)
    refused = me(site, cookie, do="password", new="harbour office 12", again="harbour office 12")
    assert refused.status == 422
    old = {}
    for good in ("x" * 4 + " ß\U0001f5c2 ünïcödé " * 30, "only small letters", "1234 5678 90 12 77"):
        assert me(site, cookie, do="password", new=good, again=good, **old).status == 303
        old = {"old": good}
        assert signs_in(site, "bo", good).status == 303
        assert signs_in(site, "bo", good[:-1]).status == 401, "no part of it is left out"
    assert signs_in(site, "bo", "ONLY SMALL LETTERS").status == 401


def test_what_is_kept_fits_its_password_alone_and_is_new_each_time() -> None:
    passwords = plugin("passwords")
    first, second = passwords.hashed(GOOD), passwords.hashed(GOOD)
    assert first != second
    assert first.startswith("scrypt$16384$8$5$")
    assert [passwords.fits(one, first) for one in (GOOD, GOOD + " ", "")] == [True, False, False]


# ---- signing in


def test_a_person_sets_a_password_and_signs_in_with_it(site: Site, admin: str) -> None:
    cookie = person(site, admin)
    assert signs_in(site, "bo", GOOD).status == 401
    done = me(site, cookie, do="password", new=GOOD, again=GOOD)
    assert (done.status, done["Location"]) == (303, "/me")
    reply = signs_in(site, "bo", GOOD)
    assert reply.status == 303
    assert site.get("/forms/leave", reply.cookie).status == 200
    stored = b"".join(one.read_bytes() for one in site.folder.rglob("*") if one.is_file())
    assert GOOD.encode() not in stored
    told = site.get("/admin/audit?action=password", admin).json["items"]
    assert [(one["subject"], one["resource"]) for one in told] == [("bo", "admin/people/bo")]
    assert "scrypt" not in site.get("/admin/audit", admin).text


def test_a_changed_password_asks_for_the_old_one_and_ends_other_sessions(site: Site, admin: str) -> None:
    cookie = person(site, admin)
    me(site, cookie, do="password", new=GOOD, again=GOOD)
    other = signs_in(site, "bo", GOOD).cookie
    new = "red mice drink milk"
    for old in ("", "wrong", new):
        refused = me(site, cookie, do="password", old=old, new=new, again=new)
        assert (refused.status, "is wrong" in refused.text) == (422, True)
    assert me(site, cookie, do="password", old=GOOD, new=new, again=GOOD).status == 422
    assert me(site, cookie, do="password", old=GOOD, new=new, again=new).status == 303
    assert [site.get("/forms/leave", one).status for one in (cookie, other)] == [200, 401]
    assert [signs_in(site, "bo", one).status for one in (GOOD, new)] == [401, 303]


def test_a_token_sets_no_password_and_makes_no_token(site: Site, admin: str) -> None:
    person(site, admin)
    token = site.token("**:*", subject="bo")
    for sent in ({"do": "password", "new": GOOD}, {"do": "make_token", "label": "x"}):
        assert site.send("/me", sent, token).status == 403
    assert site.send("/me", {"do": "password", "new": GOOD}, admin).status == 403  # no person
    assert site.get("/me").status == 401


def test_a_session_that_was_opened_with_a_token_does_no_more_than_the_token(site: Site, admin: str) -> None:
    cookie = person(site, admin, grants=["forms/leave:*"])
    made = site.send("/me", {"do": "make_token", "read_only": True}, cookie, Origin="http://localhost").json
    for token in (made["token"], site.token("forms/leave:create", subject="bo")):
        session = site.sign_in(token)
        for sent in (
            {"do": "password", "new": GOOD},
            {"do": "make_token", "label": "x"},
            {"do": "sign_out_others"},
            {"do": "revoke", "jti": made["jti"]},
        ):
            for credential, headers in ((token, {}), (session, {"Origin": "http://localhost"})):
                reply = site.send("/me", sent, credential, **headers)
                assert (reply.status, "not with a token" in reply.text) == (403, True), (sent, reply.text)
        page = site.get("/me", session, Accept="text/html").text
        assert 'name="do"' not in page
    assert signs_in(site, "bo", GOOD).status == 401
    assert site.get("/forms/leave", cookie).status == 200


def test_many_sessions_end_where_a_commit_is_short() -> None:
    commits: list[int] = []

    def commit(writes: list[Any]) -> None:
        assert len(writes) <= 5
        commits.append(len(writes))

    audit = SimpleNamespace(entry=lambda *facts: {}, insert=lambda entry: entry)
    bare = SimpleNamespace(state=SimpleNamespace(most_writes=5, commit=commit), audit=audit)
    page = plugin("me").Me.__new__(plugin("me").Me)
    page._commit(bare, SimpleNamespace(id="r"), Caller("bo"), "sign_out", list(range(10)))
    page._commit(bare, SimpleNamespace(id="r"), Caller("bo"), "sign_out", [])
    assert commits == [5, 5, 3, 1]


def test_whoever_forgot_the_password_sets_another_one_after_a_new_link(site: Site, admin: str) -> None:
    cookie, new = person(site, admin), "red mice drink milk"
    me(site, cookie, do="password", new=GOOD, again=GOOD)
    [path] = site.folder.rglob("app.db")
    with closing(sqlite3.connect(path)) as database:  # as if it had been set some time ago
        database.execute("update _passwords set data = json_set(data, '$.changed_at', 1)")
        database.commit()
    by_password = signs_in(site, "bo", GOOD).cookie
    assert me(site, by_password, do="password", new=new, again=new).status == 422
    by_link = site.sign_in(site.send("/admin/people/bo/link", {}, admin).json["link"])
    assert "Password until now" not in site.get("/me", by_link, Accept="text/html").text
    assert me(site, by_link, do="password", new=new, again=new).status == 303
    assert "Password until now" in site.get("/me", by_link, Accept="text/html").text
    assert me(site, by_link, do="password", new=GOOD, again=GOOD).status == 422
    assert [signs_in(site, "bo", one).status for one in (GOOD, new)] == [401, 303]


def test_a_password_in_another_unicode_form_fits_and_half_a_letter_is_a_fault(site: Site, admin: str) -> None:
    passwords = plugin("passwords")
    assert passwords.fits("gru\u0308ne Pferde", passwords.hashed("gr\xfcne Pferde"))
    cookie, headers = person(site, admin), {"Content-Type": "application/json", "Origin": "http://localhost"}
    sent = '{"do": "password", "old": "\\ud800", "new": "\\ud800 horses like tea"}'
    assert site.ask("POST", "/me", sent, headers | {"Cookie": cookie}).status == 422
    me(site, cookie, do="password", new=GOOD, again=GOOD)
    assert site.ask("POST", "/me", sent, headers | {"Cookie": cookie}).status == 422


def test_nobody_learns_whether_a_person_exists(site: Site, admin: str) -> None:
    cookie = person(site, admin)
    me(site, cookie, do="password", new=GOOD, again=GOOD)
    person(site, admin, "without")
    answers, took = {}, {}
    for name in ("bo", "without", "nobody", "x" * 600):
        began = time.perf_counter()
        reply = signs_in(site, name, "wrong password", Accept="application/json")
        took[name] = time.perf_counter() - began
        answers[name] = reply.status, reply.json["detail"]
    assert set(answers.values()) == {(401, "the name or the password is wrong")}
    assert min(took.values()) > max(took.values()) / 5


def test_a_suspended_person_and_one_who_was_removed_cannot_sign_in_by_a_password(site: Site, admin: str) -> None:
    cookie = person(site, admin)
    me(site, cookie, do="password", new=GOOD, again=GOOD)
    site.send("/admin/people/bo", {"suspended": True}, admin, "PATCH")
    assert signs_in(site, "bo", GOOD).status == 401
    site.send("/admin/people/bo", {"suspended": False}, admin, "PATCH")
    assert signs_in(site, "bo", GOOD).status == 303
    site.ask("DELETE", "/admin/people/bo", token=admin)
    person(site, admin)
    assert signs_in(site, "bo", GOOD).status == 401


# ---- slowed down


def test_the_sixth_failure_in_a_minute_waits_and_what_is_good_never_does(site: Site, admin: str) -> None:
    cookie = person(site, admin)
    me(site, cookie, do="password", new=GOOD, again=GOOD)
    link = site.send("/admin/people/bo/link", {}, admin).json["link"]
    known = signs_in(site, "bo", GOOD)
    browser = "; ".join(value.partition(";")[0] for name, value in known.headers if name == "Set-Cookie")
    statuses = [signs_in(site, "bo", "wrong password").status for _ in range(6)]
    assert statuses == [401] * 5 + [429]
    slowed = signs_in(site, "bo", GOOD)
    assert (slowed.status, 0 < int(slowed["Retry-After"]) <= 60) == (429, True)
    assert site.submit("/login", {"token": "nonsense"}).status == 429
    assert site.submit("/login", {"token": admin}).status == 303
    assert site.submit("/login", {"token": link}).status == 303
    assert site.get("/admin/people", admin).status == 200
    own = site.ask("POST", "/login", f"subject=bo&password={GOOD.replace(' ', '+')}", {
        "Content-Type": "application/x-www-form-urlencoded", "Accept": "text/html", "Origin": "http://localhost",
        "Cookie": browser,
    })  # fmt: skip
    assert own.status == 303, "nobody else locks a browser out in which the password was right once"


def fails(throttle: Any, *keys: str) -> None:
    """One try that fails."""
    with suppress(app.Unauthenticated), throttle.reserved(*keys):
        raise app.Unauthenticated("wrong")


def test_a_throttle_forgets_after_a_minute_and_keeps_keys_apart() -> None:
    clock = Time()
    throttle = plugin("throttle").Throttle(clock)
    for _ in range(5):
        fails(throttle, "a")
        clock.now += 10
    with pytest.raises(plugin("throttle").TooManyTries) as caught, throttle.reserved("b", "a"):
        pytest.fail("it was let in")
    assert (caught.value.status, caught.value.retry_after_s) == (429, 10)
    for _ in range(4):
        fails(throttle, "b")
    with throttle.reserved("b"):
        pass  # what was refused because of another key has not counted
    clock.now += 10
    fails(throttle, "a")
    with pytest.raises(plugin("throttle").TooManyTries):
        throttle.failed("a")


def test_what_is_right_is_given_back_and_so_is_what_failed_for_another_reason() -> None:
    throttle = plugin("throttle").Throttle(Time())
    for _ in range(4):
        fails(throttle, "a")
    for _ in range(20):
        with throttle.reserved("a"):
            pass
        with suppress(app.Unavailable), throttle.reserved("a"):
            raise app.Unavailable("the database is away")
    fails(throttle, "a")
    with pytest.raises(plugin("throttle").TooManyTries), throttle.reserved("a"):
        pytest.fail("it was let in")


def test_of_a_burst_no_more_are_looked_at_than_one_after_the_other() -> None:
    throttle, looked_at, go = plugin("throttle").Throttle(time.time), itertools.count(), threading.Barrier(40)

    def guess(_: int) -> str:
        go.wait()
        try:
            with throttle.reserved("address", "subject"):
                next(looked_at)
                raise app.Unauthenticated("wrong")
        except app.AppError as error:
            return error.code

    with ThreadPoolExecutor(40) as pool:
        codes = list(pool.map(guess, range(40)))
    assert next(looked_at) == 5
    assert codes.count("too_many_tries") == 35


def test_many_who_sign_in_rightly_at_once_from_one_address_are_all_let_in() -> None:
    throttle, go = plugin("throttle").Throttle(time.time), threading.Barrier(12)

    def sign_in(_: int) -> bool:
        go.wait()
        with throttle.reserved("address"):
            return True

    with ThreadPoolExecutor(12) as pool:
        assert all(pool.map(sign_in, range(12)))


def test_a_try_whose_process_died_counts_as_failed_and_blocks_for_no_longer() -> None:
    clock = Time()
    throttle = plugin("throttle").Throttle(clock)
    for _ in range(5):
        throttle._reserve(["a"], False)  # and nobody says what came of it
    clock.now += 20
    with pytest.raises(plugin("throttle").TooManyTries) as caught, throttle.reserved("a"):
        pytest.fail("it was let in")
    assert caught.value.retry_after_s == 40
    clock.now += 41
    with throttle.reserved("a"):
        pass


def test_a_throttle_is_one_for_all_processes() -> None:
    throttle = plugin("throttle").Throttle(time.time)
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=fails, args=(throttle, "a")) for _ in range(5)]
    for one in workers:
        one.start()
    for one in workers:
        one.join(30)
    with pytest.raises(plugin("throttle").TooManyTries), throttle.reserved("a"):
        pytest.fail("it was let in")


def test_a_hundred_thousand_failed_sign_ins_take_no_more_room_and_still_slow_down(site: Site) -> None:
    clock = Time()
    throttle, refusals = plugin("throttle").Throttle(clock), site.app.office.refusals
    began, size = time.perf_counter(), len(throttle._table)
    for number in range(100_000):
        clock.now += 0.001
        throttle.failed(f"address 10.{number >> 16}.{number >> 8 & 255}.{number & 255}", f"subject {number}")
        if number % 10 == 0:  # each of which would be audited
            refusals.note("sign_in", f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", "invalid_token", "r")
    assert time.perf_counter() - began < 60
    assert len(throttle._table) == size < 500_000
    for _ in range(5):
        fails(throttle, "subject ann")
    with pytest.raises(plugin("throttle").TooManyTries), throttle.reserved("subject ann"):
        pytest.fail("it was let in")
    refusals.flush()
    entries = list(site.app.state.walk(app.Query("_audit")))
    assert len(entries) < 1000
    assert sum(one.value["count"] for one in entries if one.value.get("action") == "sign_in") == 10_000, "and none is lost"


def test_a_burst_of_passwords_is_looked_at_no_more_often_than_one_by_one(site: Site, admin: str) -> None:
    cookie = person(site, admin)
    me(site, cookie, do="password", new=GOOD, again=GOOD)
    with ThreadPoolExecutor(16) as pool:
        statuses = list(pool.map(lambda number: signs_in(site, "bo", f"wrong password {number}").status, range(32)))
    assert sorted(set(statuses)) == [401, 429]
    assert statuses.count(401) == 5


# ---- tokens of one's own


def test_a_token_of_ones_own_never_does_more_than_its_person_may(site: Site, admin: str) -> None:
    cookie = person(site, admin)
    shown = me(site, cookie, do="make_token", label="curl", expires="30d")
    found = re.search(r"stl_[\w-]+", shown.text)
    assert found
    token = found[0]
    assert [site.get(one, token).status for one in ("/forms/leave", "/forms/leave/records")] == [200, 403]
    site.send("/admin/people/bo", {"grants": ["forms/leave:read"]}, admin, "PATCH")
    assert site.get("/forms/leave/records", token).status == 200
    assert site.send("/forms/leave", {}, token).status == 403
    site.send("/admin/people/bo", {"suspended": True}, admin, "PATCH")
    assert site.get("/forms/leave/records", token).status == 401


def test_a_token_of_ones_own_is_seen_read_only_if_asked_for_and_revoked_by_oneself_alone(site: Site, admin: str) -> None:
    cookie, other = person(site, admin, grants=["**:*"]), person(site, admin, "cy")
    made = site.send("/me", {"do": "make_token", "label": "reads", "read_only": True}, cookie, Origin="http://localhost")
    assert made.status == 200, made.text
    token, jti = made.json["token"], made.json["jti"]
    assert site.get("/forms/leave/records", token).status == 200
    assert site.send("/forms/leave", {}, token).status == 403
    facts = site.get("/me", cookie).json
    assert [(one["jti"], one["label"]) for one in facts["tokens"]] == [(jti, "reads")]
    assert [one["current"] for one in facts["sessions"]] == [True]
    assert me(site, other, do="revoke", jti=jti).status == 404
    assert me(site, cookie, do="revoke", jti=jti).status == 303
    assert site.get("/forms/leave/records", token).status == 401


def test_one_session_elsewhere_is_ended_where_its_address_and_times_are_seen(site: Site, admin: str) -> None:
    cookie = person(site, admin)
    others = [site.sign_in(site.send("/admin/people/bo/link", {}, admin).json["link"]) for _ in range(2)]
    told = {one["id"]: one for one in site.get("/me", cookie).json["sessions"]}
    assert {(one["client"], "expires_at" in one) for one in told.values()} == {("127.0.0.1", True)}
    page = site.get("/me", cookie, Accept="text/html").text
    elsewhere = [one["id"] for one in told.values() if not one["current"]]
    assert sorted(re.findall(r'name="id" value="([^"]+)"', page)) == sorted(elsewhere)
    own = next(one["id"] for one in told.values() if one["current"])
    assert [me(site, cookie, do="sign_out", id=one).status for one in (own, "x")] == [404, 404]
    assert me(site, cookie, do="sign_out", id=elsewhere[0]).status == 303
    assert sorted(site.get("/forms/leave", one).status for one in (cookie, *others)) == [200, 200, 401]


def test_signing_out_everywhere_else_leaves_this_session(site: Site, admin: str) -> None:
    cookie = person(site, admin)
    other = site.sign_in(site.send("/admin/people/bo/link", {}, admin).json["link"])
    assert me(site, cookie, do="sign_out_others").status == 303
    assert [site.get("/forms/leave", one).status for one in (cookie, other)] == [200, 401]
    assert me(site, cookie, do="nonsense").status == 400
    refused = site.submit("/me", {"do": "sign_out_others"}, cookie)
    assert refused.status == 403, "without the page's token"
