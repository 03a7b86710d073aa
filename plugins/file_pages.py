"""The page of a folder, and what a page asks of one entry of it: its details, and under which name it is to go on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from types import MappingProxyType, SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple, cast
from urllib.parse import quote, urlencode

import app
from app import (
    Action,
    Answer,
    AppError,
    BadRequest,
    Blob,
    Caller,
    Condition,
    Exchange,
    Exists,
    Files,
    Json,
    NotFound,
    Plan,
    Query,
    Request,
    Response,
    Scope,
    Table,
    no_params,
    plan_of,
    rfc3339,
    see_other,
    split_path,
)

if TYPE_CHECKING:
    from plugins import file_lists, file_trees, list_pages, media_types, pages
else:
    file_lists, list_pages, media_types = app.plugin("file_lists"), app.plugin("list_pages"), app.plugin("media_types")
    file_trees, pages = app.plugin("file_trees"), app.plugin("pages")

# ==== 1. ENTRIES =================================================================================================
# A row of a listing: what it is, and what its menu offers to whoever looks. What cannot be read has neither box nor menu.
# uses: VALUES RUNNERS plugin:kept_pages plugin:pages
# defines: kind_of may_in entry state_of

_ICONS = {ending: kind for kind, endings in {  # of files in a listing, by the endings of their names
    "image": "png jpg jpeg gif webp avif svg heic tif tiff bmp ico", "slides": "ppt pptx odp",
    "text": "pdf txt md doc docx odt rtf html htm epub", "sheet": "csv tsv xls xlsx ods",
    "media": "mp3 wav flac ogg m4a mp4 mov mkv webm avi", "archive": "zip gz tgz bz2 xz zst 7z rar tar",
    "code": "py js ts css json toml yaml yml xml sql sh go rs c h java",
}.items() for ending in endings.split()}  # fmt: skip
_STEPS = (  # what the menu of an entry leads to, with what of it one must be allowed: all of one of these
    ("rename", ((Action.DELETE, Action.CREATE),)),
    ("move", ((Action.DELETE,),)),
    ("copy", ((Action.READ,),)),
    ("delete", ((Action.DELETE,),)),
)


def kind_of(name: str, *, is_folder: bool = False) -> str:
    """The icon of an entry, which also says what it is."""
    return "folder" if is_folder else _ICONS.get(name.rpartition(".")[2].lower(), "file")


def may_in(caller: Caller, address: str) -> list[Action]:
    """What a caller may do with what is in a folder."""
    return [one for one in Action if caller.may(one, f"{address.rstrip('/')}/x")]


def entry(exchange: Exchange, row: Mapping[str, Json], caller: Caller, below: str = "") -> SimpleNamespace:
    """A row of a listing; of what was found `below` a folder the name has the way to it."""
    is_folder, modified, locale = row["type"] == "folder", row["modified_at"] or "", exchange.locale
    is_seen, address = row["type"] != "unreadable", row["address"]
    may = _may_at(caller, address, is_folder=is_folder)
    return SimpleNamespace(
        name="/".join(split_path(address.removeprefix(below))) if below else row["name"], is_folder=is_folder,
        href=exchange.url(address + "/", **_order_kept(exchange)) if is_folder else exchange.url(address),
        kind=kind_of(row["name"], is_folder=is_folder), address=address, is_seen=is_seen,
        size=_size(row, locale), modified=locale.write_date_time(modified), modified_iso=modified,
        box=quote(row["name"], safe="") if is_seen and not below else "",
        menu=_menu(exchange, address, may, caller, is_folder=is_folder) if is_seen else [],
    )  # fmt: skip


def _may_at(caller: Caller, address: str, *, is_folder: bool) -> list[Action]:
    return may_in(caller, address) if is_folder else [one for one in Action if caller.may(one, address)]


def _size(row: Mapping[str, Json], locale: Any) -> str:
    """How large an entry is, in words; "" where that is not said."""
    if row["type"] == "unreadable":
        return str(locale.t("files.unreadable"))
    return "" if row["size_bytes"] is None else str(locale.write_size(row["size_bytes"]))


def _order_kept(exchange: Exchange) -> dict[str, str]:
    """The order and the size of the pages, for the folders that a page leads to."""
    return {name: text for name in ("_sort", "_size") if (text := exchange.query.get(name))}


def state_of(exchange: Exchange) -> str | None:
    """What the folder is shown as, for the pages that lead back to it."""
    return urlencode(pages.listed(exchange)) or None if "_do" in exchange.query else pages.list_state(exchange)


def _menu(
    exchange: Exchange, address: str, may: Sequence[Action], caller: Caller, *, is_folder: bool
) -> list[tuple[str, str, str]]:
    """(what, address, words) of what can be done with an entry."""
    t, state = exchange.locale.t, state_of(exchange)
    found = [("details", exchange.url(address, _do="details", _list=state), t("files.details"))]
    if is_folder and Action.READ in may:
        found.append(("zip", exchange.url(address + "/", _zip="1"), t("files.download")))
    if caller.subject and Action.READ in may:
        found.append(("share", exchange.url("share", of=address + "/" * is_folder), t("links.share_short")))
    if not is_folder and Action.READ in may:
        found += app.plugin("kept_pages").versions_link(exchange, address, state)
    for what, ways in _STEPS:
        if any(set(way) <= set(may) for way in ways):
            found.append((what, exchange.url(address, _do=what, _list=state), t(f"files.{what}")))
    return found


# ==== 2. FOLDER ==================================================================================================
# The page itself: the bar, what narrows and sorts the list, the rows, and what stands below them.
# uses: VALUES RUNNERS ENTRIES plugin:file_lists plugin:kept_pages plugin:list_pages plugin:media_types plugin:pages
# defines: trail_of shown action

_SIZES = (file_lists.PAGE_SIZE, 500, 1000)
_HEADS = (("name", "files.name"), ("size_bytes", "files.size"), ("modified_at", "files.modified"))


def trail_of(exchange: Exchange, parts: Sequence[str], title: str) -> list[tuple[str, str]]:
    """(title, address) of the share and of each folder on the way to one of its places."""
    share = "/".join(split_path(exchange.inner)[:2])
    ways = [(part, f"{share}/{quote('/'.join(parts[: i + 1]))}/") for i, part in enumerate(parts)]
    return [(title, share + "/"), *ways]


def shown(exchange: Exchange, response: Response, report: Mapping[str, Any] = MappingProxyType({})) -> dict[str, Any]:
    """The page of a folder, with what became of an upload if `report` says it."""
    parts, may, table = response.page["parts"], response.page["may"], response.table
    trail = trail_of(exchange, parts, response.page["title"])
    title, folder = trail[-1]
    page = {
        "title": title, "note": response.page["note"], "crumbs": pages.crumbs_of(exchange, trail),
        "is_drop_box": table is None, "may_create": Action.CREATE in may, "may_update": Action.UPDATE in may,
        "action": exchange.url(folder, _list=pages.list_state(exchange)),
        "accept": media_types.file_input_accept(response.page["accept"]), "accepted": ", ".join(response.page["accept"]),
        "most_bytes": response.page["most_bytes"], "most": exchange.locale.write_size(response.page["most_bytes"]),
        "entries": [], "next_href": "", "count": "", "search": None, "here": exchange.url(folder),
        "stored": (), "refused": (), "pending": (), "waiting": False, "heads": [], "several": None, "tools": [],
        "folder_action": "", "note_of_order": "", "room": app.plugin("kept_pages").room_line(exchange, folder),
    }  # fmt: skip
    if table:
        page |= _listed(exchange, response, table, folder)
    return {**page, **report}


def _listed(exchange: Exchange, response: Response, table: Table, folder: str) -> dict[str, Any]:
    """What the page of a folder has for whoever may see what is in it."""
    search, caller, may, t = response.page["search"], response.caller, response.page["may"], exchange.locale.t
    again = {name: text for name, text in exchange.query.items() if text and name in ("_q", "_sort", "_size")}
    entries = [entry(exchange, row, caller, folder * bool(search)) for row in table.rows]
    note = table.facts.get("note", "")
    makes = Action.CREATE in may and not search and response.page["makes_folders"]
    return {
        "search": search, "entries": entries, "note_of_order": t("files.path_order") if note else "",
        "heads": _heads(exchange, folder, again, is_sorted=not (search or note)),
        "tools": _tools(exchange, response, folder),
        "several": _bar(exchange, caller, entries, folder), "ways": _sizes(exchange, folder, again, len(entries)),
        "folder_action": action(exchange, folder, "folder") if makes else "",
        "count": "" if search else _counted(exchange, table),
        **list_pages.pages_around(exchange, table, again),
    }  # fmt: skip


def _tools(exchange: Exchange, response: Response, folder: str) -> list[tuple[str, str]]:
    """(address, words) of what leads on from the bar of a folder."""
    found = []
    if response.page["lists"] and cast(Table, response.table).rows:
        found.append((exchange.url(folder, _zip="1"), exchange.locale.t("files.download_all")))
    return found + cast(list[tuple[str, str]], app.plugin("kept_pages").trash_link(exchange, folder, response.page["may"]))


def _heads(exchange: Exchange, folder: str, again: Mapping[str, str], *, is_sorted: bool) -> list[SimpleNamespace]:
    """The heads of the columns: pressed once they sort, pressed again they turn the order. Sizes and times begin with the
    largest and the latest."""
    sort, found = again.get("_sort") or "name", []
    for name, words in _HEADS:
        first, second = ("name", "-name") if name == "name" else (f"-{name}", name)
        wanted = second if sort == first else first
        href = exchange.url(folder, **{**again, "_sort": None if wanted == "name" else wanted}) if is_sorted else ""
        way = {name: "ascending", f"-{name}": "descending"}.get(sort, "") if is_sorted else ""
        found.append(SimpleNamespace(title=exchange.locale.t(words), name=name, href=href, sorted=way))
    return found


def _sizes(exchange: Exchange, folder: str, again: Mapping[str, str], count: int) -> str:
    """The HTML of what leads to pages of other sizes; nothing where all are on the smallest one."""
    size = int(again.get("_size") or _SIZES[0])
    if count < _SIZES[0] and size == _SIZES[0] and "_next" not in exchange.query:
        return ""
    sizes = sorted({*_SIZES, size})
    hrefs = {one: exchange.url(folder, **{**again, "_size": None if one == _SIZES[0] else str(one)}) for one in sizes}
    names = {"sizes": hrefs, "size": size, "formats": {}, "t": exchange.locale.t}
    return pages.pages_of(exchange).part("_ways.tpl", names)


def _counted(exchange: Exchange, table: Table) -> str:
    """How many folders and files a folder has, in words."""
    t, rows = exchange.locale.t, list(table.rows)
    if "folders" in table.facts:
        folders, files = table.facts["folders"], table.facts["files"]
    elif exchange.query.get("_next"):
        return ""
    elif table.next:
        return str(t("files.more_entries", n=len(rows)))
    else:
        folders = sum(row["type"] == "folder" for row in rows)
        files = len(rows) - folders
    counts = (folders, "files.folders"), (files, "files.count")
    return str(t("common.comma").join(t(key, n=count) for count, key in counts if count))


def action(exchange: Exchange, folder: str, what: str, **more: str) -> str:
    """The address that a form of a folder's page is sent to."""
    more = {"_submission": pages.submission(exchange), **more}
    return exchange.url(folder, _do=what, _list=state_of(exchange), **more)


