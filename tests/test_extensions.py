"""What every Route, Format, Job, Channel and Command promises (CONTRACTS in app.py), asked of each kind: ours, and those of
another file with `pytest --plugin FILE` (see own_plugins.py)."""

from __future__ import annotations

import argparse
import base64
import json
import re
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import backends
import boto3
import mail_server
import own_plugins
import pytest
from hook_server import HookServer
from http_client import JSON, PAGE, Site
from sqs_fake import SqsFake

import app

REGISTRY = app.load_registry(Path("/nowhere"))
METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
AT_ONCE_S = 5.0


def kinds(family: Any) -> list[Any]:
    own = [REGISTRY.find(family, kind) for kind in REGISTRY.kinds(family)]
    return [pytest.param(cls, id=cls.kind) for cls in [*own, *own_plugins.of(family)]]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    opened = Site(tmp_path_factory.mktemp("site"))
    yield opened
    opened.close()


# ---- routes


@pytest.fixture(params=kinds(app.Route))
def route(request: pytest.FixtureRequest, site: Site, tmp_path: Path) -> Iterator[app.Route]:
    """One that the site's door answers by: its own, or that of another file, put in as a start would."""
    made: Any = request.param(own_plugins.options(request.param, tmp_path), site.app.config)
    site.runner.add(made)
    return made  # type: ignore[no-any-return]


def paths_of(route: app.Route) -> Iterator[tuple[str, set[str]]]:
    """The paths, with something in place of what may stand there, and their methods."""
    for path, methods in route.paths.items():
        yield re.sub("<.*?>", "x", path), set(methods.split())


def test_a_route_names_its_paths_and_their_methods(route: app.Route) -> None:
    assert route.paths or (route.types and route.methods)
    assert route.types <= set(app.RESOURCE_TYPES)
    assert all(re.fullmatch("[A-Z][A-Z-]*", method) for method in route.methods)
    for path, methods in paths_of(route):
        assert path.startswith("/")
        assert not re.match(r"/(files|forms|views|apps|admin|healthz|readyz)\b", path)
        assert all(re.fullmatch("[A-Z][A-Z-]*", method) for method in methods)


def test_a_route_answers_everybody_and_fails_for_nobody(route: app.Route, site: Site) -> None:
    root = site.token("**:*")
    for path, methods in paths_of(route):
        for method in methods:
            for token in ("", root, "nonsense"):
                for headers in ({}, PAGE):
                    reply = site.ask(method, path, None, headers, token)
                    assert reply.status < 500, (method, path, reply.text[:300])


def test_a_route_takes_no_other_method(route: app.Route, site: Site) -> None:
    root = site.token("**:*")
    for path, methods in paths_of(route):
        of_home = {"GET"} if path == "/" else set()  # the home page is the site's own
        for method in METHODS - {"OPTIONS", "HEAD"} - methods - of_home:
            assert site.ask(method, path, b"", {}, root).status in (405, 404), (method, path)


def test_a_route_serves_many_threads_at_once(route: app.Route, site: Site) -> None:
    root = site.token("**:*")
    for path in (path for path, methods in paths_of(route) if "GET" in methods):
        alone = site.get(path, root).status
        with ThreadPoolExecutor(8) as pool:
            assert {reply.status for reply in pool.map(lambda _, path=path: site.get(path, root), range(40))} == {alone}


# ---- methods of a route's own

DAV = """
import app


class Dav(app.Route):
    kind = "drive"
    paths = {"/drive/<share>/<rest:path>": "GET PROPFIND LOCK OPTIONS", "/locks": "LOCK"}
    methods = {"PROPFIND": app.Action.READ, "MKCOL": app.Action.CREATE, "REPORT": app.Action.READ}
    types = frozenset({"files", "views"})

    def answer(self, asked, host):
        if asked.method == "OPTIONS":
            return app.Answer(204, [("DAV", "1, 2"), ("Allow", "OPTIONS, PROPFIND")])
        said = " ".join([asked.method, asked.resource, *asked.path_inside])
        return app.Answer(207, [("Content-Type", "text/plain")], said.encode())
"""


