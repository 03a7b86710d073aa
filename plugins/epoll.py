"""The poller of the HTTP server on Linux."""

from __future__ import annotations

from select import EPOLLONESHOT, epoll

# ==== 1. EPOLL ===================================================================================================
# The same interface as that of the poller on macOS, in plugins/kqueue.py.
# uses: nothing
# defines: Poller


class Poller:
    """Which descriptors can go on, for many threads: what is watched is given to one thread, once."""

    def __init__(self) -> None:
        self._epoll = epoll()
        self.fileno, self.close = self._epoll.fileno, self._epoll.close

    def watch(self, descriptor: int, wanted: int) -> None:
        try:
            self._epoll.modify(descriptor, wanted | EPOLLONESHOT)
        except FileNotFoundError:
            self._epoll.register(descriptor, wanted | EPOLLONESHOT)

    def next(self) -> int:
        """One that can go on, waited for."""
        return self._epoll.poll(-1, 1)[0][0]
