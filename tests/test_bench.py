"""The bench runs: every row by a quick run, the table that it prints, and RESULTS.md that it keeps.

A quick run installs nothing: rows whose programs are there run, and the others name what is missing.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

BENCH = Path(__file__).parent / "bench"
sys.path.append(str(BENCH))

import goals  # noqa: E402
import peers  # noqa: E402
import results  # noqa: E402
import run  # noqa: E402
from harness import Bench, Line, Missing, interrupted  # noqa: E402

VERDICTS = re.compile(r"met|missed|–|later|.+ is not installed")
ROWS = list(run.ROWS)


@dataclass
class Run:
    """A quick run of all rows: its exit code, what it said, and the names of what it left behind."""

    code: int
    out: str
    err: str
    left: list[str]


@pytest.fixture(scope="session")
def quick(pyz: Path, unpack_root: Path) -> Run:
    """All rows in one process, because they share what takes long to start."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)  # PostgreSQL's server runs as another user
    env = {**os.environ, "SHIV_ROOT": str(unpack_root), "TMPDIR": str(folder)}
    command = [sys.executable, str(BENCH / "run.py"), "--quick"]
    done = subprocess.run(command, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=150)
    left = [path.name for path in folder.iterdir()]
    shutil.rmtree(folder)
    return Run(done.returncode, done.stdout, done.stderr, left)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path, quick=True, rounds=3, seconds=0.1)
    yield made
    made.end_row()


# ---- every row runs ----


@pytest.mark.parametrize("name", ROWS)
def test_row_runs(name: str, quick: Run) -> None:
    found = [re.split(r" {2,}", line) for line in quick.out.splitlines() if line.startswith(f"{name} ")]
    assert found, quick.err
    for line in found:
        assert re.fullmatch(r"runs|later|.+ is not installed", line[-1]), line


def test_quick_run_fails_nowhere_and_leaves_nothing(quick: Run) -> None:
    assert quick.code == 0, quick.err
    assert "the numbers mean nothing" in quick.out
    assert not quick.left


