"""Lists in the order of what a program cannot read exactly: they end, and each record stands in them once."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest

import app
from app import Insert, Query

postgres_server: Any = importlib.import_module("postgres_server")


@pytest.mark.parametrize("order", [("n", "-a"), ("-n", "a"), ("a",), ("-version", "n")])
def test_a_list_of_numbers_that_postgresql_writes_with_too_many_digits_ends(tmp_path: Path, order: tuple[str, ...]) -> None:
    provider = postgres_server.open_postgres(tmp_path)
    provider.commit([Insert("t", f"{n:02}", {"n": n % 5, "a": n}) for n in range(40)])
    unreadable = "jsonb_build_object('n', cast(version || repeat('0', 500) as numeric), 'a', data->'a')"
    [[schema]] = provider.select(app.Select("select current_schema()")).rows
    text = f"update {schema}.t set data = {unreadable} where key > '10' and key < '27'"
    postgres_server.server().sql(text, "satchel")
    query, seen = Query("t", order_by=order, limit=3), list[str]()
    while len(seen) < 50:
        page = provider.find(query)
        seen += [record.key for record in page.items]
        if not page.next:
            break
        query = query._replace(after=page.next)
    assert sorted(seen) == [f"{n:02}" for n in range(40)]
    provider.close()
