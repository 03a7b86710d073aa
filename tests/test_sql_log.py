"""The write-ahead log of SQLite stays short, whoever reads; and what readers of replaced files meet."""

import logging
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sites import Time, everything

import app
from app import Insert, Select

SQL_LOG = app.plugin("sql_log")
SQL_FILES = app.plugin("sql_files")


@pytest.fixture
def sql(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[app.SqlProvider]:
    """A database whose log is long from 1 MB on."""
    monkeypatch.setattr(SQL_LOG, "LOG_BYTES", 1_000_000)
    provider = app.SqlProvider("main", {"url": "sqlite:///data/app.db"}, tmp_path, clock=Time())
    provider.open()
    provider.commit([Insert("t", "first", {})])
    provider.log.clock = Time()
    yield provider
    provider.close()


def fill(sql: app.SqlProvider, megabytes: float) -> None:
    for _ in range(int(megabytes * 10)):
        sql.commit([Insert("t", app.new_id(time.time()), {"x": "y" * 100_000})])


def log_bytes(sql: app.SqlProvider) -> int:
    size: int = sql.log.seen()[0]
    return size


@contextmanager
def reading(sql: app.SqlProvider) -> Iterator[None]:
    rows = begun(sql)
    try:
        yield
    finally:
        rows.close()


def begun(sql: app.SqlProvider) -> app.Rows:
    """A view of which one row was read."""
    rows = sql.select(Select(statement="select key from t union all select 'x' union all select 'y'"))
    next(rows.rows)
    return rows


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if "the log of the database" in record.getMessage()]


def test_the_log_stays_short_while_at_each_moment_somebody_reads(sql: app.SqlProvider) -> None:
    """With nothing but SQLite's own checkpoints it had 1,000 MB after 150 seconds at 16 connections."""
    sql.log.clock = time.monotonic
    ended = threading.Event()

    def read() -> None:
        while not ended.is_set():
            with reading(sql):
                ended.wait(0.01)  # longer than the others need to begin

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    emptied, before = 0, 0
    for _ in range(1000):
        fill(sql, 0.1)
        emptied, before = emptied + (log_bytes(sql) < before), log_bytes(sql)
        if emptied == 2:
            break
    ended.set()
    for thread in threads:
        thread.join()
    assert emptied == 2, "it was emptied, grew, and was emptied again"


def test_without_readers_the_log_is_emptied_at_the_commit_that_makes_it_long(sql: app.SqlProvider) -> None:
    sql.commit([Insert("t", f"{number}", {"x": "y" * 30_000}) for number in range(90)])
    assert log_bytes(sql) == 0


