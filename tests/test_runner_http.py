"""RUNNERS: HTTP. In this process through wsgiref.validate, and over real sockets with real servers."""

from __future__ import annotations

import base64
import contextlib
import csv
import email.utils
import hashlib
import html
import io
import json
import logging
import os
import re
import shutil
import signal
import socket
import sqlite3
import ssl
import subprocess
import sys
import tempfile
import time
import tracemalloc
import unicodedata
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlencode

import backends
import pytest

import app

sys.path.insert(0, str(Path(__file__).parent))
from http_client import (
    FORM,
    JSON,
    MULTIPART,
    PAGE,
    QUICK,
    Connection,
    Reply,
    Server,
    Site,
    action,
    answers_at_once,
    authorised,
    drip,
    fill,
    head,
    hidden,
    hold,
    multipart,
    nginx,
    random_bytes,
    raw,
    read_all,
    serving,
    status_of,
)
from sites import mode

STARTER = app.bundled_text("starter.toml")

LEAVE = {"day": "2026-01-31", "days": 1.5}


@pytest.fixture
def ops(tmp_path: Path) -> Iterator[Site]:
    """A site below /ops."""
    made = Site(tmp_path, prefix="/ops")
    yield made
    made.close()


# ---- negotiation, methods, errors


@pytest.mark.parametrize(
    ("accept", "media"),
    [
        ("", "application/json"),
        ("*/*", "application/json"),
        ("*", "application/json"),
        (PAGE["Accept"], "text/html; charset=utf-8"),
        ("text/html;q=0.5, application/json;q=0.4", "text/html; charset=utf-8"),
        ("text/html;q=0.4, application/json;q=0.5", "application/json"),
        ("text/html;q=0, */*;q=0.1", "application/json"),
        ("application/*", "application/json"),
        ("TEXT/CSV", "text/csv; charset=utf-8"),
        ("text/csv;q=0.9, text/*;q=0.1", "text/csv; charset=utf-8"),
        ("application/x-ndjson", "application/x-ndjson"),
        ("image/png, */*;q=0.1", "application/json"),
        ("text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2", "text/html; charset=utf-8"),
        ("[a-z]*/*, application/json;q=0.1", "application/json"),
        ("text/csv;q=high, text/html", "text/html; charset=utf-8"),
    ],
)
def test_the_format_is_what_accept_prefers(site: Site, staff: str, accept: str, media: str) -> None:
    assert site.get("/views/numbers", staff, Accept=accept)["Content-Type"] == media


@pytest.mark.parametrize("accept", ["image/png", "application/pdf;q=1", "text/html;q=0", "nonsense"])
def test_a_format_that_does_not_exist_is_not_acceptable(site: Site, staff: str, accept: str) -> None:
    assert site.get("/views/numbers", staff, Accept=accept).status == 406
    assert site.get("/forms/leave", staff, Accept=accept).status == 406


def test_what_is_no_list_has_no_csv(site: Site, staff: str) -> None:
    assert site.get("/forms/leave", staff, Accept="text/csv").status == 406
    assert site.get("/forms/leave.csv", staff).status == 406


def test_a_file_is_sent_whatever_the_client_accepts(site: Site, staff: str) -> None:
    site.put("/files/docs/a.png", b"x", staff)
    assert site.get("/files/docs/a.png", staff, Accept="image/png").status == 200
    assert site.get("/apps/desk/static/desk.css", staff, Accept="text/css").status == 200


@pytest.mark.parametrize(
    ("suffix", "media"),
    [
        ("csv", "text/csv; charset=utf-8"),
        ("json", "application/json"),
        ("ndjson", "application/x-ndjson"),
        ("html", "text/html; charset=utf-8"),
    ],
)
@pytest.mark.parametrize("address", ["/views/numbers", "/forms/leave/records", "/admin/audit"])
def test_a_suffix_chooses_the_format(site: Site, staff: str, address: str, suffix: str, media: str) -> None:
    reply = site.get(f"{address}.{suffix}", staff, Accept="text/html")
    assert (reply.status, reply["Content-Type"]) == (200, media)


@pytest.mark.parametrize(
    "target",
    [
        "/",
        "/forms/leave",
        "/forms/leave/records",
        "/views/numbers.csv",
        "/files/docs/a.txt",
        "/files/docs/",
        "/login",
        "/static/app.css",
        "/healthz",
        "/readyz",
        "/nowhere",
        "/forms/none",
        "/files/docs/none",
    ],
)
@pytest.mark.parametrize("accept", ["*/*", "text/html"])
def test_head_is_get_without_the_body(site: Site, staff: str, target: str, accept: str) -> None:
    site.put("/files/docs/a.txt", b"hello", staff)
    got, head = (site.ask(method, target, None, {"Accept": accept}, staff) for method in ("GET", "HEAD"))

    def fixed(reply: Reply) -> list[tuple[str, str]]:
        return [pair for pair in reply.headers if pair[0] not in ("X-Request-Id", "Content-Length" * (target == "/login"))]

    assert (head.status, head.body) == (got.status, b"")
    assert fixed(head) == fixed(got)


@pytest.mark.parametrize(
    ("target", "methods"),
    [
        ("/files/docs", "GET, HEAD, POST, OPTIONS"),
        ("/files/docs/a", "GET, HEAD, POST, PUT, DELETE, OPTIONS"),
        ("/files/nowhere/a/b/", "GET, HEAD, POST, PUT, DELETE, OPTIONS"),
        ("/forms/leave", "GET, HEAD, POST, OPTIONS"),
        ("/forms/leave/records", "GET, HEAD, POST, OPTIONS"),
        ("/forms/leave/records.csv", "GET, HEAD, POST, OPTIONS"),
        ("/forms/nowhere/records/x", "GET, HEAD, PUT, PATCH, DELETE, OPTIONS"),
        ("/forms/papers/records/x/scan", "GET, HEAD, OPTIONS"),
        ("/views/numbers", "GET, HEAD, POST, OPTIONS"),
        ("/apps/desk", "GET, HEAD, OPTIONS"),
        ("/apps/desk/static/a/b.css", "GET, HEAD, OPTIONS"),
        ("/", "GET, HEAD, OPTIONS"),
        ("/login", "GET, HEAD, POST, OPTIONS"),
        ("/logout", "POST, OPTIONS"),
        ("*", "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS, PROPFIND, PROPPATCH, MKCOL, COPY, MOVE, LOCK, UNLOCK"),
    ],
)
def test_options_lists_the_methods_of_a_path_without_a_credential(site: Site, target: str, methods: str) -> None:
    reply = site.ask("OPTIONS", target)
    assert (reply.status, reply["Allow"], reply.body) == (204, methods, b"")
    assert not reply["Access-Control-Allow-Origin"]


@pytest.mark.parametrize(
    "target", ["/views/numbers/x", "/forms/leave/x", "/forms/leave/records/a/b/c/d", "/nowhere", "/apps/desk/x"]
)
def test_options_of_nothing_is_not_found(site: Site, target: str) -> None:
    assert site.ask("OPTIONS", target).status == 404


@pytest.mark.parametrize(
    ("method", "target", "allow"),
    [
        ("PATCH", "/files/docs/a", "GET, HEAD, POST, PUT, DELETE, OPTIONS"),
        ("POST", "/forms/leave/records/x", "GET, HEAD, PUT, PATCH, DELETE, OPTIONS"),
        ("POST", "/", "GET, HEAD, OPTIONS"),
        ("DELETE", "/login", "GET, HEAD, POST, OPTIONS"),
        ("GET", "/logout", "POST, OPTIONS"),
        ("PUT", "/healthz", "GET, HEAD, OPTIONS"),
        ("POST", "/apps/desk", "GET, HEAD, OPTIONS"),
        ("PUT", "/views/numbers", "GET, HEAD, POST, OPTIONS"),
        ("DELETE", "/apps/desk", "GET, HEAD, OPTIONS"),
        ("DELETE", "/forms/leave/records", "GET, HEAD, POST, OPTIONS"),
        ("BREW", "/", "GET, HEAD, OPTIONS"),
        ("get", "/", "GET, HEAD, OPTIONS"),
        ("BREW", "/files/docs/a", "GET, HEAD, POST, PUT, DELETE, OPTIONS"),
        ("TRACE", "/", "GET, HEAD, OPTIONS"),
    ],
)
def test_a_method_that_a_path_does_not_take_is_answered_with_those_it_takes(
    site: Site, method: str, target: str, allow: str
) -> None:
    admin = site.token("**:*")
    reply = site.ask(method, target, None, {}, admin)
    assert (reply.status, reply["Allow"]) == (405, allow)


FAULTS: list[tuple[str, str, bytes | None, dict[str, str], int, str]] = [
    ("GET", "/forms/leave?x=1", None, {}, 400, "bad_request"),
    ("POST", "/forms/leave", b"{", JSON, 400, "bad_request"),
    ("GET", "/nothing", None, {}, 404, "not_found"),
    ("GET", "/forms/none", None, {}, 404, "not_found"),
    ("POST", "/apps/desk", b"{}", JSON, 405, "unsupported_action"),
    ("PUT", "/files/docs/a.txt", b"y", {"If-Match": '"zz"'}, 412, "precondition_failed"),
    ("PUT", "/files/docs/big", b"x" * 1_000_001, {}, 413, "too_large"),
    ("POST", "/forms/leave", b"<x/>", {"Content-Type": "text/xml"}, 415, "unsupported_media_type"),
    ("GET", "/files/docs/a.txt", None, {"Range": "bytes=9-"}, 416, "range_not_satisfiable"),
    ("GET", "/", None, {"Host": "evil.example"}, 421, "misdirected_request"),
    ("POST", "/forms/leave", b"{}", JSON, 422, "validation_failed"),
]


@pytest.mark.parametrize(("method", "target", "body", "headers", "status", "code"), FAULTS)
@pytest.mark.parametrize("accept", ["*/*", "text/csv", "image/png", "text/html"])
def test_every_fault_is_one_problem_object_or_a_page_with_the_same_facts(
    site: Site, method: str, target: str, body: bytes | None, headers: dict[str, str], status: int, code: str, accept: str
) -> None:
    staff = site.token(roles=["staff"])
    site.put("/files/docs/a.txt", b"x", staff)
    reply = site.ask(method, target, body, headers | {"Accept": accept}, staff)
    assert reply.status == status
    assert reply["Content-Length"] == str(len(reply.body))
    if accept == "text/html":
        assert reply["Content-Type"] == "text/html; charset=utf-8"
        assert code in reply.text
        assert reply["X-Request-Id"] in reply.text
        assert "script-src 'self'" in reply["Content-Security-Policy"]
        return
    assert reply["Content-Type"] == "application/problem+json"
    assert {"type", "title", "status", "detail", "code", "request_id"} <= set(reply.json)
    assert set(reply.json) <= {"type", "title", "status", "detail", "code", "request_id", "errors"}
    assert (reply.json["status"], reply.json["code"], reply.json["request_id"]) == (status, code, reply["X-Request-Id"])
    assert all(set(fault) == {"pointer", "code", "detail"} for fault in reply.json.get("errors", []))


def test_request_ids_are_all_different_and_never_the_clients_own(site: Site) -> None:
    ids = [site.get("/healthz", X_Request_Id="mine")["X-Request-Id"] for _ in range(20)]
    assert len(set(ids)) == 20
    assert "mine" not in ids


@pytest.mark.parametrize("accept", ["*/*", "text/html"])
def test_a_broken_template_is_a_fault_without_stack_or_path(
    tmp_path: Path, accept: str, caplog: pytest.LogCaptureFixture
) -> None:
    site = Site(tmp_path)
    (tmp_path / "templates" / "home.tpl").write_text("{{secret_name_of_a_variable}}")
    reply = site.get("/", site.token(roles=["staff"]), Accept="text/html")
    assert (reply.status, reply["Content-Type"]) == (500, "text/html; charset=utf-8")
    for leak in ("Traceback", "secret_name", str(tmp_path), "NameError", ".tpl", ".py"):
        assert leak not in reply.text
    assert "NameError" in caplog.text
    assert reply["X-Request-Id"] in caplog.text
    site.close()


