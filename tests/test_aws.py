"""The aws plugin beyond the contract: what its services refuse, lose, delay and garble, and what it costs."""

from __future__ import annotations

import hashlib
import random
import re
import subprocess
import sys
import time
import tomllib
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import aws_server
import pytest
from aws_server import module
from test_provider_contract import everything, keys, race

import app
from app import Condition, Delete, Insert, Query, Record, Update

MIB = 1024 * 1024
DAY_S = 86_400


@pytest.fixture
def build(tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """`build(**settings)`: a provider of this test's own bucket and tables, of which nothing is made."""
    made = []

    def one(**more: Any) -> Any:
        made.append(aws_server.build(tmp_path, **more))
        return made[-1]

    yield one
    for provider in made:
        provider.close()


@pytest.fixture
def aws(build: Callable[..., Any]) -> Any:
    provider = build()
    provider.create(["t", "u"])
    return provider


@pytest.fixture
def proxy() -> Iterator[aws_server.Proxy]:
    with closing(aws_server.Proxy(aws_server.endpoint())) as one:
        yield one


@pytest.fixture
def pauses() -> list[float]:
    return []


@pytest.fixture
def faulty(aws: Any, build: Callable[..., Any], proxy: aws_server.Proxy, pauses: list[float]) -> Any:
    """A provider behind the proxy, whose pauses take no time and are written down."""
    return build(endpoint=proxy.url, sleep=pauses.append, timeout=1)


# ---- settings, and what is made when


def imports_boto3(code: str, folder: Path) -> bool:
    """Whether a fresh process that ran it has imported boto3 or botocore."""
    check = "sys.exit(9 * any(name.split('.')[0] in ('boto3', 'botocore') for name in sys.modules))"
    path = str(Path(app.__file__).parent)
    program = f"import sys; sys.path.insert(0, {path!r}); import app; from pathlib import Path\n{code}\n{check}"
    done = subprocess.run([sys.executable, "-c", program], cwd=folder, timeout=60, capture_output=True)
    assert done.returncode in (0, 9), done.stderr.decode()
    return done.returncode == 9


def test_boto3_is_imported_by_open_and_not_before(tmp_path: Path) -> None:
    options = {"bucket": "some", "tables": "", "region": "eu-central-1"}
    code = f"one = app.load_registry(Path('.')).of(app.Provider)['aws']('c', {options!r}, Path('.'))"
    assert not imports_boto3(code, tmp_path)
    assert imports_boto3(code + "; one.open(); one.close()", tmp_path)


@pytest.mark.parametrize(
    "args", [["--help"], ["auth", "issue", "--subject", "ann"], ["server", "check"], ["info", "providers"]], ids=" ".join
)
def test_commands_on_sqlite_import_no_boto3(args: list[str], tmp_path: Path) -> None:
    assert not imports_boto3(f"try: app.main({args!r})\nexcept SystemExit: pass", tmp_path)


@pytest.mark.parametrize(
    ("options", "place"),
    [
        ({}, "bucket"),
        ({"bucket": "A_bucket"}, "bucket"),
        ({"tables": "a/b"}, "tables"),
        ({"tables": "", "endpoint": "localhost:9000"}, "endpoint"),
        ({"tables": "", "endpoint": "https://key:secret@host"}, "endpoint"),
    ],
)
def test_settings_that_cannot_work_are_named(options: dict[str, Any], place: str, tmp_path: Path) -> None:
    with pytest.raises(app.ConfigError) as caught:
        aws_server.plugin()("cloud", options, tmp_path)
    assert [fault.pointer for fault in caught.value.faults] == [f"providers.cloud.{place}"]
    assert "secret" not in caught.value.message


def test_settings_come_from_app_toml_with_their_defaults(tmp_path: Path) -> None:
    def options(toml: str) -> Any:
        raw = tomllib.loads(f"[providers.cloud]\nkind = 'aws'\n{toml}")
        kinds = {kind: cls.settings for kind, cls in app.load_registry(tmp_path).of(app.Provider).items()}
        return app.read_config(raw, tmp_path, "app.toml", kinds).providers["cloud"].options

    defaults = {"region": "", "endpoint": "", "timeout": 10, "connections": 16, "scan_limit": 10_000}
    assert options("bucket = 'some'") == {"bucket": "some", "tables": None, **defaults}
    assert options("tables = ''\ntimeout = '1m'") == {"bucket": "", "tables": "", **defaults, "timeout": 60}


def test_the_contracts_follow_the_settings_and_the_other_service_is_never_asked(
    aws: Any, build: Callable[..., Any], proxy: aws_server.Proxy
) -> None:
    files, forms = build(endpoint=proxy.url, tables=None), build(endpoint=proxy.url, bucket="")
    assert [files.has(c) for c in (app.Records, app.Blobs, app.Queries)] == [False, True, False]
    assert [forms.has(c) for c in (app.Records, app.Blobs, app.Queries)] == [True, False, False]
    files.ping()
    files.write("a", [b"x"])
    files.create(["t"])
    assert not any("X-Amz-Target" in asked.headers for asked in proxy.asked)
    proxy.asked.clear()
    forms.ping()
    forms.commit([Insert("t", "a", {})])
    assert forms.create(["t"]) == []
    assert all("X-Amz-Target" in asked.headers for asked in proxy.asked)


def test_create_says_what_it_made_and_makes_nothing_twice(build: Callable[..., Any], tmp_path: Path) -> None:
    provider, named = build(), aws_server.options(tmp_path)
    assert provider.create(["t", "_audit", "t"]) == [
        f"S3 bucket {named['bucket']}",
        f"DynamoDB table {named['tables']}t",
        f"DynamoDB table {named['tables']}_audit",
    ]
    assert provider.create(["t", "_audit"]) == []
    answers = race(4, lambda n: build().create(["new"]))
    assert sum(map(len, answers)) == 1
    s3 = provider._s3
    assert all(s3("", "get_public_access_block")["PublicAccessBlockConfiguration"].values())
    assert len(s3("", "get_bucket_lifecycle_configuration")["Rules"]) == 2


CREATING = (
    b'{"Table":{"TableStatus":"CREATING","KeySchema":[{"AttributeName":"part","KeyType":"HASH"},'
    b'{"AttributeName":"key","KeyType":"RANGE"}]}}'
)


def test_create_waits_until_a_table_can_be_used_and_tells_what_a_service_cannot_do(
    build: Callable[..., Any], proxy: aws_server.Proxy, pauses: list[float]
) -> None:
    provider = build(endpoint=proxy.url, sleep=pauses.append)
    slow: list[aws_server.Verdict] = [None, *[(200, "application/x-amz-json-1.0", CREATING)] * 3]

    def judge(asked: aws_server.Asked) -> aws_server.Verdict:
        if asked.operation == "UpdateContinuousBackups":
            return 400, "application/x-amz-json-1.0", b'{"__type":"UnknownOperationException"}'
        if asked.path.endswith("?publicAccessBlock"):
            return 501, "application/xml", b"<Error><Code>NotImplemented</Code></Error>"
        return slow.pop(0) if slow and asked.operation == "DescribeTable" else None

    proxy.judge = judge
    bucket, table = provider.create(["t"])
    assert bucket.endswith("(the service refused a block of public access)")
    assert table.endswith("-t (without point-in-time recovery: switch it on)")
    assert pauses.count(0.5) == 3
    assert provider.commit([Insert("t", "a", {})])


def test_what_is_missing_is_never_made_silently_and_the_command_that_makes_it_is_named(
    build: Callable[..., Any], tmp_path: Path
) -> None:
    provider = build()
    works: list[Callable[[], Any]] = [
        lambda: provider.get("t", "a"),
        lambda: provider.find(Query("t")),
        lambda: provider.count(Query("t")),
        lambda: list(provider.walk(Query("t"))),
        lambda: provider.commit([Insert("t", "a", {})]),
        lambda: provider.commit([Update("t", "a", {})]),
        lambda: provider.stat("a"),
        lambda: provider.read("a"),
        lambda: provider.write("a", [b"x"]),
        lambda: list(provider.scan()),
        provider.ping,
    ]
    for work in works:
        with pytest.raises(
            app.ConfigError, match=r"^provider main: .*does not have the (table|bucket): run `server check --create`"
        ):
            work()
    assert provider.tables() == []
    provider.create(["t"])
    provider.commit([Insert("t", "a", {})])
    with pytest.raises(app.ConfigError, match="server check --create"):
        provider.commit([Insert("t", "b", {}), Insert("other", "b", {})])
    assert provider.count(Query("t")) == 1


def test_an_item_that_another_program_wrote_takes_no_list_with_it(build: Callable[..., Any], tmp_path: Path) -> None:
    provider = build()
    provider.create(["t"])
    provider.commit([Insert("t", key, {"n": 1}) for key in "ae"])
    place = aws_server.options(tmp_path)["tables"] + "t"
    for key, item in {
        "b": {"data": {"S": "{nope"}, "version": {"N": "3"}},
        "c": {"version": {"S": "x"}, "data": {"S": '{"n":2}'}},
        "d": {"colour": {"S": "red"}},
    }.items():
        provider._dynamo("", "put_item", TableName=place, Item={"part": {"S": "r"}, "key": {"S": key}, **item})
    for query in (Query("t"), Query("t", order_by=("version", "id"), where=(Condition("n", "ne", 5),))):
        found = sorted(provider.find(query).items, key=lambda record: record.key)
        assert [(r.key, r.version, r.value.get("n"), r.damage) for r in found] == [
            ("a", 1, 1, ""), ("b", 3, None, "is not JSON"), ("c", 1, 2, ""), ("d", 1, None, "is not text"), ("e", 1, 1, ""),
        ]  # fmt: skip
        assert provider.count(query) == 5
    assert provider.get("t", "b").damage == "is not JSON"
    assert provider.commit([Update("t", "c", {"n": 3})])[0].version == 2
    provider.commit([Delete("t", "b", 3), Delete("t", "d", 1)])
    assert [record.key for record in provider.walk(Query("t"))] == ["a", "c", "e"]


def test_a_table_of_another_program_is_not_taken_over(build: Callable[..., Any], tmp_path: Path) -> None:
    provider = build()
    provider._dynamo(
        "", "create_table", TableName=aws_server.options(tmp_path)["tables"] + "t", BillingMode="PAY_PER_REQUEST",
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
    )  # fmt: skip
    with pytest.raises(app.ConfigError, match="not made for records"):
        provider.create(["t"])
    assert provider.tables() == []


def test_names_of_tables_are_told_apart_and_come_back() -> None:
    names = ["t", "u-2", "_audit", "a.b", "a.2eb", "..", ".", "ü", "A", "a", "t.", "🏖"]
    for prefix in ("", "acme-", "x.y."):
        made = [module().table_name(prefix, name) for name in names]
        assert len(set(made)) == len(names)
        assert all(re.fullmatch(r"[A-Za-z0-9_.-]{3,255}", name) for name in made)
        assert [module().table_of(prefix, name) for name in made] == names
    assert module().table_of("", "foreign.name.zz") is None


# ---- records


def test_a_commit_that_is_too_large_is_refused_before_anything_is_asked(faulty: Any, proxy: aws_server.Proxy) -> None:
    assert faulty.most_writes == 100
    proxy.asked.clear()
    half = {"text": "x" * 200_000}
    with pytest.raises(app.TooLarge, match="100 writes"):
        faulty.commit([Insert("t", f"{n}", {}) for n in range(101)])
    with pytest.raises(app.TooLarge, match=r"record b .*400 KB"):
        faulty.commit([Insert("t", "a", half), Insert("t", "b", {"text": "ß" * 210_000})])
    with pytest.raises(app.TooLarge, match="4 MB"):
        faulty.commit([Insert("t", f"{n}", half) for n in range(21)])
    assert proxy.asked == []
    assert len(faulty.commit([Insert("t", f"{n}", {}) for n in range(100)])) == 100


def test_updates_of_whatever_is_there_count_every_version_though_they_race(aws: Any) -> None:
    answers = race(
        8, lambda n: [aws.commit([Update("t", "a", {"by": n}), Insert("u", f"{n}-{i}", {})])[0].version for i in range(3)]
    )
    assert sorted(version for versions in answers for version in versions) == list(range(1, 25))
    assert aws.get("t", "a").version == 24
    race(4, lambda n: aws.commit([Delete("t", "a")]))
    assert aws.get("t", "a") is None


def test_a_conflict_is_one_though_an_update_of_whatever_is_there_races_with_it(aws: Any) -> None:
    aws.commit([Insert("t", "a", {}), Insert("t", "b", {})])
    with pytest.raises(app.Conflict) as caught:
        aws.commit([Update("t", "a", {"n": 1}), Update("t", "b", {}, version=7), Insert("t", "a2", {})])
    assert caught.value.index == 1
    assert "at version 1 and not at version 7" in caught.value.message
    assert aws.get("t", "a") == Record("a", 1, {})


@pytest.fixture
def numbered(build: Callable[..., Any]) -> Any:
    """Thirty records where a filter or an order may read twenty."""
    provider = build(scan_limit=20)
    provider.create(["t"])
    provider.commit([Insert("t", f"{n:02}", {"n": n, "g": n % 2}) for n in range(30)])
    return provider


def test_filters_and_orders_past_their_bound_are_refused_and_never_answered_wrong(numbered: Any) -> None:
    late = (Condition("n", "gte", 25),)
    for work in (
        lambda: numbered.find(Query("t", where=late)),
        lambda: numbered.find(Query("t", order_by=("n",), limit=2)),
        lambda: numbered.find(Query("t", search="x", search_fields=("n",))),
        lambda: numbered.count(Query("t", where=late)),
        lambda: list(numbered.walk(Query("t", order_by=("-n",)))),
    ):
        with pytest.raises(app.TooLarge, match=r"t: .* reads over 20 records: narrow it by id"):
            work()


def test_what_follows_the_order_of_keys_has_no_bound(numbered: Any) -> None:
    everyone = [f"{n:02}" for n in range(30)]
    assert keys(numbered.find(Query("t", limit=30))) == everyone
    assert [r.key for r in numbered.walk(Query("t"))] == everyone
    assert [r.key for r in numbered.walk(Query("t", where=(Condition("g", "eq", 1),)))] == everyone[1::2]
    assert numbered.count(Query("t")) == 30
    assert keys(numbered.find(Query("t", where=(Condition("n", "gte", 5),), limit=8))) == everyone[5:13]


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ([("gte", "10"), ("lt", "13")], "10 11 12"),
        ([("gt", "27")], "28 29"),
        ([("lte", "01")], "00 01"),
        ([("prefix", "2"), ("gt", "28")], "29"),
        ([("eq", "07")], "07"),
        ([("in", ["29", "03", "nothing", 3, ""])], "03 29"),
        ([("in", ["03", "04"]), ("in", ["04", "05"])], "04"),
        ([("gt", "20"), ("lt", "10")], ""),
        ([("eq", [1])], ""),
        ([("prefix", "3")], ""),
    ],
)
def test_conditions_on_the_key_read_no_more_than_they_select(numbered: Any, where: list[Any], expected: str) -> None:
    conditions = tuple(Condition("id", op, value) for op, value in where)
    for order, more in ((("id",), ()), (("-id",), ()), (("-n",), (Condition("n", "gte", 0),))):
        query = Query("t", where=(*conditions, *more), order_by=order)
        wanted = expected.split()
        assert keys(numbered.find(query)) == (wanted if order == ("id",) else wanted[::-1])
        assert numbered.count(query) == len(wanted)
        assert [r.key for r in numbered.walk(query)] == keys(numbered.find(query))


