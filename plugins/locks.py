"""Locks on files and folders of shares: they end by themselves, and hold at every door."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from contextvars import ContextVar
from typing import Any, NamedTuple

from app import (
    Act,
    AppError,
    Blobs,
    BlobStep,
    Busy,
    Caller,
    Conflict,
    Files,
    Insert,
    NotFound,
    Query,
    Record,
    Records,
    Remove,
    Request,
    StorageFull,
    Trigger,
    Unauthenticated,
    Update,
    Value,
    Write,
    plugin,
    rfc3339,
    split_path,
)

# ==== 1. LOCKS ===================================================================================================
# A provider's locks are one row of the state provider: so one look by key tells whether anything is locked, and of two
# clients that lock the same place one wins. Paths are those of the provider, whichever share leads to them.
# uses: ERRORS VALUES CONTRACTS
# defines: TABLE MOST_LOCKS MOST_OWNER Locked Lock is_below new_token active change bounded of_subject end_of_subject
#          at_or_above conflicting blocking

TABLE = "_locks"
MOST_LOCKS, MOST_OWNER = 500, 1000  # of a provider; characters of what a client says of its owner
_TRIES = 20


class Locked(AppError):
    """Somebody has locked the place. `lock` is one that stands in the way."""

    code, status, exit_code = "locked", 423, 5
    lock: Any = None
    condition: str = "lock-token-submitted"  # of DAV:, which does not hold


class Lock(NamedTuple):
    """A lock on `path` of a provider, and with `is_deep` on all below it; only `subject` can use its token."""

    token: str
    path: str
    address: str  # of the place, such as "files/docs/plan.docx"
    is_deep: bool
    is_exclusive: bool
    owner: str  # XML, as the client wrote it
    subject: str
    expires_at: float
    is_folder: bool = False
    token_id: str = ""  # of the credential that it was taken or renewed with

    def covers(self, path: str) -> bool:
        return self.path == path or (self.is_deep and is_below(path, self.path))


def is_below(path: str, folder: str) -> bool:
    return path != folder and (not folder or path.startswith(folder + "/"))


def new_token() -> str:
    return f"opaquelocktoken:{uuid.uuid4()}"


def active(state: Records, provider: str, now: float) -> list[Lock]:
    """The locks of a provider that have not ended."""
    return _living(state.get(TABLE, provider), now)


def _living(row: Record | None, now: float) -> list[Lock]:
    found = [] if row is None or row.damage else row.value["locks"]
    return [Lock(**one) for one in found if one["expires_at"] > now]


def change(
    state: Records, provider: str, now: float, edit: Callable[[list[Lock]], list[Lock]], also: Sequence[Write] = ()
) -> list[Lock]:
    """Stores what `edit` makes of a provider's locks, with other writes, and returns it; what edit raises stops it. It is
    called again if another process was faster. Raises StorageFull if they are too many."""
    for _ in range(_TRIES):
        row = state.get(TABLE, provider)
        kept = bounded(edit(_living(row, now)))
        value: Value = {"locks": [one._asdict() for one in kept]}
        with suppress(Conflict):
            write = Update(TABLE, provider, value, row.version) if row else Insert(TABLE, provider, value)
            state.commit([write, *also])
            return kept
    raise Busy("other locks are being set or ended: try again")


def bounded(locks: list[Lock]) -> list[Lock]:
    """Those of a provider. Raises StorageFull if they are too many."""
    if len(locks) > MOST_LOCKS:
        raise StorageFull(f"there are {MOST_LOCKS} locks already: try again when some have ended")
    return locks


def of_subject(state: Records, subject: str, now: float) -> list[tuple[str, Lock]]:
    """Somebody's locks, each with its provider."""
    rows = state.walk(Query(TABLE))
    return [(row.key, one) for row in rows for one in _living(row, now) if one.subject == subject]


def end_of_subject(state: Records, subject: str, now: float) -> None:
    """Ends all locks that somebody has."""
    for provider in {provider for provider, _ in of_subject(state, subject, now)}:
        change(state, provider, now, lambda locks: [one for one in locks if one.subject != subject])


def at_or_above(locks: Iterable[Lock], path: str) -> list[Lock]:
    """Those that hold at a path."""
    return [one for one in locks if one.covers(path)]


def conflicting(locks: Iterable[Lock], path: str, *, is_deep: bool, is_exclusive: bool) -> Lock | None:
    """One with which such a lock at the path cannot be; None if it can."""
    touching = (one for one in locks if one.covers(path) or (is_deep and is_below(one.path, path)))
    return next((one for one in touching if is_exclusive or one.is_exclusive), None)


def blocking(
    locks: Sequence[Lock], path: str, subject: str, tokens: Collection[str], changes_folder: Callable[[], bool]
) -> Lock | None:
    """A lock that keeps somebody with these tokens from changing what is at the path; None if there is none. Of shared locks
    at one place one's own is enough. `changes_folder` tells whether its folder has more or fewer entries afterwards."""
    parent = path.rpartition("/")[0]
    roots: dict[str, list[Lock]] = {}
    for one in locks:
        is_of_folder = bool(path) and one.path == parent and not one.is_deep
        if one.covers(path) or is_below(one.path, path) or (is_of_folder and changes_folder()):
            roots.setdefault(one.path, []).append(one)
    for held in roots.values():
        if not any(one.token in tokens and one.subject == subject for one in held):
            return held[0]
    return None


