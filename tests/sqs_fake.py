"""A strict queue service on loopback, for what emulators do not do: lost leases, refusals and accidents on demand.

It speaks SQS's JSON protocol as boto3 does. Where the documentation leaves an accident open (a handle that is no longer
the newest, a message that comes twice), it takes the side that hurts. Everything happens under one lock.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import re
import secrets
import struct
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

ACCOUNT = "000000000000"
MAX_BYTES = 1_048_576  # of a message with its attributes, and of a batch
MAX_VISIBILITY_S = 43_200
BATCH_ID = re.compile(r"[A-Za-z0-9_-]{1,80}")
ATTRIBUTE_NAME = re.compile(r"(?!aws\.|amazon\.|\.)(?!.*\.\.)(?!.*\.$)[A-Za-z0-9_.-]{1,256}", re.IGNORECASE)
DATA_TYPE = re.compile(r"(String|Number|Binary)(\.[^\s]+)?")
ORDER_ID = re.compile(r"[!-~]{1,128}")  # of a group or of a message that may come twice: alphanumerics and punctuation
UNFIT = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
RANGES = {
    "VisibilityTimeout": (0, MAX_VISIBILITY_S, 30), "MaximumMessageSize": (1024, MAX_BYTES, MAX_BYTES),
    "MessageRetentionPeriod": (60, 1_209_600, 345_600), "DelaySeconds": (0, 900, 0),
    "ReceiveMessageWaitTimeSeconds": (0, 20, 0),
}  # fmt: skip
FIFO_ONLY = {"FifoQueue": "true", "ContentBasedDeduplication": "false", "DeduplicationScope": "queue"}
COUNTS = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible", "ApproximateNumberOfMessagesDelayed")
OTHERS = ("QueueArn", "CreatedTimestamp", "LastModifiedTimestamp", "Policy", "RedrivePolicy", "RedriveAllowPolicy", *COUNTS)
OLD_CODES = {"QueueDoesNotExist": "NonExistentQueue"} | {
    code: code
    for code in ("EmptyBatchRequest", "TooManyEntriesInBatchRequest", "BatchEntryIdsNotDistinct", "BatchRequestTooLong",
                 "InvalidBatchEntryId", "MessageNotInflight", "PurgeQueueInProgress", "UnsupportedOperation")
}  # fmt: skip
DEDUP_S, PURGE_S = 300, 60
Json = dict[str, Any]


class Refused(Exception):
    """An answer that is an error."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code, self.status = code, status


def bad_value(name: str, reason: str) -> Refused:
    return Refused("InvalidParameterValue", f"Value for parameter {name} is invalid. Reason: {reason}")


@dataclass(eq=False)
class Message:
    id: str
    body: str
    attributes: Json
    sent_at: float
    visible_at: float
    group: str = ""
    dedup: str = ""
    sequence: str = ""
    trace: str = ""
    kept_from: float = 0.0  # its retention counts from here
    receives: int = 0
    first_at: float = 0.0
    received_at: float = 0.0
    handle: str = ""  # the newest; "" while nobody holds it
    source: str = ""  # ARN of the queue that it was moved from

    def system(self, names: set[str]) -> Json:
        """Its system attributes of these names."""
        first = self.first_at and str(int(self.first_at * 1000))
        facts = {
            "SenderId": ACCOUNT, "SentTimestamp": str(int(self.sent_at * 1000)), "MessageGroupId": self.group,
            "ApproximateReceiveCount": str(self.receives), "ApproximateFirstReceiveTimestamp": first,
            "MessageDeduplicationId": self.dedup, "SequenceNumber": self.sequence, "AWSTraceHeader": self.trace,
            "DeadLetterQueueSourceArn": self.source,
        }  # fmt: skip
        return {name: value for name, value in facts.items() if value and names & {name, "All"}}


