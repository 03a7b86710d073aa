"""How Satchel does as there is more of everything: records, forms, tokens, workers, connections, bytes, nodes."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from goals import FEW, MANY, beside, large, raw, satchel, start_ms, stored, with_peers
from harness import Ask, Bench, Line, Missing, cpu_s, pss_mb, watched
from peers import MOST_IN_A_BATCH, SITE, STARTER, Datasette, PocketBase, Satchel

CONNECTIONS = 16
CORES = os.cpu_count() or 1


def growth(bench: Bench) -> list[Line]:
    """From 1,000 records to 500,000."""
    sites = {f"{count:,} records": large(bench, bench.size(count, 60)) for count in (FEW, 100_000, MANY)}
    waits = {
        "page 1": "/views/sale",
        "filter that no view declares": "/views/sale?name=Customer%2077",
        "search that finds nothing": "/views/sale?_q=nowhere",
        "order that no view declares": "/views/sale?_sort=pieces",
        "count": "/views/sale?_count=1",
        "audit trail of a record": "/admin/audit?record=none",
    }
    lines = []
    for work, path in waits.items():
        found = bench.measure({size: partial(bench.wait_ms, site.ask(path)) for size, site in sites.items()})
        lines += grown(work, found, "ms")
    rates = {size: partial(bench.rate, site.create, CONNECTIONS) for size, site in sites.items()}
    return lines + grown("create, 16 connections", bench.measure(rates), "/s")


def grown(work: str, found: dict[str, list[float]], unit: str) -> list[Line]:
    """Each of the later ones beside the first."""
    (least, first), *others = found.items()
    return [Line(f"{work}, {size}", least, one, first, unit, cost=unit == "ms") for size, one in others]


def forms(bench: Bench) -> list[Line]:
    """200 forms and views beside 1."""
    many = bench.size(200, 5)
    others = "".join(
        f'[forms.f{number}]\nprovider = "main"\n[forms.f{number}.fields]\nname = {{ type = "string" }}\n'
        f'[views.f{number}]\nfrom = "forms/f{number}"\ncolumns = {{ name = {{}} }}\n'
        for number in range(many - 1)
    )
    count = bench.size(2000, 60)
    one, more = satchel(bench, count), satchel(bench, count, STARTER + others)
    cases: dict[str, tuple[str, Callable[[Satchel], float]]] = {
        "view of 50 rows as JSON, 16 connections": ("/s", lambda site: bench.rate(site.list, CONNECTIONS)),
        "create, 16 connections": ("/s", lambda site: bench.rate(site.create, CONNECTIONS)),
        "memory": ("MB", lambda site: pss_mb(site.pid)),
    }
    lines = []
    for work, (unit, measure) in cases.items():
        found = bench.measure({"more": partial(measure, more), "one": partial(measure, one)})
        lines.append(Line(f"{work}, 200 forms", "1 form", found["more"], found["one"], unit))
    for site in (one, more):
        site.stop()
    found = bench.measure({"more": partial(start_ms, more, more.list), "one": partial(start_ms, one, one.list)})
    return [*lines, Line("start to first answer, 200 forms", "1 form", found["more"], found["one"], "ms", cost=True)]


def tokens(bench: Bench) -> list[Line]:
    """10,000 tokens beside as many as a page of them shows."""
    import sites  # the program in this process, because issuing by command takes a start each

    few, many = satchel(bench, bench.size(2000, 60)), satchel(bench, bench.size(2000, 60))
    for site, count in ((few, 60), (many, bench.size(10_000, 80))):
        with_app = sites.Site(site.folder, STARTER)
        try:
            for number in range(count):
                with_app.token(f"person-{number}", "views/sale:read")
        finally:
            with_app.close()
    lines = []
    for work, path in (
        ("view of 50 rows as JSON, 16 connections", "/views/sale"),
        ("list of tokens, 1 connection", "/admin/tokens"),
    ):
        connections = CONNECTIONS if "views" in path else 1
        rates = {name: partial(bench.rate, site.ask(path), connections) for name, site in (("many", many), ("few", few))}
        found = bench.measure(rates)
        lines.append(Line(f"{work}, 10,000 tokens", "60 tokens", found["many"], found["few"]))
    return lines


def workers(bench: Bench) -> list[Line]:
    """1 to 4 workers."""
    numbers = range(1, bench.size(4, 2) + 1)
    sites = {str(n): satchel(bench, bench.size(2000, 60), STARTER, "--workers", str(n)) for n in numbers}
    lines = []
    for work, of in (("view of 50 rows as JSON", "list"), ("create", "create")):
        rates = {name: partial(bench.rate, getattr(site, of), CONNECTIONS) for name, site in sites.items()}
        found = bench.measure(rates)
        one = found.pop("1")
        lines += [Line(f"{work}, 16 connections, {name} workers", "1 worker", many, one) for name, many in found.items()]
    return lines


# ---- memory ----


def under_load_mb(bench: Bench, server: Any, connections: int) -> float:
    """The most that it has while so many connections ask for a list."""
    with watched(server.pid) as found:
        bench.rate(server.list, connections)
    return max(found)


def memory(bench: Bench) -> list[Line]:
    """At rest and under 64 connections; pages that processes share are counted once (PSS)."""
    count = bench.size(2000, 60)
    servers = with_peers(bench, satchel(bench, count), partial(Datasette, count=count), partial(PocketBase, count=count))
    against: dict[str, tuple[str, float | None]] = {"Datasette": ("", None), "PocketBase": ("", None)}
    for one in servers.values():
        one.list.once()
    idle = {name: partial(pss_mb, one.pid) for name, one in servers.items()}
    lines = beside(bench, "memory at rest", idle, against, "MB")
    busy = {name: partial(under_load_mb, bench, one, 64) for name, one in servers.items()}
    return lines + beside(bench, "memory under 64 connections that list", busy, against, "MB")


# ---- where one machine ends, and what more nodes give ----


def writer(bench: Bench) -> list[Line]:
    """Creates beside what SQLite's single writer does bare."""
    site, place = satchel(bench, MOST_IN_A_BATCH), bench.place()
    tables, rows = stored(site)
    pair = 2  # a record and its audit entry
    some = rows[: bench.size(len(rows), 100)]
    found = bench.measure(
        {
            "1": lambda: bench.rate(site.create, 1),
            "16": lambda: bench.rate(site.create, 16),
            "64": lambda: bench.rate(site.create, 64),
            "single": lambda: raw(place, tables, some, pair),
            "grouped": lambda: raw(place, tables, rows, len(rows)),
        }
    )
    [of_site] = cpu_ms(bench, site.create, site.pid)
    bench.notes.append(
        f"One create takes {of_site:.2f} ms of processor time, so {CORES} cores end at {a_second(of_site)} a second, with "
        "nothing left for a client."
    )
    single, grouped = "bare loop, 1 record a commit", "bare loop, 1,000 records a commit"
    return [
        Line("create, durable, 1 connection", single, found["1"], found["single"]),
        Line("create, durable, 16 connections", single, found["16"], found["single"]),
        Line("create, durable, 64 connections", single, found["64"], found["single"]),
        Line("create, durable, 64 connections", grouped, found["64"], found["grouped"]),
    ]


