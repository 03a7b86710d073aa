"""Messages a second through the queue door, beside a bare loop that receives and deletes: ./build.sh bench sqs

Both empty queues of the same service in turns, so that the service's own speed is in both. The backlog stays under
1,000, because the emulator slows with it.
"""

from __future__ import annotations

import json
import logging
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parents[2])]

import aws_server  # noqa: E402
import backends  # noqa: E402
from queue_site import Door, Queue, client, leave  # noqa: E402

MESSAGES, BACKLOG = 2000, 500


def fill(queue: Queue, count: int, token: str) -> None:
    """Small creates, ten at a time."""
    attributes = {"authorization": {"DataType": "String", "StringValue": token}}
    one = {"MessageBody": json.dumps(leave()), "MessageAttributes": attributes}
    for _ in range(count // 10):
        queue.client.send_message_batch(QueueUrl=queue.url, Entries=[{"Id": str(n), **one} for n in range(10)])


def bare(queue: Queue) -> float:
    """Seconds to receive and delete what is there."""
    began = time.monotonic()
    receive = {"QueueUrl": queue.url, "MaxNumberOfMessages": 10, "AttributeNames": ["All"], "MessageAttributeNames": ["All"]}
    while batch := queue.client.receive_message(**receive).get("Messages"):
        entries = [{"Id": str(n), "ReceiptHandle": one["ReceiptHandle"]} for n, one in enumerate(batch)]
        queue.client.delete_message_batch(QueueUrl=queue.url, Entries=entries)
    return time.monotonic() - began


def through(door: Door, count: int) -> float:
    """Seconds from the runner's first poll until it has done and deleted as many."""
    runner, polls = door.make(), threading.Event()
    runner.on_ready = lambda said: polls.set()
    thread = threading.Thread(target=runner.run)
    thread.start()
    polls.wait()
    began = time.monotonic()
    while runner.tally.counts.get("deleted", 0) < count:
        time.sleep(0.002)
    took_s = time.monotonic() - began
    runner.stop()
    thread.join()
    return took_s


def main() -> None:
    logging.getLogger("satchel").setLevel(logging.ERROR)
    endpoint = aws_server.endpoint()
    queue = Queue(client(endpoint), "bench")
    with tempfile.TemporaryDirectory() as folder:
        door = Door(Path(folder), endpoint, [queue])
        bare_s = door_s = 0.0
        for _ in range(MESSAGES // BACKLOG):
            fill(queue, BACKLOG, door.site.root)
            bare_s += bare(queue)
            fill(queue, BACKLOG, door.site.root)
            door_s += through(door, BACKLOG)
    backends.stop_all()
    print(f"receive and delete, bare  {MESSAGES / bare_s:8.0f} messages/s")
    print(f"create through the door   {MESSAGES / door_s:8.0f} messages/s")
    print(f"of the bare loop          {bare_s / door_s:8.0%}")


if __name__ == "__main__":
    main()
