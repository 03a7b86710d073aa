"""The page of a form as a browser without scripts has it: what it shows, and what it sends."""

from __future__ import annotations

from collections.abc import Sequence
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urlencode

from http_client import FORM, PAGE, Reply, Site


class _Reader(HTMLParser):
    """What would be sent of the main form of a page: nothing of what is disabled."""

    def __init__(self) -> None:
        super().__init__()
        self.action, self.sent, self.offered = "", list[tuple[str, str]](), set[str]()
        self._open: list[bool] = []  # whether each fieldset around is disabled
        self._in_form, self._text, self._select = False, "", ("", list[tuple[str, bool]]())

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        at = {name: text or "" for name, text in attrs}
        if tag == "form":
            self._in_form = at.get("class") == "form"
            self.action = at["action"] if self._in_form else self.action
        if tag == "fieldset":
            self._open.append("disabled" in at)
        if not self._in_form or any(self._open):
            return
        name, value = at.get("name", ""), at.get("value", "")
        if tag == "input" and name:
            self.offered.add(name)
            if at.get("type") not in ("radio", "checkbox", "file") or "checked" in at:
                self.sent.append((name, value or ("on" if at.get("type") == "checkbox" else "")))
        if tag == "textarea":
            self.offered.add(name)
            self._text = name
            self.sent.append((name, ""))
        if tag == "select":
            self.offered.add(name)
            self._select = name, []
        if tag == "option":
            self._select[1].append((value, "selected" in at))

    def handle_data(self, data: str) -> None:
        if self._text:
            name, before = self.sent.pop()
            self.sent.append((name, before + data))

    def handle_endtag(self, tag: str) -> None:
        if tag == "fieldset" and self._open:
            self._open.pop()
        if tag == "form":
            self._in_form = False
        if tag == "textarea" and self._text:
            name, text = self.sent.pop()
            self.sent.append((name, text.removeprefix("\n")))
            self._text = ""
        if tag == "select" and self._select[0]:
            name, options = self._select
            self.sent += [(name, value) for value, chosen in options if chosen] or [(name, options[0][0])]
            self._select = "", []


class FormPage:
    """Somebody at the page of a form. `names` are its fields, `sent` the pairs that would be sent now."""

    def __init__(self, site: Site, address: str, cookie: str = "") -> None:
        self.site, self.cookie = site, cookie or site.sign_in(site.token("**:*"))
        self.open(address)

    def open(self, address: str) -> FormPage:
        self._take(self.site.get(address, self.cookie, **PAGE))
        return self

    def _take(self, reply: Reply) -> None:
        reader = _Reader()
        reader.feed(reply.text)
        self.status, self.text, self.action, self.sent = reply.status, reply.text, reader.action, reader.sent
        self.names = {name for name in reader.offered if not name.startswith("_")}

    def send(self, *, again: bool = False, **typed: str | Sequence[str]) -> FormPage:
        """Fill in some fields and press the button, or the one that only brings the page back."""
        pairs: list[tuple[str, Any]] = [pair for pair in self.sent if pair[0] not in typed]
        for name, texts in typed.items():
            pairs += [(name, text) for text in ([texts] if isinstance(texts, str) else texts)]
        pairs += [("_again", "more")] if again else []
        self._take(
            self.site.ask(
                "POST", self.action, urlencode(pairs), FORM | PAGE | {"Sec-Fetch-Site": "same-origin"}, self.cookie
            )
        )
        return self
