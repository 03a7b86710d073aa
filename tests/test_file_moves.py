"""plugins/file_moves.py and file_trees.py: what is moved, copied, made and deleted in shares, on every provider."""

from __future__ import annotations

import errno
import os
import random
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from conftest import wait_for
from sites import Site, Time
from test_matrix import PROVIDERS, assemble, race

import app
from app import (
    AppError,
    BadRequest,
    Busy,
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    PreconditionFailed,
    Query,
    TooLarge,
    Unavailable,
    Unsupported,
    UnsupportedMedia,
)

LISTING = sorted(name for name in PROVIDERS if name not in ("generic-json-server", "generic-nginx"))
SHARES = """
[providers.disk]
kind = "file"
root = "other"
[files.docs]
provider = "main"
prefix = "docs/"
[files.more]
provider = "main"
prefix = "more/"
[files.pictures]
provider = "main"
prefix = "pictures/"
accept = [".png"]
max_file = "1KB"
[files.disk]
provider = "disk"
"""


@pytest.fixture(params=LISTING)
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    declared = PROVIDERS[request.param](tmp_path)
    whole = assemble(tmp_path, declared + SHARES)
    assert whole.faults == []
    assert whole.inspection.create()[1] == []
    whole.close()
    made = Site(tmp_path, declared + SHARES)
    yield made
    made.close()


def tree(site: Site, address: str) -> dict[str, Any]:
    """All files below an address with their bytes, and folders with None."""
    found: dict[str, Any] = {}
    for row in site.items(address):
        inner = row["address"]
        if row["type"] == "folder":
            found[inner] = None
            found |= tree(site, inner)
        else:
            found[inner] = site.bytes(inner)
    return found


def makes_folders(site: Site) -> bool:
    return bool(site.app.providers["main"].makes_folders)  # type: ignore[attr-defined]


def fill(site: Site, *addresses: str) -> None:
    for address in addresses:
        site.put(address, body=address.encode())


def test_a_file_is_renamed_moved_and_copied(site: Site) -> None:
    fill(site, "files/docs/a.txt")
    made = site.create("files/docs/a.txt", {"move": "files/docs/b%20%C3%A9.txt"})
    assert (made.created, made.location, made.data["type"]) == (True, "files/docs/b%20%C3%A9.txt", "file")
    assert made.etag == site.read("files/docs/b é.txt").etag
    copied = site.create("files/docs/b é.txt", {"copy": "/files/more/deep/er/c.txt"})
    assert copied.location == "files/more/deep/er/c.txt"
    other = site.create("files/docs/b é.txt", {"move": "files/disk/c.txt"})
    assert other.location == "files/disk/c.txt"
    assert tree(site, "files/docs") == {}
    assert site.bytes("files/more/deep/er/c.txt") == site.bytes("files/disk/c.txt") == b"files/docs/a.txt"
    [entry] = [e for e in site.audit(resource="files/docs/b%20%C3%A9.txt", outcome="ok") if "from" in e["after"]]
    assert (entry["after"]["from"], entry["after"]["to"]) == ("files/docs/b%20%C3%A9.txt", "files/disk/c.txt")


def test_a_folder_goes_with_all_that_is_in_it(site: Site) -> None:
    names = ("a", "b/c", "b/d/e", "æ ø/f")
    fill(site, *(f"files/docs/x/{name}" for name in names))
    made_folders = 0
    for folder in ("x", "x/b/"):
        if makes_folders(site):
            site.create(f"files/docs/{folder}", {"folder": "empty"})
            made_folders += 1
        else:
            with pytest.raises(Unsupported):
                site.create(f"files/docs/{folder}", {"folder": "empty"})
    before = {one.removeprefix("files/docs/x"): content for one, content in tree(site, "files/docs/x").items()}
    assert len([one for one in before.values() if one is None]) == 3 + made_folders
    for where, verb in (
        ("more/y", "copy"),
        ("disk/y/z", "copy"),
        ("docs/w", "move"),
        ("disk/v", "move"),
        ("more/u", "move"),
    ):
        source = "files/disk/v" if where == "more/u" else "files/docs/w" if where == "disk/v" else "files/docs/x"
        made = site.create(source, {verb: f"files/{where}"})
        assert (made.created, made.location, made.data["type"]) == (True, f"files/{where}", "folder")
        assert (made.data["files"], made.data["folders"]) == (4, 4 + made_folders)
        after = {one.removeprefix(f"files/{where}"): content for one, content in tree(site, f"files/{where}").items()}
        assert after == before
        if verb == "move":
            with pytest.raises(NotFound):
                site.items(source)
    gone = site.delete("files/more/u", params={"_tree": "1"})
    assert (gone.data["files"], gone.data["folders"]) == (4, 4 + made_folders)
    assert not any(one.startswith("files/more/u") for one in tree(site, "files/more"))
    site.delete("files/more/y/", params={"_tree": "1"})
    site.delete("files/disk/y", params={"_tree": "1"})
    for share in ("docs", "more", "disk"):
        assert tree(site, f"files/{share}") == {}


