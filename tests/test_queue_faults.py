"""Faults of the queue door that were found by looking for them, one test or more for each, so that none comes back."""

from __future__ import annotations

import errno
import functools
import itertools
import json
import logging
import os
import shlex
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar, cast

import aws_server
import backends
import pytest
from queue_site import Door, Host, Queue, client, envelope, leave, names, runner, texts, until
from sites import PROVIDERS, Site
from sqs_fake import MAX_BYTES, SqsFake
from test_runner_sqs import POINTER, Program, event, hinder, is_lost

import app

envelopes, deliveries, queue_states = app.plugin("envelopes"), app.plugin("deliveries"), app.plugin("queue_states")
sqs, queues = app.plugin("sqs"), app.plugin("queues")


@pytest.fixture
def answers(queue: Queue) -> str:
    """The URL of a queue for answers."""
    return str(queue.client.create_queue(QueueName=f"{next(names)}-answers")["QueueUrl"])


def name_of(url: str) -> str:
    return url.rpartition("/")[2]


def hastened(fake: SqsFake, seconds: float) -> bool:
    """False, after so much time has passed at the service."""
    fake.advance(seconds)
    return False


def connected(queue_class: Any, service_class: Any) -> Any:
    """What a runner connects with, so that its queues are of these classes."""

    class Service(service_class):  # type: ignore[misc]
        def queue(self, url: str) -> Any:
            return queue_class(self, url)

    @contextmanager
    def connect(config: app.SqsConfig, connections: int) -> Iterator[Any]:
        with closing(Service(config, connections)) as service:
            yield service.queue

    return connect


@contextmanager
def at_work(
    door: Door, fake: SqsFake, host: Any = None, queue_class: Any = sqs.SqsQueue, service_class: Any = sqs.SqsService
) -> Iterator[app.SqsRunner]:
    """A runner that is drained at the end; its last polls are over soon, because time goes faster then."""
    connect = connected(queue_class, service_class)
    one = runner(door.site.app.config.sqs, host or Host(door.site.app), door.states, connect=connect)
    thread = threading.Thread(target=one.run)
    thread.start()
    try:
        yield one
    finally:
        one.stop()
        until(lambda: not thread.is_alive() or hastened(fake, 1.1), "the end of the runner", 40)


def state(door: Door) -> str:
    """What the board says of the first queue."""
    return queue_states.read_states([door.states]).get(name_of(door.queues[0].url), "")


def receives(fake: SqsFake, queue: Queue) -> list[int]:
    """How often SQS gave out each message of a queue."""
    known = fake.queues[name_of(queue.url)]
    return [message.receives for message in {id(one): one for one in [*known.messages, *known.handles.values()]}.values()]


def calls(fake: SqsFake, operation: str, *urls: str) -> list[Any]:
    """The calls of an operation on these queues that have ended."""
    return [
        call for call in list(fake.calls) if call.operation == operation and call.queue in map(name_of, urls) and call.ended
    ]


def deletes(fake: SqsFake, url: str) -> list[str]:
    """The handles that were given to be deleted; others are tried, to see whether that is allowed."""
    given = [entry["ReceiptHandle"] for call in calls(fake, "DeleteMessageBatch", url) for entry in call.request["Entries"]]
    return [handle for handle in given if handle in fake.queues[name_of(url)].handles]


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What the log says beside the lines of messages."""
    return [r.getMessage() for r in caplog.records if r.name == "satchel" and not r.getMessage().startswith("{")]


def lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    """What the log says of messages."""
    every = [line for r in caplog.records if r.name == "satchel" for line in r.getMessage().splitlines()]
    return [json.loads(line) for line in every if line.startswith("{")]


def command(door: Door, *args: str, given: str = "") -> subprocess.CompletedProcess[str]:
    """A command of the program, beside whatever is at work."""
    (door.folder / "app.toml").write_text(door.toml)
    return subprocess.run(
        [*backends.SATCHEL, *args],
        cwd=door.folder,
        input=given,
        capture_output=True,
        text=True,
        timeout=30,
    )


def redrive(door: Door, *args: str, token: str = "") -> subprocess.CompletedProcess[str]:
    return command(door, "server", "dead-letters", "redrive", *args, given=(token or door.site.root).removeprefix("Bearer "))


class Looked(Host):
    """Counts what it is asked to do."""

    def __init__(self, inner: app.App) -> None:
        super().__init__(inner)
        self.asked = Counter[str]()

    def handle(self, request: app.Request, guard: Callable[[], None]) -> app.Response:
        self.asked[request.idempotency_key] += 1
        return super().handle(request, guard)


# ---- how it begins and ends


def gone(pid: int) -> bool:
    """Whether a process has ended, though nobody may have asked for its exit code."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except FileNotFoundError:
        return True


def test_the_queue_runner_goes_on_when_what_started_it_ends(tmp_path: Path, fake: SqsFake, queue: Queue) -> None:
    door = Door(tmp_path, fake.url, [queue])
    (tmp_path / "app.toml").write_text(door.toml)
    (tmp_path / "said").touch()
    line = f"nohup {shlex.join(backends.SATCHEL)} server --runner sqs >> said 2>&1 & echo $! > pid; read -r _"
    starter = ["/bin/sh", "-c", line]
    with subprocess.Popen(starter, cwd=tmp_path, stdin=subprocess.PIPE, start_new_session=True) as shell:
        until(lambda: "works on" in (tmp_path / "said").read_text(), "the runner", 30)
    pid = int((tmp_path / "pid").read_text())
    try:
        assert shell.returncode is not None
        polls = len(fake.calls)
        fake.wait_for(lambda: sum(one.operation == "ReceiveMessage" for one in fake.calls[polls:]) >= 2)
        queue.send(leave(), token=door.site.root)
        until(queue.empty, "an empty queue")
        assert len(door.rows()) == 1
        os.kill(pid, signal.SIGTERM)
        until(lambda: gone(pid), "its end")
    finally:
        if not gone(pid):
            os.kill(pid, signal.SIGKILL)


BEGUN = """
    pathlib.Path("begun").touch()
"""
TAKES_ITS_TIME = (
    BEGUN
    + """
    while when == "before" and not pathlib.Path("go").exists():
        time.sleep(0.02)
"""
)
STUCK = (
    BEGUN
    + """
    while when == "before":
        time.sleep(0.05)
"""
)


def children(program: Program) -> list[str]:
    return Path(f"/proc/{program.process.pid}/task/{program.process.pid}/children").read_text().split()


@contextmanager
def working(door: Door) -> Iterator[Program]:
    """Both runners, in the middle of a message."""
    door.queues[0].send(leave(), token=door.site.root)
    program = Program(door, "http", "sqs")
    try:
        program.wait_for("works on 1 queue", " is at http://")
        until((door.folder / "begun").exists, "work")
        yield program
    finally:
        program.stop()


def test_a_signal_to_the_whole_group_lets_running_work_end(tmp_path: Path, fake: SqsFake, queue: Queue) -> None:
    door = Door(tmp_path, fake.url, [queue])
    hinder(door, TAKES_ITS_TIME)
    with working(door) as program:
        os.killpg(program.process.pid, signal.SIGTERM)
        until(lambda: len(children(program)) == 1, "the end of the HTTP runner")
        (door.folder / "go").touch()
        assert program.process.wait(20) == 0, program.told
    assert len(door.rows()) == 1
    assert queue.empty()


@pytest.fixture(params=["by a shell", "by a script in the background"])
def started(request: pytest.FixtureRequest) -> Iterator[None]:
    """In the background of a script SIGINT and SIGQUIT are ignored, here and in everything that is started."""
    if request.param == "by a shell":
        yield
        return
    before = {sign: signal.signal(sign, signal.SIG_IGN) for sign in (signal.SIGINT, signal.SIGQUIT)}
    try:
        yield
    finally:
        for sign, handler in before.items():
            signal.signal(sign, handler)


