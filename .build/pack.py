"""The steps of build.sh that want Python.

pack.py requirements EXTRA…        print pyproject.toml's dependencies, or those of the named extras
pack.py bundle FOLDER              strip an installed set of packages to what runs
pack.py seal SHIV_PYZ OUT          write OUT: the same content and our own start, the same bytes each time
"""

from __future__ import annotations

import shutil
import sys
import tomllib
import zipfile
from pathlib import Path

HERE = Path(__file__).parent
SHEBANG = b"#!/usr/bin/env python3\n"
EPOCH = (1980, 1, 1, 0, 0, 0)  # the first day that a zip entry can carry
FILE_MODE = 0o100644
START = {"__main__.py": HERE / "__main__.py", "_start.py": HERE / "start.py"}


def main() -> None:
    command, *args = sys.argv[1:]
    if command == "requirements":
        sys.stdout.write("".join(f"{line}\n" for line in requirements(args)))
    elif command == "bundle":
        strip(Path(args[0]))
    elif command == "seal":
        seal(Path(args[0]), Path(args[1]))
    else:
        sys.exit(f"pack.py: no such step: {command}")


def requirements(extras: list[str]) -> list[str]:
    project = tomllib.loads((HERE.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    if not extras:
        return list(project["dependencies"])
    return [line for extra in extras for line in project["optional-dependencies"][extra]]


def strip(bundle: Path) -> None:
    """Remove scripts, tests, compiled files and pip's notes about this one installation.

    METADATA and the licences stay: the one names the version, the others have to travel with every copy.
    """
    shutil.rmtree(bundle / "bin", ignore_errors=True)
    for folder in [path for path in bundle.rglob("*") if path.is_dir() and path.name in {"__pycache__", "tests"}]:
        shutil.rmtree(folder)
    for note in bundle.glob("*.dist-info/*"):
        if note.is_file() and note.name != "METADATA" and not note.name.upper().startswith(("LICEN", "COPYING", "NOTICE")):
            note.unlink()
    if built := [path.name for path in bundle.rglob("*") if path.suffix in {".so", ".pyd", ".dylib", ".dll"}]:
        sys.exit(f"pack.py: app.pyz runs on any machine with Python, but these are for one kind: {', '.join(built)}")


def seal(source: Path, target: Path) -> None:
    """Everything that may vary is fixed: order, dates, modes (shiv copies those of its own installed files)."""
    with zipfile.ZipFile(source) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    content |= {name: path.read_bytes() for name, path in START.items()}
    with target.open("wb") as file:
        file.write(SHEBANG)
        with zipfile.ZipFile(file, "w") as archive:
            for name in sorted(content):
                archive.writestr(entry(name), content[name], zipfile.ZIP_DEFLATED, compresslevel=9)
    target.chmod(0o755)


def entry(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, EPOCH)
    info.create_system = 3  # Unix, on whatever system it is built
    info.external_attr = FILE_MODE << 16
    return info


main()