def test_pages_backwards_inside_a_span_of_keys_meet_every_key_once(numbered: Any) -> None:
    span = (Condition("id", "gte", "05"), Condition("id", "lt", "25"))
    seen: list[str] = []
    page = numbered.find(Query("t", where=span, order_by=("-id",), limit=3))
    while page.next:
        seen += keys(page)
        page = numbered.find(Query("t", where=span, order_by=("-id",), limit=3, after=page.next))
    assert seen + keys(page) == [f"{n:02}" for n in reversed(range(5, 25))]


def test_pages_larger_than_an_answer_of_dynamodb_come_whole(aws: Any) -> None:
    for n in range(0, 12, 4):
        aws.commit([Insert("t", f"{m:02}", {"text": "x" * 300_000}) for m in range(n, n + 4)])
    assert len(aws.find(Query("t")).items) == 12
    assert aws.count(Query("t")) == 12
    assert len(aws.find(Query("t", where=(Condition("id", "in", [f"{n:02}" for n in range(12)]),))).items) == 12
    assert [r.key for r in aws.walk(Query("t", order_by=("-id",)))] == [f"{n:02}" for n in reversed(range(12))]


def test_an_export_in_another_order_holds_no_more_than_its_bound(aws: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module(), "MOST_SORTED_PAGES", 2)
    for n in range(9):
        aws.commit([Insert("t", f"{n}", {"n": -n, "text": "x" * 300_000})])
        if n == 4:
            assert [r.key for r in aws.walk(Query("t", order_by=("n",)))] == ["4", "3", "2", "1", "0"]
    with pytest.raises(app.TooLarge, match="2 MB to sort"):
        list(aws.walk(Query("t", order_by=("n",))))
    assert len(list(aws.walk(Query("t")))) == 9
    assert keys(aws.find(Query("t", order_by=("n",), limit=2))) == ["8", "7"]


