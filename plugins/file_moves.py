"""What a POST of JSON to a place in a share means: it is moved or copied, has another time, or a folder is made in it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext, suppress
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn
from urllib.parse import quote

import app
from app import (
    Act,
    Action,
    AppError,
    BadRequest,
    Blob,
    Blobs,
    Conditions,
    Conflict,
    Exists,
    Fault,
    Files,
    Folder,
    Invalid,
    Json,
    NotFound,
    Plan,
    PreconditionFailed,
    Request,
    Response,
    Scope,
    TooLarge,
    Unavailable,
    Unsupported,
    Value,
    as_stored,
    check_path,
    how_many,
    in_units,
    nearest,
    no_params,
    plan_of,
    rfc3339,
    split_path,
)

if TYPE_CHECKING:
    from plugins import file_trees, kept_files
    from plugins.file_trees import Place, Tree
else:
    file_trees, kept_files = app.plugin("file_trees"), app.plugin("kept_files")
    Place, Tree = file_trees.Place, file_trees.Tree
together = app.plugin("file_copies").together

# ==== 1. CARRIED =================================================================================================
# One file from place to place, within a provider or between two. Nothing is removed before it is at its new place.
# uses: ERRORS VALUES CONTRACTS
# defines: Carried carry found copied


class Carried(NamedTuple):
    """A file and where it goes in another place's provider; `present` is what it replaces there."""

    source: Blob
    path: str
    present: Blob | None


def carry(source: Blobs, target: Blobs, one: Carried, *, moves: bool) -> Blob:
    """The file at its new path. Raises NotFound if it is gone, Conflict if there is another one than `present`."""
    if source is target and not one.present:
        return source.move(one.source.path, one.path) if moves else source.copy(one.source.path, one.path)
    blob = found(source, one)
    made = copied(source, target, blob, one)
    if moves:
        try:
            source.remove(blob.path, if_match=blob.etag)
        except (NotFound, PreconditionFailed) as error:
            if one.present is None:
                target.remove(one.path, if_match=made.etag)
            raise error if isinstance(error, NotFound) else Conflict(f"{blob.path} was changed meanwhile") from error
    return made


def found(source: Blobs, one: Carried) -> Blob:
    """The file as it is: a listing may have told less. Raises NotFound if it is gone."""
    blob = source.stat(one.source.path)
    if blob is None:
        raise NotFound(f"{one.source.path} does not exist")
    return blob


def copied(source: Blobs, target: Blobs, blob: Blob, one: Carried) -> Blob:
    """The bytes of a file at its new path. Raises Conflict if there is another one than `present`."""
    try:
        with closing(source.read(blob.path, if_match=blob.etag)) as chunks:
            staged = target.stage(chunks, one.path)
    except PreconditionFailed as error:
        raise Conflict(f"{blob.path} was changed or removed meanwhile") from error
    staged = staged._replace(modified_at=blob.modified_at)
    wanted = one.present.etag if one.present else None
    try:
        return target.publish(staged, one.path, if_match=wanted, if_none_match=one.present is None)
    except BaseException as error:
        target.discard(staged)
        if isinstance(error, PreconditionFailed):
            raise Conflict(f"{one.path} was made or changed meanwhile") from error
        raise


# ==== 2. ASKED ===================================================================================================
# What is asked for, and whether all of it may be done, entry by entry, before anything is.
# uses: ERRORS VALUES CONFIG CONTRACTS RESOURCES CARRIED plugin:file_kinds plugin:file_trees plugin:uploads
# defines: Wish


class Wish(NamedTuple):
    """What is to be done with the file or folder at `source`."""

    request: Request
    scope: Scope
    source: Place
    target: Place
    moves: bool
    overwrite: bool
    clears: bool = False  # nothing of what is at the target is there any more when this is done
    next: str = ""  # where the step before this one has ended
    aside: Any = None  # what is at the target then, if no trash has it (plugins/put_aside.py)

    @property
    def takes(self) -> Action:
        """What one must be allowed to do with what is moved or copied."""
        return Action.DELETE if self.moves else Action.READ