@pytest.fixture(scope="module")
def dav(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("dav")
    (folder / "plugins").mkdir()
    (folder / "plugins" / "dav.py").write_text(DAV)
    opened = Site(folder)
    yield opened
    opened.close()


@pytest.mark.parametrize(
    ("method", "target", "said"),
    [
        ("PROPFIND", "/drive/docs/a/b", "PROPFIND "),
        ("LOCK", "/locks", "LOCK "),
        ("GET", "/drive/docs/a", "GET "),
        ("PROPFIND", "/files/docs/a/b%2Fc", "PROPFIND files/docs a b/c"),
        ("PROPFIND", "/files/docs", "PROPFIND files/docs"),
        ("MKCOL", "/files/docs/new", "MKCOL files/docs new"),
        ("REPORT", "/views/waiting", "REPORT views/waiting"),
        ("REPORT", "/views/waiting.csv", "REPORT views/waiting"),
    ],
)
def test_a_route_brings_methods_of_its_own(dav: Site, method: str, target: str, said: str) -> None:
    reply = dav.ask(method, target)
    assert (reply.status, reply.text) == (207, said)


@pytest.mark.parametrize(
    ("target", "allow"),
    [
        ("/files/docs/a", "GET, HEAD, POST, PUT, DELETE, PROPFIND, MKCOL, REPORT, OPTIONS"),
        ("/views/waiting", "GET, HEAD, POST, PROPFIND, REPORT, OPTIONS"),
        ("/forms/leave", "GET, HEAD, POST, OPTIONS"),
        ("/locks", "LOCK, OPTIONS"),
        ("/", "GET, HEAD, OPTIONS"),
    ],
)
def test_options_and_a_refusal_name_the_methods_of_routes_too(dav: Site, target: str, allow: str) -> None:
    assert (dav.ask("OPTIONS", target).status, dav.ask("OPTIONS", target)["Allow"]) == (204, allow)
    root = dav.token("**:*")
    for method in ("BREW", "PATCH", "UNLOCK"):
        for accept in ("*/*", "text/html"):
            refused = dav.ask(method, target, None, {"Accept": accept}, root)
            assert (refused.status, refused["Allow"]) == (405, allow), (method, accept)


def test_options_of_the_whole_site_name_every_method_of_it(dav: Site) -> None:
    known = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
    of_drives = {"PROPFIND", "PROPPATCH", "MKCOL", "COPY", "MOVE", "LOCK", "UNLOCK"}
    assert set(dav.ask("OPTIONS", "*")["Allow"].split(", ")) == {*known, *of_drives, "REPORT"}


def test_a_route_may_answer_options_itself(dav: Site) -> None:
    assert dav.ask("OPTIONS", "/drive/docs/a")["DAV"] == "1, 2"


@pytest.mark.parametrize("method", ["BREW", "propfind", "get", "ANY", "PROXY"])
@pytest.mark.parametrize("target", ["/nothing", "/forms/leave/no/such/path", "/views/waiting/x"])
def test_nothing_is_found_by_any_method_where_there_is_nothing(dav: Site, method: str, target: str) -> None:
    assert dav.ask(method, target, None, {}, dav.token("**:*")).status == 404


@pytest.mark.parametrize(
    ("method", "target"), [("PROPFIND", "/files/docs/a"), ("LOCK", "/locks"), ("MKCOL", "/files/docs/a")]
)
def test_a_method_of_a_route_is_refused_from_elsewhere_where_the_browser_adds_the_credential(
    dav: Site, method: str, target: str
) -> None:
    cookie = dav.sign_in(dav.token("**:*"))
    own, other = {"Cookie": cookie, "Origin": "http://localhost"}, {"Cookie": cookie, "Origin": "http://evil.example"}
    assert dav.ask(method, target, None, own).status == 207
    assert dav.ask(method, target, None, other).status == 403
    assert dav.ask(method, target, None, {"Cookie": cookie}).status == 403, "no form sends this, so a token cannot prove it"
    assert dav.ask(method, target, None, {"Origin": "http://evil.example"}).status == 207, "there is nothing to abuse"


def test_methods_of_routes_are_counted_by_name_and_other_ones_together(dav: Site) -> None:
    def counted(method: str) -> float:
        found = dav.app.meters.read().items()
        return float(sum(numbers[0] for key, numbers in found if key[:2] == ("satchel_http_responses_total", method)))

    before = {method: counted(method) for method in ("PROPFIND", "OPTIONS", "other")}
    for method in ("PROPFIND", "OPTIONS", "BREW", "propfind"):
        dav.ask(method, "/files/docs/a")
    assert [counted(method) - number for method, number in before.items()] == [1, 1, 2]


def test_the_description_for_programs_stays_valid_with_methods_it_has_no_word_for(dav: Site) -> None:
    paths = dav.get("/openapi.json", dav.token("**:*")).json["paths"]
    assert set().union(*paths.values()) <= {"parameters", "get", "post", "put", "patch", "delete"}


def test_two_routes_for_one_method_of_a_type_are_named(tmp_path: Path) -> None:
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "dav.py").write_text(DAV)
    (tmp_path / "plugins" / "other.py").write_text(
        DAV.replace('"drive"', '"other"').replace("/drive/", "/o/").replace("/locks", "/l")
    )
    with pytest.raises(app.ConfigError, match="the routes drive and other both answer PROPFIND of files: remove one"):
        Site(tmp_path)


