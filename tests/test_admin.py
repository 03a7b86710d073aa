"""The administration in pages and JSON: the audit trail, tokens, sessions, who may what, providers, and what is wrong."""

from __future__ import annotations

import html
import re
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from http_client import PAGE, Reply, Site, action, hidden, notice_of
from sites import Site as Bare
from sites import Time

import app
from app import Action, plugin

LEAVE = {"day": "2026-01-31", "days": 1.5, "reason": "Moving"}
audit_words, access = plugin("audit_words"), plugin("admin_access")
ENGLISH = plugin("locale").Locale().t


@pytest.fixture
def root(site: Site) -> str:
    return site.token("**:*", subject="root")


def look(site: Site, target: str, token: str, status: int = 200) -> str:
    """A page as people read it: its text without tags, one space between words."""
    reply = site.get(target, token, **{name.replace("-", "_"): value for name, value in PAGE.items()})
    assert reply.status == status, reply.text
    return said(reply.text)


def said(page: str) -> str:
    main = page.partition("<main")[2].partition("</main>")[0]
    return " ".join(html.unescape(re.sub(r"<[^>]*>", "\n", main)).split())


def sent_from(site: Site, page: Reply, fields: dict[str, Any], token: str, kind: str = "form") -> Reply:
    """What a browser sends from a page's form; a list is several boxes."""
    pairs = [("_token", hidden(page, "_token"))]
    for name, value in fields.items():
        pairs += [(name, one) for one in (value if isinstance(value, list) else [value])]
    return site.ask(
        "POST", action(page, kind), urlencode(pairs), {"Content-Type": "application/x-www-form-urlencoded", **PAGE}, token
    )


# ---- the index


def test_the_index_names_what_the_caller_may_open_and_says_what_it_is_for(site: Site, root: str) -> None:
    page = look(site, "/admin", root)
    for words in ("People", "Tokens", "Who may do what", "Who did what, and when", "What is wrong with app.toml"):
        assert words in page
    less = look(site, "/admin", site.token("admin/audit:read"))
    assert "Who did what, and when" in less
    assert "Tokens" not in less


def test_no_list_of_the_administration_is_open_without_its_grant(site: Site) -> None:
    for name in ("people", "tokens", "sessions", "access", "audit", "outbox", "providers", "check", "metrics"):
        other = site.token("forms/**:*", *(f"admin/{one}:*" for one in ("people", "audit") if one != name))
        assert site.get(f"/admin/{name}", other).status == 403, name
        assert site.get(f"/admin/{name}").status == 401, name
        assert site.get(f"/admin/{name}", site.token(f"admin/{name}:read")).status == 200, name


def test_the_administration_speaks_german(site: Site, root: str) -> None:
    site.send("/forms/leave", LEAVE, root)
    pages = {
        "/admin": "Wer wann was getan hat", "/admin/audit": "Leave ausgefüllt", "/admin/tokens": "Neues Token",
        "/admin/tokens?_new=1": "Wie lange es gilt", "/admin/sessions": "Wer angemeldet ist", "/admin/access": "alles tun",
        "/admin/providers": "Wo Einträge und Dateien", "/admin/check": "nicht stimmt",
        "/admin/people?_new=1": "Name zum Anmelden",
    }  # fmt: skip
    for target, words in pages.items():
        reply = site.get(target, root, Accept=PAGE["Accept"], Accept_Language="de")
        assert words in said(reply.text), target
        assert '<html lang="de"' in reply.text


# ---- the audit trail: the list


def events(site: Site, token: str, query: str = "") -> list[str]:
    """The lines of the page."""
    page = site.get("/admin/audit" + query, token, **PAGE).text
    lines = re.findall(r'<span class="what">(.*?)</span>\s*</li>', page, re.DOTALL)
    return [" ".join(html.unescape(re.sub(r"<[^>]*>", " ", one)).split()) for one in lines]


def test_an_event_is_one_line_in_plain_words(site: Site, root: str) -> None:
    site.send("/admin/people", {"subject": "bo", "name": "Bo Chen", "grants": ["forms/leave:*"]}, root)
    bo = site.token("forms/leave:*", "files/docs:*", subject="bo")
    address = site.send("/forms/leave", LEAVE, bo)["Location"]
    site.send(address, {"days": 2, "kind": "unpaid"}, bo, "PATCH")
    site.ask("DELETE", address, token=bo)
    site.put("/files/docs/a%20b.txt", b"x", bo)
    site.put("/files/docs/a%20b.txt", b"y", bo)
    site.ask("DELETE", "/files/docs/a%20b.txt", token=bo)
    site.send("/forms/papers", {"name": "Leaflet"}, bo)
    made = site.send("/admin/tokens", {"subject": "robot", "grants": ["forms/leave:read"]}, root).json
    site.ask("DELETE", f"/admin/tokens/{made['jti']}", token=root)
    lines = events(site, root)
    assert lines[:10] == [
        "root revoked a token",
        "root issued a token for robot",
        "Bo Chen was refused: fill in Papers refused",
        "Bo Chen deleted a b.txt from Docs",
        "Bo Chen replaced a b.txt in Docs",
        "Bo Chen added a b.txt to Docs",
        "Bo Chen deleted 2026-01-31 from Leave",
        "Bo Chen changed Days, Kind in Leave",
        "Bo Chen filled in Leave: 2026-01-31",
        "The command line (test) issued a token for bo" if lines[9].startswith("The") else "test issued a token for bo",
    ]
    assert lines.count("root invited bo") == 1, "the person and the link are one event"


