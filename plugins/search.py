"""/search: what there is of a name or a text, among the resources, their records, pages of apps and the names of files."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from types import SimpleNamespace
from typing import Any, ClassVar, cast
from urllib.parse import quote, unquote

from app import (
    LOG,
    Action,
    Answer,
    App,
    AppError,
    AppPage,
    Asked,
    BadRequest,
    Caller,
    Exchange,
    Files,
    Forbidden,
    Form,
    Host,
    HttpRunner,
    Json,
    Record,
    Request,
    Resource,
    Response,
    Route,
    Unsupported,
    Value,
    fold_case,
    json_answer,
    plugin,
)

# ==== 1. SEARCH ==================================================================================================
# Each resource is asked for what fits as its own list is, by the same caller. The providers are asked at the same time, and
# all together have so long; what has not answered by then is named, and does not keep the rest waiting.
# uses: ERRORS VALUES CONTRACTS RUNNERS RESOURCES PROVIDERS ASSEMBLY plugin:asking plugin:pages
# defines: Route:search Search

_LONGEST = 200  # characters of what is searched for
_HITS = 5  # of a resource
_RESOURCES = 50  # that are found by their names
_PAGES = 20  # of an app
_TIME_S = 2.0  # for everything
_LETTERS = 90  # of the text around what was found
_MARKS = re.compile(r"^[#>|*+-]+ |\*\*|`+|\]\([^)\s]*\)|!?\[", re.MULTILINE)  # of Markdown, which say nothing by themselves


class _Task:
    """What is asked of one resource, and what it answered. A thread that comes too late sets it too, when nobody looks."""

    def __init__(self, address: str, resource: Resource) -> None:
        self.address, self.resource = address, resource  # the address is that of the list
        self.hits: list[Value] = []
        self.has_more = self.is_done = False


class Search(Route):
    """Whoever may open something may search in it."""

    kind = "search"
    paths: ClassVar[Mapping[str, str]] = {"/search": "GET"}

    def answer(self, asked: Asked, host: Host) -> Answer:
        exchange, site = cast(Exchange, asked), cast(App, host)
        text = _wanted(exchange)
        home = host.handle(_request(exchange, "", {}))
        exchange.subject = home.caller.subject
        places = plugin("pages").pages_of(exchange).way(exchange).places(exchange, home.caller)
        found = _named(cast(Value, home.data)["resources"], places, text) if text else []
        tasks = _tasks(site, home.caller) if text else []
        placed = [(_asked_of(site, task.resource), task) for task in tasks]
        plugin("asking").do_all("search", placed, lambda task: _ask(exchange, site, task, text), time.monotonic() + _TIME_S)
        if not exchange.page:
            return json_answer(200, _as_data(text, found, tasks, places))
        page = {"text": text, **_as_page(exchange, text, found, tasks, places)}
        pages, title = plugin("pages"), exchange.locale.t("search.title")
        body = pages.pages_of(exchange).render(exchange, "search.tpl", title, page, caller=home.caller)
        return cast(Answer, pages.page_answer(200, body))


def _wanted(exchange: Exchange) -> str:
    for name in exchange.query:
        if name != "q":
            raise BadRequest(f"{name} is no parameter here: write q")
    text = " ".join(exchange.query.get("q", "").split())
    if len(text) > _LONGEST:
        raise BadRequest(f"q is too long: at most {_LONGEST} characters are searched for")
    return text


def _request(exchange: Exchange, address: str, params: Mapping[str, str]) -> Request:
    kind, _, rest = address.partition("/")
    name, *path = rest.split("/")
    return Request(
        id=exchange.id, action=Action.READ, resource=f"{kind}/{name}" if name else kind, path=tuple(path), params=params,
        door=HttpRunner.kind, credential=exchange.credential, languages=exchange.languages,
    )  # fmt: skip


# ---- resources, by their names


def _named(resources: Sequence[Mapping[str, str]], places: Any, text: str) -> list[Value]:
    """Those with every word in their title, name or note; those whose title begins with it come first."""
    wanted, found = fold_case(text).split(), []
    for one in resources:
        title = str(places.titles.get(one["address"], one["title"]))
        words = fold_case(" ".join([title, one["address"].partition("/")[2], one["note"]]))
        if all(word in words for word in wanted):
            begins = fold_case(title).startswith(fold_case(text))
            found.append((not begins, {"kind": "resource", "address": one["address"], "title": title, "text": one["note"]}))
    return [hit for _, hit in sorted(found, key=lambda pair: pair[0])][:_RESOURCES]


# ---- records, pages of apps, and files


def _tasks(site: App, caller: Caller) -> list[_Task]:
    """What can be searched by this caller: the pages of apps, the lists of records, then the shares."""
    found = [_Task(where, one) for address, one in site.resources.items() if (where := _list_of(address, one, caller))]
    return sorted(found, key=lambda task: (isinstance(task.resource, Files), not isinstance(task.resource, AppPage)))


def _asked_of(site: App, resource: Resource) -> Any:
    """What a resource waits for, which others may wait for, too: its provider, or that of the share with an app's pages."""
    if isinstance(resource, AppPage):
        share = site.resources.get("/".join(str(resource.config.pages).split("/")[:2]))
        return share.providers[0] if isinstance(share, Files) else resource
    return resource.providers[0]


