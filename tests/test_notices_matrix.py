"""Notices on every kind of provider, beside the records that they are about; and what a killed process leaves behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hook_server import KEY, HookServer
from http_client import ROOT, serving
from sites import REGISTRY, Site
from test_matrix import PROVIDERS

import app
from app import Query, plugin

TOLD = """
[roles.hr]
grants = ["forms/moving/records:read"]
[channels.finance]
kind = "webhook"
url = "{url}"
secret = "file:secret"
[providers.beside]
kind = "sql"
url = "sqlite:///beside.db"
[forms.moving]
provider = "main"
states = {{ field = "status", initial = "new", moves = ["new>approved:hr"] }}
notify = [
  {{ on = "create", to = "finance" }}, {{ on = "approved", to = "finance" }},
  {{ after = "1h", state = "new", to = "finance" }},
]
[forms.moving.fields]
who = {{}}
"""


@pytest.fixture
def hooks(tmp_path: Path) -> Iterator[HookServer]:
    (tmp_path / "secret").write_text(KEY)
    with HookServer() as server:
        yield server


def assembled(folder: Path, toml: str) -> app.App:
    raw = tomllib.loads(toml, parse_float=app.exact_number)
    kinds, channels = REGISTRY.provider_settings, REGISTRY.channel_settings
    return app.App(app.read_config(raw, folder, "app.toml", kinds, REGISTRY.tables, channels), REGISTRY, strict=False)


@pytest.mark.parametrize("name", sorted(PROVIDERS))
@pytest.mark.parametrize("state", ["main", "beside"])
def test_notices_wait_beside_the_records_and_leave_from_there(
    tmp_path: Path, hooks: HookServer, name: str, state: str
) -> None:
    declared: Callable[[Path], str] = PROVIDERS[name]
    toml = declared(tmp_path) + TOLD.format(url=hooks.url)
    if state == "beside" and "[site]" not in toml:
        toml = '[site]\nstate = "beside"\n' + toml
    whole = assembled(tmp_path, toml)
    main: Any = whole.providers["main"]
    if not (main.has(app.Records) and main.atomic):
        details = [fault.detail for fault in whole.faults]
        assert any("needs a provider that stores a record and its notices in one commit" in one for one in details) or any(
            "has no Records" in one for one in details
        )
        whole.close()
        return
    assert whole.faults == []
    assert whole.inspection.create()[1] == []
    assert whole.inspection.check() == []
    whole.close()
    site = Site(tmp_path, toml)
    records: Any = site.app.providers["main"]
    job = plugin("outbox").Outbox({}, site.app.config)
    made = site.create("forms/moving", [{"who": "Ann"}, {"who": "Bo"}]).data["items"]
    stored = {row.value["kind"] for row in records.find(Query("_outbox")).items}
    assert stored == {"notice", "reminder"}
    site.put(f"forms/moving/records/{made[0]['id']}/move", {"to": "approved"})
    assert len(site.items("admin/outbox?show=open")) == 3
    job.run(site.app, threading.Event())
    told = [(body["data"]["record"]["who"], body["data"]["event"]) for body in hooks.bodies]
    assert sorted(told) == [("Ann", "approved"), ("Ann", "create"), ("Bo", "create")]
    assert told.index(("Ann", "create")) < told.index(("Ann", "approved"))
    assert len(set(hooks.ids)) == 3
    assert {row.value["kind"] for row in records.find(Query("_outbox")).items} == {"reminder"}
    hooks.answers = [410]
    made = site.create("forms/moving", {"who": "Cy"}).data
    job.run(site.app, threading.Event())
    [dead] = site.items("admin/outbox?show=dead")
    site.create(f"admin/outbox/{dead['id']}/retry")
    job.run(site.app, threading.Event())
    assert hooks.ids[-1] == dead["id"]
    assert site.items("admin/outbox") == []
    site.close()


SENDS = """
import sys, threading, tomllib
from pathlib import Path
sys.path[:0] = [{root!r}]
import app
folder = Path({folder!r})
registry = app.load_registry(folder)
raw = tomllib.loads((folder / "app.toml").read_text())
config = app.read_config(raw, folder, "app.toml", registry.provider_settings, registry.tables, registry.channel_settings)
site = app.App(config, registry)
site.open()
app.plugin("outbox").Outbox({{}}, config).run(site, threading.Event())
"""


def test_what_is_killed_while_it_sends_comes_again_with_the_same_id_and_nothing_is_lost(
    tmp_path: Path, hooks: HookServer
) -> None:
    toml = PROVIDERS["sql"](tmp_path) + TOLD.format(url=hooks.url)
    (tmp_path / "app.toml").write_text(toml)
    site = Site(tmp_path, toml)
    site.create("forms/moving", [{"who": "Ann"}, {"who": "Bo"}])
    waits = threading.Event()

    def never(body: bytes) -> int:
        waits.wait(20)
        return 204

    hooks.answers = [never]
    script = SENDS.format(root=str(ROOT), folder=str(tmp_path))
    child = subprocess.Popen([sys.executable, "-c", script], cwd=tmp_path)
    until = time.monotonic() + 20
    while not hooks.got and time.monotonic() < until:
        time.sleep(0.02)
    child.kill()
    child.wait(20)
    waits.set()
    first = hooks.ids[0]
    plugin("outbox").Outbox({}, site.app.config).run(site.app, threading.Event())
    assert hooks.ids.count(first) == 2
    assert sorted(body["data"]["record"]["who"] for body in hooks.bodies[1:]) == ["Ann", "Bo"]
    assert len(set(hooks.ids)) == 2
    site.close()


def test_a_notice_leaves_a_running_server_within_five_seconds(tmp_path: Path, hooks: HookServer) -> None:
    toml = PROVIDERS["sql"](tmp_path) + "[http]\nworkers = 2\n" + TOLD.format(url=hooks.url)
    toml = toml.replace("[roles.hr]", '[public]\ngrants = ["forms/moving:create"]\n[roles.hr]')
    (tmp_path / "app.toml").write_text(toml)
    with serving(tmp_path) as one:
        assert one.ask("GET", "/healthz").status == 200
        for number in range(3):
            began = time.monotonic()
            body = json.dumps({"who": f"Ann {number}"})
            assert one.ask("POST", "/forms/moving", body, {"Content-Type": "application/json"}).status == 201
            while len(hooks.got) <= number and time.monotonic() < began + 20:
                time.sleep(0.02)
            if number:  # the first waits for whoever runs the jobs
                assert time.monotonic() - began < 5
        os.kill(one.process.pid, signal.SIGTERM)
        one.process.wait(30)
    assert len(set(hooks.ids)) == 3
    assert any("was sent" in line for line in one.told)