def _bar(exchange: Exchange, caller: Caller, entries: Sequence[SimpleNamespace], folder: str) -> SimpleNamespace | None:
    """What can be done with several entries at once; None if nothing can."""
    t, boxes = exchange.locale.t, [one.box for one in entries if one.box]
    offered = {what for one in entries if one.box for what, _, _ in one.menu}
    if not boxes:
        return None
    others = [("copy", t("files.copy"))] if "copy" in offered and _may_put_somewhere(caller) else []
    may_move = "move" in offered and _may_put_somewhere(caller)
    others.append(("zip", t("files.download")))
    return SimpleNamespace(
        action=exchange.url(folder, _do="several", _list=pages.list_state(exchange)), may_move=may_move,
        may_delete="delete" in offered, all=" ".join(boxes), count=len(boxes), kinds=[], others=others,
    )  # fmt: skip


def _may_put_somewhere(caller: Caller) -> bool:
    """Whether there may be a folder that takes something from the caller."""
    return any(Action.CREATE in one.actions and one.pattern[0] in ("files", "*", "**") for one in caller.grants)


# ==== 3. ASKED ===================================================================================================
# ?_do= at an entry or a folder: a page for each step, none of which changes anything. Moving, copying and deleting go on in
# plugins/file_steps.py, with one entry as with several.
# uses: ERRORS VALUES CONTRACTS RUNNERS RESOURCES ENTRIES FOLDER plugin:file_steps plugin:file_trees
#       plugin:media_types plugin:pages plugin:tokens
# defines: STEPS One read ask_name crumbs title_of kind_in_words held amount sender_of

