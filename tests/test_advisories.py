"""One test for each security fault that was found in Satchel, named after it. None may come back."""

from __future__ import annotations

import base64
import contextlib
import itertools
import os
import socket
import sys
import time
import tomllib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

import app

sys.path.insert(0, str(Path(__file__).parent))
from http_client import (
    FORM,
    JSON,
    MULTIPART,
    PAGE,
    QUICK,
    Server,
    Site,
    answers_at_once,
    authorised,
    head,
    hold,
    multipart,
    read_all,
    serving,
    status_of,
)


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("live"), "--workers", "1", program=["-c", QUICK]) as server:
        yield server


@pytest.fixture(scope="module")
def bearer(live: Server) -> dict[str, str]:
    return {"Authorization": f"Bearer {live.token()}"}


# ---- clients that hold threads


def test_a_body_that_drips_is_answered_408_and_the_old_file_stays(live: Server, bearer: dict[str, str]) -> None:
    assert live.ask("PUT", "/files/shared/drip", b"old", bearer).status == 201
    with live.connect() as connection:
        connection.sendall(head("PUT", "/files/shared/drip", authorised(bearer), "Content-Length: 500000"))
        began, answer = time.monotonic(), b""
        connection.settimeout(0.1)
        while not answer and time.monotonic() - began < 10:
            with contextlib.suppress(ConnectionError):
                connection.sendall(b"x")
            with contextlib.suppress(TimeoutError):
                answer = connection.recv(65536)
        assert status_of(answer) == 408
        assert time.monotonic() - began < 8
    assert live.ask("GET", "/files/shared/drip", None, bearer).body == b"old"


def test_the_rest_of_a_body_that_came_too_late_was_read_as_a_request(live: Server, bearer: dict[str, str]) -> None:
    with live.connect() as connection:
        connection.sendall(head("PUT", "/files/shared/late", authorised(bearer), "Content-Length: 500000") + b"first")
        answer = b""
        while b'"status":408' not in answer:
            answer += connection.recv(65536)
        with contextlib.suppress(ConnectionError):
            connection.sendall(head("GET", "/healthz"))
        assert read_all(connection) == b""


def test_an_answered_client_that_does_not_close_stopped_the_whole_worker(live: Server) -> None:
    with hold(live, 24, b"GET /healthz HTTP/1.0\r\nHost: localhost\r\n\r\n"):
        assert answers_at_once(live)


def test_silent_new_connections_held_a_thread_each(live: Server) -> None:
    with hold(live, 100, b""):
        assert answers_at_once(live)


# ---- bodies that were read without bound


class Endless:
    """A body that never ends, and how much of it was read."""

    def __init__(self, start: bytes, again: bytes) -> None:
        self.pieces, self.read_bytes = itertools.chain([start], itertools.repeat(again)), 0

    def read(self, size: int) -> bytes:
        piece = next(self.pieces)
        self.read_bytes += len(piece)
        assert self.read_bytes < 10_000_000, "it is read without bound"
        return piece


@pytest.mark.parametrize(
    ("start", "again"),
    [
        (b"", b"preamble" * 10_000),
        (multipart(("file", "", b""))[:-20], b"x" * 100_000),
        (b"", multipart(("note", None, b"x" * 60_000))[:-14]),
    ],
    ids=["before the first part", "in a file without a name", "in text fields"],
)
def test_a_stranger_could_make_an_upload_be_read_for_ever(site: Site, start: bytes, again: bytes) -> None:
    environ = site.environ("POST", "/files/docs/", None, MULTIPART | {"Transfer-Encoding": "chunked"})
    environ["wsgi.input"] = Endless(start, again)
    answered, _ = site.start(environ, checked=False)
    assert answered[0][:3] in ("400", "413")


def test_a_form_could_open_any_number_of_temporary_files(site: Site, staff: str) -> None:
    for count, status in ((100, 422), (101, 413), (500, 413)):
        parts = [("paper", f"{number}.txt", b"x") for number in range(count)]
        assert site.upload("/forms/papers", *parts, token=staff).status == status