REFUSED: list[tuple[str, dict[str, Any], type[AppError]]] = [
    ("files/docs/a", {"move": "files/docs/x/b"}, Conflict),  # exists
    ("files/docs/a", {"copy": "files/docs/x"}, Conflict),  # is a folder
    ("files/docs/a", {"copy": "files/docs/x", "overwrite": True}, Conflict),
    ("files/docs/x", {"move": "files/docs/a", "overwrite": True}, Conflict),  # is a file
    ("files/docs/x", {"move": "files/docs/y"}, Conflict),
    ("files/docs/x", {"move": "files/docs/x/deeper"}, Conflict),
    ("files/docs/x", {"copy": "files/docs/x/deeper/still"}, Conflict),
    ("files/docs/x", {"copy": "files/docs/x"}, Conflict),
    ("files/docs/a", {"move": "files/docs/a", "overwrite": True}, Conflict),
    ("files/docs/a", {"move": "files/docs/a/b"}, Conflict),
    ("files/docs/y/z", {"move": "files/docs/y", "overwrite": True}, Conflict),
    ("files/docs", {"move": "files/more/all"}, BadRequest),
    ("files/docs", {"copy": "files/docs/all"}, Conflict),
    ("files/docs/none", {"move": "files/docs/new"}, NotFound),
    ("files/docs/a", {"move": "files/nowhere/new"}, NotFound),
    ("files/docs/a", {"move": "files/pictures/a"}, UnsupportedMedia),
    ("files/docs/a", {"move": "files/pictures/a.png"}, TooLarge),
    ("files/docs/x", {"copy": "files/pictures/x"}, UnsupportedMedia),
    ("files/docs/a", {"move": "files/docs/../b"}, BadRequest),
    ("files/docs/a", {"move": "files/docs/b//c"}, BadRequest),
    ("files/docs/a", {"move": "files/docs/" + "x" * 256}, BadRequest),
    ("files/docs/a", {"move": "files/docs/con"}, BadRequest),
    ("files/docs/a", {"move": "files/docs"}, Invalid),
    ("files/docs/a", {"move": "forms/docs/a"}, Invalid),
    ("files/docs/a", {"move": 7}, Invalid),
    ("files/docs/a", {"move": "files/docs/n", "overwrite": 1}, Invalid),
    ("files/docs/a", {"move": "files/docs/n", "more": True}, Invalid),
    ("files/docs/a", {"move": "files/docs/n", "copy": "files/docs/m"}, BadRequest),
    ("files/docs/a", {}, BadRequest),
    ("files/docs/a", {"folder": "n"}, NotFound),
    ("files/docs/none", {"folder": "n"}, NotFound),
    ("files/docs", {"folder": "x"}, Conflict),
    ("files/docs", {"folder": "a"}, Conflict),
    ("files/docs", {"folder": "a/b"}, BadRequest),
    ("files/docs", {"folder": ".."}, BadRequest),
    ("files/docs", {"folder": "n", "overwrite": True}, Invalid),
]


