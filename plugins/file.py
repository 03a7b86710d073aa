"""Records and files in a folder: the files are plain files, and root/.satchel keeps a journal of the records."""

from __future__ import annotations

import errno
import hashlib
import heapq
import itertools
import os
import queue
import re
import struct
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from functools import cached_property, partial
from pathlib import Path
from stat import S_ISDIR, S_ISLNK, S_ISREG
from typing import TYPE_CHECKING, Any, TypeAlias

from app import (
    CHUNK_BYTES,
    DENIED_ERRORS,
    LOG,
    LOST,
    REQUIRED,
    STAGED_KEPT_S,
    BadRequest,
    Blob,
    Blobs,
    Clock,
    CompiledQuery,
    ConfigError,
    Conflict,
    Delete,
    Entry,
    Fault,
    Folder,
    GroupCommit,
    Json,
    NotFound,
    NotPermitted,
    Page,
    PendingCommit,
    PreconditionFailed,
    ProcessLock,
    Query,
    Record,
    Records,
    Setting,
    Staged,
    Unavailable,
    Unseen,
    Unsupported,
    Value,
    Write,
    check_blob,
    check_commit,
    check_path,
    check_text,
    check_version,
    disk_errors,
    dump_json,
    load_json,
    may_write,
    need_blob,
    new_id,
    next_version,
    plugin,
    value_of_key,
)

if TYPE_CHECKING:
    from plugins import groups, record_tests
    from plugins.disk import make_folder, replace_file, sync, sync_folder
else:
    groups, record_tests = plugin("groups"), plugin("record_tests")
    _disk = plugin("disk")
    make_folder, replace_file = _disk.make_folder, _disk.replace_file
    sync, sync_folder = _disk.sync, _disk.sync_folder

# ==== 1. FILE ====================================================================================================
# A folder of plain files that other programs may use too, and a journal of records: a line of it is one commit.
# uses: ERRORS VALUES CONFIG CONTRACTS PROVIDERS plugin:disk plugin:file_copies plugin:groups plugin:presence
#       plugin:record_tests plugin:reserve plugin:upload_parts
# defines: Provider:file WRITE_BYTES BESIDE_BYTES WRITE_OUT_BYTES CHECKED_BYTES BESIDE_CHUNKS identity write_fully
#          begin_writing_out Sha256Beside gathered FileReader JournalEntry write_journal_line copy_value
#          Journal FolderRecords FileProvider


WRITE_BYTES = 64 * 1024  # that one write takes, at least
BESIDE_BYTES = 4 * 1024 * 1024  # from which on a second thread is worth its start
WRITE_OUT_BYTES = 8 * 1024 * 1024  # after which the medium begins with them
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS)  # what says that a file cannot have two names
CHECKED_BYTES = 1024 * 1024  # of an upload, after which it is looked at what the disk has left
BESIDE_CHUNKS = 2  # that wait for it, and so the memory of an upload


def identity(folder: str) -> str:
    """What tells a folder from one that is made later in its place: its inode and birth time; "" if the system does not
    say when it was born."""
    state: Any = os.stat(folder, follow_symlinks=False)
    born = getattr(state, "st_birthtime", None) or _linux_birth(folder)
    return f"{state.st_ino:x} {born}" if born else ""


def _linux_birth(place: str) -> str:
    """The birth time by statx(2), which Python does not offer; "" if the file system has none."""
    import ctypes

    found = ctypes.create_string_buffer(256)  # struct statx: stx_mask at 0, stx_btime at 80
    try:
        failed = ctypes.CDLL(None).statx(-100, os.fsencode(place), 0x100, 0x800, found)  # AT_FDCWD, NOFOLLOW, STATX_BTIME
    except (AttributeError, OSError, TypeError):  # another system, or a C library without it
        return ""
    mask, (seconds, nanoseconds) = struct.unpack_from("=I", found.raw)[0], struct.unpack_from("=qI", found.raw, 80)
    return f"{seconds}.{nanoseconds:09}" if not failed and mask & 0x800 else ""


