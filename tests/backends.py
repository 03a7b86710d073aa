"""Real servers that tests drive, on loopback: each is started when first asked for, and stopped when the run ends."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

PATIENCE_S = 30.0
ROOT = Path(__file__).resolve().parent.parent
TOOLS = ROOT / ".venv" / "tools"  # what build.sh installs beside the test environment
# `python app.py`, but imported: Python keeps what it compiles of imports alone, and to compile app.py takes longer than to
# start it.
SATCHEL = [
    sys.executable, "-c",
    f"import sys; sys.path[0] = {str(ROOT)!r}; import app; sys.argv[0] = app.__file__; sys.exit(app.main())",
]  # fmt: skip
_running: list[Process] = []
_folders: list[Path] = []


def needed(what: str, found: Any, how: str = "./build.sh test installs it") -> Any:
    """`found`. If there is nothing, the test is skipped, and says what it needs; in CI, a skip is a failure."""
    if not found:
        pytest.skip(f"needs {what}, which is not installed: {how}")
    return found


def program(name: str, package: str = "") -> str:
    """The path of a program that Debian's package of this (else the same) name brings."""
    found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    return str(needed(name, found, f"apt-get install {package or name}"))


def tool(folder: str, path: str) -> Path:
    """A program that build.sh installs beside the test environment."""
    at = TOOLS / folder / path
    return Path(needed(at.name, at.exists() and at))


def module(name: str, package: str = "") -> Any:
    """A Python module that only tests use."""
    found = importlib.util.find_spec(name)
    return needed(package or name, found) and importlib.import_module(name)


class Process:
    """A server in a process of its own, and its output in a file."""

    last = signal.SIGTERM  # what ends it when nothing of it is needed any more

    def __init__(
        self,
        command: Sequence[str | Path],
        ready: Callable[[], bool],
        *,
        folder: Path,
        env: Mapping[str, str] | None = None,
        user: str | None = None,
    ) -> None:
        """Start it and wait until `ready()`; RuntimeError with what it said if it ends before."""
        self.command, self.ready, self.folder, self.env, self.user = list(map(str, command)), ready, folder, env, user
        self.start()

    def start(self) -> None:
        """Start it (again)."""
        log = self.folder / "output.log"
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                self.command, cwd=self.folder, env={**os.environ, **(self.env or {})}, user=self.user, group=self.user,
                extra_groups=[] if self.user else None, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            )  # fmt: skip
        _running.append(self)
        end = time.monotonic() + PATIENCE_S
        while not self.ready():
            if self.process.poll() is not None or time.monotonic() > end:
                self.stop()
                said = log.read_text(encoding="utf-8", errors="replace")[-4000:]
                raise RuntimeError(f"{self.command[0]} did not come up:\n{said}")
            time.sleep(0.02)

    def stop(self, sign: signal.Signals = signal.SIGTERM) -> None:
        """End it by its process id, and wait for the end; idempotent."""
        if self in _running:
            _running.remove(self)
        if self.process.poll() is None:
            self.process.send_signal(sign)
            try:
                self.process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def folder(user: str | None = None) -> Path:
    """A fresh folder that lives as long as the run; with a short name, because Unix sockets may lie in it."""
    made = Path(tempfile.mkdtemp(prefix="satchel-"))
    if user:
        shutil.chown(made, user, user)
    _folders.append(made)
    return made


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on. It is none of those that systems give to whoever asks for any: such a one
    could be gone by the time that it is used."""
    for port in random.SystemRandom().sample(range(15_000, 32_000), 200):
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port
    raise RuntimeError("200 ports are taken")


def listens(port: int) -> bool:
    """Whether something accepts connections on the port."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def hurry(process: subprocess.Popen[bytes]) -> None:
    """Tell a server that was told to end a second time, which ends the connections that it still lets rest."""
    try:
        process.wait(0.3)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGTERM)


def stop_all() -> None:
    """End every server that is left, all at once, and remove their folders."""
    with ThreadPoolExecutor() as threads:
        deque(threads.map(lambda server: server.stop(server.last), list(_running)), maxlen=0)
    while _folders:
        shutil.rmtree(_folders.pop(), ignore_errors=True)
