"""COMMANDS and MAIN: what a person or a script gets from `python app.py …`, in a folder of its own."""

from __future__ import annotations

import grp
import io
import json
import os
import pwd
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import tomllib
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from http_client import serving

import app

STARTER = app.bundled_text("starter.toml")

PROGRAM = Path(app.__file__).resolve()
BASE = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG", "SYSTEMROOT")}
ENVIRONMENT = BASE | {"USER": "op", "PYTHONPATH": str(PROGRAM.parent)}


def command(*args: str) -> list[str]:
    return [sys.executable, str(PROGRAM), *args]


def compiled(*args: str) -> list[str]:
    """The same program; as a module it is compiled once and not for every command."""
    return [sys.executable, "-m", "app", *args]


@dataclass
class Shell:
    """A folder in which commands are typed."""

    folder: Path

    def run(self, *args: str, given: str | bytes = "", code: int | None = 0, **env: str) -> tuple[str, str]:
        """Standard output and standard error of a command that ends with this exit code."""
        data = given if isinstance(given, bytes) else given.encode()
        done = subprocess.run(
            compiled(*args), input=data, capture_output=True, cwd=self.folder, env=ENVIRONMENT | env, timeout=60
        )
        out, err = done.stdout.decode(), done.stderr.decode()
        assert "Traceback" not in err, err
        assert code is None or done.returncode == code, (done.returncode, out, err)
        return out, err

    def json(self, *args: str, given: str = "", code: int = 0) -> Any:
        return json.loads(self.run(*args, "--json", given=given, code=code)[0])

    def write(self, text: str, name: str = "app.toml") -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


