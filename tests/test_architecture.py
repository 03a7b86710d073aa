"""Holds app.py and the plugins to their headings and sizes, by reading them with `ast` and never importing them.

A rule is a function from source text to a list of what breaks it. Each test first shows that its rule accepts a small
good text and catches a bad one, so that none can pass by looking at nothing, and then asks it about the real files.
"""

from __future__ import annotations

import ast
import builtins
import re
import statistics
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import TypeGuard

import pytest

ROOT = Path(__file__).parent.parent
APP = (ROOT / "app.py").read_text(encoding="utf-8")
PLUGINS = {path.name: path.read_text(encoding="utf-8") for path in sorted((ROOT / "plugins").glob("[!_]*.py"))}

HEADING = re.compile(r"^# ==== (\d+)\. ([A-Z]+) =+$")
CONTENTS = re.compile(r"^ *(\d+) ([A-Z]+)  +\S")
CHARTER_LINES = range(1, 4)
APART = {"RUNNERS", "AUTH", "RESOURCES", "PROVIDERS"}
MODULE_HOMES = {
    "bottle": "RUNNERS",
    "boto3": "plugins/aws.py",
    "botocore": "plugins/aws.py",
    "sqlite3": "PROVIDERS",
    "hmac": "AUTH",
}
SQS_WORDS = {
    *("receive_message", "delete_message", "delete_message_batch", "send_message", "send_message_batch"),
    *("change_message_visibility", "change_message_visibility_batch", "get_queue_attributes", "get_queue_url"),
    *("ReceiptHandle", "QueueUrl", "VisibilityTimeout", "StringValue", "RedrivePolicy", "ApproximateReceiveCount"),
}
PRINTERS = {"COMMANDS", "MAIN"}
LONGEST_FUNCTION, MEDIAN_FUNCTION = 60, 8
LONGEST_CLASS, MOST_METHODS = 450, 40
LONGEST_PLUGIN, MANY_FUNCTIONS = 1400, 20
# Lines and bytes that app.py may have, and lines of each section.
MOST_LINES, MOST_BYTES = 10_300, 490_000
BUDGETS = {
    **{"head": 95, "ERRORS": 220, "VALUES": 620, "CONFIG": 850, "CONTRACTS": 480, "RUNNERS": 2900, "AUTH": 750},
    **{"RESOURCES": 1300, "PROVIDERS": 1350, "PLUGINS": 130, "ASSEMBLY": 900, "COMMANDS": 600, "MAIN": 60},
}
ALL_BUDGETS = {"lines": MOST_LINES, "bytes": MOST_BYTES} | BUDGETS

Rule = Callable[[str], list[str]]
Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
Scope = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda


# ---- reading ----


@dataclass(eq=False)
class Section:
    number: int
    name: str
    charter: list[str]
    uses: list[str] | None
    defines: list[str] | None
    body: list[ast.stmt]

    @cached_property
    def names(self) -> list[str]:
        """What it binds at top level, in order, as often as it does."""
        return [name for statement in self.body for name in bound_at_top(statement)]

    @cached_property
    def nodes(self) -> list[ast.AST]:
        return [node for statement in self.body for node in ast.walk(statement)]


@cache
def parsed(source: str) -> ast.Module:
    return ast.parse(source)


@cache
def walked(source: str) -> list[ast.AST]:
    """Every node of it."""
    return list(ast.walk(parsed(source)))


@cache
def sections(source: str) -> list[Section]:
    lines = source.splitlines()
    starts = [at for at, line in enumerate(lines, 1) if HEADING.match(line)]
    statements = parsed(source).body
    found = []
    for start, end in zip(starts, [*starts, len(lines) + 1][1:], strict=True):
        match = HEADING.match(lines[start - 1])
        assert match
        charter, uses, defines = heading_parts(lines[start : end - 1])
        body = [statement for statement in statements if start < statement.lineno < end]
        found.append(Section(int(match[1]), match[2], charter, uses, defines, body))
    return found