def _invalid(request: Request, *faults: Fault) -> Invalid:
    return Invalid(f"the data for {request.address} is not valid", faults=list(faults))


def _members(request: Request, verb: str, *others: str) -> tuple[str, Mapping[str, Json]]:
    """The text that a wish is about, and the body. Raises Invalid for a text that is none, and for unknown members."""
    sent: Mapping[str, Json] = request.data
    known = (verb, *others)
    faults = [
        Fault(app.member_pointer("", n), "unknown", f"is unknown here{nearest(n, known)}") for n in sent if n not in known
    ]
    text = sent[verb]
    if not isinstance(text, str) or not text:
        faults.append(Fault(f"/{verb}", "type", "must be a text"))
    if faults:
        raise _invalid(request, *faults)
    return str(text), sent


def _next(request: Request, sent: Mapping[str, Json]) -> str:
    """Where the step before has ended; "" for the first one."""
    text = sent.get("next", "")
    if not isinstance(text, str):
        raise _invalid(request, Fault("/next", "type", "must be a text, from the answer to the step before"))
    return text


def _overwrites(request: Request, sent: Mapping[str, Json]) -> bool:
    given = sent.get("overwrite", False)
    if not request.typed:
        return given in ("1", "true", "on")
    if not isinstance(given, bool):
        raise _invalid(request, Fault("/overwrite", "type", "must be true or false"))
    return given


def _target(share: Files, text: str, verb: str, scope: Scope, overwrite: bool) -> Place:
    """The place that an address names. Nothing is said of it to whoever may not write there."""
    kind, _, rest = text.removeprefix("/").partition("/")
    name, *parts = split_path(rest) or ("",)
    parts = parts[:-1] if parts[-1:] == [""] else parts
    if kind != "files" or not name or not parts:
        fault = Fault(f"/{verb}", "address", "must be the address of a place in a share, such as files/docs/new%20name")
        raise Invalid("the target is no place in a share", faults=[fault])
    check_path((name,))
    check_path(parts, is_there=True)
    address = file_trees.address_of(name, parts)
    if not (overwrite and scope.caller.may(Action.UPDATE, address)):
        scope.caller.require(Action.CREATE, address)
    found = share if name == share.name else share.others.get(f"files/{name}")
    if not isinstance(found, Files):
        raise NotFound(f"there is no files/{name}")
    try:
        found.blobs.stat(found.path_of(parts))
    except Unavailable:
        found.blobs.open()  # when the program started, it was away
    return Place(found, tuple(parts), found.path_of(parts))


def _check_apart(wish: Wish) -> None:
    """Raises Conflict if one of the two places is the other one, or is in it."""
    source, target = wish.source, wish.target
    if source.blobs is not target.blobs:
        return
    if source.path == target.path:
        raise Conflict(f"{source.address()} is there already")
    if f"{target.path}/".startswith(f"{source.path}/" if source.path else ""):
        raise Conflict(f"{target.address()} is inside {source.address()}, which cannot be put into itself")
    if f"{source.path}/".startswith(f"{target.path}/"):
        raise Conflict(f"{source.address()} is inside {target.address()}, which it cannot replace")


def _check_readable(wish: Wish, inner: str = "") -> None:
    """Raises Forbidden if a move would show its mover what he may not read where it is."""
    if wish.moves and wish.scope.caller.may(Action.READ, wish.target.address(inner)):
        wish.scope.caller.require(Action.READ, wish.source.address(inner))


def _present(wish: Wish, path: str, address: str) -> Blob | None:
    """What a file replaces at a path of the target's provider. Raises Exists or Forbidden if it may not."""
    present = None if wish.clears else wish.target.blobs.stat(path)
    if present is None and not wish.clears and app.plugin("uploads").has_folder(wish.target.share, path):
        refusal = Conflict if wish.overwrite else Exists
        raise refusal(f"{address} is a folder, which no file replaces")
    if present and not wish.overwrite:
        raise Exists(f"{address} exists")
    wish.scope.caller.require(Action.UPDATE if present else Action.CREATE, address)
    return present


