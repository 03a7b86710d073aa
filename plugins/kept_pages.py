"""The pages of a share's trash and of the former versions of a file, what their forms do, and the line about a quota."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import app
from app import (
    Action,
    Answer,
    AppError,
    BadRequest,
    Blob,
    Caller,
    Conditions,
    Conflict,
    Exchange,
    Exists,
    Fault,
    Files,
    Invalid,
    NotFound,
    Request,
    Response,
    Unauthenticated,
    Value,
    check_path,
    rfc3339,
    see_other,
)

if TYPE_CHECKING:
    from plugins import file_pages, html_forms, kept_asked, kept_files, pages, quota, uploads
    from plugins.file_pages import One
    from plugins.kept_files import Kept
else:
    file_pages, html_forms, kept_asked = app.plugin("file_pages"), app.plugin("html_forms"), app.plugin("kept_asked")
    kept_files, pages, quota = app.plugin("kept_files"), app.plugin("pages"), app.plugin("quota")
    uploads, One, Kept = app.plugin("uploads"), file_pages.One, kept_files.Kept

# ==== 1. SEEN ====================================================================================================
# What was deleted below a folder, and the versions of a file, each with what whoever looks may do with it.
# uses: VALUES RUNNERS RESOURCES plugin:big_folders plugin:file_pages plugin:kept_asked plugin:kept_files plugin:pages
#       plugin:quota
# defines: trash_link versions_link room_line trash versions

_DAY_S = 86_400
_FULL = 0.9  # of a quota, from which on its meter warns


def _share(exchange: Exchange, name: str) -> Files:
    return cast(Files, pages.site_of(exchange).resources[name])


def _share_of(exchange: Exchange, address: str) -> Files:
    """The share in which an address is."""
    return _share(exchange, "/".join(app.split_path(address)[:2]))


def trash_link(exchange: Exchange, folder: str, may: Sequence[Action]) -> list[tuple[str, str]]:
    """(address, words) of what leads from a folder to its trash, for whom that answers."""
    share = _share_of(exchange, folder)
    if not share.config.trash_s or not {Action.READ, Action.DELETE} <= {*may}:
        return []
    return [(exchange.url(folder, _trash="1"), exchange.locale.t("trash.title"))]


def versions_link(exchange: Exchange, address: str, state: str | None) -> list[tuple[str, str, str]]:
    """What the menu of a file has for its versions, if its share keeps some."""
    share = _share_of(exchange, address)
    if not share.config.versions:
        return []
    return [("versions", exchange.url(address, _versions="1", _list=state), exchange.locale.t("versions.entry"))]


def room_line(exchange: Exchange, folder: str) -> SimpleNamespace | None:
    """How much of a share's quota is used, in words and as numbers; None without a quota and before the first count."""
    share = _share_of(exchange, folder)
    limit, used = share.config.quota_bytes, quota.usage(share).used_bytes if share.config.quota_bytes else None
    if used is None:
        return None
    size = exchange.locale.write_size
    words = exchange.locale.t("files.used", used=size(used), limit=size(limit))
    return SimpleNamespace(used=used, limit=limit, high=int(limit * _FULL), text=words, is_full=used >= limit)


def _shown(exchange: Exchange, caller: Caller, template: str, title: str, page: dict[str, Any], status: int = 200) -> Answer:
    notice = pages.take_notice(exchange) if exchange.method in ("GET", "HEAD") else ""
    body = pages.pages_of(exchange).render(exchange, template, title, page, notice, caller)
    return pages.page_answer(status, body)


