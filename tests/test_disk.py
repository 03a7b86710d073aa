"""plugins/disk.py: small files that are replaced whole."""

from collections.abc import Iterator
from pathlib import Path

import pytest

import app

DISK = app.plugin("disk")


def test_a_file_is_replaced_whole_and_only_its_owner_may_read_it(tmp_path: Path) -> None:
    place = tmp_path / "facts"
    DISK.replace_file(place, [b"one ", b"two"])
    assert place.read_bytes() == b"one two"
    assert place.stat().st_mode & 0o777 == 0o600
    with open(place, "rb") as reader:
        DISK.replace_file(place, [b"three"])
        assert reader.read() == b"one two"
    assert place.read_bytes() == b"three"
    DISK.replace_file(place, [b"four"], replace=False)
    assert place.read_bytes() == b"three"
    assert list(tmp_path.iterdir()) == [place]


def test_what_could_not_be_replaced_stays_and_no_draft_is_left(tmp_path: Path) -> None:
    place = tmp_path / "facts"
    DISK.replace_file(place, [b"kept"])

    def broken() -> Iterator[bytes]:
        yield b"half"
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"):
        DISK.replace_file(place, broken())
    assert place.read_bytes() == b"kept"
    assert list(tmp_path.iterdir()) == [place]
