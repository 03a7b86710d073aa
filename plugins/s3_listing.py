"""What S3 lists, as the contract of Blobs has it."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import app
from app import Blob, Folder

# ==== 1. LISTING =================================================================================================
# S3 sorts and groups keys by their slashes; a listing of a share is in the order of its paths.
# uses: ERRORS VALUES CONTRACTS
# defines: page_entries is_path by_path


def page_entries(page: Mapping[str, Any]) -> Iterator[Blob | Folder]:
    """Files and folders of a page of a listing in S3's order, in which a folder has a slash behind it."""
    files = ((item["Key"], item) for item in page.get("Contents", ()))
    folders = ((item["Prefix"], None) for item in page.get("CommonPrefixes", ()))
    for key, item in heapq.merge(files, folders, key=lambda pair: pair[0]):
        path = key if item else key[:-1]
        if is_path(path):
            yield (
                Blob(path, item["Size"], int(item["LastModified"].timestamp()), item["ETag"].strip('"'))
                if item
                else Folder(path)
            )


def is_path(path: str) -> bool:
    """Whether a caller could name it: other programs may have put other keys into the bucket."""
    try:
        return bool(path) and app.check_path(path.split("/"), is_there=True) == path
    except app.BadRequest:
        return False


def by_path(entries: Iterable[Blob | Folder], start: int, is_folder: Callable[[str], bool]) -> Iterator[Blob | Folder]:
    """Entries of one folder, whose names begin at `start`, in the order of their paths.

    S3 sorts the folder b as "b/", so behind the file "b.txt", which is to come after it. An entry therefore waits until
    S3 has passed the slash of every beginning of its name that may be a folder: signs before "/" are what it waits for.
    Where over 1,000 wait, S3 is asked whether that folder exists.
    """
    waiting: list[tuple[str, int, Blob | Folder]] = []
    number = itertools.count()  # other programs can have made a path both
    early: set[str] = set()  # folders that were asked about: those that exist stand in line already
    absent: set[str] = set()

    def awaited(path: str) -> str:
        ends = (i for i in range(start + 1, len(path)) if path[i] < "/" and path[:i] not in early and path[:i] not in absent)
        return path[: next(ends, 0)]

    for entry in entries:
        at = entry.path + "/" * isinstance(entry, Folder)
        while waiting:
            folder = awaited(waiting[0][0])
            if folder and folder + "/" >= at:
                if len(waiting) <= 1000:
                    break
                (early if is_folder(folder) else absent).add(folder)
                if folder in early:
                    heapq.heappush(waiting, (folder, next(number), Folder(folder)))
                continue
            yield heapq.heappop(waiting)[2]
        if entry.path not in early or isinstance(entry, Blob):
            heapq.heappush(waiting, (entry.path, next(number), entry))
    yield from (heapq.heappop(waiting)[2] for _ in range(len(waiting)))
