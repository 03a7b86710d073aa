"""CONFIG: app.toml to settings, every fault by its place; and what ASSEMBLY finds wrong with their combination."""

from __future__ import annotations

import copy
import os
import random
import re
import tomllib
from collections.abc import Mapping
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import app
from app import App, Config, ConfigError, Fault

media_types = app.plugin("media_types")
BY_KIND = app.plugin("converters").BY_KIND
STARTER = app.bundled_text("starter.toml")

ROOT = Path(app.__file__).parent
REGISTRY = app.load_registry(Path("/nowhere"))
SETTINGS = dict(REGISTRY.provider_settings)

RICH = """
[site]
title = "Operations"
data = "data"
state = "main"
prefix = "/ops"
[auth]
issuer = "ops"
session = "8h"
[http]
bind = "127.0.0.1:8080"
hosts = ["intranet.local", "*"]
trusted_proxies = ["10.0.0.0/8", "unix"]
max_body = "5MB"
body_timeout = "20s"
workers = 2
threads = 4
access_log = true
[roles.staff]
grants = ["apps/*:read", "forms/leave:create"]
[public]
grants = ["files/pub:read"]
[providers.main]
kind = "sql"
url = "sqlite:///data/app.db"
[providers.share]
kind = "file"
root = "data/files"
[files.handbook]
provider = "share"
prefix = "handbook/"
title = "Handbook"
note = "Read me"
accept = ["image/*", ".pdf"]
max_file = "2GB"
[forms.leave]
provider = "main"
table = "leave"
title = "Leave"
note = "n"
[forms.leave.fields]
from_day = { type = "string", format = "date", title = "First day", required = true, description = "d" }
days = { type = "number", minimum = 0.5, maximum = 60, multipleOf = 0.5, exclusiveMinimum = 0, exclusiveMaximum = 61 }
kind = { type = "string", oneOf = [{ const = "paid", title = "Paid" }, { const = "unpaid" }], default = "paid" }
size = { enum = ["s", "m"] }
tags = { type = "array", items = { type = "string", enum = ["a", "b"] }, minItems = 0, maxItems = 2 }
code = { pattern = "[A-Z]+", minLength = 1, maxLength = 9 }
note = { format = "file", files = "files/handbook", accept = [".pdf"], max_file = "1MB" }
count = { type = "integer" }
ok = { type = "boolean", default = false }
[views.sales]
provider = "main"
sql = "select :region as region"
title = "Sales"
note = "n"
timeout = "5s"
order_by = ["-region"]
params.region = { type = "string", title = "Region", required = true, default = "x" }
columns.region = { title = "R" }
[views.open]
from = "forms/leave"
columns = { from_day = {}, days = { title = "D" } }
where = [{ field = "days", gte = 1 }, { field = "kind", in = ["paid"] }, { field = "note", null = true }]
order_by = ["from_day", "-id"]
[apps.hr]
title = "HR"
icon = "x"
note = "n"
home = "forms/leave"
static = ""
menu = ["forms/leave", "views/open", "files/handbook", { title = "Policy", href = "https://example.org/" }]
"""


def parse(text: str) -> dict[str, Any]:
    return tomllib.loads(text, parse_float=app.exact_number)


def read(text: str | Mapping[str, Any], folder: Path = Path("/srv/site")) -> Config:
    return app.read_config(parse(text) if isinstance(text, str) else text, folder, "app.toml", SETTINGS)


def faults(text: str | Mapping[str, Any], folder: Path = Path("/srv/site")) -> dict[str, str]:
    """Every fault of configuration and assembly, by place."""
    return {fault.pointer: fault.detail for fault in App(read(text, folder), REGISTRY, strict=False).faults}


def with_setting(place: str, toml: str) -> dict[str, Any]:
    """RICH with one setting replaced; place is "http.bind"."""
    raw = parse(RICH)
    *tables, key = place.split(".")
    table: Any = raw
    for name in tables:
        table = table.setdefault(name, {})
    table[key] = parse(f"x = {toml}")["x"]
    return raw


def test_the_rich_configuration_has_no_fault() -> None:
    assert faults(RICH) == {}


def test_the_starter_has_no_fault() -> None:
    assert faults(STARTER) == {}


def test_settings_come_converted_to_their_units() -> None:
    config = read(RICH)
    assert config.auth.session_s == 8 * 3600
    assert config.http.max_body_bytes == 5_000_000
    assert config.http.trusted_proxies == ("10.0.0.0/8", "unix")
    assert config.site.data == Path("/srv/site/data")
    assert config.providers["share"].options["root"] == Path("/srv/site/data/files")
    share = config.resources[0]
    assert isinstance(share, app.FilesConfig)
    assert (share.prefix, share.max_file_bytes) == ("handbook/", 2_000_000_000)


def test_settings_do_not_change_and_are_copied_with_others() -> None:
    http = read(RICH).http
    with pytest.raises(AttributeError, match="bind"):
        http.bind = "0.0.0.0:80"
    other = http.replaced(bind="0.0.0.0:80")
    assert (http.bind, other.bind, other.hosts) == ("127.0.0.1:8080", "0.0.0.0:80", http.hosts)
    assert "hosts=('intranet.local', '*')" in repr(http)


def test_a_setting_is_named_after_its_attribute_without_the_unit() -> None:
    names = {one.attribute: one.name for one in (*app.settings_of(app.SqsConfig), *app.settings_of(app.FieldConfig))}
    assert (names["wait_s"], names["max_payload_bytes"], names["one_of"]) == ("wait", "max_payload", "oneOf")


def test_every_setting_has_a_default_that_its_converter_takes() -> None:
    for shape, settings in app.SETTINGS.items():
        for one in settings:
            assert one.kind in BY_KIND, (shape, one.name)
            assert one.help, (shape, one.name)
            if one.default not in (app.REQUIRED, None):
                app.CONVERTERS[one.kind](one.default, Path("/srv"))


def test_the_address_of_the_site_agrees_with_its_prefix() -> None:
    both = '[site]\nurl = "https://a.example/ops"\nprefix = "PREFIX"\n[providers.main]\nkind = "file"\nroot = "x"\n'
    for prefix, told in (
        ("/ops", None),
        ("", 'must end with its host, as site.prefix is ""'),
        ("/b", "must end with '/b', as site.prefix says"),
    ):
        assert {f.pointer: f.detail for f in read(both.replace("PREFIX", prefix)).faults}.get("site.url") == told
    assert set(faults(with_setting("site.url", '"https://a.example/ops/"'))) == {"site.url"}
    wrong = with_setting("site.prefix", '"ops"')
    wrong["site"]["url"] = "https://a.example/ops"
    assert set(faults(wrong)) == {"site.prefix"}


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("{name}: {from_day}", None), ("#{id} {created_by}", None), ("plain", None),
        ("{nam}", "names {nam}, which is no field; did you mean name?"),
        ("{name", 'has a brace without its pair: write fields as "{name}"'),
        ("{}", "names {}, which is no field"),
    ],
)  # fmt: skip
def test_the_name_of_records_is_checked_against_the_fields(name: str, told: str | None) -> None:
    text = (
        '[forms.f]\nname = "NAME"\n[forms.f.fields]\nname = {}\nfrom_day = {}\n[providers.main]\nkind = "file"\nroot = "x"\n'
    )
    assert faults(text.replace("NAME", name)).get("forms.f.name") == told


@pytest.mark.parametrize(
    ("setting", "written", "meant"),
    [
        ("lang", "de_CH", "de-CH"), ("lang", "German", "de"), ("lang", "english", "en"), ("lang", "klingon", ""),
        ("timezone", "Europe/Kopenhagen", "Europe/Copenhagen"), ("timezone", "utc", "UTC"),
        ("timezone", "Berlin", "Europe/Berlin"), ("timezone", "europe/berlin", "Europe/Berlin"),
    ],
)  # fmt: skip
def test_a_language_and_a_zone_that_do_not_exist_name_the_nearest(setting: str, written: str, meant: str) -> None:
    told = faults(with_setting(f"site.{setting}", f'"{written}"'))[f"site.{setting}"]
    assert told.partition("; did you mean ")[2] == (f"{meant}?" if meant else "")