def test_a_reader_of_hours_is_told_of_once_and_the_log_is_emptied_when_it_has_gone(
    sql: app.SqlProvider, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    sql.log.clock.now = time.monotonic()
    reader, began = begun(sql), time.monotonic()
    sql.log.clock.now = time.monotonic()
    tries: list[float] = []
    empty = sql.log._empty

    def counted(*given: Any) -> Any:
        tries.append(sql.log.clock.now)
        return empty(*given)

    sql.log._empty = counted
    fill(sql, 2)
    assert not told(caplog), "a moment of reading is nothing to speak of"
    for _ in range(200):
        sql.log.clock.now += 10
        fill(sql, 0.1)
    assert time.monotonic() - began < 60
    [line] = told(caplog)
    assert "provider main" in line
    assert "has been reading rows of" in line
    pauses = [later - earlier for earlier, later in pairwise(tries)]
    assert len(tries) < 45, "not at each commit"
    assert 50 <= pauses[-1] <= 70
    grown = log_bytes(sql)
    assert grown > 20_000_000
    assert list(reader.rows) == [("x",), ("y",)], "it reads what was there when it began"
    reader.close()
    sql.log.clock.now += 60
    fill(sql, 0.1)
    assert log_bytes(sql) == 0
    assert "was emptied" in told(caplog)[-1]
    assert sql._lock.path.read_bytes() == b""


def test_a_write_waits_for_readers_only_for_a_moment(sql: app.SqlProvider) -> None:
    with reading(sql):
        fill(sql, 1.5)
        waits = []
        for _ in range(20):
            sql.log.clock.now += 60  # a try each time
            began = time.perf_counter()
            sql.commit([Insert("t", app.new_id(time.time()), {})])
            waits.append(time.perf_counter() - began)
    assert sorted(waits)[10] < 0.5


@pytest.mark.skipif(not Path("/proc/locks").exists(), reason="only Linux tells who reads")
def test_a_reader_in_another_process_is_named(
    sql: app.SqlProvider, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    code = (
        "import sqlite3, sys; c = sqlite3.connect(sys.argv[1], isolation_level=None); c.execute('begin');"
        "c.execute('select * from t').fetchall(); print('reads', flush=True); sys.stdin.read()"
    )
    fill(sql, 0.1)
    with subprocess.Popen(
        [sys.executable, "-c", code, str(sql.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdin is not None
        other.stdout.readline()
        for _ in range(30):
            sql.log.clock.now += 5
            fill(sql, 0.2)
        [line] = told(caplog)
        assert f"process {other.pid} reads" in line
        other.stdin.close()
        other.wait(10)
    sql.log.clock.now += 60
    fill(sql, 0.1)
    assert log_bytes(sql) == 0


def test_what_several_processes_know_of_the_log_is_in_the_lock_file(
    sql: app.SqlProvider, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Two providers stand for two workers: they share nothing but the files."""
    other = app.SqlProvider("main", {"url": "sqlite:///data/app.db"}, tmp_path)
    other.open()
    other.log.clock = sql.log.clock
    sql.log.clock.now = time.monotonic() + 1
    with reading(other):
        sql.log.clock.now = time.monotonic() + 1
        for _ in range(30):
            sql.log.clock.now += 5
            fill(sql, 0.1)
            fill(other, 0.1)
    [line] = told(caplog)
    assert "has been reading" in line, "by the one that reads"
    other.close()


def test_a_checkpoint_that_fails_fails_no_write(sql: app.SqlProvider, caplog: pytest.LogCaptureFixture) -> None:
    assert sql._writer
    sql._writer.set_authorizer(
        lambda action, first, *_: sqlite3.SQLITE_DENY if first == "wal_checkpoint" else sqlite3.SQLITE_OK
    )
    for number in range(40):
        sql.log.clock.now += 5
        sql.commit([Insert("t", f"{number}", {"x": "y" * 100_000})])
    assert sql.get("t", "39")
    [line] = told(caplog)
    assert "not authorized" in line
    sql._writer.set_authorizer(None)
    sql.log.clock.now += 60
    fill(sql, 0.1)
    assert log_bytes(sql) == 0


def test_a_log_to_which_nobody_writes_is_emptied_and_one_in_use_is_left(
    sql: app.SqlProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SQL_LOG, "LOG_BYTES", 64_000_000)
    monkeypatch.setattr(SQL_LOG, "QUIET_BYTES", 100_000)
    job, site = SQL_LOG.Checkpoints({}, None), SimpleNamespace(providers={"main": sql})
    fill(sql, 0.5)
    job.run(site, threading.Event())
    fill(sql, 0.5)
    job.run(site, threading.Event())
    assert log_bytes(sql) > 100_000, "somebody wrote since the last look"
    job.run(site, threading.Event())
    assert log_bytes(sql) == 0
    job.run(site, threading.Event())
    assert sql.get("t", "first")


def test_the_log_of_a_database_that_is_only_read_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SQL_LOG, "QUIET_BYTES", 100_000)
    with closing(sqlite3.connect(tmp_path / "theirs.db", isolation_level=None)) as theirs:
        theirs.execute("pragma journal_mode = wal")
        theirs.execute("create table t (x)")
        theirs.execute("insert into t values (zeroblob(500000))")
        provider = app.SqlProvider("theirs", {"url": "sqlite:///theirs.db"}, tmp_path)
        provider.open()
        job, site = SQL_LOG.Checkpoints({}, None), SimpleNamespace(providers={"theirs": provider})
        for _ in range(3):
            job.run(site, threading.Event())
        assert log_bytes(provider) > 500_000
        assert not (tmp_path / "theirs.db.lock").exists()
        provider.close()


# ---- replaced files


def kept_bytes(sql: app.SqlProvider) -> int:
    return int(next(sql.select(Select(statement="select coalesce(sum(length(bytes)), 0) from _chunks")).rows)[0])


@pytest.fixture
def little(monkeypatch: pytest.MonkeyPatch) -> int:
    """So many replaced bytes are kept."""
    monkeypatch.setattr(SQL_FILES, "REPLACED_KEPT_BYTES", 1_000_000)
    monkeypatch.setattr(SQL_FILES.SqlFiles, "_replaced_bytes", 1_000_000)
    return 1_000_000


def test_replaced_and_removed_bytes_are_kept_up_to_a_limit_and_the_oldest_go_first(
    sql: app.SqlProvider, little: int
) -> None:
    """Of 1,806 overwrites of 200 kB 360 MB stayed for an hour."""
    readers = {}
    for number in range(30):
        sql.write("a", [bytes([number]) * 200_000])
        readers[number] = sql.read("a")
        sql.write(f"b{number}", [b"b" * 100_000])
        sql.remove(f"b{number}")
        sql.clock.now += 1  # type: ignore[attr-defined]
    assert kept_bytes(sql) <= 200_000 + little * 1.5
    assert everything(readers[29]) == bytes([29]) * 200_000
    assert everything(readers[28]) == bytes([28]) * 200_000
    with pytest.raises(app.Unavailable, match="was replaced"):
        everything(readers[3])
    assert count_of(sql, "_loose") < 15


def count_of(sql: app.SqlProvider, table: str) -> int:
    return int(next(sql.select(Select(statement=f"select count(*) from {table}")).rows)[0])


def test_a_download_of_what_is_replaced_ends_rightly_or_breaks_off(sql: app.SqlProvider, little: int) -> None:
    sql.write("a", [b"0" * 900_000])
    reader = sql.read("a")
    chunks = iter(reader)
    got = next(chunks)
    sql.write("a", [b"1" * 1_900_000])
    got += next(chunks)
    for number in range(2, 6):
        sql.write("a", [b"%d" % number * 1_900_000])
        sql.clock.now += 1  # type: ignore[attr-defined]
    rest: list[bytes] = []
    with pytest.raises(app.Unavailable, match="begin anew"):
        rest.extend(chunks)
    assert set(got + b"".join(rest)) == {ord("0")}


def test_the_newest_replaced_bytes_and_what_is_staged_are_kept_whatever_their_size(
    sql: app.SqlProvider, little: int
) -> None:
    staged = [sql.stage([b"s" * 900_000]) for _ in range(3)]
    sql.write("a", [b"0" * 5_000_000])
    reader = sql.read("a")
    sql.write("a", [b"1"])
    assert everything(reader) == b"0" * 5_000_000
    for one in staged:
        sql.publish(one, f"s{one.id}")
        assert everything(sql.read(f"s{one.id}")) == b"s" * 900_000
