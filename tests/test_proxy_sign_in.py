"""Whom a proxy has signed in: its headers count on every request, and nobody else's do."""

from __future__ import annotations

import base64
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from http_client import Connection, Reply, Site, hidden, nginx, serving

import app

TABLE = """
[auth]
sign_in = ["proxy", "token"]
[proxy]
roles = { "hr-team" = "hr", "*" = "guest" }
MORE
[roles.hr]
grants = ["forms/leave:*"]
[roles.guest]
grants = ["forms/papers:create"]
"""
PROXY = "10.0.0.1"  # which CONFIG trusts


@pytest.fixture
def site_with(tmp_path: Path) -> Iterator[Any]:
    made: list[Site] = []

    def make(more: str = "") -> Site:
        made.append(Site(tmp_path, edit=lambda toml: toml + TABLE.replace("MORE", more)))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def site(site_with: Any) -> Site:
    """A site that knows Ann, who may do nothing by herself."""
    made: Site = site_with()
    invite(made, "ann")
    return made


def invite(site: Site, subject: str, **facts: Any) -> None:
    reply = site.send("/admin/people", {"subject": subject} | facts, site.token("**:*"))
    assert reply.status == 201, reply.text


def as_(subject: str, groups: str = "", peer: str = PROXY) -> dict[str, str]:
    return {"Remote_User": subject, "Remote_Groups": groups, "Remote_Addr": peer}


def whose(reply: Reply) -> Any:
    return reply.json.get("subject") if reply.status == 200 else reply.status


# ---- who is meant


def test_a_person_whom_the_proxy_names_is_signed_in_on_every_request_of_programs_too(site: Site) -> None:
    assert whose(site.get("/me", **as_("ann"))) == "ann"
    assert site.send("/forms/papers", {"name": "x y"}, **as_("ann")).status == 201
    assert site.send("/forms/leave", {"day": "2026-01-31"}, **as_("ann")).status == 403
    assert site.send("/forms/leave", {"day": "2026-01-31"}, **as_("ann", "x, hr-team")).status == 201
    assert site.get("/forms/leave/records", **as_("ann", "hr-team")).json["items"][0]["created_by"] == "ann"
    assert site.get("/me", **as_("ann", "x")).json["roles"] == ["guest"], "roles follow the groups at once"
    page = site.get("/", Accept="text/html", **as_("ann"))
    assert "Signed in as" in page.text
    assert not page["Set-Cookie"]


def test_a_request_that_comes_past_the_proxy_is_not_signed_in(site: Site) -> None:
    for peer in ("127.0.0.1", "203.0.113.7", "10.0.0.2", "::1", "unix", "::ffff:203.0.113.7"):
        assert site.get("/me", **as_("ann", peer=peer)).status == 401, peer
        assert site.get("/me", X_Forwarded_For=PROXY, **as_("ann", peer=peer)).status == 401, peer
    assert whose(site.get("/me", **as_("ann", peer=f"::ffff:{PROXY}"))) == "ann"


@pytest.mark.parametrize("value", ["Proxy ann", "proxy YW5u.AAAA", "Proxy", "PROXY  ", "Session " + "A" * 43])
def test_no_header_brings_the_inner_credential_along(site: Site, value: str) -> None:
    for peer in (PROXY, "127.0.0.1"):
        assert site.get("/me", Authorization=value, Remote_Addr=peer).status == 401
    with pytest.raises(app.Unauthenticated):
        site.app.authority.identify(value)
    for purpose in ("form", "submission", "oidc"):
        with pytest.raises(app.Unauthenticated):
            site.app.authority.identify(f"Proxy {site.app.seal(purpose, 'ann')}")


@pytest.mark.parametrize(
    "name", ["ann, mallory", "ann,ann", ",", "\xff\xfe", "nobody", "ANN", "cli:root", "service:hr", "a" * 600]
)
def test_who_is_not_one_known_person_is_nobody(site: Site, name: str) -> None:
    assert site.get("/me", **as_(name)).status == 401
    assert site.get("/forms/open", **as_(name)).status == 401, "a bad credential is never the public"
    assert [one["id"] for one in site.get("/admin/people", site.token("**:*")).json["items"]] == ["ann"]


def test_names_in_other_scripts_are_read_as_utf_8(site: Site) -> None:
    invite(site, "Zoë")
    assert whose(site.get("/me", **as_("Zoë".encode().decode("latin-1")))) == "Zoë"


