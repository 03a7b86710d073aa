"""The same question to every provider at the same time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from app import AppError, Provider, Unavailable

# ==== 1. ASKING ==================================================================================================
# A provider that is slow or away keeps no answer of another one waiting.
# uses: ERRORS CONTRACTS
# defines: AT_ONCE ask_all do_all

_Answer = TypeVar("_Answer")
_Task = TypeVar("_Task")
AT_ONCE = 4  # threads of a kind at a provider, of a process: so many may be left waiting for one that does not answer
_lanes: dict[str, WeakKeyDictionary[Provider, threading.BoundedSemaphore]] = {}


def ask_all(
    names: Iterable[str], ask: Callable[[str], _Answer], patience_s: float | None, what: str = "provider"
) -> dict[str, _Answer | AppError]:
    """What ask() gives or raises for the name of each provider, or `what` it is, all asked at the same time.

    Unavailable for those that have not answered after `patience_s`; None means that it waits for them. What is no AppError
    is raised.
    """
    found: dict[str, Any] = {}

    def run(name: str) -> None:
        try:
            found[name] = ask(name)
        except Exception as error:  # raised again below, by the thread that asked
            found[name] = error

    threads = {name: threading.Thread(target=run, args=[name], daemon=True) for name in names}
    for thread in threads.values():
        thread.start()
    ends_at = time.monotonic() + (patience_s or 0)
    for thread in threads.values():
        thread.join(max(ends_at - time.monotonic(), 0) if patience_s else None)
    answers: dict[str, Any] = {}
    for name in threads:
        late = Unavailable(f"{what} {name} gave no answer within {patience_s or 0:g} seconds")
        answers[name] = found.get(name, late)
        if isinstance(answers[name], Exception) and not isinstance(answers[name], AppError):
            raise answers[name]
    return answers


def do_all(kind: str, tasks: Sequence[tuple[Provider, _Task]], work: Callable[[_Task], None], until: float) -> None:
    """Do each task, those of a provider one after the other in a thread of their own, and wait until then at most, by
    time.monotonic(). What has not begun by then is left out. `kind` names the threads; AT_ONCE is for each kind."""
    by_provider: dict[Provider, list[_Task]] = {}
    for provider, task in tasks:
        by_provider.setdefault(provider, []).append(task)
    lanes = _lanes.setdefault(kind, WeakKeyDictionary())

    def run(provider: Provider, own: Sequence[_Task]) -> None:
        lane = lanes.setdefault(provider, threading.BoundedSemaphore(AT_ONCE))
        if not lane.acquire(timeout=max(0.0, until - time.monotonic())):
            return
        try:
            for task in own:
                if time.monotonic() < until:
                    work(task)
        finally:
            lane.release()

    threads = [threading.Thread(target=run, args=pair, name=kind, daemon=True) for pair in by_provider.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))
