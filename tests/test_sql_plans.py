"""Lists in SQLite that one index filters and another one orders: which is used, and that both list the same."""

from __future__ import annotations

import json
import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import app
from app import Condition, Insert, Query

plans = app.plugin("sql_plans")
RARE, COMMON = (Condition("region", "eq", "rare"),), (Condition("region", "eq", "common"),)
DECLARED = [Query("t", order_by=("-day",)), Query("t", (), ("region",)), Query("t", COMMON, ("amount",))]


@pytest.fixture
def sql(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setattr(plans, "FEW", 20)
    provider = app.SqlProvider("main", {"url": "sqlite:///app.db"}, tmp_path)
    provider.open()
    provider.prepare({"t": DECLARED})
    chance = random.Random(2)
    values = [{"day": f"d{chance.randrange(60):02}", "amount": chance.randrange(40), "other": n} for n in range(400)]
    provider.commit([
        Insert("t", f"{n:03}", value | {"region": "rare" if n % 80 == 3 else "common"}) for n, value in enumerate(values)
    ])  # fmt: skip
    yield provider
    provider.close()


def steps(sql: Any, query: Query) -> str:
    """What SQLite does for a page, in its words."""
    with sql.reading("explaining") as connection:
        connection.execute("select count(*) from t").fetchone()
        asked = sql._search.query(app.CompiledQuery(query), connection)
        text = asked.rows("key")
        return " ".join(row[3] for row in connection.execute(f"explain query plan {text}", asked.values))


@pytest.mark.parametrize("order", [("-day",), ("day",)])
def test_a_filter_that_many_records_meet_is_read_in_the_declared_order(sql: Any, order: tuple[str, ...]) -> None:
    few, many = Query("t", RARE, order), Query("t", COMMON, order)
    assert "TEMP B-TREE FOR ORDER BY" not in steps(sql, many)
    behind = many._replace(after=sql.find(many._replace(limit=5)).next)
    assert "SEARCH" in steps(sql, behind)
    assert "TEMP B-TREE FOR ORDER BY" not in steps(sql, behind)
    assert "SEARCH" in steps(sql, few)
    assert "TEMP B-TREE FOR ORDER BY" in steps(sql, few)


def test_a_range_that_few_records_meet_is_looked_up(sql: Any) -> None:
    few = Query("t", (Condition("day", "gt", "d58"),), ("-id",))
    assert "SEARCH" in steps(sql, few)
    many = few._replace(where=(Condition("day", "gte", "d30"),))
    assert "TEMP B-TREE FOR ORDER BY" not in steps(sql, many)


def test_a_page_further_on_of_a_range_that_few_records_meet_is_looked_up(sql: Any) -> None:
    few = Query("t", (Condition("day", "gt", "d57"),), ("-id",), limit=3)
    behind = few._replace(after=sql.find(few).next)
    assert "SEARCH t USING INDEX satchel_" in steps(sql, behind)
    assert "TEMP B-TREE FOR ORDER BY" in steps(sql, behind)


@pytest.mark.parametrize("column", ["integer primary key", "numeric not null"])
@pytest.mark.parametrize("order", [("b",), ("-b",), ("id",), ("-id",)])
@pytest.mark.parametrize("few", [20, 500])
def test_a_table_of_another_program_with_keys_that_are_numbers_is_paged_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, column: str, order: tuple[str, ...], few: int
) -> None:
    monkeypatch.setattr(plans, "FEW", few)
    with closing(sqlite3.connect(tmp_path / "app.db", isolation_level=None)) as connection:
        connection.execute(f"create table t (key {column}, version integer not null, data text not null)")
        rows = [(n, 1, json.dumps({"a": n % 2, "b": n % 7})) for n in range(1, 401)]
        connection.executemany("insert into t values (?, ?, ?)", rows)
    provider = app.SqlProvider("main", {"url": "sqlite:///app.db"}, tmp_path)
    provider.open()
    with closing(provider):
        provider.prepare({"t": [Query("t", (), ("a",)), Query("t", (), ("b",))]})
        query, seen = Query("t", (Condition("a", "gt", 0),), order, limit=30), list[Any]()
        while True:
            page = provider.find(query)
            seen += [record.key for record in page.items]
            if not page.next or len(seen) > 200:
                break
            query = query._replace(after=page.next)
    assert len(seen) == len(set(seen)) == 200


def test_other_lists_are_left_to_sqlite(sql: Any) -> None:
    for query in (
        Query("t", COMMON, ("amount",)),
        Query("t", (Condition("other", "eq", 7),), ("-day",)),
        Query("t", (*COMMON, Condition("other", "lt", 9)), ("-day",)),
        Query("t", (Condition("day", "gt", "d5"),), ("-day",)),
        Query("t", COMMON, ("other",)),
        Query("t", COMMON, ("-day",), limit=2**31),
    ):
        plain = app.plugin("sql_records").SqliteQuery(app.CompiledQuery(query), '"t"')
        with sql.reading("comparing") as connection:
            assert sql._search.query(app.CompiledQuery(query), connection).rows("key") == plain.rows("key")


@pytest.mark.parametrize(
    "order", [("-day",), ("day", "-amount"), ("amount",), ("-id",), ("-region", "day"), ("-version", "day")]
)
def test_a_list_is_the_same_by_whichever_index(sql: Any, order: tuple[str, ...]) -> None:
    conditions = [
        *RARE, *COMMON, Condition("region", "in", ["rare", "none"]), Condition("region", "ne", "rare"),
        Condition("day", "lt", "d02"), Condition("day", "gte", "d02"), Condition("day", "null", False),
        Condition("amount", "gt", 38), Condition("region", "prefix", "c"),
    ]  # fmt: skip
    every = sql.find(Query("t", limit=500)).items
    for condition in conditions:
        query, seen = Query("t", (condition,), order, limit=7), list[str]()
        wanted = [record.key for record in app.CompiledQuery(query._replace(limit=500)).first(every)]
        while True:
            page = sql.find(query)
            seen += [record.key for record in page.items]
            if not page.next:
                break
            query = query._replace(after=page.next)
        assert seen == wanted
        assert sql.count(query) == len(wanted)
