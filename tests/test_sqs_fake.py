"""The queue service of the other tests: what it does is what the emulator does, where that does it at all."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import aws_server
import pytest
from botocore.exceptions import ClientError, ConnectionClosedError, ReadTimeoutError
from sqs_fake import MAX_BYTES, SqsFake


@dataclass
class Bench:
    """Queues of one service under names of their own, and a client."""

    sqs: Any
    pass_time: Callable[[float], None]
    name: str
    fake: SqsFake | None = None
    made: int = 0

    def queue(self, *, fifo: bool = False, **attributes: str) -> str:
        """The URL of a new queue."""
        self.made += 1
        wanted = {"FifoQueue": "true", "ContentBasedDeduplication": "true", **attributes} if fifo else attributes
        made = self.sqs.create_queue(QueueName=f"{self.name}-{self.made}" + ".fifo" * fifo, Attributes=wanted)
        return str(made["QueueUrl"])

    def arn(self, url: str) -> str:
        return str(self.attributes(url)["QueueArn"])

    def attributes(self, url: str) -> dict[str, str]:
        return dict(self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"])

    def with_dead_letters(self, most: int, *, fifo: bool = False, **attributes: str) -> tuple[str, str]:
        dead = self.queue(fifo=fifo)
        policy = json.dumps({"deadLetterTargetArn": self.arn(dead), "maxReceiveCount": most})
        return self.queue(fifo=fifo, RedrivePolicy=policy, **attributes), dead

    def send(self, url: str, *bodies: str, **facts: Any) -> list[str]:
        """The message ids."""
        return [self.sqs.send_message(QueueUrl=url, MessageBody=body, **facts)["MessageId"] for body in bodies]

    def take(self, url: str, most: int = 10, **facts: Any) -> list[dict[str, Any]]:
        names = {"MessageAttributeNames": ["All"], "MessageSystemAttributeNames": ["All"]}
        return list(self.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=most, **names, **facts).get("Messages", []))

    def bodies(self, url: str, most: int = 10, **facts: Any) -> list[str]:
        return [message["Body"] for message in self.take(url, most, **facts)]

    def extend(self, url: str, message: dict[str, Any], seconds: int) -> None:
        self.sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=seconds)

    def delete(self, url: str, message: dict[str, Any]) -> None:
        self.sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])


def bench_of(fake: SqsFake, **settings: Any) -> Bench:
    return Bench(aws_server.client("sqs", fake.url, **settings), fake.advance, "q", fake)


@pytest.fixture
def strict(fake: SqsFake) -> Iterator[Bench]:
    """The fake alone: what the emulator does not do."""
    bench = bench_of(fake)
    yield bench
    bench.sqs.close()


@pytest.fixture(params=["fake", "ministack"])
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    """The fake and the emulator in turn: the same is asserted of both."""
    if request.param == "fake":
        yield request.getfixturevalue("strict")
        return
    sqs = aws_server.client("sqs", aws_server.endpoint())
    yield Bench(sqs, time.sleep, f"t{time.monotonic_ns()}")
    sqs.close()


def refusal(work: Callable[..., Any], *args: Any, **facts: Any) -> str:
    """The code with which a call is refused."""
    with pytest.raises(ClientError) as caught:
        work(*args, **facts)
    return str(caught.value.response["Error"]["Code"]).rpartition(".")[2]


# ---- both of them


def test_message_comes_as_it_was_sent(bench: Bench) -> None:
    url = bench.queue()
    sent_at = time.time()
    attributes = {
        "authorization": {"DataType": "String", "StringValue": "Bearer é"},
        "n": {"DataType": "Number.int", "StringValue": "5"},
        "raw": {"DataType": "Binary", "BinaryValue": b"\0\xff"},
    }
    answer = bench.sqs.send_message(QueueUrl=url, MessageBody="héllo", MessageAttributes=attributes)
    [message] = bench.take(url)
    assert (message["MessageId"], message["Body"]) == (answer["MessageId"], "héllo")
    assert message["MessageAttributes"] == attributes
    assert message["MD5OfBody"] == answer["MD5OfMessageBody"]
    assert message["MD5OfMessageAttributes"] == answer["MD5OfMessageAttributes"]
    assert message["Attributes"]["ApproximateReceiveCount"] == "1"
    assert int(message["Attributes"]["SentTimestamp"]) / 1000 == pytest.approx(sent_at, abs=5)
    assert bench.take(url) == [], "nobody else gets it while it is held"


def test_digest_of_attributes_is_the_documented_one(bench: Bench) -> None:
    attributes = {"b": {"DataType": "String", "StringValue": "x"}, "a": {"DataType": "Number", "StringValue": "10"}}
    answer = bench.sqs.send_message(QueueUrl=bench.queue(), MessageBody="m", MessageAttributes=attributes)
    parts = b"\0\0\0\1a\0\0\0\6Number\1\0\0\0\x0210", b"\0\0\0\1b\0\0\0\6String\1\0\0\0\1x"
    assert answer["MD5OfMessageAttributes"] == hashlib.md5(b"".join(parts)).hexdigest()


def test_only_the_named_attributes_come(bench: Bench) -> None:
    url = bench.queue(VisibilityTimeout="0")
    one = {"DataType": "String", "StringValue": "x"}
    bench.send(url, "m", MessageAttributes={"x_error": one, "x_detail": one, "other": one})

    def names(*wanted: str) -> list[str]:
        [message] = bench.sqs.receive_message(QueueUrl=url, MessageAttributeNames=list(wanted))["Messages"]
        assert "Attributes" not in message
        return sorted(message.get("MessageAttributes", {}))

    assert names() == []
    assert names("other", "absent") == ["other"]
    assert names("x_.*") == ["x_detail", "x_error"]
    assert names("All") == ["other", "x_detail", "x_error"]


def test_message_comes_again_when_its_lease_ends_and_the_receives_are_counted(bench: Bench) -> None:
    url = bench.queue(VisibilityTimeout="1")
    bench.send(url, "m")
    [first] = bench.take(url)
    bench.pass_time(1.1)
    [second] = bench.take(url)
    assert second["Attributes"]["ApproximateReceiveCount"] == "2"
    assert second["ReceiptHandle"] != first["ReceiptHandle"]
    seen = [message["Attributes"]["ApproximateFirstReceiveTimestamp"] for message in (first, second)]
    assert seen[0] == seen[1]


def test_extended_lease_lasts_and_a_released_one_is_over(bench: Bench) -> None:
    url = bench.queue(VisibilityTimeout="1")
    bench.send(url, "m")
    [message] = bench.take(url)
    bench.extend(url, message, 60)
    bench.pass_time(1.1)
    assert bench.take(url) == []
    bench.extend(url, message, 0)
    assert bench.bodies(url) == ["m"]


def test_deleted_message_is_gone(bench: Bench) -> None:
    url = bench.queue(VisibilityTimeout="1")
    bench.send(url, "m")
    bench.delete(url, bench.take(url)[0])
    bench.pass_time(1.1)
    assert bench.take(url) == []


def test_long_poll_wakes_when_a_message_arrives(bench: Bench) -> None:
    url = bench.queue()
    got: list[str] = []
    poll = threading.Thread(target=lambda: got.extend(bench.bodies(url, WaitTimeSeconds=20)))
    begun = time.monotonic()
    poll.start()
    if bench.fake:
        bench.fake.wait_for(lambda: bool(bench.fake and bench.fake.calls[-1].operation == "ReceiveMessage"))
    bench.send(url, "m")
    poll.join(10)
    assert got == ["m"]
    assert time.monotonic() - begun < 5


def test_depth_counts_visible_held_and_delayed_messages(bench: Bench) -> None:
    url = bench.queue()
    bench.send(url, "a", "b", "c")
    bench.send(url, "late", DelaySeconds=100)
    bench.take(url, 1)
    found = bench.attributes(url)
    kinds = ("", "NotVisible", "Delayed")
    assert [found[f"ApproximateNumberOfMessages{kind}"] for kind in kinds] == ["2", "1", "1"]


def test_message_received_too_often_goes_to_the_dead_letter_queue(bench: Bench) -> None:
    url, dead = bench.with_dead_letters(2, VisibilityTimeout="0")
    [sent] = bench.send(url, "poison")
    assert [bench.bodies(url) for _ in range(3)] == [["poison"], ["poison"], []]
    [message] = bench.take(dead)
    assert message["MessageId"] == sent
    assert message["Attributes"]["DeadLetterQueueSourceArn"] == bench.arn(url)
    assert bench.attributes(url)["ApproximateNumberOfMessages"] == "0"


def test_group_is_closed_while_one_of_it_is_held(bench: Bench) -> None:
    url = bench.queue(fifo=True)
    bench.send(url, "a1", "a2", "a3", MessageGroupId="a")
    bench.send(url, "b1", MessageGroupId="b")
    [head] = bench.take(url, 1)
    assert head["Body"] == "a1"
    assert head["Attributes"]["MessageGroupId"] == "a"
    [other] = bench.take(url)
    assert other["Body"] == "b1"
    bench.delete(url, head)
    assert bench.bodies(url) == ["a2", "a3"], "messages of a group come together, in order"


def test_failed_head_holds_its_group_until_its_backoff_is_over(bench: Bench) -> None:
    url = bench.queue(fifo=True)
    bench.send(url, "a1", "a2", "a3", MessageGroupId="a")
    first, second, third = bench.take(url)
    bench.extend(url, third, 0)
    bench.extend(url, second, 0)
    assert bench.take(url) == []
    bench.extend(url, first, 1)
    assert bench.take(url) == []
    bench.pass_time(1.1)
    assert bench.bodies(url) == ["a1", "a2", "a3"]


def test_same_deduplication_id_is_one_message(bench: Bench) -> None:
    url = bench.queue(fifo=True)
    facts = {"MessageGroupId": "g", "MessageDeduplicationId": "d"}
    first, again = (bench.sqs.send_message(QueueUrl=url, MessageBody=body, **facts) for body in ("one", "two"))
    assert (first["MessageId"], first["SequenceNumber"]) == (again["MessageId"], again["SequenceNumber"])
    [message] = bench.take(url)
    assert message["Body"] == "one"
    assert message["Attributes"]["MessageDeduplicationId"] == "d"
    bench.delete(url, message)
    bench.send(url, "three", **facts)
    assert bench.take(url) == [], "five minutes from the first, deleted or not"


def test_sequence_numbers_grow(bench: Bench) -> None:
    url = bench.queue(fifo=True)
    bench.send(url, "1", "2", "3", MessageGroupId="g")
    numbers = [message["Attributes"]["SequenceNumber"] for message in bench.take(url)]
    assert sorted(set(numbers)) == numbers
    assert {len(number) for number in numbers} == {20}


def test_batches_do_each_entry_for_itself(bench: Bench) -> None:
    url = bench.queue()
    entries = [{"Id": "0", "MessageBody": "a"}, {"Id": "1", "MessageBody": "\x01"}, {"Id": "2", "MessageBody": "c"}]
    answer = bench.sqs.send_message_batch(QueueUrl=url, Entries=entries)
    assert [one["Id"] for one in answer["Successful"]] == ["0", "2"]
    [failed] = answer["Failed"]
    assert (failed["Id"], failed["Code"], failed["SenderFault"]) == ("1", "InvalidMessageContents", True)
    held = [{"Id": str(index), "ReceiptHandle": m["ReceiptHandle"]} for index, m in enumerate(bench.take(url))]
    extended = bench.sqs.change_message_visibility_batch(
        QueueUrl=url,
        Entries=[{**one, "VisibilityTimeout": 60} for one in held]
        + [{"Id": "x", "ReceiptHandle": "nonsense", "VisibilityTimeout": 60}],
    )
    assert [one["Id"] for one in extended["Successful"]] == ["0", "1"]
    assert [(one["Id"], one["Code"]) for one in extended["Failed"]] == [("x", "ReceiptHandleIsInvalid")]
    deleted = bench.sqs.delete_message_batch(QueueUrl=url, Entries=[*held, {"Id": "x", "ReceiptHandle": "nonsense"}])
    assert [one["Id"] for one in deleted["Successful"]] == ["0", "1"]
    assert [(one["Id"], one["Code"]) for one in deleted["Failed"]] == [("x", "ReceiptHandleIsInvalid")]


@pytest.mark.parametrize(
    ("entries", "code"),
    [
        ([], "EmptyBatchRequest"),
        ([("a", "x"), ("a", "y")], "BatchEntryIdsNotDistinct"),
        ([(str(n), "x") for n in range(11)], "TooManyEntriesInBatchRequest"),
        ([("a.b", "x")], "InvalidBatchEntryId"),
        ([("a", "x" * 600_000), ("b", "y" * 600_000)], "BatchRequestTooLong"),
    ],
)  # fmt: skip
def test_bad_batches_are_refused_whole(bench: Bench, entries: list[tuple[str, str]], code: str) -> None:
    url = bench.queue()
    batch = [{"Id": id_, "MessageBody": body} for id_, body in entries]
    assert refusal(bench.sqs.send_message_batch, QueueUrl=url, Entries=batch) == code
    assert bench.take(url) == []


def test_message_of_a_mebibyte_fits_and_no_more(bench: Bench) -> None:
    url = bench.queue()
    bench.send(url, "x" * MAX_BYTES)
    assert refusal(bench.send, url, "x" * (MAX_BYTES + 1)) == "InvalidParameterValue"


def test_unknown_queue_and_handle_are_refused(bench: Bench) -> None:
    url = bench.queue()
    assert refusal(bench.take, url + "-not") == "NonExistentQueue"
    assert refusal(bench.sqs.get_queue_url, QueueName="not-there") == "NonExistentQueue"
    assert refusal(bench.delete, url, {"ReceiptHandle": "nonsense"}) == "ReceiptHandleIsInvalid"
    assert refusal(bench.extend, url, {"ReceiptHandle": "nonsense"}, 5) == "ReceiptHandleIsInvalid"
    with pytest.raises(bench.sqs.exceptions.QueueDoesNotExist):
        bench.take(url + "-not")


def test_numbers_out_of_range_are_refused(bench: Bench) -> None:
    url = bench.queue()
    assert refusal(bench.take, url, 11) == "InvalidParameterValue"
    set_ = bench.sqs.set_queue_attributes
    for name, value in [("VisibilityTimeout", "43201"), ("MessageRetentionPeriod", "59"), ("DelaySeconds", "901")]:
        assert refusal(set_, QueueUrl=url, Attributes={name: value}) == "InvalidAttributeValue"
    set_(QueueUrl=url, Attributes={"VisibilityTimeout": "43200"})
    assert bench.attributes(url)["VisibilityTimeout"] == "43200"


def test_redrive_policy_is_checked(bench: Bench) -> None:
    dead = bench.arn(bench.queue())
    for target, most in [(dead, 0), (dead, 1001), (dead + "-not", 3), ("nonsense", 3)]:
        policy = json.dumps({"deadLetterTargetArn": target, "maxReceiveCount": most})
        assert refusal(bench.queue, RedrivePolicy=policy) == "InvalidAttributeValue"
    assert refusal(bench.queue, RedrivePolicy="[]") == "InvalidAttributeValue"


def test_queues_are_listed_found_purged_and_dropped(bench: Bench) -> None:
    url = bench.queue()
    name = url.rpartition("/")[2]
    assert bench.sqs.get_queue_url(QueueName=name)["QueueUrl"] == url
    assert bench.sqs.list_queues(QueueNamePrefix=name)["QueueUrls"] == [url]
    assert bench.sqs.create_queue(QueueName=name)["QueueUrl"] == url
    bench.send(url, "m")
    bench.sqs.purge_queue(QueueUrl=url)
    assert bench.take(url) == []
    bench.sqs.delete_queue(QueueUrl=url)
    assert refusal(bench.send, url, "m") == "NonExistentQueue"


# ---- what the service documents and the emulator does not do


def test_lost_lease_is_told(strict: Bench, fake: SqsFake) -> None:
    url = strict.queue()
    [id_] = strict.send(url, "m")
    [message] = strict.take(url)
    assert fake.held("q-1") == [id_]
    fake.lose("q-1", id_)
    assert fake.held("q-1") == []
    assert refusal(strict.extend, url, message, 30) == "MessageNotInflight"
    with pytest.raises(strict.sqs.exceptions.MessageNotInflight):
        strict.extend(url, message, 30)
    strict.delete(url, message)
    assert strict.take(url) == [], "nobody else has received it: an old handle still deletes it"


def test_older_handle_seems_to_delete_what_another_consumer_holds(strict: Bench, fake: SqsFake) -> None:
    url = strict.queue()
    [id_] = strict.send(url, "m")
    [message] = strict.take(url)
    fake.lose("q-1", id_, to_another=True)
    assert fake.held("q-1") == [id_]
    assert refusal(strict.extend, url, message, 30) == "MessageNotInflight"
    strict.delete(url, message)
    fake.advance(31)
    assert strict.bodies(url) == ["m"]


def test_late_extension_may_seem_to_work(strict: Bench, fake: SqsFake) -> None:
    url = strict.queue()
    strict.send(url, "m")
    [message] = strict.take(url)
    fake.tells_lost_leases = False
    fake.lose("q-1")
    strict.extend(url, message, 30)
    assert strict.bodies(url) == ["m"]


def test_expired_handle_of_a_fifo_queue_deletes_nothing(strict: Bench, fake: SqsFake) -> None:
    url = strict.queue(fifo=True)
    strict.send(url, "m", MessageGroupId="g")
    [message] = strict.take(url)
    fake.advance(31)
    assert refusal(strict.delete, url, message) == "InvalidParameterValue"
    entry = {"Id": "0", "ReceiptHandle": message["ReceiptHandle"]}
    [failed] = strict.sqs.delete_message_batch(QueueUrl=url, Entries=[entry])["Failed"]
    assert (failed["Code"], failed["SenderFault"]) == ("ReceiptHandleIsInvalid", True)
    [again] = strict.take(url)
    strict.delete(url, again)
    strict.delete(url, again)
    assert refusal(strict.extend, url, again, 5) == "InvalidParameterValue", "it does not exist any more"


def test_lease_ends_after_twelve_hours_whatever_is_asked(strict: Bench, fake: SqsFake) -> None:
    url = strict.queue()
    strict.send(url, "m")
    [message] = strict.take(url)
    assert refusal(strict.extend, url, message, 43_201) == "InvalidParameterValue"
    strict.extend(url, message, 43_000)
    fake.advance(500)
    assert refusal(strict.extend, url, message, 43_000) == "InvalidParameterValue"
    strict.extend(url, message, 42_000)


@pytest.mark.parametrize(
    "attributes",
    [
        {f"a{n}": {"DataType": "String", "StringValue": "x"} for n in range(11)},
        {"a": {"DataType": "String", "StringValue": ""}},
        {"a": {"DataType": "Text", "StringValue": "x"}},
        {"a": {"DataType": "String", "StringValue": "\x02"}},
        {"AWS.a": {"DataType": "String", "StringValue": "x"}},
        {"a..b": {"DataType": "String", "StringValue": "x"}},
        {"a": {"DataType": "String", "StringValue": "x" * (MAX_BYTES - 7)}},
    ],
    ids=["eleven", "empty", "type", "control", "reserved", "dots", "size"],
)
def test_bad_attributes_are_refused(strict: Bench, attributes: dict[str, Any]) -> None:
    assert refusal(strict.send, strict.queue(), "m", MessageAttributes=attributes) == "InvalidParameterValue"


def test_ten_attributes_and_a_mebibyte_in_all_fit(strict: Bench) -> None:
    attributes = {f"a{n}": {"DataType": "String", "StringValue": "x"} for n in range(10)}
    strict.send(strict.queue(), "m" * (MAX_BYTES - 10 * 9), MessageAttributes=attributes)


def test_what_belongs_to_the_other_kind_of_queue_is_refused(strict: Bench) -> None:
    plain, fifo = strict.queue(), strict.queue(fifo=True)
    assert refusal(strict.send, plain, "m", MessageDeduplicationId="d") == "InvalidParameterValue"
    assert refusal(strict.send, fifo, "m", MessageGroupId="g", DelaySeconds=5) == "InvalidParameterValue"
    assert refusal(strict.send, fifo, "m") == "MissingParameter"
    loose = strict.queue(fifo=True, ContentBasedDeduplication="false")
    assert refusal(strict.send, loose, "m", MessageGroupId="g") == "InvalidParameterValue"
    policy = json.dumps({"deadLetterTargetArn": strict.arn(plain), "maxReceiveCount": 3})
    assert refusal(strict.queue, fifo=True, RedrivePolicy=policy) == "InvalidAttributeValue"
    strict.send(plain, "fair", MessageGroupId="tenant")
    assert strict.take(plain)[0]["Attributes"]["MessageGroupId"] == "tenant"


def test_too_many_held_messages_are_refused_or_in_a_fifo_queue_not_given() -> None:
    with SqsFake(in_flight_limit=2) as fake:
        strict = bench_of(fake)
        plain, fifo = strict.queue(), strict.queue(fifo=True)
        strict.send(plain, "1", "2", "3")
        strict.send(fifo, "1", "2", "3", MessageGroupId="g")
        assert len(strict.take(plain)) == len(strict.take(fifo)) == 2
        assert refusal(strict.take, plain) == "OverLimit"
        assert strict.take(fifo) == []
        strict.sqs.close()


def test_clock_is_given_and_moved() -> None:
    with SqsFake(clock=lambda: 1_000_000.0) as fake:
        strict = bench_of(fake)
        url = strict.queue(VisibilityTimeout="30", MessageRetentionPeriod="3600")
        strict.send(url, "m", DelaySeconds=5)
        assert strict.take(url) == []
        fake.advance(5)
        [message] = strict.take(url)
        assert message["Attributes"]["SentTimestamp"] == "1000000000"
        assert message["Attributes"]["ApproximateFirstReceiveTimestamp"] == "1000005000"
        fake.advance(29)
        assert strict.take(url) == []
        fake.advance(1)
        assert strict.bodies(url) == ["m"]
        fake.advance(3600)
        assert strict.take(url) == [], "nothing is kept longer than its retention"
        strict.sqs.close()


def test_long_poll_ends_empty_and_sees_leases_end(strict: Bench, fake: SqsFake) -> None:
    url = strict.queue(VisibilityTimeout="1", ReceiveMessageWaitTimeSeconds="1")
    assert strict.take(url) == []
    strict.send(url, "m")
    strict.take(url)
    assert strict.bodies(url, WaitTimeSeconds=20) == ["m"]


def test_dead_letters_of_a_fifo_queue_keep_their_group_and_free_it(strict: Bench) -> None:
    url, dead = strict.with_dead_letters(1, fifo=True, VisibilityTimeout="0")
    strict.send(url, "poison", "good", MessageGroupId="g")
    strict.take(url, 1)
    assert strict.bodies(url, 1) == ["good"]
    [message] = strict.take(dead)
    assert (message["Body"], message["Attributes"]["MessageGroupId"]) == ("poison", "g")
    assert strict.sqs.list_dead_letter_source_queues(QueueUrl=dead)["queueUrls"] == [url]


# ---- accidents on demand


def test_calls_are_refused_as_often_as_wanted(strict: Bench, fake: SqsFake) -> None:
    url = strict.queue()
    fake.fault("RequestThrottled", operation="SendMessage", times=2, spared=1)
    strict.send(url, "m")
    assert [refusal(strict.send, url, "m") for _ in range(2)] == ["RequestThrottled"] * 2
    strict.send(url, "m")
    fake.fault("AccessDenied", status=403, queue="q-1", times=None)
    assert {refusal(strict.take, url) for _ in range(5)} == {"AccessDenied"}
    other = strict.queue()
    strict.send(other, "m")
    fake.heal()
    assert strict.bodies(url) == ["m", "m"]


def test_failing_server_is_tried_again_by_the_client(fake: SqsFake) -> None:
    patient = bench_of(fake, retries={"total_max_attempts": 3, "mode": "standard"})
    url = patient.queue()
    fake.fault("InternalError", status=500, operation="SendMessage", times=2)
    patient.send(url, "m")
    assert [call.error for call in fake.wait_for_call("SendMessage", 3)] == ["InternalError", "InternalError", ""]
    patient.sqs.close()


def test_call_may_be_done_and_seem_to_fail(strict: Bench, fake: SqsFake) -> None:
    url = strict.queue()
    fake.fault("InternalError", status=503, operation="SendMessage", effect=True)
    assert refusal(strict.send, url, "m") == "InternalError"
    assert strict.bodies(url) == ["m"]


def test_answer_may_be_withheld(fake: SqsFake) -> None:
    hasty = bench_of(fake, read_timeout=0.3)
    url = hasty.queue()
    fake.fault(operation="SendMessage", withheld=True, effect=True)
    fake.fault(operation="SendMessage", withheld=True)
    for body in ("done", "not done"):
        with pytest.raises(ReadTimeoutError):
            hasty.send(url, body)
    assert hasty.bodies(url) == ["done"]
    hasty.sqs.close()


def test_call_that_gets_no_answer_is_cut_off_when_all_is_well_again(strict: Bench, fake: SqsFake) -> None:
    url = strict.queue()
    fake.fault(operation="SendMessage", withheld=True)
    failed: list[Exception] = []

    def send() -> None:
        try:
            strict.send(url, "m")
        except ConnectionClosedError as error:
            failed.append(error)

    sender = threading.Thread(target=send)
    sender.start()
    fake.wait_for_call("SendMessage")
    assert sender.is_alive()
    fake.heal()
    sender.join(10)
    assert len(failed) == 1
    strict.send(url, "m")
    assert strict.bodies(url) == ["m"]


@pytest.mark.parametrize("name", ["MessageGroupId", "MessageDeduplicationId"])
def test_groups_are_named_with_visible_characters_alone(strict: Bench, name: str) -> None:
    url = strict.queue(fifo=True)
    for bad in ("order 7", "o" * 129, "é", "a\n", "\x7f"):
        assert refusal(strict.send, url, "m", **{"MessageGroupId": "g", name: bad}) == "InvalidParameterValue"
    every = "".join(map(chr, range(33, 127)))
    for number, good in enumerate((every, "o" * 128)):
        strict.send(url, f"m{number}", **{"MessageGroupId": "g", name: good})
    assert len(strict.take(url)) == 2


def test_entries_of_the_next_batches_fail(strict: Bench, fake: SqsFake) -> None:
    url = strict.queue()
    strict.send(url, "a", "b")
    held = [{"Id": str(index), "ReceiptHandle": m["ReceiptHandle"]} for index, m in enumerate(strict.take(url))]
    fake.fault("InternalError", operation="DeleteMessageBatch", entries=(1,))
    fake.fault("InternalError", operation="DeleteMessageBatch", entries=())
    first, second, third = (strict.sqs.delete_message_batch(QueueUrl=url, Entries=held) for _ in range(3))
    assert [one["Id"] for one in first["Successful"]] == ["0"]
    assert [(one["Id"], one["Code"], one["SenderFault"]) for one in first["Failed"]] == [("1", "InternalError", False)]
    assert [one["Id"] for one in second["Failed"]] == ["0", "1"]
    assert len(third["Successful"]) == 2
    assert strict.attributes(url)["ApproximateNumberOfMessagesNotVisible"] == "0"


def test_message_may_come_twice(strict: Bench, fake: SqsFake) -> None:
    url = strict.queue()
    [id_] = strict.send(url, "m")
    [first] = strict.take(url)
    fake.duplicate("q-1", id_)
    [second] = strict.take(url)
    assert (first["MessageId"], first["Body"]) == (second["MessageId"], second["Body"])
    assert first["ReceiptHandle"] != second["ReceiptHandle"]
    assert second["Attributes"]["ApproximateReceiveCount"] == "2"
    strict.delete(url, first)
    strict.delete(url, second)
    fake.duplicate("q-1", id_)
    assert strict.bodies(url) == ["m"], "even when it was deleted"


def test_message_given_to_a_client_that_went_away_stays_held(fake: SqsFake) -> None:
    hasty = bench_of(fake, read_timeout=0.2)
    url = hasty.queue()
    with pytest.raises(ReadTimeoutError):
        hasty.take(url, WaitTimeSeconds=20)
    [id_] = hasty.send(url, "m")
    fake.wait_for_call("ReceiveMessage")
    assert fake.held("q-1") == [id_]
    hasty.sqs.close()


def test_calls_are_recorded_in_the_order_in_which_they_were_done(strict: Bench, fake: SqsFake) -> None:
    url = strict.queue()
    poll = threading.Thread(target=strict.take, args=(url,), kwargs={"WaitTimeSeconds": 20})
    poll.start()
    fake.wait_for(lambda: fake.calls[-1].operation == "ReceiveMessage")
    strict.send(url, "m")
    poll.join(10)
    assert [call.operation for call in fake.calls] == ["CreateQueue", "ReceiveMessage", "SendMessage"]
    assert fake.order("ReceiveMessage", "SendMessage") == ["SendMessage", "ReceiveMessage"]
    [received] = fake.wait_for_call("ReceiveMessage")
    assert (received.queue, received.answer["Messages"][0]["Body"]) == ("q-1", "m")
