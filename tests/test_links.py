"""Share links: how one is made, what it opens and what it does not, and everything that ends it."""

from __future__ import annotations

import io
import json
import logging
import re
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from http_client import FORM, JSON, PAGE, Reply, Site

import app

RULES = """
[roles.hr]
grants = ["forms/**:*"]
[forms.pay]
owner = { field = "created_by", unless = "hr" }
[forms.pay.fields]
who    = { type = "string", required = true }
salary = { type = "number", read_by = "hr" }
[views.pay]
from = "forms/pay"
"""


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path, edit=lambda text: text + RULES)
    made.app.state.commit([app.Insert("_people", "bo", {"subject": "bo", "roles": ["staff"], "name": "Bo"})])
    assert made.put("/files/docs/plan.txt", "0123456789", made.token("**:*")).status == 201
    yield made
    made.close()


@pytest.fixture
def root(site: Site) -> str:
    return site.token("**:*", subject="root")


@pytest.fixture
def bo(site: Site) -> str:
    """The cookie of a person who is signed in."""
    return signed_in(site, "bo")


def signed_in(site: Site, subject: str) -> str:
    reply = site.submit("/login", {"code": site.app.office.link(app.Caller("test"), subject)})
    return next(v.partition(";")[0] for n, v in reply.headers if n == "Set-Cookie" and v.startswith("satchel_session_"))


def made(site: Site, target: str, by: str, **wish: Any) -> str:
    """The path of a new link."""
    wish = {"action": "read", "expires": "7d"} | wish
    reply = site.send(target, {"link": wish}, by, Sec_Fetch_Site="same-origin")
    assert reply.status == 201, reply.text
    return urlsplit(reply.json["url"]).path


def told(reply: Reply) -> tuple[Any, ...]:
    """All of an answer but the id of its request."""
    text = re.sub(r"[0-9a-f]{32}|/s/[\w-]{43}", "…", reply.text)
    return reply.status, text, [one for one in reply.headers if one[0] != "X-Request-Id"]


# ---- what a link opens


def test_a_file_goes_out_by_its_link_as_files_do_to_whoever_has_it(site: Site, root: str) -> None:
    link = made(site, "/files/docs/plan.txt", root)
    assert re.fullmatch(r"/s/[\w-]{43}", link)
    for headers in ({}, PAGE, {"Authorization": "Bearer nonsense"}, {"Cookie": site.cookie("x" * 43)}):
        assert site.ask("GET", link, None, headers).body == b"0123456789"
    reply = site.get(link)
    assert (reply["Referrer-Policy"], reply["X-Robots-Tag"]) == ("no-referrer", "noindex, nofollow")
    assert "sandbox" in reply["Content-Security-Policy"]
    assert site.ask("HEAD", link)["Content-Length"] == "10"
    part = site.get(link, Range="bytes=2-4")
    assert (part.status, part.body, part["Content-Range"]) == (206, b"234", "bytes 2-4/10")
    assert site.get(link, Range="bytes=99-").status == 416
    assert site.get(link, If_None_Match=reply["ETag"]).status == 304
    for method in ("PUT", "DELETE", "PATCH"):
        assert site.ask(method, link).status == 405
    assert site.get(f"{link}?x=1").status == 400


def test_nothing_that_was_uploaded_runs_under_a_link(site: Site, root: str) -> None:
    site.put("/files/docs/a.html", "<script>alert(1)</script>", root)
    reply = site.ask("GET", made(site, "/files/docs/a.html", root), None, PAGE)
    assert reply["Content-Disposition"].startswith("attachment")
    assert "sandbox" in reply["Content-Security-Policy"]


def test_a_view_is_a_page_without_menus_that_keeps_its_query(site: Site, root: str) -> None:
    link = made(site, "/views/numbers?top=60&_size=7&_q=row", root)
    page = site.ask("GET", link, None, PAGE)
    assert page.status == 200
    assert "row &quot;50&quot;" in page.text
    assert not re.search(r"<nav class=\"(menu|crumbs)|<form|/views/|/login|/files", page.text)
    assert 'name="referrer" content="no-referrer"' in page.text
    assert page["X-Robots-Tag"]
    [following] = re.findall(r'href="([^"]*)" rel="next"', page.text)
    assert "row &quot;60&quot;" in site.ask("GET", following.replace("&amp;", "&"), None, PAGE).text
    assert len(site.get(link + ".csv").text.splitlines()) > 60
    assert [row["i"] for row in site.get(link + ".json?_sort=-i&_size=2").json["items"]] == [60, 59]
    assert site.get(link + ".csv")["Content-Disposition"] == 'attachment; filename="numbers.csv"'
    ordered = made(site, "/views/numbers?_sort=-i", root)
    assert re.findall(r'aria-sort="(\w+)"', site.ask("GET", ordered, None, PAGE).text) == ["descending"]
    assert f'href="{ordered}?_sort=i"' in site.ask("GET", ordered, None, PAGE).text
    for asked in ("top=1", "_q=x", "i__gt=3", "_count=1", "x=1"):
        assert site.get(f"{link}?{asked}").status == 400, asked
    assert site.get(link + ".zip").status == site.get(link + ".ics").status == 406


