"""Trash and versions: what was deleted or overwritten comes back, counts, and goes in its time."""

from __future__ import annotations

import io
import json
import threading
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import http_client
import pytest
from sites import Site, Time
from test_matrix import PROVIDERS, assemble

import app
from app import AppError

kept_files, kept_job = app.plugin("kept_files"), app.plugin("kept_job")
quota, quota_count = app.plugin("quota"), app.plugin("quota_count")

TOML = """[files.docs]
provider = "main"
prefix = "docs"
trash = "30d"
versions = 3
quota = "10kB"
[files.whole]
provider = "main"
[files.plain]
provider = "main"
prefix = "plain"
[apps.desk]
home = [{ files = "files/whole" }]
[files.old]
provider = "main"
prefix = "old"
versions = 2
[files.pictures]
provider = "main"
prefix = "pictures"
trash = "30d"
accept = [".txt", ".png"]
"""


@pytest.fixture
def clock() -> Time:
    return Time()


@pytest.fixture(params=sorted({*PROVIDERS} - {"generic-json-server"}))  # that has no files at all
def site(request: pytest.FixtureRequest, tmp_path: Path, clock: Time) -> Iterator[Site]:
    toml = PROVIDERS[request.param](tmp_path) + TOML
    whole = assemble(tmp_path, toml)
    assert whole.faults == whole.inspection.create()[1] == []
    whole.close()
    found = Site(tmp_path, toml, clock=clock)
    yield found
    found.app.close()


def share(site: Site, name: str = "docs") -> Any:
    return site.app.resources[f"files/{name}"]


def is_counted(site: Site) -> int:
    counted = quota.usage(share(site))
    there = sum(blob.size_bytes for blob in quota_count._files_of(share(site)))
    assert (counted.used_bytes, counted.reserved_bytes) == (there, 0)
    return there


def trash(site: Site, place: str = "", **facts: Any) -> list[dict[str, Any]]:
    return site.items(f"files/docs/{place}?_trash=1", **facts)


def versions(site: Site, address: str) -> list[dict[str, Any]]:
    return site.items(f"{address}?_versions=1")


def status(work: Any, *args: Any, **facts: Any) -> int:
    with pytest.raises(AppError) as caught:
        work(*args, **facts)
    return caught.value.status


def run(site: Site) -> None:
    kept_job.Trash({}, site.app.config).run(site.app, threading.Event())


def pass_days(site: Site, clock: Time, days: int) -> None:
    """A day at a time, with the job: a clock that jumps is not believed."""
    for _ in range(days):
        clock.now += 86_400
        run(site)
    site.root = site.token("root", "**:*")


def test_a_deleted_file_is_listed_and_comes_back_to_its_place(site: Site) -> None:
    site.put("files/docs/2027/plan.txt", body=b"one")
    site.delete("files/docs/2027/plan.txt")
    assert status(site.read, "files/docs/2027/plan.txt") == 404
    assert is_counted(site) == 3
    [one] = trash(site)
    assert (one["name"], one["path"], one["size_bytes"], one["deleted_by"]) == ("plan.txt", "2027/plan.txt", 3, "root")
    assert trash(site, "2027/") == [one]
    assert trash(site, "other/") == []
    answer = site.create("files/docs/", {"restore": one["id"]})
    assert (answer.created, answer.location) == (True, "files/docs/2027/plan.txt")
    assert site.bytes("files/docs/2027/plan.txt") == b"one"
    assert trash(site) == []
    assert is_counted(site) == 3
    assert status(site.create, "files/docs/", {"restore": one["id"]}) == 404


def test_what_comes_back_by_another_name_has_to_fit_that(site: Site) -> None:
    site.put("files/pictures/a.txt", body=b"words")
    site.delete("files/pictures/a.txt")
    [thrown] = site.items("files/pictures/?_trash=1")
    asked = {"restore": thrown["id"], "to": "files/pictures/a.png"}
    assert status(site.create, "files/pictures/", asked) == 415
    assert site.create("files/pictures/", asked | {"to": "files/pictures/b.txt"}).created


