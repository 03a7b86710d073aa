"""`server copy`: everything of one provider in another, the same to the last bit, whatever came between."""

from __future__ import annotations

import json
import os
import pty
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sites import KINDS, Site
from test_commands import ENVIRONMENT, Shell, compiled

import app
from app import Blobs, Insert, Query, Records, Unavailable

Copy = app.plugin("copy").Copy
PROVIDER = {
    "sql": 'kind = "sql"\nurl = "sqlite:///{name}.db"\n',
    "file": 'kind = "file"\nroot = "{name}"\n',
}
VALUES = [
    {"text": "'\"%\\/ \u200f\u05d0 e\u0301 \u00e9", "empty": "", "none": None, "yes": True},
    {"big": 2**63 - 1, "small": -(2**63), "exact": Decimal("0.1000000000000000055511151231257827"), "float": 1e30},
    {"deep": {"a": [1, [2.5, {"b": []}], {}]}, "list": ["x", None, False]},
]
KEYS = ["a", "ab", "a/b", "é", "e\u0301", "z" * 512, "\U0001f5c2", "~", " "]
PATHS = ["a.txt", "a/b.txt", "a-b/c", "Ünï/x", "deep/er/and/deeper.bin", "zero"]


def providers(source: str, target: str) -> str:
    tables = [
        f"[providers.{name}]\n{PROVIDER[kind].format(name=name)}" for name, kind in (("main", source), ("new", target))
    ]
    return "".join(tables)


def opened(folder: Path, kind: str, name: str) -> Any:
    made = KINDS[kind](name, {"url": f"sqlite:///{name}.db", "root": folder / name}, folder)
    made.open()
    return made


@pytest.fixture(params=[("sql", "file"), ("file", "sql"), ("file", "file")], ids="-to-".join)
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Any, Any]]:
    """A source with difficult contents, and an empty target."""
    source, target = opened(tmp_path, request.param[0], "main"), opened(tmp_path, request.param[1], "new")
    fill(source)
    yield source, target
    source.close()
    target.close()


def fill(source: Any, many: int = 1200) -> None:
    source.commit([Insert("leave", key, VALUES[i % 3], 1 + i) for i, key in enumerate(KEYS)])
    most = source.most_writes or many
    for start in range(0, many, most):
        source.commit([Insert("many", f"{i:05}", {"n": i}) for i in range(start, min(start + most, many))])
    source.commit([app.Update("many", "00007", {"n": "changed"}, 1)])
    for number, path in enumerate(PATHS):
        source.write(path, [b"%d" % number * 700_000] if number < 5 else [])


def whole(copy: Any, folder: Path) -> list[app.Fault]:
    """Copy everything and give what was wrong."""
    for table in copy.tables(()):
        copy.records(table)
    copy.blobs(folder / "copy.jsonl")
    return copy.faults


def held(provider: Any) -> tuple[dict[str, list[app.Record]], dict[str, bytes]]:
    """All records and bytes of a provider."""
    records = {table: list(provider.walk(Query(table))) for table in provider.tables()}
    return records, {blob.path: content(provider, blob.path) for blob in provider.scan()}


def content(provider: Any, path: str) -> bytes:
    with closing(provider.read(path)) as reader:
        return b"".join(reader)


def test_everything_is_there_afterwards_at_its_version(pair: tuple[Any, Any], tmp_path: Path) -> None:
    source, target = pair
    copy = Copy(source, target)
    assert whole(copy, tmp_path) == []
    assert held(target) == held(source)
    assert copy.written == len(KEYS) + 1200 + len(PATHS)
    assert target.get("many", "00007").version == 2


def test_empty_folders_are_there_afterwards(pair: tuple[Any, Any], tmp_path: Path) -> None:
    source, target = pair
    for path in ("empty", "a/also/empty"):
        source.make_folder(path)
    assert whole(Copy(source, target), tmp_path) == []
    assert whole(Copy(source, target), tmp_path) == []
    for path in ("empty", "a/also/empty"):
        assert target.is_folder(path)
        assert list(target.scan(path)) == []


