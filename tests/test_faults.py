"""The built app.pyz while power, processes and disks fail: what was acknowledged is there, and what was refused is not."""

from __future__ import annotations

import base64
import copy
import dataclasses
import errno
import hashlib
import itertools
import json
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import fault_script as script
import fault_tools as tools
import pytest
from fault_script import Script, State, Step
from fault_tools import Disk, Event, Lab
from sites import KINDS, everything

import app

backup = app.plugin("backup")
# Of all places where a fault may happen the suite tries a part, and always the same; 1 tries them all.
SHARE, SEED = float(os.environ.get("FAULT_SHARE", "0.015")), int(os.environ.get("FAULT_SEED", "1"))


STORM_S, STORM_WORKERS = float(os.environ.get("FAULT_STORM_S", "5")), 6
HERE = Path(__file__).parent
NAMES_AND_SYNCS = tuple(kind for kind in tools.KINDS if kind != "write")


@contextmanager
def during(what: str) -> Iterator[None]:
    """Says what it was when something fails in the block."""
    try:
        yield
    except BaseException as error:
        error.add_note(what)
        raise


def made_lab(folder: Path, pyz: Path, bare_python: str, unpack_root: Path) -> Lab:
    made = Lab(folder, pyz, bare_python, unpack_root)
    (made.site / "app.toml").write_text(script.TOML)
    return made


@pytest.fixture
def lab(pyz: Path, bare_python: str, unpack_root: Path, tmp_path: Path) -> Iterator[Lab]:
    made = made_lab(tmp_path, pyz, bare_python, unpack_root)
    yield made
    made.close()


# ---- power cuts ----


def digest_of(picture: tools.Picture) -> str:
    found = hashlib.sha256()
    for path, content in sorted(picture.items()):
        found.update(f"{len(path)} {path} {None if content is None else len(content)} ".encode())
        found.update(content or b"")
    return found.hexdigest()


class Acknowledged(NamedTuple):
    """What was there when something had been acknowledged, and the request that had come to it, if it was one."""

    name: str
    state: State
    step: Step | None = None


class Recording:
    """A lab's recording, and what was acknowledged in it."""

    def __init__(self, lab: Lab) -> None:
        self.lab, self.done = lab, list[Acknowledged]()
        self._before = Disk(lab.root)
        self._before.take_in(lab.root)
        lab.record()

    def played(self, ignores: Callable[[str], bool] = lambda path: False) -> Iterator[tuple[int, Event, Disk]]:
        """Its events, each with how much had been acknowledged when it had happened, and the disk by then."""
        disk, number = copy.deepcopy(self._before), 0
        disk.ignores = ignores
        for event in tools.events_in(self.lab.log):
            if event.kind == "mark":
                number += 1
            else:
                disk.follow(event)
            yield number, event, disk

    def pictures(
        self,
        hows: Sequence[str],
        is_wanted: Callable[[Event], bool] = lambda event: event.kind == "mark",
        ignores: Callable[[str], bool] = lambda path: False,
    ) -> Iterator[tuple[int, str, tools.Picture]]:
        """(how much was acknowledged, how it was taken, picture) at each event that is wanted; of equal ones the first."""
        seen = set[tuple[int, str]]()
        for place, (number, event, disk) in enumerate(self.played(ignores)):
            for how in hows if number and is_wanted(event) else ():
                picture = disk.picture(how, place)
                if (what := (number, digest_of(picture))) not in seen:
                    seen.add(what)
                    yield number, f"{how} at {place}", picture

    def last(self) -> Disk:
        """The disk at the end."""
        return list(self.played())[-1][2]

    def expected(self, number: int, *, is_between: bool) -> tuple[Acknowledged, Acknowledged]:
        """What was acknowledged last, and what may be there as well: the same, or what was acknowledged next."""
        later = min(number, len(self.done) - 1) if is_between else number - 1
        return self.done[number - 1], self.done[later]