def test_sign_ins_that_failed_are_told_with_where_they_came_from(site: Site, root: str) -> None:
    for _ in range(2):
        site.submit("/login", {"token": "x"})
    assert (
        events(site, root, "?outcome=denied")
        == ["Somebody who is not signed in could not sign in, from 127.0.0.1 refused"] * 2
    )


def test_each_filter_narrows_the_page_and_the_exports_to_the_same(site: Site, root: str) -> None:
    ann, bo = site.token("forms/**:*", subject="ann"), site.token("forms/leave:*", subject="bo")
    address = site.send("/forms/leave", LEAVE, ann)["Location"]
    site.send(address, {"days": 2}, bo, "PATCH")
    site.send("/forms/papers", {"name": "Leaflet"}, ann)
    site.send("/forms/papers", {"name": "Leaflet"}, bo)
    for query, lines in {
        "?subject=bo&within=forms/leave": ["bo changed Days in Leave"],
        "?within=forms/papers": ["bo was refused: fill in Papers refused", "ann filled in Papers: Leaflet"],
        "?within=forms/leave": ["bo changed Days in Leave", "ann filled in Leave: 2026-01-31"],
        "?within=forms/leave&action=create": ["ann filled in Leave: 2026-01-31"],
        "?within=forms/papers&outcome=denied": ["bo was refused: fill in Papers refused"],
        "?_q=Leaflet&within=forms/papers": [],
    }.items():
        assert events(site, root, query) == lines, query
        rows = site.get("/admin/audit" + query, root).json["items"]
        assert len(rows) == len(lines), query
        assert len(site.get("/admin/audit.csv" + query, root).text.splitlines()) == 1 + len(lines), query
        assert site.get("/admin/audit" + query + "&_count=1", root).json["count"] == len(lines)
        page = site.get("/admin/audit" + query, root, **PAGE).text
        exported = re.search(r'href="([^"]*)">CSV</a>', page)
        assert exported
        assert len(site.get(html.unescape(exported[1]), root).text.splitlines()) == 1 + len(lines)


def test_a_place_is_there_with_what_lies_in_it_and_nothing_whose_name_begins_alike(tmp_path: Path) -> None:
    toml = "\n".join(f"[forms.{name}.fields]\na = {{ type = 'string' }}" for name in ("leave", "leave-old", "leaver"))
    site = Bare(tmp_path, '[providers.main]\nkind = "sql"\nurl = "sqlite:///app.db"\n' + toml)
    for name in ("leave", "leave-old", "leaver"):
        key = site.create(f"forms/{name}", {"a": "x"}).data["id"]
        site.ask(Action.DELETE, f"forms/{name}/records/{key}")
    found = [
        (one["resource"].partition("/records")[0], one["action"]) for one in site.items("admin/audit?within=forms/leave")
    ]
    assert found == [("forms/leave", "delete"), ("forms/leave", "create")]
    site.close()


def test_days_are_those_of_the_zone_and_the_last_one_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "last_ids", memoryview(bytearray(256)).cast("Q"))  # ids of another test are from later
    clock = Time()
    toml = '[site]\ntimezone = "Asia/Tokyo"\n[providers.main]\nkind = "sql"\nurl = "sqlite:///app.db"\n'
    site = Bare(tmp_path, toml + "[forms.leave.fields]\na = { type = 'string' }\n", clock=clock)
    moments = {  # 2027-01-15 in Tokyo begins at 15:00 UTC of the day before
        "before": 1_799_938_799.0, "first": 1_799_938_800.5, "last": 1_800_025_199.5, "after": 1_800_025_200.5
    }  # fmt: skip
    for name, clock.now in moments.items():
        site.create("forms/leave", {"a": name}, by=site.token("root", "**:*"))
    site.root = site.token("root", "**:*")

    def found(query: str) -> list[str]:
        return [one["after"]["a"] for one in site.items(f"admin/audit?within=forms/leave&{query}")][::-1]

    assert found("from=2027-01-15&to=2027-01-15") == ["first", "last"]
    assert found("from=2027-01-15") == ["first", "last", "after"]
    assert found("to=2027-01-15") == ["before", "first", "last"]
    site.close()


