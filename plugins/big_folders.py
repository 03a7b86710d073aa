"""Folders with more files than one request holds in memory: deleted, moved and copied, whatever their size.

Where a provider renames a folder in one step, that is all there is to a move, and a folder that is deleted is out of sight
at once. Elsewhere the work is done in steps, each as long as a request may last, and the answer says how to go on.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from contextvars import ContextVar
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import app
from app import (
    Act,
    Action,
    AppError,
    BadRequest,
    Blob,
    Blobs,
    Caller,
    Conflict,
    Entry,
    Exists,
    Files,
    Folder,
    Json,
    NotFound,
    Plan,
    PreconditionFailed,
    Response,
    Scope,
    Unseen,
    Unsupported,
    Value,
    check_path,
    decode_cursor,
    encode_cursor,
    how_many,
)

if TYPE_CHECKING:
    from plugins import file_moves, file_trees, kept_files, quota
    from plugins.file_moves import Wish
    from plugins.file_trees import Place
    from plugins.kept_files import Kept
    from plugins.quota import Tally
else:
    file_moves, file_trees = app.plugin("file_moves"), app.plugin("file_trees")
    kept_files, quota = app.plugin("kept_files"), app.plugin("quota")
    Wish, Place, Kept, Tally = file_moves.Wish, file_trees.Place, kept_files.Kept, quota.Tally
names, together = app.plugin("file_names"), app.plugin("file_copies").together

# ==== 1. WALKS ===================================================================================================
# A folder is walked as its listing shows it. Nothing is held but the way down to the entry that comes next.
# uses: ERRORS VALUES CONTRACTS plugin:file_trees
# defines: STEP_S STEP_ENTRIES unlimited down up check_seen Amount covers_below

STEP_S = 20.0  # that a request works on a folder before it answers
STEP_ENTRIES = 20_000  # of which it looks over beforehand, and which it moves or copies at most
_DEPTHS = (*range(1, 12), 300)  # at which it is asked whether grants cover what is below a folder
_LIMITED: ContextVar[bool] = ContextVar("a request may answer before all is done", default=True)


@contextmanager
def unlimited() -> Iterator[None]:
    """Requests in the block answer when all is done, however long that takes: their clients know of no steps."""
    before = _LIMITED.set(False)
    try:
        yield
    finally:
        _LIMITED.reset(before)


def _until() -> float:
    return time.monotonic() + STEP_S if _LIMITED.get() else math.inf


def down(blobs: Blobs, path: str, after: str = "", *, is_folder: bool = False) -> Iterator[Entry]:
    """Everything below a folder, folders before what is in them; of which a later walk leaves out what came up to the entry
    `after`. A link to a folder is not followed, and is Unseen."""
    levels, at = [], path
    for part in after[len(path) + 1 if path else 0 :].split("/") if after else ():
        child = f"{at}/{part}" if at else part
        levels.append(names.scan(blobs, at, deep=False, after=child))
        at = child
    if not after or is_folder:
        levels.append(names.scan(blobs, at, deep=False))
    while levels:
        entry = next(levels[-1], None)
        if entry is None:
            levels.pop()
            continue
        yield (entry := _unlinked(blobs, entry))
        if isinstance(entry, Folder):
            levels.append(names.scan(blobs, entry.path, deep=False))


def up(blobs: Blobs, path: str) -> Iterator[Entry]:
    """Everything below a folder, folders after what is in them."""
    levels: list[tuple[str, Iterator[Entry]]] = [(path, names.scan(blobs, path, deep=False))]
    while levels:
        entry = next(levels[-1][1], None)
        if entry is None:
            folder, _ = levels.pop()
            if levels:
                yield Folder(folder)
        elif isinstance(entry := _unlinked(blobs, entry), Folder):
            levels.append((entry.path, names.scan(blobs, entry.path, deep=False)))
        else:
            yield entry


def _unlinked(blobs: Blobs, entry: Entry) -> Entry:
    if isinstance(entry, Folder) and blobs.is_link(entry.path):
        return Unseen(entry.path, "it is a link to another folder")
    return entry


def check_seen(place: Place, entry: Entry) -> None:
    if isinstance(entry, Unseen):
        raise Conflict(f"{place.address(place.inner(entry.path))} stays as it is, and so does its folder: {entry.problem}")


class Amount:
    """So much was counted."""

    def __init__(self, folders: int = 0) -> None:
        self.files, self.folders, self.size_bytes = 0, folders, 0

    def add(self, entry: Entry) -> None:
        if isinstance(entry, Blob):
            self.files, self.size_bytes = self.files + 1, self.size_bytes + entry.size_bytes
        else:
            self.folders += 1

    def told(self) -> Value:
        return {"files": self.files, "folders": self.folders, "bytes": self.size_bytes}


def covers_below(caller: Caller, action: Action, address: str) -> bool:
    """Whether a caller may do that to whatever is below an address, now and later."""
    return all(caller.may(action, address + "/%00" * depth) for depth in _DEPTHS)  # a name that nothing has


# ==== 2. DELETED =================================================================================================
# A folder that is deleted goes to the trash as one, or is put aside and ended: what a request has no time for does a job.
# Where its provider cannot rename folders, or not all of the trash would be seen, it is deleted file by file.
# uses: ERRORS VALUES CONTRACTS RESOURCES WALKS plugin:file_trees plugin:kept_files plugin:quota
# defines: deleted end


def deleted(place: Place, scope: Scope) -> Plan:
    """The plan of deleting a folder, once it is known that all of it may go."""
    share, amount, tally = place.share, Amount(folders=1), Tally(place.share.site)
    for entry in down(place.blobs, place.path):
        check_seen(place, entry)
        scope.caller.require(Action.DELETE, place.address(place.inner(entry.path)))
        amount.add(entry)
        if isinstance(entry, Blob):
            tally.want(place.blobs, entry.path, -entry.size_bytes)
    told, ends = amount.told(), [(place.blobs, place.path, 0)]
    run: Callable[[], None] = partial(_delete_on, place, scope, told, tally)
    is_seen = all(covers_below(scope.caller, one, place.address()) for one in (Action.READ, Action.DELETE))
    if hasattr(place.blobs, "move_folder") and (is_seen or not share.config.trash_s):
        kind = kept_files.TRASH if share.config.trash_s else kept_files.ENDING
        row = kept_files.kept_row(
            share, kind, Blob(place.path, amount.size_bytes, scope.now, ""), scope.caller.subject, scope.now
        )
        row = row._replace(files=amount.files, folders=amount.folders)
        tally.want(place.blobs, f"{row.kept}/", amount.size_bytes)
        ends.append((place.blobs, row.kept, 0))
        run = partial(_put_aside, share, row, told, tally, run)
    return Plan(respond=lambda blobs: Response(data=told), steps=[Act(run, ends, told, tally)])


def _put_aside(share: Files, row: Kept, told: Value, tally: Tally, otherwise: Callable[[], None]) -> None:
    """Moves a folder to where no share shows it, in one step; or does it `otherwise`, if it is of several file systems."""
    state = kept_files.state_of(share)
    state.commit([row.insert()])
    try:
        cast(Any, share.blobs).move_folder(row.path, row.kept)
    except BaseException as error:
        with suppress(AppError):  # a job does it
            state.commit([row.delete()])
        if not isinstance(error, Unsupported):
            raise
        otherwise()
        return
    tally.add_all()
    if row.key.startswith(f"{kept_files.TRASH}:"):
        state.commit([row.update(is_good=True)])
        told["trash"] = row.id
    else:
        with suppress(AppError):  # it is out of sight, and a job does what is left
            end(share, row, tally, _until())


def _delete_on(place: Place, scope: Scope, told: Value, tally: Tally) -> None:
    """Deletes files and then their folders, as many as there is time for."""
    until, gone, keeps, of = _until(), Amount(), place.share.config.trash_s, told["files"]
    try:
        with nullcontext() if keeps else together(place.blobs):
            for entry in up(place.blobs, place.path):
                check_seen(place, entry)
                if gone.files + gone.folders and time.monotonic() > until:
                    told |= gone.told() | {"more": True}
                    return
                if isinstance(entry, Blob) and keeps:
                    _throw(place.share, entry, scope, tally)
                else:
                    _remove(place.blobs, entry, tally)
                gone.add(entry)
            _remove(place.blobs, Folder(place.path), tally)
            gone.folders += 1
        if place.share.is_folder(place.path):
            raise Conflict("something was put into the folder meanwhile, and is still there")
    except AppError as error:
        told |= gone.told()
        error.message = f"{error.message} ({gone.files:,} of {how_many(of, 'file')} were deleted)"
        raise
    told |= gone.told()


def _throw(share: Files, blob: Blob, scope: Scope, tally: Tally) -> None:
    """Moves a file to the trash."""
    keeping = kept_files.deleting(share, [blob], scope)
    with suppress(NotFound):  # somebody else was faster
        cast(Any, keeping).throw(blob.path)
        row = cast(Any, keeping).rows[blob.path]
        tally.add(share.blobs, blob.path, -row.size_bytes)
        tally.add(share.blobs, row.kept, row.size_bytes)


def _remove(blobs: Blobs, entry: Entry, tally: Tally) -> None:
    """Removes a file, or a folder unless something is in it."""
    if not isinstance(entry, Blob):
        with suppress(NotFound, Conflict, Unsupported):
            blobs.remove_folder(entry.path)
        return
    found: Blob | None = entry
    while found:
        try:
            blobs.remove(found.path, if_match=found.etag)
        except NotFound:
            return
        except PreconditionFailed:  # it was replaced meanwhile
            found = blobs.stat(found.path)
        else:
            tally.add(blobs, found.path, -found.size_bytes)
            return


def end(share: Files, one: Kept, tally: Tally, until: float) -> bool:
    """Removes what is in a folder that was put aside, and then its row. False if there was no time for all of it."""
    if not one.folders:
        kept_files.end_of(share, one)
        return True
    with together(share.blobs):
        for number, entry in enumerate(up(share.blobs, one.kept)):
            if number and time.monotonic() > until:
                return False
            _remove(share.blobs, entry, tally)
        _remove(share.blobs, Folder(one.kept), tally)
    if share.is_folder(one.kept):
        raise Conflict(f"{one.kept} has something in it that cannot be removed")
    kept_files.state_of(share).commit([one.delete()])
    return True


# ==== 3. KEPT ====================================================================================================
# A folder in the trash comes back as one, or is ended.
# uses: ERRORS VALUES CONTRACTS RESOURCES WALKS DELETED plugin:file_moves plugin:file_trees plugin:kept_files
#       plugin:quota
# defines: restored ended


def restored(share: Files, one: Kept, parts: tuple[str, ...], scope: Scope, *, overwrite: bool) -> Plan:
    """The plan of bringing a folder back to a place in its share."""
    place = Place(share, parts, share.place(check_path(parts, is_there=True)))
    if not covers_below(scope.caller, Action.CREATE, place.address()):
        scope.caller.require(Action.CREATE, f"{place.address()}/**")
    scope.caller.require(Action.CREATE, place.address())
    if share.blobs.stat(place.path) or share.is_folder(place.path):
        refusal = Conflict if overwrite else Exists
        raise refusal(f'{place.address()} exists, and a folder replaces nothing: name another place as "to"')
    tally, told = Tally(share.site), {"files": one.files, "folders": one.folders, "bytes": one.size_bytes}
    tally.want(share.blobs, f"{one.kept}/", -one.size_bytes)
    tally.want(share.blobs, f"{place.path}/", one.size_bytes)
    ends = [(share.blobs, one.kept, 0), (share.blobs, place.path, 0)]
    act = Act(partial(_back, share, one, place.path, tally), ends, told | {"to": place.address()}, tally)
    return Plan(respond=lambda blobs: file_moves.answer(place, Folder(place.path), True, **told), steps=[act])


def _back(share: Files, one: Kept, path: str, tally: Tally) -> None:
    state = kept_files.state_of(share)
    if not share.is_folder(one.kept):
        state.commit([one.delete()])
        raise NotFound(f"{one.id} is gone")
    state.commit([one.update(is_good=False)])  # a job finds out where it is, should this end in the middle
    try:
        cast(Any, share.blobs).move_folder(one.kept, path)
    except BaseException:
        with suppress(AppError):
            state.commit([one.update(is_good=True)])
        raise
    tally.add_all()
    state.commit([one.delete()])


def ended(share: Files, ones: list[Kept]) -> Act:
    """What ends folders of a trash for good: they are out of it at once."""
    tally = Tally(share.site)
    for one in ones:
        tally.want(share.blobs, f"{one.kept}/", -one.size_bytes)

    def run() -> None:
        until = _until()
        for one in ones:
            row = kept_files.to_end(share, one)
            with suppress(AppError):  # a job does what is left
                end(share, row, tally, until)

    return Act(run, [(share.blobs, one.kept, 0) for one in ones], {}, tally)


# ==== 4. CARRIED =================================================================================================
# A folder is moved by one rename where that can be; else files are moved or copied in path order, step by step.
# uses: ERRORS VALUES CONTRACTS WALKS DELETED plugin:file_moves plugin:kept_files plugin:quota
# defines: carried


class _Cursor(NamedTuple):
    """The entry after which a step goes on; "" before all."""

    inner: str = ""
    is_folder: bool = False


def _cursor(text: str) -> _Cursor:
    if not text:
        return _Cursor()
    inner, is_folder = decode_cursor(text, 2)
    if not isinstance(inner, str) or not inner or not isinstance(is_folder, bool):
        raise BadRequest("next is not from an answer to this request: send it unchanged")
    check_path(inner.split("/"), is_there=True)
    return _Cursor(inner, is_folder)


def _left(wish: Wish, cursor: _Cursor) -> Iterator[Entry]:
    """What is below the source, from where a step goes on."""
    source = wish.source
    after = f"{source.path}/{cursor.inner}".removeprefix("/") if cursor.inner else ""
    return down(source.blobs, source.path, after, is_folder=cursor.is_folder)


def carried(wish: Wish, *, is_there: bool) -> Plan:
    """The plan of a move or copy of a folder, or of its next step. All of it is looked over before the first one, and then
    what a step may do."""
    cursor, amount = _cursor(wish.next), Amount(folders=0 if wish.next else 1)
    can_rename = not wish.next and not is_there and wish.moves and hasattr(wish.source.blobs, "move_folder")
    is_one_step = can_rename and wish.source.blobs is wish.target.blobs
    every, tally = Tally(wish.target.share.site), Tally(wish.target.share.site)
    entries = _left(wish, cursor)
    for number, entry in enumerate(_whole(wish, entries if not wish.next else islice(entries, STEP_ENTRIES))):
        more = _look(wish, entry, is_there)
        amount.add(entry)
        for one in (every, tally) if is_one_step or number < STEP_ENTRIES else (every,):
            _want(wish, entry, more, one)
    if wish.aside:
        wish.aside.free(every)
    every.check_room()
    told = file_moves.told_of(wish) | amount.told()
    ends = [(one.blobs, one.path, 0) for one in ((wish.source, wish.target) if wish.moves else (wish.target,))]
    work: Callable[[], None] = partial(_carry_on, wish, cursor, told, tally)
    act = Act(partial(_rename, wish, tally, work) if is_one_step else work, ends, told, tally)
    facts = ("files", "folders", "bytes", "next")

    def respond(blobs: Any) -> Response:
        found: dict[str, Json] = {name: told[name] for name in facts if name in told}
        return file_moves.answer(wish.target, Folder(wish.target.path), not is_there, **found)

    return Plan(respond=respond, steps=[act])


def _whole(wish: Wish, entries: Iterator[Entry]) -> Iterator[Entry]:
    """The entries. Raises Conflict for what cannot be looked at, Unsupported for an empty folder that cannot be kept."""
    needs_files, last = not wish.target.blobs.makes_folders, ""
    for entry in entries:
        check_seen(wish.source, entry)
        if last and not entry.path.startswith(f"{last}/"):
            file_moves.refuse_empty(wish)
        last = entry.path if needs_files and isinstance(entry, Folder) else ""
        yield entry
    if last:
        file_moves.refuse_empty(wish)


def _look(wish: Wish, entry: Entry, is_there: bool) -> int:
    """Raises what keeps an entry from its new place; returns how many bytes are replaced by it."""
    if isinstance(entry, Folder):
        file_moves.folder_looked_over(wish, entry.path)
        return 0
    present = file_moves.looked_over(wish, cast(Blob, entry), is_there).present
    return present.size_bytes if present else 0


def _want(wish: Wish, entry: Entry, replaced: int, tally: Tally) -> None:
    if isinstance(entry, Blob):
        path = f"{wish.target.path}/{wish.source.inner(entry.path)}"
        tally.want(wish.target.blobs, path, entry.size_bytes - replaced)
        if wish.moves:
            tally.want(wish.source.blobs, entry.path, -entry.size_bytes)


def _rename(wish: Wish, tally: Tally, otherwise: Callable[[], None]) -> None:
    try:
        cast(Any, wish.source.blobs).move_folder(wish.source.path, wish.target.path)
    except Unsupported:
        otherwise()
        return
    tally.add_all()
    if wish.aside:
        wish.aside.is_replaced()
    if wish.source.share is wish.target.share:
        with suppress(AppError):  # it is moved, whatever becomes of its versions
            kept_files.followed_below(wish.source.share, wish.source.path, wish.target.path)


def _carry_on(wish: Wish, cursor: _Cursor, told: Value, tally: Tally) -> None:
    """Moves or copies as much as there is time for."""
    until, done = _until(), Amount()
    most = STEP_ENTRIES if until < math.inf else math.inf
    try:
        with together(wish.target.blobs, wish.source.blobs):
            file_moves.make_folder(wish.target.blobs, wish.target.path, [])
            for number, entry in enumerate(_left(wish, cursor)):
                if number >= most or (number and time.monotonic() > until):
                    told["next"] = encode_cursor(cursor.inner, cursor.is_folder)
                    break
                check_seen(wish.source, entry)
                _carry(wish, entry, tally)
                cursor = _Cursor(wish.source.inner(entry.path), isinstance(entry, Folder))
                done.add(entry)
            else:
                if wish.aside:
                    _replaced(wish, tally)
                _leave(wish)
                done.folders += 1
    except BaseException as error:
        if wish.aside and not wish.aside.is_done:
            _taken_back(wish, tally)
        if not isinstance(error, AppError):
            raise
        told |= done.told()
        if done.files and not wish.aside:
            words = f"{how_many(done.files, 'file')} more are at the new place by now"
            error.message = f'{error.message} ({words}: send the same with "overwrite": true to go on)'
        raise
    told |= done.told()


def _carry(wish: Wish, entry: Entry, tally: Tally) -> None:
    """Puts one entry to its new place, as in a request of its own."""
    source, target, goes = wish.source.blobs, wish.target.blobs, wish.moves and not wish.aside
    if isinstance(entry, Folder):
        file_moves.make_folder(target, file_moves.folder_looked_over(wish, entry.path), [])
        return
    one = file_moves.looked_over(wish, cast(Blob, entry), True)
    if one.present and not wish.overwrite:  # the same bytes, which an earlier try has put there
        if wish.moves:
            _remove(source, one.source, tally)
        return
    keeping = kept_files.overwriting(wish.target.share, [one.present] if one.present else [], wish.scope)
    if keeping:
        keeping.copy(one.path)
    try:
        made = file_moves.carry(source, target, one, moves=goes)
    except NotFound:  # somebody else was faster
        return
    tally.add(target, one.path, made.size_bytes - (one.present.size_bytes if one.present else 0))
    if goes:
        tally.add(source, one.source.path, -made.size_bytes)
        file_moves.follow(wish, one)
    if keeping:
        keeping.finish(one.path)
        for place in keeping.places:
            tally.add(*place)


def _copies(wish: Wish) -> Iterator[tuple[Blob, Blob]]:
    """Files of the source that are at the target as well."""
    for entry in up(wish.source.blobs, wish.source.path):
        there = f"{wish.target.path}/{wish.source.inner(entry.path)}"
        if isinstance(entry, Blob) and (made := wish.target.blobs.stat(there)) and made.size_bytes == entry.size_bytes:
            yield entry, made


def _replaced(wish: Wish, tally: Tally) -> None:
    """All was copied to the place of what is aside: a move has its files there alone."""
    wish.aside.is_replaced()
    for source, made in _copies(wish) if wish.moves else ():
        _remove(wish.source.blobs, source, tally)
        file_moves.follow(wish, file_moves.Carried(source, made.path, None))


def _taken_back(wish: Wish, tally: Tally) -> None:
    """Removes what was copied before it failed, as far as that can be: all of it is at the source."""
    with suppress(AppError):
        for _, made in _copies(wish):
            _remove(wish.target.blobs, made, tally)
        for entry in (*(one for one in up(wish.target.blobs, wish.target.path) if isinstance(one, Folder)),):
            _remove(wish.target.blobs, entry, tally)
        _remove(wish.target.blobs, Folder(wish.target.path), tally)


def _leave(wish: Wish) -> None:
    """Removes the folders that a move has emptied."""
    if wish.moves:
        source = wish.source.blobs
        for path in (*(one.path for one in up(source, wish.source.path) if isinstance(one, Folder)), wish.source.path):
            with suppress(NotFound, Conflict, Unsupported):
                source.remove_folder(path)
