"""Says of a request that takes long that it is still at work, so that a repeat of it waits and does nothing twice."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from app import AppError, Replay

# ==== 1. SAID ====================================================================================================
# A repeat with the same idempotency key takes the first try for dead once that has been silent for a minute: its server was
# killed. One that copies thousands of files lives for longer, and says so.
# uses: ERRORS ASSEMBLY
# defines: said repeated

_EVERY_S = 15.0


@contextmanager
def said(replay: Replay) -> Iterator[None]:
    """Says it as long as the block lasts, of a request that has a key."""
    if replay.stored is None:
        yield
        return
    with repeated(replay.prolong):
        yield


@contextmanager
def repeated(say: Callable[[], object]) -> Iterator[None]:
    """Calls something now and then, on a thread of its own, as long as the block lasts; not for the first seconds."""
    ended = threading.Event()
    timer = threading.Thread(target=_say, args=(say, ended), daemon=True)
    timer.start()
    try:
        yield
    finally:
        ended.set()
        timer.join()  # what is written last has to be known to what follows


def _say(say: Callable[[], object], ended: threading.Event) -> None:
    while not ended.wait(_EVERY_S):
        with suppress(AppError):  # the provider is away: the next time may do
            say()
