"""Counts in SQLite: what is kept of the records of a table is right, whoever wrote them and however."""

from __future__ import annotations

import logging
import random
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import app
from app import Condition, Delete, Insert, Query, Update

counts = app.plugin("sql_counts")
records = app.plugin("sql_records")
MOMENTS = frozenset({"at"})
DECLARED = {
    "t": [
        Query("t", (Condition("paid", "eq", True),), ("-id",), instants=MOMENTS),
        Query("t", (Condition("at", "lt", "2001-09-09T01:46:45Z"),), ("-id",), instants=MOMENTS),
        Query("t", (), ("region",), limit=0, instants=MOMENTS),
    ]
}
ASKED = [
    Query("t"),
    Query("t", order_by=("-region", "at")),
    Query("t", (Condition("region", "eq", "north"),)),
    Query("t", (Condition("region", "ne", "north"), Condition("paid", "eq", True))),
    Query("t", (Condition("region", "null", True),)),
    Query("t", (Condition("region", "in", ["north", 7, False]),)),
    Query("t", (Condition("region", "prefix", "n"), Condition("paid", "null", False))),
    Query("t", (Condition("region", "contains", "o"),)),
    Query("t", (Condition("region", "gte", "north"),)),
    Query("t", (Condition("region", "contains", [7, "it's"]),)),
    Query("t", (Condition("region", "ne", ["x"]), Condition("paid", "eq", True))),
]
MOMENT = Query("t", (Condition("at", "lte", "2001-09-09T03:46:43+02:00"),), instants=MOMENTS)
FIELDS = ("region", "paid")


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[[], app.SqlProvider]]:
    made: list[app.SqlProvider] = []

    def open_one() -> app.SqlProvider:
        made.append(app.SqlProvider("main", {"url": "sqlite:///app.db"}, tmp_path))
        made[-1].open()
        return made[-1]

    yield open_one
    for one in made:
        one.close()


@pytest.fixture
def sql(opened: Callable[[], app.SqlProvider]) -> app.SqlProvider:
    provider = opened()
    provider.prepare(DECLARED)
    return provider


def by_hand(tmp_path: Path, *statements: str) -> list[Any]:
    """What any other program is told, which has no function of ours."""
    with closing(sqlite3.connect(tmp_path / "app.db", isolation_level=None)) as connection:
        for statement in statements:
            rows = connection.execute(statement).fetchall()
        return rows


def row(chance: random.Random) -> dict[str, Any]:
    value = {
        "region": chance.choice(["north", "south", "øst", "", 7, 7.0, True, None, ["x"], ["x", 7.0, "x", "it's"], []]),
        "name": f"n{chance.random()}",
    }
    value |= {"paid": chance.choice([True, False, None]), "at": app.rfc3339(1e9 + chance.randrange(9))}
    return {name: one for name, one in value.items() if chance.random() < 0.9}


def is_kept(provider: Any, query: Query, field: str = "") -> bool:
    return (provider._counts.facet(query, field, 9) if field else provider._counts.count(query)) is not None


def check(provider: Any, kept: bool | None = True) -> None:
    """The same is said as by the records themselves, from what is kept or not (None: or perhaps)."""
    moments = [app.CompiledQuery(MOMENT).selects(record) for record in provider.walk(Query("t"))]
    assert provider.count(MOMENT) == sum(moments)
    assert not is_kept(provider, MOMENT)
    every = [record.value for record in provider.walk(Query("t"))]
    for query in ASKED:
        compiled = app.CompiledQuery(query)
        assert provider.count(query) == sum(map(compiled.selects, provider.walk(Query("t"))))
        assert provider.count_up_to(query, 3, 9) == min(provider.count(query), 3)
        assert kept is None or is_kept(provider, query) is kept
        for field in FIELDS:
            some = [value.get(field) for value in every if compiled.selects(app.Record("", 1, value))]
            found = Counter(key for one in some for key in {*map(app.sort_key, one if isinstance(one, list) else [one])})
            said = {app.sort_key(value): count for value, count in provider.facet(query, field, 100)}
            assert said == found
            assert kept is None or is_kept(provider, query, field) is kept
        selected = [value for value in every if compiled.selects(app.Record("", 1, value))]
        pairs = Counter(tuple(app.sort_key(value.get(field)) for field in FIELDS) for value in selected)
        groups = provider.groups(query, FIELDS, [app.Measure("count", "id")], 100)
        assert {tuple(map(app.sort_key, row[:2])): row[2] for row in groups} == {
            k: n for k, n in pairs.items() if "z" not in k
        }
        assert kept is None or (provider._counts.groups(query, FIELDS, 100) is not None) is kept


