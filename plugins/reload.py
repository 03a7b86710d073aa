"""app.toml, the plugins and the templates beside it, read again while the server runs: after SIGHUP, or when they change."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from importlib.util import cache_from_source
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app import BUNDLED, LOG, AppError, Fault, Unavailable

if TYPE_CHECKING:
    from app import Clock, Generation, Supervisor

# ==== 1. RELOAD ==================================================================================================
# The next Generation of a Supervisor. It is made by a process of its own first, which a plugin may end or hold up; then
# here; its workers answer before those of the present one go. A fault at any step leaves the present one as it is.
# uses: ERRORS VALUES RUNNERS
# defines: watched Watch forget_modules Renewal

_LOOK_S = 0.5  # between looks at the files
_TRIAL_S = 60.0  # to read all of it
_START_S = 60.0  # for the new workers to answer
_DEAF_S = 5.0  # for the old ones to take no more connections
_MOST_LEAVING = 3  # generations that still finish what they have, beside the present one
_MOST_FAULTS, _MOST_LETTERS = 40, 400  # that a trial tells of: a pipe takes that without a reader
_DONE = "app.toml was read again; what it says is in force"
_Snapshot = Mapping[Path, tuple[int, int]]


watched: set[Path] = set()  # an app.toml that this process, or the one that it was forked from, looks at


class Watch:
    """Whether what a server read at its start has changed: app.toml, plugins/, templates/ and modules beside it."""

    def __init__(self, config: Path, clock: Clock = time.monotonic) -> None:
        self._config, self._clock = config, clock
        watched.add(config)
        self._known = self._seen = self._look()
        self._looked_at = clock()

    def has_changed(self) -> bool:
        """True once for each change, when the files have rested for half a second; it looks no more often than that."""
        if self._clock() < self._looked_at + _LOOK_S:
            return False
        before, self._seen, self._looked_at = self._seen, self._look(), self._clock()
        if self._seen != before or self._seen == self._known:
            return False
        self._known = self._seen
        return True

    def _look(self) -> _Snapshot:
        found = {}
        for path in self._files():
            try:
                about = path.stat()
            except OSError:  # it is gone, or a link to nowhere
                continue
            found[path] = about.st_mtime_ns, about.st_size
        return found

    def _files(self) -> Iterator[Path]:
        folder = self._config.parent
        yield self._config
        for files in (folder.glob("*.py"), (folder / "plugins").rglob("*.py"), (folder / "templates").rglob("*")):
            yield from (path for path in files if not path.name.startswith(".") and not path.name.endswith("~"))


def forget_modules(folder: Path) -> None:
    """Have what plugins in this folder imported from beside them imported anew; what came with the program stays. Compiled
    files go: Python takes one for a source that was changed within its second and is as long as before."""
    places = {folder, folder / "plugins"}
    for path in (folder / "plugins").glob("*.py") if folder != BUNDLED else ():
        with suppress(OSError):
            Path(cache_from_source(str(path))).unlink()
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if not file or name in ("app", "__main__") or name.startswith("satchel_plugin_"):
            continue
        if places & {Path(file).parent, Path(file).parent.parent}:
            del sys.modules[name]


class Renewal:
    """Makes the next Generation of a Supervisor when it is asked to, or when `watch` sees a change. `make` reads all anew;
    it raises AppError, or whatever plugins raise."""

    def __init__(self, make: Callable[[], Generation], watch: Watch | None = None) -> None:
        self._make, self._watch = make, watch
        self._is_asked = False
        self._trial: tuple[int, int, float] | None = None  # a process, what it tells, and when it is to have ended
        self._next: Generation | None = None  # it starts
        self._before: Generation | None = None  # it is told to go
        self._until = 0.0  # when the workers of the next one are to answer, or those of the one before to take nothing more
        self.coming: dict[str, Any] = {}  # those workers, by name

    def ask(self) -> None:
        """Safe in a signal handler."""
        self._is_asked = True

    def go_on(self, supervisor: Supervisor) -> None:
        """One step, which takes no longer than making a Generation does."""
        try:
            if self._next:
                self._hand_over(supervisor, self._next)
            elif self._before:
                self._look_at_old(self._before)
            elif self._trial:
                self._look_at_trial(supervisor, *self._trial)
            elif len(supervisor.leaving) <= _MOST_LEAVING * len(supervisor.now.parts):
                if self._watch and self._watch.has_changed():
                    self.ask()
                if self._is_asked:
                    self._is_asked = False
                    self._try()
        except AppError as error:
            self._refuse(supervisor, error)

    def run_alone(self, generation: Generation) -> Generation | None:
        """Run the one part of a generation in this process, and after SIGHUP that of the next one. Returns a next one that
        has several parts."""
        if self._watch:
            threading.Thread(target=_send_sighup, args=[self._watch], daemon=True).start()
            self._watch = None
        while len(generation.parts) == 1:
            (part,) = generation.parts.values()
            if not part():
                return None
            try:
                generation = self._make()
                LOG.info(_DONE)
            except AppError as error:
                _tell(error)
        return generation

    def end(self, supervisor: Supervisor) -> None:
        """Leave nothing running but what `supervisor` waits for."""
        supervisor.dismiss(self.coming.values())
        if self._trial:
            os.kill(self._trial[0], signal.SIGKILL)
            os.waitpid(self._trial[0], 0)

    def _try(self) -> None:
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            logging.disable()  # what is amiss here is told there
            for sign in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                signal.signal(sign, signal.SIG_DFL if sign == signal.SIGTERM else signal.SIG_IGN)
            os.write(writer, json.dumps(_attempt(self._make)).encode())
            os._exit(0)
        os.close(writer)
        self._trial = pid, reader, time.monotonic() + _TRIAL_S

    def _look_at_trial(self, supervisor: Supervisor, pid: int, reader: int, until: float) -> None:
        ended = os.waitpid(pid, os.WNOHANG)[0]
        if not ended and time.monotonic() < until:
            return
        self._trial = None
        if not ended:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        with os.fdopen(reader, "rb") as file:
            os.set_blocking(reader, False)
            told = json.loads(file.read() or b"null") if ended else None
        if told is None:
            raise AppError("reading it ended the process or took longer than a minute; a plugin may be the cause")
        if told:
            raise AppError(told["message"], hint=told["hint"], faults=[Fault(*each) for each in told["faults"]])
        self._begin(supervisor)

    def _begin(self, supervisor: Supervisor) -> None:
        try:
            self._next = generation = self._make()
        except AppError:
            raise
        except (Exception, SystemExit) as error:  # of a plugin; the server must not end by it
            raise AppError(f"{type(error).__name__}: {error}") from error
        self._until = time.monotonic() + _START_S
        for name in generation.parts:
            if generation.http and name.startswith(generation.http.kind):
                self.coming[name] = supervisor.start(generation, name)

    def _hand_over(self, supervisor: Supervisor, to: Generation) -> None:
        """Once all workers of HTTP answer; Unavailable if one ends first, or does not answer in time."""
        dead = [name for name, child in self.coming.items() if os.waitpid(child.pid, os.WNOHANG)[0]]
        if dead or time.monotonic() > self._until:
            supervisor.dismiss([child for name, child in self.coming.items() if name not in dead])
            self._next, self.coming = None, {}
            raise Unavailable(f"the new workers do not start{supervisor.words()}")
        if not to.http or all(to.http.seats.beaten_at(child.seat) for child in self.coming.values()):
            self._before, self._until = supervisor.now, time.monotonic() + _DEAF_S
            supervisor.take_over(to, self.coming)
            self._next, self.coming = None, {}

    def _look_at_old(self, before: Generation) -> None:
        """Say that it is done, once no worker of the one before takes connections."""
        listens = before.http and any(map(before.http.seats.beaten_at, range(before.http.workers)))
        if not listens or time.monotonic() > self._until:
            self._before = None
            LOG.info(_DONE)

    def _refuse(self, supervisor: Supervisor, error: AppError) -> None:
        _tell(error)
        if supervisor.now.http:
            places = ", ".join(dict.fromkeys(fault.pointer for fault in error.faults if fault.pointer))
            supervisor.now.http.trouble.set(places or error.message.partition(": ")[0])
            if self._watch:
                lines = [f"{fault.pointer}: {fault.detail}" for fault in error.faults] or [error.message]
                supervisor.now.http.door.fault.set("\n".join(lines))


def _tell(error: AppError) -> None:
    faults = "".join(f"\n  {fault.pointer}: {fault.detail}" for fault in error.faults)
    LOG.error(
        "app.toml was read again and cannot be used; the server keeps its present settings: %s%s", error.with_hint, faults
    )


def _send_sighup(watch: Watch) -> None:
    """To this process, for each change."""
    while True:
        time.sleep(_LOOK_S)
        if watch.has_changed():
            os.kill(os.getpid(), signal.SIGHUP)


def _attempt(make: Callable[[], Generation]) -> Mapping[str, Any]:
    """What is wrong, {} if nothing is."""
    try:
        make()
        return {}
    except BaseException as error:
        if not isinstance(error, AppError):
            error = AppError(f"{type(error).__name__}: {error}")
        faults = [(one.pointer, one.code, one.detail[:_MOST_LETTERS]) for one in error.faults[:_MOST_FAULTS]]
        return {"message": error.message[:_MOST_LETTERS], "hint": error.hint[:_MOST_LETTERS], "faults": faults}
