"""The kinds of the files that `pytest --plugin FILE` names, for the contract suites.

A file says how its kinds are set up for a test in EXAMPLES, by kind the settings as app.toml would give them; relative paths
start at a fresh folder. A kind without an example has its defaults. The example of a channel leads to where nobody is.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import app

Family = TypeVar("Family", bound=app.Extension)
FILES: list[Path] = []
_loaded: list[type[app.Extension]] = []


def load(files: list[Path]) -> None:
    """Import the files as the program does from the plugins/ beside an app.toml."""
    folder = Path(tempfile.mkdtemp(prefix="plugins-"))
    (folder / "plugins").mkdir()
    for path in files:
        shutil.copy(path, folder / "plugins")
    FILES.extend(path.resolve() for path in files)
    registry = app.load_registry(folder)
    own = app.load_registry(Path("/nowhere"))
    for family in app.FAMILIES:
        _loaded.extend(registry.find(family, kind) for kind in registry.kinds(family) if kind not in own.kinds(family))
    shutil.rmtree(folder)


def of(family: type[Family]) -> Iterator[type[Family]]:
    yield from (cls for cls in _loaded if issubclass(cls, family))


def options(cls: type[app.Extension], folder: Path, own: Mapping[str, Any] | None = None) -> Mapping[str, Any]:
    """The settings of its example, or its `own`, read and checked as those of app.toml."""
    example = own or getattr(sys.modules[cls.__module__], "EXAMPLES", {}).get(cls.kind, {})
    if issubclass(cls, app.Provider):
        raw = {"providers": {"main": {"kind": cls.kind, **example}}}
        config = app.read_config(raw, folder, "EXAMPLES", {cls.kind: cls.settings})
        assert [fault for fault in config.faults if fault.pointer.startswith("providers.")] == []
        return config.providers["main"].options
    if issubclass(cls, app.Channel):
        raw = {"channels": {"main": {"kind": cls.kind, **example}}}
        config = app.read_config(raw, folder, "EXAMPLES", {}, {}, {cls.kind: cls.settings})
        assert [fault for fault in config.faults if fault.pointer.startswith("channels.")] == []
        return config.channels["main"].options
    config = app.read_config({cls.kind: example}, folder, "EXAMPLES", {}, {cls.kind: cls.settings})
    assert [fault for fault in config.faults if fault.pointer.startswith(cls.kind)] == []
    return config.extensions[cls.kind]


def opened(cls: type[app.Provider], folder: Path) -> app.Provider:
    provider = cls("main", options(cls, folder), folder)
    provider.open()
    return provider