@dataclass(eq=False)
class Queue:
    name: str
    url: str
    attributes: dict[str, str]
    messages: list[Message] = field(default_factory=list)
    handles: dict[str, Message] = field(default_factory=dict)  # every one that was ever given out
    sent: dict[str, tuple[float, Message]] = field(default_factory=dict)  # when and what, by deduplication id
    purged_at: float = -PURGE_S

    @property
    def fifo(self) -> bool:
        return self.name.endswith(".fifo")

    def number(self, name: str) -> int:
        return int(self.attributes[name])

    @property
    def redrive(self) -> Json:
        return dict(json.loads(self.attributes.get("RedrivePolicy") or "{}"))


@dataclass
class Call:
    """One call as it came, its answer, and the places of its beginning and end among all beginnings and ends."""

    operation: str
    queue: str
    request: Json
    began: int
    answer: Json = field(default_factory=dict)
    error: str = ""
    ended: int = 0  # 0 while it runs


@dataclass
class Fault:
    """What goes wrong with the next `times` calls (None: with all) of an operation ("" any) on a queue ("" any)."""

    operation: str = ""
    queue: str = ""
    times: int | None = 1
    code: str = ""  # the error answered, or the code of failed entries
    status: int = 400
    effect: bool = False  # it is done before the error is answered
    withheld: bool = False  # no answer comes at all, and the connection stays open until heal()
    entries: tuple[int, ...] | None = None  # of a batch: only these fail; () is all
    spared: int = 0  # calls that go well before

    def takes(self, operation: str, queue: str) -> bool:
        if self.operation not in ("", operation) or self.queue not in ("", queue) or self.times == 0:
            return False
        self.spared -= 1
        if self.spared < 0 and self.times:
            self.times -= 1
        return self.spared < 0


def md5(text: str | bytes) -> str:
    return hashlib.md5(text.encode() if isinstance(text, str) else text).hexdigest()


def value_of(attribute: Json) -> bytes:
    """The value of a message attribute as bytes."""
    if attribute.get("DataType", "").startswith("Binary"):
        return base64.b64decode(attribute.get("BinaryValue") or "")
    return str(attribute.get("StringValue") or "").encode()


def md5_of(attributes: Json) -> str:
    """The digest of message attributes that SQS documents: names, types and values with their lengths, in order of name."""
    parts = []
    for name, one in sorted(attributes.items()):
        kind = one["DataType"].encode()
        for data in (name.encode(), kind):
            parts.append(struct.pack(">I", len(data)) + data)
        parts.append((b"\x02" if kind.startswith(b"Binary") else b"\x01") + struct.pack(">I", len(value_of(one))))
        parts.append(value_of(one))
    return md5(b"".join(parts))


def size_of(entry: Json) -> int:
    attributes = (entry.get("MessageAttributes") or {}).items()
    loose = sum(len(n.encode()) + len(str(a.get("DataType", "")).encode()) + len(value_of(a)) for n, a in attributes)
    return len(str(entry.get("MessageBody") or "").encode()) + loose


