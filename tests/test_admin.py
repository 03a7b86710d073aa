"""The administration in pages and JSON: the audit trail, tokens, sessions, who may what, providers, and what is wrong."""

from __future__ import annotations

import html
import re
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from http_client import PAGE, Reply, Site, action, hidden
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
    for words in ("People", "Tokens", "Who may do what", "Who did what, and when", "What is wrong in app.toml"):
        assert words in page
    less = look(site, "/admin", site.token("admin/audit:read"))
    assert "Who did what, and when" in less
    assert "Tokens" not in less


def test_no_list_of_the_administration_is_open_without_its_grant(site: Site) -> None:
    for name in ("people", "tokens", "sessions", "access", "audit", "providers", "check", "metrics"):
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


def test_days_are_those_of_the_zone_and_the_last_one_is_whole(tmp_path: Path) -> None:
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


def test_fields_that_the_reader_may_not_see_are_masked_in_pages_and_json(
    site: Site, root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hidden_one = site.app.resources["forms/leave"].fields["reason"]  # type: ignore[attr-defined]
    trail = plugin("admin_audit")
    monkeypatch.setattr(trail, "_roles_for", lambda field: ["hr"] if field is hidden_one else [])
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
