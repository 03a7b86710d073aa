"""Share links of folders: one lists what is in it and leads to all below, another only takes files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote

from app import (
    Action,
    Answer,
    App,
    AppError,
    BadRequest,
    Caller,
    Exchange,
    Files,
    Json,
    Record,
    Request,
    Response,
    Table,
    Value,
    json_answer,
    plugin,
    see_other,
    send_content,
    split_path,
)

if TYPE_CHECKING:
    from plugins import media_types, pages, uploads
    from plugins.uploads import FolderUpload
else:
    media_types, pages = plugin("media_types"), plugin("pages")
    uploads = plugin("uploads")
    FolderUpload = uploads.FolderUpload
links, share = plugin("links"), plugin("share")

# ==== 1. LISTS ===================================================================================================
# /s/CODE/ is the folder, and what is below it stands at the same way from there. What its maker may not read is not there.
# Nothing says where in which share the folder is.
# uses: ERRORS VALUES RUNNERS ASSEMBLY plugin:file_pages plugin:file_view plugin:pages plugin:share_pages
# defines: shown href

_ASKED = ("_size", "_next", "_prev", "_q", "_sort", "_zip", "_name", "_view", "_encoding", "_list")
_NO_CRUMBS = Caller()


def shown(exchange: Exchange, site: App, row: Record, inside: Sequence[str]) -> Answer:
    """What a link shows at a way from its folder: a file, a list, an archive, or the page of a file."""
    if unknown := [one for one in exchange.query if one not in _ASKED]:
        raise BadRequest(f"{unknown[0]} is no parameter of a link")
    if "_zip" in exchange.query:
        exchange.format = exchange.door.formats["zip"]
    asked = {name: text for name, text in exchange.query.items() if name != "_list"}
    facts = {"whole": exchange.format.whole, "page": exchange.page, "languages": exchange.languages}
    response = links.read(site, row, exchange.id, asked, inside, **facts)
    if response.content:
        return send_content(exchange, response.content)
    kind, name, *path = split_path(row.value["address"])
    exchange.resource, exchange.path_inside = f"{kind}/{name}", (*path[:-1], *inside)
    if response.table is None:
        if isinstance(response.data, dict):
            [response.data] = cast(list[Value], _moved(exchange, [response.data], is_whole=False))
        return cast(Answer, share.dumped(exchange, response))
    response.table.rows = _moved(exchange, response.table.rows, is_whole=exchange.format.whole)
    if not exchange.page:
        return cast(Answer, share.dumped(exchange, response))
    return _list_page(exchange, site, row, response)


def href(exchange: Exchange, parts: Sequence[str], *, is_folder: bool = False, **params: Any) -> str:
    """The address on this site of a place in a share, by its names: below the link that was asked for, or its own."""
    parts = [quote(part, safe="") for part in (*parts, *([""] if is_folder else []))]
    if not exchange.inner.startswith("s/"):
        return exchange.url("/".join([exchange.resource, *parts]), **params)
    way = exchange.inner.split("/")
    above = len([part for part in exchange.path_inside if part]) - len([part for part in way[2:] if part])
    return exchange.url("/".join([*way[:2], *(parts[above:] or [""])]), **params)


def _moved(exchange: Exchange, rows: Iterable[Mapping[str, Json]], *, is_whole: bool) -> Iterable[Mapping[str, Json]]:
    """The rows, each with its address under the link."""

    def moved(row: Mapping[str, Json]) -> Mapping[str, Json]:
        return {**row, "address": href(exchange, split_path(str(row["address"]))[2:]).removeprefix(f"{exchange.prefix}/")}

    return map(moved, rows) if is_whole else [moved(row) for row in rows]


def _list_page(exchange: Exchange, site: App, row: Record, response: Response) -> Answer:
    parts, table, t = [part for part in exchange.path_inside if part], cast(Table, response.table), exchange.locale.t
    root = plugin("share_pages").title_of(exchange, site, row.value["address"])
    above = split_path(row.value["address"])[2:-1]
    trail = [(root, href(exchange, above, is_folder=True))]
    trail += [(parts[at], href(exchange, parts[: at + 1], is_folder=True)) for at in range(len(above), len(parts))]
    entries = [_entry(exchange, one, parts) for one in table.rows]
    again: dict[str, Any] = {name: text for name, text in exchange.query.items() if name in ("_q", "_sort", "_size")}
    here = partial(href, exchange, parts, is_folder=True)
    page = {
        "title": trail[-1][0], "trail": trail[:-1], "entries": entries, "search": exchange.query.get("_q", ""),
        "here": here(), "zip_href": here(_zip=1) if entries else "",
        "next_href": here(**(again | {"_next": table.next})) if table.next else "",
        "empty": t("table.nothing_fits") if exchange.query.get("_q") else t("files.empty"),
    }  # fmt: skip
    page = plugin("file_view").around_list(exchange, response, page)
    body = pages.pages_of(exchange).render(exchange, "shared_folder.tpl", page["title"], page, caller=_NO_CRUMBS)
    return pages.page_answer(200, body)


def _entry(exchange: Exchange, row: Mapping[str, Json], folder: Sequence[str]) -> SimpleNamespace:
    """A row of a list, for people."""
    is_folder, locale = row["type"] == "folder", exchange.locale
    way = split_path(str(row["address"]))[2:]
    size = "" if row["size_bytes"] is None else locale.write_size(row["size_bytes"])
    modified = row["modified_at"] or ""
    address = exchange.url(str(row["address"]) + ("/" if is_folder else ""))
    return SimpleNamespace(
        name="/".join(way[len(way) - max(1, len(way) - _depth(exchange)) :]) if exchange.query.get("_q") else row["name"],
        href="" if row["type"] == "unreadable" else address, is_folder=is_folder,
        kind=plugin("file_pages").kind_of(str(row["name"]), is_folder=is_folder),
        size=locale.t("files.unreadable") if row["type"] == "unreadable" else size,
        modified=locale.write_date_time(modified), modified_iso=modified,
    )  # fmt: skip


def _depth(exchange: Exchange) -> int:
    """How many folders below that of the link the list is."""
    return len([part for part in exchange.inner.split("/")[2:] if part])


# ==== 2. BOX =====================================================================================================
# A link for adding files shows none. Each is stored as the one who made the link may store it, under a name that is free;
# the audit trail names the link. An address sends as often in an hour as forms that are open to strangers take.
# uses: ERRORS VALUES RUNNERS RESOURCES ASSEMBLY LISTS plugin:file_view plugin:media_types
#       plugin:pages plugin:public_forms plugin:quota plugin:share_pages plugin:uploads
# defines: Box box

_TOLD = ("name", "size_bytes", "sha256")  # of a file that was stored


class Box(FolderUpload):
    """Files that are sent by a link, each stored beside those of its name."""

    def __init__(self, exchange: Exchange, site: App, row: Record, caller: Caller) -> None:
        address = row.value["address"]
        request = links.place(address, {}, exchange.id)._replace(action=Action.CREATE)
        super().__init__(exchange, request._replace(path=request.path[:-1]))
        sender = caller._replace(subject=links.name_of(row))
        self.host: Any = SimpleNamespace(handle=partial(site.flow.handle_as, sender))
        self._address, self._folder = address, request.path[:-1]
        self._share = cast(Files, site.resources[request.resource])

    def store(self, name: str, request: Request) -> None:
        self.fields = {"_token": self.fields.get("_token", ""), "_keep_both": "1"}
        super().store(name, request)

    def _refused(self, name: str, request: Request, error: AppError) -> uploads.RefusedFile:
        """Why a file was not stored, without where that would have been."""
        no_room = plugin("quota").NoRoom
        if isinstance(error, no_room):
            error = no_room("there is no room for this here")  # and not in which share, of how many bytes
        refused = super()._refused(name, request, error)
        for end in range(len(request.path), len(self._folder), -1):
            place = "/".join(request.path[:end])
            error.message = error.message.replace(place, "/".join(request.path[len(self._folder) : end]))
        refused.error.message = refused.error.message.replace(self._address, "")
        return refused

    def told(self) -> list[Value]:
        """What was stored, without where."""
        return [{name: one.data[name] for name in _TOLD} for one in self.stored]

    def reasons(self, exchange: Exchange) -> list[SimpleNamespace]:
        """Why the others were not."""
        words = exchange.locale.t.said
        return [SimpleNamespace(name=one.name, why=words(one.error.message)) for one in self.refused]

    def report(self) -> Answer:
        answer = super().report()
        if not self.stored:
            return answer
        errors = [{"name": one.name, "code": one.error.code, "detail": one.error.message} for one in self.refused]
        return json_answer(answer.status, {"items": self.told()} | ({"errors": errors} if errors else {}))


def box(exchange: Exchange, site: App, row: Record, caller: Caller) -> Answer:
    """The page of a link that takes files, or what became of those that were sent."""
    if exchange.query:
        raise BadRequest(f"{min(exchange.query)} is no parameter of a link")
    if exchange.method != "POST":
        if not exchange.page:
            raise BadRequest("this link takes files: POST them to it as multipart/form-data")
        return _box_page(exchange, site, row, caller, None)
    plugin("public_forms").admit_files(exchange)
    sent = Box(exchange, site, row, caller)
    sent.receive()
    if not exchange.page:
        return sent.report()
    if sent.refused:
        return _box_page(exchange, site, row, caller, sent)
    names, t = [str(one["name"]) for one in sent.told()], exchange.locale.t
    words = t("uploaded.done", name=names[0]) if len(names) == 1 else t("uploaded.done_many", n=len(names))
    pages.give_notice(exchange, exchange.path, words)
    return see_other(exchange.path)


def _left(exchange: Exchange, site: App, row: Record) -> str | None:
    """How much room there is for what is sent, in words; "" if none is left, and None if there is no limit."""
    kind, name, *_ = split_path(row.value["address"])
    room = plugin("quota").room(site.resources[f"{kind}/{name}"])
    return None if room is None else exchange.locale.write_size(room) if room else ""


def _box_page(exchange: Exchange, site: App, row: Record, caller: Caller, sent: Box | None) -> Answer:
    wanted = links.place(row.value["address"], {}, exchange.id, page=True)
    found = site.flow.handle_as(caller, wanted).page
    title = plugin("share_pages").title_of(exchange, site, row.value["address"])
    page = {
        "title": title, "action": exchange.path, "accept": media_types.file_input_accept(found["accept"]),
        "accepted": ", ".join(found["accept"]), "most_bytes": found["most_bytes"],
        "most": exchange.locale.write_size(found["most_bytes"]),
        "left": _left(exchange, site, row), "stored": sent.told() if sent else [],
        "refused": sent.reasons(exchange) if sent else [],
    }  # fmt: skip
    notice = pages.take_notice(exchange)
    body = pages.pages_of(exchange).render(exchange, "shared_box.tpl", title, page, notice, _NO_CRUMBS)
    return pages.page_answer(sent.status if sent else 200, body)
