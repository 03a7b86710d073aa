"""What every Queue does: that of SQS, and a small one of this process, on which the queue runner works as well."""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import queue_site
from queue_site import Host, client, envelope, leave, runner, until
from sites import PROVIDERS, REGISTRY, Site
from sqs_fake import SqsFake

import app
from app import Attribute

sqs = app.plugin("sqs")
_numbers = itertools.count()


class MemoryQueue(app.Queue):
    """A queue of this process: messages by id, with the time from which each is seen."""

    most_held_s, fifo = 3600, False

    def __init__(self, name: str, dead_letters: MemoryQueue | None = None) -> None:
        self.name, self._dead_letters = name, dead_letters
        self.messages: dict[str, app.Message] = {}
        self._seen_from: dict[str, float] = {}
        self._changed = threading.Condition()

    def check(self) -> None:
        if self._dead_letters is None:
            raise app.ConfigError("it has no dead-letter queue")
        self.dead_letters = self._dead_letters

    def receive(self, limit: int, wait_s: int, visibility_s: int) -> list[app.Message]:
        with self._changed:
            self._changed.wait_for(self._visible, wait_s)
            for id_ in (ids := self._visible()[: min(10, limit)]):
                one = self.messages[id_]
                self.messages[id_] = one._replace(handle=f"{id_} {one.receives + 1}", receives=one.receives + 1)
                self._seen_from[id_] = time.monotonic() + visibility_s
            return [self.messages[id_] for id_ in ids]

    def _visible(self) -> list[str]:
        return [id_ for id_ in self.messages if self._seen_from[id_] <= time.monotonic()]

    def extend(self, times: Sequence[tuple[str, int]]) -> list[str]:
        with self._changed:
            self._seen_from |= {self._held(h): time.monotonic() + s for h, s in times if self._held(h)}
            self._changed.notify_all()
            return ["" if self._held(handle) else "lost" for handle, _ in times]

    def delete(self, handles: Sequence[str]) -> list[str]:
        with self._changed:
            found = [self._held(handle) for handle in handles]
            for id_ in filter(None, found):
                del self.messages[id_]
            return ["" if id_ else "lost" for id_ in found]

    def _held(self, handle: str) -> str:
        """The id of the message that is held by a handle; "" if there is none."""
        id_ = handle.partition(" ")[0]
        return id_ if id_ in self.messages and self.messages[id_].handle == handle else ""

    def send(self, body: str, attributes: Mapping[str, Attribute], group: str, key: str, large_key: str = "") -> str:
        id_ = f"m{next(_numbers)}"
        with self._changed:
            self.messages[id_] = app.Message(id_, body, dict(attributes), sent_at=time.time(), receives=0)
            self._seen_from[id_] = 0.0
            self._changed.notify_all()
        return id_

    def send_to_dlq(self, message: app.Message, error: app.AppError, attempts: int) -> None:
        own = {name: one for name, one in message.attributes.items() if not app.is_credential(name)}
        reasons = {"x_error": Attribute(error.code), "x_attempts": Attribute(str(attempts))}
        self.dead_letters.send(message.body, own | reasons, message.group, message.id)