def check_message(entry: Json, queue: Queue) -> None:
    """Refused unless SQS would take it."""
    body, attributes = entry.get("MessageBody") or "", entry.get("MessageAttributes") or {}
    if not body:
        raise Refused("MissingParameter", "The request must contain the parameter MessageBody.")
    if UNFIT.search(body):
        raise Refused("InvalidMessageContents", "Invalid binary character was found in the message body.")
    if size_of(entry) > queue.number("MaximumMessageSize"):
        raise bad_value("MessageBody", f"Message must be shorter than {queue.attributes['MaximumMessageSize']} bytes.")
    if len(attributes) > 10:
        raise Refused("InvalidParameterValue", f"Number of message attributes [{len(attributes)}] exceeds the allowed [10].")
    for name, one in attributes.items():
        if not ATTRIBUTE_NAME.fullmatch(name) or not DATA_TYPE.fullmatch(one.get("DataType") or ""):
            raise Refused("InvalidParameterValue", f"The name or type of message attribute '{name}' is invalid.")
        if not value_of(one) or UNFIT.search(str(one.get("StringValue") or "")):
            raise Refused("InvalidParameterValue", f"Message attribute '{name}' must contain a non-empty value of its type.")
    if queue.fifo and not entry.get("MessageGroupId"):
        raise Refused("MissingParameter", "The request must contain the parameter MessageGroupId.")
    for name in ("MessageGroupId", "MessageDeduplicationId"):
        if entry.get(name) and not ORDER_ID.fullmatch(entry[name]):
            raise bad_value(name, "Can only include alphanumeric and punctuation characters. 1 to 128 in length.")
    if entry.get("DelaySeconds" if queue.fifo else "MessageDeduplicationId"):
        raise Refused("InvalidParameterValue", "The request include parameter that is not valid for this queue type.")
    if not 0 <= int(entry.get("DelaySeconds") or 0) <= 900:
        raise bad_value("DelaySeconds", "DelaySeconds must be >= 0 and <= 900.")


