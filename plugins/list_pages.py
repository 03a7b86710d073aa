"""The pages of lists: records, views and what the administration lists, with what narrows them and what leads on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cached_property, partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote, urlencode

import app
from app import COUNT_S, COUNTED, Action, AppError, BadRequest, Column, Exchange, Form, Response, Table

if TYPE_CHECKING:
    from plugins import cells, controls, filter_row, list_columns, list_filters, pages
    from plugins.catalogue import Words
    from plugins.choice_counts import Counts
    from plugins.controls import Input
    from plugins.filter_row import Asking
    from plugins.pages import Pages
else:
    cells, controls, pages = app.plugin("cells"), app.plugin("controls"), app.plugin("pages")
    filter_row, list_columns = app.plugin("filter_row"), app.plugin("list_columns")
    list_filters = app.plugin("list_filters")

# ==== 1. ASKED ===================================================================================================
# What a list was asked for, as its page shows it and leads on from it. The controls of a list that nobody narrows are the
# same on each look at it: they are written once for its columns and language.
# uses: ERRORS VALUES RUNNERS RESOURCES plugin:catalogue plugin:choice_counts plugin:controls plugin:filter_row
#       plugin:groups plugin:list_columns plugin:list_filters plugin:pages
# defines: again


_SIZES = (50, 100, 500)
_MOST_MOVED = 50  # columns
_OF_PAGE = ("_next", "_prev")  # what another filter, order or size begins anew
_MOST_BEFORE, _LONGEST_BEFORE = 20, 1500  # pages before this one, and the letters of their cursors
_FEW = 6  # controls that stand in a row where there is room
_MOST_KEPT = 200  # lists whose pieces are known
_MOST_VALUES = 12  # of a facet on a page: the most frequent ones
_MOST_WRONG = 20


def again(exchange: Exchange, columns: Sequence[Column], page: Mapping[str, Any]) -> dict[str, str]:
    """What leads to the same list from its beginning. What is empty asks for nothing, but for an empty text, and in place of
    a parameter's default."""
    texts = {column.name for column in columns if column.type == "string"}
    texts |= {one.name for one in page.get("fields", ()) if one.config.default is not None}
    return {
        name: text for name, text in exchange.query.items()
        if (text or name in texts) and name not in (*_OF_PAGE, "_for", "_count", "_facets")
    }  # fmt: skip