def test_a_link_shows_no_more_than_its_maker_sees_and_hides_what_a_role_alone_lets_see(site: Site, root: str) -> None:
    for who in ("ann", "cy"):
        site.send("/forms/pay", {"who": who}, site.token("forms/pay:create", subject=who))
    site.send("/forms/pay", {"who": "root", "salary": 47110815}, root)
    plain = made(site, "/views/pay", site.token("views/pay:read", subject="ann"))
    assert [row["who"] for row in site.get(plain + ".json").json["items"]] == ["ann"]
    assert "salary" not in site.get(plain + ".csv").text
    most = made(site, "/views/pay", root)  # whoever may do everything holds all roles, and a link may do one thing
    assert [row["who"] for row in site.get(most + ".json").json["items"]] == ["root"]
    assert "47110815" not in site.get(most + ".csv").text
    full = made(site, "/views/pay", site.token("views/pay:read", roles=["hr"], subject="dee"))
    assert {row["who"] for row in site.get(full + ".json").json["items"]} == {"ann", "cy", "root"}
    assert "47110815" in site.get(full + ".csv").text


def test_a_link_to_some_columns_tells_of_no_others(site: Site, root: str) -> None:
    for who, salary in (("ann", 47110815), ("cy", 47110816)):
        site.send("/forms/pay", {"who": who, "salary": salary}, root)
    hr = site.token("views/pay:read", roles=["hr"], subject="dee")
    some = made(site, "/views/pay?_columns=who", hr)
    for ending in ("", ".csv", ".json"):
        reply = site.ask("GET", some + ending, None, PAGE)
        assert (reply.status, "ann" in reply.text, "alary" in reply.text, "4711081" in reply.text) == (
            200,
            True,
            False,
            False,
        )
        assert site.ask("GET", f"{some}{ending}?_sort=-who", None, PAGE).status == 200
        refused = [site.ask("GET", f"{some}{ending}?_sort={name}", None, PAGE) for name in ("-salary", "-salery")]
        assert [one.status for one in refused] == [400, 400]
        assert told(refused[0])[1].replace("salary", "salery") == told(refused[1])[1]  # whether there is one or not
    assert "4711081" in site.ask("GET", made(site, "/views/pay", hr), None, PAGE).text
    narrowed = made(site, "/views/pay?_columns=who&salary__gt=47110815&who__contains=c&_sort=-salary", hr)
    assert [row["who"] for row in site.get(narrowed + ".json").json["items"]] == ["cy"]
    book = zipfile.ZipFile(io.BytesIO(site.get(narrowed + ".xlsx").body))
    text = "".join(book.read(name).decode() for name in book.namelist() if name.endswith(".xml"))
    assert ("who__contains=c" in text, "alary" in text, "4711081" in text) == (True, False, False)


def test_a_link_whose_query_its_view_no_longer_takes_says_nothing_of_columns(site: Site, root: str) -> None:
    hr = site.token("views/pay:read", roles=["hr"], subject="dee")
    for query in ({"salery__gt": "1"}, {"_columns": "who,salery"}, {"_sort": "salery"}):
        link = made(site, "/views/pay", hr)
        row = site.app.state.get("_shares", app.secret_digest(link[3:]))
        site.app.state.commit([app.Update("_shares", row.key, row.value | {"query": query}, row.version)])
        for ending in ("", ".json", ".csv"):
            reply = site.ask("GET", link + ending, None, PAGE)
            assert (reply.status, "salary" in reply.text) == (404, False), reply.text
    link = made(site, "/views/pay", hr)
    assert site.ask("GET", f"{link}.json?_sort=none").status == 400


def test_a_workbook_of_a_link_says_what_the_link_keeps_and_neither_its_code_nor_its_maker(site: Site, root: str) -> None:
    link = made(site, "/views/numbers?top=60&_q=row", root)
    book = zipfile.ZipFile(io.BytesIO(site.get(f"{link}.xlsx?_sort=-i").body))
    text = "".join(book.read(name).decode() for name in book.namelist() if "sheet" in name or "Strings" in name)
    assert "/views/numbers?top=60&amp;_q=row&amp;_sort=-i" in text
    assert (link[3:] in text, "root" in text, "somebody who is not signed in" in text) == (False, False, True)


def test_a_site_below_a_prefix_makes_links_below_it(tmp_path: Path) -> None:
    site = Site(tmp_path, prefix="/ops")
    root = site.token("**:*")
    site.put("/ops/files/docs/a.txt", "x", root)
    link = made(site, "/ops/files/docs/a.txt", root, password="a secret")
    assert link.startswith("/ops/s/")
    reply = site.submit(link, {"password": "a secret"})
    assert (reply.status, reply["Location"]) == (303, link)
    assert site.ask("GET", link, None, {"Cookie": reply.cookie}).body == b"x"
    site.close()


# ---- who may make one, and of what


def test_only_whoever_may_read_something_makes_a_link_to_it(site: Site, root: str) -> None:
    body = {"link": {"expires": "7d"}}
    assert site.send("/files/docs/plan.txt", body).status == 401
    for grant in ("files/docs:create,update,delete", "files/doc:*", "views/waiting:read"):
        for target in ("/files/docs/plan.txt", "/views/numbers", "/files/docs/none.txt"):
            reply = site.send(target, body, site.token(grant))
            assert reply.status == 403, (grant, target)
    assert site.send("/files/docs/none.txt", body, root).status == 404
    assert site.send("/views/none", body, root).status == 404
    assert site.send("/views/numbers?top=x", body, root).status == 400
    assert site.send("/files/docs/plan.txt", body, site.token("files/docs/plan.txt:read")).status == 201
    assert site.ask("POST", "/views/numbers", "link=1", FORM, root).status == 415