def test_what_cannot_be_is_refused_and_changes_nothing(site: Site) -> None:
    fill(site, "files/docs/x/b", "files/docs/x/c.png", "files/docs/y/z/d")
    site.put("files/docs/a", body=b"x" * 1001)
    before = {share: tree(site, f"files/{share}") for share in ("docs", "more", "pictures", "disk")}
    for address, data, wanted in REFUSED:
        if "folder" in data and not makes_folders(site) and wanted in (NotFound, Conflict):
            wanted = Unsupported
        with pytest.raises(wanted) as refused:
            site.create(address, data)
        assert type(refused.value) in (wanted, *wanted.__subclasses__()), (address, data)
    with pytest.raises(BadRequest):
        site.delete("files/docs/", params={"_tree": "1"})
    with pytest.raises(Conflict, match="_tree=1"):
        site.delete("files/docs/x")
    with pytest.raises(NotFound):
        site.delete("files/docs/none", params={"_tree": "1"})
    assert before == {share: tree(site, f"files/{share}") for share in before}


def test_what_is_there_is_replaced_only_where_it_is_said(site: Site) -> None:
    fill(site, "files/docs/a", "files/docs/b", "files/docs/x/1", "files/docs/x/2", "files/more/x/2", "files/more/x/3")
    replaced = site.create("files/docs/a", {"move": "files/docs/b", "overwrite": True})
    assert (replaced.created, site.bytes("files/docs/b")) == (False, b"files/docs/a")
    for where in ("more", "disk"):
        site.create("files/docs/x", {"copy": f"files/{where}/x", "overwrite": True})
    site.create("files/docs/x", {"move": "files/disk/x", "overwrite": True})
    assert tree(site, "files/docs") == {"files/docs/b": b"files/docs/a"}
    assert {one[-1]: content for one, content in tree(site, "files/more/x").items()} == {
        "1": b"files/docs/x/1", "2": b"files/docs/x/2", "3": b"files/more/x/3",
    }  # fmt: skip
    assert sorted(tree(site, "files/disk/x")) == ["files/disk/x/1", "files/disk/x/2"]


def test_a_stale_etag_moves_nothing(site: Site) -> None:
    made = site.put("files/docs/a", body=b"a")
    with pytest.raises(PreconditionFailed):
        site.create("files/docs/a", {"move": "files/docs/b"}, if_match="other")
    with pytest.raises(PreconditionFailed):
        site.create("files/docs/a", {"move": "files/docs/b"}, if_none_match=made.etag)
    assert site.create("files/docs/a", {"move": "files/docs/b"}, if_match=made.etag).created


def test_a_file_gets_another_time_where_times_are_kept(site: Site) -> None:
    made = site.put("files/docs/a", body=b"a")
    share: Any = site.app.resources["files/docs"]
    wish = {"modified_at": "2017-07-14T04:40:00.250+02:00"}
    if not share.blobs.keeps_times:
        with pytest.raises(Unsupported, match="the time at which they came"):
            site.create("files/docs/a", wish)
        return
    done = site.create("files/docs/a", wish, if_match=made.etag)
    assert (done.created, done.data["modified_at"]) == (False, "2017-07-14T02:40:00.250Z")
    [row] = site.items("files/docs/")
    assert (row["modified_at"], row["etag"]) == ("2017-07-14T02:40:00.250Z", done.etag)
    assert site.bytes("files/docs/a") == b"a"
    told = [(one["action"], one["outcome"], one["after"]) for one in site.audit(resource="files/docs/a")[-2:]]
    assert told == [("update", outcome, {"modified_at": "2017-07-14T02:40:00.250Z"}) for outcome in ("intent", "ok")]
    for text in ("soon", "1969-12-31T23:59:59Z", "2017-07-14", 1500000000):
        with pytest.raises(Invalid):
            site.create("files/docs/a", {"modified_at": text})
    with pytest.raises(PreconditionFailed):
        site.create("files/docs/a", wish, if_match="other")
    for address in ("files/docs/none", "files/docs/", "files/docs"):
        with pytest.raises(NotFound):
            site.create(address, wish)
    with pytest.raises(Forbidden) as refused:
        site.create("files/docs/a", wish, by=site.token("bo", "files/docs:read,create,delete"))
    assert refused.value.needed == "files/docs/a:update"


