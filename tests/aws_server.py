"""Two emulators of S3 and DynamoDB, each started once a run: ministack, and moto as a second opinion on small cases.

Where they differ from AWS (and the plugin does not lean on it):
- both: a page of Query never shows half a transaction; DynamoDB may (Query is read-committed).
"""

from __future__ import annotations

import functools
import hashlib
import os
from pathlib import Path
from typing import Any

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
    port = backends.free_port()
    env = MINISTACK | {"GATEWAY_PORT": str(port)}
    command = [backends.TOOLS / "emulators" / "bin" / "ministack"]
    backends.Process(command, lambda: backends.listens(port), folder=backends.folder(), env=env)
    os.environ["SATCHEL_TEST_AWS"] = f"http://127.0.0.1:{port}"
    return os.environ["SATCHEL_TEST_AWS"]


@functools.cache
def moto_endpoint() -> str:
    port = backends.free_port()
    command = [backends.TOOLS / "emulators" / "bin" / "moto_server", "-H", "127.0.0.1", "-p", str(port)]
    backends.Process(command, lambda: backends.listens(port), folder=backends.folder())
    return f"http://127.0.0.1:{port}"


@functools.cache
def plugin() -> Any:
    """plugins/aws.py, loaded as the program loads it."""
    return app.load_kinds(Path(app.__file__).parent)["aws"]


def options(folder: Path, **more: Any) -> dict[str, Any]:
    """Settings for a bucket and a table prefix of this folder alone."""
    mark = hashlib.sha256(str(folder).encode()).hexdigest()[:12]
    return {"bucket": f"b-{mark}", "tables": f"{mark}-", "endpoint": endpoint(), "region": "eu-central-1"} | more


_made: set[Path] = set()


def opened(folder: Path, **more: Any) -> Any:
    """A provider for this folder, with bucket and tables."""
    provider = plugin()("main", options(folder, **more), folder)
    provider.open()
    if folder not in _made:
        provider.create(TABLES)
        _made.add(folder)
    return provider


def client(service: str, at: str, **settings: Any) -> Any:
    """A boto3 client of the service at this address; it tries once unless `settings` (of botocore's Config) differ."""
    import boto3
    from botocore.config import Config

    config = Config(**{"retries": {"total_max_attempts": 1}, "connect_timeout": 5, "read_timeout": 25, **settings})
    return boto3.session.Session("test", "test", region_name="us-east-1").client(service, endpoint_url=at, config=config)
