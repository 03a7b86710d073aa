"""The channel sqs: notices go into a queue of SQS, as {"type", "id", "data"}."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from app import (
    CONVERTERS,
    REQUIRED,
    AppError,
    Channel,
    Forbidden,
    NotFound,
    QueueConfig,
    Refused,
    Setting,
    SqsConfig,
    TooLarge,
    Unavailable,
    Value,
    dump_json,
    plugin,
    settings_of,
)

# ==== 1. CHANNEL =================================================================================================
# One message for each notice. In a queue that keeps an order, those of one record are a group, and a repeat within five
# minutes is dropped by the queue, because it has the same id.
# uses: ERRORS VALUES CONFIG CONTRACTS plugin:sqs plugin:webhook
# defines: Channel:sqs QueueChannel


def _queue(raw: Any, folder: Path) -> str:
    return str(CONVERTERS["queue"](raw, folder))


class QueueChannel(Channel):
    """A queue of SQS."""

    kind = "sqs"
    addressed = False
    settings = (
        Setting("queue", "queue", REQUIRED, "URL of the queue", convert=_queue),
        Setting("region", "text", "", 'AWS region; "" = that of the URL, or the usual AWS chain'),
        Setting("endpoint", "text", "", "URL of a service that is compatible with SQS"),
    )

    def __init__(self, name: str, options: Mapping[str, Any], folder: Path) -> None:
        self.name, self._url = name, options["queue"]
        usual = {one.attribute: one.read(one.default, folder) for one in settings_of(SqsConfig)}
        queue = QueueConfig(url=self._url, allow=None, events=None)
        own = {"queues": (queue,), "region": options["region"], "endpoint": options["endpoint"]}
        self._config = SqsConfig(**usual | own)
        self._service: Any = None

    def send(self, notice: Value) -> None:
        told = plugin("webhook").payload(notice)
        body = dump_json({"type": told["type"], "id": notice["id"], "data": told["data"]})
        group = str(told["data"].get("resource") or told["type"])
        try:
            self._queue().send(body, {}, group, notice["id"])
        except (NotFound, Forbidden) as error:  # which somebody may put in order
            raise Unavailable(error.message, hint=error.hint or "see the queue and the rights to send to it") from error
        except TooLarge as error:
            raise Refused(error.message) from error
        except (Refused, Unavailable):
            raise
        except AppError as error:
            raise Unavailable(error.message, hint=error.with_hint) from error

    def check(self) -> None:
        try:
            self._queue().attributes()
        except (NotFound, Forbidden) as error:
            raise Unavailable(error.message, hint=error.hint or "see the queue and the rights to look at it") from error

    def close(self) -> None:
        service, self._service = self._service, None
        if service:
            with suppress(Exception):
                service.close()

    def _queue(self) -> Any:
        if self._service is None:
            self._service = plugin("sqs").SqsService(self._config, 1)
        return plugin("sqs").SqsQueue(self._service, self._url)
