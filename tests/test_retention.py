"""`keep` of a form: what is older goes, with its files, once a backup has it, and nothing else does."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sites import Site, Time
from test_backup_job import FORM, KINDS, MAIN, SHARE, WEB, matrix, scheduled, sites

import app
from app import ConfigError, Insert, Update

__all__ = ["sites"]  # the fixture
backup_job, retention = app.plugin("backup_job"), app.plugin("retention")
KEPT = '[forms.leave]\nkeep = "30d"\n'


def prune(site: Site, stop: threading.Event | None = None) -> list[str]:
    """The days of the records that are left."""
    retention.Retention({}, site.app.config).run(site.app, stop or threading.Event())
    return sorted(one["day"] for one in site.items("forms/leave/records"))


def backed_up(site: Site, at: float) -> None:
    value = {"good_at": at, "failures": 0, "stores": backup_job.stores_of(site.app.config)}
    row = site.app.state.get("_settings", "backup")
    site.app.state.commit([Update("_settings", "backup", value, None) if row else Insert("_settings", "backup", value)])


@pytest.mark.parametrize("kind", KINDS)
def test_records_go_when_they_are_old_and_in_a_backup(
    kind: str, sites: Callable[..., Site], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Time()
    monkeypatch.setattr(retention, "_BATCH", 2)
    toml = matrix.PROVIDERS[kind](tmp_path / "site") + SHARE + KEPT + FORM
    toml += 'doc = { format = "file", files = "files/docs" }\n' + scheduled("./kept")
    site, file = sites(tmp_path / "site", toml, clock=clock), {"name": "a.txt", "base64": "aGVsbG8="}
    for day in range(5):
        site.create("forms/leave", {"day": str(day), "doc": file})
    clock.now += 40 * 86400
    site.root = site.token("root", "**:*")
    site.create("forms/leave", {"day": "9", "doc": file})
    assert len(prune(site)) == 6, "no backup has them"
    backed_up(site, clock.now - 40 * 86400)
    assert len(prune(site)) == 6, "the backup may have been begun before their commit"
    backed_up(site, clock.now + 86400)
    assert len(prune(site)) == 6, "a backup of the future is none"
    backed_up(site, clock.now)
    assert prune(site) == ["9"]
    assert len(list((tmp_path / "site/share/docs").rglob("a.txt"))) == 1
    told = site.audit(action="delete")
    assert {one["subject"] for one in told} == {"job:retention"}
    assert sorted(one["before"]["day"] for one in told) == list("01234")


def test_it_stops_when_it_is_told_to(sites: Callable[..., Site], tmp_path: Path) -> None:
    clock = Time()
    site = sites(tmp_path / "site", MAIN + KEPT + FORM + scheduled("./kept"), clock=clock)
    site.create("forms/leave", {"day": "1"})
    clock.now += 40 * 86400
    site.root, stop = site.token("root", "**:*"), threading.Event()
    backed_up(site, clock.now)
    stop.set()
    assert prune(site, stop) == ["1"]


@pytest.mark.parametrize(
    ("toml", "words"),
    [
        (MAIN + KEPT + FORM, r"needs \[backup\] to"),
        (MAIN + KEPT.replace("30d", "1h") + FORM + scheduled("./kept"), "at least one day"),
        (MAIN + WEB + KEPT + 'provider = "web"\n' + FORM + scheduled("./kept"), "backed up"),
        (MAIN + KEPT.replace("30d", "30 years") + FORM + scheduled("./kept"), "duration"),
    ],
)
def test_what_cannot_be_kept_so_is_a_fault(toml: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as refused:
        Site(tmp_path, toml)
    [fault] = [one for one in refused.value.faults if one.pointer == "forms.leave.keep"]
    assert app.re.search(words, fault.detail)


def test_years_are_a_duration(sites: Callable[..., Site], tmp_path: Path) -> None:
    site: Any = sites(tmp_path / "site", MAIN + KEPT.replace("30d", "2y") + FORM + scheduled("./kept"))
    assert site.app.resources["forms/leave"].config.keep_s == 2 * 365 * 86400
