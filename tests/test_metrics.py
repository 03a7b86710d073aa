"""Metrics: what every process counts, added up exactly, and told in the text format of Prometheus."""

from __future__ import annotations

import gc
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from http_client import JSON, PAGE, Server, Site, serving
from queue_site import Door, Host, Queue, client, envelope, leave, texts, until
from sites import KINDS, registry_with
from sites import Site as PlainSite
from sqs_fake import SqsFake

import app

METRICS = app.plugin("metrics")
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
RECORD = {"subject": "A chair", "email": "ann@example.org", "cost": 12.5}
REQUEST = "satchel_requests_total"
VALUES = {
    "door": ["http"], "resource": ["forms/leave", "forms/child", *(f"forms/f{number}" for number in range(50))],
    "action": ["read"], "code": ["ok"], "method": ["GET"],
}  # fmt: skip
Series: TypeAlias = dict[tuple[str, frozenset[tuple[str, str]]], float]


# ---- a strict reader of the text format, version 0.0.4

NAME, LABEL = r"[a-zA-Z_:][a-zA-Z0-9_:]*", r"[a-zA-Z_][a-zA-Z0-9_]*"
PAIR = rf'({LABEL})="((?:[^"\\\n]|\\\\|\\"|\\n)*)"'
SAMPLE = re.compile(rf"({NAME})(?:\{{({PAIR}(?:,{PAIR})*)\}})? (\S+)")
ENDINGS = {"histogram": ("_bucket", "_sum", "_count"), "counter": ("",), "gauge": ("",)}


def parse(text: str) -> Series:
    """Every sample; fails on what a strict reader would not take."""
    assert text.endswith("\n")
    found: Series = {}
    name, kind, seen, helped = "", "", set(), ""
    for line in text[:-1].split("\n"):
        if match := re.fullmatch(rf"# HELP ({NAME}) ((?:[^\\]|\\\\|\\n)*)", line):
            assert match[1] not in seen, "the lines of a metric stand together"
            helped = match[1]
            seen.add(helped)
        elif match := re.fullmatch(rf"# TYPE ({NAME}) (counter|gauge|histogram)", line):
            name, kind = match[1], match[2]
            assert name == helped
            assert kind != "counter" or name.endswith("_total")
        else:
            sample = SAMPLE.fullmatch(line)
            assert sample, line
            assert sample[1] in {name + ending for ending in ENDINGS[kind]}, line
            pairs = [(one[0], unescaped(one[1])) for one in re.findall(PAIR, sample[2] or "")]
            key = sample[1], frozenset(pairs)
            assert len(dict(pairs)) == len(pairs)
            assert key not in found, f"{line} stands twice"
            found[key] = float(sample[sample.lastindex or 0])
    return found


def unescaped(text: str) -> str:
    return re.sub(r"\\(.)", lambda match: "\n" if match[1] == "n" else match[1], text)


def value(series: Series, name: str, **labels: str) -> float | None:
    """The sum of the samples with these labels, whatever others they have; None where there is none."""
    found = [number for (one, pairs), number in series.items() if one == name and labels.items() <= set(pairs)]
    return sum(found) if found else None


def test_the_reader_of_these_tests_is_strict() -> None:
    good = '# HELP a_total x\n# TYPE a_total counter\na_total{b="c\\"\\n\\\\"} 1\n'
    assert parse(good) == {("a_total", frozenset({("b", 'c"\n\\')})): 1}
    for bad in (
        good[:-1],
        good + good,
        good.replace("a_total", "a"),
        good.replace('c\\"', 'c"'),
        good + "b_total 1\n",
        good + 'a_total{b="c\\"\\n\\\\"} 2\n',
        good.replace(" 1\n", "\n"),
        good.replace("{b=", "{b!="),
    ):
        with pytest.raises(AssertionError):
            parse(bad)


# ---- meters: one process


@pytest.fixture
def meters() -> Any:
    return METRICS.Meters(4, VALUES)


def count_one(meters: Any, resource: str = "forms/leave", times: int = 1) -> None:
    for _ in range(times):
        meters.count(REQUEST, "http", resource, "read", "ok")


def counted(meters: Any, resource: str = "forms/leave") -> float:
    return meters.read().get((REQUEST, "http", resource, "read", "ok"), [0.0])[0]


