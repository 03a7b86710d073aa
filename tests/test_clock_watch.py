"""A clock that jumps: nothing is swept by it, ids go on, and what was issued stays good."""

import errno
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sites import PROVIDERS, Site, Time

import app
from app import Insert, Query

WATCH = app.plugin("clock_watch")
SWEEPS = app.plugin("sweeps")
OK = {"main": "ok"}
YEARS = 2 * 365 * 86_400
TOML = """
[forms.leave]
provider = "main"
[forms.leave.fields]
name = { type = "string" }
[files.docs]
provider = "main"
"""


class Machine:
    """A site and its two clocks: the one that people set, and the one that only goes on."""

    def __init__(self, folder: Path, kind: str = "sql") -> None:
        self.folder, self.kind, self.clock, self.steady = folder, kind, Time(), Time()
        (folder / "data").mkdir()
        self.start()

    def start(self) -> None:
        """Another process, as far as clocks go."""
        self.site = Site(self.folder, PROVIDERS[self.kind] + TOML, clock=self.clock)
        for provider in self.site.app.providers.values():
            provider.clock = provider._clock = self.clock  # type: ignore[attr-defined]
        self.watch = WATCH._watches[self.site.app] = WATCH.ClockWatch(self.site.app, self.steady)

    def restart(self, off_s: float = 0) -> None:
        self.site.app.close()
        self.clock.now += off_s
        self.steady.now = 5.0
        self.start()

    def go_on(self, seconds: float, every_s: float = 600) -> None:
        """Time passes, with a look now and then, as the server does."""
        for _ in range(int(seconds // every_s)):
            self.clock.now += every_s
            self.steady.now += every_s
            self.watch.look()

    def sweep(self) -> None:
        SWEEPS.Sweeps({}, self.site.app.config).run(self.site.app, threading.Event())

    def kept(self) -> set[tuple[str, str]]:
        """What there is of all that is kept for a time only."""
        tables = ("_tokens", "_sessions", "_links", "_requests")
        return {(table, record.key) for table in tables for record in self.site.app.state.find(Query(table)).items}

    def staged(self) -> Any:
        return self.site.app.providers["main"].stage([b"staged"])  # type: ignore[attr-defined]


@pytest.fixture(autouse=True)
def _no_ids_of_other_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "last_ids", memoryview(bytearray(256)).cast("Q"))
    monkeypatch.setattr(WATCH, "_shared", ())


@pytest.fixture(params=PROVIDERS)
def machine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Machine]:
    made = Machine(tmp_path, request.param)
    yield made
    made.site.app.close()


def fill(machine: Machine) -> set[tuple[str, str]]:
    """A token, a session, a link and an answer for repeats."""
    site, office = machine.site, machine.site.app.office
    token = office.issue(app.Caller("test"), "ann", ["**:*"], [], 3600)
    office.sign_in(office.link(app.Caller("test"), token), "r1")
    office.link(app.Caller("test"), token, 3600)
    site.create("forms/leave", {"name": "Ann"}, idempotency_key="k1")
    return machine.kept()


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if "the clock" in record.getMessage()]


def test_a_second_in_the_year_after_next_deletes_nothing(machine: Machine, caplog: pytest.LogCaptureFixture) -> None:
    """All rows of tokens and sessions were gone, so that every token was 401 for good."""
    before, staged = fill(machine), machine.staged()
    machine.sweep()
    machine.clock.now += YEARS
    machine.sweep()
    machine.sweep()
    assert machine.kept() >= before
    assert "last time seen" in WATCH.trouble(machine.site.app, OK)
    machine.clock.now -= YEARS
    assert machine.kept() >= before
    assert WATCH.trouble(machine.site.app, OK) == ""
    machine.sweep()
    machine.site.app.providers["main"].publish(staged, "a")  # type: ignore[attr-defined]
    assert machine.site.items("forms/leave/records")
    assert len(warnings(caplog)) == 2, "that it is in doubt, and that it is right again"


