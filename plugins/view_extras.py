"""What the page of a view has beside its rows: a link to share it, and how often it asks for them again."""

from __future__ import annotations

import hashlib
from typing import Any, cast

from app import Answer, App, Exchange, Response, View, plugin

# ==== 1. EXTRAS ==================================================================================================
# A page that refreshes itself fetches itself with its entity tag, and takes the rows over if they have changed.
# uses: VALUES RUNNERS RESOURCES ASSEMBLY plugin:links
# defines: SOONEST_S of_page tagged

SOONEST_S = 5


def _view(exchange: Exchange) -> View | None:
    """The view whose page it is; None for other lists."""
    found = cast(App, exchange.door.host).resources.get(exchange.resource)
    return found if isinstance(found, View) else None


def of_page(exchange: Exchange, response: Response) -> dict[str, Any]:
    """Facts for the template of a list."""
    view = _view(exchange)
    if view is None:
        return {"share_href": "", "calendar_href": "", "refresh_s": 0}
    query = {name: text for name, text in exchange.query.items() if text}
    address = plugin("links").address_with({"address": exchange.resource, "query": query})
    may = response.caller.subject and exchange.inner == exchange.resource
    share = exchange.url("share", of=address) if may else ""
    calendar = f"{share}#calendar" if share and view.config.calendar else ""
    return {"share_href": share, "calendar_href": calendar, **_refreshing(exchange, view)}


def _refreshing(exchange: Exchange, view: View) -> dict[str, Any]:
    return {"refresh_s": view.config.refresh_s, "refresh_href": exchange.own_address}


def tagged(exchange: Exchange, answer: Answer) -> Answer:
    """The page of a view that refreshes itself with an entity tag, or 304 if the browser has that one."""
    view = _view(exchange)
    if view is None or not view.config.refresh_s or answer.status != 200 or not isinstance(answer.body, bytes):
        return answer
    tag = hashlib.sha256(answer.body).hexdigest()[:32]
    if tag in exchange.conditions().if_none_match:
        return Answer(304, [("ETag", f'W/"{tag}"')])
    answer.headers.append(("ETag", f'W/"{tag}"'))
    return answer
