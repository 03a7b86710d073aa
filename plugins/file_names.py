"""The entries of a folder, or with `_q` all below it whose names have a text in them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice

from app import (
    BadRequest,
    Blobs,
    Clock,
    ConfigError,
    Entry,
    Files,
    Folder,
    Unsupported,
    check_path,
    encode_cursor,
    fold_case,
)

# ==== 1. NAMES ===================================================================================================
# A search looks at each name below a folder. A page of it ends when its time is over, however little it has found, and the
# next one goes on from there; so no share is too large for it, and none keeps the server busy for long.
# uses: ERRORS VALUES CONTRACTS RESOURCES PROVIDERS
# defines: KEPT SEARCH_S is_kept path_that_is_there scan entries page

KEPT = "_satchel"  # the folder of a provider, below no share, for what is kept of deleted and overwritten files
SEARCH_S = 1.0  # for a page of a search
_LOOKED_AT_ONCE = 100  # names between two looks at the clock


def is_kept(path: str) -> bool:
    """Whether a path of a provider is in the folder that no share shows."""
    return path.partition("/")[0].casefold() == KEPT


def path_that_is_there(share: Files, parts: Sequence[str], error: BadRequest) -> str:
    """The path of segments that no new file may have, if only since Windows cannot store them, and each of those is there
    already, such as the folder "Trip." that somebody made on another system. Raises `error` otherwise."""
    inner = check_path(parts, is_there=True)
    for number, part in enumerate(parts, 1):
        try:
            check_path([part])
        except BadRequest:
            if not _is_there(share, "/".join(parts[:number])):
                raise error from None
    return share.place(inner)


def _is_there(share: Files, inner: str) -> bool:
    """Whether a file or folder is. One whose server takes the name for a bad request is not."""
    place = share.place(inner)
    try:
        return share.blobs.stat(place) is not None or share.is_folder(place)
    except ConfigError:
        return False


def scan(
    blobs: Blobs, path: str, *, deep: bool = True, after: str = "", fits: Callable[[str], bool] | None = None
) -> Iterator[Entry]:
    """The same as Blobs.scan(), but for what is kept of deleted and overwritten files. What does not fit by its path may be
    Unseen, from providers that tell names without a look at the files."""
    found = blobs.named(path, fits, after) if fits and hasattr(blobs, "named") else blobs.scan(path, deep=deep, after=after)
    if path:
        yield from found
        return
    for entry in found:
        if not is_kept(entry.path):
            yield entry
        elif deep:  # past all that is in it
            yield from scan(blobs, "", after=f"{entry.path.partition('/')[0]}0", fits=fits)
            return


def entries(blobs: Blobs, path: str, search: str, after: str = "") -> Iterator[Entry]:
    """All of them, in path order after `after`."""
    if not search:
        return scan(blobs, path, deep=False, after=after)
    return (entry for entry, _ in _found(blobs, path, search, after) if entry)


def page(
    blobs: Blobs, path: str, search: str, after: str, size: int, clock: Clock = time.monotonic
) -> tuple[list[Entry], str | None]:
    """At most `size` of them, and the cursor of the page after; None on the last one."""
    if not search:
        items = list(islice(scan(blobs, path, deep=False, after=after), size + 1))
        return items[:size], encode_cursor(items[size - 1].path) if len(items) > size else None
    found: list[Entry] = []
    until = clock() + SEARCH_S
    for number, (entry, place) in enumerate(_found(blobs, path, search, after), 1):
        if entry and len(found) == size:
            return found, encode_cursor(after)
        if entry:
            found.append(entry)
        after = place
        if number % _LOOKED_AT_ONCE == 0 and clock() > until:
            return found, encode_cursor(after)
    return found, None


def _found(blobs: Blobs, path: str, search: str, after: str) -> Iterator[tuple[Entry | None, str]]:
    """Everything below a folder, with the place in its order from which the search goes on; None for what does not fit. A
    folder comes before what is in it."""
    if not blobs.lists:
        raise Unsupported("this share cannot be listed, so it cannot be searched")
    wanted, inside, last = fold_case(search), len(path) + 1 if path else 0, f"{after}/"

    def fits(path: str) -> bool:
        return wanted in fold_case(path.rpartition("/")[2])

    for entry in scan(blobs, path, deep=True, after=after, fits=fits):
        at = inside
        while (at := entry.path.find("/", at) + 1) > 0:
            folder = entry.path[: at - 1]
            if not last.startswith(f"{folder}/") and fits(folder):
                yield Folder(folder), f"{folder}/"
        last = f"{entry.path}/"
        yield (entry if fits(entry.path) else None), entry.path