class SqsFake:
    """`with SqsFake() as fake:` serves at fake.url; `clock` gives Unix seconds, and advance() moves it on."""

    serving: ClassVar[dict[str, SqsFake]] = {}  # by url

    def __init__(self, clock: Callable[[], float] = time.time, in_flight_limit: int = 120_000) -> None:
        self.queues: dict[str, Queue] = {}
        self.calls: list[Call] = []
        self.faults: list[Fault] = []
        self.in_flight_limit = in_flight_limit
        self.tells_lost_leases = (
            True  # else an extension that comes too late answers 200 and does nothing, as AWS often does
        )
        self.waits = True  # else a poll that finds nothing is answered at once, as if its time were over
        self._clock, self._offset_s, self._count = clock, 0.0, itertools.count(1)
        self._change = threading.Condition()
        self._closed = threading.Event()
        self._broken_off = 0  # how often end_polls() was asked for
        self._healed = threading.Event()  # what was withheld until then is cut off
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (_Handler,), {"fake": self}))
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def __enter__(self) -> SqsFake:
        self.serving[self.url] = self
        return self

    def __exit__(self, *_: object) -> None:
        del self.serving[self.url]
        self._closed.set()
        with self._change:
            self._healed.set()
            self._change.notify_all()
        self._server.shutdown()
        self._server.server_close()

    # ---- what tests do to it

    def now(self) -> float:
        return self._clock() + self._offset_s

    def advance(self, seconds: float) -> None:
        """Move the clock on; long polls see what became visible."""
        with self._change:
            self._offset_s += seconds
            self._change.notify_all()

    def end_polls(self) -> None:
        """Long polls that wait are answered now, as if their time were over; no lease is any shorter."""
        with self._change:
            self._broken_off += 1
            self._change.notify_all()

    def fault(self, code: str = "", **facts: Any) -> Fault:
        """Something goes wrong from now on (see Fault), such as fault("RequestThrottled", times=3)."""
        with self._change:
            self.faults.append(Fault(code=code, **facts))
            return self.faults[-1]

    def heal(self) -> None:
        """Nothing goes wrong any more, and calls that wait for their answer in vain lose their connection."""
        with self._change:
            self.faults.clear()
            self._healed.set()
            self._healed = threading.Event()

    def lose(self, queue: str, message_id: str = "", *, to_another: bool = False) -> None:
        """End the lease of a message (of all that are held): it is visible, or another consumer has it."""
        with self._change:
            for one in self.queues[queue].messages:
                if message_id in ("", one.id) and self._held(one):
                    one.visible_at = self.now()
                    if to_another:
                        self._deliver(self.queues[queue], one, 30)
            self._change.notify_all()

    def duplicate(self, queue: str, message_id: str, times: int = 1) -> None:
        """Deliver a message once more, held or deleted: another copy of it comes to light, with handles of its own; or so
        many at one moment, so that whoever waits gets some before one that has been served comes again."""
        with self._change:
            here = self.queues[queue]
            if here.fifo:
                raise ValueError("a FIFO queue repeats a message only after its lease ended: see lose()")
            known = next(m for m in [*here.messages, *here.handles.values()] if m.id == message_id)
            for _ in range(times):
                copy = Message(known.id, known.body, known.attributes, known.sent_at, self.now(), known.group)
                copy.kept_from, copy.receives, copy.first_at = known.kept_from, known.receives, known.first_at
                here.messages.append(copy)
            self._change.notify_all()

    def held(self, queue: str) -> list[str]:
        """The ids of messages in flight."""
        with self._change:
            return [m.id for m in self.queues[queue].messages if self._held(m)]

    def wait_for(self, probe: Callable[[], Any], timeout_s: float = 10.0) -> None:
        """Wait until `probe` is true of the calls or the queues; AssertionError when that does not come."""
        with self._change:
            if not self._change.wait_for(probe, timeout_s):
                raise AssertionError(f"waited {timeout_s:g} s in vain; the last calls: {self.calls[-5:]}")

    def wait_for_call(self, operation: str, count: int = 1, timeout_s: float = 10.0) -> list[Call]:
        """The calls of an operation, once at least `count` of them were done."""

        def done() -> list[Call]:
            return [call for call in self.calls if call.operation == operation and call.ended]

        self.wait_for(lambda: len(done()) >= count, timeout_s)
        return done()

    def order(self, *operations: str) -> list[str]:
        """These operations in the order in which they were done."""
        with self._change:
            ended = sorted((call for call in self.calls if call.ended), key=lambda call: call.ended)
            return [call.operation for call in ended if call.operation in operations]

    # ---- calls

    def answer(self, operation: str, request: Json) -> tuple[int, dict[str, str], Json] | None:
        """Status, header fields and body; None when no answer is to come."""
        name = str(request.get("QueueUrl") or request.get("QueueName") or "").rpartition("/")[2]
        with self._change:
            call = Call(operation, name, request, next(self._count))
            self.calls.append(call)
            self._change.notify_all()
            fault, healed = next((one for one in self.faults if one.takes(operation, name)), Fault()), self._healed
            try:
                call.answer = self._done(operation, request, fault)
                result: Any = (200, {}, call.answer)
            except Refused as error:
                call.error = error.code
                old = OLD_CODES.get(error.code)
                old = f"AWS.SimpleQueueService.{old}" if old else error.code
                header = {"x-amzn-query-error": f"{old};{'Sender' if error.status < 500 else 'Receiver'}"}
                result = (error.status, header, {"__type": f"com.amazonaws.sqs#{error.code}", "message": str(error)})
            call.ended = next(self._count)
            self._change.notify_all()
        if fault.withheld:
            healed.wait()
            return None
        return result  # type: ignore[no-any-return]

    def _done(self, operation: str, request: Json, fault: Fault) -> Json:
        """What the operation answers, with what goes wrong; the lock is held."""
        known: dict[str, Callable[[Json], Json]] = {
            "CreateQueue": self._create, "DeleteQueue": self._drop, "ListQueues": self._list, "GetQueueUrl": self._locate,
            "GetQueueAttributes": self._describe, "SetQueueAttributes": self._set, "PurgeQueue": self._purge,
            "ListDeadLetterSourceQueues": self._sources, "SendMessage": self._send, "ReceiveMessage": self._receive,
            "DeleteMessage": self._delete, "ChangeMessageVisibility": self._extend,
        }  # fmt: skip
        work = known.get(operation.removesuffix("Batch"))
        if work is None:
            raise Refused("UnsupportedOperation", f"{operation} is not done here.")
        refused = fault.code and fault.entries is None
        if (refused or fault.withheld) and not fault.effect:
            if refused:
                raise Refused(fault.code, "It was wanted that this fails.", fault.status)
            return {}
        done = self._batch(work, request, fault) if operation.endswith("Batch") else work(request)
        if refused:
            raise Refused(fault.code, "It was done, and it was wanted that it seems to fail.", fault.status)
        return done

    def _batch(self, work: Callable[[Json], Json], request: Json, fault: Fault) -> Json:
        entries = request.get("Entries") or []
        ids = [str(entry.get("Id")) for entry in entries]
        self._queue(request)
        if not entries:
            raise Refused("EmptyBatchRequest", "There should be at least one entry in the request.")
        if len(entries) > 10:
            raise Refused(
                "TooManyEntriesInBatchRequest", f"Maximum number of entries per request are 10. You sent {len(ids)}."
            )
        if not all(BATCH_ID.fullmatch(one) for one in ids):
            raise Refused("InvalidBatchEntryId", "A batch entry id has 1 to 80 letters, digits, hyphens and underscores.")
        if len(set(ids)) < len(ids):
            raise Refused("BatchEntryIdsNotDistinct", "Two entries have the same Id.")
        if sum(map(size_of, entries)) > MAX_BYTES:
            raise Refused("BatchRequestTooLong", f"Batch requests cannot be longer than {MAX_BYTES} bytes.")
        answer: dict[str, list[Json]] = {"Successful": [], "Failed": []}
        for index, entry in enumerate(entries):
            try:
                if fault.entries is not None and index in (fault.entries or range(10)):
                    raise Refused(fault.code or "InternalError", "It was wanted that this entry fails.", 500)
                answer["Successful"].append(work({**entry, "QueueUrl": request["QueueUrl"]}) | {"Id": entry["Id"]})
            except Refused as error:
                code = "ReceiptHandleIsInvalid" if "has expired" in str(error) else error.code  # in batches it is called so
                facts = {"Id": entry["Id"], "Code": code, "Message": str(error), "SenderFault": error.status < 500}
                answer["Failed"].append(facts)
        return {name: list_ for name, list_ in answer.items() if list_}

    # ---- queues

    def _queue(self, request: Json) -> Queue:
        name = str(request.get("QueueUrl") or "").rpartition("/")[2] or str(request.get("QueueName") or "")
        if name not in self.queues:
            raise Refused("QueueDoesNotExist", "The specified queue does not exist.")
        return self.queues[name]

    def _create(self, request: Json) -> Json:
        name, wanted = str(request.get("QueueName") or ""), dict(request.get("Attributes") or {})
        fifo = wanted.get("FifoQueue") == "true"
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,75}\.fifo" if fifo else r"[A-Za-z0-9_-]{1,80}", name):
            raise bad_value("QueueName", "Letters, digits, hyphens and underscores, and .fifo for a FIFO queue.")
        queue = self.queues.get(name)
        if queue and any(queue.attributes.get(key) != value for key, value in wanted.items()):
            raise Refused("QueueNameExists", "A queue already exists with the same name and a different value.")
        if queue is None:
            queue = Queue(name, f"{self.url}/{ACCOUNT}/{name}", {k: str(default) for k, (_, _, default) in RANGES.items()})
            stamp = str(int(self.now()))
            queue.attributes |= {"CreatedTimestamp": stamp, "QueueArn": f"arn:aws:sqs:us-east-1:{ACCOUNT}:{name}"}
            queue.attributes |= FIFO_ONLY if fifo else {}
            self._configure(queue, wanted)
            self.queues[name] = queue
        return {"QueueUrl": queue.url}

    def _configure(self, queue: Queue, wanted: dict[str, str]) -> None:
        for name, value in wanted.items():
            if name not in RANGES and name not in FIFO_ONLY and name not in OTHERS[3:6]:
                raise Refused("InvalidAttributeName", f"Unknown Attribute {name}.")
            low, high, _ = RANGES.get(name, (0, 0, 0))
            if name in RANGES and not (value.isdigit() and low <= int(value) <= high):
                raise Refused("InvalidAttributeValue", f"Invalid value for the parameter {name}.")
        if policy := wanted.get("RedrivePolicy"):
            self._check_redrive(queue, policy)
        queue.attributes |= wanted | {"LastModifiedTimestamp": str(int(self.now()))}
        for name in [name for name, value in queue.attributes.items() if not value]:
            del queue.attributes[name]

    def _check_redrive(self, queue: Queue, text: str) -> None:
        try:
            policy = json.loads(text)
            most, target = int(policy["maxReceiveCount"]), self._by_arn(policy["deadLetterTargetArn"])
        except (ValueError, KeyError, TypeError) as error:
            raise Refused("InvalidAttributeValue", "Invalid value for the parameter RedrivePolicy.") from error
        if not 1 <= most <= 1000 or target is None or target.fifo != queue.fifo:
            reason = "Dead letter target does not exist or is of another type, or maxReceiveCount is not in 1..1000."
            raise Refused("InvalidAttributeValue", f"Value for parameter RedrivePolicy is invalid. Reason: {reason}")

    def _by_arn(self, arn: str) -> Queue | None:
        return next((queue for queue in self.queues.values() if queue.attributes["QueueArn"] == arn), None)

    def _drop(self, request: Json) -> Json:
        del self.queues[self._queue(request).name]
        return {}

    def _list(self, request: Json) -> Json:
        prefix = request.get("QueueNamePrefix") or ""
        return {"QueueUrls": [queue.url for name, queue in sorted(self.queues.items()) if name.startswith(prefix)]}

    def _locate(self, request: Json) -> Json:
        return {"QueueUrl": self._queue(request).url}

    def _describe(self, request: Json) -> Json:
        queue, names = self._queue(request), set(request.get("AttributeNames") or [])
        for name in names - {"All", *RANGES, *FIFO_ONLY, *OTHERS}:
            raise Refused("InvalidAttributeName", f"Unknown Attribute {name}.")
        self._expire(queue)
        now, held = self.now(), sum(map(self._held, queue.messages))
        hidden = sum(one.visible_at > now for one in queue.messages)
        counts = zip(COUNTS, (len(queue.messages) - hidden, held, hidden - held), strict=True)
        facts = queue.attributes | {name: str(count) for name, count in counts}
        return {"Attributes": {name: value for name, value in facts.items() if names & {name, "All"}}}

    def _set(self, request: Json) -> Json:
        wanted = dict(request.get("Attributes") or {})
        if "FifoQueue" in wanted:
            raise Refused("InvalidAttributeName", "A queue keeps its type.")
        self._configure(self._queue(request), wanted)
        return {}

    def _purge(self, request: Json) -> Json:
        queue = self._queue(request)
        if self.now() - queue.purged_at < PURGE_S:
            raise Refused("PurgeQueueInProgress", "Only one PurgeQueue operation is allowed every 60 seconds.", 403)
        queue.purged_at = self.now()
        queue.messages.clear()
        return {}

    def _sources(self, request: Json) -> Json:
        arn = self._queue(request).attributes["QueueArn"]
        return {"queueUrls": [q.url for q in self.queues.values() if q.redrive.get("deadLetterTargetArn") == arn]}

    # ---- messages

    def _held(self, message: Message) -> bool:
        return bool(message.handle) and message.visible_at > self.now()

    def _expire(self, queue: Queue) -> None:
        oldest = self.now() - queue.number("MessageRetentionPeriod")
        queue.messages[:] = [one for one in queue.messages if one.kept_from > oldest]

    def _send(self, request: Json) -> Json:
        queue, now = self._queue(request), self.now()
        check_message(request, queue)
        body, group = request["MessageBody"], request.get("MessageGroupId") or ""
        attributes: Json = request.get("MessageAttributes") or {}
        delay_s = request.get("DelaySeconds")
        delay_s = queue.number("DelaySeconds") if delay_s is None else int(delay_s)
        message = Message(str(uuid.uuid4()), body, attributes, now, now + delay_s, group, kept_from=now)
        message.trace = ((request.get("MessageSystemAttributes") or {}).get("AWSTraceHeader") or {}).get("StringValue", "")
        earlier = self._unique(queue, message, request.get("MessageDeduplicationId") or "") if queue.fifo else None
        if earlier is None:
            queue.messages.append(message)
        answer = {"MessageId": (earlier or message).id, "MD5OfMessageBody": md5(body)}
        answer |= {"MD5OfMessageAttributes": md5_of(attributes)} if attributes else {}
        return answer | ({"SequenceNumber": (earlier or message).sequence} if queue.fifo else {})

    def _unique(self, queue: Queue, message: Message, dedup: str) -> Message | None:
        """The message that was sent under the same id within five minutes, or None: then this one has its number."""
        if not dedup and queue.attributes["ContentBasedDeduplication"] != "true":
            raise Refused("InvalidParameterValue", "The queue should have ContentBasedDeduplication, or an id be provided.")
        message.dedup = dedup or hashlib.sha256(message.body.encode()).hexdigest()
        scope = message.group if queue.attributes["DeduplicationScope"] == "messageGroup" else ""
        at, earlier = queue.sent.get(f"{scope} {message.dedup}", (-DEDUP_S, message))
        if message.sent_at - at < DEDUP_S:
            return earlier
        message.sequence = f"{next(self._count):020d}"
        queue.sent[f"{scope} {message.dedup}"] = (message.sent_at, message)
        return None

    def _receive(self, request: Json) -> Json:
        queue = self._queue(request)
        most = int(request.get("MaxNumberOfMessages", 1))
        wait_s = int(request.get("WaitTimeSeconds", queue.number("ReceiveMessageWaitTimeSeconds")))
        lease_s = int(request.get("VisibilityTimeout", queue.number("VisibilityTimeout")))
        for name, value, low, high in (
            ("MaxNumberOfMessages", most, 1, 10), ("WaitTimeSeconds", wait_s, 0, 20),
            ("VisibilityTimeout", lease_s, 0, MAX_VISIBILITY_S),
        ):  # fmt: skip
            if not low <= value <= high:
                raise bad_value(name, f"Must be between {low} and {high}, if provided.")
        until, before = self.now() + wait_s, self._broken_off
        while not (found := self._ready(queue, most)) and self.now() < until:
            if self._closed.is_set() or self._broken_off > before or not self.waits:
                break
            changes = [one.visible_at for one in queue.messages if one.visible_at > self.now()]
            self._change.wait(min([until, *changes]) - self.now() + 0.001)
            if self.queues.get(queue.name) is not queue:
                raise Refused("QueueDoesNotExist", "The specified queue does not exist.")
        for one in found:
            self._deliver(queue, one, lease_s)
        wanted = {*request.get("AttributeNames", []), *request.get("MessageSystemAttributeNames", [])}
        shown = [self._shown(one, wanted, request.get("MessageAttributeNames", [])) for one in found]
        return {"Messages": shown} if shown else {}

    def _ready(self, queue: Queue, most: int) -> list[Message]:
        """What may be given out, in order; what was received too often goes to the dead-letter queue."""
        self._expire(queue)
        most = min(most, self.in_flight_limit - sum(map(self._held, queue.messages)))
        if most <= 0 and not queue.fifo:
            raise Refused("OverLimit", "Too many messages in flight.", 403)
        return list(itertools.islice(self._candidates(queue), max(0, most)))

    def _candidates(self, queue: Queue) -> Iterator[Message]:
        dead, often = self._by_arn(queue.redrive.get("deadLetterTargetArn", "")), queue.redrive.get("maxReceiveCount", 0)
        closed = {one.group for one in queue.messages if queue.fifo and one.visible_at > self.now()}
        for one in list(queue.messages):
            if one.visible_at > self.now() or one.group in closed:
                continue
            if dead is None or one.receives < int(often):
                yield one
                continue
            queue.messages.remove(one)
            one.source, one.handle = queue.attributes["QueueArn"], ""
            one.kept_from = self.now() if queue.fifo else one.kept_from
            dead.messages.append(one)
            self._change.notify_all()

    def _deliver(self, queue: Queue, message: Message, lease_s: float) -> None:
        now = self.now()
        message.handle = base64.b64encode(f"{queue.name} {message.id} {secrets.token_hex(32)}".encode()).decode()
        message.receives += 1
        message.received_at, message.visible_at, message.first_at = now, now + lease_s, message.first_at or now
        queue.handles[message.handle] = message

    def _shown(self, message: Message, system: set[str], names: list[str]) -> Json:
        starts = tuple(name.removesuffix("*").removesuffix(".") for name in names if name.endswith(".*"))
        every = "All" in names
        attributes = {n: a for n, a in message.attributes.items() if every or n in names or n.startswith(starts or ("/",))}
        facts = {
            "MessageId": message.id, "ReceiptHandle": message.handle, "Body": message.body, "MD5OfBody": md5(message.body),
            "Attributes": message.system(system), "MessageAttributes": attributes,
            "MD5OfMessageAttributes": md5_of(attributes) if attributes else "",
        }  # fmt: skip
        return {name: value for name, value in facts.items() if value}

    def _of_handle(self, queue: Queue, request: Json) -> tuple[str, Message]:
        handle = str(request.get("ReceiptHandle") or "")
        if handle not in queue.handles:
            raise Refused("ReceiptHandleIsInvalid", "The input receipt handle is invalid.")
        return handle, queue.handles[handle]

    def _delete(self, request: Json) -> Json:
        queue = self._queue(request)
        handle, message = self._of_handle(queue, request)
        if message not in queue.messages:
            return {}  # a second delete succeeds
        if queue.fifo and not (message.handle == handle and self._held(message)):
            raise bad_value("ReceiptHandle", "The receipt handle has expired.")
        if message.handle == handle:  # with an older one it seems to succeed, and the message stays
            queue.messages.remove(message)
            self._change.notify_all()
        return {}

    def _extend(self, request: Json) -> Json:
        queue, lease_s = self._queue(request), int(request.get("VisibilityTimeout", -1))
        handle, message = self._of_handle(queue, request)
        if not 0 <= lease_s <= MAX_VISIBILITY_S:
            raise bad_value("VisibilityTimeout", f"Must be between 0 and {MAX_VISIBILITY_S}.")
        if message not in queue.messages:
            raise bad_value("ReceiptHandle", "Message does not exist or is not available for visibility timeout change.")
        if message.handle != handle or not self._held(message):
            if self.tells_lost_leases:
                raise Refused("MessageNotInflight", "The specified message isn't in flight.")
            return {}
        if self.now() + lease_s > message.received_at + MAX_VISIBILITY_S:
            raise bad_value(
                "VisibilityTimeout", "Total VisibilityTimeout for the message is beyond the limit [43200 seconds]."
            )
        message.visible_at = self.now() + lease_s
        self._change.notify_all()
        return {}


class _Handler(BaseHTTPRequestHandler):
    """The JSON protocol over HTTP/1.1."""

    fake: SqsFake
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")
        answer = self.fake.answer(self.headers.get("X-Amz-Target", "").removeprefix("AmazonSQS."), request)
        if answer is None:
            self.close_connection = True
            return
        status, headers, body = answer
        data = json.dumps(body).encode()
        self.send_response(status)
        for name, value in {
            "Content-Type": "application/x-amz-json-1.0",
            "Content-Length": str(len(data)),
            **headers,
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def handle(self) -> None:
        try:
            super().handle()
        except OSError:
            return  # the client has gone; what it was given stays given, as in life

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the calls are recorded."""
