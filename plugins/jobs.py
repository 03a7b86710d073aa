"""Runs the jobs of a site: one thread, in one process of a data folder."""

from __future__ import annotations

import fcntl
import os
import secrets
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from app import LOG, App, AppError, Clock, Conflict, Insert, Job, Update, Write

# ==== 1. JOBS ====================================================================================================
# When each Job is due, which process runs it, and what becomes of one that fails. A server that opens the App in its
# workers runs them; commands do not.
# uses: ERRORS VALUES CONTRACTS ASSEMBLY
# defines: Jobs lock_file

_FIRST_RUN_S = 60.0  # after a start, of the jobs that are due less often
_LOCK_RETRY_S = 30.0  # how soon another process goes on with the jobs when the one that ran them has ended
_JOB_ENDS_S = 5.0  # how long a stop waits for a job
_LEASE_S = 60.0  # how long a node that has ended keeps the others from the jobs that one of all nodes runs


class Jobs:
    """Runs the jobs of a site in one process of those that share its data folder: the one that has the lock there.

    A process without the lock tries again now and then, so that another one goes on when the first has ended.
    """

    def __init__(self, app: App, jobs: Sequence[Job], lock: Path, clock: Clock = time.monotonic) -> None:
        self._app, self._lock, self._clock = app, lock, clock
        self._due = {job: clock() + min(job.every_s, _FIRST_RUN_S) for job in jobs}
        self._descriptor = -1  # of the lock, once it is held
        self._node = secrets.token_hex(8)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="jobs", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Return once no job is running any more, or soon; another process may have them then."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(_JOB_ENDS_S)
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _run(self) -> None:
        while not self._stop.wait(self.step()):
            pass

    def step(self) -> float:
        """Run what is due, if this process has the lock or gets it; how many seconds the next step can wait."""
        if not self._has_lock():
            return _LOCK_RETRY_S
        of_site = any(job.scope == "site" for job in self._due)
        is_first = of_site and self._keeps_lease()
        for job, due_at in self._due.items():
            if due_at <= self._clock() and not self._stop.is_set() and (is_first or job.scope != "site"):
                self._try(job)
                self._due[job] = self._clock() + job.every_s
        waits_s = [due_at - self._clock() for job, due_at in self._due.items() if is_first or job.scope != "site"]
        return max(min([*waits_s, _LEASE_S / 4] if of_site else waits_s), 0)

    def _keeps_lease(self) -> bool:
        """Whether this is the node that runs the jobs of the whole site, due now or not; none is while state is away."""
        try:
            return self._has_lease()
        except AppError as error:
            LOG.warning("the jobs of the site wait: %s", error.with_hint)
            return False

    def _try(self, job: Job) -> None:
        try:
            job.run(self._app, self._stop)
        except Exception as error:
            words, trace = (error.with_hint, None) if isinstance(error, AppError) else (type(error).__name__, error)
            LOG.error("the job %s failed and is run again in %g seconds: %s", job.kind, job.every_s, words, exc_info=trace)

    def _has_lock(self) -> bool:
        if self._descriptor < 0:
            with suppress(OSError):  # another process has it, or the folder is away
                self._descriptor = lock_file(self._lock)
        return self._descriptor >= 0

    def _has_lease(self) -> bool:
        """Take the lease, or keep it for longer; it is a row beside the settings. False if another node has it."""
        state, now = self._app.state, self._app.clock()
        row = state.get("_settings", "jobs")
        is_mine = row is not None and row.value["node"] == self._node
        if row is not None and row.value["until"] > now + (_LEASE_S / 2 if is_mine else 0):
            return is_mine
        lease = {"node": self._node, "until": now + _LEASE_S}
        write: Write = Update("_settings", "jobs", lease, row.version) if row else Insert("_settings", "jobs", lease)
        try:
            state.commit([write])
        except Conflict:  # another node was first
            return False
        return True


def lock_file(path: Path) -> int:
    """A descriptor that holds the lock of a file until it is closed; BlockingIOError if another process has it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
