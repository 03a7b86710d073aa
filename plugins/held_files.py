"""Files that were chosen in a page which was refused: they are kept staged until the page is sent again."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import cast

from app import App, AppError, Caller, Conflict, Files, Form, Held, Json, Staged, Update, Upload

# ==== 1. HELD ====================================================================================================
# Files of a form or share, held by session where the sender is signed out, and how large they may be.
# uses: ERRORS VALUES RESOURCES ASSEMBLY
# defines: own_files HeldFiles

_TRIES = 8  # to note files in a session, while another submit of it does the same


def own_files(data: Json, caller: Caller) -> Json:
    """What a page sent; a file that is held for another subject is as if it were gone."""

    def own(item: Json) -> Json:
        if isinstance(item, Upload) and item.held and item.held.subject not in (None, caller.subject):
            held = copy.copy(item.held)
            held.share = ""
            return Upload(item.name, item.file, item.dropped_bytes, held)
        return item

    if not isinstance(data, dict):
        return data
    return {name: list(map(own, one)) if isinstance(one, list) else one for name, one in data.items()}


class HeldFiles:
    """Files that were chosen in a page and are kept staged until it is sent again."""

    def __init__(self, app: App) -> None:
        self._app, self._resources = app, app.resources

    def body_limit(self, resource: str) -> int:
        """The most bytes that a record's body may have with its file fields."""
        return self._app.config.http.max_body_bytes + self.room(resource)

    def room(self, resource: str) -> int:
        """The most bytes of all files of a form together; of a share's page, of one."""
        found = self._resources.get(resource)
        most = found.files.most_files if isinstance(found, Form) and found.files else {}
        return sum(most.get(name, 1) * size for name, size in self.limits(resource).items())

    def takes_many(self, resource: str, name: str) -> bool:
        """Whether a field of a form takes several files."""
        found = self._resources.get(resource)
        return isinstance(found, Form) and name in found.shares and found.fields[name].is_many

    def is_good(self, resource: str, held: Held) -> bool:
        """Whether a file is kept where the form's field keeps its files."""
        found = self._resources.get(resource)
        share = found.shares.get(held.field) if isinstance(found, Form) else None
        return share is not None and share.name == held.share

    def limits(self, resource: str) -> dict[str, int]:
        """The most bytes of each file field of a form; of a share's page, of the field "file"."""
        found = self._resources.get(resource)
        if isinstance(found, Files):
            return {"file": found.config.max_file_bytes}
        fields = found.fields.values() if isinstance(found, Form) else ()
        return {one.name: one.config.max_file_bytes for one in fields if one.is_file}

    def hold(self, resource: str, chosen: Sequence[tuple[str, Upload]], subject: str | None) -> list[Held | None]:
        """Stages files that were chosen for fields of a form or for a share; None stands for one that cannot be taken."""
        taker = self._resources.get(resource)
        found: list[Held | None] = [None] * len(chosen)
        for number, (name, upload) in enumerate(chosen if isinstance(taker, Form | Files) else ()):
            with suppress(AppError):  # the person is asked to choose it again
                found[number] = cast(Form | Files, taker).hold(name, upload, subject)
        return found

    def has_ended(self, credential: str) -> bool:
        """Whether "Session …" names a session of this site that ended less than a day ago."""
        with suppress(AppError):
            self._app.health.ensure_open(self._app.state)
            return self._app.authority.ended_session(credential) is not None
        return False

    def hold_after(self, credential: str, resource: str, chosen: Sequence[tuple[str, Upload]]) -> list[Held | None]:
        """hold() for somebody whose session has_ended(). A session has one such submit, the last one."""
        for _ in range(_TRIES):
            if not (row := self._app.authority.ended_session(credential)):
                break
            found = self.hold(resource, chosen, None)
            kept = [one for one in found if one]
            places = [[held.share, tuple(held.staged)] for held in kept]
            try:
                self._app.state.commit([Update("_sessions", row.key, row.value | {"held": places}, row.version)])
            except AppError as error:
                self._discard([(held.share, held.staged) for held in kept])
                if isinstance(error, Conflict):  # two submits at once: one after the other
                    continue
                break
            self._discard([(share, Staged(*facts)) for share, facts in row.value.get("held", ())])
            return found
        return [None] * len(chosen)

    def _discard(self, staged: Iterable[tuple[str, Staged]]) -> None:
        for share, one in staged:
            files = self._resources.get(f"files/{share}")
            with suppress(AppError):  # a sweep finds what stays
                if isinstance(files, Files):
                    files.blobs.discard(one)