@pytest.mark.usefixtures("started")
@pytest.mark.parametrize("whom", ["the group", "the parent"])
def test_a_second_signal_hurries(whom: str, tmp_path: Path, fake: SqsFake, queue: Queue) -> None:
    door = Door(tmp_path, fake.url, [queue])
    hinder(door, STUCK)
    with working(door) as program:
        os.killpg(program.process.pid, signal.SIGTERM)
        until(lambda: len(children(program)) == 1, "the end of the HTTP runner")
        began = time.monotonic()
        (os.killpg if whom == "the group" else os.kill)(program.process.pid, signal.SIGTERM)
        assert program.process.wait(20) == 0, program.told
        assert time.monotonic() - began < 10, "long before drain_timeout"
    assert not door.rows()
    until(lambda: queue.counts() == (1, 0), "what was given back: behind the last poll, where one was open")


# ---- sent back


def test_a_redrive_sends_each_letter_back_once_though_it_comes_back_dead(
    tmp_path: Path, fake: SqsFake, queue: Queue
) -> None:
    """The last one points to a payload, and so has its key in an attribute."""
    door = Door(tmp_path, fake.url, [queue], each='allow = ["forms/leave:create"]')
    queue.send(envelope("files/docs/a.txt", "create", {"text": "a"}), token=door.site.root)
    queue.send("no envelope", token=door.site.root)
    pointer = [POINTER, {"s3BucketName": "foreign", "s3Key": "a"}]
    queue.send(json.dumps(pointer), token=door.site.root, ExtendedPayloadSize="9")
    with at_work(door, fake):
        until(queue.empty, "an empty queue")
        before = len(calls(fake, "SendMessage", queue.url))
        done = redrive(door, "--all")
        until(queue.empty, "an empty queue again")
    assert len(calls(fake, "SendMessage", queue.url)) == before + 3
    assert done.returncode == 5, done.stderr
    assert "3 sent back" in done.stderr
    dead = queue.dead()
    assert Counter(texts(one)["x_error"] for one in dead) == {"insufficient_scope": 1, "bad_envelope": 2}
    assert all(one["MessageId"] in done.stderr for one in dead), "those that came back and stay are named"


def test_a_file_that_the_system_does_not_let_go_is_a_dead_letter_at_once_and_stops_no_other_message(
    tmp_path: Path, fake: SqsFake, queue: Queue, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    door = Door(tmp_path, fake.url, [queue])
    door.site.put("files/docs/stuck", body=b"old")

    def refused(really: Any, path: Any, *others: Any, **facts: Any) -> None:
        if str(path).endswith("/stuck"):
            raise PermissionError(errno.EPERM, "Operation not permitted", str(path))
        really(path, *others, **facts)

    for name in ("rename", "unlink"):
        monkeypatch.setattr(os, name, functools.partial(refused, getattr(os, name)))
    queue.send(envelope("files/docs/stuck", "delete"), token=door.site.root)
    queue.send(envelope("files/docs/free", "create", {"text": "x"}), token=door.site.root)
    with at_work(door, fake), caplog.at_level("INFO"):
        until(queue.empty, "an empty queue")
        assert state(door) == "ok"
    [letter] = queue.dead()
    assert (texts(letter)["x_error"], texts(letter)["x_attempts"]) == ("not_permitted", "1")
    assert str(tmp_path) not in json.dumps(letter)
    assert "/docs/stuck" in caplog.text
    assert door.site.bytes("files/docs/free") == b"x"


def test_a_redrive_goes_on_after_a_letter_that_cannot_be_sent(tmp_path: Path, fake: SqsFake, queue: Queue) -> None:
    """Its queue takes no more than 2,000 bytes: with a token the letter has more."""
    door = Door(tmp_path, fake.url, [queue])
    big = envelope("forms/other", "create", {"text": "x" * 1700}, id="big")
    facts = {"x_error": "insufficient_scope", "x_message_id": "m", "x_source": name_of(queue.url)}
    for number, body in enumerate([leave("2027-01-01"), big, leave("2027-01-02"), leave("2027-01-03")]):
        attributes = {
            n: {"DataType": "String", "StringValue": text} for n, text in (facts | {"x_message_id": f"m{number}"}).items()
        }
        queue.client.send_message(QueueUrl=queue.dead_url, MessageBody=json.dumps(body), MessageAttributes=attributes)
    queue.client.set_queue_attributes(QueueUrl=queue.url, Attributes={"MaximumMessageSize": "2000"})
    done = redrive(door, "--all")
    assert done.returncode == 5, done.stderr
    (stays,) = queue.dead()
    assert json.loads(stays["Body"]) == big
    assert stays["MessageId"] in done.stderr
    assert "3 sent back" in done.stderr
    with at_work(door, fake):
        until(queue.empty, "an empty queue")
    assert len(door.rows()) == 3


# ---- answers


@pytest.mark.parametrize("accident", ["missing", "denied", "away"])
def test_a_queue_pauses_while_answers_cannot_be_sent_and_does_nothing_again(
    accident: str, tmp_path: Path, fake: SqsFake, queue: Queue, answers: str
) -> None:
    door = Door(tmp_path, fake.url, [queue], settings=f'attempts = 2\nreplies = {{ results = "{answers}" }}')
    if accident == "missing":
        queue.client.delete_queue(QueueUrl=answers)
    else:
        code, status = {"denied": ("AccessDenied", 403), "away": ("ServiceUnavailable", 503)}[accident]
        fake.fault(code, operation="SendMessage", queue=name_of(answers), status=status, times=None)
    for number in range(3):
        queue.send(leave(id=f"k{number}"), token=door.site.root, reply_to="results", correlation_id=f"c{number}")
    host = Looked(door.site.app)
    with at_work(door, fake, host):
        until(lambda: len(calls(fake, "SendMessage", answers)) > 6, "several tries")
        assert state(door).startswith("paused: ")
        assert name_of(answers) in state(door)
        assert queue.counts() == (0, 3)
        fake.heal()
        if accident == "missing":
            queue.client.create_queue(QueueName=name_of(answers))
        until(queue.empty, "an empty queue")
        assert state(door) == "ok"
    assert sorted(texts(one)["correlation_id"] for one in queue.take(answers)) == ["c0", "c1", "c2"]
    assert (len(door.rows()), set(host.asked.values())) == (3, {1})
    assert not queue.dead()
    assert set(receives(fake, queue)) == {1}


@pytest.mark.parametrize("code", ["InvalidMessageContents", "InvalidParameterValue"])
def test_an_answer_that_is_refused_for_good_is_told_in_a_dead_letter(
    code: str, tmp_path: Path, fake: SqsFake, queue: Queue, answers: str
) -> None:
    door = Door(tmp_path, fake.url, [queue], settings=f'replies = {{ results = "{answers}" }}')
    fake.fault(code, operation="SendMessage", queue=name_of(answers), times=None)
    done = queue.send(leave(), token=door.site.root, reply_to="results")
    bad = queue.send(leave("never"), token=door.site.root, reply_to="results")
    with at_work(door, fake):
        until(queue.empty, "an empty queue")
    dead = {texts(one)["x_message_id"]: texts(one) for one in queue.dead()}
    assert {id_: one["x_error"] for id_, one in dead.items()} == {done: "reply_failed", bad: "validation_failed"}
    assert {one["x_subject"] for one in dead.values()} == {"root"}
    assert "done" in dead[done]["x_detail"]
    assert "authorization" not in dead[done]
    assert len(door.rows()) == 1


def test_answers_to_a_fifo_queue_may_be_called_anything(tmp_path: Path, fake: SqsFake, queue: Queue) -> None:
    """Those of one name come in order: they are of one group."""
    replies = Queue(queue.client, f"{next(names)}-answers", fifo=True)
    door = Door(tmp_path, fake.url, [queue], settings=f'replies = {{ results = "{replies.url}" }}')
    named = ["order 7", "order 8", "o" * 129, "o" * 130, "é", "\t", "plain", "plain"]
    for name in named:
        queue.send(leave(), token=door.site.root, reply_to="results", correlation_id=name)
    queue.send(leave(), token=door.site.root, reply_to="results")
    with at_work(door, fake):
        until(queue.empty, "an empty queue")
    assert not queue.dead()
    sent = replies.take()
    assert Counter(texts(one).get("correlation_id") for one in sent) == Counter([*named, None])
    groups = {(texts(one).get("correlation_id"), one["Attributes"]["MessageGroupId"]) for one in sent}
    assert len(groups) == len(dict(groups)) == len({group for _, group in groups}) == 8


# ---- attempts and receives


@pytest.mark.parametrize(("fifo", "workers", "least"), [(False, 1, 5), (True, 1, 10), (False, 4, 20), (True, 4, 40)])
def test_a_max_receive_count_is_judged_by_attempts_workers_and_kind(
    fifo: bool, workers: int, least: int, tmp_path: Path, fake: SqsFake
) -> None:
    warned = []
    for number, most in enumerate((least, least + 1)):
        queue = Queue(client(fake.url), next(names), fifo=fifo, receives=most)
        (tmp_path / str(number)).mkdir()
        door = Door(tmp_path / str(number), fake.url, [queue], settings=f"workers = {workers}")
        faults, warnings = queues.QueueDesk(door.site.app.config.sqs).lint()
        assert not faults
        warned.append([text for text in warnings if "maxReceiveCount" in text])
        door.site.close()
    assert len(warned[0]) == 1
    assert f"above {least}" in warned[0][0]
    assert not warned[1]


def test_four_processes_bury_a_poison_head_before_sqs_does(tmp_path: Path, fake: SqsFake) -> None:
    queue = Queue(client(fake.url), next(names), fifo=True, receives=41)
    door = Door(tmp_path, fake.url, [queue], settings="workers = 4")

    class Poisoned(Looked):
        def handle(self, request: app.Request, guard: Callable[[], None]) -> app.Response:
            response = super().handle(request, guard)
            if request.idempotency_key == "P":
                raise app.AppError("poison")
            return response

    for number, key in enumerate("PABC"):
        queue.send(leave(f"2027-01-0{number + 1}", id=key), token=door.site.root, group="g")
    host, config = Poisoned(door.site.app), door.site.app.config.sqs
    runners = [runner(config, host, tmp_path / f"states-{n}") for n in range(4)]
    threads = [threading.Thread(target=one.run) for one in runners]
    for thread in threads:
        thread.start()
    try:
        until(queue.empty, "an empty queue")
    finally:
        for one in runners:
            one.stop()
        fake.advance(1.1)
        for thread in threads:
            thread.join(40)
    (dead,) = queue.dead()
    assert (json.loads(dead["Body"])["id"], texts(dead)["x_error"]) == ("P", "internal_error")
    assert [host.asked[key] for key in "ABC"] == [1, 1, 1]


DEADLY = """
import os, signal
from app import SqlProvider

class Deadly(SqlProvider):
    kind = "deadly"

    def commit(self, writes):
        for write in writes:
            if write.table == "leave" and write.value["day"] < "2000":
                os.kill(os.getpid(), signal.SIGKILL)
        return super().commit(writes)
"""


def test_a_message_that_ends_its_process_each_time_is_moved_by_sqs_after_its_receives(tmp_path: Path, fake: SqsFake) -> None:
    """Nobody is left to count its attempts, or to say why: what follows it is done."""
    queue = Queue(client(fake.url), next(names), fifo=True, receives=3)
    door = Door(tmp_path, fake.url, [queue], settings="attempts = 2")
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "deadly.py").write_text(DEADLY)
    door.toml = door.toml.replace('kind = "sql"', 'kind = "deadly"')
    queue.send(leave("1999-01-01", id="P"), token=door.site.root, group="g")
    program = Program(door, "http", "sqs")
    try:
        for deaths in (1, 2, 3):
            until(lambda most=deaths: program.told.count("the sqs 1 runner ended") == most, f"death {deaths}", 60)
            polls = [call for call in list(fake.calls) if call.operation == "ReceiveMessage" and not call.ended]
            until(lambda begun=polls: all(call.ended for call in begun), "the end of the polls that nobody hears any more")
            if deaths == 3:
                for day in ("2027-01-01", "2027-01-02", "2027-01-03"):
                    queue.send(leave(day), token=door.site.root, group="g")
            fake.advance(61)
        until(queue.empty, "an empty queue")
        assert program.told.count("the sqs 1 runner ended") == 3
    finally:
        code = program.stop()
    assert code == 0, program.told
    [letter] = json.loads(command(door, "server", "dead-letters", "list", "--json").stdout)
    assert (letter["code"], letter["attempts"]) == ("max_receives", None)
    (dead,) = queue.dead()
    assert json.loads(dead["Body"])["id"] == "P"
    assert [row["day"] for row in sorted(door.rows(), key=lambda row: row["id"])] == [
        "2027-01-01",
        "2027-01-02",
        "2027-01-03",
    ]