GRANTS: list[tuple[str, dict[str, Any], tuple[str, ...], str]] = [  # the last is what lacks, "" if nothing does
    ("files/docs/x", {"copy": "files/more/x"}, ("files/docs:read", "files/more:create"), ""),
    ("files/docs/x", {"copy": "files/more/x"}, ("files/docs:read",), "files/more/x:create"),
    ("files/docs/x", {"copy": "files/more/x"}, ("files/more:create",), "files/docs/x:create"),
    ("files/docs/x", {"copy": "files/more/x"}, ("files/docs:update,delete", "files/more:create"), "files/docs/x:read"),
    ("files/docs/x", {"copy": "files/more/x"}, ("files/docs/x/1:read", "files/docs/*:read", "files/more:*"),
     "files/docs/x/2:read"),
    ("files/docs/x", {"copy": "files/more/x"}, ("files/docs:read", "files/more/*:create"), "files/more/x/1:create"),
    ("files/docs/x", {"move": "files/more/x"}, ("files/docs:read", "files/more:*"), "files/docs/x:delete"),
    ("files/docs/x", {"move": "files/more/x"}, ("files/docs:delete", "files/more:create"), ""),
    ("files/docs/x", {"move": "files/more/x"}, ("files/docs:delete", "files/more:*"), "files/docs/x:read"),
    ("files/docs/x", {"move": "files/docs/y"}, ("files/docs:delete",), "files/docs/y:create"),
    ("files/docs/x/1", {"move": "files/docs/x/2", "overwrite": True}, ("files/docs:delete,create",),
     "files/docs/x/2:update"),
    ("files/docs/x/1", {"move": "files/docs/x/2", "overwrite": True}, ("files/docs:delete,update",), ""),
    ("files/docs/x/1", {"move": "files/docs/x/3", "overwrite": True}, ("files/docs:delete,update",),
     "files/docs/x/3:create"),
    ("files/docs/x", {"folder": "y"}, ("files/docs:read,update,delete",), "files/docs/x/y:create"),
    ("files/docs/x", {"folder": "y"}, ("files/docs:create",), ""),
    ("files/docs/x", {"move": "files/nowhere/x"}, ("files/docs:delete",), "files/nowhere/x:create"),
]  # fmt: skip


def test_each_entry_needs_its_grants(site: Site) -> None:
    fill(site, "files/docs/x/1", "files/docs/x/2")
    for number, (address, data, grants, lacks) in enumerate(GRANTS):
        if "folder" in data and not makes_folders(site):
            continue
        by = site.token(f"who{number}", *grants)
        if lacks:
            with pytest.raises(Forbidden) as refused:
                site.create(address, data, by=by)
            assert refused.value.needed == lacks, (address, data, grants)
            assert sorted(tree(site, "files/docs/x")) == ["files/docs/x/1", "files/docs/x/2"]
            assert tree(site, "files/more") == {}
        else:
            site.create(address, data, by=by)
            for share in ("docs", "more"):
                for row in site.items(f"files/{share}"):
                    site.delete(row["address"], params={"_tree": "1"})
            fill(site, "files/docs/x/1", "files/docs/x/2")
    with pytest.raises(Forbidden) as refused:
        site.delete(
            "files/docs/x", params={"_tree": "1"}, by=site.token("bo", "files/docs/x/1:delete", "files/docs/*:delete")
        )
    assert refused.value.needed == "files/docs/x/2:delete"


def test_a_repeat_has_one_effect(site: Site) -> None:
    fill(site, "files/docs/a", "files/docs/x/1")
    for address, data in (
        ("files/docs/a", {"move": "files/docs/b"}),
        ("files/docs/x", {"copy": "files/disk/x"}),
        ("files/docs/x", {"move": "files/disk/y"}),
        ("files/disk", {"folder": "f"}),
    ):
        first, again = (site.create(address, data, idempotency_key=str(data)) for _ in range(2))
        assert (first.replayed, again.replayed) == (False, True)
        assert (again.location, again.created) == (first.location, True)


def test_a_repeat_waits_for_a_first_try_that_takes_longer_than_a_minute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Time()
    site = Site(tmp_path, PROVIDERS["sql"](tmp_path) + SHARES, clock=clock)
    fill(site, "files/docs/a")
    monkeypatch.setattr(app.plugin("at_work"), "_EVERY_S", 0.01)
    blobs, goes_on, copies = site.app.resources["files/docs"].blobs, threading.Event(), []
    copy = blobs.copy

    def slow(source: str, target: str) -> Any:
        copies.append(target)
        assert goes_on.wait(30)
        return copy(source, target)

    monkeypatch.setattr(blobs, "copy", slow)
    asked = partial(site.create, "files/docs/a", {"copy": "files/docs/b"}, idempotency_key="k")
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(asked)
        for _ in range(3):
            wait_for(lambda: copies, "the first try to be at work")
            clock.now += 59
            [row] = wait_for(
                lambda: [one for one in site.app.state.walk(Query("_requests")) if one.value["at"] == clock.now],
                "a sign of life",
            )
            assert row.value["answer"] is None
        with pytest.raises(Busy):
            asked()
        goes_on.set()
        assert first.result(30).created
    assert copies == ["docs/b"]
    assert asked().replayed
    site.close()