# ---- faults of the service: throttling, lost answers, silence, garbage

THROTTLE = (
    400,
    "application/x-amz-json-1.0",
    b'{"__type":"com.amazon.coral.availability#ThrottlingException","message":"slow"}',
)
SLOW_DOWN = (503, "application/xml", b"<Error><Code>SlowDown</Code><Message>reduce your rate</Message></Error>")
PAGE = (200, "text/html", b"<html><body>Sign in to the hotel's network</body></html>")
FAILURE = (500, "text/html", b"<html>oops</html>")


def test_what_is_throttled_is_done_after_pauses_that_differ(
    faulty: Any, proxy: aws_server.Proxy, pauses: list[float]
) -> None:
    proxy.first([THROTTLE] * 5, "TransactWriteItems")
    assert faulty.commit([Insert("t", "a", {})]) == [Record("a", 1, {})]
    proxy.first([SLOW_DOWN] * 3, "PUT")
    assert faulty.write("a", [b"x"]).size_bytes == 1
    assert len(pauses) == len(set(pauses)) == 8
    assert all(0 <= pause <= 2 for pause in pauses)


def test_throttling_without_end_is_given_up(faulty: Any, proxy: aws_server.Proxy, pauses: list[float]) -> None:
    proxy.judge = lambda asked: THROTTLE if "X-Amz-Target" in asked.headers else SLOW_DOWN
    for work in (lambda: faulty.get("t", "a"), lambda: list(faulty.scan()), lambda: faulty.commit([Insert("t", "a", {})])):
        proxy.asked.clear()
        with pytest.raises(app.Unavailable, match="busy"):
            work()
        assert len(proxy.asked) == module().ATTEMPTS
    assert sum(pauses) < 3 * module().RETRY_S