def test_counts_are_those_of_the_records_after_any_writes(sql: Any, tmp_path: Path) -> None:
    chance, keys = random.Random(3), [f"{n:02}" for n in range(60)]
    for turn in range(60):
        there = {record.key for record in sql.walk(Query("t"))}
        some = chance.sample(keys, chance.randrange(1, 20))
        writes: list[Any] = [
            Update("t", key, row(chance)) if key in there else Insert("t", key, row(chance)) for key in some
        ]
        sql.commit([Delete("t", w.key) if isinstance(w, Update) and chance.random() < 0.4 else w for w in writes])
        if turn % 10 == 0:
            check(sql)
    check(sql)
    with pytest.raises(app.Conflict):
        sql.commit([Insert("t", "new", {"region": "north"}), Insert("t", next(iter(there)), {})])
    many = [Insert("t", f"x{n}", {"region": "north"}) for n in range(120)]
    sql.commit(many)
    with pytest.raises(app.Conflict):
        sql.commit([*(write._replace(key=write.key + "y") for write in many), many[0]])
    check(sql)
    assert by_hand(tmp_path, "pragma integrity_check") == [("ok",)]


@pytest.mark.parametrize(
    "statement",
    [
        """insert into t values ('a', 1, '{"region":"north"}'), ('b', 1, '{'), ('c', 1, x'00ff')""",
        "insert into t values ('a', 1, cast(x'ff' as text)), ('b', 1, '[]')",
        """insert into t values ('a', 1, cast(x'7b22726567696f6e223a22ff227d' as text))""",
        """insert or replace into t values ('a', 1, '{"region":"north"}')""",
        """insert or ignore into t values ('a', 1, '{"region":"north"}')""",
        "update t set data = json_set(data, '$.region', 'west')",
        "update or replace t set data = '{}', version = 9 where key > '3'",
        "update t set key = key || 'x'",
        "delete from t where key > '2'",
        "delete from t",
        "insert into t select key || 'y', version, data from t",
    ],
)
def test_what_other_programs_write_is_counted(sql: Any, tmp_path: Path, statement: str) -> None:
    chance = random.Random(5)
    sql.commit([Insert("t", f"{n}", row(chance)) for n in range(9)])
    by_hand(tmp_path, statement)
    check(sql, kept=None)
    if " key " not in statement:
        assert is_kept(sql, Query("t"))
        assert sum(count for _, count in sql._counts.facet(Query("t"), "region", 99)) == sql.count(Query("t"))


@pytest.mark.parametrize(
    "statement",
    [
        """insert or replace into t values ('1', 1, '{"region":"west"}'), ('new', 1, '{}')""",
        """replace into t select key, version, '{}' from t""",
        "update or replace t set key = '2' where key = '1'",
    ],
)
def test_counts_are_not_used_once_a_program_replaced_records(
    sql: Any, opened: Callable[[], Any], tmp_path: Path, statement: str
) -> None:
    """No trigger sees what is removed so."""
    chance = random.Random(5)
    sql.commit([Insert("t", f"{n}", row(chance)) for n in range(9)])
    check(sql)
    by_hand(tmp_path, statement)
    assert not is_kept(sql, Query("t"))
    assert not is_kept(sql, Query("t"), "region")
    check(sql, kept=None)
    sql.commit([Insert("t", "z", {"region": "nowhere else"}), Delete("t", "4"), Update("t", "5", {})])
    check(sql, kept=None)
    assert sql.count(Query("t", (Condition("region", "eq", "nowhere else"),))) == 1
    again = opened()
    again.prepare(DECLARED)
    check(again)
    check(sql)


