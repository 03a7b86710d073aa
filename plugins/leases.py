"""Messages that this process holds: their leases are extended while they are worked on, and deletes go by tens.

A queue service gives a message out for some time, its visibility. Until then nobody else gets it: that is a lease.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from itertools import islice

from app import LEASE_MARGIN_S, LOG, AppError, Clock, Delivery, Forbidden, Message, NotFound, Queue, RetryPolicy

# ==== 1. LEASES ==================================================================================================
# Everything that is held, and the thread that extends it.
# uses: ERRORS VALUES RUNNERS
# defines: MOST_AT_ONCE RELIED_ON Leases

MOST_AT_ONCE = 10  # messages of a call; see Queue
RELIED_ON = 0.9  # of the time that was asked for: the service counts it from an earlier moment than we do


class Leases:
    """Extends at half its visibility what hold() was given, until drop() or release(). A lease that could not be extended in
    time is lost by our own clock, whatever the service thinks."""

    def __init__(
        self, visibility_s: int, clock: Clock = time.monotonic, on_trouble: Callable[[Queue, AppError], None] | None = None
    ) -> None:
        """on_trouble gets a queue that is missing or denied."""
        self._visibility_s, self._clock, self._on_trouble = visibility_s, clock, on_trouble
        self._held: dict[int, Delivery] = {}
        self._lock = threading.Lock()  # a heartbeat after a release would undo it
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="leases", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def end(self) -> None:
        self._ended.set()
        self._thread.join(5)

    def hold(self, queue: Queue, messages: Iterable[Message]) -> list[Delivery]:
        """Deliveries of what was received this moment."""
        until = self._clock() + self._visibility_s * RELIED_ON
        deliveries = [Delivery(queue, message, until, self._clock) for message in messages]
        self._held.update((id(delivery), delivery) for delivery in deliveries)
        return deliveries

    def drop(self, delivery: Delivery) -> None:
        """Extend it no more."""
        self._held.pop(id(delivery), None)

    def release(self, deliveries: Sequence[Delivery], visibility_s: int) -> None:
        """Give messages of one queue back, in this order, to be seen again in so many seconds. After a call that fails the
        rest is left to its time-out: when the service hangs, the end of the program must not wait for each."""
        held = [delivery for delivery in deliveries if not delivery.lost]
        for delivery in deliveries:
            delivery.lost = True  # from here on its work may commit nothing
        with self._lock:  # after a heartbeat that is under way, and before the next
            for delivery in deliveries:
                self.drop(delivery)
        for start in range(0, len(held), MOST_AT_ONCE):
            batch = held[start : start + MOST_AT_ONCE]
            if not self._extend(batch[0].queue, [(one.message.handle, visibility_s) for one in batch]):
                return

    def _extend(self, queue: Queue, times: Sequence[tuple[str, int]]) -> list[str]:
        """What Queue.extend() answers; [] if the call failed."""
        try:
            return queue.extend(times)
        except AppError as error:
            if self._on_trouble and isinstance(error, NotFound | Forbidden):
                self._on_trouble(queue, error)
            return []

    def _run(self) -> None:
        while not self._ended.wait(self._visibility_s / 2):
            try:
                self.beat()
            except Exception:  # the next one may do better, and without any all would be lost
                LOG.exception("held messages could not be extended")

    def beat(self) -> None:
        """Extend all that is held."""
        for queue in {delivery.queue for delivery in list(self._held.values())}:
            held = iter([delivery for delivery in list(self._held.values()) if delivery.queue is queue])
            while (batch := list(islice(held, MOST_AT_ONCE))) and not self._ended.is_set():
                with self._lock:
                    self._beat(queue, [delivery for delivery in batch if id(delivery) in self._held])

    def _beat(self, queue: Queue, batch: Sequence[Delivery]) -> None:
        """Extend a batch. If we ask too late the answer says nothing: the service may say yes to a lease that has ended."""
        began = self._clock()
        times = [(one.message.handle, self._extension_s(one)) for one in batch]
        answers = self._extend(queue, times) if batch else []
        for delivery, (_, seconds), answer in zip(batch, times, answers, strict=False):
            if answer == "lost" or began >= delivery.until:
                delivery.lost = True
                self.drop(delivery)
            elif not answer:
                delivery.until = began + seconds * RELIED_ON

    def _extension_s(self, delivery: Delivery) -> int:
        return max(1, min(self._visibility_s, int(delivery.left_s) - LEASE_MARGIN_S))


# ==== 2. DELETES =================================================================================================
# The deletes of messages that are done.
# uses: ERRORS VALUES RUNNERS LEASES
# defines: PAUSES_S DeleteBatcher

PAUSES_S = (0.1, 0.4, 1.6)  # between tries at a delete that fails


class DeleteBatcher:
    """Deletes messages of a queue in a thread of its own: ten at a time, or those that come while the first one lingers."""

    def __init__(
        self,
        queue: Queue,
        after: Callable[[Delivery], None],
        on_trouble: Callable[[AppError], None],
        policy: RetryPolicy,
        linger_s: float,
    ) -> None:
        """`after` gets each delivery, whose `deleted` says whether it was deleted or given up. on_trouble is called if the
        queue is missing or denied: then it is tried until that is over, or until hurry()."""
        self._queue, self._after, self._on_trouble, self._linger_s = queue, after, on_trouble, linger_s
        self._retry_s = policy.retry_s
        self._waiting: deque[Delivery] = deque()
        self._more = threading.Condition()
        self._hurried, self._ending = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="deleter", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def put(self, delivery: Delivery) -> None:
        delivery.is_done = True
        with self._more:
            self._waiting.append(delivery)
            if len(self._waiting) in (1, MOST_AT_ONCE):  # what _next waits for
                self._more.notify()

    def hurry(self) -> None:
        """Give up on a queue that is missing or denied, and go on with everything else."""
        self._hurried.set()

    def end(self) -> None:
        """Begin to flush what is left."""
        self._hurried.set()
        self._ending.set()
        with self._more:
            self._more.notify()

    def join(self, patience_s: float) -> None:
        self._thread.join(patience_s)

    def _next(self) -> list[Delivery]:
        """The next batch; [] after the end."""
        with self._more:
            self._more.wait_for(lambda: self._waiting or self._ending.is_set())
            self._more.wait_for(lambda: len(self._waiting) >= MOST_AT_ONCE or self._ending.is_set(), self._linger_s)
            return [self._waiting.popleft() for _ in range(min(MOST_AT_ONCE, len(self._waiting)))]

    def _run(self) -> None:
        while batch := self._next():
            for delivery in self._delete(batch):  # it comes again, and is answered from the idempotency record
                self._finish(delivery, deleted=False)

    def _delete(self, batch: list[Delivery]) -> list[Delivery]:
        """Delete a batch, and return what could not be deleted, however often it was tried."""
        pauses_s = deque(PAUSES_S)
        while True:
            batch, is_blocked = self._try(batch)
            if not batch or not (pauses_s or (is_blocked and not self._hurried.is_set())):
                return batch
            pause_s = pauses_s.popleft() if pauses_s else self._retry_s
            (self._hurried if is_blocked else self._ending).wait(pause_s)

    def _try(self, batch: list[Delivery]) -> tuple[list[Delivery], bool]:
        """What is left to be tried again, and whether the queue is missing or denied."""
        try:
            answers = self._queue.delete([delivery.message.handle for delivery in batch])
        except (NotFound, Forbidden) as error:
            self._on_trouble(error)
            return batch, True
        except AppError:
            return batch, False
        except Exception:
            LOG.exception("messages could not be deleted")
            return batch, False
        left = []
        for delivery, answer in zip(batch, answers, strict=True):
            if answer == "failed":
                left.append(delivery)
            else:
                self._finish(delivery, deleted=not answer)
        return left, False

    def _finish(self, delivery: Delivery, *, deleted: bool) -> None:
        delivery.deleted = deleted
        self._after(delivery)
        delivery.settled.set()