def test_without_the_watch_it_would_all_be_gone(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    before = fill(machine)
    monkeypatch.setattr(WATCH.ClockWatch, "look", lambda watch, now=None: "")
    machine.clock.now += YEARS
    machine.sweep()
    assert not machine.kept() & before


def test_a_clock_that_is_wrong_when_the_server_starts_deletes_nothing(machine: Machine) -> None:
    before = fill(machine)
    machine.sweep()
    machine.restart(YEARS)
    machine.sweep()
    assert machine.kept() >= before


def test_a_site_that_never_noted_the_time_knows_it_by_its_audit_trail(machine: Machine) -> None:
    before = fill(machine)
    machine.restart(YEARS)
    machine.sweep()
    assert machine.kept() >= before


def test_after_a_month_off_sweeps_wait_for_a_day_and_go_on(machine: Machine, caplog: pytest.LogCaptureFixture) -> None:
    before = fill(machine)
    machine.sweep()
    machine.restart(200 * 86_400)
    for _ in range(23):
        machine.go_on(3600)
        machine.sweep()
    assert machine.kept() >= before
    assert WATCH.trouble(machine.site.app, OK)
    machine.restart(60)  # restarts count on
    machine.go_on(7200)
    machine.sweep()
    assert not machine.kept() & before
    assert WATCH.trouble(machine.site.app, OK) == ""
    said = warnings(caplog)
    assert len(said) == 3, "once in each process, and that it counts as right"


def test_a_clock_that_goes_unevenly_is_not_believed_after_a_day(machine: Machine) -> None:
    before = fill(machine)
    machine.sweep()
    machine.restart(YEARS)
    for _ in range(60):
        machine.go_on(3000)
        machine.clock.now += 3600
    machine.sweep()
    assert machine.kept() >= before


def test_nights_and_days_on_change_nothing(machine: Machine) -> None:
    machine.sweep()
    for _ in range(5):
        machine.restart(16 * 3600)
        assert machine.watch.look() == ""
        machine.go_on(8 * 3600)
    assert WATCH.trouble(machine.site.app, OK) == ""


def test_a_node_that_is_wrong_is_not_believed_while_others_are_right(machine: Machine) -> None:
    before, wrong = fill(machine), Time()
    site = SimpleNamespace(state=machine.site.app.state, clock=wrong, began_at=wrong.now)
    other = WATCH.ClockWatch(site, machine.steady)
    machine.sweep()
    for _ in range(30):
        machine.go_on(3600)
        wrong.now = machine.clock.now + YEARS
        assert other.look()
        assert machine.watch.look() == ""
    assert machine.kept() >= {one for one in before if one[0] == "_tokens"}


def test_a_time_that_cannot_be_noted_is_still_believed_where_it_went_on_evenly(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.sweep()
    monkeypatch.setattr(WATCH.ClockWatch, "_note", lambda *given: None)
    machine.go_on(3 * 86_400)
    assert machine.watch.look() == ""
    assert machine.watch.trouble() == ""


# ---- ids


def test_a_reader_with_a_cursor_misses_nothing_when_the_clock_goes_back(machine: Machine) -> None:
    site = machine.site
    for number in range(3):
        site.create("forms/leave", {"name": f"{number}"})
    machine.clock.now -= 3600
    machine.restart(0)
    made = machine.site.create("forms/leave", {"name": "later"}).data["id"]
    found = sorted(record.key for record in machine.site.app.state.find(Query("leave")).items)
    assert found[-1] == made


CHILD = """
import sys, types
from pathlib import Path
sys.path.insert(0, sys.argv[2])
import app
site = types.SimpleNamespace(
    config=types.SimpleNamespace(site=types.SimpleNamespace(data=Path(sys.argv[1]))), clock=lambda: 0.0, audit_stores=list
)
app.plugin("clock_watch").share_ids(site)
for line in sys.stdin:
    print(app.new_id(float(line)), flush=True)
"""


def test_ids_of_several_processes_go_on_from_each_other_whatever_their_clocks_say(tmp_path: Path) -> None:
    """In turns: each id is made after the one before it was seen."""
    root = str(Path(app.__file__).parent)
    command = [sys.executable, "-c", CHILD, str(tmp_path), root]
    children = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) for _ in range(3)
    ]
    made = []
    for turn in range(60):
        child, at = children[turn % 3], 2_000_000_000.0 - turn * 86_400 if turn % 7 else 1.0
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(f"{at}\n")
        made.append(child.stdout.readline().strip())
    for child in children:
        child.communicate(timeout=20)
    again = subprocess.run(command, input="5.0\n", capture_output=True, text=True, timeout=20, check=True)
    made.append(again.stdout.strip())
    assert made == sorted(made)
    assert len(set(made)) == 61
    assert (tmp_path / "ids").stat().st_mode & 0o777 == 0o600