@pytest.fixture(params=["memory", "sqs"])
def queue(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[app.Queue]:
    if request.param == "memory":
        yield MemoryQueue("intake", MemoryQueue("dead"))
        return
    with SqsFake() as fake:
        made = queue_site.Queue(client(fake.url), "intake")
        raw = {"sqs": {"queues": [{"url": made.url}], "region": "us-east-1", "endpoint": fake.url}}
        config = app.read_config(raw, tmp_path, "", REGISTRY.provider_settings)
        with sqs.connect(config.sqs, 2) as queue_at:
            yield queue_at(made.url)


@pytest.fixture(autouse=True)
def _keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")


def test_what_is_sent_is_received_whole_and_is_gone_once_it_is_deleted(queue: app.Queue) -> None:
    given = {"a": Attribute("text"), "n": Attribute("7", "Number"), "b": Attribute(b"\0\xff", "Binary")}
    id_ = queue.send("héllo", given, "", "k")
    [message] = queue.receive(10, 1, 30)
    assert (message.id, message.body, message.attributes) == (id_, "héllo", given)
    assert (message.group, message.receives, message.moved_from) == ("", 1, "")
    assert abs(message.sent_at - time.time()) < 60
    assert (message.text("a"), message.text("b"), message.text("c")) == ("text", "", "")
    assert queue.delete([message.handle]) == [""]
    assert queue.receive(10, 0, 30) == []


def test_what_is_held_is_not_given_out_until_it_is_given_back(queue: app.Queue) -> None:
    for number in range(12):
        queue.send(str(number), {}, "", f"k{number}")
    first = queue.receive(20, 1, 30)
    assert len(first) <= 10
    found = list(first)
    while more := queue.receive(20, 0, 30):
        found += more
    assert sorted(int(message.body) for message in found) == list(range(12))
    assert queue.extend([(found[0].handle, 0), (found[1].handle, 20)]) == ["", ""]
    [again] = queue.receive(10, 1, 30)
    assert (again.id, again.receives) == (found[0].id, 2)


def test_a_handle_of_no_message_is_lost(queue: app.Queue) -> None:
    assert queue.delete(["none"]) == ["lost"]
    assert queue.extend([("none", 5)]) == ["lost"]


def test_a_message_that_failed_is_in_the_dead_letter_queue_without_its_token(queue: Any) -> None:
    queue.check()
    given = {"Authorization": Attribute("Bearer a.b.c"), "colour": Attribute("blue")}
    queue.send_to_dlq(app.Message("m", "{}", given), app.BadEnvelope("no"), 3)
    [message] = queue.dead_letters.receive(1, 1, 30)
    assert (message.body, message.text("colour"), message.text("x_attempts")) == ("{}", "blue", "3")
    assert message.text("x_error") == "bad_envelope"
    assert "Authorization" not in message.attributes


def test_a_body_that_is_here_is_loaded_as_it_is(queue: app.Queue) -> None:
    message = app.Message("m", json.dumps(leave()))
    assert queue.unwrap(message) == message
    assert queue.load(message) == (message, "")
    assert queue.events(leave()) is None


def test_the_runner_works_on_any_queue(tmp_path: Path) -> None:
    """A message that is done and answered, one that is refused, and one that comes again."""
    intake, answers = MemoryQueue("intake", MemoryQueue("dead")), MemoryQueue("answers")
    urls = '[sqs]\nwait = 1\nqueues = [{ url = "http://q/1/intake" }]\nreplies = { results = "http://q/1/answers" }\n'
    toml = PROVIDERS["sql"] + queue_site.RESOURCES + urls
    site = Site(tmp_path, toml)
    failures = iter([True])

    class Failing(Host):
        def handle(self, request: app.Request, *given: Any) -> app.Response:
            if request.idempotency_key == "again" and next(failures, False):
                raise app.QueryTimeout("it takes too long for the time being")
            return super().handle(request, *given)

    @contextmanager
    def connect(config: app.SqsConfig, connections: int) -> Iterator[Any]:
        yield {"http://q/1/intake": intake, "http://q/1/answers": answers}.__getitem__

    token = {"authorization": Attribute(site.root)}
    intake.send(json.dumps(leave("2027-01-01")), token | {"reply_to": Attribute("results")}, "", "a")
    intake.send(json.dumps(envelope("forms/leave", "create", {"day": "soon"})), token, "", "b")
    intake.send(json.dumps(leave("2027-01-02", id="again")), token, "", "c")
    one = runner(site.app.config.sqs, Failing(site.app), tmp_path / "states.json", connect=connect)
    thread = threading.Thread(target=one.run)
    thread.start()
    try:
        until(lambda: not intake.messages, "an empty queue")
    finally:
        one.stop()
        thread.join(40)
    assert sorted(row["day"] for row in site.items("forms/leave/records")) == ["2027-01-01", "2027-01-02"]
    [answer], [dead] = answers.messages.values(), intake.dead_letters.messages.values()
    assert (answer.text("status"), json.loads(answer.body)["day"]) == ("201", "2027-01-01")
    assert (dead.text("x_error"), dead.text("x_attempts")) == ("validation_failed", "1")
    assert "authorization" not in dead.attributes
    site.close()