def test_the_public_reads_and_makes_no_links(tmp_path: Path) -> None:
    site = Site(tmp_path, edit=lambda text: text.replace('["forms/open:create"]', '["views/numbers:read"]'))
    assert site.get("/views/numbers").status == 200
    assert site.send("/views/numbers", {"link": {"expires": "7d"}}).status == 401
    assert site.ask("GET", "/share?of=views/numbers", None, PAGE).status == 303
    site.close()


@pytest.mark.parametrize(
    ("wish", "pointers"),
    [
        ({}, ["/link/expires"]), ({"expires": None}, ["/link/expires"]), ({"expires": ""}, ["/link/expires"]),
        ({"expires": "soon"}, ["/link/expires"]), ({"expires": "2020-01-01"}, ["/link/expires"]),
        ({"expires": "2020-01-01T00:00:00Z"}, ["/link/expires"]), ({"expires": "4000d"}, ["/link/expires"]),
        ({"expires": "9999-12-31"}, ["/link/expires"]), ({"expires": "2030-02-30"}, ["/link/expires"]),
        ({"expires": 7}, ["/link/expires"]), ({"expires": "7d", "password": ""}, ["/link/password"]),
        ({"expires": "7d", "password": "  "}, ["/link/password"]),
        ({"expires": "7d", "password": "short"}, ["/link/password"]),
        ({"expires": "7d", "password": 1234567}, ["/link/password"]),
        ({"expires": "7d", "password": "x" * 1001}, ["/link/password"]),
        ({"expires": "7d", "action": "create"}, ["/link/action"]), ({"expires": "7d", "label": "x"}, ["/link/label"]),
    ],
)  # fmt: skip
def test_a_wish_that_cannot_be_met_is_told_by_its_name(
    site: Site, root: str, wish: dict[str, Any], pointers: list[str]
) -> None:
    for target in ("/files/docs/plan.txt", "/views/numbers"):
        reply = site.send(target, {"link": wish}, root)
        assert reply.status == 422, reply.text
        assert [one["pointer"] for one in reply.json["errors"]] == pointers
    assert site.get("/admin/links", root).json["items"] == []


