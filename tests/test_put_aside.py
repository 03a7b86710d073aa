"""plugins/put_aside.py: whatever becomes of a move or copy, what it was to replace is replaced by all of it, or is there."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sites import Site, Time
from test_big_folders import below, fill_folder, is_clean, job, opened, renames
from test_file_moves import fill, makes_folders, tree
from test_quota import used

import app
from app import Forbidden, Unavailable, Unsupported

aside, big, file_moves = app.plugin("put_aside"), app.plugin("big_folders"), app.plugin("file_moves")
file_trees, kept_files, kept_job = app.plugin("file_trees"), app.plugin("kept_files"), app.plugin("kept_job")
quota = app.plugin("quota")
SIZES = [("aws", "small"), ("file", "small"), ("file", "large"), ("sql", "small"), ("sql", "large")]  # S3: file by file
STEPS = ("copy", "move", "move_folder", "publish")


@pytest.fixture
def clock() -> Time:
    return Time()


@pytest.fixture(params=["aws", "file", "sql"])
def site(request: pytest.FixtureRequest, tmp_path: Path, clock: Time, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setattr(file_trees, "MOST_ENTRIES", 3)
    yield from opened(request.param, tmp_path, clock)


@pytest.fixture
def large(request: pytest.FixtureRequest, site: Site, monkeypatch: pytest.MonkeyPatch) -> bool:
    monkeypatch.setattr(file_trees, "MOST_ENTRIES", 3 if request.param == "large" else 10_000)
    return bool(request.param == "large")


def replace(site: Site, source: str, target: str, verb: str = "copy", **more: Any) -> Any:
    """As WebDAV asks for it."""
    with big.unlimited(), file_moves.clearing():
        return site.create(source, {verb: target, "overwrite": True}, **more)


def failing(monkeypatch: pytest.MonkeyPatch, main: Any, below: str, after: int, *, lasts: bool) -> None:
    """Lets what is put below a path of a provider fail after so many files, or when it is a folder: once, or from then on
    whatever is written at all."""
    left = [after]

    def guarded(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **named: Any) -> Any:
            is_new = args[1].startswith(below) and not str(args[0]).startswith("_satchel")
            if left[0] >= 0 and is_new:
                left[0] = -1 if name == "move_folder" else left[0] - 1
                if left[0] < 0:
                    raise Unavailable("the disk is gone")
            elif left[0] < 0 and lasts:
                raise Unavailable("the disk is gone")
            return method(*args, **named)

        return run

    for name in STEPS:
        if hasattr(main, name):
            monkeypatch.setattr(main, name, guarded(name, getattr(main, name)), raising=False)


WAYS = [
    ("copy", "files/docs/x", False), ("move", "files/disk/x", False), ("move", "files/docs/x", True),
    ("copy", "files/disk/x", True),
]  # fmt: skip


@pytest.mark.parametrize(("site", "large"), SIZES, indirect=True)
@pytest.mark.parametrize(("verb", "source", "lasts"), WAYS)
def test_what_was_there_is_back_after_a_failure_in_the_middle(
    site: Site, large: bool, verb: str, source: str, lasts: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = fill_folder(site, source)
    fill(site, *(f"files/docs/y/{name}" for name in ("1", "old/2", "old/3", "old/4")))
    old = below(site, "files/docs/y")
    main: Any = site.app.providers["main"]
    with monkeypatch.context() as patch:
        failing(patch, main, "docs/y", 2, lasts=lasts)
        with pytest.raises(Unavailable):
            replace(site, source, "files/docs/y", verb)
    job(site)
    assert below(site, "files/docs/y") == old
    kept = [below(site, source), *(below(site, one["address"]) for one in site.items("files/docs/") if "y (" in one["name"])]
    assert {name: data for one in kept for name, data in one.items()} == new
    is_clean(site)
    replace(site, source, "files/docs/y", verb)
    assert below(site, "files/docs/y") == new
    assert (source in tree(site, source[:-2])) == (verb == "copy")
    is_clean(site)


@pytest.mark.parametrize(("site", "large"), SIZES, indirect=True)
def test_what_becomes_free_is_room_and_what_has_none_leaves_all_as_it_was(site: Site, large: bool) -> None:
    for name in ("1", "2", "3", "4"):
        site.put(f"files/disk/y/{name}", body=b"o" * 200)
        site.put(f"files/docs/x/{name}", body=b"n" * 240)
    old = below(site, "files/disk/y")
    assert below(site, replace(site, "files/docs/x", "files/disk/y").location) == below(site, "files/docs/x") != old
    assert used(site, "disk") == 960
    site.put("files/docs/x/5", body=b"n" * 50)
    with pytest.raises(quota.NoRoom):
        replace(site, "files/docs/x", "files/disk/y")
    assert len(below(site, "files/disk/y")) == 4
    assert used(site, "disk") == 960


@pytest.mark.parametrize(("site", "large"), SIZES, indirect=True)
@pytest.mark.parametrize("ends", ["before", "within", "after"])
def test_a_process_that_ends_has_a_job_bring_back_what_was_there(
    site: Site, clock: Time, large: bool, ends: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = fill_folder(site, "files/docs/x")
    fill(site, *(f"files/docs/y/{name}" for name in ("1", "old/2", "old/3", "old/4")))
    old = below(site, "files/docs/y")

    def stop(*args: Any) -> None:
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(aside.Aside, "_back", stop)
        patch.setattr(big, "_taken_back", stop)
        patch.setattr(file_moves, "_undone", stop)
        if ends == "after":
            patch.setattr(aside.Aside, "_end", stop)
        elif ends == "before":
            patch.setattr(aside.Aside, "_carried", stop)
        else:
            failing(patch, site.app.providers["main"], "docs/y", 2, lasts=False)
        with pytest.raises((SystemExit, Unavailable)):
            replace(site, "files/docs/x", "files/docs/y")
    job(site)
    assert "files/docs/y/old/2" not in tree(site, "files/docs")  # as long as the process may be at work
    kept_job.Trash({}, site.app.config).run(site.app, threading.Event())
    monkeypatch.setattr(quota.Owner, "has_ended", lambda owner, id_: True)
    job(site)
    there = below(site, "files/docs/y")
    assert {name: there[name] for name in old.keys() - new.keys()} == {name: old[name] for name in old.keys() - new.keys()}
    assert old["/1"] in there.values()
    assert below(site, "files/docs/x") == new
    if renames(site) or ends == "before":
        assert there == old
    is_clean(site)


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("verb", ["copy", "move"])
def test_a_file_and_a_folder_replace_each_other(site: Site, fails: bool, verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(site, "files/docs/x/1", "files/docs/x/2", "files/docs/f", "files/docs/g")
    before = tree(site, "files/docs")
    for source, target in (("f", "x"), ("x", "g")):
        with monkeypatch.context() as patch:
            if not fails:
                replace(site, f"files/docs/{source}", f"files/docs/{target}", verb)
                assert (f"files/docs/{target}/1" in tree(site, "files/docs")) == (source == "x")
                fill(site, "files/docs/f")
                if source == "f":
                    site.delete("files/docs/x")
                    fill(site, "files/docs/x/1")
                continue
            failing(patch, site.app.providers["main"], f"docs/{target}", 0, lasts=False)
            with pytest.raises(Unavailable):
                replace(site, f"files/docs/{source}", f"files/docs/{target}", verb)
        assert tree(site, "files/docs") == before
    is_clean(site)


def test_a_folder_alone_replaces_what_is_there_or_leaves_it(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(site, "files/docs/y/1", "files/docs/y/2")
    before = tree(site, "files/docs")
    main: Any = site.app.providers["main"]

    def gone(path: str) -> None:
        raise Unavailable("the disk is gone")

    with monkeypatch.context() as patch, file_moves.clearing():
        patch.setattr(main, "make_folder", gone, raising=False)
        with pytest.raises((Unavailable, Unsupported)):
            site.create("files/docs/", {"folder": "y"})
    assert tree(site, "files/docs") == before
    if makes_folders(site):
        with file_moves.clearing():
            site.create("files/docs/", {"folder": "y"})
        assert tree(site, "files/docs") == {"files/docs/y": None}
    is_clean(site)


@pytest.mark.parametrize(("site", "large"), SIZES, indirect=True)
def test_nobody_replaces_what_he_may_not_delete(site: Site, large: bool) -> None:
    fill_folder(site, "files/docs/x")
    fill_folder(site, "files/docs/y")
    token = site.token("some", "files/docs/x:*", "files/docs/y:create", "files/docs/y:update", "files/docs/y/b:delete")
    before = tree(site, "files/docs")
    with pytest.raises(Forbidden):
        replace(site, "files/docs/x", "files/docs/y", by=token)
    assert tree(site, "files/docs") == before


def test_what_takes_long_to_be_ended_is_not_forgotten(site: Site, clock: Time, monkeypatch: pytest.MonkeyPatch) -> None:
    fill_folder(site, "files/docs/x")
    if not renames(site):
        return
    monkeypatch.setattr(big, "STEP_S", 0.0)
    site.delete("files/docs/x", params={"_tree": "1"})
    clock.now += 700
    kept_job.Trash({}, site.app.config).run(site.app, threading.Event())
    job(site)
    is_clean(site)
