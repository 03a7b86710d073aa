"""Folders of a share with all that is in them: counted, deleted, and looked over before they are moved or copied."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext, suppress
from functools import partial
from typing import NamedTuple
from urllib.parse import quote

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
    Files,
    Folder,
    NotFound,
    Plan,
    PreconditionFailed,
    Request,
    Response,
    Scope,
    TooLarge,
    Unseen,
    Unsupported,
    Value,
    compose,
    how_many,
    no_params,
    plan_of,
    plugin,
)

names = plugin("file_names")
together = plugin("file_copies").together

# ==== 1. TREES ===================================================================================================
# A folder is walked as its listing shows it, within a bound. What cannot be looked at keeps the folder where it is.
# uses: ERRORS VALUES CONTRACTS RESOURCES plugin:file_names
# defines: MOST_ENTRIES TooMany address_of Place Tree Counted place_in need_lists tree_of empty_folders counted

MOST_ENTRIES = 10_000  # files and folders that are held in memory; how more are dealt with says plugins/big_folders.py


class TooMany(TooLarge):
    """A folder has more than MOST_ENTRIES below it."""


def address_of(share: str, parts: Sequence[str]) -> str:
    """Percent-encoded address of a place in a share."""
    return "/".join(["files", quote(share, safe=""), *[quote(compose(part), safe="") for part in parts]])


class Place(NamedTuple):
    """A place in a share; `path` is where it is in the provider. Without parts it is the share itself."""

    share: Files
    parts: tuple[str, ...]
    path: str

    @property
    def blobs(self) -> Blobs:
        return self.share.blobs

    def address(self, inner: str = "") -> str:
        """Percent-encoded address of the place, or of what is at the path `inner` below it."""
        return address_of(self.share.name, (*self.parts, *inner.split("/")) if inner else self.parts)

    def inner(self, path: str) -> str:
        """The path below this place of what is at a path of the provider."""
        return path[len(self.path) + 1 :] if self.path else path


class Tree(NamedTuple):
    """All that is below a folder. Folders stand before those that are in them, and the folder itself is not among them."""

    folders: list[str]
    files: list[Blob]

    @property
    def size_bytes(self) -> int:
        return sum(blob.size_bytes for blob in self.files)

    def told(self) -> Value:
        """What answers and audit entries say of the folder with all that is in it."""
        return {"files": len(self.files), "folders": len(self.folders) + 1, "bytes": self.size_bytes}


class Counted(NamedTuple):
    """What is below a folder, as far as it was counted; `more` says that there is more. `kept` is how much of it the caller
    may not delete, or cannot be looked at."""

    files: int
    folders: int
    size_bytes: int
    kept: int
    more: bool


def place_in(share: Files, path: Sequence[str]) -> Place:
    """The place of a request's path. Raises BadRequest for a path that no provider may see."""
    parts = tuple(path[:-1] if path and path[-1] == "" else path)
    return Place(share, parts, share.path_of(parts))


def _walk(blobs: Blobs, path: str) -> Iterator[Entry]:
    """Everything below a folder, folders before what is in them. A link to a folder is not followed, and is Unseen."""
    folders = [path]
    while folders:
        for entry in names.scan(blobs, folders.pop(), deep=False):
            if isinstance(entry, Folder) and blobs.is_link(entry.path):
                yield Unseen(entry.path, "it is a link to another folder")
                continue
            if isinstance(entry, Folder):
                folders.append(entry.path)
            yield entry


def need_lists(share: Files) -> None:
    """Raises Unsupported for a share without lists: what is in a folder is not known there."""
    if not share.blobs.lists:
        raise Unsupported("this share cannot be listed, so it has no folders")


def tree_of(place: Place) -> Tree:
    """What is below a folder. Raises TooMany if that is too much at once, Conflict if some of it cannot be looked at, and
    Unsupported if the provider has no lists."""
    need_lists(place.share)
    tree = Tree([], [])
    for number, entry in enumerate(_walk(place.blobs, place.path), 2):
        if number > MOST_ENTRIES:
            raise TooMany(f"{place.address()} has more than {MOST_ENTRIES:,} files and folders")
        if isinstance(entry, Unseen):
            raise Conflict(
                f"{place.address(place.inner(entry.path))} stays as it is, and so does its folder: {entry.problem}"
            )
        if isinstance(entry, Folder):
            tree.folders.append(entry.path)
        else:
            tree.files.append(entry)
    return tree