CANCELLED = (
    400,
    "application/x-amz-json-1.0",
    b'{"__type":"com.amazonaws.dynamodb.v20120810#TransactionCanceledException","message":"cancelled",'
    b'"CancellationReasons":[{"Code":"TransactionConflict","Message":"ongoing"},{"Code":"None"}]}',
)


def test_transactions_that_meet_are_repeated_and_given_up_within_bounds(faulty: Any, proxy: aws_server.Proxy) -> None:
    writes = [Insert("t", "a", {}), Insert("t", "b", {})]
    proxy.first([CANCELLED] * 3, "TransactWriteItems")
    assert len(faulty.commit(writes)) == 2
    proxy.asked.clear()
    proxy.first([CANCELLED] * 99, "TransactWriteItems")
    with pytest.raises(app.Unavailable, match="others write the same records"):
        faulty.commit([Delete("t", "a"), Delete("t", "b")])
    assert proxy.count("TransactWriteItems") == module().ATTEMPTS


@pytest.mark.parametrize("loss", ["cut", "hang", FAILURE, PAGE], ids=["cut", "silence", "500", "page"])
def test_a_commit_whose_answer_is_lost_is_done_once_and_told_truly(faulty: Any, proxy: aws_server.Proxy, loss: Any) -> None:
    proxy.first([loss], "TransactWriteItems")
    assert faulty.commit([Insert("t", "a", {"n": 1}), Update("t", "b", {})]) == [
        Record("a", 1, {"n": 1}),
        Record("b", 1, {}),
    ]
    proxy.first([loss], "TransactWriteItems")
    assert faulty.commit([Update("t", "a", {"n": 2}, version=1), Update("t", "b", {"n": 2})])[1].version == 2
    assert faulty.get("t", "a") == Record("a", 2, {"n": 2})
    proxy.first([loss], "TransactWriteItems")
    with pytest.raises(app.Conflict) as caught:
        faulty.commit([Insert("u", "x", {}), Insert("t", "a", {})])
    assert caught.value.index == 1
    assert faulty.count(Query("u")) == 0


