"""Mail servers that tests send to: a real one (aiosmtpd), and one that answers what it is told to."""

from __future__ import annotations

import email
import email.policy
import json
import re
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import backends
import inner_server

SECRET = "secret of the mail server"  # the password that it takes, of anybody


class MailServer:
    """aiosmtpd in a process of its own."""

    def __init__(self, security: str = "") -> None:
        """`security`: "smtps", "starttls" or "" for none."""
        self.folder, self.port, self.security = backends.folder(), backends.free_port(), security
        python = backends.tool("aiosmtpd", "bin/python")
        if security:
            inner_server.contexts(self.folder)  # whose certificate is of localhost
        script = Path(__file__).with_name("smtp_server.py")
        command: list[str | Path] = [python, script, self.folder, str(self.port), *([security] if security else [])]
        self.process = backends.Process(command, (self.folder / "ready").exists, folder=self.folder)

    @property
    def url(self) -> str:
        scheme = "smtps" if self.security == "smtps" else "smtp"
        return f"{scheme}://localhost:{self.port}" if self.security else f"{scheme}://127.0.0.1:{self.port}"

    def answers(self, **script: Sequence[str]) -> None:
        """What it answers from now on instead of taking a mail, by command; "" takes it."""
        made = self.folder / "script.new"
        made.write_text(json.dumps({**script, "nonce": time.monotonic()}))
        made.replace(self.folder / "script.json")

    def forget(self) -> None:
        self.answers()
        (self.folder / "mails.jsonl").unlink(missing_ok=True)

    def _lines(self) -> list[dict[str, Any]]:
        with suppress(FileNotFoundError):
            return [json.loads(line) for line in (self.folder / "mails.jsonl").read_text().splitlines()]
        return []

    @property
    def mails(self) -> list[dict[str, Any]]:
        """What it took: sender, to, data and how it came."""
        return [one for one in self._lines() if "data" in one]

    @property
    def tried(self) -> list[str]:
        """Each recipient that was named to it, and what it said if it did not take it."""
        return [f"{one['tried']} {one['answer']}".strip() for one in self._lines() if "tried" in one]

    def wait_for(self, count: int, within_s: float = 20) -> list[dict[str, Any]]:
        """The mails, once there are so many."""
        until = time.monotonic() + within_s
        while len(self.mails) < count and time.monotonic() < until:
            time.sleep(0.02)
        assert len(self.mails) >= count, f"{len(self.mails)} mails instead of {count}; tried: {self.tried}"
        return self.mails

    def stop(self) -> None:
        self.process.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


def parsed(mail: Mapping[str, Any]) -> EmailMessage:
    """A mail that a server took, read by the standard library."""
    data = mail["data"].encode("utf-8", "surrogateescape")
    return email.message_from_bytes(data, policy=email.policy.SMTP)


def text_of(mail: Mapping[str, Any]) -> str:
    part = parsed(mail).get_body(("plain",))
    assert part is not None
    return str(part.get_content())


def link_in(mail: Mapping[str, Any]) -> str:
    """The sign-in link in a mail, one and the same in all its parts."""
    message = parsed(mail)
    parts = [part.get_content() for part in message.walk() if part.get_content_maintype() == "text"]
    found = {one for part in parts for one in re.findall(r"https?://[^\s\"<>]+/login/[\w-]{43}[^\s\"<>]*", part)}
    assert len(found) == 1, parts
    return str(found.pop()).replace("&amp;", "&")


@contextmanager
def talking(talk: Callable[[socket.socket], object]) -> Iterator[int]:
    """The port of a server that does this with each connection, until the block ends."""
    listener = socket.create_server(("127.0.0.1", 0))
    threads: list[threading.Thread] = []
    taken: list[socket.socket] = []

    def serve() -> None:
        with suppress(OSError):
            while True:
                taken.append(listener.accept()[0])
                threads.append(threading.Thread(target=one, args=[taken[-1]], daemon=True))
                threads[-1].start()

    def one(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            talk(connection)

    accepting = threading.Thread(target=serve, daemon=True)
    accepting.start()
    try:
        yield listener.getsockname()[1]
    finally:
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for connection in taken:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in (accepting, *threads):
            thread.join(5)
