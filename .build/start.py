"""Travels in app.pyz as `_start`: chooses a folder, unpacks there once, and starts the program from it.

It stands before shiv's own bootstrap because that one knows a single place (~/.shiv), ends in a traceback where it
cannot write, never removes what an older version left, and opens the archive at each start. Folders keep the names
that shiv gives them, so its SHIV_INTERPRETER and the like go on working.

A root is a folder of this user alone. In it stand one folder per build, `<file name>_<build id>`, and, for as long as
somebody unpacks, `.unpacking-*`. The only locks are flock()s on the folders themselves: exclusive on the root to
unpack and to sweep, shared on a build's folder for as long as a process (and what it forks) runs from it. A folder is
used only if everything that was unpacked is still there, so a killed first start, a power cut or a cleaner of /tmp
costs a second unpacking and nothing else.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import importlib
import json
import os
import stat
import sys
from collections.abc import Iterator
from types import ModuleType

MANIFEST = "unpacked.json"  # written last: {path: bytes} of everything unpacked
UNPACKING = ".unpacking-"
BUILD_ID_CHARS = 64  # shiv's build id is a SHA-256
UNAVAILABLE = 7  # as app.py's exit code of this name
INTERRUPTED = 130  # as a shell reports SIGINT
# For providers and formats that most sites do not use. Python compiles them when they are first imported, so no start waits.
COMPILED_WHEN_USED = {
    "asn1crypto", "boto3", "botocore", "dateutil", "et_xmlfile", "jmespath", "openpyxl", "pg8000", "s3transfer", "scramp",
    "six.py", "urllib3", "xlsxwriter",
}  # fmt: skip
SHIV_SETTINGS = {"INTERPRETER", "ENTRY_POINT", "MODULE", "CONSOLE_SCRIPT", "EXTEND_PYTHONPATH", "PREPEND_PYTHONPATH"}


class Refused(Exception):
    """This candidate will not do; the message says why."""


class Stopped(Exception):
    """No candidate would do; the message says why."""


def main() -> None:
    archive = os.path.realpath(os.path.dirname(__file__))
    try:
        root, folder = settle(archive)
    except Stopped as error:
        complain(archive, str(error))
        sys.exit(UNAVAILABLE)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    if any(f"SHIV_{name}" in os.environ for name in SHIV_SETTINGS):
        run_by_shiv(root)
        return
    # First of all, so that no app.py on PYTHONPATH is taken for ours.
    sys.path.insert(0, os.path.join(folder, "site-packages"))
    sys.exit(imported_app().main())


def imported_app() -> ModuleType:
    """The module app. What comes with it stays to the end, so nothing looks for garbage in it: neither while it is
    imported, nor later in each worker, nor at the end of the process: that costs commands a tenth of their time."""
    gc.disable()
    app = importlib.import_module("app")
    gc.freeze()
    gc.enable()
    return app


def complain(archive: str, message: str) -> None:
    sys.stderr.write(f"{os.path.basename(archive)}: {message}\n")


def run_by_shiv(root: str) -> None:
    shiv = importlib.import_module("_bootstrap")
    # Set here and not in os.environ, where child processes would find it.
    shiv.Environment.root = root
    shiv.bootstrap()


# ---- where ----


def settle(archive: str) -> tuple[str, str]:
    """The root and the build's folder in it, whole and locked. Raises Stopped with every reason when none will do."""
    name = f"{os.path.basename(archive)}_{build_id()}"
    reasons: list[str] = []
    for root, beside_others in candidates():
        try:
            return root, settle_in(root, beside_others, name, archive)
        except (OSError, Refused) as error:
            reasons.append(f"{root}: {getattr(error, 'strerror', None) or error}")
        if len(reasons) == 1 and os.environ.get("SHIV_ROOT"):
            complain(archive, f"SHIV_ROOT cannot be used: {reasons[0]}")
    raise Stopped(f"nowhere to unpack to; set SHIV_ROOT to a folder that you can write ({'; '.join(reasons)})")


def settle_in(root: str, beside_others: bool, name: str, archive: str) -> str:
    make_root(root, beside_others)
    folder = os.path.join(root, name)
    if not claim(folder):
        unpack(archive, root, folder)
    sweep(root, name)
    return folder


def build_id() -> str:
    environment = json.loads(__loader__.get_data("environment.json"))  # type: ignore[name-defined]
    return str(environment["build_id"])


def candidates() -> Iterator[tuple[str, bool]]:
    """Roots in order of preference, and whether other users may write in the folder that the root stands in."""
    uid = os.geteuid()
    if chosen := os.environ.get("SHIV_ROOT"):
        # A folder of its own in there: SHIV_ROOT may be shared with other programs and other users.
        yield os.path.join(os.path.abspath(os.path.expanduser(chosen)), f"satchel-{uid}"), True
    if cache := cache_folder():
        yield os.path.join(cache, "satchel"), False
    import tempfile  # late: slow to import and seldom needed

    # Raises FileNotFoundError where no temporary folder can be written: then there is none.
    with contextlib.suppress(FileNotFoundError):
        yield os.path.join(tempfile.gettempdir(), f"satchel-{uid}"), True