# ---- formats


@pytest.fixture(params=kinds(app.Format))
def format_(request: pytest.FixtureRequest, site: Site, tmp_path: Path) -> Iterator[app.Format]:
    """One that the site's door answers in."""
    before = dict(site.runner.door.formats)
    made = request.param(own_plugins.options(request.param, tmp_path), site.app.config)
    site.runner.door.formats[made.kind] = made
    yield made
    site.runner.door.formats.clear()
    site.runner.door.formats.update(before)


def test_a_format_says_its_media_type_and_what_it_writes(format_: app.Format) -> None:
    assert re.fullmatch(r"[a-z0-9]{2,10}", format_.kind)
    assert re.fullmatch(r"[a-z]+/[\w.+-]+(; charset=utf-8)?", format_.media)
    assert format_.subjects <= {"table", "record", "chart", "calendar", "folder"}
    assert format_.subjects or format_.reads
    assert not (format_.whole and format_.for_people)


def test_a_format_is_chosen_by_suffix_and_by_accept_and_refuses_what_it_cannot_write(
    format_: app.Format, site: Site
) -> None:
    root, media = site.token("**:*"), format_.media.partition(";")[0]
    for subject, path in (("table", "/views/waiting"), ("record", "/forms/leave")):
        for reply in (site.get(f"{path}.{format_.kind}", root), site.get(path, root, Accept=media)):
            assert reply.status == (200 if subject in format_.subjects else 406), (path, reply.text[:200])
            if reply.status == 200:
                assert reply["Content-Type"].partition(";")[0] == media
                assert reply["Content-Disposition"].startswith("attachment") is format_.whole


def test_a_format_writes_every_row_if_it_is_whole(format_: app.Format, site: Site) -> None:
    if format_.whole and "table" in format_.subjects:
        reply, one = (site.get(f"/views/numbers.{format_.kind}?top={top}", site.token("**:*")) for top in (3000, 1))
        assert len(reply.body) > 5 * len(one.body)


def test_a_fault_in_a_format_has_its_status_and_what_is_written_its_answer(format_: app.Format, site: Site) -> None:
    root, media = site.token("**:*"), {"Accept": format_.media.partition(";")[0]}
    for path, status in (("/views/none", 404), ("/views/numbers?top=x", 400)):
        assert site.ask("GET", path, None, media, root).status == status
    made = site.ask("POST", "/forms/open", '{"text": "a"}', JSON | media, root)
    assert (made.status, made["Location"][:20]) == (201, "/forms/open/records/")


# ---- jobs


@pytest.mark.parametrize("cls", kinds(app.Job))
def test_a_job_says_when_and_where_it_runs(cls: type[app.Job]) -> None:
    assert cls.every_s > 0
    assert cls.scope in ("node", "site")


@pytest.mark.parametrize("cls", kinds(app.Job))
def test_a_job_may_run_again_and_again_beside_requests_and_ends_when_asked(
    cls: type[app.Job], site: Site, tmp_path: Path
) -> None:
    job = cls(own_plugins.options(cls, tmp_path), site.app.config)
    stop = threading.Event()
    job.run(site.app, stop)
    job.run(site.app, stop)
    assert site.get("/healthz").status == 200
    stop.set()
    began = time.monotonic()
    job.run(site.app, stop)
    assert time.monotonic() - began < AT_ONCE_S


# ---- channels

KEY = base64.b64encode(bytes(range(32))).decode()
AWAY: dict[str, dict[str, Any]] = {
    "mail": {"smtp": f"smtp://127.0.0.1:{backends.free_port()}", "from": "intranet@example.org", "plain": True},
    "webhook": {"url": f"http://127.0.0.1:{backends.free_port()}/told", "secret": "env:NOTICES_KEY"},
    "sqs": {
        "queue": f"http://127.0.0.1:{backends.free_port()}/000000000000/told", "region": "eu-central-1",
        "endpoint": f"http://127.0.0.1:{backends.free_port()}",
    },
}  # fmt: skip
NOTICE = {"id": "0193a", "at": 1_800_000_000.0, "to": "ann@example.org", "title": "Hello", "text": "A line", "html": ""}


@pytest.fixture
def _secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTICES_KEY", "whsec_" + KEY)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")