def test_a_folder_of_an_older_version_is_counted_when_the_server_starts(
    opened: Callable[[], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance, provider = random.Random(5), opened()
    provider.commit([Insert("t", f"{n:02}", row(chance)) for n in range(30)])
    monkeypatch.setattr(records, "SMALL_TABLE", 29)
    provider.prepare(DECLARED)
    check(provider, kept=False)
    [warning] = [text for text in provider.warnings() if "t for counts" in text]
    assert "server check --create" in warning
    steps: list[Any] = []
    bar = type("Bar", (), {"begin": lambda self, *said: steps.append(said), "step": lambda self, done: steps.append(done)})
    assert "index of t for counts" in provider.create(DECLARED, bar())
    assert steps[-2:] == [("counting records", 30), 30]
    check(provider)
    assert provider.warnings() == [text for text in provider.warnings() if "counts" not in text]
    assert provider.create(DECLARED) == []
    by_hand(tmp_path, f"update {provider._counts._kept['t'].name} set n = n + 1")  # as .recover may leave it
    assert provider.create(DECLARED) == ["index of t for counts"]
    check(provider)
    monkeypatch.setattr(records, "SMALL_TABLE", 30)
    by_hand(tmp_path, f"drop trigger {provider._counts._kept['t'].name}_delete")
    check(provider, kept=False)
    again = opened()
    again.prepare(DECLARED)
    check(again)


def kept(tmp_path: Path) -> list[str]:
    found = (
        "select name from sqlite_master where tbl_name glob 'satchel_counts_*' or name glob 'satchel_counts_*' order by 1"
    )
    return [name for (name,) in by_hand(tmp_path, found)]


def test_what_no_view_needs_any_more_is_dropped(sql: Any, tmp_path: Path) -> None:
    sql.commit([Insert("t", "1", {"region": "north"})])
    before = kept(tmp_path)
    sql.prepare(DECLARED)
    assert kept(tmp_path) == before
    sql.prepare({"t": [Query("t")]})
    assert len(kept(tmp_path)) == len(before)
    assert not set(kept(tmp_path)) & set(before)
    assert is_kept(sql, Query("t"))
    assert not is_kept(sql, ASKED[2])
    assert [sql.count(query) for query in ASKED[:4]] == [1, 1, 1, 0]


def test_satchels_own_tables_are_not_counted(sql: Any) -> None:
    sql.prepare({"_audit": [Query("_audit")]})
    sql.commit([Insert("_audit", "1", {})])
    assert sql._counts.count(Query("_audit")) is None
    assert sql.count(Query("_audit")) == 1


def test_fields_with_many_values_are_left_out(sql: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counts, "MOST_KEPT", 8)
    monkeypatch.setattr(counts, "_LOOKS", 20)
    facets = [Query("t", (), (name,), limit=0) for name in ("name", "region", "paid")]
    sql.prepare({"t": facets})

    def insert(first: int, regions: int) -> None:
        values = [{"name": f"n{n}", "region": f"r{n % regions}", "paid": n % 2 == 0} for n in range(first, first + 20)]
        sql.commit([Insert("t", f"{value['name']}", value) for value in values])

    def facet(field: str) -> int:
        return len(sql.facet(Query("t"), field, 99))

    insert(0, 4)
    assert [is_kept(sql, Query("t"), name) for name in ("name", "region", "paid")] == [False, True, True]
    assert (facet("name"), facet("region"), facet("paid"), sql.count(Query("t"))) == (20, 4, 2, 20)
    insert(20, 15)
    insert(40, 15)
    assert [is_kept(sql, Query("t"), name) for name in ("name", "region", "paid")] == [False, False, True]
    assert (facet("region"), facet("paid"), sql.count(Query("t"))) == (15, 2, 60)
    for query in (Query("t"), Query("t", (Condition("paid", "eq", True),))):
        assert is_kept(sql, query)
        assert sql.count(query) == sum(map(app.CompiledQuery(query).selects, sql.walk(Query("t"))))
    [name] = [name for name in kept(tmp_path) if len(name) == 39]
    by_hand(tmp_path, *(f"drop trigger {one}" for one in kept(tmp_path) if one.startswith(f"{name}_")))
    sql.prepare({"t": facets})
    assert [is_kept(sql, Query("t"), name) for name in ("name", "region", "paid")] == [False, False, True], "as counted anew"
    assert (facet("region"), facet("paid"), sql.count(Query("t"))) == (15, 2, 60)


def some(first: int, count: int) -> list[Any]:
    return [Insert("t", f"{n:05}", {"region": "north", "paid": n % 2 == 0}) for n in range(first, first + count)]


def test_many_writes_to_a_large_table_that_is_not_counted_yet(
    opened: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "SMALL_TABLE", 100)
    provider = opened()
    provider.commit(some(0, 200))
    provider.prepare(DECLARED)
    provider.commit(some(200, 1000))
    assert not is_kept(provider, Query("t"))
    assert provider.count(Query("t")) == 1200


def test_many_writes_after_another_process_dropped_the_counts(
    sql: Any, opened: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counts, "_LOOKS", 20)
    opened().prepare({"t": [Query("t", (), ("name",), limit=0)]})
    sql.commit(some(0, 30))
    assert sql.count(Query("t")) == 30


@pytest.mark.parametrize("code", ["SQLITE_CORRUPT", "SQLITE_FULL"])
def test_damage_of_what_is_kept_fails_no_write(
    sql: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, code: str
) -> None:
    def fail(*_: object) -> None:
        error = sqlite3.DatabaseError("malformed")
        error.sqlite_errorname = code
        error.sqlite_errorcode = getattr(sqlite3, code)
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(counts, "_LOOKS", 20)
        patch.setattr(counts, "MOST_KEPT", 1)
        patch.setattr(counts, "_fewer", fail)
        if code == "SQLITE_FULL":
            with pytest.raises(app.StorageFull):
                sql.commit(some(0, 30))
            assert sql.count(Query("t")) == 0
            return
        with caplog.at_level(logging.WARNING, "satchel"):
            sql.commit(some(0, 30))
    assert "damaged" in caplog.text
    check(sql, kept=False)
    assert sql.create(DECLARED) == ["index of t for counts"]
    check(sql)


@pytest.mark.parametrize("encoding", ["UTF-8", "UTF-16le", "UTF-16be"])
def test_records_that_are_there_are_counted_as_new_ones_are(
    opened: Callable[[], Any], tmp_path: Path, encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_hand(tmp_path, f"pragma encoding = '{encoding}'", "create table made (x)")
    chance, first, second = random.Random(5), opened(), opened()
    first.commit([Insert("t", f"{n:02}", row(chance) | {"region": chance.choice(['ø"', "n", 1])}) for n in range(40)])
    first.prepare(DECLARED)
    check(first, kept=encoding == "UTF-8")
    if encoding != "UTF-8":
        return
    name = first._counts._kept["t"].name
    before = sorted(by_hand(tmp_path, f"select * from {name}"))
    first.commit([Delete("t", f"{n:02}") for n in range(0, 40, 2)])
    first.commit([Insert("t", f"{n:02}x", first.get("t", f"{n + 1:02}").value) for n in range(0, 40, 2)])
    check(first)
    monkeypatch.setattr(counts, "MOST_KEPT", len(before) - 1)
    first._counts._kept["t"].lessen(first._opened_writer())
    check(first, kept=None)
    by_hand(tmp_path, f"drop trigger {name}_insert")
    second.prepare(DECLARED)
    check(second, kept=None)


def test_what_a_connection_parses_is_short(sql: Any, tmp_path: Path) -> None:
    [(length,)] = by_hand(tmp_path, "select sum(length(sql)) from sqlite_master where name glob 'satchel_counts_*'")
    assert length < 3000


def test_triggers_are_such_as_every_sqlite_takes(sql: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before 3.35, SQLite takes DO UPDATE only with the columns of the conflict."""
    sql.commit(some(0, 30))
    for most in (1000, 1):
        monkeypatch.setattr(counts, "MOST_KEPT", most)
        sql._counts._kept["t"].lessen(sql._opened_writer())
        made = by_hand(tmp_path, "select sql from sqlite_master where type = 'trigger' and name glob 'satchel_counts_*'")
        [[column, *_], *_] = by_hand(tmp_path, f"select name from pragma_table_info('{sql._counts._kept['t'].name}')")
        upserts = [part.split() for (text,) in made for part in text.split("on conflict")[1:]]
        assert len(made) == 5
        assert len(upserts) == 4
        assert {upsert[0] for upsert in upserts} == {f"({column})"}


def test_counts_do_not_read_the_records(sql: Any, tmp_path: Path) -> None:
    sql.commit([Insert("t", f"{n}", {"region": "north"}) for n in range(9)])
    with sql.reading("explaining") as connection:
        read: set[str] = set()

        def look(action: int, first: str, *_: object) -> int:
            read.add(first)
            return 0

        connection.set_authorizer(look)
        assert sql.count(ASKED[2]) == 9
        assert sql.facet(Query("t"), "region", 9) == [("north", 9)]
        connection.set_authorizer(app.sqlite_authorize)
    assert "t" not in read
