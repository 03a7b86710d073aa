"""Which of the clients that a server waits for has to go when there are more of them than it has threads or places."""

from __future__ import annotations

import heapq
import socket
import time
from contextlib import suppress
from select import POLLIN, POLLOUT, poll
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from app import Connection, HttpServer

# ==== 1. SLOW ====================================================================================================
# The slowest goes first, so that uploads that are paused keep nobody from sending one, and connections that rest keep nobody
# from opening one. An address that does not stand for many clients cannot take all threads: it has fewer connections.
# uses: RUNNERS
# defines: GRACE_S give_up_slowest SHARE make_room

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


SHARE = 50  # one of so many connections goes at a time, so that not each new one has to look at all of them
_ENDED = 0  # what HttpServer.park takes for a connection that is to be closed


def make_room(server: HttpServer, peer: str) -> bool:
    """Close some of the connections that wait for their clients, those first that have done so for longest: in the middle of
    a head or of an answer, between two requests, or at their end. They are those of `peer` if it has as many as an address
    may. False if there are none: all are busy."""
    found = list(server.parked.copy().items())
    if server.held.get(peer, 0) >= server.limits.per_address and not server.is_many(peer):
        found = [pair for pair in found if pair[1].peer == peer]
    longest = heapq.nsmallest(max(1, len(found) // SHARE), found, key=lambda pair: _rests_since(pair[1]))
    waiter = poll()
    for descriptor, one in longest:
        waiter.register(descriptor, POLLOUT if one.out or one.left else POLLIN)
    can_go_on = {descriptor for descriptor, _ in waiter.poll(0)}
    ended = [server.parked.pop(descriptor, None) for descriptor, _ in longest if descriptor not in can_go_on]
    for connection in filter(None, ended):  # what was taken out meanwhile goes on
        server.park(connection, _ENDED)
    return any(ended)


def _rests_since(one: Connection) -> float:
    """When the client of a connection in the poller has last done something."""
    if one.out or one.left:
        return one.deadline - one.limits.silence_s
    return one.deadline - (one.limits.idle_s if one.is_idle and not one.is_new else one.limits.head_s)