def test_where_something_is_by_now_one_says_what_to_do(site: Site) -> None:
    site.put("files/docs/a", body=b"one")
    site.delete("files/docs/a")
    site.put("files/docs/a", body=b"two")
    [one] = trash(site)
    assert status(site.create, "files/docs/", {"restore": one["id"]}) == 409
    site.create("files/docs/", {"restore": one["id"], "to": "files/docs/b"})
    assert (site.bytes("files/docs/a"), site.bytes("files/docs/b")) == (b"two", b"one")
    site.delete("files/docs/b")
    [one] = trash(site)
    site.create("files/docs/", {"restore": one["id"], "to": "files/docs/a", "overwrite": True})
    assert site.bytes("files/docs/a") == b"one"
    [old] = versions(site, "files/docs/a")
    assert site.bytes("files/docs/a", params={"_version": old["id"]}) == b"two"
    assert is_counted(site) == 6
    assert status(site.create, "files/docs/", {"restore": one["id"], "to": "files/plain/b"}) in (404, 422)


def test_a_folder_is_thrown_away_file_by_file(site: Site) -> None:
    for number in range(3):
        site.put(f"files/docs/f/{number}/x", body=b"x" * number)
    site.delete("files/docs/f", params={"_tree": "1"})
    paths = [one["path"] for one in trash(site)]
    assert sorted(paths) == ["f/0/x", "f/1/x", "f/2/x"]
    assert is_counted(site) == 3
    page = site.read("files/docs/?_trash=1&_size=2").table
    assert page is not None
    assert page.next
    assert [one["path"] for one in trash(site, params={"_trash": "1", "_size": "2", "_next": page.next})] == paths[2:]
    for one in trash(site):
        site.create("files/docs/f/", {"restore": one["id"]})
    assert site.bytes("files/docs/f/2/x") == b"xx"
    assert is_counted(site) == 3


def test_it_is_ended_for_good_one_by_one_or_all(site: Site) -> None:
    for name in "abcd":
        site.put(f"files/docs/{name}", body=b"old")
        site.put(f"files/docs/{name}", body=b"new!")
        site.delete(f"files/docs/{name}")
    assert is_counted(site) == 28
    found = {one["name"]: one["id"] for one in trash(site)}
    assert site.create("files/docs/", {"purge": found["a"]}).data == {"purged": 1, "bytes": 7}
    site.delete("files/docs/b", params={"_trash": found["b"]})
    assert is_counted(site) == 14
    assert status(site.delete, "files/docs/b", params={"_trash": found["b"]}) == 404
    assert site.create("files/docs/", {"purge": "all"}).data == {"purged": 2, "bytes": 14}
    assert is_counted(site) == 0
    assert not list(site.app.state.walk(app.Query("_kept")))
    assert {one["action"] for one in site.audit(outcome="ok")} >= {"create", "update", "delete"}


def test_only_who_may_read_and_delete_there_sees_it(site: Site) -> None:
    site.put("files/docs/mine/a", body=b"a")
    site.put("files/docs/theirs/b", body=b"b")
    site.delete("files/docs/mine/a")
    site.delete("files/docs/theirs/b")
    [theirs, mine] = trash(site)
    ann = site.token("ann", "files/docs:read", "files/docs/mine/**:read,delete,create")
    assert trash(site, by=ann) == [mine]
    assert status(site.create, "files/docs/mine/", {"restore": theirs["id"]}, by=ann) == 404
    assert status(site.create, "files/docs/mine/", {"purge": theirs["id"]}, by=ann) == 404
    assert site.create("files/docs/mine/", {"purge": "all"}, by=ann).data["purged"] == 1
    reader = site.token("eve", "files/docs:read,create,update")
    assert trash(site, by=reader) == []
    assert status(site.create, "files/docs/", {"restore": theirs["id"]}, by=reader) == 404
    assert trash(site) == [theirs]


def test_no_share_shows_where_it_lies(site: Site) -> None:
    site.put("files/docs/a", body=b"secret")
    site.delete("files/docs/a")
    site.put("files/plain/b", body=b"b")
    assert [one["name"] for one in site.items("files/whole/")] == ["plain"]
    assert [one["name"] for one in site.items("files/whole/?_q=a")] == ["plain"]
    [row] = site.app.state.walk(app.Query("_kept"))
    kept = row.value["kept"]
    for address in (kept, kept.upper(), kept.partition("/")[0] + "/"):
        assert status(site.read, f"files/whole/{address}") == 404
    assert status(site.put, "files/whole/_satchel/x", body=b"x") == 404
    assert status(site.delete, f"files/whole/{kept}") == 404
    assert status(site.create, "files/plain/b", {"move": "files/whole/_satchel/b"}) == 404
    assert [blob.path for blob in share(site).blobs.scan() if isinstance(blob, app.Blob)] == [kept, "plain/b"]  # for backup


