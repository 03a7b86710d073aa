"""What the forms of a folder's page do: a new folder, another name, and moving, copying, taking along and deleting entries,
one or several at once, with one report."""

from __future__ import annotations

import hashlib
import re
import secrets
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple, cast
from urllib.parse import quote, unquote

import app
from app import (
    Action,
    Answer,
    AppError,
    BadRequest,
    Caller,
    Conditions,
    Conflict,
    Exchange,
    Exists,
    Files,
    Forbidden,
    NotFound,
    Request,
    Response,
    Unauthenticated,
    Unavailable,
    Value,
    check_path,
    see_other,
)

if TYPE_CHECKING:
    from plugins import file_pages, file_targets, file_trees, html_forms, pages, uploads
    from plugins.file_pages import One
    from plugins.file_targets import Target
else:
    file_pages, file_targets, file_trees = (app.plugin(f"file_{name}") for name in ("pages", "targets", "trees"))
    html_forms, pages, uploads = app.plugin("html_forms"), app.plugin("pages"), app.plugin("uploads")
    One, Target = file_pages.One, file_targets.Target

# ==== 1. WORK ====================================================================================================
# Each entry is a request of its own as the same caller: its rules, its audit entry, all of it or nothing. Another one that
# fails keeps none from being done.
# uses: ERRORS VALUES RUNNERS plugin:file_pages plugin:file_targets plugin:pages plugin:uploads
# defines: MOST MOVE COPY DELETE ZIP Chosen Work Outcome run

MOST = 1000  # entries of one request, as many as a page has
MOVE, COPY, DELETE, ZIP = "move", "copy", "delete", "zip"
_MOST_S = 20.0  # after which no further entry is begun
_MOST_BESIDE = 100  # names that are tried for an entry that is to be kept beside another one


class Chosen(NamedTuple):
    """An entry whose box was ticked; `etag` is of the file that was seen, "" if any will do."""

    name: str
    etag: str = ""

    @property
    def box(self) -> str:
        return quote(self.name, safe="") + (f"?{quote(self.etag, safe='')}" if self.etag else "")


class Work(NamedTuple):
    """What somebody is about to do with entries of a folder. `target` is where they go; None as long as that is open."""

    exchange: Exchange
    caller: Caller
    folder: One
    what: str
    chosen: Sequence[Chosen]
    target: Target | None = None
    base: Request | None = None  # as which it is done; None as long as it is only asked for
    clash: str = ""  # what is to be done where a name is taken: "replace", "both", or "" to ask
    next: str = ""  # where the first entry, a large folder, goes on: see Outcome
    so_far: int = 0  # files of it that are done

    @property
    def t(self) -> Any:
        return self.exchange.locale.t

    @property
    def back_href(self) -> str:
        return self.exchange.url(self.folder.address + "/", **pages.listed(self.exchange))

    @property
    def here(self) -> Target:
        """The folder that they are in, as a target."""
        return Target(self.folder.share, self.folder.parts)

    @property
    def is_here(self) -> bool:
        """Whether they are where they are to go."""
        return self.target is not None and self.target.address == self.here.address


class Outcome(NamedTuple):
    """What became of an entry: done, or why not. `is_left` says that there was no time for it, or not for all of it; then
    `next` is the name that a folder gets, a slash, and where its next step begins."""

    one: Chosen
    error: AppError | None = None
    is_left: bool = False
    next: str = ""
    so_far: int = 0  # files of such a folder that are done


def run(work: Work) -> list[Outcome]:
    """Do it to each entry in turn. A repeat with the same key of the request does none of them twice."""
    host, outcomes, until, away = work.exchange.door.host, list[Outcome](), time.monotonic() + _MOST_S, None
    for number, one in enumerate(work.chosen):
        if away:
            outcomes.append(Outcome(one, away))
            continue
        if number and time.monotonic() > until:
            outcomes.append(Outcome(one, is_left=True))
            continue
        try:
            outcomes.append(_do(work, one, host.handle, "" if number else work.next, until))
        except Unauthenticated:
            raise
        except AppError as error:
            outcomes.append(Outcome(one, error))
            away = error if isinstance(error, Unavailable) else None  # what is away is not waited for a thousand times
    return outcomes