@pytest.fixture(params=kinds(app.Channel))
def away(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[app.Channel]:
    """One whose other side is away."""
    request.getfixturevalue("_secrets")
    cls: Any = request.param
    made = cls("main", own_plugins.options(cls, tmp_path, AWAY.get(cls.kind)), tmp_path)
    yield made
    made.close()


def test_a_channel_whose_other_side_is_away_says_so_and_that_a_repeat_may_help(away: app.Channel) -> None:
    for _ in range(2):
        for work in (away.check, lambda: away.send(NOTICE)):
            began = time.monotonic()
            with pytest.raises(app.Unavailable) as caught:
                work()
            assert caught.value.hint, "the operator learns why"
            assert time.monotonic() - began < AT_ONCE_S
        away.close()


def test_a_channel_is_closed_as_often_as_one_likes_and_works_again_afterwards(away: app.Channel) -> None:
    away.close()
    away.close()
    with pytest.raises(app.Unavailable):
        away.send(NOTICE)


@pytest.mark.usefixtures("_secrets")
def test_a_channel_hands_over_what_it_is_given_under_one_id(tmp_path: Path) -> None:
    for cls in (one.values[0] for one in kinds(app.Channel) if one.id in RECEIVERS):
        with RECEIVERS[cls.kind]() as (settings, received):
            channel = cls("main", own_plugins.options(cls, tmp_path, settings), tmp_path)
            channel.check()
            assert received() == []
            for title in ("Hello", "Hello", "Héllo\r\nX: y"):
                channel.send(NOTICE | {"title": title})
            channel.close()
            assert received() == [("0193a", "Hello"), ("0193a", "Hello"), ("0193a", "Héllo X: y")]


@contextmanager
def receives_mail() -> Iterator[tuple[dict[str, Any], Any]]:
    server = mail_server.MailServer()
    settings = {"smtp": server.url, "from": "intranet@example.org", "plain": True}

    def received() -> list[tuple[str, str]]:
        mails = list(map(mail_server.parsed, server.mails))
        return [(one["Message-ID"].strip("<>").partition("@")[0], one["Subject"]) for one in mails]

    try:
        yield settings, received
    finally:
        server.stop()


@contextmanager
def receives_webhooks() -> Iterator[tuple[dict[str, Any], Any]]:
    with HookServer() as hooks:

        def received() -> list[tuple[str, str]]:
            titles = [" ".join(body["data"]["title"].split()) for body in hooks.bodies]
            return list(zip(hooks.ids, titles, strict=True))

        yield {"url": hooks.url, "secret": "env:NOTICES_KEY"}, received


@contextmanager
def receives_messages() -> Iterator[tuple[dict[str, Any], Any]]:
    with SqsFake() as fake:
        url = boto3.client("sqs", endpoint_url=fake.url, region_name="eu-central-1").create_queue(QueueName="told")[
            "QueueUrl"
        ]

        def received() -> list[tuple[str, str]]:
            told = [json.loads(message.body) for message in fake.queues["told"].messages]
            return [(one["id"], " ".join(one["data"]["title"].split())) for one in told]

        yield {"queue": url, "endpoint": fake.url, "region": "eu-central-1"}, received


RECEIVERS: dict[str, Any] = {
    "mail": receives_mail,
    "webhook": receives_webhooks,
    "sqs": receives_messages,
}  # by kind: what it needs to be set to, and (id, title) of what came


# ---- commands


@pytest.mark.parametrize("cls", kinds(app.Command))
def test_a_command_is_called_by_its_words_and_says_what_it_is_for(cls: type[app.Command]) -> None:
    assert re.fullmatch(r"(server|auth|info) [a-z][a-z-]*", cls.kind)
    assert re.fullmatch(r"\S.*[^.\s]", cls.help), "one line without a full stop"
    parser = argparse.ArgumentParser()
    cls().arguments(parser)
    taken = {option for action in parser._actions for option in action.option_strings}
    assert not taken & {"--config", "--data", "--json"}, "every command has these"
    assert all(action.help for action in parser._actions)


@pytest.mark.parametrize("cls", kinds(app.Command))
def test_a_command_adds_what_it_finds_to_server_check(cls: type[app.Command], site: Site) -> None:
    faults, warnings = cls().check(site.app.config)
    assert all(isinstance(fault, app.Fault) for fault in faults)
    assert all(isinstance(warning, str) for warning in warnings)


@pytest.mark.parametrize("cls", kinds(app.Command))
def test_a_command_is_found_by_the_parser_with_its_help(cls: type[app.Command], capsys: pytest.CaptureFixture[str]) -> None:
    registry = app.load_registry(Path("/nowhere"))
    if cls.kind not in registry.kinds(app.Command):
        registry.add(cls, Path(__file__))
    with pytest.raises(SystemExit) as ended:
        app.build_parser(registry).parse_args([*cls.kind.split(), "--help"])
    assert ended.value.code == 0
    assert f"app.pyz {cls.kind}" in capsys.readouterr().out