def winners(answers: list[Any]) -> int:
    for one in answers:
        assert not isinstance(one, AppError) or isinstance(one, NotFound | Conflict), one
    return sum(not isinstance(one, AppError) for one in answers)


@pytest.mark.parametrize("where", ["docs", "disk"])
def test_of_racing_moves_of_a_file_one_wins(site: Site, where: str) -> None:
    fill(site, "files/docs/a")
    answers = race(lambda number: site.create("files/docs/a", {"move": f"files/{where}/to{number}"}))
    assert winners(answers) == 1
    assert list((tree(site, "files/docs") | tree(site, f"files/{where}")).values()) == [b"files/docs/a"]


@pytest.mark.parametrize("where", ["docs", "disk"])
def test_of_racing_moves_to_one_place_one_wins_and_nothing_is_lost(site: Site, where: str) -> None:
    fill(site, *(f"files/docs/{number}" for number in range(8)))
    answers = race(lambda number: site.create(f"files/docs/{number}", {"move": f"files/{where}/to"}))
    assert winners(answers) == 1
    assert sorted((tree(site, "files/docs") | tree(site, f"files/{where}")).values()) == [
        f"files/docs/{number}".encode() for number in range(8)
    ]


class Shelf:
    """What shares hold, as a model: files with their bytes, and folders that were made or came with what was in them."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.folders = {"docs", "more", "disk"}

    def is_folder(self, path: str) -> bool:
        return path in self.folders or any(one.startswith(f"{path}/") for one in (*self.files, *self.folders))

    def below(self, path: str) -> tuple[list[str], list[str]]:
        """The files and folders in a folder."""
        inside = f"{path}/"
        files = [one for one in self.files if one.startswith(inside)]
        parents = {one[: len(inside) + at] for one in (*files, *self.folders) if one.startswith(inside)
                   for at, letter in enumerate(f"{one[len(inside):]}/") if letter == "/"}  # fmt: skip
        return files, sorted(one for one in parents if one not in self.files)

    def put(self, path: str, data: bytes) -> bool:
        parts = path.split("/")
        if self.is_folder(path) or any("/".join(parts[:n]) in self.files for n in range(1, len(parts))):
            return False
        self.files[path] = data
        return True

    def make(self, path: str) -> bool:
        parent = path.rpartition("/")[0]
        if path in self.files or self.is_folder(path) or not self.is_folder(parent):
            return False
        self.folders.add(path)
        return True

    def transfer(self, source: str, target: str, moves: bool, overwrite: bool) -> bool:
        within = source.partition("/")[0] == target.partition("/")[0]
        if within and (f"{target}/".startswith(f"{source}/") or f"{source}/".startswith(f"{target}/")):
            return False
        above = target.split("/")
        if any("/".join(above[:n]) in self.files for n in range(1, len(above))):
            return False
        if source in self.files:
            if self.is_folder(target) or (target in self.files and not overwrite):
                return False
            self.files[target] = self.files[source]
            if moves:
                del self.files[source]
            return True
        if not self.is_folder(source) or target in self.files or (self.is_folder(target) and not overwrite):
            return False
        files, folders = self.below(source)
        there = {one: target + one.removeprefix(source) for one in (*files, *folders)}
        if any(self.is_folder(there[one]) for one in files) or any(there[one] in self.files for one in folders):
            return False
        self.files |= {there[one]: self.files[one] for one in files}
        self.folders |= {target, *(there[one] for one in folders)}
        if moves:
            self.remove(source)
        return True

    def remove(self, path: str) -> bool:
        if path in self.files:
            del self.files[path]
            return True
        if not self.is_folder(path):
            return False
        files, _ = self.below(path)
        for one in files:
            del self.files[one]
        self.folders = {one for one in self.folders if one != path and not one.startswith(f"{path}/")}
        return True

    def whole(self) -> dict[str, Any]:
        found: dict[str, Any] = {f"files/{path}": data for path, data in self.files.items()}
        for share in ("docs", "more", "disk"):
            found |= {f"files/{path}": None for path in self.below(share)[1]}
        return found


PATHS = ["a", "b", "a/b", "a/c", "b/a", "b/a/c", "d/e/f", "d/e"]


@pytest.mark.parametrize("seed", range(2))
def test_random_operations_do_what_the_model_does(site: Site, seed: int) -> None:
    chance, shelf, refused = random.Random(seed), Shelf(), 0
    shares = ["docs", "more", "disk"]
    place = lambda: f"{chance.choice(shares)}/{chance.choice(PATHS)}"  # noqa: E731
    for number in range(60):
        source, target, overwrite = place(), place(), chance.random() < 0.4
        verb = chance.choice(["put", "put", "move", "move", "copy", "copy", "folder", "delete"])
        if verb == "folder" and not (makes_folders(site) or source.startswith("disk")):
            continue
        before = Shelf()
        before.files, before.folders = dict(shelf.files), set(shelf.folders)
        try:
            match verb:
                case "put":
                    wanted = shelf.put(source, b"%d" % number)
                    site.put(f"files/{source}", body=b"%d" % number)
                case "folder":
                    wanted = shelf.make(source)
                    folder, _, name = source.rpartition("/")
                    site.create(f"files/{folder}", {"folder": name})
                case "delete":
                    wanted = shelf.remove(source)
                    site.delete(f"files/{source}", params={"_tree": "1"})
                case _:
                    wanted = shelf.transfer(source, target, verb == "move", overwrite)
                    site.create(f"files/{source}", {verb: f"files/{target}", "overwrite": overwrite})
        except (Conflict, NotFound, Unsupported):
            refused += 1
            assert not wanted, (number, verb, source, target, overwrite)
        else:
            assert wanted, (number, verb, source, target, overwrite)
        found: dict[str, Any] = {}
        for share in shares:
            found |= tree(site, f"files/{share}")
        kept = shelf.whole()
        if makes_folders(site):  # a folder that nobody made by itself may go with its last file
            for path in [one for one, data in kept.items() if data is None and one not in found]:
                del kept[path]
        assert {one: data for one, data in found.items() if data is not None} == {
            one: data for one, data in kept.items() if data is not None
        }, (number, verb, source, target, overwrite)
        made = {f"files/{one}" for one in shelf.folders if "/" in one}
        assert not makes_folders(site) or made <= {*found}, (number, verb, source, target, overwrite)
    assert 10 < refused < 50


# ---- durable


def test_many_files_are_durable_before_the_answer_with_one_sync_of_each_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = Site(tmp_path, '[providers.main]\nkind = "sql"\nurl = "sqlite:///app.db"\n' + SHARES)
    fill(site, *(f"files/disk/a/{number}" for number in range(30)))
    synced, fsync = list[str](), os.fsync

    def spy(descriptor: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", spy)
    root = tmp_path.resolve() / "other"

    def inside() -> list[str]:
        found = [one for one in synced if one.startswith(f"{root}")]
        synced.clear()
        return found

    site.create("files/disk/a", {"copy": "files/disk/b"})
    first = inside()
    assert len([one for one in first if "/staged/" in one]) == 30  # the bytes of each, once
    assert first.count(str(root / "b")) == first.count(str(root)) == 1  # and then the names of all of them
    assert min(first.index(str(root / "b")), first.index(str(root))) >= 30
    site.delete("files/disk/b", params={"_tree": "1"})
    assert inside().count(str(root)) == 1
    refused: list[str] = []

    def fail_once(descriptor: int) -> None:
        place = os.readlink(f"/proc/self/fd/{descriptor}")
        if place == str(root / "c") and not refused:
            refused.append(place)
            raise OSError(errno.EIO, "no")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", fail_once)
    with pytest.raises(Unavailable):
        site.create("files/disk/a", {"copy": "files/disk/c"})
    assert refused
    assert not (root / "c").exists()
    assert len(tree(site, "files/disk/a/")) == 30
    site.close()