def write_fully(descriptor: int, data: bytes | bytearray) -> None:
    """Write all of data at the descriptor's position."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def begin_writing_out(descriptor: int, start: int, end: int) -> int:
    """Let the system write to the medium what was written from start to end, if that is much, so that the fsync behind the
    last byte has little left to wait for. Returns where it begins the next time. Promises nothing, and waits for nothing."""
    if end - start < WRITE_OUT_BYTES or not hasattr(os, "posix_fadvise"):
        return start
    with suppress(OSError):  # a file system that knows no advice
        os.posix_fadvise(descriptor, start, end - start, os.POSIX_FADV_DONTNEED)  # Linux begins to write what it may forget
    return end


class Sha256Beside:
    """The SHA-256 of chunks, none of which changes once it is given. From BESIDE_BYTES on a thread of its own finds it out,
    while this one receives and writes; at most BESIDE_CHUNKS wait for it."""

    def __init__(self) -> None:
        self.size_bytes = 0  # of what was given
        self._digest = hashlib.sha256()
        self._chunks: queue.SimpleQueue[bytes | bytearray] = queue.SimpleQueue()
        self._room = threading.Semaphore(BESIDE_CHUNKS)
        self._thread: threading.Thread | None = None

    def update(self, chunk: bytes | bytearray) -> None:
        if not self._thread and self.size_bytes < BESIDE_BYTES <= self.size_bytes + len(chunk):
            self._go_beside()
        self.size_bytes += len(chunk)
        if not self._thread:
            self._digest.update(chunk)
        elif chunk:
            self._room.acquire()
            self._chunks.put(chunk)

    def _go_beside(self) -> None:
        thread = threading.Thread(target=self._work, name="sha256", daemon=True)
        with suppress(RuntimeError):  # there are no more threads at this moment: it goes without
            thread.start()
            self._thread = thread

    def _work(self) -> None:
        while chunk := self._chunks.get():
            self._digest.update(chunk)
            self._room.release()

    def close(self) -> None:
        """Wait until what was given is counted in. Idempotent."""
        if self._thread:
            self._chunks.put(b"")
            self._thread.join()
            self._thread = None

    def hexdigest(self) -> str:
        self.close()
        return self._digest.hexdigest()


def gathered(chunks: Iterable[bytes]) -> Iterator[bytes | bytearray]:
    """The same bytes in pieces that are worth a system call each; a large chunk goes on as it is."""
    held = bytearray()
    for chunk in chunks:
        if not held and len(chunk) >= WRITE_BYTES:
            yield chunk
            continue
        held += chunk
        if len(held) >= WRITE_BYTES:
            yield held
            held = bytearray()
    if held:
        yield held


class FileReader:
    """Part of a plain file: `fileno()`, `start` and `length` let a runner send it by itself."""

    def __init__(self, descriptor: int, start: int, length: int) -> None:
        self._file = os.fdopen(descriptor, "rb", buffering=0)
        self.start = start
        self.length = length

    def __iter__(self) -> Iterator[bytes]:
        self._file.seek(self.start)
        left = self.length
        while left:
            chunk = self._file.read(min(left, CHUNK_BYTES))
            if not chunk:
                raise Unavailable("the file became shorter while it was read")
            left -= len(chunk)
            yield chunk

    def fileno(self) -> int:
        return self._file.fileno()

    def close(self) -> None:
        self._file.close()


JournalEntry: TypeAlias = tuple[str, str, int, Value | None]  # table, key, version (0 = removed), value


def write_journal_line(commits: Sequence[Sequence[JournalEntry]]) -> bytes:
    """A line of the journal: a JSON array of a checksum (CRC-32 of the rest, in hex) and the commits of one write."""
    body = dump_json(commits).encode()
    return b'["%08x",%s]\n' % (zlib.crc32(body), body)


def copy_value(value: Json) -> Json:
    """A copy of a JSON value that shares nothing with the original."""
    if isinstance(value, dict):
        return {name: copy_value(item) for name, item in value.items()}
    return [copy_value(item) for item in value] if isinstance(value, list | tuple) else value


class Journal:
    """Records in memory and in an append-only file. A line of the file is one write, durable when append returns.

    refresh and append are called under a lock that all processes share. A last line that is not whole was never
    acknowledged: refresh passes it over and the next append cuts it off.
    """

    def __init__(self, path: Path, who: str) -> None:
        self.problem = ""  # why it could not be compacted
        self.tables: dict[str, dict[str, Record]] = {}
        self.mutex = threading.RLock()  # guards tables
        self._path = path
        self._who = who
        self._floor = 1000  # dead entries that are not worth a compaction
        self._descriptor = -1
        self.close()

    def close(self) -> None:
        """Forget everything; idempotent."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor, self._seen = -1, (0, 0, 0)  # the state of the file that was read, and to what size:
        self._size = self._lines = self._entries = 0
        self.damaged: list[int] = []  # the numbers of lines
        self._synced = False  # whether the name of the file is durable
        with self.mutex:
            self.tables.clear()

    @staticmethod
    def _state(there: os.stat_result) -> tuple[int, int, int]:
        """What changes with every append. The time is part of it, since a line may replace a torn end of the same length."""
        return there.st_ino, there.st_size, there.st_mtime_ns

    def state(self) -> tuple[int, int, int] | None:
        """That of the file as it is; None if there is none. One stat call and no lock."""
        try:
            return self._state(os.stat(self._path))
        except FileNotFoundError:
            return None

    def is_fresh(self) -> bool:
        """Whether the file is the one that was read, up to its end."""
        state = self.state()
        return state == self._seen if state else self._descriptor < 0

    def refresh(self) -> None:
        """Read what other processes appended; everything, if they replaced the file."""
        if self.is_fresh():
            return
        if not self._path.exists():
            hint = f"{self._path} was removed: restore it, then restart"
            raise Unavailable(f"{self._who}: its journal is gone", hint=hint)
        with self.mutex, open(self._path, "rb") as file:
            there = self._follow(file.fileno())
            file.seek(self._size)
            for line in file:
                if self._is_whole(line):
                    self._apply(line)
                elif not line.endswith(b"\n") or (b"\0" in line and not file.read(1)):
                    break  # the torn end
                elif self._says_what(line):
                    self.damaged.append(self._lines + 1)
                    words = "%s: line %d of its journal is damaged: its records are marked, and all others served (%s)"
                    LOG.error(words, self._who, self._lines + 1, self._path)
                    self._apply(line, "stands in a damaged line of the journal")
                else:
                    hint = f"{self._path}: restore a backup, or remove the line to lose what it says"
                    raise Unavailable(f"{self._who}: line {self._lines + 1} of its journal is damaged", hint=hint)
            self._seen = self._state(there)

    def catch_up(self, end: int) -> None:
        """Read the whole lines up to a size that the file had under the lock, without it: refresh() reads what is left."""
        with self.mutex, suppress(FileNotFoundError), open(self._path, "rb") as file:
            self._seen = self._follow(file.fileno()).st_ino, 0, 0
            file.seek(self._size)
            for line in file:
                if self._size + len(line) > end or not self._is_whole(line):
                    break
                self._apply(line)

    def unread_bytes(self) -> tuple[int, int]:
        """How much of the file was not read yet, and its size."""
        state = self.state() or (0, 0, 0)
        return state[1] - (self._size if state[0] == self._seen[0] else 0), state[1]

    def _follow(self, descriptor: int) -> os.stat_result:
        """Forget everything if the open file is another than the one that was read; returns its state."""
        there = os.fstat(descriptor)
        if self._descriptor < 0 or there.st_ino != self._seen[0] or there.st_size < self._size:
            self.close()
            self._descriptor = os.open(self._path, os.O_RDWR)
        return there

    @staticmethod
    def _is_whole(line: bytes) -> bool:
        return line[:12] == b'["%08x",' % zlib.crc32(line[12:-2]) and line.endswith(b"]\n")

    @staticmethod
    def _says_what(line: bytes) -> bool:
        """Whether a line with a wrong checksum still says which records it is about."""
        try:
            entries = [entry for commit in load_json(line[12:-2]) for entry in commit]
            return all(isinstance(table + key, str) and version >= 0 for table, key, version, _ in entries)
        except (BadRequest, TypeError, ValueError):
            return False

    def _apply(self, line: bytes, damage: str = "") -> None:
        """Take in what a line says; of one with `damage` the records are marked with that, since their values are lost."""
        with self.mutex:
            for table, key, version, value in itertools.chain.from_iterable(load_json(line[12:-2])):
                self._entries += 1
                if damage:
                    self.tables.setdefault(table, {})[key] = Record(key, max(version, 1), {}, damage)
                elif version:
                    self.tables.setdefault(table, {})[key] = Record(key, version, value or {})
                else:
                    self.tables.get(table, {}).pop(key, None)
        self._size += len(line)
        self._lines += 1

    def append(self, commits: Sequence[Sequence[JournalEntry]]) -> None:
        """Write one line durably, then apply it; after an OSError everything is as it was."""
        line = write_journal_line(commits)
        if self._descriptor < 0:
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        if not self._synced:
            sync_folder(self._path.parent)
            self._synced = True
        if os.fstat(self._descriptor).st_size != self._size:
            os.ftruncate(self._descriptor, self._size)
        try:
            os.lseek(self._descriptor, self._size, os.SEEK_SET)
            write_fully(self._descriptor, line)
            sync(self._descriptor)
        except OSError:
            os.ftruncate(self._descriptor, self._size)
            raise
        self._apply(line)
        self._seen = self._state(os.fstat(self._descriptor))
        live = sum(map(len, self.tables.values()))
        if self._entries - live > max(live, self._floor) and not self.damaged:  # which are kept for whoever mends them
            self._compact()

    def _compact(self) -> None:
        """Replace the journal by one of the living records alone; a failure is kept for the operator, and loses no data."""
        entries = [(table, r.key, r.version, r.value) for table, rows in self.tables.items() for r in rows.values()]
        starts = range(0, len(entries), 500)
        try:
            for left in self._path.parent.glob(f".{self._path.name}.*"):  # of a compaction that was broken off
                left.unlink()
            replace_file(self._path, (write_journal_line([entries[start : start + 500]]) for start in starts))
            descriptor = os.open(self._path, os.O_RDWR)
        except OSError as error:
            self.problem = f"its journal could not be compacted: {os.strerror(error.errno or 0)}"
            self._floor *= 2
            self.close()  # whichever file is there now is read anew
            return
        os.close(self._descriptor)
        self.problem, self._descriptor, self._seen = "", descriptor, self._state(os.fstat(descriptor))
        self._size, self._lines, self._entries = self._seen[1], len(starts), len(entries)