def heading_parts(lines: list[str]) -> tuple[list[str], list[str] | None, list[str] | None]:
    """The charter's lines, the words after `# uses:` and those after `# defines:`; None where there is no such line."""
    charter: list[str] = []
    words: dict[str, list[str]] = {}
    current = ""
    for line in lines:
        if not line.startswith("#"):
            break
        if match := re.match(r"^# (uses|defines):(.*)$", line):
            current = match[1]
            words[current] = match[2].split()
        elif current:
            words[current] += line[1:].split()
        else:
            charter.append(line[1:].strip())
    uses, defines = words.get("uses"), words.get("defines")
    return charter, [] if uses == ["nothing"] else uses, defines


def bound_at_top(statement: ast.stmt) -> Iterator[str]:
    """Names that a top-level statement binds, imports apart; a repeated @overload counts once."""
    match statement:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            if not is_overload(statement):
                yield name
        case ast.Assign(targets=targets):
            yield from (node.id for target in targets for node in ast.walk(target) if is_store(node))
        case ast.AnnAssign(target=ast.Name(id=name)):
            yield name
        case ast.If() | ast.Try() | ast.With() | ast.For():
            for inner in ast.iter_child_nodes(statement):
                for child in inner.body if isinstance(inner, ast.ExceptHandler) else [inner]:
                    if isinstance(child, ast.stmt):
                        yield from bound_at_top(child)


def is_store(node: ast.AST) -> TypeGuard[ast.Name]:
    return isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)


def is_overload(node: Definition) -> bool:
    return any(isinstance(each, ast.Name) and each.id == "overload" for each in node.decorator_list)


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


@cache
def references(section: Section) -> list[tuple[str, int]]:
    """Every name that is read, with its line; words in quoted annotations and casts count too."""
    found = []
    for node in section.nodes:
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Store):
            found.append((node.id, node.lineno))
        for quoted in quoted_types(node):
            inside = ast.walk(ast.parse(quoted, mode="eval"))
            found += [(inner.id, getattr(node, "lineno", 0)) for inner in inside if isinstance(inner, ast.Name)]
    return found


def quoted_types(node: ast.AST) -> Iterator[str]:
    places: list[ast.AST | None] = []
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            places = [node.returns]
        case ast.arg() | ast.AnnAssign():
            places = [node.annotation]
        case ast.Call(func=ast.Name(id="cast"), args=[first, *_]):
            places = [first]
    for place in places:
        if place is not None and not has_literal(place):
            yield from texts(place)


def has_literal(place: ast.AST) -> bool:
    return any(isinstance(node, ast.Name) and node.id == "Literal" for node in ast.walk(place))


def texts(place: ast.AST) -> Iterator[str]:
    yield from (node.value for node in ast.walk(place) if isinstance(node, ast.Constant) and isinstance(node.value, str))


def imported(nodes: Iterable[ast.AST]) -> Iterator[tuple[str, str, int]]:
    """(root module, name it is bound to, line) for every import among the nodes."""
    for node in nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name.partition(".")[0], alias.asname or alias.name.partition(".")[0], node.lineno
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield (node.module or "").partition(".")[0], alias.asname or alias.name, node.lineno