def _check_taken(wish: Wish, blob: Blob, name: str, address: str) -> None:
    """Raises what keeps a file out of the target's share, unless it is in that and keeps its name."""
    share = wish.target.share
    stays = wish.moves and wish.source.share.name == share.name
    if not stays or blob.path.rpartition("/")[2] != name:
        share.check_name(name)
    if not stays and blob.size_bytes > share.config.max_file_bytes:
        most = in_units(share.config.max_file_bytes)
        raise TooLarge(f"{address} would have {in_units(blob.size_bytes)}; at most {most} are taken there")
    if not stays or blob.path.rpartition("/")[2] != name:
        app.plugin("file_kinds").check_blob(share.config.accept, name, wish.source.blobs, blob)


# ==== 3. FILES ===================================================================================================
# One file is moved or copied.
# uses: ERRORS VALUES CONTRACTS CARRIED ASKED plugin:file_times plugin:file_trees plugin:kept_files
# defines: follow told_of answer


def _of_file(wish: Wish, blob: Blob) -> Plan:
    _check_etag(wish.request.conditions, blob.etag)
    app.plugin("file_times").check_unmodified(wish.request.conditions, blob.modified_at)
    address = wish.target.address()
    if wish.scope.again and not wish.overwrite and _is_same(wish, blob):
        wish = wish._replace(overwrite=True)  # by the bytes that the first try has put there
    present = _present(wish, wish.target.path, address)
    _check_taken(wish, blob, wish.target.parts[-1], address)
    one, told = Carried(blob, wish.target.path, present), told_of(wish) | {"files": 1, "bytes": blob.size_bytes}
    keeping = kept_files.overwriting(wish.target.share, [present] if present else [], wish.scope)
    places = [*_places(wish, [one]), *(keeping.places if keeping else ())]
    act = Act(partial(_carry_file, wish, one, keeping), places, told)
    return Plan(respond=lambda blobs: answer(wish.target, blobs[-1], present is None), steps=[act])


def _carry_file(wish: Wish, one: Carried, keeping: Any) -> Blob:
    if keeping:
        keeping.copy(one.path)
    blob = carry(wish.source.blobs, wish.target.blobs, one, moves=wish.moves)
    if keeping:
        keeping.finish(one.path)
    follow(wish, one)
    return blob


def follow(wish: Wish, one: Carried) -> None:
    """Lets the versions of a file that was moved in its share go with it."""
    if wish.moves and wish.source.share is wish.target.share:
        with suppress(AppError):  # it is moved, whatever becomes of them
            kept_files.followed(wish.source.share, one.source.path, one.path)


def _check_etag(conditions: Conditions, etag: str | None) -> None:
    """Raises PreconditionFailed if the source is not what If-Match names, or is what If-None-Match names; None is the etag
    of a folder."""
    if conditions.if_match and not conditions.name(conditions.if_match, etag):
        raise PreconditionFailed("it is no longer what If-Match names: get it again")
    if conditions.name(conditions.if_none_match, etag):
        raise PreconditionFailed("it is what If-None-Match names")


def _is_same(wish: Wish, blob: Blob) -> bool:
    """Whether a file with the same bytes is at the target."""
    there = wish.target.blobs.stat(wish.target.path)
    if there is None or there.size_bytes != blob.size_bytes:
        return False
    return _sha256(wish.source.blobs, blob) == _sha256(wish.target.blobs, there)


def _sha256(blobs: Blobs, blob: Blob) -> str:
    digest = hashlib.sha256()
    with closing(blobs.read(blob.path, if_match=blob.etag)) as chunks:
        for chunk in chunks:
            digest.update(chunk)
    return digest.hexdigest()


def told_of(wish: Wish) -> Value:
    """What the audit entries say."""
    return {"from" if wish.moves else "copied_from": wish.source.address(), "to": wish.target.address()}


def _places(wish: Wish, ones: Sequence[Carried]) -> Iterator[tuple[Blobs, str, int]]:
    """What is touched, and how many bytes it has more afterwards."""
    for one in ones:
        replaced = one.present.size_bytes if one.present else 0
        yield wish.target.blobs, one.path, one.source.size_bytes - replaced
        if wish.moves:
            yield wish.source.blobs, one.source.path, -one.source.size_bytes


