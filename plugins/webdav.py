"""Shares as network drives: WebDAV (RFC 4918, classes 1 and 2) at /dav/SHARE/PATH, with a token as the password."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext, suppress
from datetime import datetime
from functools import lru_cache
from itertools import chain
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, cast
from urllib.parse import quote, urlsplit

import app
from app import (
    Action,
    Answer,
    App,
    AppError,
    Asked,
    BadRequest,
    Caller,
    Conflict,
    Exchange,
    Files,
    Forbidden,
    Host,
    HttpRunner,
    NotFound,
    PreconditionFailed,
    Request,
    Response,
    Route,
    SignInNeeded,
    StorageFull,
    Unauthenticated,
    Unsupported,
    UnsupportedAction,
    UnsupportedMedia,
    check_path,
    error_headers,
    log_fault,
    plugin,
    problem_answer,
    rfc3339,
    send_content,
    split_path,
)

if TYPE_CHECKING:
    from plugins import dav_conditions, dav_properties, dav_xml, locks
else:
    dav_conditions, dav_properties = app.plugin("dav_conditions"), app.plugin("dav_properties")
    dav_xml, locks = app.plugin("dav_xml"), app.plugin("locks")

# ==== 1. CALLS ===================================================================================================
# A request as the methods see it: who asks, for which place, and what is there. Everything that is read or written goes
# through the same requests as at every other door.
# uses: ERRORS VALUES CONTRACTS RUNNERS RESOURCES ASSEMBLY plugin:dav_conditions plugin:file_times plugin:locks
# defines: Place Node Call Unmet

_ROOT = "dav"
_MOST_LISTED = 10_000  # places in an answer to Depth: infinity
_LIST_SIZE = 1000
_SAFE = ("GET", "HEAD", "PROPFIND")
_ASCII = "".join(map(chr, range(128)))


class Place(NamedTuple):
    """A place in a share. Without a share it is the list of them."""

    share: str
    parts: tuple[str, ...] = ()

    @property
    def parent(self) -> Place:
        return Place(self.share, self.parts[:-1])


class Node(NamedTuple):
    """What is at a place. A folder has neither etag nor time; `problem` is why it cannot be looked at."""

    place: Place
    is_folder: bool
    size_bytes: int = 0
    modified_at: float | None = None
    etag: str | None = None
    problem: str = ""

    @property
    def name(self) -> str:
        return self.place.parts[-1] if self.place.parts else self.place.share


class Call:
    """One request, once its caller is known."""

    def __init__(self, exchange: Exchange, site: App, credential: str) -> None:
        self.exchange, self.site, self.credential = exchange, site, credential
        site.health.ensure_open(site.state)
        self.caller: Caller = site.authority.identify(credential)
        exchange.subject = self.caller.subject
        try:
            self.place, self.is_slashed = self.place_of(exchange.inner)
            if self.resource(self.place) in site.resources:
                self.stored(self.place)
        except BadRequest as error:  # the Finder asks for ._. of each folder
            if exchange.method not in ("GET", "HEAD", "PROPFIND") or not self.caller.subject:
                raise
            raise NotFound(f"there is nothing at this address: {error.message}") from error
        self.conditions = dav_conditions.parsed(exchange.header("if"))

    # -- addresses

    def place_of(self, inner: str) -> tuple[Place, bool]:
        """The place of a path below the site's prefix, and whether it ends with a slash. Raises BadRequest if it is none."""
        _, _, rest = inner.partition("/")
        share, *parts = split_path(rest) or ("",)
        is_slashed = parts[-1:] == [""]
        parts = parts[:-1] if is_slashed else parts
        check_path(parts, is_there=True)
        return Place(share, tuple(parts)), is_slashed

    def local(self, url: str, *, status: int = 502) -> Place:
        """The place that a URL or an absolute path of this site names. Raises BadRequest with that status for any other."""
        begin = f"{self.exchange.prefix}/{_ROOT}/"
        try:
            parts = urlsplit(url.strip())
            port = {"http": 80, "https": 443}.get(parts.scheme.lower())
            hosts = [urlsplit(f"//{self.exchange.host}"), urlsplit(self.exchange.door.origin or "//")]
            is_here = (parts.hostname, parts.port or port) in [(one.hostname, one.port or port) for one in hosts]
        except ValueError:
            raise BadRequest(f"{url[:200]} is no URL") from None
        if (parts.netloc and not is_here) or not parts.path.startswith(begin):
            raise BadRequest(f"{url[:200]} is no place in the shares of this site", status=status, code="not_here")
        path = quote(parts.path.encode("latin-1", "replace"), safe=_ASCII)  # as some send UTF-8: it counts as if encoded
        return self.place_of(path.removeprefix(self.exchange.prefix + "/"))[0]

    def href(self, place: Place, *, is_folder: bool) -> str:
        """The absolute path of a place, percent-encoded."""
        inner = "/".join(quote(part, safe="") for part in (_ROOT, place.share, *place.parts) if part)
        return self.exchange.url(inner) + ("/" if is_folder else "")

    # -- what is there

    def share(self, place: Place) -> Files:
        """The share of a place. Raises NotFound."""
        found = self.site.resources.get(self.resource(place))
        if not isinstance(found, Files):
            raise NotFound(f"there is no {self.resource(place)}")
        return found

    def stored(self, place: Place) -> tuple[app.Blobs, str]:
        """Where a place is in its provider."""
        share = self.share(place)
        return share.blobs, share.path_of(place.parts)

    def resource(self, place: Place) -> str:
        return f"files/{quote(place.share, safe='')}"

    def address(self, place: Place) -> str:
        return Request("", Action.READ, self.resource(place), place.parts).address

    def ask(self, action: Action, place: Place, **facts: Any) -> Response:
        """What the share answers to this caller."""
        request = Request(
            self.exchange.id, action, self.resource(place), place.parts, HttpRunner.kind,
            credential=self.credential, **facts,
        )  # fmt: skip
        return self.site.handle(request)

    def look(self, place: Place) -> tuple[Node, Response | None]:
        """What is at a place, and the answer that has what is in it. Raises NotFound, Forbidden."""
        if not place.share:
            return Node(place, True), None
        try:
            found = self.ask(Action.READ, place, whole=True)
        except Unsupported:  # a share without lists has files, and its root
            if place.parts:
                raise
            return Node(place, True), None
        if found.content:
            blob = found.content.blob
            return Node(place, False, blob.size_bytes, blob.modified_at, blob.etag), found
        return Node(place, True), found

    def node(self, place: Place) -> Node | None:
        """What is at a place; None if there is nothing, or nothing that the caller may see."""
        with suppress(NotFound, Forbidden):
            return self.look(place)[0]
        return None

    def children(self, place: Place, found: Response | None) -> Iterator[Node]:
        """What is in a folder, of the answer about it, as far as the caller may see it."""
        if not place.share:
            for one in self.site.describe(self.credential):
                if one["type"] == "files":
                    yield Node(Place(split_path(one["address"])[1]), True)
            return
        if found is None or found.table is None:
            raise Unsupported("this share cannot be listed: open its files by their addresses")
        try:
            yield from (self._child(place, row) for row in found.table.rows)
        finally:
            found.table.close()

    def _child(self, folder: Place, row: Mapping[str, Any]) -> Node:
        place = Place(folder.share, (*folder.parts, row["name"]))
        if row["type"] == "file":
            modified_at = datetime.fromisoformat(row["modified_at"]).timestamp()
            return Node(place, False, row["size_bytes"], modified_at, row["etag"])
        return Node(place, True, problem="" if row["type"] == "folder" else row["type"])

    # -- locks

    def locks_at(self, place: Place) -> list[locks.Lock]:
        """The locks of the provider of a place."""
        blobs, _ = self.stored(place)
        found: list[locks.Lock] = locks.active(self.site.state, blobs.name, self.site.clock())
        return found

    def check_conditions(self) -> None:
        """Raises PreconditionFailed unless the header If holds, and If-Match and If-None-Match of what changes something."""

        def state_of(tag: str) -> Any:
            try:
                place = self.local(tag, status=400) if tag else self.place
                if not place.share or self.resource(place) not in self.site.resources:
                    return dav_conditions.State(None, frozenset())
                node, (_, path) = self.node(place), self.stored(place)
            except (BadRequest, NotFound):
                return None
            holding = locks.at_or_above(self.locks_at(place), path)
            return dav_conditions.State(node.etag if node else None, frozenset(one.token for one in holding))

        if not dav_conditions.holds(self.conditions, state_of):
            raise PreconditionFailed("no list of conditions in the header If holds")
        wanted = app.Conditions() if self.exchange.method in _SAFE else self.exchange.conditions()
        if wanted == app.Conditions() or not self.place.share:
            return
        node = self.node(self.place)
        etag = node and (node.etag or "")  # "" is that of a folder, which no list names but "*"
        if wanted.if_match and not wanted.name(wanted.if_match, etag):
            raise PreconditionFailed("it is no longer what If-Match names: get it again")
        plugin("file_times").check_unmodified(wanted, node and node.modified_at)
        if wanted.name(wanted.if_none_match, etag):
            raise PreconditionFailed("it is what If-None-Match names, or exists already")

    def depth(self, default: str, known: Sequence[str]) -> str:
        """The header Depth. Raises BadRequest for one that the method does not know."""
        depth = self.exchange.header("depth").replace(" ", "").lower() or default
        if depth not in known:
            raise BadRequest(f"Depth must be {' or '.join(known)} here")
        return depth


