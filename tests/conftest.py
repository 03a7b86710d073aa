"""What the tests share: the built app.pyz, servers started from it, and the rule that CI skips nothing."""

from __future__ import annotations

import gc
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import backends
import pytest

ROOT = Path(__file__).parent.parent
PYZ = ROOT / "dist" / "app.pyz"
BUILT_FROM = ["app.py", "plugins", "templates", "static", ".build", "build.sh", "pyproject.toml", "constraints.txt"]
PATIENCE_S = 30.0
T = TypeVar("T")


# ---- in CI, a test that does not run has failed ----


def in_ci() -> bool:
    return os.environ.get("CI", "").lower() not in {"", "0", "false"}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, Any, Any]:
    report = yield
    return refuse_skip(report)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, Any, Any]:
    report = yield
    return refuse_skip(report)


def refuse_skip(report: Any) -> Any:
    """Skipped and expected failures alike: CI has everything that a test may need, or is to say what is missing."""
    if report.skipped and in_ci():
        why = report.longrepr[2] if isinstance(report.longrepr, tuple) else getattr(report, "wasxfail", "no reason given")
        report.outcome = "failed"
        report.longrepr = f"{report.nodeid} did not run, and in CI every test does: {why}"
        vars(report).pop("wasxfail", None)
    return report


# ---- nothing stands still, and what takes long does not come last ----

# What any test takes is far below; what waits for longer waits for what will not come, and every AGAIN_S once more where
# its end waits, too.
STANDSTILL_S, AGAIN_S = 180.0, 20.0
# Each takes half a minute or more: at the end it would keep one process at work while the others have nothing to do.
LONGEST = (
    "test_faults.py", "test_runner_sqs.py", "test_provider_contract.py", "test_runner_http.py", "test_accessibility.py",
    "test_main_job.py", "test_browser.py", "test_queues.py", "test_docs.py", "test_matrix.py", "test_backup.py",
    "test_package.py", "test_queue_faults.py", "test_examples_in_browser.py", "test_bench.py", "test_resources.py",
    "test_server_floods.py", "test_first_hour.py", "test_commands.py",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first, and otherwise the order that there is; build.sh has xdist keep to it."""
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))


@contextmanager
def bounded(limit_s: float, again_s: float = AGAIN_S) -> Iterator[None]:
    """Fails what is done in the block, whatever it waits for, once it has taken so long. Only in the main thread."""

    def fail(number: int, frame: Any) -> None:
        pytest.fail(f"stood still: not done after {limit_s:g} s")

    before = signal.signal(signal.SIGALRM, fail)
    outer = signal.setitimer(signal.ITIMER_REAL, limit_s, again_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        signal.setitimer(signal.ITIMER_REAL, *outer)


def within_bounds(item: pytest.Item) -> AbstractContextManager[None]:
    return nullcontext() if item.config.getoption("usepdb") else bounded(STANDSTILL_S)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, Any, Any]:
    with within_bounds(item):
        return (yield)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    with within_bounds(item):
        return (yield)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, Any, Any]:
    with within_bounds(item):
        return (yield)


# ---- plugins of others: pytest --plugin FILE asks the contract suites about the kinds in it, too ----


def pytest_addoption(parser: pytest.Parser) -> None:
    help_ = "run the contract suites over the kinds of this plugin, too; may be repeated"
    parser.addoption("--plugin", action="append", default=[], metavar="FILE", help=help_)


def pytest_configure(config: pytest.Config) -> None:
    """Before the suites are imported, which are parametrised with the kinds that there are."""
    if files := [Path(name) for name in config.getoption("--plugin")]:
        import own_plugins

        own_plugins.load(files)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, Any, Any]:
    """What is collected stays to the end, so nobody looks for garbage in it, neither meanwhile nor with every test."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.collect()
        gc.freeze()


# ---- the site of http_client.py, for the files that ask it through the door ----


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Any]:
    from http_client import Site  # here, so that pytest starts without the program

    made = Site(tmp_path)
    yield made
    made.close()


