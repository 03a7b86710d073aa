"""Every route x {no credential, one for another resource, one for another action, the exact grant}, at every door of HTTP.

The rows come from the table of routes itself (the endpoints of resources, and the paths and methods of Route plugins), so a
new route is judged without a line here. One whose path is its own has to say in OWN_PATHS whom it answers, or answer nobody.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

import pytest
from http_client import JSON, MULTIPART, PAGE, Reply, Site, multipart

import app

ACTIONS = {"GET": "read", "HEAD": "read", "POST": "create", "PUT": "update", "PATCH": "update", "DELETE": "delete"}
PROGRAM = """
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"from the program"]
"""

# Whom a path of its own answers with more than an error: "everybody", "people" (whoever is signed in, with any rights), or
# the grant that it needs. What answers everybody tells nothing that is behind a grant: another test looks.
OWN_PATHS = {
    "/": "everybody",  # the title of the site, and what the caller may open
    "/files": "everybody", "/forms": "everybody", "/views": "everybody", "/apps": "everybody", "/admin": "everybody",
    "/healthz": "everybody", "/readyz": "everybody",
    "/static/<name>": "everybody",
    "/login": "everybody", "/login/<code>": "everybody", "/login/mail": "everybody", "/logout": "everybody",
    "/login/oidc": "everybody", "/login/oidc/back": "everybody", "/login/proxy": "everybody",
    "/openapi.json": "everybody",  # what the caller may open, and of all else nothing
    "/search": "everybody",  # likewise
    "/share": "everybody",  # which answers nobody without the grant of what is to be shared
    "/s/<code>": "everybody",  # whoever has a link
    "/tus/<id>": "everybody",  # which says what is offered, and tells of an upload nobody but its subject
    "/dav": "everybody", "/dav/": "everybody",  # the shares that the caller may open
    "/dav/<path:path>": "everybody",  # what methods there are; all else needs the grants of files
    "/tus": "people",  # whose own uploads it lists
    "/me": "people", "/mcp": "people",
    "/metrics": "admin/metrics:read",
}  # fmt: skip


def edited(config: str) -> str:
    config = config.replace('grants = ["forms/open:create"]', "grants = []")
    config = config.replace('home = "templates/desk.html"', "")  # which reads a view, with a grant of its own
    return config.replace("[apps.bare]", '[apps.bare]\nwsgi = "matrix_program:application"')


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder: Path = tmp_path_factory.mktemp("matrix")
    (folder / "matrix_program.py").write_text(PROGRAM)
    found = Site(folder, edit=edited)
    found.app.state.commit([app.Insert("_people", "bo", {"subject": "bo"})])
    yield found
    found.close()


class Operation(NamedTuple):
    """One method of one endpoint, with words in place of what may stand there."""

    method: str
    resource: str
    inside: str

    def __str__(self) -> str:
        return f"{self.method} /{self.address}"

    @property
    def address(self) -> str:
        return "/".join(filter(None, (self.resource, self.inside)))

    @property
    def type(self) -> str:
        return self.resource.partition("/")[0]

    @property
    def action(self) -> str:
        updates = ("/move", "/history", "drafts/x", "several")
        if self.type == "forms" and self.method == "POST" and self.inside.endswith(updates):
            return "update"
        if self.type == "views" and self.method == "POST":
            return "read"  # a link to it, for whoever may read it
        return ACTIONS.get(self.method, "read")

    def of(self, resource: str) -> Operation:
        return self._replace(resource=resource)

    def sufficient(self, *, page: bool) -> set[str]:
        """The actions of which any one is enough, as docs/people.md and DESIGN say it. Not asked of the code."""
        action, is_mine = self.action, self.inside.partition("/")[0] == "mine"
        if self.inside.startswith("app") and self.type == "apps":
            return {"read"}  # whoever opens an app may use the program in it
        if self.inside.startswith("pages") and self.type == "apps":
            return {"read"}  # who writes them is for the share to say that has them
        if self.type == "forms" and not self.inside and action == "read":
            return {"read", "create"}  # the form itself
        if self.type == "forms" and is_mine and action == "read":
            return {"read", "create"}  # one's own records
        if self.type == "forms" and self.inside.partition("/")[0] == "import":
            return {"create"}  # its page, too
        if self.type == "forms" and self.inside.startswith("options/"):
            return {"create", "update"}  # what can be chosen, for whoever may choose it
        if self.type == "forms" and self.inside.endswith("/move"):
            return {"read", "update"} | ({"create"} if is_mine else set())  # whose role has a move is seen later
        if self.type == "forms" and self.inside == "several" and action == "update":
            return {"read", "update", "delete"}  # each row is judged by itself
        if self.type == "forms" and self.inside.partition("/")[0] == "drafts":
            return {"create"}  # of whoever may submit
        if self.type == "forms" and self.inside.endswith("/comments"):
            return {"read"} | ({"create"} if is_mine else set())  # of whoever reads the record
        if self.type == "forms" and self.inside.endswith("/history") and action == "update":
            return {"update"}
        if self.type == "files" and action == "update":
            return {"update", "create"}  # which of the two is seen later
        if self.type == "files" and action == "read" and page and not self.inside:
            return {"read", "create"}  # the page of a drop box
        return {action}

    def exact(self, *, page: bool) -> list[str]:
        """The grants that let it in, each by itself."""
        actions = sorted(self.sufficient(page=page))
        if self.type == "files" and self.method == "PUT":  # one for a file that is there, one for a new one
            actions = [",".join(actions)]
        return [f"{self.address}:{action}" for action in actions]


WORDS = {"ID": "x", "FIELD": "paper", "PATH": "some.txt", "JTI": "x", "SUBJECT": "bo"}


def operations(site: Site) -> Iterator[Operation]:
    routes = site.app.extensions(app.Route)  # type: ignore[type-abstract]
    for address, resource in site.app.resources.items():
        for endpoint in resource.endpoints if address else ():
            inside = "/".join(WORDS.get(part, part.lower()) for part in endpoint.path.split("/"))
            methods = dict.fromkeys(app.methods_of(endpoint))
            for route in routes:
                if resource.type in route.types and route.inside in ("", inside.partition("/")[0]):
                    methods |= {name: None for name, action in route.methods.items() if action in endpoint.actions}
            for method in methods:
                if method != "OPTIONS":
                    yield Operation(method, address, inside)


def ask(site: Site, one: Operation, token: str, headers: Mapping[str, str]) -> Reply:
    body: bytes | None = None
    headers = dict(headers)
    if one.method in ("POST", "PUT", "PATCH", "DELETE") or one.method not in ACTIONS:
        headers |= {"Sec-Fetch-Site": "same-origin"}
    if one.method == "POST" and one.type == "files":
        body, headers = multipart(("file", "new.txt", "new")), headers | MULTIPART
    elif one.method in ("POST", "PUT", "PATCH"):
        body, headers = b"{}", headers | JSON
    return site.ask(one.method, f"/{one.address}", body, headers, token)


DOORS: Mapping[str, Mapping[str, str]] = {"json": {"Accept": "application/json"}, "page": PAGE}


class Callers:
    """The credentials of one operation. They are made once for each list of grants."""

    def __init__(self, site: Site) -> None:
        self._site, self._made = site, dict[str, str]()

    def token(self, *grants: str) -> str:
        key = " ".join(grants)
        if key not in self._made:
            self._made[key] = self._site.token(*grants, subject="matrix")
        return self._made[key]

    def refused(self, one: Operation, *, page: bool) -> dict[str, str]:
        """Those that must not be let in, by what they are."""
        name = one.resource.partition("/")[2]
        others = sorted(set(ACTIONS.values()) - one.sufficient(page=page))
        return {
            "none": "",
            "other resource": self.token(f"{one.type}/another:*", "files/zzz:*", "apps/zzz:*"),
            "name that begins so": self.token(f"{one.type}/{name[:-1]}:*", f"{one.type}/{name}x:*"),
            "other action": self.token(f"{one.resource}:{','.join(others)}") if others else "",
        }


@pytest.fixture(scope="module")
def callers(site: Site) -> Callers:
    return Callers(site)


def is_led_to_sign_in(reply: Reply, door: str, kind: str) -> bool:
    return (door, kind, reply.status) == ("page", "none", 303) and reply["Location"].startswith("/login?")


def faults_of(site: Site, callers: Callers, one: Operation) -> Iterator[str]:
    """What is wrong with how one operation judges its callers."""
    for door, headers in DOORS.items():
        for kind, token in callers.refused(one, page=door == "page").items():
            reply = ask(site, one, token, headers)
            if reply.status != (403 if token else 401) and not is_led_to_sign_in(reply, door, kind):
                yield f"{one} as {door} with {kind}: {reply.status}"
        for grant in one.exact(page=door == "page"):
            reply = ask(site, one, callers.token(grant), headers)
            if reply.status in (401, 403) or reply.status >= 500 or reply["Location"].startswith("/login"):
                yield f"{one} as {door} with the exact grant {grant}: {reply.status} {reply.text[:200]}"


def test_no_route_of_a_resource_answers_without_its_grant(site: Site, callers: Callers) -> None:
    rows = list(operations(site))
    assert len(rows) > 60
    assert [fault for one in rows for fault in faults_of(site, callers, one)] == []


def test_no_message_does_what_a_route_would_refuse(site: Site, callers: Callers) -> None:
    let_in = []
    for one in {one.address + one.method: one for one in operations(site) if one.method in ACTIONS}.values():
        if one.type == "apps" and one.method not in ("GET", "HEAD"):  # of a program, which no message reaches
            continue
        action, path = app.Action(one.action), tuple(filter(None, one.inside.split("/")))
        for kind, token in callers.refused(one, page=False).items():
            credential = f"Bearer {token}" if token else ""
            try:
                site.app.handle(app.Request("m", action, one.resource, path, "sqs", data={}, credential=credential))
            except (app.Forbidden, app.SignInNeeded):
                continue
            except app.AppError as error:
                let_in.append((str(one), kind, error.code))
            else:
                let_in.append((str(one), kind, "done"))
    assert let_in == []


def told(reply: Reply, one: Operation) -> tuple[Any, ...]:
    """All of an answer but what names the request, or the resource that it asked for."""
    headers = sorted(
        (name.lower(), value) for name, value in reply.headers if name.lower() not in ("x-request-id", "content-length")
    )
    text = unquote(re.sub(r"[0-9a-f]{32}", "ID", reply.text + json.dumps(headers)))
    text = re.sub(r'name="_token" value="[^"]*"', "", text)
    return reply.status, re.sub(rf"{re.escape(one.resource)}\b", "RESOURCE", text)


def test_what_is_missing_and_what_is_forbidden_look_the_same_to_whoever_may_see_neither(
    site: Site, callers: Callers
) -> None:
    different = []
    for one in operations(site):
        if one.type == "admin":  # whose names are the same on every site
            continue
        for door, headers in DOORS.items():
            other = one.of(f"{one.type}/nosuch")
            for kind, token in callers.refused(one, page=door == "page").items():
                if kind != "other action":  # which is of that very resource
                    ours, theirs = ask(site, one, token, headers), ask(site, other, token, headers)
                    if told(ours, one) != told(theirs, other):
                        different.append((str(one), door, kind, told(ours, one), told(theirs, other)))
    assert different == []


def test_a_record_a_file_and_a_token_that_are_there_look_like_those_that_are_not(site: Site, callers: Callers) -> None:
    root = callers.token("**:*")
    record = site.send("/forms/papers", {"name": "here"}, root).json["id"]
    assert site.put("/files/docs/here.txt", "x", root, Content_Type="text/plain").status == 201
    jti = site.app.office.issue(app.Caller("test"), "cy", ["**:read"], [], 3600).jti
    pairs = [
        ("forms/papers", f"records/{record}", "records/nosuch"), ("files/docs", "here.txt", "nosuch.txt"),
        ("admin/tokens", jti, "nosuch"), ("admin/people", "bo", "nosuch"),
    ]  # fmt: skip
    for resource, there, missing in pairs:
        for method in ("GET", "PUT", "DELETE"):
            for token in ("", callers.token("views/zzz:read")):
                ours, theirs = (Operation(method, resource, inside) for inside in (there, missing))
                for headers in DOORS.values():
                    replies = [ask(site, each, token, headers) for each in (ours, theirs)]
                    texts = [
                        (reply.status, re.sub(rf"[0-9a-f]{{32}}|\b{inside}\b", "X", unquote(reply.text)))
                        for reply, inside in zip(replies, (there, missing), strict=True)
                    ]
                    assert texts[0] == texts[1], (method, resource)


# ---- paths of their own


def own_operations(site: Site) -> Iterator[tuple[str, str, str]]:
    """(method, path as the route writes it, the same with something in place of what may stand there)."""
    rows = app.plugin("info").routes(site.app)
    of_resources = {f"/{one.address}" for one in operations(site)}
    known = {path: methods for path, methods in ((row["path"], row["methods"]) for row in rows) if path not in of_resources}
    for path in OWN_PATHS:
        for shown in [path, re.sub("<.*", "…", path)]:
            if shown in known:
                for method in known.pop(shown).split():
                    yield method, path, re.sub("<.*?>", "x", path)
                break
    routes = site.app.extensions(app.Route)  # type: ignore[type-abstract]
    for route in routes:
        for path, methods in route.paths.items():
            if path not in OWN_PATHS:
                for method in methods.split():
                    yield method, path, re.sub("<.*?>", "x", path)


def own_faults(site: Site, callers: Callers) -> Iterator[str]:
    for method, path, target in own_operations(site):
        needed = OWN_PATHS.get(path, "a grant that nobody has: say in OWN_PATHS whom it answers")
        for door, headers in DOORS.items():
            answers = {
                "none": site.ask(method, target, None, headers),
                "other resource": site.ask(method, target, None, headers, callers.token("files/zzz:*")),
            }
            for kind, reply in answers.items():
                may = needed == "everybody" or (needed == "people" and kind == "other resource")
                if not may and reply.status < 400 and not is_led_to_sign_in(reply, door, kind):
                    yield f"{method} {path} as {door} with {kind} answers {reply.status} and needs {needed}"
                if reply.status >= 500:
                    yield f"{method} {path} as {door} with {kind} fails: {reply.status}"
            if (
                ":" in needed
                and path in OWN_PATHS
                and site.ask(method, target, None, headers, callers.token(needed)).status != 200
            ):
                yield f"{method} {path} as {door} does not take {needed}"


def test_no_path_of_its_own_answers_those_whom_it_should_not(site: Site, callers: Callers) -> None:
    assert list(own_faults(site, callers)) == []


def test_the_table_of_paths_names_no_path_that_is_not_there(site: Site) -> None:
    assert {path for _, path, _ in own_operations(site)} >= set(OWN_PATHS)


SECRET_WORDS = ("leave", "papers", "waiting", "numbers", "docs", "pics", "desk", "First day", "Policy")


def test_what_everybody_may_ask_names_nothing_that_is_behind_a_grant(site: Site) -> None:
    for method, path, target in own_operations(site):
        if OWN_PATHS.get(path) == "everybody" and method == "GET" and not path.startswith("/static"):
            for headers in DOORS.values():
                text = site.ask(method, target, None, headers).text
                assert [word for word in SECRET_WORDS if re.search(rf"\b{word}\b", text)] == [], path


# ---- the matrix itself


class _Leak(app.Route):
    """What nobody should write."""

    kind = "leak"
    paths = {"/leak": "GET"}  # noqa: RUF012
    types = frozenset({"forms"})
    methods = {"COPY": app.Action.READ}  # noqa: RUF012

    def answer(self, asked: app.Asked, host: app.Host) -> app.Answer:
        return app.Answer(200, [("Content-Type", "text/plain")], b"all of it")


def test_a_route_that_asks_nobody_is_found(site: Site, callers: Callers, monkeypatch: pytest.MonkeyPatch) -> None:
    leak = _Leak({}, site.app.config)
    real = site.app.extensions
    monkeypatch.setattr(site.app, "extensions", lambda family: [*real(family), *([leak] if family is app.Route else [])])
    site.runner.add(leak)
    assert "GET /leak as json with none answers 200" in " ".join(own_faults(site, callers))
    found = [one for one in operations(site) if one.method == "COPY"]
    assert found
    assert any("with none: 200" in fault for one in found for fault in faults_of(site, callers, one))
