"""What stands around a record on its page: those before and after it in the list, its comments, the way to its history."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote, urlencode

from app import AppError, CompiledQuery, Exchange, Form, Query, Record, Response, plugin, read_list

if TYPE_CHECKING:
    from plugins import pages
else:
    pages = plugin("pages")

# ==== 1. AROUND ==================================================================================================
# Read for the page of a record alone, as far as its reader may see it. The page is whole without any of it.
# uses: ERRORS VALUES RUNNERS RESOURCES PROVIDERS plugin:comments plugin:pages
# defines: shown neighbours

_OF_LIST = ("_size", "_next", "_count", "_facets", "_totals", "_for")  # what was asked of the list that no record depends on


def shown(exchange: Exchange, response: Response) -> Mapping[str, Any]:
    """What the template of a record shows beside its fields."""
    page = response.page
    form: Form = page["form"]
    if form.type != "forms":
        return {"history_href": "", "nearby": (), "thread": None}
    state = urlencode(pages.listed(exchange)) or None
    at = f"{page['records_at']}/{quote(page['record'].key, safe='')}"
    return {
        "history_href": exchange.url(f"{at}/history", _list=state),
        "thread": plugin("comments").shown(exchange, page, at, state) if form.config.comments else None,
        "nearby": [
            SimpleNamespace(
                rel=rel, href=exchange.url(f"{page['records_at']}/{quote(one.key, safe='')}", _list=state),
                called=form.called(one),
            )
            for rel, one in zip(("prev", "next"), _nearby(exchange, form, page["record"]), strict=True) if one
        ],
    }  # fmt: skip


def _nearby(exchange: Exchange, form: Form, record: Record) -> tuple[Record | None, Record | None]:
    """The records before and after one, in the list that its page was reached from."""
    asked = {name: text for name, text in pages.listed(exchange).items() if name not in _OF_LIST}
    with suppress(AppError):  # a list that cannot be asked so any more, or a provider that is away or cannot turn it round
        listed = read_list(asked, form.columns, form.locale)
        return neighbours(form, form.query(listed, ("-id",), form.columns), record)
    return None, None


def neighbours(form: Form, query: Query, record: Record) -> tuple[Record | None, Record | None]:
    """The records before and after one in a list, wherever it stands there by its values; None at the ends."""
    terms = CompiledQuery(query._replace(after="")).terms
    onward = [("-" if down else "") + name for name, down in terms]
    back = [("" if down else "-") + name for name, down in terms]
    return _beside(form, query, back, record), _beside(form, query, onward, record)


def _beside(form: Form, query: Query, order_by: Sequence[str], record: Record) -> Record | None:
    asked = query._replace(order_by=tuple(order_by), limit=1, after="")
    compiled = CompiledQuery(asked)
    cursor = compiled.cursor([compiled.key(record, name) for name, _ in compiled.terms])
    found = cast(Any, form.store).find(asked._replace(after=cursor)).items
    return found[0] if found else None
