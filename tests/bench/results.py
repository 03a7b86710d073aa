"""The table of the bench: as it is printed, and as it is kept in RESULTS.md, which README and docs quote."""

from __future__ import annotations

import os
import platform
import re
import sqlite3
import statistics
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import fill

from harness import Line
from peers import Copyparty, Datasette, PocketBase

RESULTS = Path(__file__).parent / "RESULTS.md"
HEADINGS = ("row", "work", "against", "Satchel", "the other", "ratio", "lowest–highest", "goal", "verdict")
Cells = tuple[str, ...]


def number(value: float) -> str:
    """Three digits, or all before the point."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def cells(row: str, line: Line, quick: bool = False) -> Cells:
    """A line of the table as texts. A quick run has no verdicts: it `runs`."""
    goal = "–" if line.goal is None else f"{'≤' if line.cost else '≥'} {line.goal:g}"
    if line.missing or not line.ours:
        return (row, line.work, line.against, "–", "–", "–", "–", goal, line.verdict)
    ours, theirs = (f"{number(statistics.median(some))} {line.unit}" for some in (line.ours, line.theirs))
    ratios = line.ratios
    ratio, spread = number(statistics.median(ratios)), f"{number(ratios[0])}–{number(ratios[-1])}"
    return (row, line.work, line.against, ours, theirs, ratio, spread, goal, "runs" if quick else line.verdict)


def printed(rows: Sequence[Cells]) -> str:
    """For a terminal."""
    widths = [max(len(row[column]) for row in (HEADINGS, *rows)) for column in range(len(HEADINGS))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in (HEADINGS, *rows)
    )


def table(rows: Sequence[Cells]) -> str:
    """As Markdown."""
    return "\n".join("| " + " | ".join(row) + " |" for row in (HEADINGS, ("---",) * len(HEADINGS), *rows))


# ---- RESULTS.md ----


def read(text: str) -> tuple[list[Cells], dict[str, list[str]]]:
    """The lines of the tables, and the notes of each row, as they were before `written` folded them."""
    text = text.replace("\n  ", " ")
    rows = [
        tuple(cell.strip() for cell in line.strip("|\n").split("|")) for line in text.splitlines() if line.startswith("|")
    ]
    notes: dict[str, list[str]] = {}
    for row, note in re.findall(r"^- `([\w-]+)`: (.*)$", text, re.MULTILINE):
        notes.setdefault(row, []).append(note)
    return [row for row in rows if row != HEADINGS and set(row) != {"---"}], notes


def written(groups: Mapping[str, Sequence[str]], rows: Sequence[Cells], notes: Mapping[str, Sequence[str]]) -> str:
    """RESULTS.md: a table for each group, which is title -> names of its rows."""
    parts = [HEAD, "\n".join(f"- {fact}" for fact in machine())]
    for title, names in groups.items():
        some = [row for name in names for row in rows if row[0] == name]
        said = [fill(f"- `{name}`: {note}", 125, subsequent_indent="  ") for name in names for note in notes.get(name, ())]
        if some:
            parts += [f"## {title}", table(some)]
        if said:
            parts.append("\n".join(said))
    return "\n\n".join(parts) + "\n"


HEAD = """# What was measured

`./build.sh bench` writes this page. Each row was measured in one run, the programs in turns: it has the medians of its
rounds, and the median of the rounds' own ratios. Where the goal is ≥, or there is none, the ratio says how many times as
fast or small Satchel is; where it is ≤, how many times as much it takes. Only numbers of one row may be compared: two rows
may be of different hours. The client ran on the same cores.

Satchel is the built app.pyz in its default configuration, asked with a token. The others are as they come, without a
sign-in."""


def machine() -> list[str]:
    """What was measured on, and with: no names and no paths."""
    return [
        f"{os.cpu_count()} cores, {processor()}, {memory_gib()} GiB of memory, {platform.system()}, {file_system()}",
        f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}",
        ", ".join([*(f"{one.name} {one.version()}" for one in (Datasette, PocketBase, Copyparty)), *programs()]),
    ]


def processor() -> str:
    try:
        found = re.search(r"^model name\s*:\s*(.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    return found[1] if found else platform.machine()


def memory_gib() -> int:
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30)


def file_system() -> str:
    """The kind of file system that holds temporary files."""
    try:
        done = subprocess.run(["findmnt", "-n", "-o", "FSTYPE", "-T", tempfile.gettempdir()], capture_output=True, text=True)
    except OSError:
        return "an unknown file system"
    return done.stdout.strip()


def programs() -> list[str]:
    """The versions of what Debian brings, where it is installed."""
    found = []
    for name, command in (("nginx", ["/usr/sbin/nginx", "-v"]), ("wrk", ["wrk", "-v"])):
        try:
            done = subprocess.run(command, capture_output=True, text=True)
        except OSError:
            continue
        if version := re.search(r"\d+\.\d+(\.\d+)?", done.stdout + done.stderr):
            found.append(f"{name} {version[0]}")
    return found
