"""The matrix: every type of resource on every kind of provider, asked as a runner asks it.

A cell never leaves anything out: what a provider does not declare is asserted as refused. A kind of provider is one
line in PROVIDERS; one whose records are not atomic brings a second provider for state.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import io
import itertools
import json
import os
import random
import threading
import tomllib
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aws_server
import http_client
import http_services
import postgres_server
import pytest
from sites import REGISTRY, Site
from test_file_pages import Form, Person

import app
from app import (
    Action,
    App,
    AppError,
    BadRequest,
    Blobs,
    ConfigError,
    Conflict,
    Forbidden,
    IdempotencyConflict,
    Invalid,
    NotFound,
    PreconditionFailed,
    Queries,
    Records,
    TooLarge,
    Unsupported,
    UnsupportedAction,
)


def table(**settings: Any) -> str:
    """[providers.main] with these settings."""
    return "\n".join(["[providers.main]", *(f"{name} = {json.dumps(value)}" for name, value in settings.items()), ""])


def postgres(folder: Path) -> str:
    schema = "x" + hashlib.sha256(str(folder).encode()).hexdigest()[:12]
    return table(kind="postgres", url=postgres_server.server().socket_url, schema=schema)


def generic(**settings: Any) -> str:
    """Its records are not atomic, so tokens and audit entries are kept beside it."""
    return '[site]\nstate = "state"\n[providers.state]\nkind = "sql"\nurl = "sqlite:///state.db"\n' + table(
        kind="generic", **settings
    )


PLACES = 32  # in one service that tests share, each with a form and a share of its own; then another is started
_places = itertools.count()


def place() -> tuple[int, int]:
    """A service of those that tests share, and the number of a place in it that no test has used."""
    return divmod(next(_places), PLACES)


@functools.cache
def other_satchel(service: int) -> str:
    """The URL of another Satchel, with forms of the same fields and shares; its token is in the environment."""
    kept = '[providers.main]\nkind = "sql"\nurl = "sqlite:///app.db"\n[providers.disk]\nkind = "file"\nroot = "disk"\n'
    shares = "".join(f'[files.s{n}]\nprovider = "disk"\nprefix = "s{n}/"\n' for n in range(PLACES))
    forms = "".join(FORM.replace("forms.leave", f"forms.leave{n}") for n in range(PLACES))
    forms += "".join(f"[forms.moving{n}.fields]\nwho = {{}}\nstatus = {{}}\n{LABELS}" for n in range(PLACES))
    forms += "".join(f"[forms.tagged{n}.fields]\n{TAGGED_FIELDS}" for n in range(PLACES))
    forms += "".join(f"[forms.costs{n}.fields]\n{OTHER_COSTS}" for n in range(PLACES))
    plain = ALL_KINDS.replace('{ format = "person" }', "{}")
    forms += "".join(f"[forms.kinds{n}.fields]\n{plain}" for n in range(PLACES))
    url, os.environ[f"SATCHEL_MATRIX_TOKEN_{service}"] = http_services.another_satchel(kept + shares + forms)
    return url


def satchel(folder: Path) -> str:
    service, number = place()
    blobs, records = f"/files/s{number}/{{path}}", f"/forms/{{table}}{number}/records"
    headers = f'\n[providers.main.headers]\nAuthorization = "Bearer env:SATCHEL_MATRIX_TOKEN_{service}"\n'
    return generic(preset="satchel", url=other_satchel(service), blobs=blobs, records=records) + headers


@functools.cache
def json_server(service: int) -> str:
    """The URL of a json-server; it writes its whole file with each change."""
    return http_services.json_server(
        [f"{n}-{table}" for n in range(PLACES) for table in ("leave", "moving", "costs", "kinds", "tagged")]
    )[1]


def json_place(folder: Path) -> str:
    service, number = place()
    return generic(preset="json-server", url=json_server(service), records=f"/{number}-{{table}}")


def nginx(folder: Path) -> str:
    return generic(url=http_services.nginx()[1], blobs=f"/{folder.name}/{{path}}", listing="nginx", put_date=True)


PROVIDERS: dict[str, Callable[[Path], str]] = {
    "sql": lambda folder: table(kind="sql", url="sqlite:///app.db"),
    "file": lambda folder: table(kind="file", root="store"),
    "postgres": postgres,
    "aws": lambda folder: table(kind="aws", **aws_server.options(folder)),
    "generic": satchel,
    "generic-json-server": json_place,
    "generic-nginx": nginx,
}
FILES = '[files.docs]\nprovider = "main"\nprefix = "docs/"\n'
FORM = """
[forms.leave]
provider = "main"
[forms.leave.fields]
who = { maxLength = 20, required = true }
days = { type = "number" }
"""
MOVING = """
[roles.hr]
grants = ["forms/moving/records:read"]
[forms.moving]
provider = "main"
states = { field = "status", initial = "new", moves = ["new>approved:hr", "new>rejected:hr", "rejected>new"] }
[forms.moving.fields]
who = {}
"""
COSTS = """
[providers.disk]
kind = "file"
root = "disk"
[files.papers]
provider = "disk"
[forms.costs]
provider = "main"
[forms.costs.fields]
who = {}
total = { type = "number", sum = "lines.amount" }
lines = { type = "array", fields.what.required = true, fields.amount.type = "number", fields.paid.type = "boolean" }
papers = { type = "array", format = "file", files = "files/papers" }
"""
OTHER_COSTS = """who = {}
total = { type = "number" }
lines = { type = "array", fields.what = {}, fields.amount.type = "number", fields.paid.type = "boolean" }
papers = { type = "array", fields.name = {}, fields.size_bytes.type = "integer", fields.sha256 = {}, fields.address = {} }
"""
LABELS = 'labels = { type = "array", items = { enum = ["big", "old", "it\'s"] } }\n'
# Of each kind of field beside those above its declaration, a value, and one that comes behind it in an order.
KINDS: dict[str, tuple[str, Any, Any]] = {
    "short": ("{ maxLength = 20 }", "Ærø '%", "Øst"),
    "text": ('{ format = "multiline" }', "a\n  b", "b"),
    "day": ('{ format = "date" }', "2027-01-31", "2027-02-01"),
    "moment": ('{ format = "date-time" }', "2027-01-31T23:00:00+01:00", "2027-01-31T22:30:00Z"),
    "hour": ('{ format = "time" }', "09:30", "10:00"),
    "mail": ('{ format = "email" }', "ana@example.org", "bo@example.org"),
    "link": ('{ format = "uri" }', "https://example.org/a?b=c", "https://example.org/b"),
    "phone": ('{ format = "tel" }', "+45 12 34 56 78", "+46 1"),
    "number": ('{ type = "integer" }', -7, 40),
    "price": ('{ type = "number", multipleOf = 0.01 }', 9.95, 10.1),
    "agreed": ('{ type = "boolean" }', False, True),
    "size": ('{ enum = ["L", "M", "S"] }', "L", "M"),
    "way": ('{ oneOf = [{ const = "bank", title = "Bank" }, { const = "cash", title = "Cash" }] }', "bank", "cash"),
    "tags": ('{ type = "array", items = { enum = ["red", "blue"] } }', ["red", "blue"], ["red"]),
    "person": ('{ format = "person" }', "ana", "bo"),
}
ALL_KINDS = "".join(f"{name} = {declared}\n" for name, (declared, _, _) in KINDS.items())
VIEW = '[views.long]\nfrom = "forms/leave"\nwhere = [{ field = "days", gte = 3 }]\norder_by = ["-days"]\n'
SQL_VIEW = (
    '[views.sql]\nprovider = "main"\nsql = "select cast(:n as integer) as n"\n[views.sql.params]\nn = { type = "integer" }\n'
)
LAUNCHER = '[apps.desk]\ntitle = "Desk"\nhome = "views/long"\nmenu = ["forms/leave", "views/long"]\n'


@pytest.fixture(params=sorted(PROVIDERS))
def build(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., Site | None]]:
    """`build(toml, contract)`: a site with these resources on the provider; None where it declares not to have the
    contract, after a look at how it is refused."""
    declared = PROVIDERS[request.param](tmp_path)
    opened: list[Site] = []

    def one(toml: str, contract: Any) -> Site | None:
        bare, whole = assemble(tmp_path, declared), assemble(tmp_path, declared + toml)
        if not bare.providers["main"].has(contract):
            assert any(f"has no {contract.__name__}" in fault.detail for fault in whole.faults)
            assert all("has no" in fault.detail for fault in whole.faults)
            with pytest.raises(ConfigError):
                Site(tmp_path, declared + toml)
            return None
        assert whole.faults == []
        assert whole.inspection.create()[1] == []
        whole.close()
        opened.append(Site(tmp_path, declared + toml))
        return opened[0]

    one.declared = declared
    yield one
    for site in opened:
        site.close()


def assemble(folder: Path, toml: str) -> App:
    raw = tomllib.loads(toml, parse_float=app.exact_number)
    config = app.read_config(raw, folder, "app.toml", REGISTRY.provider_settings)
    return App(config, REGISTRY, strict=False)


def main(site: Site) -> Any:
    return site.app.providers["main"]


def race(work: Callable[[int], Any]) -> list[Any]:
    """What each of eight threads got: an answer or an AppError."""
    start = threading.Barrier(8)

    def run(number: int) -> Any:
        start.wait()
        try:
            return work(number)
        except AppError as error:
            return error

    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(run, range(8)))


def pages(site: Site, address: str, query: str) -> list[dict[str, Any]]:
    """All rows of a list, page by page."""
    rows: list[dict[str, Any]] = []
    more: str | None = ""
    while more is not None:
        table = site.read(f"{address}?{query}" + f"&_next={more}" * bool(more)).table
        assert table is not None
        rows += [dict(row) for row in table.rows]
        table.close()
        more = table.next
        assert len(rows) < 100
    return rows


# ---- files


def test_shares_are_network_drives(build: Any) -> None:
    site = build(FILES, Blobs)
    if site is None:
        return
    drive, blobs = http_client.of_app(site.app), main(site)

    def status(method: str, path: str, body: bytes = b"", **headers: str) -> int:
        own = {"Authorization": site.root, **{name.replace("_", "-"): value for name, value in headers.items()}}
        return int(drive.ask(method, f"/dav/docs/{path}", body, own).status)

    assert status("PUT", "%C3%BC.txt", b"one") == 201
    assert status("PROPFIND", "%C3%BC.txt", Depth="0") == 207
    assert status("PROPFIND", "", Depth="1") == (207 if blobs.lists else 501)
    folders = blobs.lists and blobs.makes_folders
    assert status("MKCOL", "new") == (201 if folders else 501)
    assert status("COPY", "%C3%BC.txt", Destination="/dav/docs/new/copy") == 201
    assert status("MOVE", "new/copy", Destination="/dav/docs/moved") == 201
    assert site.bytes("files/docs/moved") == b"one"
    assert status("PROPFIND", "new/copy", Depth="0") == 404
    lock = b'<lockinfo xmlns="DAV:"><lockscope><exclusive/></lockscope><locktype><write/></locktype></lockinfo>'
    assert status("LOCK", "moved", lock) == 200
    assert status("DELETE", "moved") == 423
    if folders:
        assert status("PUT", "new/inner/deep", b"x") == 409
        assert status("DELETE", "new") == 204


def test_files_are_made_read_replaced_and_deleted(build: Any) -> None:
    site = build(FILES, Blobs)
    if site is None:
        return
    address = "files/docs/2026/plan ü.txt"
    made = site.put(address, body=b"one")
    assert made.created
    assert site.bytes(address) == b"one"
    changed = site.put(address, body=b"other", if_match=made.etag)
    assert not changed.created
    assert changed.etag != made.etag
    assert site.bytes(address) == b"other"
    site.delete(address)
    for gone in (lambda: site.read(address), lambda: site.delete(address)):
        with pytest.raises(NotFound):
            gone()


def keep_both(web: Any, root: str, name: str) -> list[str]:
    """Where what tus, multipart data and a box of a link send under a name is kept, if both are to be kept."""
    said = ",".join(
        f"{key} {base64.b64encode(text.encode()).decode()}" for key, text in (("filename", name), ("keep_both", "1"))
    )
    sent = {"Tus-Resumable": "1.0.0", "Upload-Length": "1", "Upload-Metadata": said}
    sent |= {"Content-Type": "application/offset+octet-stream"}
    statuses = [web.ask("POST", "/files/docs/", b"t", sent, root).status]
    parts = (("_keep_both", None, "1"), ("file", name, b"m"))
    statuses += [web.upload("/files/docs/", *parts, token=root).status]
    link = {"link": {"action": "create", "expires": "7d"}}
    url = web.send("/files/docs/", link, root, Sec_Fetch_Site="same-origin").json["url"]
    box = web.upload(urlsplit(url).path, ("file", name, b"b"))
    assert (statuses, box.status) == ([201, 201], 201), box.text
    return [item["name"] for item in box.json["items"]]


def test_a_name_that_a_folder_has_gets_a_number_and_no_answer_says_where_a_share_lies(build: Any) -> None:
    site = build(FILES.replace("docs/", "far/down/"), Blobs)
    if site is None:
        return
    web, root = http_client.of_app(site.app), site.root.removeprefix("Bearer ")
    lists = main(site).lists
    for name in ("plan.txt/a", "free.txt", "dir/b"):
        site.put(f"files/docs/{name}", body=b"x")
    assert keep_both(web, root, "plan.txt") == ["plan (4).txt"]
    assert [site.bytes(f"files/docs/plan ({n}).txt") for n in (2, 3, 4)] == [b"t", b"m", b"b"]
    dav = {"Authorization": site.root, "Destination": "/dav/docs/dir"}
    replies = [
        web.put("/files/docs/plan.txt", b"y", root), web.put("/files/docs/free.txt/x", b"y", root),
        web.upload("/files/docs/", ("file", "plan.txt", b"y"), token=root),
        web.send("/files/docs/free.txt", {"move": "files/docs/plan.txt"}, root),
        web.send("/files/docs/free.txt", {"copy": "files/docs/free.txt/in"}, root),
        web.ask("PUT", "/dav/docs/plan.txt", b"y", {"Authorization": site.root}),
        web.ask("PUT", "/dav/docs/free.txt/x", b"y", {"Authorization": site.root}),
        web.ask("COPY", "/dav/docs/free.txt", b"", dav | {"Overwrite": "F"}),
    ]  # fmt: skip
    assert [reply.status for reply in replies[:-1] if reply.status not in (405, 409)] == []
    assert replies[-1].status in ((412,) if lists else (409, 412))
    assert [reply.text for reply in replies if "far/" in reply.text or "down/" in reply.text] == []
    assert "plan.txt is a folder" in replies[0].json["detail"]


def test_files_are_listed_in_pages(build: Any) -> None:
    site = build(FILES, Blobs)
    if site is None:
        return
    names = ["a.txt", "b", "folder/inner.txt", "é.txt"]
    for name in names:
        site.put(f"files/docs/{name}", body=name.encode())
    if not main(site).lists:
        with pytest.raises(Unsupported):
            site.items("files/docs")
        return
    assert [row["name"] for row in pages(site, "files/docs", "_size=2")] == ["a.txt", "b", "folder", "é.txt"]
    assert [row["name"] for row in site.items("files/docs/folder")] == ["inner.txt"]


def test_files_have_ranges_of_one_version(build: Any) -> None:
    site = build(FILES, Blobs)
    if site is None:
        return
    whole = bytes(range(256)) * 3000
    site.put("files/docs/a", body=whole)
    content = site.read("files/docs/a").content
    for start, length in ((0, 1), (0, None), (700_000, None), (300_000, 200_001), (len(whole) - 1, 1)):
        reader = content.read(start, length)
        assert b"".join(reader) == whole[start : None if length is None else start + length]
        reader.close()


def test_files_refuse_what_is_stale_and_one_racer_wins(build: Any) -> None:
    site = build(FILES, Blobs)
    if site is None:
        return
    made = site.put("files/docs/a", body=b"0")
    for stale in (
        lambda: site.put("files/docs/a", body=b"x", if_match="other"),
        lambda: site.put("files/docs/a", body=b"x", if_none_match="*"),
        lambda: site.delete("files/docs/a", if_match="other"),
    ):
        with pytest.raises(PreconditionFailed):
            stale()
    answers = race(
        lambda number: site.put("files/docs/a", body=b"by %d" % number, if_match=made.etag)
    )  # none writes "0" again: of the same bytes S3 makes the same etag
    won = [number for number, answer in enumerate(answers) if not isinstance(answer, AppError)]
    assert len(won) == 1
    assert site.bytes("files/docs/a") == b"by %d" % won[0]
    answers = race(lambda number: site.put("files/docs/new", body=b"%d" % number, if_none_match="*"))
    assert sum(not isinstance(answer, AppError) for answer in answers) == 1


def test_files_repeat_an_upload_with_one_effect(build: Any) -> None:
    site = build(FILES, Blobs)
    if site is None:
        return
    first, again = (site.put("files/docs/a", body=b"x", idempotency_key="k") for _ in range(2))
    assert (first.replayed, again.replayed, again.etag) == (False, True, first.etag)
    with pytest.raises(IdempotencyConflict):
        site.put("files/docs/a", body=b"y", idempotency_key="k")
    assert site.bytes("files/docs/a") == b"x"
    assert [e["outcome"] for e in site.audit(resource="files/docs/a")][:2] == ["intent", "ok"]


def test_files_keep_the_old_bytes_when_an_upload_is_cut(build: Any) -> None:
    site = build(FILES, Blobs)
    if site is None:
        return
    site.put("files/docs/a", body=b"old")

    def cut() -> Iterator[bytes]:
        yield b"x" * 6_000_000
        raise BadRequest("the body ended early")

    for path in ("a", "b"):
        with pytest.raises(BadRequest):
            site.put(f"files/docs/{path}", body=cut())
    assert site.bytes("files/docs/a") == b"old"
    with pytest.raises(NotFound):
        site.read("files/docs/b")
    site.put("files/docs/b", body=b"whole")
    assert site.bytes("files/docs/b") == b"whole"


KEPT = FILES + 'trash = "30d"\nversions = 2\n[files.whole]\nprovider = "main"\n'


def names_in(reply: http_client.Reply) -> set[str]:
    """Of an archive."""
    assert reply.status == 200, reply.text
    with zipfile.ZipFile(io.BytesIO(reply.body)) as archive:
        return {*archive.namelist()}


def test_shares_have_archives_links_pages_of_files_and_work_on_several_at_once(build: Any) -> None:
    site = build(KEPT, Blobs)
    if site is None:
        return
    root = site.root.removeprefix("Bearer ")
    person = Person(http_client.of_app(site.app), root)
    for name in ("a.txt", "b.txt", "in/c.md", "in/deep/d é.txt"):
        site.put(f"files/docs/{name}", body=name.encode())
    assert 'href="/files/docs/b.txt?' in person.look("/files/docs/a.txt?_view=1").text
    assert names_in(person.site.get("/files/docs/in?_zip=1", root)) == {"c.md", "deep/d é.txt"}
    wish = {"link": {"action": "read", "expires": "7d"}}
    url = urlsplit(person.site.send("/files/docs/in/", wish, root, Sec_Fetch_Site="same-origin").json["url"]).path
    assert [row["name"] for row in person.site.get(f"{url}/").json["items"]] == ["c.md", "deep"]
    assert person.site.get(f"{url}/deep/d%20%C3%A9.txt").body == "in/deep/d é.txt".encode()
    assert names_in(person.site.get(f"{url}/?_zip=1")) == {"c.md", "deep/d é.txt"}
    assert names_in(person.tick("/files/docs/", ["a.txt", "in"], "zip")) == {"a.txt", "in/c.md", "in/deep/d é.txt"}
    moved = person.press(Form(person.tick("/files/docs/", ["a.txt", "in"], "move"), "target"), ("to", "files/docs/new/"))
    assert moved.status == 303, moved.text
    assert [row["name"] for row in site.items("files/docs/")] == ["b.txt", "new"]
    gone = person.press(Form(person.tick("/files/docs/", ["b.txt", "new"], "delete"), "several-asked"), ("sure", "1"))
    assert gone.status == 303, gone.text
    assert site.items("files/docs/") == []
    assert sorted(row["path"] for row in site.items("files/docs/?_trash=1")) == [
        "b.txt", "new/a.txt", "new/in/c.md", "new/in/deep/d é.txt"
    ]  # fmt: skip


def test_a_share_without_lists_says_what_it_cannot_do_and_does_the_rest(tmp_path: Path) -> None:
    declared = generic(url=http_services.nginx()[1], blobs=f"/{tmp_path.name}/{{path}}", put_date=True)
    limited = assemble(tmp_path, declared + FILES + 'quota = "1MB"\n')
    assert [fault.detail.partition(":")[0] for fault in limited.faults] == [
        "files.docs.quota needs a provider that can list"
    ]
    site = Site(tmp_path, declared + KEPT)
    root = site.root.removeprefix("Bearer ")
    web = http_client.of_app(site.app)
    site.put("files/docs/in/a.txt", body=b"one")
    for target in ("/files/docs/in/?_zip=1", "/files/docs/in?_zip=1", "/files/docs/?_zip=1", "/files/docs/?_q=a"):
        assert web.get(target, root).status == 501, target
        assert web.get(target, root, **http_client.PAGE).status == 501, target
    assert web.get("/files/docs/in/", root, Accept="application/zip").status == 501
    assert [web.get(f"/files/docs/{name}", root).status for name in ("", "in/", "in", "none")] == [501, 501, 404, 404]
    assert web.ask("DELETE", "/files/docs/in?_tree=1", None, {}, root).status == 501
    for wish in ({"move": "files/docs/x"}, {"copy": "files/docs/x"}, {"folder": "x"}):
        assert web.send("/files/docs/in/", wish, root).status == 501, wish
    page = web.get("/files/docs/in/a.txt?_view=1", root, **http_client.PAGE)
    assert (page.status, "one" in page.text) == (200, True)
    site.put("files/docs/in/a.txt", body=b"two")
    [old] = site.items("files/docs/in/a.txt?_versions=1")
    site.create("files/docs/in/a.txt", {"move": "files/docs/b.txt"})
    site.create("files/docs/b.txt", {"copy": "files/docs/c.txt"})
    site.create("files/docs/b.txt", {"restore": old["id"]})
    site.delete("files/docs/b.txt")
    [thrown] = site.items("files/docs/?_trash=1")
    assert site.create("files/docs/", {"restore": thrown["id"]}).location == "files/docs/b.txt"
    assert (site.bytes("files/docs/b.txt"), site.bytes("files/docs/c.txt")) == (b"one", b"two")
    site.close()


# ---- forms


def told(site: Site, data: Any) -> dict[str, Any]:
    """A record without the fields that another service sets by itself, which are seen only when it is read."""
    return {name: value for name, value in data.items() if name not in getattr(main(site), "own_fields", ())}


def test_forms_make_read_change_and_delete_records(build: Any) -> None:
    site = build(FORM, Records)
    if site is None:
        return
    made = site.create("forms/leave", {"who": "Ana '%/ é", "days": 1.5})
    assert (made.created, made.etag) == (True, "1")
    assert told(site, site.read(made.location).data) == told(site, made.data)
    changed = site.patch(made.location, {"days": 2})
    assert (changed.data["who"], changed.data["days"]) == ("Ana '%/ é", 2)
    assert told(site, site.read(made.location).data) == told(site, changed.data)
    replaced = site.put(made.location, {"who": "Bo"})
    assert site.read(made.location).data["days"] is None
    assert replaced.etag == site.read(made.location).etag
    site.delete(made.location)
    for gone in (
        lambda: site.read(made.location),
        lambda: site.patch(made.location, {}),
        lambda: site.delete(made.location),
    ):
        with pytest.raises(NotFound):
            gone()
    done = {e["action"] for e in site.audit(outcome="ok") if e["resource"].startswith("forms/leave")}
    assert done == {"create", "update", "delete"}


def test_forms_keep_lines_their_sum_and_several_files(build: Any) -> None:
    site = build(COSTS, Records)
    if site is None:
        return
    lines = [{"what": "Zug", "amount": 0.1, "paid": True}, {"what": "Bett '%", "amount": 123456.78}]
    papers = [{"name": "a.txt", "base64": "YQ=="}, {"name": "b.txt", "base64": "Yg=="}]
    made = site.create("forms/costs", {"who": "Ana", "lines": lines, "papers": papers})
    read = site.read(made.location).data
    assert told(site, read) == told(site, made.data)
    assert (read["lines"], read["total"]) == (lines, 123456.88)
    assert [site.bytes(one["address"]) for one in read["papers"]] == [b"a", b"b"]
    changed = site.patch(made.location, {"lines": [lines[0]], "papers": [read["papers"][1], papers[0]]}).data
    assert told(site, site.read(made.location).data) == told(site, changed)
    assert (changed["total"], [site.bytes(one["address"]) for one in changed["papers"]]) == (0.1, [b"b", b"a"])
    with pytest.raises(Invalid) as refused:
        site.patch(made.location, {"lines": [{}, {"what": "x", "amount": "1"}]})
    assert [fault.pointer for fault in refused.value.faults] == ["/lines/0/what", "/lines/1/amount"]
    site.delete(made.location)
    assert not [path for path in (site.folder / "disk" / "uploads").rglob("*") if path.is_file()]


def test_forms_keep_every_kind_of_field_and_find_by_it(build: Any) -> None:
    site = build(f'[forms.kinds]\nprovider = "main"\n[forms.kinds.fields]\n{ALL_KINDS}', Records)
    if site is None:
        return
    for subject in ("ana", "bo"):
        site.create("admin/people", {"subject": subject, "name": subject.title()})
    first = site.create("forms/kinds", {name: value for name, (_, value, _) in KINDS.items()})
    site.create("forms/kinds", {name: value for name, (_, _, value) in KINDS.items()})
    read = site.read(first.location).data
    assert {name: read[name] for name in KINDS} == {name: value for name, (_, value, _) in KINDS.items()}
    for name, (_, value, _) in KINDS.items():
        ordered = site.items(f"forms/kinds/records?{name}__null=false&_sort={name}")
        assert len(ordered) == 2, name
        found = site.items("forms/kinds/records", params={name: _as_text(value[-1] if isinstance(value, list) else value)})
        assert [one["id"] for one in found] == [read["id"]], name
        assert isinstance(value, list) or ordered[0]["id"] == read["id"], name  # lists have no order
    emptied = site.patch(first.location, dict.fromkeys(KINDS)).data
    assert [emptied[name] for name in KINDS] == [None] * len(KINDS)
    assert [one["id"] for one in site.items("forms/kinds/records?agreed__null=true&tags__null=true")] == [read["id"]]


TAGS = ["a", "A", "é", "100%", "a_b", 'say "hi"', "it's", "x, y", '"q"', "null", "7"]
SIZES = [1, 7, 10, 2.5, -3]
TAGGED_FIELDS = f"""n = {{ type = "integer" }}
tags = {{ type = "array", items = {{ enum = {json.dumps(TAGS, ensure_ascii=False)} }} }}
sizes = {{ type = "array", items = {{ type = "number", enum = {SIZES} }} }}
"""
TAGGED = f"""
[forms.tagged]
provider = "main"
[forms.tagged.fields]
{TAGGED_FIELDS}
[views.tagged]
from = "forms/tagged"
where = [{{ field = "tags", ne = "A" }}, {{ field = "sizes", in = [1, 7.0] }}]
facets = ["tags", "sizes"]
"""


def test_lists_of_choices_are_found_by_their_items(build: Any) -> None:
    site = build(TAGGED, Records)
    if site is None:
        return
    chance, rows = random.Random(11), list[dict[str, Any]]()
    for n in range(24):
        tags, sizes = chance.sample(TAGS, chance.randrange(4)), chance.sample(SIZES, chance.randrange(4))
        rows.append({"n": n} | ({"tags": tags} if n % 6 else {}) | ({"sizes": sizes} if n % 5 else {"sizes": None}))
        site.create("forms/tagged", rows[-1])

    def check(address: str, params: dict[str, str], meets: Callable[[list[Any], list[Any]], bool]) -> None:
        expected = [row["n"] for row in rows if meets(row.get("tags") or [], row.get("sizes") or [])]
        for whole in (False, True):
            found = site.items(address, params={**params, "_sort": "-n"}, whole=whole)
            assert [row["n"] for row in found] == expected[::-1], (address, params)
        table = site.read(address, params={**params, "_count": "1"}).table
        assert table.count == len(expected)
        table.close()

    def in_view(tags: list[Any], sizes: list[Any]) -> bool:
        return "A" not in tags and not {1, 7}.isdisjoint(sizes)

    for tag in TAGS:
        for op in ("", "__eq", "__contains"):
            if (tag, op) not in (("null", ""), ("null", "__eq")):  # which ask for those without any
                check("forms/tagged/records", {"tags" + op: tag}, lambda tags, _, tag=tag: tag in tags)
        check("views/tagged", {"tags__contains": tag}, lambda tags, sizes, tag=tag: tag in tags and in_view(tags, sizes))
    check("forms/tagged/records", {"tags__ne": "a"}, lambda tags, _: "a" not in tags)
    check(
        "forms/tagged/records",
        {"tags__in": 'a,"x, y","""q""",none'},
        lambda tags, _: not {"a", "x, y", '"q"'}.isdisjoint(tags),
    )
    check("forms/tagged/records", {"tags__contains": "h"}, lambda *_: False)
    check("forms/tagged/records", {"sizes": "2.50"}, lambda _, sizes: 2.5 in sizes)
    check(
        "forms/tagged/records",
        {"sizes__in": "7,-3", "tags__ne": "é"},
        lambda tags, sizes: "é" not in tags and not {7, -3}.isdisjoint(sizes),
    )
    check("views/tagged", {}, in_view)
    check("views/tagged", {"sizes__ne": "1"}, lambda tags, sizes: in_view(tags, sizes) and 1 not in sizes)
    missing = [row["n"] for row in rows if "tags" not in row]
    assert [row["n"] for row in site.items("forms/tagged/records?tags__null=true&_sort=n")] == missing
    assert [row["n"] for row in site.items("forms/tagged/records?tags=null&_sort=n")] == missing
    for op in ("gt", "lte", "prefix"):
        with pytest.raises(BadRequest, match="tags holds several values: ask with eq, ne, in, contains, null"):
            site.items(f"forms/tagged/records?tags__{op}=a")
    if main(site).kind in ("aws", "generic"):
        with pytest.raises(Unsupported, match="cannot count values"):
            site.read("views/tagged?_facets=1")
        return
    counted = site.read("views/tagged?_facets=1&tags__ne=a").table.facts["facets"]
    for name in ("tags", "sizes"):
        there = [
            row.get(name)
            for row in rows
            if in_view(row.get("tags") or [], row.get("sizes") or []) and "a" not in (row.get("tags") or [])
        ]
        expected = Counter(item for value in there for item in ([None] if value is None else value))
        assert {one["value"]: one["count"] for one in counted[name]} == expected


def _as_text(value: Any) -> str:
    return json.dumps(value) if isinstance(value, bool) else str(value)


def fill(site: Site) -> None:
    for number in range(7):
        site.create("forms/leave", {"who": f"p{number % 3}", "days": number})


def test_forms_list_filter_sort_and_page(build: Any) -> None:
    site = build(FORM, Records)
    if site is None:
        return
    fill(site)
    assert sorted(row["days"] for row in pages(site, "forms/leave/records", "_size=3")) == list(range(7))
    assert [row["days"] for row in pages(site, "forms/leave/records", "_size=2&_sort=-days")] == [6, 5, 4, 3, 2, 1, 0]
    assert [row["days"] for row in site.items("forms/leave/records?days__gt=3&_sort=days")] == [4, 5, 6]
    assert sorted(row["days"] for row in site.items("forms/leave/records?who=p1")) == [1, 4]
    assert sorted(row["days"] for row in site.items("forms/leave/records?_q=P2")) == [2, 5]
    table = site.read("forms/leave/records?_count=1&days__lte=2").table
    assert table.count == 3
    table.close()
    assert len(site.items("forms/leave/records", whole=True)) == 7


def test_forms_refuse_what_is_stale_and_one_racer_wins(build: Any) -> None:
    site = build(FORM, Records)
    if site is None:
        return
    made = site.create("forms/leave", {"who": "a"})
    for stale in (
        lambda: site.patch(made.location, {"who": "x"}, if_match="7"),
        lambda: site.delete(made.location, if_match="7"),
    ):
        with pytest.raises(PreconditionFailed):
            stale()
    answers = race(lambda number: site.patch(made.location, {"who": f"p{number}"}, if_match=made.etag))
    won = [number for number, answer in enumerate(answers) if not isinstance(answer, AppError)]
    assert len(won) == 1
    assert {type(answer) for answer in answers if isinstance(answer, AppError)} == {PreconditionFailed}
    assert site.read(made.location).data["who"] == f"p{won[0]}"


def test_forms_repeat_a_submission_with_one_effect(build: Any) -> None:
    site = build(FORM, Records)
    if site is None:
        return
    first, again = (site.create("forms/leave", {"who": "a"}, idempotency_key="k") for _ in range(2))
    assert (first.replayed, again.replayed, again.data) == (False, True, first.data)
    with pytest.raises(IdempotencyConflict):
        site.create("forms/leave", {"who": "b"}, idempotency_key="k")
    answers = race(lambda number: site.create("forms/leave", {"who": "c"}, idempotency_key="race"))
    assert len([answer for answer in answers if isinstance(answer, app.Response) and not answer.replayed]) == 1
    assert [answer for answer in answers if isinstance(answer, AppError) and not isinstance(answer, app.Conflict)] == []
    assert site.create("forms/leave", {"who": "c"}, idempotency_key="race").replayed
    assert sorted(row["who"] for row in site.items("forms/leave/records")) == ["a", "c"]


def test_forms_take_a_batch_whole_or_refuse_it_whole(build: Any) -> None:
    site = build(FORM, Records)
    if site is None:
        return
    records = [{"who": f"p{number}"} for number in range(3)]
    if main(site).atomic:
        assert len(site.create("forms/leave", records).data["items"]) == 3
        assert len(site.audit(action="create", outcome="ok", resource="forms/leave")) == 3
    else:
        with pytest.raises(Unsupported, match="one record a request"):
            site.create("forms/leave", records)
        assert site.items("forms/leave/records") == []
        return
    with pytest.raises(app.Invalid):
        site.create("forms/leave", [*records, {"who": 1}])
    most = main(site).most_writes
    if most is not None:
        fit = (most - 1) // 2
        with pytest.raises(TooLarge, match=f"at most {fit} records"):
            site.create("forms/leave", [{"who": "x"}] * (fit + 1), idempotency_key="k")
        assert len(site.create("forms/leave", [{"who": "x"}] * fit, idempotency_key="k").data["items"]) == fit
    assert len(site.items("forms/leave/records?who__prefix=p")) == 3


# ---- views and apps


def test_views_of_a_form_filter_sort_and_page(build: Any) -> None:
    site = build(FORM + VIEW, Records)
    if site is None:
        return
    assert site.items("views/long") == []
    fill(site)
    assert [row["days"] for row in pages(site, "views/long", "_size=2")] == [6, 5, 4, 3]
    assert [row["days"] for row in site.items("views/long?who=p0")] == [6, 3]
    assert len(site.items("views/long", whole=True)) == 4
    for action in (Action.CREATE, Action.UPDATE, Action.DELETE):
        with pytest.raises(UnsupportedAction):
            site.ask(action, "views/long", {}, idempotency_key="k")
    with pytest.raises(BadRequest):
        site.items("views/long?nothing=1")


def test_views_of_sql_bind_their_parameters(build: Any) -> None:
    site = build(FORM + SQL_VIEW, Queries)
    if site is None:
        return
    assert site.items("views/sql?n=7") == [{"n": 7}]
    assert site.items("views/sql?n=7&n__gt=7") == []


def test_apps_show_their_menu_and_read_as_their_caller(build: Any) -> None:
    site = build(FORM + VIEW + LAUNCHER, Records)
    if site is None:
        return
    fill(site)
    page = site.read("apps/desk").page
    assert [row["days"] for row in page["scope"].read("views/long", {}).table.rows] == [6, 5, 4, 3]
    ann = site.token("ann", "apps/desk:read")
    with pytest.raises(app.Forbidden):
        site.read("apps/desk", by=ann).page["scope"].read("views/long", {})
    for action in (Action.CREATE, Action.UPDATE, Action.DELETE):
        with pytest.raises(UnsupportedAction):
            site.ask(action, "apps/desk", {})


# ---- unique

UNIQUE = FORM.replace("[forms.leave.fields]", 'unique = [["who", "days"]]\n[forms.leave.fields]')
UNIQUE_FAULT = ("/who", "unique", "another record has the same Who, Days")


def refused(ask: Callable[[], Any]) -> list[tuple[str, str, str]]:
    """The faults of a request that is refused as invalid."""
    with pytest.raises(app.Invalid) as caught:
        ask()
    return [tuple(fault) for fault in caught.value.faults]


@pytest.fixture
def unique(build: Any, tmp_path: Path) -> Site | None:
    """A site whose form has a rule of unique; None where the provider declares that it cannot hold one, which is refused."""
    whole = assemble(tmp_path, build.declared + UNIQUE)
    provider = whole.providers["main"]
    if provider.has(Records) and not provider.atomic:
        [fault] = whole.faults
        assert fault.pointer == "forms.leave.unique"
        assert "commits one write at a time" in fault.detail
        return None
    return build(UNIQUE, Records)


def test_unique_is_held_where_eight_write_at_once(unique: Site | None) -> None:
    if unique is None:
        return
    answers = race(lambda number: unique.create("forms/leave", {"who": "ann", "days": 1 if number % 2 else 1.0}))
    made = [answer for answer in answers if not isinstance(answer, AppError)]
    others = [answer for answer in answers if isinstance(answer, AppError)]
    assert len(made) == 1
    assert [tuple(fault) for error in others for fault in error.faults] == [UNIQUE_FAULT] * 7
    assert len(unique.items("forms/leave/records")) == 1
    others = [unique.create("forms/leave", {"who": f"p{number}", "days": 2}) for number in range(8)]
    answers = race(lambda number: unique.patch(others[number].location, {"who": "bo"}, if_match="1"))
    assert sum(not isinstance(answer, AppError) for answer in answers) == 1
    assert {code for e in answers if isinstance(e, AppError) for _, code, _ in e.faults} == {"unique"}


def test_unique_moves_with_an_update_and_is_freed_by_a_delete(unique: Site | None) -> None:
    if unique is None:
        return
    first = unique.create("forms/leave", {"who": "ann", "days": 1})
    second = unique.create("forms/leave", {"who": "ann", "days": 2})
    assert refused(lambda: unique.patch(second.location, {"days": 1})) == [UNIQUE_FAULT]
    unique.patch(second.location, {"who": "ann", "days": 2})
    unique.patch(first.location, {"days": 3})
    unique.patch(second.location, {"days": 1})
    unique.create("forms/leave", {"who": "ann", "days": 2})
    unique.delete(second.location)
    unique.create("forms/leave", {"who": "ann", "days": 1})
    assert sorted(row["days"] for row in unique.items("forms/leave/records")) == [1, 2, 3]
    left = [row.value["record"] for row in main(unique).walk(app.Query("_unique"))]
    assert sorted(left) == sorted(row["id"] for row in unique.items("forms/leave/records"))


def test_unique_compares_texts_as_stored_and_nothing_that_is_missing(unique: Site | None) -> None:
    if unique is None:
        return
    for who in ("ann", "Ann", "änn", "a\u0308nn"):
        unique.create("forms/leave", {"who": who, "days": 1})
    for _ in range(2):
        unique.create("forms/leave", {"who": "ann"})
        unique.create("forms/leave", {"who": "ann", "days": None})
    assert refused(lambda: unique.create("forms/leave", {"who": "Ann", "days": 1.0})) == [UNIQUE_FAULT]


def test_unique_is_a_fault_of_a_batch_and_stores_nothing(unique: Site | None) -> None:
    if unique is None:
        return
    unique.create("forms/leave", {"who": "ann", "days": 1})
    batch = [{"who": "bo", "days": 1}, {"who": "ann", "days": 1}, {"who": "bo", "days": 1.0}]
    assert refused(lambda: unique.create("forms/leave", batch)) == [
        ("/2/who", "unique", "two of these records have the same Who, Days"),
        ("/1/who", *UNIQUE_FAULT[1:]),
    ]
    assert len(unique.items("forms/leave/records")) == 1
    assert len(unique.create("forms/leave", batch[:1]).data["items"]) == 1


def test_unique_finds_records_that_are_older_than_the_rule_or_left_rows(
    unique: Site | None,
) -> None:
    if unique is None:
        return
    store = main(unique)
    store.commit([app.Insert("leave", "old", {"who": "old", "days": 1})])
    assert refused(lambda: unique.create("forms/leave", {"who": "old", "days": 1})) == [UNIQUE_FAULT]
    made = unique.create("forms/leave", {"who": "ann", "days": 1})
    store.commit([app.Delete("leave", made.data["id"])])  # by something that knows nothing of the rule
    unique.create("forms/leave", {"who": "ann", "days": 1})
    assert refused(lambda: unique.create("forms/leave", {"who": "ann", "days": 1})) == [UNIQUE_FAULT]


def test_unique_answers_a_repeated_submission_with_the_first_answer(unique: Site | None) -> None:
    if unique is None:
        return
    answers = race(lambda number: unique.create("forms/leave", {"who": "ann", "days": 1}, idempotency_key="k"))
    assert {type(answer) for answer in answers} == {app.Response}
    assert len({answer.location for answer in answers}) == 1
    assert sum(answer.replayed for answer in answers) == 7


# ---- states


def test_records_move_by_the_roles_of_their_states(build: Any) -> None:
    site = build(MOVING, Records)
    if site is None:
        return
    hr = site.token("maria", roles=["hr"])
    made = site.create("forms/moving", {"who": "ann"})
    assert made.data["status"] == "new"
    for write in (site.create, site.patch):
        address = "forms/moving" if write == site.create else made.location
        with pytest.raises(Invalid) as caught:
            write(address, {"status": "approved"})
        assert [(one.pointer, one.code) for one in caught.value.faults] == [("/status", "read_only")]
    with pytest.raises(Forbidden):
        site.put(f"{made.location}/move", {"to": "approved"}, by=site.token("rita", "forms/moving/records:read,update"))
    first, again = (
        site.put(f"{made.location}/move", {"to": "rejected", "comment": "why?"}, by=hr, idempotency_key="k")
        for _ in range(2)
    )
    assert (first.data["status"], first.data["who"], again.replayed) == ("rejected", "ann", True)
    assert [row["id"] for row in site.items("forms/moving/records?status=rejected")] == [made.data["id"]]
    assert [row["id"] for row in site.items("forms/moving/records?status__in=new,approved")] == []
    entries = [one for one in site.audit(action="update", outcome="ok") if one["record"] == made.data["id"]]
    assert [(one["comment"], one["changes"]["status"]) for one in entries] == [("why?", ["new", "rejected"])]
    with pytest.raises(Conflict):
        site.put(f"{made.location}/move", {"to": "approved"}, by=hr)
    with pytest.raises(PreconditionFailed):
        site.put(f"{made.location}/move", {"to": "new"}, if_match="other")
    assert site.put(f"{made.location}/move", {"to": "new"}, if_match=first.etag).data["status"] == "new"


OWNED = """
[roles.hr]
grants = ["forms/leave:*"]
[forms.leave]
provider = "main"
owner = { field = "who", unless = "hr" }
[forms.leave.fields]
who = {}
days = { type = "number", read_by = "hr" }
[views.all]
from = "forms/leave"
order_by = ["-days"]
facets = ["who"]
"""


def test_records_are_there_for_their_owners_and_fields_for_some_roles(build: Any) -> None:
    site = build(OWNED, Records)
    if site is None:
        return
    hr, ann = site.token("maria", roles=["hr"]), site.token("ann", "forms/leave:*", "views/all:read")
    others = [site.create("forms/leave", {"who": "bo", "days": n}, by=hr).data["id"] for n in range(3)]
    mine = site.create("forms/leave", {}, by=ann).data["id"]
    site.patch(f"forms/leave/records/{mine}", {"days": 4711}, by=hr)
    for address in ("forms/leave/records", "forms/leave/mine", "views/all"):
        table = site.read(f"{address}?_count=1", by=ann).table
        assert [(row["id"], row["who"], "days" in row) for row in table.rows] == [(mine, "ann", False)], address
        assert table.count == 1
    for address in (f"forms/leave/records/{others[0]}", f"forms/leave/mine/{others[0]}"):
        for work in (site.read, site.delete, lambda at, by: site.patch(at, {"who": "x"}, by=by)):
            with pytest.raises(NotFound):
                work(address, by=ann)
    assert site.patch(f"forms/leave/mine/{mine}", {"who": "ann"}, by=ann).data["id"] == mine
    with pytest.raises(Invalid):
        site.patch(f"forms/leave/mine/{mine}", {"who": "bo"}, by=ann)
    assert {row["id"] for row in site.items("forms/leave/records")} == {mine, *others}
    assert site.read(f"forms/leave/records/{mine}", by=hr).data["days"] == 4711
    assert [row["id"] for row in site.items("forms/leave/records?_q=an", by=ann)] == [mine]
    site.delete(f"forms/leave/mine/{mine}", by=ann)
    assert len(site.items("forms/leave/records")) == 3


def test_an_owner_is_whoever_made_a_record_where_the_service_does_not_say_so_itself(build: Any, tmp_path: Path) -> None:
    toml = OWNED.replace('field = "who"', 'field = "created_by"')
    whole = assemble(tmp_path, build.declared + toml)
    if [fault.pointer for fault in whole.faults] == ["forms.leave.owner.field"]:
        assert 'preset = "satchel"' in build.declared
        assert "which the service of the provider sets" in whole.faults[0].detail
        return
    site = build(toml, Records)
    if site is None:
        return
    ann = site.token("ann", "forms/leave:*")
    site.create("forms/leave", {"who": "Bo"})
    mine = site.create("forms/leave", {"who": "Ann"}, by=ann).data["id"]
    assert [row["id"] for row in site.items("forms/leave/records", by=ann)] == [mine]


def test_of_eight_who_move_a_record_at_once_one_wins(build: Any) -> None:
    site = build(MOVING, Records)
    if site is None:
        return
    made = site.create("forms/moving", {"who": "ann"})
    targets = ["approved", "rejected"] * 4
    answers = race(lambda number: site.put(f"{made.location}/move", {"to": targets[number]}))
    won = [number for number, answer in enumerate(answers) if not isinstance(answer, AppError)]
    assert len(won) == 1
    assert all(isinstance(answer, Conflict) for answer in answers if isinstance(answer, AppError))
    assert site.read(made.location).data["status"] == targets[won[0]]


# ---- options

OPTIONS = """
[forms.asks]
provider = "{}"
name = "{{who}}"
[forms.asks.fields]
who = {{ options = {{ form = "leave", value = "who" }} }}
by_id = {{ options = {{ form = "leave", value = "id", label = "who" }} }}
long = {{ type = "number", options = {{ view = "long", value = "days", label = "days" }} }}
"""


def test_options_are_records_of_any_provider(build: Any) -> None:
    """The source is on the provider; where a service has no other table, the form that asks is on the one for state."""
    asking = "state" if "[providers.state]" in build.declared else "main"
    site = build(FORM + VIEW + OPTIONS.format(asking), Records)
    if site is None:
        return
    made = [site.create("forms/leave", {"who": f"Ann {number}", "days": number}).data for number in range(5)]
    ids = [one["id"] for one in made]
    good = {"who": "Ann 3", "by_id": ids[1], "long": 4}
    assert {name: site.create("forms/asks", good).data[name] for name in good} == good
    assert refused(lambda: site.create("forms/asks", {"who": "ann 3", "by_id": "no", "long": 2})) == [
        (f"/{name}", "options", "is none of the choices") for name in good
    ]
    [column] = [one for one in site.read("forms/asks/records").table.columns if one.name == "by_id"]
    assert site.app.languages.site.texts(column, [ids[1], ids[2], "no"]) == ["Ann 1", "Ann 2", "no"]
    assert site.read("forms/asks/options/by_id?_q=NN 2").data["items"] == [{"value": ids[2], "label": "Ann 2"}]
    offered = site.read("forms/asks/options/long").data
    assert [one["value"] for one in offered["items"]] == [4, 3]
    site.delete(f"forms/leave/records/{ids[1]}")
    assert refused(lambda: site.create("forms/asks", {"by_id": ids[1]}))[0][0] == "/by_id"


# ---- history and comments


def test_records_have_a_history_from_which_versions_come_back(build: Any) -> None:
    site = build(FORM, Records)
    if site is None:
        return
    made = site.create("forms/leave", {"who": "ann", "days": 1}).data
    address = f"forms/leave/records/{made['id']}"
    for days in (2, 3):
        site.patch(address, {"days": days})
    found = site.read(f"{address}/history").data
    assert [(one["version"], one["action"], one["changes"].get("days")) for one in found["items"]] == [
        (3, "update", [2, 3]), (2, "update", [1, 2]), (1, "create", [None, 1])
    ]  # fmt: skip
    first = site.read(f"{address}/history?_size=2").data
    assert [one["version"] for one in site.read(f"{address}/history?_size=2&_next={first['next']}").data["items"]] == [1]
    back = site.put(f"{address}/history", {"version": 1}).data
    assert (back["days"], back["version"], site.read(address).data["days"]) == (1, 4, 1)


def test_comments_are_kept_beside_records_and_go_with_them(build: Any) -> None:
    site = build(FORM.replace("[forms.leave.fields]", "comments = true\n[forms.leave.fields]"), Records)
    if site is None:
        return
    address = f"forms/leave/records/{site.create('forms/leave', {'who': 'ann', 'days': 1}).data['id']}"
    said = race(lambda number: site.create(f"{address}/comments", {"text": f"no {number}"}))
    assert all(not isinstance(answer, AppError) for answer in said)
    site.create(f"{address}/comments", {"text": "last"}, idempotency_key="k")
    site.create(f"{address}/comments", {"text": "last"}, idempotency_key="k")
    first = site.read(f"{address}/comments?_size=5").data
    rest = site.read(f"{address}/comments?_size=5&_next={first['next']}").data
    assert [*first["items"], *rest["items"]][-1]["text"] == "last"
    assert {one["text"] for one in [*first["items"], *rest["items"]]} == {"last", *(f"no {number}" for number in range(8))}
    assert len(site.audit(resource=f"{address}/comments", outcome="ok")) == 9
    site.delete(address)
    stores = [one for one in site.app.audit_stores() if one.count(app.Query("_comments"))]
    assert stores == []


# ---- rules of whole records


def test_rules_hold_on_every_provider_and_a_change_takes_away_what_it_hides(build: Any) -> None:
    ruled = FORM.replace('{ type = "number" }', '{ type = "number", show_if = { who = { prefix = "a" } }, required = true }')
    site = build(
        ruled.replace("[forms.leave]", '[forms.leave]\nchecks = [{ left = "days", op = "lt", value = 9 }]'), Records
    )
    if site is None:
        return
    made = site.create("forms/leave", {"who": "ann", "days": 1.5}).data
    assert site.create("forms/leave", {"who": "ben"}).data["days"] is None
    assert refused(lambda: site.create("forms/leave", {"who": "ann"}))[0][:2] == ("/days", "required")
    assert refused(lambda: site.create("forms/leave", {"who": "ben", "days": 1}))[0][:2] == ("/days", "hidden")
    assert refused(lambda: site.create("forms/leave", {"who": "ann", "days": 9}))[0][:2] == ("/days", "check")
    address = f"forms/leave/records/{made['id']}"
    assert refused(lambda: site.patch(address, {"days": None}))[0][:2] == ("/days", "required")
    site.patch(address, {"who": "ben"})
    assert site.read(address).data["days"] is None


def test_drafts_are_kept_and_go_with_the_commit_of_their_submit(build: Any) -> None:
    site = build(FORM, Records)
    if site is None:
        return
    ann = site.token("ann", "forms/leave:create")
    site.put("forms/leave/drafts/one", {"who": "far too long for this field", "days": "x"}, by=ann)
    site.put("forms/leave/drafts/two", {"who": "bob"}, by=ann)
    found = site.read("forms/leave/drafts", by=ann).data["items"]
    assert {one["id"]: one["data"]["who"] for one in found} == {"one": "far too long for this field", "two": "bob"}
    assert site.read("forms/leave/drafts").data["items"] == []
    sent: Any = {"idempotency_key": "page one", "typed": False, "by": ann}
    with pytest.raises(app.Invalid):
        site.create("forms/leave", {"who": [""]}, **sent)
    for _ in range(2):
        site.create("forms/leave", {"who": ["ann"], "days": ["1"]}, **sent)
    assert [one["id"] for one in site.read("forms/leave/drafts", by=ann).data["items"]] == ["two"]
    site.delete("forms/leave/drafts/two", by=ann)
    assert site.read("forms/leave/drafts", by=ann).data["items"] == []


def sheet(text: str, **options: str) -> dict[str, Any]:
    """The data of an import."""
    return {"file": [app.Upload("x.csv", io.BytesIO(text.encode()))], **{name: [one] for name, one in options.items()}}


def test_spreadsheets_are_imported_whole_or_in_parts_and_a_repeat_goes_on(build: Any) -> None:
    site = build(FORM, Records)
    if site is None:
        return
    rows, is_atomic = "who,days\nann,1\n,2\nbob,3\n", main(site).atomic
    with pytest.raises(app.TooLarge if not is_atomic else app.Invalid) as refusal:
        site.create("forms/leave/import", sheet(rows))
    if is_atomic:
        assert [(one["row"], one["pointer"]) for one in refusal.value.report["errors"]] == [(3, "/who")]
    assert site.items("forms/leave/records") == []
    dry = site.create("forms/leave/import", sheet(rows, partial="1", dry_run="1")).data
    assert (dry["created"], dry["failed"], site.items("forms/leave/records")) == (2, 1, [])
    for _ in range(2):
        data = site.create("forms/leave/import", sheet(rows, partial="1"), idempotency_key="first").data
        assert (data["created"], [one["row"] for one in data["errors"]]) == (2, [3])
    assert sorted(row["who"] for row in site.items("forms/leave/records")) == ["ann", "bob"]
    data = site.create("forms/leave/import", sheet("who,days\nann,5\ncy,1\n", partial="1", key="who")).data
    assert (data["created"], data["updated"]) == (1, 1)
    assert sorted((row["who"], row["days"]) for row in site.items("forms/leave/records")) == [
        ("ann", 5),
        ("bob", 3),
        ("cy", 1),
    ]
    assert [one["after"]["created"] for one in site.audit(action="import")] == [2, 1]
