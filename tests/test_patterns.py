"""What a regular expression of app.toml may cost: refused, or quick for every text that it can meet."""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

import app
from app import ConfigError

patterns = app.plugin("patterns")
pattern_fault = patterns.pattern_fault
FAR = {"kind": "generic", "url": "http://127.0.0.1:9", "records": "/{table}"}

# (pattern, the part that its fault quotes): a text of some thirty characters could keep a thread for hours.
SLOW = [
    ("(a+)+b", "(a+)+"),
    ("x(a|a)*y", "(a|a)*"),
    ("(a|aa)+", "(a|aa)+"),
    ("(?:.*)*!", "(?:.*)*"),
    (r"(\w+\s?)+", r"(\w+\s?)+"),
    ("^(([a-z])+.)+[A-Z]([a-z])+$", "(([a-z])+.)+"),
    ("([a-z0-9_.-]+)+@[a-z]+", "([a-z0-9_.-]+)+"),
    (r"[a-z]+@([\w-]+\.?)+", r"([\w-]+\.?)+"),
    ("(a?b?)*c", "(a?b?)*"),
    ("(x(a?)*y)*z", "(x(a?)*y)*"),
    ("(a+?)+?b", "(a+?)+?"),
    ("(a++)+b", "(a++)+"),
    ("x([a-z]{1,9}){1,9}!", "([a-z]{1,9}){1,9}"),
    ("(?i:(ks?|\u212a|S)+)b", "(?i:(ks?|\u212a|S)+)"),
    ("([\u00e0-\u00ff]b?|\\w)+!", "([\u00e0-\u00ff]b?|\\w)+"),
    ("(?i:([a-f]x?|[C-Z])+)!", "(?i:([a-f]x?|[C-Z])+)"),
    ("(a?){25}", "(a?){25}"),
    ("a?" * 30 + "a" * 30, "a?a?a?a?"),
    ("(a|a)" * 30, "(a|a)(a|a)(a|a)"),
    ("[a-z]+(?=(b+)+c).*", "(b+)+"),
    (r"(['\"])(?:.|\1)*x", r"(['\"])(?:.|\1)*"),
    (r"(\b\w+\b\s?)+", r"(\b\w+\b\s?)+"),
]
# Patterns that take time for long texts, and a text of the given length that makes them try all.
LONG = [
    (r".+@.+\..+", "@" * 100 + "." * 100, 254),
    (r"(['\"]+).*\1", '"' + "a" * 500, 150),
    (r"(?!.*(.)\1{2,}).{8,}", "aab" * 300, 1000),
    (r"[a-z]*[a-z]*!", "a" * 500, 1000),
    (r"[a-z]+(?!.*--)[a-z]+!", "a" * 60, 60),
    (r"([a-z]|[0-9])*[a-z]*([a-z]|-)*!", "a" * 100, 100),
]
QUICK = [
    "[A-Z]{2}-[0-9]{4}", r"(\d+,)*\d+", "[a-z0-9]+(-[a-z0-9]+)*", r"\d{3}-?\d{4}", "(foo|bar)baz*", "(a?)*", "(a?){0,25}",
    "(?!.*--)[a-z]+", r"(?=.*[A-Z])(?=.*\d).{8,}", "(a|ab)(c|bcd)(d*)", "[0-9a-f]{64}", "[a-z]{1,1000}", "(?i:[a-z]+)",
    r"\s*\S+(\s+\S+)*\s*", r"[a-z]+?-\w*+", r"\d{1,3}(,\d{3})*(\.\d+)?", "(cat|car|cart)( (cat|car|cart))*", r"^\bA\w*$",
    r"[^@\s]+@[^@\s.]+(\.[^@\s.]+)+", "((a|b)*c|(a|b)*d)*", r"(?>\d+)-(?:ab|cd)?", "(x)?(?(1)y|z)", "[^\\W\\d_]+", "",
    r"\w{1,64}( \w{1,64}){0,9}", "([0-9a-f]{32},)*[0-9a-f]{32}",
    r"(['\"]).*\1", r"(..)(-\1)*", r"(?i:([a-f]))\1*g", r"[A-Z](?=.*[0-9])(?=.*[a-z])(?=.*[!$%]).{7,}",
    r"(?:[A-Z]{2})?(?=.*\d)[A-Z0-9]+",
    r"[\w.+-]+@[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*",
]  # fmt: skip