def answer(target: Place, entry: Blob | Folder, created: bool, **facts: Json) -> Response:
    data = target.share.entry(entry) | facts
    return Response(data=data, created=created, location=data["address"], etag=entry.etag if isinstance(entry, Blob) else "")


# ==== 4. FOLDERS =================================================================================================
# A folder is moved or copied with all that is in it. If that fails in the middle, what was done is undone, as long as
# nothing was replaced or removed by it; a folder that is there already takes the files in with `overwrite`.
# uses: ERRORS VALUES CONTRACTS RESOURCES CARRIED ASKED FILES plugin:big_folders plugin:file_trees plugin:kept_files
# defines: refuse_empty looked_over folder_looked_over make_folder


def _of_folder(wish: Wish) -> Plan:
    target, address = wish.target, wish.target.address()
    _check_etag(wish.request.conditions, None)
    if not wish.clears:
        _check_no_file(target, refusal=Conflict if wish.overwrite else Exists)
    is_there = not wish.clears and target.share.is_folder(target.path)
    if is_there and not (wish.overwrite or wish.scope.again or wish.next):
        detail = 'exists: with "overwrite": true its files are replaced by those of the same names'
        raise Exists(f"{address} {detail}")
    if not is_there:
        wish.scope.caller.require(Action.CREATE, address)
    try:
        tree = None if wish.next else file_trees.tree_of(wish.source)
    except file_trees.TooMany:
        tree = None
    if tree is None:
        return app.plugin("big_folders").carried(wish, is_there=is_there)  # type: ignore[no-any-return]
    if not target.blobs.makes_folders and _lacks_files(wish.source, tree):
        refuse_empty(wish)
    ones = [looked_over(wish, blob, is_there) for blob in tree.files]
    folders = [folder_looked_over(wish, path) for path in tree.folders]
    told = told_of(wish) | tree.told()
    ends = [(one.blobs, one.path, 0) for one in ((wish.source, target) if wish.moves else (target,))]
    keeping = kept_files.overwriting(target.share, [one.present for one in ones if one.present], wish.scope)
    places = [*ends, *_places(wish, ones), *(keeping.places if keeping else ())]
    work = partial(_carry_all, wish, tree, folders, ones, told, keeping)
    act = Act(work if is_there else partial(_renamed_or, wish, ones, work), places, told)
    return Plan(respond=lambda blobs: answer(target, Folder(target.path), not is_there, **tree.told()), steps=[act])


def _check_no_file(target: Place, inner: str = "", refusal: type[Conflict] = Conflict) -> None:
    """Raises Conflict, or a kind of it, if a file is where a folder is to be."""
    if target.blobs.stat(f"{target.path}/{inner}" if inner else target.path):
        raise refusal(f"{target.address(inner)} is a file, which no folder replaces")


def refuse_empty(wish: Wish) -> NoReturn:
    """Raises Unsupported: a folder without files has no place in the target's provider."""
    where = f"files/{wish.target.share.name}"
    raise Unsupported(f"{wish.source.address()} has an empty folder, which cannot be kept where {where} is")


def _lacks_files(place: Place, tree: Tree) -> bool:
    """Whether one of the folders is empty."""
    paths = [*tree.folders, *[blob.path for blob in tree.files]]
    return not {place.path, *tree.folders} <= {path.rpartition("/")[0] for path in paths}


def _goes(wish: Wish, inner: str) -> None:
    """Raises Forbidden if the caller may not take what is at this path below the source."""
    wish.scope.caller.require(wish.takes, wish.source.address(inner))
    _check_readable(wish, inner)


def _moved_path(wish: Wish, path: str) -> tuple[str, str]:
    """The path below both places, and the one in the target's provider, of what is at a path of the source."""
    inner = wish.source.inner(path)
    check_path((*wish.target.parts, *inner.split("/")), is_there=True)
    return inner, f"{wish.target.path}/{inner}"


