"""What is asked of a share's trash and of versions of its files: lists, bytes, and what brings them back or ends them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, suppress
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import app
from app import (
    Act,
    Action,
    AppError,
    BadRequest,
    Blob,
    Caller,
    Column,
    Conflict,
    Content,
    Exists,
    Fault,
    Files,
    Invalid,
    Json,
    NotFound,
    Plan,
    Publish,
    Request,
    Response,
    Scope,
    Value,
    check_path,
    encode_cursor,
    nearest,
    no_params,
    page_bounds,
    paged,
    plan_of,
    rfc3339,
    split_path,
    text_cursor,
)

if TYPE_CHECKING:
    from plugins import big_folders, file_moves, file_trees, kept_files
    from plugins.kept_files import Kept
else:
    file_moves, file_trees, kept_files = (app.plugin(name) for name in ("file_moves", "file_trees", "kept_files"))
    big_folders = app.plugin("big_folders")
    Kept = kept_files.Kept

# ==== 1. SEEN ====================================================================================================
# Whoever may both read and delete what is at a path sees what was deleted there; whoever may read a file sees its versions.
# uses: ERRORS VALUES CONTRACTS RESOURCES plugin:big_folders plugin:file_trees plugin:kept_files plugin:kept_pages
# defines: inner_of address_of read thrown version_of

_TRASH = (
    Column("id"), Column("name"), Column("path"), Column("type"), Column("size_bytes", type="integer"),
    Column("modified_at", format="date-time"), Column("deleted_at", format="date-time"), Column("deleted_by"),
    Column("address"), Column("files", type="integer"), Column("folders", type="integer"),
)  # fmt: skip
_VERSIONS = (
    Column("id"), Column("size_bytes", type="integer"), Column("modified_at", format="date-time"),
    Column("replaced_at", format="date-time"), Column("replaced_by"), Column("address"),
)  # fmt: skip
_PAGE_SIZE = 100  # rows of a page for people
_MOST_LOOKED_AT = 20_000  # rows of a trash for one page


def inner_of(share: Files, one: Kept) -> str:
    """The path of a kept file in its share."""
    return one.path[len(share.root) + 1 :] if share.root else one.path


def address_of(share: Files, one: Kept) -> str:
    return str(file_trees.address_of(share.name, inner_of(share, one).split("/")))


def _is_seen(share: Files, one: Kept, caller: Caller) -> bool:
    """Whether a caller sees what was deleted; a folder only who sees all that is in it."""
    address = address_of(share, one)
    if not one.is_good or not caller.may(Action.READ, address) or not caller.may(Action.DELETE, address):
        return False
    return not one.folders or all(big_folders.covers_below(caller, may, address) for may in (Action.READ, Action.DELETE))


def read(share: Files, request: Request, scope: Scope, path: str, parts: Sequence[str]) -> Plan:
    """The answer to `?_trash=1` of a folder, `?_versions=1` or `?_version=ID` of a file."""
    if "_version" in request.params:
        return _version(share, request, path, parts)
    if "_versions" in request.params:
        return _versions(share, request, path, parts)
    no_params(request, ("_trash", "_size", "_next", "_for"))
    _need_one(request, "_trash")
    after = text_cursor(request.params.get("_next", ""))
    size = page_bounds(request.params, default=_PAGE_SIZE if request.page else 1000)
    if after and not after.startswith(f"{kept_files.TRASH}:{share.name}:"):
        raise BadRequest("_next is not a cursor of this list: use the one from its answer, unchanged")
    items = list(islice(thrown(share, path, scope.caller, after), size + 1))
    following = encode_cursor(items[size - 1].key) if len(items) > size else None
    if request.page:
        act = partial(app.plugin("kept_pages").trash, share, parts, items[:size], following)
        return plan_of(Response(page={"act": act}))
    rows = [_trash_row(share, one) for one in items[:size]]
    return plan_of(Response(table=paged(_TRASH, rows, following)))


def _need_one(request: Request, name: str) -> None:
    if request.params[name] != "1":
        raise BadRequest(f"{name} must be 1")


def thrown(share: Files, path: str, caller: Caller, after: str = "") -> Iterator[Kept]:
    """What a caller sees in the trash of what was below a folder, the newest first."""
    below = f"{path}/" if path else ""
    found = kept_files.rows_of(kept_files.state_of(share), f"{kept_files.TRASH}:{share.name}", after=after)
    for one in islice(found, _MOST_LOOKED_AT):
        if f"{one.path}/".startswith(below) and _is_seen(share, one, caller):
            yield one


def _trash_row(share: Files, one: Kept) -> Value:
    inner = inner_of(share, one)
    return {
        "id": one.id, "name": inner.rpartition("/")[2], "path": inner, "type": "folder" if one.folders else "file",
        "size_bytes": one.size_bytes, "modified_at": None if one.folders else rfc3339(one.modified_at),
        "deleted_at": rfc3339(one.at), "deleted_by": one.by, "address": f"files/{share.name}/{quote(inner)}",
        "files": one.files if one.folders else None, "folders": one.folders or None,
    }  # fmt: skip


def _versions(share: Files, request: Request, path: str, parts: Sequence[str]) -> Plan:
    no_params(request, ("_versions", "_for"))
    _need_one(request, "_versions")
    found, blob = kept_files.versions_of(share, path), share.blobs.stat(path)
    if not parts or (blob is None and not found):
        raise NotFound(f"{request.address} does not exist")
    if request.page:
        return plan_of(Response(page={"act": partial(app.plugin("kept_pages").versions, share, parts, blob, found)}))
    rows = [_version_row(share, one) for one in found]
    return plan_of(Response(table=paged(_VERSIONS, rows, None)))


def _version_row(share: Files, one: Kept) -> Value:
    return {
        "id": one.id, "size_bytes": one.size_bytes, "modified_at": rfc3339(one.modified_at),
        "replaced_at": rfc3339(one.at), "replaced_by": one.by,
        "address": f"files/{share.name}/{quote(inner_of(share, one))}?_version={one.id}",
    }  # fmt: skip


def version_of(share: Files, path: str, id_: str) -> Kept:
    for one in kept_files.versions_of(share, path):
        if one.id == id_:
            return one
    raise NotFound(f"there is no version {id_[:60]} of it")


def _version(share: Files, request: Request, path: str, parts: Sequence[str]) -> Plan:
    """The bytes of a former version, as a file is answered."""
    no_params(request, ("_version",))
    one = version_of(share, path, request.params["_version"])
    blob = share.blobs.stat(one.kept)
    if blob is None:
        raise NotFound(f"the version {one.id} is gone")
    blob = blob._replace(modified_at=one.modified_at)
    return plan_of(Response(content=Content(blob, parts[-1], partial(share.reader, blob)), etag=blob.etag))


# ==== 2. DONE ====================================================================================================
# A file comes back to its path or to another one of its share, or is ended for good.
# uses: ERRORS VALUES CONFIG CONTRACTS RESOURCES SEEN plugin:big_folders plugin:file_kinds plugin:file_moves
#       plugin:file_trees plugin:kept_files plugin:kept_pages
# defines: restored purged all_thrown seen_in_trash ended

_MOST_ENDED = 5000  # files of one request


def _members(request: Request, verb: str, *others: str) -> Mapping[str, Json]:
    """The body of a request. Raises Invalid for what is not to be in it."""
    sent: Mapping[str, Json] = request.data
    faults = [
        Fault(app.member_pointer("", name), "unknown", f"is unknown here{nearest(name, (verb, *others))}")
        for name in sent
        if name not in (verb, *others)
    ]
    if not isinstance(sent[verb], str) or not sent[verb]:
        faults.append(Fault(f"/{verb}", "type", "must be the id of a kept file"))
    if not isinstance(sent.get("overwrite", False), bool):
        faults.append(Fault("/overwrite", "type", "must be true or false"))
    if faults:
        raise Invalid(f"the data for {request.address} is not valid", faults=faults)
    return sent


def restored(share: Files, request: Request, scope: Scope) -> Plan:
    """The plan of `{"restore": ID}`: of a version at the address of its file, else of something in the trash."""
    sent = _members(request, "restore", "to", "overwrite")
    one = kept_files.in_trash(share, sent["restore"])
    if one is None or not _is_seen(share, one, scope.caller):
        return _restored_version(share, request, scope, sent)
    parts = _target(share, sent["to"]) if "to" in sent else tuple(inner_of(share, one).split("/"))
    if one.folders:
        return big_folders.restored(share, one, parts, scope, overwrite=sent.get("overwrite", False))
    address, path = str(file_trees.address_of(share.name, parts)), share.place(check_path(parts, is_there="to" not in sent))
    present = share.blobs.stat(path)
    overwrite = sent.get("overwrite", False)
    if not (present and overwrite):
        scope.caller.require(Action.CREATE, address)
    if present is None and share.is_folder(path):
        refusal = Conflict if overwrite else Exists
        raise refusal(f"{address} is a folder, which no file replaces")
    if present and not overwrite:
        raise Exists(f'{address} exists: send "overwrite": true, or another place as "to"')
    if present:
        scope.caller.require(Action.UPDATE, address)
    if parts[-1] != one.path.rpartition("/")[2]:
        share.check_name(parts[-1])
        if kept := share.blobs.stat(one.kept):
            app.plugin("file_kinds").check_blob(share.config.accept, parts[-1], share.blobs, kept)
    keeping = kept_files.overwriting(share, [present] if present else [], scope)
    replaced = present.size_bytes if present else 0
    places = [(share.blobs, one.kept, -one.size_bytes), (share.blobs, path, one.size_bytes - replaced)]
    act = Act(
        partial(_back, share, one, path, present, keeping), [*places, *(keeping.places if keeping else ())], {"to": address}
    )
    return Plan(respond=lambda blobs: _answer(share, blobs[0], created=present is None), steps=[act])


def _answer(share: Files, blob: Blob, *, created: bool) -> Response:
    data = share.entry(blob)
    return Response(data=data, created=created, location=data["address"], etag=blob.etag)


def _target(share: Files, text: Json) -> tuple[str, ...]:
    """The path that an address names in the share. Raises Invalid if it is in no or in another one."""
    kind, _, rest = (text if isinstance(text, str) else "").removeprefix("/").partition("/")
    name, *parts = split_path(rest) or ("",)
    if kind != "files" or name != share.name or not parts or not all(parts):
        detail = f"must be the address of a file in this share, such as files/{share.name}/new%20name"
        raise Invalid("the target is no place in the share", faults=[Fault("/to", "address", detail)])
    return tuple(parts)


def _back(share: Files, one: Kept, path: str, present: Blob | None, keeping: Any) -> Blob:
    """Moves a file out of the trash."""
    state, kept = kept_files.state_of(share), share.blobs.stat(one.kept)
    if kept is None:
        state.commit([one.delete()])
        raise NotFound(f"{one.id} is gone")
    state.commit([one.update(is_good=False)])  # the sweep finds out where it is, should this end in the middle
    try:
        if keeping:
            keeping.copy(path)
        carried = file_moves.Carried(kept, path, present)
        blob = file_moves.carry(share.blobs, share.blobs, carried, moves=True)
    except BaseException:
        with suppress(AppError):
            state.commit([one.update(is_good=True)])
        raise
    state.commit([one.delete()])
    if keeping:
        keeping.finish(path)
    return blob


def _restored_version(share: Files, request: Request, scope: Scope, sent: Mapping[str, Json]) -> Plan:
    """A former version becomes the file, which becomes a version itself."""
    if not request.path or request.path[-1] == "":
        raise NotFound(f"there is no {sent['restore'][:60]} in this trash")
    if "to" in sent:
        raise BadRequest("a version comes back at the address of its file: copy it to have it elsewhere")
    path, present = share.path_of(request.path), None
    one, present = version_of(share, path, sent["restore"]), share.blobs.stat(path)
    scope.caller.require(Action.READ, request.address)
    scope.caller.require(Action.UPDATE if present else Action.CREATE, request.address)
    blob = share.blobs.stat(one.kept)
    if blob is None:
        raise NotFound(f"the version {one.id} is gone")
    with closing(share.blobs.read(one.kept, if_match=blob.etag)) as chunks:
        staged = share.stage(chunks, path, blob.size_bytes)
    publish = Publish(share.blobs, staged, path, present.etag if present else None, present is None)
    steps = kept_files.replaced(share, present, publish, scope) if present and share.config.versions else [publish]
    created = present is None

    def respond(blobs: Sequence[Blob]) -> Response:
        [made] = [one for one in blobs if one.path]
        return _answer(share, made, created=created)

    return Plan(respond=respond, steps=steps, action=Action.CREATE if created else Action.UPDATE)


def purged(share: Files, request: Request, scope: Scope) -> Plan:
    """The plan of `{"purge": ID}` or, of all that was deleted below a folder, `{"purge": "all"}`."""
    sent = _members(request, "purge")
    if sent["purge"] == "all":
        path = file_trees.place_in(share, request.path).path
        return _end(share, all_thrown(share, path, scope.caller), in_all=True)
    return _end(share, [seen_in_trash(share, sent["purge"], scope.caller)])


def all_thrown(share: Files, path: str, caller: Caller) -> list[Kept]:
    """What emptying the trash of a folder ends."""
    return list(islice(thrown(share, path, caller), _MOST_ENDED))


def seen_in_trash(share: Files, id_: str, caller: Caller) -> Kept:
    one = kept_files.in_trash(share, id_)
    if one is None or not _is_seen(share, one, caller):
        raise NotFound(f"there is no {id_[:60]} in this trash")
    return one


def ended(share: Files, request: Request, scope: Scope) -> Plan:
    """The plan of DELETE with `_trash=ID` or `_version=ID`."""
    no_params(request, ("_trash", "_version"))
    if "_version" in request.params:
        scope.caller.require(Action.READ, request.address)
        path = share.path_of(request.path)
        return _end(share, [version_of(share, path, request.params["_version"])])
    return _end(share, [seen_in_trash(share, request.params["_trash"], scope.caller)])


def _end(share: Files, ones: list[Kept], *, in_all: bool = False) -> Plan:
    """Ends kept files, and of each that is nowhere else its versions."""
    gone = [one for one in ones if one.key.startswith(f"{kept_files.TRASH}:")]
    folders, ones = [one for one in ones if one.folders], [one for one in ones if not one.folders]
    paths = {one.path for one in gone if not one.folders}
    ones = [*ones, *(old for path in paths if not share.blobs.stat(path) for old in kept_files.versions_of(share, path))]
    told = {"purged": len(gone) or len(ones), "bytes": sum(one.size_bytes for one in (*ones, *folders))}
    response = Response(data=told) if in_all or gone else Response()
    steps = [big_folders.ended(share, folders)] if folders else []
    if not ones and not folders:
        return plan_of(response)

    def run() -> None:
        for one in ones:
            kept_files.end_of(share, one)

    act = Act(run, [(share.blobs, one.kept, -one.size_bytes) for one in ones], told)
    return Plan(respond=lambda blobs: response, steps=[act, *steps] if ones else steps, action=Action.DELETE)
