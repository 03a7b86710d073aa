"""The channels webhook and sqs: what a receiver gets, how it proves who sent it, and what its answers mean."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path
from typing import Any

import backends
import boto3
import inner_server
import pytest
from hook_server import KEY, HookServer
from sqs_fake import SqsFake

import app
from app import plugin

NOTICE: dict[str, Any] = {
    "id": "01a31d5e0d-0", "at": 1_800_000_000.0, "to": "", "title": "New", "text": "A line", "html": "",
    "type": "forms.leave.create", "data": {"resource": "forms/leave/records/7", "record": {"name": "Zoë", "days": 1.5}},
}  # fmt: skip


@pytest.fixture
def hooks() -> Iterator[HookServer]:
    with HookServer() as server:
        yield server


def channel(folder: Path, url: str, secret: str = KEY, **more: Any) -> app.Channel:
    """A webhook as app.toml would make it."""
    (folder / "secret").write_text(secret)
    cls: Any = plugin("webhook").Webhook
    raw = {"channels": {"finance": {"kind": "webhook", "url": url, "secret": "file:secret", **more}}}
    config = app.read_config(raw, folder, "app.toml", {}, {}, {"webhook": cls.settings})
    assert [fault for fault in config.faults if fault.pointer.startswith("channels")] == []
    return cls("finance", config.channels["finance"].options, folder)  # type: ignore[no-any-return]


def faults(folder: Path, **settings: Any) -> list[str]:
    cls: Any = plugin("webhook").Webhook
    raw = {"channels": {"finance": {"kind": "webhook", "url": "https://example.org", "secret": "file:secret"} | settings}}
    found = app.read_config(raw, folder, "app.toml", {}, {}, {"webhook": cls.settings}).faults
    return [f"{fault.pointer}: {fault.detail}" for fault in found if fault.pointer.startswith("channels")]


def test_the_official_library_finds_the_signature_good_and_a_changed_body_not(hooks: HookServer, tmp_path: Path) -> None:
    official = backends.module("standardwebhooks")
    one = channel(tmp_path, hooks.url)
    one.send(NOTICE)
    one.close()
    [(headers, body)] = hooks.got
    told = official.Webhook(KEY).verify(body, headers)
    assert told == {"type": NOTICE["type"], "timestamp": "2027-01-15T08:00:00.000Z", "data": NOTICE["data"]}
    assert headers["webhook-id"] == NOTICE["id"]
    assert abs(int(headers["webhook-timestamp"]) - time.time()) < 10
    assert headers["content-type"] == "application/json"
    for changed in (body.replace(b"1.5", b"9.5"), body + b" "):
        with pytest.raises(official.WebhookVerificationError):
            official.Webhook(KEY).verify(changed, headers)
    with pytest.raises(official.WebhookVerificationError):
        official.Webhook(KEY).verify(body, headers | {"webhook-id": "other"})


def test_while_a_secret_is_changed_both_are_good(hooks: HookServer, tmp_path: Path) -> None:
    official, other = backends.module("standardwebhooks"), "whsec_" + "b3RoZXIta2V5LW9mLTMyLWJ5dGVzLWluLWFsbC4u"
    one = channel(tmp_path, hooks.url, f"{other} {KEY}\n")
    one.send(NOTICE)
    one.close()
    [(headers, body)] = hooks.got
    assert headers["webhook-signature"].count("v1,") == 2
    for key in (KEY, other):
        official.Webhook(key).verify(body, headers)


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_an_answer_of_2xx_takes_it(hooks: HookServer, tmp_path: Path, status: int) -> None:
    hooks.answers = [status]
    one = channel(tmp_path, hooks.url)
    one.send(NOTICE)
    one.close()
    assert len(hooks.got) == 1


@pytest.mark.parametrize(
    ("answer", "error", "rest_s"),
    [
        (410, app.Refused, 0),
        (500, app.Busy, 0),
        (503, app.Busy, 0),
        ((503, {"Retry-After": "90"}), app.Busy, 90),
        ((429, {"Retry-After": "120"}), app.Unavailable, 120),
        ((429, {"Retry-After": "soon"}), app.Unavailable, 0),
        (400, app.Busy, 0),
        (401, app.Busy, 0),
        (404, app.Busy, 0),
    ],
)
def test_any_other_answer_does_not_and_says_when_to_try_again(
    hooks: HookServer, tmp_path: Path, answer: Any, error: type[app.AppError], rest_s: float
) -> None:
    hooks.answers = [answer]
    one = channel(tmp_path, hooks.url)
    with pytest.raises(error) as caught:
        one.send(NOTICE)
    one.close()
    assert type(caught.value) is error
    assert str(answer if isinstance(answer, int) else answer[0]) in caught.value.hint
    assert max(vars(caught.value).get(name, 0) for name in ("over_in_s", "retry_after_s")) == rest_s


def test_a_date_says_when_to_try_again_too(hooks: HookServer, tmp_path: Path) -> None:
    hooks.answers = [(503, {"Retry-After": formatdate(time.time() + 300, usegmt=True)})]
    one = channel(tmp_path, hooks.url)
    with pytest.raises(app.Busy) as caught:
        one.send(NOTICE)
    one.close()
    assert 290 < caught.value.over_in_s <= 300


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirect_is_followed(hooks: HookServer, tmp_path: Path, status: int) -> None:
    with HookServer() as other:
        hooks.answers = [(status, {"Location": other.url})]
        one = channel(tmp_path, hooks.url)
        with pytest.raises(app.Busy, match="did not take it") as caught:
            one.send(NOTICE)
        one.close()
        assert "no redirect is followed" in caught.value.hint
        assert other.got == []


@pytest.mark.parametrize(
    "host", ["169.254.169.254", "[fe80::1]", "[::ffff:169.254.169.254]", "[fd00:ec2::254]", "[64:ff9b::a9fe:a9fe]"]
)
def test_nobody_is_asked_at_an_address_of_the_link(tmp_path: Path, host: str) -> None:
    one = channel(tmp_path, f"http://{host}/latest/meta-data")
    with pytest.raises(app.Refused, match="address of the link"):
        one.send(NOTICE)
    one.close()


def test_a_name_that_resolves_to_one_is_refused_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    told = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("169.254.169.254", 443))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **options: told)
    one = channel(tmp_path, "https://hooks.example.org/")
    with pytest.raises(app.Refused, match="address of the link"):
        one.send(NOTICE)
    one.close()


def test_a_certificate_that_is_not_trusted_takes_nothing(tmp_path: Path) -> None:
    import http.server
    import ssl
    import threading

    context, _ = inner_server.contexts(tmp_path)
    server = http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    one = channel(tmp_path, f"https://localhost:{server.server_port}/", timeout="5s")
    with pytest.raises(app.Unavailable) as caught:
        one.send(NOTICE)
    one.close()
    server.shutdown()
    server.server_close()
    assert ssl.CERT_REQUIRED
    assert "certificate" in caught.value.hint.lower()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"url": "ftp://example.org"}, "channels.finance.url: must be the URL of the receiver"),
        ({"url": "https://ann:pw@example.org"}, "channels.finance.url: must not hold a user"),
        ({"url": "https://example.org:99999/"}, "channels.finance.url: has a port"),
        ({"secret": "whsec_abc"}, 'channels.finance.secret: must be "env:NAME" or "file:PATH"'),
        ({"secret": "file:short"}, "channels.finance.secret: must hold a key of 24 to 64 bytes"),
        ({"secret": "file:wrong"}, 'channels.finance.secret: must hold "whsec_" and a key in base64'),
    ],
)
def test_settings_that_cannot_work_are_faults(tmp_path: Path, settings: dict[str, Any], said: str) -> None:
    (tmp_path / "secret").write_text(KEY)
    (tmp_path / "short").write_text("whsec_c2hvcnQ=")
    (tmp_path / "wrong").write_text("whsec_***")
    [fault] = faults(tmp_path, **settings)
    assert fault.startswith(said)


# ---- sqs


def queue(folder: Path, url: str, endpoint: str) -> app.Channel:
    cls: Any = plugin("sqs_channel").QueueChannel
    raw = {"channels": {"told": {"kind": "sqs", "queue": url, "endpoint": endpoint, "region": "eu-central-1"}}}
    config = app.read_config(raw, folder, "app.toml", {}, {}, {"sqs": cls.settings})
    assert [fault for fault in config.faults if fault.pointer.startswith("channels")] == []
    return cls("told", config.channels["told"].options, folder)  # type: ignore[no-any-return]


@pytest.fixture
def _aws(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")


@pytest.mark.usefixtures("_aws")
@pytest.mark.parametrize("name", ["told", "told.fifo"])
def test_a_queue_gets_type_id_and_data(tmp_path: Path, name: str) -> None:
    with SqsFake() as fake:
        client = boto3.client("sqs", endpoint_url=fake.url, region_name="eu-central-1")
        kind = {"FifoQueue": "true"} if name.endswith(".fifo") else {}
        url = client.create_queue(QueueName=name, Attributes=kind)["QueueUrl"]
        one = queue(tmp_path, url, fake.url)
        one.check()
        for id_ in ("a-0", "a-0", "b-0"):
            one.send(NOTICE | {"id": id_})
        one.close()
        messages = fake.queues[name].messages
        told = [json.loads(message.body) for message in messages]
    assert told[0] == {"type": NOTICE["type"], "id": "a-0", "data": NOTICE["data"]}
    assert [one["id"] for one in told] == (["a-0", "b-0"] if kind else ["a-0", "a-0", "b-0"])


@pytest.mark.usefixtures("_aws")
def test_a_queue_that_does_not_exist_may_be_made(tmp_path: Path) -> None:
    with SqsFake() as fake:
        one = queue(tmp_path, f"{fake.url}/000000000000/none", fake.url)
        for work in (one.check, lambda: one.send(NOTICE)):
            with pytest.raises(app.Unavailable, match="does not exist"):
                work()
        one.close()
