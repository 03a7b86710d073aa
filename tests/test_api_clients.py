"""The OpenAPI description from outside: a validator, a generated client and Schemathesis, on a site with all kinds.

The three are programs of their own, in an environment apart (.build/openapi.txt).
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import backends
import pytest
from http_client import ROOT, Server, serving

import app

# Every kind of field, provider and resource; names and choices that generated programs would write alike.
CONFIG = '''
[site]
title = "All kinds"
[http]
workers = 1
[public]
grants = ["forms/open:create"]
[providers.main]
kind = "sql"
url = "sqlite:///app.db"
[providers.disk]
kind = "file"
root = "disk"
[files.docs]
provider = "disk"
prefix = "docs/"
max_file = "1MB"
[files.blobs]
provider = "main"
prefix = "blobs/"
[forms.open]
provider = "main"
[forms.open.fields]
text = { type = "string", required = true }
[forms.all-kinds]
provider = "main"
[forms.all-kinds.fields]
name = { type = "string", required = true, minLength = 2, maxLength = 40 }
day = { type = "string", format = "date" }
moment = { type = "string", format = "date-time", title = "The moment" }
mail = { type = "string", format = "email" }
link = { type = "string", format = "uri" }
prose = { type = "string", format = "multiline" }
code = { type = "string", pattern = "[A-Z]{3}-[0-9]{1,4}" }
kind = { type = "string", enum = ["paid", "unpaid", "Paid", "a b", "a-b", "", "1"], default = "paid" }
choice = { type = "string", title = "Name", oneOf = [{ const = "a", title = "The A" }, { const = "b" }], default = "a" }
level = { type = "integer", enum = [1, 2, 3] }
rate = { type = "number", enum = [0.5, 1.5] }
days = { type = "number", minimum = 0.5, maximum = 60, multipleOf = 0.5 }
size = { type = "integer", exclusiveMinimum = 0, exclusiveMaximum = 100 }
free = { type = "integer" }
urgent = { type = "boolean", default = true }
tags = { type = "array", items = { enum = ["x", "y", "z"] }, minItems = 1, maxItems = 2 }
sizes = { type = "array", items = { oneOf = [{ const = "s", title = "Small" }, { const = "l", title = "Large" }] } }
paper = { type = "string", format = "file", files = "files/docs", max_file = "20KB" }
[forms.all_kinds]
provider = "disk"
table = "second"
[forms.all_kinds.fields]
name = { type = "string", enum = ["a", "b"], title = "Kind", required = true }
kind = { type = "string", enum = ["c", "d"], title = "Kind" }
[views.mine]
from = "forms/all-kinds"
columns = { name = {}, day = {}, days = {}, kind = {}, tags = {}, paper = {} }
facets = ["kind", "days"]
[views.numbers]
provider = "main"
sql = """with recursive n(i) as (select 1 union all select i + 1 from n where i < :top)
select i, :word as word, :how as how from n"""
params.top = { type = "integer", default = 3, minimum = 1, maximum = 1000 }
params.word = { type = "string", required = true, maxLength = 20 }
params.how = { type = "string", enum = ["up", "down"], default = "up" }
'''

# What somebody does with the client that was generated.
VISIT = """
import datetime
import io
import sys

from client import AuthenticatedClient, models
from client.api.admin_audit import admin_audit_list
from client.api.files_docs import files_docs_delete, files_docs_get, files_docs_list, files_docs_upload, files_docs_write
from client.api.forms_all_kinds import (
    forms_all_kinds_create, forms_all_kinds_delete, forms_all_kinds_file_paper, forms_all_kinds_get, forms_all_kinds_list,
    forms_all_kinds_replace, forms_all_kinds_schema, forms_all_kinds_update,
)
from client.api.views_mine import views_mine_list
from client.api.views_numbers import views_numbers_list
from client.types import File