class Session(Recording):
    """A run of the server, and of commands beside it."""

    def __init__(self, lab: Lab) -> None:
        super().__init__(lab)
        self.script, self.tokens, self.archived = Script(), dict[str, str](), State()
        self._checked: set[str] = set()
        self.play()

    def play(self) -> None:
        self.serve()
        self.script.token = self.issue("root")
        self.serve()
        for step in self.script.all_kinds():
            self.do(step)
        first = next(one.step for one in self.done if one.step)
        again = self.do(dataclasses.replace(first, name="replay", changes=lambda answer: {}, times=0))
        assert again.headers["Idempotency-Replayed"] == "true"
        self.revoke(self.issue("revoked"), "revoked")
        old = json.loads(self.command("auth", "keys", "--json"))[0]["kid"]
        self.command("auth", "keys", "rotate")
        self.acknowledged("rotated")
        self.issue("of the new key")
        self.archived = dict(self.script.state)
        archive = self.command("server", "backup", "--with-keys")
        self.there("backup")
        self.command("server", "restore", archive, "../restored")
        self.there("restored")
        self.command("auth", "keys", "retire", old)
        self.script.state = {name: one for name, one in self.script.state.items() if name != "token root"}
        self.acknowledged("retired")
        assert self.lab.stop() == 0
        self.acknowledged("stopped")

    def acknowledged(self, name: str, step: Step | None = None) -> None:
        self.lab.mark(name)
        self.done.append(Acknowledged(name, dict(self.script.state), step))

    def there(self, name: str) -> None:
        self.script.state[name] = True
        self.acknowledged(name)

    def command(self, *args: str) -> str:
        done = self.lab.command(*args)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def serve(self) -> None:
        if self.lab.server is None:
            self.lab.start()
            self.acknowledged("started")
        self.script.connect(self.lab.url)

    def issue(self, name: str) -> str:
        self.tokens[name] = self.command("auth", "issue", "--subject", "root", "--grant", "**:*", "--label", name)
        self.there(f"token {name}")
        return self.tokens[name]

    def revoke(self, token: str, name: str) -> None:
        claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
        self.command("auth", "revoke", claims["jti"])
        del self.script.state[f"token {name}"]
        self.acknowledged(f"{name} is revoked")

    def do(self, step: Step) -> Any:
        answer = self.script.do(step)
        assert answer.status < 300, answer.text
        self.acknowledged(step.name, step)
        return answer

    def judge(self, disk: Path, number: int, *, is_between: bool) -> None:
        """What was left is all that was acknowledged, and of what was being done nothing or all; it goes on from there."""
        before, later = self.expected(number, is_between=is_between)
        with closing(script.opened(disk / "site")) as site:
            found = self._found(disk, site)
            if found != later.state:
                assert found == before.state
            if later.step and "token root" in later.state:
                later.step.send_within(site, f"Bearer {self.tokens['root']}")
                assert script.without_ids(self._found(disk, site)) == script.without_ids(later.state)
            script.check_writable(site)
        script.check_database(disk / "site" / "data" / "app.db")

    def _found(self, disk: Path, site: script.Site) -> State:
        found = script.observed(site, self.tokens)
        for archive in (disk / "site" / "data" / "backups").glob("*.zip"):
            self._once({"": archive.read_bytes()}, lambda archive=archive: backup.verify(archive))
            found["backup"] = True
        if (disk / "restored").exists():
            self._once(tools.tree_of(disk / "restored"), lambda: self._check_restored(disk / "restored"))
            found["restored"] = True
        return found

    def _check_restored(self, folder: Path) -> None:
        with closing(script.opened(folder)) as restored:
            assert script.observed(restored, self.tokens) == self.archived

    def _once(self, what: tools.Picture, check: Callable[[], Any]) -> None:
        """Check what is the same in many pictures once."""
        digest = digest_of(what)
        if digest not in self._checked:
            check()
            self._checked.add(digest)