class _Asked:
    """What the page of one list was asked for."""

    def __init__(
        self, way: Pages, exchange: Exchange, page: Mapping[str, Any], known: Sequence[Column], *, is_sorted: bool
    ) -> None:
        self.way, self.exchange, self.page, self.known, self.is_sorted = way, exchange, page, known, is_sorted
        self.again, self.here, self.locale = again(exchange, known, page), exchange.inner, exchange.locale
        self.by_name = {column.name: column for column in known}
        request = page.get("request")  # of a link to a view it has the order that the link keeps
        view = page.get("view")
        declared = ",".join(view.config.order_by) if view else ""
        self.order = self.again.get("_sort") or (request.params.get("_sort") if request else "") or declared
        self._found: list[Asking] | None = None
        self._counts: Counts = {}

    def _link(self, **changed: str | None) -> str:
        return self.exchange.url(self.here, **{**self.again, **changed})

    def columns(self) -> list[Column]:
        """The columns that are shown, in their order."""
        if not (text := self.again.get(list_columns.NAME)):
            return list(self.known)
        wanted = list[str]()
        with suppress(BadRequest):  # while a parameter is wrong, nobody knows which columns there are
            wanted = list_columns.chosen(text, [*self.by_name, "id", "version", "created_by", "updated_by"])
        return [self.by_name[name] for name in wanted if name in self.by_name] or list(self.known)

    def headings(self, columns: Sequence[Column]) -> list[SimpleNamespace]:
        """The heads of the columns that are shown."""
        return list(self._kept("headings", False, lambda: [self._heading(column) for column in columns]))

    def heads(self, headings: Sequence[SimpleNamespace], boxes: bool) -> str:
        """Their HTML, with a head for `boxes`."""
        return self._html("_heads.tpl", False, lambda: {"columns": headings, "boxes": boxes}, boxes, len(headings))

    def _heading(self, column: Column) -> SimpleNamespace:
        """The head of a column: pressed once it sorts, pressed again it turns the order, and then lets go of it."""
        name, sort = column.name, self.order.partition(",")[0]
        turned = {name: "-" + name, "-" + name: None if "_sort" in self.again else name}.get(sort, name)
        return SimpleNamespace(
            title=self.locale.heading(column), numeric=column.type in ("number", "integer"),
            sort_href=self._link(_sort=turned) if self.is_sorted and filter_row.can_be_sorted(name) else "",
            sorted={name: "ascending", "-" + name: "descending"}.get(sort, ""),
        )  # fmt: skip

    # -- the filter

    def filter(self, response: Response) -> dict[str, Any]:
        """The search, the parameters and the controls above a list, with what was asked for and what was wrong with it."""
        inputs = self.page.get("inputs", ())
        asked, wrong = _given(self.exchange, inputs), self._wrong()
        params = [self._param(one, asked.get(one.name), wrong) for one in inputs]
        asking, covered, few = self._asking(response, wrong)
        names = {*asked, *covered, *self.page.get("own_params", ()), "_q"}
        found = {
            "params": params, "search": self.page.get("search"), "asking": asking, "few": few,
            "opened": bool(wrong) or (few and any(self.again.get(name) for name in covered)),  # the chips say the rest
            "hidden": {name: text for name, text in self.again.items() if name not in names},
            "chips": self._chips(inputs), "facets": self._facets(response), "errors": self._errors(inputs, wrong),
        }  # fmt: skip
        found["typed"] = "1" if covered - {"_sort"} else "params" if params else ""
        found["action"] = self.exchange.url(self.here)
        return found | {"filter": self._same(found, wrong)}

    def _same(self, found: Mapping[str, Any], wrong: Mapping[str, str]) -> str:
        """The HTML of a filter that is the same on each look at it; "" of any other."""
        differs = self.again or self._changes(wrong) or self.page.get("build") or found["params"] or found["facets"]
        if differs or found["search"] is None:
            return ""
        names = {"page": SimpleNamespace(**found), "t": self.locale.t}
        return str(self._kept("_filter.tpl", False, lambda: self.way.part("_filter.tpl", names).rstrip("\n"), self._counts))

    def _wrong(self) -> dict[str, str]:
        """What is wrong with a parameter, by its name, if anything was asked for."""
        faults = self.page.get("faults", ()) if self.exchange.query else ()
        return {one.pointer[1:]: self.locale.t.said(one.detail) for one in faults}

    def _param(self, one: Input, asked: Sequence[str] | None, wrong: Mapping[str, str]) -> SimpleNamespace:
        return self.way.control(self.exchange, _filter_input(one, self.locale.t), asked, wrong.get(one.name, ""))

    def _errors(self, inputs: Sequence[Input], wrong: Mapping[str, str]) -> list[SimpleNamespace]:
        """What is wrong, in words, each with a link to its control."""
        titles, places = {one.name: one.title for one in inputs}, {one.name: f"f-{one.name}" for one in inputs}
        for number, one in enumerate(self._found or ()):
            for op in one.ops:
                name = one.column.name + ("__" + op if op else "")
                titles[name], places[name] = one.title, f"w{number}-to" if op == "lte" else f"w{number}"
        t = self.locale.t
        found = []
        for name, text in wrong.items():
            words = t("errors.fault", field=titles.get(name, name), what=text)
            found.append(SimpleNamespace(href=f"#{places[name]}" if name in places else "", text=words))
        return found

    def _asking(self, response: Response, wrong: Mapping[str, str]) -> tuple[str, set[str], bool]:
        """The HTML of the controls of the columns, the parameters that they say, and whether they are few."""
        if self.page.get("search") is None or (self.page.get("build") and not self.page.get("asks")):
            return "", set(), False
        self._counts = self._counted(response)
        made = self._kept("asking", self._changes(wrong), lambda: self._made(response, wrong), self._counts)
        return cast("tuple[str, set[str], bool]", made)

    def _counted(self, response: Response) -> Counts:
        """How many records have each choice, of a list of a form's records; {} if anything is wrong with what was asked."""
        form = self.page.get("form")
        if not isinstance(form, Form) or self.page.get("faults"):
            return {}
        return cast("Counts", app.plugin("choice_counts").of_list(form, self.again, self._askings(response)))

    @cached_property
    def form(self) -> Form | None:
        """That whose records are listed; None if there is none."""
        form = self.page.get("form") or getattr(self.page.get("view"), "source", None)
        return form if isinstance(form, Form) else None

    def _changes(self, wrong: Mapping[str, str]) -> bool:
        """Whether the controls of the columns change by themselves: choices are looked up, or something was wrong."""
        return bool(self.form and self.form.looked_up) or bool(wrong)

    def _kept(self, part: Any, changes: bool, make: Callable[[], Any], of: Any = None) -> Any:
        """What make() makes of a list that is not narrowed, made once unless it `changes` or is made `of` something else."""
        if self.again or changes:
            return make()
        if part not in self.kept or self.kept[part][0] != of:
            self.kept[part] = of, make()
        return self.kept[part][1]

    @cached_property
    def kept(self) -> dict[Any, Any]:
        """The pieces of the page that are known, by their names."""
        columns = tuple([(one.name, one.title, one.type, one.format) for one in self.known])
        lists, key = self.way.kept, (self.here, self.locale.lang, columns)
        if len(lists) >= _MOST_KEPT and key not in lists:
            lists.clear()
        return cast("dict[Any, Any]", lists.setdefault(key, {}))

    def _html(self, template: str, changes: bool, names: Callable[[], Mapping[str, Any]], *of: Any) -> str:
        """A piece of the page, kept as _kept() does by what else it depends `of`."""

        def make() -> str:
            return self.way.part(template, {**names(), "t": self.locale.t}).rstrip("\n")

        return str(self._kept((template, *of), changes, make))

    def _askings(self, response: Response) -> list[Asking]:
        """How each of the columns is asked for."""
        if self._found is None:
            form, own = self.form, {one.name for one in self.page.get("inputs", ())}
            at = f"{form.records_at}/x" if form else ""
            may = any(response.caller.may(one, at) for one in (Action.CREATE, Action.UPDATE)) if form else False
            offered = filter_row.lookups(form, may_see=may) if form else _nothing
            asked_for = [one for one in self.known if one.name not in own]
            self._found = filter_row.askings(asked_for, form.fields if form else {}, self.locale, offered)
        return self._found

    def _made(self, response: Response, wrong: Mapping[str, str]) -> tuple[str, set[str], bool]:
        found, locale = self._askings(response), self.locale
        html = self.way.part("_asking.tpl", {
            "controls": filter_row.controls(found, self.again, wrong, locale, self._counts), "t": locale.t,
            "sorts": self._sorts() if self.is_sorted else (),
        })  # fmt: skip
        names = filter_row.covered(found, self.again) | ({"_sort"} if self.is_sorted else set())
        return html, names, len(found) <= _FEW

    def _sorts(self) -> list[tuple[str, str, bool]]:
        """(text, title, whether it is the one) of each order."""
        sort, t = self.again.get("_sort", ""), self.locale.t
        found = [("", t("table.as_usual"), not sort)]
        named = [one for one in self.known if filter_row.can_be_sorted(one.name)]
        for name, title in ((one.name, self.locale.heading(one)) for one in named):
            found.append((name, t("table.ascending", field=title), sort == name))
            found.append(("-" + name, t("table.descending", field=title), sort == "-" + name))
        return found if any(one[2] for one in found) else [*found, (sort, sort, True)]

    def _chips(self, inputs: Sequence[Input]) -> list[SimpleNamespace]:
        """What the list is narrowed by, in words, each with the address without it; "" if it cannot be left out."""
        params, found = {one.name: one for one in inputs}, []
        for name, text in self.again.items():
            one = params.get(name)
            if words := self._words(one, name, text):
                href = "" if one and one.required else self._link(**{name: None})
                found.append(SimpleNamespace(words=words, href=href))
        return found

    def _words(self, one: Input | None, name: str, text: str) -> str:
        """A parameter in words; "" if it narrows nothing. `one` is the control of one that the view declares."""
        t = self.locale.t
        if name == "_q":
            return str(t("filter.search", text=text))
        if one:
            titles = dict(_filter_input(one, t).choices)
            said = [titles.get(part, part) for part in _texts(one, text, self.locale)]
            return str(t("filter.param", field=one.title, value=t("common.comma").join(said))) if text else ""
        column, op = filter_row.split(name, self.by_name)
        return filter_row.said(self.by_name[column], op, text, self.locale) if op else ""

    def _facets(self, response: Response) -> list[SimpleNamespace]:
        """How often values of the columns occur that a view declares as facets; without those that take long to count."""
        source, found = self.page["view"].config.facets if "view" in self.page else (), []
        count = cast(Any, cast(Table, response.table).facts.get("count"))
        for number, name in enumerate(filter(filter_row.can_be_filtered, source) if count else ()):
            with suppress(AppError), app.plugin("groups").within(COUNT_S):
                column = self.by_name.get(name) or Column(name)
                counted = count(name, _MOST_VALUES + 1)
                most = filter_row.faceted(column, counted[:_MOST_VALUES], self.locale)
                values = [self._of_facet(column, *one) for one in most]
                more = self.locale.t("filter.most_frequent", n=_MOST_VALUES) if len(counted) > _MOST_VALUES else ""
                found.append(SimpleNamespace(id=number, title=self.locale.heading(column), values=values, more=more))
        return found

    def _of_facet(self, column: Column, name: str, text: str, title: str, count: int) -> SimpleNamespace:
        active = self.again.get(name) == text or self.again.get(f"{column.name}__in") == text
        others = dict.fromkeys((column.name, f"{column.name}__in", f"{column.name}__null"))
        changed = others if active else {**others, name: text}
        return SimpleNamespace(title=title, count=self.locale.write_count(count), active=active, href=self._link(**changed))

    # -- the columns and the size of a page

    def view(self, columns: Sequence[Column]) -> dict[str, str]:
        """The HTML of what leads to pages of other sizes and to other formats, and of what shows other columns."""
        is_list = len(self.known) > 1 and not self.page.get("build")
        choosing = self._html("_columns.tpl", False, partial(self._choosing, columns)) if is_list else ""
        return {"ways": self._html("_ways.tpl", bool(self.page.get("faults")), self._ways), "choosing": choosing}

    def _ways(self) -> dict[str, Any]:
        size, sizes = int(self.again.get("_size", "50")), dict[int, str]()
        if not self.page.get("build"):
            sizes = {one: self._link(_size=_text_of(one)) for one in sorted({*_SIZES, size})}
        return {"sizes": sizes, "size": size, "formats": {} if self.page.get("faults") else self._other_formats()}

    def _other_formats(self) -> dict[str, str]:
        """The addresses of the list in other formats, by what they are called."""
        kinds = {kind: one for kind, one in self.exchange.door.formats.items() if "table" in one.subjects}
        url, programs = self.exchange.url, sorted(kind for kind, one in kinds.items() if not one.for_people)
        found = {kind.upper(): url(f"{self.here}.{kind}", **self.again) for kind in programs}
        return found | {self.locale.t("table.excel"): url(f"{self.here}.csv", **self.again, _for="excel")}

    def _choosing(self, columns: Sequence[Column]) -> dict[str, Any]:
        return {
            "columns": self._choices(columns), "hidden": self._but_columns(), "action": self.exchange.url(self.here),
            "all_href": self._link(**{list_columns.NAME: None}) if list_columns.NAME in self.again else "",
        }  # fmt: skip

    def _but_columns(self) -> dict[str, str]:
        return {name: text for name, text in self.again.items() if name != list_columns.NAME}

    def _choices(self, columns: Sequence[Column]) -> list[SimpleNamespace]:
        """Each column, those first that are shown, with what moves it to and fro among them: nothing where they are many,
        since each such address names all of them."""
        asked, names = self._but_columns(), [one.name for one in columns]
        begin = self.exchange.url(self.here, **asked) + ("&" if asked else "?")

        def moved(at: int, to: int) -> str:
            order = list(names)
            order[at], order[to] = order[to], order[at]
            return f"{begin}{list_columns.NAME}={','.join(map(quote, order))}"

        found = []
        for at, one in enumerate([*columns, *(one for one in self.known if one.name not in names)]):
            is_shown, last = at < len(names), len(names) - 1 if len(names) <= _MOST_MOVED else 0
            up, down = moved(at, at - 1) if 0 < at <= last else "", moved(at, at + 1) if at < last else ""
            title = self.locale.heading(one)
            found.append(SimpleNamespace(name=one.name, title=title, shown=is_shown, up=up, down=down))
        return found