def looked_over(wish: Wish, blob: Blob, is_there: bool) -> Carried:
    """A file of a folder, if it may be moved or copied."""
    inner, path = _moved_path(wish, blob.path)
    address, present = wish.target.address(inner), None
    _goes(wish, inner)
    if is_there:
        path = as_stored(wish.target.blobs, path)
        present = _present(_merging(wish, blob, path), path, address)
    else:
        wish.scope.caller.require(Action.CREATE, address)
    _check_taken(wish, blob, path.rpartition("/")[2], address)
    return Carried(blob, path, present)


def _merging(wish: Wish, blob: Blob, path: str) -> Wish:
    """The wish, where a repeat may find what its first try has left."""
    if wish.overwrite or not wish.scope.again:
        return wish
    one = wish._replace(source=wish.source._replace(path=blob.path), target=wish.target._replace(path=path))
    return wish._replace(overwrite=_is_same(one, blob))


def folder_looked_over(wish: Wish, path: str) -> str:
    """Where a folder goes, if it may."""
    inner, there = _moved_path(wish, path)
    _goes(wish, inner)
    if not wish.clears:
        _check_no_file(wish.target, inner)
    return there


def _renamed_or(wish: Wish, ones: Sequence[Carried], work: Callable[[], None]) -> None:
    """Moves a folder in one step where its provider can, within itself; otherwise the work is done."""
    rename = getattr(wish.source.blobs, "move_folder", None)
    if not wish.moves or wish.source.blobs is not wish.target.blobs or rename is None:
        work()
        return
    try:
        rename(wish.source.path, wish.target.path)
    except Unsupported:
        work()
    else:
        if wish.aside:
            wish.aside.is_replaced()
        for one in ones:
            follow(wish, one)


def _carry_all(wish: Wish, tree: Tree, folders: list[str], ones: list[Carried], told: Value, keeping: Any = None) -> None:
    """Does it. What fails in the middle is undone as far as it can be; the error says what was not."""
    undo: list[Callable[[], Any]] = []
    done: list[Carried] = []
    try:
        with nullcontext() if keeping else together(wish.target.blobs, wish.source.blobs):
            for path in (wish.target.path, *folders):
                make_folder(wish.target.blobs, path, undo)
            for one in ones:
                with suppress(NotFound):  # somebody else was faster
                    if keeping and one.present:
                        keeping.copy(one.path)
                    done.append(_carry_one(wish, one, undo))
                    if keeping and one.present:
                        keeping.finish(one.path)
        if ones and not done:
            raise NotFound(f"{wish.source.address()} does not exist")
    except BaseException as error:
        left = _undone(undo) + sum(one.present is not None for one in done)
        told["files"] = left
        if isinstance(error, AppError) and left:
            _say(error, f"{left} of {how_many(len(ones), 'file')} are at the new place by now")
        raise
    told |= {"files": len(done), "bytes": sum(one.source.size_bytes for one in done)}
    if wish.aside:
        wish.aside.is_replaced()
    if wish.moves:
        _leave(wish, tree, done)
        for one in done:
            follow(wish, one)


def _say(error: AppError, done: str) -> None:
    """Has an error say what was done before it, and how to go on."""
    error.message = f'{error.message} ({done}: send the same with "overwrite": true to go on)'


def make_folder(blobs: Blobs, path: str, undo: list[Callable[[], Any]]) -> None:
    """Makes a folder unless it is there; it stays when it is empty, as whatever is named by people does."""
    if not blobs.makes_folders or blobs.is_folder(path):
        return
    try:
        blobs.make_folder(path)
    except Conflict:
        if not blobs.is_folder(path):
            raise
    else:
        undo.append(partial(blobs.remove_folder, path))


def _carry_one(wish: Wish, one: Carried, undo: list[Callable[[], Any]]) -> Carried:
    """Puts a file to its new place, and notes how that is undone. Between providers it stays at the old place, too, and
    so it does where it comes in the place of what was put aside."""
    source, target = wish.source.blobs, wish.target.blobs
    goes = wish.moves and not wish.aside
    if source is target and not one.present:
        made = carry(source, target, one, moves=goes)
        back = partial(source.move, one.path, one.source.path)
        undo.append(back if goes else partial(target.remove, one.path, if_match=made.etag))
        return one
    blob = found(source, one)
    made = copied(source, target, blob, one)
    if one.present is None:
        undo.append(partial(target.remove, one.path, if_match=made.etag))
    return one._replace(source=blob)


