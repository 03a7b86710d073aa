"""The built app.pyz while power, processes and disks fail: what was acknowledged is there, and what was refused is not."""

from __future__ import annotations

import copy
import hashlib
import os
import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import fault_script as script
import fault_tools as tools
import pytest
from fault_script import Script, State, Step
from fault_tools import Disk, Event, Lab

import app


@pytest.fixture
def lab(pyz: Path, bare_python: str, unpack_root: Path, tmp_path: Path) -> Iterator[Lab]:
    made = Lab(tmp_path, pyz, bare_python, unpack_root)
    (made.site / "app.toml").write_text(script.TOML)
    yield made
    made.close()


def issue(lab: Lab, *options: str) -> str:
    done = lab.command("auth", "issue", "--subject", "root", "--grant", "**:*", *options)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


# ---- power cuts ----


class Acknowledged(NamedTuple):
    """What was there when something had been acknowledged, and the step that came to it, if it was a request."""

    name: str
    state: State
    step: Step | None = None


class Session:
    """A recorded run of the server and of commands beside it."""

    def __init__(self, lab: Lab) -> None:
        self.lab, self.tokens, self.done = lab, dict[str, str](), [Acknowledged("nothing", Script().state)]
        self.before = Disk(lab.root)
        self.before.take_in(lab.root)
        self.script = Script()
        lab.record()

    def acknowledged(self, name: str, step: Step | None = None) -> None:
        self.lab.mark(name)
        self.done.append(Acknowledged(name, dict(self.script.state), step))

    def command(self, *args: str) -> str:
        done = self.lab.command(*args)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def issue(self, name: str) -> str:
        self.tokens[name] = issue(self.lab, "--label", name)
        self.script.state[f"token {name}"] = True
        self.acknowledged(f"token {name}")
        return self.tokens[name]

    def serve(self) -> None:
        self.script.connect(self.lab.start())
        self.acknowledged("start")

    def stop(self) -> None:
        assert self.lab.stop() == 0
        self.acknowledged("stop")

    def do(self, step: Step) -> None:
        answer = self.script.do(step)
        assert answer.status < 300, answer.text
        self.acknowledged(step.name, step)


def play(session: Session) -> None:
    session.serve()
    session.script.token = session.issue("root")
    session.script.connect(session.script._visitor.base_url)
    for step in session.script.all_kinds():
        session.do(step)
    session.stop()


@pytest.fixture(scope="module")
def session(pyz: Path, bare_python: str, unpack_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    lab = Lab(tmp_path_factory.mktemp("session"), pyz, bare_python, unpack_root)
    (lab.site / "app.toml").write_text(script.TOML)
    made = Session(lab)
    play(made)
    yield made
    lab.close()


def follow(session: Session, disk: Disk) -> Iterator[tuple[int, Event]]:
    """The events, each once it was followed, and how much had been acknowledged by then."""
    number = 0
    for event in tools.events_in(session.lab.log):
        if event.kind == "mark":
            number += 1
        else:
            disk.follow(event)
        yield number, event


def test_the_recording_misses_nothing(session: Session) -> None:
    disk = copy.deepcopy(session.before)
    for _ in follow(session, disk):
        pass
    assert disk.picture("most") == tools.tree_of(session.lab.root)


def judge(session: Session, place: Path, number: int, *, is_between: bool) -> None:
    """What a power cut left is all that was acknowledged: and of what was being done, nothing or all."""
    before = session.done[number].state
    later = session.done[min(number + 1, len(session.done) - 1)] if is_between else session.done[number]
    if not number:
        return
    site = script.opened(place / "site")
    try:
        found = script.observed(site, session.tokens)
        assert_is_one(found, before, later.state)
        if is_between and later.step:
            later.step.send_within(site, f"Bearer {session.tokens['root']}")
            assert script.without_ids(script.observed(site, session.tokens)) == script.without_ids(later.state)
        script.check_writable(site)
    finally:
        site.close()
    script.check_database(place / "site" / "data" / "app.db")


def assert_is_one(found: State, before: State, later: State) -> None:
    if found != later:
        assert found == before


def images(session: Session, hows: Sequence[str], is_wanted: Callable[[Event], bool], ignores: Callable[[str], bool] = lambda path: False) -> Iterator[tuple[int, str, dict[str, Any]]]:
    """(how much was acknowledged, how it was taken, picture) after each event that is wanted; of equal pictures one."""
    disk, seen = copy.deepcopy(session.before), set[bytes]()
    disk.ignores = ignores
    for place, (number, event) in enumerate(follow(session, disk)):
        for how in hows if number and is_wanted(event) else ():
            picture = disk.picture(how, place)
            digest = hashlib.sha256(repr((number, sorted(picture.items()))).encode()).digest()
            if digest not in seen:
                seen.add(digest)
                yield number, f"{how} {place}", picture


def test_what_was_acknowledged_outlives_a_power_cut(session: Session, tmp_path: Path) -> None:
    hows = ("least", "names", "bytes", "most", "some", "some")
    for number, _, picture in images(session, hows, lambda event: event.kind == "mark"):
        tools.lay_out(picture, tmp_path / "disk")
        judge(session, tmp_path / "disk", number, is_between=False)


def test_a_power_cut_in_the_middle_leaves_nothing_or_all(session: Session, tmp_path: Path) -> None:
    chance = random.Random(1)
    share = float(os.environ.get("SHARE", "0.2"))
    count = bad = 0
    for number, how, picture in images(session, ("least", "most", "some"), lambda event: event.kind != "mark" and chance.random() < share):
        tools.lay_out(picture, tmp_path / "disk")
        count += 1
        try:
            judge(session, tmp_path / "disk", number, is_between=True)
        except BaseException as error:
            bad += 1
            print(number, session.done[number].name, session.done[min(number+1, len(session.done)-1)].name, how, repr(error)[:600])
    print(count)
    assert not bad


@pytest.mark.parametrize("lies", ["-wal", "journal.jsonl", "/data", "/docs", "/site", "/staged/"])
def test_a_disk_that_lies_is_seen(session: Session, tmp_path: Path, lies: str) -> None:
    """The control: were an fsync left out, these tests would fail."""

    def ignores(path: str) -> bool:
        return path.endswith(lies) or (lies.endswith("/") and lies in path)

    def is_lost(number: int, picture: dict[str, Any]) -> bool:
        tools.lay_out(picture, tmp_path / "disk")
        try:
            judge(session, tmp_path / "disk", number, is_between=False)
        except (AssertionError, app.AppError, OSError) as error:
            print(number, session.done[number].name, repr(error)[:100])
            return True
        return False

    found = images(session, ("least",), lambda event: event.kind == "mark", ignores)
    assert any(is_lost(number, picture) for number, _, picture in found)