@pytest.fixture
def staff(site: Any) -> str:
    return str(site.token(roles=["staff"]))


@pytest.fixture(params=["docs", "blobs"])
def share(request: pytest.FixtureRequest) -> str:
    """A share on files in a folder, and one in SQLite."""
    return f"/files/{request.param}"


# ---- queues, at a stand-in for SQS ----


@pytest.fixture
def fake() -> Iterator[Any]:
    from sqs_fake import SqsFake

    with SqsFake() as one:
        yield one


@pytest.fixture
def queue(fake: Any) -> Any:
    from queue_site import Queue, client, names

    return Queue(client(fake.url), next(names))


@pytest.fixture(autouse=True)
def _closed_clients() -> Iterator[None]:
    yield
    queue_site = sys.modules.get("queue_site")  # a file that does not import it has no such clients
    while queue_site and queue_site.clients:
        queue_site.clients.pop().close()


# ---- waiting ----


def wait_for(probe: Callable[[], T], what: str, patience_s: float = PATIENCE_S) -> T:
    """The first true answer of `probe`; fails the test, naming `what`, when none comes in time."""
    end = time.monotonic() + patience_s
    while not (answer := probe()):
        if time.monotonic() > end:
            pytest.fail(f"waited {patience_s:g} s in vain for {what}")
        time.sleep(0.02)
    return answer


# ---- servers that tests drive ----


@pytest.fixture(scope="session", autouse=True)
def _stopped_backends() -> Iterator[None]:
    yield
    backends.stop_all()


@pytest.fixture(scope="session")
def idle_browsers() -> Iterator[dict[bool, list[Any]]]:
    """Browsers that a test has done with, by whether they run scripts: to start one takes longer than many a test."""
    idle: dict[bool, list[Any]] = {True: [], False: []}
    yield idle
    for one in [*idle[True], *idle[False]]:
        one.quit()


# ---- the built program ----


@pytest.fixture(scope="session")
def pyz() -> Path:
    """dist/app.pyz, built now if anything that goes into it is newer."""
    if not PYZ.exists() or newest(BUILT_FROM) > PYZ.stat().st_mtime:
        subprocess.run([ROOT / "build.sh", "build"], check=True, stdin=subprocess.DEVNULL)
    return PYZ


def newest(names: list[str]) -> float:
    """Of files: a folder is changed by what Python compiles in it, too."""
    tops = [ROOT / name for name in names if (ROOT / name).exists()]
    files = [path for top in tops for path in (top, *top.rglob("*")) if "__pycache__" not in path.parts and path.is_file()]
    return max(path.stat().st_mtime for path in files)


@pytest.fixture(scope="session")
def bare_python() -> str:
    """The interpreter without this environment's packages: what app.pyz does not bring along is missing."""
    return getattr(sys, "_base_executable", sys.executable)


@pytest.fixture(scope="session")
def unpack_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One SHIV_ROOT for the whole run, so that app.pyz unpacks once and nothing is left in anybody's cache."""
    own = tmp_path_factory.getbasetemp()
    root = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "unpacked"  # of all processes
    root.mkdir(mode=0o700, exist_ok=True)
    return root


