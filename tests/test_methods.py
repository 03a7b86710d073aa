"""OPTIONS, Allow and 405: what an address takes, whoever asks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from http_client import PAGE, Site

READ, LIST = "GET, HEAD", "GET, HEAD, POST"
RECORD, FILE = "GET, HEAD, PUT, PATCH, DELETE", "GET, HEAD, POST, PUT, DELETE"
TAKEN = {
    "/": READ, "/forms": READ, "/forms/": READ, "/views": READ, "/files": READ, "/apps": READ, "/admin": READ,
    "/forms/leave": LIST, "/forms/nosuch": LIST, "/forms/leave.json": LIST, "/forms/leave/records": LIST,
    "/forms/leave/records.csv": LIST, "/forms/leave/records/x": RECORD, "/forms/leave/records/x.csv": RECORD,
    "/forms/papers/records/x/paper": READ, "/views/waiting": LIST, "/views/waiting.csv": LIST, "/views/nosuch": LIST,
    "/files/docs": LIST, "/files/docs/a.txt": FILE, "/files/docs/a/b.txt": FILE, "/files/nosuch": LIST,
    "/apps/desk": READ, "/apps/desk/static/desk.css": READ, "/admin/audit": READ, "/admin/metrics": READ,
    "/login": LIST, "/login/code": READ, "/logout": "POST", "/openapi.json": READ, "/metrics": READ, "/healthz": READ,
    "/readyz": READ, "/static/app.css": READ,
}  # fmt: skip
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "BREW")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder: Path = tmp_path_factory.mktemp("methods")
    site = Site(folder)
    yield site
    site.close()


@pytest.fixture(scope="module")
def callers(site: Site) -> dict[str, str]:
    """A stranger, somebody who may do nothing there, and somebody who may do everything."""
    return {"stranger": "", "other": site.token("views/numbers:read"), "all": site.token("**:*")}


@pytest.mark.parametrize("address", TAKEN)
def test_options_name_what_an_address_takes_whoever_asks(site: Site, callers: dict[str, str], address: str) -> None:
    for token in callers.values():
        answer = site.ask("OPTIONS", address, token=token)
        assert (answer.status, answer["Allow"], answer.body) == (204, f"{TAKEN[address]}, OPTIONS", b"")


@pytest.mark.parametrize("address", TAKEN)
def test_what_an_address_does_not_take_is_405_and_says_what_it_takes(
    site: Site, callers: dict[str, str], address: str
) -> None:
    for method in set(METHODS) - set(TAKEN[address].split(", ")):
        for token in callers.values():
            answer = site.ask(method, address, token=token)
            assert (answer.status, answer["Allow"]) == (405, f"{TAKEN[address]}, OPTIONS"), (method, token)
            if method != "HEAD":
                assert (answer.json["code"], answer["Content-Type"]) == ("unsupported_action", "application/problem+json")
        page = site.ask(method, address, headers=PAGE)
        assert (page.status, page["Allow"]) == (405, f"{TAKEN[address]}, OPTIONS")


def test_a_page_still_says_delete_by_post(site: Site, callers: dict[str, str]) -> None:
    made = site.send("/forms/leave", {"day": "2026-12-01"}, callers["all"]).json
    assert site.ask("POST", f"/forms/leave/records/{made['id']}", b"", token=callers["all"]).status == 405
    answer = site.submit(f"/forms/leave/records/{made['id']}?_method=DELETE", {}, callers["all"])
    assert answer.status == 303
    assert site.get(f"/forms/leave/records/{made['id']}", callers["all"]).status == 404


@pytest.mark.parametrize("address", ["/nosuch", "/forms/leave/x", "/views/waiting/x", "/static", "/apps/desk/x"])
def test_where_nothing_is_there_is_nothing_to_allow(site: Site, address: str) -> None:
    answer = site.ask("OPTIONS", address)
    assert (answer.status, answer["Allow"]) == (404, "")
