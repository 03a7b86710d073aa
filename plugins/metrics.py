"""What is counted and measured: in memory that all processes of a server share, at /metrics for Prometheus, and at
admin/metrics for people and programs."""

from __future__ import annotations

import bisect
import fcntl
import itertools
import logging
import mmap
import operator
import os
import struct
import tempfile
import threading
import weakref
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, ClassVar, NamedTuple, TypeAlias

import app
from app import Action, Answer, AppError, Asked, Host, Request, Value, dump_json, load_json

# ==== 1. METRICS =================================================================================================
# The meters, the shared memory that they count in, and the answers that show them.
# uses: ERRORS VALUES CONTRACTS
# defines: Route:metrics SCRAPE_PING_S Meter METERS Meters samples exposition Metrics

SCRAPE_PING_S = 1.5  # for a provider to answer: who asks for metrics asks every few seconds


class Meter(NamedTuple):
    """Something counted or measured: its name says the unit, its type is one of Prometheus."""

    name: str
    type: str
    help: str
    labels: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()  # of a histogram: the upper ends of its buckets, ascending; one without end follows

    @property
    def width(self) -> int:
        """How many numbers a series is kept in: of a histogram one a bucket, and the sum."""
        return len(self.bounds) + 2 if self.bounds else 1


_BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
METERS: Mapping[str, Meter] = {
    one.name: one
    for one in (
        Meter(
            "satchel_requests_total", "counter",
            'Requests by resource and action; code is "ok" or that of the error, resource "other" for what is not declared',
            ("door", "resource", "action", "code"),
        ),
        Meter("satchel_http_responses_total", "counter", "Answers of the HTTP door", ("method", "status")),
        Meter(
            "satchel_http_request_seconds", "histogram", "Time from the head of a request to the first byte of its answer",
            ("method",), _BOUNDS_S,
        ),
        Meter("satchel_queue_messages_total", "counter", "What became of the messages of a queue", ("queue", "outcome")),
        Meter("satchel_queue_message_seconds", "histogram", "Time worked on a message", ("queue",), _BOUNDS_S),
        Meter("satchel_queue_up", "gauge", "1 while the queue is worked on, 0 while it is at rest", ("queue",)),
        Meter("satchel_provider_up", "gauge", "1 for a provider that answers, 0 for one that is away", ("provider",)),
        Meter("satchel_provider_ping_seconds", "gauge", "Round trip to a provider that answers", ("provider",)),
        Meter("satchel_build_info", "gauge", "1; the label is what counts", ("version",)),
        Meter("satchel_start_time_seconds", "gauge", "When the server began, in Unix seconds"),
    )
}  # fmt: skip
_METER_BYTES = 1 << 20  # of each process; some ten thousand series
_SERIES_HEAD = struct.Struct("=II")  # length and CRC-32 of the key that follows
_SeriesKey: TypeAlias = tuple[str, ...]  # the meter's name and the values of its labels