def test_every_converter_is_used_by_a_setting() -> None:
    used = {one.kind for settings in app.SETTINGS.values() for one in settings}
    used |= {one.kind for settings in SETTINGS.values() for one in settings if one.convert is None}
    inner = [one for settings in app.SETTINGS.values() for one in settings if one.each or one.of]
    used |= {kind for one in inner for kind in (one.of, one.names if one.default == {} else "") if kind}
    assert used == set(BY_KIND)


GOOD: dict[str, list[tuple[str, Any]]] = {
    "callable": [('""', ""), ('"stock:application"', "stock:application"), ('"a.b_1:c.d"', "a.b_1:c.d")],
    "size": [('"10MB"', 10**7), ('"10MiB"', 10 * 2**20), ("5", 5), ('"7 kB"', 7000), ('"0"', 0)],
    "age": [('"2y"', 63072000), ('"90d"', 7776000), ("5", 5)],
    "duration": [('"30s"', 30), ('"10m"', 600), ('"12h"', 43200), ('"30d"', 2592000), ('"2w"', 1209600), ("5", 5)],
    "address": [(f'"{a}"', a) for a in ("0.0.0.0:80", ":8080", "[::1]:8080", "unix:/run/s", "host.local:0", "a-b:1")],
    "prefix": [('""', ""), ('"/ops"', "/ops"), ('"/a/b.c"', "/a/b.c")],
    "site": [('""', ""), ('"https://a.example"', "https://a.example"), ('"http://[::1]:8080/ops"', "http://[::1]:8080/ops")],
    "lang": [(f'"{tag}"', tag) for tag in ("en", "de-CH", "pt-BR", "zh-Hant-TW", "es-419", "sl-rozaj", "en-u-ca-gregory")],
    "timezone": [('"UTC"', "UTC"), ('"Europe/Copenhagen"', "Europe/Copenhagen"), ('"Etc/GMT+3"', "Etc/GMT+3")],
    "hosts": [('["a.local", "*", "::1"]', ("a.local", "*", "::1"))],
    "networks": [('["10.0.0.1/8", "::1", "unix"]', ("10.0.0.1/8", "::1", "unix"))],
    "number": [("1", 1), ("0.1", 0.1), ("12345678901234567890.5", Decimal("12345678901234567890.5"))],
    "count": [("0", 0), ("3", 3)],
    "positive": [("1", 1)],
    "word": [('""', ""), ('"a_B9"', "a_B9")],
    "inside": [('""', ""), ('"a"', "a/"), ('"/a/b/"', "a/b/")],
    "pattern": [('"[$€]+\\\\d"', "[$€]+\\d")],
    "grants": [("[]", ())],
    "any": [('{ a = [1, 0.5, true, "x"] }', {"a": [1, 0.5, True, "x"]})],
    "values": [('["a", "b"]', ("a", "b")), ("[1, 2.5]", (1, 2.5))],
    "type": [('"array"', "array")],
    "boolean": [("true", True)],
    "queue": [('"https://q/1/a"', "https://q/1/a")],
    "list": [("[]", []), ('["a", 1]', ["a", 1])],
    "replies": [('{ a = "https://q/1/a" }', {"a": "https://q/1/a"})],
}
BAD = {
    "text": ["5", "[]", "{}", "true", "2026-01-01", '"\\u0000"'],
    "texts": ['"a"', "[1]", "{}", '[["a"]]'],
    "media": ['"pdf"', '["pdf"]', '["image/"]', '["*"]', "[1]"],
    "callable": ['"stock"', '"stock:"', '":application"', '"a..b:c"', '"a b:c"', '"a:b()"', '"../a:b"', '"1a:b"', "1"],
    "pages": ["5", "[]", "true", "{}"],
    "boolean": ['"true"', "1", "[]"],
    "size": ['"10 XB"', '"-1"', "-1", "true", "[]", "1.5", '"1.5MB"', '"MB"', '"٣MB"', "2026-01-01"],
    "room": ['"10 XB"', "-1", "true", "[]", '"MB"'],
    "unique": ['"name"', "[5]", "[[5]]", "[[]]", "5", '[["a", "a"]]', '[["a", "b"], ["b", "a"]]'],
    "age": ['"0y"', '"999y"', '"20y"', "true", '"y"'],
    "duration": ['"0s"', "0", "-3", '"1y"', "true", '"9999w"', '"999999999w"', "[]", "1.5"],
    "address": ['"8080"', '"a:99999"', '"a..b:80"', '"http://a:80"', '"[zz]:1"', "80", '"unix:run"', '"a b:80"', '"a:٣"'],
    "prefix": ['"ops"', '"/ops/"', '"/a/../b"', '"/./a"', '"//a"', '"/a b"', "1"],
    "site": [
        '"a.example"',
        '"ftp://a"',
        '"https://a/"',
        '"https://a/b/"',
        '"https://a?b"',
        '"https://u:p@a"',
        '"https://a:99999"',
        '"https://a:0"',
        '"https://a/../b"',
        '"https://"',
        '"https://a b"',
        "1",
    ],
    "opens": ['"list"', '""', "true"],
    "roles": ["[]", "3", "[3]", '{ a = "hr" }'],
    "lang": ['"german"', '"de_DE"', '"d"', '""', '"de-"', '"x-private"', "1"],
    "timezone": [
        '"CEST+1"',
        '"Europe"',
        '"europe/copenhagen"',
        '"../etc/passwd"',
        '"/etc/localtime"',
        '""',
        '"localtime"',
        "1",
    ],
    "hosts": ['["https://a"]', '["a:80"]', '[""]', '["a/b"]', '"a"'],
    "networks": ['["10.0.0.0/99"]', '["proxy.local"]', '[""]', "[1]"],
    "number": ['"1"', "true", "nan", "inf", "[]", "1" + "0" * 400, "1e9999999", "1e-500", "2026-01-01"],
    "count": ["-1", "1.0", '"1"', "true", "99999999999"],
    "positive": ["0", "-1", "true", "[]"],
    "word": ['"a-b"', '"9a"', '"_a"', '"a b"', "1", f'"{"a" * 65}"'],
    "inside": ['"_satchel/a"', '"/_Satchel/"', '"../a"', '"a//b"', '"a\\\\b"', '"con"', "1"],
    "path": ["1", '"~nobodyhere/x"', "[]"],
    "folder": ['""', '"/etc/passwd"', "1"],
    "file": ['"missing.pem"', '"/"', "1"],
    "secret": ['"plain"', '"env:SATCHEL_NOT_SET"', '"file:missing"', '"file:/"', "1", '"env:"'],
    "pattern": ['"["', '"("', '"a{99999999999}"', "1", '"(?i)a"', '"a)|(b"', f'"{"(" * 5000}{")" * 5000}"'],
    "grants": ['["forms"]', '["forms/leave:fly"]', '"forms/x:read"', "[1]", '["a b:read"]'],
    "queue": ['"plain"', '"env:SATCHEL_NOT_SET"', '"https://q"', "5"],
    "name": ['""', '"A b"', '"1"', f'"{"a" * 65}"'],
    "field": ['""', '"a b"', '"a__b"', '"id"', '"1a"'],
    "notice": ['{ to = "a" }', '{ to = "a", on = "create", after = "1d" }', '{ to = "a", state = "new" }'],
    "condition": ['{ field = "a" }', '{ field = "a", eq = 1, ne = 2 }'],
    "block": ["{}", '{ title = "x" }', '{ view = "views/a", form = "forms/b" }'],
    "comparisons": ["{}", "[]", "{ like = 1 }", "{ in = 1 }", "{ null = 1 }", "{ eq = [1] }", "2026-01-01"],
    "check": ['{ left = "a", op = "eq" }', '{ left = "a", op = "eq", right = "b", value = 1 }'],
    "menu item": ["5", "[]", '"\\u0000"'],
    "type": ['"text"', '["string"]', "{}", "1"],
    "values": ["5", '"a"', "[[1]]", "[{}]", "[2026-01-01]", '["a", "a"]', '[1, "1"]', "[nan]"],
    "any": ["nan", "2026-01-01", "[2026-01-01T00:00:00Z]", '"\\u0000"', "99999999999999999999", "[[12:00:00]]"],
    "list": ['"a"', "{}", "[2026-01-01]"],
    "link": ['"javascript:alert(1)"', '"leave"', "5"],
}
# (setting with tables inside, TOML, where the fault stands inside it, what is said there)
INSIDE = [
    ("forms.leave.fields.days.options", '{ form = "leave" }', "value", "is missing: the column that is stored"),
    ("sqs.queues", "5", "", 'must be a list of tables, such as [{ url = "…" }]'),
    ("sqs.queues", "[5]", "0", 'must be a table: write { url = "…" }'),
    ("sqs.queues", '["https://q/1/a"]', "0", 'must be a table: write { url = "https://q/1/a" }'),
    ("sqs.queues", "[{}]", "0.url", "is missing: URL of the queue"),
    ("sqs.queues", '[{ url = "plain" }]', "0.url", "must be the URL of a queue"),
    ("sqs.queues", '[{ url = "https://q/1/a", alow = [] }]', "0.alow", "is not a setting; did you mean allow?"),
    ("sqs.queues", '[{ url = "https://q/1/a", allow = ["forms"] }]', "0.allow", "is not a grant"),
    (
        "sqs.queues",
        '[{ url = "https://q/1/a", events = 5 }]',
        "0.events",
        'must be a table: write events = { resource = "…" }',
    ),
    ("sqs.queues", '[{ url = "https://q/1/a", events = { role = "staff" } }]', "0.events.resource", "is missing"),
    ("sqs.queues", '[{ url = "https://q/1/a" }, { url = "https://q/1/a" }]', "1", "is the same queue as one before it"),
    ("sqs.replies", "5", "", "must be a table"),
    ("sqs.replies", '{ "A b" = "https://q/1/a" }', "A b", "is not a name"),
    ("sqs.replies", "{ a = 5 }", "a", "must be a text in quotes"),
    ("sqs.replies", '{ a = "b" }', "a", "must be the URL of a queue"),
    ("forms.leave.fields", "5", "", 'must be a table of tables: write NAME = { type = "string" }'),
    ("forms.leave.fields.days", '"number"', "", 'must be a table: write days = { type = "string" }'),
    ("views.sales.params", "{ region = 5 }", "region", 'must be a table: write region = { type = "string" }'),
    ("forms.leave.fields.size.oneOf", "5", "", "must be a list of tables"),
    ("forms.leave.fields.size.oneOf", '["a"]', "0", 'must be a table: write { const = "a" }'),
    ("forms.leave.fields.size.oneOf", "[{}]", "0.const", "is missing"),
    ("forms.leave.fields.size.oneOf", '[{ const = "a", x = 1 }]', "0.x", "is not a setting"),
    ("forms.leave.fields.size.oneOf", '[{ const = "a", title = 5 }]', "0.title", "must be a text in quotes"),
    ("forms.leave.fields.size.oneOf", '[{ const = "a" }, { const = "a" }]', "", "has the same value twice"),
    ("forms.leave.fields.size.oneOf", "[{ const = [] }]", "", "must be a list of texts or numbers"),
    ("forms.leave.fields.tags.items", "5", "", "must be a table"),
    ("forms.leave.fields.tags.items", "{ enum = 5 }", "enum", "must be a list"),
    ("forms.leave.fields.tags.items", '{ type = "text" }', "type", "'text' is not a type"),
    ("forms.leave.fields.tags.items", "{ oneOf = [{}] }", "oneOf.0.const", "is missing"),
    ("forms.leave.fields.tags.items", "{ minimum = 1 }", "minimum", "is not a setting"),
    ("forms.leave.fields.size.show_if", '"kind"', "", "must be a table"),
    ("forms.leave.fields.size.show_if", "{ kind = {} }", "kind", "must be a value, a list of values, or { OP = value }"),
    ("forms.leave.fields.size.show_if", "{ kind = { gr = 1 } }", "kind", "'gr' is no operator; did you mean gt?"),
    ("forms.leave.fields.size.required_if", '{ "no name" = 1 }', "no name", "is not a field name"),
    ("forms.leave.fields.size.required_if", "{ kind = [] }", "kind", "in needs a list of values"),
    ("forms.leave.checks", "5", "", "must be a list of tables"),
    ("forms.leave.checks", '[{ left = "size", op = "lt" }]', "0", "must be { left = field"),
    ("forms.leave.checks", '[{ left = "size", op = "les", value = 1 }]', "0", "'les' is no operator"),
    ("forms.leave.sections", '["size"]', "", "must be a table"),
    ("forms.leave.sections", '{ When = "size" }', "When", 'must be a list of texts, such as ["size"]'),
    ("views.open.where", "5", "", 'must be a list of tables, such as [{ field = "…" }]'),
    ("views.open.where", "[{ eq = 1 }]", "0.field", "is missing"),
    ("views.open.where", '[{ field = "days", eq = 1 }, { field = "days" }]', "1", "with one OP of eq, ne"),
    ("views.open.where", '[{ field = "days", eq = 1, ne = 2 }]', "0", "with one OP of eq, ne"),
    ("views.open.where", "[{ field = 5, eq = 1 }]", "0.field", "must be a text"),
    ("views.open.where", '[{ field = "days", in = 5 }]', "0.in", "must be a list"),
    ("views.open.where", '[{ field = "days", null = 1 }]', "0.null", "must be true or false"),
    ("views.open.where", '[{ field = "days", like = "x" }]', "0.like", "is not a setting"),
    ("views.open.where", '[{ field = "days", gte = 2026-01-01 }]', "0.gte", "write it in quotes"),
    ("views.open.where", '[{ field = "days", contains = 1 }]', "0.contains", "must be a text"),
    ("views.open.where", '[{ field = "days", prefix = [] }]', "0.prefix", "must be a text"),
    ("views.sales.columns", "5", "", 'must be a table of tables: write NAME = { title = "…" }'),
    ("views.sales.columns", "{ region = 5 }", "region", 'must be a table: write region = { title = "…" }'),
    ("views.sales.columns", "{ region = { title = 5 } }", "region.title", "must be a text"),
    ("forms.leave.owner", '{ feild = "created_by" }', "feild", "did you mean field?"),
    ("forms.leave.owner", "5", "", "must be a table"),
    ("forms.leave.states", '{ field = "status", moves = [] }', "initial", "is missing"),
    ("forms.leave.states", '{ field = "status", initial = "new", moves = [], titles = { new = 5 } }', "titles.new", "text"),
    ("forms.leave.states", '{ field = "status", initial = "new", moves = [], badges = { new = 5 } }', "badges.new", "text"),
    ("forms.leave.notify", '[{ to = "mail:{created_by}", onn = "create" }]', "0.onn", "did you mean on?"),
    ("forms.leave.digest", "5", "", "must be a"),
    ("views.sales.columns", '{ region = { titel = "x" } }', "region.titel", "did you mean title?"),
    ("views.sales.columns", "{ region = { format = 5 } }", "region.format", "must be a text"),
    ("views.sales.columns", "{ region = { badge = { overdue = 5 } } }", "region.badge.overdue", "must be a text"),
    ("views.sales.chart", '{ kind = "bar", x = "month" }', "y", "is missing"),
    ("views.sales.calendar", '{ start = "month", titel = "region" }', "titel", "did you mean title?"),
    ("apps.hr.home", "[5]", "0", "must be a table"),
    ("apps.hr.home", '[{ view = "views/sales" }, { title = "x" }]', "1", "must name one of view, chart"),
    ("apps.hr.menu", "5", "", "must be a list of tables"),
    ("apps.hr.menu", "[5]", "0", "must be an address such as forms/leave, or a table { title, href }"),
    ("apps.hr.menu", '["forms/leave", [2026-01-01]]', "1", "must be an address"),
    ("apps.hr.menu", '["\\u0000"]', "0", "must be an address"),
    ("apps.hr.menu", '[{ title = "x" }]', "0.href", "is missing"),
    ("apps.hr.menu", '[{ title = "x", href = "javascript:alert(1)" }]', "0.href", "must begin with https://"),
    ("apps.hr.menu", '[{ title = 5, href = "/" }]', "0.title", "must be a text"),
]


