"""Lists of records in SQLite: sort keys in its own functions, and the indexes that declared queries get."""

from __future__ import annotations

import random
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sites import Site

import app
from app import Condition, Insert, Query

records = app.plugin("sql_records")
MOMENTS = frozenset({"at"})


@pytest.fixture
def sql(tmp_path: Path) -> Iterator[app.SqlProvider]:
    provider = app.SqlProvider("main", {"url": "sqlite:///data/app.db"}, tmp_path)
    provider.open()
    yield provider
    provider.close()


def by_hand(tmp_path: Path) -> Any:
    """A connection as any other program has one: without a function of ours."""
    return closing(sqlite3.connect(tmp_path / "data" / "app.db", isolation_level=None))


def indexes(tmp_path: Path, table: str = "t") -> list[str]:
    with by_hand(tmp_path) as connection:
        found = "select sql from sqlite_master where type = 'index' and tbl_name = ? and name glob 'satchel_*'"
        return [text for (text,) in connection.execute(found, (table,))]


# ---- what is remembered


def test_what_a_reader_does_to_a_listed_record_stays_with_that_reader(sql: app.SqlProvider) -> None:
    sql.commit([Insert("t", "flat", {"a": 1}), Insert("t", "nested", {"a": [1]})])
    for record in sql.find(Query("t")).items:
        assert record.value["a"] in (1, [1])
        if isinstance(record.value["a"], list):
            record.value["a"].append(2)
        record.value["b"] = "added"
    assert [record.value for record in sql.find(Query("t")).items] == [{"a": 1}, {"a": [1]}]


# ---- sort keys


def any_number(chance: random.Random) -> str:
    kind = chance.randrange(4)
    if kind == 0:
        return str(chance.randint(-(10 ** chance.randint(1, 19)), 10 ** chance.randint(1, 19)))
    if kind == 1:
        return repr(chance.uniform(-1, 1) * 10.0 ** chance.randint(-20, 20))
    whole, fraction = chance.choice(["0", "7", "120", "9" * 25]), f"{chance.randrange(10**6):0{chance.randint(6, 30)}}"
    digits = f"{chance.choice(['', '-'])}{whole}.{fraction}"
    return digits if kind == 2 else f"{digits}{chance.choice('eE')}{chance.choice(['', '+', '-'])}{chance.randrange(500)}"


def any_moment(chance: random.Random) -> str:
    """Nearly always a date-time, on a day that may not exist."""
    year, month = chance.choice([0, 1, 4, 1582, 1900, 2000, 2026, 9999]), chance.randint(0, 13)
    day = f"{year:04}-{month:02}-{chance.choice([0, 1, 28, 29, 30, 31, 32]):02}"
    time = f"{chance.randint(0, 24):02}:{chance.randint(0, 60):02}:{chance.randint(0, 60):02}"
    fraction = chance.choice(["", "", f".{chance.randrange(10**4)}", ".000", ".120", ".", ".1x"])
    return (
        day
        + chance.choice("TTTt _")
        + time
        + fraction
        + chance.choice(["Z", "Z", "z", "", "+02:00", "-23:59", "+24:00", "+0200"])
    )


def test_the_sort_key_of_sqlite_is_that_of_the_program() -> None:
    chance = random.Random(11)
    values = [any_number(chance) for _ in range(3000)] + [
        "0",
        "-0",
        "0.0",
        "-0e7",
        "1e999999",
        "-1e400",
        "9223372036854775808",
    ]
    values += [app.dump_json(any_moment(chance)) for _ in range(20_000)]
    values += ['"now"', '""', '"2026-11-23T08:00:00Z"', '"é\U0001f3d6"', "true", "false", "null", "[1]", "{}"]
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("create table t (key text primary key, version, data)")
        connection.executemany(
            "insert into t values (?, 1, ?)", [(f"{n}", f'{{"v":{text}}}') for n, text in enumerate(values)]
        )
        for instant in (False, True):
            found = connection.execute(f"select key, data, {records.field_sql('v', instant)} from t").fetchall()
            wrong = [
                (data, key)
                for name, data, key in found
                if key != app.field_key(app.stored_record(name, 1, data), "v", instant)
            ]
            assert wrong == []
        moments = connection.execute(f"select count(*) from t where {records.field_sql('v', True)} glob 'i*'").fetchone()
        assert moments[0] > 1000


# ---- indexes


def plan(sql: app.SqlProvider, query: Query, what: str = "rows") -> str:
    """How SQLite looks it up."""
    made = records.SqliteQuery(app.CompiledQuery(query), '"t"')
    text = made.rows("key, version, data") if what == "rows" else made.count()
    with sql.reading("explaining") as connection:
        connection.execute("select count(*) from t").fetchone()  # notices what was made since it looked at the schema
        return "\n".join(row[3] for row in connection.execute(f"explain query plan {text}", made.values))