@pytest.fixture(scope="module")
def session(pyz: Path, bare_python: str, unpack_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    lab = made_lab(tmp_path_factory.mktemp("session"), pyz, bare_python, unpack_root)
    yield Session(lab)
    lab.close()


def test_the_recording_misses_nothing(session: Session) -> None:
    pictures = session.last().picture("most"), tools.tree_of(session.lab.root)
    first, second = ({name: one for name, one in tree.items() if name != "/site/data/ids"} for tree in pictures)
    assert first == second  # ids is written through a mapping, and only the order of new ids hangs on it


def test_what_was_acknowledged_outlives_a_power_cut(session: Session, tmp_path: Path) -> None:
    for number, how, picture in session.pictures(("least", "names", "some")):
        tools.lay_out(picture, tmp_path / "disk")
        with during(f"{session.done[number - 1].name}, {how}"):
            session.judge(tmp_path / "disk", number, is_between=False)


def test_a_power_cut_in_the_middle_leaves_nothing_or_all(session: Session, tmp_path: Path) -> None:
    chance = random.Random(SEED)
    middles = session.pictures(("least", "most", "some"), lambda event: event.kind != "mark" and chance.random() < SHARE)
    for number, how, picture in middles:
        tools.lay_out(picture, tmp_path / "disk")
        with during(f"after {session.done[number - 1].name}, {how}"):
            session.judge(tmp_path / "disk", number, is_between=True)


@pytest.mark.parametrize(
    "lies", ["/app.db-wal", "/journal.jsonl", "/staged/", "/data", "/docs", "/site", "/backups", "/disk"]
)
def test_a_disk_that_lies_is_seen(session: Session, tmp_path: Path, lies: str) -> None:
    """The control: were an fsync left out, these tests would fail."""

    def ignores(path: str) -> bool:
        return path.endswith(lies) or (lies.endswith("/") and lies in path)

    def is_lost(number: int, picture: tools.Picture) -> bool:
        tools.lay_out(picture, tmp_path / "disk")
        try:
            session.judge(tmp_path / "disk", number, is_between=False)
        except (AssertionError, app.AppError, OSError):
            return True
        return False

    assert any(is_lost(number, picture) for number, _, picture in session.pictures(("least",), ignores=ignores))


# ---- processes that are killed ----


class Survivor:
    """A site whose server is killed whenever that was armed, and started again for the request that got no answer."""

    def __init__(self, lab: Lab) -> None:
        self.lab, self.kills = lab, 0
        self.script = Script(revive=self._started_again)
        assert lab.start()
        self.script.token = issue(lab)
        self.script.connect(lab.url)

    def _started_again(self) -> str:
        self.kills += 1
        self.lab.disarm()
        self.lab.stop(signal.SIGKILL)
        assert self.lab.start(), self.lab.said()
        return self.lab.url

    def try_out(self, step: Step, action: int, nth: int, *kinds: str) -> bool:
        """Whether the step came to an end before it was to be killed. Either way it has one effect in the end."""
        kills = self.kills
        with during(f"{step.name}: {nth} of {kinds}"):
            with self.lab.armed(action, nth, *kinds):
                answer = self.script.do(step)
                assert answer.status < 300 or (answer.status == 404 and self.kills > kills), answer.text
            if self.kills > kills:
                self.check()
        return self.kills == kills

    def check(self) -> None:
        with closing(script.opened(self.lab.site)) as site:
            assert script.observed(site) == self.script.state
        script.check_database(self.lab.site / "data" / "app.db")


def issue(lab: Lab) -> str:
    done = lab.command("auth", "issue", "--subject", "root", "--grant", "**:*")
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize(
    ("action", "kinds"), [(tools.KILL, NAMES_AND_SYNCS), (tools.KILL, ("write",)), (tools.TEAR, ("write",))]
)
def test_a_kill_in_the_middle_of_a_request_leaves_nothing_or_all(lab: Lab, action: int, kinds: Sequence[str]) -> None:
    survivor, chance = Survivor(lab), random.Random(SEED)
    for step in survivor.script.all_kinds():
        before = sum(lab.calls()[kind] for kind in kinds)
        survivor.try_out(step, action, 1_000_000, *kinds)
        calls = sum(lab.calls()[kind] for kind in kinds) - before
        for nth in range(1, calls + 1):
            if chance.random() < SHARE:
                survivor.try_out(survivor.script.another(step), action, nth, *kinds)
    assert survivor.kills


def test_a_kill_at_the_first_start_leaves_a_folder_that_starts(lab: Lab) -> None:
    assert lab.start()
    calls = sum(lab.calls().values())
    lab.stop(signal.SIGKILL)
    chance = random.Random(SEED)
    for nth in range(1, calls + 1):
        if chance.random() >= SHARE / 2:
            continue
        shutil.rmtree(lab.site / "data")
        with lab.armed(tools.KILL, nth):
            lab.start()
        lab.stop(signal.SIGKILL)
        survivor = Survivor(lab)
        survivor.script.do(survivor.script.create())
        survivor.check()
        lab.stop()


# ---- disks that fail ----

ERRORS = [errno.EIO, errno.ENOSPC, errno.EDQUOT]


@pytest.mark.parametrize("error", ERRORS, ids=errno.errorcode.get)
def test_what_a_failing_disk_refuses_is_not_there(lab: Lab, error: int) -> None:
    """Each kind of call fails, once or from then on, at each of its places in each kind of request."""
    assert lab.start()
    visitor, chance = Script(token=issue(lab)), random.Random(SEED)
    visitor.connect(lab.url)
    refused = 0
    with closing(script.opened(lab.site)) as site:
        for step in visitor.all_kinds():
            before = lab.calls()
            assert visitor.do(step).status < 300
            calls = {kind: count - before[kind] for kind, count in lab.calls().items()}
            places = [(kind, nth, sticky) for kind in calls for nth in range(1, calls[kind] + 1) for sticky in (False, True)]
            for kind, nth, sticky in places:
                if chance.random() >= 4 * SHARE:
                    continue
                again = visitor.another(step)
                with during(f"{step.name}: {kind} {nth}, {'for good' if sticky else 'once'}"):
                    with lab.armed(tools.FAIL, nth, kind, error=error, sticky=sticky):
                        answer = visitor.do(again)
                    assert answer.status < 300 or answer.status in (503, 507), answer.text
                    refused += answer.status >= 300
                    assert script.observed(site) == visitor.state
        assert refused
        for step in visitor.all_kinds():
            assert visitor.do(step).status < 300
        assert script.observed(site) == visitor.state
    assert lab.stop() == 0
    script.check_database(lab.site / "data" / "app.db")


# ---- what no request does so far, and what takes thousands of them ----

MOVER = """
import sys
from pathlib import Path
import app, fault_tools

kind, options, log = sys.argv[1], {sys.argv[2]: sys.argv[3]}, Path(sys.argv[4])
provider = app.load_registry(Path("/nowhere")).of(app.Provider)[kind]("main", options, Path("."))
provider.open()
done = lambda name: fault_tools.mark(log, name)
provider.create({"rows": ()})
provider.commit([app.Insert("rows", str(n), {"n": 0}) for n in range(100)])
provider.write("a/deep/one.bin", [b"one" * 3000])
done("begun")
provider.move("a/deep/one.bin", "b/new/two.bin")
done("moved")
provider.move("b/new/two.bin", "b/three.bin")
done("moved back")
provider.remove("b/three.bin")
done("removed")
for round in range(1, 16):  # a journal is compacted once it has a thousand entries that are out of date
    provider.commit([app.Update("rows", str(n), {"n": round}) for n in range(100)])
    done(str(round))
provider.close()
done("closed")
"""


class Moves(Recording):
    """A provider that is asked directly."""

    def __init__(self, lab: Lab, kind: str, *options: str) -> None:
        super().__init__(lab)
        self.kind, self.options = kind, options
        command = [sys.executable, "-c", MOVER, kind, *options, str(lab.log)]
        done = lab.run(command, PYTHONPATH=os.pathsep.join((str(HERE.parent), str(HERE))))
        assert done.returncode == 0, done.stderr
        files: State = {"a/deep/one.bin": b"one" * 3000}
        for event in tools.events_in(lab.log):
            if event.kind == "mark":
                place = {"moved": "b/new/two.bin", "moved back": "b/three.bin"}.get(event.path, "")
                files = {place: b"one" * 3000} if place else files if event.path == "begun" else {}
                last = int(event.path) if event.path.isdigit() else self.done[-1].state["n"] if self.done else 0
                self.done.append(Acknowledged(event.path, files | {"n": last}))

    def judge(self, disk: Path, number: int, *, is_between: bool) -> None:
        before, later = self.expected(number, is_between=is_between)
        options = {self.options[0]: self.options[1]}
        provider: Any = KINDS[self.kind]("main", options, disk / "site")
        provider.open()
        with closing(provider):
            rows = provider.find(app.Query("rows", limit=1000)).items
            (last,) = {row.value["n"] for row in rows}
            assert len(rows) == 100
            files = {
                blob.path: everything(provider.read(blob.path)) for blob in provider.scan() if isinstance(blob, app.Blob)
            }
            assert files | {"n": last} in (before.state, later.state)
            provider.write("afterwards", [b"x"])
            provider.commit([app.Update("rows", "0", {"n": -1}), app.Insert("rows", "new", {})])


@pytest.mark.parametrize("options", [("file", "root", "share"), ("sql", "url", "sqlite:///app.db")], ids=lambda one: one[0])
def test_moves_and_compactions_outlive_a_power_cut(lab: Lab, tmp_path: Path, options: tuple[str, ...]) -> None:
    moves = Moves(lab, *options)
    assert moves.last().picture("most") == tools.tree_of(lab.root)
    kinds = [event.kind for event in tools.events_in(lab.log)]
    assert options[0] != "file" or kinds.count("rename") > 3, "the journal was compacted"
    chance = random.Random(SEED)
    for is_between in (False, True):

        def is_wanted(event: Event, is_between: bool = is_between) -> bool:
            return chance.random() < 4 * SHARE if is_between and event.kind != "mark" else event.kind == "mark"

        for number, how, picture in moves.pictures(("least", "most", "some"), is_wanted):
            tools.lay_out(picture, tmp_path / "image")
            with during(f"{moves.done[number - 1].name}, {how}"):
                moves.judge(tmp_path / "image", number, is_between=is_between)


KEEPER = """
import json, sys, threading, time
from pathlib import Path
import app, fault_script, fault_tools

log, shift_s = Path(sys.argv[1]), 0
site = fault_script.opened(Path("."), clock=lambda: time.time() + shift_s)
options = site.app.config.extensions
done = lambda name: fault_tools.mark(log, name)
jobs, audits = app.plugin("backup_job"), app.plugin("audit_job")
audits._BATCH, audits._PAUSE_S = 20, 0
site.create("forms/notes", {"text": "a", "paper": {"name": "a.txt", "base64": "YWJj"}})

def entry(age_s):
    at = time.time() - age_s
    told = dict.fromkeys(("record", "code", "door", "token_id", "request_id"), "")
    told |= {"at": app.rfc3339(at), "subject": "ann", "resource": "forms/notes", "action": "read", "outcome": "ok"}
    return app.Insert("_audit", f"{int(at * 1000):012x}{app.new_id(at)[12:]}", told)

old, new = [entry(60 * 86400) for _ in range(70)], [entry(100) for _ in range(5)]
site.app.state.commit(old + new)
prune = lambda: audits.Audits(options["audit"], site.app.config).run(site.app, threading.Event())
prune()
done("begun")
for name in ("backed up", "backed up again"):
    before = site.app.state.get("_settings", "backup")
    second = int(time.time())
    while int(time.time()) == second:
        time.sleep(0.02)
    jobs.Backups(options["backup"], site.app.config).run(site.app, threading.Event())
    found = site.app.state.get("_settings", "backup")
    assert found and not found.value["failures"] and (not before or found.value["name"] != before.value["name"]), found
    done(found.value["name"].rpartition("/")[2])
    shift_s += 100
prune()
done("pruned")
site.app.close()
print(json.dumps([[one.key for one in entries] for entries in (old, new)]))
"""
KEPT_TOML = """
[providers.vault]
kind = "file"
root = "../vault"
[backup]
to = "%s"
every = "1m"
keep = 1
[audit]
keep = "30d"
"""


class Keeping(Recording):
    """Backups that a site makes by itself, of which the second replaces the first, and the pruning that trusts in them."""

    def __init__(self, lab: Lab, to: str) -> None:
        super().__init__(lab)
        (lab.site / "app.toml").write_text(script.TOML + KEPT_TOML % to)
        self._before.take_in(lab.root)
        made = lab.run(
            [sys.executable, "-c", KEEPER, str(lab.log)], PYTHONPATH=os.pathsep.join((str(HERE.parent), str(HERE)))
        )
        assert made.returncode == 0, made.stderr
        self.old, self.new = map(frozenset, json.loads(made.stdout))
        self.done = [Acknowledged(event.path, {}) for event in tools.events_in(lab.log) if event.kind == "mark"]
        self._held: dict[str, frozenset[str]] = {}  # ids of the audit entries in an archive, by its digest

    def judge(self, disk: Path, number: int, *, is_between: bool) -> None:
        """Whatever looks like a backup is whole, one is there once one was noted, and what was pruned is in one."""
        with closing(script.opened(disk / "site")) as site:
            place = app.plugin("backup_places").default_place(site.app.config, site.app.providers)
            whole = {one.name: self._held_by(place, one, disk / "site" / "data") for one in place.archives()}
            noted, found = site.app.state.get("_settings", "backup"), self._ids(site)
            assert self.new <= found
            pruned = self.old - found
            assert not pruned or any(pruned <= held for held in whole.values())
            assert not noted or whole
            names = [one.name for one in self.done[1:3]]
            wanted = [names[min(number, 3) - 2]] if number > 1 else []
            assert set(wanted) <= set(whole) or (is_between and number == 2 and names[1] in whole)
            assert is_between or (list(whole) == wanted and pruned == (self.old if number == 4 else set()))
            row, *_ = site.items("forms/notes/records")
            assert site.bytes(f"forms/notes/records/{row['id']}/paper") == b"abc"
            if not is_between:
                script.check_writable(site)
        script.check_database(disk / "site" / "data" / "app.db")

    def _held_by(self, place: Any, archive: Any, scratch: Path) -> frozenset[str]:
        """The ids of the audit entries in an archive, which is restored for that."""
        with place.here(archive, scratch) as path:
            digest = digest_of({"": path.read_bytes()})
            if digest not in self._held:
                folder = self.lab.root.parent / f"restored {len(self._held)}"
                backup.restore_into(path, folder, local=True)
                with closing(script.opened(folder)) as restored:
                    self._held[digest] = self._ids(restored)
        return self._held[digest]

    @staticmethod
    def _ids(site: script.Site) -> frozenset[str]:
        return frozenset(row["id"] for row in script.all_items(site, "admin/audit"))


@pytest.mark.parametrize("to", ["vault/kept", "../kept"], ids=["provider", "folder"])
def test_a_power_cut_leaves_no_half_backup_and_no_pruned_entry_without_one(lab: Lab, tmp_path: Path, to: str) -> None:
    keeping = Keeping(lab, to)
    replayed, live = keeping.last().picture("most"), tools.tree_of(lab.root)
    differing = {path for path in replayed.keys() | live.keys() if replayed.get(path) != live.get(path)}
    assert differing <= {"/site/data/ids"}, "which is written as memory: nothing but the order of ids hangs on it"
    chance = random.Random(SEED)
    for is_between in (False, True):

        def is_wanted(event: Event, is_between: bool = is_between) -> bool:
            if not is_between:
                return event.kind == "mark"
            return chance.random() < SHARE / 2 or (event.kind == "rename" and "/kept/satchel-" in event.other)

        for number, how, picture in keeping.pictures(("most", "some", *([] if is_between else ["least"])), is_wanted):
            tools.lay_out(picture, tmp_path / "image")
            with during(f"{keeping.done[number - 1].name}, {how}"):
                keeping.judge(tmp_path / "image", number, is_between=is_between)


def test_nothing_is_lost_or_doubled_while_workers_are_killed_all_the_time(lab: Lab) -> None:
    """Eight writers, each of whom repeats what was not answered; the server is told to start anew, or it would wait longer
    before each worker that it starts again."""
    assert lab.start("--workers", str(STORM_WORKERS))
    token, end, chance, kills = issue(lab), time.monotonic() + STORM_S, random.Random(SEED), 0

    def write(writer: int) -> Script:
        own = Script(token=token, prefix=f"writer {writer} ", revive=lambda: time.sleep(0.002) or lab.url)
        own.connect(lab.url)
        for number in itertools.count():
            if time.monotonic() > end:
                return own
            form, share = chance.choice(("notes", "lines")), chance.choice(("docs", "blobs"))
            step = own.upload(f"files/{share}/{writer}/{number % 9}.bin") if number % 4 == 3 else own.create(form)
            own.insist(step)
        raise AssertionError

    with ThreadPoolExecutor(8) as writers:
        results = [writers.submit(write, writer) for writer in range(8)]
        while time.monotonic() < end:
            workers = lab.workers()
            if len(workers) > 2:
                with suppress(ProcessLookupError):
                    os.kill(random.Random(kills).choice(workers), signal.SIGKILL)
                    kills += 1
            else:
                assert lab.server
                lab.server.send_signal(signal.SIGHUP)
                time.sleep(0.2)
            time.sleep(0.03)
        scripts = [result.result() for result in results]
    expected: State = {}
    for own in scripts:
        expected |= {name: value for name, value in own.state.items() if not name.endswith("entries")}
    for form in script.FORMS:
        expected[f"forms/{form} entries"] = sum(own.state[f"forms/{form} entries"] for own in scripts)
    with closing(script.opened(lab.site)) as site:
        assert script.observed(site) == expected
    summary = f"{kills} kills, {len(expected) - len(script.FORMS)} effects, {sum(own.retries for own in scripts)} repeats"
    (lab.root.parent / "summary").write_text(summary)
    assert kills > STORM_S
    assert lab.stop() == 0
    script.check_database(lab.site / "data" / "app.db")