def test_no_door_leads_to_where_it_lies(site: Site) -> None:
    for body in (b"secret", b"secret too"):
        site.put("files/docs/a", body=body)
    site.delete("files/docs/a")
    site.put("files/plain/b.txt", body=b"b")
    web, root = http_client.of_app(site.app), site.root.removeprefix("Bearer ")
    kept = [row.value["kept"] for row in site.app.state.walk(app.Query("_kept"))]
    assert len(kept) == 2

    def dav(method: str, path: str, body: str | None = None, **headers: str) -> http_client.Reply:
        return web.ask(method, f"/dav/{path}", body, headers, root)

    def mcp(method: str, **params: Any) -> Any:
        asking = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        return web.send("/mcp", asking, root, MCP_Protocol_Version="2025-11-25").json

    whole = "/files/whole/"
    wish = {"link": {"action": "read", "expires": "7d"}}
    link = urlsplit(web.send(whole, wish, root, Sec_Fetch_Site="same-origin").json["url"]).path
    shown = {
        "page": web.get(whole, root, **http_client.PAGE), "search": web.get("/search?q=satchel", root),
        "below": web.get(f"{whole}?_q=satchel", root), "network drive": dav("PROPFIND", "whole/", Depth="1"),
        "all of it": dav("PROPFIND", "whole/", Depth="infinity"),
        "dashboard": web.get("/apps/desk", root, **http_client.PAGE),
        "link": web.get(f"{link}/"), "link's page": web.get(f"{link}/", **http_client.PAGE),
        "deleting": web.get(f"{whole}plain/b.txt?_do=move", root, **http_client.PAGE),
    }  # fmt: skip
    for name, reply in shown.items():
        assert "_satchel" not in reply.text, name
        assert kept[0].rpartition("/")[2] not in reply.text, name
        assert reply.status < 300 or reply.status == 403, name
    assert "plain" in shown["dashboard"].text
    for target in (f"{whole}?_zip=1", f"{link}/?_zip=1"):
        with zipfile.ZipFile(io.BytesIO(web.get(target, root if target[1] == "f" else "").body)) as archive:
            assert archive.namelist() == ["plain/b.txt"]
    assert "satchel:///files/whole/plain/b.txt" in json.dumps(mcp("resources/list"))
    assert "_satchel" not in json.dumps(mcp("resources/list"))
    for address in (*kept, "_satchel", "_satchel/", "_SATCHEL/docs", "_satchel/docs/trash"):
        assert "error" in mcp("resources/read", uri=f"satchel:///files/whole/{address}")
        for ask in ("", "?_view=1", "?_zip=1", "?_trash=1", "?_versions=1", "?_do=delete"):
            assert web.get(f"{whole}{address}{ask}", root, **http_client.PAGE).status == 404, ask
        assert web.get(f"{link}/{address}").status == 404
        assert web.get(f"{whole}?_zip=1&_name={address.partition('/')[0]}", root).status == 404
        assert web.put(f"{whole}{address.rstrip('/')}", b"x", root).status == 404
        assert web.ask("DELETE", f"{whole}{address}?_tree=1", None, {}, root).status == 404
        assert web.send(f"{whole}{address}", {"copy": "files/plain/c"}, root).status == 404
        assert web.send(f"{whole}plain/b.txt", {"copy": f"files/whole/{address.rstrip('/')}/c"}, root).status == 404
        assert web.send(f"{whole}{address}", wish, root, Sec_Fetch_Site="same-origin").status == 404
        assert web.upload(f"{whole}_satchel/", ("file", "x", b"x"), token=root).status == 404
        for method in ("PROPFIND", "GET", "DELETE", "MKCOL", "PUT", "COPY", "MOVE", "LOCK", "PROPPATCH"):
            lock = '<lockinfo xmlns="DAV:"><lockscope><exclusive/></lockscope><locktype><write/></locktype></lockinfo>'
            patch = '<propertyupdate xmlns="DAV:"><set><prop><x xmlns="u:">1</x></prop></set></propertyupdate>'
            body = {"LOCK": lock, "PROPPATCH": patch, "PUT": "x"}.get(method)
            reply = dav(method, f"whole/{address}", body, Destination="/dav/plain/stolen")
            assert reply.status in (403, 404, 405, 409), (method, address)
        assert dav("COPY", "plain/b.txt", Destination=f"/dav/whole/{address.rstrip('/')}/x").status in (403, 404, 409)
    assert web.send(whole, {"folder": "_satchel"}, root).status == 404
    copied = web.send(whole, {"copy": "files/old/all"}, root)
    assert copied.status in (201, 409), copied.text
    names = [blob.path for blob in share(site, "whole").blobs.scan("old")]
    assert not any("_satchel" in name or "trash" in name for name in names)
    assert sorted(blob.path for blob in share(site).blobs.scan() if blob.path.startswith("_satchel")) == sorted(kept)


