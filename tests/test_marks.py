"""Records.mark() of every provider, and what rests on it: who is known behind a credential until something is committed."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import app
from app import Delete, Insert, Unauthenticated, Update

sites: Any = importlib.import_module("sites")
suite: Any = importlib.import_module("test_provider_contract")
opener = suite.opener


@pytest.mark.parametrize("name", suite.having(app.Records))
def test_a_mark_differs_after_every_commit_of_any_object_and_stays_while_there_is_none(
    name: str, opener: Callable[[str], Any]
) -> None:
    records, other = opener(name), opener(name)
    records.commit([Insert("t", "a", {"n": 0})])
    if records.mark() is None:
        assert other.mark() is None
        return
    seen: list[Any] = []
    for number in range(10):
        writer = other if number % 2 else records
        for write in (Update("t", "a", {"n": number}), Insert("t", f"b{number}", {}), Delete("t", f"b{number}")):
            writer.commit([write])
            marks = [records.mark(), other.mark()]
            assert [records.mark(), other.mark()] == marks
            assert records.get("t", "a") == other.get("t", "a")  # reading changes nothing
            assert [records.mark(), other.mark()] == marks
            assert not any(mark in seen for mark in marks)
            seen += marks


@pytest.mark.parametrize("name", ["sql", "file"])
def test_nothing_is_told_of_a_closed_provider_and_no_mark_of_before_is_told_after_it(
    name: str, opener: Callable[[str], Any]
) -> None:
    records, other = opener(name), opener(name)
    records.commit([Insert("t", "a", {"n": 0})])
    before = records.mark()
    records.close()
    assert records.mark() is None
    other.commit([Update("t", "a", {"n": 1})])
    records.open()
    assert records.mark() not in (None, before)


# ---- credentials


@pytest.fixture(params=["sql", "file"])
def nodes(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[list[Any]]:
    """Two servers on one provider and one key ring."""
    toml = sites.PROVIDERS[request.param] + '[forms.leave.fields]\na = { type = "string" }\n'
    (tmp_path / "app.toml").write_text(toml)
    made = [sites.Site(tmp_path, toml), sites.Site(tmp_path, toml)]
    yield made
    for site in made:
        site.close()


REVOKER = """
import sys, tomllib
from pathlib import Path
import app
registry = app.load_registry(Path("/nowhere"))
folder = Path(sys.argv[1])
raw = tomllib.loads((folder / "app.toml").read_text(), parse_float=app.exact_number)
site = app.App(app.read_config(raw, folder, "app.toml", registry.provider_settings), registry)
site.open()
for line in sys.stdin:
    site.office.revoke(app.Caller("t"), [site.authority.token(line.strip())])
    print("revoked", flush=True)
"""


def test_what_another_process_revokes_is_refused_by_the_very_next_request_of_each_node(nodes: list[Any]) -> None:
    one, two = nodes
    tokens = [one.app.office.issue(app.Caller("t"), f"ann{n}", ["forms/leave:*"], [], 3600) for n in range(6)]
    credentials = ["Bearer " + one.app.authority.jwt(token) for token in tokens]
    arguments = [sys.executable, "-c", REVOKER, str(one.folder)]
    root = Path(app.__file__).parent
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=root) as other:
        assert other.stdin
        assert other.stdout
        for number, token in enumerate(tokens):
            for credential in credentials[number:] * 2:
                assert one.read("forms/leave", by=credential).caller == two.read("forms/leave", by=credential).caller
            other.stdin.write(token.jti + "\n")
            other.stdin.flush()
            assert other.stdout.readline() == "revoked\n"
            for node in nodes:
                with pytest.raises(Unauthenticated, match="revoked"):
                    node.read("forms/leave", by=credentials[number])
        other.stdin.close()


def test_the_row_of_a_token_is_read_once_until_something_is_committed(
    nodes: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = nodes
    by = one.token("ann", "forms/leave:*")
    read: list[str] = []
    get = one.app.state.get

    def counted(table: str, key: str) -> Any:
        read.append(table)
        return get(table, key)

    monkeypatch.setattr(one.app.state, "get", counted)
    one.read("forms/leave", by=by)  # which notes that the token was used
    for writer in (None, two, one):
        if writer:
            writer.create("forms/leave", {"a": "x"})
        one.read("forms/leave", by=by)
        read.clear()
        one.read("forms/leave", by=by)
        assert read == []
