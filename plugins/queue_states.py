"""How the queues are that this server works on: each queue runner writes a file, and /readyz is answered from them all."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from app import LOG, BadRequest, dump_json, load_json

# ==== 1. STATES ==================================================================================================
# What a queue runner knows of its providers and, in a file, of its queues: "ok" or what is wrong.
# uses: ERRORS VALUES
# defines: HealthCache StatusFile read_states


class HealthCache:
    """Which providers are away: many threads may ask at the same time, and the providers are asked once."""

    def __init__(self, ready: Callable[[], Mapping[str, str]]) -> None:
        self._ready = ready
        self._lock = threading.Lock()
        self._known: tuple[float, frozenset[str]] = -math.inf, frozenset()

    def away(self, since: float) -> frozenset[str]:
        """Their names, as found out at `since` (time.monotonic()) or later."""
        with self._lock:
            if self._known[0] < since:
                now = time.monotonic()
                self._known = now, frozenset(name for name, state in self._ready().items() if state != "ok")
            return self._known[1]


class StatusFile:
    """The states of a runner's queues, which are logged when they change. It is gone when the runner has ended."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._states: dict[str, str] = {}
        self._lock = threading.Lock()

    def begin(self, queue: str) -> None:
        """Says that a queue is ok, if nothing is known of it yet: one that was paused must first be received from."""
        if queue not in self._states:
            self.set(queue, "ok")

    def set(self, queue: str, state: str) -> None:
        """`state` is "ok" or what is wrong."""
        with self._lock:
            before = self._states.get(queue, "ok" if state == "ok" else "")
            is_known = queue in self._states and self._path.exists()
            self._states[queue] = state
            if not is_known or before != state:
                self._write()
        if before != state:
            LOG.log(logging.INFO if state == "ok" else logging.ERROR, "queue %s: %s", queue, state)

    def _write(self) -> None:
        fresh = self._path.with_suffix(".new")
        with suppress(OSError):  # a full disk is seen elsewhere
            fresh.write_text(dump_json({"states": self._states}), encoding="utf-8")
            fresh.replace(self._path)

    def clear(self) -> None:
        self._path.unlink(missing_ok=True)


def read_states(paths: Iterable[Path]) -> dict[str, str]:
    """The states by queue, of several runners the worse one. A runner without a file is not at work: then there is a state
    of "all" that says so."""
    found: dict[str, str] = {}
    for path in paths:
        try:
            states = load_json(path.read_bytes())["states"]
        except (OSError, BadRequest):
            states = {"all": "the queue runner is not at work"}
        for name, state in states.items():
            if found.get(name, "ok") == "ok":
                found[name] = state
    return found
