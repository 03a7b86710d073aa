"""What shares say of their places: providers' words in the words of the share, and nothing else changed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sites import Site

import app
from app import AppError, BadRequest, Conflict, NotFound

words = app.plugin("share_words")
TOML = """
[providers.main]
kind = "sql"
url = "sqlite:///app.db"
"""

WINDOWS = "the name is one that Windows cannot store (of a device, as con is, or with a dot or space at its end)"


@pytest.fixture(params=["a", "files", "far/down", "is"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path, f'{TOML}[files.docs]\nprovider = "main"\nprefix = "{request.param}/"\n')
    yield made
    made.close()


def test_words_are_left_alone_whatever_a_share_is_called_in_its_provider(site: Site) -> None:
    site.put("files/docs/sub/x", body=b"x")
    for problem, ask in (
        (WINDOWS, "files/docs/con"),
        ("sub is a folder", "files/docs/sub"),
    ):
        with pytest.raises((BadRequest, Conflict)) as caught:
            site.put(ask, body=b"x")
        assert caught.value.message == problem
    with pytest.raises(NotFound) as gone:
        site.read("files/docs/none")
    assert gone.value.message == "files/docs has no none"


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("{root}/x is a folder", "x is a folder"),
        ("{root}/{root}/x is a folder", "{root}/x is a folder"),
        ("{root}/{root} is a folder", "{root} is a folder"),
        ("{root} is a folder", "files/docs is a folder"),
        ("provider main: listing {root}: the service is away", "provider main: listing files/docs: the service is away"),
        ("provider main: looking at {root}/x: no", "provider main: looking at x: no"),
        ("a folder is a place", "a folder is a place"),
    ],
)
def test_a_place_is_called_as_in_the_share_once(site: Site, said: str, told: str) -> None:
    share = site.app.resources["files/docs"]
    error = AppError(said.format(root=share.root))
    for _ in range(2):  # as for a fault that comes by twice
        with pytest.raises(AppError), words.told_by(share):
            raise error
    assert error.message == told.format(root=share.root)
