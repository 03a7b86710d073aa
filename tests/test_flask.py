"""A Flask application as a program of an app: who it is told of, its redirects, cookies, files, streams and faults."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import backends
import pytest
from http_client import FORM, Connection, Reply, Server, serving

PROGRAM = '''
"""A guest book: who was here, with a session of its own, pictures and a stream."""
import os
import sys
import threading

sys.path.append(os.environ["FLASK_PACKAGES"])
from flask import Flask, Response, abort, flash, get_flashed_messages, jsonify, redirect, render_template_string, request
from flask import session, stream_with_context, url_for

application = Flask(__name__, static_folder="flask_static", static_url_path="/static")
application.secret_key = "for tests"
application.config["SESSION_COOKIE_PATH"] = os.environ["BOOK_AT"]
guests, closed, go_on = [], [], threading.Event()

PAGE = """<!doctype html><title>Guests</title>
{% for text in get_flashed_messages() %}<p class="flash">{{ text }}</p>{% endfor %}
<ul>{% for one in guests %}<li>{{ one }}</li>{% endfor %}</ul>
<form method="post" action="{{ url_for('sign') }}"><input name="name"><button>Sign</button></form>
<link rel="stylesheet" href="{{ url_for('static', filename='book.css') }}">
<a href="{{ url_for('about', page='a b/c', _external=True) }}">about</a>"""


@application.get("/")
def book():
    return render_template_string(PAGE, guests=guests)


@application.post("/sign")
def sign():
    guests.append(request.form["name"])
    session["count"] = session.get("count", 0) + 1
    flash(f"Signed {session['count']} times")
    return redirect(url_for("book"))


@application.get("/about/<path:page>")
def about(page):
    return jsonify(page=page, user=request.remote_user, roles=request.environ.get("satchel.roles"), root=request.script_root,
                   url=request.url, cookies=sorted(request.cookies), auth=request.headers.get("Authorization"),
                   address=request.remote_addr, id=request.environ["satchel.request_id"])


@application.get("/stream")
def stream():
    def lines():
        try:
            yield "first\\n"
            go_on.wait(20)
            yield from (f"{n}\\n" for n in range(3))
        finally:
            closed.append(request.path)
    return Response(stream_with_context(lines()), mimetype="text/plain")


@application.get("/go")
def go():
    go_on.set()
    return jsonify(closed=closed)


@application.post("/upload")
def upload():
    file = request.files["file"]
    return jsonify(name=file.filename, size=len(file.read()), kind=file.mimetype)


@application.get("/raise")
def fail():
    raise RuntimeError("the guest book is on fire")


@application.get("/gone")
def gone():
    abort(410)


@application.get("/wait")
def wait():
    threading.Event().wait(float(request.args["s"]))
    return "done"


@application.get("/never-closed")
def never_closed():
    def lines():
        while True:
            yield "more\\n" * 1000
    return Response(lines(), mimetype="text/plain")


@application.get("/leaks")
def leaks():
    return Response(open(__file__, "rb"), mimetype="text/plain")  # which it leaves to whoever serves it to close


@application.errorhandler(404)
def missing(error):
    return "no such page of the book", 404
'''
CONFIG = """
[site]
prefix = "PREFIX"
[http]
workers = 1
max_body = "100KB"
[providers.main]
kind = "sql"
url = "sqlite:///app.db"
[roles.guests]
grants = ["apps/book:read"]
[apps.book]
title = "Guest book"
wsgi = "guest_book:application"
"""


@pytest.fixture(scope="module", params=["", "/ops"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    packages = backends.tool("flask", f"lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages")
    folder = tmp_path_factory.mktemp("flask")
    (folder / "app.toml").write_text(CONFIG.replace("PREFIX", request.param))
    (folder / "guest_book.py").write_text(PROGRAM)
    (folder / "flask_static").mkdir()
    (folder / "flask_static" / "book.css").write_text("ul { color: teal }")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLASK_PACKAGES", str(packages))
        patch.setenv("BOOK_AT", f"{request.param}/apps/book/app/")
        with serving(folder) as found:
            found.prefix = request.param
            yield found


@pytest.fixture(scope="module")
def token(server: Server) -> str:
    command = [*backends.SATCHEL, "auth", "issue", "--subject", "ann", "--role", "guests"]
    return subprocess.run(command, cwd=server.folder, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def ask(server: Server, token: str) -> Any:
    def send(method: str, path: str, body: Any = None, **headers: str) -> Reply:
        given = {"Authorization": f"Bearer {token}", **{name.replace("_", "-"): text for name, text in headers.items()}}
        return server.ask(method, f"{server.prefix}/apps/book/app{path}", body, given)

    return send


def test_it_is_told_who_asks_and_where_it_is(server: Server, ask: Any) -> None:
    told = ask("GET", "/about/a%20b/c", Cookie="mine=1; satchel_x=secret").json
    assert told["page"] == "a b/c"
    assert (told["user"], told["roles"], told["auth"]) == ("ann", ["guests"], None)
    assert told["root"] == f"{server.prefix}/apps/book/app"
    assert told["cookies"] == ["mine"]
    assert told["url"].endswith(f"{server.prefix}/apps/book/app/about/a%20b/c")
    assert server.ask("GET", f"{server.prefix}/apps/book/app/about/x").status == 401


def test_a_form_redirects_with_a_session_of_its_own(server: Server, ask: Any) -> None:
    page = ask("GET", "/")
    action = re.search(r'action="([^"]*)"', page.text)
    assert action
    assert action[1] == f"{server.prefix}/apps/book/app/sign"
    assert f"{server.prefix}/apps/book/app/about/a%20b/c" in page.text
    cookie = ""
    for count in (1, 2):
        given = {"Cookie": cookie} if cookie else {}
        done = ask("POST", "/sign", urlencode({"name": f"<b>{count}"}), Content_Type=FORM["Content-Type"], **given)
        assert done.status == 302
        assert done["Location"] == f"{server.prefix}/apps/book/app/"
        assert f"Path={server.prefix}/apps/book/app/" in done["Set-Cookie"]
        cookie = done.cookie
    text = ask("GET", "/", Cookie=cookie).text
    assert "Signed 2 times" in text
    assert "<li>&lt;b&gt;1</li>" in text


def test_its_static_files_have_validators_and_ranges(ask: Any) -> None:
    found = ask("GET", "/static/book.css")
    assert (found.status, found.text, found["Content-Type"]) == (200, "ul { color: teal }", "text/css; charset=utf-8")
    assert ask("GET", "/static/book.css", If_None_Match=found["ETag"]).status == 304
    part = ask("GET", "/static/book.css", Range="bytes=0-1")
    assert (part.status, part.text, part["Content-Range"]) == (206, "ul", "bytes 0-1/18")
    head = ask("HEAD", "/static/book.css")
    assert (head.status, head.body, head["Content-Length"]) == (200, b"", "18")
    assert ask("GET", "/static/../guest_book.py").status == 404


def test_an_upload_arrives_whole_and_one_that_is_too_large_is_413(ask: Any) -> None:
    from http_client import MULTIPART, multipart

    kind = MULTIPART["Content-Type"]
    told = ask("POST", "/upload", multipart(("file", "plan ø.txt", b"x" * 50_000)), Content_Type=kind).json
    assert told == {"name": "plan ø.txt", "size": 50_000, "kind": "application/octet-stream"}
    assert ask("POST", "/upload", multipart(("file", "a", b"x" * 200_000)), Content_Type=kind).status == 413


def test_a_stream_goes_out_as_it_is_made(server: Server, ask: Any, token: str) -> None:
    with Connection(server.connect()) as connection:
        connection.request("GET", f"{server.prefix}/apps/book/app/stream", headers={"Authorization": f"Bearer {token}"})
        answer = connection.getresponse()
        assert answer.readline() == b"first\n"  # before the rest is there
        ask("GET", "/go")
        assert answer.read() == b"0\n1\n2\n"
    assert "/stream" in ask("GET", "/go").json["closed"]


def test_its_errors_are_its_own_and_a_fault_is_500_and_nothing_else(server: Server, ask: Any) -> None:
    assert (ask("GET", "/gone").status, ask("GET", "/nosuch").text) == (410, "no such page of the book")
    assert ask("DELETE", "/").status == 405
    failed = ask("GET", "/raise")
    assert failed.status == 500
    assert "on fire" not in failed.text
    assert ask("GET", "/about/x").status == 200
    assert ask("OPTIONS", "/")["Allow"]


def test_a_program_that_blocks_keeps_nothing_else_waiting(server: Server, ask: Any) -> None:
    with ThreadPoolExecutor(40) as pool:
        waiting = [pool.submit(ask, "GET", "/wait?s=2") for _ in range(40)]
        began = time.monotonic()
        assert server.ask("GET", f"{server.prefix}/healthz").status == 200
        assert time.monotonic() - began < 1.8
        answers = [one.result() for one in waiting]
    assert sum(one.status == 200 for one in answers) >= 4
    assert {one.status for one in answers} == {200, 503}
    refused = next(one for one in answers if one.status == 503)
    assert refused["Retry-After"]
    assert "the program of apps/book is busy" in refused.text
    assert ask("GET", "/about/x").status == 200


def test_many_at_once_are_all_answered_by_a_program_that_is_quick(ask: Any) -> None:
    with ThreadPoolExecutor(20) as pool:
        assert {one.status for one in pool.map(lambda _: ask("GET", "/about/x"), range(100))} == {200}


def test_a_stream_without_end_ends_with_its_client(server: Server, ask: Any, token: str) -> None:
    for _ in range(3):
        with Connection(server.connect()) as connection:
            headers = {"Authorization": f"Bearer {token}"}
            connection.request("GET", f"{server.prefix}/apps/book/app/never-closed", headers=headers)
            assert connection.getresponse().read(100_000)
    assert ask("GET", "/about/x").status == 200


def test_a_file_that_it_leaves_open_is_closed_after_it_went_out(server: Server, ask: Any) -> None:
    folder = Path(f"/proc/{server.process.pid}/fd")
    if not folder.exists():
        pytest.skip("needs /proc")
    for _ in range(50):
        assert ask("GET", "/leaks").text == PROGRAM
    open_ones = [str(one.readlink()) for one in folder.iterdir() if one.is_symlink()]
    assert sum("guest_book" in one for one in open_ones) <= 1