def _undone(undo: list[Callable[[], Any]]) -> int:
    """Undoes what was done, the last first; returns how much could not be. A provider that is away is asked once."""
    failed = 0
    while undo:
        try:
            undo.pop()()
        except Unavailable:
            return failed + len(undo) + 1
        except AppError:  # somebody has changed it meanwhile, and keeps it
            failed += 1
    return failed


def _leave(wish: Wish, tree: Tree, done: Sequence[Carried]) -> None:
    """Removes what is at its new place from the old one."""
    source, left = wish.source.blobs, 0
    try:
        with together(source):
            for number, one in enumerate(done):
                left = len(done) - number
                if source is not wish.target.blobs or one.present or wish.aside:
                    with suppress(NotFound):  # somebody else was faster
                        source.remove(one.source.path, if_match=one.source.etag)
    except AppError as error:
        _say(error, f"all is at {wish.target.address()}, and {how_many(left, 'file')} at the old place too")
        raise
    file_trees.emptied(wish.source, tree)


# ==== 5. WISHES =================================================================================================
# What can be asked for: a move, a copy, a new folder, and another time for a file.
# uses: ERRORS VALUES CONTRACTS RESOURCES CARRIED ASKED FILES FOLDERS plugin:file_times plugin:file_trees
#       plugin:kept_asked plugin:put_aside
# defines: clearing VERBS plan

_CLEARING: ContextVar[bool] = ContextVar("all that is at the target is replaced", default=False)


@contextmanager
def clearing() -> Iterator[None]:
    """A move or copy in the block replaces what is at its target, a folder with all that is in it (RFC 4918, 9.8.4)."""
    before = _CLEARING.set(True)
    try:
        yield
    finally:
        _CLEARING.reset(before)


def _transferred(verb: str, share: Files, request: Request, scope: Scope) -> Plan:
    """The plan of a move or copy."""
    text, sent = _members(request, verb, "overwrite", "next")
    source, overwrite, moves = file_trees.place_in(share, request.path), _overwrites(request, sent), verb == "move"
    scope.caller.require(Action.DELETE if moves else Action.READ, source.address())
    target = _target(share, text, verb, scope, overwrite)
    wish = Wish(request, scope, source, target, moves, overwrite, _CLEARING.get(), _next(request, sent))
    if wish.next:  # which may be done for the second time
        wish = wish._replace(scope=scope._replace(again=True))
    if moves and not source.parts:
        raise BadRequest(f"files/{share.name} is a share, which is not moved: name a file or folder in it")
    blob = share.blobs.stat(source.path) if source.parts and request.path[-1] != "" else None
    if blob is None and not share.is_folder(source.path):
        if scope.again and moves and (there := _moved_before(target)):
            return plan_of(answer(target, there, True))
        if source.parts and request.path[-1] == "":
            file_trees.need_lists(share)
        raise NotFound(f"{request.address} does not exist")
    _check_apart(wish)
    _check_readable(wish)
    if blob and wish.next:
        raise BadRequest("next is about a folder, and this is a file")
    if wish.clears:
        wish = wish._replace(aside=_aside(target, scope))
    plan = _of_file(wish, blob) if blob else _of_folder(wish)
    return _clearing(wish.aside, target, request, scope, plan) if wish.clears else plan


def _moved_before(target: Place) -> Blob | Folder | None:
    """What a first try may have put there."""
    found = target.blobs.stat(target.path)
    return found or (Folder(target.path) if target.share.is_folder(target.path) else None)


def _aside(target: Place, scope: Scope) -> Any:
    """What is at a target, to be put aside; None if there is a trash, to which it goes."""
    return None if target.share.config.trash_s else app.plugin("put_aside").Aside(target, scope)


