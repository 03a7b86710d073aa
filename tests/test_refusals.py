"""Who signs in ends what the browser had before; who fails is in the audit trail, and no flood fills that."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from http_client import Site

import app

refusals = app.plugin("refusals")
FLOOD = 100_000


def denied(site: Site, staff: str, **filters: str) -> list[dict[str, Any]]:
    site.app.office.refusals.flush()
    query = "&".join(f"{name}={text}" for name, text in ({"outcome": "denied", "_size": "1000"} | filters).items())
    return list(site.get(f"/admin/audit?{query}", staff, Accept="application/json").json["items"])


def link(site: Site, subject: str = "bob") -> str:
    by = app.Caller("t")
    return str(site.app.office.link(by, site.app.office.issue(by, subject, ["forms/leave:read"], [], 3600)))


def me(site: Site, cookie: str) -> int:
    return site.get("/forms/leave/records", cookie, Accept="application/json").status


# ---- one session in a browser


def by_token(site: Site) -> dict[str, str]:
    return {"token": site.token("forms/leave:read", subject="bob")}


def by_link(site: Site) -> dict[str, str]:
    return {"code": link(site)}


def by_pasted_link(site: Site) -> dict[str, str]:
    return {"token": f"http://localhost/login/{link(site)}"}


@pytest.mark.parametrize("way", [by_token, by_link, by_pasted_link])
@pytest.mark.parametrize("subject", ["ann", "bob"])
def test_a_new_sign_in_ends_the_session_that_the_browser_had(
    site: Site, way: Callable[[Site], dict[str, str]], subject: str
) -> None:
    before = site.sign_in(site.token("forms/leave:read", subject=subject))
    elsewhere = site.sign_in(site.token("forms/leave:read", subject=subject))
    assert me(site, before) == 200
    reply = site.submit("/login", way(site), before, Sec_Fetch_Site="same-origin")
    assert reply.status == 303
    assert me(site, reply.cookie) == 200
    assert me(site, before) == 401
    assert me(site, elsewhere) == 200  # another browser's


@pytest.mark.parametrize("fields", [{"token": "stl_wrong"}, {"code": "A" * 43}, {"token": ""}])
def test_a_sign_in_that_fails_ends_no_session(site: Site, fields: dict[str, str]) -> None:
    before = site.sign_in(site.token("forms/leave:read"))
    assert site.submit("/login", fields, before).status == 401
    assert me(site, before) == 200


def test_a_sign_in_from_another_site_ends_no_session(site: Site) -> None:
    before = site.sign_in(site.token("forms/leave:read"))
    for headers in ({"Sec_Fetch_Site": "cross-site"}, {"Origin": "https://evil.example"}, {"Origin": "null"}):
        assert site.submit("/login", by_token(site), before, **headers).status == 403
    assert me(site, before) == 200


# ---- what fails


def test_failed_sign_ins_and_refused_tokens_have_the_clients_address(site: Site, staff: str) -> None:
    code = link(site)
    assert site.submit("/login", {"code": code}).status == 303
    proxied = {"REMOTE_ADDR": "10.0.0.1"}
    assert site.submit("/login", {"code": code}, REMOTE_ADDR="203.0.113.7").status == 401
    assert site.submit("/login", {"token": "eyJh.secret"}, X_Forwarded_For="198.51.100.1", **proxied).status == 401
    assert site.submit("/login", {"token": "x"}, REMOTE_ADDR="203.0.113.8", X_Forwarded_For="198.51.100.1").status == 401
    assert site.get("/forms/leave/records", "forged", X_Forwarded_For="2001:db8::1", **proxied).status == 401
    basic = {"Authorization": "Basic YTpzdGxfeA==", "REMOTE_ADDR": "203.0.113.10"}
    assert site.get("/metrics", **basic).status == 401
    assert site.get("/forms/leave/records", REMOTE_ADDR="203.0.113.11").status == 401  # nobody tried anything
    found = [(one["action"], one["client"], one["code"], one["count"], one["door"]) for one in denied(site, staff)]
    assert found == [
        ("use", "203.0.113.10", "invalid_token", 1, "http"),
        ("use", "2001:db8::/64", "invalid_token", 1, "http"),
        ("sign_in", "203.0.113.8", "invalid_token", 1, "http"),
        ("sign_in", "198.51.100.1", "invalid_token", 1, "http"),
        ("sign_in", "203.0.113.7", "invalid_token", 1, "http"),
    ]
    assert [one["client"] for one in denied(site, staff, action="use", client="203.0.113.10")] == ["203.0.113.10"]
    everything = site.get("/admin/audit.csv", staff).text
    assert not [one for one in (code, "eyJh", "forged", "stl_x", "YTpz") if one in everything]
    page = site.get("/admin/audit?client=203.0.113.10", staff, Accept="text/html").text
    assert "203.0.113.10" in page
    assert "198.51.100.1" not in page


def test_a_flood_from_one_address_is_a_few_entries_that_add_up(site: Site, staff: str) -> None:
    told = site.app.office.refusals
    told.note("sign_in", "203.0.113.7", "invalid_token", "r")
    tracemalloc.start()
    for number in range(1, FLOOD):
        told.note("sign_in", "203.0.113.7", "invalid_token", f"r{number}")
    taken = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert taken < 1_000_000
    found = denied(site, staff)
    assert sum(one["count"] for one in found) == FLOOD
    assert refusals.FIRST < len(found) < 20
    assert {one["client"] for one in found} == {"203.0.113.7"}


def test_a_flood_from_many_addresses_is_bounded_and_adds_up(site: Site, staff: str) -> None:
    told = site.app.office.refusals
    for number in range(20_000):
        told.note("use", f"10.{number >> 8}.{number & 255}.1", "invalid_token", "r")
    found = denied(site, staff)
    assert sum(one["count"] for one in found) == 20_000
    assert len(found) <= refusals.FIRST * (refusals.MOST_ADDRESSES + 1) + 20
    assert max(found, key=lambda one: int(one["count"]))["client"] == refusals.OTHERS


def test_an_hour_later_the_first_ones_are_entries_of_their_own_again(site: Site, staff: str) -> None:
    now = [1_800_000_000.0]
    told = site.app.office.refusals
    told._clock = lambda: now[0]
    for _ in range(8):
        told.note("use", "203.0.113.7", "invalid_token", "r")
    now[0] += refusals.HOUR_S
    told.note("use", "203.0.113.7", "invalid_token", "last")
    assert [(one["count"], one["request_id"]) for one in denied(site, staff)][:2] == [(3, ""), (1, "last")]


def test_what_was_counted_is_stored_when_the_server_ends(site: Site, staff: str) -> None:
    for _ in range(9):
        site.get("/metrics", "forged")
    site.app.close()
    site.app.open()
    assert [one["count"] for one in denied(site, staff)] == [4, 1, 1, 1, 1, 1]