class Meters:
    """The counters and histograms of METERS, added up over this process and all that are forked after this was made.

    Each process adds in a part of shared memory of its own, so that adding is no system call. A part is held by a lock,
    which ends with its process, however that ends; the next process takes the part and goes on from the counts in it.
    The memory is no file, so no full disk can end a process, and what is not used of it costs nothing. A part is a list of
    series: head, key as JSON, and doubles, all on boundaries of 8 bytes, which are written and read at once.
    """

    def __init__(self, processes: int, part_bytes: int = _METER_BYTES) -> None:
        """`processes` is the most that may count at the same time."""
        self._parts, self._part_bytes = processes, part_bytes
        self._memory = mmap.mmap(-1, processes * part_bytes)
        self._numbers = memoryview(self._memory).cast("d")
        self._begin()
        self._locks = _nameless_file()
        weakref.finalize(self, os.close, self._locks).atexit = False  # the locks are to last as long as the process
        os.register_at_fork(after_in_child=partial(_begin_again, weakref.ref(self)))

    def _begin(self) -> None:
        """Have no part, as a process that has just begun."""
        self._lock = threading.Lock()
        self._places: dict[_SeriesKey, int] = {}  # of the first number of each series; 0: there is no room for it
        self._free = self._end = 0  # of this process's part, in bytes
        self._has_claimed = self._is_full = False

    def count(self, name: str, *labels: str, by: float = 1) -> None:
        """Add to a counter. Never raises for want of room: a series more than fits is not counted."""
        key = (name, *labels)
        with self._lock:
            if place := self._places.get(key) or self._place(key):
                self._numbers[place] += by

    def observe(self, name: str, *labels: str, value: float) -> None:
        """Put a value into a histogram."""
        key, bounds = (name, *labels), METERS[name].bounds
        with self._lock:
            if place := self._places.get(key) or self._place(key):
                self._numbers[place + bisect.bisect_left(bounds, value)] += 1
                self._numbers[place + len(bounds) + 1] += value

    def read(self) -> dict[_SeriesKey, list[float]]:
        """The numbers of every series (see Meter.width), those of processes that have ended too. None ever decreases."""
        found: dict[_SeriesKey, list[float]] = {}
        for part in range(self._parts):
            for key, place in self._series(part)[0].items():
                numbers = self._numbers[place : place + METERS[key[0]].width].tolist()
                found[key] = list(map(operator.add, found.get(key, [0.0] * len(numbers)), numbers))
        return found

    def _place(self, key: _SeriesKey) -> int:
        """Where the numbers of a series are that this process has not counted yet."""
        if not self._has_claimed:
            self._claim()
        if key not in self._places:
            self._places[key] = self._append(key)
        return self._places[key]

    def _claim(self) -> None:
        """Take the first part that no living process has."""
        self._has_claimed = True
        for part in range(self._parts):
            with suppress(OSError):  # another one has it
                fcntl.lockf(self._locks, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, part)
                self._places, self._free = self._series(part)
                self._end = (part + 1) * self._part_bytes
                return

    def _series(self, part: int) -> tuple[dict[_SeriesKey, int], int]:
        """The places of the series in a part, and where the next one may begin."""
        found: dict[_SeriesKey, int] = {}
        at, end = part * self._part_bytes, (part + 1) * self._part_bytes
        while at < end:
            length, checksum = _SERIES_HEAD.unpack_from(self._memory, at)
            text = self._memory[at + 8 : at + 8 + length]
            if not length or zlib.crc32(text) != checksum:  # another processor may see a head before its key
                break
            key = tuple(load_json(text))
            at += 8 + _eights(length)
            found[key] = at // 8
            at += 8 * METERS[key[0]].width
        return found, at

    def _append(self, key: _SeriesKey) -> int:
        """Where the numbers of a new series are; its head is written last, so that nobody sees half of it."""
        text = dump_json(list(key)).encode()
        at, first = self._free, self._free + 8 + _eights(len(text))
        following = first + 8 * METERS[key[0]].width
        if following + 8 > self._end:
            if not self._is_full:
                logging.getLogger("satchel").error("no room for more metrics: %s is not counted, nor are others", key)
            self._is_full = True
            return 0
        self._memory[first : following + 8] = bytes(following + 8 - first)
        self._memory[at + 8 : at + 8 + len(text)] = text
        self._memory[at : at + 8] = _SERIES_HEAD.pack(len(text), zlib.crc32(text))
        self._free = following
        return first // 8


