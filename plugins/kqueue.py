"""The poller of the HTTP server where there is no epoll: macOS. No test has run it there."""

from __future__ import annotations

import importlib
from select import POLLIN
from typing import Any

# ==== 1. KQUEUE ==================================================================================================
# The same interface as that of the poller on Linux, in plugins/epoll.py.
# uses: nothing
# defines: Poller


class Poller:
    """Which descriptors can go on, for many threads: what is watched is given to one thread, once."""

    def __init__(self) -> None:
        self._system: Any = importlib.import_module("select")
        self._queue = self._system.kqueue()
        self.fileno, self.close = self._queue.fileno, self._queue.close

    def watch(self, descriptor: int, wanted: int) -> None:
        what = self._system.KQ_FILTER_READ if wanted == POLLIN else self._system.KQ_FILTER_WRITE
        once = self._system.KQ_EV_ADD | self._system.KQ_EV_ONESHOT
        self._queue.control([self._system.kevent(descriptor, what, once)], 0)

    def next(self) -> int:
        """One that can go on, waited for."""
        return int(self._queue.control(None, 1)[0].ident)
