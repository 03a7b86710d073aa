"""Messages a second through the queue door, beside a bare loop that receives and deletes.

Both empty queues of the same service in turns, so that the service's own speed is in both. The door is the program, with
one process and with one a CPU. The backlog stays under 1,000, because the emulator slows with it.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from harness import PATIENCE_S, Bench, Line, Missing

if TYPE_CHECKING:
    from queue_site import Queue

BACKLOG, UNDER_WAY = 900, 100


def fill(queue: Queue, count: int, token: str) -> None:
    """Small creates, ten at a time."""
    from queue_site import leave

    attributes = {"authorization": {"DataType": "String", "StringValue": token}}
    one = {"MessageBody": json.dumps(leave()), "MessageAttributes": attributes}
    for _ in range(count // 10):
        queue.client.send_message_batch(QueueUrl=queue.url, Entries=[{"Id": str(n), **one} for n in range(10)])


def bare(queue: Queue, backlog: int) -> float:
    """Messages a second that are received and deleted."""
    fill(queue, backlog, "nobody")
    began, count = time.monotonic(), 0
    receive = {"QueueUrl": queue.url, "MaxNumberOfMessages": 10, "AttributeNames": ["All"], "MessageAttributeNames": ["All"]}
    while batch := queue.client.receive_message(**receive).get("Messages"):
        entries = [{"Id": str(n), "ReceiptHandle": one["ReceiptHandle"]} for n, one in enumerate(batch)]
        queue.client.delete_message_batch(QueueUrl=queue.url, Entries=entries)
        count += len(batch)
    return count / (time.monotonic() - began)


def through(bench: Bench, endpoint: str, queue: Queue, workers: int, backlog: int) -> float:
    """Messages a second that the program makes records of, once it is under way."""
    from queue_site import Door
    from test_runner_sqs import Program

    from app import Query

    door = Door(bench.place(), endpoint, [queue], settings=f"workers = {workers}")
    fill(queue, backlog, door.site.root)
    program = Program(door, "sqs")
    found, times = [0], [time.monotonic()]
    try:
        while found[-1] < backlog:
            if time.monotonic() - times[0] > PATIENCE_S:
                raise RuntimeError(f"after {PATIENCE_S:g} s, {found[-1]} of {backlog} messages are done")
            time.sleep(0.02)
            found.append(door.site.app.state.count(Query("leave")))
            times.append(time.monotonic())
    finally:
        program.stop()
    begun = next(i for i, count in enumerate(found) if count >= min(UNDER_WAY, backlog // 9))
    return (found[-1] - found[begun]) / max(times[-1] - times[begun], 0.02)


def sqs(bench: Bench) -> list[Line]:
    """The queue door."""
    import pytest

    try:
        import aws_server
        from queue_site import Queue, client

        endpoint = aws_server.endpoint()
    except pytest.skip.Exception as error:
        raise Missing("an emulator of SQS") from error
    logging.getLogger("satchel").setLevel(logging.ERROR)
    queue, backlog = Queue(client(endpoint), "bench"), bench.size(BACKLOG, 40)
    contestants: dict[str, Callable[[], float]] = {"bare": partial(bare, queue, backlog)}
    for workers in dict.fromkeys((1, os.cpu_count() or 1)):
        name = "queue door, 1 process" if workers == 1 else f"queue door, {workers} processes"
        contestants[name] = partial(through, bench, endpoint, queue, workers, backlog)
    found = bench.measure(contestants)
    loop = found.pop("bare")
    return [Line(name, "bare loop that receives and deletes", one, loop, "messages/s") for name, one in found.items()]
