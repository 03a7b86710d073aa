"""What is true of one provider only: SQLite's settings and faults, the journal, links and special files."""

import errno
import fcntl
import os
import re
import sqlite3
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import app
from app import Condition, Delete, Insert, Query, Record, Select, Update
from tests.sites import mode


class Time:
    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Time:
    return Time()


@pytest.fixture
def sql(tmp_path: Path, clock: Time) -> Iterator[app.SqlProvider]:
    provider = app.SqlProvider("main", {"url": "sqlite:///data/app.db"}, tmp_path, clock=clock)
    provider.open()
    yield provider
    provider.close()


@pytest.fixture
def file(tmp_path: Path, clock: Time) -> Iterator[app.FileProvider]:
    provider = app.FileProvider("share", {"root": "data"}, tmp_path, clock=clock)
    provider.open()
    yield provider
    provider.close()


def another(provider: Any, folder: Path) -> Any:
    options = {"url": "sqlite:///data/app.db"} if isinstance(provider, app.SqlProvider) else {"root": "data"}
    twin = type(provider)(provider.name, options, folder)
    twin.open()
    return twin


def at_once(count: int, work: Callable[[int], Any]) -> None:
    threads = [threading.Thread(target=work, args=(n,)) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def everything(reader: app.Reader) -> bytes:
    try:
        return b"".join(reader)
    finally:
        reader.close()


# ---- sort keys


def test_numbers_sort_exactly_whatever_their_size() -> None:
    texts = [
        "-1e400",
        "-9223372036854775808",
        "-1.55",
        "-1.5",
        "-1",
        "-0.1",
        "-1e-400",
        "0",
        "1e-400",
        "1e-30",
        "0.1",
        "0.3",
    ]
    texts += ["0.30000000000000000001", "1", "1.5", "1.55", "2", "10", "10.01", "9007199254740992", "9007199254740992.4"]
    texts += ["9007199254740993", "1e22", "1e300", "1e400", "1e999999"]
    numbers = [app.load_json(text) for text in texts]
    found = [app.number_key(number) for number in numbers]
    assert found == sorted(found)
    assert len(set(found)) == len(found)
    assert app.number_key(1) == app.number_key(1.0) == app.number_key(app.Decimal("1.000"))
    assert app.number_key(0) == app.number_key(-0.0) == app.number_key(app.Decimal("0e5"))


# ---- the group


def test_work_that_waits_is_run_as_one_group_and_a_jobs_own_error_is_its_own() -> None:
    batches: list[list[str]] = []
    first, go = threading.Event(), threading.Event()

    def run_jobs(jobs: list[app.Job]) -> None:
        batches.append([job.work for job in jobs])
        if jobs[0].work == "leader":
            first.set()
            go.wait()
        for job in jobs:
            job.result = job.work.upper()
            job.error = app.Conflict("no") if job.work == "bad" else None

    group = app.GroupCommit(run_jobs)
    answers: dict[str, Any] = {}

    def submit(work: str) -> None:
        try:
            answers[work] = group.submit(work)
        except app.Conflict as error:
            answers[work] = error

    threads = [threading.Thread(target=submit, args=(work,)) for work in ("leader", "a", "bad", "b")]
    threads[0].start()
    first.wait()
    for thread in threads[1:]:
        thread.start()
    while len(group._waiting) < 3:
        pass
    go.set()
    for thread in threads:
        thread.join()
    assert batches[0] == ["leader"]
    assert sorted(batches[1]) == ["a", "b", "bad"]
    assert len(batches) == 2
    assert (answers["leader"], answers["a"], answers["b"]) == ("LEADER", "A", "B")
    assert isinstance(answers["bad"], app.Conflict)


def test_an_error_of_the_group_reaches_everybody_and_the_next_group_runs() -> None:
    failing = [app.StorageFull("full", hint="disk"), ValueError("bug"), KeyboardInterrupt()]

    def run_jobs(jobs: list[app.Job]) -> None:
        if failing:
            raise failing.pop(0)
        for job in jobs:
            job.result = job.work

    group = app.GroupCommit(run_jobs)
    with pytest.raises(app.StorageFull) as caught:
        group.submit(1)
    assert caught.value.hint == "disk"
    with pytest.raises(app.Unavailable) as broken:
        group.submit(2)
    assert isinstance(broken.value.__cause__, ValueError)
    with pytest.raises(KeyboardInterrupt):
        group.submit(3)
    assert group.submit(4) == 4


def test_a_waiting_thread_that_is_interrupted_holds_nobody_up_and_its_work_is_not_done(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    done: list[str] = []
    first, go = threading.Event(), threading.Event()

    def run_jobs(jobs: list[app.Job]) -> None:
        first.set()
        go.wait()
        for job in jobs:
            done.append(job.work)

    def interrupted() -> None:
        raise KeyboardInterrupt

    group = app.GroupCommit(run_jobs)
    threads = [threading.Thread(target=group.submit, args=(work,)) for work in ("leader", "a")]
    threads[0].start()
    first.wait()
    threads[1].start()
    while not group._waiting:
        pass
    with monkeypatch.context() as patched:
        patched.setattr(group._changed, "wait", interrupted)
        with pytest.raises(KeyboardInterrupt):
            group.submit("x")
    go.set()
    for thread in threads:
        thread.join()
    group.submit("y")
    assert done == ["leader", "a", "y"]


def counted_commits(provider: Any, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Grows by one with every commit on the medium."""
    commits: list[str] = []
    provider.commit([Insert("t", "first", {})])
    if isinstance(provider, app.SqlProvider):
        assert provider._writer
        provider._writer.set_trace_callback(lambda text: commits.append(text) if text == "commit" else None)
    else:
        append = provider._journal.append
        monkeypatch.setattr(provider._journal, "append", lambda lines: (commits.append("commit"), append(lines)))
    return commits


@pytest.mark.parametrize("name", ["sql", "file"])
def test_threads_share_commits(name: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    provider = request.getfixturevalue(name)
    commits = counted_commits(provider, monkeypatch)
    at_once(16, lambda n: [provider.commit([Insert("t", f"{n}-{i}", {})]) for i in range(25)])
    assert provider.count(Query("t")) == 401
    assert len(commits) < 300


@pytest.mark.parametrize("name", ["sql", "file"])
def test_commits_handed_in_together_are_one_on_the_medium(
    name: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider = request.getfixturevalue(name)
    commits = counted_commits(provider, monkeypatch)
    assert provider.shares_commits
    provider.commit_each([[Insert("t", f"{n}", {})] for n in range(9)])
    assert provider.count(Query("t")) == 10
    assert commits == ["commit"]


@pytest.mark.parametrize("name", ["sql", "file"])
def test_commits_handed_in_together_all_fail_where_the_medium_does(
    name: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider = request.getfixturevalue(name)
    provider.commit([Insert("t", "first", {})])
    with monkeypatch.context() as patch:
        patch.setattr(provider._group, "_run", lambda jobs: (_ for _ in ()).throw(app.StorageFull("full")))
        answers = provider.commit_each([[Insert("t", "a", {})], [], [Insert("t", "b", {})]])
    assert [type(answer) for answer in answers] == [app.StorageFull, list, app.StorageFull]
    assert answers[0] is not answers[2]
    assert provider.count(Query("t")) == 1


def test_a_table_made_in_a_commit_that_was_undone_is_made_again(sql: app.SqlProvider) -> None:
    sql.commit([Insert("t", "a", {})])
    for _ in range(2):  # the second time after it was seen to be there
        answers = sql.commit_each([[Insert("fresh", "a", {}), Insert("t", "a", {})], [Insert("other", "a", {})]])
        assert isinstance(answers[0], app.Conflict)
        assert sql.get("fresh", "a") is None
        sql.commit([Delete("other", "a")])
    assert sql.commit([Insert("fresh", "a", {})]) == [Record("a", 1, {})]


# ---- sql: settings


@pytest.mark.parametrize(
    "url", [None, 7, "", "app.db", "sqlite://", "sqlite:///", "sqlite:///:memory:", "postgresql://db/x"]
)
def test_a_url_that_is_not_of_sqlite_is_refused_saying_what_is(url: Any, tmp_path: Path) -> None:
    with pytest.raises(app.ConfigError, match="sqlite:///path is supported"):
        app.SqlProvider("main", {"url": url}, tmp_path)


def test_paths_are_relative_to_the_folder_or_absolute(tmp_path: Path) -> None:
    assert app.SqlProvider("a", {"url": "sqlite:///x/y.db"}, tmp_path)._path == tmp_path / "x/y.db"
    assert app.SqlProvider("a", {"url": f"sqlite:///{tmp_path}/z.db"}, Path("/elsewhere"))._path == tmp_path / "z.db"


@pytest.mark.parametrize(
    ("version", "faulty"),
    [
        ((3, 6, 23), False),
        ((3, 7, 0), True),
        ((3, 40, 1), True),
        ((3, 44, 5), True),
        ((3, 44, 6), False),
        ((3, 45, 9), True),
        ((3, 50, 6), True),
        ((3, 50, 7), False),
        ((3, 51, 2), True),
        ((3, 51, 3), False),
        ((3, 52, 0), False),
    ],
)
def test_sqlite_with_the_wal_reset_fault_is_known_and_warned_of(
    version: tuple[int, int, int], faulty: bool, sql: app.SqlProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert app.has_wal_reset_fault(version) is faulty
    monkeypatch.setattr(sqlite3, "sqlite_version_info", version)
    assert any("corrupt" in warning for warning in sql.warnings()) is faulty


def test_the_writer_syncs_every_commit_to_a_write_ahead_log_in_a_private_folder(
    sql: app.SqlProvider, tmp_path: Path
) -> None:
    sql.commit([Insert("t", "a", {})])
    assert sql._writer
    assert sql._writer.execute("pragma journal_mode").fetchone() == ("wal",)
    assert sql._writer.execute("pragma synchronous").fetchone() == (2,)
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "data/app.db").stat().st_mode) == 0o600


def test_the_lock_file_is_held_during_every_write_and_the_last_checkpoint(sql: app.SqlProvider, tmp_path: Path) -> None:
    sql.commit([Insert("t", "a", {})])
    free: list[bool] = []

    def try_lock(_: str) -> None:
        with open(tmp_path / "data/app.db.lock", "rb") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                free.append(True)
            except BlockingIOError:
                free.append(False)

    assert sql._writer
    sql._writer.set_trace_callback(try_lock)
    sql.commit([Insert("t", "b", {})])
    assert len(free) >= 5
    assert not any(free)
    try_lock("")
    assert free[-1]


def test_statements_name_no_placeholder_whose_values_are_a_sequence() -> None:
    """Python 3.12 before 3.12.4 warns of "?1" with a sequence."""
    assert not re.search(r"\?[1-9]", Path(app.__file__).read_text(encoding="utf-8"))


def test_readers_never_checkpoint_and_the_writers_close_does(sql: app.SqlProvider, tmp_path: Path) -> None:
    sql.commit([Insert("t", f"{n}", {"x": "y" * 5000}) for n in range(50)])
    wal, main = tmp_path / "data/app.db-wal", tmp_path / "data/app.db"
    before = main.read_bytes(), wal.read_bytes()
    other = another(sql, tmp_path)
    assert list(other.select(Select(statement="select count(*) from t")).rows) == [(50,)]
    other.close()
    assert (main.read_bytes(), wal.read_bytes()) == before
    sql.close()
    assert not wal.exists()
    assert len(main.read_bytes()) > 200_000


def test_a_log_that_a_crash_left_is_read_and_not_checkpointed_by_readers(sql: app.SqlProvider, tmp_path: Path) -> None:
    sql.commit([Insert("t", "a", {})])
    left = tmp_path / "left"
    left.mkdir()
    for name in ("app.db", "app.db-wal"):
        (left / name).write_bytes((tmp_path / "data" / name).read_bytes())
    before = (left / "app.db").read_bytes(), (left / "app.db-wal").read_bytes()
    other = app.SqlProvider("left", {"url": "sqlite:///left/app.db"}, tmp_path)
    other.open()
    assert list(other.select(Select(statement="select key from t")).rows) == [("a",)]
    other.close()
    assert ((left / "app.db").read_bytes(), (left / "app.db-wal").read_bytes()) == before


@pytest.mark.parametrize("name", ["sql", "file"])
def test_a_count_that_takes_too_long_is_given_up(name: str, request: pytest.FixtureRequest) -> None:
    provider = request.getfixturevalue(name)
    provider.commit([Insert("t", f"{n}", {"n": n}) for n in range(3000)])
    query = Query("t", (Condition("n", "eq", 2999),))
    assert provider.count_up_to(query, 10, 10.0) == 1
    assert provider.count_up_to(query, 10, 0.0) is None
    assert provider.count(query) == 1  # and nothing of the limit is left


def test_a_reader_that_is_slow_meets_the_time_limit_too(sql: app.SqlProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    sql.commit([Insert("t", f"{n}", {}) for n in range(900)])
    rows = sql.select(Select(statement="select key from t", timeout_s=100))
    next(rows.rows)
    now = app.time.monotonic()
    monkeypatch.setattr(app.time, "monotonic", lambda: now + 101)
    with pytest.raises(app.QueryTimeout, match="100 s"):
        list(rows.rows)


# ---- sql: databases of others


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    path = tmp_path / "data/app.db"
    with sqlite3.connect(path) as connection:
        connection.execute("create table customer (id integer primary key, name text)")
        connection.execute("insert into customer (name) values ('Ada'), ('Bob')")
    connection.close()
    return path


def test_a_database_that_only_queries_use_is_never_altered(foreign: Path, sql: app.SqlProvider) -> None:
    before = foreign.read_bytes()
    sql.open()
    rows = sql.select(Select(statement="select name from customer", order_by=("-name",)))
    assert next(rows.rows) == ("Bob",)
    assert [p.name for p in foreign.parent.iterdir() if "wal" in p.name or "shm" in p.name] == []
    rows.close()
    with pytest.raises(app.ConfigError):
        sql.select(Select(statement="delete from customer"))
    sql.ping()
    sql.close()
    assert foreign.read_bytes() == before
    assert [p.name for p in foreign.parent.iterdir()] == ["app.db"]


def test_a_read_only_file_can_be_queried(foreign: Path, sql: app.SqlProvider) -> None:
    foreign.chmod(0o400)
    assert list(sql.select(Select(statement="select count(*) from customer")).rows) == [(2,)]


def test_a_database_that_this_account_may_not_write_is_no_outage(foreign: Path, sql: app.SqlProvider) -> None:
    with mode(foreign.parent, 0o500), mode(foreign, 0o400):
        for work in (lambda: sql.commit([Insert("t", "a", {})]), lambda: sql.write("a", [b"x"])):
            with pytest.raises(app.NotPermitted) as caught:
                work()
            assert str(foreign) in caught.value.hint
            assert str(foreign) not in caught.value.message
        assert sql.ping() >= 0


def test_pages_go_on_behind_a_damaged_record_as_it_is_stored(sql: app.SqlProvider, tmp_path: Path) -> None:
    rows = [Insert("t", f"k{n}", {"name": "ABCDEFGH"[n], "n": n}) for n in range(8)]
    sql.commit(rows)
    with sqlite3.connect(tmp_path / "data" / "app.db") as connection:  # SQLite takes a name that stands twice
        connection.execute("""update t set data = '{"n":3.5,"n":3.5,"name":"D"}' where key in ('k3', 'k6')""")
    for order in (("name",), ("-name",), ("n",), ("-n",), ("-id",), ()):
        for limit in (1, 2, 3):
            seen: list[str] = []
            cursor: str | None = ""
            while cursor is not None and len(seen) < 20:
                page = sql.find(app.Query("t", order_by=order, limit=limit, after=cursor))
                seen += [record.key for record in page.items]
                cursor = page.next
            assert sorted(seen) == [f"k{n}" for n in range(8)], (order, limit, seen)


def test_search_reads_what_other_programs_escape(sql: app.SqlProvider, tmp_path: Path) -> None:
    sql.commit([Insert("t", "a", {"x": "1/2"})])
    with sqlite3.connect(tmp_path / "data" / "app.db") as connection:
        connection.execute(r"""update t set data = '{"x":"1\/2 \u00e4"}'""")
    for text in ("1/2", "Ä"):
        assert len(sql.find(app.Query("t", search=text, search_fields=("x",))).items) == 1


def test_a_table_of_another_make_is_refused_and_left_alone(foreign: Path, sql: app.SqlProvider) -> None:
    with sqlite3.connect(foreign) as connection:
        connection.execute("create view recent as select 1 as key, 2 as version, 3 as data")
    connection.close()
    for work in (
        lambda: sql.commit([Insert("customer", "a", {})]),
        lambda: sql.get("customer", "a"),
        lambda: sql.find(Query("customer")),
        lambda: sql.prepare({"customer": {}}),
        lambda: sql.commit([Insert("Customer", "a", {})]),
        lambda: sql.commit([Insert("recent", "a", {})]),
        lambda: sql.commit([Insert("sqlite_x", "a", {})]),
        lambda: sql.commit([Insert("_blobs", "a", {})]),
        lambda: sql.commit([Insert("", "a", {})]),
        lambda: sql.commit([Insert("a\0b", "a", {})]),
    ):
        with pytest.raises(app.ConfigError, match="choose another name"):
            work()
    assert list(sql.select(Select(statement="select * from customer")).rows) == [(1, "Ada"), (2, "Bob")]
    assert sql.commit([Insert("other", "a", {})]) == [Record("a", 1, {})]


def test_tables_whose_names_or_columns_are_not_utf_8_are_left_alone(sql: app.SqlProvider, tmp_path: Path) -> None:
    sql.commit([Insert("t", "a", {})])
    with closing(sqlite3.connect(next(tmp_path.rglob("*.db")))) as connection:
        connection.execute("create table odd (gross text)")
        connection.execute("create table other (x text)")
        connection.execute("pragma writable_schema = on")
        connection.execute(
            "update sqlite_master set sql = cast(replace(sql, 'gross', x'6772f6df65') as text) where name = 'odd'"
        )
        change = "cast(replace(sql, 'other', x'fc') as text), name = cast(x'fc' as text), tbl_name = cast(x'fc' as text)"
        connection.execute(f"update sqlite_master set sql = {change} where name = 'other'")
        connection.commit()
    sql.close()
    sql.open()
    assert sql.tables() == ["t"]
    assert sql.get("t", "a") == Record("a", 1, {})
    with pytest.raises(app.ConfigError, match="not made by Satchel"):
        sql.find(Query("odd"))


def test_generated_columns_may_be_added_to_a_table_of_records(sql: app.SqlProvider) -> None:
    sql.prepare({"t": {}})
    assert sql._writer
    sql._writer.execute("alter table t add column days generated always as (data->>'days') virtual")
    sql._tables.clear()
    sql.commit([Insert("t", "a", {"days": 2})])
    assert list(sql.select(Select(statement="select days from t")).rows) == [(2,)]
    assert sql.get("t", "a") == Record("a", 1, {"days": 2})


def test_full_text_tables_can_be_queried(foreign: Path, sql: app.SqlProvider) -> None:
    with sqlite3.connect(foreign) as connection:
        connection.execute("create virtual table note using fts5(body)")
        connection.execute("insert into note values ('the quick fox')")
    connection.close()
    for _ in range(2):
        assert list(sql.select(Select(statement="select body from note where note match 'quick'")).rows) == [
            ("the quick fox",)
        ]


# ---- sql: errors


def public(error: app.AppError, folder: Path) -> str:
    assert str(folder) not in error.message
    assert error.message.startswith("provider main: ")
    return error.message


def test_a_database_that_another_program_holds_is_busy(sql: app.SqlProvider, tmp_path: Path) -> None:
    sql.commit([Insert("t", "a", {})])
    assert sql._writer
    sql._writer.execute("pragma busy_timeout = 20")
    other = sqlite3.connect(tmp_path / "data/app.db", isolation_level=None)
    other.execute("begin immediate")
    with pytest.raises(app.Unavailable) as caught:
        sql.commit([Insert("t", "b", {})])
    assert public(caught.value, tmp_path) == "provider main: writing: the database is busy"
    assert isinstance(caught.value.__cause__, sqlite3.OperationalError)
    assert sql.get("t", "a")
    other.execute("rollback")
    other.close()
    assert sql.commit([Insert("t", "b", {})])


def test_a_file_that_is_no_database_is_unavailable_with_a_hint(sql: app.SqlProvider, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/app.db").write_bytes(b"no database at all" * 1000)
    for work in (sql.ping, sql.open, lambda: sql.get("t", "a"), lambda: sql.select(Select(statement="select * from t"))):
        with pytest.raises(app.Unavailable) as caught:
            work()
        assert "is no SQLite database" in public(caught.value, tmp_path)
        assert str(tmp_path) in caught.value.hint


def test_a_damaged_database_is_unavailable(sql: app.SqlProvider, tmp_path: Path) -> None:
    sql.commit([Insert("t", f"{n}", {"x": "y" * 900}) for n in range(200)])
    sql.close()
    path = tmp_path / "data/app.db"
    data = path.read_bytes()
    path.write_bytes(data[:8192] + b"\xff" * (len(data) - 8192))
    sql.open()
    with pytest.raises(app.Unavailable) as caught:
        sql.find(Query("t", limit=500))
    assert "is damaged" in public(caught.value, tmp_path)


def test_a_folder_that_cannot_be_made_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    provider = app.SqlProvider("main", {"url": "sqlite:///data/app.db"}, tmp_path)
    with pytest.raises(app.Unavailable, match="cannot be created"):
        provider.open()
    with pytest.raises(app.Unavailable):
        provider.commit([Insert("t", "a", {})])
    provider.close()


def test_a_database_that_is_not_there_yet_cannot_be_queried(sql: app.SqlProvider, tmp_path: Path) -> None:
    with pytest.raises(app.Unavailable) as caught:
        sql.select(Select(statement="select 1"))
    assert "cannot be opened" in public(caught.value, tmp_path)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "data").mkdir()
    with pytest.raises(app.Unavailable):
        sql.select(Select(statement="select 1"))
    assert list((tmp_path / "data").iterdir()) == []


def test_a_full_disk_is_said_and_leaves_the_old_state_whole(sql: app.SqlProvider, tmp_path: Path) -> None:
    sql.commit([Insert("t", "a", {"n": 1})])
    old = sql.write("file", [b"old"])
    assert sql._writer
    pages = sql._writer.execute("pragma page_count").fetchone()[0]
    sql._writer.execute(f"pragma max_page_count = {pages + 2}")
    with pytest.raises(app.StorageFull) as caught:
        sql.commit([Update("t", "a", {"n": 2}), Insert("u", "b", {"x": "y" * 100_000})])
    assert "full" in public(caught.value, tmp_path)
    with pytest.raises(app.StorageFull):
        sql.write("file", [b"x" * 10_000_000])
    assert sql.get("t", "a") == Record("a", 1, {"n": 1})
    assert sql.get("u", "b") is None
    assert sql.stat("file") == old
    sql._writer.execute("pragma max_page_count = 1000000")
    assert sql.commit([Insert("u", "b", {})]) == [Record("b", 1, {})]
    assert list(sql.select(Select(statement="select count(*) from _chunks")).rows) == [(1,)]


# ---- sql: blobs


def count_of(sql: app.SqlProvider, table: str) -> int:
    return int(next(sql.select(Select(statement=f"select count(*) from {table}")).rows)[0])


def test_an_upload_leaves_the_last_of_the_disk_for_records(sql: app.SqlProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    sql.prepare({"t": {}})
    monkeypatch.setattr(app.shutil, "disk_usage", lambda path: SimpleNamespace(free=app.STAGE_LEAVES_BYTES - 1))
    with pytest.raises(app.StorageFull):
        sql.stage([b"x"])
    assert sql.commit([Insert("t", "a", {})])


def test_replaced_bytes_are_dropped_after_an_hour_and_staged_ones_after_a_day(sql: app.SqlProvider, clock: Time) -> None:
    sql.write("a", [b"x" * 600_000])
    reader = sql.read("a")
    chunks = iter(reader)
    next(chunks)
    left = sql.stage([b"left behind"])
    sql.write("a", [b"new"])
    assert count_of(sql, "_chunks") == 5
    clock.now += 3_500
    sql.write("b", [b"b"])
    assert count_of(sql, "_chunks") == 6
    clock.now += 200
    sql.write("b", [b"c"])
    assert count_of(sql, "_chunks") == 4
    with pytest.raises(app.Unavailable, match="replaced"):
        next(chunks)
    clock.now += 86_000
    sql.write("c", [b"d"])
    with pytest.raises(app.NotFound):
        sql.publish(left, "left")
    assert count_of(sql, "_loose") == 0
    assert [everything(sql.read(path)) for path in ("a", "b", "c")] == [b"new", b"c", b"d"]


def test_a_large_upload_is_kept_in_chunks_by_several_commits(sql: app.SqlProvider) -> None:
    sql.write("a", [])
    commits: list[str] = []
    assert sql._writer
    sql._writer.set_trace_callback(lambda text: commits.append(text) if text == "commit" else None)
    sql.write("big", [b"x" * 10_000_000])
    assert len(commits) == 4
    assert count_of(sql, "_chunks") == 39


def test_a_shallow_listing_looks_at_its_own_entries_alone(sql: app.SqlProvider, tmp_path: Path) -> None:
    sql.write("a/b/c", [b"x"])
    sql.write("a/d", [b"x"])
    asked: list[str] = []
    connection = sql._pool.take()
    connection.set_trace_callback(asked.append)
    sql._pool.give_back(connection)
    assert [e.path for e in sql.scan("a", deep=False)] == ["a/b", "a/d"]
    with sqlite3.connect(tmp_path / "data/app.db") as raw:
        plan = " ".join(row[3] for row in raw.execute("explain query plan " + asked[-1]))
    raw.close()
    assert "USING INDEX _blobs_parent (parent=? AND path>?)" in plan


# ---- file: the journal


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "data/.satchel/journal.jsonl"


def test_a_line_is_a_commit_and_is_json(file: app.FileProvider, journal: Path) -> None:
    file.commit([Insert("t", "a", {"n": 1}), Insert("t", "ü", {"d": app.Decimal("12345678901234567890.123")})])
    file.commit([Delete("t", "a")])
    lines = [app.load_json(line) for line in journal.read_bytes().splitlines()]
    assert [line[1:] for line in lines] == [
        [[[["t", "a", 1, {"n": 1}], ["t", "ü", 1, {"d": app.Decimal("12345678901234567890.123")}]]]],
        [[[["t", "a", 0, None]]]],
    ]
    assert stat.S_IMODE(journal.stat().st_mode) == 0o600
    assert stat.S_IMODE(journal.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize("cut", [1, 2, 15, -1])
def test_the_torn_end_of_a_crashed_writer_is_passed_over_and_cut_off(
    file: app.FileProvider, journal: Path, tmp_path: Path, cut: int
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
    file: app.FileProvider, journal: Path, tmp_path: Path, times: int
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
    file: app.FileProvider, journal: Path, caplog: pytest.LogCaptureFixture, line: int
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
    file: app.FileProvider, journal: Path, tmp_path: Path, line: int
) -> None:
    for n in range(3):
        file.commit([Insert("t", f"{n}", {"n": n})])
    file.close()
    lines = journal.read_bytes().splitlines(keepends=True)
    lines[line - 1] = lines[line - 1].replace(b'"n"', b'"n')
    journal.write_bytes(b"".join(lines))
    file.open()
    for work in (lambda: file.get("t", "0"), lambda: file.commit([Insert("t", "9", {})])):
        with pytest.raises(app.Unavailable, match=f"provider share: line {line} of its journal is damaged") as caught:
            work()
        assert str(tmp_path) in caught.value.hint
    assert journal.read_bytes() == b"".join(lines)


def test_a_journal_that_is_taken_away_is_noticed(file: app.FileProvider, journal: Path) -> None:
    file.commit([Insert("t", "a", {})])
    journal.unlink()
    for work in (lambda: file.get("t", "a"), lambda: file.commit([Insert("t", "b", {})])):
        with pytest.raises(app.Unavailable, match="gone"):
            work()
    assert not journal.exists()


def test_a_journal_that_a_restore_put_in_place_is_read_anew(file: app.FileProvider, journal: Path) -> None:
    file.commit([Insert("t", "a", {})])
    saved = journal.with_name("copy")
    saved.write_bytes(journal.read_bytes())
    file.commit([Insert("t", "b", {})])
    os.replace(saved, journal)
    assert [r.key for r in file.find(Query("t")).items] == ["a"]
    assert file.commit([Insert("t", "b", {})]) == [Record("b", 1, {})]


def test_the_journal_is_compacted_while_another_follows(file: app.FileProvider, journal: Path, tmp_path: Path) -> None:
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
    file: app.FileProvider, journal: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def replace(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "replace", replace)
    for n in range(12):
        file.commit([Update("t", f"{k}", {"n": n}) for k in range(100)])
    assert any("compacted" in warning for warning in file.warnings())
    assert not journal.with_suffix(".new").exists()
    other = another(file, tmp_path)
    assert {r.value["n"] for r in other.walk(Query("t"))} == {11}
    other.close()


@pytest.mark.parametrize("call", ["write", "fsync", "short"])
def test_a_failed_write_leaves_the_old_state_whole(
    file: app.FileProvider, journal: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
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
    file: app.FileProvider, journal: Path, monkeypatch: pytest.MonkeyPatch
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
    assert synced[-1] == str(journal.with_suffix(".new"))
    file.commit([Insert("t", "c", {})])
    assert synced[-2:] == [str(journal.parent), str(journal)]


# ---- file: blobs


def test_files_are_plain_files_that_other_programs_may_use(file: app.FileProvider, tmp_path: Path) -> None:
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


def test_a_reader_can_be_sent_by_descriptor(file: app.FileProvider) -> None:
    file.write("a", [b"0123456789"])
    reader = file.read("a", 3, 4)
    assert (reader.start, reader.length) == (3, 4)
    assert os.pread(reader.fileno(), reader.length, reader.start) == b"3456"
    reader.close()
    reader.close()
    with closing(file.read("a", 8, 100)) as rest:
        assert rest.length == 2


def test_a_file_that_is_cut_while_it_is_read_is_an_error_and_not_an_end(file: app.FileProvider, tmp_path: Path) -> None:
    file.write("a", [b"x" * 600_000])
    with closing(file.read("a")) as reader:
        chunks = iter(reader)
        next(chunks)
        os.truncate(tmp_path / "data/a", 300_000)
        with pytest.raises(app.Unavailable, match="shorter"):
            list(chunks)


def test_the_providers_own_folder_is_reserved(file: app.FileProvider) -> None:
    file.commit([Insert("t", "a", {})])
    file.write("ok/.satchel/a", [b"only the one at the top is reserved"])
    for path in (".satchel", ".satchel/journal.jsonl", ".Satchel/x", ".satchel/staged/x"):
        for work in (lambda p=path: file.read(p), lambda p=path: file.write(p, [b"x"]), lambda p=path: file.remove(p)):
            with pytest.raises(app.BadRequest):
                work()
        with pytest.raises(app.BadRequest):
            file.move("ok/.satchel/a", path)
        assert file.stat(path) is None
        assert not file.is_folder(path)
        assert list(file.scan(path)) == []
    assert [e.path for e in file.scan()] == ["ok/.satchel/a"]
    assert [e.path for e in file.scan(deep=False)] == ["ok"]


def test_links_that_leave_the_root_are_invisible_and_refused(file: app.FileProvider, tmp_path: Path) -> None:
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
        for work in (lambda p=path: file.read(p), lambda p=path: file.write(p, [b"x"]), lambda p=path: file.remove(p)):
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


def test_links_inside_the_root_are_followed_and_cycles_end(file: app.FileProvider, tmp_path: Path) -> None:
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


def test_special_files_are_passed_over_and_names_that_nobody_can_ask_for_are_marked(
    file: app.FileProvider, tmp_path: Path
) -> None:
    file.write("a", [b"x"])
    root = tmp_path / "data"
    os.mkfifo(root / "pipe")
    (root / "dangling").symlink_to("nowhere")
    for name in (b"bad\xff", b"back\\slash", b"con", b"dot.", b"new\nline"):
        (Path(os.fsdecode(os.fsencode(root) + b"/" + name))).write_text("x")
    for deep in (False, True):
        seen = {entry.path: getattr(entry, "problem", "") for entry in file.scan(deep=deep)}
        assert list(seen) == sorted(["a", "bad\ufffd", "back\ufffdslash", "con", "dot.", "new\ufffdline"])
        assert (seen["a"], seen["bad\ufffd"]) == ("", "its name is not UTF-8")
        assert (
            seen["con"] == "its name has a segment that Windows cannot store (a device name, or a dot or space at its end)"
        )
        assert seen["back\ufffdslash"].startswith("its name has a slash or backslash")
    paged: list[str] = []
    while entry := next(file.scan(deep=False, after=paged[-1] if paged else ""), None):
        paged.append(entry.path)
    assert paged == list(seen)
    assert file.stat("pipe") is None
    with pytest.raises(app.NotFound):
        file.read("pipe")
    with pytest.raises(app.Conflict):
        file.write("pipe", [b"x"])


def test_a_page_of_a_large_folder_looks_at_its_own_entries_alone(
    file: app.FileProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(50):
        (file._root / "many").mkdir(parents=True, exist_ok=True)
        (file._root / "many" / f"{number:02}").touch()
    looked, look = [], file._look
    monkeypatch.setattr(file, "_look", lambda path: (looked.append(path), look(path))[1])
    page = file.scan("many", deep=False, after="many/19")
    assert [next(page).path for _ in range(3)] == ["many/20", "many/21", "many/22"]
    assert len(looked) == 3


def test_names_that_are_too_long_for_the_disk_are_bad_requests(file: app.FileProvider) -> None:
    with pytest.raises(app.BadRequest):
        file.write("x" * 256, [b"x"])


def test_staged_files_are_swept_after_a_day(file: app.FileProvider, clock: Time, tmp_path: Path) -> None:
    old = file.stage([b"old"])
    clock.now += 86_000
    file.discard(file.stage([b"x"]))
    young = file.stage([b"young"])
    clock.now += 500
    file.discard(file.stage([b"x"]))
    assert [p.name for p in (tmp_path / "data/.satchel/staged").iterdir()] == [young.id]
    with pytest.raises(app.NotFound):
        file.publish(old, "a")
    assert file.publish(young, "a").modified_at == pytest.approx(clock.now - 500)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_while_staging_is_said_and_leaves_nothing(
    file: app.FileProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
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
    file: app.FileProvider, tmp_path: Path
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


def test_what_cannot_be_looked_at_is_marked_and_hides_nothing_else(file: app.FileProvider, tmp_path: Path) -> None:
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
        assert str(tmp_path) not in entries[1].problem  # type: ignore[union-attr]
        assert [(e.path, type(e)) for e in file.scan()] == [
            ("a", app.Blob),
            ("m", app.Unseen),
            ("shut", app.Unseen),
            ("z", app.Blob),
        ]
        assert refused(lambda: list(file.scan("shut", deep=False)))


def test_a_whole_folder_that_this_account_may_not_write_is_a_provider_that_is_away(
    file: app.FileProvider, tmp_path: Path
) -> None:
    file.write("a", [b"x"])
    for place in (tmp_path / "data", tmp_path / "data/.satchel/staged", tmp_path / "data/.satchel"):
        with mode(place, 0o500 if place.name == "staged" else 0), pytest.raises(app.Unavailable):
            file.write("b", [b"y"])
    with mode(tmp_path / "data", 0o500), pytest.raises(app.Unavailable):
        file.remove("a")


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM, errno.EISDIR, errno.ELOOP, errno.EBUSY, errno.ETXTBSY])
def test_what_the_system_says_of_one_file_is_no_outage(
    file: app.FileProvider, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    file.write("a", [b"old"])

    def fail(*args: Any, **_: Any) -> None:
        raise OSError(number, os.strerror(number), str(args[0]))

    monkeypatch.setattr(os, "unlink", fail)
    with pytest.raises(app.NotPermitted):
        file.remove("a")


def test_a_folder_that_another_program_made_stays_when_its_last_file_goes(file: app.FileProvider, tmp_path: Path) -> None:
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


def test_a_folder_that_was_removed_and_made_again_by_another_program_is_theirs(
    file: app.FileProvider, tmp_path: Path
) -> None:
    file.write("a/b", [b"x"])
    (tmp_path / "data/a/b").unlink()
    (tmp_path / "data/a").rmdir()
    (tmp_path / "data/a").mkdir()
    file.write("a/b", [b"x"])
    file.remove("a/b")
    assert (tmp_path / "data/a").is_dir()


def test_a_folder_that_was_made_here_goes_with_its_last_file_whichever_process_removes_it(
    file: app.FileProvider, tmp_path: Path
) -> None:
    file.write("a/b/c", [b"x"])
    second = another(file, tmp_path)
    second.remove("a/b/c")
    second.close()
    assert [e.path for e in file.scan(deep=False)] == []
    assert list((tmp_path / "data/.satchel/folders").iterdir()) == []


def test_where_the_system_does_not_say_when_a_folder_was_born_it_stays(
    file: app.FileProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "_linux_birth", lambda place: "")
    file.write("a/b", [b"x"])
    file.remove("a/b")
    assert (tmp_path / "data/a").is_dir() == (not hasattr(os.stat(tmp_path), "st_birthtime"))


def test_a_rename_that_fails_leaves_the_old_blob_and_no_empty_folders(
    file: app.FileProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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


def test_create_only_works_where_the_file_system_has_no_hard_links(
    file: app.FileProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", fail)
    file.write("a", [b"1"], if_none_match=True)
    with pytest.raises(app.PreconditionFailed):
        file.write("a", [b"2"], if_none_match=True)
    assert everything(file.read("a")) == b"1"


def test_create_only_does_not_overwrite_what_another_program_just_made(
    file: app.FileProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write("other", [b"x"])
    monkeypatch.setattr(file, "stat", lambda path: None)
    monkeypatch.setattr(os.path, "lexists", lambda path: False)
    (tmp_path / "data/a").write_bytes(b"theirs")
    with pytest.raises(app.PreconditionFailed):
        file.write("a", [b"ours"], if_none_match=True)
    assert (tmp_path / "data/a").read_bytes() == b"theirs"


def test_publishing_syncs_the_bytes_and_every_folder_that_changed(
    file: app.FileProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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
    assert synced == ["."]


def test_a_root_that_is_no_folder_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    provider = app.FileProvider("share", {"root": "data"}, tmp_path)
    with pytest.raises(app.Unavailable) as caught:
        provider.open()
    assert str(tmp_path) not in caught.value.message


def test_conditions_on_names_that_json_paths_cannot_hold_find_what_they_name(sql: app.SqlProvider) -> None:
    sql.commit([Insert("t", "a", {'x"y': {"z": 1}, "x": {"z": 2}}), Insert("t", "b", {'x"y': 1})])
    assert [r.key for r in sql.find(Query("t", where=(Condition('x"y', "eq", 1),))).items] == ["b"]
