"""Faults of the disk and of the machine, for test_faults.py: tests/disk_shim.c stands between Satchel and the disk.

A `Lab` is a folder whose every change is recorded, or in which calls to the system fail or kill. A `Disk` is made of such a
recording: what a power cut leaves at any moment of it, at the least, at the most and in between.
"""

from __future__ import annotations

import functools
import itertools
import mmap
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import backends

HERE = Path(__file__).parent
KINDS = ("write", "sync", "rename", "unlink", "link", "truncate", "mkdir", "rmdir", "create")
EVENTS = (*KINDS, "synced", "unknown", "mark")  # as disk_shim.c numbers them; the last is ours
KILL, TEAR, FAIL = 1, 2, 3
SECTOR_BYTES = 512  # what a disk writes whole


@functools.cache
def shim() -> Path:
    """The library, compiled."""
    backends.needed("Linux", sys.platform == "linux", "other systems do not preload libraries so")
    compiler = backends.program("gcc")
    made = Path(tempfile.mkdtemp(prefix="satchel-shim-")) / "disk_shim.so"
    backends._folders.append(made.parent)
    command = [compiler, "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", HERE / "disk_shim.c", "-o", made, "-ldl"]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=120)
    lacks_headers = "No such file" in done.stderr
    backends.needed("a C library to compile with", not lacks_headers, "apt-get install libc6-dev")
    assert done.returncode == 0, done.stderr
    return made


# ---- the folder under watch ----


class Lab:
    """A folder, and the programs started in it with the library before them; all of the tree is recorded or hurt."""

    _PAGE = struct.Struct("8Iq9q")  # struct control of disk_shim.c

    def __init__(self, folder: Path, pyz: Path, python: str, unpack_root: Path) -> None:
        self.root, self.site = folder / "disk", folder / "disk" / "site"
        self.site.mkdir(parents=True)
        self.log, self._output = folder / "log", folder / "output"
        control = folder / "control"
        control.write_bytes(bytes(mmap.PAGESIZE))
        self.log.touch()
        with control.open("r+b") as file:
            self._page = mmap.mmap(file.fileno(), mmap.PAGESIZE)
        self._program = [python, str(pyz)]
        self.env = {
            **os.environ, "SHIV_ROOT": str(unpack_root), "LD_PRELOAD": str(shim()), "FAULT_ROOT": str(self.root),
            "FAULT_CONTROL": str(control), "FAULT_LOG": str(self.log), "PYTHONDONTWRITEBYTECODE": "1",
        }  # fmt: skip
        self.server: subprocess.Popen[bytes] | None = None
        self.url = ""

    # -- what happens to calls

    def _set(self, **values: int) -> None:
        names = ("lock", "recording", "kinds", "action", "error", "sticky", "group", "fired", "countdown")
        for name, value in values.items():
            at = names.index(name)
            struct.pack_into("q" if name == "countdown" else "I", self._page, at * 4, value)

    def record(self) -> None:
        """From here on every change is in the log."""
        self._set(recording=1)

    def mark(self, words: str) -> None:
        mark(self.log, words)

    @contextmanager
    def armed(self, action: int, nth: int, *kinds: str, error: int = 0, sticky: bool = False) -> Iterator[None]:
        """Within the block, the nth call of these kinds (else any) from here on is met with the action."""
        mask = sum(1 << KINDS.index(kind) for kind in kinds or KINDS)
        self._set(action=0, kinds=mask, error=error, sticky=sticky, group=1, fired=0, countdown=nth)
        self._set(action=action)
        try:
            yield
        finally:
            self.disarm()

    def disarm(self) -> None:
        self._set(action=0)

    @property
    def fired(self) -> bool:
        """Whether the last one that was armed has gone off."""
        return bool(self._PAGE.unpack_from(self._page)[7])

    def calls(self) -> dict[str, int]:
        """How many calls of each kind there were, ever."""
        return dict(zip(KINDS, self._PAGE.unpack_from(self._page)[9:], strict=True))

    # -- programs

    def command(self, *args: str) -> subprocess.CompletedProcess[str]:
        """A command of app.pyz, to its end."""
        return self.run([*self._program, *args])

    def run(self, command: list[str], **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, cwd=self.site, env=self.env | env, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=backends.PATIENCE_S, start_new_session=True,
        )  # fmt: skip

    def start(self, *args: str) -> str:
        """Start the server, and return its address; "" if it was killed before it had one."""
        assert self.server is None
        with self._output.open("wb") as output:
            self.server = subprocess.Popen(
                [*self._program, "server", "--bind", "127.0.0.1:0", *args], cwd=self.site, env=self.env,
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
            )  # fmt: skip
        end = time.monotonic() + backends.PATIENCE_S
        while time.monotonic() < end:
            said = self._output.read_text(errors="replace")
            if " at http://" in said:
                self.url = "http://" + said.partition(" at http://")[2].split()[0].rstrip("/.,")
                return self.url
            if self.server.poll() is not None:
                self._reap()
                return ""
            time.sleep(0.01)
        raise AssertionError(f"no address in {backends.PATIENCE_S:g} s:\n{said}")

    def workers(self) -> list[int]:
        """The process ids of the server's workers."""
        assert self.server
        return [pid for pid in _living(self.server.pid) if pid != self.server.pid]

    def said(self) -> str:
        return self._output.read_text(errors="replace")

    def stop(self, sign: signal.Signals = signal.SIGTERM) -> int:
        """End the server, whole if by SIGKILL, and wait until nothing of it is left; its exit code. Idempotent."""
        if self.server is None:
            return 0
        with suppress(ProcessLookupError):
            (os.killpg if sign == signal.SIGKILL else os.kill)(self.server.pid, sign)
        return self._reap()

    def _reap(self) -> int:
        server, self.server = self.server, None
        assert server is not None
        code = server.wait(backends.PATIENCE_S)
        end = time.monotonic() + backends.PATIENCE_S
        while _living(server.pid):
            assert time.monotonic() < end, "the server has ended and something of it has not"
            time.sleep(0.005)
        return code

    def close(self) -> None:
        """End what runs, and let go of everything."""
        if self.server is not None:
            self.stop(signal.SIGKILL)
        self._page.close()


