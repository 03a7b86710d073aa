"""What every Route, Format, Job and Command promises (CONTRACTS in app.py), asked of each kind: ours, and those of another
file with `pytest --plugin FILE` (see own_plugins.py)."""

from __future__ import annotations

import argparse
import re
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import own_plugins
import pytest
from http_client import JSON, PAGE, Site

import app

Family = TypeVar("Family", bound=app.Extension)
REGISTRY = app.load_registry(Path("/nowhere"))
METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
AT_ONCE_S = 5.0


def kinds(family: type[Family]) -> list[Any]:
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
    made = request.param(own_plugins.options(request.param, tmp_path), site.app.config)
    for path, methods in made.paths.items():
        for method in methods.split():
            site.runner.router.add(path, method, lambda exchange, made=made, **_: made.answer(exchange, site.app))
    return made


def paths_of(route: app.Route) -> Iterator[tuple[str, set[str]]]:
    """The paths, with something in place of what may stand there, and their methods."""
    for path, methods in route.paths.items():
        yield re.sub("<.*?>", "x", path), set(methods.split())


def test_a_route_names_its_paths_and_their_methods(route: app.Route) -> None:
    assert route.paths or (route.types and route.methods)
    assert route.types <= set(app.RESOURCE_TYPES)
    assert set(route.methods) <= METHODS
    for path, methods in paths_of(route):
        assert path.startswith("/")
        assert not re.match(r"/(files|forms|views|apps|admin|healthz|readyz)\b", path)
        assert methods <= METHODS


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
        for method in METHODS - {"OPTIONS", "HEAD"} - methods:
            assert site.ask(method, path, b"", {}, root).status in (405, 404), (method, path)


def test_a_route_serves_many_threads_at_once(route: app.Route, site: Site) -> None:
    root = site.token("**:*")
    for path in (path for path, methods in paths_of(route) if "GET" in methods):
        alone = site.get(path, root).status
        with ThreadPoolExecutor(8) as pool:
            assert {reply.status for reply in pool.map(lambda _, path=path: site.get(path, root), range(40))} == {alone}


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
    assert format_.subjects <= {"table", "record"}
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
        reply, one = (site.get(f"/views/numbers.{format_.kind}?top={top}", site.token("**:*")) for top in (1500, 1))
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
