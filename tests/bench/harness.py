"""What the rows of the bench share: rounds in rotated order, load from wrk or from one client, and what a process uses.

Numbers of one row may be compared with each other; those of two runs may not, because the machine is never the same.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [path for path in (str(ROOT / "tests"), str(ROOT)) if path not in sys.path]

import backends  # noqa: E402

PYZ = ROOT / "dist" / "app.pyz"
PYTHON = str(getattr(sys, "_base_executable", sys.executable))  # without the packages of the tests
PATIENCE_S = 60.0
MIB = 2**20
LESS_IS_BETTER = {"ms", "s", "MB", "µs"}


class Missing(Exception):
    """Something that a row needs is not installed; its text is the name."""


# ---- a line of the table ----


@dataclass(frozen=True)
class Line:
    """What Satchel does beside what another does, one number a round of each.

    The ratio says how many times as fast (or small) Satchel is. With `cost`, it says how many times as much Satchel
    takes, and the goal is the most that it may be. `missing` says why there are no numbers.
    """

    work: str
    against: str
    ours: Sequence[float] = ()
    theirs: Sequence[float] = ()
    unit: str = "/s"
    goal: float | None = None
    cost: bool = False
    missing: str = ""

    @property
    def ratios(self) -> list[float]:
        """Smallest first; of each round by itself, because what slows one machine slows both sides of a round."""
        turned = (self.unit in LESS_IS_BETTER) != self.cost
        return sorted(
            theirs / ours if turned else ours / theirs for ours, theirs in zip(self.ours, self.theirs, strict=True)
        )

    @property
    def verdict(self) -> str:
        if self.missing or not self.ours:
            return self.missing or "no numbers"
        if self.goal is None:
            return "–"
        ratio = statistics.median(self.ratios)
        return "met" if (ratio <= self.goal if self.cost else ratio >= self.goal) else "missed"


# ---- a request, and the load that repeats it ----


@dataclass(frozen=True)
class Ask:
    """A request to a server on loopback."""

    port: int
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    method: str = "GET"
    body: str = ""

    def once(self, connection: http.client.HTTPConnection | None = None) -> bytes:
        """The body of the answer; RuntimeError unless it is 2xx."""
        own = connection or http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        try:
            own.request(self.method, self.path, self.body.encode() or None, dict(self.headers))
            answer = own.getresponse()
            body = answer.read()
        finally:
            if connection is None:
                own.close()
        if answer.status >= 300:
            raise RuntimeError(f"{self.method} {self.path}: {answer.status} {body[:500]!r}")
        return body

    def json(self) -> Any:
        return json.loads(self.once())

    @property
    def lua(self) -> str:
        """The request as a script of wrk."""
        lines = [f"wrk.method = {json.dumps(self.method)}", f"wrk.body = [==[{self.body}]==]" if self.body else ""]
        return "\n".join([*lines, *(f"wrk.headers[{json.dumps(name)}] = [==[{v}]==]" for name, v in self.headers.items())])


@dataclass(frozen=True)
class Load:
    """What wrk measured."""

    requests_s: float
    mib_s: float


def wrk(ask: Ask, connections: int, seconds: float) -> Load:
    """Repeats a request on so many kept-alive connections, longer where no answer came; RuntimeError if one fails."""
    said, numbers = "", None
    while not numbers or not float(numbers[1]):
        if seconds > PATIENCE_S:
            raise RuntimeError(f"{ask.method} {ask.path} at {connections} connections has no answer; wrk said: {said}")
        said = wrk_says(ask, connections, seconds)
        if failed := re.search(r"Non-2xx or 3xx responses.*|Socket errors.*", said):
            raise RuntimeError(f"{ask.method} {ask.path} at {connections} connections: {failed[0]}")
        numbers = re.search(r"Requests/sec:\s+([\d.]+)\s+Transfer/sec:\s+([\d.]+)([KMG]?)B", said)
        seconds *= 4
    return Load(float(numbers[1]), float(numbers[2]) * {"": 1 / MIB, "K": 1 / 1024, "M": 1, "G": 1024}[numbers[3]])


def wrk_says(ask: Ask, connections: int, seconds: float) -> str:
    if not (found := shutil.which("wrk")):
        raise Missing("wrk")
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(ask.lua)
        script.flush()
        url = f"http://127.0.0.1:{ask.port}{ask.path}"
        command = [found, "-t1", f"-c{connections}", "-d600s", "--timeout=60s", "-s", script.name, url]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        try:
            # It knows whole seconds only, so it is stopped by hand, once its thread has begun.
            while process.poll() is None and len(os.listdir(f"/proc/{process.pid}/task")) < 2:
                time.sleep(0.005)
            time.sleep(seconds)
        finally:
            said = interrupted(process)
    return said


def interrupted(process: subprocess.Popen[str]) -> str:
    """What a program said, ended by SIGINT; killed, with TimeoutExpired, where it goes on after a minute of them.

    wrk takes note of the signal and then sleeps all the same where it was just about to, so it gets one each second.
    """
    try:
        for _ in range(round(PATIENCE_S)):
            process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                return process.communicate(timeout=1)[0]
        raise subprocess.TimeoutExpired(process.args, PATIENCE_S)
    finally:
        process.kill()


def send_file(ask: Ask, path: Path) -> float:
    """Seconds that an upload of a file takes, from the connection to the answer."""
    began = time.perf_counter()
    with socket.create_connection(("127.0.0.1", ask.port), PATIENCE_S) as client, path.open("rb") as file:
        lines = [f"{ask.method} {ask.path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {path.stat().st_size}"]
        head = "\r\n".join([*lines, *(f"{name}: {value}" for name, value in ask.headers.items()), "\r\n"])
        client.sendall(head.encode())
        client.sendfile(file)
        status = client.makefile("rb").readline()
    if b" 20" not in status:
        raise RuntimeError(f"{ask.method} {ask.path}: {status!r}")
    return time.perf_counter() - began


# ---- what processes use ----


def family(pid: int) -> list[int]:
    """A process and all that came from it."""
    found = [pid]
    for one in found:
        with contextlib.suppress(OSError):
            for children in Path(f"/proc/{one}/task").glob("*/children"):
                found += map(int, children.read_text().split())
    return found


def pss_mb(pid: int) -> float:
    """Memory of a process and its children in MB; what several share is counted once."""
    total = 0
    for one in family(pid):
        with contextlib.suppress(OSError):
            total += int(re.findall(r"^Pss:\s+(\d+)", Path(f"/proc/{one}/smaps_rollup").read_text(), re.MULTILINE)[0])
    return total * 1024 / 1e6


def cpu_s(pid: int) -> float:
    """Processor time that a process and its children have used, with that of children that ended."""
    ticks = 0
    for one in family(pid):
        with contextlib.suppress(OSError):
            ticks += sum(map(int, Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def busy_share(seconds: float = 0.5) -> float:
    """How much of all cores is in use, of 1."""

    def ticks() -> tuple[int, int]:
        numbers = [int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
        return sum(numbers), numbers[3] + numbers[4]  # idle, and waiting for a disk

    all_before, idle_before = ticks()
    time.sleep(seconds)
    all_after, idle_after = ticks()
    return 1 - (idle_after - idle_before) / max(all_after - all_before, 1)


@contextlib.contextmanager
def watched(pid: int) -> Iterator[list[float]]:
    """Its memory while the block runs, in MB; the first number is what it had before."""
    found, stop = [pss_mb(pid)], threading.Event()

    def watch() -> None:
        while not stop.wait(0.05):
            found.append(pss_mb(pid))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield found
    finally:
        stop.set()
        watcher.join()
        found.append(pss_mb(pid))


# ---- a server, and the run of rows ----


class Server:
    """A program that serves on a free port of loopback, from a folder of its own."""

    name = ""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = backends.free_port()
        self.env = {"HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}

    def command(self) -> list[str]:
        raise NotImplementedError

    def start(self) -> None:
        """Until it listens."""
        ready = partial(backends.listens, self.port)
        self.process = backends.Process(self.command(), ready, folder=self.folder, env=self.env)

    def stop(self) -> None:
        self.process.stop()

    @property
    def serves(self) -> bool:
        return hasattr(self, "process") and self.process.process.poll() is None

    @property
    def pid(self) -> int:
        return self.process.process.pid


def stop_everything() -> None:
    """Whatever servers are left."""
    backends.stop_all()


@dataclass
class Bench:
    """One run of rows. With `quick`, each shows only that it works."""

    folder: Path
    quick: bool = False
    rounds: int = 5
    seconds: float = 1.5
    notes: list[str] = field(default_factory=list)  # what the row at work says below the table
    kept: dict[Any, Any] = field(default_factory=dict)  # what rows share because it takes long to make
    _started: list[Server] = field(default_factory=list)

    def size(self, whole: int, quick: int) -> int:
        return quick if self.quick else whole

    def place(self) -> Path:
        """An empty folder."""
        return Path(tempfile.mkdtemp(dir=self.folder))

    def start(self, server: Server) -> None:
        """It serves until the row ends."""
        server.start()
        self._started.append(server)

    def end_row(self) -> None:
        """Stops what the row started; in a quick run, what is kept goes on."""
        going_on = [one for one in self._started if self.quick and one in self.kept.values()]
        for one in self._started:
            if one not in going_on:
                one.stop()
        self._started = going_on

    def measure(self, contestants: Mapping[str, Callable[[], float]]) -> dict[str, list[float]]:
        """What each found, round by round. Each round begins with another one, so that none always follows the same."""
        names = list(contestants)
        if not self.quick:
            for name in names:
                contestants[name]()
        found: dict[str, list[float]] = {name: [] for name in names}
        for turn in range(self.rounds):
            start = turn % len(names)
            for name in names[start:] + names[:start]:
                found[name].append(contestants[name]())
        return found

    def rate(self, ask: Ask, connections: int) -> float:
        """Requests a second."""
        return wrk(ask, connections, self.seconds).requests_s

    def mib_s(self, ask: Ask, connections: int) -> float:
        """MiB a second of answers."""
        return wrk(ask, connections, self.seconds).mib_s

    def wait_ms(self, ask: Ask) -> float:
        """The median time until an answer is there, one after another on one connection."""
        times: list[float] = []
        end = time.perf_counter() + self.seconds
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", ask.port, timeout=PATIENCE_S)) as connection:
            while not times or time.perf_counter() < end:
                began = time.perf_counter()
                ask.once(connection)
                times.append((time.perf_counter() - began) * 1000)
        return statistics.median(times)