def _text_of(size: int) -> str | None:
    """A page's size in an address; None for the usual one."""
    return None if size == _SIZES[0] else str(size)


def _nothing(name: str) -> None:
    """No choices of any column."""


def _lists(inputs: Sequence[Input]) -> set[str]:
    """The parameters that take several values."""
    return {one.name for one in inputs if one.widget == "checkboxes"}


def _twice(exchange: Exchange, inputs: Sequence[Input]) -> set[str]:
    """The parameters that are given twice and take one value."""
    return set(exchange.repeated) - _lists(inputs)


def _given(exchange: Exchange, inputs: Sequence[Input]) -> dict[str, list[str]]:
    """What is asked for of the parameters that a view declares. Raises BadRequest if one is given twice."""
    if twice := _twice(exchange, inputs):
        raise BadRequest(f"the parameter {min(twice)} is given twice")
    asked, locale = exchange.query, exchange.locale
    return {one.name: _texts(one, asked[one.name], locale) for one in inputs if one.name in asked}


def _texts(one: Input, text: str, locale: Any) -> list[str]:
    """What the control of a parameter shows of its text in an address."""
    return [list_filters.as_typed(text, locale)] if one.widget == "number" else controls.values(one, text)


def _filter_input(one: Input, t: Words) -> Input:
    """A parameter's control in a filter, where a choice can be taken back."""
    if one.texts:  # its default, in whose place an empty one is sent, too
        one = one._replace(attrs={**one.attrs, "data-usual": "1"})
    if one.widget not in ("radio", "select", "checkbox"):
        return one
    choices = [("true", t("common.yes")), ("false", t("common.no"))]
    if one.widget != "checkbox":
        choices = [pair for pair in one.choices if pair[0]]
    if not one.required:
        choices.insert(0, ("", t("field.any")))
    return one._replace(widget="select", choices=tuple(choices))


