"""What Satchel has to reach beside others: every row of the table in the design."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sqlite3
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from harness import MIB, PYTHON, PYZ, Ask, Bench, Line, Missing, Server, send_file
from peers import MOST_IN_A_BATCH, STARTER, Copyparty, Datasette, Nginx, PocketBase, Satchel, records

FEW, MANY = 1000, 500_000
Row = tuple[str, str, int, object]  # table, key, version, data
# Views whose order, filter and facets are declared, so that the database can have indexes for them.
DECLARED = """
[views.by_day]
from = "forms/sale"
columns = { name = {}, region = {}, amount = {}, day = {} }
order_by = ["-day"]
[views.by_amount]
from = "forms/sale"
columns = { name = {}, region = {}, amount = {}, day = {} }
order_by = ["-amount"]
[views.northern]
from = "forms/sale"
columns = { name = {}, region = {}, amount = {}, day = {} }
where = [{ field = "region", eq = "north" }]
[views.by_region]
from = "forms/sale"
columns = { name = {}, region = {}, amount = {}, day = {} }
facets = ["region"]
"""


def plural(number: int, word: str) -> str:
    """1 connection, 2 connections."""
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def satchel(bench: Bench, count: int = 0, toml: str = STARTER, *options: str) -> Satchel:
    """A site with so many records at least, which serves until the row ends.

    Rows of a quick run share one where they can, because a start takes longer than what they ask.
    """
    if bench.quick and (toml, options) == (STARTER, ()):
        return kept(bench, count, toml)
    site = Satchel(bench.place(), toml, *options)
    bench.start(site)
    site.load(count)
    return site


def kept(bench: Bench, count: int, toml: str) -> Satchel:
    """One with so many records that the next row finds again, because it takes long to load."""
    name = (toml, 0 if bench.quick else count)
    site: Satchel = bench.kept.get(name) or Satchel(bench.place(), toml)
    bench.kept[name] = site
    if not site.serves:
        bench.start(site)
    site.load(count - site.loaded)
    return site


def large(bench: Bench, count: int) -> Satchel:
    """One with the views of DECLARED."""
    return kept(bench, count, STARTER + DECLARED)


def with_peers(bench: Bench, site: Satchel, *made: Callable[[Path], Server]) -> dict[str, Any]:
    """The site and those of the others that are installed, by name; they serve until the row ends."""
    servers: dict[str, Any] = {site.name: site}
    for make in made:
        try:
            server = make(bench.place())
        except Missing:
            continue
        bench.start(server)
        servers[server.name] = server
    return servers


def beside(
    bench: Bench,
    work: str,
    contestants: Mapping[str, Callable[[], float]],
    against: Mapping[str, tuple[str, float | None]],
    unit: str = "/s",
) -> list[Line]:
    """A line for each of `against`: name -> (what of it, goal). One that is no contestant is not installed."""
    found = bench.measure(contestants)
    lines = []
    for name, (what, goal) in against.items():
        missing = "" if name in found else f"{name} is not installed"
        theirs = found.get(name, [])
        lines.append(
            Line(work, f"{name} {what}".strip(), found["Satchel"] if theirs else (), theirs, unit, goal, missing=missing)
        )
    return lines


def view_json(bench: Bench) -> list[Line]:
    """A page of 50 rows as JSON."""
    count = bench.size(2000, 60)
    servers = with_peers(bench, satchel(bench, count), partial(Datasette, count=count), partial(PocketBase, count=count))
    lines = []
    for connections in (1, 16):
        work = f"view of 50 rows as JSON, {plural(connections, 'connection')}"
        rates = {name: partial(bench.rate, one.list, connections) for name, one in servers.items()}
        goals = (12.0, 2.0) if connections == 16 else (None, None)
        lines += beside(bench, work, rates, {"Datasette": ("table JSON", goals[0]), "PocketBase": ("list", goals[1])})
    return lines


def view_html(bench: Bench) -> list[Line]:
    """A page of 50 rows as HTML."""
    count = bench.size(2000, 60)
    servers = with_peers(bench, satchel(bench, count), partial(Datasette, count=count))
    lines = []
    for connections in (1, 16):
        work = f"view of 50 rows as HTML, {plural(connections, 'connection')}"
        rates = {name: partial(bench.rate, one.page, connections) for name, one in servers.items()}
        lines += beside(bench, work, rates, {"Datasette": ("table page", 30.0 if connections == 16 else None)})
    return lines


def create(bench: Bench) -> list[Line]:
    """A durable create."""
    servers = with_peers(bench, satchel(bench, 1), partial(PocketBase, count=1))
    rates = {name: partial(bench.rate, one.create, 16) for name, one in servers.items()}
    bench.notes.append(
        "Satchel checks a token, writes an audit entry into the same commit and waits for the medium before it answers "
        "(synchronous = FULL); PocketBase does none of these, and syncs now and then (NORMAL). The processor is what limits "
        "Satchel: about two thirds of what a create takes of it is Python, a quarter the system's and a tenth SQLite's."
    )
    return beside(bench, "create, durable, 16 connections", rates, {"PocketBase": ("create", 1.0)})


# ---- batches ----


def raw(folder: Path, tables: Mapping[str, str], rows: Sequence[Row], a_commit: int) -> float:
    """Records a second of a bare loop that writes the same rows into the same tables, so many rows a durable commit."""
    path = folder / f"raw-{time.monotonic_ns()}.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.executescript("pragma journal_mode = wal; pragma synchronous = full")
        for statement in tables.values():
            database.execute(statement)
        inserts = {name: f'insert into "{name}" values (?, ?, ?)' for name in tables}
        began = time.perf_counter()
        for first in range(0, len(rows), a_commit):
            database.execute("begin immediate")
            for table, key, number, value in rows[first : first + a_commit]:
                text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
                database.execute(inserts[table], (key, number, text))
            database.execute("commit")
        passed = time.perf_counter() - began
    path.unlink()
    return sum(table == "sale" for table, *_ in rows) / passed


def stored(site: Satchel) -> tuple[dict[str, str], list[Row]]:
    """The tables of the records and of the audit trail as Satchel made them, and the rows that lie in them."""
    with closing(sqlite3.connect(site.folder / "data" / "app.db")) as database:
        asked = "select name, sql from sqlite_master where type = 'table' and name in ('sale', '_audit')"
        tables = dict(database.execute(asked).fetchall())
        if len(tables) < 2:
            raise RuntimeError(f"the database has {sorted(tables)} in place of sale and _audit")
        records_ = database.execute('select key, version, data from "sale" order by key').fetchall()
        entries = {json.loads(row[2])["record"]: row for row in database.execute('select key, version, data from "_audit"')}
    rows: list[Row] = []
    for key, number, text in records_:
        entry = entries[key]
        rows += [("sale", key, number, json.loads(text)), ("_audit", entry[0], entry[1], json.loads(entry[2]))]
    return tables, rows


def batch(bench: Bench) -> list[Line]:
    """A batch of 1,000 records."""
    site = satchel(bench, MOST_IN_A_BATCH)
    tables, rows = stored(site)
    ask, place = site.ask("/forms/sale", "POST", list(records(MOST_IN_A_BATCH))), bench.place()
    rates = {
        "Satchel": lambda: MOST_IN_A_BATCH / bench.wait_ms(ask) * 1000,
        "raw": lambda: raw(place, tables, rows, len(rows)),
    }
    against = {"raw": ("sqlite3 loop, same rows of records and audit", 0.6)}
    bench.notes.append(
        "The tables of the raw loop have their primary keys alone, and it checks and answers nothing. Satchel's have four "
        "indexes for the filters of the audit trail as well, and an index for searches."
    )
    return beside(bench, "batch of 1,000 records", rates, against, "rows/s")


# ---- files ----


def download(bench: Bench) -> list[Line]:
    """A file of 1 KiB, of 1 MiB and of 100 MiB."""
    servers = with_peers(bench, satchel(bench), Copyparty, Nginx)
    lines = []
    for title, size, connections, goal in (
        ("1 KiB", 1024, 16, 1.5),
        ("1 MiB", MIB, 16, 1.2),
        ("100 MiB", 100 * MIB, 1, 1.0),
    ):
        if bench.quick and size > MIB:
            size = 2 * MIB
        for one in servers.values():
            (one.files / "file.bin").write_bytes(bytes(size))
        work = f"download of {title}, {plural(connections, 'connection')}"
        measure, unit = (bench.rate, "/s") if size < MIB else (bench.mib_s, "MiB/s")
        rates = {name: partial(measure, one.file("file.bin"), connections) for name, one in servers.items()}
        lines += beside(bench, work, rates, {"copyparty": ("", goal), "nginx": ("", None)}, unit)
    bench.notes.append(
        "A file goes out by sendfile, as much at a time as the client's receive window takes, and then waits in the poller "
        "until the client has read. The one client of 100 MiB reads on the same cores."
    )
    return lines


def upload(bench: Bench) -> list[Line]:
    """A PUT of 100 MiB."""
    site, size = satchel(bench), bench.size(100, 2)
    source, target = bench.place() / "source.bin", bench.place() / "target.bin"
    source.write_bytes(bytes(range(256)) * (size * MIB // 256))

    def put() -> float:
        passed = send_file(site.file("big.bin", "PUT"), source)
        site.file("big.bin", "DELETE").once()
        return size / passed

    def dd() -> float:
        command = ["dd", f"if={source}", f"of={target}", "bs=1M", "conv=fsync", "status=none"]
        began = time.perf_counter()
        subprocess.run(command, check=True)
        passed = time.perf_counter() - began
        target.unlink()
        return size / passed

    bench.notes.append(
        "dd copies a file that is in memory already. Satchel gets the same bytes from a client on the same cores, through a "
        "socket, and finds their SHA-256."
    )
    return beside(
        bench, "upload of 100 MiB, fsync and sha-256", {"Satchel": put, "dd": dd}, {"dd": ("conv=fsync", 0.6)}, "MiB/s"
    )


def listing(bench: Bench) -> list[Line]:
    """The first page of a folder of 100,000 files."""
    servers, count = with_peers(bench, satchel(bench), Copyparty), bench.size(100_000, 100)
    for one in servers.values():
        folder = one.files / "many"
        folder.mkdir()
        for number in range(count):
            (folder / f"picture-{number:06}.jpg").touch()
    lines = []
    for what, query, goal in (("first page", "", 10.0), ("first page of 50", "?_size=50", None)):
        asks = {name: one.file(f"many{query}" if name == "Satchel" else "many/?ls") for name, one in servers.items()}
        waits = {name: partial(bench.wait_ms, ask) for name, ask in asks.items()}
        lines += beside(bench, f"listing of 100,000 files, {what}", waits, {"copyparty": ("?ls", goal)}, "ms")
    return lines


# ---- large tables ----


def big_view(bench: Bench) -> list[Line]:
    """What a view declares, over 500,000 records."""
    few, many = large(bench, bench.size(FEW, 60)), large(bench, bench.size(MANY, 120))
    cases = {
        "order by text": ("/views/by_day", "/views/by_day"),
        "order by number": ("/views/by_amount", "/views/by_amount"),
        "filter": ("/views/northern", "/views/northern"),
        "count": ("/views/sale?_count=1", "/views/sale"),
        "facets": ("/views/by_region?_facets=1", "/views/by_region"),
    }
    lines = []
    for title, (path, first) in cases.items():
        work, against = f"view over 500,000 records: {title}", "page 1 of 1,000 records"
        found = bench.measure(
            {"many": partial(bench.wait_ms, many.ask(path)), "few": partial(bench.wait_ms, few.ask(first))}
        )
        lines.append(Line(work, against, found["many"], found["few"], "ms", 3.0, cost=True))
    return lines


# ---- starting ----


def start_ms(server: Server, ask: Ask) -> float:
    """From the start of the process to the end of its first answer; it is stopped again."""
    log = server.folder / "start.log"
    with log.open("wb") as output:
        began = time.perf_counter()
        process = subprocess.Popen(
            server.command(), cwd=server.folder, env={**os.environ, **server.env}, stdin=subprocess.DEVNULL,
            stdout=output, stderr=output,
        )  # fmt: skip
        try:
            while True:
                if process.poll() is not None or time.perf_counter() - began > 30:
                    raise RuntimeError(f"{server.name} did not start: {log.read_text(errors='replace')[-2000:]}")
                try:
                    socket.create_connection(("127.0.0.1", server.port), 5).close()
                    ask.once()
                    return (time.perf_counter() - began) * 1000
                except OSError:
                    time.sleep(0.002)
        finally:
            process.terminate()
            process.wait(30)


def start(bench: Bench) -> list[Line]:
    """From the command to the first answer."""
    count = bench.size(2000, 60)
    site = Satchel(bench.place())
    site.start()
    site.load(count)
    site.stop()
    servers: dict[str, Any] = {"Satchel": site}
    with contextlib.suppress(Missing):
        servers["Datasette"] = Datasette(bench.place(), count)
    times = {name: partial(start_ms, one, one.list) for name, one in servers.items()}
    return beside(bench, "start to first answer (a page of 50 rows)", times, {"Datasette": ("serve", 2.0)}, "ms")


def help_(bench: Bench) -> list[Line]:
    """The time of commands that do little."""
    site = Satchel(bench.place())

    def run(*command: str) -> float:
        began = time.perf_counter()
        env = {**os.environ, **site.env}
        subprocess.run([PYTHON, *command], check=True, capture_output=True, cwd=site.folder, env=env)
        return (time.perf_counter() - began) * 1000

    commands = {"--help": ["--help"], "auth issue": ["auth", "issue", "--subject", "bench", "--grant", "**:*", "--force"]}
    runs = {name: partial(run, str(PYZ), *words) for name, words in commands.items()}
    found = bench.measure({**runs, "pass": partial(run, "-c", "pass")})
    return [Line(name, "python -c pass", found[name], found["pass"], "ms", 3.0, cost=True) for name in commands]