def _odd_name(name: str) -> tuple[str, str]:
    """A name in a folder as it can be shown, and why it cannot be asked for; "" if it can."""
    if re.fullmatch(r"[A-Za-z0-9_-]{5}[A-Za-z0-9_ .-]{0,94}(?<![ .])", name):  # nearly all are so, and no device is
        return name, ""
    try:
        check_path([name], is_there=True)
        return name, ""
    except BadRequest as error:
        words = "is not UTF-8" if check_text(name) else error.message.removeprefix("the name ")
        shown = os.fsencode(name).decode(errors="replace")
        return re.sub(r"[\x00-\x1f\x7f-\x9f]", LOST, shown), f"its name {words}"


_SHOWN_OTHERWISE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_TAKEN_SINGLY = 2000  # names of a folder before the others are sorted: more than a page


def _listed(folder: str, names: Collection[str], after: str) -> Iterator[tuple[str, str]]:
    """(path, problem) of the names in a folder that come after the path `after`, in order; see _odd_name.

    A page costs no sorting of a large folder, and no look at names that it does not show.
    """
    prefix = f"{folder}/" if folder else ""
    odd = dict(map(_odd_name, names)) if _SHOWN_OTHERWISE.search("/".join(names)) else {}
    if after.startswith(prefix):
        bound = after.removeprefix(prefix)
        left = [name for name in odd or names if name > bound]
    else:
        left = list(odd or names) if prefix > after else []
    heapq.heapify(left)
    for name in _in_order(left):
        yield prefix + name, odd[name] if odd else _odd_name(name)[1]


def _in_order(heap: list[str]) -> Iterator[str]:
    """The names of a heap in order, which is used up."""
    for _ in range(min(len(heap), _TAKEN_SINGLY)):
        yield heapq.heappop(heap)
    yield from sorted(heap)