# ==== 2. LISTS ===================================================================================================
# The address of a list is its whole state: what it is narrowed by, its columns, its order and its page.
# uses: ERRORS VALUES RUNNERS RESOURCES ASKED plugin:catalogue plugin:cells plugin:charts plugin:controls
#       plugin:list_facts plugin:move_pages plugin:pages plugin:reading plugin:saved_filters plugin:several_pages
#       plugin:totals plugin:view_extras
# defines: shown pages_around


def shown(way: Pages, exchange: Exchange, response: Response) -> dict[str, Any]:
    """What the page of a list shows."""
    page, table = response.page, cast(Table, response.table)
    if "key" not in page:  # which the records of a form have
        page = controls.with_inputs(page, exchange.locale)
    is_records = bool(page.get("key"))  # of a form; else a view, which has parameters
    records = app.plugin("reading").records_of(response)
    asked = _Asked(way, exchange, page, _known(page, table), is_sorted=not page.get("build"))
    columns = asked.columns()
    moves = app.plugin("move_pages").Cells(exchange, response) if is_records and page["form"].states else None
    boxes = app.plugin("several_pages").Boxes(exchange, response) if is_records else None
    headings = asked.headings(columns)
    if moves and moves.are_there:
        heading = SimpleNamespace(title=exchange.locale.t("moves.column"), numeric=False, sort_href="", sorted="")
        headings.insert(moves.after(columns), heading)
    state, may_create = pages.list_state(exchange), is_records and Action.CREATE in page["may"]
    ending = "?" + urlencode({"_list": state}) if state and is_records else ""
    between = app.plugin("totals").between(exchange, response, columns) if table.added else {}
    kept = None if asked.again else asked.kept
    rows = cells.Rows(columns, table.rows, exchange.locale, exchange.url, records, ending, moves, boxes, between, kept)
    return {
        "title": page.get("heading") or page["title"], "note": page["note"], **asked.filter(response),
        **app.plugin("view_extras").of_page(exchange, response),
        "chart": app.plugin("charts").on_page(exchange, response) if exchange.resource[:6] == "views/" else None,
        "empty": _empty_words(page, asked.again, exchange.locale.t),
        "crumbs": pages.crumbs_of(exchange, pages.form_trail(exchange, page) if is_records else [(page["title"], "")]),
        "rows": rows, "several": boxes, "saved": _saved(exchange, response, asked),
        "columns": headings, "heads": asked.heads(headings, bool(boxes)), "count": _counted(table, exchange.locale.t),
        **pages_around(exchange, table, asked.again), **asked.view(columns),
        **app.plugin("totals").below(exchange, response, columns),
        "script": app.plugin("list_facts").script(way, exchange, response),
        "create_href": exchange.url(page["address"], **page.get("new", {})) if may_create else "",
        "create": page.get("create") or exchange.locale.t("trail.new"),
        "import_href": exchange.url(f"{page['address']}/import") if may_create and page["form"].type == "forms" else "",
    }  # fmt: skip