def test_a_gigabyte_of_json_is_not_read(faulty: Any, proxy: aws_server.Proxy) -> None:
    proxy.judge = lambda asked: "flood"
    tracemalloc.start()
    try:
        for work in (lambda: faulty.get("t", "a"), lambda: list(faulty.scan()), lambda: faulty.stat("a")):
            with pytest.raises(app.Unavailable, match=r"provider main: \w+: .*check the endpoint"):
                work()
        assert tracemalloc.get_traced_memory()[1] < 4 * module().MOST_ANSWER_BYTES
    finally:
        tracemalloc.stop()


def test_a_commit_that_meets_its_own_lost_attempt_is_no_conflict(faulty: Any, proxy: aws_server.Proxy) -> None:
    proxy.first(["cut", CANCELLED, CANCELLED], "TransactWriteItems")
    assert faulty.commit([Insert("t", "a", {}), Insert("t", "b", {})]) == [Record("a", 1, {}), Record("b", 1, {})]


def test_a_commit_of_which_nothing_is_heard_says_so(faulty: Any, proxy: aws_server.Proxy) -> None:
    proxy.first(["cut"] * 9, "TransactWriteItems")
    with pytest.raises(app.Unavailable, match="not known whether the commit was done"):
        faulty.commit([Insert("t", "a", {})])
    assert proxy.count("TransactWriteItems") == module().BREAKS + 1


@pytest.mark.parametrize("loss", ["cut", "hang", FAILURE], ids=["cut", "silence", "500"])
@pytest.mark.parametrize("condition", [{"if_none_match": True}, {"if_match": "etag"}, {}], ids=["new", "same", "any"])
def test_a_publish_whose_answer_is_lost_is_done_once_and_told_truly(
    faulty: Any, proxy: aws_server.Proxy, loss: Any, condition: dict[str, Any]
) -> None:
    if "if_match" in condition:
        condition = {"if_match": faulty.write("a", [b"old"]).etag}
    staged = faulty.stage([b"new"], "a")
    lost = [loss]
    proxy.judge = lambda asked: lost.pop() if lost and asked.method == "POST" and "uploadId=" in asked.path else None
    blob = faulty.publish(staged, "a", **condition)
    assert lost == []
    assert everything(faulty.read("a")) == b"new"
    assert faulty.stat("a") == blob
    with pytest.raises(app.NotFound):
        faulty.publish(staged, "a")


@pytest.mark.parametrize("code", ["NoSuchUpload", "PreconditionFailed"])
def test_a_publish_whose_repeat_is_refused_because_it_was_done_is_done(
    faulty: Any, proxy: aws_server.Proxy, code: str
) -> None:
    """S3 answers a repeated completion as it pleases; the emulators as if it were the first."""
    staged = faulty.stage([b"new"], "a")
    refusal = (404 if code == "NoSuchUpload" else 412, "application/xml", f"<Error><Code>{code}</Code></Error>".encode())
    verdicts: list[aws_server.Verdict] = ["cut", refusal]
    proxy.judge = lambda asked: verdicts.pop(0) if verdicts and "uploadId=" in asked.path else None
    assert faulty.publish(staged, "a", if_none_match=True) == faulty.stat("a")
    assert verdicts == []


def test_of_a_publish_that_lost_its_answer_and_its_race_the_loss_is_told(
    faulty: Any, aws: Any, proxy: aws_server.Proxy
) -> None:
    staged = faulty.stage([b"mine"], "a")

    def judge(asked: aws_server.Asked) -> Any:
        if asked.method != "POST" or "uploadId=" not in asked.path or proxy.closed.is_set() or aws.stat("a"):
            return None
        aws.write("a", [b"theirs"])
        return "drop"

    proxy.judge = judge
    with pytest.raises(app.PreconditionFailed):
        faulty.publish(staged, "a", if_none_match=True)
    assert everything(aws.read("a")) == b"theirs"
    faulty.publish(staged, "a")
    assert everything(aws.read("a")) == b"mine"


def attempts(provider: Any) -> dict[str, Callable[[], Any]]:
    return {
        "get": lambda: provider.get("t", "a"),
        "find": lambda: provider.find(Query("t")),
        "in": lambda: provider.find(Query("t", where=(Condition("id", "eq", "a"),))),
        "count": lambda: provider.count(Query("t")),
        "commit": lambda: provider.commit([Insert("t", "b", {})]),
        "tables": provider.tables,
        "stat": lambda: provider.stat("a"),
        "read": lambda: everything(provider.read("a")),
        "part": lambda: everything(provider.read("a", 1, 2)),
        "scan": lambda: list(provider.scan()),
        "write": lambda: provider.write("a", [b"x"]),
        "move": lambda: provider.move("a", "b"),
    }


@pytest.mark.parametrize("verdict", ["drop", PAGE, FAILURE, (200, "application/x-amz-json-1.0", b'{"Item": {"k')])
def test_an_endpoint_that_is_no_such_service_is_unavailable_and_named(
    faulty: Any, aws: Any, proxy: aws_server.Proxy, verdict: Any
) -> None:
    aws.commit([Insert("t", "a", {})])
    aws.write("a", [b"abc"])
    proxy.judge = lambda asked: verdict
    for name, work in attempts(faulty).items():
        with pytest.raises(app.Unavailable, match=r"^provider main: (S3|DynamoDB): .*check") as caught:
            work()
        assert caught.value.__cause__ or "check the endpoint" in caught.value.message, name
        assert "127.0.0.1" not in caught.value.message
    assert aws.get("t", "b") is None
    assert everything(aws.read("a")) == b"abc"


