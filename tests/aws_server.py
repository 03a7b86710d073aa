"""Two emulators of S3 and DynamoDB, each started once a run: ministack, and moto as a second opinion on small cases.

Where they differ from AWS (and the plugin does not lean on it):
- Both show a transaction whole to Query; DynamoDB may show a part of it (Query is read-committed, not serializable).
- ministack answers a completed upload's completion again for good, S3 for some time; moto as long as the object is there.
- moto does not look at If-Match of CompleteMultipartUpload (at If-None-Match it does).
- ministack checks no signature unless AUTH=true, and then none of its root ("test"): see guarded().
- ministack gives an object's time with fractions in listings, S3 in whole seconds everywhere.
"""

from __future__ import annotations

import functools
import hashlib
import http.client
import http.server
import os
import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import backends

import app

# Never real ones: whatever the machine has configured, the AWS chain ends here.
os.environ |= {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
}
for _name in [name for name in os.environ if name.startswith(("AWS_ENDPOINT", "AWS_PROFILE", "AWS_SESSION", "AWS_REGION"))]:
    del os.environ[_name]

MINISTACK = {
    "BIND_HOST": "127.0.0.1",
    "SERVICES": "s3,dynamodb,sqs",
    "LOG_LEVEL": "WARNING",
    "IOT_MTLS_ENABLED": "0",  # else it listens on port 8883 of every address
    "SFTP_ENABLED": "0",
}
# The tables that the contract suite writes to. DynamoDB makes none by itself.
TABLES = ("t", "u", "u-2", "_audit", "log", "after", "nothing")


@functools.cache
def endpoint() -> str:
    """Of ministack: the one that the process which started this one has, if it has one."""
    if given := os.environ.get("SATCHEL_TEST_AWS"):
        return given
    os.environ["SATCHEL_TEST_AWS"] = start({})
    return os.environ["SATCHEL_TEST_AWS"]


def start(env: Mapping[str, str]) -> str:
    """The address of another ministack."""
    port = backends.free_port()
    env = {**MINISTACK, "GATEWAY_PORT": str(port), **env}
    command: list[str | Path] = [backends.tool("emulators", "bin/ministack")]
    backends.Process(command, lambda: backends.listens(port), folder=backends.folder(), env=env)
    return f"http://127.0.0.1:{port}"


@functools.cache
def guarded() -> tuple[str, str, str]:
    """A ministack that checks signatures and policies, an access key that it lets do anything, and its secret."""
    url = start({"AUTH": "true", "SERVICES": "s3,dynamodb,iam"})

    def iam(**params: str) -> str:  # its root needs no signature
        at = time.gmtime()
        scope = f"test/{time.strftime('%Y%m%d', at)}/us-east-1/iam/aws4_request"
        sign = f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=x"
        headers = {"Authorization": sign, "X-Amz-Date": time.strftime("%Y%m%dT%H%M%SZ", at)}
        form = urlencode(params | {"Version": "2010-05-08", "UserName": "ann"}).encode()
        with urlopen(Request(url, form, headers), timeout=10) as answer:
            return str(answer.read().decode())

    allowed = {"Effect": "Allow", "Action": ["s3:*", "dynamodb:*"], "Resource": "*"}
    iam(Action="CreateUser")
    iam(
        Action="PutUserPolicy",
        PolicyName="all",
        PolicyDocument=app.dump_json({"Version": "2012-10-17", "Statement": [allowed]}),
    )
    made = iam(Action="CreateAccessKey")
    key, secret = (re.findall(f"<{name}>(.+?)</", made)[0] for name in ("AccessKeyId", "SecretAccessKey"))
    return url, key, secret


@functools.cache
def moto_endpoint() -> str:
    port = backends.free_port()
    command: list[str | Path] = [backends.tool("emulators", "bin/moto_server"), "-H", "127.0.0.1", "-p", str(port)]
    backends.Process(command, lambda: backends.listens(port), folder=backends.folder())
    return f"http://127.0.0.1:{port}"


def module() -> Any:
    return app.plugin("aws")


def plugin() -> Any:
    return module().AwsProvider


def options(folder: Path, **more: Any) -> dict[str, Any]:
    """Settings for a bucket and a table prefix of this folder alone."""
    mark = hashlib.sha256(str(folder).encode()).hexdigest()[:12]
    return {"bucket": f"b-{mark}", "tables": f"{mark}-", "endpoint": endpoint(), "region": "eu-central-1"} | more


@functools.cache
def share_descriptions() -> None:
    """Let all clients of a run read botocore's files once: that is nine tenths of the time that a client takes."""
    import botocore.session

    botocore.session.create_loader = functools.cache(botocore.session.create_loader)


_made: set[Path] = set()