class Unmet(AppError):
    """A condition of DAV: does not hold (RFC 4918 section 16)."""

    code, status, exit_code = "unmet", 403, 5
    condition: str = ""


# ==== 2. PROPERTIES ==============================================================================================
# What is known of files and folders, and what clients noted at them.
# uses: ERRORS VALUES CONTRACTS RUNNERS CALLS plugin:dav_properties plugin:dav_xml plugin:file_times plugin:locks
#       plugin:media_types plugin:quota
# defines: LIVE ON_REQUEST activelock Finder propfind proppatch require

_LOCKS = "".join(
    f"<D:lockentry><D:lockscope><D:{scope}/></D:lockscope><D:locktype><D:write/></D:locktype></D:lockentry>"
    for scope in ("exclusive", "shared")
)


def _length(finder: Finder, node: Node) -> str | None:
    return None if node.is_folder else str(node.size_bytes)


def _type(finder: Finder, node: Node) -> str | None:
    return None if node.is_folder else dav_xml.plain(plugin("media_types").media_type(node.name))


def _etag(finder: Finder, node: Node) -> str | None:
    return None if node.etag is None else dav_xml.plain(f'"{node.etag}"')


def _modified(finder: Finder, node: Node) -> str | None:
    return None if node.modified_at is None else _http_date(int(node.modified_at))