def _do(work: Work, one: Chosen, handle: Callable[[Request], Response], after: str, until: float) -> Outcome:
    """Do it to one entry, a large folder step by step as long as there is time."""
    name, _, after = after.partition("/")
    so_far = work.so_far if after else 0
    while True:
        name, data = _step(work, one, handle, name, after)
        so_far += cast(int, data.get("files") or 0)
        after = str(data.get("next") or ("more" if data.get("more") else ""))
        if not after:
            return Outcome(one)
        if time.monotonic() > until:
            return Outcome(one, is_left=True, next=f"{name}/{after}", so_far=so_far)


def _step(work: Work, one: Chosen, handle: Callable[[Request], Response], name: str, after: str) -> tuple[str, Value]:
    """The name that the entry gets, and what is answered."""
    if work.what == DELETE:
        conditions = Conditions((one.etag,)) if one.etag else Conditions()
        request = _request(work, one, DELETE + secrets.token_hex(8) * bool(after))
        request = request._replace(action=Action.DELETE, params={"_tree": "1"}, conditions=conditions)
        return one.name, _data(handle(request))
    if not after and (work.clash == "both" or (work.is_here and work.what == COPY)):
        return _beside(work, one, handle)
    name = name if after else one.name
    return name, _data(handle(_put(work, one, name, after, overwrite=work.clash == "replace")))


def _data(response: Response) -> Value:
    return response.data if isinstance(response.data, dict) else {}


def _request(work: Work, one: Chosen, place: str) -> Request:
    """The request about an entry, which a repeat of the form does not do once more."""
    base, digest = cast(Request, work.base), hashlib.sha256(f"{one.name} {place} {work.clash}".encode()).hexdigest()[:16]
    key = f"{base.idempotency_key} {digest}" if base.idempotency_key else ""
    return base._replace(path=(*work.folder.parts, one.name), idempotency_key=key)


def _put(work: Work, one: Chosen, name: str, after: str = "", *, overwrite: bool = False) -> Request:
    """The request that moves or copies an entry, which is called `name` there, from where the step before has ended."""
    target = cast(Target, work.target)
    place = Target(target.share, (*target.parts, name)).address
    more: Value = {**({"overwrite": True} if overwrite else {}), **({"next": after} if after else {})}
    return _request(work, one, f"{place} {after}".rstrip())._replace(data={work.what: place, **more})


def _beside(work: Work, one: Chosen, handle: Callable[[Request], Response]) -> tuple[str, Value]:
    """Move or copy an entry under its name, or under the first like it that is free."""
    for number in range(2 if work.is_here else 1, _MOST_BESIDE):
        with suppress(Exists):
            name = uploads.numbered(one.name, number)
            return name, _data(handle(_put(work, one, name)))
    raise Conflict(f"{one.name} and a hundred names like it exist there")


# ==== 2. QUESTIONS ===============================================================================================
# Deleting is asked for once more, with what goes; moving and copying ask where to.
# uses: RUNNERS WORK plugin:file_pages plugin:file_targets plugin:file_trees plugin:pages
# defines:

_MOST_COUNTED = 10_000  # files and folders, for the question
_MOST_NAMED = 5  # entries that there was no time for
_DAY_S = 86_400


def _page(work: Work, template: str, title: str, shown: dict[str, Any], status: int = 200) -> Answer:
    exchange, folder = work.exchange, work.folder
    name = folder.parts[-1] if folder.parts else file_pages.title_of(exchange, folder.share)
    page = {
        "crumbs": file_pages.crumbs(folder, exchange, title), "back_href": work.back_href, "back": name,
        "form_title": name, "what": work.what, "action": file_pages.action(exchange, folder.address + "/", "several"),
        "conflicts": (), "going": None, **shown,
    }  # fmt: skip
    body = pages.pages_of(exchange).render(exchange, template, title, page, caller=work.caller)
    return pages.page_answer(status, body)


def _seen(work: Work) -> tuple[list[tuple[Chosen, One]], int]:
    """The entries that are there, and how many are gone."""
    share, found = work.folder.share, []
    for one in work.chosen:
        parts = (*work.folder.parts, one.name)
        path = share.place("/".join(parts))
        blob = share.blobs.stat(path)
        if blob or share.is_folder(path):
            found.append((one, One(share, parts, blob)))
    return found, len(work.chosen) - len(found)


def _title(work: Work, seen: Sequence[tuple[Chosen, One]]) -> str:
    """What is to be done, with the name of a single entry."""
    if len(seen) == 1:
        return str(work.t(f"files.{work.what}_one", name=seen[0][0].name))
    return str(work.t(f"files.{work.what}_title", n=len(seen)))