def test_a_request_that_is_at_work_elsewhere_uses_up_no_attempt(tmp_path: Path, fake: SqsFake, queue: Queue) -> None:
    door = Door(tmp_path, fake.url, [queue], settings="attempts = 2")
    refusals = iter([True] * 4)

    class Busy(Host):
        def handle(self, request: app.Request, guard: Callable[[], None]) -> app.Response:
            if next(refusals, False):
                raise app.Busy("the same request is at work already; ask again in a moment")
            return super().handle(request, guard)

    queue.send(leave(), token=door.site.root)
    with at_work(door, fake, Busy(door.site.app)):
        until(lambda: queue.empty() or hastened(fake, 0.05), "an empty queue")  # its seconds are short
    assert len(door.rows()) == 1
    assert not queue.dead()


@pytest.mark.parametrize("why", ["the provider is away", "its answer cannot be sent", "the same request is at work"])
def test_a_message_that_is_given_back_at_each_end_has_used_up_no_attempt(
    why: str, tmp_path: Path, fake: SqsFake, queue: Queue, answers: str
) -> None:
    door = Door(tmp_path, fake.url, [queue], settings=f'attempts = 2\nreplies = {{ results = "{answers}" }}')
    trouble, tries = threading.Event(), itertools.count(1)

    class Away(Host):
        tried = 0

        def handle(self, request: app.Request, guard: Callable[[], None]) -> app.Response:
            self.tried = next(tries)
            if trouble.is_set() and why == "the provider is away":
                raise app.Unavailable("away for the time being")
            if trouble.is_set() and why == "the same request is at work":
                raise app.Busy("the same request is at work already; ask again in a moment")
            return super().handle(request, guard)

    host = Away(door.site.app)
    trouble.set()
    if why == "its answer cannot be sent":
        fake.fault("AccessDenied", operation="SendMessage", queue=name_of(answers), status=403, times=None)
    queue.send(leave(), token=door.site.root, reply_to="results")
    for _ in range(4):
        before = host.tried
        with at_work(door, fake, host):
            until(lambda seen=before: host.tried > seen or queue.empty(), "a try")
        fake.advance(2)
    trouble.clear()
    fake.heal()
    with at_work(door, fake, host):
        until(queue.empty, "an empty queue")
    assert not queue.dead()
    assert len(queue.take(answers)) == 1
    assert len(door.rows()) == 1


# ---- a file whose process was killed after its work