@pytest.mark.parametrize(("kind", "toml", "value"), [(k, t, v) for k, cases in GOOD.items() for t, v in cases])
def test_a_good_value_is_converted(kind: str, toml: str, value: Any) -> None:
    assert app.CONVERTERS[kind](parse(f"x = {toml}")["x"], Path("/srv")) == value


@pytest.mark.parametrize(("kind", "toml"), [(k, t) for k, cases in BAD.items() for t in cases])
def test_a_bad_value_is_refused_in_words(kind: str, toml: str) -> None:
    with pytest.raises(ValueError, match=r"\w{2,}"):
        app.CONVERTERS[kind](parse(f"x = {toml}")["x"], Path("/srv"))


def test_every_converter_has_bad_values() -> None:
    nested = [one for settings in app.SETTINGS.values() for one in settings if one.table or one.each or one.of]
    assert set(BAD) | {one.kind for one in nested} == set(BY_KIND)
    tried = {word for place, _, inside, _ in INSIDE for word in f"{place}.{inside}".split(".")}
    assert {one.name for one in nested} <= tried


@pytest.mark.parametrize(("place", "toml", "inside", "told"), INSIDE)
def test_a_fault_of_a_table_inside_a_setting_has_its_exact_place(place: str, toml: str, inside: str, told: str) -> None:
    found = faults(with_setting(place, toml))
    assert list(found) == [f"{place}.{inside}".rstrip(".")]
    assert told in found[f"{place}.{inside}".rstrip(".")]