def _living(group: int) -> list[int]:
    """The processes of a group that have not ended, whether or not somebody has seen those that have."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, _, its_group = path.read_text().rpartition(") ")[2].split()[:3]
            if its_group == str(group) and state not in "ZX":
                found.append(int(path.parent.name))
    return found


# ---- what a power cut leaves ----

_EVENT = struct.Struct("2I2qQ2IQ")  # struct event of disk_shim.c


class Event(NamedTuple):
    """A change, the begin ("sync") or end ("synced") of an fsync, or a mark."""

    kind: str
    at: int  # the offset of a write, the number of an fsync; 1 = a file that was opened was cut to nothing
    size: int
    inode: int
    path: str
    other: str
    data: bytes


def mark(log: Path, words: str) -> None:
    """Say in a log that something was acknowledged: all that comes before it there had happened by then."""
    name = words.encode()
    with log.open("ab", buffering=0) as file:
        file.write(_EVENT.pack(EVENTS.index("mark"), os.getpid(), 0, 0, 0, len(name), 0, 0) + name)


def events_in(log: Path) -> list[Event]:
    """The recording. Fails if it holds what the replay does not know."""
    found, stored, at = [], log.read_bytes(), 0
    while at < len(stored):
        kind, _, start, size, inode, *lengths = _EVENT.unpack_from(stored, at)
        at += _EVENT.size
        parts = []
        for length in lengths:
            parts.append(stored[at : at + length])
            at += length
        names = [part and os.path.normpath(os.fsdecode(part)) for part in parts[:2]]
        event = Event(EVENTS[kind], start, size, inode, *names, parts[2])
        assert event.kind != "unknown", f"disk_shim.c does not record {event.other} of {event.path}"
        found.append(event)
    return found


@dataclass(eq=False)
class File:
    safe: bytes = b""
    live: bytearray = field(default_factory=bytearray)
    unsafe: list[tuple[int, int, bytes | None]] = field(default_factory=list)  # (when, offset, data; None: cut there)


@dataclass(eq=False)
class Folder:
    safe: dict[str, Node] = field(default_factory=dict)
    live: dict[str, Node] = field(default_factory=dict)


Node = File | Folder
Picture = dict[str, bytes | None]
"""{path below the root: its bytes, or None for a folder}; the root itself is \"\"."""


