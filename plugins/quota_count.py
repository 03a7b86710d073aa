"""Counts what the files of shares with a quota take: when that is not known, and again where other programs write too."""

from __future__ import annotations

import threading
import time
from array import array
from collections.abc import Callable, Iterator
from typing import Any

import app
from app import Blob, Busy, Conflict, Files, Query, Value, in_units, new_id

names, quota = app.plugin("file_names"), app.plugin("quota")

# ==== 1. COUNT ===================================================================================================
# A count goes through all files while they are changed. What is changed meanwhile is noted beside it, by each request, and
# taken for what was seen there: so the sum is that of one moment, the last.
# uses: ERRORS VALUES RESOURCES
# defines: count first

_FIRST_S = 20.0  # that a request counts by itself; beyond it, the job does
_ALIVE_S = 60.0  # after which another count may begin
_ENTRIES = 2000  # between two looks at whether to go on
_MOST_TOUCHED = 1000  # files that may be changed during a count; of more it is begun again later


class _Seen:
    """Sizes by path_key, as numbers: sixteen bytes for each file."""

    def __init__(self) -> None:
        self._keys, self._sizes, self.total = array("Q"), array("Q"), 0

    def add(self, key: str, size_bytes: int) -> None:
        self._keys.append(int(key[:16], 16))
        self._sizes.append(size_bytes)
        self.total += size_bytes

    def without(self, touched: Value) -> int:
        """The sum of all but the touched ones."""
        wanted = {int(key[:16], 16) for key in touched}
        if not wanted:
            return self.total
        return self.total - sum(size for key, size in zip(self._keys, self._sizes, strict=True) if key in wanted)


def _files_of(share: Files) -> Iterator[Blob]:
    for entry in names.scan(share.blobs, share.root):
        if isinstance(entry, Blob):
            yield entry
    for entry in share.blobs.scan(f"{names.KEPT}/{share.name}"):
        if isinstance(entry, Blob):
            yield entry


def count(site: Any, share: Files, is_over: Callable[[], bool]) -> bool:
    """Counts a share anew, unless that is being done. False if it did not come to an end."""
    id_ = _begun(site, share)
    if not id_:
        return False
    seen, looked = _Seen(), time.monotonic()
    for number, blob in enumerate(_files_of(share), 1):
        seen.add(quota.path_key(share.blobs, blob.path), blob.size_bytes)
        if number % _ENTRIES == 0:
            if is_over():
                _change(site, share, id_, lambda row: row._replace(count=None))
                return False
            if time.monotonic() - looked > _ALIVE_S / 4:
                looked = time.monotonic()
                if not _change(site, share, id_, lambda row: row._replace(count=row.count | {"at": site.clock()})):
                    return False
    return _change(site, share, id_, lambda row: _counted(site, share, row, seen))


def _counted(site: Any, share: Files, row: Any, seen: _Seen) -> Any:
    """The row with what was counted; without, if too much was changed meanwhile."""
    touched = dict(row.count["touched"])
    for claim in site.state.walk(Query(quota.TOUCHED)):
        if share.name in claim.value.get("shares", ()):
            if claim.value["path"] is None:
                return row._replace(count=None, is_off=True)
            touched[claim.key] = claim.value["before"]
    used = seen.without(touched) + sum(touched.values())
    return row._replace(used_bytes=used, counted_at=site.clock(), is_off=False, count=None)


def _begun(site: Any, share: Files) -> str:
    """The id of the count, which is noted; "" if one is at work."""
    row, now, id_ = quota.usage(share), site.clock(), new_id(site.clock())
    if row.count and abs(now - row.count["at"]) < _ALIVE_S:
        return ""
    begun = row._replace(count={"id": id_, "at": now, "touched": {}})
    try:
        site.state.commit([begun.write(share)])
    except Conflict:
        return ""
    return id_


def _change(site: Any, share: Files, id_: str, change: Callable[[Any], Any]) -> bool:
    """Changes the row of a share. False if the count is no longer at work, or was given up."""
    while True:
        row = quota.usage(share)
        if not row.count or row.count["id"] != id_:
            return False
        if len(row.count["touched"]) > _MOST_TOUCHED:
            row, changed = row, row._replace(count=None, is_off=True)
        else:
            changed = change(row)
        try:
            site.state.commit([changed.write(share)])
        except Conflict:
            continue
        return changed.count is not None or not changed.is_off


def first(site: Any, share: Files) -> None:
    """Counts a share that never was, or waits until it is. Raises Busy if that takes longer than a request should."""
    until = time.monotonic() + _FIRST_S
    while quota.usage(share).used_bytes is None:
        if not count(site, share, lambda: time.monotonic() > until):
            if time.monotonic() > until:
                raise Busy(f"the files of {share.title} are being counted for the first time: try again in a minute")
            time.sleep(0.02)


# ==== 2. JOB =====================================================================================================
# Counts what has to be counted, and what was left by processes that ended.
# uses: VALUES CONTRACTS RESOURCES COUNT plugin:kept_files
# defines: Job:recount QuotaCount warnings

_AGAIN_S = 86_400.0  # where other programs may write, too


class QuotaCount(app.Job):
    """Counts shares with a quota: those that never were, those where something went wrong, and once a day those in folders
    that other programs can change."""

    kind = "recount"
    every_s = 30
    scope = "node"

    def run(self, site: Any, stop: threading.Event) -> None:
        shares = _shares(site)
        if shares or any(one.is_guarded for one in site.resources.values() if isinstance(one, Files)):
            quota.recover(site)
            owners = {row.value.get("owner", "") for row in site.state.walk(Query(quota.TOUCHED))}
            kept_files = app.plugin("kept_files")
            owners |= {one.etag for one in kept_files.rows_of(site.state, kept_files.REPLACED)}
            quota.owner_of(site).tidy(owners)
        for share in shares:
            if not stop.is_set() and _is_due(site, share):
                count(site, share, stop.is_set)


def _shares(site: Any) -> list[Files]:
    if site.state is None:
        return []
    return [one for one in site.resources.values() if isinstance(one, Files) and one.config.quota_bytes]


def _is_due(site: Any, share: Files) -> bool:
    row = quota.usage(share)
    is_old = share.blobs.keeps_folders and abs(site.clock() - row.counted_at) > _AGAIN_S
    return bool(row.used_bytes is None or row.is_off or is_old)


def warnings(site: Any) -> list[str]:
    """What `server check` says of shares with a quota."""
    found = []
    for share in _shares(site):
        place, used, limit = f"files.{share.name}.quota", quota.usage(share).used_bytes, share.config.quota_bytes
        if used is not None and used >= limit:
            found.append(f"{place}: {in_units(used)} are used of {in_units(limit)}: nothing more can be stored there")
        if share.blobs.keeps_folders:
            found.append(f"{place}: what other programs change in the folder is counted once a day")
    return found
