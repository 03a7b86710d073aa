"""docs/security.md: its table names tests that there are; and tests of what nothing else in tests/ holds."""

from __future__ import annotations

import ast
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from http_client import PAGE, ROOT, Site
from test_route_matrix import DOORS, OWN_PATHS, Callers, Operation, ask, edited, operations, own_operations

import app

# The requirements of OWASP ASVS 5.0.0 (May 2025) of level 1, and of level 2 those of the chapters V6 and V7.
FIRST = """
1.2.1 1.2.2 1.2.3 1.2.4 1.2.5 1.3.1 1.3.2 1.5.1 2.1.1 2.2.1 2.2.2 2.3.1 3.2.1 3.2.2 3.3.1 3.4.1 3.4.2 3.5.1 3.5.2 3.5.3
4.1.1 4.4.1 5.2.1 5.2.2 5.3.1 5.3.2 6.1.1 6.2.1 6.2.2 6.2.3 6.2.4 6.2.5 6.2.6 6.2.7 6.2.8 6.3.1 6.3.2 6.4.1 6.4.2 7.2.1
7.2.2 7.2.3 7.2.4 7.4.1 7.4.2 8.1.1 8.2.1 8.2.2 8.3.1 9.1.1 9.1.2 9.1.3 9.2.1 10.4.1 10.4.2 10.4.3 10.4.4 10.4.5 11.3.1
11.3.2 11.4.1 12.1.1 12.2.1 12.2.2 13.4.1 14.2.1 14.3.1 15.1.1 15.2.1 15.3.1
"""
SECOND = """
6.1.2 6.1.3 6.2.9 6.2.10 6.2.11 6.2.12 6.3.3 6.3.4 6.4.3 6.4.4 6.5.1 6.5.2 6.5.3 6.5.4 6.5.5 6.6.1 6.6.2 6.6.3 6.8.1
6.8.2 6.8.3 6.8.4 7.1.1 7.1.2 7.1.3 7.3.1 7.3.2 7.4.3 7.4.4 7.4.5 7.5.1 7.5.2 7.6.1 7.6.2
"""
REQUIRED = dict.fromkeys(FIRST.split(), "1") | dict.fromkeys(SECOND.split(), "2")
SOURCES = [ROOT / "app.py", *sorted((ROOT / "plugins").glob("*.py"))]


# ---- the table


def rows() -> list[list[str]]:
    text = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    found = re.findall(r"^\| ([0-9]+\.[0-9]+\.[0-9]+) \| ([123]) \| (.*?) \| (.*) \|$", text, re.MULTILINE)
    return [list(row) for row in found]


def test_the_table_has_each_requirement_once_at_its_level() -> None:
    assert [(number, level) for number, level, _, _ in rows()] == sorted(
        REQUIRED.items(), key=lambda one: [int(part) for part in one[0].split(".")]
    )


def test_each_requirement_names_tests_that_there_are_or_says_why_none_holds_it() -> None:
    known = {
        name
        for path in (ROOT / "tests").glob("test_*.py")
        for name in re.findall(r"^def (test_\w+)", path.read_text(), re.M)
    }
    for number, _, words, held in rows():
        named = re.findall(r"`(test_\w+)`", held)
        assert len(words) > 5, number
        assert [name for name in named if name not in known] == [], number
        if not named:
            assert re.match(r"(does not apply|not held[^:]*): .{5,}", held), number


# ---- what the program is made of