@dataclass(eq=False)
class Change:
    """Of names: made, moved and removed at once."""

    when: int
    names: list[tuple[Folder, str, Node | None]]

    def needs(self, other: Change) -> bool:
        """Whether the other one, which was before it, is on the disk if it is: what follows from it cannot be without it."""
        mine = {(id(folder), name) for folder, name, _ in self.names} | {id(node) for _, _, node in self.names if node}
        its = {(id(folder), name) for folder, name, _ in other.names} | {id(node) for _, _, node in other.names if node}
        return bool(mine & its)


def put(content: bytearray, offset: int, data: bytes | None) -> None:
    """What a write, or a cut, makes of a file's bytes."""
    if data is None:
        del content[offset:]
        content.extend(bytes(offset - len(content)))
        return
    content.extend(bytes(max(0, offset - len(content))))
    content[offset : offset + len(data)] = data


class Disk:
    """A recorded tree as it was at a moment of the recording: what is safe, and what was not yet.

    Strict: a file's bytes are safe by its own fsync alone, a name by that of its folder (a rename by that of either one, as
    journals of file systems do it), each from the end of the fsync on, if it was there when that began.
    """

    def __init__(self, root: Path) -> None:
        self.root = str(root)
        self.ignores: Callable[[str], bool] = lambda path: False  # whose fsync does nothing: shows that it is needed
        self.tree = Folder()
        self._inodes: dict[int, Node] = {}
        self._begun: dict[int, int] = {}  # when each fsync began
        self._changes: list[Change] = []
        self._now = 0

    def take_in(self, tree: Path) -> None:
        """What is there before the recording begins: it is safe."""
        for folder, names, files in os.walk(tree):
            self._inodes[os.stat(folder).st_ino] = self.tree if folder == self.root else self._node(folder)
            for name in names:
                self._add_safe(os.path.join(folder, name), Folder())
            for name in files:
                place = os.path.join(folder, name)
                content = Path(place).read_bytes()
                self._inodes[os.stat(place).st_ino] = self._add_safe(place, File(content, bytearray(content)))

    def _add_safe(self, place: str, node: Node) -> Node:
        folder, name = self._at(place)
        folder.safe[name] = folder.live[name] = node
        return node

    def _at(self, path: str) -> tuple[Folder, str]:
        """The folder that a path is in, and its name there."""
        above, name = os.path.split(path)
        folder = self._node(above)
        assert isinstance(folder, Folder), path
        return folder, name

    def _node(self, path: str) -> Node:
        node: Node = self.tree
        for part in path.removeprefix(self.root).split("/"):
            if part:
                assert isinstance(node, Folder), path
                node = node.live[part]
        return node

    def follow(self, event: Event) -> None:
        """Do what the event says."""
        self._now += 1
        match event.kind:
            case "write" | "truncate":
                file = self._inodes[event.inode]
                assert isinstance(file, File), event.path
                step = (event.at, event.data) if event.kind == "write" else (event.size, None)
                self._put(file, *step)
            case "create":
                folder, name = self._at(event.path)
                if name not in folder.live:
                    self._inodes[event.inode] = File()
                    self._change((folder, name, self._inodes[event.inode]))
                if event.at:
                    self._put(self._file(event.path), 0, None)
            case "mkdir":
                self._inodes[event.inode] = Folder()
                self._change((*self._at(event.path), self._inodes[event.inode]))
            case "unlink" | "rmdir":
                self._change((*self._at(event.path), None))
            case "link":
                self._change((*self._at(event.other), self._node(event.path)))
            case "rename":
                self._change((*self._at(event.path), None), (*self._at(event.other), self._node(event.path)))
            case "sync":
                self._begun[event.at] = self._now
            case "synced":
                if not self.ignores(event.path):
                    self._sync(self._inodes[event.inode], self._begun.pop(event.at))

    def _file(self, path: str) -> File:
        node = self._node(path)
        assert isinstance(node, File)
        return node

    def _put(self, file: File, offset: int, data: bytes | None) -> None:
        put(file.live, offset, data)
        file.unsafe.append((self._now, offset, data))

    def _change(self, *names: tuple[Folder, str, Node | None]) -> None:
        self._changes.append(Change(self._now, list(names)))
        _rename(names, lambda folder: folder.live)

    def _sync(self, node: Node, when: int) -> None:
        """Make safe what was done to a file or in a folder before that moment."""
        if isinstance(node, File):
            content = bytearray(node.safe)
            for _, offset, data in (step for step in node.unsafe if step[0] < when):
                put(content, offset, data)
            node.safe, node.unsafe = bytes(content), [step for step in node.unsafe if step[0] >= when]
            return
        mine = [one for one in self._changes if one.when < when and any(folder is node for folder, _, _ in one.names)]
        for change in self._closure(mine):
            _rename(change.names, lambda folder: folder.safe)
            self._changes.remove(change)

    def _closure(self, chosen: list[Change]) -> list[Change]:
        """The chosen changes and those that they need, in order."""
        found: list[Change] = []
        for change in reversed(self._changes):
            if change in chosen or any(later.needs(change) for later in found):
                found.insert(0, change)
        return found

    # -- pictures of it

    def picture(self, how: str, seed: int = 0) -> Picture:
        """What a power cut may leave.

        "least": nothing that was not safe. "most": everything. "names" and "bytes": the unsafe names without the unsafe
        bytes, and the other way round. "some": any of them, in any order, by the seed, writes torn between sectors.
        """
        chance = random.Random(seed)
        changes = self._changes if how in ("most", "names") else []
        if how == "some":
            changes = self._closure([one for one in self._changes if chance.random() < 0.5])
        names: dict[int, dict[str, Node]] = {}

        def of(folder: Folder) -> dict[str, Node]:
            return names.setdefault(id(folder), dict(folder.safe))

        for change in changes:
            _rename(change.names, of)
        found: Picture = {}
        todo: list[tuple[str, Node]] = [("", self.tree)]
        while todo:
            path, node = todo.pop()
            if isinstance(node, Folder):
                found[path] = None
                todo += [(f"{path}/{name}", below) for name, below in of(node).items()]
            elif how in ("most", "bytes"):
                found[path] = bytes(node.live)
            else:
                found[path] = _torn(node, chance) if how == "some" else node.safe
        return found


