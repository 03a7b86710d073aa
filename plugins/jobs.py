"""Runs the jobs of a site in one process of a data folder, each in a thread of its own."""

from __future__ import annotations

import fcntl
import os
import secrets
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from app import LOG, App, AppError, Clock, Conflict, Insert, Job, Update, Value, Write

# ==== 1. JOBS ====================================================================================================
# When each Job is due, which process runs it, and what becomes of one that fails. A server that opens the App in its
# workers runs them; commands do not.
# uses: ERRORS VALUES CONTRACTS ASSEMBLY
# defines: Jobs lock_file

_FIRST_RUN_S = 60.0  # after a start, of the jobs that are due less often
_LOCK_RETRY_S = 5.0  # how soon another process goes on with the jobs when the one that ran them has ended
_JOB_ENDS_S = 5.0  # how long a stop waits for jobs
_SHORT_S = 0.5  # a job that ends within it holds up the next one, a longer one does not
_LEASE_S = 60.0  # how long a node that has ended keeps the others from the jobs that one of all nodes runs


class _Run(NamedTuple):
    """A job at work."""

    thread: threading.Thread
    stop: threading.Event


class Jobs:
    """Runs the jobs of a site in one process of those that share its data folder: the one that has the lock there.

    A process without the lock tries again now and then, so that another one goes on when the first has ended. A job that
    takes long holds up no other one, and the lease is kept meanwhile; if another node has it, the job is stopped.
    """

    def __init__(self, app: App, jobs: Sequence[Job], lock: Path, clock: Clock = time.monotonic) -> None:
        self._app, self._lock, self._clock = app, lock, clock
        self._due = {job: clock() + min(job.every_s, _FIRST_RUN_S) for job in jobs}
        self._runs: dict[Job, _Run] = {}  # that have not ended when it was last looked
        self._descriptor = -1  # of the lock, once it is held
        self._node = secrets.token_hex(8)
        self._leased_until = 0.0
        self._lease: tuple[int, float] = (0, 0.0)  # its version, and when that was first seen
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="jobs", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Return once no job is running any more, or soon; another process may have them then."""
        self._stop.set()
        ends_at = time.monotonic() + _JOB_ENDS_S
        self._stop_runs(list(self._due))
        if self._thread.is_alive():
            self._thread.join(_JOB_ENDS_S)
        self._stop_runs(list(self._due))  # of which one may have begun meanwhile
        for run in list(self._runs.values()):
            run.thread.join(max(ends_at - time.monotonic(), 0))
        if self._descriptor >= 0:
            self._end_jobs()
            self._give_lease_back()
            os.close(self._descriptor)
            self._descriptor = -1

    def _give_lease_back(self) -> None:
        """Let another process have the lease at once, unless a job has not ended."""
        is_at_rest = not any(run.thread.is_alive() for run in self._runs.values())
        if self._leased_until > self._clock() and is_at_rest:
            free: Value = {"node": "", "until": self._app.clock()}
            with suppress(AppError):  # the others wait until it is over
                self._app.state.commit([Update("_settings", "jobs", free, self._lease[0])])

    def _run(self) -> None:
        while not self._stop.wait(self.step()):
            pass

    def step(self) -> float:
        """Run what is due, if this process has the lock or gets it; how many seconds the next step can wait."""
        if not self._has_lock():
            return _LOCK_RETRY_S
        of_site = [job for job in self._due if job.scope == "site"]
        is_first = bool(of_site) and self._keeps_lease()
        if not is_first and self._clock() > self._leased_until - _LEASE_S / 4:
            self._stop_runs(of_site)
        for job, due_at in self._due.items():
            if due_at <= self._clock() and not self._stop.is_set() and (is_first or job.scope != "site"):
                self._begin(job)
        resting = [job for job in self._due if job not in self._runs and (is_first or job.scope != "site")]
        return max(min([_LEASE_S / 4, *(self._due[job] - self._clock() for job in resting)]), 0)

    def _begin(self, job: Job) -> None:
        """Start a job that is not running already, and wait for a short one."""
        run = self._runs.get(job)
        if run is None:
            stop = threading.Event()
            run = _Run(threading.Thread(target=self._try, args=[job, stop], name=f"job {job.kind}", daemon=True), stop)
            self._runs[job] = run
            run.thread.start()
            run.thread.join(_SHORT_S)
        if not run.thread.is_alive():
            del self._runs[job]
            self._due[job] = self._clock() + job.every_s

    def _end_jobs(self) -> None:
        """What jobs do at a stop, but for those that another node runs, and for one that is still at work."""
        is_first = self._clock() < self._leased_until
        for job in self._due:
            is_over = job not in self._runs or not self._runs[job].thread.is_alive()
            if is_over and (is_first or job.scope != "site"):
                try:
                    job.end(self._app)
                except AppError as error:
                    LOG.error("the job %s failed at the end: %s", job.kind, error.with_hint)

    def _stop_runs(self, jobs: Sequence[Job]) -> None:
        for run in [self._runs[job] for job in jobs if job in self._runs]:
            run.stop.set()

    def _keeps_lease(self) -> bool:
        """Whether this is the node that runs the jobs of the whole site, due now or not; none is while state is away."""
        try:
            return self._has_lease()
        except AppError as error:
            LOG.warning("the jobs of the site wait: %s", error.with_hint)
            return False

    def _try(self, job: Job, stop: threading.Event) -> None:
        try:
            job.run(self._app, stop)
        except Exception as error:
            words, trace = (error.with_hint, None) if isinstance(error, AppError) else (type(error).__name__, error)
            LOG.error("the job %s failed and is run again in %g seconds: %s", job.kind, job.every_s, words, exc_info=trace)

    def _has_lock(self) -> bool:
        if self._descriptor < 0:
            with suppress(OSError):  # another process has it, or the folder is away
                self._descriptor = lock_file(self._lock)
        return self._descriptor >= 0

    def _has_lease(self) -> bool:
        """Take the lease, or keep it for longer; it is a row beside the settings. False if another node has it.

        It is over once nobody has written it for a while: no two clocks need to agree, and none needs to be right.
        """
        state, now = self._app.state, self._clock()
        row = state.get("_settings", "jobs")
        version = row.version if row else 0
        if version != self._lease[0]:
            self._lease = version, now
        is_mine = row is not None and row.value["node"] == self._node
        if row is not None and row.value["node"] and now - self._lease[1] < _LEASE_S / (2 if is_mine else 1):
            self._leased_until = self._lease[1] + _LEASE_S if is_mine else 0.0
            return is_mine
        lease: Value = {"node": self._node, "until": self._app.clock() + _LEASE_S}
        write: Write = Update("_settings", "jobs", lease, row.version) if row else Insert("_settings", "jobs", lease)
        try:
            self._lease = state.commit([write])[0].version, now
        except Conflict:  # another node was first
            self._leased_until = 0.0
            return False
        self._leased_until = now + _LEASE_S
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