class Clock:
    """Stands still until it is turned."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


class Killed(BaseException):
    """What ends a process at once."""


def killed(site: Site, monkeypatch: pytest.MonkeyPatch, method: str, when: str, work: Callable[[], Any]) -> None:
    """Begin the work in a process that is killed "before" or "after" a method of its provider."""
    provider = site.app.providers["main"]
    real = getattr(provider, method)

    def killing(*args: Any, **facts: Any) -> Any:
        if when == "after":
            real(*args, **facts)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(provider, method, killing)
        patch.setattr(site.app.audit, "best_effort", lambda *entry: None)  # what a dead process cannot write
        with pytest.raises(Killed):
            work()


@pytest.fixture(params=["sql", "file"])
def timed(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Site, Clock]]:
    clock = Clock()
    site = Site(tmp_path, PROVIDERS[request.param] + "[files.docs]\n", clock=clock)
    yield site, clock
    site.close()


@pytest.mark.parametrize("action", ["create", "update", "delete"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_file_whose_process_was_killed_is_answered_as_done_after_the_minute(
    when: str, action: str, timed: tuple[Site, Clock], monkeypatch: pytest.MonkeyPatch
) -> None:
    site, clock = timed
    if action != "create":
        site.put("files/docs/a.txt", body=b"old")
    body: dict[str, Any] = {} if action == "delete" else {"body": b"new"}

    def work() -> app.Response:
        return site.ask(app.Action(action), "files/docs/a.txt", idempotency_key="k", **body)

    killed(site, monkeypatch, "remove" if action == "delete" else "publish", when, work)
    with pytest.raises(app.Busy):
        work()
    clock.now += 61
    done = work()
    assert done.created == (action == "create")
    assert work().replayed
    if action == "delete":
        with pytest.raises(app.NotFound):
            site.bytes("files/docs/a.txt")
    else:
        assert site.bytes("files/docs/a.txt") == b"new"


def test_what_another_has_put_there_is_not_taken_for_ours(
    timed: tuple[Site, Clock], monkeypatch: pytest.MonkeyPatch
) -> None:
    site, clock = timed

    def work() -> app.Response:
        return site.ask(app.Action.CREATE, "files/docs/a.txt", body=b"ours", idempotency_key="k")

    killed(site, monkeypatch, "publish", "before", work)
    site.put("files/docs/a.txt", body=b"another's")
    clock.now += 61
    with pytest.raises(app.Conflict) as caught:
        work()
    assert not isinstance(caught.value, app.Busy)
    assert site.bytes("files/docs/a.txt") == b"another's"


# ---- dead letters and their size


@contextmanager
def with_s3(fake: SqsFake, judge: Callable[[aws_server.Asked], Any]) -> Iterator[str]:
    """The address of a service whose SQS is the fake, and whose S3 is the emulator where `judge` says nothing else."""

    def judged(asked: aws_server.Asked) -> Any:
        service, _, operation = asked.headers.get("X-Amz-Target", "").partition(".")
        if service != "AmazonSQS":
            return judge(asked)
        answer = fake.answer(operation, json.loads(asked.body))
        return "hang" if answer is None else (answer[0], "application/x-amz-json-1.0", json.dumps(answer[2]).encode())

    proxy = aws_server.Proxy(aws_server.endpoint())
    proxy.judge = judged
    try:
        yield proxy.url
    finally:
        proxy.close()


@pytest.mark.parametrize("limit", [2048, MAX_BYTES])
def test_a_copy_that_is_too_large_has_fewer_attributes(limit: int, tmp_path: Path, fake: SqsFake) -> None:
    """As large as its queue allows; without what its sender gave it, 100 bytes are left for the reasons. The name of its
    queue alone would take most of them."""
    queue = Queue(client(fake.url), f"{next(names)}-{'n' * 60}")
    door = Door(tmp_path, fake.url, [queue])
    for url in (queue.url, queue.dead_url):
        queue.client.set_queue_attributes(QueueUrl=url, Attributes={"MaximumMessageSize": str(limit)})
    empty = json.dumps(envelope("forms/other", "create", {"text": ""}))
    body = empty.replace('""', f'"{"x" * (limit - 100 - len(empty))}"')
    sent = queue.send(body, colour="b" * 88)
    with at_work(door, fake):
        until(queue.empty, "an empty queue")
    (dead,) = queue.dead()
    assert dead["Body"] == body
    told = texts(dead)
    assert (told["x_error"], told["x_message_id"]) == ("sign_in_needed", sent)
    assert "DeadLetterQueueSourceArn" not in dead["Attributes"]


def test_a_copy_that_is_taken_nowhere_is_refused_and_does_not_wait_for_a_bucket() -> None:
    class Full:
        def send(self, body: str, attributes: Any, group: str, key: str, large_key: str = "") -> str:
            raise app.PayloadUnavailable("no such bucket") if large_key else app.Refused("too long")

    queue: Any = sqs.SqsQueue(None, "https://sqs.test/1/intake")
    queue.dead_letters = Full()
    with pytest.raises(app.Refused, match="too long"):  # which is tried again, while other messages are worked on
        queue.send_to_dlq(app.Message("m", "{}"), app.SignInNeeded("sign in"), 1)


def test_a_copy_that_does_not_fit_at_all_goes_by_s3_and_can_be_sent_back(
    tmp_path: Path, fake: SqsFake, queue: Queue
) -> None:
    s3, bucket = client(aws_server.endpoint(), "s3"), f"bucket-{next(names)}"
    s3.create_bucket(Bucket=bucket)
    empty = json.dumps(envelope("forms/other", "create", {"text": ""}))
    body = empty.replace('""', f'"{"x" * (2048 - len(empty))}"')
    for url in (queue.url, queue.dead_url):
        queue.client.set_queue_attributes(QueueUrl=url, Attributes={"MaximumMessageSize": "2048"})
    queue.send(body)
    with with_s3(fake, lambda asked: None) as url:
        door = Door(tmp_path, url, [queue], settings=f'reply_bucket = "{bucket}"')
        with at_work(door, fake):
            until(queue.empty, "an empty queue")
            (dead,) = queue.client.receive_message(
                QueueUrl=queue.dead_url, VisibilityTimeout=0, MessageAttributeNames=["All"]
            )["Messages"]
            kind, place = json.loads(dead["Body"])
            assert (kind, place["s3BucketName"], texts(dead)["x_error"]) == (POINTER, bucket, "sign_in_needed")
            assert int(texts(dead)["ExtendedPayloadSize"]) == len(body)
            assert s3.get_object(Bucket=bucket, Key=place["s3Key"])["Body"].read() == body.encode()
            done = redrive(door, "--all")
            assert done.returncode == 0, done.stderr
            until(lambda: door.rows("other"), "the row")
    assert not queue.dead()


@pytest.mark.parametrize("binary", [0, 5, 9])
@pytest.mark.parametrize("count", [0, 3, 4, 10])
def test_a_dead_letter_says_all_in_one_form_and_what_it_had_comes_back(count: int, binary: int) -> None:
    given = {f"a{n}": app.Attribute(str(n)) for n in range(count)} | {"n": app.Attribute("7", "Number")}
    if count > binary:
        given[f"a{binary}"] = app.Attribute(b"\0\xff", "Binary")
    given = dict(list(given.items())[:10])
    message = app.Message("m", "{}", given | {"Authorization": app.Attribute("Bearer x")})
    body, attributes = sqs.dead_letter(message, app.SignInNeeded("sign in"), 1, "intake")
    assert len(attributes) <= 9, "one more may be needed for the size of a body elsewhere"
    assert [attributes[name].value for name in ("x_error", "x_detail", "x_attempts", "x_source", "x_message_id")] == [
        "sign_in_needed", "sign in", "1", "intake", "m",
    ]  # fmt: skip
    letter = queues.read_dead_letter("dead", app.Message("d", body, attributes))
    assert letter.attributes == given
    assert all(letter.facts()["attributes"].values()), "none is said to be nothing"
    assert (letter.code, letter.attempts, letter.source) == ("sign_in_needed", 1, "intake")


@pytest.mark.parametrize(
    ("packed", "attribute"),
    [
        ("9", app.Attribute("9")),
        ({"type": "Number", "base64": None, "text": "9"}, app.Attribute("9", "Number")),
        ({"type": "Binary", "base64": "AP8=", "text": None}, app.Attribute(b"\0\xff", "Binary")),
    ],
)
def test_a_dead_letter_of_the_version_before_says_the_same(packed: object, attribute: app.Attribute) -> None:
    facts = {
        "x_error": "sign_in_needed", "x_detail": "sign in", "x_attempts": "1", "x_source": "intake", "x_subject": "ann",
        "x_message_id": "m",
    }  # fmt: skip
    kept = {f"a{n}": app.Attribute(str(n)) for n in range(9)}
    reasons = app.Attribute(json.dumps(facts | {"attributes": {"a9": packed}}))
    letter = queues.read_dead_letter("dead", app.Message("d", "{}", kept | {"x_dead_letter": reasons}))
    assert letter.attributes == kept | {"a9": attribute}
    assert (letter.code, letter.detail, letter.attempts) == ("sign_in_needed", "sign in", 1)
    assert (letter.source, letter.subject, letter.message_id) == ("intake", "ann", "m")
    assert all(letter.facts()["attributes"].values()), "none is said to be nothing"
    alone = app.Attribute(json.dumps({"x_error": "invalid_token", "x_message_id": "m"}))
    letter = queues.read_dead_letter("dead", app.Message("d", "{}", {"n": attribute, "x_dead_letter": alone}))
    assert (letter.code, letter.message_id, letter.attributes) == ("invalid_token", "m", {"n": attribute})


# ---- what only looks like a message


def buried(door: Door, fake: SqsFake) -> dict[str, dict[str, Any]]:
    """The dead letters that come of what was sent, by the ids of the messages that failed."""
    queue = door.queues[0]
    with at_work(door, fake):
        until(queue.empty, "an empty queue")
    return {texts(one)["x_message_id"]: one for one in queue.dead()}


def s3_event(**stored: Any) -> dict[str, Any]:
    """A notification of one object, some of whose facts are others."""
    record = event("a")
    record["s3"]["bucket"] |= {"name": stored.pop("bucket", "drop")}
    record |= {name: stored.pop(name) for name in ("eventName",) if name in stored}
    record["s3"]["object"] |= stored
    return {"Records": [record]}


def notification(**facts: Any) -> dict[str, Any]:
    return {"Type": "Notification", "MessageId": "n1", "TopicArn": "arn:aws:sns:x", "Message": json.dumps(leave()), **facts}


LONE = "\ud800"
UNREADABLE = [
    (envelope(f"forms/{LONE}", "create", {}), "bad_envelope"),
    (envelope(f"forms/leave/records/{LONE}", "read"), "bad_envelope"),
    (leave(id=LONE), "bad_envelope"),
    (leave(params={LONE: "x"}), "bad_envelope"),
    (leave(**{LONE: "x"}), "bad_envelope"),
    (envelope("forms/leave", LONE, {}), "bad_envelope"),
    (leave(LONE), "validation_failed"),
    (envelope("files/docs/a.txt", "create", {"text": LONE}), "bad_envelope"),
    (notification(MessageId=LONE), "bad_envelope"),
    (notification(Message=json.dumps(leave(id=LONE))), "bad_envelope"),
    (s3_event(key=LONE), "bad_envelope"),
    (s3_event(bucket=LONE), "bad_envelope"),
    (s3_event(eventName=LONE), "bad_envelope"),
]


def test_a_lone_surrogate_anywhere_is_refused_at_once(
    tmp_path: Path, fake: SqsFake, queue: Queue, caplog: pytest.LogCaptureFixture
) -> None:
    door = Door(tmp_path, fake.url, [queue], each='events = { resource = "forms/arrivals", role = "intake" }')
    wanted = {queue.send(body, token=door.site.root): code for body, code in UNREADABLE}
    dead = buried(door, fake)
    assert {id_: texts(one)["x_error"] for id_, one in dead.items()} == wanted
    assert {texts(one)["x_attempts"] for one in dead.values()} == {"1"}
    assert set(receives(fake, queue)) == {1}
    assert not [r for r in caplog.records if r.exc_info]
    assert not door.rows() + door.rows("arrivals")


def test_a_body_with_a_token_and_a_lone_surrogate_is_buried_at_once_without_the_token(
    tmp_path: Path, fake: SqsFake, queue: Queue
) -> None:
    door = Door(tmp_path, fake.url, [queue])
    for body in (
        leave(LONE, authorization=door.site.root),
        notification(Message=LONE, MessageAttributes={"authorization": {"Type": "String", "Value": door.site.root}}),
    ):
        queue.send(body)
    dead = buried(door, fake)
    assert [(texts(one)["x_error"], texts(one)["x_attempts"]) for one in dead.values()] == [("bad_envelope", "1")] * 2
    assert door.site.root.split()[1] not in json.dumps(list(dead.values()))
    assert "\\ud800" in next(iter(dead.values()))["Body"]


def test_what_looks_like_a_token_in_a_body_that_cannot_be_read_is_taken_out(
    tmp_path: Path, fake: SqsFake, queue: Queue
) -> None:
    door = Door(tmp_path, fake.url, [queue])
    (token,) = [one for one in door.site.app.authority.tokens() if one.subject == "root"]
    secrets = [door.site.root, door.site.root.split()[1], "Bearer s3cr.et", door.site.app.authority.short(token)]
    unreadable = [
        "no JSON: {}",
        '{"v": 1, "v": 1, "authorization": "{}"}',
        '{"authorization": "{}", "data": ' + "[" * 2000 + "]" * 2000 + "}",
        '{"authorization": "{}", ',
    ]
    sent = {}
    for body, secret in itertools.product(unreadable, secrets):
        sent[queue.send(body.replace("{}", secret))] = body.replace("{}", "[token]")
    dead = buried(door, fake)
    assert {id_: one["Body"] for id_, one in dead.items()} == sent
    assert {texts(one)["x_error"] for one in dead.values()} == {"bad_envelope"}
    told = json.dumps(list(dead.values()))
    assert not [secret for secret in secrets if secret in told]


def test_a_credential_that_is_not_plain_is_refused_and_never_the_public(tmp_path: Path, fake: SqsFake, queue: Queue) -> None:
    door = Door(tmp_path, fake.url, [queue], more='[public]\ngrants = ["forms/other:create"]')

    def text(value: str) -> dict[str, str]:
        return {"DataType": "String", "StringValue": value}

    given: list[dict[str, Any]] = [
        {"authorization": {"DataType": "Binary", "BinaryValue": b"Bearer nonsense"}},
        {"authorization": {"DataType": "Binary", "BinaryValue": door.site.root.encode()}},
        {"authorization": text("   ")},
        {"Authorization": text("Bearer")},
        {"authorization": text(door.site.root), "Authorization": text("Bearer nonsense")},
        {"authorization": text(door.site.root), "AUTHORIZATION": text(door.site.root)},
        {"authorization": text(door.site.root), "Authorization": text(" ")},
    ]
    for attributes in given:
        body = json.dumps(envelope("forms/other", "create", {"text": "x"}))
        queue.client.send_message(QueueUrl=queue.url, MessageBody=body, MessageAttributes=attributes)
    dead = buried(door, fake)
    assert [texts(one)["x_error"] for one in dead.values()] == ["invalid_token"] * len(given)
    assert door.site.root.split()[1] not in str(dead)
    assert not door.rows("other")


def test_messages_with_a_refused_token_are_in_the_audit_with_their_queue(
    tmp_path: Path, fake: SqsFake, queue: Queue
) -> None:
    door = Door(tmp_path, fake.url, [queue])
    old = door.site.app.office.issue(app.Caller("t"), "bob", ["forms/leave:create"], [], 3600)
    revoked = "Bearer " + door.site.app.authority.jwt(old)
    door.site.app.office.revoke(app.Caller("t"), [old])
    for token in ["Bearer eyJh.secret.x", revoked, "Basic YTpi", *["Bearer stl_forged"] * 20]:
        queue.send(leave(), token=token)
    queue.send(leave())  # nobody tried anything
    assert len(buried(door, fake)) == 24
    door.site.app.office.refusals.flush()
    told = [entry for entry in door.site.audit() if entry["outcome"] == "denied"]
    assert {(one["action"], one["door"], one["client"], one["code"]) for one in told} == {
        ("use", "sqs", f"queue {name_of(queue.url)}"[:40], "invalid_token")
    }
    assert sum(one["count"] for one in told) == 23
    assert len(told) < 10
    assert not [secret for secret in ("eyJh", "stl_", revoked.split()[1], "YTpi") if secret in str(told)]


def test_every_record_of_an_s3_event_is_tried_and_a_bad_one_is_told(tmp_path: Path, fake: SqsFake, queue: Queue) -> None:
    door = Door(tmp_path, fake.url, [queue], each='events = { resource = "forms/arrivals", role = "intake" }')
    first, bad, last = event("a"), event("b"), event("c")
    bad["s3"]["object"]["size"] = "big"
    queue.send({"Records": [first, bad, last]})
    (dead,) = buried(door, fake).values()
    assert texts(dead)["x_error"] == "validation_failed"
    assert "size_bytes" in texts(dead)["x_detail"]
    assert sorted(row["key"] for row in door.rows("arrivals")) == ["a", "c"]


TEST_EVENT = {
    "Service": "Amazon S3", "Event": "s3:TestEvent", "Time": "2027-01-01T00:00:00.000Z", "Bucket": "drop",
    "RequestId": "5582815E1AEA5ADF", "HostId": "8cLeGAmw098X5cv4Zkwcmo8vvZa3eH3eKxsPzbB9wrR+YstdA6Knx4Ip8EXAMPLE",
}  # fmt: skip


def test_a_test_event_is_acknowledged_everywhere_and_an_envelope_is_never_taken_for_one(
    tmp_path: Path, fake: SqsFake, queue: Queue
) -> None:
    door = Door(tmp_path, fake.url, [queue])
    queue.send(TEST_EVENT)
    wrong = [
        queue.send(body, token=door.site.root)
        for body in (leave(Event="s3:TestEvent"), leave() | TEST_EVENT, {"Event": "s3:TestEvent"}, s3_event())
    ]
    dead = buried(door, fake)
    assert {id_: texts(one)["x_error"] for id_, one in dead.items()} == dict.fromkeys(wrong, "bad_envelope")
    assert "/Event" in texts(dead[wrong[0]])["x_detail"]
    assert not door.rows()


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        (envelope("files/docs/a.txt", "create", {"text": LONE}), "/data/text"),
        (envelope("files/docs/a.txt", "update", {"text": "a" + LONE}), "/data/text"),
        (envelope("forms/leave/records/x", "delete", {"day": "2027-01-01"}), "/data"),
        (envelope("files/docs/a.txt", "delete", {"text": "a"}), "/data"),
        (leave(id=LONE), "/id"),
        (envelope(f"forms/{LONE}", "create", {}), "/resource"),
    ],
)
def test_what_is_wrong_is_told_where_it_is(body: Any, pointer: str) -> None:
    message = app.Message("m", json.dumps(body))
    with pytest.raises(app.BadEnvelope) as caught:
        envelopes.read_envelope(app.load_json(message.body), message, None, "r")
    assert [fault.pointer for fault in caught.value.faults] == [pointer]


# ---- for the time being


def test_a_full_disk_pauses_the_queue_and_uses_up_no_attempt(
    tmp_path: Path, fake: SqsFake, queue: Queue, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    door = Door(tmp_path, fake.url, [queue], settings="attempts = 2\nthreads = 2")
    full, tries = threading.Event(), Counter[str]()

    class Full(Host):
        def handle(self, request: app.Request, guard: Callable[[], None]) -> app.Response:
            tries["all"] += 1
            if full.is_set():
                raise app.StorageFull("no room")
            return super().handle(request, guard)

    full.set()
    for number in range(5):
        queue.send(leave(id=f"k{number}"), token=door.site.root)
    with at_work(door, fake, Full(door.site.app)):
        until(lambda: tries["all"] > 8, "many tries")
        assert state(door).startswith("paused: ")
        received = len(calls(fake, "ReceiveMessage", queue.url))
        until(lambda: tries["all"] > 10, "more of them")
        assert len(calls(fake, "ReceiveMessage", queue.url)) <= received + 1, "nothing is received meanwhile"
        assert len(said(caplog)) < 5
        full.clear()
        until(queue.empty, "an empty queue")
    assert len(door.rows()) == 5
    assert not queue.dead()
    assert set(receives(fake, queue)) == {1}
    assert {line["outcome"] for line in lines(caplog)} == {"done"}


@pytest.mark.parametrize("provider", ["sql", "file"])
def test_messages_wait_for_room_on_the_disk_of_records_and_files_and_none_is_lost(
    provider: str, tmp_path: Path, fake: SqsFake, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the system says it: what the reserve keeps is left alone, deletes go on, and nothing becomes a dead letter."""
    left, asked = [64_000_000], Counter[str]()

    def statvfs(path: Any) -> Any:
        os.stat(path)
        asked["times"] += 1
        return SimpleNamespace(f_frsize=1, f_blocks=64_000_000, f_bavail=left[0], f_files=0, f_favail=0)

    door = Door(tmp_path, fake.url, [queue], settings="attempts = 2\nthreads = 2", provider=provider)
    door.site.put("files/docs/old.txt", body=b"old")
    row = door.site.create("forms/other", {"text": "old"}).data["id"]
    monkeypatch.setattr(os, "statvfs", statvfs)
    left[0] = 1_000_000
    for number in range(3):
        queue.send(leave(id=f"k{number}"), token=door.site.root)
        queue.send(envelope("files/docs/new.txt", "update", {"text": f"{number}"}, id=f"f{number}"), token=door.site.root)
    with at_work(door, fake):
        until(lambda: state(door).startswith("paused: "), "a pause")
        until(lambda asks=asked["times"]: asked["times"] > asks + 40, "many tries")
        assert not door.rows()
        assert queue.counts() != (0, 0)
        door.site.delete("files/docs/old.txt")
        door.site.delete(f"forms/other/records/{row}")
        left[0] = 60_000_000
        until(queue.empty, "an empty queue")
    assert not queue.dead()
    assert len(door.rows()) == 3
    assert door.site.bytes("files/docs/new.txt") in (b"0", b"1", b"2")
    assert set(receives(fake, queue)) == {1}


