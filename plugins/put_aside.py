"""What a move or copy replaces is put aside first, ended when all is in its place, and brought back if that fails.

It lies where deleted files are kept (plugins/kept_files.py), and a row says so: should the process end in the middle, a job
brings it back (plugins/kept_job.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any

import app
from app import Act, Action, AppError, Blob, Blobs, BlobStep, Conflict, Files, Folder, NotFound, Plan, Scope, Unsupported

if TYPE_CHECKING:
    from plugins import big_folders, file_moves, file_trees, kept_files, quota
    from plugins.file_trees import Place
    from plugins.kept_files import Kept
    from plugins.quota import Tally
else:
    big_folders, file_moves = app.plugin("big_folders"), app.plugin("file_moves")
    file_trees, kept_files, quota = app.plugin("file_trees"), app.plugin("kept_files"), app.plugin("quota")
    Place, Kept, Tally = file_trees.Place, kept_files.Kept, quota.Tally
together = app.plugin("file_copies").together

# ==== 1. BACK ====================================================================================================
# A folder is renamed in one step where that can be, and else its files are moved one by one. Nothing that is found where it
# was is replaced when it comes back: that gets a free name beside it.
# uses: ERRORS VALUES CONTRACTS RESOURCES plugin:big_folders plugin:file_moves plugin:kept_files plugin:quota
# defines: is_left brought_back

_LEFT_S = 86_400.0  # after which a process that another node had counts as ended


def is_left(site: Any, row: Kept) -> bool:
    """Whether the process that put it aside has ended, or could not bring it back."""
    return not row.etag or abs(site.clock() - row.at) > _LEFT_S or quota.owner_of(site).has_ended(row.etag)


def brought_back(share: Files, row: Kept) -> None:
    """Brings back what was put aside, and ends its row."""
    blobs = share.blobs
    with together(blobs):
        if not row.folders:
            there, kept = blobs.stat(row.path), blobs.stat(row.kept)
            if there and kept and not row.is_good and there.size_bytes == kept.size_bytes:
                blobs.remove(row.kept)  # it was copied only, and never gone
            elif kept:
                _clear(share, row.path)
                blobs.move(row.kept, row.path)
        elif share.is_folder(row.kept):
            if row.is_good:  # it was aside as a whole, so this is what was being put in its place
                _clear(share, row.path)
                if not hasattr(blobs, "move_folder"):  # should this end in the middle, the rest of it follows
                    kept_files.state_of(share).commit([row.update(is_good=False)])
            if _is_taken(share, row.path) or not _renamed(blobs, row.kept, row.path):
                _move_files(share, row.kept, row.path)
    kept_files.state_of(share).commit([row.delete()])


def _is_taken(share: Files, path: str) -> bool:
    return share.blobs.stat(path) is not None or share.is_folder(path)


def _free(share: Files, path: str) -> str:
    """A path like this one at which there is nothing."""
    folder, slash, name = path.rpartition("/")
    stem, dot, suffix = name.rpartition(".")
    if not stem:
        stem, dot, suffix = name, "", ""
    paths = (f"{folder}{slash}{stem} ({number}){dot}{suffix}" for number in count(2))
    return next(one for one in paths if not _is_taken(share, one))


def _clear(share: Files, path: str) -> None:
    """Gives what is at a path another name."""
    if share.blobs.stat(path):
        share.blobs.move(path, _free(share, path))
    elif share.is_folder(path) and not _renamed(share.blobs, path, free := _free(share, path)):
        _move_files(share, path, free)


def _renamed(blobs: Blobs, source: str, target: str) -> bool:
    """Renames a folder. False if that cannot be done in one step."""
    if (rename := getattr(blobs, "move_folder", None)) is None:
        return False
    try:
        rename(source, target)
    except Unsupported:
        return False
    return True


def _move_files(share: Files, source: str, target: str) -> None:
    """Moves a folder file by file. What is at the target already stays, and what comes gets a free name."""
    blobs = share.blobs
    file_moves.make_folder(blobs, target, [])
    for entry in big_folders.down(blobs, source) if blobs.makes_folders else ():
        if isinstance(entry, Folder):
            file_moves.make_folder(blobs, target + entry.path[len(source) :], [])
    for entry in big_folders.up(blobs, source):
        path = target + entry.path[len(source) :]
        with suppress(NotFound):  # somebody else was faster
            if isinstance(entry, Blob):
                _move_file(share, entry.path, path)
            else:
                with suppress(Conflict, Unsupported):
                    blobs.remove_folder(entry.path)
    with suppress(NotFound, Conflict, Unsupported):
        blobs.remove_folder(source)


def _move_file(share: Files, source: str, target: str) -> None:
    try:
        share.blobs.move(source, target)
    except Conflict:
        if not _is_taken(share, target):
            raise
        share.blobs.move(source, _free(share, target))


# ==== 2. ASIDE ===================================================================================================
# What is at the target of a move or copy, from before that is planned until it is done.
# uses: ERRORS VALUES CONTRACTS BACK plugin:big_folders plugin:file_trees plugin:kept_files plugin:quota
# defines: Aside


class Aside:
    """What is at a place, once it is known that it may go. `tally` counts it where that is too much to be held."""

    def __init__(self, place: Place, scope: Scope) -> None:
        self.place, self.share, self.is_done = place, place.share, False
        self._tally, self._places, size_bytes = Tally(place.share.site), [(place.blobs, place.path, 0)], 0
        self._moved, folders = Tally(place.share.site), 0
        blob = place.blobs.stat(place.path)
        scope.caller.require(Action.DELETE, place.address())
        if blob:
            self._places, size_bytes = [(place.blobs, place.path, -blob.size_bytes)], blob.size_bytes
        elif self.share.is_folder(place.path):
            size_bytes, folders = self._folder(scope)
        self.is_there = bool(blob or folders)
        gone = Blob(place.path, size_bytes, scope.now, quota.owner_of(place.share.site).id())
        row = kept_files.kept_row(self.share, kept_files.REPLACED, gone, scope.caller.subject, scope.now)
        self._row: Kept = row._replace(folders=folders)
        self._is_large = bool(self._tally.shares)
        if self._is_large:
            self._moved.want(place.blobs, row.kept + "/", size_bytes)
            self._tally.want(place.blobs, row.kept + "/", 0)
        else:
            self._places += [(blobs, row.kept + path[len(place.path) :], 0) for blobs, path, _ in self._places]

    def _folder(self, scope: Scope) -> tuple[int, int]:
        """The bytes and folders that are there."""
        place = self.place
        try:
            tree = file_trees.tree_of(place)
        except file_trees.TooMany:
            amount = big_folders.Amount(folders=1)
            for entry in big_folders.down(place.blobs, place.path):
                big_folders.check_seen(place, entry)
                scope.caller.require(Action.DELETE, place.address(place.inner(entry.path)))
                amount.add(entry)
                if isinstance(entry, Blob):
                    for one in (self._tally, self._moved):
                        one.want(place.blobs, entry.path, -entry.size_bytes)
            return amount.size_bytes, amount.folders
        for path in (*tree.folders, *[blob.path for blob in tree.files]):
            scope.caller.require(Action.DELETE, place.address(place.inner(path)))
        self._places += [(place.blobs, blob.path, -blob.size_bytes) for blob in tree.files]
        return tree.size_bytes, len(tree.folders) + 1

    def free(self, tally: Tally) -> None:
        """Adds to what is wanted in shares what becomes free there."""
        for name, more in self._tally.wanted.items():
            tally.wanted[name] = tally.wanted.get(name, 0) + more
            tally.shares.setdefault(name, self._tally.shares[name])
        for blobs, path, more in self._places:
            tally.want(blobs, path, more)

    def is_replaced(self) -> None:
        """All is in the place of what is aside, which is not brought back any more."""
        self.is_done = True

    def around(self, plan: Plan) -> Plan:
        """The plan of a move or copy, with what is at its target put aside before and ended afterwards."""
        if not self.is_there:
            return plan
        [act] = [step for step in plan.steps if isinstance(step, Act)]
        put = Act(self._put, self._places, act.told, self._tally if self._is_large else None)
        steps: list[BlobStep] = [put, act._replace(run=partial(self._carried, act.run))]
        return plan._replace(steps=steps)

    def _put(self) -> None:
        row, blobs, state = self._row, self.place.blobs, kept_files.state_of(self.share)
        state.commit([row.insert()])
        try:
            if not row.folders:
                blobs.move(row.path, row.kept)
            elif not _renamed(blobs, row.path, row.kept):
                _move_files(self.share, row.path, row.kept)
                if self.share.is_folder(row.path):
                    raise Conflict("something was put into the folder meanwhile, and is still there")
            self._row = row._replace(is_good=True)
            state.commit([row.update(is_good=True)])
        except BaseException:
            self._back()
            raise
        for name, more in self._moved.wanted.items() if self._is_large else ():
            self._tally.done[name] = self._tally.done.get(name, 0) + more

    def _carried(self, run: Callable[[], Blob | None]) -> Blob | None:
        try:
            made = run()
            self.is_done = True
            return made
        except BaseException:
            if not self.is_done:
                self._back()
            raise
        finally:
            if self.is_done:
                self._end()

    def _back(self) -> None:
        """Brings it back, or leaves that to the job."""
        self._tally.is_exact = False
        try:
            brought_back(self.share, self._row)
        except BaseException:
            state = kept_files.state_of(self.share)
            with suppress(AppError):  # else when this process has ended
                if (row := state.get(kept_files.TABLE, self._row.key)) and (one := kept_files.kept_of(row)):
                    state.commit([one.update(etag="")])

    def _end(self) -> None:
        with suppress(AppError):  # a job does what is left
            row = kept_files.to_end(self.share, self._row)
            big_folders.end(self.share, row, self._tally, math.inf)