def test_a_fault_in_one_table_hides_none_of_the_others_beside_it() -> None:
    fields = 'a = { type = "strin" }\nid = { type = "string" }\nb = { type = "string", pattern = "(a+)+$" }\n'
    told = faults(f'[apps.desk]\nmenu = [1, {{ title = "x" }}]\n[forms.f.fields]\n{fields}')
    assert {"forms.f.fields.a.type", "forms.f.fields.id", "forms.f.fields.b.pattern"} <= set(told)
    assert {"apps.desk.menu.0", "apps.desk.menu.1.href"} <= set(told)


def test_tables_inside_settings_are_built_as_they_are_declared() -> None:
    queues = """[{ url = "https://q/1/a" }, { url = "https://q/1/b", allow = [] },
        { url = "https://q/1/c", events = { resource = "forms/leave", role = "staff" } }]"""
    one, two, three = read(with_setting("sqs.queues", queues)).sqs.queues
    assert (one.url, one.name, one.allow, one.events) == ("https://q/1/a", "a", None, None)
    assert two.allow == ()
    assert three.events is not None
    assert vars(three.events) == {"resource": "forms/leave", "role": "staff"}
    _, form, sales, view, launcher = read(RICH).resources
    assert isinstance(form, app.FormConfig)
    assert isinstance(sales, app.ViewConfig)
    assert isinstance(view, app.ViewConfig)
    fields = {field.name: field for field in form.fields}
    assert list(fields) == ["from_day", "days", "kind", "size", "tags", "code", "note", "count", "ok"]
    assert fields["kind"].one_of == ({"const": "paid", "title": "Paid"}, {"const": "unpaid"})
    assert fields["tags"].items == {"type": "string", "enum": ("a", "b")}
    assert [param.name for param in sales.params] == ["region"]
    assert view.columns == {"from_day": {}, "days": {"title": "D"}}
    assert [(one.field, one.op, one.value) for one in view.where] == [
        ("days", "gte", 1), ("kind", "in", ["paid"]), ("note", "null", True),
    ]  # fmt: skip
    assert isinstance(launcher, app.AppConfig)
    assert launcher.menu[-2:] == ("files/handbook", {"title": "Policy", "href": "https://example.org/"})


def test_every_name_that_no_field_may_have_is_a_fault() -> None:
    found = faults(with_setting("forms.leave.fields", '{ id = {}, "a b" = {}, ok = {}, "x__y" = {} }'))
    assert list(found) == [f"forms.leave.fields.{name}" for name in ("id", "a b", "x__y")]