def _known(page: Mapping[str, Any], table: Table) -> Sequence[Column]:
    """The columns that can be shown and asked for."""
    unsaid = ("id", "version", "updated_by", *(["created_by"] if page.get("heading") else [])) if page.get("key") else ()
    return cast(Sequence[Column], page.get("asks")) or [column for column in table.columns if column.name not in unsaid]


def _saved(exchange: Exchange, response: Response, asked: _Asked) -> Any:
    """The filters of the list that its reader has saved, and how he saves another one."""
    known = [one.name for one in (*cast(Table, response.table).columns, *asked.page.get("inputs", ()))]
    return app.plugin("saved_filters").tabs(exchange, response.caller, asked.again, known)


def _empty_words(page: Mapping[str, Any], again: Mapping[str, str], t: Words) -> str:
    """What stands in place of a list without rows."""
    if faults := [one for one in page.get("faults", ()) if one.code != "filter"]:
        titles = {one.name: one.title for one in page.get("inputs", ())}
        return t("table.fill_in", fields=t("common.comma").join(titles[one.pointer[1:]] for one in faults))
    return t("table.nothing_fits") if again else t("table.nothing")


def _counted(table: Table, t: Words) -> str:
    """How many rows there are, in words; "" where that is not known soon."""
    count = table.count
    if count is None:
        with suppress(AppError):  # the page is whole without it
            count = table.size()
    if count is None:
        return ""
    if table.count is None and count > COUNTED:
        return t("table.more_rows", n=COUNTED)
    return t("table.rows", n=count)