DENIED = (403, "application/xml", b"<Error><Code>AccessDenied</Code><Message>no</Message></Error>")


def test_a_payload_that_is_denied_is_the_trouble_of_its_message_alone(
    tmp_path: Path, fake: SqsFake, queue: Queue, caplog: pytest.LogCaptureFixture
) -> None:
    """One object is denied for good, another one twice."""
    caplog.set_level(logging.INFO)
    s3, bucket, asked = client(aws_server.endpoint(), "s3"), f"bucket-{next(names)}", Counter[str]()
    s3.create_bucket(Bucket=bucket)
    s3.put_object(Bucket=bucket, Key="later", Body=json.dumps(leave("2027-01-01")).encode())
    hopeless = threading.Event()

    def judge(one: aws_server.Asked) -> Any:
        key = one.path.rpartition("/")[2].partition("?")[0]
        asked[key] += one.method == "GET"
        if key == "never" and asked[key] > 2:
            hopeless.wait(20)
        return DENIED if key == "never" or (key == "later" and one.method == "GET" and asked[key] < 3) else None

    with with_s3(fake, judge) as url:
        door = Door(tmp_path, url, [queue], settings=f'buckets = ["{bucket}"]\nattempts = 4\nthreads = 3')
        ids = [
            queue.send(
                json.dumps([POINTER, {"s3BucketName": bucket, "s3Key": key}]), token=door.site.root, ExtendedPayloadSize="9"
            )
            for key in ("never", "later")
        ]
        with at_work(door, fake):
            until(lambda: asked["never"] > 2, "the third try")
            for day in range(2, 5):
                queue.send(leave(f"2027-01-0{day}"), token=door.site.root)
            until(lambda: len(door.rows()) == 4, "the others")
            assert state(door) == "ok"
            hopeless.set()
            until(queue.empty, "an empty queue")
        (dead,) = queue.dead()
    told = texts(dead)
    assert (told["x_message_id"], told["x_error"], told["x_attempts"]) == (ids[0], "payload_unavailable", "4")
    assert not [text for text in said(caplog) if "paused" in text]
    assert len(door.rows()) == 4