# ==== 2. DOORS ===================================================================================================
# Every request that touches files passes here, whatever brought it. Only WebDAV sends tokens.
# uses: ERRORS VALUES CONTRACTS RESOURCES LOCKS plugin:people
# defines: Trigger:locks submitted is_left require Locks

_TOKENS: ContextVar[frozenset[str]] = ContextVar("submitted lock tokens", default=frozenset())
_Place = tuple[Blobs, str]


@contextmanager
def submitted(tokens: Iterable[str]) -> Iterator[None]:
    """The requests that are made in the block come with these tokens."""
    before = _TOKENS.set(frozenset(tokens))
    try:
        yield
    finally:
        _TOKENS.reset(before)


def is_left(site: Any, lock: Lock) -> bool:
    """Whether nobody can come back to a lock: its credential has ended, or its person was suspended or has left."""
    try:
        is_person = plugin("people").standing(site.state, lock.subject) is not None
        token = site.authority.token(lock.token_id) if lock.token_id else None
    except (Unauthenticated, NotFound):
        return True
    if token is None:
        return not is_person
    is_over = token.revoked_at or token.suspended or token.expires_at <= site.clock()
    return bool(is_over) or (token.own and not is_person)


def require(site: Any, locks: Sequence[Lock], place: _Place, subject: str, *, removes: bool = False) -> None:
    """Raises Locked if somebody may not change what is at a place with the tokens that are submitted."""
    blobs, path = place
    while lock := blocking(locks, path, subject, _TOKENS.get(), lambda: removes or blobs.stat(path) is None):
        if not is_left(site, lock):
            whose = f"by {lock.subject} " if lock.subject != subject else ""
            until = rfc3339(lock.expires_at)
            raise Locked(f"{lock.address} is locked {whose}until {until}, or until it is unlocked", lock=lock)
        locks = [one for one in locks if one.token != lock.token]


class Locks(Trigger):
    """Refuses what touches locked files, and forgets the locks of what is gone."""

    kind = "locks"
    site: Any

    def around(self, request: Request, caller: Caller, steps: Sequence[BlobStep]) -> AbstractContextManager[None]:
        return self._guarded(request, caller, steps)

    @contextmanager
    def _guarded(self, request: Request, caller: Caller, steps: Sequence[BlobStep]) -> Iterator[None]:
        places = list(self._touched(request, steps))
        touched: dict[str, list[tuple[str, Lock]]] = {}
        for name in {blobs.name for blobs, _, _ in places}:
            locks = active(self.site.state, name, self.site.clock())
            for blobs, path, removes in places if locks else ():
                if blobs.name == name:
                    require(self.site, locks, (blobs, path), caller.subject, removes=removes)
                    at = [(path, one) for one in locks if one.path == path or is_below(one.path, path)]
                    touched.setdefault(name, []).extend(at)
        yield
        for name, found in touched.items():
            blobs = next(blobs for blobs, _, _ in places if blobs.name == name)
            self._forget(blobs, {one.path for _, one in found})

    def _touched(self, request: Request, steps: Sequence[BlobStep]) -> Iterator[tuple[Blobs, str, bool]]:
        """Every place that is written to, and whether what is there may be gone afterwards."""
        keeps = isinstance(request.data, dict) and "modified_at" in request.data  # its folder has the same entries
        for step in steps:
            if isinstance(step, Act):
                yield from ((blobs, path, not keeps) for blobs, path, _ in step.places)
                yield from () if keeps else self._meant(request)
            else:
                yield step.blobs, step.path, isinstance(step, Remove)

    def _meant(self, request: Request) -> Iterator[tuple[Blobs, str, bool]]:
        """The folders and files that a request names which moves, copies, makes or deletes them."""
        data = request.data if isinstance(request.data, dict) else {}
        share = self.site.resources.get(request.resource)
        if not isinstance(share, Files):
            return
        parts = [part for part in request.path if part]
        if "folder" in data:
            parts.append(str(data["folder"]))
        if "copy" not in data and parts:
            yield share.blobs, share.path_of(parts), True
        target = data.get("move") or data.get("copy")
        if isinstance(target, str):
            _, name, *inner = split_path(target.strip("/"))
            other = self.site.resources.get(f"files/{name}")
            if isinstance(other, Files) and inner:
                yield other.blobs, other.path_of(inner), True

    def _forget(self, blobs: Blobs, paths: Collection[str]) -> None:
        """Ends the locks of what is gone."""
        with suppress(AppError):  # what is done is done; they end by themselves
            gone = {path for path in paths if blobs.stat(path) is None and not (blobs.lists and blobs.is_folder(path))}
            if gone:
                change(
                    self.site.state,
                    blobs.name,
                    self.site.clock(),
                    lambda locks: [one for one in locks if one.path not in gone],
                )