def _list_of(address: str, resource: Resource, caller: Caller) -> str:
    """The list that the caller may search: of a form that of all records, or else that of his own; "" if there is none."""
    if isinstance(resource, Files):
        return address if caller.may(Action.READ, address) else ""
    if isinstance(resource, AppPage):
        return f"{address}/pages" if resource.config.pages and caller.may(Action.READ, f"{address}/pages") else ""
    if not isinstance(resource, Form):
        return ""
    if caller.may(Action.READ, resource.records_at):
        return resource.records_at
    has_own = (
        resource.type == "forms" and caller.subject and resource.endpoint(("mine",)) and caller.may(Action.CREATE, address)
    )
    return f"{address}/mine" if has_own else ""


def _ask(exchange: Exchange, site: App, task: _Task, text: str) -> None:
    """Ask one resource. What fails is not done; whoever runs the site finds it in the log."""
    is_app = isinstance(task.resource, AppPage)
    request = _request(exchange, task.address, {} if is_app else {"_q": text, "_size": str(_HITS)})
    try:
        response = site.handle(request)
        if is_app:
            task.hits = _pages(exchange, site, cast(Value, response.data)["items"], text)
            task.is_done = True
            return
        task.hits = list(_hits(site, request, task, response, text))
        task.has_more = response.table is not None and response.table.next is not None
        task.is_done = True
    except Forbidden:
        task.is_done = True
    except Unsupported:
        pass  # it has no lists
    except AppError as error:
        LOG.info("request %s: %s could not be searched: %s", exchange.id, task.address, error.message)
    except Exception:
        LOG.exception("request %s: the search in %s failed", exchange.id, task.address)


def _pages(exchange: Exchange, site: App, items: Sequence[Mapping[str, str]], text: str) -> list[Value]:
    """The pages of an app whose title has the text, and then those that have it in what they say."""
    wanted, named, said = fold_case(text), list[Value](), list[Value]()
    for one in items:
        hit: Value = {"kind": "page", "address": one["address"], "title": one["title"], "text": ""}
        if wanted in fold_case(one["title"]):
            named.append(hit)
        elif len(named) + len(said) < _PAGES:
            with suppress(AppError):  # it was removed just now, or may not be read
                page = site.handle(_request(exchange, one["address"], {})).page
                if piece := _piece(_MARKS.sub("", page["found"].text.body), wanted):
                    said.append({**hit, "text": piece})
    return [*named, *said][:_PAGES]


def _hits(site: App, request: Request, task: _Task, response: Response, text: str) -> Iterator[Value]:
    if response.table is None:
        return
    form = None
    if isinstance(task.resource, Form):
        form = site.languages.read_by(task.resource, request, response.caller).seen_by(response.caller)
    for row in response.table.rows:
        if form is None:
            is_folder = row["type"] == "folder"
            address = row["address"] + ("/" if is_folder else "")
            yield {"kind": "folder" if is_folder else "file", "address": address, "title": row["name"], "text": ""}
            continue
        title = form.called(Record(row["id"], row["version"], dict(row)))
        address = f"{task.address}/{quote(row['id'], safe='')}"
        yield {"kind": "record", "address": address, "title": title, "text": _around(response, row, title, text)}


