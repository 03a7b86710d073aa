"""Properties that clients of WebDAV give to files and folders of shares: kept as they were sent, and kept with the file."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import Any

from app import (
    Act,
    Action,
    AppError,
    BlobStep,
    Busy,
    Caller,
    Condition,
    Conflict,
    Delete,
    Files,
    Insert,
    Publish,
    Query,
    Record,
    Records,
    Remove,
    Request,
    StorageFull,
    Trigger,
    Update,
    Value,
    Write,
    how_many,
    split_path,
)

# ==== 1. PROPERTIES ==============================================================================================
# A row for each file and folder that has some, in the state provider. `at` is its path with the provider's name before it,
# and `folder` that of the folder it is in. Values are XML elements as text, by {namespace}name.
# uses: ERRORS VALUES CONTRACTS
# defines: TABLE WINDOWS_TIME MOST_CHARACTERS of_place in_folder store check_room

TABLE = "_properties"
WINDOWS_TIME = "{urn:schemas-microsoft-com:}Win32LastModifiedTime"  # of the bytes, so it is good as long as they are
MOST_CHARACTERS = 65_536  # names and values of one file
_AT_ONCE = 80  # writes of a commit
_TRIES = 8


def _at(provider: str, path: str) -> str:
    return f"{provider}/{path}"


def _key(at: str) -> str:
    return hashlib.sha256(at.encode()).hexdigest()


def _row(provider: str, path: str, properties: Mapping[str, str]) -> Value:
    at = _at(provider, path)
    return {"at": at, "folder": at.rpartition("/")[0] if path else "", "properties": dict(properties)}


def _properties(row: Record | None) -> dict[str, str]:
    return dict(row.value["properties"]) if row and not row.damage else {}


def of_place(state: Records, provider: str, path: str) -> dict[str, str]:
    """The properties of one file or folder."""
    return _properties(state.get(TABLE, _key(_at(provider, path))))


def in_folder(state: Records, provider: str, folder: str) -> dict[str, dict[str, str]]:
    """Those of what is in a folder, by path."""
    at = _at(provider, folder).removesuffix("/")
    rows = state.walk(Query(TABLE, (Condition("folder", "eq", at),)))
    return {row.value["at"].partition("/")[2]: _properties(row) for row in rows if not row.damage}


def _tree(state: Records, provider: str, path: str) -> Iterator[Record]:
    """The rows of a place and of all below it."""
    own = state.get(TABLE, _key(_at(provider, path)))
    if own and not own.damage:
        yield own
    begin = _at(provider, path).removesuffix("/") + "/"
    yield from (row for row in state.walk(Query(TABLE, (Condition("at", "prefix", begin),))) if not row.damage)


def store(
    state: Records, provider: str, path: str, patches: Sequence[tuple[str, str | None]], also: Sequence[Write] = ()
) -> None:
    """Sets properties, or removes those whose value is None, all or nothing, with other writes. Raises StorageFull if the
    file would have too much."""
    for _ in range(_TRIES):
        with suppress(Conflict):  # somebody else was faster
            return _stored(state, provider, path, patches, also)
    raise Busy("others set properties of this file: try again")


def check_room(state: Records, provider: str, path: str, patches: Sequence[tuple[str, str | None]]) -> None:
    """Raises StorageFull if store() would."""
    _patched(state.get(TABLE, _key(_at(provider, path))), patches)


def _patched(row: Record | None, patches: Sequence[tuple[str, str | None]]) -> dict[str, str]:
    """The properties of a row with these. Raises StorageFull if they are too much."""
    kept = _properties(row)
    for name, text in patches:
        kept.pop(name, None)
        if text is not None:
            kept[name] = text
    if (size := sum(len(name) + len(text) for name, text in kept.items())) > MOST_CHARACTERS:
        raise StorageFull(f"the properties of a file have {how_many(MOST_CHARACTERS, 'character')} at most; these {size:,}")
    return kept


def _stored(
    state: Records, provider: str, path: str, patches: Sequence[tuple[str, str | None]], also: Sequence[Write]
) -> None:
    key = _key(_at(provider, path))
    row = state.get(TABLE, key)
    kept = _patched(row, patches)
    value = _row(provider, path, kept)
    if row is None:
        state.commit([*([Insert(TABLE, key, value)] if kept else []), *also])
    else:
        state.commit([Update(TABLE, key, value, row.version) if kept else Delete(TABLE, key, row.version), *also])


# ==== 2. KEPT ====================================================================================================
# They go where their files go, whatever door a request came through: with a move or copy to the new place, and with what is
# deleted they are deleted. What another program does to a provider's files is not seen here.
# uses: ERRORS VALUES CONTRACTS RESOURCES PROPERTIES
# defines: Trigger:properties Properties

_Place = tuple[str, str]  # name of a provider, and path there


class Properties(Trigger):
    """Moves, copies and deletes properties with their files."""

    kind = "properties"
    site: Any

    def around(self, request: Request, caller: Caller, steps: Sequence[BlobStep]) -> AbstractContextManager[None]:
        if any(isinstance(step, Act | Remove) for step in steps):
            return self._following(request, steps)
        written = [step for step in steps if isinstance(step, Publish) and not step.blobs.keeps_times]
        return self._timeless(written) if written else nullcontext()

    @contextmanager
    def _timeless(self, steps: Sequence[Publish]) -> Iterator[None]:
        """Where files have the time at which they came, one that was noted of other bytes is forgotten with those."""
        yield
        with suppress(AppError):  # the file is there
            for step in steps:
                if WINDOWS_TIME in of_place(self.site.state, step.blobs.name, step.path):
                    store(self.site.state, step.blobs.name, step.path, [(WINDOWS_TIME, None)])

    @contextmanager
    def _following(self, request: Request, steps: Sequence[BlobStep]) -> Iterator[None]:
        yield
        with suppress(AppError):  # the files are where they are to be
            for step in steps:
                if isinstance(step, Remove):
                    self._put(list(_tree(self.site.state, step.blobs.name, step.path)), None, None)
            data = request.data if isinstance(request.data, dict) else {}
            if "folder" in data and (made := self._place(request.resource, [*request.path, str(data["folder"])])):
                self._put(list(_tree(self.site.state, *made)), None, None)  # of what it may have replaced
            goes = request.action == Action.DELETE or not data.keys().isdisjoint(("move", "copy"))
            if goes and any(isinstance(step, Act) for step in steps):
                self._follow(request, data)

    def _follow(self, request: Request, data: Value) -> None:
        """What a request that moves, copies or deletes a place does to the rows of it."""
        if (source := self._place(request.resource, request.path)) is None:
            return
        rows, meant = list(_tree(self.site.state, *source)), data.get("move") or data.get("copy")
        target = None
        if isinstance(meant, str):
            kind, name, *path = split_path(meant.strip("/"))
            if (target := self._place(f"{kind}/{name}", path)) is None:
                return
            self._put(list(_tree(self.site.state, *target)), None, None)
        self._put(rows, source, target, keeps="copy" in data)

    def _place(self, address: str, path: Sequence[str]) -> _Place | None:
        share = self.site.resources.get(address)
        parts = [part for part in path if part]
        if not isinstance(share, Files) or not parts:
            return None
        return share.blobs.name, share.path_of(parts)

    def _put(self, rows: Sequence[Record], source: _Place | None, target: _Place | None, *, keeps: bool = False) -> None:
        """Deletes these rows unless it `keeps` them, and writes them below the target in place of the source."""
        writes: list[Write] = [] if keeps else [Delete(TABLE, row.key) for row in rows]
        if source and target:
            begin = len(_at(*source))
            for row in rows:
                value = _row(target[0], target[1] + row.value["at"][begin:], row.value["properties"])
                writes.append(Update(TABLE, _key(value["at"]), value))
        for start in range(0, len(writes), _AT_ONCE):
            with suppress(Conflict):  # somebody else deleted it
                self.site.state.commit(writes[start : start + _AT_ONCE])
