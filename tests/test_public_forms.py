"""Forms that are open to strangers: a rate for each address, a budget of bytes, a trap for programs, and pages in frames."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import sites
from http_client import Site, action, hidden

from app import ConfigError

FORM = {"who": "Ida"}
LIMITS = 'hourly = 3\nmax_daily = "2kB"\nframes = ["https://www.example.org"]\n'
FIELDS = '[forms.ask.fields]\nwho = { required = true }\ntext = { format = "multiline" }\n'


def opened(folder: Path, limits: str = LIMITS) -> Site:
    public = 'grants = ["forms/open:create", "forms/ask:create"]\n' + limits
    return Site(folder, edit=lambda toml: toml.replace('grants = ["forms/open:create"]\n', public) + FIELDS)


@pytest.fixture
def public(tmp_path: Path) -> Iterator[Site]:
    site = opened(tmp_path)
    yield site
    site.close()


def submitted(site: Site, path: str = "/forms/ask", **fields: str) -> Any:
    """What the page's form answers to a stranger who fills it in."""
    page = site.get(path, Accept="text/html")
    data = {"_token": hidden(page, "_token"), **fields}
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "text/html"}
    return site.ask("POST", action(page), urlencode(data).encode(), headers)


def stored(site: Site) -> int:
    return len(site.get("/forms/ask/records", site.token("**:*")).json["items"])


def test_an_address_sends_so_many_in_an_hour_and_what_is_typed_stays(public: Site) -> None:
    assert [public.send("/forms/ask", FORM).status for _ in range(3)] == [201] * 3
    refused = public.send("/forms/ask", FORM)
    assert (refused.status, refused.json["code"]) == (429, "too_many_tries")
    assert 0 < int(refused["Retry-After"]) <= 3600
    page = submitted(public, who="Ida Holm")
    assert page.status == 429
    assert 'value="Ida Holm"' in page.text
    assert public.send("/forms/ask", FORM, public.token("forms/ask:create")).status == 201, "who is known is not counted"
    assert stored(public) == 4


def test_what_all_strangers_send_in_a_day_is_bounded(public: Site) -> None:
    assert public.send("/forms/ask", FORM | {"text": "x" * 1500}).status == 201
    refused = public.send("/forms/ask", FORM | {"text": "x" * 1500})
    assert refused.status == 429
    assert "2 kB" in refused.json["detail"]
    assert public.send("/forms/ask", FORM).status == 201


def test_what_a_program_fills_in_where_nobody_sees_it_is_not_stored_and_not_lost(public: Site) -> None:
    page = submitted(public, who="Ida", _website="http://spam.example")
    assert page.status == 422
    assert 'value="Ida"' in page.text
    assert "spam.example" not in page.text
    assert stored(public) == 0
    assert submitted(public, who="Ida").status == 303
    assert "_website" not in public.get("/forms/ask", public.token("**:*"), Accept="text/html").text


def test_a_public_form_is_shown_in_frames_of_the_sites_that_app_toml_names(public: Site) -> None:
    page = public.get("/forms/ask?_embed=1", Accept="text/html")
    assert "frame-ancestors https://www.example.org" in page["Content-Security-Policy"]
    assert "<header" not in page.text
    assert "_embed=1" in action(page)
    done = submitted(public, "/forms/ask?_embed=1", who="Ida")
    assert done.status == 303
    assert "_embed=1" in done["Location"]
    assert "<header" not in public.get(done["Location"], Accept="text/html").text
    assert "frame-ancestors 'none'" in public.get("/forms/ask", Accept="text/html")["Content-Security-Policy"]
    own = public.get("/forms/ask?_embed=1", public.token("**:*"), Accept="text/html")
    assert "frame-ancestors 'none'" in own["Content-Security-Policy"], "a page of somebody is shown nowhere else"


@pytest.mark.parametrize("frame", ["https://x.org/page", "x.org", "https://x.org; script-src *", "*"])
def test_a_frame_that_is_no_site_is_a_fault(frame: str, tmp_path: Path) -> None:
    main = '[providers.main]\nkind = "sql"\nurl = "sqlite:///data/app.db"\n'
    with pytest.raises(ConfigError) as refused:
        sites.Site(tmp_path, f'{main}[public]\nframes = ["{frame}"]\n')
    assert [one.pointer for one in refused.value.faults] == ["public.frames.0"]


def test_no_limit_is_no_limit(tmp_path: Path) -> None:
    site = opened(tmp_path, "hourly = 0\n")
    assert [site.send("/forms/ask", FORM).status for _ in range(8)] == [201] * 8
    site.close()