def test_overwritten_files_are_kept_and_come_back(site: Site, clock: Time) -> None:
    for number in range(6):
        clock.now += 10
        site.put("files/docs/a", body=str(number).encode() * 3)
    found = versions(site, "files/docs/a")
    assert [site.bytes("files/docs/a", params={"_version": one["id"]}) for one in found] == [b"444", b"333", b"222"]
    assert found[0]["replaced_by"] == "root"
    assert is_counted(site) == 12
    answer = site.create("files/docs/a", {"restore": found[2]["id"]})
    assert (answer.created, site.bytes("files/docs/a")) == (False, b"222")
    assert [site.bytes("files/docs/a", params={"_version": one["id"]}) for one in versions(site, "files/docs/a")] == [
        b"555", b"444", b"333"
    ]  # fmt: skip
    site.delete("files/docs/a", params={"_version": found[0]["id"]})
    assert len(versions(site, "files/docs/a")) == 2
    assert is_counted(site) == 9
    assert status(site.read, "files/docs/a", params={"_version": found[0]["id"]}) == 404
    assert status(site.read, "files/docs/none", params={"_versions": "1"}) == 404


def test_versions_go_with_a_file_and_stay_while_it_is_in_the_trash(site: Site) -> None:
    site.put("files/docs/a", body=b"1")
    site.put("files/docs/a", body=b"2")
    site.create("files/docs/a", {"move": "files/docs/new/b"})
    [one] = versions(site, "files/docs/new/b")
    assert site.bytes("files/docs/new/b", params={"_version": one["id"]}) == b"1"
    site.delete("files/docs/new/b")
    run(site)
    assert is_counted(site) == 2
    site.create("files/docs/", {"restore": trash(site)[0]["id"]})
    assert versions(site, "files/docs/new/b") == [one]


def test_a_copy_or_move_onto_a_file_keeps_what_it_was(site: Site) -> None:
    for name in ("a", "b", "f/x", "g/x"):
        site.put(f"files/docs/{name}", body=name.encode())
    site.create("files/docs/a", {"copy": "files/docs/b", "overwrite": True})
    site.create("files/docs/f", {"move": "files/docs/g", "overwrite": True})
    for address, old in (("files/docs/b", b"b"), ("files/docs/g/x", b"g/x")):
        [one] = versions(site, address)
        assert site.bytes(address, params={"_version": one["id"]}) == old
    is_counted(site)


def test_versions_that_are_too_many_are_given_back_to_the_quota_whatever_replaces_the_file(site: Site) -> None:
    for number in range(6):
        site.put("files/docs/a", body=b"x" * (100 + number))
        site.create("files/docs/a", {"copy": "files/docs/b", "overwrite": True})
        is_counted(site)
        site.put("files/docs/c/b", body=b"y" * (50 + number))
        site.create("files/docs/c/b", {"move": "files/docs/b", "overwrite": True})
        is_counted(site)
        site.delete("files/docs/a")
        site.put("files/docs/a", body=b"z")
        site.create("files/docs/", {"restore": trash(site)[0]["id"], "overwrite": True})
        is_counted(site)
    assert len(versions(site, "files/docs/b")) == len(versions(site, "files/docs/a")) == 3


