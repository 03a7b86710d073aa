"""Operating the queues: what the commands say of them, and what becomes of dead letters."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aws_server
import pytest
import queue_site
import sites
from queue_site import see_end, until
from sqs_fake import SqsFake

import app

CONFIG = """
[sqs]
queues = [QUEUES]
endpoint = "ENDPOINT"
region = "us-east-1"
wait = 1
buckets = ["payloads"]
REPLIES
[providers.main]
kind = "sql"
url = "sqlite:///app.db"
[forms.leave]
provider = "main"
[forms.leave.fields]
day = { type = "string", required = true }
"""
ENVELOPE = {"v": 1, "resource": "forms/leave", "action": "create", "data": {"day": "2026-01-02"}}
TOKEN = "Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbm4ifQ.c2lnbmF0dXJl"


def text(value: str) -> dict[str, str]:
    return {"DataType": "String", "StringValue": value}


@dataclass
class Desk:
    """A folder with an app.toml, and queues that it names."""

    folder: Path
    sqs: Any
    at: str
    capsysbinary: pytest.CaptureFixture[bytes]
    monkeypatch: pytest.MonkeyPatch
    prefix: str
    fake: SqsFake | None
    urls: dict[str, str] = field(default_factory=dict)

    def queue(self, name: str, **attributes: str) -> str:
        attributes |= {"FifoQueue": "true"} if name.endswith(".fifo") else {}
        made = self.sqs.create_queue(QueueName=self.prefix + name, Attributes=attributes)
        self.urls[name] = made["QueueUrl"]
        return self.urls[name]

    def arn(self, name: str) -> str:
        return str(self.attributes(name)["QueueArn"])

    def attributes(self, name: str) -> dict[str, str]:
        return dict(self.sqs.get_queue_attributes(QueueUrl=self.urls[name], AttributeNames=["All"])["Attributes"])

    def pair(self, name: str = "intake", *, most: int = 10, kept_s: int = 1_209_600, dead: str = "") -> None:
        """A queue with its dead-letter queue."""
        dead = dead or name.removesuffix(".fifo") + "-dead" + ".fifo" * name.endswith(".fifo")
        if dead not in self.urls:
            self.queue(dead, MessageRetentionPeriod=str(kept_s))
        policy = {"deadLetterTargetArn": self.arn(dead), "maxReceiveCount": most}
        self.queue(name, RedrivePolicy=json.dumps(policy))

    def configure(self, *names: str, replies: str = "") -> None:
        queues = ", ".join(f'{{ url = "{self.urls[name]}" }}' for name in names)
        replies = replies and f'replies = {{ results = "{replies}" }}'
        toml = CONFIG.replace("QUEUES", queues).replace("ENDPOINT", self.at).replace("REPLIES", replies)
        (self.folder / "app.toml").write_text(toml)

    def died(self, name: str, body: str | None = None, group: str = "", **facts: str) -> str:
        """A dead letter as the runner leaves it; its id."""
        facts = {
            "x_error": "validation_failed", "x_detail": "day: is missing", "x_attempts": "1", "x_subject": "ann",
            "x_source": self.prefix + "intake", "x_message_id": "m-1", "color": "blue", **facts,
        }  # fmt: skip
        more = {"MessageGroupId": group, "MessageDeduplicationId": os.urandom(8).hex()} if group else {}
        sent = self.sqs.send_message(
            QueueUrl=self.urls[name], MessageBody=body or json.dumps(ENVELOPE),
            MessageAttributes={key: text(value) for key, value in facts.items() if value}, **more,
        )  # fmt: skip
        return str(sent["MessageId"])

    def run(self, *args: str, given: str = "", code: int = 0) -> tuple[str, str]:
        """Standard output and standard error of a command."""
        self.monkeypatch.chdir(self.folder)
        self.monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given.encode())))
        self.capsysbinary.readouterr()
        if self.fake:
            self.fake.waits = False  # so that to see that there are no more takes no second
        ended = app.main(args)
        if self.fake:
            self.fake.waits = True
        out, err = (part.decode() for part in self.capsysbinary.readouterr())
        assert ended == code, (ended, out, err)
        return out, err

    def json(self, *args: str, given: str = "", code: int = 0) -> Any:
        return json.loads(self.run(*args, "--json", given=given, code=code)[0])

    def letters(self, verb: str, *args: str, given: str = "", code: int = 0) -> Any:
        """A command that looks no further than there are messages: to see that there are no more takes it a second."""
        dead = [name for name in self.urls if "dead" in name]
        if dead and not any(name.endswith(".fifo") for name in dead) and "--limit" not in args:
            args = (*args, "--limit", str(max(1, *(sum(self.depth(name)) for name in ["intake", *dead]))))
        return self.json("server", "dead-letters", verb, *args, given=given, code=code)

    def token(self) -> str:
        return self.run("auth", "issue", "--subject", "op", "--grant", "forms/**:*")[0].strip()

    def bodies(self, name: str) -> list[dict[str, Any]]:
        """What waits in a queue now."""
        found = self.sqs.receive_message(
            QueueUrl=self.urls[name], MaxNumberOfMessages=10, VisibilityTimeout=0, MessageAttributeNames=["All"],
            MessageSystemAttributeNames=["All"],
        )  # fmt: skip
        return list(found.get("Messages", []))

    def depth(self, name: str) -> tuple[int, int]:
        """Waiting, in flight."""
        found = self.attributes(name)
        kinds = ("", "NotVisible")
        waiting, held = (int(found[f"ApproximateNumberOfMessages{kind}"]) for kind in kinds)
        return waiting, held

    def only(self) -> dict[str, Any]:
        """The one row of `info queues`."""
        [row] = self.json("info", "queues")
        return dict(row)


@pytest.fixture
def parts(tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    return {"folder": tmp_path, "capsysbinary": capsysbinary, "monkeypatch": monkeypatch}


@pytest.fixture
def strict(parts: dict[str, Any]) -> Iterator[Desk]:
    """The queues of the fake."""
    with SqsFake() as fake:
        sqs = aws_server.client("sqs", fake.url)
        yield Desk(**parts, sqs=sqs, at=fake.url, prefix="", fake=fake)
        sqs.close()


@pytest.fixture
def emulated(parts: dict[str, Any]) -> Iterator[Desk]:
    """The queues of the emulator."""
    sqs = aws_server.client("sqs", aws_server.endpoint())
    yield Desk(**parts, sqs=sqs, at=aws_server.endpoint(), prefix=f"d{os.urandom(4).hex()}-", fake=None)
    sqs.close()


@pytest.fixture(params=["strict", "emulated"])
def desk(request: pytest.FixtureRequest) -> Desk:
    """Either of them in turn."""
    return request.getfixturevalue(request.param)  # type: ignore[no-any-return]


# ---- info queues, server check


def test_info_tells_depth_and_dead_letters(desk: Desk) -> None:
    desk.pair()
    desk.configure("intake")
    for _ in range(3):
        desk.sqs.send_message(QueueUrl=desk.urls["intake"], MessageBody="x")
    desk.sqs.receive_message(QueueUrl=desk.urls["intake"])
    desk.died("intake-dead")
    name = desk.prefix + "intake"
    row = desk.only()
    assert row == {
        "name": name, "fifo": False, "waiting": 2, "in_flight": 1, "delayed": 0,
        "dead_letter_queue": f"{name}-dead", "dead_letters": 1, "faults": [], "warnings": [],
    }  # fmt: skip
    out, _ = desk.run("info", "queues")
    assert out == f"{name}  waiting 2  in flight 1  delayed 0  dead letters 1 in {name}-dead\n"
    assert desk.depth("intake") == (2, 1), "to look takes nothing"
    desk.run("server", "check")


def test_queue_without_dead_letters_is_a_fault_of_the_configuration(desk: Desk) -> None:
    desk.queue("intake")
    desk.configure("intake")
    [fault] = desk.only()["faults"]
    assert "has no dead-letter queue" in fault
    out, _ = desk.run("info", "queues")
    assert f"  fault: {fault}\n" in out
    answer = desk.json("server", "check", code=2)
    assert [(one["pointer"], one["detail"]) for one in answer["faults"]] == [("sqs.queues", f"{desk.prefix}intake: {fault}")]


def test_missing_queue_is_named_and_the_others_are_told(desk: Desk) -> None:
    desk.pair()
    desk.pair("other")
    desk.configure("intake", "other")
    desk.sqs.delete_queue(QueueUrl=desk.urls["intake"])
    first, second = desk.json("info", "queues")
    assert first["faults"] == [f"the queue {desk.prefix}intake: it does not exist"]
    assert (first["waiting"], second["waiting"], second["faults"]) == (None, 0, [])
    out, err = desk.run("server", "check", code=2)
    assert f"{desk.prefix}intake: it does not exist" in err
    assert out == ""


def test_dead_letter_queue_that_is_gone_is_a_fault(strict: Desk) -> None:
    strict.pair()
    strict.configure("intake")
    strict.sqs.delete_queue(QueueUrl=strict.urls["intake-dead"])
    assert strict.only()["faults"] == [f"the dead-letter queue {strict.prefix}intake-dead: it does not exist"]


def test_dead_letter_queue_that_is_worked_on_is_a_fault(strict: Desk) -> None:
    strict.pair()
    strict.pair("intake-dead-2", dead="third")
    strict.configure("intake", "intake-dead-2")
    strict.pair("loop", dead="intake-dead-2")
    strict.configure("loop", "intake-dead-2")
    first, _ = strict.json("info", "queues")
    assert "is worked on itself" in first["faults"][0]
    assert "has a dead-letter queue itself" in first["warnings"][-1]


def test_limits_that_will_hurt_one_day_are_warnings(strict: Desk) -> None:
    strict.pair(most=5, kept_s=3600)
    strict.configure("intake")
    row = strict.only()
    assert row["faults"] == []
    often, kept = row["warnings"]
    assert "maxReceiveCount 5 should be above 5" in often
    assert "keeps messages for 1 h and the queue for 96 h" in kept
    _, err = strict.run("server", "check")
    assert "warning: " + strict.prefix + "intake: its maxReceiveCount" in err


def test_answers_must_not_go_to_a_queue_that_is_worked_on(strict: Desk) -> None:
    strict.pair()
    strict.configure("intake", replies=strict.urls["intake"])
    [fault] = strict.json("server", "check", code=2)["faults"]
    assert (fault["pointer"], "be taken for requests" in fault["detail"]) == ("sqs.replies", True)
    strict.configure("intake", replies=strict.urls["intake"] + "-not")
    [fault] = strict.json("server", "check", code=2)["faults"]
    assert (fault["pointer"], "does not exist" in fault["detail"]) == ("sqs.replies", True)


def test_what_is_not_allowed_is_a_fault(strict: Desk) -> None:
    assert strict.fake
    strict.pair()
    strict.configure("intake")
    strict.fake.fault("AccessDenied", status=403, operation="DeleteMessageBatch", times=None)
    assert strict.only()["faults"] == ["deleting from intake: access was denied (AccessDenied)"]
    strict.fake.heal()
    strict.fake.fault("AccessDenied", status=403, operation="ChangeMessageVisibilityBatch", times=None)
    assert strict.only()["faults"] == ["holding messages of intake: access was denied (AccessDenied)"]
    strict.fake.heal()
    strict.fake.fault("AccessDenied", status=403, times=None)
    assert strict.only()["faults"] == ["the queue intake: access was denied (AccessDenied)"]
    assert strict.fake.order("ReceiveMessage", "SendMessage") == []


def test_dead_letter_queue_that_takes_nothing_is_a_warning(strict: Desk) -> None:
    strict.pair()
    strict.configure("intake")
    for policy in ({"redrivePermission": "denyAll"}, {"redrivePermission": "byQueue", "sourceQueueArns": ["other"]}):
        strict.queue("intake-dead", MessageRetentionPeriod="1209600")
        strict.sqs.set_queue_attributes(
            QueueUrl=strict.urls["intake-dead"], Attributes={"RedriveAllowPolicy": json.dumps(policy)}
        )
        assert "takes nothing from it" in strict.only()["warnings"][0]


def test_service_that_is_away_is_told_in_our_words(strict: Desk) -> None:
    strict.pair()
    strict.configure("intake")
    text = (strict.folder / "app.toml").read_text()
    (strict.folder / "app.toml").write_text(text.replace(strict.at, "http://127.0.0.1:9"))
    assert strict.only()["faults"] == ["the queue intake: EndpointConnectionError"]
    _, err = strict.run("server", "dead-letters", "list", code=7)
    assert "the queue intake: EndpointConnectionError" in err


def test_site_without_queues_asks_nobody(parts: dict[str, Any]) -> None:
    desk = Desk(**parts, sqs=None, at="", prefix="", fake=None)
    desk.configure()
    assert desk.json("info", "queues") == []
    assert desk.letters("list") == []
    assert desk.run("info", "queues")[0] == "app.toml names no queues\n"
    asked = "import sys, app; app.main(['server', 'check']); sys.exit('boto3' in sys.modules)"
    where = {**os.environ, "PYTHONPATH": str(Path(app.__file__).parent)}
    subprocess.run([sys.executable, "-c", asked], cwd=desk.folder, env=where, check=True, capture_output=True)


# ---- dead letters


def test_list_tells_who_what_when_and_why_and_gives_all_back(desk: Desk) -> None:
    desk.pair()
    desk.configure("intake")
    ids = {desk.died("intake-dead", x_message_id=f"m-{n}") for n in range(12)}
    rows = desk.json("server", "dead-letters", "list")
    assert {row["id"] for row in rows} == ids
    row = rows[0]
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", row.pop("died_at"))
    assert row == {
        "id": rows[0]["id"], "queue": desk.prefix + "intake-dead", "code": "validation_failed",
        "resource": "forms/leave:create", "subject": "ann", "attempts": 1,
    }  # fmt: skip
    assert desk.depth("intake-dead") == (12, 0), "nothing is held any more"
    out, err = desk.run("server", "dead-letters", "list")
    assert len(out.splitlines()) == 12
    assert all(
        re.fullmatch(r"[\w-]{36}  validation_failed  forms/leave:create  ann  20\S+Z  1", o) for o in out.splitlines()
    )
    assert err == ""


def test_list_looks_at_no_more_than_its_limit(strict: Desk) -> None:
    strict.pair()
    strict.configure("intake")
    for _ in range(5):
        strict.died("intake-dead")
    out, err = strict.run("server", "dead-letters", "list", "--limit", "3")
    assert len(out.splitlines()) == 3
    assert err == f"{strict.prefix}intake-dead: about 2 more (see --limit)\n"
    assert strict.depth("intake-dead") == (5, 0)


def test_list_by_code_and_queue(strict: Desk) -> None:
    strict.pair()
    strict.pair("other")
    strict.configure("intake", "other")
    strict.died("intake-dead", x_error="invalid_token")
    strict.died("other-dead")
    assert [row["code"] for row in strict.letters("list", "--code", "invalid_token")] == ["invalid_token"]
    assert [row["code"] for row in strict.letters("list", "--queue", strict.prefix + "other")] == ["validation_failed"]
    assert [row["code"] for row in strict.letters("list", "--queue", strict.prefix + "intake-dead")] == ["invalid_token"]
    assert len(strict.letters("list")) == 2
    strict.letters("list", "--queue", "unheard-of", code=4)
    strict.sqs.delete_queue(QueueUrl=strict.urls["other"])
    assert len(strict.letters("list", "--queue", "intake")) == 1
    strict.letters("list", code=4)


def test_message_that_sqs_gave_up_on_is_told_as_such_and_its_token_is_hidden(strict: Desk) -> None:
    strict.pair(most=1)
    strict.configure("intake")
    token = TOKEN.removeprefix("Bearer ")
    body = json.dumps({**ENVELOPE, "data": {"day": f"see {token}"}})
    [id_] = [
        strict.sqs.send_message(
            QueueUrl=strict.urls["intake"], MessageBody=body, MessageAttributes={"authorization": text(TOKEN)}
        )["MessageId"]
    ]
    for _ in range(2):
        strict.sqs.receive_message(QueueUrl=strict.urls["intake"], VisibilityTimeout=0)
    [row] = strict.letters("list")
    assert (row["id"], row["code"], row["attempts"]) == (id_, "max_receives", None)
    [facts] = strict.letters("show", id_)
    assert facts["source"] == strict.prefix + "intake"
    assert facts["body"] == json.dumps({**ENVELOPE, "data": {"day": "see [token]"}})
    assert facts["attributes"] == {}
    out, _ = strict.run("server", "dead-letters", "show", id_)
    assert "eyJ" not in out + json.dumps(facts)


def test_show_tells_everything_and_finds_it_by_either_id(strict: Desk) -> None:
    strict.pair()
    strict.configure("intake")
    id_ = strict.died("intake-dead", x_message_id="first-id")
    strict.died("intake-dead", x_message_id="second-id")
    [facts] = strict.letters("show", "first-id")
    assert facts["detail"] == "day: is missing"
    assert json.loads(facts["body"]) == ENVELOPE
    assert facts["attributes"] == {"color": "blue"}
    assert (facts["id"], facts["message_id"], facts["source"]) == (id_, "first-id", strict.prefix + "intake")
    assert strict.letters("show", id_[:13]) == [facts]
    out, _ = strict.run("server", "dead-letters", "show", "first-id")
    assert "detail: day: is missing\n" in out
    _, err = strict.run("server", "dead-letters", "show", "first-id", "nonsense", code=4)
    assert err == "error: no dead letter is nonsense\n"
    strict.run("server", "dead-letters", "show", code=6)
    strict.run("server", "dead-letters", "drop", id_[:7], code=6)


def test_what_others_wrote_cannot_drive_the_terminal(strict: Desk) -> None:
    strict.pair()
    strict.configure("intake")
    strict.died("intake-dead", json.dumps({"resource": "\x1b[2J", "action": "a\nb"}), x_subject="e\u202ev")
    out, _ = strict.run("server", "dead-letters", "list")
    assert len(out.splitlines()) == 1
    assert "\x1b" not in out
    assert "\u202e" not in out


def test_redrive_sends_back_under_the_operators_token_with_the_old_key(desk: Desk) -> None:
    desk.pair()
    desk.configure("intake")
    id_ = desk.died("intake-dead", x_message_id="original")
    token = desk.token()
    [row] = desk.letters("redrive", id_, given=token + "\n")
    assert (row["id"], row["sent_to"]) == (id_, desk.prefix + "intake")
    [message] = desk.bodies("intake")
    assert message["MessageId"] == row["sent_id"]
    assert json.loads(message["Body"]) == {**ENVELOPE, "id": "original"}
    sent = {name: one["StringValue"] for name, one in message["MessageAttributes"].items()}
    assert sent == {"authorization": f"Bearer {token}", "color": "blue"}
    assert desk.depth("intake-dead") == (0, 0)


def test_audit_trail_tells_who_sent_back_and_who_dropped(strict: Desk) -> None:
    strict.monkeypatch.setenv("SUDO_USER", "olga")
    strict.pair()
    strict.configure("intake")
    first, second = strict.died("intake-dead"), strict.died("intake-dead")
    strict.letters("redrive", first, given=strict.token())
    strict.letters("drop", second)
    strict.letters("list")
    site = sites.Site(strict.folder, (strict.folder / "app.toml").read_text())
    entries = site.audit(resource="admin/queues")
    site.close()
    assert [(one["action"], one["record"], one["subject"]) for one in entries] == [
        ("redrive", first, "cli:olga"), ("drop", second, "cli:olga"),
    ]  # fmt: skip
    assert entries[1]["after"]["code"] == "validation_failed"


def test_redrive_keeps_a_key_that_the_envelope_names(strict: Desk) -> None:
    strict.pair()
    strict.configure("intake")
    body = '{"v": 1, "resource": "forms/leave", "action": "create", "data": {"day": 1.10}, "id": "mine"}'
    strict.died("intake-dead", body)
    strict.letters("redrive", "--all", given=strict.token())
    assert [message["Body"] for message in strict.bodies("intake")] == [body]


def test_message_that_announces_a_payload_and_has_none_is_sent_back_all_the_same(strict: Desk) -> None:
    strict.pair()
    strict.configure("intake")
    strict.died("intake-dead", ExtendedPayloadSize="9", x_dead_letter="[]")
    [row] = strict.letters("redrive", "--all", given=strict.token())
    assert "error" not in row


def test_redrive_takes_only_what_is_meant_and_leaves_the_others(strict: Desk) -> None:
    strict.pair()
    strict.configure("intake")
    token = strict.folder / "token"
    token.write_text(strict.token() + "\n")
    for code in ("invalid_token", "validation_failed", "invalid_token"):
        strict.died("intake-dead", x_error=code)
    out, err = strict.run("server", "dead-letters", "redrive", "--code", "invalid_token", "--token-file", str(token))
    assert len(out.splitlines()) == 2
    assert err == "2 sent back\n"
    assert strict.depth("intake") == (2, 0)
    assert strict.depth("intake-dead") == (1, 0)
    _, err = strict.run("server", "dead-letters", "redrive", "--token-file", str(token), code=6)
    assert "say which" in err


def test_redrive_with_a_bad_token_touches_nothing(strict: Desk) -> None:
    strict.pair()
    strict.configure("intake")
    strict.died("intake-dead")
    for given in ("", "nonsense", TOKEN):
        _, err = strict.run("server", "dead-letters", "redrive", "--all", given=given, code=3)
        assert "eyJ" not in err
    assert (strict.depth("intake"), strict.depth("intake-dead")) == ((0, 0), (1, 0))
    strict.run("server", "dead-letters", "redrive", "--all", "--token-file", "not-there", code=6)


def test_token_goes_to_no_queue_but_those_of_the_configuration(strict: Desk) -> None:
    strict.pair()
    strict.configure("intake")
    strict.queue("foreign")
    strict.died("intake-dead", x_source=strict.prefix + "foreign")
    strict.died("intake-dead", x_source="")
    good = strict.died("intake-dead", x_source=strict.prefix + "intake")
    rows = strict.letters("redrive", "--all", given=strict.token(), code=5)
    assert {row["id"] for row in rows if "error" not in row} == {good}
    assert sum("no queue of app.toml" in row.get("error", "") for row in rows) == 2
    assert (strict.depth("foreign"), strict.depth("intake"), strict.depth("intake-dead")) == ((0, 0), (1, 0), (2, 0))


def test_redrive_of_a_fifo_queue_keeps_groups_and_order(desk: Desk) -> None:
    desk.pair("intake.fifo")
    desk.configure("intake.fifo")
    for n in range(23):
        body = json.dumps({**ENVELOPE, "id": f"{n}"})
        desk.died("intake-dead.fifo", body, group=f"g{n % 2}", x_source=desk.prefix + "intake.fifo")
    desk.letters("redrive", "--all", given=desk.token())
    assert desk.depth("intake-dead.fifo") == (0, 0)
    order: dict[str, list[int]] = {}
    while found := desk.sqs.receive_message(
        QueueUrl=desk.urls["intake.fifo"], MaxNumberOfMessages=10, MessageSystemAttributeNames=["All"]
    ).get("Messages"):
        for message in found:
            order.setdefault(message["Attributes"]["MessageGroupId"], []).append(int(json.loads(message["Body"])["id"]))
            desk.sqs.delete_message(QueueUrl=desk.urls["intake.fifo"], ReceiptHandle=message["ReceiptHandle"])
    assert order == {"g0": list(range(0, 23, 2)), "g1": list(range(1, 23, 2))}


def test_list_of_a_fifo_queue_says_what_it_cannot_show(desk: Desk) -> None:
    desk.pair("intake.fifo")
    desk.configure("intake.fifo")
    for _ in range(12):
        desk.died("intake-dead.fifo", group="g")
    out, err = desk.run("server", "dead-letters", "list")
    assert len(out.splitlines()) == 10
    if desk.fake:
        [received, _] = desk.fake.wait_for_call("ReceiveMessage", 2)
        [released] = desk.fake.wait_for_call("ChangeMessageVisibilityBatch")
        handles = [
            [one["ReceiptHandle"] for one in batch] for batch in (received.answer["Messages"], released.request["Entries"])
        ]
        assert handles[0] == handles[1][::-1], "the head last"
    assert "about 2 more (a FIFO queue shows only the first of a group)" in err
    assert desk.depth("intake-dead.fifo") == (12, 0)


def test_drop_lists_and_deletes(desk: Desk) -> None:
    desk.pair()
    desk.configure("intake")
    first, second, third = (desk.died("intake-dead", x_error=code) for code in ("invalid_token", "a", "invalid_token"))
    desk.run("server", "dead-letters", "drop", code=6)
    out, err = desk.run("server", "dead-letters", "drop", "--code", "invalid_token")
    assert {line.split()[0] for line in out.splitlines()} == {first, third}
    assert err == "2 deleted\n"
    assert desk.depth("intake-dead") == (1, 0)
    assert [row["id"] for row in desk.letters("drop", second)] == [second]
    assert desk.depth("intake-dead") == (0, 0)


# ---- interrupted


def test_it_is_sent_before_it_is_deleted(strict: Desk) -> None:
    assert strict.fake
    strict.pair()
    strict.configure("intake")
    token = strict.token()
    strict.died("intake-dead")
    strict.letters("redrive", "--all", given=token)
    assert strict.fake.order("SendMessage", "DeleteMessageBatch")[-2:] == ["SendMessage", "DeleteMessageBatch"]


def test_what_cannot_be_sent_stays(strict: Desk) -> None:
    assert strict.fake
    strict.pair()
    strict.configure("intake")
    token = strict.token()
    for n in range(3):
        strict.died("intake-dead", x_message_id=f"m-{n}")
    strict.fake.fault("InternalError", operation="SendMessage", queue="intake", status=500, times=None)
    out, err = strict.run("server", "dead-letters", "redrive", "--all", given=token, code=7)
    assert "sending to intake: InternalError" in err
    assert out == ""
    assert (strict.depth("intake"), strict.depth("intake-dead")) == ((0, 0), (3, 0))
    strict.fake.faults.clear()
    strict.letters("redrive", "--all", given=token)
    assert (strict.depth("intake"), strict.depth("intake-dead")) == ((3, 0), (0, 0))


def test_what_was_sent_is_deleted_even_when_the_next_one_fails(strict: Desk) -> None:
    assert strict.fake
    strict.pair()
    strict.configure("intake")
    token = strict.token()
    for n in range(3):
        strict.died("intake-dead", x_message_id=f"m-{n}")
    strict.fake.fault("InternalError", operation="SendMessage", queue="intake", status=500, times=None, spared=1)
    out, _ = strict.run("server", "dead-letters", "redrive", "--all", given=token, code=7)
    assert len(out.splitlines()) == 1
    assert (strict.depth("intake"), strict.depth("intake-dead")) == ((1, 0), (2, 0))


def test_what_was_not_deleted_is_told_and_the_second_redrive_has_the_same_key(strict: Desk) -> None:
    assert strict.fake
    strict.pair("intake.fifo")
    strict.configure("intake.fifo")
    token = strict.token()
    id_ = strict.died("intake-dead.fifo", group="g", x_source="intake.fifo")
    strict.fake.fault("InternalError", operation="DeleteMessageBatch", entries=())
    out, err = strict.run("server", "dead-letters", "redrive", "--all", given=token, code=7)
    assert id_ in out
    assert f"not deleted from intake-dead.fifo: {id_}" in err
    assert strict.depth("intake-dead.fifo") == (1, 0), "and it is not held"
    strict.letters("redrive", "--all", given=token)
    assert strict.depth("intake.fifo") == (1, 0), "within five minutes SQS itself knows it again"


def test_reader_that_goes_away_loses_nothing(strict: Desk) -> None:
    assert strict.fake
    strict.pair()
    strict.configure("intake")
    for n in range(4):
        strict.died("intake-dead", x_message_id=f"m-{n}")
    (strict.folder / "token").write_text(strict.token())

    def unread(*args: str) -> None:
        """Run it with a standard output that nobody reads."""
        reader, writer = os.pipe()
        os.close(reader)
        with os.fdopen(writer, "wb") as out:
            subprocess.run(
                [sys.executable, "-m", "app", "server", "dead-letters", *args], cwd=strict.folder, stdout=out,
                stderr=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": str(Path(app.__file__).parent)}, timeout=60,
            )  # fmt: skip

    unread("drop", "--all")
    assert strict.depth("intake-dead") == (4, 0), "what was not listed is not deleted"
    unread("redrive", "--all", "--token-file", "token")
    assert (strict.depth("intake"), strict.depth("intake-dead")) == ((4, 0), (0, 0))


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGKILL])
def test_killed_redrive_loses_nothing(strict: Desk, sign: signal.Signals) -> None:
    assert strict.fake
    strict.pair()
    strict.configure("intake")
    for n in range(4):
        strict.died("intake-dead", x_message_id=f"m-{n}")
    (strict.folder / "token").write_text(strict.token())
    strict.fake.fault(operation="SendMessage", queue="intake", withheld=True, effect=True, spared=1)
    redrive = ["server", "dead-letters", "redrive", "--all", "--token-file", "token"]
    child = subprocess.Popen(
        [sys.executable, "-m", "app", *redrive], cwd=strict.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(Path(app.__file__).parent)},
    )  # fmt: skip
    strict.fake.wait_for_call("SendMessage", 6, 60)
    child.send_signal(sign)
    child.wait(60)
    strict.fake.advance(61)
    strict.letters("redrive", "--all", "--token-file", "token")
    keys = [json.loads(message["Body"])["id"] for message in strict.bodies("intake")]
    assert set(keys) == {"m-0", "m-1", "m-2", "m-3"}
    assert strict.depth("intake-dead") == (0, 0)


def test_leases_that_end_while_it_looks_end_the_look(strict: Desk) -> None:
    assert strict.fake
    strict.pair()
    strict.configure("intake")
    for n in range(15):
        strict.died("intake-dead", x_message_id=f"m-{n}")
    ending = threading.Event()

    def end_leases() -> None:
        while not ending.wait(0.01):
            strict.fake and strict.fake.lose("intake-dead")

    other = threading.Thread(target=end_leases)
    other.start()
    try:
        rows = strict.json("server", "dead-letters", "list")
    finally:
        ending.set()
        other.join()
    assert len({row["id"] for row in rows}) == len(rows)


# ---- together with the runner


@contextmanager
def worked(desk: Desk, *names: str) -> Iterator[sites.Site]:
    """The site, while its queues are worked on until they are empty."""
    site = sites.Site(desk.folder, (desk.folder / "app.toml").read_text())
    runner = queue_site.runner(site.app.config.sqs, site.app, desk.folder / "queues.json")
    thread = threading.Thread(target=runner.run)
    thread.start()
    try:
        until(lambda: all(desk.depth(name) == (0, 0) for name in names), "empty queues")
        runner.stop()
        see_end(desk.at, lambda: not thread.is_alive())
        site.app.open()
        yield site
    finally:
        runner.stop()
        thread.join(40)
        site.close()


def send(desk: Desk, token: str, body: str = json.dumps(ENVELOPE), **attributes: str) -> str:
    attributes = {"authorization": f"Bearer {token}", **attributes} if token else attributes
    sent = desk.sqs.send_message(
        QueueUrl=desk.urls["intake"], MessageBody=body, MessageAttributes={key: text(v) for key, v in attributes.items()}
    )
    return str(sent["MessageId"])


def rows(site: sites.Site) -> list[tuple[str, str]]:
    return [(row["day"], row["created_by"]) for row in site.items("forms/leave/records?_size=1000")]


@pytest.mark.parametrize("others", [0, 9], ids=["loose", "packed"])
def test_what_the_runner_buried_is_done_when_it_is_sent_back(strict: Desk, others: int) -> None:
    strict.pair()
    strict.configure("intake")
    weak = strict.run("auth", "issue", "--subject", "ann", "--grant", "views/*:read")[0].strip()
    id_ = send(strict, weak, **{f"a{n}": f"value {n}" for n in range(others)})
    with worked(strict, "intake") as site:
        assert rows(site) == []
    [facts] = strict.letters("show", id_)
    told = [facts[name] for name in ("code", "subject", "attempts", "source", "message_id", "resource")]
    assert told == ["insufficient_scope", "ann", 1, strict.prefix + "intake", id_, "forms/leave:create"]
    assert facts["attributes"] == {f"a{n}": f"value {n}" for n in range(others)}
    assert weak not in json.dumps(facts)
    strict.letters("redrive", id_, given=strict.token())
    with worked(strict, "intake") as site:
        assert rows(site) == [("2026-01-02", "op")]
    assert strict.depth("intake-dead") == (0, 0)


def test_redrive_that_broke_off_before_its_delete_has_one_effect(strict: Desk) -> None:
    assert strict.fake
    strict.pair()
    strict.configure("intake")
    token = strict.token()
    strict.died("intake-dead", x_message_id="original")
    strict.fake.fault("InternalError", operation="DeleteMessageBatch", queue="intake-dead", entries=())
    strict.letters("redrive", "--all", given=token, code=7)
    strict.letters("redrive", "--all", given=token)
    assert (strict.depth("intake"), strict.depth("intake-dead")) == ((2, 0), (0, 0))
    with worked(strict, "intake") as site:
        assert rows(site) == [("2026-01-02", "op")]


def test_payload_in_s3_is_sent_back_with_its_first_key(emulated: Desk) -> None:
    s3 = aws_server.client("s3", emulated.at)
    s3.create_bucket(Bucket="payloads")
    emulated.pair()
    emulated.configure("intake")
    pointer = ["software.amazon.payloadoffloading.PayloadS3Pointer", {"s3BucketName": "payloads", "s3Key": "k"}]
    send(emulated, "nonsense", json.dumps(pointer), ExtendedPayloadSize="9")
    with worked(emulated, "intake"):
        pass
    token = emulated.token()
    settings = tomllib.loads((emulated.folder / "app.toml").read_text())
    queues = app.plugin("queues").QueueDesk(
        app.read_config(settings, emulated.folder, "", sites.REGISTRY.provider_settings).sqs
    )
    for _ in range(2):  # as if the delete had failed
        [dead] = queues.dead_letter_queues()
        queues.visit(dead, lambda letter: not queues.send_back(letter, f"Bearer {token}"), 10)
        s3.put_object(Bucket="payloads", Key="k", Body=json.dumps(ENVELOPE).encode())
        with worked(emulated, "intake") as site:
            assert rows(site) == [("2026-01-02", "op")]
    assert emulated.depth("intake-dead") == (1, 0)
    s3.close()


def test_notification_is_sent_back_under_the_operators_token_alone(strict: Desk) -> None:
    strict.pair(most=1)
    strict.configure("intake")
    strong = strict.run("auth", "issue", "--subject", "ann", "--grant", "forms/**:*")[0].strip()
    carried = {"Authorization": {"Type": "String", "Value": f"Bearer {strong}"}}
    body = {"Type": "Notification", "MessageId": "n-1", "TopicArn": "t", "Message": json.dumps(ENVELOPE)}
    send(strict, "", json.dumps({**body, "MessageAttributes": carried}))
    for _ in range(2):
        strict.sqs.receive_message(QueueUrl=strict.urls["intake"], VisibilityTimeout=0)
    [row] = strict.letters("redrive", "--code", "max_receives", given=strict.token())
    assert row["resource"] == "forms/leave:create"
    with worked(strict, "intake") as site:
        assert rows(site) == [("2026-01-02", "op")]