def _eights(length: int) -> int:
    """The next multiple of 8."""
    return -(-length // 8) * 8


def _nameless_file() -> int:
    """A descriptor that locks can be put on; nothing is ever written to it."""
    with suppress(AttributeError, OSError):  # where there is no memory file, an unlinked one does
        return os.memfd_create("satchel-meters")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _begin_again(found: weakref.ref[Meters]) -> None:
    if (meters := found()) is not None:
        meters._begin()


def _sample(meter: Meter, key: _SeriesKey, numbers: Sequence[float]) -> Value:
    """A series for admin/metrics; buckets are cumulative, by the text of their upper end."""
    labels = dict(zip(meter.labels, key[1:], strict=True))
    if not meter.bounds:
        return {"labels": labels, "value": _plain(numbers[0])}
    counts = list(map(int, itertools.accumulate(numbers[:-1])))
    ends = [*map(str, meter.bounds), "+Inf"]
    return {"labels": labels, "buckets": dict(zip(ends, counts, strict=True)), "sum": numbers[-1], "count": counts[-1]}


def _plain(number: float) -> float:
    return int(number) if number.is_integer() else number


def samples(site: Any) -> list[Value]:
    """Every meter with its samples: what was counted by all processes of the App's server, and how things are."""
    found = site.meters.read() | {key: [float(value)] for key, value in _gauges(site)}
    series = {name: sorted(key for key in found if key[0] == name) for name in METERS}
    return [
        {
            "name": name, "type": one.type, "help": one.help,
            "samples": [_sample(one, key, found[key]) for key in series[name]],
        }
        for name, one in METERS.items()
    ]  # fmt: skip


def _gauges(site: Any) -> Iterator[tuple[_SeriesKey, float]]:
    yield ("satchel_build_info", app.__version__), 1
    yield ("satchel_start_time_seconds",), site.began_at
    states = site.queues()
    for queue in site.config.sqs.queues if states else ():  # "all" tells of a runner that is not there
        yield ("satchel_queue_up", queue.name), "all" not in states and states.get(queue.name) == "ok"
    for name, ping in site.pings(SCRAPE_PING_S).items():
        yield ("satchel_provider_up", name), not isinstance(ping, AppError)
        if not isinstance(ping, AppError):
            yield ("satchel_provider_ping_seconds", name), ping


# ---- the text format of Prometheus


_METRICS_MEDIA = "text/plain; version=0.0.4; charset=utf-8"


def exposition(meters: Iterable[Value]) -> str:
    """What admin/metrics answers, in the text format of Prometheus, version 0.0.4."""
    lines = []
    for one in meters:
        help_ = str(one["help"]).replace("\\", r"\\").replace("\n", r"\n")
        lines += [f"# HELP {one['name']} {help_}", f"# TYPE {one['name']} {one['type']}"]
        for sample in one["samples"]:
            lines += _sample_lines(one["name"], sample)
    return "".join(line + "\n" for line in lines)


def _sample_lines(name: str, sample: Value) -> list[str]:
    labels = sample["labels"]
    if "value" in sample:
        return [f"{name}{_label_set(labels)} {sample['value']}"]
    buckets = [f"{name}_bucket{_label_set(labels | {'le': le})} {count}" for le, count in sample["buckets"].items()]
    own = _label_set(labels)
    return [*buckets, f"{name}_sum{own} {sample['sum']}", f"{name}_count{own} {sample['count']}"]


def _label_set(labels: Mapping[str, str]) -> str:
    escapes = {"\\": r"\\", '"': r"\"", "\n": r"\n"}
    pairs = [f'{name}="{"".join(escapes.get(mark, mark) for mark in text)}"' for name, text in labels.items()]
    return "{" + ",".join(pairs) + "}" if pairs else ""


class Metrics(app.Route):
    """The metrics for Prometheus, to whoever may read admin/metrics."""

    kind = "metrics"
    paths: ClassVar[Mapping[str, str]] = {"/metrics": "GET"}

    def answer(self, asked: Asked, host: Host) -> Answer:
        response = host.handle(
            Request(
                id=asked.id,
                action=Action.READ,
                resource="admin/metrics",
                params=asked.query,
                door="http",
                credential=asked.credential,
            )
        )
        asked.subject = response.caller.subject
        return Answer(200, [("Content-Type", _METRICS_MEDIA)], exposition(response.data["metrics"]).encode())