def calls(tree: ast.AST) -> Iterator[ast.Call]:
    yield from (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def dotted(node: ast.AST) -> str:
    """What is called, as it is written: `os.system`; "" where it is no name."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def is_safe_xml(node: ast.ImportFrom, tree: ast.AST) -> bool:
    """Whether what is imported from xml can only make it, or reads it with a parser that refuses a document type. Others
    follow entities."""
    makes = {"Element", "SubElement", "TreeBuilder", "tostring", "indent"}
    if node.module == "xml.parsers.expat":
        refuses = {
            each.attr for each in ast.walk(tree) if isinstance(each, ast.Attribute) and isinstance(each.ctx, ast.Store)
        }
        return {"StartDoctypeDeclHandler", "EntityDeclHandler"} <= refuses
    names = {alias.asname or alias.name for alias in node.names}
    used = {
        each.attr for each in ast.walk(tree)
        if isinstance(each, ast.Attribute) and isinstance(each.value, ast.Name) and each.value.id == "ElementTree"
    }  # fmt: skip
    if node.module == "xml.etree":
        return names == {"ElementTree"} and used <= makes
    return node.module == "xml.etree.ElementTree" and names <= makes


def test_the_program_runs_no_text_as_code_and_no_shell() -> None:
    for path in SOURCES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        imported = {
            alias.name.partition(".")[0] for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names
        }
        named = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
        modules = [(str(node.module).partition(".")[0], node) for node in named]
        imported |= {name for name, node in modules if name != "xml" or not is_safe_xml(node, tree)}
        assert not imported & {"pickle", "marshal", "shelve", "xml", "yaml", "pty", "commands"}, path
        for call in calls(tree):
            name = dotted(call.func)
            assert name not in ("eval", "exec", "os.system", "os.popen", "subprocess.getoutput"), (path, call.lineno)
            assert not any(word.arg == "shell" for word in call.keywords), (path, call.lineno)


def test_no_weak_hash_protects_anything() -> None:
    """MD5 is the ETag that S3 gives a file of one part, and SHA-1 is nowhere."""
    for path in SOURCES:
        for call in calls(ast.parse(path.read_text(encoding="utf-8"))):
            if dotted(call.func) in ("hashlib.md5", "hashlib.sha1", "hashlib.new"):
                assert "usedforsecurity=False" in ast.unparse(call), (path, call.lineno)


def test_the_archive_holds_no_folder_of_version_control() -> None:
    program = ROOT / "dist" / "app.pyz"
    if not program.exists():
        pytest.skip("needs dist/app.pyz, which is not built: ./build.sh build")
    with zipfile.ZipFile(program) as archive:
        assert [name for name in archive.namelist() if re.search(r"(^|/)\.(git|svn|hg)(/|$)", name)] == []


def test_the_script_makes_no_page_of_text_and_keeps_nothing_in_the_browser() -> None:
    script = (ROOT / "static" / "app.js").read_text(encoding="utf-8")
    assert not re.search(r"\b(localStorage|sessionStorage|indexedDB|caches|serviceWorker)\b", script)
    assert not re.search(r"\b(eval|Function)\s*\(|document\.write|insertAdjacentHTML|outerHTML\s*=", script)


# ---- answers


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder: Path = tmp_path_factory.mktemp("security")
    (folder / "security_program.py").write_text(
        "def application(environ, start_response):\n"
        "    start_response('200 OK', [('Content-Type', 'text/plain; charset=utf-8')])\n"
        "    return [b'program']\n"
    )
    made = Site(folder, edit=lambda text: edited(text).replace("matrix_program", "security_program"))
    made.app.state.commit([app.Insert("_people", "bo", {"subject": "bo", "grants": ["**:*"]})])
    yield made
    made.close()


@pytest.fixture(scope="module")
def root(site: Site) -> str:
    return Callers(site).token("**:*")


def everything(site: Site, root: str) -> Iterator[tuple[str, Any]]:
    """An answer to each method of each route, to a stranger and to somebody who may do everything, at each door."""
    targets = [Operation(method, target.removeprefix("/"), "") for method, _, target in own_operations(site)]
    for one in [*operations(site), *targets]:
        for headers in DOORS.values():
            for token in ("", root):
                yield str(one), ask(site, one, token, headers)


def test_every_answer_with_a_body_says_its_type_and_texts_their_charset(site: Site, root: str) -> None:
    wrong = []
    for what, reply in everything(site, root):
        kind = reply["Content-Type"]
        is_told = re.match(
            r"(text/.*|image/svg\+xml); *charset=utf-8$|application/[\w.+-]+|image/|font/", kind, re.IGNORECASE
        )
        if reply.body and not is_told:
            wrong.append((what, kind))
    assert wrong == []


def test_no_answer_lets_another_origin_read_it(site: Site, root: str) -> None:
    for one in operations(site):
        for method in ("GET", "OPTIONS"):
            reply = site.ask(method, f"/{one.address}", None, {"Origin": "https://evil.example"}, root)
            assert not [name for name, _ in reply.headers if name.lower().startswith("access-control-")], one


def test_reading_methods_change_nothing(site: Site, root: str) -> None:
    def stored() -> Any:
        rows = {}
        for table in (*site.app.needed()["main"], "papers"):
            for row in site.app.state.walk(app.Query(table)):
                rows[table, row.key] = {name: one for name, one in row.value.items() if name != "used_at"}
        return rows

    asked = [one for one in operations(site) if one.method in ("GET", "HEAD") and one.inside[:3] != "app"]
    asked += [
        Operation(method, path.removeprefix("/"), "")
        for method, _, path in own_operations(site)
        if method in ("GET", "HEAD")
    ]
    for one in asked:
        ask(site, one, root, PAGE)
    before = stored()
    for one in asked:
        for headers in DOORS.values():
            ask(site, one, root, headers)
            assert stored() == before, one


def test_every_page_of_whoever_is_signed_in_has_a_button_to_sign_out(site: Site, root: str) -> None:
    cookie = site.sign_in(root)
    pages = 0
    targets = [f"/{one.address}" for one in operations(site) if one.method == "GET"]
    targets += [re.sub("<.*?>", "x", path) for path in OWN_PATHS if not path.startswith(("/log", "/static", "/s/"))]
    for target in targets:
        reply = site.ask("GET", target, None, PAGE, cookie)
        if reply["Content-Type"].startswith("text/html"):
            pages += 1
            assert 'action="/logout"' in reply.text, target
    assert pages > 20


def test_secrets_are_typed_into_masked_fields_that_password_managers_know(site: Site) -> None:
    login = site.get("/login", Accept=PAGE["Accept"]).text
    fields = re.findall(r"<input[^>]*>", login)
    [password] = [one for one in fields if 'name="password"' in one]
    assert 'type="password"' in password
    assert 'autocomplete="current-password"' in password
    assert any('name="subject"' in one and 'autocomplete="username"' in one for one in fields)
    assert "onpaste" not in login
    [token] = [one for one in fields if 'name="token"' in one]
    assert 'type="password"' in token
    people = site.app.resources["admin/people"]
    link = "/login/" + str(site.app.office.link(app.Caller("test"), "bo")) if people else ""
    page = site.get(
        "/me", site.submit(link.rpartition("/")[0], {"code": link.rpartition("/")[2]}).cookie, Accept=PAGE["Accept"]
    ).text
    mine = [one for one in re.findall(r"<input[^>]*>", page) if re.search(r'name="(old|new|again)"', one)]
    assert len(mine) >= 2
    assert all('type="password"' in one and "-password" in one for one in mine)