@lru_cache(1000)
def _http_date(second: int) -> str:
    from email.utils import formatdate

    return formatdate(second, usegmt=True)


def _created(finder: Finder, node: Node) -> str | None:
    """The oldest time that is known; none is kept of when a file came."""
    return None if node.modified_at is None else f"{rfc3339(int(node.modified_at))[:19]}Z"


LIVE: Mapping[str, Callable[[Finder, Node], str | None]] = {
    dav_xml.DAV + name: made for name, made in {
        "displayname": lambda finder, node: dav_xml.plain(node.name or finder.call.site.title),
        "resourcetype": lambda finder, node: "<D:collection/>" if node.is_folder else "",
        "getcontentlength": _length,
        "getcontenttype": _type,
        "getetag": _etag,
        "getlastmodified": _modified,
        "creationdate": _created,
        "supportedlock": lambda finder, node: _LOCKS if node.place.share else "",
        "lockdiscovery": lambda finder, node: finder.lockdiscovery(node),
    }.items()
}  # fmt: skip

ON_REQUEST: Mapping[str, Callable[[Finder, Node], str | None]] = {  # not among all properties (RFC 4331 section 2)
    dav_xml.DAV + "quota-available-bytes": lambda finder, node: finder.quota(node)[1],
    dav_xml.DAV + "quota-used-bytes": lambda finder, node: finder.quota(node)[0],
}

_TIME = dav_xml.DAV + "lastmodified"  # by which rclone sets the time of a file that is there
_WINDOWS_TIME = dav_properties.WINDOWS_TIME  # and Windows; it is kept, too, and told as the file has it by then


def activelock(call: Call, lock: locks.Lock) -> str:
    """A lock as XML. Its root is told as the place where the caller would find it."""
    left_s = max(0, round(lock.expires_at - call.site.clock()))
    share, *inner = split_path(lock.address)[1:]
    root = call.href(Place(share, tuple(inner)), is_folder=lock.is_folder)
    return (
        f"<D:activelock><D:locktype><D:write/></D:locktype>"
        f"<D:lockscope><D:{'exclusive' if lock.is_exclusive else 'shared'}/></D:lockscope>"
        f"<D:depth>{'infinity' if lock.is_deep else '0'}</D:depth>{lock.owner}"
        f"<D:timeout>Second-{left_s}</D:timeout><D:locktoken><D:href>{dav_xml.plain(lock.token)}</D:href></D:locktoken>"
        f"<D:lockroot><D:href>{root}</D:href></D:lockroot></D:activelock>"
    )


