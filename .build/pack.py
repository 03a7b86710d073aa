"""The steps of build.sh that want Python.

pack.py requirements EXTRA…        print pyproject.toml's dependencies, or those of the named extras
pack.py bundle FOLDER              strip an installed set of packages to what runs
pack.py seal SHIV_PYZ OUT          write OUT: the same content and our own start, the same bytes each time
"""

from __future__ import annotations

import gzip
import json
import re
import shutil
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
SHEBANG = b"#!/usr/bin/env python3\n"
EPOCH = (1980, 1, 1, 0, 0, 0)  # the first day that a zip entry can carry
FILE_MODE = 0o100644
# What botocore reads for every service, and for one service and API version.
SHARED_DATA = {"_retry.json", "endpoints.json.gz", "partitions.json", "sdk-default-configuration.json"}
SERVICE_DATA = re.compile(r"(service-2|paginators-1|waiters-2|endpoint-rule-set-1)(\.sdk-extras)?\.json(\.gz)?")
START = {"__main__.py": HERE / "__main__.py", "_start.py": HERE / "start.py"}


def main() -> None:
    command, *args = sys.argv[1:]
    if command == "requirements":
        sys.stdout.write("".join(f"{line}\n" for line in requirements(args)))
    elif command == "bundle":
        strip(Path(args[0]))
        trim_aws(Path(args[0]), pyproject()["tool"]["satchel"]["botocore"]["services"])
    elif command == "seal":
        seal(Path(args[0]), Path(args[1]))
    else:
        sys.exit(f"pack.py: no such step: {command}")


def pyproject() -> dict[str, Any]:
    return tomllib.loads((HERE.parent / "pyproject.toml").read_text(encoding="utf-8"))


def requirements(extras: list[str]) -> list[str]:
    project = pyproject()["project"]
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


def trim_aws(bundle: Path, services: list[str]) -> None:
    """Leave of botocore's data what clients of these services read: nine tenths of an untrimmed app.pyz are the others.

    Ends the build when a service has no data, or when data that every client reads is not where it is looked for.
    """
    data = bundle / "botocore" / "data"
    if unknown := sorted(name for name in services if not re.fullmatch(r"[a-z0-9-]+", name) or not (data / name).is_dir()):
        sys.exit(f"pack.py: [tool.satchel.botocore] services in pyproject.toml: botocore has no {', '.join(unknown)}")
    prefixes = {trim_service(data / name) for name in services}
    trim_endpoints(data, prefixes)
    for path in data.iterdir():
        if path.is_dir() and path.name not in services:
            shutil.rmtree(path)
        elif path.is_file() and path.name not in SHARED_DATA:
            path.unlink()
    if missing := sorted(SHARED_DATA - {path.name for path in data.iterdir()}):
        sys.exit(f"pack.py: botocore's data has changed, not found: {', '.join(missing)}")
    # For boto3.resource() and the documentation; clients read neither.
    shutil.rmtree(bundle / "boto3" / "data")
    shutil.rmtree(bundle / "boto3" / "examples")


def trim_service(folder: Path) -> str:
    """Leave the newest version that has a model, and of that what clients read; its name in endpoints.json."""
    newest = max(path.parent for path in folder.glob("*/service-2.json.gz"))  # named by date
    for version in folder.iterdir():
        if version != newest:
            shutil.rmtree(version)
    for path in newest.iterdir():
        if not SERVICE_DATA.fullmatch(path.name):
            path.unlink()
    model = json.loads(gzip.decompress((newest / "service-2.json.gz").read_bytes()))
    return str(model["metadata"]["endpointPrefix"])


def trim_endpoints(data: Path, prefixes: set[str]) -> None:
    """Leave every partition and region, and of their services these; gzipped, as botocore reads any of its data."""
    path = data / "endpoints.json"
    endpoints = json.loads(path.read_bytes())
    for partition in endpoints["partitions"]:
        partition["services"] = {name: each for name, each in partition["services"].items() if name in prefixes}
    small = json.dumps(endpoints, separators=(",", ":")).encode()
    path.with_name("endpoints.json.gz").write_bytes(gzip.compress(small, mtime=0))
    path.unlink()


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