def test_a_mail_address_finds_the_person_who_has_it(site: Site) -> None:
    invite(site, "bo", email="bo@example.org")
    assert whose(site.get("/me", **as_("Bo@Example.org"))) == "bo"


def test_whoever_the_proxy_lets_in_becomes_a_person_where_app_toml_says_so(site_with: Any) -> None:
    site = site_with('admit = "all"')
    assert whose(site.get("/me", **as_("cy", "hr-team"))) == "cy"
    people = site.get("/admin/people", site.token("**:*")).json["items"]
    assert [(one["id"], one["roles"]) for one in people] == [("cy", [])]
    for odd in ("cli:root", "CY", ".."):
        assert site.get("/me", **as_(odd)).status == 401
    assert len(site.get("/admin/people", site.token("**:*")).json["items"]) == 1


def test_a_suspended_person_is_refused_on_the_next_request(site: Site) -> None:
    assert site.get("/me", **as_("ann")).status == 200
    site.send("/admin/people/ann", {"suspended": True}, site.token("**:*"), "PATCH")
    refused = site.get("/me", **as_("ann"))
    assert (refused.status, "suspended" in refused.text) == (401, True)
    assert site.get("/login", Accept="text/html", **as_("ann")).status == 200


def test_a_token_counts_before_the_proxy_and_basic_of_the_proxy_does_not(site: Site) -> None:
    token = site.token("forms/leave:read", subject="robot")
    assert whose(site.get("/me", token, **as_("ann"))) == "robot"
    assert site.get("/me", "nonsense", **as_("ann")).status == 401
    assert whose(site.get("/me", Authorization="Basic YW5uOnNlY3JldA==", **as_("ann"))) == "ann"


def test_a_session_counts_where_the_proxy_names_nobody_who_is_known(site: Site) -> None:
    session = site.sign_in(site.token("**:*", subject="root"))
    assert whose(site.get("/me", session, **as_("stranger"))) == "root"
    assert whose(site.get("/me", session, **as_("ann"))) == "ann"


# ---- what a browser sends by itself needs a proof


def test_a_page_of_another_site_does_nothing_in_the_name_of_whom_the_proxy_signs_in(site: Site) -> None:
    form = {"name": "x y"}
    for headers in ({"Origin": "https://evil.example"}, {"Sec_Fetch_Site": "cross-site"}, {"Origin": "null"}):
        assert site.submit("/forms/papers", form, **headers, **as_("ann")).status == 403
        assert site.send("/forms/papers", form, **headers, **as_("ann")).status == 403
    assert site.submit("/forms/papers", form, **as_("ann")).status == 403, "no proof at all"
    page = site.get("/forms/papers", Accept="text/html", **as_("ann"))
    token = hidden(page, "_token")
    assert site.submit("/forms/papers", form | {"_token": token}, **as_("ann")).status == 303
    invite(site, "bo")
    assert site.submit("/forms/papers", form | {"_token": token}, **as_("bo")).status == 403, "another person's"


def test_one_changes_what_is_ones_own(site: Site) -> None:
    token = hidden(site.get("/me", Accept="text/html", **as_("ann")), "_token")
    sent = {"do": "make_token", "label": "curl", "expires": "30d", "_token": token}
    made = site.submit("/me", sent, **as_("ann"))
    found = re.search(r"stl_[\w-]+", made.text)
    assert found, made.text
    assert whose(site.get("/me", found[0])) == "ann"


# ---- the page


def test_the_sign_in_page_says_who_one_is_for_the_proxy_and_leads_on(site: Site) -> None:
    page = site.get("/login?after=/forms/papers", Accept="text/html", **as_("ann"))
    assert "You are signed in as <bdi>ann</bdi>" in page.text
    assert 'href="/login/proxy?after=%2Fforms%2Fpapers"' in page.text
    assert site.get("/login/proxy?after=/forms/papers", **as_("ann"))["Location"] == "/forms/papers"
    assert site.get("/login/proxy?after=//evil.example", **as_("ann"))["Location"] == "/"
    assert site.get("/login/proxy?after=/forms/papers")["Location"] == "/login?after=%2Fforms%2Fpapers"
    stranger = site.get("/", Accept="text/html", **as_("stranger"))
    assert stranger.status in (200, 303)
    told = site.get("/login", Accept="text/html", **as_("<b>stranger")).text
    assert "calls you <bdi>&lt;b&gt;stranger</bdi>, and nobody of that name is known here" in told
    assert "open this site at its usual address" in site.get("/login", Accept="text/html").text