class Finder:
    """Answers what is wanted of places, which come folder by folder."""

    def __init__(self, call: Call, wanted: dav_xml.Wanted) -> None:
        self.call, self.wanted = call, wanted
        names = wanted.names
        self._made = {**LIVE, **ON_REQUEST}
        self.is_plain = names is not None and all(name in self._made for name in names)  # no dead property is wanted
        self._locks: dict[str, list[locks.Lock]] = {}  # by share
        self._stored: dict[Place, tuple[app.Blobs, str]] = {}  # of folders
        self._dead: tuple[Place | None, dict[str, dict[str, str]]] = None, {}  # of what is in the folder that was asked last

    def response(self, node: Node) -> str:
        """What is wanted of one place."""
        href = self.call.href(node.place, is_folder=node.is_folder)
        if node.problem:
            return dav_xml.response(href, status=500)
        dead, names = {} if self.is_plain else self.dead(node), self.wanted.names
        if self.wanted.only_names:
            live = [dav_xml.empty(name) for name, made in LIVE.items() if made(self, node) is not None]
            return dav_xml.response(href, dav_xml.propstats({200: [*live, *map(dav_xml.empty, dead)]}))
        found, missing = [], []
        for name in names if names is not None else dict.fromkeys([*LIVE, *dead, *self.wanted.include]):
            value = self._made[name](self, node) if name in self._made else None
            if value is not None:
                found.append(dav_xml.element(name, value))
            elif name in dead:
                found.append(dead[name])
            elif names is not None or name in self.wanted.include:
                missing.append(dav_xml.empty(name))
        by_status = {200: found, 404: missing} if missing and found else {404: missing} if missing else {200: found}
        return dav_xml.response(href, dav_xml.propstats(by_status))

    def _path(self, node: Node) -> tuple[app.Blobs, str]:
        """Where a node is in its provider: below its folder, by the name that the listing has."""
        if not node.place.parts or node.place == self.call.place:
            return self.call.stored(node.place)
        folder = node.place.parent
        if folder not in self._stored:
            self._stored[folder] = self.call.stored(folder)
        blobs, path = self._stored[folder]
        return blobs, f"{path}/{node.name}" if path else node.name

    def dead(self, node: Node) -> dict[str, str]:
        """What clients noted at a place."""
        if not node.place.share:
            return {}
        blobs, path = self._path(node)
        folder, state = node.place.parent, self.call.site.state
        if node.place == self.call.place:
            found = dav_properties.of_place(state, blobs.name, path)
        else:
            if self._dead[0] != folder:
                self._dead = folder, dav_properties.in_folder(state, blobs.name, path.rpartition("/")[0])
            found = self._dead[1].get(path, {})
        if _WINDOWS_TIME in found and blobs.keeps_times and (time := _modified(self, node)):
            found = found | {_WINDOWS_TIME: dav_xml.element(_WINDOWS_TIME, time)}
        return found

    def quota(self, node: Node) -> tuple[str | None, str | None]:
        """Bytes that the files of a share with a quota have, and that there is room for; None if that is not known."""
        if not node.is_folder or not node.place.share:
            return None, None
        share = self.call.share(node.place)
        left = plugin("quota").room(share)
        return (None, None) if left is None else (str(plugin("quota").usage(share).used_bytes), str(left))

    def lockdiscovery(self, node: Node) -> str:
        share = node.place.share
        if not share:
            return ""
        if share not in self._locks:
            self._locks[share] = self.call.locks_at(node.place)
        if not self._locks[share]:
            return ""
        return "".join(activelock(self.call, one) for one in locks.at_or_above(self._locks[share], self._path(node)[1]))


def _below(call: Call, place: Place, found: Response | None, *, is_deep: bool) -> Iterator[Node]:
    """What is in a folder, and with `is_deep` all that is below it, folders after what lies beside them. Links to folders
    are not followed: they may lead back."""
    folders: list[Place] = []
    for node in call.children(place, found):
        yield node
        if is_deep and node.is_folder and not node.problem and not _is_link(call, node.place):
            folders.append(node.place)
    for folder in folders:
        with suppress(NotFound, Forbidden, Unsupported):
            _, inner = call.look(folder)
            yield from _below(call, folder, inner, is_deep=True)


def _is_link(call: Call, place: Place) -> bool:
    if not place.parts:
        return False
    blobs, path = call.stored(place)
    return blobs.is_link(path)