def _note(work: Work) -> str:
    """Whether what is deleted can be brought back."""
    days = int(work.folder.share.config.trash_s or 0) // _DAY_S
    return str(work.t("files.trash_note", n=days) if days else work.t("files.delete_note"))


def _lines(work: Work, seen: Sequence[tuple[Chosen, One]], *, dated: bool = False) -> list[SimpleNamespace]:
    """A line for each entry, with its box; with what says which file was seen, if it is to be `dated`."""
    return [_line(work, one, place, dated=dated) for one, place in seen]


def _line(work: Work, one: Chosen, place: One, *, dated: bool) -> SimpleNamespace:
    is_folder = place.blob is None
    box = one._replace(etag=place.blob.etag if place.blob and dated else "").box
    size = work.exchange.locale.write_size(place.blob.size_bytes) if place.blob else ""
    kind = file_pages.kind_of(one.name, is_folder=is_folder)
    return SimpleNamespace(value=box, called=one.name, size=size, kind=kind, is_folder=is_folder)


def _counted(work: Work, places: Sequence[One]) -> tuple[SimpleNamespace, int]:
    """How much they are with all that is in them, and how much of it the caller may not delete."""
    goes, kept = SimpleNamespace(files=0, folders=0, size_bytes=0, more=False), 0
    for one in places:
        if one.blob:
            goes.files, goes.size_bytes = goes.files + 1, goes.size_bytes + one.blob.size_bytes
            continue
        room = max(_MOST_COUNTED - goes.files - goes.folders, 0)
        found = file_trees.counted(one.share, one.parts, work.caller, room)
        goes.files, goes.folders = goes.files + found.files, goes.folders + found.folders + 1
        goes.size_bytes, goes.more, kept = goes.size_bytes + found.size_bytes, goes.more or found.more, kept + found.kept
    return goes, kept


def _asked_to_delete(work: Work) -> Answer:
    """The page that names them, with how much goes."""
    seen, gone = _seen(work)
    goes, kept = _counted(work, [place for _, place in seen])
    shown = {
        "gone": gone, "rows": _lines(work, seen, dated=True), "kept": kept,
        "goes": file_pages.amount(work.exchange, goes) if seen else "",
        "note": _note(work),
    }  # fmt: skip
    return _page(work, "file_delete.tpl", _title(work, seen), shown)


def _asked_where(work: Work, at: Target | None, error: str = "") -> Answer:
    """The page on which one walks to the folder that they are to go to."""
    seen, gone = _seen(work)
    barred = [place.address + "/" for _, place in seen if place.blob is None] if work.what == MOVE else []
    walk = file_targets.walked(work.exchange, work.caller, at, barred)
    is_here = at is not None and at.address == work.here.address
    shown = {
        "gone": gone, "rows": _lines(work, seen), "walk": walk, "error": error,
        "takes": walk.takes and not (is_here and work.what == MOVE), "is_here": is_here,
    }  # fmt: skip
    return _page(work, "file_target.tpl", _title(work, seen), shown)


# ==== 3. TOLD ====================================================================================================
# The folder with what was done, or a report if something was not: names that are taken are asked about there.
# uses: ERRORS VALUES RUNNERS WORK QUESTIONS plugin:file_pages plugin:file_targets plugin:pages
# defines:


def _told(work: Work, html: Any, outcomes: Sequence[Outcome]) -> Answer:
    exchange, t = work.exchange, work.t
    left, going = [one for one in outcomes if one.error], [one for one in outcomes if one.is_left]
    done = len(outcomes) - len(left) - len(going)
    words = _words(work, done) if done else ""
    if going:
        return _told_of_rest(work, going, left, words)
    if not left or (work.what == DELETE and all(isinstance(one.error, NotFound) for one in left)):
        return see_other(html.left_at(exchange, words or t("form.deleted_already")))
    clashes = [one for one in left if isinstance(one.error, Exists)]
    target = work.target
    shown = {
        "step": "report", "done": words, "gone": 0, "rows": (), "to": target.address + "/" if target else "",
        "left": [_why(work, one) for one in left if one not in clashes],
        "conflicts": _lines(work, _seen(work._replace(chosen=[one.one for one in clashes]))[0]),
        "may_replace": bool(target and target.may(work.caller, Action.UPDATE)),
        "way": _way(exchange, target) if target else "",
    }  # fmt: skip
    title = (
        t("files.clash_title", n=len(clashes))
        if len(clashes) == len(left)
        else t("several.left_title", n=len(left), of=len(outcomes))
    )
    return _page(work, "several.tpl", title, shown)