def build(
    folder: Path, *, sleep: Callable[[float], None] = time.sleep, clock: Callable[[], float] = time.time, **more: Any
) -> Any:
    """An open provider for this folder, without anything in its services."""
    share_descriptions()
    provider = plugin()("main", options(folder, **more), folder, sleep=sleep, clock=clock)
    provider.open()
    return provider


def opened(folder: Path) -> Any:
    """An open provider for this folder, with bucket and tables."""
    provider = build(folder)
    if folder not in _made:
        provider.create(TABLES)
        _made.add(folder)
    return provider


@dataclass
class Asked:
    """A request as it came to the proxy. `operation` is that of DynamoDB, or S3's method."""

    method: str
    path: str
    headers: Any
    body: bytes

    @property
    def operation(self) -> str:
        return str(self.headers.get("X-Amz-Target", self.method)).rpartition(".")[2]


Verdict = str | tuple[int, str, bytes] | None


class Proxy:
    """Stands before an emulator and does to requests what `judge` says of each.

    None: pass it on. A tuple of status, media type and body: answer that. "cut": pass it on and answer nothing; "drop":
    neither; "half": pass on half of the answer; "hang": answer nothing until the proxy is closed; "flood": answer a gigabyte
    of JSON, as long as somebody reads it.
    """

    def __init__(self, target: str, port: int = 0) -> None:
        self.asked: list[Asked] = []
        self.judge: Callable[[Asked], Verdict] = lambda asked: None
        self.closed = threading.Event()
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", port), type("Handler", (_Handler,), {"proxy": self}))
        self._server.daemon_threads = True
        self.target = target.removeprefix("http://")
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def first(self, verdicts: Iterable[Verdict], operation: str = "") -> None:
        """Do these to the first requests (of an operation), and pass all others on."""
        waiting = list(verdicts)
        self.judge = lambda asked: waiting.pop(0) if waiting and operation in ("", asked.operation) else None

    def count(self, operation: str) -> int:
        return sum(asked.operation == operation for asked in self.asked)

    def close(self) -> None:
        self.closed.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Handler(http.server.BaseHTTPRequestHandler):
    proxy: ClassVar[Proxy]
    protocol_version = "HTTP/1.1"

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except ConnectionError:  # the client has gone, which some tests are about
            self.close_connection = True

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        asked = Asked(self.command, self.path, self.headers, body)
        self.proxy.asked.append(asked)
        verdict = self.proxy.judge(asked)
        if isinstance(verdict, tuple):
            self._answer(verdict[0], [("Content-Type", verdict[1])], verdict[2])
        elif verdict == "hang":
            self.proxy.closed.wait(30)
        elif verdict == "flood":
            self._flood()
        elif verdict != "drop":
            status, headers, answer = self._pass_on(asked)
            if verdict == "half":
                self._answer(status, headers, answer, len(answer) // 2)
            elif verdict is None:
                self._answer(status, headers, answer)
        self.close_connection = verdict in ("cut", "drop", "half", "hang", "flood")

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _serve

    def _pass_on(self, asked: Asked) -> tuple[int, list[tuple[str, str]], bytes]:
        with closing(http.client.HTTPConnection(self.proxy.target, timeout=30)) as connection:
            headers = {name: value for name, value in asked.headers.items() if name.lower() != "expect"}
            connection.request(asked.method, asked.path, asked.body, headers)
            answer = connection.getresponse()
            return answer.status, answer.getheaders(), answer.read()

    def _flood(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/x-amz-json-1.0")
        self.send_header("Content-Length", str(2**30))
        self.end_headers()
        self.wfile.write(b'{"Items": [')
        for _ in range(2**30 // 2**20):
            self.wfile.write(b'"x", ' * (2**20 // 5))

    def _answer(self, status: int, headers: Iterable[tuple[str, str]], body: bytes, sent: int | None = None) -> None:
        self.send_response(status)
        kept = [
            (name, value)
            for name, value in headers
            if name.lower() not in ("transfer-encoding", "connection", "date", "server")
        ]
        for name, value in kept if self.command == "HEAD" else [p for p in kept if p[0].lower() != "content-length"]:
            self.send_header(name, value)
        if self.command != "HEAD":
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(b"" if self.command == "HEAD" else body[:sent])

    def log_message(self, *args: Any) -> None: ...


def client(service: str, at: str, **settings: Any) -> Any:
    """A boto3 client of the service at this address; it tries once unless `settings` (of botocore's Config) differ."""
    import boto3
    from botocore.config import Config

    share_descriptions()
    config = Config(**{"retries": {"total_max_attempts": 1}, "connect_timeout": 5, "read_timeout": 25, **settings})
    return boto3.session.Session("test", "test", region_name="us-east-1").client(service, endpoint_url=at, config=config)
