"""One queue's work: what `server --runner sqs` does with each message, from its receive to its delete."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import app
from app import (
    LOG,
    AppError,
    Attribute,
    Busy,
    ConfigError,
    Forbidden,
    Json,
    LeaseLost,
    NotFound,
    NotPermitted,
    PayloadUnavailable,
    Queue,
    QueueConfig,
    Refused,
    ReplyFailed,
    Request,
    SqsRunner,
    StorageFull,
    TooLarge,
    Unavailable,
    Unsupported,
    bad_envelope,
    dump_json,
    nearest,
    new_id,
    problem_details,
    rfc3339,
)

if TYPE_CHECKING:
    from plugins.deliveries import DeleteBatcher, Delivery, Scheduler

envelopes = app.plugin("envelopes")

# ==== 1. OUTCOMES ================================================================================================
# What the runner knows of providers and of earlier failures, and what becomes of a message.
# uses: ERRORS VALUES
# defines: HealthCache Failures Stopping Outcome


class HealthCache:
    """Which providers are away: many threads may ask at the same time, and the providers are asked once."""

    def __init__(self, ready: Callable[[], Mapping[str, str]]) -> None:
        self._ready = ready
        self._lock = threading.Lock()
        self._known: tuple[float, frozenset[str]] = -math.inf, frozenset()

    def away(self, since: float) -> frozenset[str]:
        """Their names, as found out at `since` (time.monotonic()) or later."""
        with self._lock:
            if self._known[0] < since:
                now = time.monotonic()
                self._known = now, frozenset(name for name, state in self._ready().items() if state != "ok")
            return self._known[1]


class Failures(dict[str, int]):
    """How often each message has failed so far, by its id. The oldest entries go, so that it takes some 20 MB at most."""

    def __setitem__(self, id_: str, count: int) -> None:
        super().__setitem__(id_, count)
        if len(self) > 100_000:
            for old in list(self)[:1_000]:
                self.pop(old, None)


class Stopping(Exception):
    """The runner stops while a message waits for a provider or a queue: the message is given back."""


class Outcome(NamedTuple):
    """What becomes of a message: done, replayed, dead, retry, released, lost or undeleted; the status and JSON that its
    sender gets; and if it is to come again, in how many seconds."""

    word: str
    status: int = 0
    body: Json = None
    error: AppError | None = None
    delay_s: int | None = None

    @property
    def may_pass(self) -> bool:
        """Whether the same message may succeed later."""
        error = self.error
        return error is not None and not isinstance(error, Unsupported) and (error.retry or error.status >= 500)


# ==== 2. WORK ====================================================================================================
# Receives messages of a queue, has them done, and settles them.
# uses: ERRORS VALUES CONFIG RUNNERS OUTCOMES plugin:deliveries plugin:envelopes plugin:refusals
# defines: Consumer


class Consumer:
    """One queue: a thread that receives, a few that work, one that deletes. A message is received, decoded, handled and
    settled, and then its group goes on.

    plugins/envelopes.py knows what stands in a message. plugins/deliveries.py knows whose turn it is, extends the leases
    and carries out the deletes."""

    def __init__(self, config: QueueConfig, queue: Queue, replies: Mapping[str, Queue], runner: SqsRunner) -> None:
        self.config, self.queue, self.replies, self.name = config, queue, replies, config.name
        self.sqs, self.host, self.policy, self.leases = runner.config, runner.host, runner.policy, runner.leases
        self.status, self.health, self.failures = runner.status, runner.health, runner.failures
        self.scheduler: Scheduler = app.plugin("deliveries").Scheduler(self.sqs.threads)
        self.stopping = threading.Event()
        self.paused: set[Delivery] = set()  # they wait for a provider, or for a queue of answers or dead letters
        self.trouble: AppError | None = None
        linger_s = self.policy.linger_s / 10 if queue.fifo else self.policy.linger_s  # the next of a group waits for it
        make = app.plugin("deliveries").DeleteBatcher
        self.deletes: DeleteBatcher = make(queue, self._deleted, self.report, self.policy, linger_s)
        self.receiver = self._thread(self._receive, "receive")
        self.workers = [self._thread(self._work, "work") for _ in range(self.sqs.threads)]

    def _thread(self, target: Callable[[], None], what: str) -> threading.Thread:
        return threading.Thread(target=target, name=f"{what} {self.name}", daemon=True)

    def start(self) -> None:
        self.deletes.start()
        for thread in (self.receiver, *self.workers):
            thread.start()

    def stop(self) -> None:
        """No new receives; give back what has not been started."""
        self.stopping.set()
        self.deletes.hurry()
        self._give_back(self.scheduler.close())

    def report(self, trouble: AppError) -> None:
        """Pause because the queue is missing or denied, until a look at its set-up shows that this is over."""
        self.trouble = trouble

    def busy(self) -> bool:
        return self.receiver.is_alive() or any(thread.is_alive() for thread in self.workers)

    def abandon(self) -> None:
        """Give back what is still at work: it may commit nothing from here on. It is seen again at once, unless the last
        poll is still open: that would receive it, and nobody would be there to give it back."""
        delay_s = self.sqs.wait_s if self.receiver.is_alive() else 0
        self.leases.release([delivery for delivery in self.scheduler.at_work() if not delivery.is_done], delay_s)

    def _give_back(self, deliveries: Sequence[Delivery]) -> None:
        """Give back deliveries that nobody has started."""
        self._count("released", len(deliveries))
        self.leases.release(deliveries, 0)

    def _count(self, outcome: str, messages: int = 1) -> None:
        self.host.count("satchel_queue_messages_total", self.name, outcome, by=messages)

    # -- receive

    def _receive(self) -> None:
        while not self.stopping.is_set():
            try:
                self.queue.check()
                self.status.begin(self.name)
                while not self.stopping.is_set():
                    self._poll()
            except AppError as error:
                self.status.set(self.name, f"paused: {error.message}")
                self.stopping.wait(self.policy.retry_s * (0.5 + self.policy.chance()))
            except Exception:
                LOG.exception("queue %s: receiving failed", self.name)
                self.stopping.wait(self.policy.retry_s)

    def _poll(self) -> None:
        """Receive as many messages as there is room for. A poll that has begun is never cut off, or what arrives
        in it would be stranded."""
        if trouble := self.trouble:
            self.trouble = None
            raise trouble
        room = self.scheduler.room(1, self.policy.linger_s)
        if not room or self.paused:
            self.stopping.wait(0.05 if self.paused else 0)
            return
        messages = self.queue.receive(room, self.sqs.wait_s, self.sqs.visibility_s)
        deliveries = self.leases.hold(self.queue, messages)
        if not self.paused:
            self.status.set(self.name, "ok")
        self._count("received", len(deliveries))
        self._give_back(self.scheduler.put(deliveries))

    # -- work on a message

    def _work(self) -> None:
        while (delivery := self.scheduler.take()) is not None:
            began = time.monotonic()
            delivery.attempt = self.failures.get(delivery.message.id, 0) + 1
            outcome = self._outcome(delivery)
            try:
                outcome = self._finish(delivery, outcome)
            except Exception:  # the message is left to its time-out
                LOG.exception("message %s could not be given back", delivery.message.id)
                self.leases.drop(delivery)
            took_s = time.monotonic() - began
            self.host.observe("satchel_queue_message_seconds", self.name, value=took_s)
            if outcome.word != "undeleted":  # which _deleted has counted
                self._count(outcome.word)
            LOG.info(self._line(delivery, outcome, took_s))
            self.scheduler.done(delivery)

    def _outcome(self, delivery: Delivery) -> Outcome:
        """Handle and settle a message. One that ends without an answer is given back, which uses up no attempt."""
        try:
            return self._settle(delivery, self._handle(delivery))
        except (LeaseLost, Stopping):
            return Outcome("lost" if delivery.lost or not self.stopping.is_set() else "released", delay_s=0)
        except Exception as problem:  # the copy for the dead-letter queue could not be sent, or something is wrong here
            error = problem if isinstance(problem, AppError) else AppError("something went wrong here")
            if error is not problem:
                LOG.exception("message %s (request %s) failed", delivery.message.id, delivery.request_id)
            delay_s = self.policy.backoff(delivery.message.receives, delivery.left_s)
            return Outcome("retry", error.status, error=error, delay_s=delay_s)
        finally:
            self._resume(delivery)

    # -- decode

    def _decode(self, delivery: Delivery) -> list[Request]:
        """What the message asks for: one request, or those of a notification of events."""
        delivery.request_id = new_id(time.time())
        inner = delivery.inner = self.queue.unwrap(delivery.message)
        name = inner.text("reply_to")
        if name and name not in self.replies:
            detail = f"is {name[:80]!r}, which [sqs] replies does not name{nearest(name, self.replies)}"
            raise bad_envelope("/attributes/reply_to", "reply_to", detail)
        inner, delivery.payload = self.queue.load(inner)
        value = envelopes.parse_body(inner.body)
        events = self.queue.events(value)
        if events is None:
            return [envelopes.read_envelope(value, inner, self.config.allow, delivery.request_id)]
        return list(envelopes.event_requests(events, self.config, delivery.request_id))

    # -- handle

    def _handle(self, delivery: Delivery) -> Outcome:
        """Have it done; while a provider is away or a disk is full the message is held and then tried again."""
        tries = 0
        while True:
            try:
                return self._answer(delivery)
            except (LeaseLost, Stopping, MemoryError, OSError):  # the last two are the machine's: later it may be done
                raise
            except StorageFull as error:
                self._pause(delivery, error.message, self.policy.probe_s)
            except Unavailable as error:
                away = self.health.away(time.monotonic())
                if not away and tries >= self.sqs.attempts:
                    return self._failed(delivery, error)
                reason = f"{', '.join(sorted(away))} is away" if away else error.message
                self._pause(delivery, reason, self.policy.probe_s * 2**tries, away)
            except AppError as error:
                return self._failed(delivery, error)
            except Exception:
                LOG.exception("message %s (request %s) failed", delivery.message.id, delivery.request_id)
                return self._failed(delivery, AppError("something went wrong here; the operator finds it in the log"))
            tries += 1

    def _answer(self, delivery: Delivery) -> Outcome:
        """Have the application do what the message asks for, once. Of several requests one that is refused keeps no other
        from being done."""
        requests = self._decode(delivery)
        responses, refused = [], []
        for request in requests:
            delivery.what = f"{request.action} {request.address}"
            try:
                responses.append(self.host.handle(request, delivery.guard))
            except AppError as error:
                if error.retry or error.status >= 500:
                    raise
                refused.append(error)
        if refused:
            raise refused[0]
        for response in responses:
            delivery.subject = response.caller.subject
        if len(requests) == 1:
            return Outcome("replayed" if responses[0].replayed else "done", *envelopes.answer_of(responses[0]))
        return Outcome("done", 200, [envelopes.answer_of(response)[1] for response in responses])

    def _failed(self, delivery: Delivery, error: AppError) -> Outcome:
        """The outcome of an error. The subject is told in the log and in the dead letter."""
        error.subject = delivery.subject = error.subject or delivery.subject
        app.plugin("refusals").note_message(self.host, self.name, error, delivery.request_id)
        return Outcome("dead", error.status, problem_details(delivery.request_id, error), error)

    def _pause(self, delivery: Delivery, reason: str, wait_s: float, away: frozenset[str] = frozenset()) -> None:
        """Hold the message and receive no others: until one of the providers in `away` is back, or for wait_s if there are
        none. Raises Stopping if the runner stops first. The queue goes on after _resume()."""
        self.paused.add(delivery)
        self.status.set(self.name, f"paused: {reason}")
        while not self.stopping.wait(self.policy.probe_s if away else wait_s):
            if not away or away - self.health.away(time.monotonic() - self.policy.probe_s / 2):
                return
        raise Stopping

    def _resume(self, delivery: Delivery) -> None:
        if delivery in self.paused:
            self.paused.discard(delivery)
            if not self.paused and not self.stopping.is_set():
                self.status.set(self.name, "ok")

    # -- settle

    def _settle(self, delivery: Delivery, outcome: Outcome) -> Outcome:
        """Either have it come again later; or reply, copy it to the dead-letter queue if it failed, and have it deleted."""
        if isinstance(outcome.error, Busy):  # which uses up no attempt
            return outcome._replace(word="retry", delay_s=math.ceil(outcome.error.over_in_s))
        if outcome.may_pass and delivery.attempt < self.sqs.attempts:
            self.failures[delivery.message.id] = delivery.attempt
            return outcome._replace(word="retry", delay_s=self.policy.backoff(delivery.attempt, delivery.left_s))
        delivery.guard()
        if replies := self.replies.get(delivery.inner.text("reply_to")):
            try:
                self._send(delivery, lambda: self._reply(replies, delivery, outcome))
            except Refused as refused:  # what is done stays done, and its sender must hear of it in another way
                if not outcome.error:
                    reason = f"it was done, and its answer could not be sent: {refused.message}"
                    outcome = self._failed(delivery, ReplyFailed(reason))
        if error := outcome.error:
            delivery.payload = ""  # it stays for whoever looks at the dead letter
            self._send(delivery, lambda: self.queue.send_to_dlq(delivery.message, error, delivery.attempt))
        self.failures.pop(delivery.message.id, None)
        self.deletes.put(delivery)
        return outcome

    def _send(self, delivery: Delivery, send: Callable[[], None]) -> None:
        """Send an answer or a dead letter. While its queue is away, missing or denied the message is held, and this is tried
        again. Raises Refused if it will never be taken, and LeaseLost if the message is no longer ours."""
        while True:
            delivery.guard()
            try:
                send()
                return
            except (Unavailable, PayloadUnavailable, NotFound, Forbidden, ConfigError) as error:
                self._pause(delivery, error.message, self.policy.probe_s)

    def _reply(self, replies: Queue, delivery: Delivery, outcome: Outcome) -> None:
        """Send the answer or problem; if the answer is too large, a problem that says so."""
        correlation_id, key = delivery.inner.text("correlation_id"), delivery.message.id
        attributes = {"correlation_id": Attribute(correlation_id)} if correlation_id else {}

        def send(status: int, body: str) -> None:
            given = attributes | {"status": Attribute(str(status), "Number")}
            replies.send(body, given, correlation_id, key, f"replies/{key}")

        body = dump_json(outcome.body)
        try:
            send(outcome.status, body)
        except TooLarge:
            size = len(body.encode(errors="replace"))
            error = TooLarge(f"the answer has {size:,} bytes, too many for a message: [sqs] reply_bucket")
            send(error.status, dump_json(problem_details(delivery.request_id, error)))

    # -- finish

    def _finish(self, delivery: Delivery, outcome: Outcome) -> Outcome:
        """On a FIFO queue, wait until it is deleted before the next of its group starts. One that is to come again is given
        back, after those behind it in its group."""
        if delivery.is_done and self.queue.fifo:
            delivery.settled.wait()
            if not delivery.deleted:
                outcome = outcome._replace(word="undeleted", delay_s=0)
        if outcome.delay_s is not None:
            self._give_back(self.scheduler.tail(delivery))
            self.leases.release([delivery], outcome.delay_s)
        return outcome

    def _deleted(self, delivery: Delivery) -> None:
        """After the delete: its lease is extended no more, and its body is removed from where load() found it."""
        self.leases.drop(delivery)
        self._count("deleted" if delivery.deleted else "undeleted")
        if not delivery.deleted:
            LOG.error("message %s could not be deleted from %s; it will come again", delivery.message.id, self.name)
        elif delivery.payload:
            try:
                self.queue.discard(delivery.payload)
            except AppError as error:
                LOG.error("message %s: %s", delivery.message.id, error.message)

    def _line(self, delivery: Delivery, outcome: Outcome, took_s: float) -> str:
        """What the log says of the message."""
        error = outcome.error
        facts = {
            "at": rfc3339(time.time()), "queue": self.name, "message_id": delivery.message.id,
            "request_id": delivery.request_id, "subject": delivery.subject, "what": delivery.what,
            "outcome": outcome.word, "status": outcome.status, "code": error.code if error else "",
            "attempt": delivery.attempt, "took_ms": round(took_s * 1000, 1),
        }  # fmt: skip
        if error and (error.status >= 500 or isinstance(error, Refused | NotPermitted)):
            facts["detail"] = error.with_hint
        return dump_json(facts)