def empty_folders(blobs: Blobs) -> Iterator[str]:
    """The folders of a provider that have nothing in them."""
    if not (blobs.lists and blobs.makes_folders):
        return
    folders, parents = [""], {""}
    for entry in _walk(blobs, ""):
        parents.add(entry.path.rpartition("/")[0])
        if isinstance(entry, Folder):
            folders.append(entry.path)
    yield from sorted({*folders} - parents)


def counted(share: Files, path: Sequence[str], caller: Caller, most: int = MOST_ENTRIES) -> Counted:
    """How much is below a folder of a share, for the question before it is deleted. It stops after `most` entries."""
    place = place_in(share, path)
    files = folders = size_bytes = kept = 0
    for number, entry in enumerate(_walk(place.blobs, place.path) if place.blobs.lists else (), 1):
        if number > most:
            return Counted(files, folders, size_bytes, kept, True)
        is_free = caller.may(Action.DELETE, place.address(place.inner(entry.path)))
        kept += isinstance(entry, Unseen) or not is_free
        if isinstance(entry, Blob):
            files, size_bytes = files + 1, size_bytes + entry.size_bytes
        elif isinstance(entry, Folder):
            folders += 1
    return Counted(files, folders, size_bytes, kept, False)


# ==== 2. DELETED =================================================================================================
# A folder is deleted with all that is in it once it is known that all of it may go.
# uses: ERRORS VALUES CONTRACTS RESOURCES TREES plugin:big_folders plugin:kept_files
# defines: TREE without_tree emptied

TREE = "_tree"


def without_tree(share: Files, request: Request, scope: Scope) -> Plan:
    """The plan of DELETE with _tree=1. A file goes as it does without."""
    no_params(request, (TREE,))
    if request.params[TREE] != "1":
        raise BadRequest("_tree must be 1")
    place = place_in(share, request.path)
    if not place.parts:
        raise BadRequest(f"files/{share.name} is a share, which is never deleted: name a folder in it")
    if request.path[-1] != "" and share.blobs.stat(place.path):
        return share.handle(request._replace(params={}), scope)
    if share.blobs.lists and not share.is_folder(place.path):
        if scope.again:
            return plan_of(Response())
        raise NotFound(f"{request.address} does not exist")
    if request.conditions.if_match:
        raise PreconditionFailed("it is no longer what If-Match names: a folder has no ETag")
    try:
        tree = tree_of(place)
    except TooMany:
        return plugin("big_folders").deleted(place, scope)  # type: ignore[no-any-return]
    for path in (*tree.folders, *[blob.path for blob in tree.files]):
        scope.caller.require(Action.DELETE, place.address(place.inner(path)))
    told, keeping = tree.told(), plugin("kept_files").deleting(share, tree.files, scope)
    places = [(place.blobs, place.path, 0), *((place.blobs, blob.path, -blob.size_bytes) for blob in tree.files)]
    remove = keeping.throw if keeping else place.blobs.remove
    act = Act(partial(_delete, place, tree, told, remove), [*places, *(keeping.places if keeping else ())], told)
    return Plan(respond=lambda blobs: Response(data=told), steps=[act])


def _delete(place: Place, tree: Tree, told: Value, remove: Callable[[str], None]) -> None:
    gone = 0
    try:
        with together(place.blobs) if remove == place.blobs.remove else nullcontext():
            for blob in tree.files:
                with suppress(NotFound):  # somebody else was faster
                    remove(blob.path)
                gone += 1
            if not emptied(place, tree):
                raise Conflict("something was put into the folder meanwhile, and is still there")
    except AppError as error:
        told["files"] = gone
        error.message = f"{error.message} ({gone} of {how_many(len(tree.files), 'file')} were deleted)"
        raise


def emptied(place: Place, tree: Tree) -> bool:
    """Removes the folders of a tree whose files are gone; returns whether the folder itself is."""
    for path in (*reversed(tree.folders), place.path):
        with suppress(NotFound, Conflict, Unsupported):
            place.blobs.remove_folder(path)
    return not place.share.is_folder(place.path)
