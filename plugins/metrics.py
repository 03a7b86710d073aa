"""What is counted and measured: in memory that all processes of a server share, at /metrics for Prometheus, and at
admin/metrics for people and programs."""

from __future__ import annotations

import bisect
import fcntl
import itertools
import mmap
import os
import tempfile
import threading
import weakref
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache, partial
from http import HTTPStatus
from typing import Any, ClassVar, NamedTuple, TypeAlias

import app
from app import Action, Answer, AppError, Asked, Host, Request, Value, plugin

# ==== 1. METRICS =================================================================================================
# The meters, the shared memory that they count in, and the answers that show them.
# uses: ERRORS VALUES RUNNERS plugin:backup_job plugin:outbox plugin:reserve plugin:working
# defines: Route:metrics SCRAPE_PING_S OTHER Meter METERS label_values Meters nameless_file samples
#          exposition Metrics

SCRAPE_PING_S = 1.5  # for a provider to answer: who asks for metrics asks every few seconds
OTHER = "other"  # the value of a label in place of one that is not known beforehand: strangers make no series


class Meter(NamedTuple):
    """Something counted or measured: its name says the unit, its type is one of Prometheus."""

    name: str
    type: str
    help: str
    labels: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()  # of a histogram: the upper ends of its buckets, ascending; one without end follows
    from_zero: bool = False  # its series are there before anything was counted, so that increase() sees the first count

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
        Meter("satchel_http_abandoned_total", "counter", "Requests whose client went away before it had the whole answer"),
        Meter(
            "satchel_http_request_seconds", "histogram", "Time from the head of a request to the first byte of its answer",
            ("method",), _BOUNDS_S,
        ),
        Meter(
            "satchel_queue_messages_total", "counter", "What became of the messages of a queue", ("queue", "outcome"),
            from_zero=True,
        ),
        Meter("satchel_queue_message_seconds", "histogram", "Time worked on a message", ("queue",), _BOUNDS_S),
        Meter("satchel_queue_up", "gauge", "1 while the queue is worked on, 0 while it is at rest", ("queue",)),
        Meter("satchel_provider_up", "gauge", "1 for a provider that answers, 0 for one that is away", ("provider",)),
        Meter("satchel_provider_ping_seconds", "gauge", "Round trip to a provider that answers", ("provider",)),
        Meter(
            "satchel_notices_total", "counter", "Notices that were sent, and that were given up as dead",
            ("channel", "result"), from_zero=True,
        ),
        Meter("satchel_outbox_rows", "gauge", "Notices in the outbox: waiting, and dead ones to look at", ("state",)),
        Meter("satchel_backup_age_seconds", "gauge", "Since the last backup that is good was begun; missing without one"),
        Meter("satchel_backup_failures", "gauge", "Backups that failed since the last good one"),
        Meter(
            "satchel_disk_free_bytes", "gauge", "What is left of the disk of a provider", ("provider",),
        ),
        Meter("satchel_build_info", "gauge", "1; the label is what counts", ("version",)),
        Meter("satchel_start_time_seconds", "gauge", "When the server began, in Unix seconds"),
    )
}  # fmt: skip
_SeriesKey: TypeAlias = tuple[str, ...]  # the meter's name and the values of its labels


def label_values(site: Any) -> dict[str, list[str]]:
    """What the labels of counters and histograms may say in an App; whatever else is counted is OTHER."""
    methods = [*app.HTTP_METHODS]
    for route in site.extensions(app.Route):
        methods += [*route.methods, *" ".join(route.paths.values()).split()]
    return {
        "door": [app.HttpRunner.kind, app.SqsRunner.kind],
        "resource": [address or "/" for address in site.resources],
        "action": [action.value for action in Action],
        "code": ["ok", app.LeaseLost.code, *_codes(AppError)],
        "method": methods,
        "status": [str(status.value) for status in HTTPStatus] + [str(app.plugin("working").ClientGone.status)],
        "queue": [one.name for one in site.config.sqs.queues],
        "outcome": list(app.OUTCOMES),
        "channel": list(site.config.channels),
        "result": ["sent", plugin("outbox").GIVEN_UP],
    }


def _codes(cls: type[AppError]) -> list[str]:
    """The codes of a class of errors and of all that derive from it."""
    return [cls.code, *(code for one in cls.__subclasses__() for code in _codes(one))]