def functions(source: str) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [node for node in walked(source) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    return (function.end_lineno or function.lineno) - function.lineno + 1


# ---- rules ----


def numbering(source: str) -> list[str]:
    """Numbered from 1 in order; nothing that looks like a heading is anything else."""
    alike = [line for line in source.splitlines() if re.match(r"^#\s*==", line)]
    bad = [f"not a heading: {line}" for line in alike if not HEADING.match(line)]
    numbers = [section.number for section in sections(source)]
    if not numbers or numbers != list(range(1, len(numbers) + 1)):
        bad.append(f"numbered {numbers}")
    return bad


def headings(source: str) -> list[str]:
    bad = []
    for section in sections(source):
        if len(section.charter) not in CHARTER_LINES:
            bad.append(f"{section.name}: a charter of 1 to 3 lines, not {len(section.charter)}")
        if section.uses is None:
            bad.append(f"{section.name}: no `# uses:` line")
        if section.defines is None:
            bad.append(f"{section.name}: no `# defines:` line")
    return bad


def definitions(source: str) -> list[str]:
    """`# defines:` lists the public names in order; private ones may be left out."""
    bad = []
    for section in sections(source):
        listed = section.defines or []
        real = list(dict.fromkeys(name for name in section.names if name in listed or not is_private(name)))
        missing = [f"{section.name} defines {name} and does not list it" for name in real if name not in listed]
        missing += [f"{section.name} lists {name} and does not define it" for name in listed if name not in real]
        swapped = [(ours, theirs) for ours, theirs in zip(real, listed, strict=False) if ours != theirs]
        bad += missing or [f"{section.name} defines {ours} where it lists {theirs}" for ours, theirs in swapped[:1]]
    return bad


def once_only(source: str) -> list[str]:
    seen: set[str] = set()
    bad = []
    for name in [name for statement in parsed(source).body for name in bound_at_top(statement)]:
        if name in seen:
            bad.append(f"{name} is defined twice")
        seen.add(name)
    return bad


def homeless(source: str) -> list[str]:
    """Above the first heading stand the docstring, imports (and what stands in for a missing one) and the version."""
    allowed = {"__version__"} | {name for _, name, _ in imported(walked(source))}
    inside = {statement.lineno for section in sections(source) for statement in section.body}
    return [
        f"{name} is defined above the first section"
        for statement in parsed(source).body
        if statement.lineno not in inside
        for name in bound_at_top(statement)
        if name not in allowed
    ]


def uses_are_above(source: str) -> list[str]:
    above: set[str] = set()
    bad = []
    for section in sections(source):
        bad += [f"{section.name} uses {name}, which is not above it" for name in section.uses or [] if name not in above]
        above.add(section.name)
    return bad


def references_are_declared(source: str) -> list[str]:
    found = sections(source)
    home = {name: section.name for section in found for name in section.names}
    return [
        f"line {line}: {section.name} refers to {name} of {home[name]} and does not use that"
        for section in found
        for name, line in references(section)
        if name in home and home[name] != section.name and home[name] not in (section.uses or [])
    ]


def uses_are_used(source: str) -> list[str]:
    found = sections(source)
    home = {name: section.name for section in found for name in section.names}
    bad = []
    for section in found:
        reached = {home[name] for name, _ in references(section) if name in home}
        if section.body:
            bad += [f"{section.name} says it uses {name} and does not" for name in section.uses or [] if name not in reached]
    return bad


def references_are_known(source: str) -> list[str]:
    """Every name that is read is defined here, imported, bound in a function, or a builtin."""
    nodes = walked(source)
    known = {name for section in sections(source) for name in section.names} | {name for _, name, _ in imported(nodes)}
    known |= {name for name, _ in local_names(nodes)} | set(dir(builtins)) | {"__file__", "__version__"}
    known |= {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    return [
        f"line {line}: {section.name} refers to {name}, which is nowhere defined"
        for section in sections(source)
        for name, line in references(section)
        if name not in known
    ]


def private_stays_home(source: str) -> list[str]:
    found = sections(source)
    home = {name: section.name for section in found for name in section.names if is_private(name)}
    return [
        f"line {line}: {section.name} refers to {name}, private to {home[name]}"
        for section in found
        for name, line in references(section)
        if home.get(name, section.name) != section.name
    ]


def kept_apart(source: str) -> list[str]:
    return [
        f"{section.name} uses {name}; they meet in ASSEMBLY"
        for section in sections(source)
        if section.name in APART
        for name in section.uses or []
        if name in APART
    ]


def shadowing(source: str) -> list[str]:
    """No parameter or local of a function has the name of something at top level."""
    tree = parsed(source)
    taken = {name for statement in tree.body for name in bound_at_top(statement)}
    taken |= {name for statement in tree.body for _, name, _ in imported_at_top(statement)}
    return [f"line {line}: {name} hides the one at top level" for name, line in local_names(walked(source)) if name in taken]


def imported_at_top(statement: ast.stmt) -> Iterator[tuple[str, str, int]]:
    if not isinstance(statement, Definition):
        yield from imported(ast.walk(statement))


def local_names(nodes: Iterable[ast.AST]) -> Iterator[tuple[str, int]]:
    """(name, line) of what functions, lambdas and comprehensions bind; attributes of a class are not among them."""
    for scope in nodes:
        if isinstance(scope, Scope):
            yield from ((arg.arg, arg.lineno) for arg in ast.walk(scope.args) if isinstance(arg, ast.arg))
        if isinstance(scope, ast.comprehension):
            yield from ((node.id, node.lineno) for node in ast.walk(scope.target) if isinstance(node, ast.Name))
        if isinstance(scope, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from bound_in(scope)


def bound_in(function: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[tuple[str, int]]:
    outer = {name for node in ast.walk(function) if isinstance(node, ast.Global) for name in node.names}
    for node in own_nodes(function):
        match node:
            case ast.Name(id=name, ctx=ast.Store()) if name not in outer:
                yield name, node.lineno
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name, node.lineno
            case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
                yield name, node.lineno
            case ast.Import() | ast.ImportFrom():
                yield from ((name, line) for _, name, line in imported([node]))


def own_nodes(function: ast.AST) -> Iterator[ast.AST]:
    """What is inside a function and not inside a function or class in it."""
    for child in ast.iter_child_nodes(function):
        yield child
        if not isinstance(child, Definition):
            yield from own_nodes(child)


def printing(source: str) -> list[str]:
    return [
        f"line {line}: {section.name} prints"
        for section in sections(source)
        if section.name not in PRINTERS
        for name, line in references(section)
        if name == "print"
    ]


def modules_at_home(source: str) -> list[str]:
    """Each module of MODULE_HOMES is imported at the top or at home, and what it gives is named at home alone."""
    bad = []
    aliases = {name: module for module, name, _ in imported(walked(source)) if module in MODULE_HOMES}
    for section in sections(source):
        here = [(module, line) for module, _, line in imported(section.nodes)]
        here += [(aliases[name], line) for name, line in references(section) if name in aliases]
        bad += [
            f"line {line}: {section.name} uses {module}, which belongs to {MODULE_HOMES[module]}"
            for module, line in here
            if MODULE_HOMES.get(module, section.name) != section.name
        ]
    return bad


def sqs_at_home(source: str) -> list[str]:
    """app.py knows queues, and SQS is in plugins/sqs.py."""
    bad = []
    for section in sections(source):
        for node in section.nodes:
            if sqs_word(node) in SQS_WORDS or is_sqs_client(node):
                bad.append(f"line {node.lineno}: {section.name} speaks SQS")  # type: ignore[attr-defined]
    return bad


def sqs_word(node: ast.AST) -> str:
    match node:
        case ast.Attribute(attr=word) | ast.keyword(arg=str(word)) | ast.Constant(value=str(word)):
            return word
    return ""


def is_sqs_client(node: ast.AST) -> bool:
    match node:
        case ast.Call(func=ast.Attribute(attr="client" | "resource"), args=[ast.Constant(value="sqs"), *_]):
            return True
    return False


def function_lengths(source: str) -> list[str]:
    return [
        f"line {each.lineno}: {each.name} has {length(each)} lines, more than {LONGEST_FUNCTION}"
        for each in functions(source)
        if length(each) > LONGEST_FUNCTION
    ]


def median_length(source: str) -> list[str]:
    median = statistics.median(length(each) for each in functions(source))
    return [f"the median function has {median} lines, more than {MEDIAN_FUNCTION}"] if median > MEDIAN_FUNCTION else []


def class_sizes(source: str) -> list[str]:
    bad = []
    for node in walked(source):
        if isinstance(node, ast.ClassDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            methods = sum(isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef) for each in node.body)
            if lines > LONGEST_CLASS or methods > MOST_METHODS:
                bad.append(f"{node.name} has {lines} lines and {methods} methods")
    return bad


def sizes(source: str) -> dict[str, int]:
    """Lines and bytes of app.py, and lines of its head and of each section."""
    lines = source.splitlines()
    starts = [at for at, line in enumerate(lines) if HEADING.match(line)]
    ends = [*starts, len(lines)][1:]
    found = {section.name: end - start for section, start, end in zip(sections(source), starts, ends, strict=True)}
    return {"lines": len(lines), "bytes": len(source.encode()), "head": starts[0]} | found


def budgets(source: str) -> list[str]:
    return [
        f"{name}: {size}, more than {ALL_BUDGETS[name]}" for name, size in sizes(source).items() if size > ALL_BUDGETS[name]
    ]


def length_of_plugin(source: str) -> list[str]:
    count = len(source.splitlines())
    return [f"it has {count} lines, more than {LONGEST_PLUGIN}"] if count > LONGEST_PLUGIN else []


def median_of_plugin(source: str) -> list[str]:
    """A median of a few functions says nothing about them."""
    return median_length(source) if len(functions(source)) >= MANY_FUNCTIONS else []


def without_kinds(source: str) -> str:
    """A plugin with the kinds (Provider:file) taken out of its headings, which then list names as app.py's do."""
    return re.sub(
        r"^(# defines:|#          ).*$", lambda line: re.sub(r" [A-Z]\w+:\S+", "", line[0]), source, flags=re.MULTILINE
    )


def definitions_of_plugin(source: str) -> list[str]:
    return definitions(without_kinds(source))


def uses_of_plugin(source: str) -> list[str]:
    """`# uses:` names the sections of app.py that a plugin takes names from, its own sections above, and the plugins that
    it builds on as plugin:NAME. It takes no private name of app.py."""
    own = {section.name for section in sections(source)}
    taken = [*names_from_app(source).values(), *attributes_of_app(walked(source))]
    bad = [f"app.{name} is private" for name in taken if is_private(name)]
    bad += [f"{name} is a section of app.py too" for name in own & {section.name for section in sections(APP)}]
    above: set[str] = set()
    for section in sections(source):
        listed, reached = set(section.uses or []), reached_by(section, source)
        bad += [f"{section.name} uses {name} and does not say so" for name in sorted(reached - listed)]
        bad += [f"{section.name} says it uses {name} and does not" for name in sorted(listed - reached)]
        bad += [f"{section.name} uses {name}, which is not above it" for name in sorted((listed & own) - above)]
        above.add(section.name)
    return bad


def reached_by(section: Section, source: str) -> set[str]:
    """What belongs in the `# uses:` of a plugin's section. `app.plugin` itself is said by plugin:NAME."""
    in_app = sections_of_app()
    origin = {name: each.name for each in sections(source) for name in each.names if each.name != section.name}
    origin |= {alias: in_app[name] for alias, name in names_from_app(source).items() if name in in_app}
    origin |= plugins_at_top(source)
    reached = {origin[name] for name, _ in references(section) if name in origin}
    reached |= {in_app[name] for name in attributes_of_app(section.nodes) if name in in_app}
    return reached | {f"plugin:{name}" for name in plugins_called(section.nodes)}


@cache
def sections_of_app() -> dict[str, str]:
    """In which section of app.py each name is."""
    return {name: each.name for each in sections(APP) for name in each.names if name != "plugin"}


def names_from_app(source: str) -> dict[str, str]:
    """What `from app import …` binds, and its name in app.py."""
    nodes = [node for node in walked(source) if isinstance(node, ast.ImportFrom) and node.module == "app"]
    return {alias.asname or alias.name: alias.name for node in nodes for alias in node.names}


def attributes_of_app(nodes: Iterable[ast.AST]) -> Iterator[str]:
    for node in nodes:
        match node:
            case ast.Attribute(value=ast.Name(id="app"), attr=name):
                yield name


def plugins_called(nodes: Iterable[ast.AST]) -> list[str]:
    """NAME of each plugin("NAME")."""
    found = []
    for node in nodes:
        match node:
            case ast.Call(func=ast.Name(id="plugin") | ast.Attribute(attr="plugin"), args=[ast.Constant(value=str(name))]):
                found.append(name)
    return found


def plugins_at_top(source: str) -> dict[str, str]:
    """The names above a plugin's first section that stand for another plugin or for what is in it."""
    origin: dict[str, str] = {}
    for node in walked(source):
        match node:
            case ast.ImportFrom(module="plugins", names=aliases):
                origin |= {alias.asname or alias.name: f"plugin:{alias.name}" for alias in aliases}
            case ast.ImportFrom(module=str(module), names=aliases) if module.startswith("plugins."):
                origin |= {alias.asname or alias.name: f"plugin:{module.partition('.')[2]}" for alias in aliases}
            case ast.Assign(targets=[ast.Name(id=alias)], value=ast.Call()) if called := plugins_called(ast.walk(node)):
                origin[alias] = f"plugin:{called[0]}"
    return origin


def table_of_contents(source: str) -> list[str]:
    """The module docstring has one line a section, in order: ` 5 RUNNERS     what it does`."""
    text = ast.get_docstring(parsed(source), clean=False) or ""
    listed = [(int(match[1]), match[2]) for line in text.splitlines() if (match := CONTENTS.match(line))]
    real = [(section.number, section.name) for section in sections(source)]
    return [] if listed == real else [f"the docstring lists {listed}, the file has {real}"]


def bare_excepts(source: str) -> list[str]:
    nodes = [node for node in walked(source) if isinstance(node, ast.ExceptHandler)]
    return [f"line {node.lineno}: except without a class" for node in nodes if node.type is None]


def asserts(source: str) -> list[str]:
    nodes = [node for node in walked(source) if isinstance(node, ast.Assert)]
    return [f"line {node.lineno}: assert is gone under python -O" for node in nodes]


# ---- tests ----

GOOD = '''"""A small text that keeps every rule.

 1 ERRORS      what is raised
 2 RUNNERS     transports
 3 AUTH        tokens
 4 COMMANDS    the command line
"""

import hmac
import json
from typing import cast

import bottle

__version__ = "1"

# ==== 1. ERRORS ====
# What is raised on purpose.
# uses: nothing
# defines: LIMIT
#          Broken


LIMIT = 3
_hidden = 4


class Broken(Exception):
    limit = LIMIT + _hidden


# ==== 2. RUNNERS ====
# Transports.
# uses: ERRORS
# defines: serve


def serve(port: int) -> "Broken":
    try:
        bottle.run(port=port)
    except OSError as error:
        raise Broken from error
    return Broken([item for item in ("sqs",)])


# ==== 3. AUTH ====
# Signs.
# uses: ERRORS
# defines: sign


def sign(key: bytes) -> str:
    client = hmac.new(key, digestmod="sha256")
    if not key:
        raise Broken
    return cast("str", json.dumps(client.hexdigest()))


# ==== 4. COMMANDS ====
# The command line.
# uses: RUNNERS
# defines: command


def command() -> None:
    print(serve(1))
'''


@pytest.fixture(scope="module", autouse=True)
def _forgotten_trees() -> Iterator[None]:
    """They are large, and whoever looks for garbage later would go through them."""
    yield
    for kept in (parsed, walked, sections, references, sections_of_app):
        kept.cache_clear()


def check(rule: Rule, *bad: tuple[str, str]) -> None:
    """`bad` are edits of GOOD that the rule has to notice, each by itself."""
    assert rule(GOOD) == []
    for old, new in bad:
        assert old in GOOD, f"the edit of {old!r} edits nothing"
        assert rule(GOOD.replace(old, new)), f"{rule.__name__} does not notice {new!r}"
    assert rule(APP) == []


def test_sections_are_numbered_in_order() -> None:
    check(numbering, ("2. RUNNERS", "3. RUNNERS"), ("# ==== 3.", "# === 3."), ("1. ERRORS =", "1. Errors ="))


def test_each_heading_has_a_charter_its_uses_and_its_definitions() -> None:
    check(
        headings,
        ("# Transports.\n", ""),
        ("# Transports.\n", "# One.\n# Two.\n# Three.\n# Four.\n"),
        ("# uses: RUNNERS\n", ""),
        ("# defines: sign\n", ""),
    )


def test_each_section_defines_exactly_what_its_heading_lists_in_order() -> None:
    check(
        definitions,
        ("# defines: sign", "# defines: sign verify"),
        ("def command", "OTHER = 1\n\n\ndef command"),
        ("def command", "if sign:\n    OTHER = 1\n\n\ndef command"),
        ("LIMIT\n#          Broken", "Broken\n#          LIMIT"),
    )


def test_no_name_is_defined_twice() -> None:
    check(once_only, ("def sign", "def serve"), ("_hidden = 4", "LIMIT = 4"))


def test_only_imports_and_the_version_stand_above_the_first_section() -> None:
    check(homeless, ('__version__ = "1"', '__version__ = "1"\nOTHER = 2'))


def test_sections_use_only_sections_above_them() -> None:
    check(uses_are_above, ("# uses: nothing", "# uses: AUTH"), ("# uses: RUNNERS", "# uses: COMMANDS"))


def test_sections_refer_only_to_sections_that_they_declare() -> None:
    check(
        references_are_declared,
        ("print(serve(1))", "print(LIMIT)"),
        ("command() -> None", "command() -> Broken"),
        ("command() -> None", 'command() -> "list[Broken]"'),
        ("def command", "@sign\ndef command"),
        ("# uses: ERRORS\n# defines: sign", "# uses: nothing\n# defines: sign"),
    )


def test_sections_declare_only_what_they_refer_to() -> None:
    check(uses_are_used, ("# uses: RUNNERS", "# uses: RUNNERS AUTH"))


def test_every_name_that_is_read_exists() -> None:
    check(references_are_known, ("serve(1)", "sevre(1)"), ('-> "Broken"', '-> "Borken"'))


def test_private_names_stay_in_their_section() -> None:
    check(private_stays_home, ("if not key", "if _hidden"), ("raise Broken\n", "raise Broken(_hidden)\n"))


def test_runners_auth_resources_and_providers_never_use_each_other() -> None:
    check(kept_apart, ("# uses: ERRORS\n# defines: sign", "# uses: ERRORS RUNNERS\n# defines: sign"))


def test_no_local_name_hides_one_at_top_level() -> None:
    check(
        shadowing,
        ("key: bytes", "serve: bytes"),
        ("client =", "command ="),
        ("client =", "json ="),
        ("item for item", "sign for sign"),
        ("OSError as error", "OSError as hmac"),
        ("if not key:", "if command := key:"),
        ("if not key:", "import json\n    if not key:"),
        ("if not key:", "if (lambda command: key)(1):"),
    )


def test_only_commands_and_main_print() -> None:
    check(printing, ("if not key:", "print(key)\n    if not key:"), ("if not key:", "if print:"))


def test_drivers_and_transports_are_named_in_one_section_each() -> None:
    check(
        modules_at_home,
        ("print(serve(1))", "print(bottle.x)"),
        ("print(serve(1))", "import sqlite3"),
        ("return Broken(", "hmac.new()\n    return Broken("),
        ("import bottle", "from bottle import run as hmac"),
    )


def test_app_py_does_not_speak_sqs() -> None:
    check(
        sqs_at_home,
        ("if not key:", 'if key.client("sqs"):'),
        ("if not key:", "if key.receive_message():"),
        ("if not key:", 'if key["ReceiptHandle"]:'),
        ("if not key:", "if key(QueueUrl=1):"),
    )


def test_no_function_is_long() -> None:
    check(function_lengths, ("    if not key:", "    key += b''\n" * LONGEST_FUNCTION + "    if not key:"))


def test_functions_are_short_as_a_rule() -> None:
    padding = "\n    hmac.new(b'')" * MEDIAN_FUNCTION
    check(median_length, ("\n    return", f"{padding}\n    return"))


def test_no_class_is_large() -> None:
    many = "".join(f"    def m{number}(self): ...\n" for number in range(MOST_METHODS + 1))
    long = "    limit = LIMIT + _hidden\n" * (LONGEST_CLASS + 1)
    check(class_sizes, ("    limit = LIMIT + _hidden\n", many), ("    limit = LIMIT + _hidden\n", long))


def test_app_py_and_its_sections_keep_their_budgets() -> None:
    padding = "# one line more\n"
    check(
        budgets,
        ("import json\n", "import json\n" + padding * BUDGETS["head"]),
        ("def sign(", padding * BUDGETS["AUTH"] + "def sign("),
        ("def command(", "# " + "x" * MOST_BYTES + "\n\n\ndef command("),
    )
    assert list(sizes(APP))[2:] == list(BUDGETS)


# ---- plugins ----

GOOD_PLUGIN = '''"""A small plugin that keeps every rule."""

import app
from app import Conflict

if TYPE_CHECKING:
    from plugins.paper import Sheet

# ==== 1. SHELF ====
# Keeps things.
# uses: ERRORS CONTRACTS plugin:box plugin:paper
# defines: Provider:shelf LIMIT
#          Shelf

LIMIT = 3


class Shelf(app.Provider):
    kind = "shelf"

    def ping(self) -> float:
        if app.plugin("box").full:
            raise Conflict("full")
        return 0.0

    def sheet(self) -> Sheet:
        return app.plugin("paper").Sheet()


# ==== 2. LABELS ====
# What is written on things.
# uses: SHELF
# defines: longest


def longest() -> int:
    return LIMIT
'''
RULES_OF_PLUGINS: tuple[Rule, ...] = (
    numbering, headings, definitions_of_plugin, uses_of_plugin, once_only, function_lengths, median_of_plugin, class_sizes,
    length_of_plugin, bare_excepts, asserts,
)  # fmt: skip


def test_a_plugin_keeps_the_rules_of_headings_and_sizes() -> None:
    for rule, old, new in (
        (numbering, "1. SHELF", "2. SHELF"),
        (headings, "# Keeps things.\n", ""),
        (definitions_of_plugin, "def longest", "def shortest"),
        (definitions_of_plugin, "LIMIT\n#          Shelf", "Shelf\n#          LIMIT"),
        (definitions_of_plugin, "#          Shelf\n", ""),
        (uses_of_plugin, "ERRORS CONTRACTS", "CONTRACTS"),
        (uses_of_plugin, "ERRORS CONTRACTS", "ERRORS VALUES CONTRACTS"),
        (uses_of_plugin, " plugin:box", ""),
        (uses_of_plugin, " plugin:paper", ""),
        (uses_of_plugin, "# uses: SHELF", "# uses: nothing"),
        (uses_of_plugin, "LIMIT = 3\n", "LIMIT = 3\nMOST = longest\n"),
        (uses_of_plugin, "plugin:paper\n# defines", "plugin:paper LABELS\n# defines"),
        (uses_of_plugin, "2. LABELS", "2. VALUES"),
        (uses_of_plugin, "import Conflict", "import _Conflict"),
        (uses_of_plugin, "app.Provider", "app._Provider"),
        (length_of_plugin, "LIMIT = 3\n", "LIMIT = 3\n" * LONGEST_PLUGIN),
    ):
        assert rule(GOOD_PLUGIN) == []
        assert rule(GOOD_PLUGIN.replace(old, new)), f"{rule.__name__} does not notice {new!r}"
    assert len(PLUGINS) > 5
    bad = [f"{name}: {each}" for name, source in PLUGINS.items() for rule in RULES_OF_PLUGINS for each in rule(source)]
    assert bad == []


def test_no_driver_but_sqlite3_stands_in_app_py() -> None:
    drivers = {"boto3", "botocore", "pg8000", "urllib3"}
    assert {module for module, _, _ in imported(walked(APP))} & drivers == set()


def test_the_docstring_lists_every_section() -> None:
    check(
        table_of_contents,
        (" 3 AUTH        tokens\n", ""),
        (" 3 AUTH    ", " 3 OATH    "),
        (" 2 RUNNERS ", " 5 RUNNERS "),
        ("# ==== 3. AUTH", "# ==== 3. OATH"),
    )


def test_no_except_is_bare() -> None:
    check(bare_excepts, ("except OSError as error", "except"))


def test_no_check_is_an_assert() -> None:
    check(asserts, ("if not key:\n        raise Broken", "assert key"))


def twice_imported(source: str) -> list[str]:
    """A file of tests has one name, its own: by `tests.NAME` it would be a second module, with services of its own."""
    if not re.search(r"\b(import|from)\b.*\btests\b", source):  # to read all tests takes seconds
        return []
    nodes = ast.walk(ast.parse(source))
    return [f"line {line}: {name} of {module}" for module, name, line in imported(nodes) if module == "tests"]


def test_tests_import_each_other_by_their_names_alone() -> None:
    assert twice_imported("from conftest import wait_for\n") == []
    assert twice_imported("def late():\n    from tests.conftest import wait_for\n")
    assert twice_imported("import tests\n")
    sources = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "tests").glob("*.py")}
    assert [f"{name}: {each}" for name, source in sources.items() for each in twice_imported(source)] == []