def trash(
    share: Files, parts: Sequence[str], ones: Sequence[Kept], following: str | None, exchange: Exchange, response: Response
) -> Answer:
    """A page of what was deleted below a folder."""
    t, caller, folder = exchange.locale.t, response.caller, One(share, tuple(parts))
    title, here = t("trash.title"), folder.address + "/"
    rows = [_thrown_row(exchange, share, one, caller) for one in ones]
    others = [("restore", t("trash.restore"))] if any(one.may_restore for one in rows) else []
    bar = SimpleNamespace(
        action=file_pages.action(exchange, here, "trash"), all=" ".join(one.id for one in rows), count=len(rows), kinds=[],
        may_move=False, may_delete=False, others=[*others, ("purge", t("trash.purge"))],
    )  # fmt: skip
    size = exchange.query.get("_size")
    page = {
        "rows": rows, "several": bar, "crumbs": file_pages.crumbs(folder, exchange, title), "empties": bool(rows),
        "form_title": _name_of(exchange, folder), "back_href": exchange.url(here), "count": "", "ways": "",
        "stays": t("trash.stays", contact=_contact(exchange)) if not all(one.may_restore for one in rows) else "",
        "note": t("trash.note", n=days) if (days := int(share.config.trash_s) // _DAY_S) else "",
        "previous_href": "", "first_href": exchange.url(here, _trash="1", _size=size) if "_next" in exchange.query else "",
        "next_href": exchange.url(here, _trash="1", _size=size, _next=following) if following else "",
    }  # fmt: skip
    return _shown(exchange, caller, "trash.tpl", title, page)


def _contact(exchange: Exchange) -> str:
    return pages.pages_of(exchange).contact(exchange) or str(exchange.locale.t("common.somebody"))


def _name_of(exchange: Exchange, folder: One) -> str:
    return folder.parts[-1] if folder.parts else file_pages.title_of(exchange, folder.share)


def _kind(one: Kept) -> str:
    return str(file_pages.kind_of(one.path.rpartition("/")[2], is_folder=bool(one.folders)))


def _size(exchange: Exchange, one: Kept) -> str:
    """How large a file was, or how much is in a folder, in words."""
    return _amount(exchange, [one]) if one.folders else str(exchange.locale.write_size(one.size_bytes))


def _amount(exchange: Exchange, ones: Sequence[Kept]) -> str:
    """How much they are together, in words."""
    counted = SimpleNamespace(
        folders=sum(one.folders for one in ones), files=sum(one.files if one.folders else 1 for one in ones),
        size_bytes=sum(one.size_bytes for one in ones), more=False,
    )  # fmt: skip
    return str(file_pages.amount(exchange, counted))


def _may_restore(share: Files, one: Kept, caller: Caller) -> bool:
    address = kept_asked.address_of(share, one)
    is_covered = not one.folders or app.plugin("big_folders").covers_below(caller, Action.CREATE, address)
    return is_covered and caller.may(Action.CREATE, address)


def _thrown_row(exchange: Exchange, share: Files, one: Kept, caller: Caller) -> SimpleNamespace:
    locale, inner = exchange.locale, kept_asked.inner_of(share, one)
    where, _, name = inner.rpartition("/")
    until = locale.write_date_time(rfc3339(one.at + share.config.trash_s)) if share.config.trash_s else ""
    return SimpleNamespace(
        id=one.id, name=name, kind=_kind(one), where=" / ".join(where.split("/")) if where else "",
        size=_size(exchange, one), at=locale.write_date_time(rfc3339(one.at)), at_iso=rfc3339(one.at),
        by=one.by, until=until, may_restore=_may_restore(share, one, caller),
    )  # fmt: skip


def versions(
    share: Files, parts: Sequence[str], blob: Blob | None, found: Sequence[Kept], exchange: Exchange, response: Response
) -> Answer:
    """The page of a file's versions, with the present one on top."""
    t, locale, caller, one = exchange.locale.t, exchange.locale, response.caller, One(share, tuple(parts), blob)
    title, address = t("versions.title", name=parts[-1]), one.address
    present = None
    if blob:
        present = SimpleNamespace(
            at=locale.write_date_time(rfc3339(blob.modified_at)), size=locale.write_size(blob.size_bytes),
            href=exchange.url(address), by=file_pages.sender_of(one, exchange),
        )  # fmt: skip
    rows = [
        SimpleNamespace(
            id=old.id, at=locale.write_date_time(rfc3339(old.modified_at)), size=locale.write_size(old.size_bytes),
            replaced=locale.write_date_time(rfc3339(old.at)), by=old.by, href=exchange.url(address, _version=old.id),
        )
        for old in found
    ]  # fmt: skip
    may_restore = caller.may(Action.UPDATE if blob else Action.CREATE, address)
    page = {
        "name": parts[-1], "present": present, "rows": rows, "action": file_pages.action(exchange, address, "versions"),
        "may_restore": may_restore,
        "stays": "" if may_restore or not rows else t("versions.stays", contact=_contact(exchange)),
        "may_delete": caller.may(Action.DELETE, address),
        "crumbs": file_pages.crumbs(One(share, one.parts[:-1]), exchange, parts[-1]),
        "back": _name_of(exchange, One(share, one.parts[:-1])),
        "back_href": exchange.url(one.above, **pages.listed(exchange)),
    }  # fmt: skip
    return _shown(exchange, caller, "versions.tpl", title, page)


# ==== 2. DONE ====================================================================================================
# What the forms of both pages send: to the folder or the file, with _do in its address. Each kept file is a request of
# its own.
# uses: ERRORS VALUES RUNNERS SEEN plugin:file_pages plugin:html_forms plugin:kept_asked plugin:kept_files
#       plugin:pages plugin:uploads
# defines: submitted

_MOST_BYTES = 1 << 20  # of a form
_MOST = 1000  # kept files of one form, as many as a page has
_MOST_BESIDE = 100  # names that are tried for a file that is to be kept beside another one


class _Work(NamedTuple):
    """What somebody is about to do with what is kept below a folder, or of a file."""

    exchange: Exchange
    caller: Caller
    place: One
    base: Request
    form: html_forms.SentForm

    @property
    def t(self) -> Any:
        return self.exchange.locale.t

    @property
    def is_trash(self) -> bool:
        return self.exchange.query["_do"] == "trash"

    @property
    def address(self) -> str:
        return self.place.address + ("/" if self.is_trash else "")

    @property
    def back_href(self) -> str:
        return self.exchange.url(self.address, **{"_trash" if self.is_trash else "_versions": "1"})

    def back(self, notice: str) -> Answer:
        """The page again, which says what was done."""
        pages.give_notice(self.exchange, self.exchange.url(self.address), notice)
        return see_other(self.back_href)

    def send(self, about: str, **changes: Any) -> Response:
        """A request as the same caller, which a repeat of the form does not do once more."""
        digest = hashlib.sha256(about.encode()).hexdigest()[:16]
        key = f"{self.base.idempotency_key} {digest}" if self.base.idempotency_key else ""
        return self.exchange.door.host.handle(self.base._replace(idempotency_key=key, **changes))


def submitted(exchange: Exchange, resource: str, path: Sequence[str]) -> Answer:
    """The answer to a form of the trash's page, or of that of a file's versions."""
    form = html_forms.read_form(exchange, _MOST_BYTES)
    exchange.door.check_token(exchange, form.text("_token"))
    parts, is_trash = tuple(part for part in path if part), exchange.query["_do"] == "trash"
    base = exchange.door.request(exchange, resource, parts, Action.CREATE)._replace(params={}, decode=None, typed=True)
    base = base._replace(path=(*parts, "") if is_trash else parts)
    asked = {"_trash": "1", "_size": "1"} if is_trash else {"_versions": "1"}
    seen = base._replace(action=Action.READ, params=asked, idempotency_key="", conditions=Conditions())
    caller = exchange.door.host.handle(seen).caller
    exchange.subject = caller.subject
    work = _Work(exchange, caller, One(_share(exchange, resource), parts), base, form)
    pressed = next((one for one in ("restore", "purge") if form.text(one)), "")  # the button of a single row
    do = pressed or form.text("do")
    ids = [form.text(pressed)] if pressed else [one for text in form.fields.get("id", ()) for one in str(text).split()]
    if do == "empty" and is_trash:
        return _emptied(work)
    if do not in ("restore", "purge") or len(ids) > _MOST:
        raise BadRequest(f"do must be restore, purge or empty, for at most {_MOST:,} files")
    if not ids:
        return work.back(work.t("several.none"))
    if not is_trash:
        return _version_done(work, do, ids[0])
    ones = list(_still_there(work, ids))
    if not ones:
        return work.back(work.t("trash.gone"))
    return _restored(work, ones) if do == "restore" else _purged(work, ones)


def _still_there(work: _Work, ids: Sequence[str]) -> Sequence[Kept]:
    found = []
    for id_ in dict.fromkeys(ids):
        with suppress(NotFound):
            found.append(kept_asked.seen_in_trash(work.place.share, id_, work.caller))
    return found


def _row(work: _Work, one: Kept) -> SimpleNamespace:
    name, size = kept_asked.inner_of(work.place.share, one), _size(work.exchange, one)
    return SimpleNamespace(value=one.id, called=name, size=size, kind=_kind(one), is_folder=bool(one.folders))


def _asked(work: _Work, title: str, do: str, status: int = 200, **shown: Any) -> Answer:
    """The page between: it asks, or says what was not done and why."""
    place = work.place if work.is_trash else One(work.place.share, work.place.parts[:-1])
    page: dict[str, Any] = {
        "do": do, "action": file_pages.action(work.exchange, work.address, work.exchange.query["_do"]),
        "back_href": work.back_href, "back": work.t("trash.title") if work.is_trash else work.place.parts[-1],
        "crumbs": file_pages.crumbs(place, work.exchange, title), "rows": (), "left": (), "words": "", "id": "",
        "done": "", "submit": work.t("trash.purge_now"), "taken": False, "may_replace": False, "name": "", "error": "",
    }  # fmt: skip
    return _shown(work.exchange, work.caller, "kept_step.tpl", title, page | shown, status)


# ---- out of the trash


def _restored(work: _Work, ones: Sequence[Kept]) -> Answer:
    """Each comes back; what is in the way of one is asked about."""
    clash, done, taken, left = work.form.text("clash"), list[str](), list[Kept](), list[SimpleNamespace]()
    if clash not in ("", "replace", "both", "name"):
        raise BadRequest("clash must be replace, both or name")
    for one in ones:
        name = kept_asked.inner_of(work.place.share, one)
        try:
            done.append(_brought_back(work, one, clash))
        except Unauthenticated:
            raise
        except Exists:
            taken.append(one)
        except AppError as error:
            if clash == "name":
                return _taken(work, ones, error=_said(work, error))
            left.append(SimpleNamespace(called=name, why=_said(work, error)))
    words = _back_words(work, done)
    if taken:
        why = work.t("files.name_taken") if clash == "name" else ""
        return _taken(work, taken, done=words, left=left, error=why)
    if left:
        return _asked(work, work.t("several.left_title", n=len(left), of=len(ones)), "restore", left=left, done=words)
    return work.back(words)


def _brought_back(work: _Work, one: Kept, clash: str) -> str:
    """Brings one back. Returns the path in its share that it has now."""
    inner = kept_asked.inner_of(work.place.share, one)
    above, mark, name = inner.rpartition("/")

    def put(path: str = "", **more: Any) -> str:
        to = {"to": One(work.place.share, tuple(path.split("/"))).address} if path else {}
        work.send(f"{one.id} {path} {clash}", data={"restore": one.id, **to, **more})
        return path or inner

    if clash == "name":
        typed = work.form.text("name").strip()
        check_path([typed])
        if not typed:
            raise Invalid("a name is missing", faults=[Fault("/name", "required", "is required")])
        return put(above + mark + typed)
    if clash == "both":
        return _beside(put, above + mark, name)
    return put(overwrite=True) if clash else put()


def _beside(put: Callable[[str], str], above: str, name: str) -> str:
    for number in range(1, _MOST_BESIDE):
        with suppress(Exists):
            return put(above + uploads.numbered(name, number))
    raise Conflict(f"{name} and a hundred names like it exist there")


def _back_words(work: _Work, done: Sequence[str]) -> str:
    if not done:
        return ""
    return str(work.t("trash.restored_one", name=done[0]) if len(done) == 1 else work.t("trash.restored", n=len(done)))


def _said(work: _Work, error: AppError) -> str:
    if isinstance(error, NotFound):
        return str(work.t("several.gone"))
    if isinstance(error, app.Forbidden):
        contact = pages.pages_of(work.exchange).contact(work.exchange) or work.t("common.somebody")
        return str(work.t("files.forbidden", contact=contact))
    return str(work.t.said(error.faults[0].detail if error.faults else error.message))


def _taken(work: _Work, ones: Sequence[Kept], *, error: str = "", **shown: Any) -> Answer:
    """The page for files whose places are taken."""
    share, single = work.place.share, len(ones) == 1
    title = work.t("trash.taken_title", n=len(ones))
    name = kept_asked.inner_of(share, ones[0]).rpartition("/")[2] if single else ""
    name = (work.form.text("name") or uploads.numbered(name, 2)) if single else ""
    may_replace = all(not one.folders and work.caller.may(Action.UPDATE, kept_asked.address_of(share, one)) for one in ones)
    return _asked(
        work, title, "restore", status=422 if error else 200, taken=True, rows=[_row(work, one) for one in ones],
        error=error, may_replace=may_replace, name=name, words=work.t("trash.taken"), **shown,
    )  # fmt: skip


# ---- for good


def _purged(work: _Work, ones: Sequence[Kept]) -> Answer:
    if not work.form.text("sure"):
        words = work.t("trash.goes", what=_amount(work.exchange, ones))
        title = work.t("trash.purge_title", n=len(ones))
        return _asked(work, title, "purge", rows=[_row(work, one) for one in ones], words=words)
    done = 0
    for one in ones:
        with suppress(NotFound):  # somebody was faster
            work.send(one.id, data={"purge": one.id})
            done += 1
    return work.back(work.t("trash.purged", n=done))


def _emptied(work: _Work) -> Answer:
    if work.form.text("sure"):
        gone = cast(Value, work.send("empty", data={"purge": "all"}).data)
        return work.back(work.t("trash.purged", n=gone["purged"]))
    share = work.place.share
    ones = kept_asked.all_thrown(share, share.place("/".join(work.place.parts)), work.caller)
    if not ones:
        return work.back(work.t("trash.none"))
    where = _name_of(work.exchange, work.place)
    words = work.t("trash.empties", what=_amount(work.exchange, ones), folder=where)
    return _asked(work, work.t("trash.empty_title"), "empty", words=words, submit=work.t("trash.empty_now"))


# ---- versions


def _version_done(work: _Work, do: str, id_: str) -> Answer:
    t, share = work.t, work.place.share
    try:
        old = kept_asked.version_of(share, share.place("/".join(work.place.parts)), id_)
    except NotFound:
        return work.back(t("versions.gone"))
    at = work.exchange.locale.write_date_time(rfc3339(old.modified_at))
    if do == "restore":
        work.send(id_, data={"restore": id_})
        return work.back(t("versions.restored", at=at))
    if work.form.text("sure"):
        work.send(id_, action=Action.DELETE, params={"_version": id_}, conditions=Conditions())
        return work.back(t("versions.deleted", at=at))
    words = t("versions.goes", at=at, size=work.exchange.locale.write_size(old.size_bytes))
    return _asked(work, t("versions.delete_title"), "purge", words=words, id=id_)