def test_what_cannot_be_asked_is_said_beside_its_field_and_stays_there(site: Site, root: str) -> None:
    reply = site.get("/admin/audit?from=yesterday&subject=ann", root, **PAGE)
    assert reply.status == 400
    assert "From day" in said(reply.text)
    assert 'value="yesterday"' in reply.text
    assert 'value="ann"' in reply.text
    for query in ("from=yesterday", "to=2026-13-01", "within=forms/nosuch", "nosuch=1", "_sort=at"):
        assert site.get(f"/admin/audit?{query}", root).status == 400, query
    assert "did you mean forms/leave" in site.get("/admin/audit?within=forms/leav", root).json["detail"]


def test_a_page_of_events_leads_to_the_next_with_all_that_was_asked(site: Site, root: str) -> None:
    for number in range(7):
        site.send("/forms/papers", {"name": f"Paper {number}"}, root)
    page = site.get("/admin/audit?within=forms/papers&_size=3", root, **PAGE).text
    seen = []
    for _ in range(3):
        seen += re.findall(r"Papers: Paper (\d)", page)
        following = re.search(r'href="([^"]*)" rel="next"', page)
        if following:
            assert "within=forms%2Fpapers" in following[1]
            page = site.get(html.unescape(following[1]), root, **PAGE).text
    assert seen == list("6543210")


def test_many_records_of_one_request_are_one_line(site: Site, root: str) -> None:
    site.send("/forms/papers", [{"name": f"Paper {number}"} for number in range(5)], root)
    assert events(site, root, "?within=forms/papers") == ["root filled in Papers: Paper 0 and 4 more"]


def test_a_csv_of_the_trail_is_streamed_whole(site: Site, root: str) -> None:
    site.send("/forms/papers", [{"name": f"Paper {number}"} for number in range(300)], root)
    reply = site.get("/admin/audit.csv?within=forms/papers&_size=10", root)
    assert len(reply.text.splitlines()) == 301
    assert "Content-Length" not in dict(reply.headers)


def test_an_entry_that_cannot_be_read_takes_no_other_with_it(site: Site, root: str) -> None:
    import sqlite3
    from contextlib import closing

    site.send("/forms/papers", {"name": "Leaflet"}, root)
    with closing(sqlite3.connect(site.folder / "app.db")) as database, database:
        key = app.new_id(time.time())
        database.execute("insert into _audit (key, version, data) values (?, 1, ?)", (key, "{"))
    lines = events(site, root)
    assert lines[0] == "an entry that cannot be read"
    assert "root filled in Papers: Leaflet" in lines


# ---- the audit trail: one event


def event(site: Site, token: str, query: str) -> tuple[str, str]:
    """The page of the newest event of a list, as text and as HTML."""
    key = site.get(f"/admin/audit?{query}", token).json["items"][0]["id"]
    reply = site.get(f"/admin/audit/{key}", token, **PAGE)
    assert reply.status == 200
    return said(reply.text), reply.text


def test_the_page_of_a_change_shows_what_was_there_before_and_after(site: Site, root: str) -> None:
    address = site.send("/forms/leave", LEAVE, root)["Location"]
    site.send(address, {"days": 2, "reason": None, "kind": "unpaid"}, root, "PATCH")
    words, page = event(site, root, "action=update&within=forms/leave")
    assert "root changed Days, Kind, Reason in Leave" in words
    assert "Days before: 1.5 after: 2" in words
    assert "Reason before: Moving" in words
    assert "First day" not in words, "it did not change"
    assert f'href="{address}"' in page


def test_the_page_of_what_was_made_or_deleted_shows_all_of_it_on_one_side(site: Site, root: str) -> None:
    address = site.send("/forms/leave", LEAVE, root)["Location"]
    made, _ = event(site, root, "action=create&within=forms/leave")
    assert "First day after: 2026-01-31" in made
    assert "before:" not in made
    site.ask("DELETE", address, token=root)
    gone, page = event(site, root, "action=delete&within=forms/leave")
    assert "Reason before: Moving" in gone
    assert "after:" not in gone
    assert f'href="{address}"' not in page


def test_of_a_long_text_the_page_shows_what_is_new_in_it_and_what_is_gone(site: Site, root: str) -> None:
    text = "The committee meets every other Monday, and everybody may come and listen to it. " * 4
    address = site.send("/forms/leave", LEAVE | {"reason": text}, root)["Location"]
    site.send(address, {"reason": text.replace("Monday", "Friday", 1) + "<b>Bring tea</b>"}, root, "PATCH")
    words, page = event(site, root, "action=update&within=forms/leave")
    assert re.search(r"<del><span[^>]*>[^<]*</span>Monday</del>", page)
    assert re.search(r"<ins><span[^>]*>[^<]*</span>Friday</ins>", page)
    assert "&lt;" in page
    assert "<b>Bring" not in page
    assert "Both texts whole" in words