def test_row_that_does_not_exist_is_refused_and_the_others_are_named() -> None:
    done = subprocess.run([sys.executable, str(BENCH / "run.py"), "view-jason"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "there is no row 'view-jason'" in done.stderr
    assert all(name in done.stderr for name in ROWS)


def test_what_is_not_installed_is_named(bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(peers, "TOOLS", tmp_path)
    site = peers.Satchel.__new__(peers.Satchel)  # one that is not asked
    servers = goals.with_peers(bench, site, partial(peers.Datasette, count=1), peers.Copyparty)
    assert list(servers) == ["Satchel"]
    [line] = goals.beside(bench, "a page", {"Satchel": lambda: 1.0}, {"Datasette": ("table", 2.0)})
    assert line.verdict == "Datasette is not installed"


def test_row_that_misses_a_program_says_so(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_: Bench) -> list[Line]:
        """Something."""
        raise Missing("wrk")

    monkeypatch.setitem(run.ROWS, "create", missing)
    [line] = run.measured(bench, "create")
    assert (line.work, line.verdict) == ("Something", "wrk is not installed")


def test_row_that_fails_keeps_no_other_away(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fails(_: Bench) -> list[Line]:
        raise RuntimeError("no")

    works = [Line("work", "another", [1.0], [1.0])]
    monkeypatch.setattr(run, "ROWS", {"bad": fails, "good": lambda _: works})
    rows, _, failed = run.run(["bad", "good"], True, tmp_path)
    assert (failed, [row[0] for row in rows]) == (["bad"], ["good"])


def test_program_that_sleeps_on_after_a_signal_gets_another() -> None:
    """As wrk does where the signal comes just before it sleeps."""
    sleep = "try:\n    print('asleep', flush=True)\n    time.sleep(60)\nexcept KeyboardInterrupt:\n    pass\n"
    # Whoever runs the tests may ignore SIGINT, as a shell does for what it runs in the background.
    code = "import signal, time\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
    code += f"{sleep}{sleep}print('ended')"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "asleep\n"
        assert interrupted(process) == "asleep\nended\n"


# ---- rounds and ratios ----


def test_each_round_begins_with_another_one(bench: Bench) -> None:
    order: list[str] = []

    def contestant(name: str) -> Callable[[], float]:
        return lambda: order.append(name) or float(len(order))  # type: ignore[func-returns-value]

    found = bench.measure({name: contestant(name) for name in "abc"})
    assert "".join(order) == "abc" + "bca" + "cab"
    assert found["a"] == [1.0, 6.0, 8.0]


@pytest.mark.parametrize(
    ("line", "ratios", "verdict"),
    [
        (Line("w", "a", [20, 30, 90], [10, 10, 10], "/s", 3), [2, 3, 9], "met"),
        (Line("w", "a", [20, 20, 90], [10, 10, 10], "/s", 3), [2, 2, 9], "missed"),
        (Line("w", "a", [10, 10], [20, 30], "ms", 2), [2, 3], "met"),
        (Line("w", "a", [20, 30], [10, 10], "ms", 3, cost=True), [2, 3], "met"),
        (Line("w", "a", [40, 40], [10, 10], "ms", 3, cost=True), [4, 4], "missed"),
        (Line("w", "a", [40], [10]), [4], "–"),
        (Line("w", "a", goal=3, missing="later"), [], "later"),
    ],
)
def test_ratio_says_how_many_times_as_fast_or_as_much(line: Line, ratios: list[float], verdict: str) -> None:
    assert line.ratios == ratios
    assert line.verdict == verdict


# ---- the table, and RESULTS.md ----

TWO = [
    results.cells(
        "create", Line("create, 16 connections", "PocketBase create", [900, 1100, 1000], [2000, 2000, 2000], "/s", 1)
    ),
    results.cells("big-view", Line("facets", "page 1", goal=3, cost=True, missing="later")),
]


def test_line_of_the_table_has_medians_ratio_spread_goal_and_verdict() -> None:
    assert TWO == [
        (
            "create",
            "create, 16 connections",
            "PocketBase create",
            "1,000 /s",
            "2,000 /s",
            "0.50",
            "0.45–0.55",
            "≥ 1",
            "missed",
        ),
        ("big-view", "facets", "page 1", "–", "–", "–", "–", "≤ 3", "later"),
    ]
    head, first, _ = results.printed(TWO).splitlines()
    assert head.index("ratio") == first.index("0.50")


def test_results_are_read_as_they_were_written() -> None:
    notes = {"create": ["a note " * 40 + "that is folded"]}
    text = results.written({"Goals": ["create", "big-view"]}, TWO, notes)
    assert max(map(len, text.splitlines())) <= 130
    assert results.read(text) == (TWO, notes)


def test_run_of_one_row_replaces_its_lines_and_keeps_the_others(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(results, "RESULTS", tmp_path / "RESULTS.md")
    run.write(TWO, {"create": ["old"], "big-view": ["kept"]})
    newer = results.cells("create", Line("create", "PocketBase", [3.0], [1.0]))
    run.write([newer], {"create": ["new"]})
    rows, notes = results.read((tmp_path / "RESULTS.md").read_text(encoding="utf-8"))
    assert rows == [newer, TWO[1]]
    assert notes == {"create": ["new"], "big-view": ["kept"]}


def test_results_have_every_row_and_name_no_machine() -> None:
    text = results.RESULTS.read_text(encoding="utf-8")
    rows, _ = results.read(text)
    assert list(dict.fromkeys(row[0] for row in rows)) == ROWS
    for row in rows:
        assert len(row) == len(results.HEADINGS)
        assert VERDICTS.fullmatch(row[-1]), row
        assert re.fullmatch(r"–|[≥≤] [\d.]+", row[-2]), row
    assert os.uname().nodename not in text.split()
    assert not re.search(r"/(tmp|home|root|work|dev|usr)/", text)
    assert re.search(r"^- \d+ cores, .+ GiB of memory", text, re.MULTILINE)
    assert re.search(r"^- Python [\d.]+, SQLite [\d.]+$", text, re.MULTILINE)
