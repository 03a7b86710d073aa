"""What is true of folders only: the journal, links, special files, and files that other programs use too."""

import errno
import hashlib
import itertools
import os
import random
import shutil
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sites import Time, everything, mode

import app
from app import Condition, Delete, Insert, Query, Record, Update

FILE = app.plugin("file")


@pytest.fixture
def clock() -> Time:
    return Time()


@pytest.fixture
def file(tmp_path: Path, clock: Time) -> Iterator[Any]:
    provider = FILE.FileProvider("share", {"root": "data"}, tmp_path, clock=clock)
    provider.open()
    yield provider
    provider.close()


def another(provider: Any, folder: Path) -> Any:
    twin = FILE.FileProvider(provider.name, {"root": "data"}, folder)
    twin.open()
    return twin


def noting(
    seen: list[Any], work: Callable[..., Any], of: Callable[..., Any] = lambda first, *_: first
) -> Callable[..., Any]:
    """`work`, which adds what `of` makes of its arguments to `seen`."""

    def noted(*args: Any, **more: Any) -> Any:
        seen.append(of(*args))
        return work(*args, **more)

    return noted


# ---- the journal


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "data/.satchel/journal.jsonl"


def test_a_line_is_a_commit_and_is_json(file: Any, journal: Path) -> None:
    file.commit([Insert("t", "a", {"n": 1}), Insert("t", "ü", {"d": Decimal("12345678901234567890.123")})])
    file.commit([Delete("t", "a")])
    lines = [app.load_json(line) for line in journal.read_bytes().splitlines()]
    assert [line[1:] for line in lines] == [
        [[[["t", "a", 1, {"n": 1}], ["t", "ü", 1, {"d": Decimal("12345678901234567890.123")}]]]],
        [[[["t", "a", 0, None]]]],
    ]
    assert stat.S_IMODE(journal.stat().st_mode) == 0o600
    assert stat.S_IMODE(journal.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize("cut", [1, 2, 15, -1])
def test_the_torn_end_of_a_crashed_writer_is_passed_over_and_cut_off(
    file: Any, journal: Path, tmp_path: Path, cut: int
) -> None:
    file.commit([Insert("t", "a", {"n": 1})])
    whole = journal.read_bytes()
    file.commit([Insert("t", "b", {"n": 2})])
    torn = journal.read_bytes()
    torn = torn[:-cut] if cut > 0 else torn[: len(whole) + 5] + b"\0" * (len(torn) - len(whole) - 6) + b"\n"
    file.close()
    journal.write_bytes(torn)
    file.open()
    other = another(file, tmp_path)
    assert [r.key for r in other.find(Query("t")).items] == ["a"]
    assert journal.read_bytes() == torn
    file.commit([Insert("t", "b", {"n": 3})])
    assert journal.read_bytes().startswith(whole)
    assert other.get("t", "b") == file.get("t", "b") == Record("b", 1, {"n": 3})
    other.close()


@pytest.mark.parametrize("times", [1, 3])
def test_a_line_over_a_torn_end_of_its_length_or_more_is_noticed_and_whole(
    file: Any, journal: Path, tmp_path: Path, times: int
) -> None:
    file.commit([Insert("t", "a", {"n": 1})])
    with open(journal, "ab") as end:
        end.write(b"x" * len(journal.read_bytes()) * times)
    other = another(file, tmp_path)
    assert other.get("t", "b") is None
    file.commit([Insert("t", "b", {"n": 1})])
    assert other.get("t", "b")
    assert len(journal.read_bytes().splitlines()) == 2
    assert journal.read_bytes().endswith(b"]\n")
    other.close()


@pytest.mark.parametrize("line", [1, 2, 3])
def test_the_records_of_a_damaged_line_are_marked_and_the_others_served(
    file: Any, journal: Path, caplog: pytest.LogCaptureFixture, line: int
) -> None:
    for n in range(3):
        file.commit([Insert("t", f"{n}", {"n": n})])
    file.close()
    lines = journal.read_bytes().splitlines(keepends=True)
    lines[line - 1] = lines[line - 1].replace(b'"n"', b'"m"')
    journal.write_bytes(b"".join(lines))
    file.open()
    for records in ([file.get("t", f"{n}") for n in range(3)], file.find(Query("t")).items):
        assert [record.damage != "" for record in records] == [n == line - 1 for n in range(3)]
        assert [record.value for record in records] == [{} if n == line - 1 else {"n": n} for n in range(3)]
    assert file.count(Query("t", (Condition("n", "gte", 0),))) == 2
    assert [words for words in file.warnings() if f"line {line} of its journal is damaged" in words]
    assert len(caplog.records) == 1
    file.commit([Update("t", f"{line - 1}", {"n": 7}, 1)])
    assert file.get("t", f"{line - 1}") == Record(f"{line - 1}", 2, {"n": 7})
    assert journal.read_bytes().startswith(b"".join(lines))


@pytest.mark.parametrize("line", [1, 2, 3])
def test_a_damaged_line_that_does_not_tell_of_what_is_never_guessed_over(
    file: Any, journal: Path, tmp_path: Path, line: int
) -> None:
    for n in range(3):
        file.commit([Insert("t", f"{n}", {"n": n})])
    file.close()
    lines = journal.read_bytes().splitlines(keepends=True)
    lines[line - 1] = lines[line - 1].replace(b'"n"', b'"n')
    journal.write_bytes(b"".join(lines))
    file.open()
    for work in (partial(file.get, "t", "0"), partial(file.commit, [Insert("t", "9", {})])):
        with pytest.raises(app.Unavailable, match=f"provider share: line {line} of its journal is damaged") as caught:
            work()
        assert str(tmp_path) in caught.value.hint
    assert journal.read_bytes() == b"".join(lines)


def test_a_journal_that_is_taken_away_is_noticed(file: Any, journal: Path) -> None:
    file.commit([Insert("t", "a", {})])
    journal.unlink()
    for work in (partial(file.get, "t", "a"), partial(file.commit, [Insert("t", "b", {})])):
        with pytest.raises(app.Unavailable, match="gone"):
            work()
    assert not journal.exists()


def test_a_journal_that_a_restore_put_in_place_is_read_anew(file: Any, journal: Path) -> None:
    file.commit([Insert("t", "a", {})])
    saved = journal.with_name("copy")
    saved.write_bytes(journal.read_bytes())
    file.commit([Insert("t", "b", {})])
    os.replace(saved, journal)
    assert [r.key for r in file.find(Query("t")).items] == ["a"]
    assert file.commit([Insert("t", "b", {})]) == [Record("b", 1, {})]


def test_the_journal_is_compacted_while_another_follows(file: Any, journal: Path, tmp_path: Path) -> None:
    follower = another(file, tmp_path)
    file.commit([Insert("t", f"{n}", {"n": 0}) for n in range(100)])
    pages = follower.walk(Query("t"))
    next(pages)
    largest = 0
    for round_ in range(30):
        file.commit([Update("t", f"{n}", {"n": round_}) for n in range(100)])
        largest = max(largest, journal.stat().st_size)
        assert {r.value["n"] for r in follower.find(Query("t", limit=500)).items} == {round_}
    assert largest < 100_000
    assert len(list(pages)) == 99
    follower.commit([Update("t", "1", {"n": "followed"})])
    assert file.get("t", "1") == Record("1", 32, {"n": "followed"})
    assert [p.name for p in journal.parent.iterdir() if p.suffix == ".new"] == []
    again = another(file, tmp_path)
    assert again.count(Query("t")) == 100
    again.close()
    follower.close()


def test_a_compaction_that_fails_is_warned_of_and_loses_nothing(
    file: Any, journal: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def replace(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "replace", replace)
    for n in range(12):
        file.commit([Update("t", f"{k}", {"n": n}) for k in range(100)])
    assert any("compacted" in warning for warning in file.warnings())
    assert sorted(path.name for path in journal.parent.iterdir()) == ["journal.jsonl", "lock", "staged"]
    other = another(file, tmp_path)
    assert {r.value["n"] for r in other.walk(Query("t"))} == {11}
    other.close()


def test_a_compaction_whose_end_is_not_known_leaves_no_commit_in_a_lost_file(
    file: Any, journal: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = app.plugin("disk")
    sync, failed = disk.sync_folder, list[Any]()

    def fail_once(path: Any) -> None:
        if journal.stat().st_size > 100 and len(failed) < 1:
            failed.append(path)
            raise OSError(errno.EIO, "the new journal is in its place, and nobody knows how firmly")
        sync(path)

    file.commit([Insert("t", f"{k}", {"n": -1}) for k in range(100)])
    monkeypatch.setattr(FILE, "sync_folder", fail_once)
    monkeypatch.setattr(disk, "sync_folder", fail_once)
    for n in range(12):
        file.commit([Update("t", f"{k}", {"n": n}) for k in range(100)])
    assert failed
    other = another(file, tmp_path)
    assert {r.value["n"] for r in other.walk(Query("t"))} == {r.value["n"] for r in file.walk(Query("t"))} == {11}
    other.close()


def test_what_a_broken_off_compaction_left_goes_with_the_next(file: Any, journal: Path) -> None:
    file.commit([Insert("t", "a", {})])
    left = journal.with_name(".journal.jsonl.0123456789abcdef")
    left.write_bytes(b"half")
    for n in range(1100):
        file.commit([Update("t", "a", {"n": n})])
    assert not left.exists()
    assert not file.warnings()


@pytest.mark.parametrize("call", ["write", "fsync", "short"])
def test_a_failed_write_leaves_the_old_state_whole(
    file: Any, journal: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    file.commit([Insert("t", "a", {"n": 1})])
    before, write, tries = journal.read_bytes(), os.write, iter([call])

    def fail(descriptor: int, data: bytes = b"") -> int:
        if next(tries, "") == "short":
            return write(descriptor, data[:10])
        raise OSError(errno.ENOSPC if call != "fsync" else errno.EIO, "no")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync" if call == "fsync" else "write", fail)
        with pytest.raises(app.Unavailable if call == "fsync" else app.StorageFull) as caught:
            file.commit([Update("t", "a", {"n": 2})])
    assert str(tmp_path) not in caught.value.message
    assert journal.read_bytes() == before
    assert file.get("t", "a") == Record("a", 1, {"n": 1})
    assert file.commit([Update("t", "a", {"n": 3}, version=1)]) == [Record("a", 2, {"n": 3})]
    other = another(file, tmp_path)
    assert other.get("t", "a") == Record("a", 2, {"n": 3})
    other.close()


def test_a_commit_is_synced_and_so_is_the_name_of_a_new_journal(
    file: Any, journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    fsync = os.fsync

    def spy(descriptor: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", spy)
    file.commit([Insert("t", "a", {})])
    assert synced[-2:] == [str(journal.parent), str(journal)]
    file.commit([Insert("t", "b", {})])
    assert synced.count(str(journal)) == 2
    inode = journal.stat().st_ino
    while journal.stat().st_ino == inode:
        file.commit([Update("t", f"{n}", {}) for n in range(300)])
    assert synced[-2].startswith(f"{journal.parent}/.journal.jsonl.")
    assert synced[-1] == str(journal.parent)
    file.commit([Insert("t", "c", {})])
    assert synced[-1] == str(journal)


# ---- blobs


def test_files_are_plain_files_that_other_programs_may_use(file: Any, tmp_path: Path) -> None:
    root = tmp_path / "data"
    first = file.write("docs/a.txt", [b"hello"])
    assert (root / "docs/a.txt").read_bytes() == b"hello"
    (root / "docs/a.txt").write_bytes(b"changed outside")
    (root / "b.txt").write_bytes(b"new")
    (root / "empty/folder").mkdir(parents=True)
    assert file.stat("docs/a.txt") != first
    with pytest.raises(app.PreconditionFailed):
        file.write("docs/a.txt", [b"x"], if_match=first.etag)
    assert [e.path for e in file.scan()] == ["b.txt", "docs/a.txt"]
    assert [e.path for e in file.scan(deep=False)] == ["b.txt", "docs", "empty"]
    assert file.is_folder("empty/folder")
    with pytest.raises(app.Conflict):
        file.write("empty", [b"x"])


def test_a_reader_can_be_sent_by_descriptor(file: Any) -> None:
    file.write("a", [b"0123456789"])
    reader = file.read("a", 3, 4)
    assert (reader.start, reader.length) == (3, 4)
    assert os.pread(reader.fileno(), reader.length, reader.start) == b"3456"
    reader.close()
    reader.close()
    with closing(file.read("a", 8, 100)) as rest:
        assert rest.length == 2


def test_a_file_that_is_cut_while_it_is_read_is_an_error_and_not_an_end(file: Any, tmp_path: Path) -> None:
    file.write("a", [b"x" * 600_000])
    with closing(file.read("a")) as reader:
        chunks = iter(reader)
        next(chunks)
        os.truncate(tmp_path / "data/a", 300_000)
        with pytest.raises(app.Unavailable, match="shorter"):
            list(chunks)


def test_the_providers_own_folder_is_reserved(file: Any) -> None:
    file.commit([Insert("t", "a", {})])
    file.write("ok/.satchel/a", [b"only the one at the top is reserved"])
    for path in (".satchel", ".satchel/journal.jsonl", ".Satchel/x", ".satchel/staged/x"):
        for work in (partial(file.read, path), partial(file.write, path, [b"x"]), partial(file.remove, path)):
            with pytest.raises(app.BadRequest):
                work()
        with pytest.raises(app.BadRequest):
            file.move("ok/.satchel/a", path)
        assert file.stat(path) is None
        assert not file.is_folder(path)
        assert list(file.scan(path)) == []
    assert [e.path for e in file.scan()] == ["ok/.satchel/a"]
    assert [e.path for e in file.scan(deep=False)] == ["ok"]


def test_links_that_leave_the_root_are_invisible_and_refused(file: Any, tmp_path: Path) -> None:
    file.write("a", [b"x"])
    root, outside = tmp_path / "data", tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("secret")
    (root / "file").symlink_to(outside / "secret")
    (root / "folder").symlink_to(outside)
    (root / "up").symlink_to("..")
    (root / "own").symlink_to(".satchel")
    (root / "sibling").symlink_to(tmp_path / "data-other")
    for path in ("file", "folder/secret", "folder/new", "up/outside/secret", "own/lock", "sibling"):
        for work in (partial(file.read, path), partial(file.write, path, [b"x"]), partial(file.remove, path)):
            with pytest.raises(app.BadRequest):
                work()
        with pytest.raises(app.BadRequest):
            file.move(path, "b")
        with pytest.raises(app.BadRequest):
            file.move("a", path)
        assert file.stat(path) is None
    assert not any(file.is_folder(path) for path in ("folder", "up", "own"))
    assert [e.path for e in file.scan()] == [e.path for e in file.scan(deep=False)] == ["a"]
    assert list(file.scan("folder")) == []
    assert sorted(p.name for p in outside.iterdir()) == ["secret"]


def test_links_inside_the_root_are_followed_and_cycles_end(file: Any, tmp_path: Path) -> None:
    file.write("real/a", [b"hello"])
    file.write("other/b", [b"x"])
    root = tmp_path / "data"
    (root / "link").symlink_to("real")
    (root / "to-a").symlink_to("real/a")
    (root / "real/loop").symlink_to("..")
    (root / "other/x").symlink_to("../real")
    (root / "real/y").symlink_to("../other")
    assert everything(file.read("link/a")) == everything(file.read("to-a")) == b"hello"
    assert {"real/a", "link/a", "to-a", "other/x/a", "real/y/b"} <= {e.path for e in file.scan()}
    assert [e.path for e in file.scan(deep=False)] == ["link", "other", "real", "to-a"]
    file.write("to-a", [b"through the link"])
    assert everything(file.read("real/a")) == b"through the link"
    file.remove("to-a")
    assert everything(file.read("real/a")) == b"through the link"


def test_a_file_that_was_just_seen_is_read_where_it_was_seen(file: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write("folder/a", [b"hello"])
    placed: list[str] = []
    place = file._place
    monkeypatch.setattr(file, "_place", noting(placed, place))
    etag = file.stat("folder/a").etag
    assert everything(file.read("folder/a", if_match=etag)) == b"hello"
    assert placed == ["folder/a"]
    assert everything(file.read("folder/a", if_match=etag)) == b"hello"
    assert everything(file.read("folder/a")) == b"hello"
    assert placed == ["folder/a"] * 3  # only what was just seen
    etag = file.stat("folder/a").etag
    with pytest.raises(app.NotFound):
        file.read("folder/b", if_match=etag)


@pytest.mark.parametrize("swapped", ["folder/a", "folder"])
def test_a_link_that_takes_the_place_of_what_was_just_seen_leads_nowhere(file: Any, tmp_path: Path, swapped: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "a").write_text("hello")
    file.write("folder/a", [b"hello"])
    seen = file.stat("folder/a")
    os.utime(outside / "a", ns=(int(seen.modified_at * 1e9),) * 2)
    (tmp_path / "data" / swapped).rename(tmp_path / "gone")
    (tmp_path / "data" / swapped).symlink_to(outside / swapped.removeprefix("folder").removeprefix("/"))
    with pytest.raises((app.NotFound, app.PreconditionFailed)):
        file.read("folder/a", if_match=seen.etag)
    with pytest.raises(app.BadRequest):
        file.read("folder/a", if_match=seen.etag)


def test_a_root_that_is_a_link_is_followed_to_where_it_leads_now(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a").write_text(name)
    root = tmp_path / "data"
    root.symlink_to("one")
    file = another(FILE.FileProvider("share", {"root": "data"}, tmp_path), tmp_path)
    assert everything(file.read("a")) == b"one"
    root.unlink()
    root.symlink_to("two")
    assert everything(file.read("a")) == b"two"
    (tmp_path / "two").rename(tmp_path / "three")
    with pytest.raises(app.Unavailable):
        file.stat("a")
    root.unlink()
    root.symlink_to("three")
    assert everything(file.read("a")) == b"two"
    file.close()


def test_special_files_are_passed_over_and_names_that_nobody_can_ask_for_are_marked(file: Any, tmp_path: Path) -> None:
    file.write("a", [b"x"])
    root = tmp_path / "data"
    os.mkfifo(root / "pipe")
    (root / "dangling").symlink_to("nowhere")
    for name in (b"bad\xff", b"back\\slash", b"con", b"dot.", b"new\nline"):
        (Path(os.fsdecode(os.fsencode(root) + b"/" + name))).write_text("x")
    for deep in (False, True):
        seen = {entry.path: getattr(entry, "problem", "") for entry in file.scan(deep=deep)}
        assert list(seen) == sorted(["a", "bad\ufffd", "back\\slash", "con", "dot.", "new\ufffdline"])
        assert (seen["a"], seen["bad\ufffd"]) == ("", "its name is not UTF-8")
        assert seen["con"] == seen["dot."] == seen["back\\slash"] == "", "what Windows cannot store is served"
        assert seen["new\ufffdline"].startswith("its name has a control character")
    paged: list[str] = []
    while entry := next(file.scan(deep=False, after=paged[-1] if paged else ""), None):
        paged.append(entry.path)
    assert paged == list(seen)
    assert file.stat("pipe") is None
    with pytest.raises(app.NotFound):
        file.read("pipe")
    with pytest.raises(app.Conflict):
        file.write("pipe", [b"x"])


def test_a_folder_that_another_program_removes_at_the_moment_of_a_write_is_made_again(
    file: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write("a/b/old", [b"x"])
    rename, folder = file._rename, tmp_path / "data" / "a"

    def removed_first(*args: Any, **more: Any) -> None:
        if (folder / "b" / "old").exists():
            shutil.rmtree(folder)
        rename(*args, **more)

    monkeypatch.setattr(file, "_rename", removed_first)
    assert file.write("a/b/new", [b"whole"]).size_bytes == 5
    assert [entry.path for entry in file.scan(deep=True)] == ["a/b/new"]
    assert everything(file.read("a/b/new")) == b"whole"


def test_a_page_of_a_large_folder_looks_at_its_own_entries_alone(
    file: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(50):
        (file._root / "many").mkdir(parents=True, exist_ok=True)
        (file._root / "many" / f"{number:02}").touch()
    looked, look = list[Any](), file._look
    monkeypatch.setattr(file, "_look", noting(looked, look))
    page = file.scan("many", deep=False, after="many/19")
    assert [next(page).path for _ in range(3)] == ["many/20", "many/21", "many/22"]
    assert len(looked) == 3


@pytest.mark.parametrize("odd", [False, True])
def test_a_page_of_a_large_folder_is_in_order_and_looks_at_nothing_else(
    file: Any, tmp_path: Path, odd: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "data" / "big"
    place.mkdir(parents=True)
    names = [f"report {number * 7919 % 2503:04}.txt" for number in range(2500)] + ["é.txt", "zz.txt", "🏖.txt"]
    for name in names:
        (place / name).touch()
    if odd:
        (place / "a\nb.txt").touch()
        os.close(os.open(os.fsencode(place) + b"/bad \xff.txt", os.O_CREAT, 0o600))
        names += ["a\ufffdb.txt", "bad \ufffd.txt"]
    expected = [f"big/{name}" for name in sorted(names)]
    assert [entry.path for entry in file.scan("big", deep=False)] == expected
    assert list(file.scan("big", deep=False, after="bih")) == []
    looked: list[str] = []
    seen = type(file)._seen
    monkeypatch.setattr(type(file), "_seen", noting(looked, seen, lambda self, path, problem: path))
    for start in (0, 700, 2400):
        looked.clear()
        after = expected[start - 1] if start else ""
        page = list(itertools.islice(file.scan("big", deep=False, after=after), 50))
        assert [entry.path for entry in page] == expected[start : start + 50]
        assert looked == expected[start : start + 50]


def test_names_that_are_too_long_for_the_disk_are_bad_requests(file: Any) -> None:
    with pytest.raises(app.BadRequest):
        file.write("x" * 256, [b"x"])


def test_staged_files_are_swept_after_a_day(file: Any, clock: Time, tmp_path: Path) -> None:
    old = file.stage([b"old"])
    clock.now += 86_000
    file.sweep(clock.now)
    young = file.stage([b"young"])
    clock.now += 500
    file.sweep(clock.now)
    assert [p.name for p in (tmp_path / "data/.satchel/staged").iterdir()] == [young.id]
    with pytest.raises(app.NotFound):
        file.publish(old, "a")
    assert file.publish(young, "a").modified_at == pytest.approx(clock.now - 500)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_while_staging_is_said_and_leaves_nothing(
    file: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    old = file.write("a", [b"old"])

    def fail(*_: Any) -> int:
        raise OSError(number, "no room", str(tmp_path))

    for call in ("write", "fsync"):
        with monkeypatch.context() as patched:
            patched.setattr(os, call, fail)
            with pytest.raises(app.StorageFull) as caught:
                file.write("a", [b"x" * 1_000_000])
        assert str(tmp_path) not in caught.value.message
        assert file.stat("a") == old
        assert list((tmp_path / "data/.satchel/staged").iterdir()) == []


def test_a_file_that_this_account_may_not_use_is_a_fault_of_that_file_and_not_of_the_provider(
    file: Any, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    for path in ("a", "shut/b", "shut/c"):
        file.write(path, [b"x"])
    staged = file.stage([b"new"])
    with mode(data / "a", 0):
        assert refused(lambda: b"".join(file.read("a")))
        with closing(file.read("shut/b")) as chunks:
            assert b"".join(chunks) == b"x"
        assert [e.path for e in file.scan(deep=False)] == ["a", "shut"]
    with mode(data / "shut", 0o500):
        for work in (
            lambda: file.remove("shut/b"),
            lambda: file.publish(staged, "shut/new"),
            lambda: file.publish(staged, "shut/b"),
            lambda: file.move("shut/b", "e"),
            lambda: file.move("a", "shut/e"),
        ):
            assert refused(work)
        assert file.ping() >= 0
    assert file.publish(staged, "new").size_bytes == 3
    assert [blob.path for blob in file.scan()] == ["a", "new", "shut/b", "shut/c"]


def refused(work: Callable[[], Any]) -> bool:
    """Whether it is refused as an item is, with the path for the operator alone."""
    with pytest.raises(app.NotPermitted) as caught:
        work()
    assert (caught.value.status, caught.value.retry) == (403, False)
    return "/data/" in caught.value.hint and "/data/" not in caught.value.message


def test_what_cannot_be_looked_at_is_marked_and_hides_nothing_else(file: Any, tmp_path: Path) -> None:
    data = tmp_path / "data"
    for path in ("a", "shut/inner/b", "z"):
        file.write(path, [b"x"])
    (data / "m").symlink_to(data / "shut/inner/b")
    with mode(data / "shut", 0):
        entries = list(file.scan(deep=False))
        assert [(e.path, type(e)) for e in entries] == [
            ("a", app.Blob),
            ("m", app.Unseen),
            ("shut", app.Folder),
            ("z", app.Blob),
        ]
        assert str(tmp_path) not in entries[1].problem
        assert [(e.path, type(e)) for e in file.scan()] == [
            ("a", app.Blob),
            ("m", app.Unseen),
            ("shut", app.Unseen),
            ("z", app.Blob),
        ]
        assert refused(lambda: list(file.scan("shut", deep=False)))


def test_a_whole_folder_that_this_account_may_not_write_is_a_provider_that_is_away(file: Any, tmp_path: Path) -> None:
    file.write("a", [b"x"])
    for place in (tmp_path / "data", tmp_path / "data/.satchel/staged", tmp_path / "data/.satchel"):
        with mode(place, 0o500 if place.name == "staged" else 0), pytest.raises(app.Unavailable):
            file.write("b", [b"y"])
    with mode(tmp_path / "data", 0o500), pytest.raises(app.Unavailable):
        file.remove("a")


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM, errno.EISDIR, errno.ELOOP, errno.EBUSY, errno.ETXTBSY])
def test_what_the_system_says_of_one_file_is_no_outage(file: Any, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    file.write("a", [b"old"])

    def fail(*args: Any, **_: Any) -> None:
        raise OSError(number, os.strerror(number), str(args[0]))

    for call in ("rename", "unlink"):
        monkeypatch.setattr(os, call, fail)
    with pytest.raises(app.NotPermitted):
        file.remove("a")


def test_a_folder_that_another_program_made_stays_when_its_last_file_goes(file: Any, tmp_path: Path) -> None:
    data = tmp_path / "data"
    theirs = [data / "deleted", data / "moved", data / "failed", data / "failed/deep", data / "inner"]
    for folder in theirs:
        folder.mkdir(mode=0o750, parents=True)
    (data / "deleted/a").write_bytes(b"x")
    file.write("moved/a", [b"x"])
    file.write("inner/ours/more/a", [b"x"])
    file.remove("deleted/a")
    file.move("moved/a", "elsewhere/a")
    file.remove("elsewhere/a")
    file.remove("inner/ours/more/a")
    staged = file.stage([b"x"])
    for path in ("failed/a", "failed/deep/new/a"):
        with pytest.raises(app.PreconditionFailed):
            file.publish(staged, path, if_match="none")
    with pytest.raises(app.BadRequest):
        file.publish(staged, f"failed/deep/new/{'x' * 256}")
    assert sorted(path for path in data.rglob("*") if ".satchel" not in path.parts) == sorted(theirs)
    assert {stat.S_IMODE(folder.stat().st_mode) for folder in theirs} == {0o750}
    assert [e.path for e in file.scan(deep=False)] == ["deleted", "failed", "inner", "moved"]
    assert file.is_folder("deleted")
    assert list(file.scan("deleted")) == []


def test_a_folder_that_was_removed_and_made_again_by_another_program_is_theirs(file: Any, tmp_path: Path) -> None:
    file.write("a/b", [b"x"])
    (tmp_path / "data/a/b").unlink()
    (tmp_path / "data/a").rmdir()
    (tmp_path / "data/a").mkdir()
    file.write("a/b", [b"x"])
    file.remove("a/b")
    assert (tmp_path / "data/a").is_dir()


def test_a_folder_that_was_made_here_goes_with_its_last_file_whichever_process_removes_it(file: Any, tmp_path: Path) -> None:
    file.write("a/b/c", [b"x"])
    second = another(file, tmp_path)
    second.remove("a/b/c")
    second.close()
    assert [e.path for e in file.scan(deep=False)] == []
    assert list((tmp_path / "data/.satchel/folders").iterdir()) == []


def test_where_the_system_does_not_say_when_a_folder_was_born_it_stays(
    file: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FILE, "_linux_birth", lambda place: "")
    file.write("a/b", [b"x"])
    file.remove("a/b")
    assert (tmp_path / "data/a").is_dir() == (not hasattr(os.stat(tmp_path), "st_birthtime"))


def test_a_rename_that_fails_leaves_the_old_blob_and_no_empty_folders(
    file: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = file.write("a", [b"old"])

    def fail(*_: Any) -> None:
        raise PermissionError(errno.EACCES, "no")

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", fail)
        for path in ("a", "new/folder/b"):
            with pytest.raises(app.NotPermitted, match="Permission denied"):
                file.write(path, [b"new"])
    assert file.stat("a") == old
    assert sorted(p.name for p in (tmp_path / "data").iterdir()) == [".satchel", "a"]
    assert list((tmp_path / "data/.satchel/staged").iterdir()) == []


def test_create_only_works_where_the_file_system_has_no_hard_links(file: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", fail)
    file.write("a", [b"1"], if_none_match=True)
    with pytest.raises(app.PreconditionFailed):
        file.write("a", [b"2"], if_none_match=True)
    assert everything(file.read("a")) == b"1"


def test_create_only_does_not_overwrite_what_another_program_just_made(
    file: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write("other", [b"x"])
    monkeypatch.setattr(file, "stat", lambda path: None)
    monkeypatch.setattr(os.path, "lexists", lambda path: False)
    (tmp_path / "data/a").write_bytes(b"theirs")
    with pytest.raises(app.PreconditionFailed):
        file.write("a", [b"ours"], if_none_match=True)
    assert (tmp_path / "data/a").read_bytes() == b"theirs"


def test_publishing_syncs_the_bytes_and_every_folder_that_changed(
    file: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write("first", [b"x"])
    synced: list[str] = []
    fsync = os.fsync

    def spy(descriptor: int) -> None:
        synced.append(os.path.relpath(os.readlink(f"/proc/self/fd/{descriptor}"), tmp_path / "data"))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", spy)
    file.write("a/b/c", [b"x"])
    assert synced[0].startswith(".satchel/staged/")
    assert sorted(synced[1:]) == [".", "a", "a/b"]
    synced.clear()
    file.remove("a/b/c")
    assert synced == ["a/b", "."], "the file leaves for good before its folder does"


def test_a_root_that_is_no_folder_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    provider = FILE.FileProvider("share", {"root": "data"}, tmp_path)
    with pytest.raises(app.Unavailable) as caught:
        provider.open()
    assert str(tmp_path) not in caught.value.message


# ---- bytes on their way


def pieces(data: bytes, seed: int, most: int) -> Iterator[bytes]:
    """The data cut at random."""
    chance, at = random.Random(seed), 0
    while at < len(data):
        size = chance.randint(0, most)
        yield data[at : at + size]
        at += size


@pytest.mark.parametrize("most", [3, 90, 200, 1000])
def test_pieces_of_one_size_are_the_same_bytes(most: int) -> None:
    data = random.Random(7).randbytes(5000)
    for seed, size in itertools.product(range(5), (1, 7, 100, 128, 4999, 5000, 6000)):
        made = list(app.rechunk(pieces(data, seed, most), size))
        assert b"".join(made) == data
        assert {len(one) for one in made[:-1]} <= {size}
        assert len(made) == -(-len(data) // size)
    assert not list(app.rechunk([b"", b""], 5))
    whole = [bytes(100), bytes(range(100))]
    assert [one is other for one, other in zip(app.rechunk(whole, 100), whole, strict=True)] == [True, True]


@pytest.mark.parametrize(
    "size", [0, 1, FILE.WRITE_BYTES, FILE.BESIDE_BYTES - 1, FILE.BESIDE_BYTES, 3 * FILE.BESIDE_BYTES + 5]
)
@pytest.mark.parametrize("most", [9_000, 70_000, 300_000])
def test_bytes_of_any_size_in_any_chunks_are_stored_with_their_digest(file: Any, size: int, most: int) -> None:
    data = random.Random(size).randbytes(size)
    staged = file.stage(pieces(data, most, most))
    assert (staged.size_bytes, staged.sha256) == (size, hashlib.sha256(data).hexdigest())
    file.publish(staged, "x")
    with closing(file.read("x")) as reader:
        assert b"".join(reader) == data
    assert not hashing()


def hashing() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "sha256"]


def test_an_upload_that_breaks_off_leaves_no_bytes_and_no_thread(file: Any, tmp_path: Path) -> None:
    seen = 0

    def broken() -> Iterator[bytes]:
        nonlocal seen
        for _ in range(40):
            yield bytes(256 * 1024)
        seen = len(hashing())
        raise app.BadRequest("the body was cut off")

    with pytest.raises(app.BadRequest, match="cut off"):
        file.stage(broken())
    assert (seen, hashing()) == (1, [])
    assert not list((tmp_path / "data/.satchel/staged").iterdir())


def test_without_another_thread_the_digest_is_the_same(file: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", none_left)
    data = [bytes([number]) * 1_000_000 for number in range(9)]
    assert file.stage(data).sha256 == hashlib.sha256(b"".join(data)).hexdigest()


def test_what_waits_for_its_digest_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    given, going_on = 0, threading.Event()

    class Slow:
        def update(self, chunk: bytes) -> None:
            going_on.wait(10)

        hexdigest = str

    monkeypatch.setattr(hashlib, "sha256", Slow)
    digest = FILE.Sha256Beside()
    digest.size_bytes = FILE.BESIDE_BYTES - 1

    def give() -> None:
        nonlocal given
        for _ in range(50):
            digest.update(b"xx")
            given += 1

    giver = threading.Thread(target=give)
    giver.start()
    giver.join(0.2)
    assert given <= FILE.BESIDE_CHUNKS + 1
    going_on.set()
    giver.join(10)
    digest.close()
    assert (given, hashing()) == (50, [])


def test_the_medium_begins_before_the_last_byte_came_and_all_is_synced_behind_it(
    file: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[Any] = []
    file.stage([])  # makes the folders
    fsync, advise = os.fsync, os.posix_fadvise

    def advised(descriptor: int, start: int, size: int, advice: int) -> None:
        done.append((start, size))
        advise(descriptor, start, size, advice)
        raise OSError(errno.EINVAL, "no advice is known here")

    monkeypatch.setattr(os, "posix_fadvise", advised)
    monkeypatch.setattr(os, "fsync", noting(done, fsync, lambda descriptor: os.fstat(descriptor).st_size))
    staged = file.stage(itertools.repeat(bytes(300_000), 80))
    *steps, synced = done
    assert synced == staged.size_bytes == 24_000_000
    assert [start for start, _ in steps] == [0, *itertools.accumulate(size for _, size in steps)][:-1]
    assert [FILE.WRITE_OUT_BYTES <= size < FILE.WRITE_OUT_BYTES + 300_000 for _, size in steps] == [True, True]
    monkeypatch.delattr(os, "posix_fadvise")  # as on macOS
    assert file.stage(itertools.repeat(bytes(300_000), 80)).sha256 == staged.sha256
    assert done[-1] == synced


def test_a_file_to_be_read_is_resolved_once(file: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write("a/b/c", [b"abc"])
    asked: list[str] = []
    realpath = os.path.realpath
    monkeypatch.setattr(os.path, "realpath", noting(asked, realpath, str))
    with closing(file.read("a/b/c")) as reader:
        assert b"".join(reader) == b"abc"
    assert asked == []  # its folder is known, and there are no links on the way
    (tmp_path / "data/link").symlink_to("a/b")
    (tmp_path / "data/out").symlink_to(tmp_path)
    (tmp_path / "data/loop").symlink_to("loop")
    for path in ("link/c", "out/data/a/b/c"):
        with closing(file.read(path)) as reader:
            assert b"".join(reader) == b"abc"
    for path, error in (("out/x", app.BadRequest), ("loop", app.NotFound), ("a/b", app.NotFound), ("a/b/c/d", app.NotFound)):
        with pytest.raises(error):
            file.read(path)


def test_a_walk_looks_at_no_more_than_it_is_asked_for(file: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So a search ends in its time, however many files a folder has."""
    for name in ("a", "b", "b-", "c", "\x01", "d/e/f", "g"):
        place = file._root / "many" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(b"x")
    os.symlink("nowhere", file._root / "many/link")
    looks, look = list[str](), file._look
    monkeypatch.setattr(file, "_look", lambda path: looks.append(path) or look(path))
    entries = file.scan("many")
    assert next(entries).path == "many/a"
    assert looks == ["many/a"]
    assert [one.path for one in entries] == ["many/b", "many/b-", "many/c", "many/d/e/f", "many/g", "many/\ufffd"]
    looks.clear()
    assert [one.path for one in file.scan("many", after="many/d/e")] == ["many/d/e/f", "many/g", "many/\ufffd"]
    assert not {"many/a", "many/b", "many/c"} & {*looks}
    looks.clear()
    found = list(app.plugin("file_names").entries(file, "many", "F"))
    assert [one.path for one in found] == ["many/d/e/f"]
    assert {*looks} <= {"many/d", "many/d/e", "many/d/e/f"}