def _in_depth(inside: str, names: Mapping[str, bool], after: str) -> Iterator[tuple[str, str, bool]]:
    """(path, name, whether it is a folder, as the names say) in the order of all that lies below."""
    odd = {name: _odd_name(name)[0] for name in names} if _SHOWN_OTHERWISE.search("/".join(names)) else {}
    ends = {inside + odd.get(name, name): name for name in names}
    left = [path for path, name in ends.items() if (path + "0" if names[name] else path) > after]  # "0" follows "/"
    for path in sorted(left, key=lambda path: path + "/" * names[ends[path]]):
        yield path, ends[path], names[ends[path]]


_MUCH_BYTES = 200_000  # of a journal, about what is read in 10 ms: more is read while others write


class FolderRecords(Records):
    """A folder, and the records in root/.satchel: they live in the memory of each process, and in a journal."""

    atomic = True

    def __init__(self, name: str, options: Mapping[str, Any], folder: Path, *, clock: Clock = time.time) -> None:
        root = options.get("root")
        if not root or not isinstance(root, str | Path):
            detail = "the folder is missing, such as data/files"
            raise ConfigError(f"provider {name}: root: {detail}", faults=[Fault(f"providers.{name}.root", "root", detail)])
        self._root = (folder / root).absolute()
        self._own = self._root / ".satchel"
        self._staged = self._own / "staged"
        self.name, self._clock = name, clock
        self._lock = ProcessLock(self._own / "lock")
        self._group = GroupCommit(self._commit_jobs)
        self._journal = Journal(self._own / "journal.jsonl", f"provider {name}")
        self._open = False
        self._modified_ns = 0
        journal, presence = self._own / "journal.jsonl", plugin("presence").Presence
        known = {self._root: "folder", self._staged: "own folder .satchel", journal: "journal"}
        self.presences = [presence(path, f"provider {name}: its {what}") for path, what in known.items()]
        self.reserve = plugin("reserve").Reserve(f"provider {name}", journal, awaits=self._staged)

    def places(self) -> list[Path]:
        return [self._root]

    def open(self) -> None:
        """Creates nothing."""
        self._open = True
        self.ping()

    def close(self) -> None:
        self._open = False
        with suppress(OSError):
            self._journal.close()
            self._lock.close()

    def ping(self) -> float:
        """Looks at the folder, or at the one that it would be made in."""
        began = time.perf_counter()
        with self._errors("ping"):
            self._check_present()
            if not may_write(self._root):
                raise PermissionError(errno.EACCES, "not a folder that this account may write", str(self._root))
        return time.perf_counter() - began

    def warnings(self) -> list[str]:
        lost = [f"line {number} of its journal is damaged: restore a backup" for number in self._journal.damaged]
        if self._journal.problem:
            lost.append(self._journal.problem)
        return lost

    @contextmanager
    def _errors(self, operation: str) -> Iterator[None]:
        if not self._open:
            raise Unavailable(f"provider {self.name} is not open")
        with disk_errors(f"provider {self.name}", operation, self._is_item):
            yield

    def _is_item(self, error: OSError) -> bool:
        """Whether an error concerns one file or folder, and not what the provider keeps for itself or the share as a
        whole."""
        named = next((str(name) for name in (error.filename2, error.filename) if isinstance(name, str | Path)), "")
        is_own = named == str(self._root) or named == str(self._own) or named.startswith(f"{self._own}{os.sep}")
        return not is_own and (error.errno not in DENIED_ERRORS or may_write(self._root))

    def _check_present(self) -> None:
        """Unavailable if the folder is gone that was there before, or what the provider keeps in it."""
        for presence in self.presences:
            presence.check()

    @contextmanager
    def _locked(self, operation: str) -> Iterator[None]:
        """Alone among all processes; makes the folders at first use."""
        with self._errors(operation):
            self._make_folders()
            with self._lock.held():
                yield

    def _make_folders(self) -> None:
        if not self._staged.is_dir():
            self._check_present()
            for folder in (self._root, self._own, self._staged):
                make_folder(folder)

    @contextmanager
    def _table(self, table: str) -> Iterator[Mapping[str, Record]]:
        """A table's records as all processes have committed them, until the block ends."""
        with self._errors("reading records"):
            self._check_present()
            if not self._journal.is_fresh():
                self._refresh()
        with self._journal.mutex:
            yield self._journal.tables.get(table, {})

    def _refresh(self) -> None:
        with self._locked("reading records"):
            unread_bytes, end = self._journal.unread_bytes()
            if unread_bytes < _MUCH_BYTES:
                return self._journal.refresh()
        self._journal.catch_up(end)  # while others write
        with self._locked("reading records"):
            return self._journal.refresh()

    @contextmanager
    def frozen(self) -> Iterator[Records]:
        """The records as they are now, whatever is written meanwhile: those up to this point of the journal."""
        with self._table(""):
            still = Journal(self._own / "none", f"provider {self.name}")
            still.tables.update((name, dict(records)) for name, records in self._journal.tables.items())
        frozen = FolderRecords(self.name, {"root": self._root}, self._root)
        frozen._journal, frozen._open = still, True
        with closing(frozen):
            yield frozen

    def get(self, table: str, key: str) -> Record | None:
        with self._table(table) as records:
            record = records.get(key)
            return record and record._replace(value=copy_value(record.value))

    def mark(self) -> Any:
        with suppress(OSError):  # get() says what is wrong
            return self._journal.state() if self._open else None
        return None

    def tables(self) -> list[str]:
        with self._table(""):
            return sorted(name for name, records in self._journal.tables.items() if records)

    def find(self, query: Query) -> Page:
        compiled = CompiledQuery(query)
        with self._table(query.table) as records:
            page = compiled.page(compiled.first(records.values()))
        return Page([Record(r.key, r.version, copy_value(r.value), r.damage) for r in page.items], page.next)

    def walk(self, query: Query) -> Iterator[Record]:
        if query != Query(query.table, limit=query.limit):
            yield from super().walk(query)
            return
        with self._table(query.table) as records:
            found = sorted(records.items())  # at one moment, and once: each page would cost a look at all of them
        for _, record in found:
            yield record._replace(value=copy_value(record.value))

    def count(self, query: Query) -> int:
        compiled = CompiledQuery(query._replace(after=""))
        with self._table(query.table) as records:
            return sum(map(compiled.selects, records.values()))

    def facet(self, query: Query, field: str, most: int) -> list[tuple[Json, int]]:
        compiled, deadline, found = CompiledQuery(query._replace(after="")), groups.deadline(), Counter[str]()
        with self._table(query.table) as records:
            for number, record in enumerate(records.values()):
                if number % 500 == 499 and time.monotonic() > deadline:
                    raise groups.too_long()
                if compiled.selects(record):
                    found.update(record_tests.facet_keys(record_tests.value_of(record, field)))
        first = heapq.nsmallest(most, ((-count, key) for key, count in found.items()))
        return [(value_of_key(key), -count) for count, key in first]

    def count_up_to(self, query: Query, most: int, timeout_s: float) -> int | None:
        compiled, deadline, found = CompiledQuery(query), time.monotonic() + timeout_s, 0
        with self._table(query.table) as records:
            if not compiled.tests and not query.search:
                return min(len(records), most)
            for number, record in enumerate(records.values()):
                if number % 500 == 499 and time.monotonic() > deadline:
                    return None
                found += compiled.selects(record)
                if found == most:
                    break
        return found

    def commit(self, writes: Sequence[Write]) -> list[Record]:
        check_commit(writes)
        if not writes:
            return []
        submit = partial(self._group.submit, writes)
        return list(self.reserve.give(submit) if self.reserve.may_use_all(writes) else submit())

    def _commit_jobs(self, jobs: list[PendingCommit]) -> None:
        """Writes one line for all jobs that meet no conflict."""
        with self._locked("writing records"):
            self._check_present()
            self._journal.refresh()
            ahead: dict[tuple[str, str], int] = {}
            commits = []
            for job in jobs:
                try:
                    entries = self._judge(job.work, ahead)
                except Conflict as error:
                    job.error = error
                    continue
                ahead |= {(table, key): version for table, key, version, _ in entries}
                commits.append(entries)
                job.result = [Record(key, version, value or {}) for _, key, version, value in entries]
            if commits:
                self._journal.append(commits)

    def _judge(self, writes: Sequence[Write], ahead: Mapping[tuple[str, str], int]) -> list[JournalEntry]:
        """The entries for the writes, after those ahead of them in the same line (`ahead`: their versions); Conflict."""
        entries: list[JournalEntry] = []
        for index, write in enumerate(writes):
            present = self._journal.tables.get(write.table, {}).get(write.key)
            version = ahead.get((write.table, write.key), present.version if present else 0)
            check_version(index, write, version)
            after = (0, None) if isinstance(write, Delete) else (next_version(write, version), dict(write.value))
            entries.append((write.table, write.key, *after))
        return entries


