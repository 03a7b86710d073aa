"""The same question to every provider at the same time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from app import AppError, Unavailable

# ==== 1. ASKING ==================================================================================================
# A provider that is slow or away keeps no answer of another one waiting.
# uses: ERRORS
# defines: ask_all

_Answer = TypeVar("_Answer")


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