def test_a_damaged_record_is_named_and_the_others_are_copied(tmp_path: Path) -> None:
    source, target = opened(tmp_path, "sql", "main"), opened(tmp_path, "file", "new")
    source.commit([Insert("t", key, {"a": "x" + key}) for key in "abcd"])
    with closing(sqlite3.connect(tmp_path / "main.db")) as connection:
        connection.execute("update t set data = 'x' where key = 'b'")
        connection.execute("update t set data = cast(replace(data, 'xc', x'fc') as text) where key = 'c'")
        connection.commit()
    copy = Copy(source, target)
    faults = whole(copy, tmp_path)
    assert [(fault.pointer, fault.detail) for fault in faults] == [
        ("t/b", "is damaged and was not copied: it is not JSON"),
        ("t/c", "is damaged and was not copied: it is not UTF-8"),
    ]
    assert [record.key for record in target.walk(Query("t"))] == ["a", "d"]
    source.close()
    target.close()


def test_a_second_run_writes_nothing_and_reads_no_file(
    pair: tuple[Any, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole(Copy(*pair), tmp_path)
    for one in pair:
        for method in ("commit", "stage", "publish", "read"):
            monkeypatch.setattr(one, method, None)
    copy = Copy(*pair)
    assert whole(copy, tmp_path) == []
    assert copy.written == 0


class Cut(BaseException):
    """The end of a process."""


def after(monkeypatch: pytest.MonkeyPatch, target: Any, method: str, calls: int, error: BaseException) -> None:
    """The method raises from its `calls`-th call on; it does its work in that one."""
    real, left = getattr(target, method), [calls]

    def failing(*args: Any, **kwargs: Any) -> Any:
        left[0] -= 1
        if left[0] < 0:
            raise error
        answer = real(*args, **kwargs)
        if left[0] == 0:
            raise error
        return answer

    monkeypatch.setattr(target, method, failing)


@pytest.mark.parametrize("error", [Cut(), Unavailable("new is away")], ids=["killed", "away"])
@pytest.mark.parametrize(("method", "calls"), [("commit", 1), ("commit", 9), ("publish", 1), ("publish", 4), ("stage", 2)])
def test_an_interrupted_copy_goes_on_where_it_stopped(
    pair: tuple[Any, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, calls: int, error: BaseException
) -> None:
    source, target = pair
    with monkeypatch.context() as patch:
        after(patch, target, method, calls, error)
        with pytest.raises(type(error)):
            whole(first := Copy(source, target), tmp_path)
    second, read, real = Copy(source, target), [], source.read
    with monkeypatch.context() as patch:
        patch.setattr(source, "read", lambda path, **facts: (read.append(path), real(path, **facts))[1])
        assert whole(second, tmp_path) == []
    compared = 0 if method == "commit" else calls - 1
    assert len(read) == len(PATHS) - compared  # and what was compared before is not read again
    assert held(target) == held(source)
    assert first.written + second.written <= len(KEYS) + 1200 + len(PATHS)
    assert second.written < len(KEYS) + 1200 + len(PATHS)
    third = Copy(source, target)
    assert whole(third, tmp_path) == []
    assert third.written == 0


def test_a_journal_that_ends_in_the_middle_of_a_line_is_read_up_to_there(pair: tuple[Any, Any], tmp_path: Path) -> None:
    whole(Copy(*pair), tmp_path)
    journal = tmp_path / "copy.jsonl"
    journal.write_bytes(journal.read_bytes()[:-20])
    assert whole(Copy(*pair), tmp_path) == []
    assert len(journal.read_bytes().splitlines()) == len(PATHS)


def test_what_changed_in_the_source_meanwhile_is_brought_along(pair: tuple[Any, Any], tmp_path: Path) -> None:
    source, target = pair
    whole(Copy(source, target), tmp_path)
    source.commit([app.Update("many", "00009", {"n": -1}), app.Update("many", "00009x", {"n": -2})])
    source.write("a.txt", [b"new"])
    source.write("b.txt", [b"more"])
    copy = Copy(source, target)
    assert whole(copy, tmp_path) == []
    assert copy.written == 4
    assert held(target) == held(source)


def test_what_only_the_target_has_is_told_and_kept(pair: tuple[Any, Any], tmp_path: Path) -> None:
    source, target = pair
    target.commit([Insert("leave", "foreign", {}), Insert("leave", "more", {})])
    target.write("a-b/foreign", [b"x"])
    faults = whole(Copy(source, target), tmp_path)
    assert [(fault.pointer, fault.detail) for fault in faults] == [
        ("leave", "the target alone has 'foreign' and others"),
        ("files", "the target alone has 'a-b/foreign'"),
    ]
    assert target.get("leave", "foreign")
    assert target.stat("a-b/foreign")


def test_what_the_target_has_under_the_same_names_is_never_overwritten(pair: tuple[Any, Any], tmp_path: Path) -> None:
    source, target = pair
    target.commit([Insert("leave", "a", {"mine": 1}), Insert("many", "00001", {"mine": 1}, 7)])
    target.write("a.txt", [b"mine"])
    target.write("zero/below", [b"a folder where the source has a file"])
    faults = whole(Copy(source, target), tmp_path)
    assert {fault.pointer for fault in faults} == {"leave/a", "many/00001", "files/a.txt", "files/zero", "files"}
    assert target.get("leave", "a").value == target.get("many", "00001").value == {"mine": 1}
    assert content(target, "a.txt") == b"mine"


def test_bytes_that_the_target_does_not_keep_are_found(
    pair: tuple[Any, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = pair
    real, commit = target.write, target.commit
    monkeypatch.setattr(
        target, "write", lambda path, chunks, **conditions: real(path, [b"other", *list(chunks)], **conditions)
    )
    monkeypatch.setattr(
        target, "commit", lambda writes: commit([Insert(w.table, w.key, w.value | {"n": 0}, w.version) for w in writes])
    )
    faults = whole(Copy(source, target), tmp_path)
    assert {fault.pointer for fault in faults} == {"leave", "many", *(f"files/{path}" for path in PATHS)}
    whole(again := Copy(source, target), tmp_path)
    assert again.faults != []


class Limited(app.plugin("file").FileProvider):
    """A provider that takes few writes at once and refuses some values."""

    kind = "limited"
    most_writes = 7
    sizes: list[int]

    def commit(self, writes: Sequence[app.Write]) -> list[app.Record]:
        self.sizes.append(len(writes))
        if len(writes) > 7:
            raise app.TooLarge("too many")
        if any("deep" in getattr(write, "value", {}) for write in writes):
            raise app.Invalid("nothing deep, please")
        return super().commit(writes)


class OneByOne(Limited):
    atomic = False
    conditional = False


@pytest.mark.parametrize(("kind", "most"), [(Limited, 7), (OneByOne, 1)])
def test_batches_are_what_the_target_takes_and_what_it_refuses_is_named(
    tmp_path: Path, kind: type[Limited], most: int
) -> None:
    source, target = opened(tmp_path, "sql", "main"), kind("new", {"root": tmp_path / "new"}, tmp_path)
    target.sizes = []
    target.open()
    fill(source, 100)
    faults = whole(Copy(source, target), tmp_path)
    assert max(target.sizes) == most
    refused = {f"leave/{key}" for i, key in enumerate(KEYS) if i % 3 == 2}
    assert {fault.pointer for fault in faults} == refused
    assert target.count(Query("leave")) == len(KEYS) - len(refused)
    source.close()
    target.close()


class OnlyRecords(app.plugin("file").FileProvider):
    kind = "onlyrecords"

    def has(self, contract: type[app.Provider]) -> bool:
        return contract is not Blobs


class OnlyBlobs(app.plugin("file").FileProvider):
    kind = "onlyblobs"

    def has(self, contract: type[app.Provider]) -> bool:
        return contract is not Records


def test_a_target_without_what_it_takes_is_refused_before_anything_is_copied(tmp_path: Path) -> None:
    source = opened(tmp_path, "sql", "main")
    for kind, makes, told in (
        (OnlyRecords, lambda: source.write("a", [b""]), r"files \(a\)"),
        (OnlyBlobs, lambda: source.commit([Insert("t", "k", {})]), r"records \(t\)"),
    ):
        target = kind("new", {"root": tmp_path / kind.kind}, tmp_path)
        target.open()
        copy = Copy(source, target)
        assert copy.tables(()) == []
        makes()
        with pytest.raises(app.ConfigError, match=told):
            copy.tables(())
        assert not (tmp_path / kind.kind).exists()
        source.remove("a") if kind is OnlyRecords else None
        target.close()
    source.close()


def test_tables_that_nobody_lists_are_those_of_app_toml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, target = opened(tmp_path, "sql", "main"), opened(tmp_path, "file", "new")
    source.commit([Insert("leave", "k", {})])
    monkeypatch.setattr(source, "tables", lambda: Records.tables(source))
    assert Copy(source, target).tables(["other", "leave"]) == ["leave"]
    source.close()
    target.close()


# ---- the command


TOML = """
[files.docs]
prefix = "docs/"
[forms.leave.fields]
a = {}
n = { type = "number" }
doc = { format = "file", files = "files/docs" }
[views.all]
from = "forms/leave"
order_by = ["a"]
"""


@pytest.mark.parametrize(("source", "target"), [("sql", "file"), ("file", "sql")])
def test_the_same_tokens_pages_and_repeats_work_after_the_move(tmp_path: Path, source: str, target: str) -> None:
    shell = Shell(tmp_path)
    shell.write(providers(source, target) + TOML)
    site = Site(tmp_path, providers(source, target) + TOML)
    site.app.close()
    site = Site(tmp_path, providers(source, target) + TOML)  # the second token is another one
    made = site.create(
        "forms/leave", {"a": "x", "n": 1.5, "doc": {"name": "a.txt", "base64": "aGVsbG8="}}, idempotency_key="k"
    )
    site.patch(made.location, {"a": "y"})
    site.put("files/docs/b.txt", body=b"bytes")
    code = site.app.office.link(app.Caller("t"), site.app.office.issue(app.Caller("t"), "ann", ["**:*"], [], 3600))
    session, _ = site.app.office.sign_in(code, "r")
    asked = ["forms/leave/records", "views/all", "admin/audit?_size=1000", "files/docs"]
    before = [site.items(address) for address in asked]
    token, record = site.root, site.read(made.location)
    site.close()

    told = shell.json("server", "copy", "main", "new")
    assert told["ok"]
    assert {row["what"] for row in told["copied"]} > {"leave", "_tokens", "_sessions", "_audit", "_requests", "files/"}
    assert all(row["source"] == row["target"] for row in told["copied"])

    moved = f"[providers.main]\n{PROVIDER[target].format(name='new')}" + TOML
    site = Site(tmp_path, moved)
    site.root = token
    after_ = [site.items(address) for address in asked]
    known = {row["id"] for row in before[2]}
    assert [row for row in after_[2] if row["id"] in known] == before[2]
    assert after_[:2] == before[:2]
    names = [[(row["name"], row["size_bytes"]) for row in rows] for rows in (before[3], after_[3])]
    assert names[0] == names[1]
    assert site.read(made.location).etag == record.etag == "2"
    assert site.bytes(site.read(made.location).data["doc"]["address"]) == b"hello"
    assert site.read("forms/leave/records", by="Session " + session).table
    assert site.create(
        "forms/leave", {"a": "x", "n": 1.5, "doc": {"name": "a.txt", "base64": "aGVsbG8="}}, idempotency_key="k"
    ).replayed
    with pytest.raises(app.Unauthenticated):
        site.app.office.sign_in(code, "r")
    site.close()


def test_the_command_tells_people_and_programs_what_was_compared(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    shell.write(providers("sql", "file"))
    source = opened(tmp_path, "sql", "main")
    fill(source)
    out, err = shell.run("server", "copy", "main", "new")
    lines = out.splitlines()
    assert [line.split()[:2] for line in lines] == [["leave", "9"], ["many", "1200"], ["files/", "6"]]
    assert err.splitlines() == ["copying main to new", "1215 written anew", "new holds what main holds"]
    target = opened(tmp_path, "file", "new")
    target.commit([app.Update("many", "00001", {"n": "other"})])
    target.close()
    found = shell.json("server", "copy", "main", "new", code=5)
    assert (found["ok"], found["written"]) == (False, 0)
    assert [fault["pointer"] for fault in found["faults"]] == ["many/00001"]
    out, err = shell.run("server", "copy", "main", "new", code=5)
    assert "many  1200  DIFFERENT" in out
    assert err.endswith("the copy is NOT complete\n")
    source.close()


@pytest.mark.parametrize(
    ("args", "code", "told"),
    [
        (["main", "nwe"], 4, "did you mean new?"),
        (["main", "main"], 6, "are the same provider"),
        (["main"], 2, "TARGET"),
    ],
)
def test_mistakes_are_told_before_anything_is_copied(tmp_path: Path, args: list[str], code: int, told: str) -> None:
    shell = Shell(tmp_path)
    shell.write(providers("sql", "file"))
    assert told in shell.run("server", "copy", *args, code=code)[1]


@pytest.mark.parametrize("away", ["main", "new"])
def test_a_provider_that_is_away_is_named_with_exit_code_7(tmp_path: Path, away: str) -> None:
    shell = Shell(tmp_path)
    shell.write(providers("file", "file"))
    (tmp_path / away).write_text("where the folder should be")
    _, err = shell.run("server", "copy", "main", "new", code=7)
    assert f"provider {away}" in err


def test_no_copy_is_made_while_a_server_runs(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    shell.write(providers("sql", "file"))
    with app.claim_data(tmp_path / "data"):
        _, err = shell.run("server", "copy", "main", "new", code=7)
    assert "server runs on this data folder" in err


def test_a_copy_that_is_killed_goes_on(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    shell.write(providers("sql", "file"))
    source = opened(tmp_path, "sql", "main")
    for number in range(400):
        source.write(f"{number:03}", [b"x" * 20_000])
    process = subprocess.Popen(compiled("server", "copy", "main", "new"), cwd=tmp_path, env=ENVIRONMENT,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
    journal = tmp_path / "data" / "copy-main-new.part"
    wait_until(lambda: journal.exists() and journal.stat().st_size > 2000)
    process.send_signal(signal.SIGKILL)
    process.wait()
    compared = journal.read_bytes().count(b"\n")
    assert 0 < compared < 400
    found = shell.json("server", "copy", "main", "new")
    assert found["ok"]
    assert found["written"] <= 400 - compared
    target = opened(tmp_path, "file", "new")
    assert held(target) == held(source)
    target.close()
    source.close()


def wait_until(probe: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not probe():
        assert time.monotonic() < end
        time.sleep(0.002)


def test_a_terminal_sees_how_far_it_is(tmp_path: Path) -> None:
    Shell(tmp_path).write(providers("sql", "file"))
    source = opened(tmp_path, "sql", "main")
    fill(source)
    source.close()
    leader, follower = pty.openpty()
    with subprocess.Popen(compiled("server", "copy", "main", "new", "--json"), cwd=tmp_path, env=ENVIRONMENT,
                          stdout=subprocess.PIPE, stderr=follower) as process:  # fmt: skip
        os.close(follower)
        out = process.communicate(timeout=60)[0]
    said = b""
    try:
        while part := os.read(leader, 65536):
            said += part
    except OSError:  # how Linux tells the end of a terminal
        pass
    os.close(leader)
    assert json.loads(out)["ok"]
    assert b"% many" in said
    assert b"[####" in said
