"""What bounds a connection to PostgreSQL: how a statement is given up, and how large a message of the server may be."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from typing import Any

from app import TooLarge

# ==== 1. BOUNDS ==================================================================================================
# Both for a connection of the driver, which knows of neither.
# uses: ERRORS
# defines: MOST_MESSAGE_BYTES AGAIN_S SHORT_S BoundedFile GiveUp bound

MOST_MESSAGE_BYTES = 32 * 1024 * 1024  # a message is at most a row, and the driver reads it whole
AGAIN_S, SHORT_S = 1.0, 5.0  # a statement that goes on so long after it was to end loses its connection


class BoundedFile:
    """What the driver reads from and writes to. Raises TooLarge for a message that is too large, before it is read."""

    def __init__(self, file: Any) -> None:
        self._file, self.write, self.flush, self.close = file, file.write, file.flush, file.close

    def read(self, size: int) -> bytes:
        if size > MOST_MESSAGE_BYTES:
            raise TooLarge(f"the database answers with a row of more than {MOST_MESSAGE_BYTES:,} bytes: ask for less of it")
        return self._file.read(size)  # type: ignore[no-any-return]


class GiveUp:
    """Ends the statement that a connection waits for: asks the server to cancel it, and hangs up if that does not help. It
    may be called again and again, and does not wait."""

    def __init__(self, driven: Any, plain: socket.socket, reach: Callable[[], socket.socket]) -> None:
        self._driven, self._plain, self._reach = driven, plain, reach
        self._asked_at = 0.0

    def __call__(self) -> None:
        now = time.monotonic()
        if now - self._asked_at < AGAIN_S:
            return
        asked_before, self._asked_at = now - self._asked_at < SHORT_S, now
        if asked_before:
            socket.socket.shutdown(self._plain, socket.SHUT_RDWR)  # of TLS, its own method would wait
        else:
            threading.Thread(target=self._cancel, daemon=True).start()

    def _cancel(self) -> None:
        """Over a connection of its own, as the protocol wants it."""
        with suppress(OSError), closing(self._reach()) as connection:
            connection.sendall(struct.pack("!ii", 16, 80877102) + self._driven._backend_key_data)
            connection.recv(1)  # the server closes it once it has passed that on


def bound(driven: Any, plain: socket.socket, reach: Callable[[], socket.socket]) -> GiveUp:
    """Bound a connection of the driver; reach() makes another one to the same server."""
    driven._sock = BoundedFile(driven._sock)
    return GiveUp(driven, plain, reach)