def _real(root: str, path: str) -> str:
    """os.path.realpath of a path in a real folder, of which nothing is looked at that is known already."""
    place = root
    for part in path.split("/") if path else ():
        place = f"{place}{os.sep}{part}"
        try:
            if S_ISLNK(os.lstat(place).st_mode):
                return os.path.realpath(os.path.join(root, path))
        except OSError:  # nothing is below it, or nothing to be seen
            return os.path.join(root, path)
    return place


def _put_back(source: str, place: str, aside: str) -> None:
    if aside:
        os.link(place, source)
        os.replace(aside, place)
    else:
        os.rename(place, source)


def _folders_at(place: str) -> Iterator[tuple[str, bool]]:
    """The names in a folder, and whether each is one, through a link too. Nothing is looked at that the system tells
    beside the name."""
    with os.scandir(place) as found:
        for one in found:
            is_folder = False
            with suppress(OSError):  # a link to what cannot be seen
                is_folder = one.is_dir()
            yield one.name, is_folder


def _names_in(provider: FileProvider, path: str) -> Iterator[str]:
    """The names in a folder, in no order and without a look at what they are; none if it cannot be read."""
    with suppress(OSError, BadRequest), os.scandir(provider._place(path)) as found:
        yield from (one.name for one in found)


def _named(provider: FileProvider, path: str, fits: Callable[[str], bool], after: str) -> Iterator[Entry]:
    """A deep scan that looks at no file whose path does not fit, which is Unseen then."""
    return provider._walk(path, True, after, (), fits)


@contextmanager
def _together(provider: FileProvider) -> Iterator[None]:
    """What is copied, moved and removed in the block is durable when it ends, and not before."""
    with provider._errors("making names durable"), plugin("disk").at_the_end():
        yield


