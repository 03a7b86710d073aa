"""plugins/disk.py: small files that are replaced whole."""

import ctypes
import os
import threading
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


def test_what_is_written_for_a_while_is_not_made_durable_and_what_others_write_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(threading.current_thread().name))

    def write(name: str) -> None:
        DISK.replace_file(tmp_path / name, [b"x"])
        DISK.make_folder(tmp_path / f"{name} folder")
        DISK.sync_tree(tmp_path)

    with DISK.for_a_while():
        write("mine")
        other = threading.Thread(target=write, args=("theirs",), name="other")
        other.start()
        other.join()
    assert set(synced) == {"other"}
    assert (tmp_path / "mine").read_bytes() == b"x"
    synced.clear()
    write("mine again")
    assert len(synced) > 3


def test_bytes_are_written_out_where_the_system_has_no_call_for_that_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    with (tmp_path / "file").open("wb") as file:
        file.write(b"x" * 100_000)
        file.flush()
        DISK.write_out(file.fileno(), 0, 100_000)
        monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
        monkeypatch.setattr(os, "fsync", synced.append)
        DISK.write_out(file.fileno(), 0, 100_000)
        assert synced == [file.fileno()]