def _around(response: Response, row: Mapping[str, Json], title: str, text: str) -> str:
    """The field in which it was found, with what stands around it; "" if the title shows it."""
    wanted = fold_case(text)
    if wanted in fold_case(title):
        return ""
    for column in cast(Any, response.table).columns:
        value = row[column.name]
        if isinstance(value, str) and (piece := _piece(value, wanted)):
            return f"{column.title}: {piece}"
    return ""


def _piece(value: str, wanted: str) -> str:
    """What stands around a text that is found in another one; "" if it is not."""
    at = fold_case(value).find(wanted)
    if at < 0:
        return ""
    start = max(0, at - _LETTERS // 3)
    piece = " ".join(value[start : start + _LETTERS].split())
    return f"{'…' if start else ''}{piece}{'…' if start + _LETTERS < len(value) else ''}"


# ---- what is answered


def _place(places: Any, hit: Mapping[str, Json]) -> list[Value]:
    """The way to a hit, from the app that holds it down to the list or folder that it is in."""
    kind, name, *inside = str(hit["address"]).strip("/").split("/")
    resource = f"{kind}/{name}"
    above = [*places.holders.get(resource, [])[:1]]
    way = [{"title": places.titles[one], "address": one} for one in above]
    if hit["kind"] == "resource":
        return way
    way.append({"title": places.titles.get(resource, name), "address": resource})
    for at in range(1, len(inside) if kind == "files" else 0):
        way.append({"title": unquote(inside[at - 1]), "address": "/".join([resource, *inside[:at]]) + "/"})
    return way


def _as_data(text: str, found: Sequence[Value], tasks: Sequence[_Task], places: Any) -> Value:
    hits = [*found, *(hit for task in tasks for hit in task.hits)]
    return {
        "q": text,
        "items": [hit | {"place": _place(places, hit)} for hit in hits],
        "more": [f"{task.address}?_q={quote(text)}" for task in tasks if task.has_more],
        "unsearched": [task.address for task in tasks if not task.is_done],
    }


def _as_page(
    exchange: Exchange, text: str, found: Sequence[Value], tasks: Sequence[_Task], places: Any
) -> Mapping[str, Any]:
    groups = []
    if found:
        links = [_link(exchange, places, hit) for hit in found]
        groups.append(SimpleNamespace(title="", above=[], hits=links, more_href=""))
    for task in tasks:
        resource = "/".join(task.address.split("/")[:2])
        more = exchange.url(task.address, _q=text) if task.has_more else ""
        if task.hits or more:
            place = _place(places, {"kind": "resource", "address": resource})
            links = [_link(exchange, places, hit, skip=len(place) + 1) for hit in task.hits]
            title, above = places.titles.get(resource, resource), [str(one["title"]) for one in place]
            groups.append(SimpleNamespace(title=title, above=above, hits=links, more_href=more))
    late = [task for task in tasks if not task.is_done]
    unsearched = [SimpleNamespace(title=_title(places, one), href=_again(exchange, one, text)) for one in late]
    return {"groups": groups, "count": sum(len(one.hits) for one in groups), "unsearched": unsearched}


def _again(exchange: Exchange, task: _Task, text: str) -> str:
    """Where what was not searched in time can be; the pages of an app are only listed."""
    return exchange.url(task.address) if isinstance(task.resource, AppPage) else exchange.url(task.address, _q=text)


def _title(places: Any, task: _Task) -> str:
    return str(places.titles.get("/".join(task.address.split("/")[:2]), task.resource.title))


def _link(exchange: Exchange, places: Any, hit: Mapping[str, Json], skip: int = 0) -> SimpleNamespace:
    place = [str(one["title"]) for one in _place(places, hit)[skip:]]
    return SimpleNamespace(title=hit["title"], text=hit["text"], href=exchange.url(str(hit["address"])), place=place)
