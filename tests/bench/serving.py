"""Requests a second of a server, beside its own /healthz and what the same machine does bare."""

from __future__ import annotations

from functools import partial

from goals import raw, satchel, stored
from harness import Bench, Line
from peers import MOST_IN_A_BATCH

CONNECTIONS = 16


def serving(bench: Bench) -> list[Line]:
    """What the parts of the program cost beside an answer that does nothing."""
    site, place = satchel(bench, MOST_IN_A_BATCH), bench.place()
    tables, rows = stored(site)
    some = rows[: bench.size(len(rows), 100)]
    found = bench.measure(
        {
            "health": lambda: bench.rate(site.ask("/healthz"), CONNECTIONS),
            "view of 50 rows as JSON": partial(bench.rate, site.list, CONNECTIONS),
            "view of 50 rows as HTML": partial(bench.rate, site.page, CONNECTIONS),
            "create, durable": partial(bench.rate, site.create, CONNECTIONS),
            "bare SQLite commits, one thread": lambda: raw(place, tables, some, 2),
        }
    )
    health = found.pop("health")
    return [
        Line(f"{work}, 16 connections".replace("thread, 16 connections", "thread"), "/healthz", one, health)
        for work, one in found.items()
    ]
