"""Where a text in Markdown leads: its links and images, as its page shows them, with the lines they stand in."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, cast

from app import plugin

# ==== 1. LINKS ===================================================================================================
# The reader of the pages says what is a link. It does not say where that stood, so each is looked for from where the one
# before it was.
# uses: plugin:markdown_html
# defines: Link links


class Link(NamedTuple):
    """Where a text leads, and the line of it."""

    line: int
    target: str
    is_image: bool


def links(body: str) -> Iterator[Link]:
    """The links and images of a text."""
    from mistune.util import escape_url

    reading = plugin("markdown_html")
    if reading.is_hard(body):
        return
    text, at = "\n".join(map(escape_url, body.split("\n"))), 0
    for one in _parts(cast(list[dict[str, Any]], reading.reader_for(None)(body))):
        target = one["attrs"]["url"]
        place = re.compile(r"(?:[(\n]|%3C|%20)" + re.escape(target) + r"(?=[)\n]|%3E|%20|$)")
        found = place.search(text, at) or place.search(text)
        if found and "ref" not in one:  # which is not where its address is
            at = found.end()
        yield Link(text.count("\n", 0, found.end() if found else at) + 1, target, one["type"] == "image")


def _parts(parts: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The links and images among the parts of a text, each after those in it."""
    for one in parts:
        yield from _parts(one.get("children", ()))
        if one["type"] in ("link", "image"):
            yield one