STEPS = ("details", "rename", "move", "copy", "delete", "folder", "several", "trash", "versions")
_OF_FOLDERS = ("folder", "several", "trash")  # which are asked at the folder itself
_MOST_COUNTED = 2000  # entries of a folder, for its details


class One(NamedTuple):
    """What a page is about: an entry of a share, or a folder. `blob` is None of folders."""

    share: Files
    parts: tuple[str, ...]
    blob: Blob | None = None

    @property
    def address(self) -> str:
        return str(file_trees.address_of(self.share.name, self.parts))

    @property
    def above(self) -> str:
        """The address of the folder that it is in."""
        return str(file_trees.address_of(self.share.name, self.parts[:-1])) + "/"


def read(share: Files, request: Request, scope: Scope, path: str, parts: Sequence[str]) -> Plan:
    """The answer to `_do`. Raises BadRequest for what is no step, NotFound if nothing is there."""
    no_params(request, ("_do",))
    if not request.page:
        raise BadRequest('_do asks for a page: programs send {"move": …}, {"copy": …} or {"folder": …} to this address')
    what = request.params["_do"]
    if what not in STEPS or (what not in _OF_FOLDERS and not parts):
        raise BadRequest(f"_do is {what[:100]!r}, which is nothing that is done here")
    blob = share.blobs.stat(path) if parts and request.path[-1] != "" else None
    if blob is None and not share.is_folder(path):
        raise NotFound(f"files/{share.name} has no {'/'.join(parts)}")
    return plan_of(Response(page={"act": partial(_act, One(share, tuple(parts), blob), what)}))