class _Series:
    """Where the series of a meter are in a row of the table: one for each combination of its labels' values."""

    def __init__(self, meter: Meter, values: Mapping[str, Sequence[str]], first: int) -> None:
        self.meter, self.first, self.end = meter, first, first + meter.width
        self._labels: list[tuple[int, list[str]]] = []  # how far the values of each label are apart, and these
        for label in reversed(meter.labels):
            known = list(dict.fromkeys([OTHER, *values.get(label, ())]))
            self._labels.insert(0, (self.end - first, known))
            self.end = first + (self.end - first) * len(known)
        self._steps = [{value: number * step for number, value in enumerate(known)} for step, known in self._labels]
        self.place = lru_cache(4096)(self._place)
        declared = itertools.product(*(values.get(label, ()) for label in meter.labels)) if meter.from_zero else ()
        self._from_zero = set(map(self._place, declared))

    def _place(self, labels: tuple[str, ...]) -> int:
        """Where the first number of a series is."""
        return self.first + sum(steps.get(value, 0) for value, steps in zip(labels, self._steps, strict=True))

    def labels(self, place: int) -> tuple[str, ...]:
        """The values of the labels of the series at a place."""
        found, left = [], place - self.first
        for step, known in self._labels:
            number, left = divmod(left, step)
            found.append(known[number])
        return tuple(found)

    def begun(self, counted: Iterable[int]) -> set[int]:
        """The places of the series that count at one of these places, or are there from zero."""
        width = self.meter.width
        return self._from_zero | {at - (at - self.first) % width for at in counted if self.first <= at < self.end}


class Meters:
    """The counters and histograms of METERS, added up over this process and all that are forked after this was made.

    They are a table of numbers in shared memory, with a row for each process and a column for each number of each series,
    so that counting is an addition and no system call. A row is held by a lock, which ends with its process, however that
    ends; the next process takes the row and counts on. The memory is no file, so no full disk can end a process, and what is
    not used of it costs nothing.
    """

    def __init__(self, processes: int, values: Mapping[str, Sequence[str]]) -> None:
        """`processes` is the most that may count at the same time, `values` are those of the labels."""
        self._series: dict[str, _Series] = {}
        self._width = 1  # of a row, in numbers; the first one is 1 once a process has had the row
        for meter in METERS.values():
            if meter.type != "gauge":
                self._series[meter.name] = _Series(meter, values, self._width)
                self._width = self._series[meter.name].end
        self._rows = processes
        self._numbers = memoryview(mmap.mmap(-1, processes * self._width * 8)).cast("d")
        self._begin()
        self._locks = nameless_file()
        weakref.finalize(self, os.close, self._locks).atexit = False  # the locks are to last as long as the process
        os.register_at_fork(after_in_child=partial(_begin_again, weakref.ref(self)))

    def _begin(self) -> None:
        """Have no row, as a process that has just begun."""
        self._lock = threading.Lock()
        self._row: Any = None

    def count(self, name: str, *labels: str, by: float = 1) -> None:
        """Add to a counter. Processes that are too many do not count."""
        place = self._series[name].place(labels)
        with self._lock:
            row = self._row or self._claim()
            row[place] += by

    def observe(self, name: str, *labels: str, value: float) -> None:
        """Put a value into a histogram."""
        series = self._series[name]
        place, bounds = series.place(labels), series.meter.bounds
        with self._lock:
            row = self._row or self._claim()
            row[place + bisect.bisect_left(bounds, value)] += 1
            row[place + len(bounds) + 1] += value

    def _claim(self) -> Any:
        """Take the first row that no living process has; one that nobody reads if there is none."""
        self._row = memoryview(bytearray(self._width * 8)).cast("d")
        for number in range(self._rows):
            with suppress(OSError):  # another one has it
                fcntl.lockf(self._locks, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, number)
                self._row = self._numbers[number * self._width : (number + 1) * self._width]
                self._row[0] = 1
                break
        return self._row

    def read(self) -> dict[_SeriesKey, list[float]]:
        """The numbers of every series that has begun (see Meter.width), those of processes that have ended too. None ever
        decreases."""
        total: defaultdict[int, float] = defaultdict(float)
        for start in range(0, len(self._numbers), self._width):
            row = self._numbers[start : start + self._width].tolist() if self._numbers[start] else []
            for place in itertools.compress(itertools.count(), row):
                total[place] += row[place]
        return {
            (one.meter.name, *one.labels(place)): [total[at] for at in range(place, place + one.meter.width)]
            for one in self._series.values()
            for place in one.begun(list(total))
        }


def nameless_file() -> int:
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
    pings = site.health.pings(SCRAPE_PING_S)
    states = {name: "away" if isinstance(ping, AppError) else "ok" for name, ping in pings.items()}
    if backup := app.plugin("backup_job").condition(site, states):
        yield ("satchel_backup_failures",), backup["failures"]
        if backup["age_s"] is not None:
            yield ("satchel_backup_age_seconds",), backup["age_s"]
    for state, rows in plugin("outbox").condition(site, states).items():
        yield ("satchel_outbox_rows", state), rows
    for name, ping in pings.items():
        yield ("satchel_provider_up", name), not isinstance(ping, AppError)
        if not isinstance(ping, AppError):
            yield ("satchel_provider_ping_seconds", name), ping
    for name, reserve in plugin("reserve").reserves(site.providers).items():
        if left := reserve.left():
            yield ("satchel_disk_free_bytes", name), left.free_bytes


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