def test_a_json_service_that_is_not_dynamodb_acknowledges_nothing(faulty: Any, proxy: aws_server.Proxy) -> None:
    proxy.judge = lambda asked: (200, "application/json", b"{}")
    for name in ("get", "find", "count", "commit", "tables"):
        with pytest.raises(app.Unavailable, match="check the endpoint"):
            attempts(faulty)[name]()


@pytest.mark.parametrize("code", ["PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"])
def test_a_bucket_in_another_region_is_a_fault_of_the_configuration(faulty: Any, proxy: aws_server.Proxy, code: str) -> None:
    proxy.judge = lambda asked: (400, "application/xml", b"<Error><Code>%s</Code></Error>" % code.encode())
    for name in ("read", "scan"):
        with pytest.raises(app.ConfigError, match="in another region: set region"):
            attempts(faulty)[name]()
    with pytest.raises(app.Unavailable, match="check bucket, region and credentials"):
        faulty.stat("a")


def test_answers_that_break_off_are_unavailable(faulty: Any, aws: Any, proxy: aws_server.Proxy) -> None:
    aws.commit([Insert("t", "a", {"text": "x" * 1000})])
    aws.write("a", [b"abc" * 1000])
    proxy.judge = lambda asked: "half"
    for name in ("get", "find", "in", "count", "tables", "read", "scan"):
        with pytest.raises(app.Unavailable, match="check the endpoint"):
            attempts(faulty)[name]()


def test_silence_ends_after_the_timeout(faulty: Any, proxy: aws_server.Proxy) -> None:
    proxy.judge = lambda asked: "hang"
    for work in (lambda: faulty.get("t", "a"), lambda: faulty.stat("a")):
        began = time.monotonic()
        with pytest.raises(app.Unavailable, match="did not answer in time"):
            work()
        assert 0.9 < time.monotonic() - began < 3


def test_a_service_that_is_away_is_unavailable_at_once_and_comes_back_without_a_restart(
    build: Callable[..., Any], aws: Any, pauses: list[float]
) -> None:
    port = aws_server.backends.free_port()
    away = build(endpoint=f"http://127.0.0.1:{port}", sleep=pauses.append)
    for work in (away.ping, *attempts(away).values()):
        with pytest.raises(app.Unavailable, match="cannot be reached") as caught:
            work()
        assert str(port) not in caught.value.message
    assert pauses == []
    with closing(aws_server.Proxy(aws_server.endpoint(), port)):
        away.ping()
        assert away.commit([Insert("t", "a", {})])
        assert away.write("a", [b"x"])


def test_what_is_sent_passes_a_service_that_checks_every_signature(
    build: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, key, secret = aws_server.guarded()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret)
    provider = build(endpoint=url)
    provider.create(["t"])
    assert provider.commit([Insert("t", "a", {"n": 1}), Update("t", "é%/🏖", {})])
    assert provider.count(Query("t")) == 2
    for path in ("a b/ü+%/~x.txt", "c"):
        provider.write(path, [b"x" * 100])
    moved = provider.move("a b/ü+%/~x.txt", "d/'!*()")
    assert everything(provider.read(moved.path, 1, 3)) == b"xxx"
    assert [e.path for e in provider.scan()] == ["c", moved.path]
    provider.remove("c")


@pytest.mark.parametrize(
    ("name", "words"), [("AWS_ACCESS_KEY_ID", "AKIAUNKNOWNUNKNOWN00"), ("AWS_SECRET_ACCESS_KEY", "a-wrong-secret")]
)
def test_wrong_credentials_are_told_and_shown_nowhere(
    build: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, name: str, words: str
) -> None:
    url, key, secret = aws_server.guarded()
    for variable, value in (("AWS_ACCESS_KEY_ID", key), ("AWS_SECRET_ACCESS_KEY", secret), (name, words)):
        monkeypatch.setenv(variable, value)
    provider = build(endpoint=url)
    for work in (provider.ping, lambda: provider.create(["t"]), *attempts(provider).values()):
        with pytest.raises(app.Unavailable, match=r"refuses the credentials|are the credentials right") as caught:
            work()
        assert not {key, secret, words} & set(re.split(r"[^\w-]", caught.value.message + caught.value.hint))


@pytest.mark.parametrize("whole", [False, True])
def test_one_object_that_is_denied_is_no_outage_and_a_whole_bucket_is(
    aws: Any, monkeypatch: pytest.MonkeyPatch, whole: bool
) -> None:
    aws.write("a", [b"x"])
    service = aws._service("S3")
    really = service.call
    denied = type(aws)._s3.__globals__["Denied"]

    def call(doing: str, operation: str, **params: Any) -> Any:
        if whole or params.get("Key") == "a":
            raise denied("S3: denies access")
        return really(doing, operation, **params)

    monkeypatch.setattr(service, "call", call)
    for work in (lambda: aws.stat("a"), lambda: aws.read("a"), lambda: aws.write("a", [b"y"])):
        with pytest.raises(app.Unavailable if whole else app.NotPermitted):
            work()