class FileProvider(FolderRecords, Blobs):
    """A folder: its files are the blobs, usable by other programs too, and root/.satchel keeps records and uploads.

    Records live in the memory of each process. A folder made from outside counts as one even while it is empty, and
    stays; those that were made here are noted in root/.satchel/folders, and go with their last file.
    """

    kind = "file"
    keeps_folders = keeps_times = serves_places = True
    names_in = _names_in
    named = _named
    together = _together
    settings = (Setting("root", "path", REQUIRED, "the folder, relative to app.toml; made when first written"),)

    def __init__(self, name: str, options: Mapping[str, Any], folder: Path, *, clock: Clock = time.time) -> None:
        super().__init__(name, options, folder, clock=clock)
        self._real_root = ""
        self._last_seen = threading.local()  # path, etag and place of the file that a thread saw last

    def _find_root(self) -> str:
        """The folder's own path, without links: looked for again when its name leads to another folder than it did."""
        with suppress(OSError):
            if self._real_root and os.path.samefile(self._root, self._real_root):
                return self._real_root
        self._real_root = os.path.realpath(self._root)
        return self._real_root

    def _place(self, path: str, *, last_link: bool = True) -> str:
        """Where a path is on disk, links followed (the last one if last_link); BadRequest if that is outside the share."""
        root = self._find_root()
        real = _real(root, path)
        is_inside = real == root or real.startswith(root + os.sep)
        inner = real[len(root) + 1 :] if is_inside else path
        if ".satchel" in (path.partition("/")[0].casefold(), inner.partition(os.sep)[0].casefold()):
            raise BadRequest(f"{path}: .satchel is kept for the provider itself")
        if not is_inside:
            raise BadRequest(f"{path} is a link that leads out of the share")
        if last_link:
            return real
        folder, name = os.path.split(os.path.join(self._root, path))
        return os.path.join(os.path.realpath(folder), name)

    def stat(self, path: str) -> Blob | None:
        found = self._look(path)
        return found if isinstance(found, Blob) else None

    def is_folder(self, path: str) -> bool:
        return not path or isinstance(self._look(path), Folder)

    def _look(self, path: str) -> Blob | Folder | None:
        """What is at a path; None if nothing is, or nothing that is served."""
        try:
            with self._errors("looking at files"):
                place = self._place(path)
                found = self._blob(path, os.stat(place))
        except BadRequest:
            return None
        except (Unavailable, NotPermitted) as error:
            if getattr(error.__cause__, "errno", None) in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                self._check_present()
                return None
            raise
        if isinstance(found, Blob):
            self._last_seen.file = path, found.etag, place
        return found

    @staticmethod
    def _blob(path: str, state: os.stat_result) -> Blob | Folder | None:
        if S_ISDIR(state.st_mode):
            return Folder(path)
        etag = f"{state.st_mtime_ns:x}-{state.st_size:x}-{state.st_ino:x}"
        return Blob(path, state.st_size, state.st_mtime_ns / 1e9, etag) if S_ISREG(state.st_mode) else None

    def read(self, path: str, start: int = 0, length: int | None = None, if_match: str | None = None) -> FileReader:
        place = self._just_seen(path, if_match) or self._place(path)
        with self._errors("reading files"):
            try:
                need_blob(path, self._blob(path, os.stat(place)))  # what is no file may do something when it is opened
                descriptor = os.open(place, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
            except OSError as error:
                if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                    raise
                self._check_present()
                raise NotFound(f"there is no file {path}") from error
        try:
            blob = need_blob(path, self._blob(path, os.fstat(descriptor)), if_match)
        except BaseException:
            os.close(descriptor)
            raise
        rest = max(blob.size_bytes - start, 0)
        return FileReader(descriptor, start, rest if length is None else min(rest, length))

    def _just_seen(self, path: str, etag: str | None) -> str:
        """Where this thread saw a file with this etag at the path, once; "" if it did not. Whether it is still that file is
        seen by its etag, of which its inode is a part, when it is open."""
        file: tuple[str, str, str] = self._last_seen.__dict__.pop("file", ("", "", ""))
        return file[2] if file[:2] == (path, etag) else ""

    def stage(self, chunks: Iterable[bytes], path: str = "") -> Staged:
        name = new_id(self._clock())
        place = self._staged / name
        digest, out, checked = Sha256Beside(), 0, 0
        with self._errors("staging"):
            self.reserve.check("staging")
            self._make_folders()
            file = open(place, "xb", buffering=0)  # noqa: SIM115 (closed below, where errors of `chunks` stay what they are)
        try:
            with file:
                for chunk in gathered(chunks):
                    digest.update(chunk)
                    with self._errors("staging"):
                        if digest.size_bytes - checked >= CHECKED_BYTES:
                            checked = digest.size_bytes
                            self.reserve.check("staging")
                        write_fully(file.fileno(), chunk)
                        out = begin_writing_out(file.fileno(), out, digest.size_bytes)
                with self._errors("staging"):
                    self.stamp(place)
                    sync(file.fileno())
        except BaseException:
            with suppress(OSError):
                place.unlink()
            raise
        finally:
            digest.close()
        return Staged(name, digest.size_bytes, digest.hexdigest())

    def stamp(self, place: Path) -> None:
        """Set a modification time that no earlier file of this process has, for the etag: disk clocks are coarse."""
        with self._journal.mutex:
            self._modified_ns = max(int(self._clock() * 1e9), self._modified_ns + 1)
            os.utime(place, ns=(self._modified_ns, self._modified_ns))

    @cached_property
    def parts(self) -> Any:
        """Staged bytes that grow (plugins/upload_parts.py)."""
        return plugin("upload_parts").FileParts(self)

    @contextmanager
    def staging(self, name: str) -> Iterator[Path]:
        """The file of staged bytes, to be added to."""
        with self._errors("staging"):
            self.reserve.check("staging")
            yield self._staged / os.path.basename(name)

    def keep(self, staged: Staged) -> None:
        """Has staged bytes count as staged just now; those that are gone stay gone."""
        with self._errors("keeping staged bytes"), suppress(FileNotFoundError):
            os.utime(self._staged / os.path.basename(staged.id))

    def sweep(self, now: float) -> None:
        """Remove files that were staged over a day ago."""
        with self._errors("sweeping"):
            if not self._staged.is_dir():
                return
            with self._lock.held():
                for item in os.scandir(self._staged):
                    if item.stat(follow_symlinks=False).st_mtime < now - STAGED_KEPT_S:
                        os.unlink(item)

    def publish(self, staged: Staged, path: str, *, if_match: str | None = None, if_none_match: bool = False) -> Blob:
        with self._locked("publishing"):
            place = self._place(path)
            source = self._staged / staged.id
            present = self.stat(path)
            if os.path.lexists(place) and not present:
                raise Conflict(f"{path} is a folder" if os.path.isdir(place) else f"{path} is no file")
            check_blob(path, present, if_match, if_none_match)
            if not source.is_file():
                raise NotFound("the staged bytes are gone: they were published, discarded or left for a day")
            if staged.modified_at is not None:
                plugin("file_copies").set_time(source, staged)
            put = partial(self._put, path, str(source), place, alone=if_none_match)
            with suppress(FileNotFoundError):  # another program removes the folder at this moment: it is made once more
                return put()
            return put()

    @staticmethod
    def _rename(source: str, place: str, path: str, *, alone: bool) -> None:
        """Rename a file to its place; `alone`: PreconditionFailed if something is there by now."""
        if alone:
            try:
                os.link(source, place)
            except FileExistsError as error:
                raise PreconditionFailed(f"{path} exists already") from error
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
            else:
                os.unlink(source)
                return
        os.replace(source, place)

    def _put(self, path: str, source: str, place: str, *, alone: bool = False, leaves: str = "") -> Blob:
        """Make the folders above a place and rename a file to it, durably, as in the folder that it `leaves`; what was there
        comes back if that fails. Conflict if one of the folders is a file."""
        missing, made, aside = self._missing_above(place, path), list[str](), self._copied_aside(place)
        try:
            for name in reversed(missing):
                with suppress(FileExistsError):  # another program was faster: it is not ours to remove
                    os.mkdir(name)
                    made.append(name)
            self._rename(source, place, path, alone=alone)
            folders = map(os.path.dirname, (place, *missing))
            self._sync_or(partial(_put_back, source, place, aside), *folders, leaves)
        except BaseException:
            with suppress(OSError):
                for name in reversed(made):
                    os.rmdir(name)
            raise
        finally:
            if aside:
                with suppress(OSError):  # swept, else
                    os.unlink(aside)
        for name in made:
            self._mark(name)
        return need_blob(path, self._blob(path, os.stat(place)))

    @staticmethod
    def _missing_above(place: str, path: str) -> list[str]:
        """The folders above a place that are not there, the innermost first. Conflict if one is a file."""
        missing, folder = [], os.path.dirname(place)
        while not os.path.isdir(folder):
            if os.path.lexists(folder):
                raise Conflict(f"a part of {path} is a file and no folder")
            missing.append(folder)
            folder = os.path.dirname(folder)
        return missing

    def make_folder(self, path: str) -> None:
        with self._locked("making a folder"):
            place = self._place(path)
            if os.path.lexists(place):
                raise Conflict(f"{path} exists already")
            missing = self._missing_above(place, path)
            for name in reversed(missing):
                os.mkdir(name)
                self._mark(name)  # of the folder itself nothing is noted, so it stays when it is empty
            os.mkdir(place)
            for name in (place, *missing):
                sync_folder(os.path.dirname(name))

    def remove_folder(self, path: str) -> None:
        self.reserve.give(partial(self._remove_folder, path))

    def _remove_folder(self, path: str) -> None:
        with self._locked("removing a folder"):
            place = self._place(path, last_link=False)
            if not os.path.isdir(place) or os.path.islink(place):
                raise NotFound(f"there is no folder {path}")
            try:
                os.rmdir(place)
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
                raise Conflict(f"{path} is not empty") from error
            sync_folder(os.path.dirname(place))
            self._marker(place).unlink(missing_ok=True)
            self._prune_durably(os.path.dirname(place))

    def _copied_aside(self, place: str) -> str:
        """Another name for the file at a place, among staged bytes; "" if there is none, or the file system has no links."""
        aside = str(self._staged / new_id(self._clock()))
        try:
            os.link(place, aside)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR, *_NO_LINKS):
                raise
            return ""
        return aside

    @staticmethod
    def _sync_or(undo: Callable[[], None], *folders: str) -> None:
        """Make the names in folders durable; if the disk refuses, undo what was done to them: it was not acknowledged."""
        try:
            for name in dict.fromkeys(filter(None, folders)):
                sync_folder(name)
        except OSError:
            with suppress(OSError):  # the first failure is the one to tell
                undo()
            raise

    def _marker(self, folder: str) -> Path:
        return self._own / "folders" / hashlib.sha256(os.fsencode(os.path.relpath(folder, self._root.resolve()))).hexdigest()

    def _mark(self, folder: str) -> None:
        """Note that a folder was made here. If the note is lost, the folder stays when it is empty, and that is all."""
        with suppress(OSError):
            self._marker(folder).parent.mkdir(mode=0o700, exist_ok=True)
            self._marker(folder).write_text(identity(folder))

    def _is_ours(self, folder: str) -> bool:
        """Whether a folder was made here, and was not replaced by another one."""
        try:
            return self._marker(folder).read_text() == identity(folder) != ""
        except (OSError, ValueError):
            return False

    def _prune(self, folder: str) -> str:
        """Remove a folder and those above it as long as they are empty and were made here; returns the first that stays."""
        root = os.path.realpath(self._root)
        while folder != root and self._is_ours(folder):
            try:
                os.rmdir(folder)
            except OSError:
                break
            self._marker(folder).unlink(missing_ok=True)
            folder = os.path.dirname(folder)
        return folder

    def discard(self, staged: Staged) -> None:
        with self._errors("discarding"):
            (self._staged / staged.id).unlink(missing_ok=True)

    def remove(self, path: str, *, if_match: str | None = None) -> None:
        with self._locked("removing"):
            self._place(path)
            need_blob(path, self.stat(path), if_match)
            place = self._place(path, last_link=False)
            aside = str(self._staged / new_id(self._clock()))
            try:
                os.rename(place, aside)
            except OSError:  # it is on another disk, or there is no room for a name: it goes without
                os.unlink(place)
                sync_folder(os.path.dirname(place))
            else:
                self._sync_or(partial(os.rename, aside, place), os.path.dirname(place))
                with suppress(OSError):  # swept, else
                    os.unlink(aside)
            self._prune_durably(os.path.dirname(place))

    def move(self, source: str, target: str) -> Blob:
        return self.reserve.give(partial(self._move, source, target))  # type: ignore[no-any-return]

    def _move(self, source: str, target: str) -> Blob:
        with self._locked("moving"):
            place, goal = self._place(source, last_link=False), self._place(target)
            need_blob(source, self.stat(source))
            if os.path.lexists(goal):
                raise Conflict(f"{target} exists already")
            blob = self._put(target, place, goal, leaves=os.path.dirname(place))
            self._prune_durably(os.path.dirname(place))
            return blob

    def move_folder(self, source: str, target: str) -> None:
        """Renames a folder with all that is in it. Raises NotFound if it is missing, Conflict if the target exists, and
        Unsupported if they are on different file systems."""
        with self._locked("moving a folder"):
            place, goal = self._place(source, last_link=False), self._place(target)
            if not os.path.isdir(place) or os.path.islink(place):
                raise NotFound(f"there is no folder {source}")
            if os.path.lexists(goal):
                raise Conflict(f"{target} exists already")
            missing = self._missing_above(goal, target)
            for name in reversed(missing):
                os.mkdir(name)
                self._mark(name)
            try:
                os.rename(place, goal)
            except OSError as error:
                self._prune(os.path.dirname(goal))
                if error.errno == errno.EXDEV:
                    raise Unsupported(f"{source} is on another file system") from error
                raise
            folders = [os.path.dirname(name) for name in (goal, *missing, place)]
            self._sync_or(partial(os.rename, goal, place), *folders)
            self._marker(place).unlink(missing_ok=True)
            self._prune_durably(os.path.dirname(place))

    set_time = cached_property(lambda self: partial(plugin("file_copies").retimed, self))

    def copy(self, source: str, target: str) -> Blob:
        return plugin("file_copies").plain(self, source, target)  # type: ignore[no-any-return]

    def is_link(self, path: str) -> bool:
        """Whether a path is a link to what is elsewhere in the share."""
        return os.path.islink(self._place(path, last_link=False))

    def twin(self, source: str, target: str) -> Blob:
        """copy() for a file that is replaced next: where the file system has hard links, without its bytes."""
        with self._locked("keeping a file"):
            need_blob(source, self.stat(source))
            if aside := self._copied_aside(self._place(source)):
                return self._put(target, aside, self._place(target))
        return self.copy(source, target)

    def _prune_durably(self, folder: str) -> None:
        """See _prune. What it is done for was done by then, and an empty folder that is there again harms nobody."""
        with suppress(OSError):
            if (stays := self._prune(folder)) != folder:
                sync_folder(stays)

    def scan(self, prefix: str = "", *, deep: bool = True, after: str = "") -> Iterator[Entry]:
        return self._walk(prefix, deep, after, ())

    def _walk(
        self, folder: str, deep: bool, after: str, above: tuple[str, ...], fits: Callable[[str], bool] | None = None
    ) -> Iterator[Entry]:
        """Entries of a folder; `above` are the places that it was reached through, to which a link may lead back.

        Of a shallow scan only those past `after`, each looked at when it is asked for.
        """
        try:
            place = self._place(folder)
            with self._errors("listing files"):
                names = dict(_folders_at(place)) if deep else dict.fromkeys(os.listdir(place), False)
        except BadRequest:
            return
        except (Unavailable, NotPermitted) as error:
            if isinstance(error.__cause__, FileNotFoundError | NotADirectoryError):
                self._check_present()
                return
            if above and isinstance(error, NotPermitted):
                yield Unseen(folder, error.message)
                return
            raise
        if place in above:
            return
        if not folder or not names:
            self._check_present()
        if not deep:
            yield from filter(None, itertools.starmap(self._seen, _listed(folder, names, after)))
            return
        for path, name, is_folder in _in_depth(f"{folder}/" if folder else "", names, after):
            if fits and not is_folder and not fits(path):
                yield Unseen(path, "nobody looked at it")
                continue
            entry = self._seen(path, _odd_name(name)[1])
            if isinstance(entry, Folder):
                yield from self._walk(path, True, after, (*above, place), fits)
            elif entry:
                yield entry

    def _seen(self, path: str, problem: str) -> Entry | None:
        """The entry at a path of a listing; None if nothing served is there. `problem`: why its name cannot be asked for."""
        if problem:
            return Unseen(path, problem)
        try:
            return self._look(check_path(path.split("/"), is_there=True))
        except BadRequest:
            return None
        except NotPermitted as error:
            return Unseen(path, error.message)