address, token = sys.argv[1:]
me = AuthenticatedClient(base_url=address, token=token, raise_on_unexpected_status=True)
day, paper = datetime.date(2026, 11, 2), models.SentFile(name="a.txt", base64="aGVsbG8=")
chosen = {"level": models.AllKindsLevel(2), "rate": 0.5, "tags": [models.AllKindsTags("x")]}
sent = models.AllKindsInput(name="Ann", day=day, paper=paper, **chosen)
made = forms_all_kinds_create.sync(client=me, body=sent)
assert isinstance(made, models.AllKindsRecord), made
assert (made.name, made.day, made.level, made.rate, made.tags, made.version) == ("Ann", day, 2, 0.5, ["x"], 1)
assert (made.kind, made.choice, made.urgent, made.free) == ("paid", "a", True, None)
assert isinstance(made.paper, models.StoredFile) and made.paper.size_bytes == 5
assert forms_all_kinds_file_paper.sync(made.id, client=me).payload.read() == b"hello"
two = [models.AllKindsInput(name="Bob"), models.AllKindsInput(name="Cy", free=7)]
batch = forms_all_kinds_create.sync(client=me, body=two)
assert isinstance(batch, models.AllKindsBatch) and [one.name for one in batch.items] == ["Bob", "Cy"]
refused = forms_all_kinds_create.sync(client=me, body=models.AllKindsInput(name="B"))
assert isinstance(refused, models.Problem) and refused.code == "validation_failed" and refused.errors[0].pointer == "/name"
again = forms_all_kinds_get.sync_detailed(made.id, client=me)
assert (again.parsed.name, again.headers["ETag"]) == ("Ann", '"1"')
assert forms_all_kinds_get.sync_detailed(made.id, client=me, if_none_match='"1"').status_code == 304
page = forms_all_kinds_list.sync(client=me, field_size=2, field_count=1)
assert (len(page.items), page.count) == (2, 3)
rest = forms_all_kinds_list.sync(client=me, field_size=2, field_next_=page.next_)
assert {one.name for one in (*page.items, *rest.items)} == {"Ann", "Bob", "Cy"} and rest.next_ is None
assert [one.name for one in forms_all_kinds_list.sync(client=me, name="Bob").items] == ["Bob"]
changed = forms_all_kinds_update.sync(made.id, client=me, body=models.AllKindsPatch(free=5, day=None), if_match='"1"')
assert (changed.free, changed.day, changed.version) == (5, None, 2)
stale = forms_all_kinds_update.sync_detailed(made.id, client=me, body=models.AllKindsPatch(free=6), if_match='"1"')
assert (stale.status_code, stale.parsed.code) == (412, "precondition_failed")
replaced = forms_all_kinds_replace.sync(made.id, client=me, body=models.AllKindsInput(name="Dan"))
assert (replaced.name, replaced.free, replaced.paper) == ("Dan", None, None)
assert forms_all_kinds_schema.sync(client=me)["properties"]["name"]["maxLength"] == 40
file = File(payload=io.BytesIO(b"abc"), file_name="x.txt", mime_type="text/plain")
uploaded = files_docs_upload.sync(client=me, body=models.FileUpload(file=[file]))
assert [(one.name, one.size_bytes) for one in uploaded.items] == [("x.txt", 3)]
written = files_docs_write.sync("y.txt", client=me, body=File(payload=io.BytesIO(b"yy")))
assert (written.name, written.type_, written.size_bytes) == ("y.txt", models.FileEntryType.FILE, 2)
assert {"x.txt", "y.txt"} <= {one.name for one in files_docs_list.sync(client=me).items}
assert files_docs_get.sync("y.txt", client=me).payload.read() == b"yy"
assert files_docs_delete.sync_detailed("y.txt", client=me).status_code == 204
assert files_docs_get.sync("y.txt", client=me).code == "not_found"
rows = views_mine_list.sync(client=me, field_facets=1)
assert {one.name for one in rows.items} == {"Bob", "Cy", "Dan"}
assert [(one.value, one.count) for one in rows.facets.kind] == [("paid", 3)]
numbers = views_numbers_list.sync(client=me, word="hi", top=2, how=models.ViewsNumbersListHow.DOWN)
assert [one["i"] for one in numbers.items] == [1, 2] and numbers.items[0]["how"] == "down"
assert [one.subject for one in admin_audit_list.sync(client=me, field_size=1).items] == ["ann"]
assert forms_all_kinds_delete.sync_detailed(made.id, client=me, if_match='"3"').status_code == 204
assert forms_all_kinds_get.sync(made.id, client=me).code == "not_found"
"""

# Schemathesis makes up values. These cannot be made up: a cursor is part of an answer, and what a view of SQL can be ordered
# by only its database knows.
HOOKS = """
import schemathesis


@schemathesis.hook
def map_query(context, query):
    unknown = ("_next", "_sort") if context.operation.path == "/views/numbers" else ("_next",)
    return query and {name: value for name, value in query.items() if name not in unknown}
"""
# Beside what Schemathesis expects: preconditions come before what is in a body (RFC 9110 section 13.2.1), and so do sizes.
EXPECTED = """
[checks.negative_data_rejection]
expected-statuses = ["400", "401", "403", "404", "405", "406", "409", "412", "413", "415", "422"]
[checks.positive_data_acceptance]
expected-statuses = ["2xx", "3xx", "404", "409", "412", "413"]

[[operations]]
include-path = "/forms/all-kinds/import"  # no schema says what a table of rows has to hold
[operations.checks.positive_data_acceptance]
enabled = false
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, str]]:
    """A server, and a token that may do everything."""
    folder = tmp_path_factory.mktemp("clients")
    (folder / "app.toml").write_text(CONFIG)
    token = issued(folder, "**:*")
    with serving(folder) as server:
        yield server, token


def issued(folder: Path, grant: str) -> str:
    issue = [*backends.SATCHEL, "auth", "issue", "--subject", "ann", "--grant", grant]
    return subprocess.run(issue, cwd=folder, capture_output=True, text=True, check=True).stdout.strip()