def _clearing(aside: Any, target: Place, request: Request, scope: Scope, plan: Plan) -> Plan:
    """The plan of a wish, with what is at its target replaced: both are known to be allowed before either is done."""
    if aside:
        return aside.around(plan)  # type: ignore[no-any-return]
    told = next(step.told for step in plan.steps if isinstance(step, Act))
    scope.caller.require(Action.DELETE, target.address())
    resource = f"files/{quote(target.share.name, safe='')}"
    wanted = Request(request.id, Action.DELETE, resource, target.parts, request.door, {file_trees.TREE: "1"})
    gone = file_trees.without_tree(target.share, wanted, scope)
    steps = [step._replace(told=told) if isinstance(step, Act) else step for step in gone.steps]
    return plan._replace(steps=[*steps, *plan.steps])


def _made_folder(share: Files, request: Request, scope: Scope) -> Plan:
    name, _ = _members(request, "folder")
    folder = file_trees.place_in(share, request.path)
    place = file_trees.place_in(share, (*folder.parts, name))
    scope.caller.require(Action.CREATE, place.address())
    if not place.blobs.makes_folders:
        raise Unsupported(f"files/{share.name} cannot keep empty folders: one is there as soon as a file is in it")
    if folder.parts and not share.is_folder(folder.path):
        raise NotFound(f"{folder.address()} is no folder")
    clears = _CLEARING.get()
    is_there = share.is_folder(place.path) and not clears
    if (is_there and not scope.again) or (share.blobs.stat(place.path) and not clears):
        raise Exists(f"{place.address()} exists")
    response = answer(place, Folder(place.path), True)
    if is_there:
        return plan_of(response)
    act = Act(partial(place.blobs.make_folder, place.path), [(place.blobs, place.path, 0)], {"folder": place.address()})
    plan = Plan(respond=lambda blobs: response, steps=[act])
    return _clearing(_aside(place, scope), place, request, scope, plan) if clears else plan


def _retimed(share: Files, request: Request, scope: Scope) -> Plan:
    text, _ = _members(request, "modified_at")
    blob = share.blobs.stat(share.path_of(request.path)) if request.path and request.path[-1] != "" else None
    scope.caller.require(Action.UPDATE, request.address)
    if blob is None:
        raise NotFound(f"{request.address} is no file")
    _check_etag(request.conditions, blob.etag)
    app.plugin("file_times").check_unmodified(request.conditions, blob.modified_at)
    at = app.plugin("file_times").moment(text)
    if at is None:
        detail = "must be a date-time since 1970, such as 2026-01-31T08:00:00Z"
        raise _invalid(request, Fault("/modified_at", "format", detail))
    if not share.blobs.keeps_times:
        raise Unsupported(f"files/{share.name} is where files have the time at which they came, and keep no other")
    run = partial(app.plugin("file_times").set_time, share.blobs, blob, at)
    act = Act(run, [(share.blobs, blob.path, 0)], {"modified_at": rfc3339(at)})
    place = Place(share, request.path, blob.path)
    return Plan(respond=lambda blobs: answer(place, blobs[-1], False), steps=[act], action=Action.UPDATE)


VERBS: Mapping[str, Callable[[Files, Request, Scope], Plan]] = {
    "move": partial(_transferred, "move"),
    "copy": partial(_transferred, "copy"),
    "folder": _made_folder,
    "modified_at": _retimed,
    "restore": lambda *asked: app.plugin("kept_asked").restored(*asked),
    "purge": lambda *asked: app.plugin("kept_asked").purged(*asked),
}


_BODY = f'the body must have one of {", ".join(VERBS)}, such as {{"move": "files/share/new name"}}'


def plan(share: Files, request: Request, scope: Scope) -> Plan:
    """The plan of a request with data. Raises BadRequest or Invalid if that is no wish."""
    no_params(request)
    sent = request.data
    verb = [one for one in VERBS if one in sent] if isinstance(sent, dict) else []
    if len(verb) != 1 or not isinstance(sent, dict):
        raise BadRequest(_BODY)
    return VERBS[verb[0]](share, request._replace(data=sent), scope)