def test_texts_that_are_too_long_to_be_compared_are_shown_one_after_the_other() -> None:
    many = " ".join(map(str, range(4000)))
    began = time.monotonic()
    assert audit_words.text_parts(many, many + " end") == []
    lines = "\n".join(["a line of words"] * 700)
    assert ("new", "\nend") in audit_words.text_parts(lines, lines + "\nend") or audit_words.text_parts(
        lines, lines + "\nend"
    )
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"changes": {"a": [1, 2]}}, [("a", 1, 2)]),
        ({"changes": {"a": "odd"}}, []),
        ({"before": {"a": 1, "b": 2, "version": 1}, "after": {"a": 1, "b": 3, "c": 4}}, [("b", 2, 3), ("c", None, 4)]),
        ({"after": {"a": 1, "b": None}}, [("a", None, 1)]),
        ({"before": {"a": [1]}}, [("a", [1], None)]),
        ({}, []),
    ],
)
def test_entries_of_older_versions_are_read_too(entry: dict[str, Any], expected: list[Any]) -> None:
    assert audit_words.pairs({"changes": None, "before": None, "after": None} | entry) == expected


def test_the_page_of_an_event_names_what_else_its_request_did(site: Site, root: str) -> None:
    site.send("/admin/people", {"subject": "bo"}, root)
    site.send("/admin/people", {"subject": "cy"}, root)
    words, page = event(site, root, "resource=admin/people&record=cy")
    assert words.count("invited") == 1
    assert "In the same request also wrote" in words
    beside = re.findall(r'href="(/admin/audit/[0-9a-f]{32})"', page)
    assert beside
    assert all(site.get(one, root).json["request_id"] for one in beside)
    assert len({site.get(one, root).json["request_id"] for one in beside}) == 1


def test_fields_that_the_reader_may_not_see_are_masked_in_pages_and_json(site: Site, root: str) -> None:
    hidden_one = site.app.resources["forms/leave"].fields["reason"]  # type: ignore[attr-defined]
    hidden_one.config = hidden_one.config.replaced(read_by=("hr",))
    address = site.send("/forms/leave", LEAVE, root)["Location"]
    site.send(address, {"reason": "Wedding"}, root, "PATCH")
    site.ask("DELETE", address, token=root)
    reader = site.token("admin/audit:read", subject="reader")
    for query in ("action=create", "action=update", "action=delete"):
        words, _ = event(site, reader, f"{query}&within=forms/leave")
        assert not {"Moving", "Wedding"} & set(words.split())
        assert "•••" in words
        told = site.get(f"/admin/audit?{query}&within=forms/leave", reader).text
        assert not re.search("Moving|Wedding", told)
    assert "Wedding" in event(site, root, "action=update&within=forms/leave")[0]


def test_an_event_that_is_not_there_is_not_found(site: Site, root: str) -> None:
    for key in ("x", "0" * 32, "%00", "a" * 600):
        assert site.get(f"/admin/audit/{key}", root).status == 404, key
    key = site.get("/admin/audit", root).json["items"][0]["id"]
    assert site.get(f"/admin/audit/{key}", root).json["id"] == key
    assert site.get(f"/admin/audit/{key}?x=1", root).status == 400
    assert site.get(f"/admin/audit/{key}").status == 401


# ---- tokens


def new_token(site: Site, token: str, **filled: Any) -> Reply:
    """What comes of the form for a new token, filled in so."""
    page = site.get("/admin/tokens?_new=1", token, **PAGE)
    fields = {"label": "Report", "subject": "robot", "expires": "30d", "format": "short"} | filled
    return sent_from(site, page, fields, token)


def fields_of(page: str) -> tuple[set[str], set[str]]:
    """The boxes of a page, and those that are ticked."""
    boxes = re.findall(r'<input type="checkbox" id="[^"]*" name="(?:grants|roles)" value="([^"]*)"\s*(checked)?', page)
    return {html.unescape(value) for value, _ in boxes}, {html.unescape(value) for value, ticked in boxes if ticked}


def test_a_token_is_issued_in_the_page_and_shown_once(site: Site, root: str) -> None:
    cookie = site.sign_in(root)
    made = new_token(site, cookie, grants=["forms/leave:read", "views/numbers:read"], roles=["staff"])
    assert made.status == 201, made.text
    secret = re.search(r'<textarea id="secret"[^>]*readonly[^>]*>(stl_[\w-]+)</textarea>', made.text)
    assert secret
    curl = re.search(r"curl -H (?:&#039;|')Authorization: Bearer (stl_[\w-]+)(?:&#039;|') (\S+)</textarea>", made.text)
    assert curl
    assert curl[1] == secret[1]
    assert site.get(re.sub("^https?://[^/]*", "", curl[2]), secret[1]).status == 200, "the command works as it stands"
    [row] = site.get("/admin/tokens?subject=robot", root).json["items"]
    assert (row["label"], row["roles"]) == ("Report", ["staff"])
    assert set(row["grants"]) == {"forms/leave:read", "views/numbers:read"}
    for target in ("/admin/tokens", f"/admin/tokens/{row['id']}"):
        assert secret[1] not in site.get(target, cookie, **PAGE).text
    assert not any(secret[1].encode() in one.read_bytes() for one in site.folder.rglob("*") if one.is_file())