class Slowly(float):
    """A number whose adding lets other threads come between."""

    def __radd__(self, other: float) -> float:
        time.sleep(0.001)
        return other + float(self)


def test_threads_lose_no_count(meters: Any) -> None:
    def count_on() -> None:
        for _ in range(50):
            meters.count(REQUEST, "http", "forms/leave", "read", "ok", by=Slowly(1))
            count_one(meters, "forms/f1", times=100)

    threads = [threading.Thread(target=count_on) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (counted(meters), counted(meters, "forms/f1")) == (200, 20_000)


def test_a_value_is_in_the_bucket_that_it_is_not_above(meters: Any) -> None:
    name = "satchel_http_request_seconds"
    for seconds in (0.0, 0.001, 0.0010001, 0.25, 30.0, 31.0):
        meters.observe(name, "GET", value=seconds)
    numbers = meters.read()[name, "GET"]
    bounds = [*METRICS.METERS[name].bounds, "more"]
    assert {bound: number for bound, number in zip(bounds, numbers, strict=False) if number} == {
        0.001: 2, 0.0025: 1, 0.25: 1, 30.0: 1, "more": 1,
    }  # fmt: skip
    assert numbers[-1] == pytest.approx(61.2520001)


def test_what_was_not_known_beforehand_is_counted_together(meters: Any) -> None:
    for number in range(5000):
        count_one(meters, f"forms/x{number}")
        meters.observe("satchel_http_request_seconds", f"M{number}", value=1.0)
        count_one(meters)
    assert counted(meters) == 5000
    assert counted(meters, "other") == 5000
    assert sum(meters.read()["satchel_http_request_seconds", "other"][:-1]) == 5000
    assert len(meters.read()) == 3


def test_every_series_has_a_place_of_its_own() -> None:
    labels = {"door": ["a", "b"], "resource": ["a", "b", "c"], "action": [], "code": ["ok", "a"], "method": ["a", "b"]}
    meters = METRICS.Meters(1, labels)
    keys = list(itertools.product("ab", "abc", ["other"], ["ok", "a", "other"]))
    for number, key in enumerate(keys, 1):
        meters.count(REQUEST, *key, by=number)
    for number, method in enumerate("ab", 1):
        for _ in range(number):
            meters.observe("satchel_http_request_seconds", method, value=float(number))
    read = meters.read()
    assert [read[REQUEST, *key] for key in keys] == [[number] for number in range(1, len(keys) + 1)]
    assert [read["satchel_http_request_seconds", method][-1] for method in "ab"] == [1.0, 4.0]
    assert len(read) == len(keys) + 2


def test_an_app_knows_every_value_that_it_counts(tmp_path: Path) -> None:
    toml = 'menu = ["forms/leave", "views/waiting"]'
    site = Site(tmp_path, edit=lambda text: text.replace(toml, toml + "\n[apps.more]\nmenu = []"))
    known = METRICS.label_values(site.app)
    assert set(known) == {label for one in METRICS.METERS.values() if one.type != "gauge" for label in one.labels}
    assert {"/", "apps/more", "forms/leave", "admin/metrics"} <= set(known["resource"])
    assert {"ok", "internal_error", "lease_lost", "not_found", "precondition_failed"} <= set(known["code"])
    assert {"200", "207", "503"} <= set(known["status"])
    site.close()


def test_a_meter_has_its_labels_and_its_unit_in_its_name() -> None:
    for name, one in METRICS.METERS.items():
        assert name.startswith("satchel_")
        assert (one.type == "counter") == name.endswith("_total")
        assert (one.type == "histogram") == bool(one.bounds)
        assert list(one.bounds) == sorted(one.bounds)


def test_one_count_costs_little_more_than_a_dict_under_a_lock(meters: Any) -> None:
    lock, plain = threading.Lock(), {}

    def by_dict() -> None:
        with lock:
            key = (REQUEST, "http", "forms/leave", "read", "ok")
            plain[key] = plain.get(key, 0) + 1

    def shortest(work: Callable[[], None]) -> float:
        took = []
        for _ in range(15):
            began = time.perf_counter()
            for _ in range(5_000):
                work()
            took.append(time.perf_counter() - began)
        return min(took)

    count_one(meters)
    ratio = shortest(lambda: count_one(meters)) / shortest(by_dict)
    print(f"a count costs {ratio:.1f} times a dict under a lock")
    assert ratio < 6


def test_memory_that_nobody_counts_in_costs_nothing() -> None:
    def resident_bytes() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    gc.collect()
    before = resident_bytes()
    large = METRICS.Meters(1000, VALUES | {"code": [str(number) for number in range(100)]})
    count_one(large)
    assert resident_bytes() - before < 4 << 20


def test_meters_that_are_gone_leave_no_descriptor_behind() -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        count_one(METRICS.Meters(1, VALUES))
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before


# ---- meters: several processes


def forked(work: Callable[[], None]) -> int:
    """The id of a child that does it and then waits to be killed."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        with suppress(BaseException):
            work()
            os.write(writing, b"done")
            signal.pause()
        os._exit(1)
    os.close(writing)
    assert os.read(reading, 4) == b"done"
    os.close(reading)
    return pid


def killed(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


@needs_fork
def test_processes_that_live_at_the_same_time_add_up_and_see_the_same_sum(meters: Any) -> None:
    count_one(meters, times=5)
    children = [forked(lambda: count_one(meters, times=1000)) for _ in range(3)]
    try:
        assert counted(meters) == 3005
        children.pop(killed(children[0]) or 0)
        assert counted(meters) == 3005, "the counts of a dead process stay"

        def look_from_a_child() -> None:
            assert counted(meters) == 3005

        killed(forked(look_from_a_child))
    finally:
        for pid in children:
            killed(pid)


@needs_fork
def test_the_row_of_a_dead_process_is_taken_over_with_its_counts(meters: Any) -> None:
    count_one(meters)
    for number in range(1, 13):  # three times as many as there are rows
        killed(forked(lambda number=number: count_one(meters, f"forms/f{number % 5}", times=number)))
    expected = {resource: sum(n for n in range(1, 13) if n % 5 == resource) for resource in range(5)}
    assert {resource: counted(meters, f"forms/f{resource}") for resource in range(5)} == expected
    assert counted(meters) == 1


@needs_fork
def test_more_processes_than_rows_are_not_counted_and_do_not_fail() -> None:
    meters = METRICS.Meters(2, VALUES)
    count_one(meters)
    children = [forked(lambda: count_one(meters)) for _ in range(3)]
    try:
        assert counted(meters) == 2
    finally:
        for pid in children:
            killed(pid)


@needs_fork
def test_a_child_that_is_forked_while_a_thread_counts_is_not_held_up(meters: Any) -> None:
    stop = threading.Event()

    def count_on() -> None:
        while not stop.is_set():
            count_one(meters, times=100)

    thread = threading.Thread(target=count_on)
    thread.start()
    try:
        for _ in range(30):
            with meters._lock:  # as when a thread is in the middle of it
                pid = forked_quietly(lambda: count_one(meters, "forms/child"))
            wait_for_child(pid)
    finally:
        stop.set()
        thread.join()
    assert counted(meters, "forms/child") == 30


def forked_quietly(work: Callable[[], None]) -> int:
    pid = os.fork()
    if pid == 0:
        with suppress(BaseException):
            work()
        os._exit(0)
    return pid


def wait_for_child(pid: int) -> None:
    try:
        until(lambda: os.waitpid(pid, os.WNOHANG)[0] == pid, "a child that must not wait for a lock of its parent")
    except AssertionError:
        killed(pid)
        raise


@needs_fork
def test_a_process_killed_while_it_counts_leaves_a_row_that_goes_on() -> None:
    meters = METRICS.Meters(2, VALUES)
    last = 0.0
    for round_ in range(60):
        ready, go = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.write(go, b"x")
            for number in range(10_000_000):
                count_one(meters, f"forms/f{number % 7}")
            os._exit(0)
        os.read(ready, 1)
        time.sleep(0.0005 * (round_ % 7))
        killed(pid)
        os.close(ready)
        os.close(go)
        total = sum(numbers[0] for numbers in meters.read().values())
        assert total >= last
        last = total
    before = meters.read()
    killed(forked(lambda: count_one(meters, "forms/f49")))
    assert meters.read() == before | {(REQUEST, "http", "forms/f49", "read", "ok"): [1.0]}


@needs_fork
def test_a_reader_sees_no_count_go_down(meters: Any) -> None:
    def count_on() -> None:
        for number in range(2000):
            count_one(meters, f"forms/f{number % 50}")
            meters.observe("satchel_http_request_seconds", "GET", value=0.5)

    pids = [forked_quietly(count_on) for _ in range(3)]
    last: dict[Any, list[float]] = {}
    for _ in range(40):
        found = meters.read()
        assert all(now >= then for key, numbers in last.items() for now, then in zip(found[key], numbers, strict=True))
        last = found
    for pid in pids:
        os.waitpid(pid, 0)
    found = meters.read()
    assert {numbers[0] for key, numbers in found.items() if key[0] == REQUEST} == {120.0}
    assert found["satchel_http_request_seconds", "GET"][-1] == 3000.0


# ---- the text


def test_the_text_of_every_kind_of_sample_is_read_back() -> None:
    odd = 'a "b"\\n\n\\'
    meters = [
        {"name": "x_total", "type": "counter", "help": "1\n2 \\", "samples": [{"labels": {"l": odd, "m": ""}, "value": 3}]},
        {"name": "y", "type": "gauge", "help": "", "samples": [{"labels": {}, "value": 1e-05}]},
        {"name": "z_seconds", "type": "histogram", "help": "h", "samples": [
            {"labels": {"q": "é"}, "buckets": {"0.5": 1, "+Inf": 2}, "sum": 1.5, "count": 2},
        ]},
        {"name": "none", "type": "gauge", "help": "h", "samples": []},
    ]  # fmt: skip
    series = parse(METRICS.exposition(meters))
    assert series == {
        ("x_total", frozenset({("l", odd), ("m", "")})): 3, ("y", frozenset()): 1e-05,
        ("z_seconds_bucket", frozenset({("q", "é"), ("le", "0.5")})): 1,
        ("z_seconds_bucket", frozenset({("q", "é"), ("le", "+Inf")})): 2,
        ("z_seconds_sum", frozenset({("q", "é")})): 1.5, ("z_seconds_count", frozenset({("q", "é")})): 2,
    }  # fmt: skip


# ---- one site, by HTTP


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    yield made
    made.close()


@pytest.fixture
def scraper(site: Site) -> str:
    return site.token("admin/metrics:read", subject="prometheus")


ACCEPT = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"


def scrape(site: Site, token: str) -> Series:
    reply = site.get("/metrics", token, Accept=ACCEPT)
    assert reply.status == 200, reply.text
    assert reply["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    return parse(reply.text)


def test_what_is_told_is_valid_and_every_meter_is_there(site: Site, scraper: str) -> None:
    site.get("/healthz")
    series = scrape(site, scraper)
    told = site.get("/metrics", scraper).text
    assert re.findall(r"^# TYPE (\S+)", told, re.MULTILINE) == list(METRICS.METERS)
    assert value(series, "satchel_build_info", version=app.__version__) == 1
    assert abs(value(series, "satchel_start_time_seconds") - time.time()) < 60
    assert value(series, "satchel_provider_up", provider="main") == 1
    assert 0 <= value(series, "satchel_provider_ping_seconds", provider="disk") < 1
    assert value(series, "satchel_queue_up") is None
    assert site.ask("HEAD", "/metrics", token=scraper).status == 200


def test_metrics_are_for_those_who_have_the_grant(site: Site, scraper: str) -> None:
    other = site.token("admin/audit:read", "forms/**:*")
    for path in ("/metrics", "/admin/metrics"):
        assert site.get(path, scraper).status == 200
        assert (site.get(path).status, site.get(path).json["code"]) == (401, "sign_in_needed")
        assert (site.get(path, "nonsense").status, site.get(path, "nonsense").json["code"]) == (401, "invalid_token")
        refused = site.get(path, other)
        assert (refused.status, refused.json["code"]) == (403, "insufficient_scope")
        assert 'scope="admin/metrics:read"' in refused["WWW-Authenticate"]
        assert site.get(path, **PAGE).status == 303, "a person is asked to sign in"
        assert site.send(path, {}, scraper).status in (403, 405)
        assert site.get(path + "?x=1", scraper).status == 400
    assert site.get("/admin/metrics/more", scraper).status == 404


def test_the_public_may_be_let_in(tmp_path: Path) -> None:
    site = Site(tmp_path, prefix="/ops", edit=lambda toml: toml.replace('"forms/open:create"', '"admin/metrics:read"'))
    assert parse(site.get("/ops/metrics").text)
    site.close()


def test_a_request_is_counted_once_with_what_came_of_it(site: Site, scraper: str) -> None:
    staff = site.token(roles=["staff"])
    assert site.send("/forms/leave", {"day": "2027-01-31"}, staff).status == 201
    assert site.send("/forms/leave", {"day": "soon"}, staff).status == 422
    assert site.send("/forms/leave", {"day": "2027-01-31"}).status == 401
    assert site.get("/forms/leave/records/nobody", staff).status == 404
    assert site.get("/apps/desk", staff, **PAGE).status == 200  # whose home reads views/waiting
    assert site.get("/", staff).status == 200
    series = scrape(site, scraper)
    expected = {
        ("forms/leave", "create", "ok"): 1, ("forms/leave", "create", "validation_failed"): 1,
        ("forms/leave", "create", "sign_in_needed"): 1, ("forms/leave", "read", "not_found"): 1,
        ("apps/desk", "read", "ok"): 1, ("/", "read", "ok"): 1,
    }  # fmt: skip
    found = {
        tuple(dict(pairs)[n] for n in ("resource", "action", "code")): n
        for (name, pairs), n in series.items()
        if name == REQUEST
    }
    assert found == expected
    assert value(series, REQUEST, door="http") == len(expected)
    assert value(series, "satchel_http_responses_total", method="POST") == 3
    assert value(series, "satchel_http_responses_total", status="401") == 1
    assert value(series, "satchel_http_responses_total") == len(expected)
    again = scrape(site, scraper)
    assert value(again, REQUEST, resource="admin/metrics", code="ok") == 1, "the scrape before"


def test_a_fault_of_satchel_is_counted_as_one(site: Site, scraper: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(site.app.resources["views/waiting"], "handle", broken)
    assert site.get("/views/waiting", site.token(roles=["staff"])).status == 500
    assert value(scrape(site, scraper), REQUEST, resource="views/waiting", code="internal_error") == 1


def test_strangers_make_no_series(site: Site, scraper: str) -> None:
    def strange(number: str) -> None:
        site.get(f"/files/x{number}/y")
        site.get(f"/x{number}")
        site.get(f"/forms/leave/records/x{number}?x{number}=1")
        site.get(f"/views/x{number}", f"x{number}")
        site.ask(f"X{number}", "/healthz")
        site.ask("GET", "/healthz", headers={"Host": f"x{number}.example", "Accept": f"x{number}/x"})

    strange("0")
    before = scrape(site, scraper)
    scrape(site, scraper)
    for number in range(1, 30):
        strange(str(number))
    after = scrape(site, scraper)
    grown = {key for key in after.keys() - before.keys() if ("resource", "admin/metrics") not in key[1]}
    assert {name for name, _ in grown} <= {"satchel_http_responses_total", *histogram_names()}
    assert all({("method", "GET")} <= pairs for _, pairs in grown), "of the first scrape"
    assert "x1" not in METRICS.exposition(METRICS.samples(site.app))
    assert value(after, REQUEST, resource="other") == 60
    assert value(after, "satchel_http_responses_total", method="other") == 30


def histogram_names() -> set[str]:
    return {"satchel_http_request_seconds" + ending for ending in ENDINGS["histogram"]}


def expect_consistent(series: Series, name: str) -> int:
    """How many histograms there are of that name; their buckets only grow, and the last one is the count."""
    rows: dict[Any, dict[float, float]] = {}
    for (one, pairs), number in series.items():
        if one == name + "_bucket":
            labels = dict(pairs)
            rows.setdefault(frozenset(pairs - {("le", labels["le"])}), {})[float(labels["le"])] = number
    for labels, buckets in rows.items():
        numbers = [buckets[end] for end in sorted(buckets)]
        assert sorted(buckets)[-1] == float("inf")
        assert numbers == sorted(numbers)
        assert numbers[-1] == series[name + "_count", labels]
        assert 0 <= series[name + "_sum", labels] <= numbers[-1] * 60
    return len(rows)


def test_histograms_are_consistent_and_have_as_many_values_as_there_were_answers(site: Site, scraper: str) -> None:
    for _ in range(5):
        site.get("/healthz")
        site.send("/forms/leave", {})
    series = scrape(site, scraper)
    assert expect_consistent(series, "satchel_http_request_seconds") == 2
    assert value(series, "satchel_http_request_seconds_count", method="POST") == 5
    assert value(series, "satchel_http_request_seconds_count", method="GET") == 5


def test_the_resource_answers_the_same_in_json_and_as_a_page(site: Site, scraper: str) -> None:
    site.get("/healthz")
    found = site.get("/admin/metrics", scraper).json["metrics"]
    assert [one["name"] for one in found] == list(METRICS.METERS)
    for one in found:
        assert (one["type"], one["help"]) == (METRICS.METERS[one["name"]].type, METRICS.METERS[one["name"]].help)
        for sample in one["samples"]:
            assert tuple(sample["labels"]) == METRICS.METERS[one["name"]].labels
            assert set(sample) - {"labels"} == ({"value"} if one["type"] != "histogram" else {"buckets", "sum", "count"})
    page = site.get("/admin/metrics", scraper, **PAGE).text
    assert "satchel_http_responses_total" in page
    assert "<script" not in re.sub(r'<script src="/static/[^>]*></script>', "", page)
    assert 'href="/metrics"' in page


def test_an_app_may_have_metrics_in_its_menu(tmp_path: Path) -> None:
    menu = 'menu = ["forms/leave", "views/waiting"]'
    site = Site(tmp_path, edit=lambda toml: toml.replace(menu, 'menu = ["admin/metrics"]'))
    reply = site.get("/apps/desk", site.token("apps/desk:read", "admin/metrics:read")).json
    assert reply["menu"] == [{"title": "Metrics", "icon": "", "address": "admin/metrics"}]
    site.close()


def test_a_provider_that_does_not_answer_does_not_hold_up_a_scrape(tmp_path: Path) -> None:
    answer = threading.Event()
    answer.set()

    class Slow(KINDS["sql"]):  # type: ignore[misc]
        kind = "slow"

        def ping(self) -> float:
            answer.wait(30)
            return float(super().ping())

    toml = '[providers.main]\nkind = "sql"\nurl = "sqlite:///app.db"\n[providers.far]\nkind = "slow"\nurl = "sqlite:///far.db"\n'
    toml += '[site]\nstate = "main"\n'
    site = PlainSite(tmp_path, toml, registry=registry_with(Slow))
    answer.clear()
    began = time.monotonic()
    samples = {one["name"]: one["samples"] for one in site.read("admin/metrics").data["metrics"]}
    assert time.monotonic() - began < 3
    answer.set()
    up = {sample["labels"]["provider"]: sample["value"] for sample in samples["satchel_provider_up"]}
    assert up == {"main": 1, "far": 0}
    assert [sample["labels"]["provider"] for sample in samples["satchel_provider_ping_seconds"]] == ["main"]
    site.close()


# ---- servers of several processes


def scraped(server: Server, token: str) -> Series:
    reply = server.ask("GET", "/metrics", None, {"Authorization": f"Bearer {token}"})
    assert reply.status == 200, reply.text
    return parse(reply.text)


def workers_of(server: Server) -> list[int]:
    pid = server.process.pid
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def submit(server: Server, token: str, times: int) -> int:
    """How many submissions were answered with 201, each over a connection of its own."""
    signed = {"Authorization": f"Bearer {token}", **JSON}
    done = 0
    for _ in range(times):
        with suppress(OSError, HTTPException):
            done += server.ask("POST", "/forms/requests", json.dumps(RECORD), signed).status == 201
    return done


@needs_fork
def test_every_answer_of_every_worker_is_counted_exactly(tmp_path: Path) -> None:
    with serving(tmp_path, "--workers", "3") as server:
        token = server.token()
        assert len(workers_of(server)) == 3
        with ThreadPoolExecutor(12) as pool:
            futures = [pool.submit(submit, server, token, 25) for _ in range(12)]
            while not all(one.done() for one in futures):
                expect_consistent(scraped(server, token), "satchel_http_request_seconds")
            assert sum(one.result() for one in futures) == 300
        for _ in range(8):  # whichever worker answers
            series = scraped(server, token)
            assert value(series, REQUEST, resource="forms/requests", action="create", code="ok") == 300
            assert value(series, "satchel_http_responses_total", method="POST", status="201") == 300
            assert value(series, "satchel_http_request_seconds_count", method="POST") == 300
            expect_consistent(series, "satchel_http_request_seconds")


@needs_fork
def test_counts_outlive_killed_workers_and_never_decrease(tmp_path: Path) -> None:
    with serving(tmp_path, "--workers", "2") as server:
        token = server.token()
        last, kills, answered = 0.0, 0, 0
        with ThreadPoolExecutor(6) as pool:
            futures = [pool.submit(submit, server, token, 60) for _ in range(6)]
            while not all(one.done() for one in futures):
                if kills < 4 and last > 60 * (kills + 1):
                    os.kill(workers_of(server)[0], signal.SIGKILL)
                    kills += 1
                with suppress(OSError, HTTPException):
                    created = value(scraped(server, token), REQUEST, resource="forms/requests", code="ok") or 0
                    assert created >= last
                    last = created
            answered = sum(one.result() for one in futures)
        assert kills == 4
        created = value(scraped(server, token), REQUEST, resource="forms/requests", code="ok")
        assert answered <= created <= 360
        assert created - answered <= 6 * 4, "no more than what was under way"
        until(lambda: len(workers_of(server)) == 2, "new workers")
        before = value(scraped(server, token), REQUEST, resource="forms/requests", code="ok")
        assert submit(server, token, 10) == 10
        assert value(scraped(server, token), REQUEST, resource="forms/requests", code="ok") == before + 10


# ---- queues


@pytest.fixture
def queue(fake: SqsFake) -> Queue:
    return Queue(client(fake.url), "intake")


def outcomes(door: Door) -> dict[str, int]:
    """Those that are not 0."""
    found = door.site.app.meters.read().items()
    return {key[2]: int(n[0]) for key, n in found if key[0] == "satchel_queue_messages_total" and n[0]}


def test_what_becomes_of_messages_is_counted_by_queue(tmp_path: Path, fake: SqsFake, queue: Queue) -> None:
    other = Queue(queue.client, "other")
    door = Door(tmp_path, fake.url, [queue, other])
    for number in range(7):
        queue.send(leave(id=f"k{number}"), token=door.site.root)
    with door.opened():
        until(queue.empty, "an empty queue")
        queue.send(leave(id="k0"), token=door.site.root)
        queue.send({"v": 1}, token=door.site.root)
        queue.send(leave())
        until(queue.empty, "an empty queue")
        until(lambda: door.counted("deleted") == 10, "all deletes")
    assert outcomes(door) == {"received": 10, "done": 7, "replayed": 1, "dead": 2, "deleted": 10}
    read = door.site.app.meters.read()
    for outcome in app.OUTCOMES:
        assert read["satchel_queue_messages_total", "other", outcome] == [0.0]
    assert sum(read["satchel_queue_message_seconds", "intake"][:-1]) == 10
    assert read[REQUEST, "sqs", "forms/leave", "create", "ok"] == [8.0]
    assert read[REQUEST, "sqs", "forms/leave", "create", "sign_in_needed"] == [1.0]


def test_a_request_that_lost_its_lease_is_no_fault_of_satchel(tmp_path: Path, fake: SqsFake, queue: Queue) -> None:
    door = Door(tmp_path, fake.url, [queue])

    class Late(Host):
        def handle(self, request: app.Request, guard: Callable[[], None]) -> app.Response:
            def lost() -> None:
                raise app.LeaseLost

            return super().handle(request, guard if door.counted("lost") else lost)

    queue.send(leave(), token=door.site.root)
    with door.opened(Late(door.site.app)):
        until(queue.empty, "an empty queue")
    read = door.site.app.meters.read()
    assert read[REQUEST, "sqs", "forms/leave", "create", "lease_lost"] == [1.0]
    assert read[REQUEST, "sqs", "forms/leave", "create", "ok"] == [1.0]
    assert not [key for key in read if "internal_error" in key]


@pytest.mark.parametrize("fifo", [False, True])
def test_a_message_that_cannot_be_deleted_is_counted_once_as_that(fifo: bool, tmp_path: Path, fake: SqsFake) -> None:
    queue = Queue(client(fake.url), "stubborn", fifo=fifo)
    door = Door(tmp_path, fake.url, [queue])
    fault = fake.fault("InternalError", operation="DeleteMessageBatch", status=500, times=None)
    queue.send(leave(), token=door.site.root, group="g" if fifo else "")
    with door.opened():
        until(lambda: door.counted("undeleted"), "a delete that was given up", 30)
        fault.times = 0
        if fifo:  # it comes again at once
            until(queue.empty, "an empty queue")
    seen = outcomes(door)
    assert seen["undeleted"] == seen["received"] - seen.get("deleted", 0)
    assert seen["done" if not fifo else "replayed"] == 1


def test_metrics_are_read_by_message(tmp_path: Path, fake: SqsFake, queue: Queue) -> None:
    answers = queue.client.create_queue(QueueName="answers")["QueueUrl"]
    door = Door(tmp_path, fake.url, [queue], settings=f'replies = {{ answers = "{answers}" }}')
    token = door.site.token("prometheus", "admin/metrics:read")
    queue.send(leave(), token=door.site.root)
    with door.opened():
        until(lambda: door.counted("done") == 1, "the first message")
        queue.send(envelope("admin/metrics", "read"), token=token, reply_to="answers", correlation_id="m")
        (reply,) = until(lambda: queue.take(answers), "an answer")
    assert texts(reply)["status"] == "200"
    series = parse(METRICS.exposition(json.loads(reply["Body"])["metrics"]))
    assert value(series, "satchel_queue_messages_total", queue="intake", outcome="done") == 1


@needs_fork
def test_a_server_of_both_doors_tells_what_its_queue_processes_did_and_do(
    tmp_path: Path, fake: SqsFake, queue: Queue
) -> None:
    broken = Queue(queue.client, "broken")
    door = Door(
        tmp_path,
        fake.url,
        [queue, broken],
        settings='visibility = "3s"\nworkers = 2',
        more='[public]\ngrants = ["admin/metrics:read"]\n',
    )
    queue.client.set_queue_attributes(QueueUrl=broken.url, Attributes={"RedrivePolicy": ""})
    (tmp_path / "app.toml").write_text(door.toml)
    with serving(tmp_path, "--runner", "http", "--runner", "sqs", "--workers", "2") as server:

        def now() -> Series:
            return parse(server.ask("GET", "/metrics").text)

        def done(series: Mapping[Any, float]) -> float | None:
            return value(dict(series), "satchel_queue_messages_total", queue="intake", outcome="done")

        until(lambda: value(now(), "satchel_queue_up", queue="intake") == 1, "the queue")
        until(lambda: value(now(), "satchel_queue_up", queue="broken") == 0, "the queue without dead letters")
        for number in range(40):
            queue.send(leave(id=f"k{number}"), token=door.site.root)
        until(lambda: done(now()) == 40, "40 messages")
        for pid in workers_of(server)[1:]:
            os.kill(pid, signal.SIGKILL)
        assert (done(now()), len(door.rows())) == (40, 40)
        until(lambda: value(now(), "satchel_queue_up", queue="intake") == 0, "the news that they are gone")
        until(lambda: value(now(), "satchel_queue_up", queue="intake") == 1, "new ones")
        for number in range(40, 50):
            queue.send(leave(id=f"k{number}"), token=door.site.root)
        until(lambda: done(now()) == 50, "10 more")
        assert expect_consistent(now(), "satchel_queue_message_seconds") == 1


def test_a_command_pays_next_to_nothing_for_metrics(tmp_path: Path) -> None:
    made = "import app, time; meters = app.plugin('metrics').Meters; began = time.perf_counter(); "
    made += "meters(64, {'resource': list(map(str, range(100))), 'code': list(map(str, range(50)))}); "
    made += "print(time.perf_counter() - began)"
    took = [
        float(
            subprocess.run(
                [sys.executable, "-c", made], check=True, capture_output=True, text=True, cwd=Path(app.__file__).parent
            ).stdout
        )
        for _ in range(3)
    ]
    assert min(took) < 0.005
