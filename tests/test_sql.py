"""What providers share, by itself; and what is true of SQLite only: its settings, faults and databases of others."""

import fcntl
import os
import re
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from sites import Time, everything, mode

import app
from app import Condition, Delete, Insert, Query, Record, Select, Update


@pytest.fixture
def clock() -> Time:
    return Time()


@pytest.fixture
def sql(tmp_path: Path, clock: Time) -> Iterator[app.SqlProvider]:
    provider = app.SqlProvider("main", {"url": "sqlite:///data/app.db"}, tmp_path, clock=clock)
    provider.open()
    yield provider
    provider.close()


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

    def run_jobs(jobs: list[app.PendingCommit]) -> None:
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

    def run_jobs(jobs: list[app.PendingCommit]) -> None:
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


class InterruptedTurn:
    """Of a thread that is interrupted while it waits; `at` says when."""

    def __init__(self, at: threading.Event) -> None:
        self.at, self.given = at, threading.Event()

    def acquire(self) -> None:
        self.at.wait()
        raise KeyboardInterrupt

    def release(self) -> None:
        self.given.set()


@pytest.mark.parametrize("is_to_lead", [False, True])
def test_a_waiting_thread_that_is_interrupted_holds_nobody_up_and_its_work_is_not_done(
    is_to_lead: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    first, go, interrupts = threading.Event(), threading.Event(), threading.Event()
    turn, made = InterruptedTurn(interrupts), app.PendingCommit

    def run_jobs(jobs: list[app.PendingCommit]) -> None:
        first.set()
        go.wait()
        for job in jobs:
            done.append(job.work)

    def pending(work: str) -> app.PendingCommit:
        job: Any = made(work)
        if work == "x":
            job.turn = turn
        return cast(app.PendingCommit, job)

    def interrupted() -> None:
        with pytest.raises(KeyboardInterrupt):
            group.submit("x")

    monkeypatch.setattr(app, "PendingCommit", pending)
    group = app.GroupCommit(run_jobs)
    leader, x, a = partial(group.submit, "leader"), interrupted, partial(group.submit, "a")
    threads = [threading.Thread(target=target, daemon=True) for target in (leader, x, a)]
    for number, thread in enumerate(threads):
        thread.start()
        first.wait()
        while len(group._waiting) < number:
            pass
    if not is_to_lead:
        interrupts.set()
        threads[1].join()
    go.set()
    if is_to_lead:
        turn.given.wait()  # the leader has made it the next one, and has not noticed that it will not come
        interrupts.set()
    for thread in threads:
        thread.join(20)
    assert not any(thread.is_alive() for thread in threads)
    group.submit("y")
    assert done == ["leader", "a", "y"]


def test_one_commit_wakes_the_next_leader_and_none_of_those_that_wait_behind_it(monkeypatch: pytest.MonkeyPatch) -> None:
    woken: list[str] = []
    gates = {"leader": threading.Event(), "a": threading.Event()}
    begun = {name: threading.Event() for name in gates}
    made = app.PendingCommit

    class Turn:
        def __init__(self, work: str, lock: Any) -> None:
            self.work, self.lock = work, lock

        def acquire(self) -> None:
            self.lock.acquire()
            woken.append(self.work)

        def release(self) -> None:
            self.lock.release()

    def run_jobs(jobs: list[app.PendingCommit]) -> None:
        begun[jobs[0].work].set()
        gates[jobs[0].work].wait()

    def pending(work: str) -> app.PendingCommit:
        job: Any = made(work)
        job.turn = Turn(work, job.turn)
        return cast(app.PendingCommit, job)

    monkeypatch.setattr(app, "PendingCommit", pending)
    group = app.GroupCommit(run_jobs)
    threads = [threading.Thread(target=group.submit, args=(work,)) for work in ("leader", "a", "b", "c")]
    for number, thread in enumerate(threads):
        thread.start()
        begun["leader"].wait()
        while len(group._waiting) < number:
            pass
    gates["leader"].set()
    begun["a"].wait()
    threads[0].join()
    assert woken == ["leader", "a"]
    gates["a"].set()
    for thread in threads:
        thread.join()
    assert sorted(woken) == ["a", "b", "c", "leader"]


def test_a_table_made_in_a_commit_that_was_undone_is_made_again(sql: app.SqlProvider) -> None:
    sql.commit([Insert("t", "a", {})])
    for _ in range(2):  # the second time after it was seen to be there
        both = [Insert("fresh", "a", {}), Insert("t", "a", {})], [Insert("other", "a", {})]
        jobs = [app.PendingCommit(sql._work(writes, app.check_commit(writes))) for writes in both]
        sql._commit_jobs(jobs)
        assert isinstance(jobs[0].error, app.Conflict)
        assert sql.get("fresh", "a") is None
        sql.commit([Delete("other", "a")])
    assert sql.commit([Insert("fresh", "a", {})]) == [Record("a", 1, {})]


@pytest.mark.parametrize("taken", [0, 7, 49, 50, 99, 100, 149, 230])
def test_the_one_that_is_taken_among_many_new_ones_is_named_and_none_is_stored(sql: app.SqlProvider, taken: int) -> None:
    sql.commit([Insert("t", f"{taken:04}", {"old": 1}), Insert("u", "z", {})])
    many = [Insert("t", f"{n:04}", {"n": n}, version=n % 3 + 1) for n in range(231)]
    for before in ([], [Insert("fresh", "a", {}), Delete("u", "z")]):
        with pytest.raises(app.Conflict) as caught:
            sql.commit([*before, *many])
        assert caught.value.index == len(before) + taken
        assert (sql.count(app.Query("t")), sql.count(app.Query("fresh")), sql.count(app.Query("u"))) == (1, 0, 1)
    rest = [write for write in many if write.key != f"{taken:04}"]
    made = sql.commit([*rest, Delete("u", "z")])
    assert made == [Record(w.key, w.version, w.value) for w in rest] + [Record("z", 0, {})]
    assert sql.get("t", f"{taken:04}") == Record(f"{taken:04}", 1, {"old": 1})
    assert all(sql.get("t", record.key) == record for record in made[:-1])


def test_a_commit_that_fails_alone_leaves_nothing_open(sql: app.SqlProvider) -> None:
    sql.commit([Insert("t", "a", {})])
    for _ in range(2):
        with pytest.raises(app.Conflict):
            sql.commit([Insert("fresh", "a", {}), Insert("t", "a", {})])
        assert sql._writer is not None
        assert not sql._writer.in_transaction
        assert sql.get("fresh", "a") is None
    assert sql.commit([Insert("fresh", "a", {})]) == [Record("a", 1, {})]


# ---- the pool


class Connection:
    def __init__(self) -> None:
        self.is_alive, self.closed = True, 0

    def close(self) -> None:
        self.closed += 1


def test_a_pool_gives_the_connection_used_last_first_and_keeps_so_many() -> None:
    pool = app.Pool("provider x", Connection, keep=2)
    with pytest.raises(app.Unavailable, match="provider x is not open"):
        pool.take()
    pool.is_open = True
    one, two, three = pool.take(), pool.take(), pool.take()
    for connection in (one, two, three):
        pool.give_back(connection)
    assert [connection.closed for connection in (one, two, three)] == [0, 0, 1]
    assert pool.take() is two
    pool.give_back(two, reusable=False)
    assert two.closed == 1
    assert pool.take() is one


def test_a_pool_gives_no_connection_that_is_no_longer_alive_and_closes_all_in_the_end() -> None:
    pool = app.Pool("provider x", Connection, keep=8, is_alive=lambda connection: connection.is_alive)
    pool.is_open = True
    idle, dead, used = pool.take(), pool.take(), pool.take()
    for connection in (idle, dead):
        pool.give_back(connection)
    dead.is_alive = False
    assert pool.take() is idle
    assert dead.closed == 1
    pool.give_back(idle)
    pool.close()
    assert (idle.closed, used.closed) == (1, 0)
    pool.give_back(used)
    assert used.closed == 1


# ---- sql: settings


@pytest.mark.parametrize(
    "url", [None, 7, "", "app.db", "sqlite://", "sqlite:///", "sqlite:///:memory:", "postgresql://db/x"]
)
def test_a_url_that_is_not_of_sqlite_is_refused_saying_what_is(url: Any, tmp_path: Path) -> None:
    with pytest.raises(app.ConfigError, match="sqlite:///path is supported"):
        app.SqlProvider("main", {"url": url}, tmp_path)


def test_paths_are_relative_to_the_folder_or_absolute(tmp_path: Path) -> None:
    assert app.SqlProvider("a", {"url": "sqlite:///x/y.db"}, tmp_path).path == tmp_path / "x/y.db"
    assert app.SqlProvider("a", {"url": f"sqlite:///{tmp_path}/z.db"}, Path("/elsewhere")).path == tmp_path / "z.db"


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
    other = app.SqlProvider("main", {"url": "sqlite:///data/app.db"}, tmp_path)
    other.open()
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


def test_a_reader_that_is_slow_meets_the_time_limit_too(sql: app.SqlProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    sql.commit([Insert("t", f"{n}", {}) for n in range(900)])
    rows = sql.select(Select(statement="select key from t", timeout_s=100))
    next(rows.rows)
    now = app.time.monotonic()
    monkeypatch.setattr(app.time, "monotonic", lambda: now + 101)
    with pytest.raises(app.QueryTimeout, match="100 s"):
        list(rows.rows)


def test_records_need_no_code_for_files_and_views(tmp_path: Path) -> None:
    code = """
import sys, pathlib, app
provider = app.SqlProvider("main", {"url": "sqlite:///app.db"}, pathlib.Path(sys.argv[1]))
provider.open()
provider.commit([app.Insert("t", "a", {"n": 1})])
assert provider.find(app.Query("t")).items == [app.Record("a", 1, {"n": 1})]
assert not {"satchel_plugin_sql_files", "satchel_plugin_sql_views"} & set(sys.modules)
provider.write("a", [b"x"])
assert list(provider.select(app.Select(statement="select key from t")).rows) == [("a",)]
assert {"satchel_plugin_sql_files", "satchel_plugin_sql_views"} < set(sys.modules)
provider.close()
"""
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path], capture_output=True, cwd=Path(app.__file__).parent, timeout=60
    )
    assert done.returncode == 0, done.stderr.decode()


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
        lambda: sql.prepare({"customer": []}),
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
    sql.prepare({"t": []})
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
    sql.prepare({"t": []})
    leaves_bytes = app.plugin("reserve").UPLOADS_LEAVE_BYTES
    facts = {"f_frsize": 1, "f_blocks": 100 * leaves_bytes, "f_bavail": leaves_bytes - 1, "f_files": 0, "f_favail": 0}
    monkeypatch.setattr(os, "statvfs", lambda path: SimpleNamespace(**facts))
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
    sql.sweep(clock.now)
    assert count_of(sql, "_chunks") == 6
    clock.now += 200
    sql.sweep(clock.now)
    sql.write("b", [b"c"])
    assert count_of(sql, "_chunks") == 4
    with pytest.raises(app.Unavailable, match="replaced"):
        next(chunks)
    clock.now += 86_000
    sql.sweep(clock.now)
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


def test_conditions_on_names_that_json_paths_cannot_hold_find_what_they_name(sql: app.SqlProvider) -> None:
    sql.commit([Insert("t", "a", {'x"y': {"z": 1}, "x": {"z": 2}}), Insert("t", "b", {'x"y': 1})])
    assert [r.key for r in sql.find(Query("t", where=(Condition('x"y', "eq", 1),))).items] == ["b"]
