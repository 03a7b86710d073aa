"""Which of the clients that a server waits for has to go when more of them are slow than it has threads to wait for."""

from __future__ import annotations

import socket
import time
from contextlib import suppress
from select import POLLIN
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from app import Connection

# ==== 1. SLOW ====================================================================================================
# The slowest goes first, so that uploads that are paused keep nobody from sending one. An address that does not stand for
# many clients cannot take all threads: it has fewer connections.
# uses: RUNNERS
# defines: GRACE_S give_up_slowest

GRACE_S = 1.0  # that a thread may have waited for a request before its client can be the slowest


def give_up_slowest(slow: dict[Connection, tuple[float, int]]) -> bool:
    """Let go the client that has moved the fewest bytes in a second of waiting for it, its thread included; False if threads
    have not waited for any of them for longer than GRACE_S. `slow` says since when they wait and for what; the caller holds
    its lock."""
    now = time.monotonic()
    waited = {one: one.waited_s + now - since for one, (since, _) in slow.items()}
    late = [one for one in slow if waited[one] > GRACE_S]
    if not late:
        return False
    slowest = min(late, key=lambda one: (one.moved / waited[one], -waited[one]))
    _, wanted = slow.pop(slowest)
    # This wakes its thread, which answers 408 if it was to read. The method of a TLS socket would end TLS first.
    with suppress(OSError):  # it has gone by itself
        socket.socket.shutdown(slowest.sock, socket.SHUT_RD if wanted == POLLIN else socket.SHUT_RDWR)
    return True