def test_deleting_that_is_denied_pauses_the_queue(
    tmp_path: Path, fake: SqsFake, queue: Queue, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    door = Door(tmp_path, fake.url, [queue], settings='visibility = "4s"\nattempts = 1')
    faults: list[Any] = []

    class Denied(Looked):
        def handle(self, request: app.Request, guard: Callable[[], None]) -> app.Response:
            if not faults:
                faults.append(fake.fault("AccessDenied", operation="DeleteMessageBatch", status=403, times=None))
            return super().handle(request, guard)

    queue.send(leave(id="k1"), token=door.site.root)
    host = Denied(door.site.app)
    with at_work(door, fake, host):
        until(
            lambda: state(door) == f"paused: deleting from {name_of(queue.url)}: access was denied (AccessDenied)", "a pause"
        )
        denied = len(calls(fake, "DeleteMessageBatch", queue.url))
        queue.send(leave(id="k2"), token=door.site.root)
        until(lambda: len(calls(fake, "DeleteMessageBatch", queue.url)) > denied + 3, "more tries")
        assert state(door).startswith("paused: deleting")
        assert len(said(caplog)) < 5
        assert sum(host.asked.values()) <= 2
        faults[0].times = 0
        until(queue.empty, "an empty queue")
        until(lambda: state(door) == "ok", "the end of the pause")
    assert len(door.rows()) == 2
    assert not queue.dead()
    assert max(receives(fake, queue)) <= 2


def test_holding_that_is_denied_pauses_the_queue(
    tmp_path: Path, fake: SqsFake, queue: Queue, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    door = Door(tmp_path, fake.url, [queue], settings='visibility = "2s"\nthreads = 1\nattempts = 1')
    faults: list[Any] = []
    go_on = threading.Event()

    class Slow(Looked):
        def handle(self, request: app.Request, guard: Callable[[], None]) -> app.Response:
            if not faults:
                faults.append(fake.fault("AccessDenied", operation="ChangeMessageVisibilityBatch", status=403, times=None))
            go_on.wait(20)
            return super().handle(request, guard)

    for number in range(3):
        queue.send(leave(id=f"k{number}"), token=door.site.root)
    with at_work(door, fake, Slow(door.site.app)):
        paused = f"paused: holding messages of {name_of(queue.url)}: access was denied (AccessDenied)"
        until(lambda: state(door) == paused, "a pause")
        denied = len(calls(fake, "ChangeMessageVisibilityBatch", queue.url))
        until(lambda: len(calls(fake, "ChangeMessageVisibilityBatch", queue.url)) > denied + 2, "more tries")
        until(lambda: queue.counts()[0] == 3, "the end of the lease")
        assert state(door) == paused
        assert len(said(caplog)) < 5
        faults[0].times = 0
        go_on.set()
        until(queue.empty, "an empty queue")
        until(lambda: state(door) == "ok", "the end of the pause")
    assert len(door.rows()) == 3
    assert not queue.dead()


@pytest.mark.parametrize("accident", ["gone", "denied"])
def test_a_dead_letter_queue_that_cannot_be_sent_to_pauses_the_queue(
    accident: str, tmp_path: Path, fake: SqsFake, queue: Queue, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    door = Door(tmp_path, fake.url, [queue], settings="attempts = 2")
    dead = name_of(queue.dead_url)
    with at_work(door, fake):
        queue.send(leave("2027-01-01"), token=door.site.root)
        until(queue.empty, "the first")
        if accident == "gone":
            queue.client.delete_queue(QueueUrl=queue.dead_url)
        else:
            fake.fault("AccessDenied", operation="SendMessage", queue=dead, status=403, times=None)
        sent = {queue.send("no envelope") for _ in range(3)}
        until(lambda: state(door).startswith("paused: "), "a pause")
        assert dead in state(door)
        looks = len([call for call in list(fake.calls) if call.error])
        until(lambda: len([call for call in list(fake.calls) if call.error]) > looks + 4, "more looks")
        assert state(door).startswith("paused: ")
        assert sum(queue.counts()) == 3
        assert len(said(caplog)) < 5
        fake.heal()
        if accident == "gone":
            queue.client.create_queue(QueueName=dead)
        queue.send(leave("2027-01-02"), token=door.site.root)
        until(queue.empty, "an empty queue")
        until(lambda: state(door) == "ok", "the end of the pause")
    letters = [texts(one) for one in queue.dead()]
    assert sorted(one["x_message_id"] for one in letters) == sorted(sent)
    assert {one["x_error"] for one in letters} == {"bad_envelope"}
    assert len(door.rows()) == 2


# ---- holding


def test_there_is_never_less_than_no_room() -> None:
    scheduler, count = deliveries.Scheduler(2), itertools.count()
    queue = cast(app.Queue, SimpleNamespace(most_held_s=3600))

    def delivery() -> Any:
        return deliveries.Delivery(queue, app.Message(str(next(count)), "{}"), time.monotonic() + 60, time.monotonic)

    assert scheduler.room(0.0, 0.0) == 6, "twice as many may wait as are at work"
    scheduler.put([delivery() for _ in range(8)])  # of other groups than there was room for, of which nobody knew
    for _ in range(2):
        scheduler.done(scheduler.take())
        assert scheduler.room(0.0, 0.0) == 0
    scheduler.done(scheduler.take())
    assert scheduler.room(0.0, 0.0) == 1


class Hasty(sqs.SqsService):  # type: ignore[misc]
    """Waits for an answer a fifteenth of the time that it usually does: so 2 s of visibility are as 30."""

    def __init__(self, config: app.SqsConfig, connections: int = 10) -> None:
        super().__init__(config, connections)
        self.calls.close()
        given = aws_server.client("sqs", config.endpoint, read_timeout=10 / 15, max_pool_connections=connections)
        self.calls = app.plugin("aws").Service("[sqs]", "SQS", given, attempts=sqs.ATTEMPTS)


@pytest.mark.parametrize(("what", "visibility"), [("a backoff", "2s"), ("a sign of life", "3s")])
def test_a_call_that_hangs_costs_no_other_its_lease(
    what: str, visibility: str, tmp_path: Path, fake: SqsFake, queue: Queue
) -> None:
    """Two others come while it hangs, from its queue and from another one, and are at work until they are extended."""
    second = Queue(queue.client, next(names))
    door = Door(tmp_path, fake.url, [queue, second], settings=f'visibility = "{visibility}"\nwait = "20s"')
    handled, held, lost, over = Counter[str](), list[str](), list[str](), threading.Event()

    def hang() -> Any:
        return fake.fault(operation="ChangeMessageVisibilityBatch", queue=name_of(queue.url), withheld=True)

    def extended(url: str, key: str) -> bool:
        handles = {h for h, one in fake.queues[name_of(url)].handles.items() if json.loads(one.body)["id"] == key}
        entries = [call.request["Entries"] for call in calls(fake, "ChangeMessageVisibilityBatch", url) if call.answer]
        return any(entry["ReceiptHandle"] in handles for batch in entries for entry in batch)

    class Slow(Host):
        def handle(self, request: app.Request, guard: Callable[[], None]) -> app.Response:
            key = request.idempotency_key
            handled[key] += 1
            if key != "hangs":
                url = second.url if key == "second" else queue.url
                until(lambda: extended(url, key) or is_lost(guard), "a sign of life")
                (lost if is_lost(guard) else held).append(key)
            elif what == "a backoff" and handled[key] == 1:
                faults.append(hang())
                raise app.AppError("something went wrong")
            else:
                over.wait(20)
            return super().handle(request, guard)

    faults: list[Any] = []
    with at_work(door, fake, Slow(door.site.app), service_class=Hasty):
        queue.send(leave(id="hangs"), token=door.site.root)
        until(lambda: handled["hangs"], "work")
        if what == "a sign of life":
            faults.append(hang())
        until(lambda: faults and not faults[0].times, "a call that hangs")
        for one, key in ((queue, "first"), (second, "second")):
            one.send(leave(id=key), token=door.site.root)
        try:
            until(lambda: len(lost + held) == 2, "both")
        finally:
            over.set()
        until(lambda: queue.empty() and second.empty(), "empty queues")
        fake.heal()
    assert not lost
    assert (handled["first"], handled["second"]) == (1, 1)
    assert len(door.rows()) == 3


def test_a_delivery_that_was_lost_after_its_work_says_nothing_more(
    tmp_path: Path, fake: SqsFake, queue: Queue, answers: str
) -> None:
    settings = f'visibility = "2s"\nattempts = 1\nreplies = {{ results = "{answers}" }}'
    door = Door(tmp_path, fake.url, [queue], settings=settings)
    name, done = name_of(queue.url), Counter[str]()
    finished = threading.Barrier(4)

    class Late(Host):
        def handle(self, request: app.Request, guard: Callable[[], None]) -> app.Response:
            done[request.idempotency_key] += 1
            try:
                return super().handle(request, guard)
            finally:
                if done[request.idempotency_key] == 1:
                    finished.wait(20)
                    until(lambda: is_lost(guard), "the news that the lease is lost")

    weak = door.site.token("ann", "views/leave:read")
    queue.send(leave(id="refused"), token=weak, reply_to="results")
    queue.send(leave(id="done"), token=door.site.root, reply_to="results")
    queue.send(envelope("views/leave", "read", id="read"), token=door.site.root, reply_to="results")
    with at_work(door, fake, Late(door.site.app)):
        finished.wait(20)
        fake.lose(name, to_another=True)
        until(lambda: door.counted("lost") == 3, "three lost leases")
        assert not calls(fake, "SendMessage", answers, queue.dead_url)
        assert not deletes(fake, queue.url)
        fake.advance(31)  # the other consumer has died
        until(queue.empty, "an empty queue")
    assert [texts(one)["x_error"] for one in queue.dead()] == ["insufficient_scope"]
    assert Counter(texts(one)["status"] for one in queue.take(answers)) == {"403": 1, "201": 1, "200": 1}
    assert len(door.rows()) == 1


@pytest.mark.parametrize("visibility_h", [5, 9, 12])
def test_a_message_is_held_as_long_as_sqs_allows(visibility_h: int, tmp_path: Path) -> None:
    now = [1_800_000_000.0]
    with SqsFake(clock=lambda: now[0]) as fake:
        queue = Queue(client(fake.url), next(names))
        door = Door(tmp_path, fake.url, [queue], settings=f'visibility = "{visibility_h}h"')
        service, visibility_s = sqs.SqsService(door.site.app.config.sqs), visibility_h * 3600
        held_queue, began = sqs.SqsQueue(service, queue.url), now[0]
        held_messages = deliveries.Leases(visibility_s, clock=lambda: now[0])
        queue.send(leave())
        (held,) = held_messages.hold(held_queue, held_queue.receive(1, 0, visibility_s))
        while now[0] + visibility_s / 2 < began + 12 * 3600:
            now[0] += visibility_s / 2
            held_messages.beat()
            assert not is_lost(held.guard), f"after {(now[0] - began) / 3600:g} h"
            assert queue.counts() == (0, 1)
        assert not [
            call.answer for call in calls(fake, "ChangeMessageVisibilityBatch", queue.url) if "Failed" in call.answer
        ]
        now[0] = began + 12 * 3600
        assert is_lost(held.guard)
        service.close()
        door.site.close()


@pytest.mark.parametrize(("visibility", "warned"), [("29s", True), ("30s", False)])
def test_a_visibility_that_one_slow_call_outlasts_is_a_warning(
    visibility: str, warned: bool, tmp_path: Path, fake: SqsFake, queue: Queue
) -> None:
    door = Door(tmp_path, fake.url, [queue], settings=f'visibility = "{visibility}"')
    told = json.loads(command(door, "server", "check", "--json").stdout)
    assert bool([text for text in told["warnings"] if "visibility" in text]) == warned, told


# ---- the end, whatever the service does


class Ill(sqs.SqsQueue):  # type: ignore[misc]
    """Becomes unable to delete or to change what is held, as `sick` says."""

    sick: set[str]

    def delete(self, handles: Sequence[str]) -> list[str]:
        if "delete" in self.sick and list(handles) != ["none"]:
            self.sick.add("tried")
            raise app.Forbidden("deleting: access was denied")
        return list(super().delete(handles))

    def extend(self, times: Sequence[tuple[str, int]]) -> list[str]:
        if "change" in self.sick and times[0][0] != "none":
            time.sleep(1)
            raise app.Unavailable("holding: it hangs")
        return list(super().extend(times))


def test_a_delete_that_is_denied_does_not_hold_up_the_end(tmp_path: Path, fake: SqsFake) -> None:
    queue = Queue(client(fake.url), next(names), fifo=True)
    door = Door(tmp_path, fake.url, [queue], settings='drain_timeout = "15s"')
    queue.send(leave(), token=door.site.root, group="g")

    class Denied(Ill):
        sick: ClassVar[set[str]] = {"delete"}

    with at_work(door, fake, queue_class=Denied):
        until(lambda: "tried" in Denied.sick and len(door.rows()) == 1, "a delete that is denied")
        began = time.monotonic()
    assert time.monotonic() - began < 8
    assert door.counted("undeleted") == 1
    fake.advance(61)
    with at_work(door, fake):
        until(queue.empty, "an empty queue")
    assert len(door.rows()) == 1
    assert not queue.dead()


def test_what_was_not_begun_is_given_back_in_one_call_and_not_waited_for_when_that_fails(
    tmp_path: Path, fake: SqsFake
) -> None:
    queue = Queue(client(fake.url), next(names), fifo=True)
    door = Door(tmp_path, fake.url, [queue], settings='drain_timeout = "2s"')
    reached, go_on = threading.Event(), threading.Event()

    class Slow(Host):
        def handle(self, request: app.Request, guard: Callable[[], None]) -> app.Response:
            reached.set()
            assert go_on.wait(20)
            return super().handle(request, guard)

    class Hanging(Ill):
        sick: ClassVar[set[str]] = set()

    for number in range(10):
        queue.send(leave(id=f"k{number}"), token=door.site.root, group="g")
    with at_work(door, fake, Slow(door.site.app), queue_class=Hanging):
        assert reached.wait(20)
        until(lambda: queue.counts()[1] == 10, "the group")
        Hanging.sick.add("change")
        began = time.monotonic()
    assert time.monotonic() - began < 7, "one call that fails, and not one for each"
    go_on.set()
    fake.advance(61)
    with at_work(door, fake):
        until(queue.empty, "an empty queue")
    assert len(door.rows()) == 10


def test_a_dead_letter_that_is_refused_keeps_its_reason_however_often(tmp_path: Path, fake: SqsFake, queue: Queue) -> None:
    door = Door(tmp_path, fake.url, [queue], settings="attempts = 2")
    queue.send("no envelope", token=door.site.root)
    refused: list[str] = []

    class Refusing(sqs.SqsQueue):  # type: ignore[misc]
        def send(self, *given: Any) -> str:
            if self.url == queue.dead_url and len(refused) < 12:  # four times, in each of three ways
                refused.append(self.url)
                raise app.Refused("sending: refused (InvalidParameterValue)")
            return str(super().send(*given))

    with at_work(door, fake, queue_class=Refusing):
        until(queue.empty, "an empty queue")
    (dead,) = queue.dead()
    assert texts(dead)["x_error"] == "bad_envelope"


@pytest.mark.parametrize(
    ("code", "status", "error"),
    [
        ("InvalidMessageContents", 400, app.Refused),
        ("AccessDenied", 403, app.Forbidden),
        ("OptInRequired", 403, app.Forbidden),
        ("ExpiredToken", 400, app.Forbidden),
        ("RequestThrottled", 403, app.Unavailable),
        ("KmsInvalidState", 400, app.Unavailable),
        ("OverLimit", 403, app.Unavailable),
        ("TooManyRequests", 400, app.Unavailable),
        ("RequestTimeout", 400, app.Unavailable),
        ("RequestExpired", 403, app.Unavailable),
        ("SomethingOfAnotherService", 429, app.Unavailable),
        ("InternalError", 500, app.Unavailable),
        ("AWS.SimpleQueueService.NonExistentQueue", 400, app.NotFound),
    ],
)
def test_what_passes_is_told_from_what_stays(
    code: str, status: int, error: type[app.AppError], tmp_path: Path, fake: SqsFake, queue: Queue
) -> None:
    door = Door(tmp_path, fake.url, [queue])
    with closing(sqs.SqsService(door.site.app.config.sqs)) as service:
        fake.fault(code, operation="SendMessage", status=status, times=None)
        with pytest.raises(app.AppError) as caught:
            sqs.SqsQueue(service, queue.url).send("x", {}, "", "k")
    assert type(caught.value) is error


def test_an_answer_that_waits_for_its_bucket_pauses_the_queue(
    tmp_path: Path, fake: SqsFake, queue: Queue, answers: str
) -> None:
    settings = f'replies = {{ results = "{answers}" }}\nreply_bucket = "answers"'
    door = Door(tmp_path, fake.url, [queue], settings=settings)
    door.site.create("forms/other", [{"text": "x" * 1000}] * 300)
    body = envelope("forms/other/records", "read", params={"_size": "1000"})
    queue.send(body, token=door.site.root, reply_to="results")
    stored: list[str] = []
    made = threading.Event()

    class Bucket(sqs.SqsService):  # type: ignore[misc]
        def store(self, bucket: str, key: str, data: bytes) -> None:
            if not made.is_set():
                raise app.NotFound("an answer in answers: it does not exist")
            stored.append(key)

    with at_work(door, fake, service_class=Bucket):
        until(lambda: state(door).startswith("paused: an answer in answers"), "a pause")
        assert queue.counts() == (0, 1)
        made.set()
        until(queue.empty, "an empty queue")
    assert len(stored) == len(queue.take(answers)) == 1
    assert not queue.dead()