class Server:
    """A running server, started by command."""

    def __init__(self, shell: Shell, *args: str) -> None:
        self.process = subprocess.Popen(
            command(*args), cwd=shell.folder, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert self.process.stderr
        self.lines, self.url = list[str](), ""  # the lines up to the one that names its address
        for line in iter(self.process.stderr.readline, ""):  # a server that ends closes it
            self.lines.append(line)
            if found := re.search(r" is at (http://[0-9.]+:\d+)", line):
                self.url = found[1]
                break
        assert self.url, self.lines

    def line(self) -> str:
        assert self.process.stderr
        return self.process.stderr.readline()

    def stop(self) -> tuple[str, str, int]:
        """What is left on standard output and error, and the exit code."""
        self.process.send_signal(signal.SIGTERM)
        out, err = self.process.communicate(timeout=40)
        return out, err, self.process.returncode


@pytest.fixture
def serve(shell: Shell) -> Iterator[Any]:
    running: list[Server] = []

    def start(*args: str) -> Server:
        running.append(Server(shell, *args, "--workers", "1"))
        return running[-1]

    yield start
    for server in running:
        if server.process.poll() is None:
            server.process.kill()
        server.process.communicate()


# ---- auth


def test_issue_prints_the_token_and_a_newline_and_nothing_else(shell: Shell) -> None:
    out, err = shell.run("auth", "issue", "--subject", "ann", "--grant", "forms/requests:create")
    assert re.fullmatch(r"[\w-]+\.[\w-]+\.[\w-]+\n", out)
    assert err == ""
    short, err = shell.run("auth", "issue", "--subject", "ann", "--role", "staff", "--format", "short")
    assert re.fullmatch(r"stl_[\w-]{54}\n", short)
    assert err == ""
    assert not (shell.folder / "app.toml").exists()
    assert (shell.folder / "data").stat().st_mode & 0o777 == 0o700


def test_the_life_of_a_token_from_issue_to_revoke(shell: Shell) -> None:
    issued = shell.json("auth", "issue", "--subject", "ann", "--grant", "forms/requests:create", "--label", "phone")
    assert set(issued) == {
        "jti", "subject", "label", "grants", "roles", "issued_at", "expires_at", "used_at", "revoked_at", "token",
    }  # fmt: skip
    jti, token = issued["jti"], issued.pop("token")
    parse_rfc3339 = app.plugin("locale").parse_rfc3339
    assert parse_rfc3339(issued["expires_at"]) - parse_rfc3339(issued["issued_at"]) == 30 * 86400
    assert shell.json("auth", "list") == [issued]
    assert shell.json("auth", "show", jti[:12]) == issued
    assert shell.json("auth", "check", given=token + "\n") == {
        "subject": "ann", "token_id": jti, "roles": [], "grants": ["forms/requests:create"],
    }  # fmt: skip
    shell.run("auth", "check", "forms/requests", "create", given=token)
    _, err = shell.run("auth", "check", "forms/requests", "read", given=token, code=3)
    assert "forms/requests:read" in err
    out, err = shell.run("auth", "revoke", jti[:12])
    assert (out, err) == ("", f"revoked {jti} of ann\n")
    shell.run("auth", "check", given=token, code=3)
    assert shell.json("auth", "list") == []
    [row] = shell.json("auth", "list", "--all")
    assert row["revoked_at"]
    assert shell.json("auth", "revoke", jti) == {"revoked": [jti]}


def test_keys_rotate_with_overlap_and_a_retired_one_ends_what_it_signed(shell: Shell) -> None:
    old = shell.run("auth", "issue", "--subject", "ann", "--grant", "forms/requests:create")[0]
    [first] = shell.json("auth", "keys")
    fresh, kept = shell.json("auth", "keys", "rotate")
    assert kept == first
    new = shell.run("auth", "issue", "--subject", "bob", "--grant", "forms/requests:create")[0]
    for token in (old, new):
        shell.run("auth", "check", given=token)
    _, err = shell.run("auth", "keys", "retire", fresh["kid"], code=5)
    assert "the one that signs" in err
    shell.run("auth", "keys", "retire", "nothing", code=4)
    shell.run("auth", "keys", "retire", code=6)
    shell.run("auth", "keys", "list", fresh["kid"], code=6)
    out, _ = shell.run("auth", "keys", "retire", first["kid"])
    assert out == f"{fresh['kid']}  since {fresh['created_at'][:10]}  signs\n"
    shell.run("auth", "check", given=old, code=3)
    shell.run("auth", "check", given=new)
    said = (shell.folder / "data" / "keys.json").read_text()
    assert all(secret["k"] not in out for secret in json.loads(said)["keys"])


def test_check_names_what_is_damaged_and_passes(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    toml = (
        '[providers.main]\nkind = "sql"\nurl = "sqlite:///app.db"\n[providers.erp]\nkind = "sql"\nurl = "sqlite:///erp.db"\n'
    )
    toml += '[forms.notes]\nprovider = "main"\nfields.a = {}\n[views.old]\nprovider = "erp"\nsql = "select * from old"\n'
    endless = "with recursive n(i) as (select 1 union all select i + 1 from n) select i from n where i < 0"
    shell.write(toml + f'[views.endless]\nprovider = "erp"\nsql = "{endless}"\n')
    provider = app.SqlProvider("main", {"url": "sqlite:///app.db"}, tmp_path)
    provider.open()
    provider.commit([app.Insert("notes", key, {"a": "x"}) for key in "abc"])
    provider.close()
    with closing(sqlite3.connect(tmp_path / "app.db")) as connection:
        connection.execute("update notes set data = 'x' where key > 'a'")
        connection.commit()
    with closing(sqlite3.connect(tmp_path / "erp.db")) as connection:
        connection.execute("create table old (n integer, name text)")
        connection.execute("insert into old values (1, 'x'), (2, cast(x'e9' as text))")
        connection.commit()
    began = time.monotonic()
    found = shell.json("server", "check")
    assert time.monotonic() - began < 15
    assert found["ok"]
    told = [words for words in found["warnings"] if "SQLite" not in words]
    assert told == [
        "forms.notes: the whole record is not JSON in record b and 1 more",
        "views.old: column name is not UTF-8 in row 2",
    ]


def test_tokens_open_no_other_provider_than_that_of_state(shell: Shell) -> None:
    other = '[providers.other]\nkind = "sql"\nurl = "sqlite:///other.db"\n'
    other += '[forms.notes]\nprovider = "other"\n[forms.notes.fields]\ntext = {}\n'
    shell.write('[providers.main]\nkind = "sql"\nurl = "sqlite:///main.db"\n' + other)
    token = shell.run("auth", "issue", "--subject", "ann", "--grant", "forms/notes:read")[0]
    assert shell.run("auth", "check", "forms/notes", "read", given=token)[0].splitlines() == [
        "ann: forms/notes:read",
        "forms/notes read: forms/notes:read",
    ]
    assert (shell.folder / "main.db").exists()
    assert not (shell.folder / "other.db").exists()


def test_lists_and_shows_for_people_name_no_token(shell: Shell) -> None:
    token, _ = shell.run("auth", "issue", "--subject", "ann", "--role", "staff", "--label", "phone")
    for out, _ in (shell.run("auth", "list"), shell.run("auth", "show", shell.json("auth", "list")[0]["jti"])):
        assert "ann" in out
        assert "phone" in out
        assert token.strip() not in out


@pytest.mark.parametrize(
    ("args", "code", "told"),
    [
        (["issue"], 2, "--subject"),
        (["issue", "--subject", "ann"], 6, "at least one grant or role"),
        (["issue", "--subject", "ann", "--role", "stuff"], 6, "did you mean staff?"),
        (["issue", "--subject", "ann", "--grant", "forms"], 6, "is not a grant"),
        (["issue", "--subject", "ann", "--role", "staff", "--expires", "soon"], 2, "such as"),
        (["issue", "--subject", "ann", "--role", "staff", "--expires", "99999d"], 2, "ten years"),
        (["issue", "--subject", "", "--role", "staff"], 6, "is empty"),
        (["show", "0123456789"], 4, "no token"),
        (["revoke", "0123456789", "x"], 4, "no token"),
        (["check", "forms/requests"], 6, "both"),
        (["check", "forms/requests", "fly"], 2, "ACTION: invalid choice: 'fly', of read, create, update, delete"),
        (["check"], 3, "standard input is empty, and the token is read from it"),
        (["revoke", "xx"], 4, "no token has the id xx"),
        (["revoke", "stl_abc"], 4, "no token with the id given"),
        (["link", "--subject", "nobody"], 4, "no valid token"),
        (["lsit"], 2, "did you mean list?"),
    ],
)
def test_mistakes_with_tokens_get_their_exit_code_and_words(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    args: list[str],
    code: int,
    told: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO()))
    assert app.main(["auth", *args]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert told in err
    assert err.startswith("error: ")


def test_check_takes_whatever_stands_on_standard_input(shell: Shell) -> None:
    for given in (b"\xff\xfe\n", b"", b"\n", b"\x00", b"a" * 100_000, "ä.b.c\n".encode()):
        shell.run("auth", "check", given=given, code=3)


def test_a_sign_in_link_is_printed_for_a_new_token_or_the_newest_one(shell: Shell) -> None:
    out, err = shell.run("auth", "link", "--subject", "ann", "--role", "staff")
    assert re.fullmatch(r"http://127\.0\.0\.1:8080/login/[\w-]{43}\n", out)
    assert err == ""
    made = shell.json("auth", "link", "--subject", "ann")
    assert set(made) == {"link", "code", "subject", "expires_s"}
    assert len(shell.json("auth", "list")) == 1
    assert "anne has no valid token" in (told := shell.run("auth", "link", "--subject", "anne", code=4)[1])
    assert "did you mean ann?" in told
    shell.write(STARTER.replace("hosts = []", 'hosts = ["intra.example"]\ntrusted_proxies = ["10.0.0.1"]', 1))
    assert shell.json("auth", "link", "--subject", "ann")["link"].startswith("https://intra.example/login/")


def test_a_sign_in_link_for_a_person_is_that_persons_and_takes_no_other_rights(shell: Shell) -> None:
    shell.run("auth", "invite", "--subject", "ann", "--role", "staff")
    made = shell.json("auth", "link", "--subject", "ann")
    assert (made["subject"], made["expires_s"]) == ("ann", 600)
    assert shell.json("auth", "list") == [], "no token was made"
    refused = shell.run("auth", "link", "--subject", "ann", "--grant", "**:*", code=6)[1]
    assert "ann is one of the people" in refused
    shell.run("auth", "people", "suspend", "ann")
    assert "suspended" in shell.run("auth", "link", "--subject", "ann", code=3)[1]


USELESS_GRANTS = {
    "form/requests:create": "did you mean forms/requests?",
    "forms/reqests:create": "did you mean forms/requests?",
    "FORMS/requests:create": "did you mean forms/requests?",
    "FILES/docs:read": "did you mean files/shared?",
    "files/nosuch:read": "did you mean files/shared?",
    "x:read": "what is declared is in admin, apps, files, forms, views",
    "admin/audt:read": "did you mean admin/audit?",
    "form/*:create": "names nothing that is declared",
    "forms/requests/recods:read": "did you mean forms/requests/records?",
    "views/requests:create": "allows nothing: the actions of views/requests are read",
}
USEFUL_GRANTS = [
    "forms/requests:create", "forms/*:create", "*/requests:read", "**:*", "forms:read", "files/shared/2026/**:read",
    "forms/requests/records/*:read", "admin/audit:read", "admin/*:read", "views/*:*", "forms/requests/records:read,delete",
]  # fmt: skip


@pytest.mark.parametrize("verb", ["issue", "link"])
def test_a_grant_that_allows_nothing_is_refused_unless_forced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for grant, told in USELESS_GRANTS.items():
        assert app.main(["auth", verb, "--subject", "ann", "--grant", "files/shared:read", "--grant", grant]) == 6
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith(f"error: {grant} ")
        assert told in err
        assert err.endswith("(--force issues it all the same)\n")
        assert err.count("\n") == 1
    assert app.main(["auth", "list", "--json"]) == 0
    assert capsys.readouterr().out == "[]\n"
    for grant in USEFUL_GRANTS:
        assert app.main(["auth", verb, "--subject", "ann", "--grant", grant]) == 0
    assert app.main(["auth", verb, "--subject", "ann", "--grant", "forms/later:create", "--force"]) == 0


OWN_COMMANDS = """
import app

class Looking(app.Command):
    kind, help = "server own-look", "writes to what it opens itself"

    def run(self, args, site):
        with site.looked_at() as found:
            found.open()
            found.state.commit([app.Insert("_settings", "own", {})])
        return 0

class Opening(app.Command):
    kind, help = "server own-open", "writes to what is open"

    def run(self, args, site):
        with site.opened() as found:
            found.state.commit([app.Insert("_settings", "own", {})])
        return 0
"""
WRITING_COMMANDS = [
    "auth issue --subject bo --role staff", "auth link --subject ann", "auth keys rotate", "auth revoke 0123456789",
    "auth invite --subject ann", "auth people suspend ann", "auth people", "server dead-letters redrive --all",
    "server dead-letters drop --all", "server own-look", "server own-open",
]  # fmt: skip


def test_no_command_writes_to_older_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    shell, data = Shell(tmp_path), tmp_path / "data"
    shell.write(STARTER)
    shell.write(OWN_COMMANDS, "plugins/own.py")
    assert app.main("auth issue --subject ann --role staff".split()) == 0

    def kept() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in data.rglob("*") if path.is_file()}

    before = kept()
    monkeypatch.setattr(app.plugin("data_mark"), "FORM", 2)
    monkeypatch.setattr(app.plugin("data_mark"), "STEPS", {1: lambda given: None})
    for typed in WRITING_COMMANDS:
        capsys.readouterr()
        assert app.main(typed.split()) == 2, typed
        out, err = capsys.readouterr()
        assert out == "", typed
        assert "the data folder is in form 1, and this Satchel's is 2\n  start the server once" in err, (typed, err)
    assert app.main("server check --create".split()) != 0
    assert "in form 1, and this Satchel's is 2" in "".join(capsys.readouterr())
    assert kept() == before
    for typed in ("info resources", "info openapi", "server check", "server backups", "server backup"):
        assert app.main(typed.split()) == 0, typed
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    for typed in ("server own-look", "auth invite --subject bo --role staff"):
        assert app.main(typed.split()) == 0, typed


@pytest.mark.parametrize("is_mounted", [False, True], ids=["missing", "mounted"])
def test_a_data_folder_in_which_nothing_is_has_no_older_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, is_mounted: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    if is_mounted:
        (tmp_path / "data").mkdir()
    mark = app.plugin("data_mark")
    monkeypatch.setattr(mark, "FORM", 2)
    monkeypatch.setattr(mark, "STEPS", {})
    assert app.main("auth issue --subject ann --role staff".split()) == 0
    site = app.Site(app.parse_arguments(["info", "version"]))
    with site.claimed():
        assert mark.mark_of(site.config.site.data)["form"] == 2
    assert not (tmp_path / "data" / "backups").exists()
    assert not caplog.records


def test_check_asks_for_the_token_on_a_terminal(shell: Shell) -> None:
    token = shell.run("auth", "issue", "--subject", "ann", "--role", "staff", "--format", "short")[0]
    ours, theirs = os.openpty()
    with subprocess.Popen(
        compiled("auth", "check"), stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=shell.folder,
        env=ENVIRONMENT, text=True,
    ) as process:  # fmt: skip
        assert process.stderr
        assert process.stderr.readline() == "Paste the token and press Enter:\n"
        os.write(ours, token.encode())
        out, err = process.communicate(timeout=60)
    os.close(ours)
    os.close(theirs)
    assert (out[:10], err, process.returncode) == ("ann: staff", "", 0)
    assert "standard input" in shell.run("auth", "check", "--help")[0]


# ---- what was meant

MISTYPED = {
    "serve": "did you mean app.pyz server?", "start": "did you mean app.pyz server?", "run": "app.pyz server run?",
    "servre": "server?", "server start": "did you mean app.pyz server?", "server chek": "mean check?",
    "check": "app.pyz server check or app.pyz auth check?", "issue": "app.pyz auth issue?", "init": "app.pyz server init?",
    "server 9000": "invalid choice: '9000'", "auth isue": "did you mean issue?", "auth create": "app.pyz auth issue?",
    "auth ls": "app.pyz auth list?", "info rutes": "did you mean routes?", "rutes": "app.pyz info routes?",
    "server dead-letters lst": "did you mean list?", "auth keys rotat": "did you mean rotate?",
    "server --port 9000": "app.pyz server has no option --port; did you mean --bind HOST:PORT?",
    "server run --port=9000": "did you mean --bind HOST:PORT?", "server -p 9000": "did you mean --bind HOST:PORT?",
    "server --host 0.0.0.0": "did you mean --bind HOST:PORT?", "server --bnd :1": "did you mean --bind?",
    "server check --crate": "did you mean --create?", "auth issue --subjct ann": "did you mean --subject?",
    "auth issue --user ann": "did you mean --subject?", "--config x server": "--config stands behind the command",
    "server --bind 9000": '--bind must be HOST:PORT, [IPV6]:PORT or unix:/PATH, such as "127.0.0.1:9000"',
    "server --bind localhost": 'such as "localhost:8080"', "server --workers many": "--workers must be a whole number",
    "server --workers -1": "--workers", "server --runner htp": "did you mean http?",
    "info --data file": "--data must be a folder",
    "auth issue --subject a --role staf": "did you mean staff?", "auth issue --subject a --format jwtt": "did you mean jwt?",
    "auth issue --subject a --role staff --expires 1month": "--expires must be a duration",
    "server copy main dsk": "did you mean disk?", "nonsense": "'nonsense', of server, auth, info",
    "strat": "did you mean app.pyz server?", "server --prot 9000": "did you mean --bind HOST:PORT?", "-V": "mean --version?",
    "server dead-letters list --limit 0": "--limit must be a whole number, 1 or more",
}  # fmt: skip


def test_what_was_probably_meant_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    for typed, told in MISTYPED.items():
        assert app.main(typed.split()) in (2, 4, 6), typed
        out, err = capsys.readouterr()
        assert out == ""
        assert told in err, (typed, err)
        assert err.startswith("error: ")
        assert "app.toml" not in err
        assert len(set(err.splitlines())) == len(err.splitlines()) <= 2, err


def test_check_warns_of_a_data_folder_in_which_others_can_write(shell: Shell) -> None:
    shell.run("auth", "list")
    assert "chmod 700" not in shell.run("server", "check")[1]
    (shell.folder / "data").chmod(0o777)
    assert f"chmod 700 {shell.folder / 'data'}" in shell.run("server", "check")[1]


@pytest.fixture
def others(monkeypatch: pytest.MonkeyPatch) -> Any:
    """plugins/permissions.py, on a machine where ann's group is hers alone, and the group staff has bob in it too."""
    permissions = app.plugin("permissions")
    people = [
        pwd.struct_passwd((name, "x", uid, uid, "", "/", "")) for name, uid in (("root", 0), ("ann", 70001), ("bob", 70002))
    ]
    groups = {0: [], 70001: [], 70002: ["bob"], 70003: ["ann", "bob"], 70004: ["ann"]}
    monkeypatch.setattr(permissions.pwd, "getpwall", lambda: people)
    monkeypatch.setattr(permissions.grp, "getgrgid", lambda gid: grp.struct_group(("g", "x", gid, groups[gid])))
    permissions._has_others.cache_clear()
    yield permissions
    permissions._has_others.cache_clear()


def test_a_group_counts_if_another_account_is_in_it(others: Any) -> None:
    mine = frozenset((0, 70001))
    assert [others._has_others(gid, mine) for gid in (0, 70001, 70002, 70003, 70004, 70005)] == [
        *(False, False, True, True, False, True)
    ]


STARTER_PLACES = {
    "data": ("site.data", "chmod 700"), "data/app.db": ("providers.main", "chmod go-w"), "data/keys.json": None,
    "data/backups": ("backups", "chmod go-w"), "app.toml": ("app.toml", "chmod go-w"), ".": ("the folder", "chmod go-w"),
    "templates": ("templates", "chmod go-w"), "templates/own.tpl": ("templates", "chmod go-w"),
    "plugins": ("plugins", "chmod go-w"), "data/files": None,  # a share
}  # fmt: skip


@pytest.fixture(scope="module")
def started_once(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """A site whose files are its own: nothing is said of them."""
    shell = Shell(tmp_path_factory.mktemp("starter"))
    shell.run("server", "init")
    shell.run("auth", "list")
    for folder in ("data/backups", "data/files", "plugins", "templates"):
        (shell.folder / folder).mkdir(mode=0o700, exist_ok=True)
    (shell.folder / "templates" / "own.tpl").write_text("")
    shell.folder.chmod(0o755)
    assert "can write" not in shell.run("server", "check")[1]
    return shell


@pytest.mark.parametrize("place", STARTER_PLACES)
def test_start_and_check_warn_of_what_others_can_write(started_once: Shell, place: str) -> None:
    shell = started_once
    path = (shell.folder / place).absolute()
    before = path.stat().st_mode
    path.chmod(before | 0o002)
    try:
        said = [line for line in shell.run("server", "check", code=None)[1].splitlines() if "can write" in line]
        if not (expected := STARTER_PLACES[place]):
            assert not said
            return
        assert len(said) == 1
        assert said[0].startswith(f"warning: {expected[0]}")
        assert said[0].endswith(f"{expected[1]} {path}")
        with serving(shell.folder) as server:
            pass
        assert said[0] in server.told
    finally:
        path.chmod(before)


def test_a_data_folder_that_a_group_can_write_is_warned_of_and_one_that_it_can_read_is_not(shell: Shell) -> None:
    shell.run("auth", "list")
    for bits, is_told in ((0o750, False), (0o770, True), (0o755, False), (0o707, True), (0o700, False)):
        (shell.folder / "data").chmod(bits)
        assert ("chmod 700" in shell.run("server", "check")[1]) is is_told, oct(bits)


def test_a_folder_above_in_whose_place_others_can_put_their_own_is_warned_of(shell: Shell) -> None:
    inner = Shell(shell.folder / "outer" / "inner")
    inner.folder.mkdir(parents=True)
    inner.run("server", "init")
    for bits, is_told in ((0o777, True), (0o1777, False), (0o755, False)):
        inner.folder.parent.chmod(bits)
        said = inner.run("server", "check")[1]
        assert (f"can write in {inner.folder.parent} and put another one in its place" in said) is is_told


@pytest.mark.parametrize("words", ["", "auth", "help", "help auth issue", "server help", "version"])
def test_help_is_never_an_error_message(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        code: Any = app.main(words.split())
    except SystemExit as end:
        code = end.code
    out, err = capsys.readouterr()
    if words == "version":
        assert (out, err, code) == (f"satchel {app.__version__}\n", "", 0)
    elif "help" in words:
        assert out.startswith(f"usage: app.pyz {words.replace('help', '').strip()}".rstrip())
        assert (err, code) == ("", 0)
    else:
        assert err.startswith(f"usage: app.pyz {words}".rstrip())
        assert (out, code) == ("", 2)
        assert ("print a new token" in err) == (words == "auth")  # what each of its commands is for


# ---- errors and exit codes


def test_the_program_is_a_script_too(shell: Shell) -> None:
    args = command("auth", "issue", "--subject", "ann", "--role", "staff")
    done = subprocess.run(args, capture_output=True, cwd=shell.folder, env=BASE, timeout=60)
    assert (done.returncode, done.stderr, done.stdout.count(b".")) == (0, b"", 2)
    done = subprocess.run(command("auth", "lsit"), capture_output=True, cwd=shell.folder, env=BASE, timeout=60)
    assert (done.returncode, done.stdout, done.stderr[:7]) == (2, b"", b"error: ")


def test_each_exit_code_has_its_meaning(shell: Shell) -> None:
    shell.run("info", "version", code=0)
    shell.run("nothing", code=2)
    shell.run("auth", "check", given="x", code=3)
    shell.run("auth", "show", "00000000", code=4)
    shell.run("server", "init", code=0)
    shell.run("server", "init", code=5)
    shell.run("auth", "issue", "--subject", "ann", code=6)
    (shell.folder / "file").write_text("")
    shell.run("server", "--bind", "127.0.0.1:0", "--data", "file/data", code=7)


def test_errors_are_one_json_object_where_json_is_asked_for(shell: Shell) -> None:
    problem = shell.json("auth", "show", "00000000", code=4)
    assert set(problem) == {"code", "detail", "errors"}
    assert problem["code"] == "not_found"
    shell.write("[http]\nbind = 5\nbnd = 6\n")
    problem = shell.json("auth", "list", code=2)
    assert {error["pointer"] for error in problem["errors"]} >= {"http.bind", "http.bnd"}


def test_a_bug_is_exit_code_1_with_its_traceback(shell: Shell) -> None:
    shell.write("raise SystemExit(app.main(['info', 'version']))", "run.py")
    text = "import sys, app\nparse = app.parse_arguments\n"
    text += "app.parse_arguments = lambda argv: 1 / 0\nsys.exit(app.main([]))\n"
    done = subprocess.run(
        [sys.executable, "-c", text],
        capture_output=True,
        env=ENVIRONMENT,
        cwd=shell.folder,
    )
    assert done.returncode == 1
    assert b"ZeroDivisionError" in done.stderr


def test_a_reader_that_has_gone_is_no_error(shell: Shell) -> None:
    process = subprocess.Popen(
        command("info"), cwd=shell.folder, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout
    process.stdout.close()
    assert process.stderr
    assert (process.stderr.read(), process.wait(30)) == (b"", 0)
    process.stderr.close()


@pytest.mark.parametrize(
    "args", [["--help"], ["server", "--help"], ["auth", "issue", "--help"], ["info", "--help"], ["--version"]]
)
def test_help_is_printed_on_standard_output(shell: Shell, args: list[str]) -> None:
    out, err = shell.run(*args)
    assert out
    assert err == ""


def test_commands_that_serve_nothing_load_no_server(shell: Shell) -> None:
    for args in (["--help"], ["auth", "issue", "--subject", "a", "--role", "staff"], ["info"]):
        done = subprocess.run(
            [sys.executable, "-X", "importtime", str(PROGRAM), *args], capture_output=True, cwd=shell.folder, env=ENVIRONMENT
        )
        loaded = {line.rpartition(b"|")[2].strip().decode() for line in done.stderr.splitlines()}
        assert "hashlib" in loaded
        assert not loaded & {"bottle", "multipart", "boto3", "botocore", "pg8000", "http.server", "xlsxwriter"}


# ---- server init and check


def test_init_writes_the_starter_and_leaves_an_existing_file_alone(shell: Shell) -> None:
    out, err = shell.run("server", "init", "new/site")
    assert (out, err) == ("new/site/app.toml\n", "")
    assert (shell.folder / "new/site/app.toml").read_text() == STARTER
    (shell.folder / "new/site/app.toml").write_text("mine")
    _, err = shell.run("server", "init", "new/site", code=5)
    assert "left as it is" in err
    assert (shell.folder / "new/site/app.toml").read_text() == "mine"
    (shell.folder / "file").write_text("")
    shell.run("server", "init", "file", code=7)
    assert shell.json("server", "init", "other") == {"path": "other/app.toml"}
    assert "#" in STARTER
    assert tomllib.loads(STARTER)


def test_check_finds_the_starter_in_order(shell: Shell) -> None:
    out, err = shell.run("server", "check")
    assert out == ""
    assert err.endswith("everything is in order\n")
    found = shell.json("server", "check")
    assert (found["ok"], found["faults"]) == (True, [])


def test_an_app_toml_that_leads_nowhere_is_a_fault_and_no_reason_to_serve_the_starter(shell: Shell) -> None:
    (shell.folder / "app.toml").symlink_to("missing.toml")
    assert "app.toml cannot be read" in "".join(shell.run("server", "check", code=2))


def test_check_passes_on_no_warnings_of_python_about_patterns(shell: Shell) -> None:
    field = '[forms.f]\nprovider = "main"\n[forms.f.fields]\nx = { type = "string", pattern = "[[a-z]*" }\n'
    shell.write(STARTER + field)
    assert "FutureWarning" not in shell.run("server", "check")[1]


def test_check_lists_every_fault_of_file_assembly_and_statements_at_once(shell: Shell) -> None:
    (shell.folder / "taken").write_text("")
    shell.write("""
        [site]
        titel = "x"
        [auth]
        keys = "file:ring"
        [providers.main]
        kind = "sql"
        url = "sqlite:///app.db"
        [providers.away]
        kind = "file"
        root = "taken/x"
        [files.f]
        provider = "main"
        [forms.on_away]
        provider = "away"
        fields.a = {}
        [forms.bad]
        fields.a = { type = "number", minLength = 1 }
        [forms.lost]
        fields.a = { format = "file", files = "files/g" }
        [views.on_file]
        provider = "away"
        sql = "select 1"
        [views.broken]
        provider = "main"
        sql = "selec 1"
        [views.lost]
        from = "forms/none"
        [apps.a]
        menu = ["forms/none"]
        """)
    (shell.folder / "ring").write_text("no ring")
    found = shell.json("server", "check", code=2)
    assert not found["ok"]
    assert {fault["pointer"] for fault in found["faults"]} == {
        "site.titel", "auth.keys", "providers.away", "forms.bad.fields.a.minLength", "forms.lost.fields.a.files",
        "views.on_file.provider", "views.broken.sql", "views.lost.from", "apps.a.menu",
    }  # fmt: skip
    _, err = shell.run("server", "check", code=2)
    assert "site.titel: is not a setting; did you mean title?" in err
    assert "9 faults" in err
    assert "no ring" not in err


FAR = """
import app
class Far(app.plugin("file").FileProvider):
    kind = "far"
    most_writes = 100
    def ping(self):
        raise app.Unavailable(f"provider {self.name} is away", hint="far:1 refused: is it running?")
class Made(app.plugin("file").FileProvider):
    kind = "made"
    conditional = False
    def create(self, tables, bar=None):
        new = not self.places()[0].exists()
        self.places()[0].mkdir(exist_ok=True)
        return [f"folder {self.name} for {len(tables)} tables"] if new else []
    def get(self, table, key):
        if not self.places()[0].exists():
            raise app.ConfigError("there is no folder: run server check --create")
        return super().get(table, key)
"""
AWAY = "provider away is away (far:1 refused: is it running?)"
FAR_TOML = """
[providers.main]
kind = "made"
root = "made"
[providers.away]
kind = "far"
root = "far"
[forms.ask.fields]
a = {}
"""


def test_check_makes_what_is_missing_only_when_it_is_told_to(shell: Shell) -> None:
    shell.write(FAR, "plugins/far.py")
    shell.write(FAR_TOML)
    found = shell.json("server", "check", code=2)
    assert "created" not in found
    told = "there is no folder: run server check --create"
    assert {(fault["pointer"], fault["detail"]) for fault in found["faults"]} == {
        ("forms.ask.table", told), ("providers.main", told), ("providers.away", AWAY),
    }  # fmt: skip
    assert not (shell.folder / "made").exists()
    found = shell.json("server", "check", "--create", code=2)
    assert found["created"] == ["main: folder main for 22 tables"]
    assert [fault["pointer"] for fault in found["faults"]] == ["providers.away"]
    shell.write(FAR_TOML.replace('kind = "far"', 'kind = "file"'))
    assert shell.json("server", "check", "--create")["created"] == []
    (shell.folder / "made").rename(shell.folder / "gone")
    assert "created main: folder main for 22 tables\n" in shell.run("server", "check", "--create")[1]


def test_nothing_is_made_for_a_configuration_with_faults(shell: Shell) -> None:
    shell.write(FAR, "plugins/far.py")
    shell.write(FAR_TOML + "[forms.broken]\n")
    assert shell.json("server", "check", "--create", code=2)["created"] == []
    assert not (shell.folder / "made").exists()


def test_check_warns_of_grants_that_allow_nothing(shell: Shell) -> None:
    shell.write(STARTER.replace('"apps/*:read", "forms/requests:create"', '"apps/*:read", "forms/request:create"'))
    found = shell.json("server", "check")
    assert found["ok"]
    told = "roles.staff: forms/request:create names nothing that is declared; did you mean forms/requests?"
    assert told in found["warnings"]
    said = shell.run("server", "check")[1]
    assert f"warning: {told}\n" in said
    assert said.endswith("no fault, but 1 warning\n")


def test_check_names_a_table_that_is_somebody_elses(shell: Shell) -> None:
    import sqlite3

    with sqlite3.connect(shell.folder / "app.db") as connection:
        connection.execute("create table ask (a)")
    connection.close()
    shell.write('[providers.main]\nkind = "sql"\nurl = "sqlite:///app.db"\n[forms.ask]\nfields.a = {}\n')
    [fault] = shell.json("server", "check", code=2)["faults"]
    assert fault["pointer"] == "forms.ask.table"
    shell.run("server", "--bind", "127.0.0.1:0", code=2)


def test_check_says_what_is_wrong_with_a_file_that_is_no_toml(shell: Shell) -> None:
    shell.write("[site\n")
    assert "line 1" in shell.json("server", "check", code=2)["faults"][0]["detail"]
    shell.run("server", "--config", "missing.toml", "check", code=2)


def test_a_configuration_with_faults_stops_every_command_with_exit_2(shell: Shell) -> None:
    shell.write("nonsense = 1\n" + STARTER)
    for args in (["server"], ["auth", "list"], ["info"]):
        out, err = shell.run(*args, code=2)
        assert out == ""
        assert "nonsense" in err
    assert not (shell.folder / "data").exists()


# ---- options


def parsed(*args: str) -> dict[str, Any]:
    return {name: value for name, value in vars(app.parse_arguments(list(args))).items() if name != "registry"}


@pytest.mark.parametrize(
    "args",
    [
        ["server", "--data", "X", "--bind", ":1", "--workers", "3", "--config", "C", "--json", "run"],
        ["server", "run", "--data", "X", "--bind", ":1", "--workers", "3", "--config", "C", "--json"],
        ["server", "--data", "X", "--workers", "3", "run", "--bind", ":1", "--config", "C", "--json"],
        ["server", "--data", "X", "--bind", ":1", "--workers", "3", "--config", "C", "--json"],
        ["server", "--data", "Y", "run", "--data", "X", "--bind", ":1", "--workers", "3", "--config", "C", "--json"],
    ],
)
def test_options_count_before_and_after_the_verb(args: list[str]) -> None:
    found = parsed(*args)
    assert found.pop("run") is app.cmd_server_run
    assert found == {"data": "X", "bind": ":1", "workers": 3, "runner": None, "config": "C", "json": True}


def test_options_of_all_groups_count_before_and_after_the_verb() -> None:
    for args in (["auth", "--data", "X", "--json", "list"], ["auth", "list", "--data", "X", "--json"]):
        assert (parsed(*args)["data"], parsed(*args)["json"]) == ("X", True)
    assert parsed("server", "--config", "C", "check")["config"] == "C"
    assert parsed("auth", "list")["data"] is None
    assert parsed("server")["run"] is app.cmd_server_run
    assert parsed("server", "check")["json"] is False


def test_data_and_config_say_where_things_are(shell: Shell) -> None:
    shell.write(STARTER, "etc/site.toml")
    shell.run("auth", "--config", "etc/site.toml", "--data", "mine", "issue", "--subject", "a", "--role", "staff")
    assert (shell.folder / "mine" / "keys.json").exists()
    assert (shell.folder / "etc" / "data" / "app.db").exists()
    assert sorted(path.name for path in shell.folder.iterdir()) == ["etc", "mine"]


def test_relative_paths_start_where_app_toml_was_named_even_if_it_is_a_link(shell: Shell) -> None:
    shell.write(STARTER, "real/v1.toml")
    (shell.folder / "site").mkdir()
    (shell.folder / "site" / "app.toml").symlink_to("../real/v1.toml")
    shell.run("auth", "--config", "site/app.toml", "issue", "--subject", "a", "--role", "staff")
    assert (shell.folder / "site" / "data").exists()


def test_a_data_folder_that_is_a_file_is_a_fault_also_where_no_setting_names_it(shell: Shell) -> None:
    shell.write("", "data")
    assert "site.data: must be a folder" in shell.run("auth", "list", code=2)[1]
    assert "site.data: must be a folder" in "".join(shell.run("server", "check", code=2))


def test_the_link_of_a_site_at_a_unix_socket_is_an_address(shell: Shell) -> None:
    provider = '[providers.main]\nkind = "sql"\nurl = "sqlite:///app.db"\n'
    shell.write('[http]\nbind = "unix:/run/satchel.sock"\n[site]\nprefix = "/ops"\n' + provider)
    link = shell.run("auth", "link", "--subject", "a", "--grant", "**:*")[0]
    assert re.fullmatch(r"http://localhost/ops/login/[\w-]+\n", link), link


# ---- standard streams


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_results_are_utf_8_whatever_the_locale(shell: Shell, options: list[str]) -> None:
    ascii_only: Any = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    shell.run("auth", "issue", "--subject", "Zoë", "--grant", "**:*")
    assert "Zoë" in shell.run("auth", "list", *options, **ascii_only)[0]


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-"])
def test_a_closed_stream_is_no_bug(shell: Shell, closed: str) -> None:
    line = f"{sys.executable} -m app auth list {closed}"
    done = subprocess.run(line, shell=True, cwd=shell.folder, env=ENVIRONMENT, capture_output=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_result_that_has_no_room_is_no_bug(shell: Shell) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            compiled("info", "version"), stdout=full, stderr=subprocess.PIPE, cwd=shell.folder, env=ENVIRONMENT, timeout=60
        )
    assert (done.returncode, done.stderr) == (7, b"error: the result cannot be written: the disk is full\n")


# ---- info


@pytest.mark.parametrize("topic", ["resources", "providers", "config", "routes", "systemd", "version"])
def test_every_topic_of_info_is_told_to_people_and_programs(shell: Shell, topic: str) -> None:
    out, err = shell.run("info", topic)
    assert out.strip()
    assert err == ""
    assert shell.json("info", topic)
    assert not (shell.folder / "data").exists()


def test_info_routes_lists_what_each_resource_answers_where(shell: Shell) -> None:
    found = {row["path"]: row["methods"] for row in shell.json("info", "routes")}
    assert found["/forms/requests"] == found["/forms/requests/records"] == "GET POST"
    assert found["/forms/requests/records/ID"] == "GET PUT PATCH DELETE"
    assert found["/files/shared/PATH"] == "GET POST PUT DELETE"
    assert (found["/views/requests"], found["/logout"]) == ("GET POST", "POST")


def test_info_tells_version_resources_and_providers(shell: Shell) -> None:
    found = shell.json("info")
    assert list(found) == ["version", "resources", "providers"]
    assert found["version"]["version"] == app.__version__
    assert {"address": "views/requests", "title": "All requests", "actions": ["read"]} in found["resources"]
    [main, disk] = found["providers"]
    assert (main["contracts"], disk["contracts"]) == (["Records", "Blobs", "Queries"], ["Records", "Blobs"])
    assert main["fault"] == ""
    assert isinstance(main["warnings"], list)
    assert shell.run("info", "version")[0] == f"satchel {app.__version__}\n"


CHATTY = """
import app, logging
class Chatty(app.plugin("file").FileProvider):
    kind = "chatty"
    def find(self, query):
        if query.table == "_sessions":  # not before the server serves
            logging.getLogger("library").info("chatter")
            logging.getLogger("library").warning("trouble")
        return super().find(query)
"""


def test_a_server_does_not_pass_on_the_chatter_of_libraries(shell: Shell, serve: Any) -> None:
    shell.write(CHATTY, "plugins/chatty.py")
    shell.write('[providers.main]\nkind = "chatty"\nroot = "store"\n[http]\naccess_log = true\n')
    server = serve("server", "--bind", "127.0.0.1:0")
    token = shell.run("auth", "issue", "--subject", "ann", "--grant", "**:*")[0].strip()
    asked = urllib.request.Request(server.url + "/admin/sessions", headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(asked, timeout=10) as answer:
        assert answer.status == 200
    _, err, _ = server.stop()
    assert "chatter" not in err
    assert "trouble" in err
    assert '"path":"/admin/sessions"' in err


def test_info_tells_what_providers_can_and_which_are_away(shell: Shell) -> None:
    shell.write(FAR, "plugins/far.py")
    shell.write(FAR_TOML)
    main, away = shell.json("info", "providers")
    assert main["capabilities"] == {
        "atomic": True, "conditional": False, "exact_integers": True, "most_writes": None, "lists": True,
    }  # fmt: skip
    assert main["ping_ms"] >= 0
    assert (away["ping_ms"], away["fault"]) == (None, AWAY)
    assert away["capabilities"]["most_writes"] == 100
    out, err = shell.run("info", "providers")
    assert err == ""
    first, second = out.splitlines()
    assert first.startswith("main  made  Records,Blobs  atomic,no conditional,exact_integers,lists  ")
    assert second == f"away  far  Records,Blobs  atomic,conditional,exact_integers,most_writes=100,lists  {AWAY}"


def test_info_shows_no_secret(shell: Shell) -> None:
    ring = json.dumps({"keys": [{"kid": "k", "k": "A" * 43, "created_at": 1}]})
    shell.write(STARTER + '[auth]\nkeys = "env:RING"\n')
    for args in (["info", "config"], ["info", "config", "--json"], ["info"]):
        assert "AAAA" not in "".join(shell.run(*args, RING=ring))
    assert shell.run("auth", "issue", "--subject", "a", "--role", "staff", RING=ring)[0]
    assert not (shell.folder / "data" / "keys.json").exists()


def test_the_systemd_unit_names_the_files_in_use(shell: Shell) -> None:
    assert "--config" not in shell.run("info", "systemd")[0]
    shell.write(STARTER, "site.toml")
    out, _ = shell.run("info", "systemd", "--config", "site.toml")
    assert f"ExecStart={sys.executable} {PROGRAM} server --config {shell.folder / 'site.toml'}\n" in out
    assert "ExecReload=kill -HUP $MAINPID\n" in out


# ---- a running server


def test_printed_links_begin_with_the_address_that_app_toml_names(shell: Shell, serve: Any) -> None:
    shell.write(STARTER.replace("[site]", '[site]\nurl = "https://intra.example/ops"\nprefix = "/ops"'))
    assert shell.run("auth", "link", "--subject", "a", "--grant", "**:*")[0].startswith("https://intra.example/ops/login/")
    server = serve("server", "--bind", "127.0.0.1:0")
    assert server.lines[0].endswith("/ops/ (app.toml, for people https://intra.example/ops/)\n")
    assert "ten minutes: https://intra.example/ops/login/" in server.line()


def test_a_server_says_where_it_is_and_commands_work_beside_it(shell: Shell, serve: Any) -> None:
    server = serve("server", "--bind", "127.0.0.1:0")
    assert server.lines[0] == f"Our team is at {server.url}/ (the built-in starter)\n"
    assert re.fullmatch(rf"Sign in as administrator within ten minutes: {server.url}/login/[\w-]{{43}}\n", server.line())
    issued = shell.json("auth", "issue", "--subject", "ann", "--role", "staff")
    host, port = server.url.removeprefix("http://").split(":")

    def status(token: str) -> int:
        with socket.create_connection((host, int(port)), timeout=20) as connection:
            lines = ["GET /views/requests HTTP/1.1", f"Host: {host}", f"Authorization: Bearer {token}", "Connection: close"]
            connection.sendall("\r\n".join([*lines, "", ""]).encode())
            return int(connection.makefile("rb").readline().split()[1])

    assert status(issued["token"]) == 200
    shell.run("auth", "revoke", issued["jti"])
    assert status(issued["token"]) == 401
    [old] = shell.json("auth", "keys")
    before = shell.json("auth", "issue", "--subject", "ann", "--grant", "**:read")["token"]
    shell.run("auth", "keys", "rotate")
    after = shell.json("auth", "issue", "--subject", "ann", "--grant", "**:read")["token"]
    assert (status(before), status(after)) == (200, 200)
    shell.run("auth", "keys", "retire", old["kid"])
    assert (status(before), status(after)) == (401, 200)
    assert shell.json("info", "providers")[0]["fault"] == ""
    shell.run("server", "check")
    _, err = shell.run("server", "--bind", "127.0.0.1:0", code=7)
    assert "another server runs on this data folder" in err
    assert server.process.poll() is None
    out, err, code = server.stop()
    assert (out, err, code) == ("", "", 0)


def test_a_server_that_cannot_fork_is_not_said_to_be_a_second_one(tmp_path: Path) -> None:
    with pytest.raises(BlockingIOError, match="no more processes"), app.claim_data(tmp_path / "data"):
        raise BlockingIOError("no more processes")  # as os.fork() does
    with app.claim_data(tmp_path / "data"):
        pass


def test_a_server_starts_while_its_state_is_away(shell: Shell, serve: Any) -> None:
    shell.write(FAR, "plugins/far.py")
    shell.write('[site]\nstate = "away"\n' + FAR_TOML.replace('kind = "made"', 'kind = "file"') +
                '[public]\ngrants = ["forms/ask:create"]\n')  # fmt: skip
    commit = (
        "    def commit(self, writes):\n        raise app.Unavailable('away')\n    get = lambda self, *a: self.commit(a)\n"
    )
    shell.write(FAR.replace("class Made", commit + "class Made"), "plugins/far.py")
    server = serve("server", "--bind", "127.0.0.1:0")
    told = (line for line in iter(server.line, "") if not line.startswith("the jobs of the site wait"))
    assert next(told) == "There is no sign-in link: away\n"
    with urllib.request.urlopen(server.url + "/forms/ask") as answer:
        assert answer.status == 200
    keys = app.KeyRing.load("", shell.folder / "data" / "keys.json")
    auth = app.AuthConfig(keys="", issuer="satchel", session_s=60, session_idle_s=60)
    offices: Any = (keys, None, {}, (), auth, lambda: 0)
    token = app.Authority(*offices).short(app.Token(jti="0" * 32, subject="ann"))
    asked = urllib.request.Request(server.url + "/forms/ask", headers={"Authorization": f"Bearer {token}"})
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(asked)
    assert (caught.value.code, caught.value.headers["Retry-After"]) == (503, "5")
    caught.value.close()


def test_a_server_after_a_killed_one_starts(shell: Shell, serve: Any) -> None:
    serve("server", "run", "--bind", "127.0.0.1:0").process.kill()
    server = serve("server", "run", "--bind", "127.0.0.1:0")
    assert server.stop()[2] == 0


def before_the_fork(folder: Path, what: str) -> list[str]:
    """The words that an expression has before a server forks its workers."""
    code = (
        "import gc, sys; sys.path.insert(0, sys.argv.pop(1)); import app\n"
        f"app.Supervisor.run = lambda self: print(*{what})\n"
        "app.main()"
    )
    line = [sys.executable, "-c", code, str(Path(app.__file__).parent), "server", "--bind", "127.0.0.1:0"]
    return subprocess.run(line, capture_output=True, text=True, cwd=folder, check=True).stdout.split()


def test_what_a_worker_needs_is_loaded_before_it_is_forked_and_so_of_the_version_that_runs(tmp_path: Path) -> None:
    said = before_the_fork(tmp_path, "[name for name in sys.modules if name.startswith('satchel_plugin_')]")
    needed = ("pages", "cells", "controls", "held_files", "jobs", "locale", "metrics", "sql_files", "sql_records", "sweeps")
    assert {f"satchel_plugin_{name}" for name in needed} <= set(said)


def test_no_worker_looks_for_garbage_in_what_was_made_for_all(tmp_path: Path) -> None:
    frozen, others = map(int, before_the_fork(tmp_path, "[gc.get_freeze_count(), len(gc.get_objects())]"))
    assert frozen > 100 * others