def _told_of_rest(work: Work, going: Sequence[Outcome], left: Sequence[Outcome], words: str) -> Answer:
    """The page that goes on with what there was no time for."""
    boxes = " ".join(one.one._replace(etag="").box if one.next else one.one.box for one in going)
    to = work.target.address + "/" if work.target else ""
    shown = {
        "step": "report", "done": words, "gone": 0, "rows": (), "left": [_why(work, one) for one in left],
        "going": SimpleNamespace(
            boxes=boxes, next=going[0].next, to=to, clash=work.clash, names=[one.one.name for one in going[:_MOST_NAMED]],
            more=len(going) - _MOST_NAMED, so_far=going[0].so_far,
        ),
    }  # fmt: skip
    return _page(work, "several.tpl", work.t(f"files.going_{work.what}"), shown)


def _way(exchange: Exchange, target: Target) -> str:
    return " / ".join((file_pages.title_of(exchange, target.share), *target.parts))


def _words(work: Work, count: int) -> str:
    """What was done, for people."""
    name = work.chosen[0].name if len(work.chosen) == 1 else ""
    if work.what == DELETE:
        return _deleted_words(work, count, name)
    way = _way(work.exchange, cast(Target, work.target))
    key = "files.moved" if work.what == MOVE else "files.copied"
    return str(work.t(f"{key}_one", name=name, folder=way) if name else work.t(key, n=count, folder=way))


def _deleted_words(work: Work, count: int, name: str) -> str:
    words = work.t("form.deleted_name", name=name) if name else work.t("files.deleted", n=count)
    return f"{words} {work.t('trash.can_come_back')}" if work.folder.share.config.trash_s else str(words)


def _why(work: Work, outcome: Outcome) -> SimpleNamespace:
    """What an entry is called, and why nothing was done to it."""
    return SimpleNamespace(called=outcome.one.name, href="", why=_reason(work, cast(AppError, outcome.error)))


def _reason(work: Work, error: AppError) -> str:
    if isinstance(error, NotFound):
        return str(work.t("several.gone"))
    if isinstance(error, Forbidden):
        return str(work.t("files.forbidden", contact=_contact(work)))
    return str(work.t("several.changed") if error.status == 412 else work.t.said(error.message))


def _contact(work: Work) -> str:
    return pages.pages_of(work.exchange).contact(work.exchange) or str(work.t("common.somebody"))


# ==== 4. SUBMITTED ===============================================================================================
# What a page sends: to the folder, with _do in its address.
# uses: ERRORS VALUES RUNNERS RESOURCES WORK QUESTIONS TOLD plugin:file_pages plugin:file_targets plugin:html_forms
#       plugin:kept_pages plugin:pages plugin:zip
# defines: submitted begun

_MOST_BYTES = 4 << 20  # of a form: names of a thousand entries, percent-encoded


def submitted(exchange: Exchange, html: Any, resource: str, path: Sequence[str]) -> Answer:
    """The answer to a form of a folder's page. `html` is the Html that it came to."""
    if exchange.query["_do"] in ("trash", "versions"):
        return cast(Answer, app.plugin("kept_pages").submitted(exchange, resource, path))
    form = html_forms.read_form(exchange, _MOST_BYTES)
    exchange.door.check_token(exchange, form.text("_token"))
    parts, host = tuple(part for part in path if part), exchange.door.host
    base = exchange.door.request(exchange, resource, parts, Action.CREATE)._replace(params={}, decode=None, typed=True)
    try:
        caller = host.handle(_listing(base)).caller
    except NotFound:
        return see_other(html.left_at(exchange, exchange.locale.t("files.folder_gone")))
    exchange.subject = caller.subject
    share = cast(Files, pages.site_of(exchange).resources[resource])
    folder, what = One(share, parts), exchange.query["_do"]
    if what in ("folder", "rename"):
        return _named(exchange, caller, folder, what, form, base)
    if what != "several":
        raise BadRequest(f"_do is {what[:100]!r}, which no form of this page sends")
    work = Work(
        exchange, caller, folder, form.text("do"), _chosen(form), base=base, clash=form.text("clash"),
        next=form.text("next"), so_far=int(form.text("so_far")) if re.fullmatch("[0-9]{1,12}", form.text("so_far")) else 0,
    )  # fmt: skip
    return _gone_on(work, html, form)


