"""What the HTTP server answers where it does not serve: to what is no request, is over a limit, or finds no room."""

from __future__ import annotations

import re
import time
from contextlib import suppress
from socket import MSG_PEEK
from typing import TYPE_CHECKING, Any

from app import Answer, AppError, Head, RequestTimeout, Unavailable, head_bytes, new_id, problem_answer

if TYPE_CHECKING:
    from app import Connection

# ==== 1. UNSERVED ================================================================================================
# As everywhere, a problem object for programs and a page for people, with an id, and without a body for HEAD. Nothing is
# known of the request for sure: what it seems to be decides no more than the form of the answer.
# uses: ERRORS VALUES RUNNERS
# defines: likely_head refusal no_room

_LINE = re.compile(rb"([A-Z]{1,20}) (/[A-Za-z0-9/._~-]{0,200})?")
_ACCEPT = re.compile(rb"\r\nAccept:[\t ]*([ -~]{1,1000})\r\n", re.IGNORECASE)


def likely_head(heard: bytes) -> Head:
    """The method, the beginning of the path and the Accept of what may be the head of a request, as far as it has them."""
    line, accept = _LINE.match(heard), _ACCEPT.search(heard)
    method, path = (line[1].decode(), (line[2] or b"/").decode()) if line else ("GET", "/")
    return Head(method, path, "1.1", {"accept": accept[1].decode()} if accept else {})


def refusal(connection: Connection, error: AppError, head: Head | None) -> bytes:
    """The whole answer, which is the last one; `head` is None if the request's own could not be read."""
    seen, answer = head or likely_head(connection.buffer), None
    if isinstance(error, RequestTimeout):  # the thread that looks at deadlines makes no pages
        seen = seen._replace(fields={})
    if connection.server.refused and not connection.request_id:
        with suppress(Exception):  # then it is told without the application
            answer = connection.server.refused(seen, connection, error)
    answer = answer or problem_answer(connection.request_id or new_id(time.time()), error)
    headers = [pair for pair in answer.headers if pair[0].lower() not in ("content-length", "connection")]
    body = answer.body if isinstance(answer.body, bytes) else b"".join(answer.body)
    lead = head_bytes(Answer(answer.status, headers), "Connection: close", f"Content-Length: {len(body)}")
    return lead if seen.method == "HEAD" else lead + body


def no_room(sock: Any) -> bytes:
    """The answer on a connection for which there is no room; most clients have sent their request by then."""
    heard = b""
    with suppress(OSError, ValueError):  # nothing has come, or it is not readable yet: TLS
        heard = sock.recv(8, MSG_PEEK)
    answer = problem_answer(new_id(time.time()), Unavailable("there is no room for more connections; try again later"))
    body = answer.body if heard else b""  # which after a HEAD that is still to come would be none
    lead = head_bytes(answer, "Connection: close", f"Content-Length: {len(body)}")
    return lead if heard.startswith(b"HEAD ") else lead + body
