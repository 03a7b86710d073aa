"""Blocks on the page of an app: numbers, views, charts, forms, files and texts, each read as whoever looks at the page."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast
from urllib.parse import parse_qsl, urlencode

import app
from app import (
    COUNTED,
    LOG,
    Action,
    AppError,
    AppPage,
    BadRequest,
    Caller,
    Column,
    Exchange,
    Forbidden,
    Json,
    NotFound,
    QueryTimeout,
    Response,
    Scope,
    Table,
    Unauthenticated,
    Value,
    View,
)

if TYPE_CHECKING:
    from plugins import cells, pages
else:
    cells, pages = app.plugin("cells"), app.plugin("pages")

# ==== 1. READING =================================================================================================
# A block has its own time, and so has the page. What is not there by then is left out, and the thread that still waits for
# it goes on alone: a few such threads at most, and one for each thing that is read, so that what is slow is not asked for
# again and again.
# uses: ERRORS
# defines: Slow Reading

_BLOCK_S, _PAGE_S = 3.0, 8.0
_MOST_LATE = 8  # threads of a process that are left waiting
_Answer = TypeVar("_Answer")
_late: dict[int, str] = {}  # what each of them reads
_lock = threading.Lock()


class Slow(AppError):
    """What a block shows was not there in time."""

    code, status, retry = "slow", 503, True


class Reading:
    """Reads one thing after the other, in a thread that is left behind when something takes too long."""

    def __init__(self, block_s: float = _BLOCK_S, page_s: float = _PAGE_S) -> None:
        self._block_s, self._until = block_s, time.monotonic() + page_s

    def read(self, key: str, work: Callable[[], _Answer]) -> _Answer:
        """What work() returns or raises. Raises Slow if it takes too long, or `key` is still waited for elsewhere."""
        patience = min(self._block_s, self._until - time.monotonic())
        with _lock:
            if key in _late.values() or len(_late) >= _MOST_LATE or patience <= 0:
                raise Slow("it was not there in time")
        found = list[Any]()
        thread = threading.Thread(target=self._run, args=(work, found), name="block", daemon=True)
        thread.start()
        thread.join(patience)
        with _lock:
            if not found:
                _late[id(found)] = key
                raise Slow(f"it was not there within {patience:.1f} seconds")
        is_good, answer = found[0]
        if not is_good:
            raise answer
        return cast(_Answer, answer)

    def _run(self, work: Callable[[], Any], found: list[Any]) -> None:
        try:
            done: tuple[bool, Any] = (True, work())
        except BaseException as error:  # raised again by the thread that asked
            done = (False, error)
        with _lock:
            found.append(done)
            _late.pop(id(found), None)


# ==== 2. BLOCKS ==================================================================================================
# What app.toml declares of them, and what each caller is told of it.
# uses: VALUES
# defines: KINDS MOST_ROWS MOST_BLOCKS Block block_of for_caller

KINDS = ("view", "chart", "form", "number", "files", "markdown")
_USUAL_ROWS, MOST_ROWS, MOST_BLOCKS = 5, 100, 40


class Block(NamedTuple):
    """A block as it is declared. `address` is of a resource or of what is in it, or a file beside app.toml."""

    kind: str
    address: str
    params: Mapping[str, str]  # of the query that stands behind its address
    title: str
    limit: int

    @property
    def is_here(self) -> bool:
        """Whether it shows a file beside app.toml."""
        return self.kind == "markdown" and not self.address.startswith("files/")

    @property
    def resource(self) -> str:
        return "/".join(self.address.split("/")[:2])

    @property
    def described(self) -> Value:
        """What programs are told of it."""
        query = f"?{urlencode(self.params)}" if self.params else ""
        return {"kind": self.kind, "address": "" if self.is_here else self.address + query, "title": self.title}


def block_of(declared: Value) -> Block:
    """A block of what app.toml says. Raises ValueError if its query cannot be read."""
    kind = next(one for one in KINDS if one in declared)
    address, _, query = str(declared[kind]).partition("?")
    params = dict(parse_qsl(query, keep_blank_values=True, strict_parsing=True, max_num_fields=50)) if query else {}
    return Block(kind, address.strip("/"), params, declared.get("title", ""), declared.get("limit", _USUAL_ROWS))


def for_caller(home: Sequence[Value], caller: Caller) -> list[Block]:
    """The blocks of a home which show something that the caller may open."""
    return [one for one in map(block_of, home) if one.is_here or caller.opens(one.address)]


# ==== 3. PAGE ====================================================================================================
# Blocks as the template shows them, in rows of one or two, where numbers that follow each other have a row of their own.
# uses: ERRORS VALUES CONTRACTS RUNNERS RESOURCES READING BLOCKS plugin:cells plugin:charts plugin:list_columns
#       plugin:page_sources plugin:pages plugin:reading
# defines: shown

_MOST_COLUMNS = 8  # of a view; all are where "show all" leads
_MOST_ENTRIES = 500  # of a folder: the newest of more are not looked for
_CHARTED = 100  # rows of a chart that are read for its words
_SHORT = 4  # fields of a form that stands in the page itself
_WIDE = ("view", "chart")
_LONG_WIDGETS = ("file", "lines")


def shown(exchange: Exchange, response: Response, blocks: Sequence[Block]) -> Mapping[str, Any]:
    """What the template of an app shows of its blocks."""
    page = _Page(exchange, response.page["scope"], response.page["app"])
    return {**response.data, "body": "", "menu": (), "rows": _in_rows([one for one in map(page.block, blocks) if one])}


def _in_rows(blocks: Sequence[SimpleNamespace]) -> list[SimpleNamespace]:
    """Blocks two by two, those that need room the wider ones; numbers beside each other in one row."""
    rows, at = list[SimpleNamespace](), 0
    while at < len(blocks):
        numbers = list(_run_of_numbers(blocks[at:]))
        if len(numbers) > 1:
            rows.append(SimpleNamespace(numbers=numbers, blocks=()))
            at += len(numbers)
            continue
        pair = blocks[at : at + 2]
        if len(pair) == 2 and len(list(_run_of_numbers(blocks[at + 1 :]))) > 1:
            pair = pair[:1]
        for one, other in zip(pair, reversed(pair), strict=True):
            is_wide, is_other_wide = one.kind in _WIDE, other.kind in _WIDE
            one.span = 12 if len(pair) == 1 else 6 if is_wide == is_other_wide else 8 if is_wide else 4
        rows.append(SimpleNamespace(numbers=(), blocks=pair))
        at += len(pair)
    return rows


def _run_of_numbers(blocks: Sequence[SimpleNamespace]) -> Iterator[SimpleNamespace]:
    for one in blocks:
        if one.kind != "number":
            return
        yield one


def _check_columns(table: Table) -> None:
    """Raises Forbidden if a view has no columns for its reader: what is left of it would say what is not so, such as 0."""
    if not table.columns:
        table.close()
        raise Forbidden("it has no column that is there for this caller")


def _check_parameters(response: Response) -> None:
    """Raises BadRequest for parameters that the page of a view would ask for."""
    if faults := response.page.get("faults"):
        raise BadRequest(f"{faults[0].pointer[1:]} {faults[0].detail}", faults=faults)


def _chosen(table: Table, text: str) -> list[Column]:
    """The columns that `_columns` asks for."""
    by_name = {one.name: one for one in table.columns}
    return [by_name[name] for name in app.plugin("list_columns").chosen(text, list(by_name))]


class _Page:
    """Makes the blocks of a page, one after the other."""

    def __init__(self, exchange: Exchange, scope: Scope, one: AppPage) -> None:
        self._exchange, self._scope, self._app, self._t = exchange, scope, one, exchange.locale.t
        self._reading, self._has_form, self._number = Reading(), False, 0
        self._named = pages.site_of(exchange).languages.shown(exchange.locale)  # resources in the reader's language
        self._kinds: Mapping[str, Callable[[Block], dict[str, Any]]] = {
            "view": self._view, "chart": self._chart, "number": self._value, "form": self._form, "files": self._files,
            "markdown": self._markdown,
        }  # fmt: skip

    def block(self, block: Block) -> SimpleNamespace | None:
        """A block as it is shown; None if it is not there for this caller."""
        self._number += 1
        title = block.title
        if not title and block.kind != "markdown":
            title = self._named[block.resource].title
        found: dict[str, Any] = {"kind": block.kind, "id": f"block-{self._number}", "title": title, "href": "", "said": ""}
        if not block.is_here and block.kind != "markdown":
            found["href"] = self._exchange.url(block.address + "/" * (block.kind == "files"), **block.params)
        try:
            found |= self._kinds[block.kind](block)
        except (Forbidden, Unauthenticated):
            return None
        except Exception as error:
            if isinstance(error, BadRequest) and self._asks_for_hidden(block):
                return None
            found |= {"kind": "failed", "said": self._words(block, error), "again_href": self._exchange.own_address}
            found["title"] = title or self._t("block.text")
        return SimpleNamespace(**found)

    def _asks_for_hidden(self, block: Block) -> bool:
        """Whether it narrows or orders a view by a column that is not there for this caller."""
        view = self._named[block.resource]
        if not isinstance(view, View):
            return False
        hidden = {one.name for one in view.columns} - {one.name for one in view.seen_by(self._scope.caller).columns}
        order = [one.removeprefix("-") for one in block.params.get("_sort", "").split(",")]
        return not hidden.isdisjoint([*order, *(name.partition("__")[0] for name in block.params)])

    def _words(self, block: Block, error: Exception) -> str:
        """What a person is told of a block that failed; the log has why."""
        place = f"request {self._exchange.id}: the block {block.kind} {block.address} of apps/{self._app.name}"
        if not isinstance(error, AppError):
            LOG.error("%s failed", place, exc_info=error)
        else:
            LOG.warning("%s failed: %s", place, error.with_hint)
        if isinstance(error, Slow | QueryTimeout):
            return str(self._t("block.slow"))
        return str(self._t("block.gone") if isinstance(error, NotFound) else self._t("block.failed"))

    def _read(self, block: Block, page: bool = False, **params: str) -> Response:
        """What is at its address, with its rows read."""
        work = partial(self._scope.read, block.address, {**block.params, **params}, page=page)
        return self._reading.read(f"{block.address} {sorted(block.params.items())}", work)

    def _view(self, block: Block) -> dict[str, Any]:
        """The first rows of a view, which lead where they do on its own page."""
        response = self._read(block, page=True, _size=str(min(block.limit, MOST_ROWS)))
        table, records = cast(Table, response.table), app.plugin("reading").records_of(response)
        _check_parameters(response)
        _check_columns(table)
        chosen = _chosen(table, block.params.get("_columns", ""))
        columns = chosen[:_MOST_COLUMNS]
        with closing(table):
            rows = cells.Rows(columns, list(table.rows), self._exchange.locale, self._exchange.url, records)
        numeric = ("number", "integer")
        heads = [(self._exchange.locale.heading(one), one.type in numeric) for one in columns]
        return {"columns": heads, "table": rows, "has_more": bool(table.next) or len(columns) < len(chosen)}

    def _chart(self, block: Block) -> dict[str, Any]:
        """The picture of a view, with words that say what is in it."""
        table = cast(Table, self._read(block, _size=str(_CHARTED)).table)
        with closing(table):
            title = block.title or self._named[block.resource].title
            picture = app.plugin("charts").picture(self._exchange, block.address, title, table, block.params)
        if picture is None:
            raise Forbidden("it has a column that is not there for this caller")
        return {"picture": picture}

    def _value(self, block: Block) -> dict[str, Any]:
        """The only value of a view, or how many rows it has."""

        def work() -> tuple[Table, list[Mapping[str, Json]], int | None]:
            table = cast(Table, self._scope.read(block.address, {**block.params, "_size": "2"}).table)
            with closing(table):
                rows = list(table.rows)
                is_value = len(table.columns) == 1 and len(rows) == 1 and not table.next
                return table, rows, None if is_value else table.size()

        table, rows, count = self._reading.read(f"{block.address} {sorted(block.params.items())} #", work)
        _check_columns(table)
        if len(table.columns) == 1 and len(rows) == 1 and not table.next:
            column = table.columns[0]
            return {"value": self._exchange.locale.show(column, rows[0][column.name]) or "—"}
        if count is None:
            raise Slow("it was not counted in time")
        more = "+" if count > COUNTED else ""
        return {"value": self._exchange.locale.write_count(min(count, COUNTED)) + more}

    def _form(self, block: Block) -> dict[str, Any]:
        """A button, or the form itself if it is short and the only one here."""
        note = self._named[block.resource].config.note
        found = {"note": note, "form": None, "is_to_fill": self._scope.caller.may(Action.CREATE, block.address)}
        if found["is_to_fill"] and not self._has_form:
            response = self._read(block)
            again = pages.Again(submission=pages.submission(self._exchange))
            form = pages.pages_of(self._exchange).form(self._exchange, response, again)
            fields = form["fields"]
            if len(fields) <= _SHORT and not any(one.widget in _LONG_WIDGETS or one.lookup for one in fields):
                self._has_form, found["form"] = True, SimpleNamespace(**form)
        return found

    def _files(self, block: Block) -> dict[str, Any]:
        table = cast(Table, self._read(block, _size=str(_MOST_ENTRIES)).table)
        with closing(table):
            rows = list(table.rows)
        if not table.next:  # all are known, so the newest are
            rows.sort(key=lambda row: str(row["modified_at"] or ""), reverse=True)
        limit = min(block.limit, MOST_ROWS)
        return {"entries": list(map(self._entry, rows[:limit])), "has_more": len(rows) > limit or bool(table.next)}

    def _entry(self, row: Mapping[str, Json]) -> SimpleNamespace:
        is_folder, modified = row["type"] == "folder", str(row["modified_at"] or "")
        return SimpleNamespace(
            name=row["name"], href=self._exchange.url(f"{row['address']}{'/' if is_folder else ''}"), is_folder=is_folder,
            modified=self._exchange.locale.write_date_time(modified) if modified else "", iso=modified,
        )  # fmt: skip

    def _markdown(self, block: Block) -> dict[str, Any]:
        page_sources = app.plugin("page_sources")
        if block.is_here:
            text = page_sources.read_file(pages.site_of(self._exchange).config.folder / block.address)
        else:
            text = self._reading.read(block.address, partial(page_sources.read_share, self._scope, block.address))
        title = block.title or text.title
        folder = "" if block.is_here else block.address.rpartition("/")[0]
        mark = f"block-{self._number}-"
        return {"title": title, "html": page_sources.html_of(self._exchange, self._app, text, folder, title, 3, mark)}
