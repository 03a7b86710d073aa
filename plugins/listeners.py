"""What servers and workers ask of the system at their start: the address where to listen, how many files they may open, and
to be told when their parent is killed."""

from __future__ import annotations

import errno
import os
import resource
import signal
import socket
import time
from contextlib import suppress
from pathlib import Path

from app import Unavailable

# ==== 1. LISTENERS ===============================================================================================
# Needed before the workers begin, and once they have ended.
# uses: ERRORS
# defines: most_files end_with_parent listen unix_listener close address_of

_MOST_FILES = 8192
_BACKLOG, _UNIX_BACKLOG = 1024, 4096  # to be taken; whoever finds that of a Unix socket full is refused, and not held up


def most_files() -> int:
    """How many files this process may have open, raised to 8,192 if the system lets it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _MOST_FILES if hard == resource.RLIM_INFINITY else min(_MOST_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    return most


def end_with_parent() -> None:
    """Have this process told to stop when its parent is killed, where the system can do that (Linux)."""
    with suppress(AttributeError, OSError):
        import ctypes

        ctypes.CDLL(None).prctl(1, int(signal.SIGTERM))  # PR_SET_PDEATHSIG


def listen(bind: str) -> socket.socket:
    """The socket that listens at HOST:PORT or unix:PATH. Raises Unavailable if the address stays taken for five seconds, in
    which a killed server's workers end."""
    for _ in range(50):
        try:
            if bind.startswith("unix:"):
                return unix_listener(bind.removeprefix("unix:"))
            host, _, port = bind.rpartition(":")
            host = host.strip("[]")
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            both = host == "::" and socket.has_dualstack_ipv6()
            return socket.create_server((host, int(port)), family=family, backlog=_BACKLOG, dualstack_ipv6=both)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise Unavailable(f"cannot listen on {bind}: {error.strerror}") from error
            time.sleep(0.1)
    raise Unavailable(f"cannot listen on {bind}: another program does; choose another with --bind")


def unix_listener(path: str) -> socket.socket:
    """A Unix socket, in place of one that an ended server left behind. Raises OSError with EADDRINUSE if a server listens
    there."""
    if Path(path).is_socket():
        with socket.socket(socket.AF_UNIX) as probe:
            if probe.connect_ex(path) == 0:
                raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
        Path(path).unlink()
    before = os.umask(0o117)
    try:
        return socket.create_server(path, family=socket.AF_UNIX, backlog=_UNIX_BACKLOG)
    finally:
        os.umask(before)


def close(listener: socket.socket) -> None:
    """Close it in this process; a Unix socket goes from its folder."""
    name = listener.getsockname()
    listener.close()
    if isinstance(name, str):
        with suppress(OSError):
            Path(name).unlink()


def address_of(listener: socket.socket, scheme: str) -> str:
    """Where it listens, for people: scheme://HOST:PORT or unix:PATH."""
    name = listener.getsockname()
    if isinstance(name, str):
        return f"unix:{name}"
    host = f"[{name[0]}]" if ":" in name[0] else name[0]
    host = {"0.0.0.0": "localhost", "[::]": "localhost"}.get(host, host)  # noqa: S104 (compared, not bound)
    return f"{scheme}://{host}:{name[1]}"