def cache_folder() -> str | None:
    """The user's cache folder, or None where the environment and the user database name none."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    if sys.platform != "darwin" and os.path.isabs(given):  # "all paths must be absolute": XDG Base Directory
        return given
    home = os.environ.get("HOME") or home_of_user()
    if not os.path.isabs(home):
        return None
    return os.path.join(home, "Library/Caches" if sys.platform == "darwin" else ".cache")


def home_of_user() -> str:
    import pwd

    try:
        return pwd.getpwuid(os.geteuid()).pw_dir
    except KeyError:  # a container may run as a uid that has no entry
        return ""


def make_root(root: str, beside_others: bool) -> None:
    """Make the folder, or take it as it is if it is this user's and only this user can have put anything into it."""
    make_private(root)
    if not hasattr(os, "geteuid"):
        return
    found = os.lstat(root) if beside_others else os.stat(root)
    if stat.S_ISLNK(found.st_mode):
        raise Refused("is a symbolic link")
    if found.st_uid != os.geteuid():
        raise Refused(f"belongs to another user ({found.st_uid})")
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise Refused("other users may write into it")
    if stat.S_IMODE(found.st_mode) != 0o700:
        os.chmod(root, 0o700)


def make_private(folder: str) -> None:
    if os.path.isdir(folder):
        return
    make_private(os.path.dirname(folder))
    # Two first starts at once: one makes it, make_root looks at it for both.
    with contextlib.suppress(FileExistsError):
        os.mkdir(folder, 0o700)


# ---- one build's folder ----


def claim(folder: str) -> bool:
    """True when the folder is whole, and then locked until this process and all it forks have ended."""
    try:
        held = lock(folder, shared=True)
    except FileNotFoundError:
        return False
    if is_same(folder, held) and is_whole(folder):
        return True
    unlock(held)
    return False


def is_same(folder: str, held: int | None) -> bool:
    """False when a sweep took the folder away while this process waited for the lock."""
    return held is None or (os.path.isdir(folder) and os.path.samestat(os.stat(folder), os.fstat(held)))


def is_whole(folder: str) -> bool:
    try:
        with open(os.path.join(folder, MANIFEST), encoding="utf-8") as file:
            sizes = json.load(file)
        return all(os.stat(os.path.join(folder, path)).st_size == size for path, size in sizes.items())
    except (OSError, ValueError):
        return False


def unpack(archive: str, root: str, folder: str) -> None:
    """Unpack beside, then rename, under the root's lock; whoever waited for it finds the work done."""
    import shutil
    import tempfile

    held = lock(root, shared=False)
    try:
        if claim(folder):
            return
        fresh = tempfile.mkdtemp(prefix=UNPACKING, dir=root)
        lock(fresh, shared=True)  # on the folder itself, so it goes with it through the rename
        try:
            extract(archive, fresh, folder)
            replace(folder, fresh)
        except BaseException:
            shutil.rmtree(fresh, ignore_errors=True)
            raise
    finally:
        unlock(held)


def extract(archive: str, fresh: str, folder: str) -> None:
    import compileall
    import py_compile
    import re
    import zipfile
    import zlib

    try:
        with zipfile.ZipFile(archive) as file:
            file.extractall(fresh, [name for name in file.namelist() if name.startswith("site-packages/")])
    except (zipfile.BadZipFile, zlib.error) as error:
        raise Stopped(f"the file is damaged, copy it again ({error})") from error
    later = "|".join(re.escape(name) for name in sorted(COMPILED_WHEN_USED))
    # Unchecked: whatever changes modification times makes no start slower. Tracebacks name the final folder.
    compileall.compile_dir(
        fresh,
        quiet=2,
        stripdir=fresh,
        prependdir=folder,
        rx=re.compile(rf"{re.escape(os.path.join(fresh, 'site-packages', ''))}({later})([/\\]|$)"),
        invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
    )
    sizes = {os.path.relpath(path, fresh): os.stat(path).st_size for path in files_in(fresh)}
    with open(os.path.join(fresh, MANIFEST), "w", encoding="utf-8") as manifest:
        json.dump(sizes, manifest)


def files_in(folder: str) -> Iterator[str]:
    for base, _, names in os.walk(folder):
        for name in names:
            yield os.path.join(base, name)


def replace(folder: str, fresh: str) -> None:
    """Put the fresh folder in its place; a damaged one there makes room, and the sweep finds it."""
    with contextlib.suppress(FileNotFoundError):
        os.rename(folder, fresh + "-damaged")
    try:
        os.rename(fresh, folder)
    except OSError:
        if not claim(folder):  # without locks, another process may have been first
            raise


def sweep(root: str, own: str) -> None:
    """Remove what older builds and killed unpackings left, unless a process runs from it. Never an error."""
    others = [name for name in os.listdir(root) if name != own and is_ours(name)]
    if not others:
        return
    with contextlib.suppress(OSError):
        held = lock(root, shared=False, wait=False)  # another process unpacks: the next start sweeps
        for name in others:
            remove_unused(os.path.join(root, name))
        unlock(held)


def is_ours(name: str) -> bool:
    """Only names that this file makes are ever removed, whatever else somebody keeps in the folder."""
    build = name.rpartition("_")[2]
    return name.startswith(UNPACKING) or (len(build) == BUILD_ID_CHARS and set(build) <= set("0123456789abcdef"))


def remove_unused(folder: str) -> None:
    import shutil

    with contextlib.suppress(OSError):
        held = lock(folder, shared=False, wait=False, must=True)
        shutil.rmtree(folder, ignore_errors=True)
        unlock(held)


# ---- locks ----


def lock(folder: str, *, shared: bool, wait: bool = True, must: bool = False) -> int | None:
    """Lock the folder itself: that lock moves with a rename, and keeps systemd-tmpfiles from ageing what is inside.

    Some network filesystems cannot lock a folder: then None (or, if it `must`, OSError), and nothing is ever swept.
    Raises BlockingIOError when somebody else holds it and `wait` is False.
    """
    held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(held, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
    except OSError as error:
        os.close(held)
        if must or isinstance(error, BlockingIOError):
            raise
        return None
    return held


def unlock(held: int | None) -> None:
    if held is not None:
        os.close(held)