def filled(sql: app.SqlProvider, count: int = 400) -> None:
    rows = [{"n": n * 7919 % 503, "s": f"name {n % 101}", "at": app.rfc3339(1e9 + n % 50)} for n in range(count)]
    sql.commit([Insert("t", f"{n:04}", row) for n, row in enumerate(rows)])


NEW = (Condition("s", "eq", "name 5"),)
DECLARED = [
    Query("t", order_by=("-n",), instants=MOMENTS),
    Query("t", order_by=("-at", "s"), instants=MOMENTS),
    Query("t", where=NEW, order_by=("n",), instants=MOMENTS),
]


@pytest.mark.parametrize(
    "asked",
    [
        *DECLARED,
        Query("t", where=(Condition("n", "eq", 17),)),
        Query("t", where=(Condition("n", "in", [17, 18]),)),
        Query("t", where=(Condition("n", "null", True),)),
        Query("t", where=(Condition("n", "gt", 500.5),), order_by=("-n",)),
        Query("t", where=(Condition("s", "prefix", "name 1"),)),
        Query("t", where=(Condition("at", "lt", "2001-09-09T03:47:00+02:00"),), order_by=("-at", "s"), instants=MOMENTS),
    ],
)
def test_a_declared_query_is_looked_up_and_ordered_by_an_index(sql: app.SqlProvider, asked: Query) -> None:
    sql.prepare({"t": DECLARED})
    filled(sql)
    assert "INDEX satchel_" in plan(sql, asked)
    assert "INDEX satchel_" in plan(sql, asked, "count") or not asked.where  # of all: the smallest index that there is
    assert "COVERING INDEX" in plan(sql, asked, "count") or asked.where
    assert "SEARCH t USING INDEX satchel_" in plan(sql, asked) or asked in DECLARED
    if asked in DECLARED:
        assert "TEMP B-TREE" not in plan(sql, asked)
        behind = asked._replace(after=sql.find(asked._replace(limit=1)).next or "")
        assert "SEARCH t USING INDEX satchel_" in plan(sql, behind)
        assert "TEMP B-TREE" not in plan(sql, behind)


def test_all_records_are_counted_by_the_pages_of_an_index(sql: app.SqlProvider) -> None:
    filled(sql)
    made = records.SqliteQuery(app.CompiledQuery(Query("t", order_by=("-n",))), '"t"')
    with sql.reading("explaining") as connection:
        steps = [row[1] for row in connection.execute(f"explain {made.count()}", made.values)]
    assert "Count" in steps
    assert "Next" not in steps
    assert sql.count(Query("t", order_by=("-n",))) == 400


def test_indexes_that_no_query_needs_any_more_are_dropped(sql: app.SqlProvider, tmp_path: Path) -> None:
    sql.prepare({"t": DECLARED, "u": [Query("u", order_by=("n",))]})
    assert len(indexes(tmp_path)) == 3, "what begins another one is not indexed by itself"
    with by_hand(tmp_path) as connection:
        connection.execute("create index own on t (version)")
    before = indexes(tmp_path)
    sql.prepare({"t": DECLARED})
    assert indexes(tmp_path) == before
    sql.prepare({"t": DECLARED[:1]})
    assert len(indexes(tmp_path)) == 1
    sql.prepare({"t": []})
    assert indexes(tmp_path) == []
    assert len(indexes(tmp_path, "u")) == 1
    with by_hand(tmp_path) as connection:
        assert connection.execute("select count(*) from sqlite_master where name = 'own'").fetchone() == (1,)


def test_an_index_of_several_numbers_and_date_times_is_made(sql: app.SqlProvider, tmp_path: Path) -> None:
    """The parser of SQLite is not deep."""
    sql.prepare({"t": [Query("t", order_by=("-n", "-at", "m", "until", "s"), instants=frozenset({"at", "until"}))]})
    filled(sql, 3)
    assert len(indexes(tmp_path)) == 5


def test_indexes_of_a_large_table_are_made_when_the_operator_asks_for_it(
    sql: app.SqlProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "SMALL_TABLE", 399)
    filled(sql)
    sql.prepare({"t": DECLARED})
    assert indexes(tmp_path) == []
    [warning] = [text for text in sql.warnings() if "index" in text]
    assert "t by -n" in warning
    assert "server check --create" in warning
    steps: list[Any] = []
    bar = type(
        "Bar", (), {"begin": lambda self, what, total: steps.append(total), "step": lambda self, done: steps.append(done)}
    )
    made = sql.create({"t": DECLARED}, bar())
    assert made == ["index of t by -at, s", "index of t by s, n", "index of t by -n", "index of t for counts"]
    assert steps == [3, 1, 1, 1, 400, 400]
    assert len(indexes(tmp_path)) == 3
    assert [text for text in sql.warnings() if "index" in text] == []
    assert sql.create({"t": DECLARED}) == []