def test_a_form_that_is_sent_twice_issues_one_token_and_shows_it_once(site: Site, root: str) -> None:
    page = site.get("/admin/tokens?_new=1", root, **PAGE)
    fields = {"subject": "robot", "grants": "forms/leave:read", "expires": "1d", "format": "jwt"}
    first, second = (sent_from(site, page, fields, root) for _ in range(2))
    assert (first.status, second.status) == (201, 303)
    assert second["Location"].startswith("/admin/tokens/")
    assert len(site.get("/admin/tokens?subject=robot", root).json["items"]) == 1


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"subject": ""}, "In whose name"),
        ({"subject": "cli:me"}, "Satchel itself has such names"),
        ({"subject": "a\tb"}, "control character"),
        ({"label": "x" * 300}, "longer than 255"),
        ({"expires": "never"}, "How long it works"),
        ({"grants": ["forms/leave"]}, "is not a grant"),
        ({"grants": []}, "at least one grant or role"),
    ],
)
def test_what_was_typed_for_a_token_stays_when_it_is_refused(
    site: Site, root: str, wrong: dict[str, Any], words: str
) -> None:
    filled = {"label": "A <b>", "grants": ["forms/leave:read"]} | wrong
    reply = new_token(site, site.sign_in(root), **filled)
    assert 400 <= reply.status < 500, reply.text
    assert words in said(reply.text)
    if "label" not in wrong:
        assert 'value="A &lt;b&gt;"' in reply.text
    if "grants" not in wrong:
        assert fields_of(reply.text)[1] == {"forms/leave:read"}
    assert not [one for one in site.get("/admin/tokens", root).json["items"] if one["label"]]


def test_what_was_typed_for_a_token_goes_through_signing_in(site: Site, root: str) -> None:
    cookie = site.sign_in(root)
    page = site.get("/admin/tokens?_new=1", cookie, **PAGE)
    [session] = site.get("/admin/sessions", root).json["items"]
    site.ask("DELETE", f"/admin/sessions/{session['id']}", token=root)
    reply = sent_from(site, page, {"subject": "robot", "label": "Kept", "grants": "forms/leave:read"}, cookie)
    assert reply.status == 401
    draft = re.search(r'name="draft" value="([^"]*)"', reply.text)
    assert draft
    again = site.submit("/login", {"token": root, "draft": html.unescape(draft[1])})
    assert again.status == 200
    assert 'value="Kept"' in again.text
    assert fields_of(again.text)[1] == {"forms/leave:read"}


def test_the_form_offers_what_its_caller_may_give_and_nothing_else(site: Site, root: str) -> None:
    helper = site.token("admin/tokens:*", "forms/leave:create,read", "files/docs:read", subject="helper")
    offered, _ = fields_of(site.get("/admin/tokens?_new=1", helper, **PAGE).text)
    own = {"admin/tokens:read", "admin/tokens:*", "forms/open:create"}  # and what everybody may
    assert offered == {"forms/leave:create", "forms/leave:read", "files/docs:read"} | own
    everything, _ = fields_of(site.get("/admin/tokens?_new=1", root, **PAGE).text)
    assert {"**:*", "forms/*:create", "views/numbers:read", "admin/audit:read", "staff"} < everything
    for refused in ({"grants": ["forms/leave:*"]}, {"roles": ["staff"]}, {"grants": ["**:*"]}):
        reply = new_token(site, helper, **refused)
        assert reply.status == 403, reply.text
        assert 'value="Report"' in reply.text, "and what was typed is there"


def test_whoever_only_reads_tokens_sees_no_button(site: Site, root: str) -> None:
    reader = site.token("admin/tokens:read", subject="reader")
    page = site.get("/admin/tokens", reader, **PAGE).text
    assert "New token" not in page
    assert "Revoke" not in page
    assert site.get("/admin/tokens?_new=1", reader, **PAGE).status in (303, 403)
    jti = site.get("/admin/tokens", reader).json["items"][0]["id"]
    assert site.submit(f"/admin/tokens/{jti}?_method=DELETE", {}, reader).status == 403


def test_a_token_is_revoked_in_the_list_and_on_its_page(site: Site, root: str) -> None:
    for place in ("list", "page"):
        token = site.send(
            "/admin/tokens", {"subject": "robot", "label": "Intake", "grants": ["forms/leave:read"]}, root
        ).json
        page = site.get("/admin/tokens?subject=robot" if place == "list" else f"/admin/tokens/{token['jti']}", root, **PAGE)
        target = re.search(rf'action="(/admin/tokens/{token["jti"]}\?_method=DELETE)"', page.text)
        assert target, place
        reply = site.submit(target[1], {"_token": hidden(page, "_token")}, root)
        assert (reply.status, reply["Location"]) == (303, "/admin/tokens")
        assert notice_of(site, reply, root) == "Revoked: Intake, of robot."
        assert site.get("/forms/leave/records", token["token"]).status == 401
        assert "revoked" in look(site, f"/admin/tokens/{token['jti']}", root)
    assert "Intake" not in look(site, "/admin/tokens", root), "the page begins with those that work"
    assert look(site, "/admin/tokens?state=ended", root).count("Intake") == 2
    assert site.get("/admin/tokens?state=x", root).status == 400