def test_what_a_power_cut_took_of_the_ids_is_found_in_the_audit_trail(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.site.create("forms/leave", {"name": "before"})
    machine.site.app.close()
    (machine.site.app.config.site.data / "ids").unlink()
    monkeypatch.setattr(app, "last_ids", memoryview(bytearray(256)).cast("Q"))
    monkeypatch.setattr(WATCH, "_shared", ())
    machine.clock.now -= YEARS
    machine.start()
    made = machine.site.create("forms/leave", {"name": "after"}).data["id"]
    assert max(record.key for record in machine.site.app.state.find(Query("leave")).items) == made
    assert max(record.key for record in machine.site.app.state.find(Query("_audit", limit=1000)).items) > made


def test_after_the_year_after_next_ids_go_on_by_counting(tmp_path: Path) -> None:
    now = time.time()
    far, *later = app.new_id(now + YEARS), *(app.new_id(now) for _ in range(5000))
    assert [far, *later] == sorted([far, *later])


def test_where_the_ids_of_a_node_have_no_room_each_process_goes_on_from_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory of a file without room on its disk ends the process that writes there."""
    config = SimpleNamespace(site=SimpleNamespace(data=tmp_path))
    site = SimpleNamespace(config=config, clock=lambda: 1.0, audit_stores=list)
    written: list[int] = []

    def full(descriptor: int, data: bytes) -> int:
        written.append(len(data))
        raise OSError(errno.ENOSPC, "no space")

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        WATCH.share_ids(site)
    assert (written, WATCH._shared) == ([256], ())
    first = app.new_id(1.0)
    WATCH.share_ids(site)
    assert WATCH._shared[0] == tmp_path / "ids"
    assert (tmp_path / "ids").stat().st_size == 256
    assert app.new_id(1.0) > first


def test_ids_on_a_disk_that_has_become_full_end_no_process_and_still_rise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file system that writes anew what is changed may have no room for what a file has already: whoever writes to it in
    memory is ended then, and whoever calls is told."""
    config = SimpleNamespace(site=SimpleNamespace(data=tmp_path))
    site = SimpleNamespace(config=config, clock=lambda: 1.0, audit_stores=list)
    monkeypatch.setattr(app, "last_ids", memoryview(bytearray(256)).cast("Q"))
    monkeypatch.setattr(WATCH, "_shared", ())
    WATCH.share_ids(site)
    before = app.new_id(2_000_000_000.0)

    def full(*_: Any) -> int:
        raise OSError(errno.ENOSPC, "no space")

    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", full)
        made = [before, *(app.new_id(1.0) for _ in range(100))]
    assert made == sorted(set(made))
    assert (tmp_path / "ids").read_bytes().count(b"\0") < 256
    after = app.new_id(1.0)
    assert after > made[-1]
    for line in Path("/proc/self/maps").read_text().splitlines() if Path("/proc/self/maps").exists() else ():
        assert not line.endswith(str(tmp_path / "ids")) or line.split()[1] == "r--s"


# ---- what else hangs on the clock


def test_a_lease_of_the_future_keeps_no_node_from_the_jobs_of_the_site(machine: Machine, tmp_path: Path) -> None:
    """The node that took it had a clock that was two years ahead for a second."""

    class OfSite(app.Job):
        kind, every_s, scope, runs = "of-site", 10, "site", 0

        def run(self, site: Any, stop: threading.Event) -> None:
            self.runs += 1

    job, state = OfSite({}, machine.site.app.config), machine.site.app.state
    state.commit([Insert("_settings", "jobs", {"node": "gone", "until": machine.clock.now + YEARS})])
    jobs = app.plugin("jobs").Jobs(machine.site.app, [job], tmp_path / "jobs.lock", machine.steady)
    for _ in range(8):
        machine.steady.now += 10
        jobs.step()
    assert job.runs >= 1
    jobs.stop()


def test_a_clock_that_went_forward_takes_no_lease_from_the_node_that_has_it(machine: Machine, tmp_path: Path) -> None:
    steady, nodes = machine.steady, []
    for number in range(2):
        job = type("OfSite", (app.plugin("sql_log").Checkpoints,), {"scope": "site", "every_s": 1000})({}, None)
        nodes.append(app.plugin("jobs").Jobs(machine.site.app, [job], tmp_path / f"{number}.lock", steady))
    assert nodes[0]._has_lease()
    for _ in range(20):
        machine.clock.now += YEARS / 20
        steady.now += 10
        assert [node._has_lease() for node in nodes] == [True, False]
    for node in nodes:
        node.stop()


@pytest.mark.parametrize("moved_s", [YEARS, 3600])
def test_after_a_clock_that_was_ahead_failed_sign_ins_are_audited_and_uses_of_tokens_noted(
    machine: Machine, moved_s: float
) -> None:
    site = machine.site
    machine.clock.now += moved_s
    for _ in range(60):
        with pytest.raises(app.Unauthenticated):
            site.app.office.sign_in("x" * 43, "r")
    site.read("forms/leave/records", by=site.token("ann", "**:*"))
    machine.clock.now -= moved_s
    audited = len(site.app.state.find(Query("_audit", limit=1000)).items)
    with pytest.raises(app.Unauthenticated):
        site.app.office.sign_in("x" * 43, "r")
    assert len(site.app.state.find(Query("_audit", limit=1000)).items) == audited + 1


def test_a_request_that_died_while_the_clock_was_ahead_can_be_repeated(machine: Machine) -> None:
    machine.clock.now += YEARS
    request = app.Request(
        id="r", action=app.Action.CREATE, resource="forms/leave", path=(), door="test", data={"name": "x"},
        idempotency_key="k9", params={},
    )  # fmt: skip
    replay = app.Replay(request, app.Caller("ann"), machine.site.app.state, machine.clock)
    machine.site.app.state.commit(replay.begin(app.Plan(lambda blobs: app.Response())))
    machine.clock.now -= YEARS
    again = app.Replay(request, app.Caller("ann"), machine.site.app.state, machine.clock)
    assert again.look_up() is None