def test_broken_error_templates_still_give_a_page_with_the_facts(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    site = Site(tmp_path)
    (tmp_path / "templates" / "error.tpl").write_text("{{nope}}")
    reply = site.get("/nothing", Accept="text/html")
    assert (reply.status, reply["Content-Type"]) == (404, "text/html; charset=utf-8")
    assert "there is nothing at /nothing" in reply.text
    assert reply["X-Request-Id"] in reply.text
    assert "nope" not in reply.text
    assert reply["X-Request-Id"] in caplog.text
    site.close()


def test_a_bug_in_a_provider_is_a_fault_without_stack_or_path(
    site: Site, staff: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*args: object) -> None:
        raise RuntimeError("/secret/path")

    monkeypatch.setattr(site.app.providers["main"], "find_texts", broken)
    reply = site.get("/forms/leave/records", staff)
    assert (reply.status, reply.json["code"]) == (500, "internal_error")
    assert "secret" not in reply.text
    assert "/secret/path" in caplog.text


def test_a_provider_that_is_away_is_503_with_retry_after_and_without_its_hint(
    site: Site, staff: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def away(*args: object) -> None:
        raise app.Unavailable("main does not answer", hint="db.internal:5432")

    monkeypatch.setattr(site.app.providers["main"], "find_texts", away)
    reply = site.get("/forms/leave/records", staff)
    assert (reply.status, reply["Retry-After"]) == (503, "5")
    assert "db.internal" not in reply.text
    assert "db.internal" in caplog.text


def test_a_file_that_the_servers_account_may_not_read_is_403_and_its_path_is_for_the_log_alone(
    site: Site, staff: str, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("a.txt", "b.txt"):
        site.put(f"/files/docs/sub/{name}", b"x", staff)
    folder = site.folder / "disk/docs"
    (folder / "link").symlink_to(folder / "sub/a.txt")
    with mode(folder / "sub/a.txt", 0):
        replies = [site.get("/files/docs/sub/a.txt", staff)]
    with mode(folder / "sub", 0o500):
        replies += [
            site.put("/files/docs/sub/new", b"x", staff),
            site.ask("DELETE", "/files/docs/sub/a.txt", None, {}, staff),
        ]
        replies += [site.upload("/files/docs/sub/", ("file", "n", b"x"), token=staff)]
    for reply in replies:
        assert (reply.status, reply.json["code"], reply["Retry-After"]) == (403, "not_permitted", "")
        assert str(site.folder) not in reply.text
    assert str(folder / "sub") in caplog.text
    with mode(folder / "sub", 0):
        rows = site.get("/files/docs/", staff).json["items"]
        page = site.get("/files/docs/", staff, **PAGE)
    assert [(row["name"], row["type"]) for row in rows] == [("link", "unreadable"), ("sub", "folder")]
    assert (page.status, "cannot be read" in page.text) == (200, True)
    assert site.get("/files/docs/sub/b.txt", staff).body == b"x"


def test_every_answer_has_the_headers_that_keep_browsers_safe(site: Site, staff: str) -> None:
    for target in ("/", "/forms/leave", "/healthz", "/nowhere", "/login", "/static/app.css", "/views/numbers.csv"):
        reply = site.get(target, staff, Accept="text/html")
        assert reply["X-Content-Type-Options"] == "nosniff", target
        assert "frame-ancestors 'none'" in reply["Content-Security-Policy"], target
        assert "unsafe-inline" not in reply["Content-Security-Policy"], target


SAFE = {
    "X-Content-Type-Options": "nosniff", "Referrer-Policy": "same-origin", "X-Frame-Options": "DENY",
    "Vary": "Accept, Accept-Language, Cookie", "Cache-Control": "no-store",
}  # fmt: skip


@pytest.mark.parametrize(
    ("target", "own"),
    [
        ("/", {}),
        ("/forms/leave", {}),
        ("/nowhere", {}),
        ("/healthz", {}),
        ("/views/numbers.csv", {}),
        ("/files/docs/a.txt", {"Cache-Control": "private, no-cache"}),
        ("/static/app.css", {"Cache-Control": "no-cache"}),
    ],
)
@pytest.mark.parametrize("accept", ["text/html", "application/json"])
def test_every_answer_has_every_safe_header_once(
    site: Site, staff: str, target: str, own: dict[str, str], accept: str
) -> None:
    site.put("/files/docs/a.txt", b"x", staff)
    reply = site.get(target, staff, Accept=accept)
    names = [name.lower() for name, _ in reply.headers]
    assert len(names) == len(set(names))
    assert {name: reply[name] for name in SAFE} == SAFE | own
    assert re.fullmatch("[0-9a-f]{32}", reply["X-Request-Id"])
    policy = reply["Content-Security-Policy"].split("; ")
    assert "default-src 'none'" in policy
    if reply["Content-Type"].startswith("text/html"):
        assert {"script-src 'self'", "style-src 'self'", "form-action 'self'", "base-uri 'none'"} <= set(policy)
    assert ("sandbox" in policy) is (target == "/files/docs/a.txt")
    assert "frame-ancestors 'none'" in policy or "sandbox" in policy


def test_health_and_readiness_need_no_credential_and_readiness_names_what_is_away(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert site.get("/healthz").json == {"status": "ok"}
    assert site.get("/readyz").json["providers"] == {"main": "ok", "disk": "ok"}

    def away() -> float:
        raise app.Unavailable("main does not answer")

    monkeypatch.setattr(site.app.providers["main"], "ping", away)
    reply = site.get("/readyz")
    assert (reply.status, reply.json["providers"]["main"]) == (503, "main does not answer")


def test_a_clock_that_jumped_is_told_by_readiness_and_sends_nobody_elsewhere(site: Site) -> None:
    assert "clock" not in site.get("/readyz").json
    site.app.state.commit([app.Insert("_settings", "clock", {"at": time.time() - 2 * 86_400})])
    reply = site.get("/readyz")
    assert (reply.status, reply.json["status"]) == (200, "degraded")
    assert "was the last time seen here" in reply.json["clock"]


# ---- files


def test_a_file_goes_up_and_comes_down_on_every_kind_of_provider(site: Site, staff: str, share: str) -> None:
    data = random_bytes(300_000)
    made = site.put(f"{share}/a/b.bin", data, staff)
    assert (made.status, made["Location"]) == (201, f"{share}/a/b.bin")
    assert made.json["sha256"] == hashlib.sha256(data).hexdigest()
    got = site.get(f"{share}/a/b.bin", staff)
    assert (got.status, got.body, got["Content-Length"]) == (200, data, str(len(data)))
    assert got["ETag"] == made["ETag"]
    assert re.fullmatch(r'"[^"]+"', got["ETag"])
    assert site.put(f"{share}/a/b.bin", b"new", staff).status == 200
    assert site.get(f"{share}/a/b.bin", staff)["ETag"] != made["ETag"]
    assert site.ask("DELETE", f"{share}/a/b.bin", None, {}, staff).status == 204
    assert site.get(f"{share}/a/b.bin", staff).status == 404
    assert site.ask("DELETE", f"{share}/a/b.bin", None, {}, staff).status == 404


def test_an_empty_file_is_a_file(site: Site, staff: str, share: str) -> None:
    assert site.put(f"{share}/empty", b"", staff).status == 201
    got = site.get(f"{share}/empty", staff)
    assert (got.status, got.body, got["Content-Length"]) == (200, b"", "0")
    assert site.get(f"{share}/empty", staff, Range="bytes=0-").status == 416


def test_a_folder_is_a_listing_with_and_without_its_slash(site: Site, staff: str, share: str) -> None:
    site.put(f"{share}/f/a.txt", b"x", staff)
    site.put(f"{share}/f/sub/b.txt", b"x", staff)
    for target in (f"{share}/f", f"{share}/f/"):
        items = site.get(target, staff).json["items"]
        assert [(item["name"], item["type"]) for item in items] == [("a.txt", "file"), ("sub", "folder")]
        page = site.get(target, staff, Accept="text/html").text
        assert f'href="{share}/f/sub/"' in page
        assert f'href="{share}/f/a.txt?_view=1' in page
    assert site.get(f"{share}/f/a.txt/", staff).status == 404
    assert site.get(share, staff).json == site.get(f"{share}/", staff).json
    assert site.put(f"{share}/f/", b"x", staff).status == 400
    assert site.put(share, b"x", staff).status == 405
    assert site.ask("DELETE", f"{share}/f", None, {}, staff).status == 409
    assert "a.txt" in site.get(f"{share}/f/", staff, Accept="text/csv").text


def test_a_listing_pages_to_its_end(site: Site, staff: str, share: str) -> None:
    for number in range(7):
        site.put(f"{share}/p/{number}", b"x", staff)
    target, seen = f"{share}/p/?_size=3", []
    while target:
        reply = site.get(target, staff)
        seen += [item["name"] for item in reply.json["items"]]
        link = re.fullmatch(r'<(.*)>; rel="next"', reply["Link"])
        target = link[1] if link else ""
    assert seen == list("0123456")


NAMES = [
    "with space", 'quo"te', "per%cent", "100%25", "ha#sh", "que?stion", "semi;colon", "pl+us", "ümläut", "🏖", "שלום",
    "a&b=c",
    "x" * 255, "-dash", "~tilde", "(paren)", "it's", "comma,", "..three...dots.x", "data:text.txt", "{{7*7}}", "<b>.txt",
    "a=b",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_any_name_survives_the_way_up_down_and_through_the_pages(site: Site, staff: str, share: str, name: str) -> None:
    target = f"{share}/{quote(name, safe='')}"
    made = site.put(target, b"content", staff)
    assert (made.status, made["Location"]) == (201, target)
    got = site.get(target, staff)
    assert got.body == b"content"
    assert f"filename*=UTF-8''{quote(name, safe='')}" in got["Content-Disposition"]
    listed = site.get(f"{share}/", staff).json["items"]
    assert [item["name"] for item in listed] == [name]
    assert "/" + listed[0]["address"] == target
    page = site.get(f"{share}/", staff, Accept="text/html").text
    assert re.search(rf'href="{re.escape(html.escape(target))}["?]', page)  # its own address, or that of its page
    assert name in html.unescape(page)
    deleted = site.submit(f"{target}?_method=DELETE", {}, staff)
    assert (deleted.status, deleted["Location"]) == (303, f"{share}/")
    up = site.upload(f"{share}/", ("file", name, b"up"), token=staff)
    assert (up.status, up.json["items"][0]["name"]) == (201, name)
    assert site.get(target, staff).body == b"up"


NOT_IN_WINDOWS = ["con", "aux.txt", "Trip.", "space ", "...", "a\\b", "..\\..\\evil", "nul .tar.gz"]


def test_names_that_windows_cannot_have_are_served_where_they_are_and_never_made(site: Site, staff: str, share: str) -> None:
    blobs = site.app.resources[share.strip("/")].blobs  # type: ignore[attr-defined]
    for name in NOT_IN_WINDOWS:
        for path in (name, f"{name}in/{name}", f"Trip/{name}"):
            blobs.write(f"{share.rpartition('/')[2]}/{path}", [name.encode()])
    assert {item["name"] for item in site.get(f"{share}/", staff).json["items"]} >= set(NOT_IN_WINDOWS)
    page = html.unescape(site.get(f"{share}/", staff, Accept="text/html").text)
    with zipfile.ZipFile(io.BytesIO(site.get(f"{share}/?_zip=1", staff).body)) as archive:
        packed = {name: archive.read(name) for name in archive.namelist()}
    for name in NOT_IN_WINDOWS:
        address = f"{share}/{quote(name, safe='')}"
        assert name in page
        assert packed[name.replace("\\", "%5C")] == name.encode()
        for one in (address, f"{share}/{quote(name + 'in')}/{quote(name, safe='')}"):
            assert (site.get(one, staff).body, site.get(f"{one}?_view=1", staff).status) == (name.encode(), 200)
        assert site.put(address, b"changed", staff).status == 200
        assert site.ask("DELETE", address, None, {}, staff).status == 204
        assert site.put(address, b"anew", staff).status == 400
    moved = site.ask("POST", f"{share}/Trip", b'{"move": "%s/Else"}' % share[1:].encode(), JSON, staff)
    assert (moved.status, moved.json["files"]) == (201, len(NOT_IN_WINDOWS))
    assert site.get(f"{share}/Else/con", staff).body == b"con"


@pytest.mark.parametrize(
    "path",
    [
        "..", "../x", "a/../../x", "%2e%2e/x", "%2E%2E", "..%2fx", "a%2fb", "..%5cx", "a%5cb", "/etc/passwd", "a//b", "./a",
        "%00", "a%00b", "a%0ab", "a%0db", "%7f", "con", "NUL.txt", "lpt1", "a.", "a%20", "x" * 256, "%ff", "a%c0%af",
        "%ed%a0%80", "/".join(["x" * 200] * 6), "C:%5cx",
    ],
)  # fmt: skip
def test_a_path_that_leads_astray_is_refused_in_every_spelling(site: Site, staff: str, path: str) -> None:
    (site.folder / "x").write_text("outside")
    before = sorted(site.folder.rglob("*"))
    for share in ("/files/docs", "/files/blobs"):
        for method in ("GET", "PUT", "DELETE"):
            assert site.ask(method, f"{share}/{path}", b"x" if method == "PUT" else None, {}, staff).status == 400
    assert [path for path in sorted(site.folder.rglob("*")) if path not in before and "app.db" not in path.name] == []


@pytest.mark.parametrize(
    "target", ["//files/docs/x", "/files//docs/x", "/./files/docs/x", "/forms/../files/docs/x", "/%66iles/docs/x"]
)
def test_only_one_spelling_of_an_address_is_known(site: Site, staff: str, target: str) -> None:
    site.put("/files/docs/x", b"x", staff)
    assert site.get(target, staff).status in (400, 403, 404)


def test_symbolic_links_do_not_lead_out_of_a_share(site: Site, staff: str) -> None:
    site.put("/files/docs/x", b"x", staff)
    (site.folder / "secret").mkdir()
    (site.folder / "secret" / "file").write_text("secret")
    (site.folder / "disk" / "docs" / "link").symlink_to(site.folder / "secret")
    (site.folder / "disk" / "docs" / "one").symlink_to(site.folder / "secret" / "file")
    for target in ("link/file", "link/", "one"):
        assert "secret" not in site.get(f"/files/docs/{target}", staff).text.partition('"detail"')[0]
    assert site.put("/files/docs/link/new", b"x", staff).status >= 400
    assert sorted(path.name for path in (site.folder / "secret").iterdir()) == ["file"]


def test_conditions_on_reading_a_file_follow_the_order_of_the_standard(site: Site, staff: str, share: str) -> None:
    site.put(f"{share}/a", b"0123456789", staff)
    got = site.get(f"{share}/a", staff)
    tag, modified = got["ETag"], got["Last-Modified"]
    old, new = "Sun, 06 Nov 1994 08:49:37 GMT", "Fri, 01 Jan 2038 00:00:00 GMT"

    def status(**headers: str) -> int:
        return site.get(f"{share}/a", staff, **headers).status

    assert status(If_None_Match=tag) == 304
    assert status(If_None_Match="W/" + tag) == 304
    assert status(If_None_Match=f'"other", {tag}') == 304
    assert status(If_None_Match="*") == 304
    assert status(If_None_Match='"other"') == 200
    assert status(If_None_Match='"other"', If_Modified_Since=new) == 200  # the tag decides
    assert status(If_Modified_Since=modified) == 304
    assert status(If_Modified_Since=new) == 304
    assert status(If_Modified_Since=old) == 200
    assert status(If_Modified_Since="Sunday, 06-Nov-94 08:49:37 GMT") == 200
    assert status(If_Modified_Since="Sun Nov  6 08:49:37 1994") == 200
    assert status(If_Modified_Since="yesterday") == 200
    assert status(If_Modified_Since="Mon, 99 Foo 99999999999 25:61:61 GMT") == 200
    assert status(If_Match=tag) == 200
    assert status(If_Match="*") == 200
    assert status(If_Match='"other"') == 412
    assert status(If_Match="W/" + tag) == 412
    assert status(If_Match="bare") == 400
    assert status(If_None_Match=f"bare, {tag}") == status(If_None_Match=f'{tag} "x') == status(If_Match=f"*, {tag}") == 400
    assert status(If_Match='"*x"') == status(If_Match='"x", "*x"') == 412, "a star in a tag is no star"
    assert status(If_Unmodified_Since=modified) == 200
    assert status(If_Unmodified_Since=old) == 412
    assert status(If_Match=tag, If_Unmodified_Since=old) == 200
    unchanged = site.get(f"{share}/a", staff, If_None_Match=tag)
    assert (unchanged.body, unchanged["ETag"], unchanged["Content-Length"]) == (b"", tag, "")


RANGES = [
    ("bytes=0-0", [(0, 1)]), ("bytes=2-4", [(2, 5)]), ("bytes=7-", [(7, 10)]), ("bytes=-3", [(7, 10)]),
    ("bytes=-99", [(0, 10)]),
    ("bytes=0-99", [(0, 10)]), ("bytes=9-9", [(9, 10)]), ("Bytes=1-1", [(1, 2)]), ("bytes=0-1,4-5", [(0, 2), (4, 6)]),
    ("bytes=8-,0-1", [(8, 10), (0, 2)]), ("bytes=0-1,50-60", [(0, 2)]), ("bytes=0-1 , 3-3", [(0, 2), (3, 4)]),
    ("bytes=0-1,2-3", [(0, 2), (2, 4)]), ("bytes=4-9223372036854775807", [(4, 10)]),
]  # fmt: skip


@pytest.mark.parametrize(("header", "stretches"), RANGES)
def test_ranges_give_exactly_their_bytes(
    site: Site, staff: str, share: str, header: str, stretches: list[tuple[int, int]]
) -> None:
    data = b"0123456789"
    site.put(f"{share}/a.txt", data, staff)
    reply = site.get(f"{share}/a.txt", staff, Range=header)
    assert reply.status == 206
    assert reply["Content-Length"] == str(len(reply.body))
    assert reply["ETag"]
    if len(stretches) == 1:
        start, stop = stretches[0]
        assert (reply.body, reply["Content-Range"]) == (data[start:stop], f"bytes {start}-{stop - 1}/10")
        return
    assert not reply["Content-Range"]
    boundary = reply["Content-Type"].removeprefix("multipart/byteranges; boundary=")
    parts = reply.body.split(f"--{boundary}".encode())[1:-1]
    assert reply.body.endswith(f"--{boundary}--\r\n".encode())
    for part, (start, stop) in zip(parts, stretches, strict=True):
        head, _, body = part.partition(b"\r\n\r\n")
        assert f"Content-Range: bytes {start}-{stop - 1}/10".encode() in head
        assert b"Content-Type: text/plain" in head
        assert body == data[start:stop] + b"\r\n"


@pytest.mark.parametrize("header", ["bytes=10-", "bytes=10-20", "bytes=-0", "bytes=11-,90-99"])
def test_a_range_outside_the_file_is_not_satisfiable(site: Site, staff: str, share: str, header: str) -> None:
    site.put(f"{share}/a", b"0123456789", staff)
    reply = site.get(f"{share}/a", staff, Range=header)
    assert (reply.status, reply["Content-Range"]) == (416, "bytes */10")


@pytest.mark.parametrize(
    "header",
    [
        "bytes",
        "bytes=",
        "bytes=-",
        "bytes=a-b",
        "bytes=5-2",
        "lines=0-1",
        "bytes=0-1,x",
        "bytes=1.5-2",
        "bytes=0-4,2-6",
        "bytes=0-,0-,0-",
        "bytes=" + ",".join(f"{n}-{n}" for n in range(0, 60, 2)),
        "bytes=--1",
        "bytes=١-٢",
    ],
)
def test_a_malformed_or_greedy_range_is_ignored(site: Site, staff: str, share: str, header: str) -> None:
    site.put(f"{share}/a", b"0123456789" * 10, staff)
    reply = site.get(f"{share}/a", staff, Range=header.encode().decode("latin-1"))
    assert (reply.status, len(reply.body)) == (200, 100)


def test_twenty_ranges_are_sent_and_no_more(site: Site, staff: str) -> None:
    site.put("/files/docs/a", b"0123456789" * 10, staff)
    for count, status in ((20, 206), (21, 200)):
        header = "bytes=" + ",".join(f"{n}-{n}" for n in range(0, 2 * count, 2))
        assert site.get("/files/docs/a", staff, Range=header).status == status


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="the time zone of a process cannot be set")
def test_dates_of_requests_are_gmt_wherever_the_server_stands(
    site: Site, staff: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.put("/files/docs/a", b"x", staff)
    stamp = email.utils.parsedate_to_datetime(site.get("/files/docs/a", staff)["Last-Modified"])
    with monkeypatch.context() as patch:
        for zone in ("XXX-11", "XXX+11"):
            patch.setenv("TZ", zone)
            time.tzset()
            for text in (f"{stamp:%a, %d %b %Y %H:%M:%S} -0000", f"{stamp:%a %b %d %H:%M:%S %Y}"):
                assert site.get("/files/docs/a", staff, If_Modified_Since=text).status == 304
                assert site.get("/files/docs/a", staff, If_Unmodified_Since=text).status == 200
    time.tzset()


def test_if_range_asks_for_the_range_of_the_same_file_only(site: Site, staff: str, share: str) -> None:
    site.put(f"{share}/a", b"0123456789", staff)
    got = site.get(f"{share}/a", staff)

    def status(condition: str) -> int:
        return site.get(f"{share}/a", staff, Range="bytes=0-1", If_Range=condition).status

    assert status(got["ETag"]) == 206
    assert status(got["Last-Modified"]) == 206
    assert status('"other"') == 200
    assert status("W/" + got["ETag"]) == 200
    assert status("Sun, 06 Nov 1994 08:49:37 GMT") == 200
    assert status("Fri, 01 Jan 2038 00:00:00 GMT") == 200
    assert status("nonsense") == 200
    site.put(f"{share}/a", b"abcdefghij", staff)
    assert status(got["ETag"]) == 200


def test_head_has_no_ranges(site: Site, staff: str) -> None:
    site.put("/files/docs/a", b"0123456789", staff)
    reply = site.ask("HEAD", "/files/docs/a", None, {"Range": "bytes=0-1"}, staff)
    assert (reply.status, reply["Content-Length"]) == (200, "10")


def test_conditions_on_writing_a_file_hold_or_nothing_changes(site: Site, staff: str, share: str) -> None:
    first = site.put(f"{share}/a", b"one", staff, If_None_Match="*")
    assert first.status == 201
    assert site.put(f"{share}/a", b"two", staff, If_None_Match="*").status == 412
    assert site.put(f"{share}/a", b"two", staff, If_Match='"other"').status == 412
    assert site.put(f"{share}/none", b"two", staff, If_Match="*").status == 412
    assert site.ask("DELETE", f"{share}/a", None, {"If-Match": '"other"'}, staff).status == 412
    assert site.get(f"{share}/a", staff).body == b"one"
    assert site.put(f"{share}/a", b"two", staff, If_Match=first["ETag"]).status == 200
    assert site.put(f"{share}/a", b"three", staff, If_Match=first["ETag"]).status == 412
    tag = site.get(f"{share}/a", staff)["ETag"]
    assert site.ask("DELETE", f"{share}/a", None, {"If-Match": tag}, staff).status == 204


def test_a_write_is_refused_if_its_file_was_modified_since_its_date(site: Site, staff: str, share: str) -> None:
    first = site.put(f"{share}/a", b"one", staff, X_OC_Mtime="1500000000")
    before, at = "Fri, 14 Jul 2017 02:39:59 GMT", "Fri, 14 Jul 2017 02:40:00 GMT"

    def statuses(date: str, **headers: str) -> list[int]:
        sent = {"If-Unmodified-Since": date} | {name.replace("_", "-"): text for name, text in headers.items()}
        data = {verb: f'{{"{verb}": "{share.strip("/")}/b"}}'.encode() for verb in ("copy", "move")}
        said = [("POST", data[verb], sent | JSON) for verb in ("copy", "move")]
        asked = [("PUT", b"two", sent), *said, ("DELETE", None, sent)]
        return [site.ask(method, f"{share}/a", body, more, staff).status for method, body, more in asked]

    assert statuses(before) == [412] * 4
    assert site.get(f"{share}/a", staff)["ETag"] == first["ETag"]
    assert site.put(f"{share}/a", b"two", staff, If_Match=first["ETag"], If_Unmodified_Since=before).status == 200
    assert site.put(f"{share}/a", b"three", staff, If_Unmodified_Since="yesterday", X_OC_Mtime="1500000000").status == 200
    assert site.put(f"{share}/none", b"new", staff, If_Unmodified_Since=before).status == 201
    assert site.put(f"{share}/a", b"four", staff, If_Unmodified_Since=at, X_OC_Mtime="1500000000").status == 200
    assert statuses(at, X_OC_Mtime="1500000000") == [200, 201, 409, 204]


def test_no_answer_says_that_a_file_will_be_modified(site: Site, staff: str, share: str) -> None:
    """RFC 9110 section 8.8.2.1."""
    site.put(f"{share}/a", b"one", staff, X_OC_Mtime="4000000000")
    told = email.utils.parsedate_to_datetime(site.get(f"{share}/a", staff)["Last-Modified"])
    assert told.timestamp() <= time.time()


def test_create_only_and_update_only_grants_are_kept_apart(site: Site, staff: str, share: str) -> None:
    address = share.strip("/")
    creates, updates = site.token(f"{address}:create"), site.token(f"{address}:update")
    site.put(f"{share}/there", b"old", staff)
    assert site.put(f"{share}/there", b"new", creates).status == 403
    assert site.put(f"{share}/new", b"new", creates).status == 201
    assert site.put(f"{share}/missing", b"new", updates).status == 403
    assert site.put(f"{share}/there", b"newer", updates).status == 200
    assert site.get(f"{share}/there", creates).status == 403
    assert site.upload(f"{share}/", ("file", "there", b"x"), token=creates).status == 409
    assert site.upload(f"{share}/", ("_replace", None, "1"), ("file", "there", b"x"), token=creates).status == 403
    assert site.upload(f"{share}/", ("file", "inbox", b"x"), token=creates).status == 201
    assert site.get(f"{share}/there", staff).body == b"newer"
    refused = site.put(f"{share}/there", b"new", creates)
    assert (
        refused["WWW-Authenticate"] == f'Bearer realm="satchel", error="insufficient_scope", scope="{address}/there:update"'
    )


@pytest.mark.parametrize(
    ("grant", "reads"),
    [
        ("files/docs", "/files/docs /files/docs/ /files/docs/top.txt /files/docs/a /files/docs/a/ /files/docs/a/b.txt"),
        ("files/docs/**", "/files/docs /files/docs/ /files/docs/top.txt /files/docs/a /files/docs/a/ /files/docs/a/b.txt"),
        ("files/docs/*", "/files/docs/top.txt /files/docs/a /files/docs/a/"),
        ("files/docs/*/*", "/files/docs/a/b.txt"),
        ("files/docs/a", "/files/docs/a /files/docs/a/ /files/docs/a/b.txt"),
        ("forms/leave/records/*", "/forms/leave/records/one"),
        ("forms/leave/records", "/forms/leave/records /forms/leave/records/one"),
        ("files/*", "/files/docs /files/docs/ /files/docs/top.txt /files/docs/a /files/docs/a/ /files/docs/a/b.txt"),
        ("forms/*", "/forms/leave /forms/leave/records /forms/leave/records/one"),
        ("*/leave", "/forms/leave /forms/leave/records /forms/leave/records/one"),
        ("views/*", "/views/waiting"),
        ("admin/*", "/admin/audit"),
        ("*", "all"),
        ("*/*", "all"),
        ("**", "all"),
    ],
)
def test_a_grant_opens_what_its_pattern_covers_and_no_more(site: Site, staff: str, grant: str, reads: str) -> None:
    for name in ("top.txt", "a/b.txt"):
        site.put(f"/files/docs/{name}", b"x", staff)
    site.send("/forms/leave/records/one", LEAVE, staff, method="PUT", If_None_Match="*")
    everything = (
        "/files/docs /files/docs/ /files/docs/top.txt /files/docs/a /files/docs/a/ /files/docs/a/b.txt /forms/leave"
        " /forms/leave/records /forms/leave/records/one /views/waiting /admin/audit"
    ).split()
    token = site.token(f"{grant}:read")
    replies = {target: site.get(target, token).status for target in everything}
    wanted = everything if reads == "all" else reads.split()
    assert replies == {target: 200 if target in wanted else 403 for target in everything}


@pytest.mark.parametrize("header", ["Content-Digest", "Repr-Digest"])
def test_a_digest_that_was_sent_is_verified(site: Site, staff: str, share: str, header: str) -> None:
    right = base64.b64encode(hashlib.sha256(b"data").digest()).decode()
    wrong = base64.b64encode(hashlib.sha256(b"other").digest()).decode()

    def put(value: str) -> int:
        return site.ask("PUT", f"{share}/a", b"data", {header: value}, staff).status

    assert put(f"sha-256=:{right}:") == 201
    assert put(f"sha-512=:AAAA:, sha-256=:{right}:") == 200
    assert put(f"x-sha-256=:{wrong}:, md-sha-256=:!:") == 200, "another algorithm"
    assert put(f"sha-256=:{wrong}:") == 400
    assert put("sha-256=:AAAA:") == 400
    assert put("sha-256=:!!!!:") == 400
    assert put("sha-512=:AAAA:") == 200
    assert site.get(f"{share}/a", staff).body == b"data"


def test_both_digests_are_verified_where_both_are_sent(site: Site, staff: str) -> None:
    right, wrong = (base64.b64encode(hashlib.sha256(data).digest()).decode() for data in (b"data", b"other"))
    headers = {"Content-Digest": f"sha-256=:{right}:", "Repr-Digest": f"sha-256=:{wrong}:"}
    assert site.ask("PUT", "/files/docs/a", b"data", headers, staff).status == 400
    body = json.dumps(LEAVE).encode()
    assert site.ask("POST", "/forms/leave", body, JSON | {"Content-Digest": f"sha-256=:{wrong}:"}, staff).status == 400


def test_a_body_that_ends_early_leaves_the_old_file_whole(site: Site, staff: str, share: str) -> None:
    site.put(f"{share}/a", b"old", staff)
    reply = site.ask("PUT", f"{share}/a", b"new and", {"Content-Length": "100"}, staff)
    assert (reply.status, reply.json["code"]) == (400, "bad_request")
    assert site.get(f"{share}/a", staff).body == b"old"
    assert site.ask("PUT", f"{share}/b", b"new and", {"Content-Length": "100"}, staff).status == 400
    assert site.get(f"{share}/b", staff).status == 404


def test_a_file_that_is_too_large_leaves_the_old_one_whole(site: Site, staff: str, share: str) -> None:
    site.put(f"{share}/a", b"old", staff)
    large = b"x" * 1_000_001
    told = site.ask("PUT", f"{share}/a", b"", {"Content-Length": "1000001"}, staff)
    streamed = site.ask("PUT", f"{share}/a", large, {"Transfer-Encoding": "chunked"}, staff)
    by_form = site.upload(f"{share}/", ("_replace", None, "1"), ("file", "a", large), token=staff)
    assert [told.status, streamed.status, by_form.status] == [413, 413, 413]
    assert site.get(f"{share}/a", staff).body == b"old"
    assert site.put(f"{share}/a", large[:-1], staff).status == 200


def test_a_chunked_upload_is_stored_whole(site: Site, staff: str, share: str) -> None:
    assert site.ask("PUT", f"{share}/a", b"x" * 600_000, {"Transfer-Encoding": "chunked"}, staff).status == 201
    assert site.get(f"{share}/a", staff)["Content-Length"] == "600000"


def test_an_encoded_body_is_refused_and_not_stored_as_it_is(site: Site, staff: str) -> None:
    for method, target, headers in (("PUT", "/files/docs/a", {}), ("POST", "/forms/leave", JSON)):
        reply = site.ask(method, target, b"x", {"Content-Encoding": "gzip", **headers}, staff)
        assert reply.status == 415
    assert site.upload("/files/docs/", ("file", "a", b"x"), token=staff, Content_Encoding="gzip").status == 415


@pytest.mark.parametrize("header", [{"Content-Range": "bytes 3-9/10"}, {"Content-Range": ""}, {"X-Update-Range": "append"}])
def test_a_part_of_a_whole_is_refused_and_changes_nothing(
    site: Site, staff: str, share: str, header: dict[str, str]
) -> None:
    site.put(f"{share}/a", b"0123456789", staff)
    site.ask("POST", "/forms/leave", json.dumps(LEAVE), JSON, staff)
    record = "/forms/leave/records/" + site.get("/forms/leave/records", staff).json["items"][0]["id"]
    for method, target, body, headers in (
        ("PUT", f"{share}/a", b"3456789", {}), ("PUT", f"{share}/new", b"3456789", {}),
        ("PUT", record, b"{}", JSON), ("PATCH", record, b"{}", JSON), ("POST", "/forms/leave", json.dumps(LEAVE), JSON),
        ("POST", f"{share}/", multipart(("file", "new", b"x")), MULTIPART),
    ):  # fmt: skip
        reply = site.ask(method, target, body, {**headers, **header}, staff)
        assert (reply.status, reply.json["code"]) == (400, "bad_request"), (method, target)
        assert next(iter(header)) in reply.json["detail"]
    assert site.get(f"{share}/a", staff).body == b"0123456789"
    assert [row["name"] for row in site.get(f"{share}/", staff).json["items"]] == ["a"]
    assert len(site.get("/forms/leave/records", staff).json["items"]) == 1
    assert site.ask("GET", f"{share}/a", None, header, staff).status == 200


@pytest.mark.parametrize(
    ("header", "status"),
    [
        ("Content-Range: bytes 3-9/10", 400),
        ("Content-Transfer-Encoding: base64", 415),
        ("content-encoding: gzip", 415),
        ("Content-Transfer-Encoding: binary", 201),
    ],
)
@pytest.mark.parametrize("target", ["/files/docs/", "/forms/papers"])
def test_a_part_of_a_form_is_stored_only_where_it_is_the_whole_as_it_stands(
    site: Site, staff: str, target: str, header: str, status: int
) -> None:
    body = multipart(("name", None, "Paper"), ("paper", "a.txt", b"x"))
    body = body.replace(b"Content-Type:", header.encode() + b"\r\nContent-Type:")
    assert site.ask("POST", target, body, MULTIPART, staff).status == status


@pytest.mark.parametrize(
    "name",
    [
        "a.html",
        "a.HTM",
        "a.svg",
        "a.xml",
        "a.xhtml",
        "a.js",
        "a.mjs",
        "a.html.html",
        "a.xsl",
        "a.svgz",
        "a",
        "a.mht",
        "a.shtml",
        "data:text/html,x".replace("/", "-"),
        "a.html;",
        "a.rss",
        "a.xht",
        "a.hta",
        "a.swf",
        "a.mhtml",
        "a.PHP",
        "a.vbs",
        "a.xslt",
        "a.ts",
        "a.htc",
        "a.wasm",
        "a.html.gz",
        "a.ps",
    ],
)
def test_an_uploaded_file_never_runs(site: Site, staff: str, share: str, name: str) -> None:
    site.put(f"{share}/{quote(name, safe='')}", b"<script>alert(1)</script>", staff)
    reply = site.get(f"{share}/{quote(name, safe='')}", staff)
    assert reply["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in reply["Content-Security-Policy"]
    assert "script" not in reply["Content-Type"]
    assert reply["Content-Disposition"].startswith("attachment") or reply["Content-Type"].startswith("text/plain")


def test_a_name_in_a_header_stays_in_its_quotes(site: Site, staff: str) -> None:
    for name, told in (('a"b;.txt', "a_b;.txt"), ("é\u2028.txt", "__.txt"), ("a%22.txt", "a%22.txt")):
        site.put(f"/files/docs/{quote(name, safe='')}", b"x", staff)
        reply = site.get(f"/files/docs/{quote(name, safe='')}", staff)
        want = f"inline; filename=\"{told}\"; filename*=UTF-8''{quote(name, safe='')}"
        assert reply["Content-Disposition"] == want


def test_what_a_browser_could_run_keeps_its_type_and_is_saved(site: Site, staff: str) -> None:
    for name, media in (("a.html", "text/html"), ("a.svg", "image/svg+xml"), ("a.xml", "application/xml")):
        site.put(f"/files/docs/{name}", b"x", staff)
        reply = site.get(f"/files/docs/{name}", staff)
        assert reply["Content-Type"].partition(";")[0] == media
        assert reply["Content-Disposition"].startswith("attachment;")


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.pdf", "a.txt", "a.md", "a.mp4", "a.csv", "a.py"])
def test_what_a_browser_may_show_is_shown(site: Site, staff: str, name: str) -> None:
    site.put(f"/files/docs/{name}", b"x", staff)
    reply = site.get(f"/files/docs/{name}", staff)
    assert reply["Content-Disposition"].startswith("attachment" if name == "a.csv" else "inline")
    assert ("sandbox" in reply["Content-Security-Policy"]) == (name != "a.pdf")


def test_a_plain_file_goes_to_the_server_as_its_stretch(site: Site, staff: str) -> None:
    data = random_bytes(100_000)
    site.put("/files/docs/a.bin", data, staff)
    for header, start, stop in (("", 0, 100_000), ("bytes=500-70000", 500, 70_001), ("bytes=-1", 99_999, 100_000)):
        headers = {"Authorization": f"Bearer {staff}"} | ({"Range": header} if header else {})
        head, body = site.start(site.environ("GET", "/files/docs/a.bin", None, headers), checked=False)
        assert (body.start, body.length) == (start, stop - start)
        assert dict(head[1])["Content-Length"] == str(stop - start)
        with contextlib.closing(body):
            assert os.pread(body.fileno(), body.length, body.start) == b"".join(body) == data[start:stop]
        with pytest.raises(ValueError, match="closed"):
            body.fileno()


def test_a_file_that_is_replaced_before_it_is_read_is_looked_up_again(
    site: Site, staff: str, share: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.put(f"{share}/a", b"old", staff)
    blobs = site.app.resources[share.strip("/")].blobs  # type: ignore[attr-defined]
    really_read, races = blobs.read, [b"new", b"newer"]

    def read(path: str, *args: Any, **facts: Any) -> Any:
        if races:
            blobs.write(path, [races.pop(0)])
        return really_read(path, *args, **facts)

    monkeypatch.setattr(blobs, "read", read)
    reply = site.get(f"{share}/a", staff)
    assert (reply.status, reply.body) == (200, b"newer")


# ---- uploads of forms


COMPOSED, APART = "r\u00e9sum\u00e9", "re\u0301sume\u0301"  # one name in NFC and NFD


def test_the_length_of_a_name_is_that_of_its_composed_form(site: Site, staff: str, share: str) -> None:
    name = "\ud55c\uae00" * 40 + ".txt"
    apart = f"{share}/{quote(unicodedata.normalize('NFD', name))}"
    assert site.put(apart, b"one", staff).json["name"] == name
    assert site.get(apart, staff).body == site.get(f"{share}/{quote(name)}", staff).body == b"one"
    assert site.put(f"{share}/{quote(name * 2)}", b"x", staff).status == 400


def test_a_name_is_stored_once_whatever_unicode_form_it_comes_in(site: Site, staff: str, share: str) -> None:
    nfc, nfd = (f"{share}/{quote(f'{name}/{name}.txt')}" for name in (COMPOSED, APART))
    made = site.put(nfd, b"one", staff)
    assert (made.status, made["Location"], made.json["address"]) == (201, nfc, nfc.strip("/"))
    for spelled in (nfc, nfd, f"{share}/{quote(f'{APART}/{COMPOSED}.txt')}"):
        assert site.get(spelled, staff).body == b"one"
        assert site.ask("HEAD", spelled, None, {}, staff)["Content-Length"] == "3"
        assert site.put(spelled, b"one", staff).status == 200
        assert site.put(spelled, b"two", staff, If_None_Match="*").status == 412
        assert [row["name"] for row in site.get(spelled.rpartition("/")[0], staff).json["items"]] == [f"{COMPOSED}.txt"]
    taken = site.upload(f"{share}/", ("file", f"{APART}/{APART}.txt", b"two"), token=staff)
    assert taken.status == 409
    assert [row["name"] for row in site.get(f"{share}/", staff).json["items"]] == [COMPOSED]
    assert site.ask("DELETE", nfd, None, {}, staff).status == 204
    assert site.get(nfc, staff).status == 404


def test_a_name_that_another_program_wrote_is_found_by_both_forms_and_twins_by_their_own(site: Site, staff: str) -> None:
    folder = site.folder / "disk/docs"
    (folder / APART).mkdir(parents=True)
    (folder / APART / f"{APART}.txt").write_bytes(b"apart")
    nfc, nfd = (f"/files/docs/{quote(f'{name}/{name}.txt')}" for name in (COMPOSED, APART))
    assert site.get(nfc, staff).body == site.get(nfd, staff).body == b"apart"
    assert site.put(nfc, b"newer", staff).status == 200
    assert [path.name for path in folder.rglob("*.txt")] == [f"{APART}.txt"]
    assert site.put(f"/files/docs/{quote(COMPOSED)}/b", b"b", staff).status == 201
    assert [path.name for path in folder.iterdir()] == [APART]
    (folder / APART / f"{COMPOSED}.txt").write_bytes(b"composed")
    for name, content in ((APART, b"newer"), (COMPOSED, b"composed")):
        address = f"/files/docs/{quote(f'{APART}/{name}.txt')}"
        assert site.get(address, staff).body == content
        assert site.put(address, content + b"!", staff)["Location"] == ""
        assert (folder / APART / f"{name}.txt").read_bytes() == content + b"!"
    names = [row["name"] for row in site.get(f"/files/docs/{quote(COMPOSED)}/", staff).json["items"]]
    assert sorted(names) == sorted([f"{APART}.txt", f"{COMPOSED}.txt", "b"])
    assert site.ask("DELETE", f"/files/docs/{quote(f'{APART}/{COMPOSED}.txt')}", None, {}, staff).status == 204
    assert [path.name for path in folder.rglob("*.txt")] == [f"{APART}.txt"]


@pytest.mark.parametrize("granted", [COMPOSED, APART, quote(COMPOSED), quote(APART)])
def test_a_grant_covers_a_name_in_both_unicode_forms(site: Site, share: str, granted: str) -> None:
    token = site.token(f"{share.strip('/')}/{granted}:create,read")
    for number, name in enumerate((COMPOSED, APART)):
        assert site.put(f"{share}/{quote(name)}/{number}", b"x", token).status == 201
        assert site.get(f"{share}/{quote(name)}/", token).status == 200
    assert site.put(f"{share}/{quote('resume')}/x", b"x", token).status == 403


# ---- forms and records


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        (JSON, '{"day": "2026-01-31", "days": 1.5, "urgent": true}'),
        ({"Content-Type": "Application/JSON; charset=utf-8"}, '{"day": "2026-01-31", "days": 1.5, "urgent": true}'),
        (FORM, "day=2026-01-31&days=1.5&urgent=true"),
        (MULTIPART, multipart(("day", None, "2026-01-31"), ("days", None, "1.5"), ("urgent", None, "true"))),
    ],
)
def test_a_record_is_the_same_whatever_it_came_as(site: Site, staff: str, headers: dict[str, str], body: str) -> None:
    made = site.ask("POST", "/forms/leave", body, headers, staff)
    assert (made.status, made["ETag"]) == (201, '"1"')
    record = site.get(made["Location"], staff)
    assert record.json == made.json
    assert (record.json["day"], record.json["days"], record.json["urgent"]) == ("2026-01-31", 1.5, True)
    assert (record.json["kind"], record.json["created_by"]) == ("paid" if body[0] == "{" else None, "ann")


def test_a_batch_is_stored_whole_or_not_at_all(site: Site, staff: str) -> None:
    assert site.send("/forms/leave", [LEAVE, LEAVE, LEAVE], staff).status == 201
    refused = site.send("/forms/leave", [LEAVE, {"day": "never"}, {"x": 1}], staff)
    assert refused.status == 422
    assert "/1/day" in {fault["pointer"] for fault in refused.json["errors"]}
    assert site.get("/forms/leave/records?_count=1", staff).json["count"] == 3
    assert site.send("/forms/leave", [], staff).status == 400


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        (JSON, b"{", 400),
        (JSON, b"", 400),
        (JSON, b"null", 400),
        (JSON, b'"text"', 400),
        (JSON, b'{"day": "2026-01-31", "day": "2026-01-30"}', 400),
        (JSON, b'{"days": NaN}', 400),
        (JSON, b"[" * 100_000, 413),
        (JSON, b"[" * 50_000, 400),
        (JSON, b'{"day": "\xff"}', 400),
        (JSON, b'{"\\ud800": 1}', 422),
        (JSON, b'{"day": "\\ud800"}', 422),
        (JSON, b'{"day": "2026-01-31", "reason": "a\\u0000b"}', 422),
        (FORM, b"day=%ff", 400),
        (FORM, b"day=%00", 422),
        (MULTIPART, b"garbage", 400),
        ({}, b"day=1", 415),
        ({"Content-Type": "text/plain"}, b"{}", 415),
        ({"Content-Type": "application/xml"}, b"{}", 415),
        (JSON, b'{"day": "2026-01-31", "reason": "' + b"x" * 70_000 + b'"}', 413),
        (FORM, b"reason=" + b"x" * 70_000, 413),
        (MULTIPART, multipart(("reason", None, b"x" * 70_000)), 413),
        (MULTIPART, multipart(*[("reason", None, b"x" * 600)] * 100), 413),
    ],
)
@pytest.mark.parametrize("encoding", ["", "chunked"])
def test_a_body_that_is_no_record_is_refused(
    site: Site, staff: str, headers: dict[str, str], body: bytes, status: int, encoding: str
) -> None:
    reply = site.ask("POST", "/forms/leave", body, headers | ({"Transfer-Encoding": encoding} if encoding else {}), staff)
    assert (reply.status, reply["Content-Type"]) == (status, "application/problem+json"), reply.text
    assert site.get("/forms/leave/records", staff).json["items"] == []


def test_every_fault_is_told_with_its_pointer(site: Site, staff: str) -> None:
    reply = site.send("/forms/leave", {"day": "x", "days": 0.3, "kind": "free", "a/b~c": 1}, staff)
    assert {fault["pointer"] for fault in reply.json["errors"]} >= {"/day", "/days", "/kind"}
    assert reply.status == 422


def test_a_body_is_not_read_before_its_sender_is_let_in(site: Site) -> None:
    class Untouched(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise AssertionError("the body was read")

    for method, target, headers in (
        ("POST", "/forms/leave", JSON),
        ("POST", "/forms/leave", FORM),
        ("PUT", "/files/docs/a", {}),
        ("PUT", "/forms/leave/records/x", JSON),
    ):
        environ = site.environ(method, target, b"", {**headers, "Content-Length": "999999"})
        environ["wsgi.input"] = Untouched()
        head, _ = site.start(environ, checked=False)
        assert head[0].startswith("401"), target


def test_too_much_is_refused_by_its_length_before_it_is_read(site: Site, staff: str) -> None:
    for headers in (JSON, FORM, MULTIPART):
        reply = site.ask("POST", "/forms/leave", b"", {**headers, "Content-Length": "99999999"}, staff)
        assert reply.status == 413


@pytest.mark.parametrize("extra", [{}, {"Transfer-Encoding": "chunked"}])
def test_a_body_of_the_largest_size_is_read_and_one_byte_more_is_refused(
    site: Site, staff: str, extra: dict[str, str]
) -> None:
    most = site.runner.config.max_body_bytes
    whole = json.dumps(LEAVE).ljust(most)
    assert site.ask("POST", "/forms/leave", whole, JSON | extra, staff).status == 201
    assert site.ask("POST", "/forms/leave", whole + " ", JSON | extra, staff).status == 413
    typed = "day=2026-01-31&x="
    form = typed.ljust(most, "a")
    assert site.ask("POST", "/forms/leave", form, FORM | extra, staff).status == 422
    assert site.ask("POST", "/forms/leave", form + "a", FORM | extra, staff).status == 413


def test_a_form_has_fifty_thousand_fields_at_most(tmp_path: Path) -> None:
    site = Site(tmp_path, edit=lambda toml: toml.replace('max_body = "64KB"', 'max_body = "1MB"'))
    staff = site.token(roles=["staff"])
    for count, status in ((50_000, 422), (50_001, 400)):
        reply = site.ask("POST", "/forms/leave", "&".join(["a=b"] * count), FORM, staff)
        assert (reply.status, "50,000 fields" in reply.json["detail"]) == (status, status == 400)
    site.close()


def test_no_more_of_a_body_is_read_than_was_announced(site: Site, staff: str) -> None:
    reply = site.ask("PUT", "/files/docs/a", b"0123GET / HTTP/1.1", {"Content-Length": "4"}, staff)
    assert (reply.status, reply.json["size_bytes"]) == (201, 4)
    assert site.get("/files/docs/a", staff).body == b"0123"


@pytest.mark.parametrize(
    ("took_s", "size", "problem"),
    [(29.9, 1, None), (30.1, 1, app.RequestTimeout), (31.9, 2000, None), (32.1, 2000, app.RequestTimeout)],
)
def test_a_body_has_half_a_minute_and_a_second_for_each_kilobyte(
    took_s: float, size: int, problem: type[app.AppError] | None
) -> None:
    now, deadlines, coming = [100.0], [], [b"x" * size, b"y"]

    class Slow:
        size_bytes = size + 1

        def read(self, most: int, until_s: float) -> bytes:
            deadlines.append(until_s - 100.0)
            if len(coming) == 1:
                now[0] = 100.0 + took_s
            return coming.pop(0)

    body = app.BodyReader({}, Slow(), lambda: now[0])
    with pytest.raises(problem, match="too slowly") if problem else contextlib.nullcontext():
        assert len(b"".join(body)) == size + 1
    assert deadlines == pytest.approx([30.0, 30.0 + size / 1000])


@pytest.mark.parametrize(
    ("error", "problem"),
    [
        *((TimeoutError(), app.RequestTimeout), (app.Gone(), app.BadRequest)),
        *((app.BadRequest("a broken chunk"), app.BadRequest), (app.Unavailable("too many"), app.Unavailable)),
    ],
)
def test_a_body_that_cannot_be_read_is_the_clients_fault(error: Exception, problem: type[app.AppError]) -> None:
    class Broken:
        size_bytes = 9

        def read(self, most: int, until_s: float) -> bytes:
            raise error

    with pytest.raises(problem):
        list(app.BodyReader({}, Broken()))


@pytest.mark.parametrize(("announced", "last"), [(5 * 2**19, 2**19), (None, 2**20)])
def test_a_body_that_has_come_is_taken_in_pieces_of_a_mebibyte(announced: int | None, last: int) -> None:
    asked, data = [], io.BytesIO(bytes(5 * 2**19))

    class Come:
        size_bytes = announced

        def read(self, most: int, until_s: float) -> bytes:
            asked.append(most)
            return data.read(most)

    assert list(map(len, app.BodyReader({}, Come()))) == [2**20, 2**20, 2**19]
    assert asked[:3] == [2**20, 2**20, last]


@pytest.mark.parametrize("length", ["-1", "x", "1e3", "0x10", "9" * 30, " "])
def test_a_length_that_is_no_number_is_a_bad_request(site: Site, staff: str, length: str) -> None:
    environ = site.environ("POST", "/forms/leave", b"{}", {**JSON, "Authorization": f"Bearer {staff}"})
    environ["CONTENT_LENGTH"] = length
    head, _ = site.start(environ, checked=False)
    assert head[0].startswith("400")


# ---- keys of requests, conditions, files of fields


def test_an_idempotency_key_is_its_senders_own_and_has_255_characters(site: Site, staff: str) -> None:
    target = action(site.get("/forms/leave", staff, Accept="text/html"))
    assert site.submit(target, {"day": "2026-01-31"}, staff).status == 303
    inside = site.app.unseal("submission", unquote(target.partition("_submission=")[2]))
    assert inside
    other = site.send("/forms/leave", LEAVE, staff, Idempotency_Key=inside)
    assert (other.status, other["Idempotency-Replayed"]) == (201, ""), "a page's id is no key of a program"
    longest = "k" * 255
    assert site.send("/forms/leave", LEAVE, staff, Idempotency_Key=longest).status == 201
    assert site.send("/forms/leave", LEAVE, staff, Idempotency_Key=f'"{longest}"')["Idempotency-Replayed"] == "true"
    assert site.send("/forms/leave", LEAVE, staff, Idempotency_Key=longest + "k").status == 400
    assert site.send("/forms/leave?_submission=bad", LEAVE, staff, Idempotency_Key="mine").status == 201
    assert site.send("/forms/leave?_submission=bad", LEAVE, staff).status == 400


def test_a_file_name_with_backslashes_is_a_path(site: Site, staff: str, share: str) -> None:
    assert site.upload(f"{share}/", ("file", "sub\\x.txt", b"x"), token=staff).status == 201
    assert site.get(f"{share}/sub/x.txt", staff).body == b"x"


def test_only_a_post_of_a_page_has_another_method(site: Site, staff: str) -> None:
    record, reader = site.send("/forms/leave", LEAVE, staff)["Location"], site.token("forms/leave:read", "files/docs:read")
    site.put("/files/docs/a", b"x", staff)
    for target in (record, "/files/docs/a"):
        for method in ("GET", "HEAD", "PUT", "PATCH"):
            reply = site.ask(method, f"{target}?_method=DELETE", json.dumps(LEAVE), JSON, staff)
            assert reply.status in (200, 400, 405)
            assert site.get(target, staff).status == 200
        assert site.get(f"{target}?_method=DELETE", reader).status == 400, "a parameter, and not another action"
        for wanted in ("PATCH", "GET", "HEAD", "put", "delete", "POST", "", "X"):
            reply = site.ask("POST", f"{target}?_method={wanted}", urlencode(LEAVE), FORM, staff)
            assert (reply.status, reply.json["detail"]) == (400, "_method must be PUT, of a record, or DELETE")
    assert site.ask("POST", "/files/docs/a?_method=PUT", b"y", FORM, staff).status == 400
    assert site.get("/files/docs/a", staff).body == b"x"


def test_if_match_guards_a_record(site: Site, staff: str) -> None:
    address = site.send("/forms/leave", LEAVE, staff)["Location"]
    changed = site.send(address, {"days": 2}, staff, "PATCH", If_Match='"1"')
    assert (changed.status, changed["ETag"]) == (200, '"2"')
    for method, body in (("PATCH", {"days": 3}), ("PUT", LEAVE), ("DELETE", None)):
        stale = site.ask(method, address, json.dumps(body) if body else None, JSON | {"If-Match": '"1"'}, staff)
        assert (stale.status, stale.json["code"]) == (412, "precondition_failed")
    assert site.get(address, staff, If_None_Match='"2"').status == 304
    assert site.ask("DELETE", address, None, {"If-Match": '"2"'}, staff).status == 204


def test_patch_merges_and_put_takes_what_get_gave(site: Site, staff: str) -> None:
    address = site.send("/forms/leave", LEAVE | {"reason": "rest"}, staff)["Location"]
    merged = site.ask(
        "PATCH", address, '{"reason": null, "days": 2}', {"Content-Type": "application/merge-patch+json"}, staff
    )
    assert (merged.json["reason"], merged.json["days"], merged.json["day"]) == (None, 2, "2026-01-31")
    got = site.get(address, staff).json
    kept = {name: value for name, value in got.items() if value is not None}
    assert site.send(address, kept, staff, "PUT").status == 200
    assert site.send(address, kept | {"created_by": "bob"}, staff, "PUT").status == 422


def test_an_idempotency_key_replays_the_first_answer(site: Site, staff: str) -> None:
    first = site.send("/forms/leave", LEAVE, staff, Idempotency_Key='"k1"')
    again = site.send("/forms/leave", LEAVE, staff, Idempotency_Key="k1")
    other = site.send("/forms/leave", LEAVE | {"days": 2}, staff, Idempotency_Key="k1")
    assert (first.status, first["Idempotency-Replayed"]) == (201, "")
    assert (again.status, again["Idempotency-Replayed"], again.json) == (201, "true", first.json)
    assert (again["Location"], again["ETag"]) == (first["Location"], first["ETag"])
    assert (other.status, other.json["code"]) == (422, "idempotency_conflict")
    assert site.send("/forms/leave", LEAVE, staff, Idempotency_Key="k" * 256).status == 400
    assert site.put("/files/docs/a", b"x", staff, Idempotency_Key="p").status == 201
    assert site.put("/files/docs/a", b"x", staff, Idempotency_Key="p")["Idempotency-Replayed"] == "true"
    assert site.put("/files/docs/a", b"y", staff, Idempotency_Key="p").status == 422


def test_a_file_field_is_stored_linked_and_removed_with_its_record(site: Site, staff: str) -> None:
    page = site.get("/forms/papers", staff, Accept="text/html")
    assert 'enctype="multipart/form-data"' in page.text
    body = multipart(("name", None, "Ann"), ("paper", "../my plan.txt", b"content"))
    made = site.ask("POST", action(page), body, MULTIPART, staff)
    stored = made.json["paper"]
    assert (stored["name"], stored["size_bytes"]) == ("my plan.txt", 7)
    assert "/" + stored["address"] == made["Location"] + "/paper"
    reply = site.ask("GET", made["Location"] + "/paper", None, {"Range": "bytes=3-", **PAGE}, staff)
    assert (reply.status, reply.body, reply["Content-Range"]) == (206, b"tent", "bytes 3-6/7")
    assert reply["Content-Disposition"].endswith("filename*=UTF-8''my%20plan.txt")
    assert site.get("/" + stored["address"], staff, If_None_Match=reply["ETag"]).status == 304
    whole = site.ask("HEAD", "/" + stored["address"], None, {}, staff)
    assert (whole.status, whole["Content-Length"], whole.body) == (200, "7", b"")
    shown = site.get(made["Location"], staff, Accept="text/html").text
    assert f'href="/{stored["address"]}"' in shown
    edit = action(site.get(made["Location"] + "?_edit=1", staff, Accept="text/html"))
    kept = site.ask("POST", edit, multipart(("name", None, "Bob"), ("paper", "", b"")), MULTIPART | PAGE, staff)
    assert kept.status == 303
    assert site.get(made["Location"], staff).json["paper"] == stored
    assert f'href="/{stored["address"]}"' in site.get("/forms/papers/records", staff, **PAGE).text
    assert stored["address"] in site.get("/forms/papers/records.csv", staff).text
    assert "/forms/papers/records/{id}/paper" in site.get("/openapi.json", staff).json["paths"]
    assert site.ask("DELETE", made["Location"], None, {}, staff).status == 204
    assert site.get("/" + stored["address"], staff).status == 404


@pytest.mark.parametrize(
    ("parts", "status"),
    [
        ([("name", None, "A"), ("paper", "a.txt", b"x")], 422),
        ([("name", None, "Ann"), ("paper", "a.exe", b"x")], 422),
        ([("name", None, "Ann"), ("paper", "a.txt", b"x" * 20_001)], 422),
        ([("name", None, "Ann"), ("paper", "a.txt", b"x" * 200_000)], 413),
        ([("name", "a.txt", b"Ann")], 422),
        ([("_token", "a.txt", b"x"), ("name", None, "Ann")], 201),
        ([("name", None, "Ann"), *[("paper", f"{n}.txt", b"x") for n in range(101)]], 413),
    ],
)
def test_a_wrong_file_field_leaves_no_file(
    site: Site, staff: str, parts: list[tuple[str, str | None, bytes | str]], status: int
) -> None:
    reply = site.upload("/forms/papers", *parts, token=staff)
    assert reply.status == status, reply.text
    assert [path for path in (site.folder / "disk").rglob("*.txt") if path.is_file()] == []


def test_upload_files_of_a_form_are_closed_after_the_answer(site: Site, staff: str, monkeypatch: pytest.MonkeyPatch) -> None:
    files: list[Any] = []

    class Kept(tempfile.SpooledTemporaryFile[bytes]):
        def __init__(self, max_size: int) -> None:
            super().__init__(max_size)
            files.append(self)

    monkeypatch.setattr(tempfile, "SpooledTemporaryFile", Kept)
    site.upload("/forms/papers", ("name", None, "Ann"), ("paper", "a.txt", b"x" * 10_000), token=staff)
    assert [file.closed for file in files] == [True]


# ---- lists


def test_a_list_is_followed_by_its_links_to_the_end(site: Site, staff: str) -> None:
    fill(site, staff)
    target, seen, pages = "/forms/leave/records.json?_size=10&_sort=-days&kind=paid&_count=1", [], 0
    while target:
        reply = site.get(target, staff)
        seen += [item["days"] for item in reply.json["items"]]
        link = re.fullmatch(r'<(.*)>; rel="next"', reply["Link"])
        assert (reply.json["next"] is None) == (link is None)
        assert reply.json["count"] == 13
        target, pages = (link[1] if link else ""), pages + 1
    assert (pages, seen) == (2, sorted(seen, reverse=True))
    assert len(seen) == 13


@pytest.mark.parametrize(
    "query",
    [
        "x=1",
        "x=",
        "x",
        "day__near=1",
        "_size=0",
        "_size=1001",
        "_size=x",
        "_sort=nothing",
        "_next=abc",
        "_count=2",
        "kind=paid&kind=unpaid",
        "days=many",
        "_q=a&_q=b",
        "=1",
        "kind=%ff",
        "kind=a%00b",
        "&".join(f"a{n}=1" for n in range(201)),
    ],
)
def test_a_parameter_that_is_unknown_repeated_or_wrong_is_refused(site: Site, staff: str, query: str) -> None:
    for address in ("/forms/leave/records", "/views/waiting"):
        for accept in ("*/*", "text/html", "text/csv"):
            reply = site.get(f"{address}?{query}", staff, Accept=accept)
            assert reply.status == 400 or (accept == "text/csv" and query == "_next=abc"), reply.text


def test_a_query_has_two_hundred_parameters_at_most(site: Site, staff: str) -> None:
    for count, told in ((200, "a0"), (201, "has over 200 parameters")):
        reply = site.get("/views/waiting?" + "&".join(f"a{n}=1" for n in range(count)), staff)
        assert (reply.status, told in reply.json["detail"]) == (400, True)


def test_filters_sort_and_search_agree_in_every_format(site: Site, staff: str) -> None:
    fill(site, staff)
    query = "?kind=unpaid&days__gte=10&_sort=days&days__lt=16"
    items = site.get(f"/forms/leave/records{query}", staff).json["items"]
    assert [item["days"] for item in items] == [11.5, 13.5, 15.5]
    csv_text = site.get(f"/forms/leave/records.csv{query}", staff).text
    assert [line.split(",")[2] for line in csv_text.splitlines()] == ["days", "11.5", "13.5", "15.5"]
    lines = site.get(f"/forms/leave/records.ndjson{query}", staff).text.splitlines()
    assert [json.loads(line) for line in lines] == items
    assert site.get(f"/forms/leave/records{query}", staff, Accept="text/html").text.count("/forms/leave/records/0") == 3


def test_a_query_in_raw_utf_8_means_the_same_as_encoded(site: Site, staff: str) -> None:
    site.send("/forms/leave", LEAVE | {"reason": "Grüße"}, staff)
    raw = "/forms/leave/records?reason=Grüße".encode().decode("latin-1")
    assert len(site.get(raw, staff).json["items"]) == 1


def test_columns_may_be_named_like_anything_in_the_program(site: Site, staff: str) -> None:
    site.send("/forms/leave", LEAVE | {"address": "here"}, staff)
    reply = site.get("/views/waiting?address=here", staff, Accept="text/html")
    assert (reply.status, "here" in reply.text) == (200, True)


def test_csv_keeps_quotes_commas_and_line_breaks(site: Site, staff: str) -> None:
    import csv

    reply = site.get("/views/numbers.csv?top=2", staff)
    rows = list(csv.reader(io.StringIO(reply.text, newline="")))
    assert rows == [["i", "label"], ["1", 'row "1"\nx, y'], ["2", 'row "2"\nx, y']]
    assert reply["Content-Disposition"] == "attachment; filename*=UTF-8''numbers.csv"
    empty = site.get("/views/numbers.csv?top=1&i=9", staff)
    assert (empty.status, empty.text) == (200, "i,label\r\n")
    assert site.get("/views/numbers.ndjson?top=1&i=9", staff).body == b""


@pytest.fixture
def marred(site: Site) -> Site:
    """A view and a form of two rows each, of which the second holds a text that is not UTF-8."""
    root = site.token("**:*")
    for day in ("2026-01-31", "2026-02-01"):
        site.send("/forms/leave", LEAVE | {"day": day, "reason": "Bauch"}, root)
    with contextlib.closing(sqlite3.connect(site.folder / "app.db")) as connection:
        change = "update leave set data = cast(replace(data, 'Bauch', x'4dfc6c') as text) where data like '%02-01%'"
        connection.execute(change)
        connection.commit()
    return site


def test_what_could_not_be_read_is_marked_in_every_format(marred: Site, staff: str) -> None:
    listing = marred.get("/forms/leave/records?_sort=day", staff).json
    assert [row["reason"] for row in listing["items"]] == ["Bauch", "M\ufffdl"]
    assert listing["damaged"] == [{"item": 1, "column": "reason", "detail": "is not UTF-8"}]
    assert "damaged" not in marred.get("/forms/leave/records?day=2026-01-31", staff).json
    one = marred.get(f"/forms/leave/records/{listing['items'][1]['id']}", staff)
    assert (one.json["reason"], one["Satchel-Damaged"]) == ("M\ufffdl", "reason")
    sound = marred.get(f"/forms/leave/records/{listing['items'][0]['id']}", staff)
    assert "Satchel-Damaged" not in dict(sound.headers)
    for target in ("/forms/leave/records", f"/forms/leave/records/{listing['items'][1]['id']}"):
        assert "M\ufffdl (damaged: it is not UTF-8)" in marred.get(target, staff, **PAGE).text
    for suffix in ("csv", "ndjson"):
        text = marred.get(f"/forms/leave/records.{suffix}", staff).text
        assert "Bauch" in text
        assert "M\ufffdl" in text


@pytest.mark.parametrize(("suffix", "rows"), [("csv", 100_000), ("ndjson", 20_000)])
def test_an_export_is_streamed_in_bounded_memory(site: Site, staff: str, suffix: str, rows: int) -> None:
    environ = site.environ("GET", f"/views/numbers.{suffix}?top={rows}", None, {"Authorization": f"Bearer {staff}"})
    tracemalloc.start()
    try:
        _, body = site.start(environ, checked=False)
        before, lines = tracemalloc.get_traced_memory()[0], 0
        for chunk in body:
            lines += chunk.count(b'row ""' if suffix == "csv" else b"row ")
        peak = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
        body.close()
    assert lines == rows
    assert peak < 3_000_000


@pytest.mark.parametrize("accept", ["text/csv", "application/x-ndjson"])
def test_an_export_closes_its_query_when_the_client_leaves(
    site: Site, staff: str, accept: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider: Any = site.app.providers["main"]
    select, closed = provider.select, []

    def watched(asked: Any) -> Any:
        rows = select(asked)
        return app.Rows(rows.columns, rows.rows, lambda: closed.append(rows.close()))

    monkeypatch.setattr(provider, "select", watched)
    headers = {"Authorization": f"Bearer {staff}", "Accept": accept}
    _, body = site.start(site.environ("GET", "/views/numbers?top=100000", None, headers), checked=False)
    next(iter(body))
    assert closed == []
    body.close()
    assert len(closed) == 1
    site.ask("HEAD", "/views/numbers?top=100000", None, headers)
    assert len(closed) == 2


@pytest.mark.parametrize("suffix", ["csv", "ndjson"])
def test_a_fault_before_the_first_row_has_its_status_and_closes_the_query(
    site: Site, staff: str, suffix: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    closed: list[None] = []

    def rows() -> Iterator[tuple[int]]:
        raise app.QueryTimeout("numbers took too long")
        yield (1,)

    monkeypatch.setattr(
        site.app.providers["main"], "select", lambda asked: app.Rows(("i",), rows(), lambda: closed.append(None))
    )
    assert site.get(f"/views/numbers.{suffix}", staff).status == 504
    assert closed == [None]


# ---- signing in


def link(site: Site) -> str:
    token = site.app.office.issue(app.Caller("test"), "ann", ["**:*"], [], 3600)
    return site.app.office.link(app.Caller("test"), token)


def test_opening_a_sign_in_link_uses_nothing_up_and_sending_it_does(site: Site) -> None:
    code = link(site)
    for _ in range(3):
        page = site.get(f"/login/{code}", Accept="text/html")
        assert hidden(page, "code") == code
        assert not page["Set-Cookie"]
    signed = site.submit("/login", {"code": code})
    assert (signed.status, signed["Location"]) == (303, "/")
    assert site.get("/", signed.cookie, Accept="text/html").text.count("Signed in as") == 1
    again = site.submit("/login", {"code": code})
    assert (again.status, again["Content-Type"], again["Set-Cookie"]) == (401, "text/html; charset=utf-8", "")
    assert "This sign-in link was used already" in again.text
    assert site.ask("POST", "/login", urlencode({"code": code}), FORM).json["code"] == "invalid_token"


def test_a_sign_in_link_can_be_pasted_whole(site: Site) -> None:
    address = f"https://intranet.example.org/ops/login/{link(site)}"
    assert site.submit("/login", {"token": f" {address}\n"}).status == 303
    assert "This sign-in link was used already" in site.submit("/login", {"token": f"{address}?after=/forms/leave"}).text


def test_a_dead_sign_in_link_says_so_before_it_is_pressed(site: Site) -> None:
    used, living = link(site), link(site)
    revoked = site.app.office.issue(app.Caller("test"), "bob", ["**:*"], [], 3600)
    of_revoked = site.app.office.link(app.Caller("test"), revoked)
    site.app.office.revoke(app.Caller("test"), [revoked])
    expired = site.app.office.link(
        app.Caller("test"), site.app.office.issue(app.Caller("test"), "cy", ["**:*"], [], 3600), expires_s=-1
    )
    site.submit("/login", {"code": used})
    unknown = [of_revoked, "abcdef", "A" * 43, "%00", "a" * 3000]
    says = {used: "was used already", expired: "has expired", **dict.fromkeys(unknown, "is not known here")}
    for code, why in says.items():
        page = site.get(f"/login/{code}", Accept="text/html")
        assert (page.status, hidden(page, "code")) == (200, "")
        assert f"This sign-in link {why}" in page.text
        assert "Ask whoever sent it to you for a new one." in page.text
        vars(site.app.office).pop("throttle", None)  # which would slow the sixth down
        sent = site.submit("/login", {"code": code})
        assert (sent.status, f"This sign-in link {why}" in sent.text) == (401, True)
        assert "malformed" not in sent.text
    assert "Your sign-in link is ready" in site.get(f"/login/{living}", Accept="text/html").text


def test_a_token_is_pasted_into_the_page(site: Site, staff: str) -> None:
    signed = site.submit("/login", {"token": f"  {staff}\n", "after": "/forms/leave?x=1"})
    assert (signed.status, signed["Location"]) == (303, "/forms/leave?x=1")
    flags = signed["Set-Cookie"].split("; ")[1:]
    assert sorted(flags)[:3] == ["HttpOnly", next(flag for flag in flags if flag.startswith("Max-Age=")), "Path=/"]
    assert "SameSite=Lax" in flags
    assert "Secure" not in flags
    for wrong in ({"token": "x"}, {"token": ""}, {}, {"code": "A" * 43}, {"token": staff[:-2]}):
        assert site.submit("/login", wrong).status == 401
    assert site.submit("/login", {"token": "y"}).status == 429
    vars(site.app.office).pop("throttle")
    assert site.upload("/login", ("token", "a.txt", staff.encode())).status == 401
    assert site.ask("POST", "/login", b"{}", JSON).status == 415
    assert site.submit("/login", {"token": "x" * 70_000}).status == 413


AFTER = [
    "//evil.example",
    "/\\evil.example",
    "https://evil.example/",
    "\\\\evil",
    "/%0d%0aSet-Cookie:x",
    "/a\r\nb",
    "javascript:x",
]


@pytest.mark.parametrize("after", [*AFTER, "/\tx", "evil", "/ x", "http:/x", "///x", "/é", "", "/x" + chr(0)])
def test_signing_in_leads_only_to_this_site(site: Site, staff: str, after: str) -> None:
    location = site.submit("/login", {"token": staff, "after": after})["Location"]
    assert location == ("/" if after != "/%0d%0aSet-Cookie:x" else after)
    shown = hidden(site.get(f"/login?after={quote(after, safe='')}"), "after")
    assert shown in ("", "/%0d%0aSet-Cookie:x")
    assert hidden(site.submit("/login", {"token": "x", "after": after}), "after") == shown


@pytest.mark.parametrize(
    "after", [*AFTER, "/opsevil", "/other", "https://localhost/ops/x", "/", "/../ops/", "/ops/../x", "/ops/%2e%2E/x?y"]
)
def test_signing_in_leads_only_below_the_prefix(ops: Site, after: str) -> None:
    staff = ops.token(roles=["staff"])
    assert ops.submit("/ops/login", {"token": staff, "after": after})["Location"] == "/ops/"
    assert ops.submit("/ops/login", {"token": staff, "after": "/ops/forms/leave"})["Location"] == "/ops/forms/leave"


def test_signing_out_ends_the_session_and_the_cookie(site: Site, staff: str) -> None:
    cookie = site.sign_in(staff)
    page = site.get("/", cookie, Accept="text/html")
    out = site.submit("/logout", {"_token": hidden(page, "_token")}, cookie)
    assert (out.status, out["Location"]) == (303, "/login")
    assert out["Set-Cookie"].startswith(site.cookie() + "; Path=/; Max-Age=0")
    assert site.get("/admin/sessions?_count=1", staff).json["count"] == 0, (
        "one that ended is known for a day, and not listed"
    )
    assert site.get("/forms/leave", cookie).status == 401


@pytest.mark.parametrize("value", ["bad", "A" * 43, "a.b; x=y", "a=b", "%20", '"x"'])
def test_a_bad_cookie_leads_pages_to_the_login_and_is_cleared(site: Site, value: str) -> None:
    cookie = site.cookie(value)
    page = site.get("/forms/leave?_sent=1", cookie, Accept="text/html")
    assert (page.status, page["Location"]) == (303, "/login?after=%2Fforms%2Fleave%3F_sent%3D1")
    machine = site.get("/forms/leave", cookie)
    assert (machine.status, machine.json["code"]) == (401, "invalid_token")
    sent = site.submit("/forms/open", {"text": "x"}, cookie, Sec_Fetch_Site="same-origin")
    assert (sent.status, "Sign in" in sent.text) == (401, True)
    for reply in (page, machine, sent):
        assert "Max-Age=0" in reply["Set-Cookie"]


def test_a_write_by_a_dead_session_is_told_where_it_was_sent(site: Site) -> None:
    reply = site.submit("/files/docs/a?_method=DELETE", {}, site.cookie("bad"), Sec_Fetch_Site="same-origin")
    assert (reply.status, reply["Location"]) == (401, "")


def test_a_refusal_of_one_thing_ends_no_session(site: Site) -> None:
    cookie = site.sign_in(site.token("forms/leave:create"))
    for target, status in (("/views/waiting", 403), ("/nowhere", 404), ("/forms/leave?x=1", 400)):
        for accept in ("text/html", "application/json"):
            reply = site.get(target, cookie, Accept=accept)
            assert (reply.status, reply["Set-Cookie"]) == (status, "")
    assert site.get("/forms/leave", cookie).status == 200


def test_a_cookie_has_a_name_of_its_own_per_site_and_per_scheme(site: Site, staff: str, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = Site(tmp_path / "other")
    theirs = other.sign_in(other.token(roles=["staff"]))
    mine = site.sign_in(staff)
    by_tls = site.submit("/login", {"token": staff}, X_Forwarded_Proto="https", Remote_Addr="10.0.0.1").cookie
    names = {one.partition("=")[0] for one in (mine, theirs, by_tls)}
    assert len(names) == 3, "neither another site nor http beside https replaces a cookie"
    assert all(re.fullmatch(r"(__Host-)?satchel_session_\w+", name) for name in names)
    assert by_tls.startswith("__Host-"), "no page that came by http, and no other host, can set it"
    assert site.get("/forms/leave", Cookie=f"{theirs}; {mine}").status == 200
    assert site.get("/forms/leave", Cookie=f"{mine}; {theirs}").status == 200
    for longer in (f"x_{mine}", f"x={mine}", f"a=b {mine}"):
        assert site.get("/forms/leave", Cookie=longer).status == 401, "part of another cookie"
    stranger = site.get("/forms/open", theirs)
    assert (stranger.status, stranger["Set-Cookie"]) == (200, ""), "a foreign cookie is none, and is not cleared"
    other.close()

    again = Site(tmp_path)
    app.plugin("key_edits").rotate(again.app.authority.keys, time.time())
    assert again.cookie() == site.cookie(), "the name outlives restarts and keys"
    assert again.get("/forms/leave", mine).status == 200
    again.close()


def test_the_good_one_of_several_cookies_of_the_name_is_taken(site: Site, staff: str) -> None:
    good = site.sign_in(staff)
    assert (
        site.get("/forms/leave", Cookie="; ".join([site.cookie("A" * 43)] * 20 + [site.cookie("x")] * 60 + [good])).status
        == 200
    )
    for bad in ("bad", "A" * 43, "a.b", ""):
        for cookies in (f"{site.cookie(bad)}; {good}", f"{good}; {site.cookie(bad)}; x=y"):
            assert site.get("/forms/leave", Cookie=cookies).status == 200, cookies
    page = site.get("/", Cookie=f"{site.cookie('bad')}; {good}", Accept="text/html")
    out = site.submit("/logout", {"_token": hidden(page, "_token")}, Cookie=f"{site.cookie('bad')}; {good}")
    assert out.status == 303
    assert site.get("/forms/leave", good).status == 401


def test_a_revoked_token_ends_its_session_and_its_bearer_at_once(site: Site, staff: str) -> None:
    cookie = site.sign_in(staff)
    assert site.get("/forms/leave", cookie).status == 200
    claims = json.loads(base64.urlsafe_b64decode(staff.split(".")[1] + "=="))
    site.app.office.revoke(app.Caller("test"), [site.app.authority.token(claims["jti"])])
    assert site.get("/forms/leave", cookie).status == 401
    refused = site.get("/forms/leave", staff)
    assert refused["WWW-Authenticate"].startswith('Bearer realm="satchel", error="invalid_token"')


def test_a_bearer_wins_over_a_cookie(site: Site, staff: str) -> None:
    cookie = site.sign_in(staff)
    bob = site.token("forms/leave:create", subject="bob")
    both = {"Cookie": cookie, "Authorization": f"Bearer {bob}"}
    assert site.ask("POST", "/forms/leave", json.dumps(LEAVE), JSON | both).json["created_by"] == "bob"
    bad = site.ask("GET", "/forms/leave", None, {"Cookie": cookie, "Authorization": "Bearer x"})
    assert (bad.status, bad["Set-Cookie"]) == (401, "")


def test_basic_takes_a_token_as_its_password(site: Site, staff: str) -> None:
    for user in ("", "ann", "anyone"):
        value = base64.b64encode(f"{user}:{staff}".encode()).decode()
        assert site.get("/forms/leave", Authorization=f"Basic {value}").status == 200
    assert site.get("/forms/leave", Authorization="Basic !").status == 401
    assert site.get("/forms/leave", Authorization="Digest x").status == 401


def test_a_token_in_the_query_is_no_credential(site: Site, staff: str) -> None:
    for name in ("access_token", "token", "authorization"):
        assert site.get(f"/forms/leave?{name}={staff}").status == 401


def test_a_challenge_says_what_is_missing(site: Site) -> None:
    assert site.get("/forms/leave")["WWW-Authenticate"] == 'Bearer realm="satchel"'
    lacking = site.get("/forms/leave", site.token("views/x:read"))
    needed = 'error="insufficient_scope", scope="forms/leave:read"'
    assert (lacking.status, lacking["WWW-Authenticate"]) == (403, f'Bearer realm="satchel", {needed}')
    wrong = site.get("/forms/leave", "x")
    told = f'error="invalid_token", error_description="{wrong.json["detail"]}"'
    assert (wrong.status, wrong["WWW-Authenticate"]) == (401, f'Bearer realm="satchel", {told}')
    assert site.get("/forms/none", site.token("views/x:read")).status == 403


# ---- requests from elsewhere

ELSEWHERE = [
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Origin": "https://evil.example"},
    {"Origin": "http://localhost:81"},
    {"Origin": "http://localhost.evil.example"},
    {"Sec-Fetch-Site": "cross-site", "Origin": "http://localhost"},
]
HERE = [
    {"Sec-Fetch-Site": "same-origin"},
    {"Sec-Fetch-Site": "none"},
    {"Origin": "http://localhost"},
    {"Origin": "http://LOCALHOST"},
]
SILENT: list[dict[str, str]] = [{}, {"Origin": "null"}]


def attempts(site: Site, cookie: str, headers: dict[str, str], token: str = "") -> list[int]:
    """What unsafe requests with a cookie get: a form, a JSON body, an upload, a page's delete."""
    site.put("/files/docs/victim", b"x", site.token(roles=["staff"]))
    found = [
        site.ask("POST", "/forms/leave", urlencode({"day": "2026-01-31", "_token": token}), FORM | headers, cookie),
        site.ask("POST", "/files/docs/", multipart(("_token", None, token), ("file", os.urandom(4).hex(), b"x")),
                 MULTIPART | headers, cookie),
        site.ask("POST", "/files/docs/victim?_method=DELETE", urlencode({"_token": token}), FORM | headers, cookie),
    ]  # fmt: skip
    return [reply.status for reply in found]


@pytest.mark.parametrize("headers", ELSEWHERE)
def test_no_other_site_can_use_a_session(site: Site, staff: str, headers: dict[str, str]) -> None:
    cookie = site.sign_in(staff)
    token = hidden(site.get("/forms/leave", cookie, Accept="text/html"), "_token")
    assert attempts(site, cookie, headers, token) == [403, 403, 403]
    assert site.ask("PUT", "/files/docs/a", b"x", headers, cookie).status == 403
    assert site.ask("DELETE", "/files/docs/victim", None, headers, cookie).status == 403
    assert site.ask("POST", "/logout", urlencode({"_token": token}), FORM | headers, cookie).status == 403
    assert site.ask("POST", "/forms/leave", json.dumps(LEAVE), JSON | headers, cookie).status == 403
    assert site.get("/forms/leave", cookie).status == 200


@pytest.mark.parametrize("headers", HERE)
def test_the_sites_own_pages_need_no_form_token(site: Site, staff: str, headers: dict[str, str]) -> None:
    cookie = site.sign_in(staff)
    assert attempts(site, cookie, headers) == [201, 201, 204]
    assert site.ask("PUT", "/files/docs/a", b"x", headers, cookie).status == 201


@pytest.mark.parametrize("headers", SILENT)
def test_where_a_browser_says_nothing_the_form_token_decides(site: Site, staff: str, headers: dict[str, str]) -> None:
    cookie, other = site.sign_in(staff), site.sign_in(staff)
    token = hidden(site.get("/forms/leave", cookie, Accept="text/html"), "_token")
    foreign = hidden(site.get("/forms/leave", other, Accept="text/html"), "_token")
    public = hidden(site.get("/login"), "_token")
    assert attempts(site, cookie, headers, token) == [201, 201, 204]
    for wrong in ("", foreign, public, token[:-1], "x", "é"):
        assert attempts(site, cookie, headers, wrong) == [403, 403, 403]
    assert site.ask("PUT", "/files/docs/a", b"x", headers, cookie).status == 403
    assert site.ask("POST", "/forms/leave", json.dumps(LEAVE), JSON | headers, cookie).status == 403
    assert site.ask("POST", "/logout", b"", FORM | headers, cookie).status == 403


def test_a_program_with_a_bearer_needs_no_proof_of_origin(site: Site, staff: str) -> None:
    assert site.send("/forms/leave", LEAVE, staff, Origin="https://elsewhere.example").status == 201


def test_the_public_may_submit_a_public_form_from_a_page(site: Site) -> None:
    page = site.get("/forms/open", Accept="text/html")
    assert site.submit(action(page), {"text": "hello"}).status == 303


# ---- hosts, proxies, prefix


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("localhost:8080", 200),
        ("LOCALHOST.", 200),
        ("127.0.0.1:80", 200),
        ("[::1]:80", 200),
        ("10.1.2.3", 200),
        ("intranet.local", 200),
        ("Intranet.Local:8443", 200),
        ("evil.example", 421),
        ("evil-intranet.local", 421),
        ("x.intranet.local", 421),
        ("notlocalhost", 421),
        ("intranet.local.evil.example", 421),
        ("", 421),
        ("intranet.local@evil.example", 421),
        ("localhost:80:80", 421),
        ("localhost,evil", 421),
        ("a" * 5000, 421),
    ],
)
def test_only_known_hosts_are_answered(site: Site, host: str, status: int) -> None:
    assert site.get("/healthz", Host=host).status == status


def test_hosts_are_those_of_the_settings_in_any_case_and_a_star_is_all(tmp_path: Path) -> None:
    for number, (hosts, asked) in enumerate((('["Intranet.Local"]', "intranet.local"), ('["*"]', "any.example"))):
        folder = tmp_path / str(number)
        folder.mkdir()
        settings = f'bind = "Box.internal:8080"\nhosts = {hosts}'
        site = Site(folder, edit=lambda text, own=settings: text.replace('hosts = ["intranet.local"]', own, 1))  # type: ignore[misc]
        assert site.get("/healthz", Host=asked).status == 200
        assert site.get("/healthz", Host="other.example").status == (200 if "*" in hosts else 421)
        assert site.get("/healthz", Host="box.internal").status == 200
        site.close()


def test_an_old_client_without_a_host_is_answered(site: Site) -> None:
    assert site.get("/healthz", Host="", SERVER_PROTOCOL="HTTP/1.0").status == 200


def test_the_host_of_an_absolute_target_counts_and_not_the_header(site: Site) -> None:
    assert site.get("http://intranet.local/healthz", Host="evil.example").status == 200
    assert site.get("HTTP://LOCALHOST:80/healthz?", Host="evil.example").status == 200
    assert site.get("http://evil.example/healthz", Host="localhost").status == 421


def test_the_address_of_the_site_names_a_host_and_an_origin_of_its_own(tmp_path: Path) -> None:
    settings = '[site]\nurl = "https://Team.example:443"\nlang = "ar"\ncontact = "the <front> desk"'
    site = Site(tmp_path, edit=lambda text: text.replace("[site]", settings))
    try:
        assert (site.get("/healthz", Host="team.example").status, site.get("/healthz", Host="evil.example").status) == (
            200,
            421,
        )
        cookie = site.sign_in(site.token("forms/leave:create"))
        body = urlencode({"nothing": "that is asked"})
        for origin, status in (("https://team.example", 422), ("http://team.example", 403), ("https://evil.example", 403)):
            sent = site.ask("POST", "/forms/open", body, FORM | {"Cookie": cookie, "Origin": origin, "Accept": "text/html"})
            assert sent.status == status, (origin, sent.body)
        assert '<html lang="ar" dir="rtl">' in site.get("/login", Accept="text/html").text
        assert "Ask <bdi>the &lt;front&gt; desk</bdi>" in site.get("/login", Accept="text/html").text
        assert site.get("/openapi.json").json["servers"] == [{"url": "https://Team.example:443"}]
        by_tls = {"X_Forwarded_Proto": "https", "Remote_Addr": "10.0.0.1", "Host": "team.example"}
        for target in ("/healthz", "/nowhere", "/static/app.css", "/login"):
            assert site.get(target, **by_tls)["Strict-Transport-Security"] == "max-age=31536000"
            assert site.get(target, Host="team.example")["Strict-Transport-Security"] == "", "which http cannot say"
    finally:
        site.close()


TOOLS = """
[forms.tools]
title = "Tools"
opens = "records"
[forms.tools.fields]
tag = { title = "=Tag" }
state = { oneOf = [{ const = "a1", title = "Attic" }, { const = "b2", title = "@home" }] }
kinds = { type = "array", items = { type = "integer", oneOf = [{ const = 1, title = "Saw" }, { const = 2 }] } }
cost = { type = "number", title = "Cost" }
at = { format = "date-time", title = "At" }
[views.tools]
from = "forms/tools"
columns = { tag = {}, state = { title = "Where" }, kinds = {}, cost = {}, at = {} }
"""


@pytest.mark.parametrize(("lang", "comma", "cost"), [("en", ",", "-12.5"), ("de", ";", "-12,5")])
def test_csv_for_excel_has_titles_and_no_formulas_and_plain_csv_keeps_constants(
    tmp_path: Path, lang: str, comma: str, cost: str
) -> None:
    zone = f'[site]\nlang = "{lang}"\ntimezone = "Europe/Berlin"'
    site = Site(tmp_path, edit=lambda text: text.replace("[site]", zone) + TOOLS)
    try:
        staff = site.token(roles=["staff"])
        for tag in ("=1+1", "+45 12", "-x", "@x", "\tx", "plain;,", "\uff1d1"):
            made = site.send("/forms/tools", {"tag": tag, "state": "a1", "kinds": [2, 1], "cost": -12.5,
                                              "at": "2026-07-01T00:00:00Z"}, staff)  # fmt: skip
        site.send("/forms/tools", {"state": "b2"}, staff)
        reply = site.get("/views/tools.csv?_for=excel", staff)
        assert reply.body.startswith(b"\xef\xbb\xbf")
        headings, *rows = csv.reader(io.StringIO(reply.body.decode("utf-8-sig"), newline=""), delimiter=comma)
        assert headings == ["'=Tag", "Where", "Kinds", "Cost", "At (Europe/Berlin)"]
        assert [row[0] for row in rows] == ["'=1+1", "'+45 12", "'-x", "'@x", "'\tx", "plain;,", "'\uff1d1", ""][::-1]
        assert rows[-1][1:] == ["Attic", "2, Saw", cost, "2026-07-01 02:00:00"]
        assert rows[0][1:] == ["'@home", "", "", ""]
        plain = site.get("/forms/tools/records.csv", staff).text
        assert made.json["id"] + ',\uff1d1,a1,"[2,1]",' in plain
        assert site.get("/views/tools.json", staff).json["items"][-1]["kinds"] == [2, 1]
        assert site.get("/views/tools.csv?_for=word", staff).status == 400
        page = site.get("/forms/tools/records", staff, Accept="text/html").text
        assert [text for text in ("<bdi>Attic</bdi>", "2, Saw", "records.csv?_for=excel") if text not in page] == []
        record = site.get(made["Location"], staff, Accept="text/html").text
        question = {"en": "Delete {}? This", "de": "{} löschen? Das"}[lang].format("<strong><bdi>\uff1d1</bdi></strong>")
        assert question in record
        trail = '<a href="/forms/tools/records"><bdi>Tools</bdi></a>'
        assert [text for text in ("<title>\uff1d1 · Ops", trail, cost, "CEST") if text not in record] == []
    finally:
        site.close()


def test_forwarded_headers_count_from_trusted_proxies_only(site: Site, staff: str) -> None:
    forwarded = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "intranet.local", "Host": "upstream.example"}
    body = urlencode({"token": staff})
    for proxy in ("10.0.0.1", "10.9.1.2", "::ffff:10.0.0.1"):
        signed = site.ask("POST", "/login", body, FORM | forwarded | {"Remote-Addr": proxy})
        assert (signed.status, "; Secure" in signed["Set-Cookie"]) == (303, True)
    for proxy in ("10.0.0.2", "127.0.0.1", "unix-ish", ""):  # "": a Unix socket
        assert site.ask("POST", "/login", body, FORM | forwarded | {"Remote-Addr": proxy}).status == 421
        plain = forwarded | {"Host": "localhost"}
        assert "Secure" not in site.ask("POST", "/login", body, FORM | plain | {"Remote-Addr": proxy})["Set-Cookie"]
    environ = site.environ("POST", "/login", body.encode(), FORM | {"X-Forwarded-Proto": "wss", "Remote-Addr": "10.0.0.1"})
    head, _ = site.start(environ | {"wsgi.url_scheme": "https"}, checked=False)
    assert any("; Secure" in value for _, value in head[1]), "what is neither http nor https says nothing"
    evil = {"X-Forwarded-Host": "evil.example", "Remote-Addr": "10.0.0.1"}
    assert site.ask("GET", "/healthz", None, evil).status == 421


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("10.0.0.1", "1.2.3.4", "1.2.3.4"),
        ("10.0.0.1", "6.6.6.6, 1.2.3.4, 10.9.0.7", "1.2.3.4"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.2", "1.2.3.4", "10.0.0.2"),
    ],
)
def test_the_log_names_the_nearest_client_that_is_no_proxy(
    site: Site, peer: str, forwarded: str, client: str, caplog: pytest.LogCaptureFixture
) -> None:

    site.runner.config = site.runner.config.replaced(access_log=True)
    with caplog.at_level(logging.INFO, "satchel"):
        site.get("/login/secretcode?x=1", Remote_Addr=peer, X_Forwarded_For=forwarded)
    facts = json.loads(caplog.messages[-1])
    assert (facts["client"], facts["path"], facts["status"]) == (client, "/login/…", 200)
    assert "secretcode" not in caplog.text


def test_a_proxy_that_is_no_address_is_a_fault_of_the_configuration(tmp_path: Path) -> None:
    with pytest.raises(app.ConfigError) as caught:
        Site(tmp_path, edit=lambda text: text.replace('"10.0.0.1"', '"nginx"'))
    assert [fault.pointer for fault in caught.value.faults] == ["http.trusted_proxies"]


def test_everything_stands_below_the_prefix(ops: Site) -> None:
    staff = ops.token(roles=["staff"])
    for target in ("/", "/healthz", "/forms/leave", "/opsx/", "/ops/ops/"):
        assert ops.get(target, staff).status == 404
    assert ops.get("/ops", staff).status == 200
    made = ops.send("/ops/forms/leave", LEAVE, staff)
    assert made["Location"].startswith("/ops/forms/leave/records/")
    fill_ops = [ops.send("/ops/forms/leave", LEAVE, staff) for _ in range(2)]
    assert all(reply.status == 201 for reply in fill_ops)
    assert ops.get("/ops/forms/leave/records?_size=1", staff)["Link"].startswith("</ops/forms/leave/records?")
    ops.put("/ops/files/docs/d/a.txt", b"x", staff)
    targets = (
        "/ops/",
        "/ops/forms/leave",
        made["Location"],
        made["Location"] + "?_edit=1",
        "/ops/forms/leave/records?_size=1",
    )
    for target in (
        *targets,
        "/ops/files/docs/",
        "/ops/files/docs/d/",
        "/ops/views/numbers",
        "/ops/apps/desk",
        "/ops/login",
        "/ops/x",
    ):
        page = ops.get(target, staff, Accept="text/html").text
        links = [html.unescape(one) for one in re.findall(r'(?:href|src|action)="([^"]*)"', page)]
        own = [one for one in links if not one.startswith(("#", "http"))]
        assert own
        assert [one for one in own if not one.startswith("/ops/")] == [], target
        for one in own:
            if not re.search("logout|_method|_submission|/drafts/", one):
                assert ops.get(one.partition("#")[0], staff, Accept="text/html").status in (200, 303), one
    cookie = ops.submit("/ops/login", {"token": staff})
    assert "; Path=/ops;" in cookie["Set-Cookie"]
    assert cookie["Location"] == "/ops/"
    assert ops.get("/ops/forms/leave", Accept="text/html")["Location"].startswith("/ops/login?after=%2Fops%2F")


# ---- a real server over real sockets


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One worker with the starter site and short limits for slow clients."""
    folder = tmp_path_factory.mktemp("live")
    with serving(folder, "--workers", "1", program=["-c", QUICK]) as server:
        yield server


@pytest.fixture(scope="module")
def bearer(live: Server) -> dict[str, str]:
    return {"Authorization": f"Bearer {live.token()}"}


def test_an_empty_folder_becomes_a_site_with_a_sign_in_link(live: Server) -> None:
    assert live.ask("GET", "/healthz").status == 200
    assert re.search(r"Our team is at http://127.0.0.1:\d+/ \(the built-in starter\)", "\n".join(live.told))
    with Connection(live.connect()) as connection:
        assert connection.ask("GET", f"/login/{live.code}", None, PAGE).status == 200
        signed = connection.ask("POST", "/login", urlencode({"code": live.code}), FORM | PAGE)
        assert signed.status == 303
        assert connection.ask("GET", "/", None, PAGE | {"Cookie": signed.cookie}).text.count("Signed in as") == 1
        assert connection.ask("POST", "/login", urlencode({"code": live.code}), FORM | PAGE).status == 401


def test_files_ranges_and_chunked_bodies_go_over_the_wire(live: Server, bearer: dict[str, str]) -> None:
    data = random_bytes(3_000_000)
    with Connection(live.connect()) as connection:
        assert connection.ask("PUT", "/files/shared/a.bin", data, bearer).status == 201
        assert connection.ask("GET", "/files/shared/a.bin", None, bearer).body == data
        part = connection.ask("GET", "/files/shared/a.bin", None, bearer | {"Range": "bytes=1000000-2999990"})
        assert (part.status, part.body) == (206, data[1_000_000:2_999_991])
        parts = connection.ask("GET", "/files/shared/a.bin", None, bearer | {"Range": "bytes=0-9,100-109"})
        assert parts.body.count(data[:10]) == parts.body.count(data[100:110]) == 1
        headed = connection.ask("HEAD", "/files/shared/a.bin", None, bearer)
        assert (headed["Content-Length"], headed.body) == ("3000000", b"")
        assert connection.ask("PUT", "/files/shared/b.bin", drip([data[:70_000], data[70_000:]]), bearer).status == 201
        assert connection.ask("GET", "/files/shared/b.bin", None, bearer).body == data
        assert connection.ask("GET", "/files/shared/%C3%BC%20%F0%9F%8F%96", None, bearer).status == 404
        assert connection.ask("POST", "/forms/requests", b"{}", bearer | JSON).status == 422
        assert connection.ask("GET", "/views/requests.csv", None, bearer).status == 200


def test_every_address_is_checked_as_it_came_over_the_wire(live: Server, bearer: dict[str, str]) -> None:
    credential = authorised(bearer)
    for target in (
        "/files/shared/../x",
        "/files/shared/%2e%2e/x",
        "/files/shared/..%2fx",
        "/files/shared/%00",
        "/files/shared/a%0d",
    ):
        assert status_of(raw(live, head("GET", target, credential, "Connection: close"))) == 400
    absolute = f"GET http://evil.example/ HTTP/1.1\r\nHost: localhost\r\n{credential}\r\nConnection: close\r\n\r\n"
    assert status_of(raw(live, absolute.encode())) == 421


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 50 + b"\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nBroken\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nA : b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n folded: x\r\n\r\n",
        b"GET /\x00 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 20_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 500 + b"\r\n",
        b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"POST /forms/requests HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /forms/requests HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n",
        b"POST /forms/requests HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    ],
)
def test_garbage_is_refused_and_its_connection_closed(live: Server, data: bytes) -> None:
    answer = raw(live, data)
    assert status_of(answer) == 0 or 400 <= status_of(answer) < 600
    assert answer.count(b"HTTP/1.1 ") <= 1
    assert live.ask("GET", "/healthz").status == 200


def test_pipelined_requests_are_answered_in_order(live: Server) -> None:
    data = head("GET", "/healthz") + head("GET", "/nothing") + head("GET", "/healthz", "Connection: close")
    answer = raw(live, data)
    assert re.findall(rb"HTTP/1.1 (\d+)", answer) == [b"200", b"404", b"200"]


def test_a_client_that_waits_for_100_continue_gets_it(live: Server, bearer: dict[str, str]) -> None:
    with live.connect() as connection:
        lines = (authorised(bearer), "Content-Length: 4", "Expect: 100-continue", "Connection: close")
        connection.sendall(head("PUT", "/files/shared/continue", *lines))
        assert connection.recv(1000).startswith(b"HTTP/1.1 100")
        connection.sendall(b"data")
        assert status_of(read_all(connection)) == 201


@pytest.mark.parametrize("size", [1000, 3_000_000])
def test_a_refusal_before_the_body_is_read_leaves_the_connection_usable_or_closed(live: Server, size: int) -> None:
    with live.connect() as connection:
        connection.sendall(head("PUT", "/files/shared/x", f"Content-Length: {size}"))
        answer = connection.recv(65536)
        assert status_of(answer) == 401
        with contextlib.suppress(ConnectionError):
            connection.sendall(b"x" * size + head("GET", "/healthz", "Connection: close"))
        rest = read_all(connection)
        assert re.findall(rb"HTTP/1.1 (\d+)", rest) == [b"200"] * (size == 1000)


def test_a_request_whose_head_does_not_come_is_ended(live: Server) -> None:
    with live.connect() as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: loc")
        began = time.monotonic()
        for _ in range(100):
            try:
                connection.sendall(b"a")
                connection.settimeout(0.1)
                if not connection.recv(100):
                    break
            except TimeoutError:
                continue
            except ConnectionError:
                break
        assert time.monotonic() - began < 5


def test_a_body_that_is_cut_off_leaves_the_old_file(live: Server, bearer: dict[str, str]) -> None:
    live.ask("PUT", "/files/shared/cut", b"old", bearer)
    with live.connect() as connection:
        connection.sendall(head("PUT", "/files/shared/cut", authorised(bearer), "Content-Length: 500000") + b"new")
        connection.shutdown(socket.SHUT_WR)
        assert status_of(read_all(connection)) == 400
    chunked = head("PUT", "/files/shared/cut", authorised(bearer), "Transfer-Encoding: chunked")
    for body in (b"5\r\nhel", b"5\r\nhello\r\nzz\r\n", b"ffffffffffffffff\r\nx"):
        with live.connect() as connection:
            connection.sendall(chunked + body)
            connection.shutdown(socket.SHUT_WR)
            assert status_of(read_all(connection)) == 400
    assert live.ask("GET", "/files/shared/cut", None, bearer).body == b"old"


BREAKING = """
[public]
grants = ["views/**:read", "files/**:read"]
[providers.main]
kind = "sql"
url = "sqlite:///app.db"
[providers.disk]
kind = "file"
root = "disk"
[files.docs]
provider = "disk"
[forms.notes]
provider = "main"
fields.text = {}
[views.breaking]
provider = "main"
sql = '''with recursive n(i) as (select 1 union all select i + 1 from n where i < 9000)
select i, case when i = 8999 then abs(-9223372036854775807 - 1) else i end as x from n'''
"""


def end_of(server: Server, target: str, version: str, *headers: str, meanwhile: Callable[[], None] = lambda: None) -> str:
    """How an answer ends: "whole", "in part" or "reset"."""
    with server.connect() as connection:
        lines = [f"GET {target} HTTP/{version}", "Host: 127.0.0.1", *headers, "", ""]
        connection.sendall("\r\n".join(lines).encode())
        found = connection.recv(2000)
        meanwhile()
        try:
            while chunk := connection.recv(1 << 20):
                found += chunk
        except ConnectionResetError:
            return "reset"
    told, body = found.split(b"\r\n\r\n", 1)
    length = re.search(rb"(?i)content-length: (\d+)", told)
    assert b" 200 " in told or b" 206 " in told
    is_whole = len(body) == int(length[1]) if length else body.endswith(b"\r\n0\r\n\r\n")
    return "whole" if is_whole else "in part"


SEVERAL_PROVIDERS = """
[providers.main]
kind = "sql"
url = "sqlite:///app.db"
[files.docs]
provider = "main"
[files.receipts]
provider = "main"
[forms.leave]
fields.name = { type = "string" }
fields.note = { type = "string", format = "file", files = "files/receipts" }
[views.all]
provider = "main"
sql = "select 1 as i"
"""


def test_a_server_goes_on_when_the_files_of_its_program_are_taken_away(tmp_path: Path) -> None:
    program, folder = tmp_path / "program", tmp_path / "site"
    folder.mkdir()
    (folder / "app.toml").write_text(SEVERAL_PROVIDERS)
    for name in ("plugins", "templates", "static"):
        shutil.copytree(app.BUNDLED / name, program / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(app.BUNDLED / "app.py", program)
    with serving(folder, "--workers", "1", program=[str(program / "app.py")]) as server:
        headers = {"Authorization": f"Bearer {server.token()}"}
        shutil.rmtree(program / "plugins")
        form = headers | {"Content-Type": "application/x-www-form-urlencoded"}
        made = server.ask("POST", "/forms/leave", "name=ann", form)
        assert made.status == 201, made.json
        assert server.ask("PUT", made["Location"], "name=bob", form).status == 200
        assert server.ask("PUT", "/files/docs/a.txt", "text", headers).status == 201
        assert server.ask("GET", "/views/all", None, headers).json["items"] == [{"i": 1}]
        assert server.ask("GET", "/admin/metrics", None, headers).status == 200
        page = headers | MULTIPART | PAGE
        parts = multipart(("days", None, "x"), ("note", "a.txt", "text"))
        assert server.ask("POST", "/forms/leave", parts, page).status == 422
        tus = headers | {"Tus-Resumable": "1.0.0", "Content-Type": "application/offset+octet-stream"}
        begin = {"Upload-Length": "10", "Upload-Metadata": "filename UkVBRE1FLm1k"}
        begun = server.ask("POST", "/files/docs/", b"# A\n\n| b ", tus | begin)
        assert server.ask("PATCH", begun["Location"], b"|", tus | {"Upload-Offset": "9"}).status == 204
        time = b'{"modified_at": "2026-01-31T08:00:00Z"}'
        assert server.ask("POST", "/files/docs/README.md", time, headers | JSON).status == 200
        for place in ("/files/docs/README.md?_view=1", "/files/docs/", "/me"):
            assert server.ask("GET", place, None, headers | PAGE).status == 200, place
    assert not [line for line in server.told if "failed to load" in line]


def test_an_answer_that_fails_in_its_middle_never_ends_well(tmp_path: Path) -> None:
    (tmp_path / "app.toml").write_text(BREAKING)
    big = tmp_path / "disk" / "big.bin"
    with serving(tmp_path, "--workers", "1") as server:
        big.parent.mkdir(exist_ok=True)

        def cut() -> None:
            os.truncate(big, 1000)

        for suffix in ("csv", "ndjson"):
            assert end_of(server, f"/views/breaking.{suffix}", "1.1") == "in part"
            assert end_of(server, f"/views/breaking.{suffix}", "1.0") == "reset"
        for version in ("1.0", "1.1"):
            for wanted in ((), ("Range: bytes=5-49999990",), ("Range: bytes=0-10,100-49999999",)):
                big.write_bytes(b"")
                os.truncate(big, 50_000_000)
                assert end_of(server, "/files/docs/big.bin", version, *wanted, meanwhile=cut) in ("in part", "reset")
        assert server.ask("GET", "/healthz").status == 200
        assert server.ask("GET", "/views/breaking?_size=1000&i__gt=8500").status == 500
    told = [line for line in server.told if "broken off in the middle" in line]
    assert len(told) == 10
    assert all(re.match("request [0-9a-f]{32}: broken off in the middle: ", line) for line in told)


@pytest.mark.parametrize(
    ("count", "data"),
    [(64, b""), (32, b"GET / HT"), (32, b"slow upload")],
    ids=["idle", "half a head", "slow uploads"],
)
def test_clients_that_do_nothing_hold_nobody_up(live: Server, bearer: dict[str, str], count: int, data: bytes) -> None:
    if data == b"slow upload":
        data = head("PUT", "/files/shared/slow", authorised(bearer), "Content-Length: 1000000") + b"x" * 70_000
    with hold(live, count, data):
        assert all(answers_at_once(live) for _ in range(3))


def test_kept_alive_connections_hold_nobody_up(live: Server) -> None:
    held = [Connection(live.connect()) for _ in range(64)]
    try:
        assert {connection.ask("GET", "/healthz").status for connection in held} == {200}
        assert answers_at_once(live)
        assert {connection.ask("GET", "/healthz").status for connection in held[::8]} == {200}
    finally:
        for connection in held:
            connection.close()


def test_readers_that_stall_hold_nobody_up(live: Server, bearer: dict[str, str]) -> None:
    live.ask("PUT", "/files/shared/large", b"x" * 20_000_000, bearer)
    with hold(live, 16, head("GET", "/files/shared/large", authorised(bearer))):
        assert answers_at_once(live)


# ---- starting and stopping


def test_sigterm_lets_what_is_in_flight_finish_and_exits_with_0(tmp_path: Path) -> None:
    with serving(tmp_path, "--workers", "1") as server:
        credential = {"Authorization": f"Bearer {server.token()}"}
        with server.connect() as connection:
            lines = (f"Authorization: {credential['Authorization']}", "Content-Length: 8", "Expect: 100-continue")
            connection.sendall(head("PUT", "/files/shared/last", *lines))
            assert connection.recv(1000).startswith(b"HTTP/1.1 100")
            server.process.send_signal(signal.SIGTERM)
            wait_for_refusal(server)
            connection.sendall(b"finished")
            assert status_of(connection.recv(65536)) == 201
        assert server.stop() == 0
    assert (tmp_path / "data" / "files" / "shared" / "last").read_bytes() == b"finished"


def wait_for_refusal(server: Server) -> None:
    """Until the server takes no more connections."""
    until = time.monotonic() + 10
    while time.monotonic() < until:
        try:
            with Connection(server.connect(0.3)) as connection:
                connection.ask("GET", "/healthz")
        except OSError:
            return
    raise AssertionError("the server goes on taking connections")


def test_an_address_that_is_taken_is_told_with_exit_code_7(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(tmp_path / "s"))
        unix.listen()
        began, started = time.monotonic(), []
        for number, bind in enumerate((f"unix:{tmp_path}/s", f"127.0.0.1:{tcp.getsockname()[1]}")):
            (folder := tmp_path / str(number)).mkdir()
            command = [*backends.SATCHEL, "server", "--bind", bind]
            started.append((bind, subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True)))
        for bind, process in started:
            told = process.communicate(timeout=20)[1]
            assert process.returncode == 7
            assert f"cannot listen on {bind}: another program does" in told
            assert "Traceback" not in told
        assert time.monotonic() - began < 10
        assert (tmp_path / "s").is_socket()


def test_a_unix_socket_serves_and_what_a_killed_server_left_is_replaced(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(tmp_path / "s"))
    with serving(tmp_path, "--workers", "1", bind=f"unix:{tmp_path}/s") as server:
        assert server.ask("GET", "/healthz").status == 200
        assert (tmp_path / "s").stat().st_mode & 0o777 == 0o660
    assert not (tmp_path / "s").exists()


def test_all_addresses_are_both_families(tmp_path: Path) -> None:
    if not socket.has_dualstack_ipv6():
        pytest.skip("needs IPv6")
    with serving(tmp_path, "--workers", "1", bind="[::]:0") as server:
        for host in ("127.0.0.1", "::1"):
            with Connection(socket.create_connection((host, server.tcp[1]), 10)) as connection:
                assert connection.ask("GET", "/healthz").status == 200


@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_it_serves_below_a_prefix_behind_nginx(tmp_path: Path, kind: str) -> None:
    settings = '[site]\nprefix = "/ops"\n[http]\nhosts = ["intranet.local"]\ntrusted_proxies = ["127.0.0.1", "unix"]\n'
    starter = re.sub(r"(?ms)^\[site\].*?(?=^\[roles)", "", STARTER)
    (tmp_path / "app.toml").write_text(settings + starter)
    bind = f"unix:{tmp_path}/s" if kind == "unix" else "127.0.0.1:0"
    (tmp_path / "nginx").mkdir()
    with serving(tmp_path, "--workers", "1", bind=bind) as server:
        upstream = f"unix:{tmp_path}/s" if kind == "unix" else "{}:{}".format(*server.tcp)
        with nginx(tmp_path / "nginx", upstream) as address, Connection(socket.create_connection(address, 10)) as connection:
            host = {"Host": "intranet.local"}
            assert connection.ask("GET", "/ops/login", None, host).status == 200
            signed = connection.ask(
                "POST", "/ops/login", urlencode({"code": server.code}), FORM | host | {"Origin": "https://intranet.local"}
            )
            assert (signed.status, signed["Location"]) == (303, "/ops/")
            assert {"Path=/ops", "Secure", "HttpOnly"} <= set(signed["Set-Cookie"].split("; "))
            mine = host | {"Cookie": signed.cookie, "Sec-Fetch-Site": "same-origin"}
            data = random_bytes(2_000_000)
            assert connection.ask("PUT", "/ops/files/shared/%C3%BC%20%252F", data, mine).status == 201
            assert connection.ask("GET", "/ops/files/shared/%C3%BC%20%252F", None, mine).body == data
            assert connection.ask("GET", "/ops/files/shared/a%2Fb", None, mine).status == 400
            assert connection.ask("GET", "/ops/views/requests.csv", None, mine).status == 200
            assert connection.ask("GET", "/ops/healthz", None, {"Host": "evil.example"}).status == 421


def test_a_site_below_a_prefix_has_a_secure_cookie_of_its_own_path(tmp_path: Path) -> None:
    site = Site(tmp_path, prefix="/ops")
    by_tls = {"X_Forwarded_Proto": "https", "Remote_Addr": "10.0.0.1"}
    reply = site.submit("/ops/login", {"token": site.token("forms/leave:create")}, **by_tls)
    assert reply.cookie == site.cookie(reply.cookie.partition("=")[2], "https")
    assert reply.cookie.startswith("__Secure-satchel_session_")
    assert {"Path=/ops", "Secure", "HttpOnly", "SameSite=Lax"} <= set(reply["Set-Cookie"].split("; "))
    assert site.get("/ops/forms/leave", reply.cookie, **by_tls).status == 200
    site.close()


def test_tls_serves_marks_cookies_secure_and_ends_a_handshake_that_does_not_come(tmp_path: Path) -> None:
    names = [
        "-keyout",
        str(tmp_path / "key.pem"),
        "-out",
        str(tmp_path / "cert.pem"),
        "-subj",
        "/CN=localhost",
        "-days",
        "2",
    ]
    kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    subprocess.run([backends.program("openssl"), "req", "-x509", "-nodes", *kind, *names], check=True, capture_output=True)
    (tmp_path / "app.toml").write_text(STARTER.replace("[http]\n", '[http]\ntls_cert = "cert.pem"\ntls_key = "key.pem"\n'))
    context = ssl.create_default_context(cafile=str(tmp_path / "cert.pem"))
    with serving(tmp_path, "--workers", "1", program=["-c", QUICK]) as server:
        assert "https://127.0.0.1:" in "\n".join(server.told)
        old = ssl.create_default_context(cafile=str(tmp_path / "cert.pem"))
        old.set_ciphers("ALL:@SECLEVEL=0")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
        with server.connect() as sock, pytest.raises((ssl.SSLError, ConnectionError)):
            old.wrap_socket(sock, server_hostname="localhost")
        with Connection(context.wrap_socket(server.connect(), server_hostname="localhost")) as connection:
            body = urlencode({"code": server.code})
            signed = connection.ask("POST", "/login", body, FORM | {"Origin": "https://localhost"})
            assert (signed.status, "Secure" in signed["Set-Cookie"].split("; ")) == (303, True)
            mine = {"Cookie": signed.cookie, "Sec-Fetch-Site": "same-origin"}
            data = random_bytes(500_000)
            assert connection.ask("PUT", "/files/shared/a", data, mine).status == 201
            assert connection.ask("GET", "/files/shared/a", None, mine | {"Range": "bytes=5-499990"}).body == data[5:499_991]
        began = time.monotonic()
        assert b"HTTP" not in raw(server, b"\x16\x03\x01\x02\x00\x01")
        assert time.monotonic() - began < 5