def run(program: str, *args: str | Path, folder: Path, **env: str) -> str:
    """What a program of the environment says. AssertionError with all of it if it fails."""
    place = backends.tool("openapi", f"bin/{program}")
    path = f"{place.parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [place, *args], cwd=folder, capture_output=True, text=True, timeout=300, env=os.environ | {"PATH": path} | env
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def described(server: Server, token: str, folder: Path) -> Path:
    """The description as a file, with the server's whole address."""
    found = server.ask("GET", "/openapi.json", headers={"Authorization": f"Bearer {token}"}).json
    path = folder / "openapi.json"
    path.write_text(json.dumps(found))
    return path


def test_the_description_is_valid_for_each_reader(site: tuple[Server, str], tmp_path: Path) -> None:
    server, token = site
    for credential in (token, ""):
        headers = {"Authorization": f"Bearer {credential}"} if credential else {}
        (tmp_path / "openapi.json").write_bytes(server.ask("GET", "/openapi.json", headers=headers).body)
        assert ": OK" in run("openapi-spec-validator", "--schema", "3.1", tmp_path / "openapi.json", folder=tmp_path)
    (tmp_path / "openapi.json").write_text('{"openapi": "3.1.0", "info": {}, "paths": {}}')
    with pytest.raises(AssertionError, match="title"):
        run("openapi-spec-validator", "--schema", "3.1", tmp_path / "openapi.json", folder=tmp_path)


def test_a_generated_client_does_all_that_a_person_can(site: tuple[Server, str], tmp_path: Path) -> None:
    server, token = site
    path = described(server, token, tmp_path)
    sheets = ("text/csv", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet")
    same = dict.fromkeys(sheets, "application/octet-stream")  # as this tool knows no other bodies of bytes
    (tmp_path / "config.json").write_text(json.dumps({"content_type_overrides": same}))
    said = run(
        "openapi-python-client", "generate", "--path", path, "--output-path", tmp_path / "client", "--meta", "none",
        "--config", tmp_path / "config.json", folder=tmp_path,
    )  # fmt: skip
    assert "parsing" not in said, said  # "WARNING parsing POST /forms/…: endpoint will not be generated"
    operations = [one for item in json.loads(path.read_text())["paths"].values() for one in item if one in METHODS]
    made = [one for one in (tmp_path / "client" / "api").glob("*/*.py") if one.name != "__init__.py"]
    assert len(made) == len(operations) > 40
    (tmp_path / "visit.py").write_text(VISIT)
    run("python", "visit.py", "http://{}:{}".format(*server.tcp), token, folder=tmp_path)


METHODS = ("get", "post", "put", "patch", "delete")


def test_schemathesis_finds_no_answer_that_is_not_described(site: tuple[Server, str], tmp_path: Path) -> None:
    server, token = site
    (tmp_path / "hooks.py").write_text(HOOKS)
    (tmp_path / "schemathesis.toml").write_text(EXPECTED)
    said = run(
        "st", "--config-file", tmp_path / "schemathesis.toml", "run", "http://{}:{}/openapi.json".format(*server.tcp),
        "-H", f"Authorization: Bearer {token}", "--include-path-regex", "all-kinds|docs|views|audit",
        "--phases", "fuzzing", "--max-examples", "2", "--seed", "12",
        "--workers", "2", "--generation-database", "none", "--no-color", "--continue-on-failure", folder=tmp_path,
        SCHEMATHESIS_HOOKS="hooks", PYTHONPATH=str(tmp_path),
    )  # fmt: skip
    assert (found := re.search(r"(\d+) generated", said)), said
    assert int(found[1]) > 40


def test_the_client_of_the_page_on_http_does_what_is_shown(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "http-api.md").read_text(encoding="utf-8")
    text = text.partition("## Generated clients\n")[2].partition("\n## ")[0]
    commands, program, shown = (re.findall(rf"^```{kind}\n(.*?)^```$", text, re.M | re.S)[0] for kind in KINDS)
    (tmp_path / "app.toml").write_text(app.bundled_text("starter.toml"))
    (tmp_path / "ask.py").write_text(program)
    token = issued(tmp_path, "forms/**:*")
    with serving(tmp_path) as server:
        site = "http://{}:{}".format(*server.tcp)
        (tmp_path / "commands").write_text(f'SITE={site} AUTH="Authorization: Bearer {token}"\nset -e\n{commands}')
        tools = backends.tool("openapi", "bin/python").parent
        env = os.environ | {"PATH": f"{tools}{os.pathsep}{os.environ['PATH']}"}
        done = subprocess.run(["bash", "commands"], cwd=tmp_path, capture_output=True, text=True, timeout=300, env=env)
        assert done.returncode == 0, done.stdout + done.stderr
        assert run("python", "ask.py", site, token, folder=tmp_path) == shown


KINDS = ("bash", "python", "text")
