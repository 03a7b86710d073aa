"""Empties trashes in their time, and sets right what was interrupted while a file was deleted, replaced or brought back."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import groupby
from typing import TYPE_CHECKING, Any

import app
from app import Act, AppError, Files, Query

if TYPE_CHECKING:
    from plugins import kept_files, quota
    from plugins.kept_files import Kept
else:
    kept_files, quota = app.plugin("kept_files"), app.plugin("quota")

# ==== 1. JOB =====================================================================================================
# What is over goes as a request would end it: it is counted. Where the clock is in doubt nothing goes.
# uses: ERRORS VALUES CONTRACTS RESOURCES plugin:clock_watch plugin:kept_files plugin:quota
# defines: Job:trash Trash

_SETTLED_S = 600.0  # for so long a row without bytes may belong to a request at work
_AT_ONCE = 40  # files that are ended together


class Trash(app.Job):
    """Ends what has been in a trash for its time, versions beyond their number, and those of files that are gone."""

    kind = "trash"
    every_s = 600
    scope = "site"

    def run(self, site: Any, stop: threading.Event) -> None:
        shares = {} if site.state is None else {one.name: one for one in site.resources.values() if isinstance(one, Files)}
        now = site.clock()
        if not any(one.is_guarded for one in shares.values()) or app.plugin("clock_watch").watch(site).look(now):
            return
        failures: list[AppError] = []
        for share, ones in _over(site, shares, now):
            if stop.is_set():
                return
            try:
                _end(site, share, ones)
            except AppError as error:
                failures.append(error)
        if failures:
            raise failures[0]


def _rows(site: Any) -> Iterator[Kept]:
    for row in site.state.walk(Query(kept_files.TABLE)):
        if found := kept_files.kept_of(row):
            yield found


def _over(site: Any, shares: dict[str, Files], now: float) -> Iterator[tuple[Files, list[Kept]]]:
    """What is to be ended, a few of one share at a time."""
    thrown: set[str] = set()  # paths of what stays in a trash, with its versions
    folders: list[tuple[str, str]] = []  # names of providers, and paths there, of folders that stay in one
    for prefix, rows in groupby(_rows(site), lambda one: one.key.rpartition(":")[0]):
        kind, share = prefix[:1], None
        if kind in (kept_files.ENDING, kept_files.REPLACED):
            paths = [(shares[one.share].blobs.name, f"{one.path}/") for one in rows if one.share in shares]
            folders += paths if kind == kept_files.REPLACED else []  # which may come back, with its versions
            continue
        ones = [one for one in rows if (share := shares.get(one.share)) and _is_good(site, share, one, now)]
        if share is None or not ones:
            continue
        if kind == kept_files.TRASH:
            over = [one for one in ones if share.config.trash_s and one.at < now - share.config.trash_s]
            thrown |= {_place(share, one) for one in ones} - {_place(share, one) for one in over}
            folders += [(share.blobs.name, f"{one.path}/") for one in ones if one.folders and one not in over]
        else:
            is_thrown = any(share.blobs.name == name and f"{ones[0].path}/".startswith(path) for name, path in folders)
            over = _old_versions(share, ones, is_thrown=is_thrown or _place(share, ones[0]) in thrown)
        for start in range(0, len(over), _AT_ONCE):
            yield share, over[start : start + _AT_ONCE]


def _place(share: Files, one: Kept) -> str:
    return kept_files.place_key(share.blobs, one.path)


def _old_versions(share: Files, ones: list[Kept], *, is_thrown: bool) -> list[Kept]:
    """Versions of one file that are too many, or all if it is neither there nor in the trash."""
    newest_first = sorted(ones, key=lambda one: one.key, reverse=True)
    if not is_thrown and share.blobs.stat(ones[0].path) is None:
        return newest_first
    return newest_first[share.config.versions :] if share.config.versions else []


def _is_good(site: Any, share: Files, one: Kept, now: float) -> bool:
    """Whether a row has its bytes. One that was left in between is set right."""
    if one.is_good:
        return True
    if now - one.at < _SETTLED_S:
        return False
    with suppress(AppError), quota.held(site, [Act(lambda: None, [(share.blobs, one.kept, 0)])]):
        there, present = share.blobs.stat(one.kept), share.blobs.stat(one.path)
        if one.folders and one.key[:1] == kept_files.TRASH:
            site.state.commit([one.update(is_good=True) if share.is_folder(one.kept) else one.delete()])
        elif there and present and present.etag == one.etag:  # it was not replaced, or was copied only, not yet removed
            kept_files.end_of(share, one)
        elif there:
            site.state.commit([one.update(is_good=True)])
        else:
            site.state.commit([one.delete()])
    return False


def _end(site: Any, share: Files, ones: Iterable[Kept]) -> None:
    ones = list(ones)
    for one in [one for one in ones if one.folders]:
        kept_files.end_of(share, one)
    ones = [one for one in ones if not one.folders]
    with quota.held(site, [Act(lambda: None, [(share.blobs, one.kept, -one.size_bytes) for one in ones])]):
        for one in ones:
            kept_files.end_of(share, one)


# ==== 2. ENDING ==================================================================================================
# Folders that were deleted for good are out of sight at once; what no request had time to remove goes here.
# uses: ERRORS CONTRACTS RESOURCES JOB plugin:big_folders plugin:kept_files plugin:put_aside plugin:quota
# defines: Job:ending Ending

_ROUND_S = 20.0  # for which what is removed is counted at once


class Ending(app.Job):
    """Removes what is in folders that were deleted for good, and brings back what nothing came to replace."""

    kind = "ending"
    every_s = 30
    scope = "site"

    def run(self, site: Any, stop: threading.Event) -> None:
        failures: list[AppError] = []
        works = {kept_files.ENDING: _go_on, kept_files.REPLACED: _bring_back} if site.state is not None else {}
        for work, one in [(work, one) for kind, work in works.items() for one in kept_files.rows_of(site.state, kind)]:
            share = site.resources.get(f"files/{one.share}")
            try:
                if isinstance(share, Files):
                    work(site, share, one, stop)
            except AppError as error:  # another one may do
                failures.append(error)
        if failures:
            raise failures[0]


def _go_on(site: Any, share: Files, one: Kept, stop: threading.Event) -> None:
    if share.is_folder(one.kept) or share.blobs.stat(one.kept):
        while not stop.is_set() and not _end_more(site, share, one):
            pass
    elif abs(site.clock() - one.at) > _SETTLED_S:  # no request is about to put something there
        site.state.commit([one.delete()])


def _bring_back(site: Any, share: Files, one: Kept, stop: threading.Event) -> None:
    """What a process had put aside that ended before all was in its place."""
    aside = app.plugin("put_aside")
    if not aside.is_left(site, one):
        return
    tally = quota.Tally(site)
    tally.want(share.blobs, f"{one.kept}/", 0)
    tally.want(share.blobs, f"{one.path}/", 0)
    tally.is_exact = False
    with quota.held(site, [Act(lambda: None, [], {}, tally)]):
        aside.brought_back(share, one)


def _end_more(site: Any, share: Files, one: Kept) -> bool:
    """Removes what there is time for. True if that is all."""
    tally = quota.Tally(site)
    tally.want(share.blobs, f"{one.kept}/", 0)
    with quota.held(site, [Act(lambda: None, [], {}, tally)]):
        return bool(app.plugin("big_folders").end(share, one, tally, time.monotonic() + _ROUND_S))
