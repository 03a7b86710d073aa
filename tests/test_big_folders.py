"""plugins/big_folders.py: folders with more files than a request holds, on every provider."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sites import Site, Time
from test_file_moves import LISTING, fill, makes_folders, tree
from test_matrix import PROVIDERS, assemble
from test_quota import used
from test_trash import share

import app
from app import AppError, BadRequest, Conflict, Exists, Forbidden, Unavailable

big, file_trees = app.plugin("big_folders"), app.plugin("file_trees")
kept_files, kept_job, quota = app.plugin("kept_files"), app.plugin("kept_job"), app.plugin("quota")
SHARES = """
[providers.disk]
kind = "file"
root = "other"
[files.docs]
provider = "main"
prefix = "docs"
quota = "3kB"
[files.inner]
provider = "main"
prefix = "docs/inner"
quota = "2kB"
[files.bin]
provider = "main"
prefix = "bin"
trash = "30d"
versions = 2
quota = "3kB"
[files.disk]
provider = "disk"
quota = "1kB"
"""
RENAMING = ["file", "postgres", "sql"]  # providers that rename folders; the others delete file by file
NAMES = ("1", "2", "b-c/3", "b/4", "b/c/5", "b/c/6", "é/7", "é/8")


@pytest.fixture
def clock() -> Time:
    return Time()


@pytest.fixture(params=LISTING)
def site(request: pytest.FixtureRequest, tmp_path: Path, clock: Time, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setattr(file_trees, "MOST_ENTRIES", 3)  # as if these were ten thousand
    yield from opened(request.param, tmp_path, clock)


def opened(kind: str, folder: Path, clock: Time) -> Iterator[Site]:
    """A site with SHARES on a kind of provider."""
    declared = PROVIDERS[kind](folder) + SHARES
    whole = assemble(folder, declared)
    assert whole.faults == whole.inspection.create()[1] == []
    whole.close()
    made = Site(folder, declared, clock=clock)
    yield made
    made.close()


def fill_folder(site: Site, address: str) -> dict[str, Any]:
    fill(site, *(f"{address}/{name}" for name in NAMES))
    return below(site, address)


def below(site: Site, address: str) -> dict[str, Any]:
    """What is below an address, as that tells it."""
    return {place.removeprefix(address): one for place, one in tree(site, address).items()}


def renames(site: Site) -> bool:
    return hasattr(site.app.providers["main"], "move_folder")


def job(site: Site) -> None:
    kept_job.Ending({}, site.app.config).run(site.app, threading.Event())


def is_clean(site: Site) -> None:
    """Nothing is left where no share shows it."""
    main: Any = site.app.providers["main"]
    assert not [one.path for one in main.scan("_satchel")]
    assert not list(kept_files.rows_of(site.app.state, kept_files.ENDING))


def steps(site: Site, address: str, data: dict[str, Any]) -> list[Any]:
    """The answers to a wish until all is done."""
    found = [site.create(address, data)]
    while following := found[-1].data.get("next"):
        assert len(found) < 50
        found.append(site.create(address, data | {"next": following}))
    return found


def deleted(site: Site, address: str) -> list[Any]:
    found = [site.delete(address, params={"_tree": "1"}).data]
    while found[-1].get("more"):
        assert len(found) < 50
        found.append(site.delete(address, params={"_tree": "1"}).data)
    return found


def test_a_move_is_one_step_where_the_provider_can(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    before = fill_folder(site, "files/docs/x")
    count = used(site)
    if renames(site):
        monkeypatch.setattr(type(site.app.providers["main"]), "move", None)
    monkeypatch.setattr(big, "STEP_S", 0.0)
    told = steps(site, "files/docs/x", {"move": "files/docs/inner/y"})
    assert (len(told) == 1) == renames(site)
    assert {name: sum(one.data[name] for one in told) for name in ("files", "bytes")} == {"files": 8, "bytes": count}
    assert told[0].location == "files/docs/inner/y"
    assert below(site, "files/docs/inner/y") == before
    assert "files/docs/x" not in tree(site, "files/docs")
    quota_is_right(site, count, count)
    steps(site, "files/docs/inner/y", {"move": "files/bin/z"})
    assert below(site, "files/bin/z") == before
    quota_is_right(site, 0, 0)
    assert used(site, "bin") == count


def quota_is_right(site: Site, docs: int, inner: int) -> None:
    """At once, and after a count where what others may have done meanwhile was not known."""
    assert [quota.usage(share(site, name)).used_bytes for name in ("docs", "inner")] == [docs, inner]
    app.plugin("quota_count").QuotaCount({}, site.app.config).run(site.app, threading.Event())
    assert [used(site, name) for name in ("docs", "inner")] == [docs, inner]


def test_a_copy_goes_on_where_it_stopped(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    before = fill_folder(site, "files/docs/x")
    if makes_folders(site):
        site.create("files/docs/x/b/", {"folder": "empty"})
        before = below(site, "files/docs/x")
    monkeypatch.setattr(big, "STEP_ENTRIES", 3)
    first = site.create("files/docs/x", {"copy": "files/bin/y"}).data
    assert first["files"] < 8
    again = {"copy": "files/bin/y", "next": first["next"]}
    one, other = (site.create("files/docs/x", again).data for _ in range(2))  # of which the first was not heard of
    assert (one["next"], one["files"]) == (other["next"], other["files"])
    steps(site, "files/docs/x", again | {"next": one["next"]})
    assert below(site, "files/bin/y") == below(site, "files/docs/x") == before
    assert used(site, "bin") == used(site)
    with pytest.raises(Exists):
        site.create("files/docs/x", {"copy": "files/bin/y"})
    site.put("files/bin/y/b/c/6", body=b"another")
    with pytest.raises(Exists):
        steps(site, "files/docs/x", again)
    assert site.bytes("files/bin/y/b/c/6") == b"another"
    steps(site, "files/docs/x", {"copy": "files/bin/y", "overwrite": True})
    assert below(site, "files/bin/y") == before
    assert len(site.items("files/bin/y/b/c/6?_versions=1")) > 0
    for wrong in ("x", 7, app.encode_cursor("../x", True), app.encode_cursor("b", "no")):
        with pytest.raises(AppError) as caught:
            site.create("files/docs/x", {"copy": "files/bin/y", "next": wrong})
        assert caught.value.status in (400, 422)
    with pytest.raises(BadRequest):
        site.create("files/docs/x/1", {"copy": "files/bin/y", "next": one["next"]})


def test_a_move_between_providers_goes_on_after_an_end_in_the_middle(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    before = fill_folder(site, "files/docs/x")
    count, seen = used(site), list[str]()
    file_moves = app.plugin("file_moves")
    carry = file_moves.carry

    def ends(source: Any, target: Any, one: Any, *, moves: bool) -> Any:
        seen.append(one.path)
        if len(seen) == 4:
            raise Unavailable("away")
        return carry(source, target, one, moves=moves)

    monkeypatch.setattr(file_moves, "carry", ends)
    with pytest.raises(Unavailable) as away:
        site.create("files/docs/x", {"move": "files/disk/y"})
    assert '3 files more are at the new place by now: send the same with "overwrite": true' in away.value.message
    assert used(site) + used(site, "disk") == count
    told = steps(site, "files/docs/x", {"move": "files/disk/y", "overwrite": True})
    assert sum(one.data["files"] for one in told) == 5
    assert below(site, "files/disk/y") == before
    assert tree(site, "files/docs") == {}
    assert (used(site), used(site, "disk")) == (0, count)


def test_what_has_no_room_is_refused_before_its_first_byte(site: Site) -> None:
    fill_folder(site, "files/docs/x")
    site.put("files/docs/x/z", body=b"x" * 900)
    with pytest.raises(quota.NoRoom):
        site.create("files/docs/x", {"copy": "files/disk/y"})
    assert tree(site, "files/disk") == {}
    assert used(site, "disk") == 0


def test_each_entry_needs_its_grants_and_else_nothing_is_done(site: Site) -> None:
    before = fill_folder(site, "files/docs/x")
    some = site.token("some", "files/docs/x:read", "files/docs/x/b:delete", "files/docs/x/*:delete", "files/bin:*")
    with pytest.raises(Forbidden):
        site.create("files/docs/x", {"move": "files/bin/y"}, by=some)
    with pytest.raises(Forbidden):
        site.delete("files/docs/x", params={"_tree": "1"}, by=some)
    few = site.token("few", "files/docs/x/*:read", "files/bin:*")
    with pytest.raises(Forbidden):
        site.create("files/docs/x", {"copy": "files/bin/y"}, by=few)
    there = site.token("there", "files/docs:*", "files/bin/*:create")
    with pytest.raises(Forbidden):
        site.create("files/docs/x", {"copy": "files/bin/y"}, by=there)
    assert below(site, "files/docs/x") == before
    assert tree(site, "files/bin") == {}


def test_what_is_deleted_is_out_of_sight_at_once_and_ended_in_rounds(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    fill_folder(site, "files/docs/x")
    site.put("files/docs/stays", body=b"12345")
    monkeypatch.setattr(big, "STEP_S", 0.0)
    told = deleted(site, "files/docs/x")
    assert (len(told) == 1) == renames(site)
    assert sum(one["files"] for one in told) == 8
    assert [*tree(site, "files/docs")] == ["files/docs/stays"]
    assert used(site) >= 5
    monkeypatch.setattr(kept_job, "_ROUND_S", 0.0)
    job(site)
    assert used(site) == 5
    is_clean(site)


@pytest.mark.parametrize("site", RENAMING, indirect=True)
@pytest.mark.parametrize("ends", ["before", "after"])
def test_a_delete_that_ends_in_the_middle_is_gone_on_with(
    site: Site, clock: Time, ends: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = fill_folder(site, "files/docs/x")
    main: Any = site.app.providers["main"]
    move = main.move_folder

    def stop(source: str, target: str) -> None:
        if ends == "after":
            move(source, target)
        raise SystemExit

    monkeypatch.setattr(kept_files.Kept, "delete", lambda row: app.Delete("none", "none"))  # nor is it tidied
    monkeypatch.setattr(main, "move_folder", stop, raising=False)
    with pytest.raises(SystemExit):
        site.delete("files/docs/x", params={"_tree": "1"})
    monkeypatch.undo()
    job(site)
    clock.now += 700
    job(site)
    is_clean(site)
    if ends == "before":
        assert below(site, "files/docs/x") == before
    else:
        assert tree(site, "files/docs") == {}


def test_a_folder_in_the_trash_comes_back_as_one(site: Site) -> None:
    site.put("files/bin/x/b/4", body=b"first")
    before = fill_folder(site, "files/bin/x")
    count = used(site, "bin")
    told = deleted(site, "files/bin/x")
    assert sum(one["files"] for one in told) == 8
    assert tree(site, "files/bin") == {}
    assert used(site, "bin") == count
    rows = site.items("files/bin/?_trash=1")
    if not renames(site):
        assert {row["type"] for row in rows} == {"file"}
        assert len(rows) == 8
        return
    [row] = rows
    assert (row["type"], row["name"], row["files"], row["id"]) == ("folder", "x", 8, told[0]["trash"])
    kept_job.Trash({}, site.app.config).run(site.app, threading.Event())  # versions of what is in it stay
    half = site.token("half", "files/bin/x/*:*", "files/bin/x:read")
    assert site.items("files/bin/?_trash=1", by=site.token("reader", "files/bin:read", "files/bin/x/*:delete")) == []
    with pytest.raises(AppError):
        site.create("files/bin/", {"restore": row["id"]}, by=half)
    site.put("files/bin/x/b/4", body=b"new")
    for overwrite, refusal in ((False, Exists), (True, Conflict)):
        with pytest.raises(refusal):
            site.create("files/bin/", {"restore": row["id"], "overwrite": overwrite})
    back = site.create("files/bin/", {"restore": row["id"], "to": "files/bin/deep/y"})
    assert (back.location, back.data["type"], back.data["files"]) == ("files/bin/deep/y", "folder", 8)
    assert below(site, "files/bin/deep/y") == before
    assert site.items("files/bin/?_trash=1") == []
    assert used(site, "bin") > count  # with what is new


def test_a_moved_folder_has_its_versions(site: Site) -> None:
    site.put("files/bin/x/b/4", body=b"first")
    fill_folder(site, "files/bin/x")
    steps(site, "files/bin/x", {"move": "files/bin/y"})
    assert [row["size_bytes"] for row in site.items("files/bin/y/b/4?_versions=1")] == [5]


@pytest.mark.parametrize("how", ["one", "all", "time"])
def test_a_folder_in_the_trash_is_ended(site: Site, clock: Time, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fill_folder(site, "files/bin/x")
    deleted(site, "files/bin/x")
    monkeypatch.setattr(big, "STEP_S", 0.0)
    trash = kept_job.Trash({}, site.app.config)
    if how == "time":
        for _ in range(31):
            clock.now += 86_400
            trash.run(site.app, threading.Event())
        site.root = site.token("root", "**:*")
    else:
        ids = [row["id"] for row in site.items("files/bin/?_trash=1")] if how == "one" else ["all"]
        for id_ in ids:
            site.create("files/bin/", {"purge": id_})
    assert site.items("files/bin/?_trash=1") == []
    job(site)
    is_clean(site)
    assert used(site, "bin") == 0


@pytest.mark.parametrize("site", RENAMING, indirect=True)
def test_what_was_left_in_between_is_found_by_the_job(site: Site, clock: Time, monkeypatch: pytest.MonkeyPatch) -> None:
    before = fill_folder(site, "files/bin/x")
    monkeypatch.setattr(kept_files.Kept, "update", lambda row, **changes: (_ for _ in ()).throw(SystemExit))
    with pytest.raises(SystemExit):
        site.delete("files/bin/x", params={"_tree": "1"})
    monkeypatch.undo()
    assert site.items("files/bin/?_trash=1") == []
    clock.now += 700
    kept_job.Trash({}, site.app.config).run(site.app, threading.Event())
    [row] = site.items("files/bin/?_trash=1")
    site.create("files/bin/", {"restore": row["id"]})
    assert below(site, "files/bin/x") == before


def test_a_repeat_of_a_move_that_was_done_answers_as_the_first(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    fill_folder(site, "files/docs/x")

    def ask() -> Any:
        return site.create("files/docs/x", {"move": "files/docs/y"}, idempotency_key="k")

    told = ask()
    assert ask().location == told.location == "files/docs/y"


def test_clients_that_know_of_no_steps_wait_until_all_is_done(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    before = fill_folder(site, "files/docs/x")
    monkeypatch.setattr(big, "STEP_S", 0.0)
    monkeypatch.setattr(big, "STEP_ENTRIES", 1)
    with big.unlimited():
        assert "next" not in site.create("files/docs/x", {"copy": "files/disk/y"}).data
        assert below(site, "files/disk/y") == before
        assert "more" not in site.delete("files/docs/x", params={"_tree": "1"}).data
    assert tree(site, "files/docs") == {}
    is_clean(site)