def test_the_texts_of_a_form_with_files_were_bounded_one_by_one_only(tmp_path: Path) -> None:
    site = Site(tmp_path, edit=lambda text: text.replace('"20KB"', '"50MB"'))
    parts = [(f"name{number}", None, b"x" * 60_000) for number in range(20)]
    assert site.upload("/forms/papers", *parts, token=site.token(roles=["staff"])).status == 413
    site.close()


def test_accept_was_compiled_to_a_pattern(site: Site, staff: str) -> None:
    import fnmatch

    before = fnmatch._compile_pattern.cache_info().currsize  # type: ignore[attr-defined]
    site.get("/forms/leave", staff, Accept=", ".join(f"*{os.urandom(4).hex()}*" for _ in range(50)))
    assert fnmatch._compile_pattern.cache_info().currsize == before  # type: ignore[attr-defined]


# ---- requests from other sites


def test_a_sandboxed_page_could_sign_a_browser_in_as_somebody_else(site: Site, staff: str) -> None:
    for headers in ({"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}):
        reply = site.ask("POST", "/login", f"token={staff}", FORM | PAGE | headers)
        assert (reply.status, reply["Set-Cookie"]) == (403, "")


def test_another_site_could_use_basic_credentials_that_a_browser_remembers(site: Site, staff: str) -> None:
    password = base64.b64encode(f"ann:{staff}".encode()).decode()
    for scheme in ("Basic", "basic", "BASIC"):
        basic = {"Authorization": f"{scheme} {password}"}
        for headers in ({"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}):
            assert site.ask("POST", "/forms/leave", "day=2026-01-31", FORM | basic | headers).status == 403
    assert site.ask("POST", "/forms/leave", "day=2026-01-31", FORM | basic).status == 201


@pytest.mark.parametrize("scheme", ["Session", "session", "SESSION"])
def test_a_session_in_the_authorization_header_passed_by_the_checks_on_cookies(site: Site, staff: str, scheme: str) -> None:
    session = site.sign_in(staff).partition("=")[2]
    reply = site.ask("POST", "/forms/leave", b'{"day": "2026-01-31"}', JSON | {"Authorization": f"{scheme} {session}"})
    assert reply.status == 401


def test_the_host_list_was_checked_against_a_header_that_the_target_overrides(site: Site) -> None:
    assert site.get("http://evil.example/healthz", Host="localhost").status == 421


# ---- what strangers are told


def test_an_encoded_slash_in_a_name_was_covered_by_the_grant_of_another_resource(tmp_path: Path) -> None:
    site = Site(tmp_path, edit=lambda text: text.replace('"forms/open:create"', '"files/docs:read"', 1))
    assert site.get("/files/docs%2F..%2Fhidden/x").status == 401
    site.close()


def test_a_missing_resource_was_told_with_the_name_of_one_that_the_caller_may_not_open(site: Site) -> None:
    reply = site.get("/views/leav", site.token("views/*:read"))
    assert (reply.status, b"forms/leave" in reply.body) == (404, False)


# ---- content


@pytest.mark.parametrize("name", ["a.js", "a.mjs"])
def test_an_uploaded_script_could_be_a_script_of_the_sites_pages(site: Site, staff: str, name: str) -> None:
    site.put(f"/files/docs/{name}", b"alert(1)", staff)
    reply = site.get(f"/files/docs/{name}", staff)
    assert (reply["Content-Type"], reply["X-Content-Type-Options"]) == ("text/plain; charset=utf-8", "nosniff")


def test_a_second_digest_was_not_verified(site: Site, staff: str) -> None:
    import hashlib

    right, wrong = (base64.b64encode(hashlib.sha256(data).digest()).decode() for data in (b"data", b"other"))
    headers = {"Content-Digest": f"sha-256=:{right}:", "Repr-Digest": f"sha-256=:{wrong}:"}
    assert site.ask("PUT", "/files/docs/a", b"data", headers, staff).status == 400


def test_a_second_server_took_the_unix_socket_of_a_running_one(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as running:
        running.bind(str(path))
        running.listen()
        inode = path.stat().st_ino
        with pytest.raises(OSError, match="in use"):
            app.plugin("listeners").unix_listener(str(path))
        assert path.stat().st_ino == inode


# ---- what must not be seen or asked for


@pytest.mark.parametrize("root", ["data", ".", "data/files/.."])
def test_a_share_could_show_the_key_ring_and_the_database(tmp_path: Path, root: str) -> None:
    text = f"""
[providers.main]
kind = "sql"
url = "sqlite:///data/app.db"
[providers.disk]
kind = "file"
root = "{root}"
[files.all]
provider = "disk"
"""
    registry = app.load_registry(tmp_path)
    settings = registry.provider_settings
    with pytest.raises(app.ConfigError) as caught:
        app.App(app.read_config(tomllib.loads(text), tmp_path, "app.toml", settings), registry)
    assert {fault.pointer for fault in caught.value.faults} == {"providers.disk.root"}
    fine = text.replace(f'root = "{root}"', 'root = "data/files"')
    app.App(app.read_config(tomllib.loads(fine), tmp_path, "app.toml", settings), registry)


SITE = """
[auth]
keys = "file:secrets/keys.json"
[http]
tls_cert = "tls/cert.pem"
tls_key = "tls/key.pem"
[providers.main]
kind = "sql"
url = "sqlite:///data/app.db"
[providers.share]
kind = "file"
root = "data/files"
[providers.far]
kind = "generic"
url = "https://far.example"
records = "/{table}"
headers = { Authorization = "Bearer file:far/token" }
[files.docs]
provider = "share"
[apps.hr]
home = "pages/hr.html"
static = "assets"
"""
# (root of the share, what it is, holds or lies in); "->" makes a link first.
UNSAFE_ROOTS = [
    (".", "is or holds the data folder, app.toml"), ("..", "app.toml"), ("/", "the program"), ("data/..", "app.toml"),
    ("plugins", "is or holds plugins/"), ("templates", "is or holds templates/"), ("Templates", "is or holds templates/"),
    ("templates/up/loads", "lies in templates/"), ("plugins/x", "lies in plugins/"), ("data/../plugins", "plugins/"),
    ("link -> plugins", "is or holds plugins/"), ("link/x -> templates", "lies in templates/"),
    ("up -> ..", "is or holds"), ("pages", "is or holds the home of apps.hr"),
    ("assets", "is or holds the static folder of apps.hr"), ("assets/new", "lies in the static folder of apps.hr"),
    ("secrets", "is or holds the file that auth.keys names"), ("tls", "the file that http.tls_cert names"),
    ("far", "the file that providers.far.headers.Authorization names"),
    (str(app.BUNDLED / "templates"), "is or holds the program"), (str(app.BUNDLED / "plugins" / "x"), "lies in the program"),
    (str(Path(os.__file__).parent), "is or holds Python"), (str(app.BUNDLED), "is or holds the program"),
]  # fmt: skip


def faults_of(folder: Path, text: str) -> dict[str, str]:
    registry = app.load_registry(folder)
    config = app.read_config(tomllib.loads(text), folder, "app.toml", registry.provider_settings, registry.tables)
    with closing(app.App(config, registry, strict=False)) as site:
        return {fault.pointer: fault.detail for fault in site.faults}


@pytest.fixture
def folder_of_a_site(tmp_path: Path) -> Path:
    """Neither plugins/ nor templates/ is there yet: they can be made later."""
    site = tmp_path / "outer" / "site"
    for name in ("secrets/keys.json", "tls/cert.pem", "tls/key.pem", "far/token", "pages/hr.html", "assets/a.js"):
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).write_text("x")
    return site


@pytest.mark.parametrize(("root", "detail"), UNSAFE_ROOTS)
def test_a_share_could_be_where_programs_pages_and_secrets_are(folder_of_a_site: Path, root: str, detail: str) -> None:
    site = folder_of_a_site
    root, _, target = root.partition(" -> ")
    if target:
        (site / target).mkdir(exist_ok=True)
        (site / root.partition("/")[0]).symlink_to(site / target)
    found = faults_of(site, SITE.replace("data/files", root))
    assert set(found) - {"apps.hr.static"} == {"providers.share.root"}
    assert detail in found["providers.share.root"]
    assert found["providers.share.root"].endswith(": give it a folder of its own, such as data/files")


@pytest.mark.parametrize("root", ["data/files", "share", "../share", "pages/up", "datas", "plugin", "share/templates"])
def test_a_share_in_a_folder_of_its_own_is_fine(folder_of_a_site: Path, root: str) -> None:
    assert faults_of(folder_of_a_site, SITE.replace("data/files", root)) == {}
    (folder_of_a_site / "templates").mkdir()
    assert "templates/" in faults_of(folder_of_a_site, SITE.replace("data/files", "TEMPLATES/x"))["providers.share.root"]
    (folder_of_a_site / root).mkdir(parents=True, exist_ok=True)
    assert faults_of(folder_of_a_site, SITE.replace("data/files", root)) == {}


@pytest.mark.parametrize(
    "name", ["templates/base.tpl", "templates", "plugins/more.txt", "pages/hr.html", "data", "app.toml"]
)
def test_a_link_from_where_programs_and_pages_are_could_lead_into_a_share(folder_of_a_site: Path, name: str) -> None:
    link = folder_of_a_site / name
    link.parent.mkdir(exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(folder_of_a_site / "share" / "x")
    assert "is or holds" in faults_of(folder_of_a_site, SITE.replace("data/files", "share"))["providers.share.root"]


def test_a_folder_linked_into_templates_could_be_a_share(folder_of_a_site: Path) -> None:
    (folder_of_a_site / "share").mkdir()
    (folder_of_a_site / "templates").mkdir()
    (folder_of_a_site / "templates" / "parts").symlink_to(folder_of_a_site / "share")
    found = faults_of(folder_of_a_site, SITE.replace("data/files", "share"))
    assert "is or holds templates/" in found["providers.share.root"]


def test_a_share_may_be_called_like_the_form_that_an_app_begins_with(folder_of_a_site: Path) -> None:
    apps = '[forms.leave]\nfields.a = {}\n[apps.leave]\nhome = "forms/leave"\n'
    assert faults_of(folder_of_a_site, SITE.replace("data/files", "forms") + apps) == {}


def test_a_link_that_a_share_holds_could_be_replaced_by_another(folder_of_a_site: Path) -> None:
    """templates leads through the share to a folder outside of it."""
    (folder_of_a_site / "share").mkdir()
    (folder_of_a_site / "share" / "way").symlink_to(folder_of_a_site / "pages")
    (folder_of_a_site / "templates").symlink_to(folder_of_a_site / "share" / "way")
    found = faults_of(folder_of_a_site, SITE.replace("data/files", "share"))
    assert "is or holds templates/" in found["providers.share.root"]


@pytest.mark.parametrize("static", [".", "data", "secrets", "tls", "templates", "..", "far"])
def test_the_static_folder_of_an_app_could_show_secrets(folder_of_a_site: Path, static: str) -> None:
    (folder_of_a_site / static).mkdir(exist_ok=True)
    found = faults_of(folder_of_a_site, SITE.replace('"assets"', f'"{static}"'))
    assert found["apps.hr.static"].startswith("is or holds ")


@pytest.mark.parametrize("url", ["sqlite:///templates/hr.html", "sqlite:///plugins/x.py"])
def test_a_database_could_be_a_page_or_a_program(folder_of_a_site: Path, url: str) -> None:
    found = faults_of(folder_of_a_site, SITE.replace("sqlite:///data/app.db", url))
    assert found["providers.main.url"].startswith("lies in ")


def test_a_link_made_later_leads_no_upload_out_of_the_share(folder_of_a_site: Path) -> None:
    site = folder_of_a_site
    share = app.plugin("file").FileProvider("share", {"root": site / "share"}, site)
    share.open()
    (site / "share").mkdir()
    (site / "templates").mkdir()
    (site / "share" / "way").symlink_to(site / "templates")
    (site / "share" / "hr.html").symlink_to(site / "pages" / "hr.html")
    for path in ("way/hr.html", "hr.html"):
        with pytest.raises(app.AppError):
            share.publish(share.stage(iter([b"{{1}}"])), path)
    assert list((site / "templates").iterdir()) == []
    assert (site / "pages" / "hr.html").read_text() == "x"
    share.close()


def test_a_refused_client_was_asked_for_its_body(live: Server) -> None:
    with live.connect() as connection:
        connection.sendall(head("PUT", "/files/shared/x", "Content-Length: 9000000", "Expect: 100-continue"))
        answer = read_all(connection)
        assert status_of(answer) == 401
        assert b"100 Continue" not in answer


# ---- people and tokens


@pytest.mark.parametrize("subject", ["Boss", "bo\u200bss", "boss\u2060", "\uff42oss", "cli\u200b:root", "cli:root"])
def test_a_token_could_be_issued_in_a_name_that_looks_like_that_of_somebody_with_more_rights(
    site: Site, subject: str
) -> None:
    root = site.token("**:*", subject="root")
    helper = site.token("admin/tokens:*", "forms/leave:create", subject="helper")
    assert site.send("/admin/people", {"subject": "boss", "grants": ["**:*"]}, root).status == 201
    reply = site.send("/admin/tokens", {"subject": subject, "grants": ["forms/leave:create"]}, helper)
    assert (reply.status, [one["pointer"] for one in reply.json.get("errors", [])]) == (422, ["/subject"]), reply.text
    assert site.send("/admin/tokens", {"subject": "robot", "grants": ["forms/leave:create"]}, helper).status == 201


@pytest.mark.parametrize("name", ["Ann\nYour account is locked: https://evil.example", "Ann\u2028x"])
def test_the_name_of_whoever_invites_could_add_lines_to_a_mail(site: Site, name: str) -> None:
    root = site.token("**:*", subject="root")
    for method, target in (("POST", "/admin/people"), ("PATCH", "/admin/people/ann")):
        reply = site.send(target, {"name": name} | ({"subject": "ann"} if method == "POST" else {}), root, method)
        assert (reply.status, reply.json["errors"][0]["pointer"]) == (422, "/name"), reply.text
        site.send("/admin/people", {"subject": "ann", "name": "Ann"}, root)


def test_a_link_that_was_mailed_to_a_wrong_address_stayed_good_when_the_address_was_corrected(site: Site) -> None:
    root = site.token("**:*", subject="root")
    wrong = site.send("/admin/people", {"subject": "ann", "email": "another@example.org"}, root).json["link"]
    assert site.send("/admin/people/ann", {"name": "Ann"}, root, "PATCH").status == 200
    assert site.get("/login/" + wrong.rpartition("/")[2], Accept="text/html").text.count("Your sign-in link is ready") == 1
    assert site.send("/admin/people/ann", {"email": "ann@example.org"}, root, "PATCH").status == 200
    assert site.submit("/login", {"code": wrong.rpartition("/")[2]}).status == 401
    fresh = site.send("/admin/people/ann/link", None, root).json["link"]
    assert site.sign_in(fresh)


@pytest.mark.parametrize(
    "rule",
    [
        '[forms.leave]\nowner = { field = "created_by", unless = "hr" }',
        '[forms.leave.fields]\npay = { type = "number", read_by = ["hr"] }',
        '[forms.leave]\nstates = { moves = ["new>approved:hr"] }',
        '[apps.tool]\nwsgi = "tool:main"',
    ],
)
def test_a_role_that_allows_something_by_its_name_could_be_given_by_whoever_does_not_hold_it(rule: str) -> None:
    people, raw = app.plugin("people"), tomllib.loads(rule)
    config = app.read_config({"roles": {"hr": {"grants": []}, "staff": {"grants": []}}}, Path(), "app.toml", {})
    telling = people.telling_roles(config._replace(raw=raw))
    assert "hr" in telling
    assert ("staff" in telling) == ("wsgi" in rule)
    everything = app.parse_grant("**:*")
    for caller in (
        app.Caller("helper"),
        app.Caller("own", grants=(everything,), ceilings=((app.parse_grant("a/b:read"),),)),
    ):
        with pytest.raises(app.Forbidden, match="the role hr"):
            people.check_roles(caller, ["hr"], telling, "no")
    people.check_roles(app.Caller("root", grants=(everything,)), ["hr"], telling, "no")
    people.check_roles(app.Caller("bo", roles=("hr",)), ["hr"], telling, "no")


def test_the_role_that_a_program_of_an_app_is_told_could_be_given_by_whoever_does_not_hold_it(tmp_path: Path) -> None:
    extra = '\n[roles.payroll]\ngrants = []\n[apps.tool]\nwsgi = "wsgiref.simple_server:demo_app"\n'
    site = Site(tmp_path, edit=lambda text: text + extra)
    root = site.token("**:*", subject="root")
    helper = site.token("admin/people:*", "admin/tokens:*", "forms/leave:create", subject="helper")
    assert site.send("/admin/people", {"subject": "pia", "roles": ["payroll"]}, root).status == 201
    assert site.send("/admin/people", {"subject": "bo"}, helper).status == 201
    for method, target, sent in (
        ("POST", "/admin/people", {"subject": "x", "roles": ["payroll"]}),
        ("PATCH", "/admin/people/bo", {"roles": ["payroll"]}),
        ("POST", "/admin/people/pia/link", None),
        ("PATCH", "/admin/people/pia", {"email": "helper@example.org"}),
        ("POST", "/admin/tokens", {"subject": "robot", "roles": ["payroll"]}),
        ("POST", "/admin/tokens", {"subject": "pia", "grants": ["forms/leave:create"]}),
    ):
        reply = site.send(target, sent, helper, method)
        assert (reply.status, "the role payroll" in reply.json["detail"]) == (403, True), (target, reply.text)
    for target in ("/admin/people?_new=1", "/admin/tokens?_new=1"):
        assert 'value="payroll"' not in site.get(target, helper, Accept="text/html").text
        assert 'value="payroll"' in site.get(target, root, Accept="text/html").text
    site.close()


@pytest.mark.parametrize("kind", [None, "text/plain"])
def test_a_sandboxed_page_could_change_people_and_make_tokens_of_whom_a_proxy_signs_in(
    tmp_path: Path, kind: str | None
) -> None:
    """Over plain http a browser says nothing but Origin: null of it."""
    site = Site(tmp_path, edit=lambda text: text + "\n[proxy]\n")
    root = site.token("**:*", subject="root")
    for person in ({"subject": "ann", "grants": ["**:*"]}, {"subject": "bo"}):
        assert site.send("/admin/people", person, root).status == 201
    proxied = {"Remote-User": "ann", "REMOTE_ADDR": "10.0.0.1"}
    null = proxied | {"Origin": "null"} | ({"Content-Type": kind} if kind else {})
    sent = {"/me": b'{"do": "make_token"}', "/admin/people/bo/link": b"", "/admin/people/bo?_method=DELETE": b""}
    for target, body in sent.items():
        assert site.ask("POST", target, body, null).status == 403, target
    assert site.ask("POST", "/admin/people/bo/link", b"", proxied).status == 201, "a program of his own says no origin"
    assert site.ask("POST", "/admin/people/bo/link", b"", proxied | {"Origin": "http://localhost"}).status == 201
    site.close()


def test_the_page_of_a_person_showed_sessions_and_tokens_to_whoever_may_not_see_those(site: Site) -> None:
    root = site.token("**:*", subject="root")
    site.sign_in(site.send("/admin/people", {"subject": "ann"}, root).json["link"])
    site.send("/admin/tokens", {"subject": "ann", "label": "Payroll intake", "grants": ["forms/leave:read"]}, root)

    def seen(*grants: str) -> tuple[bool, bool]:
        page = site.get("/admin/people/ann", site.token(*grants, subject="viewer"), Accept="text/html")
        assert page.status == 200
        return "<h2>Signed in</h2>" in page.text, "Payroll intake" in page.text

    assert seen("admin/people:read") == (False, False)
    assert seen("admin/people:read", "admin/sessions:read") == (True, False)
    assert seen("admin/people:read", "admin/tokens:read") == (False, True)
    assert seen("admin/people:*") == (True, False), "he may sign people out"