def pages_around(exchange: Exchange, table: Table, again: Mapping[str, str]) -> dict[str, str]:
    """Where the first page, the one before and the next one are. `_prev` has the cursors of the pages before this one, "0"
    for the first: the latest ones, since an address must not grow without end."""
    here, at = partial(exchange.url, exchange.inner), exchange.query.get("_next", "")
    trail = _trail(exchange.query, at)
    found = {"first_href": here(**again) if at else "", "previous_href": "", "next_href": ""}
    if trail:
        *before, last = trail
        back = {} if last == "0" else {"_next": last, "_prev": ",".join(before) or None}
        found["previous_href"] = here(**again, **back)
    if table.next:
        found["next_href"] = here(**again, _next=table.next, _prev=_bounded([*trail, at or "0"]))
    return found


def _trail(query: Mapping[str, str], at: str) -> list[str]:
    """The cursors of the pages before this one, as far as they are known."""
    trail = [one for one in query.get("_prev", "").split(",") if one] if at else []
    return trail or (_by_offset(at, int(query.get("_size", "50"))) if at else [])


def _bounded(trail: Sequence[str]) -> str | None:
    trail = trail[-_MOST_BEFORE:]
    while len(",".join(trail)) > _LONGEST_BEFORE:
        trail = trail[1:]
    return ",".join(trail) or None


