"""A site whose queue door is open: an App, an SqsRunner in a thread, and queues at a service to send to."""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aws_server
import sites
from sqs_fake import SqsFake

import app

RESOURCES = """
[forms.leave]
[forms.leave.fields]
day = { type = "string", format = "date", required = true }
days = { type = "number", minimum = 0.5, maximum = 60 }
[forms.other]
[forms.other.fields]
text = { type = "string", required = true }
[forms.arrivals]
[forms.arrivals.fields]
bucket = { type = "string" }
key = { type = "string" }
size_bytes = { type = "integer" }
etag = { type = "string" }
event = { type = "string" }
at = { type = "string" }
[views.leave]
from = "forms/leave"
columns = { day = {}, days = {} }
[providers.disk]
kind = "file"
root = "shared"
[files.docs]
provider = "disk"
max_file = "1KB"
[roles.intake]
grants = ["forms/arrivals:create"]
"""
QUICK = app.RetryPolicy(backoff_s=0.001, most_backoff_s=0.001, probe_s=0.05, retry_s=0.1, chance=lambda: 0.0)


def runner(
    config: app.SqsConfig, host: Any, states: Path, policy: app.RetryPolicy = QUICK, connect: Any = None
) -> app.SqsRunner:
    return app.SqsRunner(config, host, connect or app.plugin("sqs").connect, states, lambda said: None, policy=policy)