def together(*measures: Callable[[], float]) -> float:
    """The sum of what they find at the same time."""
    with ThreadPoolExecutor(len(measures)) as threads:
        under_way = [threads.submit(measure) for measure in measures]
    return sum(one.result() for one in under_way)


def nodes(bench: Bench) -> list[Line]:
    """Two nodes on one PostgreSQL, all on this machine."""
    if not list(Path("/usr/lib/postgresql").glob("*/bin/postgres")):
        raise Missing("PostgreSQL")
    import postgres_server

    database, count = postgres_server.Postgres(), bench.size(2000, 60)
    try:
        toml = SITE.replace('kind = "sql"', 'kind = "postgres"').format(url=database.socket_url)
        first = satchel(bench, count, toml)
        keys = first.folder / "data" / "keys.json"
        second = satchel(bench, 0, toml + f'[auth]\nkeys = "file:{keys}"\n')
        alone = satchel(bench, count)
        lines = []
        for work, of in (("create", "create"), ("view of 50 rows as JSON", "list")):
            a, b, c = getattr(first, of), getattr(second, of), getattr(alone, of)
            found = bench.measure(
                {
                    "two": partial(together, partial(bench.rate, a, 8), partial(bench.rate, b, 8)),
                    "one": partial(bench.rate, a, 16),
                    "sqlite": partial(bench.rate, c, 16),
                }
            )
            lines.append(Line(f"{work}, two nodes on PostgreSQL", "one node on PostgreSQL", found["two"], found["one"]))
            lines.append(Line(f"{work}, one node on PostgreSQL", "one node on SQLite", found["one"], found["sqlite"]))
            bench.notes.append(calculated(bench, work, a, first.pid, database.process.process.pid))
        bench.end_row()
    finally:
        database.stop()
    return lines


def calculated(bench: Bench, work: str, ask: Ask, node: int, database: int) -> str:
    """What nodes and a database with cores of their own would do."""
    of_node, of_database = cpu_ms(bench, ask, node, database)
    return (
        f"Calculated, not measured: one {work} takes {of_node:.2f} ms of processor time in a node and {of_database:.2f} ms "
        f"in PostgreSQL. With {CORES} cores each of their own, a node would do {a_second(of_node)} a second at most and the "
        f"database {a_second(of_database)}, so that {max(of_node / of_database, 1):.1f} nodes keep one database busy."
    )


def a_second(ms: float) -> str:
    """How often all cores together can do what takes so much processor time."""
    return f"{CORES * 1000 / ms:,.0f}"


def cpu_ms(bench: Bench, ask: Ask, *pids: int) -> list[float]:
    """The processor time that one request takes of each of these processes with their children."""
    before = [cpu_s(pid) for pid in pids]
    done = bench.rate(ask, CONNECTIONS) * bench.seconds
    return [max((cpu_s(pid) - was) * 1000 / done, 0.001) for pid, was in zip(pids, before, strict=True)]