def _act(one: One, what: str, exchange: Exchange, response: Response) -> Answer:
    caller = response.caller
    if what == "several" or (one.blob and what == "folder"):
        return see_other(exchange.url(one.address + "/" if not one.blob else one.above, **pages.listed(exchange)))
    if what in ("trash", "versions"):  # as a form of theirs was sent
        return see_other(exchange.url(one.address + "/" * (what == "trash"), **{f"_{what}": "1"}))
    if what == "details":
        return _details(one, exchange, caller)
    if what in ("folder", "rename"):
        caller.require(Action.CREATE, one.address + ("/x" if what == "folder" else ""))
        return ask_name(one, exchange, caller, what)
    return cast(Answer, app.plugin("file_steps").begun(one, exchange, caller, what))


def ask_name(
    one: One, exchange: Exchange, caller: Caller, what: str, typed: str | None = None, error: AppError | None = None
) -> Answer:
    """The page that asks how an entry is to be called, or a new folder in `one`; again if what was typed was refused."""
    t, is_new = exchange.locale.t, what == "folder"
    folder = one.address + "/" if is_new else one.above
    name = "" if is_new else one.parts[-1]
    title = t("files.folder_title") if is_new else t("files.rename_title", name=name)
    page = {
        "action": action(exchange, folder, what), "what": what, "box": quote(name, safe=""),
        "typed": name if typed is None else typed,
        "label": t("files.folder_name" if is_new else "files.new_name"),
        "submit": t("files.folder_make" if is_new else "files.rename_now"), "error": _why(exchange, error) if error else "",
        "back_href": exchange.url(folder, **pages.listed(exchange)),
        "crumbs": crumbs(one if is_new else One(one.share, one.parts[:-1]), exchange, title),
    }  # fmt: skip
    body = pages.pages_of(exchange).render(exchange, "file_name.tpl", title, page, caller=caller)
    return pages.page_answer(error.status if error else 200, body)


def _why(exchange: Exchange, error: AppError) -> str:
    """Why a name was not taken, for people."""
    t = exchange.locale.t
    if isinstance(error, Exists):
        return str(t("files.name_taken"))
    return str(t.said(error.faults[0].detail if error.faults else error.message))


def crumbs(one: One, exchange: Exchange, title: str) -> list[SimpleNamespace]:
    """The trail of a page that is about something in the folder `one`."""
    found = pages.crumbs_of(exchange, [*trail_of(exchange, one.parts, title_of(exchange, one.share)), (title, "")])
    if len(found) > 1:  # the folder, as one came from it
        folder = file_trees.address_of(one.share.name, one.parts) + "/"
        found[-2].href = exchange.url(folder, **pages.listed(exchange))
    return found