def test_signing_out_leads_to_where_the_proxy_signs_out(site_with: Any) -> None:
    site = site_with('sign_out = "https://auth.example.org/logout"')
    invite(site, "ann")
    token = hidden(site.get("/me", Accept="text/html", **as_("ann")), "_token")
    out = site.submit("/logout", {"_token": token}, **as_("ann"))
    assert (out.status, out["Refresh"]) == (200, "0; url=https://auth.example.org/logout")


def test_behind_nginx_nobody_passes_for_another_and_past_it_nobody_is_signed_in(tmp_path: Path) -> None:
    starter = re.sub(r"(?ms)^\[site\].*?(?=^\[roles)", "", app.bundled_text("starter.toml"))
    settings = """
[site]
prefix = "/ops"
[http]
hosts = ["intranet.local"]
trusted_proxies = ["PROXY"]
[auth]
sign_in = ["proxy"]
[proxy]
admit = "all"
"""
    (tmp_path / "nginx").mkdir()
    (tmp_path / "people").write_text("ann:{PLAIN}secret\nbo:{PLAIN}secret\n")
    extra = f"auth_basic site; auth_basic_user_file {tmp_path}/people; proxy_set_header Remote-User $remote_user;"
    host = {"Host": "intranet.local", "Accept": "application/json"}

    def whose(where: Any, **headers: str) -> Any:
        with where as connection:
            reply = connection.ask(
                "GET", "/ops/me", None, host | {name.replace("_", "-"): one for name, one in headers.items()}
            )
        return reply.json.get("subject") if reply.status == 200 else reply.status

    for proxy, through in (("127.0.0.1", "ann"), ("10.0.0.1", 401)):
        (tmp_path / "app.toml").write_text(settings.replace("PROXY", proxy) + starter)
        with serving(tmp_path, "--workers", "1") as server:
            with nginx(tmp_path / "nginx", "{}:{}".format(*server.tcp), extra) as address:
                basic = "Basic " + base64.b64encode(b"ann:secret").decode()
                for spoof in ({}, {"Remote_User": "bo"}, {"REMOTE_USER": "bo", "Remote__User": "bo"}):
                    connection = Connection(socket.create_connection(address, 10))
                    assert whose(connection, Authorization=basic, **spoof) == through
                assert whose(Connection(socket.create_connection(address, 10)), Remote_User="bo") == 401
            if proxy != "127.0.0.1":
                past = Connection(server.connect())
                assert whose(past, Remote_User="ann", **{"X-Forwarded-For": proxy}) == 401


# ---- app.toml


@pytest.mark.parametrize(
    ("proxies", "table", "fault"),
    [
        ("[]", "", "http.trusted_proxies is missing: name the address of the proxy"),
        ('["0.0.0.0/0"]', "", "http.trusted_proxies trusts everybody"),
        ('["10.0.0.1", "::/0"]', "", "http.trusted_proxies trusts everybody"),
        ('["10.0.0.1"]', 'subject = "Remote User"', "proxy.subject must be the name of a header"),
        ('["10.0.0.1"]', 'subject = ""', "proxy.subject must be the name of a header"),
        ('["10.0.0.1"]', 'roles = { a = "staf" }', "proxy.roles.a names role 'staf', which is not declared"),
        ('["10.0.0.1"]', 'admit = "yes"', 'proxy.admit must be "known" or "all"'),
        ('["10.0.0.1"]', 'sign_out = "javascript:x"', "proxy.sign_out must be an address"),
    ],
)
def test_a_wrong_table_stops_the_start_and_says_why(tmp_path: Path, proxies: str, table: str, fault: str) -> None:
    def edit(toml: str) -> str:
        return toml.replace('["10.0.0.1", "10.9.0.0/16"]', proxies) + f"\n[proxy]\n{table}\n"

    with pytest.raises(app.ConfigError) as caught:
        Site(tmp_path, edit=edit)
    assert any(f"{one.pointer} {one.detail}".startswith(fault) for one in caught.value.faults), caught.value.faults


def test_without_its_table_no_header_counts(tmp_path: Path) -> None:
    site = Site(tmp_path)
    invite(site, "ann")
    assert site.get("/me", **as_("ann")).status == 401
    assert site.get("/me", Authorization=f"Proxy {site.app.seal('proxy', 'ann')}").status == 401
    site.close()
