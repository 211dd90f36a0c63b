# SPDX-License-Identifier: GPL-3.0-or-later
"""The versions of Django that migrations are tested with, each installed once into ``.cache/migrations``."""

from __future__ import annotations

import fcntl
import functools
import platform
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.bed.shop import run

CACHE = Path(__file__).resolve().parents[3] / ".cache" / "migrations"
#: Django versions that are measured, with the requirement that gives them; the newest is whatever PyPI has.
VERSIONS = {"4.2": "django~=4.2.0", "5.2": "django~=5.2.0", "newest": "django>=6"}
#: What is compared with, in an environment of its own.
LINTERS = ["django~=5.2.0", "psycopg[binary]", "django-migration-linter~=6.0", "django-safemigrate~=6.0"]


def pythons() -> Iterator[str]:
    """Pythons of this machine, ours first; the newest Django asks for a newer one than ours may be."""
    yield sys.executable
    yield from map(str, sorted(Path.home().glob(".pyenv/versions/3.1[2-9]*/bin/python"), reverse=True))
    yield from (f"/usr/bin/python3.{minor}" for minor in (14, 13, 12) if Path(f"/usr/bin/python3.{minor}").exists())


@contextmanager
def _missing(folder: Path) -> Iterator[bool]:
    """Whether a folder has still to be made; two workers of a test run would make the same one at the same time."""
    CACHE.mkdir(parents=True, exist_ok=True)
    ready = folder / ".complete"
    with open(f"{folder}.lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield not ready.exists()


@functools.cache
def django_python(version: str) -> str:
    """A Python with this Django and psycopg, made once; empty where no Python here can have it."""
    folder = CACHE / f"venv-{version}"
    with _missing(folder) as missing:
        for python in pythons() if missing else ():
            subprocess.run([python, "-m", "venv", "--clear", str(folder)], check=True)
            argv = [str(folder / "bin/python"), "-m", "pip", "install", "--quiet", VERSIONS[version], "psycopg[binary]"]
            if subprocess.run(argv, capture_output=True, check=False).returncode == 0:
                (folder / ".complete").touch()
                break
        return str(folder / "bin/python") if (folder / ".complete").exists() else ""


def linters_python() -> str:
    """A Python with the tools that are compared with, made once."""
    folder = CACHE / "venv-linters"
    with _missing(folder) as missing:
        if missing:
            subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
            run([str(folder / "bin/python"), "-m", "pip", "install", "--quiet", *LINTERS])
            (folder / ".complete").touch()
    return str(folder / "bin/python")


def django_site(version: str) -> str:
    """A folder of packages with this Django and psycopg for the Python of our image, to be mounted into it."""
    folder = CACHE / f"site-{version}"
    with _missing(folder) as missing:
        if missing:
            machine = platform.machine()
            argv = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(folder), "--only-binary=:all:"]
            argv += ["--python-version", "3.13", "--implementation", "cp"]
            argv += ["--platform", f"manylinux2014_{machine}", "--platform", f"manylinux_2_28_{machine}"]
            run([*argv, VERSIONS[version], "psycopg[binary]"])
            (folder / ".complete").touch()
    return str(folder)
