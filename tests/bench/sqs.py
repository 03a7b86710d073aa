"""Messages a second through the queue door, beside a bare loop that receives and deletes: ./build.sh bench sqs

Both empty queues of the same service in turns, so that the service's own speed is in both. The door is the program, with
one process and with one a CPU. The backlog stays under 1,000, because the emulator slows with it.
"""

from __future__ import annotations

import json
import logging
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parents[2])]

import aws_server  # noqa: E402
import backends  # noqa: E402
from queue_site import Door, Queue, client, leave  # noqa: E402
from test_runner_sqs import Program  # noqa: E402

from app import Query  # noqa: E402

BACKLOG, UNDER_WAY, TURNS = 900, 100, 3


def fill(queue: Queue, count: int, token: str) -> None:
    """Small creates, ten at a time."""
    attributes = {"authorization": {"DataType": "String", "StringValue": token}}
    one = {"MessageBody": json.dumps(leave()), "MessageAttributes": attributes}
    for _ in range(count // 10):
        queue.client.send_message_batch(QueueUrl=queue.url, Entries=[{"Id": str(n), **one} for n in range(10)])


def bare(queue: Queue) -> float:
    """Messages a second that are received and deleted."""
    began, count = time.monotonic(), 0
    receive = {"QueueUrl": queue.url, "MaxNumberOfMessages": 10, "AttributeNames": ["All"], "MessageAttributeNames": ["All"]}
    while batch := queue.client.receive_message(**receive).get("Messages"):
        entries = [{"Id": str(n), "ReceiptHandle": one["ReceiptHandle"]} for n, one in enumerate(batch)]
        queue.client.delete_message_batch(QueueUrl=queue.url, Entries=entries)
        count += len(batch)
    return count / (time.monotonic() - began)


def through(folder: Path, endpoint: str, queue: Queue, workers: int) -> float:
    """Messages a second that the program makes records of, once it is under way."""
    door = Door(folder, endpoint, [queue], settings=f"workers = {workers}")
    fill(queue, BACKLOG, door.site.root)
    program = Program(door, "sqs")
    found, times = [0], [time.monotonic()]
    try:
        while found[-1] < BACKLOG:
            time.sleep(0.02)
            found.append(door.site.app.state.count(Query("leave")))
            times.append(time.monotonic())
    finally:
        program.stop()
    begun = next(i for i, count in enumerate(found) if count >= UNDER_WAY)
    return (found[-1] - found[begun]) / (times[-1] - times[begun])


def main() -> None:
    logging.getLogger("satchel").setLevel(logging.ERROR)
    endpoint = aws_server.endpoint()
    queue = Queue(client(endpoint), "bench")
    rates: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as place:
        for turn in range(TURNS):
            for workers in dict.fromkeys((1, os.cpu_count() or 1)):
                fill(queue, BACKLOG, "nobody")
                rates.setdefault("bare", []).append(bare(queue))
                name = f"door, {workers} process{'es' * (workers > 1)}"
                folder = Path(place, f"{turn}-{workers}")
                folder.mkdir()
                rates.setdefault(name, []).append(through(folder, endpoint, queue, workers))
    backends.stop_all()
    most = statistics.median(rates["bare"])
    for name, found in rates.items():
        print(f"{name:20} {statistics.median(found):8.0f} messages/s {statistics.median(found) / most:8.0%}")


if __name__ == "__main__":
    main()