def test_all_tokens_of_one_subject_are_revoked_at_once(site: Site, root: str) -> None:
    robots, other = [site.token("forms/leave:read", subject="robot") for _ in range(3)], site.token("forms/leave:read")
    page = site.get("/admin/tokens?subject=robot", root, **PAGE)
    target = re.search(r'action="(/admin/tokens\?subject=robot&amp;_method=DELETE)"', page.text)
    assert target
    reply = site.submit(html.unescape(target[1]), {"_token": hidden(page, "_token")}, root)
    assert notice_of(site, reply, root) == "Revoked 3 tokens of robot."
    assert [site.get("/forms/leave/records", one).status for one in (*robots, other)] == [401, 401, 401, 200]
    told = site.ask("DELETE", "/admin/tokens?subject=robot", token=root)
    assert (told.status, told.json) == (200, {"revoked": 0, "left": 0})
    assert site.ask("DELETE", "/admin/tokens", token=root).status == 400, "whose is to be said"
    assert site.ask("DELETE", "/admin/tokens?subject=ann", token=other).status == 403


def test_a_commit_that_is_too_short_revokes_as_many_as_fit_and_says_how_many_are_left(
    site: Site, root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(5):
        site.token("forms/leave:read", subject="robot")
    monkeypatch.setattr(site.app.state, "most_writes", 7, raising=False)
    assert site.ask("DELETE", "/admin/tokens?subject=robot", token=root).json == {"revoked": 3, "left": 2}
    assert site.ask("DELETE", "/admin/tokens?subject=robot", token=root).json == {"revoked": 2, "left": 0}


# ---- sessions


def test_a_session_is_seen_with_who_when_and_where_and_ended_in_the_page(site: Site, root: str) -> None:
    link = site.send("/admin/people", {"subject": "bo", "name": "Bo Chen", "grants": ["forms/leave:*"]}, root).json["link"]
    member = site.sign_in(link)
    words = look(site, "/admin/sessions", root)
    assert re.search(r"Bo Chen bo from 127\.0\.0\.1 since \d{4}-", words), words
    page = site.get("/admin/sessions", root, **PAGE)
    target = re.search(r'action="(/admin/sessions/[\w-]+\?_method=DELETE)"', page.text)
    assert target
    reply = site.submit(target[1], {"_token": hidden(page, "_token")}, root)
    assert notice_of(site, reply, root) == "Ended a session of bo."
    assert site.get("/forms/leave", member).status == 401
    assert "Nothing here yet." in look(site, "/admin/sessions", root)


def test_the_page_of_sessions_marks_ones_own_and_shows_no_secret(site: Site, root: str) -> None:
    cookie = site.sign_in(root)
    page = site.get("/admin/sessions", cookie, **PAGE).text
    assert page.count("this one") == 1
    value = cookie.partition("=")[2]
    assert value not in page
    assert app.secret_digest(value) not in page + site.get("/admin/sessions", root).text
    assert site.get("/admin/sessions", root).json["items"][0]["client"] == "127.0.0.1"


def test_sessions_come_in_pages_with_the_latest_first(tmp_path: Path) -> None:
    clock = Time()
    site = Bare(tmp_path, '[providers.main]\nkind = "sql"\nurl = "sqlite:///app.db"\n', clock=clock)
    site.create("admin/people", {"subject": "bo"})
    for _ in range(7):
        clock.now += 10
        code = site.create("admin/people/bo/link", {}).page["once"]["link"].rpartition("/")[2]
        site.app.office.sign_in(code, "r")
    first = site.read("admin/sessions?_size=3").table
    assert first
    rows, following = list(first.rows), first.next
    while following:
        table = site.read(f"admin/sessions?_size=3&_next={following}").table
        assert table
        rows, following = rows + list(table.rows), table.next
    times = [row["created_at"] for row in rows]
    assert times == sorted(times, reverse=True)
    assert len({row["id"] for row in rows}) == 7
    site.close()


# ---- who may what


def may(site: Site, token: str, **asked: str) -> Any:
    return site.get("/admin/access?" + urlencode(asked), token).json


def test_it_is_said_by_which_grant_and_role_somebody_may_do_something(site: Site, root: str) -> None:
    site.send("/admin/people", {"subject": "bo", "roles": ["staff"], "grants": ["admin/audit:read"]}, root)
    told = may(site, root, who="bo", resource="forms/leave", action="create")
    assert told["allowed"] is True
    assert [(row["subject"], row["grant"], row["role"]) for row in told["items"]] == [("bo", "forms/**:*", "staff")]
    assert may(site, root, who="bo", resource="admin/audit", action="read")["items"][0]["role"] in ("", "staff")
    refused = may(site, root, who="bo", resource="admin/tokens", action="create")
    assert (refused["allowed"], refused["items"]) == (False, [])
    words = look(site, "/admin/access?who=bo&resource=admin/tokens&action=create", root)
    assert "bo may not do this: add to Tokens. It needs the grant admin/tokens:create." in words
    words = look(site, "/admin/access?who=bo&resource=forms/leave&action=create", root)
    assert "bo may do this: fill in Leave." in words
    assert "by the role staff" in words


def test_everybody_who_may_do_something_is_listed(site: Site, root: str) -> None:
    site.send("/admin/people", {"subject": "bo", "roles": ["staff"]}, root)
    site.send("/admin/people", {"subject": "cy", "grants": ["forms/open:read"]}, root)
    site.token("forms/open:create", subject="robot")
    told = may(site, root, resource="forms/open", action="create")
    assert {(row["kind"], row["subject"]) for row in told["items"]} == {
        ("everybody", ""), ("person", "bo"), ("token", "robot"), ("token", "root"),
    }  # fmt: skip
    assert "allowed" not in told
    inside = may(site, root, resource="forms/open/records/x", action="update")
    assert {row["subject"] for row in inside["items"]} == {"bo", "root"}


def test_what_is_said_is_what_is_allowed(site: Site, root: str) -> None:
    """For people, their own tokens and those of programs, against the flow itself."""
    link = site.send("/admin/people", {"subject": "bo", "grants": ["forms/leave:read", "views/*:read"]}, root).json["link"]
    cookie = site.sign_in(link)
    own = site.send("/me", {"do": "make_token", "read_only": True, "label": "own"}, cookie, Origin="http://localhost")
    secrets_ = {"own": own.json["token"], "robot": site.token("forms/**:read", subject="robot")}
    ids = {row["label"] or row["subject"]: row["id"] for row in site.get("/admin/tokens", root).json["items"]}
    for name, secret in secrets_.items():
        for address in ("forms/leave/records", "forms/papers/records", "views/numbers"):
            told = may(site, root, who=ids[name], resource=address, action="read")
            assert told["allowed"] == (site.get(f"/{address}", secret).status == 200), (name, address, told)
    [row] = may(site, root, who=ids["own"], resource="forms/leave", action="read")["items"]
    assert row["limit"] == "bo: forms/leave:read"


def test_a_suspended_person_may_nothing_and_a_token_in_somebodys_name_is_not_the_person(site: Site, root: str) -> None:
    site.send("/admin/people", {"subject": "bo", "grants": ["forms/leave:*"]}, root)
    assert may(site, root, who="bo", resource="forms/leave", action="read")["allowed"] is True
    site.send("/admin/people/bo", {"suspended": True}, root, "PATCH")
    assert may(site, root, who="bo", resource="forms/leave", action="read")["allowed"] is False
    site.send("/admin/people", {"subject": "cy"}, root)
    site.token("forms/leave:*", subject="cy")
    told = may(site, root, who="cy", resource="forms/leave", action="read")
    assert (told["allowed"], [row["kind"] for row in told["items"]]) == (False, ["token"])


def test_what_cannot_be_asked_about_access_is_refused_and_said_beside_its_field(site: Site, root: str) -> None:
    for query, status in {
        "who=nobody": 404, "resource=forms/nosuch": 404, "action=read": 400, "resource=forms/leave&action=x": 400,
        "x=1": 400, "_next=x": 400, "_size=0": 400, "resource=%ff": 400,
    }.items():  # fmt: skip
        assert site.get(f"/admin/access?{query}", root).status == status, query
    page = site.get("/admin/access?who=nobody&resource=forms/leave&action=read", root, **PAGE)
    assert page.status == 400
    assert "nobody is called" in said(page.text)
    assert 'value="nobody"' in page.text


def test_many_people_come_in_pages(site: Site, root: str) -> None:
    for number in range(25):
        site.app.state.commit(
            [app.Insert(app.PEOPLE, f"p{number:02}", {"subject": f"p{number:02}", "grants": ["forms/leave:read"]})]
        )
    found, following = [], ""
    for _ in range(10):
        told = may(site, root, resource="forms/leave", action="read", _size="7", _next=following)
        found += [row["subject"] for row in told["items"]]
        following = told["next"] or ""
        if not following:
            break
    assert found[:25] == [f"p{number:02}" for number in range(25)]
    assert len(found) == len(set(found)) == 26, "and root's token"
    lines = site.get("/admin/access.csv?resource=forms/leave&action=read", root).text.splitlines()
    assert len(lines) == 27


# ---- providers and check


def test_the_page_of_providers_says_what_lies_where_and_no_secret(tmp_path: Path) -> None:
    site = Site(
        tmp_path,
        edit=lambda toml: (
            toml + '[providers.far]\nkind = "generic"\nurl = "http://127.0.0.1:9/hush"\npreset = "json-server"\n'
        ),
    )
    token = site.token("admin/providers:read")
    rows = {one["name"]: one for one in site.get("/admin/providers", token).json["providers"]}
    assert rows["main"]["kind"] == "sql"
    assert {"state", "forms/leave", "views/numbers", "files/blobs"} <= set(rows["main"]["holds"])
    assert rows["disk"]["holds"] == ["files/docs", "files/pics", "forms/papers"], "whose files are there, too"
    assert 0 < rows["main"]["disk"]["free_bytes"] < rows["main"]["disk"]["size_bytes"]
    assert rows["main"]["ping_ms"] >= 0
    assert rows["far"]["fault"]
    page = site.get("/admin/providers", token, **PAGE).text
    assert "away" in page
    assert "People, tokens and sessions" in page
    assert "hush" not in page + site.get("/admin/providers", token).text
    assert 'href="/forms/leave"' not in page, "which this caller may not open"
    assert site.get("/admin/providers?x=1", token).status == 400
    site.close()


def test_the_page_of_the_check_says_what_server_check_says(site: Site, root: str) -> None:
    found = site.get("/admin/check", root).json
    assert (found["ok"], found["complete"], found["faults"]) == (True, True, [])
    assert found["warnings"] == [*dict.fromkeys([*site.app.inspection.warnings(), *site.app.inspection.damage()])]
    assert "No fault." in look(site, "/admin/check", root) or "Everything is in order." in look(site, "/admin/check", root)


def test_the_check_reads_app_toml_as_it_is_now(site: Site, root: str) -> None:
    path = site.folder / "app.toml"
    path.write_text('[forms.leave]\ntitel = "Leave"\n[forms.leave.fields]\na = { type = "string" }\n')
    found = site.get("/admin/check", root).json
    assert found["ok"] is False
    assert any("titel" in one["detail"] or "titel" in one["pointer"] for one in found["faults"])
    assert any("was changed since this server read it" in one for one in found["warnings"])
    words = look(site, "/admin/check", root)
    assert "Faults" in words
    assert "forms.leave" in words


def test_a_check_that_takes_long_is_answered_with_what_is_known_and_goes_on(
    site: Site, root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on, asked = threading.Event(), []

    def damage(most_s: float = 0.0) -> list[str]:
        asked.append(1)
        assert go_on.wait(20)
        return ["forms.leave: something is damaged"]

    monkeypatch.setattr(plugin("admin_check"), "_PATIENCE_S", 0.2)
    monkeypatch.setattr(site.app.inspection, "damage", damage)
    first = site.get("/admin/check", root).json
    assert (first["complete"], first["ok"]) == (False, False)
    assert "This is not all: the records" in look(site, "/admin/check", root)
    go_on.set()
    monkeypatch.setattr(plugin("admin_check"), "_PATIENCE_S", 20)
    last = site.get("/admin/check", root).json
    assert last["complete"] is True
    assert "forms.leave: something is damaged" in last["warnings"]
    assert len(asked) == 1, "one look at a time"


def test_the_page_of_a_person_leads_to_what_that_person_did_and_may(site: Site, root: str) -> None:
    site.send("/admin/people", {"subject": "bo&c"}, root)
    page = site.get("/admin/people/bo%26c", root, **PAGE).text
    for target in ("/admin/audit?subject=bo%26c", "/admin/tokens?subject=bo%26c", "/admin/access?who=bo%26c"):
        assert f'href="{target}"' in page
        assert site.get(target, root, **PAGE).status == 200
    helper = site.token("admin/people:*", subject="helper")
    assert "/admin/audit" not in site.get("/admin/people/bo%26c", helper, **PAGE).text


def test_the_check_knows_the_channels(tmp_path: Path) -> None:
    channel = '[channels.mail]\nkind = "mail"\nsmtp = "smtp://127.0.0.1:9"\nplain = true\nfrom = "a@example.org"\n'
    site = Site(tmp_path, edit=lambda text: text + channel)
    (tmp_path / "app.toml").write_text('[site]\ntitle = "New"\n' + channel)
    found = site.get("/admin/check", site.token("**:*", subject="root")).json
    assert not [one for one in found["faults"] if one["pointer"] == "channels.mail.kind"], found["faults"]
    site.close()


def test_the_first_and_the_last_day_that_there_are_ask_for_the_whole_trail(tmp_path: Path) -> None:
    site = Site(tmp_path, edit=lambda text: text.replace("[site]", '[site]\ntimezone = "Pacific/Auckland"', 1))
    root = site.token("**:*", subject="root")
    everything = site.get("/admin/audit", root).json["items"]
    for query in ("from=0001-01-01", "to=9999-12-31", "from=0001-01-01&to=9999-12-31", "to=9998-12-31"):
        assert site.get(f"/admin/audit?{query}", root).json["items"] == everything, query
    for query in ("from=9999-12-31", "to=0001-01-01"):
        assert site.get(f"/admin/audit?{query}", root).json["items"] == [], query
    site.close()