def title_of(exchange: Exchange, share: Files) -> str:
    """What a share is called in the reader's language."""
    known = pages.site_of(exchange).languages.shown(exchange.locale).get(f"files/{share.name}", share)
    return str(known.title)


# ---- details


def _details(one: One, exchange: Exchange, caller: Caller) -> Answer:
    """What is known of an entry, and what can be done with it."""
    t, name, is_folder = exchange.locale.t, one.parts[-1], one.blob is None
    may = _may_at(caller, one.address, is_folder=is_folder)
    links = [link for link in _menu(exchange, one.address, may, caller, is_folder=is_folder) if link[0] != "details"]
    page = {
        "name": name, "facts": _facts(one, exchange, caller), "address": _whole(one, exchange), "links": links,
        "open_href": exchange.url(one.address + ("/" if is_folder else "")), "is_folder": is_folder,
        "kind": kind_of(name, is_folder=is_folder), "back_href": exchange.url(one.above, **pages.listed(exchange)),
        "crumbs": crumbs(One(one.share, one.parts[:-1]), exchange, name),
    }  # fmt: skip
    title = t("files.details_of", name=name)
    return pages.page_answer(200, pages.pages_of(exchange).render(exchange, "file.tpl", title, page, caller=caller))


def _whole(one: One, exchange: Exchange) -> str:
    """Its address, to be passed on."""
    reached = f"{exchange.scheme}://{exchange.host}{exchange.prefix}" if exchange.host else ""
    site = str(app.plugin("tokens").site_url(pages.site_of(exchange).config, reached))
    return f"{site}/{one.address}" + ("" if one.blob else "/")


def _facts(one: One, exchange: Exchange, caller: Caller) -> list[tuple[str, str]]:
    """(title, text) of what is known of it."""
    locale, t, name = exchange.locale, exchange.locale.t, one.parts[-1]
    if one.blob is None:
        found = [(t("files.kind"), t("files.kinds.folder"))]
        return [*found, (t("files.holds"), held(exchange, one, caller))] if one.share.blobs.lists else found
    size, count = locale.write_size(one.blob.size_bytes), t("files.bytes", n=one.blob.size_bytes)
    found = [
        (t("files.kind"), kind_in_words(locale, name)),
        (t("files.size"), size if size == count else t("files.size_and_bytes", size=size, bytes=count)),
        (t("files.modified"), locale.write_date_time(rfc3339(one.blob.modified_at))),
    ]  # fmt: skip
    who = sender_of(one, exchange)
    return [*found, (t("files.sender"), who)] if who else found


def kind_in_words(locale: Any, name: str) -> str:
    """What a file is by its name, for people, with its media type."""
    kind, type_ = locale.t(f"files.kinds.{kind_of(name)}"), media_types.media_type(name).partition(";")[0]
    return str(locale.t("files.kind_and_type", kind=kind, type=type_))


def held(exchange: Exchange, one: One, caller: Caller) -> str:
    """How much is in a folder, in words."""
    return amount(exchange, file_trees.counted(one.share, one.parts, caller, _MOST_COUNTED))


def amount(exchange: Exchange, counted: Any) -> str:
    """So many folders, files and bytes, in words: "2 folders, 14 files, 3.1 MB". `counted` is a Counted."""
    t = exchange.locale.t
    counts = [(counted.folders, "files.folders"), (counted.files, "files.count")]
    words = [t(key, n=count) for count, key in counts if count]
    if not words:
        return str(t("files.nothing"))
    text = str(t("common.comma").join([*words, exchange.locale.write_size(counted.size_bytes)]))
    return str(t("files.at_least", what=text)) if counted.more else text


def sender_of(one: One, exchange: Exchange) -> str:
    """Who stored a file last, as the audit trail has it; "" if it does not say so soon."""
    where = (Condition("resource", "eq", one.address), Condition("outcome", "eq", "ok"))
    try:
        found = pages.site_of(exchange).state.find(Query("_audit", where, ("-id",), 5)).items
    except AppError:
        return ""
    stores = (str(Action.CREATE), str(Action.UPDATE))
    return next((str(row.value["subject"]) for row in found if not row.damage and row.value.get("action") in stores), "")