def _rename(names: list[Any] | tuple[Any, ...], of: Callable[[Folder], dict[str, Node]]) -> None:
    for folder, name, node in names:
        if node is None:
            of(folder).pop(name, None)
        else:
            of(folder)[name] = node


def _torn(file: File, chance: random.Random) -> bytes:
    """Some sectors of some of the unsafe writes, in any order."""
    content, steps = bytearray(file.safe), list(file.unsafe)
    chance.shuffle(steps)
    for _, offset, data in steps:
        fate = chance.choice(("none", "all", "begin", "end", "sectors"))
        if fate == "all" or (data is None and fate != "none"):
            put(content, offset, data)
        elif data is not None and fate != "none":
            cuts = [0, *range(SECTOR_BYTES - offset % SECTOR_BYTES, len(data), SECTOR_BYTES), len(data)]
            middle = chance.randrange(len(cuts))
            for number, (start, end) in enumerate(itertools.pairwise(cuts)):
                chosen = {"begin": number < middle, "end": number >= middle, "sectors": chance.random() < 0.5}
                if chosen[fate]:
                    put(content, offset + start, data[start:end])
    return bytes(content)


def lay_out(picture: Picture, folder: Path) -> None:
    """Make the files of a picture in a folder, in place of what was there."""
    shutil.rmtree(folder, ignore_errors=True)
    for path, content in sorted(picture.items(), key=lambda item: item[0].split("/")):
        place = Path(str(folder) + path)
        if content is None:
            place.mkdir(mode=0o700)
        else:
            place.write_bytes(content)
            place.chmod(0o600)


def tree_of(folder: Path) -> Picture:
    """The files that are there, as a picture."""
    found: Picture = {"": None}
    for path in folder.rglob("*"):
        found[str(path).removeprefix(str(folder))] = None if path.is_dir() else path.read_bytes()
    return found