@dataclass
class Server:
    """A running `app.pyz server`. `sign_in_link` is "" where none was waited for."""

    process: subprocess.Popen[bytes]
    folder: Path  # its working directory
    base_url: str = ""
    sign_in_link: str = ""
    _stopped: bool = field(default=False, repr=False)

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def stderr(self) -> str:
        return (self.folder.parent / f"{self.folder.name}.stderr").read_text(encoding="utf-8", errors="replace")

    @property
    def stdout(self) -> str:
        return (self.folder.parent / f"{self.folder.name}.stdout").read_text(encoding="utf-8", errors="replace")

    def wait_until_up(self, link: bool) -> Server:
        wait_for(lambda: self._has_said_where(link), "the server's address and sign-in link on standard error")
        return self

    def _has_said_where(self, link: bool) -> bool:
        said = self.stderr
        if self.process.poll() is not None:
            pytest.fail(f"the server ended with exit code {self.process.returncode}:\n{said}")
        addresses = re.findall(r"https?://[^\s/]+:\d+", said)
        links = re.findall(r"https?://\S+/login\S+", said)
        self.base_url, self.sign_in_link = (addresses or [""])[0], (links or [""])[0]
        return bool(addresses and (links or not link))

    def stop(self, sign: signal.Signals = signal.SIGTERM, *, hurried: bool = False) -> int:
        """Signals the one process that was started; its exit code, once nothing that it started is left either. Where it is
        `hurried`, connections that a browser keeps are not waited for."""
        if not self._stopped:
            self._stopped = True
            self.process.send_signal(sign)
            try:
                if hurried:
                    backends.hurry(self.process)
                self.process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()
                pytest.fail(f"the server was still running {PATIENCE_S:g} s after {sign.name}:\n{self.stderr}")
            self._expect_nothing_left()
        return self.process.returncode

    def _expect_nothing_left(self) -> None:
        """It was started as the leader of a group of its own, so the group holds all of its children."""
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            try:
                os.killpg(self.process.pid, 0)
            except ProcessLookupError:
                return
            time.sleep(0.02)
        os.killpg(self.process.pid, signal.SIGKILL)
        pytest.fail("the server ended and left processes behind")


@pytest.fixture
def start_server(pyz: Path, bare_python: str, unpack_root: Path, tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """`start_server(*args, folder=…, env=…, link=…)` runs `app.pyz server --bind 127.0.0.1:0 *args` in an empty folder.

    `link=False` where no sign-in link is to be waited for: an administrator has signed in there before.
    """
    started: list[Server] = []

    def start(*args: str, folder: Path | None = None, env: dict[str, str] | None = None, link: bool = True) -> Server:
        folder = folder or tmp_path / f"site{len(started)}"
        folder.mkdir(exist_ok=True)
        with (
            (folder.parent / f"{folder.name}.stdout").open("wb") as out,
            (folder.parent / f"{folder.name}.stderr").open("wb") as err,
        ):
            process = subprocess.Popen(
                [bare_python, str(pyz), "server", "--bind", "127.0.0.1:0", *args],
                cwd=folder,
                env={**os.environ, "SHIV_ROOT": str(unpack_root), **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
        started.append(Server(process, folder))
        return started[-1].wait_until_up(link)

    yield start
    close_connections()  # or each server waits a second for what might come on them
    for server in started:
        if server.process.poll() is None:
            server.stop(hurried=True)


@pytest.fixture
def running(start_server: Callable[..., Server]) -> Server:
    """A server in an empty folder, with the built-in starter configuration."""
    return start_server()


@pytest.fixture
def run_pyz(pyz: Path, bare_python: str, unpack_root: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """`run_pyz(folder, "auth", "list")`: a command of app.pyz in that folder, to its end."""

    def run(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [bare_python, str(pyz), *args],
            cwd=folder,
            env={**os.environ, "SHIV_ROOT": str(unpack_root)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        )

    return run


@pytest.fixture
def token_for(run_pyz: Callable[..., subprocess.CompletedProcess[str]]) -> Callable[..., str]:
    """`token_for(server, *grants)`: a token that `auth issue` prints while the server runs."""

    def issue(server: Server, *grants: str) -> str:
        options = [part for grant in grants for part in ("--grant", grant)]
        done = run_pyz(server.folder, "auth", "issue", "--subject", "robot", "--force", *options)  # for what is missing too
        assert done.returncode == 0, done.stderr
        assert re.fullmatch(r"[\w-]+\.[\w-]+\.[\w-]+\n", done.stdout), "the token and a newline, nothing else"
        return done.stdout.strip()

    return issue


@pytest.fixture(autouse=True)
def _closed_connections() -> Iterator[None]:
    yield
    close_connections()


def close_connections() -> None:
    """Those of all visitors that a test has used."""
    from visitor import Visitor

    while Visitor.used:
        Visitor.used.pop().close()