def test_the_job_empties_the_trash_in_its_time(site: Site, clock: Time) -> None:
    site.put("files/docs/a", body=b"1")
    site.put("files/docs/a", body=b"22")
    site.delete("files/docs/a")
    pass_days(site, clock, 20)
    site.put("files/docs/b", body=b"333")
    site.delete("files/docs/b")
    run(site)
    assert is_counted(site) == 6
    pass_days(site, clock, 11)
    run(site)
    assert [one["name"] for one in trash(site)] == ["b"]
    run(site)
    assert is_counted(site) == 3


def test_without_a_trash_versions_end_with_their_file(site: Site) -> None:
    site.put("files/old/a", body=b"1")
    site.put("files/old/a", body=b"2")
    site.delete("files/old/a")
    run(site)
    assert not list(site.app.state.walk(app.Query("_kept")))
    assert [blob.path for blob in share(site, "old").blobs.scan() if isinstance(blob, app.Blob)] == []


@pytest.mark.parametrize("done", ["", "copy", "move"])  # where a move is a copy and a delete, it may end between
def test_what_was_interrupted_is_in_one_place_or_in_the_other(site: Site, clock: Time, done: str) -> None:
    site.put("files/docs/a", body=b"one")
    blobs, blob = share(site).blobs, share(site).blobs.stat("docs/a")
    row = kept_files.kept_row(share(site), kept_files.TRASH, blob, "root", clock.now)
    site.app.state.commit([row.insert()])
    if done:
        getattr(blobs, done)("docs/a", row.kept)
    is_moved = done == "move"
    assert trash(site) == []
    clock.now += 700
    run(site)
    assert [one["path"] for one in trash(site)] == ["a"] * is_moved
    assert (blobs.stat("docs/a") is None) == is_moved
    assert len(list(site.app.state.walk(app.Query("_kept")))) == is_moved
    assert (blobs.stat(row.kept) is not None) == is_moved


def test_a_file_outlives_an_end_between_the_steps_of_its_way_to_the_trash_and_back(
    site: Site, clock: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    blobs = share(site).blobs
    copy = blobs.copy

    def killed(*args: Any, **facts: Any) -> Any:
        raise KeyboardInterrupt

    def copied(source: str, target: str) -> Any:
        copy(source, target)
        raise KeyboardInterrupt

    site.put("files/docs/a", body=b"one")
    for name, accident in (("remove", killed), ("move", killed), ("move", copied)):
        with monkeypatch.context() as patched:
            patched.setattr(blobs, name, accident)
            with suppress(KeyboardInterrupt):
                site.delete("files/docs/a")
        clock.now += 700
        run(site)
        for thrown in trash(site):
            assert blobs.stat("docs/a") is None
            with monkeypatch.context() as patched:
                patched.setattr(blobs, name, accident)
                with suppress(KeyboardInterrupt):
                    site.create("files/docs/", {"restore": thrown["id"]})
            clock.now += 700
            run(site)
        for thrown in trash(site):
            site.create("files/docs/", {"restore": thrown["id"]})
        assert (site.bytes("files/docs/a"), trash(site)) == (b"one", [])


def test_a_version_that_was_copied_for_a_write_that_failed_is_none(
    site: Site, clock: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.put("files/docs/a", body=b"one")

    blobs = share(site).blobs
    publish = blobs.publish

    def failing(staged: app.Staged, path: str, **facts: Any) -> Any:
        if path == "docs/a":
            raise app.Unavailable("gone")
        return publish(staged, path, **facts)

    with monkeypatch.context() as patched:
        patched.setattr(blobs, "publish", failing)
        with pytest.raises(app.Unavailable):
            site.put("files/docs/a", body=b"two")
    assert versions(site, "files/docs/a") == []
    assert is_counted(site) == 6
    clock.now += 700
    run(site)
    assert is_counted(site) == 3
    assert site.bytes("files/docs/a") == b"one"


def test_if_match_holds_for_what_is_thrown_away_too(site: Site) -> None:
    etag = site.put("files/docs/a", body=b"one").etag
    site.put("files/docs/a", body=b"two")
    assert status(site.delete, "files/docs/a", if_match=etag) == 412
    assert trash(site) == []