class _Pieces:
    """A body that closes what it reads from."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self.first = next(pieces)  # what fails before is answered with its status
        self.second = next(pieces, None)
        self.pieces = pieces

    def __iter__(self) -> Iterator[bytes]:
        return chain([self.first, self.second or b""], self.pieces)

    def close(self) -> None:
        cast(Any, self.pieces).close()


_DEPTHS = ("0", "1", "infinity", "1,noroot", "infinity,noroot")  # "noroot" is Microsoft's: without the folder itself


def propfind(call: Call) -> Answer:
    """Properties of a place, and of what is in it or below it."""
    depth, _, is_without_itself = call.depth("infinity", _DEPTHS).partition(",")
    node, found = call.look(call.place)
    finder = Finder(call, dav_xml.wanted(dav_xml.body_of(call.exchange)))
    nodes: Iterator[Node] = iter(())
    if node.is_folder and depth != "0":
        nodes = _below(call, node.place, found, is_deep=depth == "infinity")
    if depth == "infinity":
        nodes = iter(_bounded(nodes))
    itself = [] if is_without_itself and node.is_folder else [node]
    pieces = _Pieces(dav_xml.multistatus(map(finder.response, chain(itself, nodes))))
    headers = [("Content-Type", dav_xml.MEDIA), ("Cache-Control", "no-store")]
    return Answer(207, headers, pieces.first if pieces.second is None else pieces)


def _bounded(nodes: Iterator[Node]) -> list[Node]:
    """All of them, unless they are too many for one answer."""
    found = []
    for node in nodes:
        found.append(node)
        if len(found) > _MOST_LISTED:
            words = f"there are over {_MOST_LISTED:,} files and folders: ask folder by folder, with Depth: 1"
            raise Unmet(words, condition="propfind-finite-depth")
    return found


def proppatch(call: Call) -> Answer:
    """Sets and removes properties, all of them or none."""
    node, _ = call.look(call.place)
    if not node.place.parts:
        raise UnsupportedAction("a share has no properties of its own", allowed=())
    require(call, Action.UPDATE, node.place)
    patches = dav_xml.patches(dav_xml.body_of(call.exchange))
    blobs, path = call.stored(node.place)
    locks.require(call.site, call.locks_at(node.place), (blobs, path), call.caller.subject)
    by_status = _patched(call, node, (blobs.name, path), patches)
    unmet = {403: "cannot-modify-protected-property"} if 403 in by_status else {}
    stats = dav_xml.propstats({status: map(dav_xml.empty, names) for status, names in by_status.items()}, unmet)
    responses = [dav_xml.response(call.href(node.place, is_folder=node.is_folder), stats)]
    return Answer(207, [("Content-Type", dav_xml.MEDIA)], b"".join(dav_xml.multistatus(responses)))


def _patched(call: Call, node: Node, place: tuple[str, str], patches: Sequence[dav_xml.Patch]) -> dict[int, list[str]]:
    """The names of properties by what became of them."""
    names = list(dict.fromkeys(one.name for one in patches))
    keeps_times, at = call.share(node.place).blobs.keeps_times, None if node.is_folder else _time_of(patches)
    known = {*LIVE, *ON_REQUEST} | ({_TIME} if node.is_folder or not keeps_times else set())
    if protected := [name for name in names if name in known]:
        others = [name for name in names if name not in known]
        return {403: protected, 424: others} if others else {403: protected}
    texts = [(one.name, None if one.value is None else dav_xml.serialized(one.value)) for one in patches]
    values = [(name, text) for name, text in texts if name != _TIME]
    state, audit = call.site.state, call.site.audit
    try:
        dav_properties.check_room(state, *place, values)  # nothing is done before it is known that all of it can be
        if at is not None and keeps_times:
            named = app.Conditions((str(node.etag),))
            call.ask(Action.CREATE, node.place, data={"modified_at": rfc3339(at)}, conditions=named)
        if values:
            entry = audit.entry(call.caller, HttpRunner.kind, call.exchange.id, call.address(call.place), Action.UPDATE)
            also = [audit.insert(entry | {"after": {"properties": len(names)}})]
            dav_properties.store(state, *place, values, also)
    except StorageFull:
        return {507: names}
    return {200: names}


def _time_of(patches: Sequence[dav_xml.Patch]) -> float | None:
    """The time that the file is to have, in Unix seconds; None if none is set. Raises BadRequest for one that is none."""
    at = None
    for one in patches:
        text = "" if one.value is None else (one.value.text or "").strip()
        if one.name == _TIME and one.value is not None:
            if not re.fullmatch(r"\d{1,11}", text):
                raise BadRequest("lastmodified is the seconds since 1970, such as 1767225600")
            at = float(text)
        if one.name == _WINDOWS_TIME and text:
            found = plugin("file_times").http_date(text)
            if found is None:
                raise BadRequest("Win32LastModifiedTime is a date of HTTP, such as Thu, 01 Jan 2026 08:00:00 GMT")
            at = max(0.0, found)
    return at


def require(call: Call, action: Action, place: Place) -> None:
    """Raises SignInNeeded or Forbidden unless the caller may do that."""
    address = call.address(place)
    if not call.caller.subject and not call.caller.may(action, address):
        raise SignInNeeded(f"sign in, or send a token with the grant {address}:{action}")
    call.caller.require(action, address)


# ==== 3. FILES ===================================================================================================
# Files and folders, written as at every other door.
# uses: ERRORS VALUES RUNNERS CALLS PROPERTIES plugin:big_folders plugin:dav_properties plugin:file_moves
#       plugin:file_times plugin:locks
# defines: get put delete mkcol carry


_LARGE_BYTES = 1 << 20  # of a file


def get(call: Call) -> Answer:
    """A file as everywhere; of a folder its page."""
    for tries_left in (3, 2, 1, 0):
        node, found = call.look(call.place)
        if found is None or not found.content:
            break
        try:
            return send_content(call.exchange, found.content)
        except PreconditionFailed:  # it was replaced between the look and the reading, or a header says so
            if not tries_left or call.exchange.header("if-match") or call.exchange.header("if-unmodified-since"):
                raise
    if call.exchange.method == "HEAD":
        return Answer(200, [("Content-Type", "httpd/unix-directory")])
    address = f"{call.address(node.place)}/" if node.place.share else "files/"
    return app.see_other(call.exchange.url(address))


def _done(headers: list[tuple[str, str]], *, is_new: bool) -> Answer:
    """The answer to a write, without a body."""
    return Answer(201, [*headers, ("Content-Type", "text/plain; charset=utf-8")]) if is_new else Answer(204, headers)


def _need_parent(call: Call, place: Place) -> None:
    """Raises Conflict unless the folder is there in which something is to be made. Whoever may not see it is trusted, and
    so is a provider that cannot make folders."""
    parent, blobs = place.parent, call.share(place).blobs
    is_seen = blobs.lists and blobs.makes_folders and call.caller.may(Action.READ, call.address(parent))
    if not parent.parts or not is_seen:
        return
    node = call.node(parent)
    if node is None or not node.is_folder:
        raise Conflict(f"the folder {call.address(parent)} does not exist: make it first")


def _no_file(call: Call, place: Place) -> UnsupportedAction:
    what = "the list of shares" if not place.share else "a share" if not place.parts else "a folder"
    return UnsupportedAction(f"this is {what}, and takes no {call.exchange.method}", allowed=())


def put(call: Call) -> Answer:
    place = call.place
    if not place.parts:
        raise _no_file(call, place)
    node = call.node(place)
    if node and node.is_folder:
        raise _no_file(call, place)
    if node is None:
        _need_parent(call, place)
    if call.is_slashed:
        raise Conflict("this is the name of a folder: PUT makes files, MKCOL folders")
    request = call.exchange.door.request(call.exchange, call.resource(place), place.parts, Action.UPDATE)
    if (call.exchange.body.size_bytes or _LARGE_BYTES) >= _LARGE_BYTES:  # before it is sent in vain
        locks.require(call.site, call.locks_at(place), call.stored(place), call.caller.subject)
    response = call.site.handle(request._replace(credential=call.credential))
    headers = [("ETag", f'"{response.etag}"'), *plugin("file_times").told(call.exchange, response)]
    return _done(headers, is_new=response.created)


def delete(call: Call) -> Answer:
    node = call.node(call.place)
    if not call.place.parts:
        raise _no_file(call, call.place)
    if node and node.is_folder:
        call.depth("infinity", ("infinity",))
        with plugin("big_folders").unlimited():
            call.ask(Action.DELETE, call.place, params={"_tree": "1"})
    else:
        call.ask(Action.DELETE, call.place, conditions=call.exchange.conditions())
    return Answer(204, [])


def mkcol(call: Call) -> Answer:
    if call.exchange.body.size_bytes != 0 and any(call.exchange.body):
        raise UnsupportedMedia("MKCOL has no body")
    if not call.place.parts or call.node(call.place):
        raise _no_file(call, call.place) if not call.place.parts else UnsupportedAction("it exists already", allowed=())
    _need_parent(call, call.place)
    _made(call, call.place)
    return _done([("Location", call.href(call.place, is_folder=True))], is_new=True)


def _made(call: Call, place: Place) -> None:
    call.ask(Action.CREATE, place.parent, data={"folder": place.parts[-1]})


def carry(call: Call) -> Answer:
    """COPY and MOVE."""
    verb = call.exchange.method.lower()
    if not (wanted := call.exchange.header("destination")):
        raise BadRequest("the header Destination is missing")
    target = call.local(wanted)
    overwrite = call.exchange.header("overwrite").strip().upper() or "T"
    if overwrite not in ("T", "F"):
        raise BadRequest("Overwrite must be T or F")
    depth = call.depth("infinity", ("infinity",) if verb == "move" else ("0", "infinity"))
    node, _ = call.look(call.place)
    if not target.parts or not node.place.parts:
        raise Unmet("shares are neither moved nor copied, nor replaced", code="forbidden")
    _check_apart(call, node, target, depth)
    present = call.node(target)
    if present and overwrite == "F":
        raise PreconditionFailed(f"{call.address(target)} exists")
    if present is None:
        _need_parent(call, target)
    if verb == "move":
        require(call, Action.DELETE, node.place)
    is_cleared = present is not None and (present.is_folder or node.is_folder)
    if is_cleared:
        require(call, Action.CREATE, target)
    if node.is_folder and depth == "0":
        with plugin("big_folders").unlimited(), plugin("file_moves").clearing() if present else nullcontext():
            _copied_alone(call, target)
    else:
        with plugin("big_folders").unlimited(), plugin("file_moves").clearing() if is_cleared else nullcontext():
            data = {verb: call.address(target), "overwrite": present is not None}
            named = app.Conditions() if node.is_folder else call.exchange.conditions()
            call.ask(Action.CREATE, node.place, data=data, conditions=named)
    return _done([("Location", call.href(target, is_folder=node.is_folder))], is_new=present is None)


def _check_apart(call: Call, node: Node, target: Place, depth: str) -> None:
    """Raises Unmet if source and target are the same, or one lies in the other, whichever shares lead there."""
    (blobs, source), (others, path) = call.stored(node.place), call.stored(target)
    if blobs is not others:
        return
    if source == path or (locks.is_below(path, source) and depth != "0") or locks.is_below(source, path):
        raise Unmet("source and Destination are the same, or one of them lies in the other", code="forbidden")


def _copied_alone(call: Call, target: Place) -> None:
    """A folder without what is in it, with its properties."""
    _made(call, target)
    (blobs, path), (others, there) = call.stored(call.place), call.stored(target)
    if dead := dav_properties.of_place(call.site.state, blobs.name, path):
        dav_properties.store(call.site.state, others.name, there, list(dead.items()))


# ==== 4. LOCKING =================================================================================================
# Locks are taken, renewed and ended here, and hold everywhere (plugins/locks.py).
# uses: ERRORS VALUES RUNNERS CALLS PROPERTIES FILES plugin:dav_conditions plugin:dav_xml plugin:file_times
#       plugin:locks
# defines: take_lock end_lock

_SHORTEST_S, _USUAL_S, _LONGEST_S = 1, 3600, 86_400


def _timeout_s(header: str) -> int:
    """The first time of a header Timeout that is understood, within bounds."""
    for one in header.lower().replace(" ", "").split(","):
        if one == "infinite":
            return _LONGEST_S
        if match := re.fullmatch(r"second-(\d{1,12})", one):
            return min(max(int(match[1]), _SHORTEST_S), _LONGEST_S)
    return _USUAL_S


def take_lock(call: Call) -> Answer:
    if not call.caller.subject:
        raise SignInNeeded("sign in, or send a token: only who is known can lock")
    if not call.place.share:
        raise _no_file(call, call.place)
    root = dav_xml.body_of(call.exchange)
    expires_at = call.site.clock() + _timeout_s(call.exchange.header("timeout"))
    if root is None:
        return _renewed(call, expires_at)
    info, depth = dav_xml.lockinfo(root), call.depth("infinity", ("0", "infinity"))
    node = call.node(call.place)
    require(
        call,
        Action.UPDATE if node or not call.caller.may(Action.CREATE, call.address(call.place)) else Action.CREATE,
        call.place,
    )
    blobs, path = call.stored(call.place)
    if len(info.owner) > locks.MOST_OWNER:
        raise BadRequest(f"the owner has {locks.MOST_OWNER:,} characters at most")
    is_folder = bool(node and node.is_folder)
    made = locks.Lock(
        locks.new_token(), path, call.address(call.place), depth == "infinity", info.is_exclusive, info.owner,
        call.caller.subject, expires_at, is_folder, call.caller.token_id,
    )  # fmt: skip

    def edit(present: list[locks.Lock]) -> list[locks.Lock]:
        while other := locks.conflicting(present, path, is_deep=made.is_deep, is_exclusive=made.is_exclusive):
            if locks.is_left(call.site, other):
                present = [one for one in present if one.token != other.token]
                continue
            raise locks.Locked(f"{other.address} is locked already", lock=other, condition="no-conflicting-lock")
        return [*present, made]

    locks.bounded(edit(call.locks_at(call.place)))  # before an empty file is made for it
    if node is None:
        _need_parent(call, call.place)
        call.ask(Action.UPDATE, call.place, body=(), body_bytes=0, conditions=app.Conditions((), ("*",)))
        path = call.stored(call.place)[1]
        made = made._replace(path=path)
    locks.change(call.site.state, blobs.name, call.site.clock(), edit)
    headers = [("Content-Type", dav_xml.MEDIA), ("Lock-Token", f"<{made.token}>")]
    return Answer(200 if node else 201, headers, _discovered(call, made))


def _discovered(call: Call, one: locks.Lock) -> bytes:
    found: bytes = dav_xml.document("prop", f"<D:lockdiscovery>{activelock(call, one)}</D:lockdiscovery>")
    return found


def _renewed(call: Call, expires_at: float) -> Answer:
    """LOCK without a body: the lock that the header If names lasts longer."""
    blobs, path = call.stored(call.place)
    named = dav_conditions.tokens(call.conditions)
    renewed: list[locks.Lock] = []

    def edit(present: list[locks.Lock]) -> list[locks.Lock]:
        renewed[:] = [
            one._replace(expires_at=expires_at, token_id=call.caller.token_id) for one in present
            if one.token in named and one.subject == call.caller.subject and one.covers(path)
        ]  # fmt: skip
        if not renewed:
            raise PreconditionFailed(
                "LOCK without a body renews the lock that the header If names: none of yours holds here"
            )
        tokens = {one.token for one in renewed}
        return [*(one for one in present if one.token not in tokens), *renewed]

    locks.change(call.site.state, blobs.name, call.site.clock(), edit)
    return Answer(200, [("Content-Type", dav_xml.MEDIA)], _discovered(call, renewed[0]))


def end_lock(call: Call) -> Answer:
    if not call.place.share:
        raise _no_file(call, call.place)
    match = re.fullmatch(r"<([^<>\s]+)>", call.exchange.header("lock-token").strip())
    if not match:
        raise BadRequest("the header Lock-Token must name a lock: <opaquelocktoken:…>")
    blobs, path = call.stored(call.place)
    if not call.caller.subject:
        raise SignInNeeded("sign in, or send a token: only who has locked can unlock")
    others: list[locks.Lock] = []

    def edit(present: list[locks.Lock]) -> list[locks.Lock]:
        found = [one for one in present if one.token == match[1] and one.covers(path)]
        if not found:
            raise Unmet("no such lock holds here", status=409, condition="lock-token-matches-request-uri")
        others[:] = [one for one in found if one.subject != call.caller.subject]
        if others:
            call.caller.require(Action.UPDATE, "admin/locks")
        return [one for one in present if one not in found]

    locks.change(call.site.state, blobs.name, call.site.clock(), edit)
    if others:  # of somebody else: the trail tells who ended it
        audit, name = call.site.audit, call.address(call.place)
        entry = audit.entry(call.caller, HttpRunner.kind, call.exchange.id, name, Action.UPDATE)
        audit.best_effort(entry | {"before": {"subject": others[0].subject}})
    return Answer(204, [])


# ==== 5. DOOR ====================================================================================================
# The one place where Basic is offered. A cookie opens what is read and nothing that is written.
# uses: ERRORS RUNNERS ASSEMBLY CALLS PROPERTIES FILES LOCKING plugin:dav_conditions plugin:dav_xml plugin:locks
#       plugin:refusals plugin:throttle
# defines: Route:webdav METHODS WebDav

METHODS: Mapping[str, Callable[[Call], Answer]] = {
    "GET": get, "HEAD": get, "PUT": put, "DELETE": delete, "PROPFIND": propfind, "PROPPATCH": proppatch, "MKCOL": mkcol,
    "COPY": carry, "MOVE": carry, "LOCK": take_lock, "UNLOCK": end_lock,
}  # fmt: skip
_ALLOWED = ", ".join(("OPTIONS", *METHODS))
_CLASSES = [("DAV", "1, 2"), ("MS-Author-Via", "DAV")]
_BASIC = ("WWW-Authenticate", 'Basic realm="satchel", charset="UTF-8"')
_ALL = f"OPTIONS {' '.join(METHODS)}"


class WebDav(Route):
    """/dav lists the shares; below it are their files."""

    kind = "webdav"
    paths: ClassVar[Mapping[str, str]] = {"/": "OPTIONS", "/dav": _ALL, "/dav/": _ALL, "/dav/<path:path>": _ALL}

    def answer(self, asked: Asked, host: Host) -> Answer:
        exchange, site = cast(Exchange, asked), cast(App, host)
        if exchange.method == "OPTIONS":  # Windows asks the root whether there is WebDAV
            allowed = _ALLOWED if exchange.inner else "GET, HEAD, OPTIONS"
            return Answer(204, [*_CLASSES, ("Allow", allowed)])
        try:
            return self._answered(exchange, site)
        except AppError as error:
            return self._fault(exchange, site, error)

    def _answered(self, exchange: Exchange, site: App) -> Answer:
        credential = exchange.credential
        if exchange.method not in _SAFE and exchange.by_cookie and not exchange.proxied:
            credential = ""
        if exchange.query:
            raise BadRequest("addresses below /dav have no parameters")
        call = Call(exchange, site, credential)
        if not call.place.share and not call.caller.subject and not site.describe(credential):
            raise SignInNeeded("sign in, or send a token")
        call.check_conditions()
        with locks.submitted(dav_conditions.tokens(call.conditions)):
            return METHODS[exchange.method](call)

    def _fault(self, exchange: Exchange, site: App, error: AppError) -> Answer:
        if isinstance(error, Unauthenticated) and not isinstance(error, SignInNeeded):
            try:
                site.office.throttle.failed(f"address {plugin('refusals').address_of(exchange.client)}")
            except plugin("throttle").TooManyTries as slowed:
                plugin("refusals").note_token(exchange, error)
                error = slowed
        exchange.subject = exchange.subject or error.subject
        log_fault(exchange, error)
        plugin("refusals").note_token(exchange, error)
        answer = problem_answer(exchange.id, error)
        if condition := getattr(error, "condition", ""):
            place = getattr(error, "lock", None)
            inside = f"<D:href>{dav_xml.plain(_href(exchange, place.address))}</D:href>" if place else ""
            body = dav_xml.document("error", dav_xml.element(dav_xml.DAV + condition, inside))
            answer = Answer(error.status, [("Content-Type", dav_xml.MEDIA), *error_headers(error)], body)
        if isinstance(error, Unauthenticated):
            answer.headers.insert(0, _BASIC)
        if isinstance(error, UnsupportedAction):
            answer.headers.append(("Allow", _ALLOWED))
        return answer


def _href(exchange: Exchange, address: str) -> str:
    """Where the place of an address is below /dav."""
    return exchange.url(f"{_ROOT}/{address.removeprefix('files/')}")