def test_the_day_that_a_program_names_ends_by_the_clocks_of_the_site(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = Site(tmp_path, edit=lambda text: text.replace("[site]", '[site]\ntimezone = "America/Los_Angeles"'))
    try:
        monkeypatch.setattr(site.app, "clock", lambda: 1_900_000_000.0)
        made = site.send("/views/numbers", {"link": {"expires": "2032-12-31"}}, site.token("**:*"))
        assert made.json["expires_at"] == "2033-01-01T08:00:00.000Z", made.text
    finally:
        site.close()


@pytest.mark.parametrize("body", ["{}", "[]", "null", '{"link": 1}', '{"link": {"expires": "7d"}, "x": 1}', "{"])
def test_a_body_that_asks_for_no_link_is_refused(site: Site, root: str, body: str) -> None:
    for target in ("/files/docs/plan.txt", "/views/numbers"):
        assert site.ask("POST", target, body, JSON, root).status == 400


# ---- what ends a link


def ended(site: Site) -> Reply:
    """What an address answers that no link ever had."""
    return site.ask("GET", "/s/" + "x" * 43, None, PAGE)


def row_of(site: Site, link: str) -> app.Record:
    row = site.app.state.get("_shares", app.secret_digest(link.rpartition("/")[2]))
    assert row is not None
    return row


def changed(site: Site, table: str, row: app.Record, **facts: Any) -> None:
    site.app.state.commit([app.Update(table, row.key, row.value | facts, row.version)])


def person(site: Site) -> app.Record:
    row = site.app.state.get("_people", "bo")
    assert row is not None
    return row


ENDS: dict[str, Callable[[Site, str, str], Any]] = {
    "expired": lambda site, link, root: changed(site, "_shares", row_of(site, link), expires_at=1),
    "suspended": lambda site, link, root: changed(site, "_people", person(site), suspended=True),
    "without the role": lambda site, link, root: changed(site, "_people", person(site), roles=[]),
    "removed": lambda site, link, root: site.ask("DELETE", "/admin/people/bo", None, {}, root),
    "removed and invited again": lambda site, link, root: (
        site.ask("DELETE", "/admin/people/bo", None, {}, root),
        site.send("/admin/people", {"subject": "bo", "roles": ["staff"]}, root),
    ),
    "ended by its maker": lambda site, link, root: site.send(
        "/me", {"do": "end_link", "id": row_of(site, link).key[:16]}, signed_in(site, "bo"), Sec_Fetch_Site="same-origin"
    ),
    "ended by the administration": lambda site, link, root: site.ask(
        "DELETE", f"/admin/links/{row_of(site, link).key[:16]}", None, {}, root
    ),
}


@pytest.mark.parametrize("way", ENDS)
def test_what_ends_a_link_ends_it_at_once_and_nobody_can_tell_that_there_was_one(
    site: Site, root: str, bo: str, way: str
) -> None:
    links = [made(site, "/files/docs/plan.txt", bo), made(site, "/views/numbers", bo, password="a secret")]
    assert [site.ask("GET", one, None, PAGE).status for one in links] == [200, 200]
    for link in links:
        ENDS[way](site, link, root) if way != "removed and invited again" or link == links[0] else None
        for ending in ("", ".csv", ".nonsense"):
            reply = site.ask("GET", link + ending, None, PAGE)
            assert told(reply)[:2] == told(site.ask("GET", "/s/" + "x" * 43 + ending, None, PAGE))[:2], ending
            assert reply.status == 404
        assert told(site.ask("GET", link, None, PAGE)) == told(ended(site))
        assert site.submit(link, {"password": "a secret"}).status == 404


def test_a_link_that_a_token_made_dies_with_it(site: Site, root: str) -> None:
    issued = site.app.office.issue(app.Caller("test"), "robot", ["files/docs:read"], [], 3600)
    link = made(site, "/files/docs/plan.txt", site.app.authority.jwt(issued))
    assert site.get(link).status == 200
    assert site.ask("DELETE", f"/admin/tokens/{issued.jti}", None, {}, root).status == 204
    assert site.get(link).status == 404


def test_a_file_that_is_gone_is_told_in_words_and_one_that_is_replaced_is_the_new_one(site: Site, root: str) -> None:
    link = made(site, "/files/docs/plan.txt", root)
    site.put("/files/docs/plan.txt", "new", root)
    assert site.get(link).body == b"new"
    site.ask("DELETE", "/files/docs/plan.txt", None, {}, root)
    reply = site.ask("GET", link, None, PAGE)
    assert reply.status == 404
    assert "is no longer there" in reply.text
    assert "plan.txt" not in reply.text


def test_links_that_are_over_are_swept(site: Site, root: str) -> None:
    over, good = (made(site, "/files/docs/plan.txt", root) for _ in range(2))
    changed(site, "_shares", row_of(site, over), expires_at=1)
    assert [one.key for one in app.plugin("links").expired(site.app.state, site.app.clock())] == [row_of(site, over).key]
    app.plugin("sweeps").Sweeps({}, site.app.config).run(site.app, threading.Event())
    assert site.app.state.get("_shares", app.secret_digest(over[3:])) is None
    assert site.get(good).status == 200
    lasting = made(site, "/views/numbers", signed_in(site, "bo"))
    site.app.state.commit([app.Delete("_people", "bo")])
    assert [one.key for one in app.plugin("links").expired(site.app.state, site.app.clock())] == [row_of(site, lasting).key]


# ---- passwords


def test_a_password_opens_its_own_link_for_a_while(site: Site, root: str) -> None:
    link, other = (made(site, "/files/docs/plan.txt", root, password="a secret") for _ in range(2))
    page = site.ask("GET", link, None, PAGE)
    assert page.status == 200
    assert 'type="password"' in page.text
    assert "0123456789" not in page.text
    assert site.get(link).status == 403  # a program
    wrong = site.submit(link, {"password": "another"})
    assert wrong.status == 403
    assert "The password is wrong" in wrong.text
    assert not wrong["Set-Cookie"]
    right = site.submit(link, {"password": "a secret"})
    assert (right.status, right["Location"]) == (303, link)
    assert "HttpOnly" in right["Set-Cookie"]
    assert "SameSite=Lax" in right["Set-Cookie"]
    assert site.ask("GET", link, None, {"Cookie": right.cookie}).body == b"0123456789"
    assert site.ask("GET", other, None, {"Cookie": right.cookie}).status == 403
    name, _, value = right.cookie.partition("=")
    forged = value[:-2] + ("AA" if value[-2:] != "AA" else "BB")
    assert site.ask("GET", link, None, {"Cookie": f"{name}={forged}"}).status == 403
    old = site.app.seal("share link", f"{row_of(site, link).key} 1")
    assert site.ask("GET", link, None, {"Cookie": f"{name}={old}"}).status == 403


def test_tries_of_a_password_are_slowed_down_and_told(site: Site, root: str) -> None:
    link = made(site, "/files/docs/plan.txt", root, password="a secret")
    statuses = [site.submit(link, {"password": f"wrong {n}"}).status for n in range(6)]
    assert statuses == [403] * 5 + [429]
    late = site.submit(link, {"password": "a secret"})
    assert late.status == 429
    assert int(late["Retry-After"]) > 0
    tried = [one for one in site.get("/admin/audit", root).json["items"] if one["action"] == "share" and one["client"]]
    assert {(one["code"], one["outcome"]) for one in tried} == {("wrong_password", "denied")}
    assert "gave a wrong password for a link" in site.ask("GET", "/admin/audit", None, PAGE, root).text


# ---- what is kept, and what is told


def test_no_code_and_no_password_stands_anywhere(site: Site, root: str, caplog: pytest.LogCaptureFixture) -> None:
    site.runner.config = site.runner.config.replaced(access_log=True)
    with caplog.at_level(logging.INFO):
        link = made(site, "/files/docs/plan.txt", root, password="a secret")
        site.get(link)
        site.submit(link, {"password": "a secret"})
    code = link.rpartition("/")[2]
    assert '"path":"/s/…"' in caplog.text
    stored = b"".join(one.read_bytes() for one in site.folder.rglob("*") if one.is_file())
    row = row_of(site, link)
    for secret in (code, "a secret"):
        assert secret.encode() not in stored
        assert secret not in caplog.text
    for told_at in ("/admin/links", "/admin/audit", "/me"):
        for headers in ({}, PAGE):
            text = site.ask("GET", told_at, None, headers, root).text
            assert not [one for one in (code, row.key, row.value["password"]) if one in text], told_at


def test_each_use_is_in_the_audit_trail_and_a_flood_is_counted(site: Site, root: str) -> None:
    link = made(site, "/files/docs/plan.txt", root)
    for _ in range(30):
        site.get(link)
    site.ask("GET", link, None, {"REMOTE_ADDR": "192.0.2.7"})
    used = [one for one in site.get("/admin/audit", root).json["items"] if one["action"] == "read"]
    assert [(one["client"], one["count"], one["resource"]) for one in used] == [
        ("192.0.2.7", 1, "files/docs/plan.txt"), ("127.0.0.1", 1, "files/docs/plan.txt"),
    ]  # fmt: skip
    assert {one["subject"] for one in used} == {f"link:{row_of(site, link).key[:16]}"}
    assert used[0]["after"] == {"made_by": "root"}
    site.runner.door.routes["share"]._uses.flush()
    [row] = site.get("/admin/links", root).json["items"]
    assert row["uses"] == 31
    assert row["used_at"]
    assert "Whoever has a link" in site.ask("GET", "/admin/audit", None, PAGE, root).text


def test_many_clients_of_one_link_are_told_as_others(site: Site, root: str) -> None:
    link = made(site, "/files/docs/plan.txt", root)
    for n in range(40):
        site.ask("GET", link, None, {"REMOTE_ADDR": f"192.0.2.{n}"})
    used = [one for one in site.get("/admin/audit?_size=100", root).json["items"] if one["action"] == "read"]
    assert len(used) == 21
    assert used[0]["client"] == "other addresses"


# ---- pages


def test_a_link_is_made_shown_once_and_ended_in_pages_without_scripts(site: Site, root: str, bo: str) -> None:
    of_view = re.search(r'href="(/share[^"]*)"', site.ask("GET", "/views/numbers?top=4", None, PAGE, bo).text)
    of_file = re.search(r'href="(/share[^"]*)"', site.ask("GET", "/files/docs/", None, PAGE, bo).text)
    assert of_view
    assert of_file
    for found in (of_view, of_file):
        target = found[1]
        page = site.ask("GET", target, None, PAGE, bo)
        token = re.findall(r'name="_token" value="([^"]*)"', page.text)[0]
        sent = {"_token": token, "do": "make", "expires": "30d", "password": ""}
        once = site.submit(target, sent, bo)
        assert once.status == 201
        [url] = re.findall(r"<code>([^<]*)</code>", once.text)
        assert site.ask("GET", urlsplit(url).path, None, PAGE).status == 200
        again = site.ask("GET", target, None, PAGE, bo).text
        assert url not in again
        assert "made 20" in again
        [id_] = re.findall(r'name="id" value="([^"]*)"', again)
        gone = site.submit(target, {"_token": token, "do": "end", "id": id_}, bo)
        assert gone.status == 303
        assert site.get(urlsplit(url).path).status == 404
    refused = site.submit(target, sent | {"expires": "date", "until": "2020-01-01", "password": "abc"}, bo)
    assert refused.status == 422
    assert "is over already" in refused.text
    assert 'value="abc"' in refused.text
    assert site.submit(target, sent | {"_token": "x"}, bo).status == 403
    assert site.submit("/share?of=admin/people", sent, bo).status == 404
    assert site.ask("GET", "/share?of=files/docs/plan.txt", None, PAGE, site.token("views/**:read")).status == 403


def test_ones_own_links_are_on_the_page_me_and_nobody_elses(site: Site, root: str, bo: str) -> None:
    mine, other = made(site, "/views/numbers?top=4", bo), made(site, "/files/docs/plan.txt", root)
    page = site.ask("GET", "/me", None, PAGE, bo).text
    assert "Numbers" in page
    assert "plan.txt" not in page
    [row] = site.get("/me", bo).json["links"]
    assert (row["address"], row["query"]) == ("views/numbers", {"top": "4"})
    ask = {"do": "end_link", "id": row_of(site, other).key[:16]}
    assert site.send("/me", ask, bo, Sec_Fetch_Site="same-origin").status == 404
    token = re.findall(r'name="_token" value="([^"]*)"', page)[0]
    assert site.submit("/me", {"_token": token, "do": "end_link", "id": row["id"]}, bo).status == 303
    assert (site.get(mine).status, site.get(other).status) == (404, 200)


def test_the_administration_lists_and_ends_links(site: Site, root: str, bo: str) -> None:
    made(site, "/views/numbers?top=4", bo, password="a secret")
    for _ in range(2):
        made(site, "/files/docs/plan.txt", root)
    page = site.ask("GET", "/admin/links", None, PAGE, root)
    assert page.status == 200
    assert "views/numbers?top=4" in page.text
    assert "with a password" in page.text
    [row] = site.get("/admin/links?subject=bo", root).json["items"]
    assert (row["address"], row["query"], row["has_password"], row["uses"]) == ("views/numbers", "top=4", True, 0)
    first = site.get("/admin/links?_size=1&_count=1", root).json
    assert first["count"] == 3
    assert first["next"]
    assert site.ask("DELETE", f"/admin/links/{row['id']}", None, {}, site.token("admin/links:read")).status == 403
    assert site.ask("DELETE", f"/admin/links/{row['id']}", None, {}, site.token("admin/links:delete")).status == 204
    assert site.ask("DELETE", f"/admin/links/{row['id']}", None, {}, root).status == 404
    assert site.ask("DELETE", "/admin/links/x", None, {}, root).status == 404
    assert len(site.get("/admin/links", root).json["items"]) == 2
    [entry] = [
        one for one in site.get("/admin/audit", root).json["items"] if one["action"] == "delete" and one["outcome"] == "ok"
    ]
    assert "scrypt" not in json.dumps(entry)


def test_nobody_has_more_links_than_can_be_looked_through(site: Site, root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app.plugin("links"), "_MOST_OF_ONE", 2)
    for _ in range(2):
        made(site, "/files/docs/plan.txt", root)
    reply = site.send("/files/docs/plan.txt", {"link": {"expires": "7d"}}, root)
    assert reply.status == 409
    assert "end those" in reply.text


# ---- folders


TREE = {"a/plan.txt": b"plan", "a/é ü/b & c.txt": b"inner", "a/é ü/deep/x.html": b"<script>", "other.txt": b"other"}


@pytest.fixture
def tree(site: Site, root: str) -> str:
    """A folder with files, and one beside it."""
    for name, content in TREE.items():
        assert site.put(f"/files/docs/{quote(name)}", content, root).status == 201
    return "/files/docs/a/"


def test_a_folder_is_listed_by_its_link_with_all_below_it_and_nothing_else(site: Site, root: str, tree: str) -> None:
    link = made(site, tree, root)
    assert made(site, "/files/docs/a", root) != link
    listed = site.get(f"{link}/")
    code = link.removeprefix("/")
    assert [(one["name"], one["type"], one["address"]) for one in listed.json["items"]] == [
        ("plan.txt", "file", f"{code}/plan.txt"), ("é ü", "folder", f"{code}/%C3%A9%20%C3%BC"),
    ]  # fmt: skip
    assert "docs" not in listed.text
    assert site.get(link).json == listed.json
    assert [one["name"] for one in site.get(f"{link}/%C3%A9%20%C3%BC/").json["items"]] == ["b & c.txt", "deep"]
    assert site.get(f"{link}/plan.txt").body == b"plan"
    part = site.get(f"{link}/%C3%A9%20%C3%BC/b%20%26%20c.txt", Range="bytes=0-1")
    assert (part.status, part.body) == (206, b"in")
    page = site.get(f"{link}/%C3%A9%20%C3%BC/", **PAGE)
    assert f'href="/{code}/%C3%A9%20%C3%BC/b%20%26%20c.txt' in page.text
    assert f'href="/{code}/"' in page.text
    assert "docs" not in page.text
    assert "<nav" not in page.text
    archive = zipfile.ZipFile(io.BytesIO(site.get(f"{link}/?_zip=1").body))
    assert {one: archive.read(one) for one in archive.namelist()} == {
        name.removeprefix("a/"): text for name, text in TREE.items() if name.startswith("a/")
    }
    chosen = zipfile.ZipFile(io.BytesIO(site.get(f"{link}/?_zip=1&_name=plan.txt&_name=%C3%A9%20%C3%BC").body))
    assert len(chosen.namelist()) == 3
    for reply in (listed, page, part):
        assert reply["Referrer-Policy"] == "no-referrer"
        assert "noindex" in reply["X-Robots-Tag"]
    assert "sandbox" in site.get(f"{link}/%C3%A9%20%C3%BC/deep/x.html")["Content-Security-Policy"]
    for way in (
        "/..%2Fother.txt",
        "/../other.txt",
        "/%2e%2e/other.txt",
        "/a/plan.txt",
        "/other.txt",
        "/plan.txt/x",
        "//plan.txt",
    ):
        assert site.get(f"{link}{way}").status in (400, 404), way


def test_a_folder_link_does_what_it_is_for_and_no_more(site: Site, root: str, tree: str) -> None:
    link = made(site, tree, root)
    assert site.ask("PUT", f"{link}/new.txt", b"x").status == 405
    assert site.ask("DELETE", f"{link}/plan.txt").status == 405
    assert site.upload(f"{link}/", ("file", "new.txt", b"x"))["Location"] == f"{link}/"
    assert site.get("/files/docs/a/new.txt", root).status == 404
    for query in ("_do=details", "_trash=1", "x=1"):
        assert site.get(f"{link}/?{query}").status == 400, query
    whole = made(site, "/files/docs/", root)
    assert site.get(f"{whole}/a/plan.txt").body == b"plan"
    assert site.get(f"{whole}/").json["items"][0]["name"] == "a"
    assert 'filename="docs.zip"' in site.get(f"{whole}/?_zip=1")["Content-Disposition"]
    one = made(site, "/files/docs/other.txt", root)
    assert site.get(f"{one}/").status == site.get(f"{one}/x").status == 404
    assert site.get(f"{one}?_zip=1").status == 400


def test_a_folder_link_dies_with_its_makers_right_and_hides_what_he_may_not_read(site: Site, tree: str) -> None:
    grants = {"grants": ["files/docs/a:read"]}
    site.app.state.commit([app.Insert("_people", "cy", {"subject": "cy", "roles": [], "name": "Cy"} | grants)])
    link = made(site, tree, signed_in(site, "cy"))
    assert site.get(f"{link}/plan.txt").status == 200
    site.app.state.commit([app.Update("_people", "cy", {"subject": "cy", "grants": ["files/docs/b:read"]})])
    gone = told(site.get(f"{link}/plan.txt"))
    assert gone == told(site.get("/s/" + "x" * 43))
    assert site.send(tree, {"link": {"expires": "7d"}}, site.token("files/docs/a/x:read")).status == 403


def test_a_password_of_a_folder_is_asked_once_for_all_of_it(site: Site, root: str, tree: str) -> None:
    link = made(site, tree, root, password="a secret")
    assert site.get(f"{link}/plan.txt").status == 403
    assert 'type="password"' in site.get(f"{link}/", **PAGE).text
    opened = site.submit(f"{link}/", {"password": "a secret"})
    assert (opened.status, opened["Location"]) == (303, f"{link}/")
    for way in ("", "/", "/plan.txt"):
        assert site.get(f"{link}{way}", Cookie=opened.cookie).status == 200
    asked = f"{link}/plan.txt?_view=1"  # what was asked for is what comes once the password is known
    assert f'action="{asked}"' in site.get(asked, **PAGE).text
    assert site.submit(asked, {"password": "a secret"})["Location"] == asked


# ---- boxes


def test_a_box_takes_files_of_strangers_and_shows_none(site: Site, root: str) -> None:
    assert site.put("/files/docs/in/plan.txt", b"mine", root).status == 201
    link = made(site, "/files/docs/in/", root, action="create")
    page = site.get(link, **PAGE)
    assert page.status == 200
    assert 'enctype="multipart/form-data"' in page.text
    assert "plan.txt" not in page.text
    reply = site.upload(link, ("file", "plan.txt", b"theirs"), ("file", "sub/new.txt", b"2"), ("_replace", None, "1"))
    assert reply.status == 201, reply.text
    assert [(one["name"], one["size_bytes"]) for one in reply.json["items"]] == [
        ("plan (2).txt", 6),
        ("new.txt", 1),
    ]
    assert "docs" not in reply.text
    assert site.get("/files/docs/in/plan.txt", root).body == b"mine"
    assert site.get("/files/docs/in/plan%20(2).txt", root).body == b"theirs"
    assert site.get("/files/docs/in/sub/new.txt", root).body == b"2"
    sent = site.upload(f"{link}/", ("file", "by page.txt", b"3"), **PAGE)
    assert (sent.status, sent["Location"]) == (303, f"{link}/")
    for way, status in (("/", 400), ("/plan.txt", 404), ("/sub/", 404), ("/?_zip=1", 400)):
        assert site.get(f"{link}{way}").status == status, way
    for name in ("../up.txt", "a/../../up.txt"):
        assert site.upload(link, ("file", name, b"x")).status == 400
    assert site.get("/files/docs/up.txt", root).status == 404
    entries = site.get("/admin/audit?_size=100", root).json["items"]
    mine = [one for one in entries if one["subject"] == f"link:{row_of(site, link).key[:16]}"]
    assert {one["resource"] for one in mine} >= {"files/docs/in/plan%20%282%29.txt", "files/docs/in/"}
    assert {one["client"] for one in mine if one["resource"] == "files/docs/in/"} == {"127.0.0.1"}


def test_a_box_has_the_limits_of_its_share_and_says_what_was_refused(site: Site, root: str) -> None:
    link = made(site, "/files/pics/", root, action="create")
    assert "image/*" in site.get(link, **PAGE).text
    assert site.upload(link, ("file", "x.exe", b"MZ")).status == 415
    some = site.upload(link, ("file", "x.exe", b"MZ"), ("file", "a.png", b"\x89PNG\r\n\x1a\n"))
    assert (some.status, some.json["errors"][0]["name"], some.json["items"][0]["name"]) == (207, "x.exe", "a.png")
    page = site.upload(link, ("file", "x.exe", b"MZ"), **PAGE)
    assert page.status == 415
    assert "x.exe" in page.text
    assert "is not accepted here" in page.text
    for path in ("in/sub/x", "in/y"):
        site.put(f"/files/docs/{path}", b"", root)
    inner = made(site, "/files/docs/in/", root, action="create")
    for headers in ({}, PAGE):  # a file stands in the way, and it is not said where
        refused = site.upload(inner, ("file", "y/z", b"1"), **headers)
        assert refused.status == 409
        assert "y" in refused.text
        assert "in/y" not in refused.text
    assert site.upload(inner, ("file", "sub", b"1")).json["items"][0]["name"] == "sub (2)"  # a folder has that name
    docs = made(site, "/files/docs/", root, action="create")
    assert site.upload(docs, ("file", "big", b"x" * 1_100_000)).status == 413
    assert site.upload(docs, ("other", None, "x")).status == 400


SMALL = """
[files.small]
provider = "disk"
prefix = "small/"
title = "Board only"
quota = "60kB"
max_file = "50kB"
"""


def test_a_box_says_that_a_file_is_too_large_or_has_no_room_and_not_where(tmp_path: Path) -> None:
    site = Site(tmp_path, edit=lambda text: text + SMALL)
    root = site.token("**:*")
    assert site.put("/files/small/in/there", b"x" * 20_000, root).status == 201
    link = made(site, "/files/small/in/", root, action="create")
    page = site.get(link, **PAGE).text
    assert 'data-most="50000"' in page
    for size, status, words in ((100_000, 413, "at most 50 kB"), (45_000, 507, "there is no room for this here")):
        for headers in ({}, PAGE):
            refused = site.upload(link, ("file", "new", b"x" * size), **headers)
            assert refused.status == status, refused.text
            assert words in refused.text
            assert "Board only" not in refused.text
            assert "60000" not in refused.text
    german = site.upload(link, ("file", "new", b"x" * 45_000), Accept_Language="de", **PAGE)
    assert "hier ist dafür kein Platz" in german.text
    site.close()


def test_a_box_needs_the_right_to_create_there_for_as_long_as_it_works(site: Site) -> None:
    ask = {"link": {"action": "create", "expires": "7d"}}
    assert site.send("/files/docs/", ask, site.token("files/docs:read")).status == 403
    assert site.send("/files/docs/", {"link": {"expires": "7d"}}, site.token("files/docs:create")).status == 403
    for target in ("/files/docs/plan.txt", "/views/numbers"):
        refused = site.send(target, ask, site.token("**:*"))
        assert (refused.status, refused.json["errors"][0]["pointer"]) == (422, "/link/action"), refused.text
    person = {"subject": "cy", "roles": [], "name": "Cy", "grants": ["files/docs/in:create"]}
    site.app.state.commit([app.Insert("_people", "cy", person)])
    site.put("/files/docs/in/there", b"", site.token("**:*"))
    link = made(site, "/files/docs/in/", signed_in(site, "cy"), action="create")
    assert site.upload(link, ("file", "a", b"1")).status == 201
    site.app.state.commit([app.Update("_people", "cy", person | {"grants": ["files/docs/in:read"]})])
    assert site.upload(link, ("file", "b", b"1")).status == 404


def test_a_box_with_a_password_takes_nothing_before_it_is_known(site: Site, root: str) -> None:
    link = made(site, "/files/docs/", root, action="create", password="a secret")
    assert site.upload(link, ("file", "a", b"1")).status == 403
    assert site.upload(link, ("file", "a", b"1"), **PAGE).status == 403
    opened = site.submit(link, {"password": "a secret"})
    assert site.upload(link, ("file", "a", b"1"), Cookie=opened.cookie).status == 201


def test_an_address_sends_to_boxes_only_so_often(tmp_path: Path) -> None:
    site = Site(tmp_path, edit=lambda text: text.replace("[public]", "[public]\nhourly = 3"))
    link = made(site, "/files/docs/", site.token("**:*"), action="create")
    found = [site.upload(link, ("file", "a", b"1")).status for _ in range(4)]
    site.close()
    assert found == [201, 201, 201, 429]


def test_the_page_that_makes_a_link_offers_what_its_maker_may_do_himself(site: Site, root: str, bo: str) -> None:
    target = "/share?of=files/docs/"
    page = site.ask("GET", target, None, PAGE, bo)
    assert re.findall(r'name="action" value="(\w+)"', page.text) == ["read", "create"]
    token = re.findall(r'name="_token" value="([^"]*)"', page.text)[0]
    once = site.submit(target, {"_token": token, "do": "make", "expires": "7d", "action": "create"}, bo)
    assert once.status == 201
    [url] = re.findall(r"<code>([^<]*)</code>", once.text)
    assert site.upload(urlsplit(url).path, ("file", "a", b"1")).status == 201
    assert "may only add files" in site.ask("GET", "/me", None, PAGE, bo).text
    assert "may only add files" in site.ask("GET", "/admin/links", None, PAGE, root).text
    only = site.ask("GET", target, None, PAGE, site.token("files/docs:create"))
    assert re.findall(r'name="action" value="(\w+)"', only.text) == ["create"]


def test_the_code_of_a_folder_link_stands_in_no_log_and_no_problem(
    site: Site, root: str, tree: str, caplog: pytest.LogCaptureFixture
) -> None:
    site.runner.config = site.runner.config.replaced(access_log=True)
    link = made(site, tree, root)
    code = link.rpartition("/")[2]
    with caplog.at_level(logging.INFO):
        problems = [
            site.get(f"{link}/none"), site.ask("DELETE", f"{link}/plan.txt"), site.get(f"{link}/?x=1"),
            site.get(f"{link}/plan.txt/x"),
        ]  # fmt: skip
        site.get(f"{link}/plan.txt")
    assert {one.status for one in problems} == {400, 404, 405}
    assert not [one.text for one in problems if code in one.text]
    assert code not in caplog.text
    assert code not in site.get("/metrics", root).text
    assert code not in site.get("/admin/audit", root).text
