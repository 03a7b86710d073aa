"""The entries of a folder, as a list: in the order that was asked for, a page at a time."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from heapq import nlargest
from itertools import islice, takewhile
from typing import Any, NamedTuple

from app import (
    AppError,
    BadRequest,
    Blob,
    Blobs,
    Column,
    Entry,
    Files,
    Folder,
    Request,
    Table,
    compose,
    decode_cursor,
    encode_cursor,
    fold_case,
    nearest,
    page_bounds,
    paged,
    plugin,
    text_cursor,
)

# ==== 1. LISTS ===================================================================================================
# By themselves entries come in path order, page by page, however many there are. Another order has to read them all: so it
# holds for folders of at most MOST_SORTED entries, and larger ones say that they are in path order.
# uses: ERRORS VALUES CONFIG CONTRACTS RESOURCES PROVIDERS plugin:file_names
# defines: MOST_SORTED PAGE_SIZE ORDERS table sortable in_order

MOST_SORTED = 10_000  # entries of a folder that are read and sorted for a page of it
PAGE_SIZE = 100  # entries of a page for people
ORDERS = ("name", "size_bytes", "modified_at")  # what `_sort` names, with "-" before it for the other way round
_PATH_ORDER = "this folder has more than {most:,} entries: they are in the order of their paths"


class _Place(NamedTuple):
    """Where an entry stands in an order: folders first; then by bytes or microseconds, then what its name is compared by."""

    group: int
    amount: int
    words: tuple[Any, ...]
    name: str


def table(share: Files, request: Request, path: str, columns: tuple[Column, ...]) -> Table:
    """A page of them, or all of an export. For people folders come first, by name; for programs the order is that of the
    paths unless they ask for another one. What is found by a search is always in path order."""
    names, params = plugin("file_names"), request.params
    search, sort = params.get("_q", "").strip(), _order(params.get("_sort", ""), is_page=request.page)
    size = page_bounds(params, default=PAGE_SIZE if request.page else 1000)
    if search and params.get("_sort"):
        raise BadRequest("what is found by _q comes in the order of the paths: leave _sort out")
    wanted = bool(sort) and not search
    entries = sortable(share.blobs, path) if wanted else None
    if entries is None:
        after = text_cursor(params.get("_next", ""))
        if request.whole:
            found = Table(columns, map(share.entry, names.entries(share.blobs, path, search, after)))
        else:
            items, following = names.page(share.blobs, path, search, after, size)
            found = paged(columns, map(share.entry, items), following)
        if wanted:
            found.facts["note"] = _PATH_ORDER.format(most=MOST_SORTED)
        return found
    entries, places = in_order(entries, sort)
    begin = _begin(places, sort, params.get("_next", ""))
    if request.whole:
        return Table(columns, map(share.entry, entries[begin:]))
    items, is_last = entries[begin : begin + size], begin + size >= len(entries)
    following = None if is_last else encode_cursor(sort, *_known(items[-1], sort))
    found = paged(columns, map(share.entry, items), following, before=begin)
    if request.page:
        folders = sum(isinstance(one, Folder) for one in entries)
        found.facts |= {"folders": folders, "files": len(entries) - folders}
    return found


def _order(sort: str, *, is_page: bool) -> str:
    """The order that is meant; "" for that of the paths. Raises BadRequest if there is none like it."""
    if sort and sort.removeprefix("-") not in ORDERS:
        raise BadRequest(f"_sort is {sort[:100]!r}: write one of {', '.join(ORDERS)}{nearest(sort, ORDERS)}")
    return sort or ("name" if is_page else "")


def sortable(blobs: Blobs, path: str) -> list[Entry] | None:
    """The entries of a folder; None if there are too many, which some providers can tell without a look at each."""
    names_in = getattr(blobs, "names_in", None)
    if names_in and sum(1 for _ in islice(names_in(path), MOST_SORTED + 1)) > MOST_SORTED:
        return None
    found = list(islice(plugin("file_names").scan(blobs, path, deep=False), MOST_SORTED + 1))
    return found if len(found) <= MOST_SORTED else None


def in_order(entries: Sequence[Entry], sort: str) -> tuple[list[Entry], list[_Place]]:
    """The entries in their order, and the place of each."""
    places = [_place_of(*_known(one, sort)) for one in entries]
    order = sorted(range(len(entries)), key=places.__getitem__, reverse=sort == "-name")
    if sort == "-name":  # folders come first all the same
        order.sort(key=lambda at: places[at].group)
    return [entries[at] for at in order], [places[at] for at in order]


def _known(entry: Entry, sort: str) -> tuple[int, int, str]:
    """What a cursor keeps of an entry: it says where the next page begins, also if the entry is gone by then."""
    amount = 0
    if isinstance(entry, Blob) and not sort.endswith("name"):
        amount = entry.size_bytes if sort.endswith("size_bytes") else round(entry.modified_at * 1_000_000)
    group = 0 if isinstance(entry, Folder) else 1
    return group, -amount if sort.startswith("-") else amount, entry.path.rpartition("/")[2]


def _place_of(group: int, amount: int, name: str) -> _Place:
    """Numbers in names are compared as numbers: "part 9" comes before "part 10"."""
    parts = re.split(r"([0-9]{1,18})", fold_case(compose(name)))
    return _Place(group, amount, tuple(int(one) if at % 2 else one for at, one in enumerate(parts)), name)


def _begin(places: Sequence[_Place], sort: str, cursor: str) -> int:
    """Which entry is the first after the one that a cursor names. Raises BadRequest if it is none of this order."""
    if not cursor:
        return 0
    asked, group, amount, name = decode_cursor(cursor, 4)
    if asked != sort or type(group) is not int or type(amount) is not int or not isinstance(name, str):
        raise BadRequest("_next is not a cursor of this list: use the one from its answer, unchanged")
    last, turns = _place_of(group, amount, name), sort == "-name"
    return sum(_is_passed(one, last, turns=turns) for one in places)


def _is_passed(place: _Place, last: _Place, *, turns: bool) -> bool:
    if place.group != last.group:
        return place.group < last.group
    return place >= last if turns else place <= last


# ==== 2. NEIGHBOURS ==============================================================================================
# The files before and after one in path order, however many there are. Lists go forwards only: so what comes before is
# looked for behind shorter beginnings of the name, a few entries at a time.
# uses: ERRORS VALUES CONTRACTS plugin:file_names
# defines: files_after files_before

_PROBED = 1000  # entries of one look


def files_after(blobs: Blobs, path: str) -> Iterator[Blob]:
    """Files of the same folder that come after a path, the nearest first: those among the next entries."""
    found = plugin("file_names").scan(blobs, path.rpartition("/")[0], deep=False, after=path)
    return (one for one in islice(found, _PROBED) if isinstance(one, Blob))


def files_before(blobs: Blobs, path: str) -> Iterator[Blob]:
    """Files of the same folder that come before a path, the nearest first: those among the last entries. None where very
    many names begin alike."""
    begin = path.rfind("/") + 1
    if names_in := getattr(blobs, "names_in", None):
        names = nlargest(_PROBED, (one for one in names_in(path[: max(begin - 1, 0)]) if one < path[begin:]))
        yield from filter(None, (_file_at(blobs, path[:begin] + one) for one in names))
        return
    end = path.rfind(".", begin + 1)
    least, most, at = begin, len(path), max((end if end > 0 else len(path)) - 1, begin)  # letters that are the same
    while least <= at < most:
        found = _between(blobs, path, path[:at])
        if found is None:
            least = at + 1
        else:
            yield from reversed(found)
            most = at
        at = (least + most) // 2
    if least > begin:
        yield from _past_letter(blobs, path, least - 1)


def _past_letter(blobs: Blobs, path: str, at: int) -> Iterator[Blob]:
    """Those with another letter there, and the same before it: such as "19…" before "20"."""
    least, most = 0, min(ord(path[at]), 0xD800)
    while most - least > 1:
        middle = (least + most) // 2
        found = _between(blobs, path, path[:at] + chr(middle))
        if found is None:
            least = middle
        else:
            yield from reversed(found)
            most = middle


def _file_at(blobs: Blobs, path: str) -> Blob | None:
    with suppress(AppError):
        return blobs.stat(path)
    return None


def _between(blobs: Blobs, path: str, begin: str) -> list[Blob] | None:
    """The files of a folder after `begin` and before `path`; None if there are too many entries."""
    scan = plugin("file_names").scan(blobs, path.rpartition("/")[0], deep=False, after=begin)
    found = list(islice(takewhile(lambda one: one.path < path, scan), _PROBED + 1))
    return None if len(found) > _PROBED else [one for one in found if isinstance(one, Blob)]