def worst_s(pattern: str, length: int) -> float:
    """Of texts of so many characters that repeat a few, the longest time to match one."""
    compiled, letters = re.compile(pattern), "a1A-@,. x\u00e9"
    worst = 0.0
    for word in ("".join(word) for count in (1, 2, 3) for word in itertools.product(letters, repeat=count)):
        text = (word * length)[: length - 1]
        for one in (text, text + "\n"):
            began = time.thread_time()
            compiled.fullmatch(one)
            worst = max(worst, time.thread_time() - began)
    return worst


@pytest.mark.parametrize(("pattern", "part"), SLOW)
def test_a_pattern_that_a_short_text_can_keep_busy_is_refused_and_the_part_quoted(pattern: str, part: str) -> None:
    fault = pattern_fault(pattern, 100)
    assert f'"{part}' in fault
    assert "is too slow" in fault
    assert "in place of" in fault


@pytest.mark.parametrize("pattern", QUICK)
def test_a_usual_pattern_is_taken_for_texts_of_the_usual_length_and_is_quick(pattern: str) -> None:
    assert pattern_fault(pattern, 10_000) == ""
    assert worst_s(pattern, 2000) < 0.05


@pytest.mark.parametrize(("pattern", "text", "length"), LONG)
def test_a_pattern_whose_cost_grows_with_a_power_of_the_length_is_taken_for_short_texts(
    pattern: str, text: str, length: int
) -> None:
    assert pattern_fault(pattern, length) == ""
    fault = pattern_fault(pattern, 10_000)
    assert "is too slow for 10,000 characters" in fault
    most = int(fault.rpartition(" ")[2])
    assert length <= most < 10_000
    assert pattern_fault(pattern, most) == ""
    assert pattern_fault(pattern, most + 1)
    long = (text * (most // len(text) + 1))[:most]
    spread = "".join(mark * (most // len(set(text))) for mark in dict.fromkeys(text))
    for one in (long, spread, spread + "\n", text[0] * most):
        began = time.thread_time()
        re.fullmatch(pattern, one)
        assert time.thread_time() - began < 0.2


@pytest.mark.parametrize(
    "pattern", ["(a{1000}){1000}", "((a{9}){9}){9}", "((((a?b?){9}){9}){9}){9}", "(ab){99999}", "((?:){999}){99999}a"]
)
def test_counted_repeats_that_are_too_large_are_refused_at_once(pattern: str) -> None:
    began = time.thread_time()
    fault = pattern_fault(pattern, 100)
    assert not fault or "counted repeats are too large" in fault
    assert bool(fault) == (pattern != "((?:){999}){99999}a")
    assert time.thread_time() - began < 1


def test_a_pattern_of_hundreds_of_parts_is_judged_in_a_moment() -> None:
    words, deep = "|".join(f"word{i}" for i in range(60)), "(" * 90 + "a" + ")*" * 90
    for pattern in (words, deep, "([a-z]*-?){3}" * 12, "(.{1,90})*", "((a|b|c)*d?){60}"):
        began = time.thread_time()
        pattern_fault(pattern, 10_000)
        assert time.thread_time() - began < 3, pattern


@pytest.mark.parametrize("pattern", [".*," * 45, "(?=" + ".*," * 45 + ")x", "(.*;){45}"])
def test_a_cost_beyond_all_numbers_is_a_fault_like_others_and_is_told_soon(pattern: str) -> None:
    began = time.thread_time()
    assert "is too slow" in pattern_fault(pattern, 10_000)
    assert time.thread_time() - began < 10


def test_what_cannot_be_judged_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    patterns._most_characters.cache_clear()
    monkeypatch.delattr(re, "_parser")
    monkeypatch.setitem(sys.modules, "re._parser", None)
    assert "cannot say what it costs" in pattern_fault("a+b", 100)
    patterns._most_characters.cache_clear()


def test_patterns_of_fields_of_parameters_and_of_keys_of_a_service_are_judged(tmp_path: Path) -> None:
    def faults(pattern: str, **settings: object) -> dict[str, str]:
        field = {"type": "string", "pattern": pattern, **settings}
        raw = {
            "providers": {
                "main": {"kind": "sql", "url": "sqlite:///a.db"},
                "far": {**FAR, "keys": pattern},
            },
            "forms": {"f": {"provider": "main", "fields": {"x": field}}},
            "views": {"v": {"provider": "main", "sql": "select :y as y", "params": {"y": field}}},
        }
        registry = app.load_registry(tmp_path)
        config = app.read_config(raw, tmp_path, "app.toml", registry.provider_settings, registry.tables)
        return {fault.pointer: fault.detail for fault in app.App(config, registry, strict=False).faults}

    places = {"forms.f.fields.x.pattern", "views.v.params.y.pattern", "providers.far.keys"}
    assert faults("(a+)+b").keys() == places
    assert faults(r".+@.+\..+").keys() == places  # 10,000 characters of a field, 512 of a key
    assert faults(r".+@.+\..+", maxLength=254).keys() == {"providers.far.keys"}
    assert faults("[a-z]+") == {}
    assert "write (?i:…) around it" in faults("(?i)a")["forms.f.fields.x.pattern"]
    both = {**FAR, "keys": "(a+)+b", "timeout": "soon"}
    config = app.read_config(
        {"providers": {"far": both}}, tmp_path, "app.toml", app.load_registry(tmp_path).provider_settings
    )
    assert {"providers.far.keys", "providers.far.timeout"} <= {fault.pointer for fault in config.faults}


def test_a_text_that_is_too_long_is_refused_before_it_is_matched() -> None:
    facts = {
        one.attribute: one.read(one.default, Path()) for one in app.settings_of(app.FieldConfig) if one.default is not None
    }
    facts |= dict.fromkeys(one.attribute for one in app.settings_of(app.FieldConfig) if one.default is None)
    config = app.FieldConfig(name="x", **facts | {"max_length": 400, "pattern": "[a-z]*[a-z]*[a-z]!"})
    try:
        field = app.plugin("fields").Field(config, "forms.f.fields.x")
    except ConfigError as error:
        raise AssertionError(error.faults) from error
    began = time.thread_time()
    assert [fault.code for fault in field.faults("a" * 5_000_000, "/x")] == ["maxLength"]
    assert time.thread_time() - began < 0.5


def test_own_expressions_take_no_square_of_what_a_client_sends() -> None:
    began = time.thread_time()
    assert app.plugin("sqs").mask_tokens("eyJ-" * 250_000) == "eyJ-" * 250_000
    assert app.plugin("sqs").mask_tokens("eyJ" + "a" * 50 + ".b.c bearer abc stl_" + "a" * 30) == "[token] [token] [token]"
    for header in (" " * 100_000, '"a" ' * 20_000, '"' * 99_999):
        with pytest.raises(app.BadRequest):
            app._etags("If-Match", header)
    assert len(app._etags("If-Match", '"a", W/"b" ,"c"')) == 3
    assert time.thread_time() - began < 1


def test_the_judge_is_imported_only_if_app_toml_has_a_pattern(tmp_path: Path) -> None:
    code = """if True:
        import sys, tomllib, app
        from pathlib import Path
        registry = app.load_registry(Path("."))
        raw = tomllib.loads(sys.stdin.read())
        one = app.App(app.read_config(raw, Path("."), "app.toml", registry.provider_settings), registry, strict=False)
        print(*("satchel_plugin_patterns" in sys.modules, *(fault.pointer for fault in one.faults)))
        """
    main = '[providers.main]\nkind = "sql"\nurl = "sqlite:///a.db"\n[forms.f.fields]\n'
    for field, said in (("x = {}", "False"), ("x = { pattern = 'a' }", "True"),
                        ("x = { pattern = '(a+)+b' }", "True forms.f.fields.x.pattern")):  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-c", code], input=main + field, capture_output=True, text=True, cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(Path(app.__file__).parent)},
        )  # fmt: skip
        assert done.stdout.strip() == said, done.stderr