def test_other_programs_read_and_write_a_table_with_indexes(sql: app.SqlProvider, tmp_path: Path) -> None:
    sql.prepare({"t": DECLARED})
    filled(sql, 20)
    with by_hand(tmp_path) as connection:
        connection.execute("""insert into t values ('by hand', 1, '{"n":-1.5,"at":"now","s":"x"}')""")
        connection.execute(
            "insert into t values ('no json', 1, '{'), ('bytes', 1, x'00ff'), ('utf', 1, cast(x'ff' as text))"
        )
        connection.execute("update t set data = json_set(data, '$.n', -7) where key = '0003'")
        connection.execute("delete from t where key = '0004'")
        assert connection.execute("pragma integrity_check").fetchall() == [("ok",)]
    found = sql.find(Query("t", order_by=("n",), limit=6)).items
    assert [record.key for record in found] == ["bytes", "no json", "utf", "0003", "by hand", "0000"]
    assert [bool(record.damage) for record in found] == [True, True, True, False, False, False]


@pytest.mark.parametrize("order", [("version",), ("-version", "s"), ("s",), ("-s",), ("s", "-n")])
def test_rows_that_other_programs_wrote_oddly_are_paged_through_once(
    sql: app.SqlProvider, tmp_path: Path, order: tuple[str, ...]
) -> None:
    """A version that is none counts as 1; SQLite does not find a field whose name is written with an escape."""
    filled(sql, 6)
    with by_hand(tmp_path) as connection:
        odd = [("a", 0), ("b", -1), ("c", "x"), ("d", 1.5), ("e", b"1"), ("f", 2), ("g", "7")]
        connection.executemany('insert into t values (?, ?, \'{"s":"n"}\')', odd)
        connection.execute("""insert into t values ('esc', 1, '{"\\u0073":"name 3","n":4}')""")
    seen: list[str] = []
    query = Query("t", order_by=order, limit=2)
    while len(seen) < 100:
        page = sql.find(query)
        seen += [record.key for record in page.items]
        if not page.next:
            break
        query = query._replace(after=page.next)
    assert sorted(seen) == sorted([*(f"{n:04}" for n in range(6)), *"abcdefg", "esc"])
    assert sql.count(Query("t", (Condition("version", "eq", 1),))) == 12


def test_the_audit_trail_is_filtered_by_indexes(tmp_path: Path) -> None:
    site = Site(
        tmp_path, '[providers.main]\nkind = "sql"\nurl = "sqlite:///data/app.db"\n[forms.f.fields]\na = {type="string"}'
    )
    made = site.create("forms/f", {"a": "x"})
    where = [("subject", "root"), ("resource", "forms/f"), ("record", made.data["id"])]
    for name, text in where:
        assert [row["action"] for row in site.items(f"admin/audit?{name}={text}&action=create")] == ["create"]
        query = Query("_audit", (Condition(name, "eq", text),), ("-id",), instants=MOMENTS)
        sql = records.SqliteQuery(app.CompiledQuery(query), '"_audit"')
        with site.app.state.reading("explaining") as connection:  # type: ignore[attr-defined]
            [row] = connection.execute("explain query plan " + sql.rows("key, data"), sql.values)
        assert "SEARCH _audit USING INDEX satchel_" in row[3]
    site.close()


def test_a_span_of_ids_of_the_audit_trail_is_looked_up_by_the_index_of_keys(tmp_path: Path) -> None:
    site = Site(tmp_path, '[providers.main]\nkind = "sql"\nurl = "sqlite:///data/app.db"\n')
    ids = [row.key for row in site.app.state.walk(Query("_audit", order_by=("id",)))]
    spans = [
        ((Condition("id", "gte", ids[0]), Condition("id", "lt", "1")), ids[:0] if ids[0] >= "1" else ids),
        ((Condition("id", "gt", ids[0]),), ids[1:]), ((Condition("id", "lte", ids[0]),), ids[:1]),
    ]  # fmt: skip
    for where, expected in spans:
        for order in (("id",), ("-id",)):
            query = Query("_audit", where, order)
            assert sorted(one.key for one in site.app.state.find(query).items) == expected
            sql = records.SqliteQuery(app.CompiledQuery(query), '"_audit"')
            with site.app.state.reading("explaining") as connection:  # type: ignore[attr-defined]
                steps = [row[3] for row in connection.execute("explain query plan " + sql.rows("key, data"), sql.values)]
            assert re.search(r"SEARCH _audit USING INDEX \S+ \(key[<>]", " ".join(steps)), steps
            assert "TEMP B-TREE" not in " ".join(steps)
    site.close()