def test_no_repr_shows_a_secret(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("hunter2")
    own = (
        app.Setting("password", "secret", "", "what opens it"),
        app.Setting("login", "text", "", "name and password", convert=lambda raw, folder: f"name:{raw}"),
        app.Setting("times", "positive", 1, "how often"),
    )
    said = {"password": "file:secret", "login": "hunter2", "times": 3}
    raw = {"providers": {"main": {"kind": "own", **said}}, "own": said}
    config = app.read_config(raw, tmp_path, "app.toml", {"own": own}, {"own": own})
    assert config.faults == ()
    options = config.extensions["own"]
    assert options["password"] == "hunter2"
    assert "'times': 3" in repr(options)
    every = (config, config.extensions, options, config.providers, config.providers["main"].options)
    assert not [shown for shown in map(repr, every) if "hunter2" in shown]


def test_a_pattern_that_a_plugin_asks_for_is_judged_at_its_place(tmp_path: Path) -> None:
    rule = app.Setting("rule", "pattern", "", "which texts it takes")
    short = app.Setting("rule", "pattern", "", "which words it takes", longest=10)
    for toml, told in (("(a+)+$", "own.rule"), ("[a-z]+", ""), ("(a?){9}b", "")):
        faults = app.read_config({"own": {"rule": toml}}, tmp_path, "app.toml", {}, {"own": (rule,)}).faults
        assert [fault.pointer for fault in faults if fault.pointer.startswith("own")] == [told] * bool(told)
    inside = app.Setting("rules", "tables", {}, "rules by name", each=(rule,))
    config = app.read_config({"own": {"rules": {"x": {"rule": "(a+)+$"}}}}, tmp_path, "app.toml", {}, {"own": (inside,)})
    assert "own.rules.x.rule" in [fault.pointer for fault in config.faults]
    config = app.read_config({"own": {"rule": "a.*b.*c"}}, tmp_path, "app.toml", {}, {"own": (short,)})
    assert not [fault for fault in config.faults if fault.pointer == "own.rule"]


def test_a_bad_value_of_any_setting_of_a_provider_is_a_fault_and_no_traceback(tmp_path: Path) -> None:
    for kind, cls in app.load_registry(tmp_path).of(app.Provider).items():  # type: ignore[type-abstract]
        for one in cls.settings:
            if one.kind == "any":
                continue
            raw = {"providers": {"main": {"kind": kind, one.name: [[]]}}}
            found = app.read_config(raw, tmp_path, "app.toml", {kind: cls.settings}).faults
            assert f"providers.main.{one.name}" in [fault.pointer for fault in found], (kind, one.name)


def test_an_unknown_key_is_named_with_its_place_and_the_nearest_name() -> None:
    found = faults(RICH + '[sit]\ntitle = "x"\n')
    assert found == {"sit": "is not a setting; did you mean site?"}
    found = faults(with_setting("http.bnd", '"x"') | {})
    assert found == {"http.bnd": "is not a setting; did you mean bind?"}
    found = faults(with_setting("forms.leave.fields.days.minium", "1"))
    assert found == {"forms.leave.fields.days.minium": "is not a setting; did you mean minimum?"}
    assert faults(with_setting("providers.main.root", '"x"')) == {"providers.main.root": "is not a setting"}


# (place, TOML, what is said): how other programs would have it, and what to write here.
MEANT = [
    ("forms.leave.fields.days.label", '"x"', "did you mean title?"),
    ("forms.leave.fields.days.hint", '"x"', "did you mean description?"),
    ("forms.leave.fields.days.help", '"x"', "did you mean description?"),
    ("forms.leave.fields.days.choices", '["a"]', 'write enum = ["a", "b"]'),
    ("forms.leave.fields.days.options", '["a"]', "must be a table: write options = {"),
    ("forms.leave.fields.days.max", "3", "did you mean maximum?"),
    ("forms.leave.fields.days.mandatory", "true", "write required = true"),
    ("forms.leave.fields.size.oneOf", '["a"]', 'write { const = "a" }, or enum = ["a"] in place of oneOf'),
    ("forms.leave.required", '["days"]', "write fields.NAME.required = true for each field"),
    ("forms.leave.label", '"x"', "did you mean title?"),
    ("forms.leave.hint", '"x"', "did you mean note?"),
    ("forms.leave.description", '"x"', "did you mean note?"),
    ("views.sales.query", '"select 1"', "did you mean sql?"),
    ("views.sales.sort", '"x"', "did you mean order_by?"),
    ("files.handbook.path", '"x"', "did you mean prefix?"),
    ("apps.hr.links", "[]", "did you mean menu?"),
    ("http.port", "80", 'write bind = "127.0.0.1:8080"'),
    ("http.bind", "8080", 'such as "127.0.0.1:8080"'),
    ("site.title", "5", 'must be a text in quotes: write "5"'),
    ("roles.staff.permissions", "[]", "did you mean grants?"),
    ("forms.leave.fields.days.type", '"date"', '\'date\' is not a type: write type = "string", format = "date"'),
    ("forms.leave.fields.days.type", '"text"', 'write type = "string"'),
    ("forms.leave.fields.days.type", '"Select"', 'write type = "string", enum = ["a", "b"]'),
    ("forms.leave.fields.days.type", '"email"', 'format = "email"'),
    ("forms.leave.fields.days.type", '"datetime"', 'format = "date-time"'),
    ("forms.leave.fields.days.type", '"file"', 'format = "file", files = "files/NAME"'),
    ("forms.leave.fields.days.type", '"int"', 'write type = "integer"'),
    ("forms.leave.fields.days.type", '"checkbox"', 'write type = "boolean"'),
    ("forms.leave.fields.days.type", '"numbr"', "did you mean number?"),
    ("forms.leave.fields.code.format", '"datetime"', 'write type = "string", format = "date-time"'),
    ("forms.leave.fields.code.format", '"datee"', "'datee' is no format; did you mean date?"),
    ("forms.leave.fields.code.format", '"xyz"', "write one of date, date-time"),
    ("forms.leave.fields.code", '{ format = "file" }', "is missing: name the share that keeps the files"),
    ("forms.leave.fields.code", '{ files = "files/handbook" }', 'write format = "file" too, or take it out'),
    ("forms.leave.fields.code", '{ accept = [".pdf"] }', 'write format = "file" too, or take it out'),
    ("forms.leave.fields.code", "{ minimum = 1 }", "goes with type number or integer, and this field is of type string"),
    ("forms.leave.fields.code", '{ enum = ["a"], oneOf = [{ const = "b" }] }', "stands beside oneOf: keep one of the two"),
    ("views.sales.sql", '"delete from sale"', "begins with DELETE, and a view is one SELECT"),
    ("views.sales.sql", '"/* x */ insert into sale values (1)"', "begins with INSERT"),
    ("views.sales.sql", '"UPDATE sale set a = 1"', "begins with UPDATE"),
    ("views.sales.sql", '"drop table sale"', "begins with DROP"),
    ("views.sales.sql", '"with x as (select 1) delete from sale"', "begins with DELETE"),
    ("views.sales.sql", '"select 1; select 2"', "holds two statements"),
    ("views.sales.sql", '"select 1; drop table sale"', "holds two statements"),
]


@pytest.mark.parametrize(("place", "toml", "told"), MEANT)
def test_what_other_programs_write_is_answered_with_what_to_write_here(
    tmp_path: Path, place: str, toml: str, told: str
) -> None:
    raw = with_setting(place, toml)
    if place == "views.sales.sql":
        config = app.read_config(raw, tmp_path, "app.toml", SETTINGS)
        with closing(App(config, REGISTRY, strict=False)) as site:
            found = [fault.detail for fault in site.inspection.check() if fault.pointer == place]
    else:
        found = [detail for pointer, detail in faults(raw).items() if pointer.startswith(place)]
    assert len(found) == 1
    assert told in found[0]


def test_every_grant_of_app_toml_that_allows_nothing_is_warned_of(tmp_path: Path) -> None:
    text = """
        [providers.main]
        kind = "sql"
        url = "sqlite:///a.db"
        [forms.leave]
        fields.x = {}
        [views.all]
        from = "forms/leave"
        [roles.staff]
        grants = ["forms/leave:create", "views/all:delete,read", "views/all:delete"]
        [public]
        grants = ["form/leave:create", "files/*:read"]
        [sqs]
        queues = [{ url = "http://127.0.0.1:9/1/in", allow = ["forms/leav:create", "forms/*:create"] }]
        """
    config = app.read_config(parse(text), tmp_path, "app.toml", SETTINGS)
    with closing(App(config, REGISTRY)) as site:
        assert [told for told in site.inspection.warnings() if not told.startswith("providers.")] == [
            "roles.staff: views/all:delete allows nothing: the actions of views/all are read",
            "sqs.queues: allow of in: forms/leav:create names nothing that is declared; did you mean forms/leave?",
            "public: form/leave:create names nothing that is declared; did you mean forms/leave?",
        ]


GOOD_SELECTS = [
    "select 1", "(select 1)", "values (1)", "with x as (select 1) select * from x", "select ';' as a", "select 1; ; ",
    "-- a\nselect 1", "with recursive x(n) as (select 1 union select n + 1 from x where n < 3) select n from x",
    'with a as (values (1)), "delete" as (select 2) select * from a', "select replace('a', 'b', 'c'), 'update'",
]  # fmt: skip


def test_statements_that_read_are_taken() -> None:
    for statement in GOOD_SELECTS:
        assert app.plugin("sql_views").read_statement(statement)


# (TOML, what is said of it).
SYNTAX = [
    ("title = Our team", 'line 2, column 9): a text stands in quotes: write title = "Our team"'),
    ("title = Our team   # shown", 'write title = "Our team"'),
    ("title = info desk", 'write title = "info desk"'),
    ("a = 30d", 'write a = "30d"'),
    ("a = 10MB", 'write a = "10MB"'),
    ("a = 127.0.0.1:8080", 'write a = "127.0.0.1:8080"'),
    ("a = [forms/leave:create]", 'write "forms/leave:create"'),
    ('a = ["x", forms/leave:create]', 'write "forms/leave:create"'),
    ("a = { type = string, title = 'x' }", 'write type = "string"'),
    ("a = { max_file = 5MB }", 'write max_file = "5MB"'),
    ("a = True", "write true"),
    ("a = no", "write false"),
    ("a = None", "write a value, or leave the line out"),
    ("a =", "write a value, or leave the line out"),
    ("a: 'x'", "write = and not :, as in a = 'x'"),
    ("a:", "write [a]"),
    ('x = { type: "string" }', 'write = and not :, as in type = "string"'),
    ("a = “x”", 'write straight quotes, as in a = "x"'),
    ("x = { type = “string” }", 'write straight quotes, as in type = "string"'),
    ("a = [“x”, “y”]", 'write straight quotes, as in "x"'),
    ('a = { b = "x", }', "take out the comma before }"),
    ("[site]", "[site] stands there twice"),
    ("a = { b = 1, b = 2 }", "b stands there twice"),
    ("[files.my share]", "a name has no spaces"),
    ("[files.share", "write ] at the end"),
    ('a = "x\ny"', "a quote is missing at the end"),
    ('a = "Our "team""', "write a = 'Our \"team\"'"),
    ('a = "C:\\data"', "write a = 'C:\\data'"),
    ("a = { b = 1,\n c = 2 }", "a table in { } stands on one line"),
]


@pytest.mark.parametrize(("line", "told"), SYNTAX)
def test_what_is_not_toml_is_answered_with_what_to_write(tmp_path: Path, line: str, told: str) -> None:
    (tmp_path / "app.toml").write_text(f"[site]\n{line}\n", encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        app.read_toml(tmp_path / "app.toml")
    assert "at line 2" in caught.value.message
    assert told in caught.value.message


def test_a_mark_at_the_beginning_of_the_file_is_no_fault(tmp_path: Path) -> None:
    (tmp_path / "app.toml").write_text("[site]\ntitle = 'T'\n", encoding="utf-8-sig")
    assert app.read_toml(tmp_path / "app.toml") == ({"site": {"title": "T"}}, "[site]\ntitle = 'T'\n")


@pytest.mark.parametrize(
    ("toml", "told"),
    [
        ('[providers.p]\nkind = "file"\npath = "x"', ["providers.p.path: is not a setting; did you mean root?"]),
        ("[forms.a.field]\nx = {}", ["forms.a.field: is not a setting; did you mean fields?"]),
        ('[forms.a]\nfields.x = "string"', ['forms.a.fields.x: must be a table: write x = { type = "string" }']),
        ('[roles]\nx = ["forms/a:read"]', ["roles.x: must be a table: write [roles.x]"]),
        ('[providers]\nx = "sql"', ["providers.x: must be a table: write [providers.x]"]),
        ('[http]\nhosts = "a.example"', ['http.hosts: must be a list of texts, such as ["a.example"]']),
        (
            '[files.s]\naccept = ["jpg"]',
            [
                'files.s.accept: \'jpg\' is neither a media type, such as "image/*", nor an ending, such as ".pdf"; '
                'write ".jpg"'
            ],
        ),
        ('[forms.a]\nfields.x.enum = "s"', ['forms.a.fields.x.enum: must be a list [ … ], such as ["s"]']),
        ('[sqs]\nqueues = ["https://q"]', ['sqs.queues.0: must be a table: write { url = "https://q" }']),
    ],
)
def test_one_mistake_is_one_fault_that_says_what_to_write(tmp_path: Path, toml: str, told: list[str]) -> None:
    main = '[providers.main]\nkind = "sql"\nurl = "sqlite:///a.db"\n' * ("[providers]" not in toml)
    with closing(
        App(app.read_config(tomllib.loads(main + toml), tmp_path, "app.toml", SETTINGS), REGISTRY, strict=False)
    ) as site:
        assert [f"{one.pointer}: {one.detail}" for one in site.faults] == told


def test_a_fault_has_its_line_and_no_fault_follows_from_another(tmp_path: Path) -> None:
    located = app.plugin("toml_advice").located

    def found(text: str) -> list[str]:
        (tmp_path / "app.toml").write_text(text)
        raw, again = app.read_toml(tmp_path / "app.toml")
        config = app.read_config(raw, tmp_path, "app.toml", SETTINGS)
        config = config._replace(lines=lambda: app.plugin("toml_advice").toml_lines(again))
        with closing(App(config, REGISTRY, strict=False)) as site:
            return [": ".join((one.pointer, one.detail)) for one in located(config, site.faults)]

    assert found('[sit]\ntitle = "x"\n') == ["sit: is not a setting; did you mean site? (line 1)"]
    assert found("\n[site]\ntitl = 1\n") == ["site.titl: is not a setting; did you mean title? (line 3)"]
    assert found('[providers.Main]\nkind = "sql"\n[forms.a]\nprovider = "Main"\nfields.x = {}\n') == [
        "providers.Main: is not a name: a-z, 0-9, _ and -, beginning with a letter, at most 64 (line 1)"
    ]
    main = '[providers.main]\nkind = "sql"\nurl = "sqlite:///a.db"\n'
    assert found(main + '[views."V"]\nfrom = "forms/A"\n[forms.A]\nfields.x = {}\n[views.b]\nfrom = "forms/A"\n') == [
        "forms.A: is not a name: a-z, 0-9, _ and -, beginning with a letter, at most 64 (line 6)",
        "views.V: is not a name: a-z, 0-9, _ and -, beginning with a letter, at most 64 (line 4)",
    ]
    text = main + "[forms.a]\nnote = '''\n[x]\n'''\n[forms.a.fields]\nx = { type = \"date\" }\n"
    assert [line.rpartition(" (")[2] for line in found(text)] == ["line 9)"]
    queues = '[[sqs.queues]]\nurl = "https://q/1/a"\n[[sqs.queues]]\nurl = "q"\n'
    assert found(main + queues) == ['sqs.queues.1.url: must be the URL of a queue, or "env:NAME" or "file:PATH" (line 7)']
    lines = app.plugin("toml_advice").toml_lines("[sqs]\n" + queues)
    assert (lines["sqs.queues"], lines["sqs.queues.1"]) == (2, 4)  # what is wrong with the list is not a fault of [sqs]
    assert found("") == [
        'site.state: is missing, and no provider is declared: write [providers.main] with kind = "sql" and url = '
        '"sqlite:///data/app.db"'
    ]


def test_every_fault_is_listed_at_once() -> None:
    found = faults("""
        [site]
        titel = "x"
        [http]
        bind = 5
        [providers.main]
        kind = "sql"
        url = "sqlite:///a.db"
        [providers.disk]
        kind = "file"
        root = "files"
        [providers.bad]
        kind = "sqll"
        [files.ok]
        provider = "disk"
        [forms.disk_is_fine]
        provider = "disk"
        fields.a = {}
        [forms.nowhere]
        provider = "mian"
        fields.a = {}
        [forms.two_bad_fields]
        fields.a = { minimum = 1 }
        fields.b = { type = "number", default = "x" }
        [forms.lost_share]
        fields.f = { format = "file", files = "files/okay" }
        [views.on_file]
        provider = "disk"
        sql = "select 1"
        [views.of_nothing]
        from = "forms/nothing"
        [views.bad_columns]
        from = "forms/disk_is_fine"
        columns.x = {}
        order_by = ["-y"]
        where = [{ field = "z", eq = 1 }]
        [apps.a]
        menu = ["forms/nothing", "views/nothing"]
        home = "forms/none"
        static = "no-such-folder"
        """)
    assert set(found) == {
        "site.titel",
        "http.bind",
        "providers.bad.kind",
        "forms.nowhere.provider",
        "forms.two_bad_fields.fields.a.minimum",
        "forms.two_bad_fields.fields.b.default",
        "forms.lost_share.fields.f.files",
        "views.on_file.provider",
        "views.of_nothing.from",
        "views.bad_columns.columns",
        "views.bad_columns.order_by",
        "views.bad_columns.where",
        "apps.a.menu",
        "apps.a.home",
        "apps.a.static",
    }


def test_an_app_is_not_built_from_a_configuration_with_faults() -> None:
    with pytest.raises(ConfigError, match="2 faults") as caught:
        App(read(with_setting("http.bind", "5") | {"nonsense": 1}), REGISTRY)
    assert {fault.pointer for fault in caught.value.faults} == {"http.bind", "nonsense"}


FIELD_FAULTS = [
    ('{ type = "number", multipleOf = 0 }', "multipleOf"),
    ('{ type = "number", multipleOf = -0.5 }', "multipleOf"),
    ('{ type = "number", minimum = 5, maximum = 4 }', "minimum"),
    ("{ minLength = 5, maxLength = 4 }", "minLength"),
    ('{ type = "boolean", enum = ["a"] }', "enum"),
    ('{ type = "integer", enum = ["a"] }', "enum"),
    ('{ type = "integer", enum = [1.5] }', "enum"),
    ('{ type = "string", enum = [1] }', "enum"),
    ('{ enum = ["a"], oneOf = [{ const = "b" }] }', "enum"),
    ('{ type = "array" }', "items"),
    ('{ type = "array", enum = ["a"] }', "enum"),
    ('{ type = "array", items = { type = "boolean", enum = ["a"] } }', "items"),
    ('{ type = "array", items = { enum = [1] } }', "items"),
    ('{ items = { enum = ["a"] } }', "items"),
    ('{ type = "integer", format = "date" }', "format"),
    ('{ format = "datum" }', "format"),
    ('{ format = "file" }', "files"),
    ('{ files = "files/handbook" }', "files"),
    ('{ accept = [".pdf"] }', "accept"),
    ('{ format = "file", files = "files/handbook", default = "x" }', "format"),
    ('{ default = "x", maxLength = 0 }', "default"),
    ('{ type = "number", minimum = 0, default = -1 }', "default"),
    ('{ type = "boolean", default = 1 }', "default"),
    ('{ type = "integer", default = 1.5 }', "default"),
    ('{ format = "date", default = "tomorrow" }', "default"),
    ('{ enum = ["a"], default = "b" }', "default"),
    ("{ format = 5 }", "format"),
]


@pytest.mark.parametrize(("toml", "key"), FIELD_FAULTS)
def test_a_field_that_makes_no_sense_is_a_fault_of_its_setting(toml: str, key: str) -> None:
    assert f"forms.leave.fields.code.{key}" in faults(with_setting("forms.leave.fields.code", toml))


@pytest.mark.parametrize(
    "name", ["id", "version", "created_at", "updated_by", "a__b", "9a", "a-b", "_a", "ä", "a b", "", "a" * 65]
)
def test_a_name_that_no_field_may_have_is_refused(name: str) -> None:
    raw = parse(RICH)
    raw["forms"]["leave"]["fields"][name] = {}
    assert f"forms.leave.fields.{name}" in faults(raw)


@pytest.mark.parametrize("name", ["Leave", "9x", "a b", "", "-a", "a" * 65, "a/b", "ä", "a.b"])
def test_a_name_that_no_resource_may_have_is_refused(name: str) -> None:
    raw = parse(RICH)
    raw["forms"][name] = raw["forms"]["leave"]
    assert "is not a name" in faults(raw)[f"forms.{name}"]


def test_a_form_needs_fields() -> None:
    assert "at least one field" in faults('[providers.main]\nkind = "file"\nroot = "x"\n[forms.a]\n')["forms.a.fields"]


def test_settings_of_the_other_kind_of_view_are_refused() -> None:
    assert "goes with sql" in faults(with_setting("views.open.provider", '"main"'))["views.open.provider"]
    assert "goes with sql" in faults(with_setting("views.open.params", "{}"))["views.open.params"]
    assert "goes with from" in faults(with_setting("views.sales.where", "[]"))["views.sales.where"]
    assert "not both" in faults(with_setting("views.sales.from", '"forms/leave"'))["views.sales"]


def test_two_forms_cannot_have_one_table_on_one_provider() -> None:
    raw = parse(RICH)
    raw["forms"]["other"] = raw["forms"]["leave"] | {"table": "LEAVE"}
    assert faults(raw) == {"forms.other.table": "is LEAVE, which forms.leave has already: name another"}
    raw["forms"]["other"]["provider"] = "share"
    assert faults(raw) == {}


def test_a_contract_that_a_provider_has_not_is_a_fault() -> None:
    class Only(app.Blobs):
        kind = "only"

        def __init__(self, name: str, options: Mapping[str, Any], folder: Path) -> None: ...

    only: Any = type("Only", (Only,), dict.fromkeys(Only.__abstractmethods__ - {"__init__"}, lambda self: None))
    raw = parse(RICH)
    raw["providers"]["bytes"] = {"kind": "only"}
    raw["forms"]["leave"]["provider"] = "bytes"
    raw["views"]["sales"]["provider"] = "bytes"
    registry = app.load_registry(Path("/nowhere"))
    registry.add(only, Path(__file__))
    config = app.read_config(raw, Path("/srv"), "app.toml", SETTINGS | {"only": ()})
    found = {fault.pointer: fault.detail for fault in App(config, registry, strict=False).faults}
    assert set(found) == {"forms.leave.provider", "views.sales.provider"}
    assert "has no Records (it needs one of: main, share)" in found["forms.leave.provider"]
    assert "has no Queries (it needs one of: main)" in found["views.sales.provider"]
    raw["site"]["state"] = "bytes"
    config = app.read_config(raw, Path("/srv"), "app.toml", SETTINGS | {"only": ()})
    assert "site.state" in {fault.pointer for fault in App(config, registry, strict=False).faults}


# ---- which provider


ONE = '[providers.{}]\nkind = "sql"\nurl = "sqlite:///{}.db"\n'


def test_state_goes_to_main_or_to_the_only_provider() -> None:
    form = '[forms.a]\nprovider = "{}"\nfields.x = {{}}\n'
    assert faults(ONE.format("box", "box") + form.format("box")) == {}
    assert faults(ONE.format("box", "box") + ONE.format("main", "main")) == {}
    two = ONE.format("box", "box") + ONE.format("bag", "bag")
    assert faults(two) == {"site.state": "is missing: name one of the providers box, bag"}
    assert faults('[site]\nstate = "bag"\n' + two) == {}
    assert faults('[site]\nstate = "bug"\n' + two) == {
        "site.state": "names 'bug', which is not a provider; did you mean bag?"
    }
    assert "site.state" in faults("")


@pytest.mark.parametrize("others", ["", '[providers.disk]\nkind = "file"\nroot = "x"\n[files.f]\nprovider = "disk"\n'])
def test_a_database_that_only_views_read_does_not_become_the_state_provider(others: str) -> None:
    text = ONE.format("main", "erp") + '[views.v]\nsql = "select 1"\n' + others
    assert set(faults(text)) == {"site.state"}
    assert faults(text + "[forms.f]\nfields.a = {}\n") == {}
    assert faults('[site]\nstate = "main"\n' + text) == {}


def test_a_resource_without_a_provider_setting_needs_an_obvious_one() -> None:
    two = '[site]\nstate = "box"\n' + ONE.format("box", "box") + ONE.format("bag", "bag")
    assert set(faults(two + "[forms.a]\nfields.x = {}\n")) == {"forms.a.provider"}


# ---- secrets and paths


def test_secrets_come_from_the_environment_or_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RING", " the ring\n")
    (tmp_path / "ring").write_text("from a file\n")
    assert read('auth.keys = "env:RING"', tmp_path).auth.keys == "the ring"
    assert read('auth.keys = "file:ring"', tmp_path).auth.keys == "from a file"
    assert "the ring" not in repr(read('auth.keys = "env:RING"', tmp_path))


@pytest.mark.parametrize("content", ["", "  \n"])
def test_an_empty_secret_is_a_fault_and_not_a_missing_setting(
    content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RING", content)
    (tmp_path / "ring").write_text(content)
    for source in ("env:RING", "file:ring"):
        assert (
            "which is empty" in {f.pointer: f.detail for f in read(f'auth.keys = "{source}"', tmp_path).faults}["auth.keys"]
        )


def test_a_bad_secret_is_not_shown() -> None:
    found = faults(with_setting("auth.keys", '"hunter2-hunter2"'))
    assert "hunter2" not in str(found)


def test_tls_needs_both_files_and_they_must_be_there(tmp_path: Path) -> None:
    (tmp_path / "c.pem").write_text("x")
    assert "both or neither" in faults(with_setting("http.tls_cert", '"c.pem"'), tmp_path)["http.tls_cert"]
    assert set(faults(with_setting("http.tls_cert", '"d.pem"'), tmp_path)) == {"http.tls_cert"}


@pytest.mark.parametrize(
    ("lines", "fault"),
    [
        ('wait = "21s"', "sqs.wait"),
        ('drain_timeout = "20s"', "sqs.drain_timeout"),
        ('visibility = "1s"', "sqs.visibility"),
        (
            'queues = [{ url = "https://q/1/a", events = { resource = "forms/none", role = "staff" } }]',
            "sqs.queues.0.events.resource",
        ),
        (
            'queues = [{ url = "https://q/1/a", events = { resource = "forms/leave", role = "none" } }]',
            "sqs.queues.0.events.role",
        ),
    ],
)
def test_times_and_names_of_queues_must_fit(lines: str, fault: str) -> None:
    assert list(faults(RICH + f"[sqs]\n{lines}\n")) == [fault]


def test_relative_paths_start_at_the_folder_of_app_toml_and_absolute_ones_stay() -> None:
    raw = with_setting("site.data", '"/var/lib/satchel"')
    assert read(raw, Path("/etc/satchel")).site.data == Path("/var/lib/satchel")
    assert read(RICH, Path("/etc/satchel")).site.data == Path("/etc/satchel/data")


# ---- files that are no TOML


@pytest.mark.parametrize(
    "content",
    [
        b"[site\n",
        b"a = ",
        b"\xff\xfe",
        b"a = 1\na = 2\n",
        b"[a]\n[a]\n",
        b"a = " + b"[" * 20_000,
    ],
)
def test_a_file_that_is_not_toml_is_a_configuration_error(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "app.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"app\.toml is not TOML"):
        app.read_toml(path)


def test_a_syntax_error_names_its_line(tmp_path: Path) -> None:
    path = tmp_path / "app.toml"
    path.write_text("[site]\ntitle = oops\n")
    with pytest.raises(ConfigError, match="line 2"):
        app.read_toml(path)


def test_a_missing_file_is_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        app.read_toml(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match="cannot be read"):
        app.read_toml(tmp_path)


def test_decimals_of_the_file_stay_exact(tmp_path: Path) -> None:
    path = tmp_path / "app.toml"
    path.write_text("a = 0.1\nb = 0.1000000000000000000001\n")
    assert app.read_toml(path)[0] == {"a": 0.1, "b": Decimal("0.1000000000000000000001")}


# ---- fuzz


NASTY: list[Any] = [
    None,
    0,
    1,
    -1,
    2**70,
    10**400,
    0.5,
    float("nan"),
    float("inf"),
    Decimal("1e999999"),
    True,
    False,
    "",
    "x",
    "\0",
    "a" * 70,
    "forms/leave",
    "files/handbook",
    "env:X",
    "[",
    "../x",
    [],
    [1],
    ["x"],
    [[]],
    [{}],
    {},
    {"x": 1},
    {"x": {}},
    {"kind": []},
    {"type": []},
    {"enum": 5},
    {"field": "days"},
    [{"const": 1}],
    tomllib.loads("d = 2026-01-01")["d"],
    tomllib.loads("d = 2026-01-01T00:00:00")["d"],
    tomllib.loads("d = 12:00:00")["d"],
]


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if path else []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        found += _places(item, (*path, key))
    return found


def _mutate(raw: dict[str, Any], rng: random.Random) -> None:
    path = rng.choice(_places(raw))
    table: Any = raw
    for key in path[:-1]:
        table = table[key]
    match rng.randrange(4):
        case 0:
            del table[path[-1]]
        case 1 if isinstance(table, dict):
            table[rng.choice(["x", "title", "kind", "type", "fields", "a.b", "", "default", "items"])] = rng.choice(NASTY)
        case _:
            table[path[-1]] = copy.deepcopy(rng.choice(NASTY))


def test_whatever_stands_in_the_file_gives_faults_and_never_a_traceback(tmp_path: Path) -> None:
    rng = random.Random(20261123)
    refused = 0
    for _ in range(300):
        raw = parse(RICH)
        for _ in range(rng.choice([1, 1, 1, 2, 5])):
            _mutate(raw, rng)
        config = read({k: v for k, v in raw.items() if v is not None}, tmp_path)
        looked_at = App(config, REGISTRY, strict=False)
        assert all(isinstance(f, Fault) and f.detail for f in looked_at.faults)
        refused += bool(looked_at.faults)
        if not looked_at.faults:
            App(config, REGISTRY)
    assert 150 < refused < 300


def test_a_faulty_setting_keeps_its_default_so_that_the_rest_can_be_read() -> None:
    config = read(with_setting("http.bind", "5"))
    assert config.http.bind == "127.0.0.1:8080"
    assert [f.pointer for f in config.faults] == ["http.bind"]
    assert not config.is_sound("http")
    assert config.is_sound("site")
    assert config.is_sound("forms.lea")
    assert config._replace(faults=()).is_sound("http")


def test_nothing_is_created_by_reading_or_building(tmp_path: Path) -> None:
    App(read(RICH, tmp_path), REGISTRY)
    assert os.listdir(tmp_path) == []


# ---- media types

USUAL = """
docx xlsx pptx odt ods odp webp md m4a mkv heic avif 7z log yaml toml csv tsv ics eml msg epub woff2 wasm apk jar ts
tsx jsx go rs py sh sql ndjson jsonl geojson gpx kml parquet sqlite dwg dxf psd ai sketch stl obj step glb mp3 opus flac mov
webm mpg zst rar tar gz bz2 xz zip pdf txt html css js mjs json xml svg png jpg jpeg gif tiff bmp ico mp4 avi wav ogg ttf otf
doc xls ppt rtf vsdx mpp one pages numbers key exe msi dmg iso deb rpm""".split()


def test_media_types_are_a_table_of_our_own_with_the_usual_ones() -> None:
    lines = (ROOT / "templates" / "media.types").read_text("utf-8").splitlines()
    every = [line.split() for line in lines if line and not line.startswith("#")]
    rows = [row for row in every if "=" not in row]
    names = {row[0]: row[2] for row in every if "=" in row}
    assert set(names.values()) <= {row[0] for row in rows}
    assert not set(names) & {row[0] for row in rows}
    types, endings = [row[0] for row in rows], [ending for row in rows for ending in row[1:]]
    assert len(types) == len(set(types)) >= 400
    assert len(endings) == len(set(endings))
    assert all(re.fullmatch(r"[a-z]+/[a-z0-9][a-z0-9.+-]*", one) for one in types)
    assert all(re.fullmatch(r"[a-z0-9_]+", one) for one in endings)
    assert not set(USUAL) - set(endings)
    assert not any("mimetypes" in path.read_text("utf-8") for path in (ROOT / "app.py", ROOT / "plugins" / "media_types.py"))


@pytest.mark.parametrize(
    ("name", "media"),
    [
        ("a.webp", "image/webp"),
        ("A.B.DOCX", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
        ("a.tar.gz", "application/gzip"),
        ("a.html.png", "image/png"),
        ("a.png.html", "text/html"),
        ("a.mjs", "text/javascript"),
        ("a.xht", "application/xhtml+xml"),
        ("a.unknown", "application/octet-stream"),
        ("png", "application/octet-stream"),
        (".png", "application/octet-stream"),
        ("a.", "application/octet-stream"),
        ("", "application/octet-stream"),
    ],
)
def test_the_last_ending_of_a_name_says_its_media_type(name: str, media: str) -> None:
    assert media_types.media_type(name) == media


@pytest.mark.parametrize(
    ("accepted", "name"),
    [
        ("text/xml", "a.xml"),
        ("image/jpg", "a.JPEG"),
        ("audio/mp3", "a.mp3"),
        ("application/x-zip-compressed", "a.zip"),
        ("Application/X-RAR", "a.rar"),
        ("image/vnd.microsoft.icon", "a.ico"),
    ],
)
def test_accept_knows_the_other_names_of_a_media_type(accepted: str, name: str) -> None:
    assert media_types.accepts([accepted], name)
    assert not media_types.accepts([accepted], "a.exe")


@pytest.mark.parametrize("wrong", ["pdf", "image", "*", "", "/pdf", "image/", ".a/b"])
def test_an_entry_of_accept_that_is_neither_type_nor_ending_is_a_fault(wrong: str) -> None:
    assert "such as" in faults({"files": {"docs": {"accept": [wrong]}}})["files.docs.accept"]


def test_a_file_input_offers_the_endings_of_the_types_that_it_takes() -> None:
    offered = media_types.file_input_accept(["image/*", ".pdf"]).split(",")
    assert offered[:2] == ["image/*", ".pdf"]
    assert {".webp", ".heic", ".avif", ".svg"} < set(offered)
    assert ".mp4" not in offered
    assert media_types.file_input_accept([]) == media_types.file_input_accept(["*/*"]) == ""
    assert all(media_types.accepts(["image/*", ".pdf"], "a" + ending) for ending in offered[1:])