@pytest.mark.parametrize("whole", [False, True])
def test_one_table_that_is_denied_is_no_outage_and_the_whole_service_is(
    aws: Any, monkeypatch: pytest.MonkeyPatch, whole: bool
) -> None:
    service = aws._service("DynamoDB")
    really = service.call
    denied = type(aws)._dynamo.__globals__["Denied"]

    def call(doing: str, operation: str, **params: Any) -> Any:
        if whole or operation != "list_tables":
            raise denied("DynamoDB: denies access")
        return really(doing, operation, **params)

    monkeypatch.setattr(service, "call", call)
    for work in (lambda: aws.get("t", "a"), lambda: aws.find(Query("t")), lambda: aws.commit([Insert("t", "b", {})])):
        with pytest.raises(app.Unavailable if whole else app.NotPermitted):
            work()


def test_no_credentials_at_all_are_named(build: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    provider = build()
    for work in (lambda: provider.get("t", "a"), lambda: provider.stat("a")):
        with pytest.raises(app.Unavailable, match="no credentials were found"):
            work()


def test_a_profile_that_does_not_exist_is_a_fault_of_the_configuration(
    build: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(app.ConfigError, match="cannot be set up"):
        build()


# ---- blobs


def unfinished(provider: Any) -> list[Any]:
    """Uploads and staged objects that were begun and are still there."""
    uploads = provider._s3("", "list_multipart_uploads").get("Uploads", [])
    staged = [item for page in provider._listed(module().STAGED) for item in page.get("Contents", [])]
    return [one["Key"] for one in [*uploads, *staged]]


@pytest.fixture(scope="module")
def large() -> bytes:
    return random.Random(5).randbytes(20 * MIB + 3)


def test_a_large_blob_goes_in_parts_and_comes_back_in_any_part(aws: Any, large: bytes) -> None:
    blob = aws.write("big", (large[i : i + 100_000] for i in range(0, len(large), 100_000)))
    assert (blob.size_bytes, blob.etag.rpartition("-")[2]) == (len(large), "3")
    assert everything(aws.read("big")) == large
    for start, length in [
        (8 * MIB - 1, 2),
        (8 * MIB, 8 * MIB),
        (len(large) - 1, None),
        (len(large), None),
        (16 * MIB, 9 * MIB),
    ]:
        assert everything(aws.read("big", start, length)) == large[start:][:length]
    moved = aws.move("big", "elsewhere/big")
    assert (moved.etag, moved.size_bytes) == (blob.etag, blob.size_bytes)
    assert hashlib.sha256(everything(aws.read("elsewhere/big"))).digest() == hashlib.sha256(large).digest()
    staged = aws.stage([large])
    assert aws.publish(staged, "again", if_none_match=True).etag == blob.etag
    assert unfinished(aws) == []


def test_large_blobs_pass_in_bounded_memory(aws: Any) -> None:
    tracemalloc.start()
    try:
        aws.write("big", (b"x" * 65536 for _ in range(1000)))
        with closing(aws.read("big")) as reader:
            assert sum(map(len, reader)) == 1000 * 65536
        aws.move("big", "moved")
        assert tracemalloc.get_traced_memory()[1] < 16 * MIB
    finally:
        tracemalloc.stop()


def test_parts_grow_so_that_ten_thousand_hold_the_largest_object() -> None:
    sizes = [module().part_bytes(number) for number in range(1, 10_001)]
    assert min(sizes) == sizes[0] == 8 * MIB
    assert max(sizes) <= 5 * 1024**3
    assert sum(sizes) > 5 * 1024**4


def test_an_upload_that_breaks_off_in_its_third_part_leaves_nothing(aws: Any, large: bytes) -> None:
    def broken() -> Iterator[bytes]:
        yield large
        raise ConnectionError("gone")

    for path in ("a", ""):
        with pytest.raises(ConnectionError):
            aws.stage(broken(), path)
    assert unfinished(aws) == []


def test_leftovers_are_removed_after_a_day_by_a_sweep(aws: Any) -> None:
    aws.stage([b"x"], "left")
    aws.stage([b"y"])
    aws.write("a", [b"z"])
    aws.sweep(time.time() + DAY_S - 60)
    assert len(unfinished(aws)) == 2
    aws.sweep(time.time() + DAY_S + 60)
    assert unfinished(aws) == []
    assert [e.path for e in aws.scan()] == ["a"]


def test_staged_objects_are_in_no_listing_and_under_no_address(aws: Any) -> None:
    staged = aws.stage([b"secret"])
    [key] = unfinished(aws)
    assert key.startswith(".satchel/")
    assert aws.stat(key) is None
    assert not aws.is_folder(".satchel")
    assert list(aws.scan()) == list(aws.scan(deep=False)) == list(aws.scan(".satchel")) == []
    with pytest.raises(app.NotFound):
        aws.read(key)
    for work in (lambda: aws.write(".satchel/x", [b"x"]), lambda: aws.write(".Satchel/x", [b"x"])):
        with pytest.raises(app.BadRequest):
            work()
    aws.publish(staged, "a")
    with pytest.raises(app.BadRequest):
        aws.move("a", ".satchel/staged/x")


def test_a_blob_that_is_replaced_after_it_was_looked_at_is_not_mixed_with_the_new_one(aws: Any) -> None:
    old = aws.write("a", [b"old" * 100_000])
    reader = aws.read("a", 0, None, old.etag)
    aws.write("a", [b"new" * 100_000])
    assert everything(reader) == b"old" * 100_000
    with pytest.raises(app.PreconditionFailed):
        aws.read("a", 3, 3, old.etag)


def test_a_source_that_is_replaced_while_it_is_moved_stays(faulty: Any, aws: Any, proxy: aws_server.Proxy) -> None:
    aws.write("a", [b"old"])

    def judge(asked: aws_server.Asked) -> None:
        if asked.method == "DELETE":
            proxy.judge = lambda asked: None
            aws.write("a", [b"new"])

    proxy.judge = judge
    with pytest.raises(app.Conflict, match="changed meanwhile"):
        faulty.move("a", "b")
    assert everything(aws.read("a")) == b"new"
    assert aws.stat("b") is None


def test_keys_of_other_programs_that_no_address_can_name_are_left_out(aws: Any) -> None:
    for key in ("ok", "a//b", "/x", "folder/", "../y", "c/./d", "tab\t", "e/f"):
        aws._s3("", "put_object", Key=key)
    assert [e.path for e in aws.scan()] == ["e/f", "ok"]
    assert {e.path for e in aws.scan(deep=False)} == {"a", "c", "e", "folder", "ok"}


def test_readers_that_are_left_in_the_middle_take_no_connection_with_them(build: Callable[..., Any], aws: Any) -> None:
    provider = build(connections=1)
    provider.write("a", [b"x" * 5 * MIB])
    for _ in range(20):
        reader = provider.read("a")
        next(iter(reader))
        reader.close()
    assert len(everything(provider.read("a"))) == 5 * MIB


@pytest.mark.parametrize("seed", range(4))
def test_a_listing_of_a_folder_is_in_the_order_of_paths_whatever_signs_are_in_names(seed: int) -> None:
    chance = random.Random(seed)
    names = {"".join(chance.choices("ab!-.0", k=chance.randint(1, 4))) for _ in range(3000)}
    if seed == 3:  # one beginning that all wait for, and over a thousand of them
        names = {f"IMG-{n:04}.jpg" for n in range(2500)} | {"IMG", "a", "IMG-0007"}
    folders = {name for name in names if chance.random() < 0.3 and "jpg" not in name} | ({"IMG", "IMG-0007"} & names)
    entries = [app.Folder(f"p/{n}") if n in folders else app.Blob(f"p/{n}", 0, 0, "") for n in names]
    entries.sort(key=lambda e: e.path + "/" * isinstance(e, app.Folder))
    asked: list[str] = []

    def is_folder(path: str) -> bool:
        asked.append(path)
        return path.removeprefix("p/") in folders

    read: list[app.Blob | app.Folder] = []
    found, most_waiting = [], 0
    for entry in app.plugin("s3_listing").by_path((read.append(e) or e for e in entries), 2, is_folder):
        found.append(entry)
        most_waiting = max(most_waiting, len(read) - len(found))
    assert most_waiting <= 1002
    assert [e.path for e in found] == sorted(e.path for e in entries)
    assert set(found) == set(entries)
    assert len(asked) == len(set(asked)) < 50


# ---- a second opinion


def test_moto_agrees_on_small_cases(build: Callable[..., Any]) -> None:
    provider = build(endpoint=aws_server.moto_endpoint())
    assert len(provider.create(["t", "_audit"])) == 3
    assert provider.create(["t", "_audit"]) == []
    assert provider.commit([Insert("t", "a", {"n": 1}), Update("t", "b", {"n": 2}), Delete("t", "c")])[1].version == 1
    with pytest.raises(app.Conflict) as caught:
        provider.commit([Insert("_audit", "x", {}), Update("t", "a", {}, version=2)])
    assert caught.value.index == 1
    assert provider.commit([Update("t", "a", {"n": 3}, version=1), Update("t", "b", {})])[1].version == 2
    assert keys(provider.find(Query("t", order_by=("-id",), limit=1))) == ["b"]
    page = provider.find(Query("t", limit=1))
    assert keys(provider.find(Query("t", limit=1, after=page.next))) == ["b"]
    assert keys(provider.find(Query("t", where=(Condition("n", "eq", 3),)))) == ["a"]
    assert provider.tables() == ["t"]
    with pytest.raises(app.ConfigError, match="server check --create"):
        provider.get("nothing", "a")


def test_moto_agrees_on_blobs(build: Callable[..., Any], large: bytes) -> None:
    provider = build(endpoint=aws_server.moto_endpoint())
    provider.create([])
    blob = provider.write("a/big", [large], if_none_match=True)
    assert everything(provider.read("a/big", 8 * MIB - 1, 2)) == large[8 * MIB - 1 : 8 * MIB + 1]
    assert everything(provider.read("a/big", len(large))) == b""
    with pytest.raises(app.PreconditionFailed):
        provider.write("a/big", [b"x"], if_none_match=True)
    with pytest.raises(app.PreconditionFailed):
        provider.read("a/big", if_match="other")
    with pytest.raises(app.Conflict):
        provider.write("a", [b"x"])
    assert provider.move("a/big", "b").etag == blob.etag
    assert [e.path for e in provider.scan(deep=False)] == ["b"]
    provider.remove("b", if_match=blob.etag)
    assert provider.stat("b") is None
    assert unfinished(provider) == []
