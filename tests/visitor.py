"""A visitor of a running server: HTTP with the standard library alone, as a browser without JavaScript or as a program."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any, ClassVar
from urllib.parse import urlencode, urlsplit

from conftest import PATIENCE_S, Server

PAGE = {"Accept": "text/html"}


@dataclass
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def data(self) -> Any:
        return json.loads(self.body)


@dataclass
class Visitor:
    """One connection and the cookies that came over it; with a token, a program instead of a browser."""

    base_url: str
    token: str = ""
    host: str = ""  # another Host header than where it connects
    cookies: dict[str, str] = field(default_factory=dict)
    _connection: http.client.HTTPConnection | None = None
    used: ClassVar[list[Visitor]] = []  # those whose connections the end of the test closes

    def send(
        self, method: str, path: str, body: bytes | Iterator[bytes] | None = None, headers: Mapping[str, str] = {}
    ) -> Answer:
        response = self.open(method, path, body, headers)
        return Answer(response.status, response.headers, response.read())

    def open(
        self, method: str, path: str, body: bytes | Iterator[bytes] | None = None, headers: Mapping[str, str] = {}
    ) -> http.client.HTTPResponse:
        """The response with its body still to be read."""
        if self._connection is None:
            self._connection = http.client.HTTPConnection(urlsplit(self.base_url).netloc, timeout=PATIENCE_S)
            self.used.append(self)
        sent = dict(headers)
        if self.host:
            sent["Host"] = self.host
        if self.token:
            sent["Authorization"] = f"Bearer {self.token}"
        if self.cookies:
            sent["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        try:
            self._connection.request(method, path, body, sent)
            response = self._connection.getresponse()
        except (OSError, http.client.HTTPException):
            self.close()
            raise
        for cookie in response.headers.get_all("Set-Cookie") or ():
            name, _, value = cookie.partition(";")[0].partition("=")
            self.cookies[name] = value
        return response

    def get(self, path: str, headers: Mapping[str, str] = {}) -> Answer:
        return self.send("GET", path, None, headers)

    def post_json(self, path: str, value: object, headers: Mapping[str, str] = {}) -> Answer:
        return self.send("POST", path, json.dumps(value).encode(), {"Content-Type": "application/json", **headers})

    def submit(self, form: HtmlForm, **filled: str) -> Answer:
        """What a browser without JavaScript sends when its user fills the form and presses the button."""
        assert form.method == "post"
        encoded = urlencode(form.fields | filled).encode()
        return self.send("POST", form.action, encoded, PAGE | {"Content-Type": "application/x-www-form-urlencoded"})

    def form_at(self, path: str, action: str, takes: str = "") -> HtmlForm:
        """The form of a page whose action begins with `action`, and which `takes` a control of that name."""
        answer = self.get(path, PAGE)
        assert answer.status == 200, answer.text
        fits = (form for form in forms_of(answer.text) if form.action.startswith(action))
        return next(form for form in fits if not takes or takes in form.fields)

    def close(self) -> None:
        if self._connection:
            self._connection.close()
        self._connection = None


@dataclass
class HtmlForm:
    action: str
    method: str
    fields: dict[str, str]


class FormReader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.forms: list[HtmlForm] = []

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "form":
            self.forms.append(HtmlForm(given.get("action") or "", given.get("method") or "get", {}))
        named = tag in ("input", "textarea", "select") and given.get("name")
        if named and self.forms and (given.get("type") not in ("radio", "checkbox") or "checked" in given):
            self.forms[-1].fields[named] = given.get("value") or ""


def forms_of(page: str) -> list[HtmlForm]:
    reader = FormReader()
    reader.feed(page)
    return reader.forms


def sign_in(server: Server) -> Visitor:
    """Opens the printed link and presses its button."""
    visitor = Visitor(server.base_url)
    form = visitor.form_at(urlsplit(server.sign_in_link).path, "/login")
    assert visitor.submit(form).status == 303
    return visitor
