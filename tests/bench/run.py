"""Measures Satchel beside other programs: ./build.sh bench [NAME…] [--quick]

Each row puts its lines in RESULTS.md, in place of those that it had. --quick only shows that a row works, and writes
nothing. Programs that are not installed are named, and what needs them is left out.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path

import goals
import growth
import results
import serving
import sqs
import transfer
from harness import Bench, Line, Missing, busy_share, stop_everything

Measure = Callable[[Bench], list[Line]]
GROUPS: dict[str, dict[str, Measure]] = {
    "What has to be reached": {
        "view-json": goals.view_json,
        "view-html": goals.view_html,
        "create": goals.create,
        "batch": goals.batch,
        "download": goals.download,
        "upload": goals.upload,
        "listing": goals.listing,
        "big-view": goals.big_view,
        "start": goals.start,
        "help": goals.help_,
    },
    "As there is more": {
        "growth": growth.growth,
        "forms": growth.forms,
        "tokens": growth.tokens,
        "workers": growth.workers,
    },
    "Memory": {"memory": growth.memory, "transfer": transfer.transfer},
    "Doors": {"serving": serving.serving, "sqs": sqs.sqs},
    "Where one machine ends": {"writer": growth.writer, "nodes": growth.nodes},
}
BUSY, BUSY_SHARE = "Measured while the machine did other work, too: these figures are rough.", 0.2
ROWS = {name: measure for rows in GROUPS.values() for name, measure in rows.items()}


def measured(bench: Bench, name: str) -> list[Line]:
    """The lines of a row; one that says why there is none, where something is missing."""
    try:
        return ROWS[name](bench)
    except Missing as error:
        return [Line(str(ROWS[name].__doc__).rstrip("."), "", missing=f"{error} is not installed")]
    finally:
        bench.end_row()


def run(names: list[str], quick: bool, folder: Path) -> tuple[list[results.Cells], dict[str, list[str]], list[str]]:
    """The lines of these rows, their notes, and the names of those that failed. RESULTS.md has each once it is measured."""
    bench = Bench(folder, quick, *((1, 0.1) if quick else ()))
    rows: list[results.Cells] = []
    notes: dict[str, list[str]] = {}
    failed: list[str] = []
    for name in names:
        print(f"bench: {name}", file=sys.stderr, flush=True)
        bench.notes = [BUSY] if not quick and busy_share() > BUSY_SHARE else []
        try:
            lines = [results.cells(name, line, quick) for line in measured(bench, name)]
        except Exception:
            traceback.print_exc()
            failed.append(name)
            continue
        rows, notes[name] = rows + lines, bench.notes
        if not quick:
            write(lines, {name: bench.notes})
    return rows, notes, failed


def write(rows: list[results.Cells], notes: dict[str, list[str]]) -> None:
    """RESULTS.md with these lines in place of what it has of the same rows."""
    old, old_notes = results.read(results.RESULTS.read_text(encoding="utf-8")) if results.RESULTS.exists() else ([], {})
    fresh = {row[0] for row in rows}
    kept = [row for row in old if row[0] not in fresh]
    groups = {title: list(some) for title, some in GROUPS.items()}
    results.RESULTS.write_text(results.written(groups, rows + kept, old_notes | notes), encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(prog="./build.sh bench", description="Measures Satchel beside other programs.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"a row: {', '.join(ROWS)}; all if none is named")
    parser.add_argument("--quick", action="store_true", help="only show that each row works, and write nothing")
    asked = parser.parse_args()
    if unknown := [name for name in asked.names if name not in ROWS]:
        parser.error(f"there is no row {unknown[0]!r}; the rows are {', '.join(ROWS)}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # servers and folders go with it
    with tempfile.TemporaryDirectory(prefix="satchel-bench-") as folder:
        try:
            rows, notes, failed = run(asked.names or list(ROWS), asked.quick, Path(folder))
        finally:
            stop_everything()
    if asked.quick:
        print("A quick run: everything is small, and the numbers mean nothing.")
    print(results.printed(rows))
    for name, some in notes.items():
        for note in some:
            print(f"{name}: {note}")
    if failed:
        print(f"bench: these rows failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
