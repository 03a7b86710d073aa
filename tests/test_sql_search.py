"""Search in SQLite: what is kept beside a table finds what reading every record finds, whoever wrote it."""

from __future__ import annotations

import json
import logging
import random
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from sites import Site

import app
from app import Condition, Delete, Insert, Query, Update

search = app.plugin("sql_search")
records = app.plugin("sql_records")
FIELDS = ("a", "b", "c")
DECLARED = {"t": [Query("t", search_fields=FIELDS)]}


@pytest.fixture
def sql(tmp_path: Path) -> Iterator[app.SqlProvider]:
    provider = opened(tmp_path)
    yield provider
    provider.close()


@pytest.fixture(params=["trigrams", "without"])
def each(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[app.SqlProvider]:
    """With trigrams, and with an SQLite that has none."""
    if request.param == "without":
        monkeypatch.setattr(search, "has_trigrams", lambda: False)
    elif not search.has_trigrams():
        pytest.skip("this SQLite has no trigrams")
    provider = opened(tmp_path)
    yield provider
    provider.close()


def opened(tmp_path: Path) -> app.SqlProvider:
    provider = app.SqlProvider("main", {"url": "sqlite:///data/app.db"}, tmp_path)
    provider.open()
    return provider


def by_hand(tmp_path: Path) -> Any:
    """A connection as any other program has one: without a function of ours."""
    return closing(sqlite3.connect(tmp_path / "data" / "app.db", isolation_level=None))


def made(sql: app.SqlProvider, text: str, fields: tuple[str, ...] = FIELDS, **more: Any) -> Any:
    """The statement that a search becomes."""
    with sql.reading("looking") as connection:
        return sql._search.query(app.CompiledQuery(Query("t", search=text, search_fields=fields, **more)), connection)


def is_kept(sql: app.SqlProvider, text: str = "abc") -> bool:
    return isinstance(made(sql, text), search.SearchQuery)


def noted(sql: app.SqlProvider) -> int:
    name = sql._search._kept["t"].noted
    with sql.reading("looking") as connection:
        return int(connection.execute(f"select count(*) from {name}").fetchone()[0])


LETTERS = [*"aabbcc AE-_", *"\"*^:(){}\\'%", "ß", "ẞ", "İ", "ı", "ſ", "ﬃ", "é", "e\u0301", "E\u0301", "Å", "\u212b", "K"]
LETTERS += ["\u0307", "\u0323", "Σ", "ς", "Д", "д", "漢", "字", "か\u3099", "が", "가", "\u1100\u1161", "🏖", "👩\u200d💻"]
LETTERS += ["\x01", "\x1f", "\t", "\n", "\x7f", "\u2028", "\ufffd", "AND", " OR ", "NOT ", "NEAR("]


def any_text(chance: random.Random, most: int = 12) -> str:
    return "".join(chance.choice(LETTERS) for _ in range(chance.randint(0, most)))


def any_value(chance: random.Random) -> Any:
    kind = chance.randrange(12)
    if kind == 0:
        return chance.choice([None, 7, True, 1.5, ["abc"], {"a": "abc"}])
    return any_text(chance, 4000 if kind == 1 and chance.randrange(20) == 0 else 12)


def any_record(chance: random.Random) -> dict[str, Any]:
    return {name: any_value(chance) for name in (*FIELDS, "d") if chance.randrange(6)}


def write_anything(chance: random.Random, sql: app.SqlProvider) -> None:
    """One or many records, some of which are there; some commits fail."""
    writes: dict[str, Any] = {}
    for _ in range(chance.choice([1, 1, 1, 5, 40])):
        key = f"k{chance.randrange(300)}"
        kind = chance.randrange(10)
        if kind < 4:
            writes[key] = Insert("t", key, any_record(chance))
        elif kind < 8:
            writes[key] = Update("t", key, any_record(chance), None)
        else:
            writes[key] = Delete("t", key, None)
    try:
        sql.commit(list(writes.values()))
    except (app.Conflict, app.NotFound):
        for write in writes.values():
            with suppress(app.Conflict, app.NotFound):
                sql.commit([write])


def write_by_hand(chance: random.Random, connection: sqlite3.Connection) -> None:
    key, data = f"k{chance.randrange(300)}", app.dump_json(any_record(chance))
    if chance.randrange(3) == 0:  # letters as escapes, and what is no record
        data = chance.choice([json.dumps(any_record(chance)), '{"a":"ab', "[]", '{"a":"abc\\u0000def","b":"\\ud83c"}'])
    statement, values = chance.choice(
        [
            ("insert or replace into t values (?, 1, ?)", (key, data)),
            ("insert or rollback into t values (?, 1, ?) on conflict do nothing", (key, data)),
            ("update or fail t set data = ? where key = ?", (data, key)),
            ("update or rollback t set data = ? where key = ?", (data, key)),
            ("insert or ignore into t values (?, 1, ?)", (key, data)),
            ("update t set data = ? where key = ?", (data, key)),
            ("update t set data = cast(cast(data as blob) || x'ff' as text) where key = ?", (key,)),
            ("update or replace t set key = ? where key = ?", (f"k{chance.randrange(300)}", key)),
            ("delete from t where key = ?", (key,)),
            ("delete from t where rowid in (select rowid from t limit 3)", ()),
        ]
    )
    connection.execute(statement, values)


@pytest.mark.parametrize("few", [search.FEW, 5])
def test_a_search_finds_what_reading_every_record_finds(
    each: app.SqlProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, few: int
) -> None:
    chance = random.Random(few)
    monkeypatch.setattr(search, "FEW", few)
    monkeypatch.setattr(search, "MOST_NOTED", 60)
    each.prepare(DECLARED)
    assert is_kept(each)
    found = 0
    with by_hand(tmp_path) as connection:
        for step in range(60):
            write_anything(chance, each)
            if chance.randrange(3) == 0:
                write_by_hand(chance, connection)
            if step % 20 == 19:
                each.prepare(DECLARED)
            every = each.find(Query("t", limit=10_000)).items
            texts = [any_text(chance, 4) for _ in range(3)] + ["ab"]
            there = [record.value.get("a") for record in chance.sample(every, min(len(every), 12))]
            texts += [text[len(text) // 2 :][:6] for text in there if isinstance(text, str)][:4]
            for text in filter(None, texts):
                fields = tuple(chance.sample([*FIELDS, *FIELDS, "d"], chance.randint(1, 3)))
                where = (Condition("b", "gte", "b"),) if chance.randrange(3) == 0 else ()
                query = Query("t", where, chance.choice([(), ("-id",), ("c",)]), 10_000, "", text, fields)
                keys = [record.key for record in each.find(query).items]
                assert keys == [record.key for record in app.CompiledQuery(query).first(every)], (step, text)
                assert each.count(query) == len(keys)
                assert each.count_up_to(query, 3, 100) == min(3, len(keys))
                found += len(keys)
        assert found > 500
        assert connection.execute("pragma integrity_check").fetchall() == [("ok",)]


def test_what_is_kept_is_what_is_stored(sql: app.SqlProvider) -> None:
    """Nothing of a record that is gone is left, and nothing that was replaced."""
    sql.prepare(DECLARED)
    chance = random.Random(7)
    for _ in range(60):
        write_anything(chance, sql)
    sql.commit([Delete("t", record.key, None) for record in sql.find(Query("t", limit=10_000)).items])
    kept = sql._search._kept["t"]
    with sql.reading("looking") as connection:
        assert connection.execute(f"select count(*) from {kept.name}").fetchone() == (0,)
        for letters in ("aab", "abb", "bbc", "cca", "AND", "and"):
            match = (f'"{letters}"',)
            assert connection.execute(f"select rowid from {kept.words} where {kept.words} match ?", match).fetchall() == []


def test_a_rare_text_is_looked_up_by_its_trigrams(sql: app.SqlProvider) -> None:
    if not search.has_trigrams():
        pytest.skip("this SQLite has no trigrams")
    sql.prepare(DECLARED)
    sql.commit([Insert("t", f"{n:04}", {"a": f"name {n}", "b": "x" * 50}) for n in range(1000)])
    sql.prepare(DECLARED)
    assert noted(sql) == 0
    calls: list[int] = []
    query = made(sql, "NAME 77", order_by=("-id",))
    with sql.reading("explaining") as connection:
        connection.execute("select count(*) from t").fetchone()
        plan = [row[3] for row in connection.execute("explain query plan " + query.rows("key"), query.values)]
        assert any("VIRTUAL TABLE" in step for step in plan), plan
        assert any(step.startswith("SEARCH t USING INDEX sqlite_autoindex") for step in plan), plan
        assert not [step for step in plan if step.startswith("SCAN t")], plan
        connection.set_progress_handler(lambda: calls.append(1), 1)
        assert len(connection.execute(query.rows("key"), query.values).fetchall()) == 11
        connection.set_progress_handler(None, 0)
    assert len(calls) < 2000


def test_records_are_read_in_order_where_there_are_many_hits(sql: app.SqlProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "FEW", 100)
    sql.prepare(DECLARED)
    sql.commit([Insert("t", f"{n:04}", {"a": f"name {n}", "b": "x" * 50}) for n in range(1000)])
    sql.prepare(DECLARED)
    query = made(sql, "name", order_by=("-id",), limit=10)
    calls: list[int] = []
    with sql.reading("looking") as connection:
        connection.set_progress_handler(lambda: calls.append(1), 1)
        assert [key for (key,) in connection.execute(query.rows("key"), query.values)] == [
            f"{999 - n:04}" for n in range(11)
        ]
        connection.set_progress_handler(None, 0)
    assert len(calls) < 2000


def test_one_write_costs_little_and_many_are_taken_over_at_once(sql: app.SqlProvider) -> None:
    sql.prepare(DECLARED)
    for number in range(search.MOST_NOTED - 1):
        sql._search.wrote([Insert("t", f"{number}", {})], sql._writer)  # as if they had been written
    assert noted(sql) == 0
    sql.commit([Insert("t", "a", {"a": "one text"})])
    assert noted(sql) == 0
    sql.commit([Insert("t", "b", {"a": "one text"})])
    assert noted(sql) == 1
    assert sql.count(Query("t", search="ONE TEXT", search_fields=FIELDS)) == 2
    sql.commit([Delete("t", "a", None)])
    assert noted(sql) == 0, "what is deleted is not kept for searches"


def test_no_write_takes_over_so_many_texts_of_two_processes_that_others_wait_for_it(
    sql: app.SqlProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 1,000 texts, all other writers waited for up to 160 ms."""
    other, taken = opened(tmp_path), list[int]()
    real = search.take_over
    monkeypatch.setattr(search, "take_over", lambda *given, **named: taken.append(real(*given, **named)) or taken[-1])
    with closing(other):
        for process in (sql, other):
            process.prepare(DECLARED)
        for number in range(500):
            (sql, other)[number % 2].commit([Insert("t", f"{number}", {"a": "a text"})])
    assert sum(taken) > 300
    assert max(taken) <= 200


def test_texts_of_a_batch_are_kept_by_its_own_commit(sql: app.SqlProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    sql.prepare(DECLARED)
    monkeypatch.setattr(search, "take_over", lambda *_, **__: pytest.fail("the records are read again"))
    sql.commit([Insert("t", f"{n:04}", {"a": f"Straße {n:04}", "b": n, "c": "" if n % 2 else "x"}) for n in range(130)])
    assert noted(sql) == 0
    kept = sql._search._kept["t"]
    with sql.reading("looking") as connection:
        rows = connection.execute(f"select key, f0, f1, f2 from {kept.name} order by id").fetchall()
    assert rows == [(f"{n:04}", f"strasse {n:04}", "", "" if n % 2 else "x") for n in range(130)]
    assert sql.count(Query("t", search="STRASSE 012", search_fields=FIELDS)) == 10


def test_a_batch_that_a_trigger_of_another_program_changes_is_found_as_it_is(sql: app.SqlProvider, tmp_path: Path) -> None:
    sql.prepare(DECLARED)
    change = "update t set data = json_set(data, '$.a', 'changed') where key = new.key"
    with by_hand(tmp_path) as connection:
        connection.execute(f"create trigger own after insert on t begin {change}; end")
    sql.commit([Insert("t", f"{n:04}", {"a": "written"}) for n in range(100)])
    assert sql.count(Query("t", search="CHANGED", search_fields=FIELDS)) == 100
    assert sql.count(Query("t", search="written", search_fields=FIELDS)) == 0


def test_a_batch_of_keys_of_which_something_is_kept_is_found_as_it_is(sql: app.SqlProvider, tmp_path: Path) -> None:
    sql.prepare(DECLARED)
    sql.commit([Insert("t", f"{n:04}", {"a": f"old {n:04}"}) for n in range(100)])
    with by_hand(tmp_path) as connection:
        connection.execute("delete from t where key in ('0007', '0099')")
    sql.commit([Insert("t", key, {"a": f"new {key}"}) for key in ["0007", "0099", *(f"{n:04}" for n in range(100, 200))]])
    for text, count in (("old", 98), ("new", 102), ("OLD 0099", 0), ("NEW 0099", 1), ("new 015", 10)):
        assert sql.count(Query("t", search=text, search_fields=FIELDS)) == count
    sql.prepare(DECLARED)
    assert sql.count(Query("t", search="new", search_fields=FIELDS)) == 102


def test_an_earlier_database_gets_what_searches_need_when_it_is_opened(
    sql: app.SqlProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "SMALL_TABLE", 399)
    sql.commit([Insert("t", f"{n:04}", {"a": f"Straße {n}"}) for n in range(400)])
    sql.commit([Insert("small", "a", {"a": "Straße"})])
    declared = {**DECLARED, "small": [Query("small", search_fields=("a",))], "other": [Query("other")]}
    sql.prepare(declared)
    assert not is_kept(sql)
    assert sql.count(Query("t", search="STRASSE 39", search_fields=FIELDS)) == 11
    [warning] = [text for text in sql.warnings() if "index" in text]
    assert "t for searches" in warning
    assert "small" not in warning
    steps: list[Any] = []
    bar = type(
        "Bar", (), {"begin": lambda self, what, total: steps.append(total), "step": lambda self, done: steps.append(done)}
    )
    assert sql.create(declared, bar()) == ["index of t for searches", "index of t for counts"]
    assert steps == [0, 400, 400, 400, 400]
    assert [text for text in sql.warnings() if "index" in text] == []
    assert is_kept(sql)
    assert sql.count(Query("t", search="STRASSE 39", search_fields=FIELDS)) == 11
    assert sql.create(declared) == []
    with by_hand(tmp_path) as connection:
        found = connection.execute("select tbl_name from sqlite_master where name glob 'satchel_search_*_insert'").fetchall()
    assert sorted(found) == [("small",), ("t",)], "other tables have nothing for searches"


def test_what_no_list_searches_is_dropped_and_other_fields_are_kept_anew(sql: app.SqlProvider, tmp_path: Path) -> None:
    sql.commit([Insert("t", "a", {"a": "one text", "d": "another"})])
    sql.prepare(DECLARED)
    sql.prepare({"t": [Query("t", search_fields=("a", "d"))]})
    assert not is_kept(sql), "b is not kept any more"
    assert isinstance(made(sql, "another", ("d", "a")), search.SearchQuery)
    assert sql.count(Query("t", search="another", search_fields=("d",))) == 1
    with by_hand(tmp_path) as connection:
        names = "select name from sqlite_master where name like 'satchel!_%' escape '!'"
        assert len({name[:38] for (name,) in connection.execute(names) if name.startswith("satchel_search")}) == 1
        sql.prepare({"t": []})
        assert connection.execute(names).fetchall() == []
    assert sql.count(Query("t", search="another", search_fields=("d",))) == 1


def lose_a_trigger(connection: sqlite3.Connection) -> None:
    [name] = connection.execute("select name from sqlite_master where name glob 'satchel_search_*_update'").fetchone()
    connection.execute(f"drop trigger {name}")
    connection.execute("""update t set data = '{"a":"new text"}' where key = 'a'""")


def make_the_table_anew(connection: sqlite3.Connection) -> None:
    connection.execute("create table n (key text primary key not null, version integer not null, data text not null)")
    connection.execute("insert into n select * from t")
    connection.execute("drop table t")
    connection.execute("alter table n rename to t")
    connection.execute("""update t set data = '{"a":"new text"}' where key = 'a'""")


def rename_it_to_and_fro(connection: sqlite3.Connection) -> None:
    connection.execute("alter table t rename to n")
    connection.execute("""update n set data = '{"a":"new text"}' where key = 'a'""")
    connection.execute("alter table n rename to t")


def dump_and_restore(connection: sqlite3.Connection) -> None:
    """Records get other rowids."""
    connection.execute("""update t set data = '{"a":"new text"}' where key = 'a'""")
    connection.execute("create table kept as select * from t order by key desc")
    connection.execute("delete from t")
    connection.execute("insert into t select * from kept")
    connection.execute("drop table kept")
    connection.execute("vacuum")


@pytest.mark.parametrize("work", [lose_a_trigger, make_the_table_anew, rename_it_to_and_fro, dump_and_restore])
def test_no_hit_is_lost_whatever_another_program_does_to_the_table(
    sql: app.SqlProvider, tmp_path: Path, work: Callable[[sqlite3.Connection], None]
) -> None:
    sql.prepare(DECLARED)
    sql.commit([Insert("t", "gone", {}), *(Insert("t", key, {"a": "old text"}) for key in "abcd"), Insert("t", "e", {})])
    sql.commit([Delete("t", "gone", None)])
    assert sql.count(Query("t", search="new text", search_fields=FIELDS)) == 0
    with by_hand(tmp_path) as connection:
        work(connection)
    for _ in range(2):
        assert [r.key for r in sql.find(Query("t", search="new text", search_fields=FIELDS)).items] == ["a"]
        assert [r.key for r in sql.find(Query("t", search="OLD", search_fields=FIELDS)).items] == ["b", "c", "d"]
        sql.prepare(DECLARED)
        assert is_kept(sql)


def test_damage_of_what_is_kept_fails_no_write(
    sql: app.SqlProvider, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    if not search.has_trigrams():
        pytest.skip("this SQLite has no trigrams")
    sql.prepare(DECLARED)
    sql.commit([Insert("t", f"{n}", {"a": "old text"}) for n in range(search.MOST_NOTED)])
    words = sql._search._kept["t"].words
    with by_hand(tmp_path) as connection:
        connection.execute("pragma writable_schema = on")
        connection.execute(f"update {words}_data set block = x'00'")
    with caplog.at_level(logging.WARNING, "satchel"):
        sql.commit([Insert("t", "a", {"a": "new text"}), Delete("t", "1", None)])
    assert "damaged" in caplog.text
    assert sql.count(Query("t", search="TEXT", search_fields=FIELDS)) == search.MOST_NOTED
    assert sql.create(DECLARED) == ["index of t for searches"]
    assert is_kept(sql)
    assert sql.count(Query("t", search="TEXT", search_fields=FIELDS)) == search.MOST_NOTED


def test_a_database_of_a_machine_with_trigrams_is_searched_on_one_without(
    sql: app.SqlProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not search.has_trigrams():
        pytest.skip("this SQLite has no trigrams")
    find = Query("t", search="TEXT", search_fields=FIELDS)
    for number, has in enumerate([True, False, True, False]):
        monkeypatch.setattr(search, "has_trigrams", lambda has=has: has)
        sql.prepare(DECLARED)
        sql.commit([Insert("t", f"{number} {n}", {"a": "some text"}) for n in range(search.MOST_NOTED)])
        assert is_kept(sql)
        assert sql.count(find) == (number + 1) * search.MOST_NOTED
        assert sql.tables() == ["t"]


def test_tables_are_listed_beside_those_of_modules_that_this_sqlite_lacks(sql: app.SqlProvider, tmp_path: Path) -> None:
    """Such as the trigrams, where SQLite has no FTS5."""
    sql.commit([Insert("t", "a", {})])
    with by_hand(tmp_path) as connection:
        connection.execute("pragma writable_schema = on")
        virtual = "CREATE VIRTUAL TABLE v using missing()"
        connection.execute("insert into sqlite_master values ('table', 'v', 'v', 0, ?)", (virtual,))
    again = opened(tmp_path)
    assert again.tables() == ["t"]
    again.close()


def test_lists_of_forms_and_views_are_searched_so(tmp_path: Path) -> None:
    toml = """
[providers.main]
kind = "sql"
url = "sqlite:///data/app.db"
[forms.f.fields]
a = { type = "string" }
n = { type = "integer" }
b = { type = "string" }
[views.v]
from = "forms/f"
columns = { b = {} }
[forms.numbers.fields]
n = { type = "integer" }
"""
    site = Site(tmp_path, toml)
    site.create("forms/f", [{"a": "Größe", "b": "x"}, {"a": "x", "b": "GRÖSSE"}])
    for address, count in (("forms/f/records?_q=grösse", 2), ("views/v?_q=grösse", 1), ("views/v?_q=X", 1)):
        assert len(site.items(address)) == count
    provider: Any = site.app.providers["main"]
    kept = {table: one.fields for table, one in provider._search._kept.items()}
    assert kept == {"f": ("a", "b"), "_people": ("email", "name", "subject")}
    site.close()