class Queue:
    """A queue with its dead-letter queue, at the service behind `client`."""

    def __init__(self, client: Any, name: str, *, fifo: bool = False, visibility_s: int = 30, receives: int = 100) -> None:
        self.client, self.fifo, ending = client, fifo, ".fifo" if fifo else ""
        kind = {"FifoQueue": "true"} if fifo else {}
        self.dead_url = client.create_queue(QueueName=f"{name}-dead{ending}", Attributes=kind)["QueueUrl"]
        arn = self.facts(self.dead_url)["QueueArn"]
        policy = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": str(receives)})
        attributes = kind | {"RedrivePolicy": policy, "VisibilityTimeout": str(visibility_s)}
        self.url = client.create_queue(QueueName=name + ending, Attributes=attributes)["QueueUrl"]

    def facts(self, url: str) -> dict[str, str]:
        return dict(self.client.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"])

    def send(self, body: Any, *, token: str = "", group: str = "", **attributes: str) -> str:
        """The id of a message with this body (an envelope, or text as it is) and these attributes."""
        given = {**({"authorization": token} if token else {}), **attributes}
        order: dict[str, Any] = {}
        if self.fifo:
            order = {"MessageGroupId": group, "MessageDeduplicationId": str(time.monotonic_ns())}
        sent = self.client.send_message(
            QueueUrl=self.url, MessageBody=body if isinstance(body, str) else json.dumps(body),
            MessageAttributes={n: {"DataType": "String", "StringValue": text} for n, text in given.items()}, **order,
        )  # fmt: skip
        return str(sent["MessageId"])

    def counts(self) -> tuple[int, int]:
        """Messages that are visible, and that are held."""
        facts = self.facts(self.url)
        return int(facts["ApproximateNumberOfMessages"]), int(facts["ApproximateNumberOfMessagesNotVisible"])

    def empty(self) -> bool:
        return self.counts() == (0, 0)

    def take(self, url: str = "", wait_s: int = 0) -> list[dict[str, Any]]:
        """What can be received from the queue or another, and is deleted there."""
        url, found = url or self.url, []
        while batch := self.client.receive_message(
            QueueUrl=url,
            MaxNumberOfMessages=10,
            WaitTimeSeconds=wait_s,
            AttributeNames=["All"],
            MessageAttributeNames=["All"],
        ).get("Messages", []):
            for one in batch:
                self.client.delete_message(QueueUrl=url, ReceiptHandle=one["ReceiptHandle"])
            found += batch
        return found

    def dead(self) -> list[dict[str, Any]]:
        return self.take(self.dead_url)


def texts(message: dict[str, Any]) -> dict[str, str]:
    """The text attributes of a received message."""
    return {name: one["StringValue"] for name, one in message.get("MessageAttributes", {}).items()}


def envelope(resource: str, action: str, data: Any = None, **more: Any) -> dict[str, Any]:
    return {"v": 1, "resource": resource, "action": action, **({} if data is None else {"data": data}), **more}


def leave(day: str = "2027-01-31", **more: Any) -> dict[str, Any]:
    return envelope("forms/leave", "create", {"day": day}, **more)


class Host:
    """The application as a runner's host, open for as long as the test is; subclasses put accidents in its way."""

    def __init__(self, inner: app.App) -> None:
        self.inner, self.title, self.office = inner, inner.title, inner.office

    def open(self) -> None:
        """It is open already."""

    def close(self) -> None:
        """It stays open, to be looked at."""

    def ready(self) -> dict[str, str]:
        return self.inner.ready()

    def handle(self, request: app.Request, guard: Callable[[], None]) -> app.Response:
        return self.inner.handle(request, guard)

    def count(self, name: str, *labels: str, by: float = 1) -> None:
        self.inner.count(name, *labels, by=by)

    def observe(self, name: str, *labels: str, value: float) -> None:
        self.inner.observe(name, *labels, value=value)


class Door:
    """A site, its queues, and the runner that works on them once opened."""

    def __init__(
        self,
        folder: Path,
        endpoint: str,
        queues: Sequence[Queue],
        *,
        settings: str = "",
        each: str = "",
        provider: str = "sql",
        more: str = "",
        policy: app.RetryPolicy = QUICK,
        **site: Any,
    ) -> None:
        """`settings` are lines of [sqs], `each` what every queue has beside its url, `more` other tables; `provider` is one
        of sites.PROVIDERS or a table of its own."""
        rest = each and ", " + each
        urls = ", ".join("{ url = " + json.dumps(queue.url) + rest + " }" for queue in queues)
        timing = "" if "wait =" in settings else "wait = 1\n"
        sqs = f'[sqs]\nendpoint = "{endpoint}"\nregion = "us-east-1"\nqueues = [{urls}]\n{timing}{settings}\n'
        self.toml = sites.PROVIDERS.get(provider, provider) + RESOURCES + sqs + more
        self.site = sites.Site(folder, self.toml, **site)
        self.queues, self.policy, self.states, self.folder = list(queues), policy, folder / "queues.json", folder
        self.endpoint = endpoint

    def make(self, host: Any = None) -> app.SqsRunner:
        host = host or Host(self.site.app)
        return runner(self.site.app.config.sqs, host, self.states, self.policy)

    @contextmanager
    def opened(self, host: Any = None) -> Iterator[app.SqsRunner]:
        """A runner at work, which is drained at the end."""
        runner = self.make(host)
        thread = threading.Thread(target=runner.run)
        thread.start()
        try:
            yield runner
        finally:
            runner.stop()
            see_end(self.endpoint, lambda: not thread.is_alive())

    def counted(self, outcome: str, queue: int = 0) -> float:
        """How many messages of a queue came to that, over all runners of the site."""
        name = self.queues[queue].url.rpartition("/")[2]
        return float(self.site.app.meters.read().get(("satchel_queue_messages_total", name, outcome), [0.0])[0])

    def rows(self, form: str = "leave") -> list[dict[str, Any]]:
        return self.site.items(f"forms/{form}/records?_size=1000")


def see_end(endpoint: str, ended: Callable[[], bool], patience_s: float = 40) -> None:
    """Wait for the end of a runner that was told to stop, and so for that of its last polls. The stand-in for SQS answers
    them once what was given back may have come in them."""
    fake, began = SqsFake.serving.get(endpoint), time.monotonic()
    while not ended():
        assert time.monotonic() < began + patience_s, "the runner did not end"
        if fake and time.monotonic() > began + 0.15:
            fake.end_polls()
        time.sleep(0.02)


def until(probe: Callable[[], Any], what: str, patience_s: float = 20.0) -> Any:
    """The first true answer of `probe`."""
    end = time.monotonic() + patience_s
    while not (answer := probe()):
        assert time.monotonic() < end, f"waited {patience_s:g} s in vain for {what}"
        time.sleep(0.02)
    return answer


clients: list[Any] = []
names = (f"q{number}" for number in itertools.count())  # of queues, each once


def client(endpoint: str, service: str = "sqs") -> Any:
    """A client that is closed after the test."""
    clients.append(aws_server.client(service, endpoint))
    return clients[-1]