def _by_offset(at: str, size: int) -> list[str]:
    """The page before one that is known by its place; [] where a cursor names a row."""
    with suppress(BadRequest):
        [start] = app.decode_cursor(at, 1)
        if isinstance(start, int) and not isinstance(start, bool) and start > 0:
            return [app.encode_cursor(start - size) if start > size else "0"]
    return []


# ==== 3. ANSWERS =================================================================================================
# What a page's form sent, without what is empty in it and in words of no language; and a filter that is no value of its
# column, said beside its control.
# uses: ERRORS VALUES RUNNERS ASKED LISTS plugin:controls plugin:filter_row plugin:list_filters plugin:pages
# defines: tidied refused


def tidied(way: Pages, exchange: Exchange, response: Response) -> str:
    """The address without the parameters that ask for nothing, and with numbers and days as everybody reads them, whatever
    the language of who typed them; "" if it is like that already."""
    is_typed = "_typed" in exchange.query
    if not exchange.query or (response.page.get("faults") and not is_typed):
        return ""
    if exchange.repeated and not is_typed and "" not in exchange.query.values():
        return ""
    columns, params = cast(Table, response.table).columns, {one.name: one.column for one in response.page.get("fields", ())}
    kept, by_name = again(exchange, columns, response.page), {one.name: one for one in columns}
    found, typed = {}, _typed(way, exchange, response) if is_typed else {}
    for name, text in exchange.query.items():
        column, op = (name, "eq") if name in params else filter_row.split(name, by_name)
        known = typed.get(name) or params.get(name) or by_name.get(column)
        if (text or name in kept) and name != "_typed":
            found[name] = text
            if known and (op or name in typed):
                found[name] = list_filters.plain(op, text, known, exchange.locale, typed=name in typed)
    return exchange.url(exchange.inner, **found) if found != exchange.query else ""


def _typed(way: Pages, exchange: Exchange, response: Response) -> dict[str, Column]:
    """The parameters that somebody typed in the controls of the page, each with its column. Where a parameter of a view is
    wrong, nobody knows its columns: what is asked from and to is a number then, if it looks like one."""
    page, table = response.page, cast(Table, response.table)
    page = page if "key" in page else controls.with_inputs(page, exchange.locale)
    if _twice(exchange, page.get("inputs", ())):
        raise BadRequest("a parameter is given twice")
    found = {one.name: one.column for one in page.get("fields", ()) if not one.choices}
    if exchange.query["_typed"] == "params":
        return found
    for one in _Asked(way, exchange, page, _known(page, table), is_sorted=False)._askings(response):
        if one.kind == "range":
            found |= {f"{one.column.name}__{op}": one.column for op in one.ops}
    if not table.columns:
        names = [name for name in exchange.query if name.endswith(("__gte", "__lte"))]
        found |= {name: Column(name.rpartition("__")[0], type="number") for name in names if name not in found}
    return found


def refused(exchange: Exchange, error: AppError) -> Response | None:
    """The list without the filters that are no values of their columns, and without rows: its page says what is wrong. None
    if something else is wrong."""
    faults, of_pages = list(error.faults), ("_list", "_embed", "_typed")
    left = {name: text for name, text in exchange.query.items() if name not in of_pages}
    for _ in range(_MOST_WRONG):
        if not isinstance(error, BadRequest) or not error.faults or any(one.code != "filter" for one in error.faults):
            return None
        for one in error.faults:
            left.pop(one.pointer[1:], None)
        try:
            response = exchange.door.host.handle(_asked_so(exchange, left))
        except AppError as other:
            error, faults = other, [*faults, *other.faults]
            continue
        if response.table is None:
            return None
        response.table.close()
        page = response.page if "key" in response.page else controls.with_inputs(response.page, exchange.locale)
        if _twice(exchange, page.get("inputs", ())):
            return None  # no control shows what is given twice
        response.table = Table(response.table.columns, [])
        response.page = {**response.page, "faults": faults}
        return response
    return None


def _asked_so(exchange: Exchange, params: dict[str, str]) -> app.Request:
    return app.Request(
        exchange.id, Action.READ, exchange.resource, exchange.path_inside, app.HttpRunner.kind, params,
        credential=exchange.credential, page=True, languages=exchange.languages,
    )  # fmt: skip