def _listing(base: Request) -> Request:
    """The request for the list of the folder, which says who asks: nothing is done by those who may not read it."""
    path, nothing = (*base.path, ""), Conditions()
    return base._replace(action=Action.READ, path=path, params={"_size": "1"}, idempotency_key="", conditions=nothing)


def _chosen(form: html_forms.SentForm) -> list[Chosen]:
    """The entries whose boxes were ticked, each once."""
    found: dict[str, Chosen] = {}
    texts = [one for one in form.fields.get("id", ()) if isinstance(one, str)]
    for box in (part for text in texts for part in text.split()):
        name, _, etag = (unquote(one) for one in box.partition("?"))
        if not name:
            raise BadRequest("a ticked entry is not from a page of this site: open the folder again")
        check_path([name], is_there=True)
        found.setdefault(name, Chosen(name, etag))
    if len(found) > MOST:
        raise BadRequest(f"at most {MOST:,} entries are taken at once, and these are {len(found):,}")
    return list(found.values())


def _named(exchange: Exchange, caller: Caller, folder: One, what: str, form: html_forms.SentForm, base: Request) -> Answer:
    """A new folder is made, or an entry gets another name; if not, the page asks again and says why."""
    t, typed, name = exchange.locale.t, form.text("name").strip(), ""
    one, data, notice = folder, {"folder": typed}, t("files.folder_made", name=typed)
    if what == "rename":
        name = unquote(form.text("id"))
        one, data = One(folder.share, (*folder.parts, name)), {"move": _address(folder, typed)}
        base, notice = base._replace(path=one.parts), t("files.renamed", name=name, new=typed)
    back = exchange.url(folder.address + "/", **pages.listed(exchange))
    if typed == name and typed:
        return see_other(back)
    try:
        check_path([typed])
        exchange.door.host.handle(base._replace(data=data))
    except (Unauthenticated, Forbidden):
        raise
    except AppError as error:
        return file_pages.ask_name(one, exchange, caller, what, typed, error)
    pages.give_notice(exchange, exchange.url(folder.address + "/"), notice)
    return see_other(back)


def _address(folder: One, name: str) -> str:
    return One(folder.share, (*folder.parts, name)).address


def begun(one: One, exchange: Exchange, caller: Caller, what: str) -> Answer:
    """The first page of moving, copying or deleting one entry."""
    caller.require(Action.READ if what == COPY else Action.DELETE, one.address + ("" if one.blob else "/x"))
    folder = One(one.share, one.parts[:-1])
    work = Work(exchange, caller, folder, what, [Chosen(one.parts[-1])])
    return _asked_to_delete(work) if what == DELETE else _asked_where(work, Target(folder.share, folder.parts))


def _gone_on(work: Work, html: Any, form: html_forms.SentForm) -> Answer:
    """The next step of what is done with several entries."""
    exchange = work.exchange
    if work.what not in (MOVE, COPY, DELETE, ZIP) or work.clash not in ("", "replace", "both", "skip"):
        raise BadRequest("do must be move, copy, delete or zip")
    if not work.chosen:
        pages.give_notice(exchange, exchange.url(work.folder.address + "/"), work.t("several.none"))
        return see_other(work.back_href)
    if work.what == ZIP:
        return _archive(work)
    if work.what == DELETE:
        return _told(work, html, run(work)) if form.text("sure") else _asked_to_delete(work)
    if "to" in form.fields:
        target = file_targets.target_at(exchange, work.caller, form.text("to"))
        if target is None:
            return _asked_where(work, None, error=work.t("files.no_target"))
        work = work._replace(target=target)
        return _told(work, html, run(work))
    at = file_targets.target_at(exchange, work.caller, form.text("at")) if "at" in form.fields else work.here
    return _asked_where(work, at)


def _archive(work: Work) -> Answer:
    """What was chosen, as one archive; what is gone by now is not in it."""
    names = [one.name for one, _ in _seen(work)[0]]
    for name in names:
        work.caller.require(Action.READ, _address(work.folder, name))
    if not names:
        pages.give_notice(work.exchange, work.exchange.url(work.folder.address + "/"), work.t("several.gone"))
        return see_other(work.back_href)
    share, parts, zips = work.folder.share, work.folder.parts, app.plugin("zip")
    wanted = zips.Wanted(share, share.place("/".join(parts)), parts, names)
    return cast(Answer, zips.answer_of(work.exchange, wanted, work.caller))
