"""Messages that a queue runner holds: whose turn it is, their leases, and their deletes.

A queue service gives a message out for some time, its visibility. Until then nobody else gets it: that is a lease.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from itertools import islice

from app import LEASE_MARGIN_S, LOG, AppError, Clock, Forbidden, LeaseLost, Message, NotFound, Queue, RetryPolicy

# ==== 1. TURNS ===================================================================================================
# Who works on what, in which order.
# uses: VALUES RUNNERS
# defines: MOST_AT_ONCE Delivery Failures Scheduler

MOST_AT_ONCE = 10  # messages of a call; see Queue


class Delivery:
    """A message that this process holds, until it is deleted or given back."""

    def __init__(self, queue: Queue, message: Message, until: float, clock: Clock) -> None:
        """It is held `until`, by this clock."""
        self.queue, self.message, self.until, self.clock = queue, message, until, clock
        self.received = clock()
        self.attempt = 0  # counted from 1
        self.lost = False
        self.inner = message  # what it carries, if it is a wrapping
        self.request_id = self.what = self.subject = ""  # for the log, as far as they are known
        self.payload = ""  # where its body was loaded from, to be removed after the delete
        self.is_done = False  # nothing is left to do but its delete
        self.deleted = False
        self.settled = threading.Event()  # it was deleted, or its delete was given up

    @property
    def group(self) -> str:
        """One message of a group is worked on at a time."""
        return self.message.group or self.message.id

    @property
    def left_s(self) -> float:
        """How much longer it may be held, however often it is extended."""
        return self.queue.most_held_s - (self.clock() - self.received)

    def guard(self) -> None:
        """Raises LeaseLost unless the lease holds."""
        self.lost = self.lost or self.clock() >= self.until
        if self.lost:
            raise LeaseLost


class Failures(dict[str, int]):
    """How often each message has failed so far, by its id. The oldest entries go, so that it takes some 20 MB at most."""

    def __setitem__(self, id_: str, count: int) -> None:
        super().__setitem__(id_, count)
        if len(self) > 100_000:
            for old in list(self)[:1_000]:
                self.pop(old, None)


class Scheduler:
    """Who works on what: groups in parallel, and one delivery of a group at a time.

    On a standard queue every message is a group of its own. Twice as many groups may wait as there are workers: so a worker
    that is done finds the next one here while a receive is under way, and not much is kept from other processes.
    """

    def __init__(self, workers: int) -> None:
        self._limit = 3 * workers
        self._enough = max(workers, self._limit - MOST_AT_ONCE)  # groups that are left when a receive is worth its call
        self._lines: dict[str, deque[Delivery]] = {}  # of each group, the first is at work or next
        self._idle: deque[str] = deque()  # groups whose first nobody has taken
        self._lock = threading.Lock()
        self._ended = threading.Condition(self._lock)  # a group is over: there is room
        self._begun = threading.Condition(self._lock)  # there is a delivery to be taken
        self._closed = False
        self._wanted = -1  # how many groups room() waits for at most, so that done() wakes it no earlier

    def room(self, patience_s: float, linger_s: float) -> int:
        """Waits until there is room for a group, and returns for how many there is; 0 after patience_s. It then waits up to
        linger_s for more to end, so that one receive serves many."""
        with self._lock:
            self._await(self._limit - 1, patience_s)
            self._await(self._enough, linger_s)
            self._wanted = -1
            return 0 if self._closed else max(0, self._limit - len(self._lines))

    def _await(self, groups: int, patience_s: float) -> None:
        self._wanted = groups
        self._ended.wait_for(lambda: len(self._lines) <= groups or self._closed, patience_s)

    def put(self, deliveries: Sequence[Delivery]) -> Sequence[Delivery]:
        """Line them up. After close() none is taken: they are returned, the last one first."""
        with self._lock:
            if self._closed:
                return deliveries[::-1]
            for delivery in deliveries:
                if delivery.group not in self._lines:
                    self._lines[delivery.group] = deque()
                    self._idle.append(delivery.group)
                self._lines[delivery.group].append(delivery)
            self._begun.notify(len(self._idle))
        return []

    def take(self) -> Delivery | None:
        """Wait for the next that nobody works on; None after close()."""
        with self._lock:
            self._begun.wait_for(lambda: self._idle or self._closed)
            return self._lines[self._idle.popleft()][0] if self._idle else None

    def done(self, delivery: Delivery) -> None:
        """It is dealt with: the next of its group is free to be taken, or the group is over."""
        with self._lock:
            line = self._lines[delivery.group]
            line.popleft()
            if line and not self._closed:
                self._idle.append(delivery.group)
                self._begun.notify()
            elif not line:
                del self._lines[delivery.group]
                if len(self._lines) <= self._wanted:
                    self._ended.notify()

    def tail(self, delivery: Delivery) -> list[Delivery]:
        """Take away what waits behind it in its group, and return that, the last one first."""
        with self._lock:
            line = self._lines[delivery.group]
            return [line.pop() for _ in range(len(line) - 1)]

    def close(self) -> list[Delivery]:
        """Start nothing more. Returns what has not been started, of each group the last one first."""
        with self._lock:
            self._closed = True
            unstarted = []
            for group, line in self._lines.items():
                at_work = 0 if group in self._idle else 1
                unstarted += [line.pop() for _ in range(len(line) - at_work)]
            for group in self._idle:
                del self._lines[group]
            self._idle.clear()
            self._ended.notify_all()
            self._begun.notify_all()
            return unstarted

    def at_work(self) -> list[Delivery]:
        with self._lock:
            return [line[0] for line in self._lines.values() if line]


# ==== 2. LEASES ==================================================================================================
# Everything that is held, and the thread that extends it.
# uses: ERRORS VALUES RUNNERS TURNS
# defines: RELIED_ON Leases

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


# ==== 3. DELETES =================================================================================================
# The deletes of messages that are done.
# uses: ERRORS VALUES RUNNERS TURNS
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
